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

/* A pass may begin when it has rested for so many times the CPU time of the last one. */
#define REST_NEW   9
#define REST_OLD   99
#define LEAST_US   (3 * USEC_PER_SEC)
#define REFRESH_US (60 * USEC_PER_SEC)

struct chunk_work {
	int rootfd;
	struct worker *worker;
	uint64_t end_us, last_cpu_us, cpu_us;
};

struct job {
	int rootfd;
	uint32_t share_ppm;
	struct chunk_samples samples;
	size_t n;
	struct chunk_target targets[];
};

static void run(void *arg, const atomic_bool *cancel)
{
	struct job *job = arg;

	chunk_sample(job->rootfd, job->targets, job->n, job->share_ppm, cancel, &job->samples);
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
	r = worker_open(run, 0, &work->worker);
	if (r < 0)
		free(work);
	else
		*ret_work = work;
	return r;
}

void chunk_work_close(struct chunk_work *work)
{
	void *job = NULL;

	if (!work)
		return;
	worker_close(work->worker, &job);
	job_free(job);
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

void chunk_work_begin(struct chunk_work *work, const struct guests *guests, uint32_t share_ppm)
{
	uint64_t age_us = clock_now_us() - work->end_us;
	bool due, any = false;
	struct job *job;

	if (work->end_us && age_us < most(LEAST_US, REST_NEW * work->last_cpu_us))
		return;
	for (size_t i = 0; i < guests->n; i++)
		any |= chunk_is_used(guests->v[i]);
	if (!any)
		return;
	job = calloc(1, sizeof(*job) + guests->n * sizeof(job->targets[0]));
	if (!job)
		return;
	job->rootfd = work->rootfd;
	job->share_ppm = share_ppm;
	job->n = chunk_targets(guests, job->targets, &due);
	if ((!due && age_us < most(REFRESH_US, REST_OLD * work->last_cpu_us)) ||
	    worker_start(work->worker, job) < 0)
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
	if (job->samples.error == 0)
		chunk_update(guests, job->targets, job->n, &job->samples, room_bytes);
	log_debug("sampled %s of guests' memory in %llu ms, %llu ms of CPU time: %s",
		  SIZE_TEXT(job->samples.pages * 4 * KIB),
		  (unsigned long long)(job->samples.wall_us / 1000),
		  (unsigned long long)(job->samples.cpu_us / 1000),
		  job->samples.error ? strerror(-job->samples.error) : "done");
	job_free(job);
}

uint64_t chunk_work_cpu_us(const struct chunk_work *work)
{
	return work->cpu_us;
}
