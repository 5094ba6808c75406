// SPDX-License-Identifier: Apache-2.0
/* See repair.h. */
#include "memd/repair.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/kfile.h"
#include "common/size.h"
#include "memd/host.h"
#include "memd/worker.h"

#define REPAIRS_MAX	32
#define PIECES_EVERY_US (10 * USEC_PER_SEC)
#define HUGE_ORDER	9 /* of pages that make 2 MiB */
#define LIMIT_US	(600 * USEC_PER_SEC)

struct repair {
	uint64_t number, guest;
	char name[POL_NAME_MAX];
	uint64_t wall_us, end_us; /* end_us 0: under way */
	uint64_t asked_bytes, before_bytes, after_bytes;
	struct collapse_job result;
};

struct repairs {
	struct act *act;
	struct worker *worker;
	collapse_advise_fn advise;
	bool possible, active;
	bool allowed; /* the admin has not switched huge pages off */
	uint64_t free_huge_bytes, pieces_us;
	struct repair v[REPAIRS_MAX];
	uint64_t n; /* ever; the last at (n - 1) % REPAIRS_MAX */
};

int repairs_open(struct act *act, collapse_advise_fn advise, bool possible,
		 struct repairs **ret_repairs)
{
	struct repairs *repairs = calloc(1, sizeof(*repairs));
	int r;

	if (!repairs)
		return -ENOMEM;
	repairs->act = act;
	repairs->advise = advise;
	repairs->possible = possible;
	r = worker_open(collapse_run, 0, &repairs->worker);
	if (r < 0)
		free(repairs);
	else
		*ret_repairs = repairs;
	return r;
}

void repairs_close(struct repairs *repairs)
{
	void *job = NULL;

	if (!repairs)
		return;
	worker_close(repairs->worker, &job);
	free(job);
	free(repairs);
}

/* "Node 0, zone   Normal      3      1 ...": free blocks by order. */
static uint64_t huge_in_line(const char *line)
{
	const char *at = strstr(line, "zone");
	uint64_t bytes = 0;
	char *end;

	at = at ? at + strcspn(at, " ") : NULL;
	at = at ? at + strspn(at, " ") : NULL;
	at = at ? at + strcspn(at, " ") : NULL;
	for (unsigned int order = 0; at; order++) {
		unsigned long long n = strtoull(at, &end, 10);

		if (end == at)
			break;
		at = end;
		if (order >= HUGE_ORDER)
			bytes += (n << order) * host_page_bytes();
	}
	return bytes;
}

static void look_at_pieces(struct repairs *repairs, uint64_t now_us)
{
	char text[8192], mode[32], *save = NULL;

	if (repairs->pieces_us && now_us - repairs->pieces_us < PIECES_EVERY_US)
		return;
	repairs->pieces_us = now_us;
	repairs->free_huge_bytes = POL_ABSENT;
	/* MADV_COLLAPSE would not ask. */
	repairs->allowed = kfile_read_choice(repairs->act->rootfd,
					     "sys/kernel/mm/transparent_hugepage/enabled", mode,
					     sizeof(mode)) == 0 &&
			   strcmp(mode, "never") != 0;
	if (kfile_read(repairs->act->rootfd, "proc/buddyinfo", text, sizeof(text)) < 0)
		return;
	repairs->free_huge_bytes = 0;
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
		repairs->free_huge_bytes += huge_in_line(line);
}

static struct repair *last_of(struct repairs *repairs)
{
	return repairs->n ? &repairs->v[(repairs->n - 1) % REPAIRS_MAX] : NULL;
}

/* ---- one repair ---- */

static void begin(struct repairs *repairs, const struct config *config, struct guest *guest,
		  const struct repairs_host *host, uint64_t bytes, uint64_t gain_us,
		  uint64_t cost_us, uint64_t now_us)
{
	struct act *act = repairs->act;
	/* What its balloon holds must stay a hole. */
	bool holes = !pol_has(guest->actual_bytes) || guest->actual_bytes >= guest->memory_bytes;
	struct pol_action action = {
		.kind = POL_COLLAPSE,
		.guest = guest->id,
		.from = guest->survey.anon_huge_bytes,
		.to = guest->survey.anon_huge_bytes + bytes,
		.to2 = !holes,
		.to3 = config->huge_bytes_per_s,
		.reason = POL_WHY_HUGE_BROKEN,
		.gain_us = gain_us,
		.cost_us = cost_us,
		.state = host->state,
		.available_bytes = host->host->available_bytes,
		.working_set_bytes = POL_ABSENT,
		.entitled_bytes = POL_ABSENT,
	};
	struct collapse_job *job;
	struct repair *repair;
	uint64_t number;
	int r = -ENOMEM;

	if (act_is_told(act, &action))
		return;
	number = account_add(act->account, &action, guest->name, POL_ABSENT, act_wall_us(), now_us,
			     act->tick, act->dry_run ? ACCOUNT_DRY_RUN : ACCOUNT_PENDING);
	log_info("guest %s: %s %s of broken huge pages", guest->name,
		 act->dry_run ? "would repair" : "repairing", SIZE_TEXT(bytes));
	if (act->dry_run)
		return;
	job = calloc(1, sizeof(*job));
	if (job) {
		*job = (struct collapse_job){
			.rootfd = act->rootfd,
			.pid = guest->pid,
			.starttime = guest->starttime,
			.bytes = bytes,
			.bytes_per_s = config->huge_bytes_per_s,
			.limit_us = LIMIT_US,
			.holes = holes,
			.advise = repairs->advise,
		};
		r = worker_start(repairs->worker, job);
	}
	if (r < 0) {
		free(job);
		account_settle(act->account, number, ACCOUNT_FAILED, strerror(-r));
		return;
	}
	repairs->n++;
	repairs->active = true;
	repair = last_of(repairs);
	*repair = (struct repair){
		.number = number,
		.guest = guest->id,
		.wall_us = act_wall_us(),
		.asked_bytes = bytes,
		.before_bytes = guest->survey.anon_huge_bytes,
		.after_bytes = POL_ABSENT,
	};
	snprintf(repair->name, sizeof(repair->name), "%s", guest->name);
}

static void take_result(struct repairs *repairs, uint64_t now_us)
{
	AUTO_FREE struct collapse_job *job = repairs->active ? worker_take(repairs->worker) : NULL;
	struct repair *repair = last_of(repairs);
	struct guest *guest;
	char text[200];

	if (!job)
		return;
	repairs->active = false;
	repair->result = *job;
	repair->end_us = now_us;
	guest = guests_find(repairs->act->guests, repair->guest);
	if (guest) {
		pol_repair_tell(&guest->repair, repair->asked_bytes, job->collapsed_bytes, now_us);
		guest->survey_us = 0;
	}
	if (job->error < 0) {
		account_settle(repairs->act->account, repair->number, ACCOUNT_FAILED,
			       strerror(-job->error));
		return;
	}
	snprintf(text, sizeof(text),
		 "%s; %s made huge, %s left to merging, %s too empty, %s found no huge page",
		 pol_reason_text(POL_WHY_HUGE_BROKEN), SIZE_TEXT(job->collapsed_bytes),
		 SIZE_TEXT(job->shared_bytes), SIZE_TEXT(job->partial_bytes),
		 SIZE_TEXT(job->failed_bytes));
	account_set_text(repairs->act->account, repair->number, text);
	account_settle(repairs->act->account, repair->number, ACCOUNT_DONE, NULL);
	log_info("guest %s: %s of huge pages made whole again in %.1f s", repair->name,
		 SIZE_TEXT(job->collapsed_bytes), (double)job->took_us / USEC_PER_SEC);
}

/* The survey begun after its end tells what it brought. */
static void look_after(struct repairs *repairs)
{
	for (uint64_t i = 0; i < repairs->n && i < REPAIRS_MAX; i++) {
		struct repair *repair = &repairs->v[i];
		const struct guest *guest =
			repair->end_us && !pol_has(repair->after_bytes)
				? guests_find(repairs->act->guests, repair->guest)
				: NULL;

		if (guest && guest->survey.full && guest->survey_start_us > repair->end_us)
			repair->after_bytes = guest->survey.anon_huge_bytes;
	}
}

/* ---- whose turn it is ---- */

static struct pol_repair_host host_of(const struct repairs *repairs, const struct config *config,
				      const struct repairs_host *host, uint64_t now_us)
{
	uint64_t available = host->host->available_bytes;

	return (struct pol_repair_host){
		.on = config->huge_repair,
		.possible = repairs->possible && repairs->allowed,
		.busy = repairs->active,
		.state = host->state,
		.now_us = now_us,
		.spare_bytes = pol_has(available) && available > host->high_bytes
				       ? available - host->high_bytes
				       : 0,
		.free_huge_bytes = repairs->free_huge_bytes,
		.bytes_per_s = config->huge_bytes_per_s,
	};
}

/* May the one under way go on? It takes huge pages that are free, and minutes. */
static bool may_go_on(struct repairs *repairs, const struct config *config,
		      const struct repairs_host *host)
{
	return config->huge_repair && host->state == POL_STATE_HIGH &&
	       config_manages(config, last_of(repairs)->name);
}

void repairs_tick(struct repairs *repairs, const struct config *config,
		  const struct repairs_host *host, uint64_t now_us)
{
	struct guest *best = NULL;
	uint64_t best_bytes = 0, best_gain = 0, best_cost = 0;
	struct pol_repair_host in;

	if (!repairs || repairs->act->stopped)
		return;
	take_result(repairs, now_us);
	if (repairs->active && !may_go_on(repairs, config, host))
		worker_cancel(repairs->worker);
	look_after(repairs);
	look_at_pieces(repairs, now_us);
	in = host_of(repairs, config, host, now_us);
	for (size_t i = 0; i < host->host->n_guests; i++) {
		const struct pol_guest *seen = &host->host->guests[i];
		struct guest *guest = guests_find(repairs->act->guests, seen->id);
		uint64_t bytes, gain, cost;

		if (!guest ||
		    pol_repair_judge(&in, seen, guest->ours,
				     guest->ours || config_manages(config, guest->name),
				     &guest->repair, &bytes, &gain, &cost) != POL_REPAIR_NOW)
			continue;
		if (best && gain - cost <= best_gain - best_cost)
			continue;
		best = guest;
		best_bytes = bytes;
		best_gain = gain;
		best_cost = cost;
	}
	if (best)
		begin(repairs, config, best, host, best_bytes, best_gain, best_cost, now_us);
}

/* ---- telling ---- */

json_object *repairs_json(const struct repairs *repairs)
{
	json_object *list = json_object_new_array();
	uint64_t first = repairs && repairs->n > REPAIRS_MAX ? repairs->n - REPAIRS_MAX : 0;

	for (uint64_t i = first; repairs && i < repairs->n; i++) {
		const struct repair *repair = &repairs->v[i % REPAIRS_MAX];
		const struct collapse_job *job = &repair->result;
		json_object *one = json_object_new_object();
		bool ended = repair->end_us != 0;

		json_add_str(one, "guest", repair->name);
		json_add_u64(one, "begun_us", repair->wall_us);
		json_add_str(one, "state", !ended ? "repairing" : job->error ? "failed" : "done");
		json_add_u64(one, "asked_bytes", repair->asked_bytes);
		json_add_u64(one, "collapsed_bytes", ended ? job->collapsed_bytes : POL_ABSENT);
		json_add_u64(one, "filled_bytes", ended ? job->filled_bytes : POL_ABSENT);
		json_add_u64(one, "shared_bytes", ended ? job->shared_bytes : POL_ABSENT);
		json_add_u64(one, "partial_bytes", ended ? job->partial_bytes : POL_ABSENT);
		json_add_u64(one, "failed_bytes", ended ? job->failed_bytes : POL_ABSENT);
		json_add_u64(one, "huge_before_bytes", repair->before_bytes);
		json_add_u64(one, "huge_after_bytes", repair->after_bytes);
		json_add_u64(one, "took_us", ended ? job->took_us : POL_ABSENT);
		json_add_u64(one, "longest_us", ended ? job->longest_us : POL_ABSENT);
		json_add_str(one, "error", job->error ? strerror(-job->error) : NULL);
		json_object_array_add(list, one);
	}
	return list;
}
