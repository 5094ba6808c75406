// SPDX-License-Identifier: Apache-2.0
/*
 * Fuzz vmm's QMP: bytes as a client sends them, through the server and the real table of commands,
 * on a fake machine. The first byte chooses what that machine has. Whatever comes, each line of
 * ours is an answer or an event, the machine stays in a state that it can be in, and a client that
 * behaves is answered afterwards.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "common/log.h"
#include "common/wire.h"
#include "tests/unit/fake_vm.h"
#include "vmm/qmp.h"

#define STATS_VM   "tests/fixtures/kvm/stats-vm"
#define STATS_VCPU "tests/fixtures/kvm/stats-vcpu"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char path[64];
static struct vm vm;
static struct qmp *qmp;

static void check(bool holds, const char *what)
{
	if (holds)
		return;
	fprintf(stderr, "fuzz: %s\n", what);
	abort();
}

static void set_up(uint8_t choice)
{
	fake_vm_init(&vm);
	vm.has_balloon = choice & 1;
	vm.balloon.has_driver = choice & 2;
	vm.balloon.set_target_result = choice & 4 ? -ENOTCONN : 0;
	vm.ram.n = choice & 8 ? 2 : 1;
	vm.ram.set_merge_result = choice & 16 ? -EINVAL : 0;
	vm.stats_vm = choice & 32 ? STATS_VM : NULL;
	vm.stats_cpu = choice & 64 ? STATS_VCPU : NULL;
	vm.state = choice & 128 ? VM_INTERNAL_ERROR : VM_RUNNING;
}

static int dial(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	check(fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0, "connect");
	return fd;
}

static void pump(void)
{
	for (unsigned int i = 0; i < 4; i++)
		fake_loop_fn(fake_loop_ctx, 0);
}

/* What the server has said: messages that a peer takes, each of a known kind. */
static unsigned int hear(struct wire_conn *conn)
{
	unsigned int n = 0;
	int r;

	pump();
	while (wire_conn_read(conn) > 0)
		pump();
	while (true) {
		AUTO_JSON json_object *message = NULL;

		r = wire_conn_next(conn, &message);
		if (r <= 0)
			break;
		n++;
		check(json_object_object_get_ex(message, "return", NULL) ||
			      json_object_object_get_ex(message, "event", NULL) ||
			      json_object_object_get_ex(message, "QMP", NULL) ||
			      (json_get_obj(message, "error") &&
			       json_get_str(json_get_obj(message, "error"), "class") &&
			       json_get_str(json_get_obj(message, "error"), "desc")),
		      "a message of no known kind");
	}
	check(r == 0, "a message that we would not take ourselves");
	return n;
}

static void say(struct wire_conn *conn, const char *text, size_t len)
{
	while (len) {
		ssize_t n = send(wire_conn_fd(conn), text, len, MSG_NOSIGNAL);

		if (n > 0) {
			text += n;
			len -= (size_t)n;
			continue;
		}
		/* It was dropped for what it sent, or does not take more for the moment. */
		if (errno != EAGAIN)
			return;
		hear(conn);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char hello[] = "{\"execute\":\"qmp_capabilities\"}";
	static const char status[] = "{\"execute\":\"query-status\"}";
	struct wire_conn *conn;

	if (!qmp) {
		log_init("fuzz", (enum log_level)0);
		snprintf(path, sizeof(path), "/tmp/memd-fuzz-qmp-%d", (int)getpid());
		set_up(0);
		check(qmp_new(&vm, path, &qmp) == 0, "the server does not start");
	}
	if (!size)
		return 0;
	struct wire_server *server = vm.server;

	set_up(data[0]);
	vm.server = server;
	conn = wire_conn_new(dial());
	check(hear(conn) == 1, "no greeting");
	say(conn, hello, sizeof(hello) - 1);
	check(hear(conn) == 1, "no answer to qmp_capabilities");
	say(conn, (const char *)data + 1, size - 1);
	say(conn, "\n", 1);
	hear(conn);
	wire_conn_free(conn);
	pump();

	check(vm.state <= VM_INTERNAL_ERROR, "a state that there is not");
	conn = wire_conn_new(dial());
	check(hear(conn) == 1, "no greeting to the next client");
	say(conn, hello, sizeof(hello) - 1);
	say(conn, status, sizeof(status) - 1);
	check(hear(conn) >= 2, "no answer to the next client");
	wire_conn_free(conn);
	pump();
	return 0;
}
