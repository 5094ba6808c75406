// SPDX-License-Identifier: Apache-2.0
/* Lines, sections and keys of an INI file. */
#include "memd/config_text.h"

#include <stdio.h>
#include <string.h>

/* Does the line hold "name =" behind white space? */
static bool line_is_key(const char *line, const char *name)
{
	size_t len = strlen(name);

	line += strspn(line, " \t");
	if (strncmp(line, name, len) != 0)
		return false;
	line += len;
	line += strspn(line, " \t");
	return *line == '=';
}

static bool line_is_section(const char *line, const char *name)
{
	size_t len = strlen(name);

	line += strspn(line, " \t");
	return line[0] == '[' && strncmp(line + 1, name, len) == 0 && line[1 + len] == ']';
}

unsigned int config_text_line(const char *text, const char *section, const char *name,
			      unsigned int *ret_times)
{
	bool inside = section == NULL;
	unsigned int found = 0, number = 1;

	*ret_times = 0;
	for (const char *line = text; line && *line; number++) {
		const char *end = strchr(line, '\n');

		if (line[strspn(line, " \t")] == '[')
			inside = section && line_is_section(line, section);
		else if (inside && name && line_is_key(line, name) && ++*ret_times == 1)
			found = number;
		if (inside && !name && !found)
			found = number;
		line = end ? end + 1 : NULL;
	}
	return found;
}

/* [from, to) without white space at its ends; false: it does not fit. */
static bool copy_trimmed(const char *from, const char *to, char *buf, size_t n)
{
	from += strspn(from, " \t");
	while (to > from && strchr(" \t\r", to[-1]))
		to--;
	if (to < from)
		to = from;
	return (size_t)snprintf(buf, n, "%.*s", (int)(to - from), from) < n;
}

bool config_text_next(struct config_text_item *item)
{
	while (item->next && *item->next) {
		const char *line = item->next + strspn(item->next, " \t");
		const char *end = line + strcspn(line, "\n");
		const char *equals = memchr(line, '=', (size_t)(end - line));
		const char *close = memchr(line, ']', (size_t)(end - line));

		item->next = *end ? end + 1 : NULL;
		if (*line == '[') {
			if (!close ||
			    !copy_trimmed(line + 1, close, item->section, sizeof(item->section)))
				item->section[0] = '\0';
		} else if (*line != '#' && equals &&
			   copy_trimmed(line, equals, item->name, sizeof(item->name))) {
			return true;
		}
	}
	return false;
}
