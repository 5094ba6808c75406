#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# memctl report over time: from a running daemon's trace, from what a stopped one has left, from a
# damaged one; as tables, JSON and a page.
cd "$(dirname "$0")/../.." || exit 1
# shellcheck source=tests/it/lib.sh
. tests/it/lib.sh
# shellcheck source=tests/it/fake_host.sh
. tests/it/fake_host.sh
MEMD=$MEMD_BUILD/memd
MEMCTL=$MEMD_BUILD/memctl
TRACE=$T/state/trace
PAGE=$T/page.html

report() { "$MEMCTL" --socket "$SOCKET" report "$@" 2>&1; }
json() { "$MEMCTL" --socket "$SOCKET" --json report --history "${@:2}" 2>/dev/null | jq -e "$1" >/dev/null; }
# says STATUS TEXT OPTIONS...: of memctl report
says() {
	local status=$1 text=$2 out
	shift 2
	out=$(report "$@")
	[ $? -eq "$status" ] && grep -q -- "$text" <<<"$out" || { echo "# $out" >&2; return 1; }
}

# ---- a running daemon ----
copy_host
printf '[memd]\nruntime-dir=%s\nstate-dir=%s\ntick=200ms\n' "$T/run" "$T/state" >"$T/memd.conf"
start_two_fakes
"$MEMD" --config "$T/memd.conf" --sysroot "$T/tree" >"$T/memd.log" 2>&1 &
PID[memd]=$!
check live 'no history of a running daemon' wait_for 20 json '.trace.ticks >= 20 and ([.history[].guests_max] | max) == 2'
check live-path 'not the trace that the daemon writes' json ".trace.path == \"$TRACE\""
check live-report 'the daemon is not asked beside' json '.schema == 1 and .savings.total_bytes >= 0 and (.guests | length) == 2'
check live-saved 'nothing was saved by balloons' wait_for 30 \
	json '([.history[].guests[].name] | unique) - ["web1", "web2"] == [] and ([.history[].saved_max_bytes // 0] | max) > 10000000'
check live-sum 'the guests do not add up' json '[.history[] | select(.ticks > 0) | (.saved_bytes - ([.guests[].saved_bytes] | add // 0)) | fabs < 4] | all'
check live-notes 'complaints about a trace that is written to' json '.trace.notes == []'
check live-text 'no table' says 0 '^TIME (UTC).*SAVED.*KSMD.*STATE' --history
check live-page 'no page' says 0 '' --html "$PAGE"
check live-now 'the page does not tell what the daemon knows' grep -q '<h2>Guests now</h2>' "$PAGE"
cp "$TRACE" "$T/copy"
check other 'what the daemon says is taken for another trace' json '.trace.ticks >= 20 and (has("savings") | not)' --trace "$T/copy"
check same-trace 'its own trace by name is another one' json 'has("savings")' --trace "$T/state/../state/trace"
check live-guests 'the page lacks a guest' grep -q '<td>web2</td><td>vmm</td>' "$PAGE"

# ---- what it leaves ----
kill "${PID[memd]}"
ends memd 0 10
check dead 'no history without the daemon' json '.trace.ticks >= 20 and (has("savings") | not)' --trace "$TRACE"
report --html "$T/a.html" --trace "$TRACE" >/dev/null
TZ=Asia/Tokyo LANG=de_DE.UTF-8 report --html "$T/b.html" --trace "$TRACE" >/dev/null
check same 'the page differs from one run to the next' cmp "$T/a.html" "$T/b.html"
SOURCE_DATE_EPOCH=86400 report --html "$T/b.html" --trace "$TRACE" >/dev/null
check epoch 'SOURCE_DATE_EPOCH is not its date' grep -q '1970-01-02 00:00 UTC.</p>' "$T/b.html"
check since 'more than was asked for' json '.trace.ticks <= 6' --trace "$TRACE" --since 1s
check since-bad 'nonsense taken for a time' says 2 'is not a duration' --trace "$TRACE" --since soon
check since-implies 'without --history' says 0 '^TIME (UTC)' --trace "$TRACE" --since 1m
truncate -s -1 "$TRACE"
check cut 'a cut-off trace is not shown, or not as one' says 0 'Note: .*cut off in the middle' --trace "$TRACE"
printf 'x' | dd of="$TRACE" bs=1 seek=2000 conv=notrunc status=none
check damaged 'a damaged trace is not shown, or not as one' says 0 'Note: .*damaged at byte' --trace "$TRACE"
check absent 'a trace that is not there' says 1 'there is no such trace' --trace "$T/none"
check no-trace 'any file is a trace' says 1 'no tick in it can be read' --trace "$T/memd.conf"

# ---- a page that cannot be written ----
before=$(cksum <"$PAGE")
check no-dir 'no reason why there is no page' says 1 'No such file or directory' --trace "$TRACE" --html "$T/none/page"
check full 'a full disk is not noticed' says 1 'No space left' --trace "$TRACE" --html /dev/full
check is-dir 'a directory is replaced' says 1 'Is a directory' --trace "$TRACE" --html "$T"
check bad-trace 'a page of nothing' says 1 'no tick' --trace "$T/memd.conf" --html "$PAGE"
check kept 'the old page is gone' [ "$before" = "$(cksum <"$PAGE")" ]
check clean "temporary files are left: $(ls "$T")" [ "$(find "$T" -name '*.html.*' | wc -l)" -eq 0 ]
check stdout 'no page on standard output' grep -q '</html>' <<<"$(report --trace "$TRACE" --html /dev/stdout)"
finish
