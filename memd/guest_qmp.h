/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The QMP side of one guest, never blocking: connect, greeting, capabilities, questions, polls.
 * Peers are not trusted: garbage, floods and silence end the connection, and the next try waits
 * 1, 2, 4 ... 60 seconds. Source: QEMU docs/interop/qmp-spec, qapi/machine.json.
 */
#ifndef MEMD_GUEST_QMP_H
#define MEMD_GUEST_QMP_H

#include <stdint.h>

#include "memd/guest.h"

enum guest_request_kind {
	GUEST_REQUEST_NONE,
	GUEST_REQUEST_CAPABILITIES,
	/* setup, first round */
	GUEST_REQUEST_NAME,
	GUEST_REQUEST_STATUS,
	GUEST_REQUEST_SIZE,
	GUEST_REQUEST_PERIPHERAL,
	GUEST_REQUEST_ANONYMOUS,
	GUEST_REQUEST_MEMDEV,
	GUEST_REQUEST_CPUS,
	GUEST_REQUEST_DEVICES, /* and each tick of a guest that has one */
	/* setup, second round: the balloon */
	GUEST_REQUEST_DEFLATE_ON_OOM,
	GUEST_REQUEST_REPORTING,
	GUEST_REQUEST_INTERVAL,
	/* each tick */
	GUEST_REQUEST_BALLOON,
	GUEST_REQUEST_STATS,
	GUEST_REQUEST_RETURNED,
	GUEST_REQUEST_MAPPED,
	/* changes */
	GUEST_REQUEST_SET_INTERVAL,
	GUEST_REQUEST_SET_REQUESTED,
	GUEST_REQUEST_SET_TARGET,
	GUEST_REQUEST_SET_MERGE,
	GUEST_REQUEST_QUERY_MERGE,
	GUEST_REQUEST_PLACE,
	GUEST_REQUEST_QUERY_PLACE,
	GUEST_REQUEST_CANCEL_PLACE,
	GUEST_REQUEST_COUNT
};
const char *guest_request_name(enum guest_request_kind kind);

/* Connect now; what comes later comes through the event loop. */
void guest_qmp_connect(struct guest *guest, uint64_t now_us);

/* Close the connection, say why (NULL: as wished), try again later. */
void guest_qmp_drop(struct guest *guest, const char *why);

/* Deadlines: marks a guest late, drops one that has been silent for ten times the deadline. */
void guest_qmp_check(struct guest *guest, uint64_t now_us);

/* Ask for this tick's numbers, unless an earlier question is still open. */
void guest_qmp_poll(struct guest *guest, uint64_t now_us);

/*
 * Bring the guest to `bytes`, `requested` of them by its memory device (no meaning without one).
 * As guest_qmp_set_target, which asks for all that the device has.
 */
int guest_qmp_set_size(struct guest *guest, uint64_t bytes, uint64_t requested, uint64_t cookie);

/*
 * Ask for a balloon target; the answer comes to hooks.target_done with cookie. Changes the guest:
 * only act.c calls this. -ENOTCONN: no connection or no balloon; -EBUSY: too many questions open.
 */
int guest_qmp_set_target(struct guest *guest, uint64_t bytes, uint64_t cookie);

/*
 * Switch the merging of all its backends off, or of those that were switched off by this on again;
 * the answer comes to hooks.merge_done. Changes the guest: only act.c calls this. -ENOTCONN;
 * -EBUSY: an earlier one is under way, or too many questions are open; -EOPNOTSUPP: it has backends
 * that cannot be named; -EALREADY: nothing to do.
 */
int guest_qmp_set_merge(struct guest *guest, bool on, uint64_t cookie);

/*
 * Have vmm move its memory to a host node; guest->place tells how far it is, as of the last
 * guest_qmp_ask_place(). Changes the guest: only place.c calls this. Errors as above.
 */
int guest_qmp_place(struct guest *guest, uint32_t node, uint64_t bytes_per_s);
void guest_qmp_ask_place(struct guest *guest);
void guest_qmp_cancel_place(struct guest *guest); /* nothing waits for the answer */

/* One of its commands has ended, with -EPIPE by the connection; for guest_qmp.c. */
void guest_merge_done(struct guest *guest, int error, const char *why);

/* Put the polling interval back to what it was before us (at a clean stop). */
void guest_qmp_restore_interval(struct guest *guest);

/* What the connection is ready for, by epoll(7); for guest_watch.c. It may be gone after this. */
void guest_qmp_ready(struct guest *guest, uint32_t events);

/* Between these commands are queued and go out by one system call. It may be gone after the latter.
 */
void guest_qmp_cork(struct guest *guest);
void guest_qmp_uncork(struct guest *guest);

/* Send one command; args is JSON, NULL: none. 0 or -errno (the connection may be gone then). */
int guest_qmp_send(struct guest *guest, enum guest_request_kind kind, const char *command,
		   const char *args, uint64_t cookie);

/* The same with an object, which is taken over. */
int guest_qmp_send_json(struct guest *guest, enum guest_request_kind kind, const char *command,
			json_object *args, uint64_t cookie);

#endif
