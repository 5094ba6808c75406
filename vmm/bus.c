// SPDX-License-Identifier: Apache-2.0
/*
 * The port and MMIO maps: per space a small array sorted by address, filled before the first vCPU
 * runs. An access belongs to a device only when all of its bytes do. The lock here is the lock of
 * the whole device model.
 */
#include "vmm/bus.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define BUS_RANGES_MAX 64

struct bus_range {
	uint64_t base, len;
	const struct bus_ops *ops;
	void *ctx;
};

struct bus_map {
	size_t n;
	struct bus_range ranges[BUS_RANGES_MAX];
};

struct bus {
	pthread_mutex_t lock;
	struct bus_map maps[2]; /* by enum bus_space */
};

struct bus *bus_new(void)
{
	struct bus *bus = calloc(1, sizeof(*bus));

	if (bus)
		pthread_mutex_init(&bus->lock, NULL);
	return bus;
}

void bus_free(struct bus *bus)
{
	if (!bus)
		return;
	pthread_mutex_destroy(&bus->lock);
	free(bus);
}

int bus_add(struct bus *bus, enum bus_space space, uint64_t base, uint64_t len,
	    const struct bus_ops *ops, void *ctx)
{
	struct bus_map *map = &bus->maps[space];
	uint64_t limit = space == BUS_PIO ? 0x10000 : UINT64_MAX;
	size_t at;

	if (!len || base > limit || len > limit - base)
		return -EINVAL;
	for (at = 0; at < map->n && map->ranges[at].base < base; at++)
		;
	if (at > 0 && map->ranges[at - 1].base + map->ranges[at - 1].len > base)
		return -EEXIST;
	if (at < map->n && map->ranges[at].base < base + len)
		return -EEXIST;
	if (map->n == BUS_RANGES_MAX)
		return -ENOSPC;
	memmove(&map->ranges[at + 1], &map->ranges[at], (map->n - at) * sizeof(map->ranges[0]));
	map->ranges[at] = (struct bus_range){
		.base = base,
		.len = len,
		.ops = ops,
		.ctx = ctx,
	};
	map->n++;
	return 0;
}

/* The range that holds all of [addr, addr + len), or NULL. */
static const struct bus_range *bus_find(const struct bus_map *map, uint64_t addr, unsigned int len)
{
	size_t low = 0, high = map->n;

	while (low < high) {
		size_t mid = (low + high) / 2;
		const struct bus_range *range = &map->ranges[mid];

		if (addr < range->base)
			high = mid;
		else if (addr - range->base >= range->len)
			low = mid + 1;
		else
			return len <= range->len - (addr - range->base) ? range : NULL;
	}
	return NULL;
}

void bus_read(struct bus *bus, enum bus_space space, uint64_t addr, uint8_t *data, unsigned int len)
{
	const struct bus_range *range;

	memset(data, 0xff, len);
	bus_lock(bus);
	range = bus_find(&bus->maps[space], addr, len);
	if (range)
		range->ops->read(range->ctx, addr - range->base, data, len);
	bus_unlock(bus);
}

void bus_write(struct bus *bus, enum bus_space space, uint64_t addr, const uint8_t *data,
	       unsigned int len)
{
	const struct bus_range *range;

	bus_lock(bus);
	range = bus_find(&bus->maps[space], addr, len);
	if (range)
		range->ops->write(range->ctx, addr - range->base, data, len);
	bus_unlock(bus);
}

void bus_lock(struct bus *bus)
{
	pthread_mutex_lock(&bus->lock);
}

void bus_unlock(struct bus *bus)
{
	pthread_mutex_unlock(&bus->lock);
}
