// SPDX-License-Identifier: Apache-2.0
/*
 * Fuzz the ACPI builder: the input is a topology - CPUs, devices, guest nodes and their sizes,
 * distances, room for the tables. What is built must hold together: RSDP, XSDT and every table
 * within what was used, with right lengths and checksums, and the same for the records of SRAT and
 * HMAT. With ACPI_OUT=DIR each table of the input is written to DIR, for iasl.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "common/size.h"
#include "vmm/acpi.h"
#include "vmm/layout.h"

#define AREA (LAYOUT_ACPI_END - LAYOUT_ACPI)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint64_t number(const uint8_t *p, unsigned int bytes)
{
	uint64_t value = 0;

	memcpy(&value, p, bytes);
	return value;
}

static void need(int truth)
{
	if (!truth)
		abort();
}

static unsigned int sum(const uint8_t *p, size_t n)
{
	unsigned int s = 0;

	while (n--)
		s += *p++;
	return s & 0xff;
}

/* Records of 8-bit type and length, or of 16 and 32 bits (HMAT), fill the table to its end. */
static void check_records(const uint8_t *table, size_t from, int is_wide)
{
	size_t len = number(table + 4, 4);

	while (from < len) {
		size_t n = is_wide ? number(table + from + 4, 4) : table[from + 1];

		need(n >= 2 && n <= len - from);
		if (is_wide && number(table + from, 2) == 1) {
			uint64_t s = number(table + from + 12, 4), t = number(table + from + 16, 4);
			const uint8_t *entries = table + from + 32 + 4 * (s + t);

			need(n == 32 + 4 * s + 4 * t + 2 * s * t);
			for (uint64_t i = 0; i < s * t; i++)
				need(number(entries + 2 * i, 2) - 1 < 0xfffe);
		}
		from += n;
	}
}

static void write_out(const uint8_t *table)
{
	static unsigned int n;
	const char *dir = getenv("ACPI_OUT");
	char path[256];
	FILE *f;

	if (!dir)
		return;
	snprintf(path, sizeof(path), "%s/%04u-%.4s.dat", dir, n++, (const char *)table);
	f = fopen(path, "w");
	need(f && fwrite(table, number(table + 4, 4), 1, f) == 1);
	fclose(f);
}

static void check_table(const uint8_t *buf, size_t used, uint64_t gpa)
{
	const uint8_t *table = buf + (gpa - LAYOUT_ACPI);

	need(gpa >= LAYOUT_ACPI && gpa % 16 == 0 && gpa - LAYOUT_ACPI + 36 <= used);
	need(number(table + 4, 4) >= 36 && number(table + 4, 4) <= used - (gpa - LAYOUT_ACPI));
	need(sum(table, number(table + 4, 4)) == 0);
	if (memcmp(table, "SRAT", 4) == 0)
		check_records(table, 48, 0);
	if (memcmp(table, "APIC", 4) == 0)
		check_records(table, 44, 0);
	if (memcmp(table, "HMAT", 4) == 0)
		check_records(table, 40, 1);
	if (memcmp(table, "FACP", 4) == 0)
		check_table(buf, used, number(table + 140, 8));
	write_out(table);
}

static void check_all(const uint8_t *buf, size_t used)
{
	const uint8_t *xsdt = buf + (number(buf + 24, 8) - LAYOUT_ACPI);

	need(used >= 36 && sum(buf, 20) == 0 && sum(buf, 36) == 0);
	check_table(buf, used, number(buf + 24, 8));
	need(memcmp(xsdt, "XSDT", 4) == 0);
	for (size_t i = 36; i < number(xsdt + 4, 4); i += 8)
		check_table(buf, used, number(xsdt + i, 8));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct ram_config configs[RAM_NODES_MAX] = {{0}};
	struct locality locality = {0};
	uint8_t in[8 + RAM_NODES_MAX + 7 * RAM_NODES_MAX * RAM_NODES_MAX] = {0};
	const uint8_t *at = in;
	uint8_t *buf;
	struct acpi_config config = {0};
	struct ram *ram;
	size_t room, used = 0, n_nodes;

	memcpy(in, data, size < sizeof(in) ? size : sizeof(in));
	config.n_cpus = *at++;
	config.n_virtio = *at++ % (LAYOUT_VIRTIO_MAX + 2);
	n_nodes = *at++ % RAM_NODES_MAX + 1;
	room = AREA >> *at++ % 8;
	at += 4;
	/* Up to 2 GiB each, so that the hole cuts some; none of it is touched. */
	for (size_t i = 0; i < n_nodes; i++) {
		configs[i].size_bytes = (*at++ + 1ULL) * 8 * MIB;
		configs[i].pages = RAM_PAGES_SMALL;
	}
	locality.n_nodes = n_nodes;
	for (size_t i = 0; i < n_nodes; i++)
		for (size_t j = 0; j < n_nodes; j++, at += 7) {
			uint64_t latency = number(at + 1, 2), bandwidth = number(at + 3, 4);

			locality.distance[i][j] = at[0];
			locality.latency_ns[i][j] = (uint16_t)(latency % 0xfffe + 1);
			locality.bandwidth_mb_s[i][j] = (uint32_t)(bandwidth | 1);
		}
	log_init("fuzz", (enum log_level)0);
	if (ram_new(configs, n_nodes, &ram) < 0)
		return 0;
	config.ram = ram;
	config.locality = in[7] % 4 ? &locality : NULL;
	/* As large as it may be, so that a byte behind it is seen. */
	buf = malloc(room);
	need(buf != NULL);
	if (acpi_build(&config, LAYOUT_ACPI, buf, room, &used) == 0) {
		need(used <= room);
		check_all(buf, used);
	}
	free(buf);
	ram_free(ram);
	return 0;
}
