// SPDX-License-Identifier: Apache-2.0
/*
 * v1: reaching its limit on memory and swap together has tasks killed, so that one is set only for
 * who asks for it, and where only a hypervisor that leaks comes: above all that the guest was
 * promised, what the hypervisor needs besides, and what may be in swap. The kernel wants it no
 * lower than the one on memory alone.
 */
#include "memd/guest_limit.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/size.h"
#include "memd/act.h"
#include "memd/guest_swap.h"

#define CHANGE_PART  16
#define CHANGE_BYTES (16 * MIB)
#define CHANGE_US    (10 * USEC_PER_SEC)
#define AGAIN_US     (60 * USEC_PER_SEC) /* after a failure */
#define STEP_BYTES   MIB
/* Of a hypervisor beside the guest's memory, on v1. */
#define OVER_PART  8
#define OVER_BYTES (256 * MIB)
/* A limit on v1 this near to what is charged would have the write itself reclaim. */
#define V1_ROOM_BYTES (64 * MIB)

static const char v1_unasked[] =
	"cgroup v1 limits memory and swap together, and kills at the limit: only with swap-max in "
	"the guest's section";

/* ---- what is wanted ---- */

static uint64_t wanted_low(const struct pol_view *view)
{
	uint64_t floor = view->resident_floor_bytes;

	/* Without its numbers the floor is all it has, which is caution and no need. */
	if (view->stats_trusted && view->floor_bytes > floor)
		floor = view->floor_bytes;
	return floor;
}

static uint64_t wanted_swap(const struct guest *guest, bool v2)
{
	const struct config_guest *section = config_find_guest(guest->all->config, guest->name);
	uint64_t swap = section ? section->swap_max_bytes : POL_ABSENT;

	if (v2)
		return pol_has(swap) ? swap : guest->view.swap_most_bytes;
	if (!pol_has(swap))
		return POL_ABSENT;
	return guest->memory_bytes + guest->memory_bytes / OVER_PART + OVER_BYTES + swap;
}

/* Whole steps, so that it is not written for a few pages. Upward: 0 alone is 0. */
static uint64_t in_steps(uint64_t bytes)
{
	return bytes < POL_ABSENT - STEP_BYTES ? (bytes + STEP_BYTES - 1) / STEP_BYTES * STEP_BYTES
					       : POL_ABSENT;
}

static bool is_worth_it(const struct guest_limit *limit, uint64_t bytes)
{
	uint64_t gap;

	if (!pol_has(limit->bytes))
		return true;
	gap = bytes > limit->bytes ? bytes - limit->bytes : limit->bytes - bytes;
	return gap > CHANGE_BYTES && gap > limit->bytes / CHANGE_PART;
}

/* ---- setting it ---- */

/* A limit that is there stays in force: a floor is only raised by memd's, swap only narrowed. */
static uint64_t within(enum guest_limit_kind kind, uint64_t before, uint64_t bytes)
{
	if (kind == GUEST_LIMIT_LOW)
		return !pol_has(before) || before > bytes ? before : bytes;
	return pol_has(before) && before < bytes ? before : bytes;
}

static int read_limit(const struct act *act, const struct guest_limits *limits,
		      enum memcg_file file, char *text, size_t n, uint64_t *ret_bytes)
{
	int r = memcg_file_read(act->rootfd, file, limits->v2, limits->path, text, n);

	if (r < 0)
		return r;
	text[strcspn(text, "\n")] = '\0';
	return memcg_limit_parse(text, ret_bytes);
}

/* Journal, write, read back. */
static int write_limit(struct act *act, const struct guest_limits *limits, enum memcg_file file,
		       uint64_t bytes)
{
	char path[MEMCG_PATH_MAX + 32], was[UNDO_VALUE_MAX], value[32];
	uint64_t now;
	int r = read_limit(act, limits, file, was, sizeof(was), &now);

	memcg_limit_format(bytes, limits->v2, value, sizeof(value));
	if (r == 0)
		r = memcg_file_path(file, limits->v2, limits->path, path, sizeof(path));
	if (r < 0 || strcmp(was, value) == 0)
		return r;
	r = undo_record(act->undo, path, was, value);
	if (r == 0)
		r = memcg_file_write(act->rootfd, file, limits->v2, limits->path, value);
	if (r == 0)
		r = read_limit(act, limits, file, was, sizeof(was), &now);
	return r == 0 && strcmp(was, value) != 0 ? -EIO : r;
}

/* v1: both, in the order in which neither is above the other. */
static int write_both(struct act *act, const struct guest_limits *limits, uint64_t bytes)
{
	bool up = pol_has(limits->of[GUEST_LIMIT_SWAP].bytes) &&
		  bytes > limits->of[GUEST_LIMIT_SWAP].bytes;
	int r = write_limit(act, limits, up ? MEMCG_SWAP_MAX : MEMCG_MAX, bytes);

	return r < 0 ? r : write_limit(act, limits, up ? MEMCG_MAX : MEMCG_SWAP_MAX, bytes);
}

static enum memcg_file file_of(enum guest_limit_kind kind)
{
	return kind == GUEST_LIMIT_LOW ? MEMCG_LOW : MEMCG_SWAP_MAX;
}

/* What stands against it for good, static text; NULL: nothing. */
static const char *bar(const struct act *act, const struct guest_limits *limits,
		       enum guest_limit_kind kind)
{
	char text[UNDO_VALUE_MAX];
	uint64_t bytes;

	if (!limits->v2 && kind == GUEST_LIMIT_LOW)
		return "cgroup v1 has no floors: its soft limit is the opposite, who is above one "
		       "is reclaimed from first";
	if (!memcg_file_exists(act->rootfd, file_of(kind), limits->v2, limits->path))
		return kind == GUEST_LIMIT_LOW ? "there is no memory.low"
					       : "the kernel does not count swap by cgroup "
						 "(CONFIG_SWAP, swapaccount=1)";
	if (!limits->v2 &&
	    (read_limit(act, limits, MEMCG_MAX, text, sizeof(text), &bytes) < 0 || pol_has(bytes)))
		return "somebody has set memory.limit_in_bytes";
	return NULL;
}

static bool has_room(const struct guest *guest, const struct guest_limits *limits, uint64_t bytes)
{
	uint64_t now = guest->swap->cgroup.current_bytes;

	return limits->v2 || (pol_has(now) && now + V1_ROOM_BYTES < bytes);
}

/* The guest was promised more, and what it takes of that counts against the limit of v1 at once. */
static bool is_urgent(const struct guest_limits *limits, const struct guest_limit *limit,
		      uint64_t bytes)
{
	return !limits->v2 && pol_has(limit->bytes) && bytes > limit->bytes;
}

static void set(struct act *act, struct guest *guest, enum guest_limit_kind kind, uint64_t wanted,
		uint64_t now_us)
{
	struct guest_limits *limits = guest->swap->limits;
	struct guest_limit *limit = &limits->of[kind];
	const char *name = memcg_file_name(file_of(kind), limits->v2);
	char text[UNDO_VALUE_MAX];
	uint64_t bytes = in_steps(wanted), now;
	bool first = !pol_has(limit->bytes);
	int r;

	if (kind == GUEST_LIMIT_SWAP && !limits->v2 && !pol_has(bytes) && !limit->why_not)
		limit->why_not = v1_unasked;
	if (limit->why_not || !pol_has(bytes) || !is_worth_it(limit, bytes) ||
	    (!is_urgent(limits, limit, bytes) && limit->tried_us &&
	     now_us < limit->tried_us + CHANGE_US))
		return;
	limit->tried_us = now_us;
	r = read_limit(act, limits, file_of(kind), text, sizeof(text), &now);
	if (r == 0 && !limit->seen) {
		limit->before = now;
		limit->seen = true;
	} else if (r == 0 && pol_has(limit->bytes) && now != limit->bytes) {
		limit->why_not = "somebody else has changed it since";
		return;
	}
	if (r == 0) {
		bytes = within(kind, limit->before, bytes);
		if (!pol_has(bytes) || !is_worth_it(limit, bytes) ||
		    !has_room(guest, limits, bytes))
			return;
		r = limits->v2 ? write_limit(act, limits, file_of(kind), bytes)
			       : write_both(act, limits, bytes);
	}
	if (r < 0)
		limit->tried_us += AGAIN_US - CHANGE_US;
	if (r == -ENOENT) /* the guest is gone, and memd hears of it soon */
		return;
	if (r < 0) {
		act_complain(act, "guest %s: %s of its cgroup cannot be set to %s: %s", guest->name,
			     name, SIZE_TEXT(bytes), strerror(-r));
		return;
	}
	limit->bytes = bytes;
	if (first)
		log_info("guest %s: %s of its cgroup is %s now", guest->name, name,
			 SIZE_TEXT(bytes));
	else
		log_debug("guest %s: %s -> %s", guest->name, name, SIZE_TEXT(bytes));
}

/* ---- where ---- */

enum stand {
	STAND_FREE,
	STAND_OFF,
	STAND_MANAGE,
	STAND_UNKNOWN,
	STAND_OWNED,
	STAND_SHARED,
	STAND_NONE
};

static enum stand stand_of(const struct guest *guest)
{
	const struct config *config = guest->all->config;
	const struct guest_cgroup *cgroup = guest->swap ? &guest->swap->cgroup : NULL;

	if (!config->cgroup_limits)
		return STAND_OFF;
	if (!config_manages(config, guest->name))
		return STAND_MANAGE;
	if (!cgroup || !cgroup->found_us)
		return STAND_UNKNOWN;
	if (cgroup->owner != MEMCG_NOBODY)
		return STAND_OWNED;
	if (!cgroup->path[0])
		return cgroup->error == -EBUSY ? STAND_SHARED : STAND_NONE;
	return STAND_FREE;
}

const char *guest_limits_why_not(const struct guest *guest, char *buf, size_t n)
{
	static const char *const texts[] = {
		[STAND_FREE] = NULL,
		[STAND_OFF] = "cgroup-limits=off in the configuration",
		[STAND_MANAGE] = "manage=no in its section of the configuration",
		[STAND_UNKNOWN] = "its cgroup has not been looked for yet",
		[STAND_OWNED] = NULL, /* told with the owner's name */
		[STAND_SHARED] = "it shares its cgroup with other processes",
		[STAND_NONE] = "it has no cgroup of its own",
	};
	enum stand stand = stand_of(guest);
	char who[128];

	if (stand != STAND_OWNED)
		return texts[stand];
	snprintf(buf, n, "its cgroup is %s, to be set there",
		 memcg_owner_text(guest->swap->cgroup.owner, guest->swap->cgroup.who, who,
				  sizeof(who)));
	return buf;
}

/* A cgroup is seen for the first time: once in a guest's life, so this may allocate. */
static struct guest_limits *begin(const struct act *act, const struct guest_cgroup *cgroup)
{
	struct guest_limits *limits = calloc(1, sizeof(*limits));

	if (!limits)
		return NULL;
	limits->v2 = cgroup->v2;
	snprintf(limits->path, sizeof(limits->path), "%s", cgroup->path);
	for (enum guest_limit_kind kind = 0; kind < GUEST_LIMITS; kind++) {
		limits->of[kind].bytes = POL_ABSENT;
		limits->of[kind].why_not = bar(act, limits, kind);
	}
	return limits;
}

void guest_limits_follow(struct act *act, struct guest *guest, uint64_t now_us)
{
	struct guest_swap *swap = guest->swap;

	if (!swap || act->dry_run || act->stopped || !act->undo)
		return;
	if (swap->limits && strcmp(swap->limits->path, swap->cgroup.path) != 0)
		guest_limits_leave(act, guest);
	if (!guest->foot_valid || stand_of(guest) != STAND_FREE) {
		guest_limits_leave(act, guest);
		return;
	}
	if (!guest->has_view || !guest->known)
		return;
	if (!swap->limits && !(swap->limits = begin(act, &swap->cgroup)))
		return;
	set(act, guest, GUEST_LIMIT_LOW, wanted_low(&guest->view), now_us);
	set(act, guest, GUEST_LIMIT_SWAP, wanted_swap(guest, swap->limits->v2), now_us);
}

void guest_limits_leave(struct act *act, struct guest *guest)
{
	if (!guest->swap || !guest->swap->limits)
		return;
	act_restore_below(act, guest->swap->limits->path);
	free(guest->swap->limits);
	guest->swap->limits = NULL;
}
