// SPDX-License-Identifier: Apache-2.0
/* Nodes in words; see numa_note.h. */
#include "memd/numa_note.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "common/size.h"

struct speaker {
	nodes_say_fn say;
	void *ctx;
};

static void __attribute__((format(printf, 2, 3))) say(const struct speaker *s, const char *fmt, ...)
{
	char text[NODES_NOTE_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	s->say(s->ctx, text);
}

/* ---- out of the ordinary ---- */

static void note_bad_files(const struct speaker *s, const struct nodes_node *node)
{
	static const char *const then[NODES_BAD_FILES] = {
		"its processors are not known, and nothing is moved there",
		"its memory is not known, and nothing is placed or moved there",
		"all other nodes are taken to be 20 away",
	};

	for (unsigned int i = 0; i < NODES_BAD_FILES; i++)
		if (node->bad >> i & 1)
			say(s, "node %u: /sys/devices/system/node/node%u/%s makes no sense: %s",
			    node->node, node->node, nodes_bad_file(i), then[i]);
}

static bool has_memory(const struct nodes_node *node)
{
	return node->has_memory && node->memory_bytes != 0;
}

void nodes_notes(const struct nodes *nodes, nodes_say_fn fn, void *ctx)
{
	const struct speaker s = {fn, ctx};
	size_t with_memory = 0;

	if (nodes->no_numa) {
		say(&s, "this kernel shows no nodes (no /sys/devices/system/node): all memory and "
			"all processors count as node 0");
		return;
	}
	if (nodes->bad_list)
		say(&s, "/sys/devices/system/node/%s makes no sense: %s", nodes->bad_list,
		    nodes->bad_list[0] == 'o' ? "all memory counts as node 0"
					      : "every node is taken to have memory");
	for (size_t i = 0; i < nodes->n_nodes; i++) {
		const struct nodes_node *node = &nodes->nodes[i];

		with_memory += has_memory(node);
		note_bad_files(&s, node);
		if (!has_memory(node))
			say(&s, "node %u has no memory: guests on its processors use other nodes'",
			    node->node);
		if (node->cpus == 0)
			say(&s,
			    "node %u has no processor online: guests are not moved there, their "
			    "memory may lie there",
			    node->node);
	}
	if (nodes->n_left_out)
		say(&s, "%zu more nodes are left out: memd looks at the first %d",
		    nodes->n_left_out, POL_NODES_MAX);
	if (with_memory < 2 && !nodes->bad_list)
		say(&s, "this host has one node with memory: there is nothing to choose");
}

static void add_to_list(void *ctx, const char *text)
{
	json_object_array_add(ctx, json_object_new_string(text));
}

json_object *nodes_notes_json(const struct nodes *nodes)
{
	json_object *list = json_object_new_array();

	nodes_notes(nodes, add_to_list, list);
	return list;
}

/* ---- otherwise than before ---- */

static const struct nodes_node *find(const struct nodes *nodes, uint32_t number)
{
	for (size_t i = 0; i < nodes->n_nodes; i++)
		if (nodes->nodes[i].node == number)
			return &nodes->nodes[i];
	return NULL;
}

static void compare_cpus(const struct speaker *s, const struct nodes_node *was,
			 const struct nodes_node *is)
{
	if (was->cpus == is->cpus || !pol_has(was->cpus) || !pol_has(is->cpus))
		return;
	if (!is->cpus)
		say(s, "node %u: all its processors went offline", is->node);
	else
		say(s, "node %u: %" PRIu64 " processors are online, %" PRIu64 " were", is->node,
		    is->cpus, was->cpus);
}

/* Free memory changes all the time, and how much there is by a little. */
static void compare_memory(const struct speaker *s, const struct nodes_node *was,
			   const struct nodes_node *is)
{
	uint64_t a = was->memory_bytes, b = is->memory_bytes;

	if (has_memory(was) && !has_memory(is))
		say(s, "node %u: its memory went offline", is->node);
	else if (!has_memory(was) && has_memory(is))
		say(s, "node %u: its memory came online", is->node);
	else if (pol_has(a) && pol_has(b) && (a > b ? a - b : b - a) >= 64 * MIB)
		say(s, "node %u: it has %s of memory, and had %s", is->node, SIZE_TEXT(b),
		    SIZE_TEXT(a));
}

void nodes_compare(const struct nodes *before, const struct nodes *now, nodes_say_fn fn, void *ctx)
{
	const struct speaker s = {fn, ctx};

	for (size_t i = 0; i < before->n_nodes; i++) {
		const struct nodes_node *was = &before->nodes[i], *is = find(now, was->node);

		if (!is) {
			say(&s, "node %u went offline", was->node);
			continue;
		}
		compare_cpus(&s, was, is);
		compare_memory(&s, was, is);
	}
	for (size_t i = 0; i < now->n_nodes; i++)
		if (!find(before, now->nodes[i].node))
			say(&s, "node %u came online", now->nodes[i].node);
}
