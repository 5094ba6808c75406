// SPDX-License-Identifier: Apache-2.0
/* The serial line of the tiny guest (16550 at COM1), and just enough text handling. */
#include <stdarg.h>

#include "tests/guest/tiny.h"
#include "vmm/layout.h"

#define LSR	  5
#define LSR_INPUT 0x01
#define LSR_ROOM  0x20

void serial_init(void)
{
	outb(LAYOUT_COM1 + 3, 0x03); /* 8n1 */
	outb(LAYOUT_COM1 + 2, 0x07); /* FIFOs on and empty */
	outb(LAYOUT_COM1 + 4, 0x0b); /* DTR, RTS, OUT2: the interrupt line */
	outb(LAYOUT_COM1 + 1, 0x01); /* interrupt on input */
}

static void put(char c)
{
	if (c == '\n')
		put('\r');
	while (!(inb(LAYOUT_COM1 + LSR) & LSR_ROOM))
		;
	outb(LAYOUT_COM1, (uint8_t)c);
}

char *serial_line(void)
{
	static char line[256];
	static unsigned int len;

	while (inb(LAYOUT_COM1 + LSR) & LSR_INPUT) {
		char c = (char)inb(LAYOUT_COM1);

		if (c != '\n' && c != '\r') {
			if (len < sizeof(line) - 1)
				line[len++] = c;
		} else if (len) {
			line[len] = '\0';
			len = 0;
			return line;
		}
	}
	return NULL;
}

static void put_number(uint64_t value, unsigned int base)
{
	char digits[24];
	unsigned int n = 0;

	do {
		digits[n++] = "0123456789abcdef"[value % base];
		value /= base;
	} while (value);
	while (n)
		put(digits[--n]);
}

void print(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	for (; *fmt; fmt++) {
		const char *s;

		if (*fmt != '%') {
			put(*fmt);
			continue;
		}
		switch (*++fmt) {
		case 'u':
			put_number(va_arg(args, uint64_t), 10);
			break;
		case 'x':
			put_number(va_arg(args, uint64_t), 16);
			break;
		case 'c':
			put((char)va_arg(args, int));
			break;
		case 's':
			for (s = va_arg(args, const char *); *s; s++)
				put(*s);
			break;
		}
	}
	va_end(args);
}

bool text_equal(const char *a, const char *b)
{
	while (*a && *a == *b) {
		a++;
		b++;
	}
	return *a == *b;
}

char *text_word(char **text)
{
	char *word;

	while (**text == ' ')
		(*text)++;
	word = *text;
	while (**text && **text != ' ')
		(*text)++;
	if (**text)
		*(*text)++ = '\0';
	return word;
}

bool text_number(const char *word, uint64_t *ret)
{
	unsigned int base = 10;
	uint64_t value = 0;
	bool any = false;

	if (word[0] == '0' && word[1] == 'x') {
		base = 16;
		word += 2;
	}
	for (;; word++) {
		unsigned int digit;

		if (*word >= '0' && *word <= '9')
			digit = (unsigned int)(*word - '0');
		else if (base == 16 && *word >= 'a' && *word <= 'f')
			digit = (unsigned int)(*word - 'a' + 10);
		else
			break;
		value = value * base + digit;
		any = true;
	}
	if (*word == 'K')
		value <<= 10;
	else if (*word == 'M')
		value <<= 20;
	else if (*word == 'G')
		value <<= 30;
	else if (*word)
		return false;
	if (any)
		*ret = value;
	return any;
}

/* The compiler calls these for large copies. */
void *memset(void *to, int value, size_t n);
void *memcpy(void *to, const void *from, size_t n);

void *memset(void *to, int value, size_t n)
{
	void *start = to;

	__asm__ volatile("rep stosb" : "+D"(to), "+c"(n) : "a"(value) : "memory");
	return start;
}

void *memcpy(void *to, const void *from, size_t n)
{
	void *start = to;

	__asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
	return start;
}
