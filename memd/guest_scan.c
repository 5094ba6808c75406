// SPDX-License-Identifier: Apache-2.0
/* The registry's look at the globs: new sockets, and guests whose sockets are gone. */
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "common/clock.h"
#include "memd/guest.h"
#include "memd/guest_qmp.h"

/* The globs are looked at so often whatever their directories say. */
#define SCAN_EVERY_US (30 * USEC_PER_SEC)
#define SETTLED_S     2
/* Each is two characters at least. */
#define PATTERNS_MAX (CONFIG_TEXT_MAX / 2)

static void add_guest(struct guests *guests, const char *path)
{
	struct guest *guest;

	if (strlen(path) >= GUEST_PATH_MAX) {
		if (!guests->full_told)
			log_warn("%s: longer than the %d characters a socket path can have; left "
				 "alone",
				 path, GUEST_PATH_MAX - 1);
		guests->full_told = true;
		return;
	}
	if (guests->n == guests->capacity) {
		if (!guests->full_told)
			log_warn("%s: more than %d guests; those beyond are left alone", path,
				 GUESTS_MAX);
		guests->full_told = true;
		return;
	}
	guest = calloc(1, sizeof(*guest));
	if (!guest) {
		log_err("%s: no memory to take on this guest", path);
		return;
	}
	guest->all = guests;
	guest->id = guests->next_id++;
	guest->seen = true;
	guest->limit = (struct log_limit){.window_us = 60 * USEC_PER_SEC, .burst = 4};
	guest->resets = guest->limit;
	snprintf(guest->path, sizeof(guest->path), "%s", path);
	guest->path_hash = XXH3_64bits(path, strlen(path));
	guest_forget(guest);
	guests->v[guests->n++] = guest;
}

static void scan_pattern(struct guests *guests, const char *pattern)
{
	glob_t found = {0};

	if (glob(pattern, GLOB_NOSORT, NULL, &found) != 0) {
		globfree(&found);
		return;
	}
	for (size_t i = 0; i < found.gl_pathc; i++) {
		const char *path = found.gl_pathv[i];
		uint64_t hash = XXH3_64bits(path, strlen(path));
		size_t j;

		for (j = 0; j < guests->n; j++)
			if (guests->v[j]->path_hash == hash &&
			    strcmp(guests->v[j]->path, path) == 0)
				break;
		if (j < guests->n)
			guests->v[j]->seen = true;
		else
			add_guest(guests, path);
	}
	globfree(&found);
}

/* Of a pattern whose directory is plain: what tells that something in it has changed. */
static bool add_place(const char *pattern, XXH3_state_t *hash, time_t *ret_newest)
{
	const char *slash = strrchr(pattern, '/');
	char dir[CONFIG_TEXT_MAX];
	struct stat st = {0};

	if (!slash || strcspn(pattern, "*?[\\") < (size_t)(slash - pattern))
		return false;
	snprintf(dir, sizeof(dir), "%.*s", (int)(slash - pattern) + 1, pattern);
	if (stat(dir, &st) < 0)
		memset(&st, 0, sizeof(st));
	XXH3_64bits_update(hash, pattern, strlen(pattern) + 1);
	XXH3_64bits_update(hash, &st.st_dev, sizeof(st.st_dev));
	XXH3_64bits_update(hash, &st.st_ino, sizeof(st.st_ino));
	XXH3_64bits_update(hash, &st.st_mtim, sizeof(st.st_mtim));
	if (st.st_mtim.tv_sec > *ret_newest)
		*ret_newest = st.st_mtim.tv_sec;
	return true;
}

/*
 * To list a directory of a thousand sockets each second costs more than all else about them: is it
 * as it was? Its time is coarse: what happened in its last seconds may have come after a look.
 */
static bool is_as_it_was(struct guests *guests, char **patterns, size_t n, uint64_t now_us)
{
	XXH3_state_t hash;
	bool plain = true, same;
	time_t newest = 0;
	uint64_t digest;

	XXH3_64bits_reset(&hash);
	for (size_t i = 0; i < n && plain; i++)
		plain = add_place(patterns[i], &hash, &newest);
	digest = XXH3_64bits_digest(&hash);
	same = plain && guests->scan_settled && digest == guests->scan_hash &&
	       now_us - guests->scan_us < SCAN_EVERY_US;
	guests->scan_hash = digest;
	guests->scan_settled = plain && newest + SETTLED_S < time(NULL);
	if (!same)
		guests->scan_us = now_us;
	return same;
}

void guests_scan(struct guests *guests, uint64_t now_us)
{
	char globs[CONFIG_TEXT_MAX], *save = NULL, *patterns[PATTERNS_MAX];
	size_t n = 0, kept = 0;

	snprintf(globs, sizeof(globs), "%s", guests->config->guest_globs);
	for (char *p = strtok_r(globs, " \t", &save); p && n < PATTERNS_MAX;
	     p = strtok_r(NULL, " \t", &save))
		patterns[n++] = p;
	if (!is_as_it_was(guests, patterns, n, now_us)) {
		for (size_t i = 0; i < guests->n; i++)
			guests->v[i]->seen = false;
		for (size_t i = 0; i < n; i++)
			scan_pattern(guests, patterns[i]);
	}
	/* A guest whose socket file was removed stays while its connection does. */
	for (size_t i = 0; i < guests->n; i++) {
		struct guest *guest = guests->v[i];

		if (guest->seen || guest->conn) {
			guests->v[kept++] = guest;
			continue;
		}
		if (guest->listed && guests->hooks.changed)
			guests->hooks.changed(guests->hooks.ctx, guest, "gone");
		guest_free(guest);
	}
	guests->n = kept;
	for (size_t i = 0; i < guests->n; i++) {
		struct guest *guest = guests->v[i];

		if (guest->phase == GUEST_WAITING && guest->retry_us <= now_us && guest->seen)
			guest_qmp_connect(guest, now_us);
	}
}
