// SPDX-License-Identifier: Apache-2.0
/*
 * The tiny guest's virtio driver: mmio windows found by their magic value, split queues, waiting by
 * looking at the used index. virtio-rng is small enough to live here.
 */
#include "tests/guest/tiny.h"
#include "vmm/layout.h"

#define MAGIC		 0x000
#define VERSION		 0x004
#define DEVICE_ID	 0x008
#define FEATURES	 0x010
#define FEATURES_SEL	 0x014
#define DRIVER		 0x020
#define DRIVER_SEL	 0x024
#define QUEUE_SEL	 0x030
#define QUEUE_NUM_MAX	 0x034
#define QUEUE_NUM	 0x038
#define QUEUE_READY	 0x044
#define QUEUE_NOTIFY	 0x050
#define INTERRUPT	 0x060
#define INTERRUPT_ACK	 0x064
#define STATUS		 0x070
#define QUEUE_DESC	 0x080
#define QUEUE_DRIVER	 0x090
#define QUEUE_DEVICE	 0x0a0
#define GENERATION	 0x0fc
#define CONFIG		 0x100
#define FEATURE_INDIRECT (1U << 28)

bool virtio_find(uint32_t id, struct device *ret_device)
{
	return virtio_find_nth(id, 0, ret_device);
}

bool virtio_find_nth(uint32_t id, unsigned int n, struct device *ret_device)
{
	for (unsigned int i = 0; i < LAYOUT_VIRTIO_MAX; i++) {
		uint64_t base = LAYOUT_VIRTIO_MMIO + i * LAYOUT_VIRTIO_STRIDE;

		if (mmio_read(base + MAGIC) != 0x74726976 || mmio_read(base + VERSION) != 2)
			return false; /* windows are dealt without gaps */
		if (mmio_read(base + DEVICE_ID) != id || n-- > 0)
			continue;
		ret_device->base = base;
		ret_device->pin = LAYOUT_GSI_VIRTIO + i;
		return true;
	}
	return false;
}

uint32_t virtio_status(const struct device *dev)
{
	return mmio_read(dev->base + STATUS);
}

static void set_address(uint64_t reg, const void *p)
{
	mmio_write(reg, (uint32_t)(uint64_t)p);
	mmio_write(reg + 4, (uint32_t)((uint64_t)p >> 32));
}

bool virtio_start(struct device *dev, uint32_t want, unsigned int n_queues)
{
	mmio_write(dev->base + STATUS, 0);
	mmio_write(dev->base + STATUS, 1);
	mmio_write(dev->base + STATUS, 3);
	mmio_write(dev->base + FEATURES_SEL, 0);
	dev->features = mmio_read(dev->base + FEATURES) & (want | FEATURE_INDIRECT);
	mmio_write(dev->base + DRIVER_SEL, 0);
	mmio_write(dev->base + DRIVER, dev->features);
	mmio_write(dev->base + DRIVER_SEL, 1);
	mmio_write(dev->base + DRIVER, 1); /* VERSION_1 */
	mmio_write(dev->base + STATUS, 11);
	if (!(virtio_status(dev) & 8))
		return false;
	dev->n_queues = n_queues;
	for (unsigned int i = 0; i < n_queues; i++) {
		struct queue *q = &dev->queues[i];

		__builtin_memset(q, 0, sizeof(*q));
		mmio_write(dev->base + QUEUE_SEL, i);
		if (mmio_read(dev->base + QUEUE_NUM_MAX) < QUEUE_SIZE)
			return false;
		mmio_write(dev->base + QUEUE_NUM, QUEUE_SIZE);
		set_address(dev->base + QUEUE_DESC, q->desc);
		set_address(dev->base + QUEUE_DRIVER, &q->avail);
		set_address(dev->base + QUEUE_DEVICE, &q->used);
		mmio_write(dev->base + QUEUE_READY, 1);
	}
	mmio_write(dev->base + STATUS, 15);
	return virtio_status(dev) == 15;
}

uint32_t virtio_config(const struct device *dev, uint32_t offset)
{
	return mmio_read(dev->base + CONFIG + offset);
}

void virtio_config_set(const struct device *dev, uint32_t offset, uint32_t value)
{
	mmio_write(dev->base + CONFIG + offset, value);
}

uint32_t virtio_interrupts(const struct device *dev)
{
	uint32_t status = mmio_read(dev->base + INTERRUPT);

	if (status)
		mmio_write(dev->base + INTERRUPT_ACK, status);
	return status;
}

void virtio_offer(struct device *dev, unsigned int queue, uint16_t head)
{
	struct queue *q = &dev->queues[queue];

	q->avail.ring[q->avail.idx % QUEUE_SIZE] = head;
	barrier();
	*(volatile uint16_t *)&q->avail.idx = (uint16_t)(q->avail.idx + 1);
	barrier();
	mmio_write(dev->base + QUEUE_NOTIFY, queue);
}

void virtio_send(struct device *dev, unsigned int queue, const void *data, uint32_t len,
		 uint16_t flags)
{
	dev->queues[queue].desc[0] = (struct desc){(uint64_t)data, len, flags, 0};
	virtio_offer(dev, queue, 0);
}

bool virtio_used(struct device *dev, unsigned int queue)
{
	struct queue *q = &dev->queues[queue];

	if (*(volatile uint16_t *)&q->used.idx == q->seen)
		return false;
	q->seen++;
	barrier();
	return true;
}

bool virtio_wait(struct device *dev, unsigned int queue)
{
	uint64_t until = irq_timer_ticks + 2 * TIMER_HZ;

	while (!virtio_used(dev, queue)) {
		if (irq_timer_ticks >= until || virtio_status(dev) & STATUS_NEEDS_RESET)
			return virtio_used(dev, queue);
		irq_wait();
	}
	return true;
}

void rng_command(const char *name, char *args)
{
	static struct queue queue;
	static uint64_t words[8];
	struct device rng = {.queues = &queue};
	uint32_t len;

	if (!virtio_find(VIRTIO_RNG, &rng) || !virtio_start(&rng, 0, 1)) {
		print("FAIL rng: no device\n");
		return;
	}
	virtio_send(&rng, 0, words, sizeof(words), DESC_WRITE);
	if (!virtio_wait(&rng, 0)) {
		print("FAIL rng: no answer\n");
		return;
	}
	len = queue.used.ring[0].len;
	if (len != sizeof(words) || words[0] == words[1] || words[7] == 0)
		print("FAIL rng: %u bytes, %x %x\n", (uint64_t)len, words[0], words[7]);
	else
		print("OK rng bytes=%u first=%x irqs=%u\n", (uint64_t)len, words[0],
		      irq_pins[rng.pin]);
}
