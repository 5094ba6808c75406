// SPDX-License-Identifier: Apache-2.0
/* A worker beside the loop: jobs that are told to end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <unistd.h>

#include "memd/worker.h"

/* A job that goes on until it is told to end. */
static void endless(void *job, const atomic_bool *cancel)
{
	while (!atomic_load(cancel))
		usleep(1000);
	*(int *)job += 1;
}

/* Cancelled without closing: the worker is free again, and the next job is not cancelled before. */
static void test_worker_is_cancelled(void **state)
{
	struct worker *worker;
	int job = 0;

	assert_int_equal(worker_open(endless, 0, &worker), 0);
	worker_cancel(worker); /* of no job */
	for (int i = 1; i <= 2; i++) {
		assert_int_equal(worker_start(worker, &job), 0);
		usleep(20000);
		assert_null(worker_take(worker));
		worker_cancel(worker);
		for (int k = 0; k < 1000 && !worker_take(worker); k++)
			usleep(1000);
		assert_int_equal(job, i);
	}
	worker_close(worker, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_worker_is_cancelled),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
