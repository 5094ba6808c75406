/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tiny guest: no libc, no kernel, one CPU. It fills and checks memory and drives our virtio
 * devices, well-behaved or hostile, as lines on COM1 or the command line tell it. Every command
 * answers with one line that starts with OK or FAIL.
 */
#ifndef MEMD_TESTS_TINY_H
#define MEMD_TESTS_TINY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PAGE_BYTES  4096UL
#define LARGE_BYTES (2UL * 1024 * 1024)

/* ---- CPU ---- */

static inline void outb(uint16_t port, uint8_t value)
{
	__asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

static inline uint8_t inb(uint16_t port)
{
	uint8_t value;

	__asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
	return value;
}

static inline void barrier(void)
{
	__asm__ volatile("mfence" : : : "memory");
}

static inline uint32_t mmio_read(uint64_t address)
{
	return *(volatile uint32_t *)address;
}

static inline void mmio_write(uint64_t address, uint32_t value)
{
	*(volatile uint32_t *)address = value;
}

/* ---- tiny_text.c: serial line, text in and out ---- */

void serial_init(void);
/* The next whole line of input without its end, or NULL: none yet. Valid until the next call. */
char *serial_line(void);

/* %u %x (64-bit), %s %c; nothing else. */
void print(const char *fmt, ...);

bool text_equal(const char *a, const char *b);
/* Cut the next word off *text; "" at the end. */
char *text_word(char **text);
/* "64M", "0x20", "4096"; *ret stays on failure. */
bool text_number(const char *word, uint64_t *ret);

/* ---- tiny_irq.c: interrupts wake us and are counted, no more ---- */

#define TIMER_HZ 20

void irq_init(void);
extern volatile uint64_t irq_timer_ticks;
extern volatile uint64_t irq_pins[24]; /* by IOAPIC pin */
/* Sleep until an interrupt. */
void irq_wait(void);
void sleep_ms(uint64_t ms);
void power_off(void) __attribute__((noreturn));
void reset(void) __attribute__((noreturn));
void triple_fault(void) __attribute__((noreturn));

/* ---- tiny_memory.c: pages, numbered over all RAM behind our image ---- */

/* xen/include/public/arch-x86/hvm/start_info.h */
#define START_INFO_MAGIC 0x336ec578
struct start_info {
	uint32_t magic, version, flags, nr_modules;
	uint64_t modlist, cmdline, rsdp, memmap;
	uint32_t memmap_entries, reserved;
};

void memory_init(const struct start_info *info);
uint64_t memory_pages(void);
/* Physical address, which is the virtual one too, of page i. */
uint64_t memory_page(uint64_t i);
uint64_t memory_ram_bytes(void);
/* Pages in use from the bottom (fill) and, by the balloon, from the top. */
uint64_t memory_filled(void);

bool memory_fill(uint64_t seed, uint64_t bytes, bool same);
bool memory_verify(void);
void memory_touch(uint64_t bytes);
/* Are the first words of the top pages zero? Counts those that are, of n. */
uint64_t memory_count_zero(uint64_t n);

/* ---- tiny_virtio.c: the transport ---- */

#define QUEUE_SIZE 64
#define QUEUES_MAX 5

struct desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags, next;
};
#define DESC_NEXT     1
#define DESC_WRITE    2
#define DESC_INDIRECT 4

struct queue {
	struct desc desc[QUEUE_SIZE];
	struct {
		uint16_t flags, idx, ring[QUEUE_SIZE + 1];
	} avail;
	struct {
		uint16_t flags, idx;
		struct {
			uint32_t id, len;
		} ring[QUEUE_SIZE];
	} used __attribute__((aligned(4)));
	uint16_t seen; /* of used.idx */
} __attribute__((aligned(4096)));

struct device {
	uint64_t base; /* 0: not there */
	unsigned int pin;
	uint32_t features; /* low half, negotiated */
	unsigned int n_queues;
	struct queue *queues;
};

#define VIRTIO_NET     1
#define VIRTIO_CONSOLE 3
#define VIRTIO_RNG     4
#define VIRTIO_BALLOON 5
#define VIRTIO_MEM     24

/* Find the device with this id. */
bool virtio_find(uint32_t id, struct device *ret_device);
bool virtio_find_nth(uint32_t id, unsigned int n, struct device *ret_device); /* from 0 */
/* Reset, take `want` of the features offered, set up n queues, DRIVER_OK. */
bool virtio_start(struct device *dev, uint32_t want, unsigned int n_queues);
uint32_t virtio_status(const struct device *dev);
#define STATUS_NEEDS_RESET 0x40
uint32_t virtio_config(const struct device *dev, uint32_t offset);
void virtio_config_set(const struct device *dev, uint32_t offset, uint32_t value);
/* Take and acknowledge the interrupt status. */
uint32_t virtio_interrupts(const struct device *dev);

/* Make the chain at head available and kick. */
void virtio_offer(struct device *dev, unsigned int queue, uint16_t head);
/* One buffer as descriptor 0, made available and kicked. */
void virtio_send(struct device *dev, unsigned int queue, const void *data, uint32_t len,
		 uint16_t flags);
/* Something came back since the last true. */
bool virtio_used(struct device *dev, unsigned int queue);
/* The same, waiting up to two seconds or until the device gives up. */
bool virtio_wait(struct device *dev, unsigned int queue);

/* ---- tiny_balloon.c, tiny_hostile.c, tiny_storm.c, tiny_console.c, tiny_net.c ---- */

extern struct device balloon;
void balloon_start(void);
/* One look: follow the target, refill statistics. Called whenever we wake. */
void balloon_poll(void);
/* inflate SIZE | deflate SIZE | report SIZE | zero SIZE | poison VALUE | balloon */
void balloon_command(const char *name, char *args);
uint64_t balloon_held_pages(void);

void hostile_command(const char *name, char *args);
void storm_command(const char *name, char *args);
void disk_command(const char *name, char *args);
void rng_command(const char *name, char *args);
/* net A B C D: answer for this address; net hostile WHAT */
void net_command(const char *name, char *args);
void net_poll(void);
/* mem plug|unplug|state|fill|check|read|write BLOCK [N], mem all, mem */
void mem_command(const char *name, char *args);
void console_start(void);
void console_poll(void);
void console_command(const char *name, char *args);

#endif
