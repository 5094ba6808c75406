/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The trace: every tick's snapshot and plan, for replay. Binary, because text would be ten times
 * as large: a guest whose numbers stand still costs about four bytes a tick.
 *
 * A file is a run of frames; it may be cut anywhere and continued by a later start.
 *   frame:  u8 type, varint length, payload[length], u32 FNV-1a of type and payload (little endian)
 *   varint: LEB128 of uint64_t. delta: zigzag varint of the difference mod 2^64 to the same field
 *           of the frame before (0 for the first), so that POL_ABSENT needs no case of its own.
 *   'M' start: "memd" u8 version (RECORD_VERSION), u8 flags (1: dry run, 2: the policy remembers
 *       nothing: memd was started here), varint wall_us and now_us
 *       (one moment by both clocks), varint n: number of fields of host, ksm, guest, action,
 *       config, node, in that order, of the tables in record_fields.c; the first traces do not
 *       count node, which has 12 in them. Clears what deltas refer to.
 *   'C' config: each field of struct pol_config as varint
 *   'T' tick: varint now_us delta to the tick before; host and ksm fields, then nodes, then
 *       guests, as groups (below); then state, need, and actions with each field as varint
 *       group: varint bitmap of fields that changed, one for each 64 fields that the table has
 *       in the file, at least one; then a delta for each of these
 *       guests: varint n, then per guest: varint id, u8 flags (1: name follows as varint length and
 *       bytes), group. A guest seen for the first time since 'M' has its name and all its fields.
 * Older and newer ones read each other's traces: new fields go to the end of their table, new
 * tables are counted behind the others in 'M', new frames have types of their own. A reader skips
 * fields, counts and frames that it does not know, and has fields that are not in the file
 * POL_ABSENT (configuration: as usual). A reason that it does not know is none; an action of a
 * kind, or on a rung, that it does not know is left out and counted. What the numbers of an enum
 * mean never changes. After RECORD_START_EVERY ticks, and in each new file, an 'M' begins anew, so
 * that the tail of a rotated file can be read alone. PATH is the newest file, PATH.1 the one
 * before; together they stay below the size given.
 */
#ifndef MEMD_RECORD_H
#define MEMD_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "policy/policy.h"

#define RECORD_VERSION	   1
#define RECORD_START_EVERY 600
#define RECORD_GUESTS_MAX  1024
#define RECORD_ACTIONS_MAX 4096

struct record;

/*
 * Open for appending; a frame cut off at the end is removed first. A file of another version is
 * rotated away. -errno of open(2), write(2); -ENOMEM.
 */
int record_open(const char *path, uint64_t size_bytes, bool dry_run, struct record **ret_record);
void record_close(struct record *record); /* NULL is fine */

/* The policy goes on with what it remembers: memd was told to write elsewhere. */
void record_resume(struct record *record);

/* The configuration in force from the next tick on. Copied. */
void record_config(struct record *record, const struct pol_config *config);

/*
 * Append one tick, with one write(2). wall_us and now_us as clocks say. -ENOSPC and other errno of
 * write(2): the tick is lost, the file stays whole.
 */
int record_tick(struct record *record, const struct pol_host *host, const struct pol_plan *plan,
		uint64_t wall_us, uint64_t now_us);

const char *record_path(const struct record *record);
uint64_t record_bytes(const struct record *record); /* both files */

/* ---- reading ---- */

enum record_kind { RECORD_START, RECORD_CONFIG, RECORD_TICK };

/* Pointers live until the next record_next(). */
struct record_entry {
	enum record_kind kind;
	bool dry_run, fresh;	  /* RECORD_START; fresh: the policy remembers nothing */
	uint64_t wall_us, now_us; /* wall_us counts on from the last start's */
	struct pol_config config; /* RECORD_CONFIG */
	struct pol_host host;	  /* RECORD_TICK, with its guests */
	enum pol_state state;
	uint64_t need_bytes;
	const struct pol_action *actions;
	size_t n_actions;
	size_t n_unknown; /* actions left out: a newer memd's */
};

struct record_reader;

/* -errno of open(2); -ENOMEM. */
int record_reader_open(const char *path, struct record_reader **ret_reader);
void record_reader_close(struct record_reader *reader); /* NULL is fine */

/*
 * The next frame. 1; 0: end of the file (a cut-off frame at the end is one too); -EBADMSG: damaged
 * here, nothing after it can be believed; -EPROTO: a version we do not know.
 */
int record_next(struct record_reader *reader, struct record_entry *ret_entry);

/*
 * The same, but of a tick only its times: several times as fast, to find out when a trace ends. A
 * reader that has begun with it goes on with it.
 */
int record_skim(struct record_reader *reader, struct record_entry *ret_entry);

/* Where the last whole frame ended. */
uint64_t record_reader_offset(const struct record_reader *reader);

/* After the end: is there a part of a frame behind it? */
bool record_reader_cut(const struct record_reader *reader);

#endif
