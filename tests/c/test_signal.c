/* SPDX-License-Identifier: GPL-2.0-only */
/* Queueing from a signal handler that interrupts a thread which itself queues. */
#include "harness.h"

#define WORKS 16

struct tally {
	struct counted c;
	atomic_int queued;	/* how often queue said true */
};

static struct kthread_worker *worker;
static struct tally from_handler[WORKS], from_thread[WORKS], shared;
static atomic_uint handled;
static atomic_bool enough;

static void queue_one(struct tally *tally)
{
	int status = kthread_queue_work_status(worker, &tally->c.work);

	CHECK(status >= 0);
	atomic_fetch_add(&tally->queued, status);
}

/* Nothing here restores errno: the interrupted thread would see it change. */
static void queue_from_handler(int number)
{
	unsigned int n = atomic_fetch_add(&handled, 1);
	int before = errno;

	(void)number;
	queue_one(&from_handler[n % WORKS]);
	queue_one(&shared);
	if (kthread_queue_work(worker, &from_handler[(n + 1) % WORKS].c.work))
		atomic_fetch_add(&from_handler[(n + 1) % WORKS].queued, 1);
	if (errno != before)
		abort();
}

static int queue_all_along(void *unused)
{
	unsigned int n = 0;

	(void)unused;
	while (!atomic_load(&enough)) {
		errno = 4711;
		queue_one(&from_thread[n++ % WORKS]);
		queue_one(&shared);
		CHECK_EQ(errno, 4711);
		if (n % 1024 == 0)
			CHECK_EQ(kthread_flush_work(&shared.c.work), 0);
	}
	return 0;
}

static void check_tally(struct tally *tally)
{
	CHECK_EQ(atomic_load(&tally->c.runs), atomic_load(&tally->queued));
	CHECK_EQ(kthread_work_busy(&tally->c.work), 0);
}

static void storm(uint32_t poll_ns)
{
	unsigned int signals = stress_rounds(5000);
	struct sigaction action;
	struct side side;

	worker = kthread_create_worker(0, "signals");
	CHECK(worker);
	kthread_worker_set_busy_poll(worker, poll_ns);
	CHECK_EQ(kthread_start_worker(worker, NULL), 0);
	for (int i = 0; i < WORKS; i++) {
		counted_init(&from_handler[i].c);
		counted_init(&from_thread[i].c);
		atomic_store(&from_handler[i].queued, 0);
		atomic_store(&from_thread[i].queued, 0);
	}
	counted_init(&shared.c);
	atomic_store(&shared.queued, 0);
	atomic_store(&handled, 0);
	atomic_store(&enough, false);

	memset(&action, 0, sizeof(action));
	action.sa_handler = queue_from_handler;
	action.sa_flags = SA_RESTART;
	CHECK_EQ(sigaction(SIGUSR1, &action, NULL), 0);
	side_start(&side, queue_all_along, NULL);
	while (atomic_load(&handled) < signals) {
		unsigned int before = atomic_load(&handled);

		CHECK_EQ(pthread_kill(side.thread, SIGUSR1), 0);
		for (int i = 0; i < 1000 && atomic_load(&handled) == before; i++)
			sched_yield();
	}
	atomic_store(&enough, true);
	CHECK_EQ(side_join(&side), 0);

	CHECK_EQ(kthread_flush_worker(worker), 0);
	for (int i = 0; i < WORKS; i++) {
		check_tally(&from_handler[i]);
		check_tally(&from_thread[i]);
	}
	check_tally(&shared);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

TEST(handler_queues_amid_a_queueing_thread)
{
	test_needs_seconds(60);
	storm(KTHREAD_POLL_MAX_DEFAULT_NS);
}

TEST(handler_queues_amid_a_queueing_thread_without_polling)
{
	test_needs_seconds(60);
	storm(0);
}

static struct counted only;

static void queue_only(int number)
{
	(void)number;
	if (!kthread_queue_work(worker, &only.work))
		abort();
}

TEST(handler_wakes_a_sleeping_worker)
{
	struct sigaction action;

	worker = new_worker("asleep");
	counted_init(&only);
	memset(&action, 0, sizeof(action));
	action.sa_handler = queue_only;
	CHECK_EQ(sigaction(SIGUSR1, &action, NULL), 0);
	for (int i = 1; i <= 100; i++) {
		WAIT_UNTIL(!kthread_work_busy(&only.work) && tid_settled(worker_tid(worker)));
		errno = 4711;
		CHECK_EQ(raise(SIGUSR1), 0);
		CHECK_EQ(errno, 4711);
		WAIT_UNTIL(atomic_load(&only.runs) == i);
	}
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

/* The handler interrupts a thread that sleeps in a flush, and feeds its worker. */
TEST(handler_queues_amid_a_flush)
{
	struct sigaction action;
	struct blocker b;
	struct side side;

	worker = new_worker("flush");
	counted_init(&only);
	memset(&action, 0, sizeof(action));
	action.sa_handler = queue_only;
	CHECK_EQ(sigaction(SIGUSR1, &action, NULL), 0);
	blocker_occupy(&b, worker);
	side_start(&side, side_flush_work, &b.work);
	side_settle(&side);
	CHECK_EQ(pthread_kill(side.thread, SIGUSR1), 0);
	WAIT_UNTIL(kthread_work_pending(&only.work));
	CHECK(!atomic_load(&side.returned));
	gate_open(&b.release[0]);
	CHECK_EQ(side_join(&side), 0);
	CHECK_EQ(kthread_flush_work(&only.work), 0);
	CHECK_EQ(atomic_load(&only.runs), 1);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}
