/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * kthread_internal.h - what kthread.c offers to the rest of the core only.
 */
#ifndef KTHREAD_INTERNAL_H
#define KTHREAD_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "kthread.h"

#define KTHREAD_HIDDEN __attribute__((visibility("hidden")))

/*
 * On the way of every work a call costs a nanosecond, where the whole way takes some forty;
 * left to itself the compiler makes calls of what is used in several places.
 */
#define KTHREAD_INLINE static inline __attribute__((always_inline))

struct kthread {
	_Atomic(uint32_t) flags;	/* enum kthread_flags; try_to_freeze and kthread_parkme sleep on it */
	_Atomic(uint32_t) wake;		/* enum wake_state; kthread_sleep sleeps on it */
	_Atomic(uint32_t) rests_for;	/* the flags for which it rested last */
	_Atomic(uint32_t) rest_event;	/* counts what those in kthread_freeze and kthread_park sleep for */
	_Atomic(uint32_t) started;	/* 0 until the thread told how its start went */
	_Atomic(uint32_t) holders;	/* who may touch it: who will stop it, and who waits for its start */

	pthread_mutex_t lock;		/* of poke and poke_arg */
	void (*poke)(void *);		/* under lock */
	void *poke_arg;			/* under lock */

	int (*fn)(void *);		/* constant */
	void *data;			/* constant */
	const struct kthread_attr *attr; /* until started */
	int (*setup)(struct kthread *, void *); /* until started */
	int result;			/* of setting up, later of fn; the thread's until joined */
	pid_t tid;			/* constant once started */
	pthread_t self;			/* constant once started */
	char *name;			/* constant */
	uint32_t generation;		/* of the process that made it; see kthread_orphaned */
	bool adopted;			/* not made by kthread_run */
	const char *refused;		/* a field of attr; the thread's until joined */
};

/*
 * Make the calling thread a kthread until kthread_disown; k is memory of the caller's,
 * name must live as long.
 */
KTHREAD_HIDDEN void kthread_adopt(struct kthread *k, char *name);
KTHREAD_HIDDEN void kthread_disown(struct kthread *k);

/* The calling thread; one that is no kthread adopts k, and is to disown it. */
static inline struct kthread *kthread_current_or(struct kthread *k)
{
	static char name[] = "kthread";

	if (kthread_current())
		return kthread_current();
	kthread_adopt(k, name);
	return k;
}

/*
 * kthread_run_attr with a step more: setup runs on the new thread when its
 * attributes are set. When it returns -errno there is no thread.
 */
KTHREAD_HIDDEN struct kthread *kthread_run_setup(int (*fn)(void *), void *data,
						 const struct kthread_attr *attr,
						 int (*setup)(struct kthread *, void *));

/* Set all that is asked for on the calling thread, a kthread. Returns 0 or -errno. */
KTHREAD_HIDDEN int kthread_apply_attr(const struct kthread_attr *attr);

/* The one that is set before there is a thread. Returns 0 or an errno. */
KTHREAD_HIDDEN int kthread_apply_stack_size(const struct kthread_attr *attr, pthread_attr_t *pthread);

/* What kthread_refused_attr is to say. */
KTHREAD_HIDDEN void kthread_note_refused(const char *field);

/* Has its function returned? */
KTHREAD_HIDDEN bool kthread_has_ended(const struct kthread *k);

/*
 * The thread is about to serve something in which it sleeps and rests by other means
 * than kthread_sleep and try_to_freeze: every request to it is followed by poke(arg).
 * NULL ends that; afterwards no poke is under way.
 */
KTHREAD_HIDDEN void kthread_serve(struct kthread *k, void (*poke)(void *), void *arg);

/* Has kthread_stop been called for it? */
KTHREAD_HIDDEN bool kthread_stop_requested(struct kthread *k);

/* Let kthread_should_stop be true, or false again, without a kthread_stop. */
KTHREAD_HIDDEN void kthread_ask(struct kthread *k, bool asked);

/*
 * Is a freeze or a park of the calling thread k in effect? Then those who asked for it are
 * told that it rests: the caller does nothing but look again after the next poke.
 */
KTHREAD_HIDDEN bool kthread_rests(struct kthread *k);

/* Was it left behind by fork? */
KTHREAD_HIDDEN bool kthread_orphaned(const struct kthread *k);

/* A mutex that inherits priority, where the system can. */
KTHREAD_HIDDEN void kthread_mutex_init(pthread_mutex_t *mutex);

/* Count a misuse and tell the hook of it. */
KTHREAD_HIDDEN void kthread_warn(const char *format, ...) KTHREAD_PRINTF(1, 2);

#endif /* KTHREAD_INTERNAL_H */
