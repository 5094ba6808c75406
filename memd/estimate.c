// SPDX-License-Identifier: Apache-2.0
/* One run: read, count, look again; see estimate.h. */
#include "memd/estimate.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "memd/estimate_look.h"

#define RUNS_MAX 512U

struct run {
	const struct estimate_options *options;
	struct estimate_eye eye;
	struct estimate_store store;
	struct estimate_tally *tallies; /* n and the total */
	uint64_t *clusters;		/* of each process, read or not */
	int *errors;
	size_t n;
	uint64_t passed; /* pages, of all processes */
	uint8_t *buf;
	uint64_t batch[ESTIMATE_BATCH_PAGES];
	size_t n_batch;
};

/* Read what is in the batch. A page that is gone meanwhile was not there at all. */
static int batch_read(struct run *run, size_t process)
{
	uint64_t content[ESTIMATE_BATCH_PAGES];
	bool there[ESTIMATE_BATCH_PAGES];
	int r = 0;

	if (run->n_batch)
		r = estimate_eye_read(&run->eye, process, run->batch, run->n_batch, run->buf, there,
				      content);
	for (size_t i = 0; i < run->n_batch && r == 0; i++) {
		if (there[i])
			r = estimate_store_add(&run->store, estimate_where(process, run->batch[i]),
					       content[i], content[i] == run->eye.zero);
		else
			run->tallies[process].present--;
	}
	run->n_batch = 0;
	return r;
}

/* More or less of what was planned: the clock of the caller decides. */
static int pace(struct run *run)
{
	double fraction = run->store.fraction;
	int r;

	if (!run->options->pace)
		return 0;
	r = run->options->pace(run->options->ctx, run->passed, &fraction);
	if (r == 0 && fraction < run->store.fraction)
		estimate_store_thin(&run->store, fraction);
	return r;
}

/* The pages of one run, cluster by cluster. */
static int pass_pages(struct run *run, size_t process, const struct estimate_run *pages,
		      uint64_t *last_cluster)
{
	uint64_t end = pages->page + pages->n, stop;
	int r;

	for (uint64_t page = pages->page; page < end; page = stop) {
		uint64_t cluster = estimate_cluster_of(estimate_where(process, page));

		stop = (page | (ESTIMATE_CLUSTER_PAGES - 1)) + 1;
		if (stop > end)
			stop = end;
		if (cluster != *last_cluster)
			run->clusters[process]++;
		*last_cluster = cluster;
		run->tallies[process].present += (double)(stop - page);
		run->passed += stop - page;
		if (!estimate_store_wants(&run->store, cluster))
			continue;
		if (run->n_batch + (stop - page) > ESTIMATE_BATCH_PAGES) {
			r = batch_read(run, process);
			if (r < 0)
				return r;
		}
		for (uint64_t i = page; i < stop; i++)
			run->batch[run->n_batch++] = i;
	}
	return 0;
}

static int pass_process(struct run *run, size_t process)
{
	const struct estimate_source *source = run->eye.source;
	struct estimate_run runs[RUNS_MAX];
	uint64_t from = 0, last_cluster = UINT64_MAX;

	while (from != UINT64_MAX) {
		int n = source->present(source->ctx, process, &from, runs, RUNS_MAX), r = 0;

		if (n < 0)
			return n;
		for (int i = 0; i < n && r == 0; i++)
			r = pass_pages(run, process, &runs[i], &last_cluster);
		/* Read at once: what was present a while ago may be swapped out by then. */
		if (r == 0)
			r = batch_read(run, process);
		if (r < 0)
			return r;
		r = pace(run);
		if (r < 0)
			return r == -ESRCH ? -ECANCELED : r;
	}
	return 0;
}

/* Errors of one process leave it out, all others end the run. */
static bool of_process(int error)
{
	return error == -ESRCH || error == -EACCES || error == -EPERM || error == -EIO ||
	       error == -EFAULT || error == -ENOENT;
}

static int pass(struct run *run)
{
	for (size_t i = 0; i < run->n; i++) {
		int r = pass_process(run, i);

		if (r < 0 && !of_process(r))
			return r;
		if (r < 0) {
			run->errors[i] = r;
			run->n_batch = 0;
			run->tallies[i] = (struct estimate_tally){0};
			run->clusters[i] = 0;
			estimate_store_drop(&run->store, i);
		}
	}
	return 0;
}

static uint64_t bytes(double pages)
{
	return pages <= 0 ? 0 : (uint64_t)(pages * ESTIMATE_PAGE_BYTES + 0.5);
}

static struct estimate_range range(double mid, double low, double high, double most)
{
	low = fmin(fmax(low, 0), most);
	high = fmin(fmax(high, low), most);
	mid = fmin(fmax(mid, low), high);
	return (struct estimate_range){bytes(mid), bytes(low), bytes(high)};
}

/* Nothing seen is not nothing there: what may be missed with one chance in forty. */
static double unseen(const struct estimate_count *count)
{
	double f = count->fraction;

	return f >= 1 ? 0 : 3.7 * ESTIMATE_CLUSTER_PAGES / (f * f);
}

/*
 * What KSM does otherwise than merging all that is equal: pages in flight when it comes by, copies
 * that its chains keep beyond the sharing limit. Measured at full speed: 0.05 % of what it saves.
 */
static double model(double saved)
{
	return saved > 0 ? 16 + 0.003 * saved : 0;
}

/* Half of the interval that the changes seen at the second look add, downwards and upwards. */
static void change_half(const struct estimate_tally *tally, double looked, double changed,
			double *ret_down, double *ret_up)
{
	double dup = tally->saved - tally->zero_saved, low, high, down, up;

	*ret_down = *ret_up = ESTIMATE_Z * estimate_root(tally->lost_variance);
	estimate_wilson(changed, looked, &low, &high);
	down = changed > 0 ? tally->lost * (high * looked / changed - 1) : fmax(0, dup) * high;
	up = changed > 0 ? tally->lost * (1 - low * looked / changed) : 0;
	*ret_down = fmax(*ret_down, down);
	*ret_up = fmax(*ret_up, up);
	estimate_wilson(tally->zero_changed, tally->zero_looked, &low, &high);
	if (tally->zero_looked > 0) {
		double share = tally->zero_changed / tally->zero_looked;

		*ret_down = hypot(*ret_down, tally->zero_saved * (high - share));
		*ret_up = hypot(*ret_up, tally->zero_saved * (share - low));
	}
}

static struct estimate_range zero_range(const struct estimate_count *count,
					const struct estimate_tally *tally)
{
	double share, spread, n = tally->read, low, high, kept;

	if (tally->zeros <= 0 || tally->read <= 0)
		share = 0;
	else
		share = tally->zeros / tally->read;
	kept = share > 0 ? tally->zero_saved / (share * tally->present) : 1;
	/* Wilson's interval for as many independent pages as would vary so much. */
	spread = tally->present > 0 ? tally->zero_variance / (tally->present * tally->present) : 0;
	if (count->fraction >= 1)
		return range(tally->zero_saved, tally->zero_saved, tally->zero_saved,
			     tally->present);
	if (spread > 0 && share > 0 && share < 1)
		n = share * (1 - share) / spread;
	estimate_wilson(share * n, n, &low, &high);
	return range(tally->zero_saved, low * kept * tally->present, high * kept * tally->present,
		     tally->present);
}

static void part_fill(const struct estimate_count *count, const struct estimate_tally *tally,
		      bool twice, uint64_t looked, uint64_t changed, struct estimate_part *part)
{
	double half = ESTIMATE_Z * estimate_root(tally->variance), down = 0, up = 0;
	double bias = count->weights.bias * (tally->present - tally->zero_saved);
	double low = tally->saved - bias - half;
	double high = tally->saved + bias + fmax(half, unseen(count));
	double stable = tally->saved - tally->lost - tally->zero_lost;

	part->present_bytes = bytes(tally->present);
	part->read_bytes = bytes(tally->read);
	if (tally->read <= 0)
		high = tally->present;
	part->saved = range(tally->saved, low, high, tally->present);
	part->zero = zero_range(count, tally);
	if (twice)
		change_half(tally, (double)looked, (double)changed, &down, &up);
	part->stable =
		range(stable, stable - hypot(tally->saved - low, down) - model(stable),
		      stable + hypot(high - tally->saved, up) + model(stable), tally->present);
}

static int finish(struct run *run, struct estimate *out)
{
	const struct estimate_options *options = run->options;
	struct estimate_count count = {.store = &run->store,
				       .n = run->n,
				       .tallies = run->tallies,
				       .max_sharing = options->max_sharing,
				       .use_zero_pages = options->use_zero_pages};
	uint64_t changed = 0;
	int r = estimate_store_sort(&run->store);

	for (size_t i = 0; i < run->n; i++)
		count.clusters += run->clusters[i];
	if (r == 0)
		r = estimate_count(&count);
	if (r == 0 && options->settle) {
		r = options->settle(options->ctx);
		if (r == 0)
			r = estimate_look(&run->eye, &count, &out->looked_pages, &changed);
		out->looked_twice = r == 0;
	}
	if (r < 0)
		return r;
	out->fraction = count.fraction;
	for (size_t i = 0; i <= run->n; i++) {
		struct estimate_part *part = i < run->n ? &out->parts[i] : &out->total;

		part_fill(&count, &run->tallies[i], out->looked_twice, out->looked_pages, changed,
			  part);
		part->error = i < run->n ? run->errors[i] : 0;
	}
	return 0;
}

int estimate_run(const struct estimate_source *source, size_t n,
		 const struct estimate_options *options, struct estimate *ret_estimate)
{
	static const uint8_t zeros[ESTIMATE_PAGE_BYTES];
	AUTO_FREE struct estimate_tally *tallies = estimate_array(n, sizeof(*tallies));
	AUTO_FREE uint64_t *clusters = estimate_array(n, sizeof(*clusters));
	AUTO_FREE int *errors = estimate_array(n, sizeof(*errors));
	AUTO_FREE uint8_t *buf = estimate_array(ESTIMATE_BATCH_PAGES, ESTIMATE_PAGE_BYTES);
	struct run *run = calloc(1, sizeof(*run));
	struct estimate out = {.n = n, .parts = estimate_array(n, sizeof(*out.parts))};
	int r = -ENOMEM;

	if (!(options->fraction > 0 && options->fraction <= 1) || n > ESTIMATE_PROCESSES_MAX)
		r = -EINVAL;
	else if (run && tallies && clusters && errors && buf && out.parts) {
		run->options = options;
		run->eye = (struct estimate_eye){.source = source, .options = options};
		run->eye.zero = estimate_fingerprint(zeros, options->seed);
		run->tallies = tallies;
		run->clusters = clusters;
		run->errors = errors;
		run->buf = buf;
		run->n = n;
		estimate_store_init(&run->store, options->seed, options->fraction,
				    options->max_kept);
		r = pass(run);
		if (r == 0)
			r = finish(run, &out);
		estimate_store_free(&run->store);
	}
	free(run);
	if (r < 0)
		estimate_free(&out);
	else
		*ret_estimate = out;
	return r;
}

void estimate_free(struct estimate *estimate)
{
	free(estimate->parts);
	estimate->parts = NULL;
}
