/* SPDX-License-Identifier: Apache-2.0 */
/* A driver of virtio-mem on real memory of the host. */
#ifndef MEMD_TESTS_MEM_DRIVER_H
#define MEMD_TESTS_MEM_DRIVER_H

#define MEMD_TESTS_FAKE_RAM_H /* the real RAM serves here */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "common/size.h"
#include "vmm/mem.h"
#include "vmm/ram.h"

#define FAKE_REGION_BYTES (8 * MIB)
#define BLOCK		  (2 * MIB)
#define N_BLOCKS	  64
#define EXTENT		  (256 * MIB)

static struct ram_plug_config plug_config = {
	.memory = {.size_bytes = N_BLOCKS * BLOCK, .pages = RAM_PAGES_SMALL},
};

static inline struct ram *fake_ram_new(void)
{
	const struct ram_config config = {.size_bytes = FAKE_REGION_BYTES};
	struct ram *ram;

	if (ram_new(&config, 1, &ram) < 0 || ram_plug_add(ram, &plug_config) < 0)
		abort();
	return ram;
}

static inline void fake_ram_free(struct ram *ram)
{
	ram_free(ram);
}

#include "tests/unit/virtio_driver.h"

#include "common/cleanup.h"
#include "common/kfile.h"
#include "common/log.h"

#define F_INACCESSIBLE 2
#define POOL_2M	       "sys/kernel/mm/hugepages/hugepages-2048kB/"

enum { PLUG, UNPLUG, UNPLUG_ALL, STATE };
enum { ACK, NACK, BUSY, ERROR };
enum { PLUGGED, UNPLUGGED, MIXED };

struct request {
	uint16_t type, padding[3];
	uint64_t addr;
	uint16_t n, padding2[3];
};

static size_t n_changes;
static uint64_t changed_to;

static inline void changed(void *ctx, size_t plug, uint64_t bytes)
{
	n_changes++;
	changed_to = bytes;
}

static inline bool in_use(void *ctx, uint64_t gpa, uint64_t len)
{
	return virtio_uses(((struct driver *)ctx)->dev, gpa, len);
}

static inline int setup(void **state)
{
	struct driver *d = driver_new();
	const struct mem_config config = {
		.ram = d->ram,
		.loop = &d->loop,
		.changed = changed,
		.in_use = in_use,
		.in_use_ctx = d,
	};

	driver_attach(d, mem_new(&config));
	n_changes = 0;
	*state = d;
	return 0;
}

static inline int teardown(void **state)
{
	driver_free(*state);
	return 0;
}

static inline uint64_t base(struct driver *d)
{
	return ram_plug_region(d->ram, 0)->gpa;
}

static inline uint64_t block_gpa(struct driver *d, uint64_t block)
{
	return base(d) + block * BLOCK;
}

static inline uint8_t *block_hva(struct driver *d, uint64_t block)
{
	return ram_plug_region(d->ram, 0)->hva + block * BLOCK;
}

static inline uint64_t config_u64(struct driver *d, uint64_t offset)
{
	return reg_get(d, R_CONFIG + offset) | (uint64_t)reg_get(d, R_CONFIG + offset + 4) << 32;
}

static inline void start(struct driver *d, uint64_t requested_blocks)
{
	assert_int_equal(mem_set_requested(d->dev, requested_blocks * BLOCK), 0);
	driver_start(d, F_INACCESSIBLE, 1, 64);
}

/* A request as Linux sends it: the type of the response; *ret_state as it was written. */
static inline unsigned int ask_state(struct driver *d, unsigned int type, uint64_t gpa, uint16_t n,
				     uint16_t *ret_state)
{
	const struct request request = {.type = (uint16_t)type, .addr = gpa, .n = n};
	uint64_t out = driver_alloc(d, sizeof(request)), in = driver_alloc(d, 10);
	uint16_t before = used_idx(d, 0), *response = at(d, in, 10);

	memcpy(at(d, out, sizeof(request)), &request, sizeof(request));
	memset(response, 0xee, 10);
	set_desc(d, 0, 0, out, sizeof(request), VIRTIO_DESC_NEXT, 1);
	set_desc(d, 0, 1, in, 10, VIRTIO_DESC_WRITE, 0);
	offer(d, 0, 0);
	kick(d, 0);
	assert_int_equal((uint16_t)(used_idx(d, 0) - before), 1);
	assert_int_equal(used_at(d, 0, before).len, 10);
	*ret_state = response[4];
	return response[0];
}

static inline unsigned int ask(struct driver *d, unsigned int type, uint64_t block, uint16_t n)
{
	uint16_t ignored;

	return ask_state(d, type, block_gpa(d, block), n, &ignored);
}

static inline unsigned int state_of(struct driver *d, uint64_t block, uint16_t n)
{
	uint16_t value;

	assert_int_equal(ask_state(d, STATE, block_gpa(d, block), n, &value), ACK);
	return value;
}

/* Can the kernel read and write there on our behalf, as KVM would for a guest? */
static inline bool can_read(const void *p)
{
	int fd = open("/dev/null", O_WRONLY), pipes[2];
	bool ok;

	close(fd);
	assert_int_equal(pipe(pipes), 0);
	ok = write(pipes[1], p, 1) == 1;
	close(pipes[0]);
	close(pipes[1]);
	return ok;
}

static inline bool can_write(void *p)
{
	int fd = open("/dev/zero", O_RDONLY);
	bool ok = read(fd, p, 1) == 1;

	close(fd);
	return ok;
}

static inline uint64_t resident(const void *p, uint64_t len)
{
	AUTO_FREE unsigned char *pages = malloc(len / 4096);
	uint64_t n = 0;

	assert_int_equal(mincore((void *)(uintptr_t)p, len, pages), 0);
	for (uint64_t i = 0; i < len / 4096; i++)
		n += pages[i] & 1;
	return n * 4096;
}

#endif
