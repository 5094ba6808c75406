// SPDX-License-Identifier: Apache-2.0
/*
 * The tiny guest's main: start_info in, commands out of the command line ("fill 1 64M; verify"),
 * then out of lines on COM1. Between them it sleeps and serves its devices.
 */
#include "tests/guest/tiny.h"

static void poll_devices(void)
{
	balloon_poll();
	console_poll();
	net_poll();
}

static void fill_command(const char *name, char *args)
{
	bool same = text_equal(name, "same");
	uint64_t seed = 0, bytes = 0;

	if ((!same && !text_number(text_word(&args), &seed)) ||
	    !text_number(text_word(&args), &bytes))
		print("FAIL usage: fill SEED SIZE | same SIZE\n");
	else
		memory_fill(seed, bytes, same);
}

static void verify_command(const char *name, char *args)
{
	memory_verify();
}

static void touch_command(const char *name, char *args)
{
	uint64_t bytes = 0;

	if (text_number(text_word(&args), &bytes))
		memory_touch(bytes);
	else
		print("FAIL usage: touch SIZE\n");
}

static void sleep_command(const char *name, char *args)
{
	uint64_t ms = 0, until;

	(void)text_number(text_word(&args), &ms);
	until = irq_timer_ticks + ms * TIMER_HZ / 1000;
	while (irq_timer_ticks < until) {
		irq_wait();
		poll_devices();
	}
	print("OK sleep\n");
}

static void info_command(const char *name, char *args)
{
	print("OK info ram=%u pages=%u filled=%u ticks=%u serial-irqs=%u\n", memory_ram_bytes(),
	      memory_pages(), memory_filled(), irq_timer_ticks, irq_pins[4]);
}

/* A byte to any port: tests of the monitor put devices of their own there. */
static void port_command(const char *name, char *args)
{
	uint64_t port = 0, value = 0;

	if (text_number(text_word(&args), &port) && text_number(text_word(&args), &value)) {
		outb((uint16_t)port, (uint8_t)value);
		print("OK port\n");
	} else {
		print("FAIL usage: port NUMBER VALUE\n");
	}
}

static void idle_command(const char *name, char *args)
{
	print("OK idle\n");
}

static void power_command(const char *name, char *args)
{
	if (text_equal(name, "poweroff"))
		power_off();
	else if (text_equal(name, "reset"))
		reset();
	else
		triple_fault();
}

static const struct {
	const char *name;
	void (*run)(const char *name, char *args);
} commands[] = {
	{"fill", fill_command},	      {"same", fill_command},	    {"verify", verify_command},
	{"touch", touch_command},     {"inflate", balloon_command}, {"deflate", balloon_command},
	{"report", balloon_command},  {"zero", balloon_command},    {"poison", balloon_command},
	{"balloon", balloon_command}, {"hostile", hostile_command}, {"rng", rng_command},
	{"console", console_command}, {"sleep", sleep_command},	    {"info", info_command},
	{"idle", idle_command},	      {"poweroff", power_command},  {"reset", power_command},
	{"crash", power_command},     {"net", net_command},	    {"mem", mem_command},
	{"disk", disk_command},	      {"port", port_command},	    {"storm", storm_command},
};

static void run(char *line)
{
	const char *name = text_word(&line);

	if (!*name)
		return;
	for (unsigned int i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (text_equal(name, commands[i].name)) {
			commands[i].run(name, line);
			return;
		}
	}
	print("FAIL unknown command %s\n", name);
}

static void run_cmdline(char *text)
{
	while (*text) {
		char *command = text;

		while (*text && *text != ';')
			text++;
		if (*text)
			*text++ = '\0';
		run(command);
	}
}

void tiny_main(uint32_t info_address);

void tiny_main(uint32_t info_address)
{
	const struct start_info *info = (const struct start_info *)(uint64_t)info_address;

	serial_init();
	if (info->magic != START_INFO_MAGIC || info->version < 1) {
		print("FAIL start_info: magic 0x%x version %u\n", (uint64_t)info->magic,
		      (uint64_t)info->version);
		power_off();
	}
	irq_init();
	memory_init(info);
	balloon_start();
	console_start();
	print("TINY up, %u bytes of RAM\n", memory_ram_bytes());
	if (info->cmdline)
		run_cmdline((char *)info->cmdline);
	print("READY\n");
	for (;;) {
		char *line = serial_line();

		poll_devices();
		if (line)
			run(line);
		else
			irq_wait();
	}
}
