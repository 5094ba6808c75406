// SPDX-License-Identifier: Apache-2.0
/*
 * The event loop over epoll. Sources may come and go in any callback, and vCPU threads may change
 * them too while they hold bus_lock: a removed source is only marked dead, and freed by the loop
 * once no event of the current batch can name it. Timers are timerfds. loop_call() has a lock of
 * its own, so that it can be used with or without bus_lock.
 */
#include "vmm/loop.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/log.h"

#define LOOP_BATCH 32
/* Distinct calls that can wait at one time: there are few callers, and each waits once. */
#define LOOP_CALLS_MAX 64

struct loop_source {
	struct loop *loop;
	int fd;
	bool is_timer; /* the fd is ours */
	bool dead;
	loop_fn fn;
	void *ctx;
	struct loop_source *next, **link;
};

struct loop_deferred {
	void (*fn)(void *ctx);
	void *ctx;
};

struct loop {
	struct bus *bus;
	int epoll_fd;
	int wake_fd;
	struct loop_source *sources;
	struct loop_source *dead;
	bool exiting;
	int exit_code;

	pthread_mutex_t calls_lock;
	size_t n_calls;
	struct loop_deferred calls[LOOP_CALLS_MAX];
};

struct loop *loop_new(struct bus *bus)
{
	struct loop *loop = calloc(1, sizeof(*loop));
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};

	if (!loop)
		return NULL;
	loop->bus = bus;
	pthread_mutex_init(&loop->calls_lock, NULL);
	loop->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (loop->wake_fd < 0 || loop->epoll_fd < 0 ||
	    epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, loop->wake_fd, &event) < 0) {
		loop_free(loop);
		return NULL;
	}
	return loop;
}

static void loop_bury(struct loop_source **list)
{
	while (*list) {
		struct loop_source *source = *list;

		*list = source->next;
		if (source->is_timer && source->fd >= 0)
			close(source->fd);
		free(source);
	}
}

void loop_free(struct loop *loop)
{
	if (!loop)
		return;
	loop_bury(&loop->dead);
	loop_bury(&loop->sources);
	cleanup_fd(&loop->epoll_fd);
	cleanup_fd(&loop->wake_fd);
	pthread_mutex_destroy(&loop->calls_lock);
	free(loop);
}

static void loop_link(struct loop_source **list, struct loop_source *source)
{
	source->next = *list;
	source->link = list;
	if (source->next)
		source->next->link = &source->next;
	*list = source;
}

struct loop_source *loop_add(struct loop *loop, int fd, uint32_t events, loop_fn fn, void *ctx)
{
	struct loop_source *source = calloc(1, sizeof(*source));
	struct epoll_event event = {.events = events, .data.ptr = source};

	if (!source) {
		errno = ENOMEM;
		return NULL;
	}
	*source = (struct loop_source){.loop = loop, .fd = fd, .fn = fn, .ctx = ctx};
	if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0) {
		int saved = errno;

		free(source);
		errno = saved;
		return NULL;
	}
	loop_link(&loop->sources, source);
	return source;
}

void loop_modify(struct loop_source *source, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.ptr = source};

	if (epoll_ctl(source->loop->epoll_fd, EPOLL_CTL_MOD, source->fd, &event) < 0)
		log_err("loop: cannot watch fd %d: %m", source->fd);
}

void loop_remove(struct loop_source *source)
{
	if (!source || source->dead)
		return;
	epoll_ctl(source->loop->epoll_fd, EPOLL_CTL_DEL, source->fd, NULL);
	source->dead = true;
	*source->link = source->next;
	if (source->next)
		source->next->link = source->link;
	if (source->is_timer)
		cleanup_fd(&source->fd);
	source->fd = -1;
	loop_link(&source->loop->dead, source);
}

struct loop_source *loop_timer(struct loop *loop, loop_fn fn, void *ctx)
{
	AUTO_FD int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	struct loop_source *source;

	if (fd < 0)
		return NULL;
	source = loop_add(loop, fd, EPOLLIN, fn, ctx);
	if (!source)
		return NULL;
	source->is_timer = true;
	TAKE_FD(fd);
	return source;
}

static struct timespec loop_timespec(uint64_t us)
{
	return (struct timespec){
		.tv_sec = (time_t)(us / USEC_PER_SEC),
		.tv_nsec = (long)(us % USEC_PER_SEC) * 1000,
	};
}

void loop_timer_set(struct loop_source *timer, uint64_t first_us, uint64_t period_us)
{
	struct itimerspec when = {
		.it_value = loop_timespec(first_us),
		.it_interval = loop_timespec(first_us ? period_us : 0),
	};

	if (timerfd_settime(timer->fd, 0, &when, NULL) < 0)
		log_err("loop: cannot set a timer: %m");
}

static void loop_wake(struct loop *loop)
{
	uint64_t one = 1;

	/* EAGAIN: it is awake already. */
	while (write(loop->wake_fd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
}

void loop_call(struct loop *loop, void (*fn)(void *ctx), void *ctx)
{
	size_t i;

	pthread_mutex_lock(&loop->calls_lock);
	for (i = 0; i < loop->n_calls; i++)
		if (loop->calls[i].fn == fn && loop->calls[i].ctx == ctx)
			break;
	if (i == loop->n_calls) {
		if (i == LOOP_CALLS_MAX)
			abort(); /* a caller of ours invents contexts without end */
		loop->calls[loop->n_calls++] = (struct loop_deferred){.fn = fn, .ctx = ctx};
	}
	pthread_mutex_unlock(&loop->calls_lock);
	loop_wake(loop);
}

/* Only the calls that wait now: one that calls loop_call again gets the next round. */
static void loop_run_calls(struct loop *loop)
{
	struct loop_deferred calls[LOOP_CALLS_MAX];
	uint64_t count;
	size_t n;

	while (read(loop->wake_fd, &count, sizeof(count)) < 0 && errno == EINTR)
		;
	pthread_mutex_lock(&loop->calls_lock);
	n = loop->n_calls;
	for (size_t i = 0; i < n; i++)
		calls[i] = loop->calls[i];
	loop->n_calls = 0;
	pthread_mutex_unlock(&loop->calls_lock);
	for (size_t i = 0; i < n; i++)
		calls[i].fn(calls[i].ctx);
}

static void loop_dispatch(struct loop_source *source, uint32_t events)
{
	uint64_t ticks;

	if (source->dead)
		return;
	/* Nothing to read: it was set again between the wake-up and now, so it is not due. */
	if (source->is_timer && read(source->fd, &ticks, sizeof(ticks)) < 0)
		return;
	source->fn(source->ctx, events);
}

int loop_run(struct loop *loop)
{
	struct epoll_event events[LOOP_BATCH];

	while (!loop->exiting) {
		int n = epoll_wait(loop->epoll_fd, events, LOOP_BATCH, -1);

		if (n < 0 && errno != EINTR) {
			int err = errno;

			log_err("loop: epoll_wait: %s", strerror(err));
			return -err;
		}
		for (int i = 0; i < n && !loop->exiting; i++) {
			/* One lock per callback: vCPUs get their turn between any two. */
			bus_lock(loop->bus);
			if (events[i].data.ptr)
				loop_dispatch(events[i].data.ptr, events[i].events);
			else
				loop_run_calls(loop);
			bus_unlock(loop->bus);
		}
		bus_lock(loop->bus);
		loop_bury(&loop->dead);
		bus_unlock(loop->bus);
	}
	loop->exiting = false;
	return loop->exit_code;
}

void loop_exit(struct loop *loop, int code)
{
	loop->exiting = true;
	loop->exit_code = code;
}
