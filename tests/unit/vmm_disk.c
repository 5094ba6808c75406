// SPDX-License-Identifier: Apache-2.0
/* Disk images of the host: what is taken, locks between processes, transfers and holes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "vmm/disk.h"

#define IMAGE_BYTES (4UL << 20)

static char dir[64], path[128];
static char said[4096];

static void image_make(off_t size)
{
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, size), 0);
	close(fd);
}

static int setup_in(const char *base)
{
	snprintf(dir, sizeof(dir), "%s/memd-disk-XXXXXX", base);
	if (!mkdtemp(dir))
		return -1;
	snprintf(path, sizeof(path), "%s/image", dir);
	image_make(IMAGE_BYTES);
	return 0;
}

static int setup(void **state)
{
	return setup_in("/tmp");
}

static int setup_shm(void **state)
{
	return setup_in("/dev/shm");
}

static int teardown(void **state)
{
	unlink(path);
	return rmdir(dir);
}

static int open_image(const char *file, bool readonly, bool discard, struct disk **ret_disk)
{
	struct disk_config config = {.readonly = readonly, .discard = discard};
	int saved = dup(2), r;
	FILE *f = tmpfile();
	size_t n;

	snprintf(config.path, sizeof(config.path), "%s", file);
	dup2(fileno(f), 2);
	r = disk_open(&config, ret_disk);
	dup2(saved, 2);
	close(saved);
	rewind(f);
	n = fread(said, 1, sizeof(said) - 1, f);
	said[n] = '\0';
	fclose(f);
	return r;
}

static struct disk *opened(bool readonly, bool discard)
{
	struct disk *disk = NULL;

	if (open_image(path, readonly, discard, &disk))
		fail_msg("refused: %s", said);
	return disk;
}

static void refused(const char *file, int err, const char *message)
{
	struct disk *disk = NULL;

	assert_int_equal(open_image(file, false, true, &disk), err);
	assert_null(disk);
	if (!strstr(said, message))
		fail_msg("'%s' is not in: %s", message, said);
}

static void what_is_no_image(void **state)
{
	char other[160];

	snprintf(other, sizeof(other), "%s/none", dir);
	refused(other, -ENOENT, other);
	refused(dir, -EISDIR, "directory");
	refused("/dev/null", -EINVAL, "neither a file nor a block device");
	assert_int_equal(mkfifo(other, 0600), 0);
	refused(other, -EINVAL, "neither");
	unlink(other);
	image_make(511);
	refused(path, -EINVAL, "truncate -s");
}

static void sizes(void **state)
{
	struct disk *disk = opened(false, true);

	assert_int_equal(disk_size_bytes(disk), IMAGE_BYTES);
	assert_int_equal(disk_block_bytes(disk), 512);
	assert_int_equal(disk_physical_block_bytes(disk), 4096);
	assert_int_equal(disk_allocated_bytes(disk), 0);
	assert_string_equal(said, "");
	disk_close(disk);
	image_make(1000);
	disk = opened(false, true);
	assert_int_equal(disk_size_bytes(disk), 512);
	assert_non_null(strstr(said, "fill no sector"));
	disk_close(disk);
	disk_close(NULL);
}

/* ---- locks ---- */

static void locks(void **state)
{
	struct disk *writer = opened(false, true), *other = NULL, *reader;

	refused(path, -EBUSY, "in use");
	assert_int_equal(open_image(path, true, true, &other), -EBUSY);
	assert_non_null(strstr(said, "which writes to it"));
	disk_close(writer);
	reader = opened(true, true);
	other = opened(true, true);
	refused(path, -EBUSY, "readonly=on");
	disk_close(reader);
	refused(path, -EBUSY, "readonly=on");
	disk_close(other);
	disk_close(opened(false, true));
}

/* The process that has it is named. */
static void lock_of_another_process(void **state)
{
	char byte, name[64];
	int up[2];
	pid_t child;

	assert_int_equal(pipe(up), 0);
	child = fork();
	if (child == 0) {
		struct disk *disk = opened(false, true);

		if (write(up[1], disk ? "y" : "n", 1) == 1)
			pause();
		_exit(0);
	}
	assert_int_equal(read(up[0], &byte, 1), 1);
	assert_int_equal(byte, 'y');
	snprintf(name, sizeof(name), "by process %d (", child);
	refused(path, -EBUSY, name);
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	disk_close(opened(false, true));
	close(up[0]);
	close(up[1]);
}

/* QEMU's layout: what it locks as a writer keeps us out, and the other way round. */
static void locks_of_qemu(void **state)
{
	AUTO_FD int fd = open(path, O_RDWR | O_CLOEXEC);
	struct flock used = {.l_type = F_RDLCK, .l_start = 101, .l_len = 1};
	struct flock kept = {.l_type = F_RDLCK, .l_start = 201, .l_len = 1};
	struct flock look = {.l_type = F_WRLCK, .l_start = 201, .l_len = 1};
	struct disk *disk;

	assert_int_equal(fcntl(fd, F_OFD_SETLK, &used), 0); /* "I write" */
	refused(path, -EBUSY, "in use");
	used.l_type = F_UNLCK;
	assert_int_equal(fcntl(fd, F_OFD_SETLK, &used), 0);
	assert_int_equal(fcntl(fd, F_OFD_SETLK, &kept), 0); /* "nobody else writes" */
	refused(path, -EBUSY, "in use");
	disk_close(opened(true, true));
	kept.l_type = F_UNLCK;
	assert_int_equal(fcntl(fd, F_OFD_SETLK, &kept), 0);
	disk = opened(false, true);
	assert_int_equal(fcntl(fd, F_OFD_GETLK, &look), 0);
	assert_int_equal(look.l_type, F_RDLCK);
	disk_close(disk);
}

/* ---- content ---- */

static int io(struct disk *disk, bool write, void *data, size_t len, uint64_t at)
{
	/* In three pieces, one of them empty. */
	struct iovec iov[3] = {{data, len / 3}, {data, 0}, {(char *)data + len / 3, len - len / 3}};

	return write ? disk_write(disk, iov, 3, at) : disk_read(disk, iov, 3, at);
}

static void transfers(void **state)
{
	struct disk *disk = opened(false, true);
	static uint8_t out[8192], in[8192];
	struct iovec none = {out, 0};

	for (size_t i = 0; i < sizeof(out); i++)
		out[i] = (uint8_t)(i * 13 + 1);
	assert_int_equal(io(disk, true, out, sizeof(out), IMAGE_BYTES - sizeof(out)), 0);
	assert_int_equal(io(disk, false, in, sizeof(in), IMAGE_BYTES - sizeof(in)), 0);
	assert_memory_equal(in, out, sizeof(in));
	assert_int_equal(disk_flush(disk), 0);
	assert_int_equal(disk_read(disk, &none, 1, IMAGE_BYTES), 0);
	assert_int_equal(disk_read(disk, NULL, 0, 0), 0);
	assert_true(disk_allocated_bytes(disk) >= sizeof(out));
	/* Somebody cut it off behind our back. */
	assert_int_equal(truncate(path, 4096), 0);
	assert_int_equal(io(disk, false, in, 4096, 2048), -EIO);
	disk_close(disk);
}

static void readonly(void **state)
{
	struct disk *disk = opened(true, true);
	uint8_t data[512] = {1};

	assert_int_equal(io(disk, false, data, 512, 0), 0);
	assert_int_equal(io(disk, true, data, 512, 0), -EROFS);
	assert_int_equal(disk_discard(disk, 0, 512), -EROFS);
	assert_int_equal(disk_zero(disk, 0, 512, true), -EROFS);
	assert_int_equal(disk_flush(disk), 0);
	disk_close(disk);
}

static void full_disk(void **state)
{
	/* A limit on file sizes stands for any error in the middle of a write. */
	struct disk *disk = opened(false, true);
	uint8_t data[4096] = {1};
	pid_t child = fork();
	int status;

	if (child == 0) {
		signal(SIGXFSZ, SIG_IGN);
		if (setrlimit(RLIMIT_FSIZE, &(struct rlimit){1 << 20, 1 << 20}) < 0)
			_exit(2);
		_exit(io(disk, true, data, 4096, (1 << 20) - 512) == -EFBIG ? 0 : 1);
	}
	waitpid(child, &status, 0);
	assert_int_equal(status, 0);
	disk_close(disk);
}

static bool reads_as(struct disk *disk, uint64_t from, uint64_t to, int value)
{
	for (; from < to; from += 512) {
		uint8_t data[512];

		assert_int_equal(io(disk, false, data, 512, from), 0);
		for (size_t i = 0; i < 512; i++)
			if (data[i] != value)
				return false;
	}
	return true;
}

static void fill(struct disk *disk)
{
	uint8_t *data = malloc(IMAGE_BYTES);

	memset(data, 0x77, IMAGE_BYTES);
	assert_int_equal(io(disk, true, data, IMAGE_BYTES, 0), 0);
	free(data);
}

static void holes(void **state)
{
	struct disk *disk = opened(false, true);
	uint64_t full;

	fill(disk);
	full = disk_allocated_bytes(disk);
	assert_int_equal(disk_discard(disk, 1 << 20, 1 << 20), 0);
	assert_true(disk_allocated_bytes(disk) <= full - (1 << 20));
	assert_true(reads_as(disk, 1 << 20, 2 << 20, 0));
	assert_true(reads_as(disk, (1 << 20) - 4096, 1 << 20, 0x77));
	assert_true(reads_as(disk, 2 << 20, IMAGE_BYTES, 0x77));
	/* Zeroes without a hole; borders within a block. */
	assert_int_equal(disk_zero(disk, 512, 1024, false), 0);
	assert_true(reads_as(disk, 0, 512, 0x77));
	assert_true(reads_as(disk, 512, 1536, 0));
	assert_true(reads_as(disk, 1536, 8192, 0x77));
	full = disk_allocated_bytes(disk);
	assert_int_equal(disk_zero(disk, (2 << 20) + 512, (1 << 20) + 512, false), 0);
	assert_true(reads_as(disk, (2 << 20) + 512, (3 << 20) + 1024, 0));
	assert_true(reads_as(disk, (3 << 20) + 1024, IMAGE_BYTES, 0x77));
	assert_true(disk_allocated_bytes(disk) >= full);
	/* And with one. */
	assert_int_equal(disk_zero(disk, 2 << 20, 1 << 20, true), 0);
	assert_true(disk_allocated_bytes(disk) <= full - (1 << 20));
	assert_true(reads_as(disk, 2 << 20, 3 << 20, 0));
	assert_int_equal(disk_size_bytes(disk), IMAGE_BYTES);
	assert_int_equal(disk_discard(disk, 0, 0), 0);
	assert_int_equal(disk_zero(disk, 0, 0, true), 0);
	disk_close(disk);
}

static void no_holes_when_told_so(void **state)
{
	struct disk *disk = opened(false, false);
	uint64_t full;

	fill(disk);
	full = disk_allocated_bytes(disk);
	assert_int_equal(disk_discard(disk, 0, 1 << 20), 0);
	assert_int_equal(disk_zero(disk, 2 << 20, 1 << 20, true), 0);
	assert_true(disk_allocated_bytes(disk) >= full);
	assert_true(reads_as(disk, 0, 1 << 20, 0x77));
	assert_true(reads_as(disk, 2 << 20, 3 << 20, 0));
	disk_close(disk);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
/* tmpfs has holes, and no way to make zeroes that stay allocated. */
#define T_SHM(f) cmocka_unit_test_setup_teardown(f, setup_shm, teardown)
	const struct CMUnitTest tests[] = {
		T(what_is_no_image),
		T(sizes),
		T(locks),
		T(lock_of_another_process),
		T(locks_of_qemu),
		T(transfers),
		T(readonly),
		T(full_disk),
		T(holes),
		T_SHM(holes),
		T(no_holes_when_told_so),
		T_SHM(no_holes_when_told_so),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
