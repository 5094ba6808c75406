// SPDX-License-Identifier: Apache-2.0
/*
 * virtio over MMIO, version 2 (virtio 1.2 section 4.2): registers to device calls. A kick comes in
 * by the queue's eventfd (KVM signals it without leaving the guest) or, where nobody registered
 * that, by the plain register write. The interrupt is an edge on an irqfd; InterruptStatus says
 * what it was for until the driver acknowledges.
 */
#include "vmm/virtio_mmio.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum reg {
	REG_MAGIC = 0x000,
	REG_VERSION = 0x004,
	REG_DEVICE_ID = 0x008,
	REG_VENDOR_ID = 0x00c,
	REG_DEVICE_FEATURES = 0x010,
	REG_DEVICE_FEATURES_SEL = 0x014,
	REG_DRIVER_FEATURES = 0x020,
	REG_DRIVER_FEATURES_SEL = 0x024,
	REG_QUEUE_SEL = 0x030,
	REG_QUEUE_NUM_MAX = 0x034,
	REG_QUEUE_NUM = 0x038,
	REG_QUEUE_READY = 0x044,
	REG_QUEUE_NOTIFY = VIRTIO_MMIO_QUEUE_NOTIFY,
	REG_INTERRUPT_STATUS = 0x060,
	REG_INTERRUPT_ACK = 0x064,
	REG_STATUS = 0x070,
	REG_QUEUE_DESC_LOW = 0x080,
	REG_QUEUE_DESC_HIGH = 0x084,
	REG_QUEUE_DRIVER_LOW = 0x090,
	REG_QUEUE_DRIVER_HIGH = 0x094,
	REG_QUEUE_DEVICE_LOW = 0x0a0,
	REG_QUEUE_DEVICE_HIGH = 0x0a4,
	REG_SHM_LEN_LOW = 0x0b0,
	REG_SHM_LEN_HIGH = 0x0b4,
	REG_SHM_BASE_LOW = 0x0b8,
	REG_SHM_BASE_HIGH = 0x0bc,
	REG_CONFIG_GENERATION = 0x0fc,
	REG_CONFIG = 0x100,
};

#define MAGIC		 0x74726976 /* "virt" */
#define VERSION		 2
#define VENDOR		 0x444d454d /* "MEMD" */
#define INTERRUPT_QUEUE	 1
#define INTERRUPT_CONFIG 2

struct kick {
	struct virtio_mmio *mmio;
	unsigned int queue;
	int fd;
	struct loop_source *source;
};

struct virtio_mmio {
	struct virtio_device *dev;
	int irq_fd;
	uint32_t device_features_sel, driver_features_sel, queue_sel;
	uint32_t interrupt_status;
	struct kick kicks[VIRTIO_QUEUES_MAX];
};

/* ---- interrupts and kicks ---- */

static void raise_interrupt(struct virtio_mmio *mmio, uint32_t why)
{
	uint64_t one = 1;

	mmio->interrupt_status |= why;
	/* The counter cannot overflow before KVM, or a test, takes it. */
	if (write(mmio->irq_fd, &one, sizeof(one)) < 0 && errno != EAGAIN)
		virtio_complain(mmio->dev, "interrupt lost: %s", strerror(errno));
}

static void queue_interrupt(void *ctx)
{
	raise_interrupt(ctx, INTERRUPT_QUEUE);
}

static void config_interrupt(void *ctx)
{
	raise_interrupt(ctx, INTERRUPT_CONFIG);
}

static void kick_later(void *ctx, unsigned int queue)
{
	struct virtio_mmio *mmio = ctx;

	eventfd_write(mmio->kicks[queue].fd, 1);
}

static int lend_kicks(void *ctx, unsigned int queue, bool lend)
{
	struct virtio_mmio *mmio = ctx;

	loop_modify(mmio->kicks[queue].source, lend ? 0 : EPOLLIN);
	return mmio->kicks[queue].fd;
}

static const struct virtio_transport transport = {
	.queue_interrupt = queue_interrupt,
	.config_interrupt = config_interrupt,
	.kick_later = kick_later,
	.lend_kicks = lend_kicks,
};

static void kicked(void *ctx, uint32_t events)
{
	struct kick *kick = ctx;
	eventfd_t count;

	if (eventfd_read(kick->fd, &count) == 0)
		virtio_notify(kick->mmio->dev, kick->queue);
}

/* ---- registers ---- */

/* The selected queue, or NULL when there is none of that number. */
static struct virtio_queue *selected(struct virtio_mmio *mmio)
{
	return mmio->queue_sel < mmio->dev->ops->n_queues ? &mmio->dev->queues[mmio->queue_sel]
							  : NULL;
}

static uint32_t reg_read(struct virtio_mmio *mmio, uint64_t offset)
{
	struct virtio_device *dev = mmio->dev;
	const struct virtio_queue *q = selected(mmio);

	switch (offset) {
	case REG_MAGIC:
		return MAGIC;
	case REG_VERSION:
		return VERSION;
	case REG_DEVICE_ID:
		return dev->ops->id;
	case REG_VENDOR_ID:
		return VENDOR;
	case REG_DEVICE_FEATURES:
		return mmio->device_features_sel < 2
			       ? (uint32_t)(dev->offered >> 32 * mmio->device_features_sel)
			       : 0;
	case REG_QUEUE_NUM_MAX:
		return q ? dev->ops->queue_size : 0;
	case REG_QUEUE_READY:
		return q && q->ready;
	case REG_INTERRUPT_STATUS:
		return mmio->interrupt_status;
	case REG_STATUS:
		return dev->status;
	case REG_SHM_LEN_LOW: /* no shared memory: all ones (4.2.2) */
	case REG_SHM_LEN_HIGH:
	case REG_SHM_BASE_LOW:
	case REG_SHM_BASE_HIGH:
		return UINT32_MAX;
	case REG_CONFIG_GENERATION:
		return dev->generation;
	default:
		return 0;
	}
}

static void set_half(uint64_t *value, bool high, uint32_t half)
{
	unsigned int shift = high ? 32 : 0;

	*value = (*value & ~((uint64_t)UINT32_MAX << shift)) | (uint64_t)half << shift;
}

static void write_driver_features(struct virtio_mmio *mmio, uint32_t value)
{
	/* 2.2: settled once the device has taken them. */
	if (mmio->dev->status & VIRTIO_STATUS_FEATURES_OK)
		virtio_complain(mmio->dev, "driver changed features after FEATURES_OK: ignored");
	else if (mmio->driver_features_sel < 2)
		set_half(&mmio->dev->features, mmio->driver_features_sel, value);
	else if (value)
		virtio_complain(mmio->dev, "driver took features above bit 63: ignored");
}

static void write_queue_ready(struct virtio_mmio *mmio, struct virtio_queue *q, uint32_t value)
{
	struct virtio_device *dev = mmio->dev;

	if (!(value & 1)) {
		q->ready = false;
		return;
	}
	if (q->ready)
		return;
	if (virtio_queue_enable(dev, mmio->queue_sel) < 0)
		virtio_needs_reset(dev,
				   "queue %u refused: size %u at 0x%llx, 0x%llx, 0x%llx is no "
				   "power of two up to %u, misaligned or outside of RAM",
				   mmio->queue_sel, q->size, (unsigned long long)q->desc_gpa,
				   (unsigned long long)q->avail_gpa,
				   (unsigned long long)q->used_gpa, dev->ops->queue_size);
}

/* Registers of the selected queue. 4.2.2.2: not to be touched while it is ready. */
static void queue_write(struct virtio_mmio *mmio, uint64_t offset, uint32_t value)
{
	struct virtio_queue *q = selected(mmio);

	if (!q)
		return;
	if (offset == REG_QUEUE_READY) {
		write_queue_ready(mmio, q, value);
		return;
	}
	if (q->ready) {
		virtio_complain(mmio->dev, "driver changed queue %u while ready: ignored",
				mmio->queue_sel);
		return;
	}
	switch (offset) {
	case REG_QUEUE_NUM: /* too large stays too large: enabling it is refused */
		q->size = value > UINT16_MAX ? UINT16_MAX : (uint16_t)value;
		break;
	case REG_QUEUE_DESC_LOW:
	case REG_QUEUE_DESC_HIGH:
		set_half(&q->desc_gpa, offset == REG_QUEUE_DESC_HIGH, value);
		break;
	case REG_QUEUE_DRIVER_LOW:
	case REG_QUEUE_DRIVER_HIGH:
		set_half(&q->avail_gpa, offset == REG_QUEUE_DRIVER_HIGH, value);
		break;
	case REG_QUEUE_DEVICE_LOW:
	case REG_QUEUE_DEVICE_HIGH:
		set_half(&q->used_gpa, offset == REG_QUEUE_DEVICE_HIGH, value);
		break;
	}
}

static void reg_write(struct virtio_mmio *mmio, uint64_t offset, uint32_t value)
{
	switch (offset) {
	case REG_DEVICE_FEATURES_SEL:
		mmio->device_features_sel = value;
		break;
	case REG_DRIVER_FEATURES:
		write_driver_features(mmio, value);
		break;
	case REG_DRIVER_FEATURES_SEL:
		mmio->driver_features_sel = value;
		break;
	case REG_QUEUE_SEL:
		mmio->queue_sel = value;
		break;
	case REG_QUEUE_NOTIFY:
		virtio_notify(mmio->dev, value);
		break;
	case REG_INTERRUPT_ACK:
		mmio->interrupt_status &= ~value;
		break;
	case REG_STATUS:
		if ((value & 0xff) == 0)
			virtio_mmio_reset(mmio);
		else
			virtio_set_status(mmio->dev, (uint8_t)value);
		break;
	case REG_QUEUE_NUM:
	case REG_QUEUE_READY:
	case REG_QUEUE_DESC_LOW:
	case REG_QUEUE_DESC_HIGH:
	case REG_QUEUE_DRIVER_LOW:
	case REG_QUEUE_DRIVER_HIGH:
	case REG_QUEUE_DEVICE_LOW:
	case REG_QUEUE_DEVICE_HIGH:
		queue_write(mmio, offset, value);
		break;
	}
}

/* ---- the window ---- */

static void config_access(struct virtio_mmio *mmio, uint64_t offset, uint8_t *in,
			  const uint8_t *out, unsigned int len)
{
	struct virtio_device *dev = mmio->dev;
	uint32_t have = offset < dev->ops->config_len ? dev->ops->config_len - (uint32_t)offset : 0;

	if (have > len)
		have = len;
	if (have == 0)
		return;
	if (in && dev->ops->config_read)
		dev->ops->config_read(dev, (uint32_t)offset, in, have);
	if (out && dev->ops->config_write)
		dev->ops->config_write(dev, (uint32_t)offset, out, have);
}

/* 4.2.2.2: registers are accessed as aligned words; other accesses read 0 and are dropped. */
static bool is_word(uint64_t offset, unsigned int len)
{
	return len == 4 && offset % 4 == 0;
}

static void window_read(void *ctx, uint64_t offset, uint8_t *data, unsigned int len)
{
	struct virtio_mmio *mmio = ctx;

	memset(data, 0, len);
	if (offset >= REG_CONFIG) {
		config_access(mmio, offset - REG_CONFIG, data, NULL, len);
	} else if (is_word(offset, len)) {
		uint32_t value = reg_read(mmio, offset);

		memcpy(data, &value, sizeof(value));
	}
}

static void window_write(void *ctx, uint64_t offset, const uint8_t *data, unsigned int len)
{
	struct virtio_mmio *mmio = ctx;

	if (offset >= REG_CONFIG) {
		config_access(mmio, offset - REG_CONFIG, NULL, data, len);
	} else if (is_word(offset, len)) {
		uint32_t value;

		memcpy(&value, data, sizeof(value));
		reg_write(mmio, offset, value);
	}
}

const struct bus_ops virtio_mmio_bus_ops = {.read = window_read, .write = window_write};

/* ---- life ---- */

int virtio_mmio_new(struct virtio_device *dev, struct loop *loop, int irq_fd,
		    struct virtio_mmio **ret_mmio)
{
	struct virtio_mmio *mmio = calloc(1, sizeof(*mmio));
	int err;

	if (!mmio) {
		dev->ops->free(dev);
		return -ENOMEM;
	}
	mmio->dev = dev;
	mmio->irq_fd = irq_fd;
	for (unsigned int i = 0; i < VIRTIO_QUEUES_MAX; i++)
		mmio->kicks[i] = (struct kick){.mmio = mmio, .queue = i, .fd = -1};
	for (unsigned int i = 0; i < dev->ops->n_queues; i++) {
		struct kick *kick = &mmio->kicks[i];

		kick->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (kick->fd >= 0)
			kick->source = loop_add(loop, kick->fd, EPOLLIN, kicked, kick);
		if (!kick->source) {
			err = -errno;
			virtio_mmio_free(mmio);
			return err;
		}
	}
	dev->transport = &transport;
	dev->transport_ctx = mmio;
	*ret_mmio = mmio;
	return 0;
}

void virtio_mmio_free(struct virtio_mmio *mmio)
{
	if (!mmio)
		return;
	for (unsigned int i = 0; i < mmio->dev->ops->n_queues; i++) {
		loop_remove(mmio->kicks[i].source);
		if (mmio->kicks[i].fd >= 0)
			close(mmio->kicks[i].fd);
	}
	virtio_queues_free(mmio->dev);
	mmio->dev->ops->free(mmio->dev);
	free(mmio);
}

struct virtio_device *virtio_mmio_device(const struct virtio_mmio *mmio)
{
	return mmio->dev;
}

unsigned int virtio_mmio_queue_count(const struct virtio_mmio *mmio)
{
	return mmio->dev->ops->n_queues;
}

int virtio_mmio_notify_fd(const struct virtio_mmio *mmio, unsigned int queue)
{
	return queue < mmio->dev->ops->n_queues ? mmio->kicks[queue].fd : -1;
}

void virtio_mmio_reset(struct virtio_mmio *mmio)
{
	eventfd_t count;

	virtio_reset(mmio->dev);
	mmio->device_features_sel = mmio->driver_features_sel = mmio->queue_sel = 0;
	mmio->interrupt_status = 0;
	for (unsigned int i = 0; i < mmio->dev->ops->n_queues; i++)
		(void)eventfd_read(mmio->kicks[i].fd, &count);
}
