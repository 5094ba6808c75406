// SPDX-License-Identifier: Apache-2.0
/*
 * Interrupts of the tiny guest: local APIC timer and IOAPIC pins only wake the CPU and are counted;
 * all work is done by looking. An exception is a failure and ends the guest. Ways to end are here.
 */
#include "tests/guest/tiny.h"
#include "vmm/layout.h"

#define VECTOR_PIN	0x40 /* + pin */
#define VECTOR_TIMER	0x60
#define VECTOR_SPURIOUS 0x7f

#define LAPIC_ID      (LAYOUT_LAPIC + 0x020)
#define LAPIC_EOI     (LAYOUT_LAPIC + 0x0b0)
#define LAPIC_SVR     (LAYOUT_LAPIC + 0x0f0)
#define LAPIC_TIMER   (LAYOUT_LAPIC + 0x320)
#define LAPIC_INITIAL (LAYOUT_LAPIC + 0x380)
#define LAPIC_DIVIDE  (LAYOUT_LAPIC + 0x3e0)
#define LAPIC_HZ      1000000000U /* KVM's, with a divisor of 1 */

struct gate {
	uint16_t low, selector, flags, middle;
	uint32_t high, zero;
};

struct pointer {
	uint16_t limit;
	uint64_t base;
} __attribute__((packed));

extern const char tiny_stubs[]; /* 16 bytes each */
static struct gate idt[128];

volatile uint64_t irq_timer_ticks;
volatile uint64_t irq_pins[24];

void tiny_interrupt(uint64_t vector, const uint64_t *frame);

/* frame: error code, rip, cs, rflags, rsp, ss. */
void tiny_interrupt(uint64_t vector, const uint64_t *frame)
{
	if (vector < 32) {
		uint64_t cr2;

		__asm__ volatile("mov %%cr2, %0" : "=r"(cr2));
		print("\nFAIL exception %u error 0x%x at 0x%x, address 0x%x\n", vector, frame[0],
		      frame[1], cr2);
		power_off();
	}
	if (vector == VECTOR_TIMER)
		irq_timer_ticks++;
	else if (vector >= VECTOR_PIN && vector < VECTOR_PIN + 24)
		irq_pins[vector - VECTOR_PIN]++;
	if (vector != VECTOR_SPURIOUS)
		mmio_write(LAPIC_EOI, 0);
}

static void ioapic_set(unsigned int pin, uint32_t vector, uint32_t apic_id)
{
	mmio_write(LAYOUT_IOAPIC, 0x11 + 2 * pin);
	mmio_write(LAYOUT_IOAPIC + 0x10, apic_id);
	mmio_write(LAYOUT_IOAPIC, 0x10 + 2 * pin);
	mmio_write(LAYOUT_IOAPIC + 0x10, vector); /* edge, active high, fixed, unmasked */
}

void irq_init(void)
{
	struct pointer pointer = {sizeof(idt) - 1, (uint64_t)idt};

	for (unsigned int i = 0; i < 128; i++) {
		uint64_t stub = (uint64_t)tiny_stubs + 16UL * i;

		idt[i] = (struct gate){.low = (uint16_t)stub,
				       .selector = 8,
				       .flags = 0x8e00,
				       .middle = (uint16_t)(stub >> 16),
				       .high = (uint32_t)(stub >> 32)};
	}
	__asm__ volatile("lidt %0" : : "m"(pointer));
	outb(0x21, 0xff); /* the old PICs keep quiet */
	outb(0xa1, 0xff);
	mmio_write(LAPIC_SVR, 0x100 | VECTOR_SPURIOUS);
	for (unsigned int pin = LAYOUT_GSI_COM1; pin < 24; pin++)
		ioapic_set(pin, VECTOR_PIN + pin, mmio_read(LAPIC_ID));
	mmio_write(LAPIC_DIVIDE, 0xb);
	mmio_write(LAPIC_TIMER, 0x20000 | VECTOR_TIMER); /* periodic */
	mmio_write(LAPIC_INITIAL, LAPIC_HZ / TIMER_HZ);
}

void irq_wait(void)
{
	/* sti takes effect behind the next instruction: no wake-up is lost. */
	__asm__ volatile("sti; hlt; cli" : : : "memory");
}

void sleep_ms(uint64_t ms)
{
	uint64_t until = irq_timer_ticks + ms * TIMER_HZ / 1000 + 1;

	while (irq_timer_ticks < until)
		irq_wait();
}

static void stop(void)
{
	for (;;)
		__asm__ volatile("cli; hlt");
}

void power_off(void)
{
	outb(LAYOUT_ACPI_POWER, LAYOUT_POWER_S5);
	stop();
	__builtin_unreachable();
}

void reset(void)
{
	outb(LAYOUT_I8042 + 4, 0xfe);
	stop();
	__builtin_unreachable();
}

void triple_fault(void)
{
	struct pointer none = {0, 0};

	/* A page fault that no handler takes: int3 is more than some emulators of KVM can do. */
	__asm__ volatile("lidt %0; movb $0, (%1)" : : "m"(none), "r"(1UL << 46));
	stop();
	__builtin_unreachable();
}
