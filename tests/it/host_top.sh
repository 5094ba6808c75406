#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# memctl top on a real terminal (tmux) of 80x24 and others, beside a daemon with fake guests: what it
# shows, its keys, the daemon going and coming back, the terminal left as it was.
cd "$(dirname "$0")/../.." || exit 1
# shellcheck source=tests/it/lib.sh
. tests/it/lib.sh
# shellcheck source=tests/it/fake_host.sh
. tests/it/fake_host.sh
MEMCTL=$MEMD_BUILD/memctl

command -v tmux >/dev/null || { skip top 'tmux is not here'; exit 0; }
pane() { tmux -S "$T/tmux" "$@" 2>/dev/null; }
restore() { pane kill-server; }
keys() { pane send-keys -t top "$@"; }
shows() { pane capture-pane -p -t top | grep -qE -- "$1"; }
hides() { ! shows "$1"; }
# check_screen NAME SECONDS REGEX: it comes.
check_screen() {
	wait_for "$2" shows "$3" && { ok "$1"; return; }
	pane capture-pane -p -t top | sed 's/^/# /' >&2
	not_ok "$1" "not on the screen: $3"
}
start_memd() {
	"$MEMD_BUILD/memd" --config "$T/memd.conf" --sysroot "$T/tree" >"$T/memd.log" 2>&1 &
	PID[memd]=$!
	wait_for 10 "$MEMCTL" --socket "$SOCKET" --json status >/dev/null 2>&1
}
refuses() { # refuses STATUS TEXT COMMAND...
	local status=$1 text=$2 out
	shift 2
	out=$("$@" 2>&1 </dev/null)
	[ $? -eq "$status" ] && grep -q -- "$text" <<<"$out" || { echo "# $out" >&2; return 1; }
}

check no-terminal 'a pipe is taken for a terminal' refuses 2 'for scripts' "$MEMCTL" --socket "$SOCKET" top

copy_host
printf '[memd]\nruntime-dir=%s\nstate-dir=%s\n' "$T/run" "$T/state" >"$T/memd.conf"
start_two_fakes
start_memd

pane -f /dev/null new-session -d -s top -x 80 -y 24 \
	"sh -c 'stty -g; echo before; $MEMCTL --socket $SOCKET top; echo status \$?; stty -g; sleep 1000'"
check_screen host 15 '^host state [a-z]+, .* available of 2.1 GiB, .* 2 guests'
check_screen savings 5 '^saved .*: KSM .*, balloon'
check_screen guest 10 '^web1 +qemu +1 GiB'
check_screen ours 5 '^web2 +vmm +1 GiB'
check_screen saves 30 '^web[12] .* [1-9][0-9.]* MiB +[1-9][0-9.]* MiB'
check_screen sparks 10 '^available +[0-9.]+ [KMG]iB +[^ ]{3,}$'
check_screen bottom 5 'q quit  s sort: saved'
first() { pane capture-pane -p -t top | grep -oE '^web[12]' | head -n 1; }
keys s s s s
check_screen sort 5 's sort: name'
check sort-order "by name comes first: $(first)" [ "$(first)" = web1 ]
keys '?'
check_screen help 5 'Any key goes back'
keys x
check_screen help-back 5 '^host state'
keys Space
check_screen paused 5 '^PAUSED'
before=$(pane capture-pane -p -t top)
sleep 2.5
check paused-still 'a paused screen goes on' [ "$before" = "$(pane capture-pane -p -t top)" ]
keys Space
check going-on 'still paused' wait_for 5 hides PAUSED

# Any size: the program lives and is whole again afterwards.
for size in '20 5' '7 2' '200 50' '1 1' '80 24'; do
	read -r columns lines <<<"$size"
	pane resize-window -t top -x "$columns" -y "$lines"
	sleep 0.3
done
check_screen resized 5 '^web2 +vmm +1 GiB'

kill "${PID[memd]}"
ends memd 0 10
check_screen gone 10 'memd does not answer: .*; trying again'
check_screen gone-kept 1 '^web1 '
start_memd
check back 'a daemon that is back is not found' wait_for 10 hides 'does not answer'
keys q
check_screen quits 5 '^status 0'
modes() { pane capture-pane -pJ -t top | grep -E '^[0-9a-f]+(:[0-9a-f]+){10,}'; }
both() { [ "$(modes | wc -l)" -eq 2 ]; }
wait_for 5 both
check terminal "its modes before and after: $(modes)" [ "$(modes | uniq -c | grep -c '^ *2 ')" -eq 1 ]
kill "${PID[memd]}"
ends memd 0 10
tests/it/fake_qmp.py --send "$T/run/guests/control" quit >/dev/null
ends fakes 0 10
finish
