// SPDX-License-Identifier: Apache-2.0
/*
 * The shapes of QMP messages: errors, commands, and JSON members added and read with their types
 * checked, since peers may lie. 64-bit numbers stay exact above 2^63 as well.
 */
#include "common/wire.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void wire_error_set(struct wire_error *err, const char *class, const char *fmt, ...)
{
	va_list ap;

	if (!err)
		return;
	err->class = class ? class : WIRE_GENERIC_ERROR;
	va_start(ap, fmt);
	vsnprintf(err->desc, sizeof(err->desc), fmt, ap);
	va_end(ap);
}

json_object *wire_command_new(const char *command, json_object *arguments, uint64_t id)
{
	json_object *message = json_object_new_object();

	json_add_str(message, "execute", command);
	if (arguments)
		json_object_object_add(message, "arguments", arguments);
	json_add_u64(message, "id", id);
	return message;
}

void json_add_u64(json_object *obj, const char *key, uint64_t value)
{
	json_object_object_add(obj, key,
			       value == UINT64_MAX ? NULL : json_object_new_uint64(value));
}

void json_add_i64(json_object *obj, const char *key, int64_t value)
{
	json_object_object_add(obj, key, json_object_new_int64(value));
}

void json_add_str(json_object *obj, const char *key, const char *value)
{
	json_object_object_add(obj, key, value ? json_object_new_string(value) : NULL);
}

void json_add_bool(json_object *obj, const char *key, bool value)
{
	json_object_object_add(obj, key, json_object_new_boolean(value));
}

/* The member of that type, or NULL. */
static json_object *get_typed(json_object *obj, const char *key, enum json_type type)
{
	json_object *value;

	if (!json_object_is_type(obj, json_type_object) ||
	    !json_object_object_get_ex(obj, key, &value) || !json_object_is_type(value, type))
		return NULL;
	return value;
}

bool json_get_u64(json_object *obj, const char *key, uint64_t *ret_value)
{
	json_object *value = get_typed(obj, key, json_type_int);

	/* json-c saturates: a number above 2^63-1 reads as INT64_MAX here, never as negative. */
	if (!value || json_object_get_int64(value) < 0)
		return false;
	*ret_value = json_object_get_uint64(value);
	return true;
}

bool json_get_bool(json_object *obj, const char *key, bool *ret_value)
{
	json_object *value = get_typed(obj, key, json_type_boolean);

	if (!value)
		return false;
	*ret_value = json_object_get_boolean(value);
	return true;
}

const char *json_get_str(json_object *obj, const char *key)
{
	json_object *value = get_typed(obj, key, json_type_string);
	const char *text;

	if (!value)
		return NULL;
	text = json_object_get_string(value);
	return strlen(text) == (size_t)json_object_get_string_len(value) ? text : NULL;
}

json_object *json_get_obj(json_object *obj, const char *key)
{
	return get_typed(obj, key, json_type_object);
}

json_object *json_get_array(json_object *obj, const char *key)
{
	return get_typed(obj, key, json_type_array);
}
