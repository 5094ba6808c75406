#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Merged pages that many guests share stay in memory, on this machine's own kernel: processes with
# equal memory, merged by the real KSM, are squeezed by a memory cgroup until the kernel swaps. Without
# memd's anchor their merged pages go to swap, with it they stay; and nothing is held once memd has
# ended. How much memory the host has is said by a meminfo of ours; all else is the machine.
# shellcheck source-path=SCRIPTDIR source=lib.sh
here=$(realpath "$(dirname "$0")")
. "$here/lib.sh"
# shellcheck source=ksm.sh
. "$here/ksm.sh"
# shellcheck source=zram.sh
. "$here/zram.sh"
# shellcheck source=told_memory.sh
. "$here/told_memory.sh"
MIB=64 # that all guests have in common
NAMES='a b c d e f'
CGROUP=""
restore() {
	restore_ksm
	remove_zram
	[ -z "$CGROUP" ] || rmdir "$CGROUP"
}
if ! can_ksm; then
	skip anchor "$KSM_WHY"
	exit 0
fi
if ! can_zram; then
	skip anchor "$ZRAM_WHY"
	exit 0
fi

# A memory cgroup of version 1 or 2, and how it is squeezed to so many MiB.
if grep -qw memory /sys/fs/cgroup/cgroup.controllers 2>/dev/null; then
	CGROUP=/sys/fs/cgroup/memd-anchor.$$ LIMIT=memory.high USAGE=memory.current NONE=max
	echo +memory >/sys/fs/cgroup/cgroup.subtree_control
elif [ -w /sys/fs/cgroup/memory/memory.limit_in_bytes ]; then
	CGROUP=/sys/fs/cgroup/memory/memd-anchor.$$ LIMIT=memory.limit_in_bytes USAGE=memory.usage_in_bytes NONE=-1
else
	skip anchor 'there is no memory cgroup here'
	exit 0
fi
mkdir "$CGROUP"
# The kernel gives up on pages that were just used; so again and again.
squeeze() {
	local _
	for _ in {1..20}; do
		echo "$1M" 2>/dev/null >"$CGROUP/$LIMIT"
		[ "$(cat "$CGROUP/$USAGE")" -gt $((($1 + 2) << 20)) ] || break
		sleep 1
	done
}
ease() { echo $NONE >"$CGROUP/$LIMIT"; }
make_zram 2G
keep_ksm
mkdir -p "$T/run/guests"
told_memory
has 400 65536 # short: ksmd does not only keep watch

memctl() { timeout 20 "${MEMCTL:-$MEMD_BUILD/memctl}" --socket "$T/run/memd.sock" "$@"; }
of_merging() { memctl --json status | jq -r ".merging.$1"; }
order() { "$here/merge_qmp.py" --send "$T/run/guests/control" order "$@" >/dev/null; }
found() { [ "$(memctl --json guests 2>/dev/null | jq '[.guests[] | select(.answering)] | length')" = 6 ]; }
start_memd() { # ANCHOR
	cat >"$T/memd.conf" <<-END
		[memd]
		runtime-dir=$T/run
		state-dir=$T/state
		guests=$T/run/guests/*.qmp
		[policy]
		reclaim=off
		ksm-cpu=90
		ksm-anchor=$1
	END
	"${MEMD:-$MEMD_BUILD/memd}" --config "$T/memd.conf" --sysroot "$T/tree" >>"$T/memd.log" 2>&1 &
	PID[memd]=$!
	told_memory
	wait_for 30 found && return
	not_ok anchor_guests_found "$(tail -n 3 "$T/memd.log")"
	finish
}
start_guests() {
	local name args=()
	for name in $NAMES; do args+=("$name:bare:1024:2"); done
	: >"$T/fakes.log"
	sh -c "echo \$\$ >$CGROUP/cgroup.procs; exec $here/merge_qmp.py --dir $T/run/guests ${args[*]}" \
		>"$T/fakes.log" 2>&1 &
	PID[fakes]=$!
	if ! wait_for 60 grep -q ready "$T/fakes.log"; then
		not_ok anchor_guests "$(tail -n 1 "$T/fakes.log")"
		finish
	fi
	for name in $NAMES; do order "$name" common $MIB; done
	told_memory
}
stop_guests() {
	kill -9 "${PID[fakes]}"
	wait "${PID[fakes]}" 2>/dev/null
	unset 'PID[fakes]'
	rm -f "$T"/run/guests/*
}
# Merged memory and memory in swap, of all guests, as smaps says, MiB.
sum_of() {
	local pid kb=0
	for pid in $(pgrep -P "${PID[fakes]}"); do
		kb=$((kb + $(awk -v key="$1:" '$1 == key { kb += $2 } END { print kb + 0 }' "/proc/$pid/smaps")))
	done
	echo $((kb / 1024))
}
MERGED=$((6 * MIB * 9 / 10))
merged() { [ "$(sum_of KSM)" -ge $MERGED ]; }
anchored() { [ "$(of_merging anchored_bytes)" -ge $((MIB * 9 / 10 << 20)) ]; }
state() { echo "merged $(sum_of KSM) MiB, in swap $(sum_of Swap) MiB, anchored $(of_merging anchored_bytes)"; }

# ---- without it, merged pages are swapped
start_guests
if ! awk '$1 == "KSM:" { found = 1 } END { exit !found }' "/proc/${PID[fakes]}/smaps"; then
	skip anchor 'this kernel does not tell merged pages by process (smaps KSM, Linux 6.6)'
	exit 0
fi
start_memd off
wait_for 150 merged
check anchor_off_merged "$(state); $(tail -n 3 "$T/memd.log")" merged
squeeze 16
check anchor_off_swapped "$(state)" [ "$(sum_of KSM)" -lt $((MERGED / 2)) ]
check anchor_off_nothing "$(state)" [ "$(of_merging anchored_bytes)" = 0 ]
ease
kill "${PID[memd]}"
check anchor_off_stops "status $STATUS" ends memd 0 20
stop_guests

# ---- with it, they stay
start_guests
start_memd on
wait_for 150 merged
check anchor_merged "$(state); $(tail -n 3 "$T/memd.log")" merged
breaks() { awk '$1 == "cow_ksm" { print $2 }' /proc/vmstat; }
had=$(breaks)
wait_for 150 anchored
check anchor_holds "$(state); $(tail -n 3 "$T/memd.log")" anchored
check anchor_told "$(memctl status)" eval "memctl status | grep -q '^anchored .* of merged pages are kept'"
check anchor_counted "$(of_merging anchored_shared_bytes)" \
	[ "$(of_merging anchored_shared_bytes)" -ge $((MERGED << 20)) ]
own_mib() { awk -v key="$1:" '$1 == key { kb += $2 } END { print int(kb / 1024) }' "/proc/${PID[memd]}/smaps"; }
check anchor_merged_too "$(own_mib KSM) MiB" [ "$(own_mib KSM)" -ge $((MIB * 9 / 10)) ]
check anchor_locked "$(own_mib Locked) MiB" [ "$(own_mib Locked)" -gt 0 ]
# Reading a page must not make it its guest's own.
check anchor_breaks_none "$(breaks) copies, had $had" [ $(($(breaks) - had)) -lt 1000 ]
swapped=$(sum_of Swap)
squeeze 16
check anchor_squeezed "$(state), had $swapped" [ "$(sum_of Swap)" -ge $((swapped + 20)) ]
sleep 2
check anchor_stays "$(state)" merged
check anchor_still_holds "$(state)" anchored
ease

# ---- what was swapped before KSM came by is read back, and merged with what is held
kill "${PID[memd]}"
check anchor_stops "status $STATUS" ends memd 0 20
stop_guests
start_guests
squeeze 16
check anchor_back_swapped "$(sum_of Swap) MiB" [ "$(sum_of Swap)" -ge $((6 * MIB * 8 / 10)) ]
ease
for name in a b c d; do order "$name" touch; done
start_memd on
wait_for 300 anchored
check anchor_back_holds "$(state); $(tail -n 3 "$T/memd.log")" anchored
wait_for 300 merged
check anchor_back_merged "$(state); $(of_merging back_bytes) of $(of_merging back_read_bytes) bytes" merged
# Little else is read for it; guests a to d are in memory.
check anchor_back_little "$(of_merging back_bytes) of $(of_merging back_read_bytes) bytes" \
	[ "$(of_merging back_read_bytes)" -le $(($(of_merging back_bytes) * 5 / 4 + (4 << 20))) ]
check anchor_back_told "$(memctl status)" eval "memctl status | grep -q 'that equal them were read back from swap'"

# ---- guests that go take the need for it with them
for name in b c d e f; do "$here/merge_qmp.py" --send "$T/run/guests/control" kill "$name" >/dev/null; done
let_go() { [ "$(of_merging anchored_bytes)" -lt $((MIB / 4 << 20)) ]; }
check anchor_let_go "$(of_merging anchored_bytes)" wait_for 150 let_go
check anchor_let_go_in_truth "$(own_mib KSM) MiB" [ "$(own_mib KSM)" -lt $((MIB / 4)) ]

# ---- and with a memd that ends nothing is held
kill "${PID[memd]}"
check anchor_stops "status $STATUS" ends memd 0 20
check anchor_run_back "$(cat $ksm/run)" [ "$(cat $ksm/run)" = 0 ]
stop_guests
finish
