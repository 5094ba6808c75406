// SPDX-License-Identifier: Apache-2.0
/* Nodes and guests on them as JSON. An absent number is null, never 0. */
#include "memd/numa_report.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "common/kfile.h"
#include "common/size.h"
#include "memd/cgroup_cpuset.h"
#include "memd/huge_report.h"
#include "memd/hugepage.h"
#include "memd/place.h"
#include "memd/report_cgroup.h"
#include "policy/pool.h"

/* ---- who lives where ---- */

static void add_by_node(json_object *one, const char *key, const uint64_t *bytes)
{
	json_object *obj = pol_has(bytes[0]) ? json_object_new_object() : NULL;
	char name[8];

	for (unsigned int i = 0; obj && i < POL_NODES_MAX; i++) {
		if (!bytes[i])
			continue;
		snprintf(name, sizeof(name), "%u", i);
		json_add_u64(obj, name, bytes[i]);
	}
	json_object_object_add(one, key, obj);
}

static json_object *residents_json(const struct daemon *daemon, uint32_t node)
{
	json_object *list = json_object_new_array();

	for (size_t i = 0; i < daemon->guests.n && node < POL_NODES_MAX; i++) {
		const struct guest *guest = daemon->guests.v[i];
		uint64_t bytes = guest->survey.ram_node_bytes[node];
		json_object *one;

		if (!guest->known || !guest->survey.full || !pol_has(bytes) || bytes < MIB)
			continue;
		one = json_object_new_object();
		json_add_str(one, "name", guest->name);
		json_add_u64(one, "bytes", bytes);
		json_object_array_add(list, one);
	}
	return list;
}

static json_object *pools_json(const struct hugepage *pages, uint32_t node)
{
	json_object *list = json_object_new_array();

	for (size_t i = 0; i < pages->n_pools; i++) {
		const struct hugepage_pool *pool = &pages->pools[i];
		json_object *one;

		if (pool->node != node || !pool->total || !pol_has(pool->total))
			continue;
		one = json_object_new_object();
		json_add_u64(one, "page_bytes", pool->page_bytes);
		json_add_u64(one, "total_bytes", pool->total * pool->page_bytes);
		json_add_u64(one, "free_bytes",
			     pol_has(pool->free) ? pool->free * pool->page_bytes : POL_ABSENT);
		json_object_array_add(list, one);
	}
	return list;
}

/* The nodes to which the distance is not the SLIT's. */
static void add_by_access(json_object *one, const struct nodes *nodes, size_t i)
{
	json_object *list = json_object_new_array();

	for (size_t j = 0; j < nodes->n_nodes; j++)
		if (nodes->nodes[i].by_access >> j & 1)
			json_object_array_add(list, json_object_new_int((int)nodes->nodes[j].node));
	json_object_object_add(one, "distances_by_latency", list);
}

/* What the HMAT says of its memory; NULL: nothing. */
static json_object *access_json(const struct nodes_access *access)
{
	json_object *one, *initiators;

	if (access->level < 0)
		return NULL;
	one = json_object_new_object();
	initiators = json_object_new_array();
	for (int node = 0; node < 64; node++)
		if (access->initiators >> node & 1)
			json_object_array_add(initiators, json_object_new_int(node));
	json_object_object_add(one, "initiators", initiators);
	json_add_u64(one, "read_latency_ns", access->read_latency_ns);
	json_add_u64(one, "write_latency_ns", access->write_latency_ns);
	json_add_u64(one, "read_bytes_per_second", access->read_bytes_per_s);
	json_add_u64(one, "write_bytes_per_second", access->write_bytes_per_s);
	return one;
}

static json_object *node_json(const struct daemon *daemon, const struct nodes *nodes, size_t i,
			      const struct hugepage *pages)
{
	const struct nodes_node *node = &nodes->nodes[i];
	json_object *one = json_object_new_object(), *distances = json_object_new_object();
	char name[12];

	json_add_u64(one, "node", node->node);
	json_add_u64(one, "memory_bytes", node->memory_bytes);
	json_add_u64(one, "free_bytes", node->free_bytes);
	json_add_u64(one, "used_bytes", node->used_bytes);
	json_add_u64(one, "cpus", node->cpus);
	for (size_t j = 0; j < nodes->n_nodes; j++) {
		snprintf(name, sizeof(name), "%u", nodes->nodes[j].node);
		json_add_u64(distances, name, node->distance[j]);
	}
	json_object_object_add(one, "distances", distances);
	add_by_access(one, nodes, i);
	json_object_object_add(one, "access", access_json(&node->access));
	json_object_object_add(one, "pools", pools_json(pages, node->node));
	json_object_object_add(one, "guests", residents_json(daemon, node->node));
	return one;
}

static json_object *vcpus_json(const struct guest_cpus *cpus)
{
	json_object *list = json_object_new_array();

	for (size_t i = 0; i < cpus->n; i++) {
		json_object *one = json_object_new_object();

		json_add_i64(one, "thread", cpus->v[i].tid);
		json_add_u64(one, "cpu", cpus->v[i].cpu);
		json_add_u64(one, "node", cpus->v[i].node);
		json_object_array_add(list, one);
	}
	return list;
}

/* The part of guest RAM in transparent huge pages. */
static uint64_t huge_ppm(const struct guest *guest)
{
	const uint64_t *bytes = guest->survey.ram_node_bytes;
	uint64_t all = 0, huge = guest->survey.anon_huge_bytes;

	if (!guest->survey.full || !pol_has(bytes[0]) || !pol_has(huge))
		return POL_ABSENT;
	for (size_t i = 0; i < POL_NODES_MAX; i++)
		all += bytes[i];
	if (!all)
		return POL_ABSENT;
	return (uint64_t)((unsigned __int128)(huge < all ? huge : all) * 1000000 / all);
}

/* Whoever has bound it: a cpuset says so by what it lacks. */
static const char *verdict_text(const struct daemon *daemon, const struct guest *guest, char *buf,
				size_t n)
{
	enum pol_numa_why why = guest->view.numa;
	const char *lacks = NULL;

	if ((why == POL_NUMA_BOUND && guest->cpus.mems_limited) || why == POL_NUMA_PINNED)
		lacks = memcg_cpuset_lacks(guest->all->rootfd, &guest->all->memcg, guest->pid,
					   &daemon->cpus, POL_ABSENT, buf, n);
	return lacks ? lacks : pol_numa_text(why);
}

static json_object *guest_json(const struct daemon *daemon, const struct guest *guest)
{
	json_object *one = json_object_new_object();
	static const uint64_t nothing[POL_NODES_MAX] = {POL_ABSENT};
	bool judged = guest->has_view;
	char text[256];

	json_add_str(one, "name", guest->name);
	add_by_node(one, "nodes", guest->survey.full ? guest->survey.ram_node_bytes : nothing);
	json_add_u64(one, "looked_age_us",
		     guest->survey.full ? clock_now_us() - guest->survey_start_us : POL_ABSENT);
	json_object_object_add(one, "vcpus", vcpus_json(&guest->cpus));
	json_add_u64(one, "cpu_node", guest->cpus.node);
	json_add_u64(one, "cpu_node_ppm", guest->cpus.node_ppm);
	json_add_u64(one, "threads", guest->threads);
	json_add_u64(one, "vhost_threads", guest->vhost);
	json_add_bool(one, "pinned_by_memd", guest->cpus.pin != NULL);
	json_add_u64(one, "local_ppm", judged ? guest->view.local_ppm : POL_ABSENT);
	json_add_u64(one, "huge_bytes",
		     guest->survey.full ? guest->survey.anon_huge_bytes : POL_ABSENT);
	json_add_u64(one, "huge_ppm", huge_ppm(guest));
	json_add_str(one, "huge_text", pol_repair_text(guest->repair.why));
	json_add_u64(one, "mapped_4k_bytes", guest->mapped_bytes[GUEST_MAPPED_4K]);
	json_add_u64(one, "mapped_2m_bytes", guest->mapped_bytes[GUEST_MAPPED_2M]);
	json_add_u64(one, "mapped_1g_bytes", guest->mapped_bytes[GUEST_MAPPED_1G]);
	json_object_object_add(one, "cpuset",
			       guest->pid > 0 ? memcg_cpuset_json(guest->all->rootfd,
								  &guest->all->memcg, guest->pid)
					      : NULL);
	json_object_object_add(one, "cgroup_nodes", report_cgroup_nodes(guest));
	json_add_str(one, "verdict", judged ? pol_numa_name(guest->view.numa) : NULL);
	json_add_str(one, "verdict_text",
		     judged ? verdict_text(daemon, guest, text, sizeof(text)) : NULL);
	return one;
}

json_object *numa_report_news(const struct daemon *daemon)
{
	json_object *list = json_object_new_array();
	uint64_t n = daemon->n_node_news;

	for (uint64_t i = n > NODES_CHANGES_MAX ? n - NODES_CHANGES_MAX : 0; i < n; i++) {
		json_object *one = json_object_new_object();
		size_t at = i % NODES_CHANGES_MAX;

		account_add_time(one, "time", daemon->node_news[at].wall_us);
		json_add_str(one, "text", daemon->node_news[at].text);
		json_object_array_add(list, one);
	}
	return list;
}

json_object *numa_report(struct daemon *daemon)
{
	json_object *doc = json_object_new_object(), *list = json_object_new_array();
	json_object *guests = json_object_new_array(), *beyond = json_object_new_array();
	int rootfd = host_rootfd(daemon->host);
	char why[256];
	const char *aside = daemon_numa_aside(daemon, why, sizeof(why));
	struct hugepage pages = {0};
	struct nodes nodes = {0};

	hugepage_read(rootfd, &pages);
	json_add_i64(doc, "schema", 1);
	if (nodes_read(rootfd, &nodes) == 0)
		for (size_t i = 0; i < nodes.n_nodes; i++) {
			uint32_t number = nodes.nodes[i].node;

			json_object_array_add(list, node_json(daemon, &nodes, i, &pages));
			if (number >= POL_PLACE_NODES)
				json_object_array_add(beyond, json_object_new_int((int)number));
		}
	json_object_object_add(doc, "nodes", list);
	json_object_object_add(doc, "nodes_not_weighed", beyond);
	json_object_object_add(doc, "notes", nodes_notes_json(&nodes));
	json_object_object_add(doc, "changes", numa_report_news(daemon));
	json_add_u64(doc, "nodes_left_out", nodes.n_left_out);
	json_add_u64(doc, "numa_balancing", daemon->snapshot.numa_balancing);
	json_add_str(doc, "verdict", pol_numa_name(daemon->numa));
	json_add_str(doc, "verdict_text", aside ? aside : pol_numa_text(daemon->numa));
	json_object_object_add(doc, "across_nodes", daemon_across_json(daemon));
	for (size_t i = 0; i < daemon->guests.n; i++)
		if (daemon->guests.v[i]->known)
			json_object_array_add(guests, guest_json(daemon, daemon->guests.v[i]));
	json_object_object_add(doc, "guests", guests);
	huge_report(daemon, doc);
	json_object_object_add(doc, "moves",
			       daemon->act.place ? place_moves_json(daemon->act.place)
						 : json_object_new_array());
	return doc;
}

/* ---- where a new one would go ---- */

/* A label that no guest has is a domain of its own. */
static uint32_t domain_of(const struct config *config, const char *label)
{
	for (uint32_t number = 1; number <= config->n_guests; number++)
		if (strcmp(config->guests[number - 1].domain, label) == 0)
			return config->guests[number - 1].domain_number;
	return *label ? UINT32_MAX : 0;
}

static int read_want(const struct daemon *daemon, json_object *args, struct pol_place_want *want,
		     struct wire_error *err)
{
	const char *pages = json_get_str(args, "pages"), *label = json_get_str(args, "domain");
	const char *beside = json_get_str(args, "beside"), *name = json_get_str(args, "name");

	*want = (struct pol_place_want){.cpus = 1};
	json_get_u64(args, "memory", &want->memory_bytes);
	json_get_u64(args, "cpus", &want->cpus);
	if (!want->memory_bytes)
		return wire_fail(err, -EINVAL, NULL, "Parameter 'memory' expects bytes");
	if (pages && strcmp(pages, "2M") == 0)
		want->pages = POL_PLACE_2M;
	else if (pages && strcmp(pages, "1G") == 0)
		want->pages = POL_PLACE_1G;
	else if (pages && strcmp(pages, "thp") != 0 && strcmp(pages, "small") != 0)
		return wire_fail(err, -EINVAL, NULL,
				 "Parameter 'pages' expects thp, small, 2M or 1G");
	if (label || name) {
		want->has_domain = label || config_has_domains(daemon->config);
		want->domain = label ? domain_of(daemon->config, label)
				     : config_domain(daemon->config, name);
	}
	for (size_t i = 0; beside && i < daemon->guests.n; i++)
		if (daemon->guests.v[i]->known && strcmp(daemon->guests.v[i]->name, beside) == 0)
			want->partner = daemon->guests.v[i]->id;
	if (beside && !want->partner)
		return wire_fail(err, -ENOENT, NULL, "there is no guest '%.64s' (see query-guests)",
				 beside);
	return 0;
}

/* What a pool there can grow by, where memd sizes them. */
static uint64_t pool_room(const struct daemon *daemon, const struct pol_node *node)
{
	uint64_t reserve = node->memory_bytes / 1000000 * daemon->policy.node_reserve_ppm;

	if (daemon->config->huge_pages != POL_POOL_MANAGE || !pol_has(node->memory_bytes) ||
	    !pol_has(node->free_bytes) || node->free_bytes < reserve)
		return 0;
	return node->free_bytes - reserve;
}

static void add_pools(const struct daemon *daemon, struct pol_host *host)
{
	struct hugepage pages = {0};

	hugepage_read(host_rootfd(daemon->host), &pages);
	for (size_t i = 0; i < host->n_nodes; i++) {
		struct pol_node *node = &host->nodes[i];

		node->pool_2m_bytes = node->pool_1g_bytes = POL_ABSENT;
		for (size_t k = 0; k < pages.n_pools; k++) {
			const struct hugepage_pool *pool = &pages.pools[k];

			if (pool->node != node->node || !pol_has(pool->free))
				continue;
			if (pool->page_bytes == 2 * MIB)
				node->pool_2m_bytes =
					pool->free * pool->page_bytes + pool_room(daemon, node);
			else if (pool->page_bytes == GIB)
				node->pool_1g_bytes =
					pool->free * pool->page_bytes + pool_room(daemon, node);
		}
	}
}

static json_object *nodes_of(const struct pol_place *place)
{
	json_object *list = json_object_new_array();

	for (uint32_t n = 0; n < POL_PLACE_NODES; n++) {
		json_object *one;

		if (!(place->nodes >> n & 1))
			continue;
		one = json_object_new_object();
		json_add_u64(one, "node", n);
		json_add_u64(one, "bytes", place->bytes[n]);
		json_object_array_add(list, one);
	}
	return list;
}

static void add_size(char *buf, size_t n, uint64_t bytes, const struct pol_place_want *want)
{
	size_t at = strlen(buf);

	if (bytes % MIB)
		snprintf(buf + at, n - at, " --memory size=%" PRIu64, bytes);
	else
		snprintf(buf + at, n - at, " --memory size=%" PRIu64 "M", bytes / (uint64_t)MIB);
	at = strlen(buf);
	if (want->pages != POL_PLACE_SMALL)
		snprintf(buf + at, n - at, ",pages=%s", want->pages == POL_PLACE_2M ? "2M" : "1G");
}

/*
 * How a guest larger than a node comes to lie on several: with NUMA nodes of its own, if each gets
 * a vCPU, so that its kernel keeps tasks near their memory; else page by page in turn. NULL: it
 * fits into one.
 */
static json_object *split_of(const struct pol_place *place, const struct pol_place_want *want)
{
	unsigned int n_nodes = (unsigned int)__builtin_popcount(place->nodes);
	uint64_t nodes = place->nodes;
	bool own = want->cpus >= n_nodes;
	char options[512], list[64];
	json_object *one;
	size_t at;

	if (n_nodes < 2)
		return NULL;
	snprintf(options, sizeof(options), "--cpus %" PRIu64, want->cpus);
	for (uint32_t n = 0; own && n < POL_PLACE_NODES; n++) {
		if (!(place->nodes >> n & 1))
			continue;
		add_size(options, sizeof(options), place->bytes[n], want);
		at = strlen(options);
		snprintf(options + at, sizeof(options) - at, ",host-nodes=%u", n);
	}
	if (!own) {
		add_size(options, sizeof(options), want->memory_bytes, want);
		at = strlen(options);
		snprintf(options + at, sizeof(options) - at, ",host-nodes=%s,policy=interleave",
			 kfile_list_format(&nodes, 64, list, sizeof(list)));
	}
	one = json_object_new_object();
	json_add_str(one, "how", own ? "guest-nodes" : "interleave");
	json_add_str(one, "vmm_options", options);
	return one;
}

static json_object *move_of(const struct daemon *daemon, const struct pol_place *place)
{
	const struct guest *guest = guests_find(&daemon->guests, place->move_guest);
	json_object *one;

	if (!guest)
		return NULL;
	one = json_object_new_object();
	json_add_str(one, "guest", guest->name);
	json_add_u64(one, "bytes", place->move_bytes);
	json_add_u64(one, "from_node", place->move_from);
	json_add_u64(one, "to_node", place->move_to);
	return one;
}

int numa_report_place(const struct daemon *daemon, json_object *args, json_object **ret_value,
		      struct wire_error *err)
{
	struct pol_host host = daemon->snapshot;
	struct pol_place_want want;
	struct pol_place place;
	json_object *doc;
	int r = read_want(daemon, args, &want, err);

	if (r < 0)
		return r;
	if (!daemon->sensed)
		return wire_fail(err, -EAGAIN, NULL,
				 "the host has not been looked at yet; try again in a second");
	add_pools(daemon, &host);
	r = pol_place(&daemon->policy, &host, &want, &place);
	if (r < 0)
		return wire_fail(err, r, NULL, "no node of this host is known");
	doc = json_object_new_object();
	json_add_i64(doc, "schema", 1);
	json_add_u64(doc, "memory_bytes", want.memory_bytes);
	json_add_u64(doc, "cpus", want.cpus);
	json_add_bool(doc, "fits", place.why == POL_PLACE_OK);
	json_add_str(doc, "why", pol_place_text(place.why));
	json_object_object_add(doc, "nodes", nodes_of(&place));
	json_add_bool(doc, "crowded", place.crowded);
	json_object_object_add(doc, "split", split_of(&place, &want));
	json_add_u64(doc, "room_bytes", place.room_bytes);
	json_add_u64(doc, "missing_bytes", place.missing_bytes);
	json_object_object_add(doc, "would_fit_one_node_after", move_of(daemon, &place));
	*ret_value = doc;
	return 0;
}
