/* SPDX-License-Identifier: Apache-2.0 */
/* Inside of vm.c, which runs the machine, and vm_build.c, which makes it. */
#ifndef MEMD_VMM_VM_IMPL_H
#define MEMD_VMM_VM_IMPL_H

#include "vmm/locality.h"
#include "vmm/vm.h"

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

/* ---- vm.c ---- */

/* From any thread: it is served in the loop once all vCPUs stand. */
void vm_request(struct vm *vm, enum vm_request request);

/* ---- vm_build.c ---- */

/* Content of RAM, then the KVM side of it: at start, and anew after each reset. -errno. */
int vm_build(struct vm *vm);

#endif
