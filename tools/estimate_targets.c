// SPDX-License-Identifier: Apache-2.0
/* Which processes `memctl estimate` looks at, and how KSM is set. */
#include "tools/estimate.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "common/process.h"
#include "memd/footprint.h"
#include "memd/host.h"
#include "memd/ksm.h"
#include "memd/process.h"

/* ksmd's time for a page that it compares, where this host has not shown it yet. */
#define PAGE_US_ASSUMED	 2.5
#define PAGE_US_MEASURED 100000U /* pages scanned before the host's own figure is used */

const char *estimate_error(int error)
{
	switch (error) {
	case -ESRCH:
	case -ENOENT:
		return "it has ended, or has no memory of its own";
	case -EACCES:
	case -EPERM:
		return "not allowed to read its memory; run as root (or with CAP_SYS_PTRACE)";
	case -EIO:
		return "/proc does not describe its memory as expected";
	default:
		return strerror(-error);
	}
}

static bool add(struct estimate_targets *targets, pid_t pid, const char *name, uint32_t domain)
{
	struct estimate_target *more, *target;

	for (size_t i = 0; i < targets->n; i++)
		if (targets->v[i].pid == pid)
			return true;
	if (targets->n == ESTIMATE_PROCESSES_MAX) {
		log_err("more than %u processes", ESTIMATE_PROCESSES_MAX);
		return false;
	}
	more = reallocarray(targets->v, targets->n + 1, sizeof(*more));
	if (!more) {
		log_err("out of memory");
		return false;
	}
	targets->v = more;
	target = &more[targets->n++];
	*target = (struct estimate_target){.pid = pid, .domain = domain, .now_bytes = POL_ABSENT};
	snprintf(target->name, sizeof(target->name), "%s", name);
	return true;
}

/* ---- memd's guests ---- */

/* Domains are told apart by number: that of the first guest with the same one. */
static uint32_t domain_of(json_object *guests, json_object *guest)
{
	const char *domain = json_get_str(guest, "domain");

	for (size_t i = 0; domain && i < json_object_array_length(guests); i++) {
		const char *other = json_get_str(json_object_array_get_idx(guests, i), "domain");

		if (other && !strcmp(domain, other))
			return (uint32_t)i + 1;
	}
	return 0;
}

/* name NULL: all of them. 1: found one, 0: none, -1: failed (said). */
static int add_guests(struct estimate_targets *targets, json_object *guests, const char *name)
{
	int found = 0;

	for (size_t i = 0; guests && i < json_object_array_length(guests); i++) {
		json_object *guest = json_object_array_get_idx(guests, i);
		const char *its = json_get_str(guest, "name");
		uint64_t pid;

		if (!its || !json_get_u64(guest, "pid", &pid) || (name && strcmp(its, name) != 0))
			continue;
		if (!add(targets, (pid_t)pid, its, domain_of(guests, guest)))
			return -1;
		found = 1;
	}
	return found;
}

/* ---- any process ---- */

static bool parse_pid(const char *word, pid_t *ret_pid)
{
	char *end;
	long pid = strtol(word, &end, 10);

	if (*end || end == word || pid < 1 || pid > 4194304 /* PID_MAX_LIMIT */)
		return false;
	*ret_pid = (pid_t)pid;
	return true;
}

static bool add_process(struct estimate_targets *targets, int rootfd, pid_t pid)
{
	char name[POL_NAME_MAX];

	process_name(rootfd, pid, name, sizeof(name));
	return add(targets, pid, name, 0);
}

static bool add_kvm(struct estimate_targets *targets, int rootfd)
{
	AUTO_FREE pid_t *pids = NULL;
	size_t n;
	int r = process_list(rootfd, &pids, &n);

	if (r < 0) {
		log_err("/proc: %s", strerror(-r));
		return false;
	}
	for (size_t i = 0; i < n; i++)
		if (footprint_is_kvm(rootfd, pids[i]) == 1 &&
		    !add_process(targets, rootfd, pids[i]))
			return false;
	return true;
}

static enum memctl_exit add_word(struct estimate_targets *targets, int rootfd, const char *word,
				 json_object *guests)
{
	int found = add_guests(targets, guests, word);
	pid_t pid;

	if (found < 0)
		return MEMCTL_FAILED;
	if (found)
		return MEMCTL_OK;
	if (parse_pid(word, &pid))
		return add_process(targets, rootfd, pid) ? MEMCTL_OK : MEMCTL_FAILED;
	if (guests)
		log_err("memd has no guest '%s'; `memctl guests` lists them", word);
	else
		log_err("no memd runs here that could know a guest '%s'; give the pid of its "
			"process",
			word);
	return MEMCTL_FAILED;
}

/* What KSM saves for it: its merged pages less its part of the copies that are kept. */
static void now_fill(int rootfd, const struct pol_ksm *ksm, struct estimate_target *target)
{
	struct footprint foot;
	double merged;

	if (!pol_has(ksm->pages_sharing) || footprint_quick(rootfd, target->pid, &foot) < 0 ||
	    !pol_has(foot.ksm_merging_bytes))
		return;
	merged = (double)ksm->pages_shared + (double)ksm->pages_sharing;
	target->zero_now_bytes = pol_has(foot.ksm_zero_bytes) ? foot.ksm_zero_bytes : 0;
	target->now_bytes = target->zero_now_bytes;
	if (merged > 0)
		target->now_bytes += (uint64_t)((double)foot.ksm_merging_bytes *
						(double)ksm->pages_sharing / merged);
}

enum memctl_exit estimate_targets_find(const struct memctl *ctl, int rootfd, int n, char **words,
				       struct estimate_targets *ret_targets)
{
	AUTO_JSON json_object *answer = NULL;
	struct estimate_targets targets = {0};
	struct estimate_ksm ksm;
	enum memctl_exit status = MEMCTL_OK;
	json_object *guests;

	memctl_ask(ctl, "query-guests", &answer); /* without memd: only processes */
	guests = json_get_array(answer, "guests");
	targets.by_memd = answer;
	for (int i = 0; i < n && status == MEMCTL_OK; i++)
		status = add_word(&targets, rootfd, words[i], guests);
	if (n == 0 && add_guests(&targets, guests, NULL) < 0)
		status = MEMCTL_FAILED;
	if (n == 0 && targets.n == 0 && status == MEMCTL_OK && !add_kvm(&targets, rootfd))
		status = MEMCTL_FAILED;
	if (status == MEMCTL_OK && targets.n == 0) {
		log_err("no guests here: memd knows none and no process %s; name processes by "
			"their pids",
			geteuid() == 0 ? "has a KVM machine open"
				       : "that may be looked into (not root) has a KVM machine "
					 "open");
		status = MEMCTL_FAILED;
	}
	if (status != MEMCTL_OK) {
		free(targets.v);
		return status;
	}
	estimate_ksm_read(rootfd, &ksm);
	for (size_t i = 0; i < targets.n; i++)
		now_fill(rootfd, &ksm.now, &targets.v[i]);
	*ret_targets = targets;
	return MEMCTL_OK;
}

/* ---- KSM ---- */

static uint64_t knob(const struct ksm *ksm, enum ksm_knob knob, uint64_t absent)
{
	char text[32], *end;
	unsigned long long value;

	if (ksm_knob_read(ksm, knob, text, sizeof(text)) < 0)
		return absent;
	value = strtoull(text, &end, 10);
	return end == text || *end ? absent : value;
}

static void reason_fill(const struct ksm *ksm, struct estimate_ksm *out)
{
	if (!out->there)
		snprintf(out->reason, sizeof(out->reason), "%s",
			 ksm_has(ksm, KSM_RUN) && ksm_reason(ksm)
				 ? ksm_reason(ksm)
				 : "this kernel has no KSM (built without CONFIG_KSM): nothing can "
				   "be saved before it has");
	else if (out->now.run != 1)
		snprintf(out->reason, sizeof(out->reason),
			 "KSM does not run now: memd runs it, or `echo 1 > "
			 "/sys/kernel/mm/ksm/run`");
}

void estimate_ksm_read(int rootfd, struct estimate_ksm *ret_ksm)
{
	struct estimate_ksm out = {.page_us = PAGE_US_ASSUMED, .max_sharing = 256};
	struct ksm *ksm = NULL;
	uint64_t scanned;

	if (ksm_open(rootfd, &ksm) < 0) {
		*ret_ksm = out;
		return;
	}
	ksm_sense(ksm, &out.now);
	out.there = ksm_has(ksm, KSM_RUN) && pol_has(out.now.run) &&
		    pol_has(out.now.pages_sharing) && pol_has(out.now.pages_shared);
	if (out.there) {
		out.max_sharing = knob(ksm, KSM_MAX_PAGE_SHARING, 0);
		out.use_zero_pages = knob(ksm, KSM_USE_ZERO_PAGES, 0) != 0;
		out.nodes_apart = knob(ksm, KSM_MERGE_ACROSS_NODES, 1) == 0;
	}
	scanned = out.now.pages_scanned;
	if (pol_has(scanned) && pol_has(out.now.cpu_us) && scanned >= PAGE_US_MEASURED &&
	    out.now.cpu_us > 0) {
		out.page_us = (double)out.now.cpu_us / (double)scanned;
		out.page_us_measured = true;
	}
	reason_fill(ksm, &out);
	ksm_close(ksm);
	*ret_ksm = out;
}

double estimate_pass_seconds(const struct estimate_ksm *ksm, uint64_t bytes, uint64_t rate)
{
	double pages = (double)bytes / ESTIMATE_PAGE_BYTES;

	if (rate)
		return pages / (double)rate;
	if (!ksm->there || !pol_has(ksm->now.pages_to_scan) || !pol_has(ksm->now.sleep_ms) ||
	    ksm->now.pages_to_scan == 0)
		return -1;
	return pages / (double)ksm->now.pages_to_scan * (double)ksm->now.sleep_ms / 1000 +
	       pages * ksm->page_us / 1e6;
}
