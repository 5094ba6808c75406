// SPDX-License-Identifier: Apache-2.0
/*
 * The rights: each system call that any thread may make once it is confined, with what is asked of
 * its arguments, which kinds of threads may make it, and why. This is the only list: filters,
 * `vmm --sandbox explain` and the page of vmm(1) are made of it.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/if_tun.h>
#include <linux/kvm.h>
#include <linux/seccomp.h>
#include <linux/vhost.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "common/cleanup.h"
#include "vmm/sandbox_impl.h"

#define M   (1U << SANDBOX_MAIN)
#define V   (1U << SANDBOX_VCPU)
#define I   (1U << SANDBOX_IO)
#define W   (1U << SANDBOX_WORKER)
#define ALL (M | V | I | W)

#define RIGHT(name, who, why, ...)                                                     \
	{                                                                              \
		.call = #name, .number = __NR_##name, .kinds = (who), .reason = (why), \
		##__VA_ARGS__                                                          \
	}
#define VALUES(number, list) .check = CHECK_VALUES, .arg = (number), .values = (list)
#define NO_EXEC(number)	     .check = CHECK_NO_EXEC, .arg = (number)
#define VALUE(name)                     \
	{                               \
#name, (uint64_t)(name) \
	}

/* Newer than the headers of some build hosts. */
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif
#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif
#ifndef PR_SET_VMA
#define PR_SET_VMA 0x53564d41
#endif
#ifndef KVM_PRE_FAULT_MEMORY
#define KVM_PRE_FAULT_MEMORY 0xc040aed5UL /* _IOWR(KVMIO, 0xd5, 64 bytes) */
#endif

const char *const sandbox_kind_names[SANDBOX_KINDS] = {"main", "vcpu", "io", "worker"};

static const struct sandbox_value vcpu_ioctls[] = {
	VALUE(KVM_RUN), VALUE(KVM_PRE_FAULT_MEMORY), VALUE(KVM_GET_REGS), VALUE(KVM_GET_SREGS), {0},
};
static const struct sandbox_value main_ioctls[] = {
	VALUE(KVM_CHECK_EXTENSION),
	VALUE(KVM_CREATE_VM),
	VALUE(KVM_SET_IDENTITY_MAP_ADDR),
	VALUE(KVM_SET_TSS_ADDR),
	VALUE(KVM_CREATE_IRQCHIP),
	VALUE(KVM_SET_USER_MEMORY_REGION),
	VALUE(KVM_IRQFD),
	VALUE(KVM_IOEVENTFD),
	VALUE(KVM_CREATE_VCPU),
	VALUE(KVM_SET_CPUID2),
	VALUE(KVM_SET_MSRS),
	VALUE(KVM_GET_SREGS),
	VALUE(KVM_SET_SREGS),
	VALUE(KVM_SET_REGS),
	VALUE(KVM_GET_CLOCK),
	VALUE(KVM_SET_CLOCK),
	VALUE(KVM_KVMCLOCK_CTRL),
	VALUE(KVM_GET_STATS_FD),
	{0},
};
static const struct sandbox_value disk_ioctls[] = {
	VALUE(BLKDISCARD),
	VALUE(BLKZEROOUT),
	{0},
};
static const struct sandbox_value hole_modes[] = {
	VALUE(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE),
	VALUE(FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE),
	{0},
};
static const struct sandbox_value net_ioctls[] = {
	VALUE(TUNSETOFFLOAD),	     VALUE(TUNGETIFF),
	VALUE(VHOST_SET_FEATURES),   VALUE(VHOST_SET_MEM_TABLE),
	VALUE(VHOST_SET_VRING_NUM),  VALUE(VHOST_SET_VRING_BASE),
	VALUE(VHOST_SET_VRING_ADDR), VALUE(VHOST_SET_VRING_CALL),
	VALUE(VHOST_SET_VRING_KICK), VALUE(VHOST_NET_SET_BACKEND),
	VALUE(VHOST_GET_VRING_BASE), {0},
};
static const struct sandbox_value terminal_ioctls[] = {
	VALUE(TCGETS),
	VALUE(TCSETS),
	{0},
};
static const struct sandbox_value advices[] = {
	VALUE(MADV_DONTNEED),	 VALUE(MADV_HUGEPAGE),	    VALUE(MADV_NOHUGEPAGE),
	VALUE(MADV_DONTDUMP),	 VALUE(MADV_DONTFORK),	    VALUE(MADV_MERGEABLE),
	VALUE(MADV_UNMERGEABLE), VALUE(MADV_POPULATE_READ), VALUE(MADV_POPULATE_WRITE),
	VALUE(MADV_COLLAPSE),	 VALUE(MADV_GUARD_INSTALL), {0},
};
static const struct sandbox_value fd_commands[] = {
	VALUE(F_DUPFD_CLOEXEC),
	VALUE(F_GETFL),
	VALUE(F_SETFL),
	{0},
};
static const struct sandbox_value no_nodes[] = {
	VALUE(NULL),
	{0},
};
static const struct sandbox_value memory_names[] = {
	VALUE(PR_SET_VMA),
	{0},
};
static const struct sandbox_value thread_names[] = {
	VALUE(PR_SET_NAME),
	{0},
};
static const struct sandbox_value filter_modes[] = {
	VALUE(SECCOMP_SET_MODE_FILTER),
	{0},
};

#ifdef SANDBOX_SANITIZED
#define SANITIZER(name) RIGHT(name, ALL, "built with a sanitizer, which reports and finds leaks")
#endif

const struct sandbox_right sandbox_rights[] = {
#ifdef SANDBOX_SANITIZED
	SANITIZER(arch_prctl),
	SANITIZER(getdents),
	SANITIZER(stat),
	SANITIZER(lstat),
	SANITIZER(setrlimit),
	SANITIZER(access),
	SANITIZER(open),
	SANITIZER(openat),
	SANITIZER(readlink),
	SANITIZER(readlinkat),
	SANITIZER(getdents64),
	SANITIZER(ptrace),
	SANITIZER(clone),
	SANITIZER(wait4),
	SANITIZER(sigaltstack),
	SANITIZER(sched_yield),
	SANITIZER(prctl),
	SANITIZER(getppid),
	SANITIZER(madvise),
	SANITIZER(mmap),
	SANITIZER(munmap),
	SANITIZER(mremap),
	SANITIZER(mprotect),
	SANITIZER(mincore),
	SANITIZER(pipe2),
	SANITIZER(rt_sigaction),
	SANITIZER(getrlimit),
	SANITIZER(prlimit64),
	SANITIZER(lseek),
	SANITIZER(newfstatat),
	SANITIZER(fstat),
	SANITIZER(exit_group),
	SANITIZER(tgkill),
	SANITIZER(brk),
	SANITIZER(getuid),
	SANITIZER(getcpu),
	SANITIZER(uname),
	SANITIZER(close),
	SANITIZER(sched_getaffinity),
	SANITIZER(read),
	SANITIZER(write),
	SANITIZER(tkill),
	SANITIZER(kill),
	SANITIZER(rt_sigprocmask),
	SANITIZER(pread64),
	SANITIZER(dup),
	SANITIZER(getrusage),
#endif
	/* ---- the guest and its machine ---- */
	RIGHT(ioctl, V,
	      "run the guest; map ahead what was collapsed; its registers for the log when KVM "
	      "gives up",
	      VALUES(1, vcpu_ioctls)),
	RIGHT(ioctl, M, "build the machine at start and at each reset; its clock and statistics",
	      VALUES(1, main_ioctls)),
	RIGHT(ioctl, M, "a terminal gets its modes back at the end", VALUES(1, terminal_ioctls)),

	/* ---- waiting and waking ---- */
	RIGHT(futex, ALL, "locks, and waiting at the gate of the vCPUs"),
	RIGHT(epoll_wait, M, "the event loop"),
	RIGHT(epoll_pwait, M, "the event loop, as other C libraries make it"),
	RIGHT(epoll_ctl, M | V, "a device that is written to may start or stop watching its end"),
	RIGHT(timerfd_settime, M | V, "timers of devices and of the loop"),
	RIGHT(timerfd_create, M, "timers of the loop"),
	RIGHT(eventfd2, M, "queues and interrupts of a rebuilt machine"),
	RIGHT(poll, M | V, "is there room in an inherited pipe; the last answers of QMP"),
	RIGHT(ppoll, M, "the same, as other C libraries make it"),
	RIGHT(clock_gettime, ALL, "time, where the vDSO has none"),
	RIGHT(clock_nanosleep, M, "short waits"),
	RIGHT(restart_syscall, ALL, "the kernel goes on with a wait after a stop signal"),

	/* ---- input and output on what is open ---- */
	RIGHT(read, ALL, "eventfds, timers, the serial line, KVM's statistics"),
	RIGHT(write, ALL, "eventfds, the serial line, messages"),
	RIGHT(pread64, M | W, "kernel and initrd at a reset, page maps, KVM's statistics"),
	RIGHT(lseek, M, "read the list of mappings again"),
	RIGHT(fstat, M, "how large the kernel is at a reset"),
	RIGHT(preadv, I, "what the guest reads of its disk"),
	RIGHT(pwritev, I, "what it writes"),
	RIGHT(fdatasync, I, "what it wants to be safe"),
	RIGHT(fallocate, I, "what it discards or zeroes, in a file", VALUES(1, hole_modes)),
	RIGHT(ioctl, I, "the same, on a block device", VALUES(1, disk_ioctls)),
	RIGHT(readv, M, "frames from the tap"),
	RIGHT(writev, M, "frames to it"),
	RIGHT(ioctl, M | V, "the guest's driver sets offloads, starts and stops vhost-net",
	      VALUES(1, net_ioctls)),
	RIGHT(accept4, M, "clients of QMP and of the serial line"),
	RIGHT(recvfrom, M | V, "QMP; the last input of a client that breaks off"),
	RIGHT(sendto, M | V, "QMP; output to the serial line's client"),
	RIGHT(getsockopt, M, "who is the client"),
	RIGHT(fcntl, M, "duplicates of a client's socket", VALUES(1, fd_commands)),
	RIGHT(close, M | V, "clients that left, the machine before a reset"),
	RIGHT(unlink, M, "our sockets at the end; other paths are out of reach"),
	RIGHT(newfstatat, M, "is the socket at the end still ours; a file's size"),
	RIGHT(getrandom, M | V, "random numbers for the guest and for hash tables"),

	/* ---- memory ---- */
	RIGHT(madvise, ALL, "guest RAM: give back, take, merge; stacks of threads that end",
	      VALUES(2, advices)),
	RIGHT(mmap, M | V | W, "pool pages for ordinary ones and back; the heap. Never code",
	      NO_EXEC(2)),
	RIGHT(mprotect, M | V | W, "unplugged memory, guards of stacks. Never code", NO_EXEC(2)),
	RIGHT(munmap, M | V | W, "the same"),
	RIGHT(mremap, M | V | W, "pool pages are moved in; large blocks of the heap"),
	RIGHT(brk, ALL, "the heap"),
	RIGHT(mbind, M | V | W,
	      "a page that is mapped anew is bound to its host node; memory moves to another"),
	RIGHT(move_pages, M, "on which host node does memory lie; nothing is moved",
	      VALUES(3, no_nodes)),
	RIGHT(get_mempolicy, M, "has the host nodes at all"),
	RIGHT(mincore, M | V | W, "what was really resident when it was given back"),
	RIGHT(prctl, M | V | W, "names of mappings", VALUES(0, memory_names)),

	/* ---- threads ---- */
	RIGHT(prctl, M, "names of threads", VALUES(0, thread_names)),
	RIGHT(clone3, M, "its flags cannot be looked at: the C library takes clone then",
	      .check = CHECK_REFUSE, .error = ENOSYS),
	RIGHT(clone, M, "threads that populate RAM at a reset. No process, no namespace",
	      .check = CHECK_OWN_THREAD),
	RIGHT(set_robust_list, M, "a new thread's first step"),
	RIGHT(rseq, M, "the same"),
	RIGHT(sched_getaffinity, M, "how many threads are worth it"),
	RIGHT(sched_setaffinity, M, "they work near the memory that they fill"),
	RIGHT(seccomp, M, "a new thread narrows itself", VALUES(0, filter_modes)),
	RIGHT(capset, M, "the same; there is nothing left to gain"),
	RIGHT(gettid, ALL, "who am I"),
	RIGHT(getpid, ALL, "who are we"),
	RIGHT(tgkill, M | V | W, "get a vCPU out of the guest; nobody else can be signalled",
	      .check = CHECK_OWN_PROCESS),
	RIGHT(rt_sigprocmask, ALL, "while a thread is made or signalled, and at its end"),
	RIGHT(rt_sigreturn, ALL, "back from the signal that got a vCPU out of the guest"),
	RIGHT(exit, ALL, "the end of a thread"),
	RIGHT(exit_group, ALL, "the end of all"),
};
const size_t sandbox_n_rights = ARRAY_SIZE(sandbox_rights);

/* ---- telling ---- */

#define LINE_COLUMNS 78
#define TEXT_COLUMN  24

static void print_words(const char *text, int *column)
{
	while (*text) {
		int len = (int)strcspn(text, " ");

		if (*column + 1 + len > LINE_COLUMNS)
			printf("\n%*s", *column = TEXT_COLUMN, "");
		*column += printf("%s%.*s", *column > TEXT_COLUMN ? " " : "", len, text);
		text += len;
		text += strspn(text, " ");
	}
}

static void print_right(const struct sandbox_right *right)
{
	static const char *const checks[] = {
		[CHECK_NONE] = "",	 [CHECK_VALUES] = "",
		[CHECK_NO_EXEC] = "",	 [CHECK_OWN_PROCESS] = "",
		[CHECK_OWN_THREAD] = "", [CHECK_REFUSE] = "(refused with ENOSYS)",
	};
	char kinds[] = "----";
	int column;

	for (unsigned int i = 0; i < SANDBOX_KINDS; i++)
		if (right->kinds & 1U << i)
			kinds[i] = "MVIW"[i];
	column = printf("%-17s %s ", right->call, kinds);
	column += printf("%*s", TEXT_COLUMN - column, "");
	print_words(right->reason, &column);
	print_words(checks[right->check], &column);
	for (size_t i = 0; right->check == CHECK_VALUES && right->values[i].name; i++) {
		char word[48];

		snprintf(word, sizeof(word), "%s%s%s", i ? "" : "(", right->values[i].name,
			 right->values[i + 1].name ? "," : ")");
		print_words(word, &column);
	}
	printf("\n");
}

void sandbox_explain(void)
{
	printf("M main loop, V vCPU, I disk input and output, W work on memory.\n");
	for (size_t i = 0; i < sandbox_n_rights; i++)
		print_right(&sandbox_rights[i]);
}
