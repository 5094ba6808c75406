/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guests' private memory, chunk by chunk: what the kernel tells of its pages, and how to read them.
 * Source: Documentation/admin-guide/mm/pagemap.rst, proc_pid_maps(5), proc_pid_mem(5).
 */
#ifndef MEMD_ANCHOR_WALK_H
#define MEMD_ANCHOR_WALK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct anchor_guest {
	uint64_t id, starttime;
	pid_t pid;
	uint64_t swapped_bytes;
	bool may_read; /* some of that, back into memory */
};

/* Where the next walk goes on: the first guest is 0. */
struct walk_at {
	uint64_t id, address;
};

struct walk_chunk {
	/* Of /proc/PID/mem: a page that process_vm_readv(2) pins is first made its process's own
	 * (mm/gup.c, gup_must_unshare). */
	int mem;
	uint64_t first_page;	 /* address, in pages */
	const uint64_t *entries; /* of pagemap */
	size_t n;		 /* may be made less: there the next walk goes on */
};

struct walk {
	void *ctx;
	/* 1: enough; 0: go on. */
	int (*chunk)(void *ctx, struct walk_chunk *chunk);
	/* Is it to be walked through at all? NULL: all are. */
	bool (*wants)(void *ctx, const struct anchor_guest *guest);
	/* It was, to its end; or with -errno, not at all. */
	void (*done)(void *ctx, const struct anchor_guest *guest, int error);
};

/*
 * From *at on to the last guest (they are sorted by id). 0: there, and *at is the first again; 1:
 * one said that it is enough; -ENOMEM.
 */
int anchor_walk(int rootfd, const struct anchor_guest *guests, size_t n, struct walk_at *at,
		const struct walk *walk);

/* Of pagemap: how many entries, -errno. */
int anchor_walk_entries(int pagemap_fd, uint64_t first_page, uint64_t *entries, size_t n);

#endif
