# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0

soak_main() {
	lab_die "soak.sh"
}
