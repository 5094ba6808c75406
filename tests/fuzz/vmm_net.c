// SPDX-License-Identifier: Apache-2.0
/*
 * Fuzz virtio-net behind its register window, with a socket pair for its tap. Each input starts
 * with a driver that has set up its three queues, then is a list of steps: register accesses, pokes
 * into guest memory, chains built and kicked, frames on the wire, the cable, and pauses. After it
 * the device must still reset, and carry a frame each way.
 *
 * Steps (u8 what, then its operands):
 *   0 write register: u16 offset, u32 value     1 read register: u16 offset, u8 length
 *   2 poke: u16 address / 2, u8 n, n bytes      3 chain: u8 queue, u8 n, n times
 *   4 kick: u8 queue                               { u16 page, u16 offset, u16 length, u8 flags }
 *   5 frame on the wire: u16 length, u8 byte    6 cable and announcement: u8 bits
 *   7 start over as a fresh driver: u8 features 8 pause: u8 on
 *   9 transmit with a header: 10 bytes, u16 length
 */
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/fuzz/virtio_driver.h"
#include "vmm/net_impl.h"

#define MEMORY_BYTES (512UL * 1024)

static uint8_t *memory;
static struct virtio_device *net;
static int wire;

/* What the loop would do: the tap became readable, or has room. */
static void loop_turn(void)
{
	struct net *n = net_of(net);

	if (net_is_live(n) && n->blocked)
		net_transmit(n);
	if (net_is_live(n) && !n->starved)
		net_receive(n);
}

static void frame(struct input *in)
{
	static uint8_t data[65536];
	size_t len = take(in, 2);

	memset(data, (int)take(in, 1), len);
	if (send(wire, data, len, MSG_DONTWAIT) >= 0)
		loop_turn();
}

static void transmit(struct input *in)
{
	uint64_t low = take(in, 8), high = take(in, 2);
	uint32_t len = (uint32_t)take(in, 2);

	memcpy(memory + 0x10000, &low, 8);
	memcpy(memory + 0x10008, &high, 2);
	set_desc(NET_TRANSMIT, 0, 0x10000, len ? len : 1, 0);
	offer(NET_TRANSMIT, 0);
}

static void drain(void)
{
	uint8_t byte;

	for (unsigned int i = 0; i < 1000 && recv(wire, &byte, 1, MSG_DONTWAIT) >= 0; i++)
		;
}

static void step(struct input *in)
{
	unsigned int queue, n;
	uint64_t bits;

	switch (take(in, 1) % 10) {
	case 0:
		step_reg_write(in);
		break;
	case 1:
		step_reg_read(in);
		break;
	case 2:
		step_poke(in, take(in, 2) * 2);
		break;
	case 3:
		queue = take(in, 1) % NET_QUEUES;
		n = take(in, 1) % QUEUE_SIZE + 1;
		chain(in, queue, n, take(in, 1) % QUEUE_SIZE);
		break;
	case 4:
		reg_write(VIRTIO_MMIO_QUEUE_NOTIFY, (uint32_t)take(in, 1));
		loop_turn();
		break;
	case 5:
		frame(in);
		break;
	case 6:
		bits = take(in, 1);
		net_set_link(net, bits & 1);
		if (bits & 2)
			net_announce(net);
		if (bits & 4)
			drain();
		break;
	case 7:
		bits = take(in, 1);
		driver_start(bits & 1 ? ~0ULL : bits & 2 ? 0 : ~F(NET_F_MRG_RXBUF));
		break;
	case 8:
		if (take(in, 1) & 1)
			virtio_pause(net);
		else
			virtio_resume(net);
		break;
	case 9:
		transmit(in);
		break;
	}
}

/* A frame each way, through a device of which nothing is known but that it was reset. */
static void prove_life(void)
{
	uint8_t got[256], sent[100];
	uint16_t used;

	virtio_resume(net);
	net_set_link(net, true);
	net_receive_discard(net_of(net));
	drain();
	driver_start(~0ULL);
	memset(memory + 0x10000, 0, 0x2000);
	memset(memory + 0x10000 + TAP_HEADER_BYTES, 0x5a, 100);
	set_desc(NET_TRANSMIT, 0, 0x10000, 100, 0);
	offer(NET_TRANSMIT, 0);
	if (recv(wire, got, sizeof(got), MSG_DONTWAIT) != 100 || got[99] != 0x5a)
		abort();
	set_desc(NET_RECEIVE, 0, 0x11000, 2048, VIRTIO_DESC_WRITE);
	offer(NET_RECEIVE, 0);
	memset(sent, 0xa5, sizeof(sent));
	if (send(wire, sent, sizeof(sent), 0) != sizeof(sent))
		abort();
	loop_turn();
	memcpy(&used, memory + NET_RECEIVE * 4096UL + 2048 + 2, 2);
	if (used != 1 || memory[0x11000 + 99] != 0xa5)
		abort();
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	struct net_config config = {.mac = {2, 0, 0, 0, 0, 1}};
	struct loop *loop = loop_new(bus_new());
	int fds[2];

	log_init("fuzz", LOG_LEVEL_ERR);
	memory = memory_new(MEMORY_BYTES);
	if (socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, fds) < 0 ||
	    tap_from_socket(fds[0], &config.tap) < 0)
		abort();
	wire = fds[1];
	net = net_new(ram, loop, &config);
	driver_new(net, loop);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};

	memset(memory, 0, MEMORY_BYTES);
	virtio_mmio_reset(mmio);
	driver_start(~0ULL);
	for (unsigned int i = 0; in.left && i < STEPS_MAX; i++)
		step(&in);
	prove_life();
	return 0;
}
