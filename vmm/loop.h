/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The main thread's event loop: epoll with one callback per fd. Everything that is not guest code
 * runs here: QMP, device queues (by ioeventfd), timers, serial input, signals.
 */
#ifndef MEMD_VMM_LOOP_H
#define MEMD_VMM_LOOP_H

#include <stdint.h>

#include "vmm/bus.h"

struct loop;
struct loop_source;

typedef void (*loop_fn)(void *ctx, uint32_t events); /* EPOLLIN... */

/* Each callback runs with bus_lock held. */
struct loop *loop_new(struct bus *bus);
void loop_free(struct loop *loop);

/* Watch fd (stays the caller's). NULL: -errno in errno. */
struct loop_source *loop_add(struct loop *loop, int fd, uint32_t events, loop_fn fn, void *ctx);
void loop_modify(struct loop_source *source, uint32_t events);
/* Safe from within any callback, its own too. NULL is fine. */
void loop_remove(struct loop_source *source);

/* A timer, disarmed; loop_timer_set with 0 disarms; period_us 0 is once. */
struct loop_source *loop_timer(struct loop *loop, loop_fn fn, void *ctx);
void loop_timer_set(struct loop_source *timer, uint64_t first_us, uint64_t period_us);

/*
 * Run fn once in the loop's thread, from any thread, without waiting. A call with the same fn and
 * ctx that has not run yet is not queued twice.
 */
void loop_call(struct loop *loop, void (*fn)(void *ctx), void *ctx);

/* Until loop_exit(); returns its code. */
int loop_run(struct loop *loop);
void loop_exit(struct loop *loop, int code);

#endif
