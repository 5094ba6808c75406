# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# For the scripts that run inside the lab: results, guests, QMP. Images under /lab, this folder's
# parent at /share. Sourced; work happens in $dir, which goes with the emulated host.
# shellcheck disable=SC2034
set -uo pipefail
dir=/tmp/t
mkdir -p $dir
failures=0
# Sleeps without a process, which an emulated processor would feel: nobody ever writes to this pipe.
mkfifo $dir/tick.$$
exec {tick}<>$dir/tick.$$
nap() { ! read -rt "$1" -u $tick; }

ok() { echo "ok $1"; }
not_ok() {
	echo "not ok $1 - ${*:2}"
	failures=$((failures + 1))
}
skip() { echo "skip $1 - ${*:2}"; }
# name, then a test's words: passes when the test holds.
expect() {
	local name=$1
	shift
	if "$@"; then ok "$name"; else not_ok "$name" "false: $*"; fi
}
# a is within percent of b: a, b, percent.
near() { awk -v a="$1" -v b="$2" -v p="$3" 'BEGIN { d = a - b; if (d < 0) d = -d; exit !(d * 100 <= p * b) }'; }

# start NAME VMM-OPTION...: console and QMP sockets under $dir; the pid in pid[NAME]. The unpacked kernel,
# and no mitigations, unless a script is about kernels (inlab/boot): a sixth less for a boot.
declare -A pid started
kernel=/lab/vmlinux initrd=/lab/initrd words='console=ttyS0 quiet mitigations=off' append=
start() {
	local name=$1
	shift
	launch "$name" --name "$name" --kernel "$kernel" --initrd "$initrd" --serial "unix:$dir/$name.console" \
		--append "$words${append:+ $append} lab.name=$name" --qmp "$dir/$name.qmp" "$@"
}
launch() { # name, vmm's words
	local name=$1
	shift
	started[$name]=${*@Q}
	vmm "$@" >"$dir/$name.log" 2>&1 &
	pid[$name]=$!
}
# What a guest that does not answer is doing: its state, and what its threads and virtual CPUs did in
# two seconds. A virtual CPU with no exits sleeps or is stuck inside; one with many is busy.
autopsy() {
	local name=$1 thread
	echo "# autopsy of $name: $(qmp "$dir/$name.qmp" query-status)"
	vcpu_counters "$name" >"$dir/autopsy.before"
	sleep 2
	vcpu_counters "$name" | diff "$dir/autopsy.before" - | sed 's/^/# vcpu /'
	for thread in /proc/"${pid[$name]}"/task/*; do
		echo "# thread $(cat "$thread/comm"): $(awk '/^State/ { print $2 }' "$thread/status") in" \
			"$(cat "$thread/wchan"), $(awk '{ print $14 "+" $15 }' "$thread/stat") ticks"
	done
	tail -n 5 "$dir/$name.log" | sed 's/^/# log: /'
}
vcpu_counters() {
	qmp "$dir/$1.qmp" query-stats '{"target":"vcpu"}' | jq -r '.[] | .stats[] |
		select(.name | IN("exits", "halt_exits", "halt_wakeup", "irq_injections", "io_exits", "mmio_exits", "nested_run")) |
		"\(.name) \(.value)"'
}
ready() {
	/share/guestsh -t "${2:-240}" --ready "$dir/$1.console" && return 0
	[ ! -S "$dir/$1.qmp" ] || autopsy "$1"
	return 1
}
# For a guest just started: the same, but when the kernel in it does not come up while its vmm is well
# and answers, the emulator is to blame (README.md of the lab: its faults hit guests' kernels too). That
# is told with all that is known, counted by tests/run, and the guest is started anew, once.
up() { # name, seconds
	local state
	ready "$1" "${2:-150}" && return 0
	state=$(qmp "$dir/$1.qmp" query-status 2>/dev/null | jq -r .status)
	[ -n "${started[$1]:-}" ] && [ "$state" = running ] || return 1
	echo "retry $1: its kernel did not come up, its vmm is well"
	kill -KILL "${pid[$1]}"
	wait "${pid[$1]}" 2>/dev/null
	rm -f "$dir/$1.qmp" "$dir/$1.console"
	eval "launch $1 ${started[$1]}"
	ready "$1" "${2:-150}"
}
guest() { /share/guestsh -t "${3:-60}" "$dir/$1.console" "$2"; }
# The process's exit status, waiting at most SECONDS: name, seconds. 255: still there.
ended() {
	local i
	for ((i = 0; i < $2 * 5; i++)); do
		kill -0 "${pid[$1]}" 2>/dev/null || {
			wait "${pid[$1]}"
			return $?
		}
		nap 0.2
	done
	return 255
}
stop() {
	kill "${pid[$1]}" 2>/dev/null
	ended "$1" 20
}

# One QMP command; prints what it returns: socket, command, arguments as JSON.
qmp() {
	local request='{"execute":"qmp_capabilities"}'$'\n''{"execute":"'$2'"'${3:+,\"arguments\":$3}',"id":"q"}'
	printf '%s\n' "$request" | socat -t 60 -T 60 - "UNIX-CONNECT:$1" |
		jq -c 'select(.id == "q") | if has("error") then {error: .error} else .return end' | head -n 1
}

rss_kib() { awk '/^Rss:/ { print $2 }' "/proc/$1/smaps_rollup"; }
guest_kib() { guest "$1" "awk '/^$2:/ { print \$2 }' /proc/meminfo" | tr -dc 0-9; }
# KiB of the process's anonymous memory on node: pid, node.
node_kib() {
	awk -v n="N$2=" '{ size = 4; kb = 0; for (i = 2; i <= NF; i++) { if (index($i, n) == 1) pages = substr($i, length(n) + 1); if ($i ~ /^kernelpagesize_kB=/) size = substr($i, 19) }
		if (pages) sum += pages * size; pages = 0 } END { print sum + 0 }' "/proc/$1/numa_maps"
}
