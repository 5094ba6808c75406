/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Merged pages that many guests share are kept in memory. The kernel swaps such a page once for all
 * who map it, and each of them then reads back a copy of its own: a host that swaps loses what KSM
 * had won. So a copy of each goes to locked, mergeable memory of ours, ksmd merges it with what
 * guests map, and a page that a locked mapping has is not swapped. That costs what is shared
 * anyway; a page that too few still share is let go. What guests have in swap that equals what is
 * held is read back (memd/anchor_back.h).
 *
 * What guests' memory contains is not changed; it is read on a thread of its own. Needs
 * CAP_SYS_ADMIN (frames), CAP_SYS_PTRACE (guests' memory) and CAP_IPC_LOCK. The caller sees to it
 * that all are of one trust domain. Source: mm/vmscan.c (folio_referenced, VM_LOCKED), mm/ksm.c,
 * mlock2(2), Documentation/admin-guide/mm/pagemap.rst.
 */
#ifndef MEMD_ANCHOR_H
#define MEMD_ANCHOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "memd/anchor_walk.h"

struct anchor;

struct anchor_result {
	int error;	       /* it cannot be done: -EPERM, -ENOMEM (locked memory), -errno */
	uint64_t held_bytes;   /* merged with what guests map, and locked */
	uint64_t shared_bytes; /* what others map of that */
	/* Totals, read back from swap: what equals what is held, and all that was read for it. */
	uint64_t back_bytes, read_bytes;
	uint64_t back_us; /* total, the time that this took */
	bool quiet; /* there was nothing to add, in this look and the last round, or no room */
};

struct anchor_bounds {
	uint64_t most_bytes; /* to be held; not 0, and counts until all is let go */
	uint64_t new_bytes;  /* of copies may wait for ksmd, 16 MiB in any case */
	uint64_t back_bytes; /* may be read back from swap now; 0: nothing */
	uint64_t full_scans; /* that ksmd has done so far */
};

/* rootfd must outlive it. -ENOMEM, -errno of eventfd(2), pthread. */
int anchor_open(int rootfd, struct anchor **ret_anchor);
/* Ends a look under way, and holds nothing any more. NULL is fine. */
void anchor_close(struct anchor *anchor);

/* Readable when a result waits. */
int anchor_fd(const struct anchor *anchor);

/*
 * Look at what is held, and on at what these guests (sorted by id) map, where the last look ended.
 * When that brings nothing new, pages of theirs that equal what is held are read back from swap.
 * -EBUSY: at it, or resting (it works a tenth of the time); -ENOMEM.
 */
bool anchor_may_start(struct anchor *anchor);
int anchor_start(struct anchor *anchor, const struct anchor_guest *guests, size_t n,
		 const struct anchor_bounds *bounds);

/* Of guest id, what was read back since the last time this was asked. Not while a look is under
 * way. */
uint64_t anchor_read_of(struct anchor *anchor, uint64_t id);

/* Hold nothing any more, now. False: a look is under way and was told to end: ask again. */
bool anchor_let_go(struct anchor *anchor);

/* Take the result. 0, or -EAGAIN when there is none: *ret_result stays as it was. */
int anchor_take(struct anchor *anchor, struct anchor_result *ret_result);

#endif
