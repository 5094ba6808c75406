// SPDX-License-Identifier: Apache-2.0
/*
 * Broken huge pages of another process made whole, on this machine's kernel: a child breaks its own
 * in the ways that merging and the balloon do.
 */
#include "memd/collapse.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "common/cleanup.h"
#include "common/kfile.h"
#include "common/size.h"
#include "tests/unit/child.h"

#define UNITS 20
#define UNIT  COLLAPSE_UNIT_BYTES
#define PAGE  4096

static int rootfd;
static atomic_bool cancel;

/*
 * 20 units, huge at first: 0-3 still are, 4-7 have one page that went and came back, 8-9 lack a
 * page, 10-11 lack most, 12-19 have small pages from the start.
 */
static bool break_up(void *ctx)
{
	char *map = mmap(NULL, (UNITS + 1) * UNIT, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *ram = (char *)(((uintptr_t)map + UNIT - 1) / UNIT * UNIT);

	(void)ctx;
	if (map == MAP_FAILED || madvise(ram, 12 * UNIT, MADV_HUGEPAGE) < 0 ||
	    madvise(ram + 12 * UNIT, 8 * UNIT, MADV_NOHUGEPAGE) < 0)
		return false;
	memset(ram, 7, UNITS * UNIT);
	for (int i = 4; i < 12; i++)
		madvise(ram + i * UNIT + 9 * PAGE, i < 10 ? PAGE : UNIT / 2, MADV_DONTNEED);
	for (int i = 4; i < 8; i++)
		ram[i * UNIT + 9 * PAGE] = 7;
	return true;
}

static struct collapse_job job_for(pid_t pid)
{
	return (struct collapse_job){.rootfd = rootfd,
				     .pid = pid,
				     .bytes = GIB,
				     .bytes_per_s = GIB,
				     .limit_us = 60000000,
				     .advise = collapse_advise};
}

static bool can_run(void)
{
	char mode[32];

	if (collapse_is_possible() &&
	    kfile_read_choice(rootfd, "sys/kernel/mm/transparent_hugepage/enabled", mode,
			      sizeof(mode)) == 0 &&
	    strcmp(mode, "never") != 0)
		return true;
	puts("skipped: no transparent huge pages, or no right to process_madvise(MADV_COLLAPSE)");
	return false;
}

static void test_whole_again(void **state)
{
	pid_t pid = child_new(break_up, NULL);
	struct collapse_job job = job_for(pid);
	uint64_t before;

	if (!CHILD_IS_PLAIN || !can_run()) {
		child_end(pid);
		skip();
	}
	before = child_rollup(pid, "AnonHugePages");
	if (before != 4 * UNIT) { /* the machine has no huge pages free */
		child_end(pid);
		skip();
	}
	collapse_run(&job, &cancel);
	assert_int_equal(job.error, 0);
	assert_int_equal(job.huge_bytes, 4 * UNIT);
	assert_int_equal(job.collapsed_bytes, 4 * UNIT);
	assert_int_equal(job.filled_bytes, 0);
	/* What has holes stays, and what is not to have huge pages. */
	assert_int_equal(job.partial_bytes, 2 * (UNIT - PAGE) + 2 * UNIT / 2);
	assert_int_equal(job.failed_bytes, 8 * UNIT);
	assert_int_equal(job.last_error, EINVAL);
	assert_int_equal(child_rollup(pid, "AnonHugePages"), 8 * UNIT);
	assert_true(job.longest_us > 0 && job.took_us >= job.longest_us);
	/* With holes that are worth it, and no more than asked for. */
	job = job_for(pid);
	job.holes = true;
	job.bytes = UNIT;
	collapse_run(&job, &cancel);
	assert_int_equal(job.collapsed_bytes, UNIT);
	assert_int_equal(job.filled_bytes, PAGE);
	job.bytes = GIB;
	collapse_run(&job, &cancel);
	assert_int_equal(child_rollup(pid, "AnonHugePages"), 10 * UNIT);
	child_end(pid);
}

static int calls, answers[64];

static int advise(int pidfd, uint64_t start)
{
	assert_true(pidfd >= 0 && start % UNIT == 0);
	return answers[calls++ % 64];
}

static void test_refused(void **state)
{
	pid_t pid = child_new(break_up, NULL);
	struct collapse_job job = job_for(pid);

	job.advise = advise;
	/* No huge page to be had: every unit is tried, a busy one three times. */
	for (int i = 0; i < 64; i++)
		answers[i] = -ENOMEM;
	answers[1] = answers[2] = answers[3] = -EAGAIN;
	calls = 0;
	collapse_run(&job, &cancel);
	assert_int_equal(job.error, 0);
	assert_int_equal(job.collapsed_bytes, 0);
	assert_int_equal(job.failed_bytes, calls < 5 ? 0 : (uint64_t)(calls - 2) * UNIT);
	assert_true(calls >= 5);
	/* Not allowed: at once. */
	job = job_for(pid);
	job.advise = advise;
	answers[0] = -EPERM;
	calls = 0;
	collapse_run(&job, &cancel);
	assert_int_equal(job.error, -EPERM);
	assert_int_equal(calls, 1);
	/* Another process by now. */
	job = job_for(pid);
	job.advise = advise;
	job.starttime = 1;
	calls = 0;
	collapse_run(&job, &cancel);
	assert_int_equal(job.error, -ESRCH);
	/* It is to end. */
	atomic_store(&cancel, true);
	job = job_for(pid);
	job.advise = advise;
	collapse_run(&job, &cancel);
	atomic_store(&cancel, false);
	assert_int_equal(job.error, 0);
	assert_int_equal(calls, 0);
	child_end(pid);
	job = job_for(pid);
	collapse_run(&job, &cancel);
	assert_int_equal(job.error, -ESRCH);
}

static int open_root(void **state)
{
	rootfd = kfile_open_root("/");
	return rootfd < 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_whole_again),
		cmocka_unit_test(test_refused),
	};

	return cmocka_run_group_tests(tests, open_root, NULL);
}
