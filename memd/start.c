// SPDX-License-Identifier: Apache-2.0
/*
 * Start and stop of the daemon: directories, the lock against a second one, what a dead one left
 * behind, memory locking, the pressure trigger. Each complaint names the thing and the way out.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/kfile.h"
#include "common/log.h"
#include "memd/control.h"
#include "memd/daemon.h"
#include "memd/guest_group.h"
#include "memd/guest_qmp.h"
#include "memd/merge.h"
#include "memd/place.h"
#include "memd/pool.h"
#include "memd/probe.h"
#include "memd/reclaim_work.h"
#include "memd/repair.h"

/* mkdir -p. Existing directories keep their mode. */
static int make_dir(const char *path, mode_t mode)
{
	char part[CONFIG_PATH_MAX + 16];
	int r;

	snprintf(part, sizeof(part), "%s", path);
	for (char *p = part + 1; *p; p++) {
		if (*p != '/')
			continue;
		*p = '\0';
		if (mkdir(part, 0755) < 0 && errno != EEXIST)
			goto fail;
		*p = '/';
	}
	if (mkdir(part, mode) == 0 || errno == EEXIST)
		return 0;
fail:
	r = -errno;
	log_err("%s: cannot be created: %s%s", part, strerror(-r),
		geteuid() ? " (run memd as root, or set runtime-dir and state-dir)" : "");
	return r;
}

static int make_dirs(const struct config *config)
{
	char guests[CONFIG_PATH_MAX + 16];
	int r = make_dir(config->runtime_dir, 0755);

	snprintf(guests, sizeof(guests), "%s/guests", config->runtime_dir);
	if (r == 0)
		r = make_dir(guests, 0755);
	if (r == 0)
		r = make_dir(config->state_dir, 0750);
	return r;
}

/* One memd per runtime directory, held by flock(2) so that a crash leaves nothing behind. */
static int take_lock(struct daemon *daemon)
{
	char path[CONFIG_PATH_MAX + 16], pid[24] = "";
	AUTO_FD int fd = -1;

	snprintf(path, sizeof(path), "%s/memd.lock", daemon->config->runtime_dir);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
	if (fd < 0) {
		log_err("%s: %s", path, strerror(errno));
		return -errno;
	}
	if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		if (errno != EWOULDBLOCK) {
			log_err("%s: cannot be locked: %s", path, strerror(errno));
			return -errno;
		}
		if (pread(fd, pid, sizeof(pid) - 1, 0) > 0)
			pid[strcspn(pid, "\n")] = '\0';
		log_err("memd is already running%s%s here (%s is locked); stop it first, or give "
			"this one another runtime-dir",
			pid[0] ? ", pid " : "", pid, path);
		return -EWOULDBLOCK;
	}
	snprintf(pid, sizeof(pid), "%d\n", (int)getpid());
	if (ftruncate(fd, 0) < 0 || pwrite(fd, pid, strlen(pid), 0) < 0)
		log_warn("%s: %s", path, strerror(errno));
	daemon->lock_fd = TAKE_FD(fd);
	return 0;
}

static int restore_predecessor(struct daemon *daemon)
{
	const char *dir = daemon->config->runtime_dir;
	AUTO_FREE char *root = realpath(daemon->options->sysroot, NULL);
	int r;

	if (daemon->options->dry_run) {
		log_info("dry run: nothing is changed, on the host or in guests; statistics of "
			 "guests are seen only where somebody else has them polled");
		return 0;
	}
	r = undo_open(dir, root ? root : "", &daemon->undo);
	if (r < 0) {
		log_err("%s/undo: %s", dir,
			r == -EWOULDBLOCK ? "in use by another process (memctl reset?)"
			: r == -EPERM	  ? "can be written by others, so it is not believed; "
					    "make the directory ours alone"
			: r == -EXDEV ? "it is of a memd for another root (--sysroot), which ended "
					"without restoring; start it there, or move the file away"
			: r == -ELOOP || r == -EISDIR || r == -EFBIG
				? "this is no journal that memd wrote; move it away, and look what "
				  "/sys/kernel/mm/ksm says"
				: strerror(-r));
		return r;
	}
	if (undo_count(daemon->undo) > 0)
		log_info("a memd before this one ended without restoring %zu host file(s): doing "
			 "it now",
			 undo_count(daemon->undo));
	/* Broken lines too, or they would be told when this memd ends and look like its own. */
	if (undo_count(daemon->undo) > 0 || undo_broken(daemon->undo) > 0) {
		daemon->act.undo = daemon->undo;
		daemon_be_patient(true);
		act_restore(&daemon->act, NULL);
		daemon_be_patient(false);
	}
	return 0;
}

static bool is_live(const struct daemon *daemon)
{
	return strcmp(daemon->options->sysroot, "/") == 0;
}

/* Are its processes those of this machine, whatever else was put in their place? */
static bool has_own_processes(const struct daemon *daemon)
{
	char stat[512];

	return kfile_read(host_rootfd(daemon->host), "proc/self/stat", stat, sizeof(stat)) > 0 &&
	       strtol(stat, NULL, 10) == getpid();
}

static int open_trigger(const char *trigger)
{
	AUTO_FD int fd = open("/proc/pressure/memory", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	ssize_t len = (ssize_t)strlen(trigger) + 1;

	if (fd < 0 || write(fd, trigger, (size_t)len) != len)
		return -errno;
	return TAKE_FD(fd);
}

/*
 * The kernel looks ten times in a window, and tells at most once in one (kernel/sched/psi.c). Half
 * a second is the shortest: a host that stands still is told of after 20 ms of that, at the first
 * or second look, 50 ms apart. Two seconds are the only one for those without CAP_SYS_RESOURCE.
 */
static void open_psi(struct daemon *daemon)
{
	int fd;

	daemon->psi_fd = -1;
	if (!is_live(daemon))
		return;
	fd = open_trigger("some 20000 500000");
	if (fd < 0) {
		fd = open_trigger("some 150000 2000000");
		if (fd >= 0)
			log_info("memory pressure is told of within two seconds only (no "
				 "CAP_SYS_RESOURCE)");
	}
	if (fd >= 0)
		daemon->psi_fd = fd;
	else
		log_info("no early wake-up by memory pressure (%s): ticks alone",
			 fd == -EOPNOTSUPP ? "the kernel was started without psi=1"
					   : strerror(-fd));
}

/*
 * memd must not be paged out when it is needed most. Only with no limit on locked memory: under
 * one, MCL_FUTURE would make later allocations fail.
 */
static void lock_memory(const struct daemon *daemon)
{
	struct rlimit limit = {0};

	if (!is_live(daemon))
		return;
	getrlimit(RLIMIT_MEMLOCK, &limit);
	if (geteuid() != 0 && limit.rlim_cur != RLIM_INFINITY)
		log_info("own memory is not locked: not root, and LimitMEMLOCK is not infinity");
	else if (mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) < 0)
		log_info("own memory is not locked: %s", strerror(errno));
}

static void say_rights(const struct daemon *daemon)
{
	const char *why = ksm_reason(host_ksm(daemon->host));

	if (geteuid() != 0)
		log_warn("not root: KSM cannot be set, guests of other users cannot be looked "
			 "into, and memory pressure wakes nobody");
	else if (why && daemon->config->policy.ksm_manage)
		log_warn("KSM is left alone: %s", why);
}

/* Also where none are to be made: a memd before this one may have left some. */
static int open_groups(struct daemon *daemon)
{
	int r = nodes_cpus_read(host_rootfd(daemon->host), &daemon->cpus);

	if (r < 0)
		log_debug("which processors are of which node is not known: %s", strerror(-r));
	r = guest_groups_open(host_rootfd(daemon->host), &daemon->guests.memcg, &memcg_hands_live,
			      &daemon->cpus, daemon->act.dir, &daemon->groups);
	if (r == 0 && daemon->config->guest_cgroups == CONFIG_CGROUPS_OFF)
		guest_groups_leave_all(daemon->groups, NULL, NULL);
	return r;
}

static int open_parts(struct daemon *daemon)
{
	const struct config *config = daemon->config;
	bool dry_run = daemon->options->dry_run;
	struct guests_hooks hooks = daemon_guests_hooks;
	int r;

	r = sd_event_default(&daemon->event);
	if (r < 0)
		return r;
	hooks.ctx = daemon;
	r = guests_init(&daemon->guests, daemon->event, config, &hooks, dry_run,
			host_rootfd(daemon->host));
	if (r < 0)
		return r;
	daemon->act.guests = &daemon->guests;
	r = arrival_open(&daemon->arrival);
	if (r < 0)
		log_info("new guests wait for the next tick: no inotify: %s", strerror(-r));
	r = survey_open(host_rootfd(daemon->host), &daemon->survey);
	if (r < 0)
		return r;
	r = reclaim_work_open(host_rootfd(daemon->host), &daemon->guests.memcg, pageout_advise,
			      &daemon->act.reclaim);
	if (r < 0)
		return r;
	r = isolation_open(host_rootfd(daemon->host), NULL, &daemon->isolation);
	if (r < 0)
		return r;
	if (!dry_run && has_own_processes(daemon))
		r = anchor_open(host_rootfd(daemon->host), &daemon->anchor);
	if (r < 0)
		return r;
	r = across_open(host_rootfd(daemon->host), NULL, &daemon->across);
	if (r < 0)
		return r;
	r = idle_open(host_rootfd(daemon->host), &daemon->idle);
	if (r < 0)
		return r;
	r = chunk_work_open(host_rootfd(daemon->host), &daemon->chunk_work);
	if (r < 0)
		return r;
	r = pools_open(&daemon->act, kfile_write_u64, &daemon->pools);
	if (r < 0)
		return r;
	if (is_live(daemon))
		r = repairs_open(&daemon->act, collapse_advise, collapse_is_possible(),
				 &daemon->repairs);
	if (r >= 0 && !dry_run && has_own_processes(daemon))
		r = split_open(host_rootfd(daemon->host), split_advise, &daemon->split);
	if (r < 0)
		return r;
	/* Threads and memory of other hosts' processes are not within reach. */
	r = is_live(daemon) ? place_open(&daemon->act, &daemon->cpus, &daemon->act.place) : 0;
	if (r < 0)
		return r;
	r = is_live(daemon) && !dry_run ? open_groups(daemon) : 0;
	if (r < 0)
		return r;
	daemon->snapshot_guests = calloc(GUESTS_MAX, sizeof(*daemon->snapshot_guests));
	daemon->pol = pol_new(&config->policy, GUESTS_MAX);
	return daemon->snapshot_guests && daemon->pol ? 0 : -ENOMEM;
}

static void act_failed(void *ctx, const char *text)
{
	daemon_error(ctx, "%s", text);
}

static int open_host(struct daemon *daemon)
{
	const char *sysroot = daemon->options->sysroot;
	int r = host_open(sysroot, &daemon->host);

	if (r < 0) {
		log_err("%s: no host to read there: %s", sysroot, strerror(-r));
		return r;
	}
	daemon->act = (struct act){
		.rootfd = host_rootfd(daemon->host),
		.ksm = host_ksm(daemon->host),
		.account = &daemon->account,
		.dry_run = daemon->options->dry_run,
		.failed = act_failed,
		.ctx = daemon,
		.limit = {.window_us = 10 * USEC_PER_SEC, .burst = 20},
	};
	return 0;
}

/*
 * A connection per guest, and files besides. The usual soft limit of 1024 is there for select(2),
 * which nothing here uses.
 */
static void raise_file_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return;
	limit.rlim_cur = limit.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &limit);
}

/* Signals wait for the loop, in the survey's thread too. */
static void block_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
}

int daemon_open(struct daemon *daemon, const struct daemon_options *options, struct config *config)
{
	int r;

	*daemon = (struct daemon){
		.options = options,
		.config = config,
		.policy = config->policy,
		.lock_fd = -1,
		.psi_fd = -1,
		.start_us = clock_now_us(),
	};
	account_init(&daemon->account);
	block_signals();
	raise_file_limit();
	umask(0022);
	r = make_dirs(config);
	if (r == 0)
		r = take_lock(daemon);
	if (r == 0)
		r = open_host(daemon);
	if (r == 0)
		r = restore_predecessor(daemon);
	if (r < 0)
		return r;
	daemon->act.undo = daemon->undo;
	if (!options->dry_run)
		snprintf(daemon->act.dir, sizeof(daemon->act.dir), "%s", config->runtime_dir);
	host_sense(daemon->host, &daemon->snapshot);
	say_rights(daemon);
	r = probe_run(options->sysroot, &daemon->probe);
	if (r < 0)
		log_warn("%s: cannot be probed: %s", options->sysroot, strerror(-r));
	r = open_parts(daemon);
	if (r < 0) {
		log_err("cannot set up: %s", strerror(-r));
		return r;
	}
	daemon_open_record(daemon);
	daemon_look_around(daemon, clock_now_us());
	open_psi(daemon);
	r = control_open(daemon);
	if (r < 0)
		return r;
	lock_memory(daemon);
	log_info("memd %s %s; guests: %s; answers at %s", MEMD_VERSION,
		 options->dry_run ? "in a dry run" : "at work", config->guest_globs,
		 config->socket);
	return 0;
}

/* Guests stay as they are unless on-stop says otherwise; the host gets back what was its own. */
static void leave_host(struct daemon *daemon)
{
	sd_notify(0, "STOPPING=1\nSTATUS=restoring the host");
	daemon_be_patient(true);
	if (daemon->config->on_stop == CONFIG_STOP_DEFLATE && daemon->sensed)
		act_deflate(&daemon->act, daemon->snapshot.available_bytes, daemon->high_bytes);
	for (size_t i = 0; i < daemon->guests.n; i++)
		guest_qmp_restore_interval(daemon->guests.v[i]);
	daemon_idle_leave(daemon);
	merge_leave(&daemon->act);
	daemon_numa_leave(daemon);
	daemon_huge_leave(daemon);
	if (act_restore(&daemon->act, NULL) != 0)
		log_err("some host settings could not be restored; %s/undo lists them, and "
			"`memctl reset` tries again",
			daemon->config->runtime_dir);
	daemon_cgroup_leave(daemon, NULL);
}

void daemon_close(struct daemon *daemon)
{
	daemon_anchor_leave(daemon);
	if (daemon->undo)
		leave_host(daemon);
	control_close(daemon);
	record_close(daemon->record);
	guests_fini(&daemon->guests);
	survey_close(daemon->survey);
	arrival_close(daemon->arrival);
	reclaim_work_close(daemon->act.reclaim);
	daemon_idle_leave(daemon);
	isolation_close(daemon->isolation);
	free(daemon->crossed.crossed);
	across_close(daemon->across);
	free(daemon->across_look.far);
	chunk_work_close(daemon->chunk_work);
	place_close(daemon->act.place);
	daemon_huge_leave(daemon);
	guest_groups_close(daemon->groups);
	pol_free(daemon->pol);
	free(daemon->snapshot_guests);
	json_object_put(daemon->probe);
	undo_close(daemon->undo);
	sd_event_source_unref(daemon->timer);
	sd_event_source_unref(daemon->grace);
	sd_event_source_unref(daemon->psi);
	sd_event_source_unref(daemon->wake);
	sd_event_unref(daemon->event);
	host_close(daemon->host);
	cleanup_fd(&daemon->psi_fd);
	cleanup_fd(&daemon->lock_fd);
	config_free(daemon->config);
}
