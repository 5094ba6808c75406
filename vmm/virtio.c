// SPDX-License-Identifier: Apache-2.0
/*
 * The part of a virtio device that is the same for all of them: features, status, reset, and what
 * happens when a driver breaks the rules. The queues themselves are in virtio_queue.c.
 */
#include "vmm/virtio.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* A guest can provoke these lines at will. */
#define COMPLAINTS_WINDOW_US (10 * 1000000ULL)
#define COMPLAINTS_BURST     5

void virtio_device_init(struct virtio_device *dev, const struct virtio_ops *ops, struct ram *ram,
			uint64_t features)
{
	memset(dev, 0, sizeof(*dev));
	dev->ops = ops;
	dev->ram = ram;
	dev->offered = features | 1ULL << VIRTIO_F_VERSION_1 | 1ULL << VIRTIO_F_INDIRECT_DESC;
	dev->complaints.window_us = COMPLAINTS_WINDOW_US;
	dev->complaints.burst = COMPLAINTS_BURST;
}

static void __attribute__((format(printf, 3, 0)))
complain(struct virtio_device *dev, const char *then, const char *fmt, va_list args)
{
	unsigned int dropped = 0;
	char text[256], more[48] = "";

	if (!log_limit_pass(&dev->complaints, &dropped))
		return;
	vsnprintf(text, sizeof(text), fmt, args);
	if (dropped)
		snprintf(more, sizeof(more), " (%u like it held back)", dropped);
	log_warn("virtio %s: %s%s%s", dev->ops->name, text, then, more);
}

void virtio_complain(struct virtio_device *dev, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	complain(dev, "", fmt, args);
	va_end(args);
}

void virtio_needs_reset(struct virtio_device *dev, const char *fmt, ...)
{
	bool told = dev->status & VIRTIO_STATUS_NEEDS_RESET;
	va_list args;

	va_start(args, fmt);
	complain(dev, "; the device needs a reset", fmt, args);
	va_end(args);
	dev->active = false;
	dev->status |= VIRTIO_STATUS_NEEDS_RESET;
	/* 2.1.2: after DRIVER_OK the driver must be told by a configuration change. */
	if (!told && dev->status & VIRTIO_STATUS_DRIVER_OK && dev->transport)
		dev->transport->config_interrupt(dev->transport_ctx);
}

void virtio_config_changed(struct virtio_device *dev)
{
	dev->generation++;
	if (dev->active && dev->transport)
		dev->transport->config_interrupt(dev->transport_ctx);
}

void virtio_reset(struct virtio_device *dev)
{
	dev->active = false;
	if (dev->ops->reset)
		dev->ops->reset(dev);
	virtio_queues_free(dev);
	dev->features = 0;
	dev->status = 0;
}

/* 2.2.2: refuse what was not offered, and drivers of the time before virtio 1. */
static bool features_acceptable(struct virtio_device *dev)
{
	if (dev->features & ~dev->offered)
		virtio_complain(dev, "driver took features 0x%llx that were not offered",
				(unsigned long long)(dev->features & ~dev->offered));
	else if (!virtio_has_feature(dev, VIRTIO_F_VERSION_1))
		virtio_complain(dev, "driver does not know virtio 1 (VERSION_1 not taken)");
	else
		return true;
	return false;
}

/*
 * Linux fills and kicks some queues before it sets DRIVER_OK (the balloon's statistics queue), and
 * such a kick is lost when it arrives before the bit: whatever waits then is looked at now.
 */
static void kick_waiting(struct virtio_device *dev)
{
	for (unsigned int q = 0; q < dev->ops->n_queues; q++)
		if (dev->active && dev->queues[q].ready && virtio_queue_pending(dev, q))
			virtio_queue_kick_later(dev, q);
}

void virtio_set_status(struct virtio_device *dev, uint8_t status)
{
	uint8_t added = status & (uint8_t)~dev->status;

	if (status == 0) {
		virtio_reset(dev);
		return;
	}
	if (added & VIRTIO_STATUS_FEATURES_OK && !features_acceptable(dev))
		added &= (uint8_t)~VIRTIO_STATUS_FEATURES_OK;
	if (added & VIRTIO_STATUS_DRIVER_OK &&
	    !((dev->status | added) & VIRTIO_STATUS_FEATURES_OK)) {
		virtio_complain(dev, "driver set DRIVER_OK without FEATURES_OK");
		added &= (uint8_t)~VIRTIO_STATUS_DRIVER_OK;
	}
	/* A driver only ever adds bits; NEEDS_RESET is ours to set. */
	dev->status |= added & (uint8_t)~VIRTIO_STATUS_NEEDS_RESET;

	if (added & VIRTIO_STATUS_FAILED) {
		virtio_complain(dev, "driver gave up on the device");
		dev->active = false;
	} else if (added & VIRTIO_STATUS_DRIVER_OK && !(dev->status & VIRTIO_STATUS_NEEDS_RESET)) {
		dev->active = true;
		if (dev->ops->activate)
			dev->ops->activate(dev);
		kick_waiting(dev);
	}
}

void virtio_notify(struct virtio_device *dev, unsigned int queue)
{
	/* A kick that comes too late for the pause is made up for by virtio_resume. */
	if (queue < dev->ops->n_queues && dev->active && !dev->paused && dev->queues[queue].ready)
		dev->ops->notify(dev, queue);
}

void virtio_pause(struct virtio_device *dev)
{
	if (dev->paused)
		return;
	dev->paused = true;
	if (dev->ops->pause)
		dev->ops->pause(dev);
}

void virtio_resume(struct virtio_device *dev)
{
	if (!dev->paused)
		return;
	dev->paused = false;
	if (dev->active && dev->ops->resume)
		dev->ops->resume(dev);
	kick_waiting(dev);
}
