// SPDX-License-Identifier: Apache-2.0
/* The guest's ways to end and restart, the power button, and the code at the reset vector. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "vmm/acpi.h"
#include "vmm/layout.h"
#include "vmm/power.h"

struct world {
	struct power *power;
	int irq, shutdowns, resets;
};

static void on_shutdown(void *ctx)
{
	((struct world *)ctx)->shutdowns++;
}

static void on_reset(void *ctx)
{
	((struct world *)ctx)->resets++;
}

static const struct power_events events = {.shutdown = on_shutdown, .reset = on_reset};

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	w->irq = eventfd(0, EFD_NONBLOCK);
	w->power = power_new(w->irq, &events, w);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	power_free(w->power);
	close(w->irq);
	free(w);
	return 0;
}

static void out(struct world *w, const struct bus_ops *ops, uint64_t offset, uint8_t value)
{
	ops->write(w->power, offset, &value, 1);
}

static void power_port(void **state)
{
	struct world *w = *state;
	uint8_t value = 0xff;

	for (unsigned int v = 0; v < 256; v++) {
		if (v != 0x01 && v != 0x34)
			out(w, &power_port_ops, 0, (uint8_t)v);
		out(w, &power_port_ops, 1, (uint8_t)v); /* the status register */
	}
	assert_int_equal(w->shutdowns + w->resets, 0);
	power_port_ops.read(w->power, 1, &value, 1);
	assert_int_equal(value, 0);
	out(w, &power_port_ops, 0, 0x34);
	assert_int_equal(w->shutdowns, 1);
	out(w, &power_port_ops, 0, 0x01);
	assert_int_equal(w->resets, 1);
}

static void i8042(void **state)
{
	struct world *w = *state;
	uint8_t status = 0xff;

	/* Linux polls until the input buffer is empty, then writes its command. */
	power_i8042_ops.read(w->power, 4, &status, 1);
	assert_int_equal(status & 2, 0);
	out(w, &power_i8042_ops, 0, 0xfe);
	out(w, &power_i8042_ops, 4, 0xff);
	assert_int_equal(w->resets, 0);
	out(w, &power_i8042_ops, 4, 0xfe);
	assert_int_equal(w->resets, 1);
	assert_int_equal(w->shutdowns, 0);
}

static uint32_t read_events(struct world *w)
{
	uint32_t value = 0xeeeeeeee;

	power_events_ops.read(w->power, 0, (uint8_t *)&value, 4);
	return value;
}

static void button(void **state)
{
	struct world *w = *state;
	uint64_t edges;

	assert_int_equal(read_events(w), 0);
	power_button(w->power);
	power_button(w->power);
	assert_int_equal(read(w->irq, &edges, sizeof(edges)), sizeof(edges));
	assert_int_equal(edges, 2);
	out(w, &power_events_ops, 0, 0xff); /* writing changes nothing */
	assert_int_equal(read_events(w), ACPI_GED_POWER_BUTTON);
	assert_int_equal(read_events(w), 0);
	power_button(w->power);
	power_reset(w->power);
	assert_int_equal(read_events(w), 0);
}

static void reset_vector(void **state)
{
	static uint8_t memory[0x100000];
	const uint8_t code[] = {0xba, 0x00, 0x06, 0xb0, 0x01, 0xee, 0xf4, 0xeb, 0xfd};
	struct ram *ram;

	assert_int_equal(ram_new_buffer(memory, 0, sizeof(memory), &ram), 0);
	assert_int_equal(power_write_vector(ram), 0);
	assert_memory_equal(memory + 0xffff0, code, sizeof(code));
	ram_free(ram);
	assert_int_equal(ram_new_buffer(memory, 0, 0xff000, &ram), 0);
	assert_int_equal(power_write_vector(ram), -EFAULT);
	ram_free(ram);
}

#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
int main(void)
{
	const struct CMUnitTest tests[] = {T(power_port), T(i8042), T(button), T(reset_vector)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
