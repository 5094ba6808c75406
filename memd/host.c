// SPDX-License-Identifier: Apache-2.0
/*
 * One snapshot of the host per tick, from files kept open. The set of nodes with memory and that of
 * processors are read each time too (both can be plugged and unplugged); only when one changes are
 * the nodes' files opened anew.
 */
#include "memd/host.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/kfile.h"
#include "memd/kept.h"
#include "memd/ksm.h"
#include "memd/numa.h"
#include "memd/swap.h"

#define NODE_DIR "sys/devices/system/node/"

struct host {
	int rootfd;
	int meminfo_fd, vmstat_fd, psi_fd;
	struct ksm *ksm;
	struct swap *swap;

	int node_list_fd, cpu_list_fd;
	char node_list[256]; /* has_memory as it was when the node files were opened */
	char cpu_list[512];  /* and which processors were online, as far as that goes */
	uint64_t node_changes;
	size_t n_nodes;
	uint32_t node[POL_NODES_MAX];
	int node_fd[POL_NODES_MAX];
	struct pol_node node_facts[POL_NODES_MAX]; /* processors and distances, as of then */
	uint64_t whole_cpus;			   /* of a host that tells of no nodes */
	int balancing_fd;

	char text[16384];
};

uint64_t host_page_bytes(void)
{
	static uint64_t bytes;

	if (!bytes)
		bytes = (uint64_t)sysconf(_SC_PAGESIZE);
	return bytes;
}

int host_rootfd(const struct host *host)
{
	return host->rootfd;
}

struct ksm *host_ksm(struct host *host)
{
	return host->ksm;
}

const struct swap_state *host_swap(const struct host *host)
{
	return swap_state(host->swap);
}

static void nodes_close(struct host *host)
{
	for (size_t i = 0; i < host->n_nodes; i++)
		cleanup_fd(&host->node_fd[i]);
	host->n_nodes = 0;
}

/* What does not change while the set of nodes stays: distances by number, processors. */
static void facts_read(struct host *host)
{
	struct nodes nodes;

	memset(host->node_facts, 0, sizeof(host->node_facts));
	host->whole_cpus = 0;
	if (nodes_read(host->rootfd, &nodes) < 0)
		return;
	if (nodes.no_numa && pol_has(nodes.nodes[0].cpus))
		host->whole_cpus = nodes.nodes[0].cpus;
	for (size_t i = 0; i < host->n_nodes; i++) {
		struct pol_node *facts = &host->node_facts[i];

		for (size_t k = 0; k < nodes.n_nodes; k++) {
			const struct nodes_node *node = &nodes.nodes[k];

			if (node->node != host->node[i])
				continue;
			facts->cpus = pol_has(node->cpus) ? node->cpus : 0;
			for (size_t j = 0; j < nodes.n_nodes; j++)
				if (nodes.nodes[j].node < POL_PLACE_NODES)
					facts->distance[nodes.nodes[j].node] = node->distance[j];
		}
	}
}

/* Open meminfo of each node of the list; one that is not there counts as unknown, not as none. */
static void nodes_open(struct host *host, const char *list)
{
	uint64_t words[16] = {0};

	nodes_close(host);
	snprintf(host->node_list, sizeof(host->node_list), "%s", list);
	if (kfile_list_parse(list, words, 64 * ARRAY_SIZE(words)) < 0)
		return;
	for (uint32_t n = 0; n < 64 * ARRAY_SIZE(words) && host->n_nodes < POL_NODES_MAX; n++) {
		char path[96];

		if (!(words[n / 64] & (1ULL << (n % 64))))
			continue;
		snprintf(path, sizeof(path), NODE_DIR "node%u/meminfo", n);
		host->node[host->n_nodes] = n;
		host->node_fd[host->n_nodes++] = kept_open(host->rootfd, path);
	}
}

int host_open(const char *sysroot, struct host **ret_host)
{
	struct host *host = calloc(1, sizeof(*host));
	int r;

	if (!host)
		return -ENOMEM;
	host->meminfo_fd = host->vmstat_fd = host->psi_fd = host->node_list_fd = -1;
	host->cpu_list_fd = -1;
	host->balancing_fd = -1;
	host->rootfd = r = kfile_open_root(sysroot);
	if (r < 0)
		goto fail;
	host->meminfo_fd = r = kept_open(host->rootfd, "proc/meminfo");
	if (r < 0)
		goto fail;
	r = ksm_open(host->rootfd, &host->ksm);
	if (r == 0)
		r = swap_open(host->rootfd, &host->swap);
	if (r < 0)
		goto fail;
	host->vmstat_fd = kept_open(host->rootfd, "proc/vmstat");
	host->psi_fd = kept_open(host->rootfd, "proc/pressure/memory");
	host->node_list_fd = kept_open(host->rootfd, NODE_DIR "has_memory");
	host->cpu_list_fd = kept_open(host->rootfd, "sys/devices/system/cpu/online");
	host->balancing_fd = kept_open(host->rootfd, NODES_BALANCING_PATH);
	*ret_host = host;
	return 0;
fail:
	host_close(host);
	return r;
}

void host_close(struct host *host)
{
	if (!host)
		return;
	nodes_close(host);
	ksm_close(host->ksm);
	swap_close(host->swap);
	cleanup_fd(&host->balancing_fd);
	cleanup_fd(&host->cpu_list_fd);
	cleanup_fd(&host->node_list_fd);
	cleanup_fd(&host->psi_fd);
	cleanup_fd(&host->vmstat_fd);
	cleanup_fd(&host->meminfo_fd);
	cleanup_fd(&host->rootfd);
	free(host);
}

static uint64_t field(const char *text, const char *key)
{
	uint64_t value;

	return kfile_field_u64(text, key, &value) == 0 ? value : POL_ABSENT;
}

/* What the huge-page pools hold back, whether used or not. */
static uint64_t pool_bytes(const char *meminfo)
{
	uint64_t all = field(meminfo, "Hugetlb"), count, size; /* Hugetlb: 4.18+, every size */

	if (pol_has(all))
		return all;
	count = field(meminfo, "HugePages_Total");
	size = field(meminfo, "Hugepagesize");
	return pol_has(count) && pol_has(size) ? count * size : 0;
}

static int sense_memory(struct host *host, struct pol_host *out)
{
	int r = kept_read(host->meminfo_fd, host->text, sizeof(host->text));
	uint64_t pools;

	if (r < 0 && r != -E2BIG)
		return r;
	out->memory_bytes = field(host->text, "MemTotal");
	out->free_bytes = field(host->text, "MemFree");
	if (!pol_has(out->memory_bytes) || !pol_has(out->free_bytes))
		return -EIO;
	out->available_bytes = field(host->text, "MemAvailable");
	if (!pol_has(out->available_bytes)) /* a tree that lacks it: the cautious side */
		out->available_bytes = out->free_bytes;
	pools = pool_bytes(host->text);
	if (pools < out->memory_bytes)
		out->memory_bytes -= pools;
	out->swap_bytes = field(host->text, "SwapTotal");
	out->swap_free_bytes = field(host->text, "SwapFree");
	swap_sense(host->swap, host->text, out);
	return 0;
}

static uint64_t pages_to_bytes(uint64_t pages)
{
	return pol_has(pages) ? pages * host_page_bytes() : POL_ABSENT;
}

/* "some avg10=0.00 avg60=0.00 avg300=0.00 total=12345" */
uint64_t host_psi_total(const char *text, const char *kind)
{
	const char *line = strstr(text, kind), *total;
	uint64_t value;
	char number[32];
	size_t len;

	if (!line || (line != text && line[-1] != '\n'))
		return POL_ABSENT;
	total = strstr(line, "total=");
	if (!total || memchr(line, '\n', (size_t)(total - line)))
		return POL_ABSENT;
	total += strlen("total=");
	len = strcspn(total, "\n");
	if (len >= sizeof(number))
		return POL_ABSENT;
	memcpy(number, total, len);
	number[len] = '\0';
	return kept_parse_u64(number, &value) == 0 ? value : POL_ABSENT;
}

static void sense_pressure(struct host *host, struct pol_host *out)
{
	char text[512];
	int r = kept_read(host->psi_fd, text, sizeof(text));

	out->psi_some_us = r < 0 ? POL_ABSENT : host_psi_total(text, "some ");
	out->psi_full_us = r < 0 ? POL_ABSENT : host_psi_total(text, "full ");
}

uint64_t host_node_changes(const struct host *host)
{
	return host->node_changes;
}

/* Has either list changed? Then everything about nodes is read anew. */
static void follow_lists(struct host *host, const char *nodes)
{
	char cpus[sizeof(host->cpu_list)];
	int r = kept_read(host->cpu_list_fd, cpus, sizeof(cpus));

	if (r < 0 && r != -E2BIG)
		cpus[0] = '\0';
	if (strcmp(nodes, host->node_list) == 0 && strcmp(cpus, host->cpu_list) == 0)
		return;
	memcpy(host->cpu_list, cpus, sizeof(cpus));
	nodes_open(host, nodes);
	facts_read(host);
	host->node_changes++;
}

/* Of files, of the whole host. */
static uint64_t read_cache(struct host *host)
{
	int r = kept_read(host->meminfo_fd, host->text, sizeof(host->text));
	uint64_t active, inactive;

	if (r < 0 && r != -E2BIG)
		return POL_ABSENT;
	active = field(host->text, "Active(file)");
	inactive = field(host->text, "Inactive(file)");
	return pol_has(active) && pol_has(inactive) ? active + inactive : POL_ABSENT;
}

static void sense_nodes(struct host *host, struct pol_host *out)
{
	char list[sizeof(host->node_list)];

	out->n_nodes = 0;
	if (kept_read_u64(host->balancing_fd, &out->numa_balancing) < 0)
		out->numa_balancing = POL_ABSENT;
	if (kept_read(host->node_list_fd, list, sizeof(list)) < 0) {
		/* no CONFIG_NUMA: all memory is node 0 */
		follow_lists(host, "");
		out->nodes[out->n_nodes++] = (struct pol_node){.node = 0,
							       .memory_bytes = out->memory_bytes,
							       .free_bytes = out->free_bytes,
							       .cache_bytes = read_cache(host),
							       .cpus = host->whole_cpus,
							       .pool_2m_bytes = POL_ABSENT,
							       .pool_1g_bytes = POL_ABSENT};
		return;
	}
	follow_lists(host, list);
	for (size_t i = 0; i < host->n_nodes; i++) {
		struct pol_node *node = &out->nodes[out->n_nodes++];
		uint64_t active, inactive;

		*node = host->node_facts[i];
		node->node = host->node[i];
		node->pool_2m_bytes = node->pool_1g_bytes = POL_ABSENT;
		node->memory_bytes = node->free_bytes = node->cache_bytes = POL_ABSENT;
		if (kept_read(host->node_fd[i], host->text, sizeof(host->text)) < 0)
			continue;
		nodes_field_u64(host->text, "MemTotal", &node->memory_bytes);
		nodes_field_u64(host->text, "MemFree", &node->free_bytes);
		if (nodes_field_u64(host->text, "Active(file)", &active) == 0 &&
		    nodes_field_u64(host->text, "Inactive(file)", &inactive) == 0)
			node->cache_bytes = active + inactive;
	}
}

int host_sense(struct host *host, struct pol_host *ret_host)
{
	struct pol_host out = *ret_host; /* keeps guests and mergeable_any */
	const char *vmstat;
	int r = sense_memory(host, &out);

	if (r < 0)
		return r;
	sense_pressure(host, &out);
	sense_nodes(host, &out);
	/* last: ksm_sense_vmstat() wants the text too */
	r = kept_read(host->vmstat_fd, host->text, sizeof(host->text));
	vmstat = r < 0 && r != -E2BIG ? NULL : host->text;
	out.swap_in_bytes = pages_to_bytes(vmstat ? field(vmstat, "pswpin") : POL_ABSENT);
	out.swap_out_bytes = pages_to_bytes(vmstat ? field(vmstat, "pswpout") : POL_ABSENT);
	swap_follow(host->swap, clock_now_us(), &out);
	ksm_sense_vmstat(host->ksm, vmstat, &out.ksm);
	*ret_host = out;
	return 0;
}
