/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The multi-generational LRU's view of a memory cgroup: how much of its anonymous memory was
 * touched when. Only read: the kernel ages memory when it is short of it, and what an aging asked
 * for costs grows with the guests' page tables. Source:
 * Documentation/admin-guide/mm/multigen_lru.rst (debugfs interface), mm/vmscan.c lru_gen_seq_show.
 */
#ifndef MEMD_LRU_GEN_H
#define MEMD_LRU_GEN_H

#include <stdbool.h>
#include <stdint.h>

#define LRU_GEN_FILE "sys/kernel/debug/lru_gen"

struct lru_gen_look {
	uint64_t hot_bytes; /* touched within */
	uint64_t window_us; /* so long, */
	uint64_t age_us;    /* before the last aging, so long ago, or new since */
};

/*
 * Of the cgroup at `path`, "/" is the root of its hierarchy, from the file's text; over all nodes.
 * Memory untouched for least_us or longer is not hot. -ENOENT: no such cgroup; -EAGAIN: nothing was
 * aged for so long that it can be told; -EINVAL: not as documented.
 */
int lru_gen_find(const char *text, const char *path, uint64_t least_us,
		 struct lru_gen_look *ret_look);

/*
 * NULL: it is on and can be read; else why not, static text.
 */
const char *lru_gen_why_not(int rootfd);

/*
 * Does this kernel's aging see what guests under KVM touch? (Since 6.12 it looks at second-level
 * tables, mm/vmscan.c ptep_clear_young_notify; before that such memory looks idle.)
 */
bool lru_gen_sees_kvm(int rootfd);

#endif
