// SPDX-License-Identifier: Apache-2.0
/* Repairs carried out: whose turn, what a guest with a filled balloon keeps, and what is told. */
#include "memd/repair.h"

#include <errno.h>
#include <sys/mman.h>

#include "common/clock.h"
#include "common/kfile.h"
#include "common/size.h"
#include "tests/unit/child.h"
#include "tests/unit/tree.h"

static struct {
	struct tree tree;
	struct config config;
	struct guests guests;
	struct guest *list[2], v[2];
	struct account account;
	struct act act;
	struct repairs *repairs;
	struct pol_host snapshot;
	struct pol_guest seen[2];
	struct repairs_host host;
	uint64_t now_us;
	int answer;
	_Atomic unsigned int calls;
} w;

/* 64 MiB of small pages, of which the last unit lacks one. */
static bool fill(void *ctx)
{
	char *map =
		mmap(NULL, 66 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *ram = (char *)(((uintptr_t)map + 2 * MIB - 1) / (2 * MIB) * (2 * MIB));

	(void)ctx;
	if (map == MAP_FAILED)
		return false;
	madvise(map, 66 * MIB, MADV_NOHUGEPAGE);
	memset(ram, 7, 64 * MIB);
	return madvise(ram + 63 * MIB, 4096, MADV_DONTNEED) == 0;
}

static int advise(int pidfd, uint64_t start)
{
	(void)pidfd;
	(void)start;
	w.calls++;
	return w.answer;
}

static void add_guest(size_t i, const char *name)
{
	struct guest *guest = &w.v[i];

	guest->id = w.seen[i].id = i + 1;
	snprintf(guest->name, sizeof(guest->name), "%s", name);
	guest->pid = child_new(fill, NULL);
	guest->memory_bytes = guest->actual_bytes = 64 * MIB;
	guest->survey.full = true;
	w.seen[i].memory_bytes = w.seen[i].actual_bytes = w.seen[i].node_bytes[0] = 64 * MIB;
	w.seen[i].target_bytes = POL_ABSENT;
	w.list[i] = guest;
}

static int setup(void **state)
{
	memset(&w, 0, sizeof(w));
	w.tree = tree_new(NULL);
	account_init(&w.account);
	add_guest(0, "calm");
	add_guest(1, "busy");
	w.guests = (struct guests){.v = w.list, .n = 2};
	w.act = (struct act){
		.rootfd = kfile_open_root("/"), .guests = &w.guests, .account = &w.account};
	w.config.huge_repair = true;
	w.config.huge_bytes_per_s = 4 * GIB;
	w.snapshot = (struct pol_host){.available_bytes = 4 * GIB, .guests = w.seen, .n_guests = 2};
	w.host = (struct repairs_host){&w.snapshot, POL_STATE_HIGH, GIB};
	w.now_us = clock_now_us();
	assert_int_equal(repairs_open(&w.act, advise, true, &w.repairs), 0);
	return 0;
}

static int teardown(void **state)
{
	repairs_close(w.repairs);
	close(w.act.rootfd);
	child_end(w.v[0].pid);
	child_end(w.v[1].pid);
	tree_free(&w.tree);
	return 0;
}

static void tick(void)
{
	w.now_us += USEC_PER_SEC;
	w.seen[0].cpu_us += 300000;
	w.seen[1].cpu_us += 600000;
	repairs_tick(w.repairs, &w.config, &w.host, w.now_us);
}

static const struct account_entry *run(uint64_t guest)
{
	const struct account_entry *entry = NULL;

	for (int i = 0; i < 15; i++)
		tick();
	for (int i = 0; i < 2000; i++) {
		entry = account_last(&w.account, POL_COLLAPSE, guest);
		if (entry && entry->outcome != ACCOUNT_PENDING)
			break;
		usleep(1000);
		repairs_tick(w.repairs, &w.config, &w.host, w.now_us);
	}
	return entry;
}

/* And nothing but guest RAM. */
static bool has_huge_pages_free(void)
{
	for (int i = 0; i < 12; i++)
		tick();
	return CHILD_IS_PLAIN && w.v[1].repair.why != POL_REPAIR_PIECES &&
	       w.v[1].repair.why != POL_REPAIR_NO_HUGE;
}

static void test_busiest_first(void **state)
{
	const struct account_entry *entry;
	json_object *list, *one;
	uint64_t value;

	if (!has_huge_pages_free())
		skip();
	entry = run(2);
	assert_non_null(entry);
	assert_int_equal(entry->outcome, ACCOUNT_DONE);
	assert_contains(entry->text, "64 MiB made huge");
	assert_in_range(w.calls, 32, 64); /* the other one may have begun */
	list = repairs_json(w.repairs);
	one = json_object_array_get_idx(list, 0);
	assert_string_equal(json_get_str(one, "guest"), "busy");
	assert_true(json_get_u64(one, "collapsed_bytes", &value) && value == 64 * MIB);
	assert_true(json_get_u64(one, "filled_bytes", &value) && value == 4096);
	assert_false(json_get_u64(one, "huge_after_bytes", &value));
	json_object_put(list);
	/* Looked at again: that is what it brought. */
	assert_int_equal(w.v[1].survey_us, 0);
	w.v[1].survey_start_us = w.now_us + 1;
	w.v[1].survey.anon_huge_bytes = w.seen[1].huge_bytes = 60 * MIB;
	repairs_tick(w.repairs, &w.config, &w.host, w.now_us);
	list = repairs_json(w.repairs);
	one = json_object_array_get_idx(list, 0);
	assert_true(json_get_u64(one, "huge_after_bytes", &value) && value == 60 * MIB);
	json_object_put(list);
	/* Then the other one. */
	assert_non_null(run(1));
}

/* What a balloon holds must not be filled again. */
static void test_balloon_keeps_holes(void **state)
{
	const struct account_entry *entry;

	w.v[1].actual_bytes = w.seen[1].actual_bytes = 62 * MIB;
	w.v[0].survey.anon_huge_bytes = w.seen[0].huge_bytes = 64 * MIB; /* only one is counted */
	if (!has_huge_pages_free())
		skip();
	entry = run(2);
	assert_non_null(entry);
	assert_int_equal(entry->action.to2, 1);
	assert_contains(entry->text, "62 MiB made huge");
	assert_int_equal(w.calls, 31);
}

static void test_refused(void **state)
{
	const struct account_entry *entry;

	if (!has_huge_pages_free())
		skip();
	w.answer = -EPERM;
	entry = run(2);
	assert_int_equal(entry->outcome, ACCOUNT_FAILED);
	assert_string_equal(entry->error, strerror(EPERM));
	assert_true(w.v[1].repair.rest_us > w.now_us);
}

/* The next one is under way, and slow: a piece each eighth of a second. */
static bool is_begun(void)
{
	w.config.huge_bytes_per_s = 16 * MIB;
	if (!has_huge_pages_free())
		return false;
	for (int i = 0; i < 100 && !w.calls; i++) {
		tick();
		usleep(10000);
	}
	assert_true(w.calls > 0);
	return true;
}

static void assert_ends_soon(void)
{
	const struct account_entry *entry = NULL;

	for (int i = 0; i < 1000; i++) {
		repairs_tick(w.repairs, &w.config, &w.host, w.now_us);
		entry = account_last(&w.account, POL_COLLAPSE, 2);
		if (entry && entry->outcome != ACCOUNT_PENDING)
			break;
		usleep(1000);
	}
	assert_non_null(entry);
	assert_int_equal(entry->outcome, ACCOUNT_DONE);
	assert_in_range(w.calls, 1, 16);
}

static void test_ends_when_short(void **state)
{
	if (!is_begun())
		skip();
	w.host.state = POL_STATE_SOFT;
	assert_ends_soon();
}

static void test_ends_when_off(void **state)
{
	if (!is_begun())
		skip();
	w.config.huge_repair = false;
	assert_ends_soon();
}

static void test_ends_when_not_managed(void **state)
{
	static struct config_guest section = {.name = "busy"};

	if (!is_begun())
		skip();
	w.config.guests = &section;
	w.config.n_guests = 1;
	assert_ends_soon();
}

static void test_left_alone(void **state)
{
	w.act.dry_run = true;
	for (int i = 0; i < 40; i++)
		tick();
	assert_int_equal(w.calls, 0);
	w.act.dry_run = false;
	w.config.huge_repair = false;
	for (int i = 0; i < 20; i++)
		tick();
	assert_int_equal(w.calls, 0);
	assert_int_equal(w.v[1].repair.why, POL_REPAIR_OFF);
	repairs_tick(NULL, &w.config, &w.host, w.now_us);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_busiest_first, setup, teardown),
		cmocka_unit_test_setup_teardown(test_balloon_keeps_holes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(test_ends_when_short, setup, teardown),
		cmocka_unit_test_setup_teardown(test_ends_when_off, setup, teardown),
		cmocka_unit_test_setup_teardown(test_ends_when_not_managed, setup, teardown),
		cmocka_unit_test_setup_teardown(test_left_alone, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
