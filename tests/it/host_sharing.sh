#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# memctl sharing on this machine's own KSM: processes with known duplicates. Each one's saving is
# held against an independent slow script, their sum against the kernel's count: exactly when it is
# quiet, with the difference explained when it is not. Every KSM setting is put back. Runs in the
# lab too (lab_sharing.sh), where nobody else merges.
# shellcheck source-path=SCRIPTDIR source=lib.sh
here=$(realpath "$(dirname "$0")")
. "$here/lib.sh"
# shellcheck source=ksm.sh
. "$here/ksm.sh"
memctl=${MEMCTL:-$MEMD_BUILD/memctl}
memd=${MEMD:-$MEMD_BUILD/memd}

if [ ! -w $ksm/run ]; then
	skip sharing 'KSM cannot be set here (not root, or a kernel without it)'
	exit 0
fi
if [ ! -r /proc/kpageflags ]; then
	skip sharing 'this kernel does not tell page frames (CONFIG_PROC_PAGE_MONITOR)'
	exit 0
fi

# start NAME SEGMENT...: a process of sharing_process.py; commands by tell, answered by "ok".
start() {
	local name=$1 fd
	shift
	mkfifo "$T/$name.in"
	exec {fd}<>"$T/$name.in"
	# shellcheck disable=SC2034 # tell uses it
	INPUT[$name]=$fd
	python3 "$here/sharing_process.py" "$@" <&"$fd" >"$T/$name.log" 2>"$T/$name.err" &
	PID["$name"]=$!
	check "sharing_process_$name" "$(cat "$T/$name.err")" wait_for 60 grep -q ready "$T/$name.log"
}
# order NAME COMMAND: and wait until it is done.
order() {
	local before
	before=$(grep -c ok "$T/$1.log")
	tell "$1" "$2"
	wait_for 30 eval "[ \$(grep -c ok '$T/$1.log') -gt $before ]"
}
# look_for GUEST...: the answer is in $T/answer.
look_for() { "$memctl" --socket "$T/none" --json sharing --matrix --pid "$pids" "$@" >"$T/answer" 2>"$T/look.err"; }
look() { look_for; }
# says EXPRESSION: is it true of the answer (d, and term(WHAT) for the pages of one)?
says() {
	python3 -SE - "$T/answer" "$1" <<-'END'
		import json, sys
		d = json.load(open(sys.argv[1]))
		terms = {t["what"]: t["pages"] for t in d["check"]["difference"]}
		term = lambda what: terms.get(what, 0)
		adds_up = sum(terms.values()) == d["check"]["difference_pages"]
		ok = eval(sys.argv[2])
		if not ok:
		    print("#", d["check"], d["kernel"])
		sys.exit(0 if ok else 1)
	END
}
# Others that merge: while they do, the kernel's count is theirs as well and not at rest.
others_merge() {
	local stat pid ours=" ${PID[*]} "
	for stat in /proc/[0-9]*/ksm_stat; do
		pid=${stat#/proc/} pid=${pid%/*}
		[[ $ours == *" $pid "* ]] || [ "$(merging "$pid")" -eq 0 ] || cat "/proc/$pid/comm"
	done 2>/dev/null | sort | uniq -c | tr -s ' \n' ' '
}
merging() {
	local pages=0
	read -r pages <"/proc/$1/ksm_merging_pages"
	echo "${pages:-0}"
} 2>/dev/null
agrees() {
	local all=--all
	[ -z "$(others_merge)" ] || all=
	python3 "$here/sharing_reference.py" $all "$T/answer" "${PID[a]}" "${PID[b]}" "${PID[c]}" ${PID[d]:+"+${PID[d]}"}
}
# exact NAME: is the sum the kernel's count? Where others merge, is it so for our processes?
exact() {
	local others
	others=$(others_merge)
	check "$1_own" "the kernel's records of a guest are not what it maps" says 'all(
		g["single_bytes"] is None or g["recorded_bytes"] == g["shared_bytes"] + g["single_bytes"] for g in d["guests"])'
	check "$1_adds_up" 'the difference is not explained' says adds_up
	if [ -z "$others" ]; then
		check "$1" 'the sum is not what the kernel counts' says 'd["check"]["exact"]'
	else
		skip "$1" "others merge here:$others"
	fi
}
# has NAME PAGES: does the kernel have so many records of it?
has() { [ "$(merging "${PID[$1]}")" -eq "$2" ]; }
zero_placed() { awk -v n="$2" '/^ksm_zero_pages/ { exit $2 != n }' "/proc/${PID[$1]}/ksm_stat"; }
# merged A B C: wait until they have that many, and ksmd has been everywhere once more.
merged() {
	wait_for 300 has a "$1" && wait_for 100 has b "$2" && wait_for 100 has c "$3" && scans 2
}
# settle: wait until nothing changes for two rounds.
settle() {
	local last="" now=-
	while [ "$now" != "$last" ]; do
		last=$now
		scans 2 || return 1
		now="$(merging "${PID[a]}") $(merging "${PID[b]}") $(merging "${PID[c]}")"
	done
}

set_ksm advisor_mode none
set_ksm run 0
set_ksm pages_to_scan 20000
set_ksm sleep_millisecs 10
set_ksm smart_scan 0
set_ksm use_zero_pages 1
# a, b and c are the guests; d is not asked for.
start a pair:1500 triple:700 twin:300x2 zero:400 own:500 offpair:200
start b pair:1500 triple:700 zero:100 own:20 offtriple:50
start c triple:700 mixcd:500 own:300
start d mixcd:500 dtwin:100x3 zero:30
pids=${PID[a]}=a,${PID[b]}=b,${PID[c]}=c
set_ksm run 1
check sharing_merges "$(merging "${PID[a]}") $(merging "${PID[b]}") $(merging "${PID[c]}")" merged 2800 2200 950
check sharing_zero_placed "$(cat "/proc/${PID[a]}/ksm_stat")" zero_placed a 400
set_ksm run 0

check sharing_runs 'memctl failed' look
exact sharing_exact
check sharing_reference 'an independent count differs' agrees
# 1500 pairs, 700 triples, 300 twins, 250 pairs with d. 700 * 4096 * 2/3 leaves 2/3 byte to each of
# three, of which two get a whole one.
check sharing_expected 'not what the processes were given' says '[g["saved_bytes"] for g in d["guests"]] == [
	1500 * 2048 + 1911467 + 300 * 4096, 1500 * 2048 + 1911467, 1911466 + 250 * 2048]'
check sharing_within 'wrong split' says '[g["within_bytes"] // 4096 for g in d["guests"]] == [300, 0, 0]'
check sharing_others 'd is not among the others' says 'd["others"]["processes"] >= 1 and d["others"]["saved_bytes"] >= (125 + 200) * 4096 and d["unknown"]["shared_bytes"] == 0'
if [ -e $ksm/ksm_zero_pages ]; then
	check sharing_zero 'zero pages differ' says '[g["zero_bytes"] // 4096 for g in d["guests"]] == [400, 100, 0]'
	[ -n "$(others_merge)" ] || check sharing_zero_sum 'their sum differs' says 'd["check"]["zero_difference_pages"] == 0'
else
	check sharing_zero_mapped 'zero pages differ' says '[g["zero_mapped_bytes"] // 4096 for g in d["guests"]] == [400, 100, 0]'
fi
"$memctl" --socket "$T/none" sharing --matrix --pid "$pids" >"$T/text" 2>&1
sed 's/^/# /' "$T/text"
check sharing_text 'no such line' grep -Eq '^The kernel counts [^(]*\([0-9]+ pages\)(: the sum, exactly\.|, [0-9]+ pages (more|less) than the sum:)$' "$T/text"
check sharing_matrix_text 'no such line' grep -Eq '^b +8\.6 MiB +0 B' "$T/text"
look_for b
check sharing_named 'wrong guests' says '[g["name"] for g in d["guests"]] == ["b"]'
look_for nobody
check sharing_nobody 'not refused with status 1' [ $? -eq 1 ]
check sharing_nobody_told "$(cat "$T/look.err")" grep -q "there is no guest 'nobody'" "$T/look.err"

# A fork of d maps its merged pages, and its other ones: only the former count. Whether the kernel says
# of the child that it merges differs between versions.
order d fork
look
check sharing_fork 'a fork is not told apart' says '-600 <= term("unknown") + term("unrecorded") + term("gone") <= -550 and adds_up'

# ksmd is stopped, so its records stay although the pages are shared no more.
order b 'write pair 40'
order b 'write triple 25'
order c 'drop mixcd 20'
stop_vmm d # its child goes with it
wait_for 10 eval '! pgrep -f dtwin:100x3 >/dev/null'
look
check sharing_stale 'the stale records are not told' says '[(g["recorded_bytes"] - g["shared_bytes"] - (g["single_bytes"] or 0)) // 4096 for g in d["guests"]
	if g["single_bytes"] is not None] in ([0, 65, 10], []) and term("stale") >= 75 and adds_up'
check sharing_ended 'the records of a process that has ended are not told' says 'term("gone") >= 250 + 300'
check sharing_stale_reference 'an independent count differs' agrees
set_ksm run 1
check sharing_merges_again 'ksmd does not drop the records' merged 2800 2135 940
set_ksm run 0
look
exact sharing_exact_again
check sharing_reference_again 'an independent count differs' agrees
set_ksm run 1

# Busy: ksmd merges and two processes write while memctl looks.
order a 'churn 1'
order b 'churn 2'
explained=0 exact=0
for _ in 1 2 3 4 5 6 7 8; do
	look && says 'adds_up' && explained=$((explained + 1))
	says 'd["check"]["exact"]' >/dev/null && exact=$((exact + 1))
	says 'print("# busy: kernel", d["kernel"]["after"]["pages_sharing"], "sum", d["sum"]["saved_bytes"] // 4096, terms, "moved", d["check"]["moved_pages"]) or 1'
done
check sharing_busy_explained "$explained of 8" [ $explained -eq 8 ]
check sharing_busy_moves "all $exact of 8 looks were exact: nothing was going on" [ $exact -lt 8 ]
order a 'write own 1'
order b 'write own 1'
check sharing_settles_last 'ksmd does not come to rest' settle
set_ksm run 0
look
exact sharing_exact_last
check sharing_reference_last 'an independent count differs' agrees

if setpriv --reuid=65534 --clear-groups true 2>/dev/null; then
	cp "$(command -v "$memctl")" "$T/memctl"
	chmod 711 "$T"
	setpriv --reuid=65534 --clear-groups "$T/memctl" --socket "$T/none" sharing --pid "$pids" >"$T/text" 2>&1
	check sharing_not_root 'not refused with status 1' [ $? -eq 1 ]
	check sharing_not_root_why "$(cat "$T/text")" grep -q 'run as root' "$T/text"
else
	skip sharing_not_root 'cannot become another user'
fi

# Without memd and --pid: whoever runs a guest by KVM.
if [ -c /dev/kvm ] && start_tiny kvm1 '' --memory size=64M; then
	"$memctl" --socket "$T/none" --json sharing >"$T/answer"
	check sharing_discovers "$(cat "$T/answer")" says "(\"kvm1\", ${PID[kvm1]}) in [(g[\"name\"], g[\"pid\"]) for g in d[\"guests\"]]"
	mkdir "$T/run"
	printf '[memd]\nguests=%s\nruntime-dir=%s\nstate-dir=%s\n' "$T/*.qmp" "$T/run" "$T/state" >"$T/memd.conf"
	"$memd" --dry-run --config "$T/memd.conf" >"$T/memd.log" 2>&1 &
	PID[memd]=$!
	check sharing_memd_finds "$(cat "$T/memd.log")" wait_for 20 grep -q 'guest kvm1 found' "$T/memd.log"
	"$memctl" --socket "$T/run/memd.sock" --json sharing >"$T/answer"
	check sharing_asks_memd "$(cat "$T/answer")" says "[(\"kvm1\", ${PID[kvm1]})] == [(g[\"name\"], g[\"pid\"]) for g in d[\"guests\"]]"
else
	skip sharing_discovers 'no KVM guest can be started here'
fi
finish
