#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Part numa: twelve guests of mixed size on the lab's four nodes, started in the worst order, brought
# together by memd, by numad and by the kernel's automatic balancing. Five minutes a case and run.
# BENCH_RUNS, BENCH_SECONDS: see numa.py. CASES= a choice of memd, numad, kernel.
set -euo pipefail
numad=$(tests/bench/debian-program numad /usr/bin/numad)
exec python3 -B tests/bench/numa.py --out "$BENCH_OUT" --numad "$numad" ${CASES:+--cases "$CASES"}
