/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A page of HTML as one file: escaping, the frame of a page, and a file that is either all there or
 * as it was. A page takes nothing from elsewhere and runs nothing, and says so to the browser.
 */
#ifndef MEMD_TOOLS_HTML_H
#define MEMD_TOOLS_HTML_H

#include <stddef.h>
#include <stdio.h>

#define HTML_WHY_MAX 256

/*
 * Text as content or as an attribute in quotes: & < > " ' become references, control characters
 * U+FFFD. The only way of what a guest or a host has named into a page.
 */
void html_text(FILE *out, const char *text);

/* The same, but at most so many characters of it; an ellipsis stands for the rest. */
void html_short_text(FILE *out, const char *text, size_t chars_max);

/* From <!doctype> to the open <main>, with the style sheet for light and dark; and the end. */
void html_begin(FILE *out, const char *title);
void html_end(FILE *out);

/* A table cell: with text, or as a number, at the right edge. */
void html_cell(FILE *out, const char *text);
void html_cell_number(FILE *out, const char *text);

/* A table that is folded up until somebody asks for it. */
void html_begin_numbers(FILE *out, const char *summary);
void html_end_numbers(FILE *out);

struct html_file;

/*
 * Begin to write path, beside it in a temporary file. What is no plain file (a pipe, /dev/stdout)
 * is written as it is. -errno of open(2), with a reason in why; nothing is left behind.
 */
int html_file_open(const char *path, struct html_file **ret_file, char *why, size_t n);

FILE *html_file_stream(struct html_file *file);

/*
 * Done: the file is put in place if all went well until here (result is 0) and all could be
 * written, else path stays what it was. 0, or result, or -errno with a reason in why.
 */
int html_file_close(struct html_file *file, int result, char *why, size_t n);

#endif
