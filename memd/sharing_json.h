/* SPDX-License-Identifier: Apache-2.0 */
/* A look at sharing as the JSON document of `memctl sharing`. */
#ifndef MEMD_SHARING_JSON_H
#define MEMD_SHARING_JSON_H

#include <json-c/json.h>
#include <stdbool.h>

#include "memd/sharing.h"

/* What is known of a target beyond the look itself. */
struct sharing_guest {
	const char *name;
	bool mergeable;		/* as in struct footprint */
	const char *why_not;	/* mergeable_reason; "" or NULL: none */
	bool mergeable_unknown; /* the footprint could not be taken */
};

/*
 * guests: as the targets, in their order. The document has schema 1; absent numbers are null. Pairs
 * that share nothing are left out. The caller puts it.
 */
json_object *sharing_json(const struct sharing *sharing, const struct sharing_guest *guests);

#endif
