// SPDX-License-Identifier: Apache-2.0
/*
 * The processor and KVM: which vendor module runs guests, and whether the hardware translates
 * guest addresses itself (EPT, NPT) or KVM keeps shadow page tables.
 * Source: arch/x86/kvm/{vmx/vmx.c,svm/svm.c,mmu/mmu.c}, arch/x86/kernel/cpu/{proc,feat_ctl}.c.
 */
#include "memd/probe_fact.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/kfile.h"

#define CPUINFO	  "proc/cpuinfo"
#define INTEL_EPT "sys/module/kvm_intel/parameters/ept"
#define AMD_NPT	  "sys/module/kvm_amd/parameters/npt"

struct cpu {
	char vendor[32], model[96];
	char *flags, *vmx_flags; /* of the first processor; NULL: no such line */
	bool readable;
};

static void cleanup_cpu(struct cpu *cpu)
{
	free(cpu->flags);
	free(cpu->vmx_flags);
}

/* "vendor_id\t: GenuineIntel": the text behind the colon when the line's key is key. */
static const char *line_value(const char *line, const char *key)
{
	size_t len = strlen(key);

	if (strncmp(line, key, len) != 0)
		return NULL;
	line += len;
	line += strspn(line, " \t");
	return *line == ':' ? line + 1 + strspn(line + 1, " ") : NULL;
}

static void cpu_read(const struct probe *probe, struct cpu *cpu)
{
	AUTO_FREE char *text = NULL;
	char *save = NULL;

	if (kfile_read_all(probe->rootfd, CPUINFO, &text, NULL) < 0)
		return;
	cpu->readable = true;
	/* strtok_r joins empty lines, so the first processor ends where the key repeats */
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		const char *value;

		if ((value = line_value(line, "vendor_id"))) {
			if (cpu->vendor[0])
				break;
			snprintf(cpu->vendor, sizeof(cpu->vendor), "%s", value);
		} else if ((value = line_value(line, "model name"))) {
			snprintf(cpu->model, sizeof(cpu->model), "%s", value);
		} else if (!cpu->flags && (value = line_value(line, "flags"))) {
			cpu->flags = strdup(value);
		} else if (!cpu->vmx_flags && (value = line_value(line, "vmx flags"))) {
			cpu->vmx_flags = strdup(value);
		}
	}
}

static bool has_flag(const char *flags, const char *flag)
{
	size_t len = strlen(flag);

	for (const char *p = flags; p && *p;) {
		size_t n = strcspn(p, " ");

		if (n == len && !strncmp(p, flag, len))
			return true;
		p += n;
		p += strspn(p, " ");
	}
	return false;
}

/* The vendor's module below /sys/module: "kvm_intel", "kvm_amd", "kvm_pvm", ...; "": none. */
static void vendor_module(const struct probe *probe, char *buf, size_t n)
{
	AUTO_FD int fd = openat(probe->rootfd, "sys/module", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	AUTO_DIR DIR *dir = NULL;
	struct dirent *entry;

	buf[0] = '\0';
	if (fd < 0)
		return;
	dir = fdopendir(fd);
	if (!dir)
		return;
	TAKE_FD(fd);
	while ((entry = readdir(dir))) {
		if (strncmp(entry->d_name, "kvm_", 4) != 0)
			continue;
		snprintf(buf, n, "%s", entry->d_name);
		if (!strcmp(buf, "kvm_intel") || !strcmp(buf, "kvm_amd"))
			return; /* the one that matters, whatever else begins with kvm_ */
	}
}

static void probe_vendor(struct probe *probe, const struct cpu *cpu)
{
	struct fact fact = {.source = CPUINFO};
	bool tcg = strstr(cpu->model, "QEMU TCG") || strstr(cpu->model, "QEMU Virtual CPU");

	if (!cpu->vendor[0])
		fact_reason(&fact, cpu->readable ? "no vendor_id line: not an x86 processor?"
						 : "the file cannot be read");
	else if (!strcmp(cpu->vendor, "GenuineIntel"))
		fact_text(&fact, "intel");
	else if (!strcmp(cpu->vendor, "AuthenticAMD"))
		fact_text(&fact, "amd");
	else if (!strcmp(cpu->vendor, "HygonGenuine"))
		fact_text(&fact, "hygon");
	else
		fact_text(&fact, cpu->vendor);
	if (cpu->model[0])
		fact_detail(&fact, "%s", cpu->model);
	if (tcg)
		fact_detail(&fact, "emulated by QEMU in software (TCG)");
	else if (has_flag(cpu->flags, "hypervisor"))
		fact_detail(&fact, "this host is itself a virtual machine");
	fact_add(probe, "cpu_vendor", &fact);
}

/* Why there is no KVM, as far as the processor's flags tell. */
static void no_kvm_reason(struct fact *fact, const struct cpu *cpu)
{
	if (has_flag(cpu->flags, "vmx"))
		fact_reason(fact, "no KVM module is loaded though the processor has VT-x: "
				  "modprobe kvm_intel");
	else if (has_flag(cpu->flags, "svm"))
		fact_reason(fact, "no KVM module is loaded though the processor has AMD-V: "
				  "modprobe kvm_amd");
	else
		fact_reason(fact,
			    "the processor shows neither VT-x (vmx) nor AMD-V (svm): not there, "
			    "off in the firmware, or not passed on by the hypervisor");
}

static void probe_module(struct probe *probe, const struct cpu *cpu, const char *module)
{
	struct fact fact = {.source = "sys/module"};

	if (module[0]) {
		fact_text(&fact, module);
		if (!probe_exists(probe, "sys/devices/virtual/misc/kvm"))
			fact_reason(&fact,
				    "the module is loaded but gave no /dev/kvm: guests cannot "
				    "start");
		else if (strcmp(module, "kvm_intel") != 0 && strcmp(module, "kvm_amd") != 0)
			fact_reason(&fact,
				    "runs guests without VT-x or AMD-V; stock guest kernels may "
				    "not boot and guest code can be slow");
	} else {
		no_kvm_reason(&fact, cpu);
	}
	fact_add(probe, "kvm", &fact);
}

/* Is it "ept", "npt" or "none", and why. Returns the static word. */
static const char *second_level(const struct probe *probe, const struct cpu *cpu,
				const char *module, struct fact *fact)
{
	bool intel = !strcmp(module, "kvm_intel"), amd = !strcmp(module, "kvm_amd");
	int on = intel ? probe_flag(probe, INTEL_EPT) : amd ? probe_flag(probe, AMD_NPT) : 0;
	const char *name = intel ? "EPT" : "NPT", *param = intel ? "ept" : "npt";

	fact->source = intel ? INTEL_EPT : amd ? AMD_NPT : "sys/module";
	if (!module[0]) {
		no_kvm_reason(fact, cpu);
	} else if (!intel && !amd) {
		fact_reason(fact,
			    "%s uses neither EPT nor NPT: it keeps shadow page tables, so each "
			    "guest page-table write costs an exit",
			    module);
	} else if (on < 0) {
		fact_reason(fact, "the file is absent or is not Y or N: taken for off");
	} else if (!on && intel && !has_flag(cpu->vmx_flags, "ept")) {
		fact_reason(fact, "the processor has no EPT: KVM keeps shadow page tables");
	} else if (!on && amd && !has_flag(cpu->flags, "npt")) {
		fact_reason(fact, "the processor has no NPT: KVM keeps shadow page tables");
	} else if (!on) {
		fact_reason(fact,
			    "%s was loaded with %s=0 though the processor has %s: load it again "
			    "with %s=1",
			    module, param, name, param);
	} else {
		return param;
	}
	return "none";
}

/* Features of the second level that the processor names. */
static void second_level_detail(const struct probe *probe, const struct cpu *cpu, const char *word,
				struct fact *fact)
{
	static const char *const ept[] = {
		"ept_ad", "ept_1gb", "ept_x_only", "ept_violation_ve", "ept_mode_based_exec",
		"vpid",	  "pml"};
	static const char *const npt[] = {"npt", "pdpe1gb", "flushbyasid", "nrip_save"};
	bool intel = !strcmp(word, "ept");
	int on;

	for (size_t i = 0; intel && i < ARRAY_SIZE(ept); i++)
		if (has_flag(cpu->vmx_flags, ept[i]))
			fact_detail(fact, "%s", ept[i]);
	for (size_t i = 0; !strcmp(word, "npt") && i < ARRAY_SIZE(npt); i++)
		if (has_flag(cpu->flags, npt[i]))
			fact_detail(fact, "%s", npt[i]);
	on = intel ? probe_flag(probe, "sys/module/kvm_intel/parameters/eptad") : -1;
	if (on >= 0)
		fact_detail(fact, "eptad=%c", on ? 'Y' : 'N');
	on = intel ? probe_flag(probe, "sys/module/kvm_intel/parameters/pml") : -1;
	if (on >= 0)
		fact_detail(fact, "pml=%c", on ? 'Y' : 'N');
}

/*
 * 2 MiB is part of NPT and of every EPT so far; 1 GiB is ept_1gb for EPT, and for NPT the
 * processor's own 1 GiB pages.
 */
static void probe_page_sizes(struct probe *probe, const struct cpu *cpu, const char *word)
{
	struct fact fact = {.source = CPUINFO};

	if (!strcmp(word, "none"))
		fact_reason(&fact, "no second-level paging");
	else if (!strcmp(word, "ept") ? has_flag(cpu->vmx_flags, "ept_1gb")
				      : has_flag(cpu->flags, "pdpe1gb"))
		fact_text(&fact, "4K 2M 1G");
	else
		fact_text(&fact, "4K 2M");
	fact_add(probe, "second_level_page_sizes", &fact);
}

static void probe_large_pages(struct probe *probe, const char *word)
{
	struct fact fact = {.source = "sys/module/kvm/parameters/tdp_mmu"};
	int tdp_mmu = probe_flag(probe, fact.source);
	int nx = probe_flag(probe, "sys/module/kvm/parameters/nx_huge_pages");

	if (!strcmp(word, "none")) {
		fact_reason(&fact, "no second-level paging");
	} else {
		fact_bool(&fact, true);
		if (nx == 1)
			fact_reason(&fact, "nx_huge_pages=Y: 2M pages that guests execute from are "
					   "split into 4K");
	}
	if (tdp_mmu >= 0)
		fact_detail(&fact, "tdp_mmu=%c", tdp_mmu ? 'Y' : 'N');
	if (nx >= 0)
		fact_detail(&fact, "nx_huge_pages=%c", nx ? 'Y' : 'N');
	fact_add(probe, "second_level_large_pages", &fact);
}

static void probe_nested(struct probe *probe, const char *module)
{
	struct fact fact = {0};
	char path[300];
	int on;

	if (!module[0]) {
		fact_reason(&fact, "no KVM");
		fact_add(probe, "nested", &fact);
		return;
	}
	snprintf(path, sizeof(path), "sys/module/%s/parameters/nested", module);
	fact.source = path;
	on = probe_flag(probe, path);
	if (on >= 0)
		fact_bool(&fact, on);
	else
		fact_reason(&fact, "%s has no such parameter: guests cannot run guests by KVM",
			    module);
	fact_add(probe, "nested", &fact);
}

void probe_kvm(struct probe *probe)
{
	AUTO(cleanup_cpu) struct cpu cpu = {0};
	struct fact fact = {0};
	char module[256]; /* a directory's name */
	const char *word;

	cpu_read(probe, &cpu);
	vendor_module(probe, module, sizeof(module));
	probe_vendor(probe, &cpu);
	probe_module(probe, &cpu, module);
	word = second_level(probe, &cpu, module, &fact);
	fact_text(&fact, word);
	second_level_detail(probe, &cpu, word, &fact);
	fact_add(probe, "second_level_paging", &fact);
	probe_page_sizes(probe, &cpu, word);
	probe_large_pages(probe, word);
	probe_nested(probe, module);
}
