/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A table on the terminal by libsmartcols, filled row by row from JSON values. Text from guests is
 * made harmless before it is shown.
 */
#ifndef MEMD_TOOLS_TABLE_H
#define MEMD_TOOLS_TABLE_H

#include <json-c/json.h>
#include <libsmartcols.h>
#include <stdbool.h>
#include <stdint.h>

enum table_kind {
	TABLE_TEXT,
	TABLE_WRAP, /* text that may take several lines */
	TABLE_NUMBER,
	TABLE_BYTES, /* "1.5 GiB", or the number with --bytes */
	TABLE_YESNO,
	TABLE_PPM, /* "97%" */
};

struct table_column {
	const char *title;
	enum table_kind kind;
	const char *key; /* of the JSON object behind a row; NULL: filled by table_set() */
};

struct table;

/* columns end with a NULL title and must outlive the table. NULL: out of memory (said). */
struct table *table_new(const struct table_column *columns, bool bytes);
void table_free(struct table *table);

/* A row filled from an object by the columns' keys; what is absent or null shows as "-". */
struct libscols_line *table_row(struct table *table, json_object *object);

/* A guest chooses its name and thereby what reaches the operator's terminal: make it harmless. */
void table_clean(char *text);

/* One cell; text is copied and made harmless. */
void table_set(struct table *table, struct libscols_line *row, unsigned int column,
	       const char *text);
void table_set_bytes(struct table *table, struct libscols_line *row, unsigned int column,
		     uint64_t bytes);

/* Microseconds as "1.5 s"; "-" where the object does not have them. */
void table_set_took(struct table *table, struct libscols_line *row, unsigned int column,
		    json_object *object, const char *key);

void table_print(struct table *table);

/* A whole table at once: a row for each object of the array. False: out of memory (said). */
bool table_print_all(const struct table_column *columns, bool bytes, json_object *rows);

/* A size as the options want it, into buf. */
char *table_size(uint64_t bytes, bool plain, char *buf, size_t n);

#endif
