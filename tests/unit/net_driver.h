/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A virtio-net device whose tap is one end of a datagram socket pair, with the driver of
 * virtio_driver.h on one side and the wire (the other end) on the other.
 */
#ifndef MEMD_TESTS_NET_DRIVER_H
#define MEMD_TESTS_NET_DRIVER_H

#include "virtio_driver.h"

#include <stdio.h>

#include <sys/epoll.h>
#include <sys/socket.h>

#include "vmm/net_impl.h"

#define F(bit)	   (1ULL << (bit))
#define ALL_QUEUES 3
#define BUFFER_GPA FAKE_SECOND_GPA /* of test buffers: a whole region */

static int wire; /* the other end of the tap */

static const uint8_t test_mac[NET_MAC_BYTES] = {0x52, 1, 2, 3, 4, 5};

static inline struct driver *net_driver_new(uint64_t features)
{
	struct driver *d = driver_new();
	struct net_config config = {0};
	int fds[2], bytes = 4 << 20;

	assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, fds), 0);
	for (unsigned int i = 0; i < 2; i++)
		setsockopt(fds[i], SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof(bytes));
	wire = fds[1];
	assert_int_equal(tap_from_socket(fds[0], &config.tap), 0);
	memcpy(config.mac, test_mac, sizeof(test_mac));
	driver_attach(d, net_new(d->ram, &d->loop, &config));
	driver_start(d, features, ALL_QUEUES, 64);
	return d;
}

static inline void net_driver_free(struct driver *d)
{
	driver_free(d);
	close(wire);
}

/* A frame with its header, each byte telling where it is. */
static inline void make_frame(uint8_t *frame, size_t len, uint8_t seed)
{
	for (size_t i = 0; i < len; i++)
		frame[i] = i < TAP_HEADER_BYTES ? 0 : (uint8_t)(seed + i + i / 251);
}

static inline void wire_send(const void *frame, size_t len)
{
	assert_int_equal(send(wire, frame, len, 0), len);
}

/* Bytes of the next frame on the wire, -1: there is none. */
static inline ssize_t wire_receive(void *frame, size_t len)
{
	return recv(wire, frame, len, MSG_DONTWAIT);
}

/* A receive buffer as a chain of one descriptor, number i, without a kick. */
static inline void give_buffer(struct driver *d, uint16_t i, uint64_t gpa, uint32_t len)
{
	set_desc(d, NET_RECEIVE, i, gpa, len, VIRTIO_DESC_WRITE, 0);
	offer(d, NET_RECEIVE, i);
}

static inline uint16_t config16(struct driver *d, uint32_t offset)
{
	uint16_t value;

	virtio_mmio_bus_ops.read(d->mmio, R_CONFIG + offset, (uint8_t *)&value, 2);
	return value;
}

static inline bool link_is_up(struct driver *d)
{
	return config16(d, 6) & NET_STATUS_LINK_UP;
}

/* A control request; returns the answer byte, 0xee when there was none. */
static inline uint8_t control(struct driver *d, const void *request, uint32_t len)
{
	uint64_t gpa = driver_alloc(d, len), ack = driver_alloc(d, 1);
	uint16_t before = used_idx(d, NET_CONTROL);

	memcpy(at(d, gpa, len), request, len);
	*(uint8_t *)at(d, ack, 1) = 0xee;
	set_desc(d, NET_CONTROL, 0, gpa, len, VIRTIO_DESC_NEXT, 1);
	set_desc(d, NET_CONTROL, 1, ack, 1, VIRTIO_DESC_WRITE, 0);
	offer(d, NET_CONTROL, 0);
	kick(d, NET_CONTROL);
	if (used_idx(d, NET_CONTROL) == before)
		return 0xee;
	assert_int_equal(used_at(d, NET_CONTROL, before).len, 1);
	return *(uint8_t *)at(d, ack, 1);
}

#endif
