// SPDX-License-Identifier: Apache-2.0
/* The VM side of the KVM API: see kvm.h. What a vCPU is lives in vcpu.c. */
#include "vmm/kvm.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "vmm/layout.h"

#define KVM_CPUID_MAX 256

struct kvm {
	int fd;
	int vm_fd;
	size_t run_bytes;
	struct kvm_cpuid2 *cpuid;
	bool clock_stopped;
	uint64_t clock_ns;
};

static int kvm_open_device(int *ret_fd)
{
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	int err = errno;

	if (fd >= 0) {
		*ret_fd = fd;
		return 0;
	}
	switch (err) {
	case ENOENT:
	case ENODEV:
	case ENXIO:
		log_err("/dev/kvm: %s: no KVM here; load it with `modprobe kvm-amd` or "
			"`modprobe kvm-intel`, and see that virtualization is on in the firmware",
			strerror(err));
		break;
	case EACCES:
	case EPERM:
		log_err("/dev/kvm: %s: run as root, or join the group that owns it: "
			"`usermod -aG kvm USER`, then log in anew",
			strerror(err));
		break;
	default:
		log_err("/dev/kvm: %s", strerror(err));
	}
	return -err;
}

static const struct {
	int number;
	const char *name;
} kvm_needs[] = {
	{KVM_CAP_IRQCHIP, "KVM_CAP_IRQCHIP"},
	{KVM_CAP_USER_MEMORY, "KVM_CAP_USER_MEMORY"},
	{KVM_CAP_EXT_CPUID, "KVM_CAP_EXT_CPUID"},
	{KVM_CAP_MP_STATE, "KVM_CAP_MP_STATE"},
	{KVM_CAP_IRQFD, "KVM_CAP_IRQFD"},
	{KVM_CAP_IOEVENTFD, "KVM_CAP_IOEVENTFD"},
	{KVM_CAP_IMMEDIATE_EXIT, "KVM_CAP_IMMEDIATE_EXIT"},
};

static int kvm_check(const struct kvm *kvm)
{
	int version = ioctl(kvm->fd, KVM_GET_API_VERSION, 0);

	if (version != KVM_API_VERSION) {
		log_err("/dev/kvm: its API version is %d, we know %d", version, KVM_API_VERSION);
		return -EOPNOTSUPP;
	}
	for (size_t i = 0; i < ARRAY_SIZE(kvm_needs); i++)
		if (kvm_capability(kvm, kvm_needs[i].number) <= 0) {
			log_err("/dev/kvm: this kernel's KVM has no %s; Linux 4.13 or later has it",
				kvm_needs[i].name);
			return -EOPNOTSUPP;
		}
	return 0;
}

static int kvm_load_cpuid(struct kvm *kvm)
{
	size_t n = KVM_CPUID_MAX;

	kvm->cpuid = calloc(1, sizeof(*kvm->cpuid) + n * sizeof(kvm->cpuid->entries[0]));
	if (!kvm->cpuid)
		return -ENOMEM;
	kvm->cpuid->nent = (uint32_t)n;
	if (ioctl(kvm->fd, KVM_GET_SUPPORTED_CPUID, kvm->cpuid) < 0) {
		int err = errno;

		log_err("/dev/kvm: KVM_GET_SUPPORTED_CPUID: %s", strerror(err));
		return -err;
	}
	return 0;
}

int kvm_open(struct kvm **ret_kvm)
{
	struct kvm *kvm = calloc(1, sizeof(*kvm));
	int r;

	if (!kvm)
		return -ENOMEM;
	kvm->fd = kvm->vm_fd = -1;
	r = kvm_open_device(&kvm->fd);
	if (!r)
		r = kvm_check(kvm);
	if (!r)
		r = kvm_load_cpuid(kvm);
	if (!r) {
		int bytes = ioctl(kvm->fd, KVM_GET_VCPU_MMAP_SIZE, 0);

		if (bytes < (int)sizeof(struct kvm_run))
			r = -EIO;
		else
			kvm->run_bytes = (size_t)bytes;
	}
	if (r) {
		kvm_close(kvm);
		return r;
	}
	*ret_kvm = kvm;
	return 0;
}

void kvm_close(struct kvm *kvm)
{
	if (!kvm)
		return;
	kvm_drop(kvm);
	cleanup_fd(&kvm->fd);
	free(kvm->cpuid);
	free(kvm);
}

int kvm_capability(const struct kvm *kvm, int capability)
{
	return ioctl(kvm->fd, KVM_CHECK_EXTENSION, capability);
}

int kvm_vm_fd(const struct kvm *kvm)
{
	return kvm->vm_fd;
}

size_t kvm_run_bytes(const struct kvm *kvm)
{
	return kvm->run_bytes;
}

unsigned int kvm_cpus_max(const struct kvm *kvm)
{
	int max = kvm_capability(kvm, KVM_CAP_MAX_VCPUS);

	return max > 0 ? (unsigned int)max : 4; /* 4: what api.rst says absence means */
}

const struct kvm_cpuid2 *kvm_cpuid(const struct kvm *kvm)
{
	return kvm->cpuid;
}

static int kvm_fail(const char *what)
{
	int err = errno;

	log_err("kvm: %s: %s", what, strerror(err));
	return -err;
}

/* Pluggable memory has a slot for the whole region; ram_plug.c keeps the guest out of the rest. */
static int kvm_add_slots(struct kvm *kvm, const struct ram *ram)
{
	size_t n = ram_region_count(ram);

	for (size_t i = 0; i < n + ram_plug_count(ram); i++) {
		const struct ram_region *region =
			i < n ? ram_region(ram, i) : ram_plug_region(ram, i - n);
		struct kvm_userspace_memory_region slot = {
			.slot = (uint32_t)i,
			.guest_phys_addr = region->gpa,
			.memory_size = region->size_bytes,
			.userspace_addr = (uintptr_t)region->hva,
		};

		if (ioctl(kvm->vm_fd, KVM_SET_USER_MEMORY_REGION, &slot) < 0)
			return kvm_fail("cannot give the guest its RAM");
	}
	return 0;
}

int kvm_build(struct kvm *kvm, const struct ram *ram)
{
	uint64_t identity = LAYOUT_IDENTITY_MAP;

	do
		kvm->vm_fd = ioctl(kvm->fd, KVM_CREATE_VM, 0);
	while (kvm->vm_fd < 0 && errno == EINTR);
	if (kvm->vm_fd < 0)
		return kvm_fail("cannot create a virtual machine");
	/* Only VT-x without unrestricted guest uses these pages, but there it needs them. */
	if (kvm_capability(kvm, KVM_CAP_SET_IDENTITY_MAP_ADDR) > 0 &&
	    ioctl(kvm->vm_fd, KVM_SET_IDENTITY_MAP_ADDR, &identity) < 0)
		return kvm_fail("KVM_SET_IDENTITY_MAP_ADDR");
	if (kvm_capability(kvm, KVM_CAP_SET_TSS_ADDR) > 0 &&
	    ioctl(kvm->vm_fd, KVM_SET_TSS_ADDR, LAYOUT_TSS) < 0)
		return kvm_fail("KVM_SET_TSS_ADDR");
	if (ioctl(kvm->vm_fd, KVM_CREATE_IRQCHIP, 0) < 0)
		return kvm_fail("KVM_CREATE_IRQCHIP");
	return kvm_add_slots(kvm, ram);
}

void kvm_drop(struct kvm *kvm)
{
	cleanup_fd(&kvm->vm_fd);
	kvm->vm_fd = -1;
	kvm->clock_stopped = false;
}

int kvm_add_irqfd(struct kvm *kvm, int fd, unsigned int gsi)
{
	struct kvm_irqfd irqfd = {.fd = (uint32_t)fd, .gsi = gsi};

	if (ioctl(kvm->vm_fd, KVM_IRQFD, &irqfd) < 0)
		return kvm_fail("KVM_IRQFD");
	return 0;
}

int kvm_add_ioeventfd(struct kvm *kvm, int fd, uint64_t addr, uint32_t value)
{
	struct kvm_ioeventfd ioeventfd = {
		.datamatch = value,
		.addr = addr,
		.len = sizeof(value),
		.fd = fd,
		.flags = KVM_IOEVENTFD_FLAG_DATAMATCH,
	};

	if (ioctl(kvm->vm_fd, KVM_IOEVENTFD, &ioeventfd) < 0)
		return kvm_fail("KVM_IOEVENTFD");
	return 0;
}

void kvm_clock_stop(struct kvm *kvm)
{
	struct kvm_clock_data clock = {0};

	kvm->clock_stopped = kvm_capability(kvm, KVM_CAP_ADJUST_CLOCK) > 0 &&
			     ioctl(kvm->vm_fd, KVM_GET_CLOCK, &clock) == 0;
	kvm->clock_ns = clock.clock;
}

void kvm_clock_start(struct kvm *kvm)
{
	struct kvm_clock_data clock = {.clock = kvm->clock_ns};

	if (!kvm->clock_stopped)
		return;
	if (ioctl(kvm->vm_fd, KVM_SET_CLOCK, &clock) < 0)
		log_warn("kvm: the guest's clock jumps by the time it was stopped: %m");
	kvm->clock_stopped = false;
}
