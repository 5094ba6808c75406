// SPDX-License-Identifier: Apache-2.0
/* The look as a worker's job; the memory is the worker's, too. */
#include "memd/anchor.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/kfile.h"
#include "memd/anchor_back.h"
#include "memd/anchor_slots.h"
#include "memd/host.h"
#include "memd/pagemap.h"
#include "memd/sharing_frame.h"
#include "memd/worker.h"

#define REST_FACTOR 9
/* Address space that a look goes on by, what it copies at most, and what may wait for ksmd even
 * when the host has nothing available. */
#define WALK_PAGES 524288
#define ADD_PAGES  4096
#define NEW_LEAST  4096
/* Of what is held a look sees so much again. */
#define LOOKS_ROUND 8
#define ABSENT_PART 64 /* of a page, for one that is not there */
/* So many have to share a page, and an eighth of the guests: else swapping it is as good. */
#define LEAST_SHARERS 4
#define LEAST_PART    8
#define SETTLED_PART  8
#define FULL_PART     8
#define SHARING_MOST  256 /* max_page_sharing where the kernel does not tell */

#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED 24 /* Linux 5.18 */
#endif

struct anchor {
	int rootfd;
	struct worker *worker;
	char *area; /* one page for each slot */
	struct slots slots;
	bool busy; /* with a look that was not taken yet */
	unsigned int round;
	struct walk_at at;     /* where the next look goes on */
	uint64_t round_added;  /* pages, since it last began with the first guest */
	size_t tried, refused; /* guests, since then */
	bool quiet;	       /* the round before brought nothing */
	struct back back;
};

struct job {
	struct anchor *anchor;
	struct anchor_result result;
	struct anchor_bounds bounds;
	uint64_t least, sharing_most, new_most;
	struct slots_now now;
	struct frames frames;
	const struct walk_chunk *chunk; /* whose pages are the frames' owners */
	uint64_t added, walked;
	bool more; /* to be read back */
	const atomic_bool *cancel;
	size_t n;
	struct anchor_guest guests[];
};

/* ---- memory ---- */

static void let_go_of_all(struct anchor *anchor)
{
	if (!anchor->area)
		return;
	munmap(anchor->area, anchor->slots.n * host_page_bytes());
	anchor->area = NULL;
	slots_close(&anchor->slots);
	back_forget(&anchor->back);
}

static int take_memory(struct anchor *anchor, size_t n)
{
	size_t bytes = n * host_page_bytes();
	int r = slots_open(&anchor->slots, n);
	void *area;

	if (r < 0)
		return r;
	area = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (area == MAP_FAILED) {
		r = -errno;
		slots_close(&anchor->slots);
		return r;
	}
	anchor->area = area;
	/* Guests' memory is nobody's core dump; whole huge pages would be locked for one of theirs.
	 */
	if (madvise(area, bytes, MADV_MERGEABLE) < 0 || madvise(area, bytes, MADV_DONTDUMP) < 0 ||
	    mlock2(area, bytes, MLOCK_ONFAULT) < 0)
		r = -errno;
	(void)madvise(area, bytes, MADV_NOHUGEPAGE);
	if (r < 0)
		let_go_of_all(anchor);
	return r;
}

static void *page_of(const struct anchor *anchor, size_t slot)
{
	return anchor->area + slot * host_page_bytes();
}

/* Locked memory is not given up by MADV_DONTNEED (mm/madvise.c). */
static void drop(struct anchor *anchor, size_t slot)
{
	void *page = page_of(anchor, slot);
	size_t bytes = host_page_bytes();

	if (madvise(page, bytes, MADV_DONTNEED_LOCKED) == 0)
		return;
	(void)munlock(page, bytes);
	(void)madvise(page, bytes, MADV_DONTNEED);
	(void)mlock2(page, bytes, MLOCK_ONFAULT);
}

/* ---- what is held ---- */

static int judge_held(void *ctx, const uint64_t *mappings, size_t n, enum frame_kind kind,
		      uint64_t mappers)
{
	struct job *job = ctx;
	struct anchor *anchor = job->anchor;
	uint64_t others = mappers > n ? mappers - n : 0;

	for (size_t i = 0; i < n; i++) {
		size_t slot = frame_owner(mappings[i]);

		if (!slots_judge(&anchor->slots, slot, kind, others, job->least, &job->now))
			drop(anchor, slot);
	}
	return 0;
}

/* All that is new, and of the rest one part each time: is it still what it was held for? */
static int look_at_slot(struct job *job, size_t slot, uint64_t entry)
{
	struct anchor *anchor = job->anchor;
	const struct slot *one = &anchor->slots.v[slot];
	uint64_t frame = entry & PAGEMAP_PRESENT ? entry & PAGEMAP_FRAME : 0;

	if (one->state == SLOT_FREE)
		return 0;
	if (one->source)
		number_set_add(&anchor->slots.frames, one->source);
	/* What is locked is not in swap: it is being moved. */
	if (one->state == SLOT_REFUSED || entry & PAGEMAP_SWAPPED)
		return 0;
	if (frame)
		number_set_add(&anchor->slots.frames, frame);
	if (!frame && !slots_judge(&anchor->slots, slot, FRAME_OTHER, 0, job->least, &job->now))
		drop(anchor, slot);
	if (frame && (one->state == SLOT_NEW || slot % LOOKS_ROUND == anchor->round))
		return frames_add(&job->frames, frame, (uint32_t)slot);
	return 0;
}

static int look_at_held(struct job *job)
{
	struct anchor *anchor = job->anchor;
	AUTO_FD int fd = openat(anchor->rootfd, "proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	uint64_t entries[1024], page = (uintptr_t)anchor->area / host_page_bytes();
	int r = fd < 0 ? -errno : 0;

	slots_forgive(&anchor->slots, &job->now);
	number_set_clear(&anchor->slots.frames);
	anchor->round = (anchor->round + 1) % LOOKS_ROUND;
	for (size_t at = 0; r >= 0 && at < anchor->slots.n; at += (size_t)r) {
		size_t left = anchor->slots.n - at;

		r = anchor_walk_entries(fd, page + at, entries, left < 1024 ? left : 1024);
		if (r == 0)
			r = -EIO;
		for (int i = 0, error = 0; i < r; i++) {
			error = look_at_slot(job, at + (size_t)i, entries[i]);
			if (error < 0)
				return error;
		}
	}
	if (r >= 0)
		r = frames_sort(&job->frames);
	if (r == 0)
		r = frames_each(&job->frames, judge_held, job);
	job->frames.n = 0;
	return r;
}

/* ---- what guests map ---- */

/* Copied: each takes a page until ksmd comes by, on a host that has few. */
static bool has_enough(const struct job *job)
{
	const struct slots *slots = &job->anchor->slots;

	return job->added >= ADD_PAGES || slots->n_new >= job->new_most ||
	       slots->free_at == slots->n;
}

static bool is_over(const struct job *job)
{
	return has_enough(job) || job->walked >= WALK_PAGES || atomic_load(job->cancel);
}

/* Shared by enough others, and not by so many that ksmd lets no more in. */
static int copy_shared(void *ctx, const uint64_t *mappings, size_t n, enum frame_kind kind,
		       uint64_t mappers)
{
	struct job *job = ctx;
	struct anchor *anchor = job->anchor;
	uint64_t frame = frame_number(mappings[0]), bytes = host_page_bytes();
	size_t slot;

	/* What one guest has of it again and again counts once. */
	if (kind != FRAME_MERGED || mappers - n + 1 < job->least || mappers < n ||
	    mappers >= job->sharing_most || number_set_has(&anchor->slots.frames, frame) ||
	    has_enough(job))
		return 0;
	slot = slots_take(&anchor->slots, frame, &job->now);
	if (slot == SIZE_MAX)
		return 0;
	if (pread(job->chunk->mem, page_of(anchor, slot), bytes,
		  (off_t)((job->chunk->first_page + frame_owner(mappings[0])) * bytes)) !=
	    (ssize_t)bytes) {
		slots_let_go(&anchor->slots, slot);
		drop(anchor, slot);
		return 0;
	}
	number_set_add(&anchor->slots.frames, frame);
	job->added++;
	anchor->round_added++;
	return 0;
}

/* A merged page is there, anonymous, and mapped by more than one. */
static int look_at_chunk(void *ctx, struct walk_chunk *chunk)
{
	struct job *job = ctx;
	uint64_t there = 0;
	int r = 0;

	job->frames.n = 0;
	for (size_t i = 0; r == 0 && i < chunk->n; i++) {
		uint64_t entry = chunk->entries[i];

		there += entry & PAGEMAP_PRESENT ? 1 : 0;
		if ((entry & (PAGEMAP_PRESENT | PAGEMAP_SWAPPED | PAGEMAP_FILE |
			      PAGEMAP_EXCLUSIVE)) == PAGEMAP_PRESENT)
			r = frames_add(&job->frames, entry & PAGEMAP_FRAME, (uint32_t)i);
	}
	job->chunk = chunk;
	job->walked += there + (chunk->n - there) / ABSENT_PART;
	if (r == 0)
		r = frames_sort(&job->frames);
	if (r == 0)
		r = frames_each(&job->frames, copy_shared, job);
	/* What this chunk had too much of, other guests have too. */
	return r < 0 ? r : is_over(job);
}

/* One that cannot be looked at is left out. */
static void looked_at(void *ctx, const struct anchor_guest *guest, int error)
{
	struct anchor *anchor = ((struct job *)ctx)->anchor;

	(void)guest;
	anchor->tried++;
	anchor->refused += error == -EPERM || error == -EACCES;
}

/* From where the last look ended, to the last guest. */
static int look_at_guests(struct job *job)
{
	struct anchor *anchor = job->anchor;
	const struct walk walk = {.ctx = job, .chunk = look_at_chunk, .done = looked_at};
	int r;

	if (is_over(job))
		return 0;
	r = anchor_walk(anchor->rootfd, job->guests, job->n, &anchor->at, &walk);
	if (r != 0)
		return r < 0 ? r : 0;
	r = anchor->tried && anchor->refused == anchor->tried ? -EPERM : 0;
	anchor->quiet = !anchor->round_added;
	anchor->round_added = anchor->tried = anchor->refused = 0;
	return r;
}

/* ---- what went to swap ---- */

static int list_contents(const struct job *job, struct number_set *contents)
{
	const struct anchor *anchor = job->anchor;
	int r = number_set_open(contents, anchor->slots.n_held + 1);

	for (size_t i = 0; r == 0 && i < anchor->slots.n && !atomic_load(job->cancel); i++) {
		const struct slot *one = &anchor->slots.v[i];

		/* Where about as many share it as may, ksmd lets no more in. */
		if (one->state == SLOT_HELD &&
		    one->others < job->sharing_most - job->sharing_most / FULL_PART)
			number_set_add(contents, back_content(page_of(anchor, i)));
	}
	return r;
}

/* When little waits to be held beside what is: who was read is left alone for long. What fails is
 * no reason to let go of anything. */
static void read_back(struct job *job)
{
	struct anchor *anchor = job->anchor;
	const struct slots *slots = &anchor->slots;
	struct number_set contents = {0};
	const struct back_bounds bounds = {.most_bytes = job->bounds.back_bytes,
					   .now_us = clock_now_us(),
					   .cancel = job->cancel};

	if (!bounds.most_bytes || !slots->n_held || slots->n_new > slots->n_held / SETTLED_PART ||
	    !back_is_due(&anchor->back, job->guests, job->n, bounds.now_us))
		return;
	if (list_contents(job, &contents) == 0)
		job->more = back_read(&anchor->back, anchor->rootfd, job->guests, job->n, &contents,
				      &bounds) == 1;
	number_set_close(&contents);
}

/* ---- the job ---- */

/* -EPERM: frames are hidden from those without CAP_SYS_ADMIN. */
static int see_frames(const struct anchor *anchor)
{
	AUTO_FD int fd = openat(anchor->rootfd, "proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	volatile uint64_t entry = 1;
	uint64_t seen;
	int r = fd < 0 ? -errno : 0;

	if (r == 0)
		r = anchor_walk_entries(fd, (uintptr_t)&entry / host_page_bytes(), &seen, 1);
	if (r < 0)
		return r;
	return r == 1 && seen & PAGEMAP_FRAME ? 0 : -EPERM;
}

static int prepare(struct job *job)
{
	struct anchor *anchor = job->anchor;
	int r = see_frames(anchor);

	if (r < 0 || anchor->area)
		return r;
	return take_memory(anchor, job->bounds.most_bytes / host_page_bytes());
}

static int look_at_all(struct job *job)
{
	int r = frames_open(job->anchor->rootfd, &job->frames);

	if (r < 0)
		return r;
	r = look_at_held(job);
	if (r == 0)
		r = look_at_guests(job);
	frames_close(&job->frames);
	if (r == 0)
		read_back(job);
	return r;
}

static void look(void *arg, const atomic_bool *cancel)
{
	struct job *job = arg;
	struct anchor *anchor = job->anchor;
	struct anchor_result *result = &job->result;
	uint64_t bytes = host_page_bytes();

	job->cancel = cancel;
	job->now.us = clock_now_us();
	job->least = job->n / LEAST_PART > LEAST_SHARERS ? job->n / LEAST_PART : LEAST_SHARERS;
	if (kfile_read_u64(anchor->rootfd, "sys/kernel/mm/ksm/max_page_sharing",
			   &job->sharing_most) < 0)
		job->sharing_most = SHARING_MOST;
	result->error = prepare(job);
	if (result->error == 0)
		result->error = look_at_all(job);
	/* What cannot be looked at must not be held either. */
	if (result->error)
		let_go_of_all(anchor);
	for (size_t i = 0; i < anchor->slots.n; i++)
		if (anchor->slots.v[i].state == SLOT_HELD)
			result->shared_bytes += anchor->slots.v[i].others * bytes;
	result->held_bytes = anchor->slots.n_held * bytes;
	result->back_bytes = anchor->back.equal_bytes;
	result->read_bytes = anchor->back.read_bytes;
	result->back_us = anchor->back.work_us;
	/* Those that wait for ksmd are waited for, and full is full. */
	result->quiet = !job->added && !job->more && (anchor->quiet || has_enough(job));
}

int anchor_open(int rootfd, struct anchor **ret_anchor)
{
	struct anchor *anchor = calloc(1, sizeof(*anchor));
	int r;

	if (!anchor)
		return -ENOMEM;
	anchor->rootfd = rootfd;
	r = worker_open(look, REST_FACTOR, &anchor->worker);
	if (r < 0)
		free(anchor);
	else
		*ret_anchor = anchor;
	return r;
}

void anchor_close(struct anchor *anchor)
{
	void *job = NULL;

	if (!anchor)
		return;
	worker_close(anchor->worker, &job);
	free(job);
	let_go_of_all(anchor);
	back_close(&anchor->back);
	free(anchor);
}

int anchor_fd(const struct anchor *anchor)
{
	return worker_fd(anchor->worker);
}

bool anchor_may_start(struct anchor *anchor)
{
	return worker_may_start(anchor->worker);
}

int anchor_start(struct anchor *anchor, const struct anchor_guest *guests, size_t n,
		 const struct anchor_bounds *bounds)
{
	struct job *job = calloc(1, sizeof(*job) + n * sizeof(*guests));
	int r;

	if (!job)
		return -ENOMEM;
	job->anchor = anchor;
	job->bounds = *bounds;
	job->new_most = bounds->new_bytes / host_page_bytes();
	if (job->new_most < NEW_LEAST)
		job->new_most = NEW_LEAST;
	job->now.scans = bounds->full_scans;
	job->n = n;
	memcpy(job->guests, guests, n * sizeof(*guests));
	r = worker_start(anchor->worker, job);
	if (r < 0)
		free(job);
	else
		anchor->busy = true;
	return r;
}

int anchor_take(struct anchor *anchor, struct anchor_result *ret_result)
{
	struct job *job = worker_take(anchor->worker);

	if (!job)
		return -EAGAIN;
	anchor->busy = false;
	*ret_result = job->result;
	free(job);
	return 0;
}

uint64_t anchor_read_of(struct anchor *anchor, uint64_t id)
{
	return back_take_read(&anchor->back, id);
}

bool anchor_let_go(struct anchor *anchor)
{
	if (anchor->busy)
		worker_cancel(anchor->worker);
	else
		let_go_of_all(anchor);
	return !anchor->busy;
}
