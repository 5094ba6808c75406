#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# memctl estimate against the truth: processes that hold files' content in part twice, zeros and
# random bytes, 20 seeded estimates of them, then this machine's own KSM at full speed until nothing
# more merges. Every KSM setting is put back.
# With ESTIMATE_IMAGES="FILE..." processes hold these images (of guests' memory) instead, one each.
# shellcheck source-path=SCRIPTDIR source=lib.sh
cd "$(dirname "$0")/../.." || exit 1
. tests/it/lib.sh
# shellcheck source=ksm.sh
. tests/it/ksm.sh
MEMCTL=$MEMD_BUILD/memctl
runs=${ESTIMATE_RUNS:-20}

# hold NAME PART...: a process with that memory, ready when this returns.
hold() {
	local name=$1 fd
	shift
	mkfifo "$T/$name.in"
	exec {fd}<>"$T/$name.in"
	python3 tests/it/hold_memory.py "$@" <&"$fd" >"$T/$name.out" 2>"$T/$name.err" &
	PID[$name]=$!
	names+=("$name")
}
ready() { grep -q READY "$T/$1.out" || dead "$1"; }
all_ready() {
	local name
	for name in "${names[@]}"; do
		wait_for 60 ready "$name" || return 1
		grep -q READY "$T/$name.out" || return 1
	done
}

# estimate FILE ARGS...: into $T/FILE as JSON.
estimate() {
	local file=$1
	shift
	"$MEMCTL" estimate --json "$@" >"$T/$file" 2>"$T/$file.err"
}
# field FILE EXPRESSION: a value of the document d.
field() { python3 -c 'import json, sys; d = json.load(open(sys.argv[1])); print(eval(sys.argv[2]))' "$T/$1" "$2"; }

# truth: bytes that are really saved between the processes, from the physical pages behind them.
truth() {
	python3 - "${names[@]/#/$T/}" <<-'END'
		import array, re, sys
		pages, frames = 0, set()
		for name in sys.argv[1:]:
		    where, n = map(int, open(name + ".out").read().split()[1:])
		    pid = int(open(name + ".pid").read())
		    with open("/proc/%d/pagemap" % pid, "rb") as pagemap:
		        pagemap.seek(where // 4096 * 8)
		        entries = array.array("Q", pagemap.read(n * 8))
		    present = [e & (1 << 55) - 1 for e in entries if e >> 63]
		    pages += len(present)
		    frames.update(present)
		print((pages - len(frames)) * 4096)
	END
}
between() { [ "$1" -le "$2" ] && [ "$2" -le "$3" ]; }
# Whole rounds of ksmd until one brings less than a page in 500: the first two only look at new pages.
converge() {
	local before=0 now=0
	scans 3 || return 1
	for _ in 1 2 3 4 5 6; do
		now=$(truth)
		[ $(((now - before) * 500)) -gt "$now" ] || return 0
		before=$now
		scans 1 || return 1
	done
	return 1
}

names=()
if [ "$(id -u)" != 0 ]; then
	skip estimate 'reads the memory of other processes (not root)'
	exit 0
fi
if [ -n "${ESTIMATE_IMAGES:-}" ]; then
	for image in $ESTIMATE_IMAGES; do
		hold "image${#names[@]}" "$image"
	done
else
	dir=/usr/lib/x86_64-linux-gnu
	[ -d $dir ] || dir=/usr/lib
	hold one "files:$dir:72" zero:16 random:24 busy:4
	hold two "files:$dir:72:24" zero:24 random:24 busy:4
	hold three "files:$dir:56:64" "files:/usr/bin:24" random:16
	hold four "files:/usr/bin:24:8" "files:$dir:40:16" zero:8 random:16
fi
if ! all_ready; then
	not_ok estimate_processes "$(cat "$T"/*.err)"
	finish
fi
pids=()
for name in "${names[@]}"; do
	echo "${PID[$name]}" >"$T/$name.pid"
	pids+=("${PID[$name]}")
done

# ---- without KSM ----

"$MEMCTL" estimate --settle 0.1 --seed 1 "${pids[0]}" "${pids[1]}" >"$T/out" 2>&1
check estimate_text "$? $(cat "$T/out")" grep -q '^total' "$T/out"
sed 's/^/# /' "$T/out"
estimate whole --cpu 100 --marked --settle 1 --samples 100000000 "${pids[@]}"
whole=$(field whole 'd["total"]["present_bytes"]')
check estimate_reads_all "$(cat "$T/whole" "$T/whole.err")" [ "$(field whole 'd["total"]["read_bytes"] == d["total"]["present_bytes"] > 0')" = True ]
present=$(for name in "${names[@]}"; do awk '{ print $3 }' "$T/$name.out"; done | awk '{ n += $1 } END { printf "%.0f\n", n * 4096 }')
check estimate_present "$whole of $present bytes" [ "$whole" -eq "$present" ]
if [ -z "${ESTIMATE_IMAGES:-}" ]; then
	# All pages of the busy part are equal at any moment and never the same for long.
	changing=$(field whole 'd["total"]["changing_bytes"]')
	check estimate_changing "$changing of 8388608 bytes" near "$changing" $((8 << 20)) 5
	zero=$(field whole 'd["total"]["zero_bytes"]')
	check estimate_zero "$zero bytes" [ "$zero" -ge $((47 << 20)) ]
fi
for seed in $(seq 1 "$runs"); do
	estimate "seed$seed" --cpu 100 --marked --settle 1 --seed "$seed" --samples $((whole * 51 / 100 / 4096)) "${pids[@]}" &
	waiting+=($!)
	[ $((seed % 5)) -ne 0 ] || { wait "${waiting[@]}" && waiting=(); }
done
[ ${#waiting[@]} -eq 0 ] || wait "${waiting[@]}"
estimate little --cpu 100 --settle 0 --samples $((whole / 4096 / 5)) "${pids[@]}"
estimate hurried --cpu 1 --seconds 0.5 --settle 0 "${pids[@]}"
check estimate_in_a_hurry "$(grep -a '"seconds"\|read_ppm' "$T/hurried" "$T/hurried.err")" \
	[ "$(field hurried 'd["read_ppm"] < 900000 and d["seconds"] < 10')" = True ]

# ---- what it says when it cannot ----

sleep 0 & # no more there when looked for
wait $!
estimate gone --settle 0 $!
check estimate_gone "$? $(cat "$T/gone.err")" grep -q 'it has ended' "$T/gone.err"
MEMD_SOCKET=$T/none.sock estimate none --settle 0 no-such-guest
check estimate_no_guest "$? $(cat "$T/none.err")" grep -q 'give the pid' "$T/none.err"
estimate usage --cpu 0 1
status=$?
check estimate_usage "$status $(cat "$T/usage.err")" [ $status -eq 2 ]
if command -v setpriv >/dev/null && setpriv --reuid=65534 true 2>/dev/null; then
	cp "$MEMCTL" "$T/memctl" && chmod 755 "$T" "$T/memctl"
	setpriv --reuid=65534 --regid=65534 --clear-groups "$T/memctl" estimate "${pids[0]}" >"$T/out" 2>&1
	check estimate_not_root "$(cat "$T/out")" grep -q 'run as root' "$T/out"
fi

# ---- with KSM ----

if [ ! -w $ksm/run ]; then
	skip estimate_truth 'KSM cannot be set here (a kernel without it)'
	finish
fi
set_ksm advisor_mode none
set_ksm smart_scan 0
set_ksm use_zero_pages 0
set_ksm pages_to_scan 30000
set_ksm sleep_millisecs 0
set_ksm run 1
check estimate_converges 'the savings do not stand still' converge
saved=$(truth)
inside=0
for seed in $(seq 1 "$runs"); do
	low=$(field "seed$seed" 'd["total"]["would_save_low_bytes"]') high=$(field "seed$seed" 'd["total"]["would_save_high_bytes"]')
	between "${low:-1}" "$saved" "${high:-0}" && inside=$((inside + 1))
	echo "# seed $seed: ${low:-?} to ${high:-?}, $(field "seed$seed" 'd["cpu_seconds"]') s of CPU"
done
awk -v saved="$saved" -v whole="$whole" -v inside="$inside" -v runs="$runs" -v all="$(field whole 'd["total"]["would_save_bytes"]')" 'BEGIN {
	printf "# KSM saves %.1f of %.1f MiB, inside the interval in %d of %d runs; having read all: %.1f\n",
		saved / 1048576, whole / 1048576, inside, runs, all / 1048576 }'
check estimate_truth "$inside of $runs" [ $inside -ge $((runs * 19 / 20)) ]
low=$(field little 'd["total"]["would_save_low_bytes"]') high=$(field little 'd["total"]["would_save_high_bytes"]')
check estimate_little_read "$low to $high, $saved" between "$low" "$saved" "$high"

# What is merged is the same estimate, and told as saved now. It stays merged, and ksmd is no help.
set_ksm run 0
saved=$(truth)
estimate after --cpu 100 --marked --settle 1 --samples 100000000 "${pids[@]}"
now=$(field after 'd["total"]["saved_now_bytes"]') again=$(field after 'd["total"]["would_save_bytes"]')
check estimate_saved_now "$now, really $saved" near "$now" "$saved" 10
still=$(truth)
check estimate_leaves_merged "$still bytes, before it $saved" [ "$still" -ge $((saved - (1 << 20))) ]
check estimate_same_when_merged "$again, before $(field whole 'd["total"]["would_save_bytes"]')" near "$again" "$(field whole 'd["total"]["would_save_bytes"]')" 2
finish
