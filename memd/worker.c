// SPDX-License-Identifier: Apache-2.0
/* One slot: the loop fills it, the thread works on it, an eventfd says that it is done. */
#include "memd/worker.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>

#include "common/cleanup.h"
#include "common/clock.h"

/* Told to end, a job sleeps so long at most. */
#define NAP_US 20000ULL

struct worker {
	int fd;
	worker_run_fn run;
	unsigned int rest_factor;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	void *job;
	bool done, quit;
	atomic_bool cancel;
	uint64_t rest_until_us;
};

bool worker_rest_until(uint64_t until_us, const atomic_bool *cancel)
{
	uint64_t now_us;

	while (!atomic_load(cancel) && (now_us = clock_now_us()) < until_us) {
		uint64_t us = until_us - now_us < NAP_US ? until_us - now_us : NAP_US;
		struct timespec nap = {.tv_nsec = (long)us * 1000};

		nanosleep(&nap, NULL);
	}
	return !atomic_load(cancel);
}

static void *work(void *arg)
{
	struct worker *worker = arg;

	pthread_mutex_lock(&worker->lock);
	while (!worker->quit) {
		uint64_t start_us;

		if (!worker->job || worker->done) {
			pthread_cond_wait(&worker->wake, &worker->lock);
			continue;
		}
		pthread_mutex_unlock(&worker->lock);
		start_us = clock_now_us();
		worker->run(worker->job, &worker->cancel);
		pthread_mutex_lock(&worker->lock);
		worker->rest_until_us =
			clock_now_us() + worker->rest_factor * (clock_now_us() - start_us);
		worker->done = true;
		eventfd_write(worker->fd, 1);
	}
	pthread_mutex_unlock(&worker->lock);
	return NULL;
}

int worker_open(worker_run_fn run, unsigned int rest_factor, struct worker **ret_worker)
{
	struct worker *worker = calloc(1, sizeof(*worker));
	sigset_t all, before;
	int r;

	if (!worker)
		return -ENOMEM;
	worker->run = run;
	worker->rest_factor = rest_factor;
	worker->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (worker->fd < 0) {
		r = -errno;
		free(worker);
		return r;
	}
	pthread_mutex_init(&worker->lock, NULL);
	pthread_cond_init(&worker->wake, NULL);
	/* Signals are the loop's. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	r = pthread_create(&worker->thread, NULL, work, worker);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (r != 0) {
		cleanup_fd(&worker->fd);
		free(worker);
		return -r;
	}
	*ret_worker = worker;
	return 0;
}

void worker_close(struct worker *worker, void **ret_job)
{
	if (!worker)
		return;
	atomic_store(&worker->cancel, true);
	pthread_mutex_lock(&worker->lock);
	worker->quit = true;
	pthread_cond_signal(&worker->wake);
	pthread_mutex_unlock(&worker->lock);
	pthread_join(worker->thread, NULL);
	cleanup_fd(&worker->fd);
	if (ret_job)
		*ret_job = worker->job;
	free(worker);
}

void worker_cancel(struct worker *worker)
{
	pthread_mutex_lock(&worker->lock);
	if (worker->job && !worker->done)
		atomic_store(&worker->cancel, true);
	pthread_mutex_unlock(&worker->lock);
}

int worker_fd(const struct worker *worker)
{
	return worker->fd;
}

/* With the lock. */
static bool may_start(const struct worker *worker)
{
	return !worker->job && clock_now_us() >= worker->rest_until_us;
}

bool worker_may_start(struct worker *worker)
{
	bool may;

	pthread_mutex_lock(&worker->lock);
	may = may_start(worker);
	pthread_mutex_unlock(&worker->lock);
	return may;
}

int worker_start(struct worker *worker, void *job)
{
	int r = -EBUSY;

	pthread_mutex_lock(&worker->lock);
	if (may_start(worker)) {
		worker->job = job;
		worker->done = false;
		atomic_store(&worker->cancel, false);
		pthread_cond_signal(&worker->wake);
		r = 0;
	}
	pthread_mutex_unlock(&worker->lock);
	return r;
}

void *worker_take(struct worker *worker)
{
	eventfd_t count;
	void *job = NULL;

	pthread_mutex_lock(&worker->lock);
	eventfd_read(worker->fd, &count);
	if (worker->done) {
		job = worker->job;
		worker->job = NULL;
		worker->done = false;
	}
	pthread_mutex_unlock(&worker->lock);
	return job;
}
