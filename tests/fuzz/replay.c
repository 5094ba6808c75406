// SPDX-License-Identifier: Apache-2.0
/*
 * Stands in for libFuzzer's main: runs the target once on each file given (a directory: on each
 * file in it), so that corpora are replayed by any compiler, with or without sanitizers. A crash
 * names its input: the file is printed before it is run.
 */
#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/cleanup.h"
#include "common/kfile.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv) __attribute__((weak));

static int replay_file(int dir, const char *name, unsigned int *n_done)
{
	AUTO_FREE char *text = NULL;
	AUTO_FREE uint8_t *exact = NULL;
	size_t len = 0;
	int r = kfile_read_all(dir, name, &text, &len);

	if (r < 0) {
		fprintf(stderr, "%s: %s\n", name, strerror(-r));
		return r;
	}
	printf("%s: %zu bytes\n", name, len);
	fflush(stdout);
	/* No byte more than there is, so that reading past the end is seen. */
	exact = malloc(len ? len : 1);
	if (!exact)
		return -ENOMEM;
	memcpy(exact, text, len);
	LLVMFuzzerTestOneInput(exact, len);
	(*n_done)++;
	return 0;
}

static int replay_path(const char *path, unsigned int *n_done)
{
	AUTO_DIR DIR *dir = opendir(path);
	AUTO_FD int root = -1;
	struct dirent *entry;
	int r = 0;

	if (!dir) {
		AUTO_FREE char *copy = strdup(path);
		char *slash = copy ? strrchr(copy, '/') : NULL;

		if (slash)
			*slash = '\0';
		root = kfile_open_root(!slash ? "." : slash == copy ? "/" : copy);
		return replay_file(root, slash ? slash + 1 : path, n_done);
	}
	root = kfile_open_root(path);
	while (r == 0 && (entry = readdir(dir)))
		if (entry->d_name[0] != '.')
			r = replay_file(root, entry->d_name, n_done);
	return r;
}

int main(int argc, char **argv)
{
	unsigned int n_done = 0;

	if (LLVMFuzzerInitialize)
		LLVMFuzzerInitialize(&argc, &argv);
	for (int i = 1; i < argc; i++)
		if (replay_path(argv[i], &n_done) < 0)
			return 1;
	printf("%u inputs replayed\n", n_done);
	return n_done ? 0 : 1;
}
