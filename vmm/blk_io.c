// SPDX-License-Identifier: Apache-2.0
/*
 * A disk's I/O thread: two lists under one mutex, requests to do and requests done. See blk_io.h.
 *
 * System calls of the thread, for its seccomp filter: preadv, pwritev, fdatasync, fallocate, ioctl
 * (BLKDISCARD and BLKZEROOUT, on a block device), write (the eventfd that wakes the loop), futex,
 * clock_gettime where the vDSO has no clock, and what ends a thread (madvise, munmap,
 * rt_sigprocmask, exit). It allocates nothing and logs nothing.
 */
#include "vmm/blk_io.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "common/clock.h"
#include "vmm/sandbox.h"

/* Zeroes that have to be written are written in pieces, so that giving up does not take long. */
#define RANGE_PIECE (64ULL << 20)

struct blk_list {
	struct blk_request *first, **end;
};

struct blk_io {
	struct disk *disk;
	void (*done_fn)(void *ctx);
	void *ctx;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t work; /* to the thread: something to do, or the end */
	pthread_cond_t idle; /* from the thread: nothing to do any more */
	struct blk_list todo, done;
	bool busy;	/* the thread works on a request that is in neither list */
	bool giving_up; /* what has not begun is not done */
	bool ending;
	bool is_confined; /* else the thread does nothing */
};

static void list_init(struct blk_list *list)
{
	list->first = NULL;
	list->end = &list->first;
}

static void list_add(struct blk_list *list, struct blk_request *request)
{
	request->next = NULL;
	*list->end = request;
	list->end = &request->next;
}

static struct blk_request *list_take(struct blk_list *list)
{
	struct blk_request *request = list->first;

	list->first = request->next;
	if (!list->first)
		list->end = &list->first;
	return request;
}

static void list_free(struct blk_list *list)
{
	while (list->first)
		free(list_take(list));
}

/* ---- in the thread ---- */

static bool is_giving_up(struct blk_io *io)
{
	return __atomic_load_n(&io->giving_up, __ATOMIC_RELAXED);
}

static int do_ranges(struct blk_io *io, const struct blk_request *request)
{
	for (unsigned int i = 0; i < request->n_ranges; i++) {
		struct blk_range range = request->ranges[i];

		while (range.len) {
			uint64_t part = range.len < RANGE_PIECE ? range.len : RANGE_PIECE;
			int r = request->op == BLK_DISCARD
					? disk_discard(io->disk, range.offset, part)
					: disk_zero(io->disk, range.offset, part, range.may_unmap);

			if (r)
				return r;
			if (is_giving_up(io))
				return -ECANCELED;
			range.offset += part;
			range.len -= part;
		}
	}
	return 0;
}

static int do_request(struct blk_io *io, struct blk_request *request)
{
	int r = -EINVAL;

	if (is_giving_up(io))
		return -ECANCELED;
	if (!io->is_confined)
		return -EPERM;
	switch (request->op) {
	case BLK_READ:
		return disk_read(io->disk, request->iov, request->n_iov, request->offset);
	case BLK_WRITE:
		r = disk_write(io->disk, request->iov, request->n_iov, request->offset);
		break;
	case BLK_FLUSH:
		return disk_flush(io->disk);
	case BLK_DISCARD:
	case BLK_ZERO:
		r = do_ranges(io, request);
		break;
	}
	return !r && request->write_through ? disk_flush(io->disk) : r;
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
}

static void *run(void *arg)
{
	struct blk_io *io = arg;

	io->is_confined = sandbox_thread(SANDBOX_IO) == 0;
	pthread_mutex_lock(&io->lock);
	while (!io->ending) {
		struct blk_request *request;
		uint64_t begin;

		if (!io->todo.first) {
			pthread_cond_wait(&io->work, &io->lock);
			continue;
		}
		request = list_take(&io->todo);
		io->busy = true;
		pthread_mutex_unlock(&io->lock);

		begin = now_ns();
		request->result = do_request(io, request);
		request->time_ns = now_ns() - begin;

		pthread_mutex_lock(&io->lock);
		io->busy = false;
		list_add(&io->done, request);
		if (!io->todo.first)
			pthread_cond_broadcast(&io->idle);
		pthread_mutex_unlock(&io->lock);
		io->done_fn(io->ctx);
		pthread_mutex_lock(&io->lock);
	}
	pthread_mutex_unlock(&io->lock);
	return NULL;
}

/* ---- for the device ---- */

struct blk_request *blk_request_new(unsigned int n_iov, unsigned int n_ranges)
{
	struct blk_request *request = calloc(1, sizeof(*request) + n_iov * sizeof(struct iovec) +
							n_ranges * sizeof(struct blk_range));

	if (!request)
		return NULL;
	request->n_iov = n_iov;
	request->n_ranges = n_ranges;
	request->iov = (struct iovec *)(void *)(request + 1);
	request->ranges = (struct blk_range *)(void *)(request->iov + n_iov);
	return request;
}

int blk_io_new(struct disk *disk, const char *name, void (*done)(void *ctx), void *ctx,
	       struct blk_io **ret_io)
{
	struct blk_io *io = calloc(1, sizeof(*io));
	pthread_condattr_t attr;
	int r;

	if (!io)
		return -ENOMEM;
	*io = (struct blk_io){.disk = disk, .done_fn = done, .ctx = ctx};
	list_init(&io->todo);
	list_init(&io->done);
	pthread_mutex_init(&io->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&io->work, NULL);
	pthread_cond_init(&io->idle, &attr);
	pthread_condattr_destroy(&attr);
	r = pthread_create(&io->thread, NULL, run, io);
	if (r) {
		free(io);
		return -r;
	}
	pthread_setname_np(io->thread, name);
	*ret_io = io;
	return 0;
}

void blk_io_free(struct blk_io *io)
{
	if (!io)
		return;
	pthread_mutex_lock(&io->lock);
	io->ending = true;
	__atomic_store_n(&io->giving_up, true, __ATOMIC_RELAXED);
	pthread_cond_signal(&io->work);
	pthread_mutex_unlock(&io->lock);
	/* Where a later device could not be made the thread waits to be confined still. */
	sandbox_abandon();
	pthread_join(io->thread, NULL);
	list_free(&io->todo);
	list_free(&io->done);
	pthread_cond_destroy(&io->work);
	pthread_cond_destroy(&io->idle);
	pthread_mutex_destroy(&io->lock);
	free(io);
}

void blk_io_submit(struct blk_io *io, struct blk_request *request)
{
	pthread_mutex_lock(&io->lock);
	list_add(&io->todo, request);
	pthread_cond_signal(&io->work);
	pthread_mutex_unlock(&io->lock);
}

struct blk_request *blk_io_fetch(struct blk_io *io)
{
	struct blk_request *all;

	pthread_mutex_lock(&io->lock);
	all = io->done.first;
	list_init(&io->done);
	pthread_mutex_unlock(&io->lock);
	return all;
}

static bool is_idle(const struct blk_io *io)
{
	return !io->busy && !io->todo.first;
}

void blk_io_drain(struct blk_io *io)
{
	pthread_mutex_lock(&io->lock);
	while (!is_idle(io))
		pthread_cond_wait(&io->idle, &io->lock);
	pthread_mutex_unlock(&io->lock);
}

unsigned int blk_io_abandon(struct blk_io *io, uint64_t limit_us)
{
	uint64_t end_ns = now_ns() + limit_us * 1000;
	const struct timespec end = {.tv_sec = (time_t)(end_ns / 1000000000U),
				     .tv_nsec = (long)(end_ns % 1000000000U)};
	unsigned int n = 0;

	pthread_mutex_lock(&io->lock);
	while (!is_idle(io) && pthread_cond_timedwait(&io->idle, &io->lock, &end) == 0)
		;
	for (struct blk_request *r = io->todo.first; r; r = r->next)
		n++;
	__atomic_store_n(&io->giving_up, true, __ATOMIC_RELAXED);
	while (!is_idle(io))
		pthread_cond_wait(&io->idle, &io->lock);
	__atomic_store_n(&io->giving_up, false, __ATOMIC_RELAXED);
	pthread_mutex_unlock(&io->lock);
	return n;
}
