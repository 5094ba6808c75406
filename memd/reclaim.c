// SPDX-License-Identifier: Apache-2.0
/*
 * Nothing is journalled here: what is swapped out comes back when the guest touches it, and no
 * setting of the host is changed for it.
 */
#include "memd/reclaim.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/size.h"

uint64_t reclaim_taken_bytes(const struct act *act, const struct guest *guest)
{
	const struct footprint *foot = &guest->foot;
	uint64_t swapped = foot->swapped_bytes, cost = act->swap_cost_ppm;

	if (!guest->foot_valid || !pol_has(foot->resident_bytes))
		return POL_ABSENT;
	if (!pol_has(swapped) || !pol_has(cost))
		return foot->resident_bytes;
	return foot->resident_bytes + (uint64_t)((unsigned __int128)swapped * cost / 1000000);
}

static void say(struct act *act, const struct guest *guest, const struct pol_action *a)
{
	unsigned int dropped = 0;

	if (!log_limit_pass(&act->limit, &dropped))
		return;
	log_info("guest %s: %s %s to swap%s: %s", guest->name,
		 act->dry_run ? "would send" : "sends", SIZE_TEXT(a->from - a->to),
		 a->to2 ? ", in use or not" : "", pol_reason_text(a->reason));
}

void reclaim_act(struct act *act, const struct pol_plan *plan, uint64_t now_us)
{
	struct reclaim_order orders[RECLAIM_ORDERS_MAX];
	size_t n = 0;
	int r;

	/* Its next orders are for any memory. */
	if (act->reclaim && plan->state >= POL_STATE_HARD)
		reclaim_work_hurry(act->reclaim);
	for (size_t i = 0; i < plan->n_actions && n < RECLAIM_ORDERS_MAX; i++) {
		const struct pol_action *a = &plan->actions[i];
		struct guest *guest;
		uint64_t number;

		if (a->kind != POL_RECLAIM || act_is_told(act, a))
			continue;
		guest = guests_find(act->guests, a->guest);
		if (!guest)
			continue;
		number = account_add(act->account, a, guest->name,
				     act->dry_run ? POL_ABSENT : reclaim_taken_bytes(act, guest),
				     act_wall_us(), now_us, act->tick,
				     act->dry_run ? ACCOUNT_DRY_RUN : ACCOUNT_PENDING);
		say(act, guest, a);
		if (act->dry_run)
			continue;
		orders[n++] = (struct reclaim_order){
			.guest = guest->id,
			.number = number,
			.pid = guest->pid,
			.starttime = guest->foot.starttime,
			.bytes = a->from - a->to,
			.any = a->to2,
			.reason = a->reason,
		};
	}
	r = n ? reclaim_work_start(act->reclaim, orders, n) : 0;
	for (size_t i = 0; r < 0 && i < n; i++)
		account_settle(act->account, orders[i].number, ACCOUNT_FAILED, strerror(-r));
}

static void settle(struct act *act, const struct reclaim_order *order)
{
	const struct guest *guest = guests_find(act->guests, order->guest);
	const char *name = guest ? guest->name : "(gone)", *way;
	char text[200];

	way = order->way == RECLAIM_CGROUP ? "memory.reclaim of its cgroup" : "process_madvise";
	log_debug("guest %s: %s less resident by %s in %llu ms%s%s", name,
		  SIZE_TEXT(order->done_bytes), way, (unsigned long long)(order->took_us / 1000),
		  order->refaults ? ", ended because it reads back what went" : "",
		  order->error ? ", not all of it" : "");
	/* -EAGAIN: nothing more that is cold, or that the kernel could take. */
	if (order->error && order->error != -EAGAIN && order->error != -EINPROGRESS) {
		account_settle(act->account, order->number, ACCOUNT_FAILED,
			       strerror(-order->error));
		if (order->error != -ESRCH)
			act_complain(act, "guest %s: its memory cannot be sent to swap by %s: %s",
				     name, way, strerror(-order->error));
		return;
	}
	if (order->hurried) {
		account_settle(act->account, order->number, ACCOUNT_FAILED,
			       "the host could not wait to see what is cold");
		return;
	}
	account_settle(act->account, order->number, ACCOUNT_DONE, NULL);
	snprintf(text, sizeof(text), "%s; by %s, %s%s", pol_reason_text(order->reason), way,
		 SIZE_TEXT(order->done_bytes),
		 order->refaults ? ", ended early: the guest reads it back" : "");
	account_set_text(act->account, order->number, text);
}

void reclaim_act_done(struct act *act)
{
	const struct reclaim_order *orders;
	size_t n = reclaim_work_take(act->reclaim, &orders);

	for (size_t i = 0; i < n; i++)
		settle(act, &orders[i]);
}

void reclaim_snapshot(const struct act *act, uint64_t now_us, struct pol_host *host)
{
	host->reclaim_bytes = host->reclaim_us = POL_ABSENT;
	host->reclaim_busy = false;
	if (act->reclaim) {
		host->reclaim_bytes = reclaim_work_bytes(act->reclaim);
		host->reclaim_us = reclaim_work_us(act->reclaim);
		host->reclaim_busy = reclaim_work_is_busy(act->reclaim);
	}
	for (enum pol_rung rung = POL_RUNG_NONE; rung < POL_RUNG_COUNT; rung++)
		host->rung_ppm[rung] = account_kept_ppm(act->account, rung, now_us);
}
