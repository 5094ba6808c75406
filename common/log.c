// SPDX-License-Identifier: Apache-2.0
/*
 * Log lines to stderr, each by one write(2) so that lines of several threads never mix. Control
 * characters become '?': names and messages come from guests and peers, and the reader may be a
 * terminal.
 */
#include "common/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/clock.h"

#define LINE_MAX_BYTES 2048

static struct {
	char program[32];
	enum log_level max;
	bool journal;
} config = {.max = LOG_LEVEL_INFO};

/* systemd.exec(5): JOURNAL_STREAM is "device:inode" of the stream; it is inherited by children
 * whose stderr goes elsewhere, so it counts only when stderr is that very stream. */
static bool stderr_is_journal(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	unsigned long long dev, ino;
	struct stat st;

	if (!stream || sscanf(stream, "%llu:%llu", &dev, &ino) != 2)
		return false;
	return fstat(STDERR_FILENO, &st) == 0 && st.st_dev == dev && st.st_ino == ino;
}

void log_init(const char *program, enum log_level max)
{
	snprintf(config.program, sizeof(config.program), "%s", program ? program : "");
	config.max = max;
	config.journal = stderr_is_journal();
}

void log_line(enum log_level level, const char *fmt, ...)
{
	static const char cut[] = "...";
	char line[LINE_MAX_BYTES];
	const size_t room = sizeof(line) - 1; /* for the newline */
	int saved = errno;
	size_t start, len;
	va_list ap;
	int r = 0;

	if (level > config.max)
		return;
	if (config.journal)
		r = snprintf(line, room, "<%d>", (int)level);
	else if (config.program[0])
		r = snprintf(line, room, "%s: ", config.program);
	start = r > 0 ? (size_t)r : 0;

	va_start(ap, fmt);
	r = vsnprintf(line + start, room - start, fmt, ap);
	va_end(ap);
	if (r < 0)
		r = 0;
	len = start + (size_t)r;
	if (len > room - 1) {
		len = room - 1;
		memcpy(line + len - (sizeof(cut) - 1), cut, sizeof(cut) - 1);
	}
	while (len > start && line[len - 1] == '\n')
		len--;
	for (size_t i = start; i < len; i++)
		if ((unsigned char)line[i] < ' ' || line[i] == 0x7f)
			line[i] = line[i] == '\t' ? ' ' : '?';
	line[len++] = '\n';

	/* Nowhere to report that stderr itself cannot be written. */
	if (write(STDERR_FILENO, line, len) < 0)
		errno = saved;
	errno = saved;
}

bool log_limit_pass(struct log_limit *limit, unsigned int *ret_dropped)
{
	uint64_t now = clock_now_us();
	unsigned int dropped = 0;

	if (limit->start_us == 0 || now - limit->start_us >= limit->window_us) {
		dropped = limit->dropped;
		limit->start_us = now;
		limit->passed = 0;
		limit->dropped = 0;
	}
	if (limit->passed >= limit->burst) {
		limit->dropped += dropped + 1;
		return false;
	}
	limit->passed++;
	if (ret_dropped)
		*ret_dropped = dropped;
	return true;
}
