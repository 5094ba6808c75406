// SPDX-License-Identifier: Apache-2.0
/*
 * The trace's reader on frames with right checksums and any content: the first byte of the input
 * is the length of the first payload, and so on; types go M, C, T, T, T ... A trace comes from
 * whoever sends one.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "memd/record_fields.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void put_frame(int fd, uint8_t type, const uint8_t *payload, size_t n)
{
	uint8_t frame[600];
	struct record_bytes b = {.data = frame, .len = sizeof(frame)};
	uint32_t sum = record_checksum(type, payload, n);

	record_put_u8(&b, type);
	record_put_varint(&b, n);
	record_put_bytes(&b, payload, n);
	record_put_bytes(&b, &sum, sizeof(sum));
	if (write(fd, frame, b.at) != (ssize_t)b.at)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t start[] = "memd\x01\x00\x05\x05\x09\x10\x18\x17\x13";
	struct record_reader *reader = NULL;
	struct record_entry entry;
	unsigned int sum = 0;
	char path[40];
	bool good = size > 0 && data[0] % 2 == 0;
	int fd = memfd_create("trace", MFD_CLOEXEC);

	if (fd < 0)
		return 0;
	/* An even first byte: a good start, so that the ticks are reached. */
	if (good)
		put_frame(fd, 'M', start, sizeof(start) - 1);
	for (unsigned int i = good ? 2 : 0; size > 1; i++) {
		size_t n = data[0] < size - 1 ? data[0] : size - 1;

		put_frame(fd, i == 0 ? 'M' : i == 1 ? 'C' : 'T', data + 1, n);
		data += n + 1;
		size -= n + 1;
	}
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (record_reader_open(path, &reader) == 0)
		while (record_next(reader, &entry) > 0)
			for (size_t i = 0; entry.kind == RECORD_TICK && i < entry.n_actions; i++)
				/* What a reader does with it: names by number. */
				sum += (unsigned int)strlen(
					       pol_action_name(entry.actions[i].kind)) +
				       (unsigned int)strlen(
					       pol_reason_text(entry.actions[i].reason)) +
				       (unsigned int)strlen(pol_rung_name(entry.actions[i].rung)) +
				       (unsigned int)strlen(pol_state_name(entry.state));
	record_reader_close(reader);
	close(fd);
	return sum == UINT32_MAX ? 1 : 0;
}
