// SPDX-License-Identifier: Apache-2.0
/* One footprint_full() at a time as a worker's job. */
#include "memd/survey.h"

#include <errno.h>
#include <stdlib.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "memd/vcpus.h"
#include "memd/worker.h"

#define REST_FACTOR 9

struct survey {
	int rootfd;
	struct worker *worker;
};

struct job {
	int rootfd;
	pid_t pid;
	struct survey_result result;
};

/* A look cannot be cut short. */
static void look(void *arg, const atomic_bool *cancel)
{
	struct job *job = arg;
	struct survey_result *result = &job->result;
	AUTO_FREE pid_t *tids = NULL;
	size_t n, vhost;

	(void)cancel;
	result->threads = result->vhost = POL_ABSENT;
	result->start_us = clock_now_us();
	result->error = footprint_full(job->rootfd, job->pid, &result->footprint);
	if (vcpus_threads(job->rootfd, job->pid, &tids, &n, &vhost) == 0) {
		result->threads = n;
		result->vhost = vhost;
	}
	result->took_us = clock_now_us() - result->start_us;
}

int survey_open(int rootfd, struct survey **ret_survey)
{
	struct survey *survey = calloc(1, sizeof(*survey));
	int r;

	if (!survey)
		return -ENOMEM;
	survey->rootfd = rootfd;
	r = worker_open(look, REST_FACTOR, &survey->worker);
	if (r < 0)
		free(survey);
	else
		*ret_survey = survey;
	return r;
}

void survey_close(struct survey *survey)
{
	void *job = NULL;

	if (!survey)
		return;
	worker_close(survey->worker, &job);
	free(job);
	free(survey);
}

int survey_fd(const struct survey *survey)
{
	return worker_fd(survey->worker);
}

int survey_start(struct survey *survey, uint64_t guest, pid_t pid)
{
	struct job *job = calloc(1, sizeof(*job));
	int r;

	if (!job)
		return -ENOMEM;
	job->rootfd = survey->rootfd;
	job->pid = pid;
	job->result.guest = guest;
	r = worker_start(survey->worker, job);
	if (r < 0)
		free(job);
	return r;
}

int survey_take(struct survey *survey, struct survey_result *ret_result)
{
	struct job *job = worker_take(survey->worker);

	if (!job)
		return -EAGAIN;
	*ret_result = job->result;
	free(job);
	return 0;
}
