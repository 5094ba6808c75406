#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What merging costs, on this machine's own KSM: of two guests that save the same at first, the one
# whose pages are rewritten all the time is switched off, when unmerging it fits, told so, and tried
# again when it has grown; the other one stays. What writes could claim back is told and prepared for,
# and that memory could not cover it. How much memory the host has is said by a
# meminfo of ours; all else is the machine. Every KSM setting is put back. Runs in the lab too.
# shellcheck source-path=SCRIPTDIR source=lib.sh
here=$(realpath "$(dirname "$0")")
. "$here/lib.sh"
# shellcheck source=ksm.sh
. "$here/ksm.sh"
# shellcheck source=told_memory.sh
. "$here/told_memory.sh"
MIB=320 # of each guest, half of which can be saved: enough to be judged
if ! can_ksm; then
	skip cow "$KSM_WHY"
	exit 0
fi
if ! grep -q '^cow_ksm' /proc/vmstat; then
	skip cow 'this kernel does not count copies of merged pages (vmstat cow_ksm, Linux 5.18)'
	exit 0
fi
keep_ksm

mkdir -p "$T/run/guests"
told_memory
has 3072 0

cat >"$T/memd.conf" <<-END
	[memd]
	runtime-dir=$T/run
	state-dir=$T/state
	guests=$T/run/guests/*.qmp
	[policy]
	ksm-trial=10s
END
memctl() { timeout 20 "${MEMCTL:-$MEMD_BUILD/memctl}" --socket "$T/run/memd.sock" "$@"; }
order() { "$here/merge_qmp.py" --send "$T/run/guests/control" order "$@" >/dev/null; }
of_guest() { memctl --json guests | jq -r ".guests[] | select(.name == \"$1\") | $2"; }
of_merging() { memctl --json status | jq -r ".merging.$1"; }
pid_of() { of_guest "$1" .pid; }
# What the kernel says: is the guest's memory marked, and how many of its pages are merged?
marked() { grep -q '^VmFlags:.* mg' "/proc/$(pid_of "$1")/smaps"; }
merged_mib() { echo $(($(cat "/proc/$(pid_of "$1")/ksm_merging_pages") / 256)); }
# All of it but what Python has beside.
is_merged() { [ "$(merged_mib "$1")" -ge $((MIB * 9 / 10)) ]; }
is_off() { ! marked "$1"; }
notes() { of_guest "$1" '.notes | join("; ")'; }
noted() { notes "$1" | grep -q -- "$2"; }
held() { of_guest "$1" '"\(.resident_bytes / 1048576 | floor) MiB, swapped \(.swapped_bytes)"'; }
explained() { memctl explain | grep -A 1 -- "$1" | grep -q -- "$2"; }
says() { memctl status | grep -q -- "$1"; }
told() { memctl status | grep -E '^(merging|exposure| )' | tr -s ' \n' ' '; }

touch "$T/fakes.log"
"$here/merge_qmp.py" --dir "$T/run/guests" still:bare:1024:$MIB churn:bare:1024:$MIB >"$T/fakes.log" 2>&1 &
PID[fakes]=$!
if ! wait_for 60 grep -q ready "$T/fakes.log"; then
	not_ok cow_guests "$(tail -n 1 "$T/fakes.log")"
	finish
fi
told_memory # their processes
found() { [ "$(memctl --json guests 2>/dev/null | jq '[.guests[] | select(.answering)] | length')" = 2 ]; }
start_memd() {
	"${MEMD:-$MEMD_BUILD/memd}" --config "$T/memd.conf" --sysroot "$T/tree" >>"$T/memd.log" 2>&1 &
	PID[memd]=$!
	wait_for 30 found && return
	not_ok cow_guests_found "$(tail -n 3 "$T/memd.log")"
	finish
}
stop_memd() {
	kill "${PID[memd]}"
	check "$1" "status $STATUS" ends memd 0 20
}
start_memd
for name in still churn; do
	check cow_merges_$name "$(merged_mib $name) of $MIB MiB; $(tail -n 3 "$T/memd.log")" wait_for 90 is_merged $name
done

# ---- what writes could claim back
exposed() { [ "$(of_merging exposure_bytes)" = $(($(cat $ksm/pages_sharing) * 4096)) ]; }
reserved() { [ "$(of_merging cow_reserve_bytes)" -gt 0 ]; }
check cow_exposure "$(of_merging exposure_bytes), the kernel has $(cat $ksm/pages_sharing) pages" wait_for 20 exposed
check cow_exposure_told "$(told)" says '^exposure .* could claim back'
check cow_no_reserve "$(of_merging cow_reserve_bytes)" eval '! reserved'

# ---- a guest that rewrites what is merged: it saves less than KSM's records of it take. It is switched
# off when unmerging the rest fits, and not before. What is lost is counted as saved until ksmd has come
# by; that a memd begins anew, with a campaign, shortens the wait for that.
has 514 0
order churn rewrite 0.3 98
check cow_reserve "$(told)" wait_for 30 reserved
check cow_reserve_told "$(told)" says 'is collected for that'
stop_memd cow_stops_first
start_memd
check cow_to_be_off "$(notes churn)" wait_for 120 noted churn 'its merging is to be switched off: what unmerging takes is more'
sleep 3
check cow_does_not_fit 'switched off although unmerging does not fit' marked churn
has 3072 0
check cow_off "$(notes churn)" wait_for 30 is_off churn
is_unmerged() { [ "$(merged_mib churn)" -eq 0 ]; }
check cow_unmerged "$(merged_mib churn) MiB" wait_for 60 is_unmerged
check cow_off_noted "$(notes churn)" noted churn 'its merging is switched off: merging the guest costs more than it saves'
check cow_off_explained "$(memctl explain | tail -n 8)" explained 'churn: merge on -> off' 'costs more than it saves'
check cow_other_stays "$(notes still)" marked still

# ---- it stays off, though it holds still now, until it has grown
order churn rewrite 0 0
sleep 20
check cow_stays_off "$(notes churn)" is_off churn
check cow_other_pays "$(notes still)" is_merged still
held_off=$(held churn)
order churn grow 192
wait_for 60 marked churn
check cow_on_again "$(notes churn); had $held_off, has $(held churn); $(memctl explain)" marked churn
check cow_again_explained "$(memctl explain | tail -n 8)" explained 'churn: merge off -> on' 'has changed'
check cow_merges_again "$(merged_mib churn) MiB" wait_for 90 is_merged churn
sleep 15
check cow_pays_now "$(notes churn)" marked churn

# ---- what writes could claim back is more than there is: it is told, and merging goes on, for what is
# not merged is claimed already
runs() { [ "$(cat $ksm/run)" = 1 ]; }
at_cliff() { [ "$(of_merging cow_cliff)" = "$1" ]; }
more() { [ "$(cat $ksm/pages_sharing)" -ge $((before + 6000)) ]; }
has 25 0
check cow_cliff "$(told)" wait_for 20 at_cliff true
check cow_cliff_told "$(told)" says 'could claim back .*, and a burst more than is available, swap included'
check cow_cliff_logged "$(tail -n 3 "$T/memd.log")" grep -q 'a burst of writes to merged pages' "$T/memd.log"
before=$(cat $ksm/pages_sharing)
order still grow 64
check cow_goes_on "$(cat $ksm/pages_sharing), was $before" wait_for 90 more
check cow_runs "$(cat $ksm/run)" runs
has 25 65536
check cow_swap_covers "$(told)" wait_for 20 at_cliff false
stop_memd cow_stops
check cow_run_back "$(cat $ksm/run)" [ "$(cat $ksm/run)" = 0 ]
finish
