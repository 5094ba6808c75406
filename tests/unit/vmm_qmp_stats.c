// SPDX-License-Identifier: Apache-2.0
/*
 * query-stats on a fake machine: statistics are read from files taken from a real KVM and from
 * broken ones.
 */
#include <linux/kvm.h>
#include <sys/mman.h>

#include "tests/unit/qmp_machine.h"

#define STATS_VM   "tests/fixtures/kvm/stats-vm"
#define STATS_VCPU "tests/fixtures/kvm/stats-vcpu"

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_stats_of_kvm),
		TEST(test_stats_absent),
		TEST(test_stats_values),
		TEST(test_stats_broken),
	};

	return cmocka_run_group_tests_name("vmm_qmp_stats", tests, choose_path, NULL);
}
