// SPDX-License-Identifier: Apache-2.0
/* The accessors through which everything else reaches guest memory, whole ranges checked. */
#include "vmm/ram_impl.h"

#include <errno.h>
#include <string.h>

struct ram_piece *ram_piece_at(const struct ram *ram, size_t index)
{
	struct ram *own = (struct ram *)(uintptr_t)ram;

	if (index < ram->n_pieces)
		return &own->pieces[index];
	index -= ram->n_pieces;
	return index < ram->n_plugs ? &own->plugs[index].piece : NULL;
}

struct ram_piece *ram_find_piece(const struct ram *ram, uint64_t gpa)
{
	struct ram_piece *piece;

	for (size_t i = 0; (piece = ram_piece_at(ram, i)); i++)
		if (gpa >= piece->region.gpa && gpa - piece->region.gpa < piece->region.size_bytes)
			return piece;
	return NULL;
}

/* What a piece of pluggable memory belongs to; NULL: to nothing of the kind. */
static const struct ram_plug *plug_of(const struct ram *ram, const struct ram_piece *piece)
{
	for (size_t i = 0; i < ram->n_plugs; i++)
		if (&ram->plugs[i].piece == piece)
			return &ram->plugs[i];
	return NULL;
}

static uint64_t room_in(const struct ram *ram, const struct ram_piece *piece, uint64_t off)
{
	const struct ram_plug *plug = plug_of(ram, piece);

	return plug ? ram_plug_room(plug, off) : piece->region.size_bytes - off;
}

uint64_t ram_room(const struct ram *ram, uint64_t gpa)
{
	const struct ram_piece *piece = ram_find_piece(ram, gpa);

	return piece ? room_in(ram, piece, gpa - piece->region.gpa) : 0;
}

void *ram_ptr(const struct ram *ram, uint64_t gpa, uint64_t len)
{
	const struct ram_piece *piece = ram_find_piece(ram, gpa);

	if (!piece || len == 0 || len > room_in(ram, piece, gpa - piece->region.gpa))
		return NULL;
	return piece->region.hva + (gpa - piece->region.gpa);
}

/* Is all of the range RAM, in however many regions? */
static bool is_ram(const struct ram *ram, uint64_t gpa, uint64_t len)
{
	while (len) {
		uint64_t room = ram_room(ram, gpa);

		if (room == 0)
			return false;
		if (room >= len)
			return true;
		gpa += room;
		len -= room;
	}
	return true;
}

int ram_read(const struct ram *ram, uint64_t gpa, void *dst, uint64_t len)
{
	uint8_t *to = dst;

	if (!is_ram(ram, gpa, len))
		return -EFAULT;
	while (len) {
		uint64_t room = ram_room(ram, gpa), n = room < len ? room : len;

		memcpy(to, ram_ptr(ram, gpa, n), n);
		gpa += n;
		to += n;
		len -= n;
	}
	return 0;
}

int ram_write(const struct ram *ram, uint64_t gpa, const void *src, uint64_t len)
{
	const uint8_t *from = src;

	if (!is_ram(ram, gpa, len))
		return -EFAULT;
	while (len) {
		uint64_t room = ram_room(ram, gpa), n = room < len ? room : len;

		memcpy(ram_ptr(ram, gpa, n), from, n);
		gpa += n;
		from += n;
		len -= n;
	}
	return 0;
}

uint64_t ram_page_bytes(const struct ram *ram, uint64_t gpa)
{
	const struct ram_piece *piece = ram_find_piece(ram, gpa);

	return piece ? piece->page_bytes : RAM_SMALL_BYTES;
}
