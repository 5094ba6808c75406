// SPDX-License-Identifier: Apache-2.0
/* What is read back from swap of a guest: what equals what is held, and little beside it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/size.h"
#include "memd/anchor_back.h"
#include "memd/host.h"
#include "memd/pagemap.h"
#include "tests/unit/tree.h"

#define FIRST  0x10000ULL /* page of each one's memory, */
#define PAGES  20000	  /* more than a chunk of the walk's */
#define GUESTS 3

/* Processes that are files, whose pages the test fills. */
struct world {
	struct tree tree;
	struct back back;
	struct number_set contents;
	struct anchor_guest guests[GUESTS];
	size_t n;
	atomic_bool cancel;
	uint64_t later_us;
	int pagemap[GUESTS], mem[GUESTS];
};

static const char *file_of(size_t guest, const char *name)
{
	static char path[64];

	snprintf(path, sizeof(path), "proc/%zu/%s", 77 + guest, name);
	return path;
}

static int open_file(struct world *w, size_t guest, const char *name)
{
	char full[512];
	int fd;

	tree_set(&w->tree, file_of(guest, name), "");
	fd = open(tree_path(&w->tree, file_of(guest, name), full, sizeof(full)),
		  O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0);
	return fd;
}

/* The number is what is in the page; 0: nothing is there. */
static void set_page_of(struct world *w, size_t guest, uint64_t i, uint64_t content, bool swapped)
{
	uint64_t entry = !content ? 0 : swapped ? PAGEMAP_SWAPPED : PAGEMAP_PRESENT;
	off_t at = (off_t)((FIRST + i) * host_page_bytes());

	assert_int_equal(pwrite(w->pagemap[guest], &entry, sizeof(entry), (off_t)((FIRST + i) * 8)),
			 sizeof(entry));
	assert_int_equal(pwrite(w->mem[guest], &content, sizeof(content), at), sizeof(content));
}

static void set_page(struct world *w, uint64_t i, uint64_t content, bool swapped)
{
	set_page_of(w, 0, i, content, swapped);
}

static void hold(struct world *w, uint64_t content)
{
	uint8_t page[65536] = {0};

	memcpy(page, &content, sizeof(content));
	number_set_add(&w->contents, back_content(page));
}

static void open_guest(struct world *w, size_t guest)
{
	uint64_t bytes = host_page_bytes();
	char maps[200];

	w->guests[guest] = (struct anchor_guest){.id = 5 + guest,
						 .starttime = 99,
						 .pid = 77 + (pid_t)guest,
						 .swapped_bytes = 64 * MIB,
						 .may_read = true};
	snprintf(maps, sizeof(maps),
		 "%llx-%llx rw-p 00000000 00:00 0\n7f0000000000-7f0000001000 rw-p 00000000 00:00 0 "
		 "[stack]\n",
		 (unsigned long long)(FIRST * bytes),
		 (unsigned long long)((FIRST + PAGES) * bytes));
	tree_set(&w->tree, file_of(guest, "maps"), maps);
	tree_set(&w->tree, file_of(guest, "status"),
		 "Name:\tguest\nState:\tS (sleeping)\nVmRSS:\t4 kB\nVmSwap:\t4 kB\n");
	tree_set(&w->tree, file_of(guest, "stat"),
		 "77 (guest) S 1 1 1 0 -1 0 0 0 0 0 1 1 0 0 20 0 1 0 99 0 0 0 0 0 0 0 0 0 0 0 0 0 "
		 "0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n");
	w->pagemap[guest] = open_file(w, guest, "pagemap");
	w->mem[guest] = open_file(w, guest, "mem");
	assert_int_equal(ftruncate(w->pagemap[guest], (FIRST + PAGES) * 8), 0);
	assert_int_equal(ftruncate(w->mem[guest], (off_t)((FIRST + PAGES) * bytes)), 0);
}

/* Of n guests; most tests are about the first. */
static void open_world(struct world *w, size_t n)
{
	*w = (struct world){.tree = tree_new(NULL), .n = n};
	for (size_t i = 0; i < n; i++)
		open_guest(w, i);
	assert_int_equal(number_set_open(&w->contents, 20000), 0);
}

static void close_world(struct world *w)
{
	back_close(&w->back);
	number_set_close(&w->contents);
	for (size_t i = 0; i < w->n; i++) {
		close(w->pagemap[i]);
		close(w->mem[i]);
	}
	tree_free(&w->tree);
}

/* Pages read, as far as it may; what of that is equal is in back.equal_bytes. */
static uint64_t read_back(struct world *w, uint64_t most_pages)
{
	uint64_t before = w->back.read_bytes, bytes = host_page_bytes();
	int rootfd = tree_rootfd(&w->tree);
	struct back_bounds bounds = {.most_bytes = most_pages * bytes, .cancel = &w->cancel};
	int r;

	/* A slow machine needs several turns. */
	do {
		uint64_t now = (w->back.read_bytes - before) / bytes;

		bounds.most_bytes = (most_pages - now) * bytes;
		bounds.now_us = clock_now_us() + w->later_us;
		r = 0;
		if (back_is_due(&w->back, w->guests, w->n, bounds.now_us))
			r = back_read(&w->back, rootfd, w->guests, w->n, &w->contents, &bounds);
		assert_true(r >= 0);
		w->back.slow_us = 0;
	} while (r == 1 && !w->cancel && (w->back.read_bytes - before) / bytes < most_pages);
	close(rootfd);
	return (w->back.read_bytes - before) / bytes;
}

static uint64_t equal(const struct world *w)
{
	return w->back.equal_bytes / host_page_bytes();
}

static void test_what_equals_is_read(void **state)
{
	struct world w;

	(void)state;
	open_world(&w, 1);
	for (uint64_t i = 0; i < 1000; i++) {
		hold(&w, 1 + i);
		set_page(&w, i, 1 + i, true);
	}
	/* What is in memory is there already. */
	for (uint64_t i = 1000; i < 2000; i++)
		set_page(&w, i, 1 + i - 1000, false);
	assert_int_equal(read_back(&w, 300), 300);
	assert_int_equal(equal(&w), 300);
	/* It goes on where it was. */
	for (uint64_t i = 0; i < 300; i++)
		set_page(&w, i, 1 + i, false);
	assert_int_equal(read_back(&w, PAGES), 700);
	assert_int_equal(equal(&w), 1000);
	close_world(&w);
}

static void test_of_what_differs_next_to_nothing_is(void **state)
{
	struct world w;
	uint64_t n;

	(void)state;
	open_world(&w, 1);
	hold(&w, 1);
	for (uint64_t i = 0; i < 10000; i++)
		set_page(&w, i, 1000 + i, true);
	n = read_back(&w, PAGES);
	assert_in_range(n, 100, 10000 / 25);
	assert_int_equal(equal(&w), 0);
	/* And not again while nothing has changed. */
	w.later_us += 60 * USEC_PER_SEC;
	assert_int_equal(read_back(&w, PAGES), 0);
	w.guests[0].swapped_bytes += 16 * MIB;
	assert_int_equal(read_back(&w, PAGES), n);
	w.later_us += 700 * USEC_PER_SEC;
	assert_int_equal(read_back(&w, PAGES), n);
	close_world(&w);
}

/* Every other one is equal, in one half: there nearly all of those are found. */
static void test_where_some_are_others_are_looked_for(void **state)
{
	struct world w;
	uint64_t n;

	(void)state;
	open_world(&w, 1);
	for (uint64_t i = 0; i < 8000; i++) {
		hold(&w, 1 + i);
		set_page(&w, i, i >= 4000 && i % 2 ? 1 + i : 100000 + i, true);
	}
	n = read_back(&w, PAGES);
	assert_in_range(equal(&w), 1800, 2000);
	assert_true(n <= 2 * equal(&w) + 400);
	close_world(&w);
}

static void test_guests_that_have_nothing_in_swap_are_left(void **state)
{
	struct world w;

	(void)state;
	open_world(&w, 1);
	hold(&w, 1);
	set_page(&w, 0, 1, true);
	w.guests[0].swapped_bytes = 0;
	assert_int_equal(read_back(&w, PAGES), 0);
	w.guests[0].swapped_bytes = 4 * MIB;
	w.guests[0].may_read = false;
	assert_int_equal(read_back(&w, PAGES), 0);
	w.guests[0].may_read = true;
	w.guests[0].swapped_bytes = 4 * MIB;
	w.guests[0].starttime++; /* another process */
	assert_int_equal(read_back(&w, PAGES), 0);
	w.guests[0].starttime--;
	w.later_us += 700 * USEC_PER_SEC;
	assert_int_equal(read_back(&w, PAGES), 1);
	close_world(&w);
}

static void test_it_ends_when_it_is_told_to(void **state)
{
	struct world w;

	(void)state;
	open_world(&w, 1);
	for (uint64_t i = 0; i < 100; i++) {
		hold(&w, 1 + i);
		set_page(&w, i, 1 + i, true);
	}
	w.cancel = true;
	assert_int_equal(read_back(&w, PAGES), 0);
	w.cancel = false;
	assert_int_equal(read_back(&w, PAGES), 100);
	close_world(&w);
}

/* Which shrinks while it is read through, and grows: it is read to its end all the same. */
static void test_a_guest_is_read_to_its_end(void **state)
{
	struct world w;

	(void)state;
	open_world(&w, 1);
	hold(&w, 1);
	set_page(&w, 0, 1, true);
	assert_int_equal(read_back(&w, PAGES), 1);
	/* Far behind, in the walk's second chunk. */
	for (uint64_t i = 0; i < 400; i++)
		set_page(&w, i < 200 ? i : 18000 + i, 1, true);
	w.guests[0].swapped_bytes += 16 * MIB;
	assert_int_equal(read_back(&w, 100), 100);
	for (uint64_t i = 0; i < 100; i++)
		set_page(&w, i, 1, false);
	w.guests[0].swapped_bytes -= 9 * MIB;
	assert_int_equal(read_back(&w, PAGES), 300);
	assert_int_equal(equal(&w), 401);
	assert_int_equal(back_take_read(&w.back, 5), 401 * host_page_bytes());
	assert_int_equal(back_take_read(&w.back, 5), 0);
	assert_int_equal(back_take_read(&w.back, 6), 0);
	close_world(&w);
}

static void test_guests_have_their_turns(void **state)
{
	struct world w;

	(void)state;
	open_world(&w, 3);
	hold(&w, 1);
	for (size_t guest = 0; guest < 3; guest++)
		for (uint64_t i = 0; i < 100; i++)
			set_page_of(&w, guest, i, 1, true);
	assert_int_equal(read_back(&w, 150), 150);
	assert_int_equal(back_take_read(&w.back, 5), 100 * host_page_bytes());
	assert_int_equal(back_take_read(&w.back, 6), 50 * host_page_bytes());
	/* The one under way has gone: the next one is read from its beginning. */
	w.guests[1] = w.guests[2];
	w.n = 2;
	assert_int_equal(read_back(&w, PAGES), 100);
	assert_int_equal(back_take_read(&w.back, 7), 100 * host_page_bytes());
	assert_int_equal(read_back(&w, PAGES), 0);
	/* And the first one again when it has more. */
	for (uint64_t i = 0; i < 100; i++)
		set_page_of(&w, 0, i, 1, true);
	w.guests[0].swapped_bytes += 16 * MIB;
	assert_int_equal(read_back(&w, PAGES), 100);
	w.n = 3;
	close_world(&w);
}

/* Entries of other kinds look like swap, and a device may fail: that is as if it were unequal. */
static void test_what_cannot_be_read_is_tried_seldom(void **state)
{
	struct world w;

	(void)state;
	open_world(&w, 1);
	hold(&w, 1);
	for (uint64_t i = 0; i < 10000; i++)
		set_page(&w, i, 1, true);
	assert_int_equal(ftruncate(w.mem[0], 0), 0);
	assert_int_equal(read_back(&w, PAGES), 0);
	assert_int_equal(equal(&w), 0);
	assert_false(back_is_due(&w.back, w.guests, 1, clock_now_us()));
	close_world(&w);
}

/* By its last number it was read; of other contents held, or as another process, it was not. */
static void test_it_is_read_again_when_something_else_is_held(void **state)
{
	struct world w;

	(void)state;
	open_world(&w, 1);
	hold(&w, 1);
	for (uint64_t i = 0; i < 50; i++)
		set_page(&w, i, 1, true);
	assert_int_equal(read_back(&w, PAGES), 50);
	assert_int_equal(read_back(&w, PAGES), 0);
	back_forget(&w.back);
	assert_int_equal(read_back(&w, PAGES), 50);
	w.guests[0].starttime++;
	assert_true(back_is_due(&w.back, w.guests, 1, clock_now_us()));
	close_world(&w);
}

static void test_a_slow_swap_is_left_alone(void **state)
{
	struct world w;

	(void)state;
	assert_false(back_is_slow(15, 10 * USEC_PER_SEC));
	assert_false(back_is_slow(1000, 2 * USEC_PER_SEC));
	assert_true(back_is_slow(100, USEC_PER_SEC));
	open_world(&w, 1);
	hold(&w, 1);
	set_page(&w, 0, 1, true);
	w.back.slow_us = clock_now_us();
	assert_false(back_is_due(&w.back, w.guests, 1, w.back.slow_us + 599 * USEC_PER_SEC));
	assert_true(back_is_due(&w.back, w.guests, 1, w.back.slow_us + 601 * USEC_PER_SEC));
	close_world(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_equals_is_read),
		cmocka_unit_test(test_of_what_differs_next_to_nothing_is),
		cmocka_unit_test(test_where_some_are_others_are_looked_for),
		cmocka_unit_test(test_guests_that_have_nothing_in_swap_are_left),
		cmocka_unit_test(test_it_ends_when_it_is_told_to),
		cmocka_unit_test(test_a_guest_is_read_to_its_end),
		cmocka_unit_test(test_guests_have_their_turns),
		cmocka_unit_test(test_it_is_read_again_when_something_else_is_held),
		cmocka_unit_test(test_a_slow_swap_is_left_alone),
		cmocka_unit_test(test_what_cannot_be_read_is_tried_seldom),
	};

	return cmocka_run_group_tests_name("memd_anchor_back", tests, NULL, NULL);
}
