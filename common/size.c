// SPDX-License-Identifier: Apache-2.0
/*
 * Sizes as people write and read them, in integers all the way: a size with a fraction is taken
 * only when it comes out as whole bytes, so nothing is rounded behind the operator's back.
 */
#include "common/size.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static const char units[] = "KMGTPE";

/* Digits after the point that can matter: 2^60 divides into 60 of them, 18 fit into 64 bits. */
#define FRACTION_DIGITS_MAX 18

/* The decimal number at *text, moved past. false: none, or it does not fit. */
static bool take_number(const char **text, uint64_t *ret_value, bool *ret_overflow)
{
	const char *p = *text;
	uint64_t value = 0;

	if (!isdigit((unsigned char)*p))
		return false;
	for (; isdigit((unsigned char)*p); p++) {
		if (__builtin_mul_overflow(value, 10, &value) ||
		    __builtin_add_overflow(value, (uint64_t)(*p - '0'), &value))
			*ret_overflow = true;
	}
	*text = p;
	*ret_value = value;
	return true;
}

/* "" "B" "K" "KiB" and so on, to the number of times 1024 is to be multiplied. */
static int take_suffix(const char *text)
{
	const char *unit;

	if (!*text || !strcmp(text, "B"))
		return 0;
	unit = strchr(units, toupper((unsigned char)*text));
	if (!unit || (text[1] && strcmp(text + 1, "iB") != 0))
		return -EINVAL;
	return (int)(unit - units) + 1;
}

int size_parse(const char *text, uint64_t *ret_bytes)
{
	uint64_t whole, fraction = 0, scale = 1;
	unsigned __int128 total, part;
	bool overflow = false;
	int power;

	if (!take_number(&text, &whole, &overflow))
		return -EINVAL;
	if (*text == '.') {
		const char *start = ++text;
		const char *end;

		while (isdigit((unsigned char)*text))
			text++;
		if (text == start)
			return -EINVAL;
		for (end = text; end > start && end[-1] == '0'; end--)
			;
		if (end - start > FRACTION_DIGITS_MAX)
			return -EINVAL;
		for (const char *p = start; p < end; p++) {
			fraction = fraction * 10 + (uint64_t)(*p - '0');
			scale *= 10;
		}
	}
	power = take_suffix(text);
	if (power < 0)
		return power;
	if (overflow)
		return -ERANGE;

	total = (unsigned __int128)whole << (10 * power);
	part = (unsigned __int128)fraction << (10 * power);
	if (part % scale)
		return -EINVAL;
	total += part / scale;
	if (total > INT64_MAX)
		return -ERANGE;
	*ret_bytes = (uint64_t)total;
	return 0;
}

char *size_format(uint64_t bytes, char *buf, size_t n)
{
	unsigned int power = 0;
	uint64_t tenths = 0;

	if (bytes < KIB) {
		snprintf(buf, n, "%u B", (unsigned int)bytes);
		return buf;
	}
	/* The first unit in which the rounded number stays below 1024; three or four digits. */
	do {
		unsigned __int128 scaled = (unsigned __int128)bytes * 10;
		unsigned int shift = 10 * ++power;

		tenths = (uint64_t)((scaled + ((unsigned __int128)1 << (shift - 1))) >> shift);
		if (tenths >= 1000)
			tenths = (tenths + 5) / 10 * 10;
	} while (tenths >= 10240 && power < sizeof(units) - 1);

	if (tenths % 10)
		snprintf(buf, n, "%u.%u %ciB", (unsigned int)(tenths / 10),
			 (unsigned int)(tenths % 10), units[power - 1]);
	else
		snprintf(buf, n, "%u %ciB", (unsigned int)(tenths / 10), units[power - 1]);
	return buf;
}
