// SPDX-License-Identifier: Apache-2.0
/*
 * The UART: see serial.h. Transmission takes no time, so the transmit FIFO holds something only
 * while the host end is full. The interrupt line is recomputed after each change of state; a rising
 * line is one write to the eventfd, for the pin is edge-triggered.
 */
#include "vmm/serial.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SERIAL_FIFO 16

enum serial_reg {
	SERIAL_DATA, /* RBR, THR; DLL with DLAB */
	SERIAL_IER,  /* DLM with DLAB */
	SERIAL_IIR,  /* read; write: FCR */
	SERIAL_LCR,
	SERIAL_MCR,
	SERIAL_LSR,
	SERIAL_MSR,
	SERIAL_SCR,
};

#define IER_RX	 0x01
#define IER_TX	 0x02
#define IER_LINE 0x04
#define IER_ALL	 0x0f

#define IIR_NONE  0x01
#define IIR_TX	  0x02
#define IIR_RX	  0x04
#define IIR_LINE  0x06
#define IIR_FIFOS 0xc0

#define FCR_ENABLE   0x01
#define FCR_CLEAR_RX 0x02
#define FCR_CLEAR_TX 0x04

#define LCR_DLAB 0x80

#define MCR_DTR	 0x01
#define MCR_RTS	 0x02
#define MCR_OUT1 0x04
#define MCR_OUT2 0x08
#define MCR_LOOP 0x10
#define MCR_ALL	 0x1f

#define LSR_READY   0x01
#define LSR_OVERRUN 0x02
#define LSR_THRE    0x20
#define LSR_TEMT    0x40

#define MSR_CTS 0x10
#define MSR_DSR 0x20
#define MSR_RI	0x40
#define MSR_DCD 0x80

struct serial_fifo {
	uint8_t data[SERIAL_FIFO];
	unsigned int head, n;
};

struct serial {
	struct chardev *chardev;
	int irq_fd;
	uint8_t ier, lcr, mcr, scr, divisor[2];
	bool fifos;
	bool overrun;
	bool tx_pending; /* THRE interrupt: set when the FIFO ran empty, cleared by reading IIR */
	bool line;	 /* state of the interrupt line */
	struct serial_fifo rx, tx;
};

static void fifo_put(struct serial_fifo *fifo, uint8_t byte)
{
	fifo->data[(fifo->head + fifo->n++) % SERIAL_FIFO] = byte;
}

static uint8_t fifo_get(struct serial_fifo *fifo)
{
	uint8_t byte = fifo->data[fifo->head];

	fifo->head = (fifo->head + 1) % SERIAL_FIFO;
	fifo->n--;
	return byte;
}

static unsigned int serial_fifo_size(const struct serial *serial)
{
	return serial->fifos ? SERIAL_FIFO : 1;
}

static uint8_t serial_cause(const struct serial *serial)
{
	if ((serial->ier & IER_LINE) && serial->overrun)
		return IIR_LINE;
	if ((serial->ier & IER_RX) && serial->rx.n)
		return IIR_RX;
	if ((serial->ier & IER_TX) && serial->tx_pending)
		return IIR_TX;
	return IIR_NONE;
}

static void serial_update(struct serial *serial)
{
	bool line = serial_cause(serial) != IIR_NONE;
	uint64_t one = 1;

	if (line && !serial->line)
		while (write(serial->irq_fd, &one, sizeof(one)) < 0 && errno == EINTR)
			;
	serial->line = line;
}

/* ---- transmitter ---- */

static void serial_flush(struct serial *serial)
{
	while (serial->tx.n) {
		uint8_t byte = serial->tx.data[serial->tx.head];

		if (!chardev_write(serial->chardev, &byte, 1))
			return;
		fifo_get(&serial->tx);
	}
	serial->tx_pending = true;
}

static void serial_transmit(struct serial *serial, uint8_t byte)
{
	serial->tx_pending = false;
	if (serial->mcr & MCR_LOOP) {
		if (serial->rx.n < serial_fifo_size(serial))
			fifo_put(&serial->rx, byte);
		else
			serial->overrun = true;
		serial->tx_pending = true;
		return;
	}
	/* A full FIFO means a driver that does not look at THRE: its byte is lost, as on a wire. */
	if (serial->tx.n < SERIAL_FIFO)
		fifo_put(&serial->tx, byte);
	serial_flush(serial);
}

static void serial_on_writable(void *ctx)
{
	struct serial *serial = ctx;

	serial_flush(serial);
	serial_update(serial);
}

/* ---- receiver ---- */

static size_t serial_input_room(void *ctx)
{
	const struct serial *serial = ctx;
	unsigned int size = serial_fifo_size(serial);

	if (serial->mcr & MCR_LOOP || serial->rx.n >= size)
		return 0;
	return size - serial->rx.n;
}

static void serial_input(void *ctx, const uint8_t *data, size_t len)
{
	struct serial *serial = ctx;

	for (size_t i = 0; i < len && serial->rx.n < SERIAL_FIFO; i++)
		fifo_put(&serial->rx, data[i]);
	serial_update(serial);
}

static uint8_t serial_receive(struct serial *serial)
{
	uint8_t byte = serial->rx.n ? fifo_get(&serial->rx) : 0;

	if (!serial->rx.n)
		chardev_input_ready(serial->chardev);
	return byte;
}

/* ---- registers ---- */

static uint8_t serial_read_iir(struct serial *serial)
{
	uint8_t cause = serial_cause(serial);

	if (cause == IIR_TX)
		serial->tx_pending = false;
	return cause | (serial->fifos ? IIR_FIFOS : 0);
}

static uint8_t serial_read_lsr(struct serial *serial)
{
	uint8_t lsr = serial->tx.n ? 0 : LSR_THRE | LSR_TEMT;

	if (serial->rx.n)
		lsr |= LSR_READY;
	if (serial->overrun)
		lsr |= LSR_OVERRUN;
	serial->overrun = false;
	return lsr;
}

/* The other end of the line is always there and ready; in loop-back it is our own outputs. */
static uint8_t serial_read_msr(const struct serial *serial)
{
	if (!(serial->mcr & MCR_LOOP))
		return MSR_DCD | MSR_DSR | MSR_CTS;
	return (serial->mcr & MCR_RTS ? MSR_CTS : 0) | (serial->mcr & MCR_DTR ? MSR_DSR : 0) |
	       (serial->mcr & MCR_OUT1 ? MSR_RI : 0) | (serial->mcr & MCR_OUT2 ? MSR_DCD : 0);
}

static uint8_t serial_read_reg(struct serial *serial, enum serial_reg reg)
{
	bool dlab = serial->lcr & LCR_DLAB;

	switch (reg) {
	case SERIAL_DATA:
		return dlab ? serial->divisor[0] : serial_receive(serial);
	case SERIAL_IER:
		return dlab ? serial->divisor[1] : serial->ier;
	case SERIAL_IIR:
		return serial_read_iir(serial);
	case SERIAL_LCR:
		return serial->lcr;
	case SERIAL_MCR:
		return serial->mcr;
	case SERIAL_LSR:
		return serial_read_lsr(serial);
	case SERIAL_MSR:
		return serial_read_msr(serial);
	case SERIAL_SCR:
		return serial->scr;
	}
	return 0xff;
}

static void serial_write_ier(struct serial *serial, uint8_t value)
{
	/* Switching the interrupt on while the FIFO is empty raises it: drivers start that way. */
	if ((value & IER_TX) && !(serial->ier & IER_TX) && !serial->tx.n)
		serial->tx_pending = true;
	serial->ier = value & IER_ALL;
}

static void serial_write_fcr(struct serial *serial, uint8_t value)
{
	bool fifos = value & FCR_ENABLE;

	/* A change of mode empties both. */
	if (value & FCR_CLEAR_RX || fifos != serial->fifos)
		serial->rx.n = 0;
	if ((value & FCR_CLEAR_TX || fifos != serial->fifos) && serial->tx.n) {
		serial->tx.n = 0;
		serial->tx_pending = true;
	}
	serial->fifos = fifos;
	chardev_input_ready(serial->chardev);
}

static void serial_write_mcr(struct serial *serial, uint8_t value)
{
	serial->mcr = value & MCR_ALL;
	chardev_input_ready(serial->chardev); /* loop-back may have ended */
}

static void serial_write_reg(struct serial *serial, enum serial_reg reg, uint8_t value)
{
	bool dlab = serial->lcr & LCR_DLAB;

	switch (reg) {
	case SERIAL_DATA:
		if (dlab)
			serial->divisor[0] = value;
		else
			serial_transmit(serial, value);
		return;
	case SERIAL_IER:
		if (dlab)
			serial->divisor[1] = value;
		else
			serial_write_ier(serial, value);
		return;
	case SERIAL_IIR:
		serial_write_fcr(serial, value);
		return;
	case SERIAL_LCR:
		serial->lcr = value;
		return;
	case SERIAL_MCR:
		serial_write_mcr(serial, value);
		return;
	case SERIAL_SCR:
		serial->scr = value;
		return;
	case SERIAL_LSR:
	case SERIAL_MSR:
		return;
	}
}

/* Wider accesses are what an ISA bus makes of them: byte accesses to consecutive registers. */
static void serial_read(void *ctx, uint64_t offset, uint8_t *data, unsigned int len)
{
	struct serial *serial = ctx;

	for (unsigned int i = 0; i < len; i++)
		data[i] = serial_read_reg(serial, (enum serial_reg)(offset + i));
	serial_update(serial);
}

static void serial_write(void *ctx, uint64_t offset, const uint8_t *data, unsigned int len)
{
	struct serial *serial = ctx;

	for (unsigned int i = 0; i < len; i++)
		serial_write_reg(serial, (enum serial_reg)(offset + i), data[i]);
	serial_update(serial);
}

const struct bus_ops serial_bus_ops = {
	.read = serial_read,
	.write = serial_write,
};

static const struct chardev_ops serial_chardev_ops = {
	.input_room = serial_input_room,
	.input = serial_input,
	.writable = serial_on_writable,
};

struct serial *serial_new(struct chardev *chardev, int irq_fd)
{
	struct serial *serial = calloc(1, sizeof(*serial));

	if (!serial)
		return NULL;
	serial->chardev = chardev;
	serial->irq_fd = irq_fd;
	serial_reset(serial);
	chardev_bind(chardev, &serial_chardev_ops, serial);
	return serial;
}

void serial_free(struct serial *serial)
{
	if (!serial)
		return;
	chardev_bind(serial->chardev, NULL, NULL);
	free(serial);
}

void serial_reset(struct serial *serial)
{
	struct chardev *chardev = serial->chardev;
	int irq_fd = serial->irq_fd;

	*serial = (struct serial){
		.chardev = chardev,
		.irq_fd = irq_fd,
		.divisor = {1},
		.mcr = MCR_OUT2,
	};
}
