/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A plot over time as inline SVG: axes with round numbers, areas, lines, bands. Coordinates are
 * written to a tenth of a pixel, so that the same data give the same bytes.
 */
#ifndef MEMD_TOOLS_PLOT_H
#define MEMD_TOOLS_PLOT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "tools/history.h"

/* The drawing is so wide; the data have their place between the margins. */
#define PLOT_WIDTH  1000.0
#define PLOT_LEFT   76.0
#define PLOT_RIGHT  152.0 /* room for labels beside the ends of lines */
#define PLOT_TOP    12.0
#define PLOT_BOTTOM 38.0

/* Kinds of hatching and colour. */
#define PLOT_SERIES_MAX 8

enum plot_unit {
	PLOT_BYTES,
	PLOT_PPM /* shown as per cent */
};

struct plot {
	FILE *out;
	const struct history *history;
	enum plot_unit unit;
	double height;	/* of the drawing */
	uint64_t y_max; /* where the axis ends */
};

/*
 * A round step: 1, 2, 5, 10 ... of B, KiB, MiB ... with 256 and 512 for 250 and 500, or 1, 2, 5
 * times a power of ten of a per cent; value is in the steps_max'th step or before.
 */
uint64_t plot_round_step(uint64_t value, enum plot_unit unit, unsigned int steps_max);

/* A step's label: "1.5 GiB", "0.2%". Returns buf, of SIZE_TEXT_MAX. */
char *plot_label(uint64_t value, enum plot_unit unit, char *buf);

/* <svg> with grid and axes for values up to `most`. label says what it shows to who cannot see. */
void plot_begin(struct plot *plot, FILE *out, const struct history *history, const char *label,
		double height, enum plot_unit unit, uint64_t most);
void plot_end(struct plot *plot);

double plot_x(const struct plot *plot, uint64_t wall_us);
double plot_y(const struct plot *plot, uint64_t value);

/* The run of buckets with ticks that begins at or after *at: false when there is none. */
bool plot_next_run(const struct plot *plot, size_t *at, size_t *ret_end);

/* The area between two values per bucket, in all runs, as the path data of one <path>. */
void plot_area(struct plot *plot, const uint64_t *low, const uint64_t *high);

/*
 * A line as path data: per bucket its smallest and its largest value, in the order they came, so
 * that no peak is lost however many ticks a bucket has.
 */
void plot_range_line(struct plot *plot,
		     const struct history_range *(*range)(const struct history_bucket *bucket));

/* Times without ticks, hatched. */
void plot_gaps(struct plot *plot);

/*
 * A column over the whole height for row i of the same history in fewer buckets: pointed at, it
 * tells the row's time and what the caller writes between the two, a line per &#10;.
 */
void plot_begin_hit(struct plot *plot, const struct history *rows, size_t i);
void plot_end_hit(struct plot *plot);

/* The patterns that areas are filled with, url(#h0) to url(#h7); once in a page. */
void plot_patterns(FILE *out);

/* An area that shows the pattern, for legends. */
void plot_swatch(FILE *out, unsigned int series);

#endif
