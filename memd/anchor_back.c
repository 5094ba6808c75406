// SPDX-License-Identifier: Apache-2.0
/* Reading back; see anchor_back.h. */
#include "memd/anchor_back.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/size.h"
#include "memd/estimate_look.h"
#include "memd/host.h"
#include "memd/pagemap.h"

/* Each page that is equal pays for one that is not, up to so many; after that, of the swapped pages
 * ever fewer are tried, at last one in SKIP_MOST + 1, which is odd: patterns are of even ones. */
#define CREDIT_FIRST 4
#define CREDIT_MOST  16
#define SKIP_MOST    30
/* A guest is read through again when so much more of it is in swap, and by so much of what was, or
 * so much later. */
#define AGAIN_BYTES (8 * MIB)
#define AGAIN_PART  8
#define AGAIN_US    (600 * USEC_PER_SEC)
#define WORK_US	    (USEC_PER_SEC / 2)
/* A swap from which a page takes so long, on average of so many, is no zram: guests would wait for
 * what is read, and for their mappings' lock meanwhile. */
#define SLOW_US	   4000
#define SLOW_PAGES 16

struct reading {
	struct back *back;
	const struct number_set *contents;
	const struct back_bounds *bounds;
	struct back_past *guest; /* that is being read */
	uint64_t read_bytes;	 /* now */
	uint64_t tried, pread_us, until_us;
	unsigned int credit, skip, left;
	void *page;
};

uint64_t back_content(const void *page)
{
	uint64_t content = estimate_fingerprint(page, 0);

	return content ? content : 1;
}

void back_forget(struct back *back)
{
	back->at = (struct walk_at){0};
	for (size_t i = 0; i < back->n; i++)
		back->past[i].us = 0;
}

void back_close(struct back *back)
{
	free(back->past);
	*back = (struct back){0};
}

static struct back_past *past_of(const struct back *back, uint64_t id)
{
	for (size_t a = 0, b = back->n; a < b;) {
		size_t middle = a + (b - a) / 2;

		if (back->past[middle].id == id)
			return &back->past[middle];
		if (back->past[middle].id < id)
			a = middle + 1;
		else
			b = middle;
	}
	return NULL;
}

/* Those that are there now, with what is known of them. */
static int renew_past(struct back *back, const struct anchor_guest *guests, size_t n)
{
	struct back_past *past = calloc(n + 1, sizeof(*past));

	if (!past)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		const struct back_past *known = past_of(back, guests[i].id);

		past[i] = known && known->starttime == guests[i].starttime
				  ? *known
				  : (struct back_past){.id = guests[i].id,
						       .starttime = guests[i].starttime};
	}
	free(back->past);
	back->past = past;
	back->n = n;
	return 0;
}

static bool is_due(const struct back *back, const struct anchor_guest *guest, uint64_t now_us)
{
	const struct back_past *past = past_of(back, guest->id);

	if (!guest->may_read || guest->swapped_bytes < BACK_LEAST_BYTES)
		return false;
	/* What it was begun for is less by what was read since. */
	if (!past || past->starttime != guest->starttime || !past->us ||
	    (back->at.id == guest->id && back->at.address))
		return true;
	return now_us - past->us >= AGAIN_US ||
	       (guest->swapped_bytes > past->swapped_bytes &&
		guest->swapped_bytes - past->swapped_bytes >=
			AGAIN_BYTES + past->swapped_bytes / AGAIN_PART);
}

bool back_is_due(const struct back *back, const struct anchor_guest *guests, size_t n,
		 uint64_t now_us)
{
	if (back->slow_us && now_us - back->slow_us < AGAIN_US)
		return false;
	for (size_t i = 0; i < n; i++)
		if (is_due(back, &guests[i], now_us))
			return true;
	return false;
}

static bool wants(void *ctx, const struct anchor_guest *guest)
{
	struct reading *in = ctx;
	struct back_past *past = past_of(in->back, guest->id);
	bool due = is_due(in->back, guest, in->bounds->now_us);

	/* Much less of it is there than was, and not by what was read: more is counted from that.
	 */
	if (guest->swapped_bytes < past->swapped_bytes / 2)
		past->swapped_bytes = guest->swapped_bytes;
	in->guest = past;
	in->credit = CREDIT_FIRST;
	in->skip = in->left = 0;
	return due;
}

/* One that cannot be read is left alone for a while, too. */
static void done(void *ctx, const struct anchor_guest *guest, int error)
{
	struct reading *in = ctx;

	(void)error;
	in->guest->us = in->bounds->now_us;
	in->guest->swapped_bytes = guest->swapped_bytes;
}

static bool is_enough(const struct reading *in)
{
	return in->read_bytes >= in->bounds->most_bytes || atomic_load(in->bounds->cancel) ||
	       clock_now_us() >= in->until_us;
}

/* Reading is what brings the page back. */
static bool read_equal(struct reading *in, int mem, uint64_t page)
{
	uint64_t bytes = host_page_bytes(), start_us = clock_now_us();
	ssize_t got = pread(mem, in->page, bytes, (off_t)(page * bytes));

	in->tried++;
	in->pread_us += clock_now_us() - start_us;
	if (got != (ssize_t)bytes)
		return false;
	in->read_bytes += bytes;
	in->guest->read_bytes += bytes;
	if (!number_set_has(in->contents, back_content(in->page)))
		return false;
	in->back->equal_bytes += bytes;
	return true;
}

static void read_page(struct reading *in, int mem, uint64_t page)
{
	if (read_equal(in, mem, page)) {
		in->credit += in->credit < CREDIT_MOST;
		in->skip = 0;
	} else if (in->credit) {
		in->credit--;
	} else {
		in->skip = in->skip < SKIP_MOST ? 2 * in->skip + 2 : SKIP_MOST;
	}
	in->left = in->skip;
}

static int read_chunk(void *ctx, struct walk_chunk *chunk)
{
	struct reading *in = ctx;

	for (size_t i = 0; i < chunk->n; i++) {
		if (!(chunk->entries[i] & PAGEMAP_SWAPPED))
			continue;
		if (in->left) {
			in->left--;
			continue;
		}
		if (is_enough(in)) {
			chunk->n = i;
			return 1;
		}
		read_page(in, chunk->mem, chunk->first_page + i);
	}
	return is_enough(in);
}

bool back_is_slow(uint64_t pages, uint64_t took_us)
{
	return pages >= SLOW_PAGES && took_us / pages >= SLOW_US;
}

int back_read(struct back *back, int rootfd, const struct anchor_guest *guests, size_t n,
	      const struct number_set *contents, const struct back_bounds *bounds)
{
	AUTO_FREE void *page = malloc(host_page_bytes());
	struct reading in = {.back = back, .contents = contents, .bounds = bounds, .page = page};
	const struct walk walk = {.ctx = &in, .chunk = read_chunk, .wants = wants, .done = done};
	int r;

	if (!page || renew_past(back, guests, n) < 0)
		return -ENOMEM;
	in.until_us = clock_now_us() + WORK_US;
	r = anchor_walk(rootfd, guests, n, &back->at, &walk);
	back->read_bytes += in.read_bytes;
	back->work_us += in.pread_us;
	back->slow_us = back_is_slow(in.tried, in.pread_us) ? bounds->now_us : 0;
	return r;
}

uint64_t back_take_read(struct back *back, uint64_t id)
{
	struct back_past *past = past_of(back, id);
	uint64_t bytes = past ? past->read_bytes : 0;

	if (past)
		past->read_bytes = 0;
	return bytes;
}
