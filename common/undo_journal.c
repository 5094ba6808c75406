// SPDX-License-Identifier: Apache-2.0
/*
 * The journal's table and file. Lines are appended, each by one write and one fsync, so that a
 * crash leaves at worst one broken last line, whose change was then not made. When the file has
 * grown it is rewritten beside itself and renamed.
 */
#include "common/undo_journal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/grow.h"

#define NEW_NAME  "undo.new"
#define ROOT_WORD "root\t"
/* Ours stays far below; a larger file is not our journal. */
#define JOURNAL_MAX_BYTES (1 << 20)

/* Only what memd may ever change, and no way out of it. */
bool undo_path_ok(const char *path)
{
	if (undo_nice_is(path))
		return true;
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

bool undo_value_ok(const char *value)
{
	size_t len = strlen(value);

	if (len == 0 || len >= UNDO_VALUE_MAX)
		return false;
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)value[i] < ' ' || value[i] == 0x7f)
			return false;
	return true;
}

struct undo_item *undo_entry_find(const struct undo *undo, const char *path)
{
	for (size_t i = 0; i < undo->n_entries; i++)
		if (!strcmp(undo->entries[i].path, path))
			return &undo->entries[i];
	return NULL;
}

/* value becomes the newest of ours. */
void undo_entry_add_ours(struct undo_item *entry, const char *value)
{
	size_t i = 0;

	while (i < entry->n_ours && strcmp(entry->ours[i], value) != 0)
		i++;
	if (i == UNDO_OURS_MAX)
		i = 0; /* drop the oldest */
	if (i < entry->n_ours) {
		memmove(entry->ours[i], entry->ours[i + 1],
			(entry->n_ours - i - 1) * sizeof(entry->ours[0]));
		entry->n_ours--;
	}
	snprintf(entry->ours[entry->n_ours++], UNDO_VALUE_MAX, "%s", value);
}

/* Find or add; NULL: out of memory. */
struct undo_item *undo_entry_get(struct undo *undo, const char *path, const char *original)
{
	struct undo_item *entry = undo_entry_find(undo, path);

	if (entry)
		return entry;
	entry = grow(undo->entries, &undo->room, undo->n_entries + 1, sizeof(*entry));
	if (!entry)
		return NULL;
	undo->entries = entry;
	entry = &undo->entries[undo->n_entries++];
	*entry = (struct undo_item){0};
	snprintf(entry->path, sizeof(entry->path), "%s", path);
	snprintf(entry->original, sizeof(entry->original), "%s", original);
	return entry;
}

/* ---- reading ---- */

/* One line without its newline. false: it makes no sense. -ENOMEM through *ret_error. */
static bool line_load(struct undo *undo, char *line, size_t len, int *ret_error)
{
	char *original, *ours;
	struct undo_item *entry;

	if (memchr(line, '\0', len))
		return false;
	if (strncmp(line, ROOT_WORD, strlen(ROOT_WORD)) == 0) {
		free(undo->found);
		undo->found = strdup(line + strlen(ROOT_WORD));
		if (!undo->found)
			*ret_error = -ENOMEM;
		return true;
	}
	original = strchr(line, '\t');
	ours = original ? strchr(original + 1, '\t') : NULL;
	if (!ours)
		return false;
	*original++ = '\0';
	*ours++ = '\0';
	if (!undo_path_ok(line) || !undo_value_ok(original) || !undo_value_ok(ours))
		return false;
	entry = undo_entry_get(undo, line, original);
	if (!entry)
		*ret_error = -ENOMEM;
	else
		undo_entry_add_ours(entry, ours);
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

/* The text is cut into lines in place. */
static int journal_parse(struct undo *undo, char *text, size_t len)
{
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

int undo_journal_load(struct undo *undo)
{
	char *text = NULL;
	size_t len = 0;
	int r = journal_read(undo->fd, &text, &len);

	if (r == 0)
		r = journal_parse(undo, text, len);
	free(text);
	return r;
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

/* The live host's journal says nothing of it. */
static int root_write(const struct undo *undo, int fd)
{
	char line[UNDO_ROOT_MAX + sizeof(ROOT_WORD) + 1];
	int len = snprintf(line, sizeof(line), ROOT_WORD "%s\n", undo->root);

	return strcmp(undo->root, "/") == 0 ? 0 : write_all(fd, line, (size_t)len);
}

static int sync_fd(int fd)
{
	return fsync(fd) < 0 ? -errno : 0;
}

int undo_journal_append(struct undo *undo, const char *path, const char *original, const char *ours)
{
	off_t end = lseek(undo->fd, 0, SEEK_END);
	int r = end == 0 ? root_write(undo, undo->fd) : 0;

	if (r == 0)
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
	return 0;
}

/* The journal anew from memory, in one step. */
int undo_journal_rewrite(struct undo *undo)
{
	AUTO_FD int fd =
		openat(undo->dirfd, NEW_NAME,
		       O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
	size_t lines = 0;
	int r;

	if (fd < 0)
		return -errno;
	r = undo->n_entries ? root_write(undo, fd) : 0;
	for (size_t i = 0; i < undo->n_entries && r == 0; i++) {
		const struct undo_item *entry = &undo->entries[i];

		for (size_t j = 0; j < entry->n_ours && r == 0; j++, lines++)
			r = line_write(fd, entry->path, entry->original, entry->ours[j]);
	}
	if (r == 0)
		r = sync_fd(fd);
	if (r == 0 && renameat(undo->dirfd, NEW_NAME, undo->dirfd, UNDO_JOURNAL_NAME) < 0)
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
