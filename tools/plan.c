// SPDX-License-Identifier: Apache-2.0
/* memctl plan: what memd would do now, what it could take beyond that, and what one more guest
 * would cost. Nothing is changed by asking. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "common/size.h"
#include "tools/decision.h"
#include "tools/memctl.h"
#include "tools/table.h"

struct sizes {
	const struct memctl *ctl;
	json_object *of;
};

static uint64_t number(json_object *obj, const char *key)
{
	uint64_t value = 0;

	json_get_u64(obj, key, &value);
	return value;
}

/* The size under key, in one of the caller's buffers. */
static const char *size(const struct sizes *s, const char *key, char buf[SIZE_TEXT_MAX])
{
	return table_size(number(s->of, key), s->ctl->bytes, buf, SIZE_TEXT_MAX);
}

/* What balloons still have to take of what was ordered. */
static uint64_t coming(json_object *guests)
{
	uint64_t sum = 0;

	for (size_t i = 0; guests && i < json_object_array_length(guests); i++) {
		json_object *one = json_object_array_get_idx(guests, i);
		uint64_t has = number(one, "actual_bytes"), target = number(one, "target_bytes");

		sum += has > target ? has - target : 0;
	}
	return sum;
}

static void print_host(const struct memctl *ctl, json_object *host, json_object *guests)
{
	const struct sizes s = {ctl, host};
	uint64_t ordered = coming(guests);
	const char *state = json_get_str(host, "state");
	char a[SIZE_TEXT_MAX], b[SIZE_TEXT_MAX];

	printf("The host has %s available and wants %s free (state %s)",
	       size(&s, "available_bytes", a), size(&s, "high_bytes", b), state ? state : "?");
	if (number(host, "need_bytes"))
		printf("; to be clear of that it lacks %s", size(&s, "need_bytes", a));
	if (number(host, "fall_bytes_per_second"))
		printf("; it falls by %s a second", size(&s, "fall_bytes_per_second", b));
	if (ordered)
		printf("; balloons are on their way to %s",
		       table_size(ordered, ctl->bytes, a, sizeof(a)));
	puts(".");
}

static void print_actions(const struct memctl *ctl, json_object *plan, json_object *actions)
{
	const char *mode = json_get_str(plan, "mode");
	size_t n = actions ? json_object_array_length(actions) : 0;

	puts(n ? "Now it would do:" : "Now it would change nothing.");
	for (size_t i = 0; i < n; i++)
		decision_print(ctl, json_object_array_get_idx(actions, i), true);
	if (n && mode && strcmp(mode, "active") != 0)
		printf("(but %s)\n", strcmp(mode, "stopped") == 0
					     ? "it was stopped by `memctl reset`"
					     : "it runs dry and changes nothing");
}

static void print_guests(const struct memctl *ctl, json_object *guests)
{
	static const struct table_column columns[] = {
		{"GUEST", TABLE_TEXT, "name"},
		{"HAS", TABLE_BYTES, "actual_bytes"},
		{"FLOOR", TABLE_BYTES, "floor_bytes"},
		{"SPARE", TABLE_BYTES, "spare_bytes"},
		{"BRINGS", TABLE_BYTES, "spare_gain_bytes"},
		{"SWAP", TABLE_BYTES, "swap_spare_gain_bytes"},
		{"WHY", TABLE_TEXT, "why"},
		{0},
	};
	struct table *table;

	if (!guests || json_object_array_length(guests) == 0)
		return;
	table = table_new(columns, ctl->bytes);
	if (!table)
		return;
	for (size_t i = 0; i < json_object_array_length(guests); i++)
		table_row(table, json_object_array_get_idx(guests, i));
	putchar('\n');
	table_print(table);
	table_free(table);
}

static void print_room(const struct memctl *ctl, json_object *room)
{
	const struct sizes s = {ctl, room};
	char a[SIZE_TEXT_MAX], b[SIZE_TEXT_MAX], c[SIZE_TEXT_MAX];

	if (!room)
		return;
	printf("\nRoom for %s: %s available above what is wanted free, %s from guests that "
	       "can spare it.\n",
	       size(&s, "total_bytes", a), size(&s, "available_bytes", b),
	       size(&s, "balloon_bytes", c));
	if (number(room, "swap_gain_bytes"))
		printf("Beyond that %s by sending %s of guests to swap: %" PRIu64
		       " ms of processor "
		       "time, and they wait when they want it back.\n",
		       size(&s, "swap_gain_bytes", a), size(&s, "swap_bytes", b),
		       number(room, "swap_cost_us") / 1000);
}

static void print_outlook(const struct memctl *ctl, json_object *outlook)
{
	const struct sizes s = {ctl, outlook};
	json_object *payers = json_get_array(outlook, "taken_from");
	const char *worst = json_get_str(outlook, "worst_state");
	char a[SIZE_TEXT_MAX], b[SIZE_TEXT_MAX];
	bool fits = false;

	if (!outlook)
		return;
	json_get_bool(outlook, "fits", &fits);
	printf("\nOne more guest of %s that uses all of it %s", size(&s, "guest_memory_bytes", a),
	       fits ? "fits" : "does not fit");
	if (fits)
		printf(": the host has %s available then", size(&s, "available_bytes", b));
	else
		printf(": in the end %s is missing", size(&s, "missing_bytes", b));
	printf(", after %" PRIu64 " s.\nOn the way %s is available at the least (state %s).\n",
	       number(outlook, "seconds"), size(&s, "least_available_bytes", a),
	       worst ? worst : "?");
	if (number(outlook, "swapped_bytes"))
		printf("%s of other guests goes to swap for it, %" PRIu64
		       " ms of processor time.\n",
		       size(&s, "swapped_bytes", a), number(outlook, "swap_cost_us") / 1000);
	if (!number(outlook, "taken_bytes")) {
		if (!number(outlook, "swapped_bytes"))
			puts("Nothing is taken from other guests for it.");
		return;
	}
	printf("It costs other guests %s:\n", size(&s, "taken_bytes", a));
	for (size_t i = 0; payers && i < json_object_array_length(payers); i++) {
		json_object *one = json_object_array_get_idx(payers, i);
		const struct sizes p = {ctl, one};
		const char *name = json_get_str(one, "name");

		printf("    %s: %s -> %s\n", name ? name : "?", size(&p, "from_bytes", a),
		       size(&p, "to_bytes", b));
	}
}

/* Exit status 1: one more guest was asked about, and does not fit. */
static enum memctl_exit verdict(json_object *plan)
{
	bool fits = true;

	json_get_bool(json_get_obj(plan, "outlook"), "fits", &fits);
	return fits ? MEMCTL_OK : MEMCTL_FAILED;
}

enum memctl_exit memctl_plan(const struct memctl *ctl, int argc, char **argv)
{
	AUTO_JSON json_object *args = json_object_new_object();
	AUTO_JSON json_object *plan = NULL;
	enum memctl_exit status;

	if (!memctl_no_arguments(argc, argv))
		return MEMCTL_USAGE;
	for (size_t i = 0; i < ctl->n_options; i++) {
		const char *text = ctl->options[i].value;
		uint64_t bytes;

		if (strcmp(ctl->options[i].name, "guest-memory") != 0)
			continue;
		if (size_parse(text, &bytes) < 0 || bytes == 0) {
			log_err("--guest-memory takes a size such as 4G, got '%s'", text);
			return MEMCTL_USAGE;
		}
		json_add_u64(args, "guest-memory", bytes);
	}
	status = memctl_call(ctl, "query-plan", TAKE_PTR(args), &plan);
	if (!plan)
		return status;
	if (ctl->json) {
		memctl_print_json(plan);
		return verdict(plan);
	}
	print_host(ctl, json_get_obj(plan, "host"), json_get_array(plan, "guests"));
	print_actions(ctl, plan, json_get_array(plan, "actions"));
	print_guests(ctl, json_get_array(plan, "guests"));
	print_room(ctl, json_get_obj(plan, "room"));
	print_outlook(ctl, json_get_obj(plan, "outlook"));
	return verdict(plan);
}
