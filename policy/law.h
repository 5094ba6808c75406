/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Laws: memd's own policy and re-statements of what others run, behind one interface, so that the
 * simulator and `memctl replay` can ask each of them the same question. A law gets the snapshot
 * that pol_step() gets and answers with balloon targets. All integers, no clock, no I/O; the same
 * calls give the same plans.
 *
 * What a law does not use of the snapshot it does not know: MOM and Proxmox see what is free in a
 * guest but not what is available, squeezed sees sizes only, and none of them sees PSI or OOM
 * kills.
 */
#ifndef MEMD_POLICY_LAW_H
#define MEMD_POLICY_LAW_H

#include "policy/policy.h"

struct law {
	const char *name; /* as --policy takes it */
	const char *text; /* one line for people */
	/* State for up to max_guests; the plan lives in it. NULL: out of memory. */
	void *(*open)(const struct pol_config *config, size_t max_guests);
	void (*close)(void *state); /* NULL is fine */
	void (*configure)(void *state, const struct pol_config *config);
	/*
	 * One tick, called about once a second whatever the law's own period is. As pol_step(); a
	 * peer's plan has balloon actions only, and of its views only guest, target and stuck.
	 */
	int (*step)(void *state, const struct pol_host *host, uint64_t now_us,
		    const struct pol_plan **ret_plan);
};

/* The laws in the order in which tables show them; NULL after the last. */
const struct law *law_at(size_t i);
/* NULL: there is none of that name. */
const struct law *law_find(const char *name);

extern const struct law law_memd, law_mom, law_pve, law_squeezed, law_none;

/* ---- for the peers' files ---- */

/* What a peer remembers of each guest: rows of `size` bytes that begin with the guest's id. */
struct law_memory {
	size_t size, max, n;
	char *rows, *next;
};

/* What every peer's state begins with. */
struct law_peer {
	struct pol_config config;
	struct pol_plan plan;
	struct law_memory memory;
	enum pol_state state;
};

/* A peer's state of state_size bytes that remembers row_size bytes of each guest. */
void *law_peer_new(size_t state_size, size_t row_size, const struct pol_config *config,
		   size_t max_guests);
void law_peer_free(void *state);
void law_peer_configure(void *state, const struct pol_config *config);

/*
 * Checks the snapshot as pol_step() does (-EINVAL), empties the plan, and brings the rows into the
 * order of the snapshot's guests; rows of new guests are zero but for the id.
 */
int law_peer_begin(struct law_peer *peer, const struct pol_host *host);

/* The row of the snapshot's guest i. */
void *law_row(const struct law_peer *peer, size_t i);

/* How many of the snapshot's guests there is room for. */
size_t law_guests(const struct law_peer *peer, const struct pol_host *host);

/* Adds an order to bring the guest to `to` bytes. */
void law_order(struct law_peer *peer, const struct pol_host *host, size_t i, uint64_t to);

/* Free memory as the peers count it: with the page cache. */
uint64_t law_host_free(const struct pol_host *host);

#endif
