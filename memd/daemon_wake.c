// SPDX-License-Identifier: Apache-2.0
/*
 * Ticks before their time: memory pressure, guests that start and say what they are, and a policy
 * that wants to look again sooner. However much of that there is, the gap between two ticks that
 * begin early stays.
 */
#include <sys/epoll.h>

#include "common/clock.h"
#include "common/log.h"
#include "memd/daemon.h"
#include "memd/reclaim.h"

#define EARLY_GAP_US 250000ULL
/* A socket's file comes with bind(2), before listen(2). */
#define LISTEN_US 20000ULL

/* Pressure may begin one sooner, but not so soon that how fast memory falls cannot be told; a stall
 * that has not been seen by the tick before is no older by then. */
#define PRESSURE_GAP_US 100000ULL
/* So long a tick that it finds under way, or begins, waits for guests' answers. */
#define HURRY_US 30000ULL

static void wake_at(struct daemon *daemon, uint64_t at)
{
	if (at >= daemon->next_tick_us || (daemon->wake_us && daemon->wake_us <= at))
		return;
	daemon->wake_us = at;
	sd_event_source_set_time(daemon->wake, at);
	sd_event_source_set_enabled(daemon->wake, SD_EVENT_ONESHOT);
}

/*
 * The kernel tells twice a second at most. A tick under way sees the host as it is when it has
 * waited for answers, so that need only be soon.
 */
static int on_psi(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct daemon *daemon = userdata;
	uint64_t now_us = clock_now_us();

	(void)fd;
	if (revents & EPOLLERR) { /* the trigger was taken away: ticks alone then */
		sd_event_source_set_enabled(source, SD_EVENT_OFF);
		return 0;
	}
	daemon->guests.calm = false;
	daemon->woken++;
	log_debug("memory pressure at %llu us", (unsigned long long)now_us);
	if (!daemon->in_tick && now_us - daemon->tick_start_us < PRESSURE_GAP_US) {
		wake_at(daemon, daemon->tick_start_us + PRESSURE_GAP_US);
		return 0;
	}
	if (!daemon->in_tick)
		daemon_begin_tick(daemon);
	if (daemon->in_tick)
		daemon_hurry(daemon, now_us + HURRY_US);
	return 0;
}

void daemon_wake(struct daemon *daemon, uint64_t delay_us)
{
	uint64_t at = clock_now_us() + delay_us, gap = daemon->tick_start_us + EARLY_GAP_US;

	/* The guests of the start are waited for: no tick has decided anything yet. */
	if (daemon->settled && at < gap)
		at = gap;
	wake_at(daemon, at);
}

static int on_wake(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct daemon *daemon = userdata;

	(void)source;
	(void)usec;
	daemon->wake_us = 0;
	if (daemon->in_tick) /* it looked for guests before this was asked for */
		daemon_wake(daemon, EARLY_GAP_US);
	else
		daemon_begin_tick(daemon);
	return 0;
}

static int on_arrival(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct daemon *daemon = userdata;

	(void)source;
	(void)fd;
	(void)revents;
	if (arrival_take(daemon->arrival, daemon->config->guest_globs))
		daemon_wake(daemon, LISTEN_US);
	return 0;
}

static int on_reclaim(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct daemon *daemon = userdata;

	(void)source;
	(void)fd;
	(void)revents;
	reclaim_act_done(&daemon->act);
	return 0;
}

void daemon_wake_watch(struct daemon *daemon)
{
	if (daemon->arrival)
		arrival_watch(daemon->arrival, daemon->config->guest_globs);
}

int daemon_wake_sources(struct daemon *daemon)
{
	sd_event *event = daemon->event;
	int r;

	r = sd_event_add_time(event, &daemon->wake, CLOCK_MONOTONIC, 0, 1000, on_wake, daemon);
	if (r >= 0)
		r = sd_event_source_set_enabled(daemon->wake, SD_EVENT_OFF);
	if (r >= 0)
		r = sd_event_source_set_priority(daemon->wake, SD_EVENT_PRIORITY_IMPORTANT);
	if (r >= 0 && daemon->arrival)
		r = sd_event_add_io(event, NULL, arrival_fd(daemon->arrival), EPOLLIN, on_arrival,
				    daemon);
	if (r >= 0)
		r = sd_event_add_io(event, NULL, reclaim_work_fd(daemon->act.reclaim), EPOLLIN,
				    on_reclaim, daemon);
	if (r >= 0 && daemon->psi_fd >= 0)
		r = sd_event_add_io(event, &daemon->psi, daemon->psi_fd, EPOLLPRI, on_psi, daemon);
	/* Before guests and clients, as the timer is. */
	if (r >= 0 && daemon->psi_fd >= 0)
		r = sd_event_source_set_priority(daemon->psi, SD_EVENT_PRIORITY_IMPORTANT);
	return r;
}
