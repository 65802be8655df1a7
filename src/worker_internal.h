/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * worker_internal.h - what the files of the worker share.
 *
 *	kthread_worker.c	the way of a work: queue, list, run; the worker's thread
 *	worker_flush.c		waiting: flush, drain, and deadlocks among those who wait
 *	worker_cancel.c		cancel, disable, enable
 *	worker_timer.c		delayed and periodic works
 *	timers.c		the heap that keeps their timers
 *	worker_life.c		the way of a worker: create, start, freeze, stop, destroy, fork
 *	worker_loop.c		a worker on somebody else's thread: run_pending
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
#include "mends.h"
#include "park.h"
#include "timers.h"
#include "trace.h"

/* ---- words and states ---- */

/* In the low bits of a work's state; the rest is the address of its worker. */
enum work_state {
	PENDING = 1u << 0,	/* claimed: pushed, or about to be */
	PARITY = 1u << 1,	/* the lowest bit of started_seq as it was when state was stored */
	BLOCKED = 1u << 2,	/* being cancelled, or disabled: it can't be claimed; under global_lock */
	STATE_FLAGS = 7,
};

_Static_assert(_Alignof(struct kthread_worker) > STATE_FLAGS,
	       "no room for the flags in its address");

/* work->place */
enum work_place {
	NOWHERE,	/* idle; or claimed, and pushed or about to be */
	LISTED,		/* on work_list */
	TIMED,		/* its timer is armed */
};

/* worker->sleep */
enum sleep_state {
	AWAKE,
	ASLEEP,		/* or about to: a producer has to wake it */
	UNATTENDED,	/* no thread is attached: a producer has to call worker->wake */
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

/* worker->wanted */
enum list_wanted {
	NOT_WANTED,
	WANTED,		/* somebody holds lock, and is at the list or about to be */
	WAITED_FOR,	/* and sleeps until the worker's thread has left it */
};

/* worker->held */
enum held_state {
	NOT_HELD,
	HELD,			/* by an embedder, who calls it even when it is destroyed */
	HELD_DEAD,		/* destroyed, and held yet */
};

/* worker->claims */
enum claim_state {
	GATE_CLOSED = 1u << 0,	/* being destroyed, or destroyed */
	GATE_FORKED = 1u << 1,	/* left behind in the parent process */
	GATE_DRAINING = 1u << 2, /* being drained: open for its own callbacks only */
	GATE_MADE = KTHREAD_WORKER_MADE, /* the one that is set while the way is free */
	GATES = GATE_CLOSED | GATE_FORKED | GATE_DRAINING | GATE_MADE,
	CLAIM = 1u << 4,	/* from here up: counts claims, each as it begins; it wraps */
};

/* What a call with a reason returns, as its form without one does. */
static inline bool with_errno(int result)
{
	if (result < 0 && result != -ECANCELED)
		errno = -result;
	return result > 0;
}

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
#ifndef POLL_LOOKS
#define POLL_LOOKS 16
#endif

/* ---- kthread_worker.c ---- */

/* The worker that the calling thread serves. */
extern KTHREAD_HIDDEN _Thread_local struct kthread_worker *kthread_served;

/*
 * Turn the inbox round and append it to work_list. Under lock. Another thread than the
 * worker's pokes the worker afterwards: it could be about to sleep on an inbox that this
 * has emptied. Returns whether there was anything.
 */
KTHREAD_HIDDEN bool kthread_take_inbox_locked(struct kthread_worker *worker);

/*
 * Put a work at the tail of work_list, behind the inbox. It is pending, and nowhere else.
 * Under lock.
 */
KTHREAD_HIDDEN void kthread_append_locked(struct kthread_worker *worker, struct kthread_work *work);

/*
 * Claim a work for a worker. Returns 1: it is the caller's to push or to list; 0: it is
 * pending there already; -EBUSY; -ECANCELED: blocked.
 */
KTHREAD_HIDDEN int kthread_claim(struct kthread_worker *worker, struct kthread_work *work);

/* Why a producer is refused where not all gates are open; 0: it is not. */
KTHREAD_HIDDEN int kthread_gate_refusal(struct kthread_worker *worker, uint32_t claims);

/*
 * List or timers have changed otherwise than by a push: whoever serves the worker looks at
 * them again, at @moment at the latest. Under lock.
 */
KTHREAD_HIDDEN void kthread_look_by_locked(struct kthread_worker *worker, uint64_t moment);

/* Something was asked of the worker's thread: whatever it does, it looks again. */
KTHREAD_HIDDEN void kthread_poke_worker(void *worker);

/* Have everybody who waits on this worker look again. Takes no lock. */
KTHREAD_HIDDEN void kthread_tell_waiters(struct kthread_worker *worker);

/* The same after a run has ended or was dropped: who watches is told as well. Without lock. */
KTHREAD_HIDDEN void kthread_tell_progress(struct kthread_worker *worker);

/*
 * The next window of polling, as KVM's halt polling has it: none when a wait was so
 * long that polling was in vain, a larger one when sleeping was not worth its while.
 */
KTHREAD_HIDDEN uint32_t kthread_next_window(uint32_t window, uint64_t waited_ns, uint32_t max_ns);

/*
 * How long the caller waited, since @begin, until somebody woke it at @woken_at, of whose
 * clock there are the low 32 bits. How long it then took to get up is not counted: that is what
 * polling saves, and where it is long two who sleep in turn would never begin to poll.
 */
KTHREAD_HIDDEN uint64_t kthread_waited_ns(uint64_t begin, uint32_t woken_at);

/* Wait until the worker's thread has left the list. See lock_worker. */
KTHREAD_HIDDEN void kthread_wait_until_outside(struct kthread_worker *worker);

/* The calling thread serves the worker, until it is detached. Returns 0 or why not. */
KTHREAD_HIDDEN int kthread_attach(struct kthread_worker *worker, struct kthread *k);
KTHREAD_HIDDEN void kthread_detach(struct kthread_worker *worker, struct kthread *k);

/* Does a request keep the attached thread from beginning a callback? */
KTHREAD_HIDDEN bool kthread_has_to_pause(struct kthread_worker *worker, struct kthread *k);

/* Execute the first work. Returns false when there is none. */
KTHREAD_HIDDEN bool kthread_run_one(struct kthread_worker *worker);

/* A thread is attached, and about to run its first work. */
KTHREAD_HIDDEN void kthread_enter(struct kthread_worker *worker);

/* The attached thread has run its last work. */
KTHREAD_HIDDEN void kthread_leave(struct kthread_worker *worker);

/* Call worker->wake if nobody has since the last kthread_worker_run_pending. After a full fence. */
KTHREAD_HIDDEN void kthread_wake_loop(struct kthread_worker *worker);

/* Serve a worker with a thread that was made for it, and is attached as it starts. */
KTHREAD_HIDDEN int kthread_attach_owned(struct kthread *k, void *worker);
KTHREAD_HIDDEN int kthread_owned_thread(void *worker);

/* ---- worker_flush.c ---- */

/*
 * The calling thread is about to sleep until a worker gets on. When a callback does
 * that, its own worker can't get on meanwhile: a circle of such waits would be for
 * ever. One that is over, and whose thread has only not got up yet, makes no circle.
 *
 * Waits may be nested. Returns 0, and kthread_wait_end is to follow; or -EDEADLK.
 */
KTHREAD_HIDDEN int kthread_wait_begin(struct kthread_wait *wait);
KTHREAD_HIDDEN void kthread_wait_end(const struct kthread_wait *wait);

/* kthread_flush_wait until it is over or the time is. Returns as that, but for -EINTR. */
KTHREAD_HIDDEN int kthread_flush_to_the_end(struct kthread_flush *flush, uint64_t timeout_ns);

/*
 * Wait until what is claimed now is listed or given back; without lock. Returns 0,
 * -ETIMEDOUT or -EINTR.
 */
KTHREAD_HIDDEN int kthread_wait_for_claims(struct kthread_worker *worker, uint64_t deadline);

/* The same, however long it takes. */
KTHREAD_HIDDEN void kthread_wait_out_claims(struct kthread_worker *worker);

/*
 * Sleep until the wait, which has begun, is over. What ends it comes before
 * kthread_tell_waiters. Returns 0, -ETIMEDOUT, or, if interruptible, -EINTR.
 */
KTHREAD_HIDDEN int kthread_sleep_until_over(const struct kthread_wait *wait, uint64_t deadline,
					    bool interruptible);

/* ---- worker_cancel.c ---- */

/*
 * The run of the work, which is pending at its worker, is dropped: take it off and make it idle,
 * without a word to anybody. Under lock.
 */
KTHREAD_HIDDEN void kthread_drop_locked(struct kthread_worker *worker, struct kthread_work *work);

/*
 * In a forked child: the threads that cancelled are not here, the calling one excepted.
 * Under global_lock, or alone.
 */
KTHREAD_HIDDEN void kthread_end_cancels_of_others_locked(void);

/* Whoever waits for what was dropped looks again. Without lock. */
KTHREAD_HIDDEN void kthread_tell_flushers_of_dropped(struct kthread_worker *worker);

/* ---- worker_timer.c ---- */

/* Have the works whose time has come, some of them if there are many, listed. Under lock. */
KTHREAD_HIDDEN void kthread_expire_timers_locked(struct kthread_worker *worker);

/* The earliest deadline; UINT64_MAX: none. Under lock. */
KTHREAD_HIDDEN uint64_t kthread_next_timer_locked(struct kthread_worker *worker);

/* A run of the delayed work begins. Does its timer run again? Then it stays pending. Under lock. */
KTHREAD_HIDDEN bool kthread_rearm_locked(struct kthread_worker *worker, struct kthread_work *work);

/* Disarm the timer of the work, which is armed. Under lock. */
KTHREAD_HIDDEN void kthread_disarm_locked(struct kthread_worker *worker, struct kthread_work *work);

/* If its timer runs, have the work, which is pending here, listed now. Under lock. */
KTHREAD_HIDDEN void kthread_cut_timer_short_locked(struct kthread_worker *worker,
						   struct kthread_work *work);

/* Does its timer run? Then until when; a live snapshot. */
KTHREAD_HIDDEN bool kthread_get_deadline(struct kthread_work *work, uint64_t *deadline);

/* The worker is closed: no timer runs out any more. */
KTHREAD_HIDDEN void kthread_drop_timers(struct kthread_worker *worker);

/* ---- worker_loop.c ---- */

/* Can the worker's descriptor see to it that somebody looks at that moment? Under lock. */
KTHREAD_HIDDEN bool kthread_loop_looks_by_locked(struct kthread_worker *worker, uint64_t moment);

/*
 * No thread is attached: from now on worker->wake, if there is one, is called when there is
 * something to do; perhaps at once. Under lock.
 */
KTHREAD_HIDDEN void kthread_leave_unattended_locked(struct kthread_worker *worker);

/* A thread attends to all there is to do: the descriptor says so. */
KTHREAD_HIDDEN void kthread_quiet_loop(struct kthread_worker *worker);

/* Nobody calls worker->wake any more: close what kthread_worker_fd made. */
KTHREAD_HIDDEN void kthread_end_loop(struct kthread_worker *worker);

/* ---- worker_life.c ---- */

/* A run was dropped because its worker goes: tell the embedder, without a touch of the work. */
KTHREAD_HIDDEN void kthread_tell_dropped(struct kthread_worker *worker, struct kthread_work *work,
					 kthread_work_func_t func);

/* The lock of registry, pool, waits_for, who blocks a work, and the making of locks. */
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

/* Is the work really pending, at this worker, which may be the address of anything? */
KTHREAD_HIDDEN bool kthread_is_known_pending(const struct kthread_work *work,
					     const struct kthread_worker *worker);

/* Why no thread may be attached now; 0: one may. Under lock. */
KTHREAD_HIDDEN int kthread_attach_refusal_locked(struct kthread_worker *worker);

/* ---- what is called often ---- */

/* Is the worker's thread at the list, without the lock? By who holds that. */
static inline bool is_inside(struct kthread_worker *worker)
{
	return load_acquire(&worker->inside); /* list */
}

/*
 * The lock of a worker: of its list, its timers, and all that is called "under lock".
 *
 * The worker's own thread comes to the list at every run, and takes no lock for it: it says
 * that it is inside, and looks whether the list is wanted. Only then it takes the lock, as
 * everybody else does, who say that they want the list and wait until it is outside. That is
 * after some instructions, unless it is preempted just there. So that it is not kept there by
 * threads whose priority lies between its own and the waiter's, it holds a second mutex as long
 * as it is attached: who waits for that lends it the priority, and is let in when it leaves the
 * list. What is "under lock" may be touched by who holds the lock, or is inside.
 */
static inline void lock_worker(struct kthread_worker *worker)
{
	if (!load_acquire(&worker->lock_ready)) /* lock-init */
		kthread_make_lock(worker);
	pthread_mutex_lock(&worker->lock);
	store_relaxed(&worker->wanted, WANTED);
	fence_full(); /* list-b1, pairs with list-b0 */
	if (is_inside(worker))
		kthread_wait_until_outside(worker);
}

static inline void unlock_worker(struct kthread_worker *worker)
{
	store_release(&worker->wanted, NOT_WANTED); /* list */
	pthread_mutex_unlock(&worker->lock);
}

/* The delayed work that a timer is a member of. */
static inline struct kthread_work *kthread_timed_work(struct kthread_timer *timer)
{
	return (struct kthread_work *)((char *)timer -
				       offsetof(struct kthread_delayed_work, timer));
}

static inline struct kthread_delayed_work *delayed(struct kthread_work *work)
{
	return (struct kthread_delayed_work *)work; /* its first member */
}

static inline void list_remove(struct kthread_worker *worker, struct kthread_work *work)
{
	struct kthread_work_list *list = &worker->work_list;
	struct kthread_work *next = work->next;

	if (work == list->first) {
		list->first = next;
		if (!next)
			list->last = NULL;
		/* prev of the first is nobody's: its cache line may be on its way yet. */
	} else {
		work->prev->next = next;
		*(next ? &next->prev : &list->last) = work->prev;
	}
	work->place = NOWHERE;
	worker->listed--;
}

/*
 * The pending run begins, or is dropped: number it, and make the work idle; or, when its
 * timer runs again, have the next run pending. By the holder of the worker's lock.
 *
 * started_seq goes first. A flusher that reads both may see the new number with the old
 * state, and knows by PARITY that the run which it sees pending is the one numbered.
 */
static inline void end_pending(struct kthread_work *work, bool again)
{
	if (work->kind == KTHREAD_WORK_DELAYED && !again)
		delayed(work)->period = 0; /* while it is still ours */
	store_release(&work->started_seq, load_relaxed(&work->started_seq) + 1); /* F */
	/* A read-modify-write, so as to be ordered after the claims that found it pending. */
	fetch_xor_acq_rel(&work->state, again ? PARITY : PARITY | PENDING); /* claim */
}

/* A moment so much later on the clock, at most the last one. */
static inline uint64_t later_by(uint64_t moment, uint64_t ns)
{
	return ns < UINT64_MAX - moment ? moment + ns : UINT64_MAX;
}

/* Is the work pending on this worker? Then, under its lock, its place and its timer are ours. */
static inline bool is_pending_on(struct kthread_work *work, struct kthread_worker *worker)
{
	/* It may have been on another worker meanwhile, under the lock of that one. */
	uintptr_t state = load_acquire(&work->state); /* claim */

	return (state & PENDING) && worker_of(state) == worker;
}

/* List what is in the inbox of a worker that another thread serves. Under lock. */
static inline void list_inbox_locked(struct kthread_worker *worker)
{
	if (kthread_take_inbox_locked(worker))
		kthread_poke_worker(worker);
}

/* Has the work, which is pending on this worker, a place, or is it still to be pushed? Under lock. */
static inline bool has_place_locked(struct kthread_worker *worker, struct kthread_work *work)
{
	if (work->place == NOWHERE)
		list_inbox_locked(worker);
	return work->place != NOWHERE;
}

/* Take the work from its place, if it has one. Under lock. */
static inline void take_off_locked(struct kthread_worker *worker, struct kthread_work *work)
{
	if (work->place == TIMED)
		kthread_disarm_locked(worker, work);
	else if (work->place == LISTED)
		list_remove(worker, work);
}

static inline bool gates_are_open(uint32_t claims)
{
	return (claims & GATES) == GATE_MADE;
}

/* NULL and a worker of zeros are refused. */
static inline bool is_made(struct kthread_worker *worker)
{
	return worker && (load_relaxed(&worker->claims[0]) & GATE_MADE);
}

/*
 * Is a claim of that phase under way? Each is over when the work that it pushed has been taken from
 * the inbox, or with a count of those that push nothing: so a producer that pushes need not say
 * that it has. What ended is read first: as much can have begun only when all of that has ended.
 * Who is not to take for a claim what lies in the inbox lists that before. Under lock.
 */
static inline bool has_claims_in_locked(struct kthread_worker *worker, int phase)
{
	uint32_t over = load_acquire(&worker->ended[phase]) + worker->taken[phase]; /* gate */
	uint32_t claims = load_relaxed(&worker->claims[phase]);

	/* Those whom fork left behind are in another process. */
	return !(claims & GATE_FORKED) && (claims / CLAIM - over) * CLAIM != 0;
}

static inline bool has_claims_locked(struct kthread_worker *worker)
{
	return has_claims_in_locked(worker, 0) || has_claims_in_locked(worker, 1);
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
