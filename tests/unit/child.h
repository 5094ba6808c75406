/* SPDX-License-Identifier: Apache-2.0 */
/* A child of a test that does something to its memory and then holds still to be looked at. */
#ifndef TESTS_UNIT_CHILD_H
#define TESTS_UNIT_CHILD_H

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/kfile.h"

/* In the child, which has the test's memory as it was. False: the test fails. */
typedef bool (*child_fn)(void *ctx);

/* A child that has done fn and does nothing more, until child_end() or the end of the test. */
static inline pid_t child_new(child_fn fn, void *ctx)
{
	int ready[2];
	pid_t pid;
	char c;

	assert_int_equal(pipe(ready), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL); /* also after a failed test */
		if (!fn(ctx) || write(ready[1], "r", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	close(ready[1]);
	assert_int_equal(read(ready[0], &c, 1), 1);
	close(ready[0]);
	return pid;
}

/* A child_fn: takes *(size_t *)bytes of private memory and touches all of it. */
static inline bool child_fill(void *bytes)
{
	size_t len = *(size_t *)bytes;
	char *memory = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		return false;
	memset(memory, 7, len);
	return true;
}

/* Of a process, bytes: "AnonHugePages", "Rss", "Shared_Dirty" and what else smaps_rollup has. */
static inline uint64_t child_rollup(pid_t pid, const char *key)
{
	AUTO_FD int root = kfile_open_root("/");
	AUTO_FREE char *text = NULL;
	uint64_t bytes = 0;
	char path[64];

	snprintf(path, sizeof(path), "proc/%d/smaps_rollup", (int)pid);
	assert_int_equal(kfile_read_all(root, path, &text, NULL), 0);
	assert_int_equal(kfile_field_u64(text, key, &bytes), 0);
	return bytes;
}

static inline void child_end(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

/* With AddressSanitizer a child has mappings that look like guest RAM. */
#ifdef __SANITIZE_ADDRESS__
#define CHILD_IS_PLAIN 0
#else
#define CHILD_IS_PLAIN 1
#endif

#endif
