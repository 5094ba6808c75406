// SPDX-License-Identifier: Apache-2.0
/*
 * One QMP request to the server: envelope and arguments checked against the tables, then run. The
 * messages are QEMU's own (qapi/qmp-dispatch.c, qapi/qobject-input-visitor.c), because scripts
 * and people know them.
 */
#include "common/wire_request.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

json_object *wire_version_new(const struct wire_server_options *options)
{
	json_object *version = json_object_new_object();
	json_object *numbers = json_object_new_object();

	json_add_u64(numbers, "micro", options->micro);
	json_add_u64(numbers, "minor", options->minor);
	json_add_u64(numbers, "major", options->major);
	json_object_object_add(version, "qemu", numbers);
	json_add_str(version, "package", options->package);
	return version;
}

static const struct wire_arg capabilities_args[] = {{"enable", WIRE_ARRAY, true}, {0}};

static const struct wire_command built_in[] = {
	{.name = "qmp_capabilities", .args = capabilities_args},
	{.name = "query-commands"},
	{.name = "query-version"},
	{0},
};

static int run_capabilities(json_object *args, struct wire_error *err)
{
	json_object *enable = json_get_array(args, "enable");

	for (size_t i = 0; enable && i < json_object_array_length(enable); i++)
		return wire_fail(err, -EINVAL, NULL,
				 "Parameter 'enable' does not accept value '%.64s'",
				 json_object_get_string(json_object_array_get_idx(enable, i)));
	return 0;
}

static json_object *commands_new(const struct wire_server_options *options)
{
	const struct wire_command *tables[] = {built_in, options->commands};
	json_object *list = json_object_new_array();

	for (size_t i = 0; i < ARRAY_SIZE(tables); i++)
		for (const struct wire_command *c = tables[i]; c && c->name; c++) {
			json_object *item = json_object_new_object();

			json_add_str(item, "name", c->name);
			json_object_array_add(list, item);
		}
	return list;
}

static int run_built_in(const struct wire_server_options *options, const char *name,
			json_object *args, bool *negotiated, json_object **ret_value,
			struct wire_error *err)
{
	int r = 0;

	if (!strcmp(name, "query-commands")) {
		*ret_value = commands_new(options);
	} else if (!strcmp(name, "query-version")) {
		*ret_value = wire_version_new(options);
	} else {
		r = run_capabilities(args, err);
		*negotiated = r == 0;
	}
	return r;
}

static const struct wire_command *find_command(const struct wire_command *table, const char *name)
{
	for (; table && table->name; table++)
		if (!strcmp(table->name, name))
			return table;
	return NULL;
}

static bool type_fits(json_object *value, enum wire_type type)
{
	switch (type) {
	case WIRE_STRING:
		return json_object_is_type(value, json_type_string);
	case WIRE_U64:
		return json_object_is_type(value, json_type_int) &&
		       json_object_get_int64(value) >= 0;
	case WIRE_INT:
		return json_object_is_type(value, json_type_int) &&
		       (json_object_get_int64(value) < 0 ||
			json_object_get_uint64(value) <= INT64_MAX);
	case WIRE_NUMBER:
		return json_object_is_type(value, json_type_int) ||
		       json_object_is_type(value, json_type_double);
	case WIRE_BOOL:
		return json_object_is_type(value, json_type_boolean);
	case WIRE_OBJECT:
		return json_object_is_type(value, json_type_object);
	case WIRE_ARRAY:
		return json_object_is_type(value, json_type_array);
	case WIRE_ANY:
		return true;
	}
	return false;
}

/* QEMU's names of the types (qapi/qobject-input-visitor.c). */
static const char *const type_names[] = {
	[WIRE_STRING] = "string", [WIRE_U64] = "uint64",    [WIRE_INT] = "integer",
	[WIRE_NUMBER] = "number", [WIRE_BOOL] = "boolean",  [WIRE_OBJECT] = "object",
	[WIRE_ARRAY] = "array",	  [WIRE_ANY] = "any value",
};

static int check_args(const struct wire_arg *expected, json_object *args, struct wire_error *err)
{
	json_object *value;

	for (const struct wire_arg *arg = expected; arg && arg->name; arg++) {
		if (!json_object_object_get_ex(args, arg->name, &value)) {
			if (arg->optional)
				continue;
			return wire_fail(err, -EINVAL, NULL, "Parameter '%s' is missing",
					 arg->name);
		}
		if (!type_fits(value, arg->type))
			return wire_fail(err, -EINVAL, NULL,
					 "Invalid parameter type for '%s', expected: %s", arg->name,
					 type_names[arg->type]);
		if (arg->type == WIRE_STRING && !json_get_str(args, arg->name))
			return wire_fail(err, -EINVAL, NULL,
					 "Parameter '%s' must not contain a NUL character",
					 arg->name);
	}
	json_object_object_foreach (args, key, unused) {
		const struct wire_arg *arg = expected;

		(void)unused;
		while (arg && arg->name && strcmp(arg->name, key) != 0)
			arg++;
		if (!arg || !arg->name)
			return wire_fail(err, -EINVAL, NULL, "Parameter '%.64s' is unexpected",
					 key);
	}
	return 0;
}

/* The envelope: 0 when it is a request, with its parts borrowed from it. */
static int check_request(json_object *request, const char **ret_name, json_object **ret_args,
			 struct wire_error *err)
{
	const char *name = NULL;
	json_object *args = NULL;

	json_object_object_foreach (request, key, value) {
		if (!strcmp(key, "execute")) {
			name = json_get_str(request, "execute");
			if (!name)
				return wire_fail(err, -EINVAL, NULL,
						 "QMP input member 'execute' must be a string");
		} else if (!strcmp(key, "arguments")) {
			if (!json_object_is_type(value, json_type_object))
				return wire_fail(err, -EINVAL, NULL,
						 "QMP input member 'arguments' must be an object");
			args = value;
		} else if (strcmp(key, "id") != 0) {
			return wire_fail(err, -EINVAL, NULL,
					 "QMP input member '%.64s' is unexpected", key);
		}
	}
	if (!name)
		return wire_fail(err, -EINVAL, NULL, "QMP input lacks member 'execute'");
	*ret_name = name;
	*ret_args = args;
	return 0;
}

int wire_request_run(const struct wire_server_options *options, uid_t uid, bool *negotiated,
		     json_object *request, json_object **ret_value, struct wire_error *err)
{
	AUTO_JSON json_object *no_args = json_object_new_object();
	const struct wire_command *own, *command;
	json_object *args = NULL;
	const char *name = NULL;
	int r;

	r = check_request(request, &name, &args, err);
	if (r < 0)
		return r;
	if (!args)
		args = no_args;
	own = find_command(built_in, name);
	command = own ? own : find_command(options->commands, name);

	if (*negotiated && own == built_in)
		return wire_fail(err, -EINVAL, WIRE_COMMAND_NOT_FOUND,
				 "Capabilities negotiation is already complete, command ignored");
	if (!*negotiated && own != built_in)
		return wire_fail(err, -EINVAL, WIRE_COMMAND_NOT_FOUND,
				 "Expecting capabilities negotiation with 'qmp_capabilities'");
	if (!command)
		return wire_fail(err, -EINVAL, WIRE_COMMAND_NOT_FOUND,
				 "The command %.128s has not been found", name);
	if (command->changes && uid != 0 && uid != geteuid())
		return wire_fail(
			err, -EPERM, NULL,
			"Command '%s' makes changes: it is for root and uid %u, not uid %u", name,
			(unsigned int)geteuid(), (unsigned int)uid);
	r = check_args(command->args, args, err);
	if (r < 0)
		return r;
	if (own)
		return run_built_in(options, name, args, negotiated, ret_value, err);
	return command->run(options->ctx, args, ret_value, err);
}
