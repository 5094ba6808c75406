// SPDX-License-Identifier: Apache-2.0
/*
 * Standing aside: one owner per knob. When another program sets KSM or balloons, or moves processes
 * between nodes, memd puts back what it has changed there and leaves it alone until that program is
 * gone.
 */
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "memd/daemon.h"
#include "memd/merge.h"

#define MANAGERS_EVERY_US (60 * USEC_PER_SEC)

static const struct manager *find_manager(const struct daemon *daemon, unsigned int field)
{
	for (int i = 0; i < daemon->n_managers; i++)
		if (daemon->managers[i].fields & field)
			return &daemon->managers[i];
	return NULL;
}

static const char *describe(const struct manager *m, char *buf, size_t n)
{
	snprintf(buf, n, "%s (pid %d) sets it%s%s", m->name, (int)m->pid, m->advice ? "; " : "",
		 m->advice ? m->advice : "");
	return buf;
}

const char *daemon_ksm_aside(const struct daemon *daemon, char *buf, size_t n)
{
	const struct manager *m = find_manager(daemon, MANAGER_KSM);
	const char *why;

	if (!daemon->config->policy.ksm_manage)
		return "ksm=off in the configuration";
	if (m)
		return describe(m, buf, n);
	why = ksm_reason(host_ksm(daemon->host));
	if (!why || !ksm_has(host_ksm(daemon->host), KSM_RUN))
		return why;
	snprintf(buf, n, "KSM: unknown, not touched: %s", why);
	return buf;
}

const char *daemon_balloon_aside(const struct daemon *daemon, char *buf, size_t n)
{
	const struct manager *m = find_manager(daemon, MANAGER_BALLOON);

	if (!daemon->config->policy.balloon_manage)
		return "balloon=off in the configuration";
	return m ? describe(m, buf, n) : NULL;
}

const char *daemon_numa_aside(const struct daemon *daemon, char *buf, size_t n)
{
	const struct manager *m = find_manager(daemon, MANAGER_NUMA);

	if (!daemon->config->policy.numa_manage)
		return "numa=off in the configuration";
	if (m)
		return describe(m, buf, n);
	if (!daemon->act.place)
		return "this is a captured host, whose guests cannot be moved";
	/* Where there is one node only there is nothing to stand aside from. */
	return daemon->numa == POL_NUMA_FREE || daemon->numa == POL_NUMA_ONE
		       ? NULL
		       : pol_numa_text(daemon->numa);
}

/* Tell of a change of mind, and of the first time. */
static void tell(const char *what, bool before, bool after, const char *why)
{
	if (after && !before)
		log_warn("standing aside from %s: %s", what, why ? why : "not ours");
	else if (before && !after)
		log_info("taking over %s again: nobody else sets it", what);
}

/* The policy's part of the configuration, less what memd stands aside from. */
static void apply(struct daemon *daemon)
{
	daemon->policy = daemon->config->policy;
	daemon->policy.ksm_manage &= !daemon->ksm_aside && !daemon->ksm_leaving;
	daemon->policy.balloon_manage &= !daemon->balloon_aside;
	daemon->guests.balloons = daemon->policy.balloon_manage;
	daemon->policy.numa_manage &= daemon->act.place && !daemon->numa_aside;
	pol_configure(daemon->pol, &daemon->policy);
	if (daemon->record)
		record_config(daemon->record, &daemon->policy);
}

/* KSM's files are given back if they are to be, without waiting for anything: true when that is
 * done.
 */
static bool leave_ksm(struct daemon *daemon)
{
	if (!daemon->ksm_leaving || daemon->act.stopped)
		return false;
	/* What is held would be ours alone when all is unmerged, and locked. */
	if ((daemon->anchor && !anchor_let_go(daemon->anchor)) || !merge_may_restore(&daemon->act))
		return false;
	act_restore_below(&daemon->act, KSM_PATH);
	act_restore_below(&daemon->act, UNDO_KSMD_DIR);
	daemon->ksm_leaving = false;
	return true;
}

void daemon_aside_tick(struct daemon *daemon, uint64_t now_us)
{
	if (now_us - daemon->managers_us >= MANAGERS_EVERY_US)
		daemon_look_around(daemon, now_us);
	else if (leave_ksm(daemon))
		apply(daemon);
}

void daemon_look_around(struct daemon *daemon, uint64_t now_us)
{
	bool ksm_was = daemon->ksm_aside, balloon_was = daemon->balloon_aside;
	bool numa_was = daemon->numa_aside, ksm_managed = daemon->policy.ksm_manage;
	char why[256];
	int n = manager_scan(host_rootfd(daemon->host), daemon->managers, MANAGERS_MAX);

	/* Who could not be looked for is not gone: those that were seen stay. */
	if (n >= 0)
		daemon->n_managers = n > MANAGERS_MAX ? MANAGERS_MAX : n;
	daemon->managers_us = now_us;
	daemon->ksm_aside = find_manager(daemon, MANAGER_KSM) != NULL;
	daemon->balloon_aside = find_manager(daemon, MANAGER_BALLOON) != NULL;
	daemon->numa_aside = find_manager(daemon, MANAGER_NUMA) != NULL;
	tell("KSM", ksm_was, daemon->ksm_aside, daemon_ksm_aside(daemon, why, sizeof(why)));
	tell("balloons", balloon_was, daemon->balloon_aside,
	     daemon_balloon_aside(daemon, why, sizeof(why)));
	tell("moves between NUMA nodes", numa_was, daemon->numa_aside,
	     daemon_numa_aside(daemon, why, sizeof(why)));
	if ((daemon->numa_aside && !numa_was) || !daemon->config->policy.numa_manage)
		daemon_numa_leave(daemon);
	/* Once: who has KSM then may merge, and what is left over is for the end. */
	if (ksm_managed && (daemon->ksm_aside || !daemon->config->policy.ksm_manage))
		daemon->ksm_leaving = true;
	leave_ksm(daemon);
	apply(daemon);
}
