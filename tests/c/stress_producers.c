/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Eight producers, one worker, a million works: none lost, none twice, and those of one
 * producer in the order in which he queued them. STRESS_ROUNDS: works in all.
 */
#include "harness.h"

#define PRODUCERS 8
#define WORKS 256

static struct kthread_worker *worker;

struct producer;

struct item {
	struct kthread_work work;
	struct producer *producer;
	unsigned int number;	/* plain; written before queue, read by the run */
	atomic_bool free;
};

struct producer {
	struct side side;
	struct item item[WORKS];
	unsigned int rounds;
	unsigned int next;	/* plain, the worker's thread */
};

static void item_run(struct kthread_work *work)
{
	struct item *item = (struct item *)work;

	CHECK_EQ(item->number, item->producer->next);
	item->producer->next++;
	atomic_store_explicit(&item->free, true, memory_order_release);
}

static int produce(void *arg)
{
	struct producer *p = arg;

	for (unsigned int i = 0; i < p->rounds; i++) {
		struct item *item = &p->item[i % WORKS];

		if (!atomic_load_explicit(&item->free, memory_order_acquire)) {
			/* Its run still ahead: the list is long enough. */
			CHECK_EQ(kthread_flush_work(&item->work), 0);
			CHECK(atomic_load_explicit(&item->free, memory_order_acquire));
		}
		atomic_store_explicit(&item->free, false, memory_order_relaxed);
		item->number = i;
		CHECK(kthread_queue_work(worker, &item->work));
	}
	return 0;
}

static void eight_producers(uint32_t poll_ns, unsigned int works)
{
	static struct producer producers[PRODUCERS];
	struct kthread_worker_stats stats;

	test_needs_seconds(200);
	worker = new_worker("million");
	kthread_worker_set_busy_poll(worker, poll_ns);
	for (int i = 0; i < PRODUCERS; i++) {
		producers[i].rounds = works / PRODUCERS;
		producers[i].next = 0;
		for (int j = 0; j < WORKS; j++) {
			kthread_init_work(&producers[i].item[j].work, item_run);
			producers[i].item[j].producer = &producers[i];
			atomic_store(&producers[i].item[j].free, true);
		}
	}
	for (int i = 0; i < PRODUCERS; i++)
		side_start(&producers[i].side, produce, &producers[i]);
	for (int i = 0; i < PRODUCERS; i++)
		CHECK_EQ(side_join(&producers[i].side), 0);
	CHECK_EQ(kthread_flush_worker(worker), 0);
	for (int i = 0; i < PRODUCERS; i++)
		CHECK_EQ(producers[i].next, producers[i].rounds);
	kthread_worker_get_stats(worker, &stats);
	CHECK_EQ(stats.queued, works / PRODUCERS * PRODUCERS);
	CHECK_EQ(stats.executed, works / PRODUCERS * PRODUCERS);
	CHECK_EQ(stats.pending, 0);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

TEST(million_works_of_eight_producers_in_order)
{
	eight_producers(KTHREAD_POLL_MAX_DEFAULT_NS, stress_rounds(1000000));
}

TEST(works_of_eight_producers_in_order_without_polling)
{
	eight_producers(0, stress_rounds(200000));
}
