// SPDX-License-Identifier: Apache-2.0
/* When to sample: soon for what is new, seldom for what may have changed. */
#include "memd/chunk_work.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/size.h"
#include "memd/worker.h"

/* Reading rests for so many times the CPU time it took: what has grown, and everything anew. */
#define REST_GROWN 9
#define REST_OLD   99
/*
 * A guest that has never been read does not wait for that: until then nothing of it is merged, it
 * is read once, and no other one for it.
 */
#define LEAST_US   (1 * USEC_PER_SEC)
#define REFRESH_US (60 * USEC_PER_SEC)

struct chunk_work {
	int rootfd;
	struct worker *worker;
	struct chunk_prints *prints; /* the thread's while it works */
	uint64_t end_us, last_cpu_us, cpu_us;
	uint64_t all_end_us, all_cpu_us; /* when everything was read last, what that takes */
};

struct job {
	int rootfd;
	uint32_t share_ppm;
	bool all; /* is read anew */
	struct chunk_prints *prints;
	struct chunk_samples samples;
	size_t n;
	struct chunk_target targets[];
};

static void run(void *arg, const atomic_bool *cancel)
{
	struct job *job = arg;

	chunk_sample(job->rootfd, job->targets, job->n, job->share_ppm, cancel, job->prints,
		     &job->samples);
}

static void job_free(struct job *job)
{
	if (job)
		chunk_samples_free(&job->samples);
	free(job);
}

int chunk_work_open(int rootfd, struct chunk_work **ret_work)
{
	struct chunk_work *work = calloc(1, sizeof(*work));
	int r;

	if (!work)
		return -ENOMEM;
	work->rootfd = rootfd;
	work->prints = chunk_prints_new();
	r = work->prints ? worker_open(run, 0, &work->worker) : -ENOMEM;
	if (r < 0) {
		chunk_prints_free(work->prints);
		free(work);
		return r;
	}
	*ret_work = work;
	return 0;
}

void chunk_work_close(struct chunk_work *work)
{
	void *job = NULL;

	if (!work)
		return;
	worker_close(work->worker, &job);
	job_free(job);
	chunk_prints_free(work->prints);
	free(work);
}

int chunk_work_fd(const struct chunk_work *work)
{
	return worker_fd(work->worker);
}

static uint64_t most(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/* Is it time, for what is due? *ret_all: for all to be read anew. */
static bool is_time(const struct chunk_work *work, enum chunk_due due, bool *ret_all)
{
	uint64_t now_us = clock_now_us(), age_us = now_us - work->end_us;

	*ret_all = now_us - work->all_end_us >= most(REFRESH_US, REST_OLD * work->all_cpu_us);
	return *ret_all || due == CHUNK_DUE_NEW ||
	       (due == CHUNK_DUE_GROWN && age_us >= REST_GROWN * work->last_cpu_us);
}

void chunk_work_begin(struct chunk_work *work, const struct guests *guests, uint32_t share_ppm)
{
	enum chunk_due due;
	bool any = false;
	struct job *job;

	if (work->end_us && clock_now_us() - work->end_us < LEAST_US)
		return;
	for (size_t i = 0; i < guests->n; i++)
		any |= chunk_is_used(guests->v[i]);
	if (!any)
		return;
	job = calloc(1, sizeof(*job) + guests->n * sizeof(job->targets[0]));
	if (!job)
		return;
	job->rootfd = work->rootfd;
	job->prints = work->prints;
	job->share_ppm = share_ppm;
	job->n = chunk_targets(guests, job->targets, &due);
	if (!is_time(work, due, &job->all)) {
		job_free(job);
		return;
	}
	for (size_t i = 0; i < job->n; i++)
		job->targets[i].again |= job->all;
	if (worker_start(work->worker, job) < 0)
		job_free(job);
}

void chunk_work_end(struct chunk_work *work, struct guests *guests, uint64_t room_bytes)
{
	struct job *job = worker_take(work->worker);

	if (!job)
		return;
	work->end_us = clock_now_us();
	work->last_cpu_us = job->samples.cpu_us;
	work->cpu_us += job->samples.cpu_us;
	work->all_cpu_us = job->samples.all_cpu_us;
	if (job->all)
		work->all_end_us = work->end_us;
	if (job->samples.error == 0)
		chunk_update(guests, job->targets, job->n, &job->samples, room_bytes);
	log_debug(
		"sampled %s of guests' memory, %s zeroes, %s frequent, in %llu ms, %llu ms of CPU "
		"time: %s",
		SIZE_TEXT(job->samples.pages * 4 * KIB), SIZE_TEXT(job->samples.zeroes * 4 * KIB),
		SIZE_TEXT(job->samples.frequent * 4 * KIB),
		(unsigned long long)(job->samples.wall_us / 1000),
		(unsigned long long)(job->samples.cpu_us / 1000),
		job->samples.error ? strerror(-job->samples.error) : "done");
	job_free(job);
}

uint64_t chunk_work_cpu_us(const struct chunk_work *work)
{
	return work->cpu_us;
}
