/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmm's QMP server on a fake machine, and a peer that has negotiated. Include it once per test
 * program, with choose_path as the group's setup.
 */
#ifndef MEMD_TESTS_QMP_MACHINE_H
#define MEMD_TESTS_QMP_MACHINE_H

#include <stdlib.h>

#include "common/log.h"
#include "tests/unit/qmp_peer.h"
#include "tests/unit/fake_vm.h"
#include "vmm/qmp.h"

static char path[] = "/tmp/memd-qmp-XXXXXX";
static struct vm vm;
static struct qmp *qmp;
static struct wire_conn *peer;

static inline void pump(void)
{
	if (fake_loop_fn)
		fake_loop_fn(fake_loop_ctx, 0);
}

static inline int setup(void **state)
{
	AUTO_JSON json_object *greeting = NULL;
	AUTO_JSON json_object *answer = NULL;

	fake_vm_init(&vm);
	assert_int_equal(qmp_new(&vm, path, &qmp), 0);
	assert_non_null(vm.server);
	peer = peer_connect(path);
	greeting = peer_hear(peer, pump);
	assert_non_null(greeting);
	peer_say(peer, "{\"execute\":\"qmp_capabilities\"}");
	answer = peer_hear(peer, pump);
	assert_non_null(json_get_obj(answer, "return"));
	return 0;
}

static inline int teardown(void **state)
{
	wire_conn_free(peer);
	qmp_free(qmp);
	assert_null(vm.server);
	return 0;
}

static inline json_object *ask(const char *request)
{
	peer_say(peer, request);
	return peer_hear(peer, pump);
}

/* The answer's "return" or, when expected begins with '!', its error's class and text. */
static inline void expect(const char *request, const char *expected)
{
	AUTO_JSON json_object *answer = ask(request);
	json_object *error = json_get_obj(answer, "error");
	json_object *value;
	char text[600];

	if (expected[0] == '!') {
		if (!error)
			fail_msg("%s: %s", request, json_object_to_json_string(answer));
		snprintf(text, sizeof(text), "!%s: %s", json_get_str(error, "class"),
			 json_get_str(error, "desc"));
		assert_string_equal(text, expected);
		return;
	}
	if (!json_object_object_get_ex(answer, "return", &value))
		fail_msg("%s: %s", request, json_object_to_json_string(answer));
	assert_json(value, expected);
}

/* Once, before all: a path for the server's socket. */
static inline int choose_path(void **state)
{
	int fd = mkstemp(path);

	if (fd < 0)
		return -1;
	close(fd);
	unlink(path);
	log_init("test", LOG_LEVEL_ERR);
	return 0;
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

#endif
