// SPDX-License-Identifier: Apache-2.0
/* Looks at processes from a thread of their own: one at a time, with a rest behind each. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <poll.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/kfile.h"
#include "memd/survey.h"

#define GONE 0x7ffffff0 /* no pid is so large */

static struct survey_result take(struct survey *survey)
{
	struct pollfd done = {.fd = survey_fd(survey), .events = POLLIN};
	struct survey_result result;

	assert_int_equal(poll(&done, 1, 30000), 1);
	assert_int_equal(survey_take(survey, &result), 0);
	assert_int_equal(poll(&done, 1, 0), 0);
	assert_int_equal(survey_take(survey, &result), -EAGAIN);
	return result;
}

/* Rests are nine times as long as the look was. */
static void start(struct survey *survey, uint64_t guest, pid_t pid)
{
	int r;

	while ((r = survey_start(survey, guest, pid)) == -EBUSY)
		usleep(1000);
	assert_int_equal(r, 0);
}

static void one_after_the_other(void **state)
{
	AUTO_FD int rootfd = kfile_open_root("/");
	struct survey_result result;
	struct survey *survey;
	uint64_t begin_us = clock_now_us();

	(void)state;
	assert_int_equal(survey_open(rootfd, &survey), 0);
	assert_int_equal(survey_take(survey, &result), -EAGAIN);
	start(survey, 77, getpid());
	/* not before the first has been taken */
	assert_int_equal(survey_start(survey, 78, getpid()), -EBUSY);
	result = take(survey);
	assert_int_equal(result.guest, 77);
	assert_int_equal(result.error, 0);
	assert_true(result.footprint.full);
	assert_true(result.footprint.resident_bytes > 0);
	assert_true(result.start_us >= begin_us);
	assert_true(result.start_us + result.took_us <= clock_now_us());
	begin_us = result.start_us + 10 * result.took_us;

	start(survey, 79, GONE);
	result = take(survey);
	assert_true(result.start_us >= begin_us); /* it has rested */
	assert_int_equal(result.guest, 79);
	assert_int_equal(result.error, -ESRCH);
	survey_close(survey);
}

/* Closed while nothing, something under way or something done is there. */
static void closed(void **state)
{
	AUTO_FD int rootfd = kfile_open_root("/");

	(void)state;
	survey_close(NULL);
	for (int i = 0; i < 3; i++) {
		struct survey *survey;
		struct pollfd done = {.events = POLLIN};

		assert_int_equal(survey_open(rootfd, &survey), 0);
		done.fd = survey_fd(survey);
		if (i)
			start(survey, 1, getpid());
		if (i > 1)
			assert_int_equal(poll(&done, 1, 30000), 1);
		survey_close(survey);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_after_the_other),
		cmocka_unit_test(closed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
