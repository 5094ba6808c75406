// SPDX-License-Identifier: Apache-2.0
/* A decision in an operator's words; see decision.h. */
#include "tools/decision.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "common/size.h"
#include "common/wire.h"
#include "tools/table.h"

/* What a rung of the ladder is called in a sentence; the names themselves are for scripts. */
static const char *way_of(const char *rung)
{
	static const struct {
		const char *rung, *way;
	} ways[] = {
		{"free-page-reporting", "memory that the guest reports as free"},
		{"ksm", "merging equal pages (KSM)"},
		{"balloon-free", "the balloon, from memory that the guest has free"},
		{"balloon-cache", "the balloon, from the guest's page cache"},
		{"virtio-mem", "unplugging the guest's memory device"},
		{"reclaim", "swapping out memory that the guest does not use"},
		{"swap", "swapping out memory that the guest may use"},
	};

	for (size_t i = 0; rung && i < ARRAY_SIZE(ways); i++)
		if (strcmp(ways[i].rung, rung) == 0)
			return ways[i].way;
	return rung && strcmp(rung, "none") != 0 ? rung : NULL;
}

static const char *size_of(const struct memctl *ctl, json_object *obj, const char *key, char *buf,
			   size_t n)
{
	uint64_t value;

	return json_get_u64(obj, key, &value) ? table_size(value, ctl->bytes, buf, n) : NULL;
}

static const char *value_text(const struct memctl *ctl, json_object *decision, const char *key,
			      char *buf, size_t n)
{
	const char *unit = json_get_str(decision, "unit");
	uint64_t value;

	if (!json_get_u64(decision, key, &value))
		return "?";
	if (unit && strcmp(unit, "bytes") == 0)
		return table_size(value, ctl->bytes, buf, n);
	if (unit && (strcmp(unit, "run") == 0 || strcmp(unit, "merge") == 0))
		return value == 0 ? "off" : value == 1 ? "on" : "unmerge";
	snprintf(buf, n, "%" PRIu64, value);
	return buf;
}

static void print_head(const struct memctl *ctl, json_object *d)
{
	const char *guest = json_get_str(d, "guest"), *time = json_get_str(d, "time");
	const char *action = json_get_str(d, "action"), *unit = json_get_str(d, "unit");
	char from[SIZE_TEXT_MAX], to[SIZE_TEXT_MAX];

	printf("%s%s%s: %s%s %s -> %s\n", time ? time : "", time ? "  " : "",
	       guest ? guest : "host", action ? action : "?",
	       unit && strcmp(unit, "pages_to_scan") == 0 ? ", pages a scan" : "",
	       value_text(ctl, d, "from", from, sizeof(from)),
	       value_text(ctl, d, "to", to, sizeof(to)));
}

static void print_host(const struct memctl *ctl, json_object *inputs)
{
	const char *state = json_get_str(inputs, "state");
	char available[SIZE_TEXT_MAX], need[SIZE_TEXT_MAX];
	uint64_t bytes = 0;

	if (!size_of(ctl, inputs, "available_bytes", available, sizeof(available)))
		return;
	json_get_u64(inputs, "need_bytes", &bytes);
	printf("    the host had %s available", available);
	if (bytes)
		printf(" and wanted %s more", table_size(bytes, ctl->bytes, need, sizeof(need)));
	printf(" (state %s)\n", state ? state : "?");
}

static void print_guest(const struct memctl *ctl, json_object *inputs)
{
	char floor[SIZE_TEXT_MAX], used[SIZE_TEXT_MAX], share[SIZE_TEXT_MAX];
	const char *text = size_of(ctl, inputs, "working_set_bytes", used, sizeof(used));

	if (!size_of(ctl, inputs, "floor_bytes", floor, sizeof(floor)))
		return;
	if (text)
		printf("    the guest used %s and is left at least %s", text, floor);
	else
		printf("    what the guest uses was not known; it is left at least %s", floor);
	text = size_of(ctl, inputs, "entitled_bytes", share, sizeof(share));
	printf(text ? "; its share is %s\n" : "\n", share);
	if (size_of(ctl, inputs, "hot_bytes", used, sizeof(used)))
		printf("    the host saw %s of its memory in use\n", used);
}

static void print_inputs(const struct memctl *ctl, json_object *inputs)
{
	bool urgent = false;
	uint64_t value;

	if (!json_object_is_type(inputs, json_type_object))
		return;
	print_host(ctl, inputs);
	print_guest(ctl, inputs);
	json_get_bool(inputs, "urgent", &urgent);
	if (json_get_u64(inputs, "sleep_millisecs", &value))
		printf("    KSM sleeps %" PRIu64 " ms between scans%s\n", value,
		       urgent ? ", and yields to guests no longer" : "");
	if (json_get_u64(inputs, "for_guest_id", &value))
		printf("    it is for the guest with id %" PRIu64 " (memctl --json guests)\n",
		       value);
}

/* "by the balloon, ...: 200 MiB expected for 3.2 s of the host's time, 190 MiB came (done)" */
static void print_price(const struct memctl *ctl, json_object *d, bool planned)
{
	const char *way = way_of(json_get_str(d, "rung"));
	const char *outcome = json_get_str(d, "outcome"), *error = json_get_str(d, "error");
	char expected[SIZE_TEXT_MAX], measured[SIZE_TEXT_MAX];
	uint64_t gain = 0, got, cost_us = 0, spared_us;

	/* A move is worth the guest's processor time, merging within nodes that of all. */
	if (json_get_u64(d, "expected_gain_us", &spared_us))
		printf("    expected to spare %s %.1f s of processor time in %s\n",
		       json_get_str(d, "guest") ? "the guest" : "guests",
		       (double)spared_us / USEC_PER_SEC,
		       json_get_str(d, "guest") ? "ten minutes" : "an hour");
	json_get_u64(d, "expected_gain_bytes", &gain);
	json_get_u64(d, "cost_us", &cost_us);
	if (!way && !gain && planned)
		return;
	printf("    %s%s", way ? "by " : "", way ? way : "");
	if (gain) {
		printf("%s%s expected to become free", way ? ": " : "",
		       table_size(gain, ctl->bytes, expected, sizeof(expected)));
		if (cost_us)
			printf(" for %.1f s of work", (double)cost_us / USEC_PER_SEC);
		if (json_get_u64(d, "measured_gain_bytes", &got))
			printf(", %s did", table_size(got, ctl->bytes, measured, sizeof(measured)));
		else if (!planned)
			printf(", not measured yet");
	}
	if (!planned)
		printf("%s(%s%s%s)", way || gain ? " " : "", outcome ? outcome : "?",
		       error ? ": " : "", error ? error : "");
	putchar('\n');
}

void decision_print(const struct memctl *ctl, json_object *d, bool planned)
{
	const char *why = json_get_str(d, "reason_text");
	json_object *rejected = json_get_array(d, "rejected");

	print_head(ctl, d);
	if (why)
		printf("    because %s\n", why);
	print_inputs(ctl, json_get_obj(d, "inputs"));
	print_price(ctl, d, planned);
	for (size_t i = 0; rejected && i < json_object_array_length(rejected); i++) {
		json_object *r = json_object_array_get_idx(rejected, i);
		const char *way = way_of(json_get_str(r, "rung")), *reason = json_get_str(r, "why");

		printf("    not by %s: %s\n", way ? way : "?", reason ? reason : "?");
	}
}
