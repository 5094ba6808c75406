// SPDX-License-Identifier: Apache-2.0
/*
 * QMP's object tree, as much of QEMU's as its clients walk: the balloon and memory devices below
 * /machine/peripheral, the memory backends below /objects. Each kind of object has one table of
 * properties; qom-list, qom-get and qom-set all come from it. Errors are QEMU's (qom/object.c,
 * hw/virtio/virtio-balloon.c, virtio-mem.c, backends/hostmem.c).
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "vmm/balloon.h"
#include "vmm/mem.h"
#include "vmm/qmp.h"
#include "vmm/qmp_impl.h"

#define PATH_MAX_BYTES 256

enum kind { KIND_CONTAINER, KIND_MACHINE, KIND_BALLOON, KIND_MEM, KIND_BACKEND };

static const char *const type_names[] = {
	[KIND_CONTAINER] = "container",		  [KIND_MACHINE] = "vmm-machine",
	[KIND_BALLOON] = "virtio-balloon-device", [KIND_MEM] = "virtio-mem-device",
	[KIND_BACKEND] = "memory-backend-ram",
};

struct object {
	enum kind kind;
	size_t index; /* KIND_BACKEND, KIND_MEM: which */
	char path[40];
};

struct property {
	const char *name, *type;
	json_object *(*get)(struct vm *vm, const struct object *object);
	/* 0, or err is filled. NULL: the property cannot be set. */
	int (*set)(struct vm *vm, const struct object *object, json_object *value,
		   struct wire_error *err);
};

/* ---- balloon ---- */

static json_object *get_guest_stats(struct vm *vm, const struct object *object)
{
	json_object *obj = json_object_new_object();
	json_object *list = json_object_new_object();
	struct balloon_stats stats;

	balloon_stats(vm_balloon(vm), &stats);
	for (size_t i = 0; i < BALLOON_STATS_MAX; i++)
		if (balloon_stat_names[i])
			json_object_object_add(list, balloon_stat_names[i],
					       json_object_new_uint64(stats.value[i]));
	json_object_object_add(obj, "stats", list);
	json_add_i64(obj, "last-update", stats.last_update_s);
	return obj;
}

static json_object *get_poll_interval(struct vm *vm, const struct object *object)
{
	return json_object_new_uint64(balloon_poll_interval(vm_balloon(vm)));
}

static int set_poll_interval(struct vm *vm, const struct object *object, json_object *value,
			     struct wire_error *err)
{
	int r;

	if (!json_object_is_type(value, json_type_int))
		return wire_fail(err, -EINVAL, NULL,
				 "Invalid parameter type for 'guest-stats-polling-interval', "
				 "expected: integer");
	if (json_object_get_int64(value) < 0)
		return wire_fail(err, -EINVAL, NULL, "timer value must be greater than zero");
	r = balloon_set_poll_interval(vm_balloon(vm), json_object_get_uint64(value));
	if (r == -ERANGE)
		return wire_fail(err, r, NULL, "timer value is too big");
	return r < 0 ? wire_fail(err, r, NULL, "Cannot poll the guest: %s", strerror(-r)) : 0;
}

static json_object *get_deflate_on_oom(struct vm *vm, const struct object *object)
{
	return json_object_new_boolean(balloon_deflates_on_oom(vm_balloon(vm)));
}

static json_object *get_reporting(struct vm *vm, const struct object *object)
{
	return json_object_new_boolean(vm_options(vm)->balloon_reporting);
}

static const struct property balloon_properties[] = {
	{"guest-stats", "guest statistics", get_guest_stats, NULL},
	{"guest-stats-polling-interval", "int", get_poll_interval, set_poll_interval},
	{"deflate-on-oom", "bool", get_deflate_on_oom, NULL},
	{"free-page-reporting", "bool", get_reporting, NULL},
	{0},
};

/* ---- memory backends ---- */

static const struct ram_config *config_of(struct vm *vm, const struct object *object)
{
	return qmp_backend_config(vm, object->index);
}

static json_object *get_merge(struct vm *vm, const struct object *object)
{
	return json_object_new_boolean(qmp_backend_merge(vm, object->index));
}

static int set_merge(struct vm *vm, const struct object *object, json_object *value,
		     struct wire_error *err)
{
	char id[QMP_BACKEND_ID_MAX];
	bool on;
	int r;

	if (!json_object_is_type(value, json_type_boolean))
		return wire_fail(err, -EINVAL, NULL,
				 "Invalid parameter type for 'merge', expected: boolean");
	on = json_object_get_boolean(value);
	if (!on && !qmp_backend_merge(vm, object->index))
		return 0;
	qmp_backend_id(vm, object->index, id);
	r = qmp_backend_set_merge(vm, object->index, on);
	if (r == -EOPNOTSUPP)
		return wire_fail(err, r, NULL,
				 "Cannot merge '%s': it has %s pages of the host's "
				 "pool, which the kernel never merges",
				 id, ram_pages_name(config_of(vm, object)->pages));
	if (r == -EINVAL)
		return wire_fail(err, r, NULL, "Cannot merge '%s': the host's kernel has no KSM",
				 id);
	return r < 0 ? wire_fail(err, r, NULL, "Cannot %s '%s': %s", on ? "merge" : "unmerge", id,
				 strerror(-r))
		     : 0;
}

static json_object *get_size(struct vm *vm, const struct object *object)
{
	return json_object_new_uint64(config_of(vm, object)->size_bytes);
}

static json_object *get_policy(struct vm *vm, const struct object *object)
{
	return json_object_new_string(ram_policy_name(config_of(vm, object)->policy));
}

static json_object *get_host_nodes(struct vm *vm, const struct object *object)
{
	return qmp_host_nodes_new(config_of(vm, object));
}

static json_object *get_prealloc(struct vm *vm, const struct object *object)
{
	return json_object_new_boolean(config_of(vm, object)->prealloc);
}

static json_object *get_dump(struct vm *vm, const struct object *object)
{
	return json_object_new_boolean(config_of(vm, object)->dump);
}

static json_object *get_share(struct vm *vm, const struct object *object)
{
	return json_object_new_boolean(false);
}

static json_object *get_hugepages(struct vm *vm, const struct object *object)
{
	return json_object_new_boolean(ram_pages_is_pool(config_of(vm, object)->pages));
}

static json_object *get_pages(struct vm *vm, const struct object *object)
{
	return json_object_new_string(ram_pages_name(config_of(vm, object)->pages));
}

static const struct property backend_properties[] = {
	{"merge", "bool", get_merge, set_merge},
	{"size", "int", get_size, NULL},
	{"policy", "HostMemPolicy", get_policy, NULL},
	{"host-nodes", "int", get_host_nodes, NULL},
	{"prealloc", "bool", get_prealloc, NULL},
	{"dump", "bool", get_dump, NULL},
	{"share", "bool", get_share, NULL},
	{"hugepages", "bool", get_hugepages, NULL},
	{"__memd-pages", "string", get_pages, NULL},
	{0},
};

/* ---- memory devices ---- */

static const struct ram_plug_config *plug_of(struct vm *vm, const struct object *object)
{
	return ram_plug_config(vm_ram(vm), object->index);
}

static json_object *get_plugged(struct vm *vm, const struct object *object)
{
	return json_object_new_uint64(mem_plugged_bytes(vm_mem(vm, object->index)));
}

static json_object *get_requested(struct vm *vm, const struct object *object)
{
	return json_object_new_uint64(mem_requested_bytes(vm_mem(vm, object->index)));
}

static int set_requested(struct vm *vm, const struct object *object, json_object *value,
			 struct wire_error *err)
{
	const struct ram_plug_config *plug = plug_of(vm, object);
	int64_t bytes = json_object_get_int64(value);
	int r;

	if (!json_object_is_type(value, json_type_int) || bytes < 0)
		return wire_fail(err, -EINVAL, NULL,
				 "Invalid parameter type for 'requested-size', expected: uint64");
	r = mem_set_requested(vm_mem(vm, object->index), (uint64_t)bytes);
	if (r == -ERANGE)
		return wire_fail(err, r, NULL,
				 "'requested-size' cannot exceed the memory backend size (0x%llx)",
				 (unsigned long long)plug->memory.size_bytes);
	return r < 0 ? wire_fail(err, r, NULL,
				 "'requested-size' has to be multiple of 'block-size' (0x%llx)",
				 (unsigned long long)plug->block_bytes)
		     : 0;
}

static json_object *get_block_size(struct vm *vm, const struct object *object)
{
	return json_object_new_uint64(plug_of(vm, object)->block_bytes);
}

static json_object *get_memaddr(struct vm *vm, const struct object *object)
{
	return json_object_new_uint64(ram_plug_region(vm_ram(vm), object->index)->gpa);
}

static json_object *get_node(struct vm *vm, const struct object *object)
{
	return json_object_new_uint64(plug_of(vm, object)->node);
}

static json_object *get_memdev(struct vm *vm, const struct object *object)
{
	char id[QMP_BACKEND_ID_MAX], path[40];

	snprintf(path, sizeof(path), "/objects/%s",
		 qmp_backend_id(vm, ram_node_count(vm_ram(vm)) + object->index, id));
	return json_object_new_string(path);
}

static json_object *get_inaccessible(struct vm *vm, const struct object *object)
{
	return json_object_new_string("on");
}

static const struct property mem_properties[] = {
	{"size", "size", get_plugged, NULL},
	{"requested-size", "size", get_requested, set_requested},
	{"block-size", "size", get_block_size, NULL},
	{"memaddr", "uint64", get_memaddr, NULL},
	{"node", "uint32", get_node, NULL},
	{"memdev", "link<memory-backend>", get_memdev, NULL},
	{"unplugged-inaccessible", "OnOffAuto", get_inaccessible, NULL},
	{0},
};

/* ---- the tree ---- */

static json_object *get_type(struct vm *vm, const struct object *object)
{
	return json_object_new_string(type_names[object->kind]);
}

/* Every object has these. */
static const struct property common_properties[] = {
	{"type", "string", get_type, NULL},
	{0},
};

static const struct property *properties_of(enum kind kind)
{
	switch (kind) {
	case KIND_BALLOON:
		return balloon_properties;
	case KIND_MEM:
		return mem_properties;
	case KIND_BACKEND:
		return backend_properties;
	case KIND_CONTAINER:
	case KIND_MACHINE:
		break;
	}
	return NULL;
}

/* The objects by number: parents before children. false: no more. */
static bool object_at(struct vm *vm, size_t index, struct object *ret_object)
{
	static const struct object fixed[] = {
		{KIND_CONTAINER, 0, "/"},
		{KIND_MACHINE, 0, "/machine"},
		{KIND_CONTAINER, 0, "/machine/peripheral"},
		{KIND_CONTAINER, 0, "/machine/peripheral-anon"},
		{KIND_CONTAINER, 0, "/objects"},
	};

	if (index < ARRAY_SIZE(fixed)) {
		*ret_object = fixed[index];
		return true;
	}
	index -= ARRAY_SIZE(fixed);
	if (index < qmp_backend_count(vm)) {
		char id[QMP_BACKEND_ID_MAX];

		ret_object->kind = KIND_BACKEND;
		ret_object->index = index;
		snprintf(ret_object->path, sizeof(ret_object->path), "/objects/%s",
			 qmp_backend_id(vm, index, id));
		return true;
	}
	index -= qmp_backend_count(vm);
	if (vm_mem(vm, index)) {
		ret_object->kind = KIND_MEM;
		ret_object->index = index;
		snprintf(ret_object->path, sizeof(ret_object->path), QMP_MEM_PATH, index);
		return true;
	}
	index -= ram_plug_count(vm_ram(vm));
	if (index == 0 && vm_balloon(vm)) {
		*ret_object = (struct object){KIND_BALLOON, 0, "/machine/peripheral/balloon0"};
		return true;
	}
	return false;
}

/* One slash between components and none at the end; "/" stays. false: too long to be a path. */
static bool normalize(const char *path, char *buf, size_t n)
{
	size_t len = 0;

	for (const char *p = path; *p; p++) {
		if (*p == '/' && len && buf[len - 1] == '/')
			continue;
		if (len + 1 >= n)
			return false;
		buf[len++] = *p;
	}
	if (len > 1 && buf[len - 1] == '/')
		len--;
	buf[len] = '\0';
	return len > 0;
}

/* Is wanted this path, or, not beginning with a slash, its last components? */
static bool path_matches(const char *path, const char *wanted)
{
	size_t path_len = strlen(path), wanted_len = strlen(wanted);

	if (wanted[0] == '/')
		return !strcmp(path, wanted);
	return wanted_len < path_len && path[path_len - wanted_len - 1] == '/' &&
	       !strcmp(path + path_len - wanted_len, wanted);
}

static int find_object(struct vm *vm, const char *path, struct object *ret_object,
		       struct wire_error *err)
{
	char wanted[PATH_MAX_BYTES];

	if (normalize(path, wanted, sizeof(wanted)))
		for (size_t i = 0; object_at(vm, i, ret_object); i++)
			if (path_matches(ret_object->path, wanted))
				return 0;
	return wire_fail(err, -ENOENT, WIRE_DEVICE_NOT_FOUND, "Device '%.256s' not found", path);
}

static const struct property *find_property(const struct object *object, const char *name,
					    struct wire_error *err)
{
	const struct property *tables[] = {common_properties, properties_of(object->kind)};

	for (size_t i = 0; i < ARRAY_SIZE(tables); i++)
		for (const struct property *p = tables[i]; p && p->name; p++)
			if (!strcmp(p->name, name))
				return p;
	wire_fail(err, -ENOENT, NULL, "Property '%s.%.128s' not found", type_names[object->kind],
		  name);
	return NULL;
}

static void add_entry(json_object *list, const char *name, const char *type)
{
	json_object *item = json_object_new_object();

	json_add_str(item, "name", name);
	json_add_str(item, "type", type);
	json_object_array_add(list, item);
}

/* The name of child when parent is what it lies in, else NULL. */
static const char *child_name(const char *parent, const char *child)
{
	const char *slash = strrchr(child, '/');
	size_t len = slash == child ? 1 : (size_t)(slash - child);

	if (!slash[1] || strlen(parent) != len || strncmp(parent, child, len) != 0)
		return NULL;
	return slash + 1;
}

int qmp_qom_list(void *ctx, json_object *args, json_object **ret_value, struct wire_error *err)
{
	struct object object, other;
	const struct property *tables[2] = {common_properties, NULL};
	json_object *list;
	int r = find_object(ctx, json_get_str(args, "path"), &object, err);

	if (r < 0)
		return r;
	tables[1] = properties_of(object.kind);
	list = json_object_new_array();
	for (size_t i = 0; i < ARRAY_SIZE(tables); i++)
		for (const struct property *p = tables[i]; p && p->name; p++)
			add_entry(list, p->name, p->type);
	for (size_t i = 0; object_at(ctx, i, &other); i++) {
		const char *name = child_name(object.path, other.path);
		char type[64];

		if (!name)
			continue;
		snprintf(type, sizeof(type), "child<%s>", type_names[other.kind]);
		add_entry(list, name, type);
	}
	*ret_value = list;
	return 0;
}

int qmp_qom_get(void *ctx, json_object *args, json_object **ret_value, struct wire_error *err)
{
	const struct property *property;
	struct object object;
	int r = find_object(ctx, json_get_str(args, "path"), &object, err);

	if (r < 0)
		return r;
	property = find_property(&object, json_get_str(args, "property"), err);
	if (!property)
		return -ENOENT;
	*ret_value = property->get(ctx, &object);
	return 0;
}

int qmp_qom_set(void *ctx, json_object *args, json_object **ret_value, struct wire_error *err)
{
	const struct property *property;
	struct object object;
	json_object *value = NULL;
	int r = find_object(ctx, json_get_str(args, "path"), &object, err);

	if (r < 0)
		return r;
	property = find_property(&object, json_get_str(args, "property"), err);
	if (!property)
		return -ENOENT;
	if (!property->set)
		return wire_fail(err, -EPERM, NULL, "Property '%s.%s' is not writable",
				 type_names[object.kind], property->name);
	json_object_object_get_ex(args, "value", &value);
	return property->set(ctx, &object, value, err);
}
