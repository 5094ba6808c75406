#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Huge pages on this machine's own kernel. Pools: a guest that finds too few pages gets them from
# memd, or is told what there is; what is in use is never taken, not at stop, not after kill -9, not
# by somebody else who empties the pool under a running guest. Repairs: a process that looks like a
# guest under QEMU and whose huge pages a balloon, then KSM has broken.
# Every setting is put back.
cd "$(dirname "$0")/../.." || exit 1
# shellcheck source=tests/it/lib.sh
. tests/it/lib.sh
# shellcheck source=tests/it/ksm.sh
. tests/it/ksm.sh
pool=/sys/devices/system/node/node0/hugepages/hugepages-2048kB
thp=/sys/kernel/mm/transparent_hugepage
if [ ! -w $pool/nr_hugepages ] || [ ! -w /dev/kvm ]; then
	skip huge 'no /dev/kvm, or no pool of 2 MiB pages that can be set'
	exit 0
fi
if [ "$(cat $pool/nr_hugepages)" != 0 ]; then
	skip huge 'somebody uses the pool of 2 MiB pages'
	exit 0
fi
restore() {
	restore_ksm
	echo 0 >$pool/nr_hugepages
	[ -z "${THP_WAS:-}" ] || echo "$THP_WAS" >$thp/enabled
}
export MEMD_SOCKET=$T/run/memd.sock
mkdir -p "$T/run/guests"
memctl() { timeout 20 "$MEMD_BUILD/memctl" --socket "$T/run/memd.sock" "$@" 2>&1; }
# start_memd MODE
start_memd() {
	printf '[memd]\nruntime-dir=%s\nstate-dir=%s\nhuge-pages=%s\nhuge-rate=256M\n[policy]\nksm=off\nballoon=off\nreclaim=off\n' \
		"$T/run" "$T/state" "$1" >"$T/memd.conf"
	"$MEMD_BUILD/memd" --config "$T/memd.conf" >>"$T/memd.log" 2>&1 &
	PID[memd]=$!
	wait_for 10 memctl --json status >/dev/null && sleep 1.2
}
pages() { cat "$pool/nr_hugepages"; }
pages_are() { [ "$(pages)" -eq "$1" ]; }
numa() { memctl --json numa | jq -r "$1"; }
numa_says() { [ "$(numa "$1")" = "$2" ]; }
in_err() { grep -q -- "$2" "$T/$1.err"; }
# refused NAME ARGS...: the guest does not start, by an error and not by a signal.
refused() {
	local name=$1
	shift
	start_vmm "$name" --kernel "$TINY" --append hello "$@"
	ends "$name" 1 20
}

# ---- nobody sizes the pool: refused at once
refused none --memory size=64M,pages=2M
check pool-alone "$STATUS: $(cat "$T/none.err")" in_err none 'memd does not answer'
start_memd watch
refused watched --memory size=64M,pages=2M
check pool-watched "$STATUS: $(cat "$T/watched.err")" in_err watched 'all nodes: 0 of 32 pages of 2 MiB are free: memd does not size'
check pool-watched-alone 'memd has changed the pool' pages_are 0
kill "${PID[memd]}"
ends memd 0 10

# ---- enlarged for the guest, which takes its pages
start_memd manage
started=$EPOCHREALTIME
start_tiny g 'fill 3 4M; verify' --memory size=64M,pages=2M --balloon deflate-on-oom=on,free-page-reporting=off
check pool-grows "$(cat "$T/g.err")" grep -q 'OK verify' "$T/g.log"
awk -v a="$started" -v b="$EPOCHREALTIME" 'BEGIN { printf "# guest of 64 MiB up in %.2f s\n", b - a }'
check pool-size "$(pages) pages" pages_are 32
check pool-explained "$(memctl explain)" grep -q 'pages of 2 MiB on node 0: a guest waits' <(memctl explain)
check pool-shown "$(memctl numa)" grep -qE '^ +2 MiB +0 +32 +0 +0 +32' <(memctl numa)
refused huge --memory size=900G,pages=2M,pool-wait=1
check pool-refused-with-numbers "$STATUS: $(cat "$T/huge.err")" in_err huge 'all nodes: 0 of 460800 pages of 2 MiB are free: the host has not so much memory'
check pool-untouched "$(pages) pages" pages_are 32

# ---- somebody empties the pool while the guest runs; its balloon gives pages back and wants them
echo 0 >$pool/nr_hugepages
qmp "$T/g.qmp" balloon '{"value":33554432}' >/dev/null
expect g '^(OK target|FAIL balloon)' 60
qmp "$T/g.qmp" balloon '{"value":67108864}' >/dev/null
expect g '^(OK target|FAIL balloon)' 60
check no-sigbus "$(tail -n 3 "$T/g.log" "$T/g.err")" ask g 'fill 5 8M'
check no-sigbus-verify "$LINE" ask g verify
check no-sigbus-alive 'the guest has died' alive g
stop_vmm g
wait_for 5 pages_are 0

# ---- a guest that is gone: the pool is given back at stop; in use: not, and later
start_tiny h hello --memory size=64M,pages=2M
check pool-again "$(pages) pages" [ "$(pages)" -ge 32 ]
kill "${PID[memd]}"
ends memd 0 10
check stop-keeps-use "$(pages) pages; $(cat "$T/run/undo")" pages_are 32
check stop-notes-rest "$(cat "$T/run/undo")" grep -q 'nr_hugepages' "$T/run/undo"
check stop-guest-lives "$LINE" ask h 'fill 7 4M'
stop_vmm h
memctl reset >"$T/reset"
check reset-gives-back "$(cat "$T/reset")" pages_are 0
check reset-empties-journal "$(cat "$T/run/undo")" [ ! -s "$T/run/undo" ]

# ---- kill -9 with the pool enlarged; the next memd gives it back
start_memd manage
start_tiny k hello --memory size=64M,pages=2M
kill -9 "${PID[memd]}"
wait "${PID[memd]}" 2>/dev/null
stop_vmm k
check killed-leaves-it "$(pages) pages" pages_are 32
start_memd watch
check killed-restored "$(pages) pages" pages_are 0
kill "${PID[memd]}"
ends memd 0 10

# ---- repairs
THP_WAS=$(sed 's/.*\[\(.*\)\].*/\1/' $thp/enabled)
echo madvise >$thp/enabled
peer() { qmp "$T/peer.sock" "$@"; }
huge_kib() { awk '/^AnonHugePages:/ { print $2 }' "/proc/${PID[peer]}/smaps_rollup"; }
merged_kib() { echo $(($(cat "/proc/${PID[peer]}/ksm_merging_pages") * 4)); }
verdict_is() { numa '.guests[0].huge_text' | grep -q "$1"; }
is_repaired() { numa_says '.repairs | last | .state' "done"; }
is_seen() { numa '.repairs | last | .huge_after_bytes' | grep -q '^[0-9]'; }
python3 tests/it/numa_peer.py peer "$T/peer.sock" 64 - 0 40 >"$T/peer.log" 2>&1 &
PID[peer]=$!
wait_for 60 grep -q READY "$T/peer.log"
ln -s "$T/peer.sock" "$T/run/guests/peer.qmp"
whole=$(huge_kib)
if [ "$whole" -lt $((60 << 10)) ]; then
	skip repair "this machine gave $whole KiB of 64 MiB as huge pages"
	finish
fi
peer x-break >/dev/null
broken=$(huge_kib)
peer x-count >/dev/null
sleep 3
idle=$(peer x-count | jq .return.gap_ms)
check repair-broken "$whole -> $broken KiB" [ "$broken" -lt 4096 ]
start_memd watch
check repair-done "$(memctl numa)" wait_for 60 is_repaired
echo "# huge: $whole, broken $broken, repaired $(huge_kib) KiB; $(numa '.repairs | last | "\(.collapsed_bytes) bytes in \(.took_us) us, longest \(.longest_us) us"'); counter stood still $idle ms idle, $(peer x-count | jq .return.gap_ms) ms repaired"
check repair-whole "$(huge_kib) KiB" [ "$(huge_kib)" -ge $((whole - 2048)) ]
check repair-content 'memory is not as it was' [ "$(peer x-check | jq .return)" = true ]
check repair-seen "$(memctl numa)" wait_for 20 is_seen
check repair-explained "$(memctl explain peer)" grep -q 'collapse' <(memctl explain peer)
check repair-shown "$(memctl numa)" grep -qE '^peer +[0-9.]+ MiB +0 B +6[24]' <(memctl numa)
kill "${PID[memd]}"
ends memd 0 10

# ---- broken by KSM: left alone while that saves, repaired when merging is off
if ! can_ksm; then
	skip repair-merged "$KSM_WHY"
	finish
fi
peer x-equal >/dev/null
keep_ksm
set_ksm smart_scan 0
set_ksm pages_to_scan 20000
set_ksm sleep_millisecs 10
set_ksm run 1
is_merged() { [ "$(merged_kib)" -ge 6144 ]; }
wait_for 60 is_merged
echo 0 >$ksm/run
echo "# merged $(merged_kib) KiB, huge $(huge_kib) KiB"
check merged-breaks "$(huge_kib) KiB" [ "$(huge_kib)" -lt $((whole / 2)) ]
start_memd watch
check merged-left-alone "$(numa '.guests[0].huge_text')" wait_for 15 verdict_is 'merging has broken it, and saves'
sleep 3
check merged-not-repaired "$(memctl numa)" numa_says '.repairs | length' 0
kill "${PID[memd]}"
ends memd 0 10
peer x-unmerge >/dev/null
start_memd watch
check unmerged-repaired "$(memctl numa)" wait_for 60 is_repaired
echo "# unmerged: huge $(huge_kib) KiB"
check unmerged-whole "$(huge_kib) KiB" [ "$(huge_kib)" -ge $((whole - 2048)) ]
check unmerged-content 'memory is not as it was' [ "$(peer x-check | jq .return)" = true ]
kill "${PID[memd]}"
ends memd 0 10
check nothing-left "$(cat "$T/run/undo")" [ ! -s "$T/run/undo" ]
finish
