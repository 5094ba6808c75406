/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of `memctl estimate` share: what was asked, of which processes, what came of it.
 */
#ifndef MEMD_TOOLS_ESTIMATE_H
#define MEMD_TOOLS_ESTIMATE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "memd/estimate.h"
#include "memd/estimate_live.h"
#include "policy/policy.h"
#include "tools/memctl.h"

struct estimate_args {
	bool json, bytes;
	bool marked;	       /* only memory that is marked mergeable now */
	double cpu_percent;    /* of one core, at most */
	double seconds;	       /* to read, at most; 0: as long as it takes */
	double settle_seconds; /* between the two looks; 0: one look */
	uint64_t samples;      /* pages to read; 0: by size */
	uint64_t seed;
	uint64_t rate; /* KSM's, pages a second; 0: only the current one */
};

struct estimate_target {
	pid_t pid;
	char name[POL_NAME_MAX];
	uint32_t domain; /* a number for memd's trust domain of it */
	struct estimate_memory memory;
	uint64_t now_bytes;	 /* what KSM saves for it already; POL_ABSENT: not known */
	uint64_t zero_now_bytes; /* of it, pages that are the kernel\'s zero page now */
	int error;
};

struct estimate_targets {
	struct estimate_target *v;
	size_t n;
	bool by_memd; /* names are those of a running memd */
};

/* KSM as it is set now, as far as the estimate depends on it. */
struct estimate_ksm {
	bool there;
	struct pol_ksm now;
	uint64_t max_sharing;
	bool use_zero_pages, nodes_apart;
	double page_us; /* ksmd's time for one page, measured on this host or assumed */
	bool page_us_measured;
	char reason[192]; /* why nothing is merged now, "" */
};

struct estimate_outcome {
	const struct estimate_args *args;
	const struct estimate_targets *targets;
	const struct estimate_ksm *ksm;
	const struct estimate *estimate;
	double cpu_seconds, seconds; /* the run's own; seconds include the wait between looks */
};

/*
 * The processes meant by words: guests' names or pids; without words all guests of memd, else all
 * processes that run a guest by KVM. Says what is wrong.
 */
enum memctl_exit estimate_targets_find(const struct memctl *ctl, int rootfd, int n, char **words,
				       struct estimate_targets *ret_targets);

void estimate_ksm_read(int rootfd, struct estimate_ksm *ret_ksm);

/* Seconds KSM takes for one pass over so many bytes at pages a second; 0: at its current setting,
 * negative when it has none. */
double estimate_pass_seconds(const struct estimate_ksm *ksm, uint64_t bytes, uint64_t rate);

json_object *estimate_json(const struct estimate_outcome *outcome);
enum memctl_exit estimate_show(const struct estimate_outcome *outcome);

/* Why this process was left out, in an operator's words. */
const char *estimate_error(int error);

#endif
