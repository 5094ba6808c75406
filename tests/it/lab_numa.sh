#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Guests' memory follows their vCPUs to another node, threads follow memory, and both a cpuset: see
# inlab/numa, and inlab/pin and inlab/cpuset in one lab. The second has two processors, and no guest
# of KVM in it.
cd "$(dirname "$0")/../.." || exit 1
status=0
tests/lab/lab run --memory 4G --share tests/it --timeout 600 -- /share/inlab/numa || status=$?
tests/lab/lab run --memory 2G --cpus 2 --share tests/it --timeout 400 -- bash -c '/share/inlab/pin
	pin=$?
	/share/inlab/cpuset && exit $pin' || status=$?
exit $status
