// SPDX-License-Identifier: Apache-2.0
/* virtio-blk with requests under way: bounds, resets, pauses, and devices that are freed meanwhile.
 */
#include "tests/unit/blk_driver.h"

static void answered_from_the_loop(void **state)
{
	struct driver *d = *state;

	put_header(d, VIRTIO_BLK_T_IN, 0);
	set_desc(d, 0, 0, HEADER, 16, VIRTIO_DESC_NEXT, 1);
	set_desc(d, 0, 1, DATA, 512, VIRTIO_DESC_NEXT | VIRTIO_DESC_WRITE, 2);
	set_desc(d, 0, 2, STATUS, 1, VIRTIO_DESC_WRITE, 0);
	offer(d, 0, 0);
	kick(d, 0);
	while (!__atomic_load_n(&d->loop.call, __ATOMIC_ACQUIRE))
		usleep(100);
	assert_int_equal(used_idx(d, 0), 0);
	fake_loop_run(&d->loop);
	assert_int_equal(used_idx(d, 0), 1);
	assert_int_equal(status_byte(d), VIRTIO_BLK_S_OK);
	assert_int_equal(irqs(d), 1);
}

/* A read into DATA that waits in front of the disk. */
static void read_that_waits(struct driver *d)
{
	gate_set(true);
	put_header(d, VIRTIO_BLK_T_IN, 0);
	set_desc(d, 0, 0, HEADER, 16, VIRTIO_DESC_NEXT, 1);
	set_desc(d, 0, 1, DATA, 512, VIRTIO_DESC_NEXT | VIRTIO_DESC_WRITE, 2);
	set_desc(d, 0, 2, STATUS, 1, VIRTIO_DESC_WRITE, 0);
	offer(d, 0, 0);
	kick(d, 0);
}

static void *open_gate_soon(void *ctx)
{
	usleep(30000);
	gate_set(false);
	return NULL;
}

static pthread_t open_gate(void)
{
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, open_gate_soon, NULL), 0);
	return thread;
}

/* A driver that reuses heads at once cannot have more under way than the queue holds. */
static void bounded_under_way(void **state)
{
	struct driver *d = *state;

	read_that_waits(d);
	for (unsigned int round = 0; round < 4; round++) {
		for (unsigned int i = 0; i < 200; i++)
			offer(d, 0, 0);
		kick(d, 0);
		if (needs_reset(d)) /* more than the ring holds wait: also an answer */
			break;
	}
	assert_true(host.reads <= 1);
	pthread_join(open_gate(), NULL);
	settle(d);
	assert_true(used_idx(d, 0) <= 256);
	assert_true(used_idx(d, 0) >= 201);
}

/* All 256 under way, then as many again: those wait in the ring and come after. */
static void more_than_can_be_under_way(void **state)
{
	struct driver *d = *state;

	read_that_waits(d);
	for (unsigned int i = 0; i < 255; i++)
		offer(d, 0, 0);
	kick(d, 0);
	for (unsigned int i = 0; i < 256; i++)
		offer(d, 0, 0);
	kick(d, 0);
	assert_false(needs_reset(d));
	assert_int_equal(virtio_queue_pending(d->dev, 0), 256);
	pthread_join(open_gate(), NULL);
	for (unsigned int i = 0; i < 100 && used_idx(d, 0) != 512; i++)
		settle(d);
	assert_int_equal(used_idx(d, 0), 512);
	assert_int_equal(host.reads, 512);
}

static void reset_waits_and_forgets(void **state)
{
	struct driver *d = *state;
	uint8_t *data = at(d, DATA, 512);
	pthread_t thread;

	memset(data, 0, 512);
	read_that_waits(d);
	thread = open_gate();
	reg_set(d, R_STATUS, 0);
	/* The transfer is over, and its answer went nowhere. */
	assert_memory_equal(data, host.data, 512);
	assert_int_equal(status_byte(d), NONE);
	assert_int_equal(used_idx(d, 0), 0);
	pthread_join(thread, NULL);
	fake_loop_run(&d->loop);
	assert_int_equal(status_byte(d), NONE);
	driver_start(d, F_ALL, 1, 256);
	request(d, VIRTIO_BLK_T_IN, 1, 512, true);
	assert_memory_equal(data, host.data + 512, 512);
}

static void pause_answers_first(void **state)
{
	struct driver *d = *state;
	pthread_t thread;

	read_that_waits(d);
	offer(d, 0, 0);
	kick(d, 0);
	thread = open_gate();
	virtio_pause(d->dev);
	assert_int_equal(used_idx(d, 0), 2);
	assert_int_equal(status_byte(d), VIRTIO_BLK_S_OK);
	pthread_join(thread, NULL);
	/* What comes now waits. */
	offer(d, 0, 0);
	kick(d, 0);
	usleep(2000);
	assert_int_equal(host.reads, 2);
	virtio_resume(d->dev);
	fake_loop_poll(&d->loop);
	settle(d);
	assert_int_equal(used_idx(d, 0), 3);
}

static void queue_taken_away_under_way(void **state)
{
	struct driver *d = *state;

	read_that_waits(d);
	reg_set(d, 0x30, 0);
	reg_set(d, 0x44, 0);
	pthread_join(open_gate(), NULL);
	settle(d);
	assert_int_equal(used_idx(d, 0), 0);
}

static void freed_under_way(void **state)
{
	struct driver *d = *state;

	read_that_waits(d);
	pthread_detach(open_gate());
	/* teardown frees it */
}

static unsigned int n_done;

static void count_done(void *ctx)
{
	__atomic_add_fetch(&n_done, 1, __ATOMIC_SEQ_CST);
}

static void abandoned(void **state)
{
	struct blk_request *request, *next;
	struct blk_io *io;
	pthread_t thread;
	unsigned int n = 0;

	assert_int_equal(blk_io_new(&host, "test", count_done, NULL, &io), 0);
	gate_set(true);
	for (unsigned int i = 0; i < 3; i++) {
		request = blk_request_new(0, 0);
		request->op = BLK_READ;
		blk_io_submit(io, request);
	}
	while (__atomic_load_n(&host.reads, __ATOMIC_SEQ_CST) == 0)
		usleep(100);
	thread = open_gate();
	assert_int_equal(blk_io_abandon(io, 1000), 2);
	pthread_join(thread, NULL);
	for (request = blk_io_fetch(io); request; request = next) {
		next = request->next;
		assert_int_equal(request->result, n++ == 0 ? 0 : -ECANCELED);
		free(request);
	}
	assert_int_equal(n, 3);
	assert_null(blk_io_fetch(io));
	/* It serves on. */
	blk_io_submit(io, blk_request_new(0, 0));
	blk_io_drain(io);
	request = blk_io_fetch(io);
	assert_int_equal(request->result, 0);
	free(request);
	blk_io_submit(io, blk_request_new(0, 0));
	blk_io_free(io);
	assert_true(n_done >= 4);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(answered_from_the_loop),  T(bounded_under_way),   T(more_than_can_be_under_way),
		T(reset_waits_and_forgets), T(pause_answers_first), T(queue_taken_away_under_way),
		T(freed_under_way),	    T(abandoned),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
