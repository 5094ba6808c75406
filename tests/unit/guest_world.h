/* SPDX-License-Identifier: Apache-2.0 */
/* For tests of guests' registry: one guest by a scripted monitor behind a real socket. */
#ifndef MEMD_TESTS_GUEST_WORLD_H
#define MEMD_TESTS_GUEST_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/clock.h"
#include "common/size.h"
#include "memd/guest.h"
#include "memd/guest_qmp.h"
#include "tests/unit/monitor.h"
#include "tests/unit/tree.h"

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

static inline void on_target(void *ctx, struct guest *guest, uint64_t cookie, int error,
			     const char *desc)
{
	(void)ctx;
	(void)guest;
	(void)desc;
	w.target_cookie = cookie;
	w.target_error = error;
}

static inline void on_polled(void *ctx)
{
	(void)ctx;
	w.polled++;
}

static inline void on_changed(void *ctx, struct guest *guest, const char *what)
{
	(void)ctx;
	(void)guest;
	w.found += strcmp(what, "found") == 0;
	w.gone += strcmp(what, "gone") == 0;
	w.reset += strcmp(what, "reset") == 0;
}

static inline int setup(void **state)
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

static inline int teardown(void **state)
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

static inline void answer(json_object *message)
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

static inline void settle(void)
{
	monitor_settle(&w.monitor, w.event, answer);
}

static inline struct guest *tick(void)
{
	uint64_t now_us = clock_now_us();

	guests_scan(&w.guests, now_us);
	guests_poll(&w.guests, now_us);
	settle();
	return w.guests.n ? w.guests.v[0] : NULL;
}

static inline struct guest *ready(void)
{
	struct guest *guest;

	tick();
	guest = tick();
	assert_non_null(guest);
	assert_int_equal(guest->phase, GUEST_READY);
	return guest;
}

#define WITH_MONITOR(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

#endif
