// SPDX-License-Identifier: Apache-2.0
/*
 * The host ends of character streams, on real sockets, files, pipes and a terminal: order and
 * completeness of what passes, clients that come, go, stall and queue up, and what is left behind.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "common/clock.h"
#include "vmm/chardev.h"

struct world {
	struct bus *bus;
	struct loop *loop;
	struct loop_source *end_of_turn;
	struct chardev *chardev;
	size_t room;
	char in[4096];
	size_t n_in;
	int writable;
	int quits;
	char dir[32], path[64], spec[72];
};

static void on_end_of_turn(void *ctx, uint32_t events)
{
	loop_exit(((struct world *)ctx)->loop, 0);
}

/* Let the loop run for so long. */
static void turn(struct world *w, uint64_t ms)
{
	loop_timer_set(w->end_of_turn, ms * 1000, 0);
	loop_run(w->loop);
}

static size_t input_room(void *ctx)
{
	return ((struct world *)ctx)->room;
}

static void input(void *ctx, const uint8_t *data, size_t len)
{
	struct world *w = ctx;

	assert_true(len <= w->room);
	assert_true(len <= sizeof(w->in) - w->n_in);
	memcpy(w->in + w->n_in, data, len);
	w->n_in += len;
	w->room -= len;
}

static void writable(void *ctx)
{
	((struct world *)ctx)->writable++;
}

static void quit(void *ctx)
{
	((struct world *)ctx)->quits++;
}

static const struct chardev_ops ops = {
	.input_room = input_room,
	.input = input,
	.writable = writable,
};

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	signal(SIGPIPE, SIG_IGN);
	w->bus = bus_new();
	w->loop = loop_new(w->bus);
	w->end_of_turn = loop_timer(w->loop, on_end_of_turn, w);
	w->room = sizeof(w->in);
	strcpy(w->dir, "/tmp/vmm_chardev.XXXXXX");
	assert_non_null(mkdtemp(w->dir));
	snprintf(w->path, sizeof(w->path), "%s/end", w->dir);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	chardev_free(w->chardev);
	loop_free(w->loop);
	bus_free(w->bus);
	unlink(w->path);
	assert_int_equal(rmdir(w->dir), 0);
	free(w);
	return 0;
}

static int make(struct world *w, const char *kind)
{
	int r;

	snprintf(w->spec, sizeof(w->spec), "%s%s", kind,
		 kind[strlen(kind) - 1] == ':' ? w->path : "");
	r = chardev_new(w->loop, "test", w->spec, quit, w, &w->chardev);
	if (!r)
		chardev_bind(w->chardev, &ops, w);
	return r;
}

static int dial(struct world *w)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strcpy(addr.sun_path, w->path);
	assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	return fd;
}

static void say(int fd, const char *text)
{
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

static size_t hear(int fd, char *buf, size_t size)
{
	ssize_t n = recv(fd, buf, size - 1, MSG_DONTWAIT);

	buf[n < 0 ? 0 : n] = '\0';
	return n < 0 ? 0 : (size_t)n;
}

static void put(struct world *w, const char *text)
{
	assert_int_equal(chardev_write(w->chardev, text, strlen(text)), strlen(text));
}

/* ---- what is refused ---- */

static void bad_specs(void **state)
{
	struct world *w = *state;
	struct chardev *none = NULL;
	char longer[200] = "unix:/";

	memset(longer + 6, 'x', sizeof(longer) - 7);
	assert_int_equal(chardev_new(w->loop, "test", "tcp:1", NULL, NULL, &none), -EINVAL);
	assert_int_equal(chardev_new(w->loop, "test", "", NULL, NULL, &none), -EINVAL);
	assert_int_equal(chardev_new(w->loop, "test", "unix:", NULL, NULL, &none), -EINVAL);
	assert_int_equal(chardev_new(w->loop, "test", longer, NULL, NULL, &none), -EINVAL);
	assert_int_equal(chardev_new(w->loop, "test", "file:/nowhere/x", NULL, NULL, &none),
			 -ENOENT);
	assert_int_equal(chardev_new(w->loop, "test", "unix:/nowhere/x", NULL, NULL, &none),
			 -ENOENT);
	assert_null(none);
}

static void none_swallows(void **state)
{
	struct world *w = *state;

	assert_int_equal(make(w, "none"), 0);
	put(w, "to nobody");
	turn(w, 5);
	assert_int_equal(w->n_in, 0);
}

/* ---- files ---- */

static void file_is_emptied_and_written(void **state)
{
	struct world *w = *state;
	char text[64] = "";
	FILE *f = fopen(w->path, "w");

	fputs("what an earlier guest said, much longer", f);
	fclose(f);
	assert_int_equal(make(w, "file:"), 0);
	put(w, "one ");
	put(w, "two");
	f = fopen(w->path, "r");
	assert_int_equal(fread(text, 1, sizeof(text), f), 7);
	fclose(f);
	assert_string_equal(text, "one two");
}

/* ---- sockets ---- */

static void socket_both_ways(void **state)
{
	struct world *w = *state;
	struct stat st;
	char buf[64];
	int fd;

	assert_int_equal(make(w, "unix:"), 0);
	assert_int_equal(stat(w->path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	put(w, "nobody hears this");
	turn(w, 5);
	fd = dial(w);
	say(fd, "to the guest");
	turn(w, 5);
	put(w, "to the host");
	assert_int_equal(hear(fd, buf, sizeof(buf)), 11);
	assert_string_equal(buf, "to the host");
	assert_memory_equal(w->in, "to the guest", w->n_in);
	assert_int_equal(w->n_in, 12);
	close(fd);
	chardev_free(w->chardev);
	w->chardev = NULL;
	assert_int_equal(stat(w->path, &st), -1);
}

static void input_waits_for_room(void **state)
{
	struct world *w = *state;
	char buf[64];
	int fd;

	w->room = 3;
	assert_int_equal(make(w, "unix:"), 0);
	fd = dial(w);
	say(fd, "abcdefgh");
	turn(w, 10);
	assert_int_equal(w->n_in, 3);
	w->room = 2;
	turn(w, 10);
	assert_int_equal(w->n_in, 3); /* it was not told yet */
	chardev_input_ready(w->chardev);
	turn(w, 10);
	assert_int_equal(w->n_in, 5);
	/* Leaving with input unread is no reason to lose it, nor to let the next one wait. */
	close(fd);
	turn(w, 10);
	fd = dial(w);
	turn(w, 10);
	put(w, "hello");
	assert_int_equal(hear(fd, buf, sizeof(buf)), 5);
	say(fd, "ij");
	turn(w, 10);
	close(fd);
	turn(w, 10);
	fd = dial(w);
	say(fd, "k");
	turn(w, 10);
	assert_int_equal(w->n_in, 5);
	w->room = 4;
	chardev_input_ready(w->chardev);
	turn(w, 10);
	assert_int_equal(w->n_in, 9);
	w->room = 100;
	chardev_input_ready(w->chardev);
	turn(w, 10);
	say(fd, "l");
	turn(w, 10);
	assert_int_equal(w->n_in, 12);
	assert_memory_equal(w->in, "abcdefghijkl", 12);
	close(fd);
}

/* A guest that takes no input at all does not keep its console from being attached again. */
static void clients_of_a_stopped_guest(void **state)
{
	struct world *w = *state;
	char buf[64];

	w->room = 0;
	assert_int_equal(make(w, "unix:"), 0);
	for (int i = 0; i < 50; i++) {
		int fd = dial(w);

		say(fd, "x");
		turn(w, 2);
		put(w, "out");
		assert_int_equal(hear(fd, buf, sizeof(buf)), 3);
		close(fd);
		turn(w, 2);
	}
	w->room = 100;
	chardev_input_ready(w->chardev);
	turn(w, 10);
	assert_int_equal(w->n_in, 50);
}

/* A client that has said all it wants to say still listens. */
static void half_closed_client(void **state)
{
	struct world *w = *state;
	uint64_t began = clock_now_us();
	int fd;

	w->room = 0;
	assert_int_equal(make(w, "unix:"), 0);
	fd = dial(w);
	say(fd, "x");
	shutdown(fd, SHUT_WR);
	turn(w, 50);
	assert_int_equal(w->n_in, 0);
	w->room = 10;
	chardev_input_ready(w->chardev);
	turn(w, 10);
	assert_int_equal(w->n_in, 1);
	assert_true(clock_now_us() - began < 5000000);
	close(fd);
}

static void clients_come_and_go(void **state)
{
	struct world *w = *state;
	char buf[64];
	int first, second;

	assert_int_equal(make(w, "unix:"), 0);
	first = dial(w);
	turn(w, 5);
	second = dial(w); /* waits */
	say(second, "2");
	turn(w, 5);
	put(w, "for the first");
	assert_int_equal(hear(first, buf, sizeof(buf)), 13);
	assert_int_equal(hear(second, buf, sizeof(buf)), 0);
	assert_int_equal(w->n_in, 0);
	close(first);
	turn(w, 5);
	put(w, "for the second");
	assert_int_equal(hear(second, buf, sizeof(buf)), 14);
	assert_int_equal(w->n_in, 1);
	close(second);
	turn(w, 5);
	for (int i = 0; i < 100; i++) {
		int fd = dial(w);

		if (i % 2)
			turn(w, 1);
		close(fd);
	}
	turn(w, 20);
	first = dial(w);
	turn(w, 10);
	put(w, "still here");
	assert_int_equal(hear(first, buf, sizeof(buf)), 10);
	close(first);
}

static void socket_file_in_the_way(void **state)
{
	struct world *w = *state;
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int other = socket(AF_UNIX, SOCK_STREAM, 0), plain;

	strcpy(addr.sun_path, w->path);
	assert_int_equal(bind(other, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(listen(other, 1), 0);
	assert_int_equal(make(w, "unix:"), -EADDRINUSE);
	assert_int_equal(access(w->path, F_OK), 0);
	close(other); /* now it is left over */
	assert_int_equal(make(w, "unix:"), 0);
	close(dial(w));
	chardev_free(w->chardev);
	w->chardev = NULL;
	/* Never somebody's file. */
	plain = open(w->path, O_CREAT | O_WRONLY, 0600);
	close(plain);
	assert_int_equal(make(w, "unix:"), -EEXIST);
	assert_int_equal(access(w->path, F_OK), 0);
}

/* A stream of numbered words: its byte at this place. */
static uint8_t stream_byte(size_t at)
{
	return (uint8_t)(at / 4 >> at % 4 * 8);
}

/*
 * Write the stream until the other side is full, as the continuation where
 * before bytes were written; returns the new length of the stream.
 */
static size_t fill_on(struct world *w, size_t before)
{
	size_t at = before, n;

	do {
		uint8_t piece[7]; /* so that some go across the end of the buffer */

		for (size_t i = 0; i < sizeof(piece); i++)
			piece[i] = stream_byte(at + i);
		n = chardev_write(w->chardev, piece, sizeof(piece));
		at += n;
	} while (n && at - before < (16U << 20));
	assert_true(at - before < (16U << 20));
	return at;
}

static size_t fill(struct world *w)
{
	return fill_on(w, 0);
}

/* Read the stream on from got up to want, and check it; returns how far that went. */
static size_t drain_on(struct world *w, int fd, size_t got, size_t want)
{
	while (got < want) {
		uint8_t buf[1000];
		size_t size = want - got < sizeof(buf) ? want - got : sizeof(buf);
		struct pollfd p = {.fd = fd, .events = POLLIN};
		ssize_t n;

		if (poll(&p, 1, 0) <= 0)
			turn(w, 2);
		if (poll(&p, 1, 0) <= 0)
			break;
		n = read(fd, buf, size);
		if (n <= 0)
			break;
		for (ssize_t i = 0; i < n; i++, got++)
			assert_int_equal(buf[i], stream_byte(got));
	}
	return got;
}

static size_t drain(struct world *w, int fd, size_t want)
{
	return drain_on(w, fd, 0, want);
}

static void full_socket_holds_the_device(void **state)
{
	struct world *w = *state;
	size_t taken;
	int fd;

	assert_int_equal(make(w, "unix:"), 0);
	fd = dial(w);
	turn(w, 5);
	taken = fill(w);
	assert_true(taken > 65536);
	assert_int_equal(w->writable, 0);
	turn(w, 50);
	assert_int_equal(w->writable, 0);
	assert_int_equal(drain(w, fd, taken), taken); /* all of it, in order */
	assert_int_equal(w->writable, 1);
	close(fd);
}

static void stalled_client_loses_output(void **state)
{
	struct world *w = *state;
	size_t taken;
	int fd;

	assert_int_equal(make(w, "unix:"), 0);
	fd = dial(w);
	turn(w, 5);
	taken = fill(w);
	turn(w, 1200);
	assert_int_equal(w->writable, 1);
	for (int i = 0; i < 1000; i++)
		put(w, "lost"); /* the guest goes on */
	assert_int_equal(w->writable, 1);
	assert_int_equal(drain(w, fd, taken), taken);
	turn(w, 10);
	/* Once it reads again nothing more is lost. */
	put(w, "again");
	turn(w, 5);
	{
		char buf[64];

		assert_int_equal(hear(fd, buf, sizeof(buf)), 5);
		assert_string_equal(buf, "again");
	}
	fill(w);
	turn(w, 100);
	assert_int_equal(w->writable, 1); /* the second has begun anew */
	close(fd);
}

static void client_leaves_while_full(void **state)
{
	struct world *w = *state;
	char buf[64];
	int fd;

	assert_int_equal(make(w, "unix:"), 0);
	fd = dial(w);
	turn(w, 5);
	fill(w);
	close(fd);
	turn(w, 20);
	assert_int_equal(w->writable, 1);
	put(w, "to nobody");
	fd = dial(w);
	turn(w, 10);
	put(w, "fresh");
	assert_int_equal(hear(fd, buf, sizeof(buf)), 5);
	assert_string_equal(buf, "fresh");
	close(fd);
}

static void freed_with_output_waiting(void **state)
{
	struct world *w = *state;
	size_t taken, got = 0;
	uint8_t buf[4096];
	ssize_t n;
	int fd;

	assert_int_equal(make(w, "unix:"), 0);
	fd = dial(w);
	turn(w, 5);
	taken = fill(w);
	/* Room for some more: freeing sends what it can. */
	assert_true(recv(fd, buf, sizeof(buf), 0) > 0);
	chardev_free(w->chardev);
	w->chardev = NULL;
	while ((n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT)) > 0)
		got += (size_t)n;
	assert_true(got > 0 && got <= taken);
	assert_int_equal(n, 0); /* and it is closed */
	close(fd);
}

/* ---- stdio ---- */

struct stdio {
	int saved_in, saved_out;
};

static void stdio_take(struct stdio *s, int in, int out)
{
	fflush(stdout);
	s->saved_in = dup(0);
	s->saved_out = dup(1);
	dup2(in, 0);
	dup2(out, 1);
}

static void stdio_restore(struct stdio *s)
{
	dup2(s->saved_in, 0);
	dup2(s->saved_out, 1);
	close(s->saved_in);
	close(s->saved_out);
}

static void stdio_on_pipes(void **state)
{
	struct world *w = *state;
	struct chardev *second = NULL;
	struct stdio s;
	int in[2], out[2], r, busy, flags;
	char buf[64] = "";

	assert_int_equal(pipe(in) | pipe(out), 0);
	stdio_take(&s, in[0], out[1]);
	r = make(w, "stdio");
	busy = chardev_new(w->loop, "other", "stdio", NULL, NULL, &second);
	say(in[1], "x\001xy"); /* no terminal: Ctrl-A is data */
	turn(w, 5);
	put(w, "out");
	flags = fcntl(0, F_GETFL) | fcntl(1, F_GETFL);
	stdio_restore(&s);
	assert_int_equal(r, 0);
	assert_int_equal(busy, -EBUSY);
	assert_int_equal(flags & O_NONBLOCK, 0);
	assert_memory_equal(w->in, "x\001xy", 4);
	assert_int_equal(w->n_in, 4);
	assert_int_equal(w->quits, 0);
	assert_int_equal(read(out[0], buf, sizeof(buf)), 3);
	/* End of input is not the end of output. */
	close(in[1]);
	turn(w, 5);
	put(w, "more");
	assert_int_equal(read(out[0], buf, sizeof(buf)), 4);
	/* Nobody reads any more: the guest does not notice. */
	close(out[0]);
	put(w, "lost");
	put(w, "lost");
	turn(w, 5);
	chardev_free(w->chardev);
	/* And stdio is free again. */
	stdio_take(&s, in[0], out[1]);
	w->chardev = NULL;
	r = make(w, "stdio");
	stdio_restore(&s);
	assert_int_equal(r, 0);
	close(in[0]);
	close(out[1]);
}

/* A reader slower than the guest: the buffer goes round many times and nothing is lost. */
static void stdio_on_a_slow_pipe(void **state)
{
	struct world *w = *state;
	struct stdio s;
	int out[2], null = open("/dev/null", O_RDONLY), r;
	size_t written, got = 0;

	assert_int_equal(pipe(out), 0);
	stdio_take(&s, null, out[1]);
	r = make(w, "stdio");
	stdio_restore(&s);
	assert_int_equal(r, 0);
	alarm(20); /* a write that blocks ends the test */
	written = fill(w);
	assert_true(written >= 65536 + 4096);
	for (int i = 0; i < 40; i++) {
		got = drain_on(w, out[0], got, got + 30001);
		turn(w, 2);
		written = fill_on(w, written);
	}
	assert_int_equal(drain_on(w, out[0], got, written), written);
	assert_true(w->writable >= 1);
	alarm(0);
	close(out[0]);
	close(out[1]);
	close(null);
}

static void stdio_from_a_file(void **state)
{
	struct world *w = *state;
	struct stdio s;
	int fd = open(w->path, O_RDWR | O_CREAT, 0600), r;

	for (int i = 0; i < 300; i++)
		say(fd, "0123456789");
	lseek(fd, 0, SEEK_SET);
	w->room = 1000;
	stdio_take(&s, fd, 2);
	r = make(w, "stdio");
	stdio_restore(&s);
	assert_int_equal(r, 0);
	turn(w, 10);
	assert_int_equal(w->n_in, 1000);
	w->room = 3000;
	chardev_input_ready(w->chardev);
	turn(w, 10);
	assert_int_equal(w->n_in, 3000);
	close(fd);
}

/* In a child on a terminal of its own: exit status 0 when all is well, else a line number. */
#define CHECK(what)                                                   \
	do {                                                          \
		if (!(what))                                          \
			_exit(__LINE__ & 0xff ? __LINE__ & 0xff : 1); \
	} while (0)

static void terminal_child(struct world *w)
{
	struct termios before, during, after;

	CHECK(!tcgetattr(0, &before));
	CHECK(before.c_lflag & (ICANON | ECHO | ISIG));
	CHECK(!make(w, "stdio"));
	CHECK(!tcgetattr(0, &during));
	CHECK(!(during.c_lflag & (ICANON | ECHO | ISIG)));
	CHECK(during.c_oflag & OPOST);
	CHECK(chardev_write(w->chardev, "ready", 5) == 5);
	for (int i = 0; i < 200 && !w->quits; i++)
		turn(w, 20);
	CHECK(w->quits == 1);
	CHECK(w->n_in == 6);
	CHECK(!memcmp(w->in, "a\001b\003cz", 6));
	chardev_free(w->chardev);
	w->chardev = NULL;
	CHECK(!tcgetattr(0, &after));
	CHECK(after.c_lflag == before.c_lflag && after.c_iflag == before.c_iflag);
	_exit(0);
}

static void stdio_on_a_terminal(void **state)
{
	struct world *w = *state;
	int master, status;
	char buf[64] = "";
	pid_t pid = forkpty(&master, NULL, NULL, NULL);

	assert_true(pid >= 0);
	if (!pid)
		terminal_child(w);
	assert_int_equal(read(master, buf, sizeof(buf)), 5);
	assert_string_equal(buf, "ready");
	/* a, Ctrl-A, b, Ctrl-C, c, unknown sequence, quit */
	say(master, "a\001\001b\003c\001z");
	say(master, "\001x");
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	close(master);
}

#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
int main(void)
{
	const struct CMUnitTest tests[] = {
		T(bad_specs),
		T(none_swallows),
		T(file_is_emptied_and_written),
		T(socket_both_ways),
		T(input_waits_for_room),
		T(clients_come_and_go),
		T(clients_of_a_stopped_guest),
		T(half_closed_client),
		T(socket_file_in_the_way),
		T(full_socket_holds_the_device),
		T(stalled_client_loses_output),
		T(client_leaves_while_full),
		T(freed_with_output_waiting),
		T(stdio_on_pipes),
		T(stdio_on_a_slow_pipe),
		T(stdio_from_a_file),
		T(stdio_on_a_terminal),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
