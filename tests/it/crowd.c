// SPDX-License-Identifier: Apache-2.0
/*
 * A crowd of well-behaved fake guests, cheap enough that what runs beside memd is not what is
 * measured: crowd DIR N [TREE [held]]. fake_qmp.py has the few with a character.
 *
 * Each guest's socket is DIR/gNNNN.qmp, listened on by a sleeping child of its own, so that
 * SO_PEERCRED tells them apart; every other one is a vmm. With TREE, TREE/proc/PID is a link to the
 * child's real directory in /proc: reading those costs what it costs on a host. With "held" besides
 * it is a plain directory that says that the host holds all of the guest. Prints "ready".
 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define GUEST ((uint64_t)512 << 20)
#define LINE  4096

struct guest {
	int listener, client;
	pid_t pid;
	bool vmm, noticed; /* noticed: asks for statistics by an interval */
	uint64_t actual, target;
	size_t used;
	char in[LINE];
};

static struct guest *guests;
static size_t n_guests;

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

/* Whoever calls listen(2) is whom SO_PEERCRED names. */
static pid_t listen_in_child(int fd)
{
	int ready[2];
	char byte;
	pid_t pid;

	if (pipe(ready) < 0)
		fail("pipe");
	pid = fork();
	if (pid < 0)
		fail("fork");
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (listen(fd, 4) < 0 || write(ready[1], "x", 1) != 1)
			_exit(1);
		closefrom(0);
		for (;;)
			pause();
	}
	if (read(ready[0], &byte, 1) != 1)
		fail("a child that listens");
	close(ready[0]);
	close(ready[1]);
	return pid;
}

static void write_file(const char *dir, const char *name, const char *text)
{
	char path[4200];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	file = fopen(path, "w");
	if (!file || fputs(text, file) < 0 || fclose(file) < 0)
		fail(path);
}

/* What the host has to say of the guest's process. */
static void add_process(pid_t pid, const char *tree, bool held)
{
	char from[64], to[4096], text[512];

	snprintf(from, sizeof(from), "/proc/%d", (int)pid);
	snprintf(to, sizeof(to), "%s/proc/%d", tree, (int)pid);
	if (held ? mkdir(to, 0755) < 0 : symlink(from, to) < 0)
		fail(to);
	if (!held)
		return;
	snprintf(text, sizeof(text),
		 "%d (crowd) S 1 1 1 0 -1 4194560 0 0 0 0 10 10 0 0 20 0 1 0 4242 0 0\n", (int)pid);
	write_file(to, "stat", text);
	snprintf(text, sizeof(text),
		 "Name:\tcrowd\nState:\tS (sleeping)\nVmRSS:\t%" PRIu64 " kB\nRssShmem:\t0 kB\n"
		 "VmSwap:\t0 kB\nHugetlbPages:\t0 kB\n",
		 GUEST / 1024);
	write_file(to, "status", text);
	write_file(to, "ksm_stat", "ksm_rmap_items 0\nksm_zero_pages 0\nksm_merging_pages 0\n");
	write_file(to, "smaps", "");
	write_file(to, "numa_maps", "");
}

static void add_guest(size_t i, const char *dir, int epoll)
{
	struct guest *guest = &guests[i];
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct epoll_event event = {.events = EPOLLIN, .data.u64 = i << 1};

	*guest = (struct guest){.client = -1, .vmm = i % 2, .actual = GUEST, .target = GUEST};
	snprintf(address.sun_path, sizeof(address.sun_path), "%s/g%04zu.qmp", dir, i);
	unlink(address.sun_path);
	guest->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (guest->listener < 0 ||
	    bind(guest->listener, (struct sockaddr *)&address, sizeof(address)) < 0)
		fail(address.sun_path);
	guest->pid = listen_in_child(guest->listener);
	if (epoll_ctl(epoll, EPOLL_CTL_ADD, guest->listener, &event) < 0)
		fail("epoll");
}

/* Numbers that change from second to second, as a guest's do. */
static void print_stats(const struct guest *guest, char *out, size_t n)
{
	uint64_t second = (uint64_t)time(NULL), total = GUEST - GUEST / 50;
	uint64_t available = total / 2 + (second * 7919 % 64) * 65536;

	if (!guest->noticed)
		second = 0;
	available -= GUEST - guest->actual < available ? GUEST - guest->actual : available;
	snprintf(out, n,
		 "{\"stats\":{\"stat-total-memory\":%" PRIu64 ",\"stat-free-memory\":%" PRIu64
		 ",\"stat-available-memory\":%" PRIu64 ",\"stat-disk-caches\":%" PRIu64
		 ",\"stat-swap-in\":0,\"stat-swap-out\":0,\"stat-major-faults\":7,"
		 "\"stat-minor-faults\":1000,\"stat-htlb-pgalloc\":0,\"stat-htlb-pgfail\":0},"
		 "\"last-update\":%" PRIu64 "}",
		 total, available / 2, available, available / 3, second);
}

static uint64_t number_after(const char *line, const char *key)
{
	const char *at = strstr(line, key);

	return at ? strtoull(at + strlen(key) + strspn(at + strlen(key), ": "), NULL, 10) : 0;
}

/* The value of "return"; false: there is no such command. */
static bool answer(struct guest *guest, size_t i, const char *line, char *out, size_t n)
{
	bool qom_get = strstr(line, "\"qom-get\"");

	if (strstr(line, "\"query-balloon\"")) {
		snprintf(out, n, "{\"actual\":%" PRIu64 "}", guest->actual);
	} else if (qom_get && strstr(line, "\"guest-stats\"")) {
		print_stats(guest, out, n);
	} else if (qom_get && strstr(line, "interval")) {
		snprintf(out, n, "%d", guest->noticed);
	} else if (qom_get) {
		snprintf(out, n, "%s", guest->vmm ? "true" : "false");
	} else if (strstr(line, "\"qom-set\"")) {
		guest->noticed = number_after(line, "\"value\"") != 0;
		snprintf(out, n, "{}");
	} else if (strstr(line, "\"balloon\"")) {
		guest->actual = number_after(line, "\"value\"");
		if (guest->actual > GUEST)
			guest->actual = GUEST;
		snprintf(out, n, "{}");
	} else if (strstr(line, "\"query-name\"")) {
		snprintf(out, n, "{\"name\":\"g%04zu\"}", i);
	} else if (strstr(line, "\"query-status\"")) {
		snprintf(out, n, "{\"status\":\"running\",\"singlestep\":false,\"running\":true}");
	} else if (strstr(line, "\"query-memory-size-summary\"")) {
		snprintf(out, n, "{\"base-memory\":%" PRIu64 ",\"plugged-memory\":0}", GUEST);
	} else if (strstr(line, "\"qom-list\"")) {
		snprintf(out, n, "[{\"name\":\"type\",\"type\":\"string\"}%s]",
			 strstr(line, "peripheral-anon") ? ""
			 : guest->vmm
				 ? ",{\"name\":\"b0\",\"type\":\"child<virtio-balloon-device>\"}"
				 : ",{\"name\":\"b0\",\"type\":\"child<virtio-balloon-pci>\"}");
	} else if (strstr(line, "\"query-memdev\"")) {
		snprintf(out, n,
			 "[{\"id\":\"ram0\",\"size\":%" PRIu64 ",\"merge\":true,\"dump\":true,"
			 "\"prealloc\":false,\"share\":false,\"host-nodes\":[],"
			 "\"policy\":\"default\"}]",
			 GUEST);
	} else if (guest->vmm && strstr(line, "\"query-stats\"")) {
		snprintf(out, n,
			 "[{\"provider\":\"kvm\",\"stats\":[{\"name\":\"pages_4k\",\"value\":9},"
			 "{\"name\":\"pages_2m\",\"value\":200},{\"name\":\"pages_1g\","
			 "\"value\":0}]}]");
	} else if (guest->vmm && strstr(line, "\"__memd-query-returned\"")) {
		snprintf(out, n, "{\"balloon-bytes\":%" PRIu64 ",\"reported-bytes\":0}",
			 GUEST - guest->actual);
	} else if (strstr(line, "\"qmp_capabilities\"")) {
		snprintf(out, n, "{}");
	} else {
		return false;
	}
	return true;
}

static void take_line(struct guest *guest, size_t i, char *line)
{
	char value[1024], out[1200];
	uint64_t id = number_after(line, "\"id\"");
	int len;

	if (answer(guest, i, line, value, sizeof(value)))
		len = snprintf(out, sizeof(out), "{\"return\":%s,\"id\":%" PRIu64 "}\r\n", value,
			       id);
	else
		len = snprintf(out, sizeof(out),
			       "{\"id\":%" PRIu64 ",\"error\":{\"class\":\"CommandNotFound\","
			       "\"desc\":\"The command has not been found\"}}\r\n",
			       id);
	if (send(guest->client, out, (size_t)len, MSG_NOSIGNAL) != len)
		fail("send");
}

static void take_input(struct guest *guest, size_t i)
{
	ssize_t n = recv(guest->client, guest->in + guest->used, LINE - 1 - guest->used, 0);
	char *line = guest->in, *end;

	if (n <= 0) {
		close(guest->client);
		guest->client = -1;
		guest->used = 0;
		return;
	}
	guest->used += (size_t)n;
	guest->in[guest->used] = '\0';
	for (; (end = strchr(line, '\n')); line = end + 1) {
		*end = '\0';
		take_line(guest, i, line);
	}
	guest->used -= (size_t)(line - guest->in);
	memmove(guest->in, line, guest->used + 1);
}

static void take_client(struct guest *guest, size_t i, int epoll)
{
	struct epoll_event event = {.events = EPOLLIN, .data.u64 = i << 1 | 1};
	char greeting[256];
	int fd = accept4(guest->listener, NULL, NULL, SOCK_CLOEXEC);

	if (fd < 0)
		return;
	if (guest->client >= 0)
		close(guest->client);
	guest->client = fd;
	guest->used = 0;
	snprintf(greeting, sizeof(greeting),
		 "{\"QMP\":{\"version\":{\"qemu\":{\"micro\":0,\"minor\":%d,\"major\":%d},"
		 "\"package\":\"%s\"},\"capabilities\":[]}}\r\n",
		 guest->vmm ? 1 : 2, guest->vmm ? 0 : 7, guest->vmm ? "vmm 0.1.0" : "");
	if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0 ||
	    send(fd, greeting, strlen(greeting), MSG_NOSIGNAL) < 0)
		fail("a client");
}

int main(int argc, char **argv)
{
	int epoll = epoll_create1(EPOLL_CLOEXEC);
	struct rlimit files;

	n_guests = argc > 2 ? strtoul(argv[2], NULL, 10) : 0;
	guests = calloc(n_guests, sizeof(*guests));
	if (!n_guests || !guests || epoll < 0) {
		fputs("usage: crowd DIR N [TREE [held]]\n", stderr);
		return 2;
	}
	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
	for (size_t i = 0; i < n_guests; i++) {
		add_guest(i, argv[1], epoll);
		if (argc > 3)
			add_process(guests[i].pid, argv[3], argc > 4);
	}
	puts("ready");
	fflush(stdout);
	for (;;) {
		struct epoll_event events[256];
		int n = epoll_wait(epoll, events, 256, -1);

		if (n < 0 && errno != EINTR)
			fail("epoll");
		for (int k = 0; k < n; k++) {
			size_t i = events[k].data.u64 >> 1;

			if (events[k].data.u64 & 1)
				take_input(&guests[i], i);
			else
				take_client(&guests[i], i, epoll);
		}
	}
}
