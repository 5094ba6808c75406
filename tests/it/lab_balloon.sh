#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Balloon, statistics, reporting and huge-page return with stock guests: see inlab/balloon.
cd "$(dirname "$0")/../.." || exit 1
exec tests/lab/lab run --share tests/it --timeout 900 -- /share/inlab/balloon
