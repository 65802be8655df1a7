/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The same works on two workers: racing producers move them to and fro; none executes
 * twice at once, and none is lost. STRESS_ROUNDS, STRESS_SEED.
 */
#include "harness.h"

#define PRODUCERS 3
#define WORKS 4

static struct kthread_worker *workers[2];

struct item {
	struct kthread_work work;
	atomic_int inside;
	atomic_uint queued, runs;
	unsigned int plain;	/* written by whichever worker runs it */
};

static struct item items[WORKS];

struct producer {
	struct side side;
	uint64_t random;
	unsigned int rounds, busy, flushed;
};

static void item_run(struct kthread_work *work)
{
	struct item *item = (struct item *)work;

	CHECK_EQ(atomic_exchange_explicit(&item->inside, 1, memory_order_relaxed), 0);
	item->plain++;
	spin(item->plain % 256);
	CHECK_EQ(atomic_exchange_explicit(&item->inside, 0, memory_order_relaxed), 1);
	atomic_fetch_add_explicit(&item->runs, 1, memory_order_relaxed);
}

static int produce(void *arg)
{
	struct producer *p = arg;

	for (unsigned int i = 0; i < p->rounds; i++) {
		uint32_t dice = stress_random(&p->random);
		struct item *item = &items[dice % WORKS];
		int status = kthread_queue_work_status(workers[dice >> 4 & 1], &item->work);

		CHECK(status >= 0 || status == -EBUSY);
		if (status > 0)
			atomic_fetch_add(&item->queued, 1);
		p->busy += status == -EBUSY;
		if (dice >> 28 == 0) {
			CHECK_EQ(kthread_flush_work(&item->work), 0);
			p->flushed++;
		}
		spin(dice >> 20 & 255);
	}
	return 0;
}

static void move_about(uint32_t poll_ns, unsigned int rounds)
{
	struct producer producers[PRODUCERS];
	uint64_t seed = stress_seed();
	unsigned int busy = 0, queued = 0;

	test_needs_seconds(200);
	for (int i = 0; i < 2; i++) {
		workers[i] = new_worker("move");
		kthread_worker_set_busy_poll(workers[i], poll_ns);
	}
	memset(items, 0, sizeof(items));
	for (int i = 0; i < WORKS; i++)
		kthread_init_work(&items[i].work, item_run);
	for (int i = 0; i < PRODUCERS; i++) {
		producers[i] = (struct producer){ .random = seed + 7919u * (unsigned int)i,
						  .rounds = rounds };
		side_start(&producers[i].side, produce, &producers[i]);
	}
	for (int i = 0; i < PRODUCERS; i++) {
		CHECK_EQ(side_join(&producers[i].side), 0);
		busy += producers[i].busy;
	}
	for (int i = 0; i < WORKS; i++) {
		CHECK_EQ(kthread_flush_work(&items[i].work), 0);
		CHECK_EQ(atomic_load(&items[i].runs), atomic_load(&items[i].queued));
		CHECK_EQ(items[i].plain, atomic_load(&items[i].queued));
		queued += atomic_load(&items[i].queued);
	}
	printf("%u queued, %u refused as busy\n", queued, busy);
	for (int i = 0; i < 2; i++)
		CHECK_EQ(kthread_destroy_worker(workers[i]), 0);
	for (int i = 0; i < WORKS; i++)
		CHECK_EQ(atomic_load(&items[i].runs), atomic_load(&items[i].queued));
}

TEST(works_move_between_two_workers)
{
	move_about(KTHREAD_POLL_MAX_DEFAULT_NS, stress_rounds(200000));
}

TEST(works_move_between_two_workers_without_polling)
{
	move_about(0, stress_rounds(50000));
}
