// SPDX-License-Identifier: Apache-2.0
/*
 * The register window: identity, negotiation, status rules, queue set-up, interrupts, config space
 * and reset, as a driver sees them.
 */
#include "virtio_driver.h"

struct probe {
	struct virtio_device dev;
	uint8_t config[6];
	unsigned int notified[3], activated, resets, pauses, resumes;
};

static struct probe *probe_of(struct virtio_device *dev)
{
	return (struct probe *)dev;
}

static void probe_config_read(struct virtio_device *dev, uint32_t offset, void *data, uint32_t len)
{
	memcpy(data, probe_of(dev)->config + offset, len);
}

static void probe_config_write(struct virtio_device *dev, uint32_t offset, const void *data,
			       uint32_t len)
{
	memcpy(probe_of(dev)->config + offset, data, len);
}

static void probe_activate(struct virtio_device *dev)
{
	probe_of(dev)->activated++;
}

static void probe_notify(struct virtio_device *dev, unsigned int queue)
{
	probe_of(dev)->notified[queue]++;
}

static void probe_reset(struct virtio_device *dev)
{
	probe_of(dev)->resets++;
}

static void probe_pause(struct virtio_device *dev)
{
	probe_of(dev)->pauses++;
}

static void probe_resume(struct virtio_device *dev)
{
	probe_of(dev)->resumes++;
}

static void probe_free(struct virtio_device *dev)
{
	free(dev);
}

static const struct virtio_ops probe_ops = {
	.name = "probe",
	.id = 42,
	.n_queues = 3,
	.queue_size = 32,
	.config_len = 6,
	.config_read = probe_config_read,
	.config_write = probe_config_write,
	.activate = probe_activate,
	.notify = probe_notify,
	.reset = probe_reset,
	.pause = probe_pause,
	.resume = probe_resume,
	.free = probe_free,
};

static int setup(void **state)
{
	struct driver *d = driver_new();
	struct probe *probe = calloc(1, sizeof(*probe));

	virtio_device_init(&probe->dev, &probe_ops, d->ram, 1ULL << 3 | 1ULL << 40);
	for (uint8_t i = 0; i < 6; i++)
		probe->config[i] = i + 1;
	driver_attach(d, &probe->dev);
	*state = d;
	return 0;
}

static int teardown(void **state)
{
	driver_free(*state);
	return 0;
}

static void identity(void **state)
{
	struct driver *d = *state;

	assert_int_equal(reg_get(d, 0x00), 0x74726976);
	assert_int_equal(reg_get(d, 0x04), 2);
	assert_int_equal(reg_get(d, 0x08), 42);
	assert_int_equal(reg_get(d, R_STATUS), 0);
	assert_int_equal(driver_offered(d), 1ULL << 3 | 1ULL << 40 | F_VERSION_1 | F_INDIRECT);
	reg_set(d, 0x14, 2);
	assert_int_equal(reg_get(d, 0x10), 0);
	assert_int_equal(reg_get(d, 0xb0), UINT32_MAX); /* no shared memory */
	assert_int_equal(reg_get(d, 0xb4), UINT32_MAX);
	for (uint32_t q = 0; q < 5; q++) {
		reg_set(d, 0x30, q);
		assert_int_equal(reg_get(d, 0x34), q < 3 ? 32 : 0);
		assert_int_equal(reg_get(d, 0x44), 0);
	}
}

static void negotiation(void **state)
{
	struct driver *d = *state;

	assert_false(driver_negotiate(d, 1ULL << 3)); /* without VERSION_1 */
	assert_false(driver_negotiate(d, F_VERSION_1 | 1ULL << 4));
	assert_false(driver_negotiate(d, F_VERSION_1 | 1ULL << 63));
	assert_true(driver_negotiate(d, F_VERSION_1 | 1ULL << 40));
	/* settled: a later change is not taken */
	reg_set(d, 0x24, 0);
	reg_set(d, 0x20, 1 << 3);
	assert_false(virtio_has_feature(d->dev, 3));
	assert_true(virtio_has_feature(d->dev, 40));
	driver_ok(d);
	assert_int_equal(probe_of(d->dev)->activated, 1);
	driver_ok(d);
	assert_int_equal(probe_of(d->dev)->activated, 1);
	assert_true(d->dev->active);
}

static void driver_ok_needs_features_ok(void **state)
{
	struct driver *d = *state;

	reg_set(d, R_STATUS, 1);
	reg_set(d, R_STATUS, 7);
	assert_int_equal(reg_get(d, R_STATUS), 3);
	assert_false(d->dev->active);
}

static void driver_cannot_set_needs_reset(void **state)
{
	struct driver *d = *state;

	reg_set(d, R_STATUS, VIRTIO_STATUS_NEEDS_RESET | 1);
	assert_int_equal(reg_get(d, R_STATUS), 1);
}

static void failed_driver_is_not_served(void **state)
{
	struct driver *d = *state;

	driver_start(d, 0, 1, 16);
	reg_set(d, R_STATUS, reg_get(d, R_STATUS) | VIRTIO_STATUS_FAILED);
	kick(d, 0);
	assert_int_equal(probe_of(d->dev)->notified[0], 0);
}

/* Set up queue 0 with these values; is it ready afterwards? */
static bool queue_accepted(struct driver *d, uint32_t size, uint64_t desc, uint64_t avail,
			   uint64_t used)
{
	bool ready;

	assert_true(driver_negotiate(d, F_VERSION_1));
	reg_set(d, 0x30, 0);
	reg_set(d, 0x38, size);
	reg_set64(d, 0x80, desc);
	reg_set64(d, 0x90, avail);
	reg_set64(d, 0xa0, used);
	reg_set(d, 0x44, 1);
	ready = reg_get(d, 0x44);
	assert_int_equal(needs_reset(d), !ready);
	return ready;
}

static void queue_addresses(void **state)
{
	struct driver *d = *state;
	uint64_t end = FAKE_HIGH_GPA + FAKE_REGION_BYTES;

	assert_true(queue_accepted(d, 32, 0x1000, 0x2000, 0x3000));
	assert_true(queue_accepted(d, 1, 0x1000, 0x2000, 0x3000));
	assert_true(queue_accepted(d, 32, end - 512, FAKE_HIGH_GPA, 0x3004));
	assert_false(queue_accepted(d, 0, 0x1000, 0x2000, 0x3000));
	assert_false(queue_accepted(d, 64, 0x1000, 0x2000, 0x3000));
	assert_false(queue_accepted(d, 24, 0x1000, 0x2000, 0x3000));
	assert_false(queue_accepted(d, 65536 + 16, 0x1000, 0x2000, 0x3000));
	assert_false(queue_accepted(d, 32, 0x1008, 0x2000, 0x3000)); /* misaligned */
	assert_false(queue_accepted(d, 32, 0x1000, 0x2001, 0x3000));
	assert_false(queue_accepted(d, 32, 0x1000, 0x2000, 0x3002));
	assert_false(queue_accepted(d, 32, end - 496, 0x2000, 0x3000)); /* over the end */
	assert_false(queue_accepted(d, 32, 0x1000, end - 64, 0x3000));
	assert_false(queue_accepted(d, 32, 0x1000, 0x2000, end - 256));
	assert_false(queue_accepted(d, 32, 0xd0000000, 0x2000, 0x3000));
	assert_false(queue_accepted(d, 32, ~0xfULL, 0x2000, 0x3000)); /* wraps */
	/* a region border: not one piece of our memory */
	assert_false(queue_accepted(d, 32, FAKE_SECOND_GPA - 16, 0x2000, 0x3000));
}

static void ready_queue_is_fixed(void **state)
{
	struct driver *d = *state;

	driver_start(d, 0, 1, 16);
	reg_set(d, 0x30, 0);
	reg_set64(d, 0x80, 0xdead0000);
	reg_set(d, 0x38, 4);
	assert_int_equal(d->dev->queues[0].desc_gpa, d->q[0].desc_gpa);
	assert_int_equal(d->dev->queues[0].size, 16);
	reg_set(d, 0x44, 0);
	assert_int_equal(reg_get(d, 0x44), 0);
}

static void queue_that_is_not_there(void **state)
{
	struct driver *d = *state;

	driver_start(d, 0, 1, 16);
	reg_set(d, 0x30, 0xffffffff);
	reg_set(d, 0x38, 16);
	reg_set64(d, 0x80, 0x1000);
	reg_set(d, 0x44, 1);
	assert_int_equal(reg_get(d, 0x44), 0);
	kick(d, 3);
	kick(d, 0xffffffff);
	kick(d, 1); /* there, but not set up */
	assert_int_equal(probe_of(d->dev)->notified[1], 0);
	assert_false(needs_reset(d));
}

static void kicks_by_register_and_eventfd(void **state)
{
	struct driver *d = *state;
	struct probe *probe = probe_of(d->dev);

	driver_start(d, 0, 3, 16);
	kick(d, 2);
	assert_int_equal(probe->notified[2], 1);
	eventfd_write(virtio_mmio_notify_fd(d->mmio, 1), 1);
	eventfd_write(virtio_mmio_notify_fd(d->mmio, 1), 1);
	assert_int_equal(fake_loop_poll(&d->loop), 1);
	assert_int_equal(probe->notified[1], 1);
	virtio_queue_kick_later(d->dev, 0);
	assert_int_equal(probe->notified[0], 0);
	assert_int_equal(fake_loop_poll(&d->loop), 1);
	assert_int_equal(probe->notified[0], 1);
	assert_int_equal(fake_loop_poll(&d->loop), 0);
	assert_int_equal(virtio_mmio_notify_fd(d->mmio, 3), -1);
	assert_int_equal(virtio_mmio_queue_count(d->mmio), 3);
}

/* Kicks while the machine stands come when it goes on, once, and only where something waits. */
static void pause_holds_kicks(void **state)
{
	struct driver *d = *state;
	struct probe *probe = probe_of(d->dev);

	driver_start(d, 0, 3, 8);
	virtio_pause(d->dev);
	virtio_pause(d->dev);
	assert_int_equal(probe->pauses, 1);
	set_desc(d, 1, 0, 0x80000, 16, 0, 0);
	offer(d, 1, 0);
	kick(d, 1);
	eventfd_write(virtio_mmio_notify_fd(d->mmio, 1), 1);
	fake_loop_poll(&d->loop);
	assert_int_equal(probe->notified[1], 0);
	virtio_resume(d->dev);
	virtio_resume(d->dev);
	assert_int_equal(probe->resumes, 1);
	fake_loop_poll(&d->loop);
	assert_int_equal(probe->notified[1], 1);
	assert_int_equal(probe->notified[0], 0);
}

static void kick_before_driver_ok(void **state)
{
	struct driver *d = *state;

	assert_true(driver_negotiate(d, F_VERSION_1));
	driver_queue(d, 0, 16);
	kick(d, 0);
	assert_int_equal(probe_of(d->dev)->notified[0], 0);
}

static void config_space(void **state)
{
	struct driver *d = *state;
	uint8_t data[8];

	virtio_mmio_bus_ops.read(d->mmio, R_CONFIG, data, 8); /* two bytes beyond */
	assert_memory_equal(data, "\1\2\3\4\5\6\0\0", 8);
	virtio_mmio_bus_ops.read(d->mmio, R_CONFIG + 5, data, 1);
	assert_int_equal(data[0], 6);
	virtio_mmio_bus_ops.read(d->mmio, 0xfff, data, 1);
	assert_int_equal(data[0], 0);
	virtio_mmio_bus_ops.write(d->mmio, R_CONFIG + 4, (const uint8_t *)"abcd", 4);
	virtio_mmio_bus_ops.write(d->mmio, R_CONFIG + 6, (const uint8_t *)"zz", 2);
	assert_memory_equal(probe_of(d->dev)->config, "\1\2\3\4ab", 6);
}

static void config_change(void **state)
{
	struct driver *d = *state;
	uint32_t before = reg_get(d, R_GENERATION);

	virtio_config_changed(d->dev); /* nobody there to be told */
	assert_int_equal(irqs(d), 0);
	driver_start(d, 0, 1, 16);
	virtio_config_changed(d->dev);
	assert_int_equal(reg_get(d, R_GENERATION), before + 2);
	assert_int_equal(irqs(d), 1);
	assert_int_equal(reg_get(d, R_ISR), 2);
	reg_set(d, R_ACK, 1);
	assert_int_equal(reg_get(d, R_ISR), 2);
	reg_set(d, R_ACK, 2);
	assert_int_equal(reg_get(d, R_ISR), 0);
}

static void odd_accesses(void **state)
{
	struct driver *d = *state;
	uint8_t data[8] = {0};

	virtio_mmio_bus_ops.write(d->mmio, R_STATUS, (const uint8_t *)"\1", 1);
	virtio_mmio_bus_ops.write(d->mmio, R_STATUS, (const uint8_t *)"\1\0\0\0\0\0\0\0", 8);
	virtio_mmio_bus_ops.write(d->mmio, R_STATUS - 2, (const uint8_t *)"\0\0\1\0", 4);
	assert_int_equal(reg_get(d, R_STATUS), 0);
	virtio_mmio_bus_ops.read(d->mmio, 0, data, 8);
	assert_memory_equal(data, "\0\0\0\0\0\0\0\0", 8);
}

static void needs_reset_is_told_once(void **state)
{
	struct driver *d = *state;

	driver_start(d, 0, 1, 16);
	irqs(d);
	virtio_needs_reset(d->dev, "test %d", 1);
	virtio_needs_reset(d->dev, "test %d", 2);
	assert_int_equal(irqs(d), 1);
	assert_int_equal(reg_get(d, R_ISR), 2);
	assert_true(needs_reset(d));
	assert_false(d->dev->active);
	driver_ok(d); /* no way round the reset */
	assert_false(d->dev->active);
}

static void reset_forgets_all(void **state)
{
	struct driver *d = *state;
	struct probe *probe = probe_of(d->dev);

	driver_start(d, 1ULL << 40, 3, 16);
	virtio_config_changed(d->dev);
	eventfd_write(virtio_mmio_notify_fd(d->mmio, 1), 1);
	probe->resets = 0;
	reg_set(d, R_STATUS, 0);
	assert_int_equal(probe->resets, 1);
	assert_int_equal(reg_get(d, R_STATUS), 0);
	assert_int_equal(reg_get(d, R_ISR), 0);
	assert_int_equal(d->dev->features, 0);
	for (uint32_t q = 0; q < 3; q++) {
		reg_set(d, 0x30, q);
		assert_int_equal(reg_get(d, 0x44), 0);
		assert_int_equal(d->dev->queues[q].desc_gpa, 0);
	}
	driver_start(d, 0, 3, 16);
	assert_int_equal(fake_loop_poll(&d->loop), 0); /* the old kick is gone */
	virtio_mmio_reset(d->mmio);
	assert_false(d->dev->active);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(identity),
		T(negotiation),
		T(driver_ok_needs_features_ok),
		T(driver_cannot_set_needs_reset),
		T(failed_driver_is_not_served),
		T(queue_addresses),
		T(ready_queue_is_fixed),
		T(queue_that_is_not_there),
		T(kicks_by_register_and_eventfd),
		T(kick_before_driver_ok),
		T(pause_holds_kicks),
		T(config_space),
		T(config_change),
		T(odd_accesses),
		T(needs_reset_is_told_once),
		T(reset_forgets_all),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
