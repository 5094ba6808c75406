/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Kernel files kept open over the ticks: pread(2) at offset 0 makes /proc and /sys produce the
 * value anew, for a third of what open, read and close cost.
 */
#ifndef MEMD_KEPT_H
#define MEMD_KEPT_H

#include <stddef.h>
#include <stdint.h>

/* Open for reading. An fd or -errno. */
int kept_open(int rootfd, const char *path);

/*
 * The whole file from its start, NUL terminated. Its length; -ENOENT when fd is negative (the file
 * was not there to open); -E2BIG when it does not fit into n - 1 bytes; -errno of pread(2).
 */
int kept_read(int fd, char *buf, size_t n);

/* One unsigned decimal number and white space; -EINVAL: anything else. */
int kept_read_u64(int fd, uint64_t *ret_value);

/* A text that is one unsigned decimal number and white space: 0, -EINVAL. */
int kept_parse_u64(const char *text, uint64_t *ret_value);

#endif
