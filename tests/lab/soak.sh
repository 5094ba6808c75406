# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# Measures how often the emulator itself fails under busy nested guests: boots the emulated host
# again and again without retries and counts clean runs, emulator faults and failed guests.

soak_main() {
	local guests=8 minutes=3 runs=3 monitor='' memory=160M run status log
	local clean=0 faults=0 failed=0
	local -a options=()
	while (($#)); do
		(($# > 1)) || lab_die "soak: $1 needs a value"
		case $1 in
		--guests) guests=$(lab_count "$2" --guests) ;;
		--minutes) minutes=$(lab_count "$2" --minutes) ;;
		--runs) runs=$(lab_count "$2" --runs) ;;
		--guest-memory) memory=$2 ;;
		--monitor) monitor=$2 ;;
		--kernel | --nodes | --memory | --cpus | --zram | --append) options+=("$1" "$2") ;;
		*) lab_die "soak: unknown option '$1' (--guests --minutes --runs --guest-memory --monitor vmm|qemu, and options of run)" ;;
		esac
		shift 2
	done
	if [[ -z $monitor ]]; then
		monitor=qemu
		[[ ! -x $MEMD_BUILD/vmm ]] || monitor=vmm
	fi
	[[ $monitor == vmm || $monitor == qemu ]] || lab_die "--monitor: '$monitor' is not vmm or qemu"
	mkdir -p "$LAB_CACHE"
	log=$LAB_CACHE/soak.log
	for ((run = 1; run <= runs; run++)); do
		lab_say "soak $run of $runs: $guests guests under $monitor for $minutes min"
		status=0
		LAB_RETRIES=0 "$LAB_DIR/lab" run "${options[@]}" --share "$LAB_DIR" \
			--timeout $((minutes * 60 + 200 + guests * 50)) -- \
			/share/soak-inside "$guests" $((minutes * 60)) "$monitor" "$memory" || status=$?
		case $status in
		0) clean=$((clean + 1)) ;;
		"$LAB_EXIT_FAULT") faults=$((faults + 1)) ;;
		130 | 143) exit "$status" ;;
		*) failed=$((failed + 1)) ;;
		esac
		printf '%s guests=%s minutes=%s monitor=%s options="%s" status=%s\n' \
			"$(date -u +%FT%TZ)" "$guests" "$minutes" "$monitor" "${options[*]}" "$status" >>"$log"
	done
	echo "soak: $runs runs of $guests guests under $monitor, $minutes min each: $clean clean," \
		"$faults emulator faults, $failed with a failed guest"
	((clean == runs))
}
