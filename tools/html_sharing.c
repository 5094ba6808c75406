// SPDX-License-Identifier: Apache-2.0
/* The page's own look at who shares with whom; see html_sharing.h. */
#include "tools/html_sharing.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/wire.h"
#include "memd/sharing.h"

/* A page is not worth more processor time; `memctl sharing` takes what it needs. */
#define BUDGET_US (60 * USEC_PER_SEC)

struct one {
	char name[POL_NAME_MAX], domain[POL_NAME_MAX];
};

struct html_sharing {
	struct html_matrix matrix;
	struct one *guests;
	struct sharing_target *targets;
	const char **names;
	uint64_t *bytes;
	bool *alarm;
};

void html_sharing_free(struct html_sharing *sharing)
{
	if (!sharing)
		return;
	free(sharing->guests);
	free(sharing->targets);
	free(sharing->names);
	free(sharing->bytes);
	free(sharing->alarm);
	free(sharing);
}

const struct html_matrix *html_sharing_matrix(const struct html_sharing *sharing)
{
	return &sharing->matrix;
}

static const char *explain(int error)
{
	switch (error) {
	case EPERM:
	case EACCES:
		return "only root may look at page frames";
	case EOPNOTSUPP:
		return "this kernel has no KSM, or does not tell of page frames "
		       "(CONFIG_PROC_PAGE_MONITOR)";
	case ENODATA:
		return "there is no guest to look at";
	case ETIME:
		return "looking took more than a minute of processor time; see memctl sharing";
	default:
		return strerror(error);
	}
}

/* Guests with a process, and room for their matrix. */
static int list_guests(struct html_sharing *sharing, json_object *list)
{
	size_t all = list ? json_object_array_length(list) : 0, n = 0;

	if (all == 0)
		return -ENODATA;
	sharing->guests = calloc(all, sizeof(*sharing->guests));
	sharing->targets = calloc(all, sizeof(*sharing->targets));
	sharing->names = calloc(all, sizeof(*sharing->names));
	sharing->bytes = calloc(all * all, sizeof(*sharing->bytes));
	sharing->alarm = calloc(all * all, sizeof(*sharing->alarm));
	if (!sharing->guests || !sharing->targets || !sharing->names || !sharing->bytes ||
	    !sharing->alarm)
		return -ENOMEM;
	for (size_t i = 0; i < all; i++) {
		json_object *guest = json_object_array_get_idx(list, i);
		const char *name = json_get_str(guest, "name");
		const char *domain = json_get_str(guest, "domain");
		uint64_t pid;

		if (!json_get_u64(guest, "pid", &pid) || pid == 0 || pid > INT_MAX)
			continue;
		snprintf(sharing->guests[n].name, POL_NAME_MAX, "%s", name ? name : "?");
		snprintf(sharing->guests[n].domain, POL_NAME_MAX, "%s", domain ? domain : "");
		sharing->names[n] = sharing->guests[n].name;
		sharing->targets[n] = (struct sharing_target){.pid = (pid_t)pid, .id = n};
		n++;
	}
	sharing->matrix = (struct html_matrix){
		.n = n,
		.names = sharing->names,
		.bytes = sharing->bytes,
		.alarm = sharing->alarm,
	};
	return n ? 0 : -ENODATA;
}

static int look(struct html_sharing *sharing, int rootfd)
{
	const struct sharing_options options = {.pairs = true, .budget_us = BUDGET_US};
	struct sharing *seen = NULL;
	size_t n = sharing->matrix.n;
	int r = sharing_scan(rootfd, sharing->targets, n, &options, &seen);

	if (r < 0)
		return r;
	for (size_t i = 0; i < n; i++)
		for (size_t j = 0; j < n; j++) {
			sharing->bytes[i * n + j] =
				sharing_pair_pages(seen, i, j) * seen->page_bytes;
			sharing->alarm[i * n + j] =
				strcmp(sharing->guests[i].domain, sharing->guests[j].domain) != 0;
		}
	sharing_free(seen);
	return 0;
}

int html_sharing_scan(int rootfd, json_object *answer, struct html_sharing **ret_sharing, char *why,
		      size_t n)
{
	struct html_sharing *sharing = calloc(1, sizeof(*sharing));
	int r = sharing ? list_guests(sharing, json_get_array(answer, "guests")) : -ENOMEM;

	if (r == 0)
		r = look(sharing, rootfd);
	if (r == 0) {
		*ret_sharing = sharing;
		return 0;
	}
	html_sharing_free(sharing);
	snprintf(why, n, "%s", explain(-r));
	return r;
}
