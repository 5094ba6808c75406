#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# vmm's network on this machine, over real taps of its kernel: the tiny guest answers ARP and echo
# requests, breaks the rules, and outlives its tap. Everything happens in a network namespace of its
# own, so that nothing of the machine is touched and nothing is left.
if [ -z "${IN_NAMESPACE:-}" ]; then
	if ! [ -r /dev/kvm ] || ! [ -w /dev/kvm ]; then
		echo "skip host_net - no usable /dev/kvm on this machine"
	elif ! [ -w /dev/net/tun ]; then
		echo "skip host_net - no usable /dev/net/tun on this machine"
	elif ! unshare -n ip tuntap add dev probe mode tap 2>/dev/null; then
		echo "skip host_net - no network namespace with a tap for this user (root and iproute2 can)"
	elif ! busybox ping -c 1 -W 1 127.0.0.1 >/dev/null 2>&1; then
		echo "skip host_net - no busybox with a ping that works"
	else
		IN_NAMESPACE=1 exec unshare -n "$0" "$@"
	fi
	exit 0
fi
# shellcheck source=tests/it/lib.sh
. "$(dirname "$0")/lib.sh"

ip link set lo up
ip tuntap add dev vm0 mode tap
ip addr add 10.9.0.1/24 dev vm0
ip link set vm0 up
# No chatter of this machine's own.
echo 1 >/proc/sys/net/ipv6/conf/vm0/disable_ipv6 2>/dev/null

pings() { busybox ping -c "${1:-3}" -i 0.2 -W 5 10.9.0.2 >"$T/ping"; }
field() { grep -oE "$1=[0-9a-f:]+" <<<"$LINE" | cut -d= -f2; }

# ---- frames both ways

start_tiny n "net 10 9 0 2" --memory size=64M --net tap=vm0,mac=02:00:00:00:0a:01
check mac "$(grep 'net mac' "$T/n.log")" grep -q 'mac=2:0:0:0:a:1 link=1' "$T/n.log"
[ -e /dev/vhost-net ] || check without_vhost_said "$(cat "$T/n.err")" \
	grep -q 'vm0 without vhost-net' "$T/n.err"
check ping "$(tail -n 3 "$T/ping" 2>/dev/null)" pings
check ping_all "$(tail -n 2 "$T/ping")" grep -q ' 0% packet loss' "$T/ping"
busybox ping -c 1 -s 1400 -W 5 10.9.0.2 >"$T/ping"
check ping_large "$(tail -n 2 "$T/ping")" grep -q ' 0% packet loss' "$T/ping"
ask n 'net 10 9 0 2'
check counted "$LINE" [ "$(($(field answered)))" -ge 4 ]
# A flood beyond what the guest keeps up with: nobody hangs, and afterwards it answers.
busybox ping -c 300 -i 0 -A -w 3 10.9.0.2 >/dev/null 2>&1
check ping_after_flood "$(tail -n 2 "$T/ping")" pings

# ---- hostile drivers

while read -r name want; do
	tell n "net hostile $name"
	expect n '^(OK|FAIL) net hostile' 30
	check "hostile_$name" "$LINE" [ "$LINE" = "OK net hostile $name $want" ]
done <<-END
	short served
	bare served
	gso served
	huge served
	writable served
	loop needs-reset
	outside needs-reset
END
check hostile_alive "$(tail -n 3 "$T/n.err")" alive n
check hostile_then_ping "$(cat "$T/ping")" pings

# ---- the cable, a stopped guest, a reset

qmp "$T/n.qmp" set_link '{"name":"net0","up":false}' >/dev/null
ask n 'net 10 9 0 2'
check link_down "$LINE" [ "$(field link)" = 0 ]
qmp "$T/n.qmp" set_link '{"name":"net0","up":true}' >/dev/null
check link_up_ping "$(cat "$T/ping")" pings
qmp "$T/n.qmp" stop >/dev/null
busybox ping -c 2 -i 0.2 -W 1 10.9.0.2 >"$T/ping"
check stopped_is_silent "$(tail -n 2 "$T/ping")" grep -q '100% packet loss' "$T/ping"
qmp "$T/n.qmp" cont >/dev/null
check cont_ping "$(cat "$T/ping")" pings
qmp "$T/n.qmp" system_reset >/dev/null
expect n '^READY' 30
check reset_ping "$(cat "$T/ping")" pings

# ---- a tap for one guest at a time, and one that goes

"$VMM" --kernel "$TINY" --net tap=vm0 --serial none >"$T/busy" 2>&1
check busy_status "$?" [ $? = 1 ]
check busy_said "$(cat "$T/busy")" grep -q 'another process has it' "$T/busy"
"$VMM" --kernel "$TINY" --net tap=lo --serial none >"$T/lo" 2>&1
check no_tap_said "$(cat "$T/lo")" grep -q 'is no tap' "$T/lo"
"$VMM" --kernel "$TINY" --net fd=77 --serial none >"$T/fd" 2>&1
check no_fd_said "$(cat "$T/fd")" grep -q 'fd=77: this fd is not open' "$T/fd"
if [ -e /dev/vhost-net ]; then
	skip vhost_on_insists "this machine has vhost-net"
else
	ip tuntap add dev vm1 mode tap
	"$VMM" --kernel "$TINY" --net tap=vm1,vhost=on --serial none >"$T/vhost" 2>&1
	check vhost_on_insists "$(cat "$T/vhost")" grep -q 'modprobe vhost_net' "$T/vhost"
fi
ip link del vm0
sleep 0.5
ask n 'net 10 9 0 2'
check tap_gone_link "$LINE" [ "$(field link)" = 0 ]
check tap_gone_said "$(cat "$T/n.err")" [ "$(grep -c 'vm0 is gone' "$T/n.err")" = 1 ]
cpu() { awk '{ print $14 + $15 }' "/proc/${PID[n]}/task/${PID[n]}/stat"; }
before=$(cpu)
sleep 1
check tap_gone_idle "$(($(cpu) - before)) ticks of CPU in a second" [ $(($(cpu) - before)) -lt 20 ]
tell n poweroff
check tap_gone_end "$(tail -n 3 "$T/n.err")" ends n 0

# ---- one that is made for the guest, and one that is handed over

start_tiny c "" --memory size=64M --net tap=fresh0
check created_said "$(cat "$T/c.err")" grep -q 'created the tap fresh0' "$T/c.err"
check created_exists "$(ip -br link)" [ -n "$(ip -br link show fresh0)" ]
start_tiny f "" --memory size=64M --net "tap=free%d"
check created_numbered "$(cat "$T/f.err")" grep -q 'created the tap free0' "$T/f.err"
stop_vmm f
stop_vmm c
check created_goes "$(ip -br link)" [ -z "$(ip -br link show fresh0 2>/dev/null)" ]
python3 - "$VMM" "$TINY" >"$T/handed" 2>&1 <<-'END'
	import fcntl, os, struct, subprocess, sys
	fd = os.open("/dev/net/tun", os.O_RDWR)
	fcntl.ioctl(fd, 0x400454CA, struct.pack("16sH22x", b"handed0", 0x0002 | 0x1000 | 0x4000))
	os.dup2(fd, 9)
	sys.exit(subprocess.run([sys.argv[1], "--kernel", sys.argv[2], "--append", "net 10 9 0 3; poweroff",
	                         "--net", "fd=9,vhost=off"], pass_fds=[9], stdin=subprocess.DEVNULL).returncode)
END
check handed_over "$(cat "$T/handed")" grep -q 'OK net mac=.* link=1' "$T/handed"
finish
