/* SPDX-License-Identifier: Apache-2.0 */
/*
 * memd's configuration: one table of keys with their types, ranges and defaults, read by libeconf
 * from INI files and drop-ins. Loading is all or nothing: a struct config is either whole or not
 * there. Unknown keys warn with file and line, bad values are errors with file and line.
 */
#ifndef MEMD_CONFIG_H
#define MEMD_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "policy/policy.h"

#define CONFIG_PATH_MAX 256
#define CONFIG_TEXT_MAX 1024
#define CONFIG_KEYS_MAX 64

enum config_on_stop {
	CONFIG_STOP_KEEP,   /* guests stay as they are */
	CONFIG_STOP_DEFLATE /* what we took is given back, as far as the host has room */
};

/* How guests' memory in use is looked at from the host. */
enum config_idle {
	CONFIG_IDLE_AUTO,  /* by all that the kernel has */
	CONFIG_IDLE_MGLRU, /* only by what can be read: the LRU's generations */
	CONFIG_IDLE_OFF
};

enum config_merge_unit {
	CONFIG_MERGE_CHUNK, /* of guests that can: those 2 MiB chunks that pay */
	CONFIG_MERGE_GUEST  /* all of a guest's memory, or none */
};

enum config_cgroups {
	CONFIG_CGROUPS_OFF, /* guests stay in the cgroups they are in */
	CONFIG_CGROUPS_AUTO /* who has none of its own gets one, where nobody's rights stand against
			     */
};

/* [guest NAME] */
struct config_guest {
	char name[POL_NAME_MAX];
	uint64_t shares;
	uint64_t min_bytes, max_bytes; /* POL_ABSENT: not set */
	char domain[POL_NAME_MAX];     /* trust domain, "" when not set */
	uint32_t domain_number;	       /* the same for the same domain; 0: not set */
	uint64_t swap_max_bytes;       /* of it in swap at most; POL_ABSENT: not set */
	char nodes[POL_NAME_MAX];      /* list of nodes that it is confined to; "": none */
	bool manage;
};

struct config {
	uint64_t tick_us;
	char socket[CONFIG_PATH_MAX];
	char guest_globs[CONFIG_TEXT_MAX]; /* separated by white space */
	char state_dir[CONFIG_PATH_MAX], runtime_dir[CONFIG_PATH_MAX];
	uint64_t guest_timeout_us;
	uint32_t log_level;	     /* enum log_level */
	char trace[CONFIG_PATH_MAX]; /* "" switches it off */
	uint64_t trace_bytes;
	uint32_t on_stop;	/* enum config_on_stop */
	uint32_t merge_unit;	/* enum config_merge_unit */
	uint32_t guest_cgroups; /* enum config_cgroups */
	uint32_t huge_pages;	/* enum pol_pool_mode */
	bool huge_repair;
	uint64_t huge_bytes_per_s; /* at most so much is made huge pages again */
	bool cgroup_limits;	   /* floors and limits are set in guests' own cgroups */
	uint32_t idle_tracking;	   /* enum config_idle */
	struct pol_config policy;

	struct config_guest *guests;
	size_t n_guests;
	char *origin[CONFIG_KEYS_MAX]; /* by key: "FILE:LINE", NULL for a default */
};

struct config_source {
	const char *file;	       /* only this file; NULL: the directories below */
	const char *usr_dir, *etc_dir; /* DIR/memd.conf and DIR/memd.conf.d/ *.conf */
};

/* The places of an installed memd. */
extern const struct config_source config_source_default;

/* One complaint, without newline. */
typedef void (*config_say_fn)(void *ctx, bool error, const char *text);

/*
 * Defaults, then the files. No file at all is fine unless source->file names one.
 * 0: *ret_config is the caller's, for config_free(); -EINVAL: say has heard every error;
 * -ENOMEM.
 */
int config_load(const struct config_source *source, config_say_fn say, void *ctx,
		struct config **ret_config);
void config_free(struct config *config); /* NULL is fine */

/*
 * For a reload: socket, runtime-dir and state-dir stay the old ones, and what nobody set follows
 * these. True: others were asked for.
 */
bool config_keep_places(struct config *config, const struct config *old);

/*
 * One key of [policy] by its name in memd.conf. 0, or -EINVAL with the reason in why: there is no
 * such key, or the value is none. Whether the values make sense together pol_config_check() tells.
 */
int config_set_policy(struct pol_config *policy, const char *name, const char *value, char *why,
		      size_t n);

/* The section of a guest; NULL: it has none. */
const struct config_guest *config_find_guest(const struct config *config, const char *name);
/* Is it not said of the guest that it is to be left alone (manage=no)? */
bool config_manages(const struct config *config, const char *guest);

/*
 * The number of a guest's trust domain; 0: the common one of all guests that have none set. Names:
 * "" for 0.
 */
uint32_t config_domain(const struct config *config, const char *guest);
const char *config_domain_name(const struct config *config, uint32_t number);

/* Is any domain set? */
bool config_has_domains(const struct config *config);

/* Every key with its effective value and where it comes from, as --check-config prints it. */
void config_print(const struct config *config, FILE *out);

/*
 * The keys of the table, for tests that hold memd.conf and the manual against it: section and name
 * of key i with its default as text, false when there is none. Guest sections are "guest NAME".
 */
bool config_key_info(size_t i, const char **ret_section, const char **ret_name, char *buf,
		     size_t n);

#endif
