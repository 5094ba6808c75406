/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host kernel's own virtio-net data path (drivers/vhost/net.c): a kernel thread moves frames
 * between a tap and the two queues, without this process. Interrupts come back as eventfds, since
 * the register window has to say why there is one. All calls are ioctls on one fd.
 */
#ifndef MEMD_VMM_VHOST_NET_H
#define MEMD_VMM_VHOST_NET_H

#include <stdint.h>

#include "vmm/virtio.h"

#define VHOST_NET_QUEUES 2 /* receive, transmit: their numbers in the device too */

struct vhost_net;

/* -ENOENT: the host has none (modprobe vhost_net), -EACCES: not allowed, other -errno. */
int vhost_net_open(struct vhost_net **ret_vhost);
void vhost_net_free(struct vhost_net *vhost); /* stops; NULL is fine */

/* Feature bits of a device that it can serve; those it does not know are none of its business. */
uint64_t vhost_net_features(const struct vhost_net *vhost);
/* Readable when the driver of this queue is to be interrupted. */
int vhost_net_call_fd(const struct vhost_net *vhost, unsigned int queue);

/*
 * Serve both queues of dev, which are ready, from where they stand, between guest memory and
 * tap_fd. -errno: nothing is served, the queues are as they were.
 */
int vhost_net_start(struct vhost_net *vhost, struct virtio_device *dev, int tap_fd);
/* Give both queues back to dev, which goes on where the kernel stopped. */
void vhost_net_stop(struct vhost_net *vhost, struct virtio_device *dev);

#endif
