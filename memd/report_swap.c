// SPDX-License-Identifier: Apache-2.0
/* See report_swap.h. */
#include "memd/report_swap.h"

#include <stdio.h>

#include "common/clock.h"
#include "memd/guest_swap.h"
#include "memd/reclaim.h"
#include "memd/swap.h"

static json_object *device_json(const struct swap_device *device)
{
	json_object *one = json_object_new_object();

	json_add_str(one, "device", device->name);
	json_add_u64(one, "size_bytes", device->bytes);
	json_add_u64(one, "used_bytes", device->used_bytes);
	json_add_i64(one, "priority", device->priority);
	json_add_bool(one, "zram", device->zram);
	json_add_u64(one, "stored_bytes", device->zram ? device->stored_bytes : POL_ABSENT);
	json_add_u64(one, "taken_bytes", device->zram ? device->taken_bytes : POL_ABSENT);
	return one;
}

json_object *report_swap(const struct daemon *daemon)
{
	const struct swap_state *swap = host_swap(daemon->host);
	json_object *one = json_object_new_object(), *devices = json_object_new_array();

	for (size_t i = 0; i < swap->n_devices; i++)
		json_object_array_add(devices, device_json(&swap->devices[i]));
	json_object_object_add(one, "devices", devices);
	json_add_bool(one, "zswap", swap->zswap);
	json_add_u64(one, "zswap_stored_bytes", swap->zswapped_bytes);
	json_add_u64(one, "zswap_taken_bytes", swap->zswap_bytes);
	json_add_u64(one, "cost_ppm", swap->cost_ppm);
	json_add_u64(one, "in_bytes_per_second", swap->in_bytes_per_s);
	json_add_u64(one, "out_bytes_per_second", swap->out_bytes_per_s);
	return one;
}

json_object *report_reclaim(const struct daemon *daemon)
{
	json_object *one = json_object_new_object(), *kept = json_object_new_object();
	const struct reclaim_work *work = daemon->act.reclaim;
	uint64_t now_us = clock_now_us();

	json_add_bool(one, "managed", daemon->policy.reclaim_manage);
	json_add_bool(one, "busy", work && reclaim_work_is_busy(work));
	json_add_u64(one, "reclaimed_bytes", work ? reclaim_work_bytes(work) : POL_ABSENT);
	json_add_u64(one, "ticks_woken", daemon->woken);
	json_add_u64(one, "time_us", work ? reclaim_work_us(work) : POL_ABSENT);
	for (enum pol_rung rung = POL_RUNG_NONE + 1; rung < POL_RUNG_COUNT; rung++) {
		uint64_t ppm = account_kept_ppm(&daemon->account, rung, now_us);

		if (pol_has(ppm))
			json_add_u64(kept, pol_rung_name(rung), ppm);
	}
	json_object_object_add(one, "kept_ppm", kept);
	return one;
}

/* The policy's word holds for this tick, what it was told of the guest for good. */
static const char *why_off(const struct guest *guest)
{
	const char *never = guest_swap_why_not(guest);

	if (never)
		return never;
	if (!guest->has_view || guest->view.reclaim_off == POL_WHY_NONE)
		return NULL;
	return pol_reason_text(guest->view.reclaim_off);
}

json_object *report_guest_reclaim(const struct guest *guest)
{
	const struct guest_swap *swap = guest->swap;
	json_object *one = json_object_new_object();
	const char *why = why_off(guest);

	json_add_bool(one, "possible", !why);
	json_add_str(one, "why_not", why);
	json_add_u64(one, "resident_floor_bytes",
		     guest->has_view ? guest->view.resident_floor_bytes : POL_ABSENT);
	json_add_u64(one, "refault_bytes", swap ? swap->refault_bytes : POL_ABSENT);
	json_add_str(one, "cgroup", swap && swap->cgroup.path[0] ? swap->cgroup.path : NULL);
	json_add_u64(one, "cgroup_bytes", swap ? swap->cgroup.current_bytes : POL_ABSENT);
	json_add_u64(one, "cgroup_swap_bytes", swap ? swap->cgroup.swap_bytes : POL_ABSENT);
	json_add_u64(one, "cgroup_stall_us", swap ? swap->cgroup.psi_some_us : POL_ABSENT);
	return one;
}

const char *report_reclaim_note(const struct guest *guest, char *buf, size_t n)
{
	enum pol_reason off = guest->has_view ? guest->view.reclaim_off : POL_WHY_NONE;

	if (off != POL_WHY_REFAULTS && off != POL_WHY_PRESSURE)
		return NULL;
	snprintf(buf, n, "none of its memory is sent to swap now: %s", pol_reason_text(off));
	return buf;
}
