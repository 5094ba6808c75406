#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Guests of different trust domains, under vmm and QEMU, with the same content share no page, on two
# nodes and on one:
# see inlab/merge.
cd "$(dirname "$0")/../.." || exit 1
status=0
for nodes in 2 1; do
	tests/lab/lab run --nodes $nodes --memory 3G --share tests/it --timeout 900 -- /share/inlab/merge $nodes || status=$?
done
exit $status
