// SPDX-License-Identifier: Apache-2.0
/* Directories of guests' sockets are watched: a socket that fits a pattern is told, others not. */
#include "tests/unit/tree.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "common/cleanup.h"
#include "memd/arrival.h"

static void arrival_end(struct arrival **arrival)
{
	arrival_close(*arrival);
}
#define AUTO_ARRIVAL __attribute__((cleanup(arrival_end)))

static struct arrival *arrival_start(void)
{
	struct arrival *arrival = NULL;

	assert_int_equal(arrival_open(&arrival), 0);
	return arrival;
}

static void bind_at(const char *path)
{
	AUTO_FD int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	assert_true(fd >= 0);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
}

/* Is it told at once, and is what is told an arrival? */
static bool told(struct arrival *arrival, const char *globs)
{
	struct pollfd readable = {.fd = arrival_fd(arrival), .events = POLLIN};
	bool come;

	if (poll(&readable, 1, 0) == 0)
		return false;
	come = arrival_take(arrival, globs);
	assert_int_equal(poll(&readable, 1, 0), 0);
	return come;
}

static void socket_in_a_directory(void **state)
{
	AUTO_TREE struct tree tree = tree_new(NULL);
	AUTO_ARRIVAL struct arrival *arrival = arrival_start();
	char globs[256], path[108];

	tree_shell("mkdir -p %s/a %s/b", tree.root, tree.root);
	snprintf(globs, sizeof(globs), "%s/a/*.qmp \t%s/none/*.qmp %s/b/mon?", tree.root, tree.root,
		 tree.root);
	arrival_watch(arrival, globs);
	arrival_watch(arrival, globs); /* once more is the same */
	assert_false(told(arrival, globs));
	assert_false(arrival_take(arrival, globs));

	snprintf(path, sizeof(path), "%s/a/web1.qmp", tree.root);
	bind_at(path);
	assert_true(told(arrival, globs));
	assert_false(told(arrival, globs));
	tree_shell("touch %s/a/web1.log %s/b/mon %s/a/.hidden.qmp", tree.root, tree.root,
		   tree.root);
	assert_false(told(arrival, globs));
	tree_shell("rm %s/a/web1.qmp", tree.root);
	assert_false(told(arrival, globs));
	/* as libvirt and careful scripts do it */
	tree_shell("touch %s/tmp && mv %s/tmp %s/b/mon1", tree.root, tree.root, tree.root);
	assert_true(told(arrival, globs));
	/* a directory that comes later is watched by the next call */
	tree_shell("mkdir %s/none", tree.root);
	arrival_watch(arrival, globs);
	tree_shell("touch %s/none/x.qmp", tree.root);
	assert_true(told(arrival, globs));
}

/* A directory for each guest. */
static void directory_of_a_guest(void **state)
{
	AUTO_TREE struct tree tree = tree_new(NULL);
	AUTO_ARRIVAL struct arrival *arrival = arrival_start();
	char globs[256];

	tree_shell("mkdir -p %s/qemu/domain-1-old/sub", tree.root);
	snprintf(globs, sizeof(globs), "%s/qemu/domain-*/monitor.sock", tree.root);
	arrival_watch(arrival, globs);
	tree_shell("touch %s/qemu/domain-1-old/monitor.sock", tree.root);
	assert_true(told(arrival, globs));
	tree_shell("touch %s/qemu/domain-1-old/sub/monitor.sock", tree.root);
	assert_false(told(arrival, globs));
	tree_shell("mkdir %s/qemu/domain-2-new", tree.root);
	assert_true(told(arrival, globs));
	arrival_watch(arrival, globs);
	tree_shell("touch %s/qemu/domain-2-new/monitor.sock", tree.root);
	assert_true(told(arrival, globs));
	/* one that goes and comes again */
	tree_shell("rm -r %s/qemu/domain-2-new && mkdir %s/qemu/domain-2-new", tree.root,
		   tree.root);
	assert_true(told(arrival, globs));
	arrival_watch(arrival, globs);
	tree_shell("touch %s/qemu/domain-2-new/monitor.sock", tree.root);
	assert_true(told(arrival, globs));
}

/* More happens than the kernel keeps: then something may have come. */
static void lost_events(void **state)
{
	AUTO_TREE struct tree tree = tree_new(NULL);
	AUTO_ARRIVAL struct arrival *arrival = arrival_start();
	char globs[256];

	snprintf(globs, sizeof(globs), "%s/*.qmp", tree.root);
	arrival_watch(arrival, globs);
	tree_shell("n=$(cat /proc/sys/fs/inotify/max_queued_events); cd %s && "
		   "seq -f 'a%%g' $((n + 10)) | xargs touch && find . -name 'a*' -delete",
		   tree.root);
	assert_true(told(arrival, globs));
	assert_false(told(arrival, globs));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(socket_in_a_directory),
		cmocka_unit_test(directory_of_a_guest),
		cmocka_unit_test(lost_events),
	};

	return cmocka_run_group_tests_name("memd_arrival", tests, NULL, NULL);
}
