// SPDX-License-Identifier: Apache-2.0
/*
 * Work of a guest at a fixed rate, for the density bench: operations are due at fixed times, and
 * how late each was done counts from when it was due, so that a guest that stands still is seen in
 * all that it missed. Linked statically; prints once a second W DONE OOM LATENCY... operations done
 * so far, OOM kills of this kernel, and microseconds of each one since the last line.
 *
 * usage: work warm                as after days of use: all files read, all free memory used once
 *        work data SEED          64 MiB of made content to standard output, for the reader's device
 *        work web|build|store|reader SEED [DEVICE [SLOWER]]
 *   web      requests to busybox's httpd, for small files
 *   build    Python compiles modules of its library and keeps them, 10 s long, then 10 s nothing
 *   store    records in memory are looked up, and some rewritten: most in the hot quarter
 *   reader   pieces of DEVICE through the page cache: most from its hot quarter
 * SLOWER (1) stretches all of that in time. Contents made here are half random (by SEED) and half
 * text, as much of what programs hold is.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define WEB_TRIES      120 /* seconds */
#define MIB	       (1ul << 20)
#define SEC_US	       1000000ull
#define LINE	       64ul /* of made content */
#define RECORD	       1024ul
#define STORE_BYTES    (80 * MIB)
#define DATA_BYTES     (64 * MIB)
#define PIECE	       (64ul << 10)
#define PATHS_MAX      512
#define BUILD_UNITS    10 /* of a run of the compiler */
#define BUILD_UNIT_US  SEC_US
#define BUILD_CYCLE_US (20 * SEC_US)
#define BUILD_AHEAD_US (2 * SEC_US) /* the compiler starts so long before its first unit */

struct work {
	uint64_t random, seed;
	uint64_t operations;
	uint64_t slower; /* times */
	/* store */
	uint8_t *store;
	/* reader */
	int device;
	uint64_t pieces;
	uint8_t piece[PIECE];
	/* build */
	pid_t compiler;
	FILE *to, *from;
};

struct kind {
	const char *name;
	int (*begin)(struct work *work, const char *device);
	int (*operation)(struct work *work);
	uint64_t period_us; /* 0: as build does */
};

/* Files that a kind uses, found by a walk. */
static char *paths[PATHS_MAX];
static size_t n_paths;

static uint64_t now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * SEC_US + (uint64_t)ts.tv_nsec / 1000u;
}

static void sleep_until(uint64_t at_us)
{
	struct timespec ts = {.tv_sec = (time_t)(at_us / SEC_US),
			      .tv_nsec = (long)(at_us % SEC_US * 1000u)};

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL) == EINTR)
		;
}

/* splitmix64: one step. */
static uint64_t next(uint64_t *state)
{
	uint64_t x = *state += 0x9e3779b97f4a7c15ull;

	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
	return x ^ (x >> 31);
}

/* A number below n, four of five times in the first quarter. */
static uint64_t skewed(struct work *work, uint64_t n)
{
	uint64_t hot = n / 4 ? n / 4 : 1;

	return next(&work->random) % 5 ? next(&work->random) % hot : next(&work->random) % n;
}

static void fill(uint8_t *at, size_t bytes, uint64_t *random)
{
	static const char text[LINE / 2 + 1] = "the quick brown fox jumps over a";

	for (size_t i = 0; i + LINE <= bytes; i += LINE) {
		uint64_t words[LINE / 2 / sizeof(uint64_t)];

		for (size_t k = 0; k < sizeof(words) / sizeof(words[0]); k++)
			words[k] = next(random);
		memcpy(at + i, words, sizeof(words));
		memcpy(at + i + sizeof(words), text, LINE / 2);
	}
}

/* ---- as after days of use ---- */

static int read_file(const char *path, const struct stat *st, int type, struct FTW *where)
{
	static uint8_t buf[PIECE];
	int fd;

	(void)st, (void)where;
	if (type != FTW_F)
		return 0;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	while (fd >= 0 && read(fd, buf, sizeof(buf)) > 0)
		;
	if (fd >= 0)
		close(fd);
	return 0;
}

static uint64_t number_in(const char *path, const char *key)
{
	char line[256];
	uint64_t value = 0;
	FILE *f = fopen(path, "re");

	while (f && fgets(line, sizeof(line), f))
		if (strncmp(line, key, strlen(key)) == 0)
			value = strtoull(line + strlen(key), NULL, 10);
	if (f)
		fclose(f);
	return value;
}

static int warm(void)
{
	uint64_t random = (uint64_t)getpid() << 32 ^ now_us(), free_bytes;
	uint8_t *memory;

	if (nftw("/", read_file, 16, FTW_PHYS | FTW_MOUNT) < 0)
		return -errno;
	/* Some is left, so that nothing is thrown out for it. */
	free_bytes = number_in("/proc/meminfo", "MemFree:") * 1024;
	free_bytes = free_bytes > 16 * MIB ? free_bytes - 16 * MIB : 0;
	memory = mmap(NULL, free_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		return -errno;
	fill(memory, free_bytes, &random);
	munmap(memory, free_bytes);
	return 0;
}

static int write_data(uint64_t seed)
{
	static uint8_t buf[PIECE];

	for (uint64_t i = 0; i < DATA_BYTES / PIECE; i++) {
		fill(buf, sizeof(buf), &seed);
		if (fwrite(buf, 1, sizeof(buf), stdout) != sizeof(buf))
			return -EIO;
	}
	return fflush(stdout) == 0 ? 0 : -EIO;
}

/* ---- web ---- */

static int note_path(const char *path, const struct stat *st, long least, long most)
{
	if (st->st_size >= least && st->st_size <= most && n_paths < PATHS_MAX) {
		paths[n_paths] = strdup(path);
		if (!paths[n_paths])
			return ENOMEM;
		n_paths++;
	}
	return 0;
}

static int note_page(const char *path, const struct stat *st, int type, struct FTW *where)
{
	(void)where;
	return type == FTW_F ? note_path(path, st, 512, 16384) : 0;
}

/* A connection to the server; -errno. */
static int web_connect(void)
{
	struct sockaddr_in to = {.sin_family = AF_INET,
				 .sin_port = htons(80),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), r;

	if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0)
		return fd < 0 ? -errno : fd;
	r = -errno;
	close(fd);
	return r;
}

/* On a host in want the server takes its time to come up. */
static int web_await(void)
{
	int r = -ECONNREFUSED;

	for (int tries = 0; r == -ECONNREFUSED && tries < WEB_TRIES; tries++) {
		sleep(1);
		r = web_connect();
	}
	if (r < 0)
		return r;
	close(r);
	return 0;
}

static int web_begin(struct work *work, const char *device)
{
	pid_t pid;

	(void)work, (void)device;
	if (nftw("/usr/share", note_page, 16, FTW_PHYS | FTW_MOUNT) != 0 || !n_paths)
		return -ENOENT;
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		execl("/usr/bin/busybox", "httpd", "-f", "-p", "127.0.0.1:80", "-h", "/", NULL);
		_exit(127);
	}
	return pid < 0 ? -errno : web_await();
}

static int web_operation(struct work *work)
{
	int fd = web_connect(), r = 0, n;
	const char *path = paths[skewed(work, n_paths)];
	char buf[4096];
	ssize_t got, sum = 0;

	if (fd < 0)
		return fd;
	n = snprintf(buf, sizeof(buf), "GET %s HTTP/1.0\r\n\r\n", path);
	if (write(fd, buf, (size_t)n) != n)
		r = -errno;
	while (r == 0 && (got = read(fd, buf, sizeof(buf))) > 0)
		sum += got;
	close(fd);
	return r < 0 ? r : sum ? 0 : -EPROTO;
}

/* ---- build ---- */

static int note_source(const char *path, const struct stat *st, int type, struct FTW *where)
{
	size_t n = strlen(path);

	(void)where;
	return type == FTW_F && n > 3 && strcmp(path + n - 3, ".py") == 0
		       ? note_path(path, st, 3000, 12000)
		       : 0;
}

static int build_begin(struct work *work, const char *device)
{
	(void)work, (void)device;
	return nftw("/usr/lib", note_source, 16, FTW_PHYS | FTW_MOUNT) != 0 || !n_paths ? -ENOENT
											: 0;
}

static int build_start(struct work *work)
{
	/* 0x400: the tree is kept too, as whole programs are linked. */
	static const char script[] = "import sys\n"
				     "kept = []\n"
				     "for line in sys.stdin:\n"
				     "    text = open(line.strip()).read()\n"
				     "    tree = compile(text, line, 'exec', 0x400)\n"
				     "    kept.append((text, tree, compile(tree, line, 'exec')))\n"
				     "    print('done', flush=True)\n";
	int in[2], out[2];

	if (pipe2(in, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC) < 0)
		return -errno;
	work->compiler = fork();
	if (work->compiler == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(in[0], 0);
		dup2(out[1], 1);
		execl("/usr/bin/python3", "python3", "-I", "-S", "-c", script, NULL);
		_exit(127);
	}
	close(in[0]);
	close(out[1]);
	work->to = fdopen(in[1], "w");
	work->from = fdopen(out[0], "r");
	return work->compiler < 0 || !work->to || !work->from ? -errno : 0;
}

static int build_stop(struct work *work)
{
	int status = 0;

	fclose(work->to);
	fclose(work->from);
	waitpid(work->compiler, &status, 0);
	return status ? -ECHILD : 0;
}

static int build_operation(struct work *work)
{
	char line[16];
	int r = 0;

	fprintf(work->to, "%s\n", paths[next(&work->random) % n_paths]);
	if (fflush(work->to) != 0 || !fgets(line, sizeof(line), work->from))
		r = -EPIPE;
	if (work->operations % BUILD_UNITS == BUILD_UNITS - 1)
		return build_stop(work) < 0 ? -ECHILD : r;
	return r;
}

/* ---- store ---- */

static uint64_t record_key(const struct work *work, uint64_t i)
{
	return i << 20 ^ work->seed;
}

static void record_write(struct work *work, uint64_t i)
{
	uint8_t *record = work->store + i * RECORD;
	uint64_t key = record_key(work, i);

	fill(record, RECORD, &work->random);
	memcpy(record, &key, sizeof(key));
}

static int store_begin(struct work *work, const char *device)
{
	(void)device;
	work->store =
		mmap(NULL, STORE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (work->store == MAP_FAILED)
		return -errno;
	for (uint64_t i = 0; i < STORE_BYTES / RECORD; i++)
		record_write(work, i);
	return 0;
}

static int store_operation(struct work *work)
{
	for (int n = 0; n < 20; n++) {
		uint64_t i = skewed(work, STORE_BYTES / RECORD), key;

		memcpy(&key, work->store + i * RECORD, sizeof(key));
		if (key != record_key(work, i))
			return -EILSEQ;
		if (n % 10 == 0)
			record_write(work, i);
	}
	return 0;
}

/* ---- reader ---- */

static int reader_begin(struct work *work, const char *device)
{
	off_t end;

	work->device = open(device ? device : "", O_RDONLY | O_CLOEXEC);
	end = work->device < 0 ? -1 : lseek(work->device, 0, SEEK_END);
	if (end < (off_t)PIECE)
		return -ENODEV;
	work->pieces = (uint64_t)end / PIECE;
	for (uint64_t i = 0; i < work->pieces; i++)
		if (pread(work->device, work->piece, PIECE, (off_t)(i * PIECE)) != (ssize_t)PIECE)
			return -EIO;
	return 0;
}

static int reader_operation(struct work *work)
{
	off_t at = (off_t)(skewed(work, work->pieces) * PIECE);

	return pread(work->device, work->piece, PIECE, at) == (ssize_t)PIECE ? 0 : -EIO;
}

/* ---- at a fixed rate ---- */

static const struct kind kinds[] = {
	{"web", web_begin, web_operation, SEC_US / 3},
	{"build", build_begin, build_operation, 0},
	{"store", store_begin, store_operation, SEC_US / 10},
	{"reader", reader_begin, reader_operation, SEC_US / 8},
};

static uint64_t due_us(const struct work *work, const struct kind *kind, uint64_t start)
{
	uint64_t n = work->operations, us = n * kind->period_us;

	if (!kind->period_us)
		us = n / BUILD_UNITS * BUILD_CYCLE_US + n % BUILD_UNITS * BUILD_UNIT_US;
	return start + us * work->slower;
}

static int run(struct work *work, const struct kind *kind)
{
	uint64_t start = now_us() + next(&work->random) % SEC_US, told = start;
	char text[4096];
	size_t len = 0;

	if (!kind->period_us)
		start += next(&work->random) % (BUILD_CYCLE_US / 2 * work->slower);
	for (;; work->operations++) {
		uint64_t due = due_us(work, kind, start), end;
		int r = 0;

		if (!kind->period_us && work->operations % BUILD_UNITS == 0) {
			sleep_until(due > BUILD_AHEAD_US ? due - BUILD_AHEAD_US : 0);
			r = build_start(work);
		}
		sleep_until(due);
		if (r == 0)
			r = kind->operation(work);
		if (r < 0)
			return r;
		end = now_us();
		len += (size_t)snprintf(text + len, sizeof(text) - len, " %llu",
					(unsigned long long)(end - due));
		if (end - told < SEC_US && len < sizeof(text) - 32)
			continue;
		printf("W %llu %llu%s\n", (unsigned long long)work->operations + 1,
		       (unsigned long long)number_in("/proc/vmstat", "oom_kill "), text);
		fflush(stdout);
		told = end;
		len = 0;
	}
}

int main(int argc, char **argv)
{
	static struct work work;
	int r = -EINVAL;

	signal(SIGPIPE, SIG_IGN);
	if (argc == 2 && strcmp(argv[1], "warm") == 0) {
		r = warm();
		puts(r < 0 ? "W failed" : "W warm");
		return r < 0;
	}
	if (argc == 3 && strcmp(argv[1], "data") == 0)
		return write_data(strtoull(argv[2], NULL, 10)) < 0;
	for (size_t i = 0; argc >= 3 && i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if (strcmp(argv[1], kinds[i].name) != 0)
			continue;
		work.seed = work.random = strtoull(argv[2], NULL, 10);
		work.slower = argc > 4 ? strtoull(argv[4], NULL, 10) : 1;
		r = kinds[i].begin(&work, argc > 3 ? argv[3] : NULL);
		if (r == 0) {
			puts("W ready");
			fflush(stdout);
			r = run(&work, &kinds[i]);
		}
	}
	printf("W failed: %s\n", strerror(-r));
	return 1;
}
