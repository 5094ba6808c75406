/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ksmd's nice value: 5 by the kernel (mm/ksm.c), so that merging disturbs nobody. On a host that is
 * short of memory reclaim and guests that wait for memory are busy at 0, and it gets next to
 * nothing of the processor just when it would help most. What is not merged in time is swapped, and
 * each guest reads its own back: while guests start it goes before them, until what they bring is
 * merged.
 */
#ifndef MEMD_KSM_NICE_H
#define MEMD_KSM_NICE_H

#include <stdbool.h>

struct act;

/*
 * Urgent: nice -10, unless it is that or less already. Else: back to what it was, if it is still as
 * memd left it. Journalled like a file. What cannot be done is told once and not tried again; where
 * no ksmd of this host is to be seen nothing is done. *ret_changed: it was changed, else it is left
 * as it is.
 */
void ksm_nice_set(struct act *act, bool urgent, bool *ret_changed);

#endif
