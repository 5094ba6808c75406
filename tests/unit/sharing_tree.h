/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Processes with page tables in a tree: which frame each page of them maps, and the kernel's files
 * about frames (sparse ones), as /proc would show them.
 */
#ifndef TESTS_UNIT_SHARING_TREE_H
#define TESTS_UNIT_SHARING_TREE_H

#include "tests/unit/tree.h"

#define FRAME_PRESENT	(1ULL << 63)
#define FRAME_SWAPPED	(1ULL << 62)
#define FRAME_OWN	(FRAME_PRESENT | 1ULL << 56) /* mapped by nobody else */
#define FRAME_FILE	(1ULL << 61)
#define FRAME_EXCLUSIVE (1ULL << 56)
#define FRAME_DIRTY	(1ULL << 4)
#define FRAME_KSM	(1ULL << 21)
#define FRAME_ZERO_PAGE (1ULL << 24)
#define FRAME_ANON	(1ULL << 12)

#define TREE_BASE 0x7f0000000000ULL

static inline void tree_put64(const struct tree *tree, const char *path, uint64_t index,
			      uint64_t value)
{
	char full[PATH_MAX];
	int fd = open(tree_path(tree, path, full, sizeof(full)), O_WRONLY | O_CREAT, 0644);

	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, &value, 8, (off_t)(index * 8)), 8);
	close(fd);
}

/* A frame as the kernel tells of it. */
static inline void tree_frame(const struct tree *tree, uint64_t frame, uint64_t flags,
			      uint64_t mappers)
{
	tree_put64(tree, "proc/kpageflags", frame, flags);
	tree_put64(tree, "proc/kpagecount", frame, mappers);
}

/* A page of a process, counted from TREE_BASE: present anonymous memory in that frame. */
static inline void tree_map(const struct tree *tree, pid_t pid, uint64_t page, uint64_t entry)
{
	char path[64];

	snprintf(path, sizeof(path), "proc/%d/pagemap", (int)pid);
	tree_put64(tree, path, TREE_BASE / 4096 + page, entry);
}

/* merging, zero: as ksm_stat tells; zero UINT64_MAX: a kernel without that line. */
static inline void tree_ksm_stat(const struct tree *tree, pid_t pid, uint64_t merging,
				 uint64_t zero)
{
	char path[64], text[256];
	int n = snprintf(text, sizeof(text), "ksm_rmap_items %llu\n",
			 (unsigned long long)merging + 10);

	if (zero != UINT64_MAX)
		n += snprintf(text + n, sizeof(text) - (size_t)n, "ksm_zero_pages %llu\n",
			      (unsigned long long)zero);
	snprintf(text + n, sizeof(text) - (size_t)n, "ksm_merging_pages %llu\n",
		 (unsigned long long)merging);
	snprintf(path, sizeof(path), "proc/%d/ksm_stat", (int)pid);
	tree_set(tree, path, text);
}

/*
 * A process with one mapping of that many pages at TREE_BASE. merged: its KSM line in pages, -1: a
 * kernel without. flags: "rd wr mg".
 */
static inline void tree_process(const struct tree *tree, pid_t pid, uint64_t pages, long merged,
				const char *flags)
{
	char path[64], text[1024];
	int n;

	snprintf(path, sizeof(path), "proc/%d/stat", (int)pid);
	snprintf(text, sizeof(text), "%d (vm) S 1 1 1 0 -1 0 0 0 0 0 1 1 0 0 20 0 1 0 %d 0 0\n",
		 (int)pid, (int)pid * 10);
	tree_set(tree, path, text);
	snprintf(path, sizeof(path), "proc/%d/status", (int)pid);
	tree_set(tree, path, "Name:\tvm\nState:\tS (sleeping)\nVmRSS:\t 4096 kB\n");
	n = snprintf(text, sizeof(text),
		     "55d000000000-55d000001000 r-xp 00000000 08:01 99 /usr/bin/vm\n"
		     "Rss: 4 kB\nVmFlags: rd ex mr mw me \n"
		     "%llx-%llx rw-p 00000000 00:00 0 \nSize: %llu kB\n",
		     TREE_BASE, TREE_BASE + (unsigned long long)pages * 4096,
		     (unsigned long long)pages * 4);
	if (merged >= 0)
		n += snprintf(text + n, sizeof(text) - (size_t)n, "KSM: %ld kB\n", merged * 4);
	snprintf(text + n, sizeof(text) - (size_t)n, "VmFlags: %s \n", flags);
	snprintf(path, sizeof(path), "proc/%d/smaps", (int)pid);
	tree_set(tree, path, text);
	tree_map(tree, pid, pages - 1, 0);
}

static inline void tree_kernel(const struct tree *tree, uint64_t shared, uint64_t sharing,
			       uint64_t zero)
{
	char text[32];

	snprintf(text, sizeof(text), "%llu\n", (unsigned long long)shared);
	tree_set(tree, "sys/kernel/mm/ksm/pages_shared", text);
	snprintf(text, sizeof(text), "%llu\n", (unsigned long long)sharing);
	tree_set(tree, "sys/kernel/mm/ksm/pages_sharing", text);
	tree_set(tree, "sys/kernel/mm/ksm/full_scans", "7\n");
	tree_set(tree, "sys/kernel/mm/ksm/run", "1\n");
	if (zero == UINT64_MAX)
		return;
	snprintf(text, sizeof(text), "%llu\n", (unsigned long long)zero);
	tree_set(tree, "sys/kernel/mm/ksm/ksm_zero_pages", text);
}

#endif
