/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * kthread.c - one thread: run, stop, sleep, freeze. See kthread.h; its attributes are in
 * kthread_attr.c.
 *
 * The pairs
 *
 *	request/act	every request sets a bit in flags and then changes the word that
 *			the thread may sleep on: wake (kthread_sleep), flags itself
 *			(try_to_freeze, kthread_parkme), or what poke changes (a served
 *			worker). The thread names the old value of that word to park_wait
 *			after it has looked at flags. Weaker, and a stop could come between the look and the
 *			sleep, which would then last for ever.
 *	rest		what the thread did before it rests is seen by who froze or parked
 *			it: rests_for is stored with release and read with acquire.
 *	hold		who lets go (release) has done with it before the last to let go
 *			(acquire) frees it.
 *	start		started is stored with release when tid and result are written, and
 *			read with acquire by the creator.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "kthread_internal.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/syscall.h>
#endif

#include "barrier.h"
#include "mends.h"
#include "park.h"

enum kthread_flags {
	STOP = 1u << 0,		/* kthread_stop was called */
	ASKED = 1u << 1,	/* kthread_should_stop is to say true all the same */
	FREEZE = 1u << 2,	/* a freeze is asked for */
	ENDED = 1u << 3,	/* its function has returned */
	PARK = 1u << 4,		/* a park is asked for */
	REQUEST = 1u << 8,	/* from here up: counts the requests, so that each changes the word */
};

enum wake_state {
	WAKE_NONE,	/* nobody sleeps, nobody woke */
	WAKE_ASLEEP,	/* in kthread_sleep */
	WAKE_TOKEN,	/* woken; the next sleep ends at once */
};

static _Thread_local struct kthread *current_kthread;

/* How many forks lie between the first process and this one. */
static _Atomic(uint32_t) fork_generation;

static pthread_once_t fork_once = PTHREAD_ONCE_INIT;

static void after_fork_child(void)
{
	fetch_add_relaxed(&fork_generation, 1);
}

static void watch_fork(void)
{
	pthread_atfork(NULL, NULL, after_fork_child);
}

bool kthread_orphaned(const struct kthread *k)
{
	return k->generation != load_relaxed(&fork_generation);
}

/* ---- warnings ---- */

static void warn_to_stderr(const char *message)
{
	fprintf(stderr, "kthread: %s\n", message);
}

static _Atomic(kthread_warn_func_t) warn_hook = warn_to_stderr;
static _Atomic(unsigned long) warnings;

kthread_warn_func_t kthread_set_warn_hook(kthread_warn_func_t hook)
{
	return exchange_relaxed(&warn_hook, hook ? hook : warn_to_stderr);
}

unsigned long kthread_warnings(void)
{
	return load_relaxed(&warnings);
}

void kthread_warn(const char *format, ...)
{
	char message[256];
	va_list args;

	va_start(args, format);
	vsnprintf(message, sizeof(message), format, args);
	va_end(args);
	fetch_add_relaxed(&warnings, 1);
	load_relaxed(&warn_hook)(message);
}

/* ---- what a thread is ---- */

void kthread_mutex_init(pthread_mutex_t *mutex)
{
	pthread_mutexattr_t attr;

	if (pthread_mutexattr_init(&attr) == 0) {
		if (MENDED(LOCKS_INHERIT))
			pthread_mutexattr_setprotocol(&attr, PTHREAD_PRIO_INHERIT);
		if (pthread_mutex_init(mutex, &attr) == 0) {
			pthread_mutexattr_destroy(&attr);
			return;
		}
		pthread_mutexattr_destroy(&attr);
	}
	pthread_mutex_init(mutex, NULL);
}

static pid_t system_thread_id(void)
{
#ifdef __linux__
	return (pid_t)syscall(SYS_gettid);
#else
	return getpid();
#endif
}

struct kthread *kthread_current(void)
{
	return current_kthread;
}

const char *kthread_name(const struct kthread *k)
{
	return k->name;
}

pid_t kthread_tid(const struct kthread *k)
{
	return k->tid;
}

kthread_func_t kthread_func(const struct kthread *k)
{
	return k->fn;
}

void *kthread_data(const struct kthread *k)
{
	return k->data;
}

static void init_kthread(struct kthread *k)
{
	pthread_once(&fork_once, watch_fork);
	memset(k, 0, sizeof(*k));
	kthread_mutex_init(&k->lock);
	k->generation = load_relaxed(&fork_generation);
}

void kthread_adopt(struct kthread *k, char *name)
{
	init_kthread(k);
	k->adopted = true;
	k->name = name;
	k->self = pthread_self();
	k->tid = system_thread_id();
	current_kthread = k;
}

void kthread_disown(struct kthread *k)
{
	current_kthread = NULL;
	if (!kthread_orphaned(k))
		pthread_mutex_destroy(&k->lock);
}

/* ---- the name that the system shows ---- */

/* The system keeps 15 bytes of a name; cut in front of a character, not in it. */
static void set_system_name(const char *name)
{
	char shown[16];
	size_t n = strnlen(name, sizeof(shown));

	if (n == sizeof(shown)) {
		n--;
		while (n > 0 && ((unsigned char)name[n] & 0xc0) == 0x80)
			n--;
	}
	memcpy(shown, name, n);
	shown[n] = '\0';
#ifdef __APPLE__
	pthread_setname_np(shown);
#else
	pthread_setname_np(pthread_self(), shown);
#endif
}

/* ---- run and stop ---- */

/* Set and clear flags, and count it. Returns what they were. */
static uint32_t request(struct kthread *k, uint32_t set, uint32_t clear)
{
	uint32_t old = load_relaxed(&k->flags);

	while (!cas_release(&k->flags, &old, ((old | set) & ~clear) + REQUEST)) /* request */
		;
	return old;
}

/* Something has changed that those in kthread_freeze wait for. */
static void tell_freezers(struct kthread *k)
{
	fetch_add_release(&k->rest_event, 1); /* rest */
	park_wake_all(&k->rest_event);
}

static void *thread_main(void *arg)
{
	struct kthread *k = arg;
	const struct kthread_attr *attr = k->attr;

	current_kthread = k;
	k->self = pthread_self();
	k->tid = system_thread_id();
	set_system_name(k->name);
	k->result = kthread_apply_attr(attr);
	if (k->result)
		k->refused = kthread_refused_attr();
	else if (k->setup)
		k->result = k->setup(k, k->data);
	if (k->result) {
		store_release(&k->started, 1); /* start */
		park_wake_all(&k->started);
		return NULL;
	}
	store_release(&k->started, 2); /* start */
	park_wake_all(&k->started);

	k->result = k->fn(k->data);
	request(k, ENDED, 0);
	tell_freezers(k); /* they need not wait on */
	return NULL;
}

/* Create the system's thread, with every signal blocked. */
static int create_thread(struct kthread *k)
{
	pthread_attr_t attr;
	pthread_t thread; /* not looked at: by now others may have joined it, by self */
	sigset_t all, old;
	int err;

	err = pthread_attr_init(&attr);
	if (err)
		return err;
	err = kthread_apply_stack_size(k->attr, &attr);
	if (!err) {
		sigfillset(&all);
		pthread_sigmask(SIG_SETMASK, &all, &old);
		err = pthread_create(&thread, &attr, thread_main, k);
		pthread_sigmask(SIG_SETMASK, &old, NULL);
	}
	pthread_attr_destroy(&attr);
	return err;
}

/* With a setup whoever it made the thread known to may stop it before its start is seen. */
static void free_kthread(struct kthread *k)
{
	if (fetch_sub_acq_rel(&k->holders, 1) != 1) /* hold */
		return;
	if (!kthread_orphaned(k))
		pthread_mutex_destroy(&k->lock);
	free(k->name);
	free(k);
}

struct kthread *kthread_run_setup(int (*fn)(void *), void *data,
				  const struct kthread_attr *attr,
				  int (*setup)(struct kthread *, void *))
{
	static const struct kthread_attr defaults = KTHREAD_ATTR_INIT;
	struct kthread *k;
	int err;

	if (!fn) {
		errno = EINVAL;
		return NULL;
	}
	kthread_note_refused(NULL);
	if (!attr)
		attr = &defaults;
	k = malloc(sizeof(*k));
	if (!k)
		return NULL;
	init_kthread(k);
	k->fn = fn;
	k->data = data;
	k->attr = attr;
	k->setup = setup;
	store_relaxed(&k->holders, 1);
	k->name = strdup(attr->name ? attr->name : "kthread");
	if (!k->name) {
		free_kthread(k);
		errno = ENOMEM;
		return NULL;
	}
	if (setup)
		store_relaxed(&k->holders, 2);
	err = create_thread(k);
	if (!err) {
		while (!load_acquire(&k->started)) /* start */
			park_wait(&k->started, 0, UINT64_MAX);
		if (load_relaxed(&k->started) == 2) {
			if (setup)
				free_kthread(k);
			return k;
		}
		pthread_join(k->self, NULL);
		err = -k->result;
		kthread_note_refused(k->refused);
	}
	store_relaxed(&k->holders, 1);
	free_kthread(k);
	errno = err;
	return NULL;
}

struct kthread *kthread_run_attr(int (*fn)(void *), void *data, const struct kthread_attr *attr)
{
	return kthread_run_setup(fn, data, attr, NULL);
}

struct kthread *kthread_run(int (*fn)(void *), void *data, const char *namefmt, ...)
{
	struct kthread_attr attr = KTHREAD_ATTR_INIT;
	struct kthread *k;
	char *name = NULL;
	va_list args;
	int length;

	if (!namefmt) {
		errno = EINVAL;
		return NULL;
	}
	va_start(args, namefmt);
	length = vasprintf(&name, namefmt, args);
	va_end(args);
	if (length < 0) {
		errno = ENOMEM;
		return NULL;
	}
	attr.name = name;
	k = kthread_run_setup(fn, data, &attr, NULL);
	free(name);
	return k;
}

/* Every request ends here: whatever the thread sleeps in, it looks again. */
static void poke(struct kthread *k)
{
	kthread_wake_up(k);
	park_wake_all(&k->flags);
	pthread_mutex_lock(&k->lock);
	if (k->poke)
		k->poke(k->poke_arg);
	pthread_mutex_unlock(&k->lock);
}

void kthread_serve(struct kthread *k, void (*poke_fn)(void *), void *arg)
{
	if (kthread_orphaned(k)) {
		k->poke = NULL;
		return;
	}
	pthread_mutex_lock(&k->lock);
	k->poke = poke_fn;
	k->poke_arg = arg;
	pthread_mutex_unlock(&k->lock);
}

int kthread_stop(struct kthread *k)
{
	int result;

	if (!k)
		return -EINVAL;
	if (k == current_kthread)
		return -EDEADLK;
	if (k->adopted) {
		kthread_warn("kthread_stop of a thread that kthread_run did not make");
		return -EINVAL;
	}
	if (kthread_orphaned(k)) {
		free_kthread(k);
		return -ESRCH;
	}
	request(k, STOP, 0);
	poke(k);
	pthread_join(k->self, NULL);
	result = k->result;
	free_kthread(k);
	return result;
}

bool kthread_has_ended(const struct kthread *k)
{
	return load_relaxed(&k->flags) & ENDED;
}

bool kthread_stop_requested(struct kthread *k)
{
	return load_relaxed(&k->flags) & STOP; /* what pokes is ordered */
}

bool kthread_should_stop(void)
{
	struct kthread *k = current_kthread;

	return k && (load_acquire(&k->flags) & (STOP | ASKED)); /* act */
}

void kthread_ask(struct kthread *k, bool asked)
{
	request(k, asked ? ASKED : 0, asked ? 0 : ASKED);
	if (asked)
		kthread_wake_up(k);
}

/* ---- sleep ---- */

void kthread_wake_up(struct kthread *k)
{
	if (exchange_release(&k->wake, WAKE_TOKEN) == WAKE_ASLEEP) /* request */
		park_wake_one(&k->wake);
}

/* Until a token comes, the time is over, or one of @requests stands. */
static int sleep_until(uint32_t requests, uint64_t timeout_ns)
{
	struct kthread *k = current_kthread;
	uint64_t deadline;
	int result = 0;

	if (!k)
		return -EINVAL;
	deadline = park_deadline(timeout_ns);
	while (result != -ETIMEDOUT) {
		uint32_t none = WAKE_NONE;

		if (load_relaxed(&k->flags) & requests)
			break;
		/* A token that a request left here since the look at flags ends the sleep. */
		if (!cas_strong_relaxed(&k->wake, &none, WAKE_ASLEEP))
			break;
		result = park_wait(&k->wake, WAKE_ASLEEP, deadline);
		if (exchange_acquire(&k->wake, WAKE_NONE) == WAKE_TOKEN) /* act */
			return 0;
	}
	exchange_acquire(&k->wake, WAKE_NONE); /* act */
	return result == -ETIMEDOUT ? result : 0;
}

int kthread_sleep(uint64_t timeout_ns)
{
	return sleep_until(STOP | ASKED | FREEZE | PARK, timeout_ns);
}

int kthread_wait_for_wake_up(uint64_t timeout_ns)
{
	return sleep_until(0, timeout_ns);
}

/* ---- freeze and park ---- */

/* Is one of @reasons, FREEZE or PARK, in effect for the calling thread k? Then say that it rests. */
static bool rests_for(struct kthread *k, uint32_t reasons)
{
	uint32_t flags = load_acquire(&k->flags); /* act */

	if (!(flags & reasons) || (flags & STOP))
		return false;
	/* Of the other reason it is not to be thought that it rests for it. */
	flags &= ~((FREEZE | PARK) & ~reasons);
	if (load_relaxed(&k->rests_for) != flags) {
		store_release(&k->rests_for, flags); /* rest */
		tell_freezers(k);
	}
	return true;
}

bool kthread_rests(struct kthread *k)
{
	return rests_for(k, FREEZE | PARK);
}

static bool rest_while(uint32_t reason)
{
	struct kthread *k = current_kthread;
	bool rested = false;

	while (k) {
		uint32_t flags = load_relaxed(&k->flags);

		if (!rests_for(k, reason))
			break;
		rested = true;
		park_wait(&k->flags, flags, UINT64_MAX);
	}
	return rested;
}

bool try_to_freeze(void)
{
	return rest_while(FREEZE);
}

void kthread_parkme(void)
{
	rest_while(PARK);
}

/*
 * Does it rest for the request that made flags what they were, or for a later one?
 * A rest for an earlier one does not count: that may have been thawed, and the thread
 * be about to go on.
 */
static bool rests_since(struct kthread *k, uint32_t flags, uint32_t reason)
{
	uint32_t seen = load_acquire(&k->rests_for); /* rest */

	return (seen & reason) && (int32_t)(seen / REQUEST * REQUEST - flags / REQUEST * REQUEST) >= 0;
}

static bool is_asked(struct kthread *k, uint32_t reason)
{
	return load_acquire(&k->flags) & reason; /* act */
}

bool freezing(struct kthread *k)
{
	return k && is_asked(k, FREEZE);
}

bool kthread_should_park(void)
{
	return current_kthread && is_asked(current_kthread, PARK);
}

/* Let it go on. */
static void withdraw(struct kthread *k, uint32_t reason)
{
	if (!k || !is_asked(k, reason) || kthread_orphaned(k))
		return;
	request(k, 0, reason);
	tell_freezers(k);
	poke(k);
}

void kthread_thaw(struct kthread *k)
{
	withdraw(k, FREEZE);
}

void kthread_unpark(struct kthread *k)
{
	withdraw(k, PARK);
}

/* Ask the thread, alive and not the calling one, to rest, and wait until it does or has ended. */
static int ask_to_rest(struct kthread *k, uint32_t reason, uint64_t timeout_ns)
{
	uint64_t deadline = park_deadline(timeout_ns);
	uint32_t before = load_relaxed(&k->flags), mine;
	uint32_t seen = load_acquire(&k->rests_for); /* rest */

	if ((before & reason) && (seen & reason) && seen / REQUEST == before / REQUEST)
		return 0; /* it rests already */
	before = request(k, reason, 0);
	mine = before + REQUEST;
	poke(k);
	for (;;) {
		uint32_t event = load_acquire(&k->rest_event); /* rest */

		/* It rests or has ended, or another thread has let it go on. */
		if (rests_since(k, mine, reason) || is_asked(k, ENDED) || !is_asked(k, reason))
			return 0;
		if (timeout_ns == 0 ||
		    park_wait(&k->rest_event, event, deadline) == -ETIMEDOUT)
			break;
	}
	if (rests_since(k, mine, reason))
		return 0;
	if (!(before & reason))
		withdraw(k, reason);
	return -ETIMEDOUT;
}

int kthread_freeze_timeout(struct kthread *k, uint64_t timeout_ns)
{
	if (!k)
		return -EINVAL;
	if (k == current_kthread)
		return -EDEADLK;
	return kthread_orphaned(k) ? 0 : ask_to_rest(k, FREEZE, timeout_ns);
}

int kthread_freeze(struct kthread *k)
{
	return kthread_freeze_timeout(k, KTHREAD_FOREVER);
}

int kthread_park_timeout(struct kthread *k, uint64_t timeout_ns)
{
	int result;

	if (!k)
		return -EINVAL;
	if (kthread_orphaned(k) || is_asked(k, ENDED))
		return -ENOSYS;
	if (k == current_kthread) {
		request(k, PARK, 0);
		poke(k); /* serving a worker, it looks when its callback has returned */
		return 0;
	}
	result = ask_to_rest(k, PARK, timeout_ns);
	return !result && is_asked(k, ENDED) ? -ENOSYS : result;
}

int kthread_park(struct kthread *k)
{
	return kthread_park_timeout(k, KTHREAD_FOREVER);
}
