/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * kthread_compat.h - what code written against the kernel's API needs around the core.
 *
 *	#include "kthread_compat.h"	// instead of the lines with <linux/...>
 *
 * or leave those lines: the headers in linux/ beside this one have the names that are not the
 * system's own, and include it.
 *
 * It includes kthread_worker.h and gives the names of it that depart from the kernel's
 * their kernel meaning: an ERR_PTR where the core has NULL and errno, jiffies where it has
 * nanoseconds. The other names, container_of to WARN_ON_ONCE, are those that users of a
 * worker need, on POSIX. The core knows nothing of this header.
 *
 * For GNU C (gcc, clang) from C11 on, not for C++: min, max and current are macros. Include
 * it first; a header of the C library's that has a member of one of these names comes
 * before it, and then _GNU_SOURCE is to be defined before that one.
 *
 * To be defined before it is included, where the default does not fit:
 *
 *	KTHREAD_COMPAT_HZ		jiffies a second, a divisor of 10^9 (1000)
 *	KTHREAD_COMPAT_BEFORE_6_14	kthread_create_worker starts the thread, as it did
 *					up to Linux 6.13
 *	KTHREAD_COMPAT_PRINTK		a function like printk that gets all messages
 *	KTHREAD_COMPAT_MAIN		module_init and module_exit make a main()
 *	KTHREAD_COMPAT_NO_CURRENT	no macro current
 *	DEBUG				pr_debug says something
 *
 * Every name, and what differs: docs/kernel-code.md.
 */
#ifndef KTHREAD_COMPAT_H
#define KTHREAD_COMPAT_H

#ifdef __cplusplus
#error "kthread_compat.h is for C; C++ uses kthread_worker.h itself"
#endif
#ifndef __GNUC__
#error "kthread_compat.h needs GNU C (statement expressions): gcc or clang"
#endif

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <time.h>

#include "kthread_worker.h"

#ifndef CLOCK_MONOTONIC
#error "include kthread_compat.h before the C library's headers, or define _GNU_SOURCE before them"
#endif

#define KCOMPAT_UNUSED __attribute__((unused))

/* ---- types, small macros ---- */

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef unsigned long long u64; /* so that %llu fits everywhere, as in the kernel */
typedef int8_t s8;
typedef int16_t s16;
typedef int32_t s32;
typedef long long s64;
typedef unsigned int gfp_t;

#define __init
#define __exit
#define __user
#define __iomem
#define __percpu
#ifndef __always_inline
#define __always_inline inline __attribute__((always_inline))
#endif
#define __maybe_unused KCOMPAT_UNUSED
#define __must_check __attribute__((warn_unused_result))
#define noinline __attribute__((noinline))
#ifndef fallthrough
#define fallthrough __attribute__((fallthrough))
#endif

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
#define barrier() __asm__ volatile("" ::: "memory")

#define ARRAY_SIZE(array)							\
	(sizeof(array) / sizeof((array)[0]) +					\
	 0 * sizeof(struct {							\
		_Static_assert(!__builtin_types_compatible_p(__typeof__(array),	\
							     __typeof__(&(array)[0])), \
			       "ARRAY_SIZE wants an array, not a pointer");	\
		char unused_;							\
	 }))

#define BIT(nr) (1UL << (nr))
#define BIT_ULL(nr) (1ULL << (nr))
#define GENMASK(high, low) ((~0UL >> (sizeof(long) * CHAR_BIT - 1 - (high))) & (~0UL << (low)))
#define DIV_ROUND_UP(n, d) (((n) + (d) - 1) / (d))

/* Each use has variables of its own, so that one in another's argument hides nothing. */
#define KCOMPAT_PASTE(name, id) KCOMPAT_PASTE_(name, id)
#define KCOMPAT_PASTE_(name, id) name##id
#define KCOMPAT_PICK(type_a, a, op, type_b, b, id) __extension__ ({		\
	type_a KCOMPAT_PASTE(kcompat_a_, id) = (a);				\
	type_b KCOMPAT_PASTE(kcompat_b_, id) = (b);				\
	KCOMPAT_PASTE(kcompat_a_, id) op KCOMPAT_PASTE(kcompat_b_, id)		\
		? KCOMPAT_PASTE(kcompat_a_, id) : KCOMPAT_PASTE(kcompat_b_, id); })
#define min(a, b) KCOMPAT_PICK(__typeof__(a), a, <, __typeof__(b), b, __COUNTER__)
#define max(a, b) KCOMPAT_PICK(__typeof__(a), a, >, __typeof__(b), b, __COUNTER__)
#define min_t(type, a, b) \
	((type)KCOMPAT_PICK(type, (type)(a), <, type, (type)(b), __COUNTER__))
#define max_t(type, a, b) \
	((type)KCOMPAT_PICK(type, (type)(a), >, type, (type)(b), __COUNTER__))
#define clamp(value, low, high) clamp_t(__typeof__(value), value, low, high)
#define clamp_t(type, value, low, high) min_t(type, max_t(type, value, low), high)
#define swap(a, b)								\
	do {									\
		__typeof__(a) swap_ = (a);					\
		(a) = (b);							\
		(b) = swap_;							\
	} while (0)

/* The struct around a member. A pointer to another type than the member's does not compile. */
#define container_of(ptr, type, member) __extension__ ({			\
	_Static_assert(__builtin_types_compatible_p(__typeof__(*(ptr)),		\
						    __typeof__(((type *)0)->member)) || \
		       __builtin_types_compatible_p(__typeof__(*(ptr)), void),	\
		       "container_of: the pointer is not one to this member");	\
	(type *)(void *)((char *)(ptr) - offsetof(type, member)); })

/* ---- memory order ---- */

/*
 * The kernel's are volatile accesses; here they are relaxed atomic ones as well, else the
 * thread sanitizer and the C11 memory model call them races. For scalars.
 */
#define READ_ONCE(x) __atomic_load_n(&(x), __ATOMIC_RELAXED)
#define WRITE_ONCE(x, value) __atomic_store_n(&(x), (value), __ATOMIC_RELAXED)
#define smp_load_acquire(ptr) __atomic_load_n((ptr), __ATOMIC_ACQUIRE)
#define smp_store_release(ptr, value) __atomic_store_n((ptr), (value), __ATOMIC_RELEASE)
#define smp_mb() __atomic_thread_fence(__ATOMIC_SEQ_CST)
#define smp_rmb() __atomic_thread_fence(__ATOMIC_ACQUIRE)
#define smp_wmb() __atomic_thread_fence(__ATOMIC_RELEASE)
#define xchg(ptr, value) __atomic_exchange_n((ptr), (value), __ATOMIC_SEQ_CST)
#define cmpxchg(ptr, old, new) __extension__ ({					\
	__typeof__(*(ptr)) cmpxchg_ = (old);					\
	__atomic_compare_exchange_n((ptr), &cmpxchg_, (new), false, __ATOMIC_SEQ_CST, \
				    __ATOMIC_SEQ_CST);				\
	cmpxchg_; })

typedef struct {
	int counter;
} atomic_t;

#define ATOMIC_INIT(value) { (value) }

static inline int atomic_read(const atomic_t *v)
{
	return READ_ONCE(v->counter);
}

static inline void atomic_set(atomic_t *v, int value)
{
	WRITE_ONCE(v->counter, value);
}

/* Those without a result order nothing, those with one all; as in the kernel. */
static inline void atomic_add(int n, atomic_t *v)
{
	__atomic_fetch_add(&v->counter, n, __ATOMIC_RELAXED);
}

static inline void atomic_sub(int n, atomic_t *v)
{
	__atomic_fetch_sub(&v->counter, n, __ATOMIC_RELAXED);
}

static inline int atomic_add_return(int n, atomic_t *v)
{
	return __atomic_add_fetch(&v->counter, n, __ATOMIC_SEQ_CST);
}

static inline int atomic_sub_return(int n, atomic_t *v)
{
	return __atomic_sub_fetch(&v->counter, n, __ATOMIC_SEQ_CST);
}

static inline int atomic_xchg(atomic_t *v, int value)
{
	return xchg(&v->counter, value);
}

static inline int atomic_cmpxchg(atomic_t *v, int old, int value)
{
	return cmpxchg(&v->counter, old, value);
}

#define atomic_inc(v) atomic_add(1, (v))
#define atomic_dec(v) atomic_sub(1, (v))
#define atomic_inc_return(v) atomic_add_return(1, (v))
#define atomic_dec_return(v) atomic_sub_return(1, (v))

static inline bool atomic_dec_and_test(atomic_t *v)
{
	return atomic_sub_return(1, v) == 0;
}

#define KCOMPAT_WORD_BITS (sizeof(unsigned long) * CHAR_BIT)
#define BITS_TO_LONGS(bits) DIV_ROUND_UP((bits), KCOMPAT_WORD_BITS)
#define DECLARE_BITMAP(name, bits) unsigned long name[BITS_TO_LONGS(bits)]

static inline bool test_bit(unsigned long nr, const volatile unsigned long *map)
{
	return READ_ONCE(map[nr / KCOMPAT_WORD_BITS]) >> nr % KCOMPAT_WORD_BITS & 1;
}

static inline bool test_and_set_bit(unsigned long nr, volatile unsigned long *map)
{
	unsigned long bit = 1UL << nr % KCOMPAT_WORD_BITS;

	return __atomic_fetch_or(&map[nr / KCOMPAT_WORD_BITS], bit, __ATOMIC_SEQ_CST) & bit;
}

static inline bool test_and_clear_bit(unsigned long nr, volatile unsigned long *map)
{
	unsigned long bit = 1UL << nr % KCOMPAT_WORD_BITS;

	return __atomic_fetch_and(&map[nr / KCOMPAT_WORD_BITS], ~bit, __ATOMIC_SEQ_CST) & bit;
}

#define set_bit(nr, map) ((void)test_and_set_bit((nr), (map)))
#define clear_bit(nr, map) ((void)test_and_clear_bit((nr), (map)))

#define cpu_relax() barrier()
#define cond_resched() ((void)sched_yield())
#define might_sleep() ((void)0)

/* ---- errors in pointers ---- */

#define MAX_ERRNO 4095

static inline void *ERR_PTR(long error)
{
	return (void *)(intptr_t)error;
}

static inline long PTR_ERR(const void *ptr)
{
	return (long)(intptr_t)ptr;
}

static inline bool IS_ERR(const void *ptr)
{
	return unlikely((uintptr_t)ptr >= (uintptr_t)-MAX_ERRNO);
}

static inline bool IS_ERR_OR_NULL(const void *ptr)
{
	return unlikely(!ptr) || IS_ERR(ptr);
}

static inline void *ERR_CAST(const void *ptr)
{
	return (void *)(uintptr_t)ptr;
}

static inline int PTR_ERR_OR_ZERO(const void *ptr)
{
	return IS_ERR(ptr) ? (int)PTR_ERR(ptr) : 0;
}

/* ---- messages ---- */

#define KERN_SOH "\001"
#define KERN_EMERG KERN_SOH "0"
#define KERN_ALERT KERN_SOH "1"
#define KERN_CRIT KERN_SOH "2"
#define KERN_ERR KERN_SOH "3"
#define KERN_WARNING KERN_SOH "4"
#define KERN_NOTICE KERN_SOH "5"
#define KERN_INFO KERN_SOH "6"
#define KERN_DEBUG KERN_SOH "7"

/* One write a message, so that those of two threads are not mixed. */
static KCOMPAT_UNUSED KTHREAD_PRINTF(1, 2) int kcompat_printk(const char *format, ...)
{
	char text[1024];
	const char *from = text;
	va_list args;
	int length, error = errno;

	va_start(args, format);
	length = vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (from[0] == KERN_SOH[0] && from[1])
		from += 2;
	fprintf(stderr, "%s%s", from, *from && from[strlen(from) - 1] == '\n' ? "" : "\n");
	errno = error; /* a message between a failure and its report changes nothing */
	return length;
}

#ifndef KTHREAD_COMPAT_PRINTK
#define KTHREAD_COMPAT_PRINTK kcompat_printk
#endif
#define printk(...) KTHREAD_COMPAT_PRINTK(__VA_ARGS__)

#ifndef pr_fmt
#define pr_fmt(format) format
#endif

#define pr_emerg(...) kcompat_pr(KERN_EMERG, __VA_ARGS__)
#define pr_alert(...) kcompat_pr(KERN_ALERT, __VA_ARGS__)
#define pr_crit(...) kcompat_pr(KERN_CRIT, __VA_ARGS__)
#define pr_err(...) kcompat_pr(KERN_ERR, __VA_ARGS__)
#define pr_warn(...) kcompat_pr(KERN_WARNING, __VA_ARGS__)
#define pr_warning(...) pr_warn(__VA_ARGS__)
#define pr_notice(...) kcompat_pr(KERN_NOTICE, __VA_ARGS__)
#define pr_info(...) kcompat_pr(KERN_INFO, __VA_ARGS__)
#ifdef DEBUG
#define pr_debug(...) kcompat_pr(KERN_DEBUG, __VA_ARGS__)
#else
#define pr_debug(...) ((void)(0 && kcompat_pr(KERN_DEBUG, __VA_ARGS__)))
#endif
/* The comma goes away where there is nothing behind the format: GNU C, not C11. */
#define kcompat_pr(level, format, ...) \
	KTHREAD_COMPAT_PRINTK(level pr_fmt(format), ##__VA_ARGS__)

#define KCOMPAT_ONCE(call) __extension__ ({					\
	static unsigned char once_;						\
	if (!__atomic_exchange_n(&once_, 1, __ATOMIC_RELAXED))			\
		call; })
#define pr_err_once(...) KCOMPAT_ONCE(pr_err(__VA_ARGS__))
#define pr_warn_once(...) KCOMPAT_ONCE(pr_warn(__VA_ARGS__))
#define pr_info_once(...) KCOMPAT_ONCE(pr_info(__VA_ARGS__))

#define KCOMPAT_WARNED() KTHREAD_COMPAT_PRINTK(KERN_WARNING "WARNING: %s:%d %s\n", \
					       __FILE__, __LINE__, __func__)

/* All return the condition. _ONCE: one message for each place, whichever thread is first. */
#define WARN_ON(condition) __extension__ ({					\
	bool warn_ = !!(condition);						\
	if (unlikely(warn_))							\
		KCOMPAT_WARNED();						\
	warn_; })
#define WARN(condition, ...) __extension__ ({					\
	bool warn_ = !!(condition);						\
	if (unlikely(warn_)) {							\
		KCOMPAT_WARNED();						\
		KTHREAD_COMPAT_PRINTK(KERN_WARNING __VA_ARGS__);		\
	}									\
	warn_; })
#define WARN_ON_ONCE(condition) __extension__ ({				\
	static unsigned char warned_;						\
	bool warn_ = !!(condition);						\
	if (unlikely(warn_) && !__atomic_exchange_n(&warned_, 1, __ATOMIC_RELAXED)) \
		KCOMPAT_WARNED();						\
	warn_; })
#define WARN_ONCE(condition, ...) __extension__ ({				\
	static unsigned char warned_;						\
	bool warn_ = !!(condition);						\
	if (unlikely(warn_) && !__atomic_exchange_n(&warned_, 1, __ATOMIC_RELAXED)) { \
		KCOMPAT_WARNED();						\
		KTHREAD_COMPAT_PRINTK(KERN_WARNING __VA_ARGS__);		\
	}									\
	warn_; })

/* What the kernel halts for ends the process. */
#define BUG()									\
	do {									\
		KTHREAD_COMPAT_PRINTK(KERN_EMERG "BUG: %s:%d %s\n", __FILE__, __LINE__, __func__); \
		abort();							\
	} while (0)
#define BUG_ON(condition)							\
	do {									\
		if (unlikely(condition))					\
			BUG();							\
	} while (0)
/* Of constants. */
#define BUILD_BUG_ON(condition)							\
	do {									\
		_Static_assert(!(condition), "BUILD_BUG_ON: " #condition);	\
	} while (0)
/* The message may be left out. */
#undef static_assert
#define static_assert(condition, ...) \
	KCOMPAT_STATIC_ASSERT(condition, ##__VA_ARGS__, #condition)
#define KCOMPAT_STATIC_ASSERT(condition, message, ...) _Static_assert(condition, message)

/* ---- memory ---- */

#define __GFP_ZERO (1u << 0)
#define GFP_KERNEL 0u
#define GFP_ATOMIC 0u
#define GFP_NOWAIT 0u

static inline void *kzalloc(size_t size, gfp_t flags)
{
	(void)flags;
	return calloc(1, size);
}

static inline void *kmalloc(size_t size, gfp_t flags)
{
	return flags & __GFP_ZERO ? calloc(1, size) : malloc(size);
}

static inline void *kmalloc_array(size_t count, size_t size, gfp_t flags)
{
	return size && count > SIZE_MAX / size ? NULL : kmalloc(count * size, flags);
}

static inline void *kcalloc(size_t count, size_t size, gfp_t flags)
{
	return kmalloc_array(count, size, flags | __GFP_ZERO);
}

static inline void *kmemdup(const void *from, size_t size, gfp_t flags)
{
	void *copy = kmalloc(size, flags);

	return copy ? memcpy(copy, from, size) : NULL;
}

static inline char *kstrdup(const char *text, gfp_t flags)
{
	return text ? (char *)kmemdup(text, strlen(text) + 1, flags) : NULL;
}

static inline void kfree(const void *ptr)
{
	free((void *)(uintptr_t)ptr);
}

/* ---- reference counts ---- */

typedef struct {
	int refs;
} refcount_t;

#define REFCOUNT_INIT(value) { (value) }

static inline void refcount_set(refcount_t *r, int value)
{
	WRITE_ONCE(r->refs, value);
}

static inline int refcount_read(const refcount_t *r)
{
	return READ_ONCE(r->refs);
}

static inline void refcount_inc(refcount_t *r)
{
	int old = __atomic_fetch_add(&r->refs, 1, __ATOMIC_RELAXED);

	WARN_ONCE(old <= 0, "refcount_inc on %d: use after free\n", old);
}

static inline bool refcount_dec_and_test(refcount_t *r)
{
	/* Whoever frees sees all that the others did before they let go. */
	int old = __atomic_fetch_sub(&r->refs, 1, __ATOMIC_ACQ_REL);

	WARN_ONCE(old <= 0, "refcount_dec on %d: underflow\n", old);
	return old == 1;
}

struct kref {
	refcount_t refcount;
};

static inline void kref_init(struct kref *kref)
{
	refcount_set(&kref->refcount, 1);
}

static inline void kref_get(struct kref *kref)
{
	refcount_inc(&kref->refcount);
}

static inline int kref_put(struct kref *kref, void (*release)(struct kref *kref))
{
	if (!refcount_dec_and_test(&kref->refcount))
		return 0;
	release(kref);
	return 1;
}

/* ---- lists: a ring through the entries, with a head ---- */

struct list_head {
	struct list_head *next, *prev;
};

/* <sys/queue.h> has another one. */
#undef LIST_HEAD
#define LIST_HEAD_INIT(name) { &(name), &(name) }
#define LIST_HEAD(name) struct list_head name = LIST_HEAD_INIT(name)

static inline void INIT_LIST_HEAD(struct list_head *list)
{
	list->next = list;
	list->prev = list;
}

static inline bool list_empty(const struct list_head *head)
{
	return READ_ONCE(head->next) == head;
}

static inline void kcompat_list_insert(struct list_head *entry, struct list_head *before,
				       struct list_head *after)
{
	entry->prev = before;
	entry->next = after;
	after->prev = entry;
	WRITE_ONCE(before->next, entry);
}

static inline void list_add(struct list_head *entry, struct list_head *head)
{
	kcompat_list_insert(entry, head, head->next);
}

static inline void list_add_tail(struct list_head *entry, struct list_head *head)
{
	kcompat_list_insert(entry, head->prev, head);
}

/* What is used after list_del faults at once. */
static inline void list_del(struct list_head *entry)
{
	entry->next->prev = entry->prev;
	WRITE_ONCE(entry->prev->next, entry->next);
	entry->next = NULL;
	entry->prev = NULL;
}

static inline void list_del_init(struct list_head *entry)
{
	list_del(entry);
	INIT_LIST_HEAD(entry);
}

static inline void list_move(struct list_head *entry, struct list_head *head)
{
	list_del(entry);
	list_add(entry, head);
}

static inline void list_move_tail(struct list_head *entry, struct list_head *head)
{
	list_del(entry);
	list_add_tail(entry, head);
}

static inline void list_splice_tail_init(struct list_head *from, struct list_head *head)
{
	if (list_empty(from))
		return;
	from->next->prev = head->prev;
	head->prev->next = from->next;
	from->prev->next = head;
	head->prev = from->prev;
	INIT_LIST_HEAD(from);
}

#define list_entry(ptr, type, member) container_of(ptr, type, member)
#define list_first_entry(head, type, member) list_entry((head)->next, type, member)
#define list_last_entry(head, type, member) list_entry((head)->prev, type, member)
#define list_next_entry(pos, member) list_entry((pos)->member.next, __typeof__(*(pos)), member)
#define list_first_entry_or_null(head, type, member) \
	(list_empty(head) ? NULL : list_first_entry(head, type, member))
#define list_for_each(pos, head) \
	for ((pos) = (head)->next; (pos) != (head); (pos) = (pos)->next)
#define list_for_each_entry(pos, head, member)					\
	for ((pos) = list_first_entry(head, __typeof__(*(pos)), member);	\
	     &(pos)->member != (head); (pos) = list_next_entry(pos, member))
#define list_for_each_entry_safe(pos, n, head, member)				\
	for ((pos) = list_first_entry(head, __typeof__(*(pos)), member),	\
	     (n) = list_next_entry(pos, member);				\
	     &(pos)->member != (head); (pos) = (n), (n) = list_next_entry(n, member))

/* ---- locks: a POSIX mutex that inherits priority ---- */

/*
 * It is made at its first use, since no constant initialiser of POSIX's asks for the
 * inheritance; memory of zeros is a lock, therefore.
 */
struct mutex {
	unsigned int ready;	/* 0: not made, 1: is being made, 2 */
	pthread_mutex_t posix;
};

typedef struct mutex spinlock_t;
typedef struct mutex raw_spinlock_t;

#define KCOMPAT_LOCK_INIT { 0, PTHREAD_MUTEX_INITIALIZER }
#define DEFINE_MUTEX(name) struct mutex name = KCOMPAT_LOCK_INIT
#define DEFINE_SPINLOCK(name) spinlock_t name = KCOMPAT_LOCK_INIT

static inline void kcompat_lock_make(struct mutex *lock)
{
	pthread_mutexattr_t attr;

	if (pthread_mutexattr_init(&attr)) {
		pthread_mutex_init(&lock->posix, NULL);
		return;
	}
#ifdef PTHREAD_PRIO_INHERIT
	pthread_mutexattr_setprotocol(&attr, PTHREAD_PRIO_INHERIT);
#endif
	if (pthread_mutex_init(&lock->posix, &attr)) /* where the system has no inheritance */
		pthread_mutex_init(&lock->posix, NULL);
	pthread_mutexattr_destroy(&attr);
}

static inline void mutex_init(struct mutex *lock)
{
	kcompat_lock_make(lock);
	__atomic_store_n(&lock->ready, 2, __ATOMIC_RELEASE);
}

static inline pthread_mutex_t *kcompat_posix(struct mutex *lock)
{
	unsigned int ready = 0;

	if (likely(__atomic_load_n(&lock->ready, __ATOMIC_ACQUIRE) == 2))
		return &lock->posix;
	if (__atomic_compare_exchange_n(&lock->ready, &ready, 1, false, __ATOMIC_ACQUIRE,
					__ATOMIC_ACQUIRE)) {
		mutex_init(lock);
		return &lock->posix;
	}
	/* A sleep, for one of higher priority would keep the maker from its end by yielding. */
	while (__atomic_load_n(&lock->ready, __ATOMIC_ACQUIRE) != 2)
		nanosleep(&(struct timespec){ 0, 1000 }, NULL);
	return &lock->posix;
}

static inline void mutex_lock(struct mutex *lock)
{
	int error = pthread_mutex_lock(kcompat_posix(lock));

	BUG_ON(error);
}

static inline bool mutex_trylock(struct mutex *lock)
{
	return !pthread_mutex_trylock(kcompat_posix(lock));
}

static inline void mutex_unlock(struct mutex *lock)
{
	int error = pthread_mutex_unlock(&lock->posix);

	BUG_ON(error);
}

static inline void mutex_destroy(struct mutex *lock)
{
	if (__atomic_exchange_n(&lock->ready, 0, __ATOMIC_ACQ_REL) == 2)
		pthread_mutex_destroy(&lock->posix);
}

#define lockdep_assert_held(lock) ((void)(lock))

#define spin_lock_init(lock) mutex_init(lock)
#define spin_lock(lock) mutex_lock(lock)
#define spin_unlock(lock) mutex_unlock(lock)
#define spin_trylock(lock) mutex_trylock(lock)
#define spin_lock_irq(lock) mutex_lock(lock)
#define spin_unlock_irq(lock) mutex_unlock(lock)
#define spin_lock_bh(lock) mutex_lock(lock)
#define spin_unlock_bh(lock) mutex_unlock(lock)
/* No interrupts are kept off; the flags only have to be there. */
#define spin_lock_irqsave(lock, flags) ((flags) = 0UL, mutex_lock(lock))
#define spin_unlock_irqrestore(lock, flags) ((void)(flags), mutex_unlock(lock))
#define raw_spin_lock_init(lock) mutex_init(lock)
#define raw_spin_lock(lock) mutex_lock(lock)
#define raw_spin_unlock(lock) mutex_unlock(lock)
#define raw_spin_lock_irqsave(lock, flags) spin_lock_irqsave(lock, flags)
#define raw_spin_unlock_irqrestore(lock, flags) spin_unlock_irqrestore(lock, flags)

/* ---- time ---- */

#ifndef KTHREAD_COMPAT_HZ
#define KTHREAD_COMPAT_HZ 1000
#endif
/* <sys/param.h> has another one, of another meaning. */
#undef HZ
#define HZ KTHREAD_COMPAT_HZ

#define NSEC_PER_USEC 1000L
#define NSEC_PER_MSEC 1000000L
#define NSEC_PER_SEC 1000000000L
#define USEC_PER_MSEC 1000L
#define USEC_PER_SEC 1000000L
#define MSEC_PER_SEC 1000L

_Static_assert(KTHREAD_COMPAT_HZ > 0 && KTHREAD_COMPAT_HZ <= 1000000 &&
	       1000000000 % KTHREAD_COMPAT_HZ == 0, "KTHREAD_COMPAT_HZ has to divide 10^9");

#define KCOMPAT_TICK_NS (1000000000u / KTHREAD_COMPAT_HZ)
#define MAX_JIFFY_OFFSET ((unsigned long)(LONG_MAX >> 1) - 1)
#define MAX_SCHEDULE_TIMEOUT LONG_MAX

typedef s64 ktime_t;

static inline u64 ktime_get_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (u64)now.tv_sec * 1000000000u + (u64)now.tv_nsec;
}

static inline u64 get_jiffies_64(void)
{
	return ktime_get_ns() / KCOMPAT_TICK_NS;
}

/* Read, never stored to. */
#define jiffies ((unsigned long)get_jiffies_64())

/*
 * Nanoseconds of a delay in jiffies; what no clock reaches, and MAX_SCHEDULE_TIMEOUT, is never.
 * What is more than that is a moment that has passed, as due - jiffies is.
 */
static inline uint64_t kcompat_jiffies_ns(unsigned long j)
{
	if (j > (unsigned long)MAX_SCHEDULE_TIMEOUT)
		return 0;
	if (j == (unsigned long)MAX_SCHEDULE_TIMEOUT || j >= UINT64_MAX / KCOMPAT_TICK_NS)
		return KTHREAD_FOREVER;
	return (uint64_t)j * KCOMPAT_TICK_NS;
}

/* Never fewer jiffies than the time asked for. */
static inline unsigned long kcompat_ns_jiffies(uint64_t ns)
{
	uint64_t j = ns / KCOMPAT_TICK_NS + !!(ns % KCOMPAT_TICK_NS);

	return j < MAX_JIFFY_OFFSET ? (unsigned long)j : MAX_JIFFY_OFFSET;
}

static inline unsigned long msecs_to_jiffies(unsigned int ms)
{
	/* Negative numbers, converted, are endless: as in the kernel. */
	return ms > INT_MAX ? MAX_JIFFY_OFFSET : kcompat_ns_jiffies((uint64_t)ms * 1000000u);
}

static inline unsigned long usecs_to_jiffies(unsigned int us)
{
	return kcompat_ns_jiffies((uint64_t)us * 1000u);
}

static inline unsigned long nsecs_to_jiffies(u64 ns)
{
	return (unsigned long)(ns / KCOMPAT_TICK_NS);
}

#define secs_to_jiffies(s) ((unsigned long)(s) * HZ)

static inline unsigned int jiffies_to_msecs(unsigned long j)
{
	/* Of a difference below zero as well, which wraps, where HZ divides 1000. */
	return (unsigned int)(1000 % HZ ? j / HZ * 1000 + j % HZ * 1000 / HZ : j * (1000 / HZ));
}

static inline unsigned int jiffies_to_usecs(unsigned long j)
{
	return (unsigned int)((u64)j * (1000000u / HZ));
}

static inline u64 jiffies_to_nsecs(unsigned long j)
{
	return (u64)j * KCOMPAT_TICK_NS;
}

/* Right also when jiffies has wrapped between the two. */
#define time_after(a, b) kcompat_later((a), (b))
#define time_before(a, b) kcompat_later((b), (a))
#define time_after_eq(a, b) (!kcompat_later((b), (a)))
#define time_before_eq(a, b) (!kcompat_later((a), (b)))
#define time_in_range(t, from, to) (time_after_eq(t, from) && time_before_eq(t, to))
#define time_is_before_jiffies(t) time_after(jiffies, t)
#define time_is_after_jiffies(t) time_before(jiffies, t)

static inline bool kcompat_later(unsigned long a, unsigned long b)
{
	return (long)(b - a) < 0;
}

#define KTIME_MAX ((ktime_t)INT64_MAX)

static inline ktime_t ktime_set(s64 s, unsigned long ns)
{
	return s >= KTIME_MAX / NSEC_PER_SEC ? KTIME_MAX : s * NSEC_PER_SEC + (s64)ns;
}

#define ktime_get() ((ktime_t)ktime_get_ns())
#define ns_to_ktime(ns) ((ktime_t)(ns))
#define us_to_ktime(us) ((ktime_t)(us) * NSEC_PER_USEC)
#define ms_to_ktime(ms) ((ktime_t)(ms) * NSEC_PER_MSEC)
#define ktime_add(a, b) ((ktime_t)((a) + (b)))
#define ktime_sub(a, b) ((ktime_t)((a) - (b)))
#define ktime_add_ns(t, ns) ((ktime_t)((t) + (s64)(ns)))
#define ktime_add_us(t, us) ktime_add(t, us_to_ktime(us))
#define ktime_add_ms(t, ms) ktime_add(t, ms_to_ktime(ms))
#define ktime_to_ns(t) ((s64)(t))
#define ktime_to_us(t) ((s64)(t) / NSEC_PER_USEC)
#define ktime_to_ms(t) ((s64)(t) / NSEC_PER_MSEC)
#define ktime_us_delta(later, earlier) ktime_to_us(ktime_sub(later, earlier))
#define ktime_ms_delta(later, earlier) ktime_to_ms(ktime_sub(later, earlier))
#define ktime_after(a, b) ((ktime_t)(a) > (ktime_t)(b))
#define ktime_before(a, b) ((ktime_t)(a) < (ktime_t)(b))

/* Signals do not shorten these. */
static inline void kcompat_sleep_ns(uint64_t ns)
{
	struct timespec left = { (time_t)(ns / 1000000000u), (long)(ns % 1000000000u) };

	while (nanosleep(&left, &left) && errno == EINTR)
		;
}

#define msleep(ms) kcompat_sleep_ns((uint64_t)(ms) * 1000000u)
#define usleep_range(least, most) ((void)(most), kcompat_sleep_ns((uint64_t)(least) * 1000u))
#define fsleep(us) kcompat_sleep_ns((uint64_t)(us) * 1000u)

static inline void udelay(unsigned long us)
{
	u64 end = ktime_get_ns() + (u64)us * 1000u;

	while (ktime_get_ns() < end)
		cpu_relax();
}

/* ---- completions ---- */

/*
 * Waiters are served in their order, and complete() hands its token to the first. Each has a
 * condition of its own, on the monotonic clock, so that a completion can be a constant
 * initialiser and yet a timed wait does not follow the wall clock.
 */
struct kcompat_waiter {
	pthread_cond_t cond;
	bool served;
	struct kcompat_waiter *next;
};

struct completion {
	unsigned int done;	/* tokens; UINT_MAX: for all; under lock, as what follows */
	struct mutex lock;
	struct kcompat_waiter *first;
};

#define COMPLETION_INITIALIZER(name) { 0, KCOMPAT_LOCK_INIT, NULL }
#define DECLARE_COMPLETION(name) struct completion name = COMPLETION_INITIALIZER(name)
#define DECLARE_COMPLETION_ONSTACK(name) DECLARE_COMPLETION(name)
#define COMPLETION_INITIALIZER_ONSTACK(name) COMPLETION_INITIALIZER(name)

static inline void init_completion(struct completion *c)
{
	c->done = 0;
	c->first = NULL;
	c->lock.ready = 0;
	mutex_init(&c->lock);
}

static inline void reinit_completion(struct completion *c)
{
	mutex_lock(&c->lock);
	c->done = 0;
	mutex_unlock(&c->lock);
}

/* Under lock. The waiter cannot leave before the lock is given back: cond lives. */
static inline void kcompat_serve_first(struct completion *c)
{
	struct kcompat_waiter *waiter = c->first;

	c->first = waiter->next;
	waiter->served = true;
	pthread_cond_signal(&waiter->cond);
}

static inline void complete(struct completion *c)
{
	mutex_lock(&c->lock);
	if (c->first)
		kcompat_serve_first(c);
	else if (c->done != UINT_MAX)
		c->done++;
	mutex_unlock(&c->lock);
}

static inline void complete_all(struct completion *c)
{
	mutex_lock(&c->lock);
	c->done = UINT_MAX;
	while (c->first)
		kcompat_serve_first(c);
	mutex_unlock(&c->lock);
}

static inline bool completion_done(struct completion *c)
{
	bool done;

	mutex_lock(&c->lock);
	done = c->done;
	mutex_unlock(&c->lock);
	return done;
}

static inline bool kcompat_take(struct completion *c)
{
	if (!c->done)
		return false;
	if (c->done != UINT_MAX)
		c->done--;
	return true;
}

static inline bool try_wait_for_completion(struct completion *c)
{
	bool taken;

	mutex_lock(&c->lock);
	taken = kcompat_take(c);
	mutex_unlock(&c->lock);
	return taken;
}

static inline void kcompat_waiter_init(struct kcompat_waiter *waiter)
{
	pthread_condattr_t attr;

	waiter->served = false;
	waiter->next = NULL;
	pthread_condattr_init(&attr);
#ifndef __APPLE__
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
#endif
	pthread_cond_init(&waiter->cond, &attr);
	pthread_condattr_destroy(&attr);
}

/* One sleep, under lock; until deadline, on the monotonic clock, at the latest. */
static inline void kcompat_waiter_sleep(struct kcompat_waiter *waiter, pthread_mutex_t *lock,
					uint64_t deadline)
{
	struct timespec until;

	if (deadline == KTHREAD_FOREVER) {
		pthread_cond_wait(&waiter->cond, lock);
		return;
	}
#ifdef __APPLE__
	deadline -= ktime_get_ns() < deadline ? ktime_get_ns() : deadline;
#endif
	until.tv_sec = (time_t)(deadline / 1000000000u);
	until.tv_nsec = (long)(deadline % 1000000000u);
#ifdef __APPLE__
	pthread_cond_timedwait_relative_np(&waiter->cond, lock, &until);
#else
	pthread_cond_timedwait(&waiter->cond, lock, &until);
#endif
}

/* Returns what is left of the time, at least 1, or 0: the time is over, nothing was taken. */
static inline unsigned long wait_for_completion_timeout(struct completion *c,
							unsigned long timeout)
{
	uint64_t limit = kcompat_jiffies_ns(timeout), now = ktime_get_ns(), deadline;
	struct kcompat_waiter waiter, **link;
	bool taken;

	deadline = limit >= KTHREAD_FOREVER - now ? KTHREAD_FOREVER : now + limit;
	mutex_lock(&c->lock);
	taken = kcompat_take(c);
	if (!taken && limit) {
		kcompat_waiter_init(&waiter);
		for (link = &c->first; *link; link = &(*link)->next)
			;
		*link = &waiter;
		while (!waiter.served && ktime_get_ns() < deadline)
			kcompat_waiter_sleep(&waiter, &c->lock.posix, deadline);
		taken = waiter.served;
		if (!taken) {
			for (link = &c->first; *link != &waiter; link = &(*link)->next)
				;
			*link = waiter.next;
		}
		pthread_cond_destroy(&waiter.cond);
	}
	mutex_unlock(&c->lock);
	if (!taken)
		return 0;
	if (deadline == KTHREAD_FOREVER)
		return timeout ? timeout : 1;
	now = ktime_get_ns();
	return now < deadline ? max(1UL, kcompat_ns_jiffies(deadline - now)) : 1;
}

static inline void wait_for_completion(struct completion *c)
{
	wait_for_completion_timeout(c, MAX_SCHEDULE_TIMEOUT);
}

/* No signal is delivered to these: they always end by the completion, or by the time. */
static inline int wait_for_completion_interruptible(struct completion *c)
{
	wait_for_completion(c);
	return 0;
}

static inline int wait_for_completion_killable(struct completion *c)
{
	wait_for_completion(c);
	return 0;
}

static inline long wait_for_completion_interruptible_timeout(struct completion *c,
							     unsigned long timeout)
{
	return (long)wait_for_completion_timeout(c, timeout);
}

/* ---- threads ---- */

/* A task is the core's thread; so worker->task is one, as it stands. */
#define task_struct kthread

#ifndef KTHREAD_COMPAT_NO_CURRENT
#define current kthread_current()
#endif

static inline void *kcompat_or_err(void *ptr)
{
	return ptr ? ptr : ERR_PTR(-errno);
}

/* What kthread_create keeps for a thread that nobody has woken yet. */
struct kcompat_start {
	int (*fn)(void *data);
	void *data;
	unsigned int woken;
};

/* Weak: one for all that include this header, so that each knows the others' threads by it. */
int kcompat_begin(void *start);
__attribute__((weak)) int kcompat_begin(void *arg)
{
	struct kcompat_start *start = (struct kcompat_start *)arg;

	while (!__atomic_load_n(&start->woken, __ATOMIC_ACQUIRE)) {
		if (kthread_should_stop())
			return -EINTR; /* as in the kernel: the function is not called */
		if (kthread_should_park()) {
			kthread_parkme(); /* before its function, which the unpark begins */
			break;
		}
		try_to_freeze();
		kthread_sleep(KTHREAD_FOREVER);
	}
	return start->fn(start->data);
}

/* NULL: @k was not made by kthread_create. */
static inline struct kcompat_start *kcompat_start_of(const struct kthread *k)
{
	return kthread_func(k) == kcompat_begin ? (struct kcompat_start *)kthread_data(k) : NULL;
}

static inline struct kcompat_start *kcompat_new_start(int (*fn)(void *data), void *data)
{
	struct kcompat_start *start = (struct kcompat_start *)calloc(1, sizeof(*start));

	if (start) {
		start->fn = fn;
		start->data = data;
	}
	return start;
}

static inline struct kthread *kcompat_created(struct kcompat_start *start, struct kthread *k)
{
	int error = start ? errno : ENOMEM;

	if (k)
		return k;
	free(start);
	return (struct kthread *)ERR_PTR(-error);
}

static inline int kcompat_stop(struct kthread *k)
{
	struct kcompat_start *start = k ? kcompat_start_of(k) : NULL;
	int result = kthread_stop(k);

	/* Freed with its thread: one that stops itself is told EDEADLK, and goes on. */
	if (result != -EDEADLK || k != kthread_current())
		free(start);
	return result;
}

static inline kthread_func_t kcompat_func(const struct kthread *k)
{
	struct kcompat_start *start = kcompat_start_of(k);

	return start ? start->fn : kthread_func(k);
}

static inline void *kcompat_data(const struct kthread *k)
{
	struct kcompat_start *start = kcompat_start_of(k);

	return start ? start->data : kthread_data(k);
}

/* Returns 1; that it ran already is not told. */
static inline int wake_up_process(struct kthread *k)
{
	struct kcompat_start *start = kcompat_start_of(k);

	if (start)
		__atomic_store_n(&start->woken, 1, __ATOMIC_RELEASE);
	else
		kthread_unpark(k); /* a worker's that kthread_create_worker left asleep */
	kthread_wake_up(k);
	return 1;
}

#define kthread_run(fn, data, ...) \
	((struct kthread *)kcompat_or_err((kthread_run)((fn), (data), __VA_ARGS__)))
#define kthread_create(fn, data, ...) __extension__ ({				\
	struct kcompat_start *start_ = kcompat_new_start((fn), (data));		\
	kcompat_created(start_, start_ ? (kthread_run)(kcompat_begin, start_, __VA_ARGS__) \
				       : NULL); })
#define NUMA_NO_NODE (-1)
#define kthread_create_on_node(fn, data, node, ...) \
	((void)(node), kthread_create((fn), (data), __VA_ARGS__))
#define kthread_stop kcompat_stop
#define kthread_func kcompat_func
#define kthread_data kcompat_data

/* A thread lives until it is stopped; nobody counts. */
static inline struct kthread *get_task_struct(struct kthread *k)
{
	return k;
}

static inline void put_task_struct(struct kthread *k)
{
	(void)k;
}

#define task_pid_nr(k) kthread_tid(k)

/*
 * The loop of a thread of one's own: set_current_state(TASK_INTERRUPTIBLE), look, schedule().
 * A wake-up between the look and the sleep ends the sleep, so the state need not be kept.
 */
#define TASK_RUNNING 0
#define TASK_INTERRUPTIBLE 1
#define TASK_UNINTERRUPTIBLE 2
#define set_current_state(state) ((void)(state))
#define __set_current_state(state) ((void)(state))
#define schedule() ((void)kthread_wait_for_wake_up(KTHREAD_FOREVER))

/* Returns the jiffies that were left; 0: the time is over. Ends early for a wake-up. */
static inline long schedule_timeout(long timeout)
{
	uint64_t limit = kcompat_jiffies_ns((unsigned long)timeout), start = ktime_get_ns(), past;

	if (timeout < 0)
		return 0;
	kthread_wait_for_wake_up(limit);
	past = ktime_get_ns() - start;
	if (limit == KTHREAD_FOREVER)
		return timeout;
	return past < limit ? (long)kcompat_ns_jiffies(limit - past) : 0;
}

#define schedule_timeout_interruptible(timeout) schedule_timeout(timeout)

/* ---- scheduling: void in the kernel, which may do all; here 0 or -errno, and a message ---- */

static inline int kcompat_sched(struct kthread *k, int policy, int priority, int nice_value)
{
	struct kthread_attr attr = KTHREAD_ATTR_INIT;
	int result;

	attr.policy = policy;
	attr.priority = priority;
	attr.nice = nice_value;
	result = kthread_set_scheduler(k, &attr);
	if (result)
		pr_warn("%s: policy %d, priority %d refused (%s); "
			"CAP_SYS_NICE, RLIMIT_RTPRIO and RLIMIT_NICE decide\n",
			k ? kthread_name(k) : "no thread", policy, priority, strerror(-result));
	return result;
}

/* The kernel's two levels: the middle of its range, and just above all normal threads. */
#define sched_set_fifo(k) kcompat_sched((k), SCHED_FIFO, 50, KTHREAD_INHERIT)
#define sched_set_fifo_low(k) kcompat_sched((k), SCHED_FIFO, 1, KTHREAD_INHERIT)
#define sched_set_normal(k, nice) kcompat_sched((k), SCHED_OTHER, 0, (nice))

static inline int set_user_nice(struct kthread *k, long nice_value)
{
	struct kthread_attr attr = KTHREAD_ATTR_INIT;
	int result = kthread_get_scheduler(k, &attr);

	return result ? result : kcompat_sched(k, attr.policy, attr.priority, (int)nice_value);
}

static inline int kcompat_setscheduler(struct kthread *k, int policy,
				       const struct sched_param *param)
{
	return kcompat_sched(k, policy, param->sched_priority, KTHREAD_INHERIT);
}

/* ---- sets of CPUs ---- */

#define KCOMPAT_CPUS 1024u

struct cpumask {
	DECLARE_BITMAP(bits, KCOMPAT_CPUS);
};

typedef struct cpumask cpumask_t;

static inline void cpumask_clear(struct cpumask *mask)
{
	memset(mask, 0, sizeof(*mask));
}

static inline void cpumask_set_cpu(unsigned int cpu, struct cpumask *mask)
{
	if (!WARN_ON_ONCE(cpu >= KCOMPAT_CPUS))
		set_bit(cpu, mask->bits);
}

static inline bool cpumask_test_cpu(unsigned int cpu, const struct cpumask *mask)
{
	return cpu < KCOMPAT_CPUS && test_bit(cpu, mask->bits);
}

static inline const struct cpumask *kcompat_only(struct cpumask *mask, unsigned int cpu)
{
	cpumask_set_cpu(cpu, mask);
	return mask;
}

/* Lives to the end of the block that it stands in. */
#define cpumask_of(cpu) kcompat_only(&(struct cpumask){ { 0 } }, (cpu))

/* Returns 0 or -errno, as the kernel's: EINVAL for a set of none that may be used. */
static inline int set_cpus_allowed_ptr(struct kthread *k, const struct cpumask *mask)
{
	char list[KCOMPAT_CPUS * 5 + 1] = "";
	size_t used = 0;

	for (unsigned int cpu = 0; cpu < KCOMPAT_CPUS; cpu++)
		if (cpumask_test_cpu(cpu, mask))
			used += (size_t)snprintf(list + used, sizeof(list) - used, "%s%u",
						 used ? "," : "", cpu);
	return kthread_set_cpus(k, list);
}

/* Of a task the kernel's, of a pid_t the C library's. */
#define sched_setscheduler(who, policy, param)					\
	_Generic((who), struct kthread *: kcompat_setscheduler,			\
		 default: (sched_setscheduler))((who), (policy), (param))
#define sched_setscheduler_nocheck(k, policy, param) kcompat_setscheduler((k), (policy), (param))

/* ---- workers ---- */

/* Weak: one for all. The data of a worker that has these is NULL once its first work has come. */
extern const struct kthread_worker_ops kcompat_creation;
__attribute__((weak)) const struct kthread_worker_ops kcompat_creation = { .idle = NULL };

/*
 * Linux 6.14: the thread exists, and sleeps until wake_up_process(worker->task), or until
 * the first work comes, so that its scheduling can be set before. It is parked here.
 */
static inline struct kthread_worker *kcompat_worker_asleep(struct kthread_worker *worker)
{
	int result;

	if (!worker)
		return (struct kthread_worker *)ERR_PTR(-errno);
	kthread_worker_set_ops(worker, &kcompat_creation, worker);
	result = kthread_start_worker(worker, NULL);
	if (!result)
		result = kthread_park(worker->task);
	if (!result)
		return worker;
	kthread_destroy_worker(worker);
	return (struct kthread_worker *)ERR_PTR(result);
}

#define kthread_run_worker(flags, ...) \
	((struct kthread_worker *)kcompat_or_err((kthread_run_worker)((flags), __VA_ARGS__)))
#define kthread_run_worker_on_cpu(cpu, flags, namefmt)				\
	((struct kthread_worker *)						\
	 kcompat_or_err((kthread_run_worker_on_cpu)((cpu), (flags), (namefmt))))

#ifdef KTHREAD_COMPAT_BEFORE_6_14
#define kthread_create_worker(flags, ...) kthread_run_worker((flags), __VA_ARGS__)
#define KCOMPAT_FIRST(...) KCOMPAT_FIRST_(__VA_ARGS__, 0)
#define KCOMPAT_FIRST_(first, ...) first
/* Its format took arguments of the caller's: the number of the CPU, as a rule; that is put in. */
#define kthread_create_worker_on_cpu(cpu, flags, ...) \
	kthread_run_worker_on_cpu((cpu), (flags), (KCOMPAT_FIRST(__VA_ARGS__)))
#else
#define kthread_create_worker(flags, ...) \
	kcompat_worker_asleep((kthread_create_worker)((flags), __VA_ARGS__))
#define kthread_create_worker_on_cpu(cpu, flags, namefmt) \
	kcompat_worker_asleep((kthread_create_worker_on_cpu)((cpu), (flags), (namefmt)))
#endif

static inline void kcompat_first_work(struct kthread_worker *worker)
{
	if (worker && worker->ops == &kcompat_creation &&
	    __atomic_load_n(&worker->data, __ATOMIC_RELAXED) &&
	    __atomic_exchange_n(&worker->data, NULL, __ATOMIC_RELAXED))
		kthread_unpark_worker(worker);
}

static inline bool kcompat_queue_work(struct kthread_worker *worker, struct kthread_work *work)
{
	bool queued = kthread_queue_work(worker, work);

	kcompat_first_work(worker);
	return queued;
}

static inline bool kcompat_queue_delayed_work(struct kthread_worker *worker,
					      struct kthread_delayed_work *dwork,
					      unsigned long delay)
{
	bool queued = kthread_queue_delayed_work(worker, dwork, kcompat_jiffies_ns(delay));

	kcompat_first_work(worker);
	return queued;
}

static inline bool kcompat_mod_delayed_work(struct kthread_worker *worker,
					    struct kthread_delayed_work *dwork,
					    unsigned long delay)
{
	bool modified = kthread_mod_delayed_work(worker, dwork, kcompat_jiffies_ns(delay));

	kcompat_first_work(worker);
	return modified;
}

/* Not like functions, so that what takes their address gets jiffies as well. */
#define kthread_queue_work kcompat_queue_work
#define kthread_queue_delayed_work kcompat_queue_delayed_work
#define kthread_mod_delayed_work kcompat_mod_delayed_work

/*
 * Void in the kernel, which hangs where the core returns an error; code that drops the result
 * must not take that for a flush. So it is said aloud, and returned all the same.
 */
static inline int kcompat_told(int error, const char *call)
{
	if (unlikely(error))
		pr_warn("WARNING: %s: %s\n", call, strerror(-error));
	return error;
}

#define kthread_flush_work(work) \
	kcompat_told((kthread_flush_work)(work), "kthread_flush_work")
#define kthread_flush_worker(worker) \
	kcompat_told((kthread_flush_worker)(worker), "kthread_flush_worker")
#define kthread_destroy_worker(worker) \
	kcompat_told((kthread_destroy_worker)(worker), "kthread_destroy_worker")
#define kthread_bind(task, cpu) \
	kcompat_told((kthread_bind)((task), (cpu)), "kthread_bind")

#define DEFINE_KTHREAD_WORKER_ONSTACK(worker) DEFINE_KTHREAD_WORKER(worker)

/* ---- modules ---- */

#define EXPORT_SYMBOL(name) extern int kcompat_unused_
#define EXPORT_SYMBOL_GPL(name) extern int kcompat_unused_
#define MODULE_LICENSE(text) extern int kcompat_unused_
#define MODULE_AUTHOR(text) extern int kcompat_unused_
#define MODULE_DESCRIPTION(text) extern int kcompat_unused_

#ifdef KTHREAD_COMPAT_MAIN
/* A program that loads, and unloads, the module. module_init comes first. */
#define module_init(fn) \
	static int kcompat_module_init(void) { return fn(); } extern int kcompat_unused_
#define module_exit(fn)								\
	int main(void)								\
	{									\
		int result = kcompat_module_init();				\
		if (result) {							\
			pr_err("module_init: %s\n", strerror(-result));		\
			return 1;						\
		}								\
		fn();								\
		return 0;							\
	}									\
	extern int kcompat_unused_
#else
#define module_init(fn) int init_module(void) { return fn(); } extern int kcompat_unused_
#define module_exit(fn) void cleanup_module(void) { fn(); } extern int kcompat_unused_
#endif

#endif /* KTHREAD_COMPAT_H */
