// SPDX-License-Identifier: Apache-2.0
/*
 * One monitor connection as a state machine on the event loop; guest_ask.c has the questions.
 * Several may be open at once: monitors answer in order and queue at least eight. Whatever goes
 * wrong ends in guest_qmp_drop(), which never frees the guest.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "memd/chunk.h"
#include "memd/guest_ask.h"
#include "memd/guest_qmp.h"
#include "memd/guest_reply.h"
#include "memd/guest_watch.h"

/* More than this between two ticks is no monitor but a flood. Answers of a tick take 2 KiB. */
#define FLOOD_BYTES    (4ULL << 20)
#define FLOOD_MESSAGES 2000

#define BACKOFF_MAX_US	 (60 * USEC_PER_SEC)
#define BACKOFF_CLEAR_US (60 * USEC_PER_SEC)
/* File descriptors that guests do not take. */
#define FILES_RESERVED 24
/* Silent for this many deadlines: the connection is given up. */
#define SILENT_DEADLINES 10

#define POLL_INTERVAL_S 1

static const char *const request_names[GUEST_REQUEST_COUNT] = {
	[GUEST_REQUEST_NONE] = "nothing",
	[GUEST_REQUEST_CAPABILITIES] = "qmp_capabilities",
	[GUEST_REQUEST_NAME] = "query-name",
	[GUEST_REQUEST_STATUS] = "query-status",
	[GUEST_REQUEST_SIZE] = "query-memory-size-summary",
	[GUEST_REQUEST_PERIPHERAL] = "qom-list /machine/peripheral",
	[GUEST_REQUEST_ANONYMOUS] = "qom-list /machine/peripheral-anon",
	[GUEST_REQUEST_MEMDEV] = "query-memdev",
	[GUEST_REQUEST_CPUS] = "query-cpus-fast",
	[GUEST_REQUEST_DEVICES] = "query-memory-devices",
	[GUEST_REQUEST_DEFLATE_ON_OOM] = "qom-get deflate-on-oom",
	[GUEST_REQUEST_REPORTING] = "qom-get free-page-reporting",
	[GUEST_REQUEST_INTERVAL] = "qom-get guest-stats-polling-interval",
	[GUEST_REQUEST_BALLOON] = "query-balloon",
	[GUEST_REQUEST_STATS] = "qom-get guest-stats",
	[GUEST_REQUEST_RETURNED] = "__memd-query-returned",
	[GUEST_REQUEST_MAPPED] = "query-stats",
	[GUEST_REQUEST_SET_INTERVAL] = "qom-set guest-stats-polling-interval",
	[GUEST_REQUEST_SET_REQUESTED] = "qom-set requested-size",
	[GUEST_REQUEST_SET_TARGET] = "balloon",
	[GUEST_REQUEST_SET_MERGE] = "qom-set merge",
	[GUEST_REQUEST_QUERY_MERGE] = "__memd-query-merge",
	[GUEST_REQUEST_PLACE] = "__memd-place",
	[GUEST_REQUEST_QUERY_PLACE] = "__memd-query-place",
	[GUEST_REQUEST_CANCEL_PLACE] = "__memd-cancel-place",
};

const char *guest_request_name(enum guest_request_kind kind)
{
	return kind < GUEST_REQUEST_COUNT ? request_names[kind] : "?";
}

static bool is_poll(unsigned int kind)
{
	return kind == GUEST_REQUEST_BALLOON || kind == GUEST_REQUEST_STATS ||
	       kind == GUEST_REQUEST_RETURNED;
}

static void poll_done(struct guest *guest)
{
	struct guests *all = guest->all;

	if (guest->polls_left == 0 || --guest->polls_left > 0)
		return;
	if (all->polling > 0 && --all->polling == 0 && all->hooks.polled)
		all->hooks.polled(all->hooks.ctx);
}

static void set_note(struct guest *guest, const char *why)
{
	unsigned int dropped = 0;

	if (strcmp(guest->note, why) == 0)
		return;
	snprintf(guest->note, sizeof(guest->note), "%s", why);
	if (*why && log_limit_pass(&guest->limit, &dropped))
		log_warn("guest %s (%s): %s", guest->name, guest->path, why);
}

static void fail_targets(struct guest *guest, const char *why)
{
	struct guests_hooks *hooks = &guest->all->hooks;

	if (guest->chunks)
		guest->chunks->asking = false;
	while (guest->merge_open)
		guest_merge_done(guest, -EPIPE, why ? why : "connection closed");

	for (size_t i = 0; i < GUEST_REQUEST_MAX; i++)
		if (guest->requests[i].kind == GUEST_REQUEST_SET_TARGET && hooks->target_done)
			hooks->target_done(hooks->ctx, guest, guest->requests[i].cookie, -EPIPE,
					   why ? why : "connection closed");
	memset(guest->requests, 0, sizeof(guest->requests));
}

void guest_qmp_drop(struct guest *guest, const char *why)
{
	uint64_t delay = USEC_PER_SEC << (guest->failures < 6 ? guest->failures : 6);

	if (guest->conn)
		guest_watch_set(guest, 0);
	guest->watched = 0;
	wire_conn_free(TAKE_PTR(guest->conn));
	fail_targets(guest, why);
	if (why) {
		guest->failures++;
		set_note(guest, why);
	} else {
		delay = 0;
	}
	guest->retry_us = clock_now_us() + (delay > BACKOFF_MAX_US ? BACKOFF_MAX_US : delay);
	guest->phase = GUEST_WAITING;
	guest->late = false;
	while (guest->polls_left > 0)
		poll_done(guest);
}

/* Sends what is queued; what the socket does not take, it will when it says so. */
static int send_out(struct guest *guest)
{
	int r = wire_conn_flush(guest->conn);

	if (r < 0) {
		guest_qmp_drop(guest, "connection broken");
		return r;
	}
	return guest_watch_set(guest, EPOLLIN | (r > 0 ? EPOLLOUT : 0));
}

int guest_qmp_send(struct guest *guest, enum guest_request_kind kind, const char *command,
		   const char *args, uint64_t cookie)
{
	struct guest_request *slot = NULL;
	int r;

	for (size_t i = 0; i < GUEST_REQUEST_MAX && !slot; i++)
		if (guest->requests[i].kind == GUEST_REQUEST_NONE)
			slot = &guest->requests[i];
	if (!guest->conn || !slot)
		return guest->conn ? -EBUSY : -ENOTCONN;
	r = wire_conn_queue_command(guest->conn, command, args, ++guest->next_request);
	if (r < 0) {
		guest_qmp_drop(guest, r == -ENOBUFS ? "takes no more of our commands"
						    : "connection broken");
		return r;
	}
	/* Should it be lost in this, then its sender hears of it by the return code alone: the slot
	 * is filled after. */
	r = guest->corked ? 0 : send_out(guest);
	if (r < 0)
		return r;
	*slot = (struct guest_request){
		.id = guest->next_request,
		.kind = kind,
		.sent_us = clock_now_us(),
		.cookie = cookie,
	};
	if (is_poll(kind))
		guest->polls_left++;
	return 0;
}

int guest_qmp_send_json(struct guest *guest, enum guest_request_kind kind, const char *command,
			json_object *args, uint64_t cookie)
{
	AUTO_JSON json_object *taken = args;
	const char *text = json_object_to_json_string_ext(
		taken, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);

	return text ? guest_qmp_send(guest, kind, command, text, cookie) : -ENOMEM;
}

void guest_qmp_cork(struct guest *guest)
{
	guest->corked = true;
}

void guest_qmp_uncork(struct guest *guest)
{
	guest->corked = false;
	if (guest->conn)
		send_out(guest);
}

static bool any_open(const struct guest *guest)
{
	for (size_t i = 0; i < GUEST_REQUEST_MAX; i++)
		if (guest->requests[i].kind != GUEST_REQUEST_NONE)
			return true;
	return false;
}

static void become_ready(struct guest *guest)
{
	struct guests *all = guest->all;
	bool first = !guest->known;

	if (!pol_has(guest->memory_bytes)) {
		guest_qmp_drop(guest, "does not say how much memory it has");
		return;
	}
	guest->phase = GUEST_READY;
	guest->known = true;
	guest->merge_refused_us = 0;
	guest->ready_us = clock_now_us();
	set_note(guest, "");
	/* Statistics come only while the hypervisor polls for them. Somebody's faster or equal
	 * interval is left; a slower one would leave us with old numbers. Ours is sent again with
	 * each connection: the last one may have broken before the guest had read it. */
	if (guest->balloon_path[0] && !all->dry_run && pol_has(guest->poll_interval_s) &&
	    (guest->poll_interval_s == 0 || guest->poll_interval_s > 2) &&
	    guest_ask_interval(guest, POLL_INTERVAL_S) == 0)
		guest->poll_interval_set = true;
	if (first && all->hooks.changed)
		all->hooks.changed(all->hooks.ctx, guest, "found");
}

/* After each answer: may setup go on? */
static void advance(struct guest *guest)
{
	if (guest->phase == GUEST_SETUP && !any_open(guest)) {
		if (guest->balloon_path[0] && !pol_has(guest->poll_interval_s))
			guest_ask_balloon(guest);
		if (guest->phase == GUEST_SETUP && !any_open(guest))
			become_ready(guest);
	}
}

static void forget_if_other(struct guest *guest, pid_t pid)
{
	struct footprint foot;
	uint64_t start = POL_ABSENT;

	if (pid > 0 && footprint_quick(guest->all->rootfd, pid, &foot) == 0)
		start = foot.starttime;
	/* One that was killed left its socket's file, and is not known any more. */
	if ((guest->known || guest->pid > 0) && (guest->pid != pid || guest->starttime != start)) {
		guest_forget(guest);
		guest_begin_life(guest);
		guest->release = false; /* that was the former process */
	}
	guest->pid = pid;
	guest->starttime = start;
}

static void take_answer(struct guest *guest, json_object *message, uint64_t now_us)
{
	struct guests_hooks *hooks = &guest->all->hooks;
	struct guest_request request = {0};
	json_object *value = NULL, *error = json_get_obj(message, "error");
	const char *desc = error ? json_get_str(error, "desc") : NULL;
	uint64_t id;

	if (json_get_u64(message, "id", &id)) {
		for (size_t i = 0; i < GUEST_REQUEST_MAX; i++) {
			if (guest->requests[i].kind == GUEST_REQUEST_NONE ||
			    guest->requests[i].id != id)
				continue;
			request = guest->requests[i];
			guest->requests[i].kind = GUEST_REQUEST_NONE;
			break;
		}
	}
	if (request.kind == GUEST_REQUEST_NONE) {
		guest_qmp_drop(guest, "answers what nobody asked");
		return;
	}
	guest->late = false;
	if (error)
		guest_reply_error(guest, request.kind, json_get_str(error, "class"), desc);
	else if (json_object_object_get_ex(message, "return", &value))
		guest_reply_value(guest, request.kind, value, now_us);
	if (request.kind == GUEST_REQUEST_SET_TARGET && hooks->target_done)
		hooks->target_done(hooks->ctx, guest, request.cookie, error ? -EREMOTEIO : 0, desc);
	if (request.kind == GUEST_REQUEST_SET_MERGE) {
		guest_merge_done(guest, error ? -EREMOTEIO : 0, desc);
		if (!guest->merge_open)
			guest_qmp_send(guest, GUEST_REQUEST_MEMDEV, "query-memdev", NULL, 0);
	}
	if (request.kind == GUEST_REQUEST_CAPABILITIES) {
		if (error) {
			guest_qmp_drop(guest, "refuses QMP capabilities negotiation");
			return;
		}
		guest->phase = GUEST_SETUP;
		guest->poll_interval_s =
			guest->poll_interval_set ? guest->poll_interval_s : POL_ABSENT;
		guest_ask_facts(guest);
	}
	/* An answer to an earlier tick's poll no longer counts for this one. */
	if (is_poll(request.kind) && request.cookie == guest->ticks)
		poll_done(guest);
	advance(guest);
}

static void take_message(struct guest *guest, json_object *message, uint64_t now_us)
{
	if (guest->phase == GUEST_GREETING && json_get_obj(message, "QMP")) {
		if (guest_reply_greeting(guest, message) < 0)
			guest_qmp_drop(guest, "sends a greeting that is not QMP's");
		else
			guest_qmp_send(guest, GUEST_REQUEST_CAPABILITIES, "qmp_capabilities", NULL,
				       0);
	} else if (json_get_str(message, "event")) {
		guest_reply_event(guest, message);
	} else if (json_object_object_get_ex(message, "return", NULL) ||
		   json_get_obj(message, "error")) {
		take_answer(guest, message, now_us);
	} else {
		guest_qmp_drop(guest, "sends messages that are not QMP's");
	}
}

/* Take what has been read apart: one read is at most 64 KiB, so other sources get their turn. */
static void drain(struct guest *guest, uint64_t now_us)
{
	int r = 1;

	for (unsigned int i = 0; guest->conn; i++) {
		json_object *message = NULL;

		r = wire_conn_next(guest->conn, &message);
		if (r == 0)
			return;
		if (r < 0) {
			guest_qmp_drop(guest, r == -EMSGSIZE ? "sends messages of more than 1 MiB"
							     : "sends what is not JSON");
			return;
		}
		if (++guest->messages_in > FLOOD_MESSAGES)
			guest_qmp_drop(guest, "floods us with messages");
		else
			take_message(guest, message, now_us);
		json_object_put(message);
	}
}

void guest_qmp_ready(struct guest *guest, uint32_t events)
{
	uint64_t now_us = clock_now_us();
	int r;

	if (events & EPOLLOUT && send_out(guest) < 0)
		return;
	if (!(events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
		return;
	r = wire_conn_read(guest->conn);
	if (r == -EAGAIN)
		return;
	if (r <= 0) {
		/* A guest that ends while in use is nothing to hold against it. */
		bool calm = guest->phase == GUEST_READY;

		drain(guest, now_us);
		if (guest->conn)
			guest_qmp_drop(guest,
				       calm ? NULL : "closes the connection before it answers");
		return;
	}
	guest->bytes_in += (uint64_t)r;
	if (guest->bytes_in > FLOOD_BYTES)
		guest_qmp_drop(guest, "floods us");
	else
		drain(guest, now_us);
}

static void not_there(struct guest *guest)
{
	struct guests_hooks *hooks = &guest->all->hooks;

	if (guest->listed && hooks->changed)
		hooks->changed(hooks->ctx, guest, "gone");
	guest->listed = guest->known = false;
	guest->failures = 0;
}

/* Guests do not take the last ones: memctl's connections and the kernel's files need some. */
static bool leaves_files(int fd)
{
	struct rlimit limit;

	return getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur == RLIM_INFINITY ||
	       (rlim_t)fd + FILES_RESERVED < limit.rlim_cur;
}

void guest_qmp_connect(struct guest *guest, uint64_t now_us)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	AUTO_FD int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct ucred peer = {0};
	socklen_t len = sizeof(peer);

	if (fd < 0 ? errno == EMFILE : !leaves_files(fd)) {
		guest_qmp_drop(guest,
			       "cannot be connected to: memd may open no more files (LimitNOFILE)");
		return;
	}
	if (fd < 0) {
		guest->retry_us = now_us + USEC_PER_SEC;
		return;
	}
	memcpy(address.sun_path, guest->path, sizeof(guest->path));
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
		if (errno == ECONNREFUSED || errno == ENOENT)
			not_there(guest); /* a dead socket file: tried again each tick */
		else if (errno == EACCES || errno == EPERM)
			guest_qmp_drop(guest,
				       "may not be connected to (permissions of its socket)");
		else
			guest_qmp_drop(guest, "does not accept connections");
		return;
	}
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0)
		peer.pid = 0;
	guest->listed = true;
	forget_if_other(guest, peer.pid);
	guest->conn = wire_conn_new(fd);
	if (!guest->conn)
		return;
	TAKE_FD(fd);
	guest->watched = 0;
	guest->corked = false;
	if (guest_watch_set(guest, EPOLLIN) < 0) {
		guest_qmp_drop(guest, "cannot be watched");
		return;
	}
	guest->phase = GUEST_GREETING;
	guest->ready_us = now_us; /* since when a greeting is waited for */
	guest->late = false;
}

void guest_qmp_check(struct guest *guest, uint64_t now_us)
{
	uint64_t limit = guest->all->config->guest_timeout_us, oldest = UINT64_MAX;
	char why[GUEST_NOTE_MAX];

	if (!guest->conn)
		return;
	if (guest->phase == GUEST_GREETING && !any_open(guest)) {
		if (now_us - guest->ready_us > limit)
			guest_qmp_drop(guest, "does not greet: it hangs, or its monitor is in use "
					      "by another client");
		return;
	}
	for (size_t i = 0; i < GUEST_REQUEST_MAX; i++)
		if (guest->requests[i].kind != GUEST_REQUEST_NONE &&
		    guest->requests[i].sent_us < oldest)
			oldest = guest->requests[i].sent_us;
	if (oldest == UINT64_MAX || now_us < oldest + limit) {
		if (guest->phase == GUEST_READY && !guest->late)
			set_note(guest, "");
		if (guest->failures > 0 && guest->phase == GUEST_READY &&
		    now_us > guest->ready_us + BACKOFF_CLEAR_US)
			guest->failures = 0;
		return;
	}
	guest->late = true;
	snprintf(why, sizeof(why), "does not answer within %" PRIu64 " ms", limit / 1000);
	set_note(guest, why);
	if (guest->phase != GUEST_READY || now_us > oldest + SILENT_DEADLINES * limit)
		guest_qmp_drop(guest, why);
}
