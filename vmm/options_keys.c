// SPDX-License-Identifier: Apache-2.0
/*
 * The KEY=VALUE lists of --memory, --mem-device, --disk, --net and --balloon. One table each names
 * the keys, takes their values and says what would be right; a key is given once at most.
 */
#include "vmm/options_impl.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/kfile.h"
#include "common/log.h"
#include "common/size.h"

#define POOL_WAIT_US	(30 * USEC_PER_SEC)
#define POOL_WAIT_MAX_S 3600

bool options_on_off(const char *text, bool *ret_on)
{
	if (strcmp(text, "on") != 0 && strcmp(text, "off") != 0)
		return false;
	*ret_on = text[1] == 'n';
	return true;
}

/* What the lists collect; which keys were given tells defaults from wishes. */
struct key_target {
	struct ram_config *memory;
	struct disk_config *disk;
	struct options_net *net;
	struct mem_options *mem_device;
	struct options *options;
	unsigned int given; /* bit per entry of the table */
};

struct key_entry {
	const char *name;
	bool (*set)(struct key_target *target, const char *value);
	const char *wanted;
};

static bool key_size(struct key_target *t, const char *value)
{
	return size_parse(value, &t->memory->size_bytes) == 0 &&
	       t->memory->size_bytes >= RAM_SIZE_MIN;
}

static bool key_pages(struct key_target *t, const char *value)
{
	for (enum ram_pages p = RAM_PAGES_THP; p <= RAM_PAGES_1G; p++) {
		if (strcmp(value, ram_pages_name(p)) == 0) {
			t->memory->pages = p;
			return true;
		}
	}
	return false;
}

static bool key_host_nodes(struct key_target *t, const char *value)
{
	t->memory->ask_nodes = strcmp(value, "auto") == 0;
	if (t->memory->ask_nodes)
		return true;
	return *value && kfile_list_parse(value, t->memory->host_nodes, RAM_HOST_NODES) == 0 &&
	       ram_config_is_bound(t->memory);
}

static bool key_policy(struct key_target *t, const char *value)
{
	for (enum ram_policy p = RAM_POLICY_BIND; p <= RAM_POLICY_INTERLEAVE; p++) {
		if (strcmp(value, ram_policy_name(p)) == 0) {
			t->memory->policy = p;
			return true;
		}
	}
	return false;
}

static bool key_merge(struct key_target *t, const char *value)
{
	return options_on_off(value, &t->memory->merge);
}

static bool key_prealloc(struct key_target *t, const char *value)
{
	return options_on_off(value, &t->memory->prealloc);
}

static bool key_pool_wait(struct key_target *t, const char *value)
{
	char *end;
	unsigned long s = isdigit((unsigned char)*value) ? strtoul(value, &end, 10) : ULONG_MAX;

	if (s > POOL_WAIT_MAX_S || *end)
		return false;
	t->memory->pool_wait_us = s * USEC_PER_SEC;
	return true;
}

static bool key_dump(struct key_target *t, const char *value)
{
	return options_on_off(value, &t->memory->dump);
}

static bool key_requested(struct key_target *t, const char *value)
{
	return size_parse(value, &t->mem_device->requested_bytes) == 0;
}

static bool key_node(struct key_target *t, const char *value)
{
	char *end;
	unsigned long node = strtoul(value, &end, 10);

	t->mem_device->plug.node = (unsigned int)node;
	return isdigit((unsigned char)*value) && !*end && node < RAM_NODES_MAX;
}

static bool key_block(struct key_target *t, const char *value)
{
	uint64_t *block = &t->mem_device->plug.block_bytes;

	return size_parse(value, block) == 0 && *block >= RAM_BLOCK_MIN &&
	       *block <= RAM_BLOCK_MAX && !(*block & (*block - 1));
}

static bool key_deflate_on_oom(struct key_target *t, const char *value)
{
	return options_on_off(value, &t->options->balloon_deflate_on_oom);
}

static bool key_reporting(struct key_target *t, const char *value)
{
	return options_on_off(value, &t->options->balloon_reporting);
}

static bool key_path(struct key_target *t, const char *value)
{
	size_t len = strlen(value);

	if (len == 0 || len >= sizeof(t->disk->path))
		return false;
	memcpy(t->disk->path, value, len + 1);
	return true;
}

static bool key_readonly(struct key_target *t, const char *value)
{
	return options_on_off(value, &t->disk->readonly);
}

static bool key_serial(struct key_target *t, const char *value)
{
	size_t len = strlen(value);

	if (len == 0 || len >= sizeof(t->disk->serial))
		return false;
	for (size_t i = 0; i < len; i++)
		if (!isalnum((unsigned char)value[i]) && !strchr("._-", value[i]))
			return false;
	memcpy(t->disk->serial, value, len + 1);
	return true;
}

static bool key_discard(struct key_target *t, const char *value)
{
	return options_on_off(value, &t->disk->discard);
}

static bool key_tap(struct key_target *t, const char *value)
{
	size_t len = strlen(value);

	if (len == 0 || len >= sizeof(t->net->tap) || strpbrk(value, "/: \t"))
		return false;
	memcpy(t->net->tap, value, len + 1);
	return true;
}

static bool key_fd(struct key_target *t, const char *value)
{
	char *end;
	unsigned long fd = isdigit((unsigned char)*value) ? strtoul(value, &end, 10) : ULONG_MAX;

	if (fd < 3 || fd > INT_MAX || *end)
		return false;
	t->net->fd = (int)fd;
	return true;
}

static bool key_mac(struct key_target *t, const char *value)
{
	uint8_t any = 0;

	for (unsigned int i = 0; i < 6; i++, value += 3) {
		char byte[3] = {value[0], value[0] ? value[1] : '\0', '\0'};

		if (!isxdigit((unsigned char)byte[0]) || !isxdigit((unsigned char)byte[1]) ||
		    value[2] != (i < 5 ? ':' : '\0'))
			return false;
		t->net->mac[i] = (uint8_t)strtoul(byte, NULL, 16);
		any |= t->net->mac[i];
	}
	t->net->has_mac = true;
	return any && !(t->net->mac[0] & 1);
}

static bool key_vhost(struct key_target *t, const char *value)
{
	bool on;

	if (strcmp(value, "auto") == 0)
		t->net->vhost = OPTIONS_VHOST_AUTO;
	else if (options_on_off(value, &on))
		t->net->vhost = on ? OPTIONS_VHOST_ON : OPTIONS_VHOST_OFF;
	else
		return false;
	return true;
}

enum {
	KEY_SIZE,
	KEY_PAGES,
	KEY_HOST_NODES,
	KEY_POLICY,
	KEY_MERGE,
	KEY_PREALLOC,
	KEY_DUMP,
	KEY_POOL_WAIT,
	N_MEMORY_KEYS
};
static const struct key_entry memory_keys[N_MEMORY_KEYS] = {
	[KEY_SIZE] = {"size", key_size, "a size of at least 2M, such as 512M or 1.5G"},
	[KEY_PAGES] = {"pages", key_pages, "thp, small, 2M or 1G"},
	[KEY_HOST_NODES] = {"host-nodes", key_host_nodes,
			    "host NUMA nodes below 1024, such as 1, 0-1 or 0,2, or auto"},
	[KEY_POLICY] = {"policy", key_policy, "bind, preferred or interleave"},
	[KEY_MERGE] = {"merge", key_merge, "on or off"},
	[KEY_PREALLOC] = {"prealloc", key_prealloc, "on or off"},
	[KEY_DUMP] = {"dump", key_dump, "on or off"},
	[KEY_POOL_WAIT] = {"pool-wait", key_pool_wait, "seconds, 0 to 3600"},
};
static const struct key_entry disk_keys[] = {
	{"path", key_path, "a raw image or block device, a path of up to 1023 bytes"},
	{"readonly", key_readonly, "on or off"},
	{"serial", key_serial, "1 to 20 letters, digits and ._-"},
	{"discard", key_discard, "on or off"},
};

static const struct key_entry net_keys[] = {
	{"tap", key_tap, "the name of an interface, 1 to 15 bytes"},
	{"fd", key_fd, "the number of an open fd from 3 on"},
	{"mac", key_mac, "a MAC such as 02:00:00:12:34:56, whose first byte is even"},
	{"vhost", key_vhost, "auto, on or off"},
};
/* The first ones are those of --memory. */
enum { KEY_REQUESTED = KEY_PREALLOC, KEY_NODE, KEY_BLOCK, N_MEM_DEVICE_KEYS };
static const struct key_entry mem_device_keys[N_MEM_DEVICE_KEYS] = {
	[KEY_SIZE] = {"size", key_size, "a size of at least 2M, such as 512M or 4G"},
	[KEY_PAGES] = {"pages", key_pages, "thp, small, 2M or 1G"},
	[KEY_HOST_NODES] = {"host-nodes", key_host_nodes,
			    "host NUMA nodes below 1024, such as 1, 0-1 or 0,2, or auto"},
	[KEY_POLICY] = {"policy", key_policy, "bind, preferred or interleave"},
	[KEY_MERGE] = {"merge", key_merge, "on or off"},
	[KEY_REQUESTED] = {"requested", key_requested, "a size, such as 0 or 512M"},
	[KEY_NODE] = {"node", key_node, "the number of a guest node, from 0 to 7"},
	[KEY_BLOCK] = {"block", key_block, "2M, 4M, 8M and so on up to 1G"},
};
static const struct key_entry balloon_keys[] = {
	{"deflate-on-oom", key_deflate_on_oom, "on or off"},
	{"free-page-reporting", key_reporting, "on or off"},
};

static const struct key_entry *find_key(const struct key_entry *keys, size_t n, const char *name,
					size_t len)
{
	for (size_t i = 0; i < n; i++)
		if (strlen(keys[i].name) == len && memcmp(keys[i].name, name, len) == 0)
			return &keys[i];
	return NULL;
}

/*
 * The end of the item at text. A comma separates items, but it also separates the numbers of a
 * node list: what begins with a digit goes on with the item before.
 */
static size_t item_length(const char *text)
{
	size_t len = strcspn(text, ",");

	while (text[len] == ',' && isdigit((unsigned char)text[len + 1]))
		len += 1 + strcspn(text + len + 1, ",");
	return len;
}

static int parse_keys(const char *option, const char *text, const struct key_entry *keys, size_t n,
		      struct key_target *target)
{
	while (true) {
		size_t len = item_length(text), name_len = strcspn(text, "=,");
		const struct key_entry *key = find_key(keys, n, text, name_len);
		char value[DISK_PATH_MAX];

		if (!key || name_len >= len) {
			char known[160] = "";

			for (size_t i = 0; i < n; i++) {
				size_t at = strlen(known);

				snprintf(known + at, sizeof(known) - at, "%s%s", i ? ", " : "",
					 keys[i].name);
			}
			log_err("--%s: '%.*s': wanted KEY=VALUE with one of the keys %s", option,
				(int)len, text, known);
			return -EINVAL;
		}
		if (target->given & (1U << (key - keys))) {
			log_err("--%s: '%s' is given twice", option, key->name);
			return -EINVAL;
		}
		target->given |= 1U << (key - keys);
		if (len - name_len - 1 >= sizeof(value)) {
			log_err("--%s %s: the value is too long: wanted %s", option, key->name,
				key->wanted);
			return -EINVAL;
		}
		memcpy(value, text + name_len + 1, len - name_len - 1);
		value[len - name_len - 1] = '\0';
		if (!key->set(target, value)) {
			log_err("--%s %s=%s: wanted %s", option, key->name, value, key->wanted);
			return -EINVAL;
		}
		if (!text[len])
			return 0;
		text += len + 1;
	}
}

/* What keys that were not given stand for, and what must fit together. */
static int finish_memory(const char *option, const char *text, unsigned int given,
			 struct ram_config *config)
{
	if (!(given & (1U << KEY_SIZE))) {
		log_err("--%s %s: size is missing, for instance size=1G", option, text);
		return -EINVAL;
	}
	/* Pool pages cannot be merged: off unless asked for, and then ram_new says why not. */
	if (ram_pages_is_pool(config->pages) && !(given & (1U << KEY_MERGE)))
		config->merge = false;
	if (ram_config_is_bound(config)) {
		if (config->policy == RAM_POLICY_DEFAULT)
			config->policy = RAM_POLICY_BIND;
	} else if (config->policy != RAM_POLICY_DEFAULT && !config->ask_nodes) {
		log_err("--%s %s: policy=%s needs host-nodes, for instance host-nodes=0", option,
			text, ram_policy_name(config->policy));
		return -EINVAL;
	}
	return 0;
}

int options_parse_memory(const char *text, struct options *options)
{
	struct ram_config config = {.merge = true, .pool_wait_us = POOL_WAIT_US};
	struct key_target target = {.memory = &config};

	if (options->n_memory == RAM_NODES_MAX) {
		log_err("--memory %s: at most %d guest NUMA nodes", text, RAM_NODES_MAX);
		return -EINVAL;
	}
	if (parse_keys("memory", text, memory_keys, N_MEMORY_KEYS, &target) < 0 ||
	    finish_memory("memory", text, target.given, &config) < 0)
		return -EINVAL;
	/* memd tells where a guest goes, not where each of its nodes does. */
	if (options->n_memory && (config.ask_nodes || options->memory[0].ask_nodes)) {
		log_err("--memory %s: host-nodes=auto is for guests with one NUMA node", text);
		return -EINVAL;
	}
	options->memory[options->n_memory++] = config;
	return 0;
}

int options_parse_disk(const char *text, struct options *options)
{
	struct disk_config config = {.discard = true};
	struct key_target target = {.disk = &config};

	if (options->n_disks == OPTIONS_DISKS_MAX) {
		log_err("--disk %s: at most %d disks", text, OPTIONS_DISKS_MAX);
		return -EINVAL;
	}
	if (parse_keys("disk", text, disk_keys, ARRAY_SIZE(disk_keys), &target) < 0)
		return -EINVAL;
	if (!config.path[0]) {
		log_err("--disk %s: path is missing, for instance path=debian.img", text);
		return -EINVAL;
	}
	options->disks[options->n_disks++] = config;
	return 0;
}

int options_parse_mem_device(const char *text, struct options *options)
{
	struct mem_options device = {.plug.memory.merge = true};
	struct key_target target = {.memory = &device.plug.memory, .mem_device = &device};
	uint64_t block;

	if (options->n_mem_devices == RAM_PLUGS_MAX) {
		log_err("--mem-device %s: at most %d memory devices", text, RAM_PLUGS_MAX);
		return -EINVAL;
	}
	if (parse_keys("mem-device", text, mem_device_keys, N_MEM_DEVICE_KEYS, &target) < 0 ||
	    finish_memory("mem-device", text, target.given, &device.plug.memory) < 0)
		return -EINVAL;
	if (!device.plug.block_bytes)
		device.plug.block_bytes = ram_plug_block_bytes(device.plug.memory.pages);
	block = device.plug.block_bytes;
	if (device.requested_bytes % block ||
	    device.requested_bytes > device.plug.memory.size_bytes) {
		log_err("--mem-device %s: requested: wanted a multiple of the block size %s, up to "
			"size=",
			text, SIZE_TEXT(block));
		return -EINVAL;
	}
	options->mem_devices[options->n_mem_devices++] = device;
	return 0;
}

int options_parse_balloon(const char *text, struct options *options)
{
	struct key_target target = {.options = options};

	if (options_on_off(text, &options->balloon))
		return 0;
	options->balloon = true;
	return parse_keys("balloon", text, balloon_keys, ARRAY_SIZE(balloon_keys), &target);
}

int options_parse_net(const char *text, struct options *options)
{
	struct options_net net = {.fd = -1};
	struct key_target target = {.net = &net};

	if (options->n_nets == OPTIONS_NETS_MAX) {
		log_err("--net %s: at most %d interfaces", text, OPTIONS_NETS_MAX);
		return -EINVAL;
	}
	if (parse_keys("net", text, net_keys, ARRAY_SIZE(net_keys), &target) < 0)
		return -EINVAL;
	if ((net.fd < 0) == (net.tap[0] == '\0')) {
		log_err("--net %s: wanted one of tap=INTERFACE and fd=N", text);
		return -EINVAL;
	}
	for (size_t i = 0; i < options->n_nets; i++) {
		const struct options_net *other = &options->nets[i];

		if (net.fd < 0 ? strcmp(net.tap, other->tap) == 0 : net.fd == other->fd) {
			log_err("--net %s: given twice; each interface needs a tap of its own",
				text);
			return -EINVAL;
		}
	}
	options->nets[options->n_nets++] = net;
	return 0;
}
