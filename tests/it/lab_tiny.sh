#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The tiny guest once more, on nested paging: what a hostile guest does, power, devices, reporting.
# The rest of host_tiny.sh is covered here by stock guests; ONLY= chooses other groups of it.
cd "$(dirname "$0")/../.." || exit 1
exec tests/lab/lab run --share tests/it --timeout 900 -- env \
	ONLY="${ONLY:-hostile power devices reporting}" VMM=/stage/bin/vmm TINY=/stage/tests/tiny.elf \
	bash -c 'modprobe kvm-amd && exec /share/host_tiny.sh'
