// SPDX-License-Identifier: Apache-2.0
/* vmm's QMP commands on memory, on a fake machine: what they do and what they refuse. */
#include "tests/unit/qmp_machine.h"

#define BALLOON "/machine/peripheral/balloon0"

static void test_balloon(void **state)
{
	expect("{\"execute\":\"balloon\",\"arguments\":{\"value\":134217728}}", "{}");
	assert_int_equal(vm.balloon.target_bytes, 128 * MIB);
	/* No driver yet: the target waits, QEMU says nothing either. */
	vm.balloon.set_target_result = -ENOTCONN;
	expect("{\"execute\":\"balloon\",\"arguments\":{\"value\":1}}", "{}");
	vm.balloon.set_target_result = -EIO;
	expect("{\"execute\":\"balloon\",\"arguments\":{\"value\":1}}",
	       "!GenericError: Cannot set the balloon: Input/output error");
}

static void test_guest_stats(void **state)
{
	vm.balloon.stats.value[0] = 0;
	vm.balloon.stats.value[5] = UINT64_MAX - 1;
	vm.balloon.stats.last_update_s = 1795374628;
	expect("{\"execute\":\"qom-get\",\"arguments\":{\"path\":\"" BALLOON
	       "\",\"property\":\"guest-stats\"}}",
	       "{\"stats\":{\"stat-swap-in\":0,\"stat-swap-out\":18446744073709551615,"
	       "\"stat-major-faults\":18446744073709551615,"
	       "\"stat-minor-faults\":18446744073709551615,"
	       "\"stat-free-memory\":18446744073709551615,"
	       "\"stat-total-memory\":18446744073709551614,"
	       "\"stat-available-memory\":18446744073709551615,"
	       "\"stat-disk-caches\":18446744073709551615,"
	       "\"stat-htlb-pgalloc\":18446744073709551615,"
	       "\"stat-htlb-pgfail\":18446744073709551615,"
	       "\"stat-oom-kills\":18446744073709551615},\"last-update\":1795374628}");
}

static void test_memdev(void **state)
{
	vm.ram.n = 2;
	vm.ram.configs[1] = (struct ram_config){.size_bytes = GIB,
						.pages = RAM_PAGES_2M,
						.policy = RAM_POLICY_BIND,
						.host_nodes = {5, 1},
						.prealloc = true};
	expect("{\"execute\":\"query-memdev\"}",
	       "[{\"id\":\"ram0\",\"size\":268435456,\"merge\":true,\"dump\":false,"
	       "\"prealloc\":false,\"share\":false,\"reserve\":false,\"host-nodes\":[],"
	       "\"policy\":\"default\",\"__memd-pages\":\"thp\",\"__memd-placement\":"
	       "[{\"host-node\":1,\"bytes\":4194304}]},"
	       "{\"id\":\"ram1\",\"size\":1073741824,\"merge\":false,\"dump\":false,"
	       "\"prealloc\":true,\"share\":false,\"reserve\":false,\"host-nodes\":[0,2,64],"
	       "\"policy\":\"bind\",\"__memd-pages\":\"2M\",\"__memd-placement\":null}]");
	expect("{\"execute\":\"query-memory-size-summary\"}",
	       "{\"base-memory\":1342177280,\"plugged-memory\":0}");
	expect("{\"execute\":\"qom-get\",\"arguments\":{\"path\":\"/objects/ram1\","
	       "\"property\":\"hugepages\"}}",
	       "true");
	expect("{\"execute\":\"qom-get\",\"arguments\":{\"path\":\"ram1\","
	       "\"property\":\"host-nodes\"}}",
	       "[0,2,64]");
	expect("{\"execute\":\"qom-get\",\"arguments\":{\"path\":\"/objects/ram2\","
	       "\"property\":\"size\"}}",
	       "!DeviceNotFound: Device '/objects/ram2' not found");
}

static void test_merge(void **state)
{
#define SET_MERGE(value)                                                                   \
	"{\"execute\":\"qom-set\",\"arguments\":{\"path\":\"/objects/ram0\",\"property\":" \
	"\"merge\",\"value\":" value "}}"
	expect(SET_MERGE("false"), "{}");
	assert_false(vm.ram.merge[0]);
	vm.ram.configs[0].pages = RAM_PAGES_2M;
	vm.ram.set_merge_result = -EOPNOTSUPP;
	expect(SET_MERGE("true"), "!GenericError: Cannot merge 'ram0': it has 2M pages of the "
				  "host's pool, which the kernel never merges");
	/* What is off already may be switched off anywhere. */
	expect(SET_MERGE("false"), "{}");
	vm.ram.set_merge_result = -EINVAL;
	expect(SET_MERGE("true"),
	       "!GenericError: Cannot merge 'ram0': the host's kernel has no KSM");
	vm.ram.set_merge_result = -ENOMEM;
	vm.ram.merge[0] = true;
	expect(SET_MERGE("false"), "!GenericError: Cannot unmerge 'ram0': Cannot allocate memory");
	expect(SET_MERGE("null"),
	       "!GenericError: Invalid parameter type for 'merge', expected: boolean");
}

static void test_merge_ranges(void **state)
{
#define MERGE(ranges) "{\"execute\":\"__memd-merge\",\"arguments\":{\"ranges\":" ranges "}}"
	expect(MERGE("[{\"gpa\":2097152,\"length\":4194304,\"merge\":false}]"), "{}");
	assert_int_equal(vm.ram.n_ranges, 1);
	assert_int_equal(vm.ram.range.gpa, 2 * MIB);
	assert_int_equal(vm.ram.range.len, 4 * MIB);
	assert_false(vm.ram.range.merge);
	/* An offset leaves out the hole between guest nodes. */
	vm.ram.n = 2;
	expect(MERGE("[{\"gpa\":0,\"length\":1,\"merge\":false},"
		     "{\"offset\":270532608,\"length\":2097152,\"merge\":true}]"),
	       "{}");
	assert_int_equal(vm.ram.n_ranges, 2);
	assert_int_equal(vm.ram.range.gpa, 256 * MIB + GIB + 2 * MIB);
	assert_true(vm.ram.range.merge);
	expect(MERGE("[{\"gpa\":0,\"offset\":0,\"length\":1,\"merge\":false}]"),
	       "!GenericError: Parameter 'ranges[0]' expects one of 'gpa' and 'offset', a number");
	expect(MERGE("[7]"),
	       "!GenericError: Parameter 'ranges[0]' expects one of 'gpa' and 'offset', a number");
	expect(MERGE("[{\"gpa\":0,\"merge\":false}]"),
	       "!GenericError: Parameter 'ranges[0].length' expects a number");
	expect(MERGE("[{\"gpa\":0,\"length\":2097152}]"),
	       "!GenericError: Parameter 'ranges[0].merge' expects a boolean");
	vm.ram.set_merge_result = -E2BIG;
	expect(MERGE("[{\"gpa\":0,\"length\":2097152,\"merge\":true}]"),
	       "!GenericError: Cannot change merging: a reason");
}

static void test_query_merge(void **state)
{
	AUTO_JSON json_object *answer = NULL;
	json_object *value, *runs;
	uint64_t next;

	expect("{\"execute\":\"__memd-query-merge\",\"arguments\":{\"gpa\":264241152}}",
	       "{\"runs\":[{\"gpa\":264241152,\"length\":2097152,\"merge\":false,"
	       "\"memdev\":\"ram0\",\"host-address\":264241152},"
	       "{\"gpa\":266338304,\"length\":2097152,\"merge\":true,"
	       "\"memdev\":\"ram0\",\"host-address\":266338304}]}");
	/* More than fits one answer: where to go on. */
	vm.ram.configs[0].size_bytes = 16 * GIB;
	answer = ask("{\"execute\":\"__memd-query-merge\"}");
	value = json_get_obj(answer, "return");
	runs = json_get_array(value, "runs");
	assert_int_equal(json_object_array_length(runs), 4096);
	assert_true(json_get_u64(value, "next-gpa", &next));
	assert_int_equal(next, 8 * GIB);
}

static void test_place(void **state)
{
#define PLACE(args) "{\"execute\":\"__memd-place\",\"arguments\":{" args "}}"
	expect(PLACE("\"host-node\":1"), "{}");
	assert_int_equal(vm.ram.place_node, 1);
	assert_int_equal(vm.ram.place_rate, 0);
	expect(PLACE("\"host-node\":3,\"bytes-per-second\":67108864"), "{}");
	assert_int_equal(vm.ram.place_node, 3);
	assert_int_equal(vm.ram.place_rate, 64 * MIB);
	expect(PLACE("\"host-node\":1024"),
	       "!GenericError: Parameter 'host-node' expects a number below 1024");
	expect(PLACE("\"host-node\":-1"),
	       "!GenericError: Parameter 'host-node' expects a number below 1024");
	expect(PLACE("\"host-node\":1,\"bytes-per-second\":1000"),
	       "!GenericError: Parameter 'bytes-per-second' expects at least 1048576");
	vm.ram.place_result = -EBUSY;
	expect(PLACE("\"host-node\":1"),
	       "!GenericError: A move is under way (see __memd-query-place)");
	vm.ram.place_result = -ENODEV;
	expect(PLACE("\"host-node\":7"),
	       "!GenericError: The host has no node 7 with memory for this process");
	vm.ram.place_result = -EOPNOTSUPP;
	expect(PLACE("\"host-node\":1"),
	       "!GenericError: Only a guest with one NUMA node, and without pages of the host's "
	       "pools, can be moved");
	vm.ram.place_result = -ENOMEM;
	expect(PLACE("\"host-node\":1"), "!GenericError: Cannot move: Cannot allocate memory");

	expect("{\"execute\":\"__memd-query-place\"}", "{\"status\":\"none\"}");
	expect("{\"execute\":\"__memd-cancel-place\"}", "{}");
	assert_int_equal(vm.ram.place_cancels, 1);
	vm.ram.place = (struct ram_place_state){.status = RAM_PLACE_FAILED,
						.host_node = 1,
						.total_bytes = 4096,
						.done_bytes = 2048,
						.took_us = 5,
						.longest_us = 3,
						.error = ENOMEM};
	expect("{\"execute\":\"__memd-query-place\"}",
	       "{\"status\":\"failed\",\"host-node\":1,\"total-bytes\":4096,\"done-bytes\":2048,"
	       "\"elapsed-us\":5,\"longest-slice-us\":3,"
	       "\"error-desc\":\"Cannot allocate memory\"}");
}

static void test_mem_device(void **state)
{
#define SET_SIZE(value)                                                                  \
	"{\"execute\":\"qom-set\",\"arguments\":{\"path\":\"/machine/peripheral/mem0\"," \
	"\"property\":\"requested-size\",\"value\":" value "}}"
#define GET(path, property)                                                           \
	"{\"execute\":\"qom-get\",\"arguments\":{\"path\":\"" path "\",\"property\":" \
	"\"" property "\"}}"
	expect("{\"execute\":\"query-memory-devices\"}", "[]");
	expect(SET_SIZE("0"), "!DeviceNotFound: Device '/machine/peripheral/mem0' not found");
	vm.ram.plug = (struct ram_plug_config){
		.memory = {.size_bytes = GIB, .pages = RAM_PAGES_2M, .host_nodes = {2}},
		.block_bytes = 2 * MIB,
	};
	vm.ram.plug_region = (struct ram_region){.gpa = 4 * GIB, .size_bytes = GIB};
	vm.ram.plugged_bytes = 6 * MIB;
	expect(SET_SIZE("8388608"), "{}");
	expect("{\"execute\":\"query-memory-devices\"}",
	       "[{\"type\":\"virtio-mem\",\"data\":{\"id\":\"mem0\",\"memaddr\":4294967296,"
	       "\"requested-size\":8388608,\"size\":6291456,\"max-size\":1073741824,"
	       "\"block-size\":2097152,\"node\":0,\"memdev\":\"/objects/vmem0\"}}]");
	expect(SET_SIZE("8388609"), "!GenericError: 'requested-size' has to be multiple of "
				    "'block-size' (0x200000)");
	expect(SET_SIZE("1075838976"), "!GenericError: 'requested-size' cannot exceed the memory "
				       "backend size (0x40000000)");
	expect(SET_SIZE("-1"), "!GenericError: Invalid parameter type for 'requested-size', "
			       "expected: uint64");
	expect(SET_SIZE("\"1G\""), "!GenericError: Invalid parameter type for 'requested-size', "
				   "expected: uint64");
	expect(GET("/machine/peripheral/mem0", "requested-size"), "8388608");
	expect(GET("mem0", "size"), "6291456");
	expect(GET("mem0", "block-size"), "2097152");
	expect(GET("mem0", "memaddr"), "4294967296");
	expect(GET("mem0", "node"), "0");
	expect(GET("mem0", "memdev"), "\"/objects/vmem0\"");
	expect(GET("mem0", "type"), "\"virtio-mem-device\"");
	expect("{\"execute\":\"qom-list\",\"arguments\":{\"path\":\"/machine/peripheral\"}}",
	       "[{\"name\":\"type\",\"type\":\"string\"},"
	       "{\"name\":\"mem0\",\"type\":\"child<virtio-mem-device>\"},"
	       "{\"name\":\"balloon0\",\"type\":\"child<virtio-balloon-device>\"}]");
	expect("{\"execute\":\"query-memory-size-summary\"}",
	       "{\"base-memory\":268435456,\"plugged-memory\":6291456}");
	expect("{\"execute\":\"query-memdev\"}",
	       "[{\"id\":\"ram0\",\"size\":268435456,\"merge\":true,\"dump\":false,"
	       "\"prealloc\":false,\"share\":false,\"reserve\":false,\"host-nodes\":[],"
	       "\"policy\":\"default\",\"__memd-pages\":\"thp\",\"__memd-placement\":[{\"host-"
	       "node\":1,\"bytes\":4194304}]},"
	       "{\"id\":\"vmem0\",\"size\":1073741824,\"merge\":false,\"dump\":false,"
	       "\"prealloc\":false,\"share\":false,\"reserve\":false,\"host-nodes\":[1],"
	       "\"policy\":\"default\",\"__memd-pages\":\"2M\"}]");
	expect("{\"execute\":\"qom-set\",\"arguments\":{\"path\":\"/objects/vmem0\",\"property\":"
	       "\"merge\",\"value\":true}}",
	       "{}");
	assert_true(vm.ram.plug_merge);
	expect(GET("vmem0", "hugepages"), "true");
}

static void test_returned(void **state)
{
	expect("{\"execute\":\"__memd-query-returned\"}",
	       "{\"balloon-bytes\":67108864,\"reported-bytes\":3145728,"
	       "\"virtio-mem-bytes\":5242880,\"driver\":true,"
	       "\"reporting\":true,\"balloon-counters\":{\"inflated-pages\":1,"
	       "\"deflated-pages\":2,\"reported-bytes\":3,\"discards\":4,\"errors\":5}}");
	vm.has_balloon = false;
	expect("{\"execute\":\"__memd-query-returned\"}",
	       "{\"balloon-bytes\":67108864,\"reported-bytes\":3145728,"
	       "\"virtio-mem-bytes\":5242880,\"driver\":false,"
	       "\"reporting\":false,\"balloon-counters\":null}");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_balloon), TEST(test_guest_stats),  TEST(test_memdev),
		TEST(test_merge),   TEST(test_merge_ranges), TEST(test_query_merge),
		TEST(test_place),   TEST(test_mem_device),   TEST(test_returned),
	};

	return cmocka_run_group_tests_name("vmm_qmp_memory", tests, choose_path, NULL);
}
