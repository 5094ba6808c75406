#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Merging by chunks keeps most of the saving and of the large mappings, for less of ksmd's time: see
# inlab/chunk.
cd "$(dirname "$0")/../.." || exit 1
exec tests/lab/lab run --memory 4G --share tests/it --timeout 900 -- /share/inlab/chunk
