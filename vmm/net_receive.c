// SPDX-License-Identifier: Apache-2.0
/*
 * virtio-net, from the tap to the guest. A frame is read straight into the driver's buffers, with a
 * stash of our own behind them: what runs over into the stash was larger than the room at hand. It
 * is copied from there once there are buffers for it, and dropped when they do not come. A frame of
 * several buffers (MRG_RXBUF) is shown to the driver all at once.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "vmm/net_impl.h"

/* One turn: others want the loop too. The tap stays readable, so the loop comes back by itself. */
#define TURN_FRAMES_MAX 64
#define TURN_BYTES_MAX	(512 * 1024)
#define DISCARD_MAX	4096 /* more than a tap's queue holds */
/* Times that new buffers come and are too few, before a frame is given up. */
#define STASH_TRIES_MAX 8
/* Buffers for a frame of the usual size; large ones come in trains, so the last one decides. */
#define ROOM_SMALL 4096

/* ---- buffers ---- */

/* Have room bytes of buffers in hand, or all there are. -EIO: broken, the device needs a reset. */
static int take_buffers(struct net *net, uint64_t room)
{
	struct net_buffers *b = &net->buffers;
	struct virtio_chain *chain = &net->chain;

	while (b->bytes < room && b->n_chains < VIRTIO_QUEUE_SIZE) {
		int r = virtio_queue_pop(&net->dev, NET_RECEIVE, chain);

		if (r <= 0)
			return r;
		if (chain->n_in == 0) {
			virtio_needs_reset(&net->dev, "receive buffer that cannot be written");
			return -EIO;
		}
		if (b->n_spans + chain->n_in > NET_SPANS_MAX) {
			virtio_queue_unpop(&net->dev, NET_RECEIVE);
			return 0;
		}
		b->chains[b->n_chains].head = chain->head;
		b->chains[b->n_chains].n_spans = chain->n_in;
		b->chains[b->n_chains].bytes = virtio_spans_len(chain->in, chain->n_in);
		b->bytes += b->chains[b->n_chains++].bytes;
		for (unsigned int i = 0; i < chain->n_in; i++)
			b->spans[b->n_spans++] = (struct iovec){.iov_base = chain->in[i].base,
								.iov_len = chain->in[i].len};
		/* Without MRG_RXBUF one buffer is all that a frame may have. */
		if (!virtio_has_feature(&net->dev, NET_F_MRG_RXBUF))
			break;
	}
	return 0;
}

/* The first n chains are the driver's again. */
static void drop_buffers(struct net *net, unsigned int n)
{
	struct net_buffers *b = &net->buffers;
	unsigned int n_spans = 0;

	for (unsigned int i = 0; i < n; i++) {
		n_spans += b->chains[i].n_spans;
		b->bytes -= b->chains[i].bytes;
	}
	b->n_chains -= n;
	b->n_spans -= n_spans;
	memmove(b->chains, b->chains + n, b->n_chains * sizeof(b->chains[0]));
	memmove(b->spans, b->spans + n_spans, b->n_spans * sizeof(b->spans[0]));
}

/* Those that were not used are the next ones again. */
static void return_buffers(struct net *net)
{
	for (; net->buffers.n_chains; net->buffers.n_chains--)
		virtio_queue_unpop(&net->dev, NET_RECEIVE);
	net->buffers.n_spans = 0;
	net->buffers.bytes = 0;
}

/* Copy len bytes to (or from) the buffers in hand, which have them, offset bytes in. */
static void copy_buffers(struct net *net, uint64_t offset, uint8_t *data, size_t len, bool in)
{
	struct net_buffers *b = &net->buffers;

	for (unsigned int i = 0; i < b->n_spans && len; i++) {
		size_t have = b->spans[i].iov_len, part;
		uint8_t *at = b->spans[i].iov_base;

		if (offset >= have) {
			offset -= have;
			continue;
		}
		part = have - offset < len ? have - offset : len;
		if (in)
			memcpy(at + offset, data, part);
		else
			memcpy(data, at + offset, part);
		data += part;
		len -= part;
		offset = 0;
	}
}

/* ---- frames ---- */

/* The frame of len bytes is in the buffers in hand: finish its header and show it to the driver. */
static void deliver(struct net *net, size_t len)
{
	struct net_buffers *b = &net->buffers;
	uint64_t left = len;
	uint16_t n = 0;
	uint8_t flags = 0;

	for (; left > 0; n++) {
		uint64_t part = b->chains[n].bytes < left ? b->chains[n].bytes : left;

		virtio_queue_fill(&net->dev, NET_RECEIVE, n, b->chains[n].head, (uint32_t)part);
		left -= part;
	}
	/* 5.1.6.4.1: the number of buffers; and no flags for a driver without GUEST_CSUM. */
	if (!virtio_has_feature(&net->dev, NET_F_GUEST_CSUM))
		copy_buffers(net, offsetof(struct net_header, flags), &flags, 1, true);
	copy_buffers(net, offsetof(struct net_header, num_buffers), (uint8_t *)&n, sizeof(n), true);
	virtio_queue_publish(&net->dev, NET_RECEIVE, n);
	drop_buffers(net, n);
}

static void empty_stash(struct net *net)
{
	net->stash_bytes = 0;
	net->stash_tries = 0;
}

/* 1: gone on with, 0: still waits for buffers, -EIO. */
static int deliver_stash(struct net *net)
{
	int r = take_buffers(net, net->stash_bytes);

	if (r < 0)
		return r;
	if (net->buffers.bytes >= net->stash_bytes) {
		copy_buffers(net, 0, net->stash, net->stash_bytes, true);
		deliver(net, net->stash_bytes);
	} else if (++net->stash_tries < STASH_TRIES_MAX) {
		return 0;
	} else {
		virtio_complain(&net->dev, "a frame of %zu bytes dropped: too few receive buffers",
				net->stash_bytes);
	}
	empty_stash(net);
	return 1;
}

/* A frame of len bytes that began in the buffers, room bytes, and goes on in the stash. */
static int frame_ran_over(struct net *net, size_t len, size_t room)
{
	int r;

	if (!virtio_has_feature(&net->dev, NET_F_MRG_RXBUF)) {
		virtio_complain(&net->dev, "a frame of %zu bytes dropped: receive buffer of %zu",
				len, room);
		return 1;
	}
	r = take_buffers(net, len);
	if (r < 0)
		return r;
	if (net->buffers.bytes >= len) {
		copy_buffers(net, room, net->stash + room, len - room, true);
		deliver(net, len);
		return 1;
	}
	copy_buffers(net, 0, net->stash, room, false);
	net->stash_bytes = len;
	net->stash_tries = 0;
	return 0;
}

/* One frame. 1: there may be more, 0: the driver has no buffers, -errno: none comes now. */
static int receive_frame(struct net *net)
{
	struct net_buffers *b = &net->buffers;
	size_t room;
	ssize_t len;
	int r = take_buffers(net, net->room_wanted), n;

	if (r < 0)
		return r;
	if (b->n_chains == 0)
		return 0;
	room = b->bytes < TAP_FRAME_MAX ? b->bytes : TAP_FRAME_MAX;
	n = (int)b->n_spans;
	if (room < TAP_FRAME_MAX)
		b->spans[n++] = (struct iovec){.iov_base = net->stash + room,
					       .iov_len = TAP_FRAME_MAX - room};
	len = tap_read(net->tap, b->spans, n);
	if (len < 0)
		return (int)len;
	net->room_wanted = len > ROOM_SMALL ? TAP_FRAME_MAX : ROOM_SMALL;
	if (len <= TAP_HEADER_BYTES) /* no tap does that */
		return 1;
	if ((size_t)len > room)
		return frame_ran_over(net, (size_t)len, room);
	deliver(net, (size_t)len);
	return 1;
}

static void receive_failed(struct net *net, int err)
{
	switch (-err) {
	case EAGAIN:
	case EIO: /* the driver was told */
		break;
	case ENODEV:
		net_lose_tap(net);
		break;
	case EFAULT:
		virtio_needs_reset(&net->dev, "receive buffer in memory that is not there");
		break;
	default:
		virtio_complain(&net->dev, "%s: read: %s", tap_name(net->tap), strerror(-err));
	}
}

/* Frames wait and buffers do not suffice: ask for a kick, unless more came meanwhile. */
static bool is_starved(struct net *net)
{
	uint16_t held = (uint16_t)net->buffers.n_chains;

	virtio_queue_want_kicks(&net->dev, NET_RECEIVE, true);
	if (virtio_queue_pending(&net->dev, NET_RECEIVE) == 0 || held == VIRTIO_QUEUE_SIZE)
		return true;
	virtio_queue_want_kicks(&net->dev, NET_RECEIVE, false);
	return false;
}

void net_receive(struct net *net)
{
	uint16_t before = net->dev.queues[NET_RECEIVE].next_used;
	size_t bytes = 0;
	int r = 1;

	net->starved = false;
	virtio_queue_want_kicks(&net->dev, NET_RECEIVE, false);
	for (unsigned int i = 0; i < TURN_FRAMES_MAX && bytes < TURN_BYTES_MAX && r > 0; i++) {
		r = net->stash_bytes ? deliver_stash(net) : receive_frame(net);
		if (r == 0 && !is_starved(net))
			r = 1;
		else if (r == 0)
			net->starved = true;
		bytes += net->room_wanted;
	}
	if (net->dev.active)
		return_buffers(net);
	else
		net_receive_reset(net); /* the ring is not to be trusted */
	if (r < 0)
		receive_failed(net, r);
	if (net->dev.active && net->dev.queues[NET_RECEIVE].next_used != before)
		virtio_queue_interrupt(&net->dev, NET_RECEIVE);
	/* The tap wakes us for the next frame, but nothing does for one in the stash. */
	if (net->dev.active && net->stash_bytes && !net->starved)
		virtio_queue_kick_later(&net->dev, NET_RECEIVE);
}

void net_receive_reset(struct net *net)
{
	net->buffers.n_chains = net->buffers.n_spans = 0;
	net->buffers.bytes = 0;
	net->starved = false;
	net->room_wanted = ROOM_SMALL;
	empty_stash(net);
}

void net_receive_discard(struct net *net)
{
	const struct iovec all = {.iov_base = net->stash, .iov_len = TAP_FRAME_MAX};

	empty_stash(net);
	for (unsigned int i = 0; i < DISCARD_MAX; i++)
		if (tap_read(net->tap, &all, 1) < 0)
			break;
}
