/* SPDX-License-Identifier: GPL-2.0-only */
/* State of a work x queue. */
#include "harness.h"

TEST(worker_says_whether_it_refuses)
{
	struct kthread_worker *worker = new_worker("refusal");

	CHECK_EQ(kthread_worker_refusal(NULL), -EINVAL);
	CHECK_EQ(kthread_worker_refusal(worker), 0);
	kthread_hold_worker(worker);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
	CHECK_EQ(kthread_worker_refusal(worker), -ESHUTDOWN);
	kthread_release_worker(worker);
}

TEST(idle_work_queue_is_true_and_runs_once)
{
	struct kthread_worker *worker = new_worker("idle");
	struct counted c;

	counted_init(&c);
	CHECK(kthread_queue_work(worker, &c.work));
	CHECK_EQ(kthread_flush_work(&c.work), 0);
	CHECK_EQ(atomic_load(&c.runs), 1);
	CHECK_EQ(kthread_work_busy(&c.work), 0);
	CHECK_EQ(kthread_queue_work_status(worker, &c.work), 1);
	CHECK_EQ(kthread_flush_work(&c.work), 0);
	CHECK_EQ(atomic_load(&c.runs), 2);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

/* Nobody flushes: the queueing alone has to wake the worker. */
TEST(idle_work_queue_wakes_a_sleeping_worker)
{
	struct kthread_worker *worker = new_worker("sleeper");
	struct blocker b;

	for (int round = 0; round < 50; round++) {
		uint64_t sleeps = worker_sleeps(worker);

		blocker_init(&b);
		gate_open(&b.release[0]);
		CHECK(kthread_queue_work(worker, &b.work));
		gate_wait(&b.entered[0]);
		WAIT_UNTIL(worker_sleeps(worker) > sleeps);
		WAIT_UNTIL(tid_settled(worker_tid(worker)));
		CHECK_EQ(kthread_flush_work(&b.work), 0);
	}
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

TEST(pending_work_queue_is_false_and_keeps_its_place)
{
	struct kthread_worker *worker = kthread_create_worker(0, "pending");
	struct counted a, b;

	CHECK(worker);
	counted_init(&a);
	counted_init(&b);
	atomic_store(&counted_order, 0);
	CHECK(kthread_queue_work(worker, &a.work));
	CHECK(kthread_queue_work(worker, &b.work));
	errno = 4711;
	CHECK(!kthread_queue_work(worker, &a.work));
	CHECK_EQ(errno, 4711);
	CHECK_EQ(kthread_queue_work_status(worker, &a.work), 0);
	CHECK_EQ(errno, 4711);
	CHECK_EQ(kthread_work_busy(&a.work), KTHREAD_WORK_PENDING);
	CHECK_EQ(kthread_start_worker(worker, NULL), 0);
	CHECK_EQ(kthread_flush_worker(worker), 0);
	CHECK_EQ(atomic_load(&a.runs), 1);
	CHECK_EQ(atomic_load(&b.runs), 1);
	CHECK_EQ(atomic_load(&a.order), 1);
	CHECK_EQ(atomic_load(&b.order), 2);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

TEST(executing_work_queue_is_true_and_runs_once_more)
{
	struct kthread_worker *worker = new_worker("executing");
	struct blocker b;

	blocker_occupy(&b, worker);
	CHECK_EQ(kthread_work_busy(&b.work), KTHREAD_WORK_EXECUTING);
	CHECK(!kthread_work_pending(&b.work));
	CHECK(kthread_queue_work(worker, &b.work));
	CHECK_EQ(kthread_work_busy(&b.work), KTHREAD_WORK_EXECUTING | KTHREAD_WORK_PENDING);
	CHECK(kthread_work_pending(&b.work));
	CHECK_EQ(kthread_queue_work_status(worker, &b.work), 0);
	gate_open(&b.release[0]);
	gate_open(&b.release[1]);
	CHECK_EQ(kthread_flush_work(&b.work), 0);
	CHECK_EQ(atomic_load(&b.begun), 2);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
	CHECK_EQ(atomic_load(&b.begun), 2);
}

TEST(executing_work_queue_goes_to_the_tail)
{
	struct kthread_worker *worker = new_worker("tail");
	struct requeuer first;
	struct blocker b;
	struct counted c;

	blocker_occupy(&b, worker);
	requeuer_init(&first, worker, 0);
	counted_init(&c);
	CHECK(kthread_queue_work(worker, &c.work));
	CHECK(kthread_queue_work(worker, &b.work));
	CHECK(kthread_queue_work(worker, &first.work));
	gate_open(&b.release[0]);
	gate_wait(&b.entered[1]);
	CHECK_EQ(atomic_load(&c.runs), 1);
	CHECK_EQ(atomic_load(&first.runs), 0);
	gate_open(&b.release[1]);
	CHECK_EQ(kthread_flush_worker(worker), 0);
	CHECK_EQ(atomic_load(&first.runs), 1);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

TEST(work_pending_on_another_worker_is_refused)
{
	struct kthread_worker *one = kthread_create_worker(0, "one");
	struct kthread_worker *two = new_worker("two");
	struct counted c;

	CHECK(one);
	counted_init(&c);
	CHECK(kthread_queue_work(one, &c.work));
	CHECK_REFUSED(kthread_queue_work(two, &c.work), EBUSY);
	errno = 4711;
	CHECK_EQ(kthread_queue_work_status(two, &c.work), -EBUSY);
	CHECK_EQ(errno, 4711);
	CHECK_EQ(kthread_flush_worker(two), 0);
	CHECK_EQ(atomic_load(&c.runs), 0);
	CHECK(kthread_work_pending(&c.work));
	CHECK_EQ(kthread_start_worker(one, NULL), 0);
	CHECK_EQ(kthread_flush_work(&c.work), 0);
	CHECK_EQ(atomic_load(&c.runs), 1);
	CHECK_EQ(kthread_destroy_worker(one), 0);
	CHECK_EQ(kthread_destroy_worker(two), 0);
}

TEST(work_executing_on_another_worker_is_refused)
{
	struct kthread_worker *one = new_worker("one"), *two = new_worker("two");
	struct blocker b;

	blocker_occupy(&b, one);
	CHECK_REFUSED(kthread_queue_work(two, &b.work), EBUSY);
	CHECK_EQ(kthread_queue_work_status(two, &b.work), -EBUSY);
	CHECK(kthread_queue_work(one, &b.work));
	CHECK_REFUSED(kthread_queue_work(two, &b.work), EBUSY);
	gate_open(&b.release[0]);
	gate_wait(&b.entered[1]);
	CHECK_REFUSED(kthread_queue_work(two, &b.work), EBUSY);
	gate_open(&b.release[1]);
	CHECK_EQ(kthread_flush_work(&b.work), 0);
	CHECK_EQ(atomic_load(&b.begun), 2);

	gate_open(&b.release[2]);
	CHECK(kthread_queue_work(two, &b.work));
	CHECK_EQ(kthread_flush_work(&b.work), 0);
	CHECK_EQ(atomic_load(&b.begun), 3);
	CHECK_EQ(kthread_destroy_worker(one), 0);
	CHECK_EQ(kthread_destroy_worker(two), 0);
}

/* The work's former worker is busy with another one meanwhile. */
TEST(idle_work_moves_to_another_worker)
{
	struct kthread_worker *one = new_worker("one"), *two = new_worker("two");
	struct blocker busy;
	struct counted c;

	counted_init(&c);
	for (int round = 0; round < 100; round++) {
		CHECK(kthread_queue_work(one, &c.work));
		CHECK_EQ(kthread_flush_work(&c.work), 0);
		CHECK_EQ(atomic_load(&c.tid), worker_tid(one));
		CHECK(kthread_queue_work(two, &c.work));
		CHECK_EQ(kthread_flush_work(&c.work), 0);
		CHECK_EQ(atomic_load(&c.tid), worker_tid(two));
	}
	CHECK(kthread_queue_work(one, &c.work));
	CHECK_EQ(kthread_flush_work(&c.work), 0);
	blocker_occupy(&busy, one);
	CHECK(kthread_queue_work(two, &c.work));
	CHECK_EQ(kthread_flush_work(&c.work), 0);
	CHECK_EQ(atomic_load(&c.runs), 202);
	gate_open(&busy.release[0]);
	CHECK_EQ(kthread_destroy_worker(one), 0);
	CHECK_EQ(kthread_destroy_worker(two), 0);
}

TEST(destroyed_worker_refuses)
{
	struct kthread_worker worker, *other = new_worker("other");
	struct counted never, c;

	kthread_init_worker(&worker);
	counted_init(&c);
	counted_init(&never);
	CHECK_EQ(kthread_start_worker(&worker, NULL), 0);
	CHECK_EQ(kthread_destroy_worker(&worker), 0);
	CHECK_REFUSED(kthread_queue_work(&worker, &c.work), ESHUTDOWN);
	errno = 4711;
	CHECK_EQ(kthread_queue_work_status(&worker, &c.work), -ESHUTDOWN);
	CHECK_EQ(errno, 4711);
	CHECK_EQ(kthread_work_busy(&c.work), 0);
	CHECK_EQ(kthread_flush_work(&c.work), 0);

	/* Refused there, it is free to run elsewhere. */
	CHECK(kthread_queue_work(other, &c.work));
	CHECK_EQ(kthread_flush_work(&c.work), 0);
	CHECK_EQ(atomic_load(&c.runs), 1);

	kthread_init_worker(&worker);
	CHECK_EQ(kthread_destroy_worker(&worker), 0);
	CHECK_REFUSED(kthread_queue_work(&worker, &never.work), ESHUTDOWN);
	CHECK_EQ(atomic_load(&never.runs), 0);
	CHECK_EQ(kthread_destroy_worker(other), 0);
}

TEST(worker_being_destroyed_refuses)
{
	struct kthread_worker *worker = new_worker("ending");
	struct counted probe, waiting;
	struct blocker b;
	struct side side;

	blocker_occupy(&b, worker);
	counted_init(&probe);
	counted_init(&waiting);
	CHECK(kthread_queue_work(worker, &waiting.work));
	side_start(&side, side_destroy, worker);
	side_settle(&side);
	CHECK_REFUSED(kthread_queue_work(worker, &probe.work), ESHUTDOWN);
	CHECK_REFUSED(kthread_queue_work(worker, &b.work), ESHUTDOWN);
	CHECK_EQ(kthread_work_busy(&probe.work), 0);
	gate_open(&b.release[0]);
	CHECK_EQ(side_join(&side), 0);
	CHECK_EQ(atomic_load(&probe.runs), 0);
	CHECK_EQ(atomic_load(&waiting.runs), 1);
	CHECK_EQ(atomic_load(&b.begun), 1);
}

TEST(worker_without_thread_collects_in_order)
{
	struct kthread_worker *worker = kthread_create_worker(0, "collects");
	static struct counted c[100];
	struct kthread_worker_stats stats;

	CHECK(worker);
	atomic_store(&counted_order, 0);
	for (int i = 0; i < 100; i++) {
		counted_init(&c[i]);
		CHECK(kthread_queue_work(worker, &c[i].work));
	}
	kthread_worker_get_stats(worker, &stats);
	CHECK_EQ(stats.pending, 100);
	CHECK_EQ(stats.queued, 100);
	CHECK_EQ(stats.executed, 0);
	CHECK_EQ(kthread_start_worker(worker, NULL), 0);
	CHECK_EQ(kthread_flush_worker(worker), 0);
	for (int i = 0; i < 100; i++) {
		CHECK_EQ(atomic_load(&c[i].runs), 1);
		CHECK_EQ(atomic_load(&c[i].order), i + 1);
	}
	kthread_worker_get_stats(worker, &stats);
	CHECK_EQ(stats.pending, 0);
	CHECK_EQ(stats.queued, 100);
	CHECK_EQ(stats.executed, 100);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

TEST(busy_worker_keeps_the_order)
{
	struct kthread_worker *worker = new_worker("order");
	static struct counted c[1000];
	struct blocker b;

	blocker_occupy(&b, worker);
	atomic_store(&counted_order, 0);
	for (int i = 0; i < 1000; i++) {
		counted_init(&c[i]);
		CHECK(kthread_queue_work(worker, &c[i].work));
		if (i == 500) {
			gate_open(&b.release[0]);
			CHECK_EQ(kthread_flush_work(&b.work), 0);
		}
	}
	CHECK_EQ(kthread_flush_worker(worker), 0);
	for (int i = 0; i < 1000; i++)
		CHECK_EQ(atomic_load(&c[i].order), i + 1);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

TEST(true_keeps_errno)
{
	struct kthread_worker *worker = new_worker("errno");
	struct counted c;

	counted_init(&c);
	for (int round = 0; round < 100; round++) {
		/* Asleep or awake, the wake-up may not show in errno. */
		if (round % 2)
			WAIT_UNTIL(tid_settled(worker_tid(worker)));
		errno = 4711;
		CHECK(kthread_queue_work(worker, &c.work));
		CHECK_EQ(errno, 4711);
		CHECK_EQ(kthread_flush_work(&c.work), 0);
	}
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

TEST(bad_arguments_are_refused)
{
	struct kthread_worker *worker = new_worker("bad");
	struct kthread_work zeroed;
	struct counted c;

	memset(&zeroed, 0, sizeof(zeroed));
	counted_init(&c);
	CHECK_REFUSED(kthread_queue_work(NULL, &c.work), EINVAL);
	CHECK_REFUSED(kthread_queue_work(worker, NULL), EINVAL);
	CHECK_REFUSED(kthread_queue_work(NULL, NULL), EINVAL);
	CHECK_REFUSED(kthread_queue_work(worker, &zeroed), EINVAL);
	errno = 4711;
	CHECK_EQ(kthread_queue_work_status(NULL, &c.work), -EINVAL);
	CHECK_EQ(kthread_queue_work_status(worker, NULL), -EINVAL);
	CHECK_EQ(kthread_queue_work_status(worker, &zeroed), -EINVAL);
	CHECK_EQ(errno, 4711);
	CHECK_EQ(kthread_work_busy(&c.work), 0);
	CHECK(kthread_queue_work(worker, &c.work));
	CHECK_EQ(kthread_flush_worker(worker), 0);
	CHECK_EQ(atomic_load(&c.runs), 1);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

struct chain {
	struct kthread_work work;
	struct kthread_worker *worker;
	struct counted other[3];
};

static void chain_run(struct kthread_work *work)
{
	struct chain *chain = (struct chain *)work;

	for (int i = 0; i < 3; i++)
		CHECK(kthread_queue_work(chain->worker, &chain->other[i].work));
	CHECK(!kthread_queue_work(chain->worker, &chain->other[1].work));
	for (int i = 0; i < 3; i++)
		CHECK_EQ(atomic_load(&chain->other[i].runs), 0);
}

TEST(callback_queues_others_in_order)
{
	struct chain chain = { .worker = new_worker("chain") };

	kthread_init_work(&chain.work, chain_run);
	for (int i = 0; i < 3; i++)
		counted_init(&chain.other[i]);
	atomic_store(&counted_order, 0);
	CHECK(kthread_queue_work(chain.worker, &chain.work));
	CHECK_EQ(kthread_flush_work(&chain.work), 0);
	CHECK_EQ(kthread_flush_worker(chain.worker), 0);
	for (int i = 0; i < 3; i++)
		CHECK_EQ(atomic_load(&chain.other[i].order), i + 1);
	CHECK_EQ(kthread_destroy_worker(chain.worker), 0);
}

TEST(self_requeue_runs_as_often_as_asked)
{
	struct kthread_worker *worker = new_worker("again");
	struct requeuer r;

	requeuer_init(&r, worker, 999);
	CHECK(kthread_queue_work(worker, &r.work));
	WAIT_UNTIL(atomic_load(&r.runs) == 1000);
	CHECK_EQ(kthread_flush_work(&r.work), 0);
	CHECK_EQ(kthread_work_busy(&r.work), 0);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
	CHECK_EQ(atomic_load(&r.runs), 1000);
	CHECK_EQ(atomic_load(&r.refused), 0);
}

struct written {
	struct kthread_work work;
	int in, out;	/* plain */
};

static void written_run(struct kthread_work *work)
{
	struct written *w = (struct written *)work;

	w->out = w->in * 2;
}

TEST(callback_sees_what_was_written_before_queue)
{
	struct kthread_worker *worker = new_worker("order");
	struct written w = { .in = 0 };

	kthread_init_work(&w.work, written_run);
	for (int i = 0; i < 1000; i++) {
		w.in = i;
		CHECK(kthread_queue_work(worker, &w.work));
		CHECK_EQ(kthread_flush_work(&w.work), 0);
		CHECK_EQ(w.out, 2 * i);
	}
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}
