// SPDX-License-Identifier: Apache-2.0
/*
 * The machine: see vm.h. Whatever ends, restarts or breaks it is a request: one bit, set from any
 * thread, that shuts the vCPUs' gate and calls the loop. The loop waits for all vCPUs, then serves
 * the gravest request first, so that a reset, a power-off and a quit at one time make sense.
 */
#include "vmm/advice.h"
#include "vmm/vm.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/kfile.h"
#include "common/log.h"
#include "common/wire.h"
#include "vmm/acpi.h"
#include "vmm/boot.h"
#include "vmm/devices.h"
#include "vmm/kvm.h"
#include "vmm/pool_wait.h"
#include "vmm/layout.h"
#include "vmm/mem.h"
#include "vmm/power.h"
#include "vmm/sandbox.h"
#include "vmm/vcpu.h"
#include "vmm/vm_events.h"

enum vm_request {
	REQUEST_SIGNAL = 1 << 0,
	REQUEST_QUIT = 1 << 1,
	REQUEST_SHUTDOWN = 1 << 2, /* by the guest */
	REQUEST_FAILURE = 1 << 3,
	REQUEST_GUEST_RESET = 1 << 4,
	REQUEST_HOST_RESET = 1 << 5,
};

struct vm {
	struct options options;
	struct bus *bus;
	struct loop *loop;
	struct ram *ram;
	struct locality locality; /* of the guest's nodes */
	struct boot_files *boot;
	struct kvm *kvm;
	struct devices *devices;
	struct vcpus *vcpus;
	struct vm_events *events;
	enum vm_state state;
	unsigned int requests; /* enum vm_request bits, atomic */
	int signal_fd;
	struct loop_source *signal_source;
};

static void vm_serve_requests(void *ctx);

static void vm_request(struct vm *vm, enum vm_request request)
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

/* Content of RAM, then the KVM side of it. */
static int vm_build(struct vm *vm)
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

/* ---- running it ---- */

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
