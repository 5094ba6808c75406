// SPDX-License-Identifier: Apache-2.0
/*
 * vhost-net: see vhost_net.h. /dev/vhost-net is opened at start; what remains at run time, and has
 * to be allowed to a confined process, is ioctl on that fd (VHOST_SET_FEATURES .. VHOST_NET_SET_-
 * BACKEND, VHOST_GET_VRING_BASE) and reading the call eventfds.
 */
#include "vmm/vhost_net.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/vhost.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/log.h"

#define VHOST_PATH "/dev/vhost-net"

struct vhost_net {
	int fd;
	int call_fds[VHOST_NET_QUEUES];
	uint64_t features;
};

static int vhost_ioctl(const struct vhost_net *vhost, unsigned long request, void *arg)
{
	return ioctl(vhost->fd, request, arg) < 0 ? -errno : 0;
}

int vhost_net_open(struct vhost_net **ret_vhost)
{
	struct vhost_net *vhost = calloc(1, sizeof(*vhost));
	int r = 0;

	if (!vhost)
		return -ENOMEM;
	for (unsigned int i = 0; i < VHOST_NET_QUEUES; i++) {
		vhost->call_fds[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (vhost->call_fds[i] < 0)
			r = -errno;
	}
	vhost->fd = open(VHOST_PATH, O_RDWR | O_CLOEXEC);
	if (vhost->fd < 0)
		r = -errno;
	if (!r)
		r = vhost_ioctl(vhost, VHOST_SET_OWNER, NULL);
	if (!r)
		r = vhost_ioctl(vhost, VHOST_GET_FEATURES, &vhost->features);
	if (r) {
		vhost_net_free(vhost);
		return r;
	}
	*ret_vhost = vhost;
	return 0;
}

void vhost_net_free(struct vhost_net *vhost)
{
	if (!vhost)
		return;
	/* The kernel stops serving when the last reference goes: this one. */
	cleanup_fd(&vhost->fd);
	for (unsigned int i = 0; i < VHOST_NET_QUEUES; i++)
		cleanup_fd(&vhost->call_fds[i]);
	free(vhost);
}

uint64_t vhost_net_features(const struct vhost_net *vhost)
{
	return vhost->features;
}

int vhost_net_call_fd(const struct vhost_net *vhost, unsigned int queue)
{
	return vhost->call_fds[queue];
}

/*
 * Where guest memory is: all of it, as the rings may name any of it. Of pluggable memory the whole
 * region: what is unplugged is mapped without access, so the kernel gets EFAULT there.
 */
static int set_memory(struct vhost_net *vhost, const struct ram *ram)
{
	size_t n_ram = ram_region_count(ram), n = n_ram + ram_plug_count(ram);
	struct vhost_memory *memory = calloc(1, sizeof(*memory) + n * sizeof(memory->regions[0]));
	int r;

	if (!memory)
		return -ENOMEM;
	memory->nregions = (uint32_t)n;
	for (size_t i = 0; i < n; i++) {
		const struct ram_region *region =
			i < n_ram ? ram_region(ram, i) : ram_plug_region(ram, i - n_ram);

		memory->regions[i] = (struct vhost_memory_region){
			.guest_phys_addr = region->gpa,
			.memory_size = region->size_bytes,
			.userspace_addr = (uint64_t)(uintptr_t)region->hva,
		};
	}
	r = vhost_ioctl(vhost, VHOST_SET_MEM_TABLE, memory);
	free(memory);
	return r;
}

static int set_queue(struct vhost_net *vhost, struct virtio_device *dev, unsigned int index)
{
	const struct virtio_queue *q = &dev->queues[index];
	struct vhost_vring_state size = {index, q->size}, base = {index, q->next_avail};
	struct vhost_vring_addr addr = {
		.index = index,
		.desc_user_addr = (uint64_t)(uintptr_t)q->desc,
		.avail_user_addr = (uint64_t)(uintptr_t)q->avail,
		.used_user_addr = (uint64_t)(uintptr_t)q->used,
	};
	struct vhost_vring_file call = {index, vhost->call_fds[index]};
	struct vhost_vring_file kick = {index, virtio_queue_lend_kicks(dev, index)};
	int r = kick.fd < 0 ? kick.fd : 0;

	if (!r)
		r = vhost_ioctl(vhost, VHOST_SET_VRING_NUM, &size);
	if (!r)
		r = vhost_ioctl(vhost, VHOST_SET_VRING_BASE, &base);
	if (!r)
		r = vhost_ioctl(vhost, VHOST_SET_VRING_ADDR, &addr);
	if (!r)
		r = vhost_ioctl(vhost, VHOST_SET_VRING_CALL, &call);
	if (!r)
		r = vhost_ioctl(vhost, VHOST_SET_VRING_KICK, &kick);
	return r;
}

static int set_backend(struct vhost_net *vhost, unsigned int queue, int tap_fd)
{
	struct vhost_vring_file backend = {queue, tap_fd};

	return vhost_ioctl(vhost, VHOST_NET_SET_BACKEND, &backend);
}

int vhost_net_start(struct vhost_net *vhost, struct virtio_device *dev, int tap_fd)
{
	uint64_t features = dev->features & vhost->features;
	int r = vhost_ioctl(vhost, VHOST_SET_FEATURES, &features);

	if (!r)
		r = set_memory(vhost, dev->ram);
	for (unsigned int i = 0; i < VHOST_NET_QUEUES && !r; i++)
		r = set_queue(vhost, dev, i);
	for (unsigned int i = 0; i < VHOST_NET_QUEUES && !r; i++)
		r = set_backend(vhost, i, tap_fd);
	if (!r)
		return 0;
	for (unsigned int i = 0; i < VHOST_NET_QUEUES; i++) {
		(void)set_backend(vhost, i, -1);
		virtio_queue_return_kicks(dev, i);
	}
	return r;
}

void vhost_net_stop(struct vhost_net *vhost, struct virtio_device *dev)
{
	for (unsigned int i = 0; i < VHOST_NET_QUEUES; i++) {
		struct vhost_vring_state base = {.index = i};
		struct vhost_vring_file kick = {i, -1};
		int r = set_backend(vhost, i, -1);

		if (!r)
			r = vhost_ioctl(vhost, VHOST_GET_VRING_BASE, &base);
		if (!r)
			virtio_queue_go_on(dev, i, (uint16_t)base.num);
		else
			log_err("vhost-net: cannot stop queue %u: %s", i, strerror(-r));
		(void)vhost_ioctl(vhost, VHOST_SET_VRING_KICK, &kick);
		virtio_queue_return_kicks(dev, i);
	}
}
