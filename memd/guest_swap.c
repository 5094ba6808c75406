// SPDX-License-Identifier: Apache-2.0
/*
 * How much a guest reads back from swap is told by no single counter: a virtual CPU's major fault
 * may be worked off by a kernel thread, which then counts it as its own, and a process's swap also
 * shrinks when its balloon drops pages. Each of the signs is a lower bound; the largest counts.
 */
#include "memd/guest_swap.h"

#include <stdlib.h>

#include "memd/cgroup_room.h"
#include "memd/chunk.h"
#include "memd/host.h"

static uint64_t rise(uint64_t before, uint64_t after)
{
	return pol_has(before) && pol_has(after) && after > before ? after - before : 0;
}

static uint64_t most(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static void follow(struct guest_swap *swap, const struct footprint *foot, pid_t pid)
{
	uint64_t back;

	if (swap->seen && swap->pid == pid) {
		/* Swap that shrinks as memory grows. */
		back = least(rise(foot->swapped_bytes, swap->swapped_bytes),
			     rise(swap->resident_bytes, foot->resident_bytes));
		back = most(back, rise(swap->cgroup_bytes, swap->cgroup.refault_bytes));
		/* memd's faults are not counted as the guest's. */
		back -= least(back, swap->ours_bytes);
		/* Without anything in swap these are of files. */
		if (pol_has(swap->swapped_bytes) && swap->swapped_bytes > 0)
			back = most(back, rise(swap->major_faults, foot->major_faults) *
						  host_page_bytes());
		swap->refault_bytes += back;
	}
	swap->ours_bytes = 0;
	swap->seen = true;
	swap->pid = pid;
	swap->major_faults = foot->major_faults;
	swap->resident_bytes = foot->resident_bytes;
	swap->swapped_bytes = foot->swapped_bytes;
	swap->cgroup_bytes = swap->cgroup.refault_bytes;
}

void guest_swap_look(struct guest *guest, uint64_t now_us)
{
	struct guests *all = guest->all;

	if (!guest->foot_valid)
		return;
	if (!guest->swap) {
		guest->swap = calloc(1, sizeof(*guest->swap));
		if (!guest->swap)
			return;
		guest_cgroup_init(&guest->swap->cgroup);
	}
	guest_cgroup_look(&guest->swap->cgroup, all->rootfd, &all->memcg, guest->pid, now_us);
	/* How much memd reads back is known when it has. */
	if (!all->reading_back)
		follow(guest->swap, &guest->foot, guest->pid);
}

void guest_swap_forget(struct guest *guest)
{
	if (guest->swap)
		guest_cgroup_fini(&guest->swap->cgroup);
	if (guest->swap)
		free(guest->swap->limits);
	free(guest->swap);
	guest->swap = NULL;
}

const char *guest_swap_why_not(const struct guest *guest)
{
	if (!config_manages(guest->all->config, guest->name))
		return "manage=no in its section of the configuration";
	if (guest->pool)
		return "its memory is huge pages of the pool, which are never swapped";
	if (!guest->foot_valid || !guest->survey.full)
		return "its process has not been looked into yet, or cannot be";
	return guest->survey.pinned;
}

/* As reclaim_work.c decides: in it, and its memory too. */
static bool goes_by_cgroup(const struct guest *guest)
{
	const struct guest_cgroup *cgroup = guest->swap ? &guest->swap->cgroup : NULL;

	return cgroup && cgroup->reclaim && pol_has(cgroup->current_bytes) &&
	       guest_cgroup_holds(cgroup->current_bytes, guest->foot.resident_bytes);
}

bool guest_swap_may_read(const struct guest *guest, uint64_t bytes)
{
	uint64_t room, above, own = least(bytes, guest->foot.swapped_bytes);

	/* What chunks of it are not merged is not told apart. */
	if (guest_swap_why_not(guest) || chunk_is_used(guest))
		return false;
	room = memcg_room(guest->all->rootfd, &guest->all->memcg, guest->pid, &above);
	/* The kernel reads more than it is asked for. Others may be in those above. */
	return (!pol_has(room) || room / 2 >= own) && (!pol_has(above) || above / 2 >= bytes);
}

/* It will be looked into in a moment, and nothing stands against it that is known already. */
static bool is_to_be_looked_into(const struct guest *guest)
{
	return guest->known && guest->pid > 0 && !guest->survey.full && !guest->survey_us &&
	       !guest->pool && config_manages(guest->all->config, guest->name);
}

void guest_swap_snapshot(const struct guest *guest, struct pol_guest *p)
{
	const struct config_guest *section = config_find_guest(guest->all->config, guest->name);
	const struct footprint *foot = &guest->foot;
	bool blind = !guest->all->sees_idle && !goes_by_cgroup(guest);

	p->reclaimable_bytes = is_to_be_looked_into(guest) ? POL_ABSENT : 0;
	p->reclaim_blind = blind && !pol_has(p->reclaimable_bytes);
	p->refault_bytes = guest->swap ? guest->swap->refault_bytes : POL_ABSENT;
	p->psi_some_us = guest->swap ? guest->swap->cgroup.psi_some_us : POL_ABSENT;
	if (guest_swap_why_not(guest))
		return;
	/* A kernel that does not tell will not in a moment. */
	p->reclaim_blind = blind && pol_has(foot->anon_bytes);
	p->reclaimable_bytes = foot->anon_bytes;
	if (pol_has(foot->anon_bytes) && pol_has(foot->locked_bytes))
		p->reclaimable_bytes =
			foot->anon_bytes - least(foot->anon_bytes, foot->locked_bytes);
	if (section && pol_has(section->swap_max_bytes))
		p->reclaimable_bytes =
			least(p->reclaimable_bytes,
			      section->swap_max_bytes -
				      least(section->swap_max_bytes, foot->swapped_bytes));
}
