// SPDX-License-Identifier: Apache-2.0
/*
 * memctl reset: bring host settings back. A running daemon does it and stands still afterwards;
 * without one the journal it left beside its socket is enough.
 */
#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

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

/* Says what takes so long, unless it is over by then. Not by a signal: that would interrupt the
 * kernel in it. */
struct teller {
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool runs, over;
};

static void *tell(void *arg)
{
	struct teller *teller = arg;
	struct timespec until;
	int r = 0;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += TELL_AFTER_S;
	pthread_mutex_lock(&teller->lock);
	while (!teller->over && r == 0)
		r = pthread_cond_timedwait(&teller->wake, &teller->lock, &until);
	if (!teller->over)
		log_warn("still restoring; where KSM must unmerge all that it has merged, that "
			 "takes "
			 "the kernel about a second for each GiB");
	pthread_mutex_unlock(&teller->lock);
	return NULL;
}

static void tell_begin(struct teller *teller)
{
	*teller = (struct teller){.lock = PTHREAD_MUTEX_INITIALIZER,
				  .wake = PTHREAD_COND_INITIALIZER};
	teller->runs = pthread_create(&teller->thread, NULL, tell, teller) == 0;
}

static void tell_end(struct teller *teller)
{
	if (!teller->runs)
		return;
	pthread_mutex_lock(&teller->lock);
	teller->over = true;
	pthread_cond_signal(&teller->wake);
	pthread_mutex_unlock(&teller->lock);
	pthread_join(teller->thread, NULL);
}

static bool any_failed(json_object *answer)
{
	json_object *list = json_get_array(answer, "restored");

	for (size_t i = 0; list && i < json_object_array_length(list); i++) {
		const char *result = json_get_str(json_object_array_get_idx(list, i), "result");

		if (result && strcmp(result, "failed") == 0)
			return true;
	}
	return false;
}

/* By the daemon, 1: there is none. */
static int call_daemon(const struct memctl *ctl, json_object **ret_answer)
{
	struct wire_client *client = NULL;
	struct wire_error err = {0};
	struct teller teller;
	int r;

	if (wire_client_open(ctl->socket, ANSWER_MOST_US, &client) < 0)
		return 1;
	wire_client_set_timeout(client, RESET_MOST_US);
	tell_begin(&teller);
	r = wire_client_call(client, "reset", NULL, ret_answer, &err);
	tell_end(&teller);
	wire_client_close(client);
	if (r < 0)
		log_err("memd: %s", r == -EREMOTEIO ? err.desc : strerror(-r));
	return r;
}

/* From the journal of one that is dead. */
static enum memctl_exit explain_journal(const struct memctl *ctl, int error)
{
	if (error == -EWOULDBLOCK) {
		log_err("%s does not answer, but a memd holds the journal beside it: it is "
			"restoring "
			"the host, which may take minutes, or stuck; try again, and stop it if "
			"that "
			"does not help",
			ctl->socket);
		return MEMCTL_UNREACHABLE;
	}
	if (error == -EXDEV)
		log_err("the journal beside %s is of a memd for another root (--sysroot): nothing "
			"of it is restored to this host",
			ctl->socket);
	else
		log_err("journal beside %s: %s", ctl->socket, strerror(-error));
	return MEMCTL_FAILED;
}

enum memctl_exit memctl_reset(const struct memctl *ctl, int argc, char **argv)
{
	AUTO_JSON json_object *answer = NULL;
	struct teller teller;
	bool failed;
	int r, journal = 0;

	if (!memctl_no_arguments(argc, argv))
		return MEMCTL_USAGE;
	r = call_daemon(ctl, &answer);
	if (r < 0)
		return MEMCTL_FAILED;
	if (r == 1) {
		tell_begin(&teller);
		journal = restore_journal(ctl, &answer);
		tell_end(&teller);
	}
	if (journal < 0 && journal != -EIO)
		return explain_journal(ctl, journal);
	if (ctl->json)
		memctl_print_json(answer);
	else
		show(answer);
	failed = journal < 0 || any_failed(answer);
	if (failed)
		log_err("some settings could not be restored; see above. They are tried again at "
			"the next reset");
	return failed ? MEMCTL_FAILED : MEMCTL_OK;
}
