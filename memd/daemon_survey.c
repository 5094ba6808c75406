// SPDX-License-Identifier: Apache-2.0
/* The expensive looks at guests' processes, by a worker beside the tick: whose turn it is. */
#include <string.h>
#include <sys/epoll.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/size.h"
#include "memd/daemon.h"

#define SURVEY_EVERY_US (60 * USEC_PER_SEC)
#define SURVEY_GAP_US	250000ULL	   /* so far apart on average, of however many guests */
#define SURVEY_MOVED_US (5 * USEC_PER_SEC) /* when its size has changed since */

/* Is the last look out of date: old, or the guest has grown or shrunk by a tenth since? */
static bool is_survey_due(const struct guest *guest, uint64_t now_us)
{
	uint64_t then = guest->survey.resident_bytes, now = guest->foot.resident_bytes;
	uint64_t age_us = now_us - guest->survey_us, every_us = SURVEY_EVERY_US;

	if (every_us < guest->all->n * SURVEY_GAP_US)
		every_us = guest->all->n * SURVEY_GAP_US;
	if (!guest->survey_us || age_us >= every_us ||
	    guest->survey_start_us <= guest->merge_set_us)
		return true;
	if (age_us < SURVEY_MOVED_US || !guest->survey.full || !guest->foot_valid || !pol_has(now))
		return false;
	return (now > then ? now - then : then - now) > then / 10 + 16 * MIB;
}

/* The guest whose last look is oldest and due, NULL: none. */
static struct guest *next_to_survey(struct daemon *daemon, uint64_t now_us)
{
	bool domains = config_has_domains(daemon->config);
	struct guest *oldest = NULL;

	for (size_t i = 0; i < daemon->guests.n; i++) {
		struct guest *guest = daemon->guests.v[i];

		if ((!guest->known && !(domains && guest->listed)) || guest->pid <= 0 ||
		    !is_survey_due(guest, now_us))
			continue;
		if (!oldest || guest->survey_us < oldest->survey_us)
			oldest = guest;
	}
	return oldest;
}

void daemon_survey_next(struct daemon *daemon)
{
	struct guest *guest = next_to_survey(daemon, clock_now_us());

	if (guest)
		survey_start(daemon->survey, guest->id, guest->pid);
}

static int on_survey(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct daemon *daemon = userdata;
	struct survey_result result;
	struct guest *guest;

	(void)source;
	(void)fd;
	(void)revents;
	if (survey_take(daemon->survey, &result) < 0)
		return 0;
	guest = guests_find(&daemon->guests, result.guest);
	if (guest) {
		guest->survey_us = clock_now_us();
		guest->survey_start_us = result.start_us;
		guest->threads = result.threads;
		guest->vhost = result.vhost;
		if (result.error == 0)
			guest->survey = result.footprint;
		else
			log_debug("guest %s: pid %d cannot be looked into: %s", guest->name,
				  (int)guest->pid, strerror(-result.error));
	}
	daemon_survey_next(daemon);
	return 0;
}

int daemon_survey_sources(struct daemon *daemon)
{
	return sd_event_add_io(daemon->event, NULL, survey_fd(daemon->survey), EPOLLIN, on_survey,
			       daemon);
}
