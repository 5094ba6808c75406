// SPDX-License-Identifier: Apache-2.0
/* Whatever guests come, go and do: trust domains never mix. */
#include "tests/unit/merge_scene.h"

static uint64_t rng;

static uint64_t below(uint64_t n)
{
	uint64_t z = rng += 0x9e3779b97f4a7c15ull;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return (z ^ (z >> 31)) % n;
}

static struct pol_guest any_guest(uint64_t id)
{
	struct pol_guest g = scene_guest(id);

	g.domain = (uint32_t)below(3);
	g.merge_switch = below(10) > 0;
	g.merge_on = below(4) > 0;
	g.marked_bytes = g.merge_on ? POL_ABSENT : 0;
	g.bound_mask = below(6) ? 1ull << g.domain : below(2) ? 7 : POL_ABSENT;
	g.seen_mask = below(8) ? g.bound_mask : below(8);
	g.resident_bytes = (1 + below(2048)) * MIB;
	return g;
}

/* Something happens to one of them, or to the host. */
static void disturb(struct scene *s, uint64_t *next_id)
{
	size_t n = s->host.n_guests, at = n ? below(n) : 0;
	struct pol_guest *g = &s->guests[at];

	switch (below(40)) {
	case 0:
		if (n < SCENE_MAX)
			s->guests[s->host.n_guests++] = any_guest((*next_id)++);
		break;
	case 1:
		memmove(g, g + 1, (n - at - (n > 0)) * sizeof(*g));
		s->host.n_guests -= n > 0;
		break;
	case 2:
		g->answering = !g->answering;
		break;
	case 3:
		g->bound_mask = below(2) ? 1ull << g->domain : 1ull << below(3);
		break;
	case 8:
		g->seen_mask = below(2) ? g->bound_mask : POL_ABSENT;
		break;
	case 4:
		s->host.available_bytes = below(8 * GIB);
		break;
	case 5:
		s->host.ksm.unsorted = !s->host.ksm.unsorted;
		break;
	case 6: /* a hand from outside */
		g->merge_on = true;
		g->marked_bytes = POL_ABSENT;
		break;
	case 7:
		s->host.ksm.pages_shared = below(2) * below(100000);
		s->host.ksm.pages_sharing = 3 * s->host.ksm.pages_shared;
		break;
	case 9:
		g->crossed_bytes = below(2) ? POL_ABSENT : below(2) * 64 * KIB;
		break;
	default:
		if (g->merge_on && s->host.ksm.run == 1)
			g->ksm_bytes = g->merging_bytes = below(g->memory_bytes / 2);
		break;
	}
}

static void test_domains_never_mix(void **state)
{
	uint64_t at_work = 0, steps = 0, modes[3] = {0};

	for (uint64_t seed = 1; seed <= 300; seed++) {
		struct scene s;
		uint64_t next_id = 20;

		rng = seed;
		merge_scene_open(&s, below(6));
		for (size_t i = 0; i < s.host.n_guests; i++)
			s.guests[i] = any_guest(i + 1);
		s.host.ksm.run = 1;
		for (int t = 0; t < 500; t++, steps++) {
			merge_scene_run(&s, 1);
			at_work += s.host.ksm.run == 1;
			modes[s.plan->merge.mode]++;
			disturb(&s, &next_id);
		}
		scene_close(&s);
	}
	print_message(
		"             %llu steps, KSM at work in %llu; common %llu, nodes %llu, turns "
		"%llu\n",
		(unsigned long long)steps, (unsigned long long)at_work,
		(unsigned long long)modes[0], (unsigned long long)modes[1],
		(unsigned long long)modes[2]);
	assert_true(at_work > steps / 5);
	assert_true(modes[1] > steps / 50 && modes[2] > steps / 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_domains_never_mix),
	};

	return cmocka_run_group_tests_name("policy_merge_isolation", tests, NULL, NULL);
}
