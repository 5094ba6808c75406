// SPDX-License-Identifier: Apache-2.0
/*
 * {"schema":1,"guests":[...],"others":{...},"unknown":{...},"sum":{...},"kernel":{...},
 *  "check":{...},"pairs":[...],"cost":{...}}; see sharing_json.h.
 */
#include "memd/sharing_json.h"

#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "common/wire.h"

/* pages may be POL_ABSENT, which stays absent. */
static void add_pages(json_object *object, const char *key, uint64_t pages, uint64_t page_bytes)
{
	json_add_u64(object, key, pol_has(pages) ? pages * page_bytes : POL_ABSENT);
}

static void add_part(json_object *object, const struct sharing_part *part, uint64_t page_bytes)
{
	json_add_u64(object, "saved_bytes", part->saved_bytes);
	json_add_u64(object, "within_bytes", part->own_bytes);
	json_add_u64(object, "with_others_bytes", part->saved_bytes - part->own_bytes);
	add_pages(object, "zero_bytes", part->zero_pages, page_bytes);
	add_pages(object, "zero_mapped_bytes", part->zero_mapped_pages, page_bytes);
	add_pages(object, "shared_bytes", part->shared_pages, page_bytes);
	add_pages(object, "single_bytes", part->single_pages, page_bytes);
	add_pages(object, "recorded_bytes", part->record_pages, page_bytes);
	json_add_u64(object, "metadata_bytes", part->metadata_bytes);
}

static json_object *guest_json(const struct sharing_part *part, const struct sharing_guest *guest,
			       uint64_t page_bytes)
{
	json_object *object = json_object_new_object();

	json_add_str(object, "name", guest->name);
	json_add_i64(object, "pid", part->pid);
	json_add_str(object, "error", part->error ? strerror(-part->error) : NULL);
	add_part(object, part, page_bytes);
	if (guest->mergeable_unknown)
		json_object_object_add(object, "mergeable", NULL);
	else
		json_add_bool(object, "mergeable", guest->mergeable);
	json_add_str(object, "mergeable_reason",
		     guest->why_not && *guest->why_not ? guest->why_not : NULL);
	return object;
}

static json_object *kernel_json(const struct sharing_kernel *kernel)
{
	json_object *object = json_object_new_object();

	json_add_u64(object, "pages_shared", kernel->pages_shared);
	json_add_u64(object, "pages_sharing", kernel->pages_sharing);
	json_add_u64(object, "ksm_zero_pages", kernel->zero_pages);
	json_add_u64(object, "full_scans", kernel->full_scans);
	json_add_u64(object, "cow_ksm", kernel->cow_breaks);
	return object;
}

static void add_term(json_object *terms, const char *what, int64_t pages, const char *text)
{
	json_object *term;

	if (pages == 0)
		return;
	term = json_object_new_object();
	json_add_str(term, "what", what);
	json_add_i64(term, "pages", pages);
	json_add_str(term, "text", text);
	json_object_array_add(terms, term);
}

/* The difference taken apart; the terms add up to it. */
static json_object *terms_json(const struct sharing_check *check)
{
	json_object *terms = json_object_new_array();

	add_term(terms, "gone", check->gone,
		 check->gone > 0 ? "records of processes that have ended; ksmd drops them when it "
				   "next comes by"
				 : "records that were dropped while looking, or that a fork has "
				   "from its parent");
	add_term(terms, "stale", (int64_t)check->stale,
		 check->lone_mapped
			 ? "records of pages that nobody else maps, were written to or given back"
			 : "records of pages that were written to or given back since; ksmd drops "
			   "them when it next comes by");
	add_term(terms, "unrecorded", -(int64_t)check->unrecorded,
		 "mappings that ksmd has no record of: forks, or merged while looking");
	add_term(terms, "unknown", -(int64_t)check->unknown,
		 "mappings by processes that were not looked at: forks, or merged while looking");
	add_term(terms, "lone", -check->lone,
		 check->lone < 0      ? "merged pages that came onto record while looking"
		 : check->lone_mapped ? "merged pages on record that at most one process maps"
				      : "merged pages on record that nobody maps any more");
	return terms;
}

static json_object *check_json(const struct sharing *sharing)
{
	json_object *object = json_object_new_object();
	struct sharing_check check;

	sharing_check(sharing, &check);
	if (check.known) {
		json_add_bool(object, "exact", check.exact);
		json_add_i64(object, "difference_pages", check.difference);
		json_add_i64(object, "moved_pages", check.moved);
		json_object_object_add(object, "difference", terms_json(&check));
	} else {
		json_object_object_add(object, "exact", NULL);
	}
	if (check.zero_known) {
		json_add_i64(object, "zero_difference_pages", check.zero_difference);
		json_add_i64(object, "zero_moved_pages", check.zero_moved);
	}
	json_add_u64(object, "changed_while_looking_pages", sharing->moved_pages);
	return object;
}

/* Target i as one of a pair; everybody else is null. */
static void add_side(json_object *pair, const char *name_key, const char *pid_key,
		     const struct sharing *sharing, const struct sharing_guest *guests, size_t i)
{
	json_add_str(pair, name_key, i < sharing->n ? guests[i].name : NULL);
	json_add_u64(pair, pid_key, i < sharing->n ? (uint64_t)sharing->parts[i].pid : POL_ABSENT);
}

static json_object *pairs_json(const struct sharing *sharing, const struct sharing_guest *guests)
{
	json_object *pairs = json_object_new_array();

	for (size_t i = 0; i <= sharing->n; i++) {
		for (size_t j = i; j <= sharing->n; j++) {
			uint64_t pages = sharing_pair_pages(sharing, i, j);
			json_object *pair;

			if (!pages)
				continue;
			pair = json_object_new_object();
			add_side(pair, "a", "a_pid", sharing, guests, i);
			add_side(pair, "b", "b_pid", sharing, guests, j);
			add_pages(pair, "bytes", pages, sharing->page_bytes);
			json_object_array_add(pairs, pair);
		}
	}
	return pairs;
}

static uint64_t zero_sum(const struct sharing *sharing)
{
	uint64_t sum = sharing->others.zero_pages;

	for (size_t i = 0; i < sharing->n && pol_has(sum); i++)
		sum = pol_has(sharing->parts[i].zero_pages) ? sum + sharing->parts[i].zero_pages
							    : POL_ABSENT;
	return sum;
}

static json_object *sum_json(const struct sharing *sharing)
{
	json_object *sum = json_object_new_object();

	json_add_u64(sum, "saved_bytes", sharing->saved_bytes);
	add_pages(sum, "zero_bytes", zero_sum(sharing), sharing->page_bytes);
	json_add_u64(sum, "merged_pages", sharing->distinct_pages);
	return sum;
}

static json_object *cost_json(const struct sharing *sharing)
{
	json_object *cost = json_object_new_object();

	json_add_u64(cost, "cpu_us", sharing->cpu_us);
	json_add_u64(cost, "wall_us", sharing->wall_us);
	add_pages(cost, "walked_bytes", sharing->walked_pages, sharing->page_bytes);
	return cost;
}

json_object *sharing_json(const struct sharing *sharing, const struct sharing_guest *guests)
{
	json_object *doc = json_object_new_object(), *list = json_object_new_array();
	json_object *others = json_object_new_object(), *unknown = json_object_new_object();
	json_object *kernel = json_object_new_object();

	json_add_i64(doc, "schema", 1);
	json_add_u64(doc, "page_bytes", sharing->page_bytes);
	for (size_t i = 0; i < sharing->n; i++)
		json_object_array_add(
			list, guest_json(&sharing->parts[i], &guests[i], sharing->page_bytes));
	json_object_object_add(doc, "guests", list);
	json_add_u64(others, "processes", sharing->n_others);
	add_part(others, &sharing->others, sharing->page_bytes);
	json_object_object_add(doc, "others", others);
	json_add_u64(unknown, "saved_bytes", sharing->unknown_saved_bytes);
	add_pages(unknown, "shared_bytes", sharing->unknown_pages, sharing->page_bytes);
	json_object_object_add(doc, "unknown", unknown);
	json_object_object_add(doc, "sum", sum_json(sharing));
	json_object_object_add(kernel, "before", kernel_json(&sharing->before));
	json_object_object_add(kernel, "after", kernel_json(&sharing->after));
	json_object_object_add(doc, "kernel", kernel);
	json_object_object_add(doc, "check", check_json(sharing));
	if (sharing->pairs)
		json_object_object_add(doc, "pairs", pairs_json(sharing, guests));
	json_object_object_add(doc, "cost", cost_json(sharing));
	return doc;
}
