// SPDX-License-Identifier: Apache-2.0
/*
 * The probe: one question per key, each answered with a value or with the reason why there is
 * none. What depends on the kernel's version names the version that has it.
 */
#include "memd/probe.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/kfile.h"
#include "common/size.h"
#include "memd/cgroup.h"
#include "memd/hugepage.h"
#include "memd/ksm.h"
#include "memd/manager.h"
#include "memd/numa.h"
#include "memd/probe_fact.h"

/* ---- KSM ---- */

static bool ksm_there(const struct probe *probe)
{
	return probe_exists(probe, ksm_knob_path(KSM_RUN));
}

static void probe_ksm(struct probe *probe)
{
	static const char *const words[] = {"stopped", "running", "unmerging"};
	struct fact fact = {.source = "sys/kernel/mm/ksm"};
	struct pol_ksm sense = {0};
	struct ksm *ksm;
	char why[PROBE_REASON_MAX];

	if (ksm_open(probe->rootfd, &ksm) < 0) {
		fact_reason(&fact, "out of memory");
		fact_add(probe, "ksm", &fact);
		return;
	}
	ksm_sense(ksm, &sense);
	if (pol_has(sense.run) && sense.run < ARRAY_SIZE(words))
		fact_text(&fact, words[sense.run]);
	if (!sense.present)
		fact_reason(&fact, "%s", ksm_reason(ksm));
	else if (ksm_owned_elsewhere(probe->rootfd, why, sizeof(why)))
		fact_reason(&fact, "%s", why);
	if (fact.value && pol_has(sense.pages_to_scan) && pol_has(sense.sleep_ms))
		fact_detail(&fact, "pages_to_scan=%" PRIu64 " sleep_millisecs=%" PRIu64,
			    sense.pages_to_scan, sense.sleep_ms);
	ksm_close(ksm);
	fact_add(probe, "ksm", &fact);
}

static void probe_ksm_smart_scan(struct probe *probe)
{
	struct fact fact = {.source = ksm_knob_path(KSM_SMART_SCAN)};
	int on = probe_flag(probe, fact.source);

	if (on >= 0)
		fact_bool(&fact, on);
	else if (!ksm_there(probe))
		fact_reason(&fact, "no KSM");
	else
		fact_reason_since(probe, &fact, "skipping pages that never merge", "6.7");
	fact_add(probe, "ksm_smart_scan", &fact);
}

static void probe_ksm_advisor(struct probe *probe)
{
	struct fact fact = {.source = ksm_knob_path(KSM_ADVISOR_MODE)};
	char mode[32];

	if (probe_word(probe, fact.source, mode, sizeof(mode))) {
		fact_text(&fact, mode);
		if (strcmp(mode, "none") != 0)
			fact_reason(&fact, "the kernel's advisor sets pages_to_scan itself; memd "
					   "switches it off while it manages KSM and puts it back");
	} else if (!ksm_there(probe)) {
		fact_reason(&fact, "no KSM");
	} else {
		fact_reason_since(probe, &fact, "the advisor", "6.8");
	}
	fact_add(probe, "ksm_advisor", &fact);
}

static void probe_ksm_zero_pages(struct probe *probe)
{
	struct fact fact = {.source = ksm_knob_path(KSM_USE_ZERO_PAGES)};
	int on = probe_flag(probe, fact.source);

	if (on >= 0) {
		fact_bool(&fact, on);
		if (!probe_exists(probe, "sys/kernel/mm/ksm/ksm_zero_pages"))
			fact_reason_since(probe, &fact, "counting them (ksm_zero_pages)", "6.6");
	} else if (!ksm_there(probe)) {
		fact_reason(&fact, "no KSM");
	} else {
		fact_reason_since(probe, &fact, "merging into the zero page", "4.12");
	}
	fact_add(probe, "ksm_zero_pages", &fact);
}

static void probe_ksm_profit(struct probe *probe)
{
	struct fact fact = {.source = "sys/kernel/mm/ksm/general_profit"};
	char text[32], *end;
	long long profit;

	if (probe_word(probe, fact.source, text, sizeof(text))) {
		errno = 0;
		profit = strtoll(text, &end, 10);
		if (end != text && !*end && errno == 0) {
			fact_int(&fact, profit);
			fact_detail(&fact, "bytes, what KSM saves less its bookkeeping");
		} else {
			fact_reason(&fact, "the file does not hold a number");
		}
	} else if (!ksm_there(probe)) {
		fact_reason(&fact, "no KSM");
	} else {
		fact_reason_since(probe, &fact, "the kernel's own account", "6.4");
	}
	fact_add(probe, "ksm_general_profit", &fact);
}

static void probe_ksm_process(struct probe *probe)
{
	struct fact fact = {.source = "proc/self/ksm_stat"};
	uint64_t value;
	char text[1024];

	if (kfile_read(probe->rootfd, fact.source, text, sizeof(text)) < 0) {
		fact_bool(&fact, false);
		if (ksm_there(probe))
			fact_reason_since(probe, &fact, "the file", "6.1");
		else
			fact_reason(&fact, "no KSM");
	} else {
		fact_bool(&fact, true);
		if (kfile_field_u64(text, "ksm_zero_pages", &value) < 0)
			fact_reason_since(probe, &fact, "merged zero pages per process", "6.6");
	}
	fact_add(probe, "ksm_process_stat", &fact);
}

/* ---- nodes and pages ---- */

static void probe_nodes(struct probe *probe)
{
	struct fact fact = {.source = "sys/devices/system/node"};
	struct nodes nodes;
	int64_t with_memory = 0;

	if (nodes_read(probe->rootfd, &nodes) < 0) {
		fact_reason(&fact, "neither the nodes nor /proc/meminfo can be read");
		fact_add(probe, "numa_nodes", &fact);
		return;
	}
	for (size_t i = 0; i < nodes.n_nodes; i++) {
		const struct nodes_node *node = &nodes.nodes[i];

		with_memory += node->has_memory;
		fact_detail(&fact, "node %u: %s%s", node->node,
			    !node->has_memory		  ? "no memory"
			    : pol_has(node->memory_bytes) ? SIZE_TEXT(node->memory_bytes)
							  : "memory unknown",
			    node->has_cpu ? "" : ", no processor");
	}
	for (size_t i = 0; nodes.n_nodes > 1 && i < nodes.n_nodes; i++) {
		char row[128] = "";

		for (size_t j = 0; j < nodes.n_nodes; j++)
			if (pol_has(nodes.nodes[i].distance[j]))
				snprintf(row + strlen(row), sizeof(row) - strlen(row), " %" PRIu64,
					 nodes.nodes[i].distance[j]);
		if (row[0])
			fact_detail(&fact, "distances from %u:%s", nodes.nodes[i].node, row);
	}
	fact_int(&fact, with_memory);
	if (nodes.n_left_out)
		fact_reason(&fact, "%zu more nodes are left out: memd looks at the first %d",
			    nodes.n_left_out, POL_NODES_MAX);
	else if (!probe_exists(probe, "sys/devices/system/node/online"))
		fact_reason(&fact,
			    "this kernel is built without CONFIG_NUMA: all memory is one node");
	fact_add(probe, "numa_nodes", &fact);
}

static void probe_balancing(struct probe *probe)
{
	struct fact fact = {.source = NODES_BALANCING_PATH};
	uint64_t value;

	if (kfile_read_u64(probe->rootfd, fact.source, &value) < 0)
		fact_reason(&fact, "the kernel is built without CONFIG_NUMA_BALANCING");
	else
		fact_text(&fact, value == 0 ? "off" : value & 1 ? "on" : "tiering");
	fact_add(probe, "numa_balancing", &fact);
}

static void probe_thp(struct probe *probe, const struct hugepage *hugepage)
{
	struct fact fact = {.source = "sys/kernel/mm/transparent_hugepage/enabled"};

	if (hugepage->thp[0]) {
		fact_text(&fact, hugepage->thp);
		if (!strcmp(hugepage->thp, "never"))
			fact_reason(&fact,
				    "guests with pages=thp get small pages: write madvise to "
				    "the file");
	} else {
		fact_reason(&fact, "the kernel is built without CONFIG_TRANSPARENT_HUGEPAGE");
	}
	if (hugepage->thp_defrag[0])
		fact_detail(&fact, "defrag %s", hugepage->thp_defrag);
	if (pol_has(hugepage->thp_bytes))
		fact_detail(&fact, "of %s", SIZE_TEXT(hugepage->thp_bytes));
	fact_add(probe, "transparent_hugepage", &fact);
}

static void probe_pools(struct probe *probe, const struct hugepage *hugepage)
{
	struct fact fact = {.source = "sys/kernel/mm/hugepages"};
	uint64_t bytes = hugepage_pool_bytes(hugepage);

	for (size_t i = 0; i < hugepage->n_pools; i++) {
		const struct hugepage_pool *pool = &hugepage->pools[i];
		char node[32] = "";

		if (pool->node != HUGEPAGE_ANY_NODE) {
			if (!pool->total)
				continue; /* the host's own line says it */
			snprintf(node, sizeof(node), " on node %u", pool->node);
		}
		if (!pol_has(pool->total) || !pol_has(pool->free))
			fact_detail(&fact, "%s%s: cannot be read", SIZE_TEXT(pool->page_bytes),
				    node);
		else
			fact_detail(&fact, "%s%s: %" PRIu64 " pages, %" PRIu64 " free",
				    SIZE_TEXT(pool->page_bytes), node, pool->total, pool->free);
	}
	if (!hugepage->n_pools) {
		fact_reason(&fact, "the kernel is built without CONFIG_HUGETLBFS");
	} else {
		fact_int(&fact, (int64_t)bytes);
		if (!bytes)
			fact_reason(&fact, "the pools are empty: guests with pages=2M or 1G cannot "
					   "start until nr_hugepages is set");
	}
	fact_add(probe, "huge_page_pools", &fact);
}

/* ---- swap and pressure ---- */

/* "/dev/zram0 partition 1048572 0 100" under a heading (mm/swapfile.c swap_show), sizes in KiB. */
static void probe_swap(struct probe *probe)
{
	struct fact fact = {.source = "proc/swaps"};
	AUTO_FREE char *text = NULL;
	char *save = NULL;
	int64_t total = 0;

	if (kfile_read_all(probe->rootfd, fact.source, &text, NULL) < 0) {
		fact_reason(&fact, "the kernel is built without CONFIG_SWAP");
		fact_add(probe, "swap", &fact);
		return;
	}
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		char name[128], type[32];
		unsigned long long kib, used;
		int priority;

		if (sscanf(line, "%127s %31s %llu %llu %d", name, type, &kib, &used, &priority) !=
			    5 ||
		    kib > INT64_MAX / 1024 - (uint64_t)total / 1024)
			continue;
		total += (int64_t)(kib * KIB);
		fact_detail(&fact, "%s %s, %s used, priority %d", name, SIZE_TEXT(kib * KIB),
			    SIZE_TEXT(used * KIB), priority);
	}
	fact_int(&fact, total);
	if (!total)
		fact_reason(&fact, "no swap device is active: cold guest memory cannot leave RAM");
	fact_add(probe, "swap", &fact);
}

static void probe_zswap(struct probe *probe)
{
	struct fact fact = {.source = "sys/module/zswap/parameters/enabled"};
	int on = probe_flag(probe, fact.source);
	char word[32];

	if (on >= 0)
		fact_text(&fact, on ? "on" : "off");
	else
		fact_reason(&fact, "the kernel is built without CONFIG_ZSWAP");
	if (on >= 0 &&
	    probe_word(probe, "sys/module/zswap/parameters/compressor", word, sizeof(word)))
		fact_detail(&fact, "compressor %s", word);
	fact_add(probe, "zswap", &fact);
}

static void probe_psi(struct probe *probe)
{
	struct fact fact = {.source = "proc/pressure/memory"};
	char text[512];
	int r = kfile_read(probe->rootfd, fact.source, text, sizeof(text));

	if (r >= 0 && strstr(text, "total="))
		fact_text(&fact, "on");
	else if (r == -EOPNOTSUPP)
		fact_reason(&fact, "built in but switched off: boot with psi=1");
	else if (r == -ENOENT)
		fact_reason(&fact, "the kernel is built without CONFIG_PSI, or it is switched off: "
				   "boot with psi=1");
	else
		fact_reason(&fact, "the file cannot be read: %s",
			    r < 0 ? strerror(-r) : "not as documented");
	fact_add(probe, "psi", &fact);
}

/* ---- cgroups and watchers ---- */

static void probe_cgroup(struct probe *probe)
{
	struct fact version = {.source = "proc/self/mountinfo"}, memory = {0};
	struct memcg memcg;

	memcg_read(probe->rootfd, &memcg);
	if (memcg.version != MEMCG_NONE)
		fact_text(&version, memcg_version_name(memcg.version));
	else
		fact_reason(&version, "%s", memcg.reason);
	fact_add(probe, "cgroup_version", &version);

	memory.source = memcg.where[0] ? memcg.where : "proc/self/mountinfo";
	if (!memcg.memory)
		fact_reason(&memory, "%s", memcg.reason);
	else
		fact_text(&memory, memcg.memory_v2 ? "v2" : "v1");
	if (memcg.memory && !memcg.memory_v2)
		fact_reason(&memory,
			    "version 1 has no memory.reclaim and no pressure per group: boot "
			    "with systemd.unified_cgroup_hierarchy=1");
	else if (memcg.memory && !memcg.reclaim)
		fact_reason_since(probe, &memory, "memory.reclaim", "5.19");
	fact_add(probe, "cgroup_memory", &memory);
}

static void probe_managers(struct probe *probe)
{
	struct fact fact = {.source = "proc"};
	struct manager managers[MANAGERS_MAX];
	int n = manager_scan(probe->rootfd, managers, MANAGERS_MAX);
	char names[256] = "";

	for (int i = 0; i < n; i++) {
		snprintf(names + strlen(names), sizeof(names) - strlen(names), "%s%s",
			 names[0] ? " " : "", managers[i].name);
		fact_detail(&fact, "%s (pid %d): %s", managers[i].name, (int)managers[i].pid,
			    managers[i].advice);
		if (managers[i].fields & ~(unsigned int)MANAGER_OOM)
			fact_reason(&fact, "they steer what memd steers: stop one of the two");
	}
	if (n < 0)
		fact_reason(&fact, "processes cannot be listed: %s", strerror(-n));
	else if (n == 0)
		fact_reason(&fact, "none is running");
	else
		fact_text(&fact, names);
	fact_add(probe, "other_managers", &fact);
}

/* ---- all of it ---- */

static void probe_kernel(struct probe *probe)
{
	struct fact fact = {.source = "proc/sys/kernel/osrelease"};

	if (probe_word(probe, fact.source, probe->release, sizeof(probe->release))) {
		fact_text(&fact, probe->release);
	} else {
		snprintf(probe->release, sizeof(probe->release), "an unknown version");
		fact_reason(&fact, "the file cannot be read");
	}
	fact_add(probe, "kernel", &fact);
}

static void probe_all(struct probe *probe)
{
	struct hugepage hugepage;

	probe_kernel(probe);
	probe_kvm(probe);
	probe_ksm(probe);
	probe_ksm_smart_scan(probe);
	probe_ksm_advisor(probe);
	probe_ksm_zero_pages(probe);
	probe_ksm_profit(probe);
	probe_ksm_process(probe);
	probe_nodes(probe);
	probe_balancing(probe);
	hugepage_read(probe->rootfd, &hugepage);
	probe_thp(probe, &hugepage);
	probe_pools(probe, &hugepage);
	probe_swap(probe);
	probe_zswap(probe);
	probe_psi(probe);
	probe_cgroup(probe);
	probe_idle(probe);
	probe_managers(probe);
}

int probe_run(const char *sysroot, json_object **ret_facts)
{
	AUTO_FD int rootfd = kfile_open_root(sysroot);
	struct probe probe = {.rootfd = rootfd};
	json_object *doc;

	if (rootfd < 0)
		return rootfd;
	doc = json_object_new_object();
	probe.facts = json_object_new_array();
	if (!doc || !probe.facts) {
		json_object_put(doc);
		json_object_put(probe.facts);
		return -ENOMEM;
	}
	json_object_object_add(doc, "schema", json_object_new_int(1));
	json_object_object_add(doc, "facts", probe.facts);
	probe_all(&probe);
	*ret_facts = doc;
	return 0;
}

json_object *probe_value(json_object *doc, const char *key)
{
	json_object *facts, *value;

	if (!json_object_object_get_ex(doc, "facts", &facts))
		return NULL;
	for (size_t i = 0; i < json_object_array_length(facts); i++) {
		json_object *fact = json_object_array_get_idx(facts, i), *name;

		if (json_object_object_get_ex(fact, "key", &name) &&
		    !strcmp(json_object_get_string(name), key))
			return json_object_object_get_ex(fact, "value", &value) ? value : NULL;
	}
	return NULL;
}

const char *probe_text(json_object *doc, const char *key)
{
	json_object *value = probe_value(doc, key);

	return json_object_is_type(value, json_type_string) ? json_object_get_string(value) : NULL;
}
