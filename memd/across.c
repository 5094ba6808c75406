// SPDX-License-Identifier: Apache-2.0
/* The looks as a worker's job, on a copy of the list; see across.h. */
#include "memd/across.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/wire.h"
#include "memd/estimate_live.h"
#include "memd/frame_node.h"
#include "memd/sharing.h"
#include "memd/sharing_sum.h"
#include "memd/worker.h"

#define REST_FACTOR 19
#define NEAR	    10 /* SLIT: a node to itself */
#define FAR	    20 /* what is taken for a distance not told */
/* Of the pages, so many are read at first, and the fingerprints of so many kept: 16 MiB. */
#define FRACTION  0.5
#define KEPT_MOST (512U << 10)

struct across {
	int rootfd;
	across_estimate_fn estimate;
	struct worker *worker;
};

struct job {
	const struct across *across;
	const atomic_bool *cancel;
	struct across_look look;
	struct across_result result;
	struct frame_nodes nodes;
	uint64_t copies; /* more, with a tree for each node */
	int64_t *far;	 /* by guest: pages times tenths of an access */
	size_t n;
	struct across_guest guests[];
};

/* Its only home; -1: it has several, or none is known. */
static int home_of(const struct across_guest *guest)
{
	return guest->home && !(guest->home & (guest->home - 1)) ? __builtin_ctzll(guest->home)
								 : -1;
}

static int64_t distance(const struct job *job, int from, uint32_t to)
{
	uint64_t d = FAR;

	if ((uint32_t)from == to)
		return NEAR;
	if (from < POL_NODES_MAX && to < POL_NODES_MAX && job->look.distance[from][to] >= NEAR &&
	    pol_has(job->look.distance[from][to]))
		d = job->look.distance[from][to];
	return (int64_t)d;
}

/* How much farther than at home it is for the guest's vCPUs on that node, in tenths of an access.
 */
static int64_t farther(const struct job *job, const struct across_guest *guest, int home,
		       uint32_t node)
{
	int from = guest->cpu_node >= 0 ? guest->cpu_node : home;

	return distance(job, from, node) - distance(job, from, (uint32_t)home);
}

/* ---- merged across: the merged pages ---- */

/* A tree for each node would have a copy on each home of those who map it. */
static void on_merged(void *ctx, uint64_t frame, const struct sharing_share *shares, size_t n)
{
	struct job *job = ctx;
	uint32_t node = frame_node(&job->nodes, frame);
	uint64_t homes = 0;

	for (size_t i = 0; i < n && shares[i].owner < job->n; i++) {
		const struct across_guest *guest = &job->guests[shares[i].owner];
		int home = home_of(guest);

		if (home < 0)
			continue;
		homes |= 1ULL << home;
		if (node != UINT32_MAX)
			job->far[shares[i].owner] +=
				farther(job, guest, home, node) * shares[i].pages;
	}
	if (homes)
		job->copies += (uint64_t)__builtin_popcountll(homes) - 1;
}

static int look_at_merged(struct job *job)
{
	struct sharing_options options = {.merged = on_merged, .cancel = job->cancel, .ctx = job};
	AUTO_FREE struct sharing_target *targets = NULL;
	struct sharing *sharing = NULL;
	uint64_t page_bytes;
	int r = frame_nodes_read(job->across->rootfd, &job->nodes);

	if (r < 0)
		return r;
	targets = calloc(job->n + 1, sizeof(*targets));
	if (!targets)
		return -ENOMEM;
	for (size_t i = 0; i < job->n; i++)
		targets[i] = (struct sharing_target){.pid = job->guests[i].pid,
						     .starttime = job->guests[i].starttime,
						     .id = job->guests[i].id};
	r = sharing_scan(job->across->rootfd, targets, job->n, &options, &sharing);
	if (r < 0)
		return r;
	page_bytes = sharing->page_bytes;
	sharing_free(sharing);
	job->result.gain_bytes = job->copies * page_bytes;
	for (size_t i = 0; i < job->n; i++)
		if (job->far[i] > 0)
			job->result.far[i].far_bytes = (uint64_t)job->far[i] * page_bytes / NEAR;
	return 0;
}

/* ---- merged within nodes: contents ---- */

static int on_pace(void *ctx, uint64_t passed_pages, double *fraction)
{
	const struct job *job = ctx;

	(void)passed_pages;
	(void)fraction;
	return atomic_load(job->cancel) ? -ECANCELED : 0;
}

static int sample(struct job *job, struct estimate_live *live, bool apart, struct estimate *ret)
{
	struct estimate_options options = {
		.seed = 1,
		.fraction = FRACTION,
		.max_sharing = job->look.max_sharing,
		.use_zero_pages = job->look.use_zero_pages,
		.max_kept = KEPT_MOST,
		.pace = on_pace,
		.ctx = job,
	};
	struct estimate_source source;

	estimate_live_source(live, apart, &source);
	return job->across->estimate(&source, job->n, &options, ret);
}

static uint64_t beyond(const struct estimate_part *both, const struct estimate_part *apart)
{
	if (both->error || apart->error || both->saved.bytes <= apart->saved.bytes)
		return 0;
	return both->saved.bytes - apart->saved.bytes;
}

/* How much farther than its own the other homes are, on average, ppm of an access. */
static uint64_t mean_farther(const struct job *job, size_t of, int own)
{
	int64_t sum = 0, others = 0;
	uint64_t seen = 0;

	for (size_t i = 0; i < job->n; i++) {
		int home = home_of(&job->guests[i]);

		if (home < 0 || home == own || seen >> home & 1)
			continue;
		seen |= 1ULL << home;
		sum += farther(job, &job->guests[of], own, (uint32_t)home);
		others++;
	}
	return sum > 0 ? (uint64_t)(sum * 1000000 / NEAR / others) : 0;
}

/*
 * Of a content that m guests map on each of k nodes, merging across saves k - 1 copies, 1 in m of
 * what is far then: with (k - 1) m of k m mappings elsewhere, m times what it saves. How often a
 * content is mapped on a node KSM's own counters tell, on average.
 */
static uint64_t far_of(const struct job *job, size_t i, uint64_t beyond_bytes, uint64_t most)
{
	int home = home_of(&job->guests[i]);
	double mappers = 1, far;

	if (home < 0)
		return 0;
	if (job->look.shared)
		mappers += (double)job->look.sharing / (double)job->look.shared;
	far = (double)beyond_bytes * mappers;
	if (far > (double)most)
		far = (double)most;
	return (uint64_t)(far * (double)mean_farther(job, i, home) / 1000000);
}

static int look_at_contents(struct job *job)
{
	struct estimate apart = {0}, both = {0};
	struct estimate_live *live = NULL;
	int r = estimate_live_open(job->across->rootfd, &live);

	for (size_t i = 0; r == 0 && i < job->n; i++) {
		struct estimate_memory memory;

		r = estimate_live_add(live, job->guests[i].pid, true, &memory);
	}
	if (r == 0)
		r = sample(job, live, true, &apart);
	if (r == 0)
		r = sample(job, live, false, &both);
	for (size_t i = 0; r == 0 && i < job->n; i++)
		job->result.far[i].far_bytes = far_of(
			job, i, beyond(&both.parts[i], &apart.parts[i]), both.parts[i].saved.bytes);
	if (r == 0)
		job->result.gain_bytes = beyond(&both.total, &apart.total);
	estimate_free(&apart);
	estimate_free(&both);
	estimate_live_close(live);
	return r;
}

/* ---- the job ---- */

static void look(void *arg, const atomic_bool *cancel)
{
	struct job *job = arg;
	uint64_t start_us = clock_now_us();

	job->cancel = cancel;
	job->result.across = job->look.across;
	job->result.error = job->look.across ? look_at_merged(job) : look_at_contents(job);
	job->result.took_us = clock_now_us() - start_us;
}

static void job_free(struct job *job)
{
	if (job) {
		free(job->result.far);
		free(job->far);
	}
	free(job);
}

int across_open(int rootfd, across_estimate_fn estimate, struct across **ret_across)
{
	struct across *across = calloc(1, sizeof(*across));
	int r;

	if (!across)
		return -ENOMEM;
	across->rootfd = rootfd;
	across->estimate = estimate ? estimate : estimate_run;
	r = worker_open(look, REST_FACTOR, &across->worker);
	if (r < 0)
		free(across);
	else
		*ret_across = across;
	return r;
}

void across_close(struct across *across)
{
	void *job = NULL;

	if (!across)
		return;
	worker_close(across->worker, &job);
	job_free(job);
	free(across);
}

int across_fd(const struct across *across)
{
	return worker_fd(across->worker);
}

int across_start(struct across *across, const struct across_look *look,
		 const struct across_guest *guests, size_t n)
{
	struct job *job = calloc(1, sizeof(*job) + n * sizeof(*guests));
	int r = -ENOMEM;

	if (job) {
		job->result.far = calloc(n + 1, sizeof(*job->result.far));
		job->far = calloc(n + 1, sizeof(*job->far));
	}
	if (job && job->result.far && job->far) {
		job->across = across;
		job->look = *look;
		job->n = job->result.n = n;
		memcpy(job->guests, guests, n * sizeof(*guests));
		for (size_t i = 0; i < n; i++)
			job->result.far[i].id = guests[i].id;
		r = worker_start(across->worker, job);
	}
	if (r < 0)
		job_free(job);
	return r;
}

int across_take(struct across *across, struct across_result *ret_result)
{
	struct job *job = worker_take(across->worker);

	if (!job)
		return -EAGAIN;
	*ret_result = job->result;
	job->result.far = NULL;
	job_free(job);
	return 0;
}

/* ---- telling ---- */

json_object *across_json(const struct config *config, const struct pol_across_view *view,
			 uint64_t setting, const struct across_result *look, uint64_t look_us)
{
	static const char *const modes[] = {
		[POL_ACROSS_AUTO] = "auto",
		[POL_ACROSS_YES] = "yes",
		[POL_ACROSS_NO] = "no",
		[POL_ACROSS_KEEP] = "keep",
	};
	json_object *one = json_object_new_object(), *nodes = json_object_new_array();
	bool refused = view->why == POL_ACROSS_NO_ROOM;
	uint32_t mode = config->policy.merge_across;

	for (uint32_t node = 0; refused && node < 64; node++)
		if (view->nodes >> node & 1)
			json_object_array_add(nodes, json_object_new_int((int)node));
	json_add_u64(one, "merge_across_nodes", setting);
	json_add_str(one, "configured", mode < ARRAY_SIZE(modes) ? modes[mode] : NULL);
	json_add_str(one, "verdict", pol_across_name(view->why));
	json_add_str(one, "verdict_text", pol_across_text(view->why));
	json_add_u64(one, "gain_bytes", view->gain_bytes);
	json_add_u64(one, "cost_us_per_hour", view->cost_us);
	json_add_u64(one, "unmerge_bytes", refused ? view->unmerge_bytes : POL_ABSENT);
	json_add_u64(one, "room_bytes", refused ? view->room_bytes : POL_ABSENT);
	json_object_object_add(one, "room_on_nodes", nodes);
	json_add_u64(one, "looked_age_us", look ? clock_now_us() - look_us : POL_ABSENT);
	json_add_u64(one, "look_took_us", look ? look->took_us : POL_ABSENT);
	json_add_str(one, "look_error", look && look->error ? strerror(-look->error) : NULL);
	return one;
}
