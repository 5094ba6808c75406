# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# What one run carries into the emulated host: COMMAND, the programs of this build, and those of
# their libraries that the host's own Debian does not have. The host may be a newer Debian than
# the machine: glibc is always the host's own (it is backward compatible), and any other library
# is the host's own if it has the same soname.

# Prints the libraries, as paths, that the programs given need.
stage_libraries() {
	# ldd runs the loader only; a static or foreign file makes it fail, which is fine.
	{ ldd "$@" 2>/dev/null || true; } | awk '$2 == "=>" && $3 ~ /^\// { print $3 }' | sort -u
}

# Fills DIR with bin/, tests/, lib/ and the file `command` that runs COMMAND.
stage_fill() {
	local dir=$1 program library name
	local -a programs=()
	shift
	mkdir -p "$dir"/{bin,lib,tests}
	for name in vmm memd memctl; do
		[[ -f $MEMD_BUILD/$name && -x $MEMD_BUILD/$name ]] || continue
		cp --reflink=auto "$MEMD_BUILD/$name" "$dir/bin/"
		programs+=("$dir/bin/$name")
	done
	if [[ -d $MEMD_BUILD/tests ]]; then
		# Not the unit tests: a hundred programs to copy and to ask for their libraries.
		(cd "$MEMD_BUILD/tests" && find . \( -name unit -o -name logs \) -prune -o \
			-type f ! -name '*.[oad]' ! -name '*.gc*' -print0 |
			xargs -0r cp --reflink=auto --parents -t "$dir/tests")
		while IFS= read -r -d '' program; do
			programs+=("$program")
		done < <(find "$dir/tests" -type f -perm -u+x -print0)
	fi
	if ((${#programs[@]})); then
		stage_libraries "${programs[@]}" | while read -r library; do
			name=${library##*/}
			grep -qxF "$name" "$IMAGE/base/host.libs" || cp -L "$library" "$dir/lib/$name"
		done
	fi
	install -m 755 "$LAB_DIR/host-init" "$dir/host-init"
	install -m 755 "$LAB_DIR/qemu-debian" "$dir/bin/qemu-debian"
	{
		echo '#!/bin/bash'
		printf '%q ' "$@"
		echo
	} >"$dir/command"
}

# Packs DIR as an ext4 file system in FILE, with room to spare for its bookkeeping: mke2fs gives
# a small file system one inode for 4 KiB, so many small files need room for inodes too.
stage_pack() {
	local dir=$1 file=$2 mib inodes
	mib=$(du -sm "$dir" | cut -f1)
	inodes=$(find "$dir" | wc -l)
	image_ext4 "$file" $((mib + mib / 8 + inodes / 128 + 16)) "$dir"
}
