// SPDX-License-Identifier: Apache-2.0
/*
 * One worker, one slot: the loop fills it, the worker empties it, an eventfd says so. Everything
 * shared is under one mutex; the worker runs footprint_full() on its own copy without it.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "memd/survey.h"

#define REST_FACTOR 9

enum slot { SLOT_EMPTY, SLOT_ASKED, SLOT_DONE };

struct survey {
	int rootfd, fd;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	enum slot slot;
	bool quit;
	pid_t pid;
	uint64_t rest_until_us;
	struct survey_result result;
};

static void *worker(void *arg)
{
	struct survey *survey = arg;

	pthread_mutex_lock(&survey->lock);
	while (!survey->quit) {
		struct survey_result result;
		pid_t pid;

		if (survey->slot != SLOT_ASKED) {
			pthread_cond_wait(&survey->wake, &survey->lock);
			continue;
		}
		result.guest = survey->result.guest;
		pid = survey->pid;
		pthread_mutex_unlock(&survey->lock);
		result.start_us = clock_now_us();
		result.error = footprint_full(survey->rootfd, pid, &result.footprint);
		result.took_us = clock_now_us() - result.start_us;
		pthread_mutex_lock(&survey->lock);
		survey->result = result;
		survey->rest_until_us = clock_now_us() + REST_FACTOR * result.took_us;
		survey->slot = SLOT_DONE;
		eventfd_write(survey->fd, 1);
	}
	pthread_mutex_unlock(&survey->lock);
	return NULL;
}

int survey_open(int rootfd, struct survey **ret_survey)
{
	struct survey *survey = calloc(1, sizeof(*survey));
	sigset_t all, before;
	int r;

	if (!survey)
		return -ENOMEM;
	survey->rootfd = rootfd;
	survey->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (survey->fd < 0) {
		r = -errno;
		free(survey);
		return r;
	}
	pthread_mutex_init(&survey->lock, NULL);
	pthread_cond_init(&survey->wake, NULL);
	/* Signals are the loop's. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	r = pthread_create(&survey->thread, NULL, worker, survey);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (r != 0) {
		cleanup_fd(&survey->fd);
		free(survey);
		return -r;
	}
	*ret_survey = survey;
	return 0;
}

void survey_close(struct survey *survey)
{
	if (!survey)
		return;
	pthread_mutex_lock(&survey->lock);
	survey->quit = true;
	pthread_cond_signal(&survey->wake);
	pthread_mutex_unlock(&survey->lock);
	pthread_join(survey->thread, NULL);
	cleanup_fd(&survey->fd);
	free(survey);
}

int survey_fd(const struct survey *survey)
{
	return survey->fd;
}

int survey_start(struct survey *survey, uint64_t guest, pid_t pid)
{
	int r = -EBUSY;

	pthread_mutex_lock(&survey->lock);
	if (survey->slot == SLOT_EMPTY && clock_now_us() >= survey->rest_until_us) {
		survey->slot = SLOT_ASKED;
		survey->result.guest = guest;
		survey->pid = pid;
		pthread_cond_signal(&survey->wake);
		r = 0;
	}
	pthread_mutex_unlock(&survey->lock);
	return r;
}

int survey_take(struct survey *survey, struct survey_result *ret_result)
{
	eventfd_t count;
	int r = -EAGAIN;

	pthread_mutex_lock(&survey->lock);
	eventfd_read(survey->fd, &count);
	if (survey->slot == SLOT_DONE) {
		*ret_result = survey->result;
		survey->slot = SLOT_EMPTY;
		r = 0;
	}
	pthread_mutex_unlock(&survey->lock);
	return r;
}
