/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio-net (virtio 1.2 section 5.1): one pair of queues and a control queue, over a tap. Frames
 * are read into and written from guest memory without a copy, or moved by the host's vhost-net.
 */
#ifndef MEMD_VMM_NET_H
#define MEMD_VMM_NET_H

#include <stdbool.h>
#include <stdint.h>

#include "vmm/loop.h"
#include "vmm/ram.h"
#include "vmm/tap.h"
#include "vmm/vhost_net.h"
#include "vmm/virtio.h"

#define NET_MAC_BYTES 6

struct net_config {
	struct tap *tap;	 /* becomes the device's */
	struct vhost_net *vhost; /* becomes the device's; NULL: none */
	uint8_t mac[NET_MAC_BYTES];
};

/* NULL: no memory, or the tap cannot be watched; tap and vhost are freed in that case too. */
struct virtio_device *net_new(struct ram *ram, struct loop *loop, const struct net_config *config);

/*
 * A MAC that stays the same for the same guest and interface: from the UUID, or without one from
 * the guest's name and the interface's. Locally administered, unicast.
 */
void net_default_mac(const char *uuid, const char *name, unsigned int index, const char *interface,
		     uint8_t ret_mac[NET_MAC_BYTES]);

/* The cable as the guest sees it (STATUS). A pulled one carries nothing either way. */
void net_set_link(struct virtio_device *dev, bool up);
bool net_link(const struct virtio_device *dev);

/* Have the guest tell the network where it is now, after it was moved. */
void net_announce(struct virtio_device *dev);

#endif
