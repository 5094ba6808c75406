/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Huge pages of another process made whole again: process_madvise(MADV_COLLAPSE), 2 MiB at a time,
 * by a worker. Needs Linux 6.1, CAP_SYS_NICE and the right to look into the process (ptrace(2)).
 * Source: mm/khugepaged.c, mm/madvise.c, Documentation/admin-guide/mm/pagemap.rst.
 */
#ifndef MEMD_COLLAPSE_H
#define MEMD_COLLAPSE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "memd/huge_look.h"

#define COLLAPSE_UNIT_BYTES HUGE_UNIT_BYTES

/* process_madvise(pidfd, [start, 2 MiB], MADV_COLLAPSE): 0 or -errno. */
typedef int (*collapse_advise_fn)(int pidfd, uint64_t start);
int collapse_advise(int pidfd, uint64_t start);

/* Does this kernel know it? Asks with nothing, of ourselves. */
bool collapse_is_possible(void);

struct collapse_job {
	/* asked for */
	int rootfd;
	pid_t pid;
	uint64_t starttime; /* of the process meant */
	uint64_t bytes;	    /* at most */
	uint64_t bytes_per_s;
	uint64_t limit_us; /* it ends after so long, with what it has */
	bool holes;	   /* units of which a quarter is not there, too: they cost memory */
	collapse_advise_fn advise;
	/* what came of it */
	int error;		  /* -ESRCH, -EPERM, -errno of reading; 0: as far as it went */
	uint64_t collapsed_bytes; /* made huge */
	uint64_t filled_bytes;	  /* of these, what was not there before */
	uint64_t huge_bytes;	  /* was huge already */
	uint64_t shared_bytes;	  /* left: some of the unit is shared with others (KSM) */
	uint64_t partial_bytes;	  /* left: too little of the unit is there, or it is swapped out */
	uint64_t failed_bytes;	  /* the kernel found no huge page, or the unit was busy */
	int last_error;		  /* and said this, errno */
	uint64_t took_us, longest_us;
};

/* A worker_run_fn over a struct collapse_job. Rests three times as long as each unit took. */
void collapse_run(void *job, const atomic_bool *cancel);

#endif
