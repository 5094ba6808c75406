// SPDX-License-Identifier: Apache-2.0
/*
 * The host's hugetlb pools as guest RAM sees them: are there enough free pages on the nodes that it
 * is bound to, and if not, what would have to be typed. Numbers are from sysfs and only advise;
 * whether the pages are really ours is decided by populating.
 */
#include "vmm/ram_impl.h"

#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <hugetlbfs.h> /* wants stddef.h before it */
#include <stdio.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/kfile.h"
#include "common/log.h"

struct pool {
	uint64_t total, free, reserved, surplus, overcommit;
};

static uint64_t read_or_zero(int root, const char *dir, const char *name)
{
	char path[160];
	uint64_t value = 0;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	(void)kfile_read_u64(root, path, &value);
	return value;
}

static void pool_dir(uint64_t page_bytes, int host_node, char *buf, size_t n)
{
	if (host_node < 0)
		snprintf(buf, n, "sys/kernel/mm/hugepages/hugepages-%" PRIu64 "kB",
			 page_bytes / 1024);
	else
		snprintf(buf, n, "sys/devices/system/node/node%d/hugepages/hugepages-%" PRIu64 "kB",
			 host_node, page_bytes / 1024);
}

/* host_node -1: the whole host. -ENOENT: there is no such pool. */
static int read_pool(int root, uint64_t page_bytes, int host_node, struct pool *ret_pool)
{
	char dir[128], path[160];
	uint64_t total;

	pool_dir(page_bytes, host_node, dir, sizeof(dir));
	snprintf(path, sizeof(path), "%s/nr_hugepages", dir);
	if (kfile_read_u64(root, path, &total) < 0)
		return -ENOENT;
	*ret_pool = (struct pool){
		.total = total,
		.free = read_or_zero(root, dir, "free_hugepages"),
		.reserved = read_or_zero(root, dir, "resv_hugepages"),
		.surplus = read_or_zero(root, dir, "surplus_hugepages"),
		.overcommit = read_or_zero(root, dir, "nr_overcommit_hugepages"),
	};
	return 0;
}

static uint64_t minus(uint64_t a, uint64_t b)
{
	return a > b ? a - b : 0;
}

/*
 * Pages this configuration can count on. Reservations and overcommit exist for the whole host only.
 * *ret_first: the first of its nodes, where more would help; -1 when it may use any node.
 */
static uint64_t pages_free(int root, const struct ram_config *config, const struct pool *host,
			   uint64_t page_bytes, int *ret_first)
{
	uint64_t extra = minus(host->overcommit, host->surplus);
	uint64_t anywhere = minus(host->free, host->reserved) + extra, bound = extra;
	int first = -1;

	if (config->policy != RAM_POLICY_BIND) {
		*ret_first = -1;
		return anywhere;
	}
	for (int i = 0; i < RAM_HOST_NODES; i++) {
		struct pool pool;

		if (!bit_get(config->host_nodes, (uint64_t)i))
			continue;
		if (first < 0)
			first = i;
		if (read_pool(root, page_bytes, i, &pool) == 0)
			bound += pool.free;
	}
	*ret_first = first;
	return bound < anywhere ? bound : anywhere;
}

static void log_shortage(int root, const struct ram_config *config, const char *of,
			 unsigned int index, uint64_t wanted, uint64_t free, int first)
{
	uint64_t page_bytes = ram_pages_bytes(config->pages);
	struct pool pool = {0};
	char dir[128], list[256], where[300] = "this host";

	(void)read_pool(root, page_bytes, first, &pool);
	pool_dir(page_bytes, first, dir, sizeof(dir));
	if (first >= 0)
		snprintf(where, sizeof(where), "host node %s",
			 kfile_list_format(config->host_nodes, RAM_HOST_NODES, list, sizeof(list)));
	if (free >= wanted) {
		log_err("memory %s %u: the %s huge page pool of %s did not give %" PRIu64 " pages "
			"although %" PRIu64
			" are free: is there a hugetlb limit on this cgroup, or "
			"was another guest faster?",
			of, index, ram_pages_name(config->pages), where, wanted, free);
		return;
	}
	log_err("memory %s %u: the %s huge page pool of %s is too small: %" PRIu64 " pages wanted, "
		"%" PRIu64 " free; enlarge it with: echo %" PRIu64 " > /%s/nr_hugepages%s",
		of, index, ram_pages_name(config->pages), where, wanted, free,
		pool.total + (wanted - free), dir,
		config->pages == RAM_PAGES_1G ? " (or boot the host with hugepagesz=1G "
						"hugepages=N: a running host rarely "
						"finds free GiB)"
					      : "");
}

/* The sizes of the host's pools: "2M, 1G". */
static const char *name_sizes(char *buf, size_t n)
{
	long sizes[16];
	int count = gethugepagesizes(sizes, ARRAY_SIZE(sizes));
	size_t at = 0;

	snprintf(buf, n, "none");
	for (int i = 0; i < count && at < n; i++) {
		bool is_gib = sizes[i] % (1L << 30) == 0;

		at += (size_t)snprintf(buf + at, n - at, "%s%ld%c", i ? ", " : "",
				       sizes[i] >> (is_gib ? 30 : 20), is_gib ? 'G' : 'M');
	}
	return buf;
}

static int check(const struct ram_config *config, const char *of, unsigned int index,
		 uint64_t wanted, bool is_short_anyway)
{
	AUTO_FD int root = kfile_open_root("/");
	uint64_t page_bytes = ram_pages_bytes(config->pages), free;
	struct pool host;
	int first;

	if (root < 0)
		return 0; /* populating will tell */
	if (read_pool(root, page_bytes, -1, &host) < 0) {
		char sizes[128];

		log_err("memory %s %u: pages=%s: this host has no huge pages of that size; it "
			"has: %s",
			of, index, ram_pages_name(config->pages), name_sizes(sizes, sizeof(sizes)));
		return -EOPNOTSUPP;
	}
	free = pages_free(root, config, &host, page_bytes, &first);
	if (free >= wanted && !is_short_anyway)
		return 0;
	log_shortage(root, config, of, index, wanted, free, first);
	return -ENOMEM;
}

bool ram_pool_lacks(const struct ram_config *config, uint64_t pages)
{
	AUTO_FD int root = kfile_open_root("/");
	uint64_t page_bytes = ram_pages_bytes(config->pages);
	struct pool host;
	int first;

	/* What cannot be read, or is not there, no wait brings. */
	return root >= 0 && read_pool(root, page_bytes, -1, &host) == 0 &&
	       pages_free(root, config, &host, page_bytes, &first) < pages;
}

int ram_pool_check(const struct ram_config *config, const char *of, unsigned int index,
		   uint64_t pages)
{
	return check(config, of, index, pages, false);
}

void ram_pool_log_shortage(const struct ram_config *config, unsigned int node, uint64_t pages)
{
	(void)check(config, "node", node, pages, true);
}
