#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Part ksm: page sharing of real guests' memory on this machine's own KSM, by memd and by others.
# BENCH_RUNS, BENCH_SECONDS, BENCH_WAVE, BENCH_STEADY, BENCH_LOAD: see ksm.py. CASES= a choice of full,
# memd, advisor, advisor-early, ksmtuned, default.
set -euo pipefail
if [ ! -w /sys/kernel/mm/ksm/run ]; then
	echo "bench: ksm: KSM cannot be set here (not root, or a kernel without it)" >&2
	exit 1
fi
images=$(tests/bench/ksm-images)
ksmtuned=$(tests/bench/debian-program ksmtuned /usr/sbin/ksmtuned)
exec python3 -B tests/bench/ksm.py --images "$images" --out "$BENCH_OUT" --build "$MEMD_BUILD" \
	--ksmtuned "$ksmtuned" ${CASES:+--cases "$CASES"}
