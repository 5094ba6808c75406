/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An event loop for device tests that turns only when the test says so: loop_call runs at
 * fake_loop_run, timers when fake_timer_fire is called, fds by fake_loop_poll. Include it once per
 * test program: it takes the place of loop.c.
 */
#ifndef MEMD_TESTS_FAKE_LOOP_H
#define MEMD_TESTS_FAKE_LOOP_H

#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>

#include "vmm/loop.h"

struct loop_source {
	bool used, is_timer;
	int fd;
	uint32_t events;
	loop_fn fn;
	void *ctx;
	uint64_t first_us, period_us;
};

struct loop {
	struct loop_source sources[32];
	void (*call)(void *ctx);
	void *call_ctx;
};

static inline struct loop_source *fake_source(struct loop *loop, int fd, loop_fn fn, void *ctx)
{
	for (size_t i = 0; i < 32; i++) {
		if (loop->sources[i].used)
			continue;
		loop->sources[i] =
			(struct loop_source){.used = true, .fd = fd, .fn = fn, .ctx = ctx};
		return &loop->sources[i];
	}
	abort();
}

struct loop_source *loop_add(struct loop *loop, int fd, uint32_t events, loop_fn fn, void *ctx)
{
	struct loop_source *source = fake_source(loop, fd, fn, ctx);

	source->events = events;
	return source;
}

void loop_modify(struct loop_source *source, uint32_t events)
{
	source->events = events;
}

void loop_remove(struct loop_source *source)
{
	if (source)
		source->used = false;
}

struct loop_source *loop_timer(struct loop *loop, loop_fn fn, void *ctx)
{
	struct loop_source *timer = fake_source(loop, -1, fn, ctx);

	timer->is_timer = true;
	return timer;
}

void loop_timer_set(struct loop_source *timer, uint64_t first_us, uint64_t period_us)
{
	timer->first_us = first_us;
	timer->period_us = period_us;
}

void loop_call(struct loop *loop, void (*fn)(void *ctx), void *ctx)
{
	loop->call = fn;
	loop->call_ctx = ctx;
}

static inline void fake_loop_run(struct loop *loop)
{
	void (*call)(void *ctx) = loop->call;

	loop->call = NULL;
	if (call)
		call(loop->call_ctx);
}

/* The only timer there is. */
static inline struct loop_source *fake_timer(struct loop *loop)
{
	for (size_t i = 0; i < 32; i++)
		if (loop->sources[i].used && loop->sources[i].is_timer)
			return &loop->sources[i];
	return NULL;
}

static inline void fake_timer_fire(struct loop *loop)
{
	struct loop_source *timer = fake_timer(loop);

	timer->fn(timer->ctx, 1);
}

/* One turn over the fds that are watched and ready. Returns how many there were. */
static inline unsigned int fake_loop_poll(struct loop *loop)
{
	unsigned int n = 0;

	for (size_t i = 0; i < 32; i++) {
		struct loop_source *source = &loop->sources[i];
		/* EPOLLIN and EPOLLOUT are POLLIN and POLLOUT. */
		struct pollfd pfd = {.fd = source->fd, .events = (short)source->events};

		if (!source->used || source->is_timer || poll(&pfd, 1, 0) != 1)
			continue;
		source->fn(source->ctx, (uint32_t)pfd.revents);
		n++;
	}
	return n;
}

#endif
