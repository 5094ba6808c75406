/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Other programs on the host that steer memory: found by the comm of their process, so that memd
 * can stand aside instead of fighting them, and say whom it saw.
 */
#ifndef MEMD_MANAGER_H
#define MEMD_MANAGER_H

#include <stddef.h>
#include <sys/types.h>

enum manager_field {
	MANAGER_KSM = 1,     /* writes /sys/kernel/mm/ksm */
	MANAGER_BALLOON = 2, /* sets balloon targets */
	MANAGER_NUMA = 4,    /* moves guests between nodes */
	MANAGER_OOM = 8	     /* kills under pressure: told, not fought */
};

struct manager {
	pid_t pid;
	const char *name;    /* static: the program */
	unsigned int fields; /* what it steers, enum manager_field bits */
	const char *advice;  /* static: how an operator hands the work over to memd */
};

/* Fill up to max entries; returns how many were found (each program once), or -errno of /proc. */
int manager_scan(int rootfd, struct manager *ret_managers, size_t max);

#define MANAGERS_MAX 16

#endif
