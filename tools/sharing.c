// SPDX-License-Identifier: Apache-2.0
/*
 * memctl sharing: which guest saves what by KSM and with whom, held against the kernel's count. It
 * looks itself, with memd's own library, so that it works on a host that does not run memd.
 */
#include "memd/sharing.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/kfile.h"
#include "common/log.h"
#include "common/size.h"
#include "memd/footprint.h"
#include "tools/sharing_guests.h"
#include "tools/sharing_matrix.h"
#include "tools/table.h"

#define PROGRESS_AFTER_US (2 * USEC_PER_SEC)
#define PROGRESS_EVERY_US (USEC_PER_SEC / 4)

/* ---- whom to look at ---- */

/* False: memd is not there or does not answer (said where that is a surprise). */
static bool ask_memd(const struct memctl *ctl, struct sharing_list *list)
{
	AUTO_JSON json_object *answer = NULL;
	int r = memctl_ask(ctl, "query-guests", &answer);

	if (r < 0)
		return false;
	r = sharing_list_from(answer, list);
	if (r < 0)
		log_warn("memd does not tell its guests (%s); looking for KVM processes instead",
			 strerror(-r));
	return r == 0;
}

static enum memctl_exit find_guests(const struct memctl *ctl, int rootfd, struct sharing_list *list)
{
	int r;

	if (ctl->pids)
		return sharing_list_parse(rootfd, ctl->pids, list) ? MEMCTL_OK : MEMCTL_USAGE;
	if (ask_memd(ctl, list))
		return MEMCTL_OK;
	sharing_list_free(list);
	r = sharing_list_discover(rootfd, list);
	if (r == 0)
		return MEMCTL_OK;
	log_err("/proc: %s", strerror(-r));
	return MEMCTL_FAILED;
}

/* ---- looking ---- */

struct progress {
	uint64_t start_us, told_us;
};

static void on_progress(void *ctx, unsigned int permille)
{
	struct progress *progress = ctx;
	uint64_t now_us = clock_now_us();

	if (now_us - progress->start_us < PROGRESS_AFTER_US ||
	    now_us - progress->told_us < PROGRESS_EVERY_US)
		return;
	progress->told_us = now_us;
	fprintf(stderr, "\rmemctl: looking at page frames, %u%% ", permille / 10);
	fflush(stderr);
}

static const char *scan_advice(int error)
{
	switch (error) {
	case EPERM:
		return "the kernel hides page frames from this user; run as root (CAP_SYS_ADMIN)";
	case EOPNOTSUPP:
		return "this kernel has no KSM, or no /proc/kpageflags (CONFIG_PROC_PAGE_MONITOR)";
	case E2BIG:
		return "too many processes";
	default:
		return strerror(error);
	}
}

static int look(const struct memctl *ctl, int rootfd, const struct sharing_list *list,
		struct sharing **ret_sharing)
{
	struct sharing_target *targets = calloc(list->n + 1, sizeof(*targets));
	struct progress progress = {.start_us = clock_now_us()};
	struct sharing_options options = {.pairs = ctl->matrix, .others = true};
	int r;

	if (!targets)
		return -ENOMEM;
	if (isatty(STDERR_FILENO)) {
		options.progress = on_progress;
		options.ctx = &progress;
	}
	for (size_t i = 0; i < list->n; i++)
		targets[i].pid = list->v[i].pid;
	r = sharing_scan(rootfd, targets, list->n, &options, ret_sharing);
	free(targets);
	if (progress.told_us)
		fputs("\r\033[K", stderr);
	return r;
}

/* The look as a document, with what keeps each guest from merging. NULL: out of memory. */
static json_object *document(int rootfd, const struct sharing *sharing,
			     const struct sharing_list *list)
{
	struct sharing_guest *guests = calloc(list->n + 1, sizeof(*guests));
	struct footprint *footprints = calloc(list->n + 1, sizeof(*footprints));
	json_object *doc = NULL;

	for (size_t i = 0; guests && footprints && i < list->n; i++) {
		int r = footprint_full(rootfd, list->v[i].pid, &footprints[i]);

		guests[i] = (struct sharing_guest){.name = list->v[i].name,
						   .mergeable = footprints[i].mergeable,
						   .why_not = footprints[i].mergeable_reason,
						   .mergeable_unknown = r < 0};
	}
	if (guests && footprints)
		doc = sharing_json(sharing, guests);
	free(guests);
	free(footprints);
	return doc;
}

/* ---- showing ---- */

static bool is_among(int argc, char **argv, const char *name)
{
	for (int i = 0; i < argc; i++)
		if (strcmp(argv[i], name) == 0)
			return true;
	return false;
}

/* Is there a guest of that name? Says so when not. */
static bool is_known(json_object *guests, const char *name)
{
	for (size_t i = 0; i < json_object_array_length(guests); i++)
		if (!strcmp(name, json_get_str(json_object_array_get_idx(guests, i), "name")))
			return true;
	log_err("there is no guest '%s'", name);
	return false;
}

/* Drop the guests that were not named. False: a named one is not there (said). */
static bool keep_named(json_object *doc, int argc, char **argv)
{
	json_object *guests = json_get_array(doc, "guests");
	json_object *kept = json_object_new_array();
	bool found = true;

	for (int i = 0; i < argc; i++)
		found &= is_known(guests, argv[i]);
	for (size_t i = 0; i < json_object_array_length(guests); i++) {
		json_object *guest = json_object_array_get_idx(guests, i);

		if (is_among(argc, argv, json_get_str(guest, "name")))
			json_object_array_add(kept, json_object_get(guest));
	}
	json_object_object_add(doc, "guests", kept);
	return found;
}

static uint64_t number(json_object *object, const char *key)
{
	uint64_t value = 0;

	json_get_u64(object, key, &value);
	return value;
}

static int64_t signed_number(json_object *object, const char *key)
{
	json_object *value = NULL;

	json_object_object_get_ex(object, key, &value);
	return json_object_get_int64(value);
}

static void add_row(struct table *table, json_object *values, const char *name)
{
	struct libscols_line *row = table_row(table, values);

	table_set(table, row, 0, name);
	table_set(table, row, 1, "");
}

static enum memctl_exit print_guests(const struct memctl *ctl, json_object *doc)
{
	static const struct table_column columns[] = {
		{"GUEST", TABLE_TEXT, "name"},
		{"PID", TABLE_NUMBER, "pid"},
		{"SAVED", TABLE_BYTES, "saved_bytes"},
		{"WITHIN", TABLE_BYTES, "within_bytes"},
		{"WITH OTHERS", TABLE_BYTES, "with_others_bytes"},
		{"ZERO", TABLE_BYTES, "zero_bytes"},
		{"SHARED", TABLE_BYTES, "shared_bytes"},
		{"METADATA", TABLE_BYTES, "metadata_bytes"},
		{0},
	};
	json_object *guests = json_get_array(doc, "guests"), *others = json_get_obj(doc, "others");
	json_object *unknown = json_get_obj(doc, "unknown"), *sum = json_get_obj(doc, "sum");
	struct table *table = table_new(columns, ctl->bytes);
	struct libscols_line *row;
	char text[64];

	if (!table)
		return MEMCTL_FAILED;
	if (json_object_array_length(guests) == 0)
		puts("No guests here; --pid PID[=NAME],... looks at any process.");
	for (size_t i = 0; i < json_object_array_length(guests); i++)
		table_row(table, json_object_array_get_idx(guests, i));
	if (number(others, "processes")) {
		snprintf(text, sizeof(text), "others (%" PRIu64 ")", number(others, "processes"));
		add_row(table, others, text);
	}
	if (number(unknown, "shared_bytes"))
		add_row(table, unknown, "unknown");
	row = table_row(table, sum);
	table_set(table, row, 0, "total");
	for (unsigned int column = 1; columns[column].title; column++)
		if (strcmp(columns[column].key, "saved_bytes") != 0 &&
		    strcmp(columns[column].key, "zero_bytes") != 0)
			table_set(table, row, column, "");
	table_print(table);
	table_free(table);
	return MEMCTL_OK;
}

/* The sum against the kernel's count, and what lies between them. */
static void print_check(const struct memctl *ctl, json_object *doc)
{
	json_object *check = json_get_obj(doc, "check"), *after;
	json_object *terms = json_get_array(check, "difference");
	uint64_t page_bytes = number(doc, "page_bytes");
	char size[SIZE_TEXT_MAX];
	int64_t difference = signed_number(check, "difference_pages");
	int64_t moved = signed_number(check, "moved_pages");
	bool exact = false;

	after = json_get_obj(json_get_obj(doc, "kernel"), "after");
	table_size(number(after, "pages_sharing") * page_bytes, ctl->bytes, size, sizeof(size));
	if (!json_get_bool(check, "exact", &exact)) {
		puts("The kernel's own count cannot be read.");
		return;
	}
	if (exact) {
		printf("The kernel counts %s (%" PRIu64 " pages): the sum, exactly.\n", size,
		       number(after, "pages_sharing"));
	} else {
		printf("The kernel counts %s (%" PRIu64 " pages), %" PRId64 " pages %s than the "
		       "sum:\n",
		       size, number(after, "pages_sharing"),
		       difference < 0 ? -difference : difference, difference < 0 ? "less" : "more");
		for (size_t i = 0; terms && i < json_object_array_length(terms); i++) {
			json_object *term = json_object_array_get_idx(terms, i);

			printf("  %+9" PRId64 "  %s\n", signed_number(term, "pages"),
			       json_get_str(term, "text"));
		}
	}
	if (moved)
		printf("Its count has moved by %+" PRId64 " pages while looking.\n", moved);
}

static void print_zero(const struct memctl *ctl, json_object *doc)
{
	json_object *check = json_get_obj(doc, "check"), *value = NULL;
	json_object *guests = json_get_array(doc, "guests");
	int64_t difference = signed_number(check, "zero_difference_pages");
	char size[SIZE_TEXT_MAX];
	uint64_t mapped = 0;

	for (size_t i = 0; i < json_object_array_length(guests); i++)
		mapped += number(json_object_array_get_idx(guests, i), "zero_mapped_bytes");
	if (!json_object_object_get_ex(check, "zero_difference_pages", &value) && mapped)
		printf("The guests map %s of zero pages; this kernel does not tell those that KSM "
		       "has placed.\n",
		       table_size(mapped, ctl->bytes, size, sizeof(size)));
	if (difference)
		printf("The kernel counts %" PRId64 " zero pages %s than the sum (%+" PRId64
		       " while looking).\n",
		       difference < 0 ? -difference : difference, difference < 0 ? "less" : "more",
		       signed_number(check, "zero_moved_pages"));
}

/* One line for each guest that cannot be looked at or merged. */
static void print_reasons(json_object *doc)
{
	json_object *guests = json_get_array(doc, "guests");

	for (size_t i = 0; i < json_object_array_length(guests); i++) {
		json_object *guest = json_object_array_get_idx(guests, i);
		const char *error = json_get_str(guest, "error");
		const char *reason = json_get_str(guest, "mergeable_reason");
		const char *name = json_get_str(guest, "name");
		bool mergeable = false;

		json_get_bool(guest, "mergeable", &mergeable);
		if (error)
			printf("%s: could not be looked at: %s\n", name, error);
		else if (reason)
			printf("%s: %s%s\n", name, mergeable ? "" : "KSM cannot act: ", reason);
	}
}

/* all: the guests before those that were not named were dropped. */
static enum memctl_exit show(const struct memctl *ctl, json_object *doc, json_object *all)
{
	enum memctl_exit status;

	if (ctl->json) {
		memctl_print_json(doc);
		return MEMCTL_OK;
	}
	status = print_guests(ctl, doc);
	if (status != MEMCTL_OK)
		return status;
	print_check(ctl, doc);
	print_zero(ctl, doc);
	print_reasons(doc);
	if (ctl->matrix)
		sharing_matrix_print(ctl, doc, all);
	return MEMCTL_OK;
}

enum memctl_exit memctl_sharing(const struct memctl *ctl, int argc, char **argv)
{
	AUTO_FD int rootfd = kfile_open_root("/");
	AUTO_JSON json_object *doc = NULL, *all = NULL;
	struct sharing_list list = {0};
	struct sharing *sharing = NULL;
	enum memctl_exit status;
	bool found = true;
	int r;

	if (rootfd < 0) {
		log_err("/: %s", strerror(-rootfd));
		return MEMCTL_FAILED;
	}
	status = find_guests(ctl, rootfd, &list);
	if (status == MEMCTL_OK) {
		r = look(ctl, rootfd, &list, &sharing);
		if (r == 0)
			doc = document(rootfd, sharing, &list);
		if (!doc) {
			log_err("cannot look at sharing: %s", scan_advice(r < 0 ? -r : ENOMEM));
			status = MEMCTL_FAILED;
		}
	}
	sharing_free(sharing);
	sharing_list_free(&list);
	if (!doc)
		return status;
	all = json_object_get(json_get_array(doc, "guests"));
	if (argc > 1)
		found = keep_named(doc, argc - 1, argv + 1);
	status = show(ctl, doc, all);
	return found ? status : MEMCTL_FAILED;
}
