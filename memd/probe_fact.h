/* SPDX-License-Identifier: Apache-2.0 */
/* How one fact of the probe is written down; shared by the probe*.c files only. */
#ifndef MEMD_PROBE_FACT_H
#define MEMD_PROBE_FACT_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>

/* What every question is asked with, and where its answer goes. */
struct probe {
	int rootfd;
	char release[64]; /* "6.12.48+deb13-cloud-amd64"; "an unknown version" */
	json_object *facts;
};

#define PROBE_REASON_MAX 320
#define PROBE_DETAIL_MAX 1024

/* One answer being made. value NULL is absent; empty reason and detail become null. */
struct fact {
	json_object *value;
	char reason[PROBE_REASON_MAX];
	char detail[PROBE_DETAIL_MAX];
	const char *source; /* relative path, shown with "/" before it; NULL: null */
};

void fact_text(struct fact *fact, const char *value);
void fact_bool(struct fact *fact, bool value);
void fact_int(struct fact *fact, int64_t value);
void fact_reason(struct fact *fact, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The kernel is too old: "<what> came with Linux 6.7; this is 6.1.0-37". */
void fact_reason_since(const struct probe *probe, struct fact *fact, const char *what,
		       const char *since);
/* Appends; parts are set off by "; ". */
void fact_detail(struct fact *fact, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Takes over fact's value. */
void fact_add(struct probe *probe, const char *key, struct fact *fact);

bool probe_exists(const struct probe *probe, const char *path);
/* First word of a file, of a choice the bracketed one; false: absent or empty. */
bool probe_word(const struct probe *probe, const char *path, char *buf, size_t n);
/* A module parameter that is Y, N, 1 or 0: 1, 0; -1: absent or something else. */
int probe_flag(const struct probe *probe, const char *path);

/* cpu_vendor, kvm, second_level_*, nested. */
void probe_kvm(struct probe *probe);
/* damon, mglru, idle_page_tracking, idle_tracking. */
void probe_idle(struct probe *probe);

#endif
