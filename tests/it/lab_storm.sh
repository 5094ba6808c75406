#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Guests that are all idle demand all their memory, one after the other: see inlab/storm.
# STORM_ROUNDS=N: so often each (default 1). STORM_OUT=DIR: keep the trace and what memd said there.
cd "$(dirname "$0")/../.." || exit 1
exec tests/lab/lab run --memory 3G --share tests/it --timeout 1400 ${STORM_OUT:+--out "$STORM_OUT"} -- /share/inlab/storm "${STORM_ROUNDS:-1}"
