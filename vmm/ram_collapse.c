// SPDX-License-Identifier: Apache-2.0
/*
 * The return of huge pages: what the balloon gave back in parts and the guest fills again with
 * small faults is collapsed into huge pages (MADV_COLLAPSE, Linux 6.1) by a thread of our own.
 * khugepaged would come too, at its default pace of 16 MiB in 10 s for the whole host. One unit at
 * a time, resting four times as long as it took: a fifth of one processor at most.
 *
 * Left alone: what the balloon holds, what KSM shares (it would be copied), what is swapped out,
 * and units with too little in them, whose holes would cost host memory.
 */
#include "vmm/ram_impl.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/kfile.h"
#include "common/log.h"
#include "vmm/bus.h"
#include "vmm/sandbox.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

/* Documentation/admin-guide/mm/pagemap.rst */
#define PAGEMAP_PRESENT	  (1ULL << 63)
#define PAGEMAP_SWAPPED	  (1ULL << 62)
#define PAGEMAP_EXCLUSIVE (1ULL << 56) /* mapped once: not what KSM shares, nor the zero page */

#define UNIT_PAGES  (RAM_HUGE_BYTES / RAM_SMALL_BYTES)
#define PRESENT_MIN (UNIT_PAGES * 3 / 4)
#define REST_FACTOR 4
#define REST_MIN_US 1000
/* After a deflate the guest gets this long to fill its pages; then again, ever more rarely. */
#define ROUND_FIRST_US USEC_PER_SEC
#define ROUND_LAST_US  (60 * USEC_PER_SEC)
#define TELL_BYTES     (8 * RAM_HUGE_BYTES)

struct ram_collapse {
	struct ram *ram;
	struct bus *bus;
	ram_collapsed_fn collapsed;
	void *ctx;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool quit, woken;
	struct ram_collapse_stats stats;
	uint64_t tell_gpa, tell_bytes; /* collapsed, and not told yet */
};

/* Wait for a wake, at most us (UINT64_MAX: for ever). False: the thread is to end. */
static bool rest(struct ram_collapse *c, uint64_t us, bool until_woken)
{
	struct timespec until;
	bool go_on;

	clock_gettime(CLOCK_MONOTONIC, &until);
	if (us != UINT64_MAX) {
		uint64_t ns = (uint64_t)until.tv_nsec + us % USEC_PER_SEC * 1000;

		until.tv_sec += (time_t)(us / USEC_PER_SEC + ns / 1000000000);
		until.tv_nsec = (long)(ns % 1000000000);
	}
	pthread_mutex_lock(&c->lock);
	while (!c->quit && !(until_woken && c->woken)) {
		if (us == UINT64_MAX)
			pthread_cond_wait(&c->changed, &c->lock);
		else if (pthread_cond_timedwait(&c->changed, &c->lock, &until) == ETIMEDOUT)
			break;
	}
	go_on = !c->quit;
	pthread_mutex_unlock(&c->lock);
	return go_on;
}

/* ---- one unit ---- */

enum verdict { VERDICT_LATER, VERDICT_COLLAPSE, VERDICT_FILL };

/* Does the balloon or the reporting have a part in it? Under bus_lock. */
static bool is_free_to_take(const struct ram_piece *piece, uint64_t unit)
{
	return bit_get(piece->torn, unit) && piece->n_held[unit] == 0 &&
	       ram_hold_unit_bytes(piece, unit) == RAM_HUGE_BYTES;
}

static enum verdict look_at(const struct ram_collapse *c, const struct ram_piece *piece,
			    uint64_t unit, bool is_merged, bool wants_all)
{
	const uint8_t *hva = piece->region.hva + unit * RAM_HUGE_BYTES;
	unsigned int alone = 0, shared = 0, swapped = 0;
	uint64_t entries[UNIT_PAGES];

	if (pread(c->ram->pagemap_fd, entries, sizeof(entries),
		  (off_t)((uintptr_t)hva / RAM_SMALL_BYTES * sizeof(entries[0]))) !=
	    sizeof(entries))
		return VERDICT_LATER;
	for (size_t i = 0; i < UNIT_PAGES; i++) {
		if (!(entries[i] & PAGEMAP_PRESENT))
			swapped += (entries[i] & PAGEMAP_SWAPPED) != 0;
		else if (entries[i] & PAGEMAP_EXCLUSIVE)
			alone++;
		else
			shared++;
	}
	if (swapped || (is_merged && shared))
		return VERDICT_LATER;
	if (wants_all)
		return VERDICT_FILL;
	return alone >= PRESENT_MIN ? VERDICT_COLLAPSE : VERDICT_LATER;
}

static int collapse(uint8_t *hva, bool fill)
{
	if (fill)
		(void)madvise(hva, RAM_HUGE_BYTES, MADV_POPULATE_WRITE);
	for (unsigned int tries = 0; tries < 3; tries++) {
		if (madvise(hva, RAM_HUGE_BYTES, MADV_COLLAPSE) == 0)
			return 0;
		if (errno != EAGAIN && errno != EINTR)
			break;
	}
	return -errno;
}

static void tell(struct ram_collapse *c)
{
	if (c->tell_bytes && c->collapsed)
		c->collapsed(c->ctx, c->tell_gpa, c->tell_bytes);
	c->tell_bytes = 0;
}

/* Collected, so that whoever maps them again is disturbed once for several. */
static void tell_later(struct ram_collapse *c, uint64_t gpa)
{
	if (c->tell_bytes && c->tell_gpa + c->tell_bytes != gpa)
		tell(c);
	if (!c->tell_bytes)
		c->tell_gpa = gpa;
	c->tell_bytes += RAM_HUGE_BYTES;
	if (c->tell_bytes >= TELL_BYTES)
		tell(c);
}

/*
 * The balloon took pages of the unit while it was being collapsed, so they may be filled again:
 * once more, then. Under bus_lock.
 */
static void drop_held_again(struct ram_piece *piece, uint64_t unit)
{
	uint64_t at = unit * UNIT_PAGES, end = at + UNIT_PAGES, to;

	for (; (at = bits_find(piece->held, at, end, true)) < end; at = to) {
		to = bits_find(piece->held, at, end, false);
		(void)ram_piece_drop(piece, at * RAM_SMALL_BYTES, (to - at) * RAM_SMALL_BYTES,
				     RAM_GIVER_BALLOON);
	}
}

static void finish(struct ram_collapse *c, struct ram_piece *piece, uint64_t unit, int r)
{
	bus_lock(c->bus);
	if (piece->n_held[unit])
		drop_held_again(piece, unit);
	else if (r == 0)
		bit_clear(piece->torn, unit);
	if (r == 0) {
		c->stats.collapsed_units++;
	} else {
		c->stats.failures++;
		c->stats.last_error = -r;
	}
	bus_unlock(c->bus);
	if (r == 0)
		tell_later(c, piece->region.gpa + unit * RAM_HUGE_BYTES);
}

/* True: there was work, so rest. */
static bool visit(struct ram_collapse *c, struct ram_piece *piece, uint64_t unit)
{
	bool is_free, is_merged, wants_all;
	enum verdict verdict;

	bus_lock(c->bus);
	is_free = is_free_to_take(piece, unit);
	is_merged = ram_merge_any(c->ram, piece, unit * RAM_HUGE_BYTES, RAM_HUGE_BYTES);
	wants_all =
		piece->prealloc && !ram_is_reported(piece, unit * RAM_HUGE_BYTES, RAM_HUGE_BYTES);
	bus_unlock(c->bus);
	if (!is_free)
		return false;
	verdict = look_at(c, piece, unit, is_merged, wants_all);
	if (verdict == VERDICT_LATER)
		return false;
	finish(c, piece, unit,
	       collapse(piece->region.hva + unit * RAM_HUGE_BYTES, verdict == VERDICT_FILL));
	return true;
}

/* ---- rounds ---- */

/* Visit all torn units. False: the thread is to end. *ret_left: how many are torn still. */
static bool go_round(struct ram_collapse *c, uint64_t *ret_left)
{
	struct ram_piece *piece;

	*ret_left = 0;
	for (size_t i = 0; (piece = ram_piece_at(c->ram, i)); i++) {
		uint64_t units = piece->torn ? piece->region.size_bytes / RAM_HUGE_BYTES : 0;

		for (uint64_t unit = 0; unit < units; unit++) {
			uint64_t start_us = clock_now_us(), took_us;
			bool was_work;

			/* Racing with the loop's thread here costs a visit more or less. */
			if (!(__atomic_load_n(&piece->torn[unit / 64], __ATOMIC_RELAXED) >>
				      (unit % 64) &
			      1))
				continue;
			was_work = visit(c, piece, unit);
			*ret_left += bit_get(piece->torn, unit);
			took_us = clock_now_us() - start_us;
			if (!was_work && unit % 64)
				continue;
			took_us = took_us * REST_FACTOR;
			if (!rest(c, took_us > REST_MIN_US ? took_us : REST_MIN_US, false))
				return false;
		}
	}
	tell(c);
	return true;
}

static void *collapse_thread(void *arg)
{
	struct ram_collapse *c = arg;
	uint64_t wait_us = UINT64_MAX, left;

	prctl(PR_SET_NAME, "collapse");
	if (sandbox_thread(SANDBOX_WORKER) < 0)
		return NULL;
	while (rest(c, wait_us, true)) {
		pthread_mutex_lock(&c->lock);
		if (c->woken)
			wait_us = ROUND_FIRST_US;
		c->woken = false;
		pthread_mutex_unlock(&c->lock);
		if (wait_us == ROUND_FIRST_US && !rest(c, wait_us, false))
			break;
		if (!go_round(c, &left))
			break;
		wait_us = wait_us * 2 < ROUND_LAST_US ? wait_us * 2 : ROUND_LAST_US;
		if (!left)
			wait_us = UINT64_MAX;
	}
	return NULL;
}

/* ---- from outside ---- */

void ram_collapse_wake(struct ram *ram)
{
	struct ram_collapse *c = ram->collapse;

	if (!c || __atomic_load_n(&c->woken, __ATOMIC_RELAXED))
		return;
	pthread_mutex_lock(&c->lock);
	c->woken = true;
	pthread_cond_signal(&c->changed);
	pthread_mutex_unlock(&c->lock);
}

/* NULL: it can work here; else what is missing, for the log. */
static const char *missing(const struct ram *ram)
{
	static const char path[] = "sys/kernel/mm/transparent_hugepage/enabled";
	AUTO_FD int root = kfile_open_root("/");
	uint8_t *hva = NULL;
	char mode[32];

	for (size_t i = 0; i < ram->n_pieces && !hva; i++)
		if (ram->pieces[i].torn)
			hva = ram->pieces[i].region.hva;
	if (!hva)
		return "no guest node has pages=thp";
	if (root < 0 || kfile_read_choice(root, path, mode, sizeof(mode)) < 0 ||
	    strcmp(mode, "never") == 0)
		return "the host has transparent huge pages switched off";
	if (ram->pagemap_fd < 0)
		return "/proc/self/pagemap cannot be read";
	/* Of no length: only whether the kernel knows it. */
	if (madvise(hva, 0, MADV_COLLAPSE) < 0)
		return "this kernel has no MADV_COLLAPSE (Linux 6.1), so the return of huge pages "
		       "is left to khugepaged";
	return NULL;
}

int ram_collapse_start(struct ram *ram, struct bus *bus, ram_collapsed_fn collapsed, void *ctx)
{
	const char *why = missing(ram);
	struct ram_collapse *c;
	pthread_condattr_t attr;
	sigset_t all, old;
	int err;

	if (why) {
		log_debug("memory: huge pages are not brought back: %s", why);
		return 0;
	}
	c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	*c = (struct ram_collapse){.ram = ram, .bus = bus, .collapsed = collapsed, .ctx = ctx};
	pthread_mutex_init(&c->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&c->changed, &attr);
	pthread_condattr_destroy(&attr);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	err = pthread_create(&c->thread, NULL, collapse_thread, c);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (err) {
		log_err("memory: cannot start the thread that brings huge pages back: %s",
			strerror(err));
		pthread_cond_destroy(&c->changed);
		pthread_mutex_destroy(&c->lock);
		free(c);
		return -err;
	}
	ram->collapse = c;
	return 0;
}

void ram_collapse_stop(struct ram *ram)
{
	struct ram_collapse *c = ram ? ram->collapse : NULL;

	if (!c)
		return;
	pthread_mutex_lock(&c->lock);
	c->quit = true;
	pthread_cond_signal(&c->changed);
	pthread_mutex_unlock(&c->lock);
	pthread_join(c->thread, NULL);
	pthread_cond_destroy(&c->changed);
	pthread_mutex_destroy(&c->lock);
	free(c);
	ram->collapse = NULL;
}

bool ram_collapse_stats(const struct ram *ram, struct ram_collapse_stats *ret_stats)
{
	struct ram_collapse_stats stats = {0};
	const struct ram_piece *piece;

	if (!ram->collapse)
		return false;
	stats = ram->collapse->stats;
	for (size_t i = 0; (piece = ram_piece_at(ram, i)); i++) {
		uint64_t words = (piece->region.size_bytes / RAM_HUGE_BYTES + 63) / 64;

		for (uint64_t w = 0; piece->torn && w < words; w++)
			stats.torn_units += (uint64_t)__builtin_popcountll(piece->torn[w]);
	}
	*ret_stats = stats;
	return true;
}
