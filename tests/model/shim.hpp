/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * shim.hpp - what stands in for the system when the core's source runs under Relacy.
 *
 * The .c files of the core are included unchanged behind this header. It replaces
 *
 *	barrier.h	by the same vocabulary on Relacy's atomics. Each use is a site, known by
 *			file, line and word; one site of a run may be weakened (see weaken_site).
 *	park.h		by a futex that wakes nobody without a wake, but for one look in vain a
 *			thread; a sleeper whom nobody wakes is a deadlock, which is reported.
 *	pthread.h	by Relacy's mutexes and threads.
 *	plain members	of the core's structs, by plain<T>: each access is under race detection.
 *			The headers are taken through headers.py, which puts the types in.
 *
 * Objects keep their initial value in themselves; what Relacy has to know of them stands in
 * a table by address. So memcpy, memset and static initialisers do what they do in C.
 *
 * An access is a point where threads may be switched only when its object is shared and
 * written: by what earlier executions of the same scenario have shown. A scenario is run
 * anew until nothing was added to that (see simulate_all in main.cc).
 */
#ifndef MODEL_SHIM_HPP
#define MODEL_SHIM_HPP

#include <cstddef>
#include <cstdint>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#ifdef __linux__
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#endif
#include <sys/syscall.h>
#include <type_traits>
#include <unistd.h>

#pragma push_macro("errno")
#include "relacy/relacy.hpp"
#pragma pop_macro("errno")
/* Words that Relacy takes for itself, and the core needs. */
#undef $
#undef new
#undef delete
#undef malloc
#undef calloc
#undef realloc
#undef free
#undef assert
#undef futex
#undef pthread_t
#undef pthread_attr_t
#undef pthread_mutexattr_t
#undef pthread_mutexattr_init
#undef pthread_mutexattr_destroy
#undef pthread_mutex_t
#undef pthread_mutex_init
#undef pthread_mutex_lock
#undef pthread_mutex_trylock
#undef pthread_mutex_unlock
#undef pthread_mutex_destroy
#undef pthread_create
#undef pthread_join
#undef sched_yield

/* ---- the table of objects ---- */

namespace model {

enum kind { ATOMIC, PLAIN, MUTEX, SLEEPERS, GUARD, FENCES };

/* Their initial value is there for all, whoever comes first. */
typedef rl::generic_atomic<uint32_t, true> atomic32;
typedef rl::generic_atomic<uint64_t, true> atomic64;

/* What is known of one object in one execution. */
struct object {
	uintptr_t address;
	uint32_t execution;
	kind what;
	uint32_t id;		/* the same in each execution */
	uint32_t size;
	bool dead;		/* its memory was freed */
	union {
		void *impl;
		atomic32 *a32;
		atomic64 *a64;
		rl::var_data *var;
		rl::generic_mutex_data *mutex;
	};
	object *guard;		/* of the memory that it lies in */
};

object *find(const void *address, kind what, uint32_t size);

/* An access to *o begins: may threads be switched there? Ends in the destructor. */
class turn {
public:
	turn(object *o, bool writes);
	~turn();

private:
	bool quiet;
};

/* To be called after each point where threads may have been switched. */
void resumed();

void register_static(void *address, uint32_t size);
void forget(void *address, uint32_t size);
void fail(const char *what, rl::test_result_e result);
void race_check(object *o, bool writes);

/* ---- sites ---- */

struct alignas(64) site {
	const char *file;
	int line;
	const char *word;
	int weaker;	/* the order it is weakened to; -1: as written */
	uint64_t uses;
};

enum { AS_WRITTEN = -1, NO_FENCE = 100 };

inline rl::memory_order order(site &s, rl::memory_order written)
{
	s.uses++;
	return s.weaker == AS_WRITTEN ? written : (rl::memory_order)s.weaker;
}

/* The order of a compare-and-swap that fails can't be stronger than when it succeeds. */
inline rl::memory_order failure(rl::memory_order success, rl::memory_order written)
{
	if (success == rl::mo_relaxed || success == rl::mo_release)
		return rl::mo_relaxed;
	return written;
}

/* ---- atomics ---- */

template <class T> struct same {
	typedef T type;
};

template <class T> struct atomic {
	T initial;

	atomic() : initial()
	{
		register_static(this, sizeof(T));
	}
	atomic(T value) : initial(value)
	{
		register_static(this, sizeof(T));
	}
	~atomic()
	{
		forget(this, sizeof(T));
	}
	atomic(const atomic &) = delete;
	atomic &operator=(const atomic &) = delete;
};

template <class T> using word = std::conditional_t<sizeof(T) == 4, uint32_t, uint64_t>;

template <class T> word<T> to_word(T value)
{
	static_assert(sizeof(T) == 4 || sizeof(T) == 8);
	word<T> w;
	memcpy(&w, &value, sizeof(w));
	return w;
}

template <class T> T from_word(word<T> w)
{
	T value;
	memcpy(&value, &w, sizeof(value));
	return value;
}

inline atomic32 &impl_of(object *o, uint32_t)
{
	return *o->a32;
}

inline atomic64 &impl_of(object *o, uint64_t)
{
	return *o->a64;
}

#define MODEL_HERE(s) rl::debug_info((s).word, (s).file, (unsigned)(s).line)

template <class T> T load(const atomic<T> *a, rl::memory_order mo, site &s)
{
	object *o = find(a, ATOMIC, sizeof(T));
	word<T> w;
	{
		turn mine(o, false);
		w = impl_of(o, word<T>()).load(order(s, mo), MODEL_HERE(s));
		resumed();
	}
	return from_word<T>(w);
}

template <class T>
void store(atomic<T> *a, typename same<T>::type v, rl::memory_order mo, site &s)
{
	object *o = find(a, ATOMIC, sizeof(T));
	turn mine(o, true);

	impl_of(o, word<T>()).store(to_word<T>(v), order(s, mo), MODEL_HERE(s));
	resumed();
}

template <class T>
T exchange(atomic<T> *a, typename same<T>::type v, rl::memory_order mo, site &s)
{
	object *o = find(a, ATOMIC, sizeof(T));
	word<T> w;
	{
		turn mine(o, true);
		w = impl_of(o, word<T>()).exchange(to_word<T>(v), order(s, mo), MODEL_HERE(s));
		resumed();
	}
	return from_word<T>(w);
}

/* Never fails for no reason: a loop would only come round again. */
template <class T>
bool compare_exchange(atomic<T> *a, T *expected, typename same<T>::type v, rl::memory_order mo,
		      rl::memory_order mo_failure, site &s)
{
	object *o = find(a, ATOMIC, sizeof(T));
	word<T> seen = to_word<T>(*expected);
	rl::memory_order success = order(s, mo);
	bool done;
	{
		turn mine(o, true);
		done = impl_of(o, word<T>())
			       .compare_exchange(rl::bool_t<false>(), seen, to_word<T>(v), success,
						 failure(success, mo_failure), MODEL_HERE(s));
		resumed();
	}
	*expected = from_word<T>(seen);
	return done;
}

template <rl::rmw_type_e type, class T>
T fetch(atomic<T> *a, typename same<T>::type v, rl::memory_order mo, site &s)
{
	object *o = find(a, ATOMIC, sizeof(T));
	word<T> w;
	{
		turn mine(o, true);
		w = impl_of(o, word<T>())
			    .rmw(rl::rmw_type_t<type>(), to_word<T>(v), order(s, mo), MODEL_HERE(s));
		resumed();
	}
	return from_word<T>(w);
}

void fence(rl::memory_order mo, site &s);

/* A member whose value steers nothing that is checked here: a counter, or a guess at a CPU. */
template <class T> struct quiet {
	T value;
};

template <class T> T load(const quiet<T> *a, rl::memory_order, site &)
{
	return a->value;
}

template <class T> void store(quiet<T> *a, typename same<T>::type v, rl::memory_order, site &)
{
	a->value = v;
}

/* ---- plain members ---- */

template <class T> struct plain {
	T value;

	plain() : value()
	{
	}
	plain(T v) : value(v)
	{
	}
	~plain()
	{
		forget(this, sizeof(T));
	}
	plain(const plain &other) : value(other.get())
	{
	}

	T get() const
	{
		race_check(find(this, PLAIN, sizeof(T)), false);
		return value;
	}
	T set(T v)
	{
		race_check(find(this, PLAIN, sizeof(T)), true);
		return value = v;
	}
	operator T() const
	{
		return get();
	}
	T operator->() const
	{
		return get();
	}
	plain &operator=(const plain &other)
	{
		set(other.get());
		return *this;
	}
	plain &operator=(T v)
	{
		set(v);
		return *this;
	}
	T operator++(int)
	{
		T old = get();
		set((T)(old + 1));
		return old;
	}
	T operator--(int)
	{
		T old = get();
		set((T)(old - 1));
		return old;
	}
	T operator--()
	{
		return set((T)(get() - 1));
	}
	T operator++()
	{
		return set((T)(get() + 1));
	}
	template <class V> T operator+=(V v)
	{
		return set((T)(get() + v));
	}
	template <class V> T operator-=(V v)
	{
		return set((T)(get() - v));
	}
	template <class V> T operator|=(V v)
	{
		return set((T)(get() | v));
	}
	template <class V> T operator&=(V v)
	{
		return set((T)(get() & v));
	}
};

/* ---- memory ---- */

/*
 * Memory whose end is watched: every access to an object in it has to happen before
 * release_memory, which counts as a write to all of it.
 */
void guard_memory(void *address, size_t size);
void release_memory(void *address);
/* All of it was written by other means. */
void write_memory(void *address);
void *allocate(size_t size);
char *copy_string(const char *text);

/* ---- mutex, thread, clock ---- */

struct mutex {
	char byte;
	plain<int> made;
};

int mutex_init(mutex *m, const void *attr);
int mutex_lock(mutex *m);
int mutex_unlock(mutex *m);
int once(int *control, void (*fn)(void));
int create(pthread_t *thread, void *(*fn)(void *), void *arg);
int join(pthread_t thread);
pthread_t self();
int this_thread();
void pass_time(uint64_t ns);

} /* namespace model */

/* ---- barrier.h ---- */

#define KTHREAD_BARRIER_H

#define MODEL_SITE(text)                                                                  \
	([]() -> model::site & {                                                          \
		static model::site here __attribute__((section("model_sites"), used)) = { \
			__FILE__, __LINE__, text, model::AS_WRITTEN, 0                    \
		};                                                                        \
		return here;                                                              \
	}())

#define load_relaxed(p) model::load(p, rl::mo_relaxed, MODEL_SITE("load_relaxed"))
#define load_acquire(p) model::load(p, rl::mo_acquire, MODEL_SITE("load_acquire"))
#define store_relaxed(p, v) model::store(p, v, rl::mo_relaxed, MODEL_SITE("store_relaxed"))
#define store_release(p, v) model::store(p, v, rl::mo_release, MODEL_SITE("store_release"))
#define exchange_relaxed(p, v) \
	model::exchange(p, v, rl::mo_relaxed, MODEL_SITE("exchange_relaxed"))
#define exchange_acquire(p, v) \
	model::exchange(p, v, rl::mo_acquire, MODEL_SITE("exchange_acquire"))
#define exchange_release(p, v) \
	model::exchange(p, v, rl::mo_release, MODEL_SITE("exchange_release"))
#define exchange_acq_rel(p, v) \
	model::exchange(p, v, rl::mo_acq_rel, MODEL_SITE("exchange_acq_rel"))

#define MODEL_FETCH(kind, p, v, mo, text) \
	model::fetch<rl::rmw_type_##kind>(p, v, rl::mo_##mo, MODEL_SITE(text))
#define fetch_add_relaxed(p, v) MODEL_FETCH(add, p, v, relaxed, "fetch_add_relaxed")
#define fetch_add_acquire(p, v) MODEL_FETCH(add, p, v, acquire, "fetch_add_acquire")
#define fetch_add_release(p, v) MODEL_FETCH(add, p, v, release, "fetch_add_release")
#define fetch_add_acq_rel(p, v) MODEL_FETCH(add, p, v, acq_rel, "fetch_add_acq_rel")
#define fetch_sub_relaxed(p, v) MODEL_FETCH(sub, p, v, relaxed, "fetch_sub_relaxed")
#define fetch_sub_acquire(p, v) MODEL_FETCH(sub, p, v, acquire, "fetch_sub_acquire")
#define fetch_sub_release(p, v) MODEL_FETCH(sub, p, v, release, "fetch_sub_release")
#define fetch_sub_acq_rel(p, v) MODEL_FETCH(sub, p, v, acq_rel, "fetch_sub_acq_rel")
#define fetch_or_relaxed(p, v) MODEL_FETCH(or, p, v, relaxed, "fetch_or_relaxed")
#define fetch_or_acquire(p, v) MODEL_FETCH(or, p, v, acquire, "fetch_or_acquire")
#define fetch_or_release(p, v) MODEL_FETCH(or, p, v, release, "fetch_or_release")
#define fetch_or_acq_rel(p, v) MODEL_FETCH(or, p, v, acq_rel, "fetch_or_acq_rel")
#define fetch_and_relaxed(p, v) MODEL_FETCH(and, p, v, relaxed, "fetch_and_relaxed")
#define fetch_and_acquire(p, v) MODEL_FETCH(and, p, v, acquire, "fetch_and_acquire")
#define fetch_and_release(p, v) MODEL_FETCH(and, p, v, release, "fetch_and_release")
#define fetch_and_acq_rel(p, v) MODEL_FETCH(and, p, v, acq_rel, "fetch_and_acq_rel")
#define fetch_xor_relaxed(p, v) MODEL_FETCH(xor, p, v, relaxed, "fetch_xor_relaxed")
#define fetch_xor_acquire(p, v) MODEL_FETCH(xor, p, v, acquire, "fetch_xor_acquire")
#define fetch_xor_release(p, v) MODEL_FETCH(xor, p, v, release, "fetch_xor_release")
#define fetch_xor_acq_rel(p, v) MODEL_FETCH(xor, p, v, acq_rel, "fetch_xor_acq_rel")

#define MODEL_CAS(p, expected, v, success, failure, text)                          \
	model::compare_exchange(p, expected, v, rl::mo_##success, rl::mo_##failure, \
				MODEL_SITE(text))
#define cas_strong_acq_rel(p, e, v) MODEL_CAS(p, e, v, acq_rel, acquire, "cas_strong_acq_rel")
#define cas_strong_acquire(p, e, v) MODEL_CAS(p, e, v, acquire, acquire, "cas_strong_acquire")
#define cas_strong_relaxed(p, e, v) MODEL_CAS(p, e, v, relaxed, relaxed, "cas_strong_relaxed")
#define cas_acq_rel(p, e, v) MODEL_CAS(p, e, v, acq_rel, acquire, "cas_acq_rel")
#define cas_acquire(p, e, v) MODEL_CAS(p, e, v, acquire, acquire, "cas_acquire")
#define cas_release(p, e, v) MODEL_CAS(p, e, v, release, relaxed, "cas_release")
#define cas_relaxed(p, e, v) MODEL_CAS(p, e, v, relaxed, relaxed, "cas_relaxed")

#define fence_acquire(object) model::fence(rl::mo_acquire, MODEL_SITE("fence_acquire"))
#define fence_release(object) model::fence(rl::mo_release, MODEL_SITE("fence_release"))
#define fence_full() model::fence(rl::mo_seq_cst, MODEL_SITE("fence_full"))
#define fence_full_after_rmw() model::fence(rl::mo_seq_cst, MODEL_SITE("fence_full_after_rmw"))

#define prefetch_to_write(address) ((void)(address))
#define mutex_lock_out_of_order(m) model::mutex_lock(m)
#define note_as_defined(p, size) ((void)(p), (void)(size))

/* Polling takes time, and one look stands for many. */
static inline void cpu_relax(void)
{
	model::pass_time(1000 * 1000);
}

#define POLL_LOOKS 1
#define CLAIM_LOOKS 1
#define INSIDE_LOOKS 0

/* ---- what the system gives ---- */

#define _Static_assert static_assert
#define _Alignof alignof
#define KTHREAD_ATOMIC(type) model::atomic<type>
#define KTHREAD_QUIET(type) model::quiet<type>
#define KTHREAD_PLAIN(type) model::plain<type>
#define _Atomic(type) model::atomic<type>
/* Swapped when the thread is; see resumed. */
#define _Thread_local __attribute__((section("model_thread_local")))

#define pthread_mutex_t model::mutex
#undef PTHREAD_MUTEX_INITIALIZER
#define PTHREAD_MUTEX_INITIALIZER {}
#define pthread_mutex_init(m, attr) model::mutex_init(m, attr)
#define pthread_mutex_lock(m) model::mutex_lock(m)
#define pthread_mutex_trylock(m) model::mutex_lock(m) /* the core tries what is free */
#define pthread_mutex_unlock(m) model::mutex_unlock(m)
#define pthread_mutex_destroy(m) ((void)(m))
#define pthread_mutexattr_setprotocol(attr, protocol) ((void)(attr))
#define pthread_once(control, fn) model::once(control, fn)
#define pthread_atfork(before, parent, child) ((void)(before), (void)(parent), (void)(child))
#define pthread_create(thread, attr, fn, arg) model::create(thread, fn, arg)
#define pthread_join(thread, result) model::join(thread)
#define pthread_self() model::self()
#define pthread_sigmask(how, set, old) ((void)(set), (void)(old))
#define pthread_setname_np(thread, name) ((void)(name))

#define malloc(size) model::allocate(size)
#define aligned_alloc(alignment, size) model::allocate(size)
#define free(address) model::release_memory(address)
#define strdup(text) model::copy_string(text)

#define sched_getcpu() model::this_thread()
#define sysconf(name) 2L

#endif /* MODEL_SHIM_HPP */
