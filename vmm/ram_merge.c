// SPDX-License-Identifier: Apache-2.0
/*
 * What of guest RAM KSM may merge: per guest node as QEMU has it, and per 2 MiB chunk within. Every
 * border between chunks that differ is a mapping more for the kernel, of which a process may have
 * vm.max_map_count, so the number of borders is bounded before anything is changed.
 */
#include "vmm/ram_impl.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "common/cleanup.h"
#include "common/kfile.h"
#include "common/size.h"

#define CHUNK_BYTES RAM_MERGE_CHUNK
/* Part of vm.max_map_count that borders may use up; returning pool pages has its own half. */
#define MAPS_PART    4
#define MAPS_DEFAULT 65530

static uint64_t chunk_count(const struct ram_piece *piece)
{
	return (piece->region.size_bytes + CHUNK_BYTES - 1) / CHUNK_BYTES;
}

static uint64_t word_count(const struct ram_piece *piece)
{
	return (chunk_count(piece) + 63) / 64;
}

int ram_merge_init(struct ram_piece *piece)
{
	if (ram_pages_is_pool(piece->pages))
		return 0;
	piece->merged = calloc(word_count(piece), sizeof(uint64_t));
	return piece->merged ? 0 : -ENOMEM;
}

void ram_merge_free(struct ram_piece *piece)
{
	free(piece->merged);
}

bool ram_merge_any(const struct ram *ram, const struct ram_piece *piece, uint64_t off, uint64_t len)
{
	uint64_t end = (off + len + CHUNK_BYTES - 1) / CHUNK_BYTES;

	return piece->merged && bits_find(piece->merged, off / CHUNK_BYTES, end, true) < end;
}

bool ram_merge(const struct ram *ram, unsigned int node)
{
	for (size_t i = 0; i < ram->n_pieces; i++) {
		const struct ram_piece *piece = &ram->pieces[i];

		if (piece->region.node == node &&
		    ram_merge_any(ram, piece, 0, piece->region.size_bytes))
			return true;
	}
	return false;
}

/* ---- changing it ---- */

static int advise(struct ram *ram, struct ram_piece *piece, uint64_t from, uint64_t to, bool on)
{
	uint64_t off = from * CHUNK_BYTES, end = to * CHUNK_BYTES;

	if (end > piece->region.size_bytes)
		end = piece->region.size_bytes;
	if (madvise(piece->region.hva + off, end - off, on ? MADV_MERGEABLE : MADV_UNMERGEABLE) < 0)
		return -errno;
	bits_fill(piece->merged, from, to - from, on);
	/* What KSM had merged there is small pages now. */
	if (!on && piece->torn) {
		bits_fill(piece->torn, from, to - from, true);
		ram_collapse_wake(ram);
	}
	return 0;
}

/* Make the piece as wanted says, with one call per run of chunks that change. */
static int apply(struct ram *ram, struct ram_piece *piece, const uint64_t *wanted)
{
	uint64_t end = chunk_count(piece), to;
	int result = 0;

	for (uint64_t at = 0; at < end; at = to) {
		bool on = bit_get(wanted, at), change = on != bit_get(piece->merged, at);

		for (to = at + 1; to < end; to++)
			if (bit_get(wanted, to) != on ||
			    (on != bit_get(piece->merged, to)) != change)
				break;
		if (change) {
			int r = advise(ram, piece, at, to, on);

			result = result ? result : r;
		}
	}
	return result;
}

/* The return code proves nothing: madvise(2) "just ignores the advice" on some memory. */
static void believe_kernel(const struct ram *ram, struct ram_piece *piece)
{
	bool marked = true;

	/* Without /proc there is only the return code to believe. */
	(void)ram_read_flag(ram, piece->region.hva, piece->region.size_bytes, "mg", &marked);
	if (!marked)
		bits_fill(piece->merged, 0, chunk_count(piece), false);
}

int ram_set_merge(struct ram *ram, unsigned int node, bool on)
{
	int result = 0;

	if (node >= ram->n_configs)
		return -EINVAL;
	if (ram_pages_is_pool(ram->configs[node].pages))
		return on ? -EOPNOTSUPP : 0;
	for (size_t i = 0; i < ram->n_pieces; i++) {
		struct ram_piece *piece = &ram->pieces[i];
		int r;

		if (piece->region.node != node || !piece->merged)
			continue;
		r = advise(ram, piece, 0, chunk_count(piece), on);
		if (r == 0 && on)
			believe_kernel(ram, piece);
		result = result ? result : r;
	}
	return result;
}

/* ---- ranges ---- */

uint64_t ram_merge_maps_max(void)
{
	AUTO_FD int root = kfile_open_root("/");
	uint64_t max = MAPS_DEFAULT;

	if (root >= 0)
		(void)kfile_read_u64(root, "proc/sys/vm/max_map_count", &max);
	return max / MAPS_PART;
}

/* Mappings that the chunks of a piece need. */
static uint64_t count_runs(const struct ram_piece *piece, const uint64_t *merged)
{
	uint64_t end = chunk_count(piece), runs = 0;

	for (uint64_t at = 0; at < end; runs++)
		at = bits_find(merged, at, end, !bit_get(merged, at));
	return runs;
}

static int check_range(const struct ram *ram, const struct ram_merge_range *range,
		       char why[RAM_WHY_MAX])
{
	uint64_t gpa = range->gpa, left = range->len;

	if (gpa % CHUNK_BYTES || !left) {
		snprintf(why, RAM_WHY_MAX,
			 "a range of 0x%" PRIx64 " bytes at 0x%" PRIx64
			 ": wanted an address that is a multiple of 2 MiB, and a length",
			 left, gpa);
		return -EINVAL;
	}
	while (left) {
		const struct ram_piece *piece = ram_find_piece(ram, gpa);
		uint64_t room = ram_room(ram, gpa), n = room < left ? room : left;

		if (!piece) {
			snprintf(why, RAM_WHY_MAX, "0x%" PRIx64 " is not guest RAM", gpa);
			return -EFAULT;
		}
		/* The very end of RAM is the only border that may lie within a chunk. */
		if (n < room && n % CHUNK_BYTES) {
			snprintf(why, RAM_WHY_MAX,
				 "a length of 0x%" PRIx64 " bytes: wanted a multiple of 2 MiB",
				 range->len);
			return -EINVAL;
		}
		if (gpa >= ram_plug_start(ram)) {
			snprintf(why, RAM_WHY_MAX,
				 "0x%" PRIx64 " is pluggable memory: whether it is merged is set "
				 "for all of a device's",
				 gpa);
			return -EOPNOTSUPP;
		}
		if (!piece->merged && range->merge) {
			snprintf(why, RAM_WHY_MAX,
				 "0x%" PRIx64 " has %s pages of the host's pool, which the kernel "
				 "never merges",
				 gpa, ram_pages_name(piece->pages));
			return -EOPNOTSUPP;
		}
		gpa += n;
		left -= n;
	}
	return 0;
}

/* Note in wanted (by piece) what the range asks for; it has been checked. */
static void want_range(const struct ram *ram, const struct ram_merge_range *range,
		       uint64_t *const *wanted)
{
	uint64_t gpa = range->gpa, left = range->len;

	while (left) {
		const struct ram_piece *piece = ram_find_piece(ram, gpa);
		uint64_t room = ram_room(ram, gpa), n = room < left ? room : left;
		uint64_t first = (gpa - piece->region.gpa) / CHUNK_BYTES;

		if (piece->merged)
			bits_fill(wanted[piece - ram->pieces], first,
				  (n + CHUNK_BYTES - 1) / CHUNK_BYTES, range->merge);
		gpa += n;
		left -= n;
	}
}

static int copy_state(const struct ram *ram, uint64_t **wanted)
{
	for (size_t i = 0; i < ram->n_pieces; i++) {
		const struct ram_piece *piece = &ram->pieces[i];

		if (!piece->merged)
			continue;
		wanted[i] = calloc(word_count(piece), sizeof(uint64_t));
		if (!wanted[i])
			return -ENOMEM;
		memcpy(wanted[i], piece->merged, word_count(piece) * sizeof(uint64_t));
	}
	return 0;
}

static int change(struct ram *ram, const struct ram_merge_range *ranges, size_t n,
		  uint64_t **wanted, char why[RAM_WHY_MAX])
{
	uint64_t before = 0, after = 0, allowed = ram->merge_maps_max;
	int result = copy_state(ram, wanted), r;

	if (result < 0) {
		snprintf(why, RAM_WHY_MAX, "%s", strerror(-result));
		return result;
	}
	for (size_t i = 0; i < n; i++)
		want_range(ram, &ranges[i], wanted);
	for (size_t i = 0; i < ram->n_pieces; i++) {
		if (!wanted[i])
			continue;
		before += count_runs(&ram->pieces[i], ram->pieces[i].merged);
		after += count_runs(&ram->pieces[i], wanted[i]);
	}
	if (after > before && after > allowed) {
		snprintf(why, RAM_WHY_MAX,
			 "guest RAM would be cut into %" PRIu64 " pieces; a quarter of this host's "
			 "vm.max_map_count, %" PRIu64
			 ", is the limit: use longer runs, or raise it",
			 after, allowed);
		return -E2BIG;
	}
	for (size_t i = 0; i < ram->n_pieces; i++) {
		r = wanted[i] ? apply(ram, &ram->pieces[i], wanted[i]) : 0;
		result = result ? result : r;
	}
	if (result < 0)
		snprintf(why, RAM_WHY_MAX, "the kernel refuses: %s%s", strerror(-result),
			 result == -EINVAL ? " (has it no KSM?)" : "");
	return result;
}

int ram_merge_ranges(struct ram *ram, const struct ram_merge_range *ranges, size_t n,
		     char why[RAM_WHY_MAX])
{
	uint64_t *wanted[RAM_REGIONS_MAX] = {NULL};
	int r = 0;

	for (size_t i = 0; i < n && r == 0; i++)
		r = check_range(ram, &ranges[i], why);
	if (r == 0)
		r = change(ram, ranges, n, wanted, why);
	for (size_t i = 0; i < ram->n_pieces; i++)
		free(wanted[i]);
	return r;
}

bool ram_merge_run(const struct ram *ram, uint64_t gpa, struct ram_merge_range *ret_run)
{
	const struct ram_piece *piece = NULL;
	uint64_t end, at, to;
	bool on;

	/* Pieces lie in rising order. */
	for (size_t i = 0; i < ram->n_pieces && !piece; i++)
		if (gpa < ram->pieces[i].region.gpa + ram->pieces[i].region.size_bytes)
			piece = &ram->pieces[i];
	if (!piece)
		return false;
	if (gpa < piece->region.gpa)
		gpa = piece->region.gpa;
	end = chunk_count(piece);
	at = (gpa - piece->region.gpa) / CHUNK_BYTES;
	on = piece->merged && bit_get(piece->merged, at);
	to = piece->merged ? bits_find(piece->merged, at, end, !on) : end;
	gpa = piece->region.gpa + at * CHUNK_BYTES;
	*ret_run = (struct ram_merge_range){.gpa = gpa, .merge = on};
	ret_run->len = to == end ? piece->region.gpa + piece->region.size_bytes - gpa
				 : (to - at) * CHUNK_BYTES;
	return true;
}
