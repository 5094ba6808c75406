/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Scope-bound ownership: a variable marked AUTO_* gives back what it holds when it leaves scope.
 * Hand ownership on with TAKE_FD() or TAKE_PTR(). Nothing else lives here.
 */
#ifndef MEMD_COMMON_CLEANUP_H
#define MEMD_COMMON_CLEANUP_H

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static inline void cleanup_fd(int *fd)
{
	if (*fd >= 0) {
		int saved = errno;

		close(*fd);
		errno = saved;
	}
}

static inline void cleanup_free(void *p)
{
	free(*(void **)p);
}

static inline void cleanup_file(FILE **f)
{
	if (*f)
		fclose(*f);
}

static inline void cleanup_dir(DIR **d)
{
	if (*d)
		closedir(*d);
}

/* The first four cover almost everything; a type with its own free function defines its own. */
#define AUTO(fn)  __attribute__((cleanup(fn)))
#define AUTO_FD	  AUTO(cleanup_fd)
#define AUTO_FREE AUTO(cleanup_free)
#define AUTO_FILE AUTO(cleanup_file)
#define AUTO_DIR  AUTO(cleanup_dir)

#define TAKE_FD(fd)                \
	({                         \
		int _taken = (fd); \
		(fd) = -1;         \
		_taken;            \
	})

#define TAKE_PTR(p)                         \
	({                                  \
		__typeof__(p) _taken = (p); \
		(p) = NULL;                 \
		_taken;                     \
	})

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

#endif
