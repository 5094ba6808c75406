#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Part vmm: start, size and return of memory of vmm beside QEMU's microvm and q35, in turn on the
# same emulated host. RUNS= how often (5), CASES= a comma-separated choice (see vmm.py).
set -euo pipefail
share=$(mktemp -d)
trap 'rm -rf "$share"' EXIT
cp tests/bench/{vmm,guest}.py "$share/"
tests/lab/lab run --share "$share" --out "$BENCH_OUT" --timeout 2400 -- \
	python3 -B /share/vmm.py --runs "${RUNS:-5}" ${CASES:+--cases "$CASES"} /out/vmm.json
