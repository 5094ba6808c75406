// SPDX-License-Identifier: Apache-2.0
/*
 * memctl estimate: what KSM would save, before it is switched on. It looks at processes itself and
 * needs no daemon.
 */
#include "tools/estimate.h"

#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/kfile.h"
#include "common/log.h"

/* Up to 1 GiB all is read; of more so much that 8 GiB cost less than a second of a core. */
#define READ_ALL_PAGES 262144.0
#define READ_PART      0.36
#define PROGRESS_US    (2 * USEC_PER_SEC)
#define PROGRESS_EVERY (USEC_PER_SEC / 5)
#define CPU_PERCENT    25
#define SETTLE_SECONDS 5

/* Keeps the reading within its limits and shows how far it is. */
struct pacer {
	const struct estimate_args *args;
	double pages; /* expected */
	uint64_t begin_us, shown_us;
	double cpu_begin;
	uint64_t last_us, last_pages;
	bool terminal, shown;
};

static double cpu_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void sleep_seconds(double seconds)
{
	struct timespec ts = {.tv_sec = (time_t)seconds,
			      .tv_nsec = (long)((seconds - floor(seconds)) * 1e9)};

	while (seconds > 0 && nanosleep(&ts, &ts) < 0 && errno == EINTR)
		;
}

static void progress(struct pacer *pacer, const char *what, double part)
{
	uint64_t now = clock_now_us();

	if (!pacer->terminal || now - pacer->begin_us < PROGRESS_US ||
	    now - pacer->shown_us < PROGRESS_EVERY)
		return;
	fprintf(stderr, "\r%s %3.0f%%", what, fmin(1, part) * 100);
	fflush(stderr);
	pacer->shown_us = now;
	pacer->shown = true;
}

static void progress_end(const struct pacer *pacer)
{
	if (pacer->shown)
		fputs("\r\033[K", stderr);
}

/* Less, if what is left would take longer at the pace of late than there is time. */
static void keep_to_seconds(const struct pacer *pacer, uint64_t now_us, uint64_t passed,
			    double *fraction)
{
	double left = pacer->args->seconds - (double)(now_us - pacer->begin_us) / 1e6;
	double took = (double)(now_us - pacer->last_us) / 1e6;
	double pages = pacer->pages - (double)passed;

	if (pacer->args->seconds <= 0 || passed <= pacer->last_pages || pages <= 0)
		return;
	took *= pages / (double)(passed - pacer->last_pages);
	if (took > left)
		*fraction = fmax(*fraction * fmax(left, 0) / took, 0.001);
}

static int pace(void *ctx, uint64_t passed, double *fraction)
{
	struct pacer *pacer = ctx;
	double used = cpu_now() - pacer->cpu_begin;
	double due = used * 100 / pacer->args->cpu_percent;
	uint64_t now = clock_now_us();

	sleep_seconds(due - (double)(now - pacer->begin_us) / 1e6);
	now = clock_now_us();
	keep_to_seconds(pacer, now, passed, fraction);
	progress(pacer, "reading", (double)passed / fmax(pacer->pages, 1));
	pacer->last_us = now;
	pacer->last_pages = passed;
	return 0;
}

static int settle(void *ctx)
{
	struct pacer *pacer = ctx;
	uint64_t whole = (uint64_t)(pacer->args->settle_seconds * USEC_PER_SEC);
	uint64_t begin = clock_now_us(), past = 0;

	while (past < whole) {
		progress(pacer, "waiting for the second look", (double)past / (double)whole);
		sleep_seconds(fmin((double)(whole - past) / USEC_PER_SEC, 0.25));
		past = clock_now_us() - begin;
	}
	return 0;
}

static double fraction_of(const struct estimate_args *args, double pages)
{
	if (pages <= 0)
		return 1;
	if (args->samples)
		return fmin(1, fmax((double)args->samples / pages, 1e-4));
	return fmin(1, fmax(READ_PART, READ_ALL_PAGES / pages));
}

/* Make room for the targets in a source; those that cannot be looked into keep their error. */
static int add_targets(const struct estimate_args *args, struct estimate_targets *targets,
		       struct estimate_live *live, uint32_t *domains, double *ret_pages)
{
	size_t n = 0;
	uint64_t bytes = 0;

	for (size_t i = 0; i < targets->n; i++) {
		struct estimate_target *target = &targets->v[i];

		target->error = estimate_live_add(live, target->pid, args->marked, &target->memory);
		if (target->error == -ENOMEM)
			return -ENOMEM;
		if (target->error < 0) {
			log_err("%s (pid %d): %s", target->name, (int)target->pid,
				estimate_error(target->error));
			continue;
		}
		bytes += target->memory.marked_bytes;
		bytes += args->marked ? 0 : target->memory.unmarked_bytes;
		domains[n] = target->domain;
		targets->v[n++] = *target;
	}
	targets->n = n;
	*ret_pages = (double)bytes / ESTIMATE_PAGE_BYTES;
	return 0;
}

/*
 * Zero pages that KSM has replaced already (use_zero_pages) are not anonymous any more and were
 * passed over: they are saved and stay so.
 */
static void add_replaced(const struct estimate_targets *targets, struct estimate *estimate)
{
	for (size_t i = 0; i < targets->n; i++) {
		struct estimate_part *parts[] = {&estimate->parts[i], &estimate->total};
		uint64_t bytes = targets->v[i].zero_now_bytes;

		for (size_t k = 0; k < 2 && !parts[0]->error; k++) {
			struct estimate_range *ranges[] = {&parts[k]->saved, &parts[k]->stable,
							   &parts[k]->zero};

			parts[k]->present_bytes += bytes;
			for (size_t j = 0; j < ARRAY_SIZE(ranges); j++) {
				ranges[j]->bytes += bytes;
				ranges[j]->low_bytes += bytes;
				ranges[j]->high_bytes += bytes;
			}
		}
	}
}

static enum memctl_exit run(const struct estimate_args *args, struct estimate_targets *targets,
			    struct estimate_live *live, int rootfd)
{
	AUTO_FREE uint32_t *domains = estimate_array(targets->n, sizeof(*domains));
	struct pacer pacer = {.args = args,
			      .begin_us = clock_now_us(),
			      .cpu_begin = cpu_now(),
			      .terminal = isatty(STDERR_FILENO)};
	struct estimate_options options = {.seed = args->seed,
					   .domains = domains,
					   .ctx = &pacer,
					   .pace = pace,
					   .settle = args->settle_seconds > 0 ? settle : NULL};
	struct estimate_outcome outcome = {.args = args, .targets = targets};
	struct estimate_source source;
	struct estimate_ksm ksm;
	struct estimate estimate;
	enum memctl_exit status;
	int r = domains ? add_targets(args, targets, live, domains, &pacer.pages) : -ENOMEM;

	if (r == 0 && targets->n == 0)
		return MEMCTL_FAILED; /* said why */
	pacer.last_us = clock_now_us();
	estimate_ksm_read(rootfd, &ksm);
	options.max_sharing = ksm.max_sharing;
	options.use_zero_pages = ksm.use_zero_pages;
	options.fraction = fraction_of(args, pacer.pages);
	estimate_live_source(live, ksm.nodes_apart, &source);
	if (r == 0)
		r = estimate_run(&source, targets->n, &options, &estimate);
	progress_end(&pacer);
	if (r < 0) {
		log_err("cannot estimate: %s", strerror(-r));
		return MEMCTL_FAILED;
	}
	add_replaced(targets, &estimate);
	outcome.ksm = &ksm;
	outcome.estimate = &estimate;
	outcome.cpu_seconds = cpu_now() - pacer.cpu_begin;
	outcome.seconds = (double)(clock_now_us() - pacer.begin_us) / 1e6;
	status = MEMCTL_OK;
	if (args->json) {
		AUTO_JSON json_object *document = estimate_json(&outcome);

		memctl_print_json(document);
	} else {
		status = estimate_show(&outcome);
	}
	estimate_free(&estimate);
	return status;
}

/* ---- options ---- */

static bool parse_number(const char *option, const char *text, double min, double max,
			 double *ret_value)
{
	char *end;
	double value = strtod(text, &end);

	if (*end || end == text || !(value >= min && value <= max)) {
		log_err("%s %s: expected a number from %g to %g", option, text, min, max);
		return false;
	}
	*ret_value = value;
	return true;
}

static bool parse_whole(const char *option, const char *text, uint64_t min, uint64_t *ret_value)
{
	char *end;
	unsigned long long value;

	errno = 0;
	value = strtoull(text, &end, 10);
	if (*end || end == text || text[0] == '-' || errno || value < min) {
		log_err("%s %s: expected a whole number from %llu", option, text,
			(unsigned long long)min);
		return false;
	}
	*ret_value = value;
	return true;
}

static bool parse_args(const struct memctl *ctl, int argc, char **argv,
		       struct estimate_args *ret_args)
{
	enum {
		OPT_JSON = 256,
		OPT_BYTES,
		OPT_CPU,
		OPT_SECONDS,
		OPT_SETTLE,
		OPT_SAMPLES,
		OPT_SEED,
		OPT_RATE,
		OPT_MARKED
	};
	static const struct option longs[] = {
		{"json", no_argument, NULL, OPT_JSON},
		{"bytes", no_argument, NULL, OPT_BYTES},
		{"cpu", required_argument, NULL, OPT_CPU},
		{"seconds", required_argument, NULL, OPT_SECONDS},
		{"settle", required_argument, NULL, OPT_SETTLE},
		{"samples", required_argument, NULL, OPT_SAMPLES},
		{"seed", required_argument, NULL, OPT_SEED},
		{"rate", required_argument, NULL, OPT_RATE},
		{"marked", no_argument, NULL, OPT_MARKED},
		{0},
	};
	struct estimate_args args = {.json = ctl->json,
				     .bytes = ctl->bytes,
				     .cpu_percent = CPU_PERCENT,
				     .settle_seconds = SETTLE_SECONDS,
				     .seed = clock_now_us()};
	bool ok = true;
	int c;

	optind = 0; /* glibc: begin anew */
	while (ok && (c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		switch (c) {
		case OPT_JSON:
			args.json = true;
			break;
		case OPT_BYTES:
			args.bytes = true;
			break;
		case OPT_CPU:
			ok = parse_number("--cpu", optarg, 0.1, 100, &args.cpu_percent);
			break;
		case OPT_SECONDS:
			ok = parse_number("--seconds", optarg, 0.1, 1e6, &args.seconds);
			break;
		case OPT_SETTLE:
			ok = parse_number("--settle", optarg, 0, 1e6, &args.settle_seconds);
			break;
		case OPT_SAMPLES:
			ok = parse_whole("--samples", optarg, 1, &args.samples);
			break;
		case OPT_SEED:
			ok = parse_whole("--seed", optarg, 0, &args.seed);
			break;
		case OPT_RATE:
			ok = parse_whole("--rate", optarg, 1, &args.rate);
			break;
		case OPT_MARKED:
			args.marked = true;
			break;
		default:
			fputs("Try `memctl --help`.\n", stderr);
			ok = false;
		}
	}
	*ret_args = args;
	return ok;
}

enum memctl_exit memctl_estimate(const struct memctl *ctl, int argc, char **argv)
{
	AUTO_FD int rootfd = kfile_open_root("/");
	struct estimate_targets targets = {0};
	struct estimate_live *live = NULL;
	struct estimate_args args;
	enum memctl_exit status;
	int r;

	if (!parse_args(ctl, argc, argv, &args))
		return MEMCTL_USAGE;
	r = rootfd < 0 ? rootfd : estimate_live_open(rootfd, &live);
	if (r < 0) {
		log_err("cannot estimate: %s", strerror(-r));
		return MEMCTL_FAILED;
	}
	status = estimate_targets_find(ctl, rootfd, argc - optind, argv + optind, &targets);
	if (status == MEMCTL_OK)
		status = run(&args, &targets, live, rootfd);
	free(targets.v);
	estimate_live_close(live);
	return status;
}
