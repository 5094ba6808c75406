#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Merging by ranges with this machine's own KSM: two tiny guests with the same content. What is off
# is never merged and stays huge, what is on is merged, and switching off takes sharing apart at once
# and brings huge pages back. Every KSM setting is put back.
# shellcheck source-path=SCRIPTDIR source=lib.sh
cd "$(dirname "$0")/../.." || exit 1
. tests/it/lib.sh
# shellcheck source=ksm.sh
. tests/it/ksm.sh
MIB=1048576
if [ ! -w $ksm/run ]; then
	skip merge_ranges 'KSM cannot be set here (not root, or a kernel without it)'
	exit 0
fi
if ! [ -c /dev/kvm ]; then
	skip merge_ranges 'no /dev/kvm'
	exit 0
fi

# kib NAME FROM TO FIELD: what smaps says of guest addresses FROM to TO (MiB), in KiB; mappings are
# cut at borders of ranges, so each lies wholly in or out.
kib() {
	python3 - "${PID[$1]}" "$2" "$3" "$4" <<-'END'
		import re, sys
		pid, first, last, field = sys.argv[1], int(sys.argv[2]) << 20, int(sys.argv[3]) << 20, sys.argv[4]
		maps = []
		for line in open("/proc/%s/smaps" % pid):
		    head = re.match(r"([0-9a-f]+)-([0-9a-f]+) .*", line)
		    if head:
		        maps.append({"from": int(head[1], 16), "to": int(head[2], 16)})
		    else:
		        key, value = line.split(":", 1)
		        maps[-1][key] = value.split()
		# Guest RAM alone is neither dumped nor inherited, and is not as small as a vCPU's page.
		ram = [m for m in maps if {"dd", "dc"} <= set(m["VmFlags"]) and m["to"] - m["from"] >= 1 << 21]
		base = min(m["from"] for m in ram)
		print(sum(int(m[field][0]) for m in ram if m["from"] - base >= first and m["to"] - base <= last))
	END
}
ranges() { qmp "$T/$1.qmp" __memd-merge "{\"ranges\":[$2]}" >"$T/answer"; }
range() { echo "{\"gpa\":$(($1 * MIB)),\"length\":$((($2 - $1) * MIB)),\"merge\":$3}"; }

for name in m1 m2; do
	if ! start_tiny $name '' --memory size=64M,pages=thp || ! ask $name 'fill 3 48M' 200; then
		not_ok merge_guests "$LINE $(tail -n 3 "$T/$name.err")"
		finish
	fi
	check "merge_off_$name" "$(cat "$T/answer" 2>/dev/null)" ranges $name "$(range 16 32 false)"
done
if ! grep -q '^KSM:' "/proc/${PID[m1]}/smaps"; then
	skip merge_ranges 'this kernel does not tell KSM pages by mapping (smaps KSM:, Linux 6.6)'
	exit 0
fi
was_huge=$(kib m1 16 32 AnonHugePages)
set_ksm advisor_mode none
set_ksm pages_to_scan 10000
set_ksm sleep_millisecs 10
set_ksm smart_scan 0
set_ksm use_zero_pages 0
set_ksm run 1
check merge_scans 'ksmd does not come round' scans 3
on=$(($(kib m1 0 16 KSM) + $(kib m1 32 64 KSM))) off=$(kib m1 16 32 KSM)
echo "# on: $on KiB of 32 MiB merged; off: $off KiB; off and huge: $(kib m1 16 32 AnonHugePages) KiB, was $was_huge"
check merge_on_is_merged "$on KiB" [ $on -ge $((26 * 1024)) ]
check merge_off_is_not "$off KiB" [ "$off" -eq 0 ]
check merge_off_stays_huge "was $was_huge KiB" [ "$(kib m1 16 32 AnonHugePages)" -eq "$was_huge" ]

check merge_told "$(qmp "$T/m1.qmp" __memd-query-merge)" [ "$(qmp "$T/m1.qmp" __memd-query-merge | grep -o '"merge": *[a-z]*' | tr -d ' ' | tr '\n' ' ')" = '"merge":true "merge":false "merge":true ' ]
check merge_half_on "$(cat "$T/answer")" ranges m1 "$(range 16 24 true)"
ranges m2 "$(range 16 24 true)"
check merge_scans_again 'ksmd does not come round' scans 3
check merge_now_on "$(kib m1 0 24 KSM) KiB" [ "$(kib m1 0 24 KSM)" -ge $((18 * 1024)) ]
check merge_still_off "$(kib m1 24 32 KSM) KiB" [ "$(kib m1 24 32 KSM)" -eq 0 ]

# What is off lies in one piece then, from 24 to 48 MiB.
shared=$(kib m1 32 64 KSM) begin=$EPOCHREALTIME
check merge_switch_off "$(cat "$T/answer")" ranges m1 "$(range 32 48 false)"
awk -v a="$begin" -v b="$EPOCHREALTIME" 'BEGIN { printf "# switching 16 MiB of shared pages off took %.0f ms, QMP connection included\n", (b - a) * 1000 }'
check merge_apart_at_once "$(kib m1 24 48 KSM) KiB of $shared" [ "$(kib m1 24 48 KSM)" -eq 0 ]
huge_again() { [ "$(kib m1 24 48 AnonHugePages)" -ge $((22 * 1024)) ]; }
check merge_off_is_huge_again "not within a minute" wait_for 60 huge_again
qmp "$T/m1.qmp" query-memdev | grep -o "\"__memd-huge\": *{[^}]*}" | sed "s/^/# /"
check merge_unaligned_refused "$(cat "$T/answer")" eval '! ranges m1 "{\"gpa\":4096,\"length\":2097152,\"merge\":true}"'
check merge_content_m1 "$LINE" ask m1 verify
check merge_content_m2 "$LINE" ask m2 verify
finish
