// SPDX-License-Identifier: Apache-2.0
/*
 * virtio-mem (virtio 1.2 section 5.15). The driver asks for blocks to be plugged and unplugged, one
 * request after the other; each is checked wholly before anything changes. Unplugging waits
 * (BUSY) while a device's queue or a request in flight lies in the range, so that no pointer into
 * it is left. Which blocks are plugged is known to ram_plug.c alone: a reset by the driver changes
 * nothing of it (5.15.5), a reset of the machine unplugs all, as QEMU does.
 */
#include "vmm/mem.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/size.h"

/* Feature bits (5.15.3). */
#define F_ACPI_PXM		 0
#define F_UNPLUGGED_INACCESSIBLE 1

#define QUEUE_REQUESTS 0

/* Requests served before others get their turn. */
#define KICK_REQUESTS_MAX 32

/*
 * Above what is asked for, the guest may use the region this far (QEMU's number): Linux plugs
 * in memory blocks of 128 MiB and needs some play to move about.
 */
#define USABLE_EXTENT (256 * MIB)

/* 5.15.4, little endian. */
struct config {
	uint64_t block_size;
	uint16_t node_id;
	uint8_t padding[6];
	uint64_t addr;
	uint64_t region_size;
	uint64_t usable_region_size;
	uint64_t plugged_size;
	uint64_t requested_size;
};
_Static_assert(sizeof(struct config) == 56, "virtio 1.2 5.15.4");

/* 5.15.6 */
enum request_type { REQUEST_PLUG, REQUEST_UNPLUG, REQUEST_UNPLUG_ALL, REQUEST_STATE };
enum response_type { RESPONSE_ACK, RESPONSE_NACK, RESPONSE_BUSY, RESPONSE_ERROR };
enum { STATE_PLUGGED, STATE_UNPLUGGED, STATE_MIXED };

struct request {
	uint16_t type, padding[3];
	uint64_t addr;
	uint16_t n_blocks, padding2[3];
};
_Static_assert(sizeof(struct request) == 24, "virtio 1.2 5.15.6");

struct response {
	uint16_t type, padding[3];
	uint16_t state;
};
_Static_assert(sizeof(struct response) == 10, "virtio 1.2 5.15.6");

struct mem {
	struct virtio_device dev;
	struct mem_config config;
	uint64_t requested_bytes, usable_bytes;
	struct virtio_chain chain; /* scratch: too large for a stack */
};

static struct mem *mem_of(struct virtio_device *dev)
{
	return (struct mem *)(void *)dev;
}

static const struct mem *mem_of_const(const struct virtio_device *dev)
{
	return (const struct mem *)(const void *)dev;
}

static const struct ram_region *region_of(const struct mem *m)
{
	return ram_plug_region(m->config.ram, m->config.plug);
}

static uint64_t block_of(const struct mem *m)
{
	return ram_plug_config(m->config.ram, m->config.plug)->block_bytes;
}

static bool is_pool(const struct mem *m)
{
	return ram_pages_is_pool(ram_plug_config(m->config.ram, m->config.plug)->memory.pages);
}

/* ---- sizes ---- */

static void report_change(void *ctx)
{
	struct mem *m = ctx;

	m->config.changed(m->config.changed_ctx, m->config.plug, mem_plugged_bytes(&m->dev));
}

/* The driver changes it on a vCPU thread, too; listeners live in the loop's. */
static void plugged_changed(struct mem *m)
{
	if (m->config.changed && m->config.loop)
		loop_call(m->config.loop, report_change, m);
}

/* 5.15.5.1: it never shrinks but when all is unplugged. */
static void update_usable(struct mem *m, bool may_shrink)
{
	uint64_t size = region_of(m)->size_bytes, usable = m->requested_bytes;
	uint64_t extent = USABLE_EXTENT > block_of(m) ? USABLE_EXTENT : block_of(m);

	usable = usable && extent > size - usable ? size : usable ? usable + extent : 0;
	if (usable > m->usable_bytes || may_shrink)
		m->usable_bytes = usable;
}

int mem_set_requested(struct virtio_device *dev, uint64_t bytes)
{
	struct mem *m = mem_of(dev);

	if (bytes % block_of(m))
		return -EINVAL;
	if (bytes > region_of(m)->size_bytes)
		return -ERANGE;
	if (bytes == m->requested_bytes)
		return 0;
	m->requested_bytes = bytes;
	update_usable(m, false);
	virtio_config_changed(dev);
	return 0;
}

uint64_t mem_requested_bytes(const struct virtio_device *dev)
{
	return mem_of_const(dev)->requested_bytes;
}

uint64_t mem_plugged_bytes(const struct virtio_device *dev)
{
	const struct mem *m = mem_of_const(dev);

	return ram_plug_size_bytes(m->config.ram, m->config.plug);
}

size_t mem_plug(const struct virtio_device *dev)
{
	return mem_of_const(dev)->config.plug;
}

void mem_machine_reset(struct virtio_device *dev)
{
	struct mem *m = mem_of(dev);

	update_usable(m, true);
	plugged_changed(m);
}

/* ---- requests ---- */

/* 5.15.6.2: whole blocks of the usable region. */
static bool is_range(const struct mem *m, const struct request *request)
{
	uint64_t from = region_of(m)->gpa, block = block_of(m);

	return request->n_blocks && request->addr >= from && request->addr % block == 0 &&
	       request->addr - from < m->usable_bytes &&
	       request->n_blocks * block <= m->usable_bytes - (request->addr - from);
}

static bool in_use(const struct mem *m, uint64_t gpa, uint64_t len)
{
	return m->config.in_use && m->config.in_use(m->config.in_use_ctx, gpa, len);
}

static enum response_type plug(struct mem *m, uint64_t gpa, uint64_t len)
{
	int r;

	if (len > m->requested_bytes || mem_plugged_bytes(&m->dev) > m->requested_bytes - len)
		return RESPONSE_NACK;
	r = ram_plug(m->config.ram, m->config.plug, gpa, len);
	if (r == -EINVAL)
		return RESPONSE_ERROR;
	if (r < 0) {
		virtio_complain(&m->dev, "cannot plug %s for the guest now: %s%s", SIZE_TEXT(len),
				strerror(-r), is_pool(m) ? " (is the huge page pool empty?)" : "");
		return RESPONSE_BUSY;
	}
	plugged_changed(m);
	return RESPONSE_ACK;
}

static enum response_type unplug(struct mem *m, uint64_t gpa, uint64_t len)
{
	int r;

	if (in_use(m, gpa, len))
		return RESPONSE_BUSY;
	r = ram_unplug(m->config.ram, m->config.plug, gpa, len);
	if (r == -EINVAL)
		return RESPONSE_ERROR;
	if (r < 0) {
		virtio_complain(&m->dev, "cannot unplug %s of the guest now: %s", SIZE_TEXT(len),
				strerror(-r));
		return RESPONSE_BUSY;
	}
	plugged_changed(m);
	return RESPONSE_ACK;
}

static enum response_type unplug_all(struct mem *m)
{
	const struct ram_region *region = region_of(m);

	if (in_use(m, region->gpa, region->size_bytes))
		return RESPONSE_BUSY;
	if (mem_plugged_bytes(&m->dev)) {
		ram_unplug_all(m->config.ram, m->config.plug);
		plugged_changed(m);
	}
	update_usable(m, true);
	virtio_config_changed(&m->dev);
	return RESPONSE_ACK;
}

static uint16_t state(const struct mem *m, uint64_t gpa, uint64_t len)
{
	switch (ram_plug_state(m->config.ram, m->config.plug, gpa, len)) {
	case RAM_PLUG_PLUGGED:
		return STATE_PLUGGED;
	case RAM_PLUG_UNPLUGGED:
		return STATE_UNPLUGGED;
	default:
		return STATE_MIXED;
	}
}

static struct response answer(struct mem *m, const struct request *request)
{
	uint64_t len = request->n_blocks * block_of(m);
	struct response response = {.type = RESPONSE_ERROR};

	if (request->type == REQUEST_UNPLUG_ALL) {
		response.type = (uint16_t)unplug_all(m);
	} else if (request->type > REQUEST_STATE) {
		virtio_complain(&m->dev, "request of type %u, which there is not", request->type);
	} else if (!is_range(m, request)) {
		virtio_complain(
			&m->dev, "request %u for %u blocks at 0x%llx: not in the usable region",
			request->type, request->n_blocks, (unsigned long long)request->addr);
	} else if (request->type == REQUEST_PLUG) {
		response.type = (uint16_t)plug(m, request->addr, len);
	} else if (request->type == REQUEST_UNPLUG) {
		response.type = (uint16_t)unplug(m, request->addr, len);
	} else {
		response.type = RESPONSE_ACK;
		response.state = state(m, request->addr, len);
	}
	return response;
}

static void write_response(const struct virtio_chain *chain, const struct response *response)
{
	const uint8_t *from = (const uint8_t *)response;
	size_t done = 0;

	for (unsigned int i = 0; i < chain->n_in && done < sizeof(*response); i++) {
		size_t part = sizeof(*response) - done;

		if (part > chain->in[i].len)
			part = chain->in[i].len;
		memcpy(chain->in[i].base, from + done, part);
		done += part;
	}
}

/* false: the device is broken now. */
static bool serve(struct mem *m)
{
	struct virtio_chain *chain = &m->chain;
	struct response response;
	struct request request;

	if (virtio_spans_read(chain->out, chain->n_out, 0, &request, sizeof(request)) <
		    sizeof(request) ||
	    virtio_spans_len(chain->in, chain->n_in) < sizeof(response)) {
		virtio_needs_reset(&m->dev, "request or room for its response is too short");
		return false;
	}
	response = answer(m, &request);
	write_response(chain, &response);
	virtio_queue_push(&m->dev, QUEUE_REQUESTS, chain->head, sizeof(response));
	return true;
}

static void mem_notify(struct virtio_device *dev, unsigned int queue)
{
	struct mem *m = mem_of(dev);
	unsigned int served = 0;

	while (served < KICK_REQUESTS_MAX && virtio_queue_pop(dev, queue, &m->chain) > 0 &&
	       serve(m))
		served++;
	if (served)
		virtio_queue_interrupt(dev, queue);
	if (dev->active && virtio_queue_pending(dev, queue))
		virtio_queue_kick_later(dev, queue);
}

/* ---- config space and life ---- */

static void config_read(struct virtio_device *dev, uint32_t offset, void *data, uint32_t len)
{
	const struct mem *m = mem_of(dev);
	const struct ram_region *region = region_of(m);
	const struct config config = {
		.block_size = block_of(m),
		.node_id = (uint16_t)region->node,
		.addr = region->gpa,
		.region_size = region->size_bytes,
		.usable_region_size = m->usable_bytes,
		.plugged_size = mem_plugged_bytes(dev),
		.requested_size = m->requested_bytes,
	};

	memcpy(data, (const uint8_t *)&config + offset, len);
}

/*
 * 5.15.3.1: a driver must take UNPLUGGED_INACCESSIBLE, or it may expect to read where it must not.
 * Linux before 5.16 does not know it.
 */
static void mem_activate(struct virtio_device *dev)
{
	if (!virtio_has_feature(dev, F_UNPLUGGED_INACCESSIBLE))
		virtio_needs_reset(dev, "driver expects unplugged memory to be readable");
}

static void mem_free(struct virtio_device *dev)
{
	free(mem_of(dev));
}

static const struct virtio_ops mem_ops = {
	.name = "mem",
	.id = VIRTIO_ID_MEM,
	.n_queues = 1,
	.queue_size = VIRTIO_QUEUE_SIZE,
	.config_len = sizeof(struct config),
	.config_read = config_read,
	.activate = mem_activate,
	.notify = mem_notify,
	.free = mem_free,
};

struct virtio_device *mem_new(const struct mem_config *config)
{
	struct mem *m = calloc(1, sizeof(*m));

	if (!m)
		return NULL;
	virtio_device_init(&m->dev, &mem_ops, config->ram,
			   1ULL << F_ACPI_PXM | 1ULL << F_UNPLUGGED_INACCESSIBLE);
	m->config = *config;
	m->requested_bytes = config->requested_bytes;
	update_usable(m, true);
	return &m->dev;
}
