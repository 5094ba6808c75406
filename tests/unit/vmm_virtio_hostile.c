// SPDX-License-Identifier: Apache-2.0
/* Split queues under hostile drivers: what makes no sense is refused, whole, until a reset. */
#include "virtio_probe.h"

static void hostile_loop(void **state)
{
	struct driver *d = *state;

	set_desc(d, 0, 0, 0x10000, 8, VIRTIO_DESC_NEXT, 1);
	set_desc(d, 0, 1, 0x10000, 8, VIRTIO_DESC_NEXT, 0);
	offer(d, 0, 0);
	kick(d, 0);
	assert_refused(d, 0);
}

static void hostile_self_loop_in_indirect(void **state)
{
	struct driver *d = *state;
	struct desc table = {0x10000, 8, VIRTIO_DESC_NEXT, 0};

	memcpy(at(d, 0x20000, 16), &table, 16);
	set_desc(d, 0, 0, 0x20000, 16, VIRTIO_DESC_INDIRECT, 0);
	offer(d, 0, 0);
	kick(d, 0);
	assert_refused(d, 0);
}

static void hostile_zero_length(void **state)
{
	struct driver *d = *state;

	set_desc(d, 0, 0, 0x10000, 0, 0, 0);
	offer(d, 0, 0);
	kick(d, 0);
	assert_refused(d, 0);
}

static void hostile_beyond_ram(void **state)
{
	static const struct {
		uint64_t addr;
		uint32_t len;
	} cases[] = {
		{2 * FAKE_REGION_BYTES, 8},		/* the hole */
		{2 * FAKE_REGION_BYTES - 4, 8},		/* runs into the hole */
		{FAKE_HIGH_GPA + FAKE_REGION_BYTES, 1}, /* behind the end */
		{FAKE_HIGH_GPA, FAKE_REGION_BYTES + 1}, /* one too many */
		{0, UINT32_MAX},			/* more than there is */
		{UINT64_MAX - 3, 8},			/* wraps around to 4 */
		{UINT64_MAX, 1},
		{0xd0000000, 4096}, /* our own device window */
	};
	struct driver *d = *state;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		set_desc(d, 0, 0, cases[i].addr, cases[i].len, i & 1 ? VIRTIO_DESC_WRITE : 0, 0);
		offer(d, 0, 0);
		kick(d, 0);
		assert_refused(d, (unsigned int)i);
	}
}

static void hostile_head_and_next_beyond_table(void **state)
{
	struct driver *d = *state;

	offer(d, 0, 16);
	kick(d, 0);
	assert_refused(d, 0);
	offer(d, 0, 0xffff);
	kick(d, 0);
	assert_refused(d, 1);
	set_desc(d, 0, 0, 0x10000, 8, VIRTIO_DESC_NEXT, 16);
	offer(d, 0, 0);
	kick(d, 0);
	assert_refused(d, 2);
}

static void hostile_avail_jump(void **state)
{
	struct driver *d = *state;
	uint16_t *avail = at(d, d->q[0].avail_gpa, 4);

	avail[1] = 17; /* of 16 */
	kick(d, 0);
	assert_refused(d, 0);
	avail = at(d, d->q[0].avail_gpa, 4);
	avail[1] = 0; /* one offered and taken since: back by one */
	kick(d, 0);
	assert_refused(d, 1);
}

static void hostile_readable_after_writable(void **state)
{
	struct driver *d = *state;

	set_desc(d, 0, 0, 0x10000, 8, VIRTIO_DESC_WRITE | VIRTIO_DESC_NEXT, 1);
	set_desc(d, 0, 1, 0x11000, 8, 0, 0);
	offer(d, 0, 0);
	kick(d, 0);
	assert_refused(d, 0);
}

static void hostile_64k_descriptors(void **state)
{
	struct driver *d = *state;
	struct desc *table = at(d, FAKE_HIGH_GPA, FAKE_REGION_BYTES);

	/* An indirect table that fills a whole region: 65536 entries, each of them valid. */
	for (uint32_t i = 0; i < 65536; i++)
		table[i] = (struct desc){0x10000, 8, VIRTIO_DESC_NEXT, (uint16_t)(i + 1)};
	set_desc(d, 0, 0, FAKE_HIGH_GPA, 65536 * 16, VIRTIO_DESC_INDIRECT, 0);
	offer(d, 0, 0);
	kick(d, 0);
	assert_refused(d, 0);
}

static void hostile_more_spans_than_room(void **state)
{
	struct driver *d = *state;
	struct desc *table = at(d, FAKE_HIGH_GPA, 256 * 16);

	/* 256 descriptors are allowed, but each crosses a border and makes two. */
	for (uint32_t i = 0; i < 256; i++)
		table[i] = (struct desc){FAKE_SECOND_GPA - 4, 8, i < 255 ? VIRTIO_DESC_NEXT : 0,
					 (uint16_t)(i + 1)};
	set_desc(d, 0, 0, FAKE_HIGH_GPA, 256 * 16, VIRTIO_DESC_INDIRECT, 0);
	offer(d, 0, 0);
	kick(d, 0);
	assert_int_equal(probe_of(d)->chain.n_out, VIRTIO_QUEUE_SIZE);
	assert_refused(d, 0);
}

static void hostile_indirect_tables(void **state)
{
	static const struct {
		struct desc desc, inner;
	} cases[] = {
		/* nested */
		{{0x20000, 16, VIRTIO_DESC_INDIRECT, 0}, {0x20000, 16, VIRTIO_DESC_INDIRECT, 0}},
		/* with a next one */
		{{0x20000, 16, VIRTIO_DESC_INDIRECT | VIRTIO_DESC_NEXT, 1}, {0x10000, 8, 0, 0}},
		/* no entries, and part of one */
		{{0x20000, 0, VIRTIO_DESC_INDIRECT, 0}, {0x10000, 8, 0, 0}},
		{{0x20000, 24, VIRTIO_DESC_INDIRECT, 0}, {0x10000, 8, 0, 0}},
		/* outside of RAM, and wrapping */
		{{2 * FAKE_REGION_BYTES, 16, VIRTIO_DESC_INDIRECT, 0}, {0x10000, 8, 0, 0}},
		{{UINT64_MAX - 7, 16, VIRTIO_DESC_INDIRECT, 0}, {0x10000, 8, 0, 0}},
		/* inner next beyond the inner table, though within the queue's */
		{{0x20000, 16, VIRTIO_DESC_INDIRECT, 0}, {0x10000, 8, VIRTIO_DESC_NEXT, 1}},
	};
	struct driver *d = *state;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		memcpy(at(d, 0x20000, 16), &cases[i].inner, 16);
		d->q[0].desc[0] = cases[i].desc;
		set_desc(d, 0, 1, 0x10000, 8, 0, 0);
		offer(d, 0, 0);
		kick(d, 0);
		assert_refused(d, (unsigned int)i);
	}
}

/* Not only when it leads round in a circle. */
static void hostile_nested_but_finite(void **state)
{
	struct driver *d = *state;
	struct desc outer = {0x21000, 16, VIRTIO_DESC_INDIRECT, 0}, inner = {0x10000, 8, 0, 0};

	memcpy(at(d, 0x20000, 16), &outer, 16);
	memcpy(at(d, 0x21000, 16), &inner, 16);
	set_desc(d, 0, 0, 0x20000, 16, VIRTIO_DESC_INDIRECT, 0);
	offer(d, 0, 0);
	kick(d, 0);
	assert_refused(d, 0);
}

static void hostile_indirect_without_feature(void **state)
{
	struct driver *d = *state;
	struct desc table = {0x10000, 8, 0, 0};

	driver_start(d, 0, 2, 16);
	memcpy(at(d, 0x20000, 16), &table, 16);
	set_desc(d, 0, 0, 0x20000, 16, VIRTIO_DESC_INDIRECT, 0);
	offer(d, 0, 0);
	kick(d, 0);
	assert_refused(d, 0);
}

/* A flood while the device works: pending never exceeds the ring, and the walk ends. */
static void hostile_same_head_many_times(void **state)
{
	struct driver *d = *state;

	set_desc(d, 0, 0, 0x10000, 8, 0, 0);
	for (unsigned int i = 0; i < 16; i++)
		offer(d, 0, 0);
	kick(d, 0);
	assert_int_equal(probe_of(d)->pops, 16);
	assert_int_equal(used_idx(d, 0), 16);
}

/* A driver may put rings where it likes, on top of each other too: nonsense, but ours to survive.
 */
static void hostile_rings_overlap(void **state)
{
	struct driver *d = *state;

	assert_true(driver_negotiate(d, F_VERSION_1));
	reg_set(d, 0x30, 0);
	reg_set(d, 0x38, 16);
	reg_set64(d, 0x80, 0x40000);
	reg_set64(d, 0x90, 0x40000);
	reg_set64(d, 0xa0, 0x40000);
	reg_set(d, 0x44, 1);
	driver_ok(d);
	for (uint32_t i = 0; i < 1000; i++) {
		*(uint32_t *)at(d, 0x40000, 4) = i << 16;
		kick(d, 0);
		if (needs_reset(d))
			return;
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(hostile_loop),
		T(hostile_self_loop_in_indirect),
		T(hostile_zero_length),
		T(hostile_beyond_ram),
		T(hostile_head_and_next_beyond_table),
		T(hostile_avail_jump),
		T(hostile_readable_after_writable),
		T(hostile_64k_descriptors),
		T(hostile_more_spans_than_room),
		T(hostile_indirect_tables),
		T(hostile_nested_but_finite),
		T(hostile_indirect_without_feature),
		T(hostile_same_head_many_times),
		T(hostile_rings_overlap),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
