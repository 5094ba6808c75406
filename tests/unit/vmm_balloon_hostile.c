// SPDX-License-Identifier: Apache-2.0
/*
 * The balloon believes nothing: statistics of any length, and every kind of nonsense that a guest
 * can write into its queues. Statistics of honest guests are here with the others.
 */
#include "balloon_driver.h"

/* ---- statistics ---- */

struct stat_entry {
	uint16_t tag;
	uint64_t value;
} __attribute__((packed));

static void stats_are_parsed(void **state)
{
	static const struct stat_entry entries[] = {{4, 1000}, {5, 4000}, {6, 2000},  {10, 1},
						    {15, 77},  {16, 5},	  {0xfffe, 6}};
	struct driver *d = *state;
	struct balloon_stats stats;

	driver_start(d, TELL | STATS, 3, 128);
	balloon_stats(d->dev, &stats);
	assert_int_equal(stats.last_update_s, 0);
	assert_true(stats.value[4] == UINT64_MAX);
	send_out(d, 2, entries, sizeof(entries));
	assert_int_equal(used_idx(d, 2), 0); /* the buffer stays with us */
	balloon_stats(d->dev, &stats);
	assert_int_equal(stats.value[4], 1000);
	assert_int_equal(stats.value[5], 4000);
	assert_int_equal(stats.value[10], 1);
	assert_int_equal(stats.value[15], 77);
	assert_true(stats.value[0] == UINT64_MAX);
	assert_true(stats.last_update_s > 1600000000);
	assert_int_equal(counters(d).inflated_pages, 0); /* what lies behind the numbers */
	reg_set(d, R_STATUS, 0);
	balloon_stats(d->dev, &stats);
	assert_true(stats.value[4] == UINT64_MAX);
	assert_int_equal(stats.last_update_s, 0);
}

static void stats_are_polled(void **state)
{
	struct driver *d = *state;
	struct stat_entry entry = {4, 1000};
	uint16_t head;

	driver_start(d, TELL | STATS, 3, 128);
	head = send_out(d, 2, &entry, sizeof(entry));
	assert_int_equal(balloon_poll_interval(d->dev), 0);
	assert_int_equal(balloon_set_poll_interval(d->dev, 1ULL << 32), -ERANGE);
	assert_int_equal(balloon_set_poll_interval(d->dev, 2), 0);
	assert_int_equal(balloon_poll_interval(d->dev), 2);
	assert_int_equal(fake_timer(&d->loop)->period_us, 2000000);
	assert_int_not_equal(fake_timer(&d->loop)->first_us, 0);
	irqs(d);
	fake_timer_fire(&d->loop);
	assert_int_equal(used_idx(d, 2), 1);
	assert_int_equal(used_at(d, 2, 0).id, head);
	assert_int_equal(irqs(d), 1);
	fake_timer_fire(&d->loop); /* the guest has not answered: nothing to return */
	assert_int_equal(used_idx(d, 2), 1);
	assert_int_equal(balloon_set_poll_interval(d->dev, 0), 0);
	assert_int_equal(fake_timer(&d->loop)->first_us, 0);
}

static void stats_survive_reset_and_late_timer(void **state)
{
	struct driver *d = *state;
	struct stat_entry entry = {4, 1000};

	driver_start(d, TELL | STATS, 3, 128);
	send_out(d, 2, &entry, sizeof(entry));
	reg_set(d, R_STATUS, 0);
	fake_timer_fire(&d->loop);
	driver_start(d, TELL | STATS, 3, 128);
	fake_timer_fire(&d->loop);
	assert_int_equal(used_idx(d, 2), 0); /* the old driver's buffer is not this one's */
}

static void stats_second_buffer(void **state)
{
	struct driver *d = *state;
	struct stat_entry entry = {4, 1}, other = {4, 2};
	struct balloon_stats stats;

	driver_start(d, TELL | STATS, 3, 128);
	send_out(d, 2, &entry, sizeof(entry));
	send_out(d, 2, &other, sizeof(other));
	assert_int_equal(used_idx(d, 2), 1);
	balloon_stats(d->dev, &stats);
	assert_int_equal(stats.value[4], 2);
}

static void hostile_stats_lengths(void **state)
{
	struct driver *d = *state;
	struct balloon_stats stats;
	uint8_t odd[13] = {4, 0, 9};

	driver_start(d, TELL | STATS, 3, 128);
	send_out(d, 2, odd, sizeof(odd)); /* one entry and a bit */
	balloon_stats(d->dev, &stats);
	assert_int_equal(stats.value[4], 9);
	send_out(d, 2, odd, 3); /* none */
	balloon_stats(d->dev, &stats);
	assert_true(stats.value[4] == UINT64_MAX);
	/* a whole region of entries, and one that cannot be read */
	memset(at(d, FAKE_SECOND_GPA, FAKE_REGION_BYTES), 0, FAKE_REGION_BYTES);
	set_desc(d, 2, 9, FAKE_SECOND_GPA, FAKE_REGION_BYTES, 0, 0);
	offer(d, 2, 9);
	kick(d, 2);
	balloon_stats(d->dev, &stats);
	assert_int_equal(stats.value[0], 0);
	set_desc(d, 2, 9, FAKE_SECOND_GPA, FAKE_REGION_BYTES, VIRTIO_DESC_WRITE, 0);
	offer(d, 2, 9);
	kick(d, 2);
	balloon_stats(d->dev, &stats);
	assert_true(stats.value[0] == UINT64_MAX);
	assert_false(needs_reset(d));
}

/* ---- hostile page lists ---- */

static void hostile_pfn_beyond_ram(void **state)
{
	/* The hole, behind the end, the largest there is, and one good one. */
	static const uint32_t pfns[] = {512, 0x100100, 0xffffffff, 0xd0000, 33};
	struct driver *d = *state;

	driver_start(d, TELL, 3, 128);
	send_out(d, 0, pfns, sizeof(pfns));
	assert_int_equal(d->ram->n_discards, 1);
	assert_discard(d, 0, 33 * 4096, 4096);
	assert_int_equal(counters(d).errors, 4);
	send_out(d, 1, pfns, sizeof(pfns));
	assert_int_equal(d->ram->n_reuses, 1);
	assert_int_equal(counters(d).errors, 8);
	assert_false(needs_reset(d));
	assert_int_equal(used_idx(d, 0), 1);
}

static void hostile_odd_lengths(void **state)
{
	struct driver *d = *state;
	uint8_t bytes[7] = {33, 0, 0, 0, 34, 0, 0};

	driver_start(d, TELL, 3, 128);
	send_out(d, 0, bytes, 7);
	assert_int_equal(d->ram->n_discards, 1);
	assert_discard(d, 0, 33 * 4096, 4096);
	send_out(d, 0, bytes, 3);
	assert_int_equal(d->ram->n_discards, 1);
	assert_int_equal(counters(d).errors, 2);
	assert_int_equal(used_idx(d, 0), 2);
}

static void hostile_writable_list(void **state)
{
	struct driver *d = *state;

	driver_start(d, TELL, 3, 128);
	set_desc(d, 0, 0, 0x80000, 64, VIRTIO_DESC_WRITE, 0);
	offer(d, 0, 0);
	kick(d, 0);
	assert_int_equal(d->ram->n_discards, 0);
	assert_int_equal(counters(d).errors, 1);
	assert_int_equal(used_idx(d, 0), 1);
}

static void hostile_64k_page_numbers(void **state)
{
	struct driver *d = *state;
	uint32_t *pfns = at(d, FAKE_SECOND_GPA, FAKE_REGION_BYTES);

	/* 256 Ki page numbers in one request: served up to a bound, said, never overrun. */
	driver_start(d, TELL, 3, 128);
	for (uint32_t i = 0; i < FAKE_REGION_BYTES / 4; i++)
		pfns[i] = i % 256;
	set_desc(d, 0, 0, FAKE_SECOND_GPA, FAKE_REGION_BYTES, 0, 0);
	offer(d, 0, 0);
	kick(d, 0);
	assert_int_equal(d->ram->n_discards, 1);
	assert_discard(d, 0, 0, FAKE_REGION_BYTES);
	assert_int_equal(counters(d).errors, 1);
	assert_int_equal(used_idx(d, 0), 1);
}

static void hostile_flood_is_served_in_turns(void **state)
{
	struct driver *d = *state;
	uint32_t *pfns = at(d, FAKE_SECOND_GPA, 65536);
	unsigned int turns = 1;

	driver_start(d, TELL, 3, 128);
	for (uint32_t i = 0; i < 16384; i++)
		pfns[i] = 10 + i % 2;
	set_desc(d, 0, 0, FAKE_SECOND_GPA, 65536, 0, 0);
	for (unsigned int i = 0; i < 128; i++)
		offer(d, 0, 0);
	kick(d, 0);
	assert_int_equal(used_idx(d, 0), 1); /* one full-size request is a turn */
	while (fake_loop_poll(&d->loop))
		turns++;
	assert_int_equal(turns, 128);
	assert_int_equal(used_idx(d, 0), 128);
}

static void hostile_broken_rings(void **state)
{
	static const struct desc cases[] = {
		{0x80000, 4, VIRTIO_DESC_NEXT, 0},	/* loop */
		{0x80000, 0, 0, 0},			/* no length */
		{2 * FAKE_REGION_BYTES, 4, 0, 0},	/* not RAM */
		{UINT64_MAX - 1, 4, 0, 0},		/* wraps */
		{0x80000, 16, VIRTIO_DESC_INDIRECT, 0}, /* nested, see below */
		{0x80000, 4, VIRTIO_DESC_NEXT, 0x8000}, /* beyond the table */
	};
	struct driver *d = *state;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		for (unsigned int queue = 0; queue < 4; queue++) {
			struct desc nested = {0x80000, 16, VIRTIO_DESC_INDIRECT, 0};

			driver_start(d, STATS | REPORTING | F_INDIRECT, 4, 16);
			memcpy(at(d, 0x80000, 16), &nested, 16);
			d->q[queue].desc[0] = cases[i];
			offer(d, queue, 0);
			kick(d, queue);
			assert_true(needs_reset(d));
			assert_false(balloon_has_driver(d->dev));
			assert_int_equal(balloon_set_target(d->dev, 0), -ENOTCONN);
			d->next_gpa = 0x1000;
		}
	}
	assert_int_equal(d->ram->n_discards, 0);
}

static void hostile_reports(void **state)
{
	struct driver *d = *state;
	uint32_t word = 0;

	driver_start(d, STATS | REPORTING, 4, 32);
	send_out(d, 3, &word, 4); /* readable */
	assert_int_equal(counters(d).errors, 1);
	/* the same region again and again: more than all RAM */
	for (uint16_t i = 0; i < 4; i++)
		set_desc(d, 3, i, FAKE_HIGH_GPA, FAKE_REGION_BYTES,
			 VIRTIO_DESC_WRITE | (i < 3 ? VIRTIO_DESC_NEXT : 0), i + 1);
	offer(d, 3, 0);
	kick(d, 3);
	assert_int_equal(counters(d).errors, 2);
	assert_int_equal(d->ram->n_discards, 0);
	assert_int_equal(used_idx(d, 3), 2);
	assert_false(needs_reset(d));
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(stats_are_parsed),
		T(stats_are_polled),
		T(stats_survive_reset_and_late_timer),
		T(stats_second_buffer),
		T(hostile_stats_lengths),
		T(hostile_pfn_beyond_ram),
		T(hostile_odd_lengths),
		T(hostile_writable_list),
		T(hostile_64k_page_numbers),
		T(hostile_flood_is_served_in_turns),
		T(hostile_broken_rings),
		T(hostile_reports),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
