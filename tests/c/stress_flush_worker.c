/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Flushes of the whole worker and looks at its counters take the inbox with a foreign
 * thread, just when the worker is about to sleep: no work is lost, none is slept on.
 * STRESS_ROUNDS, STRESS_SEED.
 */
#include "harness.h"

#define PRODUCERS 2
#define WORKS 4

static struct kthread_worker *worker;
static atomic_bool enough;

struct producer {
	struct side side;
	struct counted c[WORKS];
	bool batches;
	uint64_t random;
	unsigned int rounds;
};

/* Each round ends in a wait by looking only: nobody but the worker gets the runs done. */
static int produce(void *arg)
{
	struct producer *p = arg;

	for (unsigned int i = 1; i <= p->rounds; i++) {
		uint32_t dice = stress_random(&p->random);

		if (p->batches) {
			struct kthread_batch batch;

			kthread_batch_begin(&batch, worker);
			for (int j = 0; j < WORKS; j++)
				CHECK_EQ(kthread_batch_add(&batch, &p->c[j].work), 1);
			kthread_batch_end(&batch);
		} else {
			for (int j = 0; j < WORKS; j++)
				CHECK_EQ(kthread_queue_work_status(worker, &p->c[j].work), 1);
		}
		for (int j = 0; j < WORKS; j++)
			while (atomic_load(&p->c[j].runs) != (int)i ||
			       kthread_work_busy(&p->c[j].work))
				sched_yield();
		/* Let the worker go to sleep, at times. */
		if (dice % 8 == 0)
			spin(dice >> 18);
		if (dice % 256 == 1)
			nap();
	}
	return 0;
}

struct taker {
	struct side side;
	uint64_t random;
	int kind;	/* 0: flushes, 1: looks at the counters, 2: flushes with a time limit */
};

static int take_inbox_all_along(void *arg)
{
	struct taker *t = arg;
	uint64_t queued = 0, executed = 0;

	while (!atomic_load(&enough)) {
		struct kthread_worker_stats stats;
		int result;

		switch (t->kind) {
		case 0:
			CHECK_EQ(kthread_flush_worker(worker), 0);
			break;
		case 1:
			kthread_worker_get_stats(worker, &stats);
			CHECK(stats.queued >= queued && stats.executed >= executed);
			CHECK_EQ(stats.queued, stats.executed + stats.pending);
			queued = stats.queued;
			executed = stats.executed;
			break;
		default:
			result = kthread_flush_worker_timeout(worker,
							      stress_random(&t->random) >> 16);
			CHECK(result == 0 || result == -ETIMEDOUT);
		}
		spin(stress_random(&t->random) >> 20);
	}
	return 0;
}

static void storm(uint32_t poll_ns, unsigned int rounds)
{
	static struct producer producers[PRODUCERS];
	struct kthread_worker_stats stats;
	uint64_t seed = stress_seed();
	struct taker takers[3];

	test_needs_seconds(200);
	rounds = stress_rounds(rounds);
	worker = new_worker("taken");
	kthread_worker_set_busy_poll(worker, poll_ns);
	atomic_store(&enough, false);
	for (int i = 0; i < 3; i++) {
		takers[i].kind = i;
		takers[i].random = seed + 104729u * (unsigned int)i;
		side_start(&takers[i].side, take_inbox_all_along, &takers[i]);
	}
	for (int i = 0; i < PRODUCERS; i++) {
		for (int j = 0; j < WORKS; j++)
			counted_init(&producers[i].c[j]);
		producers[i].batches = i % 2;
		producers[i].random = seed + 7919u * (unsigned int)i;
		producers[i].rounds = rounds;
		side_start(&producers[i].side, produce, &producers[i]);
	}
	for (int i = 0; i < PRODUCERS; i++)
		CHECK_EQ(side_join(&producers[i].side), 0);
	atomic_store(&enough, true);
	for (int i = 0; i < 3; i++)
		CHECK_EQ(side_join(&takers[i].side), 0);
	kthread_worker_get_stats(worker, &stats);
	CHECK_EQ(stats.queued, (uint64_t)rounds * PRODUCERS * WORKS);
	CHECK_EQ(stats.executed, stats.queued);
	CHECK_EQ(atomic_load(&worker->flushing), 0);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

TEST(inbox_taken_by_foreign_threads)
{
	storm(KTHREAD_POLL_MAX_DEFAULT_NS, 20000);
}

TEST(inbox_taken_by_foreign_threads_without_polling)
{
	storm(0, 20000);
}

/*
 * Flush and destruction end amid a crowd that queues, or is refused, without a pause, also
 * when most of the crowd was preempted between its claim and its push.
 */
#define CROWD 32

static struct counted crowded;

static int queue_without_pause(void *unused)
{
	(void)unused;
	/* Relaxed: in the thread sanitizer's runtime so many stronger loads starve the store. */
	while (!atomic_load_explicit(&enough, memory_order_relaxed))
		kthread_queue_work_status(worker, &crowded.work);
	return 0;
}

TEST(flush_and_destroy_end_amid_a_crowd)
{
	struct side crowd[CROWD];

	test_needs_seconds(100);
	worker = new_worker("crowded");
	counted_init(&crowded);
	atomic_store(&enough, false);
	for (int i = 0; i < CROWD; i++)
		side_start(&crowd[i], queue_without_pause, NULL);
	for (int i = 0; i < CROWD; i++)
		WAIT_UNTIL(atomic_load(&crowd[i].tid));
	for (int i = 0; i < 5; i++)
		CHECK_EQ(kthread_flush_worker_timeout(worker, MS(5000)), 0);
	CHECK_EQ(kthread_destroy_worker_timeout(worker, MS(5000)), 0);
	atomic_store(&enough, true);
	for (int i = 0; i < CROWD; i++)
		CHECK_EQ(side_join(&crowd[i]), 0);
}
