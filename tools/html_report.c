// SPDX-License-Identifier: Apache-2.0
/* The page from top to bottom: head, key figures, plots, guests as they are now, the small print.
 */
#include "tools/html_report.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/size.h"
#include "common/wire.h"
#include "tools/html.h"
#include "tools/plot.h"

#define ROWS_MAX 32 /* of the tables below the plots */

static void card(FILE *out, const char *figure, const char *text)
{
	fputs("<div class=\"card\"><b>", out);
	html_text(out, figure);
	fputs("</b><span>", out);
	html_text(out, text);
	fputs("</span></div>\n", out);
}

/* What was saved at the last tick, by the daemon's account if it runs. */
static void card_saved(FILE *out, const struct html_report *page)
{
	const struct history *history = page->history;
	uint64_t end = 0, promised = 0;
	char size[SIZE_TEXT_MAX], of[SIZE_TEXT_MAX], text[96];

	for (size_t i = 0; i < history->n_guests; i++) {
		const struct history_guest *guest = &history->guests[i];

		end += guest->end_bytes;
		if (guest->end_bytes && pol_has(guest->memory_bytes))
			promised += guest->memory_bytes;
	}
	snprintf(text, sizeof(text), "saved at the end, of %s promised to the guests that save",
		 size_format(promised, of, sizeof(of)));
	card(out, size_format(end, size, sizeof(size)), text);
}

static void cards(FILE *out, const struct html_report *page)
{
	const struct history_bucket *all = &page->history->all;
	char size[SIZE_TEXT_MAX], more[SIZE_TEXT_MAX], text[96];

	fputs("<div class=\"cards\">\n", out);
	card_saved(out, page);
	snprintf(text, sizeof(text), "saved on average, %s at most",
		 size_format(all->saved.max, more, sizeof(more)));
	card(out, size_format(history_mean(&all->saved), size, sizeof(size)), text);
	if (all->ksm_cpu_known) {
		snprintf(text, sizeof(text), "of one processor for KSM, %.1f s in all",
			 (double)all->ksm_cpu_us / USEC_PER_SEC);
		card(out, history_percent(history_ksm_ppm(all), size, sizeof(size)), text);
	}
	if (all->available.n) {
		snprintf(text, sizeof(text), "available on the host at its lowest%s%s",
			 pol_has(page->history->memory_bytes) ? ", of " : "",
			 pol_has(page->history->memory_bytes)
				 ? size_format(page->history->memory_bytes, more, sizeof(more))
				 : "");
		card(out, size_format(all->available.min, size, sizeof(size)), text);
	}
	fputs("</div>\n", out);
}

static void head(FILE *out, const struct html_report *page, const char *title)
{
	const struct history *history = page->history;
	char from[HISTORY_TIME_MAX], to[HISTORY_TIME_MAX];

	fputs("<h1>", out);
	html_text(out, title);
	fprintf(out, "</h1>\n<p class=\"sub\">%s to %s UTC, %" PRIu64 " ticks</p>\n",
		history_time_text(history->first_us, HISTORY_MOMENT, from),
		history_time_text(history->last_us, HISTORY_MOMENT, to), history->all.ticks);
	for (size_t i = 0; i < history->n_notes; i++) {
		fputs("<p class=\"note\">", out);
		html_text(out, history->notes[i]);
		fputs(".</p>\n", out);
	}
	cards(out, page);
}

static void matrix(FILE *out, const struct html_report *page)
{
	fputs("<h2>Who shares with whom</h2>\n", out);
	if (page->matrix && page->matrix->n > 0) {
		fputs("<p class=\"sub\">Memory that each pair of guests has in common by page "
		      "sharing; on the diagonal, what a guest shares with itself.</p>\n",
		      out);
		html_matrix_write(out, page->matrix);
		return;
	}
	fputs("<p>Not shown: ", out);
	html_text(out, page->matrix ? "no guest shares memory" : page->matrix_why);
	fputs(".</p>\n", out);
}

static void bytes_cell(FILE *out, json_object *obj, const char *key)
{
	char size[SIZE_TEXT_MAX];
	uint64_t bytes;

	html_cell_number(
		out, json_get_u64(obj, key, &bytes) ? size_format(bytes, size, sizeof(size)) : "-");
}

/* By mechanism, as the daemon counts it at this moment. */
static void guests_now(FILE *out, json_object *report)
{
	static const struct {
		const char *title, *key;
	} columns[] = {
		{"Promised", "memory_bytes"},	   {"Has", "actual_bytes"},
		{"Resident", "resident_bytes"},	   {"KSM", "ksm_bytes"},
		{"Balloon", "balloon_bytes"},	   {"Reported", "reported_bytes"},
		{"Unplugged", "virtio_mem_bytes"}, {"Saved", "saved_bytes"},
	};
	json_object *guests = json_get_array(report, "guests");

	fputs("<h2>Guests now</h2>\n", out);
	if (!guests) {
		fputs("<p>Not shown: what each mechanism saves is only told by the memd that "
		      "writes this trace, while it runs.</p>\n",
		      out);
		return;
	}
	fputs("<p class=\"sub\">What is saved by which mechanism; each byte is counted "
	      "once.</p>\n<div class=\"wide\"><table>\n<tr><th>Guest</th><th>By</th>",
	      out);
	for (size_t i = 0; i < ARRAY_SIZE(columns); i++)
		fprintf(out, "<th class=\"n\">%s</th>", columns[i].title);
	fputs("</tr>\n", out);
	for (size_t g = 0; g < json_object_array_length(guests); g++) {
		json_object *guest = json_object_array_get_idx(guests, g);
		const char *name = json_get_str(guest, "name");
		const char *by = json_get_str(guest, "hypervisor");

		fputs("<tr>", out);
		html_cell(out, name ? name : "?");
		html_cell(out, by ? by : "?");
		for (size_t i = 0; i < ARRAY_SIZE(columns); i++)
			bytes_cell(out, guest, columns[i].key);
		fputs("</tr>\n", out);
	}
	fputs("</table></div>\n", out);
}

static void foot(FILE *out, const struct html_report *page)
{
	char text[HISTORY_TIME_MAX];

	fputs("<footer><p>A saving is host memory that is really free because of it. Points and "
	      "areas are means over ",
	      out);
	fprintf(out, "%" PRIu64 " s", (uint64_t)(page->history->bucket_us / USEC_PER_SEC));
	fputs(", ranges come from every tick. From the trace ", out);
	html_text(out, page->path);
	fprintf(out, ", by memctl %s, %s UTC.</p></footer>\n", MEMD_VERSION,
		history_time_text(page->made_us, HISTORY_MOMENT, text));
}

int html_report_write(FILE *out, const struct html_report *page)
{
	struct history *rows = NULL;
	char title[320];
	int r = history_merge(page->history, ROWS_MAX, &rows);

	if (r < 0)
		return r;
	snprintf(title, sizeof(title), "Memory saved%s%s", page->host[0] ? " on " : "", page->host);
	html_begin(out, title);
	plot_patterns(out);
	head(out, page, title);
	r = html_plot_saved(out, page->history, rows);
	if (r == 0) {
		html_plot_price(out, page->history, rows);
		html_plot_available(out, page->history, rows);
		matrix(out, page);
		guests_now(out, page->report);
		foot(out, page);
		html_end(out);
	}
	history_free(rows);
	return r;
}
