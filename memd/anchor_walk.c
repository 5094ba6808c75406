// SPDX-License-Identifier: Apache-2.0
/* Guests' mappings and their pages; see anchor_walk.h. */
#include "memd/anchor_walk.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/process.h"
#include "memd/footprint.h"
#include "memd/host.h"
#include "memd/smaps.h"

#define CHUNK_PAGES 16384
/* Larger mappings are address space kept free. */
#define MAPPING_MOST (1ULL << 40)

/* The guest that is walked through. */
struct walked {
	const struct walk *walk;
	int pagemap, mem;
	uint64_t *entries;
	struct walk_at *at;
};

int anchor_walk_entries(int pagemap_fd, uint64_t first_page, uint64_t *entries, size_t n)
{
	ssize_t got;

	do
		got = pread(pagemap_fd, entries, n * sizeof(*entries),
			    (off_t)(first_page * sizeof(*entries)));
	while (got < 0 && errno == EINTR);
	return got < 0 ? -errno : (int)((size_t)got / sizeof(*entries));
}

static int walk_mapping(struct walked *in, const struct smaps_mapping *map)
{
	uint64_t bytes = host_page_bytes(), at = map->start;
	int r = 0;

	if (in->at->address > at)
		at = in->at->address;
	while (r == 0 && at < map->end) {
		uint64_t left = (map->end - at) / bytes;
		struct walk_chunk chunk = {
			.mem = in->mem,
			.first_page = at / bytes,
			.entries = in->entries,
			.n = left < CHUNK_PAGES ? (size_t)left : CHUNK_PAGES,
		};

		r = anchor_walk_entries(in->pagemap, chunk.first_page, in->entries, chunk.n);
		if (r <= 0)
			return r < 0 ? r : -ESRCH; /* it is ending */
		chunk.n = (size_t)r;
		r = in->walk->chunk(in->walk->ctx, &chunk);
		at += chunk.n * bytes;
		in->at->address = at;
	}
	return r;
}

static int walk_ram(struct walked *in, const struct smaps_mapping *map)
{
	if (!smaps_is_private_ram(map) || map->end - map->start >= MAPPING_MOST)
		return 0;
	return walk_mapping(in, map);
}

/* Mappings side by side are one: the kernel splits them where merging is switched by chunks. */
static int walk_maps(struct walked *in, char *maps)
{
	struct smaps_mapping map, run = {0};
	char *save = NULL;
	int r = 0;

	for (char *line = strtok_r(maps, "\n", &save); r == 0 && line;
	     line = strtok_r(NULL, "\n", &save)) {
		if (smaps_header(line, &map) <= 0)
			continue;
		if (run.end == map.start && map.writable && !map.shared && !map.file && !map.exec) {
			run.end = map.end;
			continue;
		}
		r = walk_ram(in, &run);
		run = map;
	}
	return r == 0 ? walk_ram(in, &run) : r;
}

/* -ESRCH: gone; -EPERM, -EACCES. */
static int walk_guest(int rootfd, const struct anchor_guest *guest, struct walked *in)
{
	AUTO_FREE char *maps = NULL;
	AUTO_FD int pagemap = process_open(rootfd, guest->pid, "pagemap");
	AUTO_FD int mem = process_open(rootfd, guest->pid, "mem");
	int r;

	if (pagemap < 0 || mem < 0)
		return pagemap < 0 ? pagemap : mem;
	r = footprint_read_text(rootfd, guest->pid, guest->starttime, "maps", &maps);
	if (r < 0)
		return r;
	in->pagemap = pagemap;
	in->mem = mem;
	return walk_maps(in, maps);
}

int anchor_walk(int rootfd, const struct anchor_guest *guests, size_t n, struct walk_at *at,
		const struct walk *walk)
{
	AUTO_FREE uint64_t *entries = calloc(CHUNK_PAGES, sizeof(*entries));
	struct walked in = {.walk = walk, .entries = entries, .at = at};
	int r;

	if (!entries)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		const struct anchor_guest *guest = &guests[i];

		if (guest->id < at->id || (walk->wants && !walk->wants(walk->ctx, guest)))
			continue;
		if (guest->id != at->id)
			*at = (struct walk_at){.id = guest->id};
		r = walk_guest(rootfd, guest, &in);
		if (r == 1)
			return 1;
		walk->done(walk->ctx, guest, r);
		*at = (struct walk_at){.id = guest->id + 1};
	}
	*at = (struct walk_at){0};
	return 0;
}
