/* SPDX-License-Identifier: Apache-2.0 */
/* The matrix of `memctl sharing --matrix`. */
#ifndef MEMD_TOOLS_SHARING_MATRIX_H
#define MEMD_TOOLS_SHARING_MATRIX_H

#include "tools/memctl.h"

/*
 * What each two guests map together, on the diagonal what one shares within itself: a row for each
 * guest of the document, a column for each of all (the document's, and those that were left out of
 * it), and the others last.
 */
void sharing_matrix_print(const struct memctl *ctl, json_object *doc, json_object *all);

#endif
