// SPDX-License-Identifier: Apache-2.0
/*
 * Fuzz the parsers of short texts: sizes, node and CPU lists, fields of kernel files. What they
 * take must come back the same when it is written out and read again.
 */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/kfile.h"
#include "common/size.h"

#define BITS 1024

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(int holds)
{
	if (!holds)
		abort();
}

static void check_size(const char *text)
{
	uint64_t bytes = 0, again = 0;
	char plain[32];

	if (size_parse(text, &bytes) < 0)
		return;
	check(bytes <= INT64_MAX);
	snprintf(plain, sizeof(plain), "%llu", (unsigned long long)bytes);
	check(size_parse(plain, &again) == 0 && again == bytes);
	check(strlen(SIZE_TEXT(bytes)) < SIZE_TEXT_MAX - 1);
}

static void check_list(const char *text)
{
	uint64_t words[BITS / 64], again[BITS / 64];
	char plain[8192], small[7];

	if (kfile_list_parse(text, words, BITS) < 0)
		return;
	kfile_list_format(words, BITS, plain, sizeof(plain));
	check(kfile_list_parse(plain, again, BITS) == 0);
	check(!memcmp(words, again, sizeof(words)));
	/* Cut short it is still a list, of nothing that was not in it. */
	kfile_list_format(words, BITS, small, sizeof(small));
	check(kfile_list_parse(small, again, BITS) == 0);
	for (size_t i = 0; i < BITS / 64; i++)
		check((again[i] & ~words[i]) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const keys[] = {"MemTotal", "pgfault", "a", ""};
	char *text = malloc(size + 1);
	uint64_t value;

	if (!text)
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';
	check_size(text);
	check_list(text);
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		kfile_field_u64(text, keys[i], &value);
	free(text);
	return 0;
}
