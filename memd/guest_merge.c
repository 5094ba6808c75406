// SPDX-License-Identifier: Apache-2.0
/* Switching a guest's merging by its monitor: backend by backend, or by chunks. */
#include <errno.h>
#include <stdio.h>

#include "common/clock.h"
#include "memd/chunk.h"
#include "memd/guest_qmp.h"

/* One of the switches of a backend has ended; the last one tells, and asks how it is now. */
void guest_merge_done(struct guest *guest, int error, const char *why)
{
	struct guests_hooks *hooks = &guest->all->hooks;

	if (error && error != -EPIPE)
		guest->merge_refused_us = clock_now_us();
	if (!guest->merge_open || --guest->merge_open > 0)
		return;
	guest->merge_set_us = clock_now_us();
	if (hooks->merge_done)
		hooks->merge_done(hooks->ctx, guest, guest->merge_cookie, error, why);
}

static int set_backend(struct guest *guest, const struct guest_backend *backend, bool on)
{
	char path[sizeof(backend->id) + 16];
	json_object *args;

	snprintf(path, sizeof(path), "/objects/%s", backend->id);
	args = json_object_new_object();
	json_add_str(args, "path", path);
	json_add_str(args, "property", "merge");
	json_add_bool(args, "value", on);
	return guest_qmp_send_json(guest, GUEST_REQUEST_SET_MERGE, "qom-set", args, 0);
}

/* All chunks at once: those chosen, if the guest may be merged. */
static int set_chunks(struct guest *guest, bool on)
{
	json_object *args = json_object_new_object();
	int r;

	json_object_object_add(args, "ranges", chunk_ranges(guest->chunks, on));
	for (size_t i = 0; i < guest->n_backends; i++)
		guest->backends[i].ours |= guest->backends[i].merge;
	guest->merge_open++;
	r = guest_qmp_send_json(guest, GUEST_REQUEST_SET_MERGE, "__memd-merge", args, 0);
	if (r == -EBUSY)
		guest->merge_open--;
	if (r == 0) {
		guest->chunks->allowed = on;
		guest->chunks->dirty = false;
	}
	return r;
}

int guest_qmp_set_merge(struct guest *guest, bool on, uint64_t cookie)
{
	unsigned int sent = 0;
	int r = 0;

	if (guest->phase != GUEST_READY)
		return -ENOTCONN;
	if (guest->merge_open)
		return -EBUSY;
	if (!guest_can_switch_merge(guest))
		return -EOPNOTSUPP;
	guest->merge_cookie = cookie;
	if (chunk_is_used(guest))
		return set_chunks(guest, on);
	for (size_t i = 0; i < guest->n_backends && r == 0; i++) {
		struct guest_backend *backend = &guest->backends[i];

		if (on ? !backend->ours : !backend->merge)
			continue;
		backend->ours |= !on;
		guest->merge_open++;
		r = set_backend(guest, backend, on);
		if (r == -EBUSY)
			guest->merge_open--;
		sent += r == 0;
	}
	/* What was sent before the connection broke has been told of already. */
	if (sent && r == -EBUSY)
		return 0;
	return r < 0 ? r : sent ? 0 : -EALREADY;
}
