/* SPDX-License-Identifier: GPL-2.0-only */
/* kthread_batch_begin, _add, _end: many works, one push. */
#include "harness.h"

#include <sys/wait.h>

#define WORKS 64

TEST(batch_runs_in_the_order_of_its_adds)
{
	struct kthread_worker *worker = new_worker("batch");
	struct counted c[WORKS], before, after;
	struct kthread_batch batch;
	struct blocker b;

	blocker_occupy(&b, worker);
	counted_init(&before);
	counted_init(&after);
	atomic_store(&counted_order, 0);
	CHECK(kthread_queue_work(worker, &before.work));
	kthread_batch_begin(&batch, worker);
	CHECK_EQ(batch.refused, 0);
	for (int i = 0; i < WORKS; i++) {
		counted_init(&c[i]);
		CHECK_EQ(kthread_batch_add(&batch, &c[i].work), 1);
		CHECK_EQ(kthread_work_busy(&c[i].work), KTHREAD_WORK_PENDING);
	}
	kthread_batch_end(&batch);
	CHECK(kthread_queue_work(worker, &after.work));
	gate_open(&b.release[0]);
	CHECK_EQ(kthread_flush_worker(worker), 0);
	CHECK_EQ(atomic_load(&before.order), 1);
	for (int i = 0; i < WORKS; i++) {
		CHECK_EQ(atomic_load(&c[i].order), i + 2);
		CHECK_EQ(atomic_load(&c[i].runs), 1);
	}
	CHECK_EQ(atomic_load(&after.order), WORKS + 2);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

TEST(batch_wakes_a_sleeping_worker)
{
	struct kthread_worker *worker = new_worker("batch");
	struct kthread_batch batch;
	struct counted c[2];

	kthread_worker_set_busy_poll(worker, 0);
	counted_init(&c[0]);
	counted_init(&c[1]);
	for (int i = 1; i <= 50; i++) {
		WAIT_UNTIL(tid_settled(worker_tid(worker)));
		kthread_batch_begin(&batch, worker);
		CHECK_EQ(kthread_batch_add(&batch, &c[0].work), 1);
		CHECK_EQ(kthread_batch_add(&batch, &c[1].work), 1);
		kthread_batch_end(&batch);
		WAIT_UNTIL(atomic_load(&c[0].runs) == i && atomic_load(&c[1].runs) == i &&
			   !kthread_work_busy(&c[1].work));
	}
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

TEST(batch_coalesces_within_itself_and_with_what_is_pending)
{
	struct kthread_worker *worker = kthread_create_worker(0, "batch");
	struct kthread_worker_stats stats;
	struct counted pending, twice, other;
	struct kthread_batch batch;

	CHECK(worker);
	counted_init(&pending);
	counted_init(&twice);
	counted_init(&other);
	CHECK(kthread_queue_work(worker, &pending.work));
	kthread_batch_begin(&batch, worker);
	CHECK_EQ(kthread_batch_add(&batch, &twice.work), 1);
	CHECK_EQ(kthread_batch_add(&batch, &twice.work), 0);
	CHECK_EQ(kthread_batch_add(&batch, &pending.work), 0);
	CHECK_EQ(kthread_batch_add(&batch, &other.work), 1);
	CHECK_EQ(kthread_batch_add(&batch, &twice.work), 0);
	kthread_batch_end(&batch);
	kthread_worker_get_stats(worker, &stats);
	CHECK_EQ(stats.queued, 3);
	CHECK_EQ(stats.pending, 3);
	atomic_store(&counted_order, 0);
	CHECK_EQ(kthread_start_worker(worker, NULL), 0);
	CHECK_EQ(kthread_flush_worker(worker), 0);
	CHECK_EQ(atomic_load(&pending.order), 1);
	CHECK_EQ(atomic_load(&twice.order), 2);
	CHECK_EQ(atomic_load(&other.order), 3);
	CHECK_EQ(atomic_load(&counted_order), 3);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

TEST(batch_add_refuses_what_queue_refuses)
{
	struct kthread_worker *one = kthread_create_worker(0, "one"), *two = new_worker("two");
	struct kthread_work blank;
	struct kthread_batch batch;
	struct counted busy, good;

	CHECK(one);
	counted_init(&busy);
	counted_init(&good);
	memset(&blank, 0, sizeof(blank));
	CHECK(kthread_queue_work(one, &busy.work));
	errno = 4711;
	kthread_batch_begin(&batch, two);
	CHECK_EQ(kthread_batch_add(&batch, NULL), -EINVAL);
	CHECK_EQ(kthread_batch_add(&batch, &blank), -EINVAL);
	CHECK_EQ(kthread_batch_add(&batch, &busy.work), -EBUSY);
	CHECK_EQ(kthread_batch_add(&batch, &good.work), 1);
	kthread_batch_end(&batch);
	CHECK_EQ(errno, 4711);
	CHECK_EQ(kthread_flush_worker(two), 0);
	CHECK_EQ(atomic_load(&good.runs), 1);
	CHECK_EQ(atomic_load(&busy.runs), 0);
	CHECK_EQ(kthread_destroy_worker(two), 0);
	CHECK_EQ(kthread_destroy_worker(one), 0);
}

TEST(empty_batch_and_null_worker_do_nothing)
{
	struct kthread_worker *worker = new_worker("batch");
	struct kthread_worker_stats stats;
	struct kthread_batch batch;
	struct counted c;

	counted_init(&c);
	for (int i = 0; i < 10; i++) {
		kthread_batch_begin(&batch, worker);
		kthread_batch_end(&batch);
	}
	CHECK_EQ(kthread_flush_worker(worker), 0);
	kthread_worker_get_stats(worker, &stats);
	CHECK_EQ(stats.queued, 0);
	kthread_batch_begin(&batch, NULL);
	CHECK_EQ(batch.refused, -EINVAL);
	CHECK_EQ(kthread_batch_add(&batch, &c.work), -EINVAL);
	CHECK_EQ(kthread_work_busy(&c.work), 0);
	kthread_batch_end(&batch);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

TEST(batch_on_a_destroyed_or_closed_worker_is_refused)
{
	struct kthread_worker own, *closed = new_worker("closed");
	struct kthread_batch batch;
	struct counted c;

	counted_init(&c);
	kthread_init_worker(&own);
	CHECK_EQ(kthread_destroy_worker(&own), 0);
	kthread_batch_begin(&batch, &own);
	CHECK_EQ(batch.refused, -ESHUTDOWN);
	CHECK_EQ(kthread_batch_add(&batch, &c.work), -ESHUTDOWN);
	kthread_batch_end(&batch);
	kthread_close_worker(closed);
	kthread_batch_begin(&batch, closed);
	CHECK_EQ(kthread_batch_add(&batch, &c.work), -ESHUTDOWN);
	kthread_batch_end(&batch);
	CHECK_EQ(kthread_work_busy(&c.work), 0);
	CHECK_EQ(kthread_destroy_worker(closed), 0);
}

TEST(batch_in_a_forked_child_is_refused)
{
	struct kthread_worker *worker = new_worker("parent");
	int status;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	CHECK(pid >= 0);
	if (!pid) {
		struct kthread_batch batch;
		struct counted c;

		alarm(15);
		counted_init(&c);
		kthread_batch_begin(&batch, worker);
		CHECK_EQ(kthread_batch_add(&batch, &c.work), -ESRCH);
		kthread_batch_end(&batch);
		CHECK_EQ(kthread_work_busy(&c.work), 0);
		CHECK_EQ(kthread_destroy_worker(worker), 0);
		_exit(0);
	}
	while (waitpid(pid, &status, 0) < 0)
		CHECK_EQ(errno, EINTR);
	CHECK_EQ(status, 0);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

TEST(flush_of_the_worker_waits_for_an_open_batch)
{
	struct kthread_worker *worker = new_worker("batch");
	struct kthread_batch batch;
	struct kthread_flush steps;
	struct counted c;
	struct side side;

	counted_init(&c);
	kthread_batch_begin(&batch, worker);
	CHECK_EQ(kthread_batch_add(&batch, &c.work), 1);
	side_start(&side, side_flush_worker, worker);
	side_settle(&side);
	CHECK(!atomic_load(&side.returned));
	kthread_flush_begin_worker(&steps, worker);
	CHECK_EQ(kthread_flush_wait(&steps, 0), -ETIMEDOUT);
	CHECK_EQ(kthread_flush_wait(&steps, MS(2)), -ETIMEDOUT);
	CHECK_EQ(atomic_load(&c.runs), 0);
	kthread_batch_end(&batch);
	CHECK_EQ(side_join(&side), 0);
	CHECK_EQ(atomic_load(&c.runs), 1);
	CHECK_EQ(kthread_flush_wait(&steps, KTHREAD_FOREVER), 0);
	CHECK_EQ(atomic_load(&worker->flushing), 0);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

/* A work of the batch is pending from its add on: its flush waits as well. */
TEST(flush_of_a_work_waits_for_an_open_batch)
{
	struct kthread_worker *worker = new_worker("batch");
	struct kthread_batch batch;
	struct counted c;
	struct side side;

	counted_init(&c);
	kthread_batch_begin(&batch, worker);
	CHECK_EQ(kthread_batch_add(&batch, &c.work), 1);
	side_start(&side, side_flush_work, &c.work);
	side_settle(&side);
	CHECK(!atomic_load(&side.returned));
	kthread_batch_end(&batch);
	CHECK_EQ(side_join(&side), 0);
	CHECK_EQ(atomic_load(&c.runs), 1);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

static void destroy_amid_a_batch(bool with_thread, bool with_work)
{
	struct kthread_worker *worker = kthread_create_worker(0, "batch");
	struct kthread_batch batch;
	struct counted c, late;
	struct side side;

	CHECK(worker);
	if (with_thread)
		CHECK_EQ(kthread_start_worker(worker, NULL), 0);
	counted_init(&c);
	counted_init(&late);
	kthread_batch_begin(&batch, worker);
	if (with_work)
		CHECK_EQ(kthread_batch_add(&batch, &c.work), 1);
	side_start(&side, side_destroy, worker);
	side_settle(&side);
	CHECK(!atomic_load(&side.returned));
	CHECK_EQ(kthread_queue_work_status(worker, &late.work), -ESHUTDOWN);
	/* Begun before the gate was shut: it may yet add. */
	CHECK_EQ(kthread_batch_add(&batch, &late.work), 1);
	kthread_batch_end(&batch);
	CHECK_EQ(side_join(&side), 0);
	CHECK_EQ(atomic_load(&c.runs), with_thread && with_work);
	CHECK_EQ(atomic_load(&late.runs), with_thread);
	CHECK_EQ(kthread_work_busy(&c.work), 0);
	CHECK_EQ(kthread_work_busy(&late.work), 0);
}

TEST(destroy_waits_for_an_open_batch)
{
	destroy_amid_a_batch(true, true);
	destroy_amid_a_batch(true, false);
	destroy_amid_a_batch(false, true);
	destroy_amid_a_batch(false, false);
}

/* The thread stops amid the batch: what was added is listed, and runs on the next. */
TEST(stop_does_not_wait_for_an_open_batch)
{
	struct kthread_worker *worker = new_worker("batch");
	struct kthread_batch batch;
	struct counted c;

	counted_init(&c);
	kthread_batch_begin(&batch, worker);
	CHECK_EQ(kthread_batch_add(&batch, &c.work), 1);
	CHECK_EQ(kthread_stop_worker(worker), 0);
	kthread_batch_end(&batch);
	CHECK_EQ(kthread_work_busy(&c.work), KTHREAD_WORK_PENDING);
	CHECK_EQ(kthread_start_worker(worker, NULL), 0);
	CHECK_EQ(kthread_flush_work(&c.work), 0);
	CHECK_EQ(atomic_load(&c.runs), 1);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

TEST(batch_adds_a_work_that_executes)
{
	struct kthread_worker *worker = new_worker("batch");
	struct kthread_batch batch;
	struct blocker b;

	blocker_occupy(&b, worker);
	kthread_batch_begin(&batch, worker);
	CHECK_EQ(kthread_batch_add(&batch, &b.work), 1);
	CHECK_EQ(kthread_batch_add(&batch, &b.work), 0);
	kthread_batch_end(&batch);
	gate_open(&b.release[0]);
	gate_open(&b.release[1]);
	CHECK_EQ(kthread_flush_work(&b.work), 0);
	CHECK_EQ(atomic_load(&b.ended), 2);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}
