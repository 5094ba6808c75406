// SPDX-License-Identifier: Apache-2.0
/* virtio-net's data path: frames both ways over a socket pair, whole, in order, and bounded. */
#include "net_driver.h"

static uint8_t frame[TAP_FRAME_MAX + 4096], other[TAP_FRAME_MAX + 4096];

static int setup(void **state)
{
	*state = net_driver_new(F(NET_F_MRG_RXBUF) | F(NET_F_CSUM) | F(NET_F_HOST_TSO4) |
				F(NET_F_GUEST_CSUM) | F(NET_F_GUEST_TSO4) | F(NET_F_STATUS) |
				F(NET_F_CTRL_VQ));
	return 0;
}

static int setup_plain(void **state)
{
	*state = net_driver_new(0);
	return 0;
}

static int teardown(void **state)
{
	net_driver_free(*state);
	return 0;
}

static void turn(struct driver *d)
{
	for (unsigned int i = 0; i < 100 && fake_loop_poll(&d->loop); i++)
		;
}

static struct loop_source *tap_source(struct driver *d)
{
	return net_of(d->dev)->tap_source;
}

/* The n buffers of len bytes at BUFFER_GPA hold this frame; the header says so too. */
static void assert_received(struct driver *d, uint16_t first, uint16_t n, uint32_t buffer_len,
			    const uint8_t *wanted, size_t len)
{
	const uint8_t *got = at(d, BUFFER_GPA, len);
	size_t done = 0;

	for (uint16_t i = 0; i < n; i++) {
		size_t part = len - done < buffer_len ? len - done : buffer_len;

		assert_int_equal(used_at(d, NET_RECEIVE, (uint16_t)(first + i)).len, part);
		done += part;
	}
	assert_int_equal(done, len);
	assert_int_equal(got[10] | got[11] << 8, n); /* num_buffers */
	assert_memory_equal(got + TAP_HEADER_BYTES, wanted + TAP_HEADER_BYTES,
			    len - TAP_HEADER_BYTES);
}

/* ---- receive ---- */

static void receive_one(void **state)
{
	struct driver *d = *state;

	make_frame(frame, 1000, 1);
	give_buffer(d, 0, BUFFER_GPA, 1526);
	wire_send(frame, 1000);
	turn(d);
	assert_int_equal(used_idx(d, NET_RECEIVE), 1);
	assert_received(d, 0, 1, 1526, frame, 1000);
	assert_int_equal(irqs(d), 1);
}

static void receive_waits_for_a_buffer(void **state)
{
	struct driver *d = *state;

	make_frame(frame, 1000, 2);
	wire_send(frame, 1000);
	turn(d);
	assert_int_equal(used_idx(d, NET_RECEIVE), 0);
	assert_int_equal(fake_loop_poll(&d->loop), 0); /* the loop does not spin on it */
	give_buffer(d, 0, BUFFER_GPA, 1526);
	kick(d, NET_RECEIVE);
	assert_received(d, 0, 1, 1526, frame, 1000);
	/* A kick with nothing on the wire takes no buffer. */
	give_buffer(d, 1, BUFFER_GPA, 1526);
	kick(d, NET_RECEIVE);
	turn(d);
	assert_int_equal(used_idx(d, NET_RECEIVE), 1);
	wire_send(frame, 1000);
	turn(d);
	assert_int_equal(used_at(d, NET_RECEIVE, 1).id, 1);
}

static void receive_in_several_buffers(void **state)
{
	struct driver *d = *state;

	make_frame(frame, 2500, 3);
	for (uint16_t i = 0; i < 5; i++)
		give_buffer(d, i, BUFFER_GPA + i * 1000UL, 1000);
	wire_send(frame, 2500);
	turn(d);
	assert_int_equal(used_idx(d, NET_RECEIVE), 3);
	assert_received(d, 0, 3, 1000, frame, 2500);
	/* The two that were left take the next one. */
	make_frame(other, 1500, 4);
	wire_send(other, 1500);
	turn(d);
	assert_int_equal(used_idx(d, NET_RECEIVE), 5);
	assert_int_equal(used_at(d, NET_RECEIVE, 3).id, 3);
	assert_memory_equal(at(d, BUFFER_GPA + 4000, 500), other + 1000, 500);
}

/* The first large frame runs over into the stash, the next ones do not; all are whole. */
static void receive_large(void **state)
{
	struct driver *d = *state;
	const size_t len = TAP_FRAME_MAX;
	const uint16_t n = (TAP_FRAME_MAX + 4095) / 4096;

	for (uint16_t round = 0; round < 3; round++) {
		make_frame(frame, len, (uint8_t)(round * 7));
		for (uint16_t i = 0; i < n; i++)
			give_buffer(d, i, BUFFER_GPA + i * 4096UL, 4096);
		kick(d, NET_RECEIVE);
		wire_send(frame, len);
		turn(d);
		assert_int_equal(used_idx(d, NET_RECEIVE), (round + 1) * n);
		assert_received(d, (uint16_t)(round * n), n, 4096, frame, len);
	}
}

static void receive_large_waits_for_buffers(void **state)
{
	struct driver *d = *state;

	make_frame(frame, 10000, 5);
	make_frame(other, 100, 6);
	give_buffer(d, 0, BUFFER_GPA, 4096);
	give_buffer(d, 1, BUFFER_GPA + 4096, 4096);
	wire_send(frame, 10000);
	wire_send(other, 100);
	turn(d);
	assert_int_equal(used_idx(d, NET_RECEIVE), 0);
	memset(at(d, BUFFER_GPA, 8192), 0xaa, 8192); /* it is the driver's */
	give_buffer(d, 2, BUFFER_GPA + 8192, 4096);
	give_buffer(d, 3, BUFFER_GPA + 12288, 4096);
	kick(d, NET_RECEIVE);
	turn(d);
	assert_int_equal(used_idx(d, NET_RECEIVE), 4);
	assert_received(d, 0, 3, 4096, frame, 10000);
	assert_int_equal(used_at(d, NET_RECEIVE, 3).len, 100);
	assert_memory_equal(at(d, BUFFER_GPA + 12288 + 12, 88), other + 12, 88);
}

/* Buffers that never suffice hold up the others only so long. */
static void receive_gives_up(void **state)
{
	struct driver *d = *state;

	make_frame(frame, 10000, 5);
	make_frame(other, 100, 6);
	give_buffer(d, 0, BUFFER_GPA, 200);
	wire_send(frame, 10000);
	wire_send(other, 100);
	turn(d);
	for (unsigned int i = 0; i < 20; i++) {
		kick(d, NET_RECEIVE);
		turn(d);
	}
	assert_int_equal(used_idx(d, NET_RECEIVE), 1);
	assert_received(d, 0, 1, 200, other, 100);
	assert_false(needs_reset(d));
}

static void receive_header_in_pieces(void **state)
{
	struct driver *d = *state;

	make_frame(frame, 40, 7);
	for (uint16_t i = 0; i < 40; i++)
		set_desc(d, NET_RECEIVE, i, BUFFER_GPA + i, 1,
			 VIRTIO_DESC_WRITE | (i < 39 ? VIRTIO_DESC_NEXT : 0), (uint16_t)(i + 1));
	offer(d, NET_RECEIVE, 0);
	wire_send(frame, 40);
	turn(d);
	assert_received(d, 0, 1, 40, frame, 40);
	/* Each byte a buffer of its own: allowed, if silly. */
	for (uint16_t i = 0; i < 40; i++)
		give_buffer(d, i, BUFFER_GPA + i, 1);
	kick(d, NET_RECEIVE);
	wire_send(frame, 40);
	turn(d);
	assert_int_equal(used_idx(d, NET_RECEIVE), 41);
	assert_received(d, 1, 40, 1, frame, 40);
}

static void receive_plain(void **state)
{
	struct driver *d = *state;

	/* No MRG_RXBUF: one buffer a frame; too long a frame is lost, the buffer is not. */
	make_frame(frame, 2000, 8);
	make_frame(other, 900, 9);
	other[0] = 2; /* DATA_VALID, which a driver without GUEST_CSUM does not know */
	give_buffer(d, 0, BUFFER_GPA, 1000);
	give_buffer(d, 1, BUFFER_GPA + 1000, 1000);
	wire_send(frame, 2000);
	wire_send(other, 900);
	turn(d);
	assert_int_equal(used_idx(d, NET_RECEIVE), 1);
	assert_received(d, 0, 1, 1000, other, 900);
	assert_int_equal(*(uint8_t *)at(d, BUFFER_GPA, 1), 0);
	assert_false(needs_reset(d));
}

static void receive_hostile(void **state)
{
	struct driver *d = *state;

	make_frame(frame, 100, 9);
	set_desc(d, NET_RECEIVE, 0, BUFFER_GPA, 1526, 0, 0);
	offer(d, NET_RECEIVE, 0);
	wire_send(frame, 100);
	turn(d);
	assert_true(needs_reset(d));
	driver_start(d, F(NET_F_MRG_RXBUF), ALL_QUEUES, 64);
	give_buffer(d, 0, BUFFER_GPA, 1526);
	give_buffer(d, 64, BUFFER_GPA, 1526);
	wire_send(frame, 100);
	turn(d);
	assert_true(needs_reset(d));
	turn(d); /* and nothing more is touched */
	assert_int_equal(used_idx(d, NET_RECEIVE), 0);
	driver_start(d, F(NET_F_MRG_RXBUF), ALL_QUEUES, 64);
	give_buffer(d, 0, BUFFER_GPA, 1526);
	wire_send(frame, 100);
	turn(d);
	assert_received(d, 0, 1, 1526, frame, 100);
}

static void pause_stops_receiving(void **state)
{
	struct driver *d = *state;

	make_frame(frame, 100, 9);
	give_buffer(d, 0, BUFFER_GPA, 1526);
	virtio_pause(d->dev);
	wire_send(frame, 100);
	fake_loop_poll(&d->loop);
	kick(d, NET_RECEIVE);
	send_out(d, NET_TRANSMIT, frame, 100);
	assert_int_equal(used_idx(d, NET_RECEIVE), 0);
	assert_int_equal(wire_receive(other, 100), -1);
	virtio_resume(d->dev);
	turn(d);
	assert_received(d, 0, 1, 1526, frame, 100);
	assert_int_equal(wire_receive(other, 100), 100);
}

/* All buffers are used, kicks are not wanted, nothing waits: resume alone must bring it back. */
static void pause_with_nothing_pending(void **state)
{
	struct driver *d = *state;

	make_frame(frame, 100, 9);
	give_buffer(d, 0, BUFFER_GPA, 1526);
	wire_send(frame, 100);
	tap_source(d)->fn(net_of(d->dev), EPOLLIN);
	net_of(d->dev)->starved = false; /* a turn that ended just there */
	virtio_pause(d->dev);
	virtio_resume(d->dev);
	give_buffer(d, 1, BUFFER_GPA, 1526);
	wire_send(frame, 100);
	turn(d);
	assert_int_equal(used_idx(d, NET_RECEIVE), 2);
}

/* Nothing of the old driver's is left for the new one. */
static void reset_forgets_frames(void **state)
{
	struct driver *d = *state;
	int bytes = 1;

	give_buffer(d, 0, BUFFER_GPA, 200);
	wire_send(frame, 10000);
	turn(d);
	assert_int_equal(net_of(d->dev)->stash_bytes, 10000);
	setsockopt(tap_fd(net_of(d->dev)->tap), SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
	for (unsigned int i = 0; !net_of(d->dev)->blocked && i < 60; i++)
		send_out(d, NET_TRANSMIT, frame, 1000);
	assert_true(net_of(d->dev)->blocked);
	reg_set(d, R_STATUS, 0);
	while (wire_receive(other, 1000) >= 0)
		;
	driver_start(d, F(NET_F_MRG_RXBUF), ALL_QUEUES, 64);
	make_frame(frame, 100, 4);
	send_out(d, NET_TRANSMIT, frame, 100);
	assert_int_equal(wire_receive(other, 1000), 100);
	for (uint16_t i = 0; i < 8; i++)
		give_buffer(d, i, BUFFER_GPA + i * 4096UL, 4096);
	kick(d, NET_RECEIVE);
	turn(d);
	assert_int_equal(used_idx(d, NET_RECEIVE), 0);
	wire_send(frame, 100);
	turn(d);
	assert_received(d, 0, 1, 4096, frame, 100);
}

static void kicks_only_when_starved(void **state)
{
	struct driver *d = *state;
	const uint16_t *flags = at(d, d->q[NET_RECEIVE].used_gpa, 2);

	make_frame(frame, 100, 9);
	give_buffer(d, 0, BUFFER_GPA, 1526);
	give_buffer(d, 1, BUFFER_GPA, 1526);
	wire_send(frame, 100);
	turn(d);
	assert_int_equal(*flags, 1);
	wire_send(frame, 100);
	wire_send(frame, 100);
	turn(d);
	assert_int_equal(used_idx(d, NET_RECEIVE), 2);
	assert_int_equal(*flags, 0);
}

/* A flood on the wire does not keep the loop from others. */
static void receive_in_turns(void **state)
{
	struct driver *d = *state;

	make_frame(frame, 60, 1);
	for (uint16_t i = 0; i < 64; i++)
		give_buffer(d, i, BUFFER_GPA, 1526);
	kick(d, NET_RECEIVE);
	for (unsigned int i = 0; i < 100; i++)
		wire_send(frame, 60);
	tap_source(d)->fn(net_of(d->dev), EPOLLIN);
	assert_int_equal(used_idx(d, NET_RECEIVE), 64);
	for (uint16_t i = 0; i < 64; i++)
		give_buffer(d, i, BUFFER_GPA, 1526);
	turn(d);
	assert_int_equal(used_idx(d, NET_RECEIVE), 100);
	assert_int_equal(irqs(d), 2);
}

/* ---- transmit ---- */

static void transmit(void **state)
{
	struct driver *d = *state;

	make_frame(frame, 1000, 1);
	send_out(d, NET_TRANSMIT, frame, 1000);
	assert_int_equal(wire_receive(other, sizeof(other)), 1000);
	assert_memory_equal(other, frame, 1000);
	assert_int_equal(used_idx(d, NET_TRANSMIT), 1);
	assert_int_equal(used_at(d, NET_TRANSMIT, 0).len, 0);
	assert_int_equal(irqs(d), 1);
	assert_int_equal(wire_receive(other, sizeof(other)), -1);
}

static void transmit_pieces(void **state)
{
	struct driver *d = *state;
	uint64_t gpa = driver_alloc(d, 1000);

	/* 5, 10, 1 and 984 bytes: the header is in three of them. */
	make_frame(frame, 1000, 2);
	memcpy(at(d, gpa, 1000), frame, 1000);
	set_desc(d, NET_TRANSMIT, 0, gpa, 5, VIRTIO_DESC_NEXT, 1);
	set_desc(d, NET_TRANSMIT, 1, gpa + 5, 6, VIRTIO_DESC_NEXT, 2);
	set_desc(d, NET_TRANSMIT, 2, gpa + 11, 1, VIRTIO_DESC_NEXT, 3);
	set_desc(d, NET_TRANSMIT, 3, gpa + 12, 988, 0, 0);
	offer(d, NET_TRANSMIT, 0);
	kick(d, NET_TRANSMIT);
	assert_int_equal(wire_receive(other, sizeof(other)), 1000);
	assert_memory_equal(other, frame, 1000);
}

static void send_header(struct driver *d, struct net_header header, uint32_t len)
{
	make_frame(frame, len, 3);
	memcpy(frame, &header, len < sizeof(header) ? len : sizeof(header));
	send_out(d, NET_TRANSMIT, frame, len);
}

static void transmit_offloads(void **state)
{
	struct driver *d = *state;

	send_header(d,
		    (struct net_header){.flags = 1 | 2 | 4,
					.gso_type = NET_GSO_TCPV4,
					.gso_size = 1448,
					.hdr_len = 66,
					.csum_start = 34,
					.csum_offset = 16,
					.num_buffers = 77},
		    30000);
	assert_int_equal(wire_receive(other, sizeof(other)), 30000);
	/* Flags and fields that only receivers have are not passed on. */
	assert_int_equal(other[0], 1);
	assert_int_equal(other[10], 0);
	assert_memory_equal(other + 1, frame + 1, 9);
	assert_memory_equal(other + 12, frame + 12, 30000 - 12);
}

static void transmit_hostile(void **state)
{
	struct driver *d = *state;
	struct net_header none = {0}, tso6 = {.flags = 1, .gso_type = 4, .gso_size = 1448},
			  nonsense = {.flags = 1, .gso_type = 2, .gso_size = 1448},
			  ecn = {.flags = 1, .gso_type = 0x81, .gso_size = 1448},
			  no_size = {.flags = 1, .gso_type = 1},
			  no_csum = {.gso_type = 1, .gso_size = 1448},
			  far_csum = {.flags = 1, .csum_start = 60000, .csum_offset = 60000},
			  edge_csum = {.flags = 1, .csum_start = 80, .csum_offset = 7};
	unsigned int n = 0;

	send_header(d, none, 1), n++;
	send_header(d, none, TAP_HEADER_BYTES - 1), n++;
	send_header(d, none, TAP_HEADER_BYTES), n++;
	send_header(d, none, TAP_FRAME_MAX + 1), n++;
	send_header(d, tso6, 100), n++;
	send_header(d, nonsense, 100), n++;
	send_header(d, ecn, 100), n++;
	send_header(d, no_size, 100), n++;
	send_header(d, no_csum, 100), n++;
	send_header(d, far_csum, 100), n++;
	send_header(d, edge_csum, 100), n++; /* 80 + 7 + 2 > 88 */
	/* Nothing that could be read, and 4 GiB of it. */
	set_desc(d, NET_TRANSMIT, 60, BUFFER_GPA, 100, VIRTIO_DESC_WRITE, 0);
	offer(d, NET_TRANSMIT, 60);
	kick(d, NET_TRANSMIT), n++;
	assert_int_equal(used_idx(d, NET_TRANSMIT), n);
	assert_int_equal(wire_receive(other, sizeof(other)), -1);
	assert_false(needs_reset(d));
	send_header(d, none, TAP_FRAME_MAX);
	assert_int_equal(wire_receive(other, sizeof(other)), TAP_FRAME_MAX);
	/* A frame that lies over the whole table again and again. */
	for (uint16_t i = 0; i < 64; i++)
		set_desc(d, NET_TRANSMIT, i, BUFFER_GPA, FAKE_REGION_BYTES, VIRTIO_DESC_NEXT,
			 (uint16_t)((i + 1) % 64));
	offer(d, NET_TRANSMIT, 0);
	kick(d, NET_TRANSMIT);
	assert_true(needs_reset(d));
}

static void transmit_plain(void **state)
{
	struct driver *d = *state;

	send_header(d, (struct net_header){.flags = 1, .csum_start = 34, .csum_offset = 16}, 100);
	assert_int_equal(wire_receive(other, sizeof(other)), -1);
	send_header(d, (struct net_header){0}, 100);
	assert_int_equal(wire_receive(other, sizeof(other)), 100);
}

/* A full tap holds frames up without losing or reordering any. */
static void transmit_waits_for_the_tap(void **state)
{
	struct driver *d = *state;
	unsigned int sent = 0, received = 0;
	int bytes = 1;

	/* The least the kernel gives: a few frames. */
	setsockopt(tap_fd(net_of(d->dev)->tap), SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
	while (!net_of(d->dev)->blocked && sent < 5000) {
		make_frame(frame, 64, (uint8_t)sent++);
		d->next_gpa = 0x80000;
		send_out(d, NET_TRANSMIT, frame, 64);
	}
	assert_true(sent > 1 && sent < 5000);
	assert_int_equal(used_idx(d, NET_TRANSMIT), sent - 1);
	make_frame(frame, 64, (uint8_t)sent++);
	d->next_gpa = 0x81000;
	send_out(d, NET_TRANSMIT, frame, 64);
	assert_int_equal(used_idx(d, NET_TRANSMIT), sent - 2);
	while (received < sent) {
		if (wire_receive(other, 64) < 0) {
			assert_true(fake_loop_poll(&d->loop) > 0);
			assert_int_equal(wire_receive(other, 64), 64);
		}
		make_frame(frame, 64, (uint8_t)received++);
		assert_memory_equal(other, frame, 64);
	}
	assert_int_equal(used_idx(d, NET_TRANSMIT), sent);
	assert_int_equal(wire_receive(other, 64), -1);
}

/* More than a turn's worth in one kick: the rest comes with the loop. */
static void transmit_in_turns(void **state)
{
	struct driver *d = *state;

	set_desc(d, NET_TRANSMIT, 0, BUFFER_GPA, 1, 0, 0); /* dropped */
	for (unsigned int i = 0; i < 64; i++)
		offer(d, NET_TRANSMIT, 0);
	make_frame(at(d, BUFFER_GPA + 4096, 60000), 60000, 1);
	kick(d, NET_TRANSMIT);
	assert_int_equal(used_idx(d, NET_TRANSMIT), 64);
	set_desc(d, NET_TRANSMIT, 0, BUFFER_GPA + 4096, 60000, 0, 0);
	for (unsigned int i = 0; i < 20; i++)
		offer(d, NET_TRANSMIT, 0);
	kick(d, NET_TRANSMIT);
	assert_true(used_idx(d, NET_TRANSMIT) < 64 + 10);
	for (unsigned int i = 0; i < 20; i++) {
		assert_int_equal(wire_receive(other, sizeof(other)), 60000);
		fake_loop_poll(&d->loop);
	}
	assert_int_equal(used_idx(d, NET_TRANSMIT), 84);
}

int main(void)
{
#define T(f)  cmocka_unit_test_setup_teardown(f, setup, teardown)
#define TP(f) cmocka_unit_test_setup_teardown(f, setup_plain, teardown)
	const struct CMUnitTest tests[] = {
		T(receive_one),
		T(receive_waits_for_a_buffer),
		T(receive_in_several_buffers),
		T(receive_large),
		T(receive_large_waits_for_buffers),
		T(receive_gives_up),
		T(receive_header_in_pieces),
		TP(receive_plain),
		T(receive_hostile),
		T(pause_stops_receiving),
		T(pause_with_nothing_pending),
		T(reset_forgets_frames),
		T(kicks_only_when_starved),
		T(receive_in_turns),
		T(transmit),
		T(transmit_pieces),
		T(transmit_offloads),
		T(transmit_hostile),
		TP(transmit_plain),
		T(transmit_waits_for_the_tap),
		T(transmit_in_turns),
	};

	log_init("vmm_net", LOG_LEVEL_ERR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
