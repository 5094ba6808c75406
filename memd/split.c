// SPDX-License-Identifier: Apache-2.0
/* See split.h. */
#include "memd/split.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/process.h"
#include "memd/footprint.h"
#include "memd/host.h"
#include "memd/huge_look.h"
#include "memd/smaps.h"
#include "memd/worker.h"

#ifndef MADV_COLD
#define MADV_COLD 20
#endif

#define BATCH	    32 /* huge pages at a time: a millisecond or two */
#define TIME_US	    (10 * USEC_PER_SEC)
#define REST_FACTOR 9
/* Larger mappings are address space kept free. */
#define MAPPING_MOST (1ULL << 44)

struct job {
	int rootfd;
	split_advise_fn advise;
	struct split_result result;
	uint64_t next; /* id: there it goes on */
	size_t n;
	struct split_guest guests[];
};

struct split {
	int rootfd;
	split_advise_fn advise;
	struct worker *worker;
	uint64_t next;
};

/* The process that is gone through. */
struct run {
	const atomic_bool *cancel;
	split_advise_fn advise;
	uint64_t end_us;
	int pidfd;
	struct huge_look look;
	struct iovec pages[BATCH];
	size_t n;
	struct split_result *result;
};

ssize_t split_advise(int pidfd, const struct iovec *pages, size_t n)
{
	ssize_t done = syscall(SYS_process_madvise, pidfd, pages, n, MADV_COLD, 0);

	return done < 0 ? -errno : done;
}

/* 0: go on; 1: not in this mapping (it is locked, or of a pool); -errno: at all. */
static int flush(struct run *run)
{
	size_t n = run->n;
	ssize_t done;

	run->n = 0;
	if (!n)
		return 0;
	if (clock_now_us() > run->end_us)
		return -ECANCELED;
	done = run->advise(run->pidfd, run->pages, n);
	if (done == -EINVAL)
		return 1;
	/* Busy, or interrupted: next time. */
	if (done < 0)
		return done == -EAGAIN || done == -EINTR || done == -ENOMEM ? 0 : (int)done;
	for (size_t i = 0; i < n; i++)
		if (!huge_look_is_huge(&run->look, (uint64_t)(uintptr_t)run->pages[i].iov_base))
			run->result->split_bytes += HUGE_UNIT_BYTES;
	return 0;
}

static int go_through(struct run *run, const struct smaps_mapping *map)
{
	uint64_t at = (map->start + HUGE_UNIT_BYTES - 1) / HUGE_UNIT_BYTES * HUGE_UNIT_BYTES;
	int r = 0;

	if (map->shared || map->file || !map->writable || map->end - map->start >= MAPPING_MOST)
		return 0;
	for (; r == 0 && at + HUGE_UNIT_BYTES <= map->end; at += HUGE_UNIT_BYTES) {
		if (atomic_load(run->cancel))
			return -ECANCELED;
		if (!huge_look_is_huge(&run->look, at))
			continue;
		/* What was split would still seem to be huge. */
		if (run->look.old)
			return -EOPNOTSUPP;
		run->pages[run->n++] = (struct iovec){
			.iov_base = (void *)(uintptr_t)at,
			.iov_len = host_page_bytes(),
		};
		if (run->n == BATCH)
			r = flush(run);
	}
	if (r == 0)
		r = flush(run);
	run->n = 0;
	return r < 0 ? r : 0;
}

int split_process(int rootfd, const struct split_guest *guest, split_advise_fn advise,
		  uint64_t end_us, const atomic_bool *cancel, struct split_result *result)
{
	AUTO_FD int pagemap = process_open(rootfd, guest->pid, "pagemap");
	AUTO_FD int pidfd = (int)syscall(SYS_pidfd_open, guest->pid, 0);
	int r = pidfd < 0 ? -errno : 0;
	struct run run = {
		.end_us = end_us,
		.cancel = cancel,
		.advise = advise,
		.pidfd = pidfd,
		.look.pagemap = pagemap,
		.result = result,
	};
	AUTO_FREE char *maps = NULL;
	struct smaps_mapping map;
	char *save = NULL;

	if (r < 0 || pagemap < 0)
		return r < 0 ? r : pagemap;
	r = footprint_read_text(rootfd, guest->pid, guest->starttime, "maps", &maps);
	if (r < 0)
		return r;
	for (char *line = strtok_r(maps, "\n", &save); r == 0 && line;
	     line = strtok_r(NULL, "\n", &save))
		if (smaps_header(line, &map) > 0)
			r = go_through(&run, &map);
	return r;
}

static void work(void *arg, const atomic_bool *cancel)
{
	uint64_t end_us = clock_now_us() + TIME_US;
	struct job *job = arg;

	for (size_t i = 0; i < job->n; i++) {
		const struct split_guest *guest = &job->guests[i];
		int r;

		if (guest->id < job->next)
			continue;
		job->next = guest->id;
		if (atomic_load(cancel) || clock_now_us() > end_us)
			return;
		r = split_process(job->rootfd, guest, job->advise, end_us, cancel, &job->result);
		if (r < 0 && r != -ESRCH && r != -ECANCELED)
			job->result.error = r;
	}
	job->next = 0;
}

int split_open(int rootfd, split_advise_fn advise, struct split **ret_split)
{
	struct split *split = calloc(1, sizeof(*split));
	int r;

	if (!split)
		return -ENOMEM;
	split->rootfd = rootfd;
	split->advise = advise;
	r = worker_open(work, REST_FACTOR, &split->worker);
	if (r < 0)
		free(split);
	else
		*ret_split = split;
	return r;
}

void split_close(struct split *split)
{
	void *job = NULL;

	if (!split)
		return;
	worker_close(split->worker, &job);
	free(job);
	free(split);
}

void split_cancel(struct split *split)
{
	worker_cancel(split->worker);
}

int split_start(struct split *split, const struct split_guest *guests, size_t n)
{
	struct job *job;
	int r;

	if (!worker_may_start(split->worker))
		return -EBUSY;
	job = calloc(1, sizeof(*job) + n * sizeof(*guests));
	if (!job)
		return -ENOMEM;
	job->rootfd = split->rootfd;
	job->advise = split->advise;
	job->next = split->next;
	job->n = n;
	memcpy(job->guests, guests, n * sizeof(*guests));
	r = worker_start(split->worker, job);
	if (r < 0)
		free(job);
	return r;
}

int split_take(struct split *split, struct split_result *ret_result)
{
	struct job *job = worker_take(split->worker);

	if (!job)
		return -EAGAIN;
	*ret_result = job->result;
	split->next = job->next;
	free(job);
	return 0;
}
