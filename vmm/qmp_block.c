// SPDX-License-Identifier: Apache-2.0
/*
 * QMP about disks: query-block and query-blockstats (qapi/block-core.json), with the members that
 * monitoring reads. A disk is "disk0" ... in the order of the command line, which is the guest's
 * vda ...
 */
#include <stdio.h>

#include "vmm/blk.h"
#include "vmm/qmp_impl.h"
#include "vmm/vm_events.h"

static json_object *disk_item_new(unsigned int index)
{
	json_object *item = json_object_new_object();
	char text[64];

	snprintf(text, sizeof(text), VM_DISK_NAME, index);
	json_add_str(item, "device", text);
	snprintf(text, sizeof(text), "/machine/peripheral/" VM_DISK_NAME "/virtio-backend", index);
	json_add_str(item, "qdev", text);
	return item;
}

static json_object *image_new(const struct disk *disk)
{
	json_object *image = json_object_new_object();

	json_add_str(image, "filename", disk_config(disk)->path);
	json_add_str(image, "format", "raw");
	json_add_u64(image, "virtual-size", disk_size_bytes(disk));
	json_add_u64(image, "actual-size", disk_allocated_bytes(disk));
	json_add_bool(image, "dirty-flag", false);
	return image;
}

static json_object *inserted_new(const struct disk *disk, unsigned int index)
{
	static const char *const limits[] = {"bps",  "bps_rd",	"bps_wr",
					     "iops", "iops_rd", "iops_wr"};
	json_object *inserted = json_object_new_object();
	json_object *cache = json_object_new_object();
	char name[16];

	snprintf(name, sizeof(name), VM_DISK_NAME, index);
	json_add_str(inserted, "file", disk_config(disk)->path);
	json_add_str(inserted, "node-name", name);
	json_add_bool(inserted, "ro", disk_config(disk)->readonly);
	json_add_str(inserted, "drv", "raw");
	json_add_u64(inserted, "backing_file_depth", 0);
	json_add_bool(inserted, "encrypted", false);
	json_add_str(inserted, "detect_zeroes", "off");
	for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++)
		json_add_u64(inserted, limits[i], 0);
	json_object_object_add(inserted, "image", image_new(disk));
	json_add_bool(cache, "writeback", true);
	json_add_bool(cache, "direct", false);
	json_add_bool(cache, "no-flush", false);
	json_object_object_add(inserted, "cache", cache);
	json_add_u64(inserted, "write_threshold", 0);
	return inserted;
}

int qmp_query_block(void *ctx, json_object *args, json_object **ret_value, struct wire_error *err)
{
	json_object *list = json_object_new_array();
	const struct virtio_device *dev;

	for (unsigned int i = 0; (dev = vm_disk(ctx, i)); i++) {
		json_object *item = disk_item_new(i);
		bool nospace;

		json_add_str(item, "type", "unknown"); /* QEMU's word for every disk */
		json_add_bool(item, "removable", false);
		json_add_bool(item, "locked", false);
		json_add_str(item, "io-status",
			     !blk_has_failed(dev, &nospace) ? "ok"
			     : nospace			    ? "nospace"
							    : "failed");
		json_object_object_add(item, "inserted", inserted_new(blk_disk(dev), i));
		json_object_array_add(list, item);
	}
	*ret_value = list;
	return 0;
}

static void add_counts(json_object *stats, const char *kind, const struct blk_counts *counts)
{
	char key[48];

	snprintf(key, sizeof(key), "%s_bytes", kind);
	json_add_u64(stats, key, counts->bytes);
	snprintf(key, sizeof(key), "%s_operations", kind);
	json_add_u64(stats, key, counts->operations);
	snprintf(key, sizeof(key), "%s_total_time_ns", kind);
	json_add_u64(stats, key, counts->time_ns);
	snprintf(key, sizeof(key), "failed_%s_operations", kind);
	json_add_u64(stats, key, counts->failed);
	snprintf(key, sizeof(key), "invalid_%s_operations", kind);
	json_add_u64(stats, key, 0);
	snprintf(key, sizeof(key), "%s_merged", kind);
	json_add_u64(stats, key, 0);
}

int qmp_query_blockstats(void *ctx, json_object *args, json_object **ret_value,
			 struct wire_error *err)
{
	json_object *list = json_object_new_array();
	const struct virtio_device *dev;

	for (unsigned int i = 0; (dev = vm_disk(ctx, i)); i++) {
		const struct blk_stats *counted = blk_stats(dev);
		json_object *item = disk_item_new(i);
		json_object *stats = json_object_new_object();
		char name[16];

		snprintf(name, sizeof(name), VM_DISK_NAME, i);
		json_add_str(item, "node-name", name);
		add_counts(stats, "rd", &counted->read);
		add_counts(stats, "wr", &counted->write);
		add_counts(stats, "flush", &counted->flush);
		add_counts(stats, "unmap", &counted->unmap);
		json_add_u64(stats, "wr_highest_offset", counted->highest_offset);
		json_add_bool(stats, "account_invalid", false);
		json_add_bool(stats, "account_failed", true);
		json_object_object_add(stats, "timed_stats", json_object_new_array());
		json_object_object_add(item, "stats", stats);
		json_object_array_add(list, item);
	}
	*ret_value = list;
	return 0;
}
