/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The second look: which of the duplicates have changed since they were read. KSM merges only pages
 * that stay the same from one of its passes to the next.
 */
#ifndef MEMD_ESTIMATE_LOOK_H
#define MEMD_ESTIMATE_LOOK_H

#include "memd/estimate.h"
#include "memd/estimate_count.h"

/* What a page's fingerprint is, and of one domain and node when these keep pages apart. */
struct estimate_eye {
	const struct estimate_source *source;
	const struct estimate_options *options;
	uint64_t zero; /* the fingerprint of a zero page */
};

/* Of one page's content, 64 bits. */
uint64_t estimate_fingerprint(const uint8_t *page, uint64_t seed);

/* Fingerprints of pages, ascending in one process; ret_there[i] is false for those not there. */
int estimate_eye_read(const struct estimate_eye *eye, size_t process, const uint64_t *pages,
		      size_t n, uint8_t *buf, bool *ret_there, uint64_t *ret_content);

/*
 * Read a part of the duplicates and zero pages again and fill lost, lost_variance, zero_lost,
 * zero_looked and zero_changed of the tallies. *ret_looked, *ret_changed: duplicates read again,
 * and changed among them. -ENOMEM.
 */
int estimate_look(const struct estimate_eye *eye, struct estimate_count *count,
		  uint64_t *ret_looked, uint64_t *ret_changed);

#endif
