// SPDX-License-Identifier: Apache-2.0
/*
 * The loading of files into struct config. libeconf finds and splits the files; it knows no line
 * numbers after that, takes a line without "=" for the continuation of the one before, and lists a
 * section as often as it is written: the text is looked at again here for the numbers, and the rest
 * is refused or folded.
 */
#include <errno.h>
#include <fcntl.h>
#include <libeconf.h>
#include <stdarg.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/kfile.h"
#include "common/size.h"
#include "memd/config_key.h"
#include "memd/config_text.h"
#include "memd/numa.h"

const struct config_source config_source_default = {
	.usr_dir = "/usr/lib/memd",
	.etc_dir = "/etc/memd",
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
	char **origin = config_key_origin(l->config, key);
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
	if (origin) {
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
	const struct config_key *key = config_key_find(guest ? "guest" : section, name);
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
		    config_key_find("guest", item.name) &&
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

static bool is_set(struct config *config, const char *name)
{
	return *config_key_origin(config, config_key_find("memd", name)) != NULL;
}

/* Paths that nobody set follow the directories that somebody may have. */
static bool derive_paths(struct config *c)
{
	int n = 0, m = 0, k = 0;

	if (!is_set(c, "socket"))
		n = snprintf(c->socket, sizeof(c->socket), "%s/memd.sock", c->runtime_dir);
	if (!is_set(c, "guests"))
		m = snprintf(c->guest_globs, sizeof(c->guest_globs), "%s/guests/*.qmp",
			     c->runtime_dir);
	if (!is_set(c, "trace"))
		k = snprintf(c->trace, sizeof(c->trace), "%s/trace", c->state_dir);
	return n < CONFIG_PATH_MAX && m < CONFIG_TEXT_MAX && k < CONFIG_PATH_MAX;
}

bool config_keep_places(struct config *config, const struct config *old)
{
	bool other = strcmp(config->socket, old->socket) != 0 ||
		     strcmp(config->runtime_dir, old->runtime_dir) != 0 ||
		     strcmp(config->state_dir, old->state_dir) != 0;

	memcpy(config->runtime_dir, old->runtime_dir, sizeof(config->runtime_dir));
	memcpy(config->state_dir, old->state_dir, sizeof(config->state_dir));
	derive_paths(config);
	memcpy(config->socket, old->socket, sizeof(config->socket));
	return other;
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
	int r;

	if (!l.config)
		return -ENOMEM;
	config_key_defaults(l.config);
	r = load_files(&l, source);
	if (!derive_paths(l.config))
		complain(&l, true, "runtime-dir or state-dir is too long");
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

const struct config_guest *config_find_guest(const struct config *config, const char *name)
{
	for (size_t i = 0; i < config->n_guests; i++)
		if (strcmp(config->guests[i].name, name) == 0)
			return &config->guests[i];
	return NULL;
}

bool config_manages(const struct config *config, const char *guest)
{
	const struct config_guest *section = config_find_guest(config, guest);

	return !section || section->manage;
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
