/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Kernel samepage merging as the kernel shows it below /sys/kernel/mm/ksm, ksmd's CPU time, and
 * who else sets it. Reading only: act.c writes.
 * Source: Documentation/admin-guide/mm/ksm.rst, mm/ksm.c.
 */
#ifndef MEMD_KSM_H
#define MEMD_KSM_H

#include <stdbool.h>
#include <stddef.h>

#include "policy/policy.h"

/* Files that can be set. */
enum ksm_knob {
	KSM_RUN,
	KSM_PAGES_TO_SCAN,
	KSM_SLEEP_MILLISECS,
	KSM_ADVISOR_MODE, /* 6.8+: "none" or "scan-time"; pages_to_scan is read-only unless "none"
			   */
	KSM_ADVISOR_TARGET_SCAN_TIME,
	KSM_ADVISOR_MAX_CPU,
	KSM_SMART_SCAN,	    /* 6.7+ */
	KSM_USE_ZERO_PAGES, /* 4.12+ */
	KSM_MERGE_ACROSS_NODES,
	KSM_MAX_PAGE_SHARING,
	KSM_KNOB_COUNT
};
const char *ksm_knob_name(enum ksm_knob knob); /* "pages_to_scan" */
#define KSM_PATH "sys/kernel/mm/ksm"
const char *ksm_knob_path(enum ksm_knob knob); /* "sys/kernel/mm/ksm/pages_to_scan" */

struct ksm;

/* Always succeeds on a root without KSM too (then ksm_sense says so). -ENOMEM. */
int ksm_open(int rootfd, struct ksm **ret_ksm);
void ksm_close(struct ksm *ksm); /* NULL is fine */

/*
 * Fill *ret_ksm but mergeable_any, which is left as it is. present is false, with every number it
 * could not read POL_ABSENT, when the files are missing, cannot be written, or hold something that
 * is not a number; ksm_reason() then says which. Returns 0.
 */
int ksm_sense(struct ksm *ksm, struct pol_ksm *ret_ksm);

/* The same by a caller that has just read /proc/vmstat (NULL: cow_breaks is then absent). */
int ksm_sense_vmstat(struct ksm *ksm, const char *vmstat, struct pol_ksm *ret_ksm);

/* All was unmerged (run=2), by us, and perhaps between two looks: the kernel's counts begin anew,
 * which is not held against it. */
void ksm_count_anew(struct ksm *ksm);

/* Why the last ksm_sense() said present = false, in an operator's words; NULL: it is present. */
const char *ksm_reason(const struct ksm *ksm);

/* Does this kernel have the knob? */
bool ksm_has(const struct ksm *ksm, enum ksm_knob knob);

/* Does this kernel count pages merged with its zero page (6.6+)? pages_sharing has none of them. */
bool ksm_counts_zero_pages(const struct ksm *ksm);

/* A knob's value as text, without newline; of "[none] scan-time" the chosen word. -errno. */
int ksm_knob_read(const struct ksm *ksm, enum ksm_knob knob, char *buf, size_t n);

/*
 * Is another program (ksmtuned, momd, virt-handler, a KSM throttler) running that sets KSM too?
 * Then memd stands aside; why (may be NULL) names it. Scans /proc, about 3 us per process: ask
 * every minute or so, not every tick.
 */
bool ksm_owned_elsewhere(int rootfd, char *why, size_t n);

#endif
