// SPDX-License-Identifier: Apache-2.0
/* virtio-console over a host end that takes as much as the test allows. */
#include "virtio_driver.h"
#include "vmm/console.h"

/* In the place of chardev.c. */
struct chardev {
	const struct chardev_ops *ops;
	void *ctx;
	char taken[4096];
	size_t n_taken, room;
	unsigned int input_ready;
};

void chardev_bind(struct chardev *chardev, const struct chardev_ops *ops, void *ctx)
{
	chardev->ops = ops;
	chardev->ctx = ctx;
}

size_t chardev_write(struct chardev *chardev, const void *data, size_t len)
{
	size_t n = len < chardev->room ? len : chardev->room;

	memcpy(chardev->taken + chardev->n_taken, data, n);
	chardev->n_taken += n;
	chardev->room -= n;
	return n;
}

void chardev_input_ready(struct chardev *chardev)
{
	chardev->input_ready++;
}

static struct chardev host;

static int setup(void **state)
{
	struct driver *d = driver_new();

	memset(&host, 0, sizeof(host));
	host.room = sizeof(host.taken);
	driver_attach(d, console_new(d->ram, &host));
	driver_start(d, 0, 2, 64);
	*state = d;
	return 0;
}

static int teardown(void **state)
{
	driver_free(*state);
	assert_null(host.ops);
	return 0;
}

static void give_input_buffer(struct driver *d, uint64_t gpa, uint32_t len)
{
	uint16_t i = d->q[0].free_desc++ % 64;

	set_desc(d, 0, i, gpa, len, VIRTIO_DESC_WRITE, 0);
	offer(d, 0, i);
	kick(d, 0);
}

static void output(void **state)
{
	struct driver *d = *state;

	send_out(d, 1, "hello ", 6);
	send_out(d, 1, "world", 5);
	assert_memory_equal(host.taken, "hello world", 11);
	assert_int_equal(used_idx(d, 1), 2);
	assert_int_equal(irqs(d), 2);
}

static void output_waits_for_a_slow_host(void **state)
{
	struct driver *d = *state;

	host.room = 3;
	memcpy(at(d, 0x80000, 4), "abcd", 4);
	memcpy(at(d, 0x90000, 4), "efgh", 4);
	set_desc(d, 1, 0, 0x80000, 4, VIRTIO_DESC_NEXT, 1);
	set_desc(d, 1, 1, 0x90000, 4, 0, 0);
	offer(d, 1, 0);
	kick(d, 1);
	assert_int_equal(used_idx(d, 1), 0);
	kick(d, 1); /* does not help, and repeats nothing */
	assert_int_equal(host.n_taken, 3);
	host.room = 2;
	host.ops->writable(host.ctx);
	assert_int_equal(used_idx(d, 1), 0);
	host.room = 100;
	host.ops->writable(host.ctx);
	assert_int_equal(used_idx(d, 1), 1);
	assert_int_equal(host.n_taken, 8);
	assert_memory_equal(host.taken, "abcdefgh", 8);
	host.ops->writable(host.ctx);
	assert_int_equal(used_idx(d, 1), 1);
}

static void input(void **state)
{
	struct driver *d = *state;

	assert_int_equal(host.ops->input_room(host.ctx), 0);
	give_input_buffer(d, 0x80000, 16);
	assert_int_equal(host.input_ready, 1);
	assert_int_equal(host.ops->input_room(host.ctx), 16);
	assert_int_equal(host.ops->input_room(host.ctx), 16);
	host.ops->input(host.ctx, (const uint8_t *)"root\n", 5);
	assert_memory_equal(at(d, 0x80000, 6), "root\n\0", 6);
	assert_int_equal(used_idx(d, 0), 1);
	assert_int_equal(used_at(d, 0, 0).len, 5);
	assert_int_equal(irqs(d), 1);
	assert_int_equal(host.ops->input_room(host.ctx), 0);
}

static void input_buffer_of_two_pieces(void **state)
{
	struct driver *d = *state;

	set_desc(d, 0, 0, 0x80000, 2, VIRTIO_DESC_WRITE | VIRTIO_DESC_NEXT, 1);
	set_desc(d, 0, 1, 0x90000, 4, VIRTIO_DESC_WRITE, 0);
	offer(d, 0, 0);
	assert_int_equal(host.ops->input_room(host.ctx), 6);
	host.ops->input(host.ctx, (const uint8_t *)"abcd", 4);
	assert_memory_equal(at(d, 0x80000, 3), "ab\0", 3);
	assert_memory_equal(at(d, 0x90000, 3), "cd\0", 3);
}

static void reset_forgets_buffers(void **state)
{
	struct driver *d = *state;

	give_input_buffer(d, 0x80000, 16);
	assert_int_equal(host.ops->input_room(host.ctx), 16);
	host.room = 0;
	send_out(d, 1, "lost", 4);
	reg_set(d, R_STATUS, 0);
	assert_int_equal(host.ops->input_room(host.ctx), 0);
	host.ops->input(host.ctx, (const uint8_t *)"x", 1);
	host.room = 100;
	host.ops->writable(host.ctx);
	assert_int_equal(host.n_taken, 0);
	driver_start(d, 0, 2, 64);
	send_out(d, 1, "new", 3);
	assert_memory_equal(host.taken, "new", 3);
	assert_int_equal(used_idx(d, 1), 1);
}

static void hostile_buffers(void **state)
{
	struct driver *d = *state;

	/* Input that cannot be written and output that cannot be read come back untouched. */
	set_desc(d, 0, 0, 0x80000, 16, 0, 0);
	for (unsigned int i = 0; i < 64; i++)
		offer(d, 0, 0);
	assert_int_equal(host.ops->input_room(host.ctx), 0);
	assert_int_equal(used_idx(d, 0), 64);
	set_desc(d, 1, 0, 0x80000, 16, VIRTIO_DESC_WRITE, 0);
	offer(d, 1, 0);
	kick(d, 1);
	assert_int_equal(used_idx(d, 1), 1);
	assert_int_equal(host.n_taken, 0);
	assert_false(needs_reset(d));
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(output),
		T(output_waits_for_a_slow_host),
		T(input),
		T(input_buffer_of_two_pieces),
		T(reset_forgets_buffers),
		T(hostile_buffers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
