#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Confinement of vmm on this machine: all that a guest and QMP ask for works under it, each thread's
# state in /proc, other users, and that a forbidden call ends this vmm, no other, and spoils no disk.
cd "$(dirname "$0")/../.." || exit 1
# shellcheck source=tests/it/lib.sh
. tests/it/lib.sh

if ! [ -r /dev/kvm ] || ! [ -w /dev/kvm ]; then
	skip host_sandbox "no usable /dev/kvm on this machine"
	exit 0
fi
chmod 711 "$T"

# ---- the page ----

# man_table: what the page prints, as text.
man_table() {
	sed -n '/^\.\\" begin of the table/,/^\.\\" end of the table/p' vmm/vmm.1 | grep -v '^\.' | sed 's/\\-/-/g'
}
"$VMM" --sandbox explain | grep -v 'built with a sanitizer' | sed '/^  *finds leaks$/d' >"$T/explained"
check explains "$(head -n 2 "$T/explained")" grep -q '^futex  *MVIW' "$T/explained"
check page_has_the_table "$(diff "$T/explained" <(man_table) | head -n 5)" diff -q "$T/explained" <(man_table)

# ---- what works ----

# each_thread NAME KEY VALUE: in the status of all threads, KVM's own included.
each_thread() {
	local n
	n=$(cat "/proc/${PID[$1]}/task/"*/status | awk -v k="$2:" -v v="$3" '$1 == k { print $2 == v ? "same" : "other" }')
	[[ $n == *same* && $n != *other* ]]
}

does() { qmp "$T/$1.qmp" "$2" "${3:-{\}}" >"$T/answer"; }
balloon=/machine/peripheral/balloon0

ordinary() {
	local name=$1 how
	shift
	truncate -s 4M "$T/disk-$name.img"
	start_tiny "$name" "fill 3 16M" --memory size=128M --cpus 2 --disk "path=$T/disk-$name.img" --console "unix:$T/$name.console" \
		--balloon deflate-on-oom=on,free-page-reporting=on "$@"
	check "${name}_verify" "$LINE" ask "$name" verify
	does "$name" balloon '{"value":67108864}'
	check "${name}_inflate" "$LINE" expect "$name" '^OK target' 30
	does "$name" balloon '{"value":134217728}'
	check "${name}_deflate" "$LINE" expect "$name" '^OK target' 30
	check "${name}_report" "$LINE" ask "$name" 'report 8M'
	check "${name}_rng" "$LINE" ask "$name" rng
	while read -r command arguments; do
		check "${name}_${command}" "$(cat "$T/answer")" does "$name" "$command" "$arguments"
	done <<-END
		qom-set {"path":"/objects/ram0","property":"merge","value":false}
		qom-set {"path":"/objects/ram0","property":"merge","value":true}
		qom-set {"path":"$balloon","property":"guest-stats-polling-interval","value":1}
		qom-get {"path":"$balloon","property":"guest-stats"}
		query-stats {"target":"vm"}
		query-stats {"target":"vcpu"}
		query-memdev {}
		query-cpus-fast {}
		query-commands {}
		__memd-query-returned {}
		stop {}
		cont {}
	END
	sleep 1.2 # a poll of the statistics
	for how in 1 2; do
		does "$name" system_reset
		check "${name}_reset_$how" "$LINE" expect "$name" '^READY' 30
	done
	tell "$name" reset
	check "${name}_reset_3" "$LINE" expect "$name" '^READY' 30
	does "$name" stop
	does "$name" system_reset
	does "$name" cont
	check "${name}_reset_stopped" "$LINE" expect "$name" '^READY' 30
	check "${name}_console" "no answer" timeout 5 socat -u OPEN:/dev/null "UNIX-CONNECT:$T/$name.console"
	check "${name}_hostile" "$LINE" ask "$name" 'hostile flood'
}

ordinary on --sandbox on
for pair in NoNewPrivs=1 Seccomp=2 CapEff=0000000000000000 CapPrm=0000000000000000 CapBnd=0000000000000000; do
	check "status_${pair%=*}" "$(grep -h "^${pair%=*}" "/proc/${PID[on]}/task/"*/status | tr '\n' ' ')" \
		each_thread on "${pair%=*}" "${pair#*=}"
done
check no_core "$(grep 'core' "/proc/${PID[on]}/limits")" grep -q 'Max core file size *0 *0' "/proc/${PID[on]}/limits"
does on quit
check quit "$STATUS $(tail -n 2 "$T/on.err")" ends on 0
check sockets_gone "$(echo "$T"/on.*)" [ ! -e "$T/on.qmp" -a ! -e "$T/on.console" ]
check silent "$(cat "$T/on.err")" [ -z "$(grep -v 'virtio' "$T/on.err")" ]

start_tiny term "" --memory size=32M
check default_is_on "$(grep Seccomp "/proc/${PID[term]}/status")" each_thread term Seccomp 2
kill -TERM "${PID[term]}"
check term "$STATUS" ends term 0
start_tiny off "" --memory size=32M --sandbox off
check off "$(grep Seccomp: "/proc/${PID[off]}/status")" each_thread off Seccomp "$(awk '/^Seccomp:/ { print $2 }' /proc/self/status)"
stop_vmm off

# ---- another user ----

if [ "$(id -u)" = 0 ]; then
	mkdir "$T/theirs"
	chown 65534:65534 "$T/theirs"
	start_tiny user "fill 3 16M" --memory size=64M --balloon on --sandbox on --user 65534:65534 \
		--console "unix:$T/theirs/console"
	check user_uid "$(grep -h Uid "/proc/${PID[user]}/task/"*/status)" each_thread user Uid 65534
	check user_gid "$(grep Gid "/proc/${PID[user]}/status")" each_thread user Gid 65534
	check user_groups "$(grep Groups "/proc/${PID[user]}/status")" grep -q '^Groups:[[:space:]]*$' "/proc/${PID[user]}/status"
	check user_socket_owner "$(stat -c %u "$T/user.qmp")" [ "$(stat -c %u "$T/user.qmp")" = 65534 ]
	check user_rss "root cannot look into it" [ "$(rss_kb user)" -gt 16000 ]
	check user_fds "$(ls -l "/proc/${PID[user]}/fd" | tail -n 3)" \
		[ -n "$(find "/proc/${PID[user]}/fd" -lname 'anon_inode:kvm-vm')" ]
	check user_returned "$(cat "$T/answer")" does user __memd-query-returned
	does user balloon '{"value":33554432}'
	check user_balloon "$LINE" expect user '^OK target' 30
	does user system_reset
	check user_reset "$LINE" expect user '^READY' 30
	check user_told "$(cat "$T/user.err")" grep -q 'user.qmp will be left behind' "$T/user.err"
	kill -TERM "${PID[user]}"
	check user_term "$STATUS" ends user 0
	check user_cleans_theirs "socket left" [ ! -e "$T/theirs/console" ]
else
	skip user "needs root to become another user"
fi
"$VMM" --kernel "$TINY" --user no-such-user-here 2>"$T/nobody"
status=$?
check user_unknown "$status: $(cat "$T/nobody")" [ $status -eq 2 ]

# ---- what is forbidden ----

forbidden=$MEMD_BUILD/tests/vmm-forbidden
if [ -x "$forbidden" ]; then
	start_tiny peer "fill 9 16M" --memory size=64M
	number=0
	for who in vcpu main io; do
		number=$((number + 1))
		truncate -s 2M "$T/disk-$who.img"
		VMM=$forbidden start_tiny "$who" "" --memory size=32M --disk "path=$T/disk-$who.img" --sandbox on
		ask "$who" "port 0x5f0 $((number + 16))"
		check "${who}_way_is_open" "$(cat "$T/$who.err")" wait_for 5 grep -q "allowed call of the $who thread" "$T/$who.err"
		ask "$who" "disk 0 write $number 64 2048" && ask "$who" 'disk 0 flush'
		check "${who}_disk_written" "$LINE" [ "${LINE%% *}" = OK ]
		sum=$(sha256sum <"$T/disk-$who.img")
		tell "$who" "port 0x5f0 $number"
		check "${who}_killed" "status $STATUS, not 159: $(tail -n 2 "$T/$who.err")" ends "$who" 159
		check "${who}_was_asked" "$(cat "$T/$who.err")" grep -q "forbidden call of the $who thread$" "$T/$who.err"
		check "${who}_not_made" "$(cat "$T/$who.err")" [ "$(grep -c 'forbidden call' "$T/$who.err")" = 1 ]
		check "${who}_disk_intact" "its image changed" [ "$(sha256sum <"$T/disk-$who.img")" = "$sum" ]
		# Its lock is gone with it.
		start_tiny "$who" "" --memory size=32M --disk "path=$T/disk-$who.img"
		check "${who}_disk_usable" "$LINE $(cat "$T/$who.err")" ask "$who" "disk 0 read $number 64 2048"
		stop_vmm "$who"
	done
	check peer_unaffected "$LINE" ask peer verify
	does peer query-status
	check peer_runs "$(cat "$T/answer")" grep -q '"running": *true' "$T/answer"
	stop_vmm peer
	VMM=$forbidden start_tiny logged "" --memory size=32M --sandbox log
	tell logged "port 0x5f0 1"
	check log_lets_pass "$(cat "$T/logged.err")" wait_for 5 grep -q 'call of the vcpu thread was made' "$T/logged.err"
	check log_goes_on "$LINE" ask logged info
	stop_vmm logged
else
	not_ok forbidden "$forbidden is not built: make tests"
fi
finish
