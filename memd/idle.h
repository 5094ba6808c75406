/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What guests use of their memory as the host's kernel sees it, looked at on a thread beside the
 * tick: by DAMON, some guests at a time and in turns, and by the generations of the
 * multi-generational LRU for guests in a cgroup of their own.
 */
#ifndef MEMD_IDLE_H
#define MEMD_IDLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum idle_source { IDLE_NONE, IDLE_MGLRU, IDLE_DAMON };
const char *idle_source_name(enum idle_source source); /* "none", "mglru", "damon" */

struct idle_guest {
	uint64_t guest;
	pid_t pid;
	const char *cgroup; /* of its own, from the hierarchy's root: "/a/b"; NULL: none */

	/* the result; IDLE_NONE: nothing new */
	enum idle_source source;
	uint64_t hot_bytes, window_us; /* touched within so long */
	uint64_t age_us;	       /* before so long ago, or new since */
};

/* Of the sources, for whoever asks. */
struct idle_state {
	const char *mglru_why, *damon_why; /* why it is not used, static text; NULL: it is */
	bool damon_never;		   /* this kernel cannot */
	bool watches;			   /* a kdamond of ours runs */
	size_t watched;			   /* guests that it watches now */
	uint64_t cpu_ppm;		   /* of one core that it takes; POL_ABSENT: not known */
};

struct idle;

/* rootfd must outlive it. -ENOMEM, -errno of eventfd(2) and pthread_create(3). */
int idle_open(int rootfd, struct idle **ret_idle);

/* Ends a look under way and takes the kdamond away. NULL is fine. */
void idle_close(struct idle *idle);

/* Readable when a look is done. */
int idle_fd(const struct idle *idle);

/*
 * Look at these guests; they are copied. use_damon: a kdamond may be set up or kept, for which the
 * journal has been written (damon.h); without it one that runs is taken away. -EBUSY: one look is
 * under way, or not taken; -ENOMEM.
 */
int idle_start(struct idle *idle, const struct idle_guest *guests, size_t n, bool use_damon);

/* The guests with their results, until idle_done(). Returns how many; 0: none are done. */
size_t idle_take(struct idle *idle, const struct idle_guest **ret_guests);
void idle_done(struct idle *idle);

/* As of the last look that was taken. */
const struct idle_state *idle_state(const struct idle *idle);

#endif
