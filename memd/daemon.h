/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The daemon put together: the loop that senses, decides, acts and accounts once a tick, and what
 * all its parts share. main.c starts it, control.c and report.c show it.
 */
#ifndef MEMD_DAEMON_H
#define MEMD_DAEMON_H

#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "common/undo.h"
#include "common/wire.h"
#include "memd/account.h"
#include "memd/across.h"
#include "memd/act.h"
#include "memd/anchor.h"
#include "memd/arrival.h"
#include "memd/chunk_work.h"
#include "memd/config.h"
#include "memd/guest.h"
#include "memd/host.h"
#include "memd/idle.h"
#include "memd/isolation.h"
#include "memd/manager.h"
#include "memd/numa.h"
#include "memd/numa_note.h"
#include "memd/record.h"
#include "memd/savings.h"
#include "memd/split.h"
#include "memd/survey.h"
#include "policy/policy.h"

#define DAEMON_ERRORS_MAX 16
#define DAEMON_ERROR_MAX  256

struct pools;
struct repairs;

struct daemon_options {
	struct config_source source;
	const char *sysroot; /* "/" for the live host */
	bool dry_run;
};

struct daemon {
	const struct daemon_options *options;
	struct config *config;
	struct pol_config policy; /* the configuration's, less what memd stands aside from */
	sd_event *event;
	int lock_fd;

	struct host *host;
	struct undo *undo;
	json_object *probe; /* the query-probe document */
	struct guests guests;
	struct survey *survey;
	struct isolation *isolation;
	struct anchor *anchor; /* NULL: not on this host */
	struct across *across;
	struct chunk_work *chunk_work;
	struct pools *pools;
	struct repairs *repairs;
	struct split *split; /* NULL: not on this host */
	struct idle *idle;   /* NULL: after reset */
	struct pol *pol;
	struct act act;
	struct guest_groups *groups; /* cgroups of memd's making; NULL: none are made */
	struct account account;
	struct record *record; /* NULL: switched off */
	struct wire_server *server;

	/* this tick */
	struct pol_host snapshot;
	struct pol_guest *snapshot_guests; /* GUESTS_MAX */
	struct savings savings;
	enum pol_state state;
	uint64_t need_bytes, high_bytes;
	struct pol_merge_view merge;
	enum pol_numa_why numa;
	struct nodes_cpus cpus;	       /* which processor is of which node */
	size_t cpus_next;	       /* guest whose threads are looked at next */
	uint64_t cpus_us;	       /* one node: when the last round of that began */
	struct anchor_result anchored; /* the last look */
	uint64_t anchor_again_us;      /* no look before */
	struct {
		bool wanted;		 /* by the policy, now */
		struct split_result sum; /* and the last error */
		uint64_t again_us;	 /* not before */
		uint64_t last_us;	 /* something was split then */
	} splits;
	struct isolation_result crossed; /* the last look */
	uint64_t crossed_us;		 /* 0: none yet */
	uint64_t crossed_since_us;	 /* a look begun before is of another time */
	bool sensed;			 /* at least once */
	bool settled;			 /* the guests of the start have said what they are */

	struct nodes nodes;    /* as read last */
	uint64_t node_changes; /* then */
	uint64_t nodes_us;
	struct {
		uint64_t wall_us;
		char text[NODES_NOTE_MAX];
	} node_news[NODES_CHANGES_MAX]; /* newest at (n_node_news - 1) % MAX */
	uint64_t n_node_news;

	struct across_result across_look; /* the last look at that */
	uint64_t across_us;		  /* 0: none yet */

	sd_event_source *timer, *grace, *psi, *wake, *idle_source, *anchor_source;
	uint64_t idle_us;	 /* last look at memory in use */
	uint64_t damon_again_us; /* DAMON is not set up before */
	int psi_fd;
	struct arrival *arrival; /* NULL: new guests wait for the next tick */
	uint64_t wake_us;	 /* when `wake` is set for; 0: it is not */
	bool in_tick;
	uint64_t next_tick_us, tick_start_us;
	uint64_t ticks, tick_last_us, tick_max_us;
	uint64_t grace_us; /* when the tick under way stops waiting */
	uint64_t woken;	   /* how often memory pressure was told of */
	uint64_t start_us, stopped_us;

	/* who else is at work */
	struct manager managers[MANAGERS_MAX];
	int n_managers;
	uint64_t managers_us;
	bool ksm_aside, balloon_aside, numa_aside;
	bool ksm_leaving; /* its files are being given back, and that may take a while */

	/* ring of what went wrong, newest at (n_errors - 1) % MAX */
	char errors[DAEMON_ERRORS_MAX][DAEMON_ERROR_MAX];
	uint64_t n_errors;
};

/* Set everything up short of the loop; says itself what is wrong. 0 or -errno. */
int daemon_open(struct daemon *daemon, const struct daemon_options *options, struct config *config);

/* Run until a signal or `quit`. 0 or -errno of the loop. */
int daemon_run(struct daemon *daemon);

/* Restore the host and let go of everything. Fine on a half-opened daemon. */
void daemon_close(struct daemon *daemon);

/* What the registry tells the daemon; ctx is to be set to the daemon. */
extern const struct guests_hooks daemon_guests_hooks;

/* Log an error and keep it for query-status. The same twice in a row is kept once. */
void daemon_error(struct daemon *daemon, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* Undo everything and change nothing more until the next start; the query's answer. */
json_object *daemon_reset(struct daemon *daemon);

/* Something that may take minutes begins, or is over: let systemd wait for it. */
void daemon_be_patient(bool on);

/* Looks at guests' processes beside the tick: begin the next one, if one is due and none is under
 * way. */
void daemon_survey_next(struct daemon *daemon);
int daemon_survey_sources(struct daemon *daemon);

/* What guests use of their memory, looked at beside the tick. */
void daemon_idle_tick(struct daemon *daemon, uint64_t now_us);
int daemon_idle_sources(struct daemon *daemon);
/* Look no more, and take away what was set up for it; for stop and reset. */
void daemon_idle_leave(struct daemon *daemon);

/* Merging beside the tick: the proof of isolation, and sampling; and what they tell the loop. */
void daemon_merge_tick(struct daemon *daemon, uint64_t now_us);
/* KSM was stopped, a guest's merging switched, or domains are others: what was found before is no
 * proof any more. */
void daemon_merge_changed(struct daemon *daemon);
/* The same, if this plan, which was just carried out, did so. */
void daemon_merge_acted(struct daemon *daemon, const struct pol_plan *plan);
/* What the last look tells the snapshot. */
void daemon_merge_snapshot(struct daemon *daemon);
int daemon_merge_sources(struct daemon *daemon);
/* Keep no merged pages any more; before anything is unmerged, for stop and reset. */
void daemon_anchor_leave(struct daemon *daemon);

/* What merging across nodes brings, beside the tick: looks, and what they tell the snapshot. */
void daemon_across_tick(struct daemon *daemon, uint64_t now_us);
void daemon_across_snapshot(struct daemon *daemon, uint64_t now_us);
json_object *daemon_across_json(const struct daemon *daemon);
int daemon_across_sources(struct daemon *daemon);

/* Begin a tick now; what is left of the last one is done without the answers that it waits for. */
void daemon_begin_tick(struct daemon *daemon);

/* The tick under way waits for answers until then at most. */
void daemon_hurry(struct daemon *daemon, uint64_t until_us);

/* Early ticks: one delay_us from now, unless one is due before; not many a second. */
void daemon_wake(struct daemon *daemon, uint64_t delay_us);
/* Watch for guests' sockets; and what pressure, arrivals and reclaim tell the loop. */
void daemon_wake_watch(struct daemon *daemon);
int daemon_wake_sources(struct daemon *daemon);
/* Where guests' threads run, some guests a tick. */
void daemon_numa_look(struct daemon *daemon, uint64_t now_us);
/* All of them now, on a host with one node, which otherwise looks seldom. */
void daemon_numa_look_at_all(struct daemon *daemon);

/* End a move under way, and give back what was changed of guests' threads; for stop and reset. */
void daemon_numa_leave(struct daemon *daemon);

/* The pools of huge pages, and huge pages that are broken or better split, each tick. */
void daemon_huge_tick(struct daemon *daemon, uint64_t now_us);
/* Nothing of them is changed any more; for stop and reset. */
void daemon_huge_leave(struct daemon *daemon);

/* Guests' cgroups: a guest was found, or has left; each tick; the configuration has changed. */
void daemon_cgroup_found(struct daemon *daemon, struct guest *guest);
void daemon_cgroup_gone(struct daemon *daemon, struct guest *guest);
void daemon_cgroup_tick(struct daemon *daemon, uint64_t now_us);
void daemon_cgroup_reload(struct daemon *daemon);

/* Give back what was changed of guests' cgroups; for stop and reset. Adds those removed to restored
 * (may be NULL), as act_restore() does. */
void daemon_cgroup_leave(struct daemon *daemon, json_object *restored);

/* Find out who else manages memory and stand aside from what is theirs. */
void daemon_look_around(struct daemon *daemon, uint64_t now_us);
/* Once in a while; and what could not be given back at once. */
void daemon_aside_tick(struct daemon *daemon, uint64_t now_us);

/* The trace of the configuration, where it wants one; what stands against it is told. */
void daemon_open_record(struct daemon *daemon);

/* Why memd keeps off KSM (NULL: it does not), and the same for balloons, and for moves. */
const char *daemon_ksm_aside(const struct daemon *daemon, char *buf, size_t n);
const char *daemon_balloon_aside(const struct daemon *daemon, char *buf, size_t n);
const char *daemon_numa_aside(const struct daemon *daemon, char *buf, size_t n);

#endif
