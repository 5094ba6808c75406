// SPDX-License-Identifier: Apache-2.0
/*
 * How the tiny guest comes up: PVH hands us a 32-bit flat CPU with paging off and EBX at the
 * start_info (xen/include/public/arch-x86/hvm/start_info.h). From there to 64-bit C with the first
 * 4 GiB mapped one to one in 2 MiB pages. The interrupt stubs are here too.
 */
#define PHYS32_ENTRY 18
#define MSR_EFER     0xc0000080

	.section .note.Xen, "a", @note
	.balign 4
	.long 4, 4, PHYS32_ENTRY
	.asciz "Xen"
	.long tiny_start

	.text
	.code32
	.globl tiny_start
tiny_start:
	cli
	cld
	movl $tiny_stack_top, %esp

	/* PML4 -> PDPT -> four page directories of 512 large pages each. */
	movl $tiny_pdpt + 3, tiny_pml4
	movl $tiny_pds + 3, %eax
	movl $tiny_pdpt, %edi
	movl $4, %ecx
1:	movl %eax, (%edi)
	addl $4096, %eax
	addl $8, %edi
	loop 1b
	movl $0x83, %eax
	movl $tiny_pds, %edi
	movl $2048, %ecx
2:	movl %eax, (%edi)
	addl $0x200000, %eax
	addl $8, %edi
	loop 2b

	movl %cr4, %eax
	orl $0x20, %eax			/* PAE */
	movl %eax, %cr4
	movl $tiny_pml4, %eax
	movl %eax, %cr3
	movl $MSR_EFER, %ecx
	rdmsr
	orl $0x100, %eax		/* LME */
	wrmsr
	movl %cr0, %eax
	orl $0x80000001, %eax		/* PG, PE */
	movl %eax, %cr0
	lgdt gdt_pointer
	ljmp $0x8, $long_mode

	.code64
long_mode:
	movl $0x10, %eax
	movl %eax, %ds
	movl %eax, %es
	movl %eax, %ss
	xorl %eax, %eax
	movl %eax, %fs
	movl %eax, %gs
	movl %ebx, %edi
	call tiny_main
3:	hlt
	jmp 3b

/* Vectors 0..127: push what the CPU has not, and the number. */
	.altmacro
	.macro stub vector
	.balign 16
	.if \vector == 8 || (\vector >= 10 && \vector <= 14) || \vector == 17 || \vector == 21
	.else
	pushq $0
	.endif
	pushq $\vector
	jmp interrupted
	.endm

	.balign 16
	.globl tiny_stubs
tiny_stubs:
	.set n, 0
	.rept 128
	stub %n
	.set n, n + 1
	.endr

interrupted:
	pushq %rax
	pushq %rcx
	pushq %rdx
	pushq %rsi
	pushq %rdi
	pushq %r8
	pushq %r9
	pushq %r10
	pushq %r11
	movq 72(%rsp), %rdi		/* vector */
	leaq 80(%rsp), %rsi		/* error code, rip, ... */
	call tiny_interrupt
	popq %r11
	popq %r10
	popq %r9
	popq %r8
	popq %rdi
	popq %rsi
	popq %rdx
	popq %rcx
	popq %rax
	addq $16, %rsp
	iretq

	.data
	.balign 8
gdt:
	.quad 0
	.quad 0x00af9b000000ffff	/* 0x08: 64-bit code */
	.quad 0x00cf93000000ffff	/* 0x10: data */
gdt_pointer:
	.word . - gdt - 1
	.quad gdt

	.bss
	.balign 4096
	.globl tiny_pdpt
tiny_pml4:
	.skip 4096
tiny_pdpt:
	.skip 4096
tiny_pds:
	.skip 4 * 4096
tiny_stack:
	.skip 16384
tiny_stack_top:

	.section .note.GNU-stack, "", @progbits
