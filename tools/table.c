// SPDX-License-Identifier: Apache-2.0
/* Tables by libsmartcols; see table.h. */
#include "tools/table.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/wire.h"
#include "common/log.h"
#include "common/size.h"

struct table {
	struct libscols_table *scols;
	const struct table_column *columns;
	bool bytes;
};

struct table *table_new(const struct table_column *columns, bool bytes)
{
	struct table *table = calloc(1, sizeof(*table));

	if (table)
		table->scols = scols_new_table();
	if (!table || !table->scols) {
		log_err("out of memory");
		free(table);
		return NULL;
	}
	table->columns = columns;
	table->bytes = bytes;
	for (const struct table_column *c = columns; c->title; c++) {
		int flags = 0;

		if (c->kind == TABLE_BYTES || c->kind == TABLE_NUMBER || c->kind == TABLE_PPM)
			flags = SCOLS_FL_RIGHT;
		if (c->kind == TABLE_WRAP)
			flags = SCOLS_FL_WRAP;
		scols_table_new_column(table->scols, c->title, 0, flags);
	}
	/* Piped output is not cut to a width that nobody looks at. */
	if (!isatty(STDOUT_FILENO))
		scols_table_set_termforce(table->scols, SCOLS_TERMFORCE_NEVER);
	return table;
}

void table_free(struct table *table)
{
	if (!table)
		return;
	scols_unref_table(table->scols);
	free(table);
}

void table_clean(char *text)
{
	for (char *p = text; *p; p++)
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			*p = '?';
}

void table_set(struct table *table, struct libscols_line *row, unsigned int column,
	       const char *text)
{
	AUTO_FREE char *clean = strdup(text);

	if (!clean || !row)
		return;
	table_clean(clean);
	scols_line_set_data(row, column, clean);
}

char *table_size(uint64_t bytes, bool plain, char *buf, size_t n)
{
	if (!plain)
		return size_format(bytes, buf, n);
	snprintf(buf, n, "%" PRIu64, bytes);
	return buf;
}

void table_set_bytes(struct table *table, struct libscols_line *row, unsigned int column,
		     uint64_t bytes)
{
	char buf[SIZE_TEXT_MAX];

	table_set(table, row, column, table_size(bytes, table->bytes, buf, sizeof(buf)));
}

void table_set_took(struct table *table, struct libscols_line *row, unsigned int column,
		    json_object *object, const char *key)
{
	char text[32] = "-";
	uint64_t us;

	if (json_get_u64(object, key, &us))
		snprintf(text, sizeof(text), "%.1f s", (double)us / USEC_PER_SEC);
	table_set(table, row, column, text);
}

static void set_ppm(struct table *table, struct libscols_line *row, unsigned int column,
		    uint64_t ppm)
{
	char buf[24];

	snprintf(buf, sizeof(buf), "%" PRIu64 "%%", (ppm + 5000) / 10000);
	table_set(table, row, column, buf);
}

static void set_from_json(struct table *table, struct libscols_line *row, unsigned int column,
			  json_object *value)
{
	const struct table_column *c = &table->columns[column];

	if (!value)
		table_set(table, row, column, "-");
	else if (c->kind == TABLE_BYTES && json_object_is_type(value, json_type_int))
		table_set_bytes(table, row, column, json_object_get_uint64(value));
	else if (c->kind == TABLE_PPM && json_object_is_type(value, json_type_int))
		set_ppm(table, row, column, json_object_get_uint64(value));
	else if (json_object_is_type(value, json_type_boolean))
		table_set(table, row, column, json_object_get_boolean(value) ? "yes" : "no");
	else
		table_set(table, row, column, json_object_get_string(value));
}

struct libscols_line *table_row(struct table *table, json_object *object)
{
	struct libscols_line *row = scols_table_new_line(table->scols, NULL);

	for (unsigned int i = 0; row && table->columns[i].title; i++) {
		json_object *value = NULL;

		if (!table->columns[i].key)
			continue;
		json_object_object_get_ex(object, table->columns[i].key, &value);
		set_from_json(table, row, i, value);
	}
	return row;
}

void table_print(struct table *table)
{
	scols_print_table(table->scols);
}

bool table_print_all(const struct table_column *columns, bool bytes, json_object *rows)
{
	struct table *table = table_new(columns, bytes);

	if (!table)
		return false;
	for (size_t i = 0; rows && i < json_object_array_length(rows); i++)
		table_row(table, json_object_array_get_idx(rows, i));
	table_print(table);
	table_free(table);
	return true;
}
