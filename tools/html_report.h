/* SPDX-License-Identifier: Apache-2.0 */
/* The page of `memctl report --html`: key figures, plots from the trace, the sharing matrix. */
#ifndef MEMD_TOOLS_HTML_REPORT_H
#define MEMD_TOOLS_HTML_REPORT_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "tools/history.h"

/* Who shares how much with whom. */
struct html_matrix {
	size_t n;
	const char *const *names;
	const uint64_t *bytes; /* n * n, [i * n + j]; i = j: within the guest */
	const bool *alarm;     /* the same: must not be shared (trust domains); NULL: none */
};

struct html_report {
	const char *host, *path; /* whose ("": not known), and where the trace was */
	const struct history *history;
	json_object *report;		  /* query-report; NULL: memd does not run */
	const struct html_matrix *matrix; /* NULL: not there, because of */
	const char *matrix_why;
	uint64_t made_us; /* the page's date */
};

/* The page. 0; -ENOMEM. Errors of the stream are for the caller to ask for (ferror). */
int html_report_write(FILE *out, const struct html_report *page);

/* ---- its parts ---- */

/* Plots with a table below each; rows is the same history in few buckets, for these tables. */
int html_plot_saved(FILE *out, const struct history *history, const struct history *rows);
void html_plot_price(FILE *out, const struct history *history, const struct history *rows);
void html_plot_available(FILE *out, const struct history *history, const struct history *rows);

/* The cell with the time of row i. */
void html_time_cell(FILE *out, const struct history *rows, size_t i);

/* The heat map, with the same as a table. */
void html_matrix_write(FILE *out, const struct html_matrix *matrix);

#endif
