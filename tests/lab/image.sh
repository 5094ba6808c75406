# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# What the lab boots, in two cached layers. The base layer (build/lab/base-HASH) holds what is
# downloaded: the emulated host's Debian root as a disk, a smaller Debian userland for guests,
# and the two kernels. The image layer (build/lab/image-HASH) is made from it and from files of
# ours: initrds, guest disks, memhog. Each layer is keyed by a hash of its recipe, built in a
# temporary directory and renamed into place, so that a killed build leaves no half image. A third
# layer (build/lab/systems-HASH) has whole Debian systems on disks; only `run --systems` makes it.

IMAGE_SUITE=trixie
IMAGE_SUITE_OLD=bookworm
IMAGE_KERNEL=linux-image-cloud-amd64
IMAGE_HOST_PACKAGES=busybox-static,e2fsprogs,iproute2,jq,kmod,numactl,procps,python3,qemu-system-x86,socat,zstd
IMAGE_GUEST_PACKAGES=busybox-static,python3-minimal
# A whole system on a disk: a minimal server.
IMAGE_SYSTEM_PACKAGES=systemd-sysv,udev,dbus,login,iproute2,iputils-ping,initramfs-tools,zstd,e2fsprogs
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
	# shellcheck source=/dev/null
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

# Downloads and unpacks the cloud kernel of SUITE to DIR/{vmlinuz,vmlinux,release,modules}.
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
	image_unpack_kernel "$dir/vmlinuz" >"$dir/vmlinux"
	if [[ -d $apt/root/usr/lib/modules/$release ]]; then
		mv "$apt/root/usr/lib/modules/$release" "$dir/modules"
	else
		mv "$apt/root/lib/modules/$release" "$dir/modules"
	fi
	# Compressed modules cost the emulated CPUs more than the disk saves.
	find "$dir/modules" -name '*.ko.xz' -exec xz -d {} +
	rm -rf "$apt"
}

# Prints the ELF kernel that is packed in the bzImage FILE. Booted through its PVH note it spares
# an emulated CPU the unpacking: 1.5 s for the emulated host, some 4 s for a guest in it.
image_unpack_kernel() {
	local file=$1 sectors offset length magic
	# Fields of the setup header: setup_sects, payload_offset, payload_length
	# (Documentation/arch/x86/boot.rst); the last 4 bytes of the payload are its unpacked size.
	sectors=$(od -An -tu1 -j $((0x1f1)) -N 1 "$file")
	offset=$(((sectors + 1) * 512 + $(od -An -tu4 -j $((0x248)) -N 4 "$file")))
	length=$(od -An -tu4 -j $((0x24c)) -N 4 "$file")
	magic=$(od -An -tx1 -j $offset -N 4 "$file")
	case $magic in
	' 28 b5 2f fd') set -- zstd -dcq ;;
	' 02 21 4c 18') set -- lz4 -dcq ;;
	' fd 37 7a 58') set -- xz -dcq ;;
	*) lab_die "$file: packed in a way unknown here ($magic)" ;;
	esac
	dd if="$file" iflag=skip_bytes,count_bytes,fullblock skip=$offset count=$((length - 4)) \
		bs=1M status=none | "$@"
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

# A bootable disk of SUITE in DIR as NAME.img, with its own kernel and initrd beside it: the
# packages as they come, and what an installer writes. Only that root has no password is ours;
# console=ttyS0 brings a getty there by systemd's own generator.
image_system() {
	local suite=$1 dir=$2 name=$3 root=$2/$3
	image_debootstrap "$suite" "$IMAGE_SYSTEM_PACKAGES,$IMAGE_KERNEL" "$root"
	chroot "$root" passwd -qd root
	echo "$name" >"$root/etc/hostname"
	printf '127.0.0.1 localhost\n127.0.1.1 %s\n' "$name" >"$root/etc/hosts"
	echo '/dev/vda / ext4 errors=remount-ro 0 1' >"$root/etc/fstab"
	# Without one the first boot is a "first boot", with questions on the console.
	rm -f "$root/etc/machine-id"
	chroot "$root" systemd-machine-id-setup >/dev/null 2>&1
	rm -f "$root/etc/resolv.conf"
	cp "$root"/boot/vmlinuz-* "$root.vmlinuz"
	cp "$root"/boot/initrd.img-* "$root.initrd"
	truncate -s 1536M "$root.img"
	PATH=$PATH:/usr/sbin mke2fs -q -F -t ext4 -E lazy_itable_init=1,nodiscard -d "$root" \
		"$root.img"
	rm -rf "$root"
}

image_build_systems() {
	local tmp=$1 job
	local -a jobs=()
	lab_say "making whole Debian systems on disks (once; about a minute)"
	mkdir "$tmp/systems"
	image_system "$IMAGE_SUITE" "$tmp/systems" debian13 &
	jobs+=($!)
	image_system "$IMAGE_SUITE_OLD" "$tmp/systems" debian12 &
	jobs+=($!)
	for job in "${jobs[@]}"; do
		if ! wait "$job"; then
			kill "${jobs[@]}" 2>/dev/null || true
			wait
			return 1
		fi
	done
	rm -f "$tmp"/systems/*.{log,sources}
	image_ext4 "$tmp/systems.img" 4096 "$tmp/systems"
	rm -rf "$tmp/systems"
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
		if ! wait "$job"; then
			kill "${jobs[@]}" 2>/dev/null || true
			wait
			return 1
		fi
	done
	for version in 6.12 6.1; do
		kernel=$tmp/$version
		release=$(<"$kernel/release")
		mkdir -p "$tmp/host/usr/lib/modules"
		cp -a "$kernel/modules" "$tmp/host/usr/lib/modules/$release"
		chroot "$tmp/host" depmod "$release"
		cp "$tmp/host/usr/lib/modules/$release/modules.dep" "$kernel/modules.dep"
		image_module_order "$kernel/modules.dep" kvm-amd tun \
			>"$tmp/host/usr/lib/modules/$release/lab.order"
	done
	image_drop "$tmp/host" "${IMAGE_DROP_HOST[@]}"
	image_drop "$tmp/guest" "${IMAGE_DROP_GUEST[@]}"
	mkdir -p "$tmp"/host/{lab,share,out,stage,usr/lib/busybox}
	# Last on PATH: what Debian's own packages here do not have.
	chroot "$tmp/host" /usr/bin/busybox --install -s /usr/lib/busybox
	echo lab >"$tmp/host/etc/hostname"
	echo '127.0.0.1 localhost lab' >"$tmp/host/etc/hosts"
	find "$tmp/host/usr/lib/x86_64-linux-gnu" -maxdepth 1 -name 'lib*.so*' -printf '%f\n' \
		>"$tmp/host.libs"
	image_ext4 "$tmp/host.img" 4096 "$tmp/host"
	tar -C "$tmp/guest" -cf "$tmp/guest.tar" .
	rm -rf "$tmp/host" "$tmp/guest"
}

# Makes an ext4 file system of SIZE_MIB in FILE (sparse), with the content of DIR if it is given.
image_ext4() {
	local file=$1 size_mib=$2 dir=${3:-}
	rm -f "$file"
	truncate -s "${size_mib}M" "$file"
	PATH=$PATH:/usr/sbin mke2fs -q -F -t ext4 -O ^has_journal,^resize_inode -m 0 \
		-E lazy_itable_init=1,nodiscard ${dir:+-d "$dir"} "$file"
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

# A busybox initramfs: INIT as /init, busybox from USERLAND, modules NAMES of KERNEL.
image_initrd() {
	local kernel=$1 userland=$2 init=$3 file=$4 dir=$4.d
	shift 4
	mkdir -p "$dir"/{bin,dev,proc,sys,tmp,run,root,mnt,usr/bin,usr/lib}
	ln -s usr/lib "$dir/lib"
	cp "$userland/usr/bin/busybox" "$dir/bin/busybox"
	ln -s busybox "$dir/bin/sh"
	install -m 755 "$init" "$dir/init"
	[[ $init != */guest-init ]] || install -m 755 "$userland/usr/bin/memhog" "$dir/bin/memhog"
	image_modules "$kernel" "$dir" "$@"
	image_cpio "$dir" "$file"
	rm -rf "$dir"
}

# shellcheck disable=SC2086 # lists of module names are meant to split
image_build_lab() {
	local tmp=$1 base=$2 lab=$1/lab guest=$1/guest version suffix
	lab_say "making initrds and guest disks"
	mkdir -p "$lab" "$guest"
	tar -C "$guest" -xf "$base/guest.tar"
	gcc -std=gnu17 -O2 -Wall -Wextra -static -o "$lab/memhog" "$LAB_TOP/tests/guest/memhog.c"
	install -m 755 "$lab/memhog" "$guest/usr/bin/memhog"
	install -m 755 "$LAB_DIR/guest-init" "$guest/init"
	for version in 6.12 6.1; do
		suffix=-$version
		[[ $version != 6.12 ]] || suffix=
		cp "$base/$version/vmlinuz" "$lab/vmlinuz$suffix"
		cp "$base/$version/vmlinux" "$lab/vmlinux$suffix"
		image_initrd "$base/$version" "$guest" "$LAB_DIR/guest-init" "$lab/initrd$suffix" \
			$IMAGE_GUEST_MODULES
		image_initrd "$base/$version" "$guest" "$LAB_DIR/host-initrd" "$tmp/initrd-$version" \
			$IMAGE_HOST_MODULES
		image_modules "$base/$version" "$guest" $IMAGE_GUEST_MODULES
	done
	image_cpio "$guest" "$lab/debian.cpio"
	image_ext4 "$lab/guest.img" 768 "$guest"
	image_ext4 "$tmp/lab.img" 1280 "$lab"
	rm -rf "$guest"
	ln -s "../${base##*/}" "$tmp/base"
}

# Prints a key over the recipe text and the files given.
image_key() {
	local text=$1
	shift
	{
		echo "$text"
		cat -- "$@"
	} | sha256sum | cut -c1-16
}

# Runs BUILD in a temporary directory that becomes DIR only when it is complete.
image_layer() {
	local dir=$1 tmp=$1.tmp.$$
	shift
	[[ ! -d $dir ]] || return 0
	rm -rf --one-file-system "$dir".tmp.*
	mkdir -p "$tmp"
	# A function tested by || runs without errexit, so it gets a shell of its own.
	(
		set -e
		"$@" "$tmp"
	) &
	if ! wait $!; then
		rm -rf --one-file-system "$tmp"
		lab_die "building ${dir##*/} failed"
	fi
	mv -T "$tmp" "$dir"
}

image_layer_lab() {
	image_build_lab "$1" "$IMAGE_BASE"
}

# Removes layers of older recipes that no running lab holds.
image_prune() {
	local dir fd
	for dir in "$LAB_CACHE"/{image,base,systems}-*; do
		[[ -d $dir && $dir != "$IMAGE" && $dir != "$IMAGE_BASE" && $dir != "$IMAGE_SYSTEMS" ]] ||
			continue
		exec {fd}<"$dir"
		! flock -n -x "$fd" || rm -rf "$dir"
		exec {fd}<&-
	done
}

# Makes sure that the image is there; sets IMAGE to its directory and holds it until exit. With
# "systems" the same for IMAGE_SYSTEMS.
image_ensure() {
	local lock recipe want=${1:-}
	lab_need mmdebstrap mmdebstrap
	lab_need mke2fs e2fsprogs
	lab_need cpio cpio
	lab_need xz xz-utils
	lab_need zstd zstd
	lab_need lz4 lz4
	lab_need qemu-system-x86_64 qemu-system-x86
	lab_need gcc gcc
	mkdir -p "$LAB_CACHE"
	recipe=$(declare -f image_build_base image_kernel image_debootstrap image_drop image_ext4 \
			image_module_order image_unpack_kernel
		declare -p IMAGE_SUITE IMAGE_SUITE_OLD IMAGE_KERNEL IMAGE_HOST_PACKAGES \
			IMAGE_GUEST_PACKAGES IMAGE_DROP_HOST IMAGE_DROP_GUEST)
	IMAGE_BASE=$LAB_CACHE/base-$(image_key "$recipe")
	recipe+=$(declare -f image_build_lab image_initrd image_modules image_module_order image_cpio
		declare -p IMAGE_GUEST_MODULES IMAGE_HOST_MODULES)
	IMAGE=$LAB_CACHE/image-$(image_key "$recipe" "$LAB_DIR"/{guest-init,host-initrd} \
		"$LAB_TOP/tests/guest/memhog.c")

	recipe=$(declare -f image_build_systems image_system image_debootstrap image_ext4
		declare -p IMAGE_SUITE IMAGE_SUITE_OLD IMAGE_KERNEL IMAGE_SYSTEM_PACKAGES)
	IMAGE_SYSTEMS=$LAB_CACHE/systems-$(image_key "$recipe" /dev/null)

	exec {lock}>"$LAB_CACHE/lock"
	[[ -n ${IMAGE_LOCKED:-} ]] || flock "$lock"
	if [[ ! -d $IMAGE || ($want == systems && ! -d $IMAGE_SYSTEMS) ]]; then
		if ((EUID != 0)); then
			lab_need sudo sudo
			lab_say "building the image needs root: using sudo"
			sudo --preserve-env=LAB_CACHE,http_proxy,https_proxy "$LAB_DIR/lab" image --locked \
				${want:+"--$want"}
			sudo chown -hR "$(id -u):$(id -g)" "$IMAGE_BASE" "$IMAGE" ${want:+"$IMAGE_SYSTEMS"}
		else
			image_layer "$IMAGE_BASE" image_build_base
			image_layer "$IMAGE" image_layer_lab
			[[ $want != systems ]] || image_layer "$IMAGE_SYSTEMS" image_build_systems
		fi
		image_prune
	fi
	exec {IMAGE_HOLD}<"$IMAGE" {IMAGE_BASE_HOLD}<"$IMAGE_BASE"
	flock -s "$IMAGE_HOLD"
	flock -s "$IMAGE_BASE_HOLD"
	if [[ $want == systems ]]; then
		exec {IMAGE_SYSTEMS_HOLD}<"$IMAGE_SYSTEMS"
		flock -s "$IMAGE_SYSTEMS_HOLD"
	fi
	exec {lock}>&-
}

image_main() {
	local print='' want='' word
	for word; do
		case $word in
		--print) print=1 ;;
		--systems) want=systems ;;
		# The caller holds the lock.
		--locked) IMAGE_LOCKED=1 ;;
		*) lab_die "image: unknown option '$word' (--print, --systems)" ;;
		esac
	done
	image_ensure $want
	[[ -z $print ]] || echo "$IMAGE"
}
