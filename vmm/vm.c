// SPDX-License-Identifier: Apache-2.0
/*
 * The machine as it runs: see vm.h; vm_build.c makes it. Whatever ends, restarts or breaks it is a
 * request: one bit, set from any thread, that shuts the vCPUs' gate and calls the loop. The loop
 * waits for all vCPUs, then serves the gravest request first, so that a reset, a power-off and a
 * quit at one time make sense.
 */
#include "vmm/vm_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <string.h>
#include <sys/ioctl.h>

#include "common/log.h"
#include "vmm/acpi.h"
#include "vmm/devices.h"
#include "vmm/kvm.h"
#include "vmm/mem.h"
#include "vmm/vcpu.h"
#include "vmm/vm_events.h"

static void vm_serve_requests(void *ctx);

void vm_request(struct vm *vm, enum vm_request request)
{
	__atomic_fetch_or(&vm->requests, request, __ATOMIC_SEQ_CST);
	vcpus_stop_soon(vm->vcpus);
	loop_call(vm->loop, vm_serve_requests, vm);
}

void vm_guest_shutdown(struct vm *vm)
{
	vm_request(vm, REQUEST_SHUTDOWN);
}

void vm_guest_reset(struct vm *vm)
{
	vm_request(vm, REQUEST_GUEST_RESET);
}

void vm_reset(struct vm *vm, bool by_guest)
{
	vm_request(vm, by_guest ? REQUEST_GUEST_RESET : REQUEST_HOST_RESET);
}

void vm_quit(struct vm *vm)
{
	vm_request(vm, REQUEST_QUIT);
}

void vm_powerdown(struct vm *vm)
{
	vm_events_send(vm->events, "POWERDOWN");
	devices_press_power(vm->devices);
}

/* ---- running it ---- */

int vm_stop(struct vm *vm)
{
	if (vm->state != VM_RUNNING)
		return 0;
	vcpus_stop(vm->vcpus);
	devices_pause(vm->devices);
	kvm_clock_stop(vm->kvm);
	vm->state = VM_PAUSED;
	vm_events_send(vm->events, "STOP");
	return 0;
}

int vm_cont(struct vm *vm)
{
	if (vm->state == VM_RUNNING)
		return 0;
	if (vm->state == VM_SHUTDOWN || vm->state == VM_INTERNAL_ERROR)
		return -EPERM;
	kvm_clock_start(vm->kvm);
	devices_resume(vm->devices);
	if (vm->state == VM_PAUSED)
		vcpus_tell_stopped(vm->vcpus);
	vm->state = VM_RUNNING;
	vm_events_send(vm->events, "RESUME");
	vcpus_start(vm->vcpus);
	return 0;
}

static void vm_end(struct vm *vm, bool by_guest, const char *reason)
{
	vm->state = VM_SHUTDOWN;
	vm_events_power(vm->events, "SHUTDOWN", by_guest, reason);
	loop_exit(vm->loop, 0);
}

static void vm_fail(struct vm *vm)
{
	vm->state = VM_INTERNAL_ERROR;
	log_err("%s: the guest is stopped; reset it (QMP system_reset) or end it (quit)",
		vm->options.name);
	vm_events_send(vm->events, "STOP");
}

/* All vCPUs are at the gate. */
static void vm_do_reset(struct vm *vm, bool by_guest)
{
	bool was_running = vm->state == VM_RUNNING;
	int r;

	vcpus_drop(vm->vcpus);
	kvm_drop(vm->kvm);
	devices_reset(vm->devices);
	ram_discard_all(vm->ram);
	for (size_t i = 0; i < vm->options.n_mem_devices; i++)
		mem_machine_reset(vm_mem(vm, i));
	r = vm_build(vm);
	if (r) {
		log_err("%s: cannot reset the guest: %s", vm->options.name, strerror(-r));
		vm_fail(vm);
		return;
	}
	vm_events_power(vm->events, "RESET", by_guest,
			by_guest ? "guest-reset" : "host-qmp-system-reset");
	if (vm->state == VM_INTERNAL_ERROR || vm->state == VM_SHUTDOWN)
		vm->state = VM_PRELAUNCH;
	if (was_running)
		vcpus_start(vm->vcpus);
}

static void vm_serve_requests(void *ctx)
{
	struct vm *vm = ctx;
	unsigned int requests;

	if (!__atomic_load_n(&vm->requests, __ATOMIC_SEQ_CST) || vm->state == VM_SHUTDOWN)
		return;
	/* Nobody makes further requests once the vCPUs stand. */
	vcpus_stop(vm->vcpus);
	requests = __atomic_exchange_n(&vm->requests, 0, __ATOMIC_SEQ_CST);
	if (requests & REQUEST_SIGNAL)
		vm_end(vm, false, "host-signal");
	else if (requests & REQUEST_QUIT)
		vm_end(vm, false, "host-qmp-quit");
	else if (requests & REQUEST_SHUTDOWN)
		vm_end(vm, true, "guest-shutdown");
	else if (requests & (REQUEST_GUEST_RESET | REQUEST_HOST_RESET)) {
		bool by_guest = requests & REQUEST_GUEST_RESET;

		if (vm->options.no_reboot)
			vm_end(vm, by_guest, by_guest ? "guest-reset" : "host-qmp-system-reset");
		else
			vm_do_reset(vm, by_guest);
	} else if (requests & REQUEST_FAILURE) {
		vm_fail(vm);
	}
}

int vm_run(struct vm *vm)
{
	if (!vm->options.paused) {
		bus_lock(vm->bus);
		vm_cont(vm);
		bus_unlock(vm->bus);
	}
	return loop_run(vm->loop) < 0 ? 1 : 0;
}

/* ---- what others ask ---- */

const struct options *vm_options(const struct vm *vm)
{
	return &vm->options;
}

struct ram *vm_ram(const struct vm *vm)
{
	return vm->ram;
}

struct loop *vm_loop(const struct vm *vm)
{
	return vm->loop;
}

struct bus *vm_bus(const struct vm *vm)
{
	return vm->bus;
}

struct virtio_device *vm_balloon(const struct vm *vm)
{
	return devices_balloon(vm->devices);
}

struct virtio_device *vm_disk(const struct vm *vm, unsigned int index)
{
	return devices_disk(vm->devices, index);
}

struct virtio_device *vm_net(const struct vm *vm, unsigned int index)
{
	return devices_net(vm->devices, index);
}

struct virtio_device *vm_mem(const struct vm *vm, size_t index)
{
	return devices_mem(vm->devices, index);
}

enum vm_state vm_state(const struct vm *vm)
{
	return vm->state;
}

const char *vm_state_name(enum vm_state state)
{
	static const char *const names[] = {
		[VM_PRELAUNCH] = "prelaunch",
		[VM_RUNNING] = "running",
		[VM_PAUSED] = "paused",
		[VM_SHUTDOWN] = "shutdown",
		[VM_INTERNAL_ERROR] = "internal-error",
	};

	return names[state];
}

unsigned int vm_cpu_count(const struct vm *vm)
{
	return vcpus_count(vm->vcpus);
}

int vm_cpu_thread(const struct vm *vm, unsigned int cpu, int *ret_tid, unsigned int *ret_node)
{
	unsigned int n = vcpus_count(vm->vcpus);

	if (cpu >= n)
		return -EINVAL;
	*ret_tid = vcpus_tid(vm->vcpus, cpu);
	*ret_node = acpi_cpu_node(cpu, n, (unsigned int)ram_node_count(vm->ram));
	return 0;
}

int vm_stats_fd(struct vm *vm, int cpu)
{
	int fd;

	if (cpu < 0) {
		fd = ioctl(kvm_vm_fd(vm->kvm), KVM_GET_STATS_FD, NULL);
		return fd < 0 ? -errno : fd;
	}
	if ((unsigned int)cpu >= vcpus_count(vm->vcpus))
		return -EINVAL;
	fd = vcpus_stats_fd(vm->vcpus, (unsigned int)cpu);
	if (fd < 0)
		return -EOPNOTSUPP;
	fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	return fd < 0 ? -errno : fd;
}

void vm_set_events(struct vm *vm, struct wire_server *server)
{
	vm_events_set_server(vm->events, server);
}
