/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Arrivals: the directories in which guests' sockets appear are watched, so that a new guest need
 * not wait for the next tick. A hint and no more: events may be lost, and who is told looks itself.
 */
#ifndef MEMD_ARRIVAL_H
#define MEMD_ARRIVAL_H

#include <stdbool.h>

struct arrival;

/* Starts with nothing watched. 0, -ENOMEM or -errno of inotify_init1(2). */
int arrival_open(struct arrival **ret_arrival);
void arrival_close(struct arrival *arrival);

/* Becomes readable when there may be something; then call arrival_take(). */
int arrival_fd(const struct arrival *arrival);

/*
 * Watch the directories of these patterns (absolute, glob(7), separated by white space) that are
 * there now, and those in which directories would have to appear for a pattern to match. Cheap, to
 * be called again and again; what was watched stays so until its directory is gone.
 */
void arrival_watch(struct arrival *arrival, const char *globs);

/* Takes what has happened since. Has a file come whose name fits one of the patterns? */
bool arrival_take(struct arrival *arrival, const char *globs);

#endif
