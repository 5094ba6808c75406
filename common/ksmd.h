/* SPDX-License-Identifier: Apache-2.0 */
/* ksmd, the kernel's thread that merges pages (mm/ksm.c), as a process. */
#ifndef MEMD_COMMON_KSMD_H
#define MEMD_COMMON_KSMD_H

#include <sys/types.h>

/*
 * Its pid in the /proc below the root: a child of kthreadd, whoever else is called so. -ENOENT:
 * there is none; -ENOMEM; -errno of /proc.
 */
pid_t ksmd_find(int rootfd);

/*
 * Its nice value, -20 to 19; the kernel starts it with 5. -ENOENT: there is no ksmd of this machine
 * to be seen, or the root is not the live host's; -errno of getpriority(2).
 */
int ksmd_nice(int rootfd, int *ret_nice);

/*
 * Set it, of this machine's ksmd alone. 0: it reads back so; -EIO: it does not; -EACCES, -EPERM: to
 * lower it takes CAP_SYS_NICE; -ENOENT as above; -errno of setpriority(2).
 */
int ksmd_set_nice(int rootfd, int nice);

#endif
