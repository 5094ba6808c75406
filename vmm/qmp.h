/* SPDX-License-Identifier: Apache-2.0 */
/* vmm's QMP commands: QEMU's names and semantics on top of vm.h, balloon.h and ram.h. */
#ifndef MEMD_VMM_QMP_H
#define MEMD_VMM_QMP_H

/* The objects of memory devices, by index; their id is the last component. */
#define QMP_MEM_PATH	    "/machine/peripheral/mem%zu"
#define QMP_MEM_PATH_PREFIX (sizeof("/machine/peripheral/") - 1)

struct vm;
struct qmp;

/* Listen on path, serve in the VM's loop, receive its events. Logs what is wrong. */
int qmp_new(struct vm *vm, const char *path, struct qmp **ret_qmp);
void qmp_free(struct qmp *qmp); /* NULL is fine */

#endif
