/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An emitter of ACPI machine language (ACPI 6.4 chapter 20) and of plain little-endian numbers into
 * a fixed buffer. What does not fit is counted and not written: check `len` against `size` once at
 * the end. Things with a length are begun and ended; the length is put in at the end.
 */
#ifndef MEMD_VMM_AML_H
#define MEMD_VMM_AML_H

#include <stddef.h>
#include <stdint.h>

struct aml {
	uint8_t *buf;
	size_t size, len;
};

/* ---- bytes ---- */

void aml_bytes(struct aml *aml, const void *data, size_t n);
void aml_zero(struct aml *aml, size_t n);
void aml_u8(struct aml *aml, uint8_t value);
void aml_u16(struct aml *aml, uint16_t value);
void aml_u32(struct aml *aml, uint32_t value);
void aml_u64(struct aml *aml, uint64_t value);
/* Overwrite what was written at `at`. */
void aml_patch(struct aml *aml, size_t at, const void *data, size_t n);

/* ---- objects: 20.2.3, 20.2.5 ---- */

/* One to four characters, filled up with '_'; "\\" in front for the root. */
void aml_path(struct aml *aml, const char *path);
void aml_integer(struct aml *aml, uint64_t value);
void aml_string(struct aml *aml, const char *text);
/* "PNP0501" in its compressed form, 19.3.4. */
void aml_eisa_id(struct aml *aml, const char *id);

/* Name(path, ...): the object is what is emitted next. */
void aml_name(struct aml *aml, const char *path);

/* Each returns a mark for aml_end. */
size_t aml_scope(struct aml *aml, const char *path);
size_t aml_device(struct aml *aml, const char *path);
size_t aml_method(struct aml *aml, const char *path, unsigned int n_args);
size_t aml_package(struct aml *aml, uint8_t n_elements);
size_t aml_if(struct aml *aml); /* the predicate comes next */
void aml_end(struct aml *aml, size_t mark);

/* OperationRegion(region, SystemMemory, gpa, 4) and one 32-bit field that is all of it. */
void aml_register32(struct aml *aml, const char *region, const char *field, uint32_t gpa);

/* ---- resource templates: 6.4 ---- */

/* Returns a mark for aml_resources_end. */
size_t aml_resources(struct aml *aml);
void aml_resources_end(struct aml *aml, size_t mark);
void aml_resource_memory32(struct aml *aml, uint32_t base, uint32_t len); /* read-write, fixed */
void aml_resource_io(struct aml *aml, uint16_t port, uint8_t len);
void aml_resource_interrupt(struct aml *aml, uint32_t gsi); /* edge, active high, exclusive */

#endif
