/* SPDX-License-Identifier: Apache-2.0 */
/* A child that answers on a socket as memd would, with commands of the test's. */
#ifndef MEMD_TESTS_UNIT_WIRE_CHILD_H
#define MEMD_TESTS_UNIT_WIRE_CHILD_H

#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/wire.h"

struct wire_child {
	struct wire_server *server;
	pid_t pid;
};

static inline struct wire_child wire_child_new(const char *path,
					       const struct wire_command *commands)
{
	struct wire_server_options options = {
		.path = path, .package = "memd", .commands = commands};
	struct wire_child child = {0};

	unlink(path);
	assert_int_equal(wire_server_new(&options, &child.server), 0);
	child.pid = fork();
	assert_true(child.pid >= 0);
	if (child.pid)
		return child;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;) {
		struct pollfd ready = {.fd = wire_server_fd(child.server), .events = POLLIN};

		poll(&ready, 1, -1);
		wire_server_process(child.server);
	}
}

static inline void wire_child_end(struct wire_child *child)
{
	kill(child->pid, SIGKILL);
	waitpid(child->pid, NULL, 0);
	wire_server_free(child->server);
}

#endif
