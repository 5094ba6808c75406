// SPDX-License-Identifier: Apache-2.0
/* The UART against the data sheet and against what Linux's 8250 driver tries at start-up. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "vmm/serial.h"

/* ---- a host end that takes as much as the test says; in the place of chardev.c ---- */

struct chardev {
	const struct chardev_ops *ops;
	void *ctx;
	char out[256];
	size_t n, limit;
	int input_ready;
};

void chardev_bind(struct chardev *chardev, const struct chardev_ops *ops, void *ctx)
{
	chardev->ops = ops;
	chardev->ctx = ctx;
}

size_t chardev_write(struct chardev *chardev, const void *data, size_t len)
{
	if (len > chardev->limit - chardev->n)
		len = chardev->limit - chardev->n;
	memcpy(chardev->out + chardev->n, data, len);
	chardev->n += len;
	return len;
}

void chardev_input_ready(struct chardev *chardev)
{
	chardev->input_ready++;
}

/* ---- the test's view ---- */

enum { DATA, IER, IIR, LCR, MCR, LSR, MSR, SCR, FCR = IIR };

struct world {
	struct chardev end;
	struct serial *serial;
	int irq;
};

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	w->end.limit = sizeof(w->end.out);
	w->irq = eventfd(0, EFD_NONBLOCK);
	w->serial = serial_new(&w->end, w->irq);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	serial_free(w->serial);
	assert_null(w->end.ops);
	close(w->irq);
	free(w);
	return 0;
}

static uint8_t in(struct world *w, unsigned int reg)
{
	uint8_t value = 0xee;

	serial_bus_ops.read(w->serial, reg, &value, 1);
	return value;
}

static void out(struct world *w, unsigned int reg, uint8_t value)
{
	serial_bus_ops.write(w->serial, reg, &value, 1);
}

static uint64_t edges(struct world *w)
{
	uint64_t n = 0;

	return read(w->irq, &n, sizeof(n)) == sizeof(n) ? n : 0;
}

static size_t type(struct world *w, const char *text)
{
	size_t room = w->end.ops->input_room(w->end.ctx), n = strlen(text);

	if (n > room)
		n = room;
	if (n)
		w->end.ops->input(w->end.ctx, (const uint8_t *)text, n);
	return n;
}

/* ---- tests ---- */

static void registers_after_reset(void **state)
{
	struct world *w = *state;

	assert_int_equal(in(w, IER), 0);
	assert_int_equal(in(w, IIR), 0x01);
	assert_int_equal(in(w, LCR), 0);
	assert_int_equal(in(w, LSR), 0x60);
	assert_int_equal(in(w, MSR) & 0xf0, 0xb0);
	assert_int_equal(in(w, DATA), 0);
	assert_int_equal(edges(w), 0);
}

/* autoconfig(): IER keeps its low bits, scratch holds, FIFOs show, loop-back turns outputs in. */
static void linux_autoconfig(void **state)
{
	struct world *w = *state;

	out(w, IER, 0);
	assert_int_equal(in(w, IER), 0);
	out(w, IER, 0x0f);
	assert_int_equal(in(w, IER), 0x0f);
	out(w, IER, 0);
	out(w, MCR, 0x10 | 0x0a);
	assert_int_equal(in(w, MSR) & 0xf0, 0x90);
	out(w, MCR, 0x10 | 0x05);
	assert_int_equal(in(w, MSR) & 0xf0, 0x60);
	out(w, MCR, 0);
	out(w, FCR, 0x01);
	assert_int_equal(in(w, IIR) >> 6, 3);
	out(w, FCR, 0);
	assert_int_equal(in(w, IIR) >> 6, 0);
	for (unsigned int v = 0; v < 256; v += 85) {
		out(w, SCR, (uint8_t)v);
		assert_int_equal(in(w, SCR), v);
	}
	/* Divisor behind DLAB, apart from data and IER. */
	out(w, LCR, 0x83);
	out(w, DATA, 0x34);
	out(w, IER, 0x12);
	assert_int_equal(in(w, DATA), 0x34);
	assert_int_equal(in(w, IER), 0x12);
	out(w, LCR, 0x03);
	assert_int_equal(in(w, IER), 0);
	assert_int_equal(w->end.n, 0);
}

static void transmits(void **state)
{
	struct world *w = *state;

	for (const char *p = "hello"; *p; p++) {
		assert_true(in(w, LSR) & 0x20);
		out(w, DATA, (uint8_t)*p);
	}
	assert_int_equal(w->end.n, 5);
	assert_memory_equal(w->end.out, "hello", 5);
	assert_int_equal(edges(w), 0);
}

/* serial8250_THRE_test(): switching the interrupt on anew raises it anew. */
static void transmit_interrupt(void **state)
{
	struct world *w = *state;

	out(w, IER, 0x02);
	assert_int_equal(edges(w), 1);
	assert_int_equal(in(w, IIR) & 0x0f, 0x02);
	assert_int_equal(in(w, IIR) & 0x0f, 0x01); /* reading took it away */
	out(w, IER, 0);
	out(w, IER, 0x02);
	assert_int_equal(in(w, IIR) & 0x0f, 0x02);
	edges(w);
	/* A byte that goes out at once is a new reason. */
	out(w, DATA, 'x');
	assert_int_equal(edges(w), 1);
	assert_int_equal(in(w, IIR) & 0x0f, 0x02);
	out(w, IER, 0x02); /* no change: no reason */
	assert_int_equal(in(w, IIR) & 0x0f, 0x01);
}

static void full_host_end_holds_thre(void **state)
{
	struct world *w = *state;

	out(w, FCR, 0x01);
	out(w, IER, 0x02);
	in(w, IIR);
	edges(w);
	w->end.limit = 2;
	for (int i = 0; i < 18; i++)
		out(w, DATA, (uint8_t)('a' + i));
	assert_int_equal(in(w, LSR) & 0x60, 0);
	in(w, IIR); /* of the two that went out */
	edges(w);
	assert_int_equal(in(w, IIR) & 0x0f, 0x01);
	w->end.limit = 10;
	w->end.ops->writable(w->end.ctx);
	assert_int_equal(in(w, LSR) & 0x60, 0);
	assert_int_equal(edges(w), 0);
	w->end.limit = sizeof(w->end.out);
	w->end.ops->writable(w->end.ctx);
	assert_int_equal(in(w, LSR) & 0x60, 0x60);
	assert_int_equal(edges(w), 1);
	assert_int_equal(w->end.n, 18);
	assert_memory_equal(w->end.out, "abcdefghijklmnopqr", 18);
}

static void receives(void **state)
{
	struct world *w = *state;
	char got[17] = "";

	out(w, FCR, 0x01);
	out(w, IER, 0x01);
	w->end.input_ready = 0;
	assert_int_equal(type(w, "0123456789abcdefXYZ"), 16);
	assert_int_equal(edges(w), 1);
	assert_int_equal(type(w, "X"), 0);
	for (int i = 0; i < 16; i++) {
		assert_int_equal(in(w, IIR) & 0x0f, 0x04);
		assert_true(in(w, LSR) & 0x01);
		assert_int_equal(w->end.input_ready, 0);
		got[i] = (char)in(w, DATA);
	}
	assert_string_equal(got, "0123456789abcdef");
	assert_int_equal(w->end.input_ready, 1);
	assert_int_equal(in(w, LSR) & 0x01, 0);
	assert_int_equal(in(w, IIR) & 0x0f, 0x01);
	assert_int_equal(edges(w), 0);
	assert_int_equal(type(w, "X"), 1);
	assert_int_equal(edges(w), 1);
}

static void one_byte_without_fifos(void **state)
{
	struct world *w = *state;

	assert_int_equal(type(w, "ab"), 1);
	assert_int_equal(in(w, DATA), 'a');
	assert_int_equal(type(w, "b"), 1);
	/* A change of mode empties it, and asks for more. */
	w->end.input_ready = 0;
	out(w, FCR, 0x01);
	assert_int_equal(in(w, LSR) & 0x01, 0);
	assert_true(w->end.input_ready > 0);
}

static void receive_comes_before_transmit(void **state)
{
	struct world *w = *state;

	out(w, IER, 0x03);
	type(w, "z");
	assert_int_equal(in(w, IIR) & 0x0f, 0x04);
	in(w, DATA);
	assert_int_equal(in(w, IIR) & 0x0f, 0x02);
}

static void loop_back(void **state)
{
	struct world *w = *state;

	out(w, FCR, 0x01);
	out(w, MCR, 0x10);
	assert_int_equal(type(w, "host"), 0); /* the wire is cut */
	for (int i = 0; i < 17; i++)
		out(w, DATA, (uint8_t)('A' + i));
	assert_int_equal(w->end.n, 0);
	assert_int_equal(in(w, LSR) & 0x03, 0x03); /* the 17th did not fit */
	assert_int_equal(in(w, LSR) & 0x03, 0x01); /* said once */
	for (int i = 0; i < 16; i++)
		assert_int_equal(in(w, DATA), 'A' + i);
	out(w, MCR, 0);
	assert_int_equal(type(w, "host"), 4);
}

static void overrun_interrupt(void **state)
{
	struct world *w = *state;

	out(w, IER, 0x04);
	out(w, MCR, 0x10);
	out(w, DATA, 1);
	assert_int_equal(edges(w), 0);
	out(w, DATA, 2);
	assert_int_equal(edges(w), 1);
	assert_int_equal(in(w, IIR) & 0x0f, 0x06);
	in(w, LSR);
	assert_int_equal(in(w, IIR) & 0x0f, 0x01);
}

static void wide_access_is_bytes(void **state)
{
	struct world *w = *state;
	uint8_t two[2] = {'k', 0x0f};

	serial_bus_ops.write(w->serial, DATA, two, 2);
	assert_int_equal(w->end.n, 1);
	assert_int_equal(in(w, IER), 0x0f);
}

static void reset_forgets(void **state)
{
	struct world *w = *state;

	out(w, FCR, 0x01);
	out(w, IER, 0x0f);
	out(w, LCR, 0x83);
	out(w, SCR, 0x55);
	type(w, "left over");
	edges(w);
	serial_reset(w->serial);
	registers_after_reset(state);
	assert_int_equal(in(w, SCR), 0);
	assert_non_null(w->end.ops);
}

#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
int main(void)
{
	const struct CMUnitTest tests[] = {
		T(registers_after_reset),
		T(linux_autoconfig),
		T(transmits),
		T(transmit_interrupt),
		T(full_host_end_holds_thre),
		T(receives),
		T(one_byte_without_fifos),
		T(receive_comes_before_transmit),
		T(loop_back),
		T(overrun_interrupt),
		T(wide_access_is_bytes),
		T(reset_forgets),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
