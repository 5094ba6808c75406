// SPDX-License-Identifier: Apache-2.0
/* One line at a time, since smaps of a large process has many; see smaps.h. */
#include "memd/smaps.h"

#include <ctype.h>
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "common/cleanup.h"

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
