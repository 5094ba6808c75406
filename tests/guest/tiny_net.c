// SPDX-License-Identifier: Apache-2.0
/*
 * The tiny guest's network: answers ARP and echo requests for one address, says what it saw, and
 * breaks virtio-net's rules when told to.
 */
#include "tests/guest/tiny.h"

#define BUFFERS	     16
#define BUFFER_BYTES 2048
#define HEADER_BYTES 12
#define FEATURE_MAC  (1U << 5)
#define FEATURE_LINK (1U << 16)

enum { RECEIVE, TRANSMIT, QUEUES };

static struct queue queues[QUEUES];
static struct device net = {.queues = queues};
static uint8_t buffers[BUFFERS][BUFFER_BYTES], answer[BUFFER_BYTES];
static uint8_t mac[6], address[4];
static uint64_t received, answered;

static void offer_buffer(uint16_t i)
{
	queues[RECEIVE].desc[i] = (struct desc){(uint64_t)buffers[i], BUFFER_BYTES, DESC_WRITE, 0};
	virtio_offer(&net, RECEIVE, i);
}

static bool start(void)
{
	uint32_t low, high;

	if (!virtio_find(VIRTIO_NET, &net) || !virtio_start(&net, FEATURE_MAC | FEATURE_LINK, 2))
		return false;
	low = virtio_config(&net, 0);
	high = virtio_config(&net, 4);
	__builtin_memcpy(mac, &low, 4);
	__builtin_memcpy(mac + 4, &high, 2);
	for (uint16_t i = 0; i < BUFFERS; i++)
		offer_buffer(i);
	return true;
}

static bool transmit(const void *frame, uint32_t len)
{
	virtio_send(&net, TRANSMIT, frame, len, 0);
	return virtio_wait(&net, TRANSMIT);
}

/* ---- protocols; offsets are from the Ethernet header ---- */

/* RFC 826: a request (1) for our address becomes a reply (2). */
static bool answer_arp(uint8_t *f, uint32_t len)
{
	if (len < 42 || f[21] != 1 || __builtin_memcmp(f + 38, address, 4) != 0)
		return false;
	f[21] = 2;
	__builtin_memcpy(f + 32, f + 22, 10);
	__builtin_memcpy(f + 22, mac, 6);
	__builtin_memcpy(f + 28, address, 4);
	return true;
}

/* RFC 792: type 8 becomes type 0, and the checksum that much more. */
static bool answer_echo(uint8_t *f, uint32_t len)
{
	uint32_t sum;

	if (len < 42 || f[14] != 0x45 || f[23] != 1 || f[34] != 8 ||
	    __builtin_memcmp(f + 30, address, 4) != 0)
		return false;
	__builtin_memcpy(f + 30, f + 26, 4);
	__builtin_memcpy(f + 26, address, 4);
	f[34] = 0;
	sum = ((uint32_t)f[36] << 8 | f[37]) + 0x0800;
	sum = (sum & 0xffff) + (sum >> 16);
	f[36] = (uint8_t)(sum >> 8);
	f[37] = (uint8_t)sum;
	return true;
}

static void take_frame(const uint8_t *buffer, uint32_t len)
{
	uint8_t *f = answer + HEADER_BYTES;

	received++;
	if (len < HEADER_BYTES + 14 || len > BUFFER_BYTES)
		return;
	__builtin_memcpy(answer, buffer, len);
	__builtin_memset(answer, 0, HEADER_BYTES);
	len -= HEADER_BYTES;
	if (!(f[12] == 8 && f[13] == 6 && answer_arp(f, len)) &&
	    !(f[12] == 8 && f[13] == 0 && answer_echo(f, len)))
		return;
	__builtin_memcpy(f, f + 6, 6);
	__builtin_memcpy(f + 6, mac, 6);
	answered += transmit(answer, len + HEADER_BYTES);
}

void net_poll(void)
{
	if (!net.base)
		return;
	virtio_interrupts(&net);
	while (virtio_used(&net, RECEIVE)) {
		uint16_t at = (uint16_t)(queues[RECEIVE].seen - 1) % QUEUE_SIZE;
		uint32_t id = queues[RECEIVE].used.ring[at].id;

		take_frame(buffers[id % BUFFERS], queues[RECEIVE].used.ring[at].len);
		offer_buffer((uint16_t)(id % BUFFERS));
	}
}

/* ---- against the rules ---- */

static const char *outcome(bool used)
{
	if (virtio_status(&net) & STATUS_NEEDS_RESET)
		return "needs-reset";
	return used ? "served" : "silent";
}

/* Each is one thing a device must survive; the word is what it made of it. */
static const char *break_rule(const char *what)
{
	struct queue *tx = &queues[TRANSMIT];
	bool used;

	__builtin_memset(answer, 0, sizeof(answer));
	if (text_equal(what, "short")) {
		used = transmit(answer, 4);
	} else if (text_equal(what, "bare")) {
		used = transmit(answer, HEADER_BYTES);
	} else if (text_equal(what, "gso")) {
		answer[0] = 1;
		answer[1] = 0x7f;
		answer[4] = answer[5] = 0xff;
		used = transmit(answer, 100);
	} else if (text_equal(what, "huge")) {
		used = transmit(answer, 1U << 20);
	} else if (text_equal(what, "writable")) {
		virtio_send(&net, TRANSMIT, answer, 100, DESC_WRITE);
		used = virtio_wait(&net, TRANSMIT);
	} else if (text_equal(what, "loop")) {
		tx->desc[0] = (struct desc){(uint64_t)answer, 100, DESC_NEXT, 0};
		virtio_offer(&net, TRANSMIT, 0);
		used = virtio_wait(&net, TRANSMIT);
	} else if (text_equal(what, "outside")) {
		tx->desc[0] = (struct desc){1ULL << 45, 100, 0, 0};
		virtio_offer(&net, TRANSMIT, 0);
		used = virtio_wait(&net, TRANSMIT);
	} else {
		return "unknown";
	}
	return outcome(used);
}

void net_command(const char *name, char *args)
{
	const char *word = text_word(&args);
	uint64_t byte;

	if (!net.base && !start()) {
		net.base = 0;
		print("FAIL net: no device\n");
		return;
	}
	if (text_equal(word, "hostile")) {
		const char *what = text_word(&args);
		const char *result = break_rule(what);

		print("OK net hostile %s %s\n", what, result);
		if (virtio_status(&net) & STATUS_NEEDS_RESET)
			start();
		return;
	}
	/* net 10 0 0 2: our address. */
	for (unsigned int i = 0; *word && i < 4; i++, word = text_word(&args))
		address[i] = text_number(word, &byte) ? (uint8_t)byte : 0;
	print("OK net mac=%x:%x:%x:%x:%x:%x link=%u received=%u answered=%u irqs=%u\n", mac[0],
	      mac[1], mac[2], mac[3], mac[4], mac[5], (uint64_t)(virtio_config(&net, 4) >> 16 & 1),
	      received, answered, irq_pins[net.pin]);
}
