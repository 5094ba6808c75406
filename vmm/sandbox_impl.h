/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside of sandbox*.c and their tests: sandbox.c has the order of things, sandbox_table.c the
 * rights, sandbox_filter.c makes filters of them, sandbox_path.c takes the paths away.
 */
#ifndef MEMD_VMM_SANDBOX_IMPL_H
#define MEMD_VMM_SANDBOX_IMPL_H

#include <linux/filter.h>
#include <stdint.h>

#include "vmm/sandbox.h"

/* Sanitizers look into /proc and stop all threads to find leaks: they are let. */
#if defined(__SANITIZE_ADDRESS__)
#define SANDBOX_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANDBOX_SANITIZED 1
#endif
#endif

/* ---- sandbox_table.c ---- */

enum sandbox_check {
	CHECK_NONE,
	CHECK_VALUES,	   /* the argument is one of the values */
	CHECK_NO_EXEC,	   /* the argument, a protection, lacks PROT_EXEC */
	CHECK_OWN_PROCESS, /* the argument is our process id */
	CHECK_OWN_THREAD,  /* the argument, clone flags, makes a thread, no process or namespace */
	CHECK_REFUSE,	   /* not allowed, but answered with an error instead of the end */
};

struct sandbox_value {
	const char *name; /* NULL ends the list */
	uint64_t value;
};

struct sandbox_right {
	const char *call;
	int number;
	unsigned int kinds; /* bit per enum sandbox_kind */
	const char *reason;
	enum sandbox_check check;
	unsigned int arg;		    /* which argument, from 0 */
	const struct sandbox_value *values; /* CHECK_VALUES */
	int error;			    /* CHECK_REFUSE */
};

extern const struct sandbox_right sandbox_rights[];
extern const size_t sandbox_n_rights;
extern const char *const sandbox_kind_names[SANDBOX_KINDS];

/* ---- sandbox_filter.c ---- */

/*
 * The filter of one kind of thread. log: calls outside of the table are logged, not fatal. reach:
 * files may be unlinked (else that is answered with EPERM). The program is the caller's to free.
 */
int sandbox_filter_new(enum sandbox_kind kind, bool log, bool reach,
		       struct sock_fprog *ret_program);
/* Put the calling thread under it, for good. */
int sandbox_filter_load(const struct sock_fprog *program);

/* ---- sandbox_path.c ---- */

/*
 * No path can be opened, made or removed from now on, except that files may be unlinked in the
 * directories of these sockets. Called twice: SANDBOX_PATH_OPEN with all privileges, and
 * SANDBOX_PATH_CLOSE when they are gone. *ret_reach: paths are out of reach; false: this kernel has
 * neither Landlock nor mount namespaces for us, and the filters must see to it.
 */
struct sandbox_path {
	int ruleset_fd; /* Landlock; -1: none */
	bool is_namespace;
};
void sandbox_path_open(struct sandbox_path *path, const char *const *sockets, size_t n);
bool sandbox_path_close(struct sandbox_path *path);

#endif
