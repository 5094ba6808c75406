// SPDX-License-Identifier: Apache-2.0
/*
 * Filters out of the table, by libseccomp. They are compiled once, before any of them is in force,
 * and kept as programs: a thread then loads its own by one system call and needs nothing else.
 */
#include <errno.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <seccomp.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "vmm/sandbox_impl.h"

#define THREAD_FLAGS (CLONE_VM | CLONE_SIGHAND | CLONE_THREAD)
#define OTHER_FLAGS                                                                                \
	(CLONE_NEWNS | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | \
	 CLONE_NEWCGROUP | CLONE_VFORK | CLONE_PTRACE)

static void free_filter(scmp_filter_ctx *filter)
{
	if (*filter)
		seccomp_release(*filter);
}
#define AUTO_FILTER AUTO(free_filter)

/* One or more rules; each of them allows the call. */
static int add_right(scmp_filter_ctx filter, const struct sandbox_right *right, bool reach)
{
	struct scmp_arg_cmp arg = {.arg = right->arg, .op = SCMP_CMP_EQ};
	unsigned int n_args = 1;
	int r;

	switch (right->check) {
	case CHECK_NONE:
		n_args = 0;
		break;
	case CHECK_NO_EXEC:
		arg.op = SCMP_CMP_MASKED_EQ;
		arg.datum_a = PROT_EXEC;
		break;
	case CHECK_OWN_PROCESS:
		arg.datum_a = (uint64_t)getpid();
		break;
	case CHECK_OWN_THREAD:
		arg.op = SCMP_CMP_MASKED_EQ;
		arg.datum_a = THREAD_FLAGS | OTHER_FLAGS;
		arg.datum_b = THREAD_FLAGS;
		break;
	case CHECK_REFUSE:
		return seccomp_rule_add_exact_array(
			filter, SCMP_ACT_ERRNO((unsigned int)right->error), right->number, 0, NULL);
	case CHECK_VALUES:
		for (const struct sandbox_value *value = right->values; value->name; value++) {
			arg.datum_a = value->value;
			r = seccomp_rule_add_exact_array(filter, SCMP_ACT_ALLOW, right->number, 1,
							 &arg);
			if (r < 0 && r != -EEXIST)
				return r;
		}
		return 0;
	}
	if (!reach && right->number == __NR_unlink)
		return seccomp_rule_add_exact_array(filter, SCMP_ACT_ERRNO(EPERM), right->number, 0,
						    NULL);
	return seccomp_rule_add_exact_array(filter, SCMP_ACT_ALLOW, right->number, n_args, &arg);
}

/* libseccomp 2.5 writes programs to files only. */
static int export_program(scmp_filter_ctx filter, struct sock_fprog *ret_program)
{
	AUTO_FD int fd = memfd_create("filter", MFD_CLOEXEC);
	AUTO_FREE struct sock_filter *code = NULL;
	struct stat st;
	int r;

	if (fd < 0)
		return -errno;
	r = seccomp_export_bpf(filter, fd);
	if (r < 0)
		return r;
	if (fstat(fd, &st) < 0)
		return -errno;
	code = malloc((size_t)st.st_size);
	if (!code)
		return -ENOMEM;
	if (pread(fd, code, (size_t)st.st_size, 0) != st.st_size)
		return -EIO;
	ret_program->len = (unsigned short)((size_t)st.st_size / sizeof(*code));
	ret_program->filter = TAKE_PTR(code);
	return 0;
}

int sandbox_filter_new(enum sandbox_kind kind, bool log, bool reach, struct sock_fprog *ret_program)
{
	AUTO_FILTER scmp_filter_ctx filter =
		seccomp_init(log ? SCMP_ACT_LOG : SCMP_ACT_KILL_PROCESS);
	int r = filter ? 0 : -ENOMEM;

	if (r == 0)
		r = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
	for (size_t i = 0; r == 0 && i < sandbox_n_rights; i++) {
		const struct sandbox_right *right = &sandbox_rights[i];

		if (right->kinds & 1U << kind)
			r = add_right(filter, right, reach);
		/* A sanitizer's wider rule came first. */
		if (r == -EEXIST)
			r = 0;
	}
	/* What a guest makes us do most often is looked up first. */
	if (r == 0 && kind == SANDBOX_VCPU)
		r = seccomp_syscall_priority(filter, SCMP_SYS(ioctl), 255);
	return r < 0 ? r : export_program(filter, ret_program);
}

int sandbox_filter_load(const struct sock_fprog *program)
{
	return syscall(__NR_seccomp, SECCOMP_SET_MODE_FILTER, 0U, program) < 0 ? -errno : 0;
}
