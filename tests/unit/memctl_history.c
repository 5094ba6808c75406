// SPDX-License-Identifier: Apache-2.0
/* The trace read into a history: every tick counted once, rotated, cut and damaged files, clocks.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/cleanup.h"
#include "tests/unit/trace.h"
#include "tools/history.h"

#define HOUR_US (3600 * TRACE_SEC)

struct fixture {
	struct tree tree;
	char path[128], older[140];
	struct history *history;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	f->tree = tree_new(NULL);
	tree_path(&f->tree, "trace", f->path, sizeof(f->path));
	tree_path(&f->tree, "trace.1", f->older, sizeof(f->older));
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	history_free(f->history);
	tree_free(&f->tree);
	free(f);
	return 0;
}

static const struct history *read_all(struct fixture *f, size_t buckets_max)
{
	history_free(f->history);
	f->history = NULL;
	assert_int_equal(history_read(f->path, UINT64_MAX, buckets_max, &f->history), 0);
	if (!f->history)
		abort();
	return f->history;
}

static uint64_t sum_ticks(const struct history *history)
{
	uint64_t ticks = 0;

	for (size_t i = 0; i < history->n_buckets; i++)
		ticks += history->buckets[i].ticks;
	return ticks;
}

static const struct history_guest *find(const struct history *history, const char *name)
{
	for (size_t i = 0; i < history->n_guests; i++)
		if (strcmp(history->guests[i].name, name) == 0)
			return &history->guests[i];
	fail_msg("no guest %s", name);
	return NULL;
}

static void test_buckets(void **state)
{
	struct fixture *f = *state;
	const struct history *h;

	trace_write(f->path, 64 * MIB, 3, 0, 3600);
	h = read_all(f, 60);
	assert_int_equal(h->n_notes, 0);
	assert_int_equal(h->bucket_us, 60 * TRACE_SEC);
	assert_int_equal(h->n_buckets, 60);
	assert_int_equal(h->start_us, TRACE_START_S * TRACE_SEC);
	assert_int_equal(h->first_us, TRACE_START_S * TRACE_SEC);
	assert_int_equal(h->last_us, (TRACE_START_S + 3599) * TRACE_SEC);
	assert_int_equal(h->all.ticks, 3300);
	assert_int_equal(sum_ticks(h), 3300);
	assert_int_equal(h->memory_bytes, 16 * GIB);
	for (size_t i = 0; i < h->n_buckets; i++) {
		bool gap = i * 60 >= TRACE_GAP_FROM && i * 60 < TRACE_GAP_TO;

		assert_int_equal(h->buckets[i].ticks, gap ? 0 : 60);
	}
}

/* One bucket against the sums made the slow way. */
static void test_means(void **state)
{
	struct fixture *f = *state;
	uint64_t sum = 0, web2 = 0, least = UINT64_MAX, most = 0;
	const struct history_bucket *b;

	trace_write(f->path, 64 * MIB, 3, 0, 3600);
	read_all(f, 60);
	for (uint64_t s = 120; s < 180; s++) {
		uint64_t all = 0;

		for (size_t i = 0; i < 3; i++)
			all += trace_runs(i, s) ? trace_saved(i, s) : 0;
		sum += all;
		web2 += trace_saved(1, s);
		least = all < least ? all : least;
		most = all > most ? all : most;
	}
	b = &f->history->buckets[2];
	assert_int_equal(history_mean(&b->saved), sum / 60);
	assert_int_equal(b->saved.min, least);
	assert_int_equal(b->saved.max, most);
	assert_true(b->saved.rising);
	assert_int_equal(history_guest_mean(f->history, find(f->history, "web2"), 2), web2 / 60);
	assert_int_equal(history_mean(&b->taken), 128 * MIB);
	assert_int_equal(b->n_guests, 3);
	assert_int_equal(history_mean(&b->available),
			 (trace_available(120) + trace_available(179)) / 2);
	assert_false(b->available.rising);
	/* Promised and shown as gone by the end. */
	assert_int_equal(find(f->history, "web2")->end_bytes, 0);
	assert_int_equal(find(f->history, "web2")->most_bytes, trace_saved(1, 2399));
	assert_int_equal(find(f->history, "web1")->end_bytes, trace_saved(0, 3599));
}

static void test_guests_in_order(void **state)
{
	struct fixture *f = *state;

	trace_write(f->path, 64 * MIB, TRACE_GUESTS_MAX, 0, 3600);
	read_all(f, 60);
	assert_int_equal(f->history->n_guests, TRACE_GUESTS_MAX);
	for (size_t i = 1; i < f->history->n_guests; i++)
		assert_true(f->history->guests[i - 1].sum >= f->history->guests[i].sum);
	/* What the guests save is what the host saves. */
	for (size_t b = 0; b < f->history->n_buckets; b++) {
		uint64_t rest = history_rest_mean(f->history, 0, b);

		if (f->history->buckets[b].ticks)
			assert_int_equal(rest, history_mean(&f->history->buckets[b].saved));
	}
}

static void test_cpu(void **state)
{
	struct fixture *f = *state;
	const struct history *h;

	trace_write(f->path, 64 * MIB, 3, 0, 3600);
	h = read_all(f, 60);
	assert_int_equal(history_ksm_ppm(&h->buckets[1]), 100000);
	assert_int_equal(h->buckets[1].ksm_cpu_us, 6 * TRACE_SEC);
	assert_int_equal(history_ksm_ppm(&h->buckets[50]), 10000);
	assert_int_equal(history_ksm_ppm(&h->buckets[26]), POL_ABSENT);
	/* What was spent while nobody looked is nobody's. */
	assert_int_equal(h->all.ksm_cpu_us,
			 trace_cpu_us(3, 1499) + trace_cpu_us(3, 3599) - trace_cpu_us(3, 1800));
	assert_int_equal(h->all.covered_us, (1499 + 1799) * TRACE_SEC);
}

static void test_states(void **state)
{
	struct fixture *f = *state;
	const struct history *h;

	trace_write(f->path, 64 * MIB, 2, 0, 3600);
	h = read_all(f, 60);
	assert_int_equal(history_worst_state(&h->buckets[44]), POL_STATE_HIGH);
	assert_int_equal(history_worst_state(&h->buckets[45]), POL_STATE_SOFT);
	assert_int_equal(history_worst_state(&h->buckets[46]), POL_STATE_LOW);
	assert_int_equal(history_worst_state(&h->buckets[49]), POL_STATE_HARD);
	for (enum pol_state s = POL_STATE_SOFT; s <= POL_STATE_LOW; s++)
		assert_int_equal(h->all.state_ticks[s], 100);
	assert_int_equal(h->all.state_ticks[POL_STATE_HIGH], 3000);
}

static void test_since(void **state)
{
	struct fixture *f = *state;

	trace_write(f->path, 64 * MIB, 2, 0, 3600);
	assert_int_equal(history_read(f->path, 600 * TRACE_SEC, 1000, &f->history), 0);
	assert_int_equal(f->history->bucket_us, TRACE_SEC);
	assert_int_equal(f->history->n_buckets, 601);
	assert_int_equal(f->history->all.ticks, 601);
	assert_int_equal(f->history->first_us, (TRACE_START_S + 2999) * TRACE_SEC);
	/* The tick before the first one counts for the time between the two. */
	assert_int_equal(f->history->all.covered_us, 601 * TRACE_SEC);
}

/* However the file was rotated, whatever is left of it is read in one piece. */
static void test_rotated(void **state)
{
	struct fixture *f = *state;
	struct stat st;
	uint64_t kept;

	trace_write(f->path, 40 * KIB, 3, 0, TRACE_GAP_FROM);
	assert_int_equal(stat(f->older, &st), 0);
	read_all(f, 60);
	assert_int_equal(f->history->n_notes, 0);
	kept = f->history->all.ticks;
	assert_in_range(kept, 300, TRACE_GAP_FROM - 1);
	assert_int_equal(f->history->last_us, (TRACE_START_S + TRACE_GAP_FROM - 1) * TRACE_SEC);
	assert_int_equal(f->history->first_us, (TRACE_START_S + TRACE_GAP_FROM - kept) * TRACE_SEC);
	assert_int_equal(f->history->all.covered_us, (kept - 1) * TRACE_SEC);
	/* Only the older one is left, or only the newer. */
	tree_remove(&f->tree, "trace");
	read_all(f, 60);
	assert_in_range(f->history->all.ticks, 1, kept - 1);
	assert_int_equal(f->history->n_notes, 1);
	tree_remove(&f->tree, "trace.1");
	history_free(f->history);
	f->history = NULL;
	assert_int_equal(history_read(f->path, UINT64_MAX, 60, &f->history), -ENOENT);
}

static void test_cut_off(void **state)
{
	struct fixture *f = *state;
	struct stat st;

	trace_write(f->path, 64 * MIB, 3, 0, 1000);
	assert_int_equal(stat(f->path, &st), 0);
	assert_int_equal(truncate(f->path, st.st_size - 3), 0);
	read_all(f, 60);
	assert_int_equal(f->history->all.ticks, 999);
	assert_int_equal(f->history->n_notes, 1);
	assert_contains(f->history->notes[0], "cut off in the middle of a record");
}

static void damage(const char *path, off_t at)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);
	uint8_t byte;

	assert_true(fd >= 0);
	assert_int_equal(pread(fd, &byte, 1, at), 1);
	byte ^= 0x55;
	assert_int_equal(pwrite(fd, &byte, 1, at), 1);
	close(fd);
}

/* What comes before the damage is shown, and all of the other file. */
static void test_damaged(void **state)
{
	struct fixture *f = *state;
	uint64_t whole, newest;
	struct stat st;

	trace_write(f->path, 40 * KIB, 3, 0, TRACE_GAP_FROM);
	read_all(f, 60);
	whole = f->history->all.ticks;
	assert_int_equal(stat(f->older, &st), 0);
	damage(f->older, st.st_size / 2);
	read_all(f, 60);
	assert_in_range(f->history->all.ticks, whole / 4, whole - 1);
	assert_int_equal(f->history->last_us, (TRACE_START_S + TRACE_GAP_FROM - 1) * TRACE_SEC);
	assert_int_equal(f->history->n_notes, 1);
	assert_contains(f->history->notes[0], "damaged at byte");
	damage(f->older, 3);
	read_all(f, 60);
	newest = f->history->all.ticks;
	assert_in_range(newest, 1, whole - 1);
	damage(f->path, 3);
	history_free(f->history);
	f->history = NULL;
	assert_int_equal(history_read(f->path, UINT64_MAX, 60, &f->history), -ENODATA);
}

/* Any one byte wrong, anywhere in a small trace: something is read or refused, nothing breaks. */
static void test_damaged_anywhere(void **state)
{
	struct fixture *f = *state;
	struct stat st;

	trace_write(f->path, 64 * MIB, 2, 55, 90);
	assert_int_equal(stat(f->path, &st), 0);
	for (off_t at = 0; at < st.st_size; at++) {
		int r;

		damage(f->path, at);
		r = history_read(f->path, UINT64_MAX, 60, &f->history);
		if (r == 0 && f->history)
			assert_true(f->history->n_notes >= 1 && f->history->all.ticks < 35);
		else
			assert_int_equal(r, -ENODATA);
		history_free(f->history);
		f->history = NULL;
		damage(f->path, at);
	}
}

static void test_no_trace(void **state)
{
	struct fixture *f = *state;

	tree_set(&f->tree, "trace", "");
	assert_int_equal(history_read(f->path, UINT64_MAX, 60, &f->history), -ENODATA);
	tree_set(&f->tree, "trace", "[memd]\nthis is no trace\n");
	assert_int_equal(history_read(f->path, UINT64_MAX, 60, &f->history), -ENODATA);
}

static void test_one_tick(void **state)
{
	struct fixture *f = *state;

	trace_write(f->path, 64 * MIB, 2, 100, 101);
	read_all(f, 60);
	assert_int_equal(f->history->n_buckets, 1);
	assert_int_equal(f->history->all.ticks, 1);
	assert_int_equal(history_ksm_ppm(&f->history->all), POL_ABSENT);
}

/* The clock set back by an hour: what bears later times than the end is left out, and that said. */
static void test_clock_back(void **state)
{
	struct fixture *f = *state;
	struct record *record = NULL;

	assert_int_equal(record_open(f->path, 64 * MIB, false, &record), 0);
	for (uint64_t s = 0; s < 100; s++)
		trace_tick(record, 1, s, TRACE_START_S + 3600 + s);
	record_close(record);
	assert_int_equal(record_open(f->path, 64 * MIB, false, &record), 0);
	for (uint64_t s = 100; s < 150; s++)
		trace_tick(record, 1, s, TRACE_START_S + s);
	record_close(record);
	read_all(f, 60);
	assert_int_equal(f->history->all.ticks, 50);
	assert_int_equal(f->history->n_notes, 1);
	assert_contains(f->history->notes[0], "100 ticks bear times after");
}

/* Times that cannot be are none; the rest of the trace counts. */
static void test_clock_mad(void **state)
{
	struct fixture *f = *state;
	struct record *record = NULL;

	assert_int_equal(record_open(f->path, 64 * MIB, false, &record), 0);
	trace_tick(record, 1, 0, UINT64_MAX / TRACE_SEC - 1);
	record_close(record);
	assert_int_equal(history_read(f->path, UINT64_MAX, 60, &f->history), -ENODATA);
	trace_write(f->path, 64 * MIB, 1, 0, 10);
	assert_int_equal(record_open(f->path, 64 * MIB, false, &record), 0);
	trace_tick(record, 1, 10, UINT64_MAX / TRACE_SEC - 1);
	record_close(record);
	read_all(f, 60);
	assert_int_equal(f->history->all.ticks, 10);
	assert_int_equal(f->history->n_buckets, 10);
	assert_contains(f->history->notes[0], "2 ticks bear times after");
	/* From the epoch to the year 9999 is a long time, in few buckets. */
	tree_remove(&f->tree, "trace");
	assert_int_equal(record_open(f->path, 64 * MIB, false, &record), 0);
	trace_tick(record, 1, 0, 0);
	record_close(record);
	assert_int_equal(record_open(f->path, 64 * MIB, false, &record), 0);
	trace_tick(record, 1, 1, 253402300799ULL);
	record_close(record);
	read_all(f, 60);
	assert_int_equal(f->history->all.ticks, 2);
	assert_in_range(f->history->n_buckets, 10, 60);
}

static void test_merge(void **state)
{
	struct fixture *f = *state;
	struct history *merged = NULL, *direct = NULL;

	trace_write(f->path, 64 * MIB, 5, 0, 3600);
	read_all(f, 240);
	assert_int_equal(f->history->bucket_us, 15 * TRACE_SEC);
	assert_int_equal(history_merge(f->history, 12, &merged), 0);
	assert_int_equal(history_read(f->path, UINT64_MAX, 12, &direct), 0);
	assert_int_equal(merged->bucket_us, 300 * TRACE_SEC);
	assert_int_equal(merged->n_buckets, direct->n_buckets);
	for (size_t i = 0; i < direct->n_buckets; i++) {
		const struct history_bucket *a = &merged->buckets[i], *b = &direct->buckets[i];

		assert_int_equal(a->ticks, b->ticks);
		assert_int_equal(a->ksm_cpu_us, b->ksm_cpu_us);
		assert_int_equal(a->saved.min, b->saved.min);
		assert_int_equal(a->saved.max, b->saved.max);
		assert_int_equal(a->saved.rising, b->saved.rising);
		assert_true(a->saved.sum == b->saved.sum);
		for (size_t g = 0; g < direct->n_guests; g++)
			assert_int_equal(history_guest_mean(merged, &merged->guests[g], i),
					 history_guest_mean(direct, &direct->guests[g], i));
	}
	history_free(merged);
	history_free(direct);
}

static void test_round(void **state)
{
	static const uint64_t wholes[] = {1, 2, 5, 10, 60, 900, 10800, 86400, 172800};

	(void)state;
	assert_int_equal(history_round_us(1, 0), TRACE_SEC);
	assert_int_equal(history_round_us(3 * TRACE_SEC, 0), 5 * TRACE_SEC);
	assert_int_equal(history_round_us(3 * TRACE_SEC, 2 * TRACE_SEC), 10 * TRACE_SEC);
	assert_int_equal(history_round_us(HOUR_US, 0), HOUR_US);
	assert_int_equal(history_round_us(HOUR_US + 1, 0), 2 * HOUR_US);
	for (size_t i = 0; i < ARRAY_SIZE(wholes); i++)
		for (uint64_t least = 1; least < 1ULL << 61; least *= 3) {
			uint64_t us = history_round_us(least, wholes[i] * TRACE_SEC);

			assert_true(us >= least);
			assert_int_equal(us % (wholes[i] * TRACE_SEC), 0);
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_buckets, setup, teardown),
		cmocka_unit_test_setup_teardown(test_means, setup, teardown),
		cmocka_unit_test_setup_teardown(test_guests_in_order, setup, teardown),
		cmocka_unit_test_setup_teardown(test_cpu, setup, teardown),
		cmocka_unit_test_setup_teardown(test_states, setup, teardown),
		cmocka_unit_test_setup_teardown(test_since, setup, teardown),
		cmocka_unit_test_setup_teardown(test_rotated, setup, teardown),
		cmocka_unit_test_setup_teardown(test_cut_off, setup, teardown),
		cmocka_unit_test_setup_teardown(test_damaged, setup, teardown),
		cmocka_unit_test_setup_teardown(test_damaged_anywhere, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_trace, setup, teardown),
		cmocka_unit_test_setup_teardown(test_one_tick, setup, teardown),
		cmocka_unit_test_setup_teardown(test_clock_back, setup, teardown),
		cmocka_unit_test_setup_teardown(test_clock_mad, setup, teardown),
		cmocka_unit_test_setup_teardown(test_merge, setup, teardown),
		cmocka_unit_test(test_round),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
