// SPDX-License-Identifier: Apache-2.0
/*
 * The run over a trace: every tick goes to memd's policy as it was, whose decisions must be the
 * recorded ones, and to the laws that are compared; see replay.h. A trace is data from somewhere:
 * record_next() bounds its numbers, and what the policy refuses is counted and skipped.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "memd/record_fields.h"
#include "policy/replay.h"
#include "tools/replay.h"
#include "tools/settings.h"

/* How many ticks of a kind there were, and how many of them were decided the same. */
struct tally {
	uint64_t ticks, same;
};

struct run {
	const struct replay_options *options;
	struct replay *recorded, *others[REGRET_LAWS_MAX];
	struct pol *pol;
	struct pol_config config; /* as recorded */
	bool has_config, fresh;	  /* fresh: the policy's beginning is in the trace */
	uint64_t starts, refused;
	struct tally whole, tail; /* of runs that begin in the trace; before the first of them */
	uint64_t differs_wall_us; /* of the first difference in `whole` */
	uint64_t first_wall_us, last_wall_us, most_guests;
	bool dry_run;
	json_object *notes;
};

static void __attribute__((format(printf, 2, 3))) note(struct run *run, const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	json_object_array_add(run->notes, json_object_new_string(text));
}

static bool same_action(const struct pol_action *a, const struct pol_action *b)
{
	size_t n;
	const struct record_field *fields = record_fields(RECORD_ACTION, &n);

	for (size_t i = 0; i < n; i++)
		if (record_field_get(a, fields[i]) != record_field_get(b, fields[i]))
			return false;
	return true;
}

static bool same_plan(const struct record_entry *entry, const struct pol_plan *plan)
{
	if (entry->state != plan->state || entry->need_bytes != plan->need_bytes ||
	    entry->n_actions !=
		    (plan->n_actions < RECORD_ACTIONS_MAX ? plan->n_actions : RECORD_ACTIONS_MAX))
		return false;
	for (size_t i = 0; i < entry->n_actions; i++)
		if (!same_action(&entry->actions[i], &plan->actions[i]))
			return false;
	return true;
}

/* The recorded configuration with what --set changes. */
static int with_sets(const struct run *run, struct pol_config *ret_config)
{
	*ret_config = run->config;
	for (size_t i = 0; i < run->options->n_sets; i++)
		if (!settings_apply(ret_config, run->options->sets[i]))
			return -EINVAL;
	return run->options->n_sets && !settings_check(ret_config) ? -EINVAL : 0;
}

static int begin_laws(struct run *run)
{
	uint32_t min_ppm = (uint32_t)run->options->min_percent * 10000;
	struct pol_config config;
	int r = with_sets(run, &config);

	if (r < 0)
		return r;
	run->recorded = replay_new(NULL, &run->config, RECORD_GUESTS_MAX, 0);
	if (!run->recorded)
		return -ENOMEM;
	for (size_t i = 0; i < run->options->laws.n_laws; i++) {
		run->others[i] =
			replay_new(run->options->laws.laws[i], &config, RECORD_GUESTS_MAX, min_ppm);
		if (!run->others[i])
			return -ENOMEM;
	}
	return 0;
}

static int on_config(struct run *run, const struct pol_config *recorded)
{
	struct pol_config config;
	const char *why = NULL;
	int r;

	/* Fields that an older memd did not write are absent: 0xffff... makes no sense. */
	if (pol_config_check(recorded, &why) < 0) {
		note(run, "a recorded configuration makes no sense (%s) and is not used",
		     why ? why : "?");
		return 0;
	}
	run->config = *recorded;
	run->has_config = true;
	r = with_sets(run, &config);
	if (r < 0)
		return r;
	if (run->pol)
		pol_configure(run->pol, &run->config);
	if (run->recorded)
		replay_configure(run->recorded, &run->config);
	for (size_t i = 0; i < run->options->laws.n_laws; i++)
		if (run->others[i])
			replay_configure(run->others[i], &config);
	return 0;
}

/* memd was started, or this is where the trace begins. */
static int on_start(struct run *run, const struct record_entry *entry)
{
	int r = 0;

	if (!entry->fresh && run->starts)
		return 0;
	run->starts++;
	run->fresh = entry->fresh;
	run->dry_run |= entry->dry_run;
	pol_free(run->pol);
	run->pol = pol_new(&run->config, RECORD_GUESTS_MAX);
	if (!run->pol)
		return -ENOMEM;
	if (run->recorded)
		r = replay_restart(run->recorded);
	for (size_t i = 0; i < run->options->laws.n_laws && r == 0; i++)
		if (run->others[i])
			r = replay_restart(run->others[i]);
	return r;
}

static void check(struct run *run, const struct record_entry *entry)
{
	struct tally *tally = run->fresh ? &run->whole : &run->tail;
	const struct pol_plan *plan = NULL;

	if (pol_step(run->pol, &entry->host, entry->now_us, &plan) < 0) {
		run->refused++;
		return;
	}
	tally->ticks++;
	if (same_plan(entry, plan))
		tally->same++;
	else if (run->fresh && !run->differs_wall_us)
		run->differs_wall_us = entry->wall_us;
	if (entry->dry_run)
		pol_not_done(run->pol);
}

static int on_tick(struct run *run, const struct record_entry *entry)
{
	uint64_t orders = 0;
	int r;

	if (!run->recorded) {
		r = begin_laws(run);
		if (r < 0)
			return r;
	}
	if (!run->first_wall_us)
		run->first_wall_us = entry->wall_us;
	run->last_wall_us = entry->wall_us;
	if (entry->host.n_guests > run->most_guests)
		run->most_guests = entry->host.n_guests;
	for (size_t i = 0; i < entry->n_actions; i++)
		orders += entry->actions[i].kind == POL_BALLOON;
	check(run, entry);
	/* What a law refuses it does not decide; the others go on. */
	replay_tick(run->recorded, &entry->host, orders, entry->now_us);
	for (size_t i = 0; i < run->options->laws.n_laws; i++)
		replay_tick(run->others[i], &entry->host, 0, entry->now_us);
	return 0;
}

static int read_file(struct run *run, const char *path)
{
	struct record_reader *reader = NULL;
	struct record_entry entry;
	int r = record_reader_open(path, &reader), got;

	if (r < 0)
		return r;
	while ((got = record_next(reader, &entry)) > 0 && r == 0) {
		if (entry.kind == RECORD_START)
			r = on_start(run, &entry);
		else if (entry.kind == RECORD_CONFIG)
			r = on_config(run, &entry.config);
		else
			r = on_tick(run, &entry);
	}
	if (got == -EPROTO)
		note(run,
		     "%s: written by another version of memd from byte %llu on, the rest is not "
		     "used",
		     path, (unsigned long long)record_reader_offset(reader));
	else if (got < 0)
		note(run, "%s: damaged at byte %llu, the rest is not used", path,
		     (unsigned long long)record_reader_offset(reader));
	else if (r == 0 && record_reader_cut(reader))
		note(run, "%s: cut off in the middle of its last tick, at byte %llu", path,
		     (unsigned long long)record_reader_offset(reader));
	record_reader_close(reader);
	return r;
}

static int read_trace(struct run *run)
{
	char older[4096];
	int r = 0;

	if (snprintf(older, sizeof(older), "%s.1", run->options->path) < (int)sizeof(older)) {
		r = read_file(run, older);
		if (r == 0)
			note(run, "with %s, the part before it", older);
		else if (r == -ENOENT)
			r = 0;
	}
	if (r == 0)
		r = read_file(run, run->options->path);
	return r;
}

/* RFC 3339 in UTC. */
static void add_time(json_object *o, const char *key, uint64_t wall_us)
{
	time_t seconds = (time_t)(wall_us / 1000000);
	char text[40];
	struct tm tm;

	gmtime_r(&seconds, &tm);
	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm);
	json_add_str(o, key, text);
}

static json_object *tally_json(const struct tally *tally)
{
	json_object *o = json_object_new_object();

	json_add_u64(o, "ticks", tally->ticks);
	json_add_u64(o, "same", tally->same);
	return o;
}

static json_object *document_of(struct run *run)
{
	json_object *o = json_object_new_object(), *whole = tally_json(&run->whole);
	json_object *list = json_object_new_array();

	if (run->refused)
		note(run, "%llu ticks make no sense to the policy and are skipped",
		     (unsigned long long)run->refused);
	if (run->dry_run)
		note(run, "recorded in a dry run: what memd decided was not carried out");
	json_add_i64(o, "schema", 1);
	json_add_str(o, "trace", run->options->path);
	add_time(o, "from", run->first_wall_us);
	add_time(o, "to", run->last_wall_us);
	json_add_u64(o, "ticks", run->whole.ticks + run->tail.ticks);
	json_add_u64(o, "guests", run->most_guests);
	json_add_u64(o, "starts", run->starts);
	if (run->differs_wall_us)
		add_time(whole, "first_difference", run->differs_wall_us);
	json_object_object_add(o, "check", whole);
	if (run->tail.ticks)
		json_object_object_add(o, "check_tail", tally_json(&run->tail));
	json_object_array_add(list, regret_json(NULL, "recorded", replay_regret(run->recorded)));
	for (size_t i = 0; i < run->options->laws.n_laws; i++)
		json_object_array_add(list, regret_json(NULL, run->options->laws.laws[i]->name,
							replay_regret(run->others[i])));
	json_object_object_add(o, "policies", list);
	json_object_object_add(o, "notes", json_object_get(run->notes));
	return o;
}

int replay_trace(const struct replay_options *options, json_object **ret_document)
{
	struct run run = {.options = options, .notes = json_object_new_array()};
	int r;

	pol_config_default(&run.config);
	r = read_trace(&run);
	if (r == 0 && !run.recorded)
		r = -ENODATA;
	if (r == 0)
		*ret_document = document_of(&run);
	pol_free(run.pol);
	replay_free(run.recorded);
	for (size_t i = 0; i < options->laws.n_laws; i++)
		replay_free(run.others[i]);
	json_object_put(run.notes);
	return r;
}
