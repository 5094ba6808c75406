// SPDX-License-Identifier: Apache-2.0
/* See huge_report.h. */
#include "memd/huge_report.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "common/size.h"
#include "memd/guest_reply.h"
#include "memd/pool.h"
#include "memd/repair.h"

static struct pools_host host_of(const struct daemon *daemon)
{
	return (struct pools_host){&daemon->snapshot, daemon->state, daemon->high_bytes};
}

static int read_nodes(json_object *list, uint64_t *ret_nodes, struct wire_error *err)
{
	uint64_t node;

	*ret_nodes = 0;
	for (size_t i = 0; list && i < json_object_array_length(list); i++) {
		json_object *item = json_object_array_get_idx(list, i);

		if (!json_object_is_type(item, json_type_int) ||
		    (node = json_object_get_uint64(item)) >= 64)
			return wire_fail(err, -EINVAL, NULL,
					 "Parameters 'nodes' and 'prefer' expect numbers below 64");
		*ret_nodes |= 1ULL << node;
	}
	return 0;
}

static int read_want(json_object *args, struct pools_want *want, struct wire_error *err)
{
	const char *name = json_get_str(args, "name"), *pages = json_get_str(args, "pages");
	uint64_t bytes = 0;
	int r;

	*want = (struct pools_want){0};
	guest_name_clean(name, want->name, sizeof(want->name));
	json_get_u64(args, "process", &want->key);
	json_get_u64(args, "memory", &bytes);
	json_get_bool(args, "done", &want->done);
	if (strcmp(pages, "2M") == 0)
		want->page_bytes = 2 * MIB;
	else if (strcmp(pages, "1G") == 0)
		want->page_bytes = GIB;
	else
		return wire_fail(err, -EINVAL, NULL, "Parameter 'pages' expects 2M or 1G");
	if (!bytes || bytes > GUEST_BYTES_MAX)
		return wire_fail(err, -EINVAL, NULL, "Parameter 'memory' expects bytes");
	want->pages = (bytes + want->page_bytes - 1) / want->page_bytes;
	r = read_nodes(json_get_array(args, "nodes"), &want->nodes, err);
	return r < 0 ? r : read_nodes(json_get_array(args, "prefer"), &want->prefer, err);
}

int huge_report_want(struct daemon *daemon, json_object *args, json_object **ret_value,
		     struct wire_error *err)
{
	struct pools_host host = host_of(daemon);
	struct pools_want want;
	int r = read_want(args, &want, err);

	if (r < 0)
		return r;
	if (!daemon->pools)
		return wire_fail(err, -EPERM, NULL,
				 "memd was reset and changes nothing until it is started again");
	if (!daemon->high_bytes)
		return wire_fail(err, -EAGAIN, NULL,
				 "the host has not been looked at yet; try again in a second");
	r = pools_ask(daemon->pools, daemon->config, &host, &want, clock_now_us(), ret_value);
	return r < 0 ? wire_fail(err, r, NULL, "too many guests wait for huge pages") : 0;
}

void huge_report(struct daemon *daemon, json_object *doc)
{
	struct pools_host host = host_of(daemon);

	json_object_object_add(doc, "huge_pages",
			       pools_json(daemon->pools, daemon->config, &host, clock_now_us()));
	json_object_object_add(doc, "repairs", repairs_json(daemon->repairs));
}
