// SPDX-License-Identifier: Apache-2.0
/*
 * A process's mergeable mappings and their frames; see sharing_walk.h. smaps costs as much as
 * pagemap (50 ns a page each), but it alone tells which mappings are mergeable, and since 6.6 in
 * which of them anything is merged. The ioctl PAGEMAP_SCAN (6.7) tells neither that nor frames and
 * costs the same, so it would not help.
 */
#include "memd/sharing_walk.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/grow.h"
#include "common/kfile.h"
#include "common/process.h"
#include "common/size.h"
#include "memd/footprint.h"
#include "memd/host.h"
#include "memd/pagemap.h"
#include "memd/smaps.h"

#define CHUNK_PAGES 65536

struct region {
	uint64_t start, end;
	uint64_t merged_bytes; /* POL_ABSENT: not told */
	bool mergeable;
};

struct regions {
	struct region *v;
	size_t n, room;
	uint64_t merged_bytes; /* of all, POL_ABSENT: not told */
	uint64_t pages;
};

/* What belongs to the walk of one process. */
struct steps {
	struct walk *walk;
	int fd; /* pagemap */
	uint32_t owner;
	struct sharing_part *part;
	uint64_t *entries;
	uint64_t done_pages, all_pages;
};

static int regions_add(struct regions *regions, const struct region *region)
{
	struct region *v;

	if (!region->mergeable)
		return 0;
	v = grow(regions->v, &regions->room, regions->n + 1, sizeof(*v));
	if (!v)
		return -ENOMEM;
	regions->v = v;
	regions->v[regions->n++] = *region;
	regions->pages += (region->end - region->start) / host_page_bytes();
	if (!pol_has(region->merged_bytes))
		regions->merged_bytes = POL_ABSENT;
	else if (pol_has(regions->merged_bytes))
		regions->merged_bytes += region->merged_bytes;
	return 0;
}

/* A line of smaps; regions are cut at page borders by the kernel. */
static int smaps_line(struct regions *regions, const char *line, struct region *region)
{
	struct smaps_mapping map;
	unsigned int flags;
	uint64_t value;
	int r = smaps_header(line, &map);

	if (r < 0)
		return -EIO;
	if (r > 0) {
		*region = (struct region){map.start, map.end, POL_ABSENT, false};
	} else if (line[0] == 'K' && kfile_field_u64(line, "KSM", &value) == 0) {
		region->merged_bytes = value;
	} else if (smaps_flags(line, &flags)) {
		region->mergeable = flags & SMAPS_MERGEABLE;
		return regions_add(regions, region); /* the last line of each */
	}
	return 0;
}

static int smaps_read(int rootfd, pid_t pid, struct regions *regions)
{
	AUTO_FD int fd = process_open(rootfd, pid, "smaps");
	AUTO_FILE FILE *file = NULL;
	AUTO_FREE char *line = NULL;
	struct region region = {0};
	size_t room = 0;
	int r = 0;

	if (fd < 0)
		return fd;
	file = fdopen(fd, "r");
	if (!file)
		return -errno;
	TAKE_FD(fd);
	errno = 0;
	while (r == 0 && getline(&line, &room, file) > 0)
		r = smaps_line(regions, line, &region);
	if (r == 0 && ferror(file))
		r = errno ? -errno : -EIO;
	return r;
}

/* Frames of entries that may be merged pages: present, anonymous, mapped more than once. */
static int entries_add(const struct steps *steps, size_t n)
{
	struct walk *walk = steps->walk;
	uint64_t previous = POL_ABSENT;

	for (size_t i = 0; i < n; i++) {
		uint64_t entry = steps->entries[i], frame = entry & PAGEMAP_FRAME;
		int r;

		if ((entry & (PAGEMAP_PRESENT | PAGEMAP_SWAPPED | PAGEMAP_FILE |
			      PAGEMAP_EXCLUSIVE)) != PAGEMAP_PRESENT)
			continue;
		if (!frame)
			return -EPERM; /* hidden from those without CAP_SYS_ADMIN */
		if (frame == previous && frame != walk->zero_frame &&
		    frames_is_zero(walk->frames, frame))
			walk->zero_frame = frame;
		previous = frame;
		if (frame == walk->zero_frame) {
			steps->part->zero_mapped_pages++;
			continue;
		}
		r = frames_add(walk->frames, frame, steps->owner);
		if (r < 0)
			return r;
	}
	return 0;
}

static int region_walk(struct steps *steps, const struct region *region)
{
	uint64_t page_bytes = host_page_bytes();
	uint64_t page = region->start / page_bytes, end = region->end / page_bytes;

	while (page < end) {
		size_t want = end - page < CHUNK_PAGES ? (size_t)(end - page) : CHUNK_PAGES;
		ssize_t got = pread(steps->fd, steps->entries, want * sizeof(*steps->entries),
				    (off_t)(page * sizeof(*steps->entries)));
		size_t n;
		int r;

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		n = (size_t)got / sizeof(*steps->entries);
		if (!n)
			return -ESRCH; /* its memory is gone: it is ending */
		r = entries_add(steps, n);
		page += n;
		steps->done_pages += n;
		steps->walk->walked_pages += n;
		if (r == 0)
			r = steps->walk->fn(steps->walk->ctx, steps->done_pages, steps->all_pages);
		if (r < 0)
			return r;
	}
	return 0;
}

/* Is there anything to find in it? */
static bool region_pays(const struct region *region, const struct sharing_part *part)
{
	return !pol_has(region->merged_bytes) || region->merged_bytes || !pol_has(part->zero_pages);
}

static int regions_walk(struct walk *walk, pid_t pid, const struct regions *regions, uint32_t owner,
			struct sharing_part *part)
{
	AUTO_FD int fd = process_open(walk->rootfd, pid, "pagemap");
	struct steps steps = {walk, fd, owner, part, NULL, 0, regions->pages};
	int r = 0;

	if (fd < 0)
		return fd;
	steps.entries = malloc(CHUNK_PAGES * sizeof(*steps.entries));
	if (!steps.entries)
		return -ENOMEM;
	for (size_t i = 0; r == 0 && i < regions->n; i++) {
		const struct region *region = &regions->v[i];

		if (region_pays(region, part))
			r = region_walk(&steps, region);
		else
			steps.done_pages += (region->end - region->start) / host_page_bytes();
	}
	free(steps.entries);
	return r;
}

static uint64_t in_pages(uint64_t bytes)
{
	return pol_has(bytes) ? bytes / host_page_bytes() : POL_ABSENT;
}

/* What the kernel counts of it. Once target->starttime is known it must be that process. */
static int counts_read(int rootfd, struct sharing_target *target, struct sharing_part *part)
{
	struct footprint foot;
	int r = footprint_quick(rootfd, target->pid, &foot);

	if (r < 0)
		return r;
	if (target->starttime && foot.starttime != target->starttime)
		return -ESRCH;
	target->starttime = foot.starttime;
	part->record_pages = in_pages(foot.ksm_merging_bytes);
	part->zero_pages = in_pages(foot.ksm_zero_bytes);
	part->metadata_bytes = foot.ksm_rmap_bytes;
	return 0;
}

int walk_process(struct walk *walk, const struct sharing_target *target, uint32_t owner,
		 struct sharing_part *part)
{
	struct sharing_target same = *target;
	struct regions regions = {0};
	struct sharing_part found = *part;
	size_t before = walk->frames->n;
	int r = counts_read(walk->rootfd, &same, &found);

	if (r == 0)
		r = smaps_read(walk->rootfd, target->pid, &regions);
	if (r == 0 && regions.n)
		r = regions_walk(walk, target->pid, &regions, owner, &found);
	found.single_pages = in_pages(regions.merged_bytes);
	free(regions.v);
	/* Again, now beside what was found; and is it the same process still? */
	if (r == 0)
		r = counts_read(walk->rootfd, &same, &found);
	if (r == 0)
		*part = found;
	else
		walk->frames->n = before;
	return r;
}

bool walk_merges(int rootfd, pid_t pid)
{
	char path[64], text[1024];
	uint64_t value;

	snprintf(path, sizeof(path), "proc/%d/ksm_stat", (int)pid);
	if (kfile_read(rootfd, path, text, sizeof(text)) >= 0) {
		if (kfile_field_u64(text, "ksm_zero_pages", &value) == 0 && value)
			return true;
		if (kfile_field_u64(text, "ksm_merging_pages", &value) == 0)
			return value > 0;
	}
	snprintf(path, sizeof(path), "proc/%d/ksm_merging_pages", (int)pid);
	return kfile_read_u64(rootfd, path, &value) == 0 && value;
}
