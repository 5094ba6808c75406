// SPDX-License-Identifier: Apache-2.0
/* The note has a line "PID STARTTIME BEFORE NOW" per guest, with lists of processors. */
#include "memd/pin.h"

#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/kfile.h"
#include "common/log.h"
#include "memd/cgroup_cpuset.h"
#include "memd/note.h"
#include "memd/vcpus.h"

#define NOTE_NAME      "pinned"
#define LIST_MAX       1024
#define LINE_MAX_BYTES (2 * LIST_MAX + 64)

static int set_affinity(pid_t tid, const uint64_t *words)
{
	cpu_set_t *set = CPU_ALLOC(NODES_CPUS_MAX);
	size_t size = CPU_ALLOC_SIZE(NODES_CPUS_MAX);
	int r;

	if (!set)
		return -ENOMEM;
	CPU_ZERO_S(size, set);
	for (size_t cpu = 0; cpu < NODES_CPUS_MAX; cpu++)
		if (words[cpu / 64] >> cpu % 64 & 1)
			CPU_SET_S(cpu, size, set);
	r = sched_setaffinity(tid, size, set) < 0 ? -errno : 0;
	CPU_FREE(set);
	return r;
}

static bool is_same(const uint64_t *a, const uint64_t *b)
{
	return memcmp(a, b, NODES_CPU_WORDS * sizeof(*a)) == 0;
}

static bool is_empty(const uint64_t *words)
{
	for (size_t i = 0; i < NODES_CPU_WORDS; i++)
		if (words[i])
			return false;
	return true;
}

/* All threads that may run on just these: on those from now on. The first error, but for one gone.
 */
static int change(int rootfd, pid_t pid, const uint64_t *from, const uint64_t *to)
{
	AUTO_FREE pid_t *tids = NULL;
	uint64_t now[NODES_CPU_WORDS];
	size_t n = 0;
	int result = vcpus_threads(rootfd, pid, &tids, &n, NULL);

	for (size_t i = 0; i < n; i++) {
		int r;

		/* Those of the kernel for vhost are processes of their own there. */
		if (vcpus_allowed(rootfd, tids[i], tids[i], now) < 0 || !is_same(now, from))
			continue;
		r = set_affinity(tids[i], to);
		if (r < 0 && r != -ESRCH && result == 0)
			result = r;
	}
	return result;
}

/* ---- the note ---- */

static void fill_note(FILE *file, const struct guests *guests)
{
	char before[LIST_MAX], now[LIST_MAX];

	for (size_t i = 0; i < guests->n; i++) {
		const struct guest *guest = guests->v[i];

		if (!guest->cpus.pin)
			continue;
		kfile_list_format(guest->cpus.pin->before, NODES_CPUS_MAX, before, sizeof(before));
		kfile_list_format(guest->cpus.pin->now, NODES_CPUS_MAX, now, sizeof(now));
		fprintf(file, "%d %" PRIu64 " %s %s\n", (int)guest->pid, guest->starttime, before,
			now);
	}
}

static int keep(const struct guests *guests, const char *dir)
{
	return dir[0] ? note_write_guests(dir, NOTE_NAME, guests, fill_note) : 0;
}

/* A line that makes sense: whose it is, and the two sets. */
static bool line_parse(const char *line, pid_t *ret_pid, uint64_t *ret_starttime,
		       struct guest_pin *ret_pin)
{
	char before[LIST_MAX], now[LIST_MAX];
	int pid;

	if (sscanf(line, "%d %" SCNu64 " %1023s %1023s", &pid, ret_starttime, before, now) != 4)
		return false;
	*ret_pid = pid;
	*ret_pin = (struct guest_pin){0};
	return kfile_list_parse(before, ret_pin->before, NODES_CPUS_MAX) == 0 &&
	       kfile_list_parse(now, ret_pin->now, NODES_CPUS_MAX) == 0 &&
	       !is_empty(ret_pin->before);
}

static FILE *note_read(const char *dir)
{
	char path[CONFIG_PATH_MAX + 32];

	snprintf(path, sizeof(path), "%s/" NOTE_NAME, dir);
	return fopen(path, "re");
}

void pin_recall(struct guest *guest, const char *dir)
{
	struct guest_pin noted, **own = &guest->cpus.pin;
	char line[LINE_MAX_BYTES];
	FILE *file = note_read(dir);

	guest->recalled = true;
	if (!file)
		return;
	while (fgets(line, sizeof(line), file)) {
		uint64_t starttime;
		pid_t pid;

		if (!line_parse(line, &pid, &starttime, &noted) || pid != guest->pid ||
		    starttime != guest->starttime)
			continue;
		if (!*own)
			*own = malloc(sizeof(**own));
		if (*own)
			**own = noted;
		else
			log_warn("guest %s: out of memory, its threads stay where they are",
				 guest->name);
	}
	fclose(file);
}

/* ---- there and back ---- */

int pin_guest(int rootfd, struct guest *guest, const struct nodes_cpus *cpus, uint64_t node,
	      const char *dir, char *why, size_t n)
{
	struct guest_cpus *own = &guest->cpus;
	struct guest_pin *was = own->pin;
	uint64_t from[NODES_CPU_WORDS], to[NODES_CPU_WORDS];
	pid_t first = own->n ? own->v[0].tid : guest->pid;
	int r;

	nodes_cpus_of(cpus, node, to);
	if (n)
		why[0] = '\0';
	if (is_empty(to))
		return -ENODEV;
	if (memcg_cpuset_lacks(rootfd, &guest->all->memcg, guest->pid, cpus, node, why, n))
		return -ENXIO;
	r = vcpus_allowed(rootfd, guest->pid, first, from);
	if (r < 0)
		return r;
	if (is_same(from, to))
		return 0;
	own->pin = malloc(sizeof(*own->pin));
	if (!own->pin) {
		own->pin = was;
		return -ENOMEM;
	}
	memcpy(own->pin->before, was ? was->before : from, sizeof(from));
	memcpy(own->pin->now, to, sizeof(to));
	/* Before the first thread: a note too many does no harm. */
	r = keep(guest->all, dir);
	if (r < 0) {
		free(own->pin);
		own->pin = was;
		return r;
	}
	free(was);
	return change(rootfd, guest->pid, from, to);
}

size_t pin_leave(const struct guests *guests, int rootfd, const char *dir)
{
	size_t given = 0;

	for (size_t i = 0; i < guests->n; i++) {
		struct guest *guest = guests->v[i];
		struct guest_cpus *own = &guest->cpus;
		int r;

		if (!own->pin)
			continue;
		r = change(rootfd, guest->pid, own->pin->now, own->pin->before);
		if (r < 0 && r != -ESRCH) {
			log_warn("guest %s: its threads stay on the processors that memd gave "
				 "them: %s",
				 guest->name, strerror(-r));
			continue;
		}
		log_info("guest %s: its threads may run where they could before", guest->name);
		free(own->pin);
		own->pin = NULL;
		given++;
	}
	if (given && keep(guests, dir) < 0)
		log_warn("%s/" NOTE_NAME ": cannot be written", dir);
	return given;
}

int pin_restore(int rootfd, const char *dir,
		void (*fn)(void *ctx, pid_t pid, const char *list, int error), void *ctx)
{
	char path[CONFIG_PATH_MAX + 32], line[LINE_MAX_BYTES], list[LIST_MAX];
	FILE *file = note_read(dir);
	int n = 0;

	if (!file)
		return errno == ENOENT ? 0 : -errno;
	while (fgets(line, sizeof(line), file)) {
		struct guest_pin noted;
		struct footprint foot;
		uint64_t starttime;
		pid_t pid;
		int r;

		if (!line_parse(line, &pid, &starttime, &noted) ||
		    footprint_quick(rootfd, pid, &foot) < 0 || foot.starttime != starttime)
			continue;
		r = change(rootfd, pid, noted.now, noted.before);
		kfile_list_format(noted.before, NODES_CPUS_MAX, list, sizeof(list));
		if (fn)
			fn(ctx, pid, list, r);
		n++;
	}
	fclose(file);
	snprintf(path, sizeof(path), "%s/" NOTE_NAME, dir);
	unlink(path);
	return n;
}
