#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# memctl sharing where nobody else merges, with the oldest kernel that memd takes (6.1: no zero pages
# counted, no KSM line in smaps) and a newer one: host_sharing.sh inside the emulated host. And memd's
# own merging with the oldest, which tells neither how many pages it has scanned nor skips or advises:
# host_ksm.sh. With NUMA balancing off: what that has marked to be faulted is invisible to ksmd from 6.1
# to 6.4 (follow_page() skips PROT_NONE) until the guest touches it, which these do not.
cd "$(dirname "$0")/../.." || exit 1
bad=0
for kernel in debian12 debian13; do
	more=:
	[ $kernel = debian13 ] || more='echo 0 >/proc/sys/kernel/numa_balancing; /share/host_ksm.sh || bad=1'
	tests/lab/lab run --kernel $kernel --memory 2G --share tests/it --timeout 400 -- \
		env MEMCTL=memctl MEMD=memd VMM=/stage/bin/vmm TINY=/stage/tests/tiny.elf \
		bash -c "modprobe kvm-amd; bad=0; /share/host_sharing.sh || bad=1; $more; exit \$bad" |
		sed -uE "s/^((not )?ok|skip) /&${kernel}_/"
	[ "${PIPESTATUS[0]}" -eq 0 ] || bad=1
done
exit $bad
