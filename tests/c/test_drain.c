/* SPDX-License-Identifier: GPL-2.0-only */
/* kthread_drain_worker: what it waits for, whom it refuses, how it ends. */
#include "timed.h"

static int side_drain(void *worker)
{
	return kthread_drain_worker(worker);
}

static int side_drain_interruptible(void *worker)
{
	return kthread_drain_worker_interruptible(worker, KTHREAD_FOREVER);
}

/* The gates are shut once an empty batch is refused. */
static bool gates_are_shut(struct kthread_worker *worker)
{
	struct kthread_batch batch;

	kthread_batch_begin(&batch, worker);
	kthread_batch_end(&batch);
	return batch.refused == -EAGAIN;
}

static void wait_for_the_gates(struct kthread_worker *worker)
{
	WAIT_UNTIL(gates_are_shut(worker));
}

TEST(null_is_refused_and_an_idle_worker_drained_at_once)
{
	struct kthread_worker *worker = new_worker("idle");

	CHECK_EQ(kthread_drain_worker(NULL), -EINVAL);
	CHECK_EQ(kthread_drain_worker_timeout(NULL, 0), -EINVAL);
	CHECK_EQ(kthread_drain_worker_interruptible(NULL, 0), -EINVAL);
	CHECK_EQ(kthread_drain_worker(worker), 0);
	CHECK_EQ(kthread_drain_worker_timeout(worker, 0), 0);
	CHECK_EQ(kthread_drain_worker_interruptible(worker, 0), 0);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

TEST(drain_counts_what_callbacks_queue)
{
	struct kthread_worker *worker = new_worker("counts");

	for (int left = 0; left < 200; left += 7) {
		struct requeuer r;

		requeuer_init(&r, worker, left);
		CHECK(kthread_queue_work(worker, &r.work));
		CHECK_EQ(kthread_drain_worker(worker), 0);
		CHECK_EQ(atomic_load(&r.runs), left + 1);
		CHECK_EQ(atomic_load(&r.refused), 0);
		CHECK_EQ(kthread_work_busy(&r.work), 0);
	}
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

TEST(drained_worker_refuses_others_and_none_of_its_callbacks)
{
	struct kthread_worker *worker = new_worker("refuses");
	struct kthread_batch batch;
	struct requeuer r;
	struct blocker b;
	struct counted c;
	struct timed t;
	struct side side;

	blocker_occupy(&b, worker);
	requeuer_init(&r, worker, 3);
	counted_init(&c);
	timed_init(&t);
	CHECK(kthread_queue_work(worker, &r.work));
	side_start(&side, side_drain, worker);
	wait_for_the_gates(worker);
	CHECK_REFUSED(kthread_queue_work(worker, &c.work), EAGAIN);
	CHECK_REFUSED(kthread_queue_delayed_work(worker, &t.dwork, 0), EAGAIN);
	CHECK_REFUSED(kthread_queue_delayed_work(worker, &t.dwork, HOUR), EAGAIN);
	CHECK_REFUSED(kthread_queue_periodic_work(worker, &t.dwork, 0, HOUR), EAGAIN);
	CHECK_REFUSED(kthread_mod_delayed_work(worker, &t.dwork, HOUR), EAGAIN);
	CHECK_EQ(kthread_queue_work_status(worker, &c.work), -EAGAIN);
	kthread_batch_begin(&batch, worker);
	CHECK_EQ(kthread_batch_add(&batch, &c.work), -EAGAIN);
	kthread_batch_end(&batch);
	CHECK_EQ(kthread_work_busy(&c.work), 0);
	CHECK_EQ(timed_busy(&t), 0);
	side_settle(&side);
	CHECK(!atomic_load(&side.returned));
	gate_open(&b.release[0]);
	CHECK_EQ(side_join(&side), 0);
	CHECK_EQ(atomic_load(&r.runs), 4);
	CHECK_EQ(atomic_load(&r.refused), 0);
	/* Open again. */
	CHECK(kthread_queue_work(worker, &c.work));
	CHECK(kthread_queue_delayed_work(worker, &t.dwork, 1));
	WAIT_UNTIL(atomic_load(&t.runs));
	CHECK_EQ(kthread_flush_work(&c.work), 0);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

TEST(drain_of_an_endless_requeuer_times_out_and_opens_the_gates)
{
	struct kthread_worker *worker = new_worker("endless");
	struct requeuer r;
	struct counted c;

	requeuer_init(&r, worker, -1);
	counted_init(&c);
	CHECK(kthread_queue_work(worker, &r.work));
	CHECK_EQ(kthread_drain_worker_timeout(worker, 0), -ETIMEDOUT);
	CHECK_EQ(kthread_drain_worker_timeout(worker, MS(5)), -ETIMEDOUT);
	CHECK(kthread_queue_work(worker, &c.work));
	CHECK_EQ(kthread_flush_work(&c.work), 0);
	CHECK_EQ(atomic_load(&r.refused), 0);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

TEST(drain_does_not_wait_for_timers)
{
	struct kthread_worker *worker = new_worker("timers");
	struct timed t, periodic;

	timed_init(&t);
	timed_init(&periodic);
	CHECK(kthread_queue_delayed_work(worker, &t.dwork, HOUR));
	CHECK(kthread_queue_periodic_work(worker, &periodic.dwork, 0, HOUR));
	CHECK_EQ(kthread_drain_worker(worker), 0);
	CHECK_EQ(timed_busy(&t), ARMED);
	CHECK_EQ(timed_busy(&periodic), ARMED);
	CHECK_EQ(atomic_load(&periodic.runs), 1);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

struct delayer {
	struct kthread_work work;
	struct kthread_worker *worker;
	struct timed *timed;
	int status;
};

static void queue_delayed_run(struct kthread_work *work)
{
	struct delayer *d = (struct delayer *)work;

	/* Gates are shut, or not, and that is no matter of its own callbacks. */
	d->status = kthread_queue_delayed_work_status(d->worker, &d->timed->dwork, HOUR);
	CHECK_EQ(kthread_mod_delayed_work_status(d->worker, &d->timed->dwork, 2 * HOUR), 1);
}

TEST(callback_queues_delayed_works_amid_a_drain)
{
	struct kthread_worker *worker = new_worker("callback");
	struct timed t;
	struct delayer d = { .worker = worker, .timed = &t };
	struct blocker b;
	struct side side;

	timed_init(&t);
	kthread_init_work(&d.work, queue_delayed_run);
	blocker_occupy(&b, worker);
	CHECK(kthread_queue_work(worker, &d.work));
	side_start(&side, side_drain, worker);
	wait_for_the_gates(worker);
	gate_open(&b.release[0]);
	CHECK_EQ(side_join(&side), 0);
	CHECK_EQ(d.status, 1);
	CHECK_EQ(timed_busy(&t), ARMED);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

TEST(two_drainers_refuse_until_the_last_has_ended)
{
	struct kthread_worker *worker = new_worker("two");
	struct blocker b;
	struct counted c;
	struct side side;

	blocker_occupy(&b, worker);
	counted_init(&c);
	side_start(&side, side_drain, worker);
	wait_for_the_gates(worker);
	CHECK_EQ(kthread_drain_worker_timeout(worker, MS(1)), -ETIMEDOUT);
	CHECK_REFUSED(kthread_queue_work(worker, &c.work), EAGAIN);
	gate_open(&b.release[0]);
	CHECK_EQ(side_join(&side), 0);
	CHECK(kthread_queue_work(worker, &c.work));
	CHECK_EQ(kthread_drain_worker(worker), 0);
	CHECK_EQ(atomic_load(&c.runs), 1);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

TEST(many_drainers_all_return)
{
	struct kthread_worker *worker = new_worker("many");

	for (int round = 0; round < 20; round++) {
		struct side sides[8];
		struct blocker b;

		blocker_occupy(&b, worker);
		for (int i = 0; i < 8; i++)
			side_start(&sides[i], side_drain, worker);
		for (int i = 0; i < 8; i++)
			if (round % 2)
				side_settle(&sides[i]);
		gate_open(&b.release[0]);
		for (int i = 0; i < 8; i++)
			CHECK_EQ(side_join(&sides[i]), 0);
		CHECK(!gates_are_shut(worker));
	}
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

/* A producer between its claim and its push is waited for. */
TEST(drain_waits_for_an_open_batch)
{
	struct kthread_worker *worker = new_worker("batch");
	struct kthread_batch batch;
	struct counted c;
	struct side side;

	counted_init(&c);
	kthread_batch_begin(&batch, worker);
	CHECK_EQ(kthread_batch_add(&batch, &c.work), 1);
	side_start(&side, side_drain, worker);
	wait_for_the_gates(worker);
	side_settle(&side);
	CHECK(!atomic_load(&side.returned));
	kthread_batch_end(&batch);
	CHECK_EQ(side_join(&side), 0);
	CHECK_EQ(atomic_load(&c.runs), 1);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

struct drains {
	struct kthread_work work;
	struct kthread_worker *worker;
	int result, result_timeout, result_interruptible;
};

static void drain_own_run(struct kthread_work *work)
{
	struct drains *d = (struct drains *)work;

	d->result = kthread_drain_worker(d->worker);
	d->result_timeout = kthread_drain_worker_timeout(d->worker, 0);
	d->result_interruptible = kthread_drain_worker_interruptible(d->worker, 0);
}

TEST(own_callback_drain_is_a_deadlock)
{
	struct drains d = { .worker = new_worker("own") };

	kthread_init_work(&d.work, drain_own_run);
	CHECK(kthread_queue_work(d.worker, &d.work));
	CHECK_EQ(kthread_flush_work(&d.work), 0);
	CHECK_EQ(d.result, -EDEADLK);
	CHECK_EQ(d.result_timeout, -EDEADLK);
	CHECK_EQ(d.result_interruptible, -EDEADLK);
	CHECK(kthread_queue_work(d.worker, &d.work)); /* no gate was shut */
	CHECK_EQ(kthread_destroy_worker(d.worker), 0);
}

static void on_signal(int number)
{
	(void)number;
}

TEST(interruptible_drain_returns_eintr_and_opens_the_gates)
{
	struct sigaction action = { .sa_handler = on_signal };
	struct kthread_worker *worker = new_worker("eintr");
	struct blocker b;
	struct counted c;
	struct side side, plain;

	CHECK_EQ(sigaction(SIGUSR1, &action, NULL), 0);
	blocker_occupy(&b, worker);
	counted_init(&c);
	side_start(&side, side_drain_interruptible, worker);
	side_settle(&side);
	while (!atomic_load(&side.returned)) {
		CHECK_EQ(pthread_kill(side.thread, SIGUSR1), 0);
		nap();
	}
	CHECK_EQ(side_join(&side), -EINTR);
	CHECK(kthread_queue_work(worker, &c.work));
	side_start(&plain, side_drain, worker);
	side_settle(&plain);
	for (int i = 0; i < 5; i++) {
		CHECK_EQ(pthread_kill(plain.thread, SIGUSR1), 0);
		side_settle(&plain);
		CHECK(!atomic_load(&plain.returned));
	}
	gate_open(&b.release[0]);
	CHECK_EQ(side_join(&plain), 0);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

TEST(destroyed_worker_drain_returns_at_once)
{
	struct kthread_worker worker;

	kthread_init_worker(&worker);
	CHECK_EQ(kthread_start_worker(&worker, NULL), 0);
	CHECK_EQ(kthread_destroy_worker(&worker), 0);
	CHECK_EQ(kthread_drain_worker(&worker), 0);
}

TEST(destroy_without_thread_amid_a_drain_ends_it)
{
	struct kthread_worker *worker = kthread_create_worker(0, "none");
	struct counted c;
	struct side side;

	CHECK(worker);
	counted_init(&c);
	CHECK(kthread_queue_work(worker, &c.work));
	side_start(&side, side_drain, worker);
	wait_for_the_gates(worker);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
	CHECK_EQ(side_join(&side), 0);
	CHECK_EQ(atomic_load(&c.runs), 0);
}

/* One destroyed amid a drain lives anew with its gates open. */
TEST(workers_made_after_a_drain_of_a_destroyed_one_take_works)
{
	for (int i = 0; i < 60; i++) {
		struct kthread_worker *worker = new_worker("anew");
		struct requeuer r;
		struct side side;

		requeuer_init(&r, worker, -1);
		CHECK(kthread_queue_work(worker, &r.work));
		side_start(&side, side_drain, worker);
		wait_for_the_gates(worker);
		CHECK_EQ(kthread_destroy_worker(worker), 0);
		CHECK_EQ(side_join(&side), 0);
	}
}

/* Destroyed and made anew before that drain has ended: one of the new worker shuts its gates. */
TEST(drain_of_an_earlier_life_that_has_not_ended_opens_no_gates)
{
	struct kthread_worker *worker = kthread_create_worker(0, "earlier"), *again = NULL;
	struct kthread_drain earlier, later;

	CHECK(worker);
	CHECK_EQ(kthread_drain_begin(&earlier, worker), 0);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
	for (int i = 0; i < 100 && again != worker; i++) {
		if (again)
			CHECK_EQ(kthread_destroy_worker(again), 0);
		again = kthread_create_worker(0, "later");
		CHECK(again);
	}
	CHECK(again == worker);
	CHECK(!gates_are_shut(worker));
	CHECK_EQ(kthread_drain_begin(&later, worker), 0);
	CHECK(gates_are_shut(worker));
	CHECK_EQ(kthread_drain_wait(&earlier, KTHREAD_FOREVER), 0);
	kthread_drain_end(&earlier);
	CHECK(gates_are_shut(worker));
	kthread_drain_end(&later);
	CHECK(!gates_are_shut(worker));
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

/* As when a handler forks that runs between two waits. */
TEST(drain_that_a_forked_child_goes_on_with_is_refused)
{
	struct kthread_worker *worker = new_worker("forked");
	struct kthread_drain drain;
	struct blocker b;
	pid_t pid;
	int status;

	blocker_occupy(&b, worker);
	CHECK_EQ(kthread_drain_begin(&drain, worker), 0);
	CHECK_EQ(kthread_drain_wait(&drain, 0), -ETIMEDOUT);
	fflush(NULL);
	pid = fork();
	CHECK(pid >= 0);
	if (!pid) {
		alarm(15);
		CHECK_EQ(kthread_drain_wait(&drain, KTHREAD_FOREVER), -ESRCH);
		kthread_drain_end(&drain);
		CHECK_EQ(kthread_queue_work_status(worker, &b.work), -ESRCH);
		CHECK_EQ(kthread_destroy_worker(worker), 0);
		_exit(0);
	}
	while (waitpid(pid, &status, 0) < 0)
		CHECK_EQ(errno, EINTR);
	CHECK_EQ(status, 0);
	gate_open(&b.release[0]);
	CHECK_EQ(kthread_drain_wait(&drain, KTHREAD_FOREVER), 0);
	kthread_drain_end(&drain);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

/* A worker of a loop: the loop drains it. */
TEST(drain_of_a_worker_without_thread_is_done_by_run_pending)
{
	struct kthread_worker *worker = kthread_create_worker(0, "loop");
	struct requeuer r;
	struct side side;

	CHECK(worker);
	requeuer_init(&r, worker, 5);
	CHECK(kthread_queue_work(worker, &r.work));
	side_start(&side, side_drain, worker);
	wait_for_the_gates(worker);
	while (!atomic_load(&side.returned))
		CHECK(kthread_worker_run_pending(worker) >= 0);
	CHECK_EQ(side_join(&side), 0);
	CHECK_EQ(atomic_load(&r.runs), 6);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}
