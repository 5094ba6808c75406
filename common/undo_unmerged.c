// SPDX-License-Identifier: Apache-2.0
/*
 * merge_across_nodes can be set only while nothing is merged (mm/ksm.c answers EBUSY), so bringing
 * it back means unmerging everything first, where there is room for that.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "common/kfile.h"
#include "common/size.h"
#include "common/undo_journal.h"

#define KSM_DIR "sys/kernel/mm/ksm/"
/* Part of the host's memory that has to stay available. */
#define KEEP_PART 16

static uint64_t number(int rootfd, const char *path)
{
	uint64_t value = 0;

	return kfile_read_u64(rootfd, path, &value) < 0 ? 0 : value;
}

static bool fits(int rootfd)
{
	uint64_t merged =
		number(rootfd, KSM_DIR "pages_sharing") + number(rootfd, KSM_DIR "ksm_zero_pages");
	uint64_t total, available;
	char text[8192];

	if (kfile_read(rootfd, "proc/meminfo", text, sizeof(text)) < 0 ||
	    kfile_field_u64(text, "MemTotal", &total) < 0 ||
	    kfile_field_u64(text, "MemAvailable", &available) < 0)
		return false;
	return merged < (available - total / KEEP_PART) / (uint64_t)sysconf(_SC_PAGESIZE) &&
	       available > total / KEEP_PART;
}

int undo_write_unmerged(int rootfd, const char *path, const char *value)
{
	char run[8];
	int r, back;

	if (strcmp(path, KSM_DIR "merge_across_nodes") != 0 || !fits(rootfd))
		return -EBUSY;
	r = kfile_read_choice(rootfd, KSM_DIR "run", run, sizeof(run));
	if (r < 0)
		return r;
	r = kfile_write(rootfd, KSM_DIR "run", "2");
	if (r < 0)
		return r;
	r = kfile_write(rootfd, path, value);
	back = kfile_write(rootfd, KSM_DIR "run", run);
	return r < 0 ? r : back;
}
