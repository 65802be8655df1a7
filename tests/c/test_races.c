/* SPDX-License-Identifier: GPL-2.0-only */
/* Calls that come late, or amid another's. */
#include "harness.h"

#include <sys/wait.h>

#define LIVE 20

/* Too late for a destroyed worker: it is refused, and nobody's worker is given away. */
TEST(serving_a_destroyed_worker_leaves_the_others_alone)
{
	struct kthread_worker *dead = new_worker("dead"), *live[LIVE], *made[3];
	struct counted c;

	CHECK_EQ(kthread_destroy_worker(dead), 0);
	for (int i = 0; i < LIVE; i++)
		live[i] = new_worker("live");
	CHECK_EQ(kthread_worker_fn(dead), -ESHUTDOWN);
	for (int i = 0; i < 3; i++) {
		made[i] = kthread_create_worker(0, "made");
		CHECK(made[i]);
		for (int j = 0; j < LIVE; j++)
			CHECK(made[i] != live[j]);
	}
	counted_init(&c);
	for (int i = 0; i < LIVE; i++) {
		CHECK(kthread_queue_work(live[i], &c.work));
		CHECK_EQ(kthread_flush_work(&c.work), 0);
		CHECK_EQ(kthread_destroy_worker(live[i]), 0);
	}
	for (int i = 0; i < 3; i++)
		CHECK_EQ(kthread_destroy_worker(made[i]), 0);
}

static void sleep_until_asked(struct kthread_work *work)
{
	struct blocker *b = (struct blocker *)work;

	gate_open(&b->entered[0]);
	while (!kthread_should_stop())
		kthread_sleep(KTHREAD_FOREVER);
	atomic_fetch_add(&b->ended, 1);
}

TEST(stop_and_destroy_end_the_sleep_of_a_callback)
{
	struct kthread_worker *worker = new_worker("sleeper");
	struct blocker b;

	for (int i = 0; i < 2; i++) {
		blocker_init(&b);
		kthread_init_work(&b.work, sleep_until_asked);
		CHECK(kthread_queue_work(worker, &b.work));
		gate_wait(&b.entered[0]);
		WAIT_UNTIL(tid_settled(worker_tid(worker)));
		if (i) {
			CHECK_EQ(kthread_destroy_worker(worker), 0);
		} else {
			CHECK_EQ(kthread_stop_worker(worker), 0);
			CHECK_EQ(kthread_start_worker(worker, NULL), 0);
		}
		CHECK_EQ(atomic_load(&b.ended), 1);
	}
}

/* One stops, one starts: each stop ends with the thread that it met. */
static struct kthread_worker *contended;
static atomic_bool enough;

static int start_all_along(void *unused)
{
	(void)unused;
	while (!atomic_load(&enough)) {
		int result = kthread_start_worker(contended, NULL);

		CHECK(result == 0 || result == -EBUSY);
	}
	return 0;
}

TEST(stop_ends_though_another_starts_the_worker_anew)
{
	unsigned int rounds = stress_rounds(3000);
	struct side side;

	test_needs_seconds(60);
	contended = kthread_create_worker(0, "contended");
	CHECK(contended);
	atomic_store(&enough, false);
	side_start(&side, start_all_along, NULL);
	for (unsigned int i = 0; i < rounds; i++)
		CHECK_EQ(kthread_stop_worker_timeout(contended, MS(5000)), 0);
	atomic_store(&enough, true);
	CHECK_EQ(side_join(&side), 0);
	CHECK_EQ(kthread_destroy_worker(contended), 0);
}

TEST(kthread_stop_thaws_the_worker_as_stop_worker_does)
{
	struct kthread_worker worker;
	struct kthread *k;
	struct counted c;

	kthread_init_worker(&worker);
	k = kthread_run(kthread_worker_fn, &worker, "patch");
	CHECK(k);
	WAIT_UNTIL(kthread_worker_thread(&worker, NULL, NULL));
	CHECK_EQ(kthread_freeze_worker(&worker), 0);
	CHECK_EQ(kthread_stop(k), 0);
	CHECK(!kthread_worker_freezing(&worker));
	counted_init(&c);
	CHECK_EQ(kthread_start_worker(&worker, NULL), 0);
	CHECK(kthread_queue_work(&worker, &c.work));
	CHECK_EQ(kthread_flush_work(&c.work), 0);
	CHECK_EQ(kthread_destroy_worker(&worker), 0);
}

/* As the patch has it: no call for the worker but by the thread that serves it. */
static int serve_all_along(void *worker)
{
	while (!atomic_load(&enough)) {
		struct kthread *k = kthread_run(kthread_worker_fn, worker, "patch");

		CHECK(k);
		CHECK_EQ(kthread_stop(k), 0);
	}
	return 0;
}

/* Whenever the fork comes, the child knows that the thread is not there. */
TEST(fork_amid_start_and_stop_of_ones_own_worker)
{
	unsigned int rounds = stress_rounds(2000);
	struct kthread_worker worker;
	struct side side;

	if (UNDER_TSAN)
		SKIP("forks amid the making of threads");
	test_needs_seconds(60);
	kthread_init_worker(&worker);
	atomic_store(&enough, false);
	side_start(&side, serve_all_along, &worker);
	WAIT_UNTIL(atomic_load(&side.tid));
	for (unsigned int i = 0; i < rounds; i++) {
		int status;
		pid_t pid;

		fflush(NULL);
		pid = fork();
		CHECK(pid >= 0);
		if (!pid) {
			alarm(5);
			_exit(kthread_destroy_worker(&worker) != 0);
		}
		while (waitpid(pid, &status, 0) < 0)
			CHECK_EQ(errno, EINTR);
		CHECK_EQ(status, 0);
	}
	atomic_store(&enough, true);
	CHECK_EQ(side_join(&side), 0);
	CHECK_EQ(kthread_destroy_worker(&worker), 0);
}
