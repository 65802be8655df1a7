/* SPDX-License-Identifier: GPL-2.0-only */
/* State of a work x flush, circles of workers, flush in steps. */
#include "harness.h"

TEST(idle_work_flush_returns_at_once)
{
	struct kthread_worker *worker = new_worker("idle");
	struct counted c;

	counted_init(&c);
	CHECK_EQ(kthread_flush_work(&c.work), 0);
	CHECK_EQ(kthread_flush_work_timeout(&c.work, 0), 0);
	CHECK_EQ(kthread_flush_worker(worker), 0);
	CHECK_EQ(kthread_flush_worker_timeout(worker, 0), 0);
	CHECK(kthread_queue_work(worker, &c.work));
	CHECK_EQ(kthread_flush_work(&c.work), 0);
	CHECK_EQ(kthread_flush_work(&c.work), 0);
	CHECK_EQ(kthread_flush_work_timeout(&c.work, 0), 0);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

TEST(null_is_refused)
{
	CHECK_EQ(kthread_flush_work(NULL), -EINVAL);
	CHECK_EQ(kthread_flush_work_timeout(NULL, 0), -EINVAL);
	CHECK_EQ(kthread_flush_worker(NULL), -EINVAL);
	CHECK_EQ(kthread_flush_worker_timeout(NULL, 0), -EINVAL);
}

TEST(pending_work_flush_waits_for_its_run)
{
	struct kthread_worker *worker = new_worker("pending");
	struct blocker first, b;
	struct side side;

	blocker_occupy(&first, worker);
	blocker_init(&b);
	CHECK(kthread_queue_work(worker, &b.work));
	side_start(&side, side_flush_work, &b.work);
	side_settle(&side);
	CHECK(!atomic_load(&side.returned));
	gate_open(&first.release[0]);
	gate_wait(&b.entered[0]);
	side_settle(&side);
	CHECK(!atomic_load(&side.returned));
	gate_open(&b.release[0]);
	CHECK_EQ(side_join(&side), 0);
	CHECK_EQ(b.data, 1);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

TEST(executing_work_flush_waits_for_its_run)
{
	struct kthread_worker *worker = new_worker("executing");
	struct blocker b;
	struct side side;

	blocker_occupy(&b, worker);
	side_start(&side, side_flush_work, &b.work);
	side_settle(&side);
	CHECK(!atomic_load(&side.returned));
	gate_open(&b.release[0]);
	CHECK_EQ(side_join(&side), 0);
	CHECK_EQ(b.data, 1);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

TEST(works_behind_are_not_waited_for)
{
	struct kthread_worker *worker = new_worker("behind");
	struct blocker a, b;
	struct side side;

	blocker_occupy(&a, worker);
	blocker_init(&b);
	CHECK(kthread_queue_work(worker, &b.work));
	side_start(&side, side_flush_work, &a.work);
	side_settle(&side);
	gate_open(&a.release[0]);
	CHECK_EQ(side_join(&side), 0);
	CHECK_EQ(a.data, 1);
	gate_wait(&b.entered[0]);
	CHECK_EQ(kthread_flush_work(&a.work), 0);
	gate_open(&b.release[0]);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

/* The patch of 2010 returned after the first run. */
TEST(work_requeued_while_executing_flush_waits_for_the_second_run)
{
	struct kthread_worker *worker = new_worker("second");
	struct blocker b;
	struct side side;

	blocker_occupy(&b, worker);
	CHECK(kthread_queue_work(worker, &b.work));
	side_start(&side, side_flush_work, &b.work);
	side_settle(&side);
	gate_open(&b.release[0]);
	gate_wait(&b.entered[1]);
	side_settle(&side);
	CHECK(!atomic_load(&side.returned));
	gate_open(&b.release[1]);
	CHECK_EQ(side_join(&side), 0);
	CHECK_EQ(b.data, 2);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

TEST(run_queued_after_the_flush_is_not_waited_for)
{
	struct kthread_worker *worker = new_worker("later");
	struct blocker b;
	struct side side;

	blocker_occupy(&b, worker);
	side_start(&side, side_flush_work, &b.work);
	side_settle(&side);
	CHECK(kthread_queue_work(worker, &b.work));
	gate_open(&b.release[0]);
	CHECK_EQ(side_join(&side), 0);
	gate_wait(&b.entered[1]);
	CHECK_EQ(atomic_load(&b.ended), 1);
	gate_open(&b.release[1]);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

TEST(work_that_requeues_itself_for_ever_flush_returns)
{
	struct kthread_worker *worker = new_worker("ever");
	struct requeuer r;

	requeuer_init(&r, worker, -1);
	CHECK(kthread_queue_work(worker, &r.work));
	for (int i = 0; i < 100; i++) {
		CHECK_EQ(kthread_flush_work(&r.work), 0);
		CHECK(atomic_load(&r.runs) >= 1);
	}
	CHECK_EQ(kthread_flush_worker(worker), 0);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

TEST(timeout_leaves_the_work_untouched)
{
	struct kthread_worker *worker = new_worker("timeout");
	struct counted c;
	struct blocker b;

	blocker_occupy(&b, worker);
	counted_init(&c);
	CHECK(kthread_queue_work(worker, &c.work));
	CHECK_EQ(kthread_flush_work_timeout(&c.work, 0), -ETIMEDOUT);
	CHECK_EQ(kthread_flush_work_timeout(&c.work, MS(2)), -ETIMEDOUT);
	CHECK_EQ(kthread_flush_work_timeout(&b.work, 0), -ETIMEDOUT);
	CHECK_EQ(kthread_flush_work_timeout(&b.work, MS(2)), -ETIMEDOUT);
	CHECK_EQ(kthread_flush_worker_timeout(worker, 0), -ETIMEDOUT);
	CHECK_EQ(kthread_flush_worker_timeout(worker, MS(2)), -ETIMEDOUT);
	CHECK_EQ(kthread_work_busy(&c.work), KTHREAD_WORK_PENDING);
	CHECK_EQ(kthread_work_busy(&b.work), KTHREAD_WORK_EXECUTING);
	CHECK_EQ(kthread_queue_work_status(worker, &c.work), 0);
	gate_open(&b.release[0]);
	CHECK_EQ(kthread_flush_work_timeout(&c.work, KTHREAD_FOREVER - 1), 0);
	CHECK_EQ(atomic_load(&c.runs), 1);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

TEST(worker_without_thread_flush_waits_for_one)
{
	struct kthread_worker *worker = kthread_create_worker(0, "none");
	struct counted c;
	struct side one, all;

	CHECK(worker);
	counted_init(&c);
	CHECK_EQ(kthread_flush_worker(worker), 0);
	CHECK(kthread_queue_work(worker, &c.work));
	CHECK_EQ(kthread_flush_work_timeout(&c.work, 0), -ETIMEDOUT);
	CHECK_EQ(kthread_flush_worker_timeout(worker, MS(1)), -ETIMEDOUT);
	side_start(&one, side_flush_work, &c.work);
	side_start(&all, side_flush_worker, worker);
	side_settle(&one);
	side_settle(&all);
	CHECK(!atomic_load(&one.returned));
	CHECK(!atomic_load(&all.returned));
	CHECK_EQ(kthread_start_worker(worker, NULL), 0);
	CHECK_EQ(side_join(&one), 0);
	CHECK_EQ(side_join(&all), 0);
	CHECK_EQ(atomic_load(&c.runs), 1);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

TEST(many_flushers_all_return)
{
	struct kthread_worker *worker = new_worker("many");
	struct blocker b;
	struct side sides[12];

	for (int round = 0; round < 20; round++) {
		blocker_occupy(&b, worker);
		for (int i = 0; i < 12; i++)
			side_start(&sides[i], i % 3 ? side_flush_work : side_flush_worker,
				   i % 3 ? (void *)&b.work : (void *)worker);
		for (int i = 0; i < 12; i++)
			if (round % 2)
				side_settle(&sides[i]);
		gate_open(&b.release[0]);
		for (int i = 0; i < 12; i++)
			CHECK_EQ(side_join(&sides[i]), 0);
	}
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

/* Flush of oneself */

struct selfish {
	struct kthread_work work;
	struct kthread_worker *worker;
	struct counted idle, pending;
	bool again;
	int own, own_again, own_timeout, own_now, other, none, all, step;
};

static void selfish_run(struct kthread_work *work)
{
	struct selfish *s = (struct selfish *)work;
	struct kthread_flush flush;

	if (s->again)
		return;
	s->again = true;
	s->own = kthread_flush_work(work);
	s->own_now = kthread_flush_work_timeout(work, 0);
	s->none = kthread_flush_work(&s->idle.work);
	CHECK(kthread_queue_work(s->worker, &s->pending.work));
	s->other = kthread_flush_work(&s->pending.work);
	s->own_timeout = kthread_flush_work_timeout(&s->pending.work, MS(1));
	s->all = kthread_flush_worker(s->worker);
	kthread_flush_begin_work(&flush, &s->pending.work);
	s->step = kthread_flush_wait(&flush, KTHREAD_FOREVER);
	CHECK(kthread_queue_work(s->worker, work));
	s->own_again = kthread_flush_work(work);
}

TEST(own_callback_flush_is_a_deadlock)
{
	struct selfish selfish = { .worker = new_worker("selfish") }, *s = &selfish;

	kthread_init_work(&s->work, selfish_run);
	counted_init(&s->idle);
	counted_init(&s->pending);
	CHECK(kthread_queue_work(s->worker, &s->work));
	CHECK_EQ(kthread_flush_worker(s->worker), 0);
	CHECK_EQ(s->own, -EDEADLK);
	CHECK_EQ(s->own_now, -EDEADLK);
	CHECK_EQ(s->none, 0);
	CHECK_EQ(s->other, -EDEADLK);
	CHECK_EQ(s->own_timeout, -EDEADLK);
	CHECK_EQ(s->all, -EDEADLK);
	CHECK_EQ(s->step, -EDEADLK);
	CHECK_EQ(s->own_again, -EDEADLK);
	CHECK_EQ(kthread_flush_work(&s->pending.work), 0);
	CHECK_EQ(atomic_load(&s->pending.runs), 1);
	CHECK_EQ(kthread_destroy_worker(s->worker), 0);
}

/* Circles: each of @n workers runs a work that flushes the next worker's. */

#define RING_MAX 5

struct ring_work {
	struct kthread_work work;
	struct kthread_work *next_work;		/* NULL: its whole worker */
	struct kthread_worker *next_worker;
	struct gate entered, go;
	atomic_int tid;
	int result;
};

struct ring {
	int n;
	struct kthread_worker *worker[RING_MAX];
	struct ring_work member[RING_MAX];
};

static void ring_run(struct kthread_work *work)
{
	struct ring_work *w = (struct ring_work *)work;

	atomic_store(&w->tid, own_tid());
	gate_open(&w->entered);
	gate_wait(&w->go);
	w->result = w->next_work ? kthread_flush_work(w->next_work)
				 : kthread_flush_worker(w->next_worker);
}

static void ring_start(struct ring *ring, int n, bool whole_worker)
{
	ring->n = n;
	for (int i = 0; i < n; i++)
		ring->worker[i] = new_worker("ring");
	for (int i = 0; i < n; i++) {
		struct ring_work *w = &ring->member[i];

		memset(w, 0, sizeof(*w));
		kthread_init_work(&w->work, ring_run);
		w->next_work = whole_worker ? NULL : &ring->member[(i + 1) % n].work;
		w->next_worker = ring->worker[(i + 1) % n];
		w->result = 1;
		gate_init(&w->entered);
		gate_init(&w->go);
		CHECK(kthread_queue_work(ring->worker[i], &w->work));
	}
	for (int i = 0; i < n; i++)
		gate_wait(&ring->member[i].entered);
}

static void ring_end(struct ring *ring)
{
	for (int i = 0; i < ring->n; i++)
		CHECK_EQ(kthread_flush_work(&ring->member[i].work), 0);
	for (int i = 0; i < ring->n; i++)
		CHECK_EQ(kthread_destroy_worker(ring->worker[i]), 0);
}

/* One after the other: who closes the circle learns of it, all others wait it out. */
static void ring_in_order(int n, bool whole_worker)
{
	static struct ring ring;

	ring_start(&ring, n, whole_worker);
	for (int i = 0; i < n; i++) {
		gate_open(&ring.member[i].go);
		for (int look = 0; i < n - 1 && look < 3; look++) {
			nap();
			WAIT_UNTIL(tid_settled(atomic_load(&ring.member[i].tid)));
		}
	}
	ring_end(&ring);
	for (int i = 0; i < n - 1; i++)
		CHECK_EQ(ring.member[i].result, 0);
	CHECK_EQ(ring.member[n - 1].result, -EDEADLK);
}

/* All at once: all return, and at least one has learnt of it. */
static void ring_at_once(int n)
{
	static struct ring ring;

	for (int round = 0; round < 40; round++) {
		bool found = false;

		ring_start(&ring, n, round % 2);
		for (int i = 0; i < n; i++)
			gate_open(&ring.member[i].go);
		ring_end(&ring);
		for (int i = 0; i < n; i++) {
			CHECK(ring.member[i].result == 0 || ring.member[i].result == -EDEADLK);
			found |= ring.member[i].result == -EDEADLK;
		}
		CHECK(found);
	}
}

TEST(circle_of_2_workers_is_found)
{
	ring_in_order(2, false);
	ring_in_order(2, true);
}

TEST(circle_of_3_workers_is_found)
{
	ring_in_order(3, false);
	ring_in_order(3, true);
}

TEST(circle_of_5_workers_is_found)
{
	ring_in_order(5, false);
	ring_in_order(5, true);
}

TEST(circle_closed_at_once_never_hangs)
{
	ring_at_once(2);
	ring_at_once(3);
	ring_at_once(5);
}

/* A line is no circle, also when the last of it takes its time. */
TEST(chain_of_workers_flushes)
{
	struct kthread_worker *idle = new_worker("idle");
	static struct ring ring;

	ring_start(&ring, 4, false);
	ring.member[3].next_work = NULL;
	ring.member[3].next_worker = idle;
	for (int i = 0; i < 4; i++) {
		gate_open(&ring.member[i].go);
		for (int look = 0; look < 3; look++) {
			nap();
			WAIT_UNTIL(tid_settled(atomic_load(&ring.member[i].tid)));
		}
	}
	ring_end(&ring);
	for (int i = 0; i < 4; i++)
		CHECK_EQ(ring.member[i].result, 0);
	CHECK_EQ(kthread_destroy_worker(idle), 0);
}

/* After a circle was refused, its workers are good for the next flush. */
TEST(flush_between_workers_after_a_refused_circle)
{
	static struct ring ring;

	for (int round = 0; round < 5; round++) {
		ring_start(&ring, 2, false);
		gate_open(&ring.member[round % 2].go);
		WAIT_UNTIL(tid_settled(atomic_load(&ring.member[round % 2].tid)));
		gate_open(&ring.member[1 - round % 2].go);
		for (int i = 0; i < 2; i++)
			CHECK_EQ(kthread_flush_work(&ring.member[i].work), 0);
		/* Now only the first flushes the second's, which is idle or runs alone. */
		ring.member[0].result = 1;
		CHECK(kthread_queue_work(ring.worker[0], &ring.member[0].work));
		ring_end(&ring);
		CHECK_EQ(ring.member[0].result, 0);
	}
}

/* flush_worker */

TEST(flush_worker_waits_for_pending_and_executing_not_for_later)
{
	struct kthread_worker *worker = new_worker("position");
	struct blocker a, late;
	struct counted b;
	struct side side;

	blocker_occupy(&a, worker);
	counted_init(&b);
	blocker_init(&late);
	CHECK(kthread_queue_work(worker, &b.work));
	side_start(&side, side_flush_worker, worker);
	side_settle(&side);
	CHECK(!atomic_load(&side.returned));
	CHECK(kthread_queue_work(worker, &late.work));
	/* A second flusher's look, so that the late one is on the list as well. */
	CHECK_EQ(kthread_flush_worker_timeout(worker, 0), -ETIMEDOUT);
	gate_open(&a.release[0]);
	CHECK_EQ(side_join(&side), 0);
	CHECK_EQ(atomic_load(&b.runs), 1);
	CHECK_EQ(a.data, 1);
	gate_wait(&late.entered[0]);
	CHECK_EQ(atomic_load(&late.ended), 0);
	gate_open(&late.release[0]);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

TEST(flush_worker_waits_for_the_last_pending_one)
{
	struct kthread_worker *worker = new_worker("last");
	struct blocker a, b;
	struct side side;

	blocker_occupy(&a, worker);
	blocker_init(&b);
	CHECK(kthread_queue_work(worker, &b.work));
	side_start(&side, side_flush_worker, worker);
	side_settle(&side);
	gate_open(&a.release[0]);
	gate_wait(&b.entered[0]);
	side_settle(&side);
	CHECK(!atomic_load(&side.returned));
	gate_open(&b.release[0]);
	CHECK_EQ(side_join(&side), 0);
	CHECK_EQ(b.data, 1);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

TEST(flush_worker_waits_for_the_second_run_of_the_executing_work)
{
	struct kthread_worker *worker = new_worker("twice");
	struct blocker b;
	struct side side;

	blocker_occupy(&b, worker);
	CHECK(kthread_queue_work(worker, &b.work));
	side_start(&side, side_flush_worker, worker);
	side_settle(&side);
	gate_open(&b.release[0]);
	gate_wait(&b.entered[1]);
	side_settle(&side);
	CHECK(!atomic_load(&side.returned));
	gate_open(&b.release[1]);
	CHECK_EQ(side_join(&side), 0);
	CHECK_EQ(b.data, 2);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

/* The executing run counts although its position is behind that of nothing pending. */
TEST(flush_worker_of_a_lone_executing_work)
{
	struct kthread_worker *worker = new_worker("lone");
	struct blocker b;
	struct side side;

	blocker_occupy(&b, worker);
	CHECK_EQ(kthread_flush_worker_timeout(worker, 0), -ETIMEDOUT);
	side_start(&side, side_flush_worker, worker);
	side_settle(&side);
	CHECK(!atomic_load(&side.returned));
	gate_open(&b.release[0]);
	CHECK_EQ(side_join(&side), 0);
	CHECK_EQ(b.data, 1);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

/* In steps */

static int steps_until_done(struct kthread_flush *flush, uint64_t step_ns)
{
	int result;

	do {
		result = kthread_flush_wait(flush, step_ns);
		CHECK(result == 0 || result == -ETIMEDOUT);
	} while (result);
	return kthread_flush_wait(flush, 0);
}

TEST(flush_in_steps_of_an_idle_work)
{
	struct kthread_worker *worker = new_worker("steps");
	struct kthread_flush flush;
	struct counted c;

	counted_init(&c);
	kthread_flush_begin_work(&flush, &c.work);
	CHECK_EQ(kthread_flush_wait(&flush, 0), 0);
	kthread_flush_begin_worker(&flush, worker);
	CHECK_EQ(kthread_flush_wait(&flush, 0), 0);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

TEST(flush_in_steps_waits_for_what_begin_noted)
{
	struct kthread_worker *worker = new_worker("steps");
	struct kthread_flush one, all, later;
	struct blocker b;

	blocker_occupy(&b, worker);
	kthread_flush_begin_work(&one, &b.work);
	kthread_flush_begin_worker(&all, worker);
	CHECK(kthread_queue_work(worker, &b.work));
	kthread_flush_begin_work(&later, &b.work);
	CHECK_EQ(kthread_flush_wait(&one, 0), -ETIMEDOUT);
	CHECK_EQ(kthread_flush_wait(&all, MS(1)), -ETIMEDOUT);
	gate_open(&b.release[0]);
	gate_wait(&b.entered[1]);
	/* The first run has ended, the second runs: that is later's alone. */
	CHECK_EQ(kthread_flush_wait(&one, KTHREAD_FOREVER), 0);
	CHECK_EQ(kthread_flush_wait(&all, KTHREAD_FOREVER), 0);
	CHECK_EQ(kthread_flush_wait(&later, MS(1)), -ETIMEDOUT);
	gate_open(&b.release[1]);
	CHECK_EQ(kthread_flush_wait(&later, KTHREAD_FOREVER), 0);
	CHECK_EQ(b.data, 2);
	CHECK_EQ(kthread_flush_wait(&one, 0), 0);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

TEST(flush_in_steps_of_an_endless_requeuer_ends)
{
	struct kthread_worker *worker = new_worker("endless");
	struct kthread_flush flush;
	struct requeuer r;

	requeuer_init(&r, worker, -1);
	CHECK(kthread_queue_work(worker, &r.work));
	for (int i = 0; i < 50; i++) {
		kthread_flush_begin_work(&flush, &r.work);
		CHECK_EQ(steps_until_done(&flush, 0), 0);
		kthread_flush_begin_work(&flush, &r.work);
		CHECK_EQ(steps_until_done(&flush, 1000), 0);
		kthread_flush_begin_worker(&flush, worker);
		CHECK_EQ(steps_until_done(&flush, 0), 0);
		kthread_flush_begin_worker(&flush, worker);
		CHECK_EQ(steps_until_done(&flush, 1000), 0);
	}
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

TEST(flush_begun_and_not_waited_for_needs_no_undoing)
{
	struct kthread_worker *worker = new_worker("left");
	struct kthread_flush flush;
	struct blocker b;

	blocker_occupy(&b, worker);
	for (int i = 0; i < 100; i++) {
		kthread_flush_begin_work(&flush, &b.work);
		kthread_flush_begin_worker(&flush, worker);
		if (i % 2)
			CHECK_EQ(kthread_flush_wait(&flush, 0), -ETIMEDOUT);
	}
	CHECK_EQ(atomic_load(&worker->flushing), 0);
	gate_open(&b.release[0]);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

/* Signals */

static atomic_int signals_seen;

static void on_signal(int number)
{
	(void)number;
	atomic_fetch_add(&signals_seen, 1);
}

static void handle_usr1(int flags)
{
	struct sigaction action;

	memset(&action, 0, sizeof(action));
	action.sa_handler = on_signal;
	action.sa_flags = flags;
	CHECK_EQ(sigaction(SIGUSR1, &action, NULL), 0);
	atomic_store(&signals_seen, 0);
}

static int side_flush_wait(void *flush)
{
	return kthread_flush_wait(flush, KTHREAD_FOREVER);
}

TEST(flush_wait_is_interrupted_by_a_handler)
{
	struct kthread_worker *worker = new_worker("eintr");
	struct kthread_flush flush[2];
	struct blocker b;
	struct side side;

	handle_usr1(0);
	blocker_occupy(&b, worker);
	kthread_flush_begin_work(&flush[0], &b.work);
	kthread_flush_begin_worker(&flush[1], worker);
	for (int i = 0; i < 2; i++) {
		side_start(&side, side_flush_wait, &flush[i]);
		side_settle(&side);
		CHECK(!atomic_load(&side.returned));
		/* One that falls between two sleeps may pass unseen: again, then. */
		while (!atomic_load(&side.returned)) {
			CHECK_EQ(pthread_kill(side.thread, SIGUSR1), 0);
			nap();
		}
		CHECK_EQ(side_join(&side), -EINTR);
	}
	gate_open(&b.release[0]);
	for (int i = 0; i < 2; i++)
		CHECK_EQ(kthread_flush_wait(&flush[i], KTHREAD_FOREVER), 0);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

TEST(flush_work_waits_on_across_handlers)
{
	struct kthread_worker *worker = new_worker("restart");
	struct blocker b;
	struct side one, all;

	handle_usr1(0);
	blocker_occupy(&b, worker);
	side_start(&one, side_flush_work, &b.work);
	side_start(&all, side_flush_worker, worker);
	side_settle(&one);
	side_settle(&all);
	for (int i = 1; i <= 20; i++) {
		CHECK_EQ(pthread_kill(one.thread, SIGUSR1), 0);
		CHECK_EQ(pthread_kill(all.thread, SIGUSR1), 0);
		WAIT_UNTIL(atomic_load(&signals_seen) >= 2 * i);
		side_settle(&one);
		side_settle(&all);
		CHECK(!atomic_load(&one.returned));
		CHECK(!atomic_load(&all.returned));
	}
	gate_open(&b.release[0]);
	CHECK_EQ(side_join(&one), 0);
	CHECK_EQ(side_join(&all), 0);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

static int side_flush_long(void *work)
{
	return kthread_flush_work_timeout(work, MS(20));
}

TEST(flush_timeout_ends_amid_a_storm_of_handlers)
{
	struct kthread_worker *worker = new_worker("storm");
	struct blocker b;
	struct side side;

	handle_usr1(SA_RESTART);
	blocker_occupy(&b, worker);
	side_start(&side, side_flush_long, &b.work);
	WAIT_UNTIL(atomic_load(&side.tid));
	while (!atomic_load(&side.returned)) {
		pthread_kill(side.thread, SIGUSR1);
		nap();
	}
	CHECK_EQ(side_join(&side), -ETIMEDOUT);
	gate_open(&b.release[0]);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}
