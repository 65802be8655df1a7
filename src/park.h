/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * park.h - sleep on an atomic word, and wake who sleeps on it.
 *
 * Inside only. On Linux this is futex(2); elsewhere, or with
 * KTHREAD_PORTABLE_PARK defined, a table of mutexes and condition variables
 * that behaves the same.
 *
 * The rule of use is the futex's: who wakes changes the word first. A sleeper
 * that names the old value either sees the new one and does not sleep, or is
 * found by the waker. A wake on a word whose memory has gone is harmless.
 */
#ifndef KTHREAD_PARK_H
#define KTHREAD_PARK_H

#include <stdatomic.h>
#include <stdint.h>
#include <time.h>

/* As KTHREAD_HIDDEN does, of a file that knows nothing of kthreads. */
#pragma GCC visibility push(hidden)

/*
 * park_wait - sleep while *word is expected
 * @deadline_ns: on park_clock_ns's scale; UINT64_MAX: none
 *
 * Returns 0 when woken, when the word was different, or for no reason
 * -EINTR: a signal handler ran
 * -ETIMEDOUT: the deadline has passed
 */
int park_wait(_Atomic(uint32_t) *word, uint32_t expected, uint64_t deadline_ns);

/* Wake one, or all, that sleep on the word. Keep errno; from signal handlers too. */
void park_wake_one(_Atomic(uint32_t) *word);
void park_wake_all(_Atomic(uint32_t) *word);

/* What is slept on here: "futex", or "mutexes and conditions". */
const char *park_name(void);

/* CLOCK_MONOTONIC in nanoseconds. */
uint64_t park_clock_ns(void);

/* The moment timeout_ns from now; UINT64_MAX when that is never. */
uint64_t park_deadline(uint64_t timeout_ns);

/* A moment on that clock, at most some 68 years after its beginning, as the system takes it. */
struct timespec park_timespec(uint64_t ns);

#pragma GCC visibility pop

#endif /* KTHREAD_PARK_H */
