/* SPDX-License-Identifier: Apache-2.0 */
/*
 * run=2: the kernel unmerges all there is before write(2) returns, about a second per GiB, which
 * must not hold up the loop: one thread that writes it.
 */
#ifndef MEMD_UNMERGE_H
#define MEMD_UNMERGE_H

#include <stdbool.h>

struct unmerge;

/* Begin. path: KSM's "run" below rootfd, which must outlive it. -ENOMEM, -errno of pthread. */
int unmerge_start(int rootfd, const char *path, struct unmerge **ret_unmerge);

/* Has it ended? *ret_error: 0 or -errno of the write. */
bool unmerge_is_done(const struct unmerge *unmerge, int *ret_error);

/* Waits for it. NULL is fine. */
void unmerge_free(struct unmerge *unmerge);

#endif
