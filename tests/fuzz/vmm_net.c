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
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "vmm/net_impl.h"
#include "vmm/virtio_mmio.h"

#define MEMORY_BYTES (512UL * 1024)
#define QUEUE_SIZE   32
#define STEPS_MAX    64
#define STATUS	     0x70
#define F(bit)	     (1ULL << (bit))

struct input {
	const uint8_t *data;
	size_t left;
};

static uint8_t *memory;
static struct ram *ram;
static struct virtio_mmio *mmio;
static struct virtio_device *net;
static int wire;

static uint64_t take(struct input *in, size_t len)
{
	uint64_t value = 0;

	if (len > in->left)
		len = in->left;
	memcpy(&value, in->data, len);
	in->data += len;
	in->left -= len;
	return value;
}

static void reg_write(uint64_t offset, uint32_t value)
{
	virtio_mmio_bus_ops.write(mmio, offset, (const uint8_t *)&value, 4);
}

static void start(uint64_t features)
{
	features = (features & net->offered) | F(VIRTIO_F_INDIRECT_DESC) | F(VIRTIO_F_VERSION_1);
	reg_write(STATUS, 0);
	reg_write(STATUS, 3);
	for (uint32_t half = 0; half < 2; half++) {
		reg_write(0x24, half);
		reg_write(0x20, (uint32_t)(features >> 32 * half));
	}
	reg_write(STATUS, 3 | VIRTIO_STATUS_FEATURES_OK);
	for (uint32_t i = 0; i < NET_QUEUES; i++) {
		memset(memory + i * 4096UL, 0, 4096);
		reg_write(0x30, i);
		reg_write(0x38, QUEUE_SIZE);
		reg_write(0x80, i * 4096U);
		reg_write(0x90, i * 4096U + 1024);
		reg_write(0xa0, i * 4096U + 2048);
		reg_write(0x44, 1);
	}
	reg_write(STATUS, 7 | VIRTIO_STATUS_FEATURES_OK);
}

/* What the loop would do: the tap became readable, or has room. */
static void loop_turn(void)
{
	struct net *n = net_of(net);

	if (net_is_live(n) && n->blocked)
		net_transmit(n);
	if (net_is_live(n) && !n->starved)
		net_receive(n);
}

static void set_desc(unsigned int queue, unsigned int i, uint64_t addr, uint32_t len,
		     uint16_t flags)
{
	uint8_t *desc = memory + queue * 4096UL + i * 16UL;
	uint16_t next = (uint16_t)(i + 1);

	memcpy(desc, &addr, 8);
	memcpy(desc + 8, &len, 4);
	memcpy(desc + 12, &flags, 2);
	memcpy(desc + 14, &next, 2);
}

static void offer(unsigned int queue, uint16_t head)
{
	uint8_t *ring = memory + queue * 4096UL;
	uint16_t idx;

	memcpy(&idx, ring + 1026, 2);
	memcpy(ring + 1028 + idx % QUEUE_SIZE * 2UL, &head, 2);
	idx++;
	memcpy(ring + 1026, &idx, 2);
	reg_write(VIRTIO_MMIO_QUEUE_NOTIFY, queue);
}

static void chain(struct input *in, unsigned int queue)
{
	unsigned int n = take(in, 1) % QUEUE_SIZE + 1, head = take(in, 1) % QUEUE_SIZE;

	for (unsigned int i = 0; i < n; i++) {
		uint64_t page = take(in, 2), offset = take(in, 2);
		uint32_t len = (uint32_t)take(in, 2);
		uint16_t flags = (uint16_t)(take(in, 1) & 7);

		if (i + 1 < n)
			flags |= VIRTIO_DESC_NEXT;
		set_desc(queue, (head + i) % QUEUE_SIZE, (page << 12) + offset, len, flags);
	}
	offer(queue, (uint16_t)head);
}

static void poke(struct input *in)
{
	size_t at = take(in, 2) * 2;

	for (size_t n = take(in, 1); n && in->left && at < MEMORY_BYTES; n--)
		memory[at++] = (uint8_t)take(in, 1);
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
	uint8_t data[8];
	uint64_t offset, bits;

	switch (take(in, 1) % 10) {
	case 0:
		offset = take(in, 2) % 4096;
		reg_write(offset & ~3ULL, (uint32_t)take(in, 4));
		break;
	case 1:
		offset = take(in, 2) % 4088;
		virtio_mmio_bus_ops.read(mmio, offset, data, 1U << take(in, 1) % 4);
		break;
	case 2:
		poke(in);
		break;
	case 3:
		chain(in, take(in, 1) % NET_QUEUES);
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
		start(bits & 1 ? ~0ULL : bits & 2 ? 0 : ~F(NET_F_MRG_RXBUF));
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
	start(~0ULL);
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

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	struct net_config config = {.mac = {2, 0, 0, 0, 0, 1}};
	uint8_t *map =
		mmap(NULL, MEMORY_BYTES + 2 * 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct loop *loop = loop_new(bus_new());
	int fds[2];

	memory = map + 4096;
	log_init("fuzz", LOG_LEVEL_ERR);
	if (map == MAP_FAILED || mprotect(memory, MEMORY_BYTES, PROT_READ | PROT_WRITE) < 0 ||
	    ram_new_buffer(memory, 0, MEMORY_BYTES, &ram) < 0 ||
	    socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, fds) < 0 ||
	    tap_from_socket(fds[0], &config.tap) < 0)
		abort();
	wire = fds[1];
	net = net_new(ram, loop, &config);
	if (!net || virtio_mmio_new(net, loop, eventfd(0, EFD_NONBLOCK), &mmio) < 0)
		abort();
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};

	memset(memory, 0, MEMORY_BYTES);
	virtio_mmio_reset(mmio);
	start(~0ULL);
	for (unsigned int i = 0; in.left && i < STEPS_MAX; i++)
		step(&in);
	prove_life();
	return 0;
}
