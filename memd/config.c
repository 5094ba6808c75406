// SPDX-License-Identifier: Apache-2.0
/*
 * The table of configuration keys and the loading of files into struct config. libeconf finds and
 * splits the files; it knows no line numbers after that, takes a line without "=" for the
 * continuation of the one before, and lists a section as often as it is written: the text is
 * looked at again here for the numbers, and the rest is refused or folded.
 */
#include <errno.h>
#include <fcntl.h>
#include <libeconf.h>
#include <stdarg.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/kfile.h"
#include "common/log.h"
#include "common/size.h"
#include "memd/config.h"
#include "memd/config_text.h"
#include "memd/config_value.h"
#include "memd/numa.h"
#include "policy/pool.h"

const struct config_source config_source_default = {
	.usr_dir = "/usr/lib/memd",
	.etc_dir = "/etc/memd",
};

struct config_key {
	const char *section, *name;
	enum config_type type;
	size_t offset; /* in struct config, or struct config_guest for section "guest" */
	uint64_t min, max;
	const struct config_word *words;
	const char *initial; /* NULL: what pol_config_default() or another key says */
};

static const struct config_word level_words[] = {
	{"err", LOG_LEVEL_ERR},
	{"warn", LOG_LEVEL_WARN},
	{"info", LOG_LEVEL_INFO},
	{"debug", LOG_LEVEL_DEBUG},
	{0},
};
static const struct config_word stop_words[] = {
	{"keep", CONFIG_STOP_KEEP},
	{"deflate", CONFIG_STOP_DEFLATE},
	{0},
};

static const struct config_word idle_words[] = {
	{"auto", CONFIG_IDLE_AUTO},
	{"mglru", CONFIG_IDLE_MGLRU},
	{"off", CONFIG_IDLE_OFF},
	{0},
};

static const struct config_word unit_words[] = {
	{"chunk", CONFIG_MERGE_CHUNK},
	{"guest", CONFIG_MERGE_GUEST},
	{0},
};

static const struct config_word across_words[] = {
	{"auto", POL_ACROSS_AUTO},
	{"yes", POL_ACROSS_YES},
	{"no", POL_ACROSS_NO},
	{"keep", POL_ACROSS_KEEP},
	{0},
};

static const struct config_word pool_words[] = {
	{"off", POL_POOL_OFF},
	{"watch", POL_POOL_WATCH},
	{"manage", POL_POOL_MANAGE},
	{0},
};

static const struct config_word cgroup_words[] = {
	{"off", CONFIG_CGROUPS_OFF},
	{"auto", CONFIG_CGROUPS_AUTO},
	{0},
};

#define AT(member)  offsetof(struct config, member)
#define POL(member) offsetof(struct config, policy.member)
#define ALL	    1000000 /* 100 % in ppm */
#define HOUR	    (3600 * USEC_PER_SEC)

static const struct config_key keys[] = {
	{"memd", "tick", CONFIG_DURATION, AT(tick_us), 100000, 10 * USEC_PER_SEC, NULL, "1s"},
	{"memd", "runtime-dir", CONFIG_PATH, AT(runtime_dir), 0, 0, NULL, "/run/memd"},
	{"memd", "state-dir", CONFIG_PATH, AT(state_dir), 0, 0, NULL, "/var/lib/memd"},
	{"memd", "socket", CONFIG_PATH, AT(socket), 0, 0, NULL, NULL},
	{"memd", "guests", CONFIG_GLOBS, AT(guest_globs), 0, 0, NULL, NULL},
	{"memd", "guest-timeout", CONFIG_DURATION, AT(guest_timeout_us), 10000, 60 * USEC_PER_SEC,
	 NULL, "2s"},
	{"memd", "log-level", CONFIG_WORD, AT(log_level), 0, 0, level_words, "info"},
	{"memd", "trace", CONFIG_PATH_OFF, AT(trace), 0, 0, NULL, NULL},
	{"memd", "trace-size", CONFIG_SIZE, AT(trace_bytes), MIB, 1024 * GIB, NULL, "64M"},
	{"memd", "on-stop", CONFIG_WORD, AT(on_stop), 0, 0, stop_words, "keep"},
	{"memd", "merge-unit", CONFIG_WORD, AT(merge_unit), 0, 0, unit_words, "guest"},
	{"memd", "huge-pages", CONFIG_WORD, AT(huge_pages), 0, 0, pool_words, "watch"},
	{"memd", "huge-repair", CONFIG_SWITCH, AT(huge_repair), 0, 0, NULL, "on"},
	{"memd", "huge-rate", CONFIG_SIZE, AT(huge_bytes_per_s), MIB, 0, NULL, "64M"},
	{"memd", "guest-cgroups", CONFIG_WORD, AT(guest_cgroups), 0, 0, cgroup_words, "off"},
	{"memd", "cgroup-limits", CONFIG_SWITCH, AT(cgroup_limits), 0, 0, NULL, "on"},
	{"memd", "idle-tracking", CONFIG_WORD, AT(idle_tracking), 0, 0, idle_words, "auto"},
	{"policy", "high", CONFIG_PERCENT, POL(high_ppm), 0, ALL, NULL, NULL},
	{"policy", "soft", CONFIG_PERCENT, POL(soft_ppm), 0, ALL, NULL, NULL},
	{"policy", "hard", CONFIG_PERCENT, POL(hard_ppm), 0, ALL, NULL, NULL},
	{"policy", "low", CONFIG_PERCENT, POL(low_ppm), 0, ALL, NULL, NULL},
	{"policy", "high-min", CONFIG_SIZE, POL(high_min_bytes), 0, 0, NULL, NULL},
	{"policy", "high-max", CONFIG_SIZE, POL(high_max_bytes), 0, 0, NULL, NULL},
	{"policy", "hysteresis", CONFIG_PERCENT, POL(hysteresis_ppm), 0, ALL, NULL, NULL},
	{"policy", "guest-reserve", CONFIG_PERCENT, POL(guest_reserve_ppm), 0, ALL, NULL, NULL},
	{"policy", "guest-reserve-min", CONFIG_SIZE, POL(guest_reserve_bytes), 0, 0, NULL, NULL},
	{"policy", "guest-reserve-max", CONFIG_SIZE, POL(guest_reserve_max_bytes), 0, 0, NULL,
	 NULL},
	{"policy", "guest-min", CONFIG_SIZE, POL(guest_min_bytes), 0, 0, NULL, NULL},
	{"policy", "step", CONFIG_SIZE, POL(step_bytes), MIB, 0, NULL, NULL},
	{"policy", "stats-max-age", CONFIG_DURATION, POL(stats_max_age_us), USEC_PER_SEC, HOUR,
	 NULL, NULL},
	{"policy", "trouble-hold", CONFIG_DURATION, POL(trouble_hold_us), 0, 24 * HOUR, NULL, NULL},
	{"policy", "stuck-after", CONFIG_DURATION, POL(stuck_after_us), USEC_PER_SEC, HOUR, NULL,
	 NULL},
	{"policy", "idle-tax", CONFIG_PERCENT, POL(idle_tax_ppm), 0, ALL, NULL, NULL},
	{"policy", "ksm-cpu", CONFIG_PERCENT, POL(ksm_cpu_ppm), 0, ALL, NULL, NULL},
	{"policy", "ksm-trial", CONFIG_DURATION, POL(ksm_trial_us), 10 * USEC_PER_SEC, 24 * HOUR,
	 NULL, NULL},
	{"policy", "ksm", CONFIG_SWITCH, POL(ksm_manage), 0, 0, NULL, NULL},
	{"policy", "balloon", CONFIG_SWITCH, POL(balloon_manage), 0, 0, NULL, NULL},
	{"policy", "reclaim", CONFIG_SWITCH, POL(reclaim_manage), 0, 0, NULL, NULL},
	{"policy", "numa", CONFIG_SWITCH, POL(numa_manage), 0, 0, NULL, NULL},
	{"policy", "numa-rate", CONFIG_SIZE, POL(numa_bytes_per_s), MIB, 0, NULL, NULL},
	{"policy", "node-reserve", CONFIG_PERCENT, POL(node_reserve_ppm), 0, ALL, NULL, NULL},
	{"policy", "merge-across-nodes", CONFIG_WORD, POL(merge_across), 0, 0, across_words, NULL},
};
_Static_assert(ARRAY_SIZE(keys) <= CONFIG_KEYS_MAX, "struct config has too few origins");

#define GUEST(member) offsetof(struct config_guest, member)

static const struct config_key guest_keys[] = {
	{"guest", "shares", CONFIG_NUMBER, GUEST(shares), 1, 1000000, NULL, "1000"},
	{"guest", "min", CONFIG_SIZE, GUEST(min_bytes), 0, 0, NULL, NULL},
	{"guest", "max", CONFIG_SIZE, GUEST(max_bytes), MIB, 0, NULL, NULL},
	{"guest", "domain", CONFIG_LABEL, GUEST(domain), 0, 0, NULL, ""},
	{"guest", "swap-max", CONFIG_SIZE, GUEST(swap_max_bytes), 0, 0, NULL, NULL},
	{"guest", "nodes", CONFIG_LABEL, GUEST(nodes), 0, 0, NULL, ""},
	{"guest", "manage", CONFIG_SWITCH, GUEST(manage), 0, 0, NULL, "yes"},
};

struct loader {
	struct config *config;
	config_say_fn say;
	void *ctx;
	const char *path;
	char *text; /* of path */
	bool failed;
};

static void __attribute__((format(printf, 3, 4)))
complain(struct loader *l, bool error, const char *fmt, ...)
{
	char line[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	l->failed |= error;
	if (l->say)
		l->say(l->ctx, error, line);
}

/* The file as libeconf has just read it; what is behind the first MiB has no line numbers. */
static int read_text(const char *path, char **ret_text)
{
	AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
	AUTO_FREE char *text = NULL;
	ssize_t len;

	if (fd < 0)
		return -errno;
	text = malloc(MIB);
	if (!text)
		return -ENOMEM;
	len = read(fd, text, MIB - 1);
	if (len < 0)
		return -errno;
	text[len] = '\0';
	*ret_text = TAKE_PTR(text);
	return 0;
}

static const struct config_key *find_key(const struct config_key *table, size_t n,
					 const char *section, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(table[i].section, section) == 0 && strcmp(table[i].name, name) == 0)
			return &table[i];
	return NULL;
}

static struct config_guest *add_guest(struct loader *l, const char *name)
{
	struct config *config = l->config;
	struct config_guest *guests;

	for (size_t i = 0; i < config->n_guests; i++)
		if (strcmp(config->guests[i].name, name) == 0)
			return &config->guests[i];
	guests = reallocarray(config->guests, config->n_guests + 1, sizeof(*guests));
	if (!guests)
		return NULL;
	config->guests = guests;
	guests += config->n_guests++;
	*guests = (struct config_guest){
		.shares = 1000,
		.min_bytes = POL_ABSENT,
		.max_bytes = POL_ABSENT,
		.swap_max_bytes = POL_ABSENT,
		.manage = true,
	};
	snprintf(guests->name, sizeof(guests->name), "%s", name);
	return guests;
}

static int load_value(struct loader *l, const struct config_key *key, void *base,
		      const char *section, const char *value)
{
	unsigned int times, line = config_text_line(l->text, section, key->name, &times);
	char why[256];

	if (times > 1)
		complain(l, true, "%s:%u: %s is set %u times in [%s]", l->path, line, key->name,
			 times, section);
	if (!value || !*value) {
		complain(l, true, "%s:%u: %s has no value (delete the line for the default)",
			 l->path, line, key->name);
		return 0;
	}
	if (strchr(value, '\n')) {
		complain(l, true, "%s:%u: the line after %s has no '='", l->path, line, key->name);
		return 0;
	}
	if (config_value_parse(key->type, key->words, key->min, key->max, value,
			       (char *)base + key->offset, why, sizeof(why)) < 0) {
		complain(l, true, "%s:%u: %s: '%s' %s", l->path, line, key->name, value, why);
		return 0;
	}
	if (key >= keys && key < keys + ARRAY_SIZE(keys)) {
		char **origin = &l->config->origin[key - keys];

		free(*origin);
		if (asprintf(origin, "%s:%u", l->path, line) < 0) {
			*origin = NULL;
			return -ENOMEM;
		}
	}
	return 0;
}

static int load_key(struct loader *l, econf_file *file, const char *section, const char *name)
{
	const char *guest = strncmp(section, "guest ", 6) == 0 ? section + 6 : NULL;
	const struct config_key *key =
		guest ? find_key(guest_keys, ARRAY_SIZE(guest_keys), "guest", name)
		      : find_key(keys, ARRAY_SIZE(keys), section, name);
	AUTO_FREE char *value = NULL;
	unsigned int times;
	void *base = l->config;

	if (!key) {
		complain(l, false, "%s:%u: unknown key '%s' in [%s], ignored", l->path,
			 config_text_line(l->text, section, name, &times), name, section);
		return 0;
	}
	if (guest) {
		base = add_guest(l, guest);
		if (!base)
			return -ENOMEM;
	}
	/* An empty value is reported as an error by some versions and as NULL by others. */
	if (econf_getStringValue(file, section, name, &value) != ECONF_SUCCESS)
		value = NULL;
	return load_value(l, key, base, section, value);
}

static int load_section(struct loader *l, econf_file *file, const char *section)
{
	char **names = NULL;
	size_t n = 0;
	unsigned int times;
	int r = 0;

	if (strcmp(section, "memd") != 0 && strcmp(section, "policy") != 0 &&
	    (strncmp(section, "guest ", 6) != 0 || strlen(section + 6) >= POL_NAME_MAX ||
	     !section[6])) {
		complain(l, false,
			 "%s:%u: unknown section [%s], ignored (there are [memd], [policy], "
			 "[guest NAME])",
			 l->path, config_text_line(l->text, section, NULL, &times), section);
		return 0;
	}
	if (econf_getKeys(file, section, &n, &names) != ECONF_SUCCESS)
		return 0; /* an empty section */
	for (size_t i = 0; i < n && r == 0; i++)
		r = load_key(l, file, section, names[i]);
	econf_freeArray(names);
	return r;
}

static bool is_listed(econf_file *file, const char *section, const char *name)
{
	char **names = NULL;
	bool listed = false;
	size_t n = 0;

	if (econf_getKeys(file, section, &n, &names) != ECONF_SUCCESS)
		return false;
	for (size_t i = 0; i < n; i++)
		listed |= strcmp(names[i], name) == 0;
	econf_freeArray(names);
	return listed;
}

/*
 * libeconf 0.5 does not list the first key of a section when the last one before it, in another
 * section, has the same name, nor the section if that is all of it: two guests with nothing but a
 * domain each. It knows them, though, so the text tells what to ask for.
 */
static int load_unlisted(struct loader *l, econf_file *file)
{
	struct config_text_item item = {.next = l->text};
	int r = 0;

	while (r == 0 && config_text_next(&item))
		if (strncmp(item.section, "guest ", 6) == 0 && item.section[6] &&
		    strlen(item.section + 6) < POL_NAME_MAX &&
		    find_key(guest_keys, ARRAY_SIZE(guest_keys), "guest", item.name) &&
		    !is_listed(file, item.section, item.name))
			r = load_key(l, file, item.section, item.name);
	return r;
}

static int load_file(struct loader *l, econf_file *file)
{
	AUTO_FREE char *path = econf_getPath(file);
	AUTO_FREE char *text = NULL;
	char **sections = NULL, **loose = NULL;
	size_t n = 0, n_loose = 0;
	int r;

	if (!path)
		return -ENOMEM;
	r = read_text(path, &text);
	if (r < 0) {
		complain(l, true, "%s: cannot be read: %s", path, strerror(-r));
		return 0;
	}
	l->path = path;
	l->text = text;
	if (econf_getKeys(file, NULL, &n_loose, &loose) == ECONF_SUCCESS) {
		for (size_t i = 0; i < n_loose; i++)
			complain(l, false, "%s: '%s' stands before any section, ignored", path,
				 loose[i]);
		econf_freeArray(loose);
	}
	if (econf_getGroups(file, &n, &sections) != ECONF_SUCCESS)
		return load_unlisted(l, file);
	for (size_t i = 0; i < n && r == 0; i++) {
		bool seen = false;

		for (size_t j = 0; j < i; j++)
			seen |= strcmp(sections[i], sections[j]) == 0;
		if (!seen)
			r = load_section(l, file, sections[i]);
	}
	econf_freeArray(sections);
	return r == 0 ? load_unlisted(l, file) : r;
}

static int load_files(struct loader *l, const struct config_source *source)
{
	econf_file **files = NULL, *single = NULL;
	AUTO_FREE char *where = NULL;
	uint64_t line = 0;
	size_t n = 0;
	econf_err e;
	int r = 0;

	if (source->file) {
		e = econf_readFile(&single, source->file, "=", "#");
		files = &single;
		n = single ? 1 : 0;
	} else {
		e = econf_readDirsHistory(&files, &n, source->usr_dir, source->etc_dir, "memd",
					  "conf", "=", "#");
		if (e == ECONF_NOFILE)
			e = ECONF_SUCCESS;
	}
	if (e == ECONF_NOFILE) {
		complain(l, true, "%s: there is no such file", source->file);
	} else if (e != ECONF_SUCCESS) {
		econf_errLocation(&where, &line);
		complain(l, true, "%s:%llu: %s", where ? where : "configuration",
			 (unsigned long long)line, econf_errString(e));
		n = source->file ? n : 0;
	}
	for (size_t i = 0; i < n; i++) {
		if (r == 0)
			r = load_file(l, files[i]);
		econf_freeFile(files[i]);
	}
	if (!source->file)
		free(files);
	return r;
}

static bool is_set(const struct config *config, size_t offset)
{
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
		if (keys[i].offset == offset)
			return config->origin[i] != NULL;
	return false;
}

/* Paths that nobody set follow the directories that somebody may have. */
static void derive_paths(struct loader *l)
{
	struct config *c = l->config;
	int n = 0, m = 0, k = 0;

	if (!is_set(c, AT(socket)))
		n = snprintf(c->socket, sizeof(c->socket), "%s/memd.sock", c->runtime_dir);
	if (!is_set(c, AT(guest_globs)))
		m = snprintf(c->guest_globs, sizeof(c->guest_globs), "%s/guests/*.qmp",
			     c->runtime_dir);
	if (!is_set(c, AT(trace)))
		k = snprintf(c->trace, sizeof(c->trace), "%s/trace", c->state_dir);
	if (n >= CONFIG_PATH_MAX || m >= CONFIG_TEXT_MAX || k >= CONFIG_PATH_MAX)
		complain(l, true, "runtime-dir or state-dir is too long");
}

static void check_whole(struct loader *l)
{
	uint64_t nodes[NODES_WORDS] = {0};
	struct config *c = l->config;
	const char *why = NULL;

	if (pol_config_check(&c->policy, &why) < 0)
		complain(l, true, "[policy]: %s", why ? why : "the values make no sense together");
	for (size_t i = 0; i < c->n_guests; i++) {
		struct config_guest *g = &c->guests[i];

		if (pol_has(g->min_bytes) && pol_has(g->max_bytes) && g->min_bytes > g->max_bytes)
			complain(l, true, "[guest %s]: min is above max", g->name);
		if (kfile_list_parse(g->nodes, nodes, NODES_BITS) < 0)
			complain(l, true, "[guest %s]: nodes: '%s' is no list of nodes (0-1,3)",
				 g->name, g->nodes);
	}
	/* A path in a sockaddr_un has 108 bytes with its NUL (unix(7)). */
	if (strlen(c->socket) >= 108)
		complain(l, true,
			 "[memd]: socket: '%s' is longer than the 107 characters a socket "
			 "path can have",
			 c->socket);
}

/* A domain's number is that of the first section that names it, from 1. */
static void number_domains(struct config *c)
{
	for (size_t i = 0; i < c->n_guests; i++) {
		size_t first = 0;

		if (!c->guests[i].domain[0])
			continue;
		while (strcmp(c->guests[first].domain, c->guests[i].domain) != 0)
			first++;
		c->guests[i].domain_number = (uint32_t)first + 1;
	}
}

int config_load(const struct config_source *source, config_say_fn say, void *ctx,
		struct config **ret_config)
{
	struct loader l = {.say = say, .ctx = ctx, .config = calloc(1, sizeof(struct config))};
	char why[128];
	int r;

	if (!l.config)
		return -ENOMEM;
	pol_config_default(&l.config->policy);
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
		if (keys[i].initial)
			config_value_parse(keys[i].type, keys[i].words, 0, 0, keys[i].initial,
					   (char *)l.config + keys[i].offset, why, sizeof(why));
	r = load_files(&l, source);
	derive_paths(&l);
	check_whole(&l);
	number_domains(l.config);
	if (r == 0 && l.failed)
		r = -EINVAL;
	if (r < 0)
		config_free(l.config);
	else
		*ret_config = l.config;
	return r;
}

void config_free(struct config *config)
{
	if (!config)
		return;
	for (size_t i = 0; i < CONFIG_KEYS_MAX; i++)
		free(config->origin[i]);
	free(config->guests);
	free(config);
}

int config_set_policy(struct pol_config *policy, const char *name, const char *value, char *why,
		      size_t n)
{
	const struct config_key *key = find_key(keys, ARRAY_SIZE(keys), "policy", name);
	size_t at = 0;

	if (key)
		return config_value_parse(key->type, key->words, key->min, key->max, value,
					  (char *)policy + key->offset - AT(policy), why, n);
	at += (size_t)snprintf(why, n, "is no key of [policy]; there are");
	for (size_t i = 0; i < ARRAY_SIZE(keys) && at < n; i++)
		if (strcmp(keys[i].section, "policy") == 0)
			at += (size_t)snprintf(why + at, n - at, " %s", keys[i].name);
	return -EINVAL;
}

const struct config_guest *config_find_guest(const struct config *config, const char *name)
{
	for (size_t i = 0; i < config->n_guests; i++)
		if (strcmp(config->guests[i].name, name) == 0)
			return &config->guests[i];
	return NULL;
}

uint32_t config_domain(const struct config *config, const char *guest)
{
	const struct config_guest *section = config_find_guest(config, guest);

	return section ? section->domain_number : 0;
}

const char *config_domain_name(const struct config *config, uint32_t number)
{
	return number && number <= config->n_guests ? config->guests[number - 1].domain : "";
}

bool config_has_domains(const struct config *config)
{
	for (size_t i = 0; i < config->n_guests; i++)
		if (config->guests[i].domain_number)
			return true;
	return false;
}

void config_print(const struct config *config, FILE *out)
{
	const char *section = "";
	char buf[CONFIG_TEXT_MAX];

	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		if (strcmp(section, keys[i].section) != 0)
			fprintf(out, "%s[%s]\n", *section ? "\n" : "", keys[i].section);
		section = keys[i].section;
		config_value_format(keys[i].type, keys[i].words,
				    (const char *)config + keys[i].offset, buf, sizeof(buf));
		fprintf(out, "%s=%s\t# %s\n", keys[i].name, buf,
			config->origin[i] ? config->origin[i] : "default");
	}
	for (size_t g = 0; g < config->n_guests; g++) {
		fprintf(out, "\n[guest %s]\n", config->guests[g].name);
		for (size_t i = 0; i < ARRAY_SIZE(guest_keys); i++) {
			config_value_format(guest_keys[i].type, NULL,
					    (const char *)&config->guests[g] + guest_keys[i].offset,
					    buf, sizeof(buf));
			fprintf(out, "%s=%s\n", guest_keys[i].name, buf);
		}
	}
}

bool config_key_info(size_t i, const char **ret_section, const char **ret_name, char *buf, size_t n)
{
	const struct config_source nowhere = {.usr_dir = "/nonexistent", .etc_dir = "/nonexistent"};
	const struct config_key *key;
	struct config *config = NULL;

	if (i >= ARRAY_SIZE(keys) + ARRAY_SIZE(guest_keys))
		return false;
	key = i < ARRAY_SIZE(keys) ? &keys[i] : &guest_keys[i - ARRAY_SIZE(keys)];
	*ret_section = i < ARRAY_SIZE(keys) ? key->section : "guest NAME";
	*ret_name = key->name;
	snprintf(buf, n, "%s", key->initial ? key->initial : "");
	if (i < ARRAY_SIZE(keys) && config_load(&nowhere, NULL, NULL, &config) == 0) {
		config_value_format(key->type, key->words, (const char *)config + key->offset, buf,
				    n);
		config_free(config);
	}
	return true;
}
