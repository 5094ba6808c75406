// SPDX-License-Identifier: Apache-2.0
/*
 * Guest RAM moves to another host node while the guest runs: mbind(2) with MPOL_MF_MOVE, one slice
 * after the other, by a thread of our own. Kernels before 6.7 keep the whole process's mmap lock
 * over a call's copying, so a slice is one huge page: a vCPU that faults meanwhile waits for no
 * more than that. Huge pages move as huge pages. What KSM shares stays where it is, for others use
 * it too (MPOL_MF_MOVE leaves alone what is mapped more than once).
 *
 * The thread rests three times as long as each slice took, and as the rate asks for; what is not in
 * memory costs neither. Pages that were busy get a second round. Memory that comes later comes from
 * the new node, too: the binding is changed first. It prefers that node unless the guest was
 * started with policy=bind.
 */
#include "vmm/ram_impl.h"

#include <errno.h>
#include <numaif.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>

#include "common/clock.h"
#include "common/log.h"
#include "vmm/bus.h"
#include "vmm/sandbox.h"

#define ROUNDS 2
/* It rests so many times as long as a slice took: a guest with one processor keeps three quarters.
 */
#define REST_FACTOR 3

struct ram_place {
	struct ram *ram;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool quit, ordered, cancelled;
	uint64_t bytes_per_s;
	struct ram_config config; /* the binding that the slices get */
	struct ram_place_state state;
};

/* With the lock held: may the move go on? */
static bool may_go_on(const struct ram_place *p)
{
	return !p->quit && !p->cancelled;
}

/* Until then, or the end. False: the move is to end. */
static bool rest_until(struct ram_place *p, uint64_t us)
{
	struct timespec until = {.tv_sec = (time_t)(us / USEC_PER_SEC),
				 .tv_nsec = (long)(us % USEC_PER_SEC * 1000)};
	bool go_on;

	pthread_mutex_lock(&p->lock);
	while (may_go_on(p) && clock_now_us() < us)
		if (pthread_cond_timedwait(&p->changed, &p->lock, &until) == ETIMEDOUT)
			break;
	go_on = may_go_on(p);
	pthread_mutex_unlock(&p->lock);
	return go_on;
}

/* Bytes of a slice that are in memory: what is not needs no move and no rest. */
static uint64_t resident_bytes(const uint8_t *hva, uint64_t len)
{
	unsigned char present[RAM_HUGE_BYTES / RAM_SMALL_BYTES];
	uint64_t n = 0;

	if (mincore((void *)(uintptr_t)hva, len, present) < 0)
		return 0;
	for (uint64_t i = 0; i < len / RAM_SMALL_BYTES; i++)
		n += present[i] & 1;
	return n * RAM_SMALL_BYTES;
}

/* A slice, and the rest behind it. False: the move is to end. */
static bool move_slice(struct ram_place *p, uint8_t *hva, uint64_t len, bool first)
{
	uint64_t resident = resident_bytes(hva, len), start_us = clock_now_us(), end_us, took_us;
	uint64_t pause_us = resident * USEC_PER_SEC / p->bytes_per_s;
	int r = resident ? ram_bind_move(&p->config, hva, len) : 0;
	bool go_on;

	end_us = clock_now_us();
	took_us = end_us - start_us;
	pthread_mutex_lock(&p->lock);
	if (first)
		p->state.done_bytes += len;
	if (took_us > p->state.longest_us)
		p->state.longest_us = took_us;
	if (r < 0)
		p->state.error = -r;
	go_on = may_go_on(p);
	pthread_mutex_unlock(&p->lock);
	if (!resident || !go_on)
		return go_on;
	if (!first || pause_us < (1 + REST_FACTOR) * took_us)
		pause_us = (1 + REST_FACTOR) * took_us;
	return rest_until(p, start_us + pause_us);
}

/* What is there already in slices; what comes later follows the policy of the whole. */
static bool move_all(struct ram_place *p, bool first)
{
	const struct ram_piece *piece;

	for (size_t i = 0; (piece = ram_piece_at(p->ram, i)); i++) {
		uint64_t size = piece->region.size_bytes, len;
		int r = first ? ram_bind(&p->config, piece->region.hva, size) : 0;

		if (r < 0) {
			pthread_mutex_lock(&p->lock);
			p->state.error = -r;
			pthread_mutex_unlock(&p->lock);
		}
		for (uint64_t at = 0; at < size; at += len) {
			len = size - at < RAM_HUGE_BYTES ? size - at : RAM_HUGE_BYTES;
			if (!move_slice(p, piece->region.hva + at, len, first))
				return false;
		}
	}
	return true;
}

static void *place_thread(void *arg)
{
	struct ram_place *p = arg;
	bool quit = false;

	prctl(PR_SET_NAME, "place");
	if (sandbox_thread(SANDBOX_WORKER) < 0)
		return NULL;
	while (!quit) {
		bool go_on;

		pthread_mutex_lock(&p->lock);
		while (!p->quit && !p->ordered)
			pthread_cond_wait(&p->changed, &p->lock);
		go_on = may_go_on(p);
		p->ordered = false;
		pthread_mutex_unlock(&p->lock);
		for (unsigned int round = 0; go_on && round < ROUNDS; round++)
			go_on = move_all(p, round == 0);
		pthread_mutex_lock(&p->lock);
		p->state.status = !go_on	   ? RAM_PLACE_CANCELLED
				  : p->state.error ? RAM_PLACE_FAILED
						   : RAM_PLACE_COMPLETED;
		p->state.took_us = clock_now_us() - p->state.start_us;
		quit = p->quit;
		pthread_mutex_unlock(&p->lock);
	}
	return NULL;
}

static int start_thread(struct ram *ram)
{
	struct ram_place *p = calloc(1, sizeof(*p));
	pthread_condattr_t attr;
	sigset_t all, old;
	int err;

	if (!p)
		return -ENOMEM;
	p->ram = ram;
	pthread_mutex_init(&p->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&p->changed, &attr);
	pthread_condattr_destroy(&attr);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	err = pthread_create(&p->thread, NULL, place_thread, p);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (err) {
		pthread_cond_destroy(&p->changed);
		pthread_mutex_destroy(&p->lock);
		free(p);
		return -err;
	}
	ram->place = p;
	return 0;
}

/* What memory that is mapped later, and the slices, are bound to from now on. */
static void rebind(struct ram_config *config, unsigned int host_node)
{
	if (config->policy != RAM_POLICY_BIND)
		config->policy = RAM_POLICY_PREFERRED;
	memset(config->host_nodes, 0, sizeof(config->host_nodes));
	bit_set(config->host_nodes, host_node);
}

static int check(const struct ram *ram, unsigned int host_node)
{
	/* As ram_bind() says: one bit more than there are. */
	unsigned long allowed[RAM_HOST_NODES / 64 + 1] = {0};

	if (ram->n_configs != 1)
		return -EOPNOTSUPP;
	if (ram->pieces[0].is_buffer || ram_pages_is_pool(ram->configs[0].pages))
		return -EOPNOTSUPP;
	for (size_t i = 0; i < ram->n_plugs; i++)
		if (ram_pages_is_pool(ram->plugs[i].config.memory.pages))
			return -EOPNOTSUPP;
	if (get_mempolicy(NULL, allowed, RAM_HOST_NODES + 1, NULL, MPOL_F_MEMS_ALLOWED) < 0)
		return -errno;
	if (host_node >= RAM_HOST_NODES || !(allowed[host_node / 64] >> host_node % 64 & 1))
		return -ENODEV;
	return 0;
}

int ram_place(struct ram *ram, unsigned int host_node, uint64_t bytes_per_s)
{
	struct ram_place *p;
	int r = check(ram, host_node);

	if (r == 0 && !ram->place)
		r = start_thread(ram);
	if (r < 0)
		return r;
	p = ram->place;
	pthread_mutex_lock(&p->lock);
	if (p->state.status == RAM_PLACE_ACTIVE) {
		pthread_mutex_unlock(&p->lock);
		return -EBUSY;
	}
	rebind(&ram->configs[0], host_node);
	p->config = ram->configs[0];
	p->state = (struct ram_place_state){
		.status = RAM_PLACE_ACTIVE,
		.host_node = host_node,
		.total_bytes = ram->size_bytes,
		.start_us = clock_now_us(),
	};
	for (size_t i = 0; i < ram->n_plugs; i++) {
		rebind(&ram->plugs[i].config.memory, host_node);
		p->state.total_bytes += ram->plugs[i].piece.region.size_bytes;
	}
	p->bytes_per_s = bytes_per_s ? bytes_per_s : RAM_PLACE_RATE;
	p->cancelled = false;
	p->ordered = true;
	pthread_cond_signal(&p->changed);
	pthread_mutex_unlock(&p->lock);
	return 0;
}

void ram_place_state(const struct ram *ram, struct ram_place_state *ret_state)
{
	struct ram_place *p = ram->place;

	*ret_state = (struct ram_place_state){.status = RAM_PLACE_NONE};
	if (!p)
		return;
	pthread_mutex_lock(&p->lock);
	*ret_state = p->state;
	pthread_mutex_unlock(&p->lock);
	if (ret_state->status == RAM_PLACE_ACTIVE)
		ret_state->took_us = clock_now_us() - ret_state->start_us;
}

void ram_place_cancel(struct ram *ram)
{
	struct ram_place *p = ram->place;

	if (!p)
		return;
	pthread_mutex_lock(&p->lock);
	if (p->state.status == RAM_PLACE_ACTIVE) {
		p->cancelled = true;
		pthread_cond_signal(&p->changed);
	}
	pthread_mutex_unlock(&p->lock);
}

void ram_place_stop(struct ram *ram)
{
	struct ram_place *p = ram ? ram->place : NULL;

	if (!p)
		return;
	pthread_mutex_lock(&p->lock);
	p->quit = true;
	pthread_cond_signal(&p->changed);
	pthread_mutex_unlock(&p->lock);
	pthread_join(p->thread, NULL);
	pthread_cond_destroy(&p->changed);
	pthread_mutex_destroy(&p->lock);
	free(p);
	ram->place = NULL;
}
