// SPDX-License-Identifier: Apache-2.0
/*
 * Memory of the tiny guest: the RAM behind our image as one list of pages. Filling goes from the
 * bottom, the balloon takes from the top. A filled page holds one 64-bit pattern made of seed and
 * page number in all its words, so that a page that was lost or mixed up is found and named.
 */
#include "tests/guest/tiny.h"

struct memmap_entry {
	uint64_t addr, size;
	uint32_t type, reserved;
};
#define TYPE_RAM 1

#define AREAS_MAX 8
static struct area {
	uint64_t first, pages;
} areas[AREAS_MAX];
static unsigned int n_areas;
static uint64_t n_pages, ram_bytes;

static uint64_t fill_seed, fill_pages;

extern char tiny_end[];
extern uint64_t tiny_pdpt[512];

/* Map one more GiB one to one; the page directory comes off the area. */
static void map_gib(unsigned int gib, struct area *area)
{
	uint64_t *directory = (uint64_t *)area->first;

	area->first += PAGE_BYTES;
	area->pages--;
	for (uint64_t i = 0; i < 512; i++)
		directory[i] = ((uint64_t)gib << 30) + i * LARGE_BYTES + 0x83;
	tiny_pdpt[gib] = (uint64_t)directory + 3;
}

static void add_area(uint64_t from, uint64_t to)
{
	if (from < (uint64_t)tiny_end)
		from = (uint64_t)tiny_end;
	from = (from + PAGE_BYTES - 1) & ~(PAGE_BYTES - 1);
	to &= ~(PAGE_BYTES - 1);
	if (from >= to || n_areas == AREAS_MAX)
		return;
	areas[n_areas++] = (struct area){from, (to - from) / PAGE_BYTES};
}

void memory_init(const struct start_info *info)
{
	const struct memmap_entry *map = (const struct memmap_entry *)info->memmap;

	for (uint32_t i = 0; i < info->memmap_entries; i++) {
		if (map[i].type != TYPE_RAM)
			continue;
		ram_bytes += map[i].size;
		add_area(map[i].addr, map[i].addr + map[i].size);
	}
	/* Below 4 GiB is mapped already; page tables for the rest come from the first area. */
	for (unsigned int i = 1; i < n_areas; i++) {
		uint64_t end = areas[i].first + areas[i].pages * PAGE_BYTES;

		for (uint64_t gib = areas[i].first >> 30; gib <= (end - 1) >> 30 && gib < 512;
		     gib++)
			if (!tiny_pdpt[gib])
				map_gib((unsigned int)gib, &areas[0]);
	}
	for (unsigned int i = 0; i < n_areas; i++)
		n_pages += areas[i].pages;
}

uint64_t memory_pages(void)
{
	return n_pages;
}

uint64_t memory_ram_bytes(void)
{
	return ram_bytes;
}

uint64_t memory_filled(void)
{
	return fill_pages;
}

uint64_t memory_page(uint64_t i)
{
	for (unsigned int a = 0; a < n_areas; a++) {
		if (i < areas[a].pages)
			return areas[a].first + i * PAGE_BYTES;
		i -= areas[a].pages;
	}
	return 0;
}

static uint64_t pattern(uint64_t seed, uint64_t page)
{
	uint64_t x = (seed + 1) * 0x9e3779b97f4a7c15UL + page;

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9UL;
	x = (x ^ x >> 27) * 0x94d049bb133111ebUL;
	return (x ^ x >> 31) | 1; /* never the zero page */
}

static void page_fill(uint64_t page, uint64_t value)
{
	uint64_t words = PAGE_BYTES / 8;

	__asm__ volatile("rep stosq" : "+D"(page), "+c"(words) : "a"(value) : "memory");
}

/* The offset of the first wrong word, or PAGE_BYTES. */
static uint64_t page_check(uint64_t page, uint64_t value)
{
	uint64_t at = page, words = PAGE_BYTES / 8;
	bool equal;

	__asm__ volatile("repe scasq"
			 : "+D"(at), "+c"(words), "=@ccz"(equal)
			 : "a"(value)
			 : "memory");
	return equal ? PAGE_BYTES : at - 8 - page;
}

bool memory_fill(uint64_t seed, uint64_t bytes, bool same)
{
	uint64_t pages = bytes / PAGE_BYTES;

	if (pages + balloon_held_pages() > n_pages) {
		print("FAIL fill: %u pages asked, %u free\n", pages,
		      n_pages - balloon_held_pages());
		return false;
	}
	fill_seed = seed;
	fill_pages = pages;
	for (uint64_t i = 0; i < pages; i++)
		page_fill(memory_page(i), pattern(seed, i));
	print("OK %s pages=%u\n", same ? "same" : "fill", pages);
	return true;
}

bool memory_verify(void)
{
	for (uint64_t i = 0; i < fill_pages; i++) {
		uint64_t page = memory_page(i), want = pattern(fill_seed, i);
		uint64_t wrong = page_check(page, want);

		if (wrong == PAGE_BYTES)
			continue;
		print("FAIL verify page %u at 0x%x + 0x%x: is 0x%x, not 0x%x\n", i, page, wrong,
		      *(uint64_t *)(page + wrong), want);
		return false;
	}
	print("OK verify pages=%u\n", fill_pages);
	return true;
}

/* From the top, below what the balloon holds: the pages it will take next. */
void memory_touch(uint64_t bytes)
{
	uint64_t top = n_pages - balloon_held_pages(), pages = bytes / PAGE_BYTES;

	if (pages > top - fill_pages)
		pages = top - fill_pages;
	for (uint64_t i = 1; i <= pages; i++)
		*(volatile uint64_t *)memory_page(top - i) = pattern(~0UL, top - i);
	print("OK touch pages=%u\n", pages);
}

uint64_t memory_count_zero(uint64_t n)
{
	uint64_t top = n_pages - balloon_held_pages(), zero = 0;

	for (uint64_t i = 1; i <= n && i <= top; i++)
		zero += *(volatile uint64_t *)memory_page(top - i) == 0;
	return zero;
}
