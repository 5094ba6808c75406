// SPDX-License-Identifier: Apache-2.0
/* One question to memd before guest RAM is mapped; see advice.h. */
#include "vmm/advice.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/kfile.h"
#include "common/log.h"
#include "common/wire.h"

#define SOCKET_DEFAULT "/run/memd/memd.sock"
#define ANSWER_US      (2 * USEC_PER_SEC)

const char *advice_socket(void)
{
	const char *env = getenv("MEMD_SOCKET");

	return env && *env ? env : SOCKET_DEFAULT;
}

static void set_node(struct ram_config *config, uint64_t node)
{
	config->host_nodes[node / 64] |= 1ULL << (node % 64);
}

/* The nodes of the answer; how many, 0: none that makes sense. */
static unsigned int take_nodes(json_object *answer, struct ram_config *config)
{
	json_object *nodes = json_get_array(answer, "nodes");
	unsigned int n = 0;

	for (size_t i = 0; nodes && i < json_object_array_length(nodes); i++) {
		uint64_t node;

		if (!json_get_u64(json_object_array_get_idx(nodes, i), "node", &node) ||
		    node >= RAM_HOST_NODES)
			continue;
		set_node(config, node);
		n++;
	}
	return n;
}

/* What memd says; NULL: err says why there is nothing. */
static json_object *ask(const struct options *options, const struct ram_config *config,
			const char *path, struct wire_error *err)
{
	struct wire_client *client = NULL;
	json_object *args, *answer = NULL;
	int r = wire_client_open(path, ANSWER_US, &client);

	if (r == 0) {
		args = json_object_new_object();
		json_add_u64(args, "memory", config->size_bytes);
		json_add_u64(args, "cpus", options->cpus);
		json_add_str(args, "pages", ram_pages_name(config->pages));
		if (options->name[0])
			json_add_str(args, "name", options->name);
		r = wire_client_call(client, "query-place", args, &answer, err);
	}
	wire_client_close(client);
	if (r < 0 && r != -EREMOTEIO)
		wire_fail(err, r, NULL, "memd does not answer at %s (%s)", path, strerror(-r));
	return answer;
}

static void take(struct options *options, struct ram_config *config)
{
	struct wire_error err = {0};
	AUTO_JSON json_object *answer = NULL;
	char list[256];
	unsigned int n;

	/* A kernel that shows no nodes has nothing to bind to. */
	if (access("/sys/devices/system/node/has_memory", F_OK) < 0) {
		log_info("host-nodes=auto: this kernel shows no NUMA nodes; memory is not bound");
		return;
	}
	answer = ask(options, config, advice_socket(), &err);
	if (!answer) {
		log_warn("host-nodes=auto: %s; memory is not bound", err.desc);
		return;
	}
	n = take_nodes(answer, config);
	if (!n) {
		const char *why = json_get_str(answer, "why");

		log_warn("host-nodes=auto: memd knows no place: %s; memory is not bound",
			 why ? why : "no reason given");
		return;
	}
	if (config->policy == RAM_POLICY_DEFAULT)
		config->policy = n > 1 ? RAM_POLICY_INTERLEAVE : RAM_POLICY_PREFERRED;
	log_info("host-nodes=auto: %s on %s, as memd says", ram_policy_name(config->policy),
		 kfile_list_format(config->host_nodes, RAM_HOST_NODES, list, sizeof(list)));
}

void advice_take(struct options *options)
{
	struct ram_config *config = &options->memory[0];

	if (config->ask_nodes)
		take(options, config);
	if (!ram_config_is_bound(config)) /* a policy without nodes means nothing */
		config->policy = config->ask_nodes ? RAM_POLICY_DEFAULT : config->policy;
	for (size_t i = 0; i < options->n_mem_devices; i++) {
		struct ram_config *plug = &options->mem_devices[i].plug.memory;

		if (!plug->ask_nodes)
			continue;
		memcpy(plug->host_nodes, config->host_nodes, sizeof(plug->host_nodes));
		plug->policy = config->policy;
	}
}
