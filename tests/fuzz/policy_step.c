// SPDX-License-Identifier: Apache-2.0
/*
 * Fuzz the policy's step. The input is a configuration and then ticks: each starts from the last
 * snapshot and overwrites some of its words, so that histories, not single snapshots, are searched.
 * Every plan must keep to policy_rules.h and be the same from a twin fed the same.
 *
 * u8 guests, u8 config flags [, 14 x u32 of configuration], then ticks:
 *   u8 n changes, n x { u8 where, u8 word, u8 kind, u64 value if kind asks for it },
 *   u8 seconds / 16, u8 whether balloons obey
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/policy_guest.h"
#include "tests/unit/policy_rules.h"

#define GUESTS 6

struct input {
	const uint8_t *data;
	size_t left;
};

static uint64_t take(struct input *in, size_t len)
{
	uint64_t value = 0;

	for (size_t i = 0; i < len && in->left; i++, in->left--)
		value |= (uint64_t)*in->data++ << (8 * i);
	return value;
}

static void read_config(struct input *in, struct pol_config *config)
{
	uint8_t flags = (uint8_t)take(in, 1);

	pol_config_default(config);
	config->ksm_manage = flags & 1;
	config->balloon_manage = !(flags & 2);
	config->merge_across = (flags >> 3 & 7) % POL_ACROSS_COUNT;
	if (!(flags & 4))
		return;
	/* Unchecked on purpose: nonsense costs sense, never safety. */
	config->high_ppm = (uint32_t)take(in, 4);
	config->soft_ppm = (uint32_t)take(in, 4);
	config->hard_ppm = (uint32_t)take(in, 4);
	config->low_ppm = (uint32_t)take(in, 4);
	config->hysteresis_ppm = (uint32_t)take(in, 4);
	config->high_min_bytes = take(in, 8);
	config->high_max_bytes = take(in, 8);
	config->guest_reserve_bytes = take(in, 8);
	config->guest_reserve_ppm = (uint32_t)take(in, 4);
	config->guest_min_bytes = take(in, 8);
	config->step_bytes = take(in, 8);
	config->stuck_after_us = take(in, 4);
	config->idle_tax_ppm = (uint32_t)take(in, 4);
	config->ksm_cpu_ppm = (uint32_t)take(in, 4);
}

static uint64_t change_value(struct input *in, uint64_t now)
{
	static const uint64_t fixed[] = {0, 1, POL_ABSENT, UINT64_MAX - 1, 1ull << 63, 1ull << 50};
	uint8_t kind = (uint8_t)take(in, 1);

	if (kind < 6)
		return fixed[kind];
	if (kind < 64)
		return now + kind * MIB;
	if (kind < 128)
		return now - (uint64_t)(kind - 63) * MIB;
	if (kind < 192)
		return (uint64_t)(kind - 127) * 128 * MIB;
	return take(in, 8);
}

/* What is not a number of the guest: whether it is there, what it can do, whose it is. */
static void change_kind(struct input *in, struct pol_host *host, struct pol_guest *guests,
			size_t one, uint8_t word)
{
	static const size_t device[] = {
		offsetof(struct pol_guest, mem_max_bytes),
		offsetof(struct pol_guest, mem_size_bytes),
		offsetof(struct pol_guest, mem_requested_bytes),
		offsetof(struct pol_guest, mem_block_bytes),
	};
	struct pol_guest *g = &guests[one];

	switch (word) {
	case 0: /* it has ended, and the next one that starts is another */
		host->n_guests--;
		memmove(g, g + 1, (host->n_guests - one) * sizeof(*g));
		return;
	case 1:
		if (host->n_guests == GUESTS)
			return;
		g = &guests[host->n_guests++];
		*g = scene_guest(guests[host->n_guests - 2].id + 1);
		return;
	case 2:
		g->domain = (uint32_t)take(in, 1) % 3;
		return;
	case 3:
		g->merge_switch ^= true;
		return;
	case 4:
		g->merge_on ^= true;
		return;
	case 5:
		g->pool ^= true;
		return;
	case 6:
		g->reclaim_blind ^= true;
		return;
	case 7:
		g->reporting ^= true;
		return;
	case 8:
		g->numa_moving ^= true;
		return;
	case 9:
		g->numa_bar = (enum pol_numa_why)take(in, 1);
		return;
	case 10:
		g->shares = take(in, 8);
		return;
	default: {
		uint64_t *value = (uint64_t *)(void *)((char *)g + device[word % 4]);

		*value = change_value(in, *value);
	}
	}
}

/* Words of a node; its number is any. */
static void change_node(struct input *in, struct pol_host *host, uint8_t word)
{
	struct pol_node *node;
	uint64_t *words;

	if (word >= 224) {
		host->n_nodes = word % (POL_NODES_MAX + 1);
		return;
	}
	node = &host->nodes[word % 8 % POL_NODES_MAX];
	word /= 8;
	if (word >= 24) {
		node->node = (uint32_t)take(in, 1);
		return;
	}
	words = (uint64_t *)(void *)&node->memory_bytes;
	word %= (sizeof(*node) - offsetof(struct pol_node, memory_bytes)) / sizeof(uint64_t);
	words[word] = change_value(in, words[word]);
}

static void change(struct input *in, struct pol_host *host, struct pol_guest *guests)
{
	uint8_t where = (uint8_t)take(in, 1), word = (uint8_t)take(in, 1);
	uint64_t *words;
	size_t n;

	if (where >= 232) {
		change_node(in, host, word);
		return;
	}
	if (where < 128 && host->n_guests) {
		size_t one = where % host->n_guests;
		struct pol_guest *g = &guests[one];

		if (word >= 224) {
			g->answering ^= word & 1;
			g->has_balloon ^= (word >> 1) & 1;
			g->deflate_on_oom ^= (word >> 2) & 1;
			g->mergeable ^= (word >> 3) & 1;
			return;
		}
		if (word >= 208) {
			change_kind(in, host, guests, one, word - 208);
			return;
		}
		if (word >= 192) {
			g->memory_bytes = change_value(in, g->memory_bytes);
			return;
		}
		if (word >= 184) {
			g->min_bytes = change_value(in, g->min_bytes);
			return;
		}
		words = (uint64_t *)(void *)&g->actual_bytes;
		n = (sizeof(*g) - offsetof(struct pol_guest, actual_bytes)) / sizeof(uint64_t);
	} else if (where < 192 && word >= 128) {
		host->reclaim_busy = where & 1;
		words = word & 1 ? host->rung_ppm : &host->swap_cost_ppm;
		n = word & 1 ? POL_RUNG_COUNT : 3;
		word >>= 1;
	} else if (where < 192) {
		words = (uint64_t *)(void *)host; /* memory_bytes is first */
		n = 8;
	} else {
		host->ksm.present = where & 1;
		host->ksm.mergeable_any = where & 2;
		words = (uint64_t *)(void *)((char *)&host->ksm + offsetof(struct pol_ksm, run));
		n = (sizeof(host->ksm) - offsetof(struct pol_ksm, run)) / sizeof(uint64_t);
	}
	words[word % n] = change_value(in, words[word % n]);
}

static void obey(struct pol_host *host, struct pol_guest *guests, const struct pol_plan *plan,
		 uint8_t how)
{
	for (size_t i = 0; i < plan->n_actions; i++) {
		const struct pol_action *a = &plan->actions[i];

		if (a->kind == POL_KSM_RUN)
			host->ksm.run = a->to;
		for (size_t k = 0; a->kind == POL_RECLAIM && k < host->n_guests; k++)
			if (guests[k].id == a->guest && how & (1u << k))
				guests[k].resident_bytes = a->to;
		for (size_t k = 0; a->kind == POL_MERGE && k < host->n_guests; k++)
			if (guests[k].id == a->guest && how & (1u << k))
				guests[k].merge_on = a->to;
		if (a->kind == POL_KSM_NODES)
			host->ksm.across_nodes = a->to;
		if (a->kind == POL_KSM_RATE) {
			host->ksm.pages_to_scan = a->to;
			host->ksm.sleep_ms = a->to2;
		}
		for (size_t k = 0; a->kind == POL_BALLOON && k < host->n_guests; k++) {
			if (guests[k].id != a->guest)
				continue;
			guests[k].target_bytes = a->to;
			if (how & (1u << k))
				guests[k].actual_bytes = a->to;
		}
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	struct pol_guest guests[GUESTS];
	struct pol_config config;
	struct pol_host host = {
		.memory_bytes = 8 * GIB,
		.free_bytes = GIB,
		.available_bytes = 1200 * MIB,
		.psi_some_us = POL_ABSENT,
		.psi_full_us = POL_ABSENT,
		.swap_bytes = 4 * GIB,
		.swap_free_bytes = 3 * GIB,
		.guests = guests,
		.n_guests = take(&in, 1) % (GUESTS + 1),
	};
	struct pol *pol, *twin;
	uint64_t now_us = 1000 * SEC;

	for (size_t i = 0; i < GUESTS; i++) {
		guests[i] = scene_guest(i + 1);
		guests[i].reclaimable_bytes = GIB;
	}
	read_config(&in, &config);
	pol = pol_new(&config, GUESTS - 1);
	twin = pol_new(&config, GUESTS - 1);
	if (!pol || !twin)
		abort();
	for (int t = 0; in.left && t < 64; t++) {
		const struct pol_plan *plan = NULL, *other = NULL;
		unsigned int n = take(&in, 1) % 16;
		int r;

		while (n-- && in.left)
			change(&in, &host, guests);
		now_us += take(&in, 1) * SEC / 16;
		r = pol_step(pol, &host, now_us, &plan);
		if (pol_step(twin, &host, now_us, &other) != r)
			abort();
		if (r < 0) {
			host.memory_bytes = 8 * GIB;
			host.available_bytes = GIB;
			continue;
		}
		if (rules_check(&config, &host, plan, GUESTS - 1))
			abort();
		if (plan->n_actions != other->n_actions ||
		    memcmp(plan->actions, other->actions,
			   plan->n_actions * sizeof(*plan->actions)) != 0)
			abort();
		obey(&host, guests, plan, (uint8_t)take(&in, 1));
	}
	pol_free(pol);
	pol_free(twin);
	return 0;
}
