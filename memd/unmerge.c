// SPDX-License-Identifier: Apache-2.0
/* One write on a thread of its own. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/kfile.h"
#include "memd/unmerge.h"

struct unmerge {
	int rootfd;
	char path[64];
	pthread_t thread;
	int error;
	atomic_bool done;
};

static void *worker(void *arg)
{
	struct unmerge *unmerge = arg;

	unmerge->error = kfile_write(unmerge->rootfd, unmerge->path, "2");
	atomic_store(&unmerge->done, true);
	return NULL;
}

int unmerge_start(int rootfd, const char *path, struct unmerge **ret_unmerge)
{
	struct unmerge *unmerge = calloc(1, sizeof(*unmerge));
	sigset_t all, before;
	int r;

	if (!unmerge)
		return -ENOMEM;
	unmerge->rootfd = rootfd;
	snprintf(unmerge->path, sizeof(unmerge->path), "%s", path);
	/* Signals are the loop's. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	r = pthread_create(&unmerge->thread, NULL, worker, unmerge);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (r != 0) {
		free(unmerge);
		return -r;
	}
	*ret_unmerge = unmerge;
	return 0;
}

bool unmerge_is_done(const struct unmerge *unmerge, int *ret_error)
{
	if (!atomic_load(&unmerge->done))
		return false;
	*ret_error = unmerge->error;
	return true;
}

void unmerge_free(struct unmerge *unmerge)
{
	if (!unmerge)
		return;
	pthread_join(unmerge->thread, NULL);
	free(unmerge);
}
