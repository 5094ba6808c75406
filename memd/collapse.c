// SPDX-License-Identifier: Apache-2.0
/*
 * Each unit of 2 MiB is looked at before the kernel is asked: MADV_COLLAPSE copies what KSM shares
 * and fills holes, both of which take memory that was saved.
 */
#include "memd/collapse.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/kfile.h"
#include "common/process.h"
#include "common/size.h"
#include "memd/footprint.h"
#include "memd/huge_look.h"
#include "memd/pagemap.h"
#include "memd/smaps.h"
#include "memd/worker.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

#define PAGE	     4096ULL
#define UNIT_PAGES   (COLLAPSE_UNIT_BYTES / PAGE)
#define RANGE_MIN    (16 * MIB) /* smaller ones are stacks and heaps, not a guest's memory */
#define PRESENT_MIN  (UNIT_PAGES * 3 / 4)
#define REST_FACTOR  3
#define TRIES	     3
#define FAILURES_MAX 16 /* in a row: there are no huge pages to be had */

int collapse_advise(int pidfd, uint64_t start)
{
	struct iovec range = {.iov_base = (void *)(uintptr_t)start, .iov_len = COLLAPSE_UNIT_BYTES};

	return syscall(SYS_process_madvise, pidfd, &range, 1, MADV_COLLAPSE, 0) < 0 ? -errno : 0;
}

bool collapse_is_possible(void)
{
	AUTO_FD int self = (int)syscall(SYS_pidfd_open, getpid(), 0);
	struct iovec nothing = {0};

	return self >= 0 && syscall(SYS_process_madvise, self, &nothing, 1, MADV_COLLAPSE, 0) >= 0;
}

struct run {
	struct collapse_job *job;
	const atomic_bool *cancel;
	int pidfd;
	struct huge_look look;
	uint64_t end_us;
	unsigned int failures; /* in a row */
};

/* May it be collapsed? *ret_holes: pages that are not there. Counts what is left. */
static bool look_at(struct run *run, uint64_t start, uint64_t *ret_holes)
{
	uint64_t entries[UNIT_PAGES], present = 0, shared = 0, swapped = 0;
	struct collapse_job *job = run->job;

	if (pread(run->look.pagemap, entries, sizeof(entries),
		  (off_t)(start / PAGE * sizeof(entries[0]))) != sizeof(entries))
		return false;
	for (size_t i = 0; i < UNIT_PAGES; i++) {
		present += (entries[i] & PAGEMAP_PRESENT) != 0;
		swapped += !(entries[i] & PAGEMAP_PRESENT) && entries[i] & PAGEMAP_SWAPPED;
		shared += entries[i] & PAGEMAP_PRESENT && !(entries[i] & PAGEMAP_EXCLUSIVE);
	}
	*ret_holes = UNIT_PAGES - present;
	if (present && shared) {
		job->shared_bytes += present * PAGE;
		return false;
	}
	if (swapped || present < (job->holes ? PRESENT_MIN : UNIT_PAGES)) {
		job->partial_bytes += present * PAGE;
		return false;
	}
	return true;
}

/* 0; -errno that ends the whole of it: the process is gone, or it is not allowed. */
static int collapse(struct run *run, uint64_t start, uint64_t holes)
{
	struct collapse_job *job = run->job;
	int r = -EAGAIN;

	for (unsigned int i = 0; i < TRIES && r == -EAGAIN; i++)
		r = job->advise(run->pidfd, start);
	if (r == -ESRCH || r == -EPERM || r == -ENOSYS)
		return r;
	if (r == 0) {
		job->collapsed_bytes += COLLAPSE_UNIT_BYTES;
		job->filled_bytes += holes * PAGE;
		run->failures = 0;
		return 0;
	}
	job->failed_bytes += COLLAPSE_UNIT_BYTES;
	job->last_error = -r;
	/* A mapping that is not to have huge pages says so by -EINVAL; that is no want of them. */
	run->failures += r == -EINVAL ? 0 : 1;
	return 0;
}

/* 1: go on; 0: enough; -errno. */
static int visit(struct run *run, uint64_t start)
{
	struct collapse_job *job = run->job;
	uint64_t start_us = clock_now_us(), took_us, pace_us, holes;
	int r;

	if (start_us > run->end_us || job->collapsed_bytes >= job->bytes ||
	    run->failures >= FAILURES_MAX || atomic_load(run->cancel))
		return 0;
	if (huge_look_is_huge(&run->look, start)) {
		job->huge_bytes += COLLAPSE_UNIT_BYTES;
		return 1;
	}
	if (!look_at(run, start, &holes))
		return 1;
	r = collapse(run, start, holes);
	if (r < 0)
		return r;
	took_us = clock_now_us() - start_us;
	if (took_us > job->longest_us)
		job->longest_us = took_us;
	pace_us = COLLAPSE_UNIT_BYTES * USEC_PER_SEC / (job->bytes_per_s ? job->bytes_per_s : MIB);
	if (pace_us < (1 + REST_FACTOR) * took_us)
		pace_us = (1 + REST_FACTOR) * took_us;
	return worker_rest_until(start_us + pace_us, run->cancel);
}

/* Could it be guest RAM with huge pages? */
static bool is_ram(const struct smaps_mapping *map)
{
	return !map->shared && !map->file && map->writable && !map->exec &&
	       map->end - map->start >= RANGE_MIN &&
	       (map->name[0] != '[' || !strncmp(map->name, "[anon:", 6));
}

/* What was looked at so far and is there. */
static uint64_t seen_bytes(const struct collapse_job *job)
{
	return job->collapsed_bytes - job->filled_bytes + job->huge_bytes + job->shared_bytes +
	       job->partial_bytes + job->failed_bytes;
}

/* All of it, or until as much was seen as there is of it in memory. 1: enough. */
static int go_through(void *ctx, const struct smaps_mapping *map, uint64_t resident)
{
	uint64_t at =
		(map->start + COLLAPSE_UNIT_BYTES - 1) / COLLAPSE_UNIT_BYTES * COLLAPSE_UNIT_BYTES;
	struct run *run = ctx;
	uint64_t seen = seen_bytes(run->job);
	int r = 1;

	if (!is_ram(map))
		return 0;
	for (; r > 0 && at + COLLAPSE_UNIT_BYTES <= map->end &&
	       seen_bytes(run->job) - seen < resident;
	     at += COLLAPSE_UNIT_BYTES)
		r = visit(run, at);
	return r < 0 ? r : r == 0;
}

static int open_process(struct run *run, char **ret_smaps)
{
	const struct collapse_job *job = run->job;
	struct footprint foot;
	char path[64];
	int r;

	run->pidfd = (int)syscall(SYS_pidfd_open, job->pid, 0);
	if (run->pidfd < 0)
		return -errno;
	/* Open first: a pid that comes again from here on is not ours any more. */
	r = footprint_quick(job->rootfd, job->pid, &foot);
	if (r < 0)
		return r;
	if (job->starttime && foot.starttime != job->starttime)
		return -ESRCH;
	run->look.pagemap = process_open(job->rootfd, job->pid, "pagemap");
	if (run->look.pagemap < 0)
		return run->look.pagemap;
	snprintf(path, sizeof(path), "proc/%d/smaps", (int)job->pid);
	return kfile_read_all(job->rootfd, path, ret_smaps, NULL);
}

void collapse_run(void *arg, const atomic_bool *cancel)
{
	struct collapse_job *job = arg;
	uint64_t start_us = clock_now_us();
	struct run run = {.job = job,
			  .cancel = cancel,
			  .pidfd = -1,
			  .look.pagemap = -1,
			  .end_us = start_us + job->limit_us};
	AUTO_FREE char *smaps = NULL;

	job->error = open_process(&run, &smaps);
	if (job->error == 0)
		job->error = smaps_each(smaps, go_through, &run);
	if (job->error > 0)
		job->error = 0; /* it had enough */
	cleanup_fd(&run.look.pagemap);
	cleanup_fd(&run.pidfd);
	job->took_us = clock_now_us() - start_us;
}
