// SPDX-License-Identifier: Apache-2.0
/*
 * vmm's QMP: the command table, the commands about the machine as a whole, and the server's place
 * in the loop. Names, members and errors are QEMU's (qapi/run-state.json, machine.json, misc.json),
 * so that one client drives both.
 */
#include "vmm/qmp.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "common/log.h"
#include "vmm/net.h"
#include "vmm/qmp_impl.h"

/* How long the answer to `quit` may take to leave when the process ends. */
#define DRAIN_USEC 200000

struct qmp {
	struct vm *vm;
	struct wire_server *server;
	struct loop_source *source;
};

static int query_name(void *ctx, json_object *args, json_object **ret_value, struct wire_error *err)
{
	const char *name = vm_options(ctx)->name;

	*ret_value = json_object_new_object();
	if (name[0])
		json_add_str(*ret_value, "name", name);
	return 0;
}

static int query_uuid(void *ctx, json_object *args, json_object **ret_value, struct wire_error *err)
{
	const char *uuid = vm_options(ctx)->uuid;

	*ret_value = json_object_new_object();
	json_add_str(*ret_value, "UUID", uuid[0] ? uuid : "00000000-0000-0000-0000-000000000000");
	return 0;
}

static int query_kvm(void *ctx, json_object *args, json_object **ret_value, struct wire_error *err)
{
	*ret_value = json_object_new_object();
	json_add_bool(*ret_value, "enabled", true);
	json_add_bool(*ret_value, "present", true);
	return 0;
}

static int query_status(void *ctx, json_object *args, json_object **ret_value,
			struct wire_error *err)
{
	const enum vm_state state = vm_state(ctx);

	*ret_value = json_object_new_object();
	json_add_str(*ret_value, "status", vm_state_name(state));
	json_add_bool(*ret_value, "singlestep", false);
	json_add_bool(*ret_value, "running", state == VM_RUNNING);
	return 0;
}

static int query_cpus_fast(void *ctx, json_object *args, json_object **ret_value,
			   struct wire_error *err)
{
	struct vm *vm = ctx;
	json_object *list = json_object_new_array();

	for (unsigned int cpu = 0; cpu < vm_cpu_count(vm); cpu++) {
		json_object *item = json_object_new_object();
		json_object *props = json_object_new_object();
		char path[QMP_CPU_PATH_MAX];
		unsigned int node = 0;
		int tid = 0;

		vm_cpu_thread(vm, cpu, &tid, &node);
		snprintf(path, sizeof(path), QMP_CPU_PATH, cpu);
		json_add_u64(props, "core-id", cpu);
		json_add_u64(props, "thread-id", 0);
		json_add_u64(props, "socket-id", 0);
		if (ram_node_count(vm_ram(vm)) > 1)
			json_add_u64(props, "node-id", node);
		json_add_i64(item, "thread-id", tid);
		json_object_object_add(item, "props", props);
		json_add_str(item, "qom-path", path);
		json_add_u64(item, "cpu-index", cpu);
		json_add_str(item, "target", "x86_64");
		json_object_array_add(list, item);
	}
	*ret_value = list;
	return 0;
}

static int stop(void *ctx, json_object *args, json_object **ret_value, struct wire_error *err)
{
	int r = vm_state(ctx) == VM_RUNNING ? vm_stop(ctx) : 0;

	return r < 0 ? wire_fail(err, r, NULL, "Cannot stop the guest: %s", strerror(-r)) : 0;
}

static int cont(void *ctx, json_object *args, json_object **ret_value, struct wire_error *err)
{
	const enum vm_state state = vm_state(ctx);
	int r;

	if (state == VM_RUNNING)
		return 0;
	if (state == VM_SHUTDOWN || state == VM_INTERNAL_ERROR)
		return wire_fail(err, -EINVAL, NULL, "Resetting the Virtual Machine is required");
	r = vm_cont(ctx);
	return r < 0 ? wire_fail(err, r, NULL, "Cannot run the guest: %s", strerror(-r)) : 0;
}

static int system_powerdown(void *ctx, json_object *args, json_object **ret_value,
			    struct wire_error *err)
{
	vm_powerdown(ctx);
	return 0;
}

static int system_reset(void *ctx, json_object *args, json_object **ret_value,
			struct wire_error *err)
{
	vm_reset(ctx, false);
	return 0;
}

static int quit(void *ctx, json_object *args, json_object **ret_value, struct wire_error *err)
{
	vm_quit(ctx);
	return 0;
}

/* qapi/net.json. The interfaces are net0, net1 ... in the order of the command line. */
static int set_link(void *ctx, json_object *args, json_object **ret_value, struct wire_error *err)
{
	const char *name = json_get_str(args, "name");
	struct virtio_device *net = NULL;
	unsigned int index;
	char same[16] = "";
	bool up = true;

	if (sscanf(name, "net%u", &index) == 1)
		snprintf(same, sizeof(same), "net%u", index);
	if (!strcmp(name, same))
		net = vm_net(ctx, index);
	if (!net)
		return wire_fail(err, -ENODEV, WIRE_DEVICE_NOT_FOUND, "Device '%.64s' not found",
				 name);
	json_get_bool(args, "up", &up);
	net_set_link(net, up);
	return 0;
}

static const struct wire_arg balloon_args[] = {{"value", WIRE_INT, false}, {0}};
static const struct wire_arg list_args[] = {{"path", WIRE_STRING, false}, {0}};
static const struct wire_arg get_args[] = {
	{"path", WIRE_STRING, false}, {"property", WIRE_STRING, false}, {0}};
static const struct wire_arg set_args[] = {{"path", WIRE_STRING, false},
					   {"property", WIRE_STRING, false},
					   {"value", WIRE_ANY, false},
					   {0}};
static const struct wire_arg link_args[] = {
	{"name", WIRE_STRING, false}, {"up", WIRE_BOOL, false}, {0}};
static const struct wire_arg stats_args[] = {{"target", WIRE_STRING, false},
					     {"vcpus", WIRE_ARRAY, true},
					     {"providers", WIRE_ARRAY, true},
					     {0}};

static const struct wire_arg merge_args[] = {{"ranges", WIRE_ARRAY, false}, {0}};
static const struct wire_arg place_args[] = {
	{"host-node", WIRE_INT, false}, {"bytes-per-second", WIRE_INT, true}, {0}};
static const struct wire_arg query_merge_args[] = {{"gpa", WIRE_INT, true}, {0}};

static const struct wire_command commands[] = {
	{"query-name", query_name, NULL, false},
	{"query-uuid", query_uuid, NULL, false},
	{"query-kvm", query_kvm, NULL, false},
	{"query-status", query_status, NULL, false},
	{"query-cpus-fast", query_cpus_fast, NULL, false},
	{"query-stats", qmp_query_stats, stats_args, false},
	{"query-balloon", qmp_query_balloon, NULL, false},
	{"query-block", qmp_query_block, NULL, false},
	{"query-blockstats", qmp_query_blockstats, NULL, false},
	{"query-memdev", qmp_query_memdev, NULL, false},
	{"query-memory-size-summary", qmp_query_memory_size_summary, NULL, false},
	{"query-memory-devices", qmp_query_memory_devices, NULL, false},
	{"__memd-query-returned", qmp_query_returned, NULL, false},
	{"__memd-merge", qmp_merge, merge_args, true},
	{"__memd-query-merge", qmp_query_merge, query_merge_args, false},
	{"__memd-place", qmp_place, place_args, true},
	{"__memd-cancel-place", qmp_cancel_place, NULL, true},
	{"__memd-query-place", qmp_query_place, NULL, false},
	{"qom-list", qmp_qom_list, list_args, false},
	{"qom-get", qmp_qom_get, get_args, false},
	{"qom-set", qmp_qom_set, set_args, true},
	{"balloon", qmp_balloon, balloon_args, true},
	{"set_link", set_link, link_args, true},
	{"stop", stop, NULL, true},
	{"cont", cont, NULL, true},
	{"system_powerdown", system_powerdown, NULL, true},
	{"system_reset", system_reset, NULL, true},
	{"quit", quit, NULL, true},
	{0},
};

static void process(void *ctx, uint32_t events)
{
	struct qmp *qmp = ctx;

	wire_server_process(qmp->server);
}

int qmp_new(struct vm *vm, const char *path, struct qmp **ret_qmp)
{
	struct wire_server_options options = {
		.path = path,
		.package = "vmm " MEMD_VERSION,
		.commands = commands,
		.ctx = vm,
	};
	struct qmp *qmp = calloc(1, sizeof(*qmp));
	int r;

	if (!qmp)
		return -ENOMEM;
	if (sscanf(MEMD_VERSION, "%u.%u.%u", &options.major, &options.minor, &options.micro) < 2)
		log_debug("version %s is not three numbers", MEMD_VERSION);
	qmp->vm = vm;
	r = wire_server_new(&options, &qmp->server);
	if (r < 0) {
		log_err("--qmp %s: %s", path, wire_server_why(r));
		qmp_free(qmp);
		return r;
	}
	qmp->source = loop_add(vm_loop(vm), wire_server_fd(qmp->server), EPOLLIN, process, qmp);
	if (!qmp->source) {
		r = errno ? -errno : -ENOMEM;
		log_err("--qmp %s: cannot be watched: %s", path, strerror(-r));
		qmp_free(qmp);
		return r;
	}
	vm_set_events(vm, qmp->server);
	*ret_qmp = qmp;
	return 0;
}

void qmp_free(struct qmp *qmp)
{
	if (!qmp)
		return;
	if (qmp->source) {
		vm_set_events(qmp->vm, NULL);
		loop_remove(qmp->source);
	}
	if (qmp->server)
		wire_server_drain(qmp->server, DRAIN_USEC);
	wire_server_free(qmp->server);
	free(qmp);
}
