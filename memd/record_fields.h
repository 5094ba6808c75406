/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a trace holds of each struct, and the bytes it is made of; writer and reader share it.
 * A field's place in its table is its number in the file: new ones go to the end, none is removed.
 */
#ifndef MEMD_RECORD_FIELDS_H
#define MEMD_RECORD_FIELDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "memd/record.h"

#define RECORD_FIELDS_MAX 80
/* That a file may have of a table; those beyond ours are read over. */
#define RECORD_FIELDS_IN_FILE 1024
#define RECORD_WORDS	      (RECORD_FIELDS_IN_FILE / 64)
/* Of nodes, where the start does not count them. */
#define RECORD_NODE_FIELDS_UNCOUNTED 12
#define RECORD_FRAME_MAX	     (1U << 20)

struct record_field {
	uint16_t offset;
	uint8_t size; /* 1: bool, 4: uint32_t or enum, 8: uint64_t */
};

enum record_table {
	RECORD_HOST, /* struct pol_host without nodes, guests and ksm */
	RECORD_KSM,
	RECORD_NODE,
	RECORD_GUEST, /* without id and name */
	RECORD_ACTION,
	RECORD_POLICY, /* struct pol_config */
	RECORD_TABLES
};

/* The tables that a start counts, in its order. */
#define RECORD_COUNTED 6
extern const enum record_table record_counted[RECORD_COUNTED];

/* Bitmaps of a group of n fields. */
size_t record_words(size_t n);

/* Fields of a table; *ret_n of them. */
const struct record_field *record_fields(enum record_table table, size_t *ret_n);

uint64_t record_field_get(const void *base, struct record_field field);
/* A value too large for the field is cut to its size; a bool is any value but 0. */
void record_field_set(void *base, struct record_field field, uint64_t value);

/* One guest of the tick before, which the next one's deltas refer to. */
struct record_track {
	uint64_t id;
	char name[POL_NAME_MAX];
	uint64_t row[RECORD_FIELDS_MAX];
};

struct record_base {
	uint64_t now_us;
	uint64_t host[RECORD_FIELDS_MAX], ksm[RECORD_FIELDS_MAX];
	uint64_t nodes[POL_NODES_MAX][RECORD_FIELDS_MAX];
	struct record_track *guests, *next; /* RECORD_GUESTS_MAX each, sorted by id */
	size_t n_guests;
};

/* -ENOMEM. */
int record_base_init(struct record_base *base);
void record_base_fini(struct record_base *base);
void record_base_clear(struct record_base *base);

/* A bounded run of bytes, written or read; bad stays set once it did not fit or was cut short. */
struct record_bytes {
	uint8_t *data;
	size_t len, at; /* writing: room and filled; reading: length and place */
	bool bad;
};

void record_put_u8(struct record_bytes *b, uint8_t value);
void record_put_varint(struct record_bytes *b, uint64_t value);
void record_put_delta(struct record_bytes *b, uint64_t before, uint64_t value);
void record_put_bytes(struct record_bytes *b, const void *data, size_t n);

uint8_t record_get_u8(struct record_bytes *b);
uint64_t record_get_varint(struct record_bytes *b);
uint64_t record_get_delta(struct record_bytes *b, uint64_t before);
void record_get_bytes(struct record_bytes *b, void *data, size_t n);

/* The first byte of the file, -1: it is empty. */
int record_reader_first(const struct record_reader *reader);

uint32_t record_checksum(uint8_t type, const uint8_t *payload, size_t n);

#endif
