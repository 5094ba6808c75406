/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guests' connections on the event loop, all behind one source of it. sd-event fetches every
 * ready source and runs one of them, again and again: with a thousand answers waiting, that is a
 * million looks at sockets (src/libsystemd/sd-event/sd-event.c, process_epoll).
 */
#ifndef MEMD_GUEST_WATCH_H
#define MEMD_GUEST_WATCH_H

#include <stdint.h>

#include "memd/guest.h"

/* guests->event may be NULL: then nothing is ever called. 0 or -errno. */
int guest_watch_open(struct guests *guests);
void guest_watch_close(struct guests *guests);

/* Call guest_qmp_ready() on these epoll events of its connection; 0: no more. 0 or -errno. */
int guest_watch_set(struct guest *guest, uint32_t events);

#endif
