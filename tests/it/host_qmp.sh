#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# vmm's QMP under attack: garbage, floods, huge and deep messages, clients that never read.
cd "$(dirname "$0")/../.." || exit 1
# shellcheck source=tests/it/lib.sh
. tests/it/lib.sh

if ! [ -r /dev/kvm ] || ! [ -w /dev/kvm ]; then
	skip host_qmp "no usable /dev/kvm on this machine"
	exit 0
fi

# shellcheck disable=SC2317 # called by wait_for
listening() { [ -S "$T/$1.qmp" ]; }

start_vmm q --memory size=64M,pages=small --kernel "$TINY" --paused \
	--balloon "deflate-on-oom=on,free-page-reporting=on"
wait_for 20 listening q
check socket_mode "mode $(stat -c %a "$T/q.qmp")" [ "$(stat -c %a "$T/q.qmp")" = 600 ]
timeout 240 python3 tests/it/nasty_qmp.py "$T/q.qmp" "${PID[q]}" || bad=1
check ends_by_quit "status $STATUS: $(tail -n 5 "$T/q.err")" ends q 0
check socket_removed "it is still there" [ ! -e "$T/q.qmp" ]

# What cannot be a socket is said before anything starts.
long=$T/$(printf 'x%.0s' {1..120})
timeout 20 "$VMM" --memory size=64M --kernel "$TINY" --qmp "$long" >/dev/null 2>"$T/long.err"
status=$?
check path_too_long "status $status: $(cat "$T/long.err")" grep -q '107 bytes' "$T/long.err"
check path_too_long_status "$status" [ $status -eq 2 ]
: >"$T/file"
timeout 20 "$VMM" --memory size=64M --kernel "$TINY" --qmp "$T/file" >/dev/null 2>"$T/file.err"
check path_is_file "$(cat "$T/file.err")" grep -q 'not a socket' "$T/file.err"
check file_is_kept "it was removed" [ -f "$T/file" ]
finish
