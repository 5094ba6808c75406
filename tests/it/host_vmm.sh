#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# vmm as a process on this machine's /dev/kvm: signals and exit status, sockets left over and in use,
# clients of a stopped guest, storms of commands, and what it says without KVM.
cd "$(dirname "$0")/../.." || exit 1
# shellcheck source=tests/it/lib.sh
. tests/it/lib.sh

if ! [ -r /dev/kvm ] || ! [ -w /dev/kvm ]; then
	skip host_vmm "no usable /dev/kvm on this machine"
	exit 0
fi

# ---- signals and events ----

# ended_by SIGNAL: exit status 0, and QMP clients are told why.
ended_by() {
	start_tiny "s$1" "" --memory size=32M
	{
		echo '{"execute":"qmp_capabilities"}'
		sleep 2
	} | socat -t 5 - "UNIX-CONNECT:$T/s$1.qmp" >"$T/events" &
	wait_for 10 grep -q return "$T/events"
	kill "-$1" "${PID[s$1]}"
	check "signal_$1" "$(tail -n 2 "$T/s$1.err")" ends "s$1" 0
	wait $!
	check "signal_$1_event" "$(tail -n 1 "$T/events")" \
		grep -q '"SHUTDOWN".*"guest": *false.*"host-signal"' "$T/events"
	check "signal_$1_cleans" "socket left" [ ! -e "$T/s$1.qmp" ]
}
ended_by TERM
ended_by INT
start_tiny hup "" --memory size=32M
kill -HUP "${PID[hup]}"
sleep 0.5
check signal_hup_ignored "vmm ended" ask hup "sleep 10"
stop_vmm hup

# ---- prelaunch ----

status_is() { qmp "$T/$1.qmp" query-status | grep -q "\"status\": *\"$2\""; }
start_vmm p --memory size=32M --kernel "$TINY" --paused
wait_for 10 status_is p prelaunch
check paused "$(qmp "$T/p.qmp" query-status)" status_is p prelaunch
check paused_is_silent "$(cat "$T/p.log")" [ ! -s "$T/p.log" ]
qmp "$T/p.qmp" cont >/dev/null
check paused_cont "$(tail -n 2 "$T/p.err")" expect p '^READY'
check running "$(qmp "$T/p.qmp" query-status)" status_is p running
stop_vmm p

# ---- sockets ----

# start_socket NAME OPTIONS...: the serial line is a socket too.
start_socket() {
	local name=$1
	shift
	"$VMM" --name "$name" --kernel "$TINY" --serial "unix:$T/$name.serial" --qmp "$T/$name.qmp" "$@" \
		2>"$T/$name.err" &
	PID[$name]=$!
}
start_socket u --memory size=32M
wait_for 10 status_is u running
check serial_mode "$(stat -c %a "$T/u.serial")" [ "$(stat -c %a "$T/u.serial")" = 600 ]
timeout 10 "$VMM" --memory size=32M --kernel "$TINY" --serial "unix:$T/u.serial" 2>"$T/busy.err"
status=$?
check serial_in_use "$status, $(cat "$T/busy.err")" grep -q 'another process serves' "$T/busy.err"
check serial_in_use_status "$status" [ $status -eq 1 ]
kill -9 "${PID[u]}"
wait "${PID[u]}" 2>/dev/null
check sockets_left "they are gone" [ -e "$T/u.serial" -a -e "$T/u.qmp" ]
start_socket u --memory size=32M
check sockets_taken_over "$(cat "$T/u.err")" wait_for 10 status_is u running

# A console can be attached again and again though the guest stands still.
attach() { timeout 5 socat -u OPEN:/dev/null "UNIX-CONNECT:$T/u.serial"; }
qmp "$T/u.qmp" stop >/dev/null
good=0
for _ in {1..12}; do
	echo 'more than a FIFO holds: 0123456789' | timeout 5 socat -t 0.1 - "UNIX-CONNECT:$T/u.serial" >/dev/null &&
		good=$((good + 1))
done
check attach_while_stopped "$good of 12 got through" [ $good -eq 12 ]
check attach_again "no answer" attach

# ---- storms ----

for cpus in 1 3; do
	start_socket "t$cpus" --memory size=48M --cpus $cpus \
		--balloon deflate-on-oom=on,free-page-reporting=on
	wait_for 10 status_is "t$cpus" running
	timeout 240 python3 tests/it/storm_qmp.py "$T/t$cpus.qmp" "$T/t$cpus.serial" "${PID[t$cpus]}" 4 $cpus |
		sed "s/^ok /ok ${cpus}cpu_/; s/^not ok /not ok ${cpus}cpu_/"
	check "${cpus}cpu_storm_ends" "see above" [ "${PIPESTATUS[0]}" -eq 0 ]
	kill -TERM "${PID[t$cpus]}"
	check "${cpus}cpu_ends" "status $STATUS, $(tail -n 4 "$T/t$cpus.err")" ends "t$cpus" 0
done

# ---- too little of everything ----

# With so few descriptors: does it end by itself, and say why if it is not for the guest's sake?
few() {
	timeout -s KILL 20 prlimit --nofile="$1" "$VMM" --kernel "$TINY" --append poweroff --memory size=32M \
		--serial "file:$T/few.log" --console "unix:$T/few.console" --disk "path=$T/few.img" \
		--balloon on --mem-device size=32M --qmp "$T/few.qmp" --cpus 2 2>"$T/few.err" </dev/null
	status=$?
	[ $status -eq 0 ] || { [ $status -eq 1 ] && [ -s "$T/few.err" ]; } || [ $status -eq 127 ]
}
truncate -s 1M "$T/few.img"
for n in {4..44..2}; do
	few "$n" || break
done
check few_descriptors "$n of them: status $status, $(cat "$T/few.err")" [ "$n" -ge 44 ]
check enough_descriptors "status $status, $(cat "$T/few.err")" few 80
check enough_descriptors_status "status $status" [ $status -eq 0 ]

# More than the host has is refused before anybody is killed for it.
timeout 5 "$VMM" --kernel "$TINY" --memory size=3T,prealloc=on --serial none 2>"$T/pre.err"
status=$?
check prealloc_too_much "$status, $(cat "$T/pre.err")" grep -q 'prealloc=on takes 3 TiB' "$T/pre.err"
check prealloc_too_much_status "$status" [ $status -eq 1 ]
timeout 5 "$VMM" --kernel "$TINY" --mem-device size=64M,host-nodes=1023 --serial none 2>"$T/node.err"
check mem_device_node "$(cat "$T/node.err")" grep -q 'memory device 0: host-nodes: .*no node 1023' "$T/node.err"

# A guest that crashes over and over does not fill the log.
start_vmm crash --memory size=16M --kernel "$TINY" --append crash
sleep 4
check crash_loop_runs "$(tail -n 2 "$T/crash.err")" [ "$(grep -c TINY "$T/crash.log")" -gt 6 ]
check crash_loop_lines "$(wc -l <"$T/crash.err") lines" [ "$(grep -c 'triple fault' "$T/crash.err")" -le 5 ]
stop_vmm crash

# ---- without KVM ----

if [ "$(id -u)" = 0 ]; then
	unshare -m sh -c "mount -t tmpfs none /dev && exec '$VMM' --memory size=32M --kernel '$TINY'" 2>"$T/absent"
	check no_kvm "$(cat "$T/absent")" grep -q 'modprobe kvm-amd' "$T/absent"
	if [ "$(stat -c %a /dev/kvm)" = 600 ] || [ "$(stat -c %a /dev/kvm)" = 660 ]; then
		cp "$VMM" "$T/vmm"
		chmod 711 "$T"
		setpriv --reuid 65534 --clear-groups "$T/vmm" --memory size=32M --kernel "$TINY" 2>"$T/denied"
		check kvm_denied "$(cat "$T/denied")" grep -q 'group.*kvm' "$T/denied"
	else
		skip kvm_denied "everybody may use /dev/kvm here"
	fi
else
	skip no_kvm "needs root to hide /dev/kvm"
fi
finish
