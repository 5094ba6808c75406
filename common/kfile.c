// SPDX-License-Identifier: Apache-2.0
/*
 * Kernel files below a root directory: whole values, strict numbers. Absolute paths are refused,
 * because openat(2) would leave the root with them.
 */
#include "common/kfile.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"

#define READ_ALL_MAX (64UL << 20)

int kfile_open_root(const char *path)
{
	int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

static int open_below(int rootfd, const char *path, int flags)
{
	int fd;

	if (path[0] == '/' || !path[0])
		return -EINVAL;
	fd = openat(rootfd, path, flags | O_CLOEXEC | O_NOCTTY);
	return fd < 0 ? -errno : fd;
}

/* Fill buf up to n or to the end of the file. Bytes read or -errno. */
static ssize_t read_up_to(int fd, char *buf, size_t n)
{
	size_t done = 0;

	while (done < n) {
		ssize_t r = read(fd, buf + done, n - done);

		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return -errno;
		if (r == 0)
			break;
		done += (size_t)r;
	}
	return (ssize_t)done;
}

int kfile_read(int rootfd, const char *path, char *buf, size_t n)
{
	AUTO_FD int fd = -1;
	ssize_t len;
	char more;

	if (n == 0 || n > INT32_MAX)
		return -EINVAL;
	buf[0] = '\0';
	fd = open_below(rootfd, path, O_RDONLY);
	if (fd < 0)
		return fd;
	len = read_up_to(fd, buf, n - 1);
	if (len < 0) {
		buf[0] = '\0';
		return (int)len;
	}
	buf[len] = '\0';
	/* A full buffer may be just enough: only a further byte says that it was not. */
	if ((size_t)len == n - 1 && read_up_to(fd, &more, 1) == 1)
		return -E2BIG;
	return (int)len;
}

int kfile_read_all(int rootfd, const char *path, char **ret_text, size_t *ret_len)
{
	AUTO_FD int fd = open_below(rootfd, path, O_RDONLY);
	AUTO_FREE char *text = NULL;
	size_t room = 4096, len = 0;

	if (fd < 0)
		return fd;
	for (;;) {
		char *grown = realloc(text, room);
		ssize_t r;

		if (!grown)
			return -ENOMEM;
		text = grown;
		r = read_up_to(fd, text + len, room - 1 - len);
		if (r < 0)
			return (int)r;
		len += (size_t)r;
		if (len < room - 1)
			break;
		if (room > READ_ALL_MAX)
			return -EFBIG;
		room *= 2;
	}
	text[len] = '\0';
	*ret_text = TAKE_PTR(text);
	if (ret_len)
		*ret_len = len;
	return 0;
}

/* Decimal digits at *text, moved past. -EINVAL: none; -ERANGE: above 64 bits. */
static int take_u64(const char **text, uint64_t *ret_value)
{
	const char *p = *text;
	uint64_t value = 0;

	if (!isdigit((unsigned char)*p))
		return -EINVAL;
	for (; isdigit((unsigned char)*p); p++)
		if (__builtin_mul_overflow(value, 10, &value) ||
		    __builtin_add_overflow(value, (uint64_t)(*p - '0'), &value))
			return -ERANGE;
	*text = p;
	*ret_value = value;
	return 0;
}

static const char *skip_space(const char *p)
{
	while (isspace((unsigned char)*p))
		p++;
	return p;
}

int kfile_read_u64(int rootfd, const char *path, uint64_t *ret_value)
{
	char buf[64];
	const char *p;
	uint64_t value;
	int r = kfile_read(rootfd, path, buf, sizeof(buf));

	if (r < 0)
		return r == -E2BIG ? -EINVAL : r;
	p = skip_space(buf);
	if (strlen(buf) != (size_t)r || take_u64(&p, &value) < 0 || *skip_space(p))
		return -EINVAL;
	*ret_value = value;
	return 0;
}

int kfile_read_choice(int rootfd, const char *path, char *buf, size_t n)
{
	char text[4096];
	const char *start, *end;
	int r = kfile_read(rootfd, path, text, sizeof(text));

	if (r < 0)
		return r == -E2BIG ? -EINVAL : r;
	start = strchr(text, '[');
	if (start) {
		start++;
		end = strchr(start, ']');
		if (!end)
			return -EINVAL;
	} else {
		start = skip_space(text);
		for (end = start; *end && !isspace((unsigned char)*end); end++)
			;
		if (*skip_space(end))
			return -EINVAL;
	}
	if (end == start)
		return -EINVAL;
	if ((size_t)(end - start) >= n)
		return -E2BIG;
	memcpy(buf, start, (size_t)(end - start));
	buf[end - start] = '\0';
	return 0;
}

int kfile_write(int rootfd, const char *path, const char *value)
{
	/* O_TRUNC is nothing to kernel files; in a captured tree it drops the longer old value. */
	AUTO_FD int fd = open_below(rootfd, path, O_WRONLY | O_TRUNC);
	size_t len = strlen(value);
	ssize_t r;

	if (fd < 0)
		return fd;
	do {
		r = write(fd, value, len);
	} while (r < 0 && errno == EINTR);
	if (r < 0)
		return -errno;
	return (size_t)r == len ? 0 : -EIO;
}

int kfile_write_u64(int rootfd, const char *path, uint64_t value)
{
	char buf[24];

	snprintf(buf, sizeof(buf), "%llu", (unsigned long long)value);
	return kfile_write(rootfd, path, buf);
}

int kfile_field_u64(const char *text, const char *key, uint64_t *ret_value)
{
	size_t key_len = strlen(key);

	for (const char *line = text; line && *line;) {
		const char *p = line + key_len;
		uint64_t value;
		int r;

		if (strncmp(line, key, key_len) != 0 || (*p != ':' && *p != ' ' && *p != '\t')) {
			line = strchr(line, '\n');
			if (line)
				line++;
			continue;
		}
		p += *p == ':';
		p += strspn(p, " \t");
		r = take_u64(&p, &value);
		if (r < 0)
			return -EINVAL;
		p += strspn(p, " \t");
		if (!strncmp(p, "kB", 2)) {
			if (__builtin_mul_overflow(value, 1024, &value))
				return -EINVAL;
			p += 2;
		}
		if (*p && *p != '\n')
			return -EINVAL;
		*ret_value = value;
		return 0;
	}
	return -ENOENT;
}

/* Walk the list; words NULL: check only. */
static int list_walk(const char *text, uint64_t *words, size_t nbits)
{
	const char *p = skip_space(text);

	if (!*p)
		return 0;
	for (;;) {
		uint64_t first, last;
		int r = take_u64(&p, &first);

		if (r < 0)
			return r;
		last = first;
		if (*p == '-') {
			p++;
			r = take_u64(&p, &last);
			if (r < 0)
				return r;
		}
		if (last < first)
			return -EINVAL;
		if (last >= nbits)
			return -ERANGE;
		for (uint64_t bit = first; words && bit <= last; bit++)
			words[bit / 64] |= 1ULL << (bit % 64);
		if (*p != ',')
			break;
		p++;
	}
	return *skip_space(p) ? -EINVAL : 0;
}

int kfile_list_parse(const char *text, uint64_t *words, size_t nbits)
{
	int r = list_walk(text, NULL, nbits);

	if (r < 0)
		return r;
	memset(words, 0, (nbits + 63) / 64 * sizeof(*words));
	return list_walk(text, words, nbits);
}

static bool list_has(const uint64_t *words, size_t bit)
{
	return words[bit / 64] & (1ULL << (bit % 64));
}

char *kfile_list_format(const uint64_t *words, size_t nbits, char *buf, size_t n)
{
	size_t len = 0;

	if (n)
		buf[0] = '\0';
	for (size_t first = 0; first < nbits; first++) {
		char item[48];
		size_t last = first, item_len;

		if (!list_has(words, first))
			continue;
		while (last + 1 < nbits && list_has(words, last + 1))
			last++;
		if (last == first)
			snprintf(item, sizeof(item), "%s%zu", len ? "," : "", first);
		else
			snprintf(item, sizeof(item), "%s%zu-%zu", len ? "," : "", first, last);
		item_len = strlen(item);
		if (len + item_len >= n)
			break; /* whole items only: half a number would be another node */
		memcpy(buf + len, item, item_len + 1);
		len += item_len;
		first = last;
	}
	return buf;
}
