// SPDX-License-Identifier: Apache-2.0
/* The life of a server's socket file: its mode, living and dead owners, paths that cannot be. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "common/wire.h"

static char directory[] = "/tmp/memd-listen-XXXXXX";
static char path[64];
static struct wire_server *server;
static const struct wire_server_options options = {.path = path, .package = "vmm 1.2.3"};

static int setup(void **state)
{
	assert_int_equal(wire_server_new(&options, &server), 0);
	return 0;
}

static int teardown(void **state)
{
	wire_server_free(server);
	server = NULL;
	return 0;
}

static void test_socket_file(void **state)
{
	struct wire_server_options other = options;
	struct wire_server *second = NULL;
	struct stat st;

	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(wire_server_new(&options, &second), -EADDRINUSE);
	assert_null(second);
	teardown(NULL);
	assert_int_equal(stat(path, &st), -1);

	other.mode = 0660;
	assert_int_equal(wire_server_new(&other, &server), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0660);

	/* A server whose file was replaced leaves the new one alone. */
	assert_int_equal(unlink(path), 0);
	assert_int_equal(wire_server_new(&options, &second), 0);
	wire_server_free(server);
	server = second;
	assert_int_equal(stat(path, &st), 0);
}

static void test_ghost(void **state)
{
	teardown(NULL);
	if (fork() == 0) {
		struct wire_server *dying;

		_exit(wire_server_new(&options, &dying) == 0 ? 0 : 1);
	}
	wait(NULL);
	assert_int_equal(access(path, F_OK), 0);
	setup(NULL);
}

static void test_bad_paths(void **state)
{
	struct wire_server_options bad = options;
	struct wire_server *none = NULL;
	char longer[200], file[80], nowhere[80];
	int fd;

	memset(longer, 'a', sizeof(longer) - 1);
	longer[0] = '/';
	longer[sizeof(longer) - 1] = '\0';
	bad.path = longer;
	assert_int_equal(wire_server_new(&bad, &none), -ENAMETOOLONG);
	assert_non_null(strstr(wire_server_why(-ENAMETOOLONG), "107"));

	snprintf(file, sizeof(file), "%s/file", directory);
	fd = open(file, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	close(fd);
	bad.path = file;
	assert_int_equal(wire_server_new(&bad, &none), -EEXIST);
	assert_int_equal(unlink(file), 0);

	snprintf(nowhere, sizeof(nowhere), "%s/no/socket", directory);
	bad.path = nowhere;
	assert_int_equal(wire_server_new(&bad, &none), -ENOENT);
	bad.path = "";
	assert_int_equal(wire_server_new(&bad, &none), -EINVAL);
	assert_null(none);
}

static int remove_directory(void **state)
{
	return rmdir(directory);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_socket_file),
		TEST(test_ghost),
		TEST(test_bad_paths),
	};

	if (!mkdtemp(directory))
		return 1;
	snprintf(path, sizeof(path), "%s/sock", directory);
	return cmocka_run_group_tests_name("common_wire_listen", tests, NULL, remove_directory);
}
