// SPDX-License-Identifier: Apache-2.0
/* vmm's command line: what is taken, the defaults, and that each error names what is wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "common/size.h"
#include "vmm/options.h"

static char said[8192];

/* Parse one line, words separated by single spaces; what is printed is in said. */
static enum options_result parse(const char *line, struct options *ret_options)
{
	static char lines[16][2048]; /* parsed options point into their line */
	static unsigned int at;
	char *rest = lines[at++ % ARRAY_SIZE(lines)], *argv[64] = {(char *)(uintptr_t) "vmm"};
	int argc = 1, saved_out = dup(1), saved_err = dup(2);
	FILE *f = tmpfile();
	enum options_result result;
	size_t n;

	snprintf(rest, sizeof(lines[0]), "%s", line);
	while (*line && argc < 63 && (argv[argc] = strsep(&rest, " ")))
		argc++;
	fflush(stdout);
	dup2(fileno(f), 1);
	dup2(fileno(f), 2);
	result = options_parse(argc, argv, ret_options);
	fflush(stdout);
	dup2(saved_out, 1);
	dup2(saved_err, 2);
	close(saved_out);
	close(saved_err);
	rewind(f);
	n = fread(said, 1, sizeof(said) - 1, f);
	said[n] = '\0';
	fclose(f);
	return result;
}

static struct options good(const char *line)
{
	struct options o;

	if (parse(line, &o) != OPTIONS_RUN)
		fail_msg("'%s' was refused: %s", line, said);
	return o;
}

/* Refused with a message that has both parts, and nothing is written to the result. */
static void bad(const char *line, const char *part, const char *other)
{
	struct options o, untouched;

	memset(&o, 0x5a, sizeof(o));
	untouched = o;
	if (parse(line, &o) != OPTIONS_USAGE)
		fail_msg("'%s' was taken", line);
	if (!strstr(said, part) || !strstr(said, other))
		fail_msg("'%s': no '%s' and '%s' in: %s", line, part, other, said);
	assert_non_null(strstr(said, "vmm --help"));
	assert_memory_equal(&o, &untouched, sizeof(o));
}

static void test_defaults(void **state)
{
	struct options o = good("--kernel k");

	assert_string_equal(o.name, "guest");
	assert_string_equal(o.uuid, "");
	assert_int_equal(o.cpus, 1);
	assert_int_equal(o.n_memory, 1);
	assert_int_equal(o.memory[0].size_bytes, 512 * MIB);
	assert_int_equal(o.memory[0].pages, RAM_PAGES_THP);
	assert_int_equal(o.memory[0].policy, RAM_POLICY_DEFAULT);
	assert_true(o.memory[0].merge);
	assert_false(o.memory[0].prealloc);
	assert_string_equal(o.kernel, "k");
	assert_null(o.initrd);
	assert_null(o.append);
	assert_null(o.qmp);
	assert_string_equal(o.serial, "stdio");
	assert_null(o.console);
	assert_true(o.rng);
	assert_false(o.no_reboot || o.balloon || o.paused);
}

static void test_everything(void **state)
{
	struct options o =
		good("--name web-1.a --uuid 6F1C2A34-0d5e-4b7a-9c11-2f3e4d5c6b7a --cpus 64 "
		     "--memory size=1.5G,pages=small,host-nodes=0-1,3,policy=interleave,merge=off "
		     "--memory prealloc=on,dump=on,size=2G,pages=2M,host-nodes=1023 "
		     "--kernel=/boot/k --initrd i "
		     "--append console=ttyS0 --serial unix:/run/s --console file:/tmp/c --rng off "
		     "--balloon deflate-on-oom=on,free-page-reporting=on --qmp /run/q --paused "
		     "--no-reboot");

	assert_string_equal(o.name, "web-1.a");
	assert_string_equal(o.uuid, "6f1c2a34-0d5e-4b7a-9c11-2f3e4d5c6b7a");
	assert_int_equal(o.cpus, 64);
	assert_int_equal(o.n_memory, 2);
	assert_int_equal(o.memory[0].size_bytes, 1536 * MIB);
	assert_int_equal(o.memory[0].pages, RAM_PAGES_SMALL);
	assert_int_equal(o.memory[0].policy, RAM_POLICY_INTERLEAVE);
	assert_int_equal(o.memory[0].host_nodes[0], 0xb);
	assert_false(o.memory[0].merge || o.memory[0].prealloc);
	assert_int_equal(o.memory[1].pages, RAM_PAGES_2M);
	assert_int_equal(o.memory[1].policy, RAM_POLICY_BIND);
	assert_true(o.memory[1].host_nodes[15] == 1ULL << 63);
	assert_true(o.memory[1].prealloc && o.memory[1].dump);
	assert_false(o.memory[0].dump);
	assert_string_equal(o.kernel, "/boot/k");
	assert_string_equal(o.initrd, "i");
	assert_string_equal(o.append, "console=ttyS0");
	assert_string_equal(o.serial, "unix:/run/s");
	assert_string_equal(o.console, "file:/tmp/c");
	assert_string_equal(o.qmp, "/run/q");
	assert_false(o.rng);
	assert_true(o.balloon && o.balloon_deflate_on_oom && o.balloon_reporting);
	assert_true(o.paused && o.no_reboot);
}

static void test_merge_default(void **state)
{
	assert_true(good("--kernel k --memory size=1G,pages=small").memory[0].merge);
	assert_false(good("--kernel k --memory size=1G,pages=2M").memory[0].merge);
	/* A wish is kept, so that ram_new can say why it cannot come true. */
	assert_true(good("--kernel k --memory size=1G,merge=on,pages=2M").memory[0].merge);
}

static void test_disk(void **state)
{
	struct options o = good("--kernel k --disk path=/a/b.img --disk "
				"serial=root-1,path=c,readonly=on,discard=off");
	char line[1200];

	assert_int_equal(o.n_disks, 2);
	assert_string_equal(o.disks[0].path, "/a/b.img");
	assert_string_equal(o.disks[0].serial, "");
	assert_true(!o.disks[0].readonly && o.disks[0].discard);
	assert_string_equal(o.disks[1].path, "c");
	assert_string_equal(o.disks[1].serial, "root-1");
	assert_true(o.disks[1].readonly && !o.disks[1].discard);
	assert_int_equal(good("--kernel k").n_disks, 0);
	bad("--kernel k --disk disk.img", "--disk: 'disk.img'", "path, readonly, serial, discard");
	bad("--kernel k --disk readonly=on", "--disk readonly=on", "path is missing");
	bad("--kernel k --disk path=", "--disk path=", "raw image or block device");
	bad("--kernel k --disk path=a,path=b", "--disk: 'path'", "twice");
	bad("--kernel k --disk path=a,readonly=yes", "--disk readonly=yes", "on or off");
	bad("--kernel k --disk path=a,serial=123456789012345678901", "--disk serial=", "1 to 20");
	bad("--kernel k --disk path=a,serial=a/b", "--disk serial=a/b", "letters");
	memset(line, 'x', sizeof(line));
	memcpy(line, "--kernel k --disk path=", 23);
	line[23 + 1024] = '\0';
	bad(line, "--disk path", "too long");
	strcpy(line, "--kernel k");
	for (int i = 0; i < OPTIONS_DISKS_MAX; i++)
		strcat(line, " --disk path=d");
	assert_int_equal(good(line).n_disks, OPTIONS_DISKS_MAX);
	strcat(line, " --disk path=e");
	bad(line, "--disk path=e", "at most 8");
}

static void test_balloon(void **state)
{
	struct options o = good("--kernel k --balloon on");

	assert_true(o.balloon);
	assert_false(o.balloon_deflate_on_oom || o.balloon_reporting);
	assert_false(good("--kernel k --balloon off").balloon);
	o = good("--kernel k --balloon free-page-reporting=on,deflate-on-oom=off");
	assert_true(o.balloon && o.balloon_reporting && !o.balloon_deflate_on_oom);
	bad("--kernel k --balloon yes", "--balloon", "deflate-on-oom, free-page-reporting");
	bad("--kernel k --balloon on,deflate-on-oom=on", "--balloon: 'on'", "KEY=VALUE");
	bad("--kernel k --balloon deflate-on-oom=1", "--balloon deflate-on-oom=1", "on or off");
}

static void test_net(void **state)
{
	struct options o = good("--kernel k --net tap=vm0 "
				"--net fd=7,mac=52:54:00:aB:cd:0f,vhost=off --net vhost=on,tap=t");
	static const uint8_t mac[6] = {0x52, 0x54, 0, 0xab, 0xcd, 0x0f};
	char line[400] = "--kernel k";

	assert_int_equal(o.n_nets, 3);
	assert_string_equal(o.nets[0].tap, "vm0");
	assert_int_equal(o.nets[0].fd, -1);
	assert_int_equal(o.nets[0].vhost, OPTIONS_VHOST_AUTO);
	assert_false(o.nets[0].has_mac);
	assert_string_equal(o.nets[1].tap, "");
	assert_int_equal(o.nets[1].fd, 7);
	assert_true(o.nets[1].has_mac);
	assert_memory_equal(o.nets[1].mac, mac, 6);
	assert_int_equal(o.nets[1].vhost, OPTIONS_VHOST_OFF);
	assert_int_equal(o.nets[2].vhost, OPTIONS_VHOST_ON);
	assert_int_equal(good("--kernel k").n_nets, 0);

	bad("--kernel k --net vm0", "'vm0'", "tap, fd, mac, vhost");
	bad("--kernel k --net mac=52:54:00:ab:cd:0f", "tap=INTERFACE", "fd=N");
	bad("--kernel k --net tap=a,fd=4", "tap=a,fd=4", "one of");
	bad("--kernel k --net tap=", "--net tap=", "1 to 15");
	bad("--kernel k --net tap=abcdefghijklmnop", "--net tap=abc", "1 to 15");
	bad("--kernel k --net tap=../x", "--net tap=../x", "1 to 15");
	bad("--kernel k --net fd=2", "--net fd=2", "from 3");
	bad("--kernel k --net fd=-1", "--net fd=-1", "from 3");
	bad("--kernel k --net fd=4x", "--net fd=4x", "from 3");
	bad("--kernel k --net fd=99999999999", "--net fd=99999999999", "from 3");
	bad("--kernel k --net tap=t,mac=5254:00:ab:cd:0f", "mac=5254", "02:00:00:12:34:56");
	bad("--kernel k --net tap=t,mac=52:54:00:ab:cd:0", "mac=52", "02:00:00:12:34:56");
	bad("--kernel k --net tap=t,mac=52:54:00:ab:cd:0f:01", "mac=52", "first byte is even");
	bad("--kernel k --net tap=t,mac=01:54:00:ab:cd:0f", "mac=01", "first byte is even");
	bad("--kernel k --net tap=t,mac=00:00:00:00:00:00", "mac=00", "first byte is even");
	bad("--kernel k --net tap=t,vhost=maybe", "vhost=maybe", "auto, on or off");
	bad("--kernel k --net tap=t --net tap=t", "--net tap=t", "twice");
	bad("--kernel k --net fd=5 --net fd=5", "--net fd=5", "twice");
	for (int i = 0; i < OPTIONS_NETS_MAX; i++)
		snprintf(line + strlen(line), sizeof(line) - strlen(line), " --net tap=t%d", i);
	assert_int_equal(good(line).n_nets, OPTIONS_NETS_MAX);
	strcat(line, " --net tap=more");
	bad(line, "--net tap=more", "at most 8");
}

static void test_consoles(void **state)
{
	assert_null(good("--kernel k --console none").console);
	assert_string_equal(good("--kernel k --serial none --console stdio").console, "stdio");
	bad("--kernel k --console stdio", "--serial and --console", "--serial none");
	bad("--kernel k --serial tty", "--serial tty", "unix:PATH");
	bad("--kernel k --serial unix:", "--serial unix:", "unix:PATH");
	bad("--kernel k --serial file:", "--serial file:", "file:PATH");
}

static void test_unknown(void **state)
{
	bad("--kernel k --frobnicate", "--frobnicate", "unknown");
	/* Not there yet: never taken silently. */
	bad("--kernel k --mem-devise size=1G", "--mem-devise", "unknown");
	bad("--kernel k -m 1G", "-m", "unknown");
	bad("--kernel k --n x", "--n", "ambiguous");
	bad("--kernel k stray", "'stray'", "options only");
	bad("--kernel", "--kernel", "needs a value");
	bad("--kernel k --paused=yes", "--paused", "takes no value");
	bad("", "--kernel is missing", "bzImage");
	bad("--kernel k --cpus 2 --cpus 3", "--cpus", "twice");
}

static void test_values(void **state)
{
	char line[512], name[130];

	bad("--kernel k --cpus 0", "--cpus 0", "1 to 64");
	bad("--kernel k --cpus 65", "--cpus 65", "1 to 64");
	bad("--kernel k --cpus 4x", "--cpus 4x", "1 to 64");
	bad("--kernel k --cpus -1", "--cpus -1", "1 to 64");
	bad("--kernel k --cpus 4294967297", "--cpus 4294967297", "1 to 64");
	bad("--kernel k --cpus ", "--cpus ''", "1 to 64");
	bad("--kernel k --name ", "--name ''", "letters");
	bad("--kernel k --name a/b", "--name a/b", "letters");
	bad("--kernel k --name .hidden", "--name .hidden", "letters");
	bad("--kernel k --name a\tb", "--name a b", "letters");
	bad("--kernel k --uuid 6f1c2a34", "--uuid 6f1c2a34", "UUID such as");
	bad("--kernel k --uuid 6f1c2a34-0d5e-4b7a-9c11-2f3e4d5c6b7g", "--uuid", "UUID such as");
	bad("--kernel k --rng maybe", "--rng maybe", "on or off");
	bad("--kernel k --qmp ", "--qmp ''", "socket path");
	bad("--kernel ", "--kernel ''", "bzImage");

	memset(name, 'n', sizeof(name));
	name[63] = '\0';
	snprintf(line, sizeof(line), "--kernel k --name %s", name);
	assert_int_equal(strlen(good(line).name), 63);
	name[63] = 'n';
	name[64] = '\0';
	snprintf(line, sizeof(line), "--kernel k --name %s", name);
	bad(line, "--name", "63");
	/* sun_path has 108 bytes with the terminator */
	memset(name, 'p', sizeof(name));
	name[107] = '\0';
	snprintf(line, sizeof(line), "--kernel k --qmp %s", name);
	assert_int_equal(strlen(good(line).qmp), 107);
	name[107] = 'p';
	name[108] = '\0';
	snprintf(line, sizeof(line), "--kernel k --qmp %s", name);
	bad(line, "--qmp", "107 bytes");
	snprintf(line, sizeof(line), "--kernel k --serial unix:%s", name);
	bad(line, "--serial", "107 bytes");
}

static void bad_memory(const char *value, const char *part, const char *other)
{
	char line[512];

	snprintf(line, sizeof(line), "--kernel k --memory %s", value);
	bad(line, part, other);
}

static void test_memory(void **state)
{
	char line[600] = "--kernel k";

	bad_memory("1G", "--memory: '1G'", "KEY=VALUE");
	bad_memory("", "--memory", "KEY=VALUE");
	bad_memory("size=1G,", "--memory", "KEY=VALUE");
	bad_memory("size=1X", "--memory size=1X", "512M");
	bad_memory("size=", "--memory size=", "512M");
	bad_memory("size=-1G", "--memory size=-1G", "512M");
	bad_memory("size=1M", "--memory size=1M", "2M");
	bad_memory("size=1G,size=2G", "'size'", "twice");
	bad_memory("size=1G,color=red", "'color=red'", "size, pages, host-nodes");
	bad_memory("pages=thp", "size is missing", "size=1G");
	bad_memory("size=1G,pages=4K", "--memory pages=4K", "thp, small, 2M or 1G");
	bad_memory("size=1G,pages=TH", "--memory pages=TH", "thp, small");
	bad_memory("size=1G,host-nodes=a", "host-nodes=a", "0-1");
	bad_memory("size=1G,host-nodes=automatic", "host-nodes=automatic", "or auto");
	bad_memory("size=1G,host-nodes=", "host-nodes=", "0-1");
	bad_memory("size=1G,host-nodes=1024", "host-nodes=1024", "below 1024");
	bad_memory("size=1G,host-nodes=3-1", "host-nodes=3-1", "0-1");
	bad_memory("size=1G,host-nodes=auto --memory size=1G", "size=1G", "one NUMA node");
	assert_true(good("--kernel k --memory size=1G,host-nodes=auto").memory[0].ask_nodes);
	assert_int_equal(
		good("--kernel k --memory size=1G,host-nodes=auto,policy=bind").memory[0].policy,
		RAM_POLICY_BIND);
	bad_memory("size=1G,policy=bind", "policy=bind", "needs host-nodes");
	bad_memory("size=1G,host-nodes=0,policy=default", "policy=default", "interleave");
	bad_memory("size=1G,merge=yes", "--memory merge=yes", "on or off");
	bad_memory("size=1G,dump=yes", "--memory dump=yes", "on or off");
	bad_memory("size=1G,prealloc=1", "--memory prealloc=1", "on or off");
	bad_memory("size=2099201", "2099201", "multiple of 4 KiB");
	bad_memory("size=3M,pages=2M", "3145728", "multiple of 2 MiB");
	bad_memory("size=1.5G,pages=1G", "1610612736", "multiple of 1 GiB");
	bad_memory("size=65T", "71468255805440", "64 TiB");
	bad_memory("size=4100K --memory size=1G", "4198400", "several nodes");
	/* 2.5 GiB below the hole */
	bad_memory("size=512M --memory size=4G,pages=1G", "cuts guest node 1", "1 GiB");
	assert_int_equal(good("--kernel k --memory size=5G,pages=1G").memory[0].pages,
			 RAM_PAGES_1G);
	assert_int_equal(good("--kernel k --memory size=4100K").memory[0].size_bytes, 4100 * KIB);

	for (int i = 0; i < RAM_NODES_MAX; i++)
		strcat(line, " --memory size=64M");
	assert_int_equal(good(line).n_memory, RAM_NODES_MAX);
	strcat(line, " --memory size=64M");
	bad(line, "--memory size=64M", "at most 8");
}

static void test_mem_device(void **state)
{
	struct options o = good("--kernel k --memory size=1G --memory size=1G --mem-device size=4G "
				"--mem-device size=2G,requested=512M,node=1,block=4M,pages=2M,"
				"host-nodes=0,1,policy=interleave");
	const struct mem_options *first = &o.mem_devices[0], *second = &o.mem_devices[1];

	assert_int_equal(o.n_mem_devices, 2);
	assert_int_equal(first->plug.memory.size_bytes, 4 * GIB);
	assert_int_equal(first->plug.block_bytes, 2 * MIB);
	assert_int_equal(first->plug.node, 0);
	assert_int_equal(first->plug.memory.pages, RAM_PAGES_THP);
	assert_true(first->plug.memory.merge);
	assert_int_equal(first->requested_bytes, 0);
	assert_int_equal(second->plug.node, 1);
	assert_int_equal(second->plug.block_bytes, 4 * MIB);
	assert_int_equal(second->requested_bytes, 512 * MIB);
	assert_int_equal(second->plug.memory.host_nodes[0], 3);
	assert_int_equal(second->plug.memory.policy, RAM_POLICY_INTERLEAVE);
	assert_false(second->plug.memory.merge);
	o = good("--kernel k --mem-device size=2G,pages=1G");
	assert_int_equal(o.mem_devices[0].plug.block_bytes, GIB);

	bad("--kernel k --mem-device requested=1G", "size is missing", "size=1G");
	bad("--kernel k --mem-device size=1G,block=3M", "block=3M", "4M");
	bad("--kernel k --mem-device size=1G,block=1M", "block=1M", "2M");
	bad("--kernel k --mem-device size=1G,block=2M,pages=1G", "block", "1 GiB");
	bad("--kernel k --mem-device size=3M", "size", "2 MiB");
	bad("--kernel k --mem-device size=1G,requested=2G", "requested", "2 MiB");
	bad("--kernel k --mem-device size=1G,requested=1M", "requested", "2 MiB");
	bad("--kernel k --mem-device size=1G,node=1", "node 1", "1 node");
	bad("--kernel k --mem-device size=1G,node=x", "node=x", "from 0 to 7");
	bad("--kernel k --mem-device size=1G,prealloc=on", "prealloc", "requested");
	bad("--kernel k --mem-device size=1G,policy=bind", "policy=bind", "host-nodes");
	bad("--kernel k --mem-device size=5T", "size", "4 TiB");
}

static void test_help(void **state)
{
	static const char *const options[] = {
		"--name",    "--uuid",	 "--cpus",   "--memory",     "--kernel",    "--initrd",
		"--append",  "--disk",	 "--serial", "--console",    "--rng",	    "--balloon",
		"--qmp",     "--paused", "--help",   "--version",    "--no-reboot", "host-nodes=",
		"prealloc=", "--net",	 "vhost=",   "--mem-device", "requested="};
	struct options o;

	assert_int_equal(parse("--help", &o), OPTIONS_DONE);
	for (size_t i = 0; i < ARRAY_SIZE(options); i++)
		if (!strstr(said, options[i]))
			fail_msg("--help has no %s", options[i]);
	for (const char *line = said; *line; line += strcspn(line, "\n") + 1)
		if (strcspn(line, "\n") > 90)
			fail_msg("a line of --help is too long: %.*s", (int)strcspn(line, "\n"),
				 line);
	assert_int_equal(parse("--version --nonsense", &o), OPTIONS_DONE);
	assert_string_equal(said, "vmm " MEMD_VERSION "\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_defaults),      cmocka_unit_test(test_everything),
		cmocka_unit_test(test_merge_default), cmocka_unit_test(test_balloon),
		cmocka_unit_test(test_disk),	      cmocka_unit_test(test_net),
		cmocka_unit_test(test_consoles),      cmocka_unit_test(test_unknown),
		cmocka_unit_test(test_values),	      cmocka_unit_test(test_memory),
		cmocka_unit_test(test_mem_device),    cmocka_unit_test(test_help),
	};

	log_init("vmm", LOG_LEVEL_INFO);
	return cmocka_run_group_tests_name("vmm_options", tests, NULL, NULL);
}
