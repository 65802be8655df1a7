/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A chain of works, each queued by the callback of the one before in its last instant, and
 * drained meanwhile: the drain may not return in the gap between two of them.
 */
#include "harness.h"

#define LINKS 8

static struct link {
	struct kthread_work work;
	struct kthread_worker *worker;
	struct link *next;
} chain[LINKS];

static atomic_uint left;

static void link_run(struct kthread_work *work)
{
	struct link *link = (struct link *)work;

	if (atomic_fetch_sub(&left, 1) > 1)
		CHECK(kthread_queue_work(link->worker, &link->next->work));
}

/* Look and look again. */
static int side_look(void *worker)
{
	while (kthread_drain_worker_timeout(worker, 0))
		;
	CHECK_EQ(atomic_load(&left), 0);
	return 0;
}

static void drain_chain(uint32_t poll_ns)
{
	struct kthread_worker *worker = new_worker("chain");
	uint64_t seed = stress_seed();
	unsigned int n = stress_rounds(3000);

	test_needs_seconds(120);
	kthread_worker_set_busy_poll(worker, poll_ns);
	for (int i = 0; i < LINKS; i++) {
		kthread_init_work(&chain[i].work, link_run);
		chain[i].worker = worker;
		chain[i].next = &chain[(i + 1) % LINKS];
	}
	for (unsigned int i = 0; i < n; i++) {
		struct side side;

		atomic_store(&left, 1 + stress_random(&seed) % 1000);
		CHECK(kthread_queue_work(worker, &chain[0].work));
		side_start(&side, side_look, worker);
		CHECK_EQ(kthread_drain_worker(worker), 0);
		CHECK_EQ(atomic_load(&left), 0);
		CHECK_EQ(side_join(&side), 0);
	}
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

TEST(drain_waits_for_what_the_last_callback_queued)
{
	drain_chain(KTHREAD_POLL_MAX_DEFAULT_NS);
}

TEST(drain_waits_for_what_the_last_callback_queued_without_polling)
{
	drain_chain(0);
}
