/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The keys of memd.conf: one table with their types, ranges and defaults. Inside of config*.c only;
 * what others ask of keys is in config.h.
 */
#ifndef MEMD_CONFIG_KEY_H
#define MEMD_CONFIG_KEY_H

#include "memd/config.h"
#include "memd/config_value.h"

struct config_key {
	const char *section, *name;
	enum config_type type;
	size_t offset; /* in struct config, or struct config_guest for section "guest" */
	uint64_t min, max;
	const struct config_word *words;
	const char *initial; /* NULL: what pol_config_default() or another key says */
};

/* A key of a section, "guest" for those of guests' sections. NULL: there is no such key. */
const struct config_key *config_key_find(const char *section, const char *name);

/* Where the key's origin is kept (struct config); NULL: it is one of a guest's section. */
char **config_key_origin(struct config *config, const struct config_key *key);

/* Set what the keys outside of guests' sections are when nobody sets them. */
void config_key_defaults(struct config *config);

#endif
