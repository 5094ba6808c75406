/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lines of /proc/PID/smaps and /proc/PID/maps: what begins a mapping, and its flags. Other keys'
 * numbers are kfile_field_u64()'s.
 * Source: proc_pid_smaps(5), Documentation/filesystems/proc.rst, fs/proc/task_mmu.c.
 */
#ifndef MEMD_SMAPS_H
#define MEMD_SMAPS_H

#include <stdbool.h>
#include <stdint.h>

struct smaps_mapping {
	uint64_t start, end; /* addresses; start <= end */
	bool readable, writable, exec, shared;
	bool file;	  /* it has an inode; memfd's and System V's memory have one too */
	const char *name; /* in the line and to its end, blanks and all: "", "[heap]", a path */
};

/* Of VmFlags, those that somebody asks for; the last ones make KSM refuse a mapping. */
enum {
	SMAPS_MERGEABLE = 1 << 0, /* mg */
	SMAPS_HUGETLB = 1 << 1,	  /* ht */
	SMAPS_SHARED = 1 << 2,	  /* sh */
	SMAPS_IO = 1 << 3,	  /* io: a device's registers */
	SMAPS_PFN = 1 << 4,	  /* pf: pages that the kernel does not manage */
	SMAPS_FIXED = 1 << 5,	  /* de: not to be expanded */
	SMAPS_MIXED = 1 << 6,	  /* mm: both kinds of pages */
};

/*
 * "7f00-7f80 rw-p 00000000 00:00 0      [name] or /path": 1; 0: a key's line; -EINVAL: neither.
 * Only with 1 is the mapping set.
 */
int smaps_header(const char *line, struct smaps_mapping *ret_mapping);

/*
 * Each mapping of an smaps text with its resident bytes, in order, until fn returns something else
 * than 0, which is the result. A TiB and more with next to nothing in it is an address range kept
 * free, not memory, and is left out: to look at each of its pages would take hours. The text is cut
 * into lines in place.
 */
typedef int (*smaps_fn)(void *ctx, const struct smaps_mapping *map, uint64_t resident);
int smaps_each(char *smaps, smaps_fn fn, void *ctx);

/*
 * Could it be guest RAM that the kernel swaps, page by page: private, and not small as stacks and
 * heaps are?
 */
bool smaps_is_private_ram(const struct smaps_mapping *map);

/* "VmFlags: rd wr mr mg": the bits of those above. False: another line. */
bool smaps_flags(const char *line, unsigned int *ret_flags);

#endif
