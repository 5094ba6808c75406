// SPDX-License-Identifier: Apache-2.0
/*
 * virtio-net's control queue (virtio 1.2 5.1.6.5). The receive modes and address tables are
 * checked and taken; they filter nothing, which the specification leaves to the device: a tap's
 * bridge already sends a guest little that is not for it.
 */
#include <errno.h>
#include <string.h>

#include "vmm/net_impl.h"

#define TURN_REQUESTS_MAX 16

#define ACK_OK	0
#define ACK_ERR 1

/* Classes and their commands. */
#define CTRL_RX			0 /* six modes, one byte each */
#define CTRL_RX_MODES		6
#define CTRL_MAC		1
#define CTRL_MAC_TABLE_SET	0
#define CTRL_MAC_ADDR_SET	1
#define CTRL_ANNOUNCE		3
#define CTRL_ANNOUNCE_ACK	0
#define CTRL_GUEST_OFFLOADS	5
#define CTRL_GUEST_OFFLOADS_SET 0

struct request {
	const struct virtio_chain *chain;
	uint8_t class, command;
	uint64_t len; /* of what follows the two */
};

static bool request_read(const struct request *rq, uint64_t offset, void *dst, size_t len)
{
	return virtio_spans_read(rq->chain->out, rq->chain->n_out, 2 + offset, dst, len) == len;
}

static bool set_mode(struct net *net, const struct request *rq)
{
	uint8_t on;

	return virtio_has_feature(&net->dev, NET_F_CTRL_RX) && rq->command < CTRL_RX_MODES &&
	       rq->len == 1 && request_read(rq, 0, &on, 1) && on <= 1;
}

/* Two tables, each a number of addresses and then these. */
static bool set_tables(const struct request *rq)
{
	uint64_t at = 0;

	for (unsigned int table = 0; table < 2; table++) {
		uint32_t n;

		if (!request_read(rq, at, &n, sizeof(n)))
			return false;
		at += sizeof(n) + (uint64_t)n * NET_MAC_BYTES;
	}
	return at == rq->len;
}

static bool set_address(struct net *net, const struct request *rq)
{
	uint8_t mac[NET_MAC_BYTES];

	if (!virtio_has_feature(&net->dev, NET_F_CTRL_MAC_ADDR) || rq->len != sizeof(mac) ||
	    !request_read(rq, 0, mac, sizeof(mac)))
		return false;
	memcpy(net->config.mac, mac, sizeof(mac));
	return true;
}

static bool set_offloads(struct net *net, const struct request *rq)
{
	static const struct {
		unsigned int feature, offload;
	} map[] = {
		{NET_F_GUEST_CSUM, TAP_CSUM}, {NET_F_GUEST_TSO4, TAP_TSO4},
		{NET_F_GUEST_TSO6, TAP_TSO6}, {NET_F_GUEST_ECN, TAP_ECN},
		{NET_F_GUEST_UFO, TAP_UFO},   {NET_F_GUEST_USO4, TAP_USO4},
		{NET_F_GUEST_USO6, TAP_USO6},
	};
	unsigned int offloads = 0;
	uint64_t wanted;

	if (!virtio_has_feature(&net->dev, NET_F_CTRL_GUEST_OFFLOADS) ||
	    rq->command != CTRL_GUEST_OFFLOADS_SET || rq->len != sizeof(wanted) ||
	    !request_read(rq, 0, &wanted, sizeof(wanted)))
		return false;
	for (size_t i = 0; i < sizeof(map) / sizeof(map[0]); i++) {
		uint64_t bit = 1ULL << map[i].feature;

		/* 5.1.6.5.6.2: only what was negotiated can be turned on. */
		if (wanted & bit & net->dev.features)
			offloads |= map[i].offload;
		wanted &= ~(bit & net->dev.features);
	}
	return wanted == 0 && net_set_offloads(net, offloads) == 0;
}

static bool acknowledge_announce(struct net *net)
{
	if (!virtio_has_feature(&net->dev, NET_F_GUEST_ANNOUNCE))
		return false;
	net->config.status &= (uint16_t)~NET_STATUS_ANNOUNCE;
	return true;
}

static bool serve(struct net *net, const struct request *rq)
{
	switch (rq->class) {
	case CTRL_RX:
		return set_mode(net, rq);
	case CTRL_MAC:
		if (rq->command == CTRL_MAC_TABLE_SET)
			return virtio_has_feature(&net->dev, NET_F_CTRL_RX) && set_tables(rq);
		return rq->command == CTRL_MAC_ADDR_SET && set_address(net, rq);
	case CTRL_ANNOUNCE:
		return rq->command == CTRL_ANNOUNCE_ACK && acknowledge_announce(net);
	case CTRL_GUEST_OFFLOADS:
		return set_offloads(net, rq);
	default:
		return false;
	}
}

/* Answer the request in hand. Returns the bytes written. */
static uint32_t answer(struct net *net)
{
	const struct virtio_chain *chain = &net->chain;
	struct request rq = {.chain = chain};
	uint8_t head[2];

	if (chain->n_in == 0) {
		virtio_complain(&net->dev, "control request without room for the answer");
		return 0;
	}
	*(uint8_t *)chain->in[0].base = ACK_ERR;
	if (virtio_spans_read(chain->out, chain->n_out, 0, head, sizeof(head)) < sizeof(head))
		return 1;
	rq.class = head[0];
	rq.command = head[1];
	rq.len = virtio_spans_len(chain->out, chain->n_out) - sizeof(head);
	if (serve(net, &rq))
		*(uint8_t *)chain->in[0].base = ACK_OK;
	return 1;
}

void net_control(struct net *net)
{
	unsigned int n;

	for (n = 0; n < TURN_REQUESTS_MAX; n++) {
		if (virtio_queue_pop(&net->dev, NET_CONTROL, &net->chain) <= 0)
			break;
		virtio_queue_push(&net->dev, NET_CONTROL, net->chain.head, answer(net));
	}
	if (n && net->dev.active)
		virtio_queue_interrupt(&net->dev, NET_CONTROL);
	if (net->dev.active && virtio_queue_pending(&net->dev, NET_CONTROL))
		virtio_queue_kick_later(&net->dev, NET_CONTROL);
}
