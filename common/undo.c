// SPDX-License-Identifier: Apache-2.0
/*
 * The undo journal. Lines are appended, each by one write and one fsync, so that a crash leaves at
 * worst one broken last line, whose change was then not made. When it has grown it is rewritten
 * beside itself and renamed. The lock is a file of its own because a rename would part the
 * journal from its lock.
 */
#include "common/undo.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/kfile.h"

#define JOURNAL_NAME "undo"
#define LOCK_NAME    "undo.lock"
#define NEW_NAME     "undo.new"

/*
 * So many of our newest values of a file are taken for ours: the last one is written to the
 * journal before the file, so a crash between the two leaves one of the earlier ones there.
 */
#define OURS_MAX 4
/* Rewrite when there are so many lines more than files. */
#define SLACK_LINES 64
/* Ours stays far below; a larger file is not our journal. */
#define JOURNAL_MAX_BYTES (1 << 20)

struct entry {
	char path[UNDO_PATH_MAX];
	char original[UNDO_VALUE_MAX];
	char ours[OURS_MAX][UNDO_VALUE_MAX]; /* oldest first */
	size_t n_ours;
};

struct undo {
	int dirfd, lockfd, fd;
	struct entry *entries;
	size_t n_entries, room;
	unsigned int *broken; /* numbers of the lines that made no sense */
	size_t n_broken;
	size_t n_lines;
};

const char *undo_result_name(enum undo_result result)
{
	static const char *const names[] = {[UNDO_RESTORED] = "restored",
					    [UNDO_UNNEEDED] = "unneeded",
					    [UNDO_LEFT] = "left",
					    [UNDO_FAILED] = "failed",
					    [UNDO_UNREADABLE] = "unreadable"};

	return names[result];
}

/* Only what memd may ever change, and no way out of it. */
static bool path_ok(const char *path)
{
	if (strlen(path) >= UNDO_PATH_MAX ||
	    (strncmp(path, "sys/", 4) != 0 && strncmp(path, "proc/sys/", 9) != 0))
		return false;
	for (const char *p = path; *p; p++)
		if ((unsigned char)*p <= ' ' || *p == 0x7f)
			return false;
	for (const char *part = path; part; part = strchr(part, '/')) {
		size_t len;

		part += part != path;
		len = strcspn(part, "/");
		if (len == 0 || (len == 1 && part[0] == '.') ||
		    (len == 2 && part[0] == '.' && part[1] == '.'))
			return false;
	}
	return true;
}

static bool value_ok(const char *value)
{
	size_t len = strlen(value);

	if (len == 0 || len >= UNDO_VALUE_MAX)
		return false;
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)value[i] < ' ' || value[i] == 0x7f)
			return false;
	return true;
}

static struct entry *entry_find(const struct undo *undo, const char *path)
{
	for (size_t i = 0; i < undo->n_entries; i++)
		if (!strcmp(undo->entries[i].path, path))
			return &undo->entries[i];
	return NULL;
}

static bool entry_is_ours(const struct entry *entry, const char *value)
{
	for (size_t i = 0; i < entry->n_ours; i++)
		if (!strcmp(entry->ours[i], value))
			return true;
	return false;
}

/* value becomes the newest of ours. */
static void entry_add_ours(struct entry *entry, const char *value)
{
	size_t i = 0;

	while (i < entry->n_ours && strcmp(entry->ours[i], value) != 0)
		i++;
	if (i == OURS_MAX)
		i = 0; /* drop the oldest */
	if (i < entry->n_ours) {
		memmove(entry->ours[i], entry->ours[i + 1],
			(entry->n_ours - i - 1) * sizeof(entry->ours[0]));
		entry->n_ours--;
	}
	snprintf(entry->ours[entry->n_ours++], UNDO_VALUE_MAX, "%s", value);
}

/* Find or add; NULL: out of memory. */
static struct entry *entry_get(struct undo *undo, const char *path, const char *original)
{
	struct entry *entry = entry_find(undo, path);

	if (entry)
		return entry;
	if (undo->n_entries == undo->room) {
		size_t room = undo->room ? undo->room * 2 : 16;
		struct entry *grown = reallocarray(undo->entries, room, sizeof(*grown));

		if (!grown)
			return NULL;
		undo->entries = grown;
		undo->room = room;
	}
	entry = &undo->entries[undo->n_entries++];
	*entry = (struct entry){0};
	snprintf(entry->path, sizeof(entry->path), "%s", path);
	snprintf(entry->original, sizeof(entry->original), "%s", original);
	return entry;
}

/* ---- reading ---- */

/* One line without its newline. false: it makes no sense. -ENOMEM through *ret_error. */
static bool line_load(struct undo *undo, char *line, size_t len, int *ret_error)
{
	char *original, *ours;
	struct entry *entry;

	if (memchr(line, '\0', len))
		return false;
	original = strchr(line, '\t');
	ours = original ? strchr(original + 1, '\t') : NULL;
	if (!ours)
		return false;
	*original++ = '\0';
	*ours++ = '\0';
	if (!path_ok(line) || !value_ok(original) || !value_ok(ours))
		return false;
	entry = entry_get(undo, line, original);
	if (!entry)
		*ret_error = -ENOMEM;
	else
		entry_add_ours(entry, ours);
	return true;
}

static int broken_add(struct undo *undo, unsigned int line)
{
	unsigned int *grown = reallocarray(undo->broken, undo->n_broken + 1, sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	undo->broken = grown;
	undo->broken[undo->n_broken++] = line;
	return 0;
}

/* The text of the journal by the descriptor that was checked, not by its name. */
static int journal_read(int fd, char **ret_text, size_t *ret_len)
{
	AUTO_FREE char *text = NULL;
	struct stat st;
	size_t len = 0;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (st.st_size > JOURNAL_MAX_BYTES)
		return -EFBIG;
	text = malloc((size_t)st.st_size + 1);
	if (!text)
		return -ENOMEM;
	while (len < (size_t)st.st_size) {
		ssize_t r = pread(fd, text + len, (size_t)st.st_size - len, (off_t)len);

		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return -errno;
		if (r == 0)
			break;
		len += (size_t)r;
	}
	text[len] = '\0';
	*ret_text = TAKE_PTR(text);
	*ret_len = len;
	return 0;
}

static int journal_load(struct undo *undo)
{
	AUTO_FREE char *text = NULL;
	size_t len = 0;
	int r = journal_read(undo->fd, &text, &len);

	if (r < 0)
		return r;
	for (char *p = text, *end = text + len; p < end; undo->n_lines++) {
		char *newline = memchr(p, '\n', (size_t)(end - p));
		size_t n = (size_t)((newline ? newline : end) - p);
		int error = 0;

		p[n] = '\0';
		/* A line without its end was cut off by a crash: the change never happened. */
		if ((!newline || !line_load(undo, p, n, &error)) && undo->n_broken < UINT16_MAX)
			error = broken_add(undo, (unsigned int)undo->n_lines + 1);
		if (error < 0)
			return error;
		if (!newline && ftruncate(undo->fd, p - text) < 0) /* the next line goes there */
			return -errno;
		p += n + 1;
	}
	return 0;
}

/* ---- writing ---- */

static int write_all(int fd, const char *text, size_t len)
{
	while (len) {
		ssize_t r = write(fd, text, len);

		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return -errno;
		text += r;
		len -= (size_t)r;
	}
	return 0;
}

static int line_write(int fd, const char *path, const char *original, const char *ours)
{
	char line[UNDO_PATH_MAX + 2 * UNDO_VALUE_MAX + 4];
	int len = snprintf(line, sizeof(line), "%s\t%s\t%s\n", path, original, ours);

	return write_all(fd, line, (size_t)len);
}

static int sync_fd(int fd)
{
	return fsync(fd) < 0 ? -errno : 0;
}

/* The journal anew from memory, in one step. */
static int journal_rewrite(struct undo *undo)
{
	AUTO_FD int fd =
		openat(undo->dirfd, NEW_NAME,
		       O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
	size_t lines = 0;
	int r = 0;

	if (fd < 0)
		return -errno;
	for (size_t i = 0; i < undo->n_entries && r == 0; i++) {
		const struct entry *entry = &undo->entries[i];

		for (size_t j = 0; j < entry->n_ours && r == 0; j++, lines++)
			r = line_write(fd, entry->path, entry->original, entry->ours[j]);
	}
	if (r == 0)
		r = sync_fd(fd);
	if (r == 0 && renameat(undo->dirfd, NEW_NAME, undo->dirfd, JOURNAL_NAME) < 0)
		r = -errno;
	if (r == 0)
		r = sync_fd(undo->dirfd);
	if (r < 0) {
		unlinkat(undo->dirfd, NEW_NAME, 0);
		return r;
	}
	cleanup_fd(&undo->fd);
	undo->fd = TAKE_FD(fd);
	undo->n_lines = lines;
	undo->n_broken = 0;
	return 0;
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

	undo->lockfd =
		openat(undo->dirfd, LOCK_NAME, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (undo->lockfd < 0)
		return -errno;
	if (flock(undo->lockfd, LOCK_EX | LOCK_NB) < 0)
		return -errno;
	undo->fd = openat(undo->dirfd, JOURNAL_NAME,
			  O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (undo->fd < 0)
		return -errno;
	r = owner_check(undo->fd);
	if (r < 0)
		return r;
	r = sync_fd(undo->dirfd); /* the journal's name, before the first line in it counts */
	return r < 0 ? r : journal_load(undo);
}

int undo_open(const char *dir, struct undo **ret_undo)
{
	struct undo *undo = calloc(1, sizeof(*undo));
	int r;

	if (!undo)
		return -ENOMEM;
	undo->dirfd = undo->lockfd = undo->fd = -1;
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
	free(undo->entries);
	free(undo->broken);
	free(undo);
}

/* ---- recording ---- */

int undo_record(struct undo *undo, const char *path, const char *original, const char *ours)
{
	struct entry *entry;
	off_t end;
	int r;

	if (!path_ok(path) || !value_ok(original) || !value_ok(ours))
		return -EINVAL;
	entry = entry_find(undo, path);
	if (entry && !strcmp(entry->ours[entry->n_ours - 1], ours))
		return 0;
	/* Memory first, so that nothing can fail once the line is on disk. */
	if (!entry && undo->n_entries == undo->room) {
		entry = entry_get(undo, path, original);
		if (!entry)
			return -ENOMEM;
		undo->n_entries--;
		entry = NULL;
	}
	if (entry)
		original = entry->original;
	end = lseek(undo->fd, 0, SEEK_END);
	r = line_write(undo->fd, path, original, ours);
	if (r == 0)
		r = sync_fd(undo->fd);
	if (r < 0) {
		/* half a line would swallow the next one */
		if (end >= 0 && ftruncate(undo->fd, end) < 0)
			return -errno;
		return r;
	}
	undo->n_lines++;
	entry_add_ours(entry_get(undo, path, original), ours);
	/* A failed rewrite loses nothing: the long journal says the same. */
	if (undo->n_lines > undo->n_entries * OURS_MAX + SLACK_LINES)
		journal_rewrite(undo);
	return 0;
}

size_t undo_count(const struct undo *undo)
{
	return undo->n_entries;
}

struct undo_entry undo_get(const struct undo *undo, size_t i)
{
	const struct entry *entry = &undo->entries[i];

	return (struct undo_entry){.path = entry->path,
				   .original = entry->original,
				   .ours = entry->ours[entry->n_ours - 1]};
}

const char *undo_original(const struct undo *undo, const char *path)
{
	const struct entry *entry = entry_find(undo, path);

	return entry ? entry->original : NULL;
}

/* ---- restoring ---- */

/* The file's value as undo_record() was told it: the chosen word of a choice, else the line. */
static int value_read(int rootfd, const char *path, char *buf, size_t n)
{
	char text[4096], *open, *close;
	int r = kfile_read(rootfd, path, text, sizeof(text));

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

static struct undo_report entry_restore(const struct entry *entry, int rootfd, char *current,
					size_t n)
{
	struct undo_report report = {.path = entry->path, .original = entry->original};
	char back[UNDO_VALUE_MAX];

	report.error = value_read(rootfd, entry->path, current, n);
	if (report.error < 0) {
		/* a file that is gone (module unloaded) holds nothing of ours any more */
		report.result = report.error == -ENOENT ? UNDO_LEFT : UNDO_FAILED;
		return report;
	}
	report.current = current;
	if (!strcmp(current, entry->original)) {
		report.result = UNDO_UNNEEDED;
		return report;
	}
	if (!entry_is_ours(entry, current)) {
		report.result = UNDO_LEFT;
		return report;
	}
	report.error = kfile_write(rootfd, entry->path, entry->original);
	if (report.error == 0)
		report.error = value_read(rootfd, entry->path, back, sizeof(back));
	if (report.error == 0 && strcmp(back, entry->original) != 0)
		report.error = -EIO;
	report.result = report.error < 0 ? UNDO_FAILED : UNDO_RESTORED;
	return report;
}

/*
 * While KSM's advisor runs, pages_to_scan is its own and cannot be written; and switching it off
 * was our first change. So it goes last, whatever the order of the journal.
 */
static bool goes_last(const struct entry *entry)
{
	const char *name = strrchr(entry->path, '/');

	return name && !strcmp(name, "/advisor_mode");
}

/* One round over the entries, newest first. Marks what is done by emptying its path. */
static int restore_round(struct undo *undo, int rootfd, bool last, undo_report_fn fn, void *ctx)
{
	int failed = 0;

	for (size_t i = undo->n_entries; i-- > 0;) {
		struct entry *entry = &undo->entries[i];
		char current[UNDO_VALUE_MAX] = "";
		struct undo_report report;

		if (!entry->path[0] || goes_last(entry) != last)
			continue;
		report = entry_restore(entry, rootfd, current, sizeof(current));
		if (fn)
			fn(ctx, &report);
		if (report.result == UNDO_FAILED)
			failed++;
		else
			entry->path[0] = '\0';
	}
	return failed;
}

int undo_restore(struct undo *undo, int rootfd, undo_report_fn fn, void *ctx)
{
	size_t kept = 0;
	int failed, r;

	for (size_t i = 0; fn && i < undo->n_broken; i++)
		fn(ctx, &(struct undo_report){.result = UNDO_UNREADABLE,
					      .error = -EBADMSG,
					      .line = undo->broken[i]});
	failed = restore_round(undo, rootfd, false, fn, ctx);
	failed += restore_round(undo, rootfd, true, fn, ctx);
	for (size_t i = 0; i < undo->n_entries; i++)
		if (undo->entries[i].path[0])
			undo->entries[kept++] = undo->entries[i];
	undo->n_entries = kept;
	r = journal_rewrite(undo);
	return r < 0 ? r : failed;
}

int undo_restore_dir(int rootfd, const char *dir, undo_report_fn fn, void *ctx)
{
	struct undo *undo;
	char path[4096];
	int r;

	if ((size_t)snprintf(path, sizeof(path), "%s/" JOURNAL_NAME, dir) >= sizeof(path))
		return -ENAMETOOLONG;
	if (access(path, F_OK) < 0)
		return errno == ENOENT ? 0 : -errno;
	r = undo_open(dir, &undo);
	if (r < 0)
		return r;
	r = undo_restore(undo, rootfd, fn, ctx);
	undo_close(undo);
	return r;
}
