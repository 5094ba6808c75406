// SPDX-License-Identifier: Apache-2.0
/*
 * Split virtqueues (virtio 1.2 section 2.7). The rings live in guest memory and the guest may
 * change them at any time, so every value is read once, checked, and only then used. A chain is
 * bounded by the queue size, so a loop ends there; a ring that breaks the rules puts the device
 * into DEVICE_NEEDS_RESET.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/virtio.h"

struct descriptor {
	uint64_t addr;
	uint32_t len;
	uint16_t flags, next;
};
_Static_assert(sizeof(struct descriptor) == 16, "virtio 1.2 2.7.5");

#define USED_BYTES	   8 /* one element of the used ring */
#define RING_HEADER	   4 /* flags, idx */
#define AVAIL_NO_INTERRUPT 1
#define USED_NO_NOTIFY	   1

/* ---- words of the rings; enable() has checked the alignment ---- */

static uint16_t avail_flags(const struct virtio_queue *q)
{
	return __atomic_load_n((uint16_t *)(void *)q->avail, __ATOMIC_RELAXED);
}

/* Acquire: what the driver wrote before it moved the index is seen after. */
static uint16_t avail_idx(const struct virtio_queue *q)
{
	return __atomic_load_n((uint16_t *)(void *)(q->avail + 2), __ATOMIC_ACQUIRE);
}

static uint16_t avail_head(const struct virtio_queue *q, uint16_t at)
{
	uint16_t *ring = (uint16_t *)(void *)(q->avail + RING_HEADER);

	return __atomic_load_n(&ring[at & (q->size - 1)], __ATOMIC_RELAXED);
}

/* Read a descriptor once: the fence keeps the compiler from looking at the guest's copy again. */
static struct descriptor descriptor_read(const uint8_t *table, uint32_t index)
{
	struct descriptor d;

	memcpy(&d, table + (size_t)index * sizeof(d), sizeof(d));
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	return d;
}

/* ---- set-up ---- */

static void *area(const struct virtio_device *dev, uint64_t gpa, uint64_t len, uint64_t align)
{
	return gpa % align ? NULL : ram_ptr(dev->ram, gpa, len);
}

int virtio_queue_enable(struct virtio_device *dev, unsigned int queue)
{
	struct virtio_queue *q = &dev->queues[queue];

	if (q->size == 0 || q->size > dev->ops->queue_size || q->size & (q->size - 1))
		return -EINVAL;
	/* 2.7: alignments 16, 2 and 4; the event words of both rings are part of their areas. */
	q->desc = area(dev, q->desc_gpa, sizeof(struct descriptor) * q->size, 16);
	q->avail = area(dev, q->avail_gpa, RING_HEADER + 2ULL * q->size + 2, 2);
	q->used = area(dev, q->used_gpa, RING_HEADER + (uint64_t)USED_BYTES * q->size + 2, 4);
	if (!q->desc || !q->avail || !q->used)
		return -EINVAL;
	q->next_avail = q->next_used = 0;
	q->ready = true;
	return 0;
}

/* ---- pluggable memory ---- */

static void add_pluggable(const struct virtio_device *dev, struct virtio_chain *chain, uint64_t gpa,
			  uint64_t len)
{
	struct virtio_range *range = &chain->pluggable;

	if (gpa < ram_plug_start(dev->ram))
		return;
	if (range->to == 0 || gpa < range->from)
		range->from = gpa;
	if (gpa + len > range->to)
		range->to = gpa + len;
}

/*
 * Keep track of a chain until it is pushed, whether it lies in pluggable memory or not: a hostile
 * driver may make one head available many times over. false: out of memory.
 */
static bool hold(const struct virtio_device *dev, struct virtio_queue *q,
		 const struct virtio_chain *chain)
{
	const struct virtio_range *range = &chain->pluggable;
	struct virtio_range *held;

	if (ram_plug_start(dev->ram) == UINT64_MAX)
		return true;
	if (!q->held)
		q->held = calloc(VIRTIO_QUEUE_SIZE, sizeof(*q->held));
	if (!q->held)
		return false;
	held = &q->held[chain->head];
	held->n++;
	if (range->to && (held->to == 0 || range->from < held->from))
		held->from = range->from;
	if (range->to > held->to)
		held->to = range->to;
	return true;
}

static void let_go(struct virtio_queue *q, uint16_t head)
{
	struct virtio_range *held = q->held ? &q->held[head] : NULL;

	if (held && held->n && --held->n == 0)
		*held = (struct virtio_range){0};
}

static bool overlaps(uint64_t gpa, uint64_t len, uint64_t from, uint64_t to)
{
	return from < gpa + len && gpa < to;
}

static bool rings_use(const struct virtio_queue *q, uint64_t gpa, uint64_t len)
{
	return overlaps(gpa, len, q->desc_gpa, q->desc_gpa + sizeof(struct descriptor) * q->size) ||
	       overlaps(gpa, len, q->avail_gpa, q->avail_gpa + RING_HEADER + 2ULL * q->size + 2) ||
	       overlaps(gpa, len, q->used_gpa,
			q->used_gpa + RING_HEADER + (uint64_t)USED_BYTES * q->size + 2);
}

bool virtio_uses(const struct virtio_device *dev, uint64_t gpa, uint64_t len)
{
	for (unsigned int i = 0; i < dev->ops->n_queues; i++) {
		const struct virtio_queue *q = &dev->queues[i];

		if (q->ready && rings_use(q, gpa, len))
			return true;
		for (unsigned int head = 0; q->held && head < VIRTIO_QUEUE_SIZE; head++)
			if (overlaps(gpa, len, q->held[head].from, q->held[head].to))
				return true;
	}
	return false;
}

void virtio_queues_free(struct virtio_device *dev)
{
	for (unsigned int i = 0; i < dev->ops->n_queues; i++)
		free(dev->queues[i].held);
	memset(dev->queues, 0, sizeof(dev->queues));
}

/* ---- taking chains ---- */

static const char *add_span(const struct virtio_device *dev, struct virtio_chain *chain,
			    bool writable, uint64_t gpa, uint32_t len)
{
	struct virtio_span *spans = writable ? chain->in : chain->out;
	unsigned int *n = writable ? &chain->n_in : &chain->n_out;

	if (len == 0)
		return "descriptor of length zero";
	if (!writable && chain->n_in)
		return "readable descriptor behind a writable one";
	/* Neighbouring RAM regions need not be neighbours in our address space. */
	while (len) {
		uint64_t room = ram_room(dev->ram, gpa);
		uint32_t part = room < len ? (uint32_t)room : len;

		if (part == 0)
			return "descriptor outside of RAM";
		if (*n == VIRTIO_QUEUE_SIZE)
			return "chain of too many pieces";
		add_pluggable(dev, chain, gpa, part);
		spans[*n] = (struct virtio_span){
			.base = ram_ptr(dev->ram, gpa, part), .len = part, .gpa = gpa};
		if (!spans[(*n)++].base)
			return "descriptor outside of RAM";
		gpa += part;
		len -= part;
	}
	return NULL;
}

/* Where the walk is: the queue's own table, or an indirect one. */
struct walk {
	const uint8_t *table;
	uint32_t n_entries;
	bool indirect;
};

static const char *enter_indirect(const struct virtio_device *dev, const struct descriptor *d,
				  struct walk *walk)
{
	if (!virtio_has_feature(dev, VIRTIO_F_INDIRECT_DESC))
		return "indirect descriptor without the feature";
	if (walk->indirect)
		return "indirect descriptor within an indirect table";
	if (d->flags & VIRTIO_DESC_NEXT)
		return "indirect descriptor with a next one";
	if (d->len == 0 || d->len % sizeof(struct descriptor))
		return "indirect table of a length that is no multiple of 16";
	walk->table = ram_ptr(dev->ram, d->addr, d->len);
	if (!walk->table)
		return "indirect table outside of RAM";
	walk->n_entries = d->len / sizeof(struct descriptor);
	walk->indirect = true;
	return NULL;
}

/* Follow a chain from its head. NULL, or what is wrong with it. */
static const char *walk_chain(const struct virtio_device *dev, const struct virtio_queue *q,
			      struct virtio_chain *chain)
{
	struct walk walk = {.table = q->desc, .n_entries = q->size};
	uint32_t index = chain->head;
	unsigned int seen = 0;

	chain->n_out = chain->n_in = 0;
	chain->pluggable = (struct virtio_range){0};
	for (;;) {
		struct descriptor d;
		const char *wrong;

		if (index >= walk.n_entries)
			return "descriptor index beyond the table";
		/*
		 * 2.7.5.3.1: no chain is longer than the queue, and none of more buffers than a
		 * full indirect table, which counts anew: the descriptor that refers to it is no
		 * buffer. A loop runs into this.
		 */
		if (seen++ >= (walk.indirect ? VIRTIO_QUEUE_SIZE : q->size))
			return "chain longer than the queue, or a loop";
		d = descriptor_read(walk.table, index);
		if (d.flags & VIRTIO_DESC_INDIRECT) {
			wrong = enter_indirect(dev, &d, &walk);
			if (wrong)
				return wrong;
			index = 0;
			seen = 0;
			continue;
		}
		wrong = add_span(dev, chain, d.flags & VIRTIO_DESC_WRITE, d.addr, d.len);
		if (wrong)
			return wrong;
		if (!(d.flags & VIRTIO_DESC_NEXT))
			return NULL;
		index = d.next;
	}
}

uint16_t virtio_queue_pending(const struct virtio_device *dev, unsigned int queue)
{
	const struct virtio_queue *q = &dev->queues[queue];

	return q->ready ? (uint16_t)(avail_idx(q) - q->next_avail) : 0;
}

int virtio_queue_pop(struct virtio_device *dev, unsigned int queue, struct virtio_chain *ret_chain)
{
	struct virtio_queue *q = &dev->queues[queue];
	uint16_t pending = virtio_queue_pending(dev, queue);
	const char *wrong;

	if (!dev->active || pending == 0)
		return 0;
	if (pending > q->size) {
		virtio_needs_reset(dev, "queue %u: driver made %u chains available, it holds %u",
				   queue, pending, q->size);
		return -EIO;
	}
	ret_chain->head = avail_head(q, q->next_avail);
	wrong = walk_chain(dev, q, ret_chain);
	if (!wrong && !hold(dev, q, ret_chain))
		wrong = "no memory to keep track of it";
	if (wrong) {
		virtio_needs_reset(dev, "queue %u: %s (head %u)", queue, wrong, ret_chain->head);
		return -EIO;
	}
	q->next_avail++;
	q->last_head = ret_chain->head;
	return 1;
}

void virtio_queue_unpop(struct virtio_device *dev, unsigned int queue)
{
	struct virtio_queue *q = &dev->queues[queue];

	q->next_avail--;
	let_go(q, q->last_head);
}

/* ---- giving them back ---- */

void virtio_queue_fill(struct virtio_device *dev, unsigned int queue, unsigned int index,
		       uint16_t head, uint32_t written)
{
	struct virtio_queue *q = &dev->queues[queue];
	uint32_t element[2] = {head, written};
	uint16_t at = (uint16_t)(q->next_used + index);

	let_go(q, head);
	if (q->ready) /* else it was reset while the device held the chain */
		memcpy(q->used + RING_HEADER + (size_t)USED_BYTES * (at & (q->size - 1)), element,
		       sizeof(element));
}

void virtio_queue_publish(struct virtio_device *dev, unsigned int queue, unsigned int n)
{
	struct virtio_queue *q = &dev->queues[queue];

	if (!q->ready)
		return;
	q->next_used = (uint16_t)(q->next_used + n);
	/* Release: the elements are there before the index says so. */
	__atomic_store_n((uint16_t *)(void *)(q->used + 2), q->next_used, __ATOMIC_RELEASE);
}

void virtio_queue_push(struct virtio_device *dev, unsigned int queue, uint16_t head,
		       uint32_t written)
{
	virtio_queue_fill(dev, queue, 0, head, written);
	virtio_queue_publish(dev, queue, 1);
}

void virtio_queue_want_kicks(struct virtio_device *dev, unsigned int queue, bool wanted)
{
	struct virtio_queue *q = &dev->queues[queue];

	if (!q->ready)
		return;
	__atomic_store_n((uint16_t *)(void *)q->used, wanted ? 0 : USED_NO_NOTIFY,
			 __ATOMIC_RELAXED);
	/* We set the flag, then look at avail idx; the driver the other way round. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

void virtio_queue_interrupt(struct virtio_device *dev, unsigned int queue)
{
	struct virtio_queue *q = &dev->queues[queue];

	if (!q->ready || !dev->transport)
		return;
	/* The driver sets the flag, then looks at used idx; we the other way round. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (!(avail_flags(q) & AVAIL_NO_INTERRUPT))
		dev->transport->queue_interrupt(dev->transport_ctx);
}

void virtio_queue_kick_later(struct virtio_device *dev, unsigned int queue)
{
	if (dev->transport)
		dev->transport->kick_later(dev->transport_ctx, queue);
}

/* ---- queues that the kernel serves ---- */

int virtio_queue_lend_kicks(struct virtio_device *dev, unsigned int queue)
{
	if (!dev->transport || !dev->transport->lend_kicks)
		return -EOPNOTSUPP;
	return dev->transport->lend_kicks(dev->transport_ctx, queue, true);
}

void virtio_queue_return_kicks(struct virtio_device *dev, unsigned int queue)
{
	if (dev->transport && dev->transport->lend_kicks)
		dev->transport->lend_kicks(dev->transport_ctx, queue, false);
}

void virtio_queue_go_on(struct virtio_device *dev, unsigned int queue, uint16_t next_avail)
{
	struct virtio_queue *q = &dev->queues[queue];

	if (!q->ready)
		return;
	q->next_avail = next_avail;
	q->next_used = __atomic_load_n((uint16_t *)(void *)(q->used + 2), __ATOMIC_RELAXED);
}

/* ---- spans ---- */

uint64_t virtio_spans_len(const struct virtio_span *spans, unsigned int n)
{
	uint64_t len = 0;

	for (unsigned int i = 0; i < n; i++)
		len += spans[i].len;
	return len;
}

size_t virtio_spans_read(const struct virtio_span *spans, unsigned int n, uint64_t offset,
			 void *dst, size_t len)
{
	uint8_t *to = dst;
	size_t done = 0;

	for (unsigned int i = 0; i < n && done < len; i++) {
		size_t part;

		if (offset >= spans[i].len) {
			offset -= spans[i].len;
			continue;
		}
		part = spans[i].len - offset;
		if (part > len - done)
			part = len - done;
		memcpy(to + done, (const uint8_t *)spans[i].base + offset, part);
		done += part;
		offset = 0;
	}
	return done;
}
