#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Guests that do not do as they should, one of each kind, beside two that do, on a host short of
# memory: each is told of in `memctl status`, none is taken from on false grounds, and the good ones
# fare as they do among themselves.
cd "$(dirname "$0")/../.." || exit 1
# shellcheck source=tests/it/lib.sh
. tests/it/lib.sh
# shellcheck source=tests/it/fake_host.sh
. tests/it/fake_host.sh
MEMCTL=$MEMD_BUILD/memctl
MIB=$((1 << 20))

target() { fake show "$1" | jq -r .target; }
actual() { fake show "$1" | jq -r .actual; }
# told GUEST TEXT: a line of memctl status says it.
told() { "$MEMCTL" --socket "$SOCKET" status | grep -q "^guest $1: .*$2"; }

start() { # start HOST_MIB GUEST...
	rm -rf "$T/tree" "$T/run" "$T/state"
	copy_host
	start_fakes --balloon-rate $((200 * MIB)) --host-memory $(($1 * MIB)) "${@:2}"
	printf '[memd]\nruntime-dir=%s\nstate-dir=%s\nguest-timeout=1s\n' "$T/run" "$T/state" >"$T/memd.conf"
	start_memd
}
stop() {
	stop_memd
	check "$1-stop" 'SIGTERM does not end it with 0' [ "$STATUS" = 0 ]
	fake quit >/dev/null
	wait "${PID[fakes]}"
	unset 'PID[fakes]'
}
settled() {
	[ $(($(target web1) + $(target web2))) -lt $((1900 * MIB)) ] &&
		holds status '.state == "high" and .need_bytes == 0'
}
both() { echo $(($(actual web1) + $(actual web2))); }
steady() {
	local was
	was=$(both)
	sleep 5
	[ "$(both)" = "$was" ]
}

# ---- the good ones alone; what the others will hold is somebody's ----
misfits=(stuck ones zeros future signs hang)
held=$((${#misfits[@]} * 512))
start $((2304 + held)) web1:good:1024 web2:good:1024
fake other $held >/dev/null
check alone 'the host stays short' wait_for 40 settled
wait_for 60 steady
alone=$(both)
check alone-quiet 'guests that do well are told of' holds status '.misfits == []'
stop alone

# ---- with one of each kind ----
guests=()
for guest in "${misfits[@]}"; do guests+=("$guest:$guest"); done
start $((2304 + held)) web1:good:1024 web2:good:1024 "${guests[@]}"
WHOLE=$((512 * MIB))
check settles 'the host stays short' wait_for 60 settled
check told-hang 'a monitor that stopped answering' wait_for 20 told hang 'does not \(answer\|greet\)'
check told-stuck 'a balloon that hangs' wait_for 20 told stuck 'balloon does not follow'
check told-ones 'statistics of 2^64-1' wait_for 30 told ones 'no usable numbers'
check told-zeros 'statistics of zero' wait_for 20 told zeros 'contradict'
check told-future 'statistics from the future' wait_for 20 told future 'contradict'
check told-signs 'statistics that change their sign' wait_for 20 told signs 'no usable numbers'
check told-no-others 'good guests are told of' holds status \
	'[.misfits[].guest] | index("web1") == null and index("web2") == null'
check logged-future 'the log does not say why' grep -q 'guest future: statistics rejected: dated 3[56].. s ahead' "$T/memd.log"
for guest in ones zeros future hang; do
	check "untouched-$guest" "$(target "$guest") bytes were left to it" [ "$(target "$guest")" -ge "$WHOLE" ]
done
# Every other second its numbers are good: then it is taken from like others, down to its floor.
check floor-signs "$(target signs) bytes were left to it" [ "$(target signs)" -ge $((192 * MIB)) ]
check stuck-released 'the stuck balloon was left with a target it never reaches' \
	wait_for 20 eval '[ "$(target stuck)" -ge '"$WHOLE"' ]'
wait_for 60 steady
beside=$(both)
echo "# web1 and web2 have $((alone / MIB)) MiB among themselves and $((beside / MIB)) MiB beside the others"
check others "$((beside / MIB)) MiB instead of $((alone / MIB))" [ "$beside" -ge $((alone * 8 / 10)) ]
before=$(ask_memd status .tick.count)
sleep 4
ticks=$(($(ask_memd status .tick.count) - before))
check ticks "$ticks ticks in 4 s" [ "$ticks" -ge 3 ]
check answering 'the good ones count as silent' \
	holds guests '[.guests[] | select(.name | startswith("web")) | .answering] == [true, true]'
stop beside
finish
