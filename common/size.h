/* SPDX-License-Identifier: Apache-2.0 */
/* Sizes and durations as people write and read them. */
#ifndef MEMD_COMMON_SIZE_H
#define MEMD_COMMON_SIZE_H

#include <stddef.h>
#include <stdint.h>

#define KIB (1024ULL)
#define MIB (1024ULL * KIB)
#define GIB (1024ULL * MIB)

/*
 * "4096", "512K", "256M", "1.5G", "1GiB", "2T" (binary multiples; a bare number is bytes) to bytes.
 * -EINVAL: not a size (empty, sign, trailing garbage, unknown suffix, fraction of a byte);
 * -ERANGE: above 2^63-1.
 */
int size_parse(const char *text, uint64_t *ret_bytes);

/* 1610612736 -> "1.5 GiB". Writes at most n bytes, always terminated; returns buf. */
char *size_format(uint64_t bytes, char *buf, size_t n);

#define SIZE_TEXT_MAX 24
/* size_format into a buffer that lives as long as the enclosing block: printf("%s", SIZE_TEXT(b)).
 */
#define SIZE_TEXT(bytes) size_format((bytes), (char[SIZE_TEXT_MAX]){0}, SIZE_TEXT_MAX)

#endif
