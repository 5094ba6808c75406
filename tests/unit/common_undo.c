// SPDX-License-Identifier: Apache-2.0
/* The undo journal: what it says on disk, what it restores and in which order, and what it refuses.
 */
#include "tests/unit/undo_tree.h"

#include <signal.h>
#include <sys/wait.h>

static off_t journal_size(const struct tree *tree)
{
	char path[PATH_MAX];
	struct stat st;

	assert_int_equal(stat(tree_path(tree, "run/undo", path, sizeof(path)), &st), 0);
	return st.st_size;
}

static void the_line_comes_first(void **state)
{
	AUTO_TREE struct tree tree = ksm_tree();
	struct undo *undo = undo_in(&tree);
	off_t size;

	assert_int_equal(undo_count(undo), 0);
	assert_int_equal(undo_record(undo, KSM "run", "0", "1"), 0);
	/* on disk while the journal is still open, with the file untouched */
	assert_file(&tree, "run/undo", KSM "run\t0\t1");
	assert_file(&tree, KSM "run", "0");
	size = journal_size(&tree);
	assert_int_equal(undo_record(undo, KSM "run", "0", "1"), 0); /* says nothing new */
	assert_int_equal(journal_size(&tree), size);
	/* the first original counts, whatever is said later */
	assert_int_equal(undo_record(undo, KSM "run", "1", "2"), 0);
	assert_string_equal(undo_original(undo, KSM "run"), "0");
	assert_null(undo_original(undo, KSM "other"));
	assert_int_equal(undo_count(undo), 1);
	assert_string_equal(undo_get(undo, 0).path, KSM "run");
	assert_string_equal(undo_get(undo, 0).original, "0");
	assert_string_equal(undo_get(undo, 0).ours, "2");
	undo_close(undo);
}

/* One guest leaves: what is of others stays, and stays recorded. */
static void restores_below_a_directory(void **state)
{
	AUTO_TREE struct tree tree = ksm_tree();
	AUTO_FD int rootfd = tree_rootfd(&tree);
	struct undo *undo = undo_in(&tree);

	tree_set(&tree, "sys/fs/cgroup/a/memory.low", "5\n");
	tree_set(&tree, "sys/fs/cgroup/ab/memory.low", "6\n");
	assert_int_equal(undo_record(undo, KSM "run", "1", "0"), 0);
	assert_int_equal(undo_record(undo, "sys/fs/cgroup/a/memory.low", "0", "5"), 0);
	assert_int_equal(undo_record(undo, "sys/fs/cgroup/a/memory.max", "max", "7"), 0);
	assert_int_equal(undo_record(undo, "sys/fs/cgroup/ab/memory.low", "0", "6"), 0);
	log_text[0] = '\0';
	assert_int_equal(undo_restore_below(undo, rootfd, "sys/fs/cgroup/a", log_report, NULL), 0);
	assert_string_equal(log_text, "left memory.max\nrestored memory.low was 5\n");
	assert_file(&tree, "sys/fs/cgroup/a/memory.low", "0");
	assert_file(&tree, "sys/fs/cgroup/ab/memory.low", "6");
	assert_int_equal(undo_count(undo), 2);
	undo_close(undo);
	assert_int_equal(restore(&tree), 0);
	assert_string_equal(log_text, "restored memory.low was 6\nrestored run was 0\n");
}

static void restores_in_reverse(void **state)
{
	AUTO_TREE struct tree tree = ksm_tree();
	struct undo *undo = undo_in(&tree);

	assert_int_equal(undo_record(undo, KSM "advisor_mode", "scan-time", "none"), 0);
	assert_int_equal(undo_record(undo, KSM "pages_to_scan", "100", "2000"), 0);
	assert_int_equal(undo_record(undo, KSM "sleep_millisecs", "20", "10"), 0);
	assert_int_equal(undo_record(undo, KSM "run", "0", "1"), 0);
	tree_set(&tree, KSM "advisor_mode", "[none] scan-time\n");
	tree_set(&tree, KSM "pages_to_scan", "2000\n");
	tree_set(&tree, KSM "sleep_millisecs", "10\n");
	tree_set(&tree, KSM "run", "1\n");
	undo_close(undo); /* as a SIGKILL would */

	/* a plain file keeps what is written: "scan-time" reads back as the chosen word */
	assert_int_equal(restore(&tree), 0);
	assert_string_equal(log_text, "restored sleep_millisecs was 10\n"
				      "restored pages_to_scan was 2000\nrestored run was 1\n"
				      "restored advisor_mode was none\n");
	assert_file(&tree, KSM "run", "0");
	assert_file(&tree, KSM "pages_to_scan", "100");
	assert_file(&tree, KSM "advisor_mode", "scan-time");
	assert_int_equal(journal_size(&tree), 0);
	assert_int_equal(restore(&tree), 0);
	assert_string_equal(log_text, "");
}

/* pages_to_scan cannot be written once the advisor is back, so the advisor always goes last. */
static void advisor_goes_last(void **state)
{
	AUTO_TREE struct tree tree = ksm_tree();
	struct undo *undo = undo_in(&tree);

	assert_int_equal(undo_record(undo, KSM "pages_to_scan", "100", "2000"), 0);
	assert_int_equal(undo_record(undo, KSM "advisor_mode", "scan-time", "none"), 0);
	tree_set(&tree, KSM "advisor_mode", "[none] scan-time\n");
	tree_set(&tree, KSM "pages_to_scan", "2000\n");
	undo_close(undo);
	assert_int_equal(restore(&tree), 0);
	assert_string_equal(log_text, "restored pages_to_scan was 2000\n"
				      "restored advisor_mode was none\n");
}

static void leaves_what_is_not_ours(void **state)
{
	AUTO_TREE struct tree tree = ksm_tree();
	struct undo *undo = undo_in(&tree);

	assert_int_equal(undo_record(undo, KSM "run", "0", "1"), 0);
	assert_int_equal(undo_record(undo, KSM "pages_to_scan", "100", "2000"), 0);
	assert_int_equal(undo_record(undo, KSM "sleep_millisecs", "20", "10"), 0);
	assert_int_equal(undo_record(undo, KSM "gone", "20", "10"), 0);
	undo_close(undo);
	tree_set(&tree, KSM "run", "1\n");
	tree_set(&tree, KSM "pages_to_scan", "777\n"); /* by the admin, after us */
	assert_int_equal(restore(&tree), 0);
	assert_string_equal(log_text, "left gone\nunneeded sleep_millisecs was 20\n"
				      "left pages_to_scan was 777\nrestored run was 1\n");
	assert_file(&tree, KSM "pages_to_scan", "777");
	assert_int_equal(journal_size(&tree), 0);
}

/* A crash between the record and the write leaves an earlier value of ours in the file. */
static void earlier_values_are_ours(void **state)
{
	AUTO_TREE struct tree tree = ksm_tree();
	struct undo *undo = undo_in(&tree);

	assert_int_equal(undo_record(undo, KSM "pages_to_scan", "100", "2000"), 0);
	tree_set(&tree, KSM "pages_to_scan", "2000\n");
	assert_int_equal(undo_record(undo, KSM "pages_to_scan", "2000", "3000"), 0);
	undo_close(undo);
	assert_int_equal(restore(&tree), 0);
	assert_file(&tree, KSM "pages_to_scan", "100");

	undo = undo_in(&tree);
	for (int i = 1; i <= 6; i++) {
		char value[16];

		snprintf(value, sizeof(value), "%d", i * 1000);
		assert_int_equal(undo_record(undo, KSM "pages_to_scan", "100", value), 0);
	}
	undo_close(undo);
	tree_set(&tree, KSM "pages_to_scan", "1000\n"); /* long ago: somebody else's by now */
	assert_int_equal(restore(&tree), 0);
	assert_string_equal(log_text, "left pages_to_scan was 1000\n");
}

/* What cannot be restored stays in the journal for the next try. */
static void failures_stay(void **state)
{
	AUTO_TREE struct tree tree = ksm_tree();
	struct undo *undo = undo_in(&tree);
	char path[PATH_MAX];

	assert_int_equal(undo_record(undo, KSM "run", "0", "1"), 0);
	assert_int_equal(undo_record(undo, KSM "pages_to_scan", "100", "2000"), 0);
	undo_close(undo);
	tree_set(&tree, KSM "pages_to_scan", "2000\n");
	/* a directory in the file's place cannot be read, even by root */
	tree_remove(&tree, KSM "run");
	assert_int_equal(mkdir(tree_path(&tree, KSM "run", path, sizeof(path)), 0755), 0);
	assert_int_equal(restore(&tree), 1);
	assert_string_equal(log_text, "restored pages_to_scan was 2000\nfailed run\n");
	assert_file(&tree, "run/undo", KSM "run\t0\t1");
	assert_int_equal(rmdir(path), 0);
	tree_set(&tree, KSM "run", "1\n");
	assert_int_equal(restore(&tree), 0);
	assert_file(&tree, KSM "run", "0");
	assert_int_equal(journal_size(&tree), 0);
}

static void refuses_bad_records(void **state)
{
	static const char *const paths[] = {"/sys/kernel/mm/ksm/run",
					    "etc/passwd",
					    "sys",
					    "sys/",
					    "sys/../etc/passwd",
					    "sys/a/..",
					    "sys//a",
					    "sys/./a",
					    "sys/a\tb",
					    "sys/a\nb",
					    "sys/a b",
					    "",
					    "proc/1/mem",
					    "proc/sys/../1/mem",
					    "systematic/run"};
	static const char *const values[] = {"", "a\tb", "a\nb", "\x01", "\x7f"};
	AUTO_TREE struct tree tree = ksm_tree();
	struct undo *undo = undo_in(&tree);
	char lengthy[300];

	for (size_t i = 0; i < ARRAY_SIZE(paths); i++)
		assert_int_equal(undo_record(undo, paths[i], "0", "1"), -EINVAL);
	for (size_t i = 0; i < ARRAY_SIZE(values); i++) {
		assert_int_equal(undo_record(undo, KSM "run", values[i], "1"), -EINVAL);
		assert_int_equal(undo_record(undo, KSM "run", "0", values[i]), -EINVAL);
	}
	memset(lengthy, 'x', sizeof(lengthy) - 1);
	lengthy[sizeof(lengthy) - 1] = '\0';
	assert_int_equal(undo_record(undo, KSM "run", lengthy, "1"), -EINVAL);
	memcpy(lengthy, "sys/", 4);
	assert_int_equal(undo_record(undo, lengthy, "0", "1"), -EINVAL);
	assert_int_equal(undo_count(undo), 0);
	assert_int_equal(journal_size(&tree), 0);
	assert_int_equal(undo_record(undo, "proc/sys/vm/swappiness", "60", "10"), 0);
	undo_close(undo);
}

static void survives_garbage(void **state)
{
	static const char journal[] =
		"garbage\n"
		"\n"
		"/etc/passwd\troot\tme\n"
		"sys/../etc/passwd\troot\tme\n" KSM "run\t0\t1\n" KSM "run\t0\n"
		"\xff\xfe\t\t\n" KSM "pages\0to\t0\t1\n" KSM "sleep_millisecs\t20\t10\textra\n" KSM
		"pages_to_scan\t100\t20";
	AUTO_TREE struct tree tree = ksm_tree();
	char path[PATH_MAX], text[4096];
	struct undo *undo;
	int unreadable = 0;

	/* the line that was cut off is told */
	tree_set_bytes(&tree, "run/undo", journal, sizeof(journal) - 1);
	assert_int_equal(restore(&tree), 0);
	for (const char *p = log_text; (p = strstr(p, "unreadable -\n")); p++)
		unreadable++;
	assert_int_equal(unreadable, 9);

	unreadable = 0;
	tree_set_bytes(&tree, "run/undo", journal, sizeof(journal) - 1);
	tree_set(&tree, KSM "run", "1\n");
	tree_set(&tree, KSM "pages_to_scan", "20\n");
	tree_set(&tree, KSM "sleep_millisecs", "10\n");
	/* what is recorded behind the line that was cut off must not be swallowed by it */
	undo = undo_in(&tree);
	assert_int_equal(undo_count(undo), 1);
	assert_int_equal(undo_record(undo, KSM "advisor_mode", "scan-time", "none"), 0);
	undo_close(undo);
	tree_set(&tree, KSM "advisor_mode", "[none] scan-time\n");

	assert_int_equal(restore(&tree), 0);
	for (const char *p = log_text; (p = strstr(p, "unreadable -\n")); p++)
		unreadable++;
	assert_int_equal(unreadable, 8); /* and dropped */
	assert_contains(log_text, "restored advisor_mode was none\nrestored run was 1\n");
	assert_file(&tree, KSM "run", "0");
	assert_file(&tree, KSM "pages_to_scan", "20"); /* its line was cut off: never changed */
	assert_file(&tree, KSM "sleep_millisecs", "10");
	assert_int_equal(journal_size(&tree), 0);

	/* not a journal at all */
	assert_int_equal(truncate(tree_path(&tree, "run/undo", path, sizeof(path)), 64 << 20), 0);
	assert_int_equal(restore(&tree), -EFBIG);
	memset(text, 0xa5, sizeof(text));
	tree_set_bytes(&tree, "run/undo", text, sizeof(text));
	assert_int_equal(restore(&tree), 0);
	assert_string_equal(log_text, "unreadable -\n");
}

/* Every prefix of a real journal is what a crash may leave. */
static void survives_truncation(void **state)
{
	static const char journal[] =
		KSM "run\t0\t1\n" KSM "pages_to_scan\t100\t2000\n" KSM "pages_to_scan\t100\t3000\n";

	for (size_t n = 0; n < sizeof(journal); n++) {
		AUTO_TREE struct tree tree = ksm_tree();

		tree_set_bytes(&tree, "run/undo", journal, n);
		tree_set(&tree, KSM "run", "1\n");
		tree_set(&tree, KSM "pages_to_scan", "2000\n");
		assert_int_equal(restore(&tree), 0);
		assert_file(&tree, KSM "run", n > strlen(KSM "run\t0\t1") ? "0" : "1");
		assert_file(&tree, KSM "pages_to_scan",
			    n >= strlen(KSM "run\t0\t1\n" KSM "pages_to_scan\t100\t2000\n")
				    ? "100"
				    : "2000");
	}
}

static void one_process_at_a_time(void **state)
{
	AUTO_TREE struct tree tree = ksm_tree();
	struct undo *undo = undo_in(&tree), *second = NULL;
	char path[PATH_MAX];
	int status;
	pid_t pid;

	tree_path(&tree, "run", path, sizeof(path));
	assert_int_equal(undo_open(path, "/", &second), -EWOULDBLOCK);
	assert_null(second);
	assert_int_equal(restore(&tree), -EWOULDBLOCK);
	undo_close(undo);
	assert_int_equal(undo_open(path, "/", &second), 0);
	undo_close(second);

	/* a process that is killed gives the lock back and leaves its lines */
	pid = fork();
	if (pid == 0) {
		undo = undo_in(&tree);
		undo_record(undo, KSM "run", "0", "1");
		raise(SIGKILL);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	tree_set(&tree, KSM "run", "1\n");
	assert_int_equal(restore(&tree), 0);
	assert_file(&tree, KSM "run", "0");
}

/* A journal that others can write is a way to make root write kernel files. */
static void believes_only_its_own(void **state)
{
	AUTO_TREE struct tree tree = ksm_tree();
	char path[PATH_MAX], link[PATH_MAX];

	tree_set(&tree, "run/undo", KSM "run\t0\t1\n");
	tree_path(&tree, "run/undo", path, sizeof(path));
	assert_int_equal(chmod(path, 0666), 0);
	assert_int_equal(restore(&tree), -EPERM);
	assert_int_equal(chmod(path, 0600), 0);
	if (geteuid() == 0) {
		assert_int_equal(chown(path, 65534, 65534), 0);
		assert_int_equal(restore(&tree), -EPERM);
	}
	tree_path(&tree, "run/elsewhere", link, sizeof(link));
	assert_int_equal(rename(path, link), 0);
	assert_int_equal(symlink("elsewhere", path), 0);
	assert_int_equal(restore(&tree), -ELOOP);
}

static void nothing_to_do(void **state)
{
	AUTO_TREE struct tree tree = ksm_tree();
	char path[PATH_MAX];

	assert_int_equal(restore(&tree), 0); /* no directory */
	assert_int_equal(access(tree_path(&tree, "run", path, sizeof(path)), F_OK), -1);
	undo_close(undo_in(&tree));
	assert_int_equal(restore(&tree), 0);
	assert_int_equal(access(path, F_OK), 0);
	undo_close(NULL);
}

/* Days of changes do not make the journal grow without end, nor lose the originals. */
static void stays_small(void **state)
{
	AUTO_TREE struct tree tree = ksm_tree();
	struct undo *undo = undo_in(&tree);
	char value[16];

	assert_int_equal(undo_record(undo, KSM "run", "0", "1"), 0);
	for (int i = 0; i < 1000; i++) {
		snprintf(value, sizeof(value), "%d", 1000 + i);
		assert_int_equal(undo_record(undo, KSM "pages_to_scan", "100", value), 0);
		assert_true(journal_size(&tree) < 8192);
	}
	tree_set(&tree, KSM "pages_to_scan", value);
	tree_set(&tree, KSM "run", "1\n");
	assert_int_equal(undo_count(undo), 2);
	undo_close(undo);
	assert_int_equal(restore(&tree), 0);
	assert_file(&tree, KSM "pages_to_scan", "100");
	assert_file(&tree, KSM "run", "0");
}

/* Many files: the table grows. */
static void many_files(void **state)
{
	AUTO_TREE struct tree tree = ksm_tree();
	struct undo *undo = undo_in(&tree);
	char path[64];

	for (int i = 0; i < 100; i++) {
		snprintf(path, sizeof(path), "sys/node%d/nr", i);
		tree_set(&tree, path, "7\n");
		assert_int_equal(undo_record(undo, path, "5", "7"), 0);
	}
	undo_close(undo);
	assert_int_equal(restore(&tree), 0);
	for (int i = 0; i < 100; i++) {
		snprintf(path, sizeof(path), "sys/node%d/nr", i);
		assert_file(&tree, path, "5");
	}
}

/* What a memd for a captured host has left must not be written to the live one, nor the other way
 * round; an empty journal is anybody's. */
static void a_journal_is_of_one_root(void **state)
{
	struct tree tree = ksm_tree();
	char path[PATH_MAX];
	struct undo *undo;

	(void)state;
	tree_path(&tree, "run", path, sizeof(path));
	assert_int_equal(undo_open(path, "/no\nline", &undo), -EINVAL);
	assert_int_equal(undo_open(path, "not/absolute", &undo), -EINVAL);

	assert_int_equal(undo_open(path, "/srv/captured", &undo), 0);
	assert_int_equal(undo_record(undo, KSM "run", "0", "1"), 0);
	tree_set(&tree, KSM "run", "1\n");
	undo_close(undo); /* killed */
	assert_int_equal(restore(&tree), -EXDEV);
	assert_file(&tree, KSM "run", "1");
	assert_int_equal(undo_open(path, "/", &undo), -EXDEV);
	assert_int_equal(undo_open(path, "/srv/other", &undo), -EXDEV);

	/* Its own memd finds it, also after a rewrite, and leaves an empty one. */
	assert_int_equal(undo_open(path, "/srv/captured", &undo), 0);
	assert_int_equal(undo_count(undo), 1);
	for (int i = 0; i < 200; i++)
		assert_int_equal(
			undo_record(undo, KSM "pages_to_scan", "100", i % 2 ? "200" : "300"), 0);
	undo_close(undo);
	assert_int_equal(undo_open(path, "/", &undo), -EXDEV);
	assert_int_equal(undo_open(path, "/srv/captured", &undo), 0);
	assert_int_equal(undo_count(undo), 2);
	{
		AUTO_FD int rootfd = tree_rootfd(&tree);

		assert_int_equal(undo_restore(undo, rootfd, NULL, NULL), 0);
	}
	undo_close(undo);
	assert_file(&tree, KSM "run", "0");
	undo = undo_in(&tree); /* as "/" */
	assert_int_equal(undo_record(undo, KSM "run", "0", "1"), 0);
	undo_close(undo);
	assert_int_equal(undo_open(path, "/srv/captured", &undo), -EXDEV);
	tree_free(&tree);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_line_comes_first),
		cmocka_unit_test(restores_below_a_directory),
		cmocka_unit_test(restores_in_reverse),
		cmocka_unit_test(advisor_goes_last),
		cmocka_unit_test(leaves_what_is_not_ours),
		cmocka_unit_test(earlier_values_are_ours),
		cmocka_unit_test(failures_stay),
		cmocka_unit_test(refuses_bad_records),
		cmocka_unit_test(survives_garbage),
		cmocka_unit_test(survives_truncation),
		cmocka_unit_test(one_process_at_a_time),
		cmocka_unit_test(believes_only_its_own),
		cmocka_unit_test(nothing_to_do),
		cmocka_unit_test(stays_small),
		cmocka_unit_test(many_files),
		cmocka_unit_test(a_journal_is_of_one_root),
	};

	return cmocka_run_group_tests_name("common_undo", tests, NULL, NULL);
}
