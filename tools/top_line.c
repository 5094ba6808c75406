// SPDX-License-Identifier: Apache-2.0
/* memctl top's screen as lines of text; nothing on it is told by colour. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/size.h"
#include "tools/top.h"

enum { LINE_HOST, LINE_SAVINGS, LINE_SPARK, LINE_GUESTS = LINE_SPARK + 4, LINE_FIRST };

#define NAME_COLUMNS  20
#define LABEL_COLUMNS 10
#define VALUE_COLUMNS 12

static const char *const sort_names[TOP_SORT_COUNT] = {
	[TOP_SAVED] = "saved",	   [TOP_RESIDENT] = "resident", [TOP_KSM] = "KSM",
	[TOP_BALLOON] = "balloon", [TOP_NAME] = "name",
};

static const char *sized(uint64_t bytes, char *buf)
{
	return pol_has(bytes) ? size_format(bytes, buf, SIZE_TEXT_MAX) : "-";
}
/* Lives as long as the enclosing block. */
#define SIZED(bytes) sized((bytes), (char[SIZE_TEXT_MAX]){0})

char *top_spark(const uint64_t *samples, size_t n, size_t columns, bool unicode, char *text)
{
	static const char ascii[] = "_.-=+*%#";
	uint64_t most = 0;
	size_t at = 0;

	if (columns < n) {
		samples += n - columns;
		n = columns;
	}
	for (size_t i = 0; i < n; i++)
		if (pol_has(samples[i]) && samples[i] > most)
			most = samples[i];
	for (size_t i = 0; i < n && at + 4 < TOP_LINE_MAX; i++) {
		/* Eight heights; the lowest is also what is 0. */
		unsigned int height =
			most && pol_has(samples[i])
				? (unsigned int)((double)samples[i] / (double)most * 7 + 0.5)
				: 0;

		if (!pol_has(samples[i]))
			text[at++] = ' ';
		else if (unicode) /* U+2581 to U+2588 */
			at += (size_t)sprintf(text + at, "\xe2\x96%c", 0x81 + height);
		else
			text[at++] = ascii[height];
	}
	text[at] = '\0';
	return text;
}

/* "saved     1.7 GiB     bars": the newest at the right. */
static void spark_line(const struct top *top, const char *label, const char *value,
		       const uint64_t *samples, int columns, char *text)
{
	char bars[TOP_LINE_MAX];
	int room = columns - LABEL_COLUMNS - VALUE_COLUMNS;

	if (room > TOP_SAMPLES)
		room = TOP_SAMPLES;
	snprintf(text, TOP_LINE_MAX, "%-*s%*s  %.900s", LABEL_COLUMNS, label, VALUE_COLUMNS - 2,
		 value,
		 top_spark(samples, top->n_samples, room > 0 ? (size_t)room : 0, top->unicode,
			   bars));
}

static void guest_line(const struct top *top, size_t i, char *text)
{
	const struct top_guest *g = &top->guests[i];

	snprintf(text, TOP_LINE_MAX, "%-*.*s %-4.4s %8s %8s %8s %8s %8s %8s  %s", NAME_COLUMNS,
		 NAME_COLUMNS, g->name, g->by, SIZED(g->memory_bytes), SIZED(g->actual_bytes),
		 SIZED(g->resident_bytes), SIZED(g->ksm_bytes), SIZED(g->balloon_bytes),
		 SIZED(g->saved_bytes), g->note);
}

static void bottom_line(const struct top *top, int lines, char *text)
{
	int room = lines - 1 - LINE_FIRST;
	size_t rest = top->n_guests > top->scroll ? top->n_guests - top->scroll : 0;

	if (top->error[0])
		snprintf(text, TOP_LINE_MAX, "%s", top->error);
	else if (room >= 0 && rest > (size_t)room)
		snprintf(text, TOP_LINE_MAX,
			 "%s  q quit  s sort: %s  space %s  ? help  %zu more below",
			 top->paused ? "PAUSED" : "      ", sort_names[top->sort],
			 top->paused ? "go on" : "pause", rest - (size_t)room);
	else
		snprintf(text, TOP_LINE_MAX, "%s  q quit  s sort: %s  space %s  ? help",
			 top->paused ? "PAUSED" : "      ", sort_names[top->sort],
			 top->paused ? "go on" : "pause");
}

static enum top_look help_line(int line, char *text)
{
	static const char *const help[] = {
		"memctl top: what is saved on this host, and by whom",
		"",
		"  q          quit",
		"  s          sort by another column: saved, resident, KSM, balloon, name",
		"  space      stop the screen, and go on",
		"  up, down   (or k, j) scroll through the guests",
		"  ?          this page",
		"",
		"PROMISED  memory it was started with       HAS       without what was taken",
		"RESIDENT  what the host holds for it       KSM       saved by page sharing",
		"BALLOON   saved by its balloon             SAVED     in all, each byte once",
		"",
		"ksmd is the kernel thread of KSM, in per cent of one processor.",
		"The bars are the last two minutes, from 0 to the most of that time.",
		"",
		"Any key goes back.",
	};

	if ((size_t)line < ARRAY_SIZE(help))
		snprintf(text, TOP_LINE_MAX, "%s", help[line]);
	return line == 0 ? TOP_BOLD : TOP_PLAIN;
}

static enum top_look host_line(const struct top *top, char *text)
{
	if (!top->filled) {
		snprintf(text, TOP_LINE_MAX, "%s", top->error[0] ? top->error : "asking memd ...");
		return TOP_BOLD;
	}
	snprintf(text, TOP_LINE_MAX, "host state %s, %s available of %s, %s swapped; %zu guests",
		 top->state, SIZED(top->available_bytes), SIZED(top->memory_bytes),
		 SIZED(top->swap_used_bytes), top->n_guests);
	return TOP_BOLD;
}

static void metric_line(const struct top *top, int line, int columns, char *text)
{
	size_t last = top->n_samples - 1;
	char percent[24] = "-";

	if (line == LINE_SPARK) {
		spark_line(top, "saved", SIZED(top->saved[last]), top->saved, columns, text);
	} else if (line == LINE_SPARK + 1) {
		spark_line(top, "available", SIZED(top->available[last]), top->available, columns,
			   text);
	} else if (line == LINE_SPARK + 2) {
		if (pol_has(top->ksmd_ppm[last]))
			snprintf(percent, sizeof(percent), "%" PRIu64 ".%02" PRIu64 "%%",
				 top->ksmd_ppm[last] / 10000, top->ksmd_ppm[last] / 100 % 100);
		spark_line(top, "ksmd", percent, top->ksmd_ppm, columns, text);
	}
}

static enum top_look any_line(const struct top *top, int line, int lines, int columns, char *text)
{
	size_t guest = top->scroll + (size_t)(line - LINE_FIRST);

	if (top->help)
		return help_line(line, text);
	if (line == LINE_HOST)
		return host_line(top, text);
	if (line == lines - 1) {
		bottom_line(top, lines, text);
		return top->error[0] || top->paused ? TOP_REVERSE : TOP_PLAIN;
	}
	if (!top->filled)
		return TOP_PLAIN;
	if (line == LINE_SAVINGS)
		snprintf(text, TOP_LINE_MAX,
			 "saved %s: KSM %s, balloon %s, reported %s, unplugged %s",
			 SIZED(top->total_bytes), SIZED(top->ksm_bytes), SIZED(top->balloon_bytes),
			 SIZED(top->reported_bytes), SIZED(top->unplugged_bytes));
	else if (line < LINE_GUESTS)
		metric_line(top, line, columns, text);
	else if (line == LINE_GUESTS)
		snprintf(text, TOP_LINE_MAX, "%-*s %-4s %8s %8s %8s %8s %8s %8s  %s", NAME_COLUMNS,
			 "GUEST", "BY", "PROMISED", "HAS", "RESIDENT", "KSM", "BALLOON", "SAVED",
			 "NOTE");
	else if (guest < top->n_guests)
		guest_line(top, guest, text);
	return line == LINE_GUESTS ? TOP_REVERSE : TOP_PLAIN;
}

/*
 * Cut to so many characters: of UTF-8, bytes 10xxxxxx belong to the one before. Blanks at the end
 * go too.
 */
static void cut(char *text, int columns)
{
	size_t len;
	int n = 0;

	for (len = 0; text[len]; len++)
		if (((unsigned char)text[len] & 0xc0) != 0x80 && n++ == columns)
			break;
	while (len > 0 && text[len - 1] == ' ')
		len--;
	text[len] = '\0';
}

enum top_look top_line(const struct top *top, int line, int lines, int columns,
		       char text[static TOP_LINE_MAX])
{
	enum top_look look;

	text[0] = '\0';
	look = any_line(top, line, lines, columns, text);
	cut(text, columns);
	return look;
}
