// SPDX-License-Identifier: Apache-2.0
/* See pool.h. One pool is resized at a time. */
#include "memd/pool.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/kfile.h"
#include "common/size.h"
#include "memd/hugepage.h"
#include "memd/pool_impl.h"

/* While nothing is to be done about them. */
#define WATCH_EVERY_US (10 * USEC_PER_SEC)

int pools_open(struct act *act, pool_write_fn write, struct pools **ret_pools)
{
	struct pools *pools = calloc(1, sizeof(*pools));
	int r;

	if (!pools)
		return -ENOMEM;
	pools->act = act;
	pools->write = write;
	pools->next_id = 1;
	r = worker_open(pool_work_run, 0, &pools->worker);
	if (r < 0)
		free(pools);
	else
		*ret_pools = pools;
	return r;
}

void pools_close(struct pools *pools)
{
	void *job = NULL;

	if (!pools)
		return;
	worker_close(pools->worker, &job);
	free(job);
	free(pools);
}

/* ---- changing ---- */

static uint64_t add_entry(struct pools *pools, const struct pools_host *host, size_t i,
			  uint64_t now_us)
{
	const struct pol_pool *pool = &pools->in.pools[i];
	struct act *act = pools->act;
	struct pol_action action = {
		.kind = POL_POOL,
		.from = pool->total,
		.to = pools->plan.orders[i].pages,
		.to2 = pool->page_bytes,
		.to3 = pool->node,
		.reason = pools->plan.orders[i].why,
		.state = host->state,
		.available_bytes = host->host->available_bytes,
		.working_set_bytes = POL_ABSENT,
		.entitled_bytes = POL_ABSENT,
	};
	char text[200];
	uint64_t number;

	if (act->dry_run && act_is_told(act, &action))
		return 0;
	if (action.to < action.from)
		action.gain_bytes = (action.from - action.to) * pool->page_bytes;
	number = account_add(act->account, &action, NULL, POL_ABSENT, act_wall_us(), now_us,
			     act->tick, act->dry_run ? ACCOUNT_DRY_RUN : ACCOUNT_PENDING);
	snprintf(text, sizeof(text), "pages of %s on node %d: %s", SIZE_TEXT(pool->page_bytes),
		 pool->node == HUGEPAGE_ANY_NODE ? 0 : (int)pool->node,
		 pol_reason_text(action.reason));
	account_set_text(act->account, number, text);
	log_info("%s pool of huge pages %" PRIu64 " -> %" PRIu64 ", %s",
		 act->dry_run ? "would resize the" : "resizing the", action.from, action.to, text);
	return number;
}

static int journal(struct pools *pools, const struct pool_job *job, uint64_t pages)
{
	char path[POOL_PATH_MAX], was[24], ours[24];

	pool_path(job->node, job->page_bytes, "nr_hugepages", path, sizeof(path));
	snprintf(was, sizeof(was), "%" PRIu64, job->before);
	snprintf(ours, sizeof(ours), "%" PRIu64, pages);
	return undo_record(pools->act->undo, path, was, ours);
}

static int start(struct pools *pools, size_t i)
{
	struct pool_job *job = calloc(1, sizeof(*job));
	int r;

	if (!job)
		return -ENOMEM;
	job->write = pools->write;
	job->rootfd = pools->act->rootfd;
	job->node = pools->in.pools[i].node;
	job->page_bytes = pools->in.pools[i].page_bytes;
	job->pages = pools->plan.orders[i].pages;
	job->before = pools->in.pools[i].total;
	pools->last = *job;
	r = journal(pools, job, job->pages);
	if (r == 0)
		r = worker_start(pools->worker, job);
	if (r < 0)
		free(job);
	return r;
}

static void carry_out(struct pools *pools, const struct pools_host *host, uint64_t now_us)
{
	size_t which = POL_POOLS_MAX;
	int r;

	if (pools->active || pools->act->stopped || pools->in.mode != POL_POOL_MANAGE)
		return;
	/* What somebody waits for comes first. */
	for (size_t i = 0; i < pools->in.n_pools; i++)
		if (pol_has(pools->plan.orders[i].pages) &&
		    (which == POL_POOLS_MAX || pools->plan.orders[i].why == POL_WHY_POOL_PENDING))
			which = i;
	if (which == POL_POOLS_MAX)
		return;
	pools->number = add_entry(pools, host, which, now_us);
	if (pools->act->dry_run)
		return;
	r = start(pools, which);
	if (r == 0) {
		pools->active = true;
		return;
	}
	account_settle(pools->act->account, pools->number, ACCOUNT_FAILED, strerror(-r));
	act_complain(pools->act, "a pool of huge pages cannot be resized: %s", strerror(-r));
	pol_pools_tell(&pools->policy, pools->last.node, pools->last.page_bytes, false, now_us);
}

static void take_result(struct pools *pools, uint64_t now_us)
{
	AUTO_FREE struct pool_job *job = pools->active ? worker_take(pools->worker) : NULL;
	struct pools_known *known;
	bool grew, done;
	char text[160];

	if (!job)
		return;
	pools->active = false;
	grew = job->pages > job->before;
	done = job->error == 0 && (grew ? job->after >= job->pages : job->after <= job->pages);
	pol_pools_tell(&pools->policy, job->node, job->page_bytes, done, now_us);
	known = pools_known_of(pools, job->node, job->page_bytes);
	if (known && job->error == 0) {
		known->set = job->after - (job->surplus < job->after ? job->surplus : job->after);
		known->failed = false;
		(void)journal(pools, job, job->after);
	} else if (known) {
		known->failed = true; /* it may have come part of the way: that is no one else */
	}
	if (job->error < 0)
		snprintf(text, sizeof(text), "%s", strerror(-job->error));
	else
		snprintf(text, sizeof(text), "it came to %" PRIu64 " of %" PRIu64 " pages%s",
			 job->after, job->pages,
			 grew ? "" : ", for so many are in use or reserved");
	account_settle(pools->act->account, pools->number, done ? ACCOUNT_DONE : ACCOUNT_FAILED,
		       done ? NULL : text);
	if (!done)
		log_warn("pool of huge pages of %s on node %d: %s", SIZE_TEXT(job->page_bytes),
			 job->node == HUGEPAGE_ANY_NODE ? 0 : (int)job->node, text);
}

/* ---- the queue ---- */

static void forget(struct pools *pools, size_t i)
{
	pools->n_waiting--;
	memmove(&pools->waiting[i], &pools->waiting[i + 1],
		(pools->n_waiting - i) * sizeof(pools->waiting[0]));
}

static void forget_gone(struct pools *pools, uint64_t now_us)
{
	for (size_t i = pools->n_waiting; i-- > 0;)
		if (now_us - pools->waiting[i].seen_us >
		    (pools->waiting[i].want.granted ? POOL_TAKING_US : POOL_FORGET_US))
			forget(pools, i);
}

static void step(struct pools *pools, const struct config *config, const struct pools_host *host,
		 uint64_t now_us)
{
	pools->looked_us = now_us;
	take_result(pools, now_us);
	forget_gone(pools, now_us);
	pools_look(pools, config, host);
	pol_pools_decide(&pools->policy, &pools->in, now_us, &pools->plan);
	carry_out(pools, host, now_us);
}

void pools_tick(struct pools *pools, const struct config *config, const struct pools_host *host,
		uint64_t now_us)
{
	bool watch = pools && config->huge_pages == POL_POOL_WATCH && !pools->empty &&
		     now_us - pools->looked_us >= WATCH_EVERY_US;

	if (!pools || pools->act->stopped)
		return;
	if (watch || config->huge_pages == POL_POOL_MANAGE || pools->n_waiting || pools->active)
		step(pools, config, host, now_us);
}

static struct pools_waiting *find_waiting(struct pools *pools, const struct pools_want *want)
{
	for (size_t i = 0; i < pools->n_waiting; i++)
		if (pools->waiting[i].key == want->key &&
		    strcmp(pools->waiting[i].name, want->name) == 0 &&
		    pools->waiting[i].want.page_bytes == want->page_bytes &&
		    pools->waiting[i].want.nodes == want->nodes)
			return &pools->waiting[i];
	return NULL;
}

/* "node 1: 312 of 512 pages of 2 MiB free: the host has not so much memory to spare there" */
static void say(const struct pol_pending *want, uint64_t have, enum pol_pool_why why, char *buf,
		size_t n)
{
	char nodes[128], list[96];

	if (want->nodes)
		snprintf(nodes, sizeof(nodes), "node %s",
			 kfile_list_format(&want->nodes, 64, list, sizeof(list)));
	else
		snprintf(nodes, sizeof(nodes), "all nodes");
	snprintf(buf, n, "%s: %" PRIu64 " of %" PRIu64 " pages of %s are free: %s", nodes, have,
		 want->pages, SIZE_TEXT(want->page_bytes), pol_pool_text(why));
}

static json_object *answer_json(const struct pools *pools, size_t i)
{
	static const char *const states[] = {[POL_POOL_READY] = "ready",
					     [POL_POOL_WAIT] = "waiting",
					     [POL_POOL_REFUSED] = "refused"};
	const struct pol_pending *want = &pools->waiting[i].want;
	json_object *one = json_object_new_object();
	char text[320];

	say(want, pools->plan.answers[i].have_pages, pools->plan.answers[i].why, text,
	    sizeof(text));
	json_add_str(one, "name", pools->waiting[i].name);
	json_add_str(one, "state", states[pools->plan.answers[i].answer]);
	json_add_str(one, "why", text);
	json_add_u64(one, "page_bytes", want->page_bytes);
	json_add_u64(one, "want_pages", want->pages);
	json_add_u64(one, "have_pages", pools->plan.answers[i].have_pages);
	json_add_u64(one, "retry_us", pools->plan.answers[i].retry_us);
	return one;
}

int pools_ask(struct pools *pools, const struct config *config, const struct pools_host *host,
	      const struct pools_want *want, uint64_t now_us, json_object **ret_answer)
{
	struct pools_waiting *waiting;
	size_t i;

	forget_gone(pools, now_us);
	waiting = find_waiting(pools, want);
	if (want->done) {
		if (waiting)
			forget(pools, (size_t)(waiting - pools->waiting));
		*ret_answer = json_object_new_object();
		json_add_i64(*ret_answer, "schema", 1);
		json_add_str(*ret_answer, "state", "forgotten");
		return 0;
	}
	if (!waiting) {
		if (pools->n_waiting == POL_PENDING_MAX)
			return -EAGAIN;
		waiting = &pools->waiting[pools->n_waiting++];
		*waiting = (struct pools_waiting){.key = want->key};
		waiting->want = (struct pol_pending){.id = pools->next_id++,
						     .page_bytes = want->page_bytes,
						     .nodes = want->nodes,
						     .prefer = want->prefer};
		snprintf(waiting->name, sizeof(waiting->name), "%s", want->name);
	}
	waiting->want.pages = want->pages;
	waiting->want.granted = false; /* it asks again: somebody was faster */
	waiting->seen_us = now_us;
	i = (size_t)(waiting - pools->waiting);
	step(pools, config, host, now_us);
	*ret_answer = answer_json(pools, i);
	json_add_i64(*ret_answer, "schema", 1);
	if (pools->plan.answers[i].answer == POL_POOL_READY)
		waiting->want.granted = true;
	else if (pools->plan.answers[i].answer == POL_POOL_REFUSED)
		forget(pools, i);
	return 0;
}

json_object *pools_json(struct pools *pools, const struct config *config,
			const struct pools_host *host, uint64_t now_us)
{
	static const char *const modes[] = {
		[POL_POOL_OFF] = "off", [POL_POOL_WATCH] = "watch", [POL_POOL_MANAGE] = "manage"};
	json_object *doc = json_object_new_object(), *list = json_object_new_array();
	json_object *waiting = json_object_new_array();

	json_add_str(doc, "mode", modes[config->huge_pages]);
	if (pools)
		step(pools, config, host, now_us);
	for (size_t i = 0; pools && i < pools->in.n_pools; i++) {
		const struct pol_pool *pool = &pools->in.pools[i];
		uint64_t wanted = pools->plan.orders[i].pages;
		json_object *one = json_object_new_object();

		json_add_u64(one, "node", pool->node == HUGEPAGE_ANY_NODE ? 0 : pool->node);
		json_add_u64(one, "page_bytes", pool->page_bytes);
		json_add_u64(one, "total_pages", pool->total);
		json_add_u64(one, "free_pages", pool->free);
		json_add_u64(one, "found_pages", pool->base);
		json_add_u64(one, "wanted_pages", pol_has(wanted) ? wanted : pool->total);
		json_add_str(one, "why",
			     pol_has(wanted) ? pol_reason_text(pools->plan.orders[i].why) : NULL);
		json_object_array_add(list, one);
	}
	for (size_t i = 0; pools && i < pools->n_waiting; i++)
		json_object_array_add(waiting, answer_json(pools, i));
	json_object_object_add(doc, "pools", list);
	json_object_object_add(doc, "waiting", waiting);
	return doc;
}
