/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The threads of a guest: which of them are vCPUs (its monitor says so), on which node they run and
 * whether somebody has pinned them. Source: QEMU qapi/machine.json query-cpus-fast;
 * proc_pid_stat(5) and proc_pid_status(5) below /proc/PID/task/TID.
 */
#ifndef MEMD_VCPUS_H
#define MEMD_VCPUS_H

#include <json-c/json.h>
#include <sys/types.h>

#include "memd/guest.h"
#include "memd/numa.h"

/* Room for n vCPUs, what is there stays. 0, or -ENOMEM and nothing has changed. */
int vcpus_reserve(struct guest_cpus *cpus, size_t n);
/* None, and no memory held. */
void vcpus_forget(struct guest_cpus *cpus);

/* Take the answer of query-cpus-fast; one that makes no sense leaves no vCPUs. */
void vcpus_told(struct guest *guest, json_object *value);

/*
 * Where they run now, and what they may. Opens one file per thread and one more, so not for every
 * guest in every tick. A thread that is gone is left out.
 */
void vcpus_look(int rootfd, struct guest *guest, const struct nodes_cpus *cpus);

/* Why the guest is not to be moved between nodes, as far as it itself goes. */
enum pol_numa_why vcpus_bar(const struct guest *guest);

/*
 * All threads that work for a process, in no order: its own, and before Linux 6.4 the kernel's
 * threads "vhost-PID", which are looked for among all processes if it has vhost-net open.
 * *ret_tids for free(3); *ret_vhost (may be NULL): how many serve vhost. -ESRCH; -ENOMEM.
 */
int vcpus_threads(int rootfd, pid_t pid, pid_t **ret_tids, size_t *ret_n, size_t *ret_vhost);

/* "Cpus_allowed_list:" of a thread as bits. -errno of reading; -EINVAL: no such line. */
int vcpus_allowed(int rootfd, pid_t pid, pid_t tid, uint64_t ret_words[NODES_CPU_WORDS]);

#endif
