// SPDX-License-Identifier: Apache-2.0
/*
 * Who pays: memory is taken where its taxed bytes per share are most (share.c), from nobody more
 * than is needed, and whatever is removed (a guest, its numbers) or said (a lie), the others are
 * asked for no more than that rule says. On random claims and on random histories.
 */
#include "tests/unit/policy_history.h"

#ifdef __SANITIZE_ADDRESS__
#define STEPS 30000
#else
#define STEPS 1000000
#endif

/* ---- the rule itself ---- */

/* Taxed bytes per 1000 shares of who holds so much. */
static uint64_t level_of(const struct pol_config *config, uint64_t held, uint64_t working_set,
			 uint64_t shares)
{
	uint64_t idle = sub_sat(held, working_set), taxed = min_u64(held, working_set);

	taxed = add_sat(taxed, mul_div(idle, PPM, PPM - min_u64(config->idle_tax_ppm, 999999)));
	return mul_div(taxed, 1000, clamp_u64(shares, 1, 100000));
}

/* The search stops a page short, and shares divide whole bytes. */
static uint64_t level_error(uint64_t shares)
{
	return 8 * PAGE + 16000 / clamp_u64(shares, 1, 100000);
}

/* So many bytes is the error of a level worth to all of them. */
static uint64_t bytes_error(const struct share_claim *claims, size_t n)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < n; i++)
		sum += 8 * PAGE + 2 * PAGE * clamp_u64(claims[i].shares, 1, 100000) / 1000;
	return sum;
}

/*
 * Of all that could bring more none is above, of all that bring something none below the others;
 * and nobody brings more than it can. NULL, or what is wrong.
 */
static const char *unfair(const struct pol_config *config, const struct share_claim *claims,
			  size_t n)
{
	for (size_t i = 0; i < n; i++) {
		const struct share_claim *rich = &claims[i];
		uint64_t high =
			level_of(config, rich->held - rich->part, rich->working_set, rich->shares);

		if (rich->part > rich->limit || rich->part > rich->held)
			return "more than it can bring";
		if (rich->part + PAGE >= rich->limit)
			continue;
		for (size_t k = 0; k < n; k++) {
			const struct share_claim *poor = &claims[k];
			uint64_t error = level_error(rich->shares) + level_error(poor->shares);

			if (poor->part > PAGE &&
			    high > add_sat(level_of(config, poor->held - poor->part,
						    poor->working_set, poor->shares),
					   error))
				return "taken from the poorer, with the richer not exhausted";
		}
	}
	return NULL;
}

static void random_claims(struct share_claim *claims, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		uint64_t held = once_in(10) ? 0 : below(once_in(20) ? 1024 * GIB : 8 * GIB);

		claims[i] = (struct share_claim){
			.held = held,
			.working_set = once_in(4) ? held : below(held + held / 8 + 1),
			.shares = once_in(8) ? extreme() : 1 + below(4000),
			.limit = once_in(4) ? held : below(held + 1),
		};
	}
}

static uint64_t sum_of(const struct share_claim *claims, size_t n, size_t without)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < n; i++)
		sum += i == without ? 0 : claims[i].part;
	return sum;
}

static void test_spread_takes_where_most_is_idle_per_share(void **state)
{
	struct pol_config config;

	pol_config_default(&config);
	rng = first_seed();
	for (uint64_t k = 0; k < STEPS / 10; k++) {
		struct share_claim claims[8], fewer[8];
		size_t n = 1 + below(8), gone = below(n);
		uint64_t limits = 0, need, got, others, now;
		const char *why;

		random_claims(claims, n);
		config.idle_tax_ppm = once_in(3) ? (uint32_t)below(990001) : 750000;
		for (size_t i = 0; i < n; i++)
			limits += claims[i].limit;
		need = below(limits + limits / 4 + 2);
		got = share_spread(&config, claims, n, need);
		assert_int_equal(got, sum_of(claims, n, n));
		assert_true(got >= min_u64(need, limits));
		why = unfair(&config, claims, n);
		if (why)
			fail_msg("seed %llu, claims %llu: %s", (unsigned long long)first_seed(),
				 (unsigned long long)k, why);

		/* Without one, or with its idle memory no longer known to be idle, the others bring
		 * what it brought, and no more. */
		memcpy(fewer, claims, sizeof(claims));
		if (once_in(2))
			fewer[gone].limit = 0;
		else
			fewer[gone].working_set = fewer[gone].held;
		share_spread(&config, fewer, n, need);
		assert_null(unfair(&config, fewer, n));
		others = sum_of(claims, n, gone);
		now = sum_of(fewer, n, gone);
		assert_true(now + bytes_error(claims, n) >= others);
		assert_true(now <= others + sub_sat(claims[gone].part, fewer[gone].part) +
					   bytes_error(claims, n));
	}
}

/* ---- the plans ---- */

/* The same state in another policy of the same size. */
static void copy_pol(struct pol *to, const struct pol *from)
{
	struct pol keep = *to;

	*to = *from;
	to->past = keep.past;
	to->past_next = keep.past_next;
	to->now = keep.now;
	to->claims = keep.claims;
	to->merge.domains = keep.merge.domains;
	to->plan.actions = keep.plan.actions;
	to->plan.views = keep.plan.views;
	memcpy(to->past, from->past, from->n_past * sizeof(*from->past));
}

static bool takes(const struct pol_action *a)
{
	return a->kind == POL_BALLOON &&
	       (a->reason == POL_WHY_HOST_SHORT || a->reason == POL_WHY_FOR_OTHER ||
		a->reason == POL_WHY_COLLECT);
}

/* Host memory that the plan takes, for the host or for a guest. */
static uint64_t taken(const struct pol_plan *plan, enum pol_reason reason)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < plan->n_actions; i++)
		if (takes(&plan->actions[i]) &&
		    (reason == POL_WHY_NONE || plan->actions[i].reason == reason))
			sum = add_sat(sum, plan->actions[i].gain_bytes);
	return sum;
}

/* An order is whole steps of 2 MiB and no trifle: so much may each be off. */
static uint64_t rounding(const struct pol *pol)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < pol->n_now; i++)
		sum += 2 * MIB + max_u64(balloon_least(&pol->now[i]), pol->now[i].memory / 32);
	return sum;
}

static const char *check_fairness(struct pol *pol, const struct pol_plan *plan)
{
	const struct now_host *tick = &pol->tick;
	struct share_claim claims[GUESTS + 4];
	uint64_t wanted = 0, asked;

	/* On the rung of free memory, as the parts were dealt out. */
	for (size_t i = 0; i < pol->n_now; i++) {
		const struct now_guest *guest = &pol->now[i];

		claims[i] = (struct share_claim){
			.held = guest->held,
			.working_set =
				guest->trust == POL_TRUST_OK ? guest->past->ws_late : guest->held,
			.shares = guest->shares,
			.limit = min_u64(guest->take.gain_free, guest->held),
			.part = guest->take.part_free,
		};
		if (guest->want)
			wanted = add_sat(wanted, pol->tick.state >= POL_STATE_HARD
							 ? guest->claim
							 : guest->claim + guest->memory / 32);
	}
	if (unfair(&pol->config, claims, pol->n_now))
		return "taken from the poorer, with the richer not exhausted";
	/* No more than the host lacks and the needy may claim. */
	asked = add_sat(max_u64(tick->need, tick->ease), wanted);
	if (taken(plan, POL_WHY_NONE) > add_sat(asked, rounding(pol)))
		return "more taken than anybody lacks";
	/* A claim is a share: that is all others pay for it, and what is lent to who starves. */
	if (taken(plan, POL_WHY_FOR_OTHER) > add_sat(wanted, rounding(pol)))
		return "others asked for more than shares";
	for (size_t i = 0; i < pol->n_now; i++) {
		const struct now_guest *guest = &pol->now[i];

		if (guest->usable && guest->want && !guest->starves &&
		    guest->claim > sub_sat(guest->entitled, guest->past->target_before) &&
		    guest->claim > sub_sat(guest->entitled, guest->past->target))
			return "a claim beyond a share";
	}
	return NULL;
}

/* The guests but one, or with one that is silent, that lies, or of which the host sees less. */
static void change_one(struct history *h, struct pol_guest *guests, struct pol_host *host,
		       size_t one, int how)
{
	struct pol_guest *g = &guests[one];

	memcpy(guests, h->guests, sizeof(h->guests));
	*host = h->host;
	host->guests = guests;
	if (how == 0) {
		host->n_guests--;
		memmove(g, g + 1, (host->n_guests - one) * sizeof(*g));
	} else if (how == 1) {
		g->stat_age_us = POL_ABSENT;
	} else if (how == 2) {
		g->psi_some_us = g->refault_bytes = POL_ABSENT;
	} else if (how == 3) {
		g->hot_bytes = POL_ABSENT;
	} else if (how == 4) {
		g->resident_bytes = POL_ABSENT;
	} else {
		g->stat_free_bytes = g->stat_available_bytes = MIB;
		g->stat_cache_bytes = 0;
		g->stat_oom_kills = g->stat_alloc_stalls = UINT32_MAX;
		g->stat_age_us = 0;
	}
}

static const struct pol_action *order_of(const struct pol_plan *plan, uint64_t id)
{
	for (size_t i = 0; i < plan->n_actions; i++)
		if (plan->actions[i].kind == POL_BALLOON && plan->actions[i].guest == id)
			return &plan->actions[i];
	return NULL;
}

/*
 * What the change does to the others: each keeps its floor, and nothing is taken from who is in
 * need. That all of them together give no more than is lacking, by the share rule, is
 * check_fairness()'s.
 */
static const char *check_others(const struct pol *pol, const struct pol_plan *plan,
				uint64_t changed)
{
	for (size_t i = 0; i < pol->n_now; i++) {
		const struct now_guest *guest = &pol->now[i];
		const struct pol_action *a = order_of(plan, guest->in->id);

		if (guest->in->id == changed || !a || !takes(a))
			continue;
		if (a->to < guest->floor)
			return "another pushed below its floor";
		if (guest->want || guest->grant)
			return "taken from another in need";
	}
	return NULL;
}

static void test_others_pay_no_more_than_the_share_rule_says(void **state)
{
	uint64_t steps = 0, probes = 0, takings = 0, want = steps_wanted(STEPS);

	for (uint64_t seed = first_seed(); steps < want; seed++) {
		struct pol_guest guests[GUESTS];
		struct pol_host host;
		struct history h;
		struct pol *pol, *probe;

		rng = seed;
		start(&h);
		pol = pol_new(&h.config, GUESTS);
		probe = pol_new(&h.config, GUESTS);
		assert_true(pol && probe);
		for (int t = 0; t < 300; t++, steps++) {
			const struct pol_plan *plan, *other;
			const char *why = NULL;
			int how = (int)below(6);
			size_t one = below(h.host.n_guests);

			copy_pol(probe, pol);
			if (pol_step(pol, &h.host, h.now_us, &plan) == 0) {
				takings += taken(plan, POL_WHY_NONE) > 0;
				why = check_fairness(pol, plan);
				obey(&h, plan);
			}
			if (!why && h.host.n_guests) {
				uint64_t id = h.guests[one].id;

				change_one(&h, guests, &host, one, how);
				if (pol_step(probe, &host, h.now_us, &other) == 0) {
					why = check_fairness(probe, other);
					if (!why)
						why = check_others(probe, other, id);
					probes++;
				}
			}
			if (why)
				fail_msg("seed %llu tick %d: %s", (unsigned long long)seed, t, why);
			disturb(&h);
		}
		pol_free(pol);
		pol_free(probe);
	}
	print_message("             %llu steps, %llu of them took, %llu with one guest changed\n",
		      (unsigned long long)steps, (unsigned long long)takings,
		      (unsigned long long)probes);
	assert_true(takings > steps / 200 && probes > steps / 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_spread_takes_where_most_is_idle_per_share),
		cmocka_unit_test(test_others_pay_no_more_than_the_share_rule_says),
	};

	return cmocka_run_group_tests_name("policy_fairness", tests, NULL, NULL);
}
