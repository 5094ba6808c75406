// SPDX-License-Identifier: Apache-2.0
/* NUMA beside the tick: where the threads of guests run, and back where they could run before. */
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "memd/daemon.h"
#include "memd/pin.h"
#include "memd/place.h"
#include "memd/vcpus.h"

/* Threads looked at in one tick, at most one guest beyond. */
#define LOOK_THREADS  64
#define CPUS_EVERY_US (60 * USEC_PER_SEC)

void daemon_numa_look(struct daemon *daemon, uint64_t now_us)
{
	int rootfd = host_rootfd(daemon->host);
	size_t threads = 0;

	if (!daemon->cpus_us || now_us - daemon->cpus_us >= CPUS_EVERY_US) {
		int r = nodes_cpus_read(rootfd, &daemon->cpus);

		if (r < 0)
			log_debug("which processors are of which node is not known: %s",
				  strerror(-r));
		daemon->cpus_us = now_us;
	}
	for (size_t i = 0; i < daemon->guests.n && threads < LOOK_THREADS; i++) {
		struct guest *guest = daemon->guests.v[daemon->cpus_next++ % daemon->guests.n];

		if (!guest->known)
			continue;
		vcpus_look(rootfd, guest, &daemon->cpus);
		threads += 1 + guest->cpus.n;
	}
}

void daemon_numa_leave(struct daemon *daemon)
{
	place_cancel(daemon->act.place);
	if (daemon->act.place)
		pin_leave(&daemon->guests, host_rootfd(daemon->host), daemon->act.dir);
}
