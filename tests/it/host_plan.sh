#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# memctl plan: what a running daemon would do, asked without changing it; and one more guest.
cd "$(dirname "$0")/../.." || exit 1
# shellcheck source=tests/it/lib.sh
. tests/it/lib.sh
# shellcheck source=tests/it/fake_host.sh
. tests/it/fake_host.sh
MIB=$((1 << 20))

memctl() { "$MEMD_BUILD/memctl" --socket "$SOCKET" "$@"; }
# plan FILTER [OPTION...]
plan() { jq -e "$1" >/dev/null < <(memctl --json plan "${@:2}" 2>/dev/null); }
says() { grep -q -- "$1" < <(memctl plan "${@:2}" 2>&1); }
status_of() { "$@" >/dev/null 2>&1; echo $?; }

mkdir -p "$T/run/guests"
printf '[memd]\nruntime-dir=%s\nstate-dir=%s\nguest-timeout=1s\n' "$T/run" "$T/state" >"$T/memd.conf"
check no-daemon 'exit status without a daemon' [ "$(status_of memctl plan)" = 3 ]
copy_host
start_fakes --balloon-rate $((200 * MIB)) --host-memory $((5888 * MIB)) \
	web1:good:1024 web2:vmm:1024 db:good:1024:700 bare:bare:512
start_memd
check answering 'not all guests answer' wait_for 10 holds status '.guests.answering == 4'
spares() { plan '[.guests[] | select(.spare)] | length == 3'; }
check spare 'no guest can spare anything' wait_for 30 spares

# ---- a host that has plenty ----
check calm 'something is to be done on a calm host' plan \
	'.schema == 1 and .mode == "active" and .host.state == "high" and ([.actions[] | select(.action == "balloon")] == [])'
check guests 'spare is not what is above the floor' plan \
	'[.guests[] | select(.spare) | .spare_bytes == .target_bytes - .floor_bytes and .spare_gain_bytes > 0] | all'
check alone 'a guest without balloon is not told of' plan \
	'.guests[] | select(.name == "bare") | (.spare | not) and .spare_bytes == 0 and (.why | contains("no balloon device"))'
check room 'the room does not add up' plan \
	'.room.total_bytes == .room.available_bytes + .room.balloon_bytes and .room.available_bytes == .host.available_bytes - .host.high_bytes'
check says-room 'not in words' says '^Room for .* from guests that can spare it'

# ---- one more guest ----
check fits 'half a GiB does not fit' plan '.outlook.fits and .outlook.missing_bytes == 0' --guest-memory 512M
check fits-status 'exit status when it fits' [ "$(status_of memctl plan --guest-memory 512M)" = 0 ]
check pays 'who pays for 2 GiB is not told' plan \
	'.outlook | .fits and (.taken_from | length) == 3 and .taken_bytes == ([.taken_from[] | .from_bytes - .to_bytes] | add)' \
	--guest-memory 2G
check floors 'below a floor' plan \
	'(.guests | map({key: .name, value: .floor_bytes}) | from_entries) as $floor | [.outlook.taken_from[] | .to_bytes >= $floor[.name] - 33554432] | all' \
	--guest-memory 2G
check too-large '30 GiB fit' [ "$(status_of memctl plan --guest-memory 30G)" = 1 ]
check too-large-says 'not in words' says 'does not fit: in the end .* is missing' --guest-memory 30G
check no-size 'a size that is none' [ "$(status_of memctl plan --guest-memory lots)" = 2 ]
check no-such-size 'more than any guest has' [ "$(status_of memctl plan --guest-memory 2000000G)" = 1 ]
check limit-refused '--limit is ignored' [ "$(status_of memctl plan --limit 3)" = 2 ]
check limit-status '--limit is ignored by status' [ "$(status_of memctl --limit 3 status)" = 2 ]
check limit-explain '--limit is refused by explain' [ "$(status_of memctl --limit 3 explain)" = 0 ]
check stray 'a stray word' [ "$(status_of memctl plan web1)" = 2 ]

# ---- asking changes nothing, and what is planned is done ----
facts() {
	memctl --json explain | jq -c '[.decisions[] | [.number, .action, .to]]'
	for guest in web1 web2 db; do fake show "$guest" | jq -c '[.target, .counts.balloon]'; done
	cat "$T"/tree/sys/kernel/mm/ksm/{run,pages_to_scan,sleep_millisecs}
}
before=$(facts)
for _ in {1..40}; do memctl plan --guest-memory 6G >/dev/null; done
check unchanged 'asking has changed something' [ "$(facts)" = "$before" ]
stop_memd

# Between two ticks 4 s apart the host becomes short: the plan has what the next tick will order.
printf 'tick=4s\n' >>"$T/memd.conf"
start_memd
wait_for 40 spares
tick() { memctl --json status | jq .tick.count; }
now=$(tick)
wait_for 10 eval '[ "$(tick)" != '"$now"' ]'
seen=$(memctl --json explain | jq '.decisions | length')
fake other 1900 >/dev/null
memctl --json plan >"$T/plan"
memctl plan >"$T/plan.text"
BALLOONS='[.[] | select(.action == "balloon") | {guest, reason}] | sort'
planned=$(jq -c ".actions | $BALLOONS" "$T/plan")
check planned "nothing is planned on a host that is short: $(jq -c .host "$T/plan")" [ "$planned" != '[]' ]
check reasons 'no reason, number or rejected way' jq -e \
	'[.actions[] | select(.action == "balloon") | (.reason_text | length) > 10 and .expected_gain_bytes > 0 and (.rejected | length) > 0 and .inputs.floor_bytes > 0] | length > 0 and all' "$T/plan"
check says-why 'not in words' grep -q 'because the host is short' "$T/plan.text"
check says-price 'no price in words' grep -q 'expected to become free for .* s of work' "$T/plan.text"
check says-rejected 'no rejected way in words' grep -q 'not by merging equal pages (KSM): ' "$T/plan.text"
ordered() { memctl --json explain | jq -c "[.decisions[$seen:][]] | $BALLOONS"; }
wait_for 10 eval '[ "$(ordered)" != "[]" ]'
check as-planned "$(ordered) were ordered, $planned planned" [ "$(ordered)" = "$planned" ]
stop_memd

start_memd --dry-run
check dry-run 'not told' plan '.mode == "dry-run"'
stop_memd
finish
