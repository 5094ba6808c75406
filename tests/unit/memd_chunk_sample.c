// SPDX-License-Identifier: Apache-2.0
/* Fingerprints of real processes' memory: what is equal, what is not, and what is not there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/kfile.h"
#include "memd/chunk_sample.h"
#include "tests/unit/child.h"

#define CHUNKS 8
#define BYTES  (CHUNKS * CHUNK_BYTES)
#define PAGES  (BYTES / 4096)
/* Of these the first hold something. */
#define WRITTEN 6

static atomic_bool no;

/* Every word of a page is a function of value, so that pages of the same value are equal. */
static void fill(uint64_t *page, uint64_t value)
{
	for (size_t i = 0; i < 512; i++)
		page[i] = (value + 1) * 0x9e3779b97f4a7c15ull ^ i * 0xbf58476d1ce4e5b9ull;
}

struct content {
	char *address;
	uint64_t own;
};

/*
 * A child with memory at address: chunk 0 is shared by all, chunk 1 half shared, chunk 2 its own,
 * chunk 3 zeroes that were written, chunk 4 one of 32 shared, chunk 5 one content over and over,
 * which others have too, chunks 6 and 7 never touched.
 */
static bool fill_chunks(void *arg)
{
	const struct content *content = arg;

	for (size_t i = 0; i < WRITTEN * CHUNK_PAGES; i++) {
		uint64_t *page = (uint64_t *)(void *)(content->address + i * 4096);
		size_t chunk = i / CHUNK_PAGES;

		if (chunk == 0 || (chunk == 1 && i % 2) || (chunk == 4 && i % 32 == 0))
			fill(page, i);
		else if (chunk == 3)
			memset(page, 0, 4096);
		else if (chunk == 5)
			fill(page, 1 << 30);
		else
			fill(page, content->own + i);
	}
	return true;
}

static pid_t child(void *address, uint64_t own)
{
	struct content content = {address, own};

	return child_new(fill_chunks, &content);
}

static void *memory(void)
{
	char *p = mmap(NULL, BYTES + CHUNK_BYTES, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	assert_true(p != MAP_FAILED);
	p = (char *)(((uintptr_t)p + CHUNK_BYTES - 1) / CHUNK_BYTES * CHUNK_BYTES);
	madvise(p, BYTES, MADV_NOHUGEPAGE);
	return p;
}

static struct chunk_target target(pid_t pid, void *address, uint32_t domain)
{
	return (struct chunk_target){
		.id = (uint64_t)pid,
		.pid = pid,
		.domain = domain,
		.regions = {{.gpa = 0, .bytes = BYTES, .address = (uintptr_t)address}},
		.n_regions = 1,
	};
}

/* Pages of gain are within a fifth, and a tenth of a chunk, of what is expected. */
static void assert_gain(const struct chunk_score *score, unsigned int pages)
{
	unsigned int got = score->gain / 16, slack = pages / 5 + CHUNK_PAGES / 10;

	if (got + slack < pages || got > pages + slack)
		fail_msg("%u pages, expected about %u", got, pages);
}

static struct chunk_samples sample(const struct chunk_target *targets, size_t n)
{
	AUTO_FD int rootfd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct chunk_prints *prints = chunk_prints_new();
	struct chunk_samples samples;

	assert_non_null(prints);
	chunk_sample(rootfd, targets, n, 1000000, &no, prints, &samples);
	chunk_prints_free(prints);
	return samples;
}

static void test_equal_content_is_found(void **state)
{
	void *p = memory();
	pid_t a = child(p, 1 << 20), b = child(p, 2 << 20);
	struct chunk_target targets[] = {target(a, p, 0), target(b, p, 0)};
	struct chunk_samples samples = sample(targets, 2);

	(void)state;
	assert_int_equal(samples.error, 0);
	assert_int_equal(samples.n, 2 * CHUNKS);
	assert_int_equal(samples.pages, 2 * WRITTEN * CHUNK_PAGES);
	assert_int_equal(samples.zeroes, 2 * CHUNK_PAGES);
	for (size_t i = 0; i < 2; i++) {
		const struct chunk_score *score = samples.scores + i * CHUNKS;

		assert_gain(&score[0], CHUNK_PAGES / 2); /* of two equal pages one is saved */
		assert_gain(&score[1], CHUNK_PAGES / 4);
		assert_int_equal(score[2].gain, 0);
		assert_int_equal(score[3].gain, CHUNK_PAGES * 16);
		assert_gain(&score[4], CHUNK_PAGES / 64);
		assert_int_equal(score[4].present, CHUNK_PAGES);
		assert_in_range(score[5].gain, (CHUNK_PAGES - 8) * 16, CHUNK_PAGES * 16);
		assert_int_equal(score[6].present, 0);
		assert_int_equal(score[6].gain, 0);
	}
	chunk_samples_free(&samples);
	child_end(a);
	child_end(b);
}

static void test_domains_are_not_compared(void **state)
{
	void *p = memory();
	pid_t a = child(p, 1 << 20), b = child(p, 2 << 20);
	struct chunk_target targets[] = {target(a, p, 0), target(b, p, 1)};
	struct chunk_samples samples = sample(targets, 2);

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		assert_int_equal(samples.scores[i * CHUNKS].gain, 0);
		assert_int_equal(samples.scores[i * CHUNKS + 1].gain, 0);
	}
	chunk_samples_free(&samples);
	child_end(a);
	child_end(b);
}

/* The third's content makes more of the others' worth it, but it has no chunks itself. */
static void test_content_of_one_that_is_merged_whole(void **state)
{
	void *p = memory();
	pid_t a = child(p, 1 << 20), b = child(p, 2 << 20);
	struct chunk_target targets[] = {target(a, p, 0), target(b, p, 0)};
	struct chunk_samples samples;

	(void)state;
	targets[1].whole = true;
	targets[1].whole_bytes = 64 << 20;
	samples = sample(targets, 2);
	assert_int_equal(samples.error, 0);
	assert_int_equal(samples.n, CHUNKS);
	assert_gain(&samples.scores[0], CHUNK_PAGES / 2);
	assert_int_equal(samples.scores[2].gain, 0);
	chunk_samples_free(&samples);
	child_end(a);
	child_end(b);
}

/* Looking at absent pages does not make them. */
static void test_nothing_is_touched(void **state)
{
	void *p = memory();
	pid_t a = child(p, 1 << 20);
	struct chunk_target one = target(a, p, 0);
	struct chunk_samples samples = sample(&one, 1);

	(void)state;
	assert_int_equal(samples.pages, WRITTEN * CHUNK_PAGES);
	chunk_samples_free(&samples);
	samples = sample(&one, 1);
	assert_int_equal(samples.pages, WRITTEN * CHUNK_PAGES);
	chunk_samples_free(&samples);
	child_end(a);
	/* And of a process that is gone there is nothing. */
	samples = sample(&one, 1);
	assert_int_equal(samples.error, 0);
	assert_int_equal(samples.pages, 0);
	chunk_samples_free(&samples);
}

static void test_cancelled(void **state)
{
	AUTO_FD int rootfd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	void *p = memory();
	pid_t a = child(p, 1 << 20);
	struct chunk_target one = target(a, p, 0);
	struct chunk_prints *prints = chunk_prints_new();
	atomic_bool yes = true;
	struct chunk_samples samples;

	(void)state;
	chunk_sample(rootfd, &one, 1, 1000000, &yes, prints, &samples);
	assert_int_equal(samples.error, -ECANCELED);
	assert_true(samples.pages <= CHUNK_PAGES);
	chunk_samples_free(&samples);
	/* The part that was read is not taken for the whole. */
	chunk_sample(rootfd, &one, 1, 1000000, &no, prints, &samples);
	assert_int_equal(samples.pages, WRITTEN * CHUNK_PAGES);
	chunk_samples_free(&samples);
	chunk_prints_free(prints);
	child_end(a);
}

/* A guest that comes later is compared with those known, and it alone is read. */
static void test_what_is_known_is_not_read(void **state)
{
	AUTO_FD int rootfd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	void *p = memory();
	pid_t a = child(p, 1 << 20), b = child(p, 2 << 20);
	struct chunk_target targets[] = {target(a, p, 0), target(b, p, 0)};
	struct chunk_prints *prints = chunk_prints_new();
	struct chunk_samples samples;

	(void)state;
	chunk_sample(rootfd, targets, 1, 1000000, &no, prints, &samples);
	assert_int_equal(samples.scores[0].gain, 0);
	assert_int_equal(samples.pages, WRITTEN * CHUNK_PAGES);
	chunk_samples_free(&samples);
	chunk_sample(rootfd, targets, 2, 1000000, &no, prints, &samples);
	assert_int_equal(samples.pages, WRITTEN * CHUNK_PAGES);
	assert_true(samples.all_cpu_us > 0);
	for (size_t i = 0; i < 2; i++) {
		assert_gain(&samples.scores[i * CHUNKS], CHUNK_PAGES / 2);
		assert_int_equal(samples.scores[i * CHUNKS + 2].gain, 0);
		assert_int_equal(samples.scores[i * CHUNKS + 3].gain, CHUNK_PAGES * 16);
	}
	chunk_samples_free(&samples);
	/* Asked to, it is read again; who is not there any more is forgotten. */
	targets[1].again = true;
	chunk_sample(rootfd, targets + 1, 1, 1000000, &no, prints, &samples);
	assert_int_equal(samples.pages, WRITTEN * CHUNK_PAGES);
	assert_int_equal(samples.scores[0].gain, 0);
	chunk_samples_free(&samples);
	chunk_prints_free(prints);
	child_end(a);
	child_end(b);
}

/* One in 2048 hashes of a large host's: contents that a guest is full of are seen all the same. */
static void test_frequent_contents(void **state)
{
	void *p = memory();
	pid_t a = child(p, 1 << 20);
	struct chunk_target targets[] = {target(a, p, 0), {.id = 1, .pid = -1, .whole = true}};
	struct chunk_samples samples;

	(void)state;
	targets[1].whole_bytes = (1ull << 44) - BYTES;
	samples = sample(targets, 2);
	assert_int_equal(samples.error, 0);
	assert_int_equal(samples.rate, 2048);
	assert_in_range(samples.frequent, CHUNK_PAGES * 3 / 4, CHUNK_PAGES);
	assert_in_range(samples.scores[5].gain, CHUNK_PAGES * 12, CHUNK_PAGES * 16);
	assert_int_equal(samples.scores[2].gain, 0);
	chunk_samples_free(&samples);
	child_end(a);
}

static bool no_change(void *arg)
{
	(void)arg;
	return true;
}

/*
 * Reading a page that several processes map leaves it so. Here they are a parent's and its
 * child's, which the kernel treats like those merged by KSM.
 */
static void test_shared_pages_stay_shared(void **state)
{
	char *p = memory();
	struct chunk_samples samples;
	struct chunk_target one;
	pid_t pid;

	(void)state;
	for (size_t i = 0; i < PAGES; i++)
		fill((uint64_t *)(void *)(p + i * 4096), i);
	pid = child_new(no_change, NULL);
	one = target(pid, p, 0);
	assert_true(child_rollup(pid, "Shared_Dirty") >= BYTES);
	samples = sample(&one, 1);
	assert_int_equal(samples.pages, PAGES);
	chunk_samples_free(&samples);
	assert_true(child_rollup(pid, "Shared_Dirty") >= BYTES);
	child_end(pid);
}

/* A tenth of a processor is a tenth. */
static void test_budget(void **state)
{
	AUTO_FD int rootfd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	void *p = memory();
	pid_t a = child(p, 1 << 20);
	struct chunk_target one = target(a, p, 0);
	struct chunk_prints *prints = chunk_prints_new();
	struct chunk_samples samples;

	(void)state;
	chunk_sample(rootfd, &one, 1, 100000, &no, prints, &samples);
	chunk_prints_free(prints);
	assert_int_equal(samples.error, 0);
	assert_true(samples.wall_us * 11 / 100 >= samples.cpu_us);
	print_message("             %llu pages in %llu us of CPU time\n",
		      (unsigned long long)samples.pages, (unsigned long long)samples.cpu_us);
	chunk_samples_free(&samples);
	child_end(a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_equal_content_is_found),
		cmocka_unit_test(test_domains_are_not_compared),
		cmocka_unit_test(test_content_of_one_that_is_merged_whole),
		cmocka_unit_test(test_nothing_is_touched),
		cmocka_unit_test(test_what_is_known_is_not_read),
		cmocka_unit_test(test_frequent_contents),
		cmocka_unit_test(test_shared_pages_stay_shared),
		cmocka_unit_test(test_cancelled),
		cmocka_unit_test(test_budget),
	};

	return cmocka_run_group_tests_name("memd_chunk_sample", tests, NULL, NULL);
}
