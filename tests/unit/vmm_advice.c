// SPDX-License-Identifier: Apache-2.0
/* host-nodes=auto: what is asked of memd, what is made of its answers, and of none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/size.h"
#include "common/wire.h"
#include "tests/unit/wire_child.h"
#include "vmm/advice.h"

static char dir[] = "/tmp/memd-advice-XXXXXX", path[64];

/* In the child: the arguments have to be these, else the answer is an error. */
static const char *answer_text, *wanted_args;

static int query_place(void *ctx, json_object *args, json_object **ret_value,
		       struct wire_error *err)
{
	AUTO_JSON json_object *wanted = json_tokener_parse(wanted_args);

	if (!json_object_equal(args, wanted))
		return wire_fail(err, -EINVAL, NULL, "other arguments: %s",
				 json_object_to_json_string(args));
	*ret_value = json_tokener_parse(answer_text);
	return *ret_value ? 0 : wire_fail(err, -EAGAIN, NULL, "not looked at yet");
}

/* A memd that answers so. */
static struct wire_child serve(const char *answer, const char *args)
{
	static const struct wire_arg any[] = {{"memory", WIRE_U64, false},
					      {"cpus", WIRE_U64, true},
					      {"pages", WIRE_STRING, true},
					      {"name", WIRE_STRING, true},
					      {0}};
	static const struct wire_command commands[] = {{"query-place", query_place, any, false},
						       {0}};

	answer_text = answer;
	wanted_args = args;
	return wire_child_new(path, commands);
}

static struct options guest(void)
{
	struct options options = {.name = "web", .cpus = 2, .n_memory = 1};

	options.memory[0] = (struct ram_config){.size_bytes = GIB, .ask_nodes = true};
	return options;
}

#define ARGS "{\"memory\":1073741824,\"cpus\":2,\"pages\":\"thp\",\"name\":\"web\"}"

static int setup(void **state)
{
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/sock", dir);
	return setenv("MEMD_SOCKET", path, 1);
}

static int teardown(void **state)
{
	unlink(path);
	return rmdir(dir);
}

static void test_one_node_is_preferred(void **state)
{
	struct options options = guest();
	struct wire_child memd = serve("{\"nodes\":[{\"node\":3,\"bytes\":1073741824}]}", ARGS);

	options.n_mem_devices = 2;
	options.mem_devices[1].plug.memory.ask_nodes = true;
	advice_take(&options);
	assert_int_equal(options.memory[0].host_nodes[0], 1u << 3);
	assert_int_equal(options.memory[0].policy, RAM_POLICY_PREFERRED);
	/* Devices that ask go where the guest goes. */
	assert_int_equal(options.mem_devices[1].plug.memory.host_nodes[0], 1u << 3);
	assert_int_equal(options.mem_devices[1].plug.memory.policy, RAM_POLICY_PREFERRED);
	assert_int_equal(options.mem_devices[0].plug.memory.host_nodes[0], 0);
	wire_child_end(&memd);
}

static void test_several_are_interleaved(void **state)
{
	struct options options = guest();
	struct wire_child memd = serve(
		"{\"nodes\":[{\"node\":0},{\"node\":2},{\"node\":\"x\"},{\"node\":5000}]}", ARGS);

	advice_take(&options);
	assert_int_equal(options.memory[0].host_nodes[0], 5);
	assert_int_equal(options.memory[0].policy, RAM_POLICY_INTERLEAVE);
	options = guest();
	options.memory[0].policy = RAM_POLICY_BIND; /* asked for */
	advice_take(&options);
	assert_int_equal(options.memory[0].policy, RAM_POLICY_BIND);
	wire_child_end(&memd);
}

static void test_without_an_answer_unbound(void **state)
{
	static const char *const answers[] = {"{\"nodes\":[],\"why\":\"full\"}", "{}", "7",
					      "{\"nodes\":7}", ""};
	struct options options;

	for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
		struct wire_child memd = serve(answers[i], ARGS);

		options = guest();
		options.memory[0].policy = RAM_POLICY_BIND;
		advice_take(&options);
		assert_false(ram_config_is_bound(&options.memory[0]));
		assert_int_equal(options.memory[0].policy, RAM_POLICY_DEFAULT);
		wire_child_end(&memd);
	}
	unlink(path);
	options = guest();
	advice_take(&options);
	assert_false(ram_config_is_bound(&options.memory[0]));
}

/* Nobody is asked for a guest that did not ask. */
static void test_only_when_asked(void **state)
{
	struct options options = guest();
	struct wire_child memd = serve("{\"nodes\":[{\"node\":3}]}", ARGS);

	options.memory[0].ask_nodes = false;
	options.memory[0].host_nodes[0] = 1;
	options.memory[0].policy = RAM_POLICY_BIND;
	advice_take(&options);
	assert_int_equal(options.memory[0].host_nodes[0], 1);
	assert_int_equal(options.memory[0].policy, RAM_POLICY_BIND);
	wire_child_end(&memd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_node_is_preferred),
		cmocka_unit_test(test_several_are_interleaved),
		cmocka_unit_test(test_without_an_answer_unbound),
		cmocka_unit_test(test_only_when_asked),
	};

	if (access("/sys/devices/system/node/has_memory", F_OK) < 0) {
		puts("skipped: this kernel shows no NUMA nodes");
		return 0;
	}
	return cmocka_run_group_tests(tests, setup, teardown);
}
