/* SPDX-License-Identifier: Apache-2.0 */
/* Values of configuration keys: text to number and back, with the reason when it is none. */
#ifndef MEMD_CONFIG_VALUE_H
#define MEMD_CONFIG_VALUE_H

#include <stddef.h>
#include <stdint.h>

enum config_type {
	CONFIG_DURATION, /* uint64_t, microseconds: "500ms", "2s", "1.5m", "1h"; bare: seconds */
	CONFIG_SIZE,	 /* uint64_t, bytes: "64M", "1.5G" */
	CONFIG_PERCENT,	 /* uint32_t, parts per million: "6", "0.5", "6%" */
	CONFIG_NUMBER,	 /* uint64_t */
	CONFIG_SWITCH,	 /* bool: on, off, yes, no, true, false, 1, 0 */
	CONFIG_WORD,	 /* uint32_t, one of a list of words */
	CONFIG_PATH,	 /* char[CONFIG_PATH_MAX], absolute */
	CONFIG_PATH_OFF, /* the same, or "off" for none: "" */
	CONFIG_GLOBS,	 /* char[CONFIG_TEXT_MAX], absolute patterns separated by spaces */
	CONFIG_LABEL,	 /* char[POL_NAME_MAX] */
};

struct config_word {
	const char *word; /* NULL ends the list */
	uint32_t value;
};

/*
 * Parse text into *field (of the type's C type). min and max bound numbers, max 0 is none.
 * 0, or -EINVAL with the reason in why ("is not a duration (500ms, 2s, 1m)").
 */
int config_value_parse(enum config_type type, const struct config_word *words, uint64_t min,
		       uint64_t max, const char *text, void *field, char *why, size_t n);

/* Back to text that parses to the same; returns buf. */
char *config_value_format(enum config_type type, const struct config_word *words, const void *field,
			  char *buf, size_t n);

#endif
