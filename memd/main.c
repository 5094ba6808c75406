// SPDX-License-Identifier: Apache-2.0
/* memd: options, configuration, and the daemon's life from start to stop. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "memd/daemon.h"

enum { EXIT_OK, EXIT_FAILED, EXIT_USAGE };

static const char help[] =
	"usage: memd [--config FILE] [--dry-run] [--check-config] [--sysroot DIR]\n"
	"\n"
	"Packs virtual machines onto this host: watches it and every guest, decides once\n"
	"a second, moves memory to where it is needed and accounts for what that brought.\n"
	"\n"
	"  --config FILE    read FILE alone, not /usr/lib/memd, /etc/memd/memd.conf and\n"
	"                   /etc/memd/memd.conf.d\n"
	"  --dry-run        sense and decide, say what would be done, change nothing\n"
	"  --check-config   print the effective configuration and where it comes from\n"
	"  --sysroot DIR    read /proc and /sys below DIR (a captured host)\n"
	"  --help, --version\n"
	"\n"
	"It stays in the foreground and logs to stderr. See memd(8), memd.conf(5), memctl(1).\n";

struct command_line {
	struct daemon_options daemon;
	bool check_config;
};

/* -1: go on; else the status to exit with. */
static int parse(int argc, char **argv, struct command_line *line)
{
	enum { OPT_CONFIG = 1, OPT_DRY_RUN, OPT_CHECK, OPT_SYSROOT, OPT_HELP, OPT_VERSION };
	static const struct option options[] = {
		{"config", required_argument, NULL, OPT_CONFIG},
		{"dry-run", no_argument, NULL, OPT_DRY_RUN},
		{"check-config", no_argument, NULL, OPT_CHECK},
		{"sysroot", required_argument, NULL, OPT_SYSROOT},
		{"help", no_argument, NULL, OPT_HELP},
		{"version", no_argument, NULL, OPT_VERSION},
		{0},
	};
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case OPT_CONFIG:
			line->daemon.source = (struct config_source){.file = optarg};
			break;
		case OPT_DRY_RUN:
			line->daemon.dry_run = true;
			break;
		case OPT_CHECK:
			line->check_config = true;
			break;
		case OPT_SYSROOT:
			line->daemon.sysroot = optarg;
			break;
		case OPT_HELP:
			fputs(help, stdout);
			return EXIT_OK;
		case OPT_VERSION:
			puts("memd " MEMD_VERSION);
			return EXIT_OK;
		default:
			fputs("try 'memd --help'\n", stderr);
			return EXIT_USAGE;
		}
	}
	if (optind < argc) {
		log_err("'%s' is no option; memd takes only options (try 'memd --help')",
			argv[optind]);
		return EXIT_USAGE;
	}
	return -1;
}

static void say(void *ctx, bool error, const char *text)
{
	(void)ctx;
	if (error)
		log_err("%s", text);
	else
		log_warn("%s", text);
}

static int run(const struct command_line *line, struct config *config)
{
	struct daemon *daemon = calloc(1, sizeof(*daemon));
	int r;

	if (!daemon) {
		log_err("no memory");
		config_free(config);
		return EXIT_FAILED;
	}
	r = daemon_open(daemon, &line->daemon, config);
	if (r == 0)
		r = daemon_run(daemon);
	daemon_close(daemon);
	free(daemon);
	return r < 0 ? EXIT_FAILED : EXIT_OK;
}

int main(int argc, char **argv)
{
	struct command_line line = {
		.daemon = {.source = config_source_default, .sysroot = "/"},
	};
	struct config *config = NULL;
	int r;

	log_init("memd", LOG_LEVEL_INFO);
	r = parse(argc, argv, &line);
	if (r >= 0)
		return r;
	r = config_load(&line.daemon.source, say, NULL, &config);
	if (r < 0) {
		log_err("configuration refused%s%s", r == -EINVAL ? "" : ": ",
			r == -EINVAL ? "" : strerror(-r));
		return EXIT_FAILED;
	}
	if (line.check_config) {
		config_print(config, stdout);
		config_free(config);
		return EXIT_OK;
	}
	log_init("memd", config->log_level);
	return run(&line, config);
}
