// SPDX-License-Identifier: Apache-2.0
/*
 * What a monitor answers to each of memd's questions, as any JSON: the first byte of the input
 * says to which. Whatever it is, sizes stay bounded, names printable and texts terminated.
 */
#include <stdlib.h>
#include <string.h>

#include "memd/guest_reply.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(int holds)
{
	if (!holds)
		abort();
}

static void check_text(const char *text, size_t size)
{
	check(strnlen(text, size) < size);
	for (; *text; text++)
		check((unsigned char)*text >= 0x20 && *text != 0x7f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct config config;
	struct guests guests = {.config = &config};
	struct guest guest = {.all = &guests};
	struct pol_guest p;
	struct guest *list[] = {&guest};
	json_tokener *tokener = json_tokener_new();
	json_object *value;
	bool any;

	log_init("fuzz", LOG_LEVEL_ERR);
	if (size > 1) {
		guest_forget(&guest);
		guest.memory_bytes = 1 << 30;
		guest.known = true;
		guest.ticks = 5;
		value = json_tokener_parse_ex(tokener, (const char *)data + 1, (int)(size - 1));
		guest_reply_value(&guest, data[0] % GUEST_REQUEST_COUNT, value, 1000000);
		if (json_object_is_type(value, json_type_object)) {
			guest_reply_greeting(&guest, value);
			if (json_get_str(value, "event"))
				guest_reply_event(&guest, value);
			guest_reply_error(&guest, data[0] % GUEST_REQUEST_COUNT,
					  json_get_str(value, "class"),
					  json_get_str(value, "desc"));
		}
		json_object_put(value);
		check_text(guest.name, sizeof(guest.name));
		check_text(guest.version, sizeof(guest.version));
		check(strnlen(guest.balloon_path, sizeof(guest.balloon_path)) <
		      sizeof(guest.balloon_path));
		check(guest.memory_bytes <= 2 * GUEST_BYTES_MAX);
		check(!pol_has(guest.actual_bytes) || guest.actual_bytes <= guest.memory_bytes);
		guests.v = list;
		guests.n = 1;
		guests_snapshot(&guests, 2000000, &p, 1, &any);
		check(!pol_has(p.stat_available_bytes) ||
		      p.stat_available_bytes <= guest.memory_bytes);
	}
	json_tokener_free(tokener);
	return 0;
}
