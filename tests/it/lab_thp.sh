#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Huge pages come back to a guest whose balloon took half and gave it back: see inlab/thp.
cd "$(dirname "$0")/../.." || exit 1
exec tests/lab/lab run --share tests/it --timeout 700 -- /share/inlab/thp
