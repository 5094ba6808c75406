// SPDX-License-Identifier: Apache-2.0
/* One move as a little state machine, driven by the tick. */
#include "memd/place.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/size.h"
#include "memd/guest_qmp.h"
#include "memd/pin.h"

/* Beyond what the rate allows for: then something hangs. */
#define SLOW_FACTOR 8
#define SLOW_US	    (60 * USEC_PER_SEC)
/* For the look behind it: surveys wait for their turn. */
#define LOOK_US (60 * USEC_PER_SEC)

int place_open(struct act *act, const struct nodes_cpus *cpus, struct place **ret_place)
{
	struct place *place = calloc(1, sizeof(*place));
	int r;

	if (!place)
		return -ENOMEM;
	place->act = act;
	place->cpus = cpus;
	r = worker_open(migrate_run, 0, &place->worker);
	if (r < 0)
		free(place);
	else
		*ret_place = place;
	return r;
}

void place_close(struct place *place)
{
	void *job = NULL;

	if (!place)
		return;
	worker_close(place->worker, &job);
	free(job);
	free(place);
}

static struct place_move *last_move(struct place *place)
{
	return &place->moves[(place->n_moves - 1) % PLACE_MOVES_MAX];
}

static struct place_look look_at(const struct guest *guest, uint32_t node)
{
	struct place_look look = {POL_ABSENT, POL_ABSENT, POL_ABSENT, POL_ABSENT};
	const uint64_t *bytes = guest->survey.ram_node_bytes;

	look.mapped_2m_bytes = guest->mapped_bytes[GUEST_MAPPED_2M];
	if (!guest->survey.full || !pol_has(bytes[0]))
		return look;
	look.bytes = 0;
	for (size_t i = 0; i < POL_NODES_MAX; i++)
		look.bytes += bytes[i];
	look.local_bytes = node < POL_NODES_MAX ? bytes[node] : POL_ABSENT;
	look.huge_bytes = guest->survey.anon_huge_bytes;
	return look;
}

static uint64_t local_ppm(const struct place_look *look)
{
	if (!pol_has(look->bytes) || !pol_has(look->local_bytes) || !look->bytes)
		return POL_ABSENT;
	return (uint64_t)((unsigned __int128)look->local_bytes * 1000000 / look->bytes);
}

/* ---- the end ---- */

/* What still goes on of it is to end, too. guest NULL: it is gone. */
static void end_work(struct place *place, struct guest *guest, const struct place_move *move)
{
	if (!move->by_guest)
		worker_cancel(place->worker);
	else if (guest)
		guest_qmp_cancel_place(guest);
}

static void finish(struct place *place, int error, const char *why, uint64_t now_us)
{
	struct place_move *move = last_move(place);
	/* A reset has given it another id, but its monitor still moves. */
	struct guest *guest = guests_find_process(place->act->guests, move->pid, move->starttime);

	place->active = false;
	if (move->phase == PLACE_MEMORY)
		move->took_us = now_us - move->begin_us;
	if (guest) {
		guest->numa_moving = false;
		guest->survey_us = 0;
	}
	if (error == 0) {
		move->phase = PLACE_DONE;
		account_settle(place->act->account, move->number, ACCOUNT_DONE, NULL);
		return;
	}
	end_work(place, guest, move);
	move->phase = error == -ECANCELED ? PLACE_CANCELLED : PLACE_FAILED;
	snprintf(move->error, sizeof(move->error), "%s", why ? why : strerror(-error));
	account_settle(place->act->account, move->number, ACCOUNT_FAILED, move->error);
	if (move->phase == PLACE_CANCELLED)
		log_info("guest %s: its move to node %u ends early: %s", move->name, move->to,
			 move->error);
	else
		act_complain(place->act, "guest %s: its move to node %u failed: %s", move->name,
			     move->to, move->error);
}

static void tell_result(struct place *place, struct guest *guest, uint64_t now_us)
{
	struct place_move *move = last_move(place);
	uint64_t before = local_ppm(&move->before), after;
	char text[200];

	move->after = look_at(guest, move->to);
	after = local_ppm(&move->after);
	finish(place, 0, NULL, now_us);
	if (!pol_has(before) || !pol_has(after))
		return;
	snprintf(text, sizeof(text),
		 "to node %u: %" PRIu64 ".%" PRIu64 " %% of its memory was there, now %" PRIu64
		 ".%" PRIu64 " %%; huge pages %s -> %s",
		 move->to, before / 10000, before / 1000 % 10, after / 10000, after / 1000 % 10,
		 SIZE_TEXT(move->before.huge_bytes), SIZE_TEXT(move->after.huge_bytes));
	account_set_text(place->act->account, move->number, text);
	log_info("guest %s moved %s", move->name, text);
}

/* All is there; a survey begun from now on tells what that brought. */
static void look_next(struct place_move *move, struct guest *guest, uint64_t now_us)
{
	move->phase = PLACE_LOOK;
	move->phase_us = now_us;
	move->took_us = now_us - move->begin_us;
	guest->survey_us = 0;
}

/* ---- the beginning ---- */

static uint64_t limit_us(const struct place_move *move, uint64_t rate)
{
	return SLOW_US + SLOW_FACTOR * (move->bytes / (rate ? rate : MIB) + 1) * USEC_PER_SEC;
}

static int start_worker(struct place *place, const struct place_move *move, uint64_t rate)
{
	struct migrate_job *job = calloc(1, sizeof(*job));
	int r;

	if (!job)
		return -ENOMEM;
	job->rootfd = place->act->rootfd;
	job->pid = move->pid;
	job->starttime = move->starttime;
	job->node = move->to;
	job->bytes_per_s = rate;
	job->limit_us = limit_us(move, rate);
	r = worker_start(place->worker, job);
	if (r < 0)
		free(job);
	return r;
}

/* why "": what the error says. */
static int begin(struct place *place, struct guest *guest, const struct pol_action *action,
		 char *why, size_t n)
{
	struct place_move *move = last_move(place);
	int r = pin_guest(place->act->rootfd, guest, place->cpus, move->to, place->act->dir, why,
			  n);

	if (r < 0)
		return r;
	/* Pinned alone is no move of memory; what is new comes from there by itself. */
	if (!move->bytes)
		return 1;
	return move->by_guest ? guest_qmp_place(guest, move->to, action->to3)
			      : start_worker(place, move, action->to3);
}

void place_act(struct place *place, const struct pol_action *action, uint64_t now_us)
{
	struct act *act = place ? place->act : NULL;
	struct guest *guest = act ? guests_find(act->guests, action->guest) : NULL;
	struct place_move *move;
	char why[sizeof(move->error)];
	uint64_t number;
	int r;

	if (!guest || place->active)
		return;
	number = account_add(act->account, action, guest->name, POL_ABSENT, act_wall_us(), now_us,
			     act->tick, act->dry_run ? ACCOUNT_DRY_RUN : ACCOUNT_PENDING);
	log_info("guest %s: %s %s to node %" PRIu64 ": %s", guest->name,
		 act->dry_run ? "would move" : "moving",
		 action->to2 ? SIZE_TEXT(action->to2) : "its threads", action->to,
		 pol_reason_text(action->reason));
	if (act->dry_run)
		return;
	place->n_moves++;
	place->active = true;
	move = last_move(place);
	*move = (struct place_move){
		.number = number,
		.guest = guest->id,
		.pid = guest->pid,
		.starttime = guest->starttime,
		.by_guest = guest->ours,
		.from = action->from,
		.to = (uint32_t)action->to,
		.bytes = action->to2,
		.rate = action->to3,
		.wall_us = act_wall_us(),
		.begin_us = now_us,
		.phase_us = now_us,
		.after = {POL_ABSENT, POL_ABSENT, POL_ABSENT, POL_ABSENT},
	};
	snprintf(move->name, sizeof(move->name), "%s", guest->name);
	move->before = look_at(guest, move->to);
	guest->numa_moving = true;
	r = begin(place, guest, action, why, sizeof(why));
	if (r < 0)
		finish(place, r, why[0] ? why : NULL, now_us);
	else if (r > 0)
		look_next(move, guest, now_us);
}

/* ---- under way ---- */

/* 1: the memory is there; 0: not yet; -errno with *ret_why (may stay NULL). */
static int poll_worker(struct place *place, struct place_move *move)
{
	AUTO_FREE struct migrate_job *job = worker_take(place->worker);

	if (!job)
		return 0;
	move->longest_us = job->longest_us;
	return job->error < 0 ? job->error : 1;
}

static int poll_guest(struct guest *guest, struct place_move *move, const char **ret_why)
{
	struct guest_place *place = &guest->place;

	move->longest_us = place->longest_us;
	if (place->status == GUEST_PLACE_FAILED) {
		*ret_why = place->error;
		return -EREMOTEIO;
	}
	if (place->status == GUEST_PLACE_COMPLETED)
		return 1;
	if (guest->phase == GUEST_READY)
		guest_qmp_ask_place(guest);
	return 0;
}

void place_tick(struct place *place, uint64_t now_us)
{
	struct place_move *move = place && place->active ? last_move(place) : NULL;
	struct guest *guest = move ? guests_find(place->act->guests, move->guest) : NULL;
	const char *why = NULL;
	int r;

	if (!move) {
		/* One whose guest went away while it ran, or that was cancelled. */
		if (place)
			free(worker_take(place->worker));
		return;
	}
	if (!guest || guest->pid != move->pid) {
		finish(place, -ESRCH, "the guest is gone, or was reset", now_us);
		return;
	}
	if (move->phase == PLACE_MEMORY) {
		r = move->by_guest ? poll_guest(guest, move, &why) : poll_worker(place, move);
		if (r == 0 && now_us - move->begin_us > limit_us(move, move->rate))
			r = -ETIMEDOUT;
		if (r == -ETIMEDOUT)
			why = "it does not come to an end";
		if (r < 0) {
			finish(place, r, why, now_us);
		} else if (r > 0) {
			look_next(move, guest, now_us);
		}
		return;
	}
	if (guest->survey.full && guest->survey_start_us > move->phase_us)
		tell_result(place, guest, now_us);
	else if (now_us - move->phase_us > LOOK_US)
		finish(place, 0, NULL, now_us);
}

void place_cancel(struct place *place)
{
	if (place && place->active && last_move(place)->phase == PLACE_MEMORY)
		finish(place, -ECANCELED, "memd lets go of guests; what has moved stays there",
		       clock_now_us());
}

/* ---- telling ---- */

static json_object *look_json(const struct place_look *look)
{
	json_object *one = json_object_new_object();

	json_add_u64(one, "memory_bytes", look->bytes);
	json_add_u64(one, "local_bytes", look->local_bytes);
	json_add_u64(one, "local_ppm", local_ppm(look));
	json_add_u64(one, "huge_bytes", look->huge_bytes);
	json_add_u64(one, "mapped_2m_bytes", look->mapped_2m_bytes);
	return one;
}

json_object *place_moves_json(const struct place *place)
{
	static const char *const phases[] = {
		[PLACE_MEMORY] = "moving", [PLACE_LOOK] = "looking",	    [PLACE_DONE] = "done",
		[PLACE_FAILED] = "failed", [PLACE_CANCELLED] = "cancelled",
	};
	json_object *list = json_object_new_array();
	uint64_t first = place->n_moves > PLACE_MOVES_MAX ? place->n_moves - PLACE_MOVES_MAX : 0;

	for (uint64_t i = first; i < place->n_moves; i++) {
		const struct place_move *move = &place->moves[i % PLACE_MOVES_MAX];
		json_object *one = json_object_new_object(), *from = json_object_new_array();
		bool ended = move->phase >= PLACE_DONE;

		for (uint32_t node = 0; node < 64; node++)
			if (move->from >> node & 1)
				json_object_array_add(from, json_object_new_int((int)node));
		json_add_str(one, "guest", move->name);
		json_add_u64(one, "begun_us", move->wall_us);
		json_add_str(one, "state", phases[move->phase]);
		json_object_object_add(one, "from_nodes", from);
		json_add_u64(one, "to_node", move->to);
		json_add_u64(one, "planned_bytes", move->bytes);
		json_add_u64(one, "took_us", ended ? move->took_us : POL_ABSENT);
		json_add_u64(one, "longest_slice_us", move->longest_us);
		json_object_object_add(one, "before", look_json(&move->before));
		json_object_object_add(one, "after", look_json(&move->after));
		json_add_str(one, "error", move->error[0] ? move->error : NULL);
		json_object_array_add(list, one);
	}
	return list;
}
