// SPDX-License-Identifier: Apache-2.0
/*
 * virtio-blk: what a driver asks, and what a broken one sends must end in a status or in
 * DEVICE_NEEDS_RESET, and nothing may reach the disk.
 */
#include "tests/unit/blk_driver.h"

/* ---- tests ---- */

static void config_space(void **state)
{
	struct driver *d = *state;
	uint8_t byte;

	assert_int_equal(reg_get(d, 0x08), VIRTIO_ID_BLOCK);
	assert_int_equal(driver_offered(d), F_ALL | F_VERSION_1 | F_INDIRECT);
	assert_int_equal(config_word(d, 0), DISK_BYTES / 512);
	assert_int_equal(config_word(d, 4), 0);
	assert_int_equal(config_word(d, 8), 1 << 20); /* size_max */
	assert_int_equal(config_word(d, 12), 254);    /* seg_max */
	assert_int_equal(config_word(d, 20), 512);    /* blk_size */
	assert_int_equal(config_word(d, 24), 0x00010003);
	assert_int_equal(config_word(d, 36), (1U << 30) / 512); /* max_discard_sectors */
	assert_int_equal(config_word(d, 40), 64);
	assert_int_equal(config_word(d, 44), 8); /* alignment */
	assert_int_equal(config_word(d, 48), (64U << 20) / 512);
	assert_int_equal(config_word(d, 52), 1);
	virtio_mmio_bus_ops.read(d->mmio, R_CONFIG + 56, &byte, 1); /* may unmap */
	assert_int_equal(byte, 1);
	assert_int_equal(config_word(d, 60), 0); /* beyond */
}

static void features_follow_the_options(void **state)
{
	static const struct disk_config kept = {.path = "kept.img"};
	struct driver *d = *state;
	uint64_t offered = driver_offered(d);

	assert_true(offered & F(VIRTIO_BLK_F_RO));
	assert_false(offered & (F(VIRTIO_BLK_F_DISCARD) | F(VIRTIO_BLK_F_WRITE_ZEROES)));
	teardown(state);
	*state = d = start(&kept, 0);
	offered = driver_offered(d);
	assert_false(offered & (F(VIRTIO_BLK_F_RO) | F(VIRTIO_BLK_F_DISCARD)));
	assert_true(offered & F(VIRTIO_BLK_F_WRITE_ZEROES));
	assert_int_equal(config_word(d, 56) & 0xff, 0);
}

static void reads_and_writes(void **state)
{
	struct driver *d = *state;

	assert_int_equal(request(d, VIRTIO_BLK_T_IN, 3, 4096, true), 4097);
	assert_int_equal(status_byte(d), VIRTIO_BLK_S_OK);
	assert_memory_equal(at(d, DATA, 4096), host.data + 3 * 512, 4096);
	memset(at(d, DATA, 1024), 0x5a, 1024);
	assert_int_equal(request(d, VIRTIO_BLK_T_OUT, DISK_BYTES / 512 - 2, 1024, false), 1);
	assert_int_equal(status_byte(d), VIRTIO_BLK_S_OK);
	for (size_t i = DISK_BYTES - 1024; i < DISK_BYTES; i++)
		assert_int_equal(host.data[i], 0x5a);
	assert_int_equal(host.data[DISK_BYTES - 1025],
			 (uint8_t)((DISK_BYTES - 1025) / 512 * 7 + DISK_BYTES - 1025));
	assert_true(irqs(d) >= 2);
	assert_int_equal(blk_stats(d->dev)->read.bytes, 4096);
	assert_int_equal(blk_stats(d->dev)->write.operations, 1);
	assert_int_equal(blk_stats(d->dev)->highest_offset, DISK_BYTES);
	assert_int_equal(host.flushes, 0);
}

/* 2.7.4: the device may not depend on how a request is cut into descriptors. */
static void any_layout(void **state)
{
	struct driver *d = *state;
	uint8_t *p;

	/* Header in three pieces, the last with data; data in two regions of RAM; status behind. */
	put_header(d, VIRTIO_BLK_T_OUT, 8);
	memcpy(at(d, DATA, 6), at(d, HEADER + 10, 6), 6);
	memset(at(d, DATA + 6, 500), 0x11, 500);
	memset(at(d, FAKE_SECOND_GPA - 5, 5), 0x22, 5);
	memset(at(d, FAKE_SECOND_GPA, 7), 0x33, 7);
	set_desc(d, 0, 0, HEADER, 1, VIRTIO_DESC_NEXT, 5);
	set_desc(d, 0, 5, HEADER + 1, 9, VIRTIO_DESC_NEXT, 6);
	set_desc(d, 0, 6, DATA, 506, VIRTIO_DESC_NEXT, 7);
	set_desc(d, 0, 7, FAKE_SECOND_GPA - 5, 12, VIRTIO_DESC_NEXT, 8);
	set_desc(d, 0, 8, STATUS, 1, VIRTIO_DESC_WRITE, 0);
	offer(d, 0, 0);
	kick(d, 0);
	settle(d);
	assert_int_equal(status_byte(d), VIRTIO_BLK_S_OK);
	p = host.data + 8 * 512;
	assert_int_equal(p[0], 0x11);
	assert_int_equal(p[499], 0x11);
	assert_int_equal(p[500], 0x22);
	assert_int_equal(p[504], 0x22);
	assert_int_equal(p[505], 0x33);
	assert_int_equal(p[511], 0x33);
	assert_int_equal(p[512], (uint8_t)(9 * 7 + 9 * 512));

	/* Data and status in one descriptor. */
	put_header(d, VIRTIO_BLK_T_IN, 8);
	memset(at(d, DATA, 513), NONE, 513);
	set_desc(d, 0, 0, HEADER, 16, VIRTIO_DESC_NEXT, 1);
	set_desc(d, 0, 1, DATA, 513, VIRTIO_DESC_WRITE, 0);
	offer(d, 0, 0);
	kick(d, 0);
	settle(d);
	assert_memory_equal(at(d, DATA, 512), p, 512);
	assert_int_equal(*(uint8_t *)at(d, DATA + 512, 1), VIRTIO_BLK_S_OK);
	assert_int_equal(status_byte(d), NONE);
}

static void outside_of_the_disk(void **state)
{
	static const struct {
		uint64_t sector;
		uint32_t len;
	} wrong[] = {
		{DISK_BYTES / 512, 512},
		{DISK_BYTES / 512 - 1, 1024},
		{UINT64_MAX, 512},
		{UINT64_MAX / 512, 512},
		{UINT64_MAX / 512 + 1, 0x200},
		{0, 511},
		{0, 513},
		{0, 1},
		{DISK_BYTES / 512 + 1, 0},
		{1ULL << 55, 4096},
	};
	struct driver *d = *state;

	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		assert_int_equal(request(d, VIRTIO_BLK_T_IN, wrong[i].sector, wrong[i].len, true),
				 1);
		assert_int_equal(status_byte(d), VIRTIO_BLK_S_IOERR);
		request(d, VIRTIO_BLK_T_OUT, wrong[i].sector, wrong[i].len, false);
		assert_int_equal(status_byte(d), VIRTIO_BLK_S_IOERR);
	}
	assert_int_equal(host.reads, 0);
	assert_true(disk_untouched());
	assert_false(needs_reset(d));
	/* Nothing, at a place that exists, is fine. */
	request(d, VIRTIO_BLK_T_IN, DISK_BYTES / 512, 0, true);
	assert_int_equal(status_byte(d), VIRTIO_BLK_S_OK);
}

static void no_room_for_header_or_status(void **state)
{
	struct driver *d = *state;

	put_header(d, VIRTIO_BLK_T_OUT, 0);
	set_desc(d, 0, 0, HEADER, 16 + 512, 0, 0);
	offer(d, 0, 0);
	kick(d, 0);
	assert_true(needs_reset(d));
	driver_start(d, F_ALL, 1, 256);
	set_desc(d, 0, 0, HEADER, 15, VIRTIO_DESC_NEXT, 1);
	set_desc(d, 0, 1, STATUS, 1, VIRTIO_DESC_WRITE, 0);
	offer(d, 0, 0);
	kick(d, 0);
	assert_true(needs_reset(d));
	driver_start(d, F_ALL, 1, 256);
	set_desc(d, 0, 0, DATA, 513, VIRTIO_DESC_WRITE, 0);
	offer(d, 0, 0);
	kick(d, 0);
	assert_true(needs_reset(d));
	assert_true(disk_untouched());
	driver_start(d, F_ALL, 1, 256);
	request(d, VIRTIO_BLK_T_IN, 0, 512, true);
	assert_int_equal(status_byte(d), VIRTIO_BLK_S_OK);
}

static void unknown_types(void **state)
{
	static const uint32_t types[] = {VIRTIO_BLK_T_SCSI_CMD,
					 3,
					 VIRTIO_BLK_T_SECURE_ERASE,
					 99,
					 VIRTIO_BLK_T_BARRIER | VIRTIO_BLK_T_OUT,
					 UINT32_MAX};
	struct driver *d = *state;

	for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
		assert_int_equal(request(d, types[i], 0, 512, i % 2), 1);
		assert_int_equal(status_byte(d), VIRTIO_BLK_S_UNSUPP);
	}
	assert_true(disk_untouched());
}

static void serial_number(void **state)
{
	struct driver *d = *state;

	memset(at(d, DATA, 64), 0xaa, 64);
	assert_int_equal(request(d, VIRTIO_BLK_T_GET_ID, 0, 20, true), 21);
	assert_int_equal(status_byte(d), VIRTIO_BLK_S_OK);
	assert_memory_equal(at(d, DATA, 20), "s1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 20);
	/* Too long and too short: never more than asked for, never more than there is. */
	memset(at(d, DATA, 64), 0xaa, 64);
	assert_int_equal(request(d, VIRTIO_BLK_T_GET_ID, 0, 64, true), 21);
	assert_int_equal(*(uint8_t *)at(d, DATA + 20, 1), 0xaa);
	memset(at(d, DATA, 64), 0xaa, 64);
	assert_int_equal(request(d, VIRTIO_BLK_T_GET_ID, 0, 1, true), 2);
	assert_int_equal(*(uint8_t *)at(d, DATA + 1, 1), 0xaa);
	request(d, VIRTIO_BLK_T_GET_ID, 0, 20, false); /* data the wrong way round */
	assert_int_equal(status_byte(d), VIRTIO_BLK_S_OK);
}

static void readonly_is_not_written(void **state)
{
	struct virtio_blk_discard_write_zeroes range = {.num_sectors = 8};
	struct driver *d = *state;

	request(d, VIRTIO_BLK_T_OUT, 0, 512, false);
	assert_int_equal(status_byte(d), VIRTIO_BLK_S_IOERR);
	memcpy(at(d, DATA, 16), &range, 16);
	request(d, VIRTIO_BLK_T_DISCARD, 0, 16, false);
	assert_int_not_equal(status_byte(d), VIRTIO_BLK_S_OK);
	request(d, VIRTIO_BLK_T_WRITE_ZEROES, 0, 16, false);
	assert_int_not_equal(status_byte(d), VIRTIO_BLK_S_OK);
	assert_true(disk_untouched());
	request(d, VIRTIO_BLK_T_IN, 0, 512, true);
	assert_int_equal(status_byte(d), VIRTIO_BLK_S_OK);
	request(d, VIRTIO_BLK_T_FLUSH, 0, 0, false);
	assert_int_equal(status_byte(d), VIRTIO_BLK_S_OK);
}

static uint8_t range_request(struct driver *d, uint32_t type, uint64_t sector, uint32_t sectors,
			     uint32_t flags)
{
	struct virtio_blk_discard_write_zeroes range = {sector, sectors, flags};

	memcpy(at(d, DATA, 16), &range, 16);
	request(d, type, 0, 16, false);
	return status_byte(d);
}

static void discard_and_zeroes(void **state)
{
	struct virtio_blk_discard_write_zeroes ranges[3] = {{0, 8, 0}, {64, 16, 0}, {100, 1, 0}};
	const uint32_t discard = VIRTIO_BLK_T_DISCARD, zero = VIRTIO_BLK_T_WRITE_ZEROES;
	struct driver *d = *state;

	memcpy(at(d, DATA, 48), ranges, 48);
	request(d, discard, 0, 48, false);
	assert_int_equal(status_byte(d), VIRTIO_BLK_S_OK);
	assert_int_equal(host.discards, 3);
	assert_int_equal(host.last.offset, 100 * 512);
	assert_int_equal(host.last.len, 512);
	assert_int_equal(range_request(d, zero, 5, 3, 1), VIRTIO_BLK_S_OK);
	assert_int_equal(host.last.offset, 5 * 512);
	assert_int_equal(host.last.len, 3 * 512);
	assert_true(host.last.may_unmap);
	assert_int_equal(range_request(d, zero, 5, 3, 0), VIRTIO_BLK_S_OK);
	assert_false(host.last.may_unmap);
	assert_int_equal(host.zeroes, 2);
	assert_int_equal(blk_stats(d->dev)->unmap.operations, 3);
	assert_int_equal(blk_stats(d->dev)->unmap.bytes, (8 + 16 + 1 + 3 + 3) * 512);
	assert_int_equal(range_request(d, discard, 5, 0, 0), VIRTIO_BLK_S_OK);
}

static void wrong_ranges(void **state)
{
	const uint32_t discard = VIRTIO_BLK_T_DISCARD, zero = VIRTIO_BLK_T_WRITE_ZEROES;
	struct virtio_blk_discard_write_zeroes mixed[2] = {{0, 8, 0}, {DISK_BYTES / 512, 1, 0}};
	struct driver *d = *state;

	assert_int_equal(range_request(d, discard, 0, 8, 1), VIRTIO_BLK_S_UNSUPP);
	assert_int_equal(range_request(d, discard, 0, 8, 2), VIRTIO_BLK_S_UNSUPP);
	assert_int_equal(range_request(d, zero, 0, 8, 2), VIRTIO_BLK_S_UNSUPP);
	assert_int_equal(range_request(d, discard, DISK_BYTES / 512, 1, 0), VIRTIO_BLK_S_IOERR);
	assert_int_equal(range_request(d, discard, UINT64_MAX, 8, 0), VIRTIO_BLK_S_IOERR);
	assert_int_equal(range_request(d, zero, 0, UINT32_MAX, 0), VIRTIO_BLK_S_IOERR);
	assert_int_equal(range_request(d, discard, 0, UINT32_MAX, 0), VIRTIO_BLK_S_IOERR);
	/* One wrong range among good ones: nothing is done. */
	memcpy(at(d, DATA, 32), mixed, 32);
	request(d, discard, 0, 32, false);
	assert_int_equal(status_byte(d), VIRTIO_BLK_S_IOERR);
	/* Part of a range, and thousands. */
	memset(at(d, DATA, 65536), 0, 65536);
	request(d, discard, 0, 15, false);
	assert_int_equal(status_byte(d), VIRTIO_BLK_S_IOERR);
	request(d, discard, 0, 65 * 16, false);
	assert_int_equal(status_byte(d), VIRTIO_BLK_S_IOERR);
	request(d, discard, 0, 65536, false);
	assert_int_equal(status_byte(d), VIRTIO_BLK_S_IOERR);
	request(d, zero, 0, 32, false);
	assert_int_equal(status_byte(d), VIRTIO_BLK_S_IOERR);
	assert_true(disk_untouched());
	/* Not without the feature. */
	driver_start(d, F(VIRTIO_BLK_F_FLUSH), 1, 256);
	assert_int_equal(range_request(d, discard, 0, 8, 0), VIRTIO_BLK_S_UNSUPP);
	assert_int_equal(range_request(d, zero, 0, 8, 0), VIRTIO_BLK_S_UNSUPP);
	assert_true(disk_untouched());
}

static void flush(void **state)
{
	struct driver *d = *state;

	request(d, VIRTIO_BLK_T_FLUSH, 0, 0, false);
	assert_int_equal(status_byte(d), VIRTIO_BLK_S_OK);
	assert_int_equal(host.flushes, 1);
	assert_int_equal(blk_stats(d->dev)->flush.operations, 1);
	/* A driver that will not flush gets writes that are safe at once. */
	driver_start(d, 0, 1, 256);
	request(d, VIRTIO_BLK_T_OUT, 0, 512, false);
	assert_int_equal(host.flushes, 2);
	request(d, VIRTIO_BLK_T_IN, 0, 512, true);
	assert_int_equal(host.flushes, 2);
}

static void errors_of_the_host(void **state)
{
	struct driver *d = *state;
	bool nospace = false;

	assert_false(blk_has_failed(d->dev, &nospace));
	host.fail = ENOSPC;
	assert_int_equal(request(d, VIRTIO_BLK_T_OUT, 0, 512, false), 1);
	assert_int_equal(status_byte(d), VIRTIO_BLK_S_IOERR);
	assert_int_equal(n_errors, 1);
	assert_int_equal(last_error, ENOSPC);
	assert_true(last_error_write);
	assert_true(blk_has_failed(d->dev, &nospace));
	assert_true(nospace);
	host.fail = EIO;
	for (unsigned int i = 0; i < 20; i++) {
		assert_int_equal(request(d, VIRTIO_BLK_T_IN, 0, 512, true), 1);
		assert_int_equal(status_byte(d), VIRTIO_BLK_S_IOERR);
	}
	request(d, VIRTIO_BLK_T_FLUSH, 0, 0, false);
	assert_int_equal(status_byte(d), VIRTIO_BLK_S_IOERR);
	assert_true(n_errors <= 2); /* at most one a second */
	assert_int_equal(blk_stats(d->dev)->read.failed, 20);
	assert_int_equal(blk_stats(d->dev)->read.operations, 0);
	host.fail = 0;
	request(d, VIRTIO_BLK_T_IN, 0, 512, true);
	assert_int_equal(status_byte(d), VIRTIO_BLK_S_OK);
}

/* The way of every day: the thread has the loop called, and the loop answers. */

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(config_space),
		cmocka_unit_test_setup_teardown(features_follow_the_options, setup_readonly,
						teardown),
		T(reads_and_writes),
		T(any_layout),
		T(outside_of_the_disk),
		T(no_room_for_header_or_status),
		T(unknown_types),
		T(serial_number),
		cmocka_unit_test_setup_teardown(readonly_is_not_written, setup_readonly, teardown),
		T(discard_and_zeroes),
		T(wrong_ranges),
		T(flush),
		T(errors_of_the_host),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
