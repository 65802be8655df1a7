/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * kthread.h - one thread with a name, attributes, a stop request and a freezer.
 *
 * What the kernel offers in <linux/kthread.h> and <linux/freezer.h>, on POSIX
 * threads. It knows nothing of workers: kthread_worker.h stands on top of it
 * and includes it.
 *
 *	static int blink(void *data)
 *	{
 *		while (!kthread_should_stop()) {
 *			try_to_freeze();
 *			toggle(data);
 *			kthread_sleep(500 * 1000 * 1000);
 *		}
 *		return 0;
 *	}
 *
 *	struct kthread *k = kthread_run(blink, &led, "blink/%d", 3);
 *	...
 *	kthread_stop(k);		// 0, what blink returned
 *
 * Every time is in nanoseconds, as uint64_t. Every int result is 0 or -errno
 * unless its comment says otherwise.
 */
#ifndef KTHREAD_H
#define KTHREAD_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * What stands between these two the shared library exports. Its build defines KTHREAD_EXPORT and
 * hides all else. Elsewhere they are nothing: a shared object that has the core in it, compiled
 * with -fvisibility=hidden, exports none of it.
 */
#ifdef KTHREAD_EXPORT
#define KTHREAD_API_BEGIN _Pragma("GCC visibility push(default)")
#define KTHREAD_API_END _Pragma("GCC visibility pop")
#else
#define KTHREAD_API_BEGIN
#define KTHREAD_API_END
#endif

#ifdef __cplusplus
extern "C" {
#endif

KTHREAD_API_BEGIN

#if defined(__GNUC__)
#define KTHREAD_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#else
#define KTHREAD_PRINTF(fmt, args)
#endif

/* A time limit that never runs out. A limit of 0 looks once and does not sleep. */
#define KTHREAD_FOREVER UINT64_MAX

/* One thread. Opaque; made by kthread_run, given back to kthread_stop. */
struct kthread;

/*
 * How a thread shall be made. Start from KTHREAD_ATTR_INIT and set what matters;
 * the strings are read during the call only.
 */
struct kthread_attr {
	/* The whole name is kept; the system shows its first 15 bytes. NULL: "kthread". */
	const char *name;
	/* Bytes; 0: the system's default. */
	size_t stack_size;
	/* SCHED_OTHER, SCHED_FIFO, ... of <sched.h>; KTHREAD_INHERIT: the creator's. */
	int policy;
	/* Static priority for SCHED_FIFO and SCHED_RR, else 0. */
	int priority;
	/* -20 ... 19; KTHREAD_INHERIT: the creator's. */
	int nice;
	/* CPU list as the kernel writes it, "2-3,6"; NULL: the creator's set. */
	const char *cpus;
	/* Directory of a cgroup to join by thread (v1: tasks, v2: cgroup.threads); NULL: none. */
	const char *cgroup;
	/*
	 * For SCHED_DEADLINE, in nanoseconds, else not looked at: so much of every period, within
	 * the deadline from its begin. A period of 0 is the deadline.
	 */
	uint64_t runtime_ns, deadline_ns, period_ns;
	/* How much later than asked for its sleeps may end, in nanoseconds; 0: the creator's. */
	uint64_t timer_slack_ns;
	/* As kthread_lock_memory; besides, its whole stack is touched before it begins. */
	bool lock_memory;
};

#define KTHREAD_INHERIT INT_MIN
#define KTHREAD_ATTR_INIT \
	{ NULL, 0, KTHREAD_INHERIT, 0, KTHREAD_INHERIT, NULL, NULL, 0, 0, 0, 0, false }

/*
 * kthread_run - make a thread that runs fn(data), and start it
 * @fn: the thread's function; what it returns is what kthread_stop returns
 * @data: passed to @fn; stays the caller's
 * @namefmt: printf format of the thread's name
 *
 * The thread blocks all signals. It has started when the call returns.
 *
 * From anywhere but a signal handler; sleeps until the thread has started. The
 * struct is the caller's until kthread_stop, to be called exactly once, also for
 * a function that returns by itself.
 *
 * Returns the thread, or
 * NULL with errno EINVAL: @fn or @namefmt is NULL
 * NULL with errno EAGAIN or ENOMEM: the system has no room for a thread
 *
 * As the kernel's kthread_run; but NULL and errno where the kernel has ERR_PTR.
 */
struct kthread *kthread_run(int (*fn)(void *data), void *data, const char *namefmt, ...)
	KTHREAD_PRINTF(3, 4);

/*
 * kthread_run_attr - kthread_run with attributes
 * @attr: see struct kthread_attr; NULL: the defaults
 *
 * All attributes are set on the thread before @fn begins. When one is refused
 * there is no thread and nothing leaks.
 *
 * Returns the thread, or NULL with errno as kthread_run, besides
 * EINVAL: a value that the system does not know, a malformed CPU list
 * EPERM, EACCES: a scheduling class, priority or cgroup that the caller may not use
 * EBUSY: the CPUs have not so much bandwidth left for SCHED_DEADLINE
 * ENOENT: no such cgroup
 * EOPNOTSUPP: a cgroup v2 that is not threaded
 * ENOTSUP: nothing of the kind on this system
 * and kthread_refused_attr tells which attribute it was.
 */
struct kthread *kthread_run_attr(int (*fn)(void *data), void *data,
				 const struct kthread_attr *attr);

/*
 * kthread_refused_attr - which attribute was refused?
 *
 * Returns the name of the field of struct kthread_attr that the calling thread's last
 * kthread_run_attr, kthread_start_worker or kthread_set_scheduler failed for; NULL when it
 * succeeded, or failed for another reason. The string is constant.
 */
const char *kthread_refused_attr(void);

/*
 * kthread_stop - ask a thread to end, wait for it, free it
 * @k: from kthread_run
 *
 * A frozen thread is thawed, a parked one unparked, a thread in kthread_sleep or in
 * kthread_worker_fn is woken. @k is gone afterwards, unless an error is returned.
 *
 * From any other thread; sleeps.
 *
 * Returns what the thread's function returned, or
 * -EINVAL: @k is NULL, or a thread that kthread_run did not make
 * -EDEADLK: called by @k itself
 * -ESRCH: @k was left behind in the parent process by fork; @k is freed
 */
int kthread_stop(struct kthread *k);

/*
 * kthread_should_stop - shall the calling thread end?
 *
 * In a work's callback it is also true once the destruction or the stop of its
 * worker was asked for, so that a long callback can give way.
 *
 * Returns true when it shall; false otherwise, and on a thread that is no kthread.
 */
bool kthread_should_stop(void);

/*
 * kthread_current - the calling thread; stands for the patch's "current"
 *
 * Returns the thread that kthread_run made; within kthread_worker_fn also for other
 * threads something that lives until it returns; NULL elsewhere.
 */
struct kthread *kthread_current(void);

/*
 * kthread_sleep - sleep on behalf of the calling kthread
 * @timeout_ns: nanoseconds, KTHREAD_FOREVER for no limit
 *
 * Ends at once, or early, when a stop, a freeze or a park is asked for or
 * kthread_wake_up was called since the last sleep.
 *
 * Ours; the kernel's loop of set_current_state and schedule_timeout in one call.
 *
 * Returns 0 when woken
 * -ETIMEDOUT: the time is over
 * -EINVAL: the calling thread is no kthread
 */
int kthread_sleep(uint64_t timeout_ns);

/*
 * kthread_wait_for_wake_up - the same, but a request ends it once
 * @timeout_ns: nanoseconds, KTHREAD_FOREVER for no limit
 *
 * A request wakes the thread, as kthread_wake_up does; the next sleep is a sleep again,
 * though the request stands: as the kernel's schedule_timeout.
 *
 * Returns as kthread_sleep.
 */
int kthread_wait_for_wake_up(uint64_t timeout_ns);

/*
 * kthread_wake_up - end the present or the next sleep of @k, kthread_sleep or the other
 *
 * From anywhere, a signal handler included, while @k lives. As wake_up_process.
 */
void kthread_wake_up(struct kthread *k);

/*
 * kthread_freeze, kthread_freeze_timeout - have a thread rest
 * @k: the thread, alive during the call
 * @timeout_ns: nanoseconds; see KTHREAD_FOREVER
 *
 * Returns when @k rests in try_to_freeze or, for a worker's thread, between two
 * works. When the time runs out the request is withdrawn, unless an earlier call
 * made it.
 *
 * From any other thread; sleeps.
 *
 * Returns 0: the thread rests, or has ended
 * -ETIMEDOUT: it did not come to rest in time
 * -EDEADLK: @k is the calling thread
 * -EINVAL: @k is NULL
 *
 * As the kernel's freeze_task, with the wait that its caller does.
 */
int kthread_freeze(struct kthread *k);
int kthread_freeze_timeout(struct kthread *k, uint64_t timeout_ns);

/*
 * kthread_thaw - let a frozen thread go on; withdraws a freeze not yet in effect
 *
 * From anywhere but a signal handler. Does nothing when no freeze was asked for.
 */
void kthread_thaw(struct kthread *k);

/* freezing - has a freeze of @k been asked for? A live snapshot. */
bool freezing(struct kthread *k);

/*
 * try_to_freeze - rest while a freeze of the calling thread is in effect
 *
 * To be called by a thread function where it may rest. A stop ends the rest.
 *
 * Returns true when the thread has rested; false at once otherwise.
 */
bool try_to_freeze(void);

/*
 * kthread_park, kthread_park_timeout - have a thread wait in kthread_parkme
 * @k: the thread, alive during the call
 * @timeout_ns: nanoseconds; see KTHREAD_FOREVER
 *
 * Returns when @k waits in kthread_parkme, which its function calls once
 * kthread_should_park says so; a worker's thread parks between two works, and what is
 * queued meanwhile is kept. When the time runs out the request is withdrawn, unless an
 * earlier call made it. Called by @k itself it only asks, and returns.
 *
 * From any thread; sleeps.
 *
 * Returns 0: the thread is parked
 * -ENOSYS: it has ended, or was left behind in the parent process by fork
 * -ETIMEDOUT: it did not park in time
 * -EINVAL: @k is NULL
 *
 * As the kernel's; of a worker's thread the kernel's waits for ever.
 */
int kthread_park(struct kthread *k);
int kthread_park_timeout(struct kthread *k, uint64_t timeout_ns);

/*
 * kthread_unpark - let a parked thread go on; withdraws a request not yet in effect
 *
 * From anywhere but a signal handler. Does nothing when none was made. A stop unparks.
 */
void kthread_unpark(struct kthread *k);

/* kthread_should_park - shall the calling thread call kthread_parkme? False for no kthread. */
bool kthread_should_park(void);

/*
 * kthread_parkme - wait until the calling thread is unparked, or asked to stop
 *
 * Returns at once when no park was asked for.
 */
void kthread_parkme(void);

/*
 * kthread_bind - bind a thread to one CPU
 *
 * From any thread, at any time.
 *
 * Returns 0
 * -EINVAL: @k is NULL, there is no such CPU, or the thread may not use it
 * -ESRCH: @k has ended, or was left behind in the parent process by fork
 *
 * As the kernel's, which is void and takes a thread that has not run yet.
 */
int kthread_bind(struct kthread *k, unsigned int cpu);

/*
 * kthread_set_scheduler - give a living thread another class, priority or nice value
 * @attr: policy, priority, nice and, for SCHED_DEADLINE, its three times; the rest is not looked at
 *
 * All in one step, or nothing. From any thread; Linux only.
 *
 * Returns 0
 * -EINVAL: @k or @attr is NULL; values that the system does not know
 * -EPERM, -EACCES: the caller may not; CAP_SYS_NICE, RLIMIT_RTPRIO and RLIMIT_NICE decide
 * -EBUSY: the CPUs have not so much bandwidth left for SCHED_DEADLINE
 * -ESRCH: @k has ended, or was left behind in the parent process by fork
 * -ENOTSUP: nothing of the kind on this system
 *
 * sched_setattr(2), sched(7).
 */
int kthread_set_scheduler(struct kthread *k, const struct kthread_attr *attr);

/*
 * kthread_get_scheduler - what a thread has now, by the system's own account
 * @attr: the same fields are written, the rest is left as it is
 *
 * From any thread; Linux only. Returns 0, or -EINVAL, -ESRCH, -ENOTSUP as above.
 */
int kthread_get_scheduler(const struct kthread *k, struct kthread_attr *attr);

/*
 * kthread_set_cpus - have a living thread run on these CPUs alone
 * @cpus: a list as the kernel writes it, "2-3,6"
 *
 * From any thread; Linux only.
 *
 * Returns 0, or -ESRCH and -ENOTSUP as kthread_set_scheduler, or
 * -EINVAL: @k or @cpus is NULL, a malformed list, or none of them may be used
 */
int kthread_set_cpus(struct kthread *k, const char *cpus);

/*
 * kthread_get_cpus - the CPUs that a thread may run on now
 * @list: gets the list, as kthread_set_cpus takes it, and a NUL
 * @size: of @list, in bytes
 *
 * From any thread; Linux only. Returns the list's length, or
 * -ERANGE: @list is too small; else as kthread_get_scheduler
 */
int kthread_get_cpus(const struct kthread *k, char *list, size_t size);

/*
 * kthread_set_cgroup - have a living thread join a cgroup, v1 or v2
 * @directory: where it is mounted, as in struct kthread_attr
 *
 * From any thread; Linux only.
 *
 * Returns 0, or -ESRCH and -ENOTSUP as kthread_set_scheduler, or
 * -EINVAL: @k or @directory is NULL; v1: a real-time thread, and no time for such there
 * -ENOENT: no such cgroup
 * -EPERM, -EACCES: the caller may not write there
 * -EOPNOTSUPP: a cgroup v2 that is not threaded, or not in the process's threaded subtree
 *
 * cgroups(7); the kernel's cgroup_attach_task_all, which the patch was written for.
 */
int kthread_set_cgroup(struct kthread *k, const char *directory);

/*
 * kthread_get_cgroup - where a thread is now
 * @controller: of v1, "cpu" say; NULL: in the hierarchy of v2
 * @path: gets the path from the hierarchy's root, and a NUL
 * @size: of @path, in bytes
 *
 * From any thread; Linux only. Returns the path's length, or
 * -ENOENT: there is no such hierarchy
 * -ERANGE: @path is too small; else as kthread_get_scheduler
 */
int kthread_get_cgroup(const struct kthread *k, const char *controller, char *path, size_t size);

/*
 * kthread_lock_memory - keep all memory of the process resident, now and in future
 *
 * With glibc, besides, what is freed is kept: so a page that was used once faults no more.
 *
 * From any thread; takes as long as it takes to read in what is not resident.
 *
 * Returns 0
 * -EPERM: the caller may not; CAP_IPC_LOCK and RLIMIT_MEMLOCK decide
 * -ENOMEM: RLIMIT_MEMLOCK is too small
 *
 * mlockall(2).
 */
int kthread_lock_memory(void);

/* kthread_func - the function that kthread_run was given; NULL: kthread_run did not make @k. */
typedef int (*kthread_func_t)(void *data);
kthread_func_t kthread_func(const struct kthread *k);

/* kthread_data - what kthread_run was given for its function. */
void *kthread_data(const struct kthread *k);

/* kthread_name - the whole name of @k; lives as long as @k. */
const char *kthread_name(const struct kthread *k);

/* kthread_tid - the system's id of @k: gettid() on Linux; never changes. */
pid_t kthread_tid(const struct kthread *k);

/*
 * Warnings: what the kernel does with WARN_ON. Each is counted and given to the
 * hook; the default hook writes one line to standard error. The hook runs on the
 * thread that misused the interface, and may not call back into it.
 */
typedef void (*kthread_warn_func_t)(const char *message);

/* kthread_set_warn_hook - replace the hook; NULL: the default. Returns the old one. */
kthread_warn_func_t kthread_set_warn_hook(kthread_warn_func_t hook);

/* kthread_warnings - how many warnings this process has given. */
unsigned long kthread_warnings(void);

KTHREAD_API_END

#ifdef __cplusplus
}
#endif

#endif /* KTHREAD_H */
