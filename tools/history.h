/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What memd has saved and paid over time, gathered from its trace into buckets of equal length.
 * The trace is read from one end to the other and never held: memory depends on the number of
 * buckets and guests, not on its size. All times are the host's wall clock as the trace has it.
 */
#ifndef MEMD_TOOLS_HISTORY_H
#define MEMD_TOOLS_HISTORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "policy/policy.h"

/* Guests by name; what is saved in more than these is counted together. */
#define HISTORY_GUESTS_MAX 1024
#define HISTORY_NOTES_MAX  8
#define HISTORY_NOTE_MAX   600

/* Ticks further apart than this are not joined: memd was not running between them. */
#define HISTORY_GAP_US 60000000ULL

/* One number over a bucket's ticks; n 0: it was never known. */
struct history_range {
	uint64_t n, min, max;
	unsigned __int128 sum;
	bool rising; /* the smallest came before the largest */
};

struct history_bucket {
	uint64_t ticks;
	uint64_t covered_us;		/* between ticks that follow each other */
	uint64_t ksm_cpu_us;		/* spent by ksmd in that time */
	bool ksm_cpu_known;		/* else ksm_cpu_us says nothing */
	struct history_range saved;	/* bytes, by all mechanisms, the guests' sum */
	struct history_range ksm_saved; /* bytes, what the kernel's KSM counters say */
	struct history_range taken;	/* bytes of promised memory that guests do not have now */
	struct history_range available; /* bytes of the host */
	uint64_t n_guests;		/* the most at a time */
	uint64_t state_ticks[POL_STATE_LOW + 1];
};

struct history_guest {
	char name[POL_NAME_MAX];  /* as the guest's monitor told it: not to be trusted */
	uint64_t memory_bytes;	  /* promised, last known */
	uint64_t end_bytes;	  /* saved at the last tick, 0: gone by then */
	uint64_t most_bytes;	  /* saved, the most at a tick */
	unsigned __int128 sum;	  /* over all buckets */
	unsigned __int128 *saved; /* by bucket: bytes summed over its ticks */
};

struct history {
	uint64_t first_us, last_us;   /* first and last tick that is counted */
	uint64_t start_us, bucket_us; /* the first bucket, and the length of all */
	size_t n_buckets;
	struct history_bucket *buckets;
	struct history_bucket all; /* everything */
	uint64_t memory_bytes;	   /* of the host, POL_ABSENT: not known */
	enum pol_state end_state;
	struct history_guest *guests; /* by what was saved in all, most first; then by name */
	size_t n_guests;
	unsigned __int128 *others; /* guests beyond HISTORY_GUESTS_MAX, by bucket; NULL: none */
	char notes[HISTORY_NOTES_MAX][HISTORY_NOTE_MAX]; /* what is wrong with the trace */
	size_t n_notes;
};

/*
 * Read the trace at path, its predecessor path.1 first. Counted are the since_us before its last
 * tick (UINT64_MAX: all), in at most buckets_max buckets of a length that people find round.
 * Damaged or cut files give what could be read, with a note. -ENOENT: neither file is there;
 * -ENODATA: no tick in them; -EAGAIN: they were rotated time and again while being read; -errno of
 * open(2); -ENOMEM.
 */
int history_read(const char *path, uint64_t since_us, size_t buckets_max,
		 struct history **ret_history);

/* The same in at most buckets_max buckets, each a whole number of the old ones. -ENOMEM. */
int history_merge(const struct history *history, size_t buckets_max, struct history **ret_history);

void history_free(struct history *history); /* NULL is fine */

/* The mean; the range must not be empty. */
uint64_t history_mean(const struct history_range *range);

/* Mean over a bucket's ticks; 0 when it has none. */
uint64_t history_guest_mean(const struct history *history, const struct history_guest *guest,
			    size_t bucket);

/* Mean over all ticks. */
uint64_t history_guest_mean_all(const struct history *history, const struct history_guest *guest);

/* Mean over a bucket's ticks of what all guests from the from'th on saved, the others included. */
uint64_t history_rest_mean(const struct history *history, size_t from, size_t bucket);

/* ksmd's part of one processor, parts per million; POL_ABSENT: not known. */
uint64_t history_ksm_ppm(const struct history_bucket *bucket);

/* That part as text, "0.52%" or "-"; returns buf. */
char *history_percent(uint64_t ppm, char *buf, size_t n);

/* The worst state a bucket saw. It must have a tick. */
enum pol_state history_worst_state(const struct history_bucket *bucket);

/* When bucket i begins, wall clock. */
uint64_t history_time_us(const struct history *history, size_t bucket);

enum history_form {
	HISTORY_ISO,	 /* 2026-11-25T13:05:07Z */
	HISTORY_MOMENT,	 /* 2026-11-25 13:05, with seconds if they are not 0 */
	HISTORY_CLOCK,	 /* 13:05 */
	HISTORY_SECONDS, /* 13:05:07 */
	HISTORY_DAY,	 /* 25 Nov */
};

/* A moment as text, all in UTC, into buf of at least HISTORY_TIME_MAX; returns buf. */
#define HISTORY_TIME_MAX 40
char *history_time_text(uint64_t wall_us, enum history_form form, char *buf);

/*
 * The shortest round length (1 s, 2 s, 5 s ... 1 h, 2 h, 3 h, 6 h ...) that is a whole number of
 * unit_us (0: any) and not below least_us.
 */
uint64_t history_round_us(uint64_t least_us, uint64_t unit_us);

#endif
