// SPDX-License-Identifier: Apache-2.0
/*
 * Pages of live processes: smaps for the regions, PAGEMAP_SCAN (6.7+) or pagemap for what is
 * present in them, and for contents process_vm_readv(2), which takes two thirds of the time of
 * /proc/PID/mem but pins the pages: since 5.19 a pinned page is first made its process's own
 * (mm/gup.c, gup_must_unshare). Where pages are shared, by KSM or since a fork, it would undo that
 * for all it reads, so there it is /proc/PID/mem.
 */
#include "memd/estimate_live.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/ioctl.h>
#include <numaif.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/kfile.h"
#include "memd/pagemap.h"
#include "memd/smaps.h"

/* Looked at in one go: read soon enough after that hardly a page is gone. */
#define WINDOW_PAGES 16384U
#define MAP_PAGES    2048U

struct live_region {
	uint64_t from, to; /* pages */
	bool file;	   /* private, of a file: its unwritten pages are none of KSM's */
};

struct live_process {
	pid_t pid;
	int pagemap, mem;
	struct live_region *regions;
	size_t n;
	bool shares; /* some of its pages with other processes, or by KSM */
};

struct estimate_live {
	int rootfd;
	struct live_process *processes;
	size_t n;
	bool no_scan;	   /* the kernel has no PAGEMAP_SCAN */
	bool merging;	   /* KSM is on */
	uint64_t zero_pfn; /* of the kernel's zero page; 0: not known */
};

/* ---- regions ---- */

/* Which mappings KSM refuses beside hugetlb: mm/ksm.c vma_ksm_compatible(). */
#define KSM_NEVER (SMAPS_SHARED | SMAPS_IO | SMAPS_PFN | SMAPS_FIXED | SMAPS_MIXED)

struct region {
	struct smaps_mapping map;
	unsigned int flags;
	bool named;
	uint64_t anonymous_bytes, rss_bytes, hugetlb_bytes, shared_bytes;
};

static struct region region_of(const struct smaps_mapping *map)
{
	const char *name = map->name;

	return (struct region){
		.map = *map,
		.named = name[0] == '[' && strncmp(name, "[anon:", 6) != 0 &&
			 strncmp(name, "[heap]", 6) != 0,
	};
}

/* Guest RAM may be written pages of a private file mapping too. */
static bool region_could(const struct region *region)
{
	const struct smaps_mapping *map = &region->map;

	return !map->shared && map->writable && !map->exec && !region->named &&
	       map->end - map->start >= ESTIMATE_REGION_MIN_BYTES;
}

static int region_end(const struct region *region, bool only_marked, struct live_process *process,
		      struct estimate_memory *memory)
{
	const struct smaps_mapping *map = &region->map;
	bool marked = region->flags & SMAPS_MERGEABLE;
	struct live_region *more;

	if (region->flags & SMAPS_HUGETLB) {
		memory->hugetlb_bytes += region->hugetlb_bytes;
		return 0;
	}
	if (map->shared) {
		memory->shared_bytes += map->writable ? region->rss_bytes : 0;
		return 0;
	}
	if (region->flags & KSM_NEVER || !(marked || region_could(region)))
		return 0;
	*(marked ? &memory->marked_bytes : &memory->unmarked_bytes) += region->anonymous_bytes;
	if (only_marked && !marked)
		return 0;
	more = reallocarray(process->regions, process->n + 1, sizeof(*more));
	if (!more)
		return -ENOMEM;
	process->regions = more;
	process->regions[process->n++] = (struct live_region){
		map->start / ESTIMATE_PAGE_BYTES, map->end / ESTIMATE_PAGE_BYTES, map->file};
	process->shares |= region->shared_bytes > 0;
	return 0;
}

static void region_field(const char *line, struct region *region)
{
	uint64_t value;

	if (smaps_flags(line, &region->flags))
		return;
	if (line[0] == 'A' && kfile_field_u64(line, "Anonymous", &value) == 0)
		region->anonymous_bytes = value;
	else if (line[0] == 'R' && kfile_field_u64(line, "Rss", &value) == 0)
		region->rss_bytes = value;
	else if (line[0] == 'P' && kfile_field_u64(line, "Private_Hugetlb", &value) == 0)
		region->hugetlb_bytes += value;
	else if (line[0] == 'S' && kfile_field_u64(line, "Shared_Hugetlb", &value) == 0)
		region->hugetlb_bytes += value;
	else if (line[0] == 'S' && (kfile_field_u64(line, "Shared_Clean", &value) == 0 ||
				    kfile_field_u64(line, "Shared_Dirty", &value) == 0))
		region->shared_bytes += value;
}

/* The text is cut into lines in place. */
static int smaps_parse(char *text, bool only_marked, struct live_process *process,
		       struct estimate_memory *ret_memory)
{
	struct estimate_memory memory = {0};
	struct smaps_mapping map;
	struct region region;
	bool open = false;
	char *save = NULL;
	int r = 0;

	for (char *line = strtok_r(text, "\n", &save); line && r == 0;
	     line = strtok_r(NULL, "\n", &save)) {
		if (smaps_header(line, &map) <= 0) {
			if (open)
				region_field(line, &region);
			continue;
		}
		if (open)
			r = region_end(&region, only_marked, process, &memory);
		region = region_of(&map);
		open = true;
	}
	if (r == 0 && !open)
		return -EIO;
	if (r == 0)
		r = region_end(&region, only_marked, process, &memory);
	if (r == 0)
		*ret_memory = memory;
	return r;
}

/* ---- processes ---- */

/* The kernel's zero page, as a page of our own that was only read. Needs CAP_SYS_ADMIN. */
static uint64_t zero_pfn_find(int rootfd)
{
	AUTO_FD int fd = openat(rootfd, "proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	volatile uint8_t *page =
		mmap(NULL, ESTIMATE_PAGE_BYTES, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint64_t entry = 0;

	if (page == MAP_FAILED)
		return 0;
	if (fd < 0 || page[0] != 0 ||
	    pread(fd, &entry, sizeof(entry),
		  (off_t)((uintptr_t)page / ESTIMATE_PAGE_BYTES * sizeof(entry))) !=
		    (ssize_t)sizeof(entry))
		entry = 0;
	munmap((void *)(uintptr_t)page, ESTIMATE_PAGE_BYTES);
	return entry & PAGEMAP_FRAME;
}

int estimate_live_open(int rootfd, struct estimate_live **ret_live)
{
	struct estimate_live *live = calloc(1, sizeof(*live));
	uint64_t run;

	if (!live)
		return -ENOMEM;
	live->rootfd = rootfd;
	live->merging = kfile_read_u64(rootfd, "sys/kernel/mm/ksm/run", &run) == 0 && run == 1;
	live->zero_pfn = zero_pfn_find(rootfd);
	*ret_live = live;
	return 0;
}

void estimate_live_close(struct estimate_live *live)
{
	if (!live)
		return;
	for (size_t i = 0; i < live->n; i++) {
		free(live->processes[i].regions);
		cleanup_fd(&live->processes[i].pagemap);
		cleanup_fd(&live->processes[i].mem);
	}
	free(live->processes);
	free(live);
}

int estimate_live_add(struct estimate_live *live, pid_t pid, bool only_marked,
		      struct estimate_memory *ret_memory)
{
	struct live_process process = {.pid = pid}, *more;
	AUTO_FREE char *text = NULL;
	AUTO_FD int fd = -1, mem = -1;
	char path[64];
	size_t len;
	int r;

	snprintf(path, sizeof(path), "proc/%d/pagemap", (int)pid);
	fd = openat(live->rootfd, path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		snprintf(path, sizeof(path), "proc/%d/mem", (int)pid);
		mem = openat(live->rootfd, path, O_RDONLY | O_CLOEXEC);
	}
	if (fd < 0 || mem < 0)
		return errno == ENOENT ? -ESRCH : -errno;
	snprintf(path, sizeof(path), "proc/%d/smaps", (int)pid);
	r = kfile_read_all(live->rootfd, path, &text, &len);
	if (r == 0 && len == 0)
		r = -ESRCH; /* exiting, or a kernel thread: no memory */
	if (r < 0)
		return r == -ENOENT ? -ESRCH : r;
	r = smaps_parse(text, only_marked, &process, ret_memory);
	more = r == 0 ? reallocarray(live->processes, live->n + 1, sizeof(*more)) : NULL;
	if (!more) {
		free(process.regions);
		return r < 0 ? r : -ENOMEM;
	}
	process.pagemap = TAKE_FD(fd);
	process.mem = TAKE_FD(mem);
	live->processes = more;
	live->processes[live->n++] = process;
	return 0;
}

/* ---- pages ---- */

/* The part of a region that begins at or after page `from`; false: there is none. */
static bool window_find(const struct live_process *process, uint64_t from,
			struct live_region *ret_window)
{
	for (size_t i = 0; i < process->n; i++) {
		struct live_region window = process->regions[i];

		if (window.to <= from)
			continue;
		if (window.from < from)
			window.from = from;
		if (window.to - window.from > WINDOW_PAGES)
			window.to = window.from + WINDOW_PAGES;
		*ret_window = window;
		return true;
	}
	return false;
}

static int present_scan(const struct live_process *process, struct live_region window,
			uint64_t *from, struct estimate_run *runs, size_t max)
{
	/* What need not be known of a page costs nothing: of a file is told by its struct page. */
	uint64_t unwanted = PAGEMAP_SCAN_PFNZERO | (window.file ? PAGEMAP_SCAN_FILE : 0);
	struct pagemap_scan_region regions[512];
	struct pagemap_scan arg = {.size = sizeof(arg),
				   .start = window.from * ESTIMATE_PAGE_BYTES,
				   .end = window.to * ESTIMATE_PAGE_BYTES,
				   .vec = (uintptr_t)regions,
				   .vec_len = max < 512 ? max : 512,
				   .category_inverted = unwanted,
				   .category_mask = PAGEMAP_SCAN_PRESENT | unwanted,
				   .return_mask = PAGEMAP_SCAN_PRESENT};
	int n = ioctl(process->pagemap, PAGEMAP_SCAN_IOCTL, &arg);

	if (n < 0)
		return -errno;
	for (int i = 0; i < n; i++) {
		uint64_t page = regions[i].start / ESTIMATE_PAGE_BYTES;

		runs[i] = (struct estimate_run){page, regions[i].end / ESTIMATE_PAGE_BYTES - page};
	}
	*from = arg.walk_end / ESTIMATE_PAGE_BYTES;
	return n;
}

static int present_read(const struct estimate_live *live, const struct live_process *process,
			struct live_region window, uint64_t *from, struct estimate_run *runs,
			size_t max)
{
	uint64_t map[MAP_PAGES];
	size_t n = 0,
	       want = window.to - window.from < MAP_PAGES ? window.to - window.from : MAP_PAGES;
	ssize_t got = pread(process->pagemap, map, want * sizeof(*map),
			    (off_t)(window.from * sizeof(*map)));

	if (got < 0)
		return -errno;
	if (got == 0)
		return -ESRCH; /* the process has given up its memory */
	*from = window.from;
	for (size_t i = 0; i < (size_t)got / sizeof(*map); i++, (*from)++) {
		uint64_t pfn = map[i] & PAGEMAP_FRAME;

		if (!(map[i] & PAGEMAP_PRESENT) || map[i] & PAGEMAP_FILE ||
		    (pfn && pfn == live->zero_pfn))
			continue;
		if (n && runs[n - 1].page + runs[n - 1].n == *from) {
			runs[n - 1].n++;
			continue;
		}
		if (n == max)
			break;
		runs[n++] = (struct estimate_run){*from, 1};
	}
	return (int)n;
}

/* Of a process that has given up its memory PAGEMAP_SCAN says that nothing is present; read(2)
 * returns 0. */
static int still_there(const struct live_process *process)
{
	uint64_t entry;

	return pread(process->pagemap, &entry, sizeof(entry), 0) == 0 ? -ESRCH : 0;
}

static int live_present(void *ctx, size_t process, uint64_t *from, struct estimate_run *runs,
			size_t max)
{
	struct estimate_live *live = ctx;
	const struct live_process *p = &live->processes[process];
	struct live_region window;
	uint64_t next = *from;
	int n = -ENOTTY;

	if (!window_find(p, *from, &window)) {
		*from = UINT64_MAX;
		return still_there(p);
	}
	if (!live->no_scan)
		n = present_scan(p, window, &next, runs, max);
	if (n == -ENOTTY) {
		live->no_scan = true;
		n = present_read(live, p, window, &next, runs, max);
	}
	if (n >= 0)
		*from = next;
	return n;
}

/* How many of n pages lie side by side from the first on. */
static size_t side_by_side(const uint64_t *pages, size_t n)
{
	size_t to = 1;

	while (to < n && pages[to] == pages[to - 1] + 1)
		to++;
	return to;
}

/*
 * As many pages as can be read from pages[0] on, those side by side in one call. Returns how many
 * were read; the page behind them could not.
 */
static ssize_t read_shared(int mem, const uint64_t *pages, size_t n, uint8_t *buf)
{
	for (size_t at = 0, more; at < n; at += more) {
		ssize_t got;

		more = side_by_side(pages + at, n - at);
		got = pread(mem, buf + at * ESTIMATE_PAGE_BYTES, more * ESTIMATE_PAGE_BYTES,
			    (off_t)(pages[at] * ESTIMATE_PAGE_BYTES));
		if (got <= 0 && at == 0 && (got == 0 || errno != EIO))
			return got == 0 ? -ESRCH : -errno; /* 0: the process has ended */
		got = got > 0 ? got / (ssize_t)ESTIMATE_PAGE_BYTES : 0;
		if ((size_t)got < more)
			return (ssize_t)at + got;
	}
	return (ssize_t)n;
}

/* The same of a process that shares no pages. That its pid is another's by now still_there() sees.
 */
static ssize_t read_own(pid_t pid, const uint64_t *pages, size_t n, uint8_t *buf)
{
	struct iovec theirs[ESTIMATE_BATCH_PAGES], ours;
	unsigned long count = 0;
	ssize_t got;

	n = n < ESTIMATE_BATCH_PAGES ? n : ESTIMATE_BATCH_PAGES;
	for (size_t at = 0, more; at < n; at += more) {
		more = side_by_side(pages + at, n - at);
		theirs[count++] = (struct iovec){
			.iov_base = (void *)(uintptr_t)(pages[at] * ESTIMATE_PAGE_BYTES),
			.iov_len = more * ESTIMATE_PAGE_BYTES,
		};
	}
	ours = (struct iovec){.iov_base = buf, .iov_len = n * ESTIMATE_PAGE_BYTES};
	got = process_vm_readv(pid, &ours, 1, theirs, count, 0);
	if (got < 0 && errno != EFAULT)
		return -errno;
	return got > 0 ? got / (ssize_t)ESTIMATE_PAGE_BYTES : 0;
}

static int live_read(void *ctx, size_t process, const uint64_t *pages, size_t n, uint8_t *buf,
		     bool *ret_there)
{
	const struct estimate_live *live = ctx;
	const struct live_process *p = &live->processes[process];
	size_t done = 0;

	while (done < n) {
		uint8_t *to = buf + done * ESTIMATE_PAGE_BYTES;
		ssize_t got;

		if (p->shares || live->merging)
			got = read_shared(p->mem, pages + done, n - done, to);
		else
			got = read_own(p->pid, pages + done, n - done, to);
		if (got < 0)
			return (int)got;
		memset(ret_there + done, true, (size_t)got);
		done += (size_t)got;
		if (done < n)
			ret_there[done++] = false;
	}
	return 0;
}

static int live_nodes(void *ctx, size_t process, const uint64_t *pages, size_t n,
		      uint8_t *ret_nodes)
{
	const struct estimate_live *live = ctx;
	void *addresses[ESTIMATE_BATCH_PAGES];
	int status[ESTIMATE_BATCH_PAGES];

	for (size_t i = 0; i < n; i++)
		addresses[i] = (void *)(uintptr_t)(pages[i] * ESTIMATE_PAGE_BYTES);
	if (move_pages(live->processes[process].pid, n, addresses, NULL, status, 0) < 0)
		return -errno;
	for (size_t i = 0; i < n; i++)
		ret_nodes[i] = status[i] >= 0 && status[i] < 256 ? (uint8_t)status[i] : 0;
	return 0;
}

void estimate_live_source(struct estimate_live *live, bool nodes,
			  struct estimate_source *ret_source)
{
	*ret_source = (struct estimate_source){.ctx = live,
					       .present = live_present,
					       .read = live_read,
					       .nodes = nodes ? live_nodes : NULL};
}
