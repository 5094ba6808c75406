#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Stock Debian kernels under vmm in the lab: see inlab/boot.
cd "$(dirname "$0")/../.." || exit 1
exec tests/lab/lab run --share tests/it --timeout 900 -- /share/inlab/boot
