/* SPDX-License-Identifier: Apache-2.0 */
/* A balloon with all options behind the test driver, and looks at what it did; for its tests. */
#ifndef MEMD_TESTS_BALLOON_DRIVER_H
#define MEMD_TESTS_BALLOON_DRIVER_H

#include "virtio_driver.h"
#include "vmm/balloon.h"

#define TELL	    (1ULL << 0)
#define STATS	    (1ULL << 1)
#define OOM	    (1ULL << 2)
#define POISON	    (1ULL << 4)
#define REPORTING   (1ULL << 5)
#define C_NUM_PAGES (R_CONFIG + 0)
#define C_ACTUAL    (R_CONFIG + 4)
#define C_POISON    (R_CONFIG + 12)
#define RAM_PFNS    (FAKE_RAM_BYTES / 4096)

static uint64_t changed_bytes;
static unsigned int n_changed;

static inline void changed(void *ctx, uint64_t actual_bytes)
{
	changed_bytes = actual_bytes;
	n_changed++;
}

static inline int setup(void **state)
{
	static const struct balloon_config config = {.deflate_on_oom = true, .reporting = true};
	struct driver *d = driver_new();

	driver_attach(d, balloon_new(d->ram, &d->loop, &config, changed, NULL));
	n_changed = 0;
	*state = d;
	return 0;
}

static inline int teardown(void **state)
{
	driver_free(*state);
	return 0;
}

static inline struct balloon_counters counters(struct driver *d)
{
	struct balloon_counters c;

	balloon_counters(d->dev, &c);
	return c;
}

static inline void assert_discard(struct driver *d, size_t i, uint64_t gpa, uint64_t len)
{
	assert_true(i < d->ram->n_discards);
	assert_int_equal(d->ram->discards[i].gpa, gpa);
	assert_int_equal(d->ram->discards[i].len, len);
}

#endif
