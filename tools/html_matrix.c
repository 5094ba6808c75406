// SPDX-License-Identifier: Apache-2.0
/*
 * Who shares with whom, as a heat map: a square per pair, the stronger the more they share, with
 * the number in it where it fits, and the same as a table.
 */
#include <inttypes.h>
#include <string.h>

#include "common/size.h"
#include "tools/html.h"
#include "tools/html_report.h"
#include "tools/plot.h"

#define MOST_GUESTS 40	 /* more squares than that are no picture; the table has all */
#define TEXT_WIDTH  44.0 /* a square that takes a number */
#define NAMES	    176.0

struct heat {
	FILE *out;
	const struct html_matrix *matrix;
	size_t n;      /* drawn */
	double side;   /* of a square */
	uint64_t most; /* the largest number */
};

static uint64_t cell(const struct html_matrix *matrix, size_t row, size_t column)
{
	return matrix->bytes[row * matrix->n + column];
}

static bool is_alarm(const struct html_matrix *matrix, size_t row, size_t column)
{
	return matrix->alarm && matrix->alarm[row * matrix->n + column] &&
	       cell(matrix, row, column) > 0;
}

/* "1.2G": a size in as few characters as a square has room for. */
static const char *brief(uint64_t bytes, char *buf)
{
	char *space;

	size_format(bytes, buf, SIZE_TEXT_MAX);
	space = strchr(buf, ' ');
	if (space) {
		space[0] = space[1];
		space[1] = '\0';
	}
	return buf;
}

static void draw_cell(const struct heat *heat, size_t row, size_t column)
{
	const struct html_matrix *matrix = heat->matrix;
	uint64_t bytes = cell(matrix, row, column);
	double x = NAMES + (double)column * heat->side, y = 20 + (double)row * heat->side;
	/* What is small can still be told from nothing. */
	double strength = bytes ? 0.12 + 0.83 * ((double)bytes / (double)heat->most) : 0;
	char size[SIZE_TEXT_MAX];

	fprintf(heat->out,
		"<g><rect class=\"heat\" fill-opacity=\"%.2f\" x=\"%.1f\" y=\"%.1f\" "
		"width=\"%.1f\" "
		"height=\"%.1f\"/><rect class=\"%s\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" "
		"height=\"%.1f\"/>",
		strength, x, y, heat->side, heat->side,
		is_alarm(matrix, row, column) ? "alarm" : "cellbox", x + 1, y + 1, heat->side - 2,
		heat->side - 2);
	if (heat->side >= TEXT_WIDTH && bytes > 0)
		fprintf(heat->out, "<text class=\"m %s\" x=\"%.1f\" y=\"%.1f\">%s</text>",
			strength > 0.55 ? "inv" : "k", x + heat->side / 2, y + heat->side / 2 + 4,
			brief(bytes, size));
	fputs("<title>", heat->out);
	html_text(heat->out, matrix->names[row]);
	if (row == column) {
		fputs(", within itself", heat->out);
	} else {
		fputs(" and ", heat->out);
		html_text(heat->out, matrix->names[column]);
	}
	fprintf(heat->out, ": %s%s</title></g>\n", size_format(bytes, size, sizeof(size)),
		is_alarm(matrix, row, column) ? ", across trust domains" : "");
}

static void draw_names(const struct heat *heat)
{
	for (size_t i = 0; i < heat->n; i++) {
		double at = ((double)i + 0.5) * heat->side;

		fprintf(heat->out, "<text class=\"k e\" x=\"%.1f\" y=\"%.1f\">", NAMES - 8,
			24 + at);
		html_short_text(heat->out, heat->matrix->names[i], 18);
		/* Columns are numbered as the rows: names would have to stand on end. */
		fprintf(heat->out, " %zu</text><text class=\"m\" x=\"%.1f\" y=\"12\">%zu</text>\n",
			i + 1, NAMES + at, i + 1);
	}
}

static void draw(FILE *out, const struct html_matrix *matrix)
{
	struct heat heat = {.out = out, .matrix = matrix, .n = matrix->n};
	double width = PLOT_WIDTH - NAMES;

	if (heat.n > MOST_GUESTS)
		heat.n = MOST_GUESTS;
	heat.side = width / (double)heat.n;
	if (heat.side > 56)
		heat.side = 56;
	for (size_t i = 0; i < heat.n * matrix->n; i++)
		if (matrix->bytes[i] > heat.most)
			heat.most = matrix->bytes[i];
	fprintf(out,
		"<div class=\"plot\"><svg class=\"p\" viewBox=\"0 0 %.0f %.0f\" role=\"img\" "
		"aria-label=\"Memory shared by each pair of guests\">\n",
		PLOT_WIDTH, 24 + heat.side * (double)heat.n);
	draw_names(&heat);
	for (size_t row = 0; row < heat.n; row++)
		for (size_t column = 0; column < heat.n; column++)
			draw_cell(&heat, row, column);
	fputs("</svg></div>\n", out);
}

static void write_table(FILE *out, const struct html_matrix *matrix)
{
	char size[SIZE_TEXT_MAX];

	html_begin_numbers(out, "Shared memory by pair as numbers");
	fputs("<tr><th></th>", out);
	for (size_t i = 0; i < matrix->n; i++) {
		fputs("<th class=\"n\">", out);
		html_text(out, matrix->names[i]);
		fputs("</th>", out);
	}
	fputs("</tr>\n", out);
	for (size_t row = 0; row < matrix->n; row++) {
		fputs("<tr>", out);
		html_cell(out, matrix->names[row]);
		for (size_t column = 0; column < matrix->n; column++)
			html_cell_number(
				out, size_format(cell(matrix, row, column), size, sizeof(size)));
		fputs("</tr>\n", out);
	}
	html_end_numbers(out);
}

void html_matrix_write(FILE *out, const struct html_matrix *matrix)
{
	size_t alarms = 0;

	for (size_t row = 0; row < matrix->n; row++)
		for (size_t column = row + 1; column < matrix->n; column++)
			alarms += is_alarm(matrix, row, column);
	if (alarms)
		fprintf(out,
			"<p class=\"note\">%zu %s of different trust domains share memory; their "
			"squares are framed.</p>\n",
			alarms, alarms == 1 ? "pair of guests" : "pairs of guests");
	if (matrix->n > MOST_GUESTS)
		fprintf(out, "<p>The picture shows %d of %zu guests, the table all.</p>\n",
			MOST_GUESTS, matrix->n);
	draw(out, matrix);
	write_table(out, matrix);
}
