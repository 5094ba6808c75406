// SPDX-License-Identifier: Apache-2.0
/* The configuration: values, files with drop-ins, complaints with file and line, documentation. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "common/size.h"
#include "memd/config.h"
#include "memd/config_value.h"
#include "tests/unit/tree.h"

static char said[4096];
static unsigned int errors, warnings;

static void say(void *ctx, bool error, const char *text)
{
	size_t used = strlen(said);

	(void)ctx;
	*(error ? &errors : &warnings) += 1;
	snprintf(said + used, sizeof(said) - used, "%s\n", text);
}

static int load_text(const char *text, struct config **ret)
{
	AUTO_TREE struct tree tree = tree_new(NULL);
	char path[128];
	struct config_source source = {.file = tree_path(&tree, "m.conf", path, sizeof(path))};

	said[0] = '\0';
	errors = warnings = 0;
	tree_set(&tree, "m.conf", text);
	return config_load(&source, say, NULL, ret);
}

static void assert_refused(const char *text, const char *complaint)
{
	struct config *config = NULL;

	assert_int_equal(load_text(text, &config), -EINVAL);
	assert_null(config);
	assert_true(errors > 0);
	assert_contains(said, complaint);
}

static void test_values(void **state)
{
	static const struct {
		enum config_type type;
		const char *text;
		uint64_t value;
	} good[] = {
		{CONFIG_DURATION, "500ms", 500000},
		{CONFIG_DURATION, "2", 2000000},
		{CONFIG_DURATION, "1.5m", 90000000},
		{CONFIG_DURATION, "0.25s", 250000},
		{CONFIG_DURATION, "1h", 3600000000U},
		{CONFIG_SIZE, "1.5G", 1536 * MIB},
		{CONFIG_NUMBER, "0", 0},
	};
	static const struct {
		enum config_type type;
		const char *text;
	} bad[] = {
		{CONFIG_DURATION, ""},	     {CONFIG_DURATION, "s"},
		{CONFIG_DURATION, "-1s"},    {CONFIG_DURATION, "5 bananas"},
		{CONFIG_DURATION, "1.s"},    {CONFIG_DURATION, "99999999999999999999h"},
		{CONFIG_DURATION, "0.1us"},  {CONFIG_SIZE, "1X"},
		{CONFIG_PERCENT, "6.00001"}, {CONFIG_PERCENT, "six"},
		{CONFIG_NUMBER, "1.5"},	     {CONFIG_SWITCH, "perhaps"},
		{CONFIG_PATH, "relative"},   {CONFIG_GLOBS, "/run/a/*.qmp b/*.qmp"},
	};
	char why[256], field[CONFIG_TEXT_MAX];
	uint32_t ppm = 0;
	uint64_t value;
	bool on = false;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		assert_int_equal(config_value_parse(good[i].type, NULL, 0, 0, good[i].text, &value,
						    why, sizeof(why)),
				 0);
		assert_int_equal(value, good[i].value);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		why[0] = '\0';
		assert_int_equal(config_value_parse(bad[i].type, NULL, 0, 0, bad[i].text, field,
						    why, sizeof(why)),
				 -EINVAL);
		assert_true(strlen(why) > 5);
	}
	assert_int_equal(
		config_value_parse(CONFIG_PERCENT, NULL, 0, 0, "0.1", &ppm, why, sizeof(why)), 0);
	assert_int_equal(ppm, 1000);
	assert_int_equal(
		config_value_parse(CONFIG_SWITCH, NULL, 0, 0, "Yes", &on, why, sizeof(why)), 0);
	assert_true(on);
	assert_int_equal(config_value_parse(CONFIG_DURATION, NULL, 100000, 60000000, "90s", &value,
					    why, sizeof(why)),
			 -EINVAL);
	assert_string_equal(why, "is not between 100ms and 1m");
	assert_int_equal(config_value_parse(CONFIG_PERCENT, NULL, 10000, 500000, "60%", &ppm, why,
					    sizeof(why)),
			 -EINVAL);
	assert_string_equal(why, "is not between 1 and 50");
}

/* What is printed is taken back as the same. */
static void test_round_trip(void **state)
{
	const uint64_t values[] = {0, 1, 999, 1000, 1500000, 60000000, 3600000000U, 1ULL << 40};
	const uint32_t ppms[] = {0, 1, 5, 10000, 125000, 1000000};
	char text[64], why[128];
	uint64_t back;
	uint32_t ppm;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(values); i++) {
		config_value_format(CONFIG_DURATION, NULL, &values[i], text, sizeof(text));
		assert_int_equal(config_value_parse(CONFIG_DURATION, NULL, 0, 0, text, &back, why,
						    sizeof(why)),
				 0);
		assert_int_equal(back, values[i]);
		config_value_format(CONFIG_SIZE, NULL, &values[i], text, sizeof(text));
		assert_int_equal(
			config_value_parse(CONFIG_SIZE, NULL, 0, 0, text, &back, why, sizeof(why)),
			0);
		assert_int_equal(back, values[i]);
	}
	for (size_t i = 0; i < ARRAY_SIZE(ppms); i++) {
		config_value_format(CONFIG_PERCENT, NULL, &ppms[i], text, sizeof(text));
		assert_int_equal(config_value_parse(CONFIG_PERCENT, NULL, 0, 0, text, &ppm, why,
						    sizeof(why)),
				 0);
		assert_int_equal(ppm, ppms[i]);
	}
}

static void test_defaults(void **state)
{
	const struct config_source nowhere = {.usr_dir = "/nonexistent", .etc_dir = "/nonexistent"};
	struct config *config = NULL;
	struct pol_config policy;

	(void)state;
	errors = warnings = 0;
	assert_int_equal(config_load(&nowhere, say, NULL, &config), 0);
	assert_int_equal(errors + warnings, 0);
	assert_int_equal(config->tick_us, 1000000);
	assert_string_equal(config->socket, "/run/memd/memd.sock");
	assert_string_equal(config->guest_globs, "/run/memd/guests/*.qmp");
	assert_string_equal(config->trace, "/var/lib/memd/trace");
	assert_int_equal(config->trace_bytes, 64 * MIB);
	assert_int_equal(config->log_level, LOG_LEVEL_INFO);
	pol_config_default(&policy);
	assert_memory_equal(&config->policy.high_ppm, &policy.high_ppm, sizeof(policy.high_ppm));
	assert_int_equal(config->policy.step_bytes, policy.step_bytes);
	config_free(config);
}

static void test_file(void **state)
{
	struct config *config = NULL;
	const struct config_guest *guest;

	(void)state;
	assert_int_equal(load_text("[memd]\nruntime-dir=/tmp/m\ntick = 2s # slow\ntrace=off\n"
				   "[policy]\nksm=off\nhigh=7.5\n"
				   "[guest web 1]\nshares=2000\nmin=512M\nmax=2G\nmanage=no\n"
				   "[guest db]\ndomain=acme\n",
				   &config),
			 0);
	assert_int_equal(warnings, 0);
	assert_int_equal(config->tick_us, 2000000);
	assert_string_equal(config->socket, "/tmp/m/memd.sock"); /* follows runtime-dir */
	assert_string_equal(config->trace, "");
	assert_false(config->policy.ksm_manage);
	assert_true(config->policy.balloon_manage);
	assert_int_equal(config->policy.high_ppm, 75000);
	guest = config_find_guest(config, "web 1");
	assert_non_null(guest);
	assert_int_equal(guest->shares, 2000);
	assert_int_equal(guest->min_bytes, 512 * MIB);
	assert_int_equal(guest->max_bytes, 2 * GIB);
	assert_false(guest->manage);
	guest = config_find_guest(config, "db");
	assert_non_null(guest);
	assert_int_equal(guest->shares, 1000);
	assert_true(guest->min_bytes == POL_ABSENT);
	assert_string_equal(guest->domain, "acme");
	assert_null(config_find_guest(config, "web"));
	config_free(config);
}

/* A reload that asks for other directories gets nothing of them, also not what follows from them.
 */
static void test_places_stay(void **state)
{
	struct config *old = NULL, *new = NULL;

	(void)state;
	assert_int_equal(load_text("[memd]\nruntime-dir=/tmp/m\nstate-dir=/tmp/s\n"
				   "socket=/tmp/memd\nguests=/tmp/*.qmp\n",
				   &old),
			 0);
	assert_int_equal(load_text("[memd]\nruntime-dir=/tmp/other\nstate-dir=/tmp/other\n", &new),
			 0);
	assert_true(config_keep_places(new, old));
	assert_string_equal(new->runtime_dir, "/tmp/m");
	assert_string_equal(new->socket, "/tmp/memd");
	assert_string_equal(new->guest_globs, "/tmp/m/guests/*.qmp");
	assert_string_equal(new->trace, "/tmp/s/trace");
	assert_false(config_keep_places(new, old));
	config_free(new);

	/* What somebody sets counts. */
	assert_int_equal(load_text("[memd]\nruntime-dir=/tmp/other\nguests=/a/*\ntrace=/b\n", &new),
			 0);
	assert_true(config_keep_places(new, old));
	assert_string_equal(new->guest_globs, "/a/*");
	assert_string_equal(new->trace, "/b");
	config_free(new);
	config_free(old);
}

/* The last key of a section is the first of the next: both count, and so does a typing error. */
static void test_same_key_in_a_row(void **state)
{
	static const char *const names[] = {"a", "b", "c"};
	struct config *config = NULL;

	(void)state;
	assert_int_equal(load_text("[guest a]\nshares=1001\n[guest b]\nshares=1002\n\n"
				   "[guest c]\nshares=1003\nmanage=no\n",
				   &config),
			 0);
	assert_int_equal(warnings, 0);
	for (unsigned int i = 0; i < 3; i++) {
		const struct config_guest *guest = config_find_guest(config, names[i]);

		assert_non_null(guest);
		assert_int_equal(guest->shares, 1001 + i);
		assert_int_equal(guest->manage, i < 2);
	}
	config_free(config);
	assert_refused("[guest a]\nshares=1\n[guest b]\nshares=0\n",
		       ":4: shares: '0' is not between 1 and 1000000");
	assert_refused("[guest a]\nshares=1\n[guest b]\nshares=\n", ":4: shares has no value");
}

static void test_unknown_warns(void **state)
{
	struct config *config = NULL;

	(void)state;
	assert_int_equal(load_text("[memd]\n# comment\ntick=1s\ntyck=1s\n[oops]\na=1\n", &config),
			 0);
	assert_int_equal(warnings, 2);
	assert_contains(said, "m.conf:4: unknown key 'tyck' in [memd]");
	assert_contains(said, "m.conf:5: unknown section [oops]");
	config_free(config);
}

static void test_refused(void **state)
{
	(void)state;
	assert_refused("[memd]\ntick=fast\n", "m.conf:2: tick: 'fast' is not a duration");
	assert_refused("[memd]\n\nlog-level=loud\n",
		       "m.conf:3: log-level: 'loud' is none of err warn info debug");
	assert_refused("[memd]\ntick=1s\ntick=2s\n", "m.conf:2: tick is set 2 times");
	assert_refused("[memd]\ntick=\n", "m.conf:2: tick has no value");
	assert_refused("[policy]\nhigh=1\nlow=5\n", "[policy]: ");
	assert_refused("[guest a]\nmin=2G\nmax=1G\n", "[guest a]: min is above max");
	assert_refused("[guest a]\nshares=0\n", "shares: '0' is not between 1 and 1000000");
	assert_refused("[memd\ntick=1s\n", "m.conf:1: ");
	assert_refused("[memd]\nsocket=/tmp/"
		       "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
		       "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\n",
		       "longer than the 107 characters");
}

/* Values that make no sense together are told of by the names that are in the file. */
static void test_refused_by_key(void **state)
{
	(void)state;
	assert_refused("[policy]\nhigh-max=1M\n", "[policy]: high-max must be above 0 and at least "
						  "high-min");
	assert_refused("[policy]\nguest-reserve-max=1M\n",
		       "[policy]: guest-reserve-max must be at least guest-reserve-min");
	assert_refused("[policy]\nguest-reserve=95\n", "[policy]: guest-reserve must");
	assert_refused("[policy]\nidle-tax=99.5\n", "[policy]: idle-tax must");
	assert_refused("[policy]\nksm-cpu=0\n", "[policy]: ksm-cpu must");
}

static void test_no_file(void **state)
{
	const struct config_source source = {.file = "/nonexistent/memd.conf"};
	struct config *config = NULL;

	(void)state;
	said[0] = '\0';
	assert_int_equal(config_load(&source, say, NULL, &config), -EINVAL);
	assert_contains(said, "/nonexistent/memd.conf: there is no such file");
}

static void test_drop_ins(void **state)
{
	AUTO_TREE struct tree tree = tree_new(NULL);
	char usr[128], etc[128], text[4096];
	struct config_source source = {
		.usr_dir = tree_path(&tree, "usr", usr, sizeof(usr)),
		.etc_dir = tree_path(&tree, "etc", etc, sizeof(etc)),
	};
	struct config *config = NULL;
	FILE *out = tmpfile();

	(void)state;
	said[0] = '\0';
	tree_set(&tree, "usr/memd.conf", "[memd]\ntick=9s\n");
	tree_set(&tree, "etc/memd.conf", "[memd]\ntick=2s\nguest-timeout=3s\n");
	tree_set(&tree, "usr/memd.conf.d/10-a.conf", "[memd]\ntick=4s\n");
	tree_set(&tree, "etc/memd.conf.d/20-b.conf", "[memd]\ntick=5s\n");
	assert_int_equal(config_load(&source, say, NULL, &config), 0);
	assert_int_equal(config->tick_us, 5000000);
	assert_int_equal(config->guest_timeout_us, 3000000);
	config_print(config, out);
	rewind(out);
	text[fread(text, 1, sizeof(text) - 1, out)] = '\0';
	fclose(out);
	assert_contains(text, "etc/memd.conf.d/20-b.conf:2");
	assert_contains(text, "guest-timeout=3s");
	assert_contains(text, "state-dir=/var/lib/memd\t# default");
	config_free(config);
}

static char *slurp(const char *path)
{
	FILE *f = fopen(path, "re");
	char *text = calloc(1, 65536);

	assert_non_null(f);
	assert_non_null(text);
	assert_true(fread(text, 1, 65535, f) > 0);
	fclose(f);
	return text;
}

/* Sections whose first key is the last one of the section before, which libeconf loses. */
static void test_domains(void **state)
{
	struct config *config = NULL;

	(void)state;
	assert_int_equal(load_text("[guest red]\ndomain=red\n[guest blue]\ndomain = blue # x\n"
				   "[guest green]\ndomain=\"green\"\nshares=5\n"
				   "[guest grey]\nshares=7\n",
				   &config),
			 0);
	assert_non_null(config);
	assert_string_equal(config_find_guest(config, "red")->domain, "red");
	assert_string_equal(config_find_guest(config, "blue")->domain, "blue");
	assert_string_equal(config_find_guest(config, "green")->domain, "green");
	assert_int_equal(config_find_guest(config, "green")->shares, 5);
	assert_int_equal(config_find_guest(config, "grey")->shares, 7);
	assert_string_equal(config_domain_name(config, config_domain(config, "blue")), "blue");
	assert_int_not_equal(config_domain(config, "blue"), config_domain(config, "green"));
	assert_int_equal(config_domain(config, "grey"), 0);
	assert_true(config_has_domains(config));
	config_free(config);
}

/* The shipped file says every key with its default, the manual has every key. */
static void test_documented(void **state)
{
	char *conf = slurp("memd/memd.conf"), *manual = slurp("memd/memd.conf.5");
	const char *section, *name;
	char value[CONFIG_TEXT_MAX], line[CONFIG_TEXT_MAX + 64];
	size_t n;

	(void)state;
	for (n = 0; config_key_info(n, &section, &name, value, sizeof(value)); n++) {
		snprintf(line, sizeof(line), "\n#%s=%s\n", name, value);
		assert_contains(conf, line);
		assert_contains(manual, name);
	}
	assert_true(n > 20);
	free(conf);
	free(manual);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_values),	       cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_defaults),       cmocka_unit_test(test_file),
		cmocka_unit_test(test_unknown_warns),  cmocka_unit_test(test_refused),
		cmocka_unit_test(test_refused_by_key), cmocka_unit_test(test_no_file),
		cmocka_unit_test(test_drop_ins),       cmocka_unit_test(test_documented),
		cmocka_unit_test(test_domains),	       cmocka_unit_test(test_same_key_in_a_row),
		cmocka_unit_test(test_places_stay),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
