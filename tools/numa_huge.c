// SPDX-License-Identifier: Apache-2.0
/* See numa_huge.h. */
#include "tools/numa_huge.h"

#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "tools/table.h"

static bool is_empty(json_object *list)
{
	return !list || json_object_array_length(list) == 0;
}

/* Pools with pages, or that are to have some. */
static enum memctl_exit print_pools(const struct memctl *ctl, json_object *huge)
{
	static const struct table_column columns[] = {
		{"POOL OF", TABLE_BYTES, "page_bytes"}, {"NODE", TABLE_NUMBER, "node"},
		{"PAGES", TABLE_NUMBER, "total_pages"}, {"FREE", TABLE_NUMBER, "free_pages"},
		{"FOUND", TABLE_NUMBER, "found_pages"}, {"WANTED", TABLE_NUMBER, "wanted_pages"},
		{"BECAUSE", TABLE_WRAP, "why"},		{0},
	};
	json_object *pools = json_get_array(huge, "pools");
	const char *mode = json_get_str(huge, "mode");
	struct table *table;
	bool any = false;

	for (size_t i = 0; pools && i < json_object_array_length(pools); i++) {
		uint64_t total = 0, wanted = 0;

		json_get_u64(json_object_array_get_idx(pools, i), "total_pages", &total);
		json_get_u64(json_object_array_get_idx(pools, i), "wanted_pages", &wanted);
		any |= total || wanted;
	}
	if (!any)
		return MEMCTL_OK;
	table = table_new(columns, ctl->bytes);
	if (!table)
		return MEMCTL_FAILED;
	puts("");
	for (size_t i = 0; i < json_object_array_length(pools); i++) {
		json_object *pool = json_object_array_get_idx(pools, i);
		uint64_t total = 0, wanted = 0;

		json_get_u64(pool, "total_pages", &total);
		json_get_u64(pool, "wanted_pages", &wanted);
		if (total || wanted)
			table_row(table, pool);
	}
	table_print(table);
	table_free(table);
	if (mode && strcmp(mode, "manage") != 0)
		printf("Pools are left as they are (huge-pages=%s).\n", mode);
	return MEMCTL_OK;
}

static void print_waiting(json_object *waiting)
{
	if (!is_empty(waiting))
		puts("");
	for (size_t i = 0; waiting && i < json_object_array_length(waiting); i++) {
		json_object *one = json_object_array_get_idx(waiting, i);
		const char *name = json_get_str(one, "name"), *why = json_get_str(one, "why");
		uint64_t retry_us = 0;

		printf("%s waits for huge pages: %s", name ? name : "?", why ? why : "?");
		if (json_get_u64(one, "retry_us", &retry_us) && retry_us)
			printf("; tried again in %.0f s", (double)retry_us / USEC_PER_SEC);
		puts(".");
	}
}

static enum memctl_exit print_repairs(const struct memctl *ctl, json_object *repairs)
{
	enum { COLUMN_TOOK = 5 };
	static const struct table_column columns[] = {
		{"REPAIRED", TABLE_TEXT, "guest"},
		{"MADE HUGE", TABLE_BYTES, "collapsed_bytes"},
		{"HUGE BEFORE", TABLE_BYTES, "huge_before_bytes"},
		{"AFTER", TABLE_BYTES, "huge_after_bytes"},
		{"LEFT TO MERGING", TABLE_BYTES, "shared_bytes"},
		{"TOOK", TABLE_TEXT, NULL},
		{"STATE", TABLE_TEXT, "state"},
		{"ERROR", TABLE_WRAP, "error"},
		{0},
	};
	struct table *table;

	if (is_empty(repairs))
		return MEMCTL_OK;
	table = table_new(columns, ctl->bytes);
	if (!table)
		return MEMCTL_FAILED;
	puts("");
	for (size_t i = 0; i < json_object_array_length(repairs); i++) {
		json_object *one = json_object_array_get_idx(repairs, i);
		struct libscols_line *row = table_row(table, one);

		table_set_took(table, row, COLUMN_TOOK, one, "took_us");
	}
	table_print(table);
	table_free(table);
	return MEMCTL_OK;
}

enum memctl_exit numa_print_huge(const struct memctl *ctl, json_object *answer)
{
	json_object *huge = json_get_obj(answer, "huge_pages");
	enum memctl_exit status = print_pools(ctl, huge);

	if (status == MEMCTL_OK) {
		print_waiting(json_get_array(huge, "waiting"));
		status = print_repairs(ctl, json_get_array(answer, "repairs"));
	}
	return status;
}
