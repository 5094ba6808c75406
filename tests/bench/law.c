// SPDX-License-Identifier: Apache-2.0
/*
 * A peer's law (policy/law.h) for real guests: snapshots in, balloon targets out, so that a bench
 * can run it on what it reads itself.
 *
 * usage: law NAME
 * Reads lines, all numbers in bytes and microseconds, -1: not known:
 *   host MEMORY AVAILABLE
 *   guest ID MEMORY MIN ACTUAL TARGET FREE AVAILABLE AGE   in the order of their ids
 *   step NOW
 * and answers each step with lines "ID TARGET" and a last one ".".
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "policy/law.h"

#define GUESTS_MAX 1024

struct scene {
	struct pol_host host;
	struct pol_guest guests[GUESTS_MAX];
};

static int read_guest(struct scene *scene, const char *line)
{
	struct pol_guest *guest = &scene->guests[scene->host.n_guests];

	if (scene->host.n_guests == GUESTS_MAX)
		return -1;
	*guest = (struct pol_guest){
		.shares = 1000,
		.answering = true,
		.has_balloon = true,
		.resident_bytes = POL_ABSENT,
		.swapped_bytes = POL_ABSENT,
	};
	if (sscanf(line,
		   "guest %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64
		   " %" SCNu64 " %" SCNu64,
		   &guest->id, &guest->memory_bytes, &guest->min_bytes, &guest->actual_bytes,
		   &guest->target_bytes, &guest->stat_free_bytes, &guest->stat_available_bytes,
		   &guest->stat_age_us) != 8)
		return -1;
	scene->host.n_guests++;
	return 0;
}

static int step(const struct law *law, void *state, struct scene *scene, uint64_t now_us)
{
	const struct pol_plan *plan;

	scene->host.guests = scene->guests;
	if (law->step(state, &scene->host, now_us, &plan) < 0)
		return -1;
	for (size_t i = 0; i < plan->n_actions; i++)
		if (plan->actions[i].kind == POL_BALLOON)
			printf("%" PRIu64 " %" PRIu64 "\n", plan->actions[i].guest,
			       plan->actions[i].to);
	puts(".");
	return fflush(stdout);
}

int main(int argc, char **argv)
{
	static struct scene scene;
	const struct law *law = argc == 2 ? law_find(argv[1]) : NULL;
	struct pol_config config;
	char line[512];
	void *state;
	int r = 0;

	if (!law) {
		fputs("usage: law NAME\n", stderr);
		return 2;
	}
	pol_config_default(&config);
	state = law->open(&config, GUESTS_MAX);
	if (!state)
		return 1;
	while (r == 0 && fgets(line, sizeof(line), stdin)) {
		uint64_t now_us, memory, available;

		if (sscanf(line, "host %" SCNu64 " %" SCNu64, &memory, &available) == 2) {
			memset(&scene.host, 0, sizeof(scene.host));
			scene.host.memory_bytes = memory;
			scene.host.available_bytes = scene.host.free_bytes = available;
		} else if (sscanf(line, "step %" SCNu64, &now_us) == 1) {
			r = step(law, state, &scene, now_us);
		} else {
			r = read_guest(&scene, line);
		}
	}
	law->close(state);
	if (r != 0)
		fprintf(stderr, "law: %s", line);
	return r != 0;
}
