// SPDX-License-Identifier: Apache-2.0
/*
 * v1 wants both lists before a process comes in, v2 takes the parent's for an empty one. v2 also
 * takes nodes that the parent does not have and then gives the parent's, so what is in effect is
 * read back.
 */
#include "memd/cgroup_cpuset.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/kfile.h"
#include "common/wire.h"

#define LIST_MAX 1024

static int list_read(int rootfd, enum memcg_file file, bool v2, const char *dir, uint64_t *words,
		     size_t nbits)
{
	char text[LIST_MAX];
	int r = memcg_file_read(rootfd, file, v2, dir, text, sizeof(text));

	if (r < 0)
		return r;
	text[strcspn(text, "\n")] = '\0';
	memset(words, 0, nbits / 8);
	return kfile_list_parse(text, words, nbits);
}

int memcg_cpuset_of(int rootfd, const struct memcg *memcg, pid_t pid,
		    struct memcg_cpuset *ret_cpuset)
{
	bool v2 = memcg->cpuset_v2;
	struct memcg_cpuset out = {0};
	char *slash;
	int r = memcg_path(rootfd, memcg, MEMCG_CPUSET, pid, out.path, sizeof(out.path));

	if (r < 0)
		return r;
	while (!memcg_file_exists(rootfd, MEMCG_MEMS_NOW, v2, out.path) &&
	       strcmp(out.path, memcg->cpuset_where) != 0 && (slash = strrchr(out.path, '/')))
		*slash = '\0';
	r = list_read(rootfd, MEMCG_CPUS_NOW, v2, out.path, out.cpus, NODES_CPUS_MAX);
	if (r == 0)
		r = list_read(rootfd, MEMCG_MEMS_NOW, v2, out.path, out.mems, NODES_BITS);
	if (r == 0)
		*ret_cpuset = out;
	return r;
}

static int list_write(int rootfd, enum memcg_file file, bool v2, const char *dir,
		      const uint64_t *words, size_t nbits)
{
	char text[LIST_MAX];

	kfile_list_format(words, nbits, text, sizeof(text));
	return memcg_file_write(rootfd, file, v2, dir, text[0] ? text : "\n");
}

static bool is_empty(const uint64_t *words, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (words[i])
			return false;
	return true;
}

static int parent_lists(int rootfd, bool v2, const char *dir, uint64_t cpus[NODES_CPU_WORDS],
			uint64_t mems[NODES_WORDS])
{
	char parent[MEMCG_PATH_MAX], *slash;
	int r;

	snprintf(parent, sizeof(parent), "%s", dir);
	slash = strrchr(parent, '/');
	if (!slash)
		return -EINVAL;
	*slash = '\0';
	r = list_read(rootfd, MEMCG_CPUS_NOW, v2, parent, cpus, NODES_CPUS_MAX);
	return r < 0 ? r : list_read(rootfd, MEMCG_MEMS_NOW, v2, parent, mems, NODES_BITS);
}

/* Of the nodes that are wanted: their processors. */
static int wanted_lists(const struct nodes_cpus *cpus, const uint64_t mems[NODES_WORDS],
			uint64_t ret_cpus[NODES_CPU_WORDS])
{
	uint64_t one[NODES_CPU_WORDS];

	memset(ret_cpus, 0, sizeof(one));
	for (uint64_t node = 0; node < NODES_BITS; node++) {
		if (!(mems[node / 64] >> node % 64 & 1))
			continue;
		if (!(cpus->memory[node / 64] >> node % 64 & 1))
			return -ENXIO;
		nodes_cpus_of(cpus, node, one);
		for (size_t i = 0; i < NODES_CPU_WORDS; i++)
			ret_cpus[i] |= one[i];
	}
	return 0;
}

int memcg_cpuset_set(int rootfd, bool v2, const char *dir, const struct nodes_cpus *cpus,
		     const uint64_t mems[NODES_WORDS])
{
	uint64_t parent_cpus[NODES_CPU_WORDS], own_cpus[NODES_CPU_WORDS] = {0};
	uint64_t parent_mems[NODES_WORDS], own_mems[NODES_WORDS] = {0}, now[NODES_WORDS];
	int r = parent_lists(rootfd, v2, dir, parent_cpus, parent_mems);

	if (r == 0 && mems) {
		memcpy(own_mems, mems, sizeof(own_mems));
		r = wanted_lists(cpus, mems, own_cpus);
	}
	if (r < 0)
		return r;
	if (!v2 && is_empty(own_mems, NODES_WORDS))
		memcpy(own_mems, parent_mems, sizeof(own_mems));
	if (!v2 && is_empty(own_cpus, NODES_CPU_WORDS))
		memcpy(own_cpus, parent_cpus, sizeof(own_cpus));
	if (!v2)
		r = memcg_file_write(rootfd, MEMCG_MIGRATE, v2, dir, "1");
	if (r == 0)
		r = list_write(rootfd, MEMCG_CPUS, v2, dir, own_cpus, NODES_CPUS_MAX);
	if (r == 0)
		r = list_write(rootfd, MEMCG_MEMS, v2, dir, own_mems, NODES_BITS);
	if (r < 0 || !mems)
		return r;
	r = list_read(rootfd, MEMCG_MEMS_NOW, v2, dir, now, NODES_BITS);
	return r == 0 && memcmp(now, own_mems, sizeof(now)) != 0 ? -ERANGE : r;
}

/* One of the node's; or it has none that it could lack. */
static bool has_processor(const struct memcg_cpuset *cpuset, const struct nodes_cpus *cpus,
			  uint64_t node)
{
	uint64_t words[NODES_CPU_WORDS];

	nodes_cpus_of(cpus, node, words);
	if (is_empty(words, NODES_CPU_WORDS))
		return true;
	for (size_t i = 0; i < NODES_CPU_WORDS; i++)
		if (words[i] & cpuset->cpus[i])
			return true;
	return false;
}

/* A node with memory that is left out, else one whose processors are; POL_ABSENT: none. */
static uint64_t first_lack(const struct memcg_cpuset *cpuset, const struct nodes_cpus *cpus)
{
	uint64_t found = POL_ABSENT;

	for (uint64_t i = 0; i < NODES_BITS; i++) {
		if (!(cpus->memory[i / 64] >> i % 64 & 1))
			continue;
		if (!(cpuset->mems[i / 64] >> i % 64 & 1))
			return i;
		if (!pol_has(found) && !has_processor(cpuset, cpus, i))
			found = i;
	}
	return found;
}

const char *memcg_cpuset_lacks(int rootfd, const struct memcg *memcg, pid_t pid,
			       const struct nodes_cpus *cpus, uint64_t node, char *buf, size_t n)
{
	struct memcg_cpuset cpuset;
	const char *path, *what = "node";

	if (memcg_cpuset_of(rootfd, memcg, pid, &cpuset) < 0)
		return NULL;
	if (!pol_has(node))
		node = first_lack(&cpuset, cpus);
	if (node >= NODES_BITS)
		return NULL;
	if (cpuset.mems[node / 64] >> node % 64 & 1) {
		if (has_processor(&cpuset, cpus, node))
			return NULL;
		what = "processor of node";
	}
	path = cpuset.path + strlen(memcg->cpuset_where);
	snprintf(buf, n, "stands aside: cpuset %.150s has no %s %llu", *path ? path : "/", what,
		 (unsigned long long)node);
	return buf;
}

json_object *memcg_cpuset_json(int rootfd, const struct memcg *memcg, pid_t pid)
{
	struct memcg_cpuset cpuset;
	char list[LIST_MAX];
	json_object *one;

	if (memcg_cpuset_of(rootfd, memcg, pid, &cpuset) < 0)
		return NULL;
	one = json_object_new_object();
	json_add_str(one, "path", cpuset.path);
	json_add_str(one, "cpus",
		     kfile_list_format(cpuset.cpus, NODES_CPUS_MAX, list, sizeof(list)));
	json_add_str(one, "mems", kfile_list_format(cpuset.mems, NODES_BITS, list, sizeof(list)));
	return one;
}
