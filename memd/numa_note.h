/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is out of the ordinary about a host's nodes, in sentences: files that make no sense, nodes
 * without memory or processors, a kernel without NUMA; and what has changed since memd looked last.
 */
#ifndef MEMD_NUMA_NOTE_H
#define MEMD_NUMA_NOTE_H

#include <json-c/json.h>
#include <stddef.h>
#include <stdint.h>

#include "memd/numa.h"

#define NODES_NOTE_MAX	  240
#define NODES_CHANGES_MAX 8

/* One sentence, without newline. */
typedef void (*nodes_say_fn)(void *ctx, const char *text);

/* What is out of the ordinary. */
void nodes_notes(const struct nodes *nodes, nodes_say_fn say, void *ctx);

/* What is otherwise than before: nodes gone and come, memory and processors off and on. */
void nodes_compare(const struct nodes *before, const struct nodes *now, nodes_say_fn say,
		   void *ctx);

/* The same as an array of sentences. */
json_object *nodes_notes_json(const struct nodes *nodes);

#endif
