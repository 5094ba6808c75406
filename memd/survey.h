/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Expensive looks at guests' processes (smaps, numa_maps: 30 ms per GiB of small pages), one at a
 * time on a thread of their own, so that a large guest never holds up a tick.
 */
#ifndef MEMD_SURVEY_H
#define MEMD_SURVEY_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "memd/footprint.h"

struct survey;

struct survey_result {
	uint64_t guest; /* as given to survey_start() */
	int error;	/* of footprint_full(), 0 fine */
	uint64_t start_us, took_us;
	struct footprint footprint;
	uint64_t threads, vhost; /* that work for it, and of these vhost's; POL_ABSENT: not known */
};

/* rootfd must outlive the survey. -ENOMEM, -errno of eventfd(2) and pthread_create(3). */
int survey_open(int rootfd, struct survey **ret_survey);
/* Waits for a look under way. NULL is fine. */
void survey_close(struct survey *survey);

/* Readable when a result waits. */
int survey_fd(const struct survey *survey);

/*
 * Look at a process. -EBUSY: still looking, or resting: it works a tenth of the time at most, since
 * a look holds the guest's mmap lock and costs CPU; -ENOMEM.
 */
int survey_start(struct survey *survey, uint64_t guest, pid_t pid);

/* Take the result. 0, or -EAGAIN when there is none. */
int survey_take(struct survey *survey, struct survey_result *ret_result);

#endif
