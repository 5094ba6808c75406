#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A thousand guests: what memd costs the host beside them, and that a tick allocates nothing.
cd "$(dirname "$0")/../.." || exit 1
# shellcheck source=tests/it/lib.sh
. tests/it/lib.sh
# shellcheck source=tests/it/fake_host.sh
. tests/it/fake_host.sh
MEMCTL=$MEMD_BUILD/memctl

ask_memd() { "$MEMCTL" --socket "$SOCKET" --json status 2>/dev/null | jq -er "$1"; }
holds() { ask_memd "$1" >/dev/null; }
# start_crowd N [held]: on a fresh host.
start_crowd() {
	rm -rf "$T/tree" "$T/run"
	copy_host
	"$MEMD_BUILD/tests/crowd" "$T/run/guests" "$1" "$T/tree" "${@:2}" >"$T/crowd.log" 2>&1 &
	PID[crowd]=$!
	wait_for 20 grep -q ready "$T/crowd.log"
}
stop_crowd() {
	kill "${PID[crowd]}"
	wait "${PID[crowd]}" 2>/dev/null
	unset 'PID[crowd]'
}
start_memd() { # start_memd PROGRAM
	printf '[memd]\nruntime-dir=%s\nstate-dir=%s\nguest-timeout=5s\n' "$T/run" "$T/state" >"$T/memd.conf"
	MEMD_ALLOCATIONS=$T/allocations "$MEMD_BUILD/$1" --config "$T/memd.conf" --sysroot "$T/tree" \
		>"$T/memd.log" 2>&1 &
	PID[memd]=$!
	wait_for 10 holds . >/dev/null
}
# Of all its threads, in microseconds. utime and stime are counted in ticks of 10 ms.
cpu_us() { awk '{ sum += $1 } END { printf "%d", sum / 1000 }' "/proc/${PID[memd]}"/task/*/schedstat; }
rss_kib() { awk '/^VmRSS/ { print $2 }' "/proc/${PID[memd]}/status"; }

# ---- cost ----
start_crowd 1000
start_memd memd
check crowd 'not all of 1000 guests answer' wait_for 20 holds '.guests.answering == 1000'
# Guests just found are asked every tick, and each process is looked into once.
sleep 13
cpu=$(cpu_us) ticks=$(ask_memd .tick.count) kib=$(rss_kib)
sleep 8
cpu=$((($(cpu_us) - cpu) / ($(ask_memd .tick.count) - ticks))) grown=$(($(rss_kib) - kib))
echo "# 1000 guests: $cpu us of CPU a tick, $(rss_kib) KiB resident, grown by $grown KiB"
if [ -n "${MEMD_SAN:-}" ]; then
	skip crowd-cpu 'sanitizers make it dearer'
	skip crowd-memory 'sanitizers make it larger'
	skip crowd-steady 'sanitizers make it larger'
else
	# 1 % of a core; half as much again for a machine whose caches are others' too.
	check crowd-cpu "$cpu us a tick" [ "$cpu" -le 15000 ]
	check crowd-memory "$(rss_kib) KiB" [ "$(rss_kib)" -le 16384 ]
	check crowd-steady "it grew by $grown KiB" [ "$grown" -le 256 ]
fi
check crowd-all 'some are lost' holds '.guests.answering == 1000'
check crowd-stop 'SIGTERM does not end it with 0' stop_memd
stop_crowd

# ---- cost on a host that is short: who matters is asked first, and no tick asks all ----
start_crowd 1000 held
sed -i 's/^MemAvailable:.*/MemAvailable: 100000 kB/; s/^MemFree:.*/MemFree: 90000 kB/' "$T/tree/proc/meminfo"
start_memd memd
check pressed-crowd 'not all of 1000 guests answer' wait_for 30 holds '.guests.answering == 1000'
check pressed 'the host is not short' wait_for 10 holds '.state == "low"'
sleep 13
cpu=$(cpu_us) ticks=$(ask_memd .tick.count)
sleep 8
cpu=$((($(cpu_us) - cpu) / ($(ask_memd .tick.count) - ticks)))
echo "# 1000 guests, host short: $cpu us of CPU a tick, longest tick $(ask_memd .tick.max_us) us"
if [ -n "${MEMD_SAN:-}" ]; then
	skip pressed-cpu 'sanitizers make it dearer'
	skip pressed-memory 'sanitizers make it larger'
else
	# As at rest.
	check pressed-cpu "$cpu us a tick" [ "$cpu" -le 15000 ]
	check pressed-memory "$(rss_kib) KiB" [ "$(rss_kib)" -le 16384 ]
fi
check pressed-all 'some are lost' holds '.guests.answering == 1000'
check pressed-stop 'SIGTERM does not end it with 0' stop_memd
stop_crowd

# ---- allocations: a host that is short, so that there are orders in each tick ----
start_crowd 200 held
sed -i 's/^MemAvailable:.*/MemAvailable: 100000 kB/; s/^MemFree:.*/MemFree: 90000 kB/' "$T/tree/proc/meminfo"
: >"$T/allocations"
start_memd tests/memd-allocations
check short 'not all of 200 guests answer' wait_for 20 holds '.guests.answering == 200'
ordered() { [ "$(awk '$2 > 0 { n++ } END { print n + 0 }' "$T/allocations")" -ge 8 ]; }
check ordered 'too few ticks with orders' wait_for 20 ordered
# Buffers are as large as they have to be once everything has happened once.
dear=$(awk '$2 > 0 && ++n > 3 && $3 > 0' "$T/allocations" | head -n 3 | xargs)
echo "# ticks, actions, allocations: $(tail -n 3 "$T/allocations" | xargs)"
if [ -n "${MEMD_SAN:-}" ]; then
	skip allocations 'sanitizers have an allocator of their own'
else
	check allocations "a tick allocates: $dear" [ -z "$dear" ]
fi
check short-stop 'SIGTERM does not end it with 0' stop_memd
stop_crowd
finish
