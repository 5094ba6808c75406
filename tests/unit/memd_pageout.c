// SPDX-License-Identifier: Apache-2.0
/* Which pages of a process are sent to swap: on a tree of files, what would be told to the kernel.
 */
#include "tests/unit/sharing_tree.h"

#include "common/clock.h"
#include "common/size.h"
#include "memd/pageout.h"

#define PID	 71
#define BASE	 TREE_BASE /* of the guest's memory: 16 MiB, 8 slices */
#define PAGES	 4096ULL
#define SLICE	 512ULL
#define IDLE	 "sys/kernel/mm/page_idle/bitmap"
#define FRAME(i) (1024 + 3 * (i)) /* no huge page's, and no word of bits is of two slices */

struct scene {
	struct tree tree;
	struct pageout *pageout;
	struct pageout_order order;
	uint64_t asked;
};

static struct iovec told[2048];
static size_t n_told;
static int refuse; /* -errno of the next advice, 0: none */

static ssize_t advise(int pidfd, const struct iovec *ranges, size_t n)
{
	ssize_t sum = 0;

	assert_int_equal(pidfd, 5);
	if (refuse)
		return refuse;
	for (size_t i = 0; i < n; i++) {
		assert_true(n_told < 2048);
		told[n_told++] = ranges[i];
		sum += (ssize_t)ranges[i].iov_len;
	}
	return sum;
}

static void map_all(struct scene *s)
{
	for (uint64_t i = 0; i < PAGES; i++)
		tree_map(&s->tree, PID, i, FRAME_OWN | FRAME(i));
}

static void open_scene(struct scene *s)
{
	*s = (struct scene){
		.tree = tree_new(NULL),
		.pageout = pageout_new(),
		.order = {.pid = PID,
			  .pidfd = 5,
			  .bytes = 4 * MIB,
			  .deadline_us = UINT64_MAX,
			  .now_us = 100 * USEC_PER_SEC,
			  .advise = advise},
	};
	tree_set(&s->tree, "proc/71/maps",
		 "555500000000-555504000000 rw-p 00000000 00:00 0 [heap]\n"
		 "7e0000000000-7e0004000000 rw-s 00000000 00:01 7 /memfd:ram (deleted)\n"
		 "7e1000000000-7e1004000000 rwxp 00000000 00:00 0\n"
		 "7e2000000000-7e2004000000 r--p 00000000 08:01 9 /usr/lib/large\n"
		 "7e3000000000-7e3000800000 rw-p 00000000 00:00 0\n"
		 "7f0000000000-7f0001000000 rw-p 00000000 00:00 0\n");
	s->order.rootfd = tree_rootfd(&s->tree);
	map_all(s);
	n_told = 0;
	refuse = 0;
}

static void close_scene(struct scene *s)
{
	pageout_free(s->pageout);
	close(s->order.rootfd);
	tree_free(&s->tree);
}

static int go(struct scene *s)
{
	n_told = 0;
	return pageout_run(s->pageout, &s->order, &s->asked);
}

/* The only range that can be guest memory, slice by slice, on from where the last call ended. */
static void goes_round(void **state)
{
	struct scene s;

	(void)state;
	open_scene(&s);
	assert_int_equal(go(&s), 0);
	assert_int_equal(s.asked, 4 * MIB);
	assert_int_equal(n_told, 2);
	assert_int_equal((uint64_t)(uintptr_t)told[0].iov_base, BASE);
	assert_int_equal(told[0].iov_len, 2 * MIB);
	assert_int_equal((uint64_t)(uintptr_t)told[1].iov_base, BASE + 2 * MIB);
	assert_int_equal(go(&s), 0);
	assert_int_equal((uint64_t)(uintptr_t)told[0].iov_base, BASE + 4 * MIB);
	close_scene(&s);
}

/* The kernel would not swap out what others map too, merged pages among it: it is not asked for. */
static void shared_pages_are_left_out(void **state)
{
	struct scene s;

	(void)state;
	open_scene(&s);
	for (uint64_t i = 0; i < SLICE; i++)
		tree_map(&s.tree, PID, i, i < 8 ? FRAME_OWN | FRAME(i) : FRAME_PRESENT | FRAME(i));
	for (uint64_t i = SLICE; i < 2 * SLICE; i++)
		tree_map(&s.tree, PID, i, FRAME_PRESENT | FRAME(i));
	s.order.bytes = 32768 + 4096;
	assert_int_equal(go(&s), 0);
	assert_int_equal(n_told, 2);
	assert_int_equal((uint64_t)(uintptr_t)told[0].iov_base, BASE);
	assert_int_equal(told[0].iov_len, 8 * 4096);
	assert_int_equal((uint64_t)(uintptr_t)told[1].iov_base, BASE + 4 * MIB);
	close_scene(&s);
}

/* Only what is there is told of. */
static void absent_pages_are_left_out(void **state)
{
	struct scene s;

	(void)state;
	open_scene(&s);
	for (uint64_t i = 0; i < SLICE + 10; i++)
		tree_map(&s.tree, PID, i, 0);
	tree_map(&s.tree, PID, SLICE + 20, FRAME_SWAPPED);
	assert_int_equal(go(&s), 0);
	assert_int_equal((uint64_t)(uintptr_t)told[0].iov_base, BASE + (SLICE + 10) * 4096);
	assert_int_equal(told[0].iov_len, 10 * 4096);
	assert_int_equal((uint64_t)(uintptr_t)told[1].iov_base, BASE + (SLICE + 21) * 4096);
	assert_int_equal(s.asked, (3 * SLICE - 11) * 4096);
	close_scene(&s);
}

/* What was read back by the next round is hot, and left out for some. */
static void slices_read_back_are_hot(void **state)
{
	struct scene s;

	(void)state;
	open_scene(&s);
	s.order.bytes = 16 * MIB;
	assert_int_equal(go(&s), 0);
	assert_int_equal(s.asked, 16 * MIB);
	/* All went but slices 0 and 1, which came back, and some pages of 2. */
	for (uint64_t i = 2 * SLICE + 20; i < PAGES; i++)
		tree_map(&s.tree, PID, i, 0);
	assert_int_equal(go(&s), -EAGAIN);
	assert_int_equal(s.asked, 20 * 4096);
	for (int round = 0; round < 12; round++) {
		go(&s);
		assert_true(s.asked <= 20 * 4096);
	}
	go(&s);
	assert_int_equal(s.asked, (2 * SLICE + 20) * 4096);
	close_scene(&s);
}

static void new_memory_is_known_anew(void **state)
{
	struct scene s;

	(void)state;
	open_scene(&s);
	s.order.bytes = 16 * MIB;
	assert_int_equal(go(&s), 0);
	assert_int_equal(go(&s), -EAGAIN); /* all is back, so hot */
	tree_set(&s.tree, "proc/71/maps", "7f0000000000-7f0001800000 rw-p 00000000 00:00 0 \n");
	assert_int_equal(go(&s), 0);
	assert_int_equal(s.asked, 16 * MIB);
	tree_set(&s.tree, "proc/71/maps", "7f0000000000-7f0000100000 rw-p 00000000 00:00 0 \n");
	assert_int_equal(go(&s), -EAGAIN);
	assert_int_equal(n_told, 0);
	tree_remove(&s.tree, "proc/71/maps");
	assert_int_equal(go(&s), -ESRCH);
	close_scene(&s);
}

static void refusals(void **state)
{
	struct scene s;

	(void)state;
	open_scene(&s);
	refuse = -EPERM;
	assert_int_equal(go(&s), -EPERM);
	refuse = -ESRCH;
	assert_int_equal(go(&s), -ESRCH);
	refuse = -EINVAL; /* locked, or a device's: the next slice may not be */
	assert_int_equal(go(&s), -EAGAIN);
	assert_int_equal(s.asked, 0);
	refuse = 0;
	s.order.deadline_us = 0; /* one slice, however late it is */
	assert_int_equal(go(&s), 0);
	assert_int_equal(s.asked, 2 * MIB);
	close_scene(&s);
}

static uint64_t idle_word(struct scene *s, uint64_t frame)
{
	char path[128];
	uint64_t word = 0;
	int fd = open(tree_path(&s->tree, IDLE, path, sizeof(path)), O_RDONLY);

	assert_true(fd >= 0);
	assert_true(pread(fd, &word, sizeof(word), (off_t)(frame / 64 * 8)) >= 0);
	close(fd);
	return word;
}

/* The file does as the kernel's: a page that is touched loses its bit. */
static void touch(struct scene *s, uint64_t frame)
{
	tree_put64(&s->tree, IDLE, frame / 64, idle_word(s, frame) & ~(1ULL << frame % 64));
}

static bool is_marked(struct scene *s, uint64_t frame)
{
	return idle_word(s, frame) & 1ULL << frame % 64;
}

/* Where the kernel tells which pages are idle, those alone go. */
static void idle_pages_alone(void **state)
{
	struct scene s;

	(void)state;
	open_scene(&s);
	tree_set(&s.tree, IDLE, "");
	s.order.bytes = 16 * MIB;
	assert_int_equal(go(&s), -EINPROGRESS);
	assert_int_equal(n_told, 0);
	for (uint64_t i = 0; i < PAGES; i += 100)
		assert_true(is_marked(&s, FRAME(i)));
	assert_false(is_marked(&s, FRAME(0) + 1));
	/* Too early to tell. */
	s.order.now_us += USEC_PER_SEC;
	assert_int_equal(go(&s), -EINPROGRESS);
	assert_int_equal(n_told, 0);
	for (uint64_t i = 0; i < SLICE; i++)
		touch(&s, FRAME(i));
	touch(&s, FRAME(SLICE + 3));
	s.order.now_us += PAGEOUT_AGE_US;
	assert_int_equal(go(&s), -EAGAIN);
	assert_int_equal(s.asked, (PAGES - SLICE - 1) * 4096);
	assert_int_equal((uint64_t)(uintptr_t)told[0].iov_base, BASE + SLICE * 4096);
	assert_int_equal(told[0].iov_len, 3 * 4096);
	assert_true(is_marked(&s, FRAME(5))); /* and marked again */
	/* In want nobody asks. */
	s.order.any = true;
	assert_int_equal(go(&s), 0);
	assert_int_equal(s.asked, 16 * MIB);
	close_scene(&s);
}

/* Of a huge page only the first one's bit means anything. */
static void huge_pages_go_whole(void **state)
{
	struct scene s;

	(void)state;
	open_scene(&s);
	tree_set(&s.tree, IDLE, "");
	for (uint64_t i = 0; i < SLICE; i++)
		tree_map(&s.tree, PID, i, FRAME_OWN | (100 * SLICE + i));
	s.order.bytes = 2 * MIB;
	assert_int_equal(go(&s), -EINPROGRESS);
	for (uint64_t i = 1; i < SLICE; i++)
		touch(&s, 100 * SLICE + i);
	s.order.now_us += PAGEOUT_AGE_US;
	assert_int_equal(go(&s), 0);
	assert_int_equal(n_told, 1);
	assert_int_equal(told[0].iov_len, 2 * MIB);
	close_scene(&s);
}

/* Without the right to see frames nothing can be marked: by trying, then. */
static void frames_that_are_not_told(void **state)
{
	struct scene s;

	(void)state;
	open_scene(&s);
	tree_set(&s.tree, IDLE, "");
	for (uint64_t i = 0; i < PAGES; i++)
		tree_map(&s.tree, PID, i, FRAME_OWN);
	assert_int_equal(go(&s), 0);
	assert_int_equal(s.asked, 4 * MIB);
	close_scene(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(goes_round),
		cmocka_unit_test(absent_pages_are_left_out),
		cmocka_unit_test(shared_pages_are_left_out),
		cmocka_unit_test(slices_read_back_are_hot),
		cmocka_unit_test(new_memory_is_known_anew),
		cmocka_unit_test(refusals),
		cmocka_unit_test(idle_pages_alone),
		cmocka_unit_test(huge_pages_go_whole),
		cmocka_unit_test(frames_that_are_not_told),
	};

	return cmocka_run_group_tests_name("memd_pageout", tests, NULL, NULL);
}
