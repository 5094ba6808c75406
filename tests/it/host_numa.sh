#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# memctl numa and place on captured hosts: two nodes, a node without memory, one that goes away, one
# node, a kernel without NUMA, a cpuset; each a clear line. Moves themselves: lab_numa.sh.
cd "$(dirname "$0")/../.." || exit 1
# shellcheck source=tests/it/lib.sh
. tests/it/lib.sh
# shellcheck source=tests/it/fake_host.sh
. tests/it/fake_host.sh
nodes=sys/devices/system/node
memctl() { "$MEMD_BUILD/memctl" --socket "$T/run/memd.sock" "$@" 2>&1; }
start_memd() {
	printf '[memd]\nruntime-dir=%s\nstate-dir=%s\n[policy]\nksm=off\nballoon=off\n[guest web2]\ndomain=red\n' \
		"$T/run" "$T/state" >"$T/memd.conf"
	"$MEMD_BUILD/memd" --config "$T/memd.conf" --sysroot "$T/tree" >"$T/memd.log" 2>&1 &
	PID[memd]=$!
	wait_for 10 memctl --json status >/dev/null
}
end_memd() {
	kill "${PID[memd]}"
	wait "${PID[memd]}"
}
says() { grep -qE -- "$1" <<<"$out"; }
# gives NAME STATUS REGEX COMMAND...
gives() {
	local name=$1 want=$2 regex=$3 status
	shift 3
	out=$("$@" </dev/null)
	status=$?
	if [ $status -ne "$want" ]; then not_ok "$name" "status $status, not $want: $out"; else check "$name" "$out" says "$regex"; fi
}
number_of() { memctl --json numa | jq "$1"; }
is() { [ "$(number_of "$1")" = "$2" ]; }
# set_node NODE CPULIST MEMORY_KB FREE_KB DISTANCES
set_node() {
	local dir=$T/tree/$nodes/node$1
	mkdir -p "$dir"
	echo "$2" >"$dir/cpulist"
	printf 'Node %s MemTotal: %s kB\nNode %s MemFree: %s kB\nNode %s MemUsed: %s kB\n' "$1" "$3" "$1" "$4" "$1" $(($3 - $4)) >"$dir/meminfo"
	echo "$5" >"$dir/distance"
}
gib=$((1 << 20))

copy_host
mkdir -p "$T/tree/sys/devices/system/cpu"
echo 0-3 >"$T/tree/sys/devices/system/cpu/online"
set_node 0 0-1 $((4 * gib)) $((3 * gib)) '10 21'
set_node 1 2-3 $((4 * gib)) $((2 * gib)) '21 10'
echo 0 >"$T/tree/proc/sys/kernel/numa_balancing"
start_fakes web1:good:1024 web2:vmm:1024
start_memd
wait_for 20 is '.guests | length' 2
wait_for 20 is '[.guests[].nodes["0"]] | all(. != null)' true

gives node-line 0 '^ *1 +2 +4 GiB +2 GiB +0:21 1:10 +-' memctl numa
gives residents 0 '^ *0 +2 .* web1 1 GiB, web2 1 GiB|web2 1 GiB, web1 1 GiB' memctl numa
gives says-why-not 0 'captured host, whose guests cannot be moved' memctl numa
check unknown-is-null 'local share of guests whose vCPUs are not known' is '.guests[0].local_ppm' null
check unknown-is-said 'no verdict' is '.guests[0].verdict_text | length > 10' true
gives status 0 'captured host' memctl status
gives plain-bytes 0 '^ *1 +2 +4294967296 +2147483648 ' memctl --bytes numa
gives numa-takes-none 2 'takes no argument' memctl numa web1

# ---- where a new one would go; 4 % of each node stay free
gives place-one-node 0 '^node 0: 2.5 GiB$' memctl place --memory 2560M --cpus 2
gives place-crowded 0 'More vCPUs than processors' memctl place --memory 1G --cpus 3
gives place-two-nodes 0 '^node 1: ' memctl place --memory 4G --cpus 4
gives place-split 0 '^  vmm --cpus 4 --memory size=2212M,host-nodes=0 --memory size=1884M,host-nodes=1$' memctl place --memory 4G --cpus 4
gives place-interleaved 0 '^  vmm --cpus 1 --memory size=4096M,host-nodes=0-1,policy=interleave$' memctl place --memory 4G --cpus 1
check place-split-json "$(memctl --json place --memory 4G --cpus 4)" eval '[ "$(memctl --json place --memory 4G --cpus 4 | jq "(.split.how == \"guest-nodes\") and ([.nodes[].bytes] | add == 4294967296)")" = true ]'
check place-whole-json "$(memctl --json place --memory 1G)" eval '[ "$(memctl --json place --memory 1G | jq .split)" = null ]'
gives place-nowhere 1 'fits nowhere: .* \(4.7 GiB, 3.3 GiB missing\)' memctl place --memory 8G
gives place-nowhere-json 1 '"fits": *false' memctl --json place --memory 8G
gives place-pool 1 'pools of that page size' memctl place --memory 1G --pages 2M
gives place-beside 0 '^node 0: 1 GiB$' memctl place --memory 1G --beside web1
gives place-stranger 1 "no guest 'nobody'" memctl place --memory 1G --beside nobody
gives place-no-size 2 'wants to know how large' memctl place
gives place-bad-size 2 'expected a size' memctl place --memory much
gives place-bad-cpus 2 'expected a number of vCPUs' memctl place --memory 1G --cpus 0
gives place-bad-pages 1 'expects thp, small, 2M or 1G' memctl place --memory 1G --pages 4K
gives foreign-option 2 'does not take --cpus' memctl numa --cpus 3
echo 512 >"$T/tree/$nodes/node1/hugepages/hugepages-2048kB/nr_hugepages"
echo 512 >"$T/tree/$nodes/node1/hugepages/hugepages-2048kB/free_hugepages"
gives place-pool-fits 0 '^node 1: 1 GiB$' memctl place --memory 1G --pages 2M
# vmm asks for itself. This machine has a node 0, whatever else; the captured host's node 0 is where
# there is room for it.
if [ -e /$nodes/node0 ] && [ -w /dev/kvm ]; then
	MEMD_SOCKET=$T/run/memd.sock start_tiny auto 'echo hello' --memory size=2560M,host-nodes=auto
	check auto-asks "$(cat "$T/auto.err")" grep -q 'host-nodes=auto: preferred on 0, as memd says' "$T/auto.err"
	out=$(qmp "$T/auto.qmp" query-memdev)
	check auto-prefers "$out" says '"host-nodes": *\[ *0 *\], *"policy": *"preferred"'
	stop_vmm auto
	MEMD_SOCKET=$T/nobody.sock start_tiny alone 'echo hello' --memory size=64M,host-nodes=auto
	check auto-alone "$(cat "$T/alone.err")" grep -q 'memd does not answer at .*nobody.sock .*; memory is not bound' "$T/alone.err"
	stop_vmm alone
else
	skip auto-asks 'no /dev/kvm, or no nodes here'
fi
# A domain of its own, where KSM keeps to nodes: not beside the others.
echo 0 >"$T/tree/sys/kernel/mm/ksm/merge_across_nodes"
sleep 2.2
gives place-domain 0 '^node 1: 1 GiB$' memctl place --memory 1G --domain blue
gives place-domain-nowhere 1 'other trust domains' memctl place --memory 3G --domain blue
out=$(memctl --json place --memory 3G --domain blue)
check place-json "$out" [ "$(jq '.schema == 1 and .fits == false and .room_bytes > 0 and .nodes == []' <<<"$out")" = true ]

# ---- what the firmware's HMAT tells: shown, and a distance where the SLIT is silent
# set_access NODE INITIATOR NS MIB_PER_S
set_access() {
	local dir=$T/tree/$nodes/node$1/access1/initiators
	mkdir -p "$dir/node$2"
	echo "$3" >"$dir/read_latency"
	echo "$4" >"$dir/read_bandwidth"
}
for n in 0 1; do set_access $n $n 90 20480; done
gives access-shown 0 '^ *1 +2 +4 GiB +2 GiB +0:21 1:10 +90 ns +20 GiB/s +' memctl numa
check access-json "$(number_of .nodes)" is '.nodes[1].access | .initiators == [1] and .read_latency_ns == 90 and .read_bytes_per_second == 20480 * 1048576 and .write_latency_ns == null' true
echo '10 20' >"$T/tree/$nodes/node0/distance"
echo '20 10' >"$T/tree/$nodes/node1/distance"
mkdir -p "$T/tree/$nodes/node1/access1/initiators/node0"
echo 180 >"$T/tree/$nodes/node1/access1/initiators/read_latency"
check access-is-distance "$(number_of .nodes)" is '.nodes[0] | .distances["1"] == 20 and .distances_by_latency == [1]' true
echo 270 >"$T/tree/$nodes/node1/access1/initiators/read_latency"
check access-is-distance-now "$(number_of .nodes)" is '.nodes[0].distances["1"]' 30
rm -r "$T/tree/$nodes"/node?/access1

# ---- files that make no sense: told, and taken for unknown
echo '10 much' >"$T/tree/$nodes/node0/distance"
gives bad-distance 0 '^node 0: .*node0/distance makes no sense: all other nodes are taken to be 20 away\.' memctl numa
gives bad-distance-place 0 '^node 0: 1 GiB$' memctl place --memory 1G
printf 'Node 0 MemTotal: a lot\n' >"$T/tree/$nodes/node0/meminfo"
gives bad-meminfo 0 'node0/meminfo makes no sense: its memory is not known' memctl numa
sleep 1.2
gives bad-meminfo-place 0 '^node 1: 1 GiB$' memctl place --memory 1G
set_node 0 0-1 $((4 * gib)) $((3 * gib)) '10 21'
set_node 1 2-3 $((4 * gib)) $((2 * gib)) '21 10'
sleep 1.2
gives sense-again 0 '^node 0: 1 GiB$' memctl place --memory 1G

# ---- somebody else moves them
mkdir -p "$T/tree/proc/4999"
echo numad >"$T/tree/proc/4999/comm"
printf 'Name:\tnumad\nState:\tS (sleeping)\nUid:\t0\t0\t0\t0\n' >"$T/tree/proc/4999/status"
kill -HUP "${PID[memd]}"
numad_told() { memctl status | grep -q 'numad (pid 4999) sets it; systemctl disable --now numad'; }
check numad-told "$(memctl status)" wait_for 5 numad_told

# ---- a node that is not weighed
check weighs-all 'a node is left out' is .nodes_not_weighed '[]'
cp "$T/tree/$nodes/online" "$T/online"
set_node 9 4 $((4 * gib)) $((4 * gib)) '21 21 10'
echo 0-1,9 >"$T/tree/$nodes/online"
gives beyond-is-listed 0 '^ *9 +1 +4 GiB ' memctl numa
gives beyond-is-said 0 '^Not weighed, with all guests that are there: node 9\. ' memctl numa
gives beyond-is-no-place 1 'fits nowhere' memctl place --memory 8G
cp "$T/online" "$T/tree/$nodes/online"
rm -r "$T/tree/$nodes/node9"

# ---- a node's processors go offline while memd runs, then its memory, and then the node
set_node 1 '' $((4 * gib)) $((2 * gib)) '21 10'
echo 0-1 >"$T/tree/sys/devices/system/cpu/online"
sleep 1.2
gives cpuless 0 '^node 1 has no processor online: guests are not moved there' memctl numa
gives cpuless-news 0 'T[0-9:.]*Z  node 1: all its processors went offline$' memctl numa
check cpuless-logged "$(cat "$T/memd.log")" grep -q 'node 1: all its processors went offline' "$T/memd.log"
echo 0 >"$T/tree/$nodes/has_memory"
set_node 1 2-3 0 0 '21 10'
echo 0-3 >"$T/tree/sys/devices/system/cpu/online"
sleep 1.2
gives memoryless 0 '^ *1 +2 +0 B +0 B ' memctl numa
gives memoryless-note 0 "^node 1 has no memory: guests on its processors use other nodes'" memctl numa
gives memoryless-status 0 '^NUMA +node 1 has no memory' memctl status
gives memoryless-news 0 'node 1: its memory went offline$' memctl numa
gives memoryless-place 1 'fits nowhere' memctl place --memory 4G
echo 0 >"$T/tree/$nodes/online"
echo 0-1 >"$T/tree/sys/devices/system/cpu/online"
rm -r "$T/tree/$nodes/node1"
sleep 1.2
gives node-gone 0 '^ *0 +2 ' memctl numa
check node-gone-alive 'memd did not outlive it' alive memd
gives node-gone-status 0 '^NUMA +node 1 went offline \(.*Z\)$' memctl status
gives one-node 0 '^this host has one node with memory: there is nothing to choose' memctl numa
gives one-node-status 0 '^NUMA +this host has one node with memory' memctl status
check node-gone-list 'the node is still told of' is '.nodes | length' 1
gives one-node-place 0 '^node 0: 1 GiB$' memctl place --memory 1G
end_memd

# ---- a kernel without NUMA
rm -r "$T/tree/${nodes:?}" "$T/tree/proc/sys/kernel/numa_balancing"
start_memd
wait_for 20 is '.guests | length' 2
gives no-numa 0 '^ *0 +2 ' memctl numa
gives no-numa-note 0 '^this kernel shows no nodes \(no /sys/devices/system/node\): all memory and all processors count as node 0' memctl numa
gives no-numa-status 0 '^NUMA +this kernel shows no nodes' memctl status
gives no-numa-place 0 '^node 0: ' memctl place --memory 256M
check no-numa-balancing 'balancing is told of' is '.numa_balancing' null
end_memd
finish
