// SPDX-License-Identifier: Apache-2.0
/*
 * Locks on disk images: open file description locks (fcntl(2)) on single bytes, as QEMU lays them
 * out (block/file-posix.c, RAW_LOCK_PERM_BASE): byte 100 + p is locked by who uses permission p,
 * byte 200 + p by who does not share it. All locks are shared ones, taken first and then looked at:
 * two that start together may both be refused, but never both go on.
 */
#include "vmm/disk_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "common/cleanup.h"
#include "common/log.h"

/* Bits of QEMU's permissions. */
#define PERM_READ   (1U << 0)
#define PERM_WRITE  (1U << 1)
#define PERM_RESIZE (1U << 3)
#define PERMS	    5
#define USED_BASE   100
#define KEPT_BASE   200 /* "not shared" */

static int lock_byte(int fd, off_t byte)
{
	struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};

	return fcntl(fd, F_OFD_SETLK, &lock) < 0 ? -errno : 0;
}

/* Does anybody else hold a lock on it? -errno, 0 or 1. */
static int byte_is_locked(int fd, off_t byte)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};

	if (fcntl(fd, F_OFD_GETLK, &lock) < 0)
		return -errno;
	return lock.l_type != F_UNLCK;
}

/* ---- who has it? ---- */

/* Does this fdinfo file (proc(5)) list a lock on the file? Such a lock names no process itself. */
static bool fdinfo_has_lock(const char *path, const char *file_id)
{
	AUTO_FILE FILE *f = fopen(path, "re");
	char line[256];

	while (f && fgets(line, sizeof(line), f))
		if (strncmp(line, "lock:", 5) == 0 && strstr(line, file_id))
			return true;
	return false;
}

static bool process_has_lock(const char *pid, const char *file_id)
{
	char path[64];
	AUTO_DIR DIR *dir = NULL;
	struct dirent *entry;

	snprintf(path, sizeof(path), "/proc/%.20s/fdinfo", pid);
	dir = opendir(path);
	while (dir && (entry = readdir(dir))) {
		snprintf(path, sizeof(path), "/proc/%.20s/fdinfo/%.20s", pid, entry->d_name);
		if (entry->d_name[0] != '.' && fdinfo_has_lock(path, file_id))
			return true;
	}
	return false;
}

static void process_name(const char *pid, char *name, size_t size)
{
	char path[64];
	AUTO_FD int fd = -1;
	ssize_t n = -1;

	snprintf(path, sizeof(path), "/proc/%.20s/comm", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0)
		n = read(fd, name, size - 1);
	if (n < 0)
		snprintf(name, size, "?");
	else
		name[n] = '\0';
	name[strcspn(name, "\n")] = '\0';
}

/* " by process 4711 (vmm)", or nothing when we may not look into the others. */
static void find_holder(int fd, char *text, size_t size)
{
	AUTO_DIR DIR *dir = opendir("/proc");
	struct dirent *entry;
	char file_id[64], name[64];
	struct stat st;

	text[0] = '\0';
	if (!dir || fstat(fd, &st) < 0)
		return;
	snprintf(file_id, sizeof(file_id), " %02x:%02x:%" PRIu64 " ", major(st.st_dev),
		 minor(st.st_dev), (uint64_t)st.st_ino);
	while ((entry = readdir(dir))) {
		if (entry->d_name[0] < '1' || entry->d_name[0] > '9' ||
		    strtol(entry->d_name, NULL, 10) == getpid() ||
		    !process_has_lock(entry->d_name, file_id))
			continue;
		process_name(entry->d_name, name, sizeof(name));
		snprintf(text, size, " by process %.20s (%s)", entry->d_name, name);
		return;
	}
}

/* ---- taking it ---- */

static int refuse(int fd, const char *path, bool readonly)
{
	char holder[128];

	find_holder(fd, holder, sizeof(holder));
	log_err("--disk path=%s: is in use%s%s", path, holder,
		readonly ? ", which writes to it"
			 : ": one guest can write to it, or several can read it with readonly=on");
	return -EBUSY;
}

int disk_lock(int fd, const char *path, bool readonly)
{
	const unsigned int used = PERM_READ | (readonly ? 0 : PERM_WRITE);
	const unsigned int kept = PERM_WRITE | PERM_RESIZE;
	int r = 0;

	for (unsigned int p = 0; p < PERMS && r == 0; p++) {
		if (used >> p & 1)
			r = lock_byte(fd, USED_BASE + p);
		if (r == 0 && kept >> p & 1)
			r = lock_byte(fd, KEPT_BASE + p);
	}
	for (unsigned int p = 0; p < PERMS && r == 0; p++) {
		if (used >> p & 1)
			r = byte_is_locked(fd, KEPT_BASE + p);
		if (r == 0 && kept >> p & 1)
			r = byte_is_locked(fd, USED_BASE + p);
	}
	if (r == 1 || r == -EAGAIN || r == -EACCES)
		return refuse(fd, path, readonly);
	if (r < 0)
		log_warn(
			"--disk path=%s: cannot be locked (%s): take care that nothing else writes "
			"to it",
			path, strerror(-r));
	return 0;
}
