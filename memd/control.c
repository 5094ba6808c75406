// SPDX-License-Identifier: Apache-2.0
/* The control socket: a table of commands over the wire server, and the server on the loop. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>

#include "common/clock.h"
#include "common/log.h"
#include "memd/control.h"
#include "memd/guest_reply.h"
#include "memd/huge_report.h"
#include "memd/plan.h"
#include "memd/numa_report.h"
#include "memd/report.h"

#define DRAIN_US 200000ULL

static int query_probe(void *ctx, json_object *args, json_object **ret_value,
		       struct wire_error *err)
{
	struct daemon *daemon = ctx;

	(void)args;
	if (!daemon->probe)
		return wire_fail(err, -EIO, NULL, "this host could not be probed; see the log");
	*ret_value = json_object_get(daemon->probe);
	return 0;
}

static int query_status(void *ctx, json_object *args, json_object **ret_value,
			struct wire_error *err)
{
	(void)args;
	(void)err;
	*ret_value = report_status(ctx);
	return 0;
}

static int query_guests(void *ctx, json_object *args, json_object **ret_value,
			struct wire_error *err)
{
	(void)args;
	(void)err;
	*ret_value = report_guests(ctx);
	return 0;
}

static int query_report(void *ctx, json_object *args, json_object **ret_value,
			struct wire_error *err)
{
	struct daemon *daemon = ctx;

	(void)args;
	if (!daemon->sensed)
		return wire_fail(err, -EAGAIN, NULL,
				 "the host has not been looked at yet; try again in a second");
	*ret_value = report_report(daemon);
	return 0;
}

static int query_explain(void *ctx, json_object *args, json_object **ret_value,
			 struct wire_error *err)
{
	struct daemon *daemon = ctx;
	const char *guest = json_get_str(args, "guest");
	uint64_t limit = ACCOUNT_MAX;
	bool known = !guest;
	json_object *doc, *decisions;

	json_get_u64(args, "limit", &limit);
	decisions = account_json(&daemon->account, guest, (size_t)limit);
	for (size_t i = 0; i < daemon->guests.n && !known; i++)
		known = strcmp(daemon->guests.v[i]->name, guest) == 0;
	if (!known && json_object_array_length(decisions) == 0) {
		json_object_put(decisions);
		return wire_fail(err, -ENOENT, NULL, "there is no guest '%.64s' (see query-guests)",
				 guest);
	}
	doc = json_object_new_object();
	json_add_i64(doc, "schema", 1);
	json_object_object_add(doc, "decisions", decisions);
	*ret_value = doc;
	return 0;
}

static int query_plan(void *ctx, json_object *args, json_object **ret_value, struct wire_error *err)
{
	uint64_t more_bytes = POL_ABSENT;

	json_get_u64(args, "guest-memory", &more_bytes);
	if (pol_has(more_bytes) && (more_bytes == 0 || more_bytes > GUEST_BYTES_MAX))
		return wire_fail(err, -ERANGE, NULL, "no guest has so much memory");
	return plan_query(ctx, more_bytes, ret_value, err);
}

static int query_numa(void *ctx, json_object *args, json_object **ret_value, struct wire_error *err)
{
	(void)args;
	(void)err;
	daemon_numa_look_at_all(ctx);
	*ret_value = numa_report(ctx);
	return 0;
}

static int query_place(void *ctx, json_object *args, json_object **ret_value,
		       struct wire_error *err)
{
	return numa_report_place(ctx, args, ret_value, err);
}

static int want_pool(void *ctx, json_object *args, json_object **ret_value, struct wire_error *err)
{
	return huge_report_want(ctx, args, ret_value, err);
}

static int reset(void *ctx, json_object *args, json_object **ret_value, struct wire_error *err)
{
	struct daemon *daemon = ctx;

	(void)args;
	if (daemon->options->dry_run)
		return wire_fail(err, -EPERM, NULL,
				 "a dry run has changed nothing, so there is nothing to reset");
	*ret_value = daemon_reset(daemon);
	return 0;
}

static int quit(void *ctx, json_object *args, json_object **ret_value, struct wire_error *err)
{
	struct daemon *daemon = ctx;

	(void)args;
	(void)ret_value;
	(void)err;
	log_info("stopping (quit)");
	sd_event_exit(daemon->event, 0);
	return 0;
}

static const struct wire_arg explain_args[] = {
	{"guest", WIRE_STRING, true},
	{"limit", WIRE_U64, true},
	{0},
};

static const struct wire_arg plan_args[] = {
	{"guest-memory", WIRE_U64, true},
	{0},
};

static const struct wire_arg place_args[] = {
	{"memory", WIRE_U64, false},
	{"cpus", WIRE_U64, true},
	{"domain", WIRE_STRING, true},
	{"pages", WIRE_STRING, true},
	{"beside", WIRE_STRING, true},
	{"name", WIRE_STRING, true},
	{0},
};

static const struct wire_arg want_pool_args[] = {
	{"name", WIRE_STRING, false},  {"process", WIRE_U64, false},
	{"pages", WIRE_STRING, false}, {"memory", WIRE_U64, false},
	{"nodes", WIRE_ARRAY, true},   {"prefer", WIRE_ARRAY, true},
	{"done", WIRE_BOOL, true},     {0},
};

static const struct wire_command commands[] = {
	{"query-probe", query_probe, NULL, false},
	{"query-status", query_status, NULL, false},
	{"query-guests", query_guests, NULL, false},
	{"query-report", query_report, NULL, false},
	{"query-explain", query_explain, explain_args, false},
	{"query-plan", query_plan, plan_args, false},
	{"query-numa", query_numa, NULL, false},
	{"query-place", query_place, place_args, false},
	{"want-pool", want_pool, want_pool_args, false},
	{"reset", reset, NULL, true},
	{"quit", quit, NULL, true},
	{0},
};

static int on_io(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct daemon *daemon = userdata;

	(void)source;
	(void)fd;
	(void)revents;
	wire_server_process(daemon->server);
	return 0;
}

int control_open(struct daemon *daemon)
{
	struct wire_server_options options = {
		.path = daemon->config->socket,
		.package = "memd " MEMD_VERSION,
		.mode = 0660,
		.commands = commands,
		.ctx = daemon,
	};
	int r;

	sscanf(MEMD_VERSION, "%u.%u.%u", &options.major, &options.minor, &options.micro);
	r = wire_server_new(&options, &daemon->server);
	if (r == -EADDRINUSE)
		log_err("%s: somebody answers there already; give memd another socket",
			options.path);
	else if (r < 0)
		log_err("%s: cannot listen: %s", options.path, wire_server_why(r));
	if (r < 0)
		return r;
	return sd_event_add_io(daemon->event, NULL, wire_server_fd(daemon->server), EPOLLIN, on_io,
			       daemon);
}

void control_close(struct daemon *daemon)
{
	if (daemon->server)
		wire_server_drain(daemon->server, DRAIN_US);
	wire_server_free(daemon->server);
	daemon->server = NULL;
}
