#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Unmodified Debian 13 and 12 from a disk under vmm in the lab: see inlab/debian.
cd "$(dirname "$0")/../.." || exit 1
exec tests/lab/lab run --systems --share tests/it --timeout 1700 -- /share/inlab/debian
