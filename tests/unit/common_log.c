// SPDX-License-Identifier: Apache-2.0
/* Log lines as they arrive on stderr, read back through a pipe. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "common/clock.h"
#include "common/log.h"

static int saved_stderr, reader;

static int redirect(void **state)
{
	int fds[2];

	assert_int_equal(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
	saved_stderr = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
	assert_int_equal(dup2(fds[1], STDERR_FILENO), STDERR_FILENO);
	close(fds[1]);
	reader = fds[0];
	return 0;
}

static int undo_redirect(void **state)
{
	unsetenv("JOURNAL_STREAM");
	dup2(saved_stderr, STDERR_FILENO);
	close(saved_stderr);
	close(reader);
	return 0;
}

static void expect(const char *text)
{
	char buf[4096];
	ssize_t n = read(reader, buf, sizeof(buf) - 1);

	buf[n > 0 ? n : 0] = '\0';
	assert_string_equal(buf, text);
}

static void test_plain(void **state)
{
	log_init("memd", LOG_LEVEL_INFO);
	log_warn("%s is %d", "answer", 42);
	expect("memd: answer is 42\n");
	log_info("ends in a newline\n");
	expect("memd: ends in a newline\n");
	log_debug("not wanted");
	expect("");
	log_init("memd", LOG_LEVEL_DEBUG);
	log_debug("wanted");
	expect("memd: wanted\n");
}

static void test_journal(void **state)
{
	char stream[64];
	struct stat st;

	assert_int_equal(fstat(STDERR_FILENO, &st), 0);
	snprintf(stream, sizeof(stream), "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
	setenv("JOURNAL_STREAM", stream, 1);
	log_init("memd", LOG_LEVEL_INFO);
	log_err("broken");
	log_info("fine");
	expect("<3>broken\n<6>fine\n");

	/* Inherited, but our stderr goes elsewhere. */
	setenv("JOURNAL_STREAM", "1:2", 1);
	log_init("memd", LOG_LEVEL_INFO);
	log_err("broken");
	expect("memd: broken\n");
}

/* A guest's name must not drive the operator's terminal or forge a line. */
static void test_control_characters(void **state)
{
	log_init("memd", LOG_LEVEL_INFO);
	log_info("name %s", "a\nmemd: forged\x1b[2J\x7f\tb \xc3\xa9");
	expect("memd: name a?memd: forged?[2J? b \xc3\xa9\n");
}

static void test_long_line(void **state)
{
	char text[5000], buf[4096];
	ssize_t n;

	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	log_init("memd", LOG_LEVEL_INFO);
	errno = ENOSPC;
	log_info("%s", text);
	assert_int_equal(errno, ENOSPC);
	n = read(reader, buf, sizeof(buf));
	assert_in_range(n, 1000, 2048);
	assert_memory_equal(buf + n - 4, "...\n", 4);
}

static void test_limit(void **state)
{
	struct log_limit limit = {.window_us = 50000, .burst = 2};
	unsigned int dropped = 99;

	assert_true(log_limit_pass(&limit, &dropped));
	assert_int_equal(dropped, 0);
	assert_true(log_limit_pass(&limit, NULL));
	for (int i = 0; i < 5; i++)
		assert_false(log_limit_pass(&limit, NULL));
	usleep(60000);
	assert_true(log_limit_pass(&limit, &dropped));
	assert_int_equal(dropped, 5);
	assert_true(log_limit_pass(&limit, &dropped));
	assert_int_equal(dropped, 0);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, redirect, undo_redirect)
	const struct CMUnitTest tests[] = {
		TEST(test_plain),     TEST(test_journal),	    TEST(test_control_characters),
		TEST(test_long_line), cmocka_unit_test(test_limit),
	};

	return cmocka_run_group_tests_name("common_log", tests, NULL, NULL);
}
