// SPDX-License-Identifier: Apache-2.0
/*
 * A tick that does not count: host and guests as they are now, a copy of the policy, its plan, and
 * what could be taken beyond that. It allocates, but not in a tick.
 */
#include "memd/plan.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/size.h"
#include "memd/account.h"
#include "policy/outlook.h"

/* What a question is asked of. */
struct scene {
	struct pol *pol;
	struct pol_host host;
	struct pol_guest *guests;
	uint64_t now_us;
};

static void scene_close(struct scene *scene)
{
	pol_free(scene->pol);
	free(scene->guests);
}

static int scene_open(const struct daemon *daemon, struct scene *ret_scene)
{
	struct scene scene = {
		.pol = pol_copy(daemon->pol),
		.host = daemon->snapshot,
		.guests = calloc(GUESTS_MAX, sizeof(*scene.guests)),
		.now_us = clock_now_us(),
	};

	if (!scene.pol || !scene.guests) {
		scene_close(&scene);
		return -ENOMEM;
	}
	/* The host as it is now if it can be read, else as the last tick saw it. */
	host_sense(daemon->host, &scene.host);
	if (daemon->ksm_aside)
		scene.host.ksm.present = false;
	scene.host.guests = scene.guests;
	scene.host.n_guests = guests_snapshot(&daemon->guests, scene.now_us, scene.guests,
					      GUESTS_MAX, &scene.host.ksm.mergeable_any);
	*ret_scene = scene;
	return 0;
}

static const char *name_of(const struct scene *scene, uint64_t id)
{
	for (size_t i = 0; id && i < scene->host.n_guests; i++)
		if (scene->guests[i].id == id)
			return scene->guests[i].name;
	return NULL;
}

static json_object *host_json(const struct scene *scene, const struct pol_plan *plan)
{
	json_object *one = json_object_new_object();

	json_add_str(one, "state", pol_state_name(plan->state));
	json_add_u64(one, "memory_bytes", scene->host.memory_bytes);
	json_add_u64(one, "available_bytes", scene->host.available_bytes);
	json_add_u64(one, "need_bytes", plan->need_bytes);
	json_add_u64(one, "high_bytes", plan->high_bytes);
	json_add_u64(one, "soft_bytes", plan->soft_bytes);
	json_add_u64(one, "hard_bytes", plan->hard_bytes);
	json_add_u64(one, "low_bytes", plan->low_bytes);
	json_add_u64(one, "fall_bytes_per_second", plan->fall_bytes_per_s);
	return one;
}

static json_object *actions_json(const struct scene *scene, const struct pol_plan *plan)
{
	json_object *list = json_object_new_array();

	for (size_t i = 0; i < plan->n_actions; i++) {
		json_object *one = json_object_new_object();

		account_describe(one, &plan->actions[i], name_of(scene, plan->actions[i].guest),
				 NULL);
		json_object_array_add(list, one);
	}
	return list;
}

/* What guests could give: host bytes by their balloons; bytes to swap, and host bytes by that. */
struct room {
	uint64_t balloon, swap, swap_gain;
};

/* Each guest, and in *ret_room what all of them could give. */
static json_object *guests_json(const struct daemon *daemon, const struct scene *scene,
				const struct pol_plan *plan, struct room *ret_room)
{
	json_object *list = json_object_new_array();

	*ret_room = (struct room){0};
	for (size_t i = 0; i < plan->n_views; i++) {
		const struct pol_view *view = &plan->views[i];
		const struct guest *guest = guests_find(&daemon->guests, view->guest);
		json_object *one = json_object_new_object();
		const char *why = NULL;
		struct pol_spare spare;

		pol_spare(scene->pol, i, &spare);
		if (spare.keep == POL_KEEP_ALONE && guest)
			guest_is_managed(guest, &why);
		json_add_str(one, "name", scene->guests[i].name);
		json_add_u64(one, "memory_bytes", scene->guests[i].memory_bytes);
		json_add_u64(one, "actual_bytes", scene->guests[i].actual_bytes);
		json_add_u64(one, "target_bytes", view->target_bytes);
		json_add_u64(one, "floor_bytes", view->floor_bytes);
		json_add_u64(one, "spare_bytes", spare.guest_bytes);
		json_add_u64(one, "spare_gain_bytes", spare.host_bytes);
		json_add_u64(one, "swap_spare_bytes", spare.swap_bytes);
		json_add_u64(one, "swap_spare_gain_bytes", spare.swap_gain_bytes);
		json_add_bool(one, "spare", spare.keep == POL_KEEP_NONE);
		json_add_str(one, "why", why ? why : pol_keep_text(spare.keep));
		json_object_array_add(list, one);
		ret_room->balloon += spare.host_bytes;
		ret_room->swap += spare.swap_bytes;
		ret_room->swap_gain += spare.swap_gain_bytes;
	}
	return list;
}

/* What there is for another guest: above what is kept free, and what others could give up. */
static json_object *room_json(const struct scene *scene, const struct pol_plan *plan,
			      const struct room *room)
{
	json_object *one = json_object_new_object();
	uint64_t us_per_gib, swap = pol_swap_room(scene->pol, &us_per_gib), gain = room->swap_gain;
	uint64_t free = scene->host.available_bytes > plan->high_bytes
				? scene->host.available_bytes - plan->high_bytes
				: 0;

	json_add_u64(one, "available_bytes", free);
	json_add_u64(one, "balloon_bytes", room->balloon);
	json_add_u64(one, "total_bytes", free + room->balloon);
	/* Each guest's alone fits into swap; together they may not. */
	if (room->swap > swap)
		gain = (uint64_t)((unsigned __int128)gain * swap / room->swap);
	else
		swap = room->swap;
	json_add_u64(one, "swap_bytes", swap);
	json_add_u64(one, "swap_gain_bytes", gain);
	json_add_u64(one, "swap_cost_us", (uint64_t)((unsigned __int128)swap * us_per_gib / GIB));
	return one;
}

static json_object *payers_json(const struct scene *scene, const uint64_t *before,
				uint64_t *ret_taken)
{
	json_object *list = json_object_new_array();

	*ret_taken = 0;
	for (size_t i = 0; i < scene->host.n_guests; i++) {
		uint64_t now = scene->guests[i].actual_bytes;
		json_object *one;

		if (!pol_has(now) || !pol_has(before[i]) || now >= before[i])
			continue;
		one = json_object_new_object();
		json_add_str(one, "name", scene->guests[i].name);
		json_add_u64(one, "from_bytes", before[i]);
		json_add_u64(one, "to_bytes", now);
		json_object_array_add(list, one);
		*ret_taken += before[i] - now;
	}
	return list;
}

static int add_outlook(const struct daemon *daemon, uint64_t more_bytes, json_object *doc)
{
	struct scene scene;
	struct pol_outlook outlook;
	uint64_t before[GUESTS_MAX] = {0}, taken;
	json_object *one, *payers;
	int r = scene_open(daemon, &scene);

	if (r < 0)
		return r;
	for (size_t i = 0; i < scene.host.n_guests; i++)
		before[i] = scene.guests[i].actual_bytes;
	r = pol_outlook(scene.pol, &scene.host, scene.guests, scene.now_us, more_bytes, &outlook);
	if (r == 0) {
		payers = payers_json(&scene, before, &taken);
		one = json_object_new_object();
		json_add_u64(one, "guest_memory_bytes", more_bytes);
		json_add_bool(one, "fits", outlook.fits);
		json_add_str(one, "worst_state", pol_state_name(outlook.worst));
		json_add_str(one, "state", pol_state_name(outlook.end));
		json_add_u64(one, "least_available_bytes", outlook.least_bytes);
		json_add_u64(one, "available_bytes", outlook.end_bytes);
		json_add_u64(one, "missing_bytes", outlook.missing_bytes);
		json_add_u64(one, "seconds", outlook.seconds);
		json_add_u64(one, "taken_bytes", taken);
		json_add_u64(one, "swapped_bytes", outlook.swapped_bytes);
		json_add_u64(one, "swap_cost_us", outlook.swap_us);
		json_object_object_add(one, "taken_from", payers);
		json_object_object_add(doc, "outlook", one);
	}
	scene_close(&scene);
	return r;
}

static const char *mode_name(const struct daemon *daemon)
{
	return daemon->act.stopped ? "stopped" : daemon->options->dry_run ? "dry-run" : "active";
}

int plan_query(const struct daemon *daemon, uint64_t more_bytes, json_object **ret_document,
	       struct wire_error *err)
{
	AUTO_JSON json_object *doc = json_object_new_object();
	const struct pol_plan *plan = NULL;
	struct scene scene;
	struct room room;
	int r;

	if (!daemon->sensed)
		return wire_fail(err, -EAGAIN, NULL,
				 "the host has not been looked at yet; try again in a second");
	r = scene_open(daemon, &scene);
	if (r < 0)
		return wire_fail(err, r, NULL, "no memory to make a plan in");
	r = pol_step(scene.pol, &scene.host, scene.now_us, &plan);
	if (r == 0) {
		json_add_i64(doc, "schema", 1);
		json_add_str(doc, "mode", mode_name(daemon));
		json_object_object_add(doc, "host", host_json(&scene, plan));
		json_object_object_add(doc, "actions", actions_json(&scene, plan));
		json_object_object_add(doc, "guests", guests_json(daemon, &scene, plan, &room));
		json_object_object_add(doc, "room", room_json(&scene, plan, &room));
	}
	scene_close(&scene);
	if (r == 0 && pol_has(more_bytes))
		r = add_outlook(daemon, more_bytes, doc);
	else
		json_object_object_add(doc, "outlook", NULL);
	if (r < 0)
		return wire_fail(err, r, NULL, "the policy refuses what there is to see: %s",
				 strerror(-r));
	*ret_document = TAKE_PTR(doc);
	return 0;
}
