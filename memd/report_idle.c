// SPDX-License-Identifier: Apache-2.0
/* See report_idle.h. */
#include "memd/report_idle.h"

#include "common/clock.h"

static const char *mode_name(uint32_t mode)
{
	static const char *const names[] = {
		[CONFIG_IDLE_AUTO] = "auto",
		[CONFIG_IDLE_MGLRU] = "mglru",
		[CONFIG_IDLE_OFF] = "off",
	};

	return names[mode];
}

json_object *report_idle(const struct daemon *daemon)
{
	static const struct idle_state ended = {
		.mglru_why = "memd stands still since its reset",
		.damon_why = "memd stands still since its reset",
		.cpu_ppm = POL_ABSENT,
	};
	const struct idle_state *state = daemon->idle ? idle_state(daemon->idle) : &ended;
	json_object *one = json_object_new_object(), *mglru = json_object_new_object();
	json_object *damon = json_object_new_object();

	json_add_str(one, "mode", mode_name(daemon->config->idle_tracking));
	json_add_bool(mglru, "used", !state->mglru_why);
	json_add_str(mglru, "why_not", state->mglru_why);
	json_object_object_add(one, "mglru", mglru);
	json_add_bool(damon, "used", state->watches);
	json_add_str(damon, "why_not", state->watches ? NULL : state->damon_why);
	json_add_u64(damon, "watched_guests", state->watched);
	json_add_u64(damon, "cpu_ppm", state->cpu_ppm);
	json_object_object_add(one, "damon", damon);
	return one;
}

json_object *report_guest_idle(const struct guest *guest, uint64_t now_us)
{
	const struct guest_hot *hot = &guest->hot;
	json_object *one = json_object_new_object();
	bool seen = hot->source != IDLE_NONE;

	json_add_str(one, "source", seen ? idle_source_name(hot->source) : NULL);
	json_add_u64(one, "hot_bytes", seen ? hot->bytes : POL_ABSENT);
	json_add_u64(one, "window_us", seen ? hot->window_us : POL_ABSENT);
	json_add_u64(one, "age_us",
		     seen && now_us > hot->seen_us ? now_us - hot->seen_us : POL_ABSENT);
	return one;
}
