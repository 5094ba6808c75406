// SPDX-License-Identifier: Apache-2.0
/* What of guests' memory is in use, as the host's kernel sees it: whose turn, and what came of it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/log.h"
#include "memd/daemon.h"
#include "memd/damon.h"
#include "memd/guest_swap.h"

#define LOOK_EVERY_US (20 * USEC_PER_SEC)
#define AGAIN_US      (60 * USEC_PER_SEC) /* before DAMON is set up once more when it could not be */

static void fill(const struct daemon *daemon, const struct guest *guest, struct idle_guest *out)
{
	const char *where = daemon->guests.memcg.where;
	const char *path = guest->swap ? guest->swap->cgroup.path : "";
	size_t n = strlen(where);

	*out = (struct idle_guest){
		.guest = guest->id,
		.pid = guest->pid,
		.cgroup = path[0] && strncmp(path, where, n) == 0 ? path + n : NULL,
	};
}

/* May a kdamond be set up, or stay? What a crash would leave is journalled before. */
static bool may_use_damon(struct daemon *daemon, uint64_t now_us)
{
	int r;

	if (daemon->config->idle_tracking != CONFIG_IDLE_AUTO || daemon->options->dry_run ||
	    !daemon->undo)
		return false;
	if (idle_state(daemon->idle)->watches)
		return true;
	if (idle_state(daemon->idle)->damon_never || now_us < daemon->damon_again_us ||
	    damon_look(host_rootfd(daemon->host), NULL) < 0)
		return false;
	r = damon_record(daemon->undo);
	if (r < 0)
		daemon_error(daemon,
			     "the undo journal cannot be written (%s), so DAMON is not used",
			     strerror(-r));
	return r == 0;
}

void daemon_idle_tick(struct daemon *daemon, uint64_t now_us)
{
	AUTO_FREE struct idle_guest *guests = NULL;
	size_t n = 0;
	bool damon;

	if (!daemon->idle || daemon->act.stopped ||
	    (daemon->idle_us && now_us - daemon->idle_us < LOOK_EVERY_US))
		return;
	if (daemon->config->idle_tracking == CONFIG_IDLE_OFF && !idle_state(daemon->idle)->watches)
		return;
	guests = calloc(daemon->guests.n ? daemon->guests.n : 1, sizeof(*guests));
	if (!guests)
		return;
	for (size_t i = 0; i < daemon->guests.n; i++)
		if (daemon->guests.v[i]->known && daemon->guests.v[i]->pid > 0)
			fill(daemon, daemon->guests.v[i], &guests[n++]);
	if (n > 0)
		daemon->idle_us = now_us;
	damon = n > 0 && may_use_damon(daemon, now_us);
	if (n > 0 || idle_state(daemon->idle)->watches)
		idle_start(daemon->idle, guests, n, damon);
}

/* What was set up is gone; what could not be taken away stays in the journal. */
static void forget(struct daemon *daemon)
{
	if (daemon->undo && damon_look(host_rootfd(daemon->host), NULL) != -EBUSY)
		damon_forget(daemon->undo);
}

static int on_idle(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct daemon *daemon = userdata;
	const struct idle_guest *results;
	size_t n = idle_take(daemon->idle, &results);
	uint64_t now_us = clock_now_us();

	(void)source;
	(void)fd;
	(void)revents;
	for (size_t i = 0; i < n; i++) {
		struct guest *guest = guests_find(&daemon->guests, results[i].guest);

		if (!guest || guest->pid != results[i].pid || results[i].source == IDLE_NONE)
			continue;
		guest->hot = (struct guest_hot){
			.source = results[i].source,
			.bytes = results[i].hot_bytes,
			.window_us = results[i].window_us,
			.seen_us = now_us > results[i].age_us ? now_us - results[i].age_us : 1,
		};
	}
	idle_done(daemon->idle);
	if (!idle_state(daemon->idle)->watches) {
		forget(daemon);
		daemon->damon_again_us = now_us + AGAIN_US;
	}
	return 0;
}

int daemon_idle_sources(struct daemon *daemon)
{
	return sd_event_add_io(daemon->event, &daemon->idle_source, idle_fd(daemon->idle), EPOLLIN,
			       on_idle, daemon);
}

void daemon_idle_leave(struct daemon *daemon)
{
	daemon->idle_source = sd_event_source_disable_unref(daemon->idle_source);
	idle_close(daemon->idle);
	daemon->idle = NULL;
	forget(daemon);
}
