// SPDX-License-Identifier: Apache-2.0
/* See pool_wait.h. */
#include "vmm/pool_wait.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/wire.h"
#include "vmm/advice.h"

#define ANSWER_US (5 * USEC_PER_SEC)
#define ASK_US	  250000

static bool is_alike(const struct ram_config *a, const struct ram_config *b)
{
	return a->pages == b->pages && a->policy == b->policy &&
	       memcmp(a->host_nodes, b->host_nodes, sizeof(a->host_nodes)) == 0;
}

/* Pages that memory node i and those like it want; 0: it is of no pool, or one behind it counts. */
static uint64_t pages_of(const struct options *options, size_t i)
{
	const struct ram_config *config = &options->memory[i];
	uint64_t bytes = 0;

	if (!ram_pages_is_pool(config->pages))
		return 0;
	for (size_t k = 0; k < options->n_memory; k++) {
		if (!is_alike(config, &options->memory[k]))
			continue;
		if (k > i)
			return 0;
		bytes += options->memory[k].size_bytes;
	}
	return bytes / ram_pages_bytes(config->pages);
}

static json_object *node_list(const struct ram_config *config)
{
	json_object *list = json_object_new_array();

	/* memd knows the first 64. */
	for (int node = 0; node < 64; node++)
		if (config->host_nodes[0] >> node & 1)
			json_object_array_add(list, json_object_new_int(node));
	return list;
}

static json_object *arguments(const struct options *options, size_t i, bool done)
{
	const struct ram_config *config = &options->memory[i];
	json_object *args = json_object_new_object();

	json_add_str(args, "name", options->name);
	json_add_u64(args, "process", (uint64_t)getpid());
	json_add_str(args, "pages", ram_pages_name(config->pages));
	json_add_u64(args, "memory", pages_of(options, i) * ram_pages_bytes(config->pages));
	if (ram_config_is_bound(config))
		json_object_object_add(args, config->policy == RAM_POLICY_BIND ? "nodes" : "prefer",
				       node_list(config));
	if (done)
		json_add_bool(args, "done", true);
	return args;
}

/* The answer; NULL: err says why there is none. */
static json_object *ask(const struct options *options, size_t i, bool done, struct wire_error *err)
{
	const char *path = advice_socket();
	struct wire_client *client = NULL;
	json_object *answer = NULL;
	int r = wire_client_open(path, ANSWER_US, &client);

	if (r == 0)
		r = wire_client_call(client, "want-pool", arguments(options, i, done), &answer,
				     err);
	wire_client_close(client);
	if (r < 0 && r != -EREMOTEIO)
		wire_fail(err, r, NULL, "memd does not answer at %s (%s)", path, strerror(-r));
	return answer;
}

/* False: it is no use to ask again. *ret_ready: the pages are there, memd says. */
static bool ask_once(const struct options *options, size_t i, char *told, size_t n, bool *ret_ready)
{
	struct wire_error err = {0};
	AUTO_JSON json_object *answer = ask(options, i, false, &err);
	const char *state = json_get_str(answer, "state"), *why = json_get_str(answer, "why");

	*ret_ready = state && strcmp(state, "ready") == 0;
	if (*ret_ready)
		return true;
	if (!state || strcmp(state, "waiting") != 0) {
		log_warn("memory node %zu: no more huge pages: %s", i,
			 !answer ? err.desc
			 : why	 ? why
				 : "memd gives no answer that makes sense");
		return false;
	}
	if (why && strcmp(told, why) != 0)
		log_info("memory node %zu: waiting for huge pages: %s", i, why);
	snprintf(told, n, "%s", why ? why : "");
	return true;
}

static void nap(uint64_t us)
{
	struct timespec ts = {.tv_nsec = (long)us * 1000};

	nanosleep(&ts, NULL);
}

void pool_wait_begin(struct pool_wait *wait, const struct options *options)
{
	uint64_t most = 0;

	for (size_t i = 0; i < options->n_memory; i++)
		if (options->memory[i].pool_wait_us > most)
			most = options->memory[i].pool_wait_us;
	*wait = (struct pool_wait){.options = options, .until_us = clock_now_us() + most};
}

/* False: this one will not get what it lacks. */
static bool wait_for_node(struct pool_wait *wait, size_t i)
{
	const struct ram_config *config = &wait->options->memory[i];
	uint64_t pages = pages_of(wait->options, i);
	bool ready = !pages || !ram_pool_lacks(config, pages);
	char told[512] = "";

	while (!ready) {
		if (clock_now_us() >= wait->until_us) {
			if (config->pool_wait_us)
				log_warn("memory node %zu: no more huge pages within %" PRIu64
					 " s: %s",
					 i, (uint64_t)(config->pool_wait_us / USEC_PER_SEC), told);
			return false;
		}
		wait->asked = true;
		if (!ask_once(wait->options, i, told, sizeof(told), &ready))
			return false;
		if (!ready)
			nap(ASK_US);
	}
	return true;
}

void pool_wait_for(struct pool_wait *wait)
{
	for (size_t i = 0; i < wait->options->n_memory && !wait->alone; i++)
		wait->alone = !wait_for_node(wait, i);
}

bool pool_wait_again(const struct pool_wait *wait)
{
	bool lacks = false;

	if (wait->alone || clock_now_us() >= wait->until_us)
		return false;
	for (size_t i = 0; i < wait->options->n_memory; i++) {
		uint64_t pages = pages_of(wait->options, i);

		lacks |= pages && ram_pool_lacks(&wait->options->memory[i], pages);
	}
	if (!lacks)
		return false;
	log_info("memory: somebody else took the huge pages: asking again");
	nap(ASK_US);
	return true;
}

void pool_wait_end(const struct pool_wait *wait)
{
	struct wire_error err;

	for (size_t i = 0; i < wait->options->n_memory; i++)
		if (wait->asked && pages_of(wait->options, i))
			json_object_put(ask(wait->options, i, true, &err));
}
