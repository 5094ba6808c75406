// SPDX-License-Identifier: Apache-2.0
/* virtio-mem: a hostile driver, where the memory lies, and pages of the pool. */
#include "tests/unit/mem_driver.h"

/* ---- a hostile driver ---- */

static void refused(void **state)
{
	struct driver *d = *state;
	uint16_t ignored;

	start(d, 4);
	assert_int_equal(ask(d, PLUG, 0, 0), ERROR);
	assert_int_equal(ask(d, PLUG, 0, 5), NACK);
	assert_int_equal(ask(d, PLUG, N_BLOCKS, 1), ERROR);
	assert_int_equal(ask(d, PLUG, N_BLOCKS - 1, 2), ERROR);
	assert_int_equal(ask(d, PLUG, 0, UINT16_MAX), ERROR);
	assert_int_equal(ask_state(d, PLUG, base(d) + 4096, 1, &ignored), ERROR);
	assert_int_equal(ask_state(d, PLUG, base(d) - BLOCK, 1, &ignored), ERROR);
	assert_int_equal(ask_state(d, PLUG, 0, 1, &ignored), ERROR);
	assert_int_equal(ask_state(d, PLUG, UINT64_MAX - BLOCK + 1, 2, &ignored), ERROR);
	assert_int_equal(ask_state(d, STATE, 0, 1, &ignored), ERROR);
	assert_int_equal(ask(d, 4, 0, 1), ERROR);
	assert_int_equal(ask(d, UINT16_MAX, 0, 1), ERROR);
	assert_int_equal(ask(d, UNPLUG, 0, 1), ERROR);
	assert_int_equal(ask(d, PLUG, 1, 2), ACK);
	assert_int_equal(ask(d, PLUG, 1, 1), ERROR);
	assert_int_equal(ask(d, PLUG, 0, 2), ERROR);
	assert_int_equal(ask(d, UNPLUG, 0, 2), ERROR);
	assert_int_equal(ask(d, UNPLUG, 2, 2), ERROR);
	assert_int_equal(ask(d, PLUG, 10, 3), NACK);
	assert_int_equal(mem_plugged_bytes(d->dev), 2 * BLOCK);
	assert_false(needs_reset(d));
}

static void beyond_the_usable_region(void **state)
{
	struct driver *d = *state;

	/* Nothing was asked for: nothing is usable. */
	start(d, 0);
	assert_int_equal(ask(d, PLUG, 0, 1), ERROR);
	assert_int_equal(ask(d, STATE, 0, 1), ERROR);
	assert_int_equal(ask(d, UNPLUG_ALL, 0, 0), ACK);
}

static void short_buffers(void **state)
{
	struct driver *d = *state;
	struct request request = {.type = PLUG, .addr = base(d), .n = 1};
	uint64_t gpa;

	start(d, 4);
	gpa = driver_alloc(d, 64);
	memcpy(at(d, gpa, 64), &request, sizeof(request));
	set_desc(d, 0, 0, gpa, sizeof(request) - 1, VIRTIO_DESC_NEXT, 1);
	set_desc(d, 0, 1, gpa + 32, 10, VIRTIO_DESC_WRITE, 0);
	offer(d, 0, 0);
	kick(d, 0);
	assert_true(needs_reset(d));
	start(d, 4);
	set_desc(d, 0, 0, gpa, sizeof(request), VIRTIO_DESC_NEXT, 1);
	set_desc(d, 0, 1, gpa + 32, 9, VIRTIO_DESC_WRITE, 0);
	offer(d, 0, 0);
	kick(d, 0);
	assert_true(needs_reset(d));
	assert_int_equal(mem_plugged_bytes(d->dev), 0);
	/* In pieces it is as good as any. */
	start(d, 4);
	set_desc(d, 0, 0, gpa, 5, VIRTIO_DESC_NEXT, 1);
	set_desc(d, 0, 1, gpa + 5, sizeof(request) - 5, VIRTIO_DESC_NEXT, 2);
	set_desc(d, 0, 2, gpa + 32, 1, VIRTIO_DESC_WRITE | VIRTIO_DESC_NEXT, 3);
	set_desc(d, 0, 3, gpa + 40, 9, VIRTIO_DESC_WRITE, 0);
	offer(d, 0, 0);
	kick(d, 0);
	assert_false(needs_reset(d));
	assert_int_equal(mem_plugged_bytes(d->dev), BLOCK);
}

static void driver_of_old(void **state)
{
	struct driver *d = *state;

	assert_true(driver_negotiate(d, F_VERSION_1));
	driver_queue(d, 0, 64);
	driver_ok(d);
	assert_true(needs_reset(d));
}

/* Buffers, rings and requests in flight that lie in what is to be unplugged. */
static void memory_in_use(void **state)
{
	struct driver *d = *state;
	const struct request request = {.type = UNPLUG, .addr = block_gpa(d, 2), .n = 1};
	uint16_t *response;

	start(d, 8);
	assert_int_equal(ask(d, PLUG, 0, 4), ACK);
	response = ram_ptr(d->ram, block_gpa(d, 2) + 512, 10);
	memcpy(ram_ptr(d->ram, block_gpa(d, 2), sizeof(request)), &request, sizeof(request));
	set_desc(d, 0, 0, block_gpa(d, 2), sizeof(request), VIRTIO_DESC_NEXT, 1);
	set_desc(d, 0, 1, block_gpa(d, 2) + 512, 10, VIRTIO_DESC_WRITE, 0);
	offer(d, 0, 0);
	kick(d, 0);
	assert_int_equal(response[0], BUSY);
	assert_int_equal(ask(d, UNPLUG, 2, 1), ACK);

	/* The same, but out of what is gone: the chain is no RAM. */
	offer(d, 0, 0);
	set_desc(d, 0, 0, block_gpa(d, 2), sizeof(request), VIRTIO_DESC_NEXT, 1);
	kick(d, 0);
	assert_true(needs_reset(d));

	/* A ring in block 3 keeps it, until the device is reset. */
	assert_true(driver_negotiate(d, F_INACCESSIBLE | F_VERSION_1));
	driver_queue(d, 0, 64);
	reg_set(d, 0x44, 0);
	memcpy(ram_ptr(d->ram, block_gpa(d, 3), 1024), at(d, d->q[0].desc_gpa, 1024), 1024);
	d->q[0].desc_gpa = block_gpa(d, 3);
	d->q[0].desc = ram_ptr(d->ram, block_gpa(d, 3), 1024);
	reg_set64(d, 0x80, d->q[0].desc_gpa);
	reg_set(d, 0x44, 1);
	driver_ok(d);
	assert_int_equal(ask(d, UNPLUG, 3, 1), BUSY);
	assert_int_equal(ask(d, UNPLUG_ALL, 0, 0), BUSY);
	assert_int_equal(ask(d, UNPLUG, 1, 1), ACK);
	start(d, 8);
	assert_int_equal(ask(d, UNPLUG, 3, 1), ACK);
}

/* A head that is in flight twice is let go of twice. */
static void heads_in_flight(void **state)
{
	struct driver *d = *state;
	struct virtio_chain *chain = calloc(1, sizeof(*chain));

	start(d, 8);
	assert_int_equal(ask(d, PLUG, 0, 4), ACK);
	set_desc(d, 0, 7, block_gpa(d, 1), 8, 0, 0);
	offer(d, 0, 7);
	assert_int_equal(virtio_queue_pop(d->dev, 0, chain), 1);
	assert_true(virtio_uses(d->dev, block_gpa(d, 1), BLOCK));
	assert_false(virtio_uses(d->dev, block_gpa(d, 0), BLOCK));
	assert_false(virtio_uses(d->dev, block_gpa(d, 2), BLOCK));
	set_desc(d, 0, 7, 0x1000, 8, 0, 0);
	offer(d, 0, 7);
	assert_int_equal(virtio_queue_pop(d->dev, 0, chain), 1);
	virtio_queue_push(d->dev, 0, 7, 0);
	assert_true(virtio_uses(d->dev, block_gpa(d, 1), BLOCK));
	virtio_queue_push(d->dev, 0, 7, 0);
	assert_false(virtio_uses(d->dev, block_gpa(d, 1), BLOCK));
	set_desc(d, 0, 7, block_gpa(d, 1), 8, 0, 0);
	offer(d, 0, 7);
	assert_int_equal(virtio_queue_pop(d->dev, 0, chain), 1);
	virtio_queue_unpop(d->dev, 0);
	assert_false(virtio_uses(d->dev, block_gpa(d, 1), BLOCK));
	free(chain);
}

/* Any order of requests agrees with a plain table of blocks, and with what the host holds. */
static void random_requests(void **state)
{
	struct driver *d = *state;
	bool is_in[N_BLOCKS] = {false};
	unsigned int n_in = 0;

	start(d, 40);
	srandom(5);
	for (unsigned int i = 0; i < 3000; i++) {
		unsigned int type = random() % 2 ? PLUG : UNPLUG, n = 1 + (unsigned)random() % 6;
		unsigned int first = (unsigned)random() % N_BLOCKS, want = ACK, bad = 0;

		d->next_gpa = 0x10000; /* the buffers again */
		for (unsigned int b = first; b < first + n; b++)
			bad += b < N_BLOCKS && is_in[b] == (type == PLUG);
		if (first + n > N_BLOCKS)
			want = ERROR;
		else if (type == PLUG && n_in + n > 40)
			want = NACK;
		else if (bad)
			want = ERROR;
		assert_int_equal(ask(d, type, first, (uint16_t)n), want);
		if (want != ACK)
			continue;
		for (unsigned int b = first; b < first + n; b++) {
			is_in[b] = type == PLUG;
			if (is_in[b])
				*block_hva(d, b) = 1;
		}
		n_in = type == PLUG ? n_in + n : n_in - n;
		assert_int_equal(mem_plugged_bytes(d->dev), n_in * BLOCK);
		assert_int_equal(resident(block_hva(d, 0), N_BLOCKS * BLOCK), n_in * 4096);
	}
	for (unsigned int b = 0; b < N_BLOCKS; b++) {
		assert_int_equal(can_write(block_hva(d, b)), is_in[b]);
		assert_int_equal(can_read(block_hva(d, b)), is_in[b] || (b && is_in[b - 1]));
		assert_int_equal(ram_room(d->ram, block_gpa(d, b)) > 0, is_in[b]);
	}
}

/* ---- where it lies ---- */

static void places(void **state)
{
	const struct ram_config small = {.size_bytes = 200 * MIB}, large = {.size_bytes = 4 * GIB};
	struct ram_plug_config config = {.memory = {.size_bytes = GIB}};
	char why[RAM_WHY_MAX];
	struct ram *ram;

	assert_int_equal(ram_new(&small, 1, &ram), 0);
	assert_int_equal(ram_plug_start(ram), UINT64_MAX);
	assert_int_equal(ram_plug_add(ram, &config), 0);
	config.memory.size_bytes = 2 * GIB;
	assert_int_equal(ram_plug_add(ram, &config), 0);
	config.memory.size_bytes = 2 * MIB;
	assert_int_equal(ram_plug_add(ram, &config), 0);
	assert_int_equal(ram_plug_region(ram, 0)->gpa, 256 * MIB);
	assert_int_equal(ram_plug_region(ram, 1)->gpa, 4 * GIB);
	assert_int_equal(ram_plug_region(ram, 2)->gpa, 6 * GIB);
	assert_int_equal(ram_plug_count(ram), 3);
	assert_int_equal(ram_region_count(ram), 1);
	assert_int_equal(ram_size_bytes(ram), 200 * MIB);
	for (size_t i = 3; i < RAM_PLUGS_MAX; i++)
		assert_int_equal(ram_plug_add(ram, &config), 0);
	assert_int_equal(ram_plug_add(ram, &config), -ENOSPC);
	ram_free(ram);

	assert_int_equal(ram_new(&large, 1, &ram), 0);
	config.memory.size_bytes = GIB;
	assert_int_equal(ram_plug_add(ram, &config), 0);
	assert_int_equal(ram_plug_region(ram, 0)->gpa, 6 * GIB);
	ram_free(ram);

	config.block_bytes = 3 * MIB;
	assert_int_equal(ram_plug_config_check(&config, 1, why), -EINVAL);
	config.block_bytes = 0;
	config.node = 1;
	assert_int_equal(ram_plug_config_check(&config, 1, why), -EINVAL);
	assert_int_equal(ram_plug_config_check(&config, 2, why), 0);
	config.memory.size_bytes = 3 * MIB;
	assert_int_equal(ram_plug_config_check(&config, 2, why), -EINVAL);
}

/* ---- pool pages ---- */

static uint64_t pool(const char *name)
{
	AUTO_FD int root = kfile_open_root("/");
	uint64_t value = 0;
	char path[128];

	snprintf(path, sizeof(path), POOL_2M "%s", name);
	(void)kfile_read_u64(root, path, &value);
	return value;
}

/* Plugging takes pool pages, unplugging gives all of them back, an empty pool is BUSY. */
static void pool_pages(void **state)
{
	AUTO_FD int root = kfile_open_root("/");
	const uint64_t before = pool("nr_hugepages");
	struct driver *d;

	if (kfile_write_u64(root, POOL_2M "nr_hugepages", before + 4) < 0 ||
	    pool("free_hugepages") < 4 || pool("nr_hugepages") != before + 4 ||
	    pool("free_hugepages") != 4) {
		(void)kfile_write_u64(root, POOL_2M "nr_hugepages", before);
		print_message("no 4 pages of a pool of our own\n");
		skip();
	}
	plug_config.memory.pages = RAM_PAGES_2M;
	assert_int_equal(setup(state), 0);
	d = *state;
	start(d, 8);
	assert_int_equal(pool("free_hugepages"), 4);
	assert_int_equal(ask(d, PLUG, 1, 3), ACK);
	assert_int_equal(pool("free_hugepages"), 1);
	memset(block_hva(d, 1), 1, 3 * BLOCK);
	assert_int_equal(ask(d, PLUG, 4, 2), BUSY);
	assert_int_equal(state_of(d, 4, 2), UNPLUGGED);
	assert_int_equal(pool("free_hugepages"), 1);
	assert_true(can_read(block_hva(d, 4)));
	assert_int_equal(ask(d, PLUG, 4, 1), ACK);
	assert_int_equal(pool("free_hugepages"), 0);
	assert_int_equal(ask(d, PLUG, 0, 1), BUSY);
	/* One that the balloon has given back is ordinary memory by now, and goes with the rest. */
	assert_int_equal(ram_discard(d->ram, block_gpa(d, 2), BLOCK, RAM_GIVER_BALLOON), 0);
	assert_int_equal(pool("free_hugepages"), 1);
	assert_int_equal(ask(d, UNPLUG, 1, 4), ACK);
	assert_int_equal(pool("free_hugepages"), 4);
	assert_int_equal(ram_plug_returned(d->ram), 3 * BLOCK);
	assert_false(can_read(block_hva(d, 1)));
	assert_int_equal(ask(d, PLUG, 2, 1), ACK);
	assert_int_equal(*block_hva(d, 2), 0);
	assert_int_equal(ask(d, UNPLUG_ALL, 0, 0), ACK);
	assert_int_equal(pool("free_hugepages"), 4);
	teardown(state);
	plug_config.memory.pages = RAM_PAGES_SMALL;
	assert_int_equal(kfile_write_u64(root, POOL_2M "nr_hugepages", before), 0);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(refused),
		T(beyond_the_usable_region),
		T(short_buffers),
		T(driver_of_old),
		T(memory_in_use),
		T(heads_in_flight),
		T(random_requests),
		cmocka_unit_test(places),
		cmocka_unit_test(pool_pages),
	};

	log_init("vmm_mem_hostile", LOG_LEVEL_ERR);
	return cmocka_run_group_tests_name("vmm_mem_hostile", tests, NULL, NULL);
}
