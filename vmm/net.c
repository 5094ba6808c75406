// SPDX-License-Identifier: Apache-2.0
/*
 * virtio-net as a device: features and config space, the link, and who moves the frames. One
 * function, net_settle, looks at the state and has either vhost serve the queues or the loop watch
 * the tap; whatever changes the state calls it.
 *
 * At run time this needs of a confined process: readv, writev and ioctl (TUNSETOFFLOAD, TUNGETIFF)
 * on the tap, what vhost_net.c says, epoll and timerfd_settime through the loop.
 */
#include "vmm/net.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include "common/clock.h"
#include "vmm/net_impl.h"

#define WATCH_US     (2 * USEC_PER_SEC)
#define DOWN_LOG_US  (60 * USEC_PER_SEC)
#define MTU_MIN	     68 /* 5.1.4.1 */
#define MTU_MAX	     65535
#define BIT(feature) (1ULL << (feature))

/* ---- features ---- */

/* Of ours and the guest's: offloads of the tap with their bits for each direction. */
static const struct {
	unsigned int offload;
	uint64_t guest, host;
} offload_table[] = {
	{TAP_CSUM, BIT(NET_F_GUEST_CSUM), BIT(NET_F_CSUM)},
	{TAP_TSO4, BIT(NET_F_GUEST_TSO4), BIT(NET_F_HOST_TSO4)},
	{TAP_TSO6, BIT(NET_F_GUEST_TSO6), BIT(NET_F_HOST_TSO6)},
	{TAP_ECN, BIT(NET_F_GUEST_ECN), BIT(NET_F_HOST_ECN)},
	{TAP_UFO, BIT(NET_F_GUEST_UFO), BIT(NET_F_HOST_UFO)},
	{TAP_USO4, BIT(NET_F_GUEST_USO4), BIT(NET_F_HOST_USO)},
	{TAP_USO6, BIT(NET_F_GUEST_USO6), BIT(NET_F_HOST_USO)},
};
#define N_OFFLOADS (sizeof(offload_table) / sizeof(offload_table[0]))

static uint64_t features_of(const struct net_config *config)
{
	uint64_t features = BIT(NET_F_MAC) | BIT(NET_F_STATUS) | BIT(NET_F_MRG_RXBUF) |
			    BIT(NET_F_CTRL_VQ) | BIT(NET_F_CTRL_RX) | BIT(NET_F_CTRL_MAC_ADDR) |
			    BIT(NET_F_GUEST_ANNOUNCE);
	unsigned int offloads = tap_offloads(config->tap);
	unsigned int mtu = tap_mtu(config->tap);

	for (size_t i = 0; i < N_OFFLOADS; i++)
		if (offloads & offload_table[i].offload)
			features |= offload_table[i].guest | offload_table[i].host;
	if (offloads)
		features |= BIT(NET_F_CTRL_GUEST_OFFLOADS);
	if (mtu >= MTU_MIN && mtu <= MTU_MAX)
		features |= BIT(NET_F_MTU);
	/* A vhost of old kernels would break up the frames of several buffers. */
	if (config->vhost && !(vhost_net_features(config->vhost) & BIT(NET_F_MRG_RXBUF)))
		features &= ~BIT(NET_F_MRG_RXBUF);
	return features;
}

static unsigned int guest_offloads(const struct net *net)
{
	unsigned int offloads = 0;

	for (size_t i = 0; i < N_OFFLOADS; i++)
		if (net->dev.features & offload_table[i].guest)
			offloads |= offload_table[i].offload;
	return offloads;
}

int net_set_offloads(struct net *net, unsigned int offloads)
{
	/* 5.1.3.1: the others need CSUM, and each its own kind; the tap refuses what is alone. */
	if (!(offloads & TAP_CSUM))
		offloads = 0;
	if (!(offloads & (TAP_TSO4 | TAP_TSO6)))
		offloads &= ~(unsigned int)TAP_ECN;
	return net->tap_gone ? 0 : tap_set_offloads(net->tap, offloads);
}

/* ---- who moves the frames ---- */

bool net_is_live(const struct net *net)
{
	return net->dev.active && !net->dev.paused && !net->tap_gone && !net->link_pulled;
}

static void enter_kernel(struct net *net)
{
	int r = vhost_net_start(net->vhost, &net->dev, tap_fd(net->tap));

	if (r) {
		net->vhost_failed = true;
		log_warn("virtio net: vhost-net refuses %s: %s; vmm moves its frames itself",
			 tap_name(net->tap), strerror(-r));
		return;
	}
	net->in_kernel = true;
	loop_timer_set(net->watch, WATCH_US, WATCH_US);
}

static void leave_kernel(struct net *net)
{
	net->in_kernel = false;
	loop_timer_set(net->watch, 0, 0);
	vhost_net_stop(net->vhost, &net->dev);
	virtio_queue_want_kicks(&net->dev, NET_TRANSMIT, true);
	if (net->dev.active && !net->dev.paused)
		virtio_queue_kick_later(&net->dev, NET_TRANSMIT);
}

void net_settle(struct net *net)
{
	const struct virtio_queue *queues = net->dev.queues;
	bool live = net_is_live(net);
	bool in_kernel = live && net->vhost && !net->vhost_failed && queues[NET_RECEIVE].ready &&
			 queues[NET_TRANSMIT].ready;
	uint32_t events = 0;

	if (in_kernel && !net->in_kernel)
		enter_kernel(net);
	else if (!in_kernel && net->in_kernel)
		leave_kernel(net);
	if (live && !net->in_kernel) {
		if (queues[NET_RECEIVE].ready && !net->starved)
			events |= EPOLLIN;
		if (net->blocked)
			events |= EPOLLOUT;
	}
	if (net->tap_source && events != net->tap_events)
		loop_modify(net->tap_source, events);
	net->tap_events = events;
}

static void update_link(struct net *net)
{
	uint16_t up = net->link_pulled || net->tap_gone ? 0 : NET_STATUS_LINK_UP;

	if ((net->config.status & NET_STATUS_LINK_UP) == up)
		return;
	net->config.status = (uint16_t)((net->config.status & ~NET_STATUS_LINK_UP) | up);
	virtio_config_changed(&net->dev);
}

void net_lose_tap(struct net *net)
{
	if (net->tap_gone)
		return;
	log_warn("virtio net: the tap %s is gone; the guest goes on without it",
		 tap_name(net->tap));
	net->tap_gone = true;
	loop_remove(net->tap_source);
	net->tap_source = NULL;
	net->stash_bytes = 0;
	update_link(net);
	if (net->dev.active) /* what is stuck is to be dropped */
		virtio_queue_kick_later(&net->dev, NET_TRANSMIT);
}

static void tap_ready(void *ctx, uint32_t events)
{
	struct net *net = ctx;

	if (events & (EPOLLERR | EPOLLHUP) && !tap_is_there(net->tap)) {
		net_lose_tap(net);
	} else if (net_is_live(net) && !net->in_kernel) {
		if (events & EPOLLOUT && net->blocked)
			net_transmit(net);
		if (events & EPOLLIN && !net->starved)
			net_receive(net);
	}
	net_settle(net);
}

/* The kernel's thread wants the driver of a queue interrupted. */
static void called(void *ctx, unsigned int queue)
{
	struct net *net = ctx;
	eventfd_t count;

	if (eventfd_read(vhost_net_call_fd(net->vhost, queue), &count) == 0 && net->dev.active)
		virtio_queue_interrupt(&net->dev, queue);
}

static void called_for_receive(void *ctx, uint32_t events)
{
	called(ctx, NET_RECEIVE);
}

static void called_for_transmit(void *ctx, uint32_t events)
{
	called(ctx, NET_TRANSMIT);
}

static void look_at_tap(void *ctx, uint32_t events)
{
	struct net *net = ctx;

	if (!net->tap_gone && !tap_is_there(net->tap))
		net_lose_tap(net);
	net_settle(net);
}

/* ---- the device ---- */

static void net_config_read(struct virtio_device *dev, uint32_t offset, void *data, uint32_t len)
{
	memcpy(data, (const uint8_t *)&net_of(dev)->config + offset, len);
}

static void net_activate(struct virtio_device *dev)
{
	struct net *net = net_of(dev);
	int r = net_set_offloads(net, guest_offloads(net));

	if (r)
		virtio_complain(dev, "%s: offloads: %s", tap_name(net->tap), strerror(-r));
	net_settle(net);
}

static void net_notify(struct virtio_device *dev, unsigned int queue)
{
	struct net *net = net_of(dev);

	if (queue == NET_CONTROL) {
		net_control(net);
	} else if (net->in_kernel) {
		/* By register: the eventfd itself is the kernel's. */
		virtio_queue_kick_later(dev, queue);
	} else if (queue == NET_TRANSMIT) {
		if (!net->blocked || !net_is_live(net))
			net_transmit(net);
	} else if ((net->starved || net->stash_bytes) && net_is_live(net)) {
		net_receive(net);
	}
	net_settle(net);
}

static void net_rest(struct virtio_device *dev)
{
	net_settle(net_of(dev));
}

static void net_reset(struct virtio_device *dev)
{
	struct net *net = net_of(dev);

	net_settle(net); /* not active any more: the kernel gives the queues back */
	net_receive_reset(net);
	net->blocked = false;
	net->vhost_failed = false;
	net->config.status &= (uint16_t)~NET_STATUS_ANNOUNCE;
	memcpy(net->config.mac, net->first_mac, sizeof(net->first_mac));
	(void)net_set_offloads(net, 0);
}

static void net_free(struct virtio_device *dev)
{
	struct net *net = net_of(dev);

	loop_remove(net->tap_source);
	loop_remove(net->watch);
	for (unsigned int i = 0; i < VHOST_NET_QUEUES; i++)
		loop_remove(net->call_sources[i]);
	/* Before the tap: the kernel's thread uses it. The queues end with the guest. */
	vhost_net_free(net->vhost);
	tap_free(net->tap);
	free(net->stash);
	free(net);
}

static const struct virtio_ops net_ops = {
	.name = "net",
	.id = VIRTIO_ID_NET,
	.n_queues = NET_QUEUES,
	.queue_size = VIRTIO_QUEUE_SIZE,
	.config_len = sizeof(struct net_config_space),
	.config_read = net_config_read,
	.activate = net_activate,
	.notify = net_notify,
	.reset = net_reset,
	.pause = net_rest,
	.resume = net_rest,
	.free = net_free,
};

static bool watch_vhost(struct net *net)
{
	net->watch = loop_timer(net->loop, look_at_tap, net);
	net->call_sources[NET_RECEIVE] =
		loop_add(net->loop, vhost_net_call_fd(net->vhost, NET_RECEIVE), EPOLLIN,
			 called_for_receive, net);
	net->call_sources[NET_TRANSMIT] =
		loop_add(net->loop, vhost_net_call_fd(net->vhost, NET_TRANSMIT), EPOLLIN,
			 called_for_transmit, net);
	return net->watch && net->call_sources[NET_RECEIVE] && net->call_sources[NET_TRANSMIT];
}

struct virtio_device *net_new(struct ram *ram, struct loop *loop, const struct net_config *config)
{
	struct net *net = calloc(1, sizeof(*net));

	if (!net) {
		vhost_net_free(config->vhost);
		tap_free(config->tap);
		return NULL;
	}
	virtio_device_init(&net->dev, &net_ops, ram, features_of(config));
	net->loop = loop;
	net->tap = config->tap;
	net->vhost = config->vhost;
	memcpy(net->first_mac, config->mac, sizeof(net->first_mac));
	memcpy(net->config.mac, config->mac, sizeof(config->mac));
	net->config.status = NET_STATUS_LINK_UP;
	net->config.max_queue_pairs = 1;
	net->config.mtu = (uint16_t)tap_mtu(net->tap);
	net->down_log = (struct log_limit){.window_us = DOWN_LOG_US, .burst = 1};
	net_receive_reset(net);
	net->stash = malloc(TAP_FRAME_MAX);
	net->tap_source = loop_add(loop, tap_fd(net->tap), 0, tap_ready, net);
	if (!net->stash || !net->tap_source || (net->vhost && !watch_vhost(net))) {
		net_free(&net->dev);
		return NULL;
	}
	return &net->dev;
}

/* ---- what the host asks ---- */

void net_set_link(struct virtio_device *dev, bool up)
{
	struct net *net = net_of(dev);

	if (net->link_pulled == !up)
		return;
	net->link_pulled = !up;
	/* What came while the cable was out is lost, as on any wire. */
	if (up && !net->tap_gone)
		net_receive_discard(net);
	update_link(net);
	net_settle(net);
}

bool net_link(const struct virtio_device *dev)
{
	return ((const struct net *)(const void *)dev)->config.status & NET_STATUS_LINK_UP;
}

void net_announce(struct virtio_device *dev)
{
	struct net *net = net_of(dev);

	if (!virtio_has_feature(dev, NET_F_GUEST_ANNOUNCE))
		return;
	net->config.status |= NET_STATUS_ANNOUNCE;
	virtio_config_changed(dev);
}

void net_default_mac(const char *uuid, const char *name, unsigned int index, const char *interface,
		     uint8_t ret_mac[NET_MAC_BYTES])
{
	const char *parts[] = {*uuid ? uuid : name, *uuid ? "" : interface};
	uint64_t hash = 0xcbf29ce484222325ULL; /* FNV-1a, then mixed so that each bit counts */

	for (unsigned int i = 0; i < 2; i++) {
		for (const char *p = parts[i]; *p; p++)
			hash = (hash ^ (uint8_t)*p) * 0x100000001b3ULL;
		hash = (hash ^ (uint8_t)index) * 0x100000001b3ULL;
	}
	hash = (hash ^ hash >> 33) * 0xff51afd7ed558ccdULL;
	hash ^= hash >> 33;
	memcpy(ret_mac, &hash, NET_MAC_BYTES);
	ret_mac[0] = (uint8_t)((ret_mac[0] & 0xfc) | 0x02);
}
