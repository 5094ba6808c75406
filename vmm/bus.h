/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Dispatch of guest port and MMIO accesses to devices. One lock covers the whole device model:
 * bus_read/bus_write take it for a vCPU thread; the loop takes it around each of its callbacks.
 * Device code runs with it held and never takes it.
 */
#ifndef MEMD_VMM_BUS_H
#define MEMD_VMM_BUS_H

#include <stdint.h>

enum bus_space { BUS_PIO, BUS_MMIO };

struct bus_ops {
	/* offset is within the range; len is 1, 2, 4 or 8; data is little endian. */
	void (*read)(void *ctx, uint64_t offset, uint8_t *data, unsigned int len);
	void (*write)(void *ctx, uint64_t offset, const uint8_t *data, unsigned int len);
};

struct bus;

struct bus *bus_new(void);
void bus_free(struct bus *bus);

/* -EEXIST: overlaps another range; -EINVAL: empty or wraps; -ENOSPC. */
int bus_add(struct bus *bus, enum bus_space space, uint64_t base, uint64_t len,
	    const struct bus_ops *ops, void *ctx);

/* No device there: reads are all ones, writes are dropped. */
void bus_read(struct bus *bus, enum bus_space space, uint64_t addr, uint8_t *data,
	      unsigned int len);
void bus_write(struct bus *bus, enum bus_space space, uint64_t addr, const uint8_t *data,
	       unsigned int len);

void bus_lock(struct bus *bus);
void bus_unlock(struct bus *bus);

#endif
