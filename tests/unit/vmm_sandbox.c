// SPDX-License-Identifier: Apache-2.0
/*
 * Confinement: what the table must look like, and what really happens to a process and to each kind
 * of its threads. What is confined or killed is always a child.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "vmm/sandbox_impl.h"

static char dir[] = "/tmp/memd-sandbox.XXXXXX";

/* ---- the table ---- */

static bool has_value(const struct sandbox_right *right, uint64_t number)
{
	for (const struct sandbox_value *value = right->values; value->name; value++)
		if (value->value == number)
			return true;
	return false;
}

static bool overlap(const struct sandbox_right *a, const struct sandbox_right *b)
{
	if (a->number != b->number || !(a->kinds & b->kinds))
		return false;
	if (a->check != CHECK_VALUES || b->check != CHECK_VALUES || a->arg != b->arg)
		return true;
	for (const struct sandbox_value *value = a->values; value->name; value++)
		if (has_value(b, value->value))
			return true;
	return false;
}

/* A sanitizer's rows are, on purpose. */
static bool is_wider(const struct sandbox_right *right)
{
	return strstr(right->reason, "sanitizer");
}

static void test_table(void **state)
{
	for (size_t i = 0; i < sandbox_n_rights; i++) {
		const struct sandbox_right *right = &sandbox_rights[i];
		AUTO_FREE char *name =
			seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, right->number);

		assert_non_null(name);
		assert_string_equal(right->call, name);
		assert_true(right->reason && strlen(right->reason) > 5);
		assert_true(right->kinds && right->kinds < 1U << SANDBOX_KINDS);
		assert_true(right->arg < 6);
		assert_int_equal(right->check == CHECK_VALUES, right->values != NULL);
		assert_int_equal(right->check == CHECK_REFUSE, right->error != 0);
		if (is_wider(right))
			continue;
		for (size_t j = i + 1; j < sandbox_n_rights; j++)
			if (overlap(right, &sandbox_rights[j]))
				fail_msg("%s is in the table twice for one kind of thread",
					 right->call);
	}
}

/* Nothing that starts a program, opens a file or reaches another process is in it. */
static void test_table_lacks(void **state)
{
	static const int never[] = {__NR_execve,  __NR_execveat,       __NR_open,
				    __NR_openat2, __NR_socket,	       __NR_connect,
				    __NR_bind,	  __NR_fork,	       __NR_vfork,
				    __NR_mount,	  __NR_io_uring_setup, __NR_process_vm_writev,
				    __NR_bpf,	  __NR_setuid,	       __NR_userfaultfd,
				    __NR_keyctl,  __NR_perf_event_open};

	for (size_t i = 0; i < sandbox_n_rights; i++)
		for (size_t j = 0; j < ARRAY_SIZE(never) && !is_wider(&sandbox_rights[i]); j++)
			assert_int_not_equal(sandbox_rights[i].number, never[j]);
}

static void test_filters_compile(void **state)
{
	unsigned short len[SANDBOX_KINDS];

	for (enum sandbox_kind kind = 0; kind < SANDBOX_KINDS; kind++) {
		struct sock_fprog program = {0};

		assert_int_equal(sandbox_filter_new(kind, false, true, &program), 0);
		assert_true(program.len > 20 && program.len < BPF_MAXINSNS);
		len[kind] = program.len;
		free(program.filter);
	}
	assert_true(len[SANDBOX_VCPU] < len[SANDBOX_MAIN]);
}

/* ---- a confined child ---- */

struct trial {
	enum sandbox_mode mode;
	enum sandbox_kind kind;
	void (*act)(void);
};

static void *confined_thread(void *arg)
{
	const struct trial *trial = arg;

	if (sandbox_thread(trial->kind) < 0)
		_exit(3);
	trial->act();
	return NULL;
}

static const struct sandbox_config no_config;

/* Started before the process is confined, as an I/O thread is, or after, as a vCPU is. */
static void run_trial(const struct trial *trial, bool early)
{
	pthread_t thread;

	if (sandbox_prepare(trial->mode) < 0)
		_exit(3);
	if (early && pthread_create(&thread, NULL, confined_thread, (void *)(uintptr_t)trial))
		_exit(3);
	if (sandbox_enter(&no_config) < 0)
		_exit(4);
	if (!early && pthread_create(&thread, NULL, confined_thread, (void *)(uintptr_t)trial))
		_exit(3);
	pthread_join(thread, NULL);
	_exit(0);
}

/* The wait status of a child that runs fn. */
static int in_child(void (*fn)(const void *arg), const void *arg)
{
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (pid == 0) {
		log_init("child", (enum log_level)0);
		fn(arg);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static void early_child(const void *arg)
{
	run_trial(arg, true);
}

static void late_child(const void *arg)
{
	run_trial(arg, false);
}

static bool is_killed(enum sandbox_kind kind, void (*act)(void))
{
	const struct trial trial = {.mode = SANDBOX_ON, .kind = kind, .act = act};
	int early = in_child(early_child, &trial), late = in_child(late_child, &trial);

	if (early != late)
		fail_msg("%s: status %#x when started early, %#x when late",
			 sandbox_kind_names[kind], early, late);
	return WIFSIGNALED(early) && WTERMSIG(early) == SIGSYS;
}

static bool is_fine(enum sandbox_kind kind, void (*act)(void))
{
	const struct trial trial = {.mode = SANDBOX_ON, .kind = kind, .act = act};

	return in_child(early_child, &trial) == 0 && in_child(late_child, &trial) == 0;
}

/* ---- what is forbidden to all ---- */

static void act_exec(void)
{
	char *argv[] = {(char *)(uintptr_t) "true", NULL};

	execv("/bin/true", argv);
}

static void act_socket(void)
{
	close(socket(AF_UNIX, SOCK_STREAM, 0));
}

static void act_mount(void)
{
	syscall(__NR_umount2, "/nowhere", 0);
}

static void act_kill_others(void)
{
	syscall(__NR_tgkill, getppid(), getppid(), 0);
}

static void act_open_machine(void)
{
	ioctl(0, KVM_CREATE_DEVICE, NULL);
}

static void act_code(void)
{
	/* The numbers of the 32-bit calls mean others: whoever uses them is killed too. */
	__asm__ volatile("int $0x80" : : "a"(20) : "memory");
}

static void test_forbidden(void **state)
{
	static void (*const acts[])(void) = {act_exec, act_socket, act_mount, act_open_machine,
					     act_code};

	for (enum sandbox_kind kind = 0; kind < SANDBOX_KINDS; kind++)
		for (size_t i = 0; i < ARRAY_SIZE(acts); i++)
			if (!is_killed(kind, acts[i]))
				fail_msg("forbidden call %zu is allowed in the %s thread", i,
					 sandbox_kind_names[kind]);
}

/* ---- what one may and another may not ---- */

static void act_run(void)
{
	ioctl(-1, KVM_RUN, 0);
}

static void act_create_vm(void)
{
	ioctl(-1, KVM_CREATE_VM, 0);
}

static void act_clone_process(void)
{
	syscall(__NR_clone, SIGCHLD, 0, 0, 0, 0);
}

static void act_write_disk(void)
{
	(void)!pwritev(-1, NULL, 0, 0);
}

static void act_accept(void)
{
	(void)accept4(-1, NULL, NULL, 0);
}

static void act_code_page(void)
{
	(void)mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static void *do_nothing(void *arg)
{
	return arg;
}

static void act_thread(void)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, do_nothing, NULL) || pthread_join(thread, NULL))
		_exit(5);
}

static void act_memory(void)
{
	for (size_t size = 16; size < 8 << 20; size *= 4)
		free(memset(malloc(size), 1, size));
}

static void act_log(void)
{
	log_init("child", LOG_LEVEL_INFO);
	log_info("a line of a confined thread");
}

static void test_kinds(void **state)
{
	static const struct {
		void (*act)(void);
		unsigned int kinds;
		bool sanitizers_may; /* what they do themselves cannot be told from it */
	} cases[] = {
		{act_run, 1 << SANDBOX_VCPU, false},
		{act_create_vm, 1 << SANDBOX_MAIN, false},
		{act_write_disk, 1 << SANDBOX_IO, false},
		{act_accept, 1 << SANDBOX_MAIN, false},
		{act_clone_process, 0, true},
		{act_kill_others, 0, true},
		{act_code_page, 0, true},
		{act_thread, 1 << SANDBOX_MAIN, true},
		{act_memory, 1 << SANDBOX_MAIN | 1 << SANDBOX_VCPU | 1 << SANDBOX_WORKER, true},
		{act_log, (1 << SANDBOX_KINDS) - 1, false},
	};

	for (enum sandbox_kind kind = 0; kind < SANDBOX_KINDS; kind++)
		for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
			bool may = cases[i].kinds >> kind & 1;

#if defined(__SANITIZE_ADDRESS__)
			if (cases[i].sanitizers_may)
				continue;
#endif
			if (may ? !is_fine(kind, cases[i].act) : !is_killed(kind, cases[i].act))
				fail_msg("call %zu is %s in the %s thread", i,
					 may ? "not allowed" : "allowed", sandbox_kind_names[kind]);
		}
}

static void test_log_lets_pass(void **state)
{
	const struct trial trial = {.mode = SANDBOX_LOG, .kind = SANDBOX_VCPU, .act = act_socket};

	assert_int_equal(in_child(late_child, &trial), 0);
}

/* ---- the process as a whole ---- */

static void expect_status(const char *line)
{
	AUTO_FILE FILE *f = fopen("/proc/thread-self/status", "re");
	char text[128];

	while (f && fgets(text, sizeof(text), f))
		if (strncmp(text, line, strlen(line)) == 0)
			return;
	fprintf(stderr, "no line %s\n", line);
	_exit(6);
}

static void process_child(const void *arg)
{
	AUTO_FD int status = -1;
	char path[64], other[64];
	struct sandbox_config config = {.sockets = {path}, .n_sockets = 1};

	snprintf(path, sizeof(path), "%s/in/socket", dir);
	snprintf(other, sizeof(other), "%s/other", dir);
	if (sandbox_prepare(SANDBOX_ON) < 0 || sandbox_enter(&config) < 0)
		_exit(3);
	if (prctl(PR_GET_DUMPABLE) || prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1)
		_exit(4);
	status = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
	/* Landlock says no to opening; a mount namespace, to writing. */
	if (status < 0 && errno != EACCES)
		_exit(5);
	if (open(other, O_RDWR | O_CLOEXEC) >= 0 || unlink(other) == 0)
		_exit(7);
	if (unlink(path) < 0 || access(path, F_OK) == 0)
		_exit(8);
	if (prctl(PR_CAPBSET_READ, 0, 0, 0, 0) != 0 && geteuid() == 0)
		_exit(9);
}

static void make_file(const char *name)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	close(fd);
}

static void test_process(void **state)
{
	make_file("in/socket");
	make_file("other");
	assert_int_equal(in_child(process_child, NULL), 0);
	/* The child's limits are its own. */
	expect_status("NoNewPrivs:\t0");
}

static void user_child(const void *arg)
{
	const struct sandbox_user user = {true, 65534, 65533};
	struct sandbox_config config = {.user = &user};

	if (sandbox_prepare(SANDBOX_OFF) < 0 || sandbox_enter(&config) < 0)
		_exit(3);
	expect_status("Uid:\t65534\t65534\t65534\t65534");
	expect_status("Gid:\t65533\t65533\t65533\t65533");
	expect_status("CapEff:\t0000000000000000");
}

static void test_user(void **state)
{
	if (geteuid() != 0)
		skip();
	assert_int_equal(in_child(user_child, NULL), 0);
}

/* Inside of something that forbids seccomp(2) already. */
static void nested_child(const void *arg)
{
	const enum sandbox_mode *mode = arg;
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);

	if (seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(seccomp), 0) < 0 ||
	    seccomp_load(filter) < 0)
		_exit(3);
	seccomp_release(filter);
	if (sandbox_prepare(*mode) < 0)
		_exit(4);
	_exit(sandbox_enter(&no_config) == 0 && sandbox_thread(SANDBOX_VCPU) == 0 ? 0 : 5);
}

static void test_nested(void **state)
{
	const enum sandbox_mode automatic = SANDBOX_AUTO, on = SANDBOX_ON;

	assert_int_equal(in_child(nested_child, &automatic), 0);
	assert_int_equal(WEXITSTATUS(in_child(nested_child, &on)), 5);
}

static void abandon_child(const void *arg)
{
	static const struct trial trial = {.kind = SANDBOX_IO, .act = act_socket};
	pthread_t thread;

	if (sandbox_prepare(SANDBOX_ON) < 0 ||
	    pthread_create(&thread, NULL, confined_thread, (void *)(uintptr_t)&trial))
		_exit(3);
	usleep(20000);
	sandbox_abandon();
	pthread_join(thread, NULL);
}

static void test_abandon(void **state)
{
	assert_int_equal(in_child(abandon_child, NULL), 0);
}

/* ---- --user ---- */

static void test_user_names(void **state)
{
	static const char *const bad[] = {"",
					  ":",
					  "root:",
					  ":root",
					  "-1",
					  "1x:0",
					  "4294967295:0",
					  "no-such-user-here",
					  "0:no such group",
					  "987654"};
	struct sandbox_user user;
	const char *why;

	assert_int_equal(sandbox_user_parse("root", &user, &why), 0);
	assert_true(user.is_given && user.uid == 0 && user.gid == 0);
	assert_int_equal(sandbox_user_parse("987654:12", &user, &why), 0);
	assert_true(user.uid == 987654 && user.gid == 12);
	assert_int_equal(sandbox_user_parse("12:root", &user, &why), 0);
	assert_true(user.uid == 12 && user.gid == 0);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		why = NULL;
		if (sandbox_user_parse(bad[i], &user, &why) != -EINVAL || !why)
			fail_msg("'%s' was taken", bad[i]);
	}
}

static int set_up(void **state)
{
	char path[64];

	if (!mkdtemp(dir))
		return -1;
	snprintf(path, sizeof(path), "%s/in", dir);
	return mkdir(path, 0700);
}

static int tear_down(void **state)
{
	static const char *const files[] = {"in/socket", "other"};
	char path[64];

	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, files[i]);
		unlink(path);
	}
	snprintf(path, sizeof(path), "%s/in", dir);
	rmdir(path);
	return rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_table),		cmocka_unit_test(test_table_lacks),
		cmocka_unit_test(test_filters_compile), cmocka_unit_test(test_forbidden),
		cmocka_unit_test(test_kinds),		cmocka_unit_test(test_log_lets_pass),
		cmocka_unit_test(test_process),		cmocka_unit_test(test_user),
		cmocka_unit_test(test_nested),		cmocka_unit_test(test_abandon),
		cmocka_unit_test(test_user_names),
	};

	log_init("test", (enum log_level)0);
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
