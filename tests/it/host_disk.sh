#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Disks under vmm with the tiny guest: content, order, read-only, holes, locks, hostile requests,
# errors of the host, and resets and ends with requests under way.
# shellcheck source=tests/it/lib.sh
. "$(dirname "$0")/lib.sh"

if ! [ -r /dev/kvm ] || ! [ -w /dev/kvm ]; then
	skip host_disk "no usable /dev/kvm on this machine"
	exit 0
fi

image() { truncate -s "$2" "$T/$1"; }
# Host storage that an image takes, in KiB.
taken() { du -k "$T/$1" | cut -f1; }
# shellcheck disable=SC2317 # called by check
refused() { ! "$VMM" --kernel "$TINY" --serial none "$@" 2>"$T/refused"; }
# shellcheck disable=SC2317
said() { grep -qF -- "$1" "$T/refused"; }

image a.img 16M
image b.img 8M
head -c 1M /dev/zero | tr '\0' x >"$T/ro.img"
cp "$T/ro.img" "$T/ro.before"

test_content() {
	start_tiny d "" --memory size=32M --disk "path=$T/a.img,serial=disk-A" \
		--disk "path=$T/b.img" --disk "path=$T/ro.img,readonly=on"
	ask d 'disk 0 info'
	check order_first "$LINE" grep -q 'sectors=32768 .*id=disk-A' <<<"$LINE"
	ask d 'disk 1 info'
	check order_second "$LINE" grep -q 'sectors=16384 ' <<<"$LINE"
	check write "$LINE" ask d 'disk 0 write 5 0 1024'
	check write_end "$LINE" ask d 'disk 0 write 6 32760 8'
	check flush "$LINE" ask d 'disk 0 flush'
	check read "$LINE" ask d 'disk 0 read 5 0 1024'
	check read_end "$LINE" ask d 'disk 0 read 6 32760 8'
	check other_disk_is_empty "$LINE" ask d 'disk 1 empty 0 256'
	ask d 'disk 0 info'
	check interrupts "$LINE" [ "${LINE##*irqs=}" -gt 0 ]
	check stats "$(qmp "$T/d.qmp" query-blockstats)" \
		[ "$(qmp "$T/d.qmp" query-blockstats | number wr_bytes)" = $(((1024 + 8) * 512)) ]
	# Holes, seen from outside.
	local full
	full=$(taken a.img)
	check discard "$LINE" ask d 'disk 0 discard 0 512'
	check discard_reads_zero "$LINE" ask d 'disk 0 empty 0 512'
	check discard_gives_back "$full KiB, then $(taken a.img)" [ "$(taken a.img)" -le $((full - 256)) ]
	check zero "$LINE" ask d 'disk 0 zero 512 256'
	check zero_reads_zero "$LINE" ask d 'disk 0 empty 512 256'
	check rest_is_left "$LINE" ask d 'disk 0 read 5 768 256'
	# Read-only.
	tell d 'disk 2 write 1 0 8'
	expect d '^(OK|FAIL) disk'
	check readonly_refuses "$LINE" grep -q 'FAIL disk write: status 1' <<<"$LINE"
	check readonly_is_untouched "the file changed" cmp -s "$T/ro.img" "$T/ro.before"
}

test_hostile() {
	local name want
	while read -r name want; do
		ask d "disk 0 hostile $name"
		check "hostile_$name" "$LINE" grep -q "$want" <<<"$LINE"
	done <<-'EOF'
		beyond status=1 reset=0
		over-end status=1 reset=0
		wrap status=1 reset=0
		odd status=1 reset=0
		unknown status=2 reset=0
		many-ranges status=1 reset=0
		no-header reset=1
		no-status reset=1
	EOF
	check hostile_served_after "$LINE" ask d 'disk 0 read 5 768 256'
}

test_locks() {
	check second_writer refused refused --disk "path=$T/a.img"
	check second_writer_message "$(cat "$T/refused")" said "is in use by process ${PID[d]} (vmm)"
	check reader_of_written refused refused --disk "path=$T/a.img,readonly=on"
	check writer_of_read refused refused --disk "path=$T/ro.img"
	start_tiny e "" --memory size=32M --disk "path=$T/ro.img,readonly=on"
	check two_readers "$(cat "$T/e.err")" alive e
	stop_vmm e
	check missing refused refused --disk "path=$T/none.img"
	check missing_message "$(cat "$T/refused")" said "$T/none.img: No such file"
}

# The image becomes shorter under the guest: an error there, a line and an event here.
test_error() {
	tell d 'disk 1 write 2 0 16'
	expect d '^OK disk'
	{ echo '{"execute":"qmp_capabilities"}'; sleep 3; } |
		socat -t 4 - "UNIX-CONNECT:$T/d.qmp" >"$T/events" 2>/dev/null &
	local listener=$!
	sleep 0.5
	truncate -s 4096 "$T/b.img"
	tell d 'disk 1 read 2 8 16'
	expect d '^(OK|FAIL) disk'
	check host_error "$LINE" grep -q 'FAIL disk read: status 1' <<<"$LINE"
	check host_error_line "$(tail -n 2 "$T/d.err")" grep -q 'b.img: read of .* failed: Input/output' "$T/d.err"
	wait $listener
	check host_error_event "$(cat "$T/events")" grep -q '"BLOCK_IO_ERROR".*"disk1"' "$T/events"
	check host_error_state "$(qmp "$T/d.qmp" query-block)" \
		grep -q '"io-status": *"failed"' <<<"$(qmp "$T/d.qmp" query-block)"
	truncate -s 8M "$T/b.img"
}

test_life() {
	ask d 'disk 0 write 9 0 8'
	tell d reset
	check reset_serves "$LINE" expect d '^READY' 60
	check reset_keeps "$LINE" ask d 'disk 0 read 9 0 8'
	# Stopped, reset and ended while it writes.
	tell d 'disk 0 write 4 0 4096'
	sleep 0.2
	qmp "$T/d.qmp" stop >/dev/null
	qmp "$T/d.qmp" cont >/dev/null
	qmp "$T/d.qmp" stop >/dev/null
	local before after
	before=$(sha256sum <"$T/a.img")
	sleep 0.5
	after=$(sha256sum <"$T/a.img")
	check stop_is_quiet "the image changed while the guest was stopped" [ "$before" = "$after" ]
	qmp "$T/d.qmp" cont >/dev/null
	check stop_loses_nothing "$LINE" expect d '^OK disk write sectors=4096' 60
	tell d 'disk 0 write 4 0 4096'
	sleep 0.1
	qmp "$T/d.qmp" system_reset >/dev/null
	check system_reset_under_way "$LINE" expect d '^READY' 60
	tell d 'disk 0 write 3 0 4096'
	sleep 0.1
	kill "${PID[d]}"
	check sigterm_under_way "$(tail -n 3 "$T/d.err")" ends d 0
	check nothing_given_up "$(cat "$T/d.err")" [ "$(grep -c 'given up' "$T/d.err")" = 0 ]
}

test_content
test_hostile
test_locks
test_error
test_life
finish
