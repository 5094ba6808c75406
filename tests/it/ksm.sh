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
# can_ksm: may it be set, and does nobody use it? Fails with the reason in KSM_WHY.
KSM_WHY=""
can_ksm() {
	KSM_WHY='KSM cannot be set here (not root, or a kernel without it)'
	[ -w $ksm/run ] || return 1
	# shellcheck disable=SC2034
	KSM_WHY='KSM is on: somebody uses it'
	[ "$(cat $ksm/run)" != 1 ]
}
KSM_KNOBS='pages_to_scan sleep_millisecs smart_scan use_zero_pages run advisor_mode'
# keep_ksm: it is all put back, whoever sets it.
keep_ksm() {
	local name
	for name in $KSM_KNOBS; do
		[ ! -e $ksm/$name ] || set_ksm "$name" "$(sed 's/.*\[\(.*\)\].*/\1/' $ksm/$name)"
	done
}
restore_ksm() {
	local name
	# The advisor last: it refuses others' values while it runs.
	for name in $KSM_KNOBS; do
		[ -z "${KSM_WAS[$name]:-}" ] || echo "${KSM_WAS[$name]}" >"$ksm/$name" || true
	done
}
restore() { restore_ksm; }
# scans N: wait for that many whole rounds of ksmd more.
scanned() { [ "$(cat $ksm/full_scans)" -ge "$1" ]; }
scans() { wait_for 90 scanned $(($(cat $ksm/full_scans) + $1)); }
