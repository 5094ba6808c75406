// SPDX-License-Identifier: Apache-2.0
/* The trace: what is written is read back, cut files are continued, damage is noticed, size kept.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "memd/record.h"
#include "memd/record_fields.h"
#include "tests/unit/tree.h"

#define SEC 1000000ULL

static struct pol_guest guests[RECORD_GUESTS_MAX];
static struct pol_host host;
static struct pol_action actions[3];
static struct pol_plan plan;

/* Numbers that depend on tick and guest, some absent, some above 2^63. */
static void make_world(uint64_t tick, size_t n)
{
	host = (struct pol_host){
		.memory_bytes = 8ULL << 30,
		.free_bytes = 1000 + tick * 4096,
		.available_bytes = 5000 - tick,
		.swap_bytes = 0,
		.psi_some_us = POL_ABSENT,
		.psi_full_us = tick % 2 ? POL_ABSENT : tick,
		.ksm = {.present = tick % 3 != 0, .run = tick % 2, .zero_pages = POL_ABSENT},
		.n_nodes = 2,
		.nodes = {{.memory_bytes = 4ULL << 30, .free_bytes = tick, .cpus = 4},
			  {.node = 3,
			   .memory_bytes = 4ULL << 30,
			   .free_bytes = UINT64_MAX - 1,
			   .distance = {10, 21, POL_ABSENT}}},
		.numa_balancing = tick % 2 ? 1 : POL_ABSENT,
		.guests = guests,
		.n_guests = n,
	};
	for (size_t i = 0; i < n; i++) {
		guests[i] = (struct pol_guest){
			.id = 2 * i + tick / 4, /* some go, some come */
			.memory_bytes = (i + 1) << 30,
			.min_bytes = POL_ABSENT,
			.shares = 1000,
			.answering = (tick + i) % 5 != 0,
			.actual_bytes = (i + 1) << 20,
			.stat_age_us = tick % 7 ? tick : POL_ABSENT,
			.cpu_us = tick * i,
			.node_bytes = {tick, POL_ABSENT, 3},
			.cpu_node = tick % 2 ? 1 : POL_ABSENT,
			.numa_bar = POL_NUMA_BOUND,
			.numa_moving = tick % 4 == 0,
		};
		snprintf(guests[i].name, sizeof(guests[i].name), "guest%llu",
			 (unsigned long long)guests[i].id);
	}
	actions[0] = (struct pol_action){.kind = POL_BALLOON,
					 .guest = 4,
					 .from = 10,
					 .to = tick,
					 .reason = POL_WHY_HOST_SHORT,
					 .working_set_bytes = POL_ABSENT,
					 .rejected_why = {[POL_RUNG_KSM] = POL_WHY_TOO_SLOW}};
	actions[1] = (struct pol_action){.kind = POL_KSM_RATE, .to = 500, .to2 = 20};
	plan = (struct pol_plan){
		.state = (enum pol_state)(tick % 4),
		.need_bytes = tick * 3,
		.actions = actions,
		.n_actions = tick % 3,
	};
}

static void assert_same_fields(enum record_table table, const void *a, const void *b)
{
	size_t n;
	const struct record_field *fields = record_fields(table, &n);

	for (size_t i = 0; i < n; i++)
		if (record_field_get(a, fields[i]) != record_field_get(b, fields[i]))
			fail_msg("table %d field %zu differs", (int)table, i);
}

static void assert_tick(const struct record_entry *entry)
{
	assert_same_fields(RECORD_HOST, &entry->host, &host);
	assert_same_fields(RECORD_KSM, &entry->host.ksm, &host.ksm);
	assert_int_equal(entry->host.n_nodes, host.n_nodes);
	for (size_t i = 0; i < host.n_nodes; i++)
		assert_same_fields(RECORD_NODE, &entry->host.nodes[i], &host.nodes[i]);
	assert_int_equal(entry->host.n_guests, host.n_guests);
	for (size_t i = 0; i < host.n_guests; i++) {
		assert_int_equal(entry->host.guests[i].id, guests[i].id);
		assert_string_equal(entry->host.guests[i].name, guests[i].name);
		assert_same_fields(RECORD_GUEST, &entry->host.guests[i], &guests[i]);
	}
	assert_int_equal(entry->state, plan.state);
	assert_int_equal(entry->need_bytes, plan.need_bytes);
	assert_int_equal(entry->n_actions, plan.n_actions);
	for (size_t i = 0; i < plan.n_actions; i++)
		assert_same_fields(RECORD_ACTION, &entry->actions[i], &actions[i]);
}

static void write_ticks(const char *path, uint64_t from, uint64_t to, size_t n, uint64_t size)
{
	struct record *record = NULL;
	struct pol_config config = {.high_ppm = 60000, .step_bytes = 123, .ksm_manage = true};

	assert_int_equal(record_open(path, size, false, &record), 0);
	record_config(record, &config);
	for (uint64_t t = from; t < to; t++) {
		make_world(t, n);
		assert_int_equal(record_tick(record, &host, &plan, 50 * SEC + t * SEC, t * SEC), 0);
	}
	record_close(record);
}

/* Ticks from..to are in the file in order, and nothing else; returns how many starts it has. */
static unsigned int check_ticks(const char *path, uint64_t from, uint64_t to, size_t n)
{
	struct record_reader *reader = NULL;
	struct record_entry entry;
	unsigned int starts = 0;
	uint64_t t = from;
	int r;

	assert_int_equal(record_reader_open(path, &reader), 0);
	while ((r = record_next(reader, &entry)) > 0) {
		if (entry.kind == RECORD_START)
			starts++;
		if (entry.kind == RECORD_CONFIG) {
			assert_int_equal(entry.config.high_ppm, 60000);
			assert_int_equal(entry.config.step_bytes, 123);
			assert_true(entry.config.ksm_manage);
			assert_false(entry.config.balloon_manage);
		}
		if (entry.kind != RECORD_TICK)
			continue;
		make_world(t, n);
		assert_int_equal(entry.now_us, t * SEC);
		assert_int_equal(entry.wall_us, 50 * SEC + t * SEC);
		assert_tick(&entry);
		t++;
	}
	assert_int_equal(r, 0);
	assert_int_equal(t, to);
	record_reader_close(reader);
	return starts;
}

static void test_round_trip(void **state)
{
	AUTO_TREE struct tree tree = tree_new(NULL);
	char path[128];

	(void)state;
	tree_path(&tree, "trace", path, sizeof(path));
	write_ticks(path, 0, 1500, 5, 64 << 20);
	assert_int_equal(check_ticks(path, 0, 1500, 5), 3); /* every 600 ticks one more */
}

static uint64_t size_of(const char *path)
{
	struct stat st;

	assert_int_equal(stat(path, &st), 0);
	return (uint64_t)st.st_size;
}

/* Skimming tells the same times, starts and configurations, and the same end. */
static void test_skim(void **state)
{
	AUTO_TREE struct tree tree = tree_new(NULL);
	struct record_reader *whole = NULL, *skimmed = NULL;
	struct record_entry a, b;
	unsigned int n = 0;
	char path[128];
	int r;

	(void)state;
	write_ticks(tree_path(&tree, "trace", path, sizeof(path)), 0, 700, 5, 64 << 20);
	assert_int_equal(truncate(path, (off_t)size_of(path) - 1), 0);
	assert_int_equal(record_reader_open(path, &whole), 0);
	assert_int_equal(record_reader_open(path, &skimmed), 0);
	while ((r = record_next(whole, &a)) > 0) {
		assert_int_equal(record_skim(skimmed, &b), 1);
		assert_int_equal(a.kind, b.kind);
		assert_int_equal(a.wall_us, b.wall_us);
		assert_int_equal(a.now_us, b.now_us);
		n++;
	}
	assert_int_equal(n, 699 + 2 * 2);
	assert_int_equal(r, record_skim(skimmed, &b));
	assert_int_equal(record_reader_offset(whole), record_reader_offset(skimmed));
	record_reader_close(whole);
	record_reader_close(skimmed);
}

static void test_many_guests(void **state)
{
	AUTO_TREE struct tree tree = tree_new(NULL);
	char path[128];

	(void)state;
	tree_path(&tree, "trace", path, sizeof(path));
	write_ticks(path, 0, 6, RECORD_GUESTS_MAX, 64 << 20);
	assert_int_equal(check_ticks(path, 0, 6, RECORD_GUESTS_MAX), 1);
}

static void test_compact(void **state)
{
	AUTO_TREE struct tree tree = tree_new(NULL);
	struct record *record = NULL;
	uint64_t before;
	char path[128];

	(void)state;
	assert_int_equal(
		record_open(tree_path(&tree, "trace", path, sizeof(path)), 64 << 20, true, &record),
		0);
	make_world(1, 100);
	plan.n_actions = 0;
	assert_int_equal(record_tick(record, &host, &plan, SEC, SEC), 0);
	before = record_bytes(record);
	assert_int_equal(record_tick(record, &host, &plan, 2 * SEC, 2 * SEC), 0);
	assert_in_range(record_bytes(record) - before, 100, 450); /* 100 guests standing still */
	record_close(record);
}

/* Wherever a crash cuts the file, the next start goes on from the last whole frame. */
static void test_cut_anywhere(void **state)
{
	AUTO_TREE struct tree tree = tree_new(NULL);
	char path[128], older[140];
	uint64_t whole;

	(void)state;
	tree_path(&tree, "trace", path, sizeof(path));
	write_ticks(path, 0, 3, 2, 64 << 20);
	whole = size_of(path);
	snprintf(older, sizeof(older), "%s.1", path);
	for (uint64_t cut = 1; cut < whole; cut += 3) {
		unlink(path);
		write_ticks(path, 0, 3, 2, 64 << 20);
		assert_int_equal(truncate(path, (off_t)(whole - cut)), 0);
		write_ticks(path, 3, 4, 2, 64 << 20);
		assert_int_not_equal(access(older, F_OK), 0); /* not rotated away */
		{
			struct record_reader *reader = NULL;
			struct record_entry entry;
			uint64_t last = 0;
			int r;

			assert_int_equal(record_reader_open(path, &reader), 0);
			while ((r = record_next(reader, &entry)) > 0)
				last = entry.now_us;
			assert_int_equal(r, 0);
			assert_int_equal(last, 3 * SEC);
			record_reader_close(reader);
		}
	}
}

/* Any flipped bit is noticed (a checksum), and never read as something else. */
static void test_damage(void **state)
{
	AUTO_TREE struct tree tree = tree_new(NULL);
	char path[128], older[140];
	uint64_t size;

	(void)state;
	tree_path(&tree, "trace", path, sizeof(path));
	write_ticks(path, 0, 3, 2, 64 << 20);
	size = size_of(path);
	for (uint64_t at = 0; at < size; at += 5) {
		struct record_reader *reader = NULL;
		struct record_entry entry;
		unsigned int ticks = 0;
		uint8_t byte;
		int fd = open(path, O_RDWR);

		assert_int_equal(pread(fd, &byte, 1, (off_t)at), 1);
		byte ^= 0x10;
		assert_int_equal(pwrite(fd, &byte, 1, (off_t)at), 1);
		assert_int_equal(record_reader_open(path, &reader), 0);
		while (record_next(reader, &entry) > 0)
			ticks += entry.kind == RECORD_TICK;
		assert_true(ticks < 3);
		record_reader_close(reader);
		byte ^= 0x10;
		assert_int_equal(pwrite(fd, &byte, 1, (off_t)at), 1);
		close(fd);
	}
	/* A file that is none of ours is moved aside, not written into. */
	tree_set(&tree, "trace", "hello, I am a text file\n");
	write_ticks(path, 0, 2, 2, 64 << 20);
	assert_int_equal(check_ticks(path, 0, 2, 2), 1);
	snprintf(older, sizeof(older), "%s.1", path);
	assert_int_equal(size_of(older), 24);
}

static void test_rotation(void **state)
{
	AUTO_TREE struct tree tree = tree_new(NULL);
	const uint64_t limit = 64 << 10;
	char path[128], older[140];
	struct record_reader *reader = NULL;
	struct record_entry entry;
	uint64_t first = 0;
	int r;

	(void)state;
	tree_path(&tree, "trace", path, sizeof(path));
	snprintf(older, sizeof(older), "%s.1", path);
	write_ticks(path, 0, 4000, 3, limit);
	assert_true(size_of(path) + size_of(older) < limit + 4096);
	assert_true(size_of(older) >= limit / 2);
	/* Each file can be read alone, and together they have no gap. */
	assert_int_equal(record_reader_open(path, &reader), 0);
	while (record_next(reader, &entry) > 0)
		if (entry.kind == RECORD_TICK && !first)
			first = entry.now_us / SEC;
	record_reader_close(reader);
	check_ticks(path, first, 4000, 3);
	assert_int_equal(record_reader_open(older, &reader), 0);
	while ((r = record_next(reader, &entry)) > 0)
		;
	assert_int_equal(r, 0);
	assert_int_equal(entry.now_us, (first - 1) * SEC);
	record_reader_close(reader);
}

static void test_refused(void **state)
{
	AUTO_TREE struct tree tree = tree_new(NULL);
	struct record *record = NULL;
	struct record_reader *reader = NULL;
	char path[128];

	(void)state;
	assert_int_equal(record_open(tree_path(&tree, "no/such/trace", path, sizeof(path)), 1 << 20,
				     false, &record),
			 -ENOENT);
	assert_null(record);
	assert_int_equal(record_reader_open(path, &reader), -ENOENT);
	/* A link planted in the state directory is not followed. */
	tree_set(&tree, "victim", "");
	tree_path(&tree, "trace", path, sizeof(path));
	assert_int_equal(symlink("victim", path), 0);
	assert_int_equal(record_open(path, 1 << 20, false, &record), -ELOOP);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),   cmocka_unit_test(test_skim),
		cmocka_unit_test(test_many_guests),  cmocka_unit_test(test_compact),
		cmocka_unit_test(test_cut_anywhere), cmocka_unit_test(test_damage),
		cmocka_unit_test(test_rotation),     cmocka_unit_test(test_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
