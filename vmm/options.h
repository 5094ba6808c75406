/* SPDX-License-Identifier: Apache-2.0 */
/* The command line of vmm: parsed, checked and defaulted once, read-only from then on. */
#ifndef MEMD_VMM_OPTIONS_H
#define MEMD_VMM_OPTIONS_H

#include <stdbool.h>

#include "vmm/disk.h"
#include "vmm/ram.h"
#include "vmm/sandbox.h"

#define OPTIONS_CPUS_MAX  64
#define OPTIONS_DISKS_MAX 8
#define OPTIONS_NETS_MAX  8

enum options_vhost { OPTIONS_VHOST_AUTO, OPTIONS_VHOST_ON, OPTIONS_VHOST_OFF };

/* One --net option. */
struct options_net {
	char tap[16]; /* interface; "": by fd */
	int fd;	      /* -1: by name */
	bool has_mac;
	uint8_t mac[6];
	enum options_vhost vhost;
};

/* One --mem-device option. */
struct mem_options {
	struct ram_plug_config plug;
	uint64_t requested_bytes;
};

struct options {
	char name[64];
	char uuid[37]; /* "" when not given */
	unsigned int cpus;
	struct ram_config memory[RAM_NODES_MAX];
	size_t n_memory;
	struct mem_options mem_devices[RAM_PLUGS_MAX];
	size_t n_mem_devices;
	const char *kernel, *initrd, *append;
	struct disk_config disks[OPTIONS_DISKS_MAX];
	size_t n_disks;
	struct options_net nets[OPTIONS_NETS_MAX];
	size_t n_nets;
	const char *qmp;     /* socket path, NULL: none */
	const char *serial;  /* "stdio", "none", "unix:PATH", "file:PATH" */
	const char *console; /* virtio-console, same forms; NULL: no device */
	bool rng;
	bool no_reboot; /* a guest that resets ends the process */
	bool balloon, balloon_deflate_on_oom, balloon_reporting;
	enum sandbox_mode sandbox;
	struct sandbox_user user; /* whom to become; is_given false: nobody */
	bool paused;		  /* start stopped, wait for `cont` */
};

enum options_result {
	OPTIONS_RUN,   /* go on */
	OPTIONS_DONE,  /* --help or --version was printed: exit 0 */
	OPTIONS_USAGE, /* a message was printed to stderr: exit 2 */
};

/* Parse argv. Messages name the option, the value and what would be right. */
enum options_result options_parse(int argc, char **argv, struct options *ret_options);

#endif
