// SPDX-License-Identifier: Apache-2.0
/*
 * Tap interfaces: see tap.h. Everything that needs a right (opening /dev/net/tun, attaching) is
 * done at start; later there are only readv, writev and the ioctls TUNSETOFFLOAD and TUNGETIFF on
 * the fd, which a confined process must keep.
 */
#include "vmm/tap.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/log.h"

#define TUN_PATH "/dev/net/tun"

_Static_assert(TAP_CSUM == TUN_F_CSUM && TAP_TSO4 == TUN_F_TSO4 && TAP_TSO6 == TUN_F_TSO6 &&
		       TAP_ECN == TUN_F_TSO_ECN && TAP_UFO == TUN_F_UFO,
	       "linux/if_tun.h");

struct tap {
	int fd;
	char name[IFNAMSIZ];
	bool is_socket;
	unsigned int offloads, mtu;
};

static int ioctl_errno(int fd, unsigned long request, void *arg)
{
	return ioctl(fd, request, arg) < 0 ? -errno : 0;
}

/* What this kernel can leave to the guest: each step is taken if the one before was. */
static unsigned int probe_offloads(int fd)
{
	static const unsigned int steps[] = {
		TAP_CSUM,
		TAP_TSO4 | TAP_TSO6 | TAP_ECN,
		TAP_UFO,
		TAP_USO4 | TAP_USO6,
	};
	unsigned int good = 0;

	for (size_t i = 0; i < ARRAY_SIZE(steps); i++)
		if (ioctl(fd, TUNSETOFFLOAD, (unsigned long)(good | steps[i])) == 0)
			good |= steps[i];
	(void)ioctl(fd, TUNSETOFFLOAD, 0UL);
	return good;
}

static unsigned int interface_mtu(const char *name)
{
	AUTO_FD int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq ifr = {0};

	strncpy(ifr.ifr_name, name, IFNAMSIZ - 1);
	return fd >= 0 && ioctl(fd, SIOCGIFMTU, &ifr) == 0 ? (unsigned int)ifr.ifr_mtu : 0;
}

/* Our own header, no blocking, no heir. */
static int prepare(int fd, const char *name)
{
	int header_bytes = TAP_HEADER_BYTES, r;

	r = ioctl_errno(fd, TUNSETVNETHDRSZ, &header_bytes);
	if (!r && fcntl(fd, F_SETFL, O_RDWR | O_NONBLOCK) < 0)
		r = -errno;
	if (!r && fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
		r = -errno;
	if (r)
		log_err("--net: cannot set up the tap %s: %s", name, strerror(-r));
	return r;
}

/* The part that is the same for a tap by name and by fd. Takes the fd over when it succeeds. */
static int finish(int fd, const char *name, struct tap **ret_tap)
{
	int r = prepare(fd, name);
	struct tap *tap;

	if (r)
		return r;
	tap = calloc(1, sizeof(*tap));
	if (!tap)
		return -ENOMEM;
	tap->fd = fd;
	memcpy(tap->name, name, strnlen(name, IFNAMSIZ - 1));
	tap->offloads = probe_offloads(fd);
	tap->mtu = interface_mtu(name);
	*ret_tap = tap;
	return 0;
}

/* ---- by name ---- */

static int open_failed(int err, const char *name)
{
	switch (-err) {
	case ENOENT:
	case ENODEV:
	case ENXIO:
		log_err("--net tap=%s: this host has no " TUN_PATH ": modprobe tun", name);
		break;
	case EACCES:
	case EPERM:
		log_err("--net tap=%s: " TUN_PATH " may not be opened: be root, or chmod 666 it, "
			"which gives no right over others' taps",
			name);
		break;
	default:
		log_err("--net tap=%s: " TUN_PATH ": %s", name, strerror(-err));
	}
	return err;
}

static int attach_failed(int err, const char *name, bool exists)
{
	if ((err == -EPERM || err == -EACCES) && !exists)
		log_err("--net tap=%s: no such interface, and only root may create it: "
			"ip tuntap add dev %s mode tap user %d",
			name, name, (int)geteuid());
	else if (err == -EPERM || err == -EACCES)
		log_err("--net tap=%s: it belongs to another user: "
			"ip tuntap del dev %s mode tap; ip tuntap add dev %s mode tap user %d",
			name, name, name, (int)geteuid());
	else if (err == -EBUSY)
		log_err("--net tap=%s: another process has it (a guest that still runs?); each "
			"guest needs a tap of its own",
			name);
	else if (err == -EINVAL)
		log_err("--net tap=%s: this interface is no tap; make one: "
			"ip tuntap add dev NAME mode tap",
			name);
	else
		log_err("--net tap=%s: %s", name, strerror(-err));
	return err;
}

int tap_open(const char *name, struct tap **ret_tap)
{
	AUTO_FD int fd = -1;
	bool exists = if_nametoindex(name) != 0;
	struct ifreq ifr = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
	int r;

	if (!*name || strlen(name) >= IFNAMSIZ) {
		log_err("--net tap=%s: the name of an interface has 1 to %d bytes", name,
			IFNAMSIZ - 1);
		return -EINVAL;
	}
	fd = open(TUN_PATH, O_RDWR | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return open_failed(-errno, name);
	memcpy(ifr.ifr_name, name, strlen(name));
	r = ioctl_errno(fd, TUNSETIFF, &ifr);
	if (r == -EINVAL && exists) {
		/* A tap of several queues wants to hear so; one of them is enough for us. */
		ifr.ifr_flags |= IFF_MULTI_QUEUE;
		r = ioctl_errno(fd, TUNSETIFF, &ifr);
	}
	if (r)
		return attach_failed(r, name, exists);
	/* By the name that the kernel gave it: "vm%d" asks for the first free number. */
	ifr.ifr_name[IFNAMSIZ - 1] = '\0';
	r = finish(fd, ifr.ifr_name, ret_tap);
	if (r)
		return r;
	TAKE_FD(fd);
	if (!exists)
		log_info("created the tap %s, until this guest ends; give it its place: "
			 "ip link set %s up master BRIDGE",
			 ifr.ifr_name, ifr.ifr_name);
	return 0;
}

/* ---- by fd ---- */

int tap_from_fd(int fd, struct tap **ret_tap)
{
	struct ifreq ifr = {0};
	int r = ioctl_errno(fd, TUNGETIFF, &ifr);
	int missing = (IFF_TAP | IFF_NO_PI | IFF_VNET_HDR) & ~ifr.ifr_flags;

	if (r == -EBADF) {
		log_err("--net fd=%d: this fd is not open", fd);
		return r;
	}
	if (r) {
		log_err("--net fd=%d: this fd is no tap", fd);
		return -EINVAL;
	}
	if (missing) {
		log_err("--net fd=%d: the tap %.*s was opened without%s%s%s", fd, IFNAMSIZ,
			ifr.ifr_name, missing & IFF_TAP ? " IFF_TAP" : "",
			missing & IFF_NO_PI ? " IFF_NO_PI" : "",
			missing & IFF_VNET_HDR ? " IFF_VNET_HDR" : "");
		return -EINVAL;
	}
	ifr.ifr_name[IFNAMSIZ - 1] = '\0';
	return finish(fd, ifr.ifr_name, ret_tap);
}

int tap_from_socket(int fd, struct tap **ret_tap)
{
	struct tap *tap = calloc(1, sizeof(*tap));

	if (!tap)
		return -ENOMEM;
	*tap = (struct tap){
		.fd = fd,
		.name = "socket",
		.is_socket = true,
		.offloads = TAP_CSUM | TAP_TSO4 | TAP_TSO6 | TAP_ECN,
		.mtu = 1500,
	};
	*ret_tap = tap;
	return 0;
}

void tap_free(struct tap *tap)
{
	if (!tap)
		return;
	cleanup_fd(&tap->fd);
	free(tap);
}

/* ---- in use ---- */

int tap_fd(const struct tap *tap)
{
	return tap->fd;
}

const char *tap_name(const struct tap *tap)
{
	return tap->name;
}

unsigned int tap_offloads(const struct tap *tap)
{
	return tap->offloads;
}

unsigned int tap_mtu(const struct tap *tap)
{
	return tap->mtu;
}

int tap_set_offloads(struct tap *tap, unsigned int offloads)
{
	if (tap->is_socket)
		return 0;
	return ioctl(tap->fd, TUNSETOFFLOAD, (unsigned long)offloads) < 0 ? -errno : 0;
}

/* EBADFD is what a tun fd says once its interface was deleted, the others what a socket does. */
static ssize_t transfer_failed(int err)
{
	switch (err) {
	case EBADFD:
	case ENODEV:
	case ECONNREFUSED:
	case ECONNRESET:
	case ENOTCONN:
	case EPIPE:
		return -ENODEV;
	case EIO:
		return -ENETDOWN;
	default:
		return -err;
	}
}

ssize_t tap_read(struct tap *tap, const struct iovec *iov, int n)
{
	ssize_t got;

	do
		got = readv(tap->fd, iov, n);
	while (got < 0 && errno == EINTR);
	return got < 0 ? transfer_failed(errno) : got;
}

ssize_t tap_write(struct tap *tap, const struct iovec *iov, int n)
{
	ssize_t put;

	do
		put = writev(tap->fd, iov, n);
	while (put < 0 && errno == EINTR);
	return put < 0 ? transfer_failed(errno) : put;
}

bool tap_is_there(const struct tap *tap)
{
	struct ifreq ifr;

	return tap->is_socket || ioctl(tap->fd, TUNGETIFF, &ifr) == 0 || errno != EBADFD;
}
