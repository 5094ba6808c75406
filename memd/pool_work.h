/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One pool of huge pages resized, by a worker: the kernel may move memory about for minutes before
 * it has the pages. Source: Documentation/admin-guide/mm/hugetlbpage.rst, mm/hugetlb.c.
 */
#ifndef MEMD_POOL_WORK_H
#define MEMD_POOL_WORK_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "memd/hugepage.h"

#define POOL_PATH_MAX 128

/* kfile_write_u64(), or a test's kernel. */
typedef int (*pool_write_fn)(int rootfd, const char *path, uint64_t value);

struct pool_job {
	/* asked for */
	pool_write_fn write;
	int rootfd;
	uint32_t node; /* HUGEPAGE_ANY_NODE: a kernel that shows no nodes */
	uint64_t page_bytes, pages;
	/* what came of it */
	int error; /* -errno of reading or writing; 0: it was tried, see `after` */
	uint64_t before, after, floor; /* pages; floor: what was in use or reserved right before */
	uint64_t surplus;	       /* of `after` */
	uint64_t took_us;
};

/* "sys/devices/system/node/node1/hugepages/hugepages-2048kB/" and the file's name. */
void pool_path(uint32_t node, uint64_t page_bytes, const char *file, char *buf, size_t n);

/*
 * A worker_run_fn over a struct pool_job. Never sets less than what is in use or reserved, read
 * right before writing. Grows in steps, has the node's memory compacted when a step falls short,
 * and stays at what it came to.
 */
void pool_work_run(void *job, const atomic_bool *cancel);

#endif
