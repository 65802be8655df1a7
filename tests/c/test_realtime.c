/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What real-time threads need: the class, the CPUs and the cgroup of a living thread, what the
 * system refuses, locked memory; and inside, that locks inherit priority, and that a work is
 * queued and run without an allocation or a page fault.
 *
 * Linked with these in front of the C library's: they count what the calling thread does.
 */
#include "harness.h"

#include <semaphore.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "worker_internal.h"

#ifndef SCHED_DEADLINE
#define SCHED_DEADLINE 6
#endif

static atomic_uint allocations;		/* by any thread */
static _Thread_local unsigned int locks; /* of the worker's, taken by this one */
static _Atomic(struct kthread_worker *) watched_worker;

#define COUNTED(type, name, params, args)			\
	type __real_##name params;				\
	type __wrap_##name params;				\
	type __wrap_##name params				\
	{							\
		atomic_fetch_add(&allocations, 1);		\
		return __real_##name args;			\
	}

COUNTED(void *, malloc, (size_t size), (size))
COUNTED(void *, calloc, (size_t n, size_t size), (n, size))
COUNTED(void *, realloc, (void *block, size_t size), (block, size))
COUNTED(void *, aligned_alloc, (size_t alignment, size_t size), (alignment, size))
COUNTED(char *, strdup, (const char *text), (text))

int __real_pthread_mutex_lock(pthread_mutex_t *mutex);
int __wrap_pthread_mutex_lock(pthread_mutex_t *mutex);
int __wrap_pthread_mutex_lock(pthread_mutex_t *mutex)
{
	struct kthread_worker *worker = atomic_load(&watched_worker);

	/* Where the system has no futex, who sleeps and who wakes takes one of parking's own. */
	if (worker && (mutex == &worker->lock || mutex == &worker->attendance))
		locks++;
	return __real_pthread_mutex_lock(mutex);
}

/* ---- a living thread ---- */

static int sleep_until_stopped(void *data)
{
	(void)data;
	while (!kthread_should_stop())
		kthread_sleep(KTHREAD_FOREVER);
	return 0;
}

static struct kthread *sleeper(void)
{
	struct kthread *k = kthread_run(sleep_until_stopped, NULL, "sleeper");

	CHECK(k);
	return k;
}

/* May this process have real-time threads? */
static bool may_be_realtime(void)
{
	struct kthread_attr attr = KTHREAD_ATTR_INIT;
	struct kthread *k = sleeper();
	int result;

	attr.policy = SCHED_FIFO;
	attr.priority = 1;
	result = kthread_set_scheduler(k, &attr);
	CHECK_EQ(kthread_stop(k), 0);
	return result == 0;
}

static void check_scheduler(struct kthread *k, int policy, int priority, int nice)
{
	struct kthread_attr now = KTHREAD_ATTR_INIT;

	CHECK_EQ(kthread_get_scheduler(k, &now), 0);
	CHECK_EQ(now.policy, policy);
	CHECK_EQ(now.priority, priority);
	if (policy == SCHED_OTHER || policy == SCHED_BATCH)
		CHECK_EQ(now.nice, nice);
	/* By the system's own account, too. */
	CHECK_EQ(syscall(SYS_sched_getscheduler, kthread_tid(k)) & ~SCHED_RESET_ON_FORK, policy);
}

TEST(living_thread_changes_its_class)
{
	static const struct {
		int policy, priority, nice;
	} classes[] = {
		{ SCHED_FIFO, 50, KTHREAD_INHERIT }, { SCHED_RR, 1, KTHREAD_INHERIT },
		{ SCHED_BATCH, 0, 3 },		     { SCHED_OTHER, 0, -5 },
		{ SCHED_IDLE, 0, KTHREAD_INHERIT },  { SCHED_FIFO, 99, KTHREAD_INHERIT },
		{ SCHED_OTHER, 0, 7 },
	};
	struct kthread *k;

	if (!may_be_realtime())
		SKIP("SCHED_FIFO is not permitted here");
	k = sleeper();
	for (size_t i = 0; i < sizeof(classes) / sizeof(classes[0]); i++) {
		struct kthread_attr attr = KTHREAD_ATTR_INIT;

		attr.policy = classes[i].policy;
		attr.priority = classes[i].priority;
		attr.nice = classes[i].nice;
		CHECK_EQ(kthread_set_scheduler(k, &attr), 0);
		CHECK(!kthread_refused_attr());
		check_scheduler(k, attr.policy, attr.priority, attr.nice);
	}
	CHECK_EQ(kthread_stop(k), 0);
}

TEST(nice_alone_leaves_the_class)
{
	struct kthread_attr attr = KTHREAD_ATTR_INIT;
	struct kthread *k = sleeper();

	attr.nice = 4;
	CHECK_EQ(kthread_set_scheduler(k, &attr), 0);
	check_scheduler(k, SCHED_OTHER, 0, 4);
	CHECK_EQ(kthread_stop(k), 0);
}

TEST(deadline_class_has_its_three_times)
{
	struct kthread_attr attr = KTHREAD_ATTR_INIT, now = KTHREAD_ATTR_INIT;
	struct kthread *k;
	int result;

	attr.policy = SCHED_DEADLINE;
	attr.runtime_ns = MS(1);
	attr.deadline_ns = MS(5);
	attr.period_ns = MS(20);
	k = kthread_run_attr(sleep_until_stopped, NULL, &attr);
	if (!k && (errno == EPERM || errno == EBUSY || errno == ENOSYS))
		SKIP("SCHED_DEADLINE is not permitted here");
	CHECK(k);
	CHECK_EQ(kthread_get_scheduler(k, &now), 0);
	CHECK_EQ(now.policy, SCHED_DEADLINE);
	CHECK_EQ(now.runtime_ns, MS(1));
	CHECK_EQ(now.deadline_ns, MS(5));
	CHECK_EQ(now.period_ns, MS(20));

	attr.runtime_ns = MS(30); /* longer than its deadline */
	result = kthread_set_scheduler(k, &attr);
	CHECK_EQ(result, -EINVAL);
	CHECK(!strcmp(kthread_refused_attr(), "policy"));
	CHECK_EQ(kthread_get_scheduler(k, &now), 0);
	CHECK_EQ(now.runtime_ns, MS(1));
	CHECK_EQ(kthread_stop(k), 0);
}

TEST(refused_class_changes_nothing)
{
	struct kthread_attr attr = KTHREAD_ATTR_INIT;
	struct kthread *k = sleeper();

	attr.policy = SCHED_FIFO;
	attr.priority = 100;
	CHECK_EQ(kthread_set_scheduler(k, &attr), -EINVAL);
	CHECK(!strcmp(kthread_refused_attr(), "policy"));
	attr.policy = SCHED_OTHER;
	attr.priority = 0;
	attr.nice = 20;
	CHECK_EQ(kthread_set_scheduler(k, &attr), -EINVAL);
	CHECK(!strcmp(kthread_refused_attr(), "nice"));
	attr.policy = 77;
	attr.nice = KTHREAD_INHERIT;
	CHECK_EQ(kthread_set_scheduler(k, &attr), -EINVAL);
	CHECK_EQ(kthread_set_scheduler(k, NULL), -EINVAL);
	CHECK_EQ(kthread_set_scheduler(NULL, &attr), -EINVAL);
	check_scheduler(k, SCHED_OTHER, 0, getpriority(PRIO_PROCESS, 0));
	CHECK_EQ(kthread_stop(k), 0);
}

TEST(living_thread_changes_its_cpus)
{
	struct kthread *k = sleeper();
	char list[256], small[1];
	cpu_set_t own;

	sched_getaffinity(0, sizeof(own), &own);
	CHECK(kthread_get_cpus(k, list, sizeof(list)) > 0);
	CHECK_EQ(kthread_get_cpus(k, small, sizeof(small)), -ERANGE);
	if (!CPU_ISSET(0, &own) || !CPU_ISSET(1, &own)) {
		CHECK_EQ(kthread_stop(k), 0);
		SKIP("CPUs 0 and 1 are not ours");
	}
	CHECK_EQ(kthread_set_cpus(k, "1"), 0);
	CHECK_EQ(kthread_get_cpus(k, list, sizeof(list)), 1);
	CHECK(!strcmp(list, "1"));
	CHECK_EQ(kthread_set_cpus(k, "0,1"), 0);
	CHECK_EQ(kthread_get_cpus(k, list, sizeof(list)), 3);
	CHECK(!strcmp(list, "0-1"));
	CHECK_EQ(kthread_set_cpus(k, "0-"), -EINVAL);
	CHECK_EQ(kthread_set_cpus(k, NULL), -EINVAL);
	CHECK_EQ(kthread_get_cpus(k, list, sizeof(list)), 3);
	CHECK_EQ(kthread_stop(k), 0);
}

/* A cgroup of our own; NULL: none can be made. v2: a threaded one. */
static const char *make_cgroup(const char *mount, bool v2)
{
	static char path[256];
	char type[300];
	FILE *file;

	snprintf(path, sizeof(path), "%s/kthread-test-%d", mount, (int)getpid());
	snprintf(type, sizeof(type), "%s/%s", mount, v2 ? "cgroup.threads" : "tasks");
	if (access(type, W_OK) || mkdir(path, 0755))
		return NULL;
	if (v2) {
		snprintf(type, sizeof(type), "%s/cgroup.type", path);
		file = fopen(type, "w");
		CHECK(file);
		if (fputs("threaded", file) < 0 || fclose(file)) {
			rmdir(path);
			return NULL;
		}
	}
	return path;
}

static void check_cgroup(const char *mount, const char *controller)
{
	const char *directory = make_cgroup(mount, !controller);
	struct kthread_attr attr = KTHREAD_ATTR_INIT;
	char path[256], before[256], small[2];
	struct kthread *k;

	if (!directory)
		SKIP("no cgroup can be made in %s", mount);
	k = sleeper();
	CHECK(kthread_get_cgroup(k, controller, before, sizeof(before)) > 0);
	CHECK_EQ(kthread_set_cgroup(k, directory), 0);
	CHECK(kthread_get_cgroup(k, controller, path, sizeof(path)) > 0);
	CHECK(!strcmp(strrchr(path, '/'), strrchr(directory, '/')));
	CHECK_EQ(kthread_get_cgroup(k, controller, small, sizeof(small)), -ERANGE);
	CHECK_EQ(kthread_set_cgroup(k, "/nonexistent"), -ENOENT);
	CHECK_EQ(kthread_set_cgroup(k, NULL), -EINVAL);
	CHECK_EQ(kthread_stop(k), 0);

	/* From its begin; and the rest of the process stays where it is. */
	attr.cgroup = directory;
	k = kthread_run_attr(sleep_until_stopped, NULL, &attr);
	CHECK(k);
	CHECK(kthread_get_cgroup(k, controller, path, sizeof(path)) > 0);
	CHECK(!strcmp(strrchr(path, '/'), strrchr(directory, '/')));
	CHECK_EQ(kthread_stop(k), 0);
	k = sleeper();
	CHECK(kthread_get_cgroup(k, controller, path, sizeof(path)) > 0);
	CHECK(!strcmp(path, before));
	CHECK_EQ(kthread_stop(k), 0);
	WAIT_UNTIL(rmdir(directory) == 0);
}

TEST(living_thread_joins_a_cgroup_of_v1)
{
	check_cgroup("/sys/fs/cgroup/freezer", "freezer");
}

TEST(living_thread_joins_a_cgroup_of_v2)
{
	check_cgroup(access("/sys/fs/cgroup/unified", F_OK) ? "/sys/fs/cgroup" :
							       "/sys/fs/cgroup/unified", NULL);
}

TEST(cgroup_v2_that_is_not_threaded_is_refused)
{
	const char *mount = access("/sys/fs/cgroup/unified", F_OK) ? "/sys/fs/cgroup" :
								     "/sys/fs/cgroup/unified";
	struct kthread_attr attr = KTHREAD_ATTR_INIT;
	struct kthread *k;
	char path[256];

	snprintf(path, sizeof(path), "%s/cgroup.threads", mount);
	if (access(path, W_OK))
		SKIP("there is no cgroup v2 that may be written");
	snprintf(path, sizeof(path), "%s/kthread-domain-%d", mount, (int)getpid());
	if (mkdir(path, 0755))
		SKIP("no cgroup can be made in %s", mount);
	attr.cgroup = path;
	k = kthread_run_attr(sleep_until_stopped, NULL, &attr);
	CHECK(!k);
	CHECK_EQ(errno, EOPNOTSUPP);
	CHECK(!strcmp(kthread_refused_attr(), "cgroup"));
	CHECK_EQ(rmdir(path), 0);
}

TEST(ended_thread_is_not_found)
{
	struct kthread_attr attr = KTHREAD_ATTR_INIT;
	struct kthread *k = sleeper();
	char text[64];

	attr.nice = 1;
	CHECK_EQ(kthread_get_scheduler(NULL, &attr), -EINVAL);
	/* Over, and not yet joined. */
	kthread_ask(k, true);
	WAIT_UNTIL(kthread_has_ended(k));
	CHECK_EQ(kthread_set_scheduler(k, &attr), -ESRCH);
	CHECK_EQ(kthread_get_scheduler(k, &attr), -ESRCH);
	CHECK_EQ(kthread_set_cpus(k, "0"), -ESRCH);
	CHECK_EQ(kthread_get_cpus(k, text, sizeof(text)), -ESRCH);
	CHECK_EQ(kthread_set_cgroup(k, "/sys/fs/cgroup"), -ESRCH);
	CHECK_EQ(kthread_get_cgroup(k, NULL, text, sizeof(text)), -ESRCH);
	CHECK_EQ(kthread_stop(k), 0);
}

TEST(timer_slack_is_set)
{
	struct kthread_attr attr = KTHREAD_ATTR_INIT;
	struct kthread *k;
	char path[64];
	unsigned long long slack = 0;
	FILE *file;

	attr.timer_slack_ns = 12345;
	k = kthread_run_attr(sleep_until_stopped, NULL, &attr);
	CHECK(k);
	snprintf(path, sizeof(path), "/proc/%d/timerslack_ns", (int)kthread_tid(k));
	file = fopen(path, "r");
	if (!file || fscanf(file, "%llu", &slack) != 1) {
		if (file)
			fclose(file);
		CHECK_EQ(kthread_stop(k), 0);
		SKIP("the system does not show another thread's timer slack");
	}
	fclose(file);
	CHECK_EQ(slack, 12345);
	CHECK_EQ(kthread_stop(k), 0);
}

/* ---- what is refused, and for which attribute ---- */

/* In a child, since what is given up is not given back. */
static void in_child_without_rights(void (*fn)(void))
{
	pid_t child = fork();
	int status;

	CHECK(child >= 0);
	if (!child) {
		struct rlimit none = { 0, 0 };

		CHECK_EQ(setrlimit(RLIMIT_RTPRIO, &none), 0);
		CHECK_EQ(setrlimit(RLIMIT_NICE, &none), 0);
		CHECK_EQ(setrlimit(RLIMIT_MEMLOCK, &none), 0);
		if (!geteuid())
			CHECK_EQ(setresuid(65534, 65534, 65534), 0);
		fn();
		_exit(0);
	}
	CHECK_EQ(waitpid(child, &status, 0), child);
	CHECK(WIFEXITED(status));
	CHECK_EQ(WEXITSTATUS(status), 0);
}

static void check_refused(const struct kthread_attr *attr, int error, const char *field)
{
	CHECK_REFUSED(kthread_run_attr(sleep_until_stopped, NULL, attr), error);
	CHECK(kthread_refused_attr());
	CHECK(!strcmp(kthread_refused_attr(), field));
	CHECK_REFUSED(kthread_run_worker_attr(attr), error);
	CHECK(!strcmp(kthread_refused_attr(), field));
}

static void refusals(void)
{
	struct kthread_attr attr = KTHREAD_ATTR_INIT;
	int error;

	attr.policy = SCHED_FIFO;
	attr.priority = 1;
	check_refused(&attr, EPERM, "policy");
	attr.policy = KTHREAD_INHERIT;
	attr.nice = -1;
	/* EACCES by setpriority(2), for what lowers the nice value. */
	CHECK(!kthread_run_attr(sleep_until_stopped, NULL, &attr));
	error = errno;
	CHECK(error == EACCES || error == EPERM);
	check_refused(&attr, error, "nice");
	attr.nice = KTHREAD_INHERIT;
	attr.lock_memory = true;
	if (!UNDER_ASAN) { /* which locks nothing, and says that it did */
		CHECK(!kthread_run_attr(sleep_until_stopped, NULL, &attr));
		error = errno;
		CHECK(error == EPERM || error == ENOMEM);
		check_refused(&attr, error, "lock_memory");
		CHECK_EQ(kthread_lock_memory(), -error);
	}
	attr.lock_memory = false;
	if (!access("/sys/fs/cgroup/freezer/tasks", F_OK)) {
		attr.cgroup = "/sys/fs/cgroup/freezer";
		check_refused(&attr, EACCES, "cgroup");
	}
	attr.cgroup = NULL;
	attr.cpus = "4-3";
	check_refused(&attr, EINVAL, "cpus");
	attr.cpus = NULL;
	attr.stack_size = SIZE_MAX;
	check_refused(&attr, EINVAL, "stack_size");
}

TEST(without_rights_it_is_said_what_was_refused)
{
	struct kthread_attr attr = KTHREAD_ATTR_INIT;
	struct kthread *k;

	if (test_emulator())
		SKIP("%s has the rights of its own system", test_emulator());
	if (UNDER_TSAN)
		SKIP("no threads in a forked child under the thread sanitizer");
	in_child_without_rights(refusals);
	/* And what is right is not refused. */
	k = kthread_run_attr(sleep_until_stopped, NULL, &attr);
	CHECK(k);
	CHECK(!kthread_refused_attr());
	CHECK_EQ(kthread_stop(k), 0);
}

/* ---- priority inheritance ---- */

#define ONE_CPU "0"

static int as_fifo(struct kthread_attr *attr, int priority)
{
	attr->policy = SCHED_FIFO;
	attr->priority = priority;
	attr->cpus = ONE_CPU;
	return 0;
}

static struct {
	struct kthread_worker *worker;
	struct kthread_work work;
	struct kthread_work listed;
	struct kthread_delayed_work timed;
	struct kthread_attr low, middle, high;
	sem_t begin;
	atomic_bool locked, may_unlock, has_run, middle_runs, middle_gave_up;
} inversion;

/* Returns why it can't be shown here, or NULL. */
static const char *begin_inversion(void)
{
	static const struct kthread_attr defaults = KTHREAD_ATTR_INIT;
	cpu_set_t own;

	sched_getaffinity(0, sizeof(own), &own);
	if (!may_be_realtime() || !CPU_ISSET(0, &own) || sysconf(_SC_NPROCESSORS_ONLN) < 2)
		return "it takes SCHED_FIFO, CPU 0 and another one to look on";
	if (test_emulator() || getenv("RUNNING_ON_VALGRIND") || UNDER_TSAN)
		return "it takes threads that the system schedules as they are";
	memset(&inversion, 0, sizeof(inversion));
	sem_init(&inversion.begin, 0, 0);
	inversion.low = inversion.middle = inversion.high = defaults;
	as_fifo(&inversion.low, 10);
	as_fifo(&inversion.middle, 20);
	as_fifo(&inversion.high, 30);
	return NULL;
}

static void note_run(struct kthread_work *work)
{
	(void)work;
	atomic_store(&inversion.has_run, true);
}

/* Of the lowest priority: has the worker's lock when the others come. */
static int hold_lock(void *data)
{
	(void)data;
	lock_worker(inversion.worker);
	atomic_store(&inversion.locked, true);
	while (!atomic_load(&inversion.may_unlock))
		;
	unlock_worker(inversion.worker);
	return 0;
}

/* Of the middle one: computes until the work of the highest has run, and leaves nobody below it the CPU. */
static int compute(void *data)
{
	uint64_t until;

	(void)data;
	while (sem_wait(&inversion.begin))
		;
	until = park_clock_ns() + MS(4000);
	atomic_store(&inversion.middle_runs, true);
	while (!atomic_load(&inversion.has_run)) {
		if (park_clock_ns() > until) {
			atomic_store(&inversion.middle_gave_up, true);
			break;
		}
	}
	return 0;
}

/*
 * Now the middle one begins. If nobody above it has the CPU it does so at once; that is given some
 * time to be seen, which only makes the test sharper.
 */
static void let_middle_begin(void)
{
	sem_post(&inversion.begin);
	for (int i = 0; i < 50 && !atomic_load(&inversion.middle_runs); i++)
		nap();
}

static void do_nothing(struct kthread_work *work)
{
	(void)work;
}

/*
 * On one CPU. The lock's holder is of the lowest priority, and the middle one does not let it
 * run: so the worker, of the highest, would wait for the middle one, if its lock did not lend
 * its priority to the holder.
 */
TEST(middle_priority_does_not_keep_the_worker_from_its_lock)
{
	const char *reason = begin_inversion();
	struct kthread *holder, *spinner;
	pid_t tid;

	if (reason)
		SKIP("%s", reason);
	kthread_init_work(&inversion.work, note_run);
	inversion.worker = kthread_run_worker_attr(&inversion.high);
	CHECK(inversion.worker);
	kthread_worker_set_busy_poll(inversion.worker, 0);
	WAIT_UNTIL(load_relaxed(&inversion.worker->sleep)); /* so that it is not in the lock itself */
	CHECK(kthread_worker_thread(inversion.worker, NULL, &tid));
	spinner = kthread_run_attr(compute, NULL, &inversion.middle);
	CHECK(spinner);
	holder = kthread_run_attr(hold_lock, NULL, &inversion.low);
	CHECK(holder);
	WAIT_UNTIL(atomic_load(&inversion.locked));
	/* Wakes the worker, which takes the CPU and comes to its lock. */
	CHECK(kthread_queue_work(inversion.worker, &inversion.work));
	WAIT_UNTIL(!load_relaxed(&inversion.worker->sleep) && tid_settled(tid));
	let_middle_begin();
	atomic_store(&inversion.may_unlock, true);
	CHECK_EQ(kthread_flush_work(&inversion.work), 0);
	CHECK_EQ(kthread_stop(spinner), 0);
	CHECK_EQ(kthread_stop(holder), 0);
	CHECK(!atomic_load(&inversion.middle_gave_up));
	CHECK_EQ(kthread_destroy_worker(inversion.worker), 0);
}

/* The hook of a queueing: the worker's own thread calls it at its list, when a timer has run out. */
static void stay_at_the_list(const struct kthread_trace *trace, struct kthread_worker *worker,
			     struct kthread_work *work)
{
	(void)trace;
	/* It may have come by way of the lock, while its next timer was being read or set. */
	if (work != &inversion.timed.work || kthread_current_worker() != worker ||
	    !load_relaxed(&worker->inside) || atomic_load(&inversion.may_unlock))
		return;
	atomic_store(&inversion.locked, true);
	while (!atomic_load(&inversion.may_unlock))
		;
}

/* Of the highest priority: wants the list. */
static int want_the_list(void *data)
{
	(void)data;
	CHECK(kthread_cancel_work(&inversion.listed));
	atomic_store(&inversion.has_run, true);
	return 0;
}

/*
 * The other way round: the worker is of the lowest priority, and preempted at its list, where it
 * holds no lock. Who wants the list, of the highest, lends it its priority all the same.
 */
TEST(middle_priority_does_not_keep_the_worker_at_its_list)
{
	static const struct kthread_trace hooks = { .queue = stay_at_the_list };
	const char *reason = begin_inversion();
	struct kthread *canceller, *spinner;

	if (reason)
		SKIP("%s", reason);
	kthread_init_work(&inversion.listed, note_run);
	kthread_init_delayed_work(&inversion.timed, do_nothing);
	inversion.worker = kthread_run_worker_attr(&inversion.low);
	CHECK(inversion.worker);
	kthread_worker_set_trace(inversion.worker, &hooks);
	spinner = kthread_run_attr(compute, NULL, &inversion.middle);
	CHECK(spinner);
	CHECK(kthread_queue_periodic_work(inversion.worker, &inversion.timed, 1, MS(1)));
	WAIT_UNTIL(atomic_load(&inversion.locked));
	CHECK(kthread_queue_work(inversion.worker, &inversion.listed));
	canceller = kthread_run_attr(want_the_list, NULL, &inversion.high);
	CHECK(canceller);
	WAIT_UNTIL(load_relaxed(&inversion.worker->wanted) == WAITED_FOR &&
		   tid_settled(canceller->tid));
	let_middle_begin();
	atomic_store(&inversion.may_unlock, true);
	CHECK_EQ(kthread_stop(canceller), 0);
	CHECK_EQ(kthread_stop(spinner), 0);
	CHECK(!atomic_load(&inversion.middle_gave_up));
	CHECK_EQ(kthread_destroy_worker(inversion.worker), 0);
}

/*
 * Whoever queues is on the worker's own CPU, and of a lower class: while the worker polled, nobody
 * would come to give it anything.
 */
TEST(worker_of_a_high_priority_does_not_poll_where_it_keeps_others_from_their_only_cpu)
{
	struct kthread_attr high = KTHREAD_ATTR_INIT;
	struct kthread_worker_stats stats;
	struct kthread_worker *worker;
	struct kthread_work work;
	cpu_set_t own, one;

	sched_getaffinity(0, sizeof(own), &own);
	if (!may_be_realtime() || !CPU_ISSET(0, &own))
		SKIP("it takes SCHED_FIFO, and CPU 0");
	if (test_emulator() || getenv("RUNNING_ON_VALGRIND"))
		SKIP("it takes threads that the system schedules as they are");
	as_fifo(&high, 30);
	kthread_init_work(&work, note_run);
	worker = kthread_run_worker_attr(&high);
	CHECK(worker);
	kthread_worker_set_busy_poll(worker, 1000 * 1000 * 1000);
	CPU_ZERO(&one);
	CPU_SET(0, &one);
	CHECK_EQ(sched_setaffinity(0, sizeof(one), &one), 0);
	for (int i = 0; i < 200; i++) {
		CHECK(kthread_queue_work(worker, &work));
		CHECK_EQ(kthread_flush_work(&work), 0);
	}
	kthread_worker_get_stats(worker, &stats);
	CHECK_EQ(sched_setaffinity(0, sizeof(own), &own), 0);
	CHECK_EQ(stats.executed, 200);
	CHECK_EQ(stats.poll_hits, 0);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

/* ---- no lock, no allocation, no page fault ---- */

#define WARM_UP 200
#define RUNS 5000

static struct {
	atomic_uint ran;
	unsigned int locks; /* by the worker's thread, up to its last run */
	struct rusage usage;
} quiet;

static void note_usage(struct kthread_work *work)
{
	(void)work;
	quiet.locks = locks;
	getrusage(RUSAGE_THREAD, &quiet.usage);
	atomic_fetch_add(&quiet.ran, 1);
}

static void round_trips(struct kthread_worker *worker, struct kthread_work *works, int n)
{
	for (int i = 0; i < n; i++) {
		struct kthread_work *work = &works[i % 8];

		CHECK(kthread_queue_work(worker, work));
		if (i % 8 == 7) {
			CHECK_EQ(kthread_flush_work(work), 0);
		}
	}
	CHECK_EQ(kthread_flush_worker(worker), 0);
}

TEST(warm_worker_takes_no_lock_allocates_nothing_and_has_no_fault)
{
	struct kthread_attr attr = KTHREAD_ATTR_INIT;
	struct kthread_worker *worker;
	struct kthread_work works[8];
	struct rusage before, after;
	unsigned int allocated, taken, taken_there, ran;
	long faults_there;

	attr.lock_memory = true;
	worker = kthread_run_worker_attr(&attr);
	if (!worker && (errno == EPERM || errno == ENOMEM || errno == ENOSYS))
		SKIP("memory may not be locked here");
	CHECK(worker);
	for (int i = 0; i < 8; i++)
		kthread_init_work(&works[i], note_usage);
	round_trips(worker, works, WARM_UP);
	getrusage(RUSAGE_THREAD, &before);
	faults_there = quiet.usage.ru_minflt + quiet.usage.ru_majflt;
	allocated = atomic_load(&allocations);
	atomic_store(&watched_worker, worker);
	/* Once without a flusher, who may have had the lock when the last run ended. */
	ran = atomic_load(&quiet.ran) + 1;
	CHECK(kthread_queue_work(worker, &works[0]));
	WAIT_UNTIL(atomic_load(&quiet.ran) == ran);
	taken = locks;
	taken_there = quiet.locks;
	for (int i = 0; i < RUNS; i++)
		ran += kthread_queue_work(worker, &works[i % 8]);
	WAIT_UNTIL(atomic_load(&quiet.ran) == ran);
	CHECK_EQ(locks - taken, 0);
	CHECK_EQ(quiet.locks - taken_there, 0);
	CHECK_EQ(atomic_load(&allocations), allocated);
	/* Who sleeps in a flush does take the lock, and while it does the worker may. */
	round_trips(worker, works, RUNS);
	getrusage(RUSAGE_THREAD, &after);
	CHECK_EQ(atomic_load(&allocations), allocated);
	atomic_store(&watched_worker, NULL);
	if (!UNDER_ASAN && !UNDER_TSAN && !test_emulator() && !getenv("RUNNING_ON_VALGRIND")) {
		CHECK_EQ(after.ru_minflt + after.ru_majflt, before.ru_minflt + before.ru_majflt);
		CHECK_EQ(quiet.usage.ru_minflt + quiet.usage.ru_majflt, faults_there);
	}
	CHECK_EQ(kthread_destroy_worker(worker), 0);
	munlockall();
}

static void use_stack(struct kthread_work *work)
{
	volatile char much[512 << 10];
	struct rusage before;

	(void)work;
	getrusage(RUSAGE_THREAD, &before);
	for (size_t i = 0; i < sizeof(much); i += 1024)
		much[i] = 1;
	getrusage(RUSAGE_THREAD, &quiet.usage);
	quiet.usage.ru_minflt -= before.ru_minflt;
}

TEST(locked_stack_is_there_before_it_is_used)
{
	struct kthread_attr attr = KTHREAD_ATTR_INIT;
	struct kthread_worker *worker;
	struct kthread_work work;

	if (UNDER_ASAN || UNDER_TSAN || test_emulator() || getenv("RUNNING_ON_VALGRIND"))
		SKIP("it takes a stack that nobody else uses");
	attr.lock_memory = true;
	attr.stack_size = 1 << 20;
	worker = kthread_run_worker_attr(&attr);
	if (!worker && (errno == EPERM || errno == ENOMEM))
		SKIP("memory may not be locked here");
	CHECK(worker);
	kthread_init_work(&work, use_stack);
	CHECK(kthread_queue_work(worker, &work));
	CHECK_EQ(kthread_flush_work(&work), 0);
	CHECK_EQ(quiet.usage.ru_minflt, 0);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
	munlockall();
}


