// SPDX-License-Identifier: Apache-2.0
/* One worker, one slot, as survey.c has it; the worker looks at its own copy of the list. */
#include "memd/isolation.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#include "common/cleanup.h"
#include "common/clock.h"

#define REST_FACTOR 19

enum slot { SLOT_EMPTY, SLOT_ASKED, SLOT_DONE };

struct isolation {
	int rootfd, fd;
	isolation_scan_fn scan;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	enum slot slot;
	bool quit;
	atomic_bool cancel;
	struct isolation_guest *guests; /* the worker's while SLOT_ASKED */
	size_t n;
	uint64_t rest_until_us;
	struct isolation_result result;
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

void isolation_judge(const struct sharing *sharing, const struct isolation_guest *guests,
		     struct isolation_result *ret_result)
{
	for (size_t i = 0; i < sharing->n; i++)
		for (size_t k = i + 1; k < sharing->n; k++) {
			struct isolation_pair pair = {.a = guests[i].id, .b = guests[k].id};

			if (guests[i].domain == guests[k].domain)
				continue;
			pair.bytes = sharing_pair_pages(sharing, i, k) * sharing->page_bytes;
			if (!pair.bytes)
				continue;
			ret_result->cross_bytes += pair.bytes;
			keep_pair(ret_result, &pair);
		}
}

static void look(struct isolation *isolation, struct isolation_result *result)
{
	struct sharing_options options = {.pairs = true, .cancel = &isolation->cancel};
	AUTO_FREE struct sharing_target *targets = calloc(isolation->n + 1, sizeof(*targets));
	struct sharing *sharing = NULL;
	uint64_t start_us = clock_now_us();

	*result = (struct isolation_result){.error = -ENOMEM};
	if (!targets)
		return;
	for (size_t i = 0; i < isolation->n; i++)
		targets[i] = (struct sharing_target){
			.pid = isolation->guests[i].pid,
			.starttime = isolation->guests[i].starttime,
			.id = isolation->guests[i].id,
		};
	result->error =
		isolation->scan(isolation->rootfd, targets, isolation->n, &options, &sharing);
	if (result->error == 0) {
		isolation_judge(sharing, isolation->guests, result);
		result->cpu_us = sharing->cpu_us;
		sharing_free(sharing);
	}
	result->took_us = clock_now_us() - start_us;
}

static void *worker(void *arg)
{
	struct isolation *isolation = arg;

	pthread_mutex_lock(&isolation->lock);
	while (!isolation->quit) {
		struct isolation_result result;

		if (isolation->slot != SLOT_ASKED) {
			pthread_cond_wait(&isolation->wake, &isolation->lock);
			continue;
		}
		pthread_mutex_unlock(&isolation->lock);
		look(isolation, &result);
		pthread_mutex_lock(&isolation->lock);
		isolation->result = result;
		isolation->rest_until_us = clock_now_us() + REST_FACTOR * result.took_us;
		isolation->slot = SLOT_DONE;
		eventfd_write(isolation->fd, 1);
	}
	pthread_mutex_unlock(&isolation->lock);
	return NULL;
}

int isolation_open(int rootfd, isolation_scan_fn scan, struct isolation **ret_isolation)
{
	struct isolation *isolation = calloc(1, sizeof(*isolation));
	sigset_t all, before;
	int r;

	if (!isolation)
		return -ENOMEM;
	isolation->rootfd = rootfd;
	isolation->scan = scan ? scan : sharing_scan;
	isolation->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (isolation->fd < 0) {
		r = -errno;
		free(isolation);
		return r;
	}
	pthread_mutex_init(&isolation->lock, NULL);
	pthread_cond_init(&isolation->wake, NULL);
	/* Signals are the loop's. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	r = pthread_create(&isolation->thread, NULL, worker, isolation);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (r != 0) {
		cleanup_fd(&isolation->fd);
		free(isolation);
		return -r;
	}
	*ret_isolation = isolation;
	return 0;
}

void isolation_close(struct isolation *isolation)
{
	if (!isolation)
		return;
	atomic_store(&isolation->cancel, true);
	pthread_mutex_lock(&isolation->lock);
	isolation->quit = true;
	pthread_cond_signal(&isolation->wake);
	pthread_mutex_unlock(&isolation->lock);
	pthread_join(isolation->thread, NULL);
	cleanup_fd(&isolation->fd);
	free(isolation->guests);
	free(isolation);
}

int isolation_fd(const struct isolation *isolation)
{
	return isolation->fd;
}

int isolation_start(struct isolation *isolation, const struct isolation_guest *guests, size_t n)
{
	struct isolation_guest *copy;
	int r = -EBUSY;

	pthread_mutex_lock(&isolation->lock);
	if (isolation->slot == SLOT_EMPTY && clock_now_us() >= isolation->rest_until_us) {
		copy = reallocarray(isolation->guests, n + 1, sizeof(*copy));
		r = copy ? 0 : -ENOMEM;
		if (copy) {
			memcpy(copy, guests, n * sizeof(*copy));
			isolation->guests = copy;
			isolation->n = n;
			isolation->slot = SLOT_ASKED;
			pthread_cond_signal(&isolation->wake);
		}
	}
	pthread_mutex_unlock(&isolation->lock);
	return r;
}

int isolation_take(struct isolation *isolation, struct isolation_result *ret_result)
{
	eventfd_t count;
	int r = -EAGAIN;

	pthread_mutex_lock(&isolation->lock);
	eventfd_read(isolation->fd, &count);
	if (isolation->slot == SLOT_DONE) {
		*ret_result = isolation->result;
		isolation->slot = SLOT_EMPTY;
		r = 0;
	}
	pthread_mutex_unlock(&isolation->lock);
	return r;
}
