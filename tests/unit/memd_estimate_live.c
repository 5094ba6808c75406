// SPDX-License-Identifier: Apache-2.0
/* Live processes as estimate's source: what is present, that nothing absent is touched, what ends.
 */
#include "tests/unit/tree.h"

#include <sys/mman.h>

#include "common/cleanup.h"
#include "common/kfile.h"
#include "common/size.h"
#include "memd/estimate_live.h"
#include "tests/unit/child.h"

#define PAGES 4096U /* 16 MiB */

/* A child with a region of which every second run of 64 pages is there, page k full of k + 1, and
 * the first run only read, which is the kernel's zero page. */
struct child {
	pid_t pid;
	uint8_t *memory;
	bool marked;
};

static bool fill_runs(void *arg)
{
	const struct child *child = arg;
	volatile uint8_t sink = 0;

	if (child->marked && madvise(child->memory, (size_t)PAGES * 4096, MADV_MERGEABLE) < 0)
		return false;
	for (size_t k = 0; k < PAGES; k++) {
		if (k / 64 % 2)
			continue;
		if (k < 64)
			sink = sink + child->memory[k * 4096];
		else
			memset(child->memory + k * 4096, (int)(k % 255) + 1, 4096);
	}
	return true;
}

static struct child child_start(bool marked)
{
	struct child child = {.memory = mmap(NULL, (size_t)PAGES * 4096, PROT_READ | PROT_WRITE,
					     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
			      .marked = marked};

	assert_true(child.memory != MAP_FAILED);
	madvise(child.memory, (size_t)PAGES * 4096, MADV_NOHUGEPAGE);
	child.pid = child_new(fill_runs, &child);
	return child;
}

static void child_free(struct child *child)
{
	if (child->pid > 0)
		child_end(child->pid);
	if (child->memory)
		munmap(child->memory, (size_t)PAGES * 4096);
	*child = (struct child){0};
}
#define AUTO_CHILD __attribute__((cleanup(child_free)))

static void live_end(struct estimate_live **live)
{
	estimate_live_close(*live);
}
#define AUTO_LIVE __attribute__((cleanup(live_end)))

static struct estimate_live *live_start(int rootfd)
{
	struct estimate_live *live = NULL;

	assert_true(rootfd >= 0);
	assert_int_equal(estimate_live_open(rootfd, &live), 0);
	return live;
}

static uint64_t resident_pages(pid_t pid)
{
	unsigned long long size, resident;
	char path[64], text[128];
	AUTO_FD int root = kfile_open_root("/");

	snprintf(path, sizeof(path), "proc/%d/statm", (int)pid);
	assert_true(kfile_read(root, path, text, sizeof(text)) > 0);
	assert_int_equal(sscanf(text, "%llu %llu", &size, &resident), 2);
	return resident;
}

/* Pages of the child's region by what present() says; all other regions are passed over. */
static size_t pages_present(const struct estimate_source *source, const struct child *child,
			    uint64_t *pages)
{
	struct estimate_run runs[7]; /* few, so that it takes many calls */
	uint64_t first = (uintptr_t)child->memory / 4096, from = 0;
	size_t n = 0;

	while (from != UINT64_MAX) {
		uint64_t before = from;
		int got = source->present(source->ctx, 0, &from, runs, 7);

		assert_true(got >= 0 && got <= 7);
		assert_true(from > before);
		for (int i = 0; i < got; i++)
			for (uint64_t k = runs[i].page; k < runs[i].page + runs[i].n; k++)
				if (k >= first && k < first + PAGES)
					pages[n++] = k;
	}
	return n;
}

static void check_present(bool marked)
{
	AUTO_CHILD struct child child = child_start(marked);
	AUTO_FD int rootfd = kfile_open_root("/");
	AUTO_LIVE struct estimate_live *live = live_start(rootfd);
	uint64_t first = (uintptr_t)child.memory / 4096, resident = resident_pages(child.pid);
	AUTO_FREE uint64_t *pages = calloc(2 * PAGES, sizeof(*pages));
	AUTO_FREE uint8_t *buf = malloc((size_t)ESTIMATE_BATCH_PAGES * 4096);
	struct estimate_memory memory;
	struct estimate_source source;
	size_t n;

	assert_non_null(pages);
	assert_non_null(buf);
	assert_int_equal(estimate_live_add(live, child.pid, marked, &memory), 0);
	estimate_live_source(live, false, &source);
	n = pages_present(&source, &child, pages);
	/* without the one that is the zero page, where this process may know it */
	assert_int_equal(n, PAGES / 2 - 64);
	for (size_t i = 0; i < n; i++)
		assert_true((pages[i] - first) / 64 % 2 == 0 && pages[i] - first >= 64);
	assert_true(*(marked ? &memory.marked_bytes : &memory.unmarked_bytes) >=
		    n * ESTIMATE_PAGE_BYTES);
	for (size_t i = 0; i < n; i += ESTIMATE_BATCH_PAGES) {
		size_t batch = n - i < ESTIMATE_BATCH_PAGES ? n - i : ESTIMATE_BATCH_PAGES;
		bool there[ESTIMATE_BATCH_PAGES] = {0};

		assert_int_equal(source.read(source.ctx, 0, pages + i, batch, buf, there), 0);
		for (size_t k = 0; k < batch; k++) {
			uint8_t value = (uint8_t)((pages[i + k] - first) % 255 + 1);

			assert_true(there[k]);
			assert_int_equal(buf[k * 4096], value);
			assert_int_equal(buf[k * 4096 + 4095], value);
		}
	}
	/* looking has not made anything present */
	assert_int_equal(resident_pages(child.pid), resident);
}

static void present_and_read(void **state)
{
	check_present(false);
}

static void marked_only(void **state)
{
	AUTO_CHILD struct child child = child_start(false);
	AUTO_FD int rootfd = kfile_open_root("/");
	AUTO_LIVE struct estimate_live *live = live_start(rootfd);
	struct estimate_memory memory;
	struct estimate_source source;
	uint64_t pages[1];

	if (faccessat(rootfd, "sys/kernel/mm/ksm/run", F_OK, 0) < 0)
		skip();
	check_present(true);
	assert_int_equal(estimate_live_add(live, child.pid, true, &memory), 0);
	estimate_live_source(live, false, &source);
	assert_int_equal(pages_present(&source, &child, pages), 0);
	assert_int_equal(memory.marked_bytes, 0);
}

/* A page that cannot be read does not stop the others. */
static void unreadable_page(void **state)
{
	AUTO_CHILD struct child child = child_start(false);
	AUTO_FD int rootfd = kfile_open_root("/");
	AUTO_LIVE struct estimate_live *live = live_start(rootfd);
	AUTO_FREE uint8_t *buf = malloc(5 * 4096);
	uint64_t first = (uintptr_t)child.memory / 4096;
	uint64_t pages[5] = {1, first + 128, first + 129, first + 130, 1ULL << 40};
	bool there[5];
	struct estimate_memory memory;
	struct estimate_source source;

	assert_non_null(buf);
	assert_int_equal(estimate_live_add(live, child.pid, false, &memory), 0);
	estimate_live_source(live, false, &source);
	assert_int_equal(source.read(source.ctx, 0, pages, 5, buf, there), 0);
	assert_false(there[0]);
	assert_true(there[1] && there[2] && there[3]);
	assert_false(there[4]);
	assert_int_equal(buf[2 * 4096], 129 % 255 + 1);
}

static bool hold_still(void *arg)
{
	(void)arg;
	return true;
}

/* What a process shares, here with its parent, it shares still when it has been read: to pin such
 * pages would give it copies of its own. */
static void shared_stays_shared(void **state)
{
	AUTO_CHILD struct child child = {.memory = mmap(NULL, (size_t)PAGES * 4096,
							PROT_READ | PROT_WRITE,
							MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)};
	AUTO_FD int rootfd = kfile_open_root("/");
	AUTO_LIVE struct estimate_live *live = live_start(rootfd);
	AUTO_FREE uint64_t *pages = calloc(2 * PAGES, sizeof(*pages));
	AUTO_FREE uint8_t *buf = malloc((size_t)ESTIMATE_BATCH_PAGES * 4096);
	struct estimate_memory memory;
	struct estimate_source source;
	uint64_t shared;
	size_t n;

	assert_true(child.memory != MAP_FAILED);
	assert_non_null(pages);
	assert_non_null(buf);
	assert_true(fill_runs(&child));
	child.pid = child_new(hold_still, NULL);
	shared = child_rollup(child.pid, "Shared_Dirty");
	assert_true(shared >= (PAGES / 2 - 64) * 4096ULL);
	assert_int_equal(estimate_live_add(live, child.pid, false, &memory), 0);
	estimate_live_source(live, false, &source);
	n = pages_present(&source, &child, pages);
	assert_true(n >= PAGES / 2 - 64);
	for (size_t i = 0; i < n; i += ESTIMATE_BATCH_PAGES) {
		size_t batch = n - i < ESTIMATE_BATCH_PAGES ? n - i : ESTIMATE_BATCH_PAGES;
		bool there[ESTIMATE_BATCH_PAGES] = {0};

		assert_int_equal(source.read(source.ctx, 0, pages + i, batch, buf, there), 0);
		for (size_t k = 0; k < batch; k++) {
			assert_true(there[k]);
			assert_memory_equal(buf + k * 4096,
					    (const void *)(uintptr_t)(pages[i + k] * 4096), 4096);
		}
	}
	/* but for what the parent, this test, has written to meanwhile: pages and buf */
	assert_true(child_rollup(child.pid, "Shared_Dirty") + 2 * MIB >= shared);
}

static void process_that_ends(void **state)
{
	AUTO_CHILD struct child child = child_start(false);
	AUTO_FD int rootfd = kfile_open_root("/");
	AUTO_LIVE struct estimate_live *live = live_start(rootfd);
	uint64_t from = 0, page = (uintptr_t)child.memory / 4096 + 128;
	uint8_t buf[4096];
	bool there;
	struct estimate_memory memory = {.marked_bytes = 42};
	struct estimate_source source;
	struct estimate_run runs[16];
	int r = 0;

	assert_int_equal(estimate_live_add(live, child.pid, false, &memory), 0);
	estimate_live_source(live, false, &source);
	child_end(child.pid);
	while (r >= 0 && from != UINT64_MAX)
		r = source.present(source.ctx, 0, &from, runs, 16);
	assert_int_equal(r, -ESRCH);
	assert_int_equal(source.read(source.ctx, 0, &page, 1, buf, &there), -ESRCH);
	memory.marked_bytes = 42;
	assert_int_equal(estimate_live_add(live, child.pid, false, &memory), -ESRCH);
	assert_int_equal(memory.marked_bytes, 42);
	child.pid = 0;
	assert_int_equal(estimate_live_add(live, 2, false, &memory), -ESRCH); /* kthreadd */
}

static void not_allowed(void **state)
{
	pid_t pid;
	int status;

	if (geteuid() != 0)
		skip();
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		AUTO_FD int rootfd = kfile_open_root("/");
		struct estimate_live *live = NULL;
		struct estimate_memory memory;
		int r;

		if (setgid(65534) < 0 || setuid(65534) < 0 || estimate_live_open(rootfd, &live) < 0)
			_exit(1);
		r = estimate_live_add(live, getppid(), false, &memory);
		estimate_live_close(live);
		_exit(r == -EACCES || r == -EPERM ? 0 : 2);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

/* A kernel before 6.7 has no PAGEMAP_SCAN, and neither has a file that stands for pagemap. */
static void old_kernel(void **state)
{
	AUTO_TREE struct tree tree = tree_new(NULL);
	AUTO_FD int rootfd = open(tree.root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	AUTO_LIVE struct estimate_live *live = live_start(rootfd);
	static uint64_t entries[3072]; /* pages 0x1000.. are entries 4096.. of the process */
	static uint8_t pagemap[(4096 + 3072) * 8];
	struct estimate_run runs[4];
	struct estimate_memory memory;
	struct estimate_source source;
	uint64_t from = 0, pages = 0, first = UINT64_MAX;

	for (size_t i = 0; i < 3072; i++) {
		entries[i] = i % 3 == 0 ? 1ULL << 63 | i : 0;	   /* present */
		entries[i] = i % 3 == 1 ? 1ULL << 62 : entries[i]; /* swapped */
		entries[i] |= i % 6 == 3 ? 1ULL << 61 : 0;	   /* of a file */
	}
	memcpy(pagemap + 4096 * 8, entries, sizeof(entries));
	tree_shell("mkdir -p %s/proc/7", tree.root);
	tree_set_bytes(&tree, "proc/7/pagemap", (const char *)pagemap, sizeof(pagemap));
	tree_set(&tree, "proc/7/mem", "");
	tree_set(&tree, "proc/7/smaps",
		 "00400000-00500000 r-xp 00000000 08:01 42   /bin/x\n"
		 "Rss: 1024 kB\nAnonymous: 4 kB\nVmFlags: rd ex mr mw me\n"
		 "01000000-01c00000 rw-p 00000000 00:00 0\n"
		 "Rss: 2048 kB\nAnonymous: 2048 kB\nVmFlags: rd wr mr mw me ac mg\n"
		 "02000000-02800000 rw-p 00000000 00:00 0\n"
		 "Rss: 12 kB\nAnonymous: 12 kB\nVmFlags: rd wr mr mw me ac io pf\n"
		 "04000000-08000000 rw-s 00000000 00:01 7    /memfd:ram (deleted)\n"
		 "Rss: 4096 kB\nAnonymous: 0 kB\nVmFlags: rd wr sh mr mw me ms\n"
		 "40000000-80000000 rw-p 00000000 00:0f 9    /anon_hugepage (deleted)\n"
		 "Rss: 0 kB\nPrivate_Hugetlb: 6144 kB\nVmFlags: rd wr mr mw me ht\n");
	assert_int_equal(estimate_live_add(live, 7, false, &memory), 0);
	assert_int_equal(memory.marked_bytes, 2048 * KIB);
	assert_int_equal(memory.unmarked_bytes, 0);
	assert_int_equal(memory.shared_bytes, 4096 * KIB);
	assert_int_equal(memory.hugetlb_bytes, 6144 * KIB);
	estimate_live_source(live, false, &source);
	while (from != UINT64_MAX) {
		int n = source.present(source.ctx, 0, &from, runs, 4);

		assert_true(n >= 0);
		for (int i = 0; i < n; i++) {
			first = runs[i].page < first ? runs[i].page : first;
			pages += runs[i].n;
		}
	}
	assert_int_equal(pages, 3072 / 6);
	assert_int_equal(first, 0x1000);
	/* the process has given up its memory */
	tree_set_bytes(&tree, "proc/7/pagemap", "", 0);
	from = 0;
	assert_int_equal(estimate_live_add(live, 7, false, &memory), 0);
	assert_int_equal(source.present(source.ctx, 1, &from, runs, 4), -ESRCH);
	tree_set(&tree, "proc/7/smaps", "garbage\n");
	assert_int_equal(estimate_live_add(live, 7, false, &memory), -EIO);
	tree_set(&tree, "proc/7/smaps", "");
	assert_int_equal(estimate_live_add(live, 7, false, &memory), -ESRCH);
}

/* The whole way: two children with the same memory. */
static void two_children(void **state)
{
	AUTO_CHILD struct child one = child_start(false);
	AUTO_CHILD struct child two = child_start(false);
	AUTO_FD int rootfd = kfile_open_root("/");
	AUTO_LIVE struct estimate_live *live = live_start(rootfd);
	struct estimate_options options = {.seed = 1, .fraction = 1};
	struct estimate_memory memory;
	struct estimate_source source;
	struct estimate e;

	assert_int_equal(estimate_live_add(live, one.pid, false, &memory), 0);
	assert_int_equal(estimate_live_add(live, two.pid, false, &memory), 0);
	estimate_live_source(live, true, &source);
	assert_int_equal(estimate_run(&source, 2, &options, &e), 0);
	assert_int_equal(e.parts[0].error, 0);
	/* 255 contents in all, on both together */
	assert_true(e.total.saved.bytes >= (PAGES - 128ULL - 255) * 4096);
	assert_true(e.total.saved.bytes < e.total.present_bytes);
	estimate_free(&e);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(present_and_read), cmocka_unit_test(marked_only),
		cmocka_unit_test(unreadable_page),  cmocka_unit_test(process_that_ends),
		cmocka_unit_test(not_allowed),	    cmocka_unit_test(old_kernel),
		cmocka_unit_test(two_children),	    cmocka_unit_test(shared_stays_shared),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
