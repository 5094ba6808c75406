#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A stock guest's network over a tap, with vhost-net and without: see inlab/net.
cd "$(dirname "$0")/../.." || exit 1
exec tests/lab/lab run --share tests/it --timeout 600 -- /share/inlab/net
