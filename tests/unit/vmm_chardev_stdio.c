// SPDX-License-Identifier: Apache-2.0
/* A character stream on stdio: pipes, files and a terminal. */
#include "tests/unit/chardev_world.h"

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
		T(stdio_on_pipes),
		T(stdio_on_a_slow_pipe),
		T(stdio_from_a_file),
		T(stdio_on_a_terminal),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
