// SPDX-License-Identifier: Apache-2.0
/* The looks at what merging across nodes brings, beside the tick: when, at whom, and what they
 * tell. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/size.h"
#include "memd/daemon.h"
#include "memd/ksm.h"

#define LOOK_EVERY_US (300 * USEC_PER_SEC)
/* An older look counts for nothing. */
#define LOOK_MOST_US (3 * LOOK_EVERY_US)
/* Less than so much merged, or to merge, is not worth a look. */
#define LOOK_LEAST_BYTES (16 * MIB)
/* Merged pages take 16 bytes each to look at; the service may have 256 MiB. */
#define LOOK_MOST_BYTES (128 * MIB / 16 * 4 * KIB)
/* A node is the home of vCPUs that spend so much of their time there. */
#define HOME_PPM 500000

/* Where its vCPUs run, most of them; -1: not known, or here and there. */
static int cpu_node_of(const struct guest *guest)
{
	const struct guest_cpus *cpus = &guest->cpus;

	return cpus->node < 64 && pol_has(cpus->node_ppm) && cpus->node_ppm >= HOME_PPM
		       ? (int)cpus->node
		       : -1;
}

/* Where its memory comes from, KSM apart: what it is bound to, or where its vCPUs run. */
static uint64_t home_of(const struct guest *guest)
{
	const uint64_t *bytes = guest->survey.ram_node_bytes;
	uint64_t most = 0, home = 0;

	if (!guest->survey.full)
		return 0;
	if (pol_has(guest->survey.bound_mask) && guest->survey.bound_mask)
		return guest->survey.bound_mask;
	if (cpu_node_of(guest) >= 0)
		return 1ULL << cpu_node_of(guest);
	for (size_t i = 0; i < POL_NODES_MAX; i++)
		if (pol_has(bytes[i]) && bytes[i] > most) {
			most = bytes[i];
			home = 1ULL << i;
		}
	return home;
}

static uint64_t knob(const struct daemon *daemon, enum ksm_knob knob)
{
	char text[32];

	if (ksm_knob_read(host_ksm(daemon->host), knob, text, sizeof(text)) < 0)
		return 0;
	return strtoull(text, NULL, 10);
}

static void read_look(const struct daemon *daemon, struct across_look *look)
{
	const struct pol_host *host = &daemon->snapshot;

	*look = (struct across_look){
		.across = host->ksm.across_nodes != 0,
		.max_sharing = knob(daemon, KSM_MAX_PAGE_SHARING),
		.use_zero_pages = knob(daemon, KSM_USE_ZERO_PAGES) != 0,
		.shared = pol_has(host->ksm.pages_shared) ? host->ksm.pages_shared : 0,
		.sharing = pol_has(host->ksm.pages_sharing) ? host->ksm.pages_sharing : 0,
	};
	for (size_t i = 0; i < host->n_nodes; i++)
		for (size_t j = 0; j < POL_PLACE_NODES && host->nodes[i].node < POL_NODES_MAX; j++)
			look->distance[host->nodes[i].node][j] = host->nodes[i].distance[j];
}

/* Is there anything to choose, and is it left to memd? */
static bool is_wanted(const struct daemon *daemon)
{
	const struct pol_host *host = &daemon->snapshot;
	const struct pol_config *policy = &daemon->config->policy;

	return policy->merge_across == POL_ACROSS_AUTO && policy->ksm_manage && host->n_nodes > 1 &&
	       host->ksm.present && host->ksm.run < 2 && pol_has(host->ksm.across_nodes) &&
	       !config_has_domains(daemon->config) && !daemon->act.stopped;
}

static bool is_due(const struct daemon *daemon, uint64_t now_us)
{
	return !daemon->across_us || now_us - daemon->across_us >= LOOK_EVERY_US ||
	       daemon->across_look.across != (daemon->snapshot.ksm.across_nodes != 0);
}

void daemon_across_tick(struct daemon *daemon, uint64_t now_us)
{
	struct across_guest guests[GUESTS_MAX];
	struct across_look look;
	uint64_t bytes = 0;
	size_t n = 0;

	if (!daemon->sensed || !is_wanted(daemon) || !is_due(daemon, now_us))
		return;
	read_look(daemon, &look);
	for (size_t i = 0; i < daemon->guests.n; i++) {
		const struct guest *guest = daemon->guests.v[i];
		uint64_t merged = guest->foot.ksm_merging_bytes;

		if (!guest->known || guest->pid <= 0 || !guest->merge_asked || !guest->foot_valid ||
		    !guest->survey.full)
			continue;
		if (!look.across)
			bytes += guest->survey.mergeable_bytes;
		else if (pol_has(merged))
			bytes += merged;
		guests[n++] = (struct across_guest){.id = guest->id,
						    .starttime = guest->starttime,
						    .pid = guest->pid,
						    .home = home_of(guest),
						    .cpu_node = cpu_node_of(guest)};
	}
	if (bytes < LOOK_LEAST_BYTES || (look.across && bytes > LOOK_MOST_BYTES))
		return;
	across_start(daemon->across, &look, guests, n);
}

static int on_across(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct daemon *daemon = userdata;
	struct across_result result;

	(void)source;
	(void)fd;
	(void)revents;
	if (across_take(daemon->across, &result) < 0)
		return 0;
	free(daemon->across_look.far);
	daemon->across_look = result;
	daemon->across_us = clock_now_us();
	if (result.error)
		log_debug("what merging across nodes brings cannot be looked at: %s",
			  strerror(-result.error));
	else
		log_debug("merging across nodes: %s more than within them, looked at for %llu ms",
			  SIZE_TEXT(result.gain_bytes),
			  (unsigned long long)(result.took_us / 1000));
	return 0;
}

void daemon_across_snapshot(struct daemon *daemon, uint64_t now_us)
{
	const struct across_result *look = &daemon->across_look;
	struct pol_ksm *ksm = &daemon->snapshot.ksm;
	bool holds = daemon->across_us && !look->error &&
		     now_us - daemon->across_us < LOOK_MOST_US &&
		     look->across == (ksm->across_nodes != 0);
	size_t at = 0;

	ksm->across_gain_bytes = holds ? look->gain_bytes : POL_ABSENT;
	for (size_t i = 0; i < daemon->snapshot.n_guests; i++) {
		struct pol_guest *guest = &daemon->snapshot_guests[i];

		while (holds && at < look->n && look->far[at].id < guest->id)
			at++;
		guest->far_bytes = holds && at < look->n && look->far[at].id == guest->id
					   ? look->far[at].far_bytes
					   : POL_ABSENT;
	}
}

json_object *daemon_across_json(const struct daemon *daemon)
{
	return across_json(daemon->config, &daemon->merge.across, daemon->snapshot.ksm.across_nodes,
			   daemon->across_us ? &daemon->across_look : NULL, daemon->across_us);
}

int daemon_across_sources(struct daemon *daemon)
{
	return sd_event_add_io(daemon->event, NULL, across_fd(daemon->across), EPOLLIN, on_across,
			       daemon);
}
