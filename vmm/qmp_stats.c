// SPDX-License-Identifier: Apache-2.0
/*
 * QMP query-stats from KVM's binary statistics: the kernel describes each value in the file itself,
 * so whatever a host's KVM counts is passed on under its own name.
 * Source: Documentation/virt/kvm/api.rst 4.133 KVM_GET_STATS_FD, linux/kvm.h; QEMU qapi/stats.json.
 */
#include <errno.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/qmp_impl.h"

/* Far above any kernel's (48 bytes, about 60 values): bounds what a broken file makes us read. */
#define NAME_BYTES_MAX 256
#define DESCS_MAX      4096
#define DATA_BYTES_MAX (1U << 20)
#define PROVIDER       "kvm"

struct stats_file {
	struct kvm_stats_header header;
	char *descs; /* num_desc descriptors of desc_bytes each */
	size_t desc_bytes;
	char *data;
	size_t data_bytes;
};

static int read_exactly(int fd, void *buf, size_t n, uint64_t offset)
{
	size_t done = 0;

	while (done < n) {
		ssize_t r = pread(fd, (char *)buf + done, n - done, (off_t)(offset + done));

		if (r < 0 && errno == EINTR)
			continue;
		if (r <= 0)
			return r < 0 ? -errno : -EPROTO;
		done += (size_t)r;
	}
	return 0;
}

static void stats_file_release(struct stats_file *file)
{
	free(file->descs);
	free(file->data);
}

static const struct kvm_stats_desc *desc_at(const struct stats_file *file, uint32_t index)
{
	return (const void *)(file->descs + index * file->desc_bytes);
}

/* Descriptors are read one by one, so they need the alignment of their 32-bit members. */
static int read_descs(int fd, struct stats_file *file)
{
	const struct kvm_stats_header *header = &file->header;

	if (header->name_size == 0 || header->name_size > NAME_BYTES_MAX ||
	    header->name_size % sizeof(uint32_t) || header->num_desc > DESCS_MAX)
		return -EPROTO;
	file->desc_bytes = sizeof(struct kvm_stats_desc) + header->name_size;
	file->descs = calloc(header->num_desc + 1, file->desc_bytes);
	if (!file->descs)
		return -ENOMEM;
	return read_exactly(fd, file->descs, header->num_desc * file->desc_bytes,
			    header->desc_offset);
}

static int stats_file_read(int fd, struct stats_file *file)
{
	int r = read_exactly(fd, &file->header, sizeof(file->header), 0);

	if (r == 0)
		r = read_descs(fd, file);
	for (uint32_t i = 0; r == 0 && i < file->header.num_desc; i++) {
		const struct kvm_stats_desc *desc = desc_at(file, i);
		const size_t end = (size_t)desc->offset + desc->size * sizeof(uint64_t);

		if (end > DATA_BYTES_MAX || !memchr(desc->name, '\0', file->header.name_size))
			r = -EPROTO;
		else if (end > file->data_bytes)
			file->data_bytes = end;
	}
	if (r < 0)
		return r;
	file->data = malloc(file->data_bytes + 1);
	if (!file->data)
		return -ENOMEM;
	return read_exactly(fd, file->data, file->data_bytes, file->header.data_offset);
}

/* A number, a boolean, or an array for a histogram: QEMU's StatsValue. */
static json_object *value_new(const struct stats_file *file, const struct kvm_stats_desc *desc)
{
	json_object *list = NULL;
	uint64_t value;

	if (desc->size > 1)
		list = json_object_new_array();
	for (unsigned int i = 0; i < desc->size; i++) {
		memcpy(&value, file->data + desc->offset + i * sizeof(value), sizeof(value));
		if (list)
			json_object_array_add(list, json_object_new_uint64(value));
		else if ((desc->flags & KVM_STATS_UNIT_MASK) == KVM_STATS_UNIT_BOOLEAN)
			return json_object_new_boolean(value != 0);
		else
			return json_object_new_uint64(value);
	}
	return list;
}

static bool list_has(json_object *list, const char *name)
{
	for (size_t i = 0; i < json_object_array_length(list); i++) {
		json_object *item = json_object_array_get_idx(list, i);

		if (json_object_is_type(item, json_type_string) &&
		    !strcmp(json_object_get_string(item), name))
			return true;
	}
	return false;
}

/* names: an array to choose from, or NULL for all. */
static json_object *stats_new(const struct stats_file *file, json_object *names)
{
	json_object *list = json_object_new_array();

	for (uint32_t i = 0; i < file->header.num_desc; i++) {
		const struct kvm_stats_desc *desc = desc_at(file, i);
		json_object *item;

		/* Of a newer kernel, with a meaning we do not know: QEMU leaves it out too. */
		if ((desc->flags & KVM_STATS_TYPE_MASK) > KVM_STATS_TYPE_MAX || desc->size == 0)
			continue;
		if (names && !list_has(names, desc->name))
			continue;
		item = json_object_new_object();
		json_add_str(item, "name", desc->name);
		json_object_object_add(item, "value", value_new(file, desc));
		json_object_array_add(list, item);
	}
	return list;
}

/* One entry of the answer. cpu -1: the VM. */
static json_object *entry_new(const struct stats_file *file, int cpu, json_object *names)
{
	json_object *entry = json_object_new_object();
	char path[QMP_CPU_PATH_MAX];

	json_add_str(entry, "provider", PROVIDER);
	if (cpu >= 0) {
		snprintf(path, sizeof(path), QMP_CPU_PATH, (unsigned int)cpu);
		json_add_str(entry, "qom-path", path);
	}
	json_object_object_add(entry, "stats", stats_new(file, names));
	return entry;
}

static int add_target(struct vm *vm, int cpu, json_object *names, json_object *results,
		      struct wire_error *err)
{
	AUTO_FD int fd = vm_stats_fd(vm, cpu);
	struct stats_file file = {0};
	int r;

	if (fd == -ENOTTY || fd == -EINVAL || fd == -EOPNOTSUPP || fd == -ENOSYS)
		return wire_fail(err, fd, NULL,
				 "The host's KVM has no binary statistics (KVM_GET_STATS_FD, "
				 "Linux 5.14 and later)");
	if (fd < 0)
		return wire_fail(err, fd, NULL, "Cannot open KVM's statistics: %s", strerror(-fd));
	r = stats_file_read(fd, &file);
	if (r == 0)
		json_object_array_add(results, entry_new(&file, cpu, names));
	stats_file_release(&file);
	if (r < 0)
		return wire_fail(err, r, NULL, "Cannot read KVM's statistics: %s", strerror(-r));
	return 0;
}

/*
 * providers: [{"provider": "kvm", "names": [...]}]. 1: KVM is wanted, *ret_names (may be NULL for
 * all) is borrowed; 0: it is not; <0: err is filled.
 */
static int check_providers(json_object *providers, json_object **ret_names, struct wire_error *err)
{
	*ret_names = NULL;
	for (size_t i = 0; providers && i < json_object_array_length(providers); i++) {
		json_object *item = json_object_array_get_idx(providers, i);
		const char *provider = json_get_str(item, "provider");

		if (!provider)
			return wire_fail(err, -EINVAL, NULL,
					 "Parameter 'providers[%zu].provider' is missing", i);
		if (strcmp(provider, PROVIDER) != 0)
			return wire_fail(err, -EINVAL, NULL,
					 "Parameter 'providers[%zu].provider' does not accept "
					 "value '%.64s'",
					 i, provider);
		*ret_names = json_get_array(item, "names");
		return 1;
	}
	return providers == NULL;
}

int qmp_query_stats(void *ctx, json_object *args, json_object **ret_value, struct wire_error *err)
{
	const char *target = json_get_str(args, "target");
	json_object *vcpus = json_get_array(args, "vcpus");
	AUTO_JSON json_object *results = json_object_new_array();
	json_object *names;
	int r = check_providers(json_get_array(args, "providers"), &names, err);

	if (r < 0)
		return r;
	if (!strcmp(target, "vm")) {
		if (vcpus)
			return wire_fail(err, -EINVAL, NULL, "Parameter 'vcpus' is unexpected");
		r = r ? add_target(ctx, -1, names, results, err) : 0;
	} else if (!strcmp(target, "vcpu")) {
		const int n = r ? (int)vm_cpu_count(ctx) : 0;

		r = 0;
		for (int cpu = 0; r == 0 && cpu < n; cpu++) {
			char path[QMP_CPU_PATH_MAX];

			snprintf(path, sizeof(path), QMP_CPU_PATH, (unsigned int)cpu);
			if (!vcpus || list_has(vcpus, path))
				r = add_target(ctx, cpu, names, results, err);
		}
	} else {
		return wire_fail(err, -EINVAL, NULL,
				 "Parameter 'target' does not accept value '%.64s'", target);
	}
	if (r < 0)
		return r;
	*ret_value = TAKE_PTR(results);
	return 0;
}
