// SPDX-License-Identifier: Apache-2.0
/*
 * memhog: fills memory inside a guest with content that can be neither compressed nor merged,
 * keeps it, checks it again and gives it back. Every 64-bit word is a function of (seed, index),
 * so that a page that was lost, swapped wrongly or merged wrongly is found and named. With --dup
 * all pages carry the same content and with --zero they are zero: food for page merging.
 * Linked statically; used from a guest's shell. Each step prints one line with its speed.
 */
#include <errno.h>
#include <getopt.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define PAGE_BYTES 4096ul
#define PAGE_WORDS (PAGE_BYTES / sizeof(uint64_t))

enum content { CONTENT_UNIQUE, CONTENT_DUP, CONTENT_ZERO };

struct hog {
	uint64_t *mem;
	size_t bytes;
	uint64_t seed;
	enum content content;
};

static void print_usage(FILE *to)
{
	fputs("usage: memhog [OPTION...] SIZE\n"
	      "  SIZE          bytes, or with K, M, G\n"
	      "  --seed N      content is a function of N (default: this process's pid)\n"
	      "  --dup         every page has the same content\n"
	      "  --zero        every page is zero (and touched)\n"
	      "  --rate MIB    fill at most this many MiB per second\n"
	      "  --touch SEC   then write one word of each page, over and over, for SEC seconds\n"
	      "  --hold SEC    then hold the memory for SEC seconds; -1 holds until killed\n"
	      "  --check       then check every word; exit 1 at the first that is wrong\n"
	      "  --free        then give the memory back to the kernel\n"
	      "  --linger SEC  then stay for SEC seconds; -1 stays until killed\n",
	      to);
}

static uint64_t clock_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000u + (uint64_t)ts.tv_nsec / 1000u;
}

/* splitmix64's finaliser: cheap, and neighbouring inputs share nothing. */
static uint64_t mix(uint64_t x)
{
	x += 0x9e3779b97f4a7c15u;
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
	return x ^ (x >> 31);
}

static uint64_t hog_word(const struct hog *hog, size_t page, size_t word)
{
	switch (hog->content) {
	case CONTENT_ZERO:
		return 0;
	case CONTENT_DUP:
		return mix(hog->seed ^ word);
	case CONTENT_UNIQUE:
		break;
	}
	return mix(hog->seed + page * PAGE_WORDS + word);
}

static void report(const char *step, size_t bytes, uint64_t us)
{
	double mib = (double)bytes / 1048576.0;

	printf("memhog: %s %.0f MiB in %.3f s, %.1f MiB/s\n", step, mib, (double)us / 1e6,
	       us ? mib * 1e6 / (double)us : 0.0);
	fflush(stdout);
}

static void hog_fill(struct hog *hog, uint64_t mib_per_s)
{
	uint64_t start = clock_us();
	size_t pages = hog->bytes / PAGE_BYTES;

	for (size_t page = 0; page < pages; page++) {
		/* volatile: zeroes too must be written, not left to fresh memory. */
		volatile uint64_t *to = hog->mem + page * PAGE_WORDS;

		for (size_t word = 0; word < PAGE_WORDS; word++)
			to[word] = hog_word(hog, page, word);
		if (mib_per_s && page % 256 == 255) {
			uint64_t due = start + (page / 256 + 1) * 1000000u / mib_per_s;
			uint64_t now = clock_us();

			if (due > now)
				usleep((useconds_t)(due - now));
		}
	}
	report("filled", hog->bytes, clock_us() - start);
}

/* Keeps the pages dirty and hot without changing what they hold. */
static void hog_touch(struct hog *hog, long seconds)
{
	uint64_t start = clock_us(), end = start + (uint64_t)seconds * 1000000u;
	size_t pages = hog->bytes / PAGE_BYTES, touched = 0;

	while (clock_us() < end) {
		for (size_t page = 0; page < pages && (page % 1024 || clock_us() < end); page++) {
			volatile uint64_t *to = hog->mem + page * PAGE_WORDS;

			*to = hog_word(hog, page, 0);
			touched++;
		}
	}
	report("touched", touched * PAGE_BYTES, clock_us() - start);
}

static int hog_check(const struct hog *hog)
{
	uint64_t start = clock_us();
	size_t pages = hog->bytes / PAGE_BYTES;

	for (size_t page = 0; page < pages; page++) {
		for (size_t word = 0; word < PAGE_WORDS; word++) {
			uint64_t want = hog_word(hog, page, word);
			uint64_t have = hog->mem[page * PAGE_WORDS + word];

			if (want != have) {
				printf("memhog: WRONG page %zu word %zu: %016llx, expected "
				       "%016llx\n",
				       page, word, (unsigned long long)have,
				       (unsigned long long)want);
				fflush(stdout);
				return 1;
			}
		}
	}
	report("checked", hog->bytes, clock_us() - start);
	return 0;
}

static void linger(long seconds)
{
	if (seconds < 0)
		for (;;)
			pause();
	while (seconds > 0)
		seconds = (long)sleep((unsigned int)seconds);
}

/* Reads a number with an optional K, M or G into *ret_value; -EINVAL when it is not one. */
static int parse_size(const char *text, size_t *ret_value)
{
	static const char units[] = "KMG";
	unsigned long long value;
	const char *unit;
	int shift = 0;
	char *end;

	errno = 0;
	value = strtoull(text, &end, 10);
	if (errno || end == text || *text == '-')
		return -EINVAL;
	if (*end) {
		unit = strchr(units, *end);
		if (!unit || end[1])
			return -EINVAL;
		shift = 10 * (int)(unit - units + 1);
	}
	if (!value || value > SIZE_MAX >> shift)
		return -EINVAL;
	*ret_value = (size_t)value << shift;
	return 0;
}

static int parse_seconds(const char *text, long *ret_value)
{
	char *end;
	long value;

	errno = 0;
	value = strtol(text, &end, 10);
	if (errno || end == text || *end || value < -1)
		return -EINVAL;
	*ret_value = value;
	return 0;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"seed", required_argument, NULL, 's'},
		{"dup", no_argument, NULL, 'd'},
		{"zero", no_argument, NULL, 'z'},
		{"rate", required_argument, NULL, 'r'},
		{"touch", required_argument, NULL, 't'},
		{"hold", required_argument, NULL, 'h'},
		{"check", no_argument, NULL, 'c'},
		{"free", no_argument, NULL, 'f'},
		{"linger", required_argument, NULL, 'l'},
		{"help", no_argument, NULL, '?'},
		{NULL, 0, NULL, 0},
	};
	struct hog hog = {.seed = (uint64_t)getpid() << 40};
	long touch_s = 0, hold_s = 0, linger_s = 0;
	int check = 0, give_back = 0, opt;
	size_t rate = 0, seed;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		int err = 0;

		switch (opt) {
		case 's':
			/* Far apart, so that two seeds never share a page. */
			err = strcmp(optarg, "0") ? parse_size(optarg, &seed) : (seed = 0, 0);
			hog.seed = mix(err ? 0 : seed);
			break;
		case 'd':
			hog.content = CONTENT_DUP;
			break;
		case 'z':
			hog.content = CONTENT_ZERO;
			break;
		case 'r':
			err = parse_size(optarg, &rate);
			break;
		case 't':
			err = parse_seconds(optarg, &touch_s);
			break;
		case 'h':
			err = parse_seconds(optarg, &hold_s);
			break;
		case 'c':
			check = 1;
			break;
		case 'f':
			give_back = 1;
			break;
		case 'l':
			err = parse_seconds(optarg, &linger_s);
			break;
		default:
			print_usage(stderr);
			return 2;
		}
		if (err) {
			fprintf(stderr, "memhog: --%s: '%s' is not a number it takes\n",
				opt == 's'   ? "seed"
				: opt == 'r' ? "rate"
				: opt == 't' ? "touch"
				: opt == 'h' ? "hold"
					     : "linger",
				optarg);
			return 2;
		}
	}
	if (argc - optind != 1 || parse_size(argv[optind], &hog.bytes)) {
		print_usage(stderr);
		return 2;
	}
	hog.bytes = (hog.bytes + PAGE_BYTES - 1) & ~(PAGE_BYTES - 1);
	hog.mem = mmap(NULL, hog.bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (hog.mem == MAP_FAILED) {
		fprintf(stderr, "memhog: %zu bytes: %s\n", hog.bytes, strerror(errno));
		return 1;
	}

	hog_fill(&hog, rate);
	if (touch_s > 0)
		hog_touch(&hog, touch_s);
	linger(hold_s);
	if (check && hog_check(&hog))
		return 1;
	if (give_back) {
		uint64_t start = clock_us();

		munmap(hog.mem, hog.bytes);
		report("freed", hog.bytes, clock_us() - start);
		linger(linger_s);
	}
	return 0;
}
