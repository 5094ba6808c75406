// SPDX-License-Identifier: Apache-2.0
/* The proof of isolation: what is told of a look at merged pages, and the thread that looks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "memd/isolation.h"
#include "tests/unit/fake_sharing.h"

#define N 20

static struct {
	int error;
	struct sharing_target targets[N];
	size_t n, looks;
	uint64_t pages; /* that each pair shares */
} w;

/* A look that finds w.pages in every pair. */
static int scan(int rootfd, const struct sharing_target *targets, size_t n,
		const struct sharing_options *options, struct sharing **ret_sharing)
{
	(void)rootfd;
	assert_true(options->pairs);
	w.looks++;
	w.n = n;
	memcpy(w.targets, targets, n * sizeof(*targets));
	if (w.error)
		return w.error;
	*ret_sharing = fake_sharing(n, w.pages);
	return 0;
}

/* What it holds is for free(3). */
static struct isolation_result look(const struct isolation_guest *guests, size_t n)
{
	struct isolation *isolation;
	struct isolation_result result;
	uint64_t before_us = clock_now_us();
	struct pollfd pollfd = {.events = POLLIN};

	assert_int_equal(isolation_open(-1, scan, &isolation), 0);
	assert_int_equal(isolation_take(isolation, &result), -EAGAIN);
	assert_int_equal(isolation_start(isolation, guests, n), 0);
	pollfd.fd = isolation_fd(isolation);
	assert_int_equal(poll(&pollfd, 1, 5000), 1);
	assert_int_equal(isolation_start(isolation, guests, n), -EBUSY); /* not taken yet */
	assert_int_equal(isolation_take(isolation, &result), 0);
	assert_int_equal(isolation_take(isolation, &result), -EAGAIN);
	isolation_close(isolation);
	assert_true(result.start_us >= before_us && result.start_us <= clock_now_us());
	return result;
}

static void test_one_domain_may_share(void **state)
{
	const struct isolation_guest guests[] = {{.id = 1, .pid = 11}, {.id = 2, .pid = 12}};
	struct isolation_result result;

	(void)state;
	w.pages = 100;
	result = look(guests, 2);
	assert_int_equal(result.error, 0);
	assert_int_equal(result.cross_bytes, 0);
	assert_int_equal(result.n_pairs, 0);
	assert_int_equal(w.n, 2);
	assert_int_equal(w.targets[1].pid, 12);
	assert_int_equal(w.targets[1].id, 2);
	assert_int_equal(result.n, 2);
	assert_int_equal(result.crossed[0].bytes + result.crossed[1].bytes, 0);
	free(result.crossed);
}

static void test_a_shared_page_is_told(void **state)
{
	const struct isolation_guest guests[] = {
		{.id = 1}, {.id = 2, .domain = 5}, {.id = 7, .domain = 5}, {.id = 9}};
	struct isolation_result result;

	(void)state;
	w.pages = 1;
	result = look(guests, 4);
	assert_int_equal(result.cross_bytes, 4 * 4096);
	assert_int_equal(result.n_pairs, 4);
	assert_int_equal(result.pairs[0].a, 1);
	assert_int_equal(result.pairs[0].b, 2);
	assert_int_equal(result.pairs[0].bytes, 4096);
	/* Guests 2 and 7 are of one domain. */
	assert_int_equal(result.n, 4);
	for (size_t i = 0; i < 4; i++) {
		assert_int_equal(result.crossed[i].id, guests[i].id);
		assert_int_equal(result.crossed[i].bytes, 2 * 4096);
	}
	free(result.crossed);
	w.pages = 0;
	result = look(guests, 4);
	assert_int_equal(result.n_pairs, 0);
	free(result.crossed);
}

static void test_many_pairs(void **state)
{
	struct isolation_guest guests[N];
	struct isolation_result result;

	(void)state;
	for (size_t i = 0; i < N; i++)
		guests[i] = (struct isolation_guest){.id = i + 1, .domain = (uint32_t)i};
	w.pages = 2;
	result = look(guests, N);
	assert_int_equal(result.cross_bytes, N * (N - 1) / 2 * 8192);
	assert_int_equal(result.n_pairs, ISOLATION_PAIRS_MAX);
	/* Each guest is told of, in however many pairs. */
	for (size_t i = 0; i < N; i++)
		assert_int_equal(result.crossed[i].bytes, (N - 1) * 8192);
	free(result.crossed);
}

static void test_a_look_that_fails(void **state)
{
	const struct isolation_guest guests[] = {{.id = 1}, {.id = 2, .domain = 5}};
	struct isolation_result result;

	(void)state;
	w.error = -EPERM;
	result = look(guests, 2);
	assert_int_equal(result.error, -EPERM);
	assert_int_equal(result.n, 0);
	assert_null(result.crossed);
	w.error = 0;
}

static int slow_scan(int rootfd, const struct sharing_target *targets, size_t n,
		     const struct sharing_options *options, struct sharing **ret_sharing)
{
	(void)rootfd, (void)targets, (void)n, (void)ret_sharing;
	for (int i = 0; i < 1000 && !atomic_load(options->cancel); i++)
		usleep(10000);
	return -ECANCELED;
}

static void test_closed_in_the_middle(void **state)
{
	const struct isolation_guest guests[] = {{.id = 1}, {.id = 2, .domain = 5}};
	uint64_t start_us = clock_now_us();
	struct isolation *isolation;

	(void)state;
	assert_int_equal(isolation_open(-1, slow_scan, &isolation), 0);
	assert_int_equal(isolation_start(isolation, guests, 2), 0);
	usleep(50000);
	isolation_close(isolation);
	assert_true(clock_now_us() - start_us < 5 * USEC_PER_SEC);
	isolation_close(NULL);
}

/* The real look at this very process: nothing of it is merged twice over two domains. */
static void test_live(void **state)
{
	AUTO_FD int rootfd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	const struct isolation_guest guests[] = {{.id = 1, .pid = getpid()},
						 {.id = 2, .pid = getppid(), .domain = 1}};
	struct pollfd pollfd = {.events = POLLIN};
	struct isolation *isolation;
	struct isolation_result result;

	(void)state;
	assert_int_equal(isolation_open(rootfd, NULL, &isolation), 0);
	assert_int_equal(isolation_start(isolation, guests, 2), 0);
	pollfd.fd = isolation_fd(isolation);
	assert_int_equal(poll(&pollfd, 1, 20000), 1);
	assert_int_equal(isolation_take(isolation, &result), 0);
	assert_true(result.error == 0 || result.error == -EPERM || result.error == -EOPNOTSUPP);
	assert_int_equal(result.cross_bytes, 0);
	free(result.crossed);
	isolation_close(isolation);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_domain_may_share),
		cmocka_unit_test(test_a_shared_page_is_told),
		cmocka_unit_test(test_many_pairs),
		cmocka_unit_test(test_a_look_that_fails),
		cmocka_unit_test(test_closed_in_the_middle),
		cmocka_unit_test(test_live),
	};

	return cmocka_run_group_tests_name("memd_isolation", tests, NULL, NULL);
}
