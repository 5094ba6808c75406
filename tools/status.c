// SPDX-License-Identifier: Apache-2.0
/* memctl status: is the daemon well, what has it changed on the host, what does it leave alone. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "common/size.h"
#include "tools/memctl.h"
#include "tools/table.h"

#define MISFITS_SHOWN 10

static uint64_t number(json_object *obj, const char *key)
{
	uint64_t value = 0;

	json_get_u64(obj, key, &value);
	return value;
}

static const char *text(json_object *obj, const char *key)
{
	const char *value = json_get_str(obj, key);

	return value ? value : "?";
}

static void print_head(const struct memctl *ctl, json_object *status)
{
	uint64_t up_s = number(status, "uptime_us") / USEC_PER_SEC;
	json_object *tick = json_get_obj(status, "tick");
	json_object *guests = json_get_obj(status, "guests");
	json_object *trace = json_get_obj(status, "trace");
	char size[SIZE_TEXT_MAX];

	printf("memd %s, %s, up %" PRIu64 ":%02" PRIu64 ":%02" PRIu64 "\n", text(status, "version"),
	       text(status, "mode"), up_s / 3600, up_s / 60 % 60, up_s % 60);
	printf("host state   %s", text(status, "state"));
	if (number(status, "need_bytes") > 0)
		printf(", %s short of where it should be",
		       table_size(number(status, "need_bytes"), ctl->bytes, size, sizeof(size)));
	printf("\nguests       %" PRIu64 ", %" PRIu64 " answering, %" PRIu64
	       " with less than promised\n",
	       number(guests, "total"), number(guests, "answering"), number(guests, "ballooned"));
	printf("ticks        %" PRIu64 ", the last took %" PRIu64 " us, the longest %" PRIu64
	       " us\n",
	       number(tick, "count"), number(tick, "last_us"), number(tick, "max_us"));
	if (trace && json_get_str(trace, "path"))
		printf("trace        %s, %s\n", text(trace, "path"),
		       table_size(number(trace, "bytes"), ctl->bytes, size, sizeof(size)));
}

/* {"run":1,"pages_to_scan":...}: whatever the daemon tells of KSM, on one line. */
static void print_ksm(json_object *ksm)
{
	const char *sep = "KSM          ";

	if (!json_object_is_type(ksm, json_type_object))
		return;
	json_object_object_foreach (ksm, key, value) {
		if (json_object_is_type(value, json_type_object))
			continue;
		printf("%s%s %s", sep, key, value ? json_object_get_string(value) : "unknown");
		sep = ", ";
	}
	putchar('\n');
}

/* Where KSM may merge, as far as there is anything to say. */
static void print_merging(const struct memctl *ctl, json_object *merging)
{
	const char *mode = json_get_str(merging, "mode"), *domain = json_get_str(merging, "domain");
	bool domains = false, stopped = false, cliff = false;
	uint64_t exposure = number(merging, "exposure_bytes"), crossed;
	char size[SIZE_TEXT_MAX];

	if (!merging || !mode)
		return;
	json_get_bool(merging, "domains", &domains);
	json_get_bool(merging, "stopped", &stopped);
	json_get_bool(merging, "cow_cliff", &cliff);
	if (stopped) {
		const char *guest = json_get_str(merging, "guest");

		printf("merging      stands still%s%s: %s\n", guest ? ", because of guest " : "",
		       guest ? guest : "", text(merging, "why"));
	} else if (domain) {
		printf("merging      one trust domain at a time, now %s\n",
		       *domain ? domain : "that of guests without a domain");
	} else if (domains) {
		printf("merging      %s\n", strcmp(mode, "nodes") == 0
						    ? "each trust domain within its own NUMA nodes"
						    : "guests of one trust domain only");
	}
	if (domains && json_get_u64(merging, "cross_domain_bytes", &crossed))
		printf("isolation    guests of different trust domains share %s\n",
		       crossed ? table_size(crossed, ctl->bytes, size, sizeof(size)) : "nothing");
	else if (domains && json_get_str(merging, "check_error"))
		printf("isolation    cannot be checked: %s\n", text(merging, "check_error"));
	if (exposure)
		printf("exposure     writes to merged pages could claim back %s%s\n",
		       table_size(exposure, ctl->bytes, size, sizeof(size)),
		       cliff ? ", and a burst more than is available, swap included: guests are "
			       "given what they need, and no more"
			     : "");
	if (number(merging, "cow_reserve_bytes"))
		printf("             %s is collected for that, from what guests do not miss\n",
		       table_size(number(merging, "cow_reserve_bytes"), ctl->bytes, size,
				  sizeof(size)));
	if (number(merging, "anchored_bytes")) {
		char shared[SIZE_TEXT_MAX];

		printf("anchored     %s of merged pages are kept from being swapped; guests map %s "
		       "of them\n",
		       table_size(number(merging, "anchored_bytes"), ctl->bytes, size,
				  sizeof(size)),
		       table_size(number(merging, "anchored_shared_bytes"), ctl->bytes, shared,
				  sizeof(shared)));
		if (number(merging, "back_bytes"))
			printf("             %s that equal them were read back from swap, to be "
			       "merged\n",
			       table_size(number(merging, "back_bytes"), ctl->bytes, size,
					  sizeof(size)));
	}
}

static void print_misfits(json_object *misfits)
{
	size_t n = misfits ? json_object_array_length(misfits) : 0;

	for (size_t i = 0; i < n && i < MISFITS_SHOWN; i++) {
		json_object *one = json_object_array_get_idx(misfits, i);

		printf("guest %s: %s\n", text(one, "guest"), text(one, "why"));
	}
	if (n > MISFITS_SHOWN)
		printf("and %zu more guests like that (memctl guests, --json status)\n",
		       n - MISFITS_SHOWN);
}

/* A device a line, and what goes on. */
static void print_swap(const struct memctl *ctl, json_object *swap)
{
	json_object *devices = json_get_array(swap, "devices");
	size_t n = devices ? json_object_array_length(devices) : 0;
	char a[SIZE_TEXT_MAX], b[SIZE_TEXT_MAX];
	uint64_t cost, in, out;

	for (size_t i = 0; i < n; i++) {
		json_object *one = json_object_array_get_idx(devices, i);

		printf("swap         %s, %s of %s used\n", text(one, "device"),
		       table_size(number(one, "used_bytes"), ctl->bytes, a, sizeof(a)),
		       table_size(number(one, "size_bytes"), ctl->bytes, b, sizeof(b)));
	}
	if (n && json_get_u64(swap, "cost_ppm", &cost) && cost)
		printf("             of what is swapped out now, %" PRIu64 " %% stay in memory, "
		       "compressed\n",
		       cost / 10000);
	if (n && json_get_u64(swap, "in_bytes_per_second", &in) &&
	    json_get_u64(swap, "out_bytes_per_second", &out) && (in || out))
		printf("             %s/s in, %s/s out\n", table_size(in, ctl->bytes, a, sizeof(a)),
		       table_size(out, ctl->bytes, b, sizeof(b)));
}

static void print_split(const struct memctl *ctl, uint64_t bytes)
{
	char size[SIZE_TEXT_MAX];

	if (bytes)
		printf("split        %s of guests' huge pages so far: what is cold in them can be "
		       "swapped\n",
		       table_size(bytes, ctl->bytes, size, sizeof(size)));
}

/* As far as there is anything to say. */
static void print_reclaim(const struct memctl *ctl, json_object *reclaim)
{
	json_object *kept = json_get_obj(reclaim, "kept_ppm");
	const char *sep = "promises     kept by ";
	char size[SIZE_TEXT_MAX];

	if (number(reclaim, "reclaimed_bytes"))
		printf("reclaim      %s sent to swap in %" PRIu64 " ms so far\n",
		       table_size(number(reclaim, "reclaimed_bytes"), ctl->bytes, size,
				  sizeof(size)),
		       number(reclaim, "time_us") / 1000);
	if (!kept)
		return;
	json_object_object_foreach (kept, rung, value) {
		printf("%s%s: %" PRIu64 " %%", sep, rung, json_object_get_uint64(value) / 10000);
		sep = ", ";
	}
	if (strcmp(sep, ", ") == 0)
		putchar('\n');
}

/* What is out of the ordinary about the nodes, and the last that changed. */
static void print_nodes(json_object *status)
{
	json_object *notes = json_get_array(status, "node_notes");
	json_object *changes = json_get_array(status, "node_changes"), *last;
	size_t n = changes ? json_object_array_length(changes) : 0;

	for (size_t i = 0; notes && i < json_object_array_length(notes); i++)
		printf("NUMA         %s\n",
		       json_object_get_string(json_object_array_get_idx(notes, i)));
	if (!n)
		return;
	last = json_object_array_get_idx(changes, n - 1);
	printf("NUMA         %s (%s)\n", text(last, "text"), text(last, "time"));
}

/* What of the host's own sight of memory in use there is, or why there is none. */
static void print_idle(json_object *idle)
{
	json_object *damon = json_get_obj(idle, "damon"), *mglru = json_get_obj(idle, "mglru");
	const char *why = json_get_str(damon, "why_not");
	bool watches = false, reads = false;
	uint64_t ppm;

	json_get_bool(damon, "used", &watches);
	json_get_bool(mglru, "used", &reads);
	if (!idle || (!watches && !reads))
		return;
	fputs("in use       seen by ", stdout);
	if (watches) {
		printf("DAMON, %" PRIu64 " guests now", number(damon, "watched_guests"));
		if (json_get_u64(damon, "cpu_ppm", &ppm))
			printf(", %.2f %% of a processor", (double)ppm / 10000);
	}
	if (reads)
		printf("%sthe LRU's generations", watches ? "; and by " : "");
	if (!watches && why)
		printf(" (not by DAMON: %s)", why);
	putchar('\n');
}

static void print_changes(json_object *changes)
{
	static const struct table_column columns[] = {
		{"CHANGED ON THE HOST", TABLE_TEXT, "file"},
		{"WAS", TABLE_TEXT, "original"},
		{"IS", TABLE_TEXT, "current"},
		{0},
	};
	struct table *table;

	if (!changes || json_object_array_length(changes) == 0) {
		puts("No host setting is changed.");
		return;
	}
	table = table_new(columns, true);
	if (!table)
		return;
	for (size_t i = 0; i < json_object_array_length(changes); i++)
		table_row(table, json_object_array_get_idx(changes, i));
	table_print(table);
	table_free(table);
	puts("`memctl reset` or stopping memd brings the old values back.");
}

/* The one thing that must never be. */
static enum memctl_exit verdict(json_object *status)
{
	return number(json_get_obj(status, "merging"), "cross_domain_bytes") ? MEMCTL_FAILED
									     : MEMCTL_OK;
}

enum memctl_exit memctl_status(const struct memctl *ctl, int argc, char **argv)
{
	AUTO_JSON json_object *status = NULL;
	json_object *aside, *errors;
	enum memctl_exit exit_status;

	if (!memctl_no_arguments(argc, argv))
		return MEMCTL_USAGE;
	exit_status = memctl_call(ctl, "query-status", NULL, &status);
	if (!status)
		return exit_status;
	if (ctl->json) {
		memctl_print_json(status);
		return verdict(status);
	}
	print_head(ctl, status);
	print_ksm(json_get_obj(status, "ksm"));
	print_merging(ctl, json_get_obj(status, "merging"));
	print_swap(ctl, json_get_obj(status, "swap"));
	print_split(ctl, number(status, "split_bytes"));
	print_reclaim(ctl, json_get_obj(status, "reclaim"));
	print_idle(json_get_obj(status, "idle_tracking"));
	aside = json_get_array(status, "standing_aside");
	for (size_t i = 0; aside && i < json_object_array_length(aside); i++) {
		json_object *one = json_object_array_get_idx(aside, i);

		printf("leaves alone %s: %s\n", text(one, "what"), text(one, "why"));
	}
	print_nodes(status);
	print_misfits(json_get_array(status, "misfits"));
	print_changes(json_get_array(status, "changes"));
	errors = json_get_array(status, "errors");
	for (size_t i = 0; errors && i < json_object_array_length(errors); i++)
		printf("error        %s\n",
		       json_object_get_string(json_object_array_get_idx(errors, i)));
	return verdict(status);
}
