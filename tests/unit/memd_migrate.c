// SPDX-License-Identifier: Apache-2.0
/* Memory of a child that a worker is to move; on one node, so that all is looked at and stays. */
#include "memd/migrate.h"

#include <errno.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/kfile.h"
#include "common/size.h"
#include "memd/footprint.h"
#include "tests/unit/child.h"

/* What a worker says of processes that it cannot move. */
static void test_migrate_errors(void **state)
{
	AUTO_FD int rootfd = kfile_open_root("/");
	pid_t child = child_new(child_fill, &(size_t){32 * MIB});
	struct migrate_job job = {
		.rootfd = rootfd, .pid = 0x7ffffff0, .node = 0, .limit_us = 60 * USEC_PER_SEC};
	atomic_bool cancel = false;
	struct footprint foot;

	migrate_run(&job, &cancel);
	assert_int_equal(job.error, -ESRCH);
	/* A process of that number, but another one. */
	assert_int_equal(footprint_quick(rootfd, child, &foot), 0);
	job.pid = child;
	job.starttime = foot.starttime - 1;
	migrate_run(&job, &cancel);
	assert_int_equal(job.error, -ESRCH);
	assert_int_equal(job.looked_bytes, 0);
	job.starttime = foot.starttime;
	migrate_run(&job, &cancel);
	if (job.error == -ENOSYS)
		skip();
	assert_int_equal(job.error, 0);
	assert_true(job.looked_bytes >= 32 * MIB);
	assert_int_equal(job.moved_bytes, 0); /* all of it is there */

	job.limit_us = 0;
	usleep(10);
	migrate_run(&job, &cancel);
	assert_int_equal(job.error, -ETIMEDOUT);
	job.limit_us = 60 * USEC_PER_SEC;
	cancel = true;
	migrate_run(&job, &cancel);
	assert_int_equal(job.error, -ECANCELED);
	child_end(child);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_migrate_errors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
