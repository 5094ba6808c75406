/* SPDX-License-Identifier: Apache-2.0 */
/*
 * DAMON through its sysfs interface: one kdamond that watches given ranges of some processes'
 * memory. It samples one page of each region at a time and sees accesses of KVM guests, too. What
 * it costs is bounded by the number of regions, whatever the size of the memory.
 * Source: Documentation/admin-guide/mm/damon/usage.rst; what is used here is there since 6.6.
 *
 * All of this may wait for the kdamond, some seconds: not for the loop's thread.
 */
#ifndef MEMD_DAMON_H
#define MEMD_DAMON_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/undo.h"

#define DAMON_TARGETS_MAX 32
#define DAMON_RANGES_MAX  8

/* Memory is idle that was not seen accessed for at least this long. */
#define DAMON_WINDOW_US 10000000ULL

struct damon_target {
	pid_t pid;
	size_t n;
	struct {
		uint64_t start, end;
	} ranges[DAMON_RANGES_MAX];
};

/* Nobody has set a kdamond up: 0; -EBUSY: somebody has; -ENOENT: no such interface. *ret_why (may
 * be NULL): the same in words, static; set when it is not 0. */
int damon_look(int rootfd, const char **ret_why);

/*
 * Before the first start, on the thread of the journal: what a crash leaves behind is written down.
 * -errno of undo_record().
 */
int damon_record(struct undo *undo);

/* All of it was taken away again. */
void damon_forget(struct undo *undo);

/* The process's private memory that could be a guest's; n 0: it has none. -ESRCH; -errno. */
int damon_target_fill(int rootfd, pid_t pid, struct damon_target *ret_target);

/*
 * Watch these. *ret_why (static text) when it cannot be: -EOPNOTSUPP: the kernel lacks what is
 * needed; -EBUSY: somebody uses DAMON; -errno of a write. Nothing stays behind then.
 */
int damon_start(int rootfd, const struct damon_target *targets, size_t n, const char **ret_why);

/* Of each target in its order, bytes accessed within the window or a little more. -errno. */
int damon_read(int rootfd, const struct damon_target *targets, size_t n, uint64_t *ret_hot_bytes);

/* CPU time of the kdamond so far. -ESRCH: none runs (all it watched are gone, or it was stopped).
 */
int damon_cpu_us(int rootfd, uint64_t *ret_us);

/* Stop watching and take everything away again. -errno; fine when nothing is there. */
int damon_stop(int rootfd);

/* Ends a read that waits for the kdamond: from another thread. */
void damon_interrupt(int rootfd);

#endif
