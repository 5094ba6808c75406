/* SPDX-License-Identifier: Apache-2.0 */
/* Frames for tests of virtio-net's data path, with a driver that can much or nothing. */
#ifndef MEMD_TESTS_NET_FRAMES_H
#define MEMD_TESTS_NET_FRAMES_H

#include "net_driver.h"

static uint8_t frame[TAP_FRAME_MAX + 4096], other[TAP_FRAME_MAX + 4096];

static inline int setup(void **state)
{
	*state = net_driver_new(F(NET_F_MRG_RXBUF) | F(NET_F_CSUM) | F(NET_F_HOST_TSO4) |
				F(NET_F_GUEST_CSUM) | F(NET_F_GUEST_TSO4) | F(NET_F_STATUS) |
				F(NET_F_CTRL_VQ));
	return 0;
}

static inline int setup_plain(void **state)
{
	*state = net_driver_new(0);
	return 0;
}

static inline int teardown(void **state)
{
	net_driver_free(*state);
	return 0;
}

#define T(f)  cmocka_unit_test_setup_teardown(f, setup, teardown)
#define TP(f) cmocka_unit_test_setup_teardown(f, setup_plain, teardown)

#endif
