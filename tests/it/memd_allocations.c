// SPDX-License-Identifier: Apache-2.0
/*
 * memd that counts what its main thread allocates from the moment it looks at the host until the
 * tick is recorded: sensing, deciding, acting and accounting. It is linked with --wrap of the first
 * and the last function of that. After each tick a line "TICK ACTIONS ALLOCATIONS" goes to the file
 * that MEMD_ALLOCATIONS names.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "memd/host.h"
#include "memd/record.h"
#include "tests/unit/allocations.h"

static int out = -1;
static uint64_t ticks;

int __real_host_sense(struct host *host, struct pol_host *ret_host);
int __wrap_host_sense(struct host *host, struct pol_host *ret_host);
int __real_record_tick(struct record *record, const struct pol_host *host,
		       const struct pol_plan *plan, uint64_t wall_us, uint64_t now_us);
int __wrap_record_tick(struct record *record, const struct pol_host *host,
		       const struct pol_plan *plan, uint64_t wall_us, uint64_t now_us);

int __wrap_host_sense(struct host *host, struct pol_host *ret_host)
{
	allocations = 0;
	allocations_counted = true;
	return __real_host_sense(host, ret_host);
}

int __wrap_record_tick(struct record *record, const struct pol_host *host,
		       const struct pol_plan *plan, uint64_t wall_us, uint64_t now_us)
{
	int r = __real_record_tick(record, host, plan, wall_us, now_us);
	const char *path = getenv("MEMD_ALLOCATIONS");
	char line[96];
	int n;

	allocations_counted = false;
	if (out < 0 && path)
		out = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	n = snprintf(line, sizeof(line), "%" PRIu64 " %zu %lu\n", ticks++, plan->n_actions,
		     allocations);
	if (out >= 0 && write(out, line, (size_t)n) != n)
		close(out);
	return r;
}
