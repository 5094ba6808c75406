/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The private memory of a process moves to another node, from outside: move_pages(2) in slices, by
 * a worker. For hypervisors that cannot do it themselves. Source: mm/migrate.c, move_pages(2).
 */
#ifndef MEMD_MIGRATE_H
#define MEMD_MIGRATE_H

#include <stdatomic.h>
#include <stdint.h>
#include <sys/types.h>

struct migrate_job {
	/* asked for */
	int rootfd;
	pid_t pid;
	uint64_t starttime; /* of the process that is meant */
	uint32_t node;
	uint64_t bytes_per_s;
	uint64_t limit_us; /* it ends with -ETIMEDOUT after so long */
	/* what came of it */
	int error;	       /* -ESRCH, -EPERM, -errno of reading; 0: all was looked at */
	uint64_t looked_bytes; /* present private memory */
	uint64_t moved_bytes;
	uint64_t left_bytes; /* elsewhere still: shared with others (KSM), pinned or busy */
	uint64_t took_us,
		longest_us; /* in all; of one call, waiting for other processors included */
};

/*
 * A worker_run_fn over a struct migrate_job. Huge pages go first and whole. Rests three times as
 * long as each 8 MiB took of a processor.
 */
void migrate_run(void *job, const atomic_bool *cancel);

#endif
