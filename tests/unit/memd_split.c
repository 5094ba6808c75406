// SPDX-License-Identifier: Apache-2.0
/* Huge pages of another process split, on this machine's kernel, and what stands against it. */
#include "memd/split.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "common/cleanup.h"
#include "common/kfile.h"
#include "common/size.h"
#include "memd/footprint.h"
#include "tests/unit/child.h"

#define UNIT  (2 * MIB)
#define UNITS 40

static int rootfd;
static atomic_bool cancel;

/* 40 huge pages, of which it has locked the ten before the last ten. */
static bool fill(void *ctx)
{
	char *map = mmap(NULL, (UNITS + 1) * UNIT, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *ram = (char *)(((uintptr_t)map + UNIT - 1) / UNIT * UNIT);

	(void)ctx;
	if (map == MAP_FAILED || madvise(ram, UNITS * UNIT, MADV_HUGEPAGE) < 0)
		return false;
	memset(ram, 7, UNITS * UNIT);
	return mlock(ram + 20 * UNIT, 10 * UNIT) == 0;
}

static struct split_guest guest_of(pid_t pid)
{
	struct split_guest guest = {.id = (uint64_t)pid, .pid = pid};
	struct footprint foot;

	assert_int_equal(footprint_quick(rootfd, pid, &foot), 0);
	guest.starttime = foot.starttime;
	return guest;
}

/* A child with its huge pages, or skip. */
static pid_t new_child(void)
{
	pid_t pid;

	if (!CHILD_IS_PLAIN || syscall(SYS_process_madvise, -1, NULL, 0, 20, 0) == 0 ||
	    errno == ENOSYS)
		skip();
	pid = child_new(fill, NULL);
	if (child_rollup(pid, "AnonHugePages") != UNITS * UNIT) {
		child_end(pid);
		puts("skipped: no huge pages free, or none allowed");
		skip();
	}
	return pid;
}

static void test_all_but_what_is_locked(void **state)
{
	pid_t pid = new_child();
	struct split_guest guest = guest_of(pid);
	struct split_result result = {0};
	uint64_t resident = child_rollup(pid, "Rss");

	assert_int_equal(split_process(rootfd, &guest, split_advise, UINT64_MAX, &cancel, &result),
			 0);
	assert_int_equal(result.split_bytes, 30 * UNIT);
	assert_int_equal(child_rollup(pid, "AnonHugePages"), 10 * UNIT);
	/* All of it is there still. */
	assert_int_equal(child_rollup(pid, "Rss"), resident);
	/* And again there is nothing to do. */
	assert_int_equal(split_process(rootfd, &guest, split_advise, UINT64_MAX, &cancel, &result),
			 0);
	assert_int_equal(result.split_bytes, 30 * UNIT);
	child_end(pid);
}

static ssize_t refuse(int pidfd, const struct iovec *pages, size_t n)
{
	(void)pidfd;
	(void)pages;
	(void)n;
	return -EPERM;
}

static void test_what_ends_it(void **state)
{
	pid_t pid = new_child();
	struct split_guest guest = guest_of(pid), other = guest;
	struct split_result result = {0};

	assert_int_equal(split_process(rootfd, &guest, refuse, UINT64_MAX, &cancel, &result),
			 -EPERM);
	/* Another process has the pid by now. */
	other.starttime++;
	assert_int_equal(split_process(rootfd, &other, split_advise, UINT64_MAX, &cancel, &result),
			 -ESRCH);
	assert_int_equal(split_process(rootfd, &guest, split_advise, 1, &cancel, &result),
			 -ECANCELED);
	atomic_store(&cancel, true);
	assert_int_equal(split_process(rootfd, &guest, split_advise, UINT64_MAX, &cancel, &result),
			 -ECANCELED);
	atomic_store(&cancel, false);
	assert_int_equal(result.split_bytes, 0);
	assert_int_equal(child_rollup(pid, "AnonHugePages"), UNITS * UNIT);
	child_end(pid);
	assert_int_equal(split_process(rootfd, &guest, split_advise, UINT64_MAX, &cancel, &result),
			 -ESRCH);
}

static struct split_result take(struct split *split)
{
	struct split_result result = {0};

	for (int i = 0; split_take(split, &result) == -EAGAIN; i++) {
		assert_true(i < 60000);
		usleep(1000);
	}
	assert_int_equal(split_take(split, &result), -EAGAIN);
	return result;
}

/* One after the other by a thread; one that is gone is no error, one that may not be touched is. */
static void test_guests_one_after_the_other(void **state)
{
	pid_t pids[2] = {new_child(), new_child()};
	struct split_guest guests[3] = {guest_of(pids[0]), guest_of(pids[1])};
	struct split_result result;
	struct split *split;

	guests[2] = (struct split_guest){.id = UINT64_MAX, .pid = pids[0], .starttime = 1};
	assert_int_equal(split_open(rootfd, split_advise, &split), 0);
	assert_int_equal(split_start(split, guests, 3), 0);
	assert_int_equal(split_start(split, guests, 3), -EBUSY);
	result = take(split);
	assert_int_equal(result.error, 0);
	assert_int_equal(result.split_bytes, 60 * UNIT);
	split_close(split);

	assert_int_equal(split_open(rootfd, refuse, &split), 0);
	child_end(pids[0]);
	child_end(pids[1]);
	pids[0] = new_child();
	guests[0] = guest_of(pids[0]);
	assert_int_equal(split_start(split, guests, 1), 0);
	assert_int_equal(take(split).error, -EPERM);
	split_close(split);
	child_end(pids[0]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all_but_what_is_locked),
		cmocka_unit_test(test_what_ends_it),
		cmocka_unit_test(test_guests_one_after_the_other),
	};

	rootfd = kfile_open_root("/");
	return cmocka_run_group_tests_name("memd_split", tests, NULL, NULL);
}
