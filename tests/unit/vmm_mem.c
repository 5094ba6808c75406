// SPDX-License-Identifier: Apache-2.0
/*
 * virtio-mem and the memory behind it, on real memory of the host: requests of an honest and of a
 * hostile driver, what the host really holds, and that no device reaches what is unplugged.
 */
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

static void changed(void *ctx, size_t plug, uint64_t bytes)
{
	n_changes++;
	changed_to = bytes;
}

static bool in_use(void *ctx, uint64_t gpa, uint64_t len)
{
	return virtio_uses(((struct driver *)ctx)->dev, gpa, len);
}

static int setup(void **state)
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

static int teardown(void **state)
{
	driver_free(*state);
	return 0;
}

static uint64_t base(struct driver *d)
{
	return ram_plug_region(d->ram, 0)->gpa;
}

static uint64_t block_gpa(struct driver *d, uint64_t block)
{
	return base(d) + block * BLOCK;
}

static uint8_t *block_hva(struct driver *d, uint64_t block)
{
	return ram_plug_region(d->ram, 0)->hva + block * BLOCK;
}

static uint64_t config_u64(struct driver *d, uint64_t offset)
{
	return reg_get(d, R_CONFIG + offset) | (uint64_t)reg_get(d, R_CONFIG + offset + 4) << 32;
}

static void start(struct driver *d, uint64_t requested_blocks)
{
	assert_int_equal(mem_set_requested(d->dev, requested_blocks * BLOCK), 0);
	driver_start(d, F_INACCESSIBLE, 1, 64);
}

/* A request as Linux sends it: the type of the response; *ret_state as it was written. */
static unsigned int ask_state(struct driver *d, unsigned int type, uint64_t gpa, uint16_t n,
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

static unsigned int ask(struct driver *d, unsigned int type, uint64_t block, uint16_t n)
{
	uint16_t ignored;

	return ask_state(d, type, block_gpa(d, block), n, &ignored);
}

static unsigned int state_of(struct driver *d, uint64_t block, uint16_t n)
{
	uint16_t value;

	assert_int_equal(ask_state(d, STATE, block_gpa(d, block), n, &value), ACK);
	return value;
}

/* Can the kernel read and write there on our behalf, as KVM would for a guest? */
static bool can_read(const void *p)
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

static bool can_write(void *p)
{
	int fd = open("/dev/zero", O_RDONLY);
	bool ok = read(fd, p, 1) == 1;

	close(fd);
	return ok;
}

static uint64_t resident(const void *p, uint64_t len)
{
	AUTO_FREE unsigned char *pages = malloc(len / 4096);
	uint64_t n = 0;

	assert_int_equal(mincore((void *)(uintptr_t)p, len, pages), 0);
	for (uint64_t i = 0; i < len / 4096; i++)
		n += pages[i] & 1;
	return n * 4096;
}

/* ---- an honest driver ---- */

static void config_space(void **state)
{
	struct driver *d = *state;
	uint32_t generation;

	assert_int_equal(reg_get(d, 0x08), 24);
	assert_int_equal(driver_offered(d) & 7, 3);
	assert_int_equal(config_u64(d, 0), BLOCK);
	assert_int_equal(reg_get(d, R_CONFIG + 8), 0);
	assert_int_equal(config_u64(d, 16), 128 * MIB);
	assert_int_equal(config_u64(d, 24), N_BLOCKS * BLOCK);
	assert_int_equal(config_u64(d, 32), 0);
	assert_int_equal(config_u64(d, 40), 0);
	assert_int_equal(config_u64(d, 48), 0);
	start(d, 2);
	irqs(d);
	generation = reg_get(d, R_GENERATION);
	assert_int_equal(mem_set_requested(d->dev, 4 * BLOCK), 0);
	assert_int_equal(irqs(d), 1);
	assert_int_not_equal(reg_get(d, R_GENERATION), generation);
	assert_int_equal(config_u64(d, 48), 4 * BLOCK);
	assert_int_equal(config_u64(d, 32), N_BLOCKS * BLOCK);
	assert_int_equal(mem_set_requested(d->dev, 4 * BLOCK), 0);
	assert_int_equal(irqs(d), 0);
	assert_int_equal(mem_set_requested(d->dev, BLOCK + 4096), -EINVAL);
	assert_int_equal(mem_set_requested(d->dev, (N_BLOCKS + 1) * BLOCK), -ERANGE);
	assert_int_equal(mem_requested_bytes(d->dev), 4 * BLOCK);
}

static void plug_and_unplug(void **state)
{
	struct driver *d = *state;
	uint8_t *hva = block_hva(d, 4);

	start(d, 8);
	assert_int_equal(state_of(d, 0, N_BLOCKS), UNPLUGGED);
	assert_int_equal(ask(d, PLUG, 4, 3), ACK);
	fake_loop_run(&d->loop);
	assert_int_equal(n_changes, 1);
	assert_int_equal(changed_to, 3 * BLOCK);
	assert_int_equal(config_u64(d, 40), 3 * BLOCK);
	assert_int_equal(state_of(d, 4, 3), PLUGGED);
	assert_int_equal(state_of(d, 3, 2), MIXED);
	assert_int_equal(state_of(d, 6, 2), MIXED);
	assert_int_equal(resident(hva, 3 * BLOCK), 0);
	memset(hva, 0xa5, 3 * BLOCK);
	assert_int_equal(resident(hva, 3 * BLOCK), 3 * BLOCK);
	assert_int_equal(ask(d, UNPLUG, 5, 1), ACK);
	assert_int_equal(hva[BLOCK - 1], 0xa5);
	assert_int_equal(hva[2 * BLOCK], 0xa5);
	assert_int_equal(resident(hva, 3 * BLOCK), 2 * BLOCK);
	assert_int_equal(ram_plug_returned(d->ram), BLOCK);
	assert_int_equal(ask(d, UNPLUG, 4, 1), ACK);
	assert_int_equal(ask(d, UNPLUG, 6, 1), ACK);
	assert_int_equal(resident(hva, 3 * BLOCK), 0);
	assert_int_equal(ram_plug_returned(d->ram), 3 * BLOCK);
	fake_loop_run(&d->loop);
	assert_int_equal(changed_to, 0);
	/* Plugged again it is empty, and its return is forgotten. */
	assert_int_equal(ask(d, PLUG, 4, 1), ACK);
	assert_int_equal(ram_plug_returned(d->ram), 2 * BLOCK);
	assert_int_equal(hva[0], 0);
	assert_int_equal(hva[BLOCK - 1], 0);
}

/* What was never touched brings nothing back. */
static void returned_is_what_was_there(void **state)
{
	struct driver *d = *state;

	start(d, 8);
	assert_int_equal(ask(d, PLUG, 0, 8), ACK);
	memset(block_hva(d, 1), 1, 5 * 4096);
	assert_int_equal(ask(d, UNPLUG, 0, 8), ACK);
	assert_int_equal(ram_plug_returned(d->ram), 5 * 4096);
}

static void unplug_everything(void **state)
{
	struct driver *d = *state;

	start(d, 8);
	for (uint64_t b = 0; b < 8; b += 2)
		assert_int_equal(ask(d, PLUG, b, 1), ACK);
	memset(block_hva(d, 2), 1, BLOCK);
	assert_int_equal(mem_set_requested(d->dev, 0), 0);
	/* The usable region stays until all is unplugged. */
	assert_int_equal(config_u64(d, 32), N_BLOCKS * BLOCK);
	assert_int_equal(ask(d, UNPLUG_ALL, 0, 0), ACK);
	assert_int_equal(config_u64(d, 40), 0);
	assert_int_equal(config_u64(d, 32), 0);
	assert_int_equal(resident(block_hva(d, 0), N_BLOCKS * BLOCK), 0);
	assert_int_equal(ask(d, UNPLUG_ALL, 0, 0), ACK);
}

static void resets(void **state)
{
	struct driver *d = *state;

	start(d, 4);
	assert_int_equal(ask(d, PLUG, 0, 4), ACK);
	memset(block_hva(d, 0), 1, BLOCK);
	/* By the driver: the memory stays as it is. */
	driver_start(d, F_INACCESSIBLE, 1, 64);
	assert_int_equal(state_of(d, 0, 4), PLUGGED);
	assert_int_equal(block_hva(d, 0)[0], 1);
	/* Of the machine: all goes, what is asked for stays. */
	virtio_mmio_reset(d->mmio);
	ram_discard_all(d->ram);
	mem_machine_reset(d->dev);
	fake_loop_run(&d->loop);
	assert_int_equal(changed_to, 0);
	assert_int_equal(ram_plug_returned(d->ram), 0);
	driver_start(d, F_INACCESSIBLE, 1, 64);
	assert_int_equal(config_u64(d, 40), 0);
	assert_int_equal(config_u64(d, 48), 4 * BLOCK);
	assert_int_equal(ask(d, PLUG, 0, 4), ACK);
	assert_int_equal(block_hva(d, 0)[0], 0);
}

/* ---- what the host holds ---- */

static void unplugged_is_out_of_reach(void **state)
{
	struct driver *d = *state;
	uint8_t byte;

	start(d, 8);
	assert_null(ram_ptr(d->ram, base(d), 1));
	assert_int_equal(ram_room(d->ram, base(d)), 0);
	assert_false(can_read(block_hva(d, 0)));
	assert_int_equal(ask(d, PLUG, 2, 2), ACK);
	assert_ptr_equal(ram_ptr(d->ram, block_gpa(d, 2), 2 * BLOCK), block_hva(d, 2));
	assert_null(ram_ptr(d->ram, block_gpa(d, 2), 2 * BLOCK + 1));
	assert_null(ram_ptr(d->ram, block_gpa(d, 2) - 1, 2));
	assert_int_equal(ram_room(d->ram, block_gpa(d, 3) + 5), BLOCK - 5);
	assert_int_equal(ram_read(d->ram, block_gpa(d, 4) - 1, &byte, 2), -EFAULT);
	assert_int_equal(ram_discard(d->ram, block_gpa(d, 3), 2 * BLOCK, RAM_GIVER_REPORTING),
			 -EFAULT);
	assert_true(can_write(block_hva(d, 2)));
	/* Right behind: zeroes that cost nothing, for Linux looks a word beyond a page's end. */
	assert_true(can_read(block_hva(d, 4)));
	assert_false(can_write(block_hva(d, 4)));
	assert_false(can_read(block_hva(d, 5)));
	assert_false(can_read(block_hva(d, 1)));
	assert_int_equal(ask(d, UNPLUG, 3, 1), ACK);
	assert_true(can_read(block_hva(d, 3)));
	assert_false(can_write(block_hva(d, 3)));
	assert_false(can_read(block_hva(d, 4)));
	assert_int_equal(ask(d, PLUG, 1, 1), ACK);
	assert_int_equal(ask(d, UNPLUG, 2, 1), ACK);
	assert_false(can_read(block_hva(d, 3)));
	assert_int_equal(*block_hva(d, 2), 0);
}

/* The balloon may hold pages of plugged memory; they go with their block. */
static void balloon_and_blocks(void **state)
{
	struct driver *d = *state;
	uint64_t balloon, reported;

	start(d, 8);
	assert_int_equal(ask(d, PLUG, 0, 4), ACK);
	memset(block_hva(d, 0), 1, 4 * BLOCK);
	assert_int_equal(ram_discard(d->ram, block_gpa(d, 1), BLOCK, RAM_GIVER_BALLOON), 0);
	assert_int_equal(ram_returned(d->ram, &balloon, &reported), 0);
	assert_int_equal(balloon, BLOCK);
	assert_int_equal(ask(d, UNPLUG, 0, 2), ACK);
	assert_int_equal(ram_returned(d->ram, &balloon, &reported), 0);
	assert_int_equal(balloon, 0);
	assert_int_equal(ram_plug_returned(d->ram), BLOCK);
	assert_int_equal(ram_discard(d->ram, block_gpa(d, 3), BLOCK, RAM_GIVER_BALLOON), 0);
	ram_reuse_all(d->ram);
	assert_int_equal(ram_returned(d->ram, &balloon, &reported), 0);
	assert_int_equal(balloon, 0);
}

/* ---- a hostile driver ---- */

static void refused(void **state)
{
	struct driver *d = *state;
	uint16_t ignored;

	start(d, 4);
	assert_int_equal(ask(d, PLUG, 0, 0), ERROR);
	assert_int_equal(ask(d, PLUG, 0, 5), NACK);
	assert_int_equal(ask(d, PLUG, N_BLOCKS, 1), ERROR);
	assert_int_equal(ask(d, PLUG, N_BLOCKS - 1, 2), ERROR);
	assert_int_equal(ask(d, PLUG, 0, UINT16_MAX), ERROR);
	assert_int_equal(ask_state(d, PLUG, base(d) + 4096, 1, &ignored), ERROR);
	assert_int_equal(ask_state(d, PLUG, base(d) - BLOCK, 1, &ignored), ERROR);
	assert_int_equal(ask_state(d, PLUG, 0, 1, &ignored), ERROR);
	assert_int_equal(ask_state(d, PLUG, UINT64_MAX - BLOCK + 1, 2, &ignored), ERROR);
	assert_int_equal(ask_state(d, STATE, 0, 1, &ignored), ERROR);
	assert_int_equal(ask(d, 4, 0, 1), ERROR);
	assert_int_equal(ask(d, UINT16_MAX, 0, 1), ERROR);
	assert_int_equal(ask(d, UNPLUG, 0, 1), ERROR);
	assert_int_equal(ask(d, PLUG, 1, 2), ACK);
	assert_int_equal(ask(d, PLUG, 1, 1), ERROR);
	assert_int_equal(ask(d, PLUG, 0, 2), ERROR);
	assert_int_equal(ask(d, UNPLUG, 0, 2), ERROR);
	assert_int_equal(ask(d, UNPLUG, 2, 2), ERROR);
	assert_int_equal(ask(d, PLUG, 10, 3), NACK);
	assert_int_equal(mem_plugged_bytes(d->dev), 2 * BLOCK);
	assert_false(needs_reset(d));
}

static void beyond_the_usable_region(void **state)
{
	struct driver *d = *state;

	/* Nothing was asked for: nothing is usable. */
	start(d, 0);
	assert_int_equal(ask(d, PLUG, 0, 1), ERROR);
	assert_int_equal(ask(d, STATE, 0, 1), ERROR);
	assert_int_equal(ask(d, UNPLUG_ALL, 0, 0), ACK);
}

static void short_buffers(void **state)
{
	struct driver *d = *state;
	struct request request = {.type = PLUG, .addr = base(d), .n = 1};
	uint64_t gpa;

	start(d, 4);
	gpa = driver_alloc(d, 64);
	memcpy(at(d, gpa, 64), &request, sizeof(request));
	set_desc(d, 0, 0, gpa, sizeof(request) - 1, VIRTIO_DESC_NEXT, 1);
	set_desc(d, 0, 1, gpa + 32, 10, VIRTIO_DESC_WRITE, 0);
	offer(d, 0, 0);
	kick(d, 0);
	assert_true(needs_reset(d));
	start(d, 4);
	set_desc(d, 0, 0, gpa, sizeof(request), VIRTIO_DESC_NEXT, 1);
	set_desc(d, 0, 1, gpa + 32, 9, VIRTIO_DESC_WRITE, 0);
	offer(d, 0, 0);
	kick(d, 0);
	assert_true(needs_reset(d));
	assert_int_equal(mem_plugged_bytes(d->dev), 0);
	/* In pieces it is as good as any. */
	start(d, 4);
	set_desc(d, 0, 0, gpa, 5, VIRTIO_DESC_NEXT, 1);
	set_desc(d, 0, 1, gpa + 5, sizeof(request) - 5, VIRTIO_DESC_NEXT, 2);
	set_desc(d, 0, 2, gpa + 32, 1, VIRTIO_DESC_WRITE | VIRTIO_DESC_NEXT, 3);
	set_desc(d, 0, 3, gpa + 40, 9, VIRTIO_DESC_WRITE, 0);
	offer(d, 0, 0);
	kick(d, 0);
	assert_false(needs_reset(d));
	assert_int_equal(mem_plugged_bytes(d->dev), BLOCK);
}

static void driver_of_old(void **state)
{
	struct driver *d = *state;

	assert_true(driver_negotiate(d, F_VERSION_1));
	driver_queue(d, 0, 64);
	driver_ok(d);
	assert_true(needs_reset(d));
}

/* Buffers, rings and requests in flight that lie in what is to be unplugged. */
static void memory_in_use(void **state)
{
	struct driver *d = *state;
	const struct request request = {.type = UNPLUG, .addr = block_gpa(d, 2), .n = 1};
	uint16_t *response;

	start(d, 8);
	assert_int_equal(ask(d, PLUG, 0, 4), ACK);
	response = ram_ptr(d->ram, block_gpa(d, 2) + 512, 10);
	memcpy(ram_ptr(d->ram, block_gpa(d, 2), sizeof(request)), &request, sizeof(request));
	set_desc(d, 0, 0, block_gpa(d, 2), sizeof(request), VIRTIO_DESC_NEXT, 1);
	set_desc(d, 0, 1, block_gpa(d, 2) + 512, 10, VIRTIO_DESC_WRITE, 0);
	offer(d, 0, 0);
	kick(d, 0);
	assert_int_equal(response[0], BUSY);
	assert_int_equal(ask(d, UNPLUG, 2, 1), ACK);

	/* The same, but out of what is gone: the chain is no RAM. */
	offer(d, 0, 0);
	set_desc(d, 0, 0, block_gpa(d, 2), sizeof(request), VIRTIO_DESC_NEXT, 1);
	kick(d, 0);
	assert_true(needs_reset(d));

	/* A ring in block 3 keeps it, until the device is reset. */
	assert_true(driver_negotiate(d, F_INACCESSIBLE | F_VERSION_1));
	driver_queue(d, 0, 64);
	reg_set(d, 0x44, 0);
	memcpy(ram_ptr(d->ram, block_gpa(d, 3), 1024), at(d, d->q[0].desc_gpa, 1024), 1024);
	d->q[0].desc_gpa = block_gpa(d, 3);
	d->q[0].desc = ram_ptr(d->ram, block_gpa(d, 3), 1024);
	reg_set64(d, 0x80, d->q[0].desc_gpa);
	reg_set(d, 0x44, 1);
	driver_ok(d);
	assert_int_equal(ask(d, UNPLUG, 3, 1), BUSY);
	assert_int_equal(ask(d, UNPLUG_ALL, 0, 0), BUSY);
	assert_int_equal(ask(d, UNPLUG, 1, 1), ACK);
	start(d, 8);
	assert_int_equal(ask(d, UNPLUG, 3, 1), ACK);
}

/* A head that is in flight twice is let go of twice. */
static void heads_in_flight(void **state)
{
	struct driver *d = *state;
	struct virtio_chain *chain = calloc(1, sizeof(*chain));

	start(d, 8);
	assert_int_equal(ask(d, PLUG, 0, 4), ACK);
	set_desc(d, 0, 7, block_gpa(d, 1), 8, 0, 0);
	offer(d, 0, 7);
	assert_int_equal(virtio_queue_pop(d->dev, 0, chain), 1);
	assert_true(virtio_uses(d->dev, block_gpa(d, 1), BLOCK));
	assert_false(virtio_uses(d->dev, block_gpa(d, 0), BLOCK));
	assert_false(virtio_uses(d->dev, block_gpa(d, 2), BLOCK));
	set_desc(d, 0, 7, 0x1000, 8, 0, 0);
	offer(d, 0, 7);
	assert_int_equal(virtio_queue_pop(d->dev, 0, chain), 1);
	virtio_queue_push(d->dev, 0, 7, 0);
	assert_true(virtio_uses(d->dev, block_gpa(d, 1), BLOCK));
	virtio_queue_push(d->dev, 0, 7, 0);
	assert_false(virtio_uses(d->dev, block_gpa(d, 1), BLOCK));
	set_desc(d, 0, 7, block_gpa(d, 1), 8, 0, 0);
	offer(d, 0, 7);
	assert_int_equal(virtio_queue_pop(d->dev, 0, chain), 1);
	virtio_queue_unpop(d->dev, 0);
	assert_false(virtio_uses(d->dev, block_gpa(d, 1), BLOCK));
	free(chain);
}

/* Any order of requests agrees with a plain table of blocks, and with what the host holds. */
static void random_requests(void **state)
{
	struct driver *d = *state;
	bool is_in[N_BLOCKS] = {false};
	unsigned int n_in = 0;

	start(d, 40);
	srandom(5);
	for (unsigned int i = 0; i < 3000; i++) {
		unsigned int type = random() % 2 ? PLUG : UNPLUG, n = 1 + (unsigned)random() % 6;
		unsigned int first = (unsigned)random() % N_BLOCKS, want = ACK, bad = 0;

		d->next_gpa = 0x10000; /* the buffers again */
		for (unsigned int b = first; b < first + n; b++)
			bad += b < N_BLOCKS && is_in[b] == (type == PLUG);
		if (first + n > N_BLOCKS)
			want = ERROR;
		else if (type == PLUG && n_in + n > 40)
			want = NACK;
		else if (bad)
			want = ERROR;
		assert_int_equal(ask(d, type, first, (uint16_t)n), want);
		if (want != ACK)
			continue;
		for (unsigned int b = first; b < first + n; b++) {
			is_in[b] = type == PLUG;
			if (is_in[b])
				*block_hva(d, b) = 1;
		}
		n_in = type == PLUG ? n_in + n : n_in - n;
		assert_int_equal(mem_plugged_bytes(d->dev), n_in * BLOCK);
		assert_int_equal(resident(block_hva(d, 0), N_BLOCKS * BLOCK), n_in * 4096);
	}
	for (unsigned int b = 0; b < N_BLOCKS; b++) {
		assert_int_equal(can_write(block_hva(d, b)), is_in[b]);
		assert_int_equal(can_read(block_hva(d, b)), is_in[b] || (b && is_in[b - 1]));
		assert_int_equal(ram_room(d->ram, block_gpa(d, b)) > 0, is_in[b]);
	}
}

/* ---- where it lies ---- */

static void places(void **state)
{
	const struct ram_config small = {.size_bytes = 200 * MIB}, large = {.size_bytes = 4 * GIB};
	struct ram_plug_config config = {.memory = {.size_bytes = GIB}};
	char why[RAM_WHY_MAX];
	struct ram *ram;

	assert_int_equal(ram_new(&small, 1, &ram), 0);
	assert_int_equal(ram_plug_start(ram), UINT64_MAX);
	assert_int_equal(ram_plug_add(ram, &config), 0);
	config.memory.size_bytes = 2 * GIB;
	assert_int_equal(ram_plug_add(ram, &config), 0);
	config.memory.size_bytes = 2 * MIB;
	assert_int_equal(ram_plug_add(ram, &config), 0);
	assert_int_equal(ram_plug_region(ram, 0)->gpa, 256 * MIB);
	assert_int_equal(ram_plug_region(ram, 1)->gpa, 4 * GIB);
	assert_int_equal(ram_plug_region(ram, 2)->gpa, 6 * GIB);
	assert_int_equal(ram_plug_count(ram), 3);
	assert_int_equal(ram_region_count(ram), 1);
	assert_int_equal(ram_size_bytes(ram), 200 * MIB);
	for (size_t i = 3; i < RAM_PLUGS_MAX; i++)
		assert_int_equal(ram_plug_add(ram, &config), 0);
	assert_int_equal(ram_plug_add(ram, &config), -ENOSPC);
	ram_free(ram);

	assert_int_equal(ram_new(&large, 1, &ram), 0);
	config.memory.size_bytes = GIB;
	assert_int_equal(ram_plug_add(ram, &config), 0);
	assert_int_equal(ram_plug_region(ram, 0)->gpa, 6 * GIB);
	ram_free(ram);

	config.block_bytes = 3 * MIB;
	assert_int_equal(ram_plug_config_check(&config, 1, why), -EINVAL);
	config.block_bytes = 0;
	config.node = 1;
	assert_int_equal(ram_plug_config_check(&config, 1, why), -EINVAL);
	assert_int_equal(ram_plug_config_check(&config, 2, why), 0);
	config.memory.size_bytes = 3 * MIB;
	assert_int_equal(ram_plug_config_check(&config, 2, why), -EINVAL);
}

/* ---- pool pages ---- */

static uint64_t pool(const char *name)
{
	AUTO_FD int root = kfile_open_root("/");
	uint64_t value = 0;
	char path[128];

	snprintf(path, sizeof(path), POOL_2M "%s", name);
	(void)kfile_read_u64(root, path, &value);
	return value;
}

/* Plugging takes pool pages, unplugging gives all of them back, an empty pool is BUSY. */
static void pool_pages(void **state)
{
	AUTO_FD int root = kfile_open_root("/");
	const uint64_t before = pool("nr_hugepages");
	struct driver *d;

	if (kfile_write_u64(root, POOL_2M "nr_hugepages", before + 4) < 0 ||
	    pool("free_hugepages") < 4 || pool("nr_hugepages") != before + 4 ||
	    pool("free_hugepages") != 4) {
		(void)kfile_write_u64(root, POOL_2M "nr_hugepages", before);
		print_message("no 4 pages of a pool of our own\n");
		skip();
	}
	plug_config.memory.pages = RAM_PAGES_2M;
	assert_int_equal(setup(state), 0);
	d = *state;
	start(d, 8);
	assert_int_equal(pool("free_hugepages"), 4);
	assert_int_equal(ask(d, PLUG, 1, 3), ACK);
	assert_int_equal(pool("free_hugepages"), 1);
	memset(block_hva(d, 1), 1, 3 * BLOCK);
	assert_int_equal(ask(d, PLUG, 4, 2), BUSY);
	assert_int_equal(state_of(d, 4, 2), UNPLUGGED);
	assert_int_equal(pool("free_hugepages"), 1);
	assert_true(can_read(block_hva(d, 4)));
	assert_int_equal(ask(d, PLUG, 4, 1), ACK);
	assert_int_equal(pool("free_hugepages"), 0);
	assert_int_equal(ask(d, PLUG, 0, 1), BUSY);
	/* One that the balloon has given back is ordinary memory by now, and goes with the rest. */
	assert_int_equal(ram_discard(d->ram, block_gpa(d, 2), BLOCK, RAM_GIVER_BALLOON), 0);
	assert_int_equal(pool("free_hugepages"), 1);
	assert_int_equal(ask(d, UNPLUG, 1, 4), ACK);
	assert_int_equal(pool("free_hugepages"), 4);
	assert_int_equal(ram_plug_returned(d->ram), 3 * BLOCK);
	assert_false(can_read(block_hva(d, 1)));
	assert_int_equal(ask(d, PLUG, 2, 1), ACK);
	assert_int_equal(*block_hva(d, 2), 0);
	assert_int_equal(ask(d, UNPLUG_ALL, 0, 0), ACK);
	assert_int_equal(pool("free_hugepages"), 4);
	teardown(state);
	plug_config.memory.pages = RAM_PAGES_SMALL;
	assert_int_equal(kfile_write_u64(root, POOL_2M "nr_hugepages", before), 0);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(config_space),
		T(plug_and_unplug),
		T(returned_is_what_was_there),
		T(unplug_everything),
		T(resets),
		T(unplugged_is_out_of_reach),
		T(balloon_and_blocks),
		T(refused),
		T(beyond_the_usable_region),
		T(short_buffers),
		T(driver_of_old),
		T(memory_in_use),
		T(heads_in_flight),
		T(random_requests),
		cmocka_unit_test(places),
		cmocka_unit_test(pool_pages),
	};

	log_init("vmm_mem", LOG_LEVEL_ERR);
	return cmocka_run_group_tests_name("vmm_mem", tests, NULL, NULL);
}
