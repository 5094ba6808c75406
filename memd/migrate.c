// SPDX-License-Identifier: Apache-2.0
/*
 * move_pages(2) without MPOL_MF_MOVE_ALL leaves alone what is mapped more than once, so pages that
 * KSM shares stay where others use them too. Given the first page of a transparent huge page the
 * kernel moves all of it; given the others as well it would look at each for nothing. So each
 * window is looked at, then the heads of what may be huge pages are moved, then what is left.
 *
 * A call begins by emptying the LRU caches of all processors (lru_cache_disable(), mm/swap.c),
 * which takes longer than to copy 2 MiB where there are many or they are busy; so several huge
 * pages go in one. A vCPU waits for one of them all the same: they are unmapped, copied and mapped
 * one by one (NR_MAX_BATCHED_MIGRATION, mm/migrate.c; before 6.3 every page was).
 */
#include "memd/migrate.h"

#include <errno.h>
#include <numaif.h>
#include <poll.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/size.h"
#include "memd/footprint.h"
#include "memd/host.h"
#include "memd/smaps.h"
#include "memd/worker.h"

#define HUGE_PAGES   512
#define HEADS_MAX    4 /* huge pages in a call, and in a window */
#define WINDOW_PAGES (HEADS_MAX * HUGE_PAGES)
/*
 * It rests so many times as long as a window took of a processor: the guest keeps three quarters of
 * one. To wait for other processors takes nothing from it.
 */
#define REST_FACTOR 3

struct window {
	struct migrate_job *job;
	const atomic_bool *cancel;
	int pidfd;
	uint64_t end_us;
	void *pages[WINDOW_PAGES]; /* elsewhere, in rising order */
	int nodes[WINDOW_PAGES];
	unsigned long n;
};

/* Which of [start, start + n pages) are elsewhere; *ret_present: how many there are at all. */
static int look(struct window *w, uint64_t start, unsigned long n, unsigned long *ret_present)
{
	uint64_t page = host_page_bytes();
	unsigned long kept = 0, present = 0;

	for (unsigned long i = 0; i < n; i++)
		w->pages[i] = (void *)(uintptr_t)(start + i * page);
	if (move_pages(w->job->pid, n, w->pages, NULL, w->nodes, 0) < 0)
		return -errno;
	for (unsigned long i = 0; i < n; i++) {
		present += w->nodes[i] >= 0;
		if (w->nodes[i] < 0 || (uint32_t)w->nodes[i] == w->job->node)
			continue;
		w->nodes[kept] = w->nodes[i];
		w->pages[kept++] = w->pages[i];
	}
	w->n = kept;
	if (ret_present)
		*ret_present = present;
	return 0;
}

static int move(struct window *w, void **pages, unsigned long n, unsigned long per_call)
{
	int to[HUGE_PAGES], status[HUGE_PAGES];

	while (n) {
		unsigned long part = n < per_call ? n : per_call;
		uint64_t start_us = clock_now_us(), took_us;
		long r;

		for (unsigned long i = 0; i < part; i++)
			to[i] = (int)w->job->node;
		r = move_pages(w->job->pid, part, pages, to, status, MPOL_MF_MOVE);
		took_us = clock_now_us() - start_us;
		if (took_us > w->job->longest_us)
			w->job->longest_us = took_us;
		/* Positive: so many were not moved. */
		if (r < 0)
			return -errno;
		pages += part;
		n -= part;
	}
	return 0;
}

/* First pages of 2 MiB that are elsewhere as a whole. */
static unsigned long find_heads(struct window *w, void **ret_heads)
{
	uint64_t page = host_page_bytes(), huge = page * HUGE_PAGES;
	unsigned long n = 0;

	for (unsigned long i = 0; i + HUGE_PAGES <= w->n; i++) {
		uint64_t at = (uint64_t)(uintptr_t)w->pages[i];

		if (at % huge == 0 &&
		    (uint64_t)(uintptr_t)w->pages[i + HUGE_PAGES - 1] == at + huge - page)
			ret_heads[n++] = w->pages[i];
	}
	return n;
}

static int move_window(struct window *w, uint64_t start, unsigned long n)
{
	uint64_t page = host_page_bytes();
	void *heads[HEADS_MAX];
	unsigned long present = 0, before, n_heads;
	int r = look(w, start, n, &present);

	if (r < 0)
		return r;
	w->job->looked_bytes += present * page;
	before = w->n;
	if (!before)
		return 0;
	n_heads = find_heads(w, heads);
	if (n_heads) {
		r = move(w, heads, n_heads, HEADS_MAX);
		if (r == 0)
			r = look(w, start, n, NULL);
	}
	if (r == 0 && w->n)
		r = move(w, w->pages, w->n, HUGE_PAGES);
	if (r == 0)
		r = look(w, start, n, NULL);
	if (r == 0) {
		w->job->left_bytes += w->n * page;
		w->job->moved_bytes += before > w->n ? (before - w->n) * page : 0;
	}
	return r;
}

/* Of a processor, by this thread. */
static uint64_t thread_cpu_us(void)
{
	struct timespec ts = {0};

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * USEC_PER_SEC + (uint64_t)ts.tv_nsec / 1000;
}

static bool has_ended(int pidfd)
{
	struct pollfd poll_fd = {.fd = pidfd, .events = POLLIN};

	return poll(&poll_fd, 1, 0) > 0;
}

/* All of it, or until as much was seen as there is of it in memory. */
static int move_mapping(struct window *w, uint64_t start, uint64_t end, uint64_t resident)
{
	uint64_t page = host_page_bytes(), window = WINDOW_PAGES * page;
	uint64_t seen = w->job->looked_bytes;

	for (uint64_t to; start < end && w->job->looked_bytes - seen < resident; start = to) {
		uint64_t begin_us = clock_now_us(), moved = w->job->moved_bytes;
		uint64_t cpu_us = thread_cpu_us(), rest_us, pace_us;
		int r;

		if (begin_us > w->end_us)
			return -ETIMEDOUT;
		if (atomic_load(w->cancel))
			return -ECANCELED;
		/* move_pages(2) takes a number, which may be another process's by now. */
		if (has_ended(w->pidfd))
			return -ESRCH;
		/* Windows begin on their own multiples, so that no huge page lies in two. */
		to = (start / window + 1) * window;
		to = to < end ? to : end;
		r = move_window(w, start, (to - start) / page);
		if (r < 0)
			return r;
		moved = w->job->moved_bytes - moved;
		if (!moved)
			continue;
		rest_us = (1 + REST_FACTOR) * (thread_cpu_us() - cpu_us);
		pace_us = w->job->bytes_per_s ? moved * USEC_PER_SEC / w->job->bytes_per_s : 0;
		if (!worker_rest_until(begin_us + (pace_us > rest_us ? pace_us : rest_us),
				       w->cancel))
			return -ECANCELED;
	}
	return 0;
}

/* Private and written to: guest RAM, and what the process keeps about it. */
static bool is_wanted(const struct smaps_mapping *map)
{
	return map->writable && !map->shared && strncmp(map->name, "[v", 2) != 0;
}

static int move_one(void *ctx, const struct smaps_mapping *map, uint64_t resident)
{
	struct window *w = ctx;
	int r = is_wanted(map) ? move_mapping(w, map->start, map->end, resident) : 0;

	/* One that is gone by now is no error. */
	return r == -EFAULT || r == -ENOENT ? 0 : r;
}

static int open_process(struct window *w, char **ret_smaps)
{
	const struct migrate_job *job = w->job;
	int r;

	w->pidfd = (int)syscall(SYS_pidfd_open, job->pid, 0);
	if (w->pidfd < 0)
		return -errno;
	r = footprint_read_text(job->rootfd, job->pid, job->starttime, "smaps", ret_smaps);
	return r == 0 && !(*ret_smaps)[0] ? -ESRCH : r;
}

void migrate_run(void *arg, const atomic_bool *cancel)
{
	struct migrate_job *job = arg;
	struct window w = {.job = job, .cancel = cancel, .pidfd = -1};
	AUTO_FREE char *smaps = NULL;
	uint64_t start_us = clock_now_us();

	w.end_us = start_us + job->limit_us;
	job->error = open_process(&w, &smaps);
	if (job->error == 0)
		job->error = smaps_each(smaps, move_one, &w);
	cleanup_fd(&w.pidfd);
	job->took_us = clock_now_us() - start_us;
}
