// SPDX-License-Identifier: Apache-2.0
/* Arrays that grow: room when asked, content kept, and nothing lost when there is no memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/grow.h"

static void test_grows(void **state)
{
	size_t capacity = 0;
	uint32_t *array = NULL, *same;

	(void)state;
	for (uint32_t i = 0; i < 1000; i++) {
		array = grow(array, &capacity, i + 1, sizeof(*array));
		assert_non_null(array);
		assert_true(capacity > i);
		array[i] = i;
	}
	for (uint32_t i = 0; i < 1000; i++)
		assert_int_equal(array[i], i);
	/* Enough already. */
	same = grow(array, &capacity, 1, sizeof(*array));
	assert_ptr_equal(same, array);
	/* More at once than twice as much. */
	array = grow(array, &capacity, 10000, sizeof(*array));
	assert_non_null(array);
	assert_int_equal(capacity, 10000);
	assert_int_equal(array[999], 999);
	free(array);
}

static void test_out_of_memory(void **state)
{
	/* Not inlined: the compiler would see that this cannot be. */
	void *(*volatile more)(void *, size_t *, size_t, size_t) = grow;
	size_t capacity = 0;
	uint64_t *array;

	(void)state;
#ifdef __SANITIZE_ADDRESS__
	skip(); /* it takes such a size for a mistake, and ends the program */
#endif
	array = more(NULL, &capacity, 1, sizeof(*array));
	assert_non_null(array);
	array[0] = 7;
	assert_null(more(array, &capacity, SIZE_MAX / 4, sizeof(*array)));
	assert_int_equal(capacity, GROW_FIRST);
	assert_int_equal(array[0], 7);
	free(array);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_grows),
		cmocka_unit_test(test_out_of_memory),
	};

	return cmocka_run_group_tests_name("common_grow", tests, NULL, NULL);
}
