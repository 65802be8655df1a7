/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * worker_internal.h - what the three files of the worker share.
 *
 *	kthread_worker.c	the way of a work: queue, list, run; the worker's thread
 *	worker_flush.c		waiting: flush, and deadlocks among those who wait
 *	worker_life.c		the way of a worker: create, start, freeze, stop, destroy, fork
 *
 * The pairs of ordered accesses are listed at the head of kthread_worker.c.
 */
#ifndef KTHREAD_WORKER_INTERNAL_H
#define KTHREAD_WORKER_INTERNAL_H

#include <errno.h>
#include <sched.h>

#include "kthread_worker.h"

#include "barrier.h"
#include "kthread_internal.h"
#include "park.h"

/* ---- words and states ---- */

/* In the low bits of a work's state; the rest is the address of its worker. */
enum work_state {
	PENDING = 1u << 0,	/* claimed: pushed, or about to be */
	PARITY = 1u << 1,	/* the lowest bit of started_seq as it was when state was stored */
	STATE_FLAGS = 7,
};

/* worker->sleep */
enum sleep_state {
	AWAKE,
	ASLEEP, /* or about to: a producer has to wake it */
};

/* worker->flags */
enum worker_flags {
	STOP = 1u << 0,		/* kthread_stop_worker: leave after this callback */
	FREEZE = 1u << 1,	/* kthread_freeze_worker */
	RESTING = 1u << 2,	/* no callback will begin until FREEZE is gone */
	CLOSING = 1u << 3,	/* kthread_destroy_worker: run what is listed, then leave */
	DEAD = 1u << 4,		/* destroyed */
	FORKED = 1u << 5,	/* its thread is in the parent process */
	POKE = 1u << 8,		/* from here up: counts the pokes, so that each changes the word */
};

/* worker->claims */
enum claim_state {
	GATE_CLOSED = 1u << 0,	/* being destroyed, or destroyed */
	GATE_FORKED = 1u << 1,	/* left behind in the parent process */
	GATES = GATE_CLOSED | GATE_FORKED,
	CLAIM = 1u << 2,	/* from here up: counts the producers between claim and push */
};

/* One that waits, on its own stack, linked while it is about to sleep; under lock. */
struct kthread_flush_waiter {
	const struct kthread_flush *flush;
	struct kthread_flush_waiter *next;
	struct kthread_flush_waiter **link;
};

/* What a thread waits for; on its stack. */
struct kthread_wait {
	struct kthread_worker *worker;
	const struct kthread_flush *flush; /* or, when NULL, */
	bool (*reached)(const struct kthread_wait *wait);
	uint32_t number; /* life or attached, when it began */
};

static inline struct kthread_worker *worker_of(uintptr_t state)
{
	return (struct kthread_worker *)(state & ~(uintptr_t)STATE_FLAGS);
}

/* Is a at or behind b in an order whose numbers wrap? */
static inline bool seq_reached(uint32_t a, uint32_t b)
{
	return a - b < UINT32_C(1) << 31;
}

/* Is a behind b? */
static inline bool seq_past(uint32_t a, uint32_t b)
{
	return a != b && seq_reached(a, b);
}

/* Looks at the clock between two looks of a polling loop are this many looks apart. */
#define POLL_LOOKS 16

/* ---- kthread_worker.c ---- */

/* The worker that the calling thread serves. */
extern KTHREAD_HIDDEN _Thread_local struct kthread_worker *kthread_served;

/*
 * Turn the inbox round and append it to work_list. Under lock. Another thread than the
 * worker's pokes the worker afterwards: it could be about to sleep on an inbox that this
 * has emptied. Returns whether there was anything.
 */
KTHREAD_HIDDEN bool kthread_take_inbox_locked(struct kthread_worker *worker);

/* Something was asked of the worker's thread: whatever it does, it looks again. */
KTHREAD_HIDDEN void kthread_poke_worker(void *worker);

/* Have everybody who waits on this worker look again. Takes no lock. */
KTHREAD_HIDDEN void kthread_tell_waiters(struct kthread_worker *worker);

/*
 * The next window of polling, as KVM's halt polling has it: none when a wait was so
 * long that polling was in vain, a larger one when sleeping was not worth its while.
 */
KTHREAD_HIDDEN uint32_t kthread_next_window(uint32_t window, uint64_t waited_ns, uint32_t max_ns);

/* Serve a worker with a thread that was made for it, and is attached as it starts. */
KTHREAD_HIDDEN int kthread_attach_owned(struct kthread *k, void *worker);
KTHREAD_HIDDEN int kthread_owned_thread(void *worker);

/* ---- worker_flush.c ---- */

/*
 * The calling thread is about to sleep until a worker gets on. When a callback does
 * that, its own worker can't get on meanwhile: a circle of such waits would be for
 * ever. One that is over, and whose thread has only not got up yet, makes no circle.
 *
 * Returns 0, and kthread_wait_end is to follow; or -EDEADLK.
 */
KTHREAD_HIDDEN int kthread_wait_begin(const struct kthread_wait *wait);
KTHREAD_HIDDEN void kthread_wait_end(void);

/*
 * Sleep until the wait, which has begun, is over. What ends it comes before
 * kthread_tell_waiters. Returns 0, -ETIMEDOUT, or, if interruptible, -EINTR.
 */
KTHREAD_HIDDEN int kthread_sleep_until_over(const struct kthread_wait *wait, uint64_t deadline,
					    bool interruptible);

/* ---- worker_life.c ---- */

/* The lock of registry, pool, waits_for and the making of locks. */
KTHREAD_HIDDEN void kthread_lock_global(void);
KTHREAD_HIDDEN void kthread_unlock_global(void);

/* A static initialiser can't make a mutex that inherits priority: the first use does. */
KTHREAD_HIDDEN void kthread_make_lock(struct kthread_worker *worker);

/* Fork has to know of it, or need not any more. Under global_lock. */
KTHREAD_HIDDEN void kthread_register_locked(struct kthread_worker *worker);
KTHREAD_HIDDEN void kthread_unregister_locked(struct kthread_worker *worker);

/* Both locks: no fork sees a thread attached to a worker which it does not know. */
KTHREAD_HIDDEN void kthread_lock_for_registry(struct kthread_worker *worker);
KTHREAD_HIDDEN void kthread_unlock_for_registry(struct kthread_worker *worker);

/* Why no thread may be attached now; 0: one may. Under lock. */
KTHREAD_HIDDEN int kthread_attach_refusal_locked(struct kthread_worker *worker);

/* ---- what is called often ---- */

static inline void lock_worker(struct kthread_worker *worker)
{
	if (!load_acquire(&worker->lock_ready)) /* lock-init */
		kthread_make_lock(worker);
	pthread_mutex_lock(&worker->lock);
}

static inline void unlock_worker(struct kthread_worker *worker)
{
	pthread_mutex_unlock(&worker->lock);
}

static inline void list_remove(struct kthread_worker *worker, struct kthread_work *work)
{
	struct kthread_work_list *list = &worker->work_list;

	*(work->prev ? &work->prev->next : &list->first) = work->next;
	*(work->next ? &work->next->prev : &list->last) = work->prev;
	worker->listed--;
}

/*
 * The pending run begins, or is dropped: number it, and make the work idle. By whoever
 * holds it: the claimer until the push, then the holder of the worker's lock.
 *
 * started_seq goes first. A flusher that reads both may see the new number with the old
 * state, and knows by PARITY that the run which it sees pending is the one numbered.
 */
static inline void end_pending(struct kthread_work *work, uintptr_t idle_state)
{
	store_release(&work->started_seq, load_relaxed(&work->started_seq) + 1); /* F */
	/* A read-modify-write, so as to be ordered after the claims that found it pending. */
	exchange_acq_rel(&work->state, (idle_state & ~(uintptr_t)PENDING) ^ PARITY); /* claim */
}

static inline bool has_claims(struct kthread_worker *worker)
{
	return load_acquire(&worker->claims[0]) >= CLAIM || /* gate */
	       load_acquire(&worker->claims[1]) >= CLAIM; /* gate */
}

static inline uint32_t this_cpu(void)
{
#ifdef __linux__
	return (uint32_t)sched_getcpu();
#else
	return UINT32_MAX;
#endif
}

#endif /* KTHREAD_WORKER_INTERNAL_H */
