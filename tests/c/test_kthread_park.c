/* SPDX-License-Identifier: GPL-2.0-only */
/* kthread_park, unpark, parkme: of a thread's own function, and of a worker's thread. */
#include "harness.h"

/* Goes round, and parks when asked, until it is to stop. */
struct parker {
	struct kthread *k;
	atomic_int rounds;
	atomic_int parked;	/* how often parkme has returned from a park */
	atomic_bool seen;	/* kthread_should_park said so */
};

static int park_when_asked(void *data)
{
	struct parker *p = data;

	while (!kthread_should_stop()) {
		atomic_fetch_add(&p->rounds, 1);
		if (kthread_should_park()) {
			atomic_store(&p->seen, true);
			kthread_parkme();
			atomic_fetch_add(&p->parked, 1);
		} else {
			kthread_sleep(MS(1));
		}
	}
	return 7;
}

static void parker_start(struct parker *p)
{
	memset(p, 0, sizeof(*p));
	p->k = kthread_run(park_when_asked, p, "parker");
	CHECK(p->k);
}

static int side_park(void *k)
{
	return kthread_park(k);
}

static int until_stopped(void *gate)
{
	if (gate)
		gate_wait(gate);
	while (!kthread_should_stop())
		kthread_sleep(KTHREAD_FOREVER);
	return 0;
}

TEST(running_thread_park_returns_when_it_waits_in_parkme)
{
	struct parker p;
	int rounds;

	parker_start(&p);
	CHECK_EQ(kthread_park(p.k), 0);
	CHECK(atomic_load(&p.seen));
	WAIT_UNTIL(tid_settled(kthread_tid(p.k)));
	rounds = atomic_load(&p.rounds);
	for (int i = 0; i < 20; i++)
		nap();
	CHECK_EQ(atomic_load(&p.rounds), rounds);
	CHECK_EQ(atomic_load(&p.parked), 0);
	kthread_unpark(p.k);
	WAIT_UNTIL(atomic_load(&p.rounds) > rounds);
	CHECK_EQ(atomic_load(&p.parked), 1);
	CHECK_EQ(kthread_stop(p.k), 7);
}

TEST(parked_thread_park_returns_at_once)
{
	struct parker p;

	parker_start(&p);
	CHECK_EQ(kthread_park(p.k), 0);
	CHECK_EQ(kthread_park(p.k), 0);
	CHECK_EQ(kthread_park_timeout(p.k, 0), 0);
	kthread_unpark(p.k);
	WAIT_UNTIL(atomic_load(&p.parked) == 1);
	CHECK_EQ(kthread_stop(p.k), 7);
}

TEST(park_and_unpark_many_times)
{
	struct parker p;

	parker_start(&p);
	for (int i = 0; i < 200; i++) {
		CHECK_EQ(kthread_park(p.k), 0);
		CHECK_EQ(atomic_load(&p.parked), i);
		kthread_unpark(p.k);
		WAIT_UNTIL(atomic_load(&p.parked) == i + 1);
	}
	CHECK_EQ(kthread_stop(p.k), 7);
}

TEST(sleeping_thread_park_wakes_it)
{
	struct kthread *k = kthread_run(until_stopped, NULL, "sleeper");

	CHECK(k);
	/* It never parks; but it is woken to see that it should. */
	CHECK_EQ(kthread_park_timeout(k, MS(1)), -ETIMEDOUT);
	CHECK_EQ(kthread_stop(k), 0);
}

TEST(park_that_times_out_is_withdrawn)
{
	struct gate gate = GATE_INIT;
	struct kthread *k = kthread_run(until_stopped, &gate, "deaf");

	CHECK(k);
	CHECK_EQ(kthread_park_timeout(k, 0), -ETIMEDOUT);
	CHECK_EQ(kthread_park_timeout(k, MS(2)), -ETIMEDOUT);
	gate_open(&gate);
	CHECK_EQ(kthread_stop(k), 0);
}

static int tell_should_park(void *data)
{
	struct gate *gates = data;
	int should;

	gate_open(&gates[0]);
	gate_wait(&gates[1]);
	should = kthread_should_park();
	gate_open(&gates[2]);
	while (!kthread_should_stop())
		kthread_sleep(KTHREAD_FOREVER);
	return should;
}

TEST(park_that_times_out_leaves_an_earlier_one_alone)
{
	struct gate gates[3] = { GATE_INIT, GATE_INIT, GATE_INIT };
	struct kthread *k = kthread_run(tell_should_park, gates, "earlier");
	struct side side;

	CHECK(k);
	gate_wait(&gates[0]);
	side_start(&side, side_park, k);
	side_settle(&side);
	CHECK(!atomic_load(&side.returned));
	CHECK_EQ(kthread_park_timeout(k, MS(1)), -ETIMEDOUT);
	gate_open(&gates[1]);
	gate_wait(&gates[2]);
	kthread_unpark(k);
	CHECK_EQ(side_join(&side), 0); /* let go on by another: it waits no more */
	CHECK_EQ(kthread_stop(k), 1);
}

TEST(parked_thread_stop_unparks_it)
{
	struct parker p;

	parker_start(&p);
	CHECK_EQ(kthread_park(p.k), 0);
	CHECK_EQ(kthread_stop(p.k), 7);
	CHECK_EQ(atomic_load(&p.parked), 1);
}

static int ends_at_once(void *ended)
{
	atomic_store((atomic_bool *)ended, true);
	return 0;
}

TEST(ended_thread_park_is_refused)
{
	atomic_bool ended = false;
	struct kthread *k = kthread_run(ends_at_once, &ended, "ended");

	CHECK(k);
	WAIT_UNTIL(kthread_park_timeout(k, 0) == -ENOSYS);
	CHECK(atomic_load(&ended));
	CHECK_EQ(kthread_park(k), -ENOSYS);
	kthread_unpark(k);
	CHECK_EQ(kthread_stop(k), 0);
}

static int ends_at_gate(void *gate)
{
	gate_wait(gate);
	return 0;
}

TEST(thread_that_ends_instead_of_parking_ends_the_wait)
{
	struct gate gate = GATE_INIT;
	struct kthread *k = kthread_run(ends_at_gate, &gate, "ends");
	struct side side;

	CHECK(k);
	side_start(&side, side_park, k);
	side_settle(&side);
	CHECK(!atomic_load(&side.returned));
	gate_open(&gate);
	CHECK_EQ(side_join(&side), -ENOSYS);
	CHECK_EQ(kthread_stop(k), 0);
}

TEST(null_and_no_kthread_are_refused)
{
	CHECK_EQ(kthread_park(NULL), -EINVAL);
	CHECK_EQ(kthread_park_timeout(NULL, 0), -EINVAL);
	kthread_unpark(NULL);
	CHECK(!kthread_should_park());
	kthread_parkme();
}

static int park_oneself(void *data)
{
	atomic_int *steps = data;

	kthread_parkme(); /* not asked to: no wait */
	atomic_store(steps, 1);
	if (kthread_park(kthread_current()) || !kthread_should_park())
		return -1;
	atomic_store(steps, 2);
	kthread_parkme();
	atomic_store(steps, 3);
	return 0;
}

TEST(own_park_asks_and_parkme_waits)
{
	atomic_int steps = 0;
	struct kthread *k = kthread_run(park_oneself, &steps, "oneself");

	CHECK(k);
	WAIT_UNTIL(atomic_load(&steps) == 2);
	CHECK_EQ(kthread_park(k), 0);
	CHECK_EQ(atomic_load(&steps), 2);
	kthread_unpark(k);
	CHECK_EQ(kthread_stop(k), 0);
	CHECK_EQ(atomic_load(&steps), 3);
}

/* Parked and frozen: each is for itself. */
static int freeze_or_park(void *data)
{
	struct parker *p = data;

	while (!kthread_should_stop()) {
		try_to_freeze();
		kthread_parkme();
		atomic_fetch_add(&p->rounds, 1);
		kthread_sleep(MS(1));
	}
	return 0;
}

TEST(thread_parked_and_frozen_needs_both_to_go_on)
{
	struct parker p = { .k = NULL };
	int rounds;

	p.k = kthread_run(freeze_or_park, &p, "both");
	CHECK(p.k);
	CHECK_EQ(kthread_freeze(p.k), 0);
	CHECK_EQ(kthread_park_timeout(p.k, MS(1)), -ETIMEDOUT); /* it rests, but for the freeze */
	kthread_thaw(p.k);
	CHECK_EQ(kthread_park(p.k), 0);
	rounds = atomic_load(&p.rounds);
	for (int i = 0; i < 10; i++)
		nap();
	CHECK_EQ(atomic_load(&p.rounds), rounds);
	kthread_unpark(p.k);
	WAIT_UNTIL(atomic_load(&p.rounds) > rounds);
	CHECK_EQ(kthread_stop(p.k), 0);
}

/* Of a worker's thread */

TEST(workers_thread_park_keeps_what_is_queued_in_order)
{
	struct kthread_worker *worker = new_worker("parked");
	struct counted c[5];
	struct kthread *k = worker->task;

	CHECK_EQ(kthread_park(k), 0);
	for (int i = 0; i < 5; i++) {
		counted_init(&c[i]);
		CHECK(kthread_queue_work(worker, &c[i].work));
	}
	CHECK_EQ(kthread_flush_work_timeout(&c[0].work, MS(2)), -ETIMEDOUT);
	CHECK_EQ(kthread_worker_freezing(worker), false);
	kthread_unpark(k);
	CHECK_EQ(kthread_flush_worker(worker), 0);
	for (int i = 0; i < 5; i++)
		CHECK_EQ(atomic_load(&c[i].order), atomic_load(&c[0].order) + (unsigned int)i);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

TEST(workers_thread_park_waits_for_the_running_callback_only)
{
	struct kthread_worker *worker = new_worker("between");
	struct blocker b;
	struct counted c;
	struct side side;

	blocker_occupy(&b, worker);
	counted_init(&c);
	CHECK(kthread_queue_work(worker, &c.work));
	side_start(&side, side_park, worker->task);
	side_settle(&side);
	CHECK(!atomic_load(&side.returned));
	gate_open(&b.release[0]);
	CHECK_EQ(side_join(&side), 0);
	CHECK_EQ(atomic_load(&b.ended), 1);
	CHECK_EQ(atomic_load(&c.runs), 0);
	kthread_unpark(worker->task);
	CHECK_EQ(kthread_flush_work(&c.work), 0);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

static void park_own_thread(struct kthread_work *work)
{
	CHECK_EQ(kthread_park(kthread_current()), 0);
	count_run(work);
}

TEST(workers_thread_parked_by_its_own_callback_parks_afterwards)
{
	struct kthread_worker *worker = new_worker("own");
	struct counted parks, c;

	counted_init(&parks);
	counted_init(&c);
	kthread_init_work(&parks.work, park_own_thread);
	CHECK(kthread_queue_work(worker, &parks.work));
	CHECK_EQ(kthread_flush_work(&parks.work), 0);
	CHECK_EQ(kthread_park(worker->task), 0);
	CHECK(kthread_queue_work(worker, &c.work));
	CHECK_EQ(kthread_flush_work_timeout(&c.work, MS(1)), -ETIMEDOUT);
	kthread_unpark(worker->task);
	CHECK_EQ(kthread_flush_work(&c.work), 0);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

/* The kernel's destruction stops the thread, and a stop unparks. */
TEST(parked_worker_destroy_unparks_it_and_runs_what_is_pending)
{
	struct kthread_worker *worker = new_worker("destroyed");
	struct counted c;

	counted_init(&c);
	CHECK_EQ(kthread_park(worker->task), 0);
	CHECK(kthread_queue_work(worker, &c.work));
	CHECK_EQ(kthread_destroy_worker(worker), 0);
	CHECK_EQ(atomic_load(&c.runs), 1);
}

TEST(parked_worker_stop_unparks_it)
{
	struct kthread_worker *worker = new_worker("stopped");
	struct counted c;

	counted_init(&c);
	CHECK_EQ(kthread_park(worker->task), 0);
	CHECK(kthread_queue_work(worker, &c.work));
	CHECK_EQ(kthread_stop_worker(worker), 0);
	CHECK_EQ(atomic_load(&c.runs), 0);
	CHECK_EQ(kthread_start_worker(worker, NULL), 0);
	CHECK_EQ(kthread_flush_work(&c.work), 0);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

static int serve(void *worker)
{
	return kthread_worker_fn(worker);
}

TEST(parked_thread_of_the_patch_stops)
{
	struct kthread_worker worker;
	struct kthread *k;
	struct counted c;

	kthread_init_worker(&worker);
	counted_init(&c);
	k = kthread_run(serve, &worker, "patch");
	CHECK(k);
	WAIT_UNTIL(worker.task);
	CHECK_EQ(kthread_park(k), 0);
	CHECK(kthread_queue_work(&worker, &c.work));
	CHECK_EQ(kthread_stop(k), 0);
	CHECK_EQ(atomic_load(&c.runs), 0);
	CHECK_EQ(kthread_destroy_worker(&worker), 0);
}

struct timed {
	struct kthread_delayed_work dwork;
	atomic_uint order;
};

static void timed_run(struct kthread_work *work)
{
	atomic_store(&((struct timed *)work)->order, atomic_fetch_add(&counted_order, 1) + 1);
}

TEST(parked_workers_timers_are_listed_in_time)
{
	struct kthread_worker *worker = new_worker("timers");
	struct timed timed = { .order = 0 };
	struct counted late;

	kthread_init_delayed_work(&timed.dwork, timed_run);
	counted_init(&late);
	CHECK_EQ(kthread_park(worker->task), 0);
	CHECK(kthread_queue_delayed_work(worker, &timed.dwork, MS(1)));
	WAIT_UNTIL(kthread_work_busy(&timed.dwork.work) == KTHREAD_WORK_PENDING);
	CHECK(kthread_queue_work(worker, &late.work));
	kthread_unpark(worker->task);
	CHECK_EQ(kthread_flush_work(&late.work), 0);
	CHECK(atomic_load(&timed.order));
	CHECK(atomic_load(&timed.order) < atomic_load(&late.order));
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}
