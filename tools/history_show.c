// SPDX-License-Identifier: Apache-2.0
/* What was saved and what it cost over time: two tables, or JSON with a row per bucket. */
#include "tools/history_show.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "common/size.h"
#include "tools/table.h"

/* So many guests have a column of their own; more do not fit a terminal. */
#define GUEST_COLUMNS 5

static uint64_t mean_or_absent(const struct history_range *range)
{
	return range->n ? history_mean(range) : POL_ABSENT;
}

static uint64_t min_or_absent(const struct history_range *range)
{
	return range->n ? range->min : POL_ABSENT;
}

static uint64_t max_or_absent(const struct history_range *range)
{
	return range->n ? range->max : POL_ABSENT;
}

static void add_time(json_object *obj, const char *key, uint64_t wall_us)
{
	char text[HISTORY_TIME_MAX];

	json_add_str(obj, key, history_time_text(wall_us, HISTORY_ISO, text));
}

/* A guest that saved nothing in that time is left out, as one that was not there. */
static json_object *guests_json(const struct history *history, size_t at)
{
	json_object *list = json_object_new_array();

	for (size_t i = 0; i < history->n_guests; i++) {
		const struct history_guest *guest = &history->guests[i];
		json_object *one;

		if (guest->saved[at] == 0)
			continue;
		one = json_object_new_object();
		json_add_str(one, "name", guest->name);
		json_add_u64(one, "saved_bytes", history_guest_mean(history, guest, at));
		json_object_array_add(list, one);
	}
	return list;
}

static json_object *bucket_json(const struct history *history, size_t at)
{
	const struct history_bucket *bucket = &history->buckets[at];
	json_object *one = json_object_new_object();

	add_time(one, "time", history_time_us(history, at));
	json_add_u64(one, "time_us", history_time_us(history, at));
	json_add_u64(one, "ticks", bucket->ticks);
	json_add_u64(one, "saved_bytes", mean_or_absent(&bucket->saved));
	json_add_u64(one, "saved_min_bytes", min_or_absent(&bucket->saved));
	json_add_u64(one, "saved_max_bytes", max_or_absent(&bucket->saved));
	json_add_u64(one, "ksm_saved_bytes", mean_or_absent(&bucket->ksm_saved));
	json_add_u64(one, "taken_bytes", mean_or_absent(&bucket->taken));
	json_add_u64(one, "ksm_cpu_us", bucket->ksm_cpu_known ? bucket->ksm_cpu_us : POL_ABSENT);
	json_add_u64(one, "ksm_cpu_ppm", history_ksm_ppm(bucket));
	json_add_u64(one, "available_bytes", mean_or_absent(&bucket->available));
	json_add_u64(one, "available_min_bytes", min_or_absent(&bucket->available));
	json_add_str(one, "worst_state",
		     bucket->ticks ? pol_state_name(history_worst_state(bucket)) : NULL);
	json_add_u64(one, "guests_max", bucket->n_guests);
	json_object_object_add(one, "guests", guests_json(history, at));
	return one;
}

void history_json(const struct history *history, const char *path, json_object *doc)
{
	json_object *trace = json_object_new_object(), *notes = json_object_new_array();
	json_object *rows = json_object_new_array();

	json_add_str(trace, "path", path);
	add_time(trace, "from", history->first_us);
	add_time(trace, "to", history->last_us);
	json_add_u64(trace, "ticks", history->all.ticks);
	json_add_u64(trace, "bucket_us", history->bucket_us);
	for (size_t i = 0; i < history->n_notes; i++)
		json_object_array_add(notes, json_object_new_string(history->notes[i]));
	json_object_object_add(trace, "notes", notes);
	json_object_object_add(doc, "trace", trace);
	for (size_t i = 0; i < history->n_buckets; i++)
		json_object_array_add(rows, bucket_json(history, i));
	json_object_object_add(doc, "history", rows);
}

static void set_range(struct table *table, struct libscols_line *row, unsigned int column,
		      uint64_t value)
{
	if (pol_has(value))
		table_set_bytes(table, row, column, value);
	else
		table_set(table, row, column, "-");
}

static void set_time(const struct history *history, struct table *table, struct libscols_line *row,
		     size_t at)
{
	char text[HISTORY_TIME_MAX];

	table_set(table, row, 0,
		  history_time_text(history_time_us(history, at), HISTORY_MOMENT, text));
}

static enum memctl_exit print_host(const struct memctl *ctl, const struct history *history)
{
	enum { TIME, SAVED, MOST, KSM, TAKEN, KSMD, AVAILABLE, LEAST, STATE, GUESTS };
	static const struct table_column columns[] = {
		{"TIME (UTC)", TABLE_TEXT, NULL},
		{"SAVED", TABLE_BYTES, NULL},
		{"MOST", TABLE_BYTES, NULL},
		{"KSM", TABLE_BYTES, NULL},
		{"TAKEN", TABLE_BYTES, NULL},
		{"KSMD", TABLE_NUMBER, NULL},
		{"AVAILABLE", TABLE_BYTES, NULL},
		{"LEAST", TABLE_BYTES, NULL},
		{"STATE", TABLE_TEXT, NULL},
		{"GUESTS", TABLE_NUMBER, NULL},
		{0},
	};
	struct table *table = table_new(columns, ctl->bytes);
	char text[32];

	if (!table)
		return MEMCTL_FAILED;
	for (size_t i = 0; i < history->n_buckets; i++) {
		const struct history_bucket *b = &history->buckets[i];
		struct libscols_line *row = table_row(table, NULL);

		set_time(history, table, row, i);
		if (b->ticks == 0) {
			table_set(table, row, STATE, "not running");
			continue;
		}
		set_range(table, row, SAVED, mean_or_absent(&b->saved));
		set_range(table, row, MOST, max_or_absent(&b->saved));
		set_range(table, row, KSM, mean_or_absent(&b->ksm_saved));
		set_range(table, row, TAKEN, mean_or_absent(&b->taken));
		table_set(table, row, KSMD,
			  history_percent(history_ksm_ppm(b), text, sizeof(text)));
		set_range(table, row, AVAILABLE, mean_or_absent(&b->available));
		set_range(table, row, LEAST, min_or_absent(&b->available));
		table_set(table, row, STATE, pol_state_name(history_worst_state(b)));
		snprintf(text, sizeof(text), "%" PRIu64, b->n_guests);
		table_set(table, row, GUESTS, text);
	}
	table_print(table);
	table_free(table);
	return MEMCTL_OK;
}

/* What each guest saves over time, the largest savers first, the rest in one column. */
static enum memctl_exit print_guests(const struct memctl *ctl, const struct history *history)
{
	size_t n = history->n_guests < GUEST_COLUMNS ? history->n_guests : GUEST_COLUMNS;
	bool rest = history->n_guests > n || history->others;
	struct table_column columns[GUEST_COLUMNS + 3] = {{"SAVED BY", TABLE_TEXT, NULL}};
	char names[GUEST_COLUMNS][POL_NAME_MAX];
	struct table *table;

	if (n == 0)
		return MEMCTL_OK;
	for (size_t g = 0; g < n; g++) {
		snprintf(names[g], sizeof(names[g]), "%s", history->guests[g].name);
		table_clean(names[g]);
		columns[1 + g] = (struct table_column){names[g], TABLE_BYTES, NULL};
	}
	if (rest)
		columns[1 + n] = (struct table_column){"THE REST", TABLE_BYTES, NULL};
	table = table_new(columns, ctl->bytes);
	if (!table)
		return MEMCTL_FAILED;
	putchar('\n');
	for (size_t i = 0; i < history->n_buckets; i++) {
		struct libscols_line *row = table_row(table, NULL);

		set_time(history, table, row, i);
		if (history->buckets[i].ticks == 0)
			continue;
		for (unsigned int g = 0; g < n; g++)
			table_set_bytes(table, row, 1 + g,
					history_guest_mean(history, &history->guests[g], i));
		if (rest)
			table_set_bytes(table, row, (unsigned int)n + 1,
					history_rest_mean(history, n, i));
	}
	table_print(table);
	table_free(table);
	return MEMCTL_OK;
}

static void print_sum(const struct memctl *ctl, const struct history *history)
{
	const struct history_bucket *all = &history->all;
	char size[SIZE_TEXT_MAX], text[32];

	if (all->saved.n)
		printf("Saved on average: %s.",
		       table_size(history_mean(&all->saved), ctl->bytes, size, sizeof(size)));
	if (all->ksm_cpu_known)
		printf(" KSM spent %.1f s of processor time in that time, %s of one processor.",
		       (double)all->ksm_cpu_us / USEC_PER_SEC,
		       history_percent(history_ksm_ppm(all), text, sizeof(text)));
	putchar('\n');
}

enum memctl_exit history_print(const struct memctl *ctl, const struct history *history,
			       const char *path)
{
	char from[HISTORY_TIME_MAX], to[HISTORY_TIME_MAX];
	enum memctl_exit status;

	printf("%s: %" PRIu64 " ticks from %s to %s UTC, %" PRIu64 " s a row\n", path,
	       history->all.ticks, history_time_text(history->first_us, HISTORY_MOMENT, from),
	       history_time_text(history->last_us, HISTORY_MOMENT, to),
	       (uint64_t)(history->bucket_us / USEC_PER_SEC));
	status = print_host(ctl, history);
	if (status == MEMCTL_OK)
		status = print_guests(ctl, history);
	print_sum(ctl, history);
	for (size_t i = 0; i < history->n_notes; i++)
		printf("Note: %s.\n", history->notes[i]);
	return status;
}
