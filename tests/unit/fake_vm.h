/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A machine for tests of QMP: what vm.h, loop.h, ram.h and balloon.h offer, without KVM, threads or
 * memory. Include it once per test program: it takes the place of vm.c, loop.c, ram*.c and
 * balloon*.c.
 */
#ifndef MEMD_TESTS_FAKE_VM_H
#define MEMD_TESTS_FAKE_VM_H

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "common/size.h"
#include "vmm/balloon.h"
#include "vmm/blk.h"
#include "vmm/net.h"
#include "vmm/mem.h"
#include "vmm/vm.h"

struct fake_balloon {
	struct virtio_device dev; /* first: what vm_balloon gives out */
	uint64_t target_bytes, actual_bytes, poll_interval_s;
	bool has_driver;
	int set_target_result;
	struct balloon_stats stats;
};

struct disk {
	struct disk_config config;
	uint64_t size_bytes;
};

struct fake_disk {
	struct virtio_device dev; /* first: what vm_disk gives out */
	struct disk disk;
	struct blk_stats stats;
	int failed; /* errno */
};

struct fake_net {
	struct virtio_device dev; /* first: what vm_net gives out */
	bool link_pulled;
};

struct ram {
	struct ram_config configs[2];
	bool merge[2];
	size_t n;
	int set_merge_result;
	int place_result;
	unsigned int place_node; /* of the last ram_place */
	uint64_t place_rate;
	struct ram_place_state place;
	unsigned int place_cancels;
	size_t n_ranges; /* of the last ram_merge_ranges, and the last of them */
	struct ram_merge_range range;
	struct ram_plug_config plug; /* one when it has a size */
	struct ram_region plug_region;
	uint64_t plugged_bytes;
	bool plug_merge;
};

struct vm {
	struct options options;
	struct ram ram;
	struct fake_balloon balloon;
	bool has_balloon;
	struct fake_disk disks[2];
	unsigned int n_disks;
	struct fake_net net;
	struct virtio_device mem;
	uint64_t requested_bytes;
	enum vm_state state;
	unsigned int n_cpus;
	unsigned int n_powerdowns, n_resets, n_quits;
	const char *stats_vm, *stats_cpu; /* files; NULL: no such ioctl */
	int stats_fd;			  /* >= 0: this in the place of a file */
	struct wire_server *server;
};

/* The machine of the transcripts. */
static inline void fake_vm_init(struct vm *vm)
{
	*vm = (struct vm){
		.options = {.name = "capture", .uuid = "7d5c2e5a-5f6e-4f7f-9df0-3a7a55a3a001"},
		.ram = {.configs = {{.size_bytes = 256 * MIB}, {.size_bytes = GIB}}, .n = 1},
		.balloon = {.actual_bytes = 256 * MIB, .has_driver = true},
		.has_balloon = true,
		.n_cpus = 2,
		.stats_fd = -1,
	};
	vm->options.balloon_reporting = true;
	vm->ram.merge[0] = true;
	memset(vm->balloon.stats.value, 0xff, sizeof(vm->balloon.stats.value));
}

/* ---- vm.h ---- */

const struct options *vm_options(const struct vm *vm)
{
	return &vm->options;
}

struct ram *vm_ram(const struct vm *vm)
{
	return (struct ram *)(uintptr_t)&vm->ram;
}

struct loop *vm_loop(const struct vm *vm)
{
	return NULL;
}

struct virtio_device *vm_disk(const struct vm *vm, unsigned int index)
{
	return index < vm->n_disks ? (struct virtio_device *)(uintptr_t)&vm->disks[index] : NULL;
}

struct virtio_device *vm_balloon(const struct vm *vm)
{
	return vm->has_balloon ? (struct virtio_device *)(uintptr_t)&vm->balloon.dev : NULL;
}

struct virtio_device *vm_net(const struct vm *vm, unsigned int index)
{
	return index == 0 ? (struct virtio_device *)(uintptr_t)&vm->net.dev : NULL;
}

void net_set_link(struct virtio_device *dev, bool up)
{
	((struct fake_net *)(void *)dev)->link_pulled = !up;
}

enum vm_state vm_state(const struct vm *vm)
{
	return vm->state;
}

const char *vm_state_name(enum vm_state state)
{
	static const char *const names[] = {"prelaunch", "running", "paused", "shutdown",
					    "internal-error"};

	return names[state];
}

int vm_stop(struct vm *vm)
{
	vm->state = VM_PAUSED;
	return 0;
}

int vm_cont(struct vm *vm)
{
	vm->state = VM_RUNNING;
	return 0;
}

void vm_powerdown(struct vm *vm)
{
	vm->n_powerdowns++;
}

void vm_reset(struct vm *vm, bool by_guest)
{
	vm->n_resets += !by_guest;
}

void vm_quit(struct vm *vm)
{
	vm->n_quits++;
}

unsigned int vm_cpu_count(const struct vm *vm)
{
	return vm->n_cpus;
}

int vm_cpu_thread(const struct vm *vm, unsigned int cpu, int *ret_tid, unsigned int *ret_node)
{
	if (cpu >= vm->n_cpus)
		return -EINVAL;
	*ret_tid = 1000 + (int)cpu;
	*ret_node = cpu;
	return 0;
}

int vm_stats_fd(struct vm *vm, int cpu)
{
	const char *path = cpu < 0 ? vm->stats_vm : vm->stats_cpu;
	int fd;

	if (vm->stats_fd >= 0)
		return dup(vm->stats_fd);
	if (!path)
		return -ENOTTY;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

void vm_set_events(struct vm *vm, struct wire_server *server)
{
	vm->server = server;
}

/* ---- loop.h: the test calls what was added ---- */

static loop_fn fake_loop_fn;
static void *fake_loop_ctx;

struct loop_source *loop_add(struct loop *loop, int fd, uint32_t events, loop_fn fn, void *ctx)
{
	static char source;

	fake_loop_fn = fn;
	fake_loop_ctx = ctx;
	return (struct loop_source *)&source;
}

void loop_remove(struct loop_source *source)
{
	fake_loop_fn = NULL;
}

/* ---- ram.h ---- */

const char *ram_pages_name(enum ram_pages pages)
{
	static const char *const names[] = {"thp", "small", "2M", "1G"};

	return names[pages];
}

const char *ram_policy_name(enum ram_policy policy)
{
	static const char *const names[] = {"default", "bind", "preferred", "interleave"};

	return names[policy];
}

bool ram_pages_is_pool(enum ram_pages pages)
{
	return pages == RAM_PAGES_2M || pages == RAM_PAGES_1G;
}

size_t ram_node_count(const struct ram *ram)
{
	return ram->n;
}

const struct ram_config *ram_node_config(const struct ram *ram, unsigned int node)
{
	return &ram->configs[node];
}

uint64_t ram_size_bytes(const struct ram *ram)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < ram->n; i++)
		sum += ram->configs[i].size_bytes;
	return sum;
}

bool ram_merge(const struct ram *ram, unsigned int node)
{
	return ram->merge[node];
}

int ram_set_merge(struct ram *ram, unsigned int node, bool on)
{
	if (ram->set_merge_result == 0)
		ram->merge[node] = on;
	return ram->set_merge_result;
}

size_t ram_region_count(const struct ram *ram)
{
	return ram->n;
}

/* Guest nodes back to back, the second behind a hole of a GiB. */
const struct ram_region *ram_region(const struct ram *ram, size_t index)
{
	static struct ram_region region;

	region = (struct ram_region){.size_bytes = ram->configs[index].size_bytes,
				     .gpa = index ? ram->configs[0].size_bytes + GIB : 0};
	return &region;
}

int ram_merge_ranges(struct ram *ram, const struct ram_merge_range *ranges, size_t n,
		     char why[RAM_WHY_MAX])
{
	ram->n_ranges = n;
	if (n)
		ram->range = ranges[n - 1];
	snprintf(why, RAM_WHY_MAX, "a reason");
	return ram->set_merge_result;
}

int ram_place(struct ram *ram, unsigned int host_node, uint64_t bytes_per_s)
{
	ram->place_node = host_node;
	ram->place_rate = bytes_per_s;
	return ram->place_result;
}

void ram_place_cancel(struct ram *ram)
{
	ram->place_cancels++;
}

void ram_place_state(const struct ram *ram, struct ram_place_state *ret_state)
{
	*ret_state = ram->place;
}

int ram_placement(const struct ram *ram, unsigned int node, uint64_t ret_bytes[RAM_HOST_NODES])
{
	if (node)
		return -ENOSYS;
	memset(ret_bytes, 0, RAM_HOST_NODES * sizeof(ret_bytes[0]));
	ret_bytes[1] = 4 * MIB;
	return 0;
}

bool ram_collapse_stats(const struct ram *ram, struct ram_collapse_stats *ret_stats)
{
	return false;
}

bool ram_merge_run(const struct ram *ram, uint64_t gpa, struct ram_merge_range *ret_run)
{
	if (gpa >= ram_size_bytes(ram))
		return false;
	*ret_run = (struct ram_merge_range){gpa, RAM_MERGE_CHUNK, gpa / RAM_MERGE_CHUNK % 2};
	return true;
}

size_t ram_plug_count(const struct ram *ram)
{
	return ram->plug.memory.size_bytes > 0;
}

const struct ram_plug_config *ram_plug_config(const struct ram *ram, size_t index)
{
	return &ram->plug;
}

const struct ram_region *ram_plug_region(const struct ram *ram, size_t index)
{
	return &ram->plug_region;
}

uint64_t ram_plug_size_bytes(const struct ram *ram, size_t index)
{
	return ram->plugged_bytes;
}

uint64_t ram_plug_returned(const struct ram *ram)
{
	return 5 * MIB;
}

bool ram_plug_merge(const struct ram *ram, size_t index)
{
	return ram->plug_merge;
}

int ram_plug_set_merge(struct ram *ram, size_t index, bool on)
{
	ram->plug_merge = on;
	return 0;
}

/* ---- mem.h: the device of the one machine that has any ---- */

static struct vm *fake_mem_vm;

struct virtio_device *vm_mem(const struct vm *vm, size_t index)
{
	fake_mem_vm = (struct vm *)(uintptr_t)vm;
	return index < ram_plug_count(&vm->ram) ? &fake_mem_vm->mem : NULL;
}

uint64_t mem_requested_bytes(const struct virtio_device *dev)
{
	return fake_mem_vm->requested_bytes;
}

uint64_t mem_plugged_bytes(const struct virtio_device *dev)
{
	return fake_mem_vm->ram.plugged_bytes;
}

int mem_set_requested(struct virtio_device *dev, uint64_t bytes)
{
	if (bytes % fake_mem_vm->ram.plug.block_bytes)
		return -EINVAL;
	if (bytes > fake_mem_vm->ram.plug.memory.size_bytes)
		return -ERANGE;
	fake_mem_vm->requested_bytes = bytes;
	return 0;
}

int ram_returned(struct ram *ram, uint64_t *ret_balloon_bytes, uint64_t *ret_reporting_bytes)
{
	*ret_balloon_bytes = 64 * MIB;
	*ret_reporting_bytes = 3 * MIB;
	return 0;
}

/* ---- balloon.h ---- */

const char *const balloon_stat_names[BALLOON_STATS_MAX] = {
	"stat-swap-in",	     "stat-swap-out",	  "stat-major-faults",	   "stat-minor-faults",
	"stat-free-memory",  "stat-total-memory", "stat-available-memory", "stat-disk-caches",
	"stat-htlb-pgalloc", "stat-htlb-pgfail",  "stat-oom-kills",
};

static inline struct fake_balloon *fake_balloon_of(const struct virtio_device *dev)
{
	return (struct fake_balloon *)(uintptr_t)dev;
}

int balloon_set_target(struct virtio_device *dev, uint64_t target_bytes)
{
	fake_balloon_of(dev)->target_bytes = target_bytes;
	return fake_balloon_of(dev)->set_target_result;
}

uint64_t balloon_actual_bytes(const struct virtio_device *dev)
{
	return fake_balloon_of(dev)->actual_bytes;
}

bool balloon_has_driver(const struct virtio_device *dev)
{
	return fake_balloon_of(dev)->has_driver;
}

bool balloon_is_reporting(const struct virtio_device *dev)
{
	return fake_balloon_of(dev)->has_driver;
}

bool balloon_deflates_on_oom(const struct virtio_device *dev)
{
	return true;
}

void balloon_stats(const struct virtio_device *dev, struct balloon_stats *ret_stats)
{
	*ret_stats = fake_balloon_of(dev)->stats;
}

int balloon_set_poll_interval(struct virtio_device *dev, uint64_t seconds)
{
	if (seconds > UINT32_MAX)
		return -ERANGE;
	fake_balloon_of(dev)->poll_interval_s = seconds;
	return 0;
}

uint64_t balloon_poll_interval(const struct virtio_device *dev)
{
	return fake_balloon_of(dev)->poll_interval_s;
}

void balloon_counters(const struct virtio_device *dev, struct balloon_counters *ret_counters)
{
	*ret_counters = (struct balloon_counters){1, 2, 3, 4, 5};
}

/* ---- blk.h, disk.h ---- */

const struct disk *blk_disk(const struct virtio_device *dev)
{
	return &((const struct fake_disk *)(const void *)dev)->disk;
}

const struct blk_stats *blk_stats(const struct virtio_device *dev)
{
	return &((const struct fake_disk *)(const void *)dev)->stats;
}

bool blk_has_failed(const struct virtio_device *dev, bool *ret_nospace)
{
	int err = ((const struct fake_disk *)(const void *)dev)->failed;

	*ret_nospace = err == ENOSPC;
	return err != 0;
}

const struct disk_config *disk_config(const struct disk *disk)
{
	return &disk->config;
}

uint64_t disk_size_bytes(const struct disk *disk)
{
	return disk->size_bytes;
}

uint64_t disk_allocated_bytes(const struct disk *disk)
{
	return disk->size_bytes / 2;
}

#endif
