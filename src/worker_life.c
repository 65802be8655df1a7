/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * worker_life.c - how a worker comes and goes. See worker_internal.h.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "worker_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* That many destroyed workers are kept from use. */
#define POOL_KEEPS 16

/* ---- lock ---- */

static pthread_mutex_t global_lock; /* of what kthread_lock_global says */
static pthread_once_t global_once = PTHREAD_ONCE_INIT;
static struct kthread_worker *registry; /* those that fork has to know of */
static struct kthread_worker *pool; /* destroyed ones; oldest last */
static struct kthread_worker *retired; /* destroyed ones that are never used again */

static void before_fork(void);
static void after_fork_parent(void);
static void after_fork_child(void);

static void init_global(void)
{
	kthread_mutex_init(&global_lock);
	pthread_atfork(before_fork, after_fork_parent, after_fork_child);
}

void kthread_lock_global(void)
{
	pthread_once(&global_once, init_global);
	pthread_mutex_lock(&global_lock);
}

void kthread_unlock_global(void)
{
	pthread_mutex_unlock(&global_lock);
}

void kthread_make_lock(struct kthread_worker *worker)
{
	kthread_lock_global();
	if (!load_relaxed(&worker->lock_ready)) {
		kthread_mutex_init(&worker->lock);
		kthread_mutex_init(&worker->attendance);
		store_release(&worker->lock_ready, 1); /* lock-init */
	}
	kthread_unlock_global();
}

/* ---- fork and pool ---- */

void kthread_register_locked(struct kthread_worker *worker)
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

void kthread_unregister_locked(struct kthread_worker *worker)
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

void kthread_lock_for_registry(struct kthread_worker *worker)
{
	if (!load_relaxed(&worker->lock_ready)) /* it was made under global_lock */
		kthread_make_lock(worker);
	kthread_lock_global();
	lock_worker(worker);
}

void kthread_unlock_for_registry(struct kthread_worker *worker)
{
	unlock_worker(worker);
	kthread_unlock_global();
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
 * In the child. A lock that inherits priority knows its owner by a thread id that the child
 * does not have.
 */
static void renew_locks(struct kthread_worker *worker)
{
	kthread_mutex_init(&worker->lock);
	kthread_mutex_init(&worker->attendance);
	store_relaxed(&worker->wanted, NOT_WANTED);
	store_relaxed(&worker->inside, 0); /* it may have been about to see that it is wanted */
	if (worker == kthread_served)
		pthread_mutex_lock(&worker->attendance);
}

/* Those who waited are in the parent process. */
static void forget_waiters(struct kthread_worker *worker)
{
	store_relaxed(&worker->flushing, 0);
	store_relaxed(&worker->awaited, 0);
	store_relaxed(&worker->watched, 0);
	worker->waiters = NULL;
	worker->drainers = 0;
}

/* A call that came too late to a destroyed one may have held its lock, or been counted. */
static void renew_destroyed(struct kthread_worker *worker)
{
	renew_locks(worker);
	for (int i = 0; i < 2; i++) {
		store_relaxed(&worker->claims[i], load_relaxed(&worker->claims[i]) & GATES);
		store_relaxed(&worker->ended[i], 0);
		worker->taken[i] = 0;
	}
	forget_waiters(worker);
}

static void renew_all_destroyed(struct kthread_worker *list)
{
	for (struct kthread_worker *w = list; w; w = w->registry_next)
		renew_destroyed(w);
}

/*
 * The threads are gone: the workers that they served, and those made to be served,
 * refuse from now on.
 */
static void after_fork_child(void)
{
	struct kthread_worker *served = kthread_served, *next;

	kthread_mutex_init(&global_lock);
	if (served && !served->registered) /* in a child of a child, below */
		renew_locks(served);
	kthread_end_cancels_of_others_locked();
	renew_all_destroyed(pool);
	renew_all_destroyed(retired);
	for (struct kthread_worker *w = registry; w; w = next) {
		next = w->registry_next;
		if (w->held == HELD_DEAD) {
			renew_destroyed(w);
			continue;
		}
		renew_locks(w);
		store_relaxed(&w->claims[0], GATE_FORKED | GATE_MADE);
		store_relaxed(&w->claims[1], GATE_FORKED | GATE_MADE);
		store_relaxed(&w->flags, FORKED);
		store_relaxed(&w->task, NULL);
		/* current_work stays: that run does not end here, and nobody may think it has. */
		store_relaxed(&w->sleep, AWAKE);
		forget_waiters(w);
		w->waits_for = NULL;
		w->freezers = 0;
		/* It may lie on the stack of a thread that is not here. */
		if (!w->allocated)
			kthread_unregister_locked(w);
	}
}

static bool is_on_a_list_locked(struct kthread_worker *worker, const struct kthread_work *work)
{
	list_inbox_locked(worker);
	for (const struct kthread_work *w = worker->work_list.first; w; w = w->next)
		if (w == work)
			return true;
	for (uint32_t n = worker->timers.count; n; n--)
		if (kthread_timed_work(timers_nth(&worker->timers, n)) == work)
			return true;
	return false;
}

bool kthread_is_known_pending(const struct kthread_work *work, const struct kthread_worker *worker)
{
	bool found = false;

	kthread_lock_global();
	for (struct kthread_worker *w = registry; w && !found; w = w->registry_next) {
		if (w != worker)
			continue;
		lock_worker(w);
		found = is_on_a_list_locked(w, work);
		unlock_worker(w);
	}
	kthread_unlock_global();
	return found;
}

/* ---- coming: create, start ---- */

int kthread_attach_refusal_locked(struct kthread_worker *worker)
{
	uint32_t flags = load_relaxed(&worker->flags);

	if (flags & FORKED)
		return -ESRCH;
	if (flags & (CLOSING | DEAD))
		return -ESHUTDOWN;
	return load_relaxed(&worker->task) ? -EBUSY : 0;
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

	kthread_lock_global();
	for (link = &pool; *link && (*link)->registry_next; link = &(*link)->registry_next)
		kept++;
	worker = kept < POOL_KEEPS ? NULL : *link;
	if (worker)
		*link = NULL;
	kthread_unlock_global();
	if (!worker)
		return NULL;
	lock_worker(worker);
	worker->queued = 0;
	worker->executed = 0;
	worker->cancelled = 0;
	worker->bound_cpu = -1;
	store_relaxed(&worker->trace, NULL);
	store_relaxed(&worker->sleeps, 0);
	store_relaxed(&worker->poll_hits, 0);
	worker->missed = 0;
	store_relaxed(&worker->poll_max_ns, KTHREAD_POLL_MAX_DEFAULT_NS);
	worker->poll_ns = 0;
	worker->ops = NULL;
	worker->data = NULL;
	store_relaxed(&worker->flags, 0);
	fetch_and_release(&worker->claims[0], ~(uint32_t)(GATES & ~GATE_MADE)); /* gate */
	fetch_and_release(&worker->claims[1], ~(uint32_t)(GATES & ~GATE_MADE)); /* gate */
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
	kthread_lock_global();
	kthread_register_locked(worker);
	kthread_unlock_global();
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
	char *name = NULL, cpu[12];
	int result;

	kthread_note_refused(NULL);
	if (!is_made(worker))
		return -EINVAL;
	if (attr)
		named = *attr;
	if (worker->bound_cpu >= 0 && !named.cpus) {
		snprintf(cpu, sizeof(cpu), "%d", (int)worker->bound_cpu);
		named.cpus = cpu;
	}
	lock_worker(worker);
	result = kthread_attach_refusal_locked(worker);
	/* A copy: a destruction at the same time frees the original. */
	if (!result && !named.name && worker->name) {
		name = strdup(worker->name);
		if (!name)
			result = -ENOMEM;
		named.name = name;
	}
	unlock_worker(worker);
	if (result)
		return result;
	join_left_thread(worker);
	if (!kthread_run_setup(kthread_owned_thread, worker, &named, kthread_attach_owned))
		result = -errno;
	free(name);
	return result;
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
	if (MENDED(START_TAKEN_BACK))
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

/*
 * The name of a worker that is bound to a CPU. Of printf's formats it knows those that can
 * mean the CPU's number, so that nothing else is read for one. NULL with errno.
 */
static char *name_with_cpu(const char *namefmt, int cpu)
{
	char number[12], *name, *end;
	size_t length = 1;

	snprintf(number, sizeof(number), "%d", cpu);
	for (const char *c = namefmt; *c; c++) {
		length += strlen(number);
		if (*c == '%' && (!*++c || !strchr("%udi", *c))) {
			errno = EINVAL;
			return NULL;
		}
	}
	name = end = malloc(length);
	for (const char *c = namefmt; name && *c; c++) {
		if (*c != '%' || *++c == '%')
			*end++ = *c;
		else
			end = stpcpy(end, number);
	}
	if (name)
		*end = '\0';
	return name;
}

struct kthread_worker *kthread_create_worker_on_cpu(int cpu, unsigned int flags,
						    const char *namefmt)
{
	struct kthread_worker *worker;
	char *name;

	if (!namefmt || (flags & ~KTW_FREEZABLE) || cpu < 0 ||
	    cpu >= sysconf(_SC_NPROCESSORS_CONF)) {
		errno = EINVAL;
		return NULL;
	}
	name = name_with_cpu(namefmt, cpu);
	if (!name)
		return NULL;
	worker = allocate_worker(name);
	if (worker)
		worker->bound_cpu = cpu;
	return worker;
}

struct kthread_worker *kthread_run_worker_on_cpu(int cpu, unsigned int flags,
						 const char *namefmt)
{
	return started(kthread_create_worker_on_cpu(cpu, flags, namefmt), NULL);
}

struct kthread_worker *kthread_run_worker_attr(const struct kthread_attr *attr)
{
	return started(kthread_create_worker(0, "%s", attr && attr->name ? attr->name : "kthread"),
		       attr);
}

/* ---- going: stop, freeze, destroy ---- */

/*
 * Change flags under lock, and have the worker look. What they stand for is under lock
 * as well: the flags themselves need no order but that of the poke.
 */
static void change_flags_locked(struct kthread_worker *worker, uint32_t set, uint32_t clear)
{
	fetch_or_relaxed(&worker->flags, set);
	fetch_and_relaxed(&worker->flags, ~clear);
	kthread_poke_worker(worker);
}

/* That thread is gone; another may have come. */
static bool has_left(const struct kthread_wait *wait)
{
	struct kthread_worker *worker = wait->worker;
	bool left;

	lock_worker(worker);
	left = !load_relaxed(&worker->task) || worker->attached != wait->number;
	unlock_worker(worker);
	return left;
}

/* Ask the attached thread, if there is one, to leave; thaw and unpark it for that. Under lock. */
static void ask_to_leave_locked(struct kthread_worker *worker, uint32_t how)
{
	struct kthread *k = load_relaxed(&worker->task);

	change_flags_locked(worker, how, FREEZE | RESTING);
	if (k) {
		kthread_ask(k, true);
		kthread_thaw(k);
		kthread_unpark(k);
	}
	kthread_tell_waiters(worker); /* a freeze that was waited for is off */
}

/* @number: of the thread that is meant; another that came meanwhile is not. */
static void ask_to_stop(struct kthread_worker *worker, uint32_t number)
{
	lock_worker(worker);
	if (load_relaxed(&worker->task) && worker->attached == number)
		ask_to_leave_locked(worker, STOP);
	unlock_worker(worker);
}

static int stop_worker(struct kthread_worker *worker, uint64_t timeout_ns, bool interruptible)
{
	struct kthread_wait wait = { .worker = worker, .reached = has_left };
	uint64_t deadline;
	int result;

	if (!is_made(worker))
		return -EINVAL;
	lock_worker(worker);
	wait.number = worker->attached;
	unlock_worker(worker);
	if (kthread_served == worker) {
		ask_to_stop(worker, wait.number);
		return 0;
	}
	deadline = park_deadline(timeout_ns);
	result = kthread_wait_begin(&wait);
	if (result)
		return result;
	ask_to_stop(worker, wait.number);
	result = kthread_sleep_until_over(&wait, deadline, interruptible);
	kthread_wait_end(&wait);
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

static bool rests(const struct kthread_wait *wait)
{
	struct kthread_worker *worker = wait->worker;
	bool reached;

	lock_worker(worker);
	reached = (load_relaxed(&worker->flags) & RESTING) || !load_relaxed(&worker->task);
	unlock_worker(worker);
	return reached;
}

/* A thaw by another thread ends the wait as well. */
static bool rests_or_is_thawed(const struct kthread_wait *wait)
{
	return rests(wait) || !(load_relaxed(&wait->worker->flags) & FREEZE);
}

static void thaw_locked(struct kthread_worker *worker)
{
	if (!(load_relaxed(&worker->flags) & FREEZE))
		return;
	change_flags_locked(worker, 0, FREEZE | RESTING);
	kthread_tell_waiters(worker);
}

static int freeze_worker(struct kthread_worker *worker, uint64_t timeout_ns, bool interruptible)
{
	struct kthread_wait wait = { .worker = worker, .reached = rests };
	struct kthread_wait sleep = { .worker = worker, .reached = rests_or_is_thawed };
	uint64_t deadline;
	uint32_t before;
	int result;

	if (!is_made(worker))
		return -EINVAL;
	if (kthread_served == worker)
		return -EDEADLK;
	result = kthread_wait_begin(&wait);
	if (result)
		return result;
	deadline = park_deadline(timeout_ns);
	lock_worker(worker);
	before = load_relaxed(&worker->flags);
	if (before & FORKED)
		result = -ESRCH;
	else if (before & (CLOSING | DEAD))
		result = -ESHUTDOWN;
	if (!result && !(before & FREEZE)) {
		change_flags_locked(worker, FREEZE, 0);
		worker->freeze_stands = 0;
	}
	if (!result)
		worker->freezers++;
	unlock_worker(worker);
	if (!result) {
		result = kthread_sleep_until_over(&sleep, deadline, interruptible);
		lock_worker(worker);
		worker->freezers--;
		if (!result)
			worker->freeze_stands = 1;
		else if (!worker->freezers && !worker->freeze_stands)
			thaw_locked(worker);
		unlock_worker(worker);
	}
	kthread_wait_end(&wait);
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

void kthread_unpark_worker(struct kthread_worker *worker)
{
	struct kthread *k;

	if (!is_made(worker))
		return;
	lock_worker(worker);
	k = load_relaxed(&worker->task);
	if (k)
		kthread_unpark(k);
	unlock_worker(worker);
}

void kthread_thaw_worker(struct kthread_worker *worker)
{
	if (!is_made(worker))
		return;
	lock_worker(worker);
	thaw_locked(worker);
	unlock_worker(worker);
}

void kthread_tell_dropped(struct kthread_worker *worker, struct kthread_work *work,
			  kthread_work_func_t func)
{
	if (worker->ops && worker->ops->dropped)
		worker->ops->dropped(worker, work, func);
}

/* What is listed becomes idle without having run. */
static void drop_all(struct kthread_worker *worker)
{
	for (;;) {
		kthread_work_func_t func = NULL;
		struct kthread_work *work;

		lock_worker(worker);
		kthread_take_inbox_locked(worker);
		work = worker->work_list.first;
		if (work) {
			func = work->func;
			kthread_drop_locked(worker, work);
		}
		unlock_worker(worker);
		if (!work)
			break;
		kthread_tell_dropped(worker, work, func);
	}
	kthread_tell_flushers_of_dropped(worker);
}

/*
 * A work that was being queued on a worker when fork left that behind stays pending there: who
 * cancels it has to find the worker FORKED, to know that nobody pushes it.
 */
static void put_into_pool(struct kthread_worker *worker)
{
	struct kthread_worker **list =
		load_relaxed(&worker->flags) & FORKED ? &retired : &pool;

	kthread_lock_global();
	worker->registry_next = *list;
	*list = worker;
	kthread_unlock_global();
}

void kthread_hold_worker(struct kthread_worker *worker)
{
	lock_worker(worker);
	worker->held = HELD;
	unlock_worker(worker);
}

void kthread_release_worker(struct kthread_worker *worker)
{
	bool dead;

	kthread_lock_for_registry(worker);
	dead = worker->held == HELD_DEAD;
	worker->held = NOT_HELD;
	if (dead)
		kthread_unregister_locked(worker);
	kthread_unlock_for_registry(worker);
	if (dead)
		put_into_pool(worker);
}

/* No thread is attached, none can come, nothing can be queued. */
static void bury(struct kthread_worker *worker, uint32_t life)
{
	char *name;
	bool mine, held;

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
	store_relaxed(&worker->current_work, NULL); /* in a forked child it may be left */
	kthread_end_loop(worker);
	if (MENDED(DESTROY_DISARMS))
		kthread_drop_timers(worker);
	drop_all(worker);
	kthread_lock_for_registry(worker);
	held = worker->allocated && worker->held;
	if (held) /* it stays registered: late calls are made to it, also while the process forks */
		worker->held = HELD_DEAD;
	else
		kthread_unregister_locked(worker);
	name = worker->name;
	worker->name = NULL;
	kthread_unlock_for_registry(worker);
	free(name);
	if (worker->allocated && !held)
		put_into_pool(worker);
}

/* No thread, and no producer that will push yet; or it is over, and may live anew. */
static bool has_ended(const struct kthread_wait *wait)
{
	struct kthread_worker *worker = wait->worker;
	bool ended;

	lock_worker(worker);
	ended = worker->life != wait->number;
	if (!ended && !load_relaxed(&worker->task)) {
		kthread_take_inbox_locked(worker);
		ended = !has_claims_locked(worker);
	}
	unlock_worker(worker);
	return ended;
}

static void close_locked(struct kthread_worker *worker)
{
	if (load_relaxed(&worker->flags) & (CLOSING | DEAD))
		return;
	fetch_or_relaxed(&worker->claims[0], GATE_CLOSED);
	fetch_or_relaxed(&worker->claims[1], GATE_CLOSED);
	ask_to_leave_locked(worker, CLOSING);
}

void kthread_close_worker(struct kthread_worker *worker)
{
	if (!is_made(worker))
		return;
	lock_worker(worker);
	close_locked(worker);
	unlock_worker(worker);
	if (MENDED(DESTROY_DISARMS))
		kthread_drop_timers(worker);
}

void kthread_abandon_worker(struct kthread_worker *worker)
{
	if (!is_made(worker))
		return;
	lock_worker(worker);
	/* First: a thread that saw it closed, and no more, would begin with what is listed. */
	if (load_relaxed(&worker->task))
		ask_to_leave_locked(worker, STOP);
	close_locked(worker);
	unlock_worker(worker);
	kthread_drop_timers(worker);
	drop_all(worker);
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
	if (!is_made(worker))
		return -EINVAL;
	if (kthread_served == worker)
		return -EDEADLK;
	deadline = park_deadline(timeout_ns);
	lock_worker(worker);
	wait.number = life = worker->life;
	unlock_worker(worker);
	result = kthread_wait_begin(&wait);
	if (result)
		return result;
	lock_worker(worker);
	dead = (load_relaxed(&worker->flags) & DEAD) || worker->life != life;
	if (!dead)
		close_locked(worker);
	unlock_worker(worker);
	if (!dead && MENDED(DESTROY_DISARMS))
		kthread_drop_timers(worker);
	if (!dead)
		result = kthread_sleep_until_over(&wait, deadline, interruptible);
	kthread_wait_end(&wait);
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
