// SPDX-License-Identifier: Apache-2.0
/*
 * What ksmd costs and what the host has available over time. As all plots of the page they have
 * their numbers as a table below, for who cannot see them or wants to copy them.
 */
#include <inttypes.h>

#include "common/clock.h"
#include "common/size.h"
#include "tools/html.h"
#include "tools/html_report.h"
#include "tools/plot.h"

void html_time_cell(FILE *out, const struct history *rows, size_t i)
{
	char text[HISTORY_TIME_MAX];

	html_cell(out, history_time_text(history_time_us(rows, i), HISTORY_MOMENT, text));
}

/* ---- the price ---- */

/* Runs of buckets in which the cost is known; -1 as value: not known. */
static void draw_cost(struct plot *plot, bool area)
{
	const struct history *history = plot->history;
	bool drawing = false;
	double x = 0, bottom = plot_y(plot, 0);

	for (size_t i = 0; i < history->n_buckets; i++) {
		uint64_t ppm = history_ksm_ppm(&history->buckets[i]);

		if (!pol_has(ppm)) {
			if (drawing && area)
				fprintf(plot->out, "V%.1fZ", bottom);
			drawing = false;
			continue;
		}
		x = plot_x(plot, history_time_us(history, i));
		if (!drawing)
			fprintf(plot->out, "M%.1f %.1f", x, area ? bottom : plot_y(plot, ppm));
		fprintf(plot->out, "V%.1fH%.1f", plot_y(plot, ppm),
			plot_x(plot, history_time_us(history, i + 1)));
		drawing = true;
	}
	if (drawing && area)
		fprintf(plot->out, "V%.1fZ", bottom);
}

static void cost_table(FILE *out, const struct history *rows)
{
	char text[32];

	html_begin_numbers(out, "The price over time as numbers");
	fputs("<tr><th>Time (UTC)</th><th class=\"n\">ksmd, of one processor</th><th "
	      "class=\"n\">Processor seconds</th><th class=\"n\">Saved by KSM</th></tr>\n",
	      out);
	for (size_t i = 0; i < rows->n_buckets; i++) {
		const struct history_bucket *b = &rows->buckets[i];

		fputs("<tr>", out);
		html_time_cell(out, rows, i);
		html_cell_number(out, history_percent(history_ksm_ppm(b), text, sizeof(text)));
		snprintf(text, sizeof(text), "%.2f", (double)b->ksm_cpu_us / USEC_PER_SEC);
		html_cell_number(out, b->ksm_cpu_known ? text : "-");
		html_cell_number(out, b->ksm_saved.n ? size_format(history_mean(&b->ksm_saved),
								   text, sizeof(text))
						     : "-");
		fputs("</tr>\n", out);
	}
	html_end_numbers(out);
}

/* The mean as a broken line with its number beside it. */
static void draw_mean(struct plot *plot, uint64_t ppm)
{
	char text[32];
	double y = plot_y(plot, ppm);

	fprintf(plot->out,
		"<path class=\"mean\" d=\"M%.1f %.1fH%.1f\"/>"
		"<text class=\"k\" x=\"%.1f\" y=\"%.1f\">%s on average</text>\n",
		PLOT_LEFT, y, PLOT_WIDTH - PLOT_RIGHT, PLOT_WIDTH - PLOT_RIGHT + 8, y + 4,
		history_percent(ppm, text, sizeof(text)));
}

void html_plot_price(FILE *out, const struct history *history, const struct history *rows)
{
	uint64_t most = 0;
	struct plot plot;
	char text[32];

	fputs("<h2>The price: processor time of ksmd</h2>\n", out);
	for (size_t i = 0; i < history->n_buckets; i++) {
		uint64_t ppm = history_ksm_ppm(&history->buckets[i]);

		if (pol_has(ppm) && ppm > most)
			most = ppm;
	}
	if (!history->all.ksm_cpu_known) {
		fputs("<p>The trace does not tell what ksmd has spent.</p>\n", out);
		return;
	}
	fputs("<p class=\"sub\">The kernel thread that looks for equal pages, in per cent of one "
	      "processor.</p>\n",
	      out);
	plot_begin(&plot, out, history, "Processor time of ksmd over time", 210, PLOT_PPM, most);
	plot_gaps(&plot);
	fputs("<path class=\"under\" d=\"", out);
	draw_cost(&plot, true);
	fputs("\"/>\n<path class=\"line\" d=\"", out);
	draw_cost(&plot, false);
	fputs("\"/>\n", out);
	draw_mean(&plot, history_ksm_ppm(&history->all));
	for (size_t i = 0; i < rows->n_buckets; i++) {
		if (!pol_has(history_ksm_ppm(&rows->buckets[i])))
			continue;
		plot_begin_hit(&plot, rows, i);
		fprintf(out, "&#10;ksmd %s, %.1f s",
			history_percent(history_ksm_ppm(&rows->buckets[i]), text, sizeof(text)),
			(double)rows->buckets[i].ksm_cpu_us / USEC_PER_SEC);
		plot_end_hit(&plot);
	}
	plot_end(&plot);
	cost_table(out, rows);
}

/* ---- the host ---- */

static const struct history_range *available_range(const struct history_bucket *bucket)
{
	return &bucket->available;
}

static bool is_short(const struct history *history, size_t i)
{
	return history->buckets[i].ticks &&
	       history_worst_state(&history->buckets[i]) > POL_STATE_HIGH;
}

/* Where the state of bucket i ends. */
static size_t state_end(const struct history *history, size_t i)
{
	enum pol_state state = history_worst_state(&history->buckets[i]);
	size_t end = i + 1;

	while (end < history->n_buckets && is_short(history, end) &&
	       history_worst_state(&history->buckets[end]) == state)
		end++;
	return end;
}

static void draw_state(struct plot *plot, size_t from, size_t to)
{
	enum pol_state state = history_worst_state(&plot->history->buckets[from]);
	double left = plot_x(plot, history_time_us(plot->history, from));
	double right = plot_x(plot, history_time_us(plot->history, to));

	fprintf(plot->out,
		"<rect class=\"b%d\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\"/>"
		"<path class=\"t%d\" d=\"M%.1f %.1fH%.1f\"/>\n",
		(int)state, left, PLOT_TOP, right - left, plot->height - PLOT_BOTTOM - PLOT_TOP,
		(int)state, left, PLOT_TOP - 4, right);
}

/*
 * Times when the host was short, coloured by state. A run of them is named by its worst one, where
 * that name does not cover the one before; the table has all.
 */
static void draw_states(struct plot *plot)
{
	const struct history *history = plot->history;
	double free_from = 0;

	for (size_t i = 0, from; i < history->n_buckets; i++) {
		enum pol_state worst = POL_STATE_HIGH;
		double middle;

		for (from = i; i < history->n_buckets && is_short(history, i);) {
			size_t end = state_end(history, i);

			if (history_worst_state(&history->buckets[i]) > worst)
				worst = history_worst_state(&history->buckets[i]);
			draw_state(plot, i, end);
			i = end;
		}
		if (i == from)
			continue;
		middle = (plot_x(plot, history_time_us(history, from)) +
			  plot_x(plot, history_time_us(history, i))) /
			 2;
		if (middle - 16 >= free_from) {
			fprintf(plot->out, "<text class=\"m k\" x=\"%.1f\" y=\"%.1f\">%s</text>\n",
				middle, PLOT_TOP + 12, pol_state_name(worst));
			free_from = middle + 16;
		}
	}
}

static void state_times(FILE *out, const struct history_bucket *all)
{
	char text[32];
	const char *sep = "";

	for (enum pol_state s = POL_STATE_HIGH; s <= POL_STATE_LOW; s++) {
		uint64_t ppm =
			(uint64_t)((unsigned __int128)all->state_ticks[s] * 1000000 / all->ticks);

		fprintf(out, "%s%s %s", sep, pol_state_name(s),
			history_percent(ppm, text, sizeof(text)));
		sep = ", ";
	}
}

static void available_table(FILE *out, const struct history *rows)
{
	char size[SIZE_TEXT_MAX];

	html_begin_numbers(out, "Available memory over time as numbers");
	fputs("<tr><th>Time (UTC)</th><th class=\"n\">Available</th><th class=\"n\">At least</th>"
	      "<th>Worst state</th><th class=\"n\">Taken from guests</th><th "
	      "class=\"n\">Guests</th></tr>\n",
	      out);
	for (size_t i = 0; i < rows->n_buckets; i++) {
		const struct history_bucket *b = &rows->buckets[i];

		fputs("<tr>", out);
		html_time_cell(out, rows, i);
		html_cell_number(out, b->available.n ? size_format(history_mean(&b->available),
								   size, sizeof(size))
						     : "-");
		html_cell_number(out, b->available.n
					      ? size_format(b->available.min, size, sizeof(size))
					      : "-");
		html_cell(out, b->ticks ? pol_state_name(history_worst_state(b)) : "not running");
		html_cell_number(
			out, b->taken.n ? size_format(history_mean(&b->taken), size, sizeof(size))
					: "-");
		snprintf(size, sizeof(size), "%" PRIu64, b->n_guests);
		html_cell_number(out, b->ticks ? size : "-");
		fputs("</tr>\n", out);
	}
	html_end_numbers(out);
}

void html_plot_available(FILE *out, const struct history *history, const struct history *rows)
{
	struct plot plot;
	char size[SIZE_TEXT_MAX];

	fputs("<h2>Available memory of the host</h2>\n<p class=\"sub\">What could be used without "
	      "swapping, with its smallest and largest values. Coloured and named: when the host "
	      "was short of memory. Of the time: ",
	      out);
	state_times(out, &history->all);
	fputs(".</p>\n", out);
	plot_begin(&plot, out, history, "Available memory of the host over time", 240, PLOT_BYTES,
		   history->all.available.max);
	plot_gaps(&plot);
	draw_states(&plot);
	fputs("<path class=\"line\" d=\"", out);
	plot_range_line(&plot, available_range);
	fputs("\"/>\n", out);
	for (size_t i = 0; i < rows->n_buckets; i++) {
		const struct history_bucket *b = &rows->buckets[i];

		if (b->available.n == 0)
			continue;
		plot_begin_hit(&plot, rows, i);
		fprintf(out, "&#10;available %s",
			size_format(history_mean(&b->available), size, sizeof(size)));
		fprintf(out, ", at least %s&#10;worst state: %s",
			size_format(b->available.min, size, sizeof(size)),
			pol_state_name(history_worst_state(b)));
		plot_end_hit(&plot);
	}
	plot_end(&plot);
	available_table(out, rows);
}
