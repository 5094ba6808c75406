// SPDX-License-Identifier: Apache-2.0
/*
 * The ACPI tables: structure, checksums and pointers walked as firmware consumers do, what the
 * tables say of CPUs, nodes and registers, and iasl's opinion of each table where it is installed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/size.h"
#include "vmm/acpi.h"
#include "vmm/aml.h"
#include "vmm/layout.h"

#define AREA (LAYOUT_ACPI_END - LAYOUT_ACPI)

struct built {
	uint8_t buf[AREA];
	size_t len;
};

static struct ram *nodes(size_t n, uint64_t bytes)
{
	struct ram_config configs[RAM_NODES_MAX] = {0};
	struct ram *ram;

	for (size_t i = 0; i < n; i++)
		configs[i].size_bytes = bytes;
	assert_int_equal(ram_new(configs, n, &ram), 0);
	return ram;
}

static void build(struct built *b, unsigned int n_cpus, size_t n_nodes, uint64_t node_bytes)
{
	struct ram *ram = nodes(n_nodes, node_bytes);
	struct acpi_config config = {.n_cpus = n_cpus, .ram = ram, .n_virtio = LAYOUT_VIRTIO_MAX};

	memset(b, 0, sizeof(*b));
	assert_int_equal(acpi_build(&config, LAYOUT_ACPI, b->buf, sizeof(b->buf), &b->len), 0);
	ram_free(ram);
}

static uint32_t u32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static uint64_t u64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static unsigned int sum(const uint8_t *p, size_t n)
{
	unsigned int s = 0;

	while (n--)
		s += *p++;
	return s & 0xff;
}

static const uint8_t *at_gpa(const struct built *b, uint64_t gpa)
{
	assert_true(gpa >= LAYOUT_ACPI && gpa < LAYOUT_ACPI + b->len);
	return b->buf + (gpa - LAYOUT_ACPI);
}

/* A whole table with a right checksum. */
static const uint8_t *table_at(const struct built *b, uint64_t gpa)
{
	const uint8_t *t = at_gpa(b, gpa);

	assert_true(u32(t + 4) >= 36);
	assert_true(u32(t + 4) <= b->len - (size_t)(t - b->buf));
	assert_int_equal(sum(t, u32(t + 4)), 0);
	return t;
}

static const uint8_t *find_table(const struct built *b, const char *signature)
{
	const uint8_t *xsdt, *fadt = NULL, *found = NULL;

	assert_memory_equal(b->buf, "RSD PTR ", 8);
	assert_int_equal(b->buf[15], 2);
	assert_int_equal(sum(b->buf, 20), 0);
	assert_int_equal(sum(b->buf, 36), 0);
	assert_int_equal(u32(b->buf + 20), 36);
	xsdt = table_at(b, u64(b->buf + 24));
	assert_memory_equal(xsdt, "XSDT", 4);
	for (uint32_t i = 36; i < u32(xsdt + 4); i += 8) {
		const uint8_t *t = table_at(b, u64(xsdt + i));

		if (memcmp(t, "FACP", 4) == 0)
			fadt = t;
		if (memcmp(t, signature, 4) == 0)
			found = t;
	}
	if (!fadt) {
		print_error("no FADT\n");
		abort();
	}
	assert_int_equal(u32(fadt + 40), u64(fadt + 140));
	return strcmp(signature, "DSDT") == 0 ? table_at(b, u64(fadt + 140)) : found;
}

/* The same for a table that has to be there. */
static const uint8_t *need_table(const struct built *b, const char *signature)
{
	const uint8_t *t = find_table(b, signature);

	if (!t) {
		print_error("no table %s\n", signature);
		abort();
	}
	return t;
}

static void test_fadt(void **state)
{
	struct built *b = malloc(sizeof(*b));
	const uint8_t *t;

	build(b, 1, 1, 64 * MIB);
	t = need_table(b, "FACP");
	assert_int_equal(u32(t + 4), 276);
	assert_int_equal(t[8], 6);
	/* HW_REDUCED, RESET_REG, no fixed buttons */
	assert_int_equal(u32(t + 112) & (1 << 20 | 1 << 10 | 1 << 5 | 1 << 4),
			 1 << 20 | 1 << 10 | 1 << 5 | 1 << 4);
	assert_int_equal(t[116], 1);
	assert_int_equal(u64(t + 120), LAYOUT_ACPI_POWER);
	assert_int_equal(t[128], LAYOUT_POWER_RESET);
	assert_int_equal(t[244], 1);
	assert_int_equal(u64(t + 248), LAYOUT_ACPI_POWER);
	assert_int_equal(t[256], 1);
	assert_int_equal(u64(t + 260), LAYOUT_ACPI_STATUS);
	free(b);
}

/* Walk the entries behind `from`; count those of one type. */
static unsigned int count_entries(const uint8_t *t, uint32_t from, uint8_t type)
{
	unsigned int n = 0;

	while (from < u32(t + 4)) {
		assert_true(t[from + 1] >= 2);
		n += t[from] == type;
		from += t[from + 1];
	}
	assert_int_equal(from, u32(t + 4));
	return n;
}

static void test_madt(void **state)
{
	struct built *b = malloc(sizeof(*b));

	for (unsigned int n = 1; n <= 64; n += 63) {
		const uint8_t *t;

		build(b, n, 1, 64 * MIB);
		t = need_table(b, "APIC");
		assert_int_equal(u32(t + 36), LAYOUT_LAPIC);
		assert_int_equal(count_entries(t, 44, 0), n);
		assert_int_equal(count_entries(t, 44, 1), 1);
		for (unsigned int i = 0; i < n; i++)
			assert_int_equal(t[44 + 8 * i + 3], i);
		assert_int_equal(u32(t + 44 + 8 * n + 4), LAYOUT_IOAPIC);
	}
	free(b);
}

static void test_srat_slit(void **state)
{
	struct built *b = malloc(sizeof(*b));
	const uint8_t *t;
	uint64_t bytes[8] = {0};

	build(b, 64, 1, 64 * MIB);
	assert_null(find_table(b, "SRAT"));
	assert_null(find_table(b, "SLIT"));

	/* 8 GiB: node 3 lies on both sides of the hole */
	build(b, 64, 8, 900 * MIB);
	t = need_table(b, "SRAT");
	assert_int_equal(count_entries(t, 48, 0), 64);
	assert_int_equal(count_entries(t, 48, 1), 9);
	for (unsigned int i = 0; i < 64; i++) {
		assert_int_equal(t[48 + 16 * i + 2], i / 8);
		assert_int_equal(t[48 + 16 * i + 3], i);
	}
	for (unsigned int i = 0; i < 9; i++) {
		const uint8_t *entry = t + 48 + 16 * 64 + 40 * i;
		uint64_t gpa = u64(entry + 8), len = u64(entry + 16);

		assert_true(gpa + len <= LAYOUT_HOLE_START || gpa >= LAYOUT_HIGH_START);
		bytes[u32(entry + 2)] += len;
	}
	for (unsigned int i = 0; i < 8; i++)
		assert_int_equal(bytes[i], 900 * MIB);

	t = need_table(b, "SLIT");
	assert_int_equal(u64(t + 36), 8);
	for (unsigned int i = 0; i < 64; i++)
		assert_int_equal(t[44 + i], i / 8 == i % 8 ? 10 : 20);
	free(b);
}

/* Three nodes of which the CPUs reach two: initiators 0 and 1, targets 0 to 2. */
static void test_hmat(void **state)
{
	struct locality locality = {.n_nodes = 3};
	struct built *b = calloc(1, sizeof(*b));
	struct ram *ram = nodes(3, 64 * MIB);
	struct acpi_config config = {.n_cpus = 2, .ram = ram, .locality = &locality};
	const uint8_t *t, *latency, *bandwidth;

	for (unsigned int i = 0; i < 3; i++)
		for (unsigned int j = 0; j < 3; j++) {
			locality.distance[i][j] = i == j ? 10 : (uint8_t)(30 + i);
			locality.latency_ns[i][j] = (uint16_t)(100 + 10 * i + j);
			locality.bandwidth_mb_s[i][j] = i == j ? 200000 : 1;
		}
	assert_int_equal(acpi_cpu_node(1, 2, 3), 1);
	assert_int_equal(acpi_build(&config, LAYOUT_ACPI, b->buf, sizeof(b->buf), &b->len), 0);
	t = find_table(b, "SLIT");
	assert_int_equal(t[44 + 1], 30);
	assert_int_equal(t[44 + 3], 31);
	t = find_table(b, "HMAT");
	assert_non_null(t);
	assert_int_equal(t[8], 2);
	for (unsigned int node = 0; node < 3; node++) {
		const uint8_t *domain = t + 40 + 40 * node;

		assert_int_equal(u32(domain + 4), 40);
		assert_int_equal(domain[8], node < 2);
		assert_int_equal(u32(domain + 12), node < 2 ? node : 0);
		assert_int_equal(u32(domain + 16), node);
	}
	latency = t + 40 + 3 * 40;
	assert_int_equal(latency[0], 1);
	assert_int_equal(latency[9], 0);
	assert_int_equal(u32(latency + 12), 2);
	assert_int_equal(u32(latency + 16), 3);
	assert_int_equal(u64(latency + 24), 1000);
	assert_int_equal(u32(latency + 36), 1);
	assert_int_equal(u32(latency + 48), 2);
	assert_int_equal(latency[52], 100);
	assert_int_equal(latency[52 + 2 * 5], 112);
	bandwidth = latency + u32(latency + 4);
	assert_int_equal(bandwidth[9], 3);
	/* Units of 4 MB/s, so that 200000 fits; what is less than one is one. */
	assert_int_equal(u64(bandwidth + 24), 4);
	assert_int_equal(bandwidth[52] | bandwidth[53] << 8, 50000);
	assert_int_equal(bandwidth[54], 1);
	assert_int_equal(bandwidth + u32(bandwidth + 4) - t, u32(t + 4));

	locality.n_nodes = 2;
	assert_int_equal(acpi_build(&config, LAYOUT_ACPI, b->buf, sizeof(b->buf), &b->len),
			 -EINVAL);
	config.locality = NULL;
	assert_int_equal(acpi_build(&config, LAYOUT_ACPI, b->buf, sizeof(b->buf), &b->len), 0);
	assert_null(find_table(b, "HMAT"));
	ram_free(ram);
	free(b);
}

static void test_cpu_node(void **state)
{
	unsigned int counts[3] = {0};

	for (unsigned int i = 0; i < 7; i++) {
		if (i)
			assert_true(acpi_cpu_node(i, 7, 3) >= acpi_cpu_node(i - 1, 7, 3));
		counts[acpi_cpu_node(i, 7, 3)]++;
	}
	for (unsigned int i = 0; i < 3; i++)
		assert_in_range(counts[i], 2, 3);
	assert_int_equal(acpi_cpu_node(0, 1, 8), 0);
	assert_int_equal(acpi_cpu_node(63, 64, 1), 0);
}

static void test_too_small(void **state)
{
	struct ram *ram = nodes(8, 64 * MIB);
	struct acpi_config config = {.n_cpus = 64, .ram = ram, .n_virtio = LAYOUT_VIRTIO_MAX};
	struct built *b = malloc(sizeof(*b));
	size_t len = 12345;

	build(b, 64, 8, 64 * MIB);
	/* Every size that is too small is refused, and nothing behind the buffer is touched (ASan).
	 */
	for (size_t size = 0; size < b->len; size += 13) {
		uint8_t *small = malloc(size + !size);

		assert_int_equal(acpi_build(&config, LAYOUT_ACPI, small, size, &len), -ENOSPC);
		assert_int_equal(len, 12345);
		free(small);
	}
	config.n_cpus = 0;
	assert_int_equal(acpi_build(&config, LAYOUT_ACPI, b->buf, AREA, &len), -EINVAL);
	config.n_cpus = 256;
	assert_int_equal(acpi_build(&config, LAYOUT_ACPI, b->buf, AREA, &len), -EINVAL);
	config.n_cpus = 1;
	config.n_virtio = LAYOUT_VIRTIO_MAX + 1;
	assert_int_equal(acpi_build(&config, LAYOUT_ACPI, b->buf, AREA, &len), -EINVAL);
	free(b);
	ram_free(ram);
}

/* Lengths that cross the borders of the PkgLength encodings. */
static void test_package_lengths(void **state)
{
	static const size_t contents[] = {0, 57, 58, 59, 4087, 4088, 4089, 4090, 70000, 1048570};
	static uint8_t buf[1100000];

	for (size_t i = 0; i < ARRAY_SIZE(contents); i++) {
		struct aml aml = {.buf = buf, .size = sizeof(buf)};
		size_t mark = aml_scope(&aml, "\\_SB"), n, lead, len;

		for (size_t j = 0; j < contents[i]; j++)
			aml_u8(&aml, 0xa3);
		aml_end(&aml, mark);
		n = aml.len - 1; /* behind the opcode */
		lead = buf[1] >> 6;
		len = lead ? buf[1] & 0xf : buf[1] & 0x3f;
		for (size_t j = 0; j < lead; j++)
			len |= (size_t)buf[2 + j] << (4 + 8 * j);
		assert_int_equal(len, n);
		assert_memory_equal(buf + 2 + lead, "\\_SB_", 5);
		assert_int_equal(buf[aml.len - 1], contents[i] ? 0xa3 : '_');
	}
}

/* ---- iasl ---- */

static char *slurp(const char *path)
{
	FILE *f = fopen(path, "r");
	char *text = calloc(1, 1 << 20);

	assert_non_null(f);
	assert_true(fread(text, 1, (1 << 20) - 1, f) > 0);
	fclose(f);
	return text;
}

static void has(const char *text, const char *part)
{
	if (!strstr(text, part))
		fail_msg("the disassembly has no '%s'", part);
}

static void disassemble(const char *dir, const struct built *b, const char *signature)
{
	const uint8_t *t = find_table(b, signature);
	char path[128], command[512], *text;
	FILE *f;

	if (!t)
		return;
	snprintf(path, sizeof(path), "%s/%s.dat", dir, signature);
	f = fopen(path, "w");
	assert_non_null(f);
	assert_int_equal(fwrite(t, 1, u32(t + 4), f), u32(t + 4));
	fclose(f);
	snprintf(command, sizeof(command), "cd %s && iasl -d %s.dat >%s.log 2>&1", dir, signature,
		 signature);
	if (system(command) != 0)
		fail_msg("iasl -d %s failed, see %s", signature, dir);
	snprintf(path, sizeof(path), "%s/%s.log", dir, signature);
	text = slurp(path);
	if (strstr(text, "Error") || strstr(text, "Warning"))
		fail_msg("iasl -d %s: %s", signature, text);
	free(text);
	snprintf(path, sizeof(path), "%s/%s.dsl", dir, signature);
	text = slurp(path);
	if (strstr(text, "Incorrect checksum") || strstr(text, "Invalid") ||
	    strstr(text, "**** Unknown"))
		fail_msg("iasl -d %s: %s", signature, text);
	if (strcmp(signature, "DSDT") == 0) {
		has(text, "Name (_S5, Package (0x04)");
		has(text, "EisaId (\"PNP0501\")");
		has(text, "\"LNRO0005\"");
		has(text, "0xD0000000");
		has(text, "0x00000016,"); /* the last virtio interrupt, 22 */
		has(text, "Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive");
		has(text, "OperationRegion (EREG, SystemMemory, 0xD1000000, 0x04)");
		has(text, "Notify (PWRB, 0x80)");
		/* And it compiles again: what was disassembled is whole. */
		snprintf(command, sizeof(command),
			 "cd %s && iasl -p again DSDT.dsl >>DSDT.log 2>&1", dir);
		assert_int_equal(system(command), 0);
	}
	free(text);
}

static void test_iasl(void **state)
{
	static const char *const signatures[] = {"FACP", "APIC", "DSDT", "SRAT", "SLIT"};
	static const unsigned int cpus[] = {1, 64}, node_counts[] = {1, 8};
	struct built *b;
	char command[64];

	if (system("command -v iasl >/dev/null 2>&1") != 0)
		skip();
	b = malloc(sizeof(*b));
	for (size_t i = 0; i < 4; i++) {
		char dir[] = "/tmp/vmm-acpi-XXXXXX";

		assert_non_null(mkdtemp(dir));
		build(b, cpus[i / 2], node_counts[i % 2], 900 * MIB);
		for (size_t s = 0; s < ARRAY_SIZE(signatures); s++)
			disassemble(dir, b, signatures[s]);
		snprintf(command, sizeof(command), "rm -rf %s", dir);
		assert_int_equal(system(command), 0);
	}
	free(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fadt),
		cmocka_unit_test(test_madt),
		cmocka_unit_test(test_srat_slit),
		cmocka_unit_test(test_hmat),
		cmocka_unit_test(test_cpu_node),
		cmocka_unit_test(test_too_small),
		cmocka_unit_test(test_package_lengths),
		cmocka_unit_test(test_iasl),
	};

	return cmocka_run_group_tests_name("vmm_acpi", tests, NULL, NULL);
}
