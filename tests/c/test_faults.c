/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Faults known from the kernel's worker and its relatives that are a moment wide: the hook
 * that says "about to be idle" holds the worker in that moment.
 */
#include "timed.h"

struct moment {
	atomic_bool armed;
	struct gate entered, go;
};

/* Outside of a run: nothing was found to do, and nothing was said yet of a sleep. */
static void hold_idle(struct kthread_worker *worker)
{
	struct moment *moment = kthread_worker_data(worker);

	if (kthread_current_work() || !atomic_exchange(&moment->armed, false))
		return;
	gate_open(&moment->entered);
	gate_wait(&moment->go);
}

static const struct kthread_worker_ops hold = { .idle = hold_idle };

/* Without polling: what it does not see now it sees never. */
static struct kthread_worker *held_worker(struct moment *moment)
{
	struct kthread_worker *worker = kthread_create_worker(0, "moment");

	CHECK(worker);
	gate_init(&moment->entered);
	gate_init(&moment->go);
	atomic_store(&moment->armed, true);
	kthread_worker_set_ops(worker, &hold, moment);
	kthread_worker_set_busy_poll(worker, 0);
	CHECK_EQ(kthread_start_worker(worker, NULL), 0);
	gate_wait(&moment->entered);
	return worker;
}

TEST(worker_about_to_sleep_queue_is_seen)
{
	struct moment moment;
	struct kthread_worker *worker = held_worker(&moment);
	struct counted c;

	counted_init(&c);
	CHECK(kthread_queue_work(worker, &c.work));
	gate_open(&moment.go);
	CHECK_EQ(kthread_flush_work(&c.work), 0);
	CHECK_EQ(atomic_load(&c.runs), 1);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

TEST(worker_about_to_sleep_timer_is_seen)
{
	struct moment moment;
	struct kthread_worker *worker = held_worker(&moment);
	struct timed t;

	timed_init(&t);
	CHECK(kthread_queue_delayed_work(worker, &t.dwork, 1));
	gate_open(&moment.go);
	WAIT_UNTIL(atomic_load(&t.runs));
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

static int side_freeze(void *worker)
{
	return kthread_freeze_worker(worker);
}

static int side_park(void *k)
{
	return kthread_park(k);
}

static int side_drain(void *worker)
{
	return kthread_drain_worker(worker);
}

static void request_is_seen(int (*request)(void *), bool of_thread)
{
	struct moment moment;
	struct kthread_worker *worker = held_worker(&moment);
	struct side side;

	side_start(&side, request, of_thread ? (void *)worker->task : (void *)worker);
	side_settle(&side);
	if (request != side_drain)
		CHECK(!atomic_load(&side.returned));
	gate_open(&moment.go);
	CHECK_EQ(side_join(&side), 0);
	if (request == side_destroy)
		return;
	if (of_thread)
		kthread_unpark(worker->task);
	kthread_thaw_worker(worker);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

TEST(worker_about_to_sleep_freeze_is_seen)
{
	request_is_seen(side_freeze, false);
}

TEST(worker_about_to_sleep_park_is_seen)
{
	request_is_seen(side_park, true);
}

TEST(worker_about_to_sleep_stop_is_seen)
{
	request_is_seen(side_stop_worker, false);
}

TEST(worker_about_to_sleep_destroy_is_seen)
{
	request_is_seen(side_destroy, false);
}

TEST(worker_about_to_sleep_drain_returns)
{
	request_is_seen(side_drain, false);
}

/* Thawed as it is about to rest. */
TEST(worker_about_to_rest_thaw_is_seen)
{
	struct moment moment;
	struct kthread_worker *worker = held_worker(&moment);
	struct counted c;
	struct side side;

	counted_init(&c);
	side_start(&side, side_freeze, worker);
	WAIT_UNTIL(kthread_worker_freezing(worker));
	CHECK(kthread_queue_work(worker, &c.work));
	gate_init(&moment.entered);
	gate_open(&moment.go);
	CHECK_EQ(side_join(&side), 0); /* it rests, or is about to */
	kthread_thaw_worker(worker);
	CHECK_EQ(kthread_flush_work(&c.work), 0);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

/* A work that is always pending again when the worker looks. */

TEST(work_that_requeues_itself_for_ever_stop_ends)
{
	struct kthread_worker *worker = new_worker("endless");
	struct requeuer r;

	for (int i = 0; i < 20; i++) {
		int runs;

		requeuer_init(&r, worker, -1);
		CHECK(kthread_queue_work(worker, &r.work));
		WAIT_UNTIL(atomic_load(&r.runs) > 5);
		CHECK_EQ(kthread_stop_worker(worker), 0);
		runs = atomic_load(&r.runs);
		CHECK_EQ(kthread_work_busy(&r.work), KTHREAD_WORK_PENDING);
		CHECK(kthread_cancel_work_sync(&r.work));
		CHECK_EQ(kthread_start_worker(worker, NULL), 0);
		CHECK_EQ(kthread_flush_worker(worker), 0);
		CHECK_EQ(atomic_load(&r.runs), runs);
	}
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

static int serve(void *worker)
{
	return kthread_worker_fn(worker);
}

TEST(work_that_requeues_itself_for_ever_kthread_stop_ends)
{
	struct kthread_worker worker;
	struct requeuer r;
	struct kthread *k;

	kthread_init_worker(&worker);
	requeuer_init(&r, &worker, -1);
	k = kthread_run(serve, &worker, "patch");
	CHECK(k);
	CHECK(kthread_queue_work(&worker, &r.work));
	WAIT_UNTIL(atomic_load(&r.runs) > 5);
	CHECK_EQ(kthread_stop(k), 0);
	CHECK_EQ(kthread_work_busy(&r.work), KTHREAD_WORK_PENDING);
	CHECK_EQ(kthread_destroy_worker(&worker), 0);
}

/* A flusher's note of itself is gone with it. */

TEST(flusher_that_has_slept_leaves_nothing_of_its_own_behind)
{
	struct kthread_worker *worker = new_worker("behind");
	struct side one, all;
	struct blocker b;

	blocker_occupy(&b, worker);
	side_start(&one, side_flush_work, &b.work);
	side_start(&all, side_flush_worker, worker);
	side_settle(&one);
	side_settle(&all);
	CHECK_EQ(kthread_flush_work_timeout(&b.work, MS(1)), -ETIMEDOUT);
	gate_open(&b.release[0]);
	CHECK_EQ(side_join(&one), 0);
	CHECK_EQ(side_join(&all), 0);
	CHECK(!worker->waiters);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

/* A work that finished is finished, whatever its worker does. */

TEST(finished_work_flush_on_a_frozen_worker_returns_at_once)
{
	struct kthread_worker *worker = new_worker("finished");
	struct counted c;

	counted_init(&c);
	CHECK(kthread_queue_work(worker, &c.work));
	CHECK_EQ(kthread_flush_work(&c.work), 0);
	CHECK_EQ(kthread_freeze_worker(worker), 0);
	CHECK_EQ(kthread_flush_work(&c.work), 0);
	CHECK_EQ(kthread_flush_work_timeout(&c.work, 0), 0);
	CHECK_EQ(kthread_flush_worker(worker), 0);
	CHECK_EQ(kthread_cancel_work_sync_timeout(&c.work, KTHREAD_FOREVER), 0);
	kthread_thaw_worker(worker);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}
