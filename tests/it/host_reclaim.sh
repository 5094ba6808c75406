#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Memory of guests sent to swap, with this machine's own kernel: guests under vmm without a balloon,
# swap on zram made for this, and a host that is only said to be as small as they need it. What went
# is read back as it was, a guest that reads back is left alone, and no setting is left behind.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
MEMD=${MEMD:-$MEMD_BUILD/memd}
MEMCTL=${MEMCTL:-$MEMD_BUILD/memctl}
SOCKET=$T/run/memd.sock
MIB=1048576
# shellcheck source=zram.sh
. "$(dirname "$0")/zram.sh"
CGROUP="" # of guest two, where there are cgroups of v2
restore() {
	remove_zram
	[ -z "$CGROUP" ] || rmdir "$CGROUP"
}
if [ ! -w /dev/kvm ] || ! can_zram; then
	skip reclaim_host "${ZRAM_WHY:-no /dev/kvm}"
	exit 0
fi

ask_memd() { "$MEMCTL" --socket "$SOCKET" --json "$1" 2>/dev/null | jq -er "$2"; }
holds() { ask_memd "$@" >/dev/null; }
guest() { ask_memd guests ".guests[] | select(.name == \"$1\") | $2"; }
guest_holds() { guest "$@" >/dev/null; }
field_kb() { awk -v key="$2:" '$1 == key { print $2 }' "/proc/${PID[$1]}/status"; }
swapped_mib() { echo $(($(field_kb "$1" VmSwap) / 1024)); }
has_swapped() { [ "$(swapped_mib "$1")" -ge "$2" ]; }

# The host: 1 GiB, of which the guests have what the kernel says they have, others 412 MiB. Written
# in place and at once, since memd keeps the file open; ten times a second, so that no process is
# started for it.
host_size() {
	local used=$((412 * 1024)) zram=0 name pages key kb total free available
	for name in one two; do
		read -r _ pages _ <"/proc/${PID[$name]}/statm"
		used=$((used + pages * 4))
	done
	[ -z "$ZRAM" ] || read -r _ _ zram _ <"/sys/block/zram$ZRAM/mm_stat"
	while read -r key kb _; do
		case $key in
		SwapTotal:) total=$kb ;;
		SwapFree:) free=$kb && break ;;
		esac
	done </proc/meminfo
	available=$((1024 * 1024 - used - zram / 1024))
	printf 'MemTotal:%12d kB\nMemFree:%12d kB\nMemAvailable:%12d kB\nSwapTotal:%12d kB\nSwapFree:%12d kB\n' \
		$((1024 * 1024)) $available $available "$total" "$free" 1<>"$T/tree/proc/meminfo"
}
follow_host() {
	local tick
	exec {tick}<>"$T/tick"
	until read -rt 0.1 -u "$tick"; do host_size 2>/dev/null; done
}

WAY=process_madvise
if grep -qw memory /sys/fs/cgroup/cgroup.controllers 2>/dev/null; then
	CGROUP=/sys/fs/cgroup/memd-test.$$ WAY=memory.reclaim
	mkdir "$CGROUP"
fi
for name in one two; do
	# Memory is charged where the process is that touches it first.
	[ $name = one ] || [ -z "$CGROUP" ] || echo $$ >"$CGROUP/cgroup.procs"
	if ! start_tiny $name '' --memory size=256M,pages=small,prealloc=on; then
		skip reclaim_host 'this machine runs no guest of ours'
		exit 0
	fi
done
[ -z "$CGROUP" ] || echo $$ >/sys/fs/cgroup/cgroup.procs
check content 'two guests with content' ask one 'fill 5 24M' 200
mkdir -p "$T/run/guests" "$T/tree/proc" "$T/tree/sys"
for name in one two; do
	ln -s "$T/$name.qmp" "$T/run/guests/$name.qmp"
	ln -s "/proc/${PID[$name]}" "$T/tree/proc/${PID[$name]}"
done
ln -s /proc/self /proc/swaps /proc/vmstat "$T/tree/proc"
ln -s /sys/block /sys/fs "$T/tree/sys"
host_size
follow_host &
PID[host]=$!
printf '[memd]\nruntime-dir=%s\nstate-dir=%s\nlog-level=debug\n' "$T/run" "$T/state" >"$T/memd.conf"
"$MEMD" --config "$T/memd.conf" --sysroot "$T/tree" >"$T/memd.log" 2>&1 &
PID[memd]=$!
wait_for 10 holds status .

# ---- without swap there is nothing to do ----
check two-guests 'both are seen' wait_for 20 holds guests '.guests | length == 2'
sleep 33 # guests just found are left alone for half a minute
check short 'the host is short' holds status '.need_bytes > 0'
check nothing-without-swap 'it says why' guest_holds one '.reclaim.why_not | test("no swap")'

# ---- with swap, what is needed goes; blindly only where that is wanted ----
make_zram 512M
check not-blindly 'it says that the kernel swaps by itself' wait_for 20 guest_holds one \
	'.reclaim.why_not | test("left to the kernel")'
[ -n "$CGROUP" ] || sleep 6 # where the other has a cgroup it would give all that is needed
check nothing-blindly 'memory of a guest among others went' [ "$(swapped_mib one)" -eq 0 ]
printf '[policy]\nreclaim-blind=on\n' >>"$T/memd.conf"
kill -HUP "${PID[memd]}"
start=$SECONDS
check reclaims 'the first memory goes' wait_for 20 has_swapped one 4
check enough 'until the host is well' wait_for 60 holds status '.need_bytes == 0'
echo "# well after $((SECONDS - start)) s: $(swapped_mib one) and $(swapped_mib two) MiB in swap, $(awk '/^MemAvailable/ { print int($2 / 1024) }' "$T/tree/proc/meminfo") MiB available"
check both 'both guests give' has_swapped two 4
check swap-told 'zram and its price are told' holds status '.swap.devices[0].zram and .swap.cost_ppm < 600000'
check explained 'the order, its rung and what was rejected' holds explain \
	'[.decisions[] | select(.action == "reclaim")] | length > 0 and
	all(.rung == "reclaim" and (.rejected | map(.rung) | index("balloon-free") != null))'
sleep 6
ways() { # GUEST WORD: each of its orders was carried out so
	holds explain "[.decisions[] | select(.action == \"reclaim\" and .guest == \"$1\" and
		.outcome == \"done\").reason_text] | length > 0 and all(test(\"$2\"))"
}
check from-outside 'the guest among others by process_madvise' ways one process_madvise
check by-cgroup "the one alone in a cgroup by $WAY" ways two "$WAY"
ask_memd explain '.decisions[] | select(.action == "reclaim" and .measured_gain_bytes != null) |
	"# \(.guest): expected \(.expected_gain_bytes / 1048576) MiB, measured \(.measured_gain_bytes / 1048576)"'
check measured 'measured gains come near what was expected' holds explain \
	'[.decisions[] | select(.action == "reclaim" and .measured_gain_bytes != null)] |
	length > 0 and (map(.measured_gain_bytes) | add) > (map(.expected_gain_bytes) | add) / 2'
tick=$(ask_memd status .tick.max_us)
echo "# the longest tick took $tick us"
check ticks-do-not-wait 'a tick took more than 600 ms' [ "$tick" -lt 600000 ]

# ---- the guests run on, and have what they had ----
check runs-on 'content comes back as it was' ask one verify 200
check left-alone 'a guest that reads back is left alone' wait_for 15 guest_holds one \
	'.reclaim.why_not // "" | test("reads back")'
check told-so 'with a note' guest_holds one '.notes | map(test("sent to swap now")) | any'
check refaults-counted 'what it read back' guest_holds one ".reclaim.refault_bytes >= $MIB"

# ---- never below what must stay ----
floor=$(guest two '.reclaim.resident_floor_bytes')
check floor "the floor is the minimum" [ "$floor" = $((96 * MIB)) ]
check above-floor 'more is resident than must be' [ $(($(field_kb two VmRSS) * 1024)) -ge "$floor" ]

kill "${PID[memd]}"
check clean-end 'it ends well' ends memd 0 10
check nothing-journalled 'no setting was changed' [ ! -s "$T/run/undo/undo" ]
check second-runs-on 'the other guest is alive, too' ask two 'fill 6 8M' 100
stop_vmm two
finish
