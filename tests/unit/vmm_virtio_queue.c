// SPDX-License-Identifier: Apache-2.0
/* Split queues under friendly drivers, and what devices do with them beyond popping and pushing. */
#include "virtio_probe.h"

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(chain_of_three),	  T(indices_wrap),	   T(interrupt_suppressed),
		T(indirect_table),	  T(indirect_table_full),  T(descriptor_across_regions),
		T(spans_are_read_across), T(unpop_gives_it_again), T(several_chains_at_once),
		T(kicks_unwanted),	  T(queue_lent),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
