// SPDX-License-Identifier: Apache-2.0
/*
 * Other managers of memory, found by comm among root's processes. A comm is what a process calls
 * itself, so only root's count: otherwise any user could talk memd into standing aside.
 */
#include "memd/manager.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/kfile.h"
#include "common/process.h"

/* The kernel cuts a comm to 15 characters: that is what is looked for. */
static const struct known {
	const char *comm;
	const char *name;
	unsigned int fields;
	const char *advice;
} known[] = {
	{"ksmtuned", "ksmtuned", MANAGER_KSM, "systemctl disable --now ksmtuned"},
	{"momd", "momd", MANAGER_KSM | MANAGER_BALLOON, "systemctl disable --now momd"},
	{"virt-handler", "virt-handler", MANAGER_KSM,
	 "remove ksmConfiguration from the KubeVirt resource"},
	{"kata-ksm-thrott", "kata-ksm-throttler", MANAGER_KSM,
	 "systemctl disable --now kata-ksm-throttler"},
	{"pvestatd", "pvestatd", MANAGER_BALLOON,
	 "set shares of the VMs to 0, so that Proxmox leaves their balloons alone"},
	{"squeezed", "squeezed", MANAGER_BALLOON, "systemctl disable --now squeezed"},
	{"numad", "numad", MANAGER_NUMA, "systemctl disable --now numad"},
	{"memtierd", "memtierd", MANAGER_NUMA, "take the guests out of memtierd's policy"},
	{"systemd-oomd", "systemd-oomd", MANAGER_OOM, "nothing to do: it acts after memd has"},
	{"earlyoom", "earlyoom", MANAGER_OOM, "nothing to do: it acts after memd has"},
};

static const struct known *known_find(int rootfd, pid_t pid)
{
	char path[64], comm[32];

	snprintf(path, sizeof(path), "proc/%d/comm", (int)pid);
	if (kfile_read(rootfd, path, comm, sizeof(comm)) < 0)
		return NULL;
	comm[strcspn(comm, "\n")] = '\0';
	for (size_t i = 0; i < ARRAY_SIZE(known); i++)
		if (!strcmp(comm, known[i].comm))
			return &known[i];
	return NULL;
}

static bool runs_as_root(int rootfd, pid_t pid)
{
	char path[64], status[4096];
	const char *line;
	int r;

	snprintf(path, sizeof(path), "proc/%d/status", (int)pid);
	r = kfile_read(rootfd, path, status, sizeof(status));
	if (r < 0 && r != -E2BIG)
		return false;
	line = strstr(status, "\nUid:");
	return line && strtoul(line + 5, NULL, 10) == 0 && strpbrk(line + 5, "0123456789");
}

int manager_scan(int rootfd, struct manager *ret_managers, size_t max)
{
	unsigned char seen[ARRAY_SIZE(known)] = {0};
	AUTO_FREE pid_t *pids = NULL;
	size_t n = 0, n_pids;
	int r = process_list(rootfd, &pids, &n_pids);

	if (r < 0)
		return r;
	for (size_t i = 0; n < max && i < n_pids; i++) {
		const struct known *k = known_find(rootfd, pids[i]);

		if (!k || seen[k - known] || !runs_as_root(rootfd, pids[i]))
			continue;
		seen[k - known] = 1;
		ret_managers[n++] = (struct manager){
			.pid = pids[i], .name = k->name, .fields = k->fields, .advice = k->advice};
	}
	return (int)n;
}
