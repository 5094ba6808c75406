// SPDX-License-Identifier: Apache-2.0
/* memctl top without a terminal: the model, its keys, and every line on screens of any size. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <curses.h>

#include "common/cleanup.h"
#include "common/size.h"
#include "common/wire.h"
#include "tests/unit/tree.h"
#include "tools/top.h"

#define SEC 1000000ULL

static const char report_text[] =
	"{\"schema\":1,\"host\":{\"memory_bytes\":17179869184,\"available_bytes\":4294967296,"
	"\"swap_used_bytes\":0,\"state\":\"high\",\"ksm\":{\"saved_bytes\":1,\"cpu_seconds\":%.2f}}"
	","
	"\"guests\":["
	"{\"name\":\"web1\",\"hypervisor\":\"vmm\",\"memory_bytes\":1073741824,"
	"\"actual_bytes\":1073741824,\"resident_bytes\":536870912,\"ksm_bytes\":104857600,"
	"\"balloon_bytes\":0,\"saved_bytes\":104857600,\"state_note\":null},"
	"{\"name\":\"e\\u001b[2Jvil\\u00fc\",\"hypervisor\":\"qemu\",\"memory_bytes\":2147483648,"
	"\"actual_bytes\":null,\"resident_bytes\":null,\"ksm_bytes\":1048576,"
	"\"balloon_bytes\":209715200,\"saved_bytes\":210763776,"
	"\"state_note\":\"its balloon does not follow\"},"
	"{\"name\":\"a-guest-with-a-very-long-name-indeed\",\"hypervisor\":\"vmm\"}],"
	"\"savings\":{\"ksm_bytes\":105906176,\"balloon_bytes\":209715200,\"reported_bytes\":0,"
	"\"virtio_mem_bytes\":0,\"total_bytes\":%llu}}";

static void update(struct top *top, double cpu_seconds, uint64_t total, uint64_t now_us)
{
	AUTO_JSON json_object *report = NULL;
	char text[2048];

	snprintf(text, sizeof(text), report_text, cpu_seconds, (unsigned long long)total);
	report = json_tokener_parse(text);
	assert_non_null(report);
	assert_int_equal(top_update(top, report, now_us), 0);
}

static const char *line_of(const struct top *top, int line, char *text)
{
	top_line(top, line, 24, 80, text);
	return text;
}

static void test_model(void **state)
{
	char text[TOP_LINE_MAX];
	struct top top;

	(void)state;
	top_init(&top, false);
	assert_contains(line_of(&top, 0, text), "asking memd");
	update(&top, 7, 300 * MIB, SEC);
	assert_string_equal(line_of(&top, 0, text),
			    "host state high, 4 GiB available of 16 GiB, 0 B swapped; 3 guests");
	assert_string_equal(
		line_of(&top, 1, text),
		"saved 300 MiB: KSM 101 MiB, balloon 200 MiB, reported 0 B, unplugged 0 B");
	assert_contains(line_of(&top, 4, text), "ksmd               -");
	update(&top, 7.5, 300 * MIB, 3 * SEC);
	assert_contains(line_of(&top, 4, text), "ksmd          25.00%");
	assert_string_equal(
		line_of(&top, 6, text),
		"GUEST                BY   PROMISED      HAS RESIDENT      KSM  BALLOON    SAVED");
	/* Most saved first; nothing in a name reaches the terminal as it is. */
	assert_string_equal(
		line_of(&top, 7, text),
		"e?[2Jvil??           qemu    2 GiB        -        -    1 MiB  200 MiB  201 MiB");
	assert_string_equal(
		line_of(&top, 8, text),
		"web1                 vmm     1 GiB    1 GiB  512 MiB  100 MiB      0 B  100 MiB");
	assert_string_equal(
		line_of(&top, 9, text),
		"a-guest-with-a-very- vmm         -        -        -        -        -        -");
	assert_string_equal(line_of(&top, 10, text), "");
	top_line(&top, 7, 24, 200, text);
	assert_contains(text, "201 MiB  its balloon does not follow");
	top_fini(&top);
}

static void test_keys(void **state)
{
	char text[TOP_LINE_MAX];
	struct top top;

	(void)state;
	top_init(&top, false);
	update(&top, 0, 0, SEC);
	assert_true(top_key(&top, 's'));
	assert_contains(line_of(&top, 23, text), "s sort: resident");
	assert_contains(line_of(&top, 7, text), "web1");
	top_key(&top, 's');
	top_key(&top, 's');
	top_key(&top, 's');
	assert_contains(line_of(&top, 23, text), "s sort: name");
	assert_contains(line_of(&top, 7, text), "a-guest");
	top_key(&top, 's');
	assert_contains(line_of(&top, 23, text), "s sort: saved");
	assert_true(top_key(&top, ' '));
	assert_true(top.paused);
	assert_contains(line_of(&top, 23, text), "PAUSED");
	assert_int_equal(top_line(&top, 23, 24, 80, text), TOP_REVERSE);
	top_key(&top, KEY_DOWN);
	assert_contains(line_of(&top, 7, text), "web1");
	for (int i = 0; i < 10; i++)
		top_key(&top, 'j');
	assert_contains(line_of(&top, 7, text), "a-guest");
	for (int i = 0; i < 10; i++)
		top_key(&top, KEY_UP);
	assert_contains(line_of(&top, 7, text), "vil");
	assert_true(top_key(&top, '?'));
	assert_contains(line_of(&top, 0, text), "memctl top: what is saved");
	assert_true(top_key(&top, 'x'));
	assert_contains(line_of(&top, 0, text), "host state");
	assert_true(top_key(&top, KEY_RESIZE));
	assert_false(top_key(&top, 'q'));
	top_fini(&top);
}

static void test_failing(void **state)
{
	char text[TOP_LINE_MAX];
	struct top top;

	(void)state;
	top_init(&top, false);
	top_fail(&top, "memd does not answer");
	assert_string_equal(line_of(&top, 0, text), "memd does not answer");
	update(&top, 1, 0, SEC);
	assert_contains(line_of(&top, 23, text), "q quit");
	top_fail(&top, "memd does not answer");
	assert_string_equal(line_of(&top, 23, text), "memd does not answer");
	assert_contains(line_of(&top, 8, text), "web1"); /* the last known stays */
	/* What ksmd spent while nobody answered is not a burst of the next second. */
	update(&top, 900, 0, 2 * SEC);
	assert_contains(line_of(&top, 4, text), "ksmd               -");
	top_fini(&top);
}

static void test_spark(void **state)
{
	static const uint64_t samples[] = {0, 1, 2, 3, 4, 5, 6, 7, POL_ABSENT, 7};
	static const uint64_t zeros[] = {0, 0, 0};
	char text[TOP_LINE_MAX];

	(void)state;
	assert_string_equal(top_spark(samples, 10, 20, false, text), "_.-=+*%# #");
	assert_string_equal(top_spark(samples, 10, 3, false, text), "# #");
	assert_string_equal(top_spark(samples, 8, 2, true, text), "\xe2\x96\x87\xe2\x96\x88");
	assert_string_equal(top_spark(zeros, 3, 3, false, text), "___");
	assert_string_equal(top_spark(samples, 0, 3, false, text), "");
	assert_string_equal(top_spark(samples, 10, 0, false, text), "");
}

/* Whatever the size of the screen, no line is longer, and two minutes of samples are kept. */
static void test_sizes(void **state)
{
	char text[TOP_LINE_MAX];
	struct top top;

	(void)state;
	top_init(&top, true);
	for (uint64_t i = 0; i < 3 * TOP_SAMPLES; i++)
		update(&top, (double)i / 100, i * MIB, i * SEC);
	assert_int_equal(top.n_samples, TOP_SAMPLES);
	assert_int_equal(top.saved[0], 2 * TOP_SAMPLES * MIB);
	assert_int_equal(top.saved[TOP_SAMPLES - 1], (3 * TOP_SAMPLES - 1) * MIB);
	for (int help = 0; help < 2; help++) {
		for (int lines = 1; lines < 60; lines++)
			for (int columns = 1; columns < 300; columns += 7)
				for (int line = 0; line < lines; line++) {
					int n = 0;

					top_line(&top, line, lines, columns, text);
					for (const char *p = text; *p; p++)
						n += ((unsigned char)*p & 0xc0) != 0x80;
					assert_in_range(n, 0, columns);
				}
		top_key(&top, '?');
	}
	top_fini(&top);
}

/* A report with nothing in it is one of a daemon that knows nothing. */
static void test_empty(void **state)
{
	AUTO_JSON json_object *report = json_object_new_object();
	char text[TOP_LINE_MAX];
	struct top top;

	(void)state;
	top_init(&top, true);
	assert_int_equal(top_update(&top, report, SEC), 0);
	for (int line = 0; line < 24; line++)
		top_line(&top, line, 24, 80, text);
	assert_contains(line_of(&top, 0, text), "- available of -");
	top_fini(&top);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_model),	cmocka_unit_test(test_keys),
		cmocka_unit_test(test_failing), cmocka_unit_test(test_spark),
		cmocka_unit_test(test_sizes),	cmocka_unit_test(test_empty),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
