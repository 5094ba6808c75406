// SPDX-License-Identifier: Apache-2.0
/*
 * The plot of saved memory over time, stacked by guest, with its legend and its numbers. Areas are
 * told apart by hatching and by names at their ends, not by colour alone.
 */
#include <errno.h>
#include <stdlib.h>

#include "common/size.h"
#include "tools/html.h"
#include "tools/html_report.h"
#include "tools/plot.h"

#define NAMED	     (PLOT_SERIES_MAX - 1) /* the last series is the rest */
#define LABEL_HEIGHT 15.0
#define LABEL_CHARS  15

/* What is stacked: the largest savers, then the rest; values are means per bucket. */
struct stack {
	const struct history *history;
	size_t n; /* series, the rest included */
	bool rest;
	char rest_name[32];
	uint64_t *levels; /* (n + 1) * n_buckets: [s] is the lower edge of series s */
};

static const uint64_t *level(const struct stack *stack, size_t series)
{
	return stack->levels + series * stack->history->n_buckets;
}

static uint64_t stack_mean(const struct stack *stack, const struct history *history, size_t series,
			   size_t bucket)
{
	if (stack->rest && series == stack->n - 1)
		return history_rest_mean(history, stack->n - 1, bucket);
	return history_guest_mean(history, &history->guests[series], bucket);
}

static const char *stack_name(const struct stack *stack, size_t series)
{
	return stack->rest && series == stack->n - 1 ? stack->rest_name
						     : stack->history->guests[series].name;
}

static unsigned int stack_pattern(const struct stack *stack, size_t series)
{
	return stack->rest && series == stack->n - 1 ? PLOT_SERIES_MAX - 1 : (unsigned int)series;
}

static int stack_init(struct stack *stack, const struct history *history)
{
	size_t n = history->n_guests;

	*stack = (struct stack){.history = history, .n = n};
	if (n > PLOT_SERIES_MAX || history->others) {
		stack->rest = true;
		stack->n = (n < NAMED ? n : NAMED) + 1;
		snprintf(stack->rest_name, sizeof(stack->rest_name), "%zu%s others",
			 n - (stack->n - 1), history->others ? "+" : "");
	}
	stack->levels = calloc((stack->n + 1) * history->n_buckets, sizeof(*stack->levels));
	if (!stack->levels)
		return -ENOMEM;
	for (size_t s = 0; s < stack->n; s++)
		for (size_t i = 0; i < history->n_buckets; i++)
			stack->levels[(s + 1) * history->n_buckets + i] =
				level(stack, s)[i] + stack_mean(stack, history, s, i);
	return 0;
}

/*
 * Names at the right edge, each beside the end of its area with a line to it; pushed apart upwards
 * where they would cover each other, then down from the top.
 */
static void draw_labels(struct plot *plot, const struct stack *stack)
{
	size_t last = plot->history->n_buckets - 1, n = 0, which[PLOT_SERIES_MAX];
	double at[PLOT_SERIES_MAX], middle[PLOT_SERIES_MAX], x = PLOT_WIDTH - PLOT_RIGHT;

	for (size_t s = 0; s < stack->n; s++) {
		uint64_t low = level(stack, s)[last], high = level(stack, s + 1)[last];

		if (high == low)
			continue;
		which[n] = s;
		middle[n] = at[n] = (plot_y(plot, low) + plot_y(plot, high)) / 2;
		if (n > 0 && at[n] > at[n - 1] - LABEL_HEIGHT)
			at[n] = at[n - 1] - LABEL_HEIGHT;
		n++;
	}
	for (size_t i = n; i-- > 0;) {
		double least = i + 1 < n ? at[i + 1] + LABEL_HEIGHT : PLOT_TOP;

		if (at[i] < least)
			at[i] = least;
	}
	for (size_t i = 0; i < n; i++) {
		fprintf(plot->out,
			"<path class=\"lead\" d=\"M%.1f %.1fL%.1f %.1f\"/><rect x=\"%.1f\" "
			"y=\"%.1f\" width=\"12\" height=\"11\" rx=\"2\" fill=\"url(#h%u)\"/>"
			"<text class=\"k\" x=\"%.1f\" y=\"%.1f\">",
			x + 1, middle[i], x + 12, at[i], x + 15, at[i] - 5.5,
			stack_pattern(stack, which[i]), x + 32, at[i] + 4);
		html_short_text(plot->out, stack_name(stack, which[i]), LABEL_CHARS);
		fputs("</text>\n", plot->out);
	}
}

static const struct history_range *saved_range(const struct history_bucket *bucket)
{
	return &bucket->saved;
}

static void draw_saved(FILE *out, const struct stack *stack, const struct history *rows)
{
	const struct history *history = stack->history;
	struct plot plot;
	char size[SIZE_TEXT_MAX];

	plot_begin(&plot, out, history, "Saved memory by guest over time, stacked", 330, PLOT_BYTES,
		   history->all.saved.max);
	plot_gaps(&plot);
	for (size_t s = 0; s < stack->n; s++) {
		fprintf(out, "<path class=\"edge\" fill=\"url(#h%u)\" d=\"",
			stack_pattern(stack, s));
		plot_area(&plot, level(stack, s), level(stack, s + 1));
		fputs("\"><title>", out);
		html_text(out, stack_name(stack, s));
		fputs("</title></path>\n", out);
	}
	fputs("<path class=\"total\" d=\"", out);
	plot_range_line(&plot, saved_range);
	fputs("\"/>\n", out);
	draw_labels(&plot, stack);
	for (size_t i = 0; i < rows->n_buckets; i++) {
		if (rows->buckets[i].ticks == 0)
			continue;
		plot_begin_hit(&plot, rows, i);
		fprintf(out, "&#10;saved %s",
			size_format(history_mean(&rows->buckets[i].saved), size, sizeof(size)));
		for (size_t s = stack->n; s-- > 0;) {
			if (stack_mean(stack, rows, s, i) == 0)
				continue;
			fputs("&#10;", out);
			html_text(out, stack_name(stack, s));
			fprintf(out, " %s",
				size_format(stack_mean(stack, rows, s, i), size, sizeof(size)));
		}
		plot_end_hit(&plot);
	}
	plot_end(&plot);
}

static void legend_row(FILE *out, const struct stack *stack, size_t s)
{
	const struct history *history = stack->history;
	bool rest = stack->rest && s == stack->n - 1;
	char size[SIZE_TEXT_MAX];
	uint64_t mean = 0, end = 0;

	for (size_t g = s; g < (rest ? history->n_guests : s + 1); g++) {
		mean += history_guest_mean_all(history, &history->guests[g]);
		end += history->guests[g].end_bytes;
	}
	fputs("<tr><td>", out);
	plot_swatch(out, stack_pattern(stack, s));
	fputs("</td>", out);
	html_cell(out, stack_name(stack, s));
	html_cell_number(
		out, rest ? "" : size_format(history->guests[s].memory_bytes, size, sizeof(size)));
	html_cell_number(out, size_format(end, size, sizeof(size)));
	html_cell_number(out, size_format(mean, size, sizeof(size)));
	html_cell_number(
		out, rest ? "" : size_format(history->guests[s].most_bytes, size, sizeof(size)));
	fputs("</tr>\n", out);
}

static void saved_table(FILE *out, const struct stack *stack, const struct history *rows)
{
	char size[SIZE_TEXT_MAX];

	html_begin_numbers(out, "Saved memory over time as numbers");
	fputs("<tr><th>Time (UTC)</th><th class=\"n\">All</th>", out);
	for (size_t s = 0; s < stack->n; s++) {
		fputs("<th class=\"n\">", out);
		html_text(out, stack_name(stack, s));
		fputs("</th>", out);
	}
	fputs("</tr>\n", out);
	for (size_t i = 0; i < rows->n_buckets; i++) {
		const struct history_range *saved = &rows->buckets[i].saved;

		fputs("<tr>", out);
		html_time_cell(out, rows, i);
		html_cell_number(
			out, saved->n ? size_format(history_mean(saved), size, sizeof(size)) : "-");
		for (size_t s = 0; s < stack->n; s++)
			html_cell_number(out, saved->n ? size_format(stack_mean(stack, rows, s, i),
								     size, sizeof(size))
						       : "-");
		fputs("</tr>\n", out);
	}
	html_end_numbers(out);
}

int html_plot_saved(FILE *out, const struct history *history, const struct history *rows)
{
	struct stack stack;
	int r = stack_init(&stack, history);

	if (r < 0)
		return r;
	fputs("<h2>Saved memory, by guest</h2>\n<p class=\"sub\">Host memory that is free because "
	      "of page sharing, ballooning, free page reporting and unplugging, stacked by guest; "
	      "the line is the sum, with its smallest and largest values.</p>\n",
	      out);
	draw_saved(out, &stack, rows);
	if (stack.n > 0) {
		fputs("<div class=\"wide\"><table>\n<tr><th></th><th>Guest</th><th "
		      "class=\"n\">Promised</th><th class=\"n\">Saved at the end</th><th "
		      "class=\"n\">On average</th><th class=\"n\">At most</th></tr>\n",
		      out);
		for (size_t s = 0; s < stack.n; s++)
			legend_row(out, &stack, s);
		fputs("</table></div>\n", out);
	}
	saved_table(out, &stack, rows);
	free(stack.levels);
	return 0;
}
