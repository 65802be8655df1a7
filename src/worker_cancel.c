/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * worker_cancel.c - cancel, disable, enable. See worker_internal.h.
 *
 * A cancel blocks the work first: from then on nobody can claim it, so what it names as
 * its worker stays. Then it takes the pending run off, wherever that is, and waits for
 * the run that executes, as a flush does. BLOCKED is in the word that a claim swaps, and
 * so needs no order of its own. Who blocks is counted under global_lock, since a work that
 * was never queued has no worker whose lock it could be.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "worker_internal.h"

/* ---- blocking ---- */

static struct kthread_cancel *cancels; /* those under way, for fork; under global_lock */

static void block(struct kthread_cancel *cancel)
{
	kthread_lock_global();
	cancel->thread = pthread_self();
	cancel->next = cancels;
	cancel->link = &cancels;
	if (cancel->next)
		cancel->next->link = &cancel->next;
	cancels = cancel;
	cancel->work->cancelling++;
	fetch_or_relaxed(&cancel->work->state, BLOCKED);
	kthread_unlock_global();
}

/* Under global_lock. */
static void unblock_unless_counted(struct kthread_work *work)
{
	if (!work->cancelling && !work->disabled)
		fetch_and_relaxed(&work->state, ~(uintptr_t)BLOCKED);
}

static void unblock_locked(struct kthread_cancel *cancel)
{
	*cancel->link = cancel->next;
	if (cancel->next)
		cancel->next->link = cancel->link;
	cancel->work->cancelling--;
	unblock_unless_counted(cancel->work);
}

static void unblock(struct kthread_cancel *cancel)
{
	kthread_lock_global();
	unblock_locked(cancel);
	kthread_unlock_global();
}

void kthread_end_cancels_of_others_locked(void)
{
	struct kthread_cancel *next;

	for (struct kthread_cancel *cancel = cancels; cancel; cancel = next) {
		next = cancel->next;
		if (!pthread_equal(cancel->thread, pthread_self()))
			unblock_locked(cancel);
	}
}

static bool is_work(const struct kthread_work *work)
{
	return work && work->kind;
}

/* ---- dropping ---- */

void kthread_drop_locked(struct kthread_worker *worker, struct kthread_work *work)
{
	take_off_locked(worker, work);
	worker->cancelled++;
	end_pending(work, false);
}

/*
 * It is pending on this worker. Returns false when it has no place there yet, and is about to
 * get one: of a worker that fork left behind it gets none, its producer not being here. Under
 * lock.
 */
static bool find_and_drop_locked(struct kthread_worker *worker, struct kthread_work *work)
{
	if (!has_place_locked(worker, work) && !(load_relaxed(&worker->flags) & FORKED))
		return false;
	kthread_drop_locked(worker, work);
	return true;
}

void kthread_tell_flushers_of_dropped(struct kthread_worker *worker)
{
	fence_full(); /* worker-b1, pairs with flush-b0 */
	if (MENDED(DROP_TELLS) && load_relaxed(&worker->flushing))
		kthread_tell_progress(worker);
}

/* Take the pending run of a work off, wherever it is, and make it idle. Was there one? */
static bool drop_pending(struct kthread_work *work)
{
	for (;;) {
		uintptr_t state = load_acquire(&work->state); /* claim */
		struct kthread_worker *worker = worker_of(state);
		bool pending, dropped;

		if (!(state & PENDING))
			return false;
		lock_worker(worker);
		pending = is_pending_on(work, worker);
		dropped = pending && find_and_drop_locked(worker, work);
		unlock_worker(worker);
		if (dropped) {
			kthread_tell_flushers_of_dropped(worker);
			return true;
		}
		/* Claimed by a producer that has not pushed it yet. */
		if (pending)
			kthread_wait_for_claims(worker, UINT64_MAX);
	}
}

bool kthread_cancel_work(struct kthread_work *work)
{
	if (!is_work(work)) {
		errno = EINVAL;
		return false;
	}
	return drop_pending(work);
}

/* ---- cancel in steps ---- */

static bool executes_no_more(const struct kthread_wait *wait)
{
	return load_relaxed(&wait->worker->current_work) != wait->work;
}

/*
 * A callback that cancels draws its arrow before anything has changed, and keeps it until
 * the end: a circle is found while the call can still be refused.
 */
int kthread_cancel_begin(struct kthread_cancel *cancel, struct kthread_work *work)
{
	struct kthread_worker *me = kthread_served, *worker;

	if (!is_work(work))
		return -EINVAL;
	*cancel = (struct kthread_cancel){ .work = work };
	block(cancel);
	worker = worker_of(load_acquire(&work->state)); /* claim */
	if (me && worker && worker != me) {
		cancel->wait.worker = worker;
		cancel->wait.reached = executes_no_more;
		cancel->wait.work = work;
		if (kthread_wait_begin(&cancel->wait)) {
			unblock(cancel);
			return -EDEADLK;
		}
		cancel->waits = true;
	}
	cancel->dropped = drop_pending(work);
	kthread_flush_begin_work(&cancel->flush, work);
	/* One of the worker's own callbacks calls: there is none to be waited for. */
	if (MENDED(OWN_CANCEL) && me && cancel->flush.worker == me)
		cancel->flush.worker = NULL;
	return 0;
}

int kthread_cancel_wait(struct kthread_cancel *cancel, uint64_t timeout_ns)
{
	return kthread_flush_wait(&cancel->flush, timeout_ns);
}

void kthread_cancel_end(struct kthread_cancel *cancel)
{
	if (cancel->waits)
		kthread_wait_end(&cancel->wait);
	unblock(cancel);
}

int kthread_cancel_end_disabled(struct kthread_cancel *cancel)
{
	bool room;

	kthread_lock_global();
	room = cancel->work->disabled < UINT16_MAX;
	if (room)
		cancel->work->disabled++;
	kthread_unlock_global();
	kthread_cancel_end(cancel);
	if (!room)
		kthread_warn("kthread_disable_work: the work is disabled too often");
	return room ? 0 : -EOVERFLOW;
}

/* ---- cancel and disable in one ---- */

static int cancel_sync(struct kthread_work *work, uint64_t timeout_ns, bool disable)
{
	struct kthread_cancel cancel;
	int result = kthread_cancel_begin(&cancel, work), overflow = 0;

	if (result)
		return result;
	result = kthread_flush_to_the_end(&cancel.flush, timeout_ns);
	if (disable)
		overflow = kthread_cancel_end_disabled(&cancel);
	else
		kthread_cancel_end(&cancel);
	if (!result)
		result = overflow;
	return result ? result : cancel.dropped;
}

int kthread_cancel_work_sync_timeout(struct kthread_work *work, uint64_t timeout_ns)
{
	return cancel_sync(work, timeout_ns, false);
}

bool kthread_cancel_work_sync(struct kthread_work *work)
{
	return with_errno(cancel_sync(work, KTHREAD_FOREVER, false));
}

int kthread_disable_work_sync_timeout(struct kthread_work *work, uint64_t timeout_ns)
{
	return cancel_sync(work, timeout_ns, true);
}

bool kthread_disable_work_sync(struct kthread_work *work)
{
	return with_errno(cancel_sync(work, KTHREAD_FOREVER, true));
}

bool kthread_enable_work(struct kthread_work *work)
{
	bool counted, enabled;

	if (!is_work(work)) {
		errno = EINVAL;
		return false;
	}
	kthread_lock_global();
	counted = work->disabled > 0;
	if (counted)
		work->disabled--;
	enabled = counted && !work->disabled;
	unblock_unless_counted(work);
	kthread_unlock_global();
	if (!counted) {
		kthread_warn("kthread_enable_work: the work is not disabled");
		errno = EINVAL;
	}
	return enabled;
}

/* ---- the same for delayed works ---- */

static struct kthread_work *work_in(struct kthread_delayed_work *dwork)
{
	return dwork ? &dwork->work : NULL;
}

bool kthread_cancel_delayed_work(struct kthread_delayed_work *dwork)
{
	return kthread_cancel_work(work_in(dwork));
}

bool kthread_cancel_delayed_work_sync(struct kthread_delayed_work *dwork)
{
	return kthread_cancel_work_sync(work_in(dwork));
}

int kthread_cancel_delayed_work_sync_timeout(struct kthread_delayed_work *dwork,
					     uint64_t timeout_ns)
{
	return kthread_cancel_work_sync_timeout(work_in(dwork), timeout_ns);
}
