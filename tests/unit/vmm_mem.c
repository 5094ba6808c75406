// SPDX-License-Identifier: Apache-2.0
/*
 * virtio-mem and the memory behind it: requests of an honest driver, what the host really holds,
 * and that no device reaches what is unplugged.
 */
#include "tests/unit/mem_driver.h"

/* ---- an honest driver ---- */

static void config_space(void **state)
{
	struct driver *d = *state;
	uint32_t generation;

	assert_int_equal(reg_get(d, 0x08), 24);
	assert_int_equal(driver_offered(d) & 7, 3);
	assert_int_equal(config_u64(d, 0), BLOCK);
	assert_int_equal(reg_get(d, R_CONFIG + 8), 0);
	assert_int_equal(config_u64(d, 16), 128 * MIB);
	assert_int_equal(config_u64(d, 24), N_BLOCKS * BLOCK);
	assert_int_equal(config_u64(d, 32), 0);
	assert_int_equal(config_u64(d, 40), 0);
	assert_int_equal(config_u64(d, 48), 0);
	start(d, 2);
	irqs(d);
	generation = reg_get(d, R_GENERATION);
	assert_int_equal(mem_set_requested(d->dev, 4 * BLOCK), 0);
	assert_int_equal(irqs(d), 1);
	assert_int_not_equal(reg_get(d, R_GENERATION), generation);
	assert_int_equal(config_u64(d, 48), 4 * BLOCK);
	assert_int_equal(config_u64(d, 32), N_BLOCKS * BLOCK);
	assert_int_equal(mem_set_requested(d->dev, 4 * BLOCK), 0);
	assert_int_equal(irqs(d), 0);
	assert_int_equal(mem_set_requested(d->dev, BLOCK + 4096), -EINVAL);
	assert_int_equal(mem_set_requested(d->dev, (N_BLOCKS + 1) * BLOCK), -ERANGE);
	assert_int_equal(mem_requested_bytes(d->dev), 4 * BLOCK);
}

static void plug_and_unplug(void **state)
{
	struct driver *d = *state;
	uint8_t *hva = block_hva(d, 4);

	start(d, 8);
	assert_int_equal(state_of(d, 0, N_BLOCKS), UNPLUGGED);
	assert_int_equal(ask(d, PLUG, 4, 3), ACK);
	fake_loop_run(&d->loop);
	assert_int_equal(n_changes, 1);
	assert_int_equal(changed_to, 3 * BLOCK);
	assert_int_equal(config_u64(d, 40), 3 * BLOCK);
	assert_int_equal(state_of(d, 4, 3), PLUGGED);
	assert_int_equal(state_of(d, 3, 2), MIXED);
	assert_int_equal(state_of(d, 6, 2), MIXED);
	assert_int_equal(resident(hva, 3 * BLOCK), 0);
	memset(hva, 0xa5, 3 * BLOCK);
	assert_int_equal(resident(hva, 3 * BLOCK), 3 * BLOCK);
	assert_int_equal(ask(d, UNPLUG, 5, 1), ACK);
	assert_int_equal(hva[BLOCK - 1], 0xa5);
	assert_int_equal(hva[2 * BLOCK], 0xa5);
	assert_int_equal(resident(hva, 3 * BLOCK), 2 * BLOCK);
	assert_int_equal(ram_plug_returned(d->ram), BLOCK);
	assert_int_equal(ask(d, UNPLUG, 4, 1), ACK);
	assert_int_equal(ask(d, UNPLUG, 6, 1), ACK);
	assert_int_equal(resident(hva, 3 * BLOCK), 0);
	assert_int_equal(ram_plug_returned(d->ram), 3 * BLOCK);
	fake_loop_run(&d->loop);
	assert_int_equal(changed_to, 0);
	/* Plugged again it is empty, and its return is forgotten. */
	assert_int_equal(ask(d, PLUG, 4, 1), ACK);
	assert_int_equal(ram_plug_returned(d->ram), 2 * BLOCK);
	assert_int_equal(hva[0], 0);
	assert_int_equal(hva[BLOCK - 1], 0);
}

/* What was never touched brings nothing back. */
static void returned_is_what_was_there(void **state)
{
	struct driver *d = *state;

	start(d, 8);
	assert_int_equal(ask(d, PLUG, 0, 8), ACK);
	memset(block_hva(d, 1), 1, 5 * 4096);
	assert_int_equal(ask(d, UNPLUG, 0, 8), ACK);
	assert_int_equal(ram_plug_returned(d->ram), 5 * 4096);
}

static void unplug_everything(void **state)
{
	struct driver *d = *state;

	start(d, 8);
	for (uint64_t b = 0; b < 8; b += 2)
		assert_int_equal(ask(d, PLUG, b, 1), ACK);
	memset(block_hva(d, 2), 1, BLOCK);
	assert_int_equal(mem_set_requested(d->dev, 0), 0);
	/* The usable region stays until all is unplugged. */
	assert_int_equal(config_u64(d, 32), N_BLOCKS * BLOCK);
	assert_int_equal(ask(d, UNPLUG_ALL, 0, 0), ACK);
	assert_int_equal(config_u64(d, 40), 0);
	assert_int_equal(config_u64(d, 32), 0);
	assert_int_equal(resident(block_hva(d, 0), N_BLOCKS * BLOCK), 0);
	assert_int_equal(ask(d, UNPLUG_ALL, 0, 0), ACK);
}

static void resets(void **state)
{
	struct driver *d = *state;

	start(d, 4);
	assert_int_equal(ask(d, PLUG, 0, 4), ACK);
	memset(block_hva(d, 0), 1, BLOCK);
	/* By the driver: the memory stays as it is. */
	driver_start(d, F_INACCESSIBLE, 1, 64);
	assert_int_equal(state_of(d, 0, 4), PLUGGED);
	assert_int_equal(block_hva(d, 0)[0], 1);
	/* Of the machine: all goes, what is asked for stays. */
	virtio_mmio_reset(d->mmio);
	ram_discard_all(d->ram);
	mem_machine_reset(d->dev);
	fake_loop_run(&d->loop);
	assert_int_equal(changed_to, 0);
	assert_int_equal(ram_plug_returned(d->ram), 0);
	driver_start(d, F_INACCESSIBLE, 1, 64);
	assert_int_equal(config_u64(d, 40), 0);
	assert_int_equal(config_u64(d, 48), 4 * BLOCK);
	assert_int_equal(ask(d, PLUG, 0, 4), ACK);
	assert_int_equal(block_hva(d, 0)[0], 0);
}

/* ---- what the host holds ---- */

static void unplugged_is_out_of_reach(void **state)
{
	struct driver *d = *state;
	uint8_t byte;

	start(d, 8);
	assert_null(ram_ptr(d->ram, base(d), 1));
	assert_int_equal(ram_room(d->ram, base(d)), 0);
	assert_false(can_read(block_hva(d, 0)));
	assert_int_equal(ask(d, PLUG, 2, 2), ACK);
	assert_ptr_equal(ram_ptr(d->ram, block_gpa(d, 2), 2 * BLOCK), block_hva(d, 2));
	assert_null(ram_ptr(d->ram, block_gpa(d, 2), 2 * BLOCK + 1));
	assert_null(ram_ptr(d->ram, block_gpa(d, 2) - 1, 2));
	assert_int_equal(ram_room(d->ram, block_gpa(d, 3) + 5), BLOCK - 5);
	assert_int_equal(ram_read(d->ram, block_gpa(d, 4) - 1, &byte, 2), -EFAULT);
	assert_int_equal(ram_discard(d->ram, block_gpa(d, 3), 2 * BLOCK, RAM_GIVER_REPORTING),
			 -EFAULT);
	assert_true(can_write(block_hva(d, 2)));
	/* Right behind: zeroes that cost nothing, for Linux looks a word beyond a page's end. */
	assert_true(can_read(block_hva(d, 4)));
	assert_false(can_write(block_hva(d, 4)));
	assert_false(can_read(block_hva(d, 5)));
	assert_false(can_read(block_hva(d, 1)));
	assert_int_equal(ask(d, UNPLUG, 3, 1), ACK);
	assert_true(can_read(block_hva(d, 3)));
	assert_false(can_write(block_hva(d, 3)));
	assert_false(can_read(block_hva(d, 4)));
	assert_int_equal(ask(d, PLUG, 1, 1), ACK);
	assert_int_equal(ask(d, UNPLUG, 2, 1), ACK);
	assert_false(can_read(block_hva(d, 3)));
	assert_int_equal(*block_hva(d, 2), 0);
}

/* The balloon may hold pages of plugged memory; they go with their block. */
static void balloon_and_blocks(void **state)
{
	struct driver *d = *state;
	uint64_t balloon, reported;

	start(d, 8);
	assert_int_equal(ask(d, PLUG, 0, 4), ACK);
	memset(block_hva(d, 0), 1, 4 * BLOCK);
	assert_int_equal(ram_discard(d->ram, block_gpa(d, 1), BLOCK, RAM_GIVER_BALLOON), 0);
	assert_int_equal(ram_returned(d->ram, &balloon, &reported), 0);
	assert_int_equal(balloon, BLOCK);
	assert_int_equal(ask(d, UNPLUG, 0, 2), ACK);
	assert_int_equal(ram_returned(d->ram, &balloon, &reported), 0);
	assert_int_equal(balloon, 0);
	assert_int_equal(ram_plug_returned(d->ram), BLOCK);
	assert_int_equal(ram_discard(d->ram, block_gpa(d, 3), BLOCK, RAM_GIVER_BALLOON), 0);
	ram_reuse_all(d->ram);
	assert_int_equal(ram_returned(d->ram, &balloon, &reported), 0);
	assert_int_equal(balloon, 0);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(config_space),       T(plug_and_unplug), T(returned_is_what_was_there),
		T(unplug_everything),  T(resets),	   T(unplugged_is_out_of_reach),
		T(balloon_and_blocks),
	};

	log_init("vmm_mem", LOG_LEVEL_ERR);
	return cmocka_run_group_tests_name("vmm_mem", tests, NULL, NULL);
}
