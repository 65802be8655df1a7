/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * barrier.h - the core's vocabulary of ordered accesses and fences.
 *
 * Inside only. The words are short because each use carries a label and names its
 * partner; the head of kthread_worker.c lists the pairs.
 */
#ifndef KTHREAD_BARRIER_H
#define KTHREAD_BARRIER_H

#include <stdatomic.h>

#define load_relaxed(p) atomic_load_explicit(p, memory_order_relaxed)
#define load_acquire(p) atomic_load_explicit(p, memory_order_acquire)
#define store_relaxed(p, v) atomic_store_explicit(p, v, memory_order_relaxed)
#define store_release(p, v) atomic_store_explicit(p, v, memory_order_release)
#define exchange_relaxed(p, v) atomic_exchange_explicit(p, v, memory_order_relaxed)
#define exchange_acquire(p, v) atomic_exchange_explicit(p, v, memory_order_acquire)
#define exchange_release(p, v) atomic_exchange_explicit(p, v, memory_order_release)
#define exchange_acq_rel(p, v) atomic_exchange_explicit(p, v, memory_order_acq_rel)
#define fetch_add_relaxed(p, v) atomic_fetch_add_explicit(p, v, memory_order_relaxed)
#define fetch_sub_relaxed(p, v) atomic_fetch_sub_explicit(p, v, memory_order_relaxed)
#define fetch_add_release(p, v) atomic_fetch_add_explicit(p, v, memory_order_release)
#define fetch_sub_release(p, v) atomic_fetch_sub_explicit(p, v, memory_order_release)
#define fetch_add_acquire(p, v) atomic_fetch_add_explicit(p, v, memory_order_acquire)
#define fetch_sub_acq_rel(p, v) atomic_fetch_sub_explicit(p, v, memory_order_acq_rel)
#define fetch_xor_acq_rel(p, v) atomic_fetch_xor_explicit(p, v, memory_order_acq_rel)
#define fetch_and_release(p, v) atomic_fetch_and_explicit(p, v, memory_order_release)
#define fetch_or_relaxed(p, v) atomic_fetch_or_explicit(p, v, memory_order_relaxed)
#define fetch_and_relaxed(p, v) atomic_fetch_and_explicit(p, v, memory_order_relaxed)
/* Compare and swap; the weak ones may fail for no reason, and are for loops. */
#define cas_strong_relaxed(p, expected, v)                                                \
	atomic_compare_exchange_strong_explicit(p, expected, v, memory_order_relaxed,     \
						memory_order_relaxed)
#define cas_acq_rel(p, expected, v)                                                       \
	atomic_compare_exchange_weak_explicit(p, expected, v, memory_order_acq_rel,       \
					      memory_order_acquire)
#define cas_release(p, expected, v)                                                       \
	atomic_compare_exchange_weak_explicit(p, expected, v, memory_order_release,       \
					      memory_order_relaxed)

#if defined(__SANITIZE_THREAD__)
#define KTHREAD_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define KTHREAD_TSAN 1
#endif
#endif

#ifdef KTHREAD_TSAN
/*
 * ThreadSanitizer does not model a bare fence. The release and acquire fences hand
 * over what came before through the object that the pair passes its message in, so
 * here each tells the sanitizer that. The full fences of the pairs order atomics
 * against each other only and need no annotation.
 */
void __tsan_acquire(void *object);
void __tsan_release(void *object);
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wtsan"
#endif
#define fence_acquire(object)                                                             \
	do {                                                                              \
		atomic_thread_fence(memory_order_acquire);                                \
		__tsan_acquire((void *)(object));                                         \
	} while (0)
#define fence_release(object)                                                             \
	do {                                                                              \
		__tsan_release((void *)(object));                                         \
		atomic_thread_fence(memory_order_release);                                \
	} while (0)
#else
#define fence_acquire(object) atomic_thread_fence(memory_order_acquire)
#define fence_release(object) atomic_thread_fence(memory_order_release)
#endif

#define fence_full() atomic_thread_fence(memory_order_seq_cst)

/*
 * A full fence that directly follows an atomic read-modify-write. On x86 that
 * instruction is a full barrier already, and only the compiler has to be held.
 */
#if (defined(__x86_64__) || defined(__i386__)) && !defined(KTHREAD_TSAN)
#define fence_full_after_rmw() atomic_signal_fence(memory_order_seq_cst)
#else
#define fence_full_after_rmw() fence_full()
#endif

/*
 * Lock a mutex whose holder may come to want one that the caller holds: what the caller knows
 * keeps that from being a deadlock. ThreadSanitizer, which goes by the order of locks alone,
 * holds no lock with a time limit to any order.
 */
#ifdef KTHREAD_TSAN
static inline void mutex_lock_out_of_order(pthread_mutex_t *mutex)
{
	struct timespec never = { .tv_sec = INT32_MAX };

	pthread_mutex_timedlock(mutex, &never);
}
#else
#define mutex_lock_out_of_order(mutex) pthread_mutex_lock(mutex)
#endif

/*
 * Memory that may never have been written is looked at on purpose: say so to those who
 * check for that, where their header is.
 */
#if defined(__has_include)
#if __has_include(<valgrind/memcheck.h>)
#include <valgrind/memcheck.h>
#endif
#endif
#ifdef VALGRIND_MAKE_MEM_DEFINED
#define note_as_defined(p, size) ((void)VALGRIND_MAKE_MEM_DEFINED(p, size))
#else
#define note_as_defined(p, size) ((void)(p), (void)(size))
#endif

/*
 * Have the processor fetch the cache line of an address, to write there. The memory may be gone
 * by now: this faults nowhere, and changes nothing. The compilers' own word for it asks x86
 * for the line to read, and a write then fetches it once more.
 */
static inline void prefetch_to_write(const void *address)
{
#if defined(__x86_64__)
	__asm__ volatile("prefetchw (%0)" : : "r"(address));
#else
	__builtin_prefetch(address, 1);
#endif
}

/* Tell the processor that this is a polling loop. */
static inline void cpu_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__) || defined(__arm__)
	__asm__ __volatile__("yield" ::: "memory");
#else
	atomic_signal_fence(memory_order_seq_cst);
#endif
}

#endif /* KTHREAD_BARRIER_H */
