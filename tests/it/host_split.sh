#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Guests' huge pages are split while the kernel swaps guests of a hard pressed host, on this machine's
# own kernel: one process has its memory swapped to zram, another one's is huge pages. How much memory
# the host has is said by a meminfo of ours. Every setting is put back.
# shellcheck source-path=SCRIPTDIR source=lib.sh
here=$(realpath "$(dirname "$0")")
. "$here/lib.sh"
# shellcheck source=zram.sh
. "$here/zram.sh"
# shellcheck source=told_memory.sh
. "$here/told_memory.sh"
thp=/sys/kernel/mm/transparent_hugepage/enabled
restore() {
	remove_zram
	[ -z "${THP_WAS:-}" ] || echo "$THP_WAS" >$thp
}
if ! can_zram; then
	skip split "$ZRAM_WHY"
	exit 0
fi
if [ ! -w $thp ]; then
	skip split 'there are no transparent huge pages here, or not root'
	exit 0
fi
THP_WAS=$(sed 's/.*\[\(.*\)\].*/\1/' $thp)
echo madvise >$thp
make_zram 1G
mkdir -p "$T/run/guests"

memctl() { timeout 20 "$MEMD_BUILD/memctl" --socket "$T/run/memd.sock" "$@" 2>&1; }
found() { [ "$(memctl --json guests | jq '[.guests[] | select(.answering)] | length' 2>/dev/null)" = 2 ]; }
split_kib() { echo $(($(memctl --json status | jq .split_bytes) / 1024)); }
huge_kib() { awk '/^AnonHugePages:/ { print $2 }' "/proc/${PID[peer]}/smaps_rollup"; }
swap_kib() { awk '/^VmSwap:/ { print $2 }' "/proc/$(pgrep -P "${PID[fakes]}")/status"; }
peer() { qmp "$T/peer.sock" "$@"; }
all_split() { [ "$(huge_kib)" -lt 4096 ]; }
start_peer() {
	rm -f "$T/peer.sock" "$T/run/guests/peer.qmp" "$T/peer.log"
	python3 "$here/numa_peer.py" peer "$T/peer.sock" 64 - 0 40 >"$T/peer.log" 2>&1 &
	PID[peer]=$!
	wait_for 60 grep -q READY "$T/peer.log"
	ln -s "$T/peer.sock" "$T/run/guests/peer.qmp"
	whole=$(huge_kib)
	[ "$whole" -ge $((60 << 10)) ] && return
	skip split "this machine gave $whole KiB of 64 MiB as huge pages"
	finish
}
start_memd() { # LINE...: of the configuration
	printf '%s\n' '[memd]' "runtime-dir=$T/run" "state-dir=$T/state" "guests=$T/run/guests/*.qmp" \
		huge-repair=off '[policy]' ksm=off balloon=off reclaim=off "$@" >"$T/memd.conf"
	told_memory
	has 3000 65536
	"$MEMD_BUILD/memd" --config "$T/memd.conf" --sysroot "$T/tree" >>"$T/memd.log" 2>&1 &
	PID[memd]=$!
	told_memory
	wait_for 30 found && return
	not_ok split_guests_found "$(tail -n 3 "$T/memd.log")"
	finish
}
stop_memd() {
	kill "${PID[memd]}"
	check "$1" "status $STATUS" ends memd 0 20
}

"$here/merge_qmp.py" --dir "$T/run/guests" swapped:bare:320 >"$T/fakes.log" 2>&1 &
PID[fakes]=$!
wait_for 60 grep -q ready "$T/fakes.log"
"$here/merge_qmp.py" --send "$T/run/guests/control" order swapped pageout >/dev/null
if [ "$(swap_kib)" -lt $((260 << 10)) ]; then
	skip split "the kernel swapped $(swap_kib) KiB of 320 MiB"
	finish
fi
start_peer

# ---- not while there is memory; then all of it, and nothing is lost
start_memd
sleep 3
check split_not_in_calm "$whole KiB, now $(huge_kib)" [ "$(huge_kib)" = "$whole" ]
has 30 65536
check split_when_pressed "$whole KiB, now $(huge_kib); $(tail -n 3 "$T/memd.log")" wait_for 30 all_split
check split_told "$(split_kib) KiB of $whole" wait_for 10 eval "[ \"\$(split_kib)\" -ge $((whole - 4096)) ]"
check split_shown "$(memctl status)" eval "memctl status | grep -q '^split .* of guests. huge pages'"
check split_content 'memory is not as it was' [ "$(peer x-check | jq .return)" = true ]
stop_memd split_stops

# ---- not where that is switched off, nor of a guest that is to be left alone
for line in huge-split=off $'[guest peer]\nmanage=no'; do
	kill -9 "${PID[peer]}"
	wait "${PID[peer]}" 2>/dev/null
	start_peer
	start_memd "$line"
	has 30 65536
	sleep 5
	check "split_not_${line//[^a-z]/_}" "$whole KiB, now $(huge_kib)" [ "$(huge_kib)" = "$whole" ]
	stop_memd "split_stops_${line//[^a-z]/_}"
done
finish
