// SPDX-License-Identifier: Apache-2.0
/* The loop: fds, timers, calls from other threads, and sources that go away at a bad moment. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common/clock.h"
#include "vmm/loop.h"

struct world {
	struct bus *bus;
	struct loop *loop;
	struct loop_source *a, *b;
	int fd_a, fd_b;
	int count_a, count_b, ticks, calls;
	uint64_t began_us;
};

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	w->bus = bus_new();
	w->loop = loop_new(w->bus);
	w->fd_a = eventfd(0, EFD_NONBLOCK);
	w->fd_b = eventfd(0, EFD_NONBLOCK);
	w->began_us = clock_now_us();
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	loop_free(w->loop);
	bus_free(w->bus);
	close(w->fd_a);
	close(w->fd_b);
	free(w);
	return 0;
}

static void signal_fd(int fd)
{
	uint64_t one = 1;

	assert_int_equal(write(fd, &one, sizeof(one)), sizeof(one));
}

static void exit_7(void *ctx, uint32_t events)
{
	struct world *w = ctx;

	w->count_a++;
	loop_exit(w->loop, 7);
}

static void fd_wakes_and_exits(void **state)
{
	struct world *w = *state;

	w->a = loop_add(w->loop, w->fd_a, EPOLLIN, exit_7, w);
	signal_fd(w->fd_a);
	assert_int_equal(loop_run(w->loop), 7);
	assert_int_equal(w->count_a, 1);
	loop_remove(w->a);
	loop_remove(NULL);
}

/* Both are ready in one batch; whoever comes first removes the other, and itself. */
static void remove_both(struct world *w)
{
	loop_remove(w->a);
	loop_remove(w->b);
}

static void on_a(void *ctx, uint32_t events)
{
	struct world *w = ctx;

	w->count_a++;
	remove_both(w);
}

static void on_b(void *ctx, uint32_t events)
{
	struct world *w = ctx;

	w->count_b++;
	remove_both(w);
}

static void on_exit_call(void *ctx)
{
	struct world *w = ctx;

	loop_exit(w->loop, w->calls);
}

static void on_end(void *ctx, uint32_t events)
{
	on_exit_call(ctx);
}

static void removed_in_the_same_batch(void **state)
{
	struct world *w = *state;

	w->a = loop_add(w->loop, w->fd_a, EPOLLIN, on_a, w);
	w->b = loop_add(w->loop, w->fd_b, EPOLLIN, on_b, w);
	signal_fd(w->fd_a);
	signal_fd(w->fd_b);
	loop_timer_set(loop_timer(w->loop, on_end, w), 20000, 0);
	assert_int_equal(loop_run(w->loop), 0);
	assert_int_equal(w->count_a + w->count_b, 1);
}

/* A removed source must not fire, though its fd stays ready, and the fd can be watched anew. */
static void on_removed(void *ctx, uint32_t events)
{
	fail_msg("a removed source fired");
}

static void removed_stays_silent(void **state)
{
	struct world *w = *state;

	loop_remove(loop_add(w->loop, w->fd_a, EPOLLIN, on_removed, w));
	signal_fd(w->fd_a);
	w->a = loop_add(w->loop, w->fd_a, EPOLLIN, exit_7, w);
	assert_non_null(w->a);
	assert_int_equal(loop_run(w->loop), 7);
}

static void cannot_watch(void **state)
{
	struct world *w = *state;

	assert_null(loop_add(w->loop, -1, EPOLLIN, exit_7, w));
	assert_int_equal(errno, EBADF);
}

static void modify_changes_the_events(void **state)
{
	struct world *w = *state;

	w->a = loop_add(w->loop, w->fd_a, 0, exit_7, w);
	signal_fd(w->fd_a);
	loop_modify(w->a, EPOLLIN);
	assert_int_equal(loop_run(w->loop), 7);
}

static void on_tick(void *ctx, uint32_t events)
{
	struct world *w = ctx;

	if (++w->ticks == 3)
		loop_exit(w->loop, 3);
}

static void periodic_timer(void **state)
{
	struct world *w = *state;
	struct loop_source *timer = loop_timer(w->loop, on_tick, w);
	uint64_t took;

	loop_timer_set(timer, 20000, 10000);
	assert_int_equal(loop_run(w->loop), 3);
	took = clock_now_us() - w->began_us;
	assert_true(took >= 40000);
	loop_remove(timer);
}

static void disarmed_timer(void **state)
{
	struct world *w = *state;
	struct loop_source *never = loop_timer(w->loop, on_removed, w);
	struct loop_source *once = loop_timer(w->loop, exit_7, w);

	loop_timer_set(never, 1000, 1000);
	loop_timer_set(never, 0, 1000);
	loop_timer_set(once, 30000, 0);
	assert_int_equal(loop_run(w->loop), 7);
	assert_int_equal(w->count_a, 1);
}

static void count_call(void *ctx)
{
	struct world *w = ctx;

	/* The loop holds the lock for us: the other thread cannot be inside it. */
	if (++w->calls < 3)
		loop_call(w->loop, count_call, w);
	else
		loop_exit(w->loop, w->calls);
}

static void *call_from_thread(void *ctx)
{
	struct world *w = ctx;

	usleep(10000);
	loop_call(w->loop, count_call, w);
	return NULL;
}

static void calls_from_other_threads(void **state)
{
	struct world *w = *state;
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, call_from_thread, w), 0);
	assert_int_equal(loop_run(w->loop), 3);
	pthread_join(thread, NULL);
}

static void count_once(void *ctx)
{
	((struct world *)ctx)->calls++;
}

static void waiting_calls_are_one(void **state)
{
	struct world *w = *state;

	for (int i = 0; i < 1000; i++)
		loop_call(w->loop, count_once, w);
	loop_call(w->loop, on_exit_call, w);
	assert_int_equal(loop_run(w->loop), 1);
}

/* A callback has the device lock; between callbacks others get it. */
static void *take_lock(void *ctx)
{
	struct world *w = ctx;

	bus_lock(w->bus);
	w->count_b = w->count_a;
	bus_unlock(w->bus);
	return NULL;
}

static pthread_t locker;

static void hold_lock(void *ctx, uint32_t events)
{
	struct world *w = ctx;
	uint64_t n;

	assert_int_equal(read(w->fd_a, &n, sizeof(n)), sizeof(n));
	assert_int_equal(pthread_create(&locker, NULL, take_lock, w), 0);
	usleep(50000);
	w->count_a = 1; /* what the other thread must see */
	loop_exit(w->loop, 0);
}

static void callbacks_hold_the_lock(void **state)
{
	struct world *w = *state;

	w->a = loop_add(w->loop, w->fd_a, EPOLLIN, hold_lock, w);
	signal_fd(w->fd_a);
	assert_int_equal(loop_run(w->loop), 0);
	pthread_join(locker, NULL);
	assert_int_equal(w->count_b, 1);
}

#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
int main(void)
{
	const struct CMUnitTest tests[] = {
		T(fd_wakes_and_exits),
		T(removed_in_the_same_batch),
		T(removed_stays_silent),
		T(cannot_watch),
		T(modify_changes_the_events),
		T(periodic_timer),
		T(disarmed_timer),
		T(calls_from_other_threads),
		T(waiting_calls_are_one),
		T(callbacks_hold_the_lock),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
