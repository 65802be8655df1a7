/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "park.h"

#include <errno.h>

#define NS_PER_S 1000000000ull

uint64_t park_clock_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

uint64_t park_deadline(uint64_t timeout_ns)
{
	uint64_t now;

	if (timeout_ns == UINT64_MAX)
		return UINT64_MAX;
	now = park_clock_ns();
	return timeout_ns < UINT64_MAX - now ? now + timeout_ns : UINT64_MAX;
}

/* The largest time that every system's time_t and futex take. */
struct timespec park_timespec(uint64_t ns)
{
	struct timespec ts;
	uint64_t s = ns / NS_PER_S;

	ts.tv_sec = s < INT32_MAX ? (time_t)s : INT32_MAX;
	ts.tv_nsec = (long)(ns % NS_PER_S);
	return ts;
}

#if defined(__linux__) && !defined(KTHREAD_PORTABLE_PARK)

#include <limits.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The kernel's binary interface, in our own words: its headers are not everywhere libc's are. */
enum {
	WAIT_BITSET_PRIVATE = 9 | 128,
	WAKE_PRIVATE = 1 | 128,
};
#define MATCH_ANY 0xffffffffu

/*
 * What the call takes. On a 32-bit system that has it under two numbers, the older one
 * takes a pair of longs, whatever libc's time_t is, and exists in every kernel; what
 * park_timespec returns fits in it.
 */
#if !defined(SYS_futex)
#define SYS_futex SYS_futex_time64
typedef struct timespec futex_time;
#elif defined(SYS_futex_time64)
typedef struct {
	long tv_sec, tv_nsec;
} futex_time;
#else
typedef struct timespec futex_time;
#endif

const char *park_name(void)
{
	return "futex";
}

int park_wait(_Atomic(uint32_t) *word, uint32_t expected, uint64_t deadline_ns)
{
	int saved = errno, result = 0;
	struct timespec ts = park_timespec(deadline_ns);
	futex_time deadline = { .tv_sec = ts.tv_sec, .tv_nsec = ts.tv_nsec };

	/* WAIT_BITSET takes an absolute time, on CLOCK_MONOTONIC. */
	if (syscall(SYS_futex, (uint32_t *)word, WAIT_BITSET_PRIVATE, expected,
		    deadline_ns == UINT64_MAX ? NULL : &deadline, NULL, MATCH_ANY) < 0 &&
	    (errno == EINTR || errno == ETIMEDOUT))
		result = -errno;
	errno = saved;
	return result;
}

static void wake(_Atomic(uint32_t) *word, int count)
{
	int saved = errno;

	syscall(SYS_futex, (uint32_t *)word, WAKE_PRIVATE, count, NULL, NULL, 0);
	errno = saved;
}

void park_wake_one(_Atomic(uint32_t) *word)
{
	wake(word, 1);
}

void park_wake_all(_Atomic(uint32_t) *word)
{
	wake(word, INT_MAX);
}

#else /* mutex and condition */

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>

/*
 * Words are hashed to buckets. Every signal is blocked while a bucket's mutex may
 * be held, so that a signal handler that wakes somebody never meets a mutex that
 * its own thread holds. A sleeper which handlers could interrupt therefore sleeps
 * in slices, and handlers run in between.
 */
#define BUCKETS 64
#define SLICE_NS (50ull * 1000 * 1000)

static struct bucket {
	pthread_mutex_t mutex;
	pthread_cond_t changed;
} buckets[BUCKETS];

static pthread_once_t buckets_once = PTHREAD_ONCE_INIT;

static void make_buckets(void)
{
	pthread_mutexattr_t mutex_attr;
	pthread_condattr_t cond_attr;

	pthread_mutexattr_init(&mutex_attr);
	pthread_mutexattr_setprotocol(&mutex_attr, PTHREAD_PRIO_INHERIT);
	pthread_condattr_init(&cond_attr);
#ifndef __APPLE__
	pthread_condattr_setclock(&cond_attr, CLOCK_MONOTONIC);
#endif
	for (int i = 0; i < BUCKETS; i++) {
		pthread_mutex_init(&buckets[i].mutex, &mutex_attr);
		pthread_cond_init(&buckets[i].changed, &cond_attr);
	}
	pthread_condattr_destroy(&cond_attr);
	pthread_mutexattr_destroy(&mutex_attr);
}

/* In a forked child who slept is gone, and who held a bucket's mutex too. */
static void init_buckets(void)
{
	make_buckets();
	pthread_atfork(NULL, NULL, make_buckets);
}

static struct bucket *bucket_of(_Atomic(uint32_t) *word)
{
	pthread_once(&buckets_once, init_buckets);
	return &buckets[((uintptr_t)word >> 4) % BUCKETS];
}

static bool handlers_may_run(const sigset_t *blocked)
{
	static const int usual[] = { SIGINT, SIGTERM, SIGALRM, SIGUSR1, SIGUSR2, SIGCHLD };

	for (unsigned int i = 0; i < sizeof(usual) / sizeof(usual[0]); i++)
		if (sigismember(blocked, usual[i]) == 0)
			return true;
	return false;
}

static int cond_wait_until(struct bucket *b, uint64_t deadline_ns)
{
	struct timespec ts;

	if (deadline_ns == UINT64_MAX)
		return pthread_cond_wait(&b->changed, &b->mutex);
#ifdef __APPLE__
	uint64_t now = park_clock_ns();

	ts = park_timespec(deadline_ns > now ? deadline_ns - now : 0);
	return pthread_cond_timedwait_relative_np(&b->changed, &b->mutex, &ts);
#else
	ts = park_timespec(deadline_ns);
	return pthread_cond_timedwait(&b->changed, &b->mutex, &ts);
#endif
}

const char *park_name(void)
{
	return "mutexes and conditions";
}

int park_wait(_Atomic(uint32_t) *word, uint32_t expected, uint64_t deadline_ns)
{
	struct bucket *b;
	sigset_t all, old, pending;
	uint64_t until = deadline_ns;
	int result = 0;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	b = bucket_of(word);
	if (handlers_may_run(&old)) {
		uint64_t slice = park_deadline(SLICE_NS);

		if (slice < until)
			until = slice;
	}
	pthread_mutex_lock(&b->mutex);
	if (atomic_load(word) == expected && cond_wait_until(b, until) == ETIMEDOUT &&
	    until == deadline_ns)
		result = -ETIMEDOUT;
	pthread_mutex_unlock(&b->mutex);

	/* What would have interrupted the sleep is delivered when the mask goes back. */
	sigpending(&pending);
	for (int sig = 1; sig < 32; sig++)
		if (sigismember(&pending, sig) == 1 && sigismember(&old, sig) == 0)
			result = -EINTR;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return result;
}

void park_wake_all(_Atomic(uint32_t) *word)
{
	struct bucket *b;
	sigset_t all, old;
	int saved = errno;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	b = bucket_of(word);
	pthread_mutex_lock(&b->mutex);
	pthread_cond_broadcast(&b->changed);
	pthread_mutex_unlock(&b->mutex);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	errno = saved;
}

/* Others sleep on words in the same bucket: only a broadcast surely finds the one. */
void park_wake_one(_Atomic(uint32_t) *word)
{
	park_wake_all(word);
}

#endif
