// SPDX-License-Identifier: Apache-2.0
/* Threads of guests, from their monitors and /proc/PID/task. */
#include "memd/vcpus.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/grow.h"
#include "common/kfile.h"
#include "common/process.h"
#include "common/wire.h"

/* Time of the past counts for less with each look, this part of it goes. */
#define FADE 8

int vcpus_reserve(struct guest_cpus *cpus, size_t n)
{
	struct guest_cpu *v;

	if (n <= cpus->room)
		return 0;
	v = reallocarray(cpus->v, n, sizeof(*v));
	if (!v)
		return -ENOMEM;
	cpus->v = v;
	cpus->room = n;
	return 0;
}

void vcpus_forget(struct guest_cpus *cpus)
{
	free(cpus->v);
	free(cpus->pin);
	*cpus = (struct guest_cpus){0};
}

/* ---- what the monitor says ---- */

void vcpus_told(struct guest *guest, json_object *value)
{
	struct guest_cpus *cpus = &guest->cpus;
	size_t n = 0, most;

	cpus->guest_nodes = 0;
	cpus->told = POL_ABSENT;
	if (!json_object_is_type(value, json_type_array)) {
		cpus->n = 0;
		return;
	}
	cpus->told = json_object_array_length(value);
	most = cpus->told < GUEST_CPUS_MAX ? (size_t)cpus->told : GUEST_CPUS_MAX;
	if (vcpus_reserve(cpus, most) < 0) {
		cpus->n = 0;
		return;
	}
	for (size_t i = 0; i < json_object_array_length(value) && n < most; i++) {
		json_object *item = json_object_array_get_idx(value, i);
		uint64_t tid, node;

		if (!json_get_u64(item, "thread-id", &tid) || tid == 0 || tid > INT32_MAX)
			continue;
		if (json_get_u64(json_get_obj(item, "props"), "node-id", &node) && node < 64)
			cpus->guest_nodes |= 1ULL << node;
		if (n >= cpus->n || cpus->v[n].tid != (pid_t)tid)
			cpus->v[n] = (struct guest_cpu){
				.cpu_us = POL_ABSENT, .cpu = POL_ABSENT, .node = POL_ABSENT};
		cpus->v[n++].tid = (pid_t)tid;
	}
	cpus->n = n;
}

/* ---- where they run ---- */

/* CPU time, and the processor it ran on last: fields 14, 15 and 39. */
static int stat_read(int rootfd, pid_t pid, pid_t tid, uint64_t *ret_cpu_us, uint64_t *ret_cpu)
{
	uint64_t field[40] = {0}, hz = (uint64_t)sysconf(_SC_CLK_TCK);
	char path[64], text[1024];
	const char *rest;
	size_t i = 3;
	int r;

	snprintf(path, sizeof(path), "proc/%d/task/%d/stat", (int)pid, (int)tid);
	r = kfile_read(rootfd, path, text, sizeof(text));
	if (r < 0)
		return r;
	rest = process_stat_after_comm(text);
	if (!rest)
		return -EIO;
	for (; *rest && i < 40; rest += strspn(rest, " ")) {
		field[i++] = strtoull(rest, NULL, 10);
		rest += strcspn(rest, " ");
	}
	if (i < 40)
		return -EIO;
	*ret_cpu_us = (field[14] + field[15]) * (USEC_PER_SEC / (hz ? hz : 100));
	*ret_cpu = field[39];
	return 0;
}

/* A list of /proc/PID/task/TID/status, "Mems_allowed_list:\t0-1". */
static int list_read(const char *status, const char *key, uint64_t *words, size_t nbits)
{
	const char *line = strstr(status, key);
	char list[1024];
	size_t len;

	if (!line)
		return -EINVAL;
	line += strlen(key);
	line += strspn(line, ": \t");
	len = strcspn(line, "\n");
	if (len >= sizeof(list))
		return -EINVAL;
	memcpy(list, line, len);
	list[len] = '\0';
	memset(words, 0, nbits / 8);
	return kfile_list_parse(list, words, nbits);
}

static int status_read(int rootfd, pid_t pid, pid_t tid, char *text, size_t n)
{
	char path[64];

	snprintf(path, sizeof(path), "proc/%d/task/%d/status", (int)pid, (int)tid);
	return kfile_read(rootfd, path, text, n);
}

int vcpus_allowed(int rootfd, pid_t pid, pid_t tid, uint64_t ret_words[NODES_CPU_WORDS])
{
	char text[8192];
	int r = status_read(rootfd, pid, tid, text, sizeof(text));

	return r < 0 ? r : list_read(text, "Cpus_allowed_list", ret_words, NODES_CPUS_MAX);
}

static bool lacks(const uint64_t *has, const uint64_t *wanted, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (wanted[i] & ~has[i])
			return true;
	return false;
}

/* One vCPU stands for all: who pins them pins each. */
static void look_at_limits(int rootfd, struct guest *guest, const struct nodes_cpus *cpus)
{
	struct guest_cpus *own = &guest->cpus;
	uint64_t allowed[NODES_CPU_WORDS], mems[NODES_WORDS];
	char text[8192];

	own->pinned = own->mems_limited = false;
	if (status_read(rootfd, guest->pid, own->v[0].tid, text, sizeof(text)) < 0)
		return;
	own->limits_known = true;
	if (list_read(text, "Cpus_allowed_list", allowed, NODES_CPUS_MAX) == 0)
		own->pinned = lacks(allowed, cpus->online, NODES_CPU_WORDS) &&
			      !(own->pin && memcmp(allowed, own->pin->now, sizeof(allowed)) == 0);
	if (list_read(text, "Mems_allowed_list", mems, NODES_BITS) == 0)
		own->mems_limited = lacks(mems, cpus->memory, NODES_WORDS);
}

static void find_home(struct guest_cpus *own, const uint64_t last[POL_PLACE_NODES])
{
	const uint64_t *by_node = own->node_us;
	uint64_t sum = 0, most = 0, home = POL_ABSENT;

	for (size_t i = 0; i < POL_PLACE_NODES; i++)
		sum += own->node_us[i];
	if (!sum) { /* none has run: where they would run is where they ran last */
		by_node = last;
		for (size_t i = 0; i < POL_PLACE_NODES; i++)
			sum += last[i];
	}
	for (size_t i = 0; i < POL_PLACE_NODES; i++)
		if (by_node[i] > most) {
			most = by_node[i];
			home = i;
		}
	own->node = home;
	own->node_ppm = sum ? (uint64_t)((unsigned __int128)most * 1000000 / sum) : POL_ABSENT;
}

void vcpus_look(int rootfd, struct guest *guest, const struct nodes_cpus *cpus)
{
	struct guest_cpus *own = &guest->cpus;
	uint64_t last[POL_PLACE_NODES] = {0};

	own->limits_known = false;
	if (guest->pid <= 0 || !own->n) {
		own->node = own->node_ppm = POL_ABSENT;
		return;
	}
	for (size_t i = 0; i < POL_PLACE_NODES; i++)
		own->node_us[i] -= own->node_us[i] / FADE;
	for (size_t i = 0; i < own->n; i++) {
		uint64_t cpu_us, cpu;

		own->v[i].cpu = own->v[i].node = POL_ABSENT;
		if (stat_read(rootfd, guest->pid, own->v[i].tid, &cpu_us, &cpu) < 0) {
			own->v[i].cpu_us = POL_ABSENT;
			continue;
		}
		own->v[i].cpu = cpu;
		own->v[i].node = nodes_of_cpu(cpus, cpu);
		if (own->v[i].node < POL_PLACE_NODES) {
			last[own->v[i].node]++;
			if (pol_has(own->v[i].cpu_us) && cpu_us > own->v[i].cpu_us)
				own->node_us[own->v[i].node] += cpu_us - own->v[i].cpu_us;
		}
		own->v[i].cpu_us = cpu_us;
	}
	look_at_limits(rootfd, guest, cpus);
	find_home(own, last);
}

/* ---- may it be moved ---- */

/* Memory, or a vCPU, on a node that the policy does not weigh. */
static bool is_beyond(const struct guest *guest)
{
	uint64_t seen = guest->survey.seen_mask;

	if (pol_has(seen) && seen >> POL_PLACE_NODES)
		return true;
	for (size_t i = 0; i < guest->cpus.n; i++)
		if (pol_has(guest->cpus.v[i].node) && guest->cpus.v[i].node >= POL_PLACE_NODES)
			return true;
	return false;
}

enum pol_numa_why vcpus_bar(const struct guest *guest)
{
	const struct guest_cpus *own = &guest->cpus;

	if (!config_manages(guest->all->config, guest->name))
		return POL_NUMA_MANAGE;
	if (guest->pool)
		return POL_NUMA_POOL;
	if (own->guest_nodes & (own->guest_nodes - 1))
		return POL_NUMA_SPLIT;
	if (!guest->survey.full || !own->limits_known)
		return POL_NUMA_UNKNOWN;
	if (is_beyond(guest))
		return POL_NUMA_BEYOND;
	if (guest->survey.bound_any || own->mems_limited)
		return POL_NUMA_BOUND;
	return own->pinned ? POL_NUMA_PINNED : POL_NUMA_FREE;
}

/* ---- all that work for it ---- */

struct tids {
	pid_t *v;
	size_t n, capacity;
};

static int add(struct tids *tids, pid_t tid)
{
	pid_t *v = grow(tids->v, &tids->capacity, tids->n + 1, sizeof(*v));

	if (!v)
		return -ENOMEM;
	tids->v = v;
	tids->v[tids->n++] = tid;
	return 0;
}

static bool is_called(int rootfd, const char *dir, pid_t tid, const char *name)
{
	char path[96], comm[64];

	snprintf(path, sizeof(path), "%s%d/comm", dir, (int)tid);
	return kfile_read(rootfd, path, comm, sizeof(comm)) > 0 &&
	       strncmp(comm, name, strlen(name)) == 0 && comm[strlen(name)] == '\n';
}

static int add_own(int rootfd, pid_t pid, const char *vhost, struct tids *tids, size_t *ret_vhost)
{
	char path[64];
	AUTO_FD int fd = -1;
	AUTO_DIR DIR *dir = NULL;
	struct dirent *entry;
	int r = 0;

	snprintf(path, sizeof(path), "proc/%d/task/", (int)pid);
	fd = openat(rootfd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? -ESRCH : -errno;
	dir = fdopendir(fd);
	if (!dir)
		return -errno;
	TAKE_FD(fd);
	while (r == 0 && (entry = readdir(dir))) {
		pid_t tid = (pid_t)strtol(entry->d_name, NULL, 10);

		if (tid <= 0)
			continue;
		r = add(tids, tid);
		*ret_vhost += is_called(rootfd, path, tid, vhost);
	}
	return r;
}

int vcpus_threads(int rootfd, pid_t pid, pid_t **ret_tids, size_t *ret_n, size_t *ret_vhost)
{
	AUTO_FREE pid_t *pids = NULL;
	struct tids tids = {0};
	size_t n = 0, vhost = 0;
	char name[32];
	int r;

	snprintf(name, sizeof(name), "vhost-%d", (int)pid);
	r = add_own(rootfd, pid, name, &tids, &vhost);
	if (r == 0 && !vhost && footprint_has_open(rootfd, pid, "/dev/vhost-net") == 1)
		r = process_list(rootfd, &pids, &n);
	for (size_t i = 0; i < n && r == 0; i++) {
		if (!is_called(rootfd, "proc/", pids[i], name))
			continue;
		r = add(&tids, pids[i]);
		vhost++;
	}
	if (r < 0) {
		free(tids.v);
		return r;
	}
	*ret_tids = tids.v;
	*ret_n = tids.n;
	if (ret_vhost)
		*ret_vhost = vhost;
	return 0;
}
