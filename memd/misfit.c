// SPDX-License-Identifier: Apache-2.0
/* What is wrong with which guest, as one sentence each; see misfit.h. */
#include "memd/misfit.h"

#include <stdio.h>

#include "common/clock.h"
#include "common/wire.h"

/* Numbers that come and go are told of for so long after they were good again. */
#define DOUBT_US (30 * USEC_PER_SEC)
/* A guest just set up has not sent any yet. */
#define YOUNG_US (15 * USEC_PER_SEC)

void misfit_follow(struct guest *guest, uint64_t now_us)
{
	if (!guest->has_view || guest->view.stats_trusted || now_us - guest->ready_us < YOUNG_US)
		return;
	guest->doubt = guest->view.trust;
	guest->doubt_us = now_us;
}

/* Does it matter what its numbers are: would it be ballooned by them? */
static bool is_doubtful(const struct guest *guest, uint64_t now_us)
{
	if (guest->stats_rejected)
		return guest->balloon_path[0];
	return guest->doubt_us && now_us - guest->doubt_us < DOUBT_US &&
	       guest_is_managed(guest, NULL);
}

static const char *doubt_of(const struct guest *guest)
{
	return guest->stats_rejected ? "its statistics contradict what the host knows"
				     : pol_trust_text(guest->doubt);
}

/* NULL: nothing is wrong with it. */
static const char *fault_of(const struct guest *guest, uint64_t now_us, char *buf, size_t n)
{
	if (!guest_is_answering(guest) && guest->note[0]) {
		snprintf(buf, n, "%s: it is left alone until it does well again", guest->note);
		return buf;
	}
	if (guest->has_view && guest->view.stuck)
		return "its balloon does not follow: others make up for it, and it is asked again "
		       "later";
	if (is_doubtful(guest, now_us)) {
		snprintf(buf, n, "%s: nothing is taken from it", doubt_of(guest));
		return buf;
	}
	if (guest->has_view && guest->view.device_stuck)
		return "its memory device does not follow: the balloon is used instead";
	return NULL;
}

json_object *misfits_json(const struct guests *guests, uint64_t now_us)
{
	json_object *list = json_object_new_array();

	for (size_t i = 0; i < guests->n; i++) {
		const struct guest *guest = guests->v[i];
		char buf[GUEST_NOTE_MAX + 80];
		const char *why = guest->listed ? fault_of(guest, now_us, buf, sizeof(buf)) : NULL;
		json_object *one;

		if (!why)
			continue;
		one = json_object_new_object();
		json_add_str(one, "guest", guest->name);
		json_add_str(one, "why", why);
		json_object_array_add(list, one);
	}
	return list;
}
