/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The wake-up lost in the last instant of a callback: a work is queued again just as
 * its run ends and its worker is about to poll, or to sleep. STRESS_ROUNDS, STRESS_SEED.
 */
#include "harness.h"

static atomic_uint runs;

static void count(struct kthread_work *work)
{
	(void)work;
	atomic_fetch_add(&runs, 1);
}

/* Wait for runs to come to @n: mostly a spin, so that the next queue follows at once. */
static void await(unsigned int n)
{
	for (unsigned int looks = 0; atomic_load(&runs) != n; looks++)
		if (looks % 256 == 255)
			sched_yield();
}

static void last_instant(uint32_t poll_ns, unsigned int rounds)
{
	struct kthread_worker *worker = new_worker("instant");
	uint64_t random = stress_seed();
	struct kthread_work work[2];
	unsigned int expected = 0;

	test_needs_seconds(200);
	kthread_worker_set_busy_poll(worker, poll_ns);
	atomic_store(&runs, 0);
	kthread_init_work(&work[0], count);
	kthread_init_work(&work[1], count);
	for (unsigned int i = 0; i < rounds; i++) {
		uint32_t dice = stress_random(&random);

		CHECK(kthread_queue_work(worker, &work[i % 2]));
		expected++;
		if (dice % 4) {
			spin(dice / 4 % 2048);
			expected += kthread_queue_work(worker, &work[(dice >> 16) % 2]);
		}
		/* Whatever was queued runs, though nobody queues or flushes meanwhile. */
		await(expected);
		/* The run has counted itself, and may still be about to end. */
		if (dice % 8 == 1)
			spin((dice >> 8) % 4096);
	}
	CHECK_EQ(kthread_destroy_worker(worker), 0);
	CHECK_EQ(atomic_load(&runs), expected);
}

TEST(queue_in_the_last_instant_before_the_sleep)
{
	last_instant(0, stress_rounds(60000));
}

TEST(queue_in_the_last_instant_before_the_poll)
{
	last_instant(KTHREAD_POLL_MAX_DEFAULT_NS, stress_rounds(140000));
}

/* The same for flushers: the run ends as its flusher is about to sleep. */
static void last_instant_of_flush(uint32_t poll_ns, unsigned int rounds)
{
	struct kthread_worker *worker = new_worker("flushed");
	uint64_t random = stress_seed();
	struct kthread_work work;

	test_needs_seconds(200);
	kthread_worker_set_busy_poll(worker, poll_ns);
	kthread_init_work(&work, count);
	for (unsigned int i = 0; i < rounds; i++) {
		uint32_t dice = stress_random(&random);

		CHECK(kthread_queue_work(worker, &work));
		spin(dice % 4096);
		CHECK_EQ(dice & 0x10000 ? kthread_flush_work(&work)
					: kthread_flush_worker(worker), 0);
	}
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

TEST(flush_in_the_last_instant_of_the_run)
{
	last_instant_of_flush(0, stress_rounds(60000));
	last_instant_of_flush(KTHREAD_POLL_MAX_DEFAULT_NS, stress_rounds(60000));
}
