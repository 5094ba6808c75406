// SPDX-License-Identifier: Apache-2.0
/* Looks at what trust domains share: when, and for how long what they found is told the policy. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "memd/daemon.h"
#include "tests/unit/fake_sharing.h"

static struct {
	struct daemon daemon;
	struct daemon_options options;
	struct config config;
	struct config_guest sections[2];
	struct guest guests[3];
	struct guest *list[3];
	struct pol_guest snapshot[3];
	unsigned int looks;
	uint64_t pages; /* that each two of them share */
} w;

static int scan(int rootfd, const struct sharing_target *targets, size_t n,
		const struct sharing_options *options, struct sharing **ret_sharing)
{
	(void)rootfd, (void)targets, (void)options;
	w.looks++;
	*ret_sharing = fake_sharing(n, w.pages);
	return 0;
}

/* Guests a and b of one domain, c of another, all known. */
static int setup(void **state)
{
	struct daemon *d = &w.daemon;

	(void)state;
	memset(&w, 0, sizeof(w));
	for (size_t i = 0; i < 3; i++) {
		w.guests[i] = (struct guest){
			.all = &d->guests, .id = 2 * i + 1, .known = true, .pid = 100 + (pid_t)i};
		w.guests[i].name[0] = (char)('a' + i);
		w.list[i] = &w.guests[i];
		w.snapshot[i].id = w.guests[i].id;
	}
	w.sections[0] = (struct config_guest){.name = "c", .domain = "other", .domain_number = 1};
	w.config.guests = w.sections;
	w.config.n_guests = 1;
	d->options = &w.options;
	d->config = &w.config;
	d->guests = (struct guests){.v = w.list, .n = 3, .config = &w.config};
	d->snapshot_guests = w.snapshot;
	d->snapshot.n_guests = 3;
	d->ksm_aside = true; /* no chunks */
	assert_true(sd_event_new(&d->event) >= 0);
	assert_int_equal(isolation_open(-1, scan, &d->isolation), 0);
	assert_int_equal(chunk_work_open(-1, &d->chunk_work), 0);
	assert_true(daemon_merge_sources(d) >= 0);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	isolation_close(w.daemon.isolation);
	chunk_work_close(w.daemon.chunk_work);
	free(w.daemon.crossed.crossed);
	sd_event_unref(w.daemon.event);
	return 0;
}

/* Do ticks so much later than now lead to a look? Its result is taken then. */
static bool looks_in(uint64_t later_us)
{
	unsigned int before = w.looks;
	uint64_t taken_us = w.daemon.crossed_us;

	for (int i = 0; i < 20 && w.looks == before; i++) {
		daemon_merge_tick(&w.daemon, clock_now_us() + later_us);
		sd_event_run(w.daemon.event, 5000);
	}
	if (w.looks == before)
		return false;
	for (int i = 0; i < 1000 && w.daemon.crossed_us == taken_us; i++)
		sd_event_run(w.daemon.event, 5000);
	assert_true(w.daemon.crossed_us > taken_us);
	return true;
}

static uint64_t told(size_t i)
{
	w.snapshot[i].crossed_bytes = 1;
	daemon_merge_snapshot(&w.daemon);
	return w.snapshot[i].crossed_bytes;
}

static void test_told_until_something_changes(void **state)
{
	struct pol_action action = {.kind = POL_KSM_RUN, .to = 1};
	struct pol_plan plan = {.actions = &action, .n_actions = 1};

	(void)state;
	w.pages = 3;
	assert_true(told(0) == POL_ABSENT);
	assert_true(looks_in(0));
	assert_int_equal(told(0), 3 * 4096);
	assert_int_equal(told(1), 3 * 4096);
	assert_int_equal(told(2), 2 * 3 * 4096); /* with either of them */
	assert_int_equal(w.daemon.n_errors, 2);
	w.snapshot[1].id++; /* one that was not there */
	assert_true(told(1) == POL_ABSENT);
	assert_int_equal(told(2), 2 * 3 * 4096);

	daemon_merge_acted(&w.daemon, &plan);
	assert_int_equal(told(0), 3 * 4096);
	action.to = 0;
	daemon_merge_acted(&w.daemon, &plan);
	assert_true(told(0) == POL_ABSENT);
	assert_true(looks_in(0));
	assert_int_equal(told(0), 3 * 4096);
	action = (struct pol_action){.kind = POL_KSM_NODES};
	daemon_merge_acted(&w.daemon, &plan);
	assert_true(told(0) == POL_ABSENT);
}

static void test_looked_at_soon(void **state)
{
	(void)state;
	assert_true(looks_in(0));
	assert_int_equal(told(0), 0);
	assert_false(looks_in(0));
	/* KSM is at work and nothing was shared: there is no hurry. */
	daemon_merge_changed(&w.daemon);
	assert_false(looks_in(0));
	w.daemon.merge.stopped = true;
	assert_true(looks_in(0));
	assert_false(looks_in(0));
	/* Not while a guest is being switched, but now and then in any case. */
	daemon_merge_changed(&w.daemon);
	w.guests[1].merge_open = 1;
	assert_false(looks_in(0));
	assert_true(looks_in(31 * USEC_PER_SEC));
	/* What was shared is looked at again when that may be over. */
	w.guests[1].merge_open = 0;
	w.daemon.merge.stopped = false;
	w.pages = 1;
	assert_true(looks_in(31 * USEC_PER_SEC));
	assert_false(looks_in(0));
	daemon_merge_changed(&w.daemon);
	assert_true(looks_in(0));
}

static void test_no_domains_no_looks(void **state)
{
	(void)state;
	w.config.n_guests = 0;
	assert_false(looks_in(0));
	w.config.n_guests = 1;
	w.daemon.guests.n = 2; /* a and b alone */
	assert_false(looks_in(0));
	assert_true(told(0) == POL_ABSENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_told_until_something_changes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_looked_at_soon, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_domains_no_looks, setup, teardown),
	};

	return cmocka_run_group_tests_name("memd_crossed", tests, NULL, NULL);
}
