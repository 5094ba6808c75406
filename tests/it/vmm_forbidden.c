// SPDX-License-Identifier: Apache-2.0
/*
 * vmm with one device more: a port by which the guest has a thread of vmm make a system call that
 * no thread may make. Linked from vmm's own objects with vm_start wrapped, so that the hook is in
 * no vmm that anybody runs. What is written to port 0x5f0: 1 the vCPU, 2 the main loop, 3 an I/O
 * thread; with 0x10 added, a call of that thread's that is allowed, to show that the way is open.
 */
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/log.h"
#include "vmm/bus.h"
#include "vmm/loop.h"
#include "vmm/sandbox.h"
#include "vmm/vm.h"

#define PORT 0x5f0

int __real_vm_start(struct vm *vm);
int __wrap_vm_start(struct vm *vm);

static sem_t io_wanted;
static volatile uint8_t wanted;

static void act(const char *who)
{
	if (wanted & 0x10) {
		log_info("allowed call of the %s thread, process %d", who, (int)getpid());
		return;
	}
	log_info("forbidden call of the %s thread", who);
	if (socket(AF_UNIX, SOCK_STREAM, 0) < 0)
		log_info("forbidden call of the %s thread: %m", who);
	else
		log_info("forbidden call of the %s thread was made", who);
}

static void main_acts(void *ctx)
{
	act("main");
}

static void *io_thread(void *arg)
{
	if (sandbox_thread(SANDBOX_IO) < 0)
		return NULL;
	while (sem_wait(&io_wanted) == 0 || errno == EINTR)
		act("io");
	return NULL;
}

static void port_read(void *ctx, uint64_t offset, uint8_t *data, unsigned int len)
{
	*data = wanted;
}

static void port_write(void *ctx, uint64_t offset, const uint8_t *data, unsigned int len)
{
	wanted = *data;
	if ((wanted & 0xf) == 1)
		act("vcpu");
	else if ((wanted & 0xf) == 2)
		loop_call(vm_loop(ctx), main_acts, ctx);
	else
		sem_post(&io_wanted);
}

int __wrap_vm_start(struct vm *vm)
{
	static const struct bus_ops ops = {.read = port_read, .write = port_write};
	pthread_t thread;
	int r;

	sem_init(&io_wanted, 0, 0);
	r = pthread_create(&thread, NULL, io_thread, NULL);
	if (r == 0)
		r = pthread_detach(thread);
	if (r == 0)
		r = -bus_add(vm_bus(vm), BUS_PIO, PORT, 1, &ops, vm);
	return r ? -r : __real_vm_start(vm);
}
