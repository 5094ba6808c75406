// SPDX-License-Identifier: Apache-2.0
/* Guests' chunks: regions from a monitor's runs, ranges for it, and choosing by samples. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "common/size.h"
#include "memd/chunk.h"

static struct config config;
static struct guests guests = {.config = &config};

static struct guest *guest_new(uint64_t id)
{
	struct guest *guest = calloc(1, sizeof(*guest));

	guest->all = &guests;
	guest->id = id;
	guest->pid = 100 + (pid_t)id;
	guest->known = guest->ours = guest->merge_asked = true;
	guest->memory_bytes = GIB;
	guest->n_backends = 2;
	snprintf(guest->backends[0].id, sizeof(guest->backends[0].id), "ram0");
	snprintf(guest->backends[1].id, sizeof(guest->backends[1].id), "ram1");
	guest->backends[0].merge = true;
	guest->chunks = calloc(1, sizeof(*guest->chunks));
	guest->chunks->asking = true;
	return guest;
}

static void guest_end(struct guest *guest)
{
	chunk_forget(guest);
	free(guest);
}

static void take(struct guest *guest, const char *text)
{
	AUTO_JSON json_object *value = json_tokener_parse(text);

	assert_non_null(value);
	chunk_take_runs(guest, value);
}

#define RUN(gpa, length, merge, memdev, address)                                          \
	"{\"gpa\":" gpa ",\"length\":" length ",\"merge\":" merge ",\"memdev\":\"" memdev \
	"\",\"host-address\":" address "}"

static void assert_ranges(const struct guest *guest, bool allowed, const char *expected)
{
	AUTO_JSON json_object *ranges = chunk_ranges(guest->chunks, allowed);
	AUTO_JSON json_object *parsed = json_tokener_parse(expected);

	if (!json_object_equal(ranges, parsed))
		fail_msg("%s", json_object_to_json_string(ranges));
}

#define NEW_FIRST  RUN("0", "4194304", "true", "ram0", "1000000000")
#define NEW_SECOND RUN("4194304", "2097152", "true", "ram0", "1004194304")
#define NEW_FAR	   RUN("4294967296", "3145728", "true", "ram0", "2000000000")
#define NEW_OFF	   RUN("8589934592", "2097152", "false", "ram1", "3000000000")
#define NEW_PLUG   "{\"gpa\":10737418240,\"length\":2097152,\"merge\":true}"

/* A new guest: everything is off until its pages have been looked at. */
static void test_new_guest(void **state)
{
	struct guest *guest = guest_new(1);

	(void)state;
	/* The second run joins the first; the third lies elsewhere; ram1 is not merged; the last
	 * has no place: pluggable. The end of RAM is cut short. */
	take(guest,
	     "{\"runs\":[" NEW_FIRST "," NEW_SECOND "," NEW_FAR "," NEW_OFF "," NEW_PLUG "]}");
	assert_true(chunk_is_used(guest));
	assert_int_equal(guest->chunks->n_regions, 2);
	assert_int_equal(guest->chunks->regions[0].bytes, 6 * MIB);
	assert_int_equal(guest->chunks->regions[0].address, 1000000000);
	assert_int_equal(guest->chunks->regions[1].bytes, 3 * MIB);
	assert_int_equal(guest->chunks->n, 5);
	assert_true(guest->chunks->allowed && guest->chunks->dirty);
	assert_ranges(guest, true,
		      "[{\"gpa\":0,\"length\":6291456,\"merge\":false},"
		      "{\"gpa\":4294967296,\"length\":3145728,\"merge\":false}]");
	guest->chunks->on[1] = guest->chunks->on[4] = true;
	assert_ranges(guest, true,
		      "[{\"gpa\":0,\"length\":2097152,\"merge\":false},"
		      "{\"gpa\":2097152,\"length\":2097152,\"merge\":true},"
		      "{\"gpa\":4194304,\"length\":2097152,\"merge\":false},"
		      "{\"gpa\":4294967296,\"length\":2097152,\"merge\":false},"
		      "{\"gpa\":4297064448,\"length\":1048576,\"merge\":true}]");
	/* Not its turn: nothing of it, whatever is chosen. */
	assert_ranges(guest, false,
		      "[{\"gpa\":0,\"length\":6291456,\"merge\":false},"
		      "{\"gpa\":4294967296,\"length\":3145728,\"merge\":false}]");
	guest_end(guest);
}

/* One that was treated so before, or is well merged already, goes on as it is. */
static void test_known_guest(void **state)
{
	(void)state;
	for (int merged = 0; merged < 2; merged++) {
		struct guest *guest = guest_new(1);

		guest->backends[0].ours = !merged;
		guest->foot_valid = true;
		guest->foot.ksm_merging_bytes = merged ? 100 * MIB : 0;
		take(guest, "{\"runs\":[" RUN("0", "2097152", "true", "ram0", "1000") "," RUN(
				    "2097152", "2097152", "false", "ram0", "2098152") "]}");
		assert_true(chunk_is_used(guest));
		assert_int_equal(guest->chunks->n_regions, 1);
		assert_true(guest->chunks->on[0] && !guest->chunks->on[1]);
		assert_false(guest->chunks->dirty);
		guest_end(guest);
	}
}

static void test_guests_that_cannot(void **state)
{
	static const char *const answers[] = {
		"{}",
		"{\"runs\":[]}",
		"{\"runs\":[{}]}",
		"{\"runs\":[{\"gpa\":1,\"length\":2097152}]}",
		"{\"runs\":[{\"gpa\":0,\"length\":0}]}",
		"{\"runs\":[{\"gpa\":0,\"length\":18446744073709551615}]}",
		"{\"runs\":[" RUN("0", "2097152", "true", "ram1", "1000") "]}",
		/* More than it was promised, in one run and in two. */
		"{\"runs\":[" RUN("0", "70368744177664", "true", "ram0", "1000") "]}",
		"{\"runs\":[" RUN("0", "1073741824", "true", "ram0",
				  "1000") "," RUN("0", "1073741824", "true", "ram0", "1000") "]}",
		/* The same over again. */
		"{\"runs\":[" RUN("0", "2097152", "true", "ram0", "1000") "],\"next-gpa\":0}",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
		struct guest *guest = guest_new(1);

		take(guest, answers[i]);
		assert_false(chunk_is_used(guest));
		assert_true(guest->chunks->failed);
		guest_end(guest);
	}
	{
		struct guest *guest = guest_new(1);

		chunk_take_runs(guest, NULL); /* refused */
		assert_true(guest->chunks->failed);
		chunk_take_runs(guest, NULL); /* what nobody asked */
		guest_end(guest);
	}
}

/* A guest whose last chunks are cut short is within what it was promised. */
static void test_as_promised(void **state)
{
	struct guest *guest = guest_new(1);

	(void)state;
	take(guest, "{\"runs\":[" RUN("0", "1072693248", "true", "ram0", "1000") "," RUN(
			    "4294967296", "1048576", "true", "ram0", "2000000000") "]}");
	assert_true(chunk_is_used(guest));
	assert_int_equal(guest->chunks->n, 513);
	guest_end(guest);
}

static struct guest *ready(uint64_t id, size_t chunks)
{
	struct guest *guest = guest_new(id);

	guest->chunks->asking = false;
	guest->chunks->ready = guest->chunks->allowed = true;
	guest->chunks->n_regions = 1;
	guest->chunks->regions[0] =
		(struct chunk_region){.bytes = chunks * CHUNK_BYTES, .address = 4096};
	guest->chunks->n = chunks;
	guest->chunks->on = calloc(chunks, sizeof(bool));
	return guest;
}

static void add(struct guest *guest)
{
	static struct guest *slots[8];

	assert_true(guests.n < ARRAY_SIZE(slots));
	guests.v = slots;
	guests.v[guests.n++] = guest;
}

static void end_all(void)
{
	for (size_t i = 0; i < guests.n; i++)
		guest_end(guests.v[i]);
	guests.v = NULL;
	guests.n = 0;
}

static void test_targets(void **state)
{
	struct chunk_target targets[5];
	enum chunk_due due;

	(void)state;
	add(ready(1, 4));
	add(guest_new(2)); /* merged as a whole */
	add(guest_new(3)); /* not merged at all */
	guests.v[2]->merge_asked = false;
	guests.v[1]->chunks->asking = false;
	guests.v[1]->chunks->failed = true;
	add(guest_new(4)); /* has not yet told where its chunks are */
	assert_int_equal(chunk_targets(&guests, targets, &due), 2);
	assert_int_equal(due, CHUNK_DUE_NEW);
	assert_true(targets[0].again);
	assert_false(targets[1].again);
	assert_false(targets[0].whole);
	assert_int_equal(chunk_count(&targets[0]), 4);
	assert_true(targets[1].whole);
	assert_int_equal(chunk_count(&targets[1]), 0);
	assert_int_equal(targets[1].pid, 102);
	/* Sampled, and then grown. */
	guests.v[0]->chunks->sampled = true;
	guests.v[0]->chunks->sampled_bytes = 500 * MIB;
	guests.v[0]->foot_valid = true;
	guests.v[0]->foot.resident_bytes = 580 * MIB;
	chunk_targets(&guests, targets, &due);
	assert_int_equal(due, CHUNK_DUE_NONE);
	assert_false(targets[0].again);
	guests.v[0]->foot.resident_bytes = 600 * MIB;
	chunk_targets(&guests, targets, &due);
	assert_int_equal(due, CHUNK_DUE_GROWN);
	assert_true(targets[0].again);
	end_all();
}

static void set(struct chunk_score *score, unsigned int pages)
{
	*score = (struct chunk_score){.gain = (uint16_t)(16 * pages), .present = CHUNK_PAGES};
}

/* The dense chunks of each domain are chosen, whatever those of the other bring. */
static void test_choosing(void **state)
{
	struct config_guest section = {.name = "b", .domain = "x", .domain_number = 1};
	struct chunk_score scores[8];
	struct chunk_samples samples = {.scores = scores, .n = 8};
	struct chunk_target targets[4];
	enum chunk_due due;
	size_t n;

	(void)state;
	config.guests = &section;
	config.n_guests = 1;
	add(ready(1, 4));
	add(guest_new(2));
	guests.v[1]->chunks->asking = false;
	guests.v[1]->chunks->failed = true;
	add(ready(3, 4));
	snprintf(guests.v[2]->name, sizeof(guests.v[2]->name), "b");
	n = chunk_targets(&guests, targets, &due);
	assert_int_equal(n, 3);
	for (size_t i = 0; i < 8; i++)
		set(&scores[i], 2);
	set(&scores[1], 400);
	set(&scores[6], 40);
	assert_int_equal(chunk_update(&guests, targets, n, &samples, GIB), 0);
	for (size_t i = 0; i < 4; i++) {
		assert_int_equal(guests.v[0]->chunks->on[i], i == 1);
		assert_int_equal(guests.v[2]->chunks->on[i], i == 2);
	}
	assert_true(guests.v[0]->chunks->dirty && guests.v[0]->chunks->sampled);
	assert_int_equal(guests.v[0]->chunks->expected_bytes, 400 * 4 * KIB);
	assert_int_equal(guests.v[0]->chunks->all_bytes, 406 * 4 * KIB);

	/* The same again is no news; another chunk is; one that would not fit unmerged stays. */
	guests.v[0]->chunks->dirty = false;
	chunk_update(&guests, targets, n, &samples, GIB);
	assert_false(guests.v[0]->chunks->dirty);
	set(&scores[1], 0);
	set(&scores[3], 300);
	chunk_update(&guests, targets, n, &samples, MIB);
	assert_true(guests.v[0]->chunks->on[1] && guests.v[0]->chunks->on[3]);
	chunk_update(&guests, targets, n, &samples, 2 * MIB);
	assert_true(!guests.v[0]->chunks->on[1] && guests.v[0]->chunks->on[3]);

	/* Only what has been read now is known to be of now. */
	guests.v[0]->foot_valid = true;
	guests.v[0]->foot.resident_bytes = 500 * MIB;
	targets[0].again = false;
	chunk_update(&guests, targets, n, &samples, GIB);
	assert_int_equal(guests.v[0]->chunks->sampled_bytes, 0);
	targets[0].again = true;
	chunk_update(&guests, targets, n, &samples, GIB);
	assert_int_equal(guests.v[0]->chunks->sampled_bytes, 500 * MIB);

	/* Samples of what has changed meanwhile are not for it. */
	guests.v[0]->chunks->n = 3;
	set(&scores[3], 0);
	chunk_update(&guests, targets, n, &samples, GIB);
	assert_false(guests.v[0]->chunks->on[0]);
	end_all();
	config.n_guests = 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_new_guest),
		cmocka_unit_test(test_known_guest),
		cmocka_unit_test(test_guests_that_cannot),
		cmocka_unit_test(test_as_promised),
		cmocka_unit_test(test_targets),
		cmocka_unit_test(test_choosing),
	};

	return cmocka_run_group_tests_name("memd_chunk", tests, NULL, NULL);
}
