#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The bench of KSM may be stopped in the middle, by ^C or by a signal: nothing that it started goes on,
# and every KSM setting is what it was.
# shellcheck source-path=SCRIPTDIR source=lib.sh
cd "$(dirname "$0")/../.." || exit 1
. tests/it/lib.sh
# shellcheck source=ksm.sh
. tests/it/ksm.sh
if [ ! -w "$ksm/run" ]; then
	skip bench_ksm 'KSM cannot be set here (not root, or a kernel without it)'
	exit 0
fi
if [ "$(cat "$ksm/run")" = 1 ]; then
	skip bench_ksm 'KSM is on: somebody uses it'
	exit 0
fi
knobs=(pages_to_scan sleep_millisecs smart_scan use_zero_pages advisor_target_scan_time advisor_max_cpu
	max_page_sharing merge_across_nodes run advisor_mode)
settings() {
	local name
	for name in "${knobs[@]}"; do
		[ ! -e "$ksm/$name" ] || echo "$name=$(cat "$ksm/$name")"
	done
}
# What an admin may have set, so that no default can be taken for it.
set_ksm advisor_mode none
set_ksm pages_to_scan 321
set_ksm sleep_millisecs 54
set_ksm use_zero_pages 1
set_ksm smart_scan 0
settings >"$T/before"

mkdir "$T/images"
for i in a b; do head -c 16M /dev/urandom >"$T/images/$i.raw"; done
export TMPDIR=$T # where a case keeps its guests' sockets and memd's files

# In a session of its own, as at a terminal: the signal goes to all of it.
begin() { # begin CASE
	mkdir -p "$T/out"
	BENCH_SECONDS=60 setsid python3 -B tests/bench/ksm.py --images "$T/images" --out "$T/out" --build "$MEMD_BUILD" \
		--ksmtuned tests/it/host_bench_ksm.sh --cases "$1" >"$T/bench.log" 2>&1 &
	PID[bench]=$!
}
is_on() { [ "$(cat "$ksm/run")" = 1 ]; }
# What has this test's directory in its command line, less ourselves.
left() { pgrep -af -- "$T/" | grep -v "^$$ " || true; }
none_left() { [ -z "$(left)" ]; }
started() { pgrep -f -- "$MEMD_BUILD/memd --config $T/" >/dev/null; }

# stopped NAME CASE SIGNAL CONDITION: the case is stopped once the condition holds.
stopped() {
	local name=$1 case=$2 signal=$3
	shift 3
	begin "$case"
	if ! wait_for 30 "$@"; then
		not_ok "$name" "it does not come so far; $(tail -n 3 "$T/bench.log")"
		return
	fi
	kill "-$signal" -- "-${PID[bench]}"
	wait_for 30 dead bench
	wait "${PID[bench]}" 2>/dev/null
	unset 'PID[bench]'
	settings >"$T/after"
	check "$name" "$(diff "$T/before" "$T/after"; tail -n 3 "$T/bench.log")" cmp -s "$T/before" "$T/after"
	check "${name}_leaves_nothing" "$(left)" wait_for 10 none_left
	sleep 1.5 # a memd that was left would have set it by now
	settings >"$T/after"
	check "${name}_stays" "$(diff "$T/before" "$T/after")" cmp -s "$T/before" "$T/after"
}

stopped bench_ksm_full full INT is_on
stopped bench_ksm_advisor advisor TERM grep -q '\[scan-time\]' "$ksm/advisor_mode"
stopped bench_ksm_memd memd INT is_on
stopped bench_ksm_memd_starts memd INT started
finish
