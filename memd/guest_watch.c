// SPDX-License-Identifier: Apache-2.0
/* One epoll for all guests' connections; see guest_watch.h. */
#include "memd/guest_watch.h"

#include <errno.h>
#include <sys/epoll.h>

#include "common/cleanup.h"
#include "memd/guest_qmp.h"

/* Then other sources get their turn: each may bring 64 KiB to take apart. */
#define READY_MAX 32

/* Guests are freed by guests_scan() only, which nothing in here calls: no pointer goes stale. */
static int on_ready(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct epoll_event ready[READY_MAX];
	int n = epoll_wait(fd, ready, READY_MAX, 0);

	(void)source;
	(void)revents;
	(void)userdata;
	for (int i = 0; i < n; i++) {
		struct guest *guest = ready[i].data.ptr;

		/* One may be gone by what another has said. */
		if (guest->conn)
			guest_qmp_ready(guest, ready[i].events);
	}
	return 0;
}

int guest_watch_open(struct guests *guests)
{
	int r;

	guests->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (guests->epoll_fd < 0)
		return -errno;
	if (!guests->event)
		return 0;
	r = sd_event_add_io(guests->event, &guests->source, guests->epoll_fd, EPOLLIN, on_ready,
			    guests);
	return r < 0 ? r : 0;
}

void guest_watch_close(struct guests *guests)
{
	guests->source = sd_event_source_disable_unref(guests->source);
	cleanup_fd(&guests->epoll_fd);
}

int guest_watch_set(struct guest *guest, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.ptr = guest};
	int how = !events ? EPOLL_CTL_DEL : guest->watched ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;

	if (guest->watched == events)
		return 0;
	if (epoll_ctl(guest->all->epoll_fd, how, wire_conn_fd(guest->conn), &event) < 0)
		return -errno;
	guest->watched = events;
	return 0;
}
