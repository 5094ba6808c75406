/* SPDX-License-Identifier: Apache-2.0 */
/* A configuration file as text, for what libeconf does not tell: line numbers, and keys it does not
 * list.
 */
#ifndef MEMD_CONFIG_TEXT_H
#define MEMD_CONFIG_TEXT_H

#include <stdbool.h>

#include "memd/config.h"

/*
 * The line where a key of a section stands first (name NULL: the section itself; section NULL:
 * before any), 0: not found; *ret_times: how often it stands there.
 */
unsigned int config_text_line(const char *text, const char *section, const char *name,
			      unsigned int *ret_times);

/* One key after the other; .next is the text at first, the rest empty. */
struct config_text_item {
	const char *next;
	char section[CONFIG_PATH_MAX], name[64];
};

/* false: no more. What is too long to be one is passed over. */
bool config_text_next(struct config_text_item *item);

#endif
