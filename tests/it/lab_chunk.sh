#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Merging by chunks beside merging everything, on the same two Debian guests: see inlab/chunk.
cd "$(dirname "$0")/../.." || exit 1
exec tests/lab/lab run --memory 4G --share tests/it --timeout 1400 -- /share/inlab/chunk
