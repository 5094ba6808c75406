/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What memctl's subcommands share: the options before the subcommand, the way to the daemon, and
 * the exit statuses that scripts rely on.
 */
#ifndef MEMD_TOOLS_MEMCTL_H
#define MEMD_TOOLS_MEMCTL_H

#include <json-c/json.h>
#include <stdbool.h>

#include "common/wire.h"

#define MEMCTL_SOCKET "/run/memd/memd.sock"

enum memctl_exit {
	MEMCTL_OK = 0,
	MEMCTL_FAILED = 1,
	MEMCTL_USAGE = 2,
	MEMCTL_UNREACHABLE = 3,
};

/* An option of one or two subcommands, without its dashes. */
struct memctl_option {
	const char *name, *value;
};

#define MEMCTL_OPTIONS_MAX 32

struct memctl {
	const char *socket;
	bool json;
	bool bytes;	    /* sizes as plain numbers of bytes */
	unsigned int limit; /* explain: at most this many decisions, 0: the daemon's default */
	bool matrix;	    /* sharing: pairs of guests too */
	const char *pids;   /* sharing: PID[=NAME],... instead of memd's guests; NULL: those */
	bool history;	    /* report: over time, from the trace */
	const char *since;  /* report: how far back from the end of the trace; NULL: a day */
	const char *trace;  /* report: the trace; NULL: the daemon's */
	const char *html;   /* report: a page to write; NULL: none */
	struct memctl_option options[MEMCTL_OPTIONS_MAX]; /* in the order given */
	size_t n_options;
};

/* One subcommand; argv[0] is its name. Returns the exit status. */
typedef enum memctl_exit (*memctl_fn)(const struct memctl *ctl, int argc, char **argv);

enum memctl_exit memctl_probe(const struct memctl *ctl, int argc, char **argv);
enum memctl_exit memctl_status(const struct memctl *ctl, int argc, char **argv);
enum memctl_exit memctl_guests(const struct memctl *ctl, int argc, char **argv);
enum memctl_exit memctl_top(const struct memctl *ctl, int argc, char **argv);
enum memctl_exit memctl_report(const struct memctl *ctl, int argc, char **argv);
enum memctl_exit memctl_sharing(const struct memctl *ctl, int argc, char **argv);
enum memctl_exit memctl_estimate(const struct memctl *ctl, int argc, char **argv);
enum memctl_exit memctl_explain(const struct memctl *ctl, int argc, char **argv);
enum memctl_exit memctl_plan(const struct memctl *ctl, int argc, char **argv);
enum memctl_exit memctl_numa(const struct memctl *ctl, int argc, char **argv);
enum memctl_exit memctl_place(const struct memctl *ctl, int argc, char **argv);
enum memctl_exit memctl_replay(const struct memctl *ctl, int argc, char **argv);
enum memctl_exit memctl_simulate(const struct memctl *ctl, int argc, char **argv);
enum memctl_exit memctl_reset(const struct memctl *ctl, int argc, char **argv);

/* Is there a daemon to ask? Says nothing. */
bool memctl_daemon_is_there(const struct memctl *ctl);

/* Connect; on failure says why and what to do, and returns MEMCTL_UNREACHABLE. */
enum memctl_exit memctl_connect(const struct memctl *ctl, struct wire_client **ret_client);

/*
 * One command to the daemon; the answer is the caller's. args are taken over (may be NULL). On
 * failure says why.
 */
enum memctl_exit memctl_call(const struct memctl *ctl, const char *command, json_object *args,
			     json_object **ret_answer);

/*
 * One command to a daemon that need not be there. -ENOENT: none is; another -errno: it does not
 * tell, which is said.
 */
int memctl_ask(const struct memctl *ctl, const char *command, json_object **ret_answer);

/* As memctl_call(), but with --json the answer is printed here and *ret_answer stays NULL: there is
 * nothing left to show. */
enum memctl_exit memctl_query(const struct memctl *ctl, const char *command, json_object *args,
			      json_object **ret_answer);

/* Print a document as --json does: indented, one newline at the end. */
void memctl_print_json(json_object *document);

/* A subcommand that takes no arguments got some: says so. */
bool memctl_no_arguments(int argc, char **argv);

#endif
