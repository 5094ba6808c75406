/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What `memctl top` shows: a model made from the daemon's report, and its lines of text. No
 * terminal is touched here; top.c puts the lines on one.
 */
#ifndef MEMD_TOOLS_TOP_H
#define MEMD_TOOLS_TOP_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "policy/policy.h"

#define TOP_SAMPLES  120
#define TOP_LINE_MAX 1024 /* bytes of a line, its NUL included */

enum top_sort { TOP_SAVED, TOP_RESIDENT, TOP_KSM, TOP_BALLOON, TOP_NAME, TOP_SORT_COUNT };

struct top_guest {
	char name[POL_NAME_MAX], by[8], note[128];	     /* harmless: printable ASCII */
	uint64_t memory_bytes, actual_bytes, resident_bytes; /* POL_ABSENT: not known */
	uint64_t ksm_bytes, balloon_bytes, saved_bytes;
};

struct top {
	/* by the keys */
	enum top_sort sort;
	bool paused, help;
	size_t scroll; /* the first guest that is shown */
	bool unicode;  /* the terminal shows block characters */

	/* by the daemon */
	bool filled; /* there was a report */
	char state[16], error[160];
	uint64_t memory_bytes, available_bytes, swap_used_bytes;
	uint64_t ksm_bytes, balloon_bytes, reported_bytes, unplugged_bytes, total_bytes;
	struct top_guest *guests;
	size_t n_guests;

	/* the last TOP_SAMPLES reports, oldest first; POL_ABSENT: not known */
	uint64_t saved[TOP_SAMPLES], available[TOP_SAMPLES], ksmd_ppm[TOP_SAMPLES];
	size_t n_samples;
	double cpu_seconds; /* ksmd's total in the last report, < 0: not known */
	uint64_t now_us;    /* when that was */
};

void top_init(struct top *top, bool unicode);
void top_fini(struct top *top);

/* A report of the daemon that came at now_us (monotonic). -ENOMEM: the one before stays. */
int top_update(struct top *top, json_object *report, uint64_t now_us);

/* There is none, because of: shown until the next report. */
void top_fail(struct top *top, const char *why);

/* Any key. False: quit. */
bool top_key(struct top *top, int key);

enum top_look { TOP_PLAIN, TOP_BOLD, TOP_REVERSE };

/*
 * Line `line` of a screen of so many lines and columns, never more columns than that; "" when there
 * is nothing on it.
 */
enum top_look top_line(const struct top *top, int line, int lines, int columns,
		       char text[static TOP_LINE_MAX]);

/* The last so many samples as bars from 0 to the largest, a column each. Returns text. */
char *top_spark(const uint64_t *samples, size_t n, size_t columns, bool unicode, char *text);

#endif
