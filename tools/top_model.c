// SPDX-License-Identifier: Apache-2.0
/* memctl top's model: from the daemon's report, and what keys do to it. */
#include <curses.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/wire.h"
#include "tools/top.h"

void top_init(struct top *top, bool unicode)
{
	*top = (struct top){.unicode = unicode, .cpu_seconds = -1};
}

void top_fini(struct top *top)
{
	free(top->guests);
	top->guests = NULL;
}

/* What comes from a guest must neither steer the terminal nor shift the columns. */
static void copy_harmless(char *to, size_t n, const char *from)
{
	snprintf(to, n, "%s", from ? from : "");
	for (char *p = to; *p; p++)
		if (*p < 0x20 || *p > 0x7e)
			*p = '?';
}

static uint64_t number(json_object *obj, const char *key)
{
	uint64_t value;

	return json_get_u64(obj, key, &value) ? value : POL_ABSENT;
}

static void read_guest(json_object *from, struct top_guest *to)
{
	const char *name = json_get_str(from, "name");

	copy_harmless(to->name, sizeof(to->name), name ? name : "?");
	copy_harmless(to->by, sizeof(to->by), json_get_str(from, "hypervisor"));
	copy_harmless(to->note, sizeof(to->note), json_get_str(from, "state_note"));
	to->memory_bytes = number(from, "memory_bytes");
	to->actual_bytes = number(from, "actual_bytes");
	to->resident_bytes = number(from, "resident_bytes");
	to->ksm_bytes = number(from, "ksm_bytes");
	to->balloon_bytes = number(from, "balloon_bytes");
	to->saved_bytes = number(from, "saved_bytes");
}

static uint64_t sort_value(const struct top_guest *guest, enum top_sort sort)
{
	uint64_t value = 0;

	if (sort == TOP_SAVED)
		value = guest->saved_bytes;
	else if (sort == TOP_RESIDENT)
		value = guest->resident_bytes;
	else if (sort == TOP_KSM)
		value = guest->ksm_bytes;
	else if (sort == TOP_BALLOON)
		value = guest->balloon_bytes;
	return pol_has(value) ? value : 0;
}

static int compare(const void *a, const void *b, void *ctx)
{
	const struct top_guest *x = a, *y = b;
	const struct top *top = ctx;
	uint64_t p = sort_value(x, top->sort), q = sort_value(y, top->sort);

	if (p != q)
		return p < q ? 1 : -1;
	return strcmp(x->name, y->name);
}

static void sort_guests(struct top *top)
{
	if (top->n_guests)
		qsort_r(top->guests, top->n_guests, sizeof(*top->guests), compare, top);
}

static void add_sample(struct top *top, uint64_t saved, uint64_t available, uint64_t ppm)
{
	size_t last = top->n_samples;

	if (last == TOP_SAMPLES) {
		last--;
		memmove(top->saved, top->saved + 1, last * sizeof(*top->saved));
		memmove(top->available, top->available + 1, last * sizeof(*top->available));
		memmove(top->ksmd_ppm, top->ksmd_ppm + 1, last * sizeof(*top->ksmd_ppm));
	} else {
		top->n_samples++;
	}
	top->saved[last] = saved;
	top->available[last] = available;
	top->ksmd_ppm[last] = ppm;
}

/* ksmd's part of a processor since the report before. */
static uint64_t ksmd_ppm(struct top *top, json_object *ksm, uint64_t now_us)
{
	json_object *value = NULL;
	double seconds = -1, before = top->cpu_seconds;
	uint64_t since_us = now_us - top->now_us;

	if (json_object_object_get_ex(ksm, "cpu_seconds", &value) && value)
		seconds = json_object_get_double(value);
	top->cpu_seconds = seconds;
	top->now_us = now_us;
	if (seconds < 0 || before < 0 || seconds < before || since_us == 0)
		return POL_ABSENT;
	return (uint64_t)((seconds - before) * 1e6 * USEC_PER_SEC / (double)since_us + 0.5);
}

int top_update(struct top *top, json_object *report, uint64_t now_us)
{
	json_object *host = json_get_obj(report, "host"), *list = json_get_array(report, "guests");
	json_object *savings = json_get_obj(report, "savings");
	size_t n = list ? json_object_array_length(list) : 0;
	struct top_guest *guests = calloc(n ? n : 1, sizeof(*guests));

	if (!guests)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		read_guest(json_object_array_get_idx(list, i), &guests[i]);
	free(top->guests);
	top->guests = guests;
	top->n_guests = n;
	if (top->scroll >= n)
		top->scroll = n ? n - 1 : 0;
	copy_harmless(top->state, sizeof(top->state), json_get_str(host, "state"));
	top->memory_bytes = number(host, "memory_bytes");
	top->available_bytes = number(host, "available_bytes");
	top->swap_used_bytes = number(host, "swap_used_bytes");
	top->ksm_bytes = number(savings, "ksm_bytes");
	top->balloon_bytes = number(savings, "balloon_bytes");
	top->reported_bytes = number(savings, "reported_bytes");
	top->unplugged_bytes = number(savings, "virtio_mem_bytes");
	top->total_bytes = number(savings, "total_bytes");
	add_sample(top, top->total_bytes, top->available_bytes,
		   ksmd_ppm(top, json_get_obj(host, "ksm"), now_us));
	top->filled = true;
	top->error[0] = '\0';
	sort_guests(top);
	return 0;
}

void top_fail(struct top *top, const char *why)
{
	copy_harmless(top->error, sizeof(top->error), why);
	top->cpu_seconds = -1;
}

bool top_key(struct top *top, int key)
{
	if (top->help) {
		top->help = false;
		return key != 'q';
	}
	switch (key) {
	case 'q':
		return false;
	case 's':
		top->sort = (top->sort + 1) % TOP_SORT_COUNT;
		top->scroll = 0;
		sort_guests(top);
		break;
	case ' ':
		top->paused = !top->paused;
		break;
	case '?':
	case 'h':
		top->help = true;
		break;
	case KEY_DOWN:
	case 'j':
		if (top->scroll + 1 < top->n_guests)
			top->scroll++;
		break;
	case KEY_UP:
	case 'k':
		if (top->scroll > 0)
			top->scroll--;
		break;
	default:
		break;
	}
	return true;
}
