// SPDX-License-Identifier: Apache-2.0
/* virtio-net's frames to the guest over a socket pair: whole, in order, and bounded. */
#include "net_frames.h"

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

int main(void)
{
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
	};

	log_init("vmm_net", LOG_LEVEL_ERR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
