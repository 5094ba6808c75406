/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The undo journal: what host files said before we changed them, kept where a crash leaves it.
 * DIR/undo has one line per change, "path TAB original TAB ours", written and synced before the
 * change itself, and before these, if it is not the live host's, "root TAB path"; DIR/undo.lock is
 * held by flock(2) while a process has the journal open. memd restores at stop and at the next
 * start after a crash, `memctl reset` when memd is dead.
 */
#ifndef MEMD_COMMON_UNDO_H
#define MEMD_COMMON_UNDO_H

#include <stdbool.h>
#include <stddef.h>

#define UNDO_PATH_MAX  256
#define UNDO_VALUE_MAX 128

/*
 * Taken for a path everywhere below, though there is no such file: the nice value of the live
 * host's ksmd (common/ksmd.h). Below any other root it is never there.
 */
#define UNDO_KSMD_DIR  "ksmd"
#define UNDO_KSMD_NICE UNDO_KSMD_DIR "/nice"

struct undo;

/*
 * Open (or create, 0700) DIR and its journal, and lock it. Lines left by a dead process are loaded.
 * root is the absolute path of the root that the recorded files are below ("/": the live host).
 * -EXDEV: what is in the journal is of another root, and must not be restored to this one;
 * -EINVAL: root is no such path; -EWOULDBLOCK: another process has it open; -EPERM: the journal can
 * be written by somebody else than us, so nothing in it is believed; -errno of mkdir(2), open(2),
 * read(2).
 */
int undo_open(const char *dir, const char *root, struct undo **ret_undo);
void undo_close(struct undo *undo); /* NULL is fine; the journal stays on disk */

/*
 * Before a change: remember that PATH (relative to the root: "sys/kernel/mm/ksm/run") said ORIGINAL
 * and that we are about to write OURS. The first original of a path is kept, later calls add only
 * the new value of ours (the last few count as ours, so that a crash between record and write is
 * no riddle). On return the line is on disk. A call that says nothing new writes nothing.
 * -EINVAL: path is neither below sys/ or proc/sys/ nor UNDO_KSMD_NICE, holds "..", or a value is
 * empty, too long or holds control characters; -ENOSPC and other errno of write(2), fsync(2): then
 * do not change the file.
 */
int undo_record(struct undo *undo, const char *path, const char *original, const char *ours);

/* The file says its original again, is gone, or is somebody else's now: there is nothing to
 * restore. 0; errno of write(2). */
int undo_forget(struct undo *undo, const char *path);

/* Number of files recorded. */
size_t undo_count(const struct undo *undo);
/* Number of lines that undo_open() could not make sense of; undo_restore() reports each. */
size_t undo_broken(const struct undo *undo);

/* The i-th recorded file, in the order of first change. Pointers live until the next call that
 * changes the journal. */
struct undo_entry {
	const char *path, *original, *ours; /* ours: the newest */
};
struct undo_entry undo_get(const struct undo *undo, size_t i);

/* A path as people know it: "/sys/kernel/mm/ksm/run", "ksmd's nice value"; in buf, or static. */
const char *undo_path_text(const char *path, char *buf, size_t n);

/*
 * What the file says now, as undo_record() is told it: of a choice ("none [scan-time]") the chosen
 * word, else the line. 0; -errno of open(2), read(2); -E2BIG.
 */
int undo_read(int rootfd, const char *path, char *buf, size_t n);

/* The recorded original of path, NULL: not recorded. */
const char *undo_original(const struct undo *undo, const char *path);

enum undo_result {
	UNDO_RESTORED,	/* written back and read back */
	UNDO_UNNEEDED,	/* it says the original already */
	UNDO_LEFT,	/* somebody else changed it since, or it is gone: left alone */
	UNDO_FAILED,	/* could not be written (error says why); stays in the journal */
	UNDO_PARTLY,	/* a pool of huge pages: as far as use and memory allow (current says how
			   far); stays in the journal */
	UNDO_UNREADABLE /* a line of the journal that makes no sense: dropped */
};
const char *undo_result_name(enum undo_result result); /* "restored", "unneeded", ... */

struct undo_report {
	enum undo_result result;
	const char *path;     /* NULL for UNDO_UNREADABLE */
	const char *original; /* NULL for UNDO_UNREADABLE */
	const char *current;  /* what the file said before (UNDO_PARTLY: says now); NULL: could not
				 be read */
	int error;	      /* -errno, 0: none */
	unsigned int line;    /* UNDO_UNREADABLE: its number in the journal */
};
typedef void (*undo_report_fn)(void *ctx, const struct undo_report *report);

/*
 * Put every recorded file back, last changed first, where it still says what we wrote; KSM's
 * advisor_mode and run after their neighbours (pages_to_scan cannot be written while the advisor
 * runs, nor merge_across_nodes while something is merged: all is unmerged first, then, if
 * undo_must_unmerge()). fn (may be NULL) hears of each. The journal then holds only what failed or
 * was done partly. Returns the number of failures, or -errno when the journal itself could not be
 * rewritten.
 */
int undo_restore(struct undo *undo, int rootfd, undo_report_fn fn, void *ctx);

/* The same of files below a directory alone ("sys/kernel/mm/ksm"), without unmerging anything; the
 * others stay recorded. */
int undo_restore_below(struct undo *undo, int rootfd, const char *dir, undo_report_fn fn,
		       void *ctx);

/*
 * Does restoring merge_across_nodes, or run to 2, mean to unmerge all that KSM has merged? That
 * takes about a second per GiB. False also where what unmerges would not fit into available
 * memory: then the file cannot be restored, and stays in the journal; run says 0 meanwhile, not 2.
 */
bool undo_must_unmerge(const struct undo *undo, int rootfd);

/* Before run=2 is written by the caller. Errors as of undo_read() and undo_record(). */
int undo_record_unmerge(struct undo *undo, int rootfd);

/* undo_open() for "/", undo_restore(), undo_close(); without DIR or journal there is nothing to do:
 * 0. */
int undo_restore_dir(int rootfd, const char *dir, undo_report_fn fn, void *ctx);

#endif
