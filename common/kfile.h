/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Kernel files (/proc, /sys) read and written below a root directory given as an fd, so that a
 * captured tree serves as well as the live one. Paths are relative: "sys/kernel/mm/ksm/run".
 * One read or one write per call, whole value, strict parsing: trailing garbage is an error.
 */
#ifndef MEMD_COMMON_KFILE_H
#define MEMD_COMMON_KFILE_H

#include <stddef.h>
#include <stdint.h>

/* Open the root: "/" or the directory of a captured tree. An fd or -errno. */
int kfile_open_root(const char *path);

/*
 * Read the whole file into buf, always NUL terminated. Returns its length; -E2BIG when it does not
 * fit into n - 1 bytes (buf then holds the beginning); else -errno of open(2)/read(2).
 */
int kfile_read(int rootfd, const char *path, char *buf, size_t n);

/* The same into memory from malloc(3); the caller frees *ret_text. At most 64 MiB. */
int kfile_read_all(int rootfd, const char *path, char **ret_text, size_t *ret_len);

/* A file that holds one unsigned decimal number and white space. -EINVAL when it holds anything
 * else. */
int kfile_read_u64(int rootfd, const char *path, uint64_t *ret_value);

/*
 * The bracketed word of "always [madvise] never", or the only word of a plain file.
 * -EINVAL: none; -E2BIG: longer than n - 1.
 */
int kfile_read_choice(int rootfd, const char *path, char *buf, size_t n);

/* Write one value by one write(2). 0 or -errno (a short write is -EIO). */
int kfile_write(int rootfd, const char *path, const char *value);
int kfile_write_u64(int rootfd, const char *path, uint64_t value);

/*
 * One "Key: value" or "key value" line of a text like /proc/meminfo, /proc/vmstat, memory.stat or
 * /proc/PID/status, found by exact key at the start of a line. A "kB" unit is multiplied out, so
 * the answer is bytes there. -ENOENT: no such key; -EINVAL: no number behind it.
 */
int kfile_field_u64(const char *text, const char *key, uint64_t *ret_value);

/*
 * "0-1,3" (a cpulist or nodelist) to bits, bit i of words[i / 64]. An empty list is no bits.
 * -EINVAL: not a list; -ERANGE: a number at or above nbits.
 */
int kfile_list_parse(const char *text, uint64_t *words, size_t nbits);

/* Bits back to "0-1,3"; returns buf. */
char *kfile_list_format(const uint64_t *words, size_t nbits, char *buf, size_t n);

#endif
