// SPDX-License-Identifier: Apache-2.0
/*
 * virtio-net, from the guest to the tap. The header is copied, checked against what was negotiated,
 * and written in front of the guest's own spans. A frame that makes no sense is dropped; one that
 * the tap has no room for waits and holds up those behind it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/net_impl.h"

#define TURN_FRAMES_MAX 128
#define TURN_BYTES_MAX	(512 * 1024)

/* ---- what the driver may ask for ---- */

/* The feature that lets a driver send this kind of large frame; -1: there is no such kind. */
static int gso_feature(uint8_t gso_type)
{
	switch (gso_type & ~NET_GSO_ECN) {
	case NET_GSO_TCPV4:
		return NET_F_HOST_TSO4;
	case NET_GSO_TCPV6:
		return NET_F_HOST_TSO6;
	case NET_GSO_UDP:
		return NET_F_HOST_UFO;
	case NET_GSO_UDP_L4:
		return NET_F_HOST_USO;
	default:
		return -1;
	}
}

/* NULL, or what is wrong with the header of a frame of len bytes (5.1.6.2.1). */
static const char *header_fault(const struct virtio_device *dev, const struct net_header *h,
				uint64_t len)
{
	int feature = gso_feature(h->gso_type);

	if (h->flags & NET_HDR_NEEDS_CSUM) {
		if (!virtio_has_feature(dev, NET_F_CSUM))
			return "wants a checksum without CSUM";
		if ((uint64_t)h->csum_start + h->csum_offset + 2 > len)
			return "wants a checksum outside of it";
	}
	if (h->gso_type == NET_GSO_NONE)
		return NULL;
	if (feature < 0 || !virtio_has_feature(dev, (unsigned int)feature))
		return "of a segmentation that was not negotiated";
	if (h->gso_type & NET_GSO_ECN && !virtio_has_feature(dev, NET_F_HOST_ECN))
		return "with ECN that was not negotiated";
	if (h->gso_size == 0 || !(h->flags & NET_HDR_NEEDS_CSUM))
		return "to be segmented, without a segment size or a checksum";
	return NULL;
}

/* ---- frames ---- */

/* The spans behind the first skip bytes as vectors. Returns how many. */
static int make_vectors(const struct virtio_chain *chain, uint64_t skip, struct iovec *iov)
{
	int n = 0;

	for (unsigned int i = 0; i < chain->n_out; i++) {
		uint64_t len = chain->out[i].len;

		if (skip >= len) {
			skip -= len;
			continue;
		}
		iov[n++] = (struct iovec){
			.iov_base = (uint8_t *)chain->out[i].base + skip,
			.iov_len = len - skip,
		};
		skip = 0;
	}
	return n;
}

static void write_failed(struct net *net, int err)
{
	switch (-err) {
	case ENODEV:
		net_lose_tap(net);
		break;
	case ENETDOWN:
		/* Not the guest's doing. */
		if (log_limit_pass(&net->down_log, NULL))
			log_warn("virtio net: %s is down, frames are lost: ip link set %s up",
				 tap_name(net->tap), tap_name(net->tap));
		break;
	case ENOBUFS:
	case ENOMEM:
		break; /* as on any wire */
	default:
		virtio_complain(&net->dev, "the tap refused a frame: %s", strerror(-err));
	}
}

/* Send the frame in hand, or drop it. Its bytes, or -EAGAIN: the tap is full. */
static int64_t transmit_frame(struct net *net)
{
	const struct virtio_chain *chain = &net->chain;
	uint64_t len = virtio_spans_len(chain->out, chain->n_out);
	struct iovec iov[VIRTIO_QUEUE_SIZE + 1];
	struct net_header header;
	const char *fault;
	ssize_t r;

	if (len <= sizeof(header) || len > TAP_FRAME_MAX) {
		virtio_complain(&net->dev, "frame of %llu bytes with its header dropped",
				(unsigned long long)len);
		return 0;
	}
	virtio_spans_read(chain->out, chain->n_out, 0, &header, sizeof(header));
	header.flags &= NET_HDR_NEEDS_CSUM;
	header.num_buffers = 0;
	fault = header_fault(&net->dev, &header, len - sizeof(header));
	if (fault) {
		virtio_complain(&net->dev, "frame dropped: %s", fault);
		return 0;
	}
	if (!net_is_live(net))
		return 0; /* the cable is out */
	iov[0] = (struct iovec){.iov_base = &header, .iov_len = sizeof(header)};
	r = tap_write(net->tap, iov, 1 + make_vectors(chain, sizeof(header), iov + 1));
	if (r == -EAGAIN)
		return r;
	if (r < 0)
		write_failed(net, (int)r);
	return (int64_t)len;
}

/* Send what is there, at most one turn of it. False: the turn is over, or the tap is full. */
static bool transmit_turn(struct net *net)
{
	int64_t bytes = 0;

	for (unsigned int i = 0; i < TURN_FRAMES_MAX && bytes < TURN_BYTES_MAX; i++) {
		int64_t r;

		if (virtio_queue_pop(&net->dev, NET_TRANSMIT, &net->chain) <= 0)
			return true;
		r = transmit_frame(net);
		if (r == -EAGAIN) {
			virtio_queue_unpop(&net->dev, NET_TRANSMIT);
			net->blocked = true;
			return false;
		}
		virtio_queue_push(&net->dev, NET_TRANSMIT, net->chain.head, 0);
		bytes += r;
	}
	return false;
}

void net_transmit(struct net *net)
{
	uint16_t before = net->dev.queues[NET_TRANSMIT].next_used;
	bool done;

	net->blocked = false;
	/* While we look at the queue anyway, kicks only cost the guest time. */
	virtio_queue_want_kicks(&net->dev, NET_TRANSMIT, false);
	done = transmit_turn(net);
	if (!net->dev.active)
		return;
	if (net->dev.queues[NET_TRANSMIT].next_used != before)
		virtio_queue_interrupt(&net->dev, NET_TRANSMIT);
	if (done) {
		virtio_queue_want_kicks(&net->dev, NET_TRANSMIT, true);
		done = virtio_queue_pending(&net->dev, NET_TRANSMIT) == 0;
	}
	if (!done && !net->blocked)
		virtio_queue_kick_later(&net->dev, NET_TRANSMIT);
}
