// SPDX-License-Identifier: Apache-2.0
/*
 * A scheme for each process, which does nothing but count what was idle in that process: with one
 * target only, DAMON would tell of itself whose a region is; with several it does not, so a filter
 * says. The ranges are given (fvaddr): found by the kernel itself they are three for a process,
 * with its libraries and all holes in between.
 */
#include "memd/damon.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/kfile.h"
#include "common/process.h"
#include "memd/smaps.h"

#define ADMIN	"sys/kernel/mm/damon/admin/kdamonds/"
#define STATE	ADMIN "0/state"
#define CONTEXT ADMIN "0/contexts/0/"

/*
 * A page of each region five times a second; every 2 s a region counts as accessed in that time or
 * not. Measured for two guests of 640 MiB resident in all under TCG, which is tens of times slower
 * than a processor: 0.2 % of a core; with twice the regions and twice as often 1.2 %.
 */
#define SAMPLE_US    200000
#define AGGREGATE_US 2000000
#define IDLE_AGE     (DAMON_WINDOW_US / AGGREGATE_US)
#define REGIONS_MAX  600
#define BUSY_TRIES   20
#define BUSY_WAIT_US 20000

static int set(int rootfd, const char *value, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
static int set(int rootfd, const char *value, const char *fmt, ...)
{
	char path[160];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(path, sizeof(path), fmt, ap);
	va_end(ap);
	return kfile_write(rootfd, path, value);
}

static int set_u64(int rootfd, uint64_t value, const char *path)
{
	return kfile_write_u64(rootfd, path, value);
}

/* Another command is being worked off: that takes moments. */
static int command(int rootfd, const char *word)
{
	int r = -EBUSY;

	for (int i = 0; i < BUSY_TRIES && r == -EBUSY; i++) {
		if (i)
			usleep(BUSY_WAIT_US);
		r = kfile_write(rootfd, STATE, word);
	}
	return r;
}

int damon_look(int rootfd, const char **ret_why)
{
	const char *why;
	uint64_t n;
	int r = kfile_read_u64(rootfd, ADMIN "nr_kdamonds", &n);

	if (r == 0 && n)
		r = -EBUSY;
	why = r == -EBUSY    ? "somebody else uses DAMON"
	      : r == -ENOENT ? "the kernel is built without CONFIG_DAMON_SYSFS"
			     : "/sys/kernel/mm/damon/admin cannot be read";
	if (r < 0 && ret_why)
		*ret_why = why;
	return r;
}

int damon_record(struct undo *undo)
{
	/* Given back in the opposite order: a running kdamond cannot be taken away. */
	int r = undo_record(undo, ADMIN "nr_kdamonds", "0", "1");

	return r < 0 ? r : undo_record(undo, STATE, "off", "on");
}

void damon_forget(struct undo *undo)
{
	/* What stays in the journal is found to be as it was. */
	undo_forget(undo, STATE);
	undo_forget(undo, ADMIN "nr_kdamonds");
}

int damon_target_fill(int rootfd, pid_t pid, struct damon_target *ret_target)
{
	struct damon_target out = {.pid = pid};
	AUTO_FREE char *maps = NULL;
	struct smaps_mapping map;
	char path[64], *save = NULL;
	int r;

	snprintf(path, sizeof(path), "proc/%d/maps", (int)pid);
	r = kfile_read_all(rootfd, path, &maps, NULL);
	if (r < 0)
		return r == -ENOENT ? -ESRCH : r;
	for (char *line = strtok_r(maps, "\n", &save); line && out.n < DAMON_RANGES_MAX;
	     line = strtok_r(NULL, "\n", &save)) {
		if (smaps_header(line, &map) <= 0 || !smaps_is_private_ram(&map))
			continue;
		out.ranges[out.n].start = map.start;
		out.ranges[out.n++].end = map.end;
	}
	*ret_target = out;
	return 0;
}

/* ---- setting it up ---- */

static int set_target(int rootfd, const struct damon_target *target, size_t at)
{
	char path[160];
	int r;

	snprintf(path, sizeof(path), CONTEXT "targets/%zu/pid_target", at);
	r = set_u64(rootfd, (uint64_t)target->pid, path);
	snprintf(path, sizeof(path), CONTEXT "targets/%zu/regions/nr_regions", at);
	if (r == 0)
		r = set_u64(rootfd, target->n, path);
	for (size_t i = 0; i < target->n && r == 0; i++) {
		snprintf(path, sizeof(path), CONTEXT "targets/%zu/regions/%zu/start", at, i);
		r = set_u64(rootfd, target->ranges[i].start, path);
		snprintf(path, sizeof(path), CONTEXT "targets/%zu/regions/%zu/end", at, i);
		if (r == 0)
			r = set_u64(rootfd, target->ranges[i].end, path);
	}
	return r;
}

/* Counts regions of that target without an access for the window. */
static int set_scheme(int rootfd, size_t at)
{
	static const struct {
		const char *file, *value;
	} values[] = {
		{"action", "stat"},
		{"access_pattern/sz/min", "0"},
		{"access_pattern/sz/max", "18446744073709551615"},
		{"access_pattern/nr_accesses/min", "0"},
		{"access_pattern/nr_accesses/max", "0"},
		{"access_pattern/age/max", "4294967295"},
		{"filters/nr_filters", "1"},
		{"filters/0/type", "target"},
		{"filters/0/matching", "N"}, /* what does not match is left out */
	};
	char number[24];
	int r = 0;

	for (size_t i = 0; i < ARRAY_SIZE(values) && r == 0; i++)
		r = set(rootfd, values[i].value, CONTEXT "schemes/%zu/%s", at, values[i].file);
	snprintf(number, sizeof(number), "%llu", (unsigned long long)IDLE_AGE);
	if (r == 0)
		r = set(rootfd, number, CONTEXT "schemes/%zu/access_pattern/age/min", at);
	snprintf(number, sizeof(number), "%zu", at);
	if (r == 0)
		r = set(rootfd, number, CONTEXT "schemes/%zu/filters/0/damon_target_idx", at);
	return r;
}

static int set_up(int rootfd, const struct damon_target *targets, size_t n, const char **ret_why)
{
	char text[128];
	int r = set_u64(rootfd, 1, ADMIN "nr_kdamonds");

	*ret_why = "/sys/kernel/mm/damon/admin cannot be set";
	if (r == 0)
		r = set_u64(rootfd, 1, ADMIN "0/contexts/nr_contexts");
	if (r == 0)
		r = kfile_read(rootfd, CONTEXT "avail_operations", text, sizeof(text));
	if (r < 0)
		return r;
	if (!strstr(text, "fvaddr")) {
		*ret_why = "the kernel is built without CONFIG_DAMON_VADDR";
		return -EOPNOTSUPP;
	}
	r = kfile_write(rootfd, CONTEXT "operations", "fvaddr");
	if (r == 0)
		r = set_u64(rootfd, SAMPLE_US, CONTEXT "monitoring_attrs/intervals/sample_us");
	if (r == 0)
		r = set_u64(rootfd, AGGREGATE_US, CONTEXT "monitoring_attrs/intervals/aggr_us");
	if (r == 0)
		r = set_u64(rootfd, AGGREGATE_US, CONTEXT "monitoring_attrs/intervals/update_us");
	if (r == 0)
		r = set_u64(rootfd, REGIONS_MAX, CONTEXT "monitoring_attrs/nr_regions/max");
	if (r == 0)
		r = set_u64(rootfd, n, CONTEXT "targets/nr_targets");
	for (size_t i = 0; i < n && r == 0; i++)
		r = set_target(rootfd, &targets[i], i);
	if (r == 0)
		r = set_u64(rootfd, n, CONTEXT "schemes/nr_schemes");
	for (size_t i = 0; i < n && r == 0; i++)
		r = set_scheme(rootfd, i);
	if (r == -ENOENT || r == -EINVAL) {
		*ret_why = "this needs Linux 6.6 or later";
		return -EOPNOTSUPP;
	}
	if (r < 0)
		return r;
	r = command(rootfd, "on");
	if (r == -EBUSY)
		*ret_why = "somebody else uses DAMON (damon_reclaim, damon_lru_sort, damon_stat?)";
	return r;
}

int damon_start(int rootfd, const struct damon_target *targets, size_t n, const char **ret_why)
{
	int r = damon_look(rootfd, ret_why);

	if (r < 0)
		return r;
	r = set_up(rootfd, targets, n, ret_why);
	if (r < 0)
		damon_stop(rootfd);
	return r;
}

/* ---- and reading it ---- */

int damon_read(int rootfd, const struct damon_target *targets, size_t n, uint64_t *ret_hot_bytes)
{
	int r = command(rootfd, "update_schemes_tried_bytes");

	for (size_t i = 0; i < n && r == 0; i++) {
		uint64_t idle, all = 0;
		char path[160];

		snprintf(path, sizeof(path), CONTEXT "schemes/%zu/tried_regions/total_bytes", i);
		r = kfile_read_u64(rootfd, path, &idle);
		if (r < 0)
			break;
		for (size_t k = 0; k < targets[i].n; k++)
			all += targets[i].ranges[k].end - targets[i].ranges[k].start;
		ret_hot_bytes[i] = all > idle ? all - idle : 0;
	}
	return r;
}

int damon_cpu_us(int rootfd, uint64_t *ret_us)
{
	unsigned long long utime, stime;
	char path[64], stat[1024];
	const char *rest;
	uint64_t pid;

	/* -1: none runs, which is no number. */
	if (kfile_read_u64(rootfd, ADMIN "0/pid", &pid) < 0 || !pid || pid > INT32_MAX)
		return -ESRCH;
	snprintf(path, sizeof(path), "proc/%" PRIu64 "/stat", pid);
	if (kfile_read(rootfd, path, stat, sizeof(stat)) < 0)
		return -ESRCH;
	rest = process_stat_after_comm(stat);
	if (!rest || sscanf(rest, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu", &utime,
			    &stime) != 2)
		return -EIO;
	*ret_us = (utime + stime) * (USEC_PER_SEC / (uint64_t)sysconf(_SC_CLK_TCK));
	return 0;
}

void damon_interrupt(int rootfd)
{
	command(rootfd, "off");
}

int damon_stop(int rootfd)
{
	uint64_t n;

	if (kfile_read_u64(rootfd, ADMIN "nr_kdamonds", &n) < 0 || !n)
		return 0;
	/* One that does not run cannot be stopped; one that stays shows in what follows. */
	command(rootfd, "off");
	return kfile_write_u64(rootfd, ADMIN "nr_kdamonds", 0);
}
