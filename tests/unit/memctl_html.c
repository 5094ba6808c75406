// SPDX-License-Identifier: Apache-2.0
/*
 * The page: escaping, the file put in place or left alone, axes, and the whole page against a
 * golden one (MEMD_GOLDEN=update writes it anew; look at it in a browser before it is committed).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <json-c/json.h>

#include "common/cleanup.h"
#include "common/wire.h"
#include "tests/unit/trace.h"
#include "tools/html.h"
#include "tools/html_report.h"
#include "tools/plot.h"

#define GOLDEN "tests/fixtures/report/golden.html"

/* What fn(out) writes; the caller frees it. */
#define WRITTEN(call)                                      \
	({                                                 \
		char *_text = NULL;                        \
		size_t _len = 0;                           \
		FILE *out = open_memstream(&_text, &_len); \
                                                           \
		assert_non_null(out);                      \
		call;                                      \
		assert_int_equal(fclose(out), 0);          \
		_text;                                     \
	})

static void assert_written(char *text, const char *expected)
{
	assert_string_equal(text, expected);
	free(text);
}

static void test_escape(void **state)
{
	(void)state;
	assert_written(WRITTEN(html_text(out, "a&b<c>d\"e'f")), "a&amp;b&lt;c&gt;d&quot;e&#39;f");
	assert_written(WRITTEN(html_text(out, "\x1b[31m\r\n\x7f")),
		       "\xef\xbf\xbd[31m\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");
	assert_written(WRITTEN(html_text(out, "gr\xc3\xbc\xc3\x9f")), "gr\xc3\xbc\xc3\x9f");
	assert_written(WRITTEN(html_cell(out, "<b>")), "<td>&lt;b&gt;</td>");
}

static void test_short(void **state)
{
	(void)state;
	assert_written(WRITTEN(html_short_text(out, "abc", 3)), "abc");
	assert_written(WRITTEN(html_short_text(out, "abcd", 3)), "abc\xe2\x80\xa6");
	assert_written(WRITTEN(html_short_text(out, "gr\xc3\xbc\xc3\x9f", 3)),
		       "gr\xc3\xbc\xe2\x80\xa6");
	assert_written(WRITTEN(html_short_text(out, "a<<<", 2)), "a&lt;\xe2\x80\xa6");
	assert_written(WRITTEN(html_short_text(out, "", 2)), "");
	/* Cut off within a character, or no UTF-8 at all. */
	assert_written(WRITTEN(html_short_text(out, "a\xc3", 2)), "a\xc3");
	assert_written(WRITTEN(html_short_text(out, "\x80\x80\x80", 2)), "\x80\x80\x80");
}

/* ---- the file ---- */

static int count_entries(const struct tree *tree)
{
	char command[160];
	FILE *pipe;
	int n = -1;

	snprintf(command, sizeof(command), "find %s/out -mindepth 1 | wc -l", tree->root);
	pipe = popen(command, "r");
	assert_non_null(pipe);
	assert_int_equal(fscanf(pipe, "%d", &n), 1);
	pclose(pipe);
	return n;
}

static int write_file(const char *path, const char *text, int result, char *why)
{
	struct html_file *file = NULL;
	int r = html_file_open(path, &file, why, HTML_WHY_MAX);

	if (r < 0)
		return r;
	fputs(text, html_file_stream(file));
	return html_file_close(file, result, why, HTML_WHY_MAX);
}

static void test_file(void **state)
{
	AUTO_TREE struct tree tree = tree_new(NULL);
	char path[160], link[160], text[64], why[HTML_WHY_MAX] = "";
	struct stat st;

	(void)state;
	tree_set(&tree, "out/page", "old\n");
	tree_path(&tree, "out/page", path, sizeof(path));
	assert_int_equal(chmod(path, 0604), 0);
	/* A page that could not be made leaves the old one alone, and nothing beside it. */
	assert_int_equal(write_file(path, "half", -ENOMEM, why), -ENOMEM);
	assert_contains(why, "could not be made");
	assert_string_equal(tree_get(&tree, "out/page", text, sizeof(text)), "old");
	assert_int_equal(count_entries(&tree), 1);
	/* Replaced, with the mode it had, also through a symbolic link, which stays one. */
	tree_path(&tree, "out/link", link, sizeof(link));
	assert_int_equal(symlink("page", link), 0);
	assert_int_equal(write_file(link, "new", 0, why), 0);
	assert_string_equal(tree_get(&tree, "out/page", text, sizeof(text)), "new");
	assert_int_equal(lstat(link, &st), 0);
	assert_true(S_ISLNK(st.st_mode));
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0604);
	assert_int_equal(count_entries(&tree), 2);
	/* A new one has the mode that the umask wants. */
	umask(027);
	tree_path(&tree, "out/fresh", path, sizeof(path));
	assert_int_equal(write_file(path, "x", 0, why), 0);
	umask(022);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0640);
}

static void test_file_refused(void **state)
{
	AUTO_TREE struct tree tree = tree_new(NULL);
	char path[160], why[HTML_WHY_MAX] = "";
	struct stat st;

	(void)state;
	tree_set(&tree, "out/page", "old\n");
	tree_path(&tree, "out", path, sizeof(path));
	assert_int_equal(write_file(path, "x", 0, why), -EISDIR);
	assert_contains(why, "Is a directory");
	tree_path(&tree, "none/page", path, sizeof(path));
	assert_int_equal(write_file(path, "x", 0, why), -ENOENT);
	assert_contains(why, "No such file");
	tree_path(&tree, "out/page/below", path, sizeof(path));
	assert_int_equal(write_file(path, "x", 0, why), -ENOTDIR);
	/* A device is written to and not replaced; what it refuses is an error. */
	assert_int_equal(write_file("/dev/full", "x", 0, why), -ENOSPC);
	assert_contains(why, "No space left");
	assert_int_equal(write_file("/dev/null", "x", 0, why), 0);
	assert_int_equal(stat("/dev/null", &st), 0);
	assert_true(S_ISCHR(st.st_mode));
	assert_int_equal(count_entries(&tree), 1);
}

/* ---- axes ---- */

static void test_steps(void **state)
{
	static const struct {
		uint64_t value, step;
		enum plot_unit unit;
		const char *label;
	} cases[] = {
		{0, 1, PLOT_BYTES, "1 B"},
		{4, 1, PLOT_BYTES, "1 B"},
		{5, 2, PLOT_BYTES, "2 B"},
		{900, 256, PLOT_BYTES, "256 B"},
		{1024, 512, PLOT_BYTES, "512 B"},
		{9 * MIB, 2 * MIB, PLOT_BYTES, "2 MiB"},
		{490 * MIB, 100 * MIB, PLOT_BYTES, "100 MiB"},
		{700 * MIB, 256 * MIB, PLOT_BYTES, "256 MiB"},
		{GIB, 512 * MIB, PLOT_BYTES, "512 MiB"},
		{24 * GIB, 5 * GIB, PLOT_BYTES, "5 GiB"},
		{700 * GIB, 256 * GIB, PLOT_BYTES, "256 GiB"},
		{3 * 1024 * GIB, 1024 * GIB, PLOT_BYTES, "1 TiB"},
		{0, 100, PLOT_PPM, "0.01%"},
		{999, 200, PLOT_PPM, "0.02%"},
		{240000, 50000, PLOT_PPM, "5%"},
		{4300, 1000, PLOT_PPM, "0.1%"},
		{3 * 1000000, 1000000, PLOT_PPM, "100%"},
	};
	char label[SIZE_TEXT_MAX];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		uint64_t step = plot_round_step(cases[i].value, cases[i].unit, 5);

		assert_int_equal(step, cases[i].step);
		assert_string_equal(plot_label(step, cases[i].unit, label), cases[i].label);
	}
	for (uint64_t value = 1; value < 1ULL << 60; value = value * 3 / 2 + 1)
		for (enum plot_unit unit = PLOT_BYTES; unit <= PLOT_PPM; unit++)
			assert_true(value / plot_round_step(value, unit, 5) < 5);
}

/* ---- the page ---- */

static const uint64_t pairs[] = {
	512 * MIB, 300 * MIB, 0,	  12 * MIB, /* */
	300 * MIB, 200 * MIB, 64 * KIB,	  0,	    /* */
	0,	   64 * KIB,  1536 * MIB, 1 * MIB,  /* */
	12 * MIB,  0,	      1 * MIB,	  4 * MIB,
};
static const bool alarms[16] = {[1 * 4 + 2] = true, [2 * 4 + 1] = true, [0 * 4 + 2] = true};
static const struct html_matrix matrix = {
	.n = 4,
	.names = trace_names,
	.bytes = pairs,
	.alarm = alarms,
};

static char *make_page(const char *trace, size_t buckets, bool with_report)
{
	AUTO_JSON json_object *report = json_tokener_parse(
		"{\"guests\":[{\"name\":\"<script>alert('db')</script>\",\"hypervisor\":\"vmm\","
		"\"memory_bytes\":1073741824,\"actual_bytes\":1073741824,\"resident_bytes\":null,"
		"\"ksm_bytes\":100663296,\"balloon_bytes\":0,\"reported_bytes\":4096,"
		"\"virtio_mem_bytes\":0,\"saved_bytes\":100667392}]}");
	struct html_report page = {
		.host = "host <1>",
		.path = "/var/lib/memd/trace",
		.report = with_report ? report : NULL,
		.matrix = with_report ? &matrix : NULL,
		.matrix_why = "only root may look at page frames",
	};
	struct history *history = NULL;
	char *text;

	assert_int_equal(history_read(trace, UINT64_MAX, buckets, &history), 0);
	page.history = history;
	page.made_us = history->last_us;
	text = WRITTEN(assert_int_equal(html_report_write(out, &page), 0));
	history_free(history);
	return text;
}

/* The text with each `from` as `to`: the version is not part of the golden page. */
static char *replaced(const char *text, const char *from, const char *to)
{
	return WRITTEN(for (const char *p = text, *next; *p; p = next) {
		next = strstr(p, from);
		fwrite(p, 1, next ? (size_t)(next - p) : strlen(p), out);
		if (next)
			fputs(to, out);
		next = next ? next + strlen(from) : p + strlen(p);
	});
}

static char *read_golden(void)
{
	FILE *file = fopen(GOLDEN, "re");
	char *text = NULL;
	size_t room = 0;

	if (!file)
		return NULL;
	assert_true(getdelim(&text, &room, '\0', file) > 0);
	fclose(file);
	return text;
}

static void test_golden(void **state)
{
	AUTO_TREE struct tree tree = tree_new(NULL);
	AUTO_FREE char *made = NULL, *page = NULL, *golden = NULL;
	const char *update = getenv("MEMD_GOLDEN");
	char path[128];

	(void)state;
	trace_write(tree_path(&tree, "trace", path, sizeof(path)), 64 * MIB, TRACE_GUESTS_MAX, 0,
		    3600);
	made = make_page(path, 60, true);
	page = replaced(made, "memctl " MEMD_VERSION, "memctl VERSION");
	if (update && strcmp(update, "update") == 0) {
		FILE *file = fopen(GOLDEN, "we");

		assert_non_null(file);
		assert_true(fputs(page, file) >= 0);
		assert_int_equal(fclose(file), 0);
	}
	golden = read_golden();
	assert_non_null(golden);
	for (size_t i = 0, line = 1;; i++) {
		if (page[i] != golden[i])
			fail_msg(GOLDEN ":%zu: the page has \"%.60s\", not \"%.60s\"", line,
				 page + i, golden + i);
		if (!page[i])
			break;
		line += page[i] == '\n';
	}
}

static unsigned int count(const char *text, const char *what)
{
	unsigned int n = 0;

	for (const char *p = strstr(text, what); p; p = strstr(p + 1, what))
		n++;
	return n;
}

/* Every element that is opened is closed, in order; no attribute is one that runs something. */
static void assert_well_formed(const char *page)
{
	char stack[32][16], name[16];
	size_t depth = 0;

	for (const char *p = strchr(page, '<'); p; p = strchr(p, '<')) {
		const char *end = strchr(p, '>');
		size_t len = strcspn(++p, "/> \n");

		assert_non_null(end);
		if (*p == '!' || strncmp(p, "meta ", 5) == 0)
			continue;
		if (*p == '/') {
			assert_true(depth > 0);
			len = (size_t)(end - p) - 1;
			if (strlen(stack[--depth]) != len || memcmp(stack[depth], p + 1, len) != 0)
				fail_msg("<%s> is closed by <%.20s", stack[depth], p);
			continue;
		}
		assert_in_range(len, 1, sizeof(name) - 1);
		snprintf(name, sizeof(name), "%.*s", (int)len, p);
		assert_string_not_equal(name, "script");
		for (const char *q = p; q < end; q++)
			assert_false(*q == ' ' && q[1] == 'o' && q[2] == 'n');
		if (end[-1] == '/')
			continue;
		assert_true(depth < ARRAY_SIZE(stack));
		strcpy(stack[depth++], name);
	}
	assert_int_equal(depth, 0);
}

/* Nothing is run or loaded, whatever guests are called. */
static void test_harmless(void **state)
{
	AUTO_TREE struct tree tree = tree_new(NULL);
	AUTO_FREE char *page = NULL;
	char path[128];

	(void)state;
	trace_write(tree_path(&tree, "trace", path, sizeof(path)), 64 * MIB, TRACE_GUESTS_MAX, 0,
		    3600);
	page = make_page(path, 60, true);
	assert_well_formed(page);
	assert_true(count(page, "&lt;script&gt;alert(&#39;db&#39;)&lt;/script&gt;") >= 5);
	assert_int_equal(count(page, "src="), 0);
	assert_int_equal(count(page, "href"), 0);
	assert_int_equal(count(page, "://"), 0);
	assert_int_equal(count(page, "url("), count(page, "url(#"));
	assert_int_equal(count(page, "\t"), 0);
	assert_int_equal(count(page, "Content-Security-Policy\" content=\"default-src 'none'; "
				     "style-src 'unsafe-inline'\""),
			 1);
}

/* Full width: no line has more than 2000 points, and the page can be sent around. */
static void test_points(void **state)
{
	AUTO_TREE struct tree tree = tree_new(NULL);
	AUTO_FREE char *page = NULL;
	unsigned int most = 0;
	char path[128];

	(void)state;
	trace_write(tree_path(&tree, "trace", path, sizeof(path)), 64 * MIB, TRACE_GUESTS_MAX, 0,
		    600);
	page = make_page(path, 600, false);
	for (const char *d = strstr(page, " d=\""); d; d = strstr(d + 1, " d=\"")) {
		unsigned int points = 0;

		for (const char *p = d + 4; *p != '"'; p++)
			points += *p == 'L' || *p == 'H' || *p == 'V' || *p == 'M';
		most = points > most ? points : most;
	}
	assert_in_range(most, 1000, 2000);
	assert_in_range(strlen(page), 10000, 300000);
	assert_contains(page, "Not shown: only root may look at page frames.");
	assert_contains(page, "Not shown: what each mechanism saves");
}

/* One tick, no guests, nothing known of KSM: still a page. */
static void test_little(void **state)
{
	AUTO_TREE struct tree tree = tree_new(NULL);
	AUTO_FREE char *page = NULL;
	char path[128];

	(void)state;
	trace_write(tree_path(&tree, "trace", path, sizeof(path)), 64 * MIB, 1, 100, 101);
	page = make_page(path, 600, false);
	assert_contains(page, "The trace does not tell what ksmd has spent.");
	assert_well_formed(page);
	assert_int_equal(count(page, "nan"), 0);
	assert_int_equal(count(page, "inf\""), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_escape),	 cmocka_unit_test(test_short),
		cmocka_unit_test(test_file),	 cmocka_unit_test(test_file_refused),
		cmocka_unit_test(test_steps),	 cmocka_unit_test(test_golden),
		cmocka_unit_test(test_harmless), cmocka_unit_test(test_points),
		cmocka_unit_test(test_little),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
