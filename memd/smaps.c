// SPDX-License-Identifier: Apache-2.0
/* One line at a time, since smaps of a large process has many; see smaps.h. */
#include "memd/smaps.h"

#include <ctype.h>
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/kfile.h"
#include "common/size.h"

#define SPARSE_BYTES (1024 * GIB)
#define SPARSE_PART  1024
#define RAM_LEAST    (16 * MIB)

int smaps_header(const char *line, struct smaps_mapping *ret_mapping)
{
	unsigned long long start, end;
	unsigned long inode;
	char perms[5];
	int name_at = 0;

	/* headers begin in small hexadecimal, keys in capitals */
	if (isupper((unsigned char)line[0]))
		return 0;
	/* 16 digits are 64 bits: none of them overflows. */
	if (sscanf(line, "%16llx-%16llx %4s %*x %*x:%*x %lu %n", &start, &end, perms, &inode,
		   &name_at) != 4 ||
	    end < start || strlen(perms) != 4)
		return -EINVAL;
	*ret_mapping = (struct smaps_mapping){
		.start = start,
		.end = end,
		.readable = perms[0] == 'r',
		.writable = perms[1] == 'w',
		.exec = perms[2] == 'x',
		.shared = perms[3] == 's',
		.file = inode != 0,
		.name = line + (name_at ? (size_t)name_at : strlen(line)),
	};
	return 1;
}

bool smaps_is_private_ram(const struct smaps_mapping *map)
{
	const char *name = map->name;

	if (map->shared || !map->writable || map->exec || map->end - map->start < RAM_LEAST)
		return false;
	if (map->file)
		return !strncmp(name, "/memfd:", 7) || !strncmp(name, "/dev/shm/", 9);
	return name[0] != '[' || !strncmp(name, "[anon:", 6);
}

static unsigned int flag_bit(const char *flag)
{
	static const struct {
		char name[3];
		unsigned int bit;
	} flags[] = {
		{"mg", SMAPS_MERGEABLE}, {"ht", SMAPS_HUGETLB}, {"sh", SMAPS_SHARED},
		{"io", SMAPS_IO},	 {"pf", SMAPS_PFN},	{"de", SMAPS_FIXED},
		{"mm", SMAPS_MIXED},
	};

	for (size_t i = 0; i < ARRAY_SIZE(flags); i++)
		if (memcmp(flag, flags[i].name, 2) == 0)
			return flags[i].bit;
	return 0;
}

bool smaps_flags(const char *line, unsigned int *ret_flags)
{
	unsigned int flags = 0;

	if (strncmp(line, "VmFlags:", 8) != 0)
		return false;
	for (const char *p = line + 8; *p;) {
		size_t len;

		p += strspn(p, " \n");
		len = strcspn(p, " \n");
		if (len == 2)
			flags |= flag_bit(p);
		p += len;
	}
	*ret_flags = flags;
	return true;
}

static bool is_sparse(const struct smaps_mapping *map, uint64_t resident)
{
	return map->end - map->start >= SPARSE_BYTES &&
	       resident < (map->end - map->start) / SPARSE_PART;
}

int smaps_each(char *smaps, smaps_fn fn, void *ctx)
{
	struct smaps_mapping map = {0};
	char *save = NULL;
	bool open = false;

	for (char *line = strtok_r(smaps, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		uint64_t resident;
		int r;

		if (smaps_header(line, &map) > 0) {
			open = true;
			continue;
		}
		if (!open || kfile_field_u64(line, "Rss", &resident) < 0)
			continue;
		open = false;
		r = is_sparse(&map, resident) ? 0 : fn(ctx, &map, resident);
		if (r != 0)
			return r;
	}
	return 0;
}
