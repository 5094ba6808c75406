#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Part density: how many guests fit when memory is scarce, with memd and with others. Reserves nearly
# all of this machine's memory as huge pages meanwhile. CASES= a choice of plain, advisor, pve, mom,
# memd; BENCH_FREE and others: see density.py.
set -euo pipefail
if [ "$(id -u)" -ne 0 ] || [ ! -w /proc/sys/vm/nr_hugepages ] || [ ! -w /sys/kernel/mm/ksm/run ]; then
	echo "bench: density: huge pages and KSM cannot be set here (not root, or a kernel without)" >&2
	exit 1
fi
[ -e /sys/class/zram-control/hot_add ] || modprobe zram || {
	echo "bench: density: there is no zram for swap" >&2
	exit 1
}
ksmtuned=$(tests/bench/debian-program ksmtuned /usr/sbin/ksmtuned)
exec python3 -B tests/bench/density.py --out "$BENCH_OUT" --build "$MEMD_BUILD" --ksmtuned "$ksmtuned" \
	${CASES:+--cases "$CASES"}
