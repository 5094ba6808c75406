// SPDX-License-Identifier: Apache-2.0
/* Guests: the registry against a scripted monitor: setup, polls, targets, resets, disappearance. */
#include "tests/unit/guest_world.h"

#include "memd/act.h"
#include "memd/savings.h"
#include "memd/vcpus.h"

static void test_setup(void **state)
{
	struct guest *guest = ready();
	struct pol_guest snapshot[2];
	bool mergeable = false;

	(void)state;
	assert_int_equal(w.found, 1);
	assert_string_equal(guest->name, "shop?"); /* no control characters from outside */
	assert_int_equal(guest->pid, getpid());
	assert_false(guest->ours);
	assert_string_equal(guest->version, "7.2.1");
	assert_int_equal(guest->memory_bytes, 512 * MIB);
	assert_string_equal(guest->balloon_path, "/machine/peripheral-anon/device[1]");
	assert_true(guest->deflate_on_oom);
	assert_int_equal(w.intervals, 1);
	assert_int_equal(guest->actual_bytes, 512 * MIB);
	assert_true(guest_is_answering(guest));
	/* Its driver has never spoken: no balloon for the policy, and no statistics. */
	assert_int_equal(guests_snapshot(&w.guests, clock_now_us(), snapshot, 2, &mergeable), 1);
	assert_true(mergeable);
	assert_false(snapshot[0].has_balloon);
	assert_true(snapshot[0].stat_age_us == POL_ABSENT);
	assert_true(snapshot[0].target_bytes == POL_ABSENT);
}

static void set_update(unsigned int when, uint64_t available)
{
	snprintf(w.stats, sizeof(w.stats),
		 "{\"stats\":{\"stat-total-memory\":500000000,\"stat-available-memory\":%llu,"
		 "\"stat-free-memory\":1000,\"stat-async-scans\":70,\"stat-direct-scans\":5,"
		 "\"stat-async-reclaims\":60},\"last-update\":%u}",
		 (unsigned long long)available, when);
}

static void test_statistics(void **state)
{
	struct guest *guest;
	struct pol_guest p;
	bool any;

	(void)state;
	/* What was there before us may be hours old: only a change tells the age. */
	set_update(100, 400000000);
	guest = ready();
	tick();
	assert_true(guest->driver_seen);
	guests_snapshot(&w.guests, clock_now_us(), &p, 1, &any);
	assert_true(p.has_balloon);
	assert_true(p.stat_age_us == POL_ABSENT);
	assert_true(p.stat_available_bytes == POL_ABSENT);
	set_update(101, 300000000);
	tick();
	guests_snapshot(&w.guests, clock_now_us(), &p, 1, &any);
	assert_int_equal(p.stat_scanned_bytes, 75);
	assert_true(p.stat_reclaimed_bytes == POL_ABSENT); /* half of it says nothing */
	assert_true(p.has_balloon);
	assert_true(p.stat_age_us < USEC_PER_SEC);
	assert_int_equal(p.stat_available_bytes, 300000000);
	assert_true(p.stat_cache_bytes == POL_ABSENT);
	/* A lie takes away all of them, until it ends. */
	set_update(102, 600000000);
	tick();
	guests_snapshot(&w.guests, clock_now_us(), &p, 1, &any);
	assert_true(p.stat_age_us == POL_ABSENT);
	assert_true(p.stat_available_bytes == POL_ABSENT);
	set_update(103, 200000000);
	tick();
	guests_snapshot(&w.guests, clock_now_us(), &p, 1, &any);
	assert_int_equal(p.stat_available_bytes, 200000000);
}

/* Second-level mappings, as far as the monitor knows of them. */
static void test_mapped(void **state)
{
	struct guest *guest;

	(void)state;
	w.mapped = "[{\"provider\":\"kvm\",\"stats\":[{\"name\":\"pages_4k\",\"value\":512},"
		   "{\"name\":\"pages_2m\",\"value\":3},{\"name\":\"pages_1g\",\"value\":true}]}]";
	guest = ready();
	for (unsigned int i = 0; i < 10 && !w.mapped_asked; i++)
		tick();
	assert_int_equal(w.mapped_asked, 1);
	assert_int_equal(guest->mapped_bytes[GUEST_MAPPED_4K], 2 * MIB);
	assert_int_equal(guest->mapped_bytes[GUEST_MAPPED_2M], 6 * MIB);
	assert_true(guest->mapped_bytes[GUEST_MAPPED_1G] == POL_ABSENT);
	/* TCG: no provider, no numbers. */
	w.mapped = "[]";
	for (unsigned int i = 0; i < 10 && w.mapped_asked < 2; i++)
		tick();
	assert_true(guest->mapped_bytes[GUEST_MAPPED_4K] == POL_ABSENT);
	assert_int_equal(guest->phase, GUEST_READY);
	/* One that does not know the command is not asked for ever. */
	w.mapped = NULL;
	for (unsigned int i = 0; i < 20; i++)
		tick();
	assert_int_equal(w.mapped_asked, 3);
	assert_true(guest->mapped_refused);
}

static void test_target(void **state)
{
	struct guest *guest = ready();

	(void)state;
	assert_int_equal(guest_qmp_set_target(guest, 256 * MIB, 77), 0);
	settle();
	assert_int_equal(w.targets, 1);
	assert_int_equal(w.last_target, 256 * MIB);
	assert_int_equal(w.target_cookie, 77);
	assert_int_equal(w.target_error, 0);
	assert_int_equal(guest->target_bytes, 256 * MIB);
	/* The connection ends with the command open: told as failed. */
	w.monitor.silent = true;
	assert_int_equal(guest_qmp_set_target(guest, 128 * MIB, 78), 0);
	guest_qmp_drop(guest, "test");
	assert_int_equal(w.target_cookie, 78);
	assert_int_equal(w.target_error, -EPIPE);
	assert_int_equal(guest_qmp_set_target(guest, 128 * MIB, 79), -ENOTCONN);
}

#define DEVICE(id, size, requested, max)                                            \
	"{\"type\":\"virtio-mem\",\"data\":{\"id\":\"" id                           \
	"\",\"memaddr\":4294967296,\"size\":" size ",\"requested-size\":" requested \
	",\"max-size\":" max ",\"block-size\":2097152,\"node\":0,\"memdev\":\"/objects/m\"}}"

/* A DIMM of 64 MiB, two virtio-mem devices: the first is moved, what the others have stays. */
static void test_mem_device(void **state)
{
	struct guest *guest;
	struct pol_guest snapshot[2];
	struct savings savings;
	const struct pol_ksm ksm = {0};
	bool mergeable;

	(void)state;
	w.devices = "[{\"type\":\"dimm\",\"data\":{\"id\":\"d\",\"size\":67108864}}," DEVICE(
		"vm0", "134217728", "134217728",
		"268435456") "," DEVICE("vm1", "33554432", "33554432", "67108864") "]";
	strcpy(w.actual, "603979776"); /* 512 + 64 MiB: base and DIMM */
	guest = ready();
	assert_string_equal(guest->mem_path, "/machine/peripheral/vm0");
	assert_int_equal(guest->memory_bytes, (512 + 64 + 32 + 256) * MIB);
	assert_int_equal(guest->actual_bytes, (512 + 64 + 32 + 128) * MIB);
	assert_int_equal(guests_snapshot(&w.guests, 0, snapshot, 2, &mergeable), 1);
	assert_int_equal(snapshot[0].mem_max_bytes, 256 * MIB);
	assert_int_equal(snapshot[0].mem_size_bytes, 128 * MIB);
	assert_int_equal(snapshot[0].mem_requested_bytes, 128 * MIB);
	assert_int_equal(snapshot[0].mem_block_bytes, 2 * MIB);
	savings_count(&w.guests, &ksm, 4096, 0, &savings);
	assert_int_equal(guest->balloon_bytes, 0);
	assert_int_equal(guest->mem_bytes, 0);

	/* 64 MiB less, all of it by the device; then 32 MiB more, and those by the balloon. */
	assert_int_equal(guest_qmp_set_size(guest, 672 * MIB, 64 * MIB, 0), 0);
	settle();
	assert_int_equal(w.last_requested, 64 * MIB);
	assert_int_equal(w.last_target, (512 + 64) * MIB);
	assert_int_equal(guest_qmp_set_size(guest, 640 * MIB, 64 * MIB, 0), 0);
	settle();
	assert_int_equal(w.requests, 1);
	assert_int_equal(w.last_target, (512 + 64 - 32) * MIB);
	assert_int_equal(guest->target_bytes, 640 * MIB);

	w.devices = "[" DEVICE("vm0", "67108864", "67108864", "268435456") "]";
	tick();
	assert_int_equal(guest->mem_size_bytes, 64 * MIB);
	savings_count(&w.guests, &ksm, 4096, 0, &savings);
	assert_int_equal(guest->mem_bytes, 64 * MIB);
	assert_int_equal(savings.total_bytes, savings.balloon_bytes + savings.mem_bytes);
	/* All of it back. */
	assert_int_equal(guest_qmp_set_target(guest, guest->memory_bytes, 0), 0);
	settle();
	assert_int_equal(w.last_requested, 256 * MIB);
	assert_int_equal(w.last_target, 512 * MIB);
	/* Nonsense is no device. */
	w.devices = "[" DEVICE("vm0", "67108864", "0", "2") ",7,{}," DEVICE("", "-1", "0", "0") "]";
	tick();
	assert_int_equal(guest->mem_max_bytes, 0);
}

static void test_no_balloon(void **state)
{
	const char *why = NULL;
	struct guest *guest;

	(void)state;
	w.no_balloon = w.balloon_error = true;
	guest = ready();
	assert_false(guest_is_managed(guest, &why));
	assert_contains(why, "no balloon device");
	assert_int_equal(guest_qmp_set_target(guest, 1, 1), -ENOTCONN);
}

static void test_reset(void **state)
{
	struct guest *guest = ready();
	uint64_t id = guest->id;

	(void)state;
	guest_qmp_set_target(guest, 256 * MIB, 1);
	settle();
	monitor_tell(&w.monitor, "{\"event\":\"RESET\",\"data\":{\"guest\":true}}\r\n");
	settle();
	guest = tick();
	assert_int_equal(w.reset, 1);
	assert_true(guest->id > id);
	assert_true(guest->target_bytes == POL_ABSENT);
	assert_true(guest->release); /* its new life began under the old target */
}

/* The event was missed, but the balloon is empty without anybody having asked. */
static void test_reset_unseen(void **state)
{
	struct guest *guest = ready();
	uint64_t id = guest->id;

	(void)state;
	guest_qmp_set_target(guest, 256 * MIB, 1);
	snprintf(w.actual, sizeof(w.actual), "%llu", 300 * MIB);
	tick();
	snprintf(w.actual, sizeof(w.actual), "%llu", 512 * MIB);
	tick();
	guest = tick();
	assert_true(guest->id > id);
}

/* Another memd: it has no target of the guest, whose balloon holds 212 MiB. */
static struct guest *inherited(void)
{
	w.guests.balloons = true;
	set_update(100, 1000);
	snprintf(w.actual, sizeof(w.actual), "%llu", 300 * MIB);
	return ready();
}

static void test_inherited_reset(void **state)
{
	struct guest *guest = inherited();

	(void)state;
	assert_int_equal(guest_taken_bytes(guest), 212 * MIB);
	monitor_tell(&w.monitor, "{\"event\":\"RESET\",\"data\":{\"guest\":true}}\r\n");
	settle();
	tick();
	assert_int_equal(w.reset, 1);
	assert_true(guest->release);
	/* The event missed, too. */
	guest->release = false;
	snprintf(w.actual, sizeof(w.actual), "%llu", 512 * MIB);
	tick();
	tick();
	assert_int_equal(w.reset, 2);
	assert_true(guest->release);
}

/* Balloons are somebody else's, or a full one is just not known of: nothing of ours. */
static void test_not_inherited(void **state)
{
	struct guest *guest = inherited();
	struct act act = {.guests = &w.guests};

	(void)state;
	w.guests.balloons = false;
	assert_int_equal(guest_taken_bytes(guest), 0);
	assert_int_equal(act_deflate(&act, GIB, 0), 0);
	snprintf(w.actual, sizeof(w.actual), "%llu", 512 * MIB);
	tick();
	tick();
	assert_int_equal(w.reset, 0);
	monitor_tell(&w.monitor, "{\"event\":\"RESET\",\"data\":{\"guest\":true}}\r\n");
	settle();
	tick();
	assert_int_equal(w.reset, 1);
	assert_false(guest->release);
}

/* At the end of memd: also what another one has taken, and those that there is room for. */
static void test_deflate(void **state)
{
	struct guest *guest = inherited(), *other = calloc(1, sizeof(*other));
	struct act act = {.guests = &w.guests};

	(void)state;
	other->all = &w.guests;
	other->id = guest->id + 1;
	other->balloon_active = true;
	other->memory_bytes = 2 * GIB;
	other->target_bytes = GIB;
	w.guests.v[w.guests.n++] = other;
	assert_int_equal(act_deflate(&act, 600 * MIB, 400 * MIB), 0);
	assert_int_equal(act_deflate(&act, 900 * MIB, 400 * MIB), 1);
	settle();
	assert_int_equal(w.last_target, 512 * MIB);
	assert_int_equal(other->target_bytes, GIB);
	assert_int_equal(act_deflate(&act, 900 * MIB, 400 * MIB), 0);
	/* That is what was asked for, and no reset. */
	snprintf(w.actual, sizeof(w.actual), "%llu", 512 * MIB);
	tick();
	tick();
	assert_int_equal(w.reset, 0);
}

static void set_faults(unsigned int when, unsigned int faults)
{
	snprintf(w.stats, sizeof(w.stats),
		 "{\"stats\":{\"stat-total-memory\":500000000,\"stat-major-faults\":%u},"
		 "\"last-update\":%u}",
		 faults, when);
}

/* Ballooned by us, with statistics, and then its balloon is empty. */
static struct guest *emptied(unsigned int faults)
{
	struct guest *guest;

	w.config.policy.stats_max_age_us = 200000;
	set_faults(100, faults);
	guest = ready();
	set_faults(101, faults);
	guest_qmp_set_target(guest, 256 * MIB, 1);
	snprintf(w.actual, sizeof(w.actual), "%llu", 300 * MIB);
	tick();
	snprintf(w.actual, sizeof(w.actual), "%llu", 512 * MIB);
	return guest;
}

/* It ran out of memory and took all of its balloon (deflate-on-oom): the same life. */
static void test_out_of_memory(void **state)
{
	struct guest *guest = emptied(70);
	uint64_t id = guest->id;

	(void)state;
	tick(); /* no statistics since */
	assert_false(guest->renew);
	set_faults(103, 75);
	tick();
	usleep(250000);
	set_faults(104, 75);
	tick();
	tick();
	assert_int_equal(guest->id, id);
	assert_int_equal(guest->target_bytes, 256 * MIB);
	assert_int_equal(w.reset, 0);
}

/* Reset, with the event missed: another kernel counts from the beginning, or nobody counts. */
static void test_reset_unseen_with_statistics(void **state)
{
	struct guest *guest = emptied(70);
	uint64_t id = guest->id;

	(void)state;
	set_faults(102, 70); /* from just before */
	tick();
	set_faults(103, 5);
	tick();
	tick();
	assert_true(guest->id > id);
	assert_int_equal(w.reset, 1);
}

static void test_reset_unseen_and_silent(void **state)
{
	struct guest *guest = emptied(70);

	(void)state;
	tick();
	assert_false(guest->renew);
	usleep(250000);
	tick();
	tick();
	assert_int_equal(w.reset, 1);
}

/* Nothing was counted, so that nothing can be told from it. */
static void test_reset_unseen_without_counters(void **state)
{
	struct guest *guest = emptied(0);

	(void)state;
	tick();
	assert_false(guest->renew);
	set_faults(102, 5);
	tick();
	tick();
	assert_int_equal(w.reset, 1);
}

/* While there was no connection it may have been reset. */
static void test_reset_without_connection(void **state)
{
	struct guest *guest = emptied(70);

	(void)state;
	wire_conn_free(w.monitor.conn);
	w.monitor.conn = NULL;
	settle();
	set_faults(103, 75);
	ready();
	tick();
	assert_int_equal(w.reset, 1);
	assert_true(guest->target_bytes == POL_ABSENT);
}

static void test_gone(void **state)
{
	struct guest *guest = ready();
	char path[128];

	(void)state;
	(void)guest;
	monitor_close(&w.monitor);
	tree_path(&w.tree, "web1.qmp", path, sizeof(path));
	settle();
	tick(); /* the file is there, nobody behind it */
	assert_int_equal(w.gone, 1);
	assert_int_equal(w.guests.n, 1);
	assert_false(w.guests.v[0]->listed);
	unlink(path);
	assert_null(tick());
	/* And back, another guest under the same name. */
	monitor_open(&w.monitor, w.tree.root, "web1.qmp");
	assert_int_equal(ready()->id, 2);
}

/* Killed, so that its socket's file stays; another process comes up behind that path. */
static void test_successor(void **state)
{
	struct guest *guest = ready();
	uint64_t id = guest->id;
	char path[128];

	(void)state;
	guest_qmp_set_target(guest, 256 * MIB, 1);
	settle();
	monitor_close(&w.monitor);
	settle();
	tick();
	assert_false(guest->known);
	/* What has been learned of it; it began at another time than this process. */
	guest->starttime--;
	guest->survey.full = true;
	guest->backends[0].ours = true;
	guest->place.status = GUEST_PLACE_ACTIVE;
	guest->repair.why = 1;
	guest->cpus.pin = calloc(1, sizeof(*guest->cpus.pin));
	assert_int_equal(vcpus_reserve(&guest->cpus, 1), 0);

	tree_path(&w.tree, "web1.qmp", path, sizeof(path));
	unlink(path);
	monitor_open(&w.monitor, w.tree.root, "web1.qmp");
	assert_ptr_equal(ready(), guest);
	assert_true(guest->id > id);
	assert_int_equal(w.intervals, 2);
	assert_true(guest->target_bytes == POL_ABSENT);
	assert_false(guest->release);
	assert_false(guest->survey.full);
	assert_false(guest->backends[0].ours);
	assert_null(guest->cpus.pin);
	assert_int_equal(guest->place.status, GUEST_PLACE_NONE);
	assert_int_equal(guest->repair.why, 0);
}

/* The connection breaks with the order to poll for statistics unread: it is sent again. */
static void test_interval_lost(void **state)
{
	struct guest *guest = ready();

	(void)state;
	for (unsigned int i = 2; i < 4; i++) {
		wire_conn_free(w.monitor.conn);
		w.monitor.conn = NULL;
		settle();
		assert_int_equal(guest->phase, GUEST_WAITING);
		ready();
		assert_int_equal(w.intervals, i);
		assert_true(guest->poll_interval_set);
		assert_int_equal(guest->poll_interval_s, 0); /* as found */
	}
}

static void test_dry_run(void **state)
{
	(void)state;
	w.guests.dry_run = true;
	ready();
	assert_int_equal(w.intervals, 0);
}

static void test_vmm(void **state)
{
	struct guest *guest;

	(void)state;
	w.monitor.package = "vmm 0.1.0";
	guest = ready();
	assert_true(guest->ours);
	assert_string_equal(guest->version, "0.1.0");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_MONITOR(test_setup),
		WITH_MONITOR(test_statistics),
		WITH_MONITOR(test_mapped),
		WITH_MONITOR(test_target),
		WITH_MONITOR(test_mem_device),
		WITH_MONITOR(test_no_balloon),
		WITH_MONITOR(test_reset),
		WITH_MONITOR(test_reset_unseen),
		WITH_MONITOR(test_gone),
		WITH_MONITOR(test_successor),
		WITH_MONITOR(test_interval_lost),
		WITH_MONITOR(test_inherited_reset),
		WITH_MONITOR(test_not_inherited),
		WITH_MONITOR(test_deflate),
		WITH_MONITOR(test_out_of_memory),
		WITH_MONITOR(test_reset_unseen_with_statistics),
		WITH_MONITOR(test_reset_unseen_and_silent),
		WITH_MONITOR(test_reset_unseen_without_counters),
		WITH_MONITOR(test_reset_without_connection),
		WITH_MONITOR(test_dry_run),
		WITH_MONITOR(test_vmm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
