// SPDX-License-Identifier: Apache-2.0
/* ksmd's nice value; see ksm_nice.h. The journal knows whether it is changed. */
#include "memd/ksm_nice.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/ksmd.h"
#include "common/log.h"
#include "memd/act.h"

#define URGENT_NICE (-10)

static void refuse(struct act *act, int was, int error)
{
	bool right = error == -EACCES || error == -EPERM;

	act->nice_refused = true;
	act_complain(act, "ksmd stays at nice %d on a host short of memory: %s%s", was,
		     strerror(-error), right ? " (it takes CAP_SYS_NICE)" : "");
}

static void make_urgent(struct act *act, bool *ret_changed)
{
	char original[16], ours[16];
	int was, now, r = ksmd_nice(act->rootfd, &was);

	if (r < 0 || was <= URGENT_NICE)
		return;
	snprintf(original, sizeof(original), "%d", was);
	snprintf(ours, sizeof(ours), "%d", URGENT_NICE);
	r = undo_record(act->undo, UNDO_KSMD_NICE, original, ours);
	if (r < 0) {
		act_complain(act,
			     "the undo journal cannot be written (%s), so ksmd stays at nice %d",
			     strerror(-r), was);
		return;
	}
	r = ksmd_set_nice(act->rootfd, URGENT_NICE);
	if (r == 0) {
		log_info("ksmd at nice %d, not %d: %s", URGENT_NICE, was,
			 pol_reason_text(POL_WHY_KSM_PRESSURE));
		*ret_changed = true;
		return;
	}
	refuse(act, was, r);
	if (ksmd_nice(act->rootfd, &now) == 0 && now == was)
		undo_forget(act->undo, UNDO_KSMD_NICE);
}

void ksm_nice_set(struct act *act, bool urgent, bool *ret_changed)
{
	bool is_urgent = undo_original(act->undo, UNDO_KSMD_NICE);

	if (urgent == is_urgent || act->nice_refused)
		return;
	if (urgent) {
		make_urgent(act, ret_changed);
		return;
	}
	if (act_restore_below(act, UNDO_KSMD_DIR) > 0)
		act->nice_refused = true; /* told, and tried again at the end */
	else
		*ret_changed = true;
}
