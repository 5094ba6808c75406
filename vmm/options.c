// SPDX-License-Identifier: Apache-2.0
/*
 * vmm's command line. One table drives the parser and --help alike. Parsing is strict: what is not
 * understood is an error that names the option, the value and what would be right; nothing is
 * silently ignored. options_keys.c takes the lists of --memory, --mem-device, --disk and --balloon.
 */
#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

#include "common/log.h"
#include "common/size.h"
#include "vmm/options.h"
#include "vmm/options_impl.h"

/* The socket path has to fit into sockaddr_un with its terminator. */
#define SOCKET_PATH_MAX (sizeof(((struct sockaddr_un *)NULL)->sun_path) - 1)
#define MEMORY_DEFAULT	(512 * MIB)

enum {
	OPT_NAME = 256,
	OPT_UUID,
	OPT_CPUS,
	OPT_MEMORY,
	OPT_KERNEL,
	OPT_INITRD,
	OPT_APPEND,
	OPT_DISK,
	OPT_NET,
	OPT_SERIAL,
	OPT_CONSOLE,
	OPT_RNG,
	OPT_BALLOON,
	OPT_MEM_DEVICE,
	OPT_QMP,
	OPT_PAUSED,
	OPT_NO_REBOOT,
	OPT_SANDBOX,
	OPT_USER,
	OPT_HELP,
	OPT_VERSION,
};

/* In the order of --help. A line break in help starts a new line of its column. */
static const struct option_entry {
	const char *name;
	int id;
	const char *arg; /* NULL: takes none */
	bool repeat;
	const char *help;
} option_table[] = {
	{"name", OPT_NAME, "NAME", false,
	 "name of the guest in QMP and in messages (default: guest)"},
	{"uuid", OPT_UUID, "UUID", false, "UUID of the guest in QMP"},
	{"cpus", OPT_CPUS, "N", false, "virtual CPUs, 1 to 64 (default: 1)"},
	{"memory", OPT_MEMORY, "KEY=VALUE,...", true,
	 "guest RAM (default: size=512M); repeat it for more guest nodes:\n"
	 "  size=SIZE                        2M at least, for instance 512M or 1.5G\n"
	 "  pages=thp|small|2M|1G            transparent huge pages (default), 4 KiB pages,\n"
	 "                                   or pages of the host's 2 MiB or 1 GiB pool\n"
	 "  host-nodes=LIST|auto             host NUMA nodes to take it from: 1, 0-1 or 0,2;\n"
	 "                                   auto: memd is asked\n"
	 "  policy=bind|preferred|interleave how (default with host-nodes: bind)\n"
	 "  merge=on|off                     let KSM merge equal pages (default: on with\n"
	 "                                   thp and small; pool pages cannot be merged)\n"
	 "  prealloc=on|off                  take all of it at start (default: off; pool pages\n"
	 "                                   are always taken at start)\n"
	 "  pool-wait=SECONDS                how long to wait for memd to enlarge a pool that\n"
	 "                                   is too small (default: 30)\n"
	 "  dump=on|off                      keep it in core dumps of vmm (default: off)"},
	{"kernel", OPT_KERNEL, "FILE", false, "bzImage, or ELF vmlinux with a PVH note; required"},
	{"initrd", OPT_INITRD, "FILE", false, "initial RAM disk"},
	{"append", OPT_APPEND, "STRING", false, "kernel command line"},
	{"disk", OPT_DISK, "KEY=VALUE,...", true,
	 "add a virtio disk; repeat it for more (vda, vdb, ...):\n"
	 "  path=FILE                        raw image or block device; required\n"
	 "  readonly=on|off                  the guest cannot write to it (default: off)\n"
	 "  serial=TEXT                      serial number, up to 20 letters, digits and ._-\n"
	 "  discard=on|off                   what the guest discards becomes a hole in the\n"
	 "                                   image (default: on)"},
	{"net", OPT_NET, "KEY=VALUE,...", true,
	 "add a virtio network interface; repeat it for more:\n"
	 "  tap=INTERFACE | fd=N             a tap of the host, or one that is already open\n"
	 "  mac=MAC                          default: made from uuid, or name and tap\n"
	 "  vhost=auto|on|off                have the host's kernel move the frames (default:\n"
	 "                                   if it can)"},
	{"serial", OPT_SERIAL, "WHERE", false,
	 "COM1: stdio (default), none, unix:PATH (vmm listens) or file:PATH"},
	{"console", OPT_CONSOLE, "WHERE", false,
	 "add a virtio console; WHERE as above (default: none)"},
	{"rng", OPT_RNG, "on|off", false, "virtio random number source (default: on)"},
	{"balloon", OPT_BALLOON, "on|off|KEY=VALUE,...", false,
	 "add a virtio balloon (default: off):\n"
	 "  deflate-on-oom=on|off            the guest may take memory back before its OOM\n"
	 "                                   killer runs (default: off)\n"
	 "  free-page-reporting=on|off       the guest reports free memory, which goes back\n"
	 "                                   to the host at once (default: off)"},
	{"mem-device", OPT_MEM_DEVICE, "KEY=VALUE,...", true,
	 "add a virtio-mem device: memory that comes and goes by QMP while\n"
	 "the guest runs; repeat it for more:\n"
	 "  size=SIZE                        how much there may be, at most\n"
	 "  requested=SIZE                   how much to begin with (default: 0)\n"
	 "  node=N                           guest node it belongs to (default: 0)\n"
	 "  block=SIZE                       unit, 2M to 1G (default: 2M; with pages=1G 1G)\n"
	 "  pages, host-nodes, policy, merge as for --memory; pool pages are taken when\n"
	 "                                   the guest plugs them"},
	{"qmp", OPT_QMP, "PATH", false, "socket to serve QMP on"},
	{"paused", OPT_PAUSED, NULL, false, "do not start the guest until QMP `cont`"},
	{"no-reboot", OPT_NO_REBOOT, NULL, false, "a guest that resets ends the process"},
	{"sandbox", OPT_SANDBOX, "auto|on|off|log|explain", false,
	 "confine the process: auto takes what this kernel has\n"
	 "(default), on refuses to run without system call filters,\n"
	 "log lets calls pass and has the kernel log them;\n"
	 "explain prints which calls are allowed, and why"},
	{"user", OPT_USER, "NAME|UID[:GROUP]", false,
	 "become this user once all is open (default: stay)"},
	{"help", OPT_HELP, NULL, false, "print this and exit"},
	{"version", OPT_VERSION, NULL, false, "print the version and exit"},
};
#define N_OPTIONS (sizeof(option_table) / sizeof(option_table[0]))

static enum options_result usage_error(void)
{
	log_err("see 'vmm --help'");
	return OPTIONS_USAGE;
}

static void print_help(void)
{
	printf("Usage: vmm --kernel FILE [OPTION]...\n"
	       "Run one virtual machine on KVM until it powers off.\n\n");
	for (size_t i = 0; i < N_OPTIONS; i++) {
		const struct option_entry *e = &option_table[i];
		const char *line = e->help;
		char head[40];

		snprintf(head, sizeof(head), "--%s%s%s", e->name, e->arg ? " " : "",
			 e->arg ? e->arg : "");
		/* A long head gets a line of its own, so that the text stays in one column. */
		if (strlen(head) > 21)
			printf("  %s\n  %21s ", head, "");
		else
			printf("  %-21s ", head);
		while (true) {
			int len = (int)strcspn(line, "\n");

			printf("%.*s\n", len, line);
			if (!line[len])
				break;
			line += len + 1;
			/* What is indented further starts at the left: it is long. */
			printf("%*s", *line == ' ' ? 2 : 24, "");
		}
	}
	printf("\nExit status: 0 the guest powered off or was told to quit, 1 failure, 2 usage.\n"
	       "Example: vmm --name web1 --cpus 2 --memory size=1G,host-nodes=0 --kernel vmlinuz "
	       "\\\n"
	       "  --initrd initrd.img --append 'console=ttyS0' --balloon deflate-on-oom=on \\\n"
	       "  --qmp /run/memd/guests/web1.qmp\n");
}

/* ---- values ---- */

static bool set_name(const char *text, char *buf, size_t n)
{
	size_t len = strlen(text);

	/* It ends up in file names, cgroup names and terminals. */
	if (len == 0 || len >= n || !isalnum((unsigned char)text[0]))
		return false;
	for (size_t i = 0; i < len; i++)
		if (!isalnum((unsigned char)text[i]) && !strchr("._-+@:", text[i]))
			return false;
	memcpy(buf, text, len + 1);
	return true;
}

static bool set_uuid(const char *text, char buf[37])
{
	if (strlen(text) != 36)
		return false;
	for (size_t i = 0; i < 36; i++) {
		bool dash = i == 8 || i == 13 || i == 18 || i == 23;

		if (dash ? text[i] != '-' : !isxdigit((unsigned char)text[i]))
			return false;
	}
	for (size_t i = 0; i < 37; i++)
		buf[i] = (char)tolower((unsigned char)text[i]);
	return true;
}

static bool set_cpus(const char *text, unsigned int *ret_cpus)
{
	unsigned int n = 0;

	if (!*text || strlen(text) > 3)
		return false;
	for (const char *p = text; *p; p++) {
		if (!isdigit((unsigned char)*p))
			return false;
		n = n * 10 + (unsigned int)(*p - '0');
	}
	if (n == 0 || n > OPTIONS_CPUS_MAX)
		return false;
	*ret_cpus = n;
	return true;
}

/* stdio, none, unix:PATH, file:PATH */
static bool set_chardev(const char *text, const char **ret_where)
{
	if (strcmp(text, "stdio") != 0 && strcmp(text, "none") != 0) {
		size_t path = strlen(text) > 5 ? strlen(text) - 5 : 0;

		if (strncmp(text, "unix:", 5) == 0) {
			if (path == 0 || path > SOCKET_PATH_MAX)
				return false;
		} else if (strncmp(text, "file:", 5) != 0 || path == 0) {
			return false;
		}
	}
	*ret_where = text;
	return true;
}

static bool set_path(const char *text, size_t max, const char **ret_path)
{
	if (!*text || strlen(text) > max)
		return false;
	*ret_path = text;
	return true;
}

static bool set_sandbox(const char *text, enum sandbox_mode *ret_mode)
{
	static const char *const names[] = {
		[SANDBOX_AUTO] = "auto",
		[SANDBOX_ON] = "on",
		[SANDBOX_OFF] = "off",
		[SANDBOX_LOG] = "log",
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (strcmp(text, names[i]) == 0) {
			*ret_mode = (enum sandbox_mode)i;
			return true;
		}
	}
	return false;
}

/* ---- the line as a whole ---- */

static int bad_value(const char *option, const char *value, const char *wanted)
{
	log_err("--%s %s: wanted %s", option, *value ? value : "''", wanted);
	return -EINVAL;
}

/* One option with its value. */
static int take(int id, const char *arg, struct options *o)
{
	const char *why;
	bool console_none;

	switch (id) {
	case OPT_NAME:
		return set_name(arg, o->name, sizeof(o->name))
			       ? 0
			       : bad_value("name", arg,
					   "up to 63 letters, digits and ._-+@: that begin with a "
					   "letter or digit");
	case OPT_UUID:
		return set_uuid(arg, o->uuid)
			       ? 0
			       : bad_value("uuid", arg,
					   "a UUID such as 6f1c2a34-0d5e-4b7a-9c11-2f3e4d5c6b7a");
	case OPT_CPUS:
		return set_cpus(arg, &o->cpus) ? 0
					       : bad_value("cpus", arg, "a number from 1 to 64");
	case OPT_MEMORY:
		return options_parse_memory(arg, o);
	case OPT_KERNEL:
		return set_path(arg, SIZE_MAX, &o->kernel)
			       ? 0
			       : bad_value("kernel", arg, "a bzImage or an ELF vmlinux");
	case OPT_INITRD:
		return set_path(arg, SIZE_MAX, &o->initrd)
			       ? 0
			       : bad_value("initrd", arg, "a file with the initial RAM disk");
	case OPT_APPEND:
		o->append = arg;
		return 0;
	case OPT_DISK:
		return options_parse_disk(arg, o);
	case OPT_NET:
		return options_parse_net(arg, o);
	case OPT_SERIAL:
		return set_chardev(arg, &o->serial)
			       ? 0
			       : bad_value("serial", arg,
					   "stdio, none, unix:PATH (up to 107 bytes) or file:PATH");
	case OPT_CONSOLE:
		console_none = strcmp(arg, "none") == 0;
		if (!set_chardev(arg, &o->console))
			return bad_value("console", arg,
					 "stdio, none, unix:PATH (up to 107 bytes) or file:PATH");
		if (console_none)
			o->console = NULL;
		return 0;
	case OPT_RNG:
		return options_on_off(arg, &o->rng) ? 0 : bad_value("rng", arg, "on or off");
	case OPT_BALLOON:
		return options_parse_balloon(arg, o);
	case OPT_MEM_DEVICE:
		return options_parse_mem_device(arg, o);
	case OPT_QMP:
		return set_path(arg, SOCKET_PATH_MAX, &o->qmp)
			       ? 0
			       : bad_value("qmp", arg, "a socket path of 1 to 107 bytes");
	case OPT_PAUSED:
		o->paused = true;
		return 0;
	case OPT_NO_REBOOT:
		o->no_reboot = true;
		return 0;
	case OPT_SANDBOX:
		return set_sandbox(arg, &o->sandbox)
			       ? 0
			       : bad_value("sandbox", arg, "auto, on, off, log or explain");
	case OPT_USER:
		return sandbox_user_parse(arg, &o->user, &why) < 0 ? bad_value("user", arg, why)
								   : 0;
	default:
		return -EINVAL;
	}
}

/* Defaults and what must fit together. */
static int finish(struct options *o)
{
	char why[RAM_WHY_MAX];

	if (!o->kernel) {
		log_err("--kernel is missing: give a bzImage or an ELF vmlinux");
		return -EINVAL;
	}
	if (o->console && strcmp(o->console, "stdio") == 0 && strcmp(o->serial, "stdio") == 0) {
		log_err("--serial and --console cannot both be stdio: add --serial none");
		return -EINVAL;
	}
	if (o->n_memory == 0)
		o->memory[o->n_memory++] =
			(struct ram_config){.size_bytes = MEMORY_DEFAULT, .merge = true};
	if (ram_config_check(o->memory, o->n_memory, why) < 0) {
		log_err("--memory: %s", why);
		return -EINVAL;
	}
	for (size_t i = 0; i < o->n_mem_devices; i++) {
		if (ram_plug_config_check(&o->mem_devices[i].plug, o->n_memory, why) < 0) {
			log_err("--mem-device: %s", why);
			return -EINVAL;
		}
	}
	return 0;
}

enum options_result options_parse(int argc, char **argv, struct options *ret_options)
{
	struct option longs[N_OPTIONS + 1] = {0};
	struct options o = {.name = "guest", .cpus = 1, .serial = "stdio", .rng = true};
	unsigned int seen = 0;
	int index = -1, id;

	for (size_t i = 0; i < N_OPTIONS; i++)
		longs[i] = (struct option){
			.name = option_table[i].name,
			.has_arg = option_table[i].arg ? required_argument : no_argument,
			.val = option_table[i].id,
		};
	opterr = 0;
	optind = 0; /* glibc: start anew, tests parse many lines */
	while ((id = getopt_long(argc, argv, ":", longs, &index)) != -1) {
		if (id == '?' || id == ':') {
			/* optopt is the id of a known option that is used wrongly. */
			const char *text = argv[optind - 1];

			if (id == ':')
				log_err("%s needs a value", text);
			else if (optopt >= OPT_NAME)
				log_err("%s: takes no value", text);
			else
				log_err("unknown or ambiguous option '%s'", text);
			return usage_error();
		}
		if (id == OPT_HELP) {
			print_help();
			return OPTIONS_DONE;
		}
		if (id == OPT_VERSION) {
			printf("vmm %s\n", MEMD_VERSION);
			return OPTIONS_DONE;
		}
		if (id == OPT_SANDBOX && strcmp(optarg, "explain") == 0) {
			sandbox_explain();
			return OPTIONS_DONE;
		}
		if (seen & (1U << (id - OPT_NAME)) && !option_table[index].repeat) {
			log_err("--%s is given twice", option_table[index].name);
			return usage_error();
		}
		seen |= 1U << (id - OPT_NAME);
		if (take(id, optarg, &o) < 0)
			return usage_error();
	}
	if (optind < argc) {
		log_err("'%s': vmm takes options only", argv[optind]);
		return usage_error();
	}
	if (finish(&o) < 0)
		return usage_error();
	*ret_options = o;
	return OPTIONS_RUN;
}
