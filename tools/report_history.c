// SPDX-License-Identifier: Apache-2.0
/*
 * memctl report over time. The trace is the daemon's if it runs and says where it writes, else
 * that of memd.conf: a dead daemon's last day can be looked at too.
 */
#include "tools/report_history.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/kfile.h"
#include "common/log.h"
#include "memd/config.h"
#include "memd/config_value.h"
#include "tools/history.h"
#include "tools/history_show.h"
#include "tools/html.h"
#include "tools/html_report.h"
#include "tools/html_sharing.h"

#define SINCE_DEFAULT "24h"
#define ROWS_MAX      32  /* on a terminal */
#define JSON_MAX      300 /* 5 minutes each in a day */
#define PLOT_MAX      600 /* 144 s each in a day, a pixel or two */

static void hear_config(void *ctx, bool error, const char *text)
{
	(void)ctx;
	if (error)
		log_err("%s", text);
}

static enum memctl_exit trace_of_config(char *buf, size_t n)
{
	struct config *config = NULL;

	if (config_load(&config_source_default, hear_config, NULL, &config) < 0) {
		log_err("memd does not run and its configuration tells no trace; name one "
			"(--trace FILE)");
		return MEMCTL_FAILED;
	}
	snprintf(buf, n, "%s", config->trace);
	config_free(config);
	if (*buf)
		return MEMCTL_OK;
	log_err("no trace is written (memd.conf: trace=off)");
	return MEMCTL_FAILED;
}

static bool is_same_file(const char *a, const char *b)
{
	struct stat x, y;

	return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

/*
 * The trace to read, and whether it is the one the running daemon writes: only then what the
 * daemon says of this moment belongs to it.
 */
static enum memctl_exit find_trace(const struct memctl *ctl, char *buf, size_t n, bool *ret_live)
{
	AUTO_JSON json_object *status = NULL;
	const char *path;

	memctl_ask(ctl, "query-status", &status);
	path = json_get_str(json_get_obj(status, "trace"), "path");
	if (ctl->trace) {
		snprintf(buf, n, "%s", ctl->trace);
		*ret_live = path && is_same_file(path, ctl->trace);
		return MEMCTL_OK;
	}
	*ret_live = status;
	if (!status)
		return trace_of_config(buf, n);
	if (!path) {
		log_err("memd writes no trace here (memd.conf: trace=off)");
		return MEMCTL_FAILED;
	}
	snprintf(buf, n, "%s", path);
	return MEMCTL_OK;
}

static const char *advice(int error)
{
	switch (error) {
	case ENOENT:
		return "there is no such trace; memd writes one while it runs (memd.conf: trace=)";
	case ENODATA:
		return "no tick in it can be read: it is empty, damaged, or no trace of memd's";
	case EAGAIN:
		return "it is rotated faster than it can be read";
	default:
		return strerror(error);
	}
}

static enum memctl_exit read_trace(const struct memctl *ctl, const char *path, size_t buckets_max,
				   struct history **ret_history)
{
	uint64_t since_us = 0;
	char why[128];
	int r;

	if (config_value_parse(CONFIG_DURATION, NULL, USEC_PER_SEC, 0,
			       ctl->since ? ctl->since : SINCE_DEFAULT, &since_us, why,
			       sizeof(why)) < 0) {
		log_err("--since %s: %s", ctl->since, why);
		return MEMCTL_USAGE;
	}
	r = history_read(path, since_us, buckets_max, ret_history);
	if (r == 0)
		return MEMCTL_OK;
	log_err("%s: %s", path, advice(-r));
	return MEMCTL_FAILED;
}

static enum memctl_exit print_json(const struct memctl *ctl, const struct history *history,
				   const char *path, bool live)
{
	AUTO_JSON json_object *doc = NULL;

	if (live)
		memctl_ask(ctl, "query-report", &doc);
	if (!doc) {
		doc = json_object_new_object();
		json_add_i64(doc, "schema", 1);
	}
	history_json(history, path, doc);
	memctl_print_json(doc);
	return MEMCTL_OK;
}

/* SOURCE_DATE_EPOCH (reproducible-builds.org) or the end of the data: never the clock. */
static uint64_t page_time_us(const struct history *history)
{
	const char *epoch = getenv("SOURCE_DATE_EPOCH");
	char *end;
	unsigned long long seconds;

	if (!epoch || *epoch < '0' || *epoch > '9')
		return history->last_us;
	errno = 0;
	seconds = strtoull(epoch, &end, 10);
	if (*end || errno || seconds > INT64_MAX / USEC_PER_SEC)
		return history->last_us;
	return seconds * USEC_PER_SEC;
}

/* NULL with a reason in why: the page goes without. */
static struct html_sharing *look_at_sharing(const struct memctl *ctl, char *why, size_t n)
{
	AUTO_JSON json_object *guests = NULL;
	struct html_sharing *sharing = NULL;
	AUTO_FD int rootfd = kfile_open_root("/");

	memctl_ask(ctl, "query-guests", &guests);
	if (rootfd < 0)
		snprintf(why, n, "%s", strerror(-rootfd));
	else
		html_sharing_scan(rootfd, guests, &sharing, why, n);
	return sharing;
}

static enum memctl_exit write_page(const struct memctl *ctl, const struct history *history,
				   const char *path, bool live)
{
	AUTO_JSON json_object *report = NULL;
	char host[256] = "", why[HTML_WHY_MAX];
	char matrix_why[HTML_WHY_MAX] = "it can only be seen while memd runs";
	struct html_report page = {
		.host = host,
		.path = path,
		.history = history,
		.made_us = page_time_us(history),
		.matrix_why = matrix_why,
	};
	struct html_sharing *sharing = NULL;
	struct html_file *file = NULL;
	int r;

	if (live)
		memctl_ask(ctl, "query-report", &report);
	page.report = report;
	/* A trace by itself may be another host's. */
	if (live || !ctl->trace)
		gethostname(host, sizeof(host) - 1);
	if (live)
		sharing = look_at_sharing(ctl, matrix_why, sizeof(matrix_why));
	if (sharing)
		page.matrix = html_sharing_matrix(sharing);
	r = html_file_open(ctl->html, &file, why, sizeof(why));
	if (r == 0) {
		r = html_report_write(html_file_stream(file), &page);
		r = html_file_close(file, r, why, sizeof(why));
	}
	html_sharing_free(sharing);
	if (r == 0)
		return MEMCTL_OK;
	log_err("%s: %s", ctl->html, why);
	return MEMCTL_FAILED;
}

enum memctl_exit report_history(const struct memctl *ctl)
{
	size_t buckets_max = ctl->html ? PLOT_MAX : ctl->json ? JSON_MAX : ROWS_MAX;
	struct history *history = NULL;
	enum memctl_exit status;
	char path[CONFIG_PATH_MAX];
	bool live = false;

	status = find_trace(ctl, path, sizeof(path), &live);
	if (status == MEMCTL_OK)
		status = read_trace(ctl, path, buckets_max, &history);
	if (status == MEMCTL_OK && ctl->html)
		status = write_page(ctl, history, path, live);
	else if (status == MEMCTL_OK && ctl->json)
		status = print_json(ctl, history, path, live);
	else if (status == MEMCTL_OK)
		status = history_print(ctl, history, path);
	history_free(history);
	return status;
}
