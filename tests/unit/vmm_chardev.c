// SPDX-License-Identifier: Apache-2.0
/*
 * The host ends of character streams, on real sockets and files: order and completeness of what
 * passes, clients that come, go, stall and queue up, and what is left behind.
 */
#include "tests/unit/chardev_world.h"

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
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
