// SPDX-License-Identifier: Apache-2.0
/* memctl replay: does memd still decide as it did, and what would others have done? */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "tools/replay.h"

static bool read_options(const struct memctl *ctl, int argc, char **argv,
			 struct replay_options *options)
{
	*options = (struct replay_options){0};
	if (argc != 2) {
		log_err("replay takes one trace, as memd writes them to the path that `trace` in "
			"memd.conf names");
		return false;
	}
	options->path = argv[1];
	for (size_t i = 0; i < ctl->n_options; i++) {
		const char *name = ctl->options[i].name, *value = ctl->options[i].value;

		if (strcmp(name, "policy") == 0) {
			if (!regret_add_law(&options->laws, value))
				return false;
		} else if (strcmp(name, "min") == 0) {
			if (!regret_number(name, value, 1, 100, &options->min_percent))
				return false;
		} else if (options->n_sets < REPLAY_SETS_MAX) {
			options->sets[options->n_sets++] = value;
		}
	}
	/* A setting without a policy is for memd's. */
	if (!options->laws.n_laws && (options->n_sets || options->min_percent))
		regret_add_law(&options->laws, "memd");
	return true;
}

static void print_tally(json_object *tally, const char *what)
{
	uint64_t ticks = 0, same = 0;

	if (!tally || !json_get_u64(tally, "ticks", &ticks) ||
	    !json_get_u64(tally, "same", &same) || !ticks)
		return;
	printf("%s: %" PRIu64 " of %" PRIu64 " ticks decided the same", what, same, ticks);
	if (json_get_str(tally, "first_difference"))
		printf("; the first difference is at %s", json_get_str(tally, "first_difference"));
	puts(same == ticks ? ", every order and its reason" : "");
}

static enum memctl_exit show(const struct memctl *ctl, json_object *document)
{
	json_object *notes = json_get_array(document, "notes");
	const char *from = json_get_str(document, "from"), *to = json_get_str(document, "to");
	uint64_t ticks = 0, guests = 0, starts = 0;

	json_get_u64(document, "ticks", &ticks);
	json_get_u64(document, "guests", &guests);
	json_get_u64(document, "starts", &starts);
	printf("Trace: %s to %s, %" PRIu64 " ticks, up to %" PRIu64 " guests, %" PRIu64
	       " start%s of memd\n",
	       from ? from : "?", to ? to : "?", ticks, guests, starts, starts == 1 ? "" : "s");
	for (size_t i = 0; notes && i < json_object_array_length(notes); i++)
		printf("Note: %s\n", json_object_get_string(json_object_array_get_idx(notes, i)));
	print_tally(json_get_obj(document, "check"), "Check");
	print_tally(
		json_get_obj(document, "check_tail"),
		"Check of what comes before memd's first start in the trace (what it remembered "
		"then is not known)");
	return regret_print(ctl, json_get_array(document, "policies"));
}

static bool is_same(json_object *document)
{
	json_object *check = json_get_obj(document, "check");
	uint64_t ticks = 0, same = 0;

	json_get_u64(check, "ticks", &ticks);
	json_get_u64(check, "same", &same);
	return ticks == same;
}

enum memctl_exit memctl_replay(const struct memctl *ctl, int argc, char **argv)
{
	AUTO_JSON json_object *document = NULL;
	struct replay_options options;
	enum memctl_exit status = MEMCTL_OK;
	int r;

	if (!read_options(ctl, argc, argv, &options))
		return MEMCTL_USAGE;
	r = replay_trace(&options, &document);
	if (r == -EINVAL)
		return MEMCTL_USAGE;
	if (r < 0) {
		log_err("%s: %s", options.path,
			r == -ENODATA ? "there is no tick in it; is it a trace of memd's?"
				      : strerror(-r));
		return MEMCTL_FAILED;
	}
	if (ctl->json)
		memctl_print_json(document);
	else
		status = show(ctl, document);
	/* Asked whether it decides the same, the answer is the status, too. */
	if (status == MEMCTL_OK && !options.laws.n_laws && !is_same(document))
		status = MEMCTL_FAILED;
	return status;
}
