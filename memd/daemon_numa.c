// SPDX-License-Identifier: Apache-2.0
/* NUMA beside the tick: where the threads of guests run, and back where they could run before. */
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "memd/daemon.h"
#include "memd/pin.h"
#include "memd/place.h"
#include "memd/vcpus.h"

/* Threads looked at in one tick, at most one guest beyond. */
#define LOOK_THREADS   64
#define NODES_EVERY_US (60 * USEC_PER_SEC)
/* On a host with one node: a round so often, and all at once when asked, if they are not too many.
 */
#define ONE_NODE_EVERY_US (30 * USEC_PER_SEC)
#define LOOK_NOW_MOST	  128

static void on_news(void *ctx, const char *text)
{
	struct daemon *daemon = ctx;
	size_t at = daemon->n_node_news++ % NODES_CHANGES_MAX;

	log_warn("%s", text);
	daemon->node_news[at].wall_us = act_wall_us();
	snprintf(daemon->node_news[at].text, sizeof(daemon->node_news[at].text), "%s", text);
}

/* Which nodes and processors there are: at once when that changes, and now and then anyway, since
 * part of a node's memory can go too. */
static void look_at_nodes(struct daemon *daemon, uint64_t now_us)
{
	int rootfd = host_rootfd(daemon->host);
	uint64_t changes = host_node_changes(daemon->host);
	struct nodes nodes;
	int r;

	if (daemon->nodes_us && changes == daemon->node_changes &&
	    now_us - daemon->nodes_us < NODES_EVERY_US)
		return;
	r = nodes_cpus_read(rootfd, &daemon->cpus);
	if (r < 0)
		log_debug("which processors are of which node is not known: %s", strerror(-r));
	r = nodes_read(rootfd, &nodes);
	if (r == 0) {
		if (daemon->nodes_us)
			nodes_compare(&daemon->nodes, &nodes, on_news, daemon);
		daemon->nodes = nodes;
	}
	daemon->node_changes = changes;
	daemon->nodes_us = now_us;
}

/* With one node to run on, where threads run is only shown. */
static bool is_one_node(const struct daemon *daemon)
{
	size_t n = 0;

	for (size_t i = 0; i < daemon->nodes.n_nodes; i++)
		n += daemon->nodes.nodes[i].has_memory || daemon->nodes.nodes[i].cpus;
	return n < 2;
}

static size_t look_at_next(struct daemon *daemon)
{
	struct guest *guest = daemon->guests.v[daemon->cpus_next++ % daemon->guests.n];

	if (!guest->known)
		return 0;
	vcpus_look(host_rootfd(daemon->host), guest, &daemon->cpus);
	return 1 + guest->cpus.n;
}

void daemon_numa_look_at_all(struct daemon *daemon)
{
	if (!is_one_node(daemon) || daemon->guests.n > LOOK_NOW_MOST)
		return;
	for (size_t i = 0; i < daemon->guests.n; i++)
		look_at_next(daemon);
}

void daemon_numa_look(struct daemon *daemon, uint64_t now_us)
{
	size_t threads = 0;

	look_at_nodes(daemon, now_us);
	if (is_one_node(daemon) && daemon->cpus_next >= daemon->guests.n) {
		if (now_us - daemon->cpus_us < ONE_NODE_EVERY_US)
			return;
		daemon->cpus_us = now_us;
		daemon->cpus_next = 0;
	}
	for (size_t i = 0; i < daemon->guests.n && threads < LOOK_THREADS; i++)
		threads += look_at_next(daemon);
}

void daemon_numa_leave(struct daemon *daemon)
{
	place_cancel(daemon->act.place);
	if (daemon->act.place)
		pin_leave(&daemon->guests, host_rootfd(daemon->host), daemon->act.dir);
}
