/* SPDX-License-Identifier: Apache-2.0 */
/* The sharing matrix of the page: who shares with whom at this moment, from memd/sharing.h. */
#ifndef MEMD_TOOLS_HTML_SHARING_H
#define MEMD_TOOLS_HTML_SHARING_H

#include <json-c/json.h>

#include "tools/html_report.h"

struct html_sharing;

/*
 * Look at the guests of a query-guests answer (NULL: there is none). Pairs of different trust
 * domains are marked. 0; -ENODATA: no guest has a process to look at; -errno of sharing_scan(); why
 * then says what is missing, in an operator's words.
 */
int html_sharing_scan(int rootfd, json_object *answer, struct html_sharing **ret_sharing, char *why,
		      size_t n);
void html_sharing_free(struct html_sharing *sharing); /* NULL is fine */

const struct html_matrix *html_sharing_matrix(const struct html_sharing *sharing);

#endif
