/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * harness.h - what the C tests share: cases, checks, gates, handlers, side threads.
 *
 * A test program is a list of cases, run one after the other in one process:
 *
 *	TEST(idle_work_flush_returns_at_once)
 *	{
 *		...
 *		CHECK_EQ(kthread_flush_work(&work), 0);
 *	}
 *
 *	program			runs all cases
 *	program NAME		runs one
 *	program --list		names them
 *
 * A failed check prints its place and its values and ends the program with 1.
 * A case that hangs is named by the watchdog, which ends the program likewise. A
 * case may say SKIP("why"); the program ends with 77 when all its cases did.
 *
 * Tests wait on events: gates, joined threads, and WAIT_UNTIL for what can only be
 * looked at. No duration is ever asserted.
 *
 * A fuzz_*.c is such a program and, compiled with -DFUZZING, a target of libFuzzer: there
 * main and the watchdog are libFuzzer's, and no TEST() is run.
 */
#ifndef HARNESS_H
#define HARNESS_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "kthread_worker.h"

#if defined(__SANITIZE_THREAD__)
#define UNDER_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define UNDER_TSAN 1
#endif
#endif
#ifndef UNDER_TSAN
#define UNDER_TSAN 0
#endif

#if defined(__SANITIZE_ADDRESS__)
#define UNDER_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define UNDER_ASAN 1
#endif
#endif
#ifndef UNDER_ASAN
#define UNDER_ASAN 0
#endif

#define UNUSED __attribute__((unused))

#define MS(n) ((uint64_t)(n) * 1000000u)

/* Cases */

struct test_case {
	const char *name;
	void (*run)(void);
	struct test_case *next;
};

static struct test_case *test_first UNUSED, **test_last = &test_first;
static _Atomic(const char *) test_current = "(none)";
static atomic_uint test_serial UNUSED;
static atomic_uint test_limit;
static atomic_bool test_skipped;

#define TEST(id)								\
	static void test_##id(void);						\
	static struct test_case case_##id = { #id, test_##id, NULL };		\
	__attribute__((constructor)) static void enlist_##id(void)		\
	{									\
		*test_last = &case_##id;					\
		test_last = &case_##id.next;					\
	}									\
	static void test_##id(void)

/* Leaves the case, not the program; only from the case's own function. */
#define SKIP(...)								\
	do {									\
		printf("skip %s: ", atomic_load(&test_current));		\
		printf(__VA_ARGS__);						\
		printf("\n");							\
		fflush(stdout);							\
		atomic_store(&test_skipped, true);				\
		return;								\
	} while (0)

/* Checks, from any thread */

static UNUSED void check_failed(void)
{
	fflush(NULL);
#ifdef FUZZING
	abort(); /* so that the input is kept */
#else
	_exit(1);
#endif
}

#define CHECK(cond)								\
	do {									\
		if (!(cond)) {							\
			printf("%s:%d: %s: CHECK(%s) failed\n", __FILE__, __LINE__, \
			       atomic_load(&test_current), #cond);		\
			check_failed();						\
		}								\
	} while (0)

#define CHECK_EQ(left, right)							\
	do {									\
		intmax_t left_ = (intmax_t)(left), right_ = (intmax_t)(right);	\
		if (left_ != right_) {						\
			printf("%s:%d: %s: %s is %jd, %s is %jd\n", __FILE__,	\
			       __LINE__, atomic_load(&test_current), #left, left_, \
			       #right, right_);					\
			check_failed();						\
		}								\
	} while (0)

/* What was refused, with its errno; evaluates @call once. */
#define CHECK_REFUSED(call, error)						\
	do {									\
		errno = 0;							\
		CHECK(!(call));							\
		CHECK_EQ(errno, (error));					\
	} while (0)

static UNUSED void nap(void)
{
	nanosleep(&(struct timespec){ 0, 100000 }, NULL);
}

/* For what nobody announces. A hang is the watchdog's. */
#define WAIT_UNTIL(cond)							\
	do {									\
		while (!(cond))							\
			nap();							\
	} while (0)

/* The watchdog */

static unsigned int env_number(const char *name, unsigned int otherwise)
{
	const char *text = getenv(name);

	return text && *text ? (unsigned int)strtoul(text, NULL, 0) : otherwise;
}

/* What the runner names as emulating this system; NULL: nothing does. */
static UNUSED const char *test_emulator(void)
{
	const char *name = getenv("TEST_EMULATED");

	return name && *name ? name : NULL;
}

/* A case that is long by design asks for more, at its begin. */
static UNUSED void test_needs_seconds(unsigned int seconds)
{
	if (!getenv("TEST_CASE_TIMEOUT") && seconds > atomic_load(&test_limit))
		atomic_store(&test_limit, seconds);
}

#ifndef FUZZING

static void *watchdog(void *unused)
{
	unsigned int serial = 0, tenths = 0;

	(void)unused;
	for (;;) {
		nanosleep(&(struct timespec){ 0, 100000000 }, NULL);
		if (serial != atomic_load(&test_serial)) {
			serial = atomic_load(&test_serial);
			tenths = 0;
		}
		if (++tenths > 10 * atomic_load(&test_limit)) {
			printf("%s: hangs: no end within %u s\n", atomic_load(&test_current),
			       atomic_load(&test_limit));
			fflush(stdout);
			_exit(1);
		}
	}
	return NULL;
}

static void run_case(struct test_case *test)
{
	atomic_store(&test_limit, env_number("TEST_CASE_TIMEOUT", 20));
	atomic_store(&test_current, test->name);
	atomic_fetch_add(&test_serial, 1);
	test->run();
}

int main(int argc, char **argv)
{
	unsigned int ran = 0, skipped = 0;
	struct test_case *test;
	pthread_t dog;
	sigset_t all, old;

	if (argc > 1 && !strcmp(argv[1], "--list")) {
		for (test = test_first; test; test = test->next)
			printf("%s\n", test->name);
		return 0;
	}
	atomic_store(&test_limit, 20);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	if (pthread_create(&dog, NULL, watchdog, NULL) || pthread_detach(dog)) {
		printf("no watchdog thread\n");
		return 1;
	}
	pthread_sigmask(SIG_SETMASK, &old, NULL);

	for (test = test_first; test; test = test->next) {
		if (argc > 1 && strcmp(argv[1], test->name))
			continue;
		atomic_store(&test_skipped, false);
		run_case(test);
		ran++;
		skipped += atomic_load(&test_skipped);
	}
	if (!ran) {
		printf("no such case: %s\n", argc > 1 ? argv[1] : "(any)");
		return 2;
	}
	return ran == skipped ? 77 : 0;
}

#endif /* FUZZING */

/* Gates: shut until opened, then open for all */

struct gate {
	pthread_mutex_t mutex;
	pthread_cond_t cond;
	bool open;
};

#define GATE_INIT { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false }

static UNUSED void gate_init(struct gate *gate)
{
	*gate = (struct gate)GATE_INIT;
}

static UNUSED void gate_open(struct gate *gate)
{
	pthread_mutex_lock(&gate->mutex);
	gate->open = true;
	pthread_cond_broadcast(&gate->cond);
	pthread_mutex_unlock(&gate->mutex);
}

static UNUSED void gate_wait(struct gate *gate)
{
	pthread_mutex_lock(&gate->mutex);
	while (!gate->open)
		pthread_cond_wait(&gate->cond, &gate->mutex);
	pthread_mutex_unlock(&gate->mutex);
}

/* Handlers; the work is the first member of each */

/* Counts its runs, and notes the order among all counted works of a case. */
struct counted {
	struct kthread_work work;
	atomic_int runs;
	atomic_uint order;	/* 1, 2, 3 ... of its last run */
	atomic_int tid;		/* of the thread that ran it last */
};

static atomic_uint counted_order;

static UNUSED pid_t own_tid(void)
{
	return (pid_t)syscall(SYS_gettid);
}

static UNUSED void count_run(struct kthread_work *work)
{
	struct counted *c = (struct counted *)work;

	atomic_store(&c->order, atomic_fetch_add(&counted_order, 1) + 1);
	atomic_store(&c->tid, own_tid());
	atomic_fetch_add(&c->runs, 1);
}

static UNUSED void counted_init(struct counted *c)
{
	memset(c, 0, sizeof(*c));
	kthread_init_work(&c->work, count_run);
}

/* Blocks in each of its first runs until that run is released. */
#define BLOCKER_RUNS 4

struct blocker {
	struct kthread_work work;
	struct gate entered[BLOCKER_RUNS];
	struct gate release[BLOCKER_RUNS];
	atomic_int begun;
	atomic_int ended;
	int data;	/* plain: the number of the last run, written at its end */
};

static UNUSED void block_run(struct kthread_work *work)
{
	struct blocker *b = (struct blocker *)work;
	int run = atomic_fetch_add(&b->begun, 1);

	if (run < BLOCKER_RUNS) {
		gate_open(&b->entered[run]);
		gate_wait(&b->release[run]);
	}
	b->data = run + 1;
	atomic_fetch_add(&b->ended, 1);
}

static UNUSED void blocker_init(struct blocker *b)
{
	memset(b, 0, sizeof(*b));
	for (int i = 0; i < BLOCKER_RUNS; i++) {
		gate_init(&b->entered[i]);
		gate_init(&b->release[i]);
	}
	kthread_init_work(&b->work, block_run);
}

/* Have @worker busy with @b until gate_open(&b->release[0]). */
static UNUSED void blocker_occupy(struct blocker *b, struct kthread_worker *worker)
{
	blocker_init(b);
	CHECK(kthread_queue_work(worker, &b->work));
	gate_wait(&b->entered[0]);
}

/* Queues itself again, @left more times; below zero: for ever. */
struct requeuer {
	struct kthread_work work;
	struct kthread_worker *worker;
	atomic_int left;
	atomic_int runs;
	atomic_int refused;	/* the reason, once refused */
};

static UNUSED void requeue_run(struct kthread_work *work)
{
	struct requeuer *r = (struct requeuer *)work;
	int status;

	atomic_fetch_add(&r->runs, 1);
	if (!atomic_load(&r->left))
		return;
	if (atomic_load(&r->left) > 0)
		atomic_fetch_sub(&r->left, 1);
	status = kthread_queue_work_status(r->worker, work);
	if (status < 0)
		atomic_store(&r->refused, -status);
}

static UNUSED void requeuer_init(struct requeuer *r, struct kthread_worker *worker, int left)
{
	memset(r, 0, sizeof(*r));
	kthread_init_work(&r->work, requeue_run);
	r->worker = worker;
	atomic_store(&r->left, left);
}

/* Looking at threads from outside */

/* Is the thread asleep, or gone? A live snapshot. */
static UNUSED bool tid_settled(pid_t tid)
{
	char path[64], line[256], *state;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", (int)tid);
	file = fopen(path, "r");
	if (!file)
		return true;
	if (!fgets(line, sizeof(line), file))
		line[0] = 0;
	fclose(file);
	state = strrchr(line, ')');
	return !state || !state[1] || strchr("SDZX", state[2]);
}

static UNUSED long voluntary_switches(pid_t tid)
{
	char path[64], line[256];
	long switches = -1;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/self/task/%d/status", (int)tid);
	file = fopen(path, "r");
	if (!file)
		return -1;
	while (fgets(line, sizeof(line), file))
		if (sscanf(line, "voluntary_ctxt_switches: %ld", &switches) == 1)
			break;
	fclose(file);
	return switches;
}

static UNUSED int count_entries(const char *path)
{
	DIR *dir = opendir(path);
	struct dirent *entry;
	int count = 0;

	CHECK(dir);
	while ((entry = readdir(dir)))
		count += entry->d_name[0] != '.';
	closedir(dir);
	return count;
}

static UNUSED int count_threads(void)
{
	return count_entries("/proc/self/task");
}

static UNUSED int count_fds(void)
{
	return count_entries("/proc/self/fd");
}

/*
 * A thread beside the case's own. side_settle returns when it sleeps, in what it
 * calls first, or has ended: then a call that has to wait does wait, and one that
 * returned too early has shown it.
 */
struct side {
	pthread_t thread;
	int (*fn)(void *);
	void *arg;
	atomic_int tid;
	atomic_bool returned;
	int result;
};

static void *side_run(void *arg)
{
	struct side *side = arg;

	atomic_store(&side->tid, own_tid());
	side->result = side->fn(side->arg);
	atomic_store(&side->returned, true);
	return NULL;
}

static UNUSED void side_start(struct side *side, int (*fn)(void *), void *arg)
{
	memset(side, 0, sizeof(*side));
	side->fn = fn;
	side->arg = arg;
	CHECK_EQ(pthread_create(&side->thread, NULL, side_run, side), 0);
}

static UNUSED void side_settle(struct side *side)
{
	WAIT_UNTIL(atomic_load(&side->tid));
	for (int i = 0; i < 3; i++) {
		WAIT_UNTIL(atomic_load(&side->returned) || tid_settled(atomic_load(&side->tid)));
		nap();
	}
}

static UNUSED int side_join(struct side *side)
{
	CHECK_EQ(pthread_join(side->thread, NULL), 0);
	return side->result;
}

static UNUSED int side_flush_work(void *work)
{
	return kthread_flush_work(work);
}

static UNUSED int side_flush_worker(void *worker)
{
	return kthread_flush_worker(worker);
}

static UNUSED int side_destroy(void *worker)
{
	return kthread_destroy_worker(worker);
}

static UNUSED int side_stop_worker(void *worker)
{
	return kthread_stop_worker(worker);
}

/* Forked children */

static UNUSED void *no_op(void *arg)
{
	return arg;
}

/*
 * The thread sanitizer does not bear threads made in the forked child of a process with
 * threads, nor does every emulator: one is tried, by the system's calls alone. Where it is so,
 * children look at the old workers only. First asked by the parent.
 */
static UNUSED bool child_makes_threads(void)
{
	static int known = -1;
	pid_t pid;
	int status;

	if (UNDER_TSAN)
		return false;
	if (!test_emulator())
		return true;
	if (known >= 0)
		return known;
	fflush(NULL);
	pid = fork();
	CHECK(pid >= 0);
	if (!pid) {
		pthread_t thread;

		alarm(15);
		/* What the emulator cries when it falls belongs in nobody's report. */
		if (!freopen("/dev/null", "w", stderr))
			_exit(2);
		if (pthread_create(&thread, NULL, no_op, NULL) || pthread_join(thread, NULL))
			_exit(1);
		_exit(0);
	}
	while (waitpid(pid, &status, 0) < 0)
		CHECK_EQ(errno, EINTR);
	known = status == 0;
	if (!known)
		printf("skip %s: all threads of children: %s bears none (status %#x)\n",
		       atomic_load(&test_current), test_emulator(), (unsigned int)status);
	return known;
}

/* The worker's thread, as the system knows it; the worker has one. */
static UNUSED pid_t worker_tid(struct kthread_worker *worker)
{
	pid_t tid;

	CHECK(kthread_worker_thread(worker, NULL, &tid));
	return tid;
}

static UNUSED uint64_t worker_sleeps(struct kthread_worker *worker)
{
	struct kthread_worker_stats stats;

	kthread_worker_get_stats(worker, &stats);
	return stats.sleeps;
}

static UNUSED struct kthread_worker *new_worker(const char *name)
{
	struct kthread_worker *worker = kthread_run_worker(0, "%s", name);

	CHECK(worker);
	return worker;
}

/* For the stress tests */

/*
 * How often: STRESS_ROUNDS; else @rounds, less under a sanitizer, and only a part of them
 * where the runner asks for one of STRESS_SHARE parts.
 */
static UNUSED unsigned int stress_rounds(unsigned int rounds)
{
	unsigned int share = env_number("STRESS_SHARE", UNDER_TSAN || UNDER_ASAN ? 10 : 1);

	return env_number("STRESS_ROUNDS", share > 1 ? rounds / share + 1 : rounds);
}

/* STRESS_SEED, else a new one; printed, so that a failure can be repeated. */
static UNUSED uint64_t stress_seed(void)
{
	struct timespec now;
	uint64_t seed;

	clock_gettime(CLOCK_REALTIME, &now);
	seed = env_number("STRESS_SEED", (unsigned int)(now.tv_nsec ^ now.tv_sec ^ getpid()));
	printf("%s: STRESS_SEED=%" PRIu64 "\n", atomic_load(&test_current), seed);
	fflush(stdout);
	return seed * 2 + 1;
}

/* A small generator of one's own per thread. */
static UNUSED uint32_t stress_random(uint64_t *state)
{
	uint64_t x = *state;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	*state = x;
	return (uint32_t)(x >> 32);
}

static UNUSED void spin(unsigned int rounds)
{
	for (unsigned int i = 0; i < rounds; i++)
		__asm__ volatile("" ::: "memory");
}

#endif /* HARNESS_H */
