// SPDX-License-Identifier: Apache-2.0
/*
 * The undo journal: opening and locking it, recording before a change, restoring after. The lock
 * is a file of its own because a rewrite renames the journal, which would part it from its lock.
 */
#include "common/undo.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/kfile.h"
#include "common/undo_journal.h"

/* Rewrite when there are so many lines more than files. */
#define SLACK_LINES 64

const char *undo_result_name(enum undo_result result)
{
	static const char *const names[] = {
		[UNDO_RESTORED] = "restored", [UNDO_UNNEEDED] = "unneeded",
		[UNDO_LEFT] = "left",	      [UNDO_FAILED] = "failed",
		[UNDO_PARTLY] = "partly",     [UNDO_UNREADABLE] = "unreadable"};

	return names[result];
}

const char *undo_path_text(const char *path, char *buf, size_t n)
{
	if (undo_nice_is(path))
		return "ksmd's nice value";
	snprintf(buf, n, "/%s", path);
	return buf;
}

/* ---- open and close ---- */

/* Somebody who can write the journal could have us write any kernel file: believe only our own. */
static int owner_check(int fd)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) || (st.st_uid != 0 && st.st_uid != geteuid()) ||
	    (st.st_mode & (S_IWGRP | S_IWOTH)))
		return -EPERM;
	return 0;
}

static int open_in(struct undo *undo)
{
	int r;

	undo->lockfd = openat(undo->dirfd, UNDO_LOCK_NAME,
			      O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (undo->lockfd < 0)
		return -errno;
	if (flock(undo->lockfd, LOCK_EX | LOCK_NB) < 0)
		return -errno;
	undo->fd = openat(undo->dirfd, UNDO_JOURNAL_NAME,
			  O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (undo->fd < 0)
		return -errno;
	r = owner_check(undo->fd);
	if (r < 0)
		return r;
	if (fsync(undo->dirfd) < 0) /* the journal's name, before the first line in it counts */
		return -errno;
	return undo_journal_load(undo);
}

static bool root_ok(const char *root)
{
	for (const char *p = root; *p; p++)
		if ((unsigned char)*p < ' ')
			return false;
	return root[0] == '/' && strlen(root) < UNDO_ROOT_MAX;
}

/* What is restored is written to files of the same names below whatever root we have. */
static int root_check(const struct undo *undo)
{
	const char *found = undo->found ? undo->found : "/";

	return undo->n_entries && strcmp(found, undo->root) != 0 ? -EXDEV : 0;
}

int undo_open(const char *dir, const char *root, struct undo **ret_undo)
{
	struct undo *undo = calloc(1, sizeof(*undo));
	int r;

	if (!undo)
		return -ENOMEM;
	undo->dirfd = undo->lockfd = undo->fd = -1;
	r = root_ok(root) ? 0 : -EINVAL;
	if (r == 0 && !(undo->root = strdup(root)))
		r = -ENOMEM;
	if (r < 0)
		goto fail;
	if (mkdir(dir, 0700) < 0 && errno != EEXIST) {
		r = -errno;
		goto fail;
	}
	undo->dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (undo->dirfd < 0) {
		r = -errno;
		goto fail;
	}
	r = open_in(undo);
	if (r == 0)
		r = root_check(undo);
	if (r < 0)
		goto fail;
	*ret_undo = undo;
	return 0;
fail:
	undo_close(undo);
	return r;
}

void undo_close(struct undo *undo)
{
	if (!undo)
		return;
	cleanup_fd(&undo->fd);
	cleanup_fd(&undo->lockfd);
	cleanup_fd(&undo->dirfd);
	free(undo->root);
	free(undo->found);
	free(undo->entries);
	free(undo->broken);
	free(undo);
}

/* ---- recording ---- */

int undo_record(struct undo *undo, const char *path, const char *original, const char *ours)
{
	struct undo_item *entry;
	int r;

	if (!undo_path_ok(path) || !undo_value_ok(original) || !undo_value_ok(ours))
		return -EINVAL;
	entry = undo_entry_find(undo, path);
	if (entry && !strcmp(entry->ours[entry->n_ours - 1], ours))
		return 0;
	/* Memory first, so that nothing can fail once the line is on disk. */
	if (!entry && undo->n_entries == undo->room) {
		entry = undo_entry_get(undo, path, original);
		if (!entry)
			return -ENOMEM;
		undo->n_entries--;
		entry = NULL;
	}
	if (entry)
		original = entry->original;
	r = undo_journal_append(undo, path, original, ours);
	if (r < 0)
		return r;
	undo_entry_add_ours(undo_entry_get(undo, path, original), ours);
	/* A failed rewrite loses nothing: the long journal says the same. */
	if (undo->n_lines > undo->n_entries * UNDO_OURS_MAX + SLACK_LINES)
		undo_journal_rewrite(undo);
	return 0;
}

int undo_forget(struct undo *undo, const char *path)
{
	struct undo_item *entry = undo_entry_find(undo, path);

	if (!entry)
		return 0;
	for (struct undo_item *end = undo->entries + --undo->n_entries; entry < end; entry++)
		entry[0] = entry[1];
	return undo_journal_rewrite(undo);
}

size_t undo_count(const struct undo *undo)
{
	return undo->n_entries;
}

size_t undo_broken(const struct undo *undo)
{
	return undo->n_broken;
}

struct undo_entry undo_get(const struct undo *undo, size_t i)
{
	const struct undo_item *entry = &undo->entries[i];

	return (struct undo_entry){.path = entry->path,
				   .original = entry->original,
				   .ours = entry->ours[entry->n_ours - 1]};
}

const char *undo_original(const struct undo *undo, const char *path)
{
	const struct undo_item *entry = undo_entry_find(undo, path);

	return entry ? entry->original : NULL;
}

/* ---- restoring ---- */

static bool entry_is_ours(const struct undo_item *entry, const char *value)
{
	if (undo_pool_is(entry->path))
		return undo_pool_is_ours(entry, value);
	for (size_t i = 0; i < entry->n_ours; i++)
		if (!strcmp(entry->ours[i], value))
			return true;
	return false;
}

int undo_read(int rootfd, const char *path, char *buf, size_t n)
{
	char text[4096], *open, *close;
	int r;

	if (undo_nice_is(path))
		return undo_nice_read(rootfd, buf, n);
	r = kfile_read(rootfd, path, text, sizeof(text));
	if (r < 0)
		return r;
	text[strcspn(text, "\n")] = '\0';
	open = strchr(text, '[');
	close = open ? strchr(open, ']') : NULL;
	if (close) {
		*close = '\0';
		open++;
	} else {
		open = text;
	}
	return (size_t)snprintf(buf, n, "%s", open) >= n ? -E2BIG : 0;
}

/* Who had KSM off by run=2 has it off at least, until that can be. A 1 there is somebody else's
 * then. */
static int stop_ksm(struct undo *undo, struct undo_item *entry, int rootfd)
{
	int r = undo_journal_append(undo, entry->path, entry->original, "0");

	if (r == 0)
		r = kfile_write(rootfd, entry->path, "0");
	if (r < 0)
		return r;
	entry->n_ours = 0;
	undo_entry_add_ours(entry, "0");
	return 0;
}

static int write_back(struct undo *undo, struct undo_item *entry, int rootfd)
{
	const char *path = entry->path, *original = entry->original;

	if (undo_nice_is(path))
		return undo_nice_write(rootfd, original);
	if (undo_pool_is(path))
		return undo_pool_write(rootfd, path, original);
	if (strcmp(path, KSM_DIR "run") == 0 && strcmp(original, "2") == 0) {
		int may = undo_unmerge_ask(rootfd, true);

		if (may != 0) {
			int r = stop_ksm(undo, entry, rootfd);

			return r < 0 ? r : may < 0 ? may : -EBUSY;
		}
	}
	return kfile_write(rootfd, path, original);
}

static struct undo_report entry_restore(struct undo *undo, struct undo_item *entry, int rootfd,
					char *current, size_t n)
{
	struct undo_report report = {.path = entry->path, .original = entry->original};
	char back[UNDO_VALUE_MAX];

	report.error = undo_read(rootfd, entry->path, current, n);
	if (report.error < 0) {
		/* a file that is gone (module unloaded) holds nothing of ours any more */
		report.result = report.error == -ENOENT ? UNDO_LEFT : UNDO_FAILED;
		return report;
	}
	report.current = current;
	if (!strcmp(current, entry->original)) {
		report.result = undo->unmerged && !strcmp(entry->path, KSM_DIR "run")
					? UNDO_RESTORED
					: UNDO_UNNEEDED;
		return report;
	}
	if (!entry_is_ours(entry, current)) {
		report.result = UNDO_LEFT;
		return report;
	}
	report.error = write_back(undo, entry, rootfd);
	if (report.error == 0)
		report.error = undo_read(rootfd, entry->path, back, sizeof(back));
	if (report.error == 0 && undo_pool_is(entry->path) && strcmp(back, entry->original) != 0) {
		snprintf(current, n, "%s", back);
		report.result = UNDO_PARTLY;
		return report;
	}
	if (report.error == 0 && strcmp(back, entry->original) != 0)
		report.error = -EIO;
	report.result = report.error < 0 ? UNDO_FAILED : UNDO_RESTORED;
	return report;
}

/*
 * While KSM's advisor runs, pages_to_scan is its own and cannot be written, and while ksmd runs
 * something may be merged at any time, and merge_across_nodes cannot be. So these two go last,
 * whatever the order of the journal.
 */
static bool goes_last(const struct undo_item *entry)
{
	return !strcmp(entry->path, KSM_DIR "advisor_mode") || !strcmp(entry->path, KSM_DIR "run");
}

static bool is_below(const struct undo_item *entry, const char *dir)
{
	size_t len = strlen(dir);

	return !len || (strncmp(entry->path, dir, len) == 0 && entry->path[len] == '/');
}

/* One round over the entries below dir, newest first. Marks what is done by emptying its path. */
static int restore_round(struct undo *undo, int rootfd, const char *dir, bool last,
			 undo_report_fn fn, void *ctx)
{
	int failed = 0;

	for (size_t i = undo->n_entries; i-- > 0;) {
		struct undo_item *entry = &undo->entries[i];
		char current[UNDO_VALUE_MAX] = "";
		struct undo_report report;

		if (!entry->path[0] || goes_last(entry) != last || !is_below(entry, dir))
			continue;
		report = entry_restore(undo, entry, rootfd, current, sizeof(current));
		if (fn)
			fn(ctx, &report);
		if (report.result == UNDO_FAILED)
			failed++;
		else if (report.result != UNDO_PARTLY)
			entry->path[0] = '\0';
	}
	return failed;
}

/* The file says what we wrote, and not its original. */
static bool is_to_be_restored(const struct undo_item *entry, int rootfd)
{
	char now[UNDO_VALUE_MAX];

	return entry && undo_read(rootfd, entry->path, now, sizeof(now)) == 0 &&
	       strcmp(now, entry->original) != 0 && entry_is_ours(entry, now);
}

bool undo_must_unmerge(const struct undo *undo, int rootfd)
{
	const struct undo_item *run = undo_entry_find(undo, KSM_DIR "run");

	if (is_to_be_restored(undo_entry_find(undo, KSM_DIR "merge_across_nodes"), rootfd) &&
	    undo_unmerge_ask(rootfd, false) == 1)
		return true;
	return run && strcmp(run->original, "2") == 0 && is_to_be_restored(run, rootfd) &&
	       undo_unmerge_ask(rootfd, true) == 1;
}

/* dir "": all of them. */
static int restore(struct undo *undo, int rootfd, const char *dir, undo_report_fn fn, void *ctx)
{
	size_t kept = 0;
	int failed, r;

	failed = restore_round(undo, rootfd, dir, false, fn, ctx);
	failed += restore_round(undo, rootfd, dir, true, fn, ctx);
	for (size_t i = 0; i < undo->n_entries; i++)
		if (undo->entries[i].path[0])
			undo->entries[kept++] = undo->entries[i];
	undo->n_entries = kept;
	r = undo_journal_rewrite(undo);
	return r < 0 ? r : failed;
}

int undo_restore(struct undo *undo, int rootfd, undo_report_fn fn, void *ctx)
{
	for (size_t i = 0; fn && i < undo->n_broken; i++)
		fn(ctx, &(struct undo_report){.result = UNDO_UNREADABLE,
					      .error = -EBADMSG,
					      .line = undo->broken[i]});
	/* If that fails, the write of merge_across_nodes does, and tells. */
	undo->unmerged = undo_must_unmerge(undo, rootfd) && undo_unmerge(undo, rootfd) == 0;
	return restore(undo, rootfd, "", fn, ctx);
}

int undo_restore_below(struct undo *undo, int rootfd, const char *dir, undo_report_fn fn, void *ctx)
{
	return restore(undo, rootfd, dir, fn, ctx);
}

int undo_restore_dir(int rootfd, const char *dir, undo_report_fn fn, void *ctx)
{
	struct undo *undo = NULL;
	char path[4096];
	int r;

	if ((size_t)snprintf(path, sizeof(path), "%s/" UNDO_JOURNAL_NAME, dir) >= sizeof(path))
		return -ENAMETOOLONG;
	if (access(path, F_OK) < 0)
		return errno == ENOENT ? 0 : -errno;
	r = undo_open(dir, "/", &undo);
	if (!undo)
		return r;
	r = undo_restore(undo, rootfd, fn, ctx);
	undo_close(undo);
	return r;
}
