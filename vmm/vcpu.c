// SPDX-License-Identifier: Apache-2.0
/*
 * vCPU threads and the gate: see vcpu.h. A thread leaves the guest for the gate only when KVM_RUN
 * says EINTR, for then KVM has completed the last port or MMIO access and the registers are whole.
 * A kick is therefore the order to shut the gate, immediate_exit (so that the next KVM_RUN returns
 * at once) and a signal (so that the present one does), in this order.
 */
#include "vmm/vcpu.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/log.h"
#include "vmm/cpuid.h"
#include "vmm/sandbox.h"
#include "vmm/vcpu_regs.h"

#define VCPU_KICK  (SIGRTMIN)
#define VCPU_STACK (256 * 1024UL)

#define PREFAULTS_MAX 32

/* Linux 6.11; older headers do not have it. */
#ifndef KVM_PRE_FAULT_MEMORY
#define KVM_CAP_PRE_FAULT_MEMORY 236
struct kvm_pre_fault_memory {
	__u64 gpa, size, flags, padding[5];
};
#define KVM_PRE_FAULT_MEMORY _IOWR(KVMIO, 0xd5, struct kvm_pre_fault_memory)
#endif

struct vcpu {
	struct vcpus *all;
	unsigned int index;
	int tid;
	pthread_t thread;
	bool has_thread;
	int error;	     /* the thread could not be confined */
	int fd;		     /* -1: not built */
	int stats_fd;	     /* -1: this KVM has none */
	struct kvm_run *run; /* NULL: not built */
};

struct vcpus {
	unsigned int n;
	struct bus *bus;
	const struct vcpu_events *events;
	void *ctx;
	size_t run_bytes;

	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool open, quit;
	unsigned int waiting; /* at the gate */
	struct log_limit faults;

	bool can_prefault;
	unsigned int n_prefaults; /* for the first vCPU to do */
	struct kvm_pre_fault_memory prefaults[PREFAULTS_MAX];

	struct vcpu cpus[];
};

/* ---- the gate ---- */

static void vcpu_kick(struct vcpu *cpu)
{
	if (cpu->run)
		__atomic_store_n(&cpu->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
	if (cpu->has_thread)
		pthread_kill(cpu->thread, VCPU_KICK);
}

void vcpus_stop_soon(struct vcpus *vcpus)
{
	pthread_mutex_lock(&vcpus->lock);
	vcpus->open = false;
	for (unsigned int i = 0; i < vcpus->n; i++)
		vcpu_kick(&vcpus->cpus[i]);
	pthread_mutex_unlock(&vcpus->lock);
}

static void vcpus_wait(struct vcpus *vcpus)
{
	pthread_mutex_lock(&vcpus->lock);
	while (vcpus->waiting < vcpus->n)
		pthread_cond_wait(&vcpus->changed, &vcpus->lock);
	pthread_mutex_unlock(&vcpus->lock);
}

void vcpus_stop(struct vcpus *vcpus)
{
	vcpus_stop_soon(vcpus);
	/* A vCPU on its way out may be waiting for the lock to finish its device access. */
	bus_unlock(vcpus->bus);
	vcpus_wait(vcpus);
	bus_lock(vcpus->bus);
}

void vcpus_start(struct vcpus *vcpus)
{
	pthread_mutex_lock(&vcpus->lock);
	vcpus->open = true;
	pthread_cond_broadcast(&vcpus->changed);
	pthread_mutex_unlock(&vcpus->lock);
}

/* Pass the gate, or wait at it. False: the thread is to end. */
static bool vcpu_pass_gate(struct vcpu *cpu)
{
	struct vcpus *vcpus = cpu->all;
	bool quit;

	pthread_mutex_lock(&vcpus->lock);
	if (!vcpus->open && !vcpus->quit) {
		vcpus->waiting++;
		pthread_cond_broadcast(&vcpus->changed);
		while (!vcpus->open && !vcpus->quit)
			pthread_cond_wait(&vcpus->changed, &vcpus->lock);
		vcpus->waiting--;
	}
	quit = vcpus->quit;
	pthread_mutex_unlock(&vcpus->lock);
	return !quit;
}

/* ---- mapping memory ahead ---- */

void vcpus_prefault(struct vcpus *vcpus, uint64_t gpa, uint64_t len)
{
	pthread_mutex_lock(&vcpus->lock);
	if (vcpus->can_prefault && vcpus->n_prefaults < PREFAULTS_MAX) {
		vcpus->prefaults[vcpus->n_prefaults++] =
			(struct kvm_pre_fault_memory){.gpa = gpa, .size = len};
		vcpu_kick(&vcpus->cpus[0]);
	}
	pthread_mutex_unlock(&vcpus->lock);
}

static bool vcpu_take_prefault(struct vcpu *cpu, struct kvm_pre_fault_memory *ret_range)
{
	struct vcpus *vcpus = cpu->all;
	bool has = false;

	if (cpu->index)
		return false;
	pthread_mutex_lock(&vcpus->lock);
	if (vcpus->open && vcpus->n_prefaults) {
		*ret_range = vcpus->prefaults[--vcpus->n_prefaults];
		has = true;
	}
	pthread_mutex_unlock(&vcpus->lock);
	return has;
}

/* Best effort: what is not mapped now, the guest's next access maps. */
static void vcpu_prefault(struct vcpu *cpu)
{
	struct kvm_pre_fault_memory range;

	while (vcpu_take_prefault(cpu, &range))
		while (range.size &&
		       (!ioctl(cpu->fd, KVM_PRE_FAULT_MEMORY, &range) || errno == EAGAIN))
			;
}

/* ---- running the guest ---- */

static void vcpu_do_io(struct vcpu *cpu)
{
	struct kvm_run *run = cpu->run;
	uint8_t *data = (uint8_t *)run + run->io.data_offset;

	for (uint32_t i = 0; i < run->io.count; i++, data += run->io.size) {
		if (run->io.direction == KVM_EXIT_IO_OUT)
			bus_write(cpu->all->bus, BUS_PIO, run->io.port, data, run->io.size);
		else
			bus_read(cpu->all->bus, BUS_PIO, run->io.port, data, run->io.size);
	}
}

static void vcpu_do_mmio(struct vcpu *cpu)
{
	struct kvm_run *run = cpu->run;

	if (run->mmio.is_write)
		bus_write(cpu->all->bus, BUS_MMIO, run->mmio.phys_addr, run->mmio.data,
			  run->mmio.len);
	else
		bus_read(cpu->all->bus, BUS_MMIO, run->mmio.phys_addr, run->mmio.data,
			 run->mmio.len);
}

static void vcpu_failed(struct vcpu *cpu)
{
	vcpu_regs_log(cpu->index, cpu->fd);
	cpu->all->events->failed(cpu->all->ctx);
}

/* A guest that crashes as it boots comes here over and over. */
static void vcpu_tell_fault(struct vcpu *cpu)
{
	unsigned int dropped = 0;
	bool passes;

	pthread_mutex_lock(&cpu->all->lock);
	passes = log_limit_pass(&cpu->all->faults, &dropped);
	pthread_mutex_unlock(&cpu->all->lock);
	if (passes && dropped)
		log_info(
			"vcpu%u: triple fault: the guest resets (%u more since the last such line)",
			cpu->index, dropped);
	else if (passes)
		log_info("vcpu%u: triple fault: the guest resets", cpu->index);
}

static void vcpu_handle_exit(struct vcpu *cpu)
{
	struct kvm_run *run = cpu->run;

	switch (run->exit_reason) {
	case KVM_EXIT_IO:
		vcpu_do_io(cpu);
		return;
	case KVM_EXIT_MMIO:
		vcpu_do_mmio(cpu);
		return;
	case KVM_EXIT_HLT:
	case KVM_EXIT_INTR:
	case KVM_EXIT_IRQ_WINDOW_OPEN:
		return;
	case KVM_EXIT_SHUTDOWN:
		vcpu_tell_fault(cpu);
		cpu->all->events->reset(cpu->all->ctx);
		return;
	case KVM_EXIT_FAIL_ENTRY:
		log_err("vcpu%u: the processor refuses the guest's state (hardware reason %#llx); "
			"a guest that this KVM cannot run, or a bug in it",
			cpu->index,
			(unsigned long long)run->fail_entry.hardware_entry_failure_reason);
		break;
	case KVM_EXIT_INTERNAL_ERROR:
		vcpu_regs_log_internal(cpu->index, run);
		break;
	default:
		log_err("vcpu%u: KVM stopped the guest for reason %u, which we do not know",
			cpu->index, run->exit_reason);
	}
	vcpu_failed(cpu);
}

static void vcpu_run_failed(struct vcpu *cpu, int err)
{
	if (err == EFAULT)
		log_err("vcpu%u: the guest touched memory that the host cannot give it (out of "
			"memory, or a broken page)",
			cpu->index);
	else
		log_err("vcpu%u: KVM_RUN: %s", cpu->index, strerror(err));
	vcpu_failed(cpu);
}

static void vcpu_loop(struct vcpu *cpu)
{
	while (vcpu_pass_gate(cpu)) {
		vcpu_prefault(cpu);
		for (;;) {
			if (!ioctl(cpu->fd, KVM_RUN, 0)) {
				vcpu_handle_exit(cpu);
			} else if (errno == EINTR) {
				__atomic_store_n(&cpu->run->immediate_exit, 0, __ATOMIC_SEQ_CST);
				break;
			} else if (errno != EAGAIN) { /* EAGAIN: INIT or SIPI came */
				vcpu_run_failed(cpu, errno);
				/* The gate is shut now, or KVM_RUN would fail on and on. */
				break;
			}
		}
	}
}

static void *vcpu_thread(void *arg)
{
	struct vcpu *cpu = arg;
	char name[16];
	sigset_t kick;

	snprintf(name, sizeof(name), "vcpu%u", cpu->index);
	prctl(PR_SET_NAME, name);
	cpu->tid = gettid();
	sigemptyset(&kick);
	sigaddset(&kick, VCPU_KICK);
	pthread_sigmask(SIG_UNBLOCK, &kick, NULL);
	cpu->error = sandbox_thread(SANDBOX_VCPU);
	vcpu_loop(cpu);
	return NULL;
}

/* ---- making and ending them ---- */

static void vcpu_on_kick(int signal)
{
}

/* All other signals are the main thread's. */
static int vcpu_create_thread(struct vcpu *cpu)
{
	sigset_t all, old;
	pthread_attr_t attr;
	int err;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, VCPU_STACK);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	err = pthread_create(&cpu->thread, &attr, vcpu_thread, cpu);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	cpu->has_thread = !err;
	return -err;
}

int vcpus_new(unsigned int n, struct bus *bus, const struct vcpu_events *events, void *ctx,
	      struct vcpus **ret_vcpus)
{
	struct sigaction action = {.sa_handler = vcpu_on_kick};
	struct vcpus *vcpus = calloc(1, sizeof(*vcpus) + n * sizeof(vcpus->cpus[0]));
	int r = 0;

	if (!vcpus)
		return -ENOMEM;
	vcpus->n = n;
	vcpus->bus = bus;
	vcpus->events = events;
	vcpus->ctx = ctx;
	vcpus->faults = (struct log_limit){.window_us = 10 * USEC_PER_SEC, .burst = 5};
	pthread_mutex_init(&vcpus->lock, NULL);
	pthread_cond_init(&vcpus->changed, NULL);
	sigaction(VCPU_KICK, &action, NULL);
	for (unsigned int i = 0; i < n; i++) {
		vcpus->cpus[i].all = vcpus;
		vcpus->cpus[i].index = i;
		vcpus->cpus[i].fd = vcpus->cpus[i].stats_fd = -1;
	}
	for (unsigned int i = 0; i < n && !r; i++)
		r = vcpu_create_thread(&vcpus->cpus[i]);
	if (r) {
		log_err("cannot start the threads of %u vCPUs: %s", n, strerror(-r));
		vcpus_free(vcpus);
		return r;
	}
	vcpus_wait(vcpus);
	for (unsigned int i = 0; i < n && !r; i++)
		r = vcpus->cpus[i].error;
	if (r) {
		vcpus_free(vcpus);
		return r;
	}
	*ret_vcpus = vcpus;
	return 0;
}

void vcpus_free(struct vcpus *vcpus)
{
	if (!vcpus)
		return;
	pthread_mutex_lock(&vcpus->lock);
	vcpus->quit = true;
	pthread_cond_broadcast(&vcpus->changed);
	pthread_mutex_unlock(&vcpus->lock);
	vcpus_stop_soon(vcpus);
	for (unsigned int i = 0; i < vcpus->n; i++)
		if (vcpus->cpus[i].has_thread)
			pthread_join(vcpus->cpus[i].thread, NULL);
	vcpus_drop(vcpus);
	pthread_cond_destroy(&vcpus->changed);
	pthread_mutex_destroy(&vcpus->lock);
	free(vcpus);
}

static int vcpu_fail(const struct vcpu *cpu, const char *what)
{
	int err = errno;

	log_err("vcpu%u: %s: %s", cpu->index, what, strerror(err));
	return -err;
}

static int vcpu_build(struct vcpu *cpu, struct kvm *kvm, const struct cpuid_place *place)
{
	AUTO_FREE struct kvm_cpuid2 *cpuid = cpuid_new(kvm_cpuid(kvm), place);
	void *run;

	if (!cpuid)
		return -ENOMEM;
	cpu->fd = ioctl(kvm_vm_fd(kvm), KVM_CREATE_VCPU, (unsigned long)cpu->index);
	if (cpu->fd < 0)
		return vcpu_fail(cpu, "KVM_CREATE_VCPU");
	run = mmap(NULL, cpu->all->run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, cpu->fd, 0);
	if (run == MAP_FAILED)
		return vcpu_fail(cpu, "cannot map its shared page");
	cpu->run = run;
	/* Now, for later it would wait for KVM_RUN to end: an idle CPU never ends it. */
	cpu->stats_fd = ioctl(cpu->fd, KVM_GET_STATS_FD, NULL);
	if (ioctl(cpu->fd, KVM_SET_CPUID2, cpuid) < 0)
		return vcpu_fail(cpu, "KVM_SET_CPUID2");
	return vcpu_regs_set_msrs(cpu->index, cpu->fd);
}

int vcpus_build(struct vcpus *vcpus, struct kvm *kvm, unsigned int n_nodes)
{
	struct cpuid_place place = {
		.cpus = vcpus->n,
		.package_cpus = cpuid_package_cpus(vcpus->n, n_nodes),
		.deadline_timer = kvm_capability(kvm, KVM_CAP_TSC_DEADLINE_TIMER) > 0,
	};
	int r = 0;

	if (vcpus->n > kvm_cpus_max(kvm)) {
		log_err("--cpus %u: KVM here runs at most %u vCPUs in a machine", vcpus->n,
			kvm_cpus_max(kvm));
		return -E2BIG;
	}
	vcpus->run_bytes = kvm_run_bytes(kvm);
	vcpus->can_prefault = kvm_capability(kvm, KVM_CAP_PRE_FAULT_MEMORY) > 0;
	vcpus->n_prefaults = 0;
	for (unsigned int i = 0; i < vcpus->n && !r; i++) {
		place.cpu = i;
		r = vcpu_build(&vcpus->cpus[i], kvm, &place);
	}
	return r;
}

void vcpus_drop(struct vcpus *vcpus)
{
	for (unsigned int i = 0; i < vcpus->n; i++) {
		struct vcpu *cpu = &vcpus->cpus[i];

		if (cpu->run)
			munmap(cpu->run, vcpus->run_bytes);
		cpu->run = NULL;
		cleanup_fd(&cpu->stats_fd);
		cleanup_fd(&cpu->fd);
		cpu->fd = cpu->stats_fd = -1;
	}
}

int vcpus_set_entry(struct vcpus *vcpus, const struct boot_entry *entry)
{
	int r = vcpu_regs_set_entry(vcpus->cpus[0].fd, entry);

	if (r)
		log_err("vcpu0: cannot set its first registers: %s", strerror(-r));
	return r;
}

void vcpus_tell_stopped(struct vcpus *vcpus)
{
	/* EINVAL: that CPU has no kvmclock running. */
	for (unsigned int i = 0; i < vcpus->n; i++)
		ioctl(vcpus->cpus[i].fd, KVM_KVMCLOCK_CTRL, 0);
}

unsigned int vcpus_count(const struct vcpus *vcpus)
{
	return vcpus->n;
}

int vcpus_tid(const struct vcpus *vcpus, unsigned int cpu)
{
	return vcpus->cpus[cpu].tid;
}

int vcpus_stats_fd(const struct vcpus *vcpus, unsigned int cpu)
{
	return vcpus->cpus[cpu].stats_fd;
}
