// SPDX-License-Identifier: Apache-2.0
/* Writing the trace: deltas into one buffer, one write(2) per tick, rotation by size. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/cleanup.h"
#include "memd/record_fields.h"

struct record {
	int fd;
	char path[512];
	char older[520];	     /* path.1 */
	uint64_t half_bytes;	     /* a file is rotated at half of what both may take */
	uint64_t bytes, older_bytes; /* of each file */
	bool dry_run, fresh;
	bool has_config, config_due, start_due;
	struct pol_config config;
	unsigned int since_start; /* ticks */
	struct record_base base;
	uint8_t *payload, *out; /* RECORD_FRAME_MAX; three frames */
	size_t out_len;
};

#define OUT_MAX (RECORD_FRAME_MAX + 4096)

static int open_file(struct record *record)
{
	struct stat st;

	record->fd =
		open(record->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0640);
	if (record->fd < 0 || fstat(record->fd, &st) < 0)
		return -errno;
	record->bytes = (uint64_t)st.st_size;
	record->start_due = true;
	return 0;
}

static int rotate(struct record *record)
{
	cleanup_fd(&record->fd);
	record->fd = -1;
	if (rename(record->path, record->older) < 0 && errno != ENOENT)
		return -errno;
	record->older_bytes = record->bytes;
	return open_file(record);
}

/*
 * Cut off what a crash left of a last frame. 0, or -EPROTO: no file of ours, or one that is damaged
 * before its end: not to be continued.
 */
static int trim(const char *path)
{
	struct record_reader *reader = NULL;
	struct record_entry entry;
	uint64_t good;
	int first, r = record_reader_open(path, &reader);

	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return r;
	while ((r = record_next(reader, &entry)) > 0)
		;
	good = record_reader_offset(reader);
	first = record_reader_first(reader);
	record_reader_close(reader);
	/* Not one whole frame: ours only if it at least begins as ours do. */
	if (r < 0 || (good == 0 && first >= 0 && first != 'M'))
		return -EPROTO;
	return truncate(path, (off_t)good) < 0 ? -errno : 0;
}

int record_open(const char *path, uint64_t size_bytes, bool dry_run, struct record **ret_record)
{
	struct record *record = calloc(1, sizeof(*record));
	struct stat st;
	int r = -ENOMEM;

	if (!record)
		return -ENOMEM;
	record->fd = -1;
	record->dry_run = dry_run;
	record->fresh = true;
	record->half_bytes = size_bytes / 2;
	snprintf(record->path, sizeof(record->path), "%s", path);
	snprintf(record->older, sizeof(record->older), "%s.1", record->path);
	record->payload = malloc(RECORD_FRAME_MAX);
	record->out = malloc(OUT_MAX);
	if (record->payload && record->out)
		r = record_base_init(&record->base);
	if (r == 0 && stat(record->older, &st) == 0)
		record->older_bytes = (uint64_t)st.st_size;
	if (r == 0) {
		r = trim(path);
		if (r == -EPROTO)
			r = rotate(record);
		else if (r == 0)
			r = open_file(record);
	}
	if (r < 0)
		record_close(record);
	else
		*ret_record = record;
	return r;
}

void record_close(struct record *record)
{
	if (!record)
		return;
	cleanup_fd(&record->fd);
	record_base_fini(&record->base);
	free(record->payload);
	free(record->out);
	free(record);
}

const char *record_path(const struct record *record)
{
	return record->path;
}

uint64_t record_bytes(const struct record *record)
{
	return record->bytes + record->older_bytes;
}

void record_resume(struct record *record)
{
	record->fresh = false;
}

void record_config(struct record *record, const struct pol_config *config)
{
	record->config = *config;
	record->has_config = record->config_due = true;
}

static struct record_bytes begin(struct record *record)
{
	return (struct record_bytes){.data = record->payload, .len = RECORD_FRAME_MAX};
}

/* Append one frame to what the next write(2) will take. */
static int add_frame(struct record *record, uint8_t type, const struct record_bytes *payload)
{
	struct record_bytes out = {.data = record->out, .len = OUT_MAX, .at = record->out_len};
	uint32_t sum = record_checksum(type, payload->data, payload->at);

	record_put_u8(&out, type);
	record_put_varint(&out, payload->at);
	record_put_bytes(&out, payload->data, payload->at);
	for (unsigned int i = 0; i < 4; i++)
		record_put_u8(&out, (uint8_t)(sum >> 8 * i));
	if (payload->bad || out.bad)
		return -E2BIG;
	record->out_len = out.at;
	return 0;
}

static int add_start(struct record *record, uint64_t wall_us, uint64_t now_us)
{
	struct record_bytes b = begin(record);
	size_t n;

	record_base_clear(&record->base);
	record->base.now_us = now_us;
	record->since_start = 0;
	record_put_bytes(&b, "memd", 4);
	record_put_u8(&b, RECORD_VERSION);
	record_put_u8(&b, (record->dry_run ? 1 : 0) | (record->fresh ? 2 : 0));
	record_put_varint(&b, wall_us);
	record_put_varint(&b, now_us);
	for (size_t i = 0; i < RECORD_COUNTED; i++) {
		record_fields(record_counted[i], &n);
		record_put_varint(&b, n);
	}
	return add_frame(record, 'M', &b);
}

static void put_plain(struct record_bytes *b, enum record_table table, const void *from)
{
	size_t n;
	const struct record_field *fields = record_fields(table, &n);

	for (size_t i = 0; i < n; i++)
		record_put_varint(b, record_field_get(from, fields[i]));
}

static void put_group(struct record_bytes *b, enum record_table table, const void *from,
		      uint64_t *row, bool all)
{
	size_t n;
	const struct record_field *fields = record_fields(table, &n);
	uint64_t changed[RECORD_WORDS] = {0};

	for (size_t i = 0; i < n; i++)
		if (all || record_field_get(from, fields[i]) != row[i])
			changed[i / 64] |= 1ULL << i % 64;
	for (size_t i = 0; i < record_words(n); i++)
		record_put_varint(b, changed[i]);
	for (size_t i = 0; i < n; i++) {
		uint64_t value = record_field_get(from, fields[i]);

		if (changed[i / 64] >> i % 64 & 1)
			record_put_delta(b, row[i], value);
		row[i] = value;
	}
}

static void put_guests(struct record *record, struct record_bytes *b, const struct pol_host *host)
{
	struct record_base *base = &record->base;
	struct record_track *before = base->guests;
	size_t n = host->n_guests < RECORD_GUESTS_MAX ? host->n_guests : RECORD_GUESTS_MAX;
	size_t old = 0;

	record_put_varint(b, n);
	for (size_t i = 0; i < n; i++) {
		const struct pol_guest *guest = &host->guests[i];
		struct record_track *track = &base->next[i];
		size_t len = strnlen(guest->name, sizeof(guest->name));
		bool known, named;

		while (old < base->n_guests && base->guests[old].id < guest->id)
			old++;
		known = old < base->n_guests && base->guests[old].id == guest->id;
		if (known)
			*track = base->guests[old];
		else
			*track = (struct record_track){.id = guest->id};
		named = strcmp(track->name, guest->name) != 0;
		record_put_varint(b, guest->id);
		record_put_u8(b, named ? 1 : 0);
		if (named) {
			record_put_varint(b, len);
			record_put_bytes(b, guest->name, len);
			memcpy(track->name, guest->name, sizeof(track->name));
		}
		put_group(b, RECORD_GUEST, guest, track->row, !known);
	}
	base->n_guests = n;
	base->guests = base->next;
	base->next = before;
}

static int add_tick(struct record *record, const struct pol_host *host, const struct pol_plan *plan,
		    uint64_t now_us)
{
	struct record_bytes b = begin(record);
	struct record_base *base = &record->base;
	size_t n_actions =
		plan->n_actions < RECORD_ACTIONS_MAX ? plan->n_actions : RECORD_ACTIONS_MAX;

	record_put_delta(&b, base->now_us, now_us);
	base->now_us = now_us;
	put_group(&b, RECORD_HOST, host, base->host, false);
	put_group(&b, RECORD_KSM, &host->ksm, base->ksm, false);
	record_put_varint(&b, host->n_nodes);
	for (size_t i = 0; i < host->n_nodes; i++)
		put_group(&b, RECORD_NODE, &host->nodes[i], base->nodes[i], false);
	put_guests(record, &b, host);
	record_put_varint(&b, plan->state);
	record_put_varint(&b, plan->need_bytes);
	record_put_varint(&b, n_actions);
	for (size_t i = 0; i < n_actions; i++)
		put_plain(&b, RECORD_ACTION, &plan->actions[i]);
	record->since_start++;
	return add_frame(record, 'T', &b);
}

static int write_out(struct record *record)
{
	ssize_t n = write(record->fd, record->out, record->out_len);
	int r = n < 0 ? -errno : (size_t)n < record->out_len ? -ENOSPC : 0;

	if (r == 0) {
		record->bytes += record->out_len;
		record->fresh = false;
		return 0;
	}
	/* What deltas refer to is not in the file: begin anew, on a whole frame. */
	record->start_due = true;
	if (n > 0 && ftruncate(record->fd, (off_t)record->bytes) < 0)
		return -errno;
	return r;
}

int record_tick(struct record *record, const struct pol_host *host, const struct pol_plan *plan,
		uint64_t wall_us, uint64_t now_us)
{
	int r = 0;

	record->out_len = 0;
	if (record->fd < 0)
		r = open_file(record);
	else if (record->bytes >= record->half_bytes)
		r = rotate(record);
	if (r < 0)
		return r;
	if (record->start_due || record->since_start >= RECORD_START_EVERY) {
		r = add_start(record, wall_us, now_us);
		record->config_due = record->has_config;
	}
	if (r == 0 && record->config_due) {
		struct record_bytes b = begin(record);

		put_plain(&b, RECORD_POLICY, &record->config);
		r = add_frame(record, 'C', &b);
	}
	if (r == 0)
		r = add_tick(record, host, plan, now_us);
	if (r == 0)
		r = write_out(record);
	record->start_due = r < 0;
	record->config_due = r < 0 && record->has_config;
	return r;
}
