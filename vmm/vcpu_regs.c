// SPDX-License-Identifier: Apache-2.0
/*
 * First and last registers of a vCPU: see vcpu_regs.h. Sources: Documentation/arch/x86/boot.rst
 * (64-bit protocol), xen/include/public/arch-x86/hvm/start_info.h (PVH), Intel SDM volume 3.
 */
#include "vmm/vcpu_regs.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "vmm/layout.h"

#define CR0_PE	 (1ULL << 0)
#define CR0_ET	 (1ULL << 4)
#define CR0_NE	 (1ULL << 5)
#define CR0_PG	 (1ULL << 31)
#define CR4_PAE	 (1ULL << 5)
#define EFER_LME (1ULL << 8)
#define EFER_LMA (1ULL << 10)

#define RFLAGS_RESERVED 0x2

#define SEGMENT_CODE 11 /* execute, read, accessed */
#define SEGMENT_DATA 3	/* read, write, accessed */
#define SEGMENT_TSS  11 /* busy 32- or 64-bit TSS */

#define MSR_MISC_ENABLE	   0x1a0
#define MISC_FAST_STRING   (1ULL << 0)
#define MSR_MTRR_DEFAULT   0x2ff
#define MTRR_ENABLE	   (1ULL << 11)
#define MTRR_WRITE_BACK	   6ULL
#define INTERNAL_CODE_SIZE 15

int vcpu_regs_set_msrs(unsigned int cpu, int fd)
{
	/* kvm_msrs ends in a flexible array: give it room for one. */
	union {
		struct kvm_msrs msrs;
		uint8_t room[sizeof(struct kvm_msrs) + sizeof(struct kvm_msr_entry)];
	} one = {.msrs.nmsrs = 1};
	static const struct kvm_msr_entry wanted[] = {
		{.index = MSR_MISC_ENABLE, .data = MISC_FAST_STRING},
		/* All memory is write-back unless the page tables say else. */
		{.index = MSR_MTRR_DEFAULT, .data = MTRR_ENABLE | MTRR_WRITE_BACK},
	};

	for (size_t i = 0; i < ARRAY_SIZE(wanted); i++) {
		int n;

		memcpy(one.msrs.entries, &wanted[i], sizeof(wanted[i]));
		n = ioctl(fd, KVM_SET_MSRS, &one);
		if (n < 0) {
			int err = errno;

			log_err("vcpu%u: KVM_SET_MSRS: %s", cpu, strerror(err));
			return -err;
		}
		/* 0: this KVM does not know the register, and no guest misses it. */
		if (!n)
			log_debug("vcpu%u: MSR %#x cannot be set", cpu, wanted[i].index);
	}
	return 0;
}

static struct kvm_segment regs_segment(uint16_t selector, uint8_t type)
{
	return (struct kvm_segment){
		.selector = selector,
		.limit = 0xffffffff,
		.type = type,
		.present = 1,
		.s = 1,
		.g = 1,
		.db = 1,
	};
}

static void regs_set_mode(struct kvm_sregs *sregs, enum boot_mode mode)
{
	if (mode == BOOT_PROTECTED) {
		sregs->cs = regs_segment(BOOT_CS32, SEGMENT_CODE);
		sregs->cr0 = CR0_PE | CR0_ET;
		sregs->cr4 = 0;
		sregs->efer = 0;
		return;
	}
	sregs->cs = regs_segment(BOOT_CS64, SEGMENT_CODE);
	sregs->cs.l = 1;
	sregs->cs.db = 0;
	sregs->cr3 = LAYOUT_PAGE_TABLES;
	sregs->cr4 = CR4_PAE;
	sregs->cr0 = CR0_PE | CR0_ET | CR0_NE | CR0_PG;
	sregs->efer = EFER_LME | EFER_LMA;
}

int vcpu_regs_set_entry(int fd, const struct boot_entry *entry)
{
	struct kvm_segment data = regs_segment(BOOT_DS, SEGMENT_DATA);
	struct kvm_regs regs = {.rip = entry->rip, .rflags = RFLAGS_RESERVED};
	struct kvm_sregs sregs;

	if (ioctl(fd, KVM_GET_SREGS, &sregs) < 0)
		return -errno;
	sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = data;
	sregs.tr = (struct kvm_segment){
		.selector = BOOT_TSS,
		.limit = 0x67,
		.type = SEGMENT_TSS,
		.present = 1,
	};
	sregs.gdt.base = LAYOUT_GDT;
	sregs.gdt.limit = BOOT_GDT_BYTES - 1;
	sregs.idt.base = 0;
	sregs.idt.limit = 0;
	regs_set_mode(&sregs, entry->mode);
	if (ioctl(fd, KVM_SET_SREGS, &sregs) < 0)
		return -errno;
	if (entry->mode == BOOT_PROTECTED)
		regs.rbx = entry->info;
	else
		regs.rsi = entry->info;
	return ioctl(fd, KVM_SET_REGS, &regs) < 0 ? -errno : 0;
}

void vcpu_regs_log(unsigned int cpu, int fd)
{
	struct kvm_regs r;
	struct kvm_sregs s;

	if (ioctl(fd, KVM_GET_REGS, &r) < 0 || ioctl(fd, KVM_GET_SREGS, &s) < 0) {
		log_err("vcpu%u: its registers cannot be read: %m", cpu);
		return;
	}
	log_err("vcpu%u: rip %016llx rsp %016llx rflags %08llx", cpu, r.rip, r.rsp, r.rflags);
	log_err("vcpu%u: rax %016llx rbx %016llx rcx %016llx rdx %016llx", cpu, r.rax, r.rbx, r.rcx,
		r.rdx);
	log_err("vcpu%u: rsi %016llx rdi %016llx rbp %016llx r8  %016llx", cpu, r.rsi, r.rdi, r.rbp,
		r.r8);
	log_err("vcpu%u: r9  %016llx r10 %016llx r11 %016llx r12 %016llx", cpu, r.r9, r.r10, r.r11,
		r.r12);
	log_err("vcpu%u: r13 %016llx r14 %016llx r15 %016llx", cpu, r.r13, r.r14, r.r15);
	log_err("vcpu%u: cr0 %08llx cr2 %016llx cr3 %016llx cr4 %08llx efer %04llx", cpu, s.cr0,
		s.cr2, s.cr3, s.cr4, s.efer);
	log_err("vcpu%u: cs %04x base %016llx l %u db %u; ss %04x ds %04x; idt %016llx %04x", cpu,
		s.cs.selector, s.cs.base, s.cs.l, s.cs.db, s.ss.selector, s.ds.selector, s.idt.base,
		s.idt.limit);
}

static const char *regs_internal_name(uint32_t suberror)
{
	switch (suberror) {
	case KVM_INTERNAL_ERROR_EMULATION:
		return "cannot emulate an instruction";
	case KVM_INTERNAL_ERROR_SIMUL_EX:
		return "two exceptions at one time";
	case KVM_INTERNAL_ERROR_DELIVERY_EV:
		return "cannot deliver an event";
	case KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON:
		return "an exit it does not know";
	default:
		return "no reason given";
	}
}

void vcpu_regs_log_internal(unsigned int cpu, const struct kvm_run *run)
{
	char code[3 * INTERNAL_CODE_SIZE + 1] = "";

	log_err("vcpu%u: internal error %u of KVM: %s", cpu, run->internal.suberror,
		regs_internal_name(run->internal.suberror));
	for (uint32_t i = 0; i < run->internal.ndata && i < ARRAY_SIZE(run->internal.data); i++)
		log_err("vcpu%u: data %u: %016llx", cpu, i, run->internal.data[i]);
	if (run->internal.suberror != KVM_INTERNAL_ERROR_EMULATION ||
	    run->emulation_failure.ndata < 3 ||
	    !(run->emulation_failure.flags & KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES))
		return;
	for (unsigned int i = 0; i < run->emulation_failure.insn_size && i < INTERNAL_CODE_SIZE;
	     i++)
		snprintf(code + 3 * i, 4, "%02x ", run->emulation_failure.insn_bytes[i]);
	log_err("vcpu%u: code %s", cpu, code);
}
