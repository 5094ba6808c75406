// SPDX-License-Identifier: Apache-2.0
/*
 * Writing down one fact of the probe, and the small questions that many facts ask.
 */
#include "memd/probe_fact.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/kfile.h"

void fact_text(struct fact *fact, const char *value)
{
	fact->value = json_object_new_string(value);
}

void fact_bool(struct fact *fact, bool value)
{
	fact->value = json_object_new_boolean(value);
}

void fact_int(struct fact *fact, int64_t value)
{
	fact->value = json_object_new_int64(value);
}

void fact_reason(struct fact *fact, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(fact->reason, sizeof(fact->reason), fmt, ap);
	va_end(ap);
}

void fact_detail(struct fact *fact, const char *fmt, ...)
{
	size_t len = strlen(fact->detail);
	va_list ap;

	if (len && len + 2 < sizeof(fact->detail)) {
		memcpy(fact->detail + len, "; ", 3);
		len += 2;
	}
	va_start(ap, fmt);
	vsnprintf(fact->detail + len, sizeof(fact->detail) - len, fmt, ap);
	va_end(ap);
}

static json_object *text_or_null(const char *text)
{
	return text && text[0] ? json_object_new_string(text) : NULL;
}

void fact_add(struct probe *probe, const char *key, struct fact *fact)
{
	json_object *obj = json_object_new_object();
	char source[300] = "";

	if (fact->source)
		snprintf(source, sizeof(source), "/%s", fact->source);
	json_object_object_add(obj, "key", json_object_new_string(key));
	json_object_object_add(obj, "value", fact->value);
	json_object_object_add(obj, "reason", text_or_null(fact->reason));
	json_object_object_add(obj, "source", text_or_null(source));
	json_object_object_add(obj, "detail", text_or_null(fact->detail));
	json_object_array_add(probe->facts, obj);
}

bool probe_exists(const struct probe *probe, const char *path)
{
	return faccessat(probe->rootfd, path, F_OK, 0) == 0;
}

bool probe_word(const struct probe *probe, const char *path, char *buf, size_t n)
{
	return kfile_read_choice(probe->rootfd, path, buf, n) == 0;
}

int probe_flag(const struct probe *probe, const char *path)
{
	char word[8];

	if (!probe_word(probe, path, word, sizeof(word)) || word[1])
		return -1;
	switch (word[0]) {
	case 'Y':
	case '1':
		return 1;
	case 'N':
	case '0':
		return 0;
	default:
		return -1;
	}
}

void fact_reason_since(const struct probe *probe, struct fact *fact, const char *what,
		       const char *since)
{
	fact_reason(fact, "%s came with Linux %s; this is %s", what, since, probe->release);
}
