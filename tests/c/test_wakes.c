/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * How often the core asks the system to wake somebody: never when nobody sleeps. The core
 * is linked with these in front of its own.
 */
#include "timed.h"

static atomic_long wakes;

void __real_park_wake_one(_Atomic(uint32_t) *word);
void __wrap_park_wake_one(_Atomic(uint32_t) *word);
void __wrap_park_wake_one(_Atomic(uint32_t) *word)
{
	atomic_fetch_add(&wakes, 1);
	__real_park_wake_one(word);
}

void __real_park_wake_all(_Atomic(uint32_t) *word);
void __wrap_park_wake_all(_Atomic(uint32_t) *word);
void __wrap_park_wake_all(_Atomic(uint32_t) *word)
{
	atomic_fetch_add(&wakes, 1);
	__real_park_wake_all(word);
}

TEST(busy_worker_queue_wakes_nobody)
{
	static struct counted c[500];
	struct kthread_worker *worker = new_worker("busy");
	struct kthread_batch batch;
	struct blocker b;
	long before;

	blocker_occupy(&b, worker);
	before = atomic_load(&wakes);
	for (int i = 0; i < 400; i++) {
		counted_init(&c[i]);
		CHECK(kthread_queue_work(worker, &c[i].work));
		CHECK(!kthread_queue_work(worker, &c[i].work));
	}
	kthread_batch_begin(&batch, worker);
	for (int i = 400; i < 500; i++) {
		counted_init(&c[i]);
		CHECK_EQ(kthread_batch_add(&batch, &c[i].work), 1);
	}
	kthread_batch_end(&batch);
	CHECK_EQ(atomic_load(&wakes), before);
	gate_open(&b.release[0]);
	WAIT_UNTIL(atomic_load(&c[499].runs));
	CHECK_EQ(atomic_load(&wakes), before);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

/* Who sleeps in a flush waits for runs, and not for who queues meanwhile. */
TEST(queue_wakes_no_flusher)
{
	static struct counted c[100];
	struct kthread_worker *worker = new_worker("flushed");
	struct kthread_watch watch;
	struct side one, all;
	struct blocker b;
	long before;

	blocker_occupy(&b, worker);
	side_start(&one, side_flush_work, &b.work);
	side_start(&all, side_flush_worker, worker);
	side_settle(&one);
	side_settle(&all);
	CHECK_EQ(kthread_watch_work(&watch, &b.work), 1);
	before = atomic_load(&wakes);
	for (int i = 0; i < 100; i++) {
		counted_init(&c[i]);
		CHECK(kthread_queue_work(worker, &c[i].work));
		CHECK(!kthread_queue_work(worker, &c[i].work));
	}
	CHECK_EQ(atomic_load(&wakes), before);
	gate_open(&b.release[0]);
	CHECK_EQ(side_join(&one), 0);
	CHECK_EQ(side_join(&all), 0);
	kthread_watch_end(&watch);
	CHECK_EQ(kthread_flush_worker(worker), 0);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

TEST(worker_without_thread_queue_wakes_nobody)
{
	struct kthread_worker *worker = kthread_create_worker(0, "none");
	struct counted c[50];
	long before = atomic_load(&wakes);

	CHECK(worker);
	for (int i = 0; i < 50; i++) {
		counted_init(&c[i]);
		CHECK(kthread_queue_work(worker, &c[i].work));
	}
	CHECK_EQ(atomic_load(&wakes), before);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

/* A burst to a sleeping worker wakes it once. */
TEST(sleeping_worker_is_woken_once_a_burst)
{
	struct kthread_worker *worker = new_worker("burst");
	struct counted c[20];
	struct blocker b;

	kthread_worker_set_busy_poll(worker, 0);
	blocker_init(&b);
	for (int round = 0; round < 4; round++) {
		long before;

		do {
			nap();
			WAIT_UNTIL(tid_settled(worker_tid(worker)));
		} while (worker_sleeps(worker) < (uint64_t)round + 1);
		for (int i = 0; i < 20; i++)
			counted_init(&c[i]);
		before = atomic_load(&wakes);
		CHECK(kthread_queue_work(worker, &b.work));
		gate_wait(&b.entered[round]);
		for (int i = 0; i < 20; i++)
			CHECK(kthread_queue_work(worker, &c[i].work));
		gate_open(&b.release[round]);
		WAIT_UNTIL(atomic_load(&c[19].runs));
		CHECK(atomic_load(&wakes) <= before + 1);
	}
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

/* Nobody flushes: the end of a run tells nobody. */
TEST(run_without_a_flusher_tells_nobody)
{
	struct kthread_worker *worker = kthread_create_worker(0, "tells");
	struct counted c[50];
	long before;

	CHECK(worker);
	for (int i = 0; i < 50; i++) {
		counted_init(&c[i]);
		CHECK(kthread_queue_work(worker, &c[i].work));
	}
	before = atomic_load(&wakes);
	CHECK_EQ(kthread_worker_run_pending(worker), 50);
	CHECK_EQ(atomic_load(&wakes), before);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

/* A timer that is due after the one slept for changes nothing for the worker. */
TEST(later_timer_wakes_nobody)
{
	struct kthread_worker *worker = new_worker("later");
	struct timed first, more[20];
	long before;

	timed_init(&first);
	CHECK(kthread_queue_delayed_work(worker, &first.dwork, HOUR));
	do {
		nap();
		WAIT_UNTIL(tid_settled(worker_tid(worker)));
	} while (!worker_sleeps(worker));
	for (int i = 0; i < 3; i++) {
		nap();
		WAIT_UNTIL(tid_settled(worker_tid(worker)));
	}
	before = atomic_load(&wakes);
	for (int i = 0; i < 20; i++) {
		timed_init(&more[i]);
		CHECK(kthread_queue_delayed_work(worker, &more[i].dwork, 2 * HOUR));
	}
	CHECK_EQ(atomic_load(&wakes), before);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}
