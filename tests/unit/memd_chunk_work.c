// SPDX-License-Identifier: Apache-2.0
/* Two guests of one trust domain, one found after the other: the chunks that both have are merged
 * of both. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/size.h"
#include "memd/chunk_work.h"
#include "tests/unit/child.h"

#define CHUNKS 6
#define BYTES  (CHUNKS * CHUNK_BYTES)

static struct config config;
static struct guest *both[2];
static struct guests guests = {.config = &config, .v = both};

struct content {
	char *address;
	uint64_t own;
};

/* Chunks 0 to 2 are the same in all children, of others each has its own. */
static bool fill_chunks(void *arg)
{
	const struct content *content = arg;

	for (uint64_t i = 0; i < BYTES / 4096; i++)
		*(uint64_t *)(void *)(content->address + i * 4096) =
			1 + i + (i / CHUNK_PAGES > 2 ? content->own << 32 : 0);
	return true;
}

static struct guest *guest_new(uint64_t id, char *p)
{
	struct guest *guest = calloc(1, sizeof(*guest));
	struct content content = {p, id};

	assert_non_null(guest);
	guest->all = &guests;
	guest->id = id;
	guest->pid = child_new(fill_chunks, &content);
	guest->known = guest->ours = guest->merge_asked = true;
	guest->memory_bytes = BYTES;
	guest->chunks = calloc(1, sizeof(*guest->chunks));
	assert_non_null(guest->chunks);
	guest->chunks->asking = guest->chunks->allowed = true;
	guest->chunks->n_regions = 1;
	guest->chunks->regions[0] = (struct chunk_region){.bytes = BYTES, .address = (uintptr_t)p};
	guest->chunks->n = CHUNKS;
	guest->chunks->on = calloc(CHUNKS, sizeof(bool));
	guests.v[guests.n++] = guest;
	return guest;
}

static void guest_end(struct guest *guest)
{
	child_end(guest->pid);
	chunk_forget(guest);
	free(guest);
}

/* Ticks until the guest has been sampled; at most so long. */
static bool work_until(struct chunk_work *work, const struct guest *guest, uint64_t limit_us)
{
	uint64_t start_us = clock_now_us();

	while (!guest->chunks->sampled && clock_now_us() - start_us < limit_us) {
		struct pollfd fd = {.fd = chunk_work_fd(work), .events = POLLIN};

		chunk_work_begin(work, &guests, 1000000);
		if (poll(&fd, 1, 50) == 1)
			chunk_work_end(work, &guests, GIB);
	}
	return guest->chunks->sampled;
}

static void test_two_guests_of_one_domain(void **state)
{
	AUTO_FD int rootfd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	char *p = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct guest *one, *two;
	struct chunk_work *work;

	(void)state;
	assert_true(p != MAP_FAILED);
	madvise(p, BYTES, MADV_NOHUGEPAGE);
	assert_int_equal(chunk_work_open(rootfd, &work), 0);
	one = guest_new(1, p);
	two = guest_new(2, p);

	/* The second's monitor has not yet told where its chunks lie. */
	one->chunks->ready = true;
	one->chunks->asking = false;
	assert_true(work_until(work, one, 10 * USEC_PER_SEC));
	assert_false(two->chunks->sampled);
	for (size_t i = 0; i < CHUNKS; i++)
		assert_false(one->chunks->on[i]);

	two->chunks->ready = true;
	two->chunks->asking = false;
	assert_true(work_until(work, two, 10 * USEC_PER_SEC));
	for (size_t i = 0; i < CHUNKS; i++) {
		assert_int_equal(one->chunks->on[i], i < 3);
		assert_int_equal(two->chunks->on[i], i < 3);
	}
	assert_true(one->chunks->dirty && two->chunks->dirty);
	/* Of two equal pages one is saved. */
	assert_in_range(one->chunks->expected_bytes + two->chunks->expected_bytes,
			3 * CHUNK_BYTES * 9 / 10, 3 * CHUNK_BYTES * 11 / 10);

	chunk_work_close(work);
	munmap(p, BYTES);
	guest_end(one);
	guest_end(two);
	guests.n = 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_two_guests_of_one_domain),
	};

	return cmocka_run_group_tests_name("memd_chunk_work", tests, NULL, NULL);
}
