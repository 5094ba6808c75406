// SPDX-License-Identifier: Apache-2.0
/* Looks at processes in a tree whose page tables are known, quiet hosts and busy ones. */
#include "tests/unit/sharing_tree.h"

#include "common/cleanup.h"
#include "common/wire.h"
#include "memd/sharing.h"
#include "memd/sharing_frame.h"
#include "memd/sharing_json.h"

#define PAGE 4096ULL
#define ZERO 0x77ULL

static void cleanup_sharing(struct sharing **sharing)
{
	sharing_free(*sharing);
}
#define AUTO_SHARING AUTO(cleanup_sharing)

static const struct sharing_target two[] = {{101, 0, 1}, {102, 0, 2}};

/*
 * 101 and 102 are guests, 103 is none. Frames 1000 to 1004: one in both guests, one twice in 101
 * and once in 102, one in 101 and 103, one in 103 only, but twice; one single left in 102.
 */
static struct tree quiet_host(void)
{
	struct tree tree = tree_new(NULL);

	tree_process(&tree, 101, 64, 4, "rd wr mr mw me ac mg");
	tree_process(&tree, 102, 64, 3, "rd wr mg sd");
	tree_process(&tree, 103, 64, 3, "mg");
	tree_map(&tree, 101, 0, FRAME_PRESENT | 1000);
	tree_map(&tree, 102, 60, FRAME_PRESENT | 1000);
	tree_map(&tree, 101, 1, FRAME_PRESENT | 1001);
	tree_map(&tree, 101, 2, FRAME_PRESENT | 1001);
	tree_map(&tree, 102, 61, FRAME_PRESENT | 1001);
	tree_map(&tree, 101, 3, FRAME_PRESENT | 1002);
	tree_map(&tree, 103, 1, FRAME_PRESENT | 1002);
	tree_map(&tree, 103, 2, FRAME_PRESENT | 1003);
	tree_map(&tree, 103, 3, FRAME_PRESENT | 1003);
	tree_map(&tree, 102, 62, FRAME_PRESENT | FRAME_EXCLUSIVE | 1004);
	/* none of KSM's: memory of its own, a file's page, a forked page, swapped out, zero */
	tree_map(&tree, 101, 10, FRAME_PRESENT | FRAME_EXCLUSIVE | 5000);
	tree_map(&tree, 101, 11, FRAME_PRESENT | FRAME_FILE | 5001);
	tree_map(&tree, 101, 12, FRAME_PRESENT | 900000);
	tree_map(&tree, 101, 13, FRAME_SWAPPED | 1001);
	for (uint64_t page = 20; page < 25; page++)
		tree_map(&tree, 101, page, FRAME_PRESENT | ZERO);
	tree_map(&tree, 102, 30, FRAME_PRESENT | ZERO);
	tree_frame(&tree, 1000, FRAME_KSM | FRAME_ANON, 2);
	tree_frame(&tree, 1001, FRAME_KSM | FRAME_ANON, 3);
	tree_frame(&tree, 1002, FRAME_KSM | FRAME_ANON, 2);
	tree_frame(&tree, 1003, FRAME_KSM | FRAME_ANON, 2);
	tree_frame(&tree, 1004, FRAME_KSM | FRAME_ANON, 1);
	tree_frame(&tree, 5001, 0, 9);
	tree_frame(&tree, ZERO, FRAME_ZERO_PAGE, 0);
	tree_frame(&tree, 900000, FRAME_ANON, 2);
	tree_ksm_stat(&tree, 101, 4, 3);
	tree_ksm_stat(&tree, 102, 3, 1);
	tree_ksm_stat(&tree, 103, 3, 0);
	/* 10 records of 5 pages */
	tree_kernel(&tree, 5, 5, 4);
	return tree;
}

static struct sharing *look(const struct tree *tree, const struct sharing_target *targets, size_t n)
{
	const struct sharing_options options = {.pairs = true, .others = true};
	AUTO_FD int rootfd = tree_rootfd(tree);
	struct sharing *sharing;

	assert_int_equal(sharing_scan(rootfd, targets, n, &options, &sharing), 0);
	return sharing;
}

/* The identity that explains every difference. */
static struct sharing_check checked(const struct sharing *sharing)
{
	struct sharing_check check;

	sharing_check(sharing, &check);
	assert_true(check.known);
	assert_int_equal(check.difference, check.gone + (int64_t)check.stale -
						   (int64_t)check.unrecorded -
						   (int64_t)check.unknown - check.lone);
	return check;
}

static void quiet(void **state)
{
	AUTO_TREE struct tree tree = quiet_host();
	AUTO_SHARING struct sharing *s = look(&tree, two, 2);
	struct sharing_check check = checked(s);

	assert_int_equal(s->n, 2);
	assert_int_equal(s->parts[1].id, 2);
	assert_int_equal(s->parts[1].pid, 102);
	assert_int_equal(s->n_others, 1);
	/* 101: 1/2 + 2 * 2/3 + 1/2, 102: 1/2 + 2/3, 103: 1/2 + 1 of a page */
	assert_int_equal(s->parts[0].saved_bytes, 9557);
	assert_int_equal(s->parts[1].saved_bytes, 4779);
	assert_int_equal(s->others.saved_bytes, 6144);
	assert_int_equal(s->saved_bytes, 5 * PAGE);
	assert_int_equal(s->unknown_pages, 0);
	assert_int_equal(s->parts[0].own_bytes, PAGE);
	assert_int_equal(s->parts[1].own_bytes, 0);
	assert_int_equal(s->others.own_bytes, PAGE);
	assert_int_equal(s->parts[0].shared_pages, 4);
	assert_int_equal(s->parts[0].single_pages, 0);
	assert_int_equal(s->parts[1].single_pages, 1);
	assert_int_equal(s->parts[0].metadata_bytes, 14 * 64);
	assert_int_equal(s->parts[0].zero_pages, 3);
	assert_true(s->parts[0].zero_mapped_pages == POL_ABSENT);
	assert_int_equal(s->distinct_pages, 4);
	assert_int_equal(s->moved_pages, 0);
	assert_int_equal(sharing_pair_pages(s, 0, 1), 2);
	assert_int_equal(sharing_pair_pages(s, 1, 0), 2);
	assert_int_equal(sharing_pair_pages(s, 0, 0), 1);
	assert_int_equal(sharing_pair_pages(s, 0, 2), 1);
	assert_int_equal(sharing_pair_pages(s, 1, 2), 0);
	assert_int_equal(sharing_pair_pages(s, 2, 2), 1);
	assert_int_equal(sharing_pair_pages(s, 2, 3), 0);
	assert_true(check.exact);
	assert_int_equal(check.gone, 0);
	assert_int_equal(check.stale, 0);
	assert_int_equal(check.lone, 0);
	assert_true(check.zero_known);
	assert_int_equal(check.zero_difference, 0);
}

/* Asked for nobody: all is the others', and the sum is the same. */
static void nobody_asked(void **state)
{
	AUTO_TREE struct tree tree = quiet_host();
	AUTO_SHARING struct sharing *s = look(&tree, NULL, 0);

	assert_int_equal(s->n_others, 3);
	assert_int_equal(s->others.saved_bytes, 5 * PAGE);
	assert_int_equal(s->others.own_bytes, 5 * PAGE);
	assert_true(checked(s).exact);
}

/* Without looking at the others theirs are unknown, and a page that only they share is missed. */
static void others_left_out(void **state)
{
	AUTO_TREE struct tree tree = quiet_host();
	AUTO_FD int rootfd = tree_rootfd(&tree);
	const struct sharing_options options = {0};
	AUTO_SHARING struct sharing *s = NULL;
	struct sharing_check check;

	assert_int_equal(sharing_scan(rootfd, two, 2, &options, &s), 0);
	assert_int_equal(s->n_others, 0);
	assert_int_equal(s->unknown_pages, 1);
	assert_int_equal(s->unknown_saved_bytes, 2048);
	assert_int_equal(s->parts[0].saved_bytes + s->parts[1].saved_bytes, 14336);
	assert_null(s->pairs);
	assert_int_equal(sharing_pair_pages(s, 0, 1), 0);
	check = checked(s);
	assert_false(check.exact);
	assert_int_equal(check.difference, 1);
	assert_int_equal(check.gone, 3);
	assert_int_equal(check.unknown, 1);
}

/*
 * Records that ksmd has not dropped yet: 102 has written to its page of frame 1000, 104 has ended
 * with three pages, of which one was nobody else's.
 */
static void stale_records(void **state)
{
	AUTO_TREE struct tree tree = quiet_host();
	AUTO_SHARING struct sharing *s = NULL;
	struct sharing_check check;

	tree_map(&tree, 102, 60, FRAME_PRESENT | FRAME_EXCLUSIVE | 6000);
	tree_process(&tree, 102, 64, 2, "mg");
	tree_map(&tree, 101, 0, FRAME_PRESENT | FRAME_EXCLUSIVE | 1000);
	tree_frame(&tree, 1000, FRAME_KSM, 1);
	tree_kernel(&tree, 6, 7, 4);
	s = look(&tree, two, 2);
	check = checked(s);
	assert_int_equal(s->saved_bytes, 4 * PAGE);
	assert_int_equal(s->parts[0].single_pages, 1);
	assert_int_equal(check.difference, 3);
	assert_int_equal(check.stale, 1);
	assert_int_equal(check.gone, 3);
	assert_int_equal(check.lone, 1);
}

/* A fork maps the parent's merged pages before ksmd has seen it. */
static void forked(void **state)
{
	AUTO_TREE struct tree tree = quiet_host();
	AUTO_SHARING struct sharing *s = NULL;
	struct sharing_check check;

	tree_frame(&tree, 1000, FRAME_KSM, 3);
	tree_process(&tree, 104, 64, 1, "mg");
	tree_map(&tree, 104, 0, FRAME_PRESENT | 1000);
	tree_ksm_stat(&tree, 104, 0, 0);
	s = look(&tree, two, 2);
	check = checked(s);
	assert_int_equal(s->unknown_pages, 1);
	assert_int_equal(check.difference, -1);
	assert_int_equal(check.unknown, 1);
	assert_int_equal(sharing_pair_pages(s, 0, 2), 2);
	/* asked for by name it is looked at */
	sharing_free(s);
	s = look(&tree, (struct sharing_target[]){{101, 0, 0}, {104, 1040, 0}}, 2);
	check = checked(s);
	assert_int_equal(s->unknown_pages, 0);
	assert_int_equal(check.unrecorded, 1);
	assert_int_equal(check.difference, -1);
	/* found among the others by its zero pages; 103's stale record does not hide it */
	tree_ksm_stat(&tree, 104, 0, 2);
	tree_ksm_stat(&tree, 103, 4, 0);
	tree_kernel(&tree, 5, 6, 4);
	sharing_free(s);
	s = look(&tree, two, 2);
	check = checked(s);
	assert_int_equal(s->n_others, 2);
	assert_int_equal(s->unknown_pages, 0);
	assert_int_equal(check.unrecorded, 1);
	assert_int_equal(check.stale, 1);
	assert_int_equal(check.difference, 0);
}

/* A page that was let go of between the two looks at it. */
static void moving(void **state)
{
	AUTO_TREE struct tree tree = quiet_host();
	AUTO_SHARING struct sharing *s = NULL;

	tree_frame(&tree, 1001, FRAME_KSM, 2);
	tree_map(&tree, 101, 50, FRAME_PRESENT | 7000);
	tree_frame(&tree, 7000, FRAME_KSM, 1);
	s = look(&tree, two, 2);
	assert_int_equal(s->moved_pages, 2);
	assert_int_equal(s->saved_bytes, 5 * PAGE); /* as it was seen */
	checked(s);
}

/* 6.1: no KSM line in smaps, no zero pages in ksm_stat: all mergeable memory is walked. */
static void old_kernel(void **state)
{
	AUTO_TREE struct tree tree = quiet_host();
	AUTO_SHARING struct sharing *s = NULL;
	struct sharing_check check;

	tree_process(&tree, 101, 64, -1, "mg");
	tree_process(&tree, 102, 64, -1, "mg");
	tree_process(&tree, 103, 64, -1, "mg");
	tree_set(&tree, "proc/101/ksm_stat", "ksm_rmap_items 12\n");
	tree_set(&tree, "proc/101/ksm_merging_pages", "4\n");
	tree_ksm_stat(&tree, 102, 3, UINT64_MAX);
	tree_ksm_stat(&tree, 103, 3, UINT64_MAX);
	tree_remove(&tree, "sys/kernel/mm/ksm/ksm_zero_pages");
	s = look(&tree, two, 2);
	check = checked(s);
	assert_true(check.exact);
	assert_int_equal(s->parts[0].record_pages, 4);
	assert_true(s->parts[0].single_pages == POL_ABSENT);
	assert_true(s->parts[0].zero_pages == POL_ABSENT);
	assert_int_equal(s->parts[0].zero_mapped_pages, 5);
	assert_int_equal(s->parts[1].zero_mapped_pages, 1);
	/* the single page is in both terms, and they cancel out */
	assert_true(check.lone_mapped);
	assert_int_equal(check.stale, 1);
	assert_int_equal(check.lone, 1);
	assert_false(check.zero_known);
}

/* What is not mergeable, or holds nothing merged, is not walked. */
static void only_where_it_pays(void **state)
{
	AUTO_TREE struct tree tree = quiet_host();
	AUTO_SHARING struct sharing *s = NULL;

	tree_process(&tree, 101, 64, 0, "rd mg");
	tree_process(&tree, 102, 64, 3, "rd mgx xmg nh");
	s = look(&tree, two, 2);
	assert_int_equal(s->walked_pages, 64); /* 103's */
	assert_int_equal(s->parts[0].saved_bytes, 0);
	assert_int_equal(s->parts[1].saved_bytes, 0);
	assert_int_equal(s->unknown_pages, 1);
}

static void gone(void **state)
{
	AUTO_TREE struct tree tree = quiet_host();
	const struct sharing_target targets[] = {
		{101, 1010, 0}, {102, 1, 0}, {4242, 0, 0}, {104, 0, 0}, {105, 0, 0}};
	AUTO_SHARING struct sharing *s = NULL;

	tree_process(&tree, 104, 64, 3, "mg");
	tree_ksm_stat(&tree, 104, 3, 0);
	tree_set(&tree, "proc/104/pagemap", ""); /* ended while it was looked at */
	tree_process(&tree, 105, 64, 3, "mg");
	tree_set(&tree, "proc/105/smaps", "what?\n");
	s = look(&tree, targets, 5);
	assert_int_equal(s->parts[0].error, 0);
	assert_int_equal(s->parts[1].error, -ESRCH); /* another process by now */
	assert_int_equal(s->parts[2].error, -ESRCH);
	assert_int_equal(s->parts[3].error, -ESRCH);
	assert_int_equal(s->parts[4].error, -EIO);
	assert_int_equal(s->parts[1].shared_pages, 0);
	assert_int_equal(s->parts[1].record_pages, 0);
	assert_true(s->parts[0].saved_bytes > 0);
	assert_int_equal(s->unknown_pages, 2); /* 102's, which was not looked at */
	checked(s);
}

static void not_allowed(void **state)
{
	AUTO_TREE struct tree tree = quiet_host();
	AUTO_FD int rootfd = tree_rootfd(&tree);
	const struct sharing_options options = {.others = true};
	struct sharing *s = NULL;

	for (uint64_t page = 0; page < 64; page++)
		tree_map(&tree, 102, page, FRAME_PRESENT);
	assert_int_equal(sharing_scan(rootfd, two, 2, &options, &s), -EPERM);
	tree_remove(&tree, "proc/kpagecount");
	assert_int_equal(sharing_scan(rootfd, two, 2, &options, &s), -EOPNOTSUPP);
	tree_remove(&tree, "sys/kernel/mm/ksm");
	assert_int_equal(sharing_scan(rootfd, two, 2, &options, &s), -EOPNOTSUPP);
	assert_int_equal(sharing_scan(rootfd, two, SHARING_TARGETS_MAX + 1, &options, &s), -E2BIG);
	assert_null(s);
}

static int on_kind(void *ctx, const uint64_t *mappings, size_t n, enum frame_kind kind,
		   uint64_t mappers)
{
	unsigned int *merged = ctx;

	assert_int_equal(mappers, kind == FRAME_MERGED ? 2 : 0);
	*merged += kind == FRAME_MERGED;
	return 0;
}

/* A kernel that calls all anonymous pages merged ones: only the dirty ones are taken for it. */
static void vague_flags(void **state)
{
	AUTO_TREE struct tree tree = quiet_host();
	AUTO_FD int rootfd = tree_rootfd(&tree);
	struct frames frames;
	unsigned int merged = 0;

	tree_frame(&tree, 1000, FRAME_KSM | FRAME_ANON | FRAME_DIRTY, 2);
	tree_frame(&tree, 1002, FRAME_KSM | FRAME_ANON, 2);
	assert_int_equal(frames_open(rootfd, &frames), 0);
	assert_false(frames.vague);
	assert_int_equal(frames_add(&frames, 1002, 0), 0);
	assert_int_equal(frames_add(&frames, 1000, 0), 0);
	assert_int_equal(frames_sort(&frames), 0);
	assert_int_equal(frames_each(&frames, on_kind, &merged), 0);
	assert_int_equal(merged, 2);
	frames.vague = true;
	merged = 0;
	assert_int_equal(frames_each(&frames, on_kind, &merged), 0);
	assert_int_equal(merged, 1);
	assert_int_equal(frames_add(&frames, FRAME_NUMBER_MAX, 0), -ERANGE);
	frames_close(&frames);
}

static void on_progress(void *ctx, unsigned int permille)
{
	unsigned int *last = ctx;

	assert_true(permille >= *last && permille <= 1000);
	*last = permille;
}

/* 40 000 frames between two guests, in no order, some far from the rest. */
static void many(void **state)
{
	enum { PAGES = 40000 };
	AUTO_TREE struct tree tree = tree_new(NULL);
	AUTO_FD int rootfd = tree_rootfd(&tree);
	AUTO_FREE uint64_t *entries = calloc(PAGES, 8), *flags = calloc(1 << 17, 8);
	AUTO_SHARING struct sharing *s = NULL;
	atomic_bool cancel = false;
	unsigned int permille = 0;
	struct sharing_options options = {
		.others = true, .progress = on_progress, .ctx = &permille, .cancel = &cancel};
	char path[PATH_MAX];
	FILE *file;

	for (pid_t pid = 101; pid <= 102; pid++) {
		tree_process(&tree, pid, PAGES, PAGES, "mg");
		tree_ksm_stat(&tree, pid, PAGES, 0);
		for (uint64_t i = 0; i < PAGES; i++)
			entries[i] =
				FRAME_PRESENT | (1 + (i * 7919 + 11 * (uint64_t)pid) % PAGES * 3);
		snprintf(path, sizeof(path), "%s/proc/%d/pagemap", tree.root, (int)pid);
		file = fopen(path, "r+");
		fseek(file, TREE_BASE / 4096 * 8, SEEK_SET);
		assert_int_equal(fwrite(entries, 8, PAGES, file), PAGES);
		fclose(file);
	}
	for (uint64_t i = 0; i < PAGES; i++)
		flags[1 + i * 3] = FRAME_KSM;
	tree_set_bytes(&tree, "proc/kpageflags", (char *)flags, 8 << 17);
	for (uint64_t i = 0; i < PAGES; i++)
		flags[1 + i * 3] = 2;
	tree_set_bytes(&tree, "proc/kpagecount", (char *)flags, 8 << 17);
	tree_kernel(&tree, PAGES, PAGES, 0);
	assert_int_equal(sharing_scan(rootfd, two, 2, &options, &s), 0);
	assert_int_equal(s->parts[0].saved_bytes, PAGES / 2 * PAGE);
	assert_int_equal(s->parts[1].saved_bytes, PAGES / 2 * PAGE);
	assert_int_equal(s->walked_pages, 2 * PAGES);
	assert_true(checked(s).exact);
	assert_true(permille > 600);

	options.progress = NULL;
	options.budget_us = 1;
	sharing_free(TAKE_PTR(s));
	assert_int_equal(sharing_scan(rootfd, two, 2, &options, &s), -ETIME);
	atomic_store(&cancel, true);
	assert_int_equal(sharing_scan(rootfd, two, 2, &options, &s), -ECANCELED);
}

static uint64_t number(json_object *object, const char *key)
{
	uint64_t value;

	assert_true(json_get_u64(object, key, &value));
	return value;
}

static void in_json(void **state)
{
	static const struct sharing_guest guests[] = {
		{.name = "web1", .mergeable = true, .why_not = ""},
		{.name = "db1", .why_not = "hugetlb pages"},
	};
	AUTO_TREE struct tree tree = quiet_host();
	AUTO_SHARING struct sharing *s = look(&tree, two, 2);
	AUTO_JSON json_object *doc = sharing_json(s, guests);
	json_object *list = json_get_array(doc, "guests"), *pairs = json_get_array(doc, "pairs");
	json_object *guest = json_object_array_get_idx(list, 0), *pair;
	json_object *check = json_get_obj(doc, "check");
	bool flag;

	assert_int_equal(number(doc, "schema"), 1);
	assert_int_equal(json_object_array_length(list), 2);
	assert_string_equal(json_get_str(guest, "name"), "web1");
	assert_int_equal(number(guest, "saved_bytes"), 9557);
	assert_int_equal(number(guest, "within_bytes"), 4096);
	assert_int_equal(number(guest, "with_others_bytes"), 5461);
	assert_int_equal(number(guest, "zero_bytes"), 3 * PAGE);
	assert_null(json_get_str(guest, "mergeable_reason"));
	guest = json_object_array_get_idx(list, 1);
	assert_string_equal(json_get_str(guest, "mergeable_reason"), "hugetlb pages");
	assert_true(json_get_bool(guest, "mergeable", &flag) && !flag);
	assert_int_equal(number(json_get_obj(doc, "others"), "processes"), 1);
	assert_int_equal(number(json_get_obj(doc, "sum"), "saved_bytes"), 5 * PAGE);
	assert_true(json_get_bool(check, "exact", &flag) && flag);
	assert_int_equal(json_object_array_length(json_get_array(check, "difference")), 0);
	/* web1 itself, with db1, with the others; the others among themselves */
	assert_int_equal(json_object_array_length(pairs), 4);
	pair = json_object_array_get_idx(pairs, 1);
	assert_string_equal(json_get_str(pair, "a"), "web1");
	assert_string_equal(json_get_str(pair, "b"), "db1");
	assert_int_equal(number(pair, "b_pid"), 102);
	assert_int_equal(number(pair, "bytes"), 2 * PAGE);
	pair = json_object_array_get_idx(pairs, 3);
	assert_null(json_get_str(pair, "a"));
	assert_null(json_get_str(pair, "b"));
}

/* The terms of a difference are told one by one, and add up. */
static void difference_in_json(void **state)
{
	static const struct sharing_guest guests[] = {{.name = "a"}, {.name = "b"}};
	AUTO_TREE struct tree tree = quiet_host();
	AUTO_SHARING struct sharing *s = NULL;
	AUTO_JSON json_object *doc = NULL;
	json_object *check, *terms;
	int64_t sum = 0;

	tree_kernel(&tree, 6, 9, 4); /* 5 records of a process that is gone */
	tree_map(&tree, 102, 61, FRAME_PRESENT | FRAME_EXCLUSIVE | 6000);
	tree_frame(&tree, 1001, FRAME_KSM, 2);
	tree_process(&tree, 102, 64, 2, "mg");
	s = look(&tree, two, 2);
	doc = sharing_json(s, guests);
	check = json_get_obj(doc, "check");
	terms = json_get_array(check, "difference");
	assert_int_equal(json_object_array_length(terms), 3);
	for (size_t i = 0; i < json_object_array_length(terms); i++) {
		json_object *term = json_object_array_get_idx(terms, i), *pages;

		assert_true(json_object_object_get_ex(term, "pages", &pages));
		assert_non_null(json_get_str(term, "text"));
		sum += json_object_get_int64(pages);
	}
	assert_int_equal(sum, 5);
	assert_int_equal(number(check, "difference_pages"), 5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(quiet),
		cmocka_unit_test(nobody_asked),
		cmocka_unit_test(others_left_out),
		cmocka_unit_test(stale_records),
		cmocka_unit_test(forked),
		cmocka_unit_test(moving),
		cmocka_unit_test(old_kernel),
		cmocka_unit_test(only_where_it_pays),
		cmocka_unit_test(gone),
		cmocka_unit_test(not_allowed),
		cmocka_unit_test(vague_flags),
		cmocka_unit_test(many),
		cmocka_unit_test(in_json),
		cmocka_unit_test(difference_in_json),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
