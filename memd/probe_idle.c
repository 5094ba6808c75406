// SPDX-License-Identifier: Apache-2.0
/* By what the host can see which memory guests use. */
#include <stdlib.h>

#include "memd/damon.h"
#include "memd/lru_gen.h"
#include "memd/probe_fact.h"

static void probe_damon(struct probe *probe)
{
	struct fact fact = {.source = "sys/kernel/mm/damon/admin"};
	bool there = probe_exists(probe, fact.source);

	if (there)
		fact_text(&fact, "sysfs");
	else
		fact_reason(&fact, "the kernel is built without CONFIG_DAMON_SYSFS");
	if (probe_exists(probe, "sys/module/damon_reclaim"))
		fact_detail(&fact, "damon_reclaim");
	fact_add(probe, "damon", &fact);
}

/* Bits of the multi-generational LRU; bit 0 is the switch (admin-guide/mm/multigen_lru.rst). */
static void probe_mglru(struct probe *probe)
{
	struct fact fact = {.source = "sys/kernel/mm/lru_gen/enabled"};
	char text[32], *end;
	unsigned long bits;

	if (!probe_word(probe, fact.source, text, sizeof(text))) {
		fact_reason(&fact, "the kernel is built without CONFIG_LRU_GEN");
	} else {
		bits = strtoul(text, &end, 0);
		if (end == text || *end)
			fact_reason(&fact, "the file does not hold a number");
		else
			fact_text(&fact, bits & 1 ? "on" : "off");
		fact_detail(&fact, "%s", text);
	}
	fact_add(probe, "mglru", &fact);
}

static void probe_idle_pages(struct probe *probe)
{
	struct fact fact = {.source = "sys/kernel/mm/page_idle/bitmap"};

	if (probe_exists(probe, fact.source))
		fact_bool(&fact, true);
	else
		fact_reason(&fact, "the kernel is built without CONFIG_IDLE_PAGE_TRACKING");
	fact_add(probe, "idle_page_tracking", &fact);
}

/* What memd would use of these. Whether DAMON can watch processes shows when it is set up. */
static void probe_idle_tracking(struct probe *probe)
{
	struct fact fact = {.source = "sys/kernel/mm"};
	const char *mglru = lru_gen_why_not(probe->rootfd);
	const char *why = NULL;
	int damon = damon_look(probe->rootfd, &why);

	if (damon == 0 || !mglru)
		fact_text(&fact, damon == 0 && !mglru ? "damon mglru" : mglru ? "damon" : "mglru");
	if (damon < 0)
		fact_detail(&fact, "DAMON: %s", why);
	if (mglru)
		fact_detail(&fact, "MGLRU: %s", mglru);
	else if (!lru_gen_sees_kvm(probe->rootfd))
		fact_detail(&fact, "MGLRU: not of guests under KVM, which Linux 6.12 sees");
	if (damon < 0 && mglru)
		fact_reason(&fact, "what guests use cannot be seen from the host: it goes by "
				   "their own statistics");
	fact_add(probe, "idle_tracking", &fact);
}

void probe_idle(struct probe *probe)
{
	probe_damon(probe);
	probe_mglru(probe);
	probe_idle_pages(probe);
	probe_idle_tracking(probe);
}
