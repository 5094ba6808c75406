#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The tiny guest's tests once more, on nested paging: see host_tiny.sh.
cd "$(dirname "$0")/../.." || exit 1
exec tests/lab/lab run --share tests/it --timeout 900 -- env \
	VMM=/stage/bin/vmm TINY=/stage/tests/tiny.elf \
	bash -c 'modprobe kvm-amd && exec /share/host_tiny.sh'
