// SPDX-License-Identifier: Apache-2.0
/* Acting on the host: KSM files on a captured tree, journalled, read back, restored; dry runs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <signal.h>
#include <string.h>
#include <linux/capability.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "common/undo.h"
#include "memd/act.h"
#include "memd/host.h"
#include "tests/unit/ksmd_child.h"
#include "tests/unit/tree.h"

#define KSM "sys/kernel/mm/ksm/"

static struct {
	struct tree tree;
	struct host *host;
	struct undo *undo;
	struct account account;
	struct config config;
	struct guests guests;
	struct act act;
	char dir[128];
	char failed[512]; /* the last complaint */
	bool journal_blamed;
} w;

static void on_failed(void *ctx, const char *text)
{
	(void)ctx;
	snprintf(w.failed, sizeof(w.failed), "%s", text);
	w.journal_blamed |= strstr(text, "journal cannot be written (File too large)") != NULL;
}

static int setup(void **state)
{
	static const struct guests_hooks hooks;

	(void)state;
	w.tree = tree_new("npt-6.12");
	tree_set(&w.tree, KSM "run", "0\n");
	tree_set(&w.tree, KSM "pages_to_scan", "100\n");
	tree_set(&w.tree, KSM "sleep_millisecs", "20\n");
	tree_set(&w.tree, KSM "smart_scan", "0\n");
	tree_set(&w.tree, KSM "advisor_mode", "[none] scan-time\n");
	assert_int_equal(host_open(w.tree.root, &w.host), 0);
	tree_path(&w.tree, "run", w.dir, sizeof(w.dir));
	assert_int_equal(undo_open(w.dir, "/", &w.undo), 0);
	account_init(&w.account);
	assert_int_equal(guests_init(&w.guests, NULL, &w.config, &hooks, false, -1), 0);
	w.failed[0] = '\0';
	w.act = (struct act){
		.rootfd = host_rootfd(w.host),
		.undo = w.undo,
		.ksm = host_ksm(w.host),
		.guests = &w.guests,
		.account = &w.account,
		.failed = on_failed,
	};
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	undo_close(w.undo);
	host_close(w.host);
	guests_fini(&w.guests);
	tree_free(&w.tree);
	return 0;
}

static void do_plan(const struct pol_action *actions, size_t n)
{
	struct pol_action copy[4];
	struct pol_plan plan = {.actions = copy, .n_actions = n};

	memcpy(copy, actions, n * sizeof(*actions));
	act_plan(&w.act, &plan, 1000000);
}

static const struct pol_action on[] = {
	{.kind = POL_KSM_RATE, .from = 100, .to = 500, .to2 = 10, .reason = POL_WHY_KSM_GAIN},
	{.kind = POL_KSM_RUN, .from = 0, .to = 1, .reason = POL_WHY_KSM_GAIN},
};

static const struct pol_action off = {.kind = POL_KSM_RUN, .from = 1, .to = 0};

static const struct pol_action patrol[] = {
	{.kind = POL_KSM_RATE, .to = 300, .to2 = 1000, .to3 = 1, .reason = POL_WHY_KSM_NO_GAIN},
};

static void assert_file(const char *name, const char *value)
{
	char path[128], text[64];

	snprintf(path, sizeof(path), KSM "%s", name);
	assert_string_equal(tree_get(&w.tree, path, text, sizeof(text)), value);
}

static enum account_outcome outcome_of(uint64_t number)
{
	assert_int_equal(w.account.ring[number].number, number);
	return w.account.ring[number].outcome;
}

static void test_on_and_back(void **state)
{
	(void)state;
	do_plan(on, 2);
	assert_file("run", "1");
	assert_file("pages_to_scan", "500");
	assert_file("sleep_millisecs", "10");
	assert_file("advisor_mode", "[none] scan-time"); /* equal values are not written */
	assert_int_equal(undo_count(w.undo), 3);
	assert_string_equal(undo_original(w.undo, KSM "run"), "0");
	assert_int_equal(outcome_of(1), ACCOUNT_DONE);
	do_plan(on, 2);
	assert_int_equal(outcome_of(3), ACCOUNT_UNNEEDED);
	assert_int_equal(act_restore(&w.act, NULL), 0);
	assert_file("run", "0");
	assert_file("pages_to_scan", "100");
	assert_file("sleep_millisecs", "20");
	assert_int_equal(undo_count(w.undo), 0);
}

/* Without room for the journal nothing is changed, and the journal is named, not the kernel. */
static void test_full_journal(void **state)
{
	struct rlimit before, none;

	(void)state;
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	none = (struct rlimit){.rlim_cur = 0, .rlim_max = before.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &none), 0);
	do_plan(on, 2);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
	assert_true(w.journal_blamed);
	assert_int_equal(outcome_of(1), ACCOUNT_FAILED);
	assert_file("run", "0");
	assert_file("pages_to_scan", "100");
	assert_int_equal(undo_count(w.undo), 0);
}

/* A crash: the next process restores from the journal alone, but not what somebody set since. */
static void test_after_crash(void **state)
{
	(void)state;
	do_plan(on, 2);
	undo_close(w.undo);
	w.act.undo = w.undo = NULL;
	tree_set(&w.tree, KSM "sleep_millisecs", "77\n");
	assert_int_equal(undo_open(w.dir, "/", &w.undo), 0);
	w.act.undo = w.undo;
	{
		AUTO_JSON json_object *list = json_object_new_array();
		unsigned int left = 0, restored = 0;

		assert_int_equal(act_restore(&w.act, list), 0);
		for (size_t i = 0; i < json_object_array_length(list); i++) {
			const char *result =
				json_get_str(json_object_array_get_idx(list, i), "result");

			left += strcmp(result, "left") == 0;
			restored += strcmp(result, "restored") == 0;
		}
		assert_int_equal(left, 1);
		assert_int_equal(restored, 2);
	}
	assert_file("run", "0");
	assert_file("sleep_millisecs", "77");
}

static void test_advisor(void **state)
{
	(void)state;
	tree_set(&w.tree, KSM "advisor_mode", "none [scan-time]\n");
	do_plan(on, 1);
	assert_file("advisor_mode", "none");
	assert_file("pages_to_scan", "500");
	assert_string_equal(undo_original(w.undo, KSM "advisor_mode"), "scan-time");
	act_restore(&w.act, NULL);
	assert_file("advisor_mode", "scan-time");
	assert_file("pages_to_scan", "100");
}

/* How ksmd scans is memd's as well, and put back as well. */
static void test_ways_of_scanning(void **state)
{
	(void)state;
	tree_set(&w.tree, KSM "smart_scan", "0\n");
	tree_set(&w.tree, KSM "use_zero_pages", "0\n");
	do_plan(patrol, 1);
	assert_file("smart_scan", "1");
	assert_file("use_zero_pages", "1");
	act_restore(&w.act, NULL);
	assert_file("smart_scan", "0");
	assert_file("use_zero_pages", "0");
}

/* Before 6.6 nobody counts pages merged with the zero page: then they are better merged as others
 * are. Before 6.7 there is no smart_scan. */
static void test_ways_of_scanning_on_old_kernels(void **state)
{
	(void)state;
	tree_remove(&w.tree, KSM "smart_scan");
	tree_remove(&w.tree, KSM "ksm_zero_pages");
	tree_set(&w.tree, KSM "use_zero_pages", "0\n");
	host_close(w.host);
	assert_int_equal(host_open(w.tree.root, &w.host), 0);
	w.act.rootfd = host_rootfd(w.host);
	w.act.ksm = host_ksm(w.host);
	do_plan(on, 2);
	assert_int_equal(outcome_of(1), ACCOUNT_DONE);
	assert_file("use_zero_pages", "0");
	assert_string_equal(w.failed, "");
}

/* Stopping KSM is no reason to take the rate from the kernel's advisor. */
static void test_advisor_left(void **state)
{
	(void)state;
	tree_set(&w.tree, KSM "run", "1\n");
	tree_set(&w.tree, KSM "advisor_mode", "none [scan-time]\n");
	do_plan(&off, 1);
	assert_file("run", "0");
	assert_file("advisor_mode", "none [scan-time]");
}

static void test_dry_run(void **state)
{
	(void)state;
	w.act.dry_run = true;
	undo_close(w.undo);
	w.act.undo = w.undo = NULL;
	for (unsigned int i = 0; i < 5; i++)
		do_plan(on, 2);
	assert_file("run", "0");
	assert_file("pages_to_scan", "100");
	assert_int_equal(outcome_of(1), ACCOUNT_DRY_RUN);
	assert_int_equal(w.account.next, 3); /* the same wish is told once */
	assert_int_equal(act_restore(&w.act, NULL), 0);
}

static void test_failures(void **state)
{
	char path[160];

	(void)state;
	/* Without a place for the journal nothing is changed. */
	tree_path(&w.tree, KSM "run", path, sizeof(path));
	assert_int_equal(unlink(path), 0);
	do_plan(&on[1], 1);
	assert_int_equal(outcome_of(1), ACCOUNT_FAILED);
	assert_contains(w.failed, "sys/kernel/mm/ksm/run");
	/* A file that keeps its own mind is told of. */
	tree_path(&w.tree, KSM "pages_to_scan", path, sizeof(path));
	assert_int_equal(unlink(path), 0);
	assert_int_equal(symlink("/dev/null", path), 0);
	do_plan(on, 1);
	assert_int_equal(outcome_of(2), ACCOUNT_FAILED);
	assert_contains(w.failed, "pages_to_scan");
	/* And one that takes what is written and says something else: 500 reads as 000001f4. */
	assert_int_equal(unlink(path), 0);
	assert_int_equal(symlink("/proc/self/coredump_filter", path), 0);
	do_plan(on, 1);
	assert_int_equal(outcome_of(3), ACCOUNT_FAILED);
	assert_contains(w.failed, "reads back as something else");
}

/* ---- ksmd's nice value ---- */

static const struct pol_action urgent[] = {
	{.kind = POL_KSM_RATE, .to = 500, .to2 = 10, .to4 = 1, .reason = POL_WHY_KSM_PRESSURE},
	{.kind = POL_KSM_RUN, .from = 0, .to = 1, .reason = POL_WHY_KSM_PRESSURE},
};

static int nice_now(void)
{
	return getpriority(PRIO_PROCESS, 0);
}

static bool is_journalled(void)
{
	return undo_original(w.undo, UNDO_KSMD_NICE);
}

static bool urgent_and_back(struct tree *tree)
{
	AUTO_FD int rootfd = open("/", O_RDONLY | O_DIRECTORY);

	w.act.rootfd = rootfd;
	do_plan(urgent, 2);
	KSMD_CHECK(nice_now() == -10 && is_journalled());
	KSMD_CHECK(!strcmp(undo_original(w.undo, UNDO_KSMD_NICE), "5"));
	/* Not again while it lasts, whoever changes it. */
	ksmd_child_nice(3);
	do_plan(urgent, 2);
	KSMD_CHECK(nice_now() == 3);
	ksmd_child_nice(-10);
	do_plan(on, 1);
	KSMD_CHECK(nice_now() == 5 && !is_journalled());
	/* With ksmd's stop, */
	do_plan(urgent, 1);
	KSMD_CHECK(nice_now() == -10);
	do_plan(&off, 1);
	KSMD_CHECK(nice_now() == 5 && !is_journalled());
	/* and with memd's. */
	do_plan(urgent, 1);
	KSMD_CHECK(nice_now() == -10 && act_restore(&w.act, NULL) == 0 && nice_now() == 5);
	/* What somebody made of it is left. */
	do_plan(urgent, 1);
	ksmd_child_nice(3);
	do_plan(on, 1);
	KSMD_CHECK(nice_now() == 3 && !is_journalled());
	/* More urgent than that already. */
	ksmd_child_nice(-15);
	do_plan(urgent, 1);
	KSMD_CHECK(nice_now() == -15 && !is_journalled());
	return !w.failed[0];
}

static void test_urgent_and_back(void **state)
{
	(void)state;
	ksmd_child_run(&w.tree, urgent_and_back);
}

/* Not allowed: told once, and everything else is done. */
static bool urgent_without_right(struct tree *tree)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2];
	AUTO_FD int rootfd = open("/", O_RDONLY | O_DIRECTORY);

	w.act.rootfd = rootfd;
	KSMD_CHECK(syscall(SYS_capget, &head, data) == 0);
	data[0].effective &= ~(1u << CAP_SYS_NICE);
	KSMD_CHECK(syscall(SYS_capset, &head, data) == 0);
	do_plan(urgent, 2);
	KSMD_CHECK(nice_now() == 5 && !is_journalled() && undo_original(w.undo, KSM "run"));
	KSMD_CHECK(outcome_of(1) == ACCOUNT_DONE && outcome_of(2) == ACCOUNT_DONE);
	KSMD_CHECK(strstr(w.failed, "CAP_SYS_NICE"));
	w.failed[0] = '\0';
	do_plan(on, 1);
	do_plan(urgent, 1);
	return !w.failed[0] && nice_now() == 5;
}

static void test_urgent_without_right(void **state)
{
	(void)state;
	ksmd_child_run(&w.tree, urgent_without_right);
}

/* On a captured host there is no ksmd, and that is no failure. */
static void test_urgent_on_a_captured_host(void **state)
{
	(void)state;
	do_plan(urgent, 2);
	assert_file("pages_to_scan", "500");
	assert_false(is_journalled());
	assert_string_equal(w.failed, "");
}

static void test_stopped(void **state)
{
	(void)state;
	w.act.stopped = true;
	do_plan(on, 2);
	assert_file("run", "0");
	assert_int_equal(w.account.next, 1);
}

/* Balloon decisions on guests that are gone or not connected end as failed, not in a crash. */
static void test_no_guest(void **state)
{
	const struct pol_action take = {.kind = POL_BALLOON, .guest = 9, .to = 1 << 20};

	(void)state;
	do_plan(&take, 1);
	assert_int_equal(w.account.next, 1);
	assert_int_equal(act_deflate(&w.act, 1ULL << 40, 0), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_on_and_back, setup, teardown),
		cmocka_unit_test_setup_teardown(test_full_journal, setup, teardown),
		cmocka_unit_test_setup_teardown(test_after_crash, setup, teardown),
		cmocka_unit_test_setup_teardown(test_advisor, setup, teardown),
		cmocka_unit_test_setup_teardown(test_advisor_left, setup, teardown),
		cmocka_unit_test_setup_teardown(test_ways_of_scanning, setup, teardown),
		cmocka_unit_test_setup_teardown(test_ways_of_scanning_on_old_kernels, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_dry_run, setup, teardown),
		cmocka_unit_test_setup_teardown(test_failures, setup, teardown),
		cmocka_unit_test_setup_teardown(test_urgent_and_back, setup, teardown),
		cmocka_unit_test_setup_teardown(test_urgent_without_right, setup, teardown),
		cmocka_unit_test_setup_teardown(test_urgent_on_a_captured_host, setup, teardown),
		cmocka_unit_test_setup_teardown(test_stopped, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_guest, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
