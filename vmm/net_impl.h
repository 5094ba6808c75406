/* SPDX-License-Identifier: Apache-2.0 */
/* Inside of the net*.c files only: the device's state, and feature bits (virtio 1.2 5.1.3). */
#ifndef MEMD_VMM_NET_IMPL_H
#define MEMD_VMM_NET_IMPL_H

#include "vmm/net.h"

enum { NET_RECEIVE, NET_TRANSMIT, NET_CONTROL, NET_QUEUES };

#define NET_F_CSUM		  0
#define NET_F_GUEST_CSUM	  1
#define NET_F_CTRL_GUEST_OFFLOADS 2
#define NET_F_MTU		  3
#define NET_F_MAC		  5
#define NET_F_GUEST_TSO4	  7
#define NET_F_GUEST_TSO6	  8
#define NET_F_GUEST_ECN		  9
#define NET_F_GUEST_UFO		  10
#define NET_F_HOST_TSO4		  11
#define NET_F_HOST_TSO6		  12
#define NET_F_HOST_ECN		  13
#define NET_F_HOST_UFO		  14
#define NET_F_MRG_RXBUF		  15
#define NET_F_STATUS		  16
#define NET_F_CTRL_VQ		  17
#define NET_F_CTRL_RX		  18
#define NET_F_GUEST_ANNOUNCE	  21
#define NET_F_CTRL_MAC_ADDR	  23
#define NET_F_GUEST_USO4	  54
#define NET_F_GUEST_USO6	  55
#define NET_F_HOST_USO		  56

#define NET_STATUS_LINK_UP  1
#define NET_STATUS_ANNOUNCE 2

/* struct virtio_net_hdr (5.1.6), little endian. */
struct net_header {
	uint8_t flags, gso_type;
	uint16_t hdr_len, gso_size, csum_start, csum_offset, num_buffers;
};
_Static_assert(sizeof(struct net_header) == TAP_HEADER_BYTES, "virtio 1.2 5.1.6");

#define NET_HDR_NEEDS_CSUM 1
#define NET_GSO_NONE	   0
#define NET_GSO_TCPV4	   1
#define NET_GSO_UDP	   3
#define NET_GSO_TCPV6	   4
#define NET_GSO_UDP_L4	   5
#define NET_GSO_ECN	   0x80

/* struct virtio_net_config (5.1.4), as far as we have it. */
struct net_config_space {
	uint8_t mac[NET_MAC_BYTES];
	uint16_t status, max_queue_pairs, mtu;
};
_Static_assert(sizeof(struct net_config_space) == 12, "virtio 1.2 5.1.4");

#define NET_SPANS_MAX 1000 /* one readv takes 1024 */

/* Receive buffers taken from the queue and not used yet, in the driver's order. */
struct net_buffers {
	struct {
		uint16_t head;
		unsigned int n_spans;
		uint64_t bytes;
	} chains[VIRTIO_QUEUE_SIZE];
	struct iovec spans[NET_SPANS_MAX + 1]; /* one more: the stash */
	unsigned int n_chains, n_spans;
	uint64_t bytes;
};

struct net {
	struct virtio_device dev;
	struct loop *loop;
	struct tap *tap;
	struct vhost_net *vhost;
	uint8_t first_mac[NET_MAC_BYTES]; /* a reset brings it back */
	struct net_config_space config;
	bool link_pulled; /* by the host */
	bool tap_gone;

	struct loop_source *tap_source; /* NULL once it is gone */
	uint32_t tap_events;		/* watched for */
	struct loop_source *call_sources[VHOST_NET_QUEUES];
	struct loop_source *watch; /* timer: a tap that vhost serves does not tell us its end */
	bool in_kernel;		   /* vhost serves the queues */
	bool vhost_failed;	   /* tried and refused: not again until the next reset */

	struct virtio_chain chain; /* the one in hand */

	bool starved;		    /* frames wait for receive buffers */
	struct net_buffers buffers; /* empty between two calls of net_receive */
	size_t room_wanted;	    /* bytes of buffers to have at hand for the next frame */
	size_t stash_bytes;	    /* a frame that waits for buffers in stash; 0: none */
	unsigned int stash_tries;
	uint8_t *stash; /* TAP_FRAME_MAX */

	bool blocked; /* a frame waits until the tap takes it */
	struct log_limit down_log;
};

static inline struct net *net_of(struct virtio_device *dev)
{
	return (struct net *)(void *)dev;
}

/* net.c. May frames move now, by whatever hand? */
bool net_is_live(const struct net *net);
/* Have the tap watched, and the queues served by vhost or by us, as the state asks for. */
void net_settle(struct net *net);
/* The interface was deleted. */
void net_lose_tap(struct net *net);
/* Pass on to the tap what the guest takes unfinished (TAP_...). */
int net_set_offloads(struct net *net, unsigned int offloads);

/* net_receive.c: frames from the tap to the guest, a bounded number. */
void net_receive(struct net *net);
void net_receive_reset(struct net *net);
/* Throw away what the tap has. */
void net_receive_discard(struct net *net);

/* net_transmit.c: frames from the guest to the tap, a bounded number. */
void net_transmit(struct net *net);

/* net_control.c: the control queue. */
void net_control(struct net *net);

#endif
