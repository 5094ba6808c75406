// SPDX-License-Identifier: Apache-2.0
/* Read, write, read back; see pool_work.h. */
#include "memd/pool_work.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>

#include "common/clock.h"
#include "common/kfile.h"
#include "common/size.h"
#include "policy/pool.h"

/* One write: the kernel cannot be stopped within it. */
#define STEP_BYTES (256 * MIB)

void pool_path(uint32_t node, uint64_t page_bytes, const char *file, char *buf, size_t n)
{
	if (node == HUGEPAGE_ANY_NODE)
		snprintf(buf, n, "sys/kernel/mm/hugepages/hugepages-%" PRIu64 "kB/%s",
			 page_bytes / 1024, file);
	else
		snprintf(buf, n,
			 "sys/devices/system/node/node%u/hugepages/hugepages-%" PRIu64 "kB/%s",
			 node, page_bytes / 1024, file);
}

static int read_count(const struct pool_job *job, uint32_t node, const char *file,
		      uint64_t *ret_value)
{
	char path[POOL_PATH_MAX];

	pool_path(node, job->page_bytes, file, path, sizeof(path));
	return kfile_read_u64(job->rootfd, path, ret_value);
}

/* How many there are, and what is in use or reserved of them. */
static int look(struct pool_job *job, uint64_t *ret_total)
{
	uint64_t free = 0, reserved = 0, surplus = 0;
	int r = read_count(job, job->node, "nr_hugepages", ret_total);

	if (r == 0)
		r = read_count(job, job->node, "free_hugepages", &free);
	/* Reservations are told of the whole host only. */
	if (r == 0)
		r = read_count(job, HUGEPAGE_ANY_NODE, "resv_hugepages", &reserved);
	if (r < 0)
		return r;
	(void)read_count(job, job->node, "surplus_hugepages", &surplus);
	job->surplus = surplus;
	job->floor = pol_pool_floor(*ret_total, free, reserved);
	return 0;
}

static int set(const struct pool_job *job, uint64_t pages)
{
	char path[POOL_PATH_MAX];

	pool_path(job->node, job->page_bytes, "nr_hugepages", path, sizeof(path));
	return job->write(job->rootfd, path, pages);
}

/* Moves what can be moved together. False: that cannot be asked for here. */
static bool compact(const struct pool_job *job)
{
	char path[64];

	if (job->node == HUGEPAGE_ANY_NODE)
		return job->write(job->rootfd, "proc/sys/vm/compact_memory", 1) == 0;
	snprintf(path, sizeof(path), "sys/devices/system/node/node%u/compact", job->node);
	return job->write(job->rootfd, path, 1) == 0;
}

static int grow(struct pool_job *job, const atomic_bool *cancel)
{
	uint64_t step = STEP_BYTES > job->page_bytes ? STEP_BYTES / job->page_bytes : 1;
	bool compacted = false;
	int r = 0;

	while (job->after < job->pages && !atomic_load(cancel)) {
		uint64_t left = job->pages - job->after, had = job->after;
		uint64_t want = had + (left < step ? left : step);

		r = set(job, want);
		if (r == 0)
			r = look(job, &job->after);
		if (r < 0)
			return r;
		if (job->after >= want)
			continue;
		if (compacted || !compact(job))
			break;
		compacted = true;
	}
	return 0;
}

void pool_work_run(void *arg, const atomic_bool *cancel)
{
	struct pool_job *job = arg;
	uint64_t start_us = clock_now_us(), target;

	job->error = look(job, &job->before);
	job->after = job->before;
	target = job->pages > job->floor ? job->pages : job->floor;
	if (job->error == 0 && target > job->before)
		job->error = grow(job, cancel);
	else if (job->error == 0 && target < job->before) {
		job->error = set(job, target);
		if (job->error == 0)
			job->error = look(job, &job->after);
	}
	job->took_us = clock_now_us() - start_us;
}
