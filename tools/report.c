// SPDX-License-Identifier: Apache-2.0
/* memctl report: host, guests and savings, each saving counted once. */
#include <inttypes.h>
#include <stdio.h>

#include "common/size.h"
#include "tools/memctl.h"
#include "tools/report_history.h"
#include "tools/table.h"

static char *sized(json_object *obj, const char *key, bool plain, char *buf)
{
	uint64_t bytes;

	if (!json_get_u64(obj, key, &bytes)) {
		snprintf(buf, SIZE_TEXT_MAX, "-");
		return buf;
	}
	return table_size(bytes, plain, buf, SIZE_TEXT_MAX);
}

static void print_host(const struct memctl *ctl, json_object *host)
{
	char memory[SIZE_TEXT_MAX], available[SIZE_TEXT_MAX], swapped[SIZE_TEXT_MAX];
	const char *state = json_get_str(host, "state");
	const char *paging = json_get_str(host, "second_level_paging");
	json_object *nodes = json_get_array(host, "nodes");

	printf("Host: %s, %s available, %s swapped; state %s; second-level paging %s\n",
	       sized(host, "memory_bytes", ctl->bytes, memory),
	       sized(host, "available_bytes", ctl->bytes, available),
	       sized(host, "swap_used_bytes", ctl->bytes, swapped), state ? state : "?",
	       paging ? paging : "?");
	for (size_t i = 0; nodes && i < json_object_array_length(nodes); i++) {
		json_object *node = json_object_array_get_idx(nodes, i);
		uint64_t number = i;

		json_get_u64(node, "node", &number);
		printf("  node %" PRIu64 ": %s, %s free\n", number,
		       sized(node, "memory_bytes", ctl->bytes, memory),
		       sized(node, "free_bytes", ctl->bytes, available));
	}
}

/* "0:512.0 MiB 1:1.0 GiB": where the guest's memory is. */
static void set_nodes(const struct memctl *ctl, struct table *table, struct libscols_line *row,
		      unsigned int column, json_object *nodes)
{
	char text[256] = "", size[SIZE_TEXT_MAX];
	size_t used = 0;

	if (!json_object_is_type(nodes, json_type_object)) {
		table_set(table, row, column, "-");
		return;
	}
	json_object_object_foreach (nodes, node, value) {
		if (json_object_get_uint64(value) == 0 || used >= sizeof(text) - 48)
			continue;
		used += (size_t)snprintf(
			text + used, sizeof(text) - used, "%s%.8s:%s", used ? " " : "", node,
			table_size(json_object_get_uint64(value), ctl->bytes, size, sizeof(size)));
	}
	table_set(table, row, column, text);
}

static void add_total(json_object *total, const char *key, json_object *savings, const char *from)
{
	uint64_t bytes;

	if (json_get_u64(savings, from, &bytes))
		json_add_u64(total, key, bytes);
}

static enum memctl_exit print_guests(const struct memctl *ctl, json_object *report)
{
	enum { COLUMN_NODES = 9 };
	static const struct table_column columns[] = {
		{"GUEST", TABLE_TEXT, "name"},
		{"BY", TABLE_TEXT, "hypervisor"},
		{"PROMISED", TABLE_BYTES, "memory_bytes"},
		{"HAS", TABLE_BYTES, "actual_bytes"},
		{"RESIDENT", TABLE_BYTES, "resident_bytes"},
		{"KSM", TABLE_BYTES, "ksm_bytes"},
		{"BALLOON", TABLE_BYTES, "balloon_bytes"},
		{"REPORTED", TABLE_BYTES, "reported_bytes"},
		{"UNPLUGGED", TABLE_BYTES, "virtio_mem_bytes"},
		{"NODES", TABLE_TEXT, NULL},
		{"SAVED", TABLE_BYTES, "saved_bytes"},
		{0},
	};
	json_object *guests = json_get_array(report, "guests");
	json_object *savings = json_get_obj(report, "savings");
	struct table *table = table_new(columns, ctl->bytes);
	struct libscols_line *row;
	AUTO_JSON json_object *total = json_object_new_object();
	uint64_t promised = 0, has = 0, resident = 0;

	if (!table)
		return MEMCTL_FAILED;
	for (size_t i = 0; guests && i < json_object_array_length(guests); i++) {
		json_object *guest = json_object_array_get_idx(guests, i);
		uint64_t bytes;

		promised += json_get_u64(guest, "memory_bytes", &bytes) ? bytes : 0;
		has += json_get_u64(guest, "actual_bytes", &bytes) ? bytes : 0;
		resident += json_get_u64(guest, "resident_bytes", &bytes) ? bytes : 0;
		row = table_row(table, guest);
		set_nodes(ctl, table, row, COLUMN_NODES, json_get_obj(guest, "nodes"));
	}
	json_add_str(total, "name", "total");
	json_add_str(total, "hypervisor", "");
	json_add_u64(total, "memory_bytes", promised);
	json_add_u64(total, "actual_bytes", has);
	json_add_u64(total, "resident_bytes", resident);
	add_total(total, "ksm_bytes", savings, "ksm_bytes");
	add_total(total, "balloon_bytes", savings, "balloon_bytes");
	add_total(total, "reported_bytes", savings, "reported_bytes");
	add_total(total, "virtio_mem_bytes", savings, "virtio_mem_bytes");
	add_total(total, "saved_bytes", savings, "total_bytes");
	row = table_row(table, total);
	table_set(table, row, COLUMN_NODES, "");
	table_print(table);
	table_free(table);
	return MEMCTL_OK;
}

static void print_price(const struct memctl *ctl, json_object *report)
{
	json_object *host = json_get_obj(report, "host");
	json_object *ksm = json_get_obj(host, "ksm"), *cpu = NULL;
	json_object *savings = json_get_obj(report, "savings");
	char saved[SIZE_TEXT_MAX], other[SIZE_TEXT_MAX];
	uint64_t bytes;

	printf("Saved in all: %s of host memory that is really free because of it.\n",
	       sized(savings, "total_bytes", ctl->bytes, saved));
	if (json_object_object_get_ex(ksm, "cpu_seconds", &cpu) && cpu)
		printf("KSM has spent %.1f s of processor time.\n", json_object_get_double(cpu));
	if (json_get_u64(savings, "ksm_other_bytes", &bytes) && bytes >= MIB)
		printf("KSM saves %s more in processes that are no guests of memd's.\n",
		       table_size(bytes, ctl->bytes, other, sizeof(other)));
}

enum memctl_exit memctl_report(const struct memctl *ctl, int argc, char **argv)
{
	AUTO_JSON json_object *report = NULL;
	enum memctl_exit status;

	if (!memctl_no_arguments(argc, argv))
		return MEMCTL_USAGE;
	if (ctl->history || ctl->html || ctl->since || ctl->trace)
		return report_history(ctl);
	status = memctl_query(ctl, "query-report", NULL, &report);
	if (!report)
		return status;
	print_host(ctl, json_get_obj(report, "host"));
	status = print_guests(ctl, report);
	if (status == MEMCTL_OK)
		print_price(ctl, report);
	return status;
}
