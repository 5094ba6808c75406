// SPDX-License-Identifier: Apache-2.0
/* What `memctl estimate` found, as JSON and as text. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "common/cleanup.h"
#include "common/size.h"
#include "tools/estimate.h"
#include "tools/table.h"

#define RMAP_ITEM_BYTES 64 /* sizeof(struct ksm_rmap_item) on 64 bit, one a scanned page */

static uint64_t minus(uint64_t a, uint64_t b)
{
	return a > b ? a - b : 0;
}

static uint64_t metadata_of(const struct estimate_part *part)
{
	return part->present_bytes / ESTIMATE_PAGE_BYTES * RMAP_ITEM_BYTES;
}

/* ---- JSON ---- */

static void add_double(json_object *object, const char *key, double value)
{
	char text[32];

	snprintf(text, sizeof(text), "%.3f", value);
	json_object_object_add(object, key,
			       value < 0 ? NULL : json_object_new_double_s(value, text));
}

static void add_range(json_object *object, const char *name, const struct estimate_range *range)
{
	char key[64];

	snprintf(key, sizeof(key), "%s_bytes", name);
	json_add_u64(object, key, range->bytes);
	snprintf(key, sizeof(key), "%s_low_bytes", name);
	json_add_u64(object, key, range->low_bytes);
	snprintf(key, sizeof(key), "%s_high_bytes", name);
	json_add_u64(object, key, range->high_bytes);
}

static void add_known(json_object *object, const char *key, uint64_t bytes)
{
	if (pol_has(bytes))
		json_add_u64(object, key, bytes);
	else
		json_object_object_add(object, key, NULL);
}

static void add_part(json_object *object, const struct estimate_part *part, bool twice)
{
	json_add_u64(object, "present_bytes", part->present_bytes);
	json_add_u64(object, "read_bytes", part->read_bytes);
	add_range(object, "would_save", &part->stable);
	json_add_u64(object, "changing_bytes",
		     twice ? minus(part->saved.bytes, part->stable.bytes) : 0);
	add_range(object, "duplicate", &part->saved);
	add_range(object, "zero", &part->zero);
	json_add_u64(object, "metadata_bytes", metadata_of(part));
}

static json_object *guest_json(const struct estimate_outcome *outcome, size_t i)
{
	const struct estimate_target *target = &outcome->targets->v[i];
	const struct estimate_part *part = &outcome->estimate->parts[i];
	json_object *guest = json_object_new_object();

	json_add_str(guest, "name", target->name);
	json_add_i64(guest, "pid", target->pid);
	add_part(guest, part, outcome->estimate->looked_twice);
	json_add_u64(guest, "mergeable_bytes", target->memory.marked_bytes);
	json_add_u64(guest, "unmarked_bytes", target->memory.unmarked_bytes);
	json_add_u64(guest, "shared_bytes", target->memory.shared_bytes);
	json_add_u64(guest, "hugetlb_bytes", target->memory.hugetlb_bytes);
	add_known(guest, "saved_now_bytes", target->now_bytes);
	json_add_str(guest, "error", part->error ? estimate_error(part->error) : NULL);
	return guest;
}

static uint64_t now_total(const struct estimate_targets *targets)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < targets->n; i++) {
		if (!pol_has(targets->v[i].now_bytes))
			return POL_ABSENT;
		sum += targets->v[i].now_bytes;
	}
	return sum;
}

static json_object *ksm_json(const struct estimate_outcome *outcome)
{
	const struct estimate_ksm *ksm = outcome->ksm;
	uint64_t present = outcome->estimate->total.present_bytes;
	json_object *object = json_object_new_object();

	json_add_bool(object, "present", ksm->there);
	json_add_str(object, "reason", ksm->reason[0] ? ksm->reason : NULL);
	add_known(object, "run", ksm->there ? ksm->now.run : POL_ABSENT);
	add_known(object, "pages_to_scan", ksm->there ? ksm->now.pages_to_scan : POL_ABSENT);
	add_known(object, "sleep_millisecs", ksm->there ? ksm->now.sleep_ms : POL_ABSENT);
	json_add_u64(object, "max_page_sharing", ksm->max_sharing);
	json_add_bool(object, "use_zero_pages", ksm->use_zero_pages);
	json_add_bool(object, "merge_across_nodes", !ksm->nodes_apart);
	add_double(object, "page_microseconds", ksm->page_us);
	json_add_bool(object, "page_microseconds_measured", ksm->page_us_measured);
	add_double(object, "pass_seconds", estimate_pass_seconds(ksm, present, 0));
	add_double(object, "pass_cpu_seconds",
		   (double)present / ESTIMATE_PAGE_BYTES * ksm->page_us / 1e6);
	if (outcome->args->rate) {
		json_add_u64(object, "rate_pages_per_second", outcome->args->rate);
		add_double(object, "rate_pass_seconds",
			   estimate_pass_seconds(ksm, present, outcome->args->rate));
	}
	return object;
}

json_object *estimate_json(const struct estimate_outcome *outcome)
{
	const struct estimate *estimate = outcome->estimate;
	json_object *document = json_object_new_object(), *guests = json_object_new_array();
	json_object *total = json_object_new_object();

	json_add_i64(document, "schema", 1);
	json_add_u64(document, "seed", outcome->args->seed);
	json_add_u64(document, "read_ppm", (uint64_t)(estimate->fraction * 1e6 + 0.5));
	add_double(document, "settle_seconds", outcome->args->settle_seconds);
	json_add_u64(document, "looked_again_bytes", estimate->looked_pages * ESTIMATE_PAGE_BYTES);
	add_double(document, "cpu_seconds", outcome->cpu_seconds);
	add_double(document, "seconds", outcome->seconds);
	json_object_object_add(document, "ksm", ksm_json(outcome));
	for (size_t i = 0; i < estimate->n; i++)
		json_object_array_add(guests, guest_json(outcome, i));
	json_object_object_add(document, "guests", guests);
	add_part(total, &estimate->total, estimate->looked_twice);
	add_known(total, "saved_now_bytes", now_total(outcome->targets));
	json_object_object_add(document, "total", total);
	return document;
}

/* ---- text ---- */

enum { COLUMN_INTERVAL = 5 };

static void add_row(const struct estimate_outcome *outcome, struct table *table,
		    json_object *object, const struct estimate_range *range)
{
	struct libscols_line *row = table_row(table, object);
	char text[2 * SIZE_TEXT_MAX + 8], low[SIZE_TEXT_MAX], high[SIZE_TEXT_MAX];
	bool plain = outcome->args->bytes;

	snprintf(text, sizeof(text), "%s to %s",
		 table_size(range->low_bytes, plain, low, sizeof(low)),
		 table_size(range->high_bytes, plain, high, sizeof(high)));
	table_set(table, row, COLUMN_INTERVAL, text);
}

static char *duration(double seconds, char *buf, size_t n)
{
	if (seconds < 0)
		snprintf(buf, n, "for ever");
	else if (seconds < 120)
		snprintf(buf, n, "%.*f s", seconds < 10 ? 1 : 0, seconds);
	else if (seconds < 7200)
		snprintf(buf, n, "%.0f min", seconds / 60);
	else
		snprintf(buf, n, "%.1f h", seconds / 3600);
	return buf;
}
#define DURATION(seconds) duration((seconds), (char[32]){0}, 32)

static void print_notes(const struct estimate_outcome *outcome)
{
	for (size_t i = 0; i < outcome->estimate->n; i++) {
		const struct estimate_target *target = &outcome->targets->v[i];
		const struct estimate_memory *memory = &target->memory;
		const char *name = target->name;

		if (outcome->estimate->parts[i].error)
			printf("%s: left out: %s\n", name,
			       estimate_error(outcome->estimate->parts[i].error));
		if (memory->unmarked_bytes >= MIB)
			printf("%s: %s of it %s not marked mergeable (merge=off, mem-merge=off, or "
			       "no madvise): KSM %s\n",
			       name, SIZE_TEXT(memory->unmarked_bytes),
			       outcome->args->marked ? "left out, is" : "is",
			       outcome->args->marked ? "leaves it alone"
						     : "leaves it alone until it is");
		if (memory->shared_bytes >= 2 * MIB)
			printf("%s: %s left out, it is shared memory (share=on, memfd), which KSM "
			       "never merges\n",
			       name, SIZE_TEXT(memory->shared_bytes));
		if (memory->hugetlb_bytes)
			printf("%s: %s left out, it is hugetlb pages, which KSM never merges\n",
			       name, SIZE_TEXT(memory->hugetlb_bytes));
	}
}

static void print_price(const struct estimate_outcome *outcome)
{
	const struct estimate_ksm *ksm = outcome->ksm;
	const struct estimate_part *total = &outcome->estimate->total;
	uint64_t present = total->present_bytes, metadata = metadata_of(total);
	double pass = estimate_pass_seconds(ksm, present, 0);

	if (ksm->there && pass >= 0)
		printf("A pass over it takes KSM %s as it is set now (%" PRIu64
		       " pages, then %" PRIu64 " ms of sleep)",
		       DURATION(pass), ksm->now.pages_to_scan, ksm->now.sleep_ms);
	else
		printf("A pass over it takes KSM");
	if (outcome->args->rate)
		printf("%s %s at %" PRIu64 " pages a second", ksm->there && pass >= 0 ? "," : "",
		       DURATION(estimate_pass_seconds(ksm, present, outcome->args->rate)),
		       outcome->args->rate);
	printf("%s %s of a core; pages merge from the second pass on.\n",
	       (ksm->there && pass >= 0) || outcome->args->rate ? ", and" : "",
	       DURATION((double)present / ESTIMATE_PAGE_BYTES * ksm->page_us / 1e6));
	printf("Its bookkeeping costs %s%s.\n", SIZE_TEXT(metadata),
	       metadata >= total->stable.bytes ? ", more than it would save" : "");
	printf("Read %s of %s in %.2f s of processor time (%.1f s in all), seed %" PRIu64 ".\n",
	       SIZE_TEXT(total->read_bytes), SIZE_TEXT(present), outcome->cpu_seconds,
	       outcome->seconds, outcome->args->seed);
	if (ksm->reason[0])
		printf("%s\n", ksm->reason);
}

enum memctl_exit estimate_show(const struct estimate_outcome *outcome)
{
	static const struct table_column columns[] = {
		{"GUEST", TABLE_TEXT, "name"},
		{"PID", TABLE_NUMBER, "pid"},
		{"PRESENT", TABLE_BYTES, "present_bytes"},
		{"MARKED", TABLE_BYTES, "mergeable_bytes"},
		{"WOULD SAVE", TABLE_BYTES, "would_save_bytes"},
		{"95 % BETWEEN", TABLE_TEXT, NULL},
		{"OF IT ZERO", TABLE_BYTES, "zero_bytes"},
		{"CHANGING", TABLE_BYTES, "changing_bytes"},
		{"NOW", TABLE_BYTES, "saved_now_bytes"},
		{0},
	};
	AUTO_JSON json_object *document = estimate_json(outcome);
	json_object *guests = json_get_array(document, "guests");
	json_object *total = json_get_obj(document, "total");
	struct table *table = table_new(columns, outcome->args->bytes);
	uint64_t marked = 0;

	if (!table)
		return MEMCTL_FAILED;
	for (size_t i = 0; i < outcome->estimate->n; i++) {
		marked += outcome->targets->v[i].memory.marked_bytes;
		add_row(outcome, table, json_object_array_get_idx(guests, i),
			&outcome->estimate->parts[i].stable);
	}
	json_add_str(total, "name", "total");
	json_add_str(total, "pid", "");
	json_add_u64(total, "mergeable_bytes", marked);
	add_row(outcome, table, total, &outcome->estimate->total.stable);
	table_print(table);
	table_free(table);
	print_notes(outcome);
	print_price(outcome);
	return MEMCTL_OK;
}
