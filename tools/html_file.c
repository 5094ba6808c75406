// SPDX-License-Identifier: Apache-2.0
/* A page put in place in one step: whoever looks sees the old one or the whole new one. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "tools/html.h"

struct html_file {
	FILE *stream;
	char *path;		  /* what is replaced; NULL: written as it is */
	char temporary[PATH_MAX]; /* beside it, to be put in its place; "": there is none */
};

static int fail(int error, const char *what, char *why, size_t n)
{
	snprintf(why, n, "%s: %s", what, strerror(error));
	return -error;
}

static void file_free(struct html_file *file)
{
	cleanup_file(&file->stream);
	if (file->temporary[0])
		unlink(file->temporary);
	free(file->path);
	free(file);
}

/* Mode of a new file as the umask wants it. */
static mode_t new_mode(void)
{
	mode_t mask = umask(0);

	umask(mask);
	return 0666 & ~mask;
}

/* The file that the path leads to, through symbolic links: that is the one to replace. */
static char *resolve(const char *path)
{
	char *real = realpath(path, NULL);

	if (!real && errno == ENOENT)
		real = strdup(path);
	return real;
}

static int open_temporary(struct html_file *file, const char *path, char *why, size_t n)
{
	struct stat st;
	int fd, r;

	file->path = resolve(path);
	if (!file->path)
		return fail(errno, "cannot be written", why, n);
	if ((size_t)snprintf(file->temporary, sizeof(file->temporary), "%s.XXXXXX", file->path) >=
	    sizeof(file->temporary))
		r = fail(ENAMETOOLONG, "cannot be written", why, n);
	else if ((fd = mkostemp(file->temporary, O_CLOEXEC)) < 0)
		r = fail(errno, "cannot write a file beside it", why, n);
	else
		r = fd;
	if (r < 0) {
		file->temporary[0] = '\0';
		return r;
	}
	file->stream = fdopen(fd, "w");
	if (!file->stream) {
		r = fail(errno, "cannot be written", why, n);
		close(fd);
		return r;
	}
	if (fchmod(fd, stat(file->path, &st) == 0 ? st.st_mode & 0777 : new_mode()) < 0)
		return fail(errno, "cannot be given its mode", why, n);
	return 0;
}

int html_file_open(const char *path, struct html_file **ret_file, char *why, size_t n)
{
	struct html_file *file = calloc(1, sizeof(*file));
	struct stat st;
	int r;

	if (!file)
		return fail(ENOMEM, "cannot be written", why, n);
	if (stat(path, &st) == 0 && S_ISDIR(st.st_mode)) {
		r = fail(EISDIR, "cannot be written", why, n);
	} else if (stat(path, &st) == 0 && !S_ISREG(st.st_mode)) {
		file->stream = fopen(path, "we");
		r = file->stream ? 0 : fail(errno, "cannot be written", why, n);
	} else {
		r = open_temporary(file, path, why, n);
	}
	if (r < 0)
		file_free(file);
	else
		*ret_file = file;
	return r;
}

FILE *html_file_stream(struct html_file *file)
{
	return file->stream;
}

int html_file_close(struct html_file *file, int result, char *why, size_t n)
{
	int r = result;

	if (r < 0)
		snprintf(why, n, "the page could not be made: %s", strerror(-r));
	else if (fflush(file->stream) != 0 || ferror(file->stream))
		r = fail(errno ? errno : EIO, "cannot be written", why, n);
	else if (file->path && fsync(fileno(file->stream)) < 0)
		r = fail(errno, "cannot be written", why, n);
	else if (file->path && rename(file->temporary, file->path) < 0)
		r = fail(errno, "cannot be put in place", why, n);
	if (r == 0)
		file->temporary[0] = '\0';
	file_free(file);
	return r;
}
