// SPDX-License-Identifier: Apache-2.0
/*
 * Replaying a trace: one written as memd writes it is decided the same, tick by tick; restarts, new
 * configurations, a missing beginning, damage and cut ends are told apart; other laws and settings
 * make other days.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "memd/record.h"
#include "policy/parts.h"
#include "policy/simulate.h"
#include "tests/unit/tree.h"
#include "tools/replay.h"
#include "tools/settings.h"

#define GUESTS 8
#define LARGE  (1ull << 30)

struct day {
	struct sim sim;
	struct record *record;
};

static void day_open(struct day *day, const char *path, uint64_t size, bool dry_run)
{
	struct pol_config config;

	pol_config_default(&config);
	assert_int_equal(sim_open(&day->sim, &law_memd, &config, GUESTS), 0);
	day->sim.memory = 4 * GIB;
	for (size_t i = 0; i < GUESTS; i++)
		assert_non_null(sim_add(&day->sim, i % 3 ? SIM_IDLE : SIM_DATABASE, SIM_SOUND, GIB,
					3 * i + 1));
	assert_int_equal(record_open(path, size, dry_run, &day->record), 0);
	record_config(day->record, &config);
}

static void day_run(struct day *day, unsigned int ticks)
{
	while (ticks--) {
		assert_int_equal(sim_tick(&day->sim), 0);
		assert_int_equal(record_tick(day->record, &day->sim.host, day->sim.plan,
					     1700000000 * SEC + day->sim.now_us, day->sim.now_us),
				 0);
	}
}

static void day_close(struct day *day)
{
	record_close(day->record);
	sim_close(&day->sim);
}

/* A whole day of so many ticks; returns how many orders it has. */
static uint64_t write_day(const char *path, unsigned int ticks)
{
	struct day day;
	uint64_t orders;

	day_open(&day, path, LARGE, false);
	day_run(&day, ticks);
	orders = day.sim.regret.decisions;
	day_close(&day);
	return orders;
}

static json_object *replay(const char *path, const char *policies, const char *set)
{
	struct replay_options options = {.path = path};
	char *list = strdup(policies), *at = list, *name;
	json_object *document = NULL;

	assert_non_null(list);
	while ((name = strsep(&at, " ")))
		if (*name)
			assert_true(regret_add_law(&options.laws, name));
	free(list);
	if (set)
		options.sets[options.n_sets++] = set;
	assert_int_equal(replay_trace(&options, &document), 0);
	return document;
}

static uint64_t number(json_object *o, const char *key)
{
	uint64_t value = UINT64_MAX;

	assert_true(json_get_u64(o, key, &value));
	return value;
}

static void assert_check(json_object *document, const char *key, uint64_t ticks, uint64_t same)
{
	json_object *check = json_get_obj(document, key);

	assert_non_null(check);
	assert_int_equal(number(check, "ticks"), ticks);
	assert_int_equal(number(check, "same"), same);
}

static json_object *row(json_object *document, const char *policy)
{
	json_object *list = json_get_array(document, "policies");

	for (size_t i = 0; i < json_object_array_length(list); i++) {
		json_object *o = json_object_array_get_idx(list, i);

		if (strcmp(json_get_str(o, "policy"), policy) == 0)
			return o;
	}
	fail_msg("no row %s", policy);
	return NULL;
}

static bool has_note(json_object *document, const char *part)
{
	json_object *notes = json_get_array(document, "notes");

	for (size_t i = 0; i < json_object_array_length(notes); i++)
		if (strstr(json_object_get_string(json_object_array_get_idx(notes, i)), part))
			return true;
	return false;
}

/* What memd decided it decides again, with other ticks between starts ('M') in the middle. */
static void test_decides_the_same(void **state)
{
	AUTO_TREE struct tree tree = tree_new(NULL);
	AUTO_JSON json_object *document = NULL;
	char path[128];
	uint64_t orders;

	orders = write_day(tree_path(&tree, "trace", path, sizeof(path)), 2000);
	assert_true(orders > 20);
	document = replay(path, "memd", NULL);
	assert_int_equal(number(document, "schema"), 1);
	assert_int_equal(number(document, "guests"), GUESTS);
	assert_int_equal(number(document, "starts"), 1);
	assert_check(document, "check", 2000, 2000);
	assert_false(json_object_object_get_ex(document, "check_tail", NULL));
	assert_int_equal(json_object_array_length(json_get_array(document, "notes")), 0);
	/* The same law is given the same day. */
	assert_int_equal(number(row(document, "recorded"), "decisions"), orders);
	assert_int_equal(number(row(document, "memd"), "decisions"), orders);
	assert_int_equal(number(row(document, "memd"), "taken_bytes"),
			 number(row(document, "recorded"), "taken_bytes"));
}

/* A decision that is not ours is found, and when. */
static void test_finds_a_difference(void **state)
{
	AUTO_TREE struct tree tree = tree_new(NULL);
	AUTO_JSON json_object *document = NULL;
	struct day day;
	char path[128];

	day_open(&day, tree_path(&tree, "trace", path, sizeof(path)), LARGE, false);
	day_run(&day, 100);
	for (int t = 0; t < 100; t++) {
		struct pol_plan plan;

		assert_int_equal(sim_tick(&day.sim), 0);
		plan = *day.sim.plan;
		plan.need_bytes += t == 50;
		assert_int_equal(record_tick(day.record, &day.sim.host, &plan,
					     1700000000 * SEC + day.sim.now_us, day.sim.now_us),
				 0);
	}
	day_close(&day);
	document = replay(path, "", NULL);
	assert_check(document, "check", 200, 199);
	/* The simulation begins at 1000 s. */
	assert_string_equal(json_get_str(json_get_obj(document, "check"), "first_difference"),
			    "2023-11-14T22:32:31Z");
}

/* memd is started anew in the middle: its policy begins with nothing, and so does the replay. */
static void test_restart(void **state)
{
	AUTO_TREE struct tree tree = tree_new(NULL);
	AUTO_JSON json_object *document = NULL;
	struct day day;
	char path[128];

	tree_path(&tree, "trace", path, sizeof(path));
	day_open(&day, path, LARGE, false);
	day_run(&day, 300);
	/* The host goes on, its memd does not. */
	record_close(day.record);
	law_memd.close(day.sim.law_state);
	day.sim.law_state = law_memd.open(&day.sim.config, GUESTS);
	assert_int_equal(record_open(path, LARGE, false, &day.record), 0);
	record_config(day.record, &day.sim.config);
	day_run(&day, 400);
	day_close(&day);
	document = replay(path, "memd mom", NULL);
	assert_int_equal(number(document, "starts"), 2);
	assert_check(document, "check", 700, 700);
}

/* The configuration changes while memd runs. */
static void test_new_configuration(void **state)
{
	AUTO_TREE struct tree tree = tree_new(NULL);
	AUTO_JSON json_object *document = NULL;
	struct pol_config config;
	struct day day;
	char path[128];

	day_open(&day, tree_path(&tree, "trace", path, sizeof(path)), LARGE, false);
	day_run(&day, 300);
	config = day.sim.config;
	config.high_min_bytes = 256 * MIB;
	config.guest_reserve_bytes = 16 * MIB;
	law_memd.configure(day.sim.law_state, &config);
	record_config(day.record, &config);
	day_run(&day, 1000);
	day_close(&day);
	document = replay(path, "", NULL);
	assert_check(document, "check", 1300, 1300);
}

/* The file that is left of a longer one begins in the middle: what memd remembered is not in it. */
static void test_rotated_trace(void **state)
{
	AUTO_TREE struct tree tree = tree_new(NULL);
	AUTO_JSON json_object *both = NULL;
	AUTO_JSON json_object *tail = NULL;
	struct day day;
	char path[128], older[160];

	tree_path(&tree, "trace", path, sizeof(path));
	snprintf(older, sizeof(older), "%s.1", path);
	day_open(&day, path, 160000, false);
	day_run(&day, 1000);
	day_close(&day);
	assert_int_equal(access(older, F_OK), 0);

	both = replay(path, "", NULL);
	assert_true(has_note(both, "trace.1"));
	assert_check(both, "check", 1000, 1000);
	assert_int_equal(unlink(older), 0);
	tail = replay(path, "", NULL);
	assert_check(tail, "check", 0, 0);
	assert_true(number(json_get_obj(tail, "check_tail"), "ticks") > 100);
	assert_int_equal(number(json_get_obj(tail, "check_tail"), "ticks"), number(tail, "ticks"));
}

static void test_cut_and_damaged(void **state)
{
	AUTO_TREE struct tree tree = tree_new(NULL);
	AUTO_JSON json_object *cut = NULL;
	AUTO_JSON json_object *damaged = NULL;
	struct replay_options options = {.path = NULL};
	json_object *document = NULL;
	char path[128];
	struct stat st;
	FILE *file;

	write_day(tree_path(&tree, "trace", path, sizeof(path)), 500);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(truncate(path, st.st_size - 3), 0);
	cut = replay(path, "", NULL);
	assert_true(has_note(cut, "cut off"));
	assert_check(cut, "check", 499, 499);

	file = fopen(path, "r+e");
	assert_non_null(file);
	assert_int_equal(fseek(file, st.st_size / 2, SEEK_SET), 0);
	assert_int_equal(fputs("garbage", file) < 0, 0);
	assert_int_equal(fclose(file), 0);
	damaged = replay(path, "memd pve", NULL);
	assert_true(has_note(damaged, "damaged at byte"));
	assert_in_range(number(damaged, "ticks"), 50, 450);
	assert_check(damaged, "check", number(damaged, "ticks"), number(damaged, "ticks"));

	/* Nothing of use in it, or no such file. */
	options.path = path;
	assert_int_equal(truncate(path, 40), 0);
	assert_int_equal(replay_trace(&options, &document), -ENODATA);
	options.path = "/nonexistent/trace";
	assert_int_equal(replay_trace(&options, &document), -ENOENT);
	assert_null(document);
}

/* In a dry run nothing was carried out; the replay does carry it out. */
static void test_dry_run(void **state)
{
	AUTO_TREE struct tree tree = tree_new(NULL);
	AUTO_JSON json_object *document = NULL;
	struct day day;
	char path[128];

	day_open(&day, tree_path(&tree, "trace", path, sizeof(path)), LARGE, true);
	/* The simulator runs the law that does nothing; memd decides on what it shows. */
	law_memd.close(day.sim.law_state);
	day.sim.law = &law_none;
	day.sim.law_state = law_none.open(&day.sim.config, GUESTS);
	{
		void *memd = law_memd.open(&day.sim.config, GUESTS);

		for (int t = 0; t < 1500; t++) {
			const struct pol_plan *plan;

			assert_int_equal(sim_tick(&day.sim), 0);
			assert_int_equal(law_memd.step(memd, &day.sim.host, day.sim.now_us, &plan),
					 0);
			assert_int_equal(record_tick(day.record, &day.sim.host, plan,
						     day.sim.now_us, day.sim.now_us),
					 0);
		}
		law_memd.close(memd);
	}
	day_close(&day);
	document = replay(path, "memd", NULL);
	assert_true(has_note(document, "dry run"));
	assert_check(document, "check", 1500, 1500);
	assert_int_equal(number(row(document, "recorded"), "taken_bytes"), 0);
	assert_true(number(row(document, "memd"), "taken_bytes") > 0);
	assert_true(number(row(document, "memd"), "available_bytes") >
		    number(row(document, "recorded"), "available_bytes"));
}

/* Other laws, and other settings of memd's, on the same day. */
static void test_policies_and_settings(void **state)
{
	AUTO_TREE struct tree tree = tree_new(NULL);
	AUTO_JSON json_object *all = NULL;
	AUTO_JSON json_object *off = NULL;
	AUTO_JSON json_object *deep = NULL;
	struct replay_options options = {.sets = {"hgih=8"}, .n_sets = 1};
	json_object *none = NULL;
	char path[128];

	write_day(tree_path(&tree, "trace", path, sizeof(path)), 1500);
	all = replay(path, "all", NULL);
	assert_int_equal(json_object_array_length(json_get_array(all, "policies")), 6);
	assert_int_equal(number(row(all, "none"), "decisions"), 0);
	assert_true(number(row(all, "mom"), "decisions") > 0);
	/* Without a minimum these two leave a guest alone. */
	assert_int_equal(number(row(all, "pve"), "decisions"), 0);
	assert_int_equal(number(row(all, "squeezed"), "decisions"), 0);

	off = replay(path, "memd", "balloon=off");
	assert_int_equal(number(row(off, "memd"), "decisions"), 0);
	deep = replay(path, "memd", "high=20");
	assert_true(number(row(deep, "memd"), "available_bytes") >
		    number(row(all, "memd"), "available_bytes"));
	/* What is asked is not what was recorded: the check is of the recorded. */
	assert_check(deep, "check", 1500, 1500);

	options.path = path;
	assert_int_equal(replay_trace(&options, &none), -EINVAL);
	options.sets[0] = "high=1";
	assert_int_equal(replay_trace(&options, &none), -EINVAL);
	options.sets[0] = "high=9";
	options.min_percent = 25;
	regret_add_law(&options.laws, "pve");
	assert_int_equal(replay_trace(&options, &none), 0);
	assert_true(number(row(none, "pve"), "decisions") > 0);
	json_object_put(none);
}

static void test_settings(void **state)
{
	struct pol_config config;

	pol_config_default(&config);
	assert_true(settings_apply(&config, "high=8"));
	assert_int_equal(config.high_ppm, 80000);
	assert_true(settings_apply(&config, "step=64M"));
	assert_int_equal(config.step_bytes, 64 * MIB);
	assert_true(settings_apply(&config, "trouble-hold=90s"));
	assert_int_equal(config.trouble_hold_us, 90 * SEC);
	assert_true(settings_apply(&config, "ksm=off"));
	assert_false(config.ksm_manage);
	assert_true(settings_check(&config));
	assert_false(settings_apply(&config, "high"));
	assert_false(settings_apply(&config, "=8"));
	assert_false(settings_apply(&config, "high=much"));
	assert_false(settings_apply(&config, "tick=1s")); /* not of the policy */
	assert_true(settings_apply(&config, "soft=8.5"));
	assert_false(settings_check(&config));
}

static void test_laws_and_numbers(void **state)
{
	struct regret_laws laws = {.n_laws = 0};
	uint64_t value = 7;

	assert_true(regret_add_law(&laws, "mom"));
	assert_true(regret_add_law(&laws, "mom"));
	assert_int_equal(laws.n_laws, 1);
	assert_false(regret_add_law(&laws, "windows"));
	assert_true(regret_add_law(&laws, "all"));
	assert_int_equal(laws.n_laws, 5);
	assert_true(regret_number("seed", "18446744073709551615", 0, UINT64_MAX, &value));
	assert_true(value == UINT64_MAX);
	assert_false(regret_number("hours", "0", 1, 24, &value));
	assert_false(regret_number("hours", "-1", 1, 24, &value));
	assert_false(regret_number("hours", "3x", 1, 24, &value));
	assert_false(regret_number("hours", "", 1, 24, &value));
	assert_true(value == UINT64_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_decides_the_same),
		cmocka_unit_test(test_finds_a_difference),
		cmocka_unit_test(test_restart),
		cmocka_unit_test(test_new_configuration),
		cmocka_unit_test(test_rotated_trace),
		cmocka_unit_test(test_cut_and_damaged),
		cmocka_unit_test(test_dry_run),
		cmocka_unit_test(test_policies_and_settings),
		cmocka_unit_test(test_settings),
		cmocka_unit_test(test_laws_and_numbers),
	};

	log_init("memctl_replay", LOG_LEVEL_ERR);
	return cmocka_run_group_tests_name("memctl_replay", tests, NULL, NULL);
}
