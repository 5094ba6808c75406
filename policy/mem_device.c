// SPDX-License-Identifier: Apache-2.0
/*
 * A guest with a virtio-mem device: all else in the policy decides how large the guest is to be,
 * here is decided how it comes to that. The device goes first, in blocks: it takes and gives
 * hundreds of MiB in the time in which a balloon moves some. Below the size without the device, and
 * for what is no whole block, there is the balloon. A guest that cannot take its blocks offline
 * leaves the rest of an order to the balloon, too, and the device in peace for a while.
 */
#include "policy/parts.h"

#define BACKOFF_FIRST_US (60 * SEC)
#define BACKOFF_MOST_US	 (1800 * SEC)

/* Numbers that make no sense are no device. What is not the device's is a block at least. */
static bool has_device(const struct now_guest *guest)
{
	const struct pol_guest *in = guest->in;
	uint64_t block = in->mem_block_bytes, max = in->mem_max_bytes;

	return FAULT(device_sense)
		       ? block != 0
		       : block && block <= max && max <= BYTES_MAX && max < in->memory_bytes &&
				 block <= in->memory_bytes - max && in->mem_size_bytes <= max &&
				 max % block == 0 && in->mem_size_bytes % block == 0;
}

/* What the device should have when the guest is to have `size`. */
static uint64_t device_part(const struct now_guest *guest, uint64_t size)
{
	const struct pol_guest *in = guest->in;
	uint64_t base = in->memory_bytes - in->mem_max_bytes, block = in->mem_block_bytes;
	uint64_t part = min_u64(round_up(sub_sat(size, base), block), in->mem_max_bytes);

	/* Left where it is; but what is not the device's is all that the guest's kernel itself can
	 * use (plugged memory is movable), so half of that stays. */
	if (guest->past->device_stuck && part < in->mem_size_bytes && !FAULT(device_rest))
		part = max_u64(part, min_u64(in->mem_size_bytes,
					     sub_sat(size, base / 2 + 1) / block * block));
	return part;
}

bool mem_device_give_up(const struct now_host *tick, struct now_guest *guest)
{
	struct guest_past *past = guest->past;
	const struct pol_guest *in = guest->in;

	if (!has_device(guest) || past->device_stuck || FAULT(device_stuck) ||
	    guest->actual <= past->target || in->mem_size_bytes <= in->mem_requested_bytes)
		return false;
	past->device_stuck = true;
	past->device_backoff_us = past->device_backoff_us
					  ? min_u64(2 * past->device_backoff_us, BACKOFF_MOST_US)
					  : BACKOFF_FIRST_US;
	past->device_retry_us = add_sat(tick->now_us, past->device_backoff_us);
	past->progress_us = tick->now_us; /* the balloon gets its own time */
	guest->resplit = true;
	return true;
}

static struct pol_action *find_order(struct pol *pol, uint64_t id)
{
	for (size_t i = 0; i < pol->plan.n_actions; i++)
		if (pol->plan.actions[i].kind == POL_BALLOON && pol->plan.actions[i].guest == id)
			return &pol->plan.actions[i];
	return NULL;
}

void mem_device_plan(struct pol *pol)
{
	for (size_t i = 0; i < pol->n_now; i++) {
		struct now_guest *guest = &pol->now[i];
		struct guest_past *past = guest->past;
		struct pol_action *action;

		if (!guest->usable || !has_device(guest))
			continue;
		if (past->device_stuck && pol->tick.now_us >= past->device_retry_us)
			past->device_stuck = false;
		if (guest->in->mem_size_bytes == guest->in->mem_requested_bytes &&
		    !past->device_stuck)
			past->device_backoff_us = 0;
		action = find_order(pol, guest->in->id);
		/* What was ordered then is still right only above the floor of now. */
		if (!action && guest->resplit &&
		    (past->target >= guest->floor || FAULT(device_floor)) && past->target) {
			action = plan_add(pol, guest, POL_BALLOON, POL_WHY_DEVICE_STUCK,
					  POL_RUNG_BALLOON_FREE);
			action->from = action->to = past->target;
			action->gain_bytes = balloon_gain(guest, guest->actual, past->target);
			plan_reject(action, POL_RUNG_MEM_DEVICE, POL_WHY_DEVICE_STUCK);
		}
		if (!action)
			continue;
		action->to2 = device_part(guest, action->to);
		if (action->to2 < guest->in->mem_requested_bytes && !past->device_stuck &&
		    action->rung != POL_RUNG_SWAP)
			action->rung = POL_RUNG_MEM_DEVICE;
		else if (past->device_stuck && action->to < action->from)
			plan_reject(action, POL_RUNG_MEM_DEVICE, POL_WHY_DEVICE_STUCK);
	}
}
