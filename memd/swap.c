// SPDX-License-Identifier: Apache-2.0
/* Swap devices from /proc/swaps, and what compression makes of them; see swap.h. */
#include "memd/swap.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/kfile.h"
#include "common/size.h"
#include "memd/kept.h"

/* Before so much is stored the ratio says nothing; half is what to expect then. */
#define RATIO_MIN_BYTES (16 * MIB)
#define RATIO_GUESS_PPM 500000
#define PPM		1000000
/* Less room than this is none. */
#define ROOM_MIN_BYTES (4 * MIB)

struct swap {
	int rootfd, swaps_fd;
	struct swap_state state;
	uint64_t rate_us, in_bytes, out_bytes; /* where the rates are measured from */
	char text[4096];
};

int swap_open(int rootfd, struct swap **ret_swap)
{
	struct swap *swap = calloc(1, sizeof(*swap));

	if (!swap)
		return -ENOMEM;
	swap->rootfd = rootfd;
	swap->swaps_fd = kept_open(rootfd, "proc/swaps");
	swap->state.cost_ppm = swap->state.zswap_bytes = swap->state.zswapped_bytes = POL_ABSENT;
	swap->state.in_bytes_per_s = swap->state.out_bytes_per_s = POL_ABSENT;
	*ret_swap = swap;
	return 0;
}

void swap_close(struct swap *swap)
{
	if (!swap)
		return;
	cleanup_fd(&swap->swaps_fd);
	free(swap);
}

const struct swap_state *swap_state(const struct swap *swap)
{
	return &swap->state;
}

/* "orig compressed used limit ...": a device without it is no zram. */
static void read_zram(const struct swap *swap, struct swap_device *device)
{
	const char *base = strrchr(device->name, '/');
	uint64_t stored, compressed, taken, limit;
	char path[128], text[256];

	base = base ? base + 1 : device->name;
	if (strncmp(base, "zram", 4) != 0)
		return;
	snprintf(path, sizeof(path), "sys/block/%s/mm_stat", base);
	if (kfile_read(swap->rootfd, path, text, sizeof(text)) < 0 ||
	    sscanf(text, "%" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64, &stored, &compressed,
		   &taken, &limit) != 4)
		return;
	device->zram = true;
	device->stored_bytes = stored;
	device->taken_bytes = taken;
	device->limit_bytes = limit;
}

static void add_device(struct swap *swap, const struct swap_device *device)
{
	struct swap_state *state = &swap->state;
	size_t at = state->n_devices;

	if (at == SWAP_DEVICES_MAX)
		return;
	for (; at > 0 && state->devices[at - 1].priority < device->priority; at--)
		state->devices[at] = state->devices[at - 1];
	state->devices[at] = *device;
	state->n_devices++;
}

/* "/dev/zram0  partition  524284  0  100", sizes in KiB, below a line of headings. */
static void read_devices(struct swap *swap)
{
	char *save = NULL;
	int r = kept_read(swap->swaps_fd, swap->text, sizeof(swap->text));

	swap->state.n_devices = 0;
	if (r < 0)
		return;
	for (char *line = strtok_r(swap->text, "\n", &save); line;
	     line = strtok_r(NULL, "\n", &save)) {
		struct swap_device device = {0};

		if (sscanf(line, "%63s %*s %" SCNu64 " %" SCNu64 " %" SCNd64, device.name,
			   &device.bytes, &device.used_bytes, &device.priority) != 4)
			continue;
		if (device.bytes > UINT64_MAX / KIB || device.used_bytes > device.bytes)
			continue;
		device.bytes *= KIB;
		device.used_bytes *= KIB;
		read_zram(swap, &device);
		add_device(swap, &device);
	}
}

static void read_zswap(struct swap *swap, const char *meminfo)
{
	struct swap_state *state = &swap->state;
	char enabled[8];

	state->zswap_bytes = state->zswapped_bytes = POL_ABSENT;
	state->zswap = kfile_read(swap->rootfd, "sys/module/zswap/parameters/enabled", enabled,
				  sizeof(enabled)) > 0 &&
		       enabled[0] == 'Y';
	kfile_field_u64(meminfo, "Zswap", &state->zswap_bytes);
	kfile_field_u64(meminfo, "Zswapped", &state->zswapped_bytes);
}

static uint64_t ratio_ppm(uint64_t taken, uint64_t stored)
{
	if (!pol_has(taken) || !pol_has(stored) || stored < RATIO_MIN_BYTES)
		return RATIO_GUESS_PPM;
	if (taken >= stored)
		return PPM;
	return (uint64_t)((unsigned __int128)taken * PPM / stored);
}

/* Of the device that is filled next. zswap stands before any device. */
static uint64_t cost_ppm(const struct swap_state *state)
{
	for (size_t i = 0; i < state->n_devices; i++) {
		const struct swap_device *device = &state->devices[i];

		if (device->bytes - device->used_bytes < ROOM_MIN_BYTES)
			continue;
		if (state->zswap)
			return ratio_ppm(state->zswap_bytes, state->zswapped_bytes);
		if (!device->zram)
			return 0;
		/* Full though its disk is not: a write to it fails. */
		if (device->limit_bytes &&
		    device->taken_bytes + ROOM_MIN_BYTES >= device->limit_bytes)
			return PPM;
		return ratio_ppm(device->taken_bytes, device->stored_bytes);
	}
	return POL_ABSENT;
}

void swap_follow(struct swap *swap, uint64_t now_us, const struct pol_host *host)
{
	struct swap_state *state = &swap->state;
	uint64_t span = now_us - swap->rate_us, in = host->swap_in_bytes;
	uint64_t out = host->swap_out_bytes;

	if (swap->rate_us && span < USEC_PER_SEC / 2)
		return;
	state->in_bytes_per_s = state->out_bytes_per_s = POL_ABSENT;
	if (swap->rate_us && pol_has(in) && pol_has(out) && in >= swap->in_bytes &&
	    out >= swap->out_bytes) {
		state->in_bytes_per_s =
			(uint64_t)((unsigned __int128)(in - swap->in_bytes) * USEC_PER_SEC / span);
		state->out_bytes_per_s = (uint64_t)((unsigned __int128)(out - swap->out_bytes) *
						    USEC_PER_SEC / span);
	}
	swap->rate_us = pol_has(in) && pol_has(out) ? now_us : 0;
	swap->in_bytes = in;
	swap->out_bytes = out;
}

void swap_sense(struct swap *swap, const char *meminfo, struct pol_host *host)
{
	read_devices(swap);
	read_zswap(swap, meminfo);
	swap->state.cost_ppm = cost_ppm(&swap->state);
	host->swap_cost_ppm = swap->state.cost_ppm;
}
