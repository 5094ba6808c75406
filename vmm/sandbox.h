/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Confinement. Once every file is open, every socket bound and all RAM mapped, the process becomes
 * the user it was told to be, lets go of capabilities and paths, and each thread of the system
 * calls that it does not need. sandbox_table.c says who may do what and why.
 *
 * main() calls prepare, opens everything, calls enter, starts threads and then confines itself by
 * sandbox_thread. A thread calls sandbox_thread before anything a guest can reach; one that was
 * started before sandbox_enter waits there. Threads started later and without calling it, such as
 * those that populate RAM at a reset, have the rights of the thread that started them. Where
 * nobody prepares (tests), nothing is confined.
 */
#ifndef MEMD_VMM_SANDBOX_H
#define MEMD_VMM_SANDBOX_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

enum sandbox_mode {
	SANDBOX_AUTO, /* all that this kernel has; what it lacks is a warning */
	SANDBOX_ON,   /* without system call filters there is no guest */
	SANDBOX_OFF,
	SANDBOX_LOG, /* as on, but a call that is not allowed is logged by the kernel and made */
};

enum sandbox_kind {
	SANDBOX_MAIN,	/* the event loop, start and end */
	SANDBOX_VCPU,	/* runs the guest */
	SANDBOX_IO,	/* a disk's requests */
	SANDBOX_WORKER, /* works on guest RAM in the background */
	SANDBOX_KINDS,
};

struct sandbox_user {
	bool is_given;
	uid_t uid;
	gid_t gid;
};

#define SANDBOX_SOCKETS_MAX 8

struct sandbox_config {
	const struct sandbox_user *user;	  /* NULL: stay who we are */
	const char *sockets[SANDBOX_SOCKETS_MAX]; /* to be unlinked at the end */
	size_t n_sockets;
	bool dumps_core; /* guest RAM may be in it: somebody asked for that */
};

/* "NAME", "UID" or "UID:GROUP". -EINVAL: *ret_why says what is wrong. */
int sandbox_user_parse(const char *text, struct sandbox_user *ret_user, const char **ret_why);

/* Before the first thread. Logged. */
int sandbox_prepare(enum sandbox_mode mode);
/*
 * All of the process but the filters: user, capabilities, resource limits, paths. Errors are
 * logged with what would help; -errno.
 */
int sandbox_enter(const struct sandbox_config *config);
/* Confine the calling thread for good. Logged. In mode auto a kernel without filters is no error.
 */
int sandbox_thread(enum sandbox_kind kind);
/* There will be no sandbox_enter: let waiting threads go on to their end. */
void sandbox_abandon(void);

/* Print the table to stdout. */
void sandbox_explain(void);

#endif
