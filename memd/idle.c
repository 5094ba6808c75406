// SPDX-License-Identifier: Apache-2.0
/* The looks at guests' memory in use, one after the other on a worker; see idle.h. */
#include "memd/idle.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/kfile.h"
#include "memd/damon.h"
#include "memd/footprint.h"
#include "memd/lru_gen.h"
#include "memd/worker.h"
#include "policy/policy.h"

/* What is in use must have been seen for the window, and DAMON's regions have to settle. */
#define WATCH_LEAST_US (2 * DAMON_WINDOW_US - 2 * USEC_PER_SEC)
/* Mappings may have changed. */
#define WATCH_MOST_US  (600 * USEC_PER_SEC)
#define CPU_MOST_PPM   10000 /* of one core */
#define COSTLY_WAIT_US (600 * USEC_PER_SEC)
#define BUSY_WAIT_US   (60 * USEC_PER_SEC)
#define LRU_LEAST_US   DAMON_WINDOW_US

/* The kdamond; the thread's while it works. */
struct watch {
	bool runs, never; /* never: this kernel cannot */
	const char *why;
	size_t n;
	uint64_t ids[DAMON_TARGETS_MAX];
	struct damon_target targets[DAMON_TARGETS_MAX];
	uint64_t since_us;	/* when it began */
	uint64_t wait_until_us; /* not tried before */
	uint64_t cpu_ppm;
	size_t next; /* place of the guest whose turn is next */
	size_t of;   /* guests there were, if it watches all that it could of them; else 0 */
};

struct job {
	int rootfd;
	bool use_damon;
	struct watch *watch;
	struct idle_state state;
	size_t n;
	struct idle_guest guests[];
};

struct idle {
	int rootfd;
	struct worker *worker;
	struct watch watch;
	struct job *done; /* the last one, for its results */
	struct idle_state state;
};

const char *idle_source_name(enum idle_source source)
{
	static const char *const names[] = {
		[IDLE_NONE] = "none", [IDLE_MGLRU] = "mglru", [IDLE_DAMON] = "damon"};

	return names[source];
}

/* ---- generations ---- */

static void look_at_generations(struct job *job)
{
	AUTO_FREE char *text = NULL;
	bool sees_kvm;

	job->state.mglru_why = lru_gen_why_not(job->rootfd);
	if (job->state.mglru_why)
		return;
	if (kfile_read_all(job->rootfd, LRU_GEN_FILE, &text, NULL) < 0) {
		job->state.mglru_why = "/" LRU_GEN_FILE " cannot be read";
		return;
	}
	sees_kvm = lru_gen_sees_kvm(job->rootfd);
	for (size_t i = 0; i < job->n; i++) {
		struct idle_guest *guest = &job->guests[i];
		struct lru_gen_look look;

		if (!guest->cgroup ||
		    (!sees_kvm && footprint_is_kvm(job->rootfd, guest->pid) != 0) ||
		    lru_gen_find(text, guest->cgroup, LRU_LEAST_US, &look) < 0)
			continue;
		guest->source = IDLE_MGLRU;
		guest->hot_bytes = look.hot_bytes;
		guest->window_us = look.window_us;
		guest->age_us = look.age_us;
	}
}

/* ---- DAMON ---- */

static void end_watch(struct job *job, const char *why)
{
	if (job->watch->runs)
		damon_stop(job->rootfd);
	job->watch->runs = false;
	job->watch->n = 0;
	job->watch->why = why;
}

static struct idle_guest *find(struct job *job, uint64_t id, pid_t pid)
{
	for (size_t i = 0; i < job->n; i++)
		if (job->guests[i].guest == id && job->guests[i].pid == pid)
			return &job->guests[i];
	return NULL;
}

/* What the kdamond has seen so far. It ends by itself when all that it watches are gone. */
static void read_watch(struct job *job, uint64_t now_us)
{
	struct watch *watch = job->watch;
	uint64_t hot[DAMON_TARGETS_MAX], cpu_us, span_us = now_us - watch->since_us;

	if (damon_cpu_us(job->rootfd, &cpu_us) < 0) {
		end_watch(job, NULL);
		return;
	}
	if (span_us < WATCH_LEAST_US)
		return;
	watch->cpu_ppm = cpu_us * 1000000 / span_us;
	if (watch->cpu_ppm > CPU_MOST_PPM) {
		end_watch(job, "it took more than 1 % of a processor: tried again later");
		watch->wait_until_us = now_us + COSTLY_WAIT_US;
		return;
	}
	if (damon_read(job->rootfd, watch->targets, watch->n, hot) < 0) {
		end_watch(job, NULL);
		return;
	}
	for (size_t i = 0; i < watch->n; i++) {
		struct idle_guest *guest = find(job, watch->ids[i], watch->targets[i].pid);

		if (!guest)
			continue;
		guest->source = IDLE_DAMON;
		guest->hot_bytes = hot[i];
		guest->window_us = DAMON_WINDOW_US;
		guest->age_us = 0;
	}
}

/* All guests at once, and these still: then it goes on. */
static bool may_go_on(struct job *job, uint64_t now_us)
{
	struct watch *watch = job->watch;
	uint64_t span_us = now_us - watch->since_us;
	size_t there = 0;

	if (!watch->runs)
		return false;
	for (size_t i = 0; i < watch->n; i++)
		there += find(job, watch->ids[i], watch->targets[i].pid) != NULL;
	if (span_us < WATCH_LEAST_US)
		return there > 0;
	return there == watch->n && watch->of == job->n && span_us < WATCH_MOST_US;
}

static void begin_watch(struct job *job, uint64_t now_us)
{
	struct watch *watch = job->watch;
	const char *why = NULL;
	size_t seen;
	int r;

	watch->n = 0;
	for (seen = 0; seen < job->n && watch->n < DAMON_TARGETS_MAX; seen++) {
		const struct idle_guest *guest = &job->guests[(watch->next + seen) % job->n];
		struct damon_target *target = &watch->targets[watch->n];

		if (damon_target_fill(job->rootfd, guest->pid, target) < 0 || !target->n)
			continue;
		watch->ids[watch->n++] = guest->guest;
	}
	watch->next = job->n ? (watch->next + seen) % job->n : 0;
	watch->of = seen == job->n ? seen : 0;
	watch->why = "no guest has memory that it could watch";
	if (!watch->n)
		return;
	r = damon_start(job->rootfd, watch->targets, watch->n, &why);
	watch->runs = r == 0;
	watch->why = why;
	watch->since_us = now_us;
	watch->never = r == -EOPNOTSUPP || r == -ENOENT || r == -EACCES || r == -EPERM;
	watch->wait_until_us = now_us + (r < 0 ? BUSY_WAIT_US : 0);
	if (r < 0)
		watch->n = 0;
	else
		watch->why = NULL;
}

static void look_by_damon(struct job *job)
{
	struct watch *watch = job->watch;
	uint64_t now_us = clock_now_us();

	if (!job->use_damon) {
		bool mine = watch->runs;

		end_watch(job, mine ? "it is not to be used" : watch->why);
		if (!mine && !watch->never)
			damon_look(job->rootfd, &watch->why);
		return;
	}
	if (watch->runs)
		read_watch(job, now_us);
	if (watch->never || now_us < watch->wait_until_us || may_go_on(job, now_us))
		return;
	end_watch(job, NULL);
	begin_watch(job, now_us);
}

static void look(void *arg, const atomic_bool *cancel)
{
	struct job *job = arg;
	struct watch *watch = job->watch;

	look_at_generations(job);
	if (!atomic_load(cancel))
		look_by_damon(job);
	job->state.watches = watch->runs;
	job->state.damon_never = watch->never;
	job->state.watched = watch->n;
	job->state.damon_why = watch->why;
	job->state.cpu_ppm = watch->runs ? watch->cpu_ppm : POL_ABSENT;
}

/* ---- the loop's side ---- */

int idle_open(int rootfd, struct idle **ret_idle)
{
	struct idle *idle = calloc(1, sizeof(*idle));
	int r;

	if (!idle)
		return -ENOMEM;
	idle->rootfd = rootfd;
	idle->watch.cpu_ppm = idle->state.cpu_ppm = POL_ABSENT;
	idle->state.mglru_why = idle->state.damon_why = idle->watch.why = "not looked at yet";
	r = worker_open(look, 0, &idle->worker);
	if (r < 0)
		free(idle);
	else
		*ret_idle = idle;
	return r;
}

void idle_close(struct idle *idle)
{
	void *job = NULL;

	if (!idle)
		return;
	if (idle->state.watches)
		damon_interrupt(idle->rootfd);
	worker_close(idle->worker, &job);
	if (idle->watch.runs)
		damon_stop(idle->rootfd);
	free(job);
	free(idle->done);
	free(idle);
}

int idle_fd(const struct idle *idle)
{
	return worker_fd(idle->worker);
}

int idle_start(struct idle *idle, const struct idle_guest *guests, size_t n, bool use_damon)
{
	size_t text = 0;
	struct job *job;
	char *at;
	int r;

	for (size_t i = 0; i < n; i++)
		text += guests[i].cgroup ? strlen(guests[i].cgroup) + 1 : 0;
	job = malloc(sizeof(*job) + n * sizeof(job->guests[0]) + text);
	if (!job)
		return -ENOMEM;
	*job = (struct job){
		.rootfd = idle->rootfd, .use_damon = use_damon, .watch = &idle->watch, .n = n};
	/* Their cgroups' names behind them. */
	at = (char *)&job->guests[n];
	for (size_t i = 0; i < n; i++) {
		job->guests[i] = guests[i];
		if (!guests[i].cgroup)
			continue;
		job->guests[i].cgroup = at;
		at = stpcpy(at, guests[i].cgroup) + 1;
	}
	r = worker_start(idle->worker, job);
	if (r < 0)
		free(job);
	return r;
}

void idle_done(struct idle *idle)
{
	free(idle->done);
	idle->done = NULL;
}

size_t idle_take(struct idle *idle, const struct idle_guest **ret_guests)
{
	struct job *job = worker_take(idle->worker);

	if (!job)
		return 0;
	idle_done(idle);
	idle->done = job;
	idle->state = job->state;
	*ret_guests = job->guests;
	return job->n;
}

const struct idle_state *idle_state(const struct idle *idle)
{
	return &idle->state;
}
