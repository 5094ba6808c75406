// SPDX-License-Identifier: Apache-2.0
/*
 * memctl: what a person or a script asks memd. This file knows the options and the subcommands;
 * each subcommand is a file of its own and gets all it shows from the daemon's JSON.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "tools/memctl.h"

static const struct {
	const char *name;
	memctl_fn run;
	const char *arguments, *help;
} subcommands[] = {
	{"probe", memctl_probe, "",
	 "what this host offers: second-level paging, KSM, NUMA, PSI ..."},
	{"status", memctl_status, "",
	 "is memd well, what has it changed, what does it leave alone"},
	{"guests", memctl_guests, "", "every guest: promised, has now, floor, target"},
	{"top", memctl_top, "", "the report once a second, on the whole terminal"},
	{"report", memctl_report, "", "what is saved, by what, and which guest pays for it"},
	{"sharing", memctl_sharing, "[GUEST...]",
	 "which guest saves what by KSM, with whom; the sum against the kernel's"},
	{"estimate", memctl_estimate, "[GUEST...]",
	 "what KSM would save, before it is switched on; also for pids"},
	{"numa", memctl_numa, "", "the nodes: who lives where, how local, what was moved"},
	{"place", memctl_place, "", "where a guest of --memory SIZE would go"},
	{"explain", memctl_explain, "[GUEST]",
	 "the last decisions: why, what was expected, what came"},
	{"plan", memctl_plan, "", "what memd would do now, and what one more guest would cost"},
	{"replay", memctl_replay, "TRACE", "a recorded day: decided the same? and under others?"},
	{"simulate", memctl_simulate, "[list]", "policies on seeded days of a simulated host"},
	{"reset", memctl_reset, "", "undo every change memd made to host settings"},
};

/* Options of some subcommands only, between spaces. */
static const struct {
	const char *command, *options;
} takers[] = {
	{"explain", " limit "},
	{"plan", " guest-memory "},
	{"report", " history since trace html "},
	{"sharing", " matrix pid "},
	{"replay", " policy set min "},
	{"simulate", " scenario policy set seed guests hours "},
	{"place", " memory cpus domain pages beside "},
};

static void print_help(FILE *out)
{
	fputs("usage: memctl [--json] [--bytes] [--socket PATH] COMMAND [ARGUMENT...]\n\n"
	      "Commands:\n",
	      out);
	for (size_t i = 0; i < ARRAY_SIZE(subcommands); i++) {
		char left[32];

		snprintf(left, sizeof(left), "%s %s", subcommands[i].name,
			 subcommands[i].arguments);
		fprintf(out, "  %-21s %s\n", left, subcommands[i].help);
	}
	fputs("\nOptions:\n"
	      "  --json             one JSON document, sizes in bytes (schema 1)\n"
	      "  --bytes            sizes as plain numbers of bytes\n"
	      "  --socket PATH      memd's control socket (default " MEMCTL_SOCKET ",\n"
	      "                     or what MEMD_SOCKET says)\n"
	      "  --limit N          explain: the last N decisions only\n"
	      "  --matrix           sharing: also what each two guests share\n"
	      "  --pid PID[=NAME],...\n"
	      "                     sharing: look at these processes, not at memd's guests\n"
	      "  --history          report: what was saved and what it cost over time\n"
	      "  --html FILE        report: the same as a page with plots\n"
	      "  --since DURATION   report: so far back from the end of the trace (default 24h)\n"
	      "  --trace FILE       report: that trace instead of memd's own\n"
	      "  --cpu PERCENT      estimate: at most so much of a core (default 25)\n"
	      "  --seconds S        estimate: read for at most so long\n"
	      "  --samples PAGES    estimate: read about so many pages (default: 36%)\n"
	      "  --settle S         estimate: look again after so long (default 5, 0: never)\n"
	      "  --marked           estimate: only memory that is marked mergeable now\n"
	      "  --rate PAGES       estimate: also KSM's time at so many pages a second\n"
	      "  --seed N           estimate: the choice of pages, to repeat it\n"
	      "  --guest-memory SIZE\n"
	      "                     plan: could a guest of that size come, at whose cost?\n"
	      "  --policy NAME      replay, simulate: memd, mom, pve, squeezed, none, all "
	      "(repeat)\n"
	      "  --set KEY=VALUE    replay, simulate: a key of [policy] in memd.conf (repeat)\n"
	      "  --min PERCENT      replay: a minimum for guests that have none configured\n"
	      "  --scenario NAME    simulate: one of `memctl simulate list` (default: all)\n"
	      "  --seed N, --guests N, --hours N\n"
	      "                     simulate: which day (1), how many guests (20), how long (24)\n"
	      "  --memory SIZE, --cpus N, --domain LABEL, --pages 2M|1G, --beside GUEST\n"
	      "                     place: what the new guest is like, whom it shares with\n"
	      "  --help, --version\n\n"
	      "Exit status: 0 done, 1 failed, 2 wrong usage, 3 memd does not answer.\n",
	      out);
}

static bool keep_option(struct memctl *ctl, const char *name, const char *value)
{
	if (ctl->n_options == MEMCTL_OPTIONS_MAX) {
		log_err("too many options");
		return false;
	}
	ctl->options[ctl->n_options++] = (struct memctl_option){name, value};
	return true;
}

/* Does the subcommand take all the options that were given? */
static bool takes_options(const struct memctl *ctl, const char *command)
{
	const char *options = "";

	for (size_t i = 0; i < ARRAY_SIZE(takers); i++)
		if (strcmp(takers[i].command, command) == 0)
			options = takers[i].options;
	for (size_t i = 0; i < ctl->n_options; i++) {
		char word[32];

		snprintf(word, sizeof(word), " %s ", ctl->options[i].name);
		if (!strstr(options, word)) {
			log_err("%s does not take --%s", command, ctl->options[i].name);
			return false;
		}
	}
	return true;
}

static enum memctl_exit run_subcommand(const struct memctl *ctl, int argc, char **argv)
{
	for (size_t i = 0; i < ARRAY_SIZE(subcommands); i++)
		if (strcmp(argv[0], subcommands[i].name) == 0)
			return takes_options(ctl, argv[0]) ? subcommands[i].run(ctl, argc, argv)
							   : MEMCTL_USAGE;
	log_err("there is no command '%s'; `memctl --help` lists them", argv[0]);
	return MEMCTL_USAGE;
}

static bool parse_limit(const char *text, unsigned int *ret_limit)
{
	char *end;
	long limit = strtol(text, &end, 10);

	if (*end || end == text || limit < 1 || limit > 100000) {
		log_err("--limit %s: expected a number of decisions from 1 to 100000", text);
		return false;
	}
	*ret_limit = (unsigned int)limit;
	return true;
}

/* Is the command one that reads the options behind it itself? */
static bool has_own_options(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--socket") || !strcmp(argv[i], "--limit") ||
		    !strcmp(argv[i], "--pid"))
			i++; /* its value */
		else if (argv[i][0] != '-')
			return !strcmp(argv[i], "estimate");
	}
	return false;
}

int main(int argc, char **argv)
{
	enum {
		OPT_JSON = 256,
		OPT_BYTES,
		OPT_SOCKET,
		OPT_HELP,
		OPT_VERSION,
		/* of some subcommands only */
		OPT_LIMIT,
		OPT_MATRIX,
		OPT_PID,
		OPT_HISTORY,
		OPT_SINCE,
		OPT_TRACE,
		OPT_HTML,
		OPT_OTHER
	};
	static const struct option longs[] = {
		{"json", no_argument, NULL, OPT_JSON},
		{"bytes", no_argument, NULL, OPT_BYTES},
		{"socket", required_argument, NULL, OPT_SOCKET},
		{"limit", required_argument, NULL, OPT_LIMIT},
		{"matrix", no_argument, NULL, OPT_MATRIX},
		{"pid", required_argument, NULL, OPT_PID},
		{"history", no_argument, NULL, OPT_HISTORY},
		{"since", required_argument, NULL, OPT_SINCE},
		{"trace", required_argument, NULL, OPT_TRACE},
		{"html", required_argument, NULL, OPT_HTML},
		{"help", no_argument, NULL, OPT_HELP},
		{"version", no_argument, NULL, OPT_VERSION},
		{"guest-memory", required_argument, NULL, OPT_OTHER},
		{"policy", required_argument, NULL, OPT_OTHER},
		{"set", required_argument, NULL, OPT_OTHER},
		{"min", required_argument, NULL, OPT_OTHER},
		{"scenario", required_argument, NULL, OPT_OTHER},
		{"seed", required_argument, NULL, OPT_OTHER},
		{"guests", required_argument, NULL, OPT_OTHER},
		{"hours", required_argument, NULL, OPT_OTHER},
		{"memory", required_argument, NULL, OPT_OTHER},
		{"cpus", required_argument, NULL, OPT_OTHER},
		{"domain", required_argument, NULL, OPT_OTHER},
		{"pages", required_argument, NULL, OPT_OTHER},
		{"beside", required_argument, NULL, OPT_OTHER},
		{0},
	};
	const char *env = getenv("MEMD_SOCKET"), *shorts = has_own_options(argc, argv) ? "+h" : "h";
	struct memctl ctl = {.socket = env && *env ? env : MEMCTL_SOCKET};
	int c, which = 0;

	log_init("memctl", LOG_LEVEL_INFO);
	while ((c = getopt_long(argc, argv, shorts, longs, &which)) != -1) {
		if (c >= OPT_LIMIT && !keep_option(&ctl, longs[which].name, optarg))
			return MEMCTL_USAGE;
		switch (c) {
		case OPT_JSON:
			ctl.json = true;
			break;
		case OPT_BYTES:
			ctl.bytes = true;
			break;
		case OPT_SOCKET:
			ctl.socket = optarg;
			break;
		case OPT_LIMIT:
			if (!parse_limit(optarg, &ctl.limit))
				return MEMCTL_USAGE;
			break;
		case OPT_MATRIX:
			ctl.matrix = true;
			break;
		case OPT_PID:
			ctl.pids = optarg;
			break;
		case OPT_HISTORY:
			ctl.history = true;
			break;
		case OPT_SINCE:
			ctl.since = optarg;
			break;
		case OPT_TRACE:
			ctl.trace = optarg;
			break;
		case OPT_HTML:
			ctl.html = optarg;
			break;
		case OPT_OTHER:
			break;
		case 'h':
		case OPT_HELP:
			print_help(stdout);
			return MEMCTL_OK;
		case OPT_VERSION:
			puts("memctl " MEMD_VERSION);
			return MEMCTL_OK;
		default:
			fputs("Try `memctl --help`.\n", stderr);
			return MEMCTL_USAGE;
		}
	}
	if (optind == argc) {
		print_help(stderr);
		return MEMCTL_USAGE;
	}
	return (int)run_subcommand(&ctl, argc - optind, argv + optind);
}
