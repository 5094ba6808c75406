// SPDX-License-Identifier: Apache-2.0
/* The look as a worker's job; the memory is the worker's, too. */
#include "memd/anchor.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/kfile.h"
#include "memd/anchor_slots.h"
#include "memd/footprint.h"
#include "memd/host.h"
#include "memd/pagemap.h"
#include "memd/sharing_frame.h"
#include "memd/smaps.h"
#include "memd/worker.h"

#define REST_FACTOR 9
/* Address space that a look goes on by, what it copies at most, and what may wait for ksmd even
 * when the host has nothing available. */
#define WALK_PAGES  131072
#define ADD_PAGES   4096
#define NEW_LEAST   4096
#define CHUNK_PAGES 16384
/* Of what is held a look sees so much again. */
#define LOOKS_ROUND 8
#define ABSENT_PART 64 /* of a page, for one that is not there */
/* So many have to share a page, and an eighth of the guests: else swapping it is as good. */
#define LEAST_SHARERS 4
#define LEAST_PART    8
/* Larger mappings are address space kept free. */
#define MAPPING_MOST (1ULL << 40)
#define SHARING_MOST 256 /* max_page_sharing where the kernel does not tell */

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
	uint64_t at_id, at_address; /* where the next look goes on */
	uint64_t round_added;	    /* pages, since it last began with the first guest */
	bool quiet;		    /* the round before brought nothing */
};

struct job {
	struct anchor *anchor;
	struct anchor_result result;
	uint64_t most_bytes, least, sharing_most, new_most;
	struct slots_now now;
	struct frames frames;
	/* the guest's pages under way, whose numbers are the frames' owners */
	int mem;
	uint64_t first_page;
	uint64_t added, walked;
	size_t tried, refused; /* guests */
	const atomic_bool *cancel;
	size_t n;
	struct anchor_guest guests[];
};

/* ---- memory ---- */

static void let_go_of_all(struct anchor *anchor)
{
	if (anchor->area)
		munmap(anchor->area, anchor->slots.n * host_page_bytes());
	anchor->area = NULL;
	slots_close(&anchor->slots);
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

static int read_entries(int fd, uint64_t first_page, uint64_t *entries, size_t n)
{
	ssize_t got;

	do
		got = pread(fd, entries, n * sizeof(*entries),
			    (off_t)(first_page * sizeof(*entries)));
	while (got < 0 && errno == EINTR);
	return got < 0 ? -errno : (int)((size_t)got / sizeof(*entries));
}

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
		slots_know(&anchor->slots, one->source);
	/* What is locked is not in swap: it is being moved. */
	if (one->state == SLOT_REFUSED || entry & PAGEMAP_SWAPPED)
		return 0;
	if (frame)
		slots_know(&anchor->slots, frame);
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
	slots_forget(&anchor->slots);
	anchor->round = (anchor->round + 1) % LOOKS_ROUND;
	for (size_t at = 0; r >= 0 && at < anchor->slots.n; at += (size_t)r) {
		size_t left = anchor->slots.n - at;

		r = read_entries(fd, page + at, entries, left < 1024 ? left : 1024);
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

/*
 * Shared by enough others, and not by so many that ksmd lets no more in. By /proc/PID/mem: a page
 * that process_vm_readv(2) pins is first made its process's own (mm/gup.c, gup_must_unshare).
 */
static int copy_shared(void *ctx, const uint64_t *mappings, size_t n, enum frame_kind kind,
		       uint64_t mappers)
{
	struct job *job = ctx;
	struct anchor *anchor = job->anchor;
	uint64_t frame = frame_number(mappings[0]), bytes = host_page_bytes();
	size_t slot;

	/* What one guest has of it again and again counts once. */
	if (kind != FRAME_MERGED || mappers - n + 1 < job->least || mappers < n ||
	    mappers >= job->sharing_most || slots_is_known(&anchor->slots, frame) ||
	    has_enough(job))
		return 0;
	slot = slots_take(&anchor->slots, frame, &job->now);
	if (slot == SIZE_MAX)
		return 0;
	if (pread(job->mem, page_of(anchor, slot), bytes,
		  (off_t)((job->first_page + frame_owner(mappings[0])) * bytes)) !=
	    (ssize_t)bytes) {
		slots_let_go(&anchor->slots, slot);
		drop(anchor, slot);
		return 0;
	}
	slots_know(&anchor->slots, frame);
	job->added++;
	anchor->round_added++;
	return 0;
}

/* A merged page is there, anonymous, and mapped by more than one. */
static int look_at_chunk(struct job *job, int fd, uint64_t first_page, size_t n, uint64_t *entries)
{
	int r = read_entries(fd, first_page, entries, n);
	uint64_t there = 0;

	if (r == 0)
		r = -ESRCH; /* it is ending */
	job->frames.n = 0;
	for (int i = 0, got = r; r > 0 && i < got; i++) {
		uint64_t entry = entries[i];

		there += entry & PAGEMAP_PRESENT ? 1 : 0;
		if ((entry & (PAGEMAP_PRESENT | PAGEMAP_SWAPPED | PAGEMAP_FILE |
			      PAGEMAP_EXCLUSIVE)) == PAGEMAP_PRESENT &&
		    frames_add(&job->frames, entry & PAGEMAP_FRAME, (uint32_t)i) < 0)
			r = -ENOMEM;
	}
	job->first_page = first_page;
	job->walked += there + (n - there) / ABSENT_PART;
	if (r > 0)
		r = frames_sort(&job->frames);
	if (r == 0)
		r = frames_each(&job->frames, copy_shared, job);
	return r;
}

static int look_at_mapping(struct job *job, int fd, const struct smaps_mapping *map,
			   uint64_t *entries)
{
	struct anchor *anchor = job->anchor;
	uint64_t bytes = host_page_bytes();
	uint64_t at = anchor->at_address > map->start ? anchor->at_address : map->start;
	int r = 0;

	while (r == 0 && at < map->end && !is_over(job)) {
		uint64_t left = (map->end - at) / bytes;
		size_t n = left < CHUNK_PAGES ? (size_t)left : CHUNK_PAGES;

		r = look_at_chunk(job, fd, at / bytes, n, entries);
		/* What this chunk had too much of, other guests have too. */
		at += n * bytes;
		anchor->at_address = at;
	}
	return r;
}

/* Mappings side by side are one: the kernel splits them where merging is switched by chunks. */
static int look_at_maps(struct job *job, int fd, char *maps, uint64_t *entries)
{
	struct smaps_mapping map, run = {0};
	char *save = NULL;
	int r = 0;

	for (char *line = strtok_r(maps, "\n", &save); r == 0 && line && !is_over(job);
	     line = strtok_r(NULL, "\n", &save)) {
		if (smaps_header(line, &map) <= 0)
			continue;
		if (run.end == map.start && map.writable && !map.shared && !map.file && !map.exec) {
			run.end = map.end;
			continue;
		}
		if (smaps_is_private_ram(&run) && run.end - run.start < MAPPING_MOST)
			r = look_at_mapping(job, fd, &run, entries);
		run = map;
	}
	if (r == 0 && smaps_is_private_ram(&run) && run.end - run.start < MAPPING_MOST)
		r = look_at_mapping(job, fd, &run, entries);
	return r;
}

static int open_of(const struct job *job, pid_t pid, const char *file)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "proc/%d/%s", (int)pid, file);
	fd = openat(job->anchor->rootfd, path, O_RDONLY | O_CLOEXEC);
	return fd >= 0 ? fd : -errno;
}

/* The guest's memory from at_address on. -ESRCH: gone; -EPERM, -EACCES. */
static int look_at_guest(struct job *job, const struct anchor_guest *guest, uint64_t *entries)
{
	AUTO_FREE char *maps = NULL;
	AUTO_FD int pagemap = open_of(job, guest->pid, "pagemap");
	AUTO_FD int mem = open_of(job, guest->pid, "mem");
	struct footprint foot;
	char path[64];
	int r;

	if (pagemap < 0 || mem < 0)
		return pagemap < 0 ? pagemap : mem;
	snprintf(path, sizeof(path), "proc/%d/maps", (int)guest->pid);
	r = kfile_read_all(job->anchor->rootfd, path, &maps, NULL);
	/* Is what was opened of the process that is meant? */
	if (r == 0)
		r = footprint_quick(job->anchor->rootfd, guest->pid, &foot);
	if (r < 0 || foot.starttime != guest->starttime)
		return r < 0 ? r : -ESRCH;
	job->mem = mem;
	return look_at_maps(job, pagemap, maps, entries);
}

/* From the guest that the last look ended in, once around at most. */
static void look_at_guests(struct job *job)
{
	struct anchor *anchor = job->anchor;
	AUTO_FREE uint64_t *entries = calloc(CHUNK_PAGES, sizeof(*entries));
	size_t at = 0;
	int r;

	while (at < job->n && job->guests[at].id < anchor->at_id)
		at++;
	for (size_t i = 0; entries && i < job->n && !is_over(job); i++) {
		const struct anchor_guest *guest = &job->guests[(at + i) % job->n];

		if (at + i == job->n) {
			anchor->quiet = !anchor->round_added;
			anchor->round_added = 0;
		}
		if (guest->id != anchor->at_id)
			anchor->at_address = 0;
		anchor->at_id = guest->id;
		/* One that cannot be looked at is left out. */
		r = look_at_guest(job, guest, entries);
		job->tried++;
		job->refused += r == -EPERM || r == -EACCES;
		if (is_over(job))
			return;
		anchor->at_id = guest->id + 1;
		anchor->at_address = 0;
	}
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
		r = read_entries(fd, (uintptr_t)&entry / host_page_bytes(), &seen, 1);
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
	return take_memory(anchor, job->most_bytes / host_page_bytes());
}

static int look_at_all(struct job *job)
{
	int r = frames_open(job->anchor->rootfd, &job->frames);

	if (r < 0)
		return r;
	r = look_at_held(job);
	if (r == 0)
		look_at_guests(job);
	frames_close(&job->frames);
	if (r == 0 && job->tried && job->refused == job->tried)
		r = -EPERM;
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
	/* Those that wait for ksmd are waited for, and full is full. */
	result->quiet = !job->added && (anchor->quiet || has_enough(job));
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
	free(anchor);
}

int anchor_fd(const struct anchor *anchor)
{
	return worker_fd(anchor->worker);
}

int anchor_start(struct anchor *anchor, const struct anchor_guest *guests, size_t n,
		 uint64_t most_bytes, uint64_t new_bytes, uint64_t full_scans)
{
	struct job *job = calloc(1, sizeof(*job) + n * sizeof(*guests));
	int r;

	if (!job)
		return -ENOMEM;
	job->anchor = anchor;
	job->most_bytes = most_bytes;
	job->new_most = new_bytes / host_page_bytes();
	if (job->new_most < NEW_LEAST)
		job->new_most = NEW_LEAST;
	job->now.scans = full_scans;
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

bool anchor_let_go(struct anchor *anchor)
{
	if (anchor->busy)
		worker_cancel(anchor->worker);
	else
		let_go_of_all(anchor);
	return !anchor->busy;
}
