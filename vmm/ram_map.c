// SPDX-License-Identifier: Apache-2.0
/*
 * How guest RAM is mapped in each page mode, advised, and how a range of pool pages is swapped
 * for ordinary memory and back.
 *
 * Pool pages are private, anonymous, not reserved and all populated at start: a reservation is of
 * the whole host and knows no node, so only taking the pages shows a shortage where they are bound.
 * One that is given back is not emptied by MADV_DONTNEED but has ordinary memory mapped over it. An
 * empty place would fault into the pool and get SIGBUS should that be empty by then; and in a
 * reserved mapping, Linux 6.9 and later would keep the page reserved, free for nobody else.
 */
#include "vmm/ram_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/kfile.h"
#include "common/log.h"

#define MAP_PLAIN (MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE)

#ifndef PR_SET_VMA
#define PR_SET_VMA	     0x53564d41
#define PR_SET_VMA_ANON_NAME 0
#endif

/* ---- mapping ---- */

static int pool_flags(uint64_t page_bytes)
{
	return MAP_PLAIN | MAP_HUGETLB | __builtin_ctzll(page_bytes) << MAP_HUGE_SHIFT;
}

/* Host addresses equal guest addresses modulo 2 MiB: else KVM cannot map huge pages. */
static uint8_t *map_aligned(uint64_t len)
{
	uint64_t whole = len + RAM_HUGE_BYTES, head;
	uint8_t *p = mmap(NULL, whole, PROT_READ | PROT_WRITE, MAP_PLAIN, -1, 0);

	if (p == MAP_FAILED)
		return NULL;
	head = -(uintptr_t)p % RAM_HUGE_BYTES;
	if (head)
		munmap(p, head);
	munmap(p + head + len, whole - head - len);
	return p + head;
}

int ram_piece_map(struct ram_piece *piece)
{
	uint64_t len = piece->region.size_bytes;
	uint8_t *p;

	if (ram_pages_is_pool(piece->pages)) {
		p = mmap(NULL, len, PROT_READ | PROT_WRITE, pool_flags(piece->page_bytes), -1, 0);
		if (p == MAP_FAILED)
			return -errno;
	} else {
		p = map_aligned(len);
		if (!p)
			return -errno;
	}
	piece->region.hva = p;
	return 0;
}

void ram_warn_no_thp(const struct ram *ram)
{
	static const char path[] = "sys/kernel/mm/transparent_hugepage/enabled";
	AUTO_FD int root = kfile_open_root("/");
	bool wanted = false;
	char mode[32];
	int r;

	for (size_t i = 0; i < ram->n_configs; i++)
		wanted = wanted || ram->configs[i].pages == RAM_PAGES_THP;
	if (!wanted || root < 0)
		return;
	r = kfile_read_choice(root, path, mode, sizeof(mode));
	if (r == -ENOENT)
		log_warn("memory: pages=thp gets 4 KiB pages: this kernel has no transparent huge "
			 "pages (no /%s)",
			 path);
	else if (r == 0 && strcmp(mode, "never") == 0)
		log_warn("memory: pages=thp gets 4 KiB pages: transparent huge pages are switched "
			 "off; to allow them: echo madvise > /%s",
			 path);
}

/* Advice is best effort: none of it changes what the guest sees. */
static void advise(uint8_t *hva, uint64_t len, enum ram_pages pages, unsigned int node, bool dump)
{
	char name[24];

	if (!ram_pages_is_pool(pages))
		(void)madvise(hva, len, pages == RAM_PAGES_THP ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
	/* A core of vmm with guest RAM in it is large, and the guest's secrets are in it. */
	if (!dump)
		(void)madvise(hva, len, MADV_DONTDUMP);
	(void)madvise(hva, len, MADV_DONTFORK);
	snprintf(name, sizeof(name), "guest-ram%u", node);
	(void)prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, hva, len, name);
}

void ram_piece_advise(const struct ram_piece *piece, const struct ram_config *config)
{
	advise(piece->region.hva, piece->region.size_bytes, piece->pages, piece->region.node,
	       config->dump);
}

int ram_piece_replace(const struct ram *ram, const struct ram_piece *piece, uint8_t *hva,
		      uint64_t len, bool pool)
{
	const struct ram_config *config = piece->config;
	uint8_t *p;
	int r;

	if (!pool) {
		/* One step in place: a vCPU that faults meanwhile finds the old or the new. */
		p = mmap(hva, len, PROT_READ | PROT_WRITE, MAP_PLAIN | MAP_FIXED, -1, 0);
		if (p == MAP_FAILED)
			return -errno;
		(void)ram_bind(config, p, len);
		advise(p, len, RAM_PAGES_THP, piece->region.node, config->dump);
		return 0;
	}
	/* Taken elsewhere first and then moved in, so that a short pool changes nothing. */
	p = mmap(NULL, len, PROT_READ | PROT_WRITE, pool_flags(piece->page_bytes), -1, 0);
	if (p == MAP_FAILED)
		return -errno;
	r = ram_bind(config, p, len);
	if (r == 0)
		r = ram_populate_slice(p, len); /* a vCPU may be the caller: it makes no threads */
	if (r == 0) {
		advise(p, len, piece->pages, piece->region.node, config->dump);
		if (mremap(p, len, len, MREMAP_MAYMOVE | MREMAP_FIXED, hva) != MAP_FAILED)
			return 0;
		r = -errno;
	}
	munmap(p, len);
	return r == -EFAULT ? -ENOMEM : r;
}

/* ---- reading back ---- */

FILE *ram_reread(int fd)
{
	AUTO_FD int twin = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	FILE *f = twin < 0 || lseek(twin, 0, SEEK_SET) < 0 ? NULL : fdopen(twin, "r");

	if (f)
		TAKE_FD(twin);
	return f;
}

int ram_read_flag(const struct ram *ram, const uint8_t *hva, uint64_t len, const char *flag,
		  bool *ret_all)
{
	AUTO_FILE FILE *f = ram_reread(ram->smaps_fd);
	AUTO_FREE char *line = NULL;
	uint64_t begin = (uintptr_t)hva, end = begin + len, from = 0, to = 0, marked = 0;
	size_t size = 0;
	char word[8];

	if (!f)
		return -errno;
	snprintf(word, sizeof(word), " %.2s ", flag);
	while (getline(&line, &size, f) > 0) {
		uint64_t a, b;

		if (sscanf(line, "%" SCNx64 "-%" SCNx64 " ", &a, &b) == 2) {
			from = a > begin ? a : begin;
			to = b < end ? b : end;
		} else if (strncmp(line, "VmFlags:", 8) == 0 && from < to && strstr(line, word)) {
			marked += to - from;
		}
	}
	if (ferror(f))
		return -EIO;
	*ret_all = marked == len;
	return 0;
}
