# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# Swap on a zram device made for a test on this machine, and gone after it. Sourced after lib.sh; the
# script's restore calls remove_zram.
ZRAM="" ZRAM_WHY=""

# can_zram: fails with the reason in ZRAM_WHY.
can_zram() {
	ZRAM_WHY='no zram, or not root'
	[ "$(id -u)" = 0 ] && [ -r /sys/class/zram-control/hot_add ] || return 1
	# shellcheck disable=SC2034
	ZRAM_WHY='this machine swaps already, and would be disturbed'
	[ "$(wc -l </proc/swaps)" -le 1 ]
}
make_zram() { # SIZE
	ZRAM=$(cat /sys/class/zram-control/hot_add)
	echo "$1" >"/sys/block/zram$ZRAM/disksize"
	mkswap "/dev/zram$ZRAM" >/dev/null && swapon -p 100 "/dev/zram$ZRAM"
}
remove_zram() {
	[ -n "$ZRAM" ] || return 0
	swapoff "/dev/zram$ZRAM" 2>/dev/null
	echo 1 >"/sys/block/zram$ZRAM/reset"
	echo "$ZRAM" >/sys/class/zram-control/hot_remove
	ZRAM=""
}
