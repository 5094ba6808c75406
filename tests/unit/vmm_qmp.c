// SPDX-License-Identifier: Apache-2.0
/* vmm's QMP commands on a fake machine: beside a real QEMU's answers, and where QEMU has none. */
#include "tests/unit/qmp_machine.h"

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

/* ---- disks ---- */

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

/* ---- the tree of objects ---- */

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
	const struct CMUnitTest tests[] = {
		TEST(test_machine_as_qemu),
		TEST(test_no_balloon_as_qemu),
		TEST(test_run_state),
		TEST(test_names),
		TEST(test_link),
		TEST(test_cpus),
		TEST(test_disks),
		TEST(test_tree),
		TEST(test_new_fails),
	};

	return cmocka_run_group_tests_name("vmm_qmp", tests, choose_path, NULL);
}
