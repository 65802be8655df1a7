/* SPDX-License-Identifier: GPL-2.0-only */
/* The numbers of runs, of epochs and of claims wrap: before 2^31, before 2^32, before 2^28. */
#include "harness.h"

/* Even all: a work's state remembers the lowest bit of the number of its runs. */
static const uint32_t starts[] = {
	INT32_MAX - 3u, INT32_MAX - 1u, (uint32_t)INT32_MAX + 1u,
	UINT32_MAX - 3u, UINT32_MAX - 1u, 0,
};

#define STARTS (sizeof(starts) / sizeof(starts[0]))

static struct kthread_worker *worker_at(uint32_t epoch)
{
	struct kthread_worker *worker = kthread_create_worker(0, "wrap");

	CHECK(worker);
	worker->epoch = epoch;
	CHECK_EQ(kthread_start_worker(worker, NULL), 0);
	return worker;
}

TEST(queue_and_flush_across_the_wrap)
{
	for (size_t s = 0; s < STARTS; s++) {
		struct kthread_worker *worker = worker_at(starts[s]);
		struct counted c;

		counted_init(&c);
		atomic_store(&c.work.started_seq, starts[s]);
		CHECK_EQ(kthread_flush_work(&c.work), 0);
		for (int i = 1; i <= 8; i++) {
			CHECK(kthread_queue_work(worker, &c.work));
			CHECK_EQ(i % 2 ? kthread_flush_work(&c.work)
				       : kthread_flush_worker(worker), 0);
			CHECK_EQ(atomic_load(&c.runs), i);
			CHECK_EQ(kthread_flush_work_timeout(&c.work, 0), 0);
		}
		CHECK_EQ(kthread_destroy_worker(worker), 0);
	}
}

/* Executing and pending on either side of the wrap: flush waits for the second run. */
TEST(flush_waits_for_the_second_run_across_the_wrap)
{
	for (size_t s = 0; s < STARTS; s++) {
		struct kthread_worker *worker = worker_at(starts[s]);
		struct kthread_flush first, second, all;
		struct blocker b;
		struct side one, two;

		blocker_init(&b);
		atomic_store(&b.work.started_seq, starts[s]);
		CHECK(kthread_queue_work(worker, &b.work));
		gate_wait(&b.entered[0]);
		kthread_flush_begin_work(&first, &b.work);
		kthread_flush_begin_worker(&all, worker);
		CHECK(kthread_queue_work(worker, &b.work));
		kthread_flush_begin_work(&second, &b.work);
		side_start(&one, side_flush_work, &b.work);
		side_start(&two, side_flush_worker, worker);
		side_settle(&one);
		side_settle(&two);
		CHECK_EQ(kthread_flush_wait(&first, 0), -ETIMEDOUT);
		gate_open(&b.release[0]);
		gate_wait(&b.entered[1]);
		CHECK_EQ(kthread_flush_wait(&first, KTHREAD_FOREVER), 0);
		CHECK_EQ(kthread_flush_wait(&all, KTHREAD_FOREVER), 0);
		CHECK_EQ(kthread_flush_wait(&second, 0), -ETIMEDOUT);
		side_settle(&one);
		side_settle(&two);
		CHECK(!atomic_load(&one.returned));
		CHECK(!atomic_load(&two.returned));
		gate_open(&b.release[1]);
		CHECK_EQ(side_join(&one), 0);
		CHECK_EQ(side_join(&two), 0);
		CHECK_EQ(kthread_flush_wait(&second, 0), 0);
		CHECK_EQ(b.data, 2);
		CHECK_EQ(kthread_destroy_worker(worker), 0);
	}
}

/* A list with works of epochs on both sides: every other one is followed by a flush. */
TEST(flush_worker_by_epoch_across_the_wrap)
{
	for (size_t s = 0; s < STARTS; s++) {
		struct kthread_worker *worker = worker_at(starts[s]);
		struct counted c[6];
		struct blocker b, late;
		struct side side;

		blocker_occupy(&b, worker);
		blocker_init(&late);
		for (int i = 0; i < 6; i++) {
			counted_init(&c[i]);
			CHECK(kthread_queue_work(worker, &c[i].work));
			if (i % 2)
				CHECK_EQ(kthread_flush_worker_timeout(worker, 0), -ETIMEDOUT);
		}
		side_start(&side, side_flush_worker, worker);
		side_settle(&side);
		CHECK(!atomic_load(&side.returned));
		CHECK(kthread_queue_work(worker, &late.work));
		gate_open(&b.release[0]);
		CHECK_EQ(side_join(&side), 0);
		for (int i = 0; i < 6; i++)
			CHECK_EQ(atomic_load(&c[i].runs), 1);
		gate_wait(&late.entered[0]);
		gate_open(&late.release[0]);
		CHECK_EQ(kthread_destroy_worker(worker), 0);
	}
}

/* A finished run is far behind, by how ever much the work has run since. */
TEST(begun_flush_stays_done_when_the_work_runs_on)
{
	for (size_t s = 0; s < STARTS; s++) {
		struct kthread_worker *worker = worker_at(starts[s]);
		struct kthread_flush flush, all;
		struct requeuer r;

		requeuer_init(&r, worker, -1);
		atomic_store(&r.work.started_seq, starts[s]);
		CHECK(kthread_queue_work(worker, &r.work));
		kthread_flush_begin_work(&flush, &r.work);
		kthread_flush_begin_worker(&all, worker);
		int runs = atomic_load(&r.runs);

		WAIT_UNTIL(atomic_load(&r.runs) >= runs + 50);
		CHECK_EQ(kthread_flush_wait(&flush, 0), 0);
		/* Begun amid a claim it is sealed by the wait, and reaches what is queued then. */
		CHECK_EQ(kthread_flush_wait(&all, all.sealed ? 0 : KTHREAD_FOREVER), 0);
		CHECK_EQ(kthread_destroy_worker(worker), 0);
	}
}

/* What counts claims has 28 bits, and what counts their ends 32. */
TEST(claims_across_the_wrap)
{
	for (size_t s = 0; s < STARTS; s++) {
		struct kthread_worker *worker = kthread_create_worker(0, "wrap");
		struct kthread_drain drain;
		struct counted c[12];

		CHECK(worker);
		/* It may have lived before, and has counts. */
		for (int phase = 0; phase < 2; phase++) {
			atomic_fetch_add(&worker->claims[phase], starts[s] << 4);
			worker->taken[phase] += s % 2 ? starts[s] : 3;
			atomic_fetch_add(&worker->ended[phase], s % 2 ? 0 : starts[s] - 3);
		}
		CHECK_EQ(kthread_start_worker(worker, NULL), 0);
		for (int i = 0; i < 12; i++) {
			struct kthread_batch batch;

			counted_init(&c[i]);
			atomic_store(&worker->phase, (uint32_t)i % 2);
			CHECK_EQ(kthread_freeze_worker(worker), 0);
			CHECK(kthread_queue_work(worker, &c[i].work));
			CHECK(!kthread_queue_work(worker, &c[i].work));
			kthread_thaw_worker(worker);
			CHECK_EQ(kthread_flush_worker(worker), 0);
			kthread_batch_begin(&batch, worker);
			for (int j = 0; j <= i; j++)
				CHECK_EQ(kthread_batch_add(&batch, &c[j].work), 1);
			kthread_batch_end(&batch);
			CHECK_EQ(kthread_flush_worker(worker), 0);
			for (int j = 0; j <= i; j++)
				CHECK_EQ(atomic_load(&c[j].runs), 2 + (i - j));
			CHECK_EQ(kthread_drain_begin(&drain, worker), 0);
			CHECK_EQ(kthread_drain_wait(&drain, 0), 0);
			kthread_drain_end(&drain);
		}
		CHECK_EQ(kthread_destroy_worker(worker), 0);
	}
}
