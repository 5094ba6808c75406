// SPDX-License-Identifier: Apache-2.0
/*
 * The order of things: see sandbox.h. What only root may do comes first, then root goes, then what
 * needs no privilege. The bounding set and no_new_privs are settled before there are threads, for
 * they belong to threads and are inherited; the user is changed by the C library in all threads at
 * once, so no thread may have its filter before.
 */
#include "vmm/sandbox.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <libgen.h>
#include <linux/capability.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "vmm/sandbox_impl.h"

#define FILES_MAX 1024 /* 64 vCPUs and all devices take less than half of it */

static struct {
	enum sandbox_mode mode;
	enum { IDLE, PREPARED, ENTERED } phase;
	bool has_filters;
	struct sock_fprog filters[SANDBOX_KINDS];
	pthread_mutex_t lock;
	pthread_cond_t changed;
} sandbox = {
	.mode = SANDBOX_OFF,
	.lock = PTHREAD_MUTEX_INITIALIZER,
	.changed = PTHREAD_COND_INITIALIZER,
};

/* ---- who we are ---- */

static bool parse_number(const char *text, unsigned long *ret_number)
{
	char *end;

	if (!isdigit((unsigned char)*text))
		return false;
	errno = 0;
	*ret_number = strtoul(text, &end, 10);
	/* The highest means "no change" to setresuid(2). */
	return !errno && !*end && *ret_number < UINT32_MAX;
}

int sandbox_user_parse(const char *text, struct sandbox_user *ret_user, const char **ret_why)
{
	struct sandbox_user user = {.is_given = true};
	char name[64];
	const char *colon = strchr(text, ':');
	size_t len = colon ? (size_t)(colon - text) : strlen(text);
	const struct passwd *entry;
	unsigned long number;

	*ret_why = "a user's name or number, alone or with :GROUP";
	if (len == 0 || len >= sizeof(name) || (colon && !colon[1]))
		return -EINVAL;
	memcpy(name, text, len);
	name[len] = '\0';
	if (parse_number(name, &number)) {
		entry = getpwuid((uid_t)number);
		user.uid = (uid_t)number;
	} else {
		entry = getpwnam(name);
		if (!entry) {
			*ret_why = "a user that exists; this host has none of that name";
			return -EINVAL;
		}
		user.uid = entry->pw_uid;
	}
	if (!colon) {
		if (!entry) {
			*ret_why = "UID:GROUP for a number that is no user of this host";
			return -EINVAL;
		}
		user.gid = entry->pw_gid;
	} else if (parse_number(colon + 1, &number)) {
		user.gid = (gid_t)number;
	} else {
		const struct group *group = getgrnam(colon + 1);

		if (!group) {
			*ret_why = "a group that exists; this host has none of that name";
			return -EINVAL;
		}
		user.gid = group->gr_gid;
	}
	*ret_user = user;
	return 0;
}

/* The sockets go with us; a directory that is not ours keeps them when we end. */
static int become(const struct sandbox_config *config)
{
	const struct sandbox_user *user = config->user;

	for (size_t i = 0; i < config->n_sockets; i++)
		if (lchown(config->sockets[i], user->uid, user->gid) < 0)
			log_warn("--user: %s stays with its owner: %m", config->sockets[i]);
	if (setgroups(0, NULL) < 0 && errno != EPERM)
		return -errno;
	if (setresgid(user->gid, user->gid, user->gid) < 0 ||
	    setresuid(user->uid, user->uid, user->uid) < 0)
		return -errno;
	for (size_t i = 0; i < config->n_sockets; i++) {
		AUTO_FREE char *copy = strdup(config->sockets[i]);

		if (copy && faccessat(AT_FDCWD, dirname(copy), W_OK, AT_EACCESS) < 0)
			log_info("--user: %s will be left behind at the end: its directory is not "
				 "this user's to write",
				 config->sockets[i]);
	}
	return 0;
}

static void drop_bounding_set(void)
{
	for (unsigned long cap = 0; prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) == 0; cap++)
		;
	(void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
}

/* Of the calling thread: permitted, effective and inheritable. */
static int drop_capabilities(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {0};

	return syscall(__NR_capset, &header, none) < 0 ? -errno : 0;
}

/* What our memory holds is the guest's: no core of it, and no looking in but by root. */
static void limit(bool dumps_core)
{
	struct rlimit files;

	if (getrlimit(RLIMIT_NOFILE, &files) == 0 &&
	    (files.rlim_max == RLIM_INFINITY || files.rlim_max > FILES_MAX))
		(void)setrlimit(RLIMIT_NOFILE, &(struct rlimit){FILES_MAX, FILES_MAX});
	/* Another user's program, or one that was another's, starts as not dumpable. */
	(void)prctl(PR_SET_DUMPABLE, dumps_core, 0, 0, 0);
	if (!dumps_core)
		(void)setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
}

/* ---- filters ---- */

static int no_filters(int r)
{
	if (sandbox.mode == SANDBOX_AUTO) {
		log_warn("sandbox: no system call filters: %s; the guest runs all the same "
			 "(--sandbox on would refuse to)",
			 strerror(-r));
		return 0;
	}
	log_err("sandbox: no system call filters: %s; they need a kernel with "
		"CONFIG_SECCOMP_FILTER, and whatever this runs in must allow seccomp(2); "
		"--sandbox auto goes on without them",
		strerror(-r));
	return r;
}

/* Has this kernel, and whatever we run in, all that loading will ask for? */
static int try_filters(void)
{
	const uint32_t actions[] = {SECCOMP_RET_KILL_PROCESS, SECCOMP_RET_LOG};

	for (size_t i = 0; i < ARRAY_SIZE(actions); i++)
		if (syscall(__NR_seccomp, SECCOMP_GET_ACTION_AVAIL, 0U, &actions[i]) < 0)
			return -errno;
	return 0;
}

static int make_filters(bool reach)
{
	int r = try_filters();

	for (enum sandbox_kind kind = 0; r == 0 && kind < SANDBOX_KINDS; kind++)
		r = sandbox_filter_new(kind, sandbox.mode == SANDBOX_LOG, reach,
				       &sandbox.filters[kind]);
	sandbox.has_filters = r == 0;
	return r < 0 ? no_filters(r) : 0;
}

/* ---- the steps ---- */

static void set_phase(int phase)
{
	pthread_mutex_lock(&sandbox.lock);
	sandbox.phase = phase;
	pthread_cond_broadcast(&sandbox.changed);
	pthread_mutex_unlock(&sandbox.lock);
}

int sandbox_prepare(enum sandbox_mode mode)
{
	sandbox.mode = mode;
	if (mode == SANDBOX_OFF)
		return 0;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) {
		int r = -errno;

		log_err("sandbox: PR_SET_NO_NEW_PRIVS: %s", strerror(-r));
		return r;
	}
	drop_bounding_set();
	set_phase(PREPARED);
	return 0;
}

int sandbox_enter(const struct sandbox_config *config)
{
	struct sandbox_path path = {.ruleset_fd = -1};
	bool confines = sandbox.mode != SANDBOX_OFF, reach;
	int r = 0;

	if (confines)
		sandbox_path_open(&path, config->sockets, config->n_sockets);
	if (config->user)
		r = become(config);
	if (r < 0) {
		log_err("--user: cannot become user %u, group %u: %s%s", config->user->uid,
			config->user->gid, strerror(-r),
			r == -EPERM ? "; only root can become somebody else" : "");
		cleanup_fd(&path.ruleset_fd);
		return r;
	}
	if (!confines)
		return 0;
	limit(config->dumps_core);
	r = drop_capabilities();
	if (r < 0) {
		log_err("sandbox: cannot let go of capabilities: %s", strerror(-r));
		return r;
	}
	reach = sandbox_path_close(&path);
	if (!reach)
		log_info("sandbox: this kernel has no Landlock, and a mount namespace needs root: "
			 "sockets are left behind at the end");
	r = make_filters(reach);
	set_phase(ENTERED);
	return r;
}

int sandbox_thread(enum sandbox_kind kind)
{
	bool entered;
	int r;

	pthread_mutex_lock(&sandbox.lock);
	while (sandbox.phase == PREPARED)
		pthread_cond_wait(&sandbox.changed, &sandbox.lock);
	entered = sandbox.phase == ENTERED;
	pthread_mutex_unlock(&sandbox.lock);
	if (!entered)
		return 0;
	r = drop_capabilities();
	if (r == 0 && sandbox.has_filters)
		r = sandbox_filter_load(&sandbox.filters[kind]);
	if (r < 0)
		log_err("sandbox: the %s thread cannot be confined: %s", sandbox_kind_names[kind],
			strerror(-r));
	return r;
}

void sandbox_abandon(void)
{
	pthread_mutex_lock(&sandbox.lock);
	if (sandbox.phase == PREPARED)
		sandbox.phase = IDLE;
	pthread_cond_broadcast(&sandbox.changed);
	pthread_mutex_unlock(&sandbox.lock);
}
