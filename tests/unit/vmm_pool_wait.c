// SPDX-License-Identifier: Apache-2.0
/*
 * A guest whose pool is short asks memd: what it asks, what it makes of the answers, and that it
 * ends in time. More is wanted than any host has, so the pools of this one do not matter.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/size.h"
#include "common/wire.h"
#include "tests/unit/wire_child.h"
#include "vmm/pool_wait.h"

static char dir[] = "/tmp/memd-pool-XXXXXX", path[64];

/* Shared with the memd of the test. */
static struct {
	unsigned int asked, done;
	char args[512];
} * seen;
static const char *const *answers; /* in turn, the last one again and again */

static int want_pool(void *ctx, json_object *args, json_object **ret_value, struct wire_error *err)
{
	bool done = false;
	unsigned int i = 0;

	(void)ctx;
	json_get_bool(args, "done", &done);
	if (done) {
		seen->done++;
		*ret_value = json_tokener_parse("{\"state\":\"forgotten\"}");
		return 0;
	}
	json_object_object_del(args, "process");
	snprintf(seen->args, sizeof(seen->args), "%s",
		 json_object_to_json_string_ext(args, JSON_C_TO_STRING_PLAIN));
	while (i < seen->asked && answers[i + 1])
		i++;
	seen->asked++;
	*ret_value = json_tokener_parse(answers[i]);
	return *ret_value ? 0 : wire_fail(err, -1, NULL, "not looked at yet");
}

static struct wire_child serve(const char *const *with)
{
	static const struct wire_arg any[] = {
		{"name", WIRE_STRING, false},  {"process", WIRE_U64, false},
		{"pages", WIRE_STRING, false}, {"memory", WIRE_U64, false},
		{"nodes", WIRE_ARRAY, true},   {"prefer", WIRE_ARRAY, true},
		{"done", WIRE_BOOL, true},     {0}};
	static const struct wire_command commands[] = {{"want-pool", want_pool, any, false}, {0}};

	answers = with;
	memset(seen, 0, sizeof(*seen));
	return wire_child_new(path, commands);
}

static struct options guest(uint64_t wait_us)
{
	struct options options = {.name = "db", .cpus = 2, .n_memory = 1};

	options.memory[0] = (struct ram_config){
		.size_bytes = 1024 * GIB, .pages = RAM_PAGES_2M, .pool_wait_us = wait_us};
	return options;
}

static void test_waits_until_refused(void **state)
{
	static const char *const with[] = {
		"{\"state\":\"waiting\",\"why\":\"a\"}", "{\"state\":\"waiting\",\"why\":\"b\"}",
		"{\"state\":\"refused\",\"why\":\"no such pool\"}", NULL};
	struct options options = guest(20 * USEC_PER_SEC);
	struct wire_child memd = serve(with);
	struct pool_wait wait;

	pool_wait_begin(&wait, &options);
	pool_wait_for(&wait);
	assert_int_equal(seen->asked, 3);
	assert_string_equal(seen->args,
			    "{\"name\":\"db\",\"pages\":\"2M\",\"memory\":1099511627776}");
	assert_true(wait.alone);
	assert_false(pool_wait_again(&wait));
	pool_wait_for(&wait);
	assert_int_equal(seen->asked, 3);
	pool_wait_end(&wait);
	assert_int_equal(seen->done, 1);
	wire_child_end(&memd);
}

/* Ready, and taken by another one: asked again while there is time. */
static void test_taken_meanwhile(void **state)
{
	static const char *const with[] = {"{\"state\":\"ready\"}", NULL};
	struct options options = guest(700000);
	uint64_t start_us = clock_now_us();
	struct wire_child memd = serve(with);
	struct pool_wait wait;
	unsigned int rounds = 0;

	pool_wait_begin(&wait, &options);
	do {
		pool_wait_for(&wait);
		rounds++;
		usleep(100000);
	} while (pool_wait_again(&wait));
	assert_in_range(rounds, 2, 8);
	/* The last round may find the time over. */
	assert_in_range(seen->asked, rounds - 1, rounds);
	assert_true(clock_now_us() - start_us < 5 * USEC_PER_SEC);
	wire_child_end(&memd);
}

static void test_time_runs_out(void **state)
{
	static const char *const with[] = {"{\"state\":\"waiting\",\"why\":\"coming\"}", NULL};
	struct options options = guest(600000);
	uint64_t start_us = clock_now_us();
	struct wire_child memd = serve(with);
	struct pool_wait wait;

	pool_wait_begin(&wait, &options);
	pool_wait_for(&wait);
	assert_in_range(clock_now_us() - start_us, 600000, 5 * USEC_PER_SEC);
	assert_in_range(seen->asked, 1, 4);
	assert_false(pool_wait_again(&wait));
	/* Not to be waited for: not asked. */
	options.memory[0].pool_wait_us = 0;
	seen->asked = 0;
	pool_wait_begin(&wait, &options);
	pool_wait_for(&wait);
	assert_int_equal(seen->asked, 0);
	wire_child_end(&memd);
}

/* Nodes of one guest that want the same places ask as one; others for themselves. */
static void test_nodes(void **state)
{
	static const char *const with[] = {"{\"state\":\"ready\"}", NULL};
	struct options options = guest(USEC_PER_SEC);
	struct wire_child memd = serve(with);
	struct pool_wait wait;

	options.n_memory = 3;
	options.memory[0].host_nodes[0] = 1 << 1;
	options.memory[0].policy = RAM_POLICY_BIND;
	options.memory[1] = options.memory[0];
	options.memory[2].pages = RAM_PAGES_THP;
	pool_wait_begin(&wait, &options);
	pool_wait_for(&wait);
	assert_int_equal(seen->asked, 1);
	assert_string_equal(
		seen->args,
		"{\"name\":\"db\",\"pages\":\"2M\",\"memory\":2199023255552,\"nodes\":[1]}");
	options.memory[1].policy = RAM_POLICY_PREFERRED;
	pool_wait_begin(&wait, &options);
	pool_wait_for(&wait);
	assert_int_equal(seen->asked, 3);
	assert_string_equal(
		seen->args,
		"{\"name\":\"db\",\"pages\":\"2M\",\"memory\":1099511627776,\"prefer\":[1]}");
	pool_wait_end(&wait);
	assert_int_equal(seen->done, 2);
	wire_child_end(&memd);
}

static void test_alone(void **state)
{
	static const char *const with[] = {"{\"state\":7}", NULL};
	struct options options = guest(60 * USEC_PER_SEC);
	uint64_t start_us = clock_now_us();
	struct wire_child memd = serve(with);
	struct pool_wait wait;

	pool_wait_begin(&wait, &options);
	pool_wait_for(&wait);
	assert_true(wait.alone && seen->asked == 1);
	wire_child_end(&memd);
	unlink(path);
	pool_wait_begin(&wait, &options);
	pool_wait_for(&wait);
	assert_true(wait.alone);
	/* Ordinary memory asks nobody. */
	options.memory[0].pages = RAM_PAGES_SMALL;
	pool_wait_begin(&wait, &options);
	pool_wait_for(&wait);
	assert_false(wait.alone || wait.asked || pool_wait_again(&wait));
	pool_wait_end(&wait);
	assert_true(clock_now_us() - start_us < 20 * USEC_PER_SEC);
}

static int setup(void **state)
{
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/sock", dir);
	seen = mmap(NULL, sizeof(*seen), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(seen != MAP_FAILED);
	return setenv("MEMD_SOCKET", path, 1);
}

static int teardown(void **state)
{
	unlink(path);
	return rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_waits_until_refused),
		cmocka_unit_test(test_taken_meanwhile),
		cmocka_unit_test(test_time_runs_out),
		cmocka_unit_test(test_nodes),
		cmocka_unit_test(test_alone),
	};

	if (access("/sys/kernel/mm/hugepages/hugepages-2048kB", F_OK) < 0) {
		puts("skipped: this kernel has no pool of 2 MiB pages");
		return 0;
	}
	return cmocka_run_group_tests(tests, setup, teardown);
}
