/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Moves of guests between nodes, carried out: threads first, then memory (by vmm itself, by a
 * worker for others), then a look at what it brought. One at a time; the last ones are kept with
 * before and after for `memctl numa`.
 */
#ifndef MEMD_PLACE_H
#define MEMD_PLACE_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

#include "memd/act.h"
#include "memd/guest.h"
#include "memd/migrate.h"
#include "memd/numa.h"
#include "memd/worker.h"

#define PLACE_MOVES_MAX 32

enum place_phase { PLACE_MEMORY, PLACE_LOOK, PLACE_DONE, PLACE_FAILED, PLACE_CANCELLED };

/* Where a guest is: what the survey and the second-level tables say; POL_ABSENT: not known. */
struct place_look {
	uint64_t bytes, local_bytes; /* guest RAM, and of it on the node it was to come to */
	uint64_t huge_bytes;	     /* in transparent huge pages */
	uint64_t mapped_2m_bytes;    /* by second-level tables */
};

struct place_move {
	uint64_t number; /* in the account */
	uint64_t guest;
	char name[POL_NAME_MAX];
	pid_t pid;
	uint64_t starttime;
	bool by_guest; /* vmm moves its memory itself */
	enum place_phase phase;
	uint64_t from; /* nodes, bits */
	uint32_t to;
	uint64_t bytes; /* that were to move */
	uint64_t rate;	/* bytes a second, at most */
	uint64_t wall_us, begin_us, phase_us;
	uint64_t took_us;    /* without the look behind it */
	uint64_t longest_us; /* a slice: what a vCPU waits at most */
	struct place_look before, after;
	char error[128];
};

struct place {
	struct act *act;
	const struct nodes_cpus *cpus;
	struct worker *worker;
	struct place_move moves[PLACE_MOVES_MAX];
	uint64_t n_moves; /* ever; the last at (n_moves - 1) % PLACE_MOVES_MAX */
	bool active;	  /* the last one is under way */
};

/* act and cpus are borrowed. -ENOMEM, -errno of eventfd(2) and pthread_create(3). */
int place_open(struct act *act, const struct nodes_cpus *cpus, struct place **ret_place);
void place_close(struct place *place); /* ends a move by the worker; NULL is fine */

/* Carry out POL_NUMA_MOVE. now_us as given to pol_step(). NULL: there are no moves here. */
void place_act(struct place *place, const struct pol_action *action, uint64_t now_us);

/* How far is the move under way? Each tick. NULL is fine. */
void place_tick(struct place *place, uint64_t now_us);

/* Let a move under way end between two slices; what is there stays there. NULL is fine. */
void place_cancel(struct place *place);

/* The last moves, newest last. */
json_object *place_moves_json(const struct place *place);

#endif
