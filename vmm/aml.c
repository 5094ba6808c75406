// SPDX-License-Identifier: Apache-2.0
/*
 * The AML emitter. A package's length stands before its content and is itself of variable size, so
 * aml_end moves the content up by what the length takes. Numbers in brackets are sections of
 * ACPI 6.4.
 */
#include "vmm/aml.h"

#include <string.h>

enum {
	OP_NAME = 0x08,
	OP_BYTE = 0x0a,
	OP_WORD = 0x0b,
	OP_DWORD = 0x0c,
	OP_STRING = 0x0d,
	OP_QWORD = 0x0e,
	OP_SCOPE = 0x10,
	OP_BUFFER = 0x11,
	OP_PACKAGE = 0x12,
	OP_METHOD = 0x14,
	OP_EXT = 0x5b,
	OP_IF = 0xa0,
	EXT_REGION = 0x80,
	EXT_FIELD = 0x81,
	EXT_DEVICE = 0x82,
};

/* ---- bytes ---- */

void aml_bytes(struct aml *aml, const void *data, size_t n)
{
	if (aml->len <= aml->size && n <= aml->size - aml->len)
		memcpy(aml->buf + aml->len, data, n);
	aml->len += n;
}

void aml_zero(struct aml *aml, size_t n)
{
	while (n--)
		aml_u8(aml, 0);
}

void aml_u8(struct aml *aml, uint8_t value)
{
	aml_bytes(aml, &value, 1);
}

/* The host is x86-64: its numbers are little endian already. */
void aml_u16(struct aml *aml, uint16_t value)
{
	aml_bytes(aml, &value, sizeof(value));
}

void aml_u32(struct aml *aml, uint32_t value)
{
	aml_bytes(aml, &value, sizeof(value));
}

void aml_u64(struct aml *aml, uint64_t value)
{
	aml_bytes(aml, &value, sizeof(value));
}

void aml_patch(struct aml *aml, size_t at, const void *data, size_t n)
{
	if (at <= aml->size && n <= aml->size - at)
		memcpy(aml->buf + at, data, n);
}

/* ---- objects ---- */

void aml_path(struct aml *aml, const char *path)
{
	char segment[4] = {'_', '_', '_', '_'};

	if (*path == '\\')
		aml_u8(aml, (uint8_t)*path++);
	memcpy(segment, path, strnlen(path, sizeof(segment)));
	aml_bytes(aml, segment, sizeof(segment));
}

void aml_integer(struct aml *aml, uint64_t value)
{
	if (value <= 1) { /* ZeroOp, OneOp */
		aml_u8(aml, (uint8_t)value);
	} else if (value <= UINT8_MAX) {
		aml_u8(aml, OP_BYTE);
		aml_u8(aml, (uint8_t)value);
	} else if (value <= UINT16_MAX) {
		aml_u8(aml, OP_WORD);
		aml_u16(aml, (uint16_t)value);
	} else if (value <= UINT32_MAX) {
		aml_u8(aml, OP_DWORD);
		aml_u32(aml, (uint32_t)value);
	} else {
		aml_u8(aml, OP_QWORD);
		aml_u64(aml, value);
	}
}

void aml_string(struct aml *aml, const char *text)
{
	aml_u8(aml, OP_STRING);
	aml_bytes(aml, text, strlen(text) + 1);
}

static unsigned int hex_digit(char c)
{
	return c <= '9' ? (unsigned int)(c - '0') : (unsigned int)(c - 'A' + 10);
}

void aml_eisa_id(struct aml *aml, const char *id)
{
	/* Three letters of 5 bits, four hex digits, big endian [19.3.4]. */
	uint32_t value = (uint32_t)(id[0] - '@') << 26 | (uint32_t)(id[1] - '@') << 21 |
			 (uint32_t)(id[2] - '@') << 16;

	for (int i = 0; i < 4; i++)
		value |= hex_digit(id[3 + i]) << (12 - 4 * i);
	aml_u8(aml, OP_DWORD);
	aml_u32(aml, __builtin_bswap32(value));
}

void aml_name(struct aml *aml, const char *path)
{
	aml_u8(aml, OP_NAME);
	aml_path(aml, path);
}

size_t aml_scope(struct aml *aml, const char *path)
{
	size_t mark;

	aml_u8(aml, OP_SCOPE);
	mark = aml->len;
	aml_path(aml, path);
	return mark;
}

size_t aml_device(struct aml *aml, const char *path)
{
	size_t mark;

	aml_u8(aml, OP_EXT);
	aml_u8(aml, EXT_DEVICE);
	mark = aml->len;
	aml_path(aml, path);
	return mark;
}

size_t aml_method(struct aml *aml, const char *path, unsigned int n_args)
{
	size_t mark;

	aml_u8(aml, OP_METHOD);
	mark = aml->len;
	aml_path(aml, path);
	aml_u8(aml, (uint8_t)(n_args | 1 << 3)); /* serialized */
	return mark;
}

size_t aml_package(struct aml *aml, uint8_t n_elements)
{
	size_t mark;

	aml_u8(aml, OP_PACKAGE);
	mark = aml->len;
	aml_u8(aml, n_elements);
	return mark;
}

size_t aml_if(struct aml *aml)
{
	aml_u8(aml, OP_IF);
	return aml->len;
}

/* PkgLength of a content of n bytes; it counts itself [20.2.4]. Returns its own size. */
static size_t package_length(size_t n, uint8_t ret_bytes[4])
{
	size_t own = n + 1 < 1U << 6 ? 1 : n + 2 < 1U << 12 ? 2 : n + 3 < 1U << 20 ? 3 : 4;

	n += own;
	if (own == 1) {
		ret_bytes[0] = (uint8_t)n;
		return 1;
	}
	ret_bytes[0] = (uint8_t)((own - 1) << 6 | (n & 0xf));
	for (size_t i = 1; i < own; i++)
		ret_bytes[i] = (uint8_t)(n >> (8 * i - 4));
	return own;
}

void aml_end(struct aml *aml, size_t mark)
{
	uint8_t bytes[4];
	size_t content = aml->len - mark, own = package_length(content, bytes);

	aml_zero(aml, own);
	if (aml->len > aml->size)
		return;
	memmove(aml->buf + mark + own, aml->buf + mark, content);
	memcpy(aml->buf + mark, bytes, own);
}

void aml_register32(struct aml *aml, const char *region, const char *field, uint32_t gpa)
{
	size_t mark;

	aml_u8(aml, OP_EXT);
	aml_u8(aml, EXT_REGION);
	aml_path(aml, region);
	aml_u8(aml, 0); /* SystemMemory */
	aml_integer(aml, gpa);
	aml_integer(aml, 4);

	aml_u8(aml, OP_EXT);
	aml_u8(aml, EXT_FIELD);
	mark = aml->len;
	aml_path(aml, region);
	aml_u8(aml, 0x43); /* DWordAcc, NoLock, WriteAsZeros */
	aml_path(aml, field);
	aml_u8(aml, 32); /* bits, as a PkgLength */
	aml_end(aml, mark);
}

/* ---- resource templates ---- */

/* Room for a BufferSize of two bytes behind the mark, so that only the package moves. */
size_t aml_resources(struct aml *aml)
{
	size_t mark;

	aml_u8(aml, OP_BUFFER);
	mark = aml->len;
	aml_u8(aml, OP_WORD);
	aml_u16(aml, 0);
	return mark;
}

void aml_resources_end(struct aml *aml, size_t mark)
{
	uint16_t n;

	aml_u8(aml, 0x79); /* end tag; checksum 0: none [6.4.2.9] */
	aml_u8(aml, 0);
	n = (uint16_t)(aml->len - mark - 3);
	aml_patch(aml, mark + 1, &n, sizeof(n));
	aml_end(aml, mark);
}

void aml_resource_memory32(struct aml *aml, uint32_t base, uint32_t len)
{
	aml_u8(aml, 0x86); /* [6.4.3.4] */
	aml_u16(aml, 9);
	aml_u8(aml, 1);
	aml_u32(aml, base);
	aml_u32(aml, len);
}

void aml_resource_io(struct aml *aml, uint16_t port, uint8_t len)
{
	aml_u8(aml, 0x47); /* [6.4.2.5] */
	aml_u8(aml, 1);	   /* 16-bit decode */
	aml_u16(aml, port);
	aml_u16(aml, port);
	aml_u8(aml, 1); /* alignment: it is where it is */
	aml_u8(aml, len);
}

void aml_resource_interrupt(struct aml *aml, uint32_t gsi)
{
	aml_u8(aml, 0x89); /* [6.4.3.6] */
	aml_u16(aml, 6);
	aml_u8(aml, 0x03); /* consumer, edge, active high, exclusive */
	aml_u8(aml, 1);
	aml_u32(aml, gsi);
}
