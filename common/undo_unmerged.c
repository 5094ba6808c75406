// SPDX-License-Identifier: Apache-2.0
/*
 * merge_across_nodes can be set only while nothing is merged (mm/ksm.c answers EBUSY), and run=2 is
 * to unmerge, so bringing these back means unmerging everything first, where there is room for
 * that.
 */
#include <errno.h>
#include <unistd.h>

#include "common/kfile.h"
#include "common/size.h"
#include "common/undo_journal.h"

/* Part of the host's memory that has to stay available. */
#define KEEP_PART 16

static uint64_t number(int rootfd, const char *path)
{
	uint64_t value = 0;

	return kfile_read_u64(rootfd, path, &value) < 0 ? 0 : value;
}

int undo_unmerge_ask(int rootfd, bool zero_pages)
{
	uint64_t zero = number(rootfd, KSM_DIR "ksm_zero_pages");
	uint64_t merged = number(rootfd, KSM_DIR "pages_sharing") + zero;
	uint64_t total, available;
	char text[8192];

	if (number(rootfd, KSM_DIR "pages_shared") == 0 && !(zero_pages && zero))
		return 0;
	if (kfile_read(rootfd, "proc/meminfo", text, sizeof(text)) < 0 ||
	    kfile_field_u64(text, "MemTotal", &total) < 0 ||
	    kfile_field_u64(text, "MemAvailable", &available) < 0 ||
	    available <= total / KEEP_PART ||
	    merged >= (available - total / KEEP_PART) / (uint64_t)sysconf(_SC_PAGESIZE))
		return -ENOMEM;
	return 1;
}

int undo_record_unmerge(struct undo *undo, int rootfd)
{
	char run[UNDO_VALUE_MAX];
	int r = undo_read(rootfd, KSM_DIR "run", run, sizeof(run));

	/* Where the kernel is interrupted in it, or fails, it leaves 0 (mm/ksm.c, run_store()). */
	if (r == 0)
		r = undo_record(undo, KSM_DIR "run", run, "0");
	return r < 0 ? r : undo_record(undo, KSM_DIR "run", run, "2");
}

int undo_unmerge(struct undo *undo, int rootfd)
{
	int r = undo_record_unmerge(undo, rootfd);

	return r < 0 ? r : kfile_write(rootfd, KSM_DIR "run", "2");
}
