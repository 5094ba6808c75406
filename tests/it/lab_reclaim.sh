#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# In the lab: guests sent to swap, one of them by its own cgroup (v2), memory pressure that wakes memd,
# and cgroups made for guests: the three scripts for the machine itself.
cd "$(dirname "$0")/../.." || exit 1
exec tests/lab/lab run --nodes 1 --memory 2G --share tests/it --timeout 600 -- env \
	VMM=/stage/bin/vmm TINY=/stage/tests/tiny.elf MEMD=/stage/bin/memd MEMCTL=/stage/bin/memctl \
	bash -c 'modprobe kvm-amd && modprobe zram num_devices=0 && /share/host_pressure.sh
		pressure=$?
		/share/host_cgroup.sh
		cgroup=$?
		/share/host_reclaim.sh && exit $((pressure | cgroup))'
