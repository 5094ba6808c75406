// SPDX-License-Identifier: Apache-2.0
/* One tree for all NUMA nodes, or one for each: by what both bring, and safely. */
#include "tests/unit/merge_scene.h"

/* Two nodes with a guest each, half of whose memory is merged. */
static void open_nodes(struct scene *s)
{
	merge_scene_open(s, 2);
	s->host.n_nodes = 2;
	for (uint32_t i = 0; i < 2; i++) {
		s->host.nodes[i] = (struct pol_node){.node = i,
						     .memory_bytes = 4 * GIB,
						     .free_bytes = 2 * GIB,
						     .cpus = 4,
						     .distance = {10, 10}};
		s->host.nodes[i].distance[1 - i] = 20;
		s->guests[i].bound_mask = s->guests[i].seen_mask = POL_ABSENT;
		s->guests[i].merging_bytes = GIB;
	}
	s->host.ksm.run = 1;
	s->host.ksm.pages_shared = GIB / PAGE;
	s->host.ksm.pages_sharing = GIB / PAGE;
	s->host.ksm.across_gain_bytes = POL_ABSENT;
}

/* Seconds in which the guests use so many processors each. */
static void run(struct scene *s, unsigned int seconds, uint64_t cpus)
{
	while (seconds--) {
		for (size_t i = 0; i < s->host.n_guests; i++)
			s->guests[i].cpu_us += cpus * SEC;
		merge_scene_run(s, 1);
	}
}

static void measured(struct scene *s, uint64_t gain, uint64_t far)
{
	s->host.ksm.across_gain_bytes = gain;
	for (size_t i = 0; i < s->host.n_guests; i++)
		s->guests[i].far_bytes = far;
}

static enum pol_across_why why(const struct scene *s)
{
	return s->plan->merge.across.why;
}

/* Two guests with 4 busy processors each, a quarter of whose memory is merged far away: 540 s an
 * hour by the formula (3600 * 4 * 0.3 * 0.25 * 2 = 2160 s), worth 2160 MiB. */
static void test_too_far(void **state)
{
	struct scene s;
	uint64_t resident;

	open_nodes(&s);
	resident = s.guests[0].resident_bytes;
	measured(&s, 512 * MIB, resident / 4);
	run(&s, 590, 4);
	assert_int_equal(why(&s), POL_ACROSS_WATCH);
	assert_int_equal(s.host.ksm.across_nodes, 1);
	assert_in_range(s.plan->merge.across.cost_us, 2000 * SEC, 2300 * SEC);
	for (int i = 0; i < 60 && s.host.ksm.run == 1; i++)
		run(&s, 1, 4);
	/* It stands still first, then all is unmerged, then the value. */
	assert_int_equal(s.host.ksm.run, 0);
	assert_int_equal(scene_kind(&s, POL_KSM_RUN)->reason, POL_WHY_ACROSS_CHANGE);
	assert_null(scene_kind(&s, POL_KSM_NODES));
	run(&s, 1, 4);
	assert_int_equal(scene_kind(&s, POL_KSM_NODES)->to2, 1);
	assert_int_equal(scene_kind(&s, POL_KSM_NODES)->reason, POL_WHY_ACROSS_FAR);
	assert_in_range(scene_kind(&s, POL_KSM_NODES)->gain_us, 2000 * SEC, 2300 * SEC);
	assert_int_equal(why(&s), POL_ACROSS_CHANGING);
	assert_true(s.plan->merge.stopped);
	run(&s, 3, 4);
	assert_int_equal(s.host.ksm.across_nodes, 0);
	assert_int_equal(s.host.ksm.run, 1);
	assert_false(s.plan->merge.stopped);
	/* What is measured then is what it would be: it stays so, whatever that says, for an hour.
	 */
	measured(&s, 8 * GIB, 0);
	run(&s, 3000, 4);
	assert_int_equal(why(&s), POL_ACROSS_REST);
	assert_int_equal(s.host.ksm.across_nodes, 0);
	run(&s, 1300, 4);
	assert_int_equal(s.host.ksm.across_nodes, 1);
	scene_close(&s);
}

static void test_saves_more(void **state)
{
	struct scene s;

	open_nodes(&s);
	measured(&s, 1500 * MIB, s.guests[0].resident_bytes / 4);
	run(&s, 1500, 4);
	assert_int_equal(why(&s), POL_ACROSS_FITS);
	assert_int_equal(s.host.ksm.across_nodes, 1);
	/* Idle guests read nothing. */
	measured(&s, 0, s.guests[0].resident_bytes / 4);
	run(&s, 1500, 0);
	assert_int_equal(why(&s), POL_ACROSS_FITS);
	/* Not measured, not changed. */
	measured(&s, POL_ABSENT, POL_ABSENT);
	run(&s, 1500, 4);
	assert_int_equal(why(&s), POL_ACROSS_UNKNOWN);
	assert_int_equal(s.host.ksm.across_nodes, 1);
	scene_close(&s);
}

/* A while of it is not enough. */
static void test_must_last(void **state)
{
	struct scene s;

	open_nodes(&s);
	for (int i = 0; i < 10; i++) {
		measured(&s, 0, s.guests[0].resident_bytes / 4);
		run(&s, 400, 4);
		assert_int_equal(why(&s), POL_ACROSS_WATCH);
		measured(&s, 8 * GIB, s.guests[0].resident_bytes / 4);
		run(&s, 10, 4);
	}
	assert_int_equal(s.host.ksm.across_nodes, 1);
	scene_close(&s);
}

/* What is merged has to fit into what is free, on each node what is bound to it. */
static void test_must_fit(void **state)
{
	for (int bound = 0; bound < 2; bound++) {
		struct scene s;

		open_nodes(&s);
		measured(&s, 0, s.guests[0].resident_bytes / 4);
		if (bound) {
			s.guests[0].bound_mask = s.guests[0].seen_mask = 1;
			s.host.nodes[0].free_bytes = 512 * MIB;
		} else {
			s.host.ksm.pages_sharing = 4 * GIB / PAGE;
		}
		run(&s, 700, 4);
		assert_int_equal(why(&s), POL_ACROSS_NO_ROOM);
		assert_int_equal(s.host.ksm.run, 1);
		assert_int_equal(s.plan->merge.across.nodes, bound ? 1 : 0);
		assert_int_equal(s.plan->merge.across.unmerge_bytes, bound ? GIB : 4 * GIB);
		assert_in_range(s.plan->merge.across.room_bytes, 1,
				s.plan->merge.across.unmerge_bytes - 1);
		/* And once there is room it is done. */
		s.host.nodes[0].free_bytes = 3 * GIB;
		s.host.ksm.pages_sharing = GIB / PAGE;
		run(&s, 10, 4);
		assert_int_equal(s.host.ksm.across_nodes, 0);
		scene_close(&s);
	}
}

static void test_not_while_short(void **state)
{
	struct scene s;

	open_nodes(&s);
	measured(&s, 0, s.guests[0].resident_bytes / 4);
	s.host.ksm.pages_sharing = 10;
	s.host.available_bytes = 300 * MIB;
	run(&s, 800, 4);
	assert_int_equal(why(&s), POL_ACROSS_SHORT);
	assert_int_equal(s.host.ksm.across_nodes, 1);
	scene_close(&s);
}

static void configure(struct scene *s, enum pol_across across)
{
	s->config.merge_across = across;
	pol_configure(s->pol, &s->config);
}

static void test_as_configured(void **state)
{
	struct scene s;

	open_nodes(&s);
	configure(&s, POL_ACROSS_KEEP);
	measured(&s, 0, s.guests[0].resident_bytes / 4);
	run(&s, 1500, 4);
	assert_int_equal(why(&s), POL_ACROSS_KEPT);
	assert_int_equal(s.host.ksm.across_nodes, 1);
	configure(&s, POL_ACROSS_NO);
	run(&s, 10, 4);
	assert_int_equal(why(&s), POL_ACROSS_SET);
	assert_int_equal(s.host.ksm.across_nodes, 0);
	assert_int_equal(s.host.ksm.run, 1);
	configure(&s, POL_ACROSS_YES);
	s.host.ksm.pages_shared = s.host.ksm.pages_sharing = 1000;
	run(&s, 10, 4);
	assert_int_equal(why(&s), POL_ACROSS_SET);
	assert_int_equal(s.host.ksm.across_nodes, 1);
	assert_int_equal(s.host.ksm.run, 1);
	scene_close(&s);
}

/* It is no longer wanted while it is under way: KSM goes on with what there is. */
static void test_changed_mind(void **state)
{
	struct scene s;

	open_nodes(&s);
	configure(&s, POL_ACROSS_NO);
	run(&s, 2, 4);
	assert_int_equal(why(&s), POL_ACROSS_CHANGING);
	assert_int_not_equal(s.host.ksm.run, 1);
	configure(&s, POL_ACROSS_KEEP);
	run(&s, 3, 4);
	assert_int_equal(why(&s), POL_ACROSS_KEPT);
	assert_false(s.plan->merge.stopped);
	assert_int_equal(s.host.ksm.run, 1);
	assert_int_equal(s.host.ksm.across_nodes, 1);
	scene_close(&s);
}

/* A kernel that takes the order and does nothing is not asked for ever. */
static void test_refused(void **state)
{
	struct scene s;
	unsigned int orders = 0;

	open_nodes(&s);
	configure(&s, POL_ACROSS_NO);
	for (int i = 0; i < 2000; i++) {
		run(&s, 1, 0);
		orders += scene_kind(&s, POL_KSM_NODES) != NULL;
		s.host.ksm.across_nodes = 1;
	}
	assert_int_equal(why(&s), POL_ACROSS_REFUSED);
	assert_int_equal(s.host.ksm.run, 1);
	assert_in_range(orders, 2, 12);
	scene_close(&s);
}

/* Trust domains that lie apart keep their tree for each node, unless one for all is demanded. */
static void test_domains_decide(void **state)
{
	struct scene s;

	open_nodes(&s);
	for (size_t i = 0; i < 2; i++) {
		s.guests[i].domain = i;
		s.guests[i].bound_mask = s.guests[i].seen_mask = 1ull << i;
	}
	measured(&s, 8 * GIB, 0);
	run(&s, 1500, 4);
	assert_int_equal(s.plan->merge.mode, POL_MERGE_NODES);
	assert_int_equal(why(&s), POL_ACROSS_DOMAINS);
	assert_int_equal(s.host.ksm.across_nodes, 0);
	assert_int_equal(s.host.ksm.run, 1);
	configure(&s, POL_ACROSS_YES);
	run(&s, 100, 4);
	assert_int_equal(s.plan->merge.mode, POL_MERGE_TURNS);
	assert_int_equal(s.host.ksm.across_nodes, 1);
	assert_int_equal(s.guests[0].merge_on + s.guests[1].merge_on, 1);
	/* Left as it is: nodes do not help then. */
	configure(&s, POL_ACROSS_KEEP);
	run(&s, 100, 4);
	assert_int_equal(s.plan->merge.mode, POL_MERGE_TURNS);
	assert_int_equal(s.host.ksm.across_nodes, 1);
	scene_close(&s);
}

static void test_nothing_to_choose(void **state)
{
	struct scene s;

	open_nodes(&s);
	configure(&s, POL_ACROSS_NO);
	s.host.nodes[1].memory_bytes = 0; /* processors only */
	run(&s, 10, 4);
	assert_int_equal(why(&s), POL_ACROSS_NONE);
	assert_int_equal(s.host.ksm.across_nodes, 1);
	s.host.nodes[1].memory_bytes = 4 * GIB;
	s.host.ksm.across_nodes = POL_ABSENT;
	run(&s, 10, 4);
	assert_int_equal(why(&s), POL_ACROSS_NONE);
	assert_int_equal(s.host.ksm.run, 1);
	scene_close(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_too_far),		  cmocka_unit_test(test_saves_more),
		cmocka_unit_test(test_must_last),	  cmocka_unit_test(test_must_fit),
		cmocka_unit_test(test_not_while_short),	  cmocka_unit_test(test_as_configured),
		cmocka_unit_test(test_refused),		  cmocka_unit_test(test_domains_decide),
		cmocka_unit_test(test_nothing_to_choose), cmocka_unit_test(test_changed_mind),
	};

	return cmocka_run_group_tests_name("policy_merge_across", tests, NULL, NULL);
}
