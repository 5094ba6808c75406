/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a virtio device is (virtio 1.2): a const ops table, negotiated features and split queues.
 * Device code knows no transport; virtio_mmio.c is the one we have. Everything a driver writes is
 * hostile: a broken queue or request makes the device DEVICE_NEEDS_RESET with one rate-limited log
 * line. All functions run with bus_lock held, in the loop's thread or a vCPU's.
 */
#ifndef MEMD_VMM_VIRTIO_H
#define MEMD_VMM_VIRTIO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/log.h"
#include "vmm/loop.h"
#include "vmm/ram.h"

#define VIRTIO_QUEUES_MAX 8
#define VIRTIO_QUEUE_SIZE 256

/* Device ids (virtio 1.2 section 5). */
#define VIRTIO_ID_NET	  1
#define VIRTIO_ID_BLOCK	  2
#define VIRTIO_ID_CONSOLE 3
#define VIRTIO_ID_RNG	  4
#define VIRTIO_ID_BALLOON 5
#define VIRTIO_ID_MEM	  24

/* Feature bits of every device (section 6). Both are always offered; VERSION_1 is insisted on. */
#define VIRTIO_F_INDIRECT_DESC 28
#define VIRTIO_F_VERSION_1     32

/* Device status (section 2.1). */
#define VIRTIO_STATUS_ACKNOWLEDGE 0x01
#define VIRTIO_STATUS_DRIVER	  0x02
#define VIRTIO_STATUS_DRIVER_OK	  0x04
#define VIRTIO_STATUS_FEATURES_OK 0x08
#define VIRTIO_STATUS_NEEDS_RESET 0x40
#define VIRTIO_STATUS_FAILED	  0x80

/* Descriptor flags (section 2.7.5). */
#define VIRTIO_DESC_NEXT     1
#define VIRTIO_DESC_WRITE    2
#define VIRTIO_DESC_INDIRECT 4

struct virtio_device;

struct virtio_ops {
	const char *name; /* "balloon": in messages */
	uint32_t id;	  /* VIRTIO_ID_... */
	unsigned int n_queues;
	uint16_t queue_size; /* at most VIRTIO_QUEUE_SIZE, a power of two */
	uint32_t config_len; /* bytes of config space; those beyond read as 0, writes are dropped */
	/* [offset, offset + len) is within config_len. Either may be NULL. */
	void (*config_read)(struct virtio_device *dev, uint32_t offset, void *data, uint32_t len);
	void (*config_write)(struct virtio_device *dev, uint32_t offset, const void *data,
			     uint32_t len);
	/* DRIVER_OK: features and queues are settled. May be NULL. */
	void (*activate)(struct virtio_device *dev);
	/* The driver kicked this queue, which is ready; the device is active. */
	void (*notify)(struct virtio_device *dev, unsigned int queue);
	/* Forget all that the driver set up; dev->features still holds what was. May be NULL. */
	void (*reset)(struct virtio_device *dev);
	/*
	 * The machine stops: finish what is under way and give it back. After it guest memory is
	 * not touched until the next notify. NULL: nothing is ever under way.
	 */
	void (*pause)(struct virtio_device *dev);
	/* It goes on: whatever needs no kick starts again. Waiting kicks come after it. May be
	 * NULL. */
	void (*resume)(struct virtio_device *dev);
	void (*free)(struct virtio_device *dev);
};

/* What a device needs of its transport. */
struct virtio_transport {
	void (*queue_interrupt)(void *ctx); /* used buffers */
	void (*config_interrupt)(void *ctx);
	/* Have ops->notify called for this queue once more from the loop. */
	void (*kick_later)(void *ctx, unsigned int queue);
	/* Leave the driver's kicks to whoever polls the eventfd that is returned, or take them
	 * back. */
	int (*lend_kicks)(void *ctx, unsigned int queue, bool lend);
};

/* Pluggable memory, [from, to), that n chains lie in. */
struct virtio_range {
	uint64_t from, to;
	unsigned int n;
};

/* A split queue (section 2.7). Addresses are the driver's; pointers are set while ready. */
struct virtio_queue {
	uint16_t size;
	bool ready;
	uint64_t desc_gpa, avail_gpa, used_gpa;
	uint8_t *desc, *avail, *used;
	uint16_t next_avail, next_used; /* free running */
	/*
	 * By head: the pluggable memory that chains in the device's hands lie in. VIRTIO_QUEUE_SIZE
	 * of them; NULL in a guest without pluggable memory.
	 */
	struct virtio_range *held;
	uint16_t last_head; /* of the last chain popped */
};

/* First member of each device's own struct. */
struct virtio_device {
	const struct virtio_ops *ops;
	struct ram *ram;
	uint64_t offered;    /* feature bits */
	uint64_t features;   /* what the driver took of them; settled once active */
	bool active;	     /* DRIVER_OK and neither broken nor reset since */
	bool paused;	     /* kicks wait for virtio_resume */
	uint8_t status;	     /* VIRTIO_STATUS_... as the driver reads it */
	uint32_t generation; /* of the config space */
	struct virtio_queue queues[VIRTIO_QUEUES_MAX];
	const struct virtio_transport *transport; /* NULL until there is one */
	void *transport_ctx;
	struct log_limit complaints;
};

/*
 * One buffer chain. out: readable by the device, in: writable; host addresses, all checked.
 * gpa: guest address of each element, for devices that need it (free page reporting). A descriptor
 * that crosses from one RAM region to the next makes two spans.
 */
struct virtio_span {
	void *base;
	uint32_t len;
	uint64_t gpa;
};
struct virtio_chain {
	uint16_t head;
	unsigned int n_out, n_in;
	struct virtio_range pluggable; /* what of it lies in memory that may be unplugged */
	struct virtio_span out[VIRTIO_QUEUE_SIZE], in[VIRTIO_QUEUE_SIZE];
};

/* ---- for devices ---- */

/* Set up the common part; features: what this device offers besides the two above. */
void virtio_device_init(struct virtio_device *dev, const struct virtio_ops *ops, struct ram *ram,
			uint64_t features);

static inline bool virtio_has_feature(const struct virtio_device *dev, unsigned int bit)
{
	return dev->features >> bit & 1;
}

/*
 * The next chain the driver made available. 1: *ret_chain is valid, and must go back by
 * virtio_queue_push; 0: none; -EIO: the ring is broken, the device now needs a reset.
 */
int virtio_queue_pop(struct virtio_device *dev, unsigned int queue, struct virtio_chain *ret_chain);
/* Undo the last virtio_queue_pop: the same chain comes again. */
void virtio_queue_unpop(struct virtio_device *dev, unsigned int queue);
/* Give a chain back; written: bytes the device has put into its in spans. */
void virtio_queue_push(struct virtio_device *dev, unsigned int queue, uint16_t head,
		       uint32_t written);
/*
 * The same for a request that takes n chains, which the driver must see all at one time: fill them
 * in, index from 0 to n - 1, then publish n. Nothing else is pushed between.
 */
void virtio_queue_fill(struct virtio_device *dev, unsigned int queue, unsigned int index,
		       uint16_t head, uint32_t written);
void virtio_queue_publish(struct virtio_device *dev, unsigned int queue, unsigned int n);
/*
 * Ask the driver for kicks (at first it does) or for none (section 2.7.10). It may still kick.
 * After asking for them look once more at what is pending: it may have come before.
 */
void virtio_queue_want_kicks(struct virtio_device *dev, unsigned int queue, bool wanted);
/* Interrupt the driver for what was pushed, unless it asked not to be. Once per batch. */
void virtio_queue_interrupt(struct virtio_device *dev, unsigned int queue);
/* Chains the driver has made available and the device has not taken. 0 if not ready. */
uint16_t virtio_queue_pending(const struct virtio_device *dev, unsigned int queue);
/* Call ops->notify for this queue again soon: a device that used up its share of time. */
void virtio_queue_kick_later(struct virtio_device *dev, unsigned int queue);

/*
 * For devices whose queues the host's kernel serves (vhost). lend: the eventfd of the driver's
 * kicks, which the loop no longer reads, or -EOPNOTSUPP. return: kicks are ours again.
 */
int virtio_queue_lend_kicks(struct virtio_device *dev, unsigned int queue);
void virtio_queue_return_kicks(struct virtio_device *dev, unsigned int queue);
/* Go on where the kernel stopped: it takes next_avail next; the used ring says the rest. */
void virtio_queue_go_on(struct virtio_device *dev, unsigned int queue, uint16_t next_avail);

/*
 * Is [gpa, gpa + len) of pluggable memory in use: by a ready queue's rings, or (roughly: the
 * smallest range that holds all its pieces) by a chain that was popped and not yet pushed?
 */
bool virtio_uses(const struct virtio_device *dev, uint64_t gpa, uint64_t len);
/* Forget all queues; virtio_reset and the transport's end do this. */
void virtio_queues_free(struct virtio_device *dev);

/* Sum of the lengths of n spans. */
uint64_t virtio_spans_len(const struct virtio_span *spans, unsigned int n);
/* Copy at most len bytes out of spans, starting offset bytes in. Returns how many there were. */
size_t virtio_spans_read(const struct virtio_span *spans, unsigned int n, uint64_t offset,
			 void *dst, size_t len);

/* The device changed its config space: new generation, config interrupt if active. */
void virtio_config_changed(struct virtio_device *dev);

/* The driver broke the protocol: stop serving it, say why (rate-limited), ask for a reset. */
void virtio_needs_reset(struct virtio_device *dev, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* A rate-limited warning that starts with the device's name: the driver asked for nonsense. */
void virtio_complain(struct virtio_device *dev, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* ---- for transports ---- */

/*
 * Check what the driver has set (size, alignment, all three areas in RAM) and make the queue ready.
 * -EINVAL: it is not; the caller then asks for a reset.
 */
int virtio_queue_enable(struct virtio_device *dev, unsigned int queue);

/* The driver wrote the status register. 0 resets; refused bits stay unset. */
void virtio_set_status(struct virtio_device *dev, uint8_t status);

/* The driver kicked a queue: nothing happens unless the device is active and the queue ready. */
void virtio_notify(struct virtio_device *dev, unsigned int queue);

/*
 * The machine stands still, and goes on. Between the two no device touches guest memory on behalf
 * of its driver; kicks are not lost. Each may be called twice in a row.
 */
void virtio_pause(struct virtio_device *dev);
void virtio_resume(struct virtio_device *dev);

/* Back to the state after power-on, queues, features and status; by the driver or the machine. */
void virtio_reset(struct virtio_device *dev);

#endif
