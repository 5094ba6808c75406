#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# memd on this machine's own KSM, with processes that hold the same memory twice for guests: it merges
# them, ends in a patrol, takes up a second set of guests, and when it is killed in the middle of a
# campaign, `memctl reset` or its next start brings the admin's values back. On a host that is short,
# which memd alone is made to believe, ksmd does not yield to guests. Every KSM setting is put back.
# Runs in the lab too (lab_sharing.sh), with a kernel that has less of KSM.
# shellcheck source-path=SCRIPTDIR source=lib.sh
here=$(realpath "$(dirname "$0")")
. "$here/lib.sh"
ksm=/sys/kernel/mm/ksm
MEMD=${MEMD:-$MEMD_BUILD/memd}
MEMCTL=${MEMCTL:-$MEMD_BUILD/memctl}
SOCKET=$T/run/memd.sock
MIB=64 # of each guest, half of which can be saved
knobs=(pages_to_scan sleep_millisecs smart_scan use_zero_pages run advisor_mode)
declare -A WAS

# ksmd's pid, or nothing where only the processes of a container are seen.
find_ksmd() {
	local file stat
	for file in /proc/[0-9]*/stat; do
		read -r stat 2>/dev/null <"$file" || continue
		[[ $stat =~ ^([0-9]+)\ \(ksmd\)\ .\ 2\  ]] || continue
		echo "${BASH_REMATCH[1]}"
		return
	done
}
KSMD=$(find_ksmd)
nice_now() { cut -d ' ' -f 19 "/proc/$KSMD/stat"; }
is_nice() { [ "$(nice_now)" = "$1" ]; }
# host_has PERCENT: what memd believes to be available.
host_has() {
	awk -v part="$1" '$1 == "MemTotal:" { total = $2 }
		$1 == "MemFree:" || $1 == "MemAvailable:" { $2 = int(total * part / 100) }
		{ print $1, $2, $3 }' /proc/meminfo >"$T/meminfo.new"
	cat "$T/meminfo.new" >"$T/meminfo" # in place: it is open, and mounted
}
value() { sed 's/.*\[\(.*\)\].*/\1/' "$ksm/$1" 2>/dev/null; }
restore() {
	local name
	# The advisor last: it refuses others' values while it runs.
	[ ! -w "$ksm/advisor_mode" ] || echo none >"$ksm"/advisor_mode
	for name in "${knobs[@]}"; do
		[ -z "${WAS[$name]:-}" ] || echo "${WAS[$name]}" >"$ksm/$name" || true
	done
	[ -z "${WAS[nice]:-}" ] || renice -n "${WAS[nice]}" -p "$KSMD" >/dev/null
}
if [ ! -w $ksm/run ]; then
	skip ksm_host 'KSM cannot be set here (not root, or a kernel without it)'
	exit 0
fi
if [ "$(value run)" = 1 ]; then
	skip ksm_host 'KSM is on: somebody uses it'
	exit 0
fi
for name in "${knobs[@]}"; do WAS[$name]=$(value "$name"); done
alone=()
host_has 80
believe="mount --bind '$T/meminfo' /proc/meminfo"
if [ -z "$KSMD" ]; then
	skip ksm_urgent 'no ksmd is seen here (a container)'
elif ! unshare --mount sh -c "$believe" 2>"$T/mount.log"; then
	skip ksm_urgent "no file can be put over /proc/meminfo: $(tail -n 1 "$T/mount.log")"
elif WAS[nice]=$(nice_now) && ! renice -n 5 -p "$KSMD" >"$T/renice.log" 2>&1; then
	skip ksm_urgent "$(tail -n 1 "$T/renice.log")"
else
	alone=(unshare --mount sh -c "$believe && exec \"\$@\"" sh)
fi

# What an admin may have set: nothing of it is memd's choice.
declare -A ADMIN=([pages_to_scan]=123 [sleep_millisecs]=45 [smart_scan]=0 [use_zero_pages]=0 [run]=0
	[advisor_mode]=scan-time)
set_admin() {
	local name
	[ ! -w "$ksm/advisor_mode" ] || echo none >"$ksm"/advisor_mode
	for name in "${knobs[@]}"; do
		[ ! -w "$ksm/$name" ] || echo "${ADMIN[$name]}" >"$ksm/$name"
	done
	# The advisor has its own pages_to_scan, from the moment it is on.
	ADMIN[pages_to_scan]=$(value pages_to_scan)
}
# Prints what differs from the admin's values.
changed() {
	local name
	for name in "${knobs[@]}"; do
		[ ! -e "$ksm/$name" ] || [ "$(value "$name")" = "${ADMIN[$name]}" ] ||
			echo "$name is $(value "$name"), was ${ADMIN[$name]}"
	done
	[ ${#alone[@]} -eq 0 ] || is_nice 5 || echo "ksmd is at nice $(nice_now), was at 5"
}
is_admins() { [ -z "$(changed)" ]; }
start_memd() {
	"${alone[@]}" "$MEMD" --config "$T/memd.conf" >"$T/memd.log" 2>&1 &
	PID[memd]=$!
}
status() { "$MEMCTL" --socket "$SOCKET" --json "$1" 2>/dev/null | jq -er "$2"; }
up() { status status .version >/dev/null; }
# Guests' own savings; anybody's pages may be merged here.
saved_mib() { echo $(($(status report '.savings.ksm_bytes' || echo 0) >> 20)); }
merged() { [ "$(saved_mib)" -ge "$1" ]; }
on_campaign() { [ "$(value run)" = 1 ] && [ "$(value sleep_millisecs)" = 10 ]; }
on_patrol() { [ "$(value run)" = 1 ] && [ "$(value sleep_millisecs)" = 1000 ]; }
logged() { grep -q -- "$1" "$T/memd.log"; }
kill_memd() {
	kill -9 "${PID[memd]}"
	wait "${PID[memd]}" 2>/dev/null
	unset 'PID[memd]'
}

# configure [LINE...]: the lines are of the policy.
configure() {
	printf '[memd]\nruntime-dir=%s\nstate-dir=%s\nguests=%s\n[policy]\n' "$T/run" "$T/state" "$T/guests/*.qmp"
	printf '%s\n' reclaim=off "$@"
} >"$T/memd.conf"
# short NAME: is a campaign urgent that begins on a host that is short? One may end within a second.
short() { [ ${#alone[@]} -eq 0 ] || check "$1" "ksmd at nice $(nice_now) on a host that is short" wait_for 10 is_nice -10; }
nice_told() { status status '.changes[] | select(.file == "ksmd/nice") | .original == "5" and .current == "-10"' >/dev/null; }
told_or_over() { nice_told || is_nice 5; }

mkdir -p "$T/run" "$T/guests"
configure ksm-cpu=0.1% # campaigns that last
"$here/merge_qmp.py" --dir "$T/guests" a-1:bare:$MIB a-2:bare:$MIB a-3:bare:$MIB >"$T/front.log" 2>&1 &
PID[front]=$!
wait_for 30 grep -q ready "$T/front.log" || {
	not_ok ksm_guests "$(tail -n 3 "$T/front.log")"
	finish
}

set_admin
host_has 1
start_memd
check ksm_up "$(tail -n 3 "$T/memd.log")" wait_for 10 up
check ksm_campaign 'no campaign for new guests' wait_for 20 on_campaign
short ksm_urgent
kill_memd
check ksm_killed_on_campaign 'memd was not on campaign when it was killed' on_campaign
check ksm_killed_left 'a killed memd cannot have put anything back' eval '! is_admins'
"$MEMCTL" --socket "$SOCKET" reset >"$T/reset.log" 2>&1
check ksm_reset_restores "$(changed) ($(tail -n 2 "$T/reset.log"))" is_admins

start_memd
check ksm_campaign_again 'no campaign after the reset' wait_for 20 on_campaign
short ksm_urgent_after_reset
[ ${#alone[@]} -eq 0 ] || check ksm_urgent_told 'status does not list it' wait_for 10 told_or_over
kill_memd
check ksm_killed_again 'memd was not on campaign when it was killed' on_campaign
host_has 80
configure
start_memd
check ksm_start_restores 'the next start does not put the values back' wait_for 10 logged 'ksm/advisor_mode: back to scan-time\|ksm/run: back to 0'
[ ${#alone[@]} -eq 0 ] || check ksm_start_restores_nice "ksmd at nice $(nice_now)" logged "ksmd's nice value: back to 5"
[ ${#alone[@]} -eq 0 ] || check ksm_urgent_no_more "ksmd at nice $(nice_now) on a host with plenty" is_nice 5
[ ${#alone[@]} -eq 0 ] || check ksm_urgent_not_told 'status still lists it' eval '! nice_told'
check ksm_merges "$(saved_mib) MiB of $((3 * MIB / 2))" wait_for 60 merged $((3 * MIB / 2 * 90 / 100))
check ksm_patrol "still at $(value pages_to_scan) pages, $(value sleep_millisecs) ms" wait_for 60 on_patrol
check ksm_patrol_holds "$(saved_mib) MiB" merged $((3 * MIB / 2 * 90 / 100))

begin=$SECONDS
for name in b-1 b-2; do "$here/merge_qmp.py" --send "$T/guests/control" add $name:bare:$MIB >/dev/null; done
check ksm_second_campaign 'no campaign for the second set' wait_for 20 on_campaign
check ksm_second_merges "$(saved_mib) MiB of $((5 * MIB / 2))" wait_for 60 merged $((5 * MIB / 2 * 90 / 100))
echo "# the second set was merged $((SECONDS - begin)) s after its start began"
check ksm_second_patrol "still at $(value pages_to_scan) pages, $(value sleep_millisecs) ms" wait_for 60 on_patrol
kill "${PID[memd]}"
check ksm_stops "status $STATUS" ends memd 0 10
check ksm_stop_restores "$(changed)" is_admins
finish
