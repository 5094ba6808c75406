// SPDX-License-Identifier: Apache-2.0
/* The look as a worker's job, on a copy of the list. */
#include "memd/isolation.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "memd/worker.h"

#define REST_FACTOR 19

struct isolation {
	int rootfd;
	isolation_scan_fn scan;
	struct worker *worker;
};

struct job {
	const struct isolation *isolation;
	struct isolation_result result;
	size_t n;
	struct isolation_guest guests[];
};

static void keep_pair(struct isolation_result *result, const struct isolation_pair *pair)
{
	size_t least = 0;

	if (result->n_pairs < ISOLATION_PAIRS_MAX) {
		result->pairs[result->n_pairs++] = *pair;
		return;
	}
	for (size_t i = 1; i < result->n_pairs; i++)
		if (result->pairs[i].bytes < result->pairs[least].bytes)
			least = i;
	if (pair->bytes > result->pairs[least].bytes)
		result->pairs[least] = *pair;
}

int isolation_judge(const struct sharing *sharing, const struct isolation_guest *guests,
		    struct isolation_result *result)
{
	result->crossed = calloc(sharing->n + 1, sizeof(*result->crossed));
	if (!result->crossed)
		return -ENOMEM;
	result->n = sharing->n;
	for (size_t i = 0; i < sharing->n; i++)
		result->crossed[i].id = guests[i].id;
	for (size_t i = 0; i < sharing->n; i++)
		for (size_t k = i + 1; k < sharing->n; k++) {
			struct isolation_pair pair = {.a = guests[i].id, .b = guests[k].id};

			if (guests[i].domain == guests[k].domain)
				continue;
			pair.bytes = sharing_pair_pages(sharing, i, k) * sharing->page_bytes;
			if (!pair.bytes)
				continue;
			result->cross_bytes += pair.bytes;
			result->crossed[i].bytes += pair.bytes;
			result->crossed[k].bytes += pair.bytes;
			keep_pair(result, &pair);
		}
	return 0;
}

static void job_free(struct job *job)
{
	if (job)
		free(job->result.crossed);
	free(job);
}

static void look(void *arg, const atomic_bool *cancel)
{
	struct job *job = arg;
	struct isolation_result *result = &job->result;
	struct sharing_options options = {.pairs = true, .cancel = cancel};
	AUTO_FREE struct sharing_target *targets = calloc(job->n + 1, sizeof(*targets));
	struct sharing *sharing = NULL;

	result->error = -ENOMEM;
	if (!targets)
		return;
	for (size_t i = 0; i < job->n; i++)
		targets[i] = (struct sharing_target){
			.pid = job->guests[i].pid,
			.starttime = job->guests[i].starttime,
			.id = job->guests[i].id,
		};
	result->error =
		job->isolation->scan(job->isolation->rootfd, targets, job->n, &options, &sharing);
	if (result->error == 0) {
		result->error = isolation_judge(sharing, job->guests, result);
		result->cpu_us = sharing->cpu_us;
		sharing_free(sharing);
	}
	result->took_us = clock_now_us() - result->start_us;
}

int isolation_open(int rootfd, isolation_scan_fn scan, struct isolation **ret_isolation)
{
	struct isolation *isolation = calloc(1, sizeof(*isolation));
	int r;

	if (!isolation)
		return -ENOMEM;
	isolation->rootfd = rootfd;
	isolation->scan = scan ? scan : sharing_scan;
	r = worker_open(look, REST_FACTOR, &isolation->worker);
	if (r < 0)
		free(isolation);
	else
		*ret_isolation = isolation;
	return r;
}

void isolation_close(struct isolation *isolation)
{
	void *job = NULL;

	if (!isolation)
		return;
	worker_close(isolation->worker, &job);
	job_free(job);
	free(isolation);
}

int isolation_fd(const struct isolation *isolation)
{
	return worker_fd(isolation->worker);
}

int isolation_start(struct isolation *isolation, const struct isolation_guest *guests, size_t n)
{
	struct job *job = calloc(1, sizeof(*job) + n * sizeof(*guests));
	int r;

	if (!job)
		return -ENOMEM;
	job->isolation = isolation;
	job->n = n;
	/* Now: what guests and domains are is what it is told here. */
	job->result.start_us = clock_now_us();
	memcpy(job->guests, guests, n * sizeof(*guests));
	r = worker_start(isolation->worker, job);
	if (r < 0)
		free(job);
	return r;
}

int isolation_take(struct isolation *isolation, struct isolation_result *ret_result)
{
	struct job *job = worker_take(isolation->worker);

	if (!job)
		return -EAGAIN;
	*ret_result = job->result;
	free(job);
	return 0;
}
