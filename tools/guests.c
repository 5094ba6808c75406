// SPDX-License-Identifier: Apache-2.0
/* memctl guests: one line per guest, and what memd has to say about some of them below. */
#include <stdio.h>

#include "tools/memctl.h"
#include "tools/table.h"

static void print_notes(json_object *guest)
{
	json_object *notes = json_get_array(guest, "notes");
	const char *name = json_get_str(guest, "name");
	bool mergeable = true;

	for (size_t i = 0; notes && i < json_object_array_length(notes); i++)
		printf("%s: %s\n", name ? name : "?",
		       json_object_get_string(json_object_array_get_idx(notes, i)));
	if (json_get_bool(guest, "mergeable", &mergeable) && !mergeable &&
	    json_get_str(guest, "mergeable_reason"))
		printf("%s: KSM cannot act: %s\n", name ? name : "?",
		       json_get_str(guest, "mergeable_reason"));
}

enum memctl_exit memctl_guests(const struct memctl *ctl, int argc, char **argv)
{
	static const struct table_column columns[] = {
		{"GUEST", TABLE_TEXT, "name"},
		{"PID", TABLE_NUMBER, "pid"},
		{"BY", TABLE_TEXT, "hypervisor"},
		{"PROMISED", TABLE_BYTES, "memory_bytes"},
		{"HAS", TABLE_BYTES, "actual_bytes"},
		{"TARGET", TABLE_BYTES, "target_bytes"},
		{"FLOOR", TABLE_BYTES, "floor_bytes"},
		{"NEEDS", TABLE_BYTES, "working_set_bytes"},
		{"RESIDENT", TABLE_BYTES, "resident_bytes"},
		{"IN USE", TABLE_BYTES, "in_use_bytes"},
		{"SWAPPED", TABLE_BYTES, "swapped_bytes"},
		{"LARGE", TABLE_PPM, "large_pages_ppm"},
		{"BALLOON", TABLE_YESNO, "has_balloon"},
		{"ANSWERS", TABLE_YESNO, "answering"},
		{0},
	};
	AUTO_JSON json_object *answer = NULL;
	json_object *guests;
	enum memctl_exit status;

	if (!memctl_no_arguments(argc, argv))
		return MEMCTL_USAGE;
	status = memctl_query(ctl, "query-guests", NULL, &answer);
	if (!answer)
		return status;
	guests = json_get_array(answer, "guests");
	if (!guests || json_object_array_length(guests) == 0) {
		puts("No guests. memd finds them by their QMP sockets (memd.conf: guests=).");
		return MEMCTL_OK;
	}
	if (!table_print_all(columns, ctl->bytes, guests))
		return MEMCTL_FAILED;
	for (size_t i = 0; i < json_object_array_length(guests); i++)
		print_notes(json_object_array_get_idx(guests, i));
	return MEMCTL_OK;
}
