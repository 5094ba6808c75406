// SPDX-License-Identifier: Apache-2.0
/* The tiny guest's virtio-console: writes what it is told, and says what comes in. */
#include "tests/guest/tiny.h"

static struct queue queues[2];
static struct device console = {.queues = queues};
static char input[128];

static void offer_input(void)
{
	virtio_send(&console, 0, input, sizeof(input), DESC_WRITE);
}

void console_start(void)
{
	if (!virtio_find(VIRTIO_CONSOLE, &console) || !virtio_start(&console, 0, 2))
		console.base = 0;
	else
		offer_input();
}

void console_poll(void)
{
	uint32_t len;

	if (!console.base)
		return;
	virtio_interrupts(&console);
	if (!virtio_used(&console, 0))
		return;
	len = queues[0].used.ring[(uint16_t)(queues[0].seen - 1) % QUEUE_SIZE].len;
	print("OK console-input ");
	for (uint32_t i = 0; i < len && i < sizeof(input); i++)
		print("%c", input[i] == '\n' ? ' ' : input[i]);
	print("\n");
	offer_input();
}

void console_command(const char *name, char *args)
{
	uint32_t len = 0;

	if (!console.base) {
		print("FAIL console: no device\n");
		return;
	}
	while (args[len])
		len++;
	args[len] = '\n';
	virtio_send(&console, 1, args, len + 1, 0);
	if (virtio_wait(&console, 1))
		print("OK console\n");
	else
		print("FAIL console: no answer\n");
}
