// SPDX-License-Identifier: Apache-2.0
/*
 * The table of devices and what is done with it: see devices.h. Virtio devices get the windows and
 * pins of layout.h in the order of the table, which is also the order of their nodes in the DSDT
 * and so of their names in the guest.
 */
#include "vmm/devices.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "vmm/chardev.h"
#include "vmm/console.h"
#include "vmm/layout.h"
#include "vmm/net.h"
#include "vmm/mem.h"
#include "vmm/rng.h"
#include "vmm/serial.h"
#include "vmm/virtio_mmio.h"

#define DEVICE_WINDOWS_MAX 3
#define DEVICES_MAX	   (LAYOUT_VIRTIO_MAX + 4)

struct device {
	const struct device_type *type;
	int irq_fd; /* -1: none */
	unsigned int gsi;
	void *state; /* ctx of its windows */
	uint64_t virtio_base;
};

struct devices {
	struct devices_config config;
	struct chardev *serial_end, *console_end;
	struct virtio_device *balloon, *mem[RAM_PLUGS_MAX];
	struct disk *disk_ends[OPTIONS_DISKS_MAX]; /* not yet a device's */
	struct virtio_device *disks[OPTIONS_DISKS_MAX];
	struct net_config net_ends[OPTIONS_NETS_MAX]; /* not yet a device's */
	struct virtio_device *nets[OPTIONS_NETS_MAX];
	struct power *power;
	unsigned int n, n_virtio;
	struct device list[DEVICES_MAX];
};

struct device_window {
	enum bus_space space;
	uint64_t base, len; /* len 0: no more windows */
	const struct bus_ops *ops;
};

struct device_type {
	const char *name;
	unsigned int (*count)(const struct options *options); /* NULL: always one */
	/* A virtio device: window and pin are given out in order. index: which of its kind. */
	struct virtio_device *(*new_virtio)(struct devices *devices, unsigned int index);
	/* Any other: its state, NULL when there is no memory. */
	void *(*new_state)(struct devices *devices, int irq_fd);
	void (*reset)(void *state);
	void (*free)(void *state);
	unsigned int gsi;
	struct device_window windows[DEVICE_WINDOWS_MAX];
};

/* ---- each device ---- */

static void *new_serial(struct devices *devices, int irq_fd)
{
	return serial_new(devices->serial_end, irq_fd);
}

static void reset_serial(void *state)
{
	serial_reset(state);
}

static void free_serial(void *state)
{
	serial_free(state);
}

static void *new_power(struct devices *devices, int irq_fd)
{
	devices->power = power_new(irq_fd, devices->config.power, devices->config.ctx);
	return devices->power;
}

static void reset_power(void *state)
{
	power_reset(state);
}

static void free_power(void *state)
{
	power_free(state);
}

static unsigned int count_consoles(const struct options *options)
{
	return options->console && strcmp(options->console, "none") != 0;
}

static struct virtio_device *new_console(struct devices *devices, unsigned int index)
{
	return console_new(devices->config.ram, devices->console_end);
}

static unsigned int count_balloons(const struct options *options)
{
	return options->balloon;
}

static struct virtio_device *new_balloon(struct devices *devices, unsigned int index)
{
	const struct devices_config *config = &devices->config;
	const struct balloon_config balloon = {
		.deflate_on_oom = config->options->balloon_deflate_on_oom,
		.reporting = config->options->balloon_reporting,
	};

	devices->balloon = balloon_new(config->ram, config->loop, &balloon, config->balloon_changed,
				       config->ctx);
	return devices->balloon;
}

static unsigned int count_disks(const struct options *options)
{
	return (unsigned int)options->n_disks;
}

static struct virtio_device *new_disk(struct devices *devices, unsigned int index)
{
	const struct devices_config *config = &devices->config;

	devices->disks[index] =
		blk_new(config->ram, config->loop, TAKE_PTR(devices->disk_ends[index]), index,
			config->disk_failed, config->ctx);
	return devices->disks[index];
}

static unsigned int count_nets(const struct options *options)
{
	return (unsigned int)options->n_nets;
}

/* -errno: logged. NULL in *ret_vhost: do without. */
static int open_vhost(const struct options_net *net, const char *interface,
		      struct vhost_net **ret_vhost)
{
	int r = net->vhost == OPTIONS_VHOST_OFF ? 0 : vhost_net_open(ret_vhost);

	if (r && net->vhost == OPTIONS_VHOST_ON)
		log_err("--net vhost=on: /dev/vhost-net: %s%s", strerror(-r),
			r == -ENOENT ? ": modprobe vhost_net" : "");
	else if (r)
		log_info("%s without vhost-net (%s): vmm moves its frames itself", interface,
			 strerror(-r));
	return net->vhost == OPTIONS_VHOST_ON ? r : 0;
}

static int open_net(const struct options *options, unsigned int index, struct net_config *ret_end)
{
	const struct options_net *net = &options->nets[index];
	struct net_config end = {0};
	int r = net->fd >= 0 ? tap_from_fd(net->fd, &end.tap) : tap_open(net->tap, &end.tap);

	if (!r)
		r = open_vhost(net, tap_name(end.tap), &end.vhost);
	if (r) {
		tap_free(end.tap);
		return r;
	}
	if (net->has_mac)
		memcpy(end.mac, net->mac, sizeof(end.mac));
	else
		net_default_mac(options->uuid, options->name, index, tap_name(end.tap), end.mac);
	*ret_end = end;
	return 0;
}

static struct virtio_device *new_net(struct devices *devices, unsigned int index)
{
	const struct net_config end = devices->net_ends[index];

	devices->net_ends[index] = (struct net_config){0};
	devices->nets[index] = net_new(devices->config.ram, devices->config.loop, &end);
	return devices->nets[index];
}

static unsigned int count_mems(const struct options *options)
{
	return (unsigned int)options->n_mem_devices;
}

static bool memory_in_use(void *ctx, uint64_t gpa, uint64_t len)
{
	const struct devices *devices = ctx;

	for (unsigned int i = 0; i < devices->n; i++)
		if (devices->list[i].type->new_virtio && devices->list[i].state &&
		    virtio_uses(virtio_mmio_device(devices->list[i].state), gpa, len))
			return true;
	return false;
}

static struct virtio_device *new_mem(struct devices *devices, unsigned int index)
{
	const struct devices_config *config = &devices->config;
	const struct mem_config mem = {
		.ram = config->ram,
		.plug = index,
		.requested_bytes = config->options->mem_devices[index].requested_bytes,
		.loop = config->loop,
		.changed = config->mem_changed,
		.changed_ctx = config->ctx,
		.in_use = memory_in_use,
		.in_use_ctx = devices,
	};

	devices->mem[index] = mem_new(&mem);
	return devices->mem[index];
}

static unsigned int count_rngs(const struct options *options)
{
	return options->rng;
}

static struct virtio_device *new_rng(struct devices *devices, unsigned int index)
{
	return rng_new(devices->config.ram);
}

static const struct device_type device_types[] = {
	{
		.name = "power",
		.new_state = new_power,
		.reset = reset_power,
		.free = free_power,
		.gsi = LAYOUT_GSI_GED,
		.windows = {{BUS_PIO, LAYOUT_ACPI_POWER, 2, &power_port_ops},
			    {BUS_PIO, LAYOUT_I8042, 5, &power_i8042_ops},
			    {BUS_MMIO, LAYOUT_GED_MMIO, 4, &power_events_ops}},
	},
	{
		.name = "serial",
		.new_state = new_serial,
		.reset = reset_serial,
		.free = free_serial,
		.gsi = LAYOUT_GSI_COM1,
		.windows = {{BUS_PIO, LAYOUT_COM1, SERIAL_PORTS, &serial_bus_ops}},
	},
	{.name = "disk", .count = count_disks, .new_virtio = new_disk},
	{.name = "console", .count = count_consoles, .new_virtio = new_console},
	{.name = "balloon", .count = count_balloons, .new_virtio = new_balloon},
	{.name = "net", .count = count_nets, .new_virtio = new_net},
	{.name = "mem", .count = count_mems, .new_virtio = new_mem},
	{.name = "rng", .count = count_rngs, .new_virtio = new_rng},
};

/* ---- all of them ---- */

static int device_make_virtio(struct devices *devices, struct device *device, unsigned int index)
{
	struct virtio_device *virtio = device->type->new_virtio(devices, index);
	struct virtio_mmio *mmio;
	int r;

	if (!virtio)
		return -ENOMEM;
	r = virtio_mmio_new(virtio, devices->config.loop, device->irq_fd, &mmio);
	if (r)
		return r;
	device->state = mmio;
	return bus_add(devices->config.bus, BUS_MMIO, device->virtio_base, LAYOUT_VIRTIO_STRIDE,
		       &virtio_mmio_bus_ops, mmio);
}

static int device_make_platform(struct devices *devices, struct device *device)
{
	const struct device_window *window = device->type->windows;
	int r = 0;

	device->state = device->type->new_state(devices, device->irq_fd);
	if (!device->state)
		return -ENOMEM;
	for (unsigned int i = 0; i < DEVICE_WINDOWS_MAX && window[i].len && !r; i++)
		r = bus_add(devices->config.bus, window[i].space, window[i].base, window[i].len,
			    window[i].ops, device->state);
	return r;
}

static int device_make(struct devices *devices, const struct device_type *type, unsigned int index)
{
	struct device *device = &devices->list[devices->n];

	if (devices->n == DEVICES_MAX ||
	    (type->new_virtio && devices->n_virtio == LAYOUT_VIRTIO_MAX))
		return -ENOSPC;
	*device = (struct device){.type = type, .gsi = type->gsi};
	device->irq_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (device->irq_fd < 0)
		return -errno;
	devices->n++;
	if (!type->new_virtio)
		return device_make_platform(devices, device);
	device->virtio_base = LAYOUT_VIRTIO_MMIO + devices->n_virtio * LAYOUT_VIRTIO_STRIDE;
	device->gsi = LAYOUT_GSI_VIRTIO + devices->n_virtio++;
	return device_make_virtio(devices, device, index);
}

static int devices_open_ends(struct devices *devices)
{
	const struct devices_config *config = &devices->config;
	const struct options *options = config->options;
	int r;

	r = chardev_new(config->loop, "serial", options->serial, config->quit, config->ctx,
			&devices->serial_end);
	if (!r && count_consoles(options))
		r = chardev_new(config->loop, "console", options->console, config->quit,
				config->ctx, &devices->console_end);
	for (size_t i = 0; i < options->n_disks && !r; i++)
		r = disk_open(&options->disks[i], &devices->disk_ends[i]);
	for (unsigned int i = 0; i < options->n_nets && !r; i++)
		r = open_net(options, i, &devices->net_ends[i]);
	return r;
}

int devices_new(const struct devices_config *config, struct devices **ret_devices)
{
	struct devices *devices = calloc(1, sizeof(*devices));
	int r;

	if (!devices)
		return -ENOMEM;
	devices->config = *config;
	r = devices_open_ends(devices);
	if (r) {
		devices_free(devices);
		return r;
	}
	for (size_t i = 0; i < ARRAY_SIZE(device_types); i++) {
		const struct device_type *type = &device_types[i];
		unsigned int n = type->count ? type->count(config->options) : 1;

		for (unsigned int index = 0; index < n && !r; index++)
			r = device_make(devices, type, index);
		if (r) {
			log_err("cannot make the %s device: %s", type->name, strerror(-r));
			devices_free(devices);
			return r;
		}
	}
	*ret_devices = devices;
	return 0;
}

void devices_free(struct devices *devices)
{
	if (!devices)
		return;
	for (unsigned int i = 0; i < devices->n; i++) {
		struct device *device = &devices->list[i];

		if (device->state && device->type->new_virtio)
			virtio_mmio_free(device->state);
		else if (device->state)
			device->type->free(device->state);
		cleanup_fd(&device->irq_fd);
	}
	for (size_t i = 0; i < OPTIONS_DISKS_MAX; i++)
		disk_close(devices->disk_ends[i]);
	for (size_t i = 0; i < OPTIONS_NETS_MAX; i++) {
		vhost_net_free(devices->net_ends[i].vhost);
		tap_free(devices->net_ends[i].tap);
	}
	chardev_free(devices->serial_end);
	chardev_free(devices->console_end);
	free(devices);
}

int devices_wire(struct devices *devices, struct kvm *kvm)
{
	int r = 0;

	for (unsigned int i = 0; i < devices->n && !r; i++) {
		const struct device *device = &devices->list[i];

		r = kvm_add_irqfd(kvm, device->irq_fd, device->gsi);
		if (!device->type->new_virtio)
			continue;
		for (unsigned int queue = 0; !r && queue < virtio_mmio_queue_count(device->state);
		     queue++)
			r = kvm_add_ioeventfd(kvm, virtio_mmio_notify_fd(device->state, queue),
					      device->virtio_base + VIRTIO_MMIO_QUEUE_NOTIFY,
					      queue);
	}
	return r;
}

void devices_reset(struct devices *devices)
{
	for (unsigned int i = 0; i < devices->n; i++) {
		struct device *device = &devices->list[i];
		uint64_t count;

		if (device->type->new_virtio)
			virtio_mmio_reset(device->state);
		else
			device->type->reset(device->state);
		/* An interrupt of the old machine must not reach the new one. */
		while (read(device->irq_fd, &count, sizeof(count)) < 0 && errno == EINTR)
			;
	}
}

void devices_pause(struct devices *devices)
{
	for (unsigned int i = 0; i < devices->n; i++)
		if (devices->list[i].type->new_virtio)
			virtio_pause(virtio_mmio_device(devices->list[i].state));
}

void devices_resume(struct devices *devices)
{
	for (unsigned int i = 0; i < devices->n; i++)
		if (devices->list[i].type->new_virtio)
			virtio_resume(virtio_mmio_device(devices->list[i].state));
}

unsigned int devices_virtio_count(const struct devices *devices)
{
	return devices->n_virtio;
}

struct virtio_device *devices_balloon(const struct devices *devices)
{
	return devices->balloon;
}

struct virtio_device *devices_disk(const struct devices *devices, unsigned int index)
{
	return index < OPTIONS_DISKS_MAX ? devices->disks[index] : NULL;
}

struct virtio_device *devices_net(const struct devices *devices, unsigned int index)
{
	return index < OPTIONS_NETS_MAX ? devices->nets[index] : NULL;
}

struct virtio_device *devices_mem(const struct devices *devices, size_t index)
{
	return index < RAM_PLUGS_MAX ? devices->mem[index] : NULL;
}

void devices_press_power(struct devices *devices)
{
	power_button(devices->power);
}
