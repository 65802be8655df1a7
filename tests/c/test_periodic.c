/* SPDX-License-Identifier: GPL-2.0-only */
/* Periodic works: rate, missed ticks, the ways to end one. */
#include "timed.h"

/* Blocks in its first run; notes of the others how many ticks were missed when they began. */
struct ticker {
	struct timed timed;
	struct gate entered, release;
	bool blocks;
	int cancel_at;		/* the run that cancels itself; 0: none */
	bool frees;		/* and frees itself then */
	atomic_int *ended;
	int cancelled;		/* what that cancel said */
	uint64_t ran_at[8];
	uint64_t missed[8];
};

static void tick(struct kthread_work *work)
{
	struct ticker *t = (struct ticker *)work;
	int run = atomic_load(&t->timed.runs);

	if (run < 8) {
		t->ran_at[run] = clock_ns();
		t->missed[run] = kthread_delayed_work_missed(&t->timed.dwork);
	}
	if (t->blocks && run == 0) {
		gate_open(&t->entered);
		gate_wait(&t->release);
	}
	if (t->cancel_at == run + 1) {
		t->cancelled = kthread_cancel_delayed_work_sync(&t->timed.dwork);
		if (t->frees) {
			atomic_store(t->ended, 1);
			free(t);
			return;
		}
	}
	timed_run(work);
}

static void ticker_init(struct ticker *t)
{
	memset(t, 0, sizeof(*t));
	gate_init(&t->entered);
	gate_init(&t->release);
	kthread_init_delayed_work(&t->timed.dwork, tick);
}

static int runs(struct ticker *t)
{
	return atomic_load(&t->timed.runs);
}

static unsigned int busy(struct ticker *t)
{
	return kthread_work_busy(&t->timed.dwork.work);
}

TEST(periodic_work_runs_at_its_rate_and_never_early)
{
	struct kthread_worker *worker = new_worker("rate");
	uint64_t begin = clock_ns();
	struct ticker t;

	ticker_init(&t);
	CHECK_EQ(kthread_queue_periodic_work_status(worker, &t.timed.dwork, MS(2), MS(1)), 1);
	WAIT_UNTIL(runs(&t) >= 8);
	CHECK(kthread_cancel_delayed_work_sync(&t.timed.dwork)); /* its next run is always pending */
	/* The k-th deadline lies k periods after the first, whatever each run came late. */
	for (int k = 0; k < 8; k++)
		CHECK(t.ran_at[k] >= begin + MS(2) + MS((uint64_t)k));
	CHECK_EQ(busy(&t), 0);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

TEST(periodic_work_with_delay_0_runs_at_once)
{
	struct kthread_worker *worker = new_worker("now");
	struct ticker t;

	ticker_init(&t);
	CHECK(kthread_queue_periodic_work(worker, &t.timed.dwork, 0, HOUR));
	WAIT_UNTIL(runs(&t) == 1);
	WAIT_UNTIL(busy(&t) == ARMED);
	CHECK(kthread_delayed_work_remaining(&t.timed.dwork) <= HOUR);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
	CHECK_EQ(runs(&t), 1);
}

TEST(periodic_work_is_pending_while_it_executes)
{
	struct kthread_worker *worker = new_worker("pending");
	struct ticker t;

	ticker_init(&t);
	t.blocks = true;
	CHECK(kthread_queue_periodic_work(worker, &t.timed.dwork, 0, HOUR));
	gate_wait(&t.entered);
	CHECK_EQ(busy(&t), ARMED | KTHREAD_WORK_EXECUTING);
	CHECK_EQ(kthread_queue_work_status(worker, &t.timed.dwork.work), 0);
	CHECK_EQ(kthread_queue_delayed_work_status(worker, &t.timed.dwork, 1), 0);
	CHECK_EQ(kthread_queue_periodic_work_status(worker, &t.timed.dwork, 1, 1), 0);
	gate_open(&t.release);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
	CHECK_EQ(runs(&t), 1);
}

TEST(ticks_missed_amid_a_long_run_are_counted_and_skipped)
{
	struct kthread_worker *worker = new_worker("missed");
	uint64_t begin;
	struct ticker t;

	ticker_init(&t);
	t.blocks = true;
	t.cancel_at = 3;
	begin = clock_ns();
	CHECK(kthread_queue_periodic_work(worker, &t.timed.dwork, 0, MS(1)));
	gate_wait(&t.entered);
	CHECK_EQ(t.missed[0], (t.ran_at[0] - begin) / MS(1) ? t.missed[0] : 0);
	WAIT_UNTIL(clock_ns() > t.ran_at[0] + MS(20));
	gate_open(&t.release);
	WAIT_UNTIL(runs(&t) == 3);
	CHECK_EQ(kthread_flush_worker(worker), 0);
	/* The second run is that of the first tick missed; 18 more have passed by then. */
	CHECK(t.missed[1] >= t.missed[0] + 18);
	CHECK_EQ(t.missed[2] >= t.missed[1], true);
	/* The third is for a deadline that was still to come as the second began. */
	CHECK(t.ran_at[2] > t.ran_at[1]);
	CHECK_EQ(runs(&t), 3);
	CHECK_EQ(t.cancelled, 1);
	/* A new queueing counts anew. */
	t.cancel_at = 4;
	CHECK(kthread_queue_periodic_work(worker, &t.timed.dwork, 0, HOUR));
	WAIT_UNTIL(runs(&t) == 4);
	CHECK_EQ(t.missed[3], 0);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

TEST(periodic_work_cancelled_in_its_callback_ends)
{
	struct kthread_worker *worker = new_worker("own");
	struct ticker t;

	ticker_init(&t);
	t.cancel_at = 3;
	CHECK(kthread_queue_periodic_work(worker, &t.timed.dwork, 1, 1000));
	WAIT_UNTIL(runs(&t) == 3);
	CHECK_EQ(kthread_flush_worker(worker), 0);
	CHECK_EQ(t.cancelled, 1);
	CHECK_EQ(busy(&t), 0);
	CHECK_EQ(worker_stats(worker).delayed, 0);
	/* Once more, and once only: the period went with the cancel. */
	t.cancel_at = 0;
	CHECK(kthread_queue_work(worker, &t.timed.dwork.work));
	CHECK_EQ(kthread_flush_work(&t.timed.dwork.work), 0);
	CHECK_EQ(busy(&t), 0);
	CHECK_EQ(runs(&t), 4);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

TEST(periodic_work_cancelled_and_freed_in_its_callback)
{
	struct kthread_worker *worker = new_worker("freed");
	struct ticker *t = malloc(sizeof(*t));
	atomic_int ended = 0;

	CHECK(t);
	ticker_init(t);
	t->cancel_at = 2;
	t->frees = true;
	t->ended = &ended;
	CHECK(kthread_queue_periodic_work(worker, &t->timed.dwork, 1, 1000));
	WAIT_UNTIL(atomic_load(&ended));
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

static int side_cancel(void *dwork)
{
	return kthread_cancel_delayed_work_sync_timeout(dwork, KTHREAD_FOREVER);
}

TEST(executing_periodic_work_cancel_sync_is_true_after_the_run)
{
	struct kthread_worker *worker = new_worker("sync");
	struct side side;
	struct ticker t;

	ticker_init(&t);
	t.blocks = true;
	CHECK(kthread_queue_periodic_work(worker, &t.timed.dwork, 0, 1000));
	gate_wait(&t.entered);
	side_start(&side, side_cancel, &t.timed.dwork);
	side_settle(&side);
	CHECK(!atomic_load(&side.returned));
	gate_open(&t.release);
	CHECK_EQ(side_join(&side), 1);
	CHECK_EQ(runs(&t), 1);
	CHECK_EQ(busy(&t), 0);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
	CHECK_EQ(runs(&t), 1);
}

TEST(periodic_work_disabled_ends_and_enabled_stays_idle)
{
	struct kthread_worker *worker = new_worker("disabled");
	struct ticker t;

	ticker_init(&t);
	CHECK(kthread_queue_periodic_work(worker, &t.timed.dwork, 0, 1000));
	WAIT_UNTIL(runs(&t) >= 2);
	CHECK(kthread_disable_work_sync(&t.timed.dwork.work));
	CHECK_EQ(busy(&t), KTHREAD_WORK_REFUSED);
	CHECK_EQ(kthread_queue_periodic_work_status(worker, &t.timed.dwork, 0, 1000), -ECANCELED);
	CHECK(kthread_enable_work(&t.timed.dwork.work));
	CHECK_EQ(busy(&t), 0);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

TEST(periodic_work_ends_with_its_worker)
{
	for (int i = 0; i < 20; i++) {
		struct kthread_worker *worker = new_worker("ends");
		struct ticker t;
		int n;

		ticker_init(&t);
		CHECK(kthread_queue_periodic_work(worker, &t.timed.dwork, 0, 1000));
		WAIT_UNTIL(runs(&t) >= 3);
		CHECK_EQ(kthread_destroy_worker(worker), 0);
		n = runs(&t);
		CHECK_EQ(busy(&t), 0);
		nap();
		CHECK_EQ(runs(&t), n);
	}
}

TEST(destroy_amid_a_run_of_a_periodic_work_is_its_last)
{
	struct kthread_worker *worker = new_worker("last");
	struct side side;
	struct ticker t;

	ticker_init(&t);
	t.blocks = true;
	CHECK(kthread_queue_periodic_work(worker, &t.timed.dwork, 0, 1000));
	gate_wait(&t.entered);
	side_start(&side, side_destroy, worker);
	WAIT_UNTIL(busy(&t) == KTHREAD_WORK_EXECUTING);
	gate_open(&t.release);
	CHECK_EQ(side_join(&side), 0);
	CHECK_EQ(runs(&t), 1);
}

TEST(flush_runs_the_present_tick_now_and_waits_for_no_other)
{
	struct kthread_worker *worker = new_worker("flush");
	struct ticker t;

	ticker_init(&t);
	CHECK(kthread_queue_periodic_work(worker, &t.timed.dwork, HOUR, HOUR));
	for (int i = 1; i <= 3; i++) {
		CHECK_EQ(kthread_flush_delayed_work(&t.timed.dwork), 0);
		CHECK_EQ(runs(&t), i);
		WAIT_UNTIL(busy(&t) == ARMED);
		CHECK_EQ(t.missed[i - 1], 0);
	}
	CHECK_EQ(kthread_flush_worker(worker), 0); /* timers are not waited for */
	CHECK(kthread_cancel_delayed_work(&t.timed.dwork));
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

/* The run may begin between the look at the timer and the note of what to wait for. */
TEST(flush_of_a_tick_that_begins_meanwhile_does_not_take_the_next_for_it)
{
	struct kthread_worker *worker = new_worker("begins");
	struct ticker t;

	for (int round = 0; round < 500; round++) {
		ticker_init(&t);
		CHECK(kthread_queue_periodic_work(worker, &t.timed.dwork, HOUR, HOUR));
		for (int i = 0; i < 3; i++)
			CHECK_EQ(kthread_flush_delayed_work(&t.timed.dwork), 0);
		CHECK_EQ(runs(&t), 3);
		CHECK(kthread_cancel_delayed_work(&t.timed.dwork));
	}
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

TEST(mod_moves_the_next_tick_and_those_after_it)
{
	struct kthread_worker *worker = new_worker("mod");
	struct ticker t;
	uint64_t begin;

	ticker_init(&t);
	CHECK(kthread_queue_periodic_work(worker, &t.timed.dwork, HOUR, MS(1)));
	begin = clock_ns();
	CHECK(kthread_mod_delayed_work(worker, &t.timed.dwork, MS(1)));
	WAIT_UNTIL(runs(&t) >= 3);
	CHECK(kthread_cancel_delayed_work_sync(&t.timed.dwork));
	for (int k = 0; k < 3; k++)
		CHECK(t.ran_at[k] >= begin + MS(1) + MS((uint64_t)k));

	/* With delay 0 the tick is now, and the next one a period from now. */
	ticker_init(&t);
	CHECK(kthread_queue_periodic_work(worker, &t.timed.dwork, HOUR, HOUR));
	CHECK(kthread_mod_delayed_work(worker, &t.timed.dwork, 0));
	WAIT_UNTIL(runs(&t) == 1);
	WAIT_UNTIL(busy(&t) == ARMED);
	CHECK(kthread_delayed_work_remaining(&t.timed.dwork) <= HOUR);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

TEST(mod_amid_a_run_of_a_periodic_work_is_true)
{
	struct kthread_worker *worker = new_worker("amid");
	struct ticker t;

	ticker_init(&t);
	t.blocks = true;
	CHECK(kthread_queue_periodic_work(worker, &t.timed.dwork, 0, HOUR));
	gate_wait(&t.entered);
	CHECK_EQ(kthread_mod_delayed_work_status(worker, &t.timed.dwork, 0), 1);
	CHECK_EQ(busy(&t), ON_LIST | KTHREAD_WORK_EXECUTING);
	gate_open(&t.release);
	WAIT_UNTIL(runs(&t) == 2);
	WAIT_UNTIL(busy(&t) == ARMED);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

TEST(frozen_worker_runs_one_tick_when_thawed_and_counts_the_others)
{
	struct kthread_worker *worker = new_worker("frozen");
	uint64_t begin;
	struct ticker t;

	ticker_init(&t);
	t.cancel_at = 2;
	CHECK_EQ(kthread_freeze_worker(worker), 0);
	CHECK(kthread_queue_periodic_work(worker, &t.timed.dwork, MS(1), MS(1)));
	begin = clock_ns();
	WAIT_UNTIL(busy(&t) == ON_LIST);
	WAIT_UNTIL(clock_ns() > begin + MS(10));
	CHECK_EQ(runs(&t), 0);
	kthread_thaw_worker(worker);
	WAIT_UNTIL(runs(&t) == 2);
	CHECK_EQ(kthread_flush_worker(worker), 0);
	CHECK(t.missed[0] >= 8);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

TEST(longest_period_does_not_overflow)
{
	struct kthread_worker *worker = new_worker("longest");
	struct ticker t;

	for (uint64_t period = KTHREAD_FOREVER; period > KTHREAD_FOREVER - 2; period--) {
		ticker_init(&t);
		CHECK(kthread_queue_periodic_work(worker, &t.timed.dwork, 0, period));
		WAIT_UNTIL(runs(&t) == 1);
		WAIT_UNTIL(busy(&t) == ARMED);
		CHECK(kthread_worker_next_timer(worker) == KTHREAD_FOREVER);
		CHECK(kthread_cancel_delayed_work_sync(&t.timed.dwork));
	}
	/* A period of nothing much: as often as it can, and it still gives way to others. */
	ticker_init(&t);
	CHECK(kthread_queue_periodic_work(worker, &t.timed.dwork, 0, 1));
	for (int i = 0; i < 50; i++) {
		struct counted c;

		counted_init(&c);
		CHECK(kthread_queue_work(worker, &c.work));
		CHECK_EQ(kthread_flush_work(&c.work), 0);
	}
	CHECK(kthread_cancel_delayed_work_sync(&t.timed.dwork));
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}
