// SPDX-License-Identifier: Apache-2.0
/*
 * Pluggable memory: a region whose blocks become RAM and cease to be while the guest runs.
 *
 * What keeps a guest from unplugged blocks is the host mapping: PROT_NONE, under one KVM memory
 * slot for the whole region. A vCPU that touches one makes KVM_RUN fail with EFAULT and the guest
 * stops as with broken memory (a KVM that interprets guest code finds no memory there instead:
 * reads are all ones); nothing is allocated. Slots that come and go would be the other way:
 * KVM drops every mapping of the guest when it deletes one, so they pay for large pieces only, and
 * until a whole one is unplugged the guest keeps what it may not have. userfaultfd would put a
 * thread between the guest and its plugged memory. Changing the protection costs microseconds and
 * works block by block; the kernel's I/O into such a block gets EFAULT, and ram_ptr refuses it.
 *
 * The one exception: the block right behind a plugged one is readable and shows zeroes (the
 * kernel's shared zero page, so it costs page tables only). Linux reads a few bytes across the end
 * of a page on purpose (load_unaligned_zeropad), and would die of a fault there.
 *
 * A block of pool pages is ordinary memory while unplugged: the pool has its pages back.
 */
#include "vmm/ram_impl.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "common/log.h"
#include "common/size.h"
#include "vmm/layout.h"

/* Linux adds memory in blocks of 128 MiB, up to 2 GiB in guests of 64 GiB and more. */
#define ALIGN_LOW  (128 * MIB)
#define ALIGN_HIGH (2 * GIB)

/*
 * Each run of plugged blocks costs up to three mappings, and a process may have 65530. All regions
 * together; single pool pages that go have their own limit (ram_return.c).
 */
#define RUNS_MAX 8000

/* ram_room need not look further: no descriptor is longer. */
#define ROOM_MAX (4 * GIB)

#define BATCH_PAGES 4096

/* ---- configuration ---- */

uint64_t ram_plug_block_bytes(enum ram_pages pages)
{
	return pages == RAM_PAGES_1G ? RAM_GIB_PAGE : RAM_HUGE_BYTES;
}

static uint64_t block_of(const struct ram_plug_config *config)
{
	return config->block_bytes ? config->block_bytes
				   : ram_plug_block_bytes(config->memory.pages);
}

int ram_plug_config_check(const struct ram_plug_config *config, size_t n_nodes,
			  char why[RAM_WHY_MAX])
{
	uint64_t size = config->memory.size_bytes, block = block_of(config);
	uint64_t least = ram_plug_block_bytes(config->memory.pages);

	if (block < least || block > RAM_BLOCK_MAX || block & (block - 1))
		snprintf(why, RAM_WHY_MAX,
			 "block %" PRIu64 " bytes: wanted a power of two from %s to %s with "
			 "pages=%s",
			 block, SIZE_TEXT(least), SIZE_TEXT(RAM_BLOCK_MAX),
			 ram_pages_name(config->memory.pages));
	else if (size == 0 || size % block || size > RAM_PLUG_MAX)
		snprintf(why, RAM_WHY_MAX,
			 "size %" PRIu64 " bytes: wanted a multiple of the block size %s, up to %s",
			 size, SIZE_TEXT(block), SIZE_TEXT(RAM_PLUG_MAX));
	else if (config->node >= n_nodes)
		snprintf(why, RAM_WHY_MAX, "node %u: the guest has %zu node%s, counted from 0",
			 config->node, n_nodes, n_nodes == 1 ? "" : "s");
	else
		return 0;
	return -EINVAL;
}

/* ---- bringing it up ---- */

static uint64_t round_up(uint64_t value, uint64_t unit)
{
	return (value + unit - 1) / unit * unit;
}

/* Above all that there is, and not across the hole. */
static uint64_t choose_gpa(const struct ram *ram, uint64_t size, uint64_t block)
{
	const struct ram_piece *piece;
	uint64_t end = 0, gpa;

	for (size_t i = 0; (piece = ram_piece_at(ram, i)); i++)
		if (piece->region.gpa + piece->region.size_bytes > end)
			end = piece->region.gpa + piece->region.size_bytes;
	gpa = round_up(end, block > ALIGN_LOW ? block : ALIGN_LOW);
	if (gpa < LAYOUT_HOLE_START && size <= LAYOUT_HOLE_START - gpa)
		return gpa;
	return round_up(end < LAYOUT_HIGH_START ? LAYOUT_HIGH_START : end, ALIGN_HIGH);
}

static uint8_t *reserve(uint64_t len, uint64_t align)
{
	uint64_t whole = len + align, head;
	uint8_t *p =
		mmap(NULL, whole, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		return NULL;
	head = -(uintptr_t)p % align;
	if (head)
		munmap(p, head);
	munmap(p + head + len, whole - head - len);
	return p + head;
}

static int prepare(struct ram_plug *plug)
{
	struct ram_region *region = &plug->piece.region;
	uint64_t words = plug->n_blocks / 64 + 1;
	int r;

	plug->plugged = calloc(words, sizeof(*plug->plugged));
	plug->gone = calloc(plug->n_blocks, sizeof(*plug->gone));
	r = plug->plugged && plug->gone ? ram_return_init(&plug->piece) : -ENOMEM;
	if (r < 0)
		return r;
	region->hva = reserve(region->size_bytes, ram_plug_block_bytes(plug->piece.pages));
	if (!region->hva)
		return -errno;
	ram_piece_advise(&plug->piece, plug->piece.config);
	/* Pool pages are bound as they come (ram_piece_replace). */
	return ram_pages_is_pool(plug->piece.pages)
		       ? 0
		       : ram_bind(plug->piece.config, region->hva, region->size_bytes);
}

static void merge_at_start(struct ram *ram, size_t index)
{
	const struct ram_plug *plug = &ram->plugs[index];
	int r = plug->config.memory.merge ? ram_plug_set_merge(ram, index, true) : 0;

	if (r == -EOPNOTSUPP)
		log_warn("memory device %zu: merge=on has no effect with pages=%s: KSM never "
			 "merges pages of the huge page pool",
			 index, ram_pages_name(plug->piece.pages));
	else if (r < 0)
		log_warn("memory device %zu: merge=on: %s", index, strerror(-r));
}

int ram_plug_add(struct ram *ram, const struct ram_plug_config *config)
{
	size_t index = ram->n_plugs;
	char why[RAM_WHY_MAX];
	struct ram_plug *plug;
	uint64_t gpa;
	int r;

	if (index == RAM_PLUGS_MAX)
		return -ENOSPC;
	r = ram_plug_config_check(config, ram->n_configs, why);
	if (r < 0) {
		log_err("memory device %zu: %s", index, why);
		return r;
	}
	r = ram_bind_check(&config->memory, "device", (unsigned int)index);
	if (r == 0 && ram_pages_is_pool(config->memory.pages))
		r = ram_pool_check(&config->memory, "device", (unsigned int)index, 0);
	if (r < 0)
		return r;
	gpa = choose_gpa(ram, config->memory.size_bytes, block_of(config));
	if (gpa > RAM_SIZE_MAX - config->memory.size_bytes) {
		log_err("memory device %zu: no room for %s above the guest's RAM", index,
			SIZE_TEXT(config->memory.size_bytes));
		return -ENOSPC;
	}
	plug = &ram->plugs[index];
	*plug = (struct ram_plug){.config = *config};
	plug->config.block_bytes = block_of(config);
	plug->n_blocks = config->memory.size_bytes / plug->config.block_bytes;
	plug->piece = (struct ram_piece){
		.region = {.gpa = gpa,
			   .size_bytes = config->memory.size_bytes,
			   .node = config->node},
		.pages = config->memory.pages,
		.page_bytes = ram_pages_bytes(config->memory.pages),
		.config = &plug->config.memory,
	};
	r = prepare(plug);
	if (r < 0) {
		log_err("memory device %zu: setting up %s with pages=%s: %s", index,
			SIZE_TEXT(config->memory.size_bytes), ram_pages_name(plug->piece.pages),
			strerror(-r));
		ram_plug_free(plug);
		return r;
	}
	ram->n_plugs++;
	merge_at_start(ram, index);
	return 0;
}

void ram_plug_free(struct ram_plug *plug)
{
	if (plug->piece.region.hva)
		munmap(plug->piece.region.hva, plug->piece.region.size_bytes);
	ram_return_free(&plug->piece);
	free(plug->plugged);
	free(plug->gone);
}

/* ---- what there is ---- */

size_t ram_plug_count(const struct ram *ram)
{
	return ram->n_plugs;
}

const struct ram_region *ram_plug_region(const struct ram *ram, size_t index)
{
	return &ram->plugs[index].piece.region;
}

const struct ram_plug_config *ram_plug_config(const struct ram *ram, size_t index)
{
	return &ram->plugs[index].config;
}

uint64_t ram_plug_size_bytes(const struct ram *ram, size_t index)
{
	return ram->plugs[index].n_plugged * ram->plugs[index].config.block_bytes;
}

uint64_t ram_plug_start(const struct ram *ram)
{
	return ram->n_plugs ? ram->plugs[0].piece.region.gpa : UINT64_MAX;
}

uint64_t ram_plug_returned(const struct ram *ram)
{
	uint64_t pages = 0;

	for (size_t i = 0; i < ram->n_plugs; i++)
		pages += ram->plugs[i].n_gone;
	return pages * RAM_SMALL_BYTES;
}

static bool is_plugged(const struct ram_plug *plug, uint64_t block)
{
	return block < plug->n_blocks && bit_get(plug->plugged, block);
}

uint64_t ram_plug_room(const struct ram_plug *plug, uint64_t off)
{
	uint64_t block = off / plug->config.block_bytes, end = block;

	while ((end - block) * plug->config.block_bytes <= ROOM_MAX && is_plugged(plug, end))
		end++;
	return end == block ? 0 : end * plug->config.block_bytes - off;
}

struct blocks {
	uint64_t from, to;
};

/* false: no range of whole blocks. */
static bool find_blocks(const struct ram_plug *plug, uint64_t gpa, uint64_t len,
			struct blocks *ret_blocks)
{
	const struct ram_region *region = &plug->piece.region;
	uint64_t off = gpa - region->gpa, block = plug->config.block_bytes;

	if (gpa < region->gpa || off >= region->size_bytes || len == 0 ||
	    len > region->size_bytes - off || (off | len) % block)
		return false;
	*ret_blocks = (struct blocks){off / block, (off + len) / block};
	return true;
}

static unsigned int state_of(const struct ram_plug *plug, struct blocks blocks)
{
	unsigned int state = 0;

	for (uint64_t b = blocks.from; b < blocks.to; b++)
		state |= is_plugged(plug, b) ? RAM_PLUG_PLUGGED : RAM_PLUG_UNPLUGGED;
	return state;
}

unsigned int ram_plug_state(const struct ram *ram, size_t index, uint64_t gpa, uint64_t len)
{
	const struct ram_plug *plug = &ram->plugs[index];
	struct blocks blocks;

	return find_blocks(plug, gpa, len, &blocks) ? state_of(plug, blocks) : 0;
}

/* ---- plugging and unplugging ---- */

static uint8_t *block_hva(const struct ram_plug *plug, uint64_t block)
{
	return plug->piece.region.hva + block * plug->config.block_bytes;
}

/* An unplugged block, after its neighbour changed. Zero pages that it showed are let go. */
static void protect_unplugged(const struct ram_plug *plug, uint64_t block)
{
	bool readable = block > 0 && is_plugged(plug, block - 1);

	if (block >= plug->n_blocks || is_plugged(plug, block))
		return;
	(void)mprotect(block_hva(plug, block), plug->config.block_bytes,
		       readable ? PROT_READ : PROT_NONE);
	if (!readable)
		(void)madvise(block_hva(plug, block), plug->config.block_bytes, MADV_DONTNEED);
}

/* Runs of plugged blocks after blocks were plugged or unplugged, all of them. */
static uint64_t runs_after(const struct ram_plug *plug, struct blocks blocks, bool plugging)
{
	unsigned int neighbours = (blocks.from > 0 && is_plugged(plug, blocks.from - 1)) +
				  is_plugged(plug, blocks.to);

	/* Plugged: one run more, less those that it joins. Unplugged: the other way round. */
	return plugging ? plug->n_runs + 1 - neighbours : plug->n_runs + neighbours - 1;
}

static bool too_many_runs(const struct ram *ram, const struct ram_plug *plug, uint64_t runs)
{
	uint64_t all = runs - plug->n_runs;

	for (size_t i = 0; i < ram->n_plugs; i++)
		all += ram->plugs[i].n_runs;
	return runs > plug->n_runs && all > RUNS_MAX;
}

static uint32_t count_resident(const uint8_t *hva, uint64_t len)
{
	unsigned char resident[BATCH_PAGES];
	uint32_t pages = 0;

	for (uint64_t n; len; hva += n, len -= n) {
		n = len < BATCH_PAGES * RAM_SMALL_BYTES ? len : BATCH_PAGES * RAM_SMALL_BYTES;
		if (mincore((void *)(uintptr_t)hva, n, resident) < 0)
			return pages;
		for (uint64_t i = 0; i < n / RAM_SMALL_BYTES; i++)
			pages += resident[i] & 1;
	}
	return pages;
}

/* Set what each block is accounted with. */
static void set_gone(struct ram_plug *plug, uint64_t block, uint32_t pages)
{
	plug->n_gone += pages - (uint64_t)plug->gone[block];
	plug->gone[block] = pages;
}

static void mark(struct ram *ram, struct ram_plug *plug, struct blocks blocks, bool plugged)
{
	plug->n_runs = runs_after(plug, blocks, plugged);
	for (uint64_t b = blocks.from; b < blocks.to; b++) {
		if (plugged)
			bit_set(plug->plugged, b);
		else
			bit_clear(plug->plugged, b);
	}
	if (plugged)
		plug->n_plugged += blocks.to - blocks.from;
	else
		plug->n_plugged -= blocks.to - blocks.from;
	ram_return_forget(ram, &plug->piece, blocks.from * plug->config.block_bytes,
			  (blocks.to - blocks.from) * plug->config.block_bytes);
}

int ram_plug(struct ram *ram, size_t index, uint64_t gpa, uint64_t len)
{
	struct ram_plug *plug = &ram->plugs[index];
	struct blocks blocks;
	uint8_t *hva;
	int r = 0;

	if (!find_blocks(plug, gpa, len, &blocks) || state_of(plug, blocks) != RAM_PLUG_UNPLUGGED)
		return -EINVAL;
	if (too_many_runs(ram, plug, runs_after(plug, blocks, true)))
		return -ENOMEM;
	hva = block_hva(plug, blocks.from);
	if (ram_pages_is_pool(plug->piece.pages))
		r = ram_piece_replace(ram, &plug->piece, hva, len, true);
	else if (mprotect(hva, len, PROT_READ | PROT_WRITE) < 0)
		r = -errno;
	if (r < 0)
		return r;
	mark(ram, plug, blocks, true);
	for (uint64_t b = blocks.from; b < blocks.to; b++)
		set_gone(plug, b, 0);
	protect_unplugged(plug, blocks.to);
	return 0;
}

/* Neither reachable nor held any more: pool pages are replaced, others emptied. */
static int take_away(const struct ram_plug *plug, uint8_t *hva, uint64_t len)
{
	if (ram_pages_is_pool(plug->piece.pages)) {
		void *p = mmap(hva, len, PROT_NONE,
			       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);

		if (p == MAP_FAILED)
			return -errno;
		if (!plug->config.memory.dump)
			(void)madvise(hva, len, MADV_DONTDUMP);
		(void)madvise(hva, len, MADV_DONTFORK);
		return 0;
	}
	/* First the door, then the content: a vCPU must not bring any back in between. */
	if (mprotect(hva, len, PROT_NONE) < 0)
		return -errno;
	if (madvise(hva, len, MADV_DONTNEED) < 0) {
		int r = -errno;

		(void)mprotect(hva, len, PROT_READ | PROT_WRITE);
		return r;
	}
	return 0;
}

static int unplug_blocks(struct ram *ram, struct ram_plug *plug, struct blocks blocks, bool account)
{
	uint64_t block_bytes = plug->config.block_bytes;
	int r;

	for (uint64_t b = blocks.from; account && b < blocks.to; b++)
		set_gone(plug, b, count_resident(block_hva(plug, b), block_bytes));
	r = take_away(plug, block_hva(plug, blocks.from), (blocks.to - blocks.from) * block_bytes);
	for (uint64_t b = blocks.from; (r < 0 || !account) && b < blocks.to; b++)
		set_gone(plug, b, 0);
	if (r < 0)
		return r;
	mark(ram, plug, blocks, false);
	protect_unplugged(plug, blocks.from);
	protect_unplugged(plug, blocks.to);
	return 0;
}

int ram_unplug(struct ram *ram, size_t index, uint64_t gpa, uint64_t len)
{
	struct ram_plug *plug = &ram->plugs[index];
	struct blocks blocks;

	if (!find_blocks(plug, gpa, len, &blocks) || state_of(plug, blocks) != RAM_PLUG_PLUGGED)
		return -EINVAL;
	if (too_many_runs(ram, plug, runs_after(plug, blocks, false)))
		return -ENOMEM;
	return unplug_blocks(ram, plug, blocks, true);
}

void ram_unplug_all(struct ram *ram, size_t index)
{
	struct ram_plug *plug = &ram->plugs[index];
	struct blocks run;

	for (run.from = 0; run.from < plug->n_blocks; run.from = run.to) {
		bool plugged = is_plugged(plug, run.from);

		for (run.to = run.from + 1; run.to < plug->n_blocks; run.to++)
			if (is_plugged(plug, run.to) != plugged)
				break;
		if (plugged && unplug_blocks(ram, plug, run, false) < 0)
			log_warn("memory device %zu: not all could be unplugged: %m", index);
		for (uint64_t b = run.from; b < run.to; b++)
			set_gone(plug, b, 0);
	}
}

/* ---- merging ---- */

int ram_plug_set_merge(struct ram *ram, size_t index, bool on)
{
	struct ram_plug *plug = &ram->plugs[index];
	const struct ram_region *region = &plug->piece.region;
	bool marked = on;

	if (ram_pages_is_pool(plug->piece.pages))
		return on ? -EOPNOTSUPP : 0;
	if (madvise(region->hva, region->size_bytes, on ? MADV_MERGEABLE : MADV_UNMERGEABLE) < 0)
		return -errno;
	(void)ram_read_flag(ram, region->hva, region->size_bytes, "mg", &marked);
	plug->merge = marked;
	return 0;
}

bool ram_plug_merge(const struct ram *ram, size_t index)
{
	return ram->plugs[index].merge;
}
