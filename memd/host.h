/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host's numbers, once a tick: memory, swap, pressure, nodes and KSM into a struct pol_host.
 * Files are opened once and read by pread(2); nothing is allocated while the set of nodes stays.
 */
#ifndef MEMD_HOST_H
#define MEMD_HOST_H

#include <stdint.h>

#include "policy/policy.h"

struct host;
struct ksm;
struct swap_state;

/*
 * sysroot: "/" or the directory of a captured tree that holds proc/ and sys/.
 * -ENOENT: there is no /proc/meminfo below it; -errno of open(2); -ENOMEM.
 */
int host_open(const char *sysroot, struct host **ret_host);
void host_close(struct host *host); /* NULL is fine */

/* The root as an fd for kfile_*(), footprint_*(), undo_restore(). Lives as long as host. */
int host_rootfd(const struct host *host);

/* The KSM sense that host_sense() uses. Lives as long as host. */
struct ksm *host_ksm(struct host *host);

/* Its swap, as of the last host_sense(). Lives as long as host. */
const struct swap_state *host_swap(const struct host *host);

/* How often host_sense() has found the set of nodes with memory, or of processors, to be another
 * than before; the first time counts. */
uint64_t host_node_changes(const struct host *host);

/* "total=" of the line of `text`, of a pressure file, that begins with kind ("some ", "full ");
 * POL_ABSENT: there is none. */
uint64_t host_psi_total(const char *text, const char *kind);

/* Bytes of a base page (sysconf). KSM counters are in these. */
uint64_t host_page_bytes(void);

/*
 * Everything of *ret_host except guests, n_guests and ksm.mergeable_any, which are left as they
 * are: the registry knows them. What the kernel does not tell is POL_ABSENT.
 *   memory_bytes: MemTotal less every huge-page pool (meminfo "Hugetlb", else HugePages_Total)
 *   swap: meminfo SwapTotal/SwapFree (the sum of /proc/swaps); in/out: vmstat pswpin/pswpout
 *   psi: "total=" of /proc/pressure/memory; absent when PSI is off (the file then reads ENOTSUP)
 *   nodes: those with memory, by number, MemTotal and MemFree of the node (pools included);
 *     processors and distances as of when the set of nodes or of processors changed last; pools
 *     are left out
 *   numa_balancing: of /proc/sys/kernel
 * 0; -EIO: /proc/meminfo has no MemTotal or MemFree; -errno of read(2).
 */
int host_sense(struct host *host, struct pol_host *ret_host);

#endif
