// SPDX-License-Identifier: Apache-2.0
/* A guest's monitor that hangs, says nothing, or says what it should not. */
#include "tests/unit/guest_world.h"

static void test_hang(void **state)
{
	struct guest *guest = ready();
	unsigned int polled = w.polled;
	uint64_t id = guest->id;

	(void)state;
	w.monitor.silent = true;
	tick();
	assert_true(guest_is_answering(guest)); /* not yet overdue */
	assert_int_equal(w.polled, polled);
	usleep(150000);
	tick();
	assert_false(guest_is_answering(guest));
	assert_contains(guest->note, "does not answer within 100 ms");
	/* Nobody waits for it any more. */
	assert_int_equal(w.polled, polled + 1);
	/* It comes back, the same guest, with the late answers. */
	w.monitor.silent = false;
	settle();
	tick();
	assert_true(guest_is_answering(guest));
	assert_int_equal(guest->id, id);
	assert_string_equal(guest->note, "");
}

static void test_mute(void **state)
{
	struct guest *guest;

	(void)state;
	w.monitor.silent = true;
	tick();
	usleep(150000);
	guest = tick();
	assert_int_equal(guest->phase, GUEST_WAITING);
	assert_contains(guest->note, "does not greet");
	assert_true(guest->retry_us > clock_now_us() + 500000); /* backs off */
	assert_true(guest->listed);
	assert_false(guest->known);
}

static void assert_dropped(const char *text, const char *note)
{
	struct guest *guest = ready();

	monitor_tell(&w.monitor, text);
	settle();
	assert_int_equal(guest->phase, GUEST_WAITING);
	assert_contains(guest->note, note);
	assert_true(guest->retry_us > clock_now_us() + 500000);
}

static void test_garbage(void **state)
{
	(void)state;
	assert_dropped("HTTP/1.1 400 Bad Request\r\n\r\n", "sends what is not JSON");
}

static void test_not_qmp(void **state)
{
	(void)state;
	assert_dropped("{\"hello\":1}\r\n", "messages that are not QMP's");
}

static void test_unasked(void **state)
{
	(void)state;
	assert_dropped("{\"return\":{},\"id\":123456}\r\n", "answers what nobody asked");
}

static void test_flood(void **state)
{
	static const char event[] = "{\"event\":\"NOISE\",\"data\":{}}\r\n";
	static char text[sizeof(event) * 2500];

	(void)state;
	for (unsigned int i = 0; i < 2500; i++)
		memcpy(text + (sizeof(event) - 1) * i, event, sizeof(event));
	assert_dropped(text, "floods us");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_MONITOR(test_hang),    WITH_MONITOR(test_mute),	WITH_MONITOR(test_garbage),
		WITH_MONITOR(test_not_qmp), WITH_MONITOR(test_unasked), WITH_MONITOR(test_flood),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
