/* SPDX-License-Identifier: Apache-2.0 */
/* Locks on disk images, the same as QEMU's: inside of disk.c only. */
#ifndef MEMD_VMM_DISK_LOCK_H
#define MEMD_VMM_DISK_LOCK_H

#include <stdbool.h>

/*
 * Lock the image behind fd for as long as fd is open. -EBUSY: somebody else has it, logged with the
 * process where it can be found out. A file system without locks is a warning.
 */
int disk_lock(int fd, const char *path, bool readonly);

#endif
