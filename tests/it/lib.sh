# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# For scripts in tests/it: results, waiting, guests by vmm and their QMP sockets. Sourced from the
# repository's root; needs MEMD_BUILD (default build), or VMM and TINY. What was started is ended when
# the script is.
set -uo pipefail
MEMD_BUILD=$(realpath -m "${MEMD_BUILD:-build}")
VMM=${VMM:-$MEMD_BUILD/vmm}
TINY=${TINY:-$MEMD_BUILD/tests/tiny.elf}
T=$(mktemp -d "${TMPDIR:-/tmp}/memd-test.XXXXXX")
bad=0 STATUS="" LINE=""
declare -A PID SEEN INPUT

ok() { echo "ok $1"; }
# not_ok NAME WHY: goes on; the script ends with 1.
not_ok() {
	echo "not ok $1 - $2"
	bad=1
}
skip() { echo "skip $1 - $2"; }
# check NAME WHY COMMAND...: ok if the command succeeds.
check() {
	local name=$1 why=$2
	shift 2
	if "$@"; then ok "$name"; else not_ok "$name" "$why"; fi
}

cleanup() {
	local name
	for name in "${!PID[@]}"; do kill -9 "${PID[$name]}" 2>/dev/null; done
	[ "$(type -t restore)" = function ] && restore
	wait 2>/dev/null
	if [ -n "${KEEP:-}" ]; then echo "kept: $T" >&2; else rm -rf "$T"; fi
}
trap cleanup EXIT
trap 'exit 130' INT TERM

# wait_for SECONDS COMMAND...: until it succeeds. Sleeps without a process, which an emulated processor
# would feel: nobody ever writes to this pipe.
mkfifo "$T/tick"
wait_for() {
	local until=$((SECONDS + $1)) tick failed=0
	shift
	exec {tick}<>"$T/tick"
	until "$@"; do
		[ $SECONDS -lt $until ] || { failed=1; break; }
		read -rt 0.1 -u "$tick"
	done
	exec {tick}<&-
	return $failed
}

# start_vmm NAME ARGS...: serial line in and out by tell and expect, QMP at $T/NAME.qmp, messages
# in $T/NAME.err.
start_vmm() {
	local name=$1 fd
	shift
	rm -f "$T/$name".*
	mkfifo "$T/$name.in"
	touch "$T/$name.err" "$T/$name.log"
	exec {fd}<>"$T/$name.in"
	INPUT[$name]=$fd
	SEEN[$name]=0
	"$VMM" --name "$name" --qmp "$T/$name.qmp" --serial stdio "$@" \
		<&"$fd" >"$T/$name.log" 2>"$T/$name.err" &
	PID[$name]=$!
}

# start_tiny NAME COMMANDS ARGS...: the tiny guest, ready for commands.
start_tiny() {
	local name=$1 commands=$2
	shift 2
	start_vmm "$name" --kernel "$TINY" --append "$commands" "$@"
	expect "$name" '^READY' 60
}

alive() { kill -0 "${PID[$1]}" 2>/dev/null; }
dead() { ! alive "$1"; }

# ends NAME STATUS [SECONDS]: it ends by itself, with that status; the one it had is in STATUS.
ends() {
	STATUS=running
	wait_for "${3:-20}" dead "$1" || return 1
	wait "${PID[$1]}"
	STATUS=$?
	unset "PID[$1]"
	[ "$STATUS" = "$2" ]
}

stop_vmm() {
	kill -9 "${PID[$1]}" 2>/dev/null
	wait "${PID[$1]}" 2>/dev/null
	unset "PID[$1]"
}

tell() { printf '%s\n' "$2" >&"${INPUT[$1]}"; }

find_line() {
	local n
	n=$(tail -n "+$((SEEN[$1] + 1))" "$T/$1.log" | grep -aEnm1 -- "$2") || return 1
	[[ $n == *$'\r' ]] || return 1 # not all of it yet
	LINE=$(tr -d '\r' <<<"${n#*:}")
	SEEN[$1]=$((SEEN[$1] + ${n%%:*}))
}

# expect NAME REGEX [SECONDS]: the next line like it on the serial line, in LINE.
expect() {
	LINE=
	wait_for "${3:-30}" find_line "$1" "$2" && return 0
	echo "# $1: no line like '$2' within ${3:-30} s; the last ones:" >&2
	tail -n 4 "$T/$1.log" "$T/$1.err" | sed 's/^/#   /' >&2
	return 1
}

# ask NAME COMMAND [SECONDS]: run a command of the tiny guest; LINE is its answer. Fails on FAIL.
ask() {
	tell "$1" "$2"
	expect "$1" "^(OK|FAIL) ${2%% *}" "${3:-60}" && [[ $LINE == OK* ]]
}

# qmp SOCKET COMMAND [ARGUMENTS]: the answer as one line of JSON; fails if it is an error.
qmp() {
	local out
	out=$({
		echo '{"execute":"qmp_capabilities"}'
		echo "{\"execute\":\"$2\",\"arguments\":${3:-{\}},\"id\":\"test\"}"
	} | timeout 20 socat -t 10 - "UNIX-CONNECT:$1" 2>/dev/null | grep -am1 '"id": *"test"')
	printf '%s\n' "$out"
	[[ $out == *'"return"'* ]]
}

# number KEY: the number behind "KEY": in the JSON on stdin.
number() { grep -oE "\"$1\": *-?[0-9]+" | head -n 1 | grep -oE '[0-9-]+$'; }

rss_kb() { awk '/^Rss:/ { print $2 }' "/proc/${PID[$1]}/smaps_rollup"; }

# near A B PERCENT: do they differ by no more than that part of B?
near() {
	local diff=$(($1 - $2))
	[ $((diff < 0 ? -diff : diff)) -le $(($2 * $3 / 100)) ]
}

finish() { exit $bad; }
