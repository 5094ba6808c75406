// SPDX-License-Identifier: Apache-2.0
/* memctl place: where would a new guest go, what would have to move, or why does it not fit. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "common/size.h"
#include "tools/memctl.h"
#include "tools/table.h"

static bool parse_count(const char *text, uint64_t *ret_count)
{
	char *end;
	unsigned long long value = strtoull(text, &end, 10);

	if (*end || end == text || *text == '-' || value < 1 || value > 65536)
		return false;
	*ret_count = value;
	return true;
}

/* The query's arguments; NULL: said what is wrong. */
static json_object *read_options(const struct memctl *ctl)
{
	json_object *args = json_object_new_object();
	bool has_memory = false;

	for (size_t i = 0; i < ctl->n_options; i++) {
		const struct memctl_option *option = &ctl->options[i];
		uint64_t value;

		if (strcmp(option->name, "memory") == 0) {
			if (size_parse(option->value, &value) < 0 || !value) {
				log_err("--memory %s: expected a size like 4G", option->value);
				goto fail;
			}
			json_add_u64(args, "memory", value);
			has_memory = true;
		} else if (strcmp(option->name, "cpus") == 0) {
			if (!parse_count(option->value, &value)) {
				log_err("--cpus %s: expected a number of vCPUs from 1 to 65536",
					option->value);
				goto fail;
			}
			json_add_u64(args, "cpus", value);
		} else {
			json_add_str(args, option->name, option->value);
		}
	}
	if (has_memory)
		return args;
	log_err("place wants to know how large the guest is: --memory SIZE");
fail:
	json_object_put(args);
	return NULL;
}

static void print_place(const struct memctl *ctl, json_object *answer)
{
	json_object *nodes = json_get_array(answer, "nodes");
	char size[SIZE_TEXT_MAX];
	bool crowded = false;
	uint64_t node, bytes;

	for (size_t i = 0; nodes && i < json_object_array_length(nodes); i++) {
		json_object *one = json_object_array_get_idx(nodes, i);

		if (json_get_u64(one, "node", &node) && json_get_u64(one, "bytes", &bytes))
			printf("node %" PRIu64 ": %s\n", node,
			       table_size(bytes, ctl->bytes, size, sizeof(size)));
	}
	if (json_get_bool(answer, "crowded", &crowded) && crowded)
		puts("More vCPUs than processors there.");
}

/* How a guest that no node has room for is to be started. */
static void print_split(json_object *split)
{
	const char *how = json_get_str(split, "how"), *options = json_get_str(split, "vmm_options");

	if (!how || !options)
		return;
	printf("No node has room for all of it. %s:\n  vmm %s\n",
	       strcmp(how, "interleave") == 0
		       ? "With fewer vCPUs than nodes its pages are laid on them in turn"
		       : "With NUMA nodes of its own, one on each, its kernel keeps tasks near "
			 "their memory",
	       options);
}

static void print_move(const struct memctl *ctl, json_object *move)
{
	const char *guest = json_get_str(move, "guest");
	char size[SIZE_TEXT_MAX], name[80];
	uint64_t bytes, from, to;

	if (!guest || !json_get_u64(move, "bytes", &bytes) ||
	    !json_get_u64(move, "from_node", &from) || !json_get_u64(move, "to_node", &to))
		return;
	snprintf(name, sizeof(name), "%s", guest);
	table_clean(name);
	printf("It would fit into node %" PRIu64 " if guest %s (%s there) moved to node %" PRIu64
	       ".\n",
	       from, name, table_size(bytes, ctl->bytes, size, sizeof(size)), to);
}

enum memctl_exit memctl_place(const struct memctl *ctl, int argc, char **argv)
{
	AUTO_JSON json_object *answer = NULL;
	json_object *args;
	char room[SIZE_TEXT_MAX], missing[SIZE_TEXT_MAX];
	uint64_t room_bytes = 0, missing_bytes = 0;
	enum memctl_exit status;
	bool fits = false;

	if (!memctl_no_arguments(argc, argv))
		return MEMCTL_USAGE;
	args = read_options(ctl);
	if (!args)
		return MEMCTL_USAGE;
	status = memctl_call(ctl, "query-place", args, &answer);
	if (!answer)
		return status;
	json_get_bool(answer, "fits", &fits);
	if (ctl->json) {
		memctl_print_json(answer);
		return fits ? MEMCTL_OK : MEMCTL_FAILED;
	}
	print_place(ctl, answer);
	if (!fits) {
		const char *why = json_get_str(answer, "why");

		json_get_u64(answer, "room_bytes", &room_bytes);
		json_get_u64(answer, "missing_bytes", &missing_bytes);
		printf("It fits nowhere: %s (%s, %s missing).\n", why ? why : "?",
		       table_size(room_bytes, ctl->bytes, room, sizeof(room)),
		       table_size(missing_bytes, ctl->bytes, missing, sizeof(missing)));
	}
	print_split(json_get_obj(answer, "split"));
	print_move(ctl, json_get_obj(answer, "would_fit_one_node_after"));
	return fits ? MEMCTL_OK : MEMCTL_FAILED;
}
