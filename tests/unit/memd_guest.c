// SPDX-License-Identifier: Apache-2.0
/*
 * Guests: the registry against a scripted monitor behind a real socket: setup, polls, deadlines,
 * garbage, resets, disappearance.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/clock.h"
#include "common/size.h"
#include "memd/guest.h"
#include "memd/guest_qmp.h"
#include "memd/guest_reply.h"
#include "memd/savings.h"
#include "tests/unit/monitor.h"
#include "tests/unit/tree.h"

/* ---- the scripted monitor and the world around it ---- */

static struct {
	struct tree tree;
	sd_event *event;
	struct config config;
	struct guests guests;
	struct monitor monitor;
	bool no_balloon, balloon_error;
	char actual[32], stats[512];
	const char *mapped; /* NULL: refused */
	unsigned int mapped_asked;
	const char *devices; /* query-memory-devices; NULL: refused */
	uint64_t last_requested;
	unsigned int targets, requests, intervals;
	uint64_t last_target;
	/* from the hooks */
	unsigned int polled, found, gone, reset;
	int target_error;
	uint64_t target_cookie;
} w;

static void on_target(void *ctx, struct guest *guest, uint64_t cookie, int error, const char *desc)
{
	(void)ctx;
	(void)guest;
	(void)desc;
	w.target_cookie = cookie;
	w.target_error = error;
}

static void on_polled(void *ctx)
{
	(void)ctx;
	w.polled++;
}

static void on_changed(void *ctx, struct guest *guest, const char *what)
{
	(void)ctx;
	(void)guest;
	w.found += strcmp(what, "found") == 0;
	w.gone += strcmp(what, "gone") == 0;
	w.reset += strcmp(what, "reset") == 0;
}

static int setup(void **state)
{
	static const struct guests_hooks hooks = {
		.target_done = on_target, .polled = on_polled, .changed = on_changed};

	(void)state;
	memset(&w, 0, sizeof(w));
	w.tree = tree_new(NULL);
	w.monitor.package = "Debian";
	w.config.guest_timeout_us = 100000;
	w.target_error = 1;
	snprintf(w.config.guest_globs, sizeof(w.config.guest_globs), "/nonexistent/* %s/*.qmp",
		 w.tree.root);
	snprintf(w.actual, sizeof(w.actual), "%llu", 512 * MIB);
	snprintf(w.stats, sizeof(w.stats),
		 "{\"stats\":{\"stat-total-memory\":500000000,"
		 "\"stat-free-memory\":18446744073709551615},\"last-update\":0}");
	assert_true(sd_event_new(&w.event) >= 0);
	assert_int_equal(guests_init(&w.guests, w.event, &w.config, &hooks, false, AT_FDCWD), 0);
	monitor_open(&w.monitor, w.tree.root, "web1.qmp");
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	guests_fini(&w.guests);
	monitor_close(&w.monitor);
	sd_event_unref(w.event);
	tree_free(&w.tree);
	return 0;
}

static const char *answer_to(const char *command, json_object *args)
{
	const char *path = json_get_str(args, "path"), *property = json_get_str(args, "property");

	if (strcmp(command, "query-name") == 0)
		return "{\"name\":\"shop\\u0007\"}";
	if (strcmp(command, "query-memory-size-summary") == 0)
		return "{\"base-memory\":536870912,\"plugged-memory\":0}";
	if (strcmp(command, "query-memory-devices") == 0)
		return w.devices;
	if (strcmp(command, "query-memdev") == 0)
		return "[{\"id\":\"a\",\"merge\":true,\"share\":false,\"size\":1}]";
	if (strcmp(command, "qom-list") == 0 && !w.no_balloon &&
	    strcmp(path, "/machine/peripheral-anon") == 0)
		return "[{\"name\":\"x\",\"type\":\"child<e1000>\"},"
		       "{\"name\":\"device[1]\",\"type\":\"child<virtio-balloon-pci>\"}]";
	if (strcmp(command, "qom-list") == 0)
		return "[]";
	if (strcmp(command, "query-stats") == 0) {
		assert_string_equal(json_get_str(args, "target"), "vm");
		w.mapped_asked++;
		return w.mapped;
	}
	if (strcmp(command, "query-balloon") == 0)
		return w.balloon_error ? NULL : w.actual;
	if (strcmp(command, "qom-get") == 0 && strcmp(property, "guest-stats") == 0)
		return w.stats;
	if (strcmp(command, "qom-get") == 0 && strcmp(property, "deflate-on-oom") == 0)
		return "true";
	if (strcmp(command, "qom-get") == 0)
		return "0";
	if (strcmp(command, "qom-set") == 0 && strcmp(property, "requested-size") == 0) {
		w.requests++;
		json_get_u64(args, "value", &w.last_requested);
		assert_string_equal(path, "/machine/peripheral/vm0");
		return "{}";
	}
	if (strcmp(command, "qom-set") == 0) {
		w.intervals++;
		assert_string_equal(path, "/machine/peripheral-anon/device[1]");
	}
	if (strcmp(command, "balloon") == 0) {
		w.targets++;
		json_get_u64(args, "value", &w.last_target);
	}
	return "{}";
}

static void answer(json_object *message)
{
	const char *command = json_get_str(message, "execute"), *value;
	char text[1024];
	uint64_t id = 0;

	assert_non_null(command);
	assert_true(json_get_u64(message, "id", &id));
	value = answer_to(command, json_get_obj(message, "arguments"));
	if (!value)
		snprintf(
			text, sizeof(text),
			"{\"error\":{\"class\":\"DeviceNotActive\",\"desc\":\"none\"},\"id\":%llu}",
			(unsigned long long)id);
	else if (value == w.actual)
		snprintf(text, sizeof(text), "{\"return\":{\"actual\":%s},\"id\":%llu}\r\n", value,
			 (unsigned long long)id);
	else
		snprintf(text, sizeof(text), "{\"return\":%s,\"id\":%llu}\r\n", value,
			 (unsigned long long)id);
	monitor_tell(&w.monitor, text);
}

static void settle(void)
{
	monitor_settle(&w.monitor, w.event, answer);
}

static struct guest *tick(void)
{
	uint64_t now_us = clock_now_us();

	guests_scan(&w.guests, now_us);
	guests_poll(&w.guests, now_us);
	settle();
	return w.guests.n ? w.guests.v[0] : NULL;
}

static struct guest *ready(void)
{
	struct guest *guest;

	tick();
	guest = tick();
	assert_non_null(guest);
	assert_int_equal(guest->phase, GUEST_READY);
	return guest;
}

/* ---- tests ---- */

static void test_setup(void **state)
{
	struct guest *guest = ready();
	struct pol_guest snapshot[2];
	bool mergeable = false;

	(void)state;
	assert_int_equal(w.found, 1);
	assert_string_equal(guest->name, "shop?"); /* no control characters from outside */
	assert_int_equal(guest->pid, getpid());
	assert_false(guest->ours);
	assert_string_equal(guest->version, "7.2.1");
	assert_int_equal(guest->memory_bytes, 512 * MIB);
	assert_string_equal(guest->balloon_path, "/machine/peripheral-anon/device[1]");
	assert_true(guest->deflate_on_oom);
	assert_int_equal(w.intervals, 1);
	assert_int_equal(guest->actual_bytes, 512 * MIB);
	assert_true(guest_is_answering(guest));
	/* Its driver has never spoken: no balloon for the policy, and no statistics. */
	assert_int_equal(guests_snapshot(&w.guests, clock_now_us(), snapshot, 2, &mergeable), 1);
	assert_true(mergeable);
	assert_false(snapshot[0].has_balloon);
	assert_true(snapshot[0].stat_age_us == POL_ABSENT);
	assert_true(snapshot[0].target_bytes == POL_ABSENT);
}

static void set_update(unsigned int when, uint64_t available)
{
	snprintf(w.stats, sizeof(w.stats),
		 "{\"stats\":{\"stat-total-memory\":500000000,\"stat-available-memory\":%llu,"
		 "\"stat-free-memory\":1000},\"last-update\":%u}",
		 (unsigned long long)available, when);
}

static void test_statistics(void **state)
{
	struct guest *guest;
	struct pol_guest p;
	bool any;

	(void)state;
	/* What was there before us may be hours old: only a change tells the age. */
	set_update(100, 400000000);
	guest = ready();
	tick();
	assert_true(guest->driver_seen);
	guests_snapshot(&w.guests, clock_now_us(), &p, 1, &any);
	assert_true(p.has_balloon);
	assert_true(p.stat_age_us == POL_ABSENT);
	assert_true(p.stat_available_bytes == POL_ABSENT);
	set_update(101, 300000000);
	tick();
	guests_snapshot(&w.guests, clock_now_us(), &p, 1, &any);
	assert_true(p.has_balloon);
	assert_true(p.stat_age_us < USEC_PER_SEC);
	assert_int_equal(p.stat_available_bytes, 300000000);
	assert_true(p.stat_cache_bytes == POL_ABSENT);
	/* A lie takes away all of them, until it ends. */
	set_update(102, 600000000);
	tick();
	guests_snapshot(&w.guests, clock_now_us(), &p, 1, &any);
	assert_true(p.stat_age_us == POL_ABSENT);
	assert_true(p.stat_available_bytes == POL_ABSENT);
	set_update(103, 200000000);
	tick();
	guests_snapshot(&w.guests, clock_now_us(), &p, 1, &any);
	assert_int_equal(p.stat_available_bytes, 200000000);
}

/* Second-level mappings, as far as the monitor knows of them. */
static void test_mapped(void **state)
{
	struct guest *guest;

	(void)state;
	w.mapped = "[{\"provider\":\"kvm\",\"stats\":[{\"name\":\"pages_4k\",\"value\":512},"
		   "{\"name\":\"pages_2m\",\"value\":3},{\"name\":\"pages_1g\",\"value\":true}]}]";
	guest = ready();
	for (unsigned int i = 0; i < 10 && !w.mapped_asked; i++)
		tick();
	assert_int_equal(w.mapped_asked, 1);
	assert_int_equal(guest->mapped_bytes[GUEST_MAPPED_4K], 2 * MIB);
	assert_int_equal(guest->mapped_bytes[GUEST_MAPPED_2M], 6 * MIB);
	assert_true(guest->mapped_bytes[GUEST_MAPPED_1G] == POL_ABSENT);
	/* TCG: no provider, no numbers. */
	w.mapped = "[]";
	for (unsigned int i = 0; i < 10 && w.mapped_asked < 2; i++)
		tick();
	assert_true(guest->mapped_bytes[GUEST_MAPPED_4K] == POL_ABSENT);
	assert_int_equal(guest->phase, GUEST_READY);
	/* One that does not know the command is not asked for ever. */
	w.mapped = NULL;
	for (unsigned int i = 0; i < 20; i++)
		tick();
	assert_int_equal(w.mapped_asked, 3);
	assert_true(guest->mapped_refused);
}

static void test_target(void **state)
{
	struct guest *guest = ready();

	(void)state;
	assert_int_equal(guest_qmp_set_target(guest, 256 * MIB, 77), 0);
	settle();
	assert_int_equal(w.targets, 1);
	assert_int_equal(w.last_target, 256 * MIB);
	assert_int_equal(w.target_cookie, 77);
	assert_int_equal(w.target_error, 0);
	assert_int_equal(guest->target_bytes, 256 * MIB);
	/* The connection ends with the command open: told as failed. */
	w.monitor.silent = true;
	assert_int_equal(guest_qmp_set_target(guest, 128 * MIB, 78), 0);
	guest_qmp_drop(guest, "test");
	assert_int_equal(w.target_cookie, 78);
	assert_int_equal(w.target_error, -EPIPE);
	assert_int_equal(guest_qmp_set_target(guest, 128 * MIB, 79), -ENOTCONN);
}

#define DEVICE(id, size, requested, max)                                            \
	"{\"type\":\"virtio-mem\",\"data\":{\"id\":\"" id                           \
	"\",\"memaddr\":4294967296,\"size\":" size ",\"requested-size\":" requested \
	",\"max-size\":" max ",\"block-size\":2097152,\"node\":0,\"memdev\":\"/objects/m\"}}"

/* A DIMM of 64 MiB, two virtio-mem devices: the first is moved, what the others have stays. */
static void test_mem_device(void **state)
{
	struct guest *guest;
	struct pol_guest snapshot[2];
	struct savings savings;
	const struct pol_ksm ksm = {0};
	bool mergeable;

	(void)state;
	w.devices = "[{\"type\":\"dimm\",\"data\":{\"id\":\"d\",\"size\":67108864}}," DEVICE(
		"vm0", "134217728", "134217728",
		"268435456") "," DEVICE("vm1", "33554432", "33554432", "67108864") "]";
	strcpy(w.actual, "603979776"); /* 512 + 64 MiB: base and DIMM */
	guest = ready();
	assert_string_equal(guest->mem_path, "/machine/peripheral/vm0");
	assert_int_equal(guest->memory_bytes, (512 + 64 + 32 + 256) * MIB);
	assert_int_equal(guest->actual_bytes, (512 + 64 + 32 + 128) * MIB);
	assert_int_equal(guests_snapshot(&w.guests, 0, snapshot, 2, &mergeable), 1);
	assert_int_equal(snapshot[0].mem_max_bytes, 256 * MIB);
	assert_int_equal(snapshot[0].mem_size_bytes, 128 * MIB);
	assert_int_equal(snapshot[0].mem_requested_bytes, 128 * MIB);
	assert_int_equal(snapshot[0].mem_block_bytes, 2 * MIB);
	savings_count(&w.guests, &ksm, 4096, &savings);
	assert_int_equal(guest->balloon_bytes, 0);
	assert_int_equal(guest->mem_bytes, 0);

	/* 64 MiB less, all of it by the device; then 32 MiB more, and those by the balloon. */
	assert_int_equal(guest_qmp_set_size(guest, 672 * MIB, 64 * MIB, 0), 0);
	settle();
	assert_int_equal(w.last_requested, 64 * MIB);
	assert_int_equal(w.last_target, (512 + 64) * MIB);
	assert_int_equal(guest_qmp_set_size(guest, 640 * MIB, 64 * MIB, 0), 0);
	settle();
	assert_int_equal(w.requests, 1);
	assert_int_equal(w.last_target, (512 + 64 - 32) * MIB);
	assert_int_equal(guest->target_bytes, 640 * MIB);

	w.devices = "[" DEVICE("vm0", "67108864", "67108864", "268435456") "]";
	tick();
	assert_int_equal(guest->mem_size_bytes, 64 * MIB);
	savings_count(&w.guests, &ksm, 4096, &savings);
	assert_int_equal(guest->mem_bytes, 64 * MIB);
	assert_int_equal(savings.total_bytes, savings.balloon_bytes + savings.mem_bytes);
	/* All of it back. */
	assert_int_equal(guest_qmp_set_target(guest, guest->memory_bytes, 0), 0);
	settle();
	assert_int_equal(w.last_requested, 256 * MIB);
	assert_int_equal(w.last_target, 512 * MIB);
	/* Nonsense is no device. */
	w.devices = "[" DEVICE("vm0", "67108864", "0", "2") ",7,{}," DEVICE("", "-1", "0", "0") "]";
	tick();
	assert_int_equal(guest->mem_max_bytes, 0);
}

static void test_no_balloon(void **state)
{
	const char *why = NULL;
	struct guest *guest;

	(void)state;
	w.no_balloon = w.balloon_error = true;
	guest = ready();
	assert_false(guest_is_managed(guest, &why));
	assert_contains(why, "no balloon device");
	assert_int_equal(guest_qmp_set_target(guest, 1, 1), -ENOTCONN);
}

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

static void test_reset(void **state)
{
	struct guest *guest = ready();
	uint64_t id = guest->id;

	(void)state;
	guest_qmp_set_target(guest, 256 * MIB, 1);
	settle();
	monitor_tell(&w.monitor, "{\"event\":\"RESET\",\"data\":{\"guest\":true}}\r\n");
	settle();
	guest = tick();
	assert_int_equal(w.reset, 1);
	assert_true(guest->id > id);
	assert_true(guest->target_bytes == POL_ABSENT);
	assert_true(guest->release); /* its new life began under the old target */
}

/* The event was missed, but the balloon is empty without anybody having asked. */
static void test_reset_unseen(void **state)
{
	struct guest *guest = ready();
	uint64_t id = guest->id;

	(void)state;
	guest_qmp_set_target(guest, 256 * MIB, 1);
	snprintf(w.actual, sizeof(w.actual), "%llu", 300 * MIB);
	tick();
	snprintf(w.actual, sizeof(w.actual), "%llu", 512 * MIB);
	tick();
	guest = tick();
	assert_true(guest->id > id);
}

static void test_gone(void **state)
{
	struct guest *guest = ready();
	char path[128];

	(void)state;
	(void)guest;
	monitor_close(&w.monitor);
	tree_path(&w.tree, "web1.qmp", path, sizeof(path));
	settle();
	tick(); /* the file is there, nobody behind it */
	assert_int_equal(w.gone, 1);
	assert_int_equal(w.guests.n, 1);
	assert_false(w.guests.v[0]->listed);
	unlink(path);
	assert_null(tick());
	/* And back, another guest under the same name. */
	monitor_open(&w.monitor, w.tree.root, "web1.qmp");
	assert_int_equal(ready()->id, 2);
}

static void test_dry_run(void **state)
{
	(void)state;
	w.guests.dry_run = true;
	ready();
	assert_int_equal(w.intervals, 0);
}

static void test_vmm(void **state)
{
	struct guest *guest;

	(void)state;
	w.monitor.package = "vmm 0.1.0";
	guest = ready();
	assert_true(guest->ours);
	assert_string_equal(guest->version, "0.1.0");
}

#define WITH_MONITOR(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_MONITOR(test_setup),      WITH_MONITOR(test_statistics),
		WITH_MONITOR(test_mapped),     WITH_MONITOR(test_target),
		WITH_MONITOR(test_mem_device), WITH_MONITOR(test_no_balloon),
		WITH_MONITOR(test_hang),       WITH_MONITOR(test_mute),
		WITH_MONITOR(test_garbage),    WITH_MONITOR(test_not_qmp),
		WITH_MONITOR(test_unasked),    WITH_MONITOR(test_flood),
		WITH_MONITOR(test_reset),      WITH_MONITOR(test_reset_unseen),
		WITH_MONITOR(test_gone),       WITH_MONITOR(test_dry_run),
		WITH_MONITOR(test_vmm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
