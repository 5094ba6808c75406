# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# memd in the lab: started on a configuration of its own, asked by memctl. Sourced after lib.sh.
# shellcheck disable=SC2034,SC2120
run=$dir/run
mkdir -p $run/guests
export MEMD_SOCKET=$run/memd.sock
# memd_conf [LINE...]: its configuration; the lines go on in [memd].
memd_conf() {
	cat >$dir/memd.conf <<-END
		[memd]
		socket=$run/memd.sock
		runtime-dir=$run
		state-dir=$dir/state
		trace=$dir/state/trace
		guests=$run/guests/*.qmp
	END
	[ $# -eq 0 ] || printf '%s\n' "$@" >>$dir/memd.conf
}
memd_conf
# What of KSM an admin may have set.
ksm_files='run pages_to_scan sleep_millisecs advisor_mode smart_scan merge_across_nodes'
ksm_state() {
	local f
	for f in $ksm_files; do echo "$f=$(cat /sys/kernel/mm/ksm/$f 2>/dev/null)"; done
}
# On so slow a host an answer may come too late (memctl's status 3): while memd is there it is asked again.
memctl() {
	local i status
	for ((i = 0; i < 20; i++)); do
		command memctl "$@"
		status=$?
		{ [ $status -eq 3 ] && kill -0 "${memd:-}" 2>/dev/null; } || break
		nap 0.5
	done
	return $status
}
start_memd() {
	memd --config $dir/memd.conf >>$dir/memd.log 2>&1 &
	memd=$!
	local i
	for ((i = 0; i < 50; i++)); do
		command memctl status >/dev/null 2>&1 && return 0
		nap 0.2
	done
	not_ok memd-starts "$(tail -n 5 $dir/memd.log)"
	exit 1
}
field() { memctl --json guests | jq ".guests[] | select(.name == \"$1\") | .$2"; }
report() { memctl --json report | jq "$1"; }
within() { # seconds, command...: until it holds
	local i limit=$1
	shift
	for ((i = 0; i < limit; i++)); do
		"$@" && return 0
		nap 1
	done
	return 1
}
