// SPDX-License-Identifier: Apache-2.0
/*
 * Split queues under friendly and hostile drivers: a probe device pops what it is given and keeps
 * it, so that each test can look at exactly what the walk made of a ring.
 */
#include "virtio_driver.h"

struct probe {
	struct virtio_device dev;
	struct virtio_chain chain;
	unsigned int pops;
	int last;
	bool hold; /* do not push */
};

static void probe_notify(struct virtio_device *dev, unsigned int queue)
{
	struct probe *probe = (struct probe *)dev;

	while ((probe->last = virtio_queue_pop(dev, queue, &probe->chain)) > 0) {
		probe->pops++;
		if (!probe->hold)
			virtio_queue_push(dev, queue, probe->chain.head, 7);
	}
	virtio_queue_interrupt(dev, queue);
}

static void probe_free(struct virtio_device *dev)
{
	free(dev);
}

static const struct virtio_ops probe_ops = {
	.name = "probe",
	.id = 42,
	.n_queues = 2,
	.queue_size = 64,
	.notify = probe_notify,
	.free = probe_free,
};

static struct probe *probe_of(struct driver *d)
{
	return (struct probe *)d->dev;
}

static int setup(void **state)
{
	struct driver *d = driver_new();
	struct probe *probe = calloc(1, sizeof(*probe));

	virtio_device_init(&probe->dev, &probe_ops, d->ram, 0);
	driver_attach(d, &probe->dev);
	driver_start(d, F_INDIRECT, 2, 16);
	*state = d;
	return 0;
}

static int teardown(void **state)
{
	driver_free(*state);
	return 0;
}

/* The device refused and says so; it must stay quiet until the reset and work after it. */
static void assert_refused(struct driver *d, unsigned int pops)
{
	struct probe *probe = probe_of(d);

	assert_int_equal(probe->last, -EIO);
	assert_int_equal(probe->pops, pops);
	assert_true(needs_reset(d));
	assert_true(reg_get(d, R_ISR) & 2);
	kick(d, 0);
	assert_int_equal(probe->pops, pops);

	driver_start(d, F_INDIRECT, 2, 16);
	set_desc(d, 0, 0, 0x80000, 8, 0, 0);
	offer(d, 0, 0);
	kick(d, 0);
	assert_int_equal(probe->pops, pops + 1);
	assert_false(needs_reset(d));
}

static void chain_of_three(void **state)
{
	struct driver *d = *state;
	struct virtio_chain *chain = &probe_of(d)->chain;

	set_desc(d, 0, 3, 0x10000, 100, VIRTIO_DESC_NEXT, 5);
	set_desc(d, 0, 5, 0x20000, 200, VIRTIO_DESC_NEXT, 1);
	set_desc(d, 0, 1, 0x30000, 300, VIRTIO_DESC_WRITE, 0);
	offer(d, 0, 3);
	kick(d, 0);
	assert_int_equal(probe_of(d)->pops, 1);
	assert_int_equal(chain->head, 3);
	assert_int_equal(chain->n_out, 2);
	assert_int_equal(chain->n_in, 1);
	assert_ptr_equal(chain->out[1].base, at(d, 0x20000, 200));
	assert_int_equal(chain->in[0].len, 300);
	assert_int_equal(chain->in[0].gpa, 0x30000);
	assert_int_equal(used_idx(d, 0), 1);
	assert_int_equal(used_at(d, 0, 0).id, 3);
	assert_int_equal(used_at(d, 0, 0).len, 7);
	assert_int_equal(irqs(d), 1);
	assert_int_equal(reg_get(d, R_ISR), 1);
}

static void indices_wrap(void **state)
{
	struct driver *d = *state;

	set_desc(d, 0, 0, 0x10000, 8, 0, 0);
	for (unsigned int i = 0; i < 70000; i++) {
		offer(d, 0, 0);
		kick(d, 0);
	}
	assert_int_equal(probe_of(d)->pops, 70000);
	assert_int_equal(used_idx(d, 0), 70000 & 0xffff);
	assert_false(needs_reset(d));
}

static void interrupt_suppressed(void **state)
{
	struct driver *d = *state;

	*(uint16_t *)at(d, d->q[0].avail_gpa, 2) = 1;
	set_desc(d, 0, 0, 0x10000, 8, 0, 0);
	offer(d, 0, 0);
	kick(d, 0);
	assert_int_equal(used_idx(d, 0), 1);
	assert_int_equal(irqs(d), 0);
}

static void indirect_table(void **state)
{
	struct driver *d = *state;
	struct virtio_chain *chain = &probe_of(d)->chain;
	struct desc table[3] = {{0x11000, 10, VIRTIO_DESC_NEXT, 2},
				{0x13000, 30, VIRTIO_DESC_WRITE, 0},
				{0x12000, 20, VIRTIO_DESC_NEXT, 1}};

	memcpy(at(d, 0x10000, sizeof(table)), table, sizeof(table));
	set_desc(d, 0, 2, 0x14000, 40, VIRTIO_DESC_NEXT, 4);
	set_desc(d, 0, 4, 0x10000, sizeof(table), VIRTIO_DESC_INDIRECT, 0);
	offer(d, 0, 2);
	kick(d, 0);
	assert_int_equal(chain->n_out, 3);
	assert_int_equal(chain->n_in, 1);
	assert_int_equal(chain->out[0].len, 40);
	assert_int_equal(chain->out[2].len, 20);
	assert_int_equal(used_at(d, 0, 0).id, 2);
}

/* As many entries as a queue can have: Linux fills a disk's seg_max, header and status. */
static void indirect_table_full(void **state)
{
	struct driver *d = *state;
	struct desc *table = at(d, FAKE_HIGH_GPA, 257 * 16);

	for (uint32_t i = 0; i < 257; i++)
		table[i] = (struct desc){0x10000, 8, VIRTIO_DESC_NEXT, (uint16_t)(i + 1)};
	table[VIRTIO_QUEUE_SIZE - 1].flags = 0;
	set_desc(d, 0, 0, FAKE_HIGH_GPA, VIRTIO_QUEUE_SIZE * 16, VIRTIO_DESC_INDIRECT, 0);
	offer(d, 0, 0);
	kick(d, 0);
	assert_int_equal(probe_of(d)->chain.n_out, VIRTIO_QUEUE_SIZE);
	assert_int_equal(used_idx(d, 0), 1);
	assert_false(needs_reset(d));

	/* One more is too long. */
	table[VIRTIO_QUEUE_SIZE - 1].flags = VIRTIO_DESC_NEXT;
	table[VIRTIO_QUEUE_SIZE].flags = VIRTIO_DESC_WRITE;
	set_desc(d, 0, 0, FAKE_HIGH_GPA, 257 * 16, VIRTIO_DESC_INDIRECT, 0);
	offer(d, 0, 0);
	kick(d, 0);
	assert_refused(d, 1);
}

static void descriptor_across_regions(void **state)
{
	struct driver *d = *state;
	struct virtio_chain *chain = &probe_of(d)->chain;

	set_desc(d, 0, 0, FAKE_SECOND_GPA - 100, 300, 0, 0);
	offer(d, 0, 0);
	kick(d, 0);
	assert_int_equal(chain->n_out, 2);
	assert_int_equal(chain->out[0].len, 100);
	assert_int_equal(chain->out[1].len, 200);
	assert_ptr_equal(chain->out[1].base, d->ram->regions[1].hva);
	assert_int_equal(virtio_spans_len(chain->out, 2), 300);
}

static void spans_are_read_across(void **state)
{
	struct driver *d = *state;
	struct virtio_chain *chain = &probe_of(d)->chain;
	uint8_t got[32];

	memcpy(at(d, FAKE_SECOND_GPA - 4, 4), "abcd", 4);
	memcpy(at(d, FAKE_SECOND_GPA, 4), "efgh", 4);
	set_desc(d, 0, 0, FAKE_SECOND_GPA - 4, 8, 0, 0);
	offer(d, 0, 0);
	kick(d, 0);
	assert_int_equal(virtio_spans_read(chain->out, chain->n_out, 2, got, sizeof(got)), 6);
	assert_memory_equal(got, "cdefgh", 6);
	assert_int_equal(virtio_spans_read(chain->out, chain->n_out, 8, got, 1), 0);
	assert_int_equal(virtio_spans_read(chain->out, chain->n_out, 5, got, 2), 2);
	assert_memory_equal(got, "fg", 2);
}

static void unpop_gives_it_again(void **state)
{
	struct driver *d = *state;
	struct probe *probe = probe_of(d);

	probe->hold = true;
	set_desc(d, 0, 6, 0x10000, 8, 0, 0);
	offer(d, 0, 6);
	kick(d, 0);
	virtio_queue_unpop(d->dev, 0);
	assert_int_equal(virtio_queue_pending(d->dev, 0), 1);
	kick(d, 0);
	assert_int_equal(probe->pops, 2);
	assert_int_equal(probe->chain.head, 6);
}

/* ---- hostile ---- */

/* Three chains of one request are the driver's at one time, also across the ring's end. */
static void several_chains_at_once(void **state)
{
	struct driver *d = *state;
	struct probe *probe = probe_of(d);

	probe->hold = true;
	for (uint16_t round = 0; round < 11; round++) {
		for (uint16_t i = 0; i < 3; i++) {
			set_desc(d, 0, i, 0x80000, 8, VIRTIO_DESC_WRITE, 0);
			offer(d, 0, i);
		}
		kick(d, 0);
		for (uint16_t i = 0; i < 3; i++) {
			virtio_queue_fill(d->dev, 0, i, i, 100U + i);
			assert_int_equal(used_idx(d, 0), round * 3);
		}
		virtio_queue_publish(d->dev, 0, 3);
		assert_int_equal(used_idx(d, 0), round * 3 + 3);
		for (uint16_t i = 0; i < 3; i++) {
			assert_int_equal(used_at(d, 0, (uint16_t)(round * 3 + i)).id, i);
			assert_int_equal(used_at(d, 0, (uint16_t)(round * 3 + i)).len, 100 + i);
		}
	}
	/* After a reset there is no ring to write to. */
	reg_set(d, R_STATUS, 0);
	virtio_queue_fill(d->dev, 0, 0, 0, 1);
	virtio_queue_publish(d->dev, 0, 1);
	virtio_queue_want_kicks(d->dev, 0, false);
	assert_int_equal(used_idx(d, 0), 33);
}

static void kicks_unwanted(void **state)
{
	struct driver *d = *state;
	const uint16_t *flags = at(d, d->q[0].used_gpa, 2);

	assert_int_equal(*flags, 0);
	virtio_queue_want_kicks(d->dev, 0, false);
	assert_int_equal(*flags, 1);
	virtio_queue_want_kicks(d->dev, 0, true);
	assert_int_equal(*flags, 0);
}

/* Somebody else serves a queue for a while: chains 0 to 4, of which we had the first. */
static void queue_lent(void **state)
{
	struct driver *d = *state;
	struct probe *probe = probe_of(d);
	uint16_t *used = at(d, d->q[0].used_gpa, 4);
	int fd;

	set_desc(d, 0, 0, 0x80000, 8, VIRTIO_DESC_WRITE, 0);
	offer(d, 0, 0);
	kick(d, 0);
	fd = virtio_queue_lend_kicks(d->dev, 0);
	assert_int_equal(fd, virtio_mmio_notify_fd(d->mmio, 0));
	for (unsigned int i = 0; i < 5; i++)
		offer(d, 0, 0);
	eventfd_write(fd, 1);
	assert_int_equal(fake_loop_poll(&d->loop), 0);
	used[1] = 5;
	virtio_queue_go_on(d->dev, 0, 5);
	virtio_queue_return_kicks(d->dev, 0);
	assert_int_equal(fake_loop_poll(&d->loop), 1);
	assert_int_equal(probe->pops, 2);
	assert_int_equal(used_idx(d, 0), 6);
	assert_int_equal(used_at(d, 0, 5).len, 7);
}

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
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(chain_of_three),
		T(indices_wrap),
		T(interrupt_suppressed),
		T(indirect_table),
		T(indirect_table_full),
		T(descriptor_across_regions),
		T(spans_are_read_across),
		T(unpop_gives_it_again),
		T(several_chains_at_once),
		T(kicks_unwanted),
		T(queue_lent),
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
