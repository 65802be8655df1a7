/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * kthread_worker.c - the way of a work, and the worker's thread. See kthread_worker.h.
 *
 * Where everything lives: here the way of a work, from the queue through the list to its
 * run, and the worker's thread; the other files are listed in worker_internal.h, which has
 * what they share.
 *
 * The life of a work: a producer claims it (state), pushes it on the worker's
 * inbox, a stack; the worker turns the inbox round on to work_list, takes the first
 * off, makes it idle and calls it. From the moment the worker makes it idle to the
 * next push the worker does not touch it: the callback, and whoever has flushed it,
 * may free it.
 *
 * The pairs. Each ordered access in these files carries the label given here.
 *
 *	claim	the compare-and-swap of a queue, also of one that finds the work pending
 *		and changes nothing / the read-modify-write that makes it idle before its
 *		run. Both are read-modify-writes of one word: the run that comes after a
 *		claim in that word's order sees what the claimer wrote before. With a plain
 *		load where the work is found pending, a producer could write its request,
 *		be told "already pending", and that run, already begun, would not see it.
 *	gate	a producer counts its claim before it claims / the gate is shut
 *		(read-modify-writes of one word): a producer is either seen by who shuts it,
 *		and waited for, or sees it shut. The claim is over when its work has been
 *		taken from the inbox, and counted as that, or when it is counted among those
 *		that ended otherwise (release) / is seen to be (acquire): then all that it did
 *		is seen as well. Without this one told "already pending" by a claim not yet
 *		pushed could flush, or destroy, the worker without that run. All is counted
 *		twice, in two phases: a flush sends newcomers to the one that it does not wait
 *		for, so that none starves it. A new wake goes the way of the gate's bits.
 *	inbox	push (release) / take (acquire): the work's members are seen by the worker.
 *	park	push, end of a claim or poke, full fence (park-b1), look whether it
 *		sleeps / say "asleep", full fence (park-b0), look at inbox and flags.
 *		Without either, the worker misses the work and the producer misses the
 *		sleeper: it sleeps on it.
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
 *		In the same way flush-b0 meets park-b1: end of a claim, look at awaited /
 *		awaited++, look at claims.
 *	event	event changed (release) / read (acquire) before the look at what is waited
 *		for: a waiter whose look was too early does not sleep on the old value.
 *	trace	the hooks stored (release) / read (acquire): they are called as they were
 *		when they were set.
 *	poke	flags changed (read-modify-write) after the request / flags read (acquire)
 *		before the look at requests: as event, for the worker's rest and idleness.
 *	list-b0, list-b1
 *		inside = 1, full fence, look at wanted / wanted = 1, full fence, look at
 *		inside: the worker's thread, which takes no lock, and who holds the lock are
 *		not at the list at once. Without either both are, and tear it.
 *	leave-b0, leave-b1
 *		inside = 0, full fence, look whether someone sleeps until then / wanted =
 *		WAITED_FOR, full fence, look at inside. Without either the worker leaves and
 *		tells nobody, and who wants the list sleeps until some later run has ended.
 *	list	inside = 0, wanted = 0 (release) / seen so (acquire): what the one did at
 *		the list is seen by the other.
 *	lock-init
 *		lock_ready stored (release) after the mutex is made / read (acquire).
 *
 * Locks: global_lock, inside it a worker's lock (fork holds those of all registered
 * workers), inside it its attendance or a kthread's.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "worker_internal.h"

#include <string.h>
#include <unistd.h>

/* A window of polling that had no success does not begin smaller than this. */
#define POLL_START_NS 20000u

/* The worker that the calling thread serves. */
_Thread_local struct kthread_worker *kthread_served;

/* How long the calling thread may sleep at a stretch while it serves; 0: no end of it. */
static _Thread_local uint64_t patience_ns;

/* ---- initialisation ---- */

void kthread_init_worker(struct kthread_worker *worker)
{
	static const struct kthread_worker fresh = KTHREAD_WORKER_INIT(fresh);

	memcpy((void *)worker, &fresh, sizeof(*worker));
	kthread_make_lock(worker);
}

/* With a warning, and left alone, when it is pending. */
static bool may_be_initialised(const struct kthread_work *work, const char *function)
{
	/* Memory that may never have been written is looked at: checkers of memory are told. */
	uintptr_t state = load_relaxed(&((struct kthread_work *)work)->state);

	note_as_defined(&state, sizeof(state));
	if (!(state & PENDING) || !MENDED(INIT_LEAVES_PENDING) ||
	    !kthread_is_known_pending(work, worker_of(state)))
		return true;
	kthread_warn("%s: the work is pending", function);
	return false;
}

void kthread_init_work(struct kthread_work *work, kthread_work_func_t fn)
{
	static const struct kthread_work fresh = KTHREAD_WORK_INIT(fresh, NULL);

	if (!may_be_initialised(work, __func__))
		return;
	memcpy((void *)work, &fresh, sizeof(*work));
	work->func = fn;
}

void kthread_init_delayed_work(struct kthread_delayed_work *dwork, kthread_work_func_t fn)
{
	static const struct kthread_delayed_work fresh = KTHREAD_DELAYED_WORK_INIT(fresh, NULL);

	if (!may_be_initialised(&dwork->work, __func__))
		return;
	memcpy((void *)dwork, &fresh, sizeof(*dwork));
	dwork->work.func = fn;
}

/* ---- list ---- */

/*
 * The walk through the inbox finds each work by way of the one pushed after it, and would wait for
 * one cache line after the other. So producers note the last works pushed one at a time, and leave in
 * each the one pushed so many before it; in a batch, the one added so many before. Hints: the memory
 * may be gone, and they are never followed; where producers write over each other's, some are missing.
 */
KTHREAD_INLINE void note_recent(struct kthread_worker *worker, struct kthread_work *work)
{
	uint32_t n = load_relaxed(&worker->noted), i = n % KTHREAD_RECENT;

	work->prev = load_relaxed(&worker->recent[i]);
	store_relaxed(&worker->recent[i], work);
	store_relaxed(&worker->noted, n + 1);
}

KTHREAD_INLINE void note_in_batch(struct kthread_batch *batch, struct kthread_work *work)
{
	uint32_t size = sizeof(batch->recent) / sizeof(batch->recent[0]), i = batch->count % size;

	work->prev = batch->count <= size ? NULL : batch->recent[i];
	batch->recent[i] = work;
}

static void fetch_work(const struct kthread_work *work)
{
	uintptr_t last = (uintptr_t)work + sizeof(*work) - 1;

	prefetch_to_write(work);
	prefetch_to_write((const void *)last); /* it may lie across two lines */
}

/* Those noted since the last time. */
static void fetch_recent_locked(struct kthread_worker *worker)
{
	uint32_t end = load_relaxed(&worker->noted), n = worker->fetched;

	if (end - n > KTHREAD_RECENT)
		n = end - KTHREAD_RECENT;
	for (; n != end; n++)
		fetch_work(load_relaxed(&worker->recent[n % KTHREAD_RECENT]));
	worker->fetched = end;
}

/*
 * The inbox has the newest first: turn it round, and append it. Returns of how many of them
 * the claim was counted in the second phase. Under lock.
 */
static uint32_t append_batch(struct kthread_worker *worker, struct kthread_work *newest)
{
	struct kthread_work_list *list = &worker->work_list;
	struct kthread_work *work, *older, *newer = NULL;
	uint32_t n = 0, odd = 0;

	for (work = newest; work; work = older) {
		older = work->next;
		fetch_work(work->prev);
		work->next = newer;
		work->prev = older;
		odd += work->epoch; /* until now its phase */
		work->epoch = worker->epoch;
		work->place = LISTED;
		newer = work;
		n++;
	}
	newer->prev = list->last; /* the oldest of the batch */
	*(list->last ? &list->last->next : &list->first) = newer;
	list->last = newest;
	worker->listed += n;
	worker->queued += n;
	return odd;
}

bool kthread_take_inbox_locked(struct kthread_worker *worker)
{
	struct kthread_work *newest;
	uint32_t listed = worker->listed, odd;

	if (!load_relaxed(&worker->inbox))
		return false;
	/*
	 * First: a worker that finds the inbox emptied by another thread finds flags changed,
	 * and does not sleep, though that thread be preempted before it wakes anybody.
	 */
	if (kthread_served != worker)
		fetch_add_relaxed(&worker->flags, POKE); /* in front of the release */
	newest = exchange_acq_rel(&worker->inbox, NULL); /* inbox */
	fetch_recent_locked(worker);
	odd = append_batch(worker, newest);
	worker->taken[1] += odd;
	worker->taken[0] += worker->listed - listed - odd;
	return true;
}

void kthread_append_locked(struct kthread_worker *worker, struct kthread_work *work)
{
	kthread_take_inbox_locked(worker);
	work->next = work->prev = NULL;
	trace_queue(worker, work);
	append_batch(worker, work);
}

/* ---- waking and telling ---- */

/* Put an end to a state of sleep. Does it fall to the caller to do what is to be done then? */
static bool end_sleep(struct kthread_worker *worker, uint32_t state)
{
	return load_relaxed(&worker->sleep) == state &&
	       cas_strong_relaxed(&worker->sleep, &state, AWAKE);
}

/*
 * Wake the worker's thread if it sleeps, after a full fence. Every queue looks, not only
 * one that found the inbox empty: a producer preempted between its push and its look
 * delays nobody else's.
 */
static void wake_thread(struct kthread_worker *worker)
{
	if (end_sleep(worker, ASLEEP)) {
		store_relaxed(&worker->waker_cpu, this_cpu());
		store_relaxed(&worker->woken_at, (uint32_t)park_clock_ns());
		park_wake_one(&worker->sleep);
	} else if (!MENDED(WAKE_SLEEPERS_ONLY)) {
		park_wake_all(&worker->flags);
	}
}

void kthread_wake_loop(struct kthread_worker *worker)
{
	kthread_wake_func_t wake = load_relaxed(&worker->wake);

	if (wake && end_sleep(worker, UNATTENDED))
		wake(worker);
}

void kthread_poke_worker(void *arg)
{
	struct kthread_worker *worker = arg;

	fetch_add_release(&worker->flags, POKE); /* poke */
	fence_full_after_rmw(); /* park-b1, pairs with park-b0 */
	wake_thread(worker);
	kthread_wake_loop(worker);
	park_wake_all(&worker->flags);
}

void kthread_look_by_locked(struct kthread_worker *worker, uint64_t moment)
{
	if (worker->next_look <= moment)
		return; /* it will have looked by then anyway */
	worker->next_look = moment;
	if (!kthread_loop_looks_by_locked(worker, moment))
		kthread_poke_worker(worker);
}

void kthread_tell_waiters(struct kthread_worker *worker)
{
	uint32_t old = load_relaxed(&worker->event);

	while (!cas_release(&worker->event, &old, (old & ~1u) + 2)) /* event */
		;
	if (!(old & 1))
		return;
	store_relaxed(&worker->told_at, (uint32_t)park_clock_ns());
	if (MENDED(WAKE_ALL))
		park_wake_all(&worker->event);
	else
		park_wake_one(&worker->event);
}

void kthread_tell_progress(struct kthread_worker *worker)
{
	kthread_tell_waiters(worker);
	if (load_relaxed(&worker->watched) && worker->ops && worker->ops->progress)
		worker->ops->progress(worker);
}

/* ---- queue ---- */

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

/* A claim ends otherwise than by a push. Is the worker's thread to be woken for that? */
static bool end_claim(struct kthread_worker *worker, unsigned int phase)
{
	fetch_add_release(&worker->ended[phase], 1); /* gate */
	fence_full_after_rmw(); /* park-b1, pairs with park-b0 */
	return !gates_are_open(load_relaxed(&worker->claims[phase]));
}

/*
 * Give a claimed work back to the worker which executes it. A flusher may have seen it
 * pending, so that this counts as a run dropped. As end_pending, but for the address.
 */
static void give_back(struct kthread_work *work, struct kthread_worker *old)
{
	uintptr_t state = load_relaxed(&work->state), idle;

	store_release(&work->started_seq, load_relaxed(&work->started_seq) + 1); /* F */
	do {
		idle = (uintptr_t)old | (state & STATE_FLAGS & ~(uintptr_t)PENDING);
		idle ^= PARITY;
	} while (!cas_acq_rel(&work->state, &state, idle)); /* claim */
}

/*
 * The second look at the old worker is for a work that was queued there, and begun,
 * between the first look and the claim. It is given back then, and what is told to others
 * who try to queue it on two workers at the same moment may be "pending" instead of
 * -EBUSY.
 */
KTHREAD_INLINE int claim(struct kthread_worker *worker, struct kthread_work *work)
{
	uintptr_t state = load_acquire(&work->state), claimed; /* claim */

	do {
		if (MENDED(CANCEL_REFUSES) && (state & BLOCKED))
			return -ECANCELED;
		claimed = (uintptr_t)worker | (state & STATE_FLAGS) | PENDING;
		if (state & PENDING)
			claimed = state;
		else if (MENDED(ONE_WORKER) && executes_elsewhere(state, worker, work))
			return -EBUSY;
	} while (!cas_acq_rel(&work->state, &state, claimed)); /* claim */
	if (state & PENDING)
		return worker_of(state) == worker || !MENDED(ONE_WORKER) ? 0 : -EBUSY;
	if (!MENDED(ONE_WORKER) || !executes_elsewhere(state, worker, work))
		return 1;
	give_back(work, worker_of(state));
	fence_full(); /* worker-b1, pairs with flush-b0 */
	if (load_relaxed(&worker->flushing))
		kthread_tell_progress(worker);
	return -EBUSY;
}

int kthread_claim(struct kthread_worker *worker, struct kthread_work *work)
{
	return claim(worker, work);
}

int kthread_gate_refusal(struct kthread_worker *worker, uint32_t claims)
{
	if (!(claims & GATE_MADE))
		return -EINVAL;
	if (claims & GATE_FORKED)
		return -ESRCH;
	if (claims & GATE_CLOSED)
		return -ESHUTDOWN;
	return kthread_served == worker ? 0 : -EAGAIN;
}

int kthread_worker_refusal(struct kthread_worker *worker)
{
	uint32_t claims = is_made(worker) ? load_relaxed(&worker->claims[0]) : 0;

	return gates_are_open(claims) ? 0 : kthread_gate_refusal(worker, claims);
}

KTHREAD_INLINE void begin_batch(struct kthread_batch *batch, struct kthread_worker *worker)
{
	uint32_t claims;

	batch->worker = worker;
	batch->newest = NULL;
	batch->oldest = NULL;
	batch->count = 0;
	batch->refused = 0;
	if (!worker) {
		batch->refused = -EINVAL;
		return;
	}
	batch->phase = load_relaxed(&worker->phase);
	/* Not counted when refused: a crowd of those would keep a destruction waiting. */
	claims = load_relaxed(&worker->claims[batch->phase]);
	if (!gates_are_open(claims))
		batch->refused = kthread_gate_refusal(worker, claims);
	if (batch->refused) {
		batch->worker = NULL;
		return;
	}
	claims = fetch_add_acquire(&worker->claims[batch->phase], CLAIM); /* gate */
	if (!gates_are_open(claims))
		batch->refused = kthread_gate_refusal(worker, claims);
}

KTHREAD_INLINE int add_to_batch(struct kthread_batch *batch, struct kthread_work *work)
{
	int result = batch->refused;

	if (result)
		return result;
	if (!work || !work->func || !work->kind)
		return -EINVAL;
	result = claim(batch->worker, work);
	if (result > 0) {
		trace_queue(batch->worker, work);
		work->epoch = batch->phase;
		batch->count++;
		work->next = batch->newest;
		batch->newest = work;
		if (!batch->oldest)
			batch->oldest = work;
	}
	return result;
}

/* How long a producer that was in another's way waits before it tries again: a microsecond. */
#define YIELD_TURNS 40

/* A push gives way so often, and then no more: there is an end to how long it may take. */
#define YIELDS 4

/*
 * Two producers on two processors take the cache line away from each other at each access, and
 * are both slower by far than one would be alone. So who finds that another has pushed in
 * between lets that one go on undisturbed for a while. Not when it was the worker, which has taken
 * the inbox: that is over.
 */
KTHREAD_INLINE void push(struct kthread_worker *worker, struct kthread_work *newest,
			 struct kthread_work *oldest)
{
	struct kthread_work *head = load_relaxed(&worker->inbox);
	int yields = 0;

	for (;;) {
		oldest->next = head;
		if (cas_release(&worker->inbox, &head, newest)) /* inbox */
			return;
		if (!head || yields == YIELDS)
			continue;
		yields++;
		for (int i = 0; i < YIELD_TURNS; i++)
			cpu_relax();
		head = load_relaxed(&worker->inbox);
	}
}

KTHREAD_INLINE void end_batch(struct kthread_batch *batch)
{
	struct kthread_worker *worker = batch->worker;
	bool has_loop, wakes = true;
	uint32_t more;

	if (!worker)
		return;
	if (!batch->count) {
		wakes = end_claim(worker, batch->phase);
	} else {
		/*
		 * Each work pushed will be the end of a claim. And one more stands until wake has
		 * returned: what that calls is closed by a destruction.
		 */
		has_loop = load_relaxed(&worker->wake);
		more = batch->count - 1 + has_loop;
		if (more)
			fetch_add_relaxed(&worker->claims[batch->phase], more * CLAIM);
		push(worker, batch->newest, batch->oldest);
		fence_full_after_rmw(); /* park-b1, pairs with park-b0 */
		if (has_loop) {
			kthread_wake_loop(worker);
			end_claim(worker, batch->phase);
		}
	}
	/* It is not counted any more. The last touches of the worker by a producer: */
	if (wakes)
		wake_thread(worker);
	if (load_relaxed(&worker->awaited))
		kthread_tell_waiters(worker);
}

void kthread_batch_begin(struct kthread_batch *batch, struct kthread_worker *worker)
{
	begin_batch(batch, worker);
}

int kthread_batch_add(struct kthread_batch *batch, struct kthread_work *work)
{
	int result = add_to_batch(batch, work);

	if (result > 0)
		note_in_batch(batch, work);
	return result;
}

void kthread_batch_end(struct kthread_batch *batch)
{
	end_batch(batch);
}

KTHREAD_INLINE int queue(struct kthread_worker *worker, struct kthread_work *work)
{
	struct kthread_batch batch;
	int result;

	begin_batch(&batch, worker);
	result = add_to_batch(&batch, work);
	if (result > 0)
		note_recent(worker, work);
	end_batch(&batch);
	return result;
}

int kthread_queue_work_status(struct kthread_worker *worker, struct kthread_work *work)
{
	return queue(worker, work);
}

bool kthread_queue_work(struct kthread_worker *worker, struct kthread_work *work)
{
	return with_errno(queue(worker, work));
}

/* ---- the worker's thread: at the list ---- */

/* So many looks at who is inside come before a sleep. */
#ifndef INSIDE_LOOKS
#define INSIDE_LOOKS 100
#endif

void kthread_wait_until_outside(struct kthread_worker *worker)
{
	for (int i = 0; i < INSIDE_LOOKS; i++) {
		cpu_relax();
		if (!is_inside(worker))
			return;
	}
	store_relaxed(&worker->wanted, WAITED_FOR);
	fence_full(); /* leave-b1, pairs with leave-b0 */
	if (is_inside(worker)) {
		mutex_lock_out_of_order(&worker->attendance);
		pthread_mutex_unlock(&worker->attendance);
	}
}

/* The calling thread is attached. Nobody else holds, or waits for, the attendance under lock. */
static void attend_locked(struct kthread_worker *worker)
{
	pthread_mutex_trylock(&worker->attendance);
}

/*
 * Someone sleeps until the worker's thread, the calling one, has left the list, which it has. Who
 * holds the lock has no need of the attendance any more.
 */
static void let_in(struct kthread_worker *worker)
{
	pthread_mutex_unlock(&worker->attendance);
	pthread_mutex_lock(&worker->lock);
	attend_locked(worker);
	pthread_mutex_unlock(&worker->lock);
}

KTHREAD_INLINE void go_outside(struct kthread_worker *worker)
{
	store_release(&worker->inside, 0); /* list */
	fence_full(); /* leave-b0, pairs with leave-b1 */
	if (load_relaxed(&worker->wanted) == WAITED_FOR)
		let_in(worker);
}

/* It is inside, after a full fence. Is the list somebody else's? Then by way of the lock. */
KTHREAD_INLINE void stay_inside(struct kthread_worker *worker)
{
	if (!load_acquire(&worker->wanted)) /* list */
		return;
	go_outside(worker);
	lock_worker(worker);
	worker->by_lock = true;
}

KTHREAD_INLINE void enter_list(struct kthread_worker *worker)
{
	store_relaxed(&worker->inside, 1);
	fence_full(); /* list-b0, pairs with list-b1 */
	stay_inside(worker);
}

KTHREAD_INLINE void leave_list(struct kthread_worker *worker)
{
	if (worker->by_lock) {
		worker->by_lock = false;
		unlock_worker(worker);
	} else {
		go_outside(worker);
	}
}

/* ---- the worker's thread: dequeue and run ---- */

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

/* How long the worker waits in front of a look when it has to let some works gather. */
#define PACE_NS 2000u

/* However the clock goes, a pause is over after so many turns. */
#define PACE_TURNS 256

/* So many works are few, as what one look at the inbox finds; and so many enough. */
#define FEW_WORKS 16u
#define ENOUGH_WORKS 64u

/* So many looks that find few come before a pause is tried; and when that was in vain. */
#define QUICK_LOOKS 16
#define LOOKS_IN_VAIN 1000

static void let_works_gather(struct kthread_worker *worker)
{
	uint64_t until = park_clock_ns() + PACE_NS;

	for (int i = 0; i < PACE_TURNS && park_clock_ns() < until; i++) {
		if (load_relaxed(&worker->wanted) || load_relaxed(&worker->flags) != worker->seen_flags)
			break;
		cpu_relax();
		cpu_relax();
	}
}

/*
 * Each look at the inbox takes its cache line away from the producers. A worker that keeps up
 * with them, and looks after every other work, slows them down to where it keeps up for ever. So
 * when that has gone on for a while it waits in front of a look, for less than a wake-up takes, and
 * goes on to while that brings more works; not when nothing comes, or when each caller waits
 * for its own work.
 */
static void take_at_a_pace(struct kthread_worker *worker)
{
	bool paced = worker->paced;
	uint32_t taken = 0;

	if (paced)
		let_works_gather(worker);
	if (kthread_take_inbox_locked(worker))
		taken = worker->listed;
	if (taken >= ENOUGH_WORKS) {
		worker->paced = paced && taken < 8 * ENOUGH_WORKS;
		worker->quick_looks = 0;
	} else if (paced && taken < FEW_WORKS) {
		worker->paced = false;
		worker->quick_looks = taken ? -LOOKS_IN_VAIN : 0;
	} else if (taken && !paced) {
		worker->paced = ++worker->quick_looks >= QUICK_LOOKS && several_cpus();
	}
}

/*
 * The first work that may begin. Returns NULL when there is none, and then notes when it
 * has to look again of itself. Under lock.
 */
KTHREAD_INLINE struct kthread_work *first_locked(struct kthread_worker *worker)
{
	struct kthread_work *first;

	if (timers_earliest(&worker->timers))
		kthread_expire_timers_locked(worker);
	if (!worker->work_list.first && worker->limited)
		kthread_take_inbox_locked(worker); /* whose thread it is does not wait for more */
	else if (!worker->work_list.first)
		take_at_a_pace(worker);
	first = worker->work_list.first;
	if (first && worker->limited && seq_past(first->epoch, worker->last_epoch))
		first = NULL;
	if (first)
		worker->next_look = 0;
	else
		worker->next_look = worker->sleep_until = kthread_next_timer_locked(worker);
	return first;
}

/* Take the first work off the list and make it idle: from here on it may be queued again. */
KTHREAD_INLINE void begin_run_locked(struct kthread_worker *worker, struct kthread_work *work)
{
	list_remove(worker, work);
	worker->more = worker->work_list.first != NULL;
	if (worker->more)
		fetch_work(worker->work_list.first);
	worker->executed++;
	worker->current_seq = load_relaxed(&work->started_seq) + 1;
	worker->current_epoch = work->epoch;
	store_relaxed(&worker->current_work, work);
	worker->rearmed = work->kind == KTHREAD_WORK_DELAYED && kthread_rearm_locked(worker, work);
	end_pending(work, worker->rearmed);
}

/* The run is over. Not a touch of the work: its address is all that is used. */
KTHREAD_INLINE void end_run(struct kthread_worker *worker)
{
	fence_release(&worker->current_work); /* worker-b0, pairs with flush-b1 */
	store_relaxed(&worker->current_work, NULL);
	fence_full(); /* worker-b1, pairs with flush-b0 */
}

/* The same, and the thread comes to the list: one fence does for both. */
KTHREAD_INLINE void end_run_and_enter(struct kthread_worker *worker)
{
	store_relaxed(&worker->inside, 1); /* list-b0 is worker-b1 */
	end_run(worker);
	stay_inside(worker);
}

/* Does somebody wait for the run of work that has just ended? Under lock. */
static bool waited_for_locked(struct kthread_worker *worker, const struct kthread_work *work)
{
	const struct kthread_work *first = worker->work_list.first;

	if (worker->drainers && !first)
		return true;
	for (struct kthread_flush_waiter *w = worker->waiters; w; w = w->next)
		if (w->flush->work ? w->flush->work == work :
				     !first || seq_past(first->epoch, w->flush->target))
			return true;
	return false;
}

static void tell_idle(struct kthread_worker *worker)
{
	if (worker->ops && worker->ops->idle)
		worker->ops->idle(worker);
}

/* Inside, before and after. Returns false when there is none. */
KTHREAD_INLINE bool run_first(struct kthread_worker *worker)
{
	struct kthread_work *work = first_locked(worker);
	kthread_work_func_t func;

	if (!work)
		return false;
	func = work->func;
	begin_run_locked(worker, work);
	leave_list(worker);

	trace_execute_start(worker, work);
	if (worker->ops && worker->ops->begin)
		worker->ops->begin(worker, work);
	func(work);
	work = load_relaxed(&worker->current_work); /* another, after kthread_next_work */
	if (!MENDED(NO_TOUCH_AFTER_CALLBACK))
		work->next = NULL;
	trace_execute_end(worker, work, func);
	if (!worker->more && !load_relaxed(&worker->inbox))
		tell_idle(worker);

	end_run_and_enter(worker);
	if (load_relaxed(&worker->flushing) && waited_for_locked(worker, work)) {
		leave_list(worker);
		kthread_tell_progress(worker);
		enter_list(worker);
	}
	return true;
}

bool kthread_run_one(struct kthread_worker *worker)
{
	bool ran;

	enter_list(worker);
	ran = run_first(worker);
	leave_list(worker);
	return ran;
}

/* Is there a request since flags were looked at? */
KTHREAD_INLINE bool is_asked(struct kthread_worker *worker, uint32_t flags)
{
	return flags != worker->seen_flags &&
	       (MENDED(STOP_BETWEEN_WORKS) || !load_relaxed(&worker->inbox));
}

/* Run what there is. Returns false when a request came in between. */
static bool run_works(struct kthread_worker *worker)
{
	bool asked = false;

	enter_list(worker);
	while (!asked && run_first(worker))
		asked = is_asked(worker, load_acquire(&worker->flags)); /* poke */
	leave_list(worker);
	return !asked;
}

struct kthread_work *kthread_next_work(struct kthread_worker *worker, kthread_work_func_t func)
{
	struct kthread_work *ended = load_relaxed(&worker->current_work);
	struct kthread_work *work;
	bool waited_for;

	if (load_relaxed(&worker->flags) != worker->seen_flags)
		return NULL;
	if (!worker->more && !load_relaxed(&worker->inbox))
		return NULL;
	enter_list(worker);
	work = first_locked(worker);
	if (!work || work->func != func) {
		leave_list(worker);
		return NULL;
	}
	trace_execute_end(worker, ended, func);
	end_run(worker);
	waited_for = load_relaxed(&worker->flushing) && waited_for_locked(worker, ended);
	begin_run_locked(worker, work);
	leave_list(worker);
	if (waited_for)
		kthread_tell_progress(worker);
	trace_execute_start(worker, work);
	return work;
}

/* ---- the worker's thread: idle ---- */

uint64_t kthread_waited_ns(uint64_t begin, uint32_t woken_at)
{
	uint64_t waited = park_clock_ns() - begin;
	uint32_t until_woken = woken_at - (uint32_t)begin; /* a moment before begin: very long */

	return waited <= UINT32_MAX && until_woken < waited ? until_woken : waited;
}

uint32_t kthread_next_window(uint32_t window, uint64_t waited_ns, uint32_t max_ns)
{
	if (waited_ns > KTHREAD_POLL_MAX_DEFAULT_NS || !several_cpus())
		return 0;
	window = window ? window * 2 : POLL_START_NS;
	return window < max_ns ? window : max_ns;
}

enum left {
	A_WORK,
	A_CLAIM,		/* of who was counted before the gate was shut: it pushes yet, and wakes */
	NOTHING,
};

/* The gate is shut: what is there yet for the worker? */
static enum left what_is_left(struct kthread_worker *worker)
{
	enum left left = NOTHING;

	lock_worker(worker);
	kthread_take_inbox_locked(worker);
	if (worker->work_list.first)
		left = A_WORK;
	else if (has_claims_locked(worker))
		left = A_CLAIM;
	unlock_worker(worker);
	return left;
}

static bool has_to_look(struct kthread_worker *worker, uint32_t flags)
{
	if (!MENDED(FREEZE_WHILE_IDLE))
		flags = load_relaxed(&worker->flags);
	return load_acquire(&worker->inbox) || load_relaxed(&worker->flags) != flags || /* inbox */
	       ((flags & CLOSING) && what_is_left(worker) != A_CLAIM);
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

static uint64_t earlier(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* Sleep on a word, for as long as patience lasts and until the next timer runs out. */
static void sleep_on(struct kthread_worker *worker, _Atomic(uint32_t) *word, uint32_t expected)
{
	uint64_t patience = patience_ns ? park_deadline(patience_ns) : UINT64_MAX;
	uint64_t timer = worker->sleep_until;
	int result = park_wait(word, expected, earlier(patience, timer));

	if (result == -ETIMEDOUT && timer < patience)
		return;
	if (result && worker->ops && worker->ops->interrupted)
		worker->ops->interrupted(worker);
}

/*
 * Nothing to do, and flags were read before the look that found so: poll, then sleep. What
 * makes next_look earlier, or lists a work otherwise than by a push, changes flags.
 */
static void idle(struct kthread_worker *worker, uint32_t flags)
{
	uint32_t max_ns = load_relaxed(&worker->poll_max_ns);
	uint64_t begin;

	tell_idle(worker);
	begin = park_clock_ns();
	store_relaxed(&worker->cpu, this_cpu());
	if (worker->poll_ns > max_ns)
		worker->poll_ns = max_ns;
	if (worker->poll_ns &&
	    poll_for_work(worker, flags, earlier(begin + worker->poll_ns, worker->sleep_until))) {
		count_one(&worker->poll_hits);
		return;
	}

	worker->quick_looks = 0;
	store_relaxed(&worker->sleep, ASLEEP);
	fence_full(); /* park-b0, pairs with park-b1 */
	if (!MENDED(LOOK_BEFORE_SLEEP) || !has_to_look(worker, flags)) {
		count_one(&worker->sleeps);
		sleep_on(worker, &worker->sleep, ASLEEP);
	}
	store_relaxed(&worker->sleep, AWAKE);

	store_relaxed(&worker->cpu, this_cpu());
	if (load_relaxed(&worker->waker_cpu) == load_relaxed(&worker->cpu))
		worker->poll_ns = 0; /* polling would keep the waker from its processor */
	else
		worker->poll_ns = kthread_next_window(
			worker->poll_ns, kthread_waited_ns(begin, load_relaxed(&worker->woken_at)),
			max_ns);
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
				kthread_tell_waiters(worker);
			}
		}
		unlock_worker(worker);
	}
	return rests;
}

/* Its timers go on: a work whose time has come is listed in front of what is queued later. */
static void keep_timers(struct kthread_worker *worker)
{
	lock_worker(worker);
	if (timers_earliest(&worker->timers))
		kthread_expire_timers_locked(worker);
	worker->next_look = worker->sleep_until = kthread_next_timer_locked(worker);
	unlock_worker(worker);
}

/* Sleep while flags are what they were, but for the note of the rest itself. */
static void rest(struct kthread_worker *worker, uint32_t flags)
{
	uint32_t noted = load_relaxed(&worker->flags);

	tell_idle(worker);
	keep_timers(worker);
	if ((noted & ~(uint32_t)RESTING) == (flags & ~(uint32_t)RESTING))
		sleep_on(worker, &worker->flags, noted);
}

bool kthread_has_to_pause(struct kthread_worker *worker, struct kthread *k)
{
	uint32_t flags = load_relaxed(&worker->flags); /* no sleep hangs on it */

	worker->seen_flags = flags;
	return has_to_leave(k, flags) || has_to_rest(worker, k, flags);
}

void kthread_enter(struct kthread_worker *worker)
{
	if (worker->ops && worker->ops->enter)
		worker->ops->enter(worker);
}

void kthread_leave(struct kthread_worker *worker)
{
	tell_idle(worker);
	if (worker->ops && worker->ops->leave)
		worker->ops->leave(worker);
}

static void serve(struct kthread_worker *worker, struct kthread *k)
{
	bool looked = false;

	kthread_quiet_loop(worker);
	kthread_enter(worker);
	for (;;) {
		uint32_t flags = load_acquire(&worker->flags); /* poke */

		/* Every request changes flags. */
		if (!looked || is_asked(worker, flags)) {
			if (has_to_leave(k, flags))
				break;
			looked = !has_to_rest(worker, k, flags);
			worker->seen_flags = flags;
			if (!looked) {
				rest(worker, flags);
				continue;
			}
		}
		if (!run_works(worker))
			continue;
		if ((flags & CLOSING) && what_is_left(worker) == NOTHING)
			break;
		idle(worker, flags);
	}
	kthread_leave(worker);
}

/* @owned: the thread was made for this worker, and is to be joined by its destruction. */
static int attach(struct kthread_worker *worker, struct kthread *k, bool owned)
{
	int result;

	kthread_lock_for_registry(worker);
	result = kthread_attach_refusal_locked(worker);
	if (!result && owned && worker->thread)
		result = -EBUSY; /* one that has left meanwhile is still to be joined */
	if (!result) {
		kthread_register_locked(worker);
		worker->attached++;
		worker->next_look = 0;
		store_relaxed(&worker->sleep, AWAKE); /* it was UNATTENDED, perhaps */
		store_relaxed(&worker->task, k);
		store_relaxed(&worker->cpu, this_cpu());
		if (owned)
			worker->thread = k;
		attend_locked(worker);
	}
	kthread_unlock_for_registry(worker);
	if (!result) {
		kthread_served = worker;
		kthread_serve(k, kthread_poke_worker, worker);
	}
	return result;
}

void kthread_detach(struct kthread_worker *worker, struct kthread *k)
{
	/* First: a request to the thread must not reach into a worker that may be gone. */
	kthread_serve(k, NULL, NULL);
	kthread_served = NULL;
	kthread_lock_for_registry(worker);
	if (!worker->allocated)
		kthread_unregister_locked(worker);
	worker->next_look = 0; /* nobody is there to be told */
	store_relaxed(&worker->task, NULL);
	fetch_and_relaxed(&worker->flags, ~(uint32_t)(STOP | RESTING));
	if (kthread_stop_requested(k)) /* as kthread_stop_worker: it thaws */
		fetch_and_relaxed(&worker->flags, ~(uint32_t)FREEZE);
	/* Who called kthread_stop joins it. */
	if (worker->thread == k && kthread_stop_requested(k))
		worker->thread = NULL;
	kthread_leave_unattended_locked(worker);
	pthread_mutex_unlock(&worker->attendance);
	/* Under lock: who has seen that the thread is gone may free the worker. */
	kthread_tell_waiters(worker);
	kthread_unlock_for_registry(worker);
	kthread_ask(k, false);
}

int kthread_attach(struct kthread_worker *worker, struct kthread *k)
{
	return attach(worker, k, false);
}

int kthread_worker_fn(void *arg)
{
	struct kthread_worker *worker = arg;
	struct kthread adopted, *k;
	int result;

	if (!is_made(worker))
		return -EINVAL;
	if (kthread_served) {
		kthread_warn("kthread_worker_fn: this thread serves a worker already");
		return -EBUSY;
	}
	k = kthread_current_or(&adopted);
	result = kthread_attach(worker, k);
	if (result == -EBUSY)
		kthread_warn("kthread_worker_fn: another thread serves this worker");
	if (!result) {
		serve(worker, k);
		if (load_relaxed(&worker->flags) & FORKED)
			result = -ESRCH;
		kthread_detach(worker, k);
	}
	if (k == &adopted)
		kthread_disown(k);
	return result;
}

int kthread_attach_owned(struct kthread *k, void *worker)
{
	return attach(worker, k, true);
}

int kthread_owned_thread(void *worker)
{
	struct kthread *k = kthread_current();

	serve(worker, k);
	kthread_detach(worker, k);
	return 0;
}

/* ---- small ones ---- */

struct kthread_worker *kthread_work_worker(struct kthread_work *work)
{
	return worker_of(load_relaxed(&work->state));
}

bool kthread_work_pending(struct kthread_work *work)
{
	return work && (load_relaxed(&work->state) & PENDING);
}

unsigned int kthread_work_busy(struct kthread_work *work)
{
	struct kthread_worker *worker;
	unsigned int busy = 0;
	uint64_t deadline;
	uintptr_t state;

	if (!work)
		return 0;
	state = load_acquire(&work->state); /* claim */
	worker = worker_of(state);
	if (state & BLOCKED)
		busy |= KTHREAD_WORK_REFUSED;
	if (state & PENDING)
		busy |= KTHREAD_WORK_PENDING;
	if ((state & PENDING) && kthread_get_deadline(work, &deadline))
		busy |= KTHREAD_WORK_TIMED;
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
	return kthread_served;
}

struct kthread_work *kthread_current_work(void)
{
	return kthread_served ? load_relaxed(&kthread_served->current_work) : NULL;
}

void kthread_worker_set_trace(struct kthread_worker *worker, const struct kthread_trace *trace)
{
	store_release(&worker->trace, trace); /* trace */
}

bool kthread_worker_thread(struct kthread_worker *worker, pthread_t *thread, pid_t *tid)
{
	struct kthread *k;

	lock_worker(worker);
	k = load_relaxed(&worker->task);
	if (k && thread)
		*thread = k->self;
	if (k && tid)
		*tid = k->tid;
	unlock_worker(worker);
	return k != NULL;
}

void kthread_worker_get_stats(struct kthread_worker *worker, struct kthread_worker_stats *stats)
{
	lock_worker(worker);
	list_inbox_locked(worker);
	stats->queued = worker->queued;
	stats->executed = worker->executed;
	stats->pending = worker->listed;
	stats->cancelled = worker->cancelled;
	stats->delayed = worker->timers.count;
	stats->missed = worker->missed;
	unlock_worker(worker);
	stats->sleeps = load_relaxed(&worker->sleeps);
	stats->poll_hits = load_relaxed(&worker->poll_hits);
}

bool kthread_worker_freezing(struct kthread_worker *worker)
{
	return load_relaxed(&worker->flags) & FREEZE;
}
