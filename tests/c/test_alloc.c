/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Creation that fails at each of its allocations in turn: it fails as a whole, says why,
 * and nothing leaks. The core is linked with these in front of the C library's.
 */
#include "harness.h"

#include <stdarg.h>

static atomic_int until_failure = -1;	/* allocations that succeed; below zero: all do */
static atomic_int live;			/* blocks given out and not given back, workers aside */
static atomic_int live_workers;		/* they are pooled, never given back */
static atomic_bool thread_fails;
static int failed_with;

static bool fails(void)
{
	if (atomic_load(&until_failure) < 0 || atomic_fetch_sub(&until_failure, 1) > 0)
		return false;
	errno = failed_with = ENOMEM;
	return true;
}

static void *counted_block(void *block)
{
	if (block)
		atomic_fetch_add(&live, 1);
	return block;
}

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_malloc(size_t size)
{
	return fails() ? NULL : counted_block(__real_malloc(size));
}

void *__real_aligned_alloc(size_t alignment, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size)
{
	void *worker = fails() ? NULL : __real_aligned_alloc(alignment, size);

	if (worker)
		atomic_fetch_add(&live_workers, 1);
	return worker;
}

char *__real_strdup(const char *text);
char *__wrap_strdup(const char *text);
char *__wrap_strdup(const char *text)
{
	return fails() ? NULL : counted_block(__real_strdup(text));
}

int __real_vasprintf(char **text, const char *format, va_list args);
int __wrap_vasprintf(char **text, const char *format, va_list args);
int __wrap_vasprintf(char **text, const char *format, va_list args)
{
	int result = fails() ? -1 : __real_vasprintf(text, format, args);

	if (result >= 0)
		counted_block(*text);
	return result;
}

/* What a vasprintf is that the compiler has hardened. */
int __wrap___vasprintf_chk(char **text, int flag, const char *format, va_list args);
int __wrap___vasprintf_chk(char **text, int flag, const char *format, va_list args)
{
	(void)flag;
	return __wrap_vasprintf(text, format, args);
}

void __real_free(void *block);
void __wrap_free(void *block);
void __wrap_free(void *block)
{
	if (block)
		atomic_fetch_sub(&live, 1);
	__real_free(block);
}

int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *),
			  void *arg);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *),
			  void *arg);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *),
			  void *arg)
{
	return atomic_load(&thread_fails) ? EAGAIN : __real_pthread_create(thread, attr, fn, arg);
}

static int serve_nothing(void *data)
{
	(void)data;
	return 0;
}

/* The calls that make something. Each gives back what it has made. */

static bool make_worker(void)
{
	struct kthread_worker *worker = kthread_create_worker(0, "alloc/%d", 1);

	if (worker)
		CHECK_EQ(kthread_destroy_worker(worker), 0);
	return worker;
}

static bool make_running_worker(void)
{
	struct kthread_worker *worker = kthread_run_worker(0, "alloc/%d", 2);

	if (worker)
		CHECK_EQ(kthread_destroy_worker(worker), 0);
	return worker;
}

static bool make_worker_attr(void)
{
	struct kthread_attr attr = KTHREAD_ATTR_INIT;
	struct kthread_worker *worker;

	attr.name = "alloc";
	worker = kthread_run_worker_attr(&attr);
	if (worker)
		CHECK_EQ(kthread_destroy_worker(worker), 0);
	return worker;
}

static int own_cpu(void)
{
	cpu_set_t own;
	int cpu = 0;

	sched_getaffinity(0, sizeof(own), &own);
	while (!CPU_ISSET(cpu, &own))
		cpu++;
	return cpu;
}

static bool make_worker_on_cpu(void)
{
	struct kthread_worker *worker = kthread_create_worker_on_cpu(own_cpu(), 0, "alloc/%u");

	if (worker)
		CHECK_EQ(kthread_destroy_worker(worker), 0);
	return worker;
}

static bool make_running_worker_on_cpu(void)
{
	struct kthread_worker *worker = kthread_run_worker_on_cpu(own_cpu(), 0, "alloc/%u");

	if (worker)
		CHECK_EQ(kthread_destroy_worker(worker), 0);
	return worker;
}

static bool make_thread(void)
{
	struct kthread *k = kthread_run(serve_nothing, NULL, "alloc/%d", 3);

	if (k)
		CHECK_EQ(kthread_stop(k), 0);
	return k;
}

static bool make_thread_attr(void)
{
	struct kthread *k = kthread_run_attr(serve_nothing, NULL, NULL);

	if (k)
		CHECK_EQ(kthread_stop(k), 0);
	return k;
}

/* Of a worker that is there already: it is as it was when the call fails. */

static struct kthread_worker *there;

static bool make_descriptor(void)
{
	int fd = kthread_worker_fd(there);

	if (fd == -ENOTSUP)
		return true;
	if (fd < 0) {
		errno = -fd;
		return false;
	}
	CHECK_EQ(kthread_worker_set_wake(there, NULL), 0);
	return true;
}

static bool make_its_thread(void)
{
	int result = kthread_start_worker(there, NULL);

	if (result) {
		errno = -result;
		return false;
	}
	CHECK_EQ(kthread_stop_worker(there), 0);
	return true;
}

/* Fail the first allocation, the second, and so on, until there is none left to fail. */
static int failures_of(bool (*make)(void))
{
	int threads = count_threads(), fds = count_fds(), blocks = atomic_load(&live), n = 0;

	for (;;) {
		bool made;

		failed_with = 0;
		atomic_store(&until_failure, n);
		errno = 0;
		made = make();
		atomic_store(&until_failure, -1);
		if (made && !failed_with)
			break;
		CHECK(!made);
		CHECK_EQ(errno, ENOMEM);
		CHECK_EQ(atomic_load(&live), blocks);
		CHECK_EQ(count_fds(), fds);
		n++;
	}
	CHECK_EQ(atomic_load(&live), blocks);
	CHECK_EQ(count_fds(), fds);
	WAIT_UNTIL(count_threads() <= threads); /* one that was joined is counted for a moment more */
	return n;
}

/* More often than the pool keeps workers, so that also the first ones come back. */
static void fails_as_a_whole(bool (*make)(void), int least)
{
	int workers = 0;

	for (int round = 0; round < 40; round++) {
		CHECK(failures_of(make) >= least);
		if (round == 30)
			workers = atomic_load(&live_workers);
	}
	CHECK_EQ(atomic_load(&live_workers), workers);
}

TEST(create_worker_fails_as_a_whole)
{
	fails_as_a_whole(make_worker, 1);
}

TEST(run_worker_fails_as_a_whole)
{
	fails_as_a_whole(make_running_worker, 4);
}

TEST(run_worker_attr_fails_as_a_whole)
{
	fails_as_a_whole(make_worker_attr, 3);
}

TEST(create_worker_on_cpu_fails_as_a_whole)
{
	fails_as_a_whole(make_worker_on_cpu, 1);
}

TEST(run_worker_on_cpu_fails_as_a_whole)
{
	fails_as_a_whole(make_running_worker_on_cpu, 4);
}

TEST(kthread_run_fails_as_a_whole)
{
	fails_as_a_whole(make_thread, 3);
	fails_as_a_whole(make_thread_attr, 2);
}

TEST(worker_fd_fails_as_a_whole)
{
	struct counted c;

	there = kthread_create_worker(0, "there");
	CHECK(there);
	if (kthread_worker_fd(there) == -ENOTSUP)
		SKIP("no descriptors on this system");
	CHECK_EQ(kthread_worker_set_wake(there, NULL), 0);
	fails_as_a_whole(make_descriptor, 1);
	counted_init(&c);
	CHECK(kthread_queue_work(there, &c.work));
	CHECK_EQ(kthread_worker_run_pending(there), 1);
	CHECK_EQ(kthread_destroy_worker(there), 0);
}

TEST(start_worker_that_fails_leaves_the_worker_as_it_was)
{
	struct counted c;

	there = kthread_create_worker(0, "there");
	CHECK(there);
	counted_init(&c);
	CHECK(kthread_queue_work(there, &c.work));
	fails_as_a_whole(make_its_thread, 3);
	CHECK_EQ(kthread_start_worker(there, NULL), 0);
	CHECK_EQ(kthread_flush_work(&c.work), 0);
	CHECK_EQ(atomic_load(&c.runs), 1);
	CHECK_EQ(kthread_destroy_worker(there), 0);
}

TEST(thread_that_the_system_refuses_fails_the_creation)
{
	bool (*const makes[])(void) = {
		make_running_worker, make_worker_attr, make_running_worker_on_cpu, make_thread,
		make_thread_attr,
	};

	for (size_t i = 0; i < sizeof(makes) / sizeof(makes[0]); i++) {
		int blocks = atomic_load(&live), workers = 0;

		CHECK(makes[i]());
		atomic_store(&thread_fails, true);
		for (int round = 0; round < 40; round++) {
			CHECK_REFUSED(makes[i](), EAGAIN);
			CHECK_EQ(atomic_load(&live), blocks);
			if (round == 30)
				workers = atomic_load(&live_workers);
		}
		CHECK_EQ(atomic_load(&live_workers), workers);
		atomic_store(&thread_fails, false);
		CHECK(makes[i]());
	}
}
