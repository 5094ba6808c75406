/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For tests of guest RAM on real memory of the host: making it, what is there of it, and what the
 * kernel says of its mappings. main() opens root.
 */
#ifndef MEMD_TESTS_REAL_RAM_H
#define MEMD_TESTS_REAL_RAM_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/kfile.h"
#include "common/log.h"
#include "common/size.h"
#include "vmm/ram.h"

#define HUGE (2 * MIB)

static int root = -1;
static char said[4096];

static inline struct ram *new_ram(const struct ram_config *configs, size_t n)
{
	struct ram *ram;

	assert_int_equal(ram_new(configs, n, &ram), 0);
	return ram;
}

static inline struct ram *new_one(enum ram_pages pages, uint64_t bytes)
{
	struct ram_config config = {.size_bytes = bytes, .pages = pages};

	return new_ram(&config, 1);
}

/* ram_new that fails; what it logs is in said. */
static inline int refused(const struct ram_config *configs, size_t n)
{
	int saved = dup(2), r;
	FILE *f = tmpfile();
	struct ram *ram = NULL;
	size_t len;

	dup2(fileno(f), 2);
	r = ram_new(configs, n, &ram);
	dup2(saved, 2);
	close(saved);
	rewind(f);
	len = fread(said, 1, sizeof(said) - 1, f);
	said[len] = '\0';
	fclose(f);
	if (r == 0)
		ram_free(ram);
	else
		assert_null(ram);
	return r;
}

static inline void assert_said(const char *part)
{
	if (!strstr(said, part))
		fail_msg("no '%s' in: %s", part, said);
}

static inline uint8_t *hva(struct ram *ram, uint64_t gpa)
{
	uint8_t *p = ram_ptr(ram, gpa, 1);

	assert_non_null(p);
	return p;
}

static inline uint64_t resident(struct ram *ram, uint64_t gpa, uint64_t len)
{
	unsigned char *vec = malloc(len / 4096);
	uint64_t n = 0;

	assert_int_equal(mincore(hva(ram, gpa), len, vec), 0);
	for (uint64_t i = 0; i < len / 4096; i++)
		n += vec[i] & 1;
	free(vec);
	return n * 4096;
}

static inline void assert_returned(struct ram *ram, uint64_t balloon, uint64_t reporting)
{
	uint64_t b = 1, r = 1;

	assert_int_equal(ram_returned(ram, &b, &r), 0);
	assert_int_equal(b, balloon);
	assert_int_equal(r, reporting);
}

/* VmFlags line of the mapping at p. */
static inline void read_flags(const void *p, char *buf, size_t n)
{
	AUTO_FILE FILE *f = fopen("/proc/self/smaps", "r");
	bool inside = false;
	char line[512];

	buf[0] = '\0';
	while (f && fgets(line, sizeof(line), f)) {
		uint64_t from, to;

		if (sscanf(line, "%" SCNx64 "-%" SCNx64, &from, &to) == 2)
			inside = (uintptr_t)p >= from && (uintptr_t)p < to;
		else if (inside && strncmp(line, "VmFlags:", 8) == 0)
			snprintf(buf, n, "%s", line);
	}
}

static inline bool has_flag(const void *p, const char *flag)
{
	char flags[512], word[8];

	read_flags(p, flags, sizeof(flags));
	snprintf(word, sizeof(word), " %s ", flag);
	return strstr(flags, word) != NULL;
}

#endif
