// SPDX-License-Identifier: Apache-2.0
/* Traces of other versions, made frame by frame: of an older memd and of a newer one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/cleanup.h"
#include "memd/record.h"
#include "memd/record_fields.h"
#include "tests/unit/tree.h"

static void put_frame(FILE *file, uint8_t type, const struct record_bytes *payload)
{
	uint8_t head[16] = {0}, sum[4];
	struct record_bytes out = {.data = head, .len = sizeof(head)};
	uint32_t check = record_checksum(type, payload->data, payload->at);

	record_put_u8(&out, type);
	record_put_varint(&out, payload->at);
	for (size_t i = 0; i < sizeof(sum); i++)
		sum[i] = (uint8_t)(check >> (8 * i));
	assert_int_equal(fwrite(head, 1, out.at, file), out.at);
	assert_int_equal(fwrite(payload->data, 1, payload->at, file), payload->at);
	assert_int_equal(fwrite(sum, 1, sizeof(sum), file), sizeof(sum));
}

/* A start that counts so many fields of so many tables. */
static void put_start(FILE *file, struct record_bytes *b, const uint64_t *n_fields, size_t n_tables)
{
	record_put_bytes(b, "memd", 4);
	record_put_u8(b, RECORD_VERSION);
	record_put_u8(b, 0);
	record_put_varint(b, 5);
	record_put_varint(b, 5);
	for (size_t i = 0; i < n_tables; i++)
		record_put_varint(b, n_fields[i]);
	put_frame(file, 'M', b);
}

/* Written when there were fewer fields: what is missing is absent, and no rung that was not there
 * yet is rejected. */
static void test_older_trace(void **state)
{
	static const uint64_t n_fields[] = {9, 17, 40, 25,
					    19}; /* host, ksm, guest, action, config */
	uint8_t data[512];
	struct record_bytes b = {.data = data, .len = sizeof(data)};
	struct record_reader *reader = NULL;
	const struct record_field *fields;
	struct pol_config config;
	const char *why = NULL;
	size_t n;
	struct record_entry entry;
	AUTO_TREE struct tree tree = tree_new(NULL);
	char path[128];
	FILE *file;

	(void)state;
	tree_path(&tree, "trace", path, sizeof(path));
	file = fopen(path, "w");
	assert_non_null(file);
	put_start(file, &b, n_fields, ARRAY_SIZE(n_fields));
	b.at = 0;
	pol_config_default(&config);
	fields = record_fields(RECORD_POLICY, &n);
	for (uint64_t i = 0; i < n_fields[4]; i++)
		record_put_varint(&b, record_field_get(&config, fields[i]));
	put_frame(file, 'C', &b);
	b.at = 0;
	record_put_delta(&b, 0, 7); /* now_us */
	record_put_varint(&b, 1);   /* host: memory_bytes alone */
	record_put_delta(&b, 0, 1 << 30);
	for (int i = 0; i < 5; i++) /* ksm, nodes, guests, state, need */
		record_put_varint(&b, 0);
	record_put_varint(&b, 1); /* actions */
	for (uint64_t i = 0; i < n_fields[3]; i++)
		record_put_varint(&b, 0);
	put_frame(file, 'T', &b);
	assert_false(b.bad);
	fclose(file);

	assert_int_equal(record_reader_open(path, &reader), 0);
	assert_int_equal(record_next(reader, &entry), 1);
	/* Of its configuration numbers are as usual, and switches off. */
	assert_int_equal(record_next(reader, &entry), 1);
	assert_int_equal(entry.kind, RECORD_CONFIG);
	assert_int_equal(pol_config_check(&entry.config, &why), 0);
	assert_true(entry.config.balloon_manage);
	assert_false(entry.config.numa_manage);
	assert_int_equal(entry.config.node_reserve_ppm, config.node_reserve_ppm);
	assert_int_equal(record_next(reader, &entry), 1);
	assert_int_equal(entry.kind, RECORD_TICK);
	assert_int_equal(entry.host.memory_bytes, 1 << 30);
	assert_int_equal(entry.host.swap_cost_ppm, POL_ABSENT);
	assert_int_equal(entry.host.rung_ppm[POL_RUNG_RECLAIM], POL_ABSENT);
	assert_false(entry.host.reclaim_busy);
	assert_int_equal(entry.n_actions, 1);
	assert_int_equal(entry.actions[0].rejected_why[POL_RUNG_RECLAIM], POL_WHY_NONE);
	assert_int_equal(record_next(reader, &entry), 0);
	record_reader_close(reader);
}

/* A group of a newer memd's: the first field and the last one are set. */
static void put_newer_group(struct record_bytes *b, uint64_t n, uint64_t first)
{
	for (uint64_t word = 0; word <= (n - 1) / 64; word++)
		record_put_varint(b, (word == 0 ? 1 : 0) |
					     (word == (n - 1) / 64 ? 1ULL << (n - 1) % 64 : 0));
	record_put_delta(b, 0, first);
	record_put_delta(b, 0, 12345); /* not ours */
}

static void put_newer_action(struct record_bytes *b, uint64_t n, uint64_t kind, uint64_t reason)
{
	size_t n_known;
	const struct record_field *fields = record_fields(RECORD_ACTION, &n_known);

	for (uint64_t i = 0; i < n; i++)
		record_put_varint(b, i < n_known && fields[i].offset ==
							     offsetof(struct pol_action, reason)
					     ? reason
				     : i == 0 ? kind
					      : 0);
}

/* Written by a memd that has more fields in every table, one table more, frames of another type,
 * and actions and reasons that nobody here knows. */
static void test_newer_trace(void **state)
{
	static const uint64_t n_fields[] = {70, 64, 130, 40, 66, 20, 9}; /* 9: of a new table */
	uint8_t data[2048];
	struct record_bytes b = {.data = data, .len = sizeof(data)};
	struct record_reader *reader = NULL;
	struct record_entry entry;
	AUTO_TREE struct tree tree = tree_new(NULL);
	char path[128];
	FILE *file;

	(void)state;
	file = fopen(tree_path(&tree, "trace", path, sizeof(path)), "w");
	assert_non_null(file);
	put_start(file, &b, n_fields, ARRAY_SIZE(n_fields));
	put_frame(file, 'Z', &b);
	b.at = 0;
	for (uint64_t i = 0; i < n_fields[4]; i++)
		record_put_varint(&b, 60000);
	put_frame(file, 'C', &b);
	b.at = 0;
	record_put_delta(&b, 5, 7); /* now_us */
	put_newer_group(&b, n_fields[0], 1 << 30);
	put_newer_group(&b, n_fields[1], 1); /* present */
	record_put_varint(&b, 2);
	put_newer_group(&b, n_fields[5], 3);
	put_newer_group(&b, n_fields[5], 4);
	record_put_varint(&b, 1); /* guests */
	record_put_varint(&b, 77);
	record_put_u8(&b, 1);
	record_put_varint(&b, 3);
	record_put_bytes(&b, "web", 3);
	put_newer_group(&b, n_fields[2], 1 << 20);
	record_put_varint(&b, POL_STATE_SOFT);
	record_put_varint(&b, 42); /* need */
	record_put_varint(&b, 3);
	put_newer_action(&b, n_fields[3], POL_ACTION_COUNT + 3, POL_WHY_HOST_SHORT);
	put_newer_action(&b, n_fields[3], POL_KSM_RUN, POL_WHY_COUNT + 9);
	put_newer_action(&b, n_fields[3], POL_MERGE, POL_WHY_DOMAIN_TURN);
	put_frame(file, 'T', &b);
	assert_false(b.bad);
	fclose(file);

	for (int skim = 0; skim < 2; skim++) {
		assert_int_equal(record_reader_open(path, &reader), 0);
		assert_int_equal(record_next(reader, &entry), 1);
		assert_int_equal(entry.kind, RECORD_START);
		assert_int_equal(record_next(reader, &entry), 1);
		assert_int_equal(entry.kind, RECORD_CONFIG);
		assert_int_equal(entry.config.high_ppm, 60000);
		assert_int_equal(skim ? record_skim(reader, &entry) : record_next(reader, &entry),
				 1);
		assert_int_equal(entry.kind, RECORD_TICK);
		assert_int_equal(entry.now_us, 7);
		if (!skim) {
			assert_int_equal(entry.host.memory_bytes, 1 << 30);
			assert_true(entry.host.ksm.present);
			assert_int_equal(entry.host.n_nodes, 2);
			assert_int_equal(entry.host.nodes[1].node, 4);
			assert_int_equal(entry.host.n_guests, 1);
			assert_string_equal(entry.host.guests[0].name, "web");
			assert_int_equal(entry.host.guests[0].memory_bytes, 1 << 20);
			assert_int_equal(entry.state, POL_STATE_SOFT);
			assert_int_equal(entry.need_bytes, 42);
			assert_int_equal(entry.n_unknown, 1);
			assert_int_equal(entry.n_actions, 2);
			assert_int_equal(entry.actions[0].kind, POL_KSM_RUN);
			assert_int_equal(entry.actions[0].reason, POL_WHY_NONE);
			assert_int_equal(entry.actions[1].kind, POL_MERGE);
			assert_int_equal(entry.actions[1].reason, POL_WHY_DOMAIN_TURN);
		}
		assert_int_equal(record_next(reader, &entry), 0);
		assert_false(record_reader_cut(reader));
		record_reader_close(reader);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_older_trace),
		cmocka_unit_test(test_newer_trace),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
