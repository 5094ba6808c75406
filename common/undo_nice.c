// SPDX-License-Identifier: Apache-2.0
/* ksmd's nice value, which no file has: in the journal it goes by a path that no file can have. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/ksmd.h"
#include "common/undo_journal.h"

bool undo_nice_is(const char *path)
{
	return strcmp(path, UNDO_KSMD_NICE) == 0;
}

int undo_nice_read(int rootfd, char *buf, size_t n)
{
	int nice, r = ksmd_nice(rootfd, &nice);

	if (r < 0)
		return r;
	return (size_t)snprintf(buf, n, "%d", nice) >= n ? -E2BIG : 0;
}

int undo_nice_write(int rootfd, const char *value)
{
	char *end;
	long nice = strtol(value, &end, 10);

	if (end == value || *end || nice < -20 || nice > 19)
		return -EINVAL;
	return ksmd_set_nice(rootfd, (int)nice);
}
