/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What this host can do, asked once: processor, KVM and its second-level paging, KSM, NUMA, huge
 * pages, swap, pressure, cgroups, and who else manages memory. An absent thing is an answer with
 * a reason, never an error. Links into memctl too, so that it can look without a daemon.
 */
#ifndef MEMD_PROBE_H
#define MEMD_PROBE_H

#include <json-c/json.h>

/*
 * The query-probe document, for the caller to put:
 *   {"schema":1,"facts":[{"key","value","reason","source","detail"},...]}
 * value: string, integer or boolean; null when absent, and then reason says why in an operator's
 * words. reason may stand beside a value too (second_level_paging "none"). detail is more text for
 * a person ("node 0: 4.0 GiB; node 1: 4.0 GiB") or null. source: the file it was read from.
 * Keys in their order: kernel cpu_vendor kvm second_level_paging second_level_page_sizes
 * second_level_large_pages nested ksm ksm_smart_scan ksm_advisor ksm_zero_pages ksm_general_profit
 * ksm_process_stat numa_nodes numa_balancing transparent_hugepage huge_page_pools swap zswap psi
 * cgroup_version cgroup_memory damon mglru idle_page_tracking other_managers.
 * -errno of opening sysroot; -ENOMEM.
 */
int probe_run(const char *sysroot, json_object **ret_facts);

/* The value of one fact; NULL: null or no such key. Belongs to doc. */
json_object *probe_value(json_object *doc, const char *key);

/* The same as text, NULL when it is absent or no string: probe_text(doc, "second_level_paging"). */
const char *probe_text(json_object *doc, const char *key);

#endif
