// SPDX-License-Identifier: Apache-2.0
/*
 * Kernel files kept open. A seq_file gives at most its buffer (a page) per read, so long ones take
 * several; the position of each is where the one before ended, which seq_file serves without
 * starting over.
 */
#include "memd/kept.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

int kept_open(int rootfd, const char *path)
{
	int fd;

	if (path[0] == '/')
		return -EINVAL;
	fd = openat(rootfd, path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	return fd < 0 ? -errno : fd;
}

int kept_read(int fd, char *buf, size_t n)
{
	size_t done = 0;

	if (fd < 0)
		return -ENOENT;
	for (;;) {
		ssize_t r = pread(fd, buf + done, n - 1 - done, (off_t)done);

		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return -errno;
		done += (size_t)r;
		if (r == 0)
			break;
		if (done == n - 1) {
			buf[done] = '\0';
			return -E2BIG;
		}
	}
	buf[done] = '\0';
	return (int)done;
}

int kept_parse_u64(const char *text, uint64_t *ret_value)
{
	uint64_t value = 0;

	while (isspace((unsigned char)*text))
		text++;
	if (!isdigit((unsigned char)*text))
		return -EINVAL;
	for (; isdigit((unsigned char)*text); text++)
		if (__builtin_mul_overflow(value, 10, &value) ||
		    __builtin_add_overflow(value, (uint64_t)(*text - '0'), &value))
			return -EINVAL;
	while (isspace((unsigned char)*text))
		text++;
	if (*text)
		return -EINVAL;
	*ret_value = value;
	return 0;
}

int kept_read_u64(int fd, uint64_t *ret_value)
{
	char buf[64];
	ssize_t r;

	if (fd < 0)
		return -ENOENT;
	/* One read: such files give all they have at once. */
	do {
		r = pread(fd, buf, sizeof(buf) - 1, 0);
	} while (r < 0 && errno == EINTR);
	if (r < 0)
		return -errno;
	buf[r] = '\0';
	if (strlen(buf) != (size_t)r)
		return -EINVAL;
	return kept_parse_u64(buf, ret_value);
}
