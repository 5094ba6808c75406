// SPDX-License-Identifier: Apache-2.0
/*
 * memctl top: the report once a second on the whole terminal. One connection to the daemon is kept
 * as long as it answers; a daemon that is restarted is found again.
 */
#include "tools/top.h"

#include <curses.h>
#include <errno.h>
#include <langinfo.h>
#include <locale.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "tools/memctl.h"

#define REFRESH_US  (1 * USEC_PER_SEC)
#define PATIENCE_US (2 * USEC_PER_SEC) /* keys are not heard while the daemon is asked */

static void draw(const struct top *top)
{
	static const int attributes[] = {
		[TOP_PLAIN] = A_NORMAL, [TOP_BOLD] = A_BOLD, [TOP_REVERSE] = A_REVERSE};
	int lines = getmaxy(stdscr), columns = getmaxx(stdscr);
	char text[TOP_LINE_MAX];

	erase();
	for (int line = 0; line < lines; line++) {
		enum top_look look = top_line(top, line, lines, columns, text);

		attrset(attributes[look]);
		mvaddstr(line, 0, text);
		/* A bar goes from edge to edge. */
		if (look == TOP_REVERSE)
			mvchgat(line, 0, -1, A_REVERSE, 0, NULL);
	}
	attrset(A_NORMAL);
	refresh();
}

static void ask(const struct memctl *ctl, struct wire_client **client, struct top *top)
{
	AUTO_JSON json_object *report = NULL;
	struct wire_error err = {0};
	char why[160];
	int r = 0;

	if (!*client)
		r = wire_client_open(ctl->socket, PATIENCE_US, client);
	if (r == 0)
		r = wire_client_call(*client, "query-report", NULL, &report, &err);
	if (r == 0)
		r = top_update(top, report, clock_now_us());
	if (r == 0)
		return;
	if (r == -EREMOTEIO)
		snprintf(why, sizeof(why), "memd: %.140s", err.desc);
	else
		snprintf(why, sizeof(why), "memd does not answer: %s; trying again", strerror(-r));
	top_fail(top, why);
	/* One that only has nothing to say yet is still there. */
	if (r != -EREMOTEIO) {
		wire_client_close(*client);
		*client = NULL;
	}
}

/* client is taken over. */
static void run(const struct memctl *ctl, struct wire_client *client, struct top *top)
{
	uint64_t next_us = 0;
	bool go_on = true;

	while (go_on) {
		uint64_t now_us = clock_now_us();
		int key;

		if (now_us >= next_us) {
			if (!top->paused)
				ask(ctl, &client, top);
			now_us = clock_now_us();
			next_us = now_us + REFRESH_US;
		}
		draw(top);
		timeout((int)((next_us - now_us) / 1000) + 1);
		key = getch();
		if (key != ERR)
			go_on = top_key(top, key);
	}
	wire_client_close(client);
}

enum memctl_exit memctl_top(const struct memctl *ctl, int argc, char **argv)
{
	struct wire_client *client = NULL;
	enum memctl_exit status;
	SCREEN *screen;
	struct top top;

	if (!memctl_no_arguments(argc, argv))
		return MEMCTL_USAGE;
	if (ctl->json || !isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO)) {
		log_err("top is for a terminal; `memctl --json report` is for scripts");
		return MEMCTL_USAGE;
	}
	status = memctl_connect(ctl, &client);
	if (status != MEMCTL_OK)
		return status;
	setlocale(LC_CTYPE, "");
	screen = newterm(NULL, stdout, stdin);
	if (!screen) {
		log_err("this terminal is not known (TERM)");
		wire_client_close(client);
		return MEMCTL_FAILED;
	}
	cbreak();
	noecho();
	curs_set(0);
	keypad(stdscr, true);
	top_init(&top, strcmp(nl_langinfo(CODESET), "UTF-8") == 0);
	run(ctl, client, &top);
	top_fini(&top);
	endwin();
	delscreen(screen);
	return MEMCTL_OK;
}
