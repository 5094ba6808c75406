/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A model of a host and its guests, on a simulated clock: guests that use, cache and free memory,
 * balloons of a given speed that share the host's processors, statistics that arrive late, a host
 * that swaps and at last kills. A law decides once a tick. Integers, no I/O; the same seed gives
 * the same history, and what guests want does not depend on what the law gave them.
 *
 * What the model leaves out: processors, KSM, memory devices, huge pages.
 */
#ifndef MEMD_POLICY_SIMULATE_H
#define MEMD_POLICY_SIMULATE_H

#include "policy/law.h"
#include "policy/regret.h"

#define SIM_KEEP_BYTES (16ull << 20) /* a guest's kernel does not let free memory fall below */

/* What a guest does with memory. */
enum sim_work {
	SIM_SCRIPT,   /* what its steps say */
	SIM_IDLE,     /* a little, all the time */
	SIM_STEADY,   /* half of it, a little more or less */
	SIM_DATABASE, /* bursts that take most of it for minutes */
	SIM_CACHE,    /* reads files: fills all there is, part of it in constant use */
	SIM_LEAKING,  /* grows for hours, then restarts */
	SIM_DESKTOP,  /* busy in office hours: all come at nine */
	SIM_BATCH,    /* compiles now and then: most of it, then its cache remains */
	SIM_SURGE,    /* idle; one after another demands all it was promised */
	SIM_WORKS
};

/* What is wrong with it. */
enum sim_flaw {
	SIM_SOUND,
	SIM_LIAR,      /* says that it has nothing and kills every second */
	SIM_STUCK,     /* its balloon does not move */
	SIM_SILENT,    /* sends no numbers */
	SIM_NO_DRIVER, /* no balloon driver, no numbers */
	SIM_HOSTILE,   /* numbers out of this world, and takes back what the balloon took */
	SIM_FLAWS
};

struct sim_step {
	uint64_t at_us;	     /* 0: no more steps */
	uint64_t need_bytes; /* from then on */
	uint64_t per_s;	     /* grown to at this speed; what is freed is freed at once */
};

#define SIM_STEPS 4

/* Since its boot. */
struct sim_counters {
	uint64_t ooms, stalls, faults, swap_in, swap_out; /* kills, allocations, pages, bytes */
};

struct sim_guest {
	enum sim_work work;
	enum sim_flaw flaw;
	uint64_t memory, min, shares; /* promised; min POL_ABSENT: none */
	uint64_t own_swap;	      /* its size */
	bool deflate_on_oom;
	struct sim_step steps[SIM_STEPS];      /* SIM_SCRIPT */
	uint64_t inflate_per_s, deflate_per_s; /* its balloon's speed */

	/* what it wants */
	uint64_t rng, next_us, restart_us;
	unsigned int phase;
	uint64_t base, need, per_s; /* a fresh start's need; wanted in the end; growing so fast */
	uint64_t want;		    /* wanted by now: what it lacks of this it is short of */
	uint64_t hot, want_cache, read_per_s; /* of the cache, in constant use */

	/* what it has */
	uint64_t actual, target;
	bool has_target;
	uint64_t used, cache, touched; /* touched: free in the guest, held by the host */
	uint64_t swapped;	       /* of these, in the host's swap */
	uint64_t own_swapped;	       /* in use too, but in its own swap; not of these */

	/* what it says */
	uint64_t stat_at_us, stat_seen_us; /* measured; and first seen, which is their date */
	uint64_t stat_total, stat_free, stat_available, stat_cache;
	struct sim_counters now, stat; /* as they are, and as it said last */

	/* what it went through */
	uint64_t ooms, stalls, short_since_us, least_available;
	uint64_t grown, grown_us; /* its need met: how often, and when last */
	struct regret_guest regret;
};

struct sim {
	/* the host */
	uint64_t memory, own; /* own: used by itself */
	uint64_t swap;
	uint64_t balloons_per_s; /* all inflating ones together */
	uint64_t stats_every_us; /* not all guests at once */
	uint64_t bear_us; /* how long a guest stands getting nothing before it kills; 0: not at all
			   */
	uint64_t step_us; /* of the model; a divisor of a second */
	uint64_t day_us;  /* length of a day, for those who keep office hours */
	bool reporting;

	struct sim_guest *guests; /* max_guests */
	size_t n_guests, max_guests;
	uint64_t start_us, now_us;

	const struct law *law;
	void *law_state;
	struct pol_config config;
	struct pol_guest *in; /* the snapshot's */
	struct pol_host host;
	const struct pol_plan *plan; /* the last tick's */
	enum pol_state state;	     /* by the thresholds of config, whatever the law */
	bool short_now;		     /* some guest is, in this step */
	struct regret regret;
};

/*
 * A host of 8 GiB with balloons of 60 MiB/s and no guests, run by a law; other members are the
 * caller's to change before the first tick. 0, -ENOMEM.
 */
int sim_open(struct sim *sim, const struct law *law, const struct pol_config *config,
	     size_t max_guests);
void sim_close(struct sim *sim);

/* A guest that has all it was promised. NULL: no room. Pointers stay valid. */
struct sim_guest *sim_add(struct sim *sim, enum sim_work work, enum sim_flaw flaw,
			  uint64_t memory_bytes, uint64_t seed);

/* One second, then one step of the law, which is obeyed. -errno of the law. */
int sim_tick(struct sim *sim);

uint64_t sim_guest_free(const struct sim_guest *guest);
uint64_t sim_guest_available(const struct sim_guest *guest);
uint64_t sim_guest_held(const struct sim_guest *guest); /* by the host, with its swap */
/* Of that, what it would not miss: free memory, cache and a quarter of what it uses. */
uint64_t sim_guest_cold(const struct sim_guest *guest);
uint64_t sim_host_available(const struct sim *sim);

/* ---- the model's parts ---- */

/* What the guest wants from now on, when it is time for something new. */
void sim_work(const struct sim *sim, struct sim_guest *guest);
/* A guest's first need, by its work. */
void sim_work_begin(const struct sim *sim, struct sim_guest *guest);
/* Uses, frees, reads; is short, stalls and kills. */
void sim_guest_live(struct sim *sim, struct sim_guest *guest);
/* Free memory, then cache, for the balloon; returns what was got. */
uint64_t sim_guest_yield(struct sim_guest *guest, uint64_t bytes);
/* Starts again as if booted. */
void sim_guest_restart(struct sim *sim, struct sim_guest *guest);

/* ---- scenarios ---- */

#define SIM_GROUPS 6

struct sim_scenario {
	const char *name, *text;
	uint64_t memory_mib, own_mib, swap_mib;
	uint64_t inflate_mib_per_s, balloons_mib_per_s;
	struct {
		enum sim_work work;
		enum sim_flaw flaw;
		unsigned int n;
		uint64_t memory_mib;
	} groups[SIM_GROUPS];
};

/* NULL after the last. */
const struct sim_scenario *sim_scenario_at(size_t i);
const struct sim_scenario *sim_scenario_find(const char *name);
size_t sim_scenario_guests(const struct sim_scenario *scenario);

/*
 * Runs a scenario for so many hours. n_guests 0: as many as it has; else the host and the numbers
 * of guests are scaled. 0, -ENOMEM, or what the law says.
 */
int sim_run(const struct sim_scenario *scenario, const struct law *law,
	    const struct pol_config *config, uint64_t seed, size_t n_guests, uint64_t seconds,
	    struct regret *ret_regret);

#endif
