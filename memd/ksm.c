// SPDX-License-Identifier: Apache-2.0
/*
 * KSM's files, kept open and read every tick. One that holds something else than a number, or that
 * no kernel can show, turns the whole of KSM into "not present", with the file's name as the
 * reason: half a picture would lead the policy to wrong prices.
 */
#include "memd/ksm.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/kfile.h"
#include "common/ksmd.h"
#include "common/process.h"
#include "memd/kept.h"
#include "memd/manager.h"

#define KSM_DIR KSM_PATH "/"

static const char *const knob_paths[KSM_KNOB_COUNT] = {
	[KSM_RUN] = KSM_DIR "run",
	[KSM_PAGES_TO_SCAN] = KSM_DIR "pages_to_scan",
	[KSM_SLEEP_MILLISECS] = KSM_DIR "sleep_millisecs",
	[KSM_ADVISOR_MODE] = KSM_DIR "advisor_mode",
	[KSM_ADVISOR_TARGET_SCAN_TIME] = KSM_DIR "advisor_target_scan_time",
	[KSM_ADVISOR_MAX_CPU] = KSM_DIR "advisor_max_cpu",
	[KSM_SMART_SCAN] = KSM_DIR "smart_scan",
	[KSM_USE_ZERO_PAGES] = KSM_DIR "use_zero_pages",
	[KSM_MERGE_ACROSS_NODES] = KSM_DIR "merge_across_nodes",
	[KSM_MAX_PAGE_SHARING] = KSM_DIR "max_page_sharing",
};

/* What is read every tick. Those that every kernel with KSM has are required. */
static const struct counter {
	const char *path;
	size_t offset;
	bool required;
	enum { SETTING, PAGES, TOTAL } kind; /* a total only rises */
} counters[] = {
	{KSM_DIR "run", offsetof(struct pol_ksm, run), true, SETTING},
	{KSM_DIR "pages_to_scan", offsetof(struct pol_ksm, pages_to_scan), true, SETTING},
	{KSM_DIR "sleep_millisecs", offsetof(struct pol_ksm, sleep_ms), true, SETTING},
	{KSM_DIR "pages_shared", offsetof(struct pol_ksm, pages_shared), true, PAGES},
	{KSM_DIR "pages_sharing", offsetof(struct pol_ksm, pages_sharing), true, PAGES},
	{KSM_DIR "pages_unshared", offsetof(struct pol_ksm, pages_unshared), true, PAGES},
	{KSM_DIR "pages_volatile", offsetof(struct pol_ksm, pages_volatile), true, PAGES},
	{KSM_DIR "full_scans", offsetof(struct pol_ksm, full_scans), true, TOTAL},
	{KSM_DIR "ksm_zero_pages", offsetof(struct pol_ksm, zero_pages), false, PAGES},
	{KSM_DIR "pages_scanned", offsetof(struct pol_ksm, pages_scanned), false, TOTAL},
	{KSM_DIR "pages_skipped", offsetof(struct pol_ksm, pages_skipped), false, TOTAL},
	{KSM_DIR "merge_across_nodes", offsetof(struct pol_ksm, across_nodes), false, SETTING},
};

/* More pages than x86-64 can address. */
#define PAGES_MOST (1ULL << 40)
/* Looks for which a counter that went back is held against the rest. */
#define DISTRUST_LOOKS 60

struct ksm {
	int rootfd;
	int fds[ARRAY_SIZE(counters)]; /* -errno of open(2) where it could not be opened */
	int vmstat_fd, ksmd_fd;
	uint64_t us_per_tick;
	bool has[KSM_KNOB_COUNT];
	int writable; /* 0 or the -errno of asking */
	uint64_t last[ARRAY_SIZE(counters)];
	unsigned int distrust; /* looks left */
	char reason[192], back[192];
};

const char *ksm_knob_path(enum ksm_knob knob)
{
	return knob_paths[knob];
}

const char *ksm_knob_name(enum ksm_knob knob)
{
	return knob_paths[knob] + strlen(KSM_DIR);
}

/* /proc/PID/stat of the kernel thread. */
static int ksmd_open(int rootfd)
{
	pid_t pid = ksmd_find(rootfd);
	char path[64];

	if (pid < 0)
		return pid;
	snprintf(path, sizeof(path), "proc/%d/stat", (int)pid);
	return kept_open(rootfd, path);
}

int ksm_open(int rootfd, struct ksm **ret_ksm)
{
	struct ksm *ksm = calloc(1, sizeof(*ksm));
	long hz = sysconf(_SC_CLK_TCK);

	if (!ksm)
		return -ENOMEM;
	ksm->rootfd = rootfd;
	ksm->us_per_tick = USEC_PER_SEC / (hz > 0 ? (uint64_t)hz : 100);
	for (size_t i = 0; i < ARRAY_SIZE(counters); i++)
		ksm->fds[i] = kept_open(rootfd, counters[i].path);
	for (size_t i = 0; i < KSM_KNOB_COUNT; i++)
		ksm->has[i] = faccessat(rootfd, knob_paths[i], F_OK, 0) == 0;
	/* access(2) answers EROFS for a read-only /sys too, which root's permissions do not show */
	ksm->writable = faccessat(rootfd, knob_paths[KSM_RUN], W_OK, AT_EACCESS) < 0 ? -errno : 0;
	ksm->vmstat_fd = kept_open(rootfd, "proc/vmstat");
	ksm->ksmd_fd = ksm->has[KSM_RUN] ? ksmd_open(rootfd) : -ENOENT;
	snprintf(ksm->reason, sizeof(ksm->reason), "not looked at yet");
	*ret_ksm = ksm;
	return 0;
}

void ksm_close(struct ksm *ksm)
{
	if (!ksm)
		return;
	for (size_t i = 0; i < ARRAY_SIZE(counters); i++)
		cleanup_fd(&ksm->fds[i]);
	cleanup_fd(&ksm->vmstat_fd);
	cleanup_fd(&ksm->ksmd_fd);
	free(ksm);
}

/* utime + stime of ksmd (fields 14 and 15 of proc_pid_stat(5)), microseconds. */
static uint64_t ksmd_cpu_us(const struct ksm *ksm)
{
	unsigned long long utime, stime;
	const char *rest;
	char stat[1024];

	if (kept_read(ksm->ksmd_fd, stat, sizeof(stat)) < 0)
		return POL_ABSENT;
	rest = process_stat_after_comm(stat);
	if (!rest || sscanf(rest, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu", &utime,
			    &stime) != 2)
		return POL_ABSENT;
	return (utime + stime) * ksm->us_per_tick;
}

static void reason_set(struct ksm *ksm, const char *path, int error)
{
	if (error == -ENOENT && !ksm->has[KSM_RUN])
		snprintf(ksm->reason, sizeof(ksm->reason),
			 "this kernel has no KSM (built without CONFIG_KSM): no /%srun", KSM_DIR);
	else if (error == -ENOENT)
		snprintf(ksm->reason, sizeof(ksm->reason), "/%s is missing", path);
	else if (error == -EINVAL)
		snprintf(ksm->reason, sizeof(ksm->reason), "/%s does not hold a number", path);
	else
		snprintf(ksm->reason, sizeof(ksm->reason), "/%s cannot be read: %s", path,
			 strerror(-error));
}

static void __attribute__((format(printf, 3, 4)))
distrust(struct ksm *ksm, struct pol_ksm *out, const char *fmt, ...)
{
	va_list ap;

	if (!out->present)
		return;
	out->present = false;
	va_start(ap, fmt);
	vsnprintf(ksm->reason, sizeof(ksm->reason), fmt, ap);
	va_end(ap);
}

/* What no kernel can show: then these are not its numbers, whoever made them. */
static void check_sense(struct ksm *ksm, struct pol_ksm *out)
{
	bool all_zero = true;

	if (out->present && out->run > 2)
		distrust(ksm, out, "/%srun holds %" PRIu64 ", not 0, 1 or 2", KSM_DIR, out->run);
	for (size_t i = 0; i < ARRAY_SIZE(counters); i++) {
		const struct counter *counter = &counters[i];
		uint64_t value, last = ksm->last[i];

		memcpy(&value, (char *)out + counter->offset, sizeof(value));
		if (!pol_has(value))
			continue;
		/* A choice between 0 and 1 proves nothing. */
		if (counter->offset != offsetof(struct pol_ksm, across_nodes))
			all_zero &= value == 0;
		ksm->last[i] = value;
		if (counter->kind == PAGES && value > PAGES_MOST)
			distrust(ksm, out, "/%s holds %" PRIu64 ", more pages than memory can have",
				 counter->path, value);
		/* run=2 begins the count of scans anew (unmerge_and_remove_all_rmap_items()). */
		if (counter->kind != TOTAL || value >= last || out->run == 2)
			continue;
		ksm->distrust = DISTRUST_LOOKS;
		snprintf(ksm->back, sizeof(ksm->back), "/%s went back from %" PRIu64 " to %" PRIu64,
			 counter->path, last, value);
	}
	if (all_zero)
		distrust(ksm, out, "all files of /%s hold 0, which no kernel shows", KSM_DIR);
	if (ksm->distrust > 0) {
		distrust(ksm, out, "%s", ksm->back);
		ksm->distrust--;
	}
}

int ksm_sense_vmstat(struct ksm *ksm, const char *vmstat, struct pol_ksm *ret_ksm)
{
	struct pol_ksm out = {.present = true, .mergeable_any = ret_ksm->mergeable_any};

	ksm->reason[0] = '\0';
	for (size_t i = 0; i < ARRAY_SIZE(counters); i++) {
		uint64_t value = POL_ABSENT;
		int r = ksm->fds[i] < 0 ? ksm->fds[i] : kept_read_u64(ksm->fds[i], &value);

		memcpy((char *)&out + counters[i].offset, &value, sizeof(value));
		if (r < 0 && counters[i].required && out.present) {
			out.present = false;
			reason_set(ksm, counters[i].path, r);
		}
	}
	check_sense(ksm, &out);
	if (ksm->writable < 0)
		distrust(ksm, &out, "/%srun cannot be written: %s%s", KSM_DIR,
			 strerror(-ksm->writable), ksm->writable == -EACCES ? "; run as root" : "");
	out.advisor = ksm->has[KSM_ADVISOR_MODE];
	out.smart_scan = ksm->has[KSM_SMART_SCAN];
	if (!vmstat || kfile_field_u64(vmstat, "cow_ksm", &out.cow_breaks) < 0)
		out.cow_breaks = POL_ABSENT;
	out.cpu_us = ksmd_cpu_us(ksm);
	*ret_ksm = out;
	return 0;
}

int ksm_sense(struct ksm *ksm, struct pol_ksm *ret_ksm)
{
	char vmstat[16384];
	int r = kept_read(ksm->vmstat_fd, vmstat, sizeof(vmstat));

	return ksm_sense_vmstat(ksm, r < 0 ? NULL : vmstat, ret_ksm);
}

void ksm_count_anew(struct ksm *ksm)
{
	memset(ksm->last, 0, sizeof(ksm->last));
}

const char *ksm_reason(const struct ksm *ksm)
{
	return ksm->reason[0] ? ksm->reason : NULL;
}

bool ksm_has(const struct ksm *ksm, enum ksm_knob knob)
{
	return ksm->has[knob];
}

bool ksm_counts_zero_pages(const struct ksm *ksm)
{
	return faccessat(ksm->rootfd, KSM_DIR "ksm_zero_pages", F_OK, 0) == 0;
}

int ksm_knob_read(const struct ksm *ksm, enum ksm_knob knob, char *buf, size_t n)
{
	return kfile_read_choice(ksm->rootfd, knob_paths[knob], buf, n);
}

bool ksm_owned_elsewhere(int rootfd, char *why, size_t n)
{
	struct manager managers[MANAGERS_MAX];
	int count = manager_scan(rootfd, managers, MANAGERS_MAX);

	for (int i = 0; i < count; i++) {
		if (!(managers[i].fields & MANAGER_KSM))
			continue;
		if (why)
			snprintf(why, n, "%s (pid %d) sets KSM too; to hand it to memd: %s",
				 managers[i].name, (int)managers[i].pid, managers[i].advice);
		return true;
	}
	return false;
}
