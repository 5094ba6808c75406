// SPDX-License-Identifier: Apache-2.0
/*
 * Orders in small pieces: between two the guest is looked at, and half of the time is slept unless
 * it is urgent, so that neither the guest nor the host's processors are held up for long.
 */
#include "memd/reclaim_work.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/kfile.h"
#include "common/size.h"
#include "memd/footprint.h"
#include "memd/guest_cgroup.h"
#include "memd/host.h"
#include "memd/pinned.h"
#include "memd/worker.h"

#define PIECE_BYTES (8 * MIB)
#define TIME_US	    (3 * USEC_PER_SEC) /* for all orders of a batch */
#define REST_MOST   (50 * USEC_PER_SEC / 1000)
/* Reading back so much of what went, and this, ends an order. */
#define BACK_PART  8
#define BACK_BYTES (256 * KIB)

/* Pageout's memory of a guest. */
struct known {
	uint64_t guest;
	bool used; /* in this batch */
	struct pageout *pageout;
};

struct job {
	size_t n;
	struct reclaim_order orders[RECLAIM_ORDERS_MAX];
};

struct reclaim_work {
	int rootfd;
	struct memcg memcg;
	pageout_advise_fn advise;
	struct worker *worker;
	bool busy;
	atomic_bool hurry; /* do not wait for what is cold */
	struct job job;	   /* the thread's while busy */
	uint64_t bytes, us;

	/* the thread's */
	struct known known[RECLAIM_ORDERS_MAX];
	bool no_swappiness; /* memory.reclaim takes bytes alone (before 6.9) */
};

/* One order as it is worked on. */
struct progress {
	struct reclaim_work *work;
	struct reclaim_order *order;
	const atomic_bool *cancel;
	struct footprint before, now;
	int pidfd;
	char cgroup[GUEST_CGROUP_PATH_MAX];
	struct pageout *pageout;
	uint64_t deadline_us, asked_bytes;
};

static uint64_t fallen(uint64_t before, uint64_t after)
{
	return pol_has(before) && pol_has(after) && before > after ? before - after : 0;
}

/* Of two guests that nobody orders from, the first is forgotten; orders are fewer than places. */
static struct pageout *pageout_of(struct reclaim_work *work, uint64_t guest)
{
	struct known *place = NULL;

	for (size_t i = 0; i < RECLAIM_ORDERS_MAX; i++) {
		struct known *known = &work->known[i];

		if (known->pageout && known->guest == guest) {
			known->used = true;
			return known->pageout;
		}
		if (!known->used && (!place || (place->pageout && !known->pageout)))
			place = known;
	}
	if (!place)
		return NULL;
	pageout_free(place->pageout);
	*place = (struct known){.guest = guest, .used = true, .pageout = pageout_new()};
	return place->pageout;
}

static bool is_over(const struct progress *p)
{
	return atomic_load(p->cancel) || clock_now_us() >= p->deadline_us;
}

static void rest(const struct progress *p, uint64_t us)
{
	struct timespec time = {
		.tv_nsec = (long)(us > REST_MOST ? REST_MOST : us) * 1000,
	};

	if (!p->order->any && !is_over(p))
		nanosleep(&time, NULL);
}

/* The process meant, and how it is now. */
static int look(struct progress *p, struct footprint *foot)
{
	int r = footprint_quick(p->work->rootfd, p->order->pid, foot);

	return r == 0 && foot->starttime != p->order->starttime ? -ESRCH : r;
}

/* Where the kernel can be told (6.9+), of anonymous memory alone: page cache is available anyway.
 */
static int ask_cgroup(struct progress *p, uint64_t bytes)
{
	char file[GUEST_CGROUP_PATH_MAX + 32], value[64];
	int r = -EINVAL;

	snprintf(file, sizeof(file), "%s/memory.reclaim", p->cgroup);
	if (!p->work->no_swappiness) {
		snprintf(value, sizeof(value), "%llu swappiness=200", (unsigned long long)bytes);
		r = kfile_write(p->work->rootfd, file, value);
		p->work->no_swappiness = r == -EINVAL;
	}
	if (r == -EINVAL) {
		snprintf(value, sizeof(value), "%llu", (unsigned long long)bytes);
		r = kfile_write(p->work->rootfd, file, value);
	}
	if (r == 0)
		p->asked_bytes += bytes;
	return r;
}

static int ask_pageout(struct progress *p, uint64_t bytes)
{
	struct pageout_order order = {
		.rootfd = p->work->rootfd,
		.pid = p->order->pid,
		.pidfd = p->pidfd,
		.bytes = bytes,
		.deadline_us = p->deadline_us,
		.now_us = clock_now_us(),
		.any = p->order->any,
		.advise = p->work->advise,
	};
	uint64_t asked;
	int r = pageout_run(p->pageout, &order, &asked);

	p->asked_bytes += asked;
	return r;
}

/* Has it read back a good part of what went? */
static bool reads_back(const struct progress *p)
{
	uint64_t back = p->now.major_faults > p->before.major_faults
				? p->now.major_faults - p->before.major_faults
				: 0;

	return back * host_page_bytes() > p->asked_bytes / BACK_PART + BACK_BYTES;
}

/* Until what is resident has fallen by so much, or everything was asked for once. */
static int work_on(struct progress *p)
{
	struct reclaim_order *order = p->order;
	int r = 0;

	while (r == 0 && !is_over(p) && p->asked_bytes < order->bytes) {
		uint64_t left = order->bytes - p->asked_bytes, start_us = clock_now_us();
		uint64_t piece = left < PIECE_BYTES ? left : PIECE_BYTES;

		r = order->way == RECLAIM_CGROUP ? ask_cgroup(p, piece) : ask_pageout(p, piece);
		if (look(p, &p->now) < 0)
			return -ESRCH;
		order->took_us += clock_now_us() - start_us;
		if (fallen(p->before.resident_bytes, p->now.resident_bytes) >= order->bytes)
			break;
		order->refaults = reads_back(p);
		if (order->refaults)
			break;
		rest(p, clock_now_us() - start_us);
	}
	return r;
}

/* Has it a cgroup of its own that can be asked? */
static bool has_cgroup(struct progress *p)
{
	char file[GUEST_CGROUP_PATH_MAX + 32];
	int rootfd = p->work->rootfd;
	struct footprint foot;
	uint64_t charged;

	if (guest_cgroup_find(rootfd, &p->work->memcg, p->order->pid, p->cgroup,
			      sizeof(p->cgroup)) < 0)
		return false;
	snprintf(file, sizeof(file), "%s/memory.current", p->cgroup);
	if (kfile_read_u64(rootfd, file, &charged) < 0 || look(p, &foot) < 0 ||
	    !guest_cgroup_holds(charged, foot.resident_bytes))
		return false;
	snprintf(file, sizeof(file), "%s/memory.reclaim", p->cgroup);
	return faccessat(rootfd, file, W_OK, AT_EACCESS) == 0;
}

/* By its own cgroup if it has one now, else from outside. */
static int choose_way(struct progress *p)
{
	struct reclaim_order *order = p->order;

	if (has_cgroup(p)) {
		order->way = RECLAIM_CGROUP;
		return 0;
	}
	order->way = RECLAIM_PAGEOUT;
	p->pageout = pageout_of(p->work, order->guest);
	if (!p->pageout)
		return -ENOMEM;
	p->pidfd = (int)syscall(SYS_pidfd_open, order->pid, 0);
	return p->pidfd < 0 ? -errno : 0;
}

static void carry_out(struct reclaim_work *work, struct reclaim_order *order, uint64_t deadline_us,
		      const atomic_bool *cancel)
{
	struct progress p = {
		.work = work,
		.order = order,
		.cancel = cancel,
		.pidfd = -1,
		.deadline_us = deadline_us,
	};
	/* First the process's descriptor, then whether it is the one that is meant. */
	int r = choose_way(&p);

	if (r == 0)
		r = look(&p, &p.before);
	if (r == 0 && pinned_reason(work->rootfd, order->pid))
		r = -EBUSY;
	if (r == 0) {
		r = work_on(&p);
		order->done_bytes += fallen(p.before.resident_bytes, p.now.resident_bytes);
	}
	cleanup_fd(&p.pidfd);
	order->error = r;
}

/* Pages that were marked idle are looked at once they could have been used. */
static bool wait_for_age(struct reclaim_work *work, const atomic_bool *cancel)
{
	uint64_t until_us = clock_now_us() + PAGEOUT_AGE_US;
	const struct timespec step = {.tv_nsec = 50000000};
	struct job *job = &work->job;
	bool any = false, hurry;

	for (size_t i = 0; i < job->n; i++)
		any |= job->orders[i].error == -EINPROGRESS;
	while (any && !atomic_load(cancel) && !atomic_load(&work->hurry) &&
	       clock_now_us() < until_us)
		nanosleep(&step, NULL);
	hurry = atomic_load(&work->hurry);
	for (size_t i = 0; i < job->n; i++)
		job->orders[i].hurried = hurry && job->orders[i].error == -EINPROGRESS;
	return any && !hurry && !atomic_load(cancel);
}

static void run(void *arg, const atomic_bool *cancel)
{
	struct reclaim_work *work = arg;
	struct job *job = &work->job;
	uint64_t end_us = clock_now_us() + TIME_US;

	for (size_t i = 0; i < RECLAIM_ORDERS_MAX; i++)
		work->known[i].used = false;
	for (size_t i = 0; i < job->n; i++) {
		uint64_t now_us = clock_now_us(), left = end_us > now_us ? end_us - now_us : 0;

		carry_out(work, &job->orders[i], now_us + left / (job->n - i), cancel);
	}
	if (!wait_for_age(work, cancel))
		return;
	for (size_t i = 0; i < job->n; i++)
		if (job->orders[i].error == -EINPROGRESS)
			carry_out(work, &job->orders[i],
				  clock_now_us() + TIME_US / RECLAIM_ORDERS_MAX, cancel);
}

int reclaim_work_open(int rootfd, const struct memcg *memcg, pageout_advise_fn advise,
		      struct reclaim_work **ret_work)
{
	struct reclaim_work *work = calloc(1, sizeof(*work));
	int r;

	if (!work)
		return -ENOMEM;
	work->rootfd = rootfd;
	work->memcg = *memcg;
	work->advise = advise;
	r = worker_open(run, 0, &work->worker);
	if (r < 0)
		free(work);
	else
		*ret_work = work;
	return r;
}

void reclaim_work_close(struct reclaim_work *work)
{
	if (!work)
		return;
	worker_close(work->worker, NULL);
	for (size_t i = 0; i < RECLAIM_ORDERS_MAX; i++)
		pageout_free(work->known[i].pageout);
	free(work);
}

int reclaim_work_fd(const struct reclaim_work *work)
{
	return worker_fd(work->worker);
}

bool reclaim_work_is_busy(const struct reclaim_work *work)
{
	return work->busy;
}

int reclaim_work_start(struct reclaim_work *work, const struct reclaim_order *orders, size_t n)
{
	int r;

	if (work->busy)
		return -EBUSY;
	atomic_store(&work->hurry, false);
	work->job.n = n < RECLAIM_ORDERS_MAX ? n : RECLAIM_ORDERS_MAX;
	memcpy(work->job.orders, orders, work->job.n * sizeof(*orders));
	r = worker_start(work->worker, work);
	work->busy = r == 0;
	return r;
}

void reclaim_work_hurry(struct reclaim_work *work)
{
	atomic_store(&work->hurry, true);
}

size_t reclaim_work_take(struct reclaim_work *work, const struct reclaim_order **ret_orders)
{
	if (!worker_take(work->worker))
		return 0;
	work->busy = false;
	for (size_t i = 0; i < work->job.n; i++) {
		work->bytes += work->job.orders[i].done_bytes;
		work->us += work->job.orders[i].took_us;
	}
	*ret_orders = work->job.orders;
	return work->job.n;
}

uint64_t reclaim_work_bytes(const struct reclaim_work *work)
{
	return work->bytes;
}

uint64_t reclaim_work_us(const struct reclaim_work *work)
{
	return work->us;
}
