// SPDX-License-Identifier: Apache-2.0
/*
 * Generations are numbered from the oldest. An aging puts what was touched since the last one into
 * the youngest generation and begins a new one, where new memory goes. So a page in generation g
 * was last touched before g + 1 began, seen from the last aging; what happened since, nobody knows.
 */
#include "memd/lru_gen.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/kfile.h"
#include "memd/host.h"

#define GENERATIONS_MAX 8 /* the kernel has 4 */
#define PAGES_MOST	(1ULL << 40)
#define MSEC		1000ULL

struct generation {
	uint64_t age_us, pages;
};

static const char *next_line(const char *line)
{
	line = strchr(line, '\n');
	return line ? line + 1 : NULL;
}

/* "memcg    12 /machine.slice/a b.scope" */
static bool is_memcg(const char *line, const char *path)
{
	const char *name = line ? strchr(line, '/') : NULL;
	size_t n = strlen(path);

	return line && !strncmp(line, "memcg", 5) && name && !strncmp(name, path, n) &&
	       (name[n] == '\n' || name[n] == '\0');
}

/* One node's: the older ones first. Returns how many, moves *line behind them. */
static int read_node(const char **line, struct generation *generations)
{
	uint64_t number, before = 0, ms, anon, file;
	int n = 0;

	while (*line && sscanf(*line, " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64, &number, &ms,
			       &anon, &file) == 4) {
		if (n == GENERATIONS_MAX || (n && number != before + 1) || anon > PAGES_MOST ||
		    ms > UINT64_MAX / MSEC || (n && ms * MSEC > generations[n - 1].age_us))
			return -EINVAL;
		generations[n++] = (struct generation){.age_us = ms * MSEC, .pages = anon};
		before = number;
		*line = next_line(*line);
	}
	return n ? n : -EINVAL;
}

/* Adds a node's to the look. */
static int add_node(const struct generation *generations, int n, uint64_t least_us,
		    struct lru_gen_look *look)
{
	uint64_t age_us = generations[n - 1].age_us, total = 0, window_us = 0, hot = 0;

	for (int i = 0; i < n; i++) {
		uint64_t ended_us = i + 1 < n ? generations[i + 1].age_us - age_us : 0;

		total += generations[i].pages;
		if (ended_us < least_us) {
			hot += generations[i].pages;
			continue;
		}
		window_us = ended_us;
	}
	if (!total)
		return 0;
	if (!window_us)
		return -EAGAIN;
	look->hot_bytes += hot * host_page_bytes();
	if (window_us < look->window_us)
		look->window_us = window_us;
	if (age_us > look->age_us)
		look->age_us = age_us;
	return 0;
}

int lru_gen_find(const char *text, const char *path, uint64_t least_us,
		 struct lru_gen_look *ret_look)
{
	struct lru_gen_look look = {.window_us = UINT64_MAX};
	const char *line = text;
	bool any = false;

	while (line && !is_memcg(line, path))
		line = next_line(line);
	if (!line)
		return -ENOENT;
	line = next_line(line);
	while (line && !strncmp(line, " node ", 6)) {
		struct generation generations[GENERATIONS_MAX];
		int n, r;

		line = next_line(line);
		n = line ? read_node(&line, generations) : -EINVAL;
		r = n < 0 ? n : add_node(generations, n, least_us, &look);
		if (r < 0)
			return r;
		any = true;
	}
	if (!any)
		return -EINVAL;
	if (look.window_us == UINT64_MAX)
		return -EAGAIN;
	*ret_look = look;
	return 0;
}

const char *lru_gen_why_not(int rootfd)
{
	char text[32], *end;
	unsigned long bits;
	int r = kfile_read(rootfd, "sys/kernel/mm/lru_gen/enabled", text, sizeof(text));

	if (r == -ENOENT)
		return "the kernel is built without CONFIG_LRU_GEN";
	if (r < 0)
		return "/sys/kernel/mm/lru_gen/enabled cannot be read";
	bits = strtoul(text, &end, 0);
	if (end == text || !(bits & 1))
		return "the multi-generational LRU is switched off "
		       "(/sys/kernel/mm/lru_gen/enabled)";
	r = kfile_read(rootfd, LRU_GEN_FILE, text, sizeof(text));
	if (r == -ENOENT)
		return "debugfs is not mounted: mount -t debugfs debugfs /sys/kernel/debug";
	return r < 0 && r != -E2BIG ? "/" LRU_GEN_FILE " cannot be read" : NULL;
}

bool lru_gen_sees_kvm(int rootfd)
{
	unsigned int major, minor;
	char release[128];

	if (kfile_read(rootfd, "proc/sys/kernel/osrelease", release, sizeof(release)) < 0 ||
	    sscanf(release, "%u.%u", &major, &minor) != 2)
		return false;
	return major > 6 || (major == 6 && minor >= 12);
}
