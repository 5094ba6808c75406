# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# A host for memd that a script may change: a captured tree in $T/tree and fake guests on it, whose
# sockets are in $T/run/guests; memd on it, by $T/memd.conf. Sourced after lib.sh.
# shellcheck disable=SC2034 # for the scripts
CTL=$T/run/guests/control SOCKET=$T/run/memd.sock

# copy_host: also again, over what is there.
copy_host() {
	mkdir -p "$T/run/guests" "$T/tree"
	cp -a tests/fixtures/hosts/npt-6.12/. "$T/tree/"
}
# start_fakes ARGS...: of fake_qmp.py, ready when this returns.
start_fakes() {
	tests/it/fake_qmp.py --dir "$T/run/guests" --proc "$T/tree" "$@" >"$T/fakes.log" 2>&1 &
	# shellcheck disable=SC2034,SC2154 # of lib.sh
	PID[fakes]=$!
	wait_for 20 grep -q ready "$T/fakes.log"
}
# start_two_fakes: with a host so small that memory is taken from them.
start_two_fakes() {
	start_fakes --balloon-rate $((200 << 20)) --host-memory $((2304 << 20)) web1:good:1024 web2:vmm:1024
}
fake() { tests/it/fake_qmp.py --send "$CTL" "$@"; }

# start_memd OPTION...: it answers when this returns.
start_memd() {
	"$MEMD_BUILD/memd" --config "$T/memd.conf" --sysroot "$T/tree" "$@" >"$T/memd.log" 2>&1 &
	PID[memd]=$!
	wait_for 10 ask_memd status . >/dev/null
}
stop_memd() {
	kill "${PID[memd]}"
	ends memd 0 10
}
# ask_memd QUERY FILTER: the jq filter on the answer; fails when it is empty, null or false.
ask_memd() { "$MEMD_BUILD/memctl" --socket "$SOCKET" --json "$1" 2>/dev/null | jq -er "$2"; }
holds() { ask_memd "$@" >/dev/null; }
