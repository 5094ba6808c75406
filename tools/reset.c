// SPDX-License-Identifier: Apache-2.0
/*
 * memctl reset: bring host settings back. A running daemon does it and stands still afterwards;
 * without one the journal it left beside its socket is enough.
 */
#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/kfile.h"
#include "common/log.h"
#include "common/undo.h"
#include "memd/guest_group.h"
#include "memd/pin.h"
#include "tools/memctl.h"

#define ANSWER_MOST_US (10 * USEC_PER_SEC)
#define RESET_MOST_US  (600 * USEC_PER_SEC)
#define TELL_AFTER_S   2

static void collect(void *ctx, const struct undo_report *report)
{
	json_object *list = ctx, *one = json_object_new_object();

	json_add_str(one, "file", report->path);
	json_add_str(one, "result", undo_result_name(report->result));
	json_add_str(one, "value", report->original);
	json_add_str(one, "error", report->error ? strerror(-report->error) : NULL);
	json_object_array_add(list, one);
}

static void collect_pins(void *ctx, pid_t pid, const char *cpus, int error)
{
	json_object *list = ctx, *one = json_object_new_object();
	char file[64];

	snprintf(file, sizeof(file), "proc/%d: processors of its threads", (int)pid);
	json_add_str(one, "file", file);
	json_add_str(one, "result", error ? "failed" : "restored");
	json_add_str(one, "value", cpus);
	json_add_str(one, "error", error ? strerror(-error) : NULL);
	json_object_array_add(list, one);
}

static void collect_cgroups(void *ctx, const char *path, int error)
{
	json_object *list = ctx, *one = json_object_new_object();

	json_add_str(one, "file", path);
	json_add_str(one, "result", error ? "failed" : "removed");
	json_add_str(one, "value", NULL);
	json_add_str(one, "error", error ? strerror(-error) : NULL);
	json_object_array_add(list, one);
}

/* The same document as the daemon's, from the journal of a dead one. */
static int restore_journal(const struct memctl *ctl, json_object **ret_answer)
{
	AUTO_FD int root = kfile_open_root("/");
	char path[PATH_MAX], *dir;
	json_object *list;
	int r, pins, groups;

	if (root < 0)
		return root;
	if (snprintf(path, sizeof(path), "%s", ctl->socket) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	list = json_object_new_array();
	*ret_answer = json_object_new_object();
	json_add_i64(*ret_answer, "schema", 1);
	json_object_object_add(*ret_answer, "restored", list);
	dir = dirname(path);
	r = undo_restore_dir(root, dir, collect, list);
	if (r == -EWOULDBLOCK || r == -EXDEV) /* a living memd's, or another host's */
		return r;
	pins = pin_restore(root, dir, collect_pins, list);
	if (r == 0 && pins < 0)
		r = pins;
	groups = guest_groups_restore(root, dir, &memcg_hands_live, collect_cgroups, list);
	if (r == 0 && groups < 0)
		r = groups;
	if (r > 0)
		r = -EIO;
	return r;
}

static void show(json_object *answer)
{
	json_object *list = json_get_array(answer, "restored");

	if (!list || json_object_array_length(list) == 0)
		puts("Nothing to restore: no host setting is changed.");
	for (size_t i = 0; list && i < json_object_array_length(list); i++) {
		json_object *one = json_object_array_get_idx(list, i);
		const char *file = json_get_str(one, "file"), *result = json_get_str(one, "result");
		const char *value = json_get_str(one, "value"), *error = json_get_str(one, "error");
		char path[PATH_MAX];

		printf("%s: %s",
		       file ? undo_path_text(file, path, sizeof(path)) : "a line of the journal",
		       result ? result : "?");
		if (value)
			printf(" (%s)", value);
		printf("%s%s\n", error ? ": " : "", error ? error : "");
	}
}

static void on_alarm(int signal)
{
	static const char text[] =
		"memctl: memd is at it; to unmerge what KSM has merged takes the "
		"kernel about a second for each GiB\n";

	(void)signal;
	if (write(STDERR_FILENO, text, sizeof(text) - 1) < 0)
		return;
}

/* Where all has to be unmerged the kernel takes its time. */
static int call_reset(struct wire_client *client, json_object **ret_answer, struct wire_error *err)
{
	const struct sigaction action = {.sa_handler = on_alarm};
	int r;

	sigaction(SIGALRM, &action, NULL);
	alarm(TELL_AFTER_S);
	wire_client_set_timeout(client, RESET_MOST_US);
	r = wire_client_call(client, "reset", NULL, ret_answer, err);
	alarm(0);
	return r;
}

enum memctl_exit memctl_reset(const struct memctl *ctl, int argc, char **argv)
{
	AUTO_JSON json_object *answer = NULL;
	struct wire_client *client = NULL;
	struct wire_error err = {0};
	int r;

	if (!memctl_no_arguments(argc, argv))
		return MEMCTL_USAGE;
	r = wire_client_open(ctl->socket, ANSWER_MOST_US, &client);
	if (r == 0) {
		r = call_reset(client, &answer, &err);
		wire_client_close(client);
		if (r < 0) {
			log_err("memd: %s", r == -EREMOTEIO ? err.desc : strerror(-r));
			return MEMCTL_FAILED;
		}
	} else {
		r = restore_journal(ctl, &answer);
		if (r == -EWOULDBLOCK) {
			log_err("%s does not answer, but a memd holds the journal beside it: it "
				"is restoring the host, which may take minutes, or stuck; try "
				"again, and stop it if that does not help",
				ctl->socket);
			return MEMCTL_UNREACHABLE;
		}
		if (r == -EXDEV) {
			log_err("the journal beside %s is of a memd for another root (--sysroot): "
				"nothing of it is restored to this host",
				ctl->socket);
			return MEMCTL_FAILED;
		}
		if (r < 0 && r != -EIO) {
			log_err("journal beside %s: %s", ctl->socket, strerror(-r));
			return MEMCTL_FAILED;
		}
	}
	if (ctl->json)
		memctl_print_json(answer);
	else
		show(answer);
	if (r < 0)
		log_err("some settings could not be restored; they stay in the journal");
	return r < 0 ? MEMCTL_FAILED : MEMCTL_OK;
}
