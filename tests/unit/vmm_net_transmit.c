// SPDX-License-Identifier: Apache-2.0
/* virtio-net's frames to the host over a socket pair: whole, in order, and nothing that is none. */
#include "net_frames.h"

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
	const struct CMUnitTest tests[] = {
		T(transmit),	      T(transmit_pieces), T(transmit_offloads),
		T(transmit_hostile),  TP(transmit_plain), T(transmit_waits_for_the_tap),
		T(transmit_in_turns),
	};

	log_init("vmm_net", LOG_LEVEL_ERR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
