// SPDX-License-Identifier: Apache-2.0
/*
 * The balloon rules of oVirt MOM 0.6.5 (doc/balloon.rules, mom/Controllers/Balloon.py) with its
 * default intervals: collectors every 5 s, the policy every 10 s, averages over 10 samples.
 * mem_free is MemFree + Buffers + Cached, for which the snapshot's available memory stands;
 * mem_unused is the guest's free memory, so page cache counts as used. A guest without a configured
 * minimum has 0, as under libvirt, whose QEMU driver has no min_guarantee.
 */
#include "policy/law.h"
#include "policy/parts.h"

#define SAMPLES		 10
#define SAMPLE_EVERY_US	 (5 * SEC)
#define DECIDE_EVERY_US	 (10 * SEC)
#define PRESSURE_PPM	 200000 /* pressure_threshold, of the host's memory free */
#define CRITICAL_PPM	 50000	/* pressure_critical */
#define GUEST_FREE_PPM	 200000 /* min_guest_free_percent */
#define MOST_CHANGE_PPM	 50000	/* max_balloon_change_percent */
#define LEAST_CHANGE_PPM 2500	/* min_balloon_change_percent */

/* StatAvg: the mean of the last samples. */
struct average {
	uint64_t v[SAMPLES];
	unsigned int n, at;
};

struct mom_guest {
	uint64_t id;
	struct average balloon_cur, mem_unused;
};

struct mom {
	struct law_peer peer;
	struct average mem_free;
	bool began;
	uint64_t sample_us, decide_us; /* next */
};

static void average_add(struct average *a, uint64_t value)
{
	a->v[a->at] = min_u64(value, BYTES_MAX);
	a->at = (a->at + 1) % SAMPLES;
	if (a->n < SAMPLES)
		a->n++;
}

static uint64_t average_of(const struct average *a)
{
	uint64_t sum = 0;

	for (unsigned int i = 0; i < a->n; i++)
		sum += a->v[i];
	return a->n ? sum / a->n : 0;
}

/* Guests whose collectors fail are not in "Guests". */
static bool is_ready(const struct pol_guest *in)
{
	return in->answering && in->has_balloon && pol_has(in->actual_bytes) && in->actual_bytes &&
	       pol_has(in->memory_bytes) && pol_has(in->stat_free_bytes) &&
	       pol_has(in->stat_age_us);
}

static void sample(struct mom *mom, const struct pol_host *host)
{
	average_add(&mom->mem_free, law_host_free(host));
	for (size_t i = 0; i < law_guests(&mom->peer, host); i++) {
		struct mom_guest *guest = law_row(&mom->peer, i);

		if (!is_ready(&host->guests[i]))
			continue;
		average_add(&guest->balloon_cur, host->guests[i].actual_bytes);
		average_add(&guest->mem_unused, host->guests[i].stat_free_bytes);
	}
}

static bool is_big_enough(uint64_t change, uint64_t cur)
{
	return change > ppm_of(cur, LEAST_CHANGE_PPM);
}

static void shrink(struct mom *mom, const struct pol_host *host, size_t i, uint64_t free_ppm,
		   uint64_t used)
{
	const struct pol_guest *in = &host->guests[i];
	uint64_t cur = min_u64(in->actual_bytes, BYTES_MAX), least = used, size;

	/* "Force guest to swap by making free memory negative." */
	if (free_ppm <= CRITICAL_PPM)
		least = sub_sat(least, ppm_of(cur, CRITICAL_PPM - free_ppm));
	else
		least += mul_div(ppm_of(cur, GUEST_FREE_PPM), free_ppm, PRESSURE_PPM);
	least = max_u64(least, pol_has(in->min_bytes) ? in->min_bytes : 0);
	size = max_u64(cur - ppm_of(cur, MOST_CHANGE_PPM), least);
	if (size <= cur && is_big_enough(cur - size, cur))
		law_order(&mom->peer, host, i, size);
}

static void grow(struct mom *mom, const struct pol_host *host, size_t i, uint64_t used)
{
	const struct pol_guest *in = &host->guests[i];
	uint64_t cur = min_u64(in->actual_bytes, BYTES_MAX), least, size;

	if (cur >= in->memory_bytes)
		return;
	least = max_u64(used + ppm_of(cur, GUEST_FREE_PPM),
			pol_has(in->min_bytes) ? in->min_bytes : 0);
	size = max_u64(cur + ppm_of(cur, MOST_CHANGE_PPM), least);
	size = min_u64(size, in->memory_bytes);
	if (is_big_enough(size > cur ? size - cur : cur - size, cur))
		law_order(&mom->peer, host, i, size);
}

static void decide(struct mom *mom, const struct pol_host *host)
{
	uint64_t free_ppm = mul_div(average_of(&mom->mem_free), PPM, host->memory_bytes);

	for (size_t i = 0; i < law_guests(&mom->peer, host); i++) {
		const struct mom_guest *guest = law_row(&mom->peer, i);
		uint64_t used =
			sub_sat(average_of(&guest->balloon_cur), average_of(&guest->mem_unused));

		if (!is_ready(&host->guests[i]) || !guest->balloon_cur.n)
			continue;
		if (free_ppm < PRESSURE_PPM)
			shrink(mom, host, i, free_ppm, used);
		else
			grow(mom, host, i, used);
	}
}

static void *mom_open(const struct pol_config *config, size_t max_guests)
{
	return law_peer_new(sizeof(struct mom), sizeof(struct mom_guest), config, max_guests);
}

static int mom_step(void *state, const struct pol_host *host, uint64_t now_us,
		    const struct pol_plan **ret_plan)
{
	struct mom *mom = state;
	int r = law_peer_begin(&mom->peer, host);

	if (r < 0)
		return r;
	if (!mom->began) {
		mom->began = true;
		mom->sample_us = now_us;
		mom->decide_us = now_us + DECIDE_EVERY_US;
	}
	if (now_us >= mom->sample_us) {
		sample(mom, host);
		mom->sample_us = now_us + SAMPLE_EVERY_US;
	}
	if (now_us >= mom->decide_us) {
		decide(mom, host);
		mom->decide_us = now_us + DECIDE_EVERY_US;
	}
	*ret_plan = &mom->peer.plan;
	return 0;
}

const struct law law_mom = {
	.name = "mom",
	.text = "oVirt MOM's balloon rules",
	.open = mom_open,
	.close = law_peer_free,
	.configure = law_peer_configure,
	.step = mom_step,
};
