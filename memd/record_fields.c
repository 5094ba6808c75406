// SPDX-License-Identifier: Apache-2.0
/* Field tables and byte-level coding of the trace; record.h describes the format. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "memd/record_fields.h"

#define FIELD(type, member)                                                       \
	{                                                                         \
		offsetof(struct type, member), sizeof(((struct type *)0)->member) \
	}

static const struct record_field host_fields[] = {
	FIELD(pol_host, memory_bytes),	  FIELD(pol_host, free_bytes),
	FIELD(pol_host, available_bytes), FIELD(pol_host, swap_bytes),
	FIELD(pol_host, swap_free_bytes), FIELD(pol_host, swap_in_bytes),
	FIELD(pol_host, swap_out_bytes),  FIELD(pol_host, psi_some_us),
	FIELD(pol_host, psi_full_us),	  FIELD(pol_host, swap_cost_ppm),
	FIELD(pol_host, reclaim_bytes),	  FIELD(pol_host, reclaim_us),
	FIELD(pol_host, reclaim_busy),	  FIELD(pol_host, rung_ppm[0]),
	FIELD(pol_host, rung_ppm[1]),	  FIELD(pol_host, rung_ppm[2]),
	FIELD(pol_host, rung_ppm[3]),	  FIELD(pol_host, rung_ppm[4]),
	FIELD(pol_host, rung_ppm[5]),	  FIELD(pol_host, rung_ppm[6]),
	FIELD(pol_host, rung_ppm[7]),	  FIELD(pol_host, numa_balancing),
};

static const struct record_field ksm_fields[] = {
	FIELD(pol_ksm, present),
	FIELD(pol_ksm, advisor),
	FIELD(pol_ksm, smart_scan),
	FIELD(pol_ksm, mergeable_any),
	FIELD(pol_ksm, run),
	FIELD(pol_ksm, pages_to_scan),
	FIELD(pol_ksm, sleep_ms),
	FIELD(pol_ksm, pages_shared),
	FIELD(pol_ksm, pages_sharing),
	FIELD(pol_ksm, pages_unshared),
	FIELD(pol_ksm, pages_volatile),
	FIELD(pol_ksm, zero_pages),
	FIELD(pol_ksm, full_scans),
	FIELD(pol_ksm, pages_scanned),
	FIELD(pol_ksm, cow_breaks),
	FIELD(pol_ksm, cpu_us),
	FIELD(pol_ksm, pages_skipped),
	FIELD(pol_ksm, across_nodes),
	FIELD(pol_ksm, unsorted),
	FIELD(pol_ksm, across_gain_bytes),
	FIELD(pol_ksm, back_bytes),
	FIELD(pol_ksm, back_us),
};

static const struct record_field node_fields[] = {
	FIELD(pol_node, node),	      FIELD(pol_node, memory_bytes), FIELD(pol_node, free_bytes),
	FIELD(pol_node, cpus),	      FIELD(pol_node, distance[0]),  FIELD(pol_node, distance[1]),
	FIELD(pol_node, distance[2]), FIELD(pol_node, distance[3]),  FIELD(pol_node, distance[4]),
	FIELD(pol_node, distance[5]), FIELD(pol_node, distance[6]),  FIELD(pol_node, distance[7]),
	FIELD(pol_node, cache_bytes),
};
_Static_assert(POL_PLACE_NODES == 8, "a node more needs its fields in the trace");

static const struct record_field guest_fields[] = {
	FIELD(pol_guest, memory_bytes),
	FIELD(pol_guest, min_bytes),
	FIELD(pol_guest, shares),
	FIELD(pol_guest, answering),
	FIELD(pol_guest, has_balloon),
	FIELD(pol_guest, deflate_on_oom),
	FIELD(pol_guest, reporting),
	FIELD(pol_guest, mergeable),
	FIELD(pol_guest, actual_bytes),
	FIELD(pol_guest, target_bytes),
	FIELD(pol_guest, resident_bytes),
	FIELD(pol_guest, swapped_bytes),
	FIELD(pol_guest, saved_bytes),
	FIELD(pol_guest, cpu_us),
	FIELD(pol_guest, stat_total_bytes),
	FIELD(pol_guest, stat_free_bytes),
	FIELD(pol_guest, stat_available_bytes),
	FIELD(pol_guest, stat_cache_bytes),
	FIELD(pol_guest, stat_swap_in_bytes),
	FIELD(pol_guest, stat_swap_out_bytes),
	FIELD(pol_guest, stat_major_faults),
	FIELD(pol_guest, stat_oom_kills),
	FIELD(pol_guest, stat_alloc_stalls),
	FIELD(pol_guest, stat_age_us),
	FIELD(pol_guest, pool),
	FIELD(pol_guest, mem_max_bytes),
	FIELD(pol_guest, mem_size_bytes),
	FIELD(pol_guest, mem_requested_bytes),
	FIELD(pol_guest, mem_block_bytes),
	FIELD(pol_guest, domain),
	FIELD(pol_guest, merge_switch),
	FIELD(pol_guest, merge_on),
	FIELD(pol_guest, marked_bytes),
	FIELD(pol_guest, bound_mask),
	FIELD(pol_guest, seen_mask),
	FIELD(pol_guest, merging_bytes),
	FIELD(pol_guest, ksm_bytes),
	FIELD(pol_guest, rmap_bytes),
	FIELD(pol_guest, reclaimable_bytes),
	FIELD(pol_guest, refault_bytes),
	FIELD(pol_guest, psi_some_us),
	FIELD(pol_guest, numa_bar),
	FIELD(pol_guest, numa_moving),
	FIELD(pol_guest, node_bytes[0]),
	FIELD(pol_guest, node_bytes[1]),
	FIELD(pol_guest, node_bytes[2]),
	FIELD(pol_guest, node_bytes[3]),
	FIELD(pol_guest, node_bytes[4]),
	FIELD(pol_guest, node_bytes[5]),
	FIELD(pol_guest, node_bytes[6]),
	FIELD(pol_guest, node_bytes[7]),
	FIELD(pol_guest, huge_bytes),
	FIELD(pol_guest, vcpus),
	FIELD(pol_guest, cpu_node),
	FIELD(pol_guest, cpu_node_ppm),
	FIELD(pol_guest, far_bytes),
	FIELD(pol_guest, hot_bytes),
	FIELD(pol_guest, hot_us),
	FIELD(pol_guest, hot_age_us),
	FIELD(pol_guest, crossed_bytes),
	FIELD(pol_guest, reclaim_blind),
	FIELD(pol_guest, stat_scanned_bytes),
	FIELD(pol_guest, stat_reclaimed_bytes),
};

static const struct record_field action_fields[] = {
	FIELD(pol_action, kind),
	FIELD(pol_action, guest),
	FIELD(pol_action, from),
	FIELD(pol_action, to),
	FIELD(pol_action, to2),
	FIELD(pol_action, rung),
	FIELD(pol_action, reason),
	FIELD(pol_action, other),
	FIELD(pol_action, gain_bytes),
	FIELD(pol_action, cost_us),
	FIELD(pol_action, state),
	FIELD(pol_action, available_bytes),
	FIELD(pol_action, need_bytes),
	FIELD(pol_action, floor_bytes),
	FIELD(pol_action, working_set_bytes),
	FIELD(pol_action, entitled_bytes),
	FIELD(pol_action, rejected),
	FIELD(pol_action, rejected_why[0]),
	FIELD(pol_action, rejected_why[1]),
	FIELD(pol_action, rejected_why[2]),
	FIELD(pol_action, rejected_why[3]),
	FIELD(pol_action, rejected_why[4]),
	FIELD(pol_action, rejected_why[5]),
	FIELD(pol_action, rejected_why[6]),
	FIELD(pol_action, to3),
	FIELD(pol_action, rejected_why[7]),
	FIELD(pol_action, gain_us),
	FIELD(pol_action, hot_bytes),
	FIELD(pol_action, to4),
};
_Static_assert(POL_RUNG_COUNT == 8, "a new rung needs its fields in the trace");

static const struct record_field policy_fields[] = {
	FIELD(pol_config, high_ppm),	      FIELD(pol_config, soft_ppm),
	FIELD(pol_config, hard_ppm),	      FIELD(pol_config, low_ppm),
	FIELD(pol_config, hysteresis_ppm),    FIELD(pol_config, high_min_bytes),
	FIELD(pol_config, high_max_bytes),    FIELD(pol_config, guest_reserve_bytes),
	FIELD(pol_config, guest_reserve_ppm), FIELD(pol_config, guest_reserve_max_bytes),
	FIELD(pol_config, guest_min_bytes),   FIELD(pol_config, step_bytes),
	FIELD(pol_config, stats_max_age_us),  FIELD(pol_config, trouble_hold_us),
	FIELD(pol_config, stuck_after_us),    FIELD(pol_config, idle_tax_ppm),
	FIELD(pol_config, ksm_cpu_ppm),	      FIELD(pol_config, ksm_manage),
	FIELD(pol_config, balloon_manage),    FIELD(pol_config, ksm_trial_us),
	FIELD(pol_config, reclaim_manage),    FIELD(pol_config, numa_manage),
	FIELD(pol_config, numa_bytes_per_s),  FIELD(pol_config, node_reserve_ppm),
	FIELD(pol_config, numa_manage),	      FIELD(pol_config, numa_bytes_per_s),
	FIELD(pol_config, node_reserve_ppm),  FIELD(pol_config, merge_across),
	FIELD(pol_config, reclaim_blind),     FIELD(pol_config, ksm_anchor),
	FIELD(pol_config, huge_split),
};

#define FITS(fields) \
	_Static_assert(ARRAY_SIZE(fields) <= RECORD_FIELDS_MAX, "more fields than rows")
FITS(host_fields);
FITS(ksm_fields);
FITS(node_fields);
FITS(guest_fields);
FITS(action_fields);
FITS(policy_fields);

const enum record_table record_counted[RECORD_COUNTED] = {
	RECORD_HOST, RECORD_KSM, RECORD_GUEST, RECORD_ACTION, RECORD_POLICY, RECORD_NODE,
};

size_t record_words(size_t n)
{
	return n > 64 ? (n + 63) / 64 : 1;
}

const struct record_field *record_fields(enum record_table table, size_t *ret_n)
{
	static const struct {
		const struct record_field *fields;
		size_t n;
	} tables[RECORD_TABLES] = {
		[RECORD_HOST] = {host_fields, ARRAY_SIZE(host_fields)},
		[RECORD_KSM] = {ksm_fields, ARRAY_SIZE(ksm_fields)},
		[RECORD_NODE] = {node_fields, ARRAY_SIZE(node_fields)},
		[RECORD_GUEST] = {guest_fields, ARRAY_SIZE(guest_fields)},
		[RECORD_ACTION] = {action_fields, ARRAY_SIZE(action_fields)},
		[RECORD_POLICY] = {policy_fields, ARRAY_SIZE(policy_fields)},
	};

	*ret_n = tables[table].n;
	return tables[table].fields;
}

uint64_t record_field_get(const void *base, struct record_field field)
{
	const uint8_t *at = (const uint8_t *)base + field.offset;
	uint32_t word;
	uint64_t value;

	if (field.size == 1)
		return *at;
	if (field.size == sizeof(word)) {
		memcpy(&word, at, sizeof(word));
		return word;
	}
	memcpy(&value, at, sizeof(value));
	return value;
}

void record_field_set(void *base, struct record_field field, uint64_t value)
{
	uint8_t *at = (uint8_t *)base + field.offset;
	uint32_t word = (uint32_t)value;

	if (field.size == 1)
		*(bool *)at = value != 0 && value != POL_ABSENT; /* a flag not told is off */
	else if (field.size == sizeof(word))
		memcpy(at, &word, sizeof(word));
	else
		memcpy(at, &value, sizeof(value));
}

int record_base_init(struct record_base *base)
{
	*base = (struct record_base){
		.guests = calloc(RECORD_GUESTS_MAX, sizeof(*base->guests)),
		.next = calloc(RECORD_GUESTS_MAX, sizeof(*base->next)),
	};
	if (base->guests && base->next)
		return 0;
	record_base_fini(base);
	return -ENOMEM;
}

void record_base_fini(struct record_base *base)
{
	free(base->guests);
	free(base->next);
	*base = (struct record_base){0};
}

void record_base_clear(struct record_base *base)
{
	struct record_track *guests = base->guests, *next = base->next;

	*base = (struct record_base){.guests = guests, .next = next};
}

void record_put_u8(struct record_bytes *b, uint8_t value)
{
	if (b->at >= b->len)
		b->bad = true;
	else
		b->data[b->at++] = value;
}

void record_put_varint(struct record_bytes *b, uint64_t value)
{
	for (; value >= 0x80; value >>= 7)
		record_put_u8(b, (uint8_t)(value | 0x80));
	record_put_u8(b, (uint8_t)value);
}

void record_put_delta(struct record_bytes *b, uint64_t before, uint64_t value)
{
	uint64_t delta = value - before;

	record_put_varint(b, delta << 1 ^ (delta >> 63 ? UINT64_MAX : 0));
}

void record_put_bytes(struct record_bytes *b, const void *data, size_t n)
{
	if (n > b->len - b->at) {
		b->bad = true;
		return;
	}
	memcpy(b->data + b->at, data, n);
	b->at += n;
}

uint8_t record_get_u8(struct record_bytes *b)
{
	if (b->at >= b->len) {
		b->bad = true;
		return 0;
	}
	return b->data[b->at++];
}

uint64_t record_get_varint(struct record_bytes *b)
{
	uint64_t value = 0;

	for (unsigned int shift = 0; shift < 64; shift += 7) {
		uint8_t byte = record_get_u8(b);

		if (shift == 63 && byte > 1)
			break;
		value |= (uint64_t)(byte & 0x7f) << shift;
		if (!(byte & 0x80))
			return value;
	}
	b->bad = true;
	return 0;
}

uint64_t record_get_delta(struct record_bytes *b, uint64_t before)
{
	uint64_t coded = record_get_varint(b);

	return before + (coded >> 1 ^ (coded & 1 ? UINT64_MAX : 0));
}

void record_get_bytes(struct record_bytes *b, void *data, size_t n)
{
	if (n > b->len - b->at) {
		b->bad = true;
		return;
	}
	memcpy(data, b->data + b->at, n);
	b->at += n;
}

uint32_t record_checksum(uint8_t type, const uint8_t *payload, size_t n)
{
	uint32_t hash = (2166136261U ^ type) * 16777619U;

	for (size_t i = 0; i < n; i++)
		hash = (hash ^ payload[i]) * 16777619U;
	return hash;
}
