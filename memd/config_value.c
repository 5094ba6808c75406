// SPDX-License-Identifier: Apache-2.0
/*
 * Values of configuration keys. Numbers are scaled integers throughout: a fraction is read digit
 * by digit, so that "0.1" is exactly 1000 ppm and no locale or rounding gets in between.
 */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/size.h"
#include "memd/config.h"
#include "memd/config_value.h"

struct unit {
	const char *suffix;
	uint64_t scale;
};

static const struct unit durations[] = {
	{"h", 3600 * USEC_PER_SEC},
	{"m", 60 * USEC_PER_SEC},
	{"s", USEC_PER_SEC},
	{"ms", 1000},
	{"us", 1},
	{"", USEC_PER_SEC},
	{"min", 60 * USEC_PER_SEC},
};
static const struct unit percents[] = {{"%", 10000}, {"", 10000}};

/* "12.5SUFFIX" times the suffix's scale; what does not come out whole is refused. */
static int parse_scaled(const char *text, const struct unit *units, size_t n_units,
			uint64_t *ret_value)
{
	uint64_t whole = 0, value, rest = 0, tenth = 1;
	const char *p = text, *suffix;
	const struct unit *unit = NULL;

	if (!isdigit((unsigned char)*p))
		return -EINVAL;
	for (; isdigit((unsigned char)*p); p++)
		if (__builtin_mul_overflow(whole, 10, &whole) ||
		    __builtin_add_overflow(whole, (uint64_t)(*p - '0'), &whole))
			return -ERANGE;
	if (*p == '.') {
		if (!isdigit((unsigned char)p[1]))
			return -EINVAL;
		for (p++; isdigit((unsigned char)*p); p++) {
			if (tenth >= 1000000000)
				return -EINVAL;
			rest = rest * 10 + (uint64_t)(*p - '0');
			tenth *= 10;
		}
	}
	for (suffix = p; *suffix == ' '; suffix++)
		;
	for (size_t i = 0; i < n_units && !unit; i++)
		if (strcmp(suffix, units[i].suffix) == 0)
			unit = &units[i];
	if (!unit)
		return -EINVAL;
	if (__builtin_mul_overflow(whole, unit->scale, &value) || rest * unit->scale % tenth != 0 ||
	    __builtin_add_overflow(value, rest * unit->scale / tenth, &value))
		return -ERANGE;
	*ret_value = value;
	return 0;
}

static int fail(char *why, size_t n, const char *text)
{
	snprintf(why, n, "%s", text);
	return -EINVAL;
}

static int parse_switch(const char *text, bool *field)
{
	static const struct {
		const char *word;
		bool value;
	} words[] = {{"on", true},   {"yes", true}, {"true", true},   {"1", true},
		     {"off", false}, {"no", false}, {"false", false}, {"0", false}};

	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		if (strcasecmp(text, words[i].word) == 0) {
			*field = words[i].value;
			return 0;
		}
	}
	return -EINVAL;
}

static int parse_word(const struct config_word *words, const char *text, uint32_t *field, char *why,
		      size_t n)
{
	size_t used = (size_t)snprintf(why, n, "is none of");

	for (; words && words->word; words++) {
		if (strcmp(text, words->word) == 0) {
			*field = words->value;
			return 0;
		}
		if (used < n)
			used += (size_t)snprintf(why + used, n - used, " %s", words->word);
	}
	return -EINVAL;
}

static int parse_text(const char *text, char *field, size_t size, bool absolute, char *why,
		      size_t n)
{
	if (absolute && text[0] != '/')
		return fail(why, n, "is not an absolute path");
	if (strlen(text) >= size) {
		snprintf(why, n, "is longer than %zu characters", size - 1);
		return -EINVAL;
	}
	snprintf(field, size, "%s", text);
	return 0;
}

static int parse_globs(const char *text, char *field, char *why, size_t n)
{
	for (const char *p = text; *p;) {
		p += strspn(p, " \t");
		if (*p && *p != '/')
			return fail(why, n,
				    "holds a pattern that is not an absolute path (separate "
				    "patterns by spaces)");
		p += strcspn(p, " \t");
	}
	return parse_text(text, field, CONFIG_TEXT_MAX, false, why, n);
}

static int check_range(enum config_type type, uint64_t value, uint64_t min, uint64_t max, char *why,
		       size_t n)
{
	char low[48], high[48];
	uint32_t ppm_low = (uint32_t)min, ppm_high = (uint32_t)max;
	bool percent = type == CONFIG_PERCENT;

	if (value >= min && (max == 0 || value <= max))
		return 0;
	config_value_format(type, NULL, percent ? (void *)&ppm_low : (void *)&min, low,
			    sizeof(low));
	config_value_format(type, NULL, percent ? (void *)&ppm_high : (void *)&max, high,
			    sizeof(high));
	if (max == 0)
		snprintf(why, n, "is below %s", low);
	else
		snprintf(why, n, "is not between %s and %s", low, high);
	return -EINVAL;
}

static int parse_number(enum config_type type, uint64_t min, uint64_t max, const char *text,
			uint64_t *ret_value, char *why, size_t n)
{
	static const struct unit plain[] = {{"", 1}};
	int r;

	switch (type) {
	case CONFIG_DURATION:
		r = parse_scaled(text, durations, ARRAY_SIZE(durations), ret_value);
		if (r < 0)
			return fail(why, n, "is not a duration (500ms, 2s, 1m, 1h)");
		break;
	case CONFIG_SIZE:
		r = size_parse(text, ret_value);
		if (r < 0)
			return fail(why, n, "is not a size (4096, 64M, 1.5G)");
		break;
	case CONFIG_PERCENT:
		r = parse_scaled(text, percents, ARRAY_SIZE(percents), ret_value);
		if (r < 0)
			return fail(why, n, "is not a percentage (6, 0.5, 6%)");
		break;
	default:
		r = parse_scaled(text, plain, ARRAY_SIZE(plain), ret_value);
		if (r < 0)
			return fail(why, n, "is not a whole number");
		break;
	}
	return check_range(type, *ret_value, min, max, why, n);
}

int config_value_parse(enum config_type type, const struct config_word *words, uint64_t min,
		       uint64_t max, const char *text, void *field, char *why, size_t n)
{
	uint64_t value;

	switch (type) {
	case CONFIG_SWITCH:
		if (parse_switch(text, field) < 0)
			return fail(why, n, "is neither on nor off");
		return 0;
	case CONFIG_WORD:
		return parse_word(words, text, field, why, n);
	case CONFIG_PATH_OFF:
		if (strcmp(text, "off") == 0) {
			*(char *)field = '\0';
			return 0;
		}
		return parse_text(text, field, CONFIG_PATH_MAX, true, why, n);
	case CONFIG_PATH:
		return parse_text(text, field, CONFIG_PATH_MAX, true, why, n);
	case CONFIG_GLOBS:
		return parse_globs(text, field, why, n);
	case CONFIG_LABEL:
		return parse_text(text, field, POL_NAME_MAX, false, why, n);
	default:
		if (parse_number(type, min, max, text, &value, why, n) < 0)
			return -EINVAL;
		if (type == CONFIG_PERCENT)
			*(uint32_t *)field = (uint32_t)value;
		else
			*(uint64_t *)field = value;
		return 0;
	}
}

static char *format_duration(uint64_t us, char *buf, size_t n)
{
	static const struct unit exact[] = {
		{"h", 3600 * USEC_PER_SEC},
		{"m", 60 * USEC_PER_SEC},
		{"s", USEC_PER_SEC},
		{"ms", 1000},
		{"us", 1},
	};

	for (size_t i = 0; i < ARRAY_SIZE(exact); i++) {
		if (us % exact[i].scale == 0 && (us > 0 || exact[i].scale == USEC_PER_SEC)) {
			snprintf(buf, n, "%" PRIu64 "%s", us / exact[i].scale, exact[i].suffix);
			break;
		}
	}
	return buf;
}

static char *format_size(uint64_t bytes, char *buf, size_t n)
{
	static const struct unit exact[] = {{"T", 1ULL << 40}, {"G", GIB}, {"M", MIB}, {"K", KIB}};

	for (size_t i = 0; i < ARRAY_SIZE(exact); i++) {
		if (bytes > 0 && bytes % exact[i].scale == 0) {
			snprintf(buf, n, "%" PRIu64 "%s", bytes / exact[i].scale, exact[i].suffix);
			return buf;
		}
	}
	snprintf(buf, n, "%" PRIu64, bytes);
	return buf;
}

static char *format_percent(uint32_t ppm, char *buf, size_t n)
{
	size_t len;

	snprintf(buf, n, "%" PRIu32 ".%04" PRIu32, ppm / 10000, ppm % 10000);
	for (len = strlen(buf); len > 0 && buf[len - 1] == '0'; len--)
		buf[len - 1] = '\0';
	if (len > 0 && buf[len - 1] == '.')
		buf[len - 1] = '\0';
	return buf;
}

char *config_value_format(enum config_type type, const struct config_word *words, const void *field,
			  char *buf, size_t n)
{
	switch (type) {
	case CONFIG_DURATION:
		return format_duration(*(const uint64_t *)field, buf, n);
	case CONFIG_SIZE:
		if (*(const uint64_t *)field == POL_ABSENT)
			snprintf(buf, n, "none");
		else
			format_size(*(const uint64_t *)field, buf, n);
		return buf;
	case CONFIG_PERCENT:
		return format_percent(*(const uint32_t *)field, buf, n);
	case CONFIG_NUMBER:
		snprintf(buf, n, "%" PRIu64, *(const uint64_t *)field);
		return buf;
	case CONFIG_SWITCH:
		snprintf(buf, n, "%s", *(const bool *)field ? "on" : "off");
		return buf;
	case CONFIG_WORD:
		snprintf(buf, n, "?");
		for (; words && words->word; words++)
			if (words->value == *(const uint32_t *)field)
				snprintf(buf, n, "%s", words->word);
		return buf;
	case CONFIG_PATH_OFF:
		snprintf(buf, n, "%s", *(const char *)field ? (const char *)field : "off");
		return buf;
	default:
		snprintf(buf, n, "%s", (const char *)field);
		return buf;
	}
}
