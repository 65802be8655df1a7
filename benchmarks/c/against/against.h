/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * against.h - what a contestant is. Each is one small file, in C or in C++, that hands jobs
 * over to one thread by the means of its library; against.c does all the rest.
 */
#ifndef AGAINST_H
#define AGAINST_H

#include <semaphore.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * What every job of every contestant does: it counts, and the one that makes the count full
 * posts. Only the consumer writes ran; it is read, and the rest is set, while it has nothing
 * to do. A cache line of its own, so that no producer is in its way.
 */
struct tally {
	unsigned long ran;
	unsigned long target;
	sem_t full;
} __attribute__((aligned(128)));

extern struct tally tally;

static inline void tally_one(void)
{
	if (++tally.ran == tally.target)
		sem_post(&tally.full);
}

/* For queues of pointers: the function is called through one, as a library's callback is. */
struct job {
	void (*run)(struct job *job);
};

/*
 * What a contestant's timers are to do. All of it is done by the consumer's thread: that is
 * where the timers of an event loop belong.
 */
struct timers {
	unsigned int count;
	bool expire;			/* armed for now, and left alone until they have run */
	const uint32_t *order;		/* in which they are armed, moved and cancelled */
	const uint32_t *ahead;		/* milliseconds, for each timer; 0: due at once */
	const uint32_t *moved;		/* milliseconds, after the move */
	uint64_t began;
	uint64_t ended;
};

extern struct timers timers;

void timers_begin(void);	/* reads the clock; a second time counts instead of the first */
void timers_end(void);		/* reads the clock */
void timers_done(void);		/* that, and posts: all are cancelled, and nothing is left to do */

/* What each timer's callback does. Of a cancelled one it would be a run too many. */
static inline void timer_ran(void)
{
	if (tally.ran + 1 == tally.target)
		timers_end();
	tally_one();
}

void run_job(struct job *job);		/* is tally_one */

/* By job_array: calloc, or the end of the program. Each runs run_job. */
struct job *job_array(unsigned int count);
void *zeroed(size_t size);
void die(const char *what) __attribute__((noreturn));

enum kind {
	OURS,
	OPPONENT,	/* of the targets */
	BESIDE,		/* shown, but no opponent of the targets: the text says why */
	LIMIT,		/* round trips that do nothing but wake each other */
};

struct contestant {
	const char *name;
	enum kind kind;
	bool polls;		/* its round trips compete with the cache line, not the futex */
	bool one_cpu_never;	/* spins without ever sleeping: needs two CPUs */
	bool single;		/* no second one in a process: left out where 1,000 are asked for */
	size_t item_bytes;	/* that the caller has to provide for each job */
	void (*version)(char *text, size_t size);
	/*
	 * Starts the consumer, if need be, and makes all that can be made before the time
	 * begins: room for jobs numbered from 0, queued by so many producers.
	 */
	void *(*open)(unsigned int jobs, unsigned int producers);
	/* Producer number @producer hands over the jobs @first to @first + @count - 1. */
	void (*produce)(void *handle, unsigned int producer, unsigned int first,
			unsigned int count);
	/* In the producer's thread, after the time: what is left to be done. Or NULL. */
	void (*drain)(void *handle, unsigned int producer);
	/* One job, until it is known to have run. NULL: produce, and the job's post. */
	void (*trip)(void *handle);
	/*
	 * Asks so often for one and the same job, until the last request is served.
	 * NULL: it cannot merge requests, and runs as many jobs.
	 */
	void (*coalesce)(void *handle, unsigned int requests);
	/*
	 * Makes the timers, at most once, and has the consumer's thread do what struct timers
	 * says; need not wait for it. NULL: it has no timers.
	 */
	void (*timers)(void *handle);
	void (*close)(void *handle);
};

/* Each file adds its own, before main. */
void enter_contestant(const struct contestant *contestant);

#define CONTESTANT(c) \
	static void __attribute__((constructor)) enter_##c(void) { enter_contestant(&c); }

#ifdef __cplusplus
}
#endif

#endif /* AGAINST_H */
