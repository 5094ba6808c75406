// SPDX-License-Identifier: Apache-2.0
/* The guests to look at; see sharing_guests.h. */
#include "tools/sharing_guests.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/grow.h"
#include "common/log.h"
#include "common/process.h"
#include "memd/footprint.h"
#include "memd/guest.h"
#include "memd/process.h"

void sharing_list_free(struct sharing_list *list)
{
	free(list->v);
	*list = (struct sharing_list){0};
}

static int list_add(struct sharing_list *list, pid_t pid, const char *name)
{
	struct sharing_entry *v = grow(list->v, &list->room, list->n + 1, sizeof(*v));

	if (!v)
		return -ENOMEM;
	list->v = v;
	guest_name_clean(name, list->v[list->n].name, sizeof(list->v[0].name));
	list->v[list->n++].pid = pid;
	return 0;
}

static bool parse_word(int rootfd, const char *word, struct sharing_list *list)
{
	char *end, name[POL_NAME_MAX];
	long pid = strtol(word, &end, 10);

	if (!isdigit((unsigned char)*word) || (*end && (*end != '=' || !end[1])) || pid < 1 ||
	    pid > INT_MAX) {
		log_err("--pid: '%s' is not PID or PID=NAME", word);
		return false;
	}
	for (size_t i = 0; i < list->n; i++) {
		if (list->v[i].pid != (pid_t)pid)
			continue;
		log_err("--pid: %ld is there twice", pid);
		return false;
	}
	if (*end)
		snprintf(name, sizeof(name), "%s", end + 1);
	else
		process_name(rootfd, (pid_t)pid, name, sizeof(name));
	if (list_add(list, (pid_t)pid, name) == 0)
		return true;
	log_err("out of memory");
	return false;
}

bool sharing_list_parse(int rootfd, const char *text, struct sharing_list *list)
{
	bool good = true;

	if (strspn(text, ",") == strlen(text)) {
		log_err("--pid: expected PID[=NAME],...");
		return false;
	}
	while (good && *text) {
		size_t len = strcspn(text, ",");
		char word[POL_NAME_MAX + 16];

		snprintf(word, sizeof(word), "%.*s", (int)len, text);
		if (len)
			good = parse_word(rootfd, word, list);
		text += len + (text[len] == ',');
	}
	return good;
}

int sharing_list_from(json_object *answer, struct sharing_list *list)
{
	json_object *guests = json_get_array(answer, "guests");
	int r = 0;

	for (size_t i = 0; r == 0 && guests && i < json_object_array_length(guests); i++) {
		json_object *guest = json_object_array_get_idx(guests, i);
		const char *name = json_get_str(guest, "name");
		uint64_t pid;

		if (json_get_u64(guest, "pid", &pid) && pid > 0 && pid <= INT_MAX)
			r = list_add(list, (pid_t)pid, name ? name : "?");
	}
	return r;
}

int sharing_list_discover(int rootfd, struct sharing_list *list)
{
	AUTO_FREE pid_t *pids = NULL;
	size_t n;
	int r = process_list(rootfd, &pids, &n);

	for (size_t i = 0; r == 0 && i < n; i++) {
		char name[POL_NAME_MAX];

		if (footprint_is_kvm(rootfd, pids[i]) != 1)
			continue;
		process_name(rootfd, pids[i], name, sizeof(name));
		r = list_add(list, pids[i], name);
	}
	return r;
}
