// SPDX-License-Identifier: Apache-2.0
/* The machine is made: its parts, how they call each other, and what a reset makes anew. */
#include "vmm/vm_impl.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/kfile.h"
#include "common/log.h"
#include "vmm/acpi.h"
#include "vmm/advice.h"
#include "vmm/boot.h"
#include "vmm/devices.h"
#include "vmm/kvm.h"
#include "vmm/layout.h"
#include "vmm/pool_wait.h"
#include "vmm/power.h"
#include "vmm/sandbox.h"
#include "vmm/vcpu.h"
#include "vmm/vm_events.h"

/* ---- callbacks of devices, vCPUs and signals ---- */

static void vm_on_guest_shutdown(void *ctx)
{
	vm_guest_shutdown(ctx);
}

static void vm_on_guest_reset(void *ctx)
{
	vm_guest_reset(ctx);
}

static void vm_on_failure(void *ctx)
{
	vm_request(ctx, REQUEST_FAILURE);
}

static void vm_on_quit_typed(void *ctx)
{
	vm_quit(ctx);
}

static void vm_on_balloon_change(void *ctx, uint64_t actual_bytes)
{
	struct vm *vm = ctx;

	vm_events_balloon(vm->events, actual_bytes);
}

static void vm_on_disk_failure(void *ctx, unsigned int index, bool is_write, int err)
{
	struct vm *vm = ctx;

	vm_events_disk(vm->events, index, is_write, err);
}

/* An idle guest would not touch them for long, and its first touch would wait for a fault. */
static void vm_on_collapsed(void *ctx, uint64_t gpa, uint64_t len)
{
	struct vm *vm = ctx;

	vcpus_prefault(vm->vcpus, gpa, len);
}

static void vm_on_mem_change(void *ctx, size_t index, uint64_t plugged_bytes)
{
	struct vm *vm = ctx;

	vm_events_mem(vm->events, index, plugged_bytes);
}

static void vm_on_signal(void *ctx, uint32_t events)
{
	struct vm *vm = ctx;
	struct signalfd_siginfo info;

	if (read(vm->signal_fd, &info, sizeof(info)) != sizeof(info))
		return;
	log_info("%s: ends by signal %s from pid %u", vm->options.name,
		 sigabbrev_np((int)info.ssi_signo), info.ssi_pid);
	vm_request(vm, REQUEST_SIGNAL);
}

/* ---- building the machine ---- */

static int vm_write_acpi(struct vm *vm)
{
	const struct acpi_config config = {
		.n_cpus = vm->options.cpus,
		.ram = vm->ram,
		.locality = &vm->locality,
		.n_virtio = devices_virtio_count(vm->devices),
	};
	size_t size = LAYOUT_RESET - LAYOUT_ACPI, len;
	uint8_t *tables = ram_ptr(vm->ram, LAYOUT_ACPI, size);
	int r;

	if (!tables)
		return -EFBIG;
	memset(tables, 0, size);
	r = acpi_build(&config, LAYOUT_ACPI, tables, size, &len);
	if (r)
		log_err("cannot build the ACPI tables: %s", strerror(-r));
	return r;
}

int vm_build(struct vm *vm)
{
	struct boot_entry entry;
	int r;

	r = boot_load(vm->ram, vm->boot, vm->options.append, LAYOUT_ACPI, &entry);
	if (!r)
		r = vm_write_acpi(vm);
	if (!r)
		r = power_write_vector(vm->ram);
	if (!r)
		r = kvm_build(vm->kvm, vm->ram);
	if (!r)
		r = devices_wire(vm->devices, vm->kvm);
	if (!r)
		r = vcpus_build(vm->vcpus, vm->kvm, (unsigned int)ram_node_count(vm->ram));
	if (!r)
		r = vcpus_set_entry(vm->vcpus, &entry);
	return r;
}

/* The main thread alone takes these, by the loop. */
static int vm_watch_signals(struct vm *vm)
{
	sigset_t signals;

	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	/* Losing the terminal ends what was started on one; a service has none to lose. */
	if (isatty(STDIN_FILENO))
		sigaddset(&signals, SIGHUP);
	else
		signal(SIGHUP, SIG_IGN);
	if (pthread_sigmask(SIG_BLOCK, &signals, NULL))
		return -EINVAL;
	vm->signal_fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
	if (vm->signal_fd < 0)
		return -errno;
	vm->signal_source = loop_add(vm->loop, vm->signal_fd, EPOLLIN, vm_on_signal, vm);
	return vm->signal_source ? 0 : -errno;
}

static int vm_make_devices(struct vm *vm)
{
	static const struct power_events power_events = {
		.shutdown = vm_on_guest_shutdown,
		.reset = vm_on_guest_reset,
	};
	const struct devices_config config = {
		.options = &vm->options,
		.bus = vm->bus,
		.loop = vm->loop,
		.ram = vm->ram,
		.power = &power_events,
		.balloon_changed = vm_on_balloon_change,
		.disk_failed = vm_on_disk_failure,
		.mem_changed = vm_on_mem_change,
		.quit = vm_on_quit_typed,
		.ctx = vm,
	};

	return devices_new(&config, &vm->devices);
}

static int vm_make_ram(struct vm *vm)
{
	const struct options *options = &vm->options;
	struct pool_wait wait;
	int r;

	advice_take(&vm->options);
	pool_wait_begin(&wait, options);
	do {
		pool_wait_for(&wait);
		r = ram_new(options->memory, options->n_memory, &vm->ram);
	} while (r == -ENOMEM && pool_wait_again(&wait));
	pool_wait_end(&wait);

	for (size_t i = 0; i < options->n_mem_devices && !r; i++)
		r = ram_plug_add(vm->ram, &options->mem_devices[i].plug);
	return r;
}

/* Once: a reset must not depend on what can be opened then. */
static void vm_read_locality(struct vm *vm)
{
	AUTO_FD int root = kfile_open_root("/");

	locality_read(root, vm->options.memory, vm->options.n_memory, &vm->locality);
}

static int vm_make(struct vm *vm)
{
	const struct options *options = &vm->options;
	int r = kvm_open(&vm->kvm);

	if (!r)
		r = boot_open(options->kernel, options->initrd, &vm->boot);
	if (!r)
		r = vm_make_ram(vm);
	if (r)
		return r;
	vm_read_locality(vm);
	vm->bus = bus_new();
	vm->loop = vm->bus ? loop_new(vm->bus) : NULL;
	vm->events = vm->loop ? vm_events_new(vm->loop) : NULL;
	if (!vm->events) {
		log_err("cannot start the event loop: %m");
		return -ENOMEM;
	}
	r = vm_watch_signals(vm);
	if (r) {
		log_err("cannot watch for signals: %s", strerror(-r));
		return r;
	}
	r = vm_make_devices(vm);
	if (!r)
		r = ram_collapse_start(vm->ram, vm->bus, vm_on_collapsed, vm);
	return r;
}

int vm_new(const struct options *options, struct vm **ret_vm)
{
	struct vm *vm = calloc(1, sizeof(*vm));
	int r;

	if (!vm)
		return -ENOMEM;
	vm->options = *options;
	vm->state = VM_PRELAUNCH;
	vm->signal_fd = -1;
	r = vm_make(vm);
	if (r) {
		vm_free(vm);
		return r;
	}
	*ret_vm = vm;
	return 0;
}

void vm_free(struct vm *vm)
{
	if (!vm)
		return;
	/* Threads of a machine that never ran may wait to be confined still. */
	sandbox_abandon();
	ram_collapse_stop(vm->ram);
	ram_place_stop(vm->ram);
	vcpus_free(vm->vcpus);
	kvm_close(vm->kvm);
	devices_free(vm->devices);
	boot_close(vm->boot);
	if (vm->loop)
		loop_remove(vm->signal_source);
	cleanup_fd(&vm->signal_fd);
	vm_events_free(vm->events);
	loop_free(vm->loop);
	bus_free(vm->bus);
	ram_free(vm->ram);
	free(vm);
}

int vm_start(struct vm *vm)
{
	static const struct vcpu_events vcpu_events = {
		.reset = vm_on_guest_reset,
		.failed = vm_on_failure,
	};
	int r = vcpus_new(vm->options.cpus, vm->bus, &vcpu_events, vm, &vm->vcpus);

	/* From here on; building is what a reset does too, so that each start tries its calls. */
	if (!r)
		r = sandbox_thread(SANDBOX_MAIN);
	return r ? r : vm_build(vm);
}
