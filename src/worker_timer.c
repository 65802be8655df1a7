/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * worker_timer.c - delayed and periodic works. See worker_internal.h.
 *
 * A delayed work is claimed as any other, but under the worker's lock, and put among the
 * timers instead of pushed. The worker's thread lists those whose time has come before it
 * takes the next work off the list, and sleeps no longer than until the next one.
 *
 * A periodic work is armed anew as its run begins: from then on the worker does not touch
 * a work, since its callback may free it. Its pending state passes from one run to the
 * next without a moment between, in which somebody else could claim it.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "worker_internal.h"

/* So many timers are listed at a time: others want the lock as well. */
#define EXPIRE_BATCH 64

/* ---- under lock ---- */

uint64_t kthread_next_timer_locked(struct kthread_worker *worker)
{
	const struct kthread_timer *timer = timers_earliest(&worker->timers);

	/* When it is closed they are dropped, not run. */
	return timer && !(load_relaxed(&worker->flags) & CLOSING) ? timer->deadline : UINT64_MAX;
}

void kthread_expire_timers_locked(struct kthread_worker *worker)
{
	uint64_t next = kthread_next_timer_locked(worker), now;

	if (next == UINT64_MAX)
		return;
	now = park_clock_ns();
	for (int i = 0; i < EXPIRE_BATCH && next <= now; i++) {
		struct kthread_work *work = kthread_timed_work(timers_earliest(&worker->timers));

		kthread_disarm_locked(worker, work);
		kthread_append_locked(worker, work);
		next = kthread_next_timer_locked(worker);
	}
}

static void arm_locked(struct kthread_worker *worker, struct kthread_work *work, uint64_t deadline)
{
	work->place = TIMED;
	delayed(work)->timer.deadline = deadline;
	timers_arm(&worker->timers, &delayed(work)->timer);
}

void kthread_disarm_locked(struct kthread_worker *worker, struct kthread_work *work)
{
	timers_disarm(&worker->timers, &delayed(work)->timer);
	work->place = NOWHERE;
}

bool kthread_rearm_locked(struct kthread_worker *worker, struct kthread_work *work)
{
	struct kthread_delayed_work *dwork = delayed(work);
	uint64_t deadline = dwork->timer.deadline, skipped, now;

	if (!dwork->period || (load_relaxed(&worker->flags) & CLOSING))
		return false;
	now = park_clock_ns();
	skipped = now > deadline ? (now - deadline) / dwork->period : 0;
	store_relaxed(&dwork->missed, load_relaxed(&dwork->missed) + skipped);
	worker->missed += skipped;
	arm_locked(worker, work, later_by(deadline, (skipped + 1) * dwork->period));
	return true;
}

/*
 * Put it on the list, or among the timers, and have the worker know. It is pending, and
 * nowhere.
 */
static void place_locked(struct kthread_worker *worker, struct kthread_work *work,
			 uint64_t deadline, bool timed)
{
	delayed(work)->timer.deadline = deadline; /* a periodic one counts from here */
	if (timed) {
		arm_locked(worker, work, deadline);
		kthread_look_by_locked(worker, deadline);
	} else {
		kthread_append_locked(worker, work);
		kthread_look_by_locked(worker, 0);
	}
}

/* Why nothing can be queued now; 0: it can. Under lock. */
static int refusal_locked(struct kthread_worker *worker)
{
	uint32_t claims = load_relaxed(&worker->claims[0]);

	return gates_are_open(claims) ? 0 : kthread_gate_refusal(worker, claims);
}

/* ---- queue ---- */

static bool are_usable(struct kthread_worker *worker, struct kthread_delayed_work *dwork)
{
	return worker && dwork && dwork->work.func && dwork->work.kind == KTHREAD_WORK_DELAYED;
}

static int queue(struct kthread_worker *worker, struct kthread_delayed_work *dwork,
		 uint64_t deadline, bool timed, uint64_t period_ns)
{
	int result;

	lock_worker(worker);
	result = refusal_locked(worker);
	if (!result)
		result = kthread_claim(worker, &dwork->work);
	if (result > 0) {
		dwork->period = period_ns;
		store_relaxed(&dwork->missed, 0);
		place_locked(worker, &dwork->work, deadline, timed);
	}
	unlock_worker(worker);
	return result;
}

int kthread_queue_delayed_work_status(struct kthread_worker *worker,
				      struct kthread_delayed_work *dwork, uint64_t delay_ns)
{
	if (!are_usable(worker, dwork))
		return -EINVAL;
	if (!delay_ns)
		return kthread_queue_work_status(worker, &dwork->work);
	return queue(worker, dwork, park_deadline(delay_ns), true, 0);
}

int kthread_queue_delayed_work_at(struct kthread_worker *worker,
				  struct kthread_delayed_work *dwork, uint64_t moment_ns)
{
	if (!are_usable(worker, dwork))
		return -EINVAL;
	return queue(worker, dwork, moment_ns, moment_ns > park_clock_ns(), 0);
}

bool kthread_queue_delayed_work(struct kthread_worker *worker,
				struct kthread_delayed_work *dwork, uint64_t delay_ns)
{
	return with_errno(kthread_queue_delayed_work_status(worker, dwork, delay_ns));
}

int kthread_queue_periodic_work_status(struct kthread_worker *worker,
				       struct kthread_delayed_work *dwork, uint64_t delay_ns,
				       uint64_t period_ns)
{
	if (!are_usable(worker, dwork) || !period_ns)
		return -EINVAL;
	return queue(worker, dwork, park_deadline(delay_ns), delay_ns != 0, period_ns);
}

bool kthread_queue_periodic_work(struct kthread_worker *worker,
				 struct kthread_delayed_work *dwork, uint64_t delay_ns,
				 uint64_t period_ns)
{
	return with_errno(kthread_queue_periodic_work_status(worker, dwork, delay_ns, period_ns));
}

/* ---- modify ---- */

/*
 * It was blocked: by a cancel under way, or only disabled? Returns -EAGAIN when it is neither
 * any more: "refused" would have the caller think that it was not pending, and now is.
 */
static int blocked_status(struct kthread_work *work)
{
	int result = -EAGAIN;

	kthread_lock_global();
	if (work->cancelling)
		result = 1;
	else if (work->disabled)
		result = -ECANCELED;
	kthread_unlock_global();
	return result;
}

/*
 * Returns as kthread_mod_delayed_work_status, or -EAGAIN: it is claimed and has no place
 * yet; -ECANCELED: blocked.
 */
static int modify_locked(struct kthread_worker *worker, struct kthread_work *work,
			 uint64_t delay_ns)
{
	int result = kthread_claim(worker, work);

	if (!MENDED(MOD_HEEDS_CANCEL) && result == -ECANCELED)
		result = !(fetch_or_relaxed(&work->state, PENDING) & PENDING);
	if (!result) {
		/* Pending here: no run begins, and nothing is dropped, while the lock is held. */
		if (!is_pending_on(work, worker))
			return -EAGAIN;
		if (!has_place_locked(worker, work))
			return -EAGAIN;
		take_off_locked(worker, work);
	} else if (result < 0) {
		return result;
	}
	place_locked(worker, work, park_deadline(delay_ns), delay_ns != 0);
	return !result;
}

int kthread_mod_delayed_work_status(struct kthread_worker *worker,
				    struct kthread_delayed_work *dwork, uint64_t delay_ns)
{
	int result;

	if (!are_usable(worker, dwork))
		return -EINVAL;
	for (;;) {
		bool unsettled = false;

		lock_worker(worker);
		result = refusal_locked(worker);
		if (!result) {
			result = modify_locked(worker, &dwork->work, delay_ns);
			unsettled = result == -EAGAIN;
		}
		unlock_worker(worker);
		if (result == -ECANCELED) {
			result = blocked_status(&dwork->work);
			unsettled = result == -EAGAIN;
		}
		if (!unsettled)
			break;
		kthread_wait_for_claims(worker, UINT64_MAX);
	}
	/* What has left the list is waited for no more by who flushes the worker. */
	if (result > 0)
		kthread_tell_flushers_of_dropped(worker);
	return MENDED(MOD_RETURNS_PENDING) || result < 0 ? result : !result;
}

bool kthread_mod_delayed_work(struct kthread_worker *worker, struct kthread_delayed_work *dwork,
			      uint64_t delay_ns)
{
	int result = kthread_mod_delayed_work_status(worker, dwork, delay_ns);

	/* Of a disabled work too: false with errno kept is to say that it is queued. */
	if (result < 0)
		errno = -result;
	return result > 0;
}

/* ---- cutting short and dropping ---- */

void kthread_cut_timer_short_locked(struct kthread_worker *worker, struct kthread_work *work)
{
	if (work->place != TIMED || (load_relaxed(&worker->flags) & (CLOSING | FORKED)))
		return;
	kthread_disarm_locked(worker, work);
	kthread_append_locked(worker, work);
	kthread_look_by_locked(worker, 0);
}

void kthread_drop_timers(struct kthread_worker *worker)
{
	for (;;) {
		kthread_work_func_t func = NULL;
		struct kthread_timer *timer;

		lock_worker(worker);
		/* Closed still: a destruction that was faster may have given it to others. */
		timer = load_relaxed(&worker->flags) & CLOSING ?
			timers_earliest(&worker->timers) : NULL;
		if (timer) {
			func = kthread_timed_work(timer)->func;
			kthread_drop_locked(worker, kthread_timed_work(timer));
		}
		unlock_worker(worker);
		if (!timer)
			break;
		kthread_tell_dropped(worker, kthread_timed_work(timer), func);
	}
	kthread_tell_flushers_of_dropped(worker);
}

/* ---- what they say of themselves ---- */

bool kthread_get_deadline(struct kthread_work *work, uint64_t *deadline)
{
	uintptr_t state = load_acquire(&work->state); /* claim */
	struct kthread_worker *worker = worker_of(state);
	bool timed;

	if (!(state & PENDING) || work->kind != KTHREAD_WORK_DELAYED)
		return false;
	lock_worker(worker);
	timed = is_pending_on(work, worker) && work->place == TIMED;
	if (timed)
		*deadline = delayed(work)->timer.deadline;
	unlock_worker(worker);
	return timed;
}

uint64_t kthread_delayed_work_remaining(struct kthread_delayed_work *dwork)
{
	uint64_t deadline, now;

	if (!dwork || !kthread_get_deadline(&dwork->work, &deadline) || deadline == UINT64_MAX)
		return KTHREAD_FOREVER;
	now = park_clock_ns();
	return deadline > now ? deadline - now : 0;
}

uint64_t kthread_delayed_work_missed(struct kthread_delayed_work *dwork)
{
	return dwork ? load_relaxed(&dwork->missed) : 0;
}

uint64_t kthread_worker_next_timer(struct kthread_worker *worker)
{
	uint64_t deadline;

	if (!worker)
		return KTHREAD_FOREVER;
	lock_worker(worker);
	deadline = kthread_next_timer_locked(worker);
	unlock_worker(worker);
	return deadline;
}
