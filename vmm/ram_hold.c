// SPDX-License-Identifier: Apache-2.0
/*
 * What the balloon holds of huge pages, across requests. Linux's driver sends 1 MiB at a time at
 * most, so a 2 MiB page comes in pieces: given back piece by piece, a transparent huge page is
 * split and leaves an empty page table behind, in which every later fault finds small pages only.
 * So its pieces wait for each other a moment; what stays alone goes at ram_settle. Small pages wait
 * the same way: scattered numbers of several requests add up to long runs.
 */
#include "vmm/ram_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/*
 * Units with pages that wait; more, and one goes at once. It bounds what a guest can hold back from
 * the host (for twice RAM_SETTLE_US) and how long a look through all of them takes.
 */
#define OPEN_MAX 256
/* Given back by one call of ram_settle: up to 256 runs each. */
#define SETTLE_UNITS 64

static uint64_t unit_count(const struct ram_piece *piece)
{
	return (piece->region.size_bytes + piece->unit_bytes - 1) / piece->unit_bytes;
}

static uint64_t *bits_new(uint64_t n)
{
	return calloc((n + 63) / 64, sizeof(uint64_t));
}

int ram_hold_init(struct ram_piece *piece)
{
	uint64_t pages = piece->region.size_bytes / RAM_SMALL_BYTES, units;
	bool is_pool = ram_pages_is_pool(piece->pages);

	if (piece->is_buffer)
		return 0;
	piece->unit_bytes = is_pool ? piece->page_bytes : RAM_HUGE_BYTES;
	units = unit_count(piece);
	piece->held = bits_new(pages);
	piece->n_held = calloc(units, sizeof(uint32_t));
	if (!piece->held || !piece->n_held)
		return -ENOMEM;
	if (is_pool)
		return 0;
	piece->waiting = bits_new(pages);
	piece->open = bits_new(units);
	piece->aged = bits_new(units);
	if (!piece->waiting || !piece->open || !piece->aged)
		return -ENOMEM;
	if (piece->pages != RAM_PAGES_THP)
		return 0;
	piece->torn = bits_new(units);
	return piece->torn ? 0 : -ENOMEM;
}

void ram_hold_free(struct ram_piece *piece)
{
	free(piece->held);
	free(piece->n_held);
	free(piece->waiting);
	free(piece->open);
	free(piece->aged);
	free(piece->torn);
}

/* ---- what is held ---- */

uint64_t ram_hold_unit_bytes(const struct ram_piece *piece, uint64_t unit)
{
	uint64_t left = piece->region.size_bytes - unit * piece->unit_bytes;

	return left < piece->unit_bytes ? left : piece->unit_bytes;
}

void ram_hold(struct ram_piece *piece, uint64_t off, uint64_t len, bool on)
{
	for (uint64_t end = off + len, to; off < end; off = to) {
		uint64_t unit = off / piece->unit_bytes, changed;

		to = (unit + 1) * piece->unit_bytes;
		to = to < end ? to : end;
		changed = bits_fill(piece->held, off / RAM_SMALL_BYTES,
				    (to - off) / RAM_SMALL_BYTES, on);
		if (on)
			piece->n_held[unit] += (uint32_t)changed;
		else if (changed)
			piece->n_held[unit] -= (uint32_t)changed;
	}
}

bool ram_hold_is_whole(const struct ram_piece *piece, uint64_t unit)
{
	return piece->n_held[unit] == ram_hold_unit_bytes(piece, unit) / RAM_SMALL_BYTES;
}

void ram_hold_tear(struct ram_piece *piece, uint64_t off, uint64_t len, enum ram_giver giver)
{
	uint64_t first = off / RAM_HUGE_BYTES, last = (off + len - 1) / RAM_HUGE_BYTES;

	if (!piece->torn || !len)
		return;
	if (off % RAM_HUGE_BYTES)
		bit_set(piece->torn, first);
	if ((off + len) % RAM_HUGE_BYTES)
		bit_set(piece->torn, last);
	if (piece->prealloc && giver == RAM_GIVER_BALLOON)
		bits_fill(piece->torn, first, last - first + 1, true);
}

/* ---- what waits ---- */

static void close_unit(struct ram *ram, struct ram_piece *piece, uint64_t unit)
{
	if (!bit_get(piece->open, unit))
		return;
	bit_clear(piece->open, unit);
	bit_clear(piece->aged, unit);
	ram->n_open--;
}

static void wait_in_unit(struct ram *ram, struct ram_piece *piece, uint64_t unit, uint64_t off,
			 uint64_t len)
{
	bits_fill(piece->waiting, off / RAM_SMALL_BYTES, len / RAM_SMALL_BYTES, true);
	if (!bit_get(piece->open, unit)) {
		bit_set(piece->open, unit);
		ram->n_open++;
	}
	bit_clear(piece->aged, unit);
}

/* Nothing of [off, off + len), which lies in this unit, waits any more. */
static void forget_waiting(struct ram *ram, struct ram_piece *piece, uint64_t unit, uint64_t off,
			   uint64_t len)
{
	uint64_t first = unit * piece->unit_bytes / RAM_SMALL_BYTES;
	uint64_t end = first + ram_hold_unit_bytes(piece, unit) / RAM_SMALL_BYTES;

	if (!bit_get(piece->open, unit))
		return;
	bits_fill(piece->waiting, off / RAM_SMALL_BYTES, len / RAM_SMALL_BYTES, false);
	if (bits_find(piece->waiting, first, end, true) == end)
		close_unit(ram, piece, unit);
}

/* Each run that waits in the unit goes with one madvise. */
static int settle_unit(struct ram *ram, struct ram_piece *piece, uint64_t unit)
{
	uint64_t at = unit * piece->unit_bytes / RAM_SMALL_BYTES;
	uint64_t end = at + ram_hold_unit_bytes(piece, unit) / RAM_SMALL_BYTES, to;
	int result = 0;

	while ((at = bits_find(piece->waiting, at, end, true)) < end) {
		int r;

		to = bits_find(piece->waiting, at, end, false);
		r = ram_piece_drop(piece, at * RAM_SMALL_BYTES, (to - at) * RAM_SMALL_BYTES,
				   RAM_GIVER_BALLOON);
		result = result ? result : r;
		bits_fill(piece->waiting, at, to - at, false);
		at = to;
	}
	close_unit(ram, piece, unit);
	return result;
}

/* The next open unit after the one that went last, round and round: none is spared for ever. */
static int settle_next(struct ram *ram)
{
	size_t n_pieces = ram->n_pieces + ram->n_plugs;

	for (size_t i = 0; i <= n_pieces; i++) {
		struct ram_piece *piece = ram_piece_at(ram, ram->settle_piece % n_pieces);
		uint64_t units = piece->open ? unit_count(piece) : 0;
		uint64_t unit = piece->open && ram->settle_unit < units
					? bits_find(piece->open, ram->settle_unit, units, true)
					: units;

		if (unit < units) {
			ram->settle_unit = unit + 1;
			return settle_unit(ram, piece, unit);
		}
		ram->settle_piece = (ram->settle_piece + 1) % n_pieces;
		ram->settle_unit = 0;
	}
	return 0;
}

int ram_hold_lazily(struct ram *ram, struct ram_piece *piece, uint64_t off, uint64_t len)
{
	uint64_t end = off + len, run_from = off, run_to = off, to;
	int result = 0, r;

	for (; off < end; off = to) {
		uint64_t unit = off / piece->unit_bytes, from = unit * piece->unit_bytes;

		to = from + ram_hold_unit_bytes(piece, unit);
		to = to < end ? to : end;
		ram_hold(piece, off, to - off, true);
		if (!ram_hold_is_whole(piece, unit)) {
			wait_in_unit(ram, piece, unit, off, to - off);
			continue;
		}
		forget_waiting(ram, piece, unit, from, ram_hold_unit_bytes(piece, unit));
		if (run_to != from) {
			r = run_to > run_from ? ram_piece_drop(piece, run_from, run_to - run_from,
							       RAM_GIVER_BALLOON)
					      : 0;
			result = result ? result : r;
			run_from = from;
		}
		run_to = from + ram_hold_unit_bytes(piece, unit);
	}
	r = run_to > run_from
		    ? ram_piece_drop(piece, run_from, run_to - run_from, RAM_GIVER_BALLOON)
		    : 0;
	result = result ? result : r;
	while (ram->n_open > OPEN_MAX) {
		r = settle_next(ram);
		result = result ? result : r;
	}
	return result;
}

void ram_hold_release(struct ram *ram, struct ram_piece *piece, uint64_t off, uint64_t len)
{
	ram_hold(piece, off, len, false);
	ram_collapse_wake(ram);
	if (!ram->n_open)
		return;
	for (uint64_t end = off + len, to; off < end; off = to) {
		uint64_t unit = off / piece->unit_bytes;

		to = (unit + 1) * piece->unit_bytes;
		to = to < end ? to : end;
		forget_waiting(ram, piece, unit, off, to - off);
	}
}

void ram_hold_forget(struct ram *ram, struct ram_piece *piece)
{
	if (!piece->unit_bytes)
		return;
	if (piece->open)
		ram_hold_release(ram, piece, 0, piece->region.size_bytes);
	else
		ram_hold(piece, 0, piece->region.size_bytes, false);
}

bool ram_settle(struct ram *ram, bool all)
{
	unsigned int done = 0;
	struct ram_piece *piece;

	for (size_t i = 0; ram->n_open && (piece = ram_piece_at(ram, i)); i++) {
		uint64_t units = piece->open ? unit_count(piece) : 0, unit = 0;

		while ((unit = bits_find(piece->open, unit, units, true)) < units &&
		       done < SETTLE_UNITS) {
			if (all || bit_get(piece->aged, unit)) {
				(void)settle_unit(ram, piece, unit);
				done++;
			} else {
				bit_set(piece->aged, unit);
			}
			unit++;
		}
	}
	return ram->n_open > 0;
}
