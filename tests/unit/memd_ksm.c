// SPDX-License-Identifier: Apache-2.0
/* KSM as captured from three kernels, and with each file broken in turn. */
#include "tests/unit/tree.h"

#include "common/cleanup.h"
#include "memd/ksm.h"

#define DIR_KSM "sys/kernel/mm/ksm/"

static struct pol_ksm sense(const struct tree *tree, char *reason, size_t n)
{
	struct pol_ksm out = {.mergeable_any = true};
	AUTO_FD int rootfd = tree_rootfd(tree);
	struct ksm *ksm;

	assert_int_equal(ksm_open(rootfd, &ksm), 0);
	assert_non_null(ksm_reason(ksm)); /* nothing is claimed before the first look */
	assert_int_equal(ksm_sense(ksm, &out), 0);
	snprintf(reason, n, "%s", ksm_reason(ksm) ? ksm_reason(ksm) : "");
	ksm_close(ksm);
	assert_true(out.mergeable_any); /* not ours to change */
	return out;
}

static void newest_kernel(void **state)
{
	AUTO_TREE struct tree tree = tree_new("npt-6.12");
	char reason[256];
	struct pol_ksm k = sense(&tree, reason, sizeof(reason));

	assert_true(k.present);
	assert_string_equal(reason, "");
	assert_true(k.advisor);
	assert_true(k.smart_scan);
	assert_int_equal(k.run, 1);
	assert_int_equal(k.pages_to_scan, 20000);
	assert_int_equal(k.sleep_ms, 20);
	assert_int_equal(k.pages_shared, 28);
	assert_int_equal(k.pages_sharing, 81);
	assert_int_equal(k.pages_unshared, 0);
	assert_int_equal(k.pages_volatile, 3);
	assert_int_equal(k.zero_pages, 88);
	assert_int_equal(k.full_scans, 355);
	assert_int_equal(k.pages_scanned, 174020);
	assert_int_equal(k.cow_breaks, 0);
	assert_int_equal(k.cpu_us, 867 * (1000000 / sysconf(_SC_CLK_TCK)));
}

static void old_kernel(void **state)
{
	AUTO_TREE struct tree tree = tree_new("npt-6.1");
	char reason[256];
	struct pol_ksm k = sense(&tree, reason, sizeof(reason));

	assert_true(k.present);
	assert_false(k.advisor);
	assert_false(k.smart_scan);
	assert_int_equal(k.pages_sharing, 65810);
	assert_false(pol_has(k.zero_pages)); /* absent is not zero */
	assert_false(pol_has(k.pages_scanned));
}

/* A user's process may call itself ksmd, and may have the lower pid. */
static void impostor_ksmd(void **state)
{
	AUTO_TREE struct tree tree = tree_new("npt-6.12");
	char reason[256];

	tree_set(&tree, "proc/5/stat", "5 (ksmd) S 1 0 0 0 -1 0 0 0 0 0 777 777 0 0 25 5 1 0 9\n");
	tree_set(&tree, "proc/6/stat", "6 (a) S 2 (ksmd) S 1 0 0 0 -1 0 0 0 0 0 777 777 0 0\n");
	assert_int_equal(sense(&tree, reason, sizeof(reason)).cpu_us,
			 867 * (1000000 / sysconf(_SC_CLK_TCK)));
	tree_remove(&tree, "proc/37/stat");
	assert_false(pol_has(sense(&tree, reason, sizeof(reason)).cpu_us));
}

static void garbage(void **state)
{
	static const char *const required[] = {"run",	       "pages_to_scan", "sleep_millisecs",
					       "pages_shared", "pages_sharing", "pages_unshared",
					       "full_scans",   "pages_volatile"};
	static const char *const texts[] = {
		"",	 "\n",	    "abc\n",  "-5\n",
		"1 2\n", "12x\n",   "0x10\n", "99999999999999999999999\n",
		"1.5",	 "\xff\xfe"};

	for (size_t i = 0; i < ARRAY_SIZE(required); i++) {
		for (size_t j = 0; j < ARRAY_SIZE(texts); j++) {
			AUTO_TREE struct tree tree = tree_new(NULL);
			char path[128], reason[256], name[192];
			struct pol_ksm k;

			for (size_t l = 0; l < ARRAY_SIZE(required); l++) {
				snprintf(path, sizeof(path), DIR_KSM "%s", required[l]);
				tree_set(&tree, path, "1\n");
			}
			assert_true(sense(&tree, reason, sizeof(reason)).present);
			snprintf(path, sizeof(path), DIR_KSM "%s", required[i]);
			tree_set(&tree, path, texts[j]);
			k = sense(&tree, reason, sizeof(reason));
			assert_false(k.present);
			snprintf(name, sizeof(name), "/%s does not hold a number", path);
			assert_string_equal(reason, name);
			/* the others are still told */
			assert_int_equal(i == 0 ? k.full_scans : k.run, 1);
		}
	}
}

static void garbage_inside(void **state)
{
	AUTO_TREE struct tree tree = tree_new("npt-6.12");
	char reason[256];

	tree_set_bytes(&tree, DIR_KSM "run", "1\0\n", 3);
	assert_false(sense(&tree, reason, sizeof(reason)).present);
	tree_set(&tree, DIR_KSM "run", "7\n");
	assert_false(sense(&tree, reason, sizeof(reason)).present);
	assert_contains(reason, "holds 7, not 0, 1 or 2");
	tree_set(&tree, DIR_KSM "run", "2\n");
	assert_true(sense(&tree, reason, sizeof(reason)).present);
	/* what newer kernels add may be broken without harm */
	tree_set(&tree, DIR_KSM "ksm_zero_pages", "-1\n");
	assert_true(sense(&tree, reason, sizeof(reason)).present);
	assert_false(pol_has(sense(&tree, reason, sizeof(reason)).zero_pages));
	tree_remove(&tree, DIR_KSM "full_scans");
	assert_false(sense(&tree, reason, sizeof(reason)).present);
	assert_contains(reason, "/sys/kernel/mm/ksm/full_scans is missing");
}

static void absent(void **state)
{
	AUTO_TREE struct tree tree = tree_new(NULL);
	char reason[256];
	struct pol_ksm k = sense(&tree, reason, sizeof(reason));

	assert_false(k.present);
	assert_false(pol_has(k.run));
	assert_false(pol_has(k.pages_sharing));
	assert_false(pol_has(k.cow_breaks));
	assert_false(pol_has(k.cpu_us));
	assert_contains(reason, "no KSM");
}

static void read_only(void **state)
{
	AUTO_TREE struct tree tree = tree_new("npt-6.12");
	char path[PATH_MAX], reason[256];
	struct pol_ksm k;
	bool root = geteuid() == 0;

	chmod(tree_path(&tree, DIR_KSM "run", path, sizeof(path)), 0444);
	if (root)
		assert_int_equal(seteuid(65534), 0);
	k = sense(&tree, reason, sizeof(reason));
	if (root)
		assert_int_equal(seteuid(0), 0);
	assert_false(k.present);
	assert_int_equal(k.pages_sharing, 81); /* what can be read is told */
	assert_contains(reason, "run cannot be written");
	assert_contains(reason, "run as root");
}

/* Numbers that no kernel shows: all zeros, more pages than memory, and totals that go back, which
 * are held against the rest for a while. */
static void numbers_that_cannot_be(void **state)
{
	static const char *const totals[] = {"full_scans", "pages_scanned", "pages_skipped"};
	static const char *const counts[] = {"pages_shared",   "pages_sharing",	 "pages_unshared",
					     "pages_volatile", "ksm_zero_pages", "full_scans",
					     "pages_scanned",  "pages_skipped",	 "run",
					     "pages_to_scan",  "sleep_millisecs"};
	AUTO_TREE struct tree zeros = tree_new("npt-6.12");
	char path[128], reason[256], text[192];
	struct ksm *ksm;

	for (size_t i = 0; i < ARRAY_SIZE(counts); i++) {
		AUTO_TREE struct tree tree = tree_new("npt-6.12");

		snprintf(path, sizeof(path), DIR_KSM "%s", counts[i]);
		tree_set(&zeros, path, "0\n");
		tree_set(&tree, path, "18446744073709551614\n");
		if (i < 5 || i == 8) {
			assert_false(sense(&tree, reason, sizeof(reason)).present);
			assert_contains(reason, counts[i]);
		}
	}
	assert_false(sense(&zeros, reason, sizeof(reason)).present);
	assert_contains(reason, "hold 0, which no kernel shows");

	for (size_t i = 0; i < ARRAY_SIZE(totals); i++) {
		AUTO_TREE struct tree tree = tree_new("npt-6.12");
		AUTO_FD int rootfd = tree_rootfd(&tree);
		struct pol_ksm k = {0};
		unsigned int looks = 0;

		snprintf(path, sizeof(path), DIR_KSM "%s", totals[i]);
		tree_set(&tree, path, "500000\n");
		assert_int_equal(ksm_open(rootfd, &ksm), 0);
		ksm_sense(ksm, &k);
		assert_true(k.present);
		tree_set(&tree, path, "499999\n");
		ksm_sense(ksm, &k);
		assert_false(k.present);
		snprintf(text, sizeof(text), "/%s went back from 500000 to 499999", path);
		assert_string_equal(ksm_reason(ksm), text);
		for (; !k.present && looks < 1000; looks++)
			ksm_sense(ksm, &k);
		assert_int_equal(looks, 60);
		assert_null(ksm_reason(ksm));
		/* With run=2 the kernel begins anew. */
		tree_set(&tree, DIR_KSM "run", "2\n");
		tree_set(&tree, path, "0\n");
		ksm_sense(ksm, &k);
		assert_true(k.present);
		ksm_close(ksm);
	}
}

/* Values are read anew through the descriptors that stay open. */
static void follows_changes(void **state)
{
	AUTO_TREE struct tree tree = tree_new("npt-6.12");
	AUTO_FD int rootfd = tree_rootfd(&tree);
	struct pol_ksm k = {0};
	char text[32];
	struct ksm *ksm;

	assert_int_equal(ksm_open(rootfd, &ksm), 0);
	ksm_sense(ksm, &k);
	tree_set(&tree, DIR_KSM "pages_sharing", "123456\n");
	tree_set(&tree, "proc/vmstat", "pswpin 0\ncow_ksm 55\nksm_swpin_copy 3\n");
	ksm_sense(ksm, &k);
	assert_int_equal(k.pages_sharing, 123456);
	assert_int_equal(k.cow_breaks, 55);

	assert_true(ksm_has(ksm, KSM_ADVISOR_MODE));
	assert_int_equal(ksm_knob_read(ksm, KSM_ADVISOR_MODE, text, sizeof(text)), 0);
	assert_string_equal(text, "none");
	assert_int_equal(ksm_knob_read(ksm, KSM_PAGES_TO_SCAN, text, sizeof(text)), 0);
	assert_string_equal(text, "20000");
	assert_string_equal(ksm_knob_name(KSM_SLEEP_MILLISECS), "sleep_millisecs");
	for (int i = 0; i < KSM_KNOB_COUNT; i++)
		assert_true(ksm_has(ksm, (enum ksm_knob)i));
	ksm_close(ksm);
}

static void owned_elsewhere(void **state)
{
	AUTO_TREE struct tree tree = tree_new("npt-6.12");
	AUTO_FD int rootfd = tree_rootfd(&tree);
	char why[256] = "";

	assert_false(ksm_owned_elsewhere(rootfd, why, sizeof(why)));
	/* moves guests, but leaves KSM alone */
	tree_set(&tree, "proc/900/comm", "numad\n");
	tree_set(&tree, "proc/900/status", "Name:\tnumad\nUid:\t0\t0\t0\t0\n");
	assert_false(ksm_owned_elsewhere(rootfd, why, sizeof(why)));
	/* anybody may call a process so; only root can set KSM */
	tree_set(&tree, "proc/901/comm", "ksmtuned\n");
	tree_set(&tree, "proc/901/status", "Name:\tksmtuned\nUid:\t1000\t1000\t1000\t1000\n");
	assert_false(ksm_owned_elsewhere(rootfd, why, sizeof(why)));
	tree_set(&tree, "proc/901/status", "Name:\tksmtuned\nUid:\t0\t0\t0\t0\n");
	assert_true(ksm_owned_elsewhere(rootfd, why, sizeof(why)));
	assert_contains(why, "ksmtuned (pid 901)");
	assert_contains(why, "systemctl disable --now ksmtuned");
	assert_true(ksm_owned_elsewhere(rootfd, NULL, 0));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(newest_kernel),   cmocka_unit_test(old_kernel),
		cmocka_unit_test(impostor_ksmd),   cmocka_unit_test(garbage),
		cmocka_unit_test(garbage_inside),  cmocka_unit_test(numbers_that_cannot_be),
		cmocka_unit_test(absent),	   cmocka_unit_test(read_only),
		cmocka_unit_test(follows_changes), cmocka_unit_test(owned_elsewhere),
	};

	return cmocka_run_group_tests_name("memd_ksm", tests, NULL, NULL);
}
