# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# What the lab boots, in two cached layers. The base layer (build/lab/base-HASH) holds what is
# downloaded: the emulated host's Debian root as a disk, a smaller Debian userland for guests,
# and the two kernels. The image layer (build/lab/image-HASH) is made from it and from files of
# ours: initrds, guest disks, memhog. Each layer is keyed by a hash of its recipe, built in a
# temporary directory and renamed into place, so that a killed build leaves no half image.

IMAGE_SUITE=trixie
IMAGE_SUITE_OLD=bookworm
IMAGE_KERNEL=linux-image-cloud-amd64
IMAGE_HOST_PACKAGES=busybox-static,iproute2,jq,kmod,numactl,procps,python3,qemu-system-x86,socat,zstd
IMAGE_GUEST_PACKAGES=busybox-static,python3-minimal
# ROMs of machines and of network boot that no lab guest uses.
IMAGE_DROP_HOST=(
	'usr/share/qemu/*.rom.d' 'usr/share/qemu/efi-*' 'usr/share/qemu/pxe-*' 'usr/lib/ipxe'
	'usr/share/qemu/skiboot*' 'usr/share/qemu/openbios*' 'usr/share/qemu/u-boot*'
	'usr/share/qemu/hppa*' 'usr/share/qemu/palcode*' 'usr/share/qemu/s390*' 'usr/share/qemu/slof*'
	'usr/share/qemu/QEMU,*' 'usr/share/qemu/*.dtb' 'usr/share/qemu/linux-user*'
)
IMAGE_DROP_GUEST=(
	'usr/lib/x86_64-linux-gnu/gconv' 'usr/share/bash-completion' 'usr/share/bug' 'usr/share/info'
	'usr/share/lintian' 'usr/share/zoneinfo/*' 'var/lib/apt/lists/*' 'var/cache/*' 'var/log/*'
	'var/lib/dpkg/*-old' 'usr/share/doc/*' 'usr/share/man/*' 'usr/share/locale/*'
)
# Modules a guest may need; dependencies are added from modules.dep.
IMAGE_GUEST_MODULES='virtio_pci virtio_mmio virtio_balloon virtio-rng virtio_console virtio_blk
	virtio_net virtio_mem'
IMAGE_HOST_MODULES='virtio_pci virtio_blk virtio_console'

# The archive that this machine installs from, so that no host name is written down here.
image_mirror() {
	local codename uri
	codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
	# shellcheck disable=SC2016 # the $(...) are fields of apt's own format
	uri=$(apt-get indextargets --format '$(RELEASE) $(COMPONENT) $(REPO_URI)' \
		'Created-By: Packages' | awk -v r="$codename" '$1 == r && $2 == "main" { print $3; exit }')
	[[ -n $uri ]] || lab_die "apt's sources name no Debian archive for '$codename'"
	echo "$uri"
}

# Writes the one-entry apt sources of SUITE to FILE.
image_sources() {
	local suite=$1 file=$2 keyring=/usr/share/keyrings/debian-archive-keyring.gpg
	[[ -r $keyring ]] || lab_die "$keyring is missing: install debian-archive-keyring"
	cat >"$file" <<-EOF
		Types: deb
		URIs: $(image_mirror)
		Suites: $suite
		Components: main
		Signed-By: $keyring
	EOF
}

# Downloads and unpacks the cloud kernel of SUITE to DIR/{vmlinuz,release,modules}.
image_kernel() {
	local suite=$1 dir=$2 apt=$2.apt package release
	mkdir -p "$dir" "$apt"/{lists/partial,cache/archives/partial,state}
	: >"$apt/status"
	image_sources "$suite" "$apt/sources.sources"
	cat >"$apt/apt.conf" <<-EOF
		Dir::Etc::sourcelist "$apt/sources.sources";
		Dir::Etc::sourceparts "/dev/null";
		Dir::State "$apt/state";
		Dir::State::lists "$apt/lists";
		Dir::State::status "$apt/status";
		Dir::Cache "$apt/cache";
		APT::Architecture "amd64";
		APT::Sandbox::User "root";
		Acquire::Languages "none";
	EOF
	APT_CONFIG=$apt/apt.conf apt-get -qq update
	package=$(APT_CONFIG=$apt/apt.conf apt-cache depends "$IMAGE_KERNEL" |
		awk '$1 == "Depends:" && $2 ~ /^linux-image-[0-9]/ { print $2; exit }')
	[[ -n $package ]] || lab_die "no $IMAGE_KERNEL in $suite"
	(cd "$apt" && APT_CONFIG=$apt/apt.conf apt-get -qq download "$package")
	dpkg-deb -x "$apt/$package"_*.deb "$apt/root"
	release=${package#linux-image-}
	echo "$release" >"$dir/release"
	cp "$apt/root/boot/vmlinuz-$release" "$dir/vmlinuz"
	if [[ -d $apt/root/usr/lib/modules/$release ]]; then
		mv "$apt/root/usr/lib/modules/$release" "$dir/modules"
	else
		mv "$apt/root/lib/modules/$release" "$dir/modules"
	fi
	# Compressed modules cost the emulated CPUs more than the disk saves.
	find "$dir/modules" -name '*.ko.xz' -exec xz -d {} +
	rm -rf "$apt"
}

# A Debian root of SUITE with PACKAGES in DIR, without documentation.
image_debootstrap() {
	local suite=$1 packages=$2 dir=$3
	image_sources "$suite" "$dir.sources"
	if ! mmdebstrap --mode=root --variant=minbase --include="$packages" \
		--aptopt='APT::Install-Recommends "false"' --dpkgopt=force-unsafe-io \
		--dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
		--dpkgopt='path-exclude=/usr/share/locale/*' "$suite" "$dir" "$dir.sources" \
		>"$dir.log" 2>&1; then
		tail -20 "$dir.log" >&2
		return 1
	fi
}

image_drop() {
	local root=$1 pattern
	shift
	for pattern; do
		# shellcheck disable=SC2086 # patterns are meant to expand
		(cd "$root" && rm -rf -- $pattern)
	done
}

# Prints the files of modules NAMES and their dependencies in load order, relative to ROOT's
# /lib/modules/RELEASE.
image_module_order() {
	local dep=$1
	shift
	awk -v want="$*" '
		{
			file = $1; sub(/:$/, "", file)
			name = file; sub(/.*\//, "", name); sub(/\.ko$/, "", name)
			path[name] = file
			need[file] = ""
			for (i = NF; i >= 2; i--) need[file] = need[file] " " $i
		}
		END {
			n = split(want, names, /[ \t\n]+/)
			for (i = 1; i <= n; i++) {
				if (!(names[i] in path)) continue
				m = split(need[path[names[i]]], deps, " ")
				for (j = 1; j <= m; j++) if (!seen[deps[j]]++) print deps[j]
				if (!seen[path[names[i]]]++) print path[names[i]]
			}
		}' "$dep"
}

image_build_base() {
	local tmp=$1 version kernel release job
	local -a jobs=()
	lab_say "building the emulated host's image (once; about a minute): Debian $IMAGE_SUITE"
	image_kernel "$IMAGE_SUITE" "$tmp/6.12" &
	jobs+=($!)
	image_kernel "$IMAGE_SUITE_OLD" "$tmp/6.1" &
	jobs+=($!)
	image_debootstrap "$IMAGE_SUITE" "$IMAGE_HOST_PACKAGES" "$tmp/host" &
	jobs+=($!)
	image_debootstrap "$IMAGE_SUITE" "$IMAGE_GUEST_PACKAGES" "$tmp/guest" &
	jobs+=($!)
	for job in "${jobs[@]}"; do
		wait "$job" || return 1
	done
	for version in 6.12 6.1; do
		kernel=$tmp/$version
		release=$(<"$kernel/release")
		mkdir -p "$tmp/host/usr/lib/modules"
		cp -a "$kernel/modules" "$tmp/host/usr/lib/modules/$release"
		chroot "$tmp/host" depmod "$release"
		cp "$tmp/host/usr/lib/modules/$release/modules.dep" "$kernel/modules.dep"
	done
	image_drop "$tmp/host" "${IMAGE_DROP_HOST[@]}"
	image_drop "$tmp/guest" "${IMAGE_DROP_GUEST[@]}"
	mkdir -p "$tmp"/host/{lab,share,out,stage}
	echo lab >"$tmp/host/etc/hostname"
	echo '127.0.0.1 localhost lab' >"$tmp/host/etc/hosts"
	find "$tmp/host/usr/lib/x86_64-linux-gnu" -maxdepth 1 -name 'lib*.so*' -printf '%f\n' \
		>"$tmp/host.libs"
	image_ext4 "$tmp/host" "$tmp/host.img" 4096
	tar -C "$tmp/guest" -cf "$tmp/guest.tar" .
	rm -rf "$tmp/host" "$tmp/guest"
}

# An ext4 file system of SIZE_MIB with the content of DIR.
image_ext4() {
	local dir=$1 file=$2 size_mib=$3
	PATH=$PATH:/usr/sbin mke2fs -q -F -t ext4 -O ^has_journal,^resize_inode -m 0 \
		-E lazy_itable_init=1,nodiscard -d "$dir" "$file" "${size_mib}M"
}

# Fills DIR with the modules NAMES of the kernel in BASE, and a list of them in load order.
image_modules() {
	local kernel=$1 dir=$2 file release
	shift 2
	release=$(<"$kernel/release")
	dir=$dir/usr/lib/modules/$release
	mkdir -p "$dir"
	image_module_order "$kernel/modules.dep" "$@" | while read -r file; do
		cp "$kernel/modules/$file" "$dir/"
		echo "${file##*/}"
	done >"$dir/order"
}

image_cpio() {
	local dir=$1 file=$2
	(cd "$dir" && find . -mindepth 1 | LC_ALL=C sort | cpio --quiet -R 0:0 -o -H newc) >"$file"
}

# A busybox initramfs with INIT as /init and modules NAMES.
image_initrd() {
	local base=$1 version=$2 init=$3 file=$4 dir=$4.d
	shift 4
	mkdir -p "$dir"/{bin,dev,proc,sys,tmp,run,root,usr/lib} "$dir/usr/bin"
	ln -s usr/lib "$dir/lib"
	cp "$base/busybox" "$dir/bin/busybox"
	ln -s busybox "$dir/bin/sh"
	install -m 755 "$init" "$dir/init"
	[[ ! -e $base.memhog ]] || install -m 755 "$base.memhog" "$dir/bin/memhog"
	image_modules "$base/$version" "$dir" "$@"
	image_cpio "$dir" "$file"
	rm -rf "$dir"
}

image_build() {
	local base=$1 tmp=$2 lab=$2/lab version suffix
	lab_say "making initrds and guest disks"
	mkdir -p "$lab" "$tmp/guest"
	gcc -std=gnu17 -O2 -Wall -Wextra -static -o "$lab/memhog" "$LAB_TOP/tests/guest/memhog.c"
	tar -C "$tmp/guest" -xf "$base/guest.tar"
	for version in 6.12 6.1; do
		suffix=
		[[ $version == 6.12 ]] || suffix=-$version
		cp "$base/$version/vmlinuz" "$lab/vmlinuz$suffix"
		image_guest_initrd "$base" "$version" "$lab" "$lab/initrd$suffix" "$tmp/guest"
		image_host_initrd "$base" "$version" "$tmp/initrd-$version" "$tmp/guest"
	done
	install -m 755 "$LAB_DIR/guest-init" "$tmp/guest/init"
	install -m 755 "$lab/memhog" "$tmp/guest/usr/bin/memhog"
	for version in 6.12 6.1; do
		# shellcheck disable=SC2086 # a list of words
		image_modules "$base/$version" "$tmp/guest" $IMAGE_GUEST_MODULES
	done
	image_cpio "$tmp/guest" "$lab/debian.cpio"
	image_ext4 "$tmp/guest" "$lab/guest.img" 768
	image_ext4 "$lab" "$tmp/lab.img" 1024
	rm -rf "$tmp/guest"
	# Programs outside the emulated host use the same files.
	cp "$base/host.libs" "$tmp/host.libs"
	ln -s "../${base##*/}/host.img" "$tmp/host.img"
}
