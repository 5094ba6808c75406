// SPDX-License-Identifier: Apache-2.0
/*
 * Filling guest RAM with host memory ahead of time: in slices, by threads on the processors of the
 * host nodes that it is bound to. What takes long says how far it is; SIGINT and SIGTERM end it,
 * for they still have their default action when the first filling is done, and the kernel leaves
 * MADV_POPULATE_WRITE for them.
 */
#include "vmm/ram_impl.h"

#include <errno.h>
#include <inttypes.h>
#include <numa.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/kfile.h"
#include "common/log.h"
#include "common/size.h"

#define SLICE_BYTES  (32 * MIB)
#define THREADS_MAX  16
#define THREAD_BYTES (256 * MIB) /* a thread for less does not pay */
#define PROGRESS_US  (2 * USEC_PER_SEC)

struct fill {
	uint8_t *hva;
	uint64_t len, slice;
	int (*work)(uint8_t *hva, uint64_t len);
	const cpu_set_t *cpus; /* NULL: where the scheduler likes */
	_Atomic uint64_t next, done;
	_Atomic int error;
};

int ram_populate_slice(uint8_t *hva, uint64_t len)
{
	while (madvise(hva, len, MADV_POPULATE_WRITE) < 0)
		if (errno != EINTR && errno != EAGAIN)
			return -errno;
	return 0;
}

static int zero_slice(uint8_t *hva, uint64_t len)
{
	memset(hva, 0, len);
	return 0;
}

static bool fill_one(struct fill *fill)
{
	uint64_t at = atomic_fetch_add(&fill->next, fill->slice);
	uint64_t n;
	int r;

	if (at >= fill->len || atomic_load(&fill->error))
		return false;
	n = fill->len - at < fill->slice ? fill->len - at : fill->slice;
	r = fill->work(fill->hva + at, n);
	if (r < 0)
		atomic_store(&fill->error, r);
	else
		atomic_fetch_add(&fill->done, n);
	return r == 0;
}

static void *fill_thread(void *arg)
{
	struct fill *fill = arg;

	/* Best effort: the binding decides where the pages are, this only how near the work is. */
	if (fill->cpus)
		(void)sched_setaffinity(0, sizeof(*fill->cpus), fill->cpus);
	while (fill_one(fill))
		;
	return NULL;
}

static unsigned int count_threads(const struct fill *fill)
{
	uint64_t want = fill->len / THREAD_BYTES;
	cpu_set_t cpus;

	if (fill->cpus)
		cpus = *fill->cpus;
	else if (sched_getaffinity(0, sizeof(cpus), &cpus) < 0)
		return 1;
	if (want > THREADS_MAX)
		want = THREADS_MAX;
	if (want > (uint64_t)CPU_COUNT(&cpus))
		want = (uint64_t)CPU_COUNT(&cpus);
	return want ? (unsigned int)want : 1;
}

static void tell_progress(const struct fill *fill, const char *what, uint64_t *told_us)
{
	if (!what || clock_now_us() - *told_us < PROGRESS_US)
		return;
	*told_us = clock_now_us();
	log_info("%s: %s of %s ready", what, SIZE_TEXT(atomic_load(&fill->done)),
		 SIZE_TEXT(fill->len));
}

/* The caller's thread works too, and is the one that reports; it is not moved for good. */
static int fill_range(struct fill *fill, const char *what)
{
	pthread_t threads[THREADS_MAX];
	unsigned int want = count_threads(fill) - 1, n = 0;
	uint64_t told_us = clock_now_us();
	cpu_set_t before;
	bool is_moved = fill->cpus && sched_getaffinity(0, sizeof(before), &before) == 0 &&
			sched_setaffinity(0, sizeof(*fill->cpus), fill->cpus) == 0;

	while (n < want && pthread_create(&threads[n], NULL, fill_thread, fill) == 0)
		n++;
	while (fill_one(fill))
		tell_progress(fill, what, &told_us);
	while (n > 0)
		pthread_join(threads[--n], NULL);
	if (is_moved)
		(void)sched_setaffinity(0, sizeof(before), &before);
	return atomic_load(&fill->error);
}

/* The processors of the nodes that config is bound to, as far as we may use them. False: none. */
static bool find_cpus(const struct ram_config *config, cpu_set_t *ret_cpus)
{
	struct bitmask *node_cpus;
	cpu_set_t cpus, allowed;

	if (!config || !ram_config_is_bound(config) || numa_available() < 0 ||
	    sched_getaffinity(0, sizeof(allowed), &allowed) < 0)
		return false;
	node_cpus = numa_allocate_cpumask();
	if (!node_cpus)
		return false;
	CPU_ZERO(&cpus);
	for (int node = 0; node <= numa_max_node() && node < RAM_HOST_NODES; node++) {
		if (!bit_get(config->host_nodes, (uint64_t)node) ||
		    numa_node_to_cpus(node, node_cpus) < 0)
			continue;
		for (unsigned int cpu = 0; cpu < CPU_SETSIZE && cpu < node_cpus->size; cpu++)
			if (numa_bitmask_isbitset(node_cpus, cpu))
				CPU_SET(cpu, &cpus);
	}
	numa_free_cpumask(node_cpus);
	CPU_AND(&cpus, &cpus, &allowed);
	if (CPU_COUNT(&cpus) == 0)
		return false; /* a node of memory alone */
	*ret_cpus = cpus;
	return true;
}

int ram_populate(const struct ram_config *config, uint8_t *hva, uint64_t len, uint64_t page_bytes,
		 const char *what)
{
	cpu_set_t cpus;
	struct fill fill = {
		.hva = hva,
		.len = len,
		.slice = page_bytes > SLICE_BYTES ? page_bytes : SLICE_BYTES,
		.work = ram_populate_slice,
		.cpus = find_cpus(config, &cpus) ? &cpus : NULL,
	};

	return fill_range(&fill, what);
}

int ram_populate_check(const struct ram *ram)
{
	AUTO_FD int root = kfile_open_root("/");
	AUTO_FREE char *text = NULL;
	uint64_t wanted = 0, available, swap = 0;

	for (size_t i = 0; i < ram->n_configs; i++)
		if (ram->configs[i].prealloc && !ram_pages_is_pool(ram->configs[i].pages))
			wanted += ram->configs[i].size_bytes;
	if (!wanted || root < 0 || kfile_read_all(root, "proc/meminfo", &text, NULL) < 0 ||
	    kfile_field_u64(text, "MemAvailable", &available) < 0)
		return 0;
	(void)kfile_field_u64(text, "SwapFree", &swap);
	if (wanted <= available + swap)
		return 0;
	log_err("memory: prealloc=on takes %s at start, and this host has %s of memory and %s of "
		"swap available: leave prealloc=on away, or give less",
		SIZE_TEXT(wanted), SIZE_TEXT(available), SIZE_TEXT(swap));
	return -ENOMEM;
}

void ram_zero(uint8_t *hva, uint64_t len)
{
	struct fill fill = {.hva = hva, .len = len, .slice = SLICE_BYTES, .work = zero_slice};

	(void)fill_range(&fill, NULL);
}

/* ---- where it came to lie ---- */

void ram_check_placement(const struct ram *ram, unsigned int node)
{
	const struct ram_config *config = &ram->configs[node];
	uint64_t bytes[RAM_HOST_NODES], elsewhere = 0;
	char text[256] = "";
	size_t at = 0;

	if (!config->prealloc && !ram_pages_is_pool(config->pages))
		return;
	if (ram_placement(ram, node, bytes) < 0)
		return; /* a kernel without NUMA: there is one place only */
	for (unsigned int i = 0; i < RAM_HOST_NODES; i++) {
		if (!bytes[i])
			continue;
		if (ram_config_is_bound(config) && !bit_get(config->host_nodes, i))
			elsewhere += bytes[i];
		if (at < sizeof(text))
			at += (size_t)snprintf(text + at, sizeof(text) - at, "%s%s on host node %u",
					       at ? ", " : "", SIZE_TEXT(bytes[i]), i);
	}
	if (elsewhere)
		log_warn("memory node %u: not all of it is where policy=%s wants it: %s", node,
			 ram_policy_name(config->policy), text);
	else if (ram_config_is_bound(config))
		log_info("memory node %u: %s", node, text);
}
