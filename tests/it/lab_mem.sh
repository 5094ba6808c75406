#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Memory devices of stock guests: plug, unplug, pools and nodes: see inlab/mem.
cd "$(dirname "$0")/../.." || exit 1
exec tests/lab/lab run --share tests/it --timeout 900 -- /share/inlab/mem
