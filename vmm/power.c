// SPDX-License-Identifier: Apache-2.0
/* Power control registers: see power.h. */
#include "vmm/power.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vmm/acpi.h"
#include "vmm/layout.h"

#define POWER_I8042_COMMAND 4 /* port 0x64 from 0x60 */
#define POWER_I8042_RESET   0xfe

struct power {
	int irq_fd;
	uint32_t events; /* pending bits of the event register */
	const struct power_events *ops;
	void *ctx;
};

struct power *power_new(int irq_fd, const struct power_events *events, void *ctx)
{
	struct power *power = calloc(1, sizeof(*power));

	if (power)
		*power = (struct power){.irq_fd = irq_fd, .ops = events, .ctx = ctx};
	return power;
}

void power_free(struct power *power)
{
	free(power);
}

void power_reset(struct power *power)
{
	power->events = 0;
}

int power_write_vector(struct ram *ram)
{
	static const uint8_t code[] = {
		0xba,
		LAYOUT_ACPI_POWER & 0xff,
		LAYOUT_ACPI_POWER >> 8, /* mov dx, port */
		0xb0,
		LAYOUT_POWER_RESET, /* mov al, value */
		0xee,		    /* out dx, al */
		0xf4,
		0xeb,
		0xfd, /* hlt; back to it */
	};

	return ram_write(ram, LAYOUT_RESET, code, sizeof(code));
}

void power_button(struct power *power)
{
	uint64_t one = 1;

	power->events |= ACPI_GED_POWER_BUTTON;
	while (write(power->irq_fd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
}

/* Both registers read as 0: no wake status, and nothing to read back from the control register. */
static void power_port_read(void *ctx, uint64_t offset, uint8_t *data, unsigned int len)
{
	memset(data, 0, len);
}

static void power_port_write(void *ctx, uint64_t offset, const uint8_t *data, unsigned int len)
{
	struct power *power = ctx;

	if (offset != 0)
		return;
	if (data[0] == LAYOUT_POWER_RESET)
		power->ops->reset(power->ctx);
	else if (data[0] == LAYOUT_POWER_S5)
		power->ops->shutdown(power->ctx);
}

const struct bus_ops power_port_ops = {
	.read = power_port_read,
	.write = power_port_write,
};

/* Status 0: input buffer empty, so that a driver may write its command; no output. */
static void power_i8042_read(void *ctx, uint64_t offset, uint8_t *data, unsigned int len)
{
	memset(data, 0, len);
}

static void power_i8042_write(void *ctx, uint64_t offset, const uint8_t *data, unsigned int len)
{
	struct power *power = ctx;

	if (offset == POWER_I8042_COMMAND && data[0] == POWER_I8042_RESET)
		power->ops->reset(power->ctx);
}

const struct bus_ops power_i8042_ops = {
	.read = power_i8042_read,
	.write = power_i8042_write,
};

static void power_events_read(void *ctx, uint64_t offset, uint8_t *data, unsigned int len)
{
	struct power *power = ctx;
	uint8_t bytes[8] = {0};

	if (offset == 0) {
		memcpy(bytes, &power->events, sizeof(power->events));
		power->events = 0;
	}
	memcpy(data, bytes, len);
}

static void power_events_write(void *ctx, uint64_t offset, const uint8_t *data, unsigned int len)
{
}

const struct bus_ops power_events_ops = {
	.read = power_events_read,
	.write = power_events_write,
};
