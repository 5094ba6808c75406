// SPDX-License-Identifier: Apache-2.0
/* virtio-net beside its frames: features, config space, control queue, link, and a tap that goes.
 */
#include "net_driver.h"

#define EVERYTHING                                                                \
	(F(NET_F_MAC) | F(NET_F_STATUS) | F(NET_F_MRG_RXBUF) | F(NET_F_CTRL_VQ) | \
	 F(NET_F_CTRL_RX) | F(NET_F_CTRL_MAC_ADDR) | F(NET_F_GUEST_ANNOUNCE) |    \
	 F(NET_F_CTRL_GUEST_OFFLOADS) | F(NET_F_GUEST_CSUM) | F(NET_F_GUEST_TSO4) | F(NET_F_MTU))

static int setup(void **state)
{
	*state = net_driver_new(EVERYTHING);
	return 0;
}

static int setup_plain(void **state)
{
	*state = net_driver_new(F(NET_F_CTRL_VQ));
	return 0;
}

static int teardown(void **state)
{
	net_driver_free(*state);
	return 0;
}

static void features(void **state)
{
	struct driver *d = *state;
	uint64_t offered = driver_offered(d);

	assert_true((offered & EVERYTHING) == EVERYTHING);
	assert_true(offered & F(NET_F_CSUM) && offered & F(NET_F_HOST_TSO4));
	/* Only what the tap can. */
	assert_false(offered & (F(NET_F_GUEST_UFO) | F(NET_F_HOST_UFO) | F(NET_F_HOST_USO) |
				F(NET_F_GUEST_USO4) | F(NET_F_GUEST_USO6)));
}

static void config_space(void **state)
{
	struct driver *d = *state;
	uint8_t mac[6];

	for (unsigned int i = 0; i < 6; i++)
		virtio_mmio_bus_ops.read(d->mmio, R_CONFIG + i, mac + i, 1);
	assert_memory_equal(mac, test_mac, 6);
	assert_int_equal(config16(d, 6), NET_STATUS_LINK_UP);
	assert_int_equal(config16(d, 8), 1);
	assert_int_equal(config16(d, 10), 1500);
	reg_set(d, R_CONFIG, 0); /* not to be written in virtio 1 */
	assert_int_equal(config16(d, 0), test_mac[0] | test_mac[1] << 8);
}

#define CONTROL(d, ...)                                   \
	({                                                \
		const uint8_t _request[] = {__VA_ARGS__}; \
		control(d, _request, sizeof(_request));   \
	})

static void receive_modes(void **state)
{
	struct driver *d = *state;

	for (uint8_t mode = 0; mode < 6; mode++) {
		assert_int_equal(CONTROL(d, 0, mode, 1), 0);
		assert_int_equal(CONTROL(d, 0, mode, 0), 0);
	}
	assert_int_equal(CONTROL(d, 0, 6, 1), 1);
	assert_int_equal(CONTROL(d, 0, 0, 2), 1);
	assert_int_equal(CONTROL(d, 0, 0, 1, 1), 1);
	assert_int_equal(CONTROL(d, 0, 0), 1);
	assert_int_equal(CONTROL(d, 0), 1);
	assert_int_equal(CONTROL(d, 99, 0, 1), 1);
	assert_int_equal(irqs(d), 18);
}

static void addresses(void **state)
{
	struct driver *d = *state;

	assert_int_equal(CONTROL(d, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0), 0);
	assert_int_equal(CONTROL(d, 1, 0, 1, 0, 0, 0, 2, 0, 0, 0, 0, 1, 0, 0, 0, 0), 0);
	assert_int_equal(CONTROL(d, 1, 0, 1, 0, 0, 0, 2, 0, 0, 0, 0, 1), 1);
	assert_int_equal(CONTROL(d, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0), 1);
	assert_int_equal(CONTROL(d, 1, 0, 255, 255, 255, 255, 0, 0, 0, 0), 1);
	assert_int_equal(CONTROL(d, 1, 1, 2, 3, 4, 5, 6, 7), 0);
	assert_int_equal(config16(d, 0), 0x0302);
	assert_int_equal(config16(d, 4), 0x0706);
	assert_int_equal(CONTROL(d, 1, 1, 2, 3, 4, 5, 6), 1);
	assert_int_equal(CONTROL(d, 1, 1, 9, 3, 4, 5, 6, 7, 8), 1);
	assert_int_equal(config16(d, 0), 0x0302);
	/* The next driver finds the first one again. */
	reg_set(d, R_STATUS, 0);
	assert_int_equal(config16(d, 0), test_mac[0] | test_mac[1] << 8);
}

static void offloads(void **state)
{
	struct driver *d = *state;

	assert_int_equal(CONTROL(d, 5, 0, 0x82, 0, 0, 0, 0, 0, 0, 0), 0);
	assert_int_equal(CONTROL(d, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0), 0);
	assert_int_equal(CONTROL(d, 5, 0, 0x82, 1, 0, 0, 0, 0, 0, 0), 1); /* TSO6: not taken */
	assert_int_equal(CONTROL(d, 5, 1, 0x82, 0, 0, 0, 0, 0, 0, 0), 1);
	assert_int_equal(CONTROL(d, 5, 0, 0x82, 0, 0, 0, 0, 0, 0), 1);
	assert_int_equal(CONTROL(d, 5, 0, 0x82, 0, 0, 0, 0, 0, 0, 0x80), 1);
}

static void announce(void **state)
{
	struct driver *d = *state;
	uint32_t generation = reg_get(d, R_GENERATION);

	irqs(d);
	net_announce(d->dev);
	assert_int_equal(config16(d, 6), NET_STATUS_LINK_UP | NET_STATUS_ANNOUNCE);
	assert_int_equal(irqs(d), 1);
	assert_int_equal(reg_get(d, R_ISR), 2);
	assert_int_not_equal(reg_get(d, R_GENERATION), generation);
	assert_int_equal(CONTROL(d, 3, 0), 0);
	assert_int_equal(config16(d, 6), NET_STATUS_LINK_UP);
	assert_int_equal(CONTROL(d, 3, 1), 1);
}

static void nothing_that_was_not_taken(void **state)
{
	struct driver *d = *state;

	assert_int_equal(CONTROL(d, 0, 0, 1), 1);
	assert_int_equal(CONTROL(d, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0), 1);
	assert_int_equal(CONTROL(d, 1, 1, 2, 3, 4, 5, 6, 7), 1);
	assert_int_equal(CONTROL(d, 3, 0), 1);
	assert_int_equal(CONTROL(d, 5, 0, 2, 0, 0, 0, 0, 0, 0, 0), 1);
	net_announce(d->dev);
	assert_int_equal(config16(d, 6), NET_STATUS_LINK_UP);
}

static void hostile_control(void **state)
{
	struct driver *d = *state;

	/* No room for the answer; then an answer in the middle of a large writable part. */
	send_out(d, NET_CONTROL, "\0\0\1", 3);
	assert_int_equal(used_at(d, NET_CONTROL, 0).len, 0);
	set_desc(d, NET_CONTROL, 5, BUFFER_GPA, 4096, VIRTIO_DESC_WRITE, 0);
	offer(d, NET_CONTROL, 5);
	kick(d, NET_CONTROL);
	assert_int_equal(used_at(d, NET_CONTROL, 1).len, 1);
	assert_int_equal(*(uint8_t *)at(d, BUFFER_GPA, 1), 1);
	assert_false(needs_reset(d));
	/* A flood is served in turns, a loop not at all. */
	for (unsigned int i = 0; i < 64; i++)
		offer(d, NET_CONTROL, 5);
	kick(d, NET_CONTROL);
	assert_int_equal(used_idx(d, NET_CONTROL), 2 + 16);
	for (unsigned int i = 0; i < 10; i++)
		fake_loop_poll(&d->loop);
	assert_int_equal(used_idx(d, NET_CONTROL), 2 + 64);
	set_desc(d, NET_CONTROL, 6, BUFFER_GPA, 4096, VIRTIO_DESC_NEXT, 6);
	offer(d, NET_CONTROL, 6);
	kick(d, NET_CONTROL);
	assert_true(needs_reset(d));
}

static void link_state(void **state)
{
	struct driver *d = *state;
	uint8_t frame[100] = {0}, got[100];

	irqs(d);
	net_set_link(d->dev, false);
	assert_false(link_is_up(d) || net_link(d->dev));
	assert_int_equal(irqs(d), 1);
	net_set_link(d->dev, false);
	assert_int_equal(irqs(d), 0);
	/* Nothing goes either way, and what the driver sends comes back to it. */
	send_out(d, NET_TRANSMIT, frame, sizeof(frame));
	assert_int_equal(used_idx(d, NET_TRANSMIT), 1);
	assert_int_equal(wire_receive(got, sizeof(got)), -1);
	give_buffer(d, 0, BUFFER_GPA, 1526);
	wire_send(frame, sizeof(frame));
	fake_loop_poll(&d->loop);
	assert_int_equal(used_idx(d, NET_RECEIVE), 0);
	net_set_link(d->dev, true);
	assert_true(link_is_up(d) && net_link(d->dev));
	fake_loop_poll(&d->loop);
	assert_int_equal(used_idx(d, NET_RECEIVE), 0);
	wire_send(frame, sizeof(frame));
	fake_loop_poll(&d->loop);
	assert_int_equal(used_idx(d, NET_RECEIVE), 1);
	send_out(d, NET_TRANSMIT, frame, sizeof(frame));
	assert_int_equal(wire_receive(got, sizeof(got)), sizeof(frame));
}

static void tap_that_goes(void **state)
{
	struct driver *d = *state;
	uint8_t frame[100] = {0};

	close(wire);
	irqs(d);
	for (unsigned int i = 0; i < 3; i++) {
		send_out(d, NET_TRANSMIT, frame, sizeof(frame));
		fake_loop_poll(&d->loop);
	}
	assert_true(net_of(d->dev)->tap_gone);
	assert_false(link_is_up(d));
	assert_int_equal(used_idx(d, NET_TRANSMIT), 3);
	assert_false(needs_reset(d));
	net_set_link(d->dev, false);
	net_set_link(d->dev, true);
	assert_false(link_is_up(d));
	assert_int_equal(CONTROL(d, 0, 0, 1), 0);
	/* A new driver finds the cable out too. */
	driver_start(d, EVERYTHING, ALL_QUEUES, 64);
	assert_false(link_is_up(d));
	send_out(d, NET_TRANSMIT, frame, sizeof(frame));
	assert_int_equal(used_idx(d, NET_TRANSMIT), 1);
	wire = dup(0);
}

static void default_mac(void **state)
{
	static const char *const uuid = "6f1c2a34-0d5e-4b7a-9c11-2f3e4d5c6b7a";
	uint8_t a[6], b[6], seen[64][6];

	net_default_mac(uuid, "web", 0, "tap0", a);
	net_default_mac(uuid, "other", 0, "tap7", b);
	assert_memory_equal(a, b, 6); /* a guest that moves keeps it */
	assert_int_equal(a[0] & 3, 2);
	net_default_mac(uuid, "web", 1, "tap0", b);
	assert_memory_not_equal(a, b, 6);
	net_default_mac("", "guest", 0, "tap0", a);
	net_default_mac("", "guest", 0, "tap1", b);
	assert_memory_not_equal(a, b, 6); /* guests without a name */
	for (unsigned int i = 0; i < 64; i++) {
		char name[16];

		snprintf(name, sizeof(name), "vm%u", i);
		net_default_mac("", name, 0, "tap0", seen[i]);
		assert_int_equal(seen[i][0] & 3, 2);
		for (unsigned int j = 0; j < i; j++)
			assert_memory_not_equal(seen[i], seen[j], 6);
	}
}

int main(void)
{
#define T(f)  cmocka_unit_test_setup_teardown(f, setup, teardown)
#define TP(f) cmocka_unit_test_setup_teardown(f, setup_plain, teardown)
	const struct CMUnitTest tests[] = {
		T(features),
		T(config_space),
		T(receive_modes),
		T(addresses),
		T(offloads),
		T(announce),
		TP(nothing_that_was_not_taken),
		T(hostile_control),
		T(link_state),
		T(tap_that_goes),
		cmocka_unit_test(default_mac),
	};

	log_init("vmm_net", LOG_LEVEL_ERR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
