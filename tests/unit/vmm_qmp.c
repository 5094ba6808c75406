// SPDX-License-Identifier: Apache-2.0
/*
 * vmm's QMP commands on a fake machine: beside a real QEMU's answers, and where QEMU has none.
 * Statistics are read from files taken from a real KVM and from broken ones.
 */
#include <linux/kvm.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "common/log.h"
#include "tests/unit/qmp_peer.h"
#include "tests/unit/fake_vm.h"
#include "vmm/qmp.h"

#define BALLOON	   "/machine/peripheral/balloon0"
#define STATS_VM   "tests/fixtures/kvm/stats-vm"
#define STATS_VCPU "tests/fixtures/kvm/stats-vcpu"

static char path[] = "/tmp/memd-qmp-XXXXXX";
static struct vm vm;
static struct qmp *qmp;
static struct wire_conn *peer;

static void pump(void)
{
	if (fake_loop_fn)
		fake_loop_fn(fake_loop_ctx, 0);
}

static int setup(void **state)
{
	AUTO_JSON json_object *greeting = NULL;
	AUTO_JSON json_object *answer = NULL;

	fake_vm_init(&vm);
	assert_int_equal(qmp_new(&vm, path, &qmp), 0);
	assert_non_null(vm.server);
	peer = peer_connect(path);
	greeting = peer_hear(peer, pump);
	assert_non_null(greeting);
	peer_say(peer, "{\"execute\":\"qmp_capabilities\"}");
	answer = peer_hear(peer, pump);
	assert_non_null(json_get_obj(answer, "return"));
	return 0;
}

static int teardown(void **state)
{
	wire_conn_free(peer);
	qmp_free(qmp);
	assert_null(vm.server);
	return 0;
}

static json_object *ask(const char *request)
{
	peer_say(peer, request);
	return peer_hear(peer, pump);
}

/* The answer's "return" or, when expected begins with '!', its error's class and text. */
static void expect(const char *request, const char *expected)
{
	AUTO_JSON json_object *answer = ask(request);
	json_object *error = json_get_obj(answer, "error");
	json_object *value;
	char text[600];

	if (expected[0] == '!') {
		if (!error)
			fail_msg("%s: %s", request, json_object_to_json_string(answer));
		snprintf(text, sizeof(text), "!%s: %s", json_get_str(error, "class"),
			 json_get_str(error, "desc"));
		assert_string_equal(text, expected);
		return;
	}
	if (!json_object_object_get_ex(answer, "return", &value))
		fail_msg("%s: %s", request, json_object_to_json_string(answer));
	assert_json(value, expected);
}

/* ---- beside QEMU ---- */

/* QEMU's name of the same device differs by its bus. */
static void rename_device(char *text)
{
	static const char theirs[] = "virtio-balloon-pci", ours[] = "virtio-balloon-device";
	char *at;

	while ((at = strstr(text, theirs))) {
		memmove(at + sizeof(ours) - 1, at + sizeof(theirs) - 1,
			strlen(at + sizeof(theirs) - 1) + 1);
		memcpy(at, ours, sizeof(ours) - 1);
	}
}

/* Answers that hold what is the machine's own: there only names and types must agree. */
static bool only_shape(const char *request)
{
	static const char *const parts[] = {"query-version", "query-kvm",	"query-cpus-fast",
					    "query-memdev",  "\"path\": \"/\"", "guest-stats\"}"};

	for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
		if (strstr(request, parts[i]))
			return true;
	return false;
}

static void play(const char *name, unsigned int least)
{
	struct transcript t;
	char request[512] = "";
	unsigned int n = 0;

	transcript_open(&t, name);
	while (transcript_next(&t)) {
		AUTO_JSON json_object *theirs = NULL;
		AUTO_JSON json_object *ours = NULL;

		if (t.sent) {
			snprintf(request, sizeof(request), "%s", t.text);
			continue;
		}
		rename_device(t.text);
		theirs = json_tokener_parse(t.text);
		assert_non_null(theirs);
		if (json_get_str(theirs, "event") || !request[0] ||
		    strstr(request, "qmp_capabilities"))
			continue;
		ours = ask(request);
		n++;
		if (only_shape(request))
			assert_shape(ours, theirs, request);
		else
			assert_json_equal(ours, theirs, request);
	}
	assert_true(n >= least);
}

static void test_machine_as_qemu(void **state)
{
	play("machine", 50);
	assert_int_equal(vm.n_quits, 1);
	assert_int_equal(vm.n_resets, 1);
	assert_int_equal(vm.balloon.poll_interval_s, 0); /* the last one set */
}

static void test_no_balloon_as_qemu(void **state)
{
	vm.has_balloon = false;
	play("no_balloon", 5);
}

/* ---- the machine ---- */

static void test_run_state(void **state)
{
	expect("{\"execute\":\"system_powerdown\"}", "{}");
	assert_int_equal(vm.n_powerdowns, 1);
	vm.state = VM_SHUTDOWN;
	expect("{\"execute\":\"cont\"}",
	       "!GenericError: Resetting the Virtual Machine is required");
	expect("{\"execute\":\"stop\"}", "{}");
	assert_int_equal(vm.state, VM_SHUTDOWN);
	expect("{\"execute\":\"query-status\"}",
	       "{\"status\":\"shutdown\",\"singlestep\":false,\"running\":false}");
}

static void test_names(void **state)
{
	vm.options.name[0] = '\0';
	vm.options.uuid[0] = '\0';
	expect("{\"execute\":\"query-name\"}", "{}");
	expect("{\"execute\":\"query-uuid\"}",
	       "{\"UUID\":\"00000000-0000-0000-0000-000000000000\"}");
}

static void test_link(void **state)
{
#define SET_LINK(name, up) \
	"{\"execute\":\"set_link\",\"arguments\":{\"name\":\"" name "\",\"up\":" up "}}"
	expect(SET_LINK("net0", "false"), "{}");
	assert_true(vm.net.link_pulled);
	expect(SET_LINK("net0", "true"), "{}");
	assert_false(vm.net.link_pulled);
	expect(SET_LINK("net1", "true"), "!DeviceNotFound: Device 'net1' not found");
	expect(SET_LINK("net", "true"), "!DeviceNotFound: Device 'net' not found");
	expect(SET_LINK("net00", "true"), "!DeviceNotFound: Device 'net00' not found");
	expect(SET_LINK("net-1", "true"), "!DeviceNotFound: Device 'net-1' not found");
	expect(SET_LINK("net0 ", "true"), "!DeviceNotFound: Device 'net0 ' not found");
	expect(SET_LINK("net0", "1"),
	       "!GenericError: Invalid parameter type for 'up', expected: boolean");
}

static void test_cpus(void **state)
{
	vm.ram.n = 2;
	expect("{\"execute\":\"query-cpus-fast\"}",
	       "[{\"thread-id\":1000,\"props\":{\"core-id\":0,\"thread-id\":0,\"socket-id\":0,"
	       "\"node-id\":0},\"qom-path\":\"/machine/unattached/device[0]\",\"cpu-index\":0,"
	       "\"target\":\"x86_64\"},"
	       "{\"thread-id\":1001,\"props\":{\"core-id\":1,\"thread-id\":0,\"socket-id\":0,"
	       "\"node-id\":1},\"qom-path\":\"/machine/unattached/device[1]\",\"cpu-index\":1,"
	       "\"target\":\"x86_64\"}]");
}

/* ---- memory ---- */

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

static void test_disks(void **state)
{
	expect("{\"execute\":\"query-block\"}", "[]");
	expect("{\"execute\":\"query-blockstats\"}", "[]");
	vm.n_disks = 2;
	vm.disks[0].disk = (struct disk){{.path = "a.img"}, 4096};
	vm.disks[0].stats = (struct blk_stats){.read = {1, 2, 3, 4}, .highest_offset = 5};
	vm.disks[1].disk = (struct disk){{.path = "b.img", .readonly = true}, 512};
	vm.disks[1].failed = ENOSPC;
	expect("{\"execute\":\"query-block\"}",
	       "[{\"device\":\"disk0\",\"qdev\":\"/machine/peripheral/disk0/virtio-backend\","
	       "\"type\":\"unknown\",\"removable\":false,\"locked\":false,\"io-status\":\"ok\","
	       "\"inserted\":{\"file\":\"a.img\",\"node-name\":\"disk0\",\"ro\":false,"
	       "\"drv\":\"raw\",\"backing_file_depth\":0,\"encrypted\":false,"
	       "\"detect_zeroes\":\"off\",\"bps\":0,\"bps_rd\":0,\"bps_wr\":0,\"iops\":0,"
	       "\"iops_rd\":0,\"iops_wr\":0,\"image\":{\"filename\":\"a.img\","
	       "\"format\":\"raw\",\"virtual-size\":4096,\"actual-size\":2048,"
	       "\"dirty-flag\":false},\"cache\":{\"writeback\":true,\"direct\":false,"
	       "\"no-flush\":false},\"write_threshold\":0}},"
	       "{\"device\":\"disk1\",\"qdev\":\"/machine/peripheral/disk1/virtio-backend\","
	       "\"type\":\"unknown\",\"removable\":false,\"locked\":false,"
	       "\"io-status\":\"nospace\",\"inserted\":{\"file\":\"b.img\","
	       "\"node-name\":\"disk1\",\"ro\":true,\"drv\":\"raw\",\"backing_file_depth\":0,"
	       "\"encrypted\":false,\"detect_zeroes\":\"off\",\"bps\":0,\"bps_rd\":0,"
	       "\"bps_wr\":0,\"iops\":0,\"iops_rd\":0,\"iops_wr\":0,\"image\":{"
	       "\"filename\":\"b.img\",\"format\":\"raw\",\"virtual-size\":512,"
	       "\"actual-size\":256,\"dirty-flag\":false},\"cache\":{\"writeback\":true,"
	       "\"direct\":false,\"no-flush\":false},\"write_threshold\":0}}]");
	vm.n_disks = 1;
#define ZERO(kind)                                                                     \
	"\"" kind "_bytes\":0,\"" kind "_operations\":0,\"" kind "_total_time_ns\":0," \
	"\"failed_" kind "_operations\":0,\"invalid_" kind "_operations\":0,\"" kind   \
	"_merged\":0,"
	expect("{\"execute\":\"query-blockstats\"}",
	       "[{\"device\":\"disk0\",\"qdev\":\"/machine/peripheral/disk0/virtio-backend\","
	       "\"node-name\":\"disk0\",\"stats\":{\"rd_bytes\":3,\"rd_operations\":1,"
	       "\"rd_total_time_ns\":4,\"failed_rd_operations\":2,\"invalid_rd_operations\":0,"
	       "\"rd_merged\":0," ZERO("wr") ZERO("flush")
		       ZERO("unmap") "\"wr_highest_offset\":5,\"account_invalid\":false,\"account_"
				     "failed\":true,"
				     "\"timed_stats\":[]}}]");
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

/* Each object that a list shows has a list and a type of its own, from the root down. */
static void walk(const char *where, const char *type, unsigned int *n_objects)
{
	AUTO_JSON json_object *answer = NULL;
	char request[256], quoted[80];
	json_object *list;

	snprintf(request, sizeof(request),
		 "{\"execute\":\"qom-get\",\"arguments\":{\"path\":\"%s\",\"property\":\"type\"}}",
		 where);
	snprintf(quoted, sizeof(quoted), "\"%s\"", type);
	expect(request, quoted);
	snprintf(request, sizeof(request),
		 "{\"execute\":\"qom-list\",\"arguments\":{\"path\":\"%s\"}}", where);
	answer = ask(request);
	list = json_get_array(answer, "return");
	assert_non_null(list);
	(*n_objects)++;
	for (size_t i = 0; i < json_object_array_length(list); i++) {
		json_object *item = json_object_array_get_idx(list, i);
		char child[128], child_type[64];

		if (sscanf(json_get_str(item, "type"), "child<%63[^>]>", child_type) == 1) {
			snprintf(child, sizeof(child), "%s/%s", strcmp(where, "/") ? where : "",
				 json_get_str(item, "name"));
			walk(child, child_type, n_objects);
		}
	}
}

static void test_tree(void **state)
{
	unsigned int n_objects = 0;

	vm.ram.n = 2;
	walk("/", "container", &n_objects);
	assert_int_equal(n_objects, 8);
	expect("{\"execute\":\"qom-list\",\"arguments\":{\"path\":\"//machine//peripheral/\"}}",
	       "[{\"name\":\"type\",\"type\":\"string\"},"
	       "{\"name\":\"balloon0\",\"type\":\"child<virtio-balloon-device>\"}]");
	expect("{\"execute\":\"qom-list\",\"arguments\":{\"path\":\"oon0\"}}",
	       "!DeviceNotFound: Device 'oon0' not found");
}

/* ---- statistics ---- */

#define ASK_STATS(more) "{\"execute\":\"query-stats\",\"arguments\":{\"target\":" more "}}"

/* The value of that name in the answer's entry. */
static json_object *stat_of(json_object *answer, size_t entry, const char *name)
{
	json_object *list = json_get_array(
		json_object_array_get_idx(json_get_array(answer, "return"), entry), "stats");

	for (size_t i = 0; i < json_object_array_length(list); i++) {
		json_object *item = json_object_array_get_idx(list, i), *value;

		if (!strcmp(json_get_str(item, "name"), name) &&
		    json_object_object_get_ex(item, "value", &value))
			return value;
	}
	fail_msg("no %s in %s", name, json_object_to_json_string(answer));
	return NULL;
}

static void test_stats_of_kvm(void **state)
{
	AUTO_JSON json_object *of_vm = NULL;
	AUTO_JSON json_object *of_cpus = NULL;
	json_object *entry;

	vm.stats_vm = STATS_VM;
	vm.stats_cpu = STATS_VCPU;
	of_vm = ask(ASK_STATS("\"vm\""));
	entry = json_object_array_get_idx(json_get_array(of_vm, "return"), 0);
	assert_string_equal(json_get_str(entry, "provider"), "kvm");
	assert_null(json_get_str(entry, "qom-path"));
	assert_true(json_object_is_type(stat_of(of_vm, 0, "pages_4k"), json_type_int));
	assert_true(json_object_is_type(stat_of(of_vm, 0, "pages_1g"), json_type_int));
	assert_int_equal(json_object_array_length(json_get_array(entry, "stats")), 15);

	of_cpus = ask(ASK_STATS("\"vcpu\""));
	assert_int_equal(json_object_array_length(json_get_array(of_cpus, "return")), 2);
	entry = json_object_array_get_idx(json_get_array(of_cpus, "return"), 1);
	assert_string_equal(json_get_str(entry, "qom-path"), "/machine/unattached/device[1]");
	assert_true(json_object_is_type(stat_of(of_cpus, 1, "exits"), json_type_int));
	assert_true(json_object_is_type(stat_of(of_cpus, 1, "blocking"), json_type_boolean));
	assert_int_equal(json_object_array_length(stat_of(of_cpus, 1, "halt_poll_success_hist")),
			 32);

	/* One name of one CPU. */
	expect(ASK_STATS("\"vcpu\",\"vcpus\":[\"/machine/unattached/device[1]\"],\"providers\":"
			 "[{\"provider\":\"kvm\",\"names\":[\"exits\"]}]"),
	       "[{\"provider\":\"kvm\",\"qom-path\":\"/machine/unattached/device[1]\","
	       "\"stats\":[{\"name\":\"exits\",\"value\":0}]}]");
	expect(ASK_STATS("\"vm\",\"providers\":[]"), "[]");
	expect(ASK_STATS("\"vm\",\"providers\":[{\"provider\":\"x\"}]"),
	       "!GenericError: Parameter 'providers[0].provider' does not accept value 'x'");
	expect(ASK_STATS("\"vm\",\"providers\":[5]"),
	       "!GenericError: Parameter 'providers[0].provider' is missing");
}

static void test_stats_absent(void **state)
{
	expect(ASK_STATS("\"vm\""), "!GenericError: The host's KVM has no binary statistics "
				    "(KVM_GET_STATS_FD, Linux 5.14 and later)");
}

/* A statistics file of our own making: header, four descriptors, data. */
struct stats_image {
	struct kvm_stats_header header;
	struct {
		uint32_t flags;
		int16_t exponent;
		uint16_t size;
		uint32_t offset, bucket_size;
		char name[16];
	} descs[4];
	uint64_t data[6];
};

static const struct stats_image good_image = {
	.header = {.name_size = 16,
		   .num_desc = 4,
		   .desc_offset = offsetof(struct stats_image, descs),
		   .data_offset = offsetof(struct stats_image, data)},
	.descs = {{.size = 1, .offset = 40, .name = "last"},
		  {.flags = KVM_STATS_TYPE_LOG_HIST, .size = 3, .offset = 8, .name = "hist"},
		  {.flags = KVM_STATS_TYPE_INSTANT | KVM_STATS_UNIT_BOOLEAN,
		   .size = 1,
		   .offset = 0,
		   .name = "flag"},
		  {.flags = 0xf, .size = 1, .offset = 32, .name = "of the future"}},
	.data = {1, 10, 11, 12, 77, UINT64_MAX},
};

static void show_image(const struct stats_image *image, size_t size)
{
	if (vm.stats_fd >= 0)
		close(vm.stats_fd);
	vm.stats_fd = memfd_create("stats", MFD_CLOEXEC);
	assert_int_equal(write(vm.stats_fd, image, size), size);
}

static void test_stats_values(void **state)
{
	show_image(&good_image, sizeof(good_image));
	expect(ASK_STATS("\"vm\""),
	       "[{\"provider\":\"kvm\",\"stats\":[{\"name\":\"last\","
	       "\"value\":18446744073709551615},{\"name\":\"hist\",\"value\":[10,11,12]},"
	       "{\"name\":\"flag\",\"value\":true}]}]");
	close(vm.stats_fd);
}

static void test_stats_broken(void **state)
{
	static const char message[] = "!GenericError: Cannot read KVM's statistics: Protocol error";
	struct stats_image image;

	for (unsigned int i = 0; i < 7; i++) {
		size_t size = sizeof(image);

		image = good_image;
		switch (i) {
		case 0:
			size = 10;
			break;
		case 1:
			size = sizeof(image) - 1;
			break;
		case 2:
			image.header.name_size = 0x40000000;
			break;
		case 3:
			image.header.num_desc = UINT32_MAX;
			break;
		case 4:
			image.header.name_size = 0;
			break;
		case 5:
			memset(image.descs[1].name, 'x', sizeof(image.descs[1].name));
			break;
		case 6:
			image.descs[0].offset = UINT32_MAX;
			break;
		}
		show_image(&image, size);
		expect(ASK_STATS("\"vm\""), message);
	}
	close(vm.stats_fd);
}

/* ---- life ---- */

static void test_new_fails(void **state)
{
	char longer[150];
	struct qmp *none = NULL;

	memset(longer, 'x', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	assert_int_equal(qmp_new(&vm, longer, &none), -ENAMETOOLONG);
	assert_int_equal(qmp_new(&vm, path, &none), -EADDRINUSE);
	assert_null(none);
	qmp_free(NULL);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_machine_as_qemu),
		TEST(test_no_balloon_as_qemu),
		TEST(test_run_state),
		TEST(test_names),
		TEST(test_link),
		TEST(test_cpus),
		TEST(test_balloon),
		TEST(test_guest_stats),
		TEST(test_memdev),
		TEST(test_disks),
		TEST(test_merge),
		TEST(test_merge_ranges),
		TEST(test_query_merge),
		TEST(test_place),
		TEST(test_mem_device),
		TEST(test_returned),
		TEST(test_tree),
		TEST(test_stats_of_kvm),
		TEST(test_stats_absent),
		TEST(test_stats_values),
		TEST(test_stats_broken),
		TEST(test_new_fails),
	};
	int fd = mkstemp(path);

	if (fd < 0)
		return 1;
	close(fd);
	unlink(path);
	log_init("test", LOG_LEVEL_ERR);
	return cmocka_run_group_tests_name("vmm_qmp", tests, NULL, NULL);
}
