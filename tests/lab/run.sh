# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# One run of the emulated host: flags of the emulator, disks, output and exit status, and the
# judgement of what ended it. README.md has the reasons for each flag. COMMAND's output goes
# through files that QEMU appends to, not through pipes, so that a slow reader loses nothing.

# cmpxchg16b, 5-level paging, virtual GIF, SMAP and protection keys are off because nested
# guests run into the emulator's errors with them; erms and fsrm because kernels that see them
# clear and copy memory with `rep stosb` and `rep movsb`, which the emulator runs byte by byte.
RUN_CPU=max,+svm,+npt,-cx16,-la57,-vgif,-smap,-pku,-pks,-erms,-fsrm
RUN_RETRIES=${LAB_RETRIES:-2}
# The emulated host says "beat" every 5 s at real-time priority.
RUN_SILENCE_S=90
RUN_BOOT_S=120
RUN_FAULT_PATTERN='(Kernel panic|Oops:|BUG: (unable|kernel|scheduling|Bad|soft lockup|workqueue)|double fault|corrupted stack end|rcu: INFO: .*(stall|self-detected)|general protection fault|watchdog: BUG).*'

run_options() {
	RUN_KERNEL=6.12 RUN_NODES=2 RUN_MEMORY_MIB=8192 RUN_CPUS=1 RUN_TIMEOUT_S=600
	RUN_ZRAM_MIB='' RUN_APPEND='' RUN_SHARE='' RUN_OUT='' RUN_CONSOLE='' RUN_SYSTEMS=''
	while (($#)); do
		case $1 in
		--) break ;;
		--systems)
			RUN_SYSTEMS=systems
			shift
			continue
			;;
		--kernel | --nodes | --memory | --cpus | --zram | --append | --share | --out | --timeout | --console)
			(($# > 1)) || lab_die "run: $1 needs a value"
			;;
		-*) lab_die "run: unknown option '$1' (see: lab help)" ;;
		*) lab_die "run: '$1' is not an option; write -- before COMMAND" ;;
		esac
		case $1 in
		--kernel)
			case $2 in
			debian13) RUN_KERNEL=6.12 ;;
			debian12) RUN_KERNEL=6.1 ;;
			*) lab_die "--kernel: '$2' is not debian13 or debian12" ;;
			esac
			;;
		--nodes) RUN_NODES=$(lab_count "$2" --nodes) ;;
		--memory) RUN_MEMORY_MIB=$(lab_size_mib "$2" --memory) ;;
		--cpus) RUN_CPUS=$(lab_count "$2" --cpus) ;;
		--zram) RUN_ZRAM_MIB=$(lab_size_mib "$2" --zram) ;;
		--append) RUN_APPEND=$2 ;;
		--share) RUN_SHARE=$2 ;;
		--out) RUN_OUT=$2 ;;
		--timeout) RUN_TIMEOUT_S=$(lab_count "$2" --timeout) ;;
		--console) RUN_CONSOLE=$2 ;;
		esac
		shift 2
	done
	(($# > 1)) || lab_die "run: no COMMAND after --"
	shift
	RUN_COMMAND=("$@")
	((RUN_MEMORY_MIB >= 512)) || lab_die "--memory: the emulated host needs at least 512M"
	((RUN_NODES <= 8)) || lab_die "--nodes: at most 8"
	[[ -z $RUN_SHARE || -d $RUN_SHARE ]] || lab_die "--share: $RUN_SHARE is not a directory"
	[[ -z $RUN_OUT ]] || mkdir -p "$RUN_OUT"
}

# Sets RUN_QEMU to the emulator's command line for a run in DIR.
run_qemu() {
	local dir=$1 thread=single merge=0 node cpu share_mib cpus word
	local -a append
	((RUN_CPUS == 1)) || thread=multi
	! [[ /dev/stdout -ef /dev/stderr ]] || merge=1
	append=(console=ttyS0 loglevel=5 panic=-1 oops=panic printk.time=1 "lab.timeout=$RUN_TIMEOUT_S"
		"lab.merge-output=$merge" mitigations=off no_timer_check psi=1
		watchdog_thresh=30 softlockup_panic=1 nmi_watchdog=0 rcupdate.rcu_cpu_stall_timeout=60)
	[[ -z $RUN_ZRAM_MIB ]] || append+=("lab.zram=$RUN_ZRAM_MIB")
	for word in $RUN_APPEND; do
		append+=("$word")
	done
	RUN_QEMU=(qemu-system-x86_64 -name lab -M q35,mem-merge=off -nodefaults -display none -no-reboot
		-accel "tcg,thread=$thread,tb-size=1024" -cpu "$RUN_CPU" -smp "$RUN_CPUS"
		-m "$RUN_MEMORY_MIB")
	share_mib=$((RUN_MEMORY_MIB / RUN_NODES))
	for ((node = 0; node < RUN_NODES; node++)); do
		cpus=
		for ((cpu = node; cpu < RUN_CPUS; cpu += RUN_NODES)); do
			cpus+=,cpus=$cpu
		done
		# The last node takes what does not divide evenly.
		((node < RUN_NODES - 1)) || share_mib=$((RUN_MEMORY_MIB - share_mib * node))
		RUN_QEMU+=(-object "memory-backend-ram,id=m$node,size=${share_mib}M"
			-numa "node,nodeid=$node,memdev=m$node$cpus")
	done
	# shellcheck disable=SC2054 # the commas are QEMU's
	RUN_QEMU+=(-kernel "$IMAGE/base/$RUN_KERNEL/vmlinux" -initrd "$IMAGE/initrd-$RUN_KERNEL"
		-append "${append[*]}"
		-serial "file:$dir/console"
		-qmp "unix:$dir/qmp,server=on,wait=off"
		-device virtio-serial-pci,ioeventfd=off
		-chardev "file,id=control,path=$dir/control,append=on"
		-device virtserialport,chardev=control,name=lab.control
		-chardev "file,id=out,path=$dir/stdout,append=on"
		-device virtserialport,chardev=out,name=lab.out
		-chardev "file,id=err,path=$dir/stderr,append=on"
		-device virtserialport,chardev=err,name=lab.err)
	run_disk root "$IMAGE/base/host.img" snapshot=on
	run_disk lab "$IMAGE/lab.img" readonly=on
	run_disk stage "$dir/stage.img" readonly=on
	run_disk out "$dir/out.img" cache=unsafe
	[[ -z $RUN_SYSTEMS ]] || run_disk systems "$IMAGE_SYSTEMS/systems.img" snapshot=on
	[[ -z $RUN_SHARE ]] || run_disk share "$dir/share.img" readonly=on
}

run_disk() {
	RUN_QEMU+=(-drive "if=none,id=$1,format=raw,file=$2,$3"
		-device "virtio-blk-pci,drive=$1,serial=$1")
}

# A directory of our own, locked while we live; those of killed runs are removed. One at a time in here: one
# that is just being made, and not locked yet, is not left over.
run_directory() {
	local old fd turn
	mkdir -p "$LAB_CACHE/run"
	exec {turn}<"$LAB_CACHE/run"
	flock "$turn"
	for old in "$LAB_CACHE"/run/*; do
		[[ -d $old ]] || continue
		exec {fd}<"$old" || continue
		! flock -n "$fd" || rm -rf "$old"
		exec {fd}<&-
	done 2>/dev/null
	RUN_DIR=$(mktemp -d "$LAB_CACHE/run/XXXXXXXX")
	exec {RUN_DIR_FD}<"$RUN_DIR"
	flock -n "$RUN_DIR_FD" || lab_die "cannot lock $RUN_DIR"
	exec {turn}<&-
}

run_kill() {
	[[ -n ${RUN_PID:-} ]] || return 0
	kill -KILL "$RUN_PID" 2>/dev/null || true
	wait "$RUN_PID" 2>/dev/null || true
	RUN_PID=
}

run_cleanup() {
	run_kill
	[[ -z ${RUN_DIR:-} ]] || rm -rf "$RUN_DIR"
}

# What the last line of the control file that begins with WORD says after it.
run_control() {
	sed -n "s/^$1 //p" "$RUN_DIR/control" | tail -n 1
}

run_console_end() {
	lab_say "the end of the emulated host's console:"
	tr -d '\r' <"$RUN_DIR/console" | tail -n "${1:-40}" | sed 's/^/  | /' >&2
}

# Waits for the emulator's end and sets RUN_VERDICT to ended, fault, timeout, failed (set-up, or killed) or off (by COMMAND).
run_watch() {
	local start=$SECONDS heard=$SECONDS said='' now_said limit
	limit=$((RUN_TIMEOUT_S + RUN_BOOT_S))
	RUN_VERDICT=
	while kill -0 "$RUN_PID" 2>/dev/null; do
		# Sleeps and looks without a process: nobody ever writes to this pipe.
		read -rt 0.25 -u "$RUN_TICK" || true
		IFS= read -rd '' now_said <"$RUN_DIR/control" || true
		if [[ $now_said != "$said" ]]; then
			said=$now_said heard=$SECONDS
		elif ((SECONDS - heard > RUN_SILENCE_S)); then
			RUN_VERDICT=fault RUN_REASON="the emulated host made no sound for $RUN_SILENCE_S s"
			break
		fi
		if ((SECONDS - start > limit)); then
			RUN_VERDICT=fault RUN_REASON="the emulated host did not end COMMAND at its time limit"
			break
		fi
	done
	run_kill
	RUN_STATUS=$(run_control exit)
	[[ -z $RUN_VERDICT ]] || return 0
	if [[ -n $RUN_STATUS ]]; then
		RUN_VERDICT=ended
		! grep -qx timeout "$RUN_DIR/control" || RUN_VERDICT=timeout
	elif RUN_REASON=$(run_control fail) && [[ -n $RUN_REASON ]]; then
		RUN_VERDICT=failed
	elif RUN_REASON=$(grep -om1 'terminating on signal .*' "$RUN_DIR/qemu"); then
		# Somebody's hand, not an error of the emulator: neither retried nor counted.
		RUN_VERDICT=failed
	elif RUN_REASON=$(grep -aEom1 "$RUN_FAULT_PATTERN" "$RUN_DIR/console"); then
		RUN_VERDICT=fault RUN_REASON=${RUN_REASON%$'\r'}
	elif grep -aqE 'reboot: (Power down|Restarting|System halted)' "$RUN_DIR/console"; then
		RUN_VERDICT=off
	else
		RUN_VERDICT=fault RUN_REASON="the emulator stopped without a word"
	fi
}

# Follows FILE of this run until the emulator has ended. A reader that has gone stops it silently.
run_relay() {
	exec setpriv --pdeathsig KILL \
		tail -qs 0.2 --pid="$RUN_PID" -c +1 -f "$RUN_DIR/$1" 2>/dev/null
}

# One boot of the emulated host.
run_once() {
	local file relay
	local -a relays=()
	for file in console control stdout stderr; do
		: >"$RUN_DIR/$file"
	done
	image_ext4 "$RUN_DIR/out.img" 4096
	run_qemu "$RUN_DIR"
	# The emulator dies with us even if we are killed; the relays end with the emulator.
	TMPDIR=$RUN_DIR setpriv --pdeathsig KILL "${RUN_QEMU[@]}" </dev/null >"$RUN_DIR/qemu" 2>&1 &
	RUN_PID=$!
	run_relay stdout &
	relays+=($!)
	run_relay stderr >&2 &
	relays+=($!)
	run_watch
	for relay in "${relays[@]}"; do
		wait "$relay" || true
	done
	[[ -z $RUN_CONSOLE ]] || tr -d '\r' <"$RUN_DIR/console" >"$RUN_CONSOLE"
	[[ -z $RUN_OUT ]] || run_bring_out
}

# Copies what is in /out to --out; after a fault too, as far as it was written.
run_bring_out() {
	PATH=$PATH:/usr/sbin
	e2fsck -fy "$RUN_DIR/out.img" >/dev/null 2>&1 || true
	debugfs -R "rdump / \"$RUN_OUT\"" "$RUN_DIR/out.img" >/dev/null 2>&1
	rmdir "$RUN_OUT/lost+found" 2>/dev/null || true
}

run_main() {
	local try=0
	run_options "$@"
	image_ensure $RUN_SYSTEMS
	trap run_cleanup EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM HUP
	run_directory
	mkfifo "$RUN_DIR/tick"
	exec {RUN_TICK}<>"$RUN_DIR/tick"
	mkdir "$RUN_DIR/stage"
	stage_fill "$RUN_DIR/stage" "${RUN_COMMAND[@]}"
	stage_pack "$RUN_DIR/stage" "$RUN_DIR/stage.img"
	[[ -z $RUN_SHARE ]] || stage_pack "$RUN_SHARE" "$RUN_DIR/share.img"

	while :; do
		run_once
		[[ $RUN_VERDICT == fault ]] || break
		[[ -z $(run_control up) ]] && RUN_REASON+=" (before COMMAND began)"
		if [[ -s $RUN_DIR/qemu ]]; then
			lab_say "QEMU said:"
			sed 's/^/  | /' "$RUN_DIR/qemu" >&2
		fi
		run_console_end
		((try < RUN_RETRIES)) || break
		try=$((try + 1))
		lab_say "EMULATOR FAULT, not COMMAND's: $RUN_REASON; retry $try of $RUN_RETRIES"
		[[ -z ${LAB_RETRY_LOG:-} ]] ||
			printf 'retry %s: %s: %s\n' "$try" "$RUN_REASON" "${RUN_COMMAND[*]}" >>"$LAB_RETRY_LOG"
	done
	case $RUN_VERDICT in
	ended) exit "$RUN_STATUS" ;;
	timeout)
		lab_say "COMMAND was stopped at its time limit of $RUN_TIMEOUT_S s"
		run_console_end 15
		exit "$LAB_EXIT_TIMEOUT"
		;;
	failed)
		lab_say "the emulated host could not be set up or was stopped: $RUN_REASON"
		run_console_end
		exit "$LAB_EXIT_LAB"
		;;
	off)
		lab_say "COMMAND turned the emulated host off"
		run_console_end 15
		exit "$LAB_EXIT_LAB"
		;;
	fault)
		lab_say "EMULATOR FAULT, not COMMAND's: $RUN_REASON; given up after $try retries"
		exit "$LAB_EXIT_FAULT"
		;;
	esac
}
