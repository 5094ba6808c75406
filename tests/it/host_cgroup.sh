#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Cgroups of guests on this machine's own kernel, v1 or v2 by the same checks: made for a guest that
# has none of its own, with floor, limit and cpuset; left alone where they are somebody's; and gone
# with the guest, at stop, after kill -9 at the next start, and at reset. Guests are processes that
# answer as one.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
MEMD=${MEMD:-$MEMD_BUILD/memd}
MEMCTL=${MEMCTL:-$MEMD_BUILD/memctl}
SOCKET=$T/run/memd.sock
PEER=$(dirname "$0")/numa_peer.py
MIB=1048576
if grep -qw memory /sys/fs/cgroup/cgroup.controllers 2>/dev/null; then
	V=2 MEMORY=/sys/fs/cgroup CPUSET=/sys/fs/cgroup SWAP_KEY=swap_max
	SWAP=memory.swap.max NONE=max
else
	V=1 MEMORY=/sys/fs/cgroup/memory CPUSET=/sys/fs/cgroup/cpuset SWAP_KEY=memory_and_swap_max
	SWAP=memory.memsw.limit_in_bytes NONE=9223372036854771712
fi
# cgroup_of CONTROLLER PID: below the mount point.
cgroup_of() { awk -F: -v c="$1" -v v=$V '(v == 2 && $1 == 0) || (v == 1 && index("," $2 ",", "," c ",")) { print $3 }' "/proc/$2/cgroup"; }
HOME_MEMORY=$(cgroup_of memory $$) HOME_CPUSET=$(cgroup_of cpuset $$)
OWN=$MEMORY${HOME_MEMORY%/}/test-own.$$ UNIT=$MEMORY${HOME_MEMORY%/}/memd-test.$$.scope
restore() {
	local name dir
	for dir in "$OWN" "$UNIT"; do
		for _ in 1 2 3 4 5; do [ ! -d "$dir" ] || rmdir "$dir" 2>/dev/null || sleep 0.2; done
	done
}
if [ "$(id -u)" -ne 0 ] || ! mkdir "$OWN" "$UNIT" 2>/dev/null; then
	skip cgroup_host 'no memory cgroup can be made here'
	exit 0
fi
if grep -qE '\.(scope|service|slice)|docker|kubepods|lxc' /proc/self/cgroup; then
	skip cgroup_host "this script's own cgroup is systemd's or a container's"
	exit 0
fi

# start_peer NAME [CGROUP]
start_peer() {
	[ -z "${2:-}" ] || echo $BASHPID >"$2/cgroup.procs"
	: >"$T/$1.log"
	python3 "$PEER" "$1" "$T/$1.sock" 24 - 0 5 >"$T/$1.log" 2>&1 &
	PID[$1]=$!
	[ -z "${2:-}" ] || echo $BASHPID >"$MEMORY$HOME_MEMORY/cgroup.procs"
	wait_for 40 grep -q READY "$T/$1.log" && ln -s "$T/$1.sock" "$T/run/guests/$1.qmp"
}
write_conf() { # guest-cgroups=
	printf '%s\n' '[memd]' "runtime-dir=$T/run" "state-dir=$T/state" "guest-cgroups=$1" \
		'[policy]' ksm=off balloon=off numa=off guest-min=4M \
		'[guest one]' swap-max=12M '[guest own]' swap-max=16M '[guest two]' nodes=0 '[guest three]' nodes=77 >"$T/memd.conf"
}
ask_memd() { "$MEMCTL" --socket "$SOCKET" --json "$1" 2>/dev/null | jq -er "$2"; }
holds() { ask_memd "$@" >/dev/null; }
guest() { ask_memd guests ".guests[] | select(.name == \"$1\") | $2"; }
guest_holds() { guest "$@" >/dev/null; }
start_memd() {
	"$MEMD" --config "$T/memd.conf" >>"$T/memd.log" 2>&1 &
	PID[memd]=$!
	wait_for 40 holds guests ".guests | map(select(.memory_bytes > 0)) | length == $1"
}
is_in() { [ "$(cgroup_of "$1" "${PID[$2]}")" = "$3" ]; } # CONTROLLER NAME CGROUP
has_own() { is_in memory "$1" "${HOME_MEMORY%/}/memd-$1-${PID[$1]}"; }
is_home() { is_in memory "$1" "$HOME_MEMORY" && is_in cpuset "$1" "$HOME_CPUSET"; }
left() {
	local pid
	for pid in "${PID[@]}"; do compgen -G "$MEMORY${HOME_MEMORY%/}/memd-*-$pid" || compgen -G "$CPUSET${HOME_CPUSET%/}/memd-*-$pid"; done
}
none_left() { [ -z "$(left)" ]; }
reads() { [ "$(cat "$1")" = "$2" ]; } # FILE TEXT

mkdir -p "$T/run/guests"
for name in one two three; do start_peer $name; done
start_peer own "$OWN"
start_peer unit "$UNIT"
[ $V = 1 ] || { echo $((2 * MIB)) >"$OWN/memory.low" && echo $((8 * MIB)) >"$OWN/memory.swap.max"; }
before_own=$(cat "$OWN/$SWAP")
write_conf auto
check peers 'five processes that answer as guests' start_memd 5

# ---- made, and who gets none ----
one=$MEMORY${HOME_MEMORY%/}/memd-one-${PID[one]}
check made 'a guest without a cgroup has one' wait_for 40 has_own one
check made-told 'memctl says so' wait_for 40 guest_holds one ".cgroup.made_by_memd and .cgroup.path == \"${one#/}\""
check noted 'before it was made' grep -q "^${PID[one]} [0-9]* [0-9]* ${one#/}$" "$T/run/cgroups"
check not-units 'a unit of systemd is left alone' is_in memory unit "${HOME_MEMORY%/}/memd-test.$$.scope"
check unit-told 'by its name' guest_holds unit ".cgroup.owner == \"systemd\" and (.cgroup.why_not_made | test(\"systemd.s unit memd-test.$$.scope\"))"
check not-own 'nor is one that has its own' is_in memory own "${HOME_MEMORY%/}/test-own.$$"
check no-such-node 'a node that is not there' guest_holds three '.cgroup.why_not_made | test("no such node with memory")'
check stays-home 'leaves it where it was' is_home three

# ---- cpuset ----
two=$(cgroup_of cpuset "${PID[two]}")
check cpuset 'a guest confined to a node has a cpuset' [ "$two" = "${HOME_CPUSET%/}/memd-two-${PID[two]}" ]
check mems "its nodes are 0" reads "$CPUSET$two/cpuset.mems" 0
check migrates 'pages follow' eval "[ $V = 2 ] || reads $CPUSET$two/cpuset.memory_migrate 1"
check cpuset-read 'both are told as they are in effect' holds numa \
	".guests[] | select(.name == \"two\") | .cpuset.path == \"${CPUSET#/}$two\" and .cpuset.mems == \"0\""
check allowed 'the kernel has it' eval "grep -q '^Mems_allowed_list:.0$' /proc/${PID[two]}/status"

# ---- floors and limits ----
check limit-set 'the limit on swap' wait_for 40 guest_holds one ".cgroup.$SWAP_KEY.bytes > 0"
check limit-real 'is what the kernel has' reads "$one/$SWAP" "$(guest one ".cgroup.$SWAP_KEY.bytes")"
check floor-told 'what must stay resident is known' guest_holds one ".reclaim.resident_floor_bytes == $((4 * MIB))"
if [ $V = 2 ]; then
	check swap-max 'swap-max of its section' [ "$(cat "$one/memory.swap.max")" = $((12 * MIB)) ]
	check swap-policy 'else what the policy leaves' [ "$(cat "$MEMORY${HOME_MEMORY%/}/memd-two-${PID[two]}/memory.swap.max")" = $((20 * MIB)) ]
	check floor 'memory.low is the floor' [ "$(cat "$one/memory.low")" = "$(guest one .reclaim.resident_floor_bytes)" ]
	check floor-raised "an admin's lower floor is raised" [ "$(cat "$OWN/memory.low")" = $((4 * MIB)) ]
	check swap-kept 'and a tighter limit kept' [ "$(cat "$OWN/memory.swap.max")" = $((8 * MIB)) ]
else
	check limit-above 'memory and swap: promised, hypervisor and swap-max' [ "$(cat "$one/$SWAP")" = $(((24 + 3 + 256 + 12) * MIB)) ]
	check no-floor 'v1 has none, and it says why' guest_holds one '.cgroup.low.why_not | test("soft limit is the opposite")'
	check soft-limit 'which stays' reads "$one/memory.soft_limit_in_bytes" $NONE
	check own-limited "the admin's cgroup too" [ "$(cat "$OWN/$SWAP")" = $(((24 + 3 + 256 + 16) * MIB)) ]
	check unasked 'only where swap-max asks for it' guest_holds two '.cgroup.memory_and_swap_max.why_not | test("only with swap-max")'
fi
check not-in-units 'none in a unit, with the reason' guest_holds unit '.cgroup.why_not_set | test("to be set there")'
noted=$SWAP.$before_own
[ $V = 1 ] || noted=memory.low.$((2 * MIB))
check limits-noted 'the one before is journalled' grep -q "^${OWN#/}/$noted." "$T/run/undo"

# ---- statistics ----
check charged 'what it is charged' guest_holds own ".reclaim.cgroup_bytes > $((20 * MIB))"
check nodes "the same by node" holds numa '.guests[] | select(.name == "own") | (.cgroup_nodes | add) > 20000000'
[ $V = 1 ] || check stalls 'and stalls' guest_holds one '.reclaim.cgroup_stall_us != null'

# ---- a guest ends ----
kill -9 "${PID[two]}" && wait "${PID[two]}" 2>/dev/null
is_gone() { [ ! -e "$MEMORY${HOME_MEMORY%/}/memd-two-${PID[two]}" ] && [ ! -e "$CPUSET$two" ]; }
check guest-ends 'its cgroups end with it' wait_for 40 is_gone
rm -f "$T/two.sock" "$T/run/guests/two.qmp"
unset 'PID[two]'

# ---- killed, started again: it still knows; stopped: all is as it was ----
kill -9 "${PID[memd]}" && wait "${PID[memd]}" 2>/dev/null
check survives 'nothing moves when memd is killed' has_own one
check again 'started again' start_memd 4
check adopted 'it is still that guest' wait_for 40 guest_holds one '.cgroup.made_by_memd'
check in-place 'which has not moved' has_own one
kill "${PID[memd]}"
check stops 'memd ends well' ends memd 0 10
check back 'the process is where it was' is_home one
check none-left "$(left)" none_left
check before "the admin's limit is as it was" reads "$OWN/$SWAP" "$before_own"
[ $V = 1 ] || check floor-before 'and the floor' reads "$OWN/memory.low" $((2 * MIB))

# ---- reset: by a living one, and without one ----
start_memd 4
wait_for 40 has_own one
"$MEMCTL" --socket "$SOCKET" reset >"$T/reset.out"
check reset-back 'reset by memd' is_home one
check reset-told "$(cat "$T/reset.out")" grep -q "memd-one-${PID[one]}: removed" "$T/reset.out"
check reset-none "$(left)" none_left
kill "${PID[memd]}" && ends memd 0 10
start_memd 4
wait_for 40 has_own one
wait_for 40 guest_holds own ".cgroup.$SWAP_KEY.bytes > 0"
kill -9 "${PID[memd]}" && wait "${PID[memd]}" 2>/dev/null
unset 'PID[memd]'
"$MEMCTL" --socket "$SOCKET" reset | sed 's/^/# /'
check dead-back 'reset without one' is_home one
check dead-none "$(left)" none_left
check dead-limit 'and the limits' reads "$OWN/$SWAP" "$before_own"
check dead-note 'the note is empty' [ ! -s "$T/run/cgroups" ]

# ---- switched off while it runs ----
start_memd 4
wait_for 40 has_own one
write_conf off
kill -HUP "${PID[memd]}"
check off-back 'guest-cgroups=off' wait_for 40 is_home one
check off-none "$(left)" none_left
kill "${PID[memd]}"
check ends-well 'memd ends well' ends memd 0 10
check nobody-hurt 'all guests but one are alive' eval 'alive one && alive three && alive own && alive unit'
grep -aE 'cgroup' "$T/memd.log" | head -n 14 | sed 's/^/# memd: /'
finish
