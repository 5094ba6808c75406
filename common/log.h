/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Log lines to stderr, one write each. Under systemd (JOURNAL_STREAM set) a line starts with its
 * syslog level "<4>" so that the journal files it right; on a terminal it starts with the program.
 * Lines that a guest or a peer can provoke go through a log_limit.
 */
#ifndef MEMD_COMMON_LOG_H
#define MEMD_COMMON_LOG_H

#include <stdbool.h>
#include <stdint.h>

/* syslog(3) numbers. */
enum log_level { LOG_LEVEL_ERR = 3, LOG_LEVEL_WARN = 4, LOG_LEVEL_INFO = 6, LOG_LEVEL_DEBUG = 7 };

/* program: shown before each line on a terminal. max: lines above this level are dropped. */
void log_init(const char *program, enum log_level max);

void log_line(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define log_err(...)   log_line(LOG_LEVEL_ERR, __VA_ARGS__)
#define log_warn(...)  log_line(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_info(...)  log_line(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_line(LOG_LEVEL_DEBUG, __VA_ARGS__)

/* At most `burst` lines in `window_us`; zero-initialise the rest. */
struct log_limit {
	uint64_t window_us;
	unsigned int burst;
	unsigned int passed, dropped;
	uint64_t start_us;
};

/*
 * May one more line be written now? On the first line of a new window *ret_dropped (may be NULL)
 * is how many were held back in the one before.
 */
bool log_limit_pass(struct log_limit *limit, unsigned int *ret_dropped);

#endif
