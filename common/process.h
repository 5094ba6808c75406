/* SPDX-License-Identifier: Apache-2.0 */
/* The processes of a host, from /proc. */
#ifndef MEMD_COMMON_PROCESS_H
#define MEMD_COMMON_PROCESS_H

#include <stddef.h>
#include <sys/types.h>

/*
 * All of them, in no order, in *ret_pids for free(3). Some may have ended by the time they are
 * looked at. 0; -ENOMEM; -errno of /proc.
 */
int process_list(int rootfd, pid_t **ret_pids, size_t *ret_n);

/* A file of /proc/PID, to be read: its descriptor; -ESRCH: it has ended; -errno of open(2). */
int process_open(int rootfd, pid_t pid, const char *file);

/*
 * A line of /proc/PID/stat (or of a task's) from its third field on, the state: the comm before it
 * may hold spaces and brackets. NULL: it has no such field.
 */
const char *process_stat_after_comm(const char *stat);

#endif
