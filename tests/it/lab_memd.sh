#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# memd over a vmm guest and a QEMU guest at once: see inlab/memd.
cd "$(dirname "$0")/../.." || exit 1
exec tests/lab/lab run --memory 4G --share tests/it --timeout 1400 -- /share/inlab/memd
