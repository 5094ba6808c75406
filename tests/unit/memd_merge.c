// SPDX-License-Identifier: Apache-2.0
/* Guests' merging switched by the policy's word, and what is remembered of it across a crash. */
#include "common/kfile.h"
#include "tests/unit/merge_world.h"

static void test_off_and_on(void **state)
{
	struct guest *guest = merge_ready();
	struct pol_guest p = merge_snapshot(0);

	(void)state;
	assert_true(p.merge_on && p.merge_switch);
	assert_false(pol_has(p.marked_bytes)); /* not looked at yet: may be anything, anywhere */
	assert_false(pol_has(p.bound_mask));
	merge_look(guest, 512 << 20);
	p = merge_snapshot(0);
	assert_int_equal(p.marked_bytes, 512 << 20);
	assert_int_equal(p.bound_mask, 2);

	w.asked = 0;
	merge_order(guest, POL_MERGE, 0, 0);
	assert_int_equal(w.sets, 2);
	assert_int_equal(w.asked, 1); /* and what it says now */
	assert_int_equal(w.done, 1);
	assert_int_equal(w.error, 0);
	assert_int_equal(merge_outcome_of(1), ACCOUNT_DONE);
	assert_false(w.backends[0].merge || w.backends[1].merge || w.backends[2].merge);
	assert_int_equal(guest->survey_us, 0); /* to be looked at at once */
	p = merge_snapshot(0);
	assert_true(!p.merge_on && p.merge_switch && !p.mergeable);
	assert_false(pol_has(p.marked_bytes)); /* the look before says nothing any more */
	assert_string_equal(guest->merge_reason, "it was started with merge=off");
	merge_look(guest, 0);
	assert_int_equal(merge_snapshot(0).marked_bytes, 0);
	merge_order(guest, POL_MERGE, 0, 0);
	assert_int_equal(merge_outcome_of(2), ACCOUNT_UNNEEDED);

	/* On again: those that were, and no other. */
	merge_order(guest, POL_MERGE, 1, 0);
	assert_true(w.backends[0].merge && w.backends[1].merge && !w.backends[2].merge);
	p = merge_snapshot(0);
	assert_true(p.merge_on && p.merge_switch);
	assert_false(pol_has(p.marked_bytes));
}

static void test_started_off_is_not_ours(void **state)
{
	struct pol_guest p;

	(void)state;
	w.backends[0].merge = w.backends[1].merge = false;
	merge_ready();
	p = merge_snapshot(0);
	assert_false(p.merge_on || p.merge_switch);
	merge_order(w.guests.v[0], POL_MERGE, 1, 0);
	assert_int_equal(w.sets, 0);
	assert_int_equal(merge_outcome_of(1), ACCOUNT_UNNEEDED);
}

static void test_refused(void **state)
{
	struct guest *guest = merge_ready();

	(void)state;
	w.refuse = true;
	merge_order(guest, POL_MERGE, 0, 0);
	assert_int_equal(w.done, 1);
	assert_int_equal(merge_outcome_of(1), ACCOUNT_FAILED);
	assert_contains(w.failed, "not here");
	assert_true(merge_snapshot(0).merge_on);
	assert_false(merge_snapshot(0).merge_switch);
	assert_true(merge_snapshot(100 * USEC_PER_SEC).merge_switch); /* another try, later */
}

/* Off, and some of it marked all the same: told, once the kernel has been looked at since. */
static void test_marks_that_stay_are_told(void **state)
{
	struct guest *guest = merge_ready();
	char text[GUEST_NOTE_MAX] = "";

	(void)state;
	merge_look(guest, 512 << 20);
	assert_false(merge_marks_text(guest, text, sizeof(text)));
	merge_order(guest, POL_MERGE, 0, 0);
	assert_false(merge_marks_text(guest, text, sizeof(text)));
	merge_look(guest, 0);
	assert_false(merge_marks_text(guest, text, sizeof(text)));
	merge_look(guest, 768 << 10);
	assert_true(merge_marks_text(guest, text, sizeof(text)));
	assert_contains(text, "768 KiB");
	assert_contains(text, "mem-merge=off, and merge=on");
}

static void test_broken_off(void **state)
{
	struct guest *guest = merge_ready();

	(void)state;
	w.monitor.silent = true;
	merge_order(guest, POL_MERGE, 0, 0);
	assert_int_equal(w.done, 0);
	assert_false(pol_has(merge_snapshot(0).marked_bytes));
	merge_order(guest, POL_MERGE, 1, 0); /* one at a time */
	assert_int_equal(merge_outcome_of(2), ACCOUNT_FAILED);
	guest_qmp_drop(guest, "test");
	assert_int_equal(w.done, 1);
	assert_int_equal(w.error, -EPIPE);
	assert_int_equal(merge_outcome_of(1), ACCOUNT_FAILED);
	merge_order(guest, POL_MERGE, 0, 0);
	assert_int_equal(merge_outcome_of(3), ACCOUNT_FAILED);
}

static void test_backends_that_cannot_be_named(void **state)
{
	struct guest *guest;

	(void)state;
	w.backends[1].id = NULL;
	guest = merge_ready();
	assert_true(merge_snapshot(0).merge_on);
	assert_false(merge_snapshot(0).merge_switch);
	merge_order(guest, POL_MERGE, 0, 0);
	assert_int_equal(w.sets, 0);
	assert_int_equal(merge_outcome_of(1), ACCOUNT_FAILED);
}

static void test_too_many_backends(void **state)
{
	(void)state;
	for (size_t i = 0; i < 12; i++)
		w.backends[i] = (struct backend){"r", i == 11, false};
	w.n = 12;
	merge_ready();
	assert_true(merge_snapshot(0).merge_on);
	assert_false(merge_snapshot(0).merge_switch);
}

static void test_dry_run(void **state)
{
	struct guest *guest = merge_ready();

	(void)state;
	w.act.dry_run = true;
	merge_order(guest, POL_MERGE, 0, 0);
	merge_order(NULL, POL_KSM_NODES, 0, 1);
	assert_int_equal(w.sets, 0);
	merge_assert_file("run", "1");
	assert_int_equal(merge_outcome_of(1), ACCOUNT_DRY_RUN);
	assert_int_equal(merge_outcome_of(2), ACCOUNT_DRY_RUN);
}

/* Another memd, which has seen nothing, knows what the one before has switched off. */
static void test_remembered(void **state)
{
	struct guest *guest = merge_ready();

	(void)state;
	merge_order(guest, POL_MERGE, 0, 0);
	for (size_t i = 0; i < 3; i++)
		guest->backends[i].ours = false;
	assert_false(merge_snapshot(0).merge_switch);
	merge_recall(guest, w.dir);
	assert_true(merge_snapshot(0).merge_switch);
	assert_true(guest->backends[0].ours && guest->backends[1].ours && !guest->backends[2].ours);
	/* Another process with the same pid is another guest. */
	guest->backends[0].ours = guest->backends[1].ours = false;
	guest->starttime++;
	merge_recall(guest, w.dir);
	assert_false(merge_snapshot(0).merge_switch);
	merge_recall(guest, "/nonexistent");
	assert_int_equal(merge_keep(&w.guests, "/nonexistent"), -ENOENT);
}

/* Noted before a crash, and not found again yet: that stays in the note for as long as they live.
 */
static void test_remembered_unfound(void **state)
{
	struct guest *guest = merge_ready();
	char note[512];

	(void)state;
	tree_set(&w.tree, "run/merge-off",
		 "42 777 ram0\n42 777 ram1\n42 776 old\n43 777 gone\nnonsense\n44 9 odd\n");
	tree_set(&w.tree, "proc/42/stat",
		 "42 (qemu) S 1 1 1 0 -1 4194560 1 0 0 0 5 1 0 0 20 0 3 0 777 1 1 1 1 1 1 1 1 0 0 "
		 "0 0 0 0 0 17 0 0 0 0 0 0\n");
	tree_set(&w.tree, "proc/42/status", "Name:\tqemu\nState:\tS (sleeping)\nVmRSS:\t1 kB\n");
	tree_set(&w.tree, "proc/44/stat", "unreadable");
	merge_recall(guest, w.dir);
	merge_order(guest, POL_MERGE, 0, 0);
	assert_true(kfile_read(w.guests.rootfd, "run/merge-off", note, sizeof(note)) > 0);
	assert_contains(note, "42 777 ram0\n42 777 ram1\n44 9 odd\n");
	assert_null(strstr(note, "776"));
	assert_null(strstr(note, "43 "));
	assert_contains(note, " ram0\n"); /* its own */
	/* Found by now, and it is not off any more. */
	guest->pid = 42;
	guest->starttime = 777;
	for (size_t i = 0; i < 3; i++)
		guest->backends[i].ours = false;
	assert_int_equal(merge_keep(&w.guests, w.dir), 0);
	assert_true(kfile_read(w.guests.rootfd, "run/merge-off", note, sizeof(note)) > 0);
	assert_string_equal(note, "44 9 odd\n");
}

static void add_section(size_t i, const char *name, const char *domain, uint32_t number)
{
	snprintf(w.sections[i].name, sizeof(w.sections[i].name), "%s", name);
	snprintf(w.sections[i].domain, sizeof(w.sections[i].domain), "%s", domain);
	w.sections[i].domain_number = number;
	w.config.n_guests = i + 1;
}

static void test_left_as_found(void **state)
{
	struct guest *guest = merge_ready();

	(void)state;
	merge_order(guest, POL_MERGE, 0, 0);
	merge_leave(&w.act);
	merge_settle();
	assert_true(w.backends[0].merge && w.backends[1].merge && !w.backends[2].merge);
}

/* Guests of two domains: what is off stays off, whoever sets KSM afterwards. */
static void test_left_apart(void **state)
{
	struct guest *guest = merge_ready(), other = {.merge_asked = true, .listed = true};

	(void)state;
	merge_order(guest, POL_MERGE, 0, 0);
	add_section(0, "web1", "a", 1);
	snprintf(other.name, sizeof(other.name), "other");
	w.guests.v[w.guests.n++] = &other;
	merge_leave(&w.act);
	merge_settle();
	assert_false(w.backends[0].merge || w.backends[1].merge);
	/* The other one is gone, and only its socket's file is left. */
	other.listed = false;
	merge_leave(&w.act);
	merge_settle();
	w.guests.n--;
	assert_true(w.backends[0].merge && w.backends[1].merge);
}

static void test_unsorted(void **state)
{
	struct guest other = {.listed = true, .pid = 99};
	const struct guest *culprit = NULL;

	(void)state;
	merge_ready();
	w.guests.v[w.guests.n++] = &other;
	assert_false(merge_is_unsorted(&w.guests, NULL)); /* no domains in use */
	add_section(0, "web1", "a", 1);
	assert_true(merge_is_unsorted(&w.guests, &culprit));
	assert_ptr_equal(culprit, &other);
	/* The kernel has nothing of it marked, or there is nobody. */
	other.survey.full = true;
	assert_false(merge_is_unsorted(&w.guests, NULL));
	other.survey.marked_bytes = 4096;
	assert_true(merge_is_unsorted(&w.guests, NULL));
	other.listed = false;
	assert_false(merge_is_unsorted(&w.guests, NULL));
	w.guests.n--;
}

static void test_domain_of_a_guest(void **state)
{
	(void)state;
	add_section(0, "x", "", 0);
	add_section(1, "web1", "b", 2);
	merge_ready();
	assert_int_equal(merge_snapshot(0).domain, 2);
	assert_string_equal(config_domain_name(&w.config, 2), "b");
	assert_string_equal(config_domain_name(&w.config, 0), "");
	assert_string_equal(config_domain_name(&w.config, 77), "");
	assert_int_equal(config_domain(&w.config, "x"), 0);
	assert_int_equal(config_domain(&w.config, "nobody"), 0);
}

/* A vmm guest is merged by chunks: off until sampled, then those chosen, off and on as a whole. */
static void test_by_chunks(void **state)
{
#define RANGE(gpa, length, merge) "{\"gpa\":" gpa ",\"length\":" length ",\"merge\":" merge "}"
	struct guest *guest;

	(void)state;
	w.monitor.package = "vmm 0.1.0";
	w.n = 1;
	guest = merge_ready();
	chunk_poll(&w.guests);
	merge_settle();
	assert_true(chunk_is_used(guest));
	assert_true(merge_snapshot(0).merge_on);
	chunk_poll(&w.guests);
	merge_settle();
	assert_string_equal(w.ranges, "[" RANGE("0", "8388608", "false") "]");
	assert_false(guest->merge_asked);
	assert_true(merge_snapshot(0).merge_on &&
		    merge_snapshot(0).merge_switch); /* allowed all the same */

	guest->chunks->on[2] = guest->chunks->dirty = true;
	chunk_poll(&w.guests);
	merge_settle();
	assert_string_equal(w.ranges, "[" RANGE("0", "4194304", "false") "," RANGE(
					      "4194304", "2097152",
					      "true") "," RANGE("6291456", "2097152", "false") "]");
	assert_true(guest->merge_asked);
	w.ranges[0] = '\0';
	chunk_poll(&w.guests); /* nothing new, nothing said */
	merge_settle();
	assert_string_equal(w.ranges, "");

	merge_order(guest, POL_MERGE, 0, 0);
	assert_string_equal(w.ranges, "[" RANGE("0", "8388608", "false") "]");
	assert_true(!merge_snapshot(0).merge_on && merge_snapshot(0).merge_switch);
	guest->chunks->dirty = true; /* a new choice waits for its turn */
	w.ranges[0] = '\0';
	chunk_poll(&w.guests);
	merge_settle();
	assert_string_equal(w.ranges, "");
	merge_order(guest, POL_MERGE, 1, 0);
	assert_contains(w.ranges, RANGE("4194304", "2097152", "true"));
	assert_true(merge_snapshot(0).merge_on);
	assert_int_equal(w.sets, 0);

	/* At the end all of it is as it was. */
	merge_leave(&w.act);
	merge_settle();
	assert_int_equal(w.sets, 1);
	assert_true(w.backends[0].merge);
	assert_false(chunk_is_used(guest));
}

/* One of the older vmm, or merge-unit=guest. */
static void test_not_by_chunks(void **state)
{
	(void)state;
	w.monitor.package = "vmm 0.1.0";
	w.config.merge_unit = CONFIG_MERGE_GUEST;
	merge_ready();
	chunk_poll(&w.guests);
	merge_settle();
	assert_null(w.guests.v[0]->chunks);
	merge_order(w.guests.v[0], POL_MERGE, 0, 0);
	assert_int_equal(w.sets, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		MERGE_TEST(test_off_and_on),
		MERGE_TEST(test_started_off_is_not_ours),
		MERGE_TEST(test_refused),
		MERGE_TEST(test_marks_that_stay_are_told),
		MERGE_TEST(test_broken_off),
		MERGE_TEST(test_backends_that_cannot_be_named),
		MERGE_TEST(test_too_many_backends),
		MERGE_TEST(test_dry_run),
		MERGE_TEST(test_remembered),
		MERGE_TEST(test_left_as_found),
		MERGE_TEST(test_remembered_unfound),
		MERGE_TEST(test_left_apart),
		MERGE_TEST(test_unsorted),
		MERGE_TEST(test_domain_of_a_guest),
		MERGE_TEST(test_by_chunks),
		MERGE_TEST(test_not_by_chunks),
	};

	return cmocka_run_group_tests_name("memd_merge", tests, NULL, NULL);
}
