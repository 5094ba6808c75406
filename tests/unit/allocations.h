/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counts what a program's main thread allocates while allocations_counted is set, libraries
 * included. Include it in one file of a program. Sanitizers bring an allocator of their own: there
 * nothing is counted, and ALLOCATIONS_COUNTED is 0.
 */
#ifndef MEMD_TESTS_ALLOCATIONS_H
#define MEMD_TESTS_ALLOCATIONS_H

#include <stdbool.h>
#include <stddef.h>

/* Volatile: compilers know malloc() for a function that looks at nothing of ours. */
static __thread volatile bool allocations_counted;
static volatile unsigned long allocations;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define ALLOCATIONS_COUNTED 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(memory_sanitizer)
#define ALLOCATIONS_COUNTED 0
#endif
#endif

#ifndef ALLOCATIONS_COUNTED
#define ALLOCATIONS_COUNTED 1

/* glibc's own, which its documentation names for this (Replacing malloc). */
void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t n);

void *malloc(size_t n)
{
	allocations += allocations_counted;
	return __libc_malloc(n);
}

void *calloc(size_t n, size_t size)
{
	allocations += allocations_counted;
	return __libc_calloc(n, size);
}

void *realloc(void *p, size_t n)
{
	allocations += allocations_counted;
	return __libc_realloc(p, n);
}
#endif

#endif
