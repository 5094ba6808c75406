/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guest RAM for device tests: three regions of separate buffers, so that a sanitizer sees each
 * border: 0..1 MiB, 1..2 MiB right behind it, and 1 MiB at 4 GiB. What devices give back is written
 * down instead of done. Include it once per test program: it takes the place of ram*.c.
 */
#ifndef MEMD_TESTS_FAKE_RAM_H
#define MEMD_TESTS_FAKE_RAM_H

#include <stdlib.h>
#include <string.h>

#include "vmm/ram.h"

#define FAKE_REGION_BYTES (1024UL * 1024)
#define FAKE_SECOND_GPA	  FAKE_REGION_BYTES
#define FAKE_HIGH_GPA	  0x100000000UL
#define FAKE_RAM_BYTES	  (3 * FAKE_REGION_BYTES)
#define FAKE_CALLS_MAX	  1024

struct fake_call {
	uint64_t gpa, len;
	enum ram_giver giver;
};

struct ram {
	struct ram_region regions[3];
	struct fake_call discards[FAKE_CALLS_MAX], reuses[FAKE_CALLS_MAX];
	size_t n_discards, n_reuses;
	int discard_result;
	unsigned int n_lazy;
	unsigned int n_settles, settles_left; /* calls; how many of them leave something over */
};

static inline struct ram *fake_ram_new(void)
{
	static const uint64_t gpas[] = {0, FAKE_SECOND_GPA, FAKE_HIGH_GPA};
	struct ram *ram = calloc(1, sizeof(*ram));

	for (size_t i = 0; i < 3; i++) {
		ram->regions[i] = (struct ram_region){
			.gpa = gpas[i],
			.size_bytes = FAKE_REGION_BYTES,
			.hva = aligned_alloc(4096, FAKE_REGION_BYTES),
		};
		memset(ram->regions[i].hva, 0, FAKE_REGION_BYTES);
	}
	return ram;
}

static inline void fake_ram_free(struct ram *ram)
{
	for (size_t i = 0; i < 3; i++)
		free(ram->regions[i].hva);
	free(ram);
}

size_t ram_region_count(const struct ram *ram)
{
	return 3;
}

const struct ram_region *ram_region(const struct ram *ram, size_t index)
{
	return &ram->regions[index];
}

uint64_t ram_size_bytes(const struct ram *ram)
{
	return FAKE_RAM_BYTES;
}

uint64_t ram_room(const struct ram *ram, uint64_t gpa)
{
	for (size_t i = 0; i < 3; i++)
		if (gpa >= ram->regions[i].gpa && gpa - ram->regions[i].gpa < FAKE_REGION_BYTES)
			return FAKE_REGION_BYTES - (gpa - ram->regions[i].gpa);
	return 0;
}

void *ram_ptr(const struct ram *ram, uint64_t gpa, uint64_t len)
{
	if (len == 0 || ram_room(ram, gpa) < len)
		return NULL;
	for (size_t i = 0; i < 3; i++)
		if (gpa >= ram->regions[i].gpa && gpa - ram->regions[i].gpa < FAKE_REGION_BYTES)
			return ram->regions[i].hva + (gpa - ram->regions[i].gpa);
	return NULL;
}

int ram_discard(struct ram *ram, uint64_t gpa, uint64_t len, enum ram_giver giver)
{
	/* What ram.h demands of a caller; a device that breaks it is the bug we look for. */
	if (gpa % 4096 || len % 4096 || !ram_ptr(ram, gpa, len))
		abort();
	if (ram->n_discards < FAKE_CALLS_MAX)
		ram->discards[ram->n_discards++] = (struct fake_call){gpa, len, giver};
	return ram->discard_result;
}

int ram_discard_lazily(struct ram *ram, uint64_t gpa, uint64_t len)
{
	ram->n_lazy++;
	return ram_discard(ram, gpa, len, RAM_GIVER_BALLOON);
}

bool ram_settle(struct ram *ram, bool all)
{
	ram->n_settles++;
	return ram->settles_left > 0 && ram->settles_left--;
}

int ram_reuse(struct ram *ram, uint64_t gpa, uint64_t len)
{
	if (gpa % 4096 || len % 4096 || !ram_ptr(ram, gpa, len))
		abort();
	if (ram->n_reuses < FAKE_CALLS_MAX)
		ram->reuses[ram->n_reuses++] = (struct fake_call){.gpa = gpa, .len = len};
	return 0;
}

void ram_reuse_all(struct ram *ram)
{
	for (size_t i = 0; i < 3; i++)
		ram_reuse(ram, ram->regions[i].gpa, ram->regions[i].size_bytes);
}

size_t ram_plug_count(const struct ram *ram)
{
	return 0;
}

const struct ram_region *ram_plug_region(const struct ram *ram, size_t index)
{
	return NULL;
}

uint64_t ram_plug_start(const struct ram *ram)
{
	return UINT64_MAX;
}

#endif
