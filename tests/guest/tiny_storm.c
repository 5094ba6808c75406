// SPDX-License-Identifier: Apache-2.0
/*
 * Nonsense for everything at once: random accesses of every width to the registers of all virtio
 * devices and to the ports, and queues whose rings and descriptors are random too. The same seed is
 * the same storm. Only what would end or restart the guest, or overwrite it, is left out. What the
 * devices answer does not matter: afterwards they must work for a driver that behaves.
 *
 *   storm SEED ROUNDS
 */
#include "tests/guest/tiny.h"
#include "vmm/layout.h"

#define ARENA_BYTES (512 * 1024U) /* free memory for rings and buffers */
#define QUEUE_SEL   0x030
#define QUEUE_NUM   0x038
#define QUEUE_READY 0x044
#define NOTIFY	    0x050
#define STATUS	    0x070
#define QUEUE_DESC  0x080 /* descriptors, driver, device: 16 bytes apart, low and high word */
#define CONFIG	    0x100

static uint64_t state;
static uint8_t *arena;
static unsigned int n_devices;

static uint64_t next(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

static uint64_t below(uint64_t n)
{
	return next() % n;
}

/* Where a device may look: our arena, the edges of RAM and what is none. Never the guest itself. */
static uint64_t address(void)
{
	switch (below(8)) {
	case 0:
		return next() | 1UL << 62;
	case 1:
		return LAYOUT_HOLE_START + below(0x40000000);
	case 2:
		return memory_page(memory_pages() - 1) + PAGE_BYTES - below(64);
	case 3:
		return ~0UL - below(4096);
	default:
		return (uint64_t)arena + below(ARENA_BYTES - 65536);
	}
}

static uint32_t value(void)
{
	static const uint32_t edges[] = {0,	 1,	     2,		 4,	    8,	    15,
					 64,	 128,	     256,	 512,	    0x7fff, 0x8000,
					 0xffff, 0x7fffffff, 0x80000000, 0xffffffff};

	return below(3) ? edges[below(sizeof(edges) / sizeof(edges[0]))] : (uint32_t)next();
}

static uint64_t window(void)
{
	return LAYOUT_VIRTIO_MMIO + below(n_devices) * LAYOUT_VIRTIO_STRIDE;
}

static void access_mmio(uint64_t to, bool write)
{
	switch (below(4)) {
	case 0:
		if (write)
			*(volatile uint8_t *)to = (uint8_t)value();
		else
			(void)*(volatile uint8_t *)to;
		break;
	case 1:
		if (write)
			*(volatile uint16_t *)to = (uint16_t)value();
		else
			(void)*(volatile uint16_t *)to;
		break;
	case 2:
		if (write)
			*(volatile uint64_t *)to = next();
		else
			(void)*(volatile uint64_t *)to;
		break;
	default:
		if (write)
			mmio_write(to & ~3UL, value());
		else
			(void)mmio_read(to & ~3UL);
	}
}

static void access_port(void)
{
	static const uint16_t ports[] = {LAYOUT_COM1, LAYOUT_I8042, LAYOUT_ACPI_POWER,
					 LAYOUT_ACPI_STATUS};
	uint16_t port = below(4) ? (uint16_t)(ports[below(4)] + below(8)) : (uint16_t)next();
	uint32_t v = value();

	/* The interrupt controllers and the timer are KVM's, and the guest needs them. */
	if (port < 0x60 || (port >= 0xa0 && port < 0xa4) || (port >= 0x4cc && port < 0x4d4))
		return;
	if (below(2)) {
		__asm__ volatile("inl %1, %0" : "=a"(v) : "Nd"(port));
		return;
	}
	/* An access that covers them may say anything but reset and off. */
	if (port >= 0x5c && port <= 0x64 && (v & 0xff) == 0xfe)
		v = 0;
	if (port == LAYOUT_ACPI_POWER &&
	    ((v & 0xff) == LAYOUT_POWER_RESET || (v & 0xff) == LAYOUT_POWER_S5))
		v = 0;
	switch (below(3)) {
	case 0:
		outb(port, (uint8_t)v);
		break;
	case 1:
		__asm__ volatile("outw %w0, %1" : : "a"(v), "Nd"(port));
		break;
	default:
		__asm__ volatile("outl %0, %1" : : "a"(v), "Nd"(port));
	}
}

static void write_rings(void)
{
	struct desc *desc = (struct desc *)(arena + below(16) * PAGE_BYTES);
	uint16_t *words = (uint16_t *)(arena + below(16) * PAGE_BYTES);

	for (unsigned int i = 0; i < 16; i++)
		desc[i] = (struct desc){address(), below(2) ? (uint32_t)below(70000) : value(),
					(uint16_t)below(8), (uint16_t)below(20)};
	for (unsigned int i = 0; i < 32; i++)
		words[i] = (uint16_t)below(below(4) ? 20 : 65536);
}

/* A driver that begins well, so that the storm gets past the door. */
static void set_up(uint64_t base)
{
	unsigned int queue = (unsigned int)below(5);

	if (below(2)) {
		mmio_write(base + STATUS, 0);
		mmio_write(base + STATUS, 3);
		for (unsigned int half = 0; half < 2; half++) {
			mmio_write(base + 0x014, half);
			mmio_write(base + 0x024, half);
			mmio_write(base + 0x020,
				   mmio_read(base + 0x010) & (half | (uint32_t)next()));
		}
		mmio_write(base + STATUS, 11);
	}
	mmio_write(base + QUEUE_SEL, queue);
	mmio_write(base + QUEUE_READY, 0);
	mmio_write(base + QUEUE_NUM, below(8) ? 1U << below(8) : value());
	for (unsigned int part = 0; part < 3; part++) {
		uint64_t at = below(8) ? (uint64_t)arena + below(16) * PAGE_BYTES : address();

		mmio_write(base + QUEUE_DESC + 16 * part, (uint32_t)at);
		mmio_write(base + QUEUE_DESC + 16 * part + 4, (uint32_t)(at >> 32));
	}
	mmio_write(base + QUEUE_READY, 1);
	mmio_write(base + STATUS, 15);
	mmio_write(base + NOTIFY, queue);
}

static void round(void)
{
	uint64_t base = window();

	switch (below(8)) {
	case 0:
		write_rings();
		set_up(base);
		break;
	case 1:
		write_rings();
		mmio_write(base + NOTIFY, (uint32_t)below(6));
		break;
	case 2:
		access_port();
		break;
	case 3:
		access_mmio(base + CONFIG + below(96), below(2));
		break;
	case 4:
		access_mmio(LAYOUT_GED_MMIO + below(8), below(2));
		break;
	default:
		access_mmio(base + below(CONFIG), below(2));
	}
}

void storm_command(const char *name, char *args)
{
	uint64_t rounds = 0;

	if (!text_number(text_word(&args), &state) || !text_number(text_word(&args), &rounds)) {
		print("FAIL usage: storm SEED ROUNDS\n");
		return;
	}
	state = state * 0x9e3779b97f4a7c15ULL + 1;
	arena = (uint8_t *)memory_page(memory_filled());
	for (n_devices = 0; n_devices < LAYOUT_VIRTIO_MAX; n_devices++)
		if (mmio_read(LAYOUT_VIRTIO_MMIO + n_devices * LAYOUT_VIRTIO_STRIDE) != 0x74726976)
			break;
	for (uint64_t i = 0; i < rounds && n_devices; i++)
		round();
	for (unsigned int i = 0; i < n_devices; i++)
		mmio_write(LAYOUT_VIRTIO_MMIO + i * LAYOUT_VIRTIO_STRIDE + STATUS, 0);
	serial_init();
	balloon_start();
	console_start();
	print("\nOK storm devices=%u\n", (uint64_t)n_devices);
}
