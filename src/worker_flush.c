/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * worker_flush.c - waiting for works and workers: flush, drain. See worker_internal.h.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "worker_internal.h"

/* How often a flush of the worker looks for a moment without a claim before it waits for one. */
#ifndef CLAIM_LOOKS
#define CLAIM_LOOKS 100
#endif

/* ---- waiting, and deadlock ---- */

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

static bool flush_reached(const struct kthread_flush *flush);

static bool wait_is_over(const struct kthread_wait *wait)
{
	return wait->flush ? flush_reached(wait->flush) : wait->reached(wait);
}

int kthread_wait_begin(struct kthread_wait *wait)
{
	struct kthread_worker *me = kthread_served, *w = wait->worker;
	int result = 0;

	if (!me)
		return 0;
	kthread_lock_global();
	while (w != me && w->waits_for && !wait_is_over(w->waits_for))
		w = w->waits_for->worker;
	if (w == me && !wait_is_over(wait) && (MENDED(OWN_FLUSH) || wait->worker != me)) {
		result = -EDEADLK;
	} else {
		wait->outer = me->waits_for;
		me->waits_for = wait;
	}
	kthread_unlock_global();
	return result;
}

void kthread_wait_end(const struct kthread_wait *wait)
{
	struct kthread_wait *inner;

	if (!kthread_served)
		return;
	kthread_lock_global();
	inner = kthread_served->waits_for;
	if (inner == wait) {
		kthread_served->waits_for = wait->outer;
	} else {
		/* Calls in steps may end in any order. */
		while (inner && inner->outer != wait)
			inner = inner->outer;
		if (inner)
			inner->outer = wait->outer;
	}
	kthread_unlock_global();
}

int kthread_sleep_until_over(const struct kthread_wait *wait, uint64_t deadline, bool interruptible)
{
	int result;

	fetch_add_relaxed(&wait->worker->flushing, 1);
	fetch_add_relaxed(&wait->worker->awaited, 1);
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
	fetch_sub_relaxed(&wait->worker->awaited, 1);
	fetch_sub_relaxed(&wait->worker->flushing, 1);
	return result;
}

/* ---- flush ---- */

/*
 * Note the run that is pending, else the last one begun. While started_seq stays the same,
 * state is of the same moment, or is about to follow it: then PARITY differs, and the run
 * seen pending has just got its number. Returns whether one is pending.
 */
static bool note_run(struct kthread_flush *flush, struct kthread_work *work)
{
	uint32_t started;
	uintptr_t state;

	do {
		started = load_acquire(&work->started_seq); /* F */
		state = load_acquire(&work->state); /* claim */
	} while (load_relaxed(&work->started_seq) != started);
	flush->worker = worker_of(state);
	flush->target = started;
	if (MENDED(NUMBER_AT_DEQUEUE) && (state & PENDING) && !(state & PARITY) == !(started & 1))
		flush->target++;
	return state & PENDING;
}

/*
 * The same of a delayed work whose run is pending, and cut its timer short. Both under one
 * lock: in between that run could begin, and its callback, or its period, arm the timer for
 * an hour, and that would be noted.
 */
static void note_run_and_cut_short(struct kthread_flush *flush, struct kthread_work *work)
{
	struct kthread_worker *worker;

	do {
		worker = flush->worker;
		lock_worker(worker);
		if (note_run(flush, work) && flush->worker == worker)
			kthread_cut_timer_short_locked(worker, work);
		unlock_worker(worker);
	} while (flush->worker != worker); /* it has moved */
}

static bool never(const struct kthread_wait *wait)
{
	(void)wait;
	return false;
}

/* Will a wait for the worker be refused? Then nothing is to change. */
static bool closes_a_circle(struct kthread_worker *worker)
{
	struct kthread_wait wait = { .worker = worker, .reached = never };

	if (kthread_served == worker || kthread_wait_begin(&wait))
		return true;
	kthread_wait_end(&wait);
	return false;
}

/* The timer was left, for a circle which the wait that has begun now does not close any more. */
static void cut_short_if_left(struct kthread_flush *flush)
{
	struct kthread_worker *worker = flush->worker;
	struct kthread_work *work = flush->work;

	if (!flush->left)
		return;
	flush->left = false;
	lock_worker(worker);
	if (is_pending_on(work, worker) && load_relaxed(&work->started_seq) + 1 == flush->target)
		kthread_cut_timer_short_locked(worker, work);
	unlock_worker(worker);
}

/* @sleeps: the wait to come does, so that it may be refused. */
static void begin_work(struct kthread_flush *flush, struct kthread_work *work, bool sleeps)
{
	flush->worker = NULL;
	flush->work = work;
	flush->sealed = true;
	flush->left = false;
	if (!work || !note_run(flush, work) || work->kind != KTHREAD_WORK_DELAYED ||
	    !MENDED(FLUSH_CUTS_TIMER))
		return;
	flush->left = sleeps && closes_a_circle(flush->worker);
	if (!flush->left)
		note_run_and_cut_short(flush, work);
}

void kthread_flush_begin_work(struct kthread_flush *flush, struct kthread_work *work)
{
	begin_work(flush, work, true);
}

/*
 * All that is listed now is of this epoch or an earlier one, and to be waited for. Unless @anyhow,
 * only when nothing is claimed that is not listed.
 */
static void seal(struct kthread_flush *flush, bool anyhow)
{
	struct kthread_worker *worker = flush->worker;

	lock_worker(worker);
	list_inbox_locked(worker);
	if (anyhow || !has_claims_locked(worker)) {
		flush->target = worker->epoch++;
		flush->sealed = true;
	}
	unlock_worker(worker);
}

void kthread_flush_begin_worker(struct kthread_flush *flush, struct kthread_worker *worker)
{
	flush->worker = is_made(worker) ? worker : NULL;
	flush->work = NULL;
	flush->sealed = false;
	flush->left = false;
	if (!flush->worker)
		return;
	/* A claim takes some nanoseconds, unless its thread is preempted just there. */
	seal(flush, false);
	for (int i = 0; i < CLAIM_LOOKS && !flush->sealed; i++) {
		cpu_relax();
		seal(flush, false);
	}
}

/* Which phases had a moment without a claim since the wait began. */
struct quiet_wait {
	bool begun, seen[2];
	uint32_t quiet[2];		/* as they were then */
};

/*
 * Has each phase had one? Newcomers are sent to the other phase, so that the one waited for
 * drains however many come; and back only when the other has drained as well, which others who
 * wait may have no other chance to see, and so is counted.
 */
static bool look_for_quiet(struct kthread_worker *worker, struct quiet_wait *wait)
{
	int phase, other;
	bool none[2];

	lock_worker(worker);
	list_inbox_locked(worker);
	for (int i = 0; i < 2; i++) {
		if (!wait->begun)
			wait->quiet[i] = worker->quiet[i];
		none[i] = !has_claims_in_locked(worker, i);
		wait->seen[i] = wait->seen[i] || none[i] || worker->quiet[i] != wait->quiet[i];
	}
	wait->begun = true;
	phase = (int)load_relaxed(&worker->phase);
	other = 1 - phase;
	if (!wait->seen[phase] && none[other]) {
		worker->quiet[other]++;
		store_relaxed(&worker->phase, (uint32_t)other);
	}
	unlock_worker(worker);
	return wait->seen[0] && wait->seen[1];
}

/*
 * Wait until each phase has had a moment without a claim: what was claimed before is
 * pushed then, or given back.
 */
int kthread_wait_for_claims(struct kthread_worker *worker, uint64_t deadline)
{
	struct quiet_wait wait = { .begun = false };
	int result = 0;

	fetch_add_relaxed(&worker->awaited, 1);
	fence_full(); /* flush-b0, pairs with park-b1 */
	for (;;) {
		uint32_t event = load_acquire(&worker->event); /* event */

		if (look_for_quiet(worker, &wait)) {
			result = 0;
			break;
		}
		if (result)
			break;
		result = sleep_on_event(worker, event, deadline);
	}
	fetch_sub_relaxed(&worker->awaited, 1);
	return result;
}

void kthread_wait_out_claims(struct kthread_worker *worker)
{
	while (kthread_wait_for_claims(worker, UINT64_MAX) == -EINTR)
		;
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

	if (!MENDED(FINISHED_NEEDS_NO_THAW) && kthread_worker_freezing(worker))
		return false;
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
	if (MENDED(WAITER_GONE))
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

	result = kthread_wait_begin(&wait);
	if (result)
		return result;
	cut_short_if_left(flush);
	result = sleep_on_flush(flush, until, deadline);
	kthread_wait_end(&wait);
	store_relaxed(&worker->flush_poll_ns,
		      kthread_next_window(window,
					  kthread_waited_ns(begin, load_relaxed(&worker->told_at)),
					  max_ns));
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
	if (!flush->sealed) {
		/* Works are claimed and not yet listed; someone may know that they are pending. */
		result = kthread_wait_for_claims(worker, deadline);
		if (!result)
			seal(flush, true);
	}
	if (!result && !flush_reached(flush)) {
		if (MENDED(OWN_FLUSH) && kthread_served == worker)
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

int kthread_flush_to_the_end(struct kthread_flush *flush, uint64_t timeout_ns)
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

	if (!work || !work->kind)
		return -EINVAL;
	kthread_flush_begin_work(&flush, work);
	return kthread_flush_to_the_end(&flush, timeout_ns);
}

int kthread_flush_work(struct kthread_work *work)
{
	return kthread_flush_work_timeout(work, KTHREAD_FOREVER);
}

int kthread_flush_delayed_work_timeout(struct kthread_delayed_work *dwork, uint64_t timeout_ns)
{
	return kthread_flush_work_timeout(dwork ? &dwork->work : NULL, timeout_ns);
}

int kthread_flush_delayed_work(struct kthread_delayed_work *dwork)
{
	return kthread_flush_delayed_work_timeout(dwork, KTHREAD_FOREVER);
}

int kthread_flush_worker_timeout(struct kthread_worker *worker, uint64_t timeout_ns)
{
	struct kthread_flush flush;

	if (!is_made(worker))
		return -EINVAL;
	kthread_flush_begin_worker(&flush, worker);
	return kthread_flush_to_the_end(&flush, timeout_ns);
}

int kthread_flush_worker(struct kthread_worker *worker)
{
	return kthread_flush_worker_timeout(worker, KTHREAD_FOREVER);
}

/* ---- watch ---- */

/*
 * Linked before the look, as one that is about to sleep: the worker finds it, or has ended the
 * run before and the look sees that.
 */
static int watch(struct kthread_watch *watch)
{
	struct kthread_worker *worker = watch->flush.worker;

	if (load_relaxed(&worker->flags) & FORKED)
		return kthread_watch_over(watch) ? 0 : -ESRCH;
	watch->waiter.flush = &watch->flush;
	fetch_add_relaxed(&worker->watched, 1);
	fetch_add_relaxed(&worker->flushing, 1);
	fence_full(); /* flush-b0, pairs with worker-b1 */
	link_waiter(worker, &watch->waiter);
	if (!kthread_watch_over(watch))
		return 1;
	kthread_watch_end(watch);
	return 0;
}

int kthread_watch_work(struct kthread_watch *w, struct kthread_work *work)
{
	begin_work(&w->flush, work, false);
	return w->flush.worker ? watch(w) : 0;
}

int kthread_watch_worker(struct kthread_watch *w, struct kthread_worker *worker)
{
	if (!is_made(worker))
		return -EINVAL;
	kthread_flush_begin_worker(&w->flush, worker);
	if (!w->flush.sealed) {
		kthread_wait_out_claims(worker);
		seal(&w->flush, true);
	}
	return watch(w);
}

bool kthread_watch_over(const struct kthread_watch *watch)
{
	bool over = flush_reached(&watch->flush);

	fence_acquire(&watch->flush.worker->current_work); /* flush-b1, pairs with worker-b0 */
	return over;
}

void kthread_watch_end(struct kthread_watch *watch)
{
	struct kthread_worker *worker = watch->flush.worker;

	if (load_relaxed(&worker->flags) & FORKED)
		return; /* fork has unlinked all */
	unlink_waiter(worker, &watch->waiter);
	fetch_sub_relaxed(&worker->flushing, 1);
	fetch_sub_relaxed(&worker->watched, 1);
}

/* ---- drain ---- */

/* Nothing is pending, nothing executes, nobody is about to push; or it is another worker now. */
static bool has_drained(const struct kthread_wait *wait)
{
	struct kthread_worker *worker = wait->worker;
	bool executes, drained;

	lock_worker(worker);
	/*
	 * The callback first: what it queued before it was seen gone is seen, and none begins
	 * while the lock is held. Then claims: who is seen gone has pushed.
	 */
	executes = load_relaxed(&worker->current_work);
	fence_acquire(&worker->current_work); /* flush-b1, pairs with worker-b0 */
	drained = worker->life != wait->number ||
		  (!executes && !has_claims_locked(worker) && !load_relaxed(&worker->inbox) &&
		   !worker->work_list.first);
	unlock_worker(worker);
	return drained;
}

static bool left_behind(struct kthread_drain *drain)
{
	return (load_relaxed(&drain->wait.worker->flags) & FORKED) && !has_drained(&drain->wait);
}

/*
 * Whoever drains shuts the gates, the last one opens them. Shut by each: if one drained this
 * worker in its earlier life, and has not ended yet, it is the first no more.
 */
int kthread_drain_begin(struct kthread_drain *drain, struct kthread_worker *worker)
{
	int result = 0;

	if (!is_made(worker))
		return -EINVAL;
	if (kthread_served == worker)
		return -EDEADLK;
	drain->wait = (struct kthread_wait){ .worker = worker, .reached = has_drained };
	lock_worker(worker);
	drain->wait.number = worker->life;
	unlock_worker(worker);
	if (left_behind(drain))
		return -ESRCH;
	result = kthread_wait_begin(&drain->wait);
	if (result)
		return result;
	lock_worker(worker);
	worker->drainers++;
	for (int i = 0; i < 2; i++)
		fetch_or_relaxed(&worker->claims[i], GATE_DRAINING);
	unlock_worker(worker);
	return 0;
}

static int wait_for_drain(struct kthread_drain *drain, uint64_t timeout_ns, bool interruptible)
{
	if (left_behind(drain))
		return -ESRCH;
	return kthread_sleep_until_over(&drain->wait, park_deadline(timeout_ns), interruptible);
}

int kthread_drain_wait(struct kthread_drain *drain, uint64_t timeout_ns)
{
	return wait_for_drain(drain, timeout_ns, true);
}

void kthread_drain_end(struct kthread_drain *drain)
{
	struct kthread_worker *worker = drain->wait.worker;

	lock_worker(worker);
	/* In a forked child nobody is counted. */
	if (worker->drainers && !--worker->drainers)
		for (int i = 0; i < 2; i++)
			fetch_and_relaxed(&worker->claims[i], ~(uint32_t)GATE_DRAINING);
	unlock_worker(worker);
	kthread_wait_end(&drain->wait);
}

static int drain_worker(struct kthread_worker *worker, uint64_t timeout_ns, bool interruptible)
{
	struct kthread_drain drain;
	int result = kthread_drain_begin(&drain, worker);

	if (result)
		return result;
	result = wait_for_drain(&drain, timeout_ns, interruptible);
	kthread_drain_end(&drain);
	return result;
}

int kthread_drain_worker_interruptible(struct kthread_worker *worker, uint64_t timeout_ns)
{
	return drain_worker(worker, timeout_ns, true);
}

int kthread_drain_worker_timeout(struct kthread_worker *worker, uint64_t timeout_ns)
{
	return drain_worker(worker, timeout_ns, false);
}

int kthread_drain_worker(struct kthread_worker *worker)
{
	return drain_worker(worker, KTHREAD_FOREVER, false);
}
