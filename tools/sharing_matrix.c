// SPDX-License-Identifier: Apache-2.0
/* Pairs of guests as a table; see sharing_matrix.h. */
#include "tools/sharing_matrix.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/log.h"
#include "tools/table.h"

struct matrix {
	size_t n; /* columns: all guests, then the others */
	uint64_t *pids, *bytes;
};

static uint64_t pid_of(json_object *object, const char *key)
{
	uint64_t pid = 0;

	json_get_u64(object, key, &pid); /* 0, or null: everybody else */
	return pid;
}

static size_t place_of(const struct matrix *matrix, uint64_t pid)
{
	size_t i = 0;

	while (i < matrix->n - 1 && matrix->pids[i] != pid)
		i++;
	return i;
}

static bool matrix_fill(struct matrix *matrix, json_object *all, json_object *pairs)
{
	matrix->n = json_object_array_length(all) + 1;
	matrix->pids = calloc(matrix->n, sizeof(*matrix->pids));
	matrix->bytes = calloc(matrix->n * matrix->n, sizeof(*matrix->bytes));
	if (!matrix->pids || !matrix->bytes)
		return false;
	for (size_t i = 0; i + 1 < matrix->n; i++)
		matrix->pids[i] = pid_of(json_object_array_get_idx(all, i), "pid");
	for (size_t i = 0; pairs && i < json_object_array_length(pairs); i++) {
		json_object *pair = json_object_array_get_idx(pairs, i);
		size_t a = place_of(matrix, pid_of(pair, "a_pid"));
		size_t b = place_of(matrix, pid_of(pair, "b_pid"));
		uint64_t bytes = 0;

		json_get_u64(pair, "bytes", &bytes);
		matrix->bytes[a * matrix->n + b] = matrix->bytes[b * matrix->n + a] = bytes;
	}
	return true;
}

static void print_row(const struct memctl *ctl, struct table *table, const struct matrix *matrix,
		      const char *name, size_t place, size_t columns)
{
	struct libscols_line *row = table_row(table, NULL);

	table_set(table, row, 0, name);
	for (size_t i = 0; i < columns; i++)
		table_set_bytes(table, row, (unsigned int)i + 1,
				matrix->bytes[place * matrix->n + i]);
}

static void print(const struct memctl *ctl, json_object *rows, json_object *all,
		  const struct matrix *matrix, struct table_column *columns)
{
	/* Of the whole matrix one half says it all. */
	bool whole = json_object_array_length(rows) == json_object_array_length(all);
	struct table *table;

	columns[0].title = "SHARED WITH";
	for (size_t i = 0; i < matrix->n; i++) {
		columns[i + 1].title = "others";
		if (i + 1 < matrix->n)
			columns[i + 1].title =
				json_get_str(json_object_array_get_idx(all, i), "name");
		columns[i + 1].kind = TABLE_BYTES;
	}
	table = table_new(columns, ctl->bytes);
	if (!table)
		return;
	for (size_t i = 0; i < json_object_array_length(rows); i++) {
		json_object *guest = json_object_array_get_idx(rows, i);
		size_t place = place_of(matrix, pid_of(guest, "pid"));

		print_row(ctl, table, matrix, json_get_str(guest, "name"), place,
			  whole ? place + 1 : matrix->n);
	}
	if (whole)
		print_row(ctl, table, matrix, "others", matrix->n - 1, matrix->n);
	putchar('\n');
	table_print(table);
	table_free(table);
}

void sharing_matrix_print(const struct memctl *ctl, json_object *doc, json_object *all)
{
	struct table_column *columns = calloc(json_object_array_length(all) + 3, sizeof(*columns));
	struct matrix matrix = {0};

	if (columns && matrix_fill(&matrix, all, json_get_array(doc, "pairs")))
		print(ctl, json_get_array(doc, "guests"), all, &matrix, columns);
	else
		log_err("out of memory");
	free(columns);
	free(matrix.pids);
	free(matrix.bytes);
}
