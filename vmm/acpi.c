// SPDX-License-Identifier: Apache-2.0
/*
 * The ACPI tables of the guest, one after the other behind the RSDP. Fixed hardware is left out
 * (HW_REDUCED_ACPI): power goes through the sleep and reset registers at LAYOUT_ACPI_POWER, the
 * power button through a generic event device. Numbers in brackets are sections of ACPI 6.4.
 */
#include "vmm/acpi.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "vmm/aml.h"
#include "vmm/layout.h"

#define TABLES_MAX 6 /* in the XSDT */

#define RSDP_BYTES   36
#define FADT_BYTES   276
#define HEADER_BYTES 36

#define OEM_TABLE_ID "MEMDVMM "
#define CREATOR_ID   "MEMD"

/* FADT flags [5.2.9, table 5.10] and boot architecture flags [5.2.9.3]. */
#define FADT_WBINVD	 (1U << 0)
#define FADT_PWR_BUTTON	 (1U << 4) /* not fixed hardware */
#define FADT_SLP_BUTTON	 (1U << 5)
#define FADT_RESET_REG	 (1U << 10)
#define FADT_HW_REDUCED	 (1U << 20)
#define FADT_NO_VGA	 (1U << 2)
#define FADT_NO_CMOS_RTC (1U << 5)
#define PROFILE_SERVER	 4
#define AFFINITY_ENABLED 1
#define AFFINITY_HOTPLUG 2
#define DISTANCE_SAME	 10
#define DISTANCE_OTHER	 20
/* Data types of HMAT [table 5.149], and the greatest entry that is a number. */
#define HMAT_ACCESS_LATENCY   0
#define HMAT_ACCESS_BANDWIDTH 3
#define ENTRY_MAX	      0xfffe
#define NOTIFY_PRESSED	      0x80 /* of a power button [4.8.3.1.1.2] */
#define AML_LOCAL0	      0x60
#define AML_STORE	      0x70
#define AML_AND		      0x7b
#define AML_NOTIFY	      0x86
#define AML_NULL_TARGET	      0x00

static const char oem_id[6] = {'M', 'E', 'M', 'D', ' ', ' '};

unsigned int acpi_cpu_node(unsigned int cpu, unsigned int n_cpus, unsigned int n_nodes)
{
	return n_cpus ? (unsigned int)((uint64_t)cpu * n_nodes / n_cpus) : 0;
}

/* ---- tables ---- */

static uint8_t checksum(const uint8_t *data, size_t n)
{
	uint8_t sum = 0;

	while (n--)
		sum = (uint8_t)(sum + *data++);
	return (uint8_t)-sum;
}

/* Start a table on a 16-byte border; returns where. [5.2.6] */
static size_t begin_table(struct aml *aml, const char *signature, uint8_t revision)
{
	size_t at;

	aml_zero(aml, -aml->len % 16);
	at = aml->len;
	aml_bytes(aml, signature, 4);
	aml_u32(aml, 0); /* length: end_table */
	aml_u8(aml, revision);
	aml_u8(aml, 0); /* checksum: end_table */
	aml_bytes(aml, oem_id, sizeof(oem_id));
	aml_bytes(aml, OEM_TABLE_ID, 8);
	aml_u32(aml, 1);
	aml_bytes(aml, CREATOR_ID, 4);
	aml_u32(aml, 1);
	return at;
}

static void end_table(struct aml *aml, size_t at)
{
	uint32_t len = (uint32_t)(aml->len - at);
	uint8_t sum;

	if (aml->len > aml->size)
		return;
	aml_patch(aml, at + 4, &len, sizeof(len));
	sum = checksum(aml->buf + at, len);
	aml_patch(aml, at + 9, &sum, 1);
}

/* Generic address structure: one byte in I/O space [5.2.3.2]. */
static void patch_port(struct aml *aml, size_t at, uint64_t port)
{
	const uint8_t head[4] = {1, 8, 0, 1};

	aml_patch(aml, at, head, sizeof(head));
	aml_patch(aml, at + 4, &port, sizeof(port));
}

/* [5.2.9] Most fields describe fixed hardware and stay zero. */
static size_t build_fadt(struct aml *aml, uint64_t dsdt_gpa)
{
	const uint32_t flags =
		FADT_WBINVD | FADT_PWR_BUTTON | FADT_SLP_BUTTON | FADT_RESET_REG | FADT_HW_REDUCED;
	const uint16_t boot = FADT_NO_VGA | FADT_NO_CMOS_RTC;
	const uint8_t profile = PROFILE_SERVER, reset = LAYOUT_POWER_RESET, minor = 4;
	const uint32_t dsdt32 = (uint32_t)dsdt_gpa;
	size_t at = begin_table(aml, "FACP", 6);

	aml_zero(aml, FADT_BYTES - HEADER_BYTES);
	aml_patch(aml, at + 40, &dsdt32, sizeof(dsdt32));
	aml_patch(aml, at + 45, &profile, 1);
	aml_patch(aml, at + 109, &boot, sizeof(boot));
	aml_patch(aml, at + 112, &flags, sizeof(flags));
	patch_port(aml, at + 116, LAYOUT_ACPI_POWER); /* RESET_REG */
	aml_patch(aml, at + 128, &reset, 1);
	aml_patch(aml, at + 131, &minor, 1);
	aml_patch(aml, at + 140, &dsdt_gpa, sizeof(dsdt_gpa));
	patch_port(aml, at + 244, LAYOUT_ACPI_POWER);  /* SLEEP_CONTROL_REG */
	patch_port(aml, at + 256, LAYOUT_ACPI_STATUS); /* SLEEP_STATUS_REG */
	aml_patch(aml, at + 268, OEM_TABLE_ID, 8);     /* hypervisor vendor */
	end_table(aml, at);
	return at;
}

/* [5.2.12] APIC ids are CPU numbers, so all fit into the 8 bits of the local APIC entry. */
static size_t build_madt(struct aml *aml, unsigned int n_cpus)
{
	size_t at = begin_table(aml, "APIC", 5);

	aml_u32(aml, LAYOUT_LAPIC);
	aml_u32(aml, 0); /* no 8259 to mask */
	for (unsigned int i = 0; i < n_cpus; i++) {
		aml_u8(aml, 0); /* processor local APIC */
		aml_u8(aml, 8);
		aml_u8(aml, (uint8_t)i);
		aml_u8(aml, (uint8_t)i);
		aml_u32(aml, AFFINITY_ENABLED);
	}
	aml_u8(aml, 1); /* I/O APIC */
	aml_u8(aml, 12);
	aml_u16(aml, 0);
	aml_u32(aml, LAYOUT_IOAPIC);
	aml_u32(aml, 0);
	aml_u8(aml, 4); /* NMI at LINT1 of every CPU */
	aml_u8(aml, 6);
	aml_u8(aml, 0xff);
	aml_u16(aml, 0);
	aml_u8(aml, 1);
	end_table(aml, at);
	return at;
}

/* Memory affinity structure [5.2.16.2]. */
static void add_memory_affinity(struct aml *aml, const struct ram_region *region, uint32_t flags)
{
	aml_u8(aml, 1);
	aml_u8(aml, 40);
	aml_u32(aml, region->node);
	aml_u16(aml, 0);
	aml_u64(aml, region->gpa);
	aml_u64(aml, region->size_bytes);
	aml_u32(aml, 0);
	aml_u32(aml, flags);
	aml_u64(aml, 0);
}

/*
 * [5.2.16] Pluggable memory is only known from here: Linux takes the end of what is hotpluggable
 * for the highest address that may ever be RAM (acpi_numa_memory_affinity_init), and the driver
 * plugs nothing above that.
 */
static size_t build_srat(struct aml *aml, const struct acpi_config *config)
{
	unsigned int n_nodes = (unsigned int)ram_node_count(config->ram);
	size_t at = begin_table(aml, "SRAT", 3);

	aml_u32(aml, 1);
	aml_u64(aml, 0);
	for (unsigned int i = 0; i < config->n_cpus; i++) {
		aml_u8(aml, 0); /* processor local APIC affinity */
		aml_u8(aml, 16);
		aml_u8(aml, (uint8_t)acpi_cpu_node(i, config->n_cpus, n_nodes));
		aml_u8(aml, (uint8_t)i);
		aml_u32(aml, AFFINITY_ENABLED);
		aml_u32(aml, 0); /* SAPIC EID, high bits of the node */
		aml_u32(aml, 0); /* clock domain */
	}
	for (size_t i = 0; i < ram_region_count(config->ram); i++)
		add_memory_affinity(aml, ram_region(config->ram, i), AFFINITY_ENABLED);
	for (size_t i = 0; i < ram_plug_count(config->ram); i++)
		add_memory_affinity(aml, ram_plug_region(config->ram, i),
				    AFFINITY_ENABLED | AFFINITY_HOTPLUG);
	end_table(aml, at);
	return at;
}

/* [5.2.17] */
static size_t build_slit(struct aml *aml, const struct locality *locality, size_t n_nodes)
{
	size_t at = begin_table(aml, "SLIT", 1);

	aml_u64(aml, n_nodes);
	for (size_t i = 0; i < n_nodes; i++)
		for (size_t j = 0; j < n_nodes; j++) {
			uint8_t distance = i == j ? DISTANCE_SAME : DISTANCE_OTHER;

			aml_u8(aml, locality ? locality->distance[i][j] : distance);
		}
	end_table(aml, at);
	return at;
}

/* Nodes that have CPUs, in order; returns how many. */
static unsigned int find_initiators(const struct acpi_config *config, unsigned int n_nodes,
				    unsigned int *ret_nodes)
{
	unsigned int n = 0;

	for (unsigned int cpu = 0; cpu < config->n_cpus; cpu++) {
		unsigned int node = acpi_cpu_node(cpu, config->n_cpus, n_nodes);

		if (n == 0 || ret_nodes[n - 1] != node)
			ret_nodes[n++] = node;
	}
	return n;
}

/* Memory proximity domain attributes [5.2.27.3]: which CPUs a node's memory belongs to. */
static void describe_domain(struct aml *aml, unsigned int node, bool has_cpus)
{
	aml_u16(aml, 0);
	aml_u16(aml, 0);
	aml_u32(aml, 40);
	aml_u16(aml, has_cpus); /* the initiator below is one */
	aml_u16(aml, 0);
	aml_u32(aml, has_cpus ? node : 0);
	aml_u32(aml, node);
	aml_zero(aml, 20);
}

/* System locality latency and bandwidth information [5.2.27.4] of plain memory. */
static void describe_access(struct aml *aml, const struct locality *locality,
			    const unsigned int *initiators, unsigned int n_initiators,
			    bool is_latency)
{
	const uint32_t n_targets = (uint32_t)locality->n_nodes;
	/* Entries are 16 bits wide: 1 ns each, or as many MB/s as make the largest fit. */
	uint64_t unit = 1000, max = 0;

	for (unsigned int i = 0; i < n_initiators; i++)
		for (uint32_t j = 0; j < n_targets; j++)
			if (locality->bandwidth_mb_s[initiators[i]][j] > max)
				max = locality->bandwidth_mb_s[initiators[i]][j];
	if (!is_latency)
		unit = max / ENTRY_MAX + 1;
	aml_u16(aml, 1);
	aml_u16(aml, 0);
	aml_u32(aml, 32 + 4 * n_initiators + 4 * n_targets + 2 * n_initiators * n_targets);
	aml_u8(aml, 0);
	aml_u8(aml, is_latency ? HMAT_ACCESS_LATENCY : HMAT_ACCESS_BANDWIDTH);
	aml_u8(aml, 0);
	aml_u8(aml, 0);
	aml_u32(aml, n_initiators);
	aml_u32(aml, n_targets);
	aml_u32(aml, 0);
	aml_u64(aml, unit);
	for (unsigned int i = 0; i < n_initiators; i++)
		aml_u32(aml, initiators[i]);
	for (uint32_t j = 0; j < n_targets; j++)
		aml_u32(aml, j);
	for (unsigned int i = 0; i < n_initiators; i++)
		for (uint32_t j = 0; j < n_targets; j++) {
			const unsigned int from = initiators[i];
			uint64_t mb_s = locality->bandwidth_mb_s[from][j] / unit;

			/* Zero would say that nothing is known. */
			aml_u16(aml, is_latency ? locality->latency_ns[from][j]
						: (uint16_t)(mb_s ? mb_s : 1));
		}
}

/* [5.2.27] */
static size_t build_hmat(struct aml *aml, const struct acpi_config *config)
{
	const unsigned int n_nodes = (unsigned int)config->locality->n_nodes;
	unsigned int initiators[RAM_NODES_MAX];
	const unsigned int n = find_initiators(config, n_nodes, initiators);
	size_t at = begin_table(aml, "HMAT", 2);

	aml_u32(aml, 0);
	for (unsigned int node = 0, i = 0; node < n_nodes; node++) {
		bool has_cpus = i < n && initiators[i] == node;

		describe_domain(aml, node, has_cpus);
		i += has_cpus;
	}
	describe_access(aml, config->locality, initiators, n, true);
	describe_access(aml, config->locality, initiators, n, false);
	end_table(aml, at);
	return at;
}

/* ---- DSDT ---- */

static void describe_com1(struct aml *aml)
{
	size_t device = aml_device(aml, "COM1"), resources;

	aml_name(aml, "_HID");
	aml_eisa_id(aml, "PNP0501");
	aml_name(aml, "_UID");
	aml_integer(aml, 1);
	aml_name(aml, "_CRS");
	resources = aml_resources(aml);
	aml_resource_io(aml, LAYOUT_COM1, 8);
	aml_resource_interrupt(aml, LAYOUT_GSI_COM1);
	aml_resources_end(aml, resources);
	aml_end(aml, device);
}

static void describe_virtio(struct aml *aml, unsigned int index)
{
	size_t device, resources;
	char name[5];

	snprintf(name, sizeof(name), "V%03X", index & 0xfff);
	device = aml_device(aml, name);
	aml_name(aml, "_HID");
	aml_string(aml, "LNRO0005");
	aml_name(aml, "_UID");
	aml_integer(aml, index);
	aml_name(aml, "_CCA");
	aml_integer(aml, 1);
	aml_name(aml, "_CRS");
	resources = aml_resources(aml);
	aml_resource_memory32(aml, (uint32_t)(LAYOUT_VIRTIO_MMIO + index * LAYOUT_VIRTIO_STRIDE),
			      LAYOUT_VIRTIO_STRIDE);
	aml_resource_interrupt(aml, LAYOUT_GSI_VIRTIO + index);
	aml_resources_end(aml, resources);
	aml_end(aml, device);
}

/* _EVT(gsi): Local0 = ESEL; If (Local0 & POWER_BUTTON) Notify(PWRB, 0x80) */
static void describe_event_method(struct aml *aml)
{
	size_t method = aml_method(aml, "_EVT", 1), condition;

	aml_u8(aml, AML_STORE);
	aml_path(aml, "ESEL");
	aml_u8(aml, AML_LOCAL0);
	condition = aml_if(aml);
	aml_u8(aml, AML_AND);
	aml_u8(aml, AML_LOCAL0);
	aml_integer(aml, ACPI_GED_POWER_BUTTON);
	aml_u8(aml, AML_NULL_TARGET);
	aml_u8(aml, AML_NOTIFY);
	aml_path(aml, "PWRB");
	aml_integer(aml, NOTIFY_PRESSED);
	aml_end(aml, condition);
	aml_end(aml, method);
}

/* Generic event device [5.6.9] and the power button that it speaks for. */
static void describe_power_button(struct aml *aml)
{
	size_t device, resources;

	device = aml_device(aml, "PWRB");
	aml_name(aml, "_HID");
	aml_eisa_id(aml, "PNP0C0C");
	aml_name(aml, "_UID");
	aml_integer(aml, 0);
	aml_end(aml, device);

	device = aml_device(aml, "GED");
	aml_name(aml, "_HID");
	aml_string(aml, "ACPI0013");
	aml_name(aml, "_UID");
	aml_integer(aml, 0);
	aml_name(aml, "_CRS");
	resources = aml_resources(aml);
	aml_resource_interrupt(aml, LAYOUT_GSI_GED);
	aml_resources_end(aml, resources);
	aml_register32(aml, "EREG", "ESEL", LAYOUT_GED_MMIO);
	describe_event_method(aml);
	aml_end(aml, device);
}

static size_t build_dsdt(struct aml *aml, unsigned int n_virtio)
{
	size_t at = begin_table(aml, "DSDT", 2), mark;

	/* _S5 [7.4.2.5]: the sleep type; the other elements are of fixed hardware. */
	aml_name(aml, "_S5");
	mark = aml_package(aml, 4);
	aml_integer(aml, LAYOUT_POWER_S5 >> 2 & 7);
	aml_integer(aml, 0);
	aml_integer(aml, 0);
	aml_integer(aml, 0);
	aml_end(aml, mark);

	mark = aml_scope(aml, "\\_SB");
	describe_com1(aml);
	describe_power_button(aml);
	for (unsigned int i = 0; i < n_virtio; i++)
		describe_virtio(aml, i);
	aml_end(aml, mark);
	end_table(aml, at);
	return at;
}

/* ---- all of it ---- */

/* [5.2.5.3] The first checksum covers what revision 0 had, 20 bytes. */
static void fill_rsdp(struct aml *aml, uint64_t xsdt_gpa)
{
	uint8_t rsdp[RSDP_BYTES] = "RSD PTR ";
	uint32_t len = RSDP_BYTES;

	memcpy(rsdp + 9, oem_id, sizeof(oem_id));
	rsdp[15] = 2;
	memcpy(rsdp + 20, &len, sizeof(len));
	memcpy(rsdp + 24, &xsdt_gpa, sizeof(xsdt_gpa));
	rsdp[8] = checksum(rsdp, 20);
	rsdp[32] = checksum(rsdp, RSDP_BYTES);
	aml_patch(aml, 0, rsdp, sizeof(rsdp));
}

int acpi_build(const struct acpi_config *config, uint64_t base, uint8_t *buf, size_t size,
	       size_t *ret_len)
{
	struct aml aml = {.buf = buf, .size = size};
	size_t n_nodes = ram_node_count(config->ram), n = 0, tables[TABLES_MAX], dsdt, xsdt;

	if (config->n_cpus == 0 || config->n_cpus > 255 || config->n_virtio > LAYOUT_VIRTIO_MAX)
		return -EINVAL;
	if (config->locality && config->locality->n_nodes != n_nodes)
		return -EINVAL;
	aml_zero(&aml, RSDP_BYTES);
	dsdt = build_dsdt(&aml, config->n_virtio);
	tables[n++] = build_fadt(&aml, base + dsdt);
	tables[n++] = build_madt(&aml, config->n_cpus);
	if (n_nodes > 1 || ram_plug_count(config->ram))
		tables[n++] = build_srat(&aml, config);
	if (n_nodes > 1) {
		tables[n++] = build_slit(&aml, config->locality, n_nodes);
		if (config->locality)
			tables[n++] = build_hmat(&aml, config);
	}
	xsdt = begin_table(&aml, "XSDT", 1);
	for (size_t i = 0; i < n; i++)
		aml_u64(&aml, base + tables[i]);
	end_table(&aml, xsdt);
	fill_rsdp(&aml, base + xsdt);
	if (aml.len > size)
		return -ENOSPC;
	*ret_len = aml.len;
	return 0;
}
