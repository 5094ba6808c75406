// SPDX-License-Identifier: Apache-2.0
/* Finding guests by the globs: what is listed when, and that nothing new is missed for it. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/clock.h"
#include "memd/guest.h"
#include "tests/unit/tree.h"

static struct {
	struct tree tree;
	struct config config;
	struct guests guests;
	char dir[256];
	uint64_t now_us;
	time_t wall_s;
} w;

static int setup(void **state)
{
	static const struct guests_hooks hooks;

	(void)state;
	memset(&w, 0, sizeof(w));
	w.tree = tree_new(NULL);
	w.now_us = clock_now_us();
	w.wall_s = time(NULL);
	tree_path(&w.tree, "guests", w.dir, sizeof(w.dir));
	assert_int_equal(mkdir(w.dir, 0700), 0);
	snprintf(w.config.guest_globs, sizeof(w.config.guest_globs), "%s/*.qmp", w.dir);
	assert_int_equal(guests_init(&w.guests, NULL, &w.config, &hooks, false, -1), 0);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	guests_fini(&w.guests);
	tree_free(&w.tree);
	return 0;
}

static void path_of(const char *name, char *buf, size_t n)
{
	snprintf(buf, n, "%s/%s", w.dir, name);
}

/* No socket listens on it: found all the same, and tried again at each scan. */
static void put(const char *name)
{
	char path[300];
	FILE *file;

	path_of(name, path, sizeof(path));
	file = fopen(path, "w");
	assert_non_null(file);
	fclose(file);
}

static void take(const char *name)
{
	char path[300];

	path_of(name, path, sizeof(path));
	assert_int_equal(unlink(path), 0);
}

/* The directory as if nothing had happened in it for so long. */
static void age(time_t seconds)
{
	const struct timespec times[2] = {{.tv_sec = w.wall_s - seconds},
					  {.tv_sec = w.wall_s - seconds}};

	assert_int_equal(utimensat(AT_FDCWD, w.dir, times, 0), 0);
}

static size_t scan(void)
{
	w.now_us += USEC_PER_SEC;
	guests_scan(&w.guests, w.now_us);
	return w.guests.n;
}

static void test_found_and_gone(void **state)
{
	(void)state;
	put("a.qmp");
	put("b.qmp");
	put("other");
	assert_int_equal(scan(), 2);
	put("c.qmp");
	assert_int_equal(scan(), 3);
	take("b.qmp");
	assert_int_equal(scan(), 2);
	assert_int_equal(scan(), 2);
}

/* After any rest of the directory, the next change is seen at once. */
static void test_seen_after_rest(void **state)
{
	(void)state;
	put("a.qmp");
	age(100);
	for (unsigned int i = 0; i < 5; i++)
		assert_int_equal(scan(), 1);
	put("b.qmp");
	assert_int_equal(scan(), 2);
	age(50);
	assert_int_equal(scan(), 2);
	take("a.qmp");
	assert_int_equal(scan(), 1);
}

/* A directory that is as it was is not listed; but every now and then whatever it says. */
static void test_not_listed_again(void **state)
{
	(void)state;
	put("a.qmp");
	age(100);
	assert_int_equal(scan(), 1);
	put("b.qmp");
	age(100);
	assert_int_equal(scan(), 1);
	w.now_us += 60 * USEC_PER_SEC;
	assert_int_equal(scan(), 2);
}

/* What happens within the time stamp's grain is not missed: a young directory is listed again. */
static void test_young(void **state)
{
	struct stat st;
	struct timespec times[2];

	(void)state;
	put("a.qmp");
	assert_int_equal(scan(), 1);
	assert_int_equal(stat(w.dir, &st), 0);
	put("b.qmp");
	times[0] = times[1] = st.st_mtim;
	assert_int_equal(utimensat(AT_FDCWD, w.dir, times, 0), 0);
	assert_int_equal(scan(), 2);
}

/* Directories by a pattern have no one time: listed each time. */
static void test_pattern_in_directory(void **state)
{
	(void)state;
	snprintf(w.config.guest_globs, sizeof(w.config.guest_globs), "%s/gu*s/*.qmp", w.tree.root);
	put("a.qmp");
	age(100);
	assert_int_equal(scan(), 1);
	put("b.qmp");
	age(100);
	assert_int_equal(scan(), 2);
}

/* Other globs after a reload: listed at once. */
static void test_reload(void **state)
{
	(void)state;
	put("a.qmp");
	put("b.sock");
	age(100);
	assert_int_equal(scan(), 1);
	assert_int_equal(scan(), 1);
	snprintf(w.config.guest_globs, sizeof(w.config.guest_globs), "%s/*.qmp %s/*.sock", w.dir,
		 w.dir);
	assert_int_equal(scan(), 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_found_and_gone, setup, teardown),
		cmocka_unit_test_setup_teardown(test_seen_after_rest, setup, teardown),
		cmocka_unit_test_setup_teardown(test_not_listed_again, setup, teardown),
		cmocka_unit_test_setup_teardown(test_young, setup, teardown),
		cmocka_unit_test_setup_teardown(test_pattern_in_directory, setup, teardown),
		cmocka_unit_test_setup_teardown(test_reload, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
