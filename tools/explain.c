// SPDX-License-Identifier: Apache-2.0
/* memctl explain: the last decisions as sentences, newest last. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/log.h"
#include "common/size.h"
#include "tools/memctl.h"
#include "tools/table.h"

static const char *value_text(const struct memctl *ctl, json_object *decision, const char *key,
			      char *buf, size_t n)
{
	const char *unit = json_get_str(decision, "unit");
	uint64_t value;

	if (!json_get_u64(decision, key, &value))
		return "?";
	if (unit && strcmp(unit, "bytes") == 0)
		return table_size(value, ctl->bytes, buf, n);
	snprintf(buf, n, "%" PRIu64, value);
	return buf;
}

static void print_gain(const struct memctl *ctl, json_object *decision)
{
	char expected[SIZE_TEXT_MAX], measured[SIZE_TEXT_MAX];
	const char *outcome = json_get_str(decision, "outcome");
	uint64_t gain, got;

	if (json_get_u64(decision, "expected_gain_bytes", &gain) && gain > 0) {
		printf("    expected to free %s; ",
		       table_size(gain, ctl->bytes, expected, sizeof(expected)));
		if (json_get_u64(decision, "measured_gain_bytes", &got))
			printf("measured %s",
			       table_size(got, ctl->bytes, measured, sizeof(measured)));
		else
			printf("not measured");
		printf(" (%s)\n", outcome ? outcome : "?");
	} else {
		printf("    %s\n", outcome ? outcome : "?");
	}
}

static void print_inputs(const struct memctl *ctl, json_object *inputs)
{
	const char *sep = "    saw: ";

	if (!json_object_is_type(inputs, json_type_object))
		return;
	json_object_object_foreach (inputs, key, value) {
		size_t len = strlen(key);
		char buf[SIZE_TEXT_MAX];

		if (!value)
			continue;
		if (len > 6 && strcmp(key + len - 6, "_bytes") == 0)
			printf("%s%.*s %s", sep, (int)(len - 6), key,
			       table_size(json_object_get_uint64(value), ctl->bytes, buf,
					  sizeof(buf)));
		else
			printf("%s%s %s", sep, key, json_object_get_string(value));
		sep = ", ";
	}
	if (strcmp(sep, ", ") == 0)
		putchar('\n');
}

static void print_decision(const struct memctl *ctl, json_object *d)
{
	const char *guest = json_get_str(d, "guest"), *why = json_get_str(d, "reason_text");
	const char *action = json_get_str(d, "action"), *time = json_get_str(d, "time");
	json_object *rejected = json_get_array(d, "rejected");
	char from[SIZE_TEXT_MAX], to[SIZE_TEXT_MAX];

	printf("%s  %s: %s %s -> %s\n", time ? time : "?", guest ? guest : "host",
	       action ? action : "?", value_text(ctl, d, "from", from, sizeof(from)),
	       value_text(ctl, d, "to", to, sizeof(to)));
	if (why)
		printf("    because %s\n", why);
	print_inputs(ctl, json_get_obj(d, "inputs"));
	print_gain(ctl, d);
	for (size_t i = 0; rejected && i < json_object_array_length(rejected); i++) {
		json_object *r = json_object_array_get_idx(rejected, i);
		const char *rung = json_get_str(r, "rung"), *reason = json_get_str(r, "why");

		printf("    not %s: %s\n", rung ? rung : "?", reason ? reason : "?");
	}
}

enum memctl_exit memctl_explain(const struct memctl *ctl, int argc, char **argv)
{
	AUTO_JSON json_object *args = json_object_new_object();
	AUTO_JSON json_object *answer = NULL;
	json_object *decisions;
	enum memctl_exit status;

	if (argc > 2) {
		log_err("explain takes one guest, got also '%s'", argv[2]);
		return MEMCTL_USAGE;
	}
	if (argc == 2)
		json_add_str(args, "guest", argv[1]);
	if (ctl->limit)
		json_add_u64(args, "limit", ctl->limit);
	status = memctl_query(ctl, "query-explain", TAKE_PTR(args), &answer);
	if (!answer)
		return status;
	decisions = json_get_array(answer, "decisions");
	if (!decisions || json_object_array_length(decisions) == 0)
		puts("No decisions yet: memd has seen no reason to change anything.");
	for (size_t i = 0; decisions && i < json_object_array_length(decisions); i++)
		print_decision(ctl, json_object_array_get_idx(decisions, i));
	return MEMCTL_OK;
}
