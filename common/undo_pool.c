// SPDX-License-Identifier: Apache-2.0
/*
 * nr_hugepages of a pool: the kernel gives fewer pages than it is asked for when memory is in
 * pieces, so any size between the original and ours is ours; and what is in use or reserved stays,
 * so the way back may end early. Then the rest is for the next restore.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/kfile.h"
#include "common/undo_journal.h"

#define FILE_NAME "/nr_hugepages"

bool undo_pool_is(const char *path)
{
	size_t len = strlen(path);

	return len > strlen(FILE_NAME) && !strcmp(path + len - strlen(FILE_NAME), FILE_NAME);
}

static uint64_t number(const char *text)
{
	return strtoull(text, NULL, 10);
}

bool undo_pool_is_ours(const struct undo_item *entry, const char *value)
{
	uint64_t low = number(entry->original), high = low, now = number(value);

	for (size_t i = 0; i < entry->n_ours; i++) {
		uint64_t ours = number(entry->ours[i]);

		low = ours < low ? ours : low;
		high = ours > high ? ours : high;
	}
	return now >= low && now <= high;
}

/* A number of the same pool, or 0. */
static uint64_t neighbour(int rootfd, const char *path, const char *name)
{
	int dir = (int)(strlen(path) - strlen(FILE_NAME));
	char file[UNDO_PATH_MAX];
	uint64_t value = 0;

	snprintf(file, sizeof(file), "%.*s/%s", dir, path, name);
	return kfile_read_u64(rootfd, file, &value) < 0 ? 0 : value;
}

/* Reservations are told of the whole host only, whose pools are named alike. */
static uint64_t reserved(int rootfd, const char *path)
{
	const char *size = strstr(path, "/hugepages-");
	char file[UNDO_PATH_MAX];

	if (!size)
		return 0;
	snprintf(file, sizeof(file), "sys/kernel/mm/hugepages%s", size);
	return neighbour(rootfd, file, "resv_hugepages");
}

int undo_pool_write(int rootfd, const char *path, const char *original)
{
	uint64_t total = 0, free = neighbour(rootfd, path, "free_hugepages");
	uint64_t kept = reserved(rootfd, path), want = number(original), floor;
	int r = kfile_read_u64(rootfd, path, &total);

	if (r < 0)
		return r;
	kept = kept < free ? kept : free;
	floor = (total > free ? total - free : 0) + kept;
	if (want < floor)
		want = floor;
	return want == total ? 0 : kfile_write_u64(rootfd, path, want);
}
