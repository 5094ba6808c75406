/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A thread that does one job at a time for the loop, and rests between jobs. A job belongs to the
 * worker from worker_start() to worker_take(), and to the loop otherwise.
 */
#ifndef MEMD_WORKER_H
#define MEMD_WORKER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct worker;

/* On the thread. cancel becomes true when the job should end soon. */
typedef void (*worker_run_fn)(void *job, const atomic_bool *cancel);

/* For a job: sleep until then. False: it should end. */
bool worker_rest_until(uint64_t until_us, const atomic_bool *cancel);

/* It works one part in rest_factor + 1 of the time at most. -ENOMEM, -errno of eventfd, pthread. */
int worker_open(worker_run_fn run, unsigned int rest_factor, struct worker **ret_worker);

/* Ends a job under way; *ret_job (may be NULL): one that was not taken, else NULL. NULL is fine. */
void worker_close(struct worker *worker, void **ret_job);

/* Let the job under way, if one is, end soon; worker_take() gives it as ever. */
void worker_cancel(struct worker *worker);

/* Readable when a job is done. */
int worker_fd(const struct worker *worker);

/* Would worker_start() not be refused? */
bool worker_may_start(struct worker *worker);

/* -EBUSY: at work, or resting, or the last job has not been taken. */
int worker_start(struct worker *worker, void *job);

/* The job that is done, NULL: none. */
void *worker_take(struct worker *worker);

#endif
