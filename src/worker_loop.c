/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * worker_loop.c - a worker on somebody else's thread, such as an event loop's. See
 * worker_internal.h.
 *
 * Between two calls of kthread_worker_run_pending the worker is UNATTENDED, which is what
 * ASLEEP is for a thread: the producer that finds it so, after its push and a full fence,
 * takes the state away and calls worker->wake, once. The pair is park.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "worker_internal.h"

#include <stdlib.h>
#include <unistd.h>

#ifdef __linux__
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#endif

/* What kthread_worker_fd made. */
struct kthread_loop {
	int epoll;	/* readable when one of the others is */
	int event;	/* eventfd: there is something to do */
	int timer;	/* timerfd: a timer has run out */
	uint64_t armed;	/* what timer is set to; UINT64_MAX: to nothing. Under the worker's lock */
};

/* ---- the descriptor ---- */

#ifdef __linux__

static void wake_fd(struct kthread_worker *worker)
{
	uint64_t one = 1;
	int saved = errno;

	/* It fails only when the counter is full, and then it is readable as well. */
	if (write(worker->loop->event, &one, sizeof(one)) < 0)
		errno = saved;
}

static void settle_fd(struct kthread_loop *loop)
{
	uint64_t count;
	int saved = errno;

	if (read(loop->event, &count, sizeof(count)) < 0)
		errno = saved; /* nothing was there */
}

static void set_timer(struct kthread_loop *loop, uint64_t deadline)
{
	struct itimerspec at = { .it_value = { 0, 0 } };

	if (deadline == loop->armed)
		return;
	if (deadline != UINT64_MAX) {
		at.it_value = park_timespec(deadline);
		if (!at.it_value.tv_sec && !at.it_value.tv_nsec)
			at.it_value.tv_nsec = 1; /* zero would disarm it */
	}
	timerfd_settime(loop->timer, TFD_TIMER_ABSTIME, &at, NULL);
	loop->armed = deadline;
}

static void close_loop(struct kthread_loop *loop)
{
	if (loop->epoll >= 0)
		close(loop->epoll);
	if (loop->event >= 0)
		close(loop->event);
	if (loop->timer >= 0)
		close(loop->timer);
	free(loop);
}

static bool watch(struct kthread_loop *loop, int fd)
{
	struct epoll_event event = { .events = EPOLLIN };

	return epoll_ctl(loop->epoll, EPOLL_CTL_ADD, fd, &event) == 0;
}

/* Returns NULL with errno. */
static struct kthread_loop *open_loop(void)
{
	struct kthread_loop *loop = malloc(sizeof(*loop));
	int error;

	if (!loop)
		return NULL;
	loop->epoll = epoll_create1(EPOLL_CLOEXEC);
	loop->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	loop->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	loop->armed = UINT64_MAX;
	if (loop->epoll >= 0 && loop->event >= 0 && loop->timer >= 0 && watch(loop, loop->event) &&
	    watch(loop, loop->timer))
		return loop;
	error = errno;
	close_loop(loop);
	errno = error;
	return NULL;
}

#else

static void settle_fd(struct kthread_loop *loop)
{
	(void)loop;
}

static void set_timer(struct kthread_loop *loop, uint64_t deadline)
{
	(void)loop, (void)deadline;
}

static void close_loop(struct kthread_loop *loop)
{
	(void)loop;
}

#endif

/* ---- unattended ---- */

/* Unless somebody was called already, who will set the timer. */
bool kthread_loop_looks_by_locked(struct kthread_worker *worker, uint64_t moment)
{
	if (!moment || !worker->loop || load_relaxed(&worker->sleep) != UNATTENDED)
		return false;
	set_timer(worker->loop, moment);
	return true;
}

/*
 * In a forked child nobody attends to it, and what its descriptor shows would be shown to the
 * parent.
 */
void kthread_leave_unattended_locked(struct kthread_worker *worker)
{
	bool limited = worker->limited, something;

	worker->limited = false;
	if (!load_relaxed(&worker->wake) || load_relaxed(&worker->task) ||
	    (load_relaxed(&worker->flags) & FORKED))
		return;
	worker->next_look = kthread_next_timer_locked(worker);
	if (worker->loop)
		set_timer(worker->loop, worker->next_look);
	/*
	 * Who has called run_pending asks for the next timer itself. After a thread, or for a new
	 * hook, nobody has. A frozen worker, or one that is closed, has nothing to do; a thaw pokes.
	 */
	something = worker->work_list.first ||
		    (!limited && !worker->loop && worker->next_look != UINT64_MAX);
	if (load_relaxed(&worker->flags) & (FREEZE | CLOSING | DEAD))
		something = false;
	store_relaxed(&worker->sleep, UNATTENDED);
	fence_full(); /* park-b0, pairs with park-b1 */
	/* Under lock: what it calls is closed by a destruction. */
	if (something || load_relaxed(&worker->inbox))
		kthread_wake_loop(worker);
}

static void leave_unattended(struct kthread_worker *worker)
{
	lock_worker(worker);
	kthread_leave_unattended_locked(worker);
	unlock_worker(worker);
}

/*
 * The hook is new, and shut in as a gate is: a producer either sees it, or is waited for. So what
 * is pushed by one that did not see it, and calls nobody, is found here.
 */
static void begin_unattended(struct kthread_worker *worker)
{
	for (int i = 0; i < 2; i++)
		fetch_add_release(&worker->claims[i], 0); /* gate */
	kthread_wait_out_claims(worker);
	leave_unattended(worker);
}

void kthread_quiet_loop(struct kthread_worker *worker)
{
	lock_worker(worker);
	if (worker->loop) {
		settle_fd(worker->loop);
		set_timer(worker->loop, UINT64_MAX);
	}
	unlock_worker(worker);
}

int kthread_worker_set_wake(struct kthread_worker *worker,
			    void (*wake)(struct kthread_worker *worker))
{
	struct kthread_loop *before = NULL;
	int result;

	if (!is_made(worker))
		return -EINVAL;
	lock_worker(worker);
	result = kthread_attach_refusal_locked(worker);
	if (!result) {
		store_relaxed(&worker->sleep, AWAKE);
		before = worker->loop;
		worker->loop = NULL;
		store_relaxed(&worker->wake, wake);
	}
	unlock_worker(worker);
	if (before)
		close_loop(before);
	if (!result)
		begin_unattended(worker);
	return result;
}

#ifdef __linux__

/* Of two that make one at once, the first one's holds. Returns its descriptor, or -errno. */
static int install_loop(struct kthread_worker *worker, struct kthread_loop **loop)
{
	int result;

	lock_worker(worker);
	result = kthread_attach_refusal_locked(worker);
	if (result == -EBUSY)
		result = 0; /* it shows nothing until the thread is gone */
	if (!result && !worker->loop && *loop) {
		if (!load_relaxed(&worker->task))
			store_relaxed(&worker->sleep, AWAKE);
		worker->loop = *loop;
		store_relaxed(&worker->wake, wake_fd);
		*loop = NULL;
	}
	if (!result && worker->loop)
		result = worker->loop->epoll;
	unlock_worker(worker);
	return result;
}

int kthread_worker_fd(struct kthread_worker *worker)
{
	struct kthread_loop *loop = NULL;
	int result;

	if (!is_made(worker))
		return -EINVAL;
	result = install_loop(worker, &loop); /* is there one? */
	if (result)
		return result;
	loop = open_loop();
	if (!loop)
		return -errno;
	result = install_loop(worker, &loop);
	if (loop)
		close_loop(loop);
	else
		begin_unattended(worker);
	return result;
}

#else

int kthread_worker_fd(struct kthread_worker *worker)
{
	return worker ? -ENOTSUP : -EINVAL;
}

#endif

void kthread_end_loop(struct kthread_worker *worker)
{
	struct kthread_loop *loop;

	lock_worker(worker);
	store_relaxed(&worker->sleep, AWAKE);
	loop = worker->loop;
	worker->loop = NULL;
	store_relaxed(&worker->wake, NULL);
	unlock_worker(worker);
	if (loop)
		close_loop(loop);
}

/* ---- run ---- */

/* Until the detach what is listed now, or due, may begin, and nothing that comes later. */
static uint64_t begin_round(struct kthread_worker *worker)
{
	uint64_t now = park_clock_ns(), executed;

	lock_worker(worker);
	if (worker->loop)
		settle_fd(worker->loop); /* before the look at what there is to do */
	kthread_take_inbox_locked(worker);
	while (kthread_next_timer_locked(worker) <= now) {
		kthread_expire_timers_locked(worker);
		/* Some at a time: others want the lock as well. */
		unlock_worker(worker);
		lock_worker(worker);
	}
	worker->last_epoch = worker->epoch++;
	worker->limited = true;
	executed = worker->executed;
	unlock_worker(worker);
	return executed;
}

int kthread_worker_run_pending(struct kthread_worker *worker)
{
	struct kthread adopted, *k;
	uint64_t before;
	int result;

	if (!is_made(worker))
		return -EINVAL;
	if (kthread_served)
		return -EBUSY;
	k = kthread_current_or(&adopted);
	result = kthread_attach(worker, k);
	if (!result) {
		kthread_enter(worker);
		before = begin_round(worker);
		while (!kthread_has_to_pause(worker, k) && kthread_run_one(worker))
			;
		result = (int)(worker->executed - before); /* ours to read while attached */
		kthread_leave(worker);
		if (load_relaxed(&worker->flags) & FORKED)
			result = -ESRCH;
		kthread_detach(worker, k);
	}
	if (k == &adopted)
		kthread_disown(k);
	return result;
}
