// SPDX-License-Identifier: Apache-2.0
/*
 * The host's state and need. States are ESX's (Waldspurger 2002, 6.3): soft, hard and low are
 * entered below the threshold of their name at once and left only past the hysteresis; whatever
 * the state, memory is wanted from below `high` until clear above it. A balloon frees some tens
 * of MiB a second on a slow host and a guest can allocate more, so the policy acts on what will be
 * available LEAD_US from now: waiting for the threshold would mean swap.
 */
#include "policy/parts.h"

void host_marks(const struct pol_config *config, uint64_t memory_bytes, struct marks *ret_marks)
{
	uint64_t memory = min_u64(memory_bytes, BYTES_MAX);
	uint64_t plain = max_u64(ppm_of(memory, config->high_ppm), 1);
	uint64_t least = min_u64(config->high_min_bytes, memory / 8);
	uint64_t high =
		min_u64(clamp_u64(plain, least, max_u64(config->high_max_bytes, least)), memory);
	struct marks m = {
		.high = high,
		.soft = mul_div(ppm_of(memory, config->soft_ppm), high, plain),
		.hard = mul_div(ppm_of(memory, config->hard_ppm), high, plain),
		.low = mul_div(ppm_of(memory, config->low_ppm), high, plain),
		.hysteresis = mul_div(ppm_of(memory, config->hysteresis_ppm), high, plain),
	};

	m.soft = min_u64(m.soft, m.high);
	m.hard = min_u64(m.hard, m.soft);
	m.low = min_u64(m.low, m.hard);
	m.hysteresis = min_u64(m.hysteresis, m.high);
	m.goal = m.high + m.hysteresis + m.hysteresis / 2;
	m.plenty = m.goal + m.hysteresis;
	*ret_marks = m;
}

enum pol_state host_next_state(const struct marks *marks, enum pol_state before,
			       uint64_t available_bytes)
{
	const uint64_t above = marks->hysteresis;
	/* Entered below, and left at or above; ballooning is not over before `high` is back. */
	const struct {
		enum pol_state state;
		uint64_t enter, leave;
	} steps[] = {
		{POL_STATE_SOFT, marks->soft, max_u64(marks->soft + above, marks->high)},
		{POL_STATE_HARD, marks->hard, marks->hard + above},
		{POL_STATE_LOW, marks->low, marks->low + above},
	};
	enum pol_state state = POL_STATE_HIGH;

	for (unsigned int i = 0; i < 3; i++)
		if (available_bytes < (before >= steps[i].state ? steps[i].leave : steps[i].enter))
			state = steps[i].state;
	return state;
}

/*
 * How fast memory would fall without the balloons: what they returned is added back, or the flow
 * they bring would count twice, as a slower fall and as coming. Rises within two ticks, fades over
 * a few seconds.
 */
static void follow_fall(struct host_past *past, const struct now_host *tick, uint64_t returned)
{
	uint64_t lost, rate, tau = 4 * SEC;

	if (!past->seen || tick->dt_us < 100 * MSEC)
		return;
	lost = sub_sat(add_sat(past->available, returned), tick->available);
	rate = min_u64(mul_div(lost, SEC, tick->dt_us), BYTES_MAX);
	if (rate > past->fall)
		tau = 3 * SEC / 2;
	past->fall = ewma(past->fall, rate, tick->dt_us, tau);
}

void host_sense(struct pol *pol, uint64_t returned_bytes)
{
	struct now_host *tick = &pol->tick;
	struct host_past *past = &pol->host;
	const struct marks *m = &tick->marks;
	uint64_t ahead;

	follow_fall(past, tick, returned_bytes);
	tick->state =
		host_next_state(m, past->seen ? past->state : POL_STATE_HIGH, tick->available);

	/* A small or a distant fall is not worth anybody's memory. */
	ahead = mul_div(past->fall, LEAD_US, SEC);
	if (ahead < m->hysteresis || tick->available > 4 * m->high)
		ahead = 0;
	tick->predicted = sub_sat(tick->available, ahead);
	if (tick->predicted < m->high)
		past->is_short = true;
	else if (tick->predicted >= m->high + m->hysteresis)
		past->is_short = false;
	tick->need = past->is_short ? sub_sat(m->goal, tick->predicted) : 0;

	past->seen = true;
	past->state = tick->state;
	past->available = tick->available;
}
