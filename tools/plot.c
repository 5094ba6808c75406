// SPDX-License-Identifier: Apache-2.0
/* Axes, areas and lines in SVG; see plot.h. */
#include "tools/plot.h"

#include <inttypes.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/size.h"
#include "tools/html.h"

#define DAY_US	     (86400 * USEC_PER_SEC)
#define X_STEPS_MAX  10
#define Y_STEPS_MAX  5
#define PPM_PERCENT  ((uint64_t)10000)
#define PLOT_Y_LIMIT (1ULL << 60)

/*
 * 256 and 512 stand for 250 and 500: four, or two, of them are one of the next unit, where labels
 * go on as "1 GiB, 1.5 GiB". 256 would give 1.25 there, which size_format() does not show.
 */
static uint64_t round_bytes(uint64_t value, unsigned int steps_max)
{
	static const uint64_t counts[] = {1, 2, 5, 10, 20, 50, 100, 256, 512};

	for (uint64_t base = 1; base < PLOT_Y_LIMIT; base *= KIB)
		for (size_t i = 0; i < ARRAY_SIZE(counts); i++)
			if (value / (counts[i] * base) < steps_max &&
			    (counts[i] != 256 || value < KIB * base))
				return counts[i] * base;
	return PLOT_Y_LIMIT;
}

static uint64_t round_ppm(uint64_t value, unsigned int steps_max)
{
	static const uint64_t counts[] = {1, 2, 5};

	for (uint64_t base = PPM_PERCENT / 100; base < PLOT_Y_LIMIT / 10; base *= 10)
		for (size_t i = 0; i < ARRAY_SIZE(counts); i++)
			if (value / (counts[i] * base) < steps_max)
				return counts[i] * base;
	return PLOT_Y_LIMIT;
}

uint64_t plot_round_step(uint64_t value, enum plot_unit unit, unsigned int steps_max)
{
	return unit == PLOT_BYTES ? round_bytes(value, steps_max) : round_ppm(value, steps_max);
}

char *plot_label(uint64_t value, enum plot_unit unit, char *buf)
{
	if (unit == PLOT_BYTES)
		return size_format(value, buf, SIZE_TEXT_MAX);
	if (value % PPM_PERCENT == 0)
		snprintf(buf, SIZE_TEXT_MAX, "%" PRIu64 "%%", value / PPM_PERCENT);
	else if (value % (PPM_PERCENT / 10) == 0)
		snprintf(buf, SIZE_TEXT_MAX, "%" PRIu64 ".%" PRIu64 "%%", value / PPM_PERCENT,
			 value / (PPM_PERCENT / 10) % 10);
	else
		snprintf(buf, SIZE_TEXT_MAX, "%" PRIu64 ".%02" PRIu64 "%%", value / PPM_PERCENT,
			 value / (PPM_PERCENT / 100) % 100);
	return buf;
}

static uint64_t end_us(const struct plot *plot)
{
	return history_time_us(plot->history, plot->history->n_buckets);
}

double plot_x(const struct plot *plot, uint64_t wall_us)
{
	double part = (double)(wall_us - plot->history->start_us) /
		      (double)(end_us(plot) - plot->history->start_us);

	return PLOT_LEFT + part * (PLOT_WIDTH - PLOT_LEFT - PLOT_RIGHT);
}

double plot_y(const struct plot *plot, uint64_t value)
{
	double bottom = plot->height - PLOT_BOTTOM;

	return bottom - (double)value / (double)plot->y_max * (bottom - PLOT_TOP);
}

static void draw_y_axis(struct plot *plot, uint64_t step)
{
	char label[SIZE_TEXT_MAX];

	for (uint64_t value = 0; value <= plot->y_max; value += step) {
		double y = plot_y(plot, value);

		fprintf(plot->out,
			"<path class=\"%s\" d=\"M%.1f %.1fH%.1f\"/>"
			"<text class=\"e\" x=\"%.1f\" y=\"%.1f\">%s</text>\n",
			value ? "grid" : "axis", PLOT_LEFT, y, PLOT_WIDTH - PLOT_RIGHT,
			PLOT_LEFT - 8, y + 4, value ? plot_label(value, plot->unit, label) : "0");
	}
}

/* The clock below each mark; the day below the first one and below each midnight. */
static void draw_x_axis(struct plot *plot)
{
	uint64_t from = plot->history->start_us, to = end_us(plot);
	uint64_t step = history_round_us((to - from) / X_STEPS_MAX, 0);
	enum history_form form = step >= 60 * USEC_PER_SEC ? HISTORY_CLOCK : HISTORY_SECONDS;
	double y = plot->height - PLOT_BOTTOM;
	char text[HISTORY_TIME_MAX];
	bool first = true;

	if (step >= DAY_US)
		form = HISTORY_DAY;
	for (uint64_t at = (from + step - 1) / step * step; at <= to; at += step) {
		double x = plot_x(plot, at);

		fprintf(plot->out,
			"<path class=\"axis\" d=\"M%.1f %.1fv5\"/>"
			"<text class=\"m\" x=\"%.1f\" y=\"%.1f\">%s</text>\n",
			x, y, x, y + 18, history_time_text(at, form, text));
		if (form != HISTORY_DAY && (first || at % DAY_US == 0))
			fprintf(plot->out, "<text class=\"m\" x=\"%.1f\" y=\"%.1f\">%s</text>\n", x,
				y + 33, history_time_text(at, HISTORY_DAY, text));
		first = false;
	}
}

void plot_begin(struct plot *plot, FILE *out, const struct history *history, const char *label,
		double height, enum plot_unit unit, uint64_t most)
{
	uint64_t step;

	if (most > PLOT_Y_LIMIT)
		most = PLOT_Y_LIMIT;
	/* Noise shall not look like a mountain. */
	if (unit == PLOT_BYTES && most < MIB)
		most = MIB;
	if (unit == PLOT_PPM && most < PPM_PERCENT / 10)
		most = PPM_PERCENT / 10;
	step = plot_round_step(most, unit, Y_STEPS_MAX);
	*plot = (struct plot){
		.out = out,
		.history = history,
		.unit = unit,
		.height = height,
		.y_max = (most / step + 1) * step,
	};
	fprintf(out,
		"<div class=\"plot\"><svg class=\"p\" viewBox=\"0 0 %.0f %.0f\" role=\"img\" "
		"aria-label=\"",
		PLOT_WIDTH, height);
	html_text(out, label);
	fputs("\">\n", out);
	draw_y_axis(plot, step);
	draw_x_axis(plot);
}

void plot_end(struct plot *plot)
{
	fputs("</svg></div>\n", plot->out);
}

bool plot_next_run(const struct plot *plot, size_t *at, size_t *ret_end)
{
	const struct history *history = plot->history;
	size_t end;

	while (*at < history->n_buckets && history->buckets[*at].ticks == 0)
		(*at)++;
	for (end = *at; end < history->n_buckets && history->buckets[end].ticks;)
		end++;
	*ret_end = end;
	return *at < end;
}

static double middle_x(const struct plot *plot, size_t i)
{
	uint64_t at = history_time_us(plot->history, i);

	return plot_x(plot, at + plot->history->bucket_us / 2);
}

void plot_area(struct plot *plot, const uint64_t *low, const uint64_t *high)
{
	const struct history *history = plot->history;

	for (size_t from = 0, to; plot_next_run(plot, &from, &to); from = to) {
		double left = plot_x(plot, history_time_us(history, from));
		double right = plot_x(plot, history_time_us(history, to));

		fprintf(plot->out, "M%.1f %.1f", left, plot_y(plot, high[from]));
		for (size_t i = from; i < to; i++)
			fprintf(plot->out, "L%.1f %.1f", middle_x(plot, i), plot_y(plot, high[i]));
		fprintf(plot->out, "L%.1f %.1fV%.1f", right, plot_y(plot, high[to - 1]),
			plot_y(plot, low[to - 1]));
		for (size_t i = to; i-- > from;)
			fprintf(plot->out, "L%.1f %.1f", middle_x(plot, i), plot_y(plot, low[i]));
		fprintf(plot->out, "L%.1f %.1fZ", left, plot_y(plot, low[from]));
	}
}

void plot_range_line(struct plot *plot,
		     const struct history_range *(*range)(const struct history_bucket *bucket))
{
	const struct history *history = plot->history;
	bool drawing = false;

	for (size_t i = 0; i < history->n_buckets; i++) {
		const struct history_range *r = range(&history->buckets[i]);
		uint64_t left = history_time_us(history, i), quarter = history->bucket_us / 4;

		if (r->n == 0) {
			drawing = false;
			continue;
		}
		fprintf(plot->out, "%c%.1f %.1f", drawing ? 'L' : 'M', plot_x(plot, left + quarter),
			plot_y(plot, r->rising ? r->min : r->max));
		fprintf(plot->out, "L%.1f %.1f", plot_x(plot, left + 3 * quarter),
			plot_y(plot, r->rising ? r->max : r->min));
		drawing = true;
	}
}

void plot_gaps(struct plot *plot)
{
	const struct history *history = plot->history;
	char from[HISTORY_TIME_MAX], to[HISTORY_TIME_MAX];
	double bottom = plot->height - PLOT_BOTTOM;

	for (size_t i = 0, end; i < history->n_buckets; i = end) {
		double left, right;

		for (end = i; end < history->n_buckets && history->buckets[end].ticks == 0;)
			end++;
		if (end == i) {
			end++;
			continue;
		}
		left = plot_x(plot, history_time_us(history, i));
		right = plot_x(plot, history_time_us(history, end));
		fprintf(plot->out,
			"<rect class=\"gap\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\">"
			"<title>memd was not running from %s to %s</title></rect>\n",
			left, PLOT_TOP, right - left, bottom - PLOT_TOP,
			history_time_text(history_time_us(history, i), HISTORY_MOMENT, from),
			history_time_text(history_time_us(history, end), HISTORY_MOMENT, to));
		if (right - left > 90)
			fprintf(plot->out,
				"<text class=\"m\" x=\"%.1f\" y=\"%.1f\">not running</text>\n",
				(left + right) / 2, (PLOT_TOP + bottom) / 2);
	}
}

void plot_patterns(FILE *out)
{
	static const char *const hatches[PLOT_SERIES_MAX] = {
		"",
		"<path class=\"hatch\" d=\"M-2 2L2 -2M0 8L8 0M6 10L10 6\"/>",
		"<circle class=\"dot\" cx=\"4\" cy=\"4\" r=\"1.7\"/>",
		"<path class=\"hatch\" d=\"M0 2H8\"/>",
		"<path class=\"hatch\" d=\"M-2 6L2 10M0 0L8 8M6 -2L10 2\"/>",
		"<path class=\"hatch\" d=\"M2 0V8\"/>",
		"<path class=\"hatch\" d=\"M0 0L8 8M0 8L8 0\"/>",
		"",
	};

	fputs("<svg width=\"0\" height=\"0\" aria-hidden=\"true\"><defs>\n", out);
	for (size_t i = 0; i < ARRAY_SIZE(hatches); i++)
		fprintf(out,
			"<pattern id=\"h%zu\" width=\"8\" height=\"8\" "
			"patternUnits=\"userSpaceOnUse\"><rect class=\"c%zu\" width=\"8\" "
			"height=\"8\"/>%s</pattern>\n",
			i, i, hatches[i]);
	fputs("<pattern id=\"gap\" width=\"7\" height=\"7\" patternUnits=\"userSpaceOnUse\">"
	      "<path class=\"grid\" d=\"M-2 2L2 -2M0 7L7 0M5 9L9 5\"/></pattern>\n"
	      "</defs></svg>\n",
	      out);
}

void plot_swatch(FILE *out, unsigned int series)
{
	fprintf(out,
		"<svg width=\"26\" height=\"14\" aria-hidden=\"true\"><rect width=\"26\" "
		"height=\"14\" rx=\"2\" fill=\"url(#h%u)\"/></svg>",
		series);
}

void plot_begin_hit(struct plot *plot, const struct history *rows, size_t i)
{
	const struct history *history = plot->history;
	uint64_t from = history_time_us(rows, i), to = history_time_us(rows, i + 1);
	uint64_t end = history_time_us(history, history->n_buckets);
	char text[HISTORY_TIME_MAX];
	double left, right;

	from = from < history->start_us ? history->start_us : from;
	to = to > end ? end : to;
	left = plot_x(plot, from);
	right = plot_x(plot, to);
	fprintf(plot->out,
		"<rect class=\"hit\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" "
		"height=\"%.1f\"><title>%s "
		"UTC",
		left, PLOT_TOP, right - left, plot->height - PLOT_BOTTOM - PLOT_TOP,
		history_time_text(history_time_us(rows, i), HISTORY_MOMENT, text));
}

void plot_end_hit(struct plot *plot)
{
	fputs("</title></rect>\n", plot->out);
}
