/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The registry of guests: found by their QMP sockets, one struct each, from the first connection
 * until the socket is dead. It owns names, ids and what is known of a guest; guest_qmp.c talks to
 * the monitors and guest_reply.c takes their answers apart.
 */
#ifndef MEMD_GUEST_H
#define MEMD_GUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <systemd/sd-event.h>

#include "common/log.h"
#include "common/wire.h"
#include "memd/cgroup.h"
#include "memd/config.h"
#include "memd/footprint.h"
#include "memd/idle.h"
#include "policy/policy.h"
#include "policy/repair.h"

/* Guests beyond this are told of in the log and left alone. */
#define GUESTS_MAX 1024
/* On a calm host no more than about so many are asked in one tick: more cannot be afforded, and a
 * number that is some seconds old is as good there. */
#define GUESTS_ASKED_CALM 256
/* And on one that is not, no more than these in a second. */
#define GUESTS_ASKED_MOST 320

/* Less than this is balloon noise, not a balloon gone or back (a page here and there). */
#define GUEST_SLACK_BYTES (4ULL << 20)

#define GUEST_PATH_MAX	   108 /* sun_path */
#define GUEST_NOTE_MAX	   200
#define GUEST_REQUEST_MAX  16
#define GUEST_BACKENDS_MAX 8

enum guest_mapped { GUEST_MAPPED_4K, GUEST_MAPPED_2M, GUEST_MAPPED_1G, GUEST_MAPPED_SIZES };

#define GUEST_CPUS_MAX 64 /* of more vCPUs the first ones are looked at */

/* The processors that memd lets a guest's threads run on, and those that they might before. */
struct guest_pin {
	uint64_t now[4096 / 64], before[4096 / 64];
};

/* Its vCPUs' threads, see vcpus.h. POL_ABSENT: not known. */
struct guest_cpus {
	uint64_t told;	      /* how many vCPUs it has */
	uint64_t guest_nodes; /* of its own, bits */
	size_t n, room;	      /* used, allocated */
	struct guest_cpu {
		pid_t tid;
		uint64_t cpu_us, cpu, node; /* its time, and where it ran last */
	} * v;
	uint64_t node_us[POL_PLACE_NODES]; /* their time by node, of late */
	uint64_t node, node_ppm;	   /* where most of it was */
	bool limits_known;		   /* the two below hold */
	bool pinned;			   /* to processors, by somebody else */
	bool mems_limited;		   /* its cpuset leaves nodes out */
	struct guest_pin *pin;		   /* to processors, by us; NULL: not */
};

/* How far vmm is with __memd-place. */
enum guest_place_status {
	GUEST_PLACE_NONE,
	GUEST_PLACE_ASKED,
	GUEST_PLACE_ACTIVE,
	GUEST_PLACE_COMPLETED,
	GUEST_PLACE_FAILED
};
struct guest_place {
	enum guest_place_status status;
	uint64_t longest_us;
	char error[128];
};

/* Its memory in use as the host's kernel saw it; see idle.h. */
struct guest_hot {
	enum idle_source source; /* IDLE_NONE: not seen yet */
	uint64_t bytes, window_us;
	uint64_t seen_us;
};

/* A look at its process: none, footprint_again(), footprint_quick(). */
enum guest_look { GUEST_LOOK_NOT, GUEST_LOOK_BRIEF, GUEST_LOOK_WHOLE };

enum guest_phase {
	GUEST_WAITING,	/* no connection, the next try is at retry_us */
	GUEST_GREETING, /* connected, greeting and capabilities outstanding */
	GUEST_SETUP,	/* learning what it is */
	GUEST_READY	/* polled each tick */
};

/* Balloon statistics as the guest tells them, after guest_stats_read(). POL_ABSENT: not told. */
struct guest_stats {
	uint64_t total_bytes, free_bytes, available_bytes, cache_bytes;
	uint64_t swap_in_bytes, swap_out_bytes, major_faults, oom_kills, alloc_stalls;
	/* What its kernel looked at for want of memory, and got, in the background and with
	 * somebody waiting. */
	uint64_t async_scan_bytes, direct_scan_bytes, async_reclaim_bytes, direct_reclaim_bytes;
	uint64_t last_update_s; /* wall clock of its hypervisor, 0: never */
};

struct guest_request {
	uint64_t id, sent_us, cookie;
	unsigned int kind; /* enum guest_request_kind; 0: free */
};

/* One memory backend, by its id below /objects. */
struct guest_backend {
	char id[64];
	bool merge, shared, pool;
	bool ours; /* memd has switched its merging off, and may switch it on again */
};

struct guest {
	struct guests *all;
	uint64_t id; /* for one life of the guest: a reboot begins a new one */
	uint64_t path_hash;
	char path[GUEST_PATH_MAX];
	char name[POL_NAME_MAX];
	char note[GUEST_NOTE_MAX]; /* what is wrong with it, "" nothing */

	/* the connection */
	enum guest_phase phase;
	bool listed; /* its socket has been alive; shown to operators */
	bool seen;   /* by the scan under way */
	bool late;   /* a request is past its deadline */
	struct wire_conn *conn;
	uint32_t watched; /* epoll events, 0: none */
	bool corked;	  /* commands are queued, and sent by guest_qmp_uncork() */
	struct guest_request requests[GUEST_REQUEST_MAX];
	uint64_t next_request, retry_us, ready_us;
	uint64_t bytes_in, messages_in; /* since the last tick */
	unsigned int failures;
	bool facts_due;			/* it said that its size has changed */
	unsigned int polls_left;	/* answers this tick still waits for */
	uint64_t ticks;			/* polls sent */
	bool rests;			/* this tick: not asked */
	enum guest_look looked_at;	/* this tick: how much of its footprint is due */
	struct log_limit limit, resets; /* of complaints; of lines about resets */

	/* who it is */
	bool known; /* set up at least once: the facts below hold */
	bool ours;  /* vmm, not QEMU */
	bool running;
	bool recalled; /* what a memd before this one has noted of it has been read */
	pid_t pid;
	uint64_t starttime;
	char version[48];

	/* what it has */
	uint64_t memory_bytes; /* base, other devices, and the most of its memory device */
	uint64_t base_bytes, plugged_bytes; /* query-memory-size-summary */
	/* Its first virtio-mem device (the only one that is moved), all 0: none. */
	char mem_path[160]; /* QOM path */
	uint64_t mem_max_bytes, mem_size_bytes, mem_requested_bytes, mem_block_bytes;
	uint64_t mem_most_bytes;	       /* the largest size seen */
	uint64_t other_bytes, other_mem_bytes; /* other devices; virtio-mem among them */
	bool devices_refused;		       /* a monitor that knows no memory devices */
	char balloon_path[160];		       /* QOM path, "" without such a device */
	bool balloon_active;  /* the last query-balloon was answered with a number */
	bool balloon_refused; /* KVMMissingCap and the like; note says why */
	bool deflate_on_oom, reporting;
	bool pool;			   /* all its memory is of the host's hugetlb pool */
	bool merge_asked;		   /* some backend has merge=on and may be merged */
	char merge_reason[GUEST_NOTE_MAX]; /* merge_asked = false: why */
	struct guest_backend backends[GUEST_BACKENDS_MAX];
	size_t n_backends;	     /* of which the first GUEST_BACKENDS_MAX are above */
	uint64_t merge_refused_us;   /* it refused to switch its merging, 0: it did not */
	unsigned int merge_open;     /* switches not yet answered */
	uint64_t merge_set_us;	     /* switched last */
	struct guest_chunks *chunks; /* NULL: merged as a whole, see chunk.h */
	uint64_t merge_cookie;	     /* of these switches */
	uint64_t poll_interval_s;    /* as found, POL_ABSENT: not asked yet */
	bool poll_interval_set;	     /* changed by us */

	/* numbers of the last answers, POL_ABSENT: none */
	uint64_t balloon_actual_bytes; /* as query-balloon tells: without virtio-mem devices */
	uint64_t actual_bytes, target_bytes;
	uint64_t target_sent_us;
	uint64_t returned_balloon_bytes, returned_reported_bytes, returned_mem_bytes;
	/* what second-level tables map with pages of each size, see guest_mapped */
	uint64_t mapped_bytes[GUEST_MAPPED_SIZES];
	bool mapped_refused; /* it has no such statistics: not asked again */
	struct guest_stats stats;
	uint64_t stats_seen_us;	    /* when last_update_s was seen to change, 0: never */
	uint64_t emptied_us;	    /* its balloon was, by itself: reset, or out of memory? 0: no */
	uint64_t emptied_tick;	    /* seen by that poll */
	struct guest_stats emptied; /* the last ones before that */
	bool stats_rejected;	    /* contradict what the host knows */
	bool below;		    /* its balloon has held something in this life */
	bool driver_seen;	    /* the balloon's driver has shown itself */
	bool renew;		    /* reset seen: begins a new life at the next tick */
	bool release;		    /* its last life was ballooned by us: give the new one all */

	/* what the host's kernel counts */
	struct footprint foot; /* of this tick */
	bool foot_valid;
	struct guest_cpus cpus;
	uint64_t threads, vhost; /* that work for it, and of these vhost's, at the last survey */
	bool numa_moving;	 /* by us, now */
	struct guest_place place;
	struct pol_repair_past repair; /* of its huge pages */
	char *cgroup_why;	 /* why memd made no cgroup for it; NULL: it did, or was not to */
	struct footprint survey; /* the expensive one, minutes old; survey.full false: none yet */
	uint64_t survey_us, survey_start_us; /* when it came, and when it began */
	struct guest_swap *swap;	     /* NULL: not looked at yet */
	struct guest_hot hot;
	uint64_t ksm_bytes, balloon_bytes, reported_bytes, mem_bytes; /* see savings.h */
	bool has_view;
	struct pol_view view; /* what the policy thought of it last */
	uint64_t doubt_us;    /* when its numbers were not trusted last, 0: never, */
	enum pol_trust doubt; /* and why */
};

struct guests_hooks {
	void *ctx;
	/* A balloon command was answered: error 0 or -errno with the peer's words. */
	void (*target_done)(void *ctx, struct guest *guest, uint64_t cookie, int error,
			    const char *desc);
	/* All backends of a guest have answered guest_qmp_set_merge(); as above. */
	void (*merge_done)(void *ctx, struct guest *guest, uint64_t cookie, int error,
			   const char *desc);
	/* Every guest asked this tick has answered (or is gone). */
	void (*polled)(void *ctx);
	/* A guest was found, lost or began a new life: time to look at KSM and host again. */
	void (*changed)(void *ctx, struct guest *guest, const char *what);
};

struct guests {
	sd_event *event;
	const struct config *config; /* replaced as a whole at reload */
	struct guests_hooks hooks;
	bool dry_run;
	int rootfd;
	struct memcg memcg;
	bool sees_idle;	  /* pageout_sees_idle() */
	struct guest **v; /* sorted by id */
	size_t n, capacity;
	uint64_t next_id;
	size_t polling;	   /* guests with polls_left */
	uint64_t polls;	   /* of all guests, so far */
	size_t turn_at[4]; /* where guest_turn.c goes on, by rank */
	/* Set by the daemon: the host has plenty, and nobody has to be asked at once. */
	bool calm;
	/* Set by the daemon: no other manager sets balloons, and memd is to. */
	bool balloons;
	/* Set by the daemon: memd itself reads guests' memory back from swap just now. */
	bool reading_back;
	bool full_told;
	int epoll_fd; /* of their connections, see guest_watch.h */
	sd_event_source *source;
	/* The last look at the globs, see guest_scan.c. */
	uint64_t scan_hash, scan_us;
	bool scan_settled;
};

/* event is borrowed. -ENOMEM. */
int guests_init(struct guests *guests, sd_event *event, const struct config *config,
		const struct guests_hooks *hooks, bool dry_run, int rootfd);
void guests_fini(struct guests *guests);

/* Look at the globs: new sockets are connected to, vanished ones without a connection forgotten. */
void guests_scan(struct guests *guests, uint64_t now_us);

/*
 * Begin a tick: drop who is overdue, reconnect who is due, begin new lives, ask each ready guest;
 * of more than GUESTS_ASKED_CALM so many, in turn, and those that something happens with
 * (guest_turn.c). hooks.polled is called when all have answered, at once when there is nobody
 * to ask.
 */
void guests_poll(struct guests *guests, uint64_t now_us);

/* Read the cheap footprint and the cgroup of every known guest whose turn it is. */
void guests_look(struct guests *guests, uint64_t now_us);

/* The known guests as the policy wants them, sorted by id. Returns how many; *ret_mergeable_any. */
size_t guests_snapshot(const struct guests *guests, uint64_t now_us, struct pol_guest *ret,
		       size_t max, bool *ret_mergeable_any);

struct guest *guests_find(const struct guests *guests, uint64_t id);
/* By its process, which a reset does not change. NULL: there is none. */
struct guest *guests_find_process(const struct guests *guests, pid_t pid, uint64_t starttime);

/* Is none of them still being asked what it is? */
bool guests_have_said(const struct guests *guests);

/* Does the monitor answer within the deadline? */
bool guest_is_answering(const struct guest *guest);

/* Can the merging of all its backends be switched? (Whether it is on or off is another matter.) */
bool guest_can_switch_merge(const struct guest *guest);

/* Has memd switched the merging of some backend off, or taken it over by chunks? */
bool guest_is_off_by_us(const struct guest *guest);

/* May memd give it balloon targets? *ret_why (may be NULL): static text when not. */
bool guest_is_managed(const struct guest *guest, const char **ret_why);

/* What its balloon holds of it; 0: nothing, or not known. */
uint64_t guest_held_bytes(const struct guest *guest);

/*
 * Has memd no target of it, but may one before this one have had? Then what its balloon holds is
 * ours to give back.
 */
bool guest_is_inherited(const struct guest *guest);

/* What was taken from it by memd, or a memd before this one, and may be given back. */
uint64_t guest_taken_bytes(const struct guest *guest);

/* Since the guest's statistics were seen to change; POL_ABSENT: never, or not believed. */
uint64_t guest_stats_age_us(const struct guest *guest, uint64_t now_us);

/* A printable copy of a name from outside: control characters and bad UTF-8 become '?'. */
void guest_name_clean(const char *name, char *buf, size_t n);

/* Forget what one life of the guest has shown and give it a new id. */
void guest_begin_life(struct guest *guest);

/* End it and its connection. It is no longer in guests->v. */
void guest_free(struct guest *guest);

/* Forget everything that was learned (another process answers on its socket). */
void guest_forget(struct guest *guest);

#endif
