// SPDX-License-Identifier: Apache-2.0
/* Huge pages beside the tick: the pools, and what is broken of transparent ones. */
#include "memd/daemon.h"
#include "memd/pool.h"
#include "memd/repair.h"

void daemon_huge_tick(struct daemon *daemon, uint64_t now_us)
{
	struct pools_host pools = {&daemon->snapshot, daemon->state, daemon->high_bytes};
	struct repairs_host repairs = {&daemon->snapshot, daemon->state, daemon->high_bytes};

	/* Before the first decision it is not known how the host is. */
	if (!daemon->sensed || !daemon->high_bytes)
		return;
	pools_tick(daemon->pools, daemon->config, &pools, now_us);
	repairs_tick(daemon->repairs, daemon->config, &repairs, now_us);
}

void daemon_huge_leave(struct daemon *daemon)
{
	pools_close(daemon->pools);
	repairs_close(daemon->repairs);
	daemon->pools = NULL;
	daemon->repairs = NULL;
}
