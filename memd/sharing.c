// SPDX-License-Identifier: Apache-2.0
/*
 * A look at the merged pages of many processes: walk each, sort the frames, ask the kernel of each
 * frame once, count. Everything is in one struct look, so that several may run at a time.
 */
#include "memd/sharing.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/kfile.h"
#include "common/process.h"
#include "memd/host.h"
#include "memd/sharing_frame.h"
#include "memd/sharing_sum.h"
#include "memd/sharing_walk.h"

/* Of 1000: walking takes so much of the time, about; asking of the frames the rest. */
#define WALK_PERMILLE 600
#define TICK_FRAMES   4096 /* between two looks at the clock */

struct look {
	int rootfd;
	const struct sharing_options *options;
	struct sharing *out;
	struct frames frames;
	struct sharing_sum *sum;
	struct sharing_share *shares; /* of one frame, one for each owner at most */
	/* Each of the others, owners from out->n on; the sum takes them together. */
	struct sharing_part *others;
	size_t n_others;
	uint64_t cpu_start_us;
	size_t processes, processes_done;
	size_t mappings_done, frames_done;
};

static int may_go_on(const struct look *look, unsigned int permille)
{
	const struct sharing_options *options = look->options;

	if (options->cancel && atomic_load(options->cancel))
		return -ECANCELED;
	if (options->budget_us && clock_thread_us() - look->cpu_start_us > options->budget_us)
		return -ETIME;
	if (options->progress)
		options->progress(options->ctx, permille);
	return 0;
}

static int on_walk(void *ctx, uint64_t done_pages, uint64_t all_pages)
{
	struct look *look = ctx;
	double done = (double)look->processes_done +
		      (all_pages ? (double)done_pages / (double)all_pages : 1);

	return may_go_on(look, (unsigned int)(done * WALK_PERMILLE / (double)look->processes));
}

/* One process under that owner; only what ends the whole look is returned. */
static int look_at(struct look *look, struct walk *walk, const struct sharing_target *target,
		   uint32_t owner, struct sharing_part *part)
{
	int r = walk_process(walk, target, owner, part);

	look->processes_done++;
	if (r == -EPERM || r == -ENOMEM || r == -ECANCELED || r == -ETIME)
		return r;
	part->error = r;
	return 0;
}

static bool is_target(const struct sharing_target *targets, size_t n, pid_t pid)
{
	for (size_t i = 0; i < n; i++)
		if (targets[i].pid == pid)
			return true;
	return false;
}

/* The other processes that merge, in *ret_others for free(3). */
static int find_others(int rootfd, const struct sharing_target *targets, size_t n,
		       struct sharing_target **ret_others, size_t *ret_n)
{
	AUTO_FREE pid_t *pids = NULL;
	struct sharing_target *others;
	size_t n_pids, found = 0;
	int r = process_list(rootfd, &pids, &n_pids);

	if (r < 0)
		return r;
	others = calloc(n_pids + 1, sizeof(*others));
	if (!others)
		return -ENOMEM;
	for (size_t i = 0; i < n_pids; i++)
		if (!is_target(targets, n, pids[i]) && walk_merges(rootfd, pids[i]))
			others[found++].pid = pids[i];
	*ret_others = others;
	*ret_n = found;
	return 0;
}

static int look_at_all(struct look *look, const struct sharing_target *targets, size_t n)
{
	struct walk walk = {.rootfd = look->rootfd,
			    .frames = &look->frames,
			    .fn = on_walk,
			    .ctx = look,
			    .zero_frame = POL_ABSENT};
	struct sharing_target *others = NULL;
	struct sharing *out = look->out;
	int r = 0;

	if (look->options->others)
		r = find_others(look->rootfd, targets, n, &others, &look->n_others);
	look->others = calloc(look->n_others + 1, sizeof(*look->others));
	if (r == 0 && !look->others)
		r = -ENOMEM;
	look->processes = n + look->n_others;
	for (size_t i = 0; r == 0 && i < n; i++)
		r = look_at(look, &walk, &targets[i], (uint32_t)i, &out->parts[i]);
	for (size_t i = 0; r == 0 && i < look->n_others; i++)
		r = look_at(look, &walk, &others[i], (uint32_t)(n + i), &look->others[i]);
	free(others);
	out->walked_pages = walk.walked_pages;
	return r;
}

static struct sharing_part *part_of(const struct look *look, uint32_t owner)
{
	return owner < look->out->n ? &look->out->parts[owner]
				    : &look->others[owner - look->out->n];
}

/* The mappings are sorted by owner, so that the others come last and together. */
static size_t shares_of(const uint64_t *mappings, size_t n, uint32_t others,
			struct sharing_share *shares)
{
	size_t found = 0;

	for (size_t i = 0; i < n; i++) {
		uint32_t owner = frame_owner(mappings[i]);

		if (owner > others)
			owner = others;
		if (found && shares[found - 1].owner == owner)
			shares[found - 1].pages++;
		else
			shares[found++] = (struct sharing_share){owner, 1};
	}
	return found;
}

static int on_frame(void *ctx, const uint64_t *mappings, size_t n, enum frame_kind kind,
		    uint64_t mappers)
{
	struct look *look = ctx;
	struct sharing *out = look->out;
	size_t n_shares;
	int r = 0;

	look->mappings_done += n;
	if (++look->frames_done % TICK_FRAMES == 0)
		r = may_go_on(look, (unsigned int)(WALK_PERMILLE + look->mappings_done *
									   (1000 - WALK_PERMILLE) /
									   look->frames.n));
	if (r < 0 || kind == FRAME_OTHER)
		return r;
	if (kind == FRAME_ZERO) {
		for (size_t i = 0; i < n; i++)
			part_of(look, frame_owner(mappings[i]))->zero_mapped_pages++;
		return 0;
	}
	/* Each was seen mapped more than once; somebody has let go of it since. */
	if (mappers < n || mappers < 2) {
		out->moved_pages += mappers < n ? n - mappers : 1;
		mappers = n;
	}
	for (size_t i = 0; mappers > 1 && i < n; i++)
		part_of(look, frame_owner(mappings[i]))->shared_pages++;
	n_shares = shares_of(mappings, n, (uint32_t)out->n, look->shares);
	if (look->options->merged && mappers > 1)
		look->options->merged(look->options->ctx, frame_number(mappings[0]), look->shares,
				      n_shares);
	return sharing_sum_add(look->sum, look->shares, n_shares, mappers);
}

static uint64_t kernel_count(int rootfd, const char *path)
{
	uint64_t value;

	return kfile_read_u64(rootfd, path, &value) == 0 ? value : POL_ABSENT;
}

static void kernel_read(int rootfd, struct sharing_kernel *ret_kernel)
{
	AUTO_FREE char *vmstat = NULL;

	ret_kernel->pages_shared = kernel_count(rootfd, "sys/kernel/mm/ksm/pages_shared");
	ret_kernel->pages_sharing = kernel_count(rootfd, "sys/kernel/mm/ksm/pages_sharing");
	ret_kernel->zero_pages = kernel_count(rootfd, "sys/kernel/mm/ksm/ksm_zero_pages");
	ret_kernel->full_scans = kernel_count(rootfd, "sys/kernel/mm/ksm/full_scans");
	if (kfile_read_all(rootfd, "proc/vmstat", &vmstat, NULL) < 0 ||
	    kfile_field_u64(vmstat, "cow_ksm", &ret_kernel->cow_breaks) < 0)
		ret_kernel->cow_breaks = POL_ABSENT;
}

static uint64_t minus(uint64_t a, uint64_t b)
{
	return a > b ? a - b : 0;
}

/* smaps counts all mappings of merged pages; those that are shared are known now. */
static void part_close(struct sharing_part *part)
{
	if (pol_has(part->single_pages))
		part->single_pages = minus(part->single_pages, part->shared_pages);
	if (pol_has(part->zero_pages))
		part->zero_mapped_pages = POL_ABSENT;
}

static void add_known(uint64_t *sum, uint64_t value)
{
	if (pol_has(*sum))
		*sum = pol_has(value) ? *sum + value : POL_ABSENT;
}

static uint64_t known(uint64_t value)
{
	return pol_has(value) ? value : 0;
}

static void others_close(const struct look *look)
{
	struct sharing *out = look->out;
	struct sharing_part *sum = &out->others;

	for (size_t i = 0; i < look->n_others; i++) {
		struct sharing_part *part = &look->others[i];
		uint64_t records = known(part->record_pages), mapped;

		if (part->error)
			continue;
		part_close(part);
		out->n_others++;
		sum->shared_pages += part->shared_pages;
		add_known(&sum->single_pages, part->single_pages);
		add_known(&sum->record_pages, part->record_pages);
		add_known(&sum->zero_pages, part->zero_pages);
		add_known(&sum->zero_mapped_pages, part->zero_mapped_pages);
		add_known(&sum->metadata_bytes, part->metadata_bytes);
		mapped = part->shared_pages + known(part->single_pages);
		out->others_stale_pages += minus(records, mapped);
		out->others_unrecorded_pages += minus(mapped, records);
	}
}

static int look_close(struct look *look)
{
	struct sharing *out = look->out;
	struct sharing_total *totals = calloc(out->n + 2, sizeof(*totals));

	if (!totals)
		return -ENOMEM;
	out->distinct_pages = sharing_sum_close(look->sum, out->page_bytes, totals);
	for (size_t i = 0; i < out->n; i++) {
		part_close(&out->parts[i]);
		out->parts[i].saved_bytes = totals[i].saved_bytes;
		out->parts[i].own_bytes = totals[i].own_bytes;
	}
	others_close(look);
	out->others.saved_bytes = totals[out->n].saved_bytes;
	out->others.own_bytes = totals[out->n].own_bytes;
	out->unknown_pages = totals[out->n + 1].shared_pages;
	out->unknown_saved_bytes = totals[out->n + 1].saved_bytes;
	for (size_t i = 0; i < out->n + 2; i++)
		out->saved_bytes += totals[i].saved_bytes;
	free(totals);
	out->pairs = sharing_sum_take_pairs(look->sum);
	return 0;
}

static int look_run(struct look *look, const struct sharing_target *targets, size_t n)
{
	uint64_t start_us = clock_now_us();
	struct sharing *out = look->out;
	int r;

	kernel_read(look->rootfd, &out->before);
	if (!pol_has(out->before.pages_sharing))
		return -EOPNOTSUPP;
	r = frames_open(look->rootfd, &look->frames);
	if (r == 0)
		r = sharing_sum_new(n, look->options->pairs, &look->sum);
	if (r == 0)
		r = look_at_all(look, targets, n);
	if (r == 0)
		r = frames_sort(&look->frames);
	if (r == 0)
		r = frames_each(&look->frames, on_frame, look);
	kernel_read(look->rootfd, &out->after);
	if (r == 0)
		r = look_close(look);
	out->cpu_us = clock_thread_us() - look->cpu_start_us;
	out->wall_us = clock_now_us() - start_us;
	return r;
}

int sharing_scan(int rootfd, const struct sharing_target *targets, size_t n,
		 const struct sharing_options *options, struct sharing **ret_sharing)
{
	struct look look = {.rootfd = rootfd,
			    .options = options,
			    .frames = {.flags_fd = -1, .count_fd = -1},
			    .cpu_start_us = clock_thread_us()};
	int r = -ENOMEM;

	if (n > SHARING_TARGETS_MAX)
		return -E2BIG;
	look.shares = calloc(n + 1, sizeof(*look.shares));
	look.out = calloc(1, sizeof(*look.out));
	if (look.out) {
		look.out->page_bytes = host_page_bytes();
		look.out->n = n;
		look.out->parts = calloc(n + 1, sizeof(*look.out->parts));
	}
	if (look.shares && look.out && look.out->parts) {
		for (size_t i = 0; i < n; i++) {
			look.out->parts[i].id = targets[i].id;
			look.out->parts[i].pid = targets[i].pid;
		}
		r = look_run(&look, targets, n);
	}
	free(look.shares);
	free(look.others);
	frames_close(&look.frames);
	sharing_sum_free(look.sum);
	if (r == 0)
		*ret_sharing = look.out;
	else
		sharing_free(look.out);
	return r;
}

void sharing_free(struct sharing *sharing)
{
	if (!sharing)
		return;
	free(sharing->parts);
	free(sharing->pairs);
	free(sharing);
}

uint64_t sharing_pair_pages(const struct sharing *sharing, size_t i, size_t j)
{
	size_t low = i < j ? i : j, high = i < j ? j : i;

	if (!sharing->pairs || high > sharing->n)
		return 0;
	return sharing->pairs[low * (sharing->n + 1) + high];
}
