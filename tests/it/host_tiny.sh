#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# vmm on this machine's own /dev/kvm and kernel, with the tiny guest: memory, balloon, reporting,
# hostile drivers, power, QMP garbage and page merging.
# It needs nothing of the repository but lib.sh beside it: lab_tiny.sh runs it in the lab too.
# shellcheck source=tests/it/lib.sh
. "$(dirname "$0")/lib.sh"

if ! [ -r /dev/kvm ] || ! [ -w /dev/kvm ]; then
	skip host_tiny "no usable /dev/kvm on this machine"
	exit 0
fi
command -v socat >/dev/null || {
	not_ok host_tiny "socat is not installed"
	finish
}

ksm=/sys/kernel/mm/ksm
settings() { grep -H . $ksm/{run,pages_to_scan,sleep_millisecs} /sys/kernel/mm/transparent_hugepage/enabled 2>/dev/null; }
before=$(settings)
restore() {
	local file value
	while IFS=: read -r file value; do
		case $file in "$ksm"/*) [ "$(cat "$file")" = "$value" ] || echo "$value" >"$file" ;; esac
	done <<<"$before"
}
balloon=(--balloon "deflate-on-oom=on,free-page-reporting=on")
MIB=1048576

# ---- memory ----

test_memory() {
	local mode
	for mode in small thp; do
		start_vmm m --memory size=128M,pages="$mode" --kernel "$TINY" \
			--append "fill 7 32M; verify; poweroff"
		expect m '^(OK|FAIL) verify' 60
		check "verify_$mode" "$LINE" [ "$LINE" = 'OK verify pages=8192' ]
		check "poweroff_$mode" "$(tail -n 3 "$T/m.err")" ends m 0
	done
	# Above the 32-bit hole: the top of 5 GiB is at 6 GiB.
	start_tiny h "touch 32M; balloon" --memory size=5G,pages=small "${balloon[@]}"
	check high_memory "$(tail -n 3 "$T/h.log")" grep -q 'OK touch pages=8192' "$T/h.log"
	ask h 'inflate 32M'
	check high_inflate "$LINE; rss $(rss_kb h)" [ "$(rss_kb h)" -lt 20000 ]
	stop_vmm h
}

# ---- balloon ----

# target NAME BYTES: by QMP, until the guest has come to it.
target() {
	qmp "$T/$1.qmp" balloon "{\"value\":$2}" >/dev/null || return 1
	expect "$1" '^(OK target|FAIL balloon)' 60 && [[ $LINE == OK* ]]
}

test_balloon() {
	local mode=$1 full low back
	start_tiny "b$mode" "fill 3 32M; touch 160M" --memory size=256M,pages="$mode" "${balloon[@]}"
	full=$(rss_kb "b$mode")
	check "inflate_$mode" "$LINE" target "b$mode" $((128 * MIB))
	low=$(rss_kb "b$mode")
	check "inflate_rss_$mode" "RSS fell by $((full - low)) kB, not 131072" \
		near $((full - low)) 131072 2
	check "query_balloon_$mode" "$(qmp "$T/b$mode.qmp" query-balloon)" \
		[ "$(qmp "$T/b$mode.qmp" query-balloon | number actual)" = $((128 * MIB)) ]
	check "returned_$mode" "$(qmp "$T/b$mode.qmp" __memd-query-returned)" \
		near "$(qmp "$T/b$mode.qmp" __memd-query-returned | number balloon-bytes)" $((128 * MIB)) 2
	check "few_discards_$mode" "$(qmp "$T/b$mode.qmp" __memd-query-returned)" \
		[ "$(qmp "$T/b$mode.qmp" __memd-query-returned | number discards)" -le 160 ]
	check "deflate_$mode" "$LINE" target "b$mode" $((256 * MIB))
	ask "b$mode" 'touch 128M'
	back=$(rss_kb "b$mode")
	check "deflate_rss_$mode" "RSS came to $back kB, was $full" near "$back" "$full" 2
	check "balloon_verify_$mode" "$LINE" ask "b$mode" verify
	ask "b$mode" balloon
	check "balloon_irqs_$mode" "$LINE" [ "${LINE##*irqs=}" -gt 0 ]
	stop_vmm "b$mode"
}

test_reporting() {
	local full low
	start_tiny r "fill 3 32M; touch 64M" --memory size=128M,pages=small "${balloon[@]}"
	full=$(rss_kb r)
	check report "$LINE" ask r 'report 64M'
	low=$(rss_kb r)
	check report_rss "RSS fell by $((full - low)) kB, not 65536" near $((full - low)) 65536 2
	ask r 'zero 64M'
	check report_reads_zero "$LINE" [ "$LINE" = 'OK zero pages=16384' ]
	check report_verify "$LINE" ask r verify
	# A guest that poisons its free pages keeps them.
	ask r 'touch 64M' && ask r 'poison 0xaaaaaaaa' && ask r 'report 64M'
	low=$(rss_kb r)
	check report_poison "RSS fell to $low of $full kB" near "$low" "$full" 2
	check report_poison_said "$(cat "$T/r.err")" grep -q 'poisons free pages' "$T/r.err"
	stop_vmm r
}

test_stats() {
	start_tiny s "fill 3 4M" --memory size=64M "${balloon[@]}"
	qmp "$T/s.qmp" qom-set '{"path":"/machine/peripheral/balloon0","property":"guest-stats-polling-interval","value":1}' >/dev/null
	sleep 1
	ask s 'fill 3 16M'
	sleep 2.5
	local free
	free=$(qmp "$T/s.qmp" qom-get '{"path":"/machine/peripheral/balloon0","property":"guest-stats"}' | number stat-free-memory)
	check stats_polled "free memory ${free:-unknown}" near "${free:-0}" $((46 * MIB)) 2
	stop_vmm s
}

# ---- memory device ----

# state NAME: does the guest run on?
state() { qmp "$T/$1.qmp" query-status; }
refused() {
	[[ $(state "$1") == *internal-error* ]] && grep -q 'touched memory' "$T/$1.err" && return
	find_line "$1" '^OK mem (read|write)' && [[ $LINE == *value=18446744073709551615 ]]
}

test_mem() {
	local what rss0 rss1 rss2
	start_tiny v "" --memory size=64M,pages=small --mem-device size=256M,requested=128M,pages=small \
		"${balloon[@]}"
	ask v mem
	check mem_config "$LINE" [ "$LINE" = "OK mem addr=134217728 size=268435456 block=2097152 requested=134217728 plugged=0" ]
	rss0=$(rss_kb v)
	check mem_plug "$LINE" ask v 'mem plug 8 32'
	check mem_fill "$LINE" ask v 'mem fill 8 32'
	rss1=$(rss_kb v)
	check mem_rss_up "RSS $rss0 -> $rss1 KiB" near $((rss1 - rss0)) 65536 5
	ask v 'mem unplug 16 24'
	check mem_unplug "$LINE" [ "$LINE" = "OK mem unplug ack state=0 plugged=16777216" ]
	rss2=$(rss_kb v)
	check mem_rss_down "RSS $rss1 -> $rss2 KiB" near $((rss1 - rss2)) 49152 2
	check mem_check "$LINE" ask v 'mem check 8 8'
	check mem_returned "$(qmp "$T/v.qmp" __memd-query-returned)" \
		[ "$(qmp "$T/v.qmp" __memd-query-returned | number virtio-mem-bytes)" = $((48 * MIB)) ]
	ask v 'mem plug 200 100'
	check mem_too_far "$LINE" [ "$LINE" = "OK mem plug error state=0 plugged=16777216" ]
	ask v 'mem plug 20 60'
	check mem_too_much "$LINE" [ "$LINE" = "OK mem plug nack state=0 plugged=16777216" ]
	# Behind a plugged block there are zeroes, which cost nothing.
	ask v 'mem read 16'
	check mem_behind "$LINE" [ "$LINE" = "OK mem read value=0" ]
	check mem_all "$LINE" ask v 'mem all'
	check mem_behind_costs_nothing "RSS $rss0 -> $(rss_kb v) KiB" [ $(($(rss_kb v) - rss0)) -lt 1024 ]
	# A guest that touches what is unplugged gets nothing. KVM stops it, as for broken memory, or,
	# where it interprets guest code, finds no memory: reads are all ones and writes are lost.
	for what in read write; do
		tell v "mem $what 40"
		check "mem_unplugged_$what" "$(state v)" wait_for 20 refused v
		check "mem_unplugged_${what}_costs_nothing" "RSS $(rss_kb v) KiB" [ $(($(rss_kb v) - rss0)) -lt 1024 ]
		qmp "$T/v.qmp" system_reset >/dev/null
		qmp "$T/v.qmp" cont >/dev/null
		expect v '^READY' 60
		check "mem_reset_$what" "$LINE" ask v 'mem plug 0 2'
		ask v 'mem all'
	done
	stop_vmm v
}

# ---- hostile drivers ----

qmp_works() { qmp "$T/$1.qmp" query-status >/dev/null; }

test_hostile() {
	local name want
	start_tiny x "" --memory size=128M,pages=small "${balloon[@]}"
	while read -r name want; do
		tell x "hostile $name"
		expect x "^(OK|FAIL) hostile" 60
		check "hostile_${name//-/_}" "$LINE" [ "$LINE" = "OK hostile $name $want" ]
		alive x || {
			not_ok hostile_alive "vmm ended: $(tail -n 3 "$T/x.err")"
			return
		}
	done <<-END
		beyond-ram served
		loop needs-reset
		zero-length needs-reset
		odd-length served
		writable served
		outside needs-reset
		wraps needs-reset
		huge-length needs-reset
		descriptors-64k needs-reset
		pages-64k served
		nested needs-reset
		indirect-odd needs-reset
		head-beyond needs-reset
		next-beyond needs-reset
		avail-jump needs-reset
		flood served
		stats-huge served
		report-readable served
		bad-queue served
		actual-lie served
	END
	check hostile_said "nothing in its messages" grep -q 'virtio balloon: .*needs a reset' "$T/x.err"
	check hostile_lines_limited "$(wc -l <"$T/x.err") lines" [ "$(wc -l <"$T/x.err")" -lt 60 ]
	check hostile_qmp "$(qmp "$T/x.qmp" query-status)" qmp_works x
	tell x poweroff
	check hostile_end "$(tail -n 3 "$T/x.err")" ends x 0
}

# ---- nonsense for all devices at once ----

test_storm() {
	local seed
	truncate -s 4M "$T/storm.img"
	for seed in 1 2 3; do
		start_tiny y "" --memory size=64M,pages=small --mem-device size=64M,requested=32M,pages=small \
			--disk "path=$T/storm.img" --console file:/dev/null "${balloon[@]}"
		check "storm_$seed" "$LINE$(tail -n 3 "$T/y.err")" ask y "storm $seed 4000" 120
		check "storm_rng_$seed" "$LINE" ask y rng
		check "storm_disk_$seed" "$LINE" ask y "disk 0 write $seed 0 64"
		check "storm_mem_$seed" "$LINE" ask y 'mem plug 0 4'
		check "storm_qmp_$seed" "$(qmp "$T/y.qmp" query-status)" qmp_works y
		check "storm_lines_$seed" "$(wc -l <"$T/y.err") lines" [ "$(wc -l <"$T/y.err")" -lt 200 ]
		tell y poweroff
		check "storm_end_$seed" "status $STATUS, $(tail -n 3 "$T/y.err")" ends y 0
	done
}

# ---- power ----

test_power() {
	local how
	for how in reset crash; do
		start_tiny "p$how" "" --memory size=64M
		tell "p$how" $how
		check "$how" "no second start" expect "p$how" '^READY' 30
		alive "p$how" || not_ok "$how" "vmm ended"
		[ $how = crash ] || { qmp "$T/p$how.qmp" system_reset >/dev/null &&
			check system_reset "no third start" expect "p$how" '^READY' 30; }
		check "after_$how" "$LINE" ask "p$how" 'fill 1 4M'
		stop_vmm "p$how"
	done
	start_vmm n --memory size=64M --no-reboot --kernel "$TINY" --append reset
	check no_reboot "$(tail -n 3 "$T/n.err")" ends n 0
	start_tiny z "fill 1 8M; inflate 16M" --memory size=64M,pages=small "${balloon[@]}"
	qmp "$T/z.qmp" stop >/dev/null && qmp "$T/z.qmp" cont >/dev/null
	check stop_cont "$LINE" ask z verify
	qmp "$T/z.qmp" quit >/dev/null
	check quit "$(tail -n 3 "$T/z.err")" ends z 0
}

test_devices() {
	start_tiny d "rng" --memory size=64M --console "file:$T/console"
	check rng "$(cat "$T/d.log")" grep -q '^OK rng bytes=64' "$T/d.log"
	ask d 'console hello from the guest'
	check console "$(cat "$T/console")" grep -q 'hello from the guest' "$T/console"
	stop_vmm d
	start_tiny e "" --memory size=64M --console "unix:$T/e.console"
	echo 'hello from the host' | socat -t 1 - "UNIX-CONNECT:$T/e.console"
	check console_input "$LINE" expect e '^OK console-input hello from the host'
	stop_vmm e
}

# ---- QMP garbage ----

# garbage NAME WANTED < BYTES: what comes back has WANTED in it, and the next command still works.
garbage() {
	local out
	{
		echo '{"execute":"qmp_capabilities"}'
		cat
		echo
		echo '{"execute":"query-status","id":"after"}'
	} >"$T/garbage"
	out=$(timeout 30 socat -t 10 - "UNIX-CONNECT:$T/q.qmp" <"$T/garbage")
	check "qmp_$1" "$(tail -n +3 <<<"$out" | tr '\r\n' '  ' | tail -c 300)" answered "$out" "$2"
	alive q || not_ok "qmp_$1" "vmm ended"
}

answered() { [[ $1 == *"\"class\":\"$2\""* && $1 == *running*after* ]]; }

test_qmp_garbage() {
	start_tiny q "" --memory size=64M "${balloon[@]}"
	echo 'hello, this is no JSON' | garbage not_json GenericError
	printf '\377\376\000\001{{{{' | garbage binary GenericError
	head -c 10485760 /dev/zero | tr '\0' a | garbage long_line GenericError
	{ printf '{"execute":"'; head -c 10485760 /dev/zero | tr '\0' a; printf '"}'; } |
		garbage long_command GenericError
	echo '{"execute":"no-such-command"}' | garbage unknown_command CommandNotFound
	echo '{"execute":"balloon","arguments":{"value":"much"}}' | garbage wrong_type GenericError
	echo '{"execute":"balloon","arguments":{"value":-1}}' | garbage negative GenericError
	echo '{"execute":"balloon"}' | garbage missing_argument GenericError
	echo '{"execute":"query-status","arguments":{"extra":1}}' | garbage unknown_argument GenericError
	echo '[1,2,3]' | garbage not_an_object GenericError
	echo '{"execute":17}' | garbage command_not_a_string GenericError
	head -c 100000 /dev/zero | tr '\0' '[' | garbage deep GenericError
	stop_vmm q
}

# ---- page merging ----

test_merging() {
	local a b
	[ -w $ksm/run ] || {
		skip merging "this kernel has no KSM we may control"
		return
	}
	start_tiny k1 "same 32M" --memory size=64M,pages=small,merge=on
	start_tiny k2 "same 32M" --memory size=64M,pages=small,merge=on
	start_tiny k3 "same 32M" --memory size=64M,pages=small,merge=off
	echo 20000 >$ksm/pages_to_scan
	echo 10 >$ksm/sleep_millisecs
	echo 1 >$ksm/run
	wait_for 60 merged
	a=$(cat "/proc/${PID[k1]}/ksm_merging_pages") b=$(cat "/proc/${PID[k2]}/ksm_merging_pages")
	check merging "$a and $b pages of 8192 merged, $(cat $ksm/pages_sharing) sharing" merged
	check merging_off "$(cat "/proc/${PID[k3]}/ksm_merging_pages") pages merged in spite of merge=off" \
		[ "$(cat "/proc/${PID[k3]}/ksm_merging_pages")" = 0 ]
	check merging_verify1 "$LINE" ask k1 verify
	# One guest writes: the other's pages stay what they were.
	check merging_write "$LINE" ask k1 'fill 99 16M'
	check merging_verify2 "$LINE" ask k2 verify
	restore
	for a in k1 k2 k3; do stop_vmm $a; done
}
merged() {
	[ "$(cat "/proc/${PID[k1]}/ksm_merging_pages")" -ge 8000 ] &&
		[ "$(cat "/proc/${PID[k2]}/ksm_merging_pages")" -ge 8000 ] &&
		[ "$(cat $ksm/pages_sharing)" -ge 8000 ]
}

# ONLY="hostile power" runs these alone.
wanted() { [[ -z ${ONLY:-} || " $ONLY " == *" $1 "* ]]; }
wanted memory && test_memory
wanted balloon && test_balloon small
wanted balloon && test_balloon thp
wanted mem && test_mem
wanted reporting && test_reporting
wanted stats && test_stats
wanted hostile && test_hostile
wanted storm && test_storm
wanted power && test_power
wanted devices && test_devices
wanted qmp_garbage && test_qmp_garbage
wanted merging && test_merging
check settings_restored "$(settings)" [ "$(settings)" = "$before" ]
finish
