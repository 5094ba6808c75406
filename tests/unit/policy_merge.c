// SPDX-License-Identifier: Apache-2.0
/*
 * Where KSM may merge: trust domains are never mixed, on their own nodes or by turns; a guest is
 * unmerged only when it fits.
 */
#include "tests/unit/policy_scene.h"

/* The kernel sees a guest's switch a tick late, as memd's looks do. */
static void follow(struct scene *s)
{
	for (size_t i = 0; i < s->host.n_guests; i++) {
		struct pol_guest *g = &s->guests[i];

		g->marked_bytes = g->merge_on ? g->memory_bytes : 0;
		if (!g->merge_on)
			g->merging_bytes = g->ksm_bytes = 0;
	}
	if (s->host.ksm.run == 2)
		s->host.ksm.pages_shared = s->host.ksm.pages_sharing = 0;
	for (size_t i = 0; i < s->plan->n_actions; i++) {
		const struct pol_action *a = &s->plan->actions[i];
		struct pol_guest *g = scene_find(s, a->guest);

		if (a->kind == POL_MERGE) {
			g->merge_on = a->to;
			g->marked_bytes = POL_ABSENT;
		}
		if (a->kind == POL_KSM_NODES) {
			/* One step each: run=2, which takes a while, then the value. */
			if (a->to2)
				s->host.ksm.run = 2;
			else if (!s->host.ksm.pages_shared)
				s->host.ksm.across_nodes = a->to;
		}
	}
}

/* What must never be: KSM at work while two domains are mergeable on one tree. */
static void assert_isolated(const struct scene *s)
{
	if (s->host.ksm.run != 1)
		return;
	assert_false(s->host.ksm.unsorted);
	for (size_t i = 0; i < s->host.n_guests; i++)
		for (size_t k = 0; k < i; k++) {
			const struct pol_guest *a = &s->guests[i], *b = &s->guests[k];

			if (a->domain == b->domain || (!a->merge_on && !a->marked_bytes) ||
			    (!b->merge_on && !b->marked_bytes))
				continue;
			if (s->host.ksm.across_nodes != 0 ||
			    (a->bound_mask | a->seen_mask) & (b->bound_mask | b->seen_mask))
				fail_msg("guests %llu and %llu of different domains",
					 (unsigned long long)a->id, (unsigned long long)b->id);
		}
}

static void run(struct scene *s, unsigned int ticks)
{
	while (ticks--) {
		scene_step(s);
		/* The plan has been carried out: guests have it still to follow. */
		assert_isolated(s);
		follow(s);
	}
}

static void open_scene(struct scene *s, size_t n)
{
	scene_open_merging(s, n);
	s->config.balloon_manage = false;
	pol_configure(s->pol, &s->config);
	for (size_t i = 0; i < n; i++)
		s->guests[i].bound_mask = s->guests[i].seen_mask = 1;
}

static unsigned int count(const struct scene *s, enum pol_action_kind kind)
{
	unsigned int n = 0;

	for (size_t i = 0; i < s->plan->n_actions; i++)
		n += s->plan->actions[i].kind == kind;
	return n;
}

static void test_one_domain_is_left_as_it_is(void **state)
{
	struct scene s;

	open_scene(&s, 3);
	for (int t = 0; t < 100; t++) {
		run(&s, 1);
		assert_int_equal(count(&s, POL_MERGE), 0);
		assert_int_equal(count(&s, POL_KSM_NODES), 0);
	}
	assert_int_equal(s.host.ksm.run, 1);
	assert_int_equal(s.plan->merge.mode, POL_MERGE_COMMON);
	assert_false(s.plan->merge.stopped);
	scene_close(&s);
}

/* The first look finds KSM at work on two domains: it is stopped before anything else. */
static void test_stopped_at_once_then_sorted(void **state)
{
	struct scene s;

	open_scene(&s, 2);
	s.guests[1].domain = 1;
	s.guests[1].memory_bytes = s.guests[1].actual_bytes = GIB; /* expected to bring less */
	s.guests[1].resident_bytes = GIB;
	s.host.ksm.run = 1;
	scene_step(&s);
	assert_int_equal(s.plan->actions[0].kind, POL_KSM_RUN);
	assert_int_equal(s.plan->actions[0].to, 0);
	assert_int_equal(s.plan->actions[0].reason, POL_WHY_DOMAIN_UNSORTED);
	assert_int_equal(s.plan->actions[1].kind, POL_MERGE);
	assert_int_equal(s.plan->actions[1].guest, 2);
	assert_int_equal(s.plan->actions[1].to, 0);
	assert_int_equal(s.plan->actions[1].reason, POL_WHY_DOMAIN_OTHER);
	assert_true(s.plan->merge.stopped);
	assert_int_equal(s.plan->merge.mode, POL_MERGE_TURNS);
	follow(&s);
	/* Told off, but the kernel has not been looked at yet. */
	run(&s, 1);
	assert_int_equal(s.host.ksm.run, 0);
	run(&s, 2);
	assert_int_equal(s.host.ksm.run, 1);
	assert_false(s.plan->merge.stopped);
	assert_true(s.plan->merge.has_domain);
	assert_int_equal(s.plan->merge.domain, 0);
	assert_int_equal(scene_view(&s, 2)->merge_off, POL_WHY_DOMAIN_OTHER);
	assert_int_equal(scene_view(&s, 1)->merge_off, POL_WHY_NONE);
	scene_close(&s);
}

static void test_apart_on_nodes(void **state)
{
	struct scene s;

	open_scene(&s, 4);
	for (size_t i = 0; i < 4; i++) {
		s.guests[i].domain = i / 2;
		s.guests[i].bound_mask = s.guests[i].seen_mask = 1ull << i / 2;
	}
	scene_step(&s);
	assert_int_equal(count(&s, POL_MERGE), 0);
	assert_non_null(scene_kind(&s, POL_KSM_NODES));
	assert_int_equal(scene_kind(&s, POL_KSM_NODES)->to, 0);
	assert_int_equal(scene_kind(&s, POL_KSM_NODES)->to2, 0);
	follow(&s);
	run(&s, 3);
	assert_int_equal(s.plan->merge.mode, POL_MERGE_NODES);
	assert_int_equal(s.host.ksm.run, 1);
	for (size_t i = 0; i < 4; i++)
		assert_true(s.guests[i].merge_on);

	/* Memory of one that comes to lie on the other's node ends that. */
	s.guests[3].bound_mask = 3;
	run(&s, 1);
	assert_int_equal(s.host.ksm.run, 0);
	run(&s, 5);
	assert_int_equal(s.plan->merge.mode, POL_MERGE_TURNS);
	assert_int_equal(s.host.ksm.run, 1);
	assert_int_equal(s.guests[0].merge_on + s.guests[3].merge_on, 1);
	/* And back. */
	s.guests[3].bound_mask = 2;
	run(&s, 20);
	assert_int_equal(s.plan->merge.mode, POL_MERGE_NODES);
	for (size_t i = 0; i < 4; i++)
		assert_true(s.guests[i].merge_on);
	scene_close(&s);
}

/* What is merged already has to be unmerged before the kernel takes a tree per node. */
static void test_nodes_with_pages_merged(void **state)
{
	for (int fits = 0; fits < 2; fits++) {
		struct scene s;

		open_scene(&s, 2);
		s.guests[1].domain = 1;
		s.guests[1].bound_mask = s.guests[1].seen_mask = 2;
		s.host.ksm.run = 1;
		s.host.ksm.pages_shared = 1000;
		s.host.ksm.pages_sharing = (fits ? 2 : 4) * GIB / PAGE;
		scene_step(&s);
		assert_int_equal(s.host.ksm.run, 0);
		if (fits) {
			assert_int_equal(scene_kind(&s, POL_KSM_NODES)->to2, 1);
			follow(&s);
			assert_int_equal(s.host.ksm.run, 2);
			run(&s, 5);
			assert_int_equal(s.plan->merge.mode, POL_MERGE_NODES);
			assert_int_equal(s.host.ksm.across_nodes, 0);
			assert_int_equal(s.host.ksm.run, 1);
		} else {
			assert_null(scene_kind(&s, POL_KSM_NODES));
			assert_int_equal(s.plan->merge.mode, POL_MERGE_TURNS);
		}
		scene_close(&s);
	}
}

/*
 * Pages that were merged across lie on the other's node until they are unmerged. Those that lie
 * there for another reason end in turns, after a while of waiting for memd to look.
 */
static void test_pages_on_the_other_s_node(void **state)
{
	for (int stay = 0; stay < 2; stay++) {
		struct scene s;

		open_scene(&s, 2);
		s.guests[1].domain = 1;
		s.guests[1].bound_mask = 2;
		s.guests[1].seen_mask = 3;
		s.host.ksm.run = 1;
		s.host.ksm.pages_shared = s.host.ksm.pages_sharing = 1000;
		for (int t = 0; t < 30; t++) {
			run(&s, 1);
			assert_int_not_equal(s.host.ksm.run, 1);
		}
		assert_int_equal(s.host.ksm.across_nodes, 0);
		if (!stay)
			s.guests[1].seen_mask = 2;
		run(&s, 1);
		assert_int_equal(s.host.ksm.run == 1, !stay);
		run(&s, 200);
		assert_int_equal(s.plan->merge.mode, stay ? POL_MERGE_TURNS : POL_MERGE_NODES);
		assert_int_equal(s.host.ksm.run, 1);
		scene_close(&s);
	}
}

static void test_no_tree_per_node_without_numa(void **state)
{
	struct scene s;

	open_scene(&s, 2);
	s.guests[1].domain = 1;
	s.guests[1].bound_mask = s.guests[1].seen_mask = 2;
	s.host.ksm.across_nodes = POL_ABSENT;
	run(&s, 10);
	assert_int_equal(s.plan->merge.mode, POL_MERGE_TURNS);
	assert_int_equal(s.guests[0].merge_on + s.guests[1].merge_on, 1);
	scene_close(&s);
}

/* A write that has no effect is not waited for for ever. */
static void test_nodes_refused_means_turns(void **state)
{
	struct scene s;

	open_scene(&s, 2);
	s.guests[1].domain = 1;
	s.guests[1].bound_mask = 2;
	for (int t = 0; t < 30; t++) {
		run(&s, 1);
		s.host.ksm.across_nodes = 1;
	}
	assert_int_equal(s.plan->merge.mode, POL_MERGE_TURNS);
	assert_int_equal(s.guests[0].merge_on + s.guests[1].merge_on, 1);
	assert_int_equal(s.host.ksm.run, 1);
	scene_close(&s);
}

static void test_unmerging_that_does_not_fit_is_refused(void **state)
{
	struct scene s;

	open_scene(&s, 2);
	s.guests[1].domain = 1;
	s.guests[1].resident_bytes = GIB;
	s.guests[1].merging_bytes = 512 * MIB;
	s.host.available_bytes = 900 * MIB; /* of which 640 MiB are wanted free */
	s.host.ksm.run = 1;
	run(&s, 30);
	assert_true(s.guests[1].merge_on);
	assert_int_equal(s.host.ksm.run, 0);
	assert_true(s.plan->merge.stopped);
	assert_int_equal(s.plan->merge.why, POL_WHY_NOT_FIT);
	assert_int_equal(s.plan->merge.guest, 2);
	assert_true(scene_view(&s, 2)->merge_refused);
	/* Room comes. */
	s.host.available_bytes = 1300 * MIB;
	run(&s, 20);
	assert_false(s.guests[1].merge_on);
	assert_int_equal(s.host.ksm.run, 1);
	assert_false(scene_view(&s, 2)->merge_refused);
	scene_close(&s);
}

/* Two that fit one by one, but not both. */
static void test_room_is_used_once(void **state)
{
	struct scene s;

	open_scene(&s, 3);
	s.guests[1].domain = s.guests[2].domain = 1;
	s.guests[1].resident_bytes = s.guests[2].resident_bytes = 256 * MIB;
	s.guests[1].merging_bytes = s.guests[2].merging_bytes = 400 * MIB;
	s.host.available_bytes = 640 * MIB + 500 * MIB;
	scene_step(&s);
	assert_int_equal(count(&s, POL_MERGE), 1);
	scene_close(&s);
}

static void test_one_that_cannot_be_switched_off(void **state)
{
	struct scene s;

	open_scene(&s, 2);
	run(&s, 5);
	assert_int_equal(s.host.ksm.run, 1);
	s.guests[0].merging_bytes = GIB;
	s.guests[1].domain = 1;
	s.guests[0].domain = 2;
	s.guests[1].merge_switch = false;
	/* One of them has the turn from the start: it is the one that leaves no choice. */
	run(&s, 10);
	assert_int_equal(s.host.ksm.run, 1);
	assert_int_equal(s.plan->merge.domain, 1);
	assert_false(s.guests[0].merge_on);
	/* Neither of two can. */
	s.guests[0].merge_switch = false;
	s.guests[0].merge_on = true;
	run(&s, 10);
	assert_int_equal(s.host.ksm.run, 0);
	assert_int_equal(s.plan->merge.why, POL_WHY_DOMAIN_STUCK);
	assert_int_equal(s.plan->merge.guest, 1);
	scene_close(&s);
}

/* A guest whose monitor hangs is asked when it answers again; until then KSM stands still. */
static void test_one_that_does_not_answer(void **state)
{
	struct scene s;

	open_scene(&s, 2);
	s.guests[1].domain = 1;
	s.guests[1].resident_bytes = GIB;
	s.guests[1].answering = false;
	s.host.ksm.run = 1;
	for (int t = 0; t < 30; t++) {
		run(&s, 1);
		assert_int_equal(count(&s, POL_MERGE), 0);
		assert_int_equal(s.host.ksm.run, 0);
	}
	assert_int_equal(s.plan->merge.why, POL_WHY_DOMAIN_STUCK);
	s.guests[1].answering = true;
	run(&s, 5);
	assert_int_equal(s.host.ksm.run, 1);
	scene_close(&s);
}

static void test_unsorted_guest_stops_it(void **state)
{
	struct scene s;

	open_scene(&s, 1);
	run(&s, 5);
	assert_int_equal(s.host.ksm.run, 1);
	s.host.ksm.unsorted = true;
	run(&s, 1);
	assert_int_equal(s.host.ksm.run, 0);
	s.host.ksm.unsorted = false;
	run(&s, 1);
	assert_int_equal(s.host.ksm.run, 1);
	scene_close(&s);
}

static unsigned int active(const struct scene *s)
{
	assert_true(s->plan->merge.has_domain);
	return s->plan->merge.domain;
}

/* The turn goes to who brings clearly more, not before it has lasted, and not back and forth. */
static void test_turns_by_gain_with_hysteresis(void **state)
{
	struct scene s;
	unsigned int turns = 0, now;

	open_scene(&s, 2);
	s.guests[1].domain = 1;
	s.guests[1].resident_bytes = 2 * GIB - MIB;
	run(&s, 5);
	assert_int_equal(active(&s), 0);
	/* Domain 0 saves next to nothing; what 1 would is not known and expected to be more. */
	s.guests[0].ksm_bytes = s.guests[0].merging_bytes = 2 * MIB;
	run(&s, 500);
	assert_int_equal(active(&s), 0);
	run(&s, 200);
	assert_int_equal(active(&s), 1);
	assert_false(s.guests[0].merge_on);
	assert_true(s.guests[1].merge_on);
	/* It does bring more; and a little less than twice as much is no reason to go back. */
	s.guests[1].ksm_bytes = s.guests[1].merging_bytes = 300 * MIB;
	for (now = 1; turns < 3000; turns++) {
		run(&s, 1);
		now += active(&s) != 1;
	}
	assert_int_equal(now, 1);
	scene_close(&s);
}

/* A turn ends only when what it has merged can be unmerged. */
static void test_no_turn_that_does_not_fit(void **state)
{
	struct scene s;

	open_scene(&s, 2);
	s.guests[1].domain = 1;
	s.guests[1].resident_bytes = 2 * GIB - MIB;
	run(&s, 5);
	s.guests[0].ksm_bytes = 2 * MIB;
	s.guests[0].merging_bytes = GIB;
	s.host.available_bytes = GIB;
	run(&s, 1500);
	assert_int_equal(active(&s), 0);
	assert_int_equal(s.host.ksm.run, 1);
	scene_close(&s);
}

static void test_a_domain_that_leaves_frees_the_turn(void **state)
{
	struct scene s;

	open_scene(&s, 2);
	s.guests[1].domain = 1;
	s.guests[1].resident_bytes = GIB;
	run(&s, 10);
	assert_int_equal(active(&s), 0);
	s.guests[0] = s.guests[1];
	s.host.n_guests = 1;
	run(&s, 5);
	assert_true(s.guests[0].merge_on);
	assert_int_equal(s.plan->merge.mode, POL_MERGE_COMMON);
	assert_int_equal(s.host.ksm.run, 1);
	scene_close(&s);
}

static void test_ksm_of_others_is_left_alone(void **state)
{
	struct scene s;

	open_scene(&s, 2);
	s.guests[1].domain = 1;
	s.config.ksm_manage = false;
	pol_configure(s.pol, &s.config);
	s.host.ksm.run = 1;
	scene_run(&s, 10);
	assert_int_equal(s.plan->n_actions, 0);
	scene_close(&s);
}

/* KSM keeps watch only; then more of a guest becomes mergeable: it is at it again. */
static void test_more_of_a_guest_is_new(void **state)
{
	struct scene s;

	open_scene(&s, 1);
	s.guests[0].memory_bytes = 64 * MIB; /* what the scene marks of it */
	run(&s, 5);
	for (int t = 0; t < 60; t++) {
		s.host.ksm.full_scans++;
		s.host.ksm.cpu_us += 100000;
		run(&s, 1);
	}
	assert_true(s.pol->ksm.exhausted);
	s.guests[0].memory_bytes = 72 * MIB; /* a little more is no news */
	run(&s, 3);
	assert_true(s.pol->ksm.exhausted);
	s.guests[0].memory_bytes = 256 * MIB;
	run(&s, 3);
	assert_false(s.pol->ksm.exhausted);
	scene_close(&s);
}

/* ---- whatever happens ---- */

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
		open_scene(&s, below(6));
		for (size_t i = 0; i < s.host.n_guests; i++)
			s.guests[i] = any_guest(i + 1);
		s.host.ksm.run = 1;
		for (int t = 0; t < 500; t++, steps++) {
			run(&s, 1);
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
		cmocka_unit_test(test_one_domain_is_left_as_it_is),
		cmocka_unit_test(test_stopped_at_once_then_sorted),
		cmocka_unit_test(test_apart_on_nodes),
		cmocka_unit_test(test_nodes_with_pages_merged),
		cmocka_unit_test(test_pages_on_the_other_s_node),
		cmocka_unit_test(test_no_tree_per_node_without_numa),
		cmocka_unit_test(test_nodes_refused_means_turns),
		cmocka_unit_test(test_unmerging_that_does_not_fit_is_refused),
		cmocka_unit_test(test_room_is_used_once),
		cmocka_unit_test(test_one_that_cannot_be_switched_off),
		cmocka_unit_test(test_one_that_does_not_answer),
		cmocka_unit_test(test_unsorted_guest_stops_it),
		cmocka_unit_test(test_turns_by_gain_with_hysteresis),
		cmocka_unit_test(test_no_turn_that_does_not_fit),
		cmocka_unit_test(test_a_domain_that_leaves_frees_the_turn),
		cmocka_unit_test(test_ksm_of_others_is_left_alone),
		cmocka_unit_test(test_more_of_a_guest_is_new),
		cmocka_unit_test(test_domains_never_mix),
	};

	return cmocka_run_group_tests_name("policy_merge", tests, NULL, NULL);
}
