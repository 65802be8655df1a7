/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * kthread_worker.c - worker, work, queue, flush. See kthread_worker.h.
 *
 * Where everything lives: words and states; lock; fork and pool; waking and
 * telling; queue; the worker's thread (dequeue, run, idle, rest, serve); flush;
 * the thread's coming and going (start, stop, freeze, destroy); small ones.
 *
 * The life of a work: a producer claims it (state), pushes it on the worker's
 * inbox, a stack; the worker turns the inbox round on to work_list, takes the first
 * off, makes it idle and calls it. From the moment the worker makes it idle to the
 * next push the worker does not touch it: the callback, and whoever has flushed it,
 * may free it.
 *
 * The pairs. Each ordered access below carries the label given here.
 *
 *	claim	the compare-and-swap of a queue, also of one that finds the work pending
 *		and changes nothing / the read-modify-write that makes it idle before its
 *		run. Both are read-modify-writes of one word: the run that comes after a
 *		claim in that word's order sees what the claimer wrote before. With a plain
 *		load where the work is found pending, a producer could write its request,
 *		be told "already pending", and that run, already begun, would not see it.
 *	gate	a producer counts itself among claims before it claims / the gate is shut
 *		(read-modify-writes of one word): a producer is either seen by who shuts it,
 *		and waited for, or sees it shut. And it stops being counted (release) after
 *		its push / is seen gone (acquire): then the push is seen as well. Without
 *		this one told "already pending" by a claim not yet pushed could flush, or
 *		destroy, the worker without that run.
 *	inbox	push (release) / take (acquire): the work's members are seen by the worker.
 *	park	push, end of a claim or poke, full fence (park-b1), look whether it sleeps / say "asleep", full
 *		fence (park-b0), look at inbox and flags. Without either, the worker
 *		misses the work and the producer misses the sleeper: it sleeps on it.
 *	F	started_seq stored (release) when a run is taken off the list, after
 *		current_work and before state / read (acquire) by a flusher: one that sees
 *		the run begun also sees it in current_work, unless it is over.
 *	worker-b0, flush-b1
 *		callback, release fence, current_work = NULL / current_work is seen to be
 *		something else, acquire fence, return: what the callback wrote is seen.
 *		Without either, flush returns and the caller reads stale data.
 *	worker-b1, flush-b0
 *		current_work = NULL, full fence, look at flushing / flushing++, full fence,
 *		look at current_work: either the worker sees the flusher or the flusher sees
 *		the work done. Without either both miss, and the flusher sleeps for ever.
 *		In the same way flush-b0 meets park-b1: end of a claim / look at claims.
 *	event	event changed (release) / read (acquire) before the look at what is waited
 *		for: a waiter whose look was too early does not sleep on the old value.
 *	poke	flags changed (read-modify-write) after the request / flags read (acquire)
 *		before the look at requests: as event, for the worker's rest and idleness.
 *	lock-init
 *		lock_ready stored (release) after the mutex is made / read (acquire).
 *
 * Locks: global_lock, inside it a worker's lock (fork holds those of all registered
 * workers), inside it a kthread's.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "kthread_worker.h"

#include <errno.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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

/* A window of polling that had no success does not begin smaller than this. */
#define POLL_START_NS 20000u

/* That many destroyed workers are kept from use. */
#define POOL_KEEPS 16

/* How often a flush of the worker looks for a moment without a claim before it waits for one. */
#define CLAIM_LOOKS 1000

/* Looks at the clock between two looks of a polling loop are this many looks apart. */
#define POLL_LOOKS 16

/* One that waits, on its own stack, linked while it is about to sleep; under lock. */
struct kthread_flush_waiter {
	const struct kthread_flush *flush;
	struct kthread_flush_waiter *next;
	struct kthread_flush_waiter **link;
};

/* The worker that the calling thread serves. */
static _Thread_local struct kthread_worker *served;

/* How long the calling thread may sleep at a stretch while it serves; 0: no end of it. */
static _Thread_local uint64_t patience_ns;

static struct kthread_worker *worker_of(uintptr_t state)
{
	return (struct kthread_worker *)(state & ~(uintptr_t)STATE_FLAGS);
}

/* Is a at or behind b in an order whose numbers wrap? */
static bool seq_reached(uint32_t a, uint32_t b)
{
	return a - b < UINT32_C(1) << 31;
}

/* Is a behind b? */
static bool seq_past(uint32_t a, uint32_t b)
{
	return a != b && seq_reached(a, b);
}

/* ---- lock ---- */

static pthread_mutex_t global_lock; /* of registry, pool, waits_for and the making of locks */
static pthread_once_t global_once = PTHREAD_ONCE_INIT;
static struct kthread_worker *registry; /* those that fork has to know of */
static struct kthread_worker *pool; /* destroyed ones; oldest last */

static void before_fork(void);
static void after_fork_parent(void);
static void after_fork_child(void);

static void init_global(void)
{
	kthread_mutex_init(&global_lock);
	pthread_atfork(before_fork, after_fork_parent, after_fork_child);
}

static void lock_global(void)
{
	pthread_once(&global_once, init_global);
	pthread_mutex_lock(&global_lock);
}

static void unlock_global(void)
{
	pthread_mutex_unlock(&global_lock);
}

/* A static initialiser can't make a mutex that inherits priority: the first use does. */
static void make_lock(struct kthread_worker *worker)
{
	lock_global();
	if (!load_relaxed(&worker->lock_ready)) {
		kthread_mutex_init(&worker->lock);
		store_release(&worker->lock_ready, 1); /* lock-init */
	}
	unlock_global();
}

static void lock_worker(struct kthread_worker *worker)
{
	if (!load_acquire(&worker->lock_ready)) /* lock-init */
		make_lock(worker);
	pthread_mutex_lock(&worker->lock);
}

static void unlock_worker(struct kthread_worker *worker)
{
	pthread_mutex_unlock(&worker->lock);
}

/* ---- list ---- */

static void list_remove(struct kthread_worker *worker, struct kthread_work *work)
{
	struct kthread_work_list *list = &worker->work_list;

	*(work->prev ? &work->prev->next : &list->first) = work->next;
	*(work->next ? &work->next->prev : &list->last) = work->prev;
	worker->listed--;
}

/* The inbox has the newest first: turn it round, and append it. Under lock. */
static void append_batch(struct kthread_worker *worker, struct kthread_work *newest)
{
	struct kthread_work_list *list = &worker->work_list;
	struct kthread_work *work, *older, *newer = NULL;
	uint32_t n = 0;

	for (work = newest; work; work = older) {
		older = work->next;
		work->next = newer;
		work->prev = older;
		work->epoch = worker->epoch;
		newer = work;
		n++;
	}
	newer->prev = list->last; /* the oldest of the batch */
	*(list->last ? &list->last->next : &list->first) = newer;
	list->last = newest;
	worker->listed += n;
	worker->queued += n;
}

/*
 * Another thread than the worker's pokes the worker afterwards: it could be about to
 * sleep on an inbox that this has emptied. Returns whether there was anything.
 */
static bool take_inbox_locked(struct kthread_worker *worker)
{
	if (!load_relaxed(&worker->inbox))
		return false;
	append_batch(worker, exchange_acquire(&worker->inbox, NULL)); /* inbox */
	return true;
}

/* ---- fork and pool ---- */

static void register_locked(struct kthread_worker *worker)
{
	if (worker->registered)
		return;
	worker->registered = 1;
	worker->registry_prev = NULL;
	worker->registry_next = registry;
	if (registry)
		registry->registry_prev = worker;
	registry = worker;
}

static void unregister_locked(struct kthread_worker *worker)
{
	if (!worker->registered)
		return;
	worker->registered = 0;
	if (worker->registry_prev)
		worker->registry_prev->registry_next = worker->registry_next;
	else
		registry = worker->registry_next;
	if (worker->registry_next)
		worker->registry_next->registry_prev = worker->registry_prev;
}

static void register_worker(struct kthread_worker *worker)
{
	if (!load_acquire(&worker->lock_ready)) /* lock-init */
		make_lock(worker); /* for before_fork, which can't */
	lock_global();
	register_locked(worker);
	unlock_global();
}

static void unregister_worker(struct kthread_worker *worker)
{
	lock_global();
	unregister_locked(worker);
	unlock_global();
}

/* No lock is held by anybody else, and no list half linked, while the process forks. */
static void before_fork(void)
{
	pthread_mutex_lock(&global_lock);
	for (struct kthread_worker *w = registry; w; w = w->registry_next)
		lock_worker(w);
}

static void after_fork_parent(void)
{
	for (struct kthread_worker *w = registry; w; w = w->registry_next)
		unlock_worker(w);
	pthread_mutex_unlock(&global_lock);
}

/*
 * The threads are gone: the workers that they served, and those made to be served,
 * refuse from now on. The locks are made anew, since a lock that inherits priority
 * knows its owner by a thread id that the child does not have.
 */
static void after_fork_child(void)
{
	kthread_mutex_init(&global_lock);
	for (struct kthread_worker *w = registry; w; w = w->registry_next) {
		kthread_mutex_init(&w->lock);
		store_relaxed(&w->claims, GATE_FORKED);
		store_relaxed(&w->flags, FORKED);
		store_relaxed(&w->task, NULL);
		store_relaxed(&w->current_work, NULL);
		store_relaxed(&w->sleep, AWAKE);
		store_relaxed(&w->flushing, 0);
		w->waiters = NULL;
		w->waits_for = NULL;
	}
}

/* ---- waking and telling ---- */

static uint32_t this_cpu(void)
{
#ifdef __linux__
	return (uint32_t)sched_getcpu();
#else
	return UINT32_MAX;
#endif
}

/*
 * Wake the worker if it sleeps, after a full fence. Every queue looks, not only one that
 * found the inbox empty: a producer preempted between its push and its look delays
 * nobody else's.
 */
static void wake_worker(struct kthread_worker *worker)
{
	if (load_relaxed(&worker->sleep) == ASLEEP &&
	    exchange_relaxed(&worker->sleep, AWAKE) == ASLEEP) {
		store_relaxed(&worker->waker_cpu, this_cpu());
		park_wake_one(&worker->sleep);
	}
}

/* Something was asked of the worker's thread: whatever it does, it looks again. */
static void poke_worker(void *arg)
{
	struct kthread_worker *worker = arg;

	fetch_add_acq_rel(&worker->flags, POKE); /* poke */
	fence_full_after_rmw(); /* park-b1, pairs with park-b0 */
	wake_worker(worker);
	park_wake_all(&worker->flags);
}

/*
 * Change flags under lock, and have the worker look. What they stand for is under lock
 * as well: the flags themselves need no order but that of the poke.
 */
static void change_flags_locked(struct kthread_worker *worker, uint32_t set, uint32_t clear)
{
	fetch_or_relaxed(&worker->flags, set);
	fetch_and_relaxed(&worker->flags, ~clear);
	poke_worker(worker);
}

/* Have everybody who waits on this worker look again. Takes no lock. */
static void tell_waiters(struct kthread_worker *worker)
{
	uint32_t old = load_relaxed(&worker->event);

	while (!cas_release(&worker->event, &old, (old & ~1u) + 2)) /* event */
		;
	if (old & 1)
		park_wake_all(&worker->event);
}

/* Sleep until event is no longer what it was. Returns as park_wait. */
static int sleep_on_event(struct kthread_worker *worker, uint32_t event, uint64_t deadline)
{
	if (!(event & 1)) {
		uint32_t expected = event;

		if (!cas_strong_relaxed(&worker->event, &expected, event | 1) &&
		    expected != (event | 1))
			return 0;
	}
	return park_wait(&worker->event, event | 1, deadline);
}

/* ---- waiting, and deadlock ---- */

/* What a thread waits for; on its stack. */
struct kthread_wait {
	struct kthread_worker *worker;
	const struct kthread_flush *flush; /* or, when NULL, */
	bool (*reached)(struct kthread_worker *worker);
};

static bool flush_reached(const struct kthread_flush *flush);

static bool wait_is_over(const struct kthread_wait *wait)
{
	return wait->flush ? flush_reached(wait->flush) : wait->reached(wait->worker);
}

/*
 * The calling thread is about to sleep until a worker gets on. When a callback does
 * that, its own worker can't get on meanwhile: a circle of such waits would be for
 * ever. One that is over, and whose thread has only not got up yet, makes no circle.
 */
static int wait_begin(const struct kthread_wait *wait)
{
	struct kthread_worker *me = served, *w = wait->worker;
	int result = 0;

	if (!me)
		return 0;
	lock_global();
	while (w != me && w->waits_for && !wait_is_over(w->waits_for))
		w = w->waits_for->worker;
	if (w != me)
		me->waits_for = wait;
	else if (!wait_is_over(wait))
		result = -EDEADLK;
	unlock_global();
	return result;
}

static void wait_end(void)
{
	if (!served)
		return;
	lock_global();
	served->waits_for = NULL;
	unlock_global();
}

/* Sleep until the wait, which has begun, is over. What ends it comes before tell_waiters. */
static int sleep_until_over(const struct kthread_wait *wait, uint64_t deadline, bool interruptible)
{
	int result;

	fetch_add_relaxed(&wait->worker->flushing, 1);
	fence_full(); /* flush-b0, pairs with worker-b1 */
	for (;;) {
		uint32_t event = load_acquire(&wait->worker->event); /* event */

		result = 0;
		if (wait_is_over(wait))
			break;
		result = sleep_on_event(wait->worker, event, deadline);
		if (result == -ETIMEDOUT && wait_is_over(wait))
			result = 0;
		if (!result || (result == -EINTR && !interruptible))
			continue;
		break;
	}
	fetch_sub_relaxed(&wait->worker->flushing, 1);
	return result;
}

/* ---- queue ---- */

/*
 * The pending run begins, or is dropped: number it, and make the work idle. By whoever
 * holds it: the claimer until the push, then the holder of the worker's lock.
 *
 * started_seq goes first. A flusher that reads both may see the new number with the old
 * state, and knows by PARITY that the run which it sees pending is the one numbered.
 */
static void end_pending(struct kthread_work *work, uintptr_t idle_state)
{
	store_release(&work->started_seq, load_relaxed(&work->started_seq) + 1); /* F */
	/* A read-modify-write, so as to be ordered after the claims that found it pending. */
	exchange_acq_rel(&work->state, (idle_state & ~(uintptr_t)PENDING) ^ PARITY); /* claim */
}

/*
 * Does its old worker still execute the work? The work is claimed or idle. When it does
 * not, what its last run wrote is seen here, and so by the next, on another thread.
 */
static bool executes_elsewhere(uintptr_t state, struct kthread_worker *worker,
			       struct kthread_work *work)
{
	struct kthread_worker *old = worker_of(state);

	if (!old || old == worker)
		return false;
	if (load_relaxed(&old->current_work) == work)
		return true;
	fence_acquire(&old->current_work); /* flush-b1, pairs with worker-b0 */
	return false;
}

static bool has_claims(struct kthread_worker *worker)
{
	return load_acquire(&worker->claims) >= CLAIM; /* gate */
}

/* The last touch of the worker by a producer, but for the wake. */
static void end_claim(struct kthread_worker *worker, bool pushed)
{
	uint32_t left = fetch_sub_acq_rel(&worker->claims, CLAIM) - CLAIM; /* gate */

	fence_full_after_rmw(); /* park-b1, pairs with park-b0 */
	if (pushed || (left & GATES))
		wake_worker(worker);
	if (left < CLAIM && load_relaxed(&worker->flushing)) {
		fetch_add_relaxed(&worker->quiet, 1);
		tell_waiters(worker);
	}
}

/*
 * Claim the work for the worker. Returns 1: it is ours to push; 0: it is pending there
 * already; -EBUSY.
 *
 * The second look at the old worker is for a work that was queued there, and begun,
 * between the first look and the claim. It is given back then, and what is told to others
 * who try to queue it on two workers at the same moment may be "pending" instead of
 * -EBUSY. A flusher may have seen it pending, so that this counts as a run dropped.
 */
static int claim(struct kthread_worker *worker, struct kthread_work *work)
{
	uintptr_t state = load_acquire(&work->state), claimed; /* claim */

	do {
		claimed = (uintptr_t)worker | (state & STATE_FLAGS) | PENDING;
		if (state & PENDING)
			claimed = state;
		else if (executes_elsewhere(state, worker, work))
			return -EBUSY;
	} while (!cas_acq_rel(&work->state, &state, claimed)); /* claim */
	if (state & PENDING)
		return worker_of(state) == worker ? 0 : -EBUSY;
	if (!executes_elsewhere(state, worker, work))
		return 1;
	end_pending(work, state);
	fence_full(); /* worker-b1, pairs with flush-b0 */
	if (load_relaxed(&worker->flushing))
		tell_waiters(worker);
	return -EBUSY;
}

void kthread_batch_begin(struct kthread_batch *batch, struct kthread_worker *worker)
{
	uint32_t claims;

	batch->worker = worker;
	batch->newest = NULL;
	batch->oldest = NULL;
	batch->refused = 0;
	if (!worker) {
		batch->refused = -EINVAL;
		return;
	}
	claims = fetch_add_acq_rel(&worker->claims, CLAIM); /* gate */
	if (claims & GATES)
		batch->refused = claims & GATE_FORKED ? -ESRCH : -ESHUTDOWN;
}

int kthread_batch_add(struct kthread_batch *batch, struct kthread_work *work)
{
	int result = batch->refused;

	if (result)
		return result;
	if (!work || !work->func)
		return -EINVAL;
	result = claim(batch->worker, work);
	if (result > 0) {
		work->next = batch->newest;
		batch->newest = work;
		if (!batch->oldest)
			batch->oldest = work;
	}
	return result;
}

void kthread_batch_end(struct kthread_batch *batch)
{
	struct kthread_worker *worker = batch->worker;

	if (!worker)
		return;
	if (batch->newest) {
		struct kthread_work *head = load_relaxed(&worker->inbox);

		do
			batch->oldest->next = head;
		while (!cas_release(&worker->inbox, &head, batch->newest)); /* inbox */
	}
	end_claim(worker, batch->newest != NULL);
}

int kthread_queue_work_status(struct kthread_worker *worker, struct kthread_work *work)
{
	struct kthread_batch batch;
	int result;

	kthread_batch_begin(&batch, worker);
	result = kthread_batch_add(&batch, work);
	kthread_batch_end(&batch);
	return result;
}

bool kthread_queue_work(struct kthread_worker *worker, struct kthread_work *work)
{
	int result = kthread_queue_work_status(worker, work);

	if (result < 0)
		errno = -result;
	return result > 0;
}

/* ---- the worker's thread: dequeue and run ---- */

/* The first work that is listed; NULL: none. Under lock. */
static struct kthread_work *first_locked(struct kthread_worker *worker)
{
	if (!worker->work_list.first)
		take_inbox_locked(worker);
	return worker->work_list.first;
}

/* Take the first work off the list and make it idle: from here on it may be queued again. */
static void begin_run_locked(struct kthread_worker *worker, struct kthread_work *work)
{
	list_remove(worker, work);
	worker->more = worker->work_list.first != NULL;
	if (worker->more)
		__builtin_prefetch(worker->work_list.first);
	worker->executed++;
	worker->current_seq = load_relaxed(&work->started_seq) + 1;
	worker->current_epoch = work->epoch;
	store_relaxed(&worker->current_work, work);
	end_pending(work, load_relaxed(&work->state));
}

/* The run is over. Not a touch of the work: its address is all that is used. */
static void end_run(struct kthread_worker *worker)
{
	fence_release(&worker->current_work); /* worker-b0, pairs with flush-b1 */
	store_relaxed(&worker->current_work, NULL);
	fence_full(); /* worker-b1, pairs with flush-b0 */
}

/* Does somebody wait for the run of work that has just ended? Under lock. */
static bool waited_for_locked(struct kthread_worker *worker, const struct kthread_work *work)
{
	const struct kthread_work *first = worker->work_list.first;

	for (struct kthread_flush_waiter *w = worker->waiters; w; w = w->next)
		if (w->flush->work ? w->flush->work == work :
				     !first || seq_past(first->epoch, w->flush->target))
			return true;
	return false;
}

static void tell_flushers(struct kthread_worker *worker, const struct kthread_work *work)
{
	bool waited_for;

	lock_worker(worker);
	waited_for = waited_for_locked(worker, work);
	unlock_worker(worker);
	if (waited_for)
		tell_waiters(worker);
}

static void tell_idle(struct kthread_worker *worker)
{
	if (worker->ops && worker->ops->idle)
		worker->ops->idle(worker);
}

/* Execute the first work. Returns false when there is none. */
static bool run_one(struct kthread_worker *worker)
{
	kthread_work_func_t func = NULL;
	struct kthread_work *work;

	lock_worker(worker);
	work = first_locked(worker);
	if (work) {
		func = work->func;
		begin_run_locked(worker, work);
	}
	unlock_worker(worker);
	if (!work)
		return false;
	func(work);
	work = load_relaxed(&worker->current_work); /* another, after kthread_next_work */
	if (!worker->more && !load_relaxed(&worker->inbox))
		tell_idle(worker);
	end_run(worker);
	if (load_relaxed(&worker->flushing))
		tell_flushers(worker, work);
	return true;
}

struct kthread_work *kthread_next_work(struct kthread_worker *worker, kthread_work_func_t func)
{
	const struct kthread_work *ended = load_relaxed(&worker->current_work);
	struct kthread_work *work;
	bool waited_for;

	if (load_acquire(&worker->flags) != worker->seen_flags) /* poke */
		return NULL;
	if (!worker->more && !load_relaxed(&worker->inbox))
		return NULL;
	lock_worker(worker);
	work = first_locked(worker);
	if (!work || work->func != func) {
		unlock_worker(worker);
		return NULL;
	}
	end_run(worker);
	waited_for = load_relaxed(&worker->flushing) && waited_for_locked(worker, ended);
	begin_run_locked(worker, work);
	unlock_worker(worker);
	if (waited_for)
		tell_waiters(worker);
	return work;
}

/* ---- the worker's thread: idle ---- */

static bool several_cpus(void)
{
	static _Atomic(int) cpus;
	int n = load_relaxed(&cpus);

	if (!n) {
		n = (int)sysconf(_SC_NPROCESSORS_ONLN);
		store_relaxed(&cpus, n);
	}
	return n > 1;
}

/*
 * The next window of polling, as KVM's halt polling has it: none when a wait was so
 * long that polling was in vain, a larger one when sleeping was not worth its while.
 */
static uint32_t next_window(uint32_t window, uint64_t waited_ns, uint32_t max_ns)
{
	if (waited_ns > KTHREAD_POLL_MAX_DEFAULT_NS || !several_cpus())
		return 0;
	window = window ? window * 2 : POLL_START_NS;
	return window < max_ns ? window : max_ns;
}

static bool has_to_look(struct kthread_worker *worker, uint32_t flags)
{
	return load_relaxed(&worker->inbox) || load_relaxed(&worker->flags) != flags ||
	       ((flags & CLOSING) && !has_claims(worker));
}

static bool poll_for_work(struct kthread_worker *worker, uint32_t flags, uint64_t until)
{
	for (;;) {
		for (int i = 0; i < POLL_LOOKS; i++) {
			if (has_to_look(worker, flags))
				return true;
			cpu_relax();
		}
		if (park_clock_ns() >= until)
			return false;
	}
}

static void count_one(_Atomic(uint64_t) *counter)
{
	store_relaxed(counter, load_relaxed(counter) + 1);
}

static uint64_t end_of_patience(void)
{
	return patience_ns ? park_deadline(patience_ns) : UINT64_MAX;
}

static void tell_interrupted(struct kthread_worker *worker, int result)
{
	if (result && worker->ops && worker->ops->interrupted)
		worker->ops->interrupted(worker);
}

/* Nothing to do, and flags were read before the look that found so: poll, then sleep. */
static void idle(struct kthread_worker *worker, uint32_t flags)
{
	uint32_t max_ns = load_relaxed(&worker->poll_max_ns);
	uint64_t begin;
	int result = 0;

	tell_idle(worker);
	begin = park_clock_ns();
	store_relaxed(&worker->cpu, this_cpu());
	if (worker->poll_ns > max_ns)
		worker->poll_ns = max_ns;
	if (worker->poll_ns && poll_for_work(worker, flags, begin + worker->poll_ns)) {
		count_one(&worker->poll_hits);
		return;
	}

	store_relaxed(&worker->sleep, ASLEEP);
	fence_full(); /* park-b0, pairs with park-b1 */
	if (!has_to_look(worker, flags)) {
		count_one(&worker->sleeps);
		result = park_wait(&worker->sleep, ASLEEP, end_of_patience());
	}
	store_relaxed(&worker->sleep, AWAKE);

	store_relaxed(&worker->cpu, this_cpu());
	if (load_relaxed(&worker->waker_cpu) == load_relaxed(&worker->cpu))
		worker->poll_ns = 0; /* polling would keep the waker from its processor */
	else
		worker->poll_ns = next_window(worker->poll_ns, park_clock_ns() - begin, max_ns);
	tell_interrupted(worker, result);
}

/* ---- the worker's thread: rest, and serve ---- */

static bool has_to_leave(struct kthread *k, uint32_t flags)
{
	return (flags & (STOP | FORKED)) || kthread_stop_requested(k);
}

/* May no callback begin? Then those who asked for it are told. */
static bool has_to_rest(struct kthread_worker *worker, struct kthread *k, uint32_t flags)
{
	bool rests = kthread_rests(k);

	if (flags & FREEZE) {
		/* Under lock, so that no thaw comes between the look and the note. */
		lock_worker(worker);
		if (load_relaxed(&worker->flags) & FREEZE) {
			rests = true;
			if (!(load_relaxed(&worker->flags) & RESTING)) {
				fetch_or_relaxed(&worker->flags, RESTING);
				tell_waiters(worker);
			}
		}
		unlock_worker(worker);
	}
	return rests;
}

/* Sleep while flags are what they were, but for the note of the rest itself. */
static void rest(struct kthread_worker *worker, uint32_t flags)
{
	uint32_t noted = load_relaxed(&worker->flags);

	tell_idle(worker);
	if ((noted & ~(uint32_t)RESTING) == (flags & ~(uint32_t)RESTING))
		tell_interrupted(worker, park_wait(&worker->flags, noted,
						   end_of_patience()));
}

static void serve(struct kthread_worker *worker, struct kthread *k)
{
	bool looked = false;

	for (;;) {
		uint32_t flags = load_acquire(&worker->flags); /* poke */

		/* Every request changes flags. */
		if (!looked || flags != worker->seen_flags) {
			if (has_to_leave(k, flags))
				break;
			looked = !has_to_rest(worker, k, flags);
			worker->seen_flags = flags;
			if (!looked) {
				rest(worker, flags);
				continue;
			}
		}
		if (run_one(worker))
			continue;
		if (flags & CLOSING) {
			/* Who was counted before the gate was shut pushes yet, and wakes. */
			if (!has_claims(worker) && !load_relaxed(&worker->inbox))
				break;
		}
		idle(worker, flags);
	}
	tell_idle(worker);
	if (worker->ops && worker->ops->leave)
		worker->ops->leave(worker);
}

/* Why no thread may be attached now; 0: one may. */
static int attach_refusal_locked(struct kthread_worker *worker)
{
	uint32_t flags = load_relaxed(&worker->flags);

	if (flags & FORKED)
		return -ESRCH;
	if (flags & (CLOSING | DEAD))
		return -ESHUTDOWN;
	return load_relaxed(&worker->task) ? -EBUSY : 0;
}

/* @owned: the thread was made for this worker, and is to be joined by its destruction. */
static int attach(struct kthread_worker *worker, struct kthread *k, bool owned)
{
	int result;

	register_worker(worker);
	lock_worker(worker);
	result = attach_refusal_locked(worker);
	if (!result) {
		store_relaxed(&worker->task, k);
		store_relaxed(&worker->cpu, this_cpu());
		if (owned)
			worker->thread = k;
	}
	unlock_worker(worker);
	if (!result) {
		served = worker;
		kthread_serve(k, poke_worker, worker);
	} else if (result != -EBUSY && !worker->allocated) {
		unregister_worker(worker);
	}
	return result;
}

static void detach(struct kthread_worker *worker, struct kthread *k)
{
	/* First: a request to the thread must not reach into a worker that may be gone. */
	kthread_serve(k, NULL, NULL);
	served = NULL;
	if (!worker->allocated)
		unregister_worker(worker);
	lock_worker(worker);
	store_relaxed(&worker->task, NULL);
	fetch_and_relaxed(&worker->flags, ~(uint32_t)(STOP | RESTING));
	/* Who called kthread_stop joins it. */
	if (worker->thread == k && kthread_stop_requested(k))
		worker->thread = NULL;
	/* Under lock: who has seen that the thread is gone may free the worker. */
	tell_waiters(worker);
	unlock_worker(worker);
	kthread_ask(k, false);
}

int kthread_worker_fn(void *arg)
{
	static char adopted_name[] = "kthread";
	struct kthread_worker *worker = arg;
	struct kthread *k = kthread_current();
	struct kthread adopted;
	int result;

	if (!worker)
		return -EINVAL;
	if (served) {
		kthread_warn("kthread_worker_fn: this thread serves a worker already");
		return -EBUSY;
	}
	if (!k) {
		k = &adopted;
		kthread_adopt(k, adopted_name);
	}
	result = attach(worker, k, false);
	if (result == -EBUSY)
		kthread_warn("kthread_worker_fn: another thread serves this worker");
	if (!result) {
		serve(worker, k);
		if (load_relaxed(&worker->flags) & FORKED)
			result = -ESRCH;
		detach(worker, k);
	}
	if (k == &adopted)
		kthread_disown(k);
	return result;
}

/* The thread that kthread_start_worker makes: attached while its creator waits. */
static int attach_owned(struct kthread *k, void *worker)
{
	return attach(worker, k, true);
}

static int owned_thread(void *worker)
{
	struct kthread *k = kthread_current();

	serve(worker, k);
	detach(worker, k);
	return 0;
}

/* ---- flush ---- */

void kthread_flush_begin_work(struct kthread_flush *flush, struct kthread_work *work)
{
	uint32_t started;
	uintptr_t state;

	flush->worker = NULL;
	flush->work = work;
	flush->sealed = true;
	if (!work)
		return;
	/*
	 * Wait for the run that is pending, else for the last one begun. While started_seq
	 * stays the same, state is of the same moment, or is about to follow it: then
	 * PARITY differs, and the run seen pending has just got its number.
	 */
	do {
		started = load_acquire(&work->started_seq); /* F */
		state = load_acquire(&work->state); /* claim */
	} while (load_relaxed(&work->started_seq) != started);
	flush->worker = worker_of(state);
	flush->target = started;
	if ((state & PENDING) && !(state & PARITY) == !(started & 1))
		flush->target++;
}

/* All that is listed now is of this epoch or an earlier one, and to be waited for. */
static void seal(struct kthread_flush *flush)
{
	struct kthread_worker *worker = flush->worker;
	bool taken;

	lock_worker(worker);
	taken = take_inbox_locked(worker);
	flush->target = worker->epoch++;
	flush->sealed = true;
	unlock_worker(worker);
	if (taken)
		poke_worker(worker);
}

void kthread_flush_begin_worker(struct kthread_flush *flush, struct kthread_worker *worker)
{
	flush->worker = worker;
	flush->work = NULL;
	flush->sealed = false;
	if (!worker)
		return;
	/* A claim takes some nanoseconds, unless its thread is preempted just there. */
	for (int i = 0; i < CLAIM_LOOKS && has_claims(worker); i++)
		cpu_relax();
	if (!has_claims(worker))
		seal(flush);
}

/*
 * Works are claimed and not yet listed; someone may have been told that they are pending.
 * Wait for a moment without a claim: what was claimed before it is listed then.
 */
static int wait_and_seal(struct kthread_flush *flush, uint64_t deadline)
{
	struct kthread_worker *worker = flush->worker;
	uint32_t quiet;
	int result = 0;

	fetch_add_relaxed(&worker->flushing, 1);
	quiet = load_relaxed(&worker->quiet);
	fence_full(); /* flush-b0, pairs with worker-b1 */
	while (!result) {
		uint32_t event = load_acquire(&worker->event); /* event */

		if (!has_claims(worker) || load_relaxed(&worker->quiet) != quiet)
			break;
		result = sleep_on_event(worker, event, deadline);
	}
	fetch_sub_relaxed(&worker->flushing, 1);
	if (!result)
		seal(flush);
	return result;
}

/*
 * Is the run noted over? Unless exact, the answer may be no for a moment too long, but
 * takes no lock while the work executes.
 */
static bool work_reached(const struct kthread_flush *flush, bool exact)
{
	struct kthread_worker *worker = flush->worker;
	uint32_t started = load_acquire(&flush->work->started_seq); /* F */
	bool reached;

	if (!seq_reached(started, flush->target))
		return false;
	if (load_relaxed(&worker->current_work) != flush->work)
		return true;
	if (!exact && started == flush->target)
		return false;
	/* It executes: only these two together say which run it is. */
	lock_worker(worker);
	reached = load_relaxed(&worker->current_work) != flush->work ||
		  seq_past(worker->current_seq, flush->target);
	unlock_worker(worker);
	return reached;
}

/* Have all works of the epoch noted, and of those before, left list and callback? */
static bool worker_reached(const struct kthread_flush *flush)
{
	struct kthread_worker *worker = flush->worker;
	struct kthread_work *first;
	bool reached;

	lock_worker(worker);
	first = worker->work_list.first;
	reached = (!first || seq_past(first->epoch, flush->target)) &&
		  (!load_relaxed(&worker->current_work) ||
		   seq_past(worker->current_epoch, flush->target));
	unlock_worker(worker);
	return reached;
}

static bool flush_reached(const struct kthread_flush *flush)
{
	return flush->work ? work_reached(flush, true) : worker_reached(flush);
}

static bool poll_work(const struct kthread_flush *flush, uint64_t until)
{
	do {
		for (int i = 0; i < POLL_LOOKS; i++) {
			if (work_reached(flush, false))
				return true;
			cpu_relax();
		}
	} while (park_clock_ns() < until);
	return false;
}

static bool poll_event(struct kthread_worker *worker, uint32_t event, uint64_t until)
{
	while (park_clock_ns() < until) {
		for (int i = 0; i < POLL_LOOKS; i++) {
			if (load_relaxed(&worker->event) != event)
				return true;
			cpu_relax();
		}
	}
	return false;
}

static void link_waiter(struct kthread_worker *worker, struct kthread_flush_waiter *waiter)
{
	lock_worker(worker);
	waiter->next = worker->waiters;
	waiter->link = &worker->waiters;
	if (waiter->next)
		waiter->next->link = &waiter->next;
	worker->waiters = waiter;
	unlock_worker(worker);
}

static void unlink_waiter(struct kthread_worker *worker, struct kthread_flush_waiter *waiter)
{
	lock_worker(worker);
	*waiter->link = waiter->next;
	if (waiter->next)
		waiter->next->link = waiter->link;
	unlock_worker(worker);
}

/*
 * Sleep until the flush has reached its target. The waiter is linked before the look
 * that lets it sleep, and the worker, once it sees flushing, looks through the
 * waiters under the same lock: it finds this one, or has ended the run before and
 * this one sees that.
 */
static int sleep_on_flush(struct kthread_flush *flush, uint64_t poll_until, uint64_t deadline)
{
	struct kthread_worker *worker = flush->worker;
	struct kthread_flush_waiter waiter = { .flush = flush };
	int result;

	fetch_add_relaxed(&worker->flushing, 1);
	fence_full(); /* flush-b0, pairs with worker-b1 */
	link_waiter(worker, &waiter);
	for (;;) {
		uint32_t event = load_acquire(&worker->event); /* event */

		result = 0;
		if (flush_reached(flush))
			break;
		if (poll_event(worker, event, poll_until))
			continue;
		result = sleep_on_event(worker, event, deadline);
		if (result) {
			if (flush_reached(flush))
				result = 0;
			break;
		}
	}
	unlink_waiter(worker, &waiter);
	fetch_sub_relaxed(&worker->flushing, 1);
	return result;
}

/* Poll for a window that adapts, then sleep. */
static int poll_and_sleep(struct kthread_flush *flush, uint64_t deadline)
{
	struct kthread_worker *worker = flush->worker;
	struct kthread_wait wait = { .worker = worker, .flush = flush };
	uint32_t max_ns = load_relaxed(&worker->poll_max_ns);
	uint32_t window = load_relaxed(&worker->flush_poll_ns);
	uint64_t begin = park_clock_ns(), until;
	int result;

	if (window > max_ns)
		window = max_ns;
	/* On the worker's own processor polling would keep it from running. */
	if (load_relaxed(&worker->cpu) == this_cpu())
		window = 0;
	until = begin + window < deadline ? begin + window : deadline;
	/* A whole worker is looked at under its lock: for that, poll the event instead. */
	if (flush->work && window && poll_work(flush, until))
		return 0;

	result = wait_begin(&wait);
	if (result)
		return result;
	result = sleep_on_flush(flush, until, deadline);
	wait_end();
	store_relaxed(&worker->flush_poll_ns,
		      next_window(window, park_clock_ns() - begin, max_ns));
	return result;
}

int kthread_flush_wait(struct kthread_flush *flush, uint64_t timeout_ns)
{
	struct kthread_worker *worker = flush->worker;
	uint64_t deadline;
	int result = 0;

	if (!worker)
		return 0;
	deadline = park_deadline(timeout_ns);
	if (!flush->sealed)
		result = wait_and_seal(flush, deadline);
	if (!result && !flush_reached(flush)) {
		if (served == worker)
			return -EDEADLK;
		if (load_relaxed(&worker->flags) & FORKED)
			return -ESRCH;
		if (!timeout_ns)
			return -ETIMEDOUT;
		result = poll_and_sleep(flush, deadline);
	}
	fence_acquire(&worker->current_work); /* flush-b1, pairs with worker-b0 */
	return result;
}

static int flush_to_the_end(struct kthread_flush *flush, uint64_t timeout_ns)
{
	uint64_t deadline = park_deadline(timeout_ns);
	int result = kthread_flush_wait(flush, timeout_ns);

	while (result == -EINTR) {
		uint64_t now = park_clock_ns();

		if (deadline != UINT64_MAX)
			timeout_ns = deadline > now ? deadline - now : 0;
		result = kthread_flush_wait(flush, timeout_ns);
	}
	return result;
}

int kthread_flush_work_timeout(struct kthread_work *work, uint64_t timeout_ns)
{
	struct kthread_flush flush;

	if (!work)
		return -EINVAL;
	kthread_flush_begin_work(&flush, work);
	return flush_to_the_end(&flush, timeout_ns);
}

int kthread_flush_work(struct kthread_work *work)
{
	return kthread_flush_work_timeout(work, KTHREAD_FOREVER);
}

int kthread_flush_worker_timeout(struct kthread_worker *worker, uint64_t timeout_ns)
{
	struct kthread_flush flush;

	if (!worker)
		return -EINVAL;
	kthread_flush_begin_worker(&flush, worker);
	return flush_to_the_end(&flush, timeout_ns);
}

int kthread_flush_worker(struct kthread_worker *worker)
{
	return kthread_flush_worker_timeout(worker, KTHREAD_FOREVER);
}

/* ---- coming: create, start ---- */

void kthread_init_worker(struct kthread_worker *worker)
{
	static const struct kthread_worker fresh = KTHREAD_WORKER_INIT(fresh);

	memcpy((void *)worker, &fresh, sizeof(*worker));
	make_lock(worker);
}

void kthread_init_work(struct kthread_work *work, kthread_work_func_t fn)
{
	static const struct kthread_work fresh = KTHREAD_WORK_INIT(fresh, NULL);

	memcpy((void *)work, &fresh, sizeof(*work));
	work->func = fn;
}

/*
 * Destroyed workers are used again, but never given back: a work that ran on one may
 * still name it, and is compared with its current_work when it is queued elsewhere or
 * flushed. So lock, event, flushing and the numbers go on where they were. The oldest
 * comes first, and the youngest rest a while, so that a call which comes too late to a
 * worker finds it dead rather than somebody else's.
 */
static struct kthread_worker *worker_from_pool(void)
{
	struct kthread_worker **link, *worker;
	int kept = 0;

	lock_global();
	for (link = &pool; *link && (*link)->registry_next; link = &(*link)->registry_next)
		kept++;
	worker = kept < POOL_KEEPS ? NULL : *link;
	if (worker)
		*link = NULL;
	unlock_global();
	if (!worker)
		return NULL;
	worker->queued = 0;
	worker->executed = 0;
	store_relaxed(&worker->sleeps, 0);
	store_relaxed(&worker->poll_hits, 0);
	store_relaxed(&worker->poll_max_ns, KTHREAD_POLL_MAX_DEFAULT_NS);
	worker->poll_ns = 0;
	worker->ops = NULL;
	worker->data = NULL;
	lock_worker(worker);
	store_relaxed(&worker->flags, 0);
	fetch_and_acq_rel(&worker->claims, ~(uint32_t)GATES); /* gate */
	unlock_worker(worker);
	return worker;
}

/* Takes the name, also when it fails. */
static struct kthread_worker *allocate_worker(char *name)
{
	struct kthread_worker *worker;

	if (!name) {
		errno = ENOMEM;
		return NULL;
	}
	worker = worker_from_pool();
	if (!worker) {
		size_t size = (sizeof(*worker) + 63) & ~(size_t)63;

		worker = aligned_alloc(64, size);
		if (!worker) {
			free(name);
			errno = ENOMEM;
			return NULL;
		}
		kthread_init_worker(worker);
		worker->allocated = 1;
	}
	worker->name = name;
	register_worker(worker);
	return worker;
}

static struct kthread_worker *create_worker(unsigned int flags, const char *namefmt, va_list args)
{
	char *name;

	if (!namefmt || (flags & ~KTW_FREEZABLE)) {
		errno = EINVAL;
		return NULL;
	}
	if (vasprintf(&name, namefmt, args) < 0)
		name = NULL;
	return allocate_worker(name);
}

struct kthread_worker *kthread_create_worker(unsigned int flags, const char *namefmt, ...)
{
	struct kthread_worker *worker;
	va_list args;

	va_start(args, namefmt);
	worker = create_worker(flags, namefmt, args);
	va_end(args);
	return worker;
}

/* A thread that left because its own callback asked for it waits to be joined. */
static void join_left_thread(struct kthread_worker *worker)
{
	struct kthread *left = NULL;

	lock_worker(worker);
	if (!load_relaxed(&worker->task)) {
		left = worker->thread;
		worker->thread = NULL;
	}
	unlock_worker(worker);
	if (left)
		kthread_stop(left);
}

int kthread_start_worker(struct kthread_worker *worker, const struct kthread_attr *attr)
{
	struct kthread_attr named = KTHREAD_ATTR_INIT;
	int result;

	if (!worker)
		return -EINVAL;
	lock_worker(worker);
	result = attach_refusal_locked(worker);
	unlock_worker(worker);
	if (result)
		return result;
	join_left_thread(worker);
	if (attr)
		named = *attr;
	if (!named.name)
		named.name = worker->name;
	if (!kthread_run_setup(owned_thread, worker, &named, attach_owned))
		return -errno;
	return 0;
}

/* Start it; or take it back, and leave errno. */
static struct kthread_worker *started(struct kthread_worker *worker,
				      const struct kthread_attr *attr)
{
	int result;

	if (!worker)
		return NULL;
	result = kthread_start_worker(worker, attr);
	if (!result)
		return worker;
	kthread_destroy_worker(worker);
	errno = -result;
	return NULL;
}

struct kthread_worker *kthread_run_worker(unsigned int flags, const char *namefmt, ...)
{
	struct kthread_worker *worker;
	va_list args;

	va_start(args, namefmt);
	worker = create_worker(flags, namefmt, args);
	va_end(args);
	return started(worker, NULL);
}

struct kthread_worker *kthread_run_worker_attr(const struct kthread_attr *attr)
{
	return started(kthread_create_worker(0, "%s", attr && attr->name ? attr->name : "kthread"),
		       attr);
}

/* ---- going: stop, freeze, destroy ---- */

static bool has_no_thread(struct kthread_worker *worker)
{
	bool none;

	lock_worker(worker);
	none = !load_relaxed(&worker->task);
	unlock_worker(worker);
	return none;
}

/* Ask the attached thread, if there is one, to leave; thaw it for that. Under lock. */
static void ask_to_leave_locked(struct kthread_worker *worker, uint32_t how)
{
	struct kthread *k = load_relaxed(&worker->task);

	change_flags_locked(worker, how, FREEZE | RESTING);
	if (k) {
		kthread_ask(k, true);
		kthread_thaw(k);
	}
	tell_waiters(worker); /* a freeze that was waited for is off */
}

static void ask_to_stop(struct kthread_worker *worker)
{
	lock_worker(worker);
	if (load_relaxed(&worker->task))
		ask_to_leave_locked(worker, STOP);
	unlock_worker(worker);
}

static int stop_worker(struct kthread_worker *worker, uint64_t timeout_ns, bool interruptible)
{
	struct kthread_wait wait = { .worker = worker, .reached = has_no_thread };
	uint64_t deadline;
	int result;

	if (!worker)
		return -EINVAL;
	if (served == worker) {
		ask_to_stop(worker);
		return 0;
	}
	deadline = park_deadline(timeout_ns);
	result = wait_begin(&wait);
	if (result)
		return result;
	ask_to_stop(worker);
	result = sleep_until_over(&wait, deadline, interruptible);
	wait_end();
	if (!result)
		join_left_thread(worker);
	return result;
}

int kthread_stop_worker_interruptible(struct kthread_worker *worker, uint64_t timeout_ns)
{
	return stop_worker(worker, timeout_ns, true);
}

int kthread_stop_worker_timeout(struct kthread_worker *worker, uint64_t timeout_ns)
{
	return stop_worker(worker, timeout_ns, false);
}

int kthread_stop_worker(struct kthread_worker *worker)
{
	return stop_worker(worker, KTHREAD_FOREVER, false);
}

static bool rests(struct kthread_worker *worker)
{
	bool reached;

	lock_worker(worker);
	reached = (load_relaxed(&worker->flags) & RESTING) || !load_relaxed(&worker->task);
	unlock_worker(worker);
	return reached;
}

/* A thaw by another thread ends the wait as well. */
static bool rests_or_is_thawed(struct kthread_worker *worker)
{
	return rests(worker) || !(load_relaxed(&worker->flags) & FREEZE);
}

static int freeze_worker(struct kthread_worker *worker, uint64_t timeout_ns, bool interruptible)
{
	struct kthread_wait wait = { .worker = worker, .reached = rests };
	struct kthread_wait sleep = { .worker = worker, .reached = rests_or_is_thawed };
	uint64_t deadline;
	uint32_t before;
	int result;

	if (!worker)
		return -EINVAL;
	if (served == worker)
		return -EDEADLK;
	result = wait_begin(&wait);
	if (result)
		return result;
	deadline = park_deadline(timeout_ns);
	lock_worker(worker);
	before = load_relaxed(&worker->flags);
	if (before & FORKED)
		result = -ESRCH;
	else if (before & (CLOSING | DEAD))
		result = -ESHUTDOWN;
	else if (!(before & FREEZE))
		change_flags_locked(worker, FREEZE, 0);
	unlock_worker(worker);
	if (!result)
		result = sleep_until_over(&sleep, deadline, interruptible);
	if ((result == -ETIMEDOUT || result == -EINTR) && !(before & FREEZE))
		kthread_thaw_worker(worker);
	wait_end();
	return result;
}

int kthread_freeze_worker_interruptible(struct kthread_worker *worker, uint64_t timeout_ns)
{
	return freeze_worker(worker, timeout_ns, true);
}

int kthread_freeze_worker_timeout(struct kthread_worker *worker, uint64_t timeout_ns)
{
	return freeze_worker(worker, timeout_ns, false);
}

int kthread_freeze_worker(struct kthread_worker *worker)
{
	return freeze_worker(worker, KTHREAD_FOREVER, false);
}

void kthread_thaw_worker(struct kthread_worker *worker)
{
	if (!worker)
		return;
	lock_worker(worker);
	if (load_relaxed(&worker->flags) & FREEZE) {
		change_flags_locked(worker, 0, FREEZE | RESTING);
		tell_waiters(worker);
	}
	unlock_worker(worker);
}

/* What is listed becomes idle without having run. */
static void drop_all(struct kthread_worker *worker)
{
	for (;;) {
		struct kthread_work *work;

		lock_worker(worker);
		take_inbox_locked(worker);
		work = worker->work_list.first;
		if (work) {
			list_remove(worker, work);
			end_pending(work, load_relaxed(&work->state));
		}
		unlock_worker(worker);
		if (!work)
			break;
		if (worker->ops && worker->ops->dropped)
			worker->ops->dropped(worker, work);
	}
	fence_full(); /* worker-b1, pairs with flush-b0 */
	if (load_relaxed(&worker->flushing))
		tell_waiters(worker);
}

/* No thread is attached, none can come, nothing can be queued. */
static void bury(struct kthread_worker *worker, uint32_t life)
{
	struct kthread_worker *first;
	bool mine;

	lock_worker(worker);
	mine = worker->life == life;
	if (mine) {
		worker->life++;
		fetch_or_relaxed(&worker->flags, DEAD);
	}
	unlock_worker(worker);
	if (!mine)
		return; /* another destruction was faster, and it may live anew already */
	join_left_thread(worker);
	drop_all(worker);
	unregister_worker(worker);
	if (!worker->allocated)
		return;
	free(worker->name);
	worker->name = NULL;
	lock_global();
	first = pool;
	worker->registry_next = first;
	pool = worker;
	unlock_global();
}

/* No thread, and no producer that will push yet. */
static bool has_ended(struct kthread_worker *worker)
{
	return has_no_thread(worker) && !has_claims(worker);
}

static void close_locked(struct kthread_worker *worker)
{
	if (load_relaxed(&worker->flags) & (CLOSING | DEAD))
		return;
	fetch_or_acq_rel(&worker->claims, GATE_CLOSED); /* gate */
	ask_to_leave_locked(worker, CLOSING);
}

void kthread_close_worker(struct kthread_worker *worker)
{
	if (!worker)
		return;
	lock_worker(worker);
	close_locked(worker);
	unlock_worker(worker);
}

static int destroy_worker(struct kthread_worker *worker, uint64_t timeout_ns, bool interruptible)
{
	struct kthread_wait wait = { .worker = worker, .reached = has_ended };
	uint64_t deadline;
	uint32_t life;
	bool dead;
	int result;

	if (!worker)
		return 0;
	if (served == worker)
		return -EDEADLK;
	deadline = park_deadline(timeout_ns);
	result = wait_begin(&wait);
	if (result)
		return result;
	lock_worker(worker);
	life = worker->life;
	dead = load_relaxed(&worker->flags) & DEAD;
	close_locked(worker);
	unlock_worker(worker);
	if (!dead)
		result = sleep_until_over(&wait, deadline, interruptible);
	wait_end();
	if (!result && !dead)
		bury(worker, life);
	return result;
}

int kthread_destroy_worker_interruptible(struct kthread_worker *worker, uint64_t timeout_ns)
{
	return destroy_worker(worker, timeout_ns, true);
}

int kthread_destroy_worker_timeout(struct kthread_worker *worker, uint64_t timeout_ns)
{
	return destroy_worker(worker, timeout_ns, false);
}

int kthread_destroy_worker(struct kthread_worker *worker)
{
	return destroy_worker(worker, KTHREAD_FOREVER, false);
}

/* ---- small ones ---- */

struct kthread_worker *kthread_work_worker(struct kthread_work *work)
{
	return worker_of(load_relaxed(&work->state));
}

bool kthread_work_pending(struct kthread_work *work)
{
	return work && (load_acquire(&work->state) & PENDING); /* claim */
}

unsigned int kthread_work_busy(struct kthread_work *work)
{
	struct kthread_worker *worker;
	unsigned int busy = 0;
	uintptr_t state;

	if (!work)
		return 0;
	state = load_acquire(&work->state); /* claim */
	worker = worker_of(state);
	if (state & PENDING)
		busy |= KTHREAD_WORK_PENDING;
	if (worker && load_relaxed(&worker->current_work) == work)
		busy |= KTHREAD_WORK_EXECUTING;
	return busy;
}

void kthread_worker_set_busy_poll(struct kthread_worker *worker, uint32_t max_ns)
{
	store_relaxed(&worker->poll_max_ns, max_ns);
}

void kthread_worker_set_ops(struct kthread_worker *worker, const struct kthread_worker_ops *ops,
			    void *data)
{
	worker->ops = ops;
	worker->data = data;
}

void *kthread_worker_data(const struct kthread_worker *worker)
{
	return worker->data;
}

void kthread_set_patience(uint64_t ns)
{
	patience_ns = ns;
}

struct kthread_worker *kthread_current_worker(void)
{
	return served;
}

bool kthread_worker_thread(struct kthread_worker *worker, pthread_t *thread, pid_t *tid)
{
	struct kthread *k;

	lock_worker(worker);
	k = load_relaxed(&worker->task);
	if (k && thread)
		*thread = k->thread;
	if (k && tid)
		*tid = k->tid;
	unlock_worker(worker);
	return k != NULL;
}

void kthread_worker_get_stats(struct kthread_worker *worker, struct kthread_worker_stats *stats)
{
	bool taken;

	lock_worker(worker);
	taken = take_inbox_locked(worker);
	stats->queued = worker->queued;
	stats->executed = worker->executed;
	stats->pending = worker->listed;
	unlock_worker(worker);
	if (taken)
		poke_worker(worker);
	stats->sleeps = load_relaxed(&worker->sleeps);
	stats->poll_hits = load_relaxed(&worker->poll_hits);
}

bool kthread_worker_freezing(struct kthread_worker *worker)
{
	return load_relaxed(&worker->flags) & FREEZE;
}
