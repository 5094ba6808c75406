// SPDX-License-Identifier: Apache-2.0
/* Huge pages beside the tick: the pools, what is broken of transparent ones, and what is split. */
#include <errno.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/size.h"
#include "memd/daemon.h"
#include "memd/pool.h"
#include "memd/repair.h"

/* Guests that start bring new ones. What looking costs the worker makes up for: it works a tenth of
 * the time. */
#define SPLIT_EVERY_US	(10 * USEC_PER_SEC)
#define SPLIT_FAILED_US (600 * USEC_PER_SEC)
/* What was split is not made whole again before: the host may be at its edge. */
#define SPLIT_REST_US (600 * USEC_PER_SEC)

static const char *split_hint(int error)
{
	if (error == -EPERM)
		return ": it takes CAP_SYS_NICE";
	if (error == -EACCES)
		return ": it takes CAP_SYS_PTRACE";
	return error == -EOPNOTSUPP ? ": it takes Linux 6.7" : "";
}

static void take_split(struct daemon *daemon, uint64_t now_us)
{
	struct split_result *sum = &daemon->splits.sum, result;

	if (split_take(daemon->split, &result) < 0)
		return;
	if (result.error && result.error != sum->error)
		daemon_error(daemon, "guests' huge pages cannot be split: %s%s",
			     strerror(-result.error), split_hint(result.error));
	sum->error = result.error;
	sum->split_bytes += result.split_bytes;
	if (result.split_bytes)
		daemon->splits.last_us = now_us;
	/* One that cannot be is no reason to leave the others. */
	daemon->splits.again_us =
		now_us + (result.error && !result.split_bytes ? SPLIT_FAILED_US : SPLIT_EVERY_US);
}

/* Not those of vmm: it would not know, and does not make whole what it has not broken itself. */
static bool may_split(const struct daemon *daemon, const struct guest *guest)
{
	return guest->known && guest->pid > 0 && !guest->ours && !guest->pool &&
	       !(guest->survey.full && guest->survey.pinned) &&
	       config_manages(daemon->config, guest->name);
}

static void split_tick(struct daemon *daemon, uint64_t now_us)
{
	struct split_guest guests[GUESTS_MAX];
	size_t n = 0;

	if (!daemon->split)
		return;
	take_split(daemon, now_us);
	if (daemon->act.stopped || !daemon->splits.wanted) {
		split_cancel(daemon->split);
		return;
	}
	if (now_us < daemon->splits.again_us)
		return;
	for (size_t i = 0; i < daemon->guests.n; i++) {
		const struct guest *guest = daemon->guests.v[i];

		if (may_split(daemon, guest))
			guests[n++] = (struct split_guest){guest->id, guest->pid, guest->starttime};
	}
	if (n > 0)
		(void)split_start(daemon->split, guests, n); /* or at the next tick */
}

/* For repairs the host is short for a while after huge pages were split. */
static enum pol_state state_for_repairs(const struct daemon *daemon, uint64_t now_us)
{
	bool split = daemon->splits.wanted ||
		     (daemon->splits.last_us && now_us - daemon->splits.last_us < SPLIT_REST_US);

	return split && daemon->state < POL_STATE_SOFT ? POL_STATE_SOFT : daemon->state;
}

void daemon_huge_tick(struct daemon *daemon, uint64_t now_us)
{
	struct pools_host pools = {&daemon->snapshot, daemon->state, daemon->high_bytes};
	struct repairs_host repairs = {&daemon->snapshot, state_for_repairs(daemon, now_us),
				       daemon->high_bytes};

	/* Before the first decision it is not known how the host is. */
	if (!daemon->sensed || !daemon->high_bytes)
		return;
	pools_tick(daemon->pools, daemon->config, &pools, now_us);
	repairs_tick(daemon->repairs, daemon->config, &repairs, now_us);
	split_tick(daemon, now_us);
}

void daemon_huge_leave(struct daemon *daemon)
{
	pools_close(daemon->pools);
	repairs_close(daemon->repairs);
	split_close(daemon->split);
	daemon->pools = NULL;
	daemon->repairs = NULL;
	daemon->split = NULL;
}
