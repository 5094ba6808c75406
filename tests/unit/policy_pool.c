// SPDX-License-Identifier: Apache-2.0
/* Pools of huge pages: enlarged for who waits, shrunk when short, never below what is in use. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "policy/pool.h"

#define MIB (1ull << 20)
#define GIB (1ull << 30)
#define SEC 1000000ull
#define H2M (2 * MIB)

static struct {
	struct pol_pools pools;
	struct pol_pool_host in;
	struct pol_pool_plan plan;
	uint64_t now_us;
} w;

/* Two nodes with nothing in their pools and 8 GiB each to spare. */
static int setup(void **state)
{
	memset(&w, 0, sizeof(w));
	w.now_us = 1000 * SEC;
	w.in.mode = POL_POOL_MANAGE;
	w.in.state = POL_STATE_HIGH;
	w.in.spare_bytes = 16 * GIB;
	w.in.n_pools = 2;
	for (uint32_t i = 0; i < 2; i++)
		w.in.pools[i] = (struct pol_pool){
			.node = i, .page_bytes = H2M, .room_bytes = (8 - i) * GIB};
	return 0;
}

static void decide(uint64_t us)
{
	w.now_us += us;
	pol_pools_decide(&w.pools, &w.in, w.now_us, &w.plan);
}

static struct pol_pending *wait_for(uint64_t pages, uint64_t nodes)
{
	struct pol_pending *guest = &w.in.pending[w.in.n_pending++];

	*guest = (struct pol_pending){
		.id = w.in.n_pending, .page_bytes = H2M, .pages = pages, .nodes = nodes};
	return guest;
}

static void has(size_t i, uint64_t total, uint64_t free)
{
	w.in.pools[i].total = total;
	w.in.pools[i].free = free;
}

static void assert_orders(uint64_t a, uint64_t b)
{
	assert_int_equal(w.plan.orders[0].pages, a);
	assert_int_equal(w.plan.orders[1].pages, b);
}

/* The kernel does as told. */
static void obey(void)
{
	for (size_t i = 0; i < w.in.n_pools; i++) {
		struct pol_pool *pool = &w.in.pools[i];
		uint64_t in_use = pool->total - pool->free, pages = w.plan.orders[i].pages;

		if (!pol_has(pages))
			continue;
		pool->total = pages > in_use ? pages : in_use;
		pool->free = pool->total - in_use;
		pol_pools_tell(&w.pools, pool->node, pool->page_bytes, true, w.now_us);
	}
}

static void assert_answer(size_t g, enum pol_pool_answer answer, enum pol_pool_why why,
			  uint64_t have)
{
	assert_int_equal(w.plan.answers[g].answer, answer);
	assert_int_equal(w.plan.answers[g].why, why);
	assert_int_equal(w.plan.answers[g].have_pages, have);
}

static void test_grows_for_who_waits(void **state)
{
	has(0, 100, 40);
	wait_for(512, 1 << 0);
	decide(SEC);
	assert_orders(100 + 472, POL_ABSENT);
	assert_int_equal(w.plan.orders[0].why, POL_WHY_POOL_PENDING);
	assert_answer(0, POL_POOL_WAIT, POL_POOL_COMING, 40);
	w.in.pools[0].busy = true;
	decide(SEC);
	assert_orders(POL_ABSENT, POL_ABSENT);
	assert_answer(0, POL_POOL_WAIT, POL_POOL_COMING, 40);
	w.in.pools[0].busy = false;
	has(0, 572, 512);
	decide(SEC);
	assert_orders(POL_ABSENT, POL_ABSENT);
	assert_answer(0, POL_POOL_READY, POL_POOL_OK, 512);
}

/* What others have reserved is not free, wherever it is. */
static void test_reserved_is_not_free(void **state)
{
	has(0, 512, 512);
	w.in.pools[0].reserved = w.in.pools[1].reserved = 100;
	wait_for(512, 0);
	decide(SEC);
	assert_answer(0, POL_POOL_WAIT, POL_POOL_COMING, 412);
	assert_orders(612, POL_ABSENT);
}

static void test_where_it_grows(void **state)
{
	struct pol_pending *guest = wait_for(512, 0);

	decide(SEC);
	assert_orders(512, POL_ABSENT); /* the roomier one */
	guest->prefer = 1 << 1;
	decide(SEC);
	assert_orders(POL_ABSENT, 512);
	/* Over both, when one is not enough. */
	guest->prefer = 0;
	guest->pages = 6 * 1024;
	decide(SEC);
	assert_orders(4096, 2048);
	/* And nothing by halves. */
	guest->pages = 9 * 1024;
	decide(SEC);
	assert_orders(POL_ABSENT, POL_ABSENT);
	assert_answer(0, POL_POOL_WAIT, POL_POOL_MEMORY, 0);
	guest->pages = 512;
	w.in.spare_bytes = 100 * MIB;
	decide(SEC);
	assert_answer(0, POL_POOL_WAIT, POL_POOL_MEMORY, 0);
}

/* The kernel gives fewer than asked: another node if that will do, else a growing pause. */
static void test_fragmented(void **state)
{
	struct pol_pending *guest = wait_for(512, 0);
	uint64_t pause = 0;

	decide(SEC);
	assert_orders(512, POL_ABSENT);
	has(0, 312, 312);
	pol_pools_tell(&w.pools, 0, H2M, false, w.now_us);
	decide(SEC);
	assert_orders(POL_ABSENT, 200);
	w.in.pools[1].room_bytes = 0;
	decide(0);
	assert_orders(POL_ABSENT, POL_ABSENT);
	guest->nodes = 1 << 0;
	for (unsigned int i = 0; i < 12; i++) {
		decide(0);
		assert_answer(0, POL_POOL_WAIT, POL_POOL_PIECES, 312);
		assert_true(w.plan.answers[0].retry_us >= pause / 2);
		pause = w.plan.answers[0].retry_us;
		assert_true(pause > 0 && pause <= 120 * SEC);
		decide(pause);
		assert_orders(512, POL_ABSENT);
		pol_pools_tell(&w.pools, 0, H2M, false, w.now_us);
	}
	assert_int_equal(pause, 120 * SEC);
	/* It comes after all: the next one is not made to wait. */
	decide(120 * SEC);
	pol_pools_tell(&w.pools, 0, H2M, true, w.now_us);
	guest->pages = 600;
	decide(SEC);
	assert_orders(600, POL_ABSENT);
}

static void test_one_at_a_time(void **state)
{
	struct pol_pending *first = wait_for(512, 0);

	wait_for(1024, 0);
	wait_for(100, 0);
	decide(SEC);
	assert_orders(512, POL_ABSENT);
	assert_answer(1, POL_POOL_WAIT, POL_POOL_TURN, 0);
	obey();
	/* Its pages are kept for it, and nobody is served while it takes them. */
	decide(SEC);
	assert_answer(0, POL_POOL_READY, POL_POOL_OK, 512);
	first->granted = true;
	decide(SEC);
	assert_answer(1, POL_POOL_WAIT, POL_POOL_TURN, 0);
	assert_answer(2, POL_POOL_WAIT, POL_POOL_TURN, 0);
	assert_orders(POL_ABSENT, POL_ABSENT);
	/* It has them. */
	has(0, 512, 0);
	memmove(&w.in.pending[0], &w.in.pending[1], 2 * sizeof(w.in.pending[0]));
	w.in.n_pending = 2;
	decide(SEC);
	assert_orders(512 + 1024, POL_ABSENT);
	assert_answer(1, POL_POOL_WAIT, POL_POOL_TURN, 0);
}

static void test_short_gives_back(void **state)
{
	has(0, 1000, 600);
	has(1, 300, 300);
	for (size_t i = 0; i < 2; i++) {
		w.in.pools[i].base = w.in.pools[i].total;
		w.in.pools[i].reserved = 50;
	}
	w.in.pools[0].owed = 200;
	decide(SEC);
	assert_orders(POL_ABSENT, POL_ABSENT);
	w.in.state = POL_STATE_SOFT;
	w.in.spare_bytes = 0;
	decide(SEC);
	assert_orders(450, 50);
	assert_int_equal(w.plan.orders[0].why, POL_WHY_POOL_SHORT);
	obey();
	decide(SEC);
	assert_orders(POL_ABSENT, POL_ABSENT);
	/* A guest that waits gets what is free all the same, and no more. */
	w.in.state = POL_STATE_HIGH;
	w.in.spare_bytes = 16 * GIB;
	decide(SEC);
	assert_orders(POL_ABSENT, POL_ABSENT);
	decide(59 * SEC);
	assert_orders(POL_ABSENT, POL_ABSENT);
	decide(SEC);
	assert_orders(1000, 300);
	assert_int_equal(w.plan.orders[0].why, POL_WHY_POOL_BACK);
	/* Not if that leaves little. */
	w.in.spare_bytes = 1500 * MIB;
	decide(SEC);
	assert_orders(POL_ABSENT, 300);
}

/* What a guest is about to take is kept for it, from when it is told so. */
static void test_granted_outlives_shortage(void **state)
{
	struct pol_pending *guest = wait_for(400, 0);

	has(0, 512, 512);
	w.in.state = POL_STATE_LOW;
	w.in.spare_bytes = 0;
	decide(SEC);
	assert_answer(0, POL_POOL_READY, POL_POOL_OK, 400);
	assert_orders(400, POL_ABSENT);
	guest->granted = true;
	decide(SEC);
	assert_orders(400, POL_ABSENT);
}

static void test_idle_goes_back(void **state)
{
	has(0, 612, 612);
	w.in.pools[0].base = 100;
	decide(SEC);
	assert_orders(POL_ABSENT, POL_ABSENT);
	decide(29 * SEC);
	assert_orders(POL_ABSENT, POL_ABSENT);
	decide(SEC);
	assert_orders(100, POL_ABSENT);
	assert_int_equal(w.plan.orders[0].why, POL_WHY_POOL_IDLE);
	/* In use, or given back by a balloon for a while: not idle. */
	has(0, 612, 200);
	w.in.pools[0].owed = 150;
	decide(60 * SEC);
	assert_orders(562, POL_ABSENT);
	/* The kernel did not: not every second again. */
	pol_pools_tell(&w.pools, 0, H2M, false, w.now_us);
	decide(SEC);
	assert_orders(POL_ABSENT, POL_ABSENT);
	decide(SEC);
	assert_orders(562, POL_ABSENT);
}

static void test_not_ours(void **state)
{
	struct pol_pending *guest = wait_for(512, 0);

	w.in.mode = POL_POOL_WATCH;
	decide(SEC);
	assert_answer(0, POL_POOL_REFUSED, POL_POOL_UNMANAGED, 0);
	has(0, 512, 512);
	decide(SEC);
	assert_answer(0, POL_POOL_READY, POL_POOL_OK, 512);
	guest->page_bytes = GIB;
	guest->pages = 1;
	decide(SEC);
	assert_answer(0, POL_POOL_REFUSED, POL_POOL_NONE, 0);
	guest->page_bytes = H2M;
	guest->nodes = 1ull << 7;
	decide(SEC);
	assert_answer(0, POL_POOL_REFUSED, POL_POOL_NONE, 0);
	/* Watched, what would be done is told; off, nothing is. */
	w.in.n_pending = 0;
	decide(60 * SEC);
	decide(60 * SEC);
	assert_orders(0, POL_ABSENT);
	w.in.mode = POL_POOL_OFF;
	decide(60 * SEC);
	assert_orders(POL_ABSENT, POL_ABSENT);
}

static void test_sizes_apart(void **state)
{
	w.in.pools[1].page_bytes = GIB;
	w.in.pools[1].node = 0;
	wait_for(512, 0);
	wait_for(2, 0)->page_bytes = GIB;
	w.in.spare_bytes = 2 * GIB + 512 * MIB;
	decide(SEC);
	/* One head of the queue for each size, and the memory once. */
	assert_orders(512, POL_ABSENT);
	assert_answer(1, POL_POOL_WAIT, POL_POOL_MEMORY, 0);
	w.in.spare_bytes = 3 * GIB;
	decide(SEC);
	assert_orders(512, 2);
	assert_answer(1, POL_POOL_WAIT, POL_POOL_COMING, 0);
}

static uint64_t any(uint64_t below)
{
	return (uint64_t)random() % below;
}

/* Whatever comes: no order goes below use, no growth above what the host has to spare. */
static void test_properties(void **state)
{
	srandom(6);
	for (unsigned int round = 0; round < 20000; round++) {
		uint64_t growth = 0;

		w.in.state = (enum pol_state)any(4);
		w.in.spare_bytes = w.in.state == POL_STATE_HIGH ? any(4 * GIB) : 0;
		w.in.n_pools = 1 + any(4);
		w.in.n_pending = any(5);
		for (size_t i = 0; i < w.in.n_pools; i++) {
			uint64_t total = any(3) ? any(2000) : 0;

			w.in.pools[i] = (struct pol_pool){
				.node = (uint32_t)i / 2,
				.page_bytes = i % 2 ? GIB : H2M,
				.total = total,
				.free = total ? any(total + 1) : 0,
				.reserved = any(2) ? any(500) : 0,
				.base = any(2000),
				.owed = any(300),
				.room_bytes = any(2 * GIB),
				.busy = any(8) == 0,
			};
		}
		for (size_t g = 0; g < w.in.n_pending; g++)
			w.in.pending[g] = (struct pol_pending){.id = g + 1,
							       .page_bytes = any(4) ? H2M : GIB,
							       .pages = 1 + any(900),
							       .nodes = any(4),
							       .granted = any(3) == 0};
		decide(any(40 * SEC));
		for (size_t i = 0; i < w.in.n_pools; i++) {
			const struct pol_pool *pool = &w.in.pools[i];
			uint64_t pages = w.plan.orders[i].pages;

			if (!pol_has(pages))
				continue;
			assert_false(pool->busy);
			assert_true(pages >=
				    pol_pool_floor(pool->total, pool->free, pool->reserved));
			assert_true(pages != pool->total);
			if (pages > pool->total) {
				assert_true((pages - pool->total) * pool->page_bytes <=
					    pool->room_bytes);
				growth += (pages - pool->total) * pool->page_bytes;
			}
			if (any(4) == 0)
				pol_pools_tell(&w.pools, pool->node, pool->page_bytes, any(2),
					       w.now_us);
		}
		assert_true(growth <= w.in.spare_bytes);
		for (size_t g = 0; g < w.in.n_pending; g++)
			assert_true(w.plan.answers[g].have_pages <= w.in.pending[g].pages);
	}
}

static void test_texts(void **state)
{
	for (enum pol_pool_why why = POL_POOL_OK; why <= POL_POOL_UNMANAGED; why++)
		assert_string_not_equal(pol_pool_text(why), "unknown");
	assert_int_equal(pol_pool_floor(100, 40, 10), 70);
	assert_int_equal(pol_pool_floor(100, 40, 90), 100);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_grows_for_who_waits, setup),
		cmocka_unit_test_setup(test_reserved_is_not_free, setup),
		cmocka_unit_test_setup(test_where_it_grows, setup),
		cmocka_unit_test_setup(test_fragmented, setup),
		cmocka_unit_test_setup(test_one_at_a_time, setup),
		cmocka_unit_test_setup(test_short_gives_back, setup),
		cmocka_unit_test_setup(test_granted_outlives_shortage, setup),
		cmocka_unit_test_setup(test_idle_goes_back, setup),
		cmocka_unit_test_setup(test_not_ours, setup),
		cmocka_unit_test_setup(test_sizes_apart, setup),
		cmocka_unit_test_setup(test_properties, setup),
		cmocka_unit_test(test_texts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
