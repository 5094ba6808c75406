#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# memctl sharing where nobody else merges, with the oldest kernel that memd takes (6.1: no zero pages
# counted, no KSM line in smaps) and a newer one: host_sharing.sh inside the emulated host.
cd "$(dirname "$0")/../.." || exit 1
bad=0
for kernel in debian12 debian13; do
	tests/lab/lab run --kernel $kernel --memory 2G --share tests/it --timeout 400 -- \
		env MEMCTL=memctl MEMD=memd VMM=/stage/bin/vmm TINY=/stage/tests/tiny.elf \
		bash -c 'modprobe kvm-amd; exec /share/host_sharing.sh' |
		sed -uE "s/^((not )?ok|skip) /&${kernel}_/"
	[ "${PIPESTATUS[0]}" -eq 0 ] || bad=1
done
exit $bad
