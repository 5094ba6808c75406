/* SPDX-License-Identifier: Apache-2.0 */
/* vmm's QMP commands: QEMU's names and semantics on top of vm.h, balloon.h and ram.h. */
#ifndef MEMD_VMM_QMP_H
#define MEMD_VMM_QMP_H

struct vm;
struct qmp;

/* Listen on path, serve in the VM's loop, receive its events. Logs what is wrong. */
int qmp_new(struct vm *vm, const char *path, struct qmp **ret_qmp);
void qmp_free(struct qmp *qmp); /* NULL is fine */

#endif
