/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The questions of a connection that is being set up; for guest_qmp.c. Those of a tick and the
 * changes are in guest_qmp.h. Answers come to guest_reply.c. Source: QEMU qapi/machine.json,
 * qom.json.
 */
#ifndef MEMD_GUEST_ASK_H
#define MEMD_GUEST_ASK_H

#include <stdint.h>

#include "memd/guest.h"

/* Who it is and which memory it has. The connection may be gone after this. */
void guest_ask_facts(struct guest *guest);

/* The properties of its balloon, once balloon_path is known. The connection may be gone then. */
void guest_ask_balloon(struct guest *guest);

/* Let the balloon's statistics be fetched every so often, 0: never. 0 or as guest_qmp_send(). */
int guest_ask_interval(struct guest *guest, uint64_t seconds);

#endif
