// SPDX-License-Identifier: Apache-2.0
/*
 * The balloon with a driver that keeps the rules: what reaches ram_discard and ram_reuse for each
 * request, the config space both ways, poison and reporting.
 */
#include "balloon_driver.h"
#include "vmm/pfn.h"

/* ---- order and runs ---- */

static void pfn_lists(void **state)
{
	uint32_t up[] = {4, 5, 6, 9}, down[] = {9, 6, 5, 4}, mixed[] = {6, 9, 4, 5, 6, 4, 9},
		 same[] = {7, 7, 7}, one[] = {1};
	struct pfn_run run;
	size_t pos = 0;

	assert_int_equal(pfn_order(NULL, 0), 0);
	assert_int_equal(pfn_order(one, 1), 1);
	assert_int_equal(pfn_order(same, 3), 1);
	assert_int_equal(pfn_order(up, 4), 4);
	assert_int_equal(pfn_order(down, 4), 4);
	assert_memory_equal(down, up, sizeof(up));
	assert_int_equal(pfn_order(mixed, 7), 4);
	assert_memory_equal(mixed, up, sizeof(up));
	assert_true(pfn_next_run(up, 4, &pos, &run));
	assert_int_equal(run.first, 4);
	assert_int_equal(run.count, 3);
	assert_true(pfn_next_run(up, 4, &pos, &run));
	assert_int_equal(run.first, 9);
	assert_int_equal(run.count, 1);
	assert_false(pfn_next_run(up, 4, &pos, &run));
}

/* Any list: the runs cover exactly the set of its numbers, in order, and none touches the next. */
static void pfn_lists_random(void **state)
{
	uint32_t seed = 1;

	for (unsigned int round = 0; round < 2000; round++) {
		uint32_t list[64];
		bool in[128] = {false}, out[128] = {false};
		size_t n = round % 64, pos = 0, end = 0;
		struct pfn_run run;

		for (size_t i = 0; i < n; i++) {
			seed = seed * 1664525 + 1013904223;
			list[i] = seed >> 25;
			in[list[i]] = true;
		}
		n = pfn_order(list, n);
		while (pfn_next_run(list, n, &pos, &run)) {
			assert_true(end == 0 || run.first > end);
			end = run.first + run.count;
			for (size_t i = run.first; i < end; i++)
				out[i] = true;
		}
		assert_memory_equal(in, out, sizeof(in));
	}
}

/* ---- inflate and deflate ---- */

static void inflate_ascending_is_one_discard(void **state)
{
	struct driver *d = *state;
	uint32_t pfns[128];

	driver_start(d, TELL, 3, 128);
	for (uint32_t i = 0; i < 128; i++)
		pfns[i] = 64 + i;
	send_out(d, 0, pfns, sizeof(pfns));
	assert_int_equal(d->ram->n_discards, 1);
	assert_discard(d, 0, 64 * 4096, 128 * 4096);
	assert_int_equal(d->ram->discards[0].giver, RAM_GIVER_BALLOON);
	assert_int_equal(used_idx(d, 0), 1);
	assert_int_equal(used_at(d, 0, 0).len, 0);
	assert_int_equal(irqs(d), 1);
	assert_int_equal(counters(d).inflated_pages, 128);
	assert_int_equal(counters(d).discards, 1);
	assert_int_equal(counters(d).errors, 0);
}

static void inflate_descending_is_one_discard(void **state)
{
	struct driver *d = *state;
	uint32_t pfns[128];

	driver_start(d, TELL, 3, 128);
	for (uint32_t i = 0; i < 128; i++)
		pfns[i] = 191 - i;
	send_out(d, 0, pfns, sizeof(pfns));
	assert_int_equal(d->ram->n_discards, 1);
	assert_discard(d, 0, 64 * 4096, 128 * 4096);
}

static struct loop_source *settle_timer(struct driver *d)
{
	for (size_t i = 0; i < 32; i++)
		if (d->loop.sources[i].is_timer && d->loop.sources[i].first_us == RAM_SETTLE_US)
			return &d->loop.sources[i];
	return NULL;
}

/* RAM may let pieces of huge pages wait for each other: until a timer, and only then. */
static void inflate_settles_later(void **state)
{
	struct driver *d = *state;
	uint32_t pfns[2] = {64, 65};
	struct loop_source *timer;

	driver_start(d, TELL, 3, 128);
	assert_null(settle_timer(d));
	send_out(d, 0, pfns, sizeof(pfns));
	send_out(d, 0, pfns, sizeof(pfns));
	assert_int_equal(d->ram->n_lazy, 2);
	timer = settle_timer(d);
	assert_non_null(timer);
	assert_int_equal(timer->period_us, 0);
	d->ram->settles_left = 1;
	/* Not while more comes, */
	timer->fn(timer->ctx, 1);
	assert_int_equal(d->ram->n_settles, 0);
	assert_ptr_equal(settle_timer(d), timer);
	timer->fn(timer->ctx, 1);
	assert_int_equal(d->ram->n_settles, 1);
	assert_ptr_equal(settle_timer(d), timer);
	/* but a guest that never stops cannot put it off for ever. */
	for (unsigned int i = 0; i < 64 && d->ram->n_settles < 2; i++) {
		send_out(d, 0, pfns, sizeof(pfns));
		assert_ptr_equal(settle_timer(d), timer);
		timer->fn(timer->ctx, 1);
	}
	assert_int_equal(d->ram->n_settles, 2);
	assert_null(settle_timer(d));
	send_out(d, 0, pfns, sizeof(pfns));
	assert_ptr_equal(settle_timer(d), timer);
}

/* Without MUST_TELL_HOST the guest may use the page as soon as the request is answered. */
static void inflate_untold_goes_at_once(void **state)
{
	struct driver *d = *state;
	uint32_t pfn = 64;

	driver_start(d, 0, 3, 128);
	send_out(d, 0, &pfn, sizeof(pfn));
	assert_int_equal(d->ram->n_discards, 1);
	assert_int_equal(d->ram->n_lazy, 0);
}

static void inflate_mixed_with_duplicates(void **state)
{
	static const uint32_t pfns[] = {90, 20, 91, 22, 21, 20, 92, 50};
	struct driver *d = *state;

	driver_start(d, TELL, 3, 128);
	send_out(d, 0, pfns, sizeof(pfns));
	assert_int_equal(d->ram->n_discards, 3);
	assert_discard(d, 0, 20 * 4096, 3 * 4096);
	assert_discard(d, 1, 50 * 4096, 4096);
	assert_discard(d, 2, 90 * 4096, 3 * 4096);
	assert_int_equal(counters(d).inflated_pages, 7);
}

static void inflate_list_in_pieces(void **state)
{
	static const uint32_t pfns[] = {40, 41, 42, 43};
	struct driver *d = *state;

	/* The list is cut in the middle of a number. */
	driver_start(d, TELL, 3, 128);
	memcpy(at(d, 0x80000, 6), pfns, 6);
	memcpy(at(d, 0x90000, 10), (const uint8_t *)pfns + 6, 10);
	set_desc(d, 0, 0, 0x80000, 6, VIRTIO_DESC_NEXT, 1);
	set_desc(d, 0, 1, 0x90000, 10, 0, 0);
	offer(d, 0, 0);
	kick(d, 0);
	assert_int_equal(d->ram->n_discards, 1);
	assert_discard(d, 0, 40 * 4096, 4 * 4096);
	assert_int_equal(counters(d).errors, 0);
}

static void inflate_run_across_regions(void **state)
{
	static const uint32_t pfns[] = {254, 255, 256, 257};
	struct driver *d = *state;

	driver_start(d, TELL, 3, 128);
	send_out(d, 0, pfns, sizeof(pfns));
	assert_int_equal(d->ram->n_discards, 2);
	assert_discard(d, 0, 254 * 4096, 2 * 4096);
	assert_discard(d, 1, FAKE_SECOND_GPA, 2 * 4096);
}

static void deflate_reuses_runs(void **state)
{
	static const uint32_t pfns[] = {82, 81, 80, 0x100000, 0x100001};
	struct driver *d = *state;

	driver_start(d, TELL, 3, 128);
	send_out(d, 1, pfns, sizeof(pfns));
	assert_int_equal(d->ram->n_discards, 0);
	assert_int_equal(d->ram->n_reuses, 2);
	assert_int_equal(d->ram->reuses[0].gpa, 80 * 4096);
	assert_int_equal(d->ram->reuses[0].len, 3 * 4096);
	assert_int_equal(d->ram->reuses[1].gpa, FAKE_HIGH_GPA);
	assert_int_equal(counters(d).deflated_pages, 5);
	assert_int_equal(counters(d).discards, 0);
}

static void discard_failure_is_counted(void **state)
{
	struct driver *d = *state;
	uint32_t pfn = 70;

	driver_start(d, TELL, 3, 128);
	d->ram->discard_result = -ENOMEM;
	send_out(d, 0, &pfn, 4);
	assert_int_equal(counters(d).errors, 1);
	assert_int_equal(used_idx(d, 0), 1);
	assert_false(needs_reset(d));
}

/* ---- config space ---- */

static void target_and_actual(void **state)
{
	struct driver *d = *state;
	uint64_t mib = 1024 * 1024;

	/* Nobody there yet: kept. */
	assert_false(balloon_has_driver(d->dev));
	assert_int_equal(balloon_set_target(d->dev, FAKE_RAM_BYTES - mib), -ENOTCONN);
	driver_start(d, TELL, 3, 128);
	assert_true(balloon_has_driver(d->dev));
	assert_int_equal(reg_get(d, C_NUM_PAGES), 256);
	irqs(d);

	assert_int_equal(balloon_set_target(d->dev, mib), 0);
	assert_int_equal(irqs(d), 1);
	assert_int_equal(reg_get(d, R_ISR), 2);
	assert_int_equal(reg_get(d, C_NUM_PAGES), 512);

	reg_set(d, C_ACTUAL, 512);
	assert_int_equal(n_changed, 0); /* told in the loop's thread only */
	fake_loop_run(&d->loop);
	assert_int_equal(n_changed, 1);
	assert_int_equal(changed_bytes, mib);
	assert_int_equal(balloon_actual_bytes(d->dev), mib);
	reg_set(d, C_ACTUAL, 512);
	fake_loop_run(&d->loop);
	assert_int_equal(n_changed, 1); /* no change, no event */

	/* Clamped: never more than there is; nothing at all is the whole balloon. */
	assert_int_equal(balloon_set_target(d->dev, UINT64_MAX), 0);
	assert_int_equal(reg_get(d, C_NUM_PAGES), 0);
	assert_int_equal(balloon_set_target(d->dev, 0), 0);
	assert_int_equal(reg_get(d, C_NUM_PAGES), RAM_PFNS);

	/* Read-only fields stay. */
	reg_set(d, C_NUM_PAGES, 7);
	assert_int_equal(reg_get(d, C_NUM_PAGES), RAM_PFNS);
}

static void actual_is_clamped(void **state)
{
	struct driver *d = *state;

	driver_start(d, TELL, 3, 128);
	reg_set(d, C_ACTUAL, UINT32_MAX);
	assert_int_equal(balloon_actual_bytes(d->dev), 0);
	assert_int_equal(reg_get(d, C_ACTUAL), RAM_PFNS);
	assert_int_equal(counters(d).errors, 1);
}

static void deflate_on_oom(void **state)
{
	struct driver *d = *state;
	uint32_t pfns[] = {100, 101};

	assert_true(driver_offered(d) & OOM);
	assert_true(balloon_deflates_on_oom(d->dev));
	driver_start(d, TELL | OOM, 3, 128);
	balloon_set_target(d->dev, FAKE_RAM_BYTES - 2 * 4096);
	send_out(d, 0, pfns, sizeof(pfns));
	reg_set(d, C_ACTUAL, 2);
	irqs(d);
	/* The guest takes a page back below its target: told, and the target stands unrepeated. */
	send_out(d, 1, pfns, 4);
	reg_set(d, C_ACTUAL, 1);
	fake_loop_run(&d->loop);
	assert_int_equal(changed_bytes, FAKE_RAM_BYTES - 4096);
	assert_int_equal(reg_get(d, C_NUM_PAGES), 2);
	assert_int_equal(irqs(d), 1); /* of the deflate queue */
	assert_int_equal(d->ram->n_reuses, 1);
}

static void features_follow_the_options(void **state)
{
	static const struct balloon_config none = {0};
	struct driver *d = driver_new();

	driver_attach(d, balloon_new(d->ram, &d->loop, &none, NULL, NULL));
	assert_int_equal(driver_offered(d), TELL | STATS | POISON | F_VERSION_1 | F_INDIRECT);
	assert_false(balloon_deflates_on_oom(d->dev));
	driver_start(d, STATS, 3, 128);
	assert_false(balloon_is_reporting(d->dev));
	driver_free(d);
}

static void reset_returns_all(void **state)
{
	struct driver *d = *state;
	uint32_t pfn = 70;

	driver_start(d, TELL | STATS, 3, 128);
	balloon_set_target(d->dev, FAKE_RAM_BYTES / 2);
	send_out(d, 0, &pfn, 4);
	reg_set(d, C_ACTUAL, 1);
	fake_loop_run(&d->loop);
	reg_set(d, R_STATUS, 0);
	fake_loop_run(&d->loop);
	assert_int_equal(n_changed, 2);
	assert_int_equal(balloon_actual_bytes(d->dev), FAKE_RAM_BYTES);
	assert_int_equal(d->ram->n_reuses, 3); /* one for each region */
	assert_int_equal(reg_get(d, C_NUM_PAGES), RAM_PFNS / 2);
	reg_set(d, R_STATUS, 0);
	assert_int_equal(d->ram->n_reuses, 3); /* nothing more to forget */
}

/* ---- reporting ---- */

static void report(struct driver *d, unsigned int queue, uint64_t gpa, uint32_t len)
{
	set_desc(d, queue, 0, gpa, len, VIRTIO_DESC_WRITE, 0);
	offer(d, queue, 0);
	kick(d, queue);
}

static void reporting_as_linux_numbers_it(void **state)
{
	struct driver *d = *state;

	driver_start(d, TELL | STATS | REPORTING, 4, 32);
	assert_true(balloon_is_reporting(d->dev));
	report(d, 3, FAKE_HIGH_GPA + 0x40000, 0x40000);
	assert_int_equal(d->ram->n_discards, 1);
	assert_discard(d, 0, FAKE_HIGH_GPA + 0x40000, 0x40000);
	assert_int_equal(d->ram->discards[0].giver, RAM_GIVER_REPORTING);
	assert_int_equal(counters(d).reported_bytes, 0x40000);
	assert_int_equal(counters(d).inflated_pages, 0);
}

static void reporting_without_stats(void **state)
{
	struct driver *d = *state;

	driver_start(d, REPORTING, 3, 32);
	report(d, 2, 0x80000, 0x1000);
	assert_int_equal(d->ram->n_discards, 1);
}

static void reporting_as_the_specification_numbers_it(void **state)
{
	struct driver *d = *state;

	driver_start(d, STATS | REPORTING, 5, 32);
	report(d, 4, 0x80000, 0x1000);
	assert_int_equal(d->ram->n_discards, 1);
}

static void reporting_merges_and_aligns(void **state)
{
	struct driver *d = *state;

	driver_start(d, STATS | REPORTING, 4, 32);
	set_desc(d, 3, 0, 0x80800, 0x2800, VIRTIO_DESC_WRITE | VIRTIO_DESC_NEXT, 1);
	set_desc(d, 3, 1, 0x83000, 0x1000, VIRTIO_DESC_WRITE | VIRTIO_DESC_NEXT, 2);
	set_desc(d, 3, 2, 0x90001, 0x100, VIRTIO_DESC_WRITE, 0); /* no whole page */
	offer(d, 3, 0);
	kick(d, 3);
	assert_int_equal(d->ram->n_discards, 1);
	assert_discard(d, 0, 0x81000, 0x3000);
}

static void reporting_not_with_poison(void **state)
{
	struct driver *d = *state;
	uint32_t pfn = 70;

	driver_start(d, STATS | POISON | REPORTING, 4, 32);
	reg_set(d, C_POISON, 0xaaaaaaaa);
	report(d, 3, 0x80000, 0x1000);
	assert_int_equal(d->ram->n_discards, 0);
	assert_int_equal(counters(d).reported_bytes, 0);
	assert_int_equal(used_idx(d, 3), 1); /* acknowledged all the same */
	send_out(d, 0, &pfn, 4);
	assert_int_equal(d->ram->n_discards, 1); /* the balloon itself works */

	/* Negotiated with a pattern of zero: zeroes are what the guest expects. */
	driver_start(d, STATS | POISON | REPORTING, 4, 32);
	assert_int_equal(reg_get(d, C_POISON), 0);
	report(d, 3, 0x80000, 0x1000);
	assert_int_equal(d->ram->n_discards, 2);
}

static void reporting_without_the_feature(void **state)
{
	struct driver *d = *state;

	driver_start(d, STATS, 5, 32);
	report(d, 3, 0x80000, 0x1000);
	report(d, 4, 0x80000, 0x1000);
	assert_int_equal(d->ram->n_discards, 0);
	assert_int_equal(counters(d).errors, 2);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pfn_lists),
		cmocka_unit_test(pfn_lists_random),
		T(inflate_ascending_is_one_discard),
		T(inflate_descending_is_one_discard),
		T(inflate_mixed_with_duplicates),
		T(inflate_list_in_pieces),
		T(inflate_settles_later),
		T(inflate_untold_goes_at_once),
		T(inflate_run_across_regions),
		T(deflate_reuses_runs),
		T(discard_failure_is_counted),
		T(target_and_actual),
		T(actual_is_clamped),
		T(deflate_on_oom),
		cmocka_unit_test(features_follow_the_options),
		T(reset_returns_all),
		T(reporting_as_linux_numbers_it),
		T(reporting_without_stats),
		T(reporting_as_the_specification_numbers_it),
		T(reporting_merges_and_aligns),
		T(reporting_not_with_poison),
		T(reporting_without_the_feature),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
