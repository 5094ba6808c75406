/* SPDX-License-Identifier: Apache-2.0 */
/* The listening unix socket of wire_server.c: made without races, taken over from the dead. */
#ifndef MEMD_COMMON_WIRE_LISTEN_H
#define MEMD_COMMON_WIRE_LISTEN_H

#include <sys/types.h>

struct wire_listen {
	int fd;
	dev_t dev; /* the socket file, so that only our own is ever removed */
	ino_t ino;
};

/*
 * Bind and listen at path with that mode. -EADDRINUSE: a living process answers there; -EEXIST: a
 * file that is no socket; -ENAMETOOLONG: path does not fit into a socket address; else -errno.
 */
int wire_listen_open(struct wire_listen *listening, const char *path, mode_t mode);
void wire_listen_close(struct wire_listen *listening, const char *path);

#endif
