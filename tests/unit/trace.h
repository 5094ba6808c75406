/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A trace of an invented host, written by memd's own writer: guests come, merge, are ballooned and
 * go, the host gets short of memory, memd stops for a while. The same call gives the same bytes.
 */
#ifndef TESTS_UNIT_TRACE_H
#define TESTS_UNIT_TRACE_H

#include "common/size.h"
#include "memd/record.h"
#include "tests/unit/tree.h"

#define TRACE_SEC	 1000000ULL
#define TRACE_START_S	 1795564800ULL /* 2026-11-25 00:00 UTC */
#define TRACE_GUESTS_MAX 12
/* No ticks from here to there. */
#define TRACE_GAP_FROM 1500
#define TRACE_GAP_TO   1800

static const char *const trace_names[TRACE_GUESTS_MAX] = {
	"web1",
	"web2",
	"<script>alert('db')</script>",
	"\"quoted\" & co",
	"ci-runner-with-a-long-name",
	"mail",
	"cache",
	"vdi-1",
	"vdi-2",
	"vdi-3",
	"vdi-4",
	"tab\there",
};

/* Guest i at second s: whether it runs, and what is saved with it. */
static inline bool trace_runs(size_t i, uint64_t s)
{
	return s >= 60 * i && !(i == 1 && s >= 2400);
}

static inline uint64_t trace_saved(size_t i, uint64_t s)
{
	uint64_t age = s - 60 * i, full = (64 + 16 * i) * MIB;

	return age >= 300 ? full : full / 300 * age;
}

/* ksmd: a tenth of a processor for 5 minutes after each guest's start, else a hundredth. */
static inline uint64_t trace_cpu_us(size_t n_guests, uint64_t s)
{
	uint64_t busy = 60 * (n_guests - 1) + 300;

	return s < busy ? s * 100000 : busy * 100000 + (s - busy) * 10000;
}

static inline enum pol_state trace_state(uint64_t s)
{
	if (s >= 2700 && s < 3000)
		return s < 2800 ? POL_STATE_SOFT : s < 2900 ? POL_STATE_LOW : POL_STATE_HARD;
	return POL_STATE_HIGH;
}

static inline uint64_t trace_available(uint64_t s)
{
	return trace_state(s) == POL_STATE_HIGH ? 4 * GIB - s * 4096 : 100 * MIB;
}

static inline void trace_tick(struct record *record, size_t n_guests, uint64_t s, uint64_t wall_s)
{
	struct pol_guest guests[TRACE_GUESTS_MAX];
	struct pol_host host = {
		.memory_bytes = 16 * GIB,
		.available_bytes = trace_available(s),
		.psi_some_us = POL_ABSENT,
		.psi_full_us = POL_ABSENT,
		.ksm = {.present = true,
			.run = 1,
			.zero_pages = POL_ABSENT,
			.cpu_us = 7 * TRACE_SEC + trace_cpu_us(n_guests, s)},
		.guests = guests,
	};
	struct pol_plan plan = {.state = trace_state(s)};

	for (size_t i = 0; i < n_guests; i++) {
		struct pol_guest *g = &guests[host.n_guests];

		if (!trace_runs(i, s))
			continue;
		*g = (struct pol_guest){
			.id = i + 1,
			.memory_bytes = GIB,
			.actual_bytes = GIB - (i == 0 ? 128 * MIB : 0),
			.saved_bytes = trace_saved(i, s),
		};
		snprintf(g->name, sizeof(g->name), "%s", trace_names[i]);
		host.ksm.pages_sharing += g->saved_bytes / 4096;
		host.n_guests++;
	}
	assert_int_equal(
		record_tick(record, &host, &plan, wall_s * TRACE_SEC, (500 + s) * TRACE_SEC), 0);
}

/* Seconds from..to, a tick each but in the gap. */
static inline void trace_write(const char *path, uint64_t size_bytes, size_t n_guests,
			       uint64_t from, uint64_t to)
{
	struct record *record = NULL;

	assert_int_equal(record_open(path, size_bytes, false, &record), 0);
	for (uint64_t s = from; s < to; s++)
		if (s < TRACE_GAP_FROM || s >= TRACE_GAP_TO)
			trace_tick(record, n_guests, s, TRACE_START_S + s);
	record_close(record);
}

#endif
