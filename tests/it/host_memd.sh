#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The daemon against fake guests (fake_qmp.py) and a captured host whose KSM files it may change:
# discovery, bad guests, taking and giving, journal and restore, crash, reload, dry run.
cd "$(dirname "$0")/../.." || exit 1
# shellcheck source=tests/it/lib.sh
. tests/it/lib.sh
# shellcheck source=tests/it/fake_host.sh
. tests/it/fake_host.sh
MEMD=$MEMD_BUILD/memd
MEMCTL=$MEMD_BUILD/memctl
KSM=$T/tree/sys/kernel/mm/ksm
GIB=$((1 << 30))

configure() {
	mkdir -p "$T/run/guests"
	printf '[memd]\nruntime-dir=%s\nstate-dir=%s\nguest-timeout=1s\n%s\n' "$T/run" "$T/state" \
		"${1:-}" >"$T/memd.conf"
}
# /proc is copied over: the fakes keep their processes in it while this runs.
fresh_host() {
	rm -rf "$T/tree/sys"
	copy_host
	echo 0 >"$KSM/run"
	echo 100 >"$KSM/pages_to_scan"
	echo 20 >"$KSM/sleep_millisecs"
	echo 'none [scan-time]' >"$KSM/advisor_mode"
}
ksm_now() {
	local knob
	for knob in run pages_to_scan sleep_millisecs advisor_mode; do echo "$(<"$KSM/$knob")"; done | xargs
}
KSM_BEFORE="0 100 20 none [scan-time]"
KSM_AFTER="0 100 20 scan-time" # a plain file keeps the word alone

stop_fakes() {
	fake quit >/dev/null
	wait "${PID[fakes]}"
	unset 'PID[fakes]'
}
guest() { ask_memd guests ".guests[] | select(.name == \"$1\") | $2"; }
guest_holds() { guest "$@" >/dev/null; }
report() { holds report "$1"; }
logged() { grep -q -- "$1" "$T/memd.log"; }
commands() { fake show "$1" | jq -r '.counts.balloon // 0'; }
target() { fake show "$1" | jq -r .target; }

# ---- command line and configuration ----
says() { # says STATUS TEXT OPTIONS...
	local status=$1 text=$2 out
	shift 2
	out=$("$MEMD" "$@" 2>&1)
	[ $? -eq "$status" ] && grep -q -- "$text" <<<"$out" || { echo "# $out" >&2; return 1; }
}
check usage-option 'unknown option' says 2 'memd --help' --no-such-option
check usage-word 'stray word' says 2 "'web1' is no option" web1
check usage-version 'version' says 0 '^memd [0-9]' --version
check config-absent 'absent file' says 1 'there is no such file' --config "$T/none" --check-config
printf '[memd]\ntick=2s\ntyck=1s\n' >"$T/a.conf"
check config-unknown-key 'warning with file and line' says 0 "a.conf:3: unknown key 'tyck'" \
	--config "$T/a.conf" --check-config
check config-origin 'value with its origin' says 0 "tick=2s.*a.conf:2" --config "$T/a.conf" --check-config
printf '[policy]\nhigh=lots\n' >"$T/a.conf"
check config-bad-value 'error with file and line' says 1 "a.conf:2: high: 'lots' is not a percentage" \
	--config "$T/a.conf" --check-config
check config-bad-start 'a bad configuration is no start' says 1 'configuration refused' --config "$T/a.conf"
configure
check sysroot-absent 'a root without a host' says 1 'no host to read there' --config "$T/memd.conf" --sysroot "$T/run"

# ---- good guests and bad ones, host short of memory ----
fresh_host
start_fakes --balloon-rate $((200 << 20)) --host-memory $((5888 << 20)) web1:good:1024 web2:vmm:1024 lies:lies hang:hang \
	mute:mute garbage:garbage flood:flood bare:bare slow:slow close:close
start_memd
check start 'memd does not answer' holds status '.mode == "active"'
check start-twice 'the second one must refuse' says 1 "already running, pid ${PID[memd]}" \
	--config "$T/memd.conf" --sysroot "$T/tree"
check discovery-vmm 'web2 not seen as ours' wait_for 5 guest_holds web2 '.hypervisor == "vmm" and .answering'
check discovery-qemu 'web1 not seen' wait_for 5 guest_holds web1 '.hypervisor == "qemu" and .memory_bytes == 1073741824'
check discovery-pid 'pid is not the listener' [ "$(guest web1 .pid)" = "$(fake show web1 | jq .pid)" ]
check bare 'a guest without balloon is told so' wait_for 5 guest_holds bare '.notes[0] | contains("no balloon device")'

check hang-noticed 'the hanging guest still counts as answering' wait_for 15 guest_holds hang '.answering | not'
before=$(ask_memd status .tick.count)
sleep 5
after=$(ask_memd status .tick.count)
check tick-rate "$((after - before)) ticks in 5 s beside hanging, mute and flooding guests" \
	[ $((after - before)) -ge 4 ] && [ $((after - before)) -le 7 ]
check tick-time "a tick waits for guests that do not answer: $(ask_memd status .tick.last_us) us" \
	wait_for 10 holds status '.tick.last_us < 250000'
check hang-others 'web1 suffers from the hanging guest' guest_holds web1 .answering
check mute 'no reason for the mute guest' guest_holds mute '.notes[0] | contains("does not greet")'
check garbage-dropped 'garbage goes on unpunished' wait_for 10 logged 'guest garbage.*not JSON'
check flood-dropped 'the flood goes on unpunished' wait_for 10 logged 'guest flood.*floods us'
check lies-rejected 'a lie is believed' guest_holds lies '.stats.age_us == null and (.notes | join(" ") | contains("contradict"))'
check lies-no-balloon 'a liar was ballooned without knowing its floor' [ "$(target lies)" -ge $((256 << 20)) ]

taken() { [ "$(target web1)" -lt $GIB ] || [ "$(target web2)" -lt $GIB ]; }
check takes 'nothing is taken on a host short of memory' wait_for 20 taken
check takes-enough 'the host stays short' wait_for 30 holds status '.state == "high"'
check floor 'less than what the guest uses' [ "$(target web1)" -gt $((256 << 20)) ]
check explain 'no decision is explained' holds explain '[.decisions[] | select(.guest == "web1" and .action == "balloon" and (.reason_text | length) > 10)] | length > 0'
measured() { holds explain '[.decisions[] | select(.action == "balloon" and (.measured_gain_bytes // 0) > 50000000)] | length > 0'; }
check measured 'no gain was measured' wait_for 10 measured
check report-sum 'parts do not add up' report '.savings | .total_bytes == .ksm_bytes + .balloon_bytes + .reported_bytes and .balloon_bytes > 0'
check report-guests 'guests do not add up' report '([.guests[].saved_bytes] | add) == .savings.total_bytes'
check nodes 'the expensive look never came' wait_for 15 report '[.guests[] | select(.nodes["0"] > 0)] | length >= 3'
check probe 'no probe' holds probe '.facts[] | select(.key == "second_level_paging") | .value == "npt"'
changed() { [ "$(ksm_now)" != "$KSM_BEFORE" ]; }
check ksm-set 'KSM was not set' wait_for 15 changed
check ksm-advisor 'the advisor was left in charge' [ "$(cat "$KSM/advisor_mode")" = none ]
check ksm-told 'status does not list the change' holds status '.changes[] | select(.file == "sys/kernel/mm/ksm/advisor_mode") | .original == "scan-time" and .current == "none"'
check trace 'no trace is written' [ -s "$T/state/trace" ]

# ---- guests come, go and reboot ----
fake add late:good:256 >/dev/null
check found-later 'a late guest is not found' wait_for 5 guest_holds late .answering
fake kill late >/dev/null
gone() { ! guest_holds "$1" .id; }
check gone 'a dead guest is still listed' wait_for 5 gone late
check gone-told 'its end is not logged' logged 'guest late is gone'
old=$(guest web1 .id)
fake reset web1 >/dev/null
renewed() { [ "$(guest web1 .id)" -gt "$old" ]; }
check reset-fresh 'a rebooted guest keeps its old life' wait_for 5 renewed
check reset-gives 'a rebooted guest boots under the old target' wait_for 5 logged 'guest web1: balloon .*it was reset'

# ---- configuration anew ----
echo '[policy]
high=nonsense' >>"$T/memd.conf"
kill -HUP "${PID[memd]}"
check reload-bad 'a bad configuration is not refused' wait_for 5 logged 'configuration not reloaded'
check reload-bad-alive 'memd does not survive it' holds status '.errors | join(" ") | contains("nonsense")'
configure '[guest web2]
shares=3000'
kill -HUP "${PID[memd]}"
check reload 'the new shares are not in force' wait_for 5 guest_holds web2 '.shares == 3000'

# ---- a crash, and the next start ----
quiet() {
	local n
	n=$(commands web2)
	sleep 4
	[ "$(commands web2)" = "$n" ]
}
wait_for 40 quiet
before=$(target web2)
disown "${PID[memd]}" # bash would tell of the kill
kill -9 "${PID[memd]}"
unset 'PID[memd]'
sleep 1
check crash-guests 'guests suffer from memd'"'"'s death' [ "$(target web2)" = "$before" ]
check crash-leaves 'nothing to restore: this test proves nothing' changed
start_memd
check crash-restored 'the dead one'"'"'s changes stay' logged 'ended without restoring'
check crash-restored-file 'the advisor is not put back' logged 'ksm/advisor_mode: back to scan-time'
check readopt 'a guest is not taken over' wait_for 5 guest_holds web2 .answering
sleep 3
check readopt-no-jump "target of web2 went from $before to $(target web2)" near "$(target web2)" "$before" 15

# ---- what a journal may hold ----
stop_memd
printf 'sys/kernel/mm/../../../etc/passwd\t1\t2\nnonsense\n' >"$T/run/undo"
start_memd
check journal-outside 'broken lines are not told at the start' logged 'line 1 makes no sense'
check journal-broken 'broken lines are not told at the start' logged 'line 2 makes no sense'
stop_memd
check journal-told-once 'broken lines are told again at the end' [ "$(grep -c 'makes no sense' "$T/memd.log")" = 2 ]
printf 'sys/kernel/mm/ksm/run\t1\t0\n' >"$T/run/undo"
check journal-root 'the live host'"'"'s journal is restored to another root' \
	says 1 'is of a memd for another root' --config "$T/memd.conf" --sysroot "$T/tree"
check journal-root-kept 'and it is gone' grep -q 'ksm/run' "$T/run/undo"
printf 'root\t%s\nsys/kernel/mm/ksm/no_such_file\t1\t2\n' "$(realpath "$T/tree")" >"$T/run/undo"
start_memd
check journal-gone 'a file that is gone is blamed on somebody' logged 'no_such_file: is gone'
stop_memd
rm -f "$T/run/undo"
ln -s /dev/null "$T/run/undo"
check journal-link 'a journal elsewhere is believed' says 1 'no journal that memd wrote' \
	--config "$T/memd.conf" --sysroot "$T/tree"
rm -f "$T/run/undo"
touch "$SOCKET"
check socket-file 'no way out is told' says 1 'remove it or use another path' \
	--config "$T/memd.conf" --sysroot "$T/tree"
rm -f "$SOCKET"
check memctl-no-socket 'the empty path is not named' \
	grep -q "'': that is no path of a socket" <("$MEMCTL" --socket '' status 2>&1)
fresh_host
start_memd

# ---- reset, then stop ----
wait_for 15 changed
# By a socket that nobody answers on beside a living memd: nothing is undone under it.
echo nonsense >"$T/run/pinned"
check reset-living 'memctl does not see the living one' \
	grep -q 'a memd holds the journal' <("$MEMCTL" --socket "$T/run/none" reset 2>&1)
check reset-living-pins 'its pins are undone' [ -e "$T/run/pinned" ]
rm -f "$T/run/pinned"
"$MEMCTL" --socket "$SOCKET" reset >/dev/null
check reset-restores "KSM reads $(ksm_now)" [ "$(ksm_now)" = "$KSM_AFTER" ]
check reset-stops 'memd goes on' holds status '.mode == "stopped" and (.changes | length == 0)'
before=$(commands web1)-$(commands web2)
fake other 1024 >/dev/null
sleep 3
check reset-stands-still 'memd still gives balloon commands' [ "$(commands web1)-$(commands web2)" = "$before" ]
fake other 0 >/dev/null
check stop 'SIGTERM does not end it with 0' stop_memd
fresh_host
start_memd
fake add young:good:256 >/dev/null
polled() { [ "$(fake show young | jq .interval)" = 1 ]; }
check polling 'statistics of a new guest are not polled' wait_for 5 polled
check restart-ksm 'KSM was not set again' wait_for 15 changed
check stop-2 'SIGTERM does not end it with 0' stop_memd
check stop-interval 'the polling of statistics was left on' [ "$(fake show young | jq .interval)" = 0 ]
check stop-restores "KSM reads $(ksm_now)" [ "$(ksm_now)" = "$KSM_AFTER" ]
check stop-journal 'the journal still lists changes' [ ! -s "$T/run/undo" ]
check stop-socket 'the socket is left behind' [ ! -e "$SOCKET" ]

# ---- another manager at work ----
fresh_host
mkdir -p "$T/tree/proc/4711"
echo ksmtuned >"$T/tree/proc/4711/comm"
echo '4711 (ksmtuned) S 1 4711 4711 0 -1 4194560 0 0 0 0 1 1 0 0 20 0 1 0 99 0 0' >"$T/tree/proc/4711/stat"
printf 'Name:\tksmtuned\nState:\tS (sleeping)\nUid:\t0\t0\t0\t0\n' >"$T/tree/proc/4711/status"
start_memd
check aside 'memd does not stand aside' holds status '.standing_aside[] | select(.what == "ksm") | .why | contains("ksmtuned")'
sleep 3
check aside-ksm 'KSM was set beside ksmtuned' [ "$(ksm_now)" = "$KSM_BEFORE" ]
# Who cannot be looked for is not gone.
mv "$T/tree/proc" "$T/tree/hidden"
kill -HUP "${PID[memd]}"
check aside-blind 'no reload' wait_for 5 logged 'configuration reloaded'
mv "$T/tree/hidden" "$T/tree/proc"
check aside-blind-stays 'KSM is taken over unseen' eval '! logged "taking over KSM"'
check aside-blind-ksm 'KSM was set beside ksmtuned' [ "$(ksm_now)" = "$KSM_BEFORE" ]
stop_memd

# ---- a dry run ----
rm -rf "$T/tree/proc/4711"
fresh_host

# ---- what was recorded is decided the same again: with restarts, a crash and a reload in it ----
# How many ticks there are by now is the machine's speed: there have to be some of every start.
replayed() {
	"$MEMCTL" --json replay "$T/state/trace" >"$T/replay" &&
		jq -e '.check | .ticks >= 15 and .same == .ticks' "$T/replay" >/dev/null && return
	echo "# $(jq -c '[.check, .notes]' "$T/replay")"
	return 1
}
check replay 'other decisions than the recorded ones' replayed
laws() {
	"$MEMCTL" --json replay "$T/state/trace" --policy memd --policy pve --set step=64M >"$T/laws" &&
		jq -e '[.policies[].policy] | contains(["memd", "pve"])' "$T/laws" >/dev/null && return
	echo "# $(jq -c '[.policies[]?.policy]' "$T/laws")"
	return 1
}
check replay-laws 'other policies are not worked out' laws
check replay-set 'a key that there is not is taken' \
	[ "$("$MEMCTL" replay "$T/state/trace" --set nonsense=1 >"$T/out" 2>&1; echo $?)" = 2 ]
days() {
	"$MEMCTL" --json simulate --scenario leak --hours 1 --policy memd --policy none >"$T/days" &&
		jq -e '.policies | length == 2' "$T/days" >/dev/null && return
	echo "# $(head -c 400 "$T/days")"
	return 1
}
check simulate 'a simulated day is not run' days
check replay-starts 'starts of memd are not told apart' jq -e '.starts >= 3 and (.notes | length) == 0' "$T/replay"
rm -rf "$T/state"
before=$(commands web1)-$(commands web2)
sums() { find "$T/tree/sys" -type f -exec md5sum {} + | sort | md5sum; }
was=$(sums)
start_memd --dry-run
check dry-run 'not told' holds status '.mode == "dry-run"'
check dry-run-says 'it does not say what it would do' wait_for 10 logged 'would set KSM on'
check dry-run-explains 'explain does not say so' holds explain '.decisions[0].outcome == "dry-run"'
check dry-run-files 'host files changed' [ "$(sums)" = "$was" ]
check dry-run-guests 'guests were given commands' [ "$(commands web1)-$(commands web2)" = "$before" ]
check dry-run-interval 'statistics polling was switched on' [ "$(fake show young | jq .interval)" = 0 ]
check dry-run-reset 'reset does not say that there is nothing' \
	grep -q 'nothing to reset' <("$MEMCTL" --socket "$SOCKET" reset 2>&1)
check dry-run-stop 'SIGTERM does not end it with 0' stop_memd
stop_fakes

# ---- few file descriptors ----
many=()
for i in $(seq 60); do many+=("f$i:good:128"); done
fresh_host
start_fakes "${many[@]}"
files() { # files SOFT HARD: start it with these limits
	prlimit --nofile="$1:$2" "$MEMD" --config "$T/memd.conf" --sysroot "$T/tree" >"$T/memd.log" 2>&1 &
	PID[memd]=$!
	wait_for 10 ask_memd status . >/dev/null
}
files 96 96
check files-few 'nobody is told why guests are missing' wait_for 10 logged 'may open no more files'
check files-few-lives 'memd does not answer' wait_for 5 holds status '.guests.answering > 0 and .guests.answering < 60'
check files-few-stop 'SIGTERM does not end it with 0' stop_memd
files 48 4096
check files-soft 'the soft limit counts' wait_for 20 holds status '.guests.answering == 60'
stop_memd
stop_fakes

# ---- guests do not wait for the tick ----
configure tick=10s
fresh_host
start_fakes web1:good:256
start_memd
check early-start 'the guests of the start wait for the second tick' wait_for 4 holds status '.tick.count >= 2'
fake add new:good:256 >/dev/null
check early-guest 'a new guest waits for the tick' wait_for 4 guest_holds new .answering
# While it may still be filling its memory, and until KSM's first rate is measured, there are more.
sleep 3
count=$(ask_memd status .tick.count)
sleep 3
check early-then-not "ticks $count to $(ask_memd status .tick.count) in 3 s of nothing new" \
	[ $(($(ask_memd status .tick.count) - count)) -le 1 ]
check early-stop 'SIGTERM does not end it with 0' stop_memd
stop_fakes
configure

# ---- a hundred guests ----
many=()
for i in $(seq 100); do many+=("g$i:good:128"); done
fresh_host
start_fakes "${many[@]}"
start_memd
wait_for 20 ask_memd status '.guests.answering == 100' >/dev/null
check hundred 'not all of 100 guests answer' holds status '.guests.answering == 100'
cpu() { awk '{ print $14 + $15 }' "/proc/${PID[memd]}/stat"; }
rss() { awk '/^VmRSS/ { print $2 }' "/proc/${PID[memd]}/status"; }
sleep 3
cpu=$(cpu) kb=$(rss)
sleep 10
cpu=$(($(cpu) - cpu)) grown=$(($(rss) - kb))
echo "# 100 guests: $((cpu * 10)) ms of CPU in 10 s, $(rss) KiB resident, grown by $grown KiB, longest tick" \
	"$(ask_memd status .tick.max_us) us"
if [ -n "${MEMD_SAN:-}" ]; then
	skip hundred-cheap 'sanitizers make it dearer'
else
	check hundred-cheap "$cpu ticks of CPU in 10 s, $(rss) KiB" [ "$cpu" -le 100 ] && [ "$(rss)" -le 65536 ]
	check hundred-steady "grew by $grown KiB in 10 s" [ "$grown" -le 512 ]
fi
check hundred-stop 'SIGTERM does not end it with 0' stop_memd
stop_fakes
finish
