/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guests' threads on the processors of a node, and back: sched_setaffinity(2) of all that work for
 * a guest (vCPUs, emulator, vhost), with a note in DIR/pinned of what was before, so that a memd
 * after a crash still knows. Threads that somebody else has pinned are left alone.
 */
#ifndef MEMD_PIN_H
#define MEMD_PIN_H

#include <stddef.h>

#include "memd/guest.h"
#include "memd/numa.h"

/*
 * Let the guest's threads run on the node's processors only. dir "": nothing is noted. 0; -ENODEV:
 * the node has no processor; -ENXIO: the guest's cpuset leaves out the node or its processors, why
 * says so ("" for other errors); -errno of the note, of reading, or of the first thread that
 * refused.
 */
int pin_guest(int rootfd, struct guest *guest, const struct nodes_cpus *cpus, uint64_t node,
	      const char *dir, char *why, size_t n);

/* A guest was found: was it pinned by a memd before this one? */
void pin_recall(struct guest *guest, const char *dir);

/*
 * The same without a memd, from what a dead one has noted: fn (may be NULL) is told of each process
 * that is still there, with the processors that it may use again, error 0 or -errno. Removes the
 * note. How many there were, or -errno of reading it but for -ENOENT.
 */
int pin_restore(int rootfd, const char *dir,
		void (*fn)(void *ctx, pid_t pid, const char *list, int error), void *ctx);

/* Let all run where they could before. Returns how many guests were given back. */
size_t pin_leave(const struct guests *guests, int rootfd, const char *dir);

#endif
