// SPDX-License-Identifier: Apache-2.0
/*
 * The history as a thing of its own: round lengths of time, ranges, buckets put together, guests in
 * order. history_read.c fills it.
 */
#include "tools/history.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "tools/history_impl.h"

uint64_t history_round_us(uint64_t least_us, uint64_t unit_us)
{
	static const uint32_t seconds[] = {1,	  2,	 5,	10,    15,     30,    60,
					   120,	  300,	 600,	900,   1800,   3600,  7200,
					   10800, 21600, 43200, 86400, 172800, 604800};
	uint64_t step = 604800 * USEC_PER_SEC;

	for (size_t i = 0; i < ARRAY_SIZE(seconds); i++) {
		uint64_t us = seconds[i] * USEC_PER_SEC;

		if (us >= least_us && (!unit_us || us % unit_us == 0))
			return us;
	}
	while ((step < least_us || (unit_us && step % unit_us)) && step < UINT64_MAX / 4)
		step *= 2;
	return step;
}

uint64_t history_fit_us(uint64_t first_us, uint64_t last_us, size_t buckets_max, uint64_t unit_us)
{
	uint64_t us = 0;

	do
		us = history_round_us(us + 1, unit_us);
	while (last_us / us - first_us / us >= buckets_max && us < UINT64_MAX / 4);
	return us;
}

void history_range_add(struct history_range *range, uint64_t value)
{
	if (!pol_has(value))
		return;
	if (range->n == 0 || value > range->max) {
		range->max = value;
		range->rising = true;
	}
	if (range->n == 0 || value < range->min) {
		range->min = value;
		range->rising = false;
	}
	range->sum += value;
	range->n++;
}

static void merge_range(struct history_range *to, const struct history_range *from)
{
	if (from->n == 0)
		return;
	if (to->n == 0) {
		*to = *from;
		return;
	}
	if (from->max > to->max && from->min < to->min)
		to->rising = from->rising;
	else if (from->max > to->max)
		to->rising = true;
	else if (from->min < to->min)
		to->rising = false;
	to->max = from->max > to->max ? from->max : to->max;
	to->min = from->min < to->min ? from->min : to->min;
	to->sum += from->sum;
	to->n += from->n;
}

void history_bucket_add(struct history_bucket *to, const struct history_bucket *from)
{
	to->ticks += from->ticks;
	to->covered_us += from->covered_us;
	to->ksm_cpu_us += from->ksm_cpu_us;
	to->ksm_cpu_known |= from->ksm_cpu_known;
	merge_range(&to->saved, &from->saved);
	merge_range(&to->ksm_saved, &from->ksm_saved);
	merge_range(&to->taken, &from->taken);
	merge_range(&to->available, &from->available);
	if (from->n_guests > to->n_guests)
		to->n_guests = from->n_guests;
	for (size_t i = 0; i < ARRAY_SIZE(to->state_ticks); i++)
		to->state_ticks[i] += from->state_ticks[i];
}

int history_new(uint64_t first_us, uint64_t last_us, uint64_t bucket_us,
		struct history **ret_history)
{
	struct history *history = calloc(1, sizeof(*history));

	if (!history)
		return -ENOMEM;
	history->first_us = first_us;
	history->last_us = last_us;
	history->bucket_us = bucket_us;
	history->start_us = first_us / bucket_us * bucket_us;
	history->n_buckets = (size_t)((last_us - history->start_us) / bucket_us) + 1;
	history->memory_bytes = POL_ABSENT;
	history->buckets = calloc(history->n_buckets, sizeof(*history->buckets));
	history->guests = calloc(HISTORY_GUESTS_MAX, sizeof(*history->guests));
	if (!history->buckets || !history->guests) {
		history_free(history);
		return -ENOMEM;
	}
	*ret_history = history;
	return 0;
}

void history_free(struct history *history)
{
	if (!history)
		return;
	for (size_t i = 0; i < history->n_guests; i++)
		free(history->guests[i].saved);
	free(history->guests);
	free(history->others);
	free(history->buckets);
	free(history);
}

unsigned __int128 *history_row_new(const struct history *history)
{
	return calloc(history->n_buckets, sizeof(unsigned __int128));
}

int history_merge(const struct history *history, size_t buckets_max, struct history **ret_history)
{
	uint64_t bucket_us = history_fit_us(history->first_us, history->last_us, buckets_max,
					    history->bucket_us);
	struct history *merged = NULL;
	int r = history_new(history->first_us, history->last_us, bucket_us, &merged);

	if (r < 0)
		return r;
	merged->all = history->all;
	merged->memory_bytes = history->memory_bytes;
	merged->end_state = history->end_state;
	memcpy(merged->notes, history->notes, sizeof(merged->notes));
	merged->n_notes = history->n_notes;
	if (history->others)
		merged->others = history_row_new(merged);
	for (size_t g = 0; g < history->n_guests; g++) {
		merged->guests[g] = history->guests[g];
		merged->guests[g].saved = history_row_new(merged);
		merged->n_guests++;
		if (!merged->guests[g].saved)
			r = -ENOMEM;
	}
	if (r < 0 || (history->others && !merged->others)) {
		history_free(merged);
		return -ENOMEM;
	}
	for (size_t i = 0; i < history->n_buckets; i++) {
		size_t to = (size_t)((history_time_us(history, i) - merged->start_us) / bucket_us);

		history_bucket_add(&merged->buckets[to], &history->buckets[i]);
		for (size_t g = 0; g < history->n_guests; g++)
			merged->guests[g].saved[to] += history->guests[g].saved[i];
		if (history->others)
			merged->others[to] += history->others[i];
	}
	*ret_history = merged;
	return 0;
}

static int compare_guests(const void *a, const void *b)
{
	const struct history_guest *x = a, *y = b;

	if (x->sum != y->sum)
		return x->sum < y->sum ? 1 : -1;
	return strcmp(x->name, y->name);
}

void history_sort(struct history *history)
{
	qsort(history->guests, history->n_guests, sizeof(*history->guests), compare_guests);
}

uint64_t history_mean(const struct history_range *range)
{
	return (uint64_t)(range->sum / range->n);
}

uint64_t history_guest_mean(const struct history *history, const struct history_guest *guest,
			    size_t bucket)
{
	uint64_t ticks = history->buckets[bucket].ticks;

	return ticks ? (uint64_t)(guest->saved[bucket] / ticks) : 0;
}

uint64_t history_guest_mean_all(const struct history *history, const struct history_guest *guest)
{
	return history->all.ticks ? (uint64_t)(guest->sum / history->all.ticks) : 0;
}

uint64_t history_rest_mean(const struct history *history, size_t from, size_t at)
{
	unsigned __int128 sum = history->others ? history->others[at] : 0;

	for (size_t i = from; i < history->n_guests; i++)
		sum += history->guests[i].saved[at];
	return history->buckets[at].ticks ? (uint64_t)(sum / history->buckets[at].ticks) : 0;
}

uint64_t history_ksm_ppm(const struct history_bucket *bucket)
{
	if (!bucket->ksm_cpu_known || bucket->covered_us == 0)
		return POL_ABSENT;
	return (uint64_t)((unsigned __int128)bucket->ksm_cpu_us * 1000000 / bucket->covered_us);
}

char *history_percent(uint64_t ppm, char *buf, size_t n)
{
	if (pol_has(ppm))
		snprintf(buf, n, "%" PRIu64 ".%02" PRIu64 "%%", ppm / 10000, ppm / 100 % 100);
	else
		snprintf(buf, n, "-");
	return buf;
}

enum pol_state history_worst_state(const struct history_bucket *bucket)
{
	enum pol_state state = POL_STATE_LOW;

	while (state > POL_STATE_HIGH && !bucket->state_ticks[state])
		state--;
	return state;
}

uint64_t history_time_us(const struct history *history, size_t bucket)
{
	return history->start_us + bucket * history->bucket_us;
}

char *history_time_text(uint64_t wall_us, enum history_form form, char *buf)
{
	time_t seconds = (time_t)(wall_us / USEC_PER_SEC);
	struct tm tm = {0};
	size_t len = 0;

	gmtime_r(&seconds, &tm);
	switch (form) {
	case HISTORY_ISO:
		len = strftime(buf, HISTORY_TIME_MAX, "%Y-%m-%dT%H:%M:%SZ", &tm);
		break;
	case HISTORY_MOMENT:
		len = tm.tm_sec ? strftime(buf, HISTORY_TIME_MAX, "%Y-%m-%d %H:%M:%S", &tm)
				: strftime(buf, HISTORY_TIME_MAX, "%Y-%m-%d %H:%M", &tm);
		break;
	case HISTORY_CLOCK:
		len = strftime(buf, HISTORY_TIME_MAX, "%H:%M", &tm);
		break;
	case HISTORY_SECONDS:
		len = strftime(buf, HISTORY_TIME_MAX, "%H:%M:%S", &tm);
		break;
	case HISTORY_DAY:
		len = strftime(buf, HISTORY_TIME_MAX, "%-d %b", &tm);
		break;
	}
	if (len == 0)
		buf[0] = '\0';
	return buf;
}
