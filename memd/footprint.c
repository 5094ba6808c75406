// SPDX-License-Identifier: Apache-2.0
/*
 * One process's memory from /proc/PID. A process may vanish between any two reads: every way the
 * kernel says so becomes -ESRCH.
 */
#include "memd/footprint.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/kfile.h"
#include "common/process.h"
#include "common/size.h"
#include "memd/footprint_numa.h"
#include "memd/host.h"
#include "memd/pinned.h"
#include "memd/smaps.h"

#define RMAP_ITEM_BYTES 64 /* sizeof(struct ksm_rmap_item) on 64 bit, mm/ksm.c */

/*
 * Private memory without the mergeable flag is taken for guest RAM only from this size on: a
 * thread's stack is 8 MiB of it, and a process has many.
 */
#define UNFLAGGED_MIN_BYTES (16 * MIB)
/* QEMU marks firmware and video memory mergeable too: so much is not the guest's RAM yet. */
#define MERGEABLE_MIN_BYTES (32 * MIB)

static int gone(int r)
{
	return r == -ENOENT ? -ESRCH : r;
}

static int pid_read(int rootfd, pid_t pid, const char *file, char *buf, size_t n)
{
	char path[64];

	snprintf(path, sizeof(path), "proc/%d/%s", (int)pid, file);
	return kfile_read(rootfd, path, buf, n);
}

static int pid_read_all(int rootfd, pid_t pid, const char *file, char **ret_text)
{
	char path[64];

	snprintf(path, sizeof(path), "proc/%d/%s", (int)pid, file);
	return kfile_read_all(rootfd, path, ret_text, NULL);
}

static uint64_t field(const char *text, const char *key)
{
	uint64_t value;

	return kfile_field_u64(text, key, &value) == 0 ? value : POL_ABSENT;
}

static uint64_t scaled(uint64_t value, uint64_t unit)
{
	uint64_t out;

	return !pol_has(value) || __builtin_mul_overflow(value, unit, &out) ? POL_ABSENT : out;
}

/* majflt 12, utime 14, stime 15 and starttime 22 of proc_pid_stat(5). */
static int stat_read(int rootfd, pid_t pid, struct footprint *out)
{
	unsigned long long major, utime, stime, starttime;
	long hz = sysconf(_SC_CLK_TCK);
	char stat[1024], state;
	const char *rest;
	int r = pid_read(rootfd, pid, "stat", stat, sizeof(stat));

	if (r < 0)
		return gone(r);
	rest = process_stat_after_comm(stat);
	if (!rest ||
	    sscanf(rest,
		   "%c %*d %*d %*d %*d %*d %*u %*u %*u %llu %*u %llu %llu %*d %*d %*d %*d %*d %*d "
		   "%llu",
		   &state, &major, &utime, &stime, &starttime) != 5)
		return -EIO;
	if (state == 'Z' || state == 'X' || state == 'x')
		return -ESRCH;
	out->starttime = starttime;
	out->major_faults = major;
	out->cpu_us = (utime + stime) * (USEC_PER_SEC / (hz > 0 ? (uint64_t)hz : 100));
	return 0;
}

static int status_read(int rootfd, pid_t pid, struct footprint *out)
{
	char status[8192];
	const char *vm;
	uint64_t rss;
	int r = pid_read(rootfd, pid, "status", status, sizeof(status));

	if (r < 0 && r != -E2BIG)
		return gone(r);
	if (!strstr(status, "\nState:"))
		return -EIO;
	/* A process that has given up its memory (exiting) has no Vm lines. The groups before
	 * them can be many, the lines behind them are not needed. */
	vm = strstr(status, "\nVmRSS:");
	if (!vm)
		return r == -E2BIG ? -EIO : -ESRCH;
	vm++;
	out->locked_bytes = field(status, "VmLck");
	rss = field(vm, "VmRSS");
	if (!pol_has(rss))
		return -EIO;
	out->anon_bytes = field(vm, "RssAnon");
	out->shared_bytes = field(vm, "RssShmem");
	out->swapped_bytes = field(vm, "VmSwap");
	out->hugetlb_bytes = field(vm, "HugetlbPages");
	out->resident_bytes = rss + (pol_has(out->hugetlb_bytes) ? out->hugetlb_bytes : 0);
	return 0;
}

/* ksm_stat came in 6.1 with the rmap items alone; ksm_merging_pages was a file of its own then. */
static void ksm_read(int rootfd, pid_t pid, struct footprint *out)
{
	char text[1024], path[64];
	uint64_t merging = POL_ABSENT, value;

	out->ksm_merging_bytes = out->ksm_zero_bytes = out->ksm_rmap_bytes = POL_ABSENT;
	if (pid_read(rootfd, pid, "ksm_stat", text, sizeof(text)) >= 0) {
		merging = field(text, "ksm_merging_pages");
		out->ksm_zero_bytes = scaled(field(text, "ksm_zero_pages"), host_page_bytes());
		out->ksm_rmap_bytes = scaled(field(text, "ksm_rmap_items"), RMAP_ITEM_BYTES);
	}
	if (!pol_has(merging)) {
		snprintf(path, sizeof(path), "proc/%d/ksm_merging_pages", (int)pid);
		if (kfile_read_u64(rootfd, path, &value) == 0)
			merging = value;
	}
	out->ksm_merging_bytes = scaled(merging, host_page_bytes());
}

static int quick(int rootfd, pid_t pid, struct footprint *out)
{
	int r = stat_read(rootfd, pid, out);

	if (r < 0)
		return r;
	r = status_read(rootfd, pid, out);
	if (r < 0)
		return r;
	ksm_read(rootfd, pid, out);
	out->anon_huge_bytes = out->ram_bytes = out->mergeable_bytes = POL_ABSENT;
	out->marked_bytes = out->bound_mask = out->seen_mask = POL_ABSENT;
	for (size_t i = 0; i < POL_NODES_MAX; i++)
		out->node_bytes[i] = out->ram_node_bytes[i] = POL_ABSENT;
	return 0;
}

int footprint_quick(int rootfd, pid_t pid, struct footprint *ret_footprint)
{
	struct footprint out = {0};
	int r = quick(rootfd, pid, &out);

	if (r == 0)
		*ret_footprint = out;
	return r;
}

static bool is_in_swap(const struct footprint *footprint)
{
	return pol_has(footprint->swapped_bytes) && footprint->swapped_bytes > 0;
}

int footprint_read_text(int rootfd, pid_t pid, uint64_t starttime, const char *file,
			char **ret_text)
{
	struct footprint foot;
	int r = pid_read_all(rootfd, pid, file, ret_text);

	if (r < 0)
		return gone(r);
	r = footprint_quick(rootfd, pid, &foot);
	return r == 0 && foot.starttime != starttime ? -ESRCH : r;
}

int footprint_again(int rootfd, pid_t pid, struct footprint *footprint)
{
	struct footprint out = *footprint;
	int r = status_read(rootfd, pid, &out);

	if (r == 0 && (is_in_swap(footprint) || is_in_swap(&out)))
		r = stat_read(rootfd, pid, &out);
	if (r == 0)
		*footprint = out;
	return r;
}

/* ---- the slow part ---- */

/* One mapping of smaps, as far as it matters. */
struct region {
	struct smaps_mapping map;
	uint64_t size_bytes;
	unsigned int flags;
	bool named, ram_file;
};

/* What the regions of a process add up to, by the way KSM sees them. */
struct regions {
	uint64_t mergeable_bytes, unflagged_bytes, shared_bytes, hugetlb_bytes, anon_huge_bytes;
	uint64_t marked_bytes;
	struct footprint_places places; /* of private anonymous RAM and of all that is marked */
};

static struct region region_of(const struct smaps_mapping *map)
{
	const char *name = map->name;

	return (struct region){
		.map = *map,
		.size_bytes = map->end - map->start,
		/* [anon:...] is a name given by prctl(PR_SET_VMA), not the stack's */
		.named = name[0] == '[' && strncmp(name, "[anon:", 6) != 0,
		/* A private mapping of these is guest RAM too (share=off): written pages are
		 * anonymous. */
		.ram_file = !strncmp(name, "/memfd:", 7) || !strncmp(name, "/dev/shm/", 9),
	};
}

static void region_end(const struct region *region, struct regions *sum)
{
	const struct smaps_mapping *map = &region->map;
	bool mergeable = region->flags & SMAPS_MERGEABLE;

	if (mergeable) {
		sum->marked_bytes += region->size_bytes;
		footprint_places_add(&sum->places, map->start);
	}
	/* I/O, PFN: a passed-through device's registers. Executable: TCG's code buffer, up to
	 * 1 GiB. */
	if (region->size_bytes < FOOTPRINT_RAM_MIN_BYTES || region->named ||
	    region->flags & (SMAPS_IO | SMAPS_PFN) || map->exec)
		return;
	if (region->flags & SMAPS_HUGETLB)
		sum->hugetlb_bytes += region->size_bytes;
	else if (map->shared && map->writable)
		sum->shared_bytes += region->size_bytes;
	else if (map->shared)
		return;
	else if (mergeable)
		sum->mergeable_bytes += region->size_bytes;
	else if (map->writable && (!map->file || region->ram_file) &&
		 region->size_bytes >= UNFLAGGED_MIN_BYTES) {
		sum->unflagged_bytes += region->size_bytes;
		footprint_places_add(&sum->places, map->start);
	}
}

/* The text is cut into lines in place. -EIO: not one mapping in it. *sum starts empty. */
static int smaps_sum(char *text, struct regions *sum)
{
	struct smaps_mapping map;
	struct region region;
	bool open = false;
	char *save = NULL;

	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		uint64_t value;

		if (smaps_header(line, &map) > 0) {
			if (open)
				region_end(&region, sum);
			region = region_of(&map);
			open = true;
		} else if (open && !smaps_flags(line, &region.flags) && line[0] == 'A' &&
			   kfile_field_u64(line, "AnonHugePages", &value) == 0) {
			sum->anon_huge_bytes += value;
		}
	}
	if (!open)
		return -EIO;
	region_end(&region, sum);
	return 0;
}

/* Why KSM does not touch the largest part of what it leaves alone. */
static void reason_part(const struct regions *sum, char *buf, size_t n)
{
	if (sum->shared_bytes >= sum->hugetlb_bytes && sum->shared_bytes >= sum->unflagged_bytes)
		snprintf(buf, n,
			 "%s is shared memory (share=on, memfd or a file), which KSM never merges",
			 SIZE_TEXT(sum->shared_bytes));
	else if (sum->hugetlb_bytes >= sum->unflagged_bytes)
		snprintf(buf, n, "%s is hugetlb pages (2M or 1G), which KSM never merges",
			 SIZE_TEXT(sum->hugetlb_bytes));
	else
		snprintf(buf, n,
			 "%s is not marked mergeable (merge=off, or QEMU with mem-merge=off)",
			 SIZE_TEXT(sum->unflagged_bytes));
}

static void reason_fill(int rootfd, const struct regions *sum, struct footprint *out)
{
	uint64_t others = sum->shared_bytes + sum->hugetlb_bytes + sum->unflagged_bytes, run;
	size_t n = sizeof(out->mergeable_reason);
	int r = kfile_read_u64(rootfd, "sys/kernel/mm/ksm/run", &run);
	bool some = sum->mergeable_bytes >= MERGEABLE_MIN_BYTES ||
		    (sum->mergeable_bytes > 0 && sum->mergeable_bytes >= others / 8);
	const char *pinned = some ? out->pinned : NULL;

	out->mergeable = some && !pinned && r != -ENOENT;
	if (r == -ENOENT)
		snprintf(out->mergeable_reason, n, "this kernel has no KSM");
	else if (!sum->mergeable_bytes && !others)
		snprintf(out->mergeable_reason, n, "no mapping large enough to be guest memory");
	else if (!some)
		reason_part(sum, out->mergeable_reason, n);
	else if (pinned)
		snprintf(out->mergeable_reason, n, "%s, which KSM never merges", pinned);
	else if (r == 0 && run != 1)
		snprintf(out->mergeable_reason, n,
			 "KSM does not run now (/sys/kernel/mm/ksm/run is %llu)",
			 (unsigned long long)run);
	else if (others > sum->mergeable_bytes / 4)
		reason_part(sum, out->mergeable_reason, n);
}

static void regions_free(struct regions *sum)
{
	footprint_places_free(&sum->places);
}

int footprint_full(int rootfd, pid_t pid, struct footprint *ret_footprint)
{
	AUTO_FREE char *smaps = NULL;
	struct footprint out = {0};
	struct regions sum __attribute__((cleanup(regions_free))) = {0};
	int r = quick(rootfd, pid, &out);

	if (r < 0)
		return r;
	r = pid_read_all(rootfd, pid, "smaps", &smaps);
	if (r < 0)
		return gone(r);
	r = smaps_sum(smaps, &sum);
	if (r < 0) /* no mappings: it exited meanwhile, or the text is not smaps */
		return smaps[0] ? r : -ESRCH;
	r = gone(footprint_numa(rootfd, pid, &sum.places, &out));
	if (r < 0)
		return r;
	out.full = true;
	out.anon_huge_bytes = sum.anon_huge_bytes;
	out.mergeable_bytes = sum.mergeable_bytes;
	out.marked_bytes = sum.marked_bytes;
	out.ram_bytes =
		sum.mergeable_bytes + sum.unflagged_bytes + sum.shared_bytes + sum.hugetlb_bytes;
	out.pinned = pinned_reason(rootfd, pid);
	reason_fill(rootfd, &sum, &out);
	*ret_footprint = out;
	return 0;
}

int footprint_has_open(int rootfd, pid_t pid, const char *file)
{
	char path[64];
	AUTO_FD int fd = -1;
	AUTO_DIR DIR *dir = NULL;
	struct dirent *entry;

	snprintf(path, sizeof(path), "proc/%d/fd", (int)pid);
	fd = openat(rootfd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return gone(-errno);
	dir = fdopendir(fd);
	if (!dir)
		return -errno;
	TAKE_FD(fd);
	while ((entry = readdir(dir))) {
		char target[64];
		ssize_t len = readlinkat(dirfd(dir), entry->d_name, target, sizeof(target) - 1);

		if (len < 0)
			continue;
		target[len] = '\0';
		if (!strcmp(target, file))
			return 1;
	}
	return 0;
}

int footprint_is_kvm(int rootfd, pid_t pid)
{
	return footprint_has_open(rootfd, pid, "anon_inode:kvm-vm");
}
