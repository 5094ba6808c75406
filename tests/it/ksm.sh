# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# The machine's own KSM for scripts in tests/it: set it and put everything back. Sourced after
# lib.sh.
ksm=/sys/kernel/mm/ksm
declare -A KSM_WAS

# set_ksm NAME VALUE: remembers what was there.
set_ksm() {
	[ -w "$ksm/$1" ] || return 0
	[ -n "${KSM_WAS[$1]:-}" ] || KSM_WAS[$1]=$(sed 's/.*\[\(.*\)\].*/\1/' "$ksm/$1")
	echo "$2" >"$ksm/$1"
}
restore() {
	local name
	# The advisor last: it refuses others' values while it runs.
	for name in pages_to_scan sleep_millisecs smart_scan use_zero_pages run advisor_mode; do
		[ -z "${KSM_WAS[$name]:-}" ] || echo "${KSM_WAS[$name]}" >"$ksm/$name" || true
	done
}
# scans N: wait for that many whole rounds of ksmd more.
scanned() { [ "$(cat $ksm/full_scans)" -ge "$1" ]; }
scans() { wait_for 90 scanned $(($(cat $ksm/full_scans) + $1)); }
