// SPDX-License-Identifier: Apache-2.0
/* memctl numa: the nodes with who lives there, how local each guest is, and what was moved. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "common/size.h"
#include "tools/memctl.h"
#include "tools/numa_huge.h"
#include "tools/table.h"

#define ITEMS_MAX 512

/* "0:10 1:21" and "web1 1.0 GiB, db 512 MiB". */
static void distances_text(json_object *distances, char *buf, size_t n)
{
	size_t used = 0;

	buf[0] = '\0';
	if (!json_object_is_type(distances, json_type_object))
		return;
	json_object_object_foreach (distances, node, value) {
		if (value && used < n)
			used += (size_t)snprintf(buf + used, n - used, "%s%s:%" PRIu64,
						 used ? " " : "", node,
						 json_object_get_uint64(value));
	}
}

static void residents_text(const struct memctl *ctl, json_object *guests, char *buf, size_t n)
{
	size_t used = 0, count = guests ? json_object_array_length(guests) : 0;
	char size[SIZE_TEXT_MAX];

	snprintf(buf, n, "-");
	for (size_t i = 0; i < count; i++) {
		json_object *one = json_object_array_get_idx(guests, i);
		const char *name = json_get_str(one, "name");
		uint64_t bytes = 0;

		json_get_u64(one, "bytes", &bytes);
		if (used >= n - 96) {
			snprintf(buf + used, n - used, ", and %zu more", count - i);
			return;
		}
		used += (size_t)snprintf(buf + used, n - used, "%s%.48s %s", used ? ", " : "",
					 name ? name : "?",
					 table_size(bytes, ctl->bytes, size, sizeof(size)));
	}
}

/* "90 ns", "12 GiB/s"; "-": not told. */
static void access_text(const struct memctl *ctl, json_object *node, bool latency, char *buf,
			size_t n)
{
	json_object *access = json_get_obj(node, "access");
	char size[SIZE_TEXT_MAX];
	uint64_t value;

	snprintf(buf, n, "-");
	if (latency && json_get_u64(access, "read_latency_ns", &value))
		snprintf(buf, n, "%" PRIu64 " ns", value);
	else if (!latency && json_get_u64(access, "read_bytes_per_second", &value))
		snprintf(buf, n, "%s/s", table_size(value, ctl->bytes, size, sizeof(size)));
}

static enum memctl_exit print_nodes(const struct memctl *ctl, json_object *nodes)
{
	enum { COLUMN_DISTANCE = 4, COLUMN_GUESTS = 5, COLUMN_LATENCY = 5 };
	static const struct table_column plain[] = {
		{"NODE", TABLE_NUMBER, "node"},
		{"CPUS", TABLE_NUMBER, "cpus"},
		{"MEMORY", TABLE_BYTES, "memory_bytes"},
		{"FREE", TABLE_BYTES, "free_bytes"},
		{"DISTANCES", TABLE_TEXT, NULL},
		{"GUESTS", TABLE_WRAP, NULL},
		{0},
	};
	/* Where the firmware has a HMAT. */
	static const struct table_column more[] = {
		{"NODE", TABLE_NUMBER, "node"},
		{"CPUS", TABLE_NUMBER, "cpus"},
		{"MEMORY", TABLE_BYTES, "memory_bytes"},
		{"FREE", TABLE_BYTES, "free_bytes"},
		{"DISTANCES", TABLE_TEXT, NULL},
		{"LATENCY", TABLE_TEXT, NULL},
		{"BANDWIDTH", TABLE_TEXT, NULL},
		{"GUESTS", TABLE_WRAP, NULL},
		{0},
	};
	size_t n = nodes ? json_object_array_length(nodes) : 0;
	bool access = false;
	struct table *table;

	for (size_t i = 0; i < n; i++)
		access |= json_get_obj(json_object_array_get_idx(nodes, i), "access") != NULL;
	table = table_new(access ? more : plain, ctl->bytes);
	if (!table)
		return MEMCTL_FAILED;
	for (size_t i = 0; i < n; i++) {
		json_object *node = json_object_array_get_idx(nodes, i);
		struct libscols_line *row = table_row(table, node);
		char text[ITEMS_MAX];

		distances_text(json_get_obj(node, "distances"), text, sizeof(text));
		table_set(table, row, COLUMN_DISTANCE, text[0] ? text : "-");
		for (unsigned int k = 0; access && k < 2; k++) {
			access_text(ctl, node, k == 0, text, sizeof(text));
			table_set(table, row, COLUMN_LATENCY + k, text);
		}
		residents_text(ctl, json_get_array(node, "guests"), text, sizeof(text));
		table_set(table, row, access ? COLUMN_GUESTS + 2 : COLUMN_GUESTS, text);
	}
	table_print(table);
	table_free(table);
	return MEMCTL_OK;
}

/* What is out of the ordinary about them, and what has changed. */
static void print_notes(json_object *answer)
{
	json_object *notes = json_get_array(answer, "notes");
	json_object *changes = json_get_array(answer, "changes");

	for (size_t i = 0; notes && i < json_object_array_length(notes); i++)
		printf("%s%s.\n", i ? "" : "\n",
		       json_object_get_string(json_object_array_get_idx(notes, i)));
	for (size_t i = 0; changes && i < json_object_array_length(changes); i++) {
		json_object *one = json_object_array_get_idx(changes, i);
		const char *time = json_get_str(one, "time"), *text = json_get_str(one, "text");

		printf("%s%s  %s\n", i ? "" : "\n", time ? time : "", text ? text : "");
	}
}

static enum memctl_exit print_guests(const struct memctl *ctl, json_object *guests)
{
	static const struct table_column columns[] = {
		{"GUEST", TABLE_TEXT, "name"},
		{"LOCAL", TABLE_PPM, "local_ppm"},
		{"CPU NODE", TABLE_NUMBER, "cpu_node"},
		{"TIME THERE", TABLE_PPM, "cpu_node_ppm"},
		{"THREADS", TABLE_NUMBER, "threads"},
		{"VHOST", TABLE_NUMBER, "vhost_threads"},
		{"HUGE", TABLE_PPM, "huge_ppm"},
		{"MAPPED 2M", TABLE_BYTES, "mapped_2m_bytes"},
		{"SMALL BECAUSE", TABLE_WRAP, "huge_text"},
		{"STAYS BECAUSE", TABLE_WRAP, "verdict_text"},
		{0},
	};

	if (!guests || json_object_array_length(guests) == 0) {
		puts("\nNo guests.");
		return MEMCTL_OK;
	}
	puts("");
	return table_print_all(columns, ctl->bytes, guests) ? MEMCTL_OK : MEMCTL_FAILED;
}

static void set_share(struct table *table, struct libscols_line *row, unsigned int column,
		      json_object *move, const char *key, const char *part)
{
	json_object *look = json_get_obj(move, key);
	char text[24] = "-";
	uint64_t value;

	if (json_get_u64(look, part, &value))
		snprintf(text, sizeof(text), "%.1f%%", (double)value / 10000);
	table_set(table, row, column, text);
}

static enum memctl_exit print_moves(const struct memctl *ctl, json_object *moves)
{
	enum { COLUMN_BEFORE = 3, COLUMN_AFTER = 4, COLUMN_HUGE = 5, COLUMN_TOOK = 6 };
	static const struct table_column columns[] = {
		{"MOVED", TABLE_TEXT, "guest"},
		{"TO", TABLE_NUMBER, "to_node"},
		{"BYTES", TABLE_BYTES, "planned_bytes"},
		{"LOCAL BEFORE", TABLE_TEXT, NULL},
		{"AFTER", TABLE_TEXT, NULL},
		{"HUGE", TABLE_TEXT, NULL},
		{"TOOK", TABLE_TEXT, NULL},
		{"STATE", TABLE_TEXT, "state"},
		{"ERROR", TABLE_WRAP, "error"},
		{0},
	};
	struct table *table;

	if (!moves || json_object_array_length(moves) == 0)
		return MEMCTL_OK;
	puts("");
	table = table_new(columns, ctl->bytes);
	if (!table)
		return MEMCTL_FAILED;
	for (size_t i = 0; i < json_object_array_length(moves); i++) {
		json_object *move = json_object_array_get_idx(moves, i);
		struct libscols_line *row = table_row(table, move);
		char text[80], a[SIZE_TEXT_MAX], b[SIZE_TEXT_MAX];
		uint64_t before, after;

		set_share(table, row, COLUMN_BEFORE, move, "before", "local_ppm");
		set_share(table, row, COLUMN_AFTER, move, "after", "local_ppm");
		snprintf(text, sizeof(text), "-");
		if (json_get_u64(json_get_obj(move, "before"), "huge_bytes", &before) &&
		    json_get_u64(json_get_obj(move, "after"), "huge_bytes", &after))
			snprintf(text, sizeof(text), "%s -> %s",
				 table_size(before, ctl->bytes, a, sizeof(a)),
				 table_size(after, ctl->bytes, b, sizeof(b)));
		table_set(table, row, COLUMN_HUGE, text);
		table_set_took(table, row, COLUMN_TOOK, move, "took_us");
	}
	table_print(table);
	table_free(table);
	return MEMCTL_OK;
}

/* Nodes that the policy leaves out. */
static void print_beyond(json_object *beyond)
{
	size_t n = beyond ? json_object_array_length(beyond) : 0;

	for (size_t i = 0; i < n; i++)
		printf("%s%d", i ? ", " : "\nNot weighed, with all guests that are there: node ",
		       json_object_get_int(json_object_array_get_idx(beyond, i)));
	if (n)
		puts(". No guest is moved or placed there.");
}

/* "0" or "0, 2" */
static void node_list(json_object *nodes, char *buf, size_t n)
{
	size_t used = 0;

	buf[0] = '\0';
	for (size_t i = 0; nodes && i < json_object_array_length(nodes) && used < n; i++)
		used += (size_t)snprintf(buf + used, n - used, "%s%d", used ? ", " : "",
					 json_object_get_int(json_object_array_get_idx(nodes, i)));
}

static void print_across(const struct memctl *ctl, json_object *across, const char *head)
{
	const char *verdict = json_get_str(across, "verdict"),
		   *text = json_get_str(across, "verdict_text");
	char a[SIZE_TEXT_MAX], b[SIZE_TEXT_MAX], nodes[128];
	uint64_t setting, gain, cost, bytes, room;

	if (!verdict || !text || !json_get_u64(across, "merge_across_nodes", &setting) ||
	    strcmp(verdict, "none") == 0)
		return;
	printf("%s%s", head, setting ? "on" : "off");
	if (json_get_u64(across, "gain_bytes", &gain) &&
	    json_get_u64(across, "cost_us_per_hour", &cost))
		printf("; it %s %s and %s guests %.1f s of processor time an hour",
		       setting ? "saves" : "would save", table_size(gain, ctl->bytes, a, sizeof(a)),
		       setting ? "costs" : "cost", (double)cost / USEC_PER_SEC);
	printf(": %s", text);
	node_list(json_get_array(across, "room_on_nodes"), nodes, sizeof(nodes));
	if (json_get_u64(across, "unmerge_bytes", &bytes) &&
	    json_get_u64(across, "room_bytes", &room))
		printf(" (%s to unmerge%s%s, room for %s)",
		       table_size(bytes, ctl->bytes, a, sizeof(a)), nodes[0] ? " on node " : "",
		       nodes, table_size(room, ctl->bytes, b, sizeof(b)));
	puts(".");
}

enum memctl_exit memctl_numa(const struct memctl *ctl, int argc, char **argv)
{
	AUTO_JSON json_object *answer = NULL;
	const char *verdict, *text;
	enum memctl_exit status;

	if (!memctl_no_arguments(argc, argv))
		return MEMCTL_USAGE;
	status = memctl_query(ctl, "query-numa", NULL, &answer);
	if (!answer)
		return status;
	status = print_nodes(ctl, json_get_array(answer, "nodes"));
	if (status == MEMCTL_OK)
		print_notes(answer);
	if (status == MEMCTL_OK)
		status = print_guests(ctl, json_get_array(answer, "guests"));
	if (status == MEMCTL_OK)
		status = print_moves(ctl, json_get_array(answer, "moves"));
	if (status == MEMCTL_OK)
		status = numa_print_huge(ctl, answer);
	if (status == MEMCTL_OK)
		print_beyond(json_get_array(answer, "nodes_not_weighed"));
	verdict = json_get_str(answer, "verdict");
	text = json_get_str(answer, "verdict_text");
	if (status == MEMCTL_OK && verdict && text && *verdict && *text &&
	    json_object_array_length(json_get_array(answer, "nodes")) > 0)
		printf("\nMoves: %s.\n", text);
	if (status == MEMCTL_OK)
		print_across(ctl, json_get_obj(answer, "across_nodes"), "Merging across nodes is ");
	return status;
}
