# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0

guest_main() {
	lab_die "guest.sh"
}
