// SPDX-License-Identifier: Apache-2.0
/*
 * The trace read into a history, in two passes: the first finds out where it ends, the second
 * counts. It may be written to meanwhile: what is newer than the first pass has seen is left out,
 * and a rotation between the two begins all over.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "memd/record.h"
#include "tools/history_impl.h"

#define TRIES_MAX 5

/* The year 10000: a trace can say anything, and sums of times must not wrap round. */
#define WALL_MAX_US (253402300800ULL * 1000000)

struct reading {
	const char *path;
	char older[520];
	char notes[HISTORY_NOTES_MAX][HISTORY_NOTE_MAX];
	size_t n_notes;

	/* first pass */
	bool any;
	uint64_t first_us, last_us; /* earliest tick; the last one in the file */

	/* second pass */
	uint64_t from_us, page_bytes, ahead;
	struct history *history;
	uint64_t before_now_us, before_wall_us, before_cpu_us; /* the tick before */
	bool has_before;
	/* Where the guests of the tick before are in history->guests: mostly the same again. */
	size_t places[RECORD_GUESTS_MAX];
};

typedef int (*tick_fn)(struct reading *reading, const struct record_entry *tick);

static void __attribute__((format(printf, 2, 3)))
note(struct reading *reading, const char *fmt, ...)
{
	va_list ap;

	if (reading->n_notes == HISTORY_NOTES_MAX)
		return;
	va_start(ap, fmt);
	vsnprintf(reading->notes[reading->n_notes++], HISTORY_NOTE_MAX, fmt, ap);
	va_end(ap);
}

static void note_end(struct reading *reading, const char *path, int error, uint64_t offset,
		     uint64_t size)
{
	if (error == -EPROTO)
		note(reading, "%s: a format of another version of memd from byte %llu on", path,
		     (unsigned long long)offset);
	else if (error < 0)
		note(reading, "%s: damaged at byte %llu of %llu; what follows is left out", path,
		     (unsigned long long)offset, (unsigned long long)size);
	else if (offset < size)
		note(reading, "%s: cut off in the middle of a record, %llu bytes from its end",
		     path, (unsigned long long)(size - offset));
}

static int find_ends(struct reading *reading, const struct record_entry *tick)
{
	if (tick->wall_us >= WALL_MAX_US)
		return 0;
	if (!reading->any || tick->wall_us < reading->first_us)
		reading->first_us = tick->wall_us;
	reading->any = true;
	reading->last_us = tick->wall_us;
	return 0;
}

/* Every tick of one file. The second pass, which sees all, notes what is wrong with it. */
static int read_file(struct reading *reading, const char *path, tick_fn tick)
{
	bool skim = tick == find_ends;
	struct record_reader *reader = NULL;
	struct record_entry entry;
	struct stat st = {0};
	int r, done = 0;

	if (stat(path, &st) < 0)
		return -errno;
	r = record_reader_open(path, &reader);
	if (r < 0)
		return r;
	do {
		r = skim ? record_skim(reader, &entry) : record_next(reader, &entry);
		if (r > 0 && entry.kind == RECORD_TICK)
			done = tick(reading, &entry);
	} while (r > 0 && done == 0);
	if (done == 0 && !skim)
		note_end(reading, path, r, record_reader_offset(reader), (uint64_t)st.st_size);
	record_reader_close(reader);
	return done;
}

static int read_both(struct reading *reading, tick_fn tick)
{
	int older = read_file(reading, reading->older, tick);
	int newest;

	if (older == -ENOMEM)
		return older;
	newest = read_file(reading, reading->path, tick);
	if (newest == -ENOMEM || (newest < 0 && older < 0))
		return newest;
	/* One of the two is enough to show something. */
	if (older < 0 && older != -ENOENT && tick != find_ends)
		note(reading, "%s: %s", reading->older, strerror(-older));
	if (newest < 0 && tick != find_ends)
		note(reading, "%s: %s", reading->path, strerror(-newest));
	return 0;
}

static uint64_t minus(uint64_t a, uint64_t b)
{
	return a > b ? a - b : 0;
}

static uint64_t known(uint64_t value)
{
	return pol_has(value) ? value : 0;
}

/* Processor time since the tick before, if that one was just before. */
static void count_cpu(struct reading *reading, const struct record_entry *tick,
		      struct history_bucket *bucket)
{
	uint64_t since_us = tick->now_us - reading->before_now_us;
	uint64_t wall_us = tick->wall_us - reading->before_wall_us;
	uint64_t cpu_us = tick->host.ksm.cpu_us;

	/* Both wrap round when time went back. */
	if (!reading->has_before || since_us > HISTORY_GAP_US || wall_us > HISTORY_GAP_US)
		return;
	bucket->covered_us += since_us;
	if (!pol_has(cpu_us) || !pol_has(reading->before_cpu_us))
		return;
	bucket->ksm_cpu_known = true;
	bucket->ksm_cpu_us += minus(cpu_us, reading->before_cpu_us);
}

/* The guest's row; NULL with *ret_error 0: there are too many. */
static struct history_guest *find_guest(struct reading *reading, size_t place, const char *name,
					int *ret_error)
{
	struct history *history = reading->history;
	struct history_guest *guest;
	size_t i = reading->places[place];

	if (i >= history->n_guests || strcmp(history->guests[i].name, name) != 0)
		for (i = 0; i < history->n_guests; i++)
			if (strcmp(history->guests[i].name, name) == 0)
				break;
	if (i == HISTORY_GUESTS_MAX)
		return NULL;
	guest = &history->guests[i];
	if (i == history->n_guests) {
		guest->saved = history_row_new(history);
		if (!guest->saved) {
			*ret_error = -ENOMEM;
			return NULL;
		}
		snprintf(guest->name, sizeof(guest->name), "%s", name);
		history->n_guests++;
	}
	reading->places[place] = i;
	return guest;
}

static int count_guests(struct reading *reading, const struct pol_host *host, size_t at,
			struct history_bucket *bucket)
{
	struct history *history = reading->history;
	uint64_t saved = 0, taken = 0;
	int r = 0;

	for (size_t i = 0; i < history->n_guests; i++)
		history->guests[i].end_bytes = 0;
	for (size_t i = 0; i < host->n_guests && r == 0; i++) {
		const struct pol_guest *g = &host->guests[i];
		uint64_t bytes = known(g->saved_bytes);
		struct history_guest *guest = find_guest(reading, i, g->name, &r);

		saved += bytes;
		if (pol_has(g->memory_bytes) && pol_has(g->actual_bytes))
			taken += minus(g->memory_bytes, g->actual_bytes);
		if (guest) {
			guest->saved[at] += bytes;
			guest->sum += bytes;
			guest->end_bytes += bytes;
			guest->memory_bytes = g->memory_bytes;
			if (guest->end_bytes > guest->most_bytes)
				guest->most_bytes = guest->end_bytes;
		} else if (r == 0) {
			if (!history->others)
				history->others = history_row_new(history);
			if (!history->others)
				return -ENOMEM;
			history->others[at] += bytes;
		}
	}
	history_range_add(&bucket->saved, saved);
	history_range_add(&bucket->taken, taken);
	bucket->n_guests = host->n_guests;
	return r;
}

static int count_tick(struct reading *reading, const struct record_entry *tick)
{
	struct history *history = reading->history;
	const struct pol_host *host = &tick->host;
	const struct pol_ksm *ksm = &host->ksm;
	struct history_bucket one = {.ticks = 1};
	int r = 0;

	if (tick->wall_us > history->last_us)
		reading->ahead++;
	if (tick->wall_us >= reading->from_us && tick->wall_us <= history->last_us) {
		size_t at = (size_t)((tick->wall_us - history->start_us) / history->bucket_us);

		count_cpu(reading, tick, &one);
		history_range_add(&one.available, host->available_bytes);
		if (pol_has(ksm->pages_sharing))
			history_range_add(&one.ksm_saved,
					  (ksm->pages_sharing + known(ksm->zero_pages)) *
						  reading->page_bytes);
		one.state_ticks[tick->state]++;
		history->memory_bytes = host->memory_bytes;
		history->end_state = tick->state;
		r = count_guests(reading, host, at, &one);
		history_bucket_add(&history->buckets[at], &one);
		history_bucket_add(&history->all, &one);
	}
	reading->has_before = true;
	reading->before_now_us = tick->now_us;
	reading->before_wall_us = tick->wall_us;
	reading->before_cpu_us = ksm->cpu_us;
	return r;
}

/* Both passes. */
static int read_once(struct reading *reading, uint64_t since_us, size_t buckets_max)
{
	uint64_t last_us, first_us;
	int r = read_both(reading, find_ends);

	if (r < 0)
		return r;
	if (!reading->any)
		return -ENODATA;
	last_us = reading->last_us;
	first_us = minus(last_us, since_us);
	if (first_us < reading->first_us)
		first_us = reading->first_us;
	reading->from_us = first_us;
	r = history_new(first_us, last_us, history_fit_us(first_us, last_us, buckets_max, 0),
			&reading->history);
	if (r == 0)
		r = read_both(reading, count_tick);
	if (r < 0)
		return r;
	if (reading->ahead > 0)
		note(reading,
		     "%llu ticks bear times after the last one's (the clock was set back, or memd "
		     "goes on writing): left out",
		     (unsigned long long)reading->ahead);
	if (reading->history->others)
		note(reading, "more than %u guests: the rest is counted together",
		     HISTORY_GUESTS_MAX);
	return 0;
}

struct identity {
	dev_t dev;
	ino_t newest, older;
};

static struct identity identify(const struct reading *reading)
{
	struct identity identity = {0};
	struct stat st;

	if (stat(reading->path, &st) == 0) {
		identity.dev = st.st_dev;
		identity.newest = st.st_ino;
	}
	if (stat(reading->older, &st) == 0)
		identity.older = st.st_ino;
	return identity;
}

int history_read(const char *path, uint64_t since_us, size_t buckets_max,
		 struct history **ret_history)
{
	struct reading *reading = NULL;
	int r = -EAGAIN;

	for (unsigned int i = 0; i < TRIES_MAX && r == -EAGAIN; i++) {
		struct identity before, after;

		free(reading);
		reading = calloc(1, sizeof(*reading));
		if (!reading)
			return -ENOMEM;
		reading->path = path;
		reading->page_bytes = (uint64_t)sysconf(_SC_PAGESIZE);
		if ((size_t)snprintf(reading->older, sizeof(reading->older), "%s.1", path) >=
		    sizeof(reading->older)) {
			free(reading);
			return -ENAMETOOLONG;
		}
		before = identify(reading);
		r = read_once(reading, since_us, buckets_max);
		after = identify(reading);
		if (memcmp(&before, &after, sizeof(before)) != 0)
			r = -EAGAIN;
		if (r < 0) {
			history_free(reading->history);
			reading->history = NULL;
		}
	}
	if (r == 0) {
		memcpy(reading->history->notes, reading->notes, sizeof(reading->notes));
		reading->history->n_notes = reading->n_notes;
		history_sort(reading->history);
		*ret_history = reading->history;
	}
	free(reading);
	return r;
}
