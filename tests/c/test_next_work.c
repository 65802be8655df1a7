/* SPDX-License-Identifier: GPL-2.0-only */
/* kthread_next_work: an embedder's loop runs several works without returning. */
#include "harness.h"

#define WORKS 32

/* One run of the loop: how many works it ran before kthread_next_work said NULL. */
static atomic_int loops, looped;

static void count_loop(struct kthread_work *work)
{
	struct kthread_worker *worker = kthread_work_worker(work);

	atomic_fetch_add(&loops, 1);
	do {
		CHECK_EQ(kthread_work_busy(work) & KTHREAD_WORK_EXECUTING, KTHREAD_WORK_EXECUTING);
		atomic_fetch_add(&looped, 1);
		count_run(work);
		work = kthread_next_work(worker, count_loop);
	} while (work);
}

static void looper_init(struct counted *c)
{
	memset(c, 0, sizeof(*c));
	kthread_init_work(&c->work, count_loop);
}

static void reset(void)
{
	atomic_store(&counted_order, 0);
	atomic_store(&loops, 0);
	atomic_store(&looped, 0);
}

TEST(loop_runs_works_of_one_function_and_leaves_the_others)
{
	struct kthread_worker *worker = kthread_create_worker(0, "loop");
	struct kthread_worker_stats stats;
	struct counted c[WORKS];

	CHECK(worker);
	reset();
	/* Each eighth has another function. */
	for (int i = 0; i < WORKS; i++) {
		if (i % 8 == 7)
			counted_init(&c[i]);
		else
			looper_init(&c[i]);
		CHECK(kthread_queue_work(worker, &c[i].work));
	}
	kthread_worker_get_stats(worker, &stats); /* all are listed, and none in the inbox */
	CHECK_EQ(kthread_start_worker(worker, NULL), 0);
	CHECK_EQ(kthread_flush_worker(worker), 0);
	for (int i = 0; i < WORKS; i++) {
		CHECK_EQ(atomic_load(&c[i].runs), 1);
		CHECK_EQ(atomic_load(&c[i].order), i + 1);
		CHECK_EQ(kthread_work_busy(&c[i].work), 0);
	}
	CHECK_EQ(atomic_load(&loops), WORKS / 8);
	CHECK_EQ(atomic_load(&looped), WORKS / 8 * 7);
	kthread_worker_get_stats(worker, &stats);
	CHECK_EQ(stats.executed, WORKS);
	CHECK_EQ(stats.queued, WORKS);
	CHECK_EQ(stats.pending, 0);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

/* Holds each of its runs until released; a loop. */
struct held {
	struct kthread_work work;
	struct gate entered, release;
	atomic_int runs;
	atomic_bool again;	/* queue itself at the end */
	atomic_bool own;	/* free itself at the end */
};

static void hold_loop(struct kthread_work *work)
{
	struct kthread_worker *worker = kthread_work_worker(work);

	do {
		struct held *h = (struct held *)work;

		gate_open(&h->entered);
		gate_wait(&h->release);
		atomic_fetch_add(&h->runs, 1);
		if (atomic_exchange(&h->again, false))
			CHECK(kthread_queue_work(worker, work));
		if (atomic_load(&h->own))
			free(h);
		work = kthread_next_work(worker, hold_loop);
	} while (work);
}

static void held_init(struct held *h)
{
	memset(h, 0, sizeof(*h));
	gate_init(&h->entered);
	gate_init(&h->release);
	kthread_init_work(&h->work, hold_loop);
}

/* The flusher of the first returns while the second executes, in the same callback. */
TEST(flusher_of_each_ended_run_is_told)
{
	struct kthread_worker *worker = new_worker("loop");
	struct side first, second, all;
	struct held h[3];

	kthread_worker_set_busy_poll(worker, 0);
	for (int i = 0; i < 3; i++) {
		held_init(&h[i]);
		CHECK(kthread_queue_work(worker, &h[i].work));
	}
	gate_wait(&h[0].entered);
	side_start(&first, side_flush_work, &h[0].work);
	side_start(&second, side_flush_work, &h[1].work);
	side_start(&all, side_flush_worker, worker);
	side_settle(&first);
	side_settle(&second);
	side_settle(&all);
	CHECK(!atomic_load(&first.returned));
	gate_open(&h[0].release);
	CHECK_EQ(side_join(&first), 0);
	gate_wait(&h[1].entered);
	side_settle(&second);
	side_settle(&all);
	CHECK(!atomic_load(&second.returned));
	CHECK(!atomic_load(&all.returned));
	gate_open(&h[1].release);
	CHECK_EQ(side_join(&second), 0);
	gate_wait(&h[2].entered);
	side_settle(&all);
	CHECK(!atomic_load(&all.returned));
	gate_open(&h[2].release);
	CHECK_EQ(side_join(&all), 0);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

/* What comes behind the flush of the worker, in the same loop, is not waited for. */
TEST(flusher_of_the_worker_is_told_amid_the_loop)
{
	struct kthread_worker *worker = new_worker("loop");
	struct held h[2];
	struct side all;

	held_init(&h[0]);
	held_init(&h[1]);
	CHECK(kthread_queue_work(worker, &h[0].work));
	gate_wait(&h[0].entered);
	side_start(&all, side_flush_worker, worker);
	side_settle(&all);
	CHECK(!atomic_load(&all.returned));
	CHECK(kthread_queue_work(worker, &h[1].work));
	gate_open(&h[0].release);
	gate_wait(&h[1].entered);
	CHECK_EQ(side_join(&all), 0);
	CHECK_EQ(atomic_load(&h[1].runs), 0);
	gate_open(&h[1].release);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

TEST(work_freed_by_its_callback_amid_the_loop)
{
	struct kthread_worker *worker = new_worker("loop");
	struct held last;

	held_init(&last);
	gate_open(&last.release);
	for (int i = 0; i < 1000; i++) {
		struct held *h = malloc(sizeof(*h));

		CHECK(h);
		held_init(h);
		atomic_store(&h->own, true);
		gate_open(&h->release);
		CHECK(kthread_queue_work(worker, &h->work));
		if (i % 50 == 0)
			CHECK_EQ(kthread_flush_worker(worker), 0);
	}
	CHECK(kthread_queue_work(worker, &last.work));
	CHECK_EQ(kthread_flush_work(&last.work), 0);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

/* Queued again in its run, the next run comes from the same loop, and is flushed for. */
TEST(work_requeued_by_its_callback_amid_the_loop)
{
	struct kthread_worker *worker = new_worker("loop");
	struct kthread_flush flush;
	struct held h;

	held_init(&h);
	atomic_store(&h.again, true);
	CHECK(kthread_queue_work(worker, &h.work));
	gate_wait(&h.entered);
	kthread_flush_begin_work(&flush, &h.work);
	gate_open(&h.release);
	CHECK_EQ(kthread_flush_wait(&flush, KTHREAD_FOREVER), 0);
	CHECK(atomic_load(&h.runs) >= 1);
	CHECK_EQ(kthread_flush_work(&h.work), 0);
	CHECK_EQ(atomic_load(&h.runs), 2);
	CHECK_EQ(kthread_work_busy(&h.work), 0);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

TEST(loop_ends_at_a_stop)
{
	struct kthread_worker *worker = new_worker("loop");
	struct held h[2];
	struct side side;

	held_init(&h[0]);
	held_init(&h[1]);
	gate_open(&h[1].release);
	CHECK(kthread_queue_work(worker, &h[0].work));
	CHECK(kthread_queue_work(worker, &h[1].work));
	gate_wait(&h[0].entered);
	side_start(&side, side_stop_worker, worker);
	side_settle(&side);
	CHECK(!atomic_load(&side.returned));
	gate_open(&h[0].release);
	CHECK_EQ(side_join(&side), 0);
	CHECK_EQ(atomic_load(&h[0].runs), 1);
	CHECK_EQ(atomic_load(&h[1].runs), 0);
	CHECK_EQ(kthread_work_busy(&h[1].work), KTHREAD_WORK_PENDING);
	CHECK_EQ(kthread_start_worker(worker, NULL), 0);
	CHECK_EQ(kthread_flush_work(&h[1].work), 0);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

static int side_freeze(void *worker)
{
	return kthread_freeze_worker(worker);
}

static int side_freeze_thread(void *worker)
{
	return kthread_freeze(atomic_load(&((struct kthread_worker *)worker)->task));
}

static void freeze_amid_the_loop(int (*freeze)(void *), bool of_the_thread)
{
	struct kthread_worker *worker = new_worker("loop");
	struct held h[2];
	struct side side;

	held_init(&h[0]);
	held_init(&h[1]);
	gate_open(&h[1].release);
	CHECK(kthread_queue_work(worker, &h[0].work));
	CHECK(kthread_queue_work(worker, &h[1].work));
	gate_wait(&h[0].entered);
	side_start(&side, freeze, worker);
	side_settle(&side);
	CHECK(!atomic_load(&side.returned));
	gate_open(&h[0].release);
	CHECK_EQ(side_join(&side), 0);
	CHECK_EQ(atomic_load(&h[0].runs), 1);
	CHECK_EQ(atomic_load(&h[1].runs), 0);
	if (of_the_thread)
		kthread_thaw(atomic_load(&worker->task));
	else
		kthread_thaw_worker(worker);
	CHECK_EQ(kthread_flush_work(&h[1].work), 0);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

TEST(loop_ends_at_a_freeze)
{
	freeze_amid_the_loop(side_freeze, false);
	freeze_amid_the_loop(side_freeze_thread, true);
}

/* Destruction asks the loop to end, and all that is listed runs nevertheless. */
TEST(destroy_amid_the_loop_runs_what_is_pending)
{
	struct kthread_worker *worker = new_worker("loop");
	struct counted c[WORKS];
	struct side side;
	struct held h;

	reset();
	held_init(&h);
	CHECK(kthread_queue_work(worker, &h.work));
	gate_wait(&h.entered);
	for (int i = 0; i < WORKS; i++) {
		looper_init(&c[i]);
		CHECK(kthread_queue_work(worker, &c[i].work));
	}
	side_start(&side, side_destroy, worker);
	side_settle(&side);
	gate_open(&h.release);
	CHECK_EQ(side_join(&side), 0);
	for (int i = 0; i < WORKS; i++)
		CHECK_EQ(atomic_load(&c[i].order), i + 1);
}

/* The callback is that of the work which kthread_next_work gave: of no other any more. */
static struct kthread_work *flushed[2];
static int results[2][2];

static void flush_loop(struct kthread_work *work)
{
	struct kthread_worker *worker = kthread_work_worker(work);

	do {
		for (int i = 0; i < 2; i++)
			results[work == flushed[1]][i] = kthread_flush_work(flushed[i]);
		work = kthread_next_work(worker, flush_loop);
	} while (work);
}

TEST(flush_of_oneself_amid_the_loop_is_a_deadlock)
{
	struct kthread_worker *worker = kthread_create_worker(0, "loop");
	struct kthread_worker_stats stats;
	struct kthread_work works[2];

	CHECK(worker);
	for (int i = 0; i < 2; i++) {
		kthread_init_work(&works[i], flush_loop);
		flushed[i] = &works[i];
		CHECK(kthread_queue_work(worker, &works[i]));
	}
	kthread_worker_get_stats(worker, &stats); /* all are listed */
	CHECK_EQ(kthread_start_worker(worker, NULL), 0);
	CHECK_EQ(kthread_flush_worker(worker), 0);
	CHECK_EQ(results[0][0], -EDEADLK);
	CHECK_EQ(results[0][1], -EDEADLK);
	CHECK_EQ(results[1][0], 0);
	CHECK_EQ(results[1][1], -EDEADLK);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

TEST(loop_without_a_next_work_changes_nothing)
{
	struct kthread_worker *worker = new_worker("loop");
	struct kthread_worker_stats stats;
	struct counted c;

	reset();
	looper_init(&c);
	for (int i = 1; i <= 100; i++) {
		CHECK(kthread_queue_work(worker, &c.work));
		CHECK_EQ(kthread_flush_work(&c.work), 0);
		CHECK_EQ(atomic_load(&loops), i);
		CHECK_EQ(atomic_load(&looped), i);
		kthread_worker_get_stats(worker, &stats);
		CHECK_EQ(stats.executed, i);
	}
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}
