// SPDX-License-Identifier: Apache-2.0
/*
 * Reading a trace back. A trace may come from another host or be damaged, so every number is
 * bounded before it is used; a frame counts only when its checksum fits.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "memd/record_fields.h"

struct record_reader {
	FILE *file;
	uint64_t offset;
	int first; /* byte of the file, -1: none */
	uint8_t *payload;
	bool started;
	uint64_t start_wall_us, start_now_us;
	size_t n_fields[RECORD_TABLES]; /* in the file */
	struct record_base base;
	struct pol_host host;
	struct pol_guest *guests;
	struct pol_action *actions;
};

static int reader_open(struct record_reader *reader, const char *path)
{
	reader->file = fopen(path, "re");
	if (!reader->file)
		return -errno;
	reader->payload = malloc(RECORD_FRAME_MAX);
	reader->guests = calloc(RECORD_GUESTS_MAX, sizeof(*reader->guests));
	reader->actions = calloc(RECORD_ACTIONS_MAX, sizeof(*reader->actions));
	if (!reader->payload || !reader->guests || !reader->actions)
		return -ENOMEM;
	reader->first = getc(reader->file);
	if (reader->first != EOF)
		ungetc(reader->first, reader->file);
	return record_base_init(&reader->base);
}

int record_reader_open(const char *path, struct record_reader **ret_reader)
{
	struct record_reader *reader = calloc(1, sizeof(*reader));
	int r = reader ? reader_open(reader, path) : -ENOMEM;

	if (r < 0)
		record_reader_close(reader);
	else
		*ret_reader = reader;
	return r;
}

void record_reader_close(struct record_reader *reader)
{
	if (!reader)
		return;
	cleanup_file(&reader->file);
	record_base_fini(&reader->base);
	free(reader->payload);
	free(reader->guests);
	free(reader->actions);
	free(reader);
}

int record_reader_first(const struct record_reader *reader)
{
	return reader->first;
}

uint64_t record_reader_offset(const struct record_reader *reader)
{
	return reader->offset;
}

bool record_reader_cut(const struct record_reader *reader)
{
	long at = ftell(reader->file);

	return at >= 0 && (uint64_t)at > reader->offset;
}

static int get_start(struct record_reader *reader, struct record_bytes *b,
		     struct record_entry *entry)
{
	char magic[4] = "";
	uint8_t flags;

	record_get_bytes(b, magic, sizeof(magic));
	if (memcmp(magic, "memd", sizeof(magic)) != 0)
		return -EBADMSG;
	if (record_get_u8(b) != RECORD_VERSION)
		return -EPROTO;
	flags = record_get_u8(b);
	entry->dry_run = flags & 1;
	entry->fresh = flags & 2;
	reader->start_wall_us = record_get_varint(b);
	reader->start_now_us = record_get_varint(b);
	reader->n_fields[RECORD_NODE] = RECORD_NODE_FIELDS_UNCOUNTED;
	for (size_t i = 0; i < RECORD_COUNTED; i++) {
		uint64_t n;

		if (record_counted[i] == RECORD_NODE && b->at == b->len)
			break;
		n = record_get_varint(b);
		if (n > RECORD_FIELDS_IN_FILE)
			return -EBADMSG;
		reader->n_fields[record_counted[i]] = (size_t)n;
	}
	record_base_clear(&reader->base);
	reader->base.now_us = reader->start_now_us;
	reader->started = true;
	entry->kind = RECORD_START;
	entry->now_us = reader->start_now_us;
	return b->bad ? -EBADMSG : 0;
}

/* Fields that the file does not have are absent; those we do not know are skipped. */
static void get_plain(struct record_reader *reader, struct record_bytes *b, enum record_table table,
		      void *to)
{
	size_t n, in_file = reader->n_fields[table];
	const struct record_field *fields = record_fields(table, &n);

	for (size_t i = 0; i < n || i < in_file; i++) {
		uint64_t value = i < in_file ? record_get_varint(b) : POL_ABSENT;

		if (i < n)
			record_field_set(to, fields[i], value);
	}
}

static void get_group(struct record_reader *reader, struct record_bytes *b, enum record_table table,
		      uint64_t *row, void *to)
{
	size_t n, in_file = reader->n_fields[table];
	const struct record_field *fields = record_fields(table, &n);
	uint64_t changed[RECORD_WORDS] = {0};

	for (size_t i = 0; i < record_words(in_file); i++)
		changed[i] = record_get_varint(b);
	for (size_t i = 0; i < n || i < in_file; i++) {
		if (i < in_file && changed[i / 64] >> i % 64 & 1) {
			uint64_t value = record_get_delta(b, i < n ? row[i] : 0);

			if (i < n)
				row[i] = value;
		}
		if (i < n)
			record_field_set(to, fields[i], i < in_file ? row[i] : POL_ABSENT);
	}
	if (in_file % 64 && changed[in_file / 64] >> in_file % 64)
		b->bad = true;
}

static int get_guests(struct record_reader *reader, struct record_bytes *b)
{
	struct record_base *base = &reader->base;
	struct record_track *before = base->guests;
	uint64_t n = record_get_varint(b);
	size_t old = 0;

	if (n > RECORD_GUESTS_MAX)
		return -EBADMSG;
	for (size_t i = 0; i < n && !b->bad; i++) {
		struct record_track *track = &base->next[i];
		struct pol_guest *guest = &reader->guests[i];
		uint64_t id = record_get_varint(b), len;

		while (old < base->n_guests && before[old].id < id)
			old++;
		if (old < base->n_guests && before[old].id == id)
			*track = before[old];
		else
			*track = (struct record_track){.id = id};
		if (record_get_u8(b) & 1) {
			len = record_get_varint(b);
			if (len >= sizeof(track->name))
				return -EBADMSG;
			memset(track->name, 0, sizeof(track->name));
			record_get_bytes(b, track->name, (size_t)len);
		}
		*guest = (struct pol_guest){.id = id};
		memcpy(guest->name, track->name, sizeof(guest->name));
		get_group(reader, b, RECORD_GUEST, track->row, guest);
	}
	base->n_guests = (size_t)n;
	base->guests = base->next;
	base->next = before;
	reader->host.guests = reader->guests;
	reader->host.n_guests = (size_t)n;
	return b->bad ? -EBADMSG : 0;
}

/* A reason of a newer memd is none to us; a rung that was not there yet was not rejected. */
static void forget_unknown(struct pol_action *a)
{
	if ((uint32_t)a->reason >= POL_WHY_COUNT)
		a->reason = POL_WHY_NONE;
	for (size_t i = 0; i < POL_RUNG_COUNT; i++)
		if ((uint32_t)a->rejected_why[i] >= POL_WHY_COUNT)
			a->rejected_why[i] = POL_WHY_NONE;
}

/* Enums that index tables of names. */
static bool is_known(const struct pol_action *a)
{
	return (uint32_t)a->kind < POL_ACTION_COUNT && (uint32_t)a->rung < POL_RUNG_COUNT &&
	       (uint32_t)a->state <= POL_STATE_LOW;
}

static int get_tick(struct record_reader *reader, struct record_bytes *b,
		    struct record_entry *entry)
{
	struct record_base *base = &reader->base;
	struct pol_host *host = &reader->host;
	uint64_t n;

	if (!reader->started)
		return -EBADMSG;
	base->now_us = record_get_delta(b, base->now_us);
	get_group(reader, b, RECORD_HOST, base->host, host);
	get_group(reader, b, RECORD_KSM, base->ksm, &host->ksm);
	n = record_get_varint(b);
	if (n > POL_NODES_MAX)
		return -EBADMSG;
	host->n_nodes = (size_t)n;
	for (size_t i = 0; i < n; i++)
		get_group(reader, b, RECORD_NODE, base->nodes[i], &host->nodes[i]);
	if (get_guests(reader, b) < 0)
		return -EBADMSG;
	n = record_get_varint(b);
	if (n > POL_STATE_LOW)
		return -EBADMSG;
	entry->state = (enum pol_state)n;
	entry->need_bytes = record_get_varint(b);
	n = record_get_varint(b);
	if (n > RECORD_ACTIONS_MAX)
		return -EBADMSG;
	for (size_t i = 0; i < n && !b->bad; i++) {
		struct pol_action *action = &reader->actions[entry->n_actions];

		get_plain(reader, b, RECORD_ACTION, action);
		forget_unknown(action);
		if (is_known(action))
			entry->n_actions++;
		else
			entry->n_unknown++;
	}
	entry->kind = RECORD_TICK;
	entry->now_us = base->now_us;
	entry->host = *host;
	entry->actions = reader->actions;
	return b->bad ? -EBADMSG : 0;
}

/* What an older memd did not write it did not know: numbers are the usual ones, switches off. */
static void complete_config(const struct record_reader *reader, struct pol_config *config)
{
	struct pol_config initial;
	size_t n;
	const struct record_field *fields = record_fields(RECORD_POLICY, &n);

	pol_config_default(&initial);
	for (size_t i = reader->n_fields[RECORD_POLICY]; i < n; i++)
		if (fields[i].size > 1)
			record_field_set(config, fields[i], record_field_get(&initial, fields[i]));
}

static int get_config(struct record_reader *reader, struct record_bytes *b,
		      struct record_entry *entry)
{
	if (!reader->started)
		return -EBADMSG;
	entry->kind = RECORD_CONFIG;
	entry->now_us = reader->base.now_us;
	get_plain(reader, b, RECORD_POLICY, &entry->config);
	complete_config(reader, &entry->config);
	return b->bad ? -EBADMSG : 0;
}

/* Type and payload of the next frame. 1; 0: not all of it is there; -EBADMSG. */
static int get_frame(struct record_reader *reader, uint8_t *ret_type, size_t *ret_len)
{
	uint64_t len = 0, head = 1;
	uint32_t sum = 0;
	int c = getc(reader->file), byte;

	if (c == EOF)
		return 0;
	for (unsigned int shift = 0;; shift += 7, head++) {
		byte = getc(reader->file);
		if (byte == EOF)
			return 0;
		len |= (uint64_t)(byte & 0x7f) << shift;
		if (!(byte & 0x80)) {
			head++;
			break;
		}
		if (shift > 21)
			return -EBADMSG;
	}
	if (len > RECORD_FRAME_MAX)
		return -EBADMSG;
	if (fread(reader->payload, 1, (size_t)len, reader->file) != len)
		return 0;
	for (unsigned int i = 0; i < 4; i++) {
		byte = getc(reader->file);
		if (byte == EOF)
			return 0;
		sum |= (uint32_t)byte << 8 * i;
	}
	if (sum != record_checksum((uint8_t)c, reader->payload, (size_t)len))
		return -EBADMSG;
	reader->offset += head + len + 4;
	*ret_type = (uint8_t)c;
	*ret_len = (size_t)len;
	return 1;
}

/* Only when the tick was: what the reader knows of the host is then out of date. */
static int skim_tick(struct record_reader *reader, struct record_bytes *b,
		     struct record_entry *entry)
{
	if (!reader->started)
		return -EBADMSG;
	reader->base.now_us = record_get_delta(b, reader->base.now_us);
	entry->kind = RECORD_TICK;
	entry->now_us = reader->base.now_us;
	return b->bad ? -EBADMSG : 0;
}

/* What is in the frame. 1; 0: nothing that we know; -errno. */
static int get_entry(struct record_reader *reader, uint8_t type, bool skim, struct record_bytes *b,
		     struct record_entry *entry)
{
	int r;

	switch (type) {
	case 'M':
		r = get_start(reader, b, entry);
		break;
	case 'C':
		r = get_config(reader, b, entry);
		break;
	case 'T':
		r = skim ? skim_tick(reader, b, entry) : get_tick(reader, b, entry);
		break;
	default: /* a newer memd's, if there is a start before it */
		return reader->started ? 0 : -EBADMSG;
	}
	return r < 0 ? r : 1;
}

static int next_entry(struct record_reader *reader, bool skim, struct record_entry *ret_entry)
{
	struct record_entry *entry = ret_entry;
	int r = 0;

	while (r == 0) {
		struct record_bytes b = {.data = reader->payload};
		uint64_t before = reader->offset;
		uint8_t type = 0;

		r = get_frame(reader, &type, &b.len);
		if (r <= 0)
			return r;
		*entry = (struct record_entry){0};
		r = get_entry(reader, type, skim, &b, entry);
		if (r < 0) {
			reader->offset = before;
			return r;
		}
	}
	entry->wall_us = reader->start_wall_us + (entry->now_us - reader->start_now_us);
	return 1;
}

int record_next(struct record_reader *reader, struct record_entry *ret_entry)
{
	return next_entry(reader, false, ret_entry);
}

int record_skim(struct record_reader *reader, struct record_entry *ret_entry)
{
	return next_entry(reader, true, ret_entry);
}
