// SPDX-License-Identifier: Apache-2.0
/* Which targets to read, then one sort of what has been kept of all. */
#include "memd/chunk_sample.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "memd/chunk_print.h"

#define RATE_LEAST  1	       /* exact while that is cheap */
#define ENTRIES_MAX (2u << 20) /* 32 MiB, and as much again while they are sorted */

struct chunk_prints {
	struct chunk_print *v; /* one a target */
	size_t n;
};

struct sampler {
	struct chunk_entry *entries; /* of all targets; chunks counted over all */
	size_t n_entries;
	struct chunk_samples *out;
};

size_t chunk_count(const struct chunk_target *target)
{
	size_t n = 0;

	for (size_t i = 0; i < target->n_regions && !target->whole; i++)
		n += (target->regions[i].bytes + CHUNK_BYTES - 1) / CHUNK_BYTES;
	return n;
}

/* ---- reading what is not known ---- */

struct chunk_prints *chunk_prints_new(void)
{
	return calloc(1, sizeof(struct chunk_prints));
}

void chunk_prints_free(struct chunk_prints *prints)
{
	if (!prints)
		return;
	for (size_t i = 0; i < prints->n; i++)
		chunk_print_free(&prints->v[i]);
	free(prints->v);
	free(prints);
}

static struct chunk_print *find(const struct chunk_prints *prints,
				const struct chunk_target *target)
{
	for (size_t i = 0; i < prints->n; i++)
		if (chunk_print_fits(&prints->v[i], target))
			return &prints->v[i];
	return NULL;
}

/* The rate for which the table stays small enough: a power of two. */
static uint64_t rate_for(const struct chunk_target *targets, size_t n)
{
	uint64_t rate = RATE_LEAST, chunks = 0;

	for (size_t i = 0; i < n; i++)
		chunks += targets[i].whole ? targets[i].whole_bytes / CHUNK_BYTES
					   : chunk_count(&targets[i]);
	while (chunks * CHUNK_PAGES / rate > ENTRIES_MAX)
		rate *= 2;
	return rate;
}

/* What has been kept of these targets takes the place of all before. */
static int read_targets(struct sampler *s, int rootfd, const struct chunk_target *targets, size_t n,
			const struct chunk_pace *pace, struct chunk_prints *prints)
{
	struct chunk_prints next = {.v = calloc(n + 1, sizeof(*next.v)), .n = n};
	uint64_t rate = rate_for(targets, n);
	int r = next.v ? 0 : -ENOMEM;

	for (size_t i = 0; i < n && r == 0; i++) {
		struct chunk_print *known = targets[i].again ? NULL : find(prints, &targets[i]);

		if (!known)
			continue;
		next.v[i] = *known;
		*known = (struct chunk_print){0};
		/* What was dropped is not to be had without reading it anew. */
		rate = rate > next.v[i].rate ? rate : next.v[i].rate;
	}
	/* Before there is more. */
	for (size_t i = 0; i < prints->n; i++)
		chunk_print_free(&prints->v[i]);
	free(prints->v);
	for (size_t i = 0; i < n && r == 0; i++) {
		if (next.v[i].rate) {
			chunk_print_thin(&next.v[i], rate);
		} else {
			r = chunk_print_read(rootfd, &targets[i], rate, pace, &next.v[i]);
			s->out->pages += next.v[i].pages;
			s->out->zeroes += next.v[i].zeroes;
			s->out->frequent += next.v[i].frequent;
		}
		s->out->all_cpu_us += next.v[i].cpu_us;
		s->n_entries += next.v[i].n_entries;
	}
	s->out->rate = rate;
	if (r < 0) {
		/* A part of a target is no print of it. */
		for (size_t i = 0; next.v && i < n; i++)
			chunk_print_free(&next.v[i]);
		next.n = 0;
	}
	*prints = next;
	return r;
}

/* All prints' entries and scores, one target after the other. */
static int gather(struct sampler *s, const struct chunk_target *targets,
		  const struct chunk_prints *prints)
{
	struct chunk_score *score;
	struct chunk_entry *entry;
	uint32_t first = 0;

	s->out->scores = score = calloc(s->out->n + 1, sizeof(*score));
	s->entries = entry = calloc(s->n_entries + 1, sizeof(*entry));
	if (!score || !entry)
		return -ENOMEM;
	for (size_t i = 0; i < prints->n; i++) {
		const struct chunk_print *print = &prints->v[i];

		memcpy(score + first, print->scores, print->n * sizeof(*score));
		for (size_t k = 0; k < print->n_entries; k++, entry++) {
			uint32_t chunk = print->entries[k].chunk;

			entry->key =
				print->entries[k].key + targets[i].domain * 0x9e3779b97f4a7c15ull;
			entry->chunk = chunk == CHUNK_NONE ? chunk : first + chunk;
		}
		first += (uint32_t)print->n;
	}
	return 0;
}

/* ---- what it says ---- */

static int compare_entries(const void *a, const void *b)
{
	const struct chunk_entry *x = a, *y = b;

	return (x->key > y->key) - (x->key < y->key);
}

/* Of m equal pages all but one are saved; each brings its part, and stands for `rate` others. */
static void count_gains(struct sampler *s)
{
	size_t end;

	qsort(s->entries, s->n_entries, sizeof(*s->entries), compare_entries);
	for (size_t at = 0; at < s->n_entries; at = end) {
		uint64_t m, gain;

		for (end = at + 1; end < s->n_entries && s->entries[end].key == s->entries[at].key;)
			end++;
		m = end - at;
		gain = s->out->rate * CHUNK_GAIN_UNIT * (m - 1) / m;
		for (size_t i = at; i < end && gain; i++) {
			struct chunk_score *score;
			uint64_t sum, most;

			if (s->entries[i].chunk == CHUNK_NONE)
				continue;
			score = &s->out->scores[s->entries[i].chunk];
			sum = score->gain + gain;
			most = (uint64_t)score->present * CHUNK_GAIN_UNIT;
			score->gain = (uint16_t)(sum < most ? sum : most);
		}
	}
}

void chunk_sample(int rootfd, const struct chunk_target *targets, size_t n, uint32_t share_ppm,
		  const atomic_bool *cancel, struct chunk_prints *prints,
		  struct chunk_samples *ret_samples)
{
	struct chunk_pace pace = {
		.cancel = cancel,
		.share_ppm = share_ppm,
		.wall_us = clock_now_us(),
		.cpu_us = chunk_cpu_us(),
	};
	struct sampler s = {.out = ret_samples};
	int r;

	*ret_samples = (struct chunk_samples){0};
	for (size_t i = 0; i < n; i++)
		ret_samples->n += chunk_count(&targets[i]);
	r = read_targets(&s, rootfd, targets, n, &pace, prints);
	if (r == 0)
		r = gather(&s, targets, prints);
	if (r == 0)
		count_gains(&s);
	ret_samples->error = r;
	ret_samples->cpu_us = chunk_cpu_us() - pace.cpu_us;
	ret_samples->wall_us = clock_now_us() - pace.wall_us;
	free(s.entries);
}

void chunk_samples_free(struct chunk_samples *samples)
{
	free(samples->scores);
	samples->scores = NULL;
}
