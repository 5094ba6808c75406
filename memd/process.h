/* SPDX-License-Identifier: Apache-2.0 */
/* What to call a process. */
#ifndef MEMD_PROCESS_H
#define MEMD_PROCESS_H

#include <stddef.h>
#include <sys/types.h>

/*
 * What to call a process: the name on a hypervisor's command line, else what the kernel calls it,
 * else its pid. Written by whoever started it: clean it before it is shown.
 */
void process_name(int rootfd, pid_t pid, char *buf, size_t n);

#endif
