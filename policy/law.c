// SPDX-License-Identifier: Apache-2.0
/* The table of laws, memd's own as one of them, the law that does nothing, and what peers share. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "policy/law.h"
#include "policy/parts.h"

static const struct law *const laws[] = {&law_memd, &law_mom, &law_pve, &law_squeezed, &law_none};

const struct law *law_at(size_t i)
{
	return i < sizeof(laws) / sizeof(laws[0]) ? laws[i] : NULL;
}

const struct law *law_find(const char *name)
{
	for (size_t i = 0; law_at(i); i++)
		if (strcmp(laws[i]->name, name) == 0)
			return laws[i];
	return NULL;
}

/* ---- memd ---- */

static void *memd_open(const struct pol_config *config, size_t max_guests)
{
	return pol_new(config, max_guests);
}

static void memd_close(void *state)
{
	pol_free(state);
}

static void memd_configure(void *state, const struct pol_config *config)
{
	pol_configure(state, config);
}

static int memd_step(void *state, const struct pol_host *host, uint64_t now_us,
		     const struct pol_plan **ret_plan)
{
	return pol_step(state, host, now_us, ret_plan);
}

const struct law law_memd = {
	.name = "memd",
	.text = "memd's own policy",
	.open = memd_open,
	.close = memd_close,
	.configure = memd_configure,
	.step = memd_step,
};

/* ---- what peers share ---- */

void *law_peer_new(size_t state_size, size_t row_size, const struct pol_config *config,
		   size_t max_guests)
{
	struct law_peer *peer = calloc(1, state_size);
	size_t n = max_guests ? max_guests : 1;

	if (!peer)
		return NULL;
	peer->config = *config;
	peer->memory = (struct law_memory){
		.size = row_size,
		.max = max_guests,
		.rows = calloc(n, row_size),
		.next = calloc(n, row_size),
	};
	peer->plan.actions = calloc(n, sizeof(*peer->plan.actions));
	peer->plan.views = calloc(n, sizeof(*peer->plan.views));
	if (!peer->memory.rows || !peer->memory.next || !peer->plan.actions || !peer->plan.views) {
		law_peer_free(peer);
		return NULL;
	}
	return peer;
}

void law_peer_free(void *state)
{
	struct law_peer *peer = state;

	if (!peer)
		return;
	free(peer->memory.rows);
	free(peer->memory.next);
	free(peer->plan.actions);
	free(peer->plan.views);
	free(peer);
}

void law_peer_configure(void *state, const struct pol_config *config)
{
	struct law_peer *peer = state;

	peer->config = *config;
}

size_t law_guests(const struct law_peer *peer, const struct pol_host *host)
{
	return host->n_guests < peer->memory.max ? host->n_guests : peer->memory.max;
}

void *law_row(const struct law_peer *peer, size_t i)
{
	return peer->memory.rows + i * peer->memory.size;
}

static uint64_t id_of(const struct law_memory *memory, size_t i)
{
	uint64_t id;

	memcpy(&id, memory->rows + i * memory->size, sizeof(id));
	return id;
}

/* Both lists are sorted by id. */
static void match_rows(struct law_memory *memory, const struct pol_host *host, size_t n)
{
	char *before = memory->rows;
	size_t old = 0;

	for (size_t i = 0; i < n; i++) {
		char *row = memory->next + i * memory->size;
		uint64_t id = host->guests[i].id;

		while (old < memory->n && id_of(memory, old) < id)
			old++;
		if (old < memory->n && id_of(memory, old) == id) {
			memcpy(row, before + old * memory->size, memory->size);
		} else {
			memset(row, 0, memory->size);
			memcpy(row, &id, sizeof(id));
		}
	}
	memory->rows = memory->next;
	memory->next = before;
	memory->n = n;
}

uint64_t law_host_free(const struct pol_host *host)
{
	uint64_t free = pol_has(host->available_bytes) ? host->available_bytes : host->free_bytes;

	return min_u64(free, host->memory_bytes);
}

int law_peer_begin(struct law_peer *peer, const struct pol_host *host)
{
	size_t n = law_guests(peer, host);
	struct pol_plan *plan = &peer->plan;
	struct marks marks;

	if (!host->memory_bytes || host->memory_bytes > BYTES_MAX ||
	    (!pol_has(host->available_bytes) && !pol_has(host->free_bytes)) ||
	    (host->n_guests && !host->guests))
		return -EINVAL;
	for (size_t i = 1; i < host->n_guests; i++)
		if (host->guests[i].id <= host->guests[i - 1].id)
			return -EINVAL;
	match_rows(&peer->memory, host, n);
	/* Peers have no states; the host is in one all the same. */
	host_state_marks(&peer->config, host->memory_bytes, &marks);
	peer->state = host_state_next(&marks, peer->state, law_host_free(host));
	plan->state = peer->state;
	plan->high_bytes = marks.high;
	plan->soft_bytes = marks.soft;
	plan->hard_bytes = marks.hard;
	plan->low_bytes = marks.low;
	plan->n_actions = 0;
	plan->n_views = n;
	for (size_t i = 0; i < n; i++) {
		const struct pol_guest *in = &host->guests[i];

		plan->views[i] = (struct pol_view){
			.guest = in->id,
			.working_set_bytes = POL_ABSENT,
			.entitled_bytes = POL_ABSENT,
			.target_bytes =
				pol_has(in->target_bytes) ? in->target_bytes : in->actual_bytes,
			.trust = POL_TRUST_ABSENT,
		};
	}
	return 0;
}

void law_order(struct law_peer *peer, const struct pol_host *host, size_t i, uint64_t to)
{
	const struct pol_guest *in = &host->guests[i];
	bool takes = to < in->actual_bytes;

	peer->plan.views[i].target_bytes = to;
	peer->plan.actions[peer->plan.n_actions++] = (struct pol_action){
		.kind = POL_BALLOON,
		.guest = in->id,
		.from = pol_has(in->target_bytes) ? in->target_bytes : in->actual_bytes,
		.to = to,
		.rung = takes ? POL_RUNG_BALLOON_FREE : POL_RUNG_NONE,
		.reason = takes ? POL_WHY_HOST_SHORT : POL_WHY_HOST_PLENTY,
		.state = peer->plan.state,
		.available_bytes = law_host_free(host),
		.working_set_bytes = POL_ABSENT,
	};
}

/* ---- none ---- */

static void *none_open(const struct pol_config *config, size_t max_guests)
{
	return law_peer_new(sizeof(struct law_peer), sizeof(uint64_t), config, max_guests);
}

static int none_step(void *state, const struct pol_host *host, uint64_t now_us,
		     const struct pol_plan **ret_plan)
{
	struct law_peer *peer = state;
	int r = law_peer_begin(peer, host);

	(void)now_us;
	if (r == 0)
		*ret_plan = &peer->plan;
	return r;
}

const struct law law_none = {
	.name = "none",
	.text = "nobody touches a balloon; the host swaps",
	.open = none_open,
	.close = law_peer_free,
	.configure = law_peer_configure,
	.step = none_step,
};
