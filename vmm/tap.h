/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A tap interface of the host: an fd on which each read or write is one Ethernet frame behind a
 * virtio_net_hdr of TAP_HEADER_BYTES (virtio 1.2 5.1.6; the kernel's drivers/net/tun.c). With
 * offloads agreed, a frame may be larger than the MTU or still lack its checksum; the header says.
 */
#ifndef MEMD_VMM_TAP_H
#define MEMD_VMM_TAP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#define TAP_HEADER_BYTES 12 /* struct virtio_net_hdr_mrg_rxbuf */
/* The largest frame: a 64 KiB IP packet in an Ethernet header with one VLAN tag, and ours. */
#define TAP_FRAME_MAX (TAP_HEADER_BYTES + 18 + 65536)

/* What the reader of a tap can take unfinished: TUN_F_* of linux/if_tun.h, all since 6.2. */
#define TAP_CSUM 0x01
#define TAP_TSO4 0x02
#define TAP_TSO6 0x04
#define TAP_ECN	 0x08
#define TAP_UFO	 0x10
#define TAP_USO4 0x20
#define TAP_USO6 0x40

struct tap;

/*
 * Attach to a tap interface; one that does not exist is created for as long as the process lives,
 * if the caller may. Logs what is wrong and the fix: -ENOENT (no /dev/net/tun), -EPERM (not
 * allowed), -EBUSY (another process has it), -EINVAL (exists and is no tap), other -errno.
 */
int tap_open(const char *name, struct tap **ret_tap);

/*
 * A tap that somebody else has opened, with IFF_TAP, IFF_NO_PI and IFF_VNET_HDR; the fd becomes
 * ours. Logs what is wrong: -EBADF, -EINVAL (not such a tap).
 */
int tap_from_fd(int fd, struct tap **ret_tap);

/* Any datagram socket in the place of a tap, for tests of devices; the fd becomes ours. */
int tap_from_socket(int fd, struct tap **ret_tap);

void tap_free(struct tap *tap); /* NULL is fine */

int tap_fd(const struct tap *tap);
const char *tap_name(const struct tap *tap);
unsigned int tap_offloads(const struct tap *tap); /* TAP_... that this kernel knows */
unsigned int tap_mtu(const struct tap *tap);	  /* bytes; 0: not known */

/* What the guest takes unfinished from now on: TAP_... out of tap_offloads. 0 or -errno. */
int tap_set_offloads(struct tap *tap, unsigned int offloads);

/*
 * One frame with its header. Bytes, or -EAGAIN: nothing there (read), no room (write); -ENODEV: the
 * interface is gone for good; -ENETDOWN: it is down (write); -EINVAL: a header that makes no sense
 * (write); other -errno. A read longer than the vectors returns what fitted.
 */
ssize_t tap_read(struct tap *tap, const struct iovec *iov, int n);
ssize_t tap_write(struct tap *tap, const struct iovec *iov, int n);

/* Is the interface still there? Costs a system call. */
bool tap_is_there(const struct tap *tap);

#endif
