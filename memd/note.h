/* SPDX-License-Identifier: Apache-2.0 */
/* Small files in the runtime directory that outlive a crash: written anew as a whole, or not. */
#ifndef MEMD_NOTE_H
#define MEMD_NOTE_H

#include <stdio.h>

#include "memd/guest.h"

/* Have fill write DIR/NAME anew. 0; -errno of fopen(3); -EIO: the old one stays. */
int note_write(const char *dir, const char *name, void (*fill)(FILE *file, const void *ctx),
	       const void *ctx);

/*
 * The same of guests, by lines "PID STARTTIME ...": fill writes those of the guests there are.
 * Lines stay whose process lives, and has not been found as a guest yet by this memd
 * (guest->recalled): its monitor may hang.
 */
int note_write_guests(const char *dir, const char *name, const struct guests *guests,
		      void (*fill)(FILE *file, const struct guests *guests));

#endif
