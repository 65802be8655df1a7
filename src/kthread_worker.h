/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * kthread_worker.h - the Linux kernel's kthread_worker in user space.
 *
 * A worker is one thread and a first-in-first-out list. A work is a function with
 * an identity: queueing it while it is pending says no, so a burst of requests
 * coalesces into one run. A work never executes twice at once, a worker executes
 * one work at a time, and a worker without a thread just collects.
 *
 *	struct sensor {
 *		struct kthread_work work;
 *		int fd;
 *	};
 *
 *	static void sample(struct kthread_work *work)
 *	{
 *		struct sensor *s = (struct sensor *)work;	// its first member
 *		read_all(s->fd);
 *	}
 *
 *	struct kthread_worker *worker = kthread_run_worker(0, "sensor");
 *	kthread_init_work(&s.work, sample);
 *	kthread_queue_work(worker, &s.work);	// true: it will run
 *	kthread_queue_work(worker, &s.work);	// false, if it is still pending
 *	kthread_flush_work(&s.work);		// it has run; s may be freed now
 *	kthread_destroy_worker(worker);
 *
 * The names are the kernel's of today; those of the patch that introduced the
 * interface in 2010 stand at the end of this file.
 *
 * Times are nanoseconds, as uint64_t. Where kernel code counts in jiffies it is carried
 * over like this: msecs_to_jiffies(ms) becomes ms * 1000000ull, HZ becomes 1000000000ull,
 * n jiffies become n * (1000000000ull / HZ), and jiffies itself, where it is only compared
 * with a deadline, clock_gettime(CLOCK_MONOTONIC).
 *
 * What may run at the same time as what, for one work and one worker
 *
 *	                 queue   flush   cancel  init work  free work  destroy  kthread_worker_fn
 *	queue, delayed   yes     yes     yes     no         no (1)     yes (2)  yes
 *	flush            yes     yes     yes     no         no (3)     yes (2)  yes
 *	cancel, disable  yes     yes     yes     no         no (3)     yes (2)  yes
 *	init work        no      no      no      no         no         yes (4)  yes (4)
 *	destroy          yes (2) yes (2) yes (2) yes (4)    yes (4)    yes (2)  yes
 *
 *	(1) but the callback itself may free its work
 *	(2) when the struct is the caller's own, it must outlive the other call
 *	(3) right after the call has returned it may
 *	(4) of an idle work
 *
 * After fork, in the child: workers that had a thread, or were made by
 * kthread_create_worker, refuse with ESRCH and can be destroyed. A cancel by another thread
 * is over. A work that another thread was queueing at that moment may be pending until it is
 * cancelled or initialised anew. A struct of the caller's own that had no thread is to be
 * initialised anew before its next use.
 *
 * What may change
 *
 * The interface is what this header and kthread.h declare. Members of structs that are "inside
 * only", or not for the caller to touch, are none of it, nor is any other header in src/. But
 * the size and layout of every struct, and what the initialisers put there, are compiled into
 * the programs that use them. So the ABI is both: the functions, and the layout.
 *
 * Until 1.0 a minor version may change either, and CHANGELOG.md says so; a patch version changes
 * neither. From 1.0 on functions, constants and types are added within a major version, and none
 * is changed or goes. At any time: whatever breaks a compiled program raises KTHREAD_WORKER_ABI,
 * the number in the shared library's name, so that the program asks for the library it was made
 * with. Headers and library, or headers and copied sources, are to be of one version.
 */
#ifndef KTHREAD_WORKER_H
#define KTHREAD_WORKER_H

#include <pthread.h>

#include "kthread.h"

/* The atomic members, readable from C11 and from C++17 with one layout. */
#ifdef __cplusplus
#include <atomic>
#define KTHREAD_ATOMIC(type) std::atomic<type>
#else
#include <stdatomic.h>
#define KTHREAD_ATOMIC(type) _Atomic(type)
#endif

/* The version, of the core and of the Python package; typed nowhere else. */
#define KTHREAD_WORKER_VERSION_MAJOR 0
#define KTHREAD_WORKER_VERSION_MINOR 1
#define KTHREAD_WORKER_VERSION_PATCH 0

/* The number in the shared library's soname; see "What may change" above. */
#define KTHREAD_WORKER_ABI 0

#ifdef __cplusplus
extern "C" {
#endif

KTHREAD_API_BEGIN

struct kthread_worker;
struct kthread_work;
struct kthread_delayed_work;
struct kthread_trace;
struct kthread_flush;
struct kthread_flush_waiter;
struct kthread_loop;

/*
 * A work's function. It may free @work, queue it again, or queue others. It returns: a
 * pthread_exit or a cancellation in it would leave the worker attached to no thread.
 */
typedef void (*kthread_work_func_t)(struct kthread_work *work);

/*
 * One work; usually a member of the struct that its function works on. Its
 * members are not for the caller to touch. The worker does not touch it
 * between the call of its function and the next queueing.
 */
struct kthread_work {
	struct kthread_work *next;	/* the producer's until pushed, then the worker's, under lock */
	struct kthread_work *prev;	/* the producer's until pushed, and a hint; then under lock */
	kthread_work_func_t func;	/* constant */
	KTHREAD_ATOMIC(uintptr_t) state; /* worker | flags: claimed by compare-and-swap (claim pair) */
	KTHREAD_ATOMIC(uint32_t) started_seq; /* runs begun or dropped; stored under lock (pair F) */
	uint32_t epoch;			/* the worker's when it was listed; under lock */
	uint16_t cancelling;		/* calls that cancel it now; under global_lock */
	uint16_t disabled;		/* disablings without an enabling; under global_lock */
	uint8_t kind;			/* enum kthread_work_kind; constant */
	uint8_t place;			/* enum work_place: on which list it is; under lock */
	uint16_t unused;
};

/* 0 is none: a work of zeros was never initialised, and every call refuses it. */
enum kthread_work_kind {
	KTHREAD_WORK_PLAIN = 1,
	KTHREAD_WORK_DELAYED = 2, /* member of a struct kthread_delayed_work */
};

/* Its place among the armed timers of a worker; under lock. */
struct kthread_timer {
	struct kthread_timer *left;
	struct kthread_timer *right;
	struct kthread_timer *parent;
	uint64_t deadline;		/* CLOCK_MONOTONIC */
	uint64_t order;			/* of equal deadlines the one armed first goes first */
};

/*
 * A work that can be queued with a delay, or at a fixed rate. Its function gets the
 * address of @work, which is the first member. All calls that take a work take
 * &dwork->work as well, and then look after the timer.
 */
struct kthread_delayed_work {
	struct kthread_work work;
	struct kthread_timer timer;	/* under lock */
	uint64_t period;		/* 0: queued once; under lock */
	KTHREAD_ATOMIC(uint64_t) missed; /* ticks skipped since it was queued; stored under lock */
};

/* The armed timers of a worker: a heap in the works themselves, the earliest at the root. */
struct kthread_timers {
	struct kthread_timer *root;
	uint32_t count;
	uint64_t order;			/* counts the armings */
};

/* First and last work of a list linked by next and prev. */
struct kthread_work_list {
	struct kthread_work *first;
	struct kthread_work *last;
};

/*
 * Hooks for a program that embeds the core in a run time of its own (an
 * interpreter with a global lock, say). All run on the worker's thread, but for
 * dropped and progress; NULL means none. None may call back into the worker, but where it says so.
 */
struct kthread_worker_ops {
	/*
	 * The worker is about to poll, to sleep, to rest, to leave, or to show a
	 * finished run to its flushers while nothing else is queued: the moment to
	 * give back what was kept from one callback to the next.
	 */
	void (*idle)(struct kthread_worker *worker);
	/*
	 * A signal handler interrupted the worker's sleep, or its thread's patience (see
	 * kthread_set_patience) is over. It may call kthread_stop_worker.
	 */
	void (*interrupted)(struct kthread_worker *worker);
	/* A thread was attached and is about to serve the worker: its first word. */
	void (*enter)(struct kthread_worker *worker);
	/* The attached thread has run its last work and is about to leave. */
	void (*leave)(struct kthread_worker *worker);
	/*
	 * What somebody watches (see struct kthread_watch) may be over. Only while there is a
	 * watch; on the worker's thread, or on the one whose cancel or destruction has dropped a
	 * run. It may call kthread_watch_over and kthread_watch_end.
	 */
	void (*progress)(struct kthread_worker *worker);
	/*
	 * @work was pending and will not run, because its worker is closed or destroyed. It
	 * is pending no more, and not touched afterwards; a run that began before may still
	 * go on. Runs on the closing or destroying thread. A run that a cancel drops is told
	 * by what the cancel returns. Whoever flushed @work may have freed it already, unless
	 * the embedder keeps it: @func, which it was initialised with, says whose it is.
	 */
	void (*dropped)(struct kthread_worker *worker, struct kthread_work *work,
			kthread_work_func_t func);
	/*
	 * The function of @work is called as soon as this returns: the moment to give back
	 * what was kept from one callback to the next, and this one does not know of. Not
	 * called for works that kthread_next_work begins.
	 */
	void (*begin)(struct kthread_worker *worker, struct kthread_work *work);
};

/* See kthread_worker_set_wake. */
typedef void (*kthread_wake_func_t)(struct kthread_worker *worker);

/* What a thread waits for; inside only. */
struct kthread_wait {
	struct kthread_worker *worker;
	const struct kthread_flush *flush; /* or, when NULL, */
	bool (*reached)(const struct kthread_wait *wait);
	const struct kthread_work *work; /* for reached, or */
	uint32_t number;		/* life or attached, when it began */
	struct kthread_wait *outer;	/* what its callback waited for already */
};

/* recent of a worker: what fits in its producers' cache line. */
#define KTHREAD_RECENT ((64 - 8 * 4 - sizeof(void *)) / sizeof(void *))

/*
 * One worker. Declare it with DEFINE_KTHREAD_WORKER, embed it and call
 * kthread_init_worker, or let kthread_create_worker make one. Its members are not
 * for the caller to touch, but for reading task.
 */
struct kthread_worker {
	/* What producers touch. */
	KTHREAD_ATOMIC(struct kthread_work *) inbox; /* newest first (inbox, park pairs) */
	KTHREAD_ATOMIC(uint32_t) claims[2]; /* enum claim_state: counts those begun (gate pair) */
	KTHREAD_ATOMIC(uint32_t) ended[2]; /* those of them that ended without a push (gate pair) */
	KTHREAD_ATOMIC(uint32_t) phase;	/* which of these counts newcomers; stored under lock */
	KTHREAD_ATOMIC(uint32_t) sleep;	/* enum sleep_state (park pair) */
	KTHREAD_ATOMIC(uint32_t) waker_cpu; /* of the last that woke the worker; a hint */
	KTHREAD_ATOMIC(uint32_t) noted;	/* so many were noted in recent; a hint */
	KTHREAD_ATOMIC(struct kthread_work *) recent[KTHREAD_RECENT]; /* the last pushed, gone or not; a hint */
	/* Here their cache line ends: what follows must not share it. */

	/* What all look at and few write. The pointers first: nothing is to be filled up between. */
	KTHREAD_ATOMIC(const struct kthread_trace *) trace; /* NULL: none (trace pair) */
	KTHREAD_ATOMIC(kthread_wake_func_t) wake; /* NULL: none; stored under lock (gate pair) */
	KTHREAD_ATOMIC(uint32_t) flushing; /* who is about to look or to sleep (flush pairs) */
	KTHREAD_ATOMIC(uint32_t) flags;	/* enum worker_flags; stored under lock (poke pair) */
	KTHREAD_ATOMIC(uint32_t) awaited; /* who waits for claims to end (flush pairs) */
	KTHREAD_ATOMIC(uint32_t) watched; /* watches there are (flush pairs) */
	KTHREAD_ATOMIC(uint32_t) event;	/* what waiters sleep on; lowest bit: someone sleeps */
	KTHREAD_ATOMIC(uint32_t) cpu;	/* where the worker went idle last; a hint */
	KTHREAD_ATOMIC(uint32_t) wanted; /* enum list_wanted: the list is, by who holds lock (list pairs) */
	KTHREAD_ATOMIC(uint32_t) woken_at; /* the clock, when the worker was woken last; a hint */
	KTHREAD_ATOMIC(uint32_t) told_at; /* the same of those who sleep on event; a hint */
	char shared_end[64 - 9 * 4 - 2 * sizeof(void *)];

	/* What the worker writes at every run. */
	KTHREAD_ATOMIC(struct kthread_work *) current_work; /* worker's thread (flush pairs) */
	uint32_t current_seq;		/* number of the run of current_work; under lock */
	uint32_t current_epoch;		/* its work's; under lock */
	uint32_t seen_flags;		/* flags when they were acted upon; worker's thread only */
	uint32_t more;			/* was anything listed behind it? worker's thread only */
	uint32_t rearmed;		/* it is periodic, and its next run pending since; worker's thread only */
	uint32_t last_epoch;		/* of kthread_worker_run_pending, when limited; worker's thread only */
	uint32_t limited;		/* works of a later epoch are not begun; under lock */
	KTHREAD_ATOMIC(uint32_t) inside; /* the worker's thread is at the list, without lock (list pairs) */
	uint32_t by_lock;		/* it is there by way of lock; worker's thread only */
	uint32_t paced;			/* it waits in front of a look at the inbox; worker's thread only */
	int32_t quick_looks;		/* so many in a row found few works; worker's thread only */
	uint64_t sleep_until;		/* when it looks of itself, if nothing comes; worker's thread only */

	KTHREAD_ATOMIC(uint32_t) lock_ready; /* 0 until lock inherits priority (lock-init pair) */
	KTHREAD_ATOMIC(uint32_t) poll_max_ns; /* longest busy poll; see kthread_worker_set_busy_poll */
	KTHREAD_ATOMIC(uint32_t) flush_poll_ns; /* present window of flushers; a hint */
	uint32_t poll_ns;		/* present window of the worker; worker's thread only */
	pthread_mutex_t lock;		/* of work_list and of what says "under lock"; see lock_worker */
	pthread_mutex_t attendance;	/* held by the attached thread; see lock_worker */
	struct kthread_work_list work_list; /* under lock */
	struct kthread_timers timers;	/* under lock */
	uint64_t next_look;		/* sleep_until, or what others made of it; 0: it does not sleep; under lock */
	struct kthread_flush_waiter *waiters; /* under lock */
	uint32_t drainers;		/* calls that wait for the list to be empty; under lock */
	int32_t bound_cpu;		/* of kthread_create_worker_on_cpu; -1: none; constant */
	KTHREAD_ATOMIC(struct kthread *) task; /* the attached thread; stored under lock */
	struct kthread *thread;		/* made by us and still to be joined; under lock */
	uint32_t epoch;			/* counts flushes of the worker, and run_pendings; under lock */
	uint32_t listed;		/* length of work_list; under lock */
	uint32_t taken[2];		/* from the inbox, by the phase of their claims; under lock */
	uint32_t quiet[2];		/* moments without a claim that were seen, by phase; under lock */
	uint64_t queued;		/* ever put on work_list; under lock */
	uint64_t executed;		/* ever dequeued to run; under lock */
	uint64_t cancelled;		/* runs dropped; under lock */
	KTHREAD_ATOMIC(uint64_t) sleeps; /* worker's thread */
	KTHREAD_ATOMIC(uint64_t) poll_hits; /* worker's thread */
	uint64_t missed;		/* ticks skipped; under lock */
	uint32_t fetched;		/* noted, as it was at the last look at recent; under lock */

	const struct kthread_worker_ops *ops; /* constant while attached */
	void *data;			/* the embedder's */
	struct kthread_loop *loop;	/* what kthread_worker_fd made, or NULL; under lock */
	char *name;			/* NULL, or allocated */
	struct kthread_wait *waits_for;	/* what its callback sleeps for; under global_lock */
	struct kthread_worker *registry_next; /* under global_lock */
	struct kthread_worker *registry_prev; /* under global_lock */
	uint32_t allocated;		/* made by kthread_create_worker */
	uint32_t held;			/* enum held_state; under lock */
	uint32_t registered;		/* under global_lock */
	uint32_t life;			/* how often it was destroyed; under lock */
	uint32_t attached;		/* how often a thread was; under lock */
	uint32_t freezers;		/* calls that wait for its rest; under lock */
	uint32_t freeze_stands;		/* one of them has seen it rest; under lock */
};

#define KTHREAD_POLL_MAX_DEFAULT_NS 200000u

/* In claims: it was initialised. Every call refuses a worker of zeros. */
#define KTHREAD_WORKER_MADE (1u << 3)

/*
 * Static initialisers. @worker and @work are the names of what is initialised,
 * as in the kernel.
 */
#define KTHREAD_WORKER_INIT(worker)						\
	{ NULL, { KTHREAD_WORKER_MADE, KTHREAD_WORKER_MADE }, { 0, 0 }, 0, 0, 0, 0,	\
	  { NULL }, NULL, (kthread_wake_func_t)NULL, 0, 0, 0, 0, 0, 0, 0, 0, 0, { 0 },	\
	  NULL, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,				\
	  0, KTHREAD_POLL_MAX_DEFAULT_NS, 0, 0,					\
	  PTHREAD_MUTEX_INITIALIZER, PTHREAD_MUTEX_INITIALIZER,			\
	  { NULL, NULL }, { NULL, 0, 0 }, 0,					\
	  NULL, 0, -1, NULL, NULL,						\
	  0, 0, { 0, 0 }, { 0, 0 }, 0, 0, 0, 0, 0, 0, 0,			\
	  NULL, NULL, NULL, NULL, NULL, NULL, NULL, 0, 0, 0, 0, 0, 0, 0 }

#define KTHREAD_WORK_INIT(work, fn)						\
	{ NULL, NULL, (fn), 0, 0, 0, 0, 0, KTHREAD_WORK_PLAIN, 0, 0 }

#define KTHREAD_DELAYED_WORK_INIT(dwork, fn)					\
	{ { NULL, NULL, (fn), 0, 0, 0, 0, 0, KTHREAD_WORK_DELAYED, 0, 0 },	\
	  { NULL, NULL, NULL, 0, 0 }, 0, 0 }

#define DEFINE_KTHREAD_WORKER(worker)						\
	struct kthread_worker worker = KTHREAD_WORKER_INIT(worker)

#define DEFINE_KTHREAD_WORK(work, fn)						\
	struct kthread_work work = KTHREAD_WORK_INIT(work, fn)

#define DEFINE_KTHREAD_DELAYED_WORK(dwork, fn)					\
	struct kthread_delayed_work dwork = KTHREAD_DELAYED_WORK_INIT(dwork, fn)

/*
 * kthread_init_worker - initialise a worker of the caller's own
 * @worker: memory of any content; stays the caller's
 *
 * From anywhere but a signal handler, while nobody uses @worker.
 */
void kthread_init_worker(struct kthread_worker *worker);

/*
 * kthread_init_work, kthread_init_delayed_work - initialise a work
 * @work, @dwork: memory of any content, or an idle work; stays the caller's
 * @fn: what shall run
 *
 * A work that is pending, on a worker that has a thread or that kthread_create_worker
 * made, is left as it is, with a warning: its worker would lose what is listed behind it.
 * To tell, the call looks at the memory, and at the worker's list if that seems to name one.
 *
 * From anywhere but a signal handler, while nobody uses @work.
 */
void kthread_init_work(struct kthread_work *work, kthread_work_func_t fn);
void kthread_init_delayed_work(struct kthread_delayed_work *dwork, kthread_work_func_t fn);

/*
 * kthread_worker_fn - serve a worker with the calling thread
 * @worker: a struct kthread_worker *; void, so that kthread_run takes the function
 *
 * Executes what is queued, first in, first out, until a stop of the thread, or the
 * destruction of the worker, is asked for. Any thread may call it, after initialisation
 * of its own; different threads may serve a worker one after the other.
 *
 * Returns 0 when it was asked to leave
 * -EBUSY: another thread serves @worker, or this thread serves one already; with a warning
 * -EINVAL: @worker is NULL, or was never initialised
 * -ESHUTDOWN: @worker is destroyed
 * -ESRCH: @worker was left behind in the parent process by fork
 *
 * As the kernel's, which has no return for the second thread: it warns and goes on.
 */
int kthread_worker_fn(void *worker);

/* KTW_FREEZABLE: accepted for the kernel's sake; here every worker can be frozen. */
#define KTW_FREEZABLE (1u << 0)

/*
 * kthread_create_worker - make a worker that has no thread yet
 * @flags: 0 or KTW_FREEZABLE
 * @namefmt: printf format of its name, which its thread takes on
 *
 * It collects what is queued until kthread_start_worker, or kthread_worker_fn on some
 * thread, serves it. The worker is the caller's until kthread_destroy_worker.
 *
 * Returns the worker, or NULL with errno
 * EINVAL: unknown flags, or @namefmt is NULL
 * ENOMEM: no memory
 */
struct kthread_worker *kthread_create_worker(unsigned int flags, const char *namefmt, ...)
	KTHREAD_PRINTF(2, 3);

/*
 * kthread_run_worker - make a worker and the thread that serves it
 *
 * Parameters as kthread_create_worker. From anywhere but a signal handler; sleeps
 * until the thread has started.
 *
 * Returns the worker, or NULL with errno as kthread_create_worker and kthread_run.
 */
struct kthread_worker *kthread_run_worker(unsigned int flags, const char *namefmt, ...)
	KTHREAD_PRINTF(2, 3);

/*
 * kthread_create_worker_on_cpu, kthread_run_worker_on_cpu - a worker bound to a CPU
 * @cpu: its number; every thread that kthread_start_worker makes for it, without a set of
 *	CPUs of its own, is bound to that
 * @namefmt: its name; a printf format that may take the number of the CPU, as "%u" or "%d"
 *
 * Otherwise as kthread_create_worker and kthread_run_worker, besides
 * NULL with errno EINVAL: there is no such CPU, or @namefmt takes anything else
 *
 * As the kernel's.
 */
struct kthread_worker *kthread_create_worker_on_cpu(int cpu, unsigned int flags,
						    const char *namefmt);
struct kthread_worker *kthread_run_worker_on_cpu(int cpu, unsigned int flags,
						 const char *namefmt);

/* kthread_run_worker_attr - the same with attributes; errno as kthread_run_attr. */
struct kthread_worker *kthread_run_worker_attr(const struct kthread_attr *attr);

/*
 * kthread_start_worker - give a worker a thread of its own
 * @worker: one without a thread
 * @attr: see kthread_run_attr; NULL: the defaults. Without a name: the worker's.
 *
 * Returns 0
 * -EBUSY: @worker has a thread
 * -EINVAL: @worker is NULL, or was never initialised
 * -ESHUTDOWN, -ESRCH: as kthread_worker_fn
 * any other -errno of kthread_run_attr
 */
int kthread_start_worker(struct kthread_worker *worker, const struct kthread_attr *attr);

/*
 * kthread_unpark_worker - kthread_unpark of the thread that serves a worker, if there is one
 * @worker: made; by its lock the thread stays until then, whoever stops it meanwhile
 *
 * From anywhere but a signal handler.
 */
void kthread_unpark_worker(struct kthread_worker *worker);

/*
 * kthread_stop_worker, ..._timeout - take a worker's thread away
 * @worker: whoever serves it
 * @timeout_ns: nanoseconds; see KTHREAD_FOREVER
 *
 * The running callback ends, the rest stays listed, and the worker may get another
 * thread. A thread that kthread_start_worker or kthread_run_worker made is joined;
 * any other returns from kthread_worker_fn. Without a thread nothing happens. A
 * frozen worker is thawed first. From one of the worker's own callbacks it only
 * asks, and takes effect when that callback ends. Of a thread that kthread_run,
 * kthread_run_worker or kthread_start_worker made, kthread_stop(worker->task) does the
 * same, as in the kernel.
 *
 * Returns 0
 * -ETIMEDOUT: the callback still runs; the request stands, and may be made again to wait
 * -EDEADLK: the callback of the caller is itself waited for by this worker
 * -EINTR: a signal handler interrupted the sleep (..._interruptible only)
 * -EINVAL: @worker is NULL, or was never initialised
 */
int kthread_stop_worker(struct kthread_worker *worker);
int kthread_stop_worker_timeout(struct kthread_worker *worker, uint64_t timeout_ns);
int kthread_stop_worker_interruptible(struct kthread_worker *worker, uint64_t timeout_ns);

/*
 * kthread_close_worker - the first step of a destruction, without the wait
 *
 * Queueing is refused from now on; armed delayed works are cancelled; the thread runs what
 * is pending, then leaves. The worker is still to be destroyed. A second close does nothing.
 *
 * Ours. From anywhere but a signal handler, callbacks included.
 */
void kthread_close_worker(struct kthread_worker *worker);

/*
 * kthread_abandon_worker - the same, and what is pending is dropped
 *
 * Works that are listed become idle without a run, and their flushers return; the thread leaves
 * after the callback that it is in. The worker is still to be destroyed.
 *
 * Ours. From anywhere but a signal handler, callbacks included; never waits.
 */
void kthread_abandon_worker(struct kthread_worker *worker);

/*
 * kthread_destroy_worker, ..._timeout - end a worker
 * @worker: any; NULL does nothing
 * @timeout_ns: nanoseconds; see KTHREAD_FOREVER
 *
 * Queueing is refused from now on; armed delayed works are cancelled, and counted as such;
 * what is pending is run, its thread is joined (or returns from kthread_worker_fn), and the
 * memory of a worker that kthread_create_worker made is given back. Without a thread, or when
 * the thread is stopped meanwhile, nothing more runs: what is pending becomes idle and its
 * flushers return. A frozen worker is thawed first, a parked thread unparked. A second destruction
 * does nothing. A producer that is preempted just as it queues is waited for.
 *
 * The struct of a worker made by kthread_create_worker goes back to a pool of
 * workers, never to the system, so that a work which ran on it may be flushed or
 * queued elsewhere later. A caller whose own struct held the worker calls
 * kthread_init_work on such works before their next use.
 *
 * In a forked child a worker of the parent can be destroyed: it has no thread there.
 *
 * From any thread but the worker's own; sleeps.
 *
 * Returns 0
 * -ETIMEDOUT: works still run; queueing stays refused; call again to wait on
 * -EINVAL: @worker was never initialised
 * -EDEADLK: called from one of its callbacks, or from one that this worker waits for
 * -EINTR: a signal handler interrupted the sleep (..._interruptible only); call again
 *
 * As the kernel's, which is void, and crashes where a work requeues itself for ever.
 */
int kthread_destroy_worker(struct kthread_worker *worker);
int kthread_destroy_worker_timeout(struct kthread_worker *worker, uint64_t timeout_ns);
int kthread_destroy_worker_interruptible(struct kthread_worker *worker, uint64_t timeout_ns);

/*
 * kthread_hold_worker, kthread_release_worker - keep the struct of a worker to oneself
 * @worker: made by kthread_create_worker
 *
 * Once destroyed, a held worker answers all calls as a destroyed one does, until it is
 * released; without that its struct may soon be another worker's. Release it once, after
 * its destruction has returned and after the last call.
 *
 * Ours; for embedders whose users may call too late.
 */
void kthread_hold_worker(struct kthread_worker *worker);
void kthread_release_worker(struct kthread_worker *worker);

/*
 * kthread_queue_work - queue a work
 * @worker: who shall run it
 * @work: initialised; the worker's until its function is called
 *
 * Takes no lock, never sleeps, allocates nothing. From anywhere, a signal handler
 * included. What the caller wrote before is seen by the run that this call asks
 * for, and also, when the work was pending already, by the run that was pending.
 *
 * Returns true: the work was idle or executing; it is at the tail now; errno is kept
 * false, errno kept: it was pending on @worker already, and keeps its place; or it is
 *	being cancelled, or disabled, and nothing is queued
 * false, errno EBUSY: pending or executing on another worker
 * false, errno ESHUTDOWN: @worker is being destroyed, or destroyed
 * false, errno EAGAIN: @worker is being drained, and this is none of its callbacks
 * false, errno ESRCH: @worker was left behind in the parent process by fork
 * false, errno EINVAL: @worker or @work is NULL, or was never initialised
 *
 * As the kernel's, with reasons where the kernel warns.
 */
bool kthread_queue_work(struct kthread_worker *worker, struct kthread_work *work);

/*
 * kthread_queue_work_status - the same with the reason as its result
 *
 * Returns 1: queued; 0: already pending; -errno: refused, as above, besides -ECANCELED:
 * being cancelled, or disabled. Leaves errno alone.
 */
int kthread_queue_work_status(struct kthread_worker *worker, struct kthread_work *work);

/*
 * kthread_worker_refusal - does a worker refuse what is queued?
 *
 * Returns 0: not now; else -errno, as kthread_queue_work_status: of the worker, not of a work.
 * From anywhere, signal handlers included; stale when it returns.
 */
int kthread_worker_refusal(struct kthread_worker *worker);

/*
 * kthread_queue_delayed_work - queue a work after a delay
 * @worker: who shall run it
 * @dwork: initialised; the worker's until its function is called
 * @delay_ns: nanoseconds; 0: as kthread_queue_work. One that ends beyond the clock's range
 *	never ends.
 *
 * The work is pending while the timer runs. Never early; the worker's own thread keeps the
 * timer, so that it has that thread's priority; a worker without a thread looks at it when
 * it gets one. When the timer runs out the work goes to the tail. O(log n) of n armed
 * timers; allocates nothing.
 *
 * From anywhere but a signal handler, callbacks included; takes the worker's lock.
 *
 * Returns as kthread_queue_work; false, with the timer unchanged, when it was pending.
 *
 * As the kernel's, which takes jiffies.
 */
bool kthread_queue_delayed_work(struct kthread_worker *worker,
				struct kthread_delayed_work *dwork, uint64_t delay_ns);
/* The same with the reason as its result, as kthread_queue_work_status. */
int kthread_queue_delayed_work_status(struct kthread_worker *worker,
				      struct kthread_delayed_work *dwork, uint64_t delay_ns);

/*
 * kthread_queue_delayed_work_at - queue a work at a moment
 * @moment_ns: on CLOCK_MONOTONIC, nanoseconds; one that has passed is now
 *
 * Ours. All else as kthread_queue_delayed_work_status.
 */
int kthread_queue_delayed_work_at(struct kthread_worker *worker,
				  struct kthread_delayed_work *dwork, uint64_t moment_ns);

/*
 * kthread_queue_periodic_work - have a work run at a fixed rate
 * @delay_ns: nanoseconds until the first run
 * @period_ns: nanoseconds between runs; not 0
 *
 * Deadlines are absolute: the k-th lies k periods after the first. When a run begins the
 * timer is armed for the next deadline; those that have passed by then are skipped, and
 * counted as missed. It ends by a cancel, also in its own callback, by a disabling, and
 * with its worker. A flush has the present tick run now; kthread_mod_delayed_work moves the
 * next one, and those after it.
 *
 * Ours. From where, and what it returns: as kthread_queue_delayed_work, besides
 * errno EINVAL: the period is 0
 */
bool kthread_queue_periodic_work(struct kthread_worker *worker,
				 struct kthread_delayed_work *dwork, uint64_t delay_ns,
				 uint64_t period_ns);
int kthread_queue_periodic_work_status(struct kthread_worker *worker,
				       struct kthread_delayed_work *dwork, uint64_t delay_ns,
				       uint64_t period_ns);

/*
 * kthread_mod_delayed_work - queue a work after a delay, or change the delay it has
 *
 * Parameters, and from where, as kthread_queue_delayed_work; it may sleep for the moment
 * in which another thread queues the same work. Of two at once the later one's delay holds.
 *
 * Returns false: it was not pending; it is now, unless errno says why not, as
 *	kthread_queue_work does, or ECANCELED: it is disabled
 * true: it was pending, on the list or with a timer; now its timer runs for @delay_ns or,
 *	when that is 0, it is at the tail
 * true: it is being cancelled, and nothing is queued
 *
 * As the kernel's. A flush that waits for the run which is put off waits on.
 */
bool kthread_mod_delayed_work(struct kthread_worker *worker, struct kthread_delayed_work *dwork,
			      uint64_t delay_ns);
/*
 * Returns 1: it was pending, or is being cancelled; 0: it was not, and is queued;
 * -errno as kthread_queue_work_status.
 */
int kthread_mod_delayed_work_status(struct kthread_worker *worker,
				    struct kthread_delayed_work *dwork, uint64_t delay_ns);

/*
 * kthread_delayed_work_remaining - nanoseconds until it is listed; KTHREAD_FOREVER: no timer
 * runs, or one that never ends.
 */
uint64_t kthread_delayed_work_remaining(struct kthread_delayed_work *dwork);

/* kthread_delayed_work_missed - ticks that a periodic work skipped since it was queued. */
uint64_t kthread_delayed_work_missed(struct kthread_delayed_work *dwork);

/*
 * Queue many works with one push: begin, add each, end. Between begin and end no other
 * call may be made for the worker, and the end must come soon: a flush or a destruction
 * of the worker waits for it. As kthread_queue_work, from anywhere.
 */
struct kthread_batch {
	struct kthread_worker *worker;
	struct kthread_work *newest;
	struct kthread_work *oldest;
	unsigned int phase;		/* where it is counted */
	uint32_t count;			/* of works added */
	int refused;			/* 0, or what every add returns */
	struct kthread_work *recent[8];	/* the last added, each at its number in a ring */
};

void kthread_batch_begin(struct kthread_batch *batch, struct kthread_worker *worker);
/* Returns as kthread_queue_work_status; what was added runs after the end. */
int kthread_batch_add(struct kthread_batch *batch, struct kthread_work *work);
void kthread_batch_end(struct kthread_batch *batch);

/*
 * kthread_next_work - in a callback: end this run, and begin that of the next work
 * @worker: the one that runs the callback
 * @func: the function that the next work must have
 *
 * For an embedder that runs works of one kind in a loop of its own, without returning to
 * the worker for each. From here on the calling callback is that of the work returned: what
 * it was called for is over, its flushers are told, and it is not to be touched.
 *
 * Returns the next work, which executes now, or
 * NULL: nothing has changed, and the callback is to return: as a rule because no work is
 * pending, the next one has another function, or a stop or a freeze was asked for
 */
struct kthread_work *kthread_next_work(struct kthread_worker *worker, kthread_work_func_t func);

/*
 * kthread_flush_work, ..._timeout - wait for a work
 * @work: any initialised work
 * @timeout_ns: nanoseconds; see KTHREAD_FOREVER
 *
 * Waits for the run that is pending or, when none is, for the one that executes;
 * works behind it, and later runs of a work that queues itself, are not waited for. A timer
 * that runs is cut short: the work goes to the tail now. A run that is cancelled is over.
 * What the callback wrote is seen after the return, and the worker does not touch
 * the work any more: it may be freed.
 *
 * From any thread; sleeps; not from a signal handler.
 *
 * Returns 0: that run has ended, or the work was idle
 * -ETIMEDOUT: not in time; the work is untouched
 * -EDEADLK: called from a callback of the same worker, or of one that this worker
 *	waits for, and the work is not idle; found before anyone sleeps. Looked at are
 *	flushes, and kthread_freeze_worker, kthread_stop_worker, kthread_destroy_worker.
 * -ESRCH: its worker was left behind in the parent process by fork, and it is pending
 * -EINVAL: @work is NULL, or was never initialised
 *
 * As the kernel's, which is void and hangs where ours reports.
 */
int kthread_flush_work(struct kthread_work *work);
int kthread_flush_work_timeout(struct kthread_work *work, uint64_t timeout_ns);

/*
 * kthread_flush_delayed_work, ..._timeout - the same for a delayed work
 *
 * The kernel has none for this worker, and its kthread_flush_work waits for the timer.
 */
int kthread_flush_delayed_work(struct kthread_delayed_work *dwork);
int kthread_flush_delayed_work_timeout(struct kthread_delayed_work *dwork, uint64_t timeout_ns);

/*
 * kthread_flush_worker, ..._timeout - wait for all that is pending or executing now
 * @worker: any
 *
 * What is queued after the call is not waited for, nor are works whose timer runs.
 *
 * Returns as kthread_flush_work; -EDEADLK from every callback of @worker itself.
 */
int kthread_flush_worker(struct kthread_worker *worker);
int kthread_flush_worker_timeout(struct kthread_worker *worker, uint64_t timeout_ns);

/*
 * A flush in steps, for a caller that must look after other things while it waits:
 * _begin notes what is to be waited for, _wait may then be called repeatedly.
 * A flush that is not waited for to its end needs no undoing. Nothing, NULL, is
 * waited for at once.
 */
struct kthread_flush {
	struct kthread_worker *worker;	/* NULL: nothing to wait for */
	struct kthread_work *work;	/* NULL: the whole worker */
	uint32_t target;		/* the number of a run, or an epoch of the worker */
	bool sealed;			/* the target is known */
	bool left;			/* a timer was not cut short, for a circle */
};

void kthread_flush_begin_work(struct kthread_flush *flush, struct kthread_work *work);
void kthread_flush_begin_worker(struct kthread_flush *flush, struct kthread_worker *worker);

/*
 * kthread_flush_wait - wait for what a begin noted
 * @timeout_ns: nanoseconds; see KTHREAD_FOREVER
 *
 * Returns as kthread_flush_work, besides
 * -EINTR: a signal handler interrupted the sleep
 */
int kthread_flush_wait(struct kthread_flush *flush, uint64_t timeout_ns);

/* Linked in its worker; inside only. */
struct kthread_flush_waiter {
	const struct kthread_flush *flush;
	struct kthread_flush_waiter *next;
	struct kthread_flush_waiter **link;
};

/*
 * A flush that does not sleep, for event loops: the worker's ops->progress is called when it
 * may be over. The memory stays the caller's until the watch is ended.
 */
struct kthread_watch {
	struct kthread_flush flush;
	struct kthread_flush_waiter waiter;
};

/*
 * kthread_watch_work, kthread_watch_worker - begin to watch a flush of a work, or of a worker
 * @watch: of the caller; none that is being watched
 * @work, @worker: as for kthread_flush_work and kthread_flush_worker
 *
 * From any thread, callbacks included: nobody sleeps, so that there is no deadlock to tell. A
 * timer that runs is cut short. Waits for producers between claim and push, as a flush does.
 *
 * Returns 1: from now on it is watched, and kthread_watch_end is to follow
 * 0: it is over, or there is nothing to wait for; and then it is not watched
 * -ESRCH: the worker was left behind in the parent process by fork
 * -EINVAL: @worker is NULL, or was never initialised
 */
int kthread_watch_work(struct kthread_watch *watch, struct kthread_work *work);
int kthread_watch_worker(struct kthread_watch *watch, struct kthread_worker *worker);

/*
 * kthread_watch_over - is what is watched over?
 *
 * From any thread; never sleeps. All that the callback wrote is seen when it says true.
 */
bool kthread_watch_over(const struct kthread_watch *watch);

/*
 * kthread_watch_end - watch no more, over or not
 *
 * From any thread, once; before the worker's memory is gone. In a forked child it does nothing.
 */
void kthread_watch_end(struct kthread_watch *watch);

/*
 * kthread_drain_worker, ..._timeout - wait until nothing is left to do
 * @worker: any
 * @timeout_ns: nanoseconds; see KTHREAD_FOREVER
 *
 * Until the list is empty and nothing executes, counting what works queue from their own
 * callbacks. Meanwhile all other queueing is refused with EAGAIN. Works whose timer runs
 * are not waited for; but timers go on, and one that runs out lists its work: a periodic
 * work that takes longer than its period may keep a drain waiting, as one that queues itself.
 *
 * From any thread but the worker's own; sleeps.
 *
 * Returns 0
 * -ETIMEDOUT: not in time
 * -EDEADLK: from one of its own callbacks, or of one that this worker waits for
 * -EINTR: a signal handler interrupted the sleep (..._interruptible only)
 * -ESRCH: @worker was left behind in the parent process by fork, with something to do
 * -EINVAL: @worker is NULL, or was never initialised
 *
 * As the kernel's drain_workqueue.
 */
int kthread_drain_worker(struct kthread_worker *worker);
int kthread_drain_worker_timeout(struct kthread_worker *worker, uint64_t timeout_ns);
int kthread_drain_worker_interruptible(struct kthread_worker *worker, uint64_t timeout_ns);

/*
 * A drain in steps, for a caller that must look after other things while it waits: _begin
 * has queueing refused, _wait may be called repeatedly, and _end, by the same thread, ends
 * the refusal. _begin and _wait return as the calls above, _wait -EINTR as well; after a
 * begin that failed no other step is to follow.
 */
struct kthread_drain {
	struct kthread_wait wait;	/* inside only */
};

int kthread_drain_begin(struct kthread_drain *drain, struct kthread_worker *worker);
int kthread_drain_wait(struct kthread_drain *drain, uint64_t timeout_ns);
void kthread_drain_end(struct kthread_drain *drain);

/*
 * kthread_cancel_work - drop the pending run of a work, without a wait
 * @work: any initialised work; of a delayed one, the timer is disarmed
 *
 * From anywhere but a signal handler, callbacks included. It may sleep for the moment in
 * which another thread queues the same work, never for a callback.
 *
 * Returns true: a run was pending, and will not come
 * false: none was
 * false, errno EINVAL: @work is NULL, or was never initialised
 */
bool kthread_cancel_work(struct kthread_work *work);
bool kthread_cancel_delayed_work(struct kthread_delayed_work *dwork);

/*
 * kthread_cancel_work_sync - drop the pending run, and wait for the one that executes
 *
 * While it waits queueing is refused, so that afterwards the work is neither pending nor
 * executing, also when its callback queues it; all that the callback wrote is seen, and
 * the work may be freed. From the work's own callback, or another one of the same
 * worker, there is nothing to wait for.
 *
 * From any thread; sleeps; not from a signal handler.
 *
 * Returns true: a run was pending, and will not come. Of many who cancel at once at most
 *	one is told so for one queueing.
 * false: none was
 * false, errno EDEADLK: from a callback which the executing one waits for; nothing changed
 * false, errno ESRCH: it executed in the parent process, before the fork
 * false, errno EINVAL: @work is NULL, or was never initialised
 *
 * As the kernel's.
 */
bool kthread_cancel_work_sync(struct kthread_work *work);
bool kthread_cancel_delayed_work_sync(struct kthread_delayed_work *dwork);

/*
 * kthread_cancel_work_sync_timeout - the same with a time limit
 * @timeout_ns: nanoseconds; see KTHREAD_FOREVER
 *
 * Returns 1 or 0 for true and false above, or -errno as there, besides
 * -ETIMEDOUT: the callback still runs. What was pending is dropped all the same.
 */
int kthread_cancel_work_sync_timeout(struct kthread_work *work, uint64_t timeout_ns);
int kthread_cancel_delayed_work_sync_timeout(struct kthread_delayed_work *dwork,
					     uint64_t timeout_ns);

/*
 * kthread_disable_work_sync, ..._timeout - cancel a work, and refuse to queue it
 *
 * As kthread_cancel_work_sync; but queueing stays refused until kthread_enable_work was
 * called as often, at most 65,535 times. On EDEADLK and EINVAL it is not disabled; on
 * -ETIMEDOUT it is.
 *
 * Returns as kthread_cancel_work_sync, besides
 * errno EOVERFLOW: disabled too often, with a warning
 *
 * As the kernel's disable_work_sync.
 */
bool kthread_disable_work_sync(struct kthread_work *work);
int kthread_disable_work_sync_timeout(struct kthread_work *work, uint64_t timeout_ns);

/*
 * kthread_enable_work - take back one disabling
 *
 * From anywhere but a signal handler.
 *
 * Returns true: it may be queued again
 * false: it is disabled still
 * false, errno EINVAL: it was not disabled, with a warning; NULL, or never initialised
 */
bool kthread_enable_work(struct kthread_work *work);

/*
 * A cancel in steps, for a caller that must look after other things while it waits:
 * _begin drops what is pending and refuses what comes, _wait may be called repeatedly, and
 * _end, by the same thread, lets the work be queued again. Its members are for reading.
 */
struct kthread_cancel {
	struct kthread_work *work;
	struct kthread_flush flush;	/* the run that executes */
	struct kthread_wait wait;	/* inside only */
	bool dropped;			/* a run was pending, and will not come */
	bool waits;			/* inside only, as what follows */
	pthread_t thread;		/* who cancels */
	struct kthread_cancel *next;	/* of all under way; under global_lock */
	struct kthread_cancel **link;	/* under global_lock */
};

/* Returns 0, and an end is to follow; or -EINVAL, -EDEADLK, and nothing has changed. */
int kthread_cancel_begin(struct kthread_cancel *cancel, struct kthread_work *work);
/* Returns 0, -ETIMEDOUT, -EINTR: a signal handler interrupted the sleep; or -ESRCH. */
int kthread_cancel_wait(struct kthread_cancel *cancel, uint64_t timeout_ns);
void kthread_cancel_end(struct kthread_cancel *cancel);
/* End it with the work disabled. Returns 0, or -EOVERFLOW, with a warning. */
int kthread_cancel_end_disabled(struct kthread_cancel *cancel);

/*
 * kthread_freeze_worker, ..._timeout - have a worker rest
 *
 * Takes effect between two works: what is queued meanwhile is kept in order. Returns
 * when the worker rests; without a thread at once, and a thread that comes later
 * rests first. When the time runs out the request is withdrawn, unless an earlier
 * call made it.
 *
 * Returns 0
 * -ETIMEDOUT: it did not come to rest in time
 * -EDEADLK: from one of its own callbacks, or of one that this worker waits for
 * -EINTR: a signal handler interrupted the sleep (..._interruptible only); withdrawn likewise
 * -EINVAL: @worker is NULL, or was never initialised
 * -ESHUTDOWN: @worker is being destroyed, or destroyed
 * -ESRCH: @worker was left behind in the parent process by fork
 */
int kthread_freeze_worker(struct kthread_worker *worker);
int kthread_freeze_worker_timeout(struct kthread_worker *worker, uint64_t timeout_ns);
int kthread_freeze_worker_interruptible(struct kthread_worker *worker, uint64_t timeout_ns);

/* kthread_thaw_worker - let it go on; from anywhere but a signal handler. */
void kthread_thaw_worker(struct kthread_worker *worker);

/* kthread_worker_freezing - has a freeze of the worker been asked for? A live snapshot. */
bool kthread_worker_freezing(struct kthread_worker *worker);

/* What kthread_work_busy returns: live snapshots, stale as soon as they are taken. */
#define KTHREAD_WORK_PENDING (1u << 0)
#define KTHREAD_WORK_EXECUTING (1u << 1)
#define KTHREAD_WORK_TIMED (1u << 2)	/* pending, and its timer runs */
#define KTHREAD_WORK_REFUSED (1u << 3)	/* being cancelled, or disabled */

/*
 * kthread_work_busy - what a work does: some of the bits above; none: idle
 *
 * From anywhere but a signal handler; takes the worker's lock when a delayed work is pending.
 */
unsigned int kthread_work_busy(struct kthread_work *work);

/*
 * kthread_work_worker - the worker that a work was queued on last; NULL: none yet
 *
 * In its own callback that is the worker which runs it. Elsewhere a live snapshot.
 */
struct kthread_worker *kthread_work_worker(struct kthread_work *work);

/* kthread_work_pending - is it queued and not yet begun? A live snapshot. */
bool kthread_work_pending(struct kthread_work *work);

/*
 * kthread_worker_set_busy_poll - how long the worker and its flushers may poll
 * @max_ns: nanoseconds; 0: never. The default is KTHREAD_POLL_MAX_DEFAULT_NS.
 *
 * Before they sleep both poll for a window that grows up to this bound while wake-ups
 * come soon and shrinks to nothing while they do not. Apart from that a worker to which works
 * come in a stream waits up to 2 microseconds in front of a look at its queue, so that its
 * looks do not slow down the producers. From anywhere.
 */
void kthread_worker_set_busy_poll(struct kthread_worker *worker, uint32_t max_ns);

/*
 * kthread_worker_set_ops - hooks for an embedder; while no thread is attached
 * @ops: stays the caller's and must outlive the worker; NULL: none
 * @data: for kthread_worker_data
 */
void kthread_worker_set_ops(struct kthread_worker *worker, const struct kthread_worker_ops *ops,
			    void *data);
void *kthread_worker_data(const struct kthread_worker *worker);

/*
 * kthread_set_patience - longest sleep before ops->interrupted is called
 * @ns: nanoseconds; 0, the default: it is called only when a signal handler ran
 *
 * Holds for the calling thread while it serves a worker.
 */
void kthread_set_patience(uint64_t ns);

/* kthread_current_worker - the worker that the calling thread serves; NULL: none. */
struct kthread_worker *kthread_current_worker(void);

/*
 * kthread_current_work - the work whose callback the calling thread is in; NULL: none
 *
 * Only its address, when the callback has freed it.
 */
struct kthread_work *kthread_current_work(void);

/*
 * kthread_worker_run_pending - run what is pending in the calling thread
 * @worker: one without a thread
 *
 * For a worker whose one thread is somebody else's: an event loop's, a GUI's. Runs what is
 * pending, or whose timer has run out, at the call; what the callbacks queue is left for
 * the next one. A freeze, a stop or a destruction takes effect between two works; a
 * frozen worker runs nothing.
 *
 * From any thread that serves no worker; sleeps only if a callback does.
 *
 * Returns how many were run
 * -EBUSY: @worker has a thread, or the calling thread serves a worker already
 * -EINVAL: @worker is NULL, or was never initialised
 * -ESHUTDOWN, -ESRCH: as kthread_worker_fn
 */
int kthread_worker_run_pending(struct kthread_worker *worker);

/*
 * kthread_worker_set_wake - be told when to call kthread_worker_run_pending
 * @wake: called once when there is something to do, or another timer is the earliest now,
 *	after the last run_pending, or the last thread, came to its end; NULL: none
 *
 * It runs on the thread that queues, a signal handler included, thaws, cancels or leaves,
 * perhaps under the core's locks, and may not call back into the core. Now and then it is
 * called for nothing. Once a timer runs out nobody calls: see kthread_worker_next_timer.
 *
 * While no thread is attached. Who queues meanwhile is waited for, some nanoseconds.
 *
 * Returns 0
 * -EBUSY: @worker has a thread
 * -EINVAL: @worker is NULL, or was never initialised
 * -ESHUTDOWN, -ESRCH: as kthread_worker_fn
 */
int kthread_worker_set_wake(struct kthread_worker *worker,
			    void (*wake)(struct kthread_worker *worker));

/*
 * kthread_worker_next_timer - when does the earliest timer of a worker run out?
 *
 * Returns the moment, on CLOCK_MONOTONIC in nanoseconds; KTHREAD_FOREVER: none runs.
 */
uint64_t kthread_worker_next_timer(struct kthread_worker *worker);

/*
 * kthread_worker_fd - a file descriptor to poll instead
 * @worker: one without a thread; while it has one the descriptor is not readable
 *
 * It is readable when kthread_worker_run_pending has something to do, a timer that has run
 * out included; run_pending, or another thread that serves the worker, makes it unreadable
 * again. Takes the place of a wake hook; closed when the worker is destroyed. An epoll
 * descriptor around an eventfd and a timerfd; not to be read from, and of no use after a fork.
 * The first call waits for who queues meanwhile, some nanoseconds.
 *
 * Returns the descriptor, the same at every call
 * -ENOTSUP: this is not Linux
 * -EINVAL, -ESHUTDOWN, -ESRCH: as kthread_worker_run_pending
 * -ENOMEM, -EMFILE, -ENFILE: the system has no room
 */
int kthread_worker_fd(struct kthread_worker *worker);

/*
 * Tracing, as the kernel's three tracepoints of the worker: a work was queued, its
 * function is about to be called, it has returned. NULL means none. Unset, each costs a
 * load and a branch that is predicted well.
 *
 * None may call into the worker. queue runs before the work can begin, in whatever calls
 * kthread_queue_work, a signal handler included; for a timer that runs out, on the worker's
 * thread. execute_end gets the address of a work that may be freed, or queued again.
 *
 * Built where <sys/sdt.h> is, the core has static probes of the same names and arguments
 * as well, provider kthread, which perf and bpftrace find.
 */
struct kthread_trace {
	void (*queue)(const struct kthread_trace *trace, struct kthread_worker *worker,
		      struct kthread_work *work);
	void (*execute_start)(const struct kthread_trace *trace, struct kthread_worker *worker,
			      struct kthread_work *work);
	void (*execute_end)(const struct kthread_trace *trace, struct kthread_worker *worker,
			    const void *work, kthread_work_func_t func);
};

/*
 * kthread_worker_set_trace - have a worker traced
 * @trace: constant, and alive until the worker is destroyed; NULL: no more
 *
 * From anywhere, at any time; a call under way may still reach the old one.
 */
void kthread_worker_set_trace(struct kthread_worker *worker, const struct kthread_trace *trace);

/*
 * kthread_worker_thread - which thread serves a worker?
 * @thread: where its POSIX id goes, or NULL
 * @tid: where the system's id of it goes, or NULL
 *
 * Returns false when no thread is attached; a live snapshot.
 */
bool kthread_worker_thread(struct kthread_worker *worker, pthread_t *thread, pid_t *tid);

/* Counters; all but pending and delayed only grow. */
struct kthread_worker_stats {
	uint64_t queued;	/* works put on the list */
	uint64_t executed;	/* runs begun */
	uint64_t pending;	/* on the list now */
	uint64_t cancelled;	/* runs dropped by cancel, disable or destroy */
	uint64_t delayed;	/* timers that run now */
	uint64_t sleeps;	/* times the worker went to sleep, and so was woken */
	uint64_t poll_hits;	/* times that polling spared it the sleep */
	uint64_t missed;	/* ticks of kthread_queue_periodic_work that were skipped */
};

/* kthread_worker_get_stats - a consistent snapshot; takes the worker's lock. */
void kthread_worker_get_stats(struct kthread_worker *worker, struct kthread_worker_stats *stats);

/* The names of the patch of 2010. */
#define init_kthread_worker(worker) kthread_init_worker(worker)
#define init_kthread_work(work, fn) kthread_init_work(work, fn)
#define queue_kthread_work(worker, work) kthread_queue_work(worker, work)
#define flush_kthread_work(work) kthread_flush_work(work)
#define flush_kthread_worker(worker) kthread_flush_worker(worker)

KTHREAD_API_END

#ifdef __cplusplus
}
#endif

#endif /* KTHREAD_WORKER_H */
