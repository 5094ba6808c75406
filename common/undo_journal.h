/* SPDX-License-Identifier: Apache-2.0 */
/* The journal's memory and file, between undo.c and undo_journal.c only. */
#ifndef MEMD_COMMON_UNDO_JOURNAL_H
#define MEMD_COMMON_UNDO_JOURNAL_H

#include <stdbool.h>
#include <stddef.h>

#include "common/undo.h"

#define UNDO_JOURNAL_NAME "undo"
#define UNDO_LOCK_NAME	  "undo.lock"
#define UNDO_ROOT_MAX	  4096
#define KSM_DIR		  "sys/kernel/mm/ksm/"

/*
 * So many of our newest values of a file are taken for ours: the last one is written to the
 * journal before the file, so a crash between the two leaves one of the earlier ones there.
 */
#define UNDO_OURS_MAX 4

struct undo_item {
	char path[UNDO_PATH_MAX];
	char original[UNDO_VALUE_MAX];
	char ours[UNDO_OURS_MAX][UNDO_VALUE_MAX]; /* oldest first */
	size_t n_ours;
};

struct undo {
	int dirfd, lockfd, fd;
	char *root, *found; /* ours, and what the journal's first line says; NULL: none */
	struct undo_item *entries;
	size_t n_entries, room;
	unsigned int *broken; /* numbers of the lines that made no sense */
	size_t n_broken;
	size_t n_lines;
	bool unmerged; /* by undo_restore(), which left run at 2 */
};

bool undo_path_ok(const char *path);
bool undo_value_ok(const char *value);

/* NULL: not there. */
struct undo_item *undo_entry_find(const struct undo *undo, const char *path);
/* Find or add; NULL: out of memory. */
struct undo_item *undo_entry_get(struct undo *undo, const char *path, const char *original);
/* value becomes the newest of ours. */
void undo_entry_add_ours(struct undo_item *entry, const char *value);

/* Read undo->fd into memory; a last line that was cut off goes from the file. */
int undo_journal_load(struct undo *undo);
/* Write and sync the line that says this. */
int undo_journal_append(struct undo *undo, const char *path, const char *original,
			const char *ours);
/* The journal anew from memory, in one step; undo->fd is then the new file. */
int undo_journal_rewrite(struct undo *undo);

/* ---- undo_unmerged.c ---- */

/* May what KSM has merged be unmerged? 1; 0: there is nothing, without regard to zero pages or
 * with; -ENOMEM: it would not fit into available memory. */
int undo_unmerge_ask(int rootfd, bool zero_pages);

/* run=2, journalled, which returns when nothing is merged any more. -errno of undo_record(), of the
 * write. */
int undo_unmerge(struct undo *undo, int rootfd);

/* ---- undo_nice.c ---- */

/* Is it ksmd's nice value, and not a file? */
bool undo_nice_is(const char *path);

/* As text. 0; -errno of ksmd_nice(). */
int undo_nice_read(int rootfd, char *buf, size_t n);

/* -EINVAL: it is no nice value; -errno of ksmd_set_nice(). */
int undo_nice_write(int rootfd, const char *value);

/* ---- undo_pool.c ---- */

/* Is it the size of a pool of huge pages? */
bool undo_pool_is(const char *path);

/* Is it anything between the original and what we wrote? */
bool undo_pool_is_ours(const struct undo_item *entry, const char *value);

/* Write the original, or as near to it as what is in use and reserved allows. */
int undo_pool_write(int rootfd, const char *path, const char *original);

#endif
