#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Part vmm: start, size and balloon speed of vmm beside QEMU's microvm, in turn on the same host.
set -euo pipefail
share=$(mktemp -d)
trap 'rm -rf "$share"' EXIT
cp tests/bench/vmm.py "$share/"
tests/lab/lab run --share "$share" --out "$BENCH_OUT" --timeout 1800 -- \
	python3 /share/vmm.py --runs "${RUNS:-5}" /out/vmm.json
