# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# The machine below $T/tree, but for how much memory it is said to have. Sourced after lib.sh.

# told_memory: the tree. Called again it has the processes that came meanwhile.
told_memory() {
	local name
	mkdir -p "$T/tree/proc"
	for name in /sys /etc /usr; do [ -e "$T/tree$name" ] || ln -s $name "$T/tree$name"; done
	for name in /proc/*; do
		[ "$name" = /proc/meminfo ] || [ -e "$T/tree$name" ] || ln -s "$name" "$T/tree$name"
	done 2>/dev/null
}
# has AVAILABLE SWAP: so many MiB, of 4 GiB. In place and by one write: memd keeps the file open.
has() {
	local line text=""
	for line in "MemTotal $((4096 << 10))" "MemFree $(($1 << 10))" "MemAvailable $(($1 << 10))" \
		"SwapTotal $((65536 << 10))" "SwapFree $(($2 << 10))"; do
		# shellcheck disable=SC2086 # a name and a number
		text+=$(printf '%s: %12d kB' $line)$'\n'
	done
	[ -e "$T/tree/proc/meminfo" ] || : >"$T/tree/proc/meminfo"
	printf '%s' "$text" | dd of="$T/tree/proc/meminfo" conv=notrunc status=none
}
