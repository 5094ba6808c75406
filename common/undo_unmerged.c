// SPDX-License-Identifier: Apache-2.0
/*
 * merge_across_nodes can be set only while nothing is merged (mm/ksm.c answers EBUSY), so bringing
 * it back means unmerging everything first, where there is room for that.
 */
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

bool undo_unmerge_fits(int rootfd)
{
	uint64_t merged =
		number(rootfd, KSM_DIR "pages_sharing") + number(rootfd, KSM_DIR "ksm_zero_pages");
	uint64_t total, available;
	char text[8192];

	if (kfile_read(rootfd, "proc/meminfo", text, sizeof(text)) < 0 ||
	    kfile_field_u64(text, "MemTotal", &total) < 0 ||
	    kfile_field_u64(text, "MemAvailable", &available) < 0)
		return false;
	return number(rootfd, KSM_DIR "pages_shared") > 0 && available > total / KEEP_PART &&
	       merged < (available - total / KEEP_PART) / (uint64_t)sysconf(_SC_PAGESIZE);
}

int undo_unmerge(struct undo *undo, int rootfd)
{
	char run[UNDO_VALUE_MAX];
	int r = undo_read(rootfd, KSM_DIR "run", run, sizeof(run));

	if (r == 0)
		r = undo_record(undo, KSM_DIR "run", run, "2");
	return r < 0 ? r : kfile_write(rootfd, KSM_DIR "run", "2");
}
