/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whom `memctl sharing` looks at: the guests that memd knows, the processes named by --pid, or
 * where neither is to be had every process that runs a guest by KVM.
 */
#ifndef MEMD_TOOLS_SHARING_GUESTS_H
#define MEMD_TOOLS_SHARING_GUESTS_H

#include <stddef.h>

#include "memd/sharing.h"
#include "memd/sharing_json.h"
#include "policy/policy.h"
#include "tools/memctl.h"

struct sharing_entry {
	char name[POL_NAME_MAX];
	pid_t pid;
};

struct sharing_list {
	struct sharing_entry *v;
	size_t n, room;
};
void sharing_list_free(struct sharing_list *list);

/* "PID[=NAME],...": without NAME it is asked of the process. False: not that (said). */
bool sharing_list_parse(int rootfd, const char *text, struct sharing_list *list);

/* From the answer to query-guests; those without a known process are left out. 0 or -ENOMEM. */
int sharing_list_from(json_object *answer, struct sharing_list *list);

/* Each process with a KVM virtual machine open. 0; -ENOMEM; -errno of /proc. */
int sharing_list_discover(int rootfd, struct sharing_list *list);

#endif
