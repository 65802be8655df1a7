/* SPDX-License-Identifier: GPL-2.0-only */
/* Cancel, cancel sync, disable, enable, cancel in steps: what the matrix has no cell for. */
#include "harness.h"

#include <sys/wait.h>

#define HOUR (3600 * MS(1000))

static int side_cancel_sync(void *work)
{
	return kthread_cancel_work_sync_timeout(work, KTHREAD_FOREVER);
}

static int side_disable_sync(void *work)
{
	return kthread_disable_work_sync_timeout(work, KTHREAD_FOREVER);
}

/* Arguments, results, errno */

TEST(null_and_zeroed_works_are_refused)
{
	struct kthread_delayed_work zeros;

	memset(&zeros, 0, sizeof(zeros));
	CHECK_REFUSED(kthread_cancel_work(NULL), EINVAL);
	CHECK_REFUSED(kthread_cancel_delayed_work(NULL), EINVAL);
	CHECK_REFUSED(kthread_cancel_work_sync(NULL), EINVAL);
	CHECK_REFUSED(kthread_cancel_delayed_work_sync(NULL), EINVAL);
	CHECK_REFUSED(kthread_disable_work_sync(NULL), EINVAL);
	CHECK_REFUSED(kthread_enable_work(NULL), EINVAL);
	CHECK_EQ(kthread_cancel_work_sync_timeout(NULL, 0), -EINVAL);
	CHECK_EQ(kthread_cancel_delayed_work_sync_timeout(NULL, 0), -EINVAL);
	CHECK_EQ(kthread_disable_work_sync_timeout(NULL, 0), -EINVAL);
	CHECK_REFUSED(kthread_cancel_work(&zeros.work), EINVAL);
	CHECK_REFUSED(kthread_cancel_work_sync(&zeros.work), EINVAL);
	CHECK_REFUSED(kthread_cancel_delayed_work_sync(&zeros), EINVAL);
	CHECK_REFUSED(kthread_disable_work_sync(&zeros.work), EINVAL);
	CHECK_REFUSED(kthread_enable_work(&zeros.work), EINVAL);
	CHECK_EQ(kthread_work_busy(&zeros.work), 0);
}

/* The forms that return a truth keep errno but for a reason. */
TEST(cancel_keeps_errno)
{
	struct kthread_worker *worker = kthread_create_worker(0, "errno");
	struct counted c;

	CHECK(worker);
	counted_init(&c);
	errno = E2BIG;
	CHECK(!kthread_cancel_work(&c.work));
	CHECK(!kthread_cancel_work_sync(&c.work));
	CHECK(kthread_queue_work(worker, &c.work));
	CHECK(kthread_cancel_work(&c.work));
	CHECK(kthread_queue_work(worker, &c.work));
	CHECK(kthread_cancel_work_sync(&c.work));
	CHECK(kthread_queue_work(worker, &c.work));
	CHECK(kthread_disable_work_sync(&c.work));
	CHECK(!kthread_queue_work(worker, &c.work)); /* blocked: no reason is given, as in the kernel */
	CHECK(kthread_enable_work(&c.work));
	CHECK_EQ(errno, E2BIG);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

/* What was pushed and not listed yet, first, last and amid others, is found. */
TEST(pending_work_cancel_leaves_the_others_in_order)
{
	struct kthread_worker *worker = kthread_create_worker(0, "order");
	struct kthread_worker_stats stats;
	struct counted c[7];
	unsigned int last = 0;

	CHECK(worker);
	for (int i = 0; i < 7; i++) {
		counted_init(&c[i]);
		CHECK(kthread_queue_work(worker, &c[i].work));
	}
	CHECK(kthread_cancel_work(&c[6].work));
	CHECK(kthread_cancel_work_sync(&c[0].work));
	CHECK(kthread_cancel_work(&c[3].work));
	kthread_worker_get_stats(worker, &stats);
	CHECK_EQ(stats.pending, 4);
	CHECK_EQ(stats.cancelled, 3);
	CHECK(kthread_queue_work(worker, &c[3].work)); /* behind the others now */
	CHECK_EQ(kthread_start_worker(worker, NULL), 0);
	CHECK_EQ(kthread_flush_worker(worker), 0);
	for (int i = 0; i < 7; i++)
		CHECK_EQ(atomic_load(&c[i].runs), i != 0 && i != 6);
	for (int i = 0; i < 5; i++) {
		static const int order[] = { 1, 2, 4, 5, 3 };

		CHECK(atomic_load(&c[order[i]].order) > last);
		last = atomic_load(&c[order[i]].order);
	}
	kthread_worker_get_stats(worker, &stats);
	CHECK_EQ(stats.executed, 5);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

TEST(cancelled_work_may_be_queued_again_elsewhere)
{
	struct kthread_worker *a = kthread_create_worker(0, "a"), *b = new_worker("b");
	struct counted c;

	CHECK(a);
	counted_init(&c);
	CHECK(kthread_queue_work(a, &c.work));
	CHECK(kthread_cancel_work_sync(&c.work));
	CHECK(kthread_queue_work(b, &c.work));
	CHECK_EQ(kthread_flush_work(&c.work), 0);
	CHECK_EQ(atomic_load(&c.runs), 1);
	CHECK_EQ(kthread_destroy_worker(a), 0);
	CHECK_EQ(kthread_destroy_worker(b), 0);
}

TEST(work_of_a_destroyed_worker_cancel_is_false)
{
	struct kthread_worker *worker = new_worker("gone");
	struct counted c;

	counted_init(&c);
	CHECK(kthread_queue_work(worker, &c.work));
	CHECK_EQ(kthread_destroy_worker(worker), 0);
	CHECK(!kthread_cancel_work(&c.work));
	CHECK(!kthread_cancel_work_sync(&c.work));
	CHECK(!kthread_disable_work_sync(&c.work));
	CHECK(kthread_enable_work(&c.work));
}

/* The plain form takes the timer as well. */
TEST(cancel_of_the_work_in_a_delayed_one_takes_its_timer)
{
	struct kthread_worker *worker = new_worker("same");
	struct kthread_delayed_work d;
	struct kthread_worker_stats stats;

	kthread_init_delayed_work(&d, count_run);
	CHECK(kthread_queue_delayed_work(worker, &d, HOUR));
	CHECK(kthread_cancel_work_sync(&d.work));
	CHECK_EQ(kthread_work_busy(&d.work), 0);
	CHECK(kthread_queue_delayed_work(worker, &d, HOUR));
	CHECK(kthread_cancel_work(&d.work));
	CHECK(kthread_queue_delayed_work(worker, &d, HOUR));
	CHECK(kthread_cancel_delayed_work(&d));
	CHECK(kthread_queue_delayed_work(worker, &d, HOUR));
	CHECK_EQ(kthread_cancel_delayed_work_sync_timeout(&d, 0), 1);
	kthread_worker_get_stats(worker, &stats);
	CHECK_EQ(stats.cancelled, 4);
	CHECK_EQ(stats.delayed, 0);
	CHECK_EQ(stats.queued, 0);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

/* Against a callback that queues itself */

/* Tries to queue itself until it is refused. */
struct stubborn {
	struct kthread_work work;
	struct kthread_worker *worker;
	struct gate entered, release;
	atomic_int runs;
	atomic_int status;
};

static void stubborn_run(struct kthread_work *work)
{
	struct stubborn *s = (struct stubborn *)work;

	atomic_fetch_add(&s->runs, 1);
	gate_open(&s->entered);
	gate_wait(&s->release);
	atomic_store(&s->status, kthread_queue_work_status(s->worker, work));
}

TEST(work_that_requeues_itself_cancel_sync_ends_it)
{
	struct stubborn s = { .worker = new_worker("stubborn") };
	struct side side;

	gate_init(&s.entered);
	gate_init(&s.release);
	kthread_init_work(&s.work, stubborn_run);
	CHECK(kthread_queue_work(s.worker, &s.work));
	gate_wait(&s.entered);
	side_start(&side, side_cancel_sync, &s.work);
	WAIT_UNTIL(kthread_work_busy(&s.work) & KTHREAD_WORK_REFUSED);
	side_settle(&side);
	CHECK(!atomic_load(&side.returned));
	gate_open(&s.release);
	CHECK_EQ(side_join(&side), 0);
	CHECK_EQ(atomic_load(&s.status), -ECANCELED);
	CHECK_EQ(kthread_work_busy(&s.work), 0);
	CHECK_EQ(kthread_flush_worker(s.worker), 0);
	CHECK_EQ(atomic_load(&s.runs), 1);
	CHECK_EQ(kthread_destroy_worker(s.worker), 0);
}

TEST(work_that_requeues_itself_for_ever_cancel_sync_ends_it_every_time)
{
	struct kthread_worker *worker = new_worker("ever");
	struct requeuer r;

	for (int i = 0; i < 200; i++) {
		int runs;

		requeuer_init(&r, worker, -1);
		CHECK(kthread_queue_work(worker, &r.work));
		if (i % 2)
			WAIT_UNTIL(atomic_load(&r.runs));
		if (i % 3)
			kthread_cancel_work_sync(&r.work);
		else
			kthread_disable_work_sync(&r.work);
		runs = atomic_load(&r.runs);
		CHECK(!(kthread_work_busy(&r.work) & ~KTHREAD_WORK_REFUSED));
		CHECK_EQ(kthread_flush_worker(worker), 0);
		CHECK_EQ(atomic_load(&r.runs), runs);
	}
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

/* From callbacks */

struct own {
	struct kthread_delayed_work dwork;
	struct kthread_worker *worker;
	struct kthread_work *other;
	bool again;
	int alone, alone_sync, pending, pending_sync, timed_sync, disabled, refused, other_pending;
};

static void own_run(struct kthread_work *work)
{
	struct own *o = (struct own *)work;

	if (o->again)
		return;
	o->again = true;
	o->alone = kthread_cancel_work(work);
	o->alone_sync = side_cancel_sync(work);
	CHECK(kthread_queue_work(o->worker, work));
	o->pending = kthread_cancel_work(work);
	CHECK(kthread_queue_work(o->worker, work));
	o->pending_sync = side_cancel_sync(work);
	CHECK(kthread_queue_delayed_work(o->worker, &o->dwork, HOUR));
	o->timed_sync = side_cancel_sync(work);
	CHECK(kthread_queue_work(o->worker, o->other));
	o->other_pending = side_cancel_sync(o->other);
	CHECK(kthread_queue_work(o->worker, work));
	o->disabled = side_disable_sync(work);
	o->refused = kthread_queue_work_status(o->worker, work);
	CHECK(kthread_enable_work(work));
}

TEST(own_callback_cancel_does_not_wait)
{
	struct own o = { .worker = new_worker("own") };
	struct counted other;

	counted_init(&other);
	o.other = &other.work;
	kthread_init_delayed_work(&o.dwork, own_run);
	CHECK(kthread_queue_work(o.worker, &o.dwork.work));
	CHECK_EQ(kthread_flush_worker(o.worker), 0);
	CHECK_EQ(o.alone, 0);
	CHECK_EQ(o.alone_sync, 0);
	CHECK_EQ(o.pending, 1);
	CHECK_EQ(o.pending_sync, 1);
	CHECK_EQ(o.timed_sync, 1);
	CHECK_EQ(o.other_pending, 1);
	CHECK_EQ(o.disabled, 1);
	CHECK_EQ(o.refused, -ECANCELED);
	CHECK_EQ(atomic_load(&other.runs), 0);
	CHECK_EQ(kthread_work_busy(&o.dwork.work), 0);
	CHECK_EQ(kthread_destroy_worker(o.worker), 0);
}

/* Many at once */

struct crowd {
	struct kthread_work *work;
	struct gate go;
};

static int side_cancel_in_crowd(void *arg)
{
	struct crowd *crowd = arg;

	gate_wait(&crowd->go);
	return side_cancel_sync(crowd->work);
}

TEST(eight_cancellers_all_return_and_one_is_told)
{
	struct kthread_worker *worker = new_worker("eight");

	for (int round = 0; round < 30; round++) {
		struct crowd crowd = { .go = GATE_INIT };
		struct side sides[8];
		struct blocker b;
		int told = 0;

		blocker_occupy(&b, worker);
		CHECK(kthread_queue_work(worker, &b.work));
		crowd.work = &b.work;
		for (int i = 0; i < 8; i++)
			side_start(&sides[i], side_cancel_in_crowd, &crowd);
		gate_open(&crowd.go);
		/* Every other round all of them are asleep as the run ends: a single wake is not enough. */
		WAIT_UNTIL(!kthread_work_pending(&b.work));
		for (int i = 0; i < 8; i++)
			if (round % 2 == 0)
				side_settle(&sides[i]);
		gate_open(&b.release[0]);
		for (int i = 0; i < 8; i++) {
			int result = side_join(&sides[i]);

			CHECK(result == 0 || result == 1);
			told += result;
		}
		CHECK_EQ(told, 1);
		CHECK_EQ(atomic_load(&b.ended), 1);
		CHECK_EQ(kthread_work_busy(&b.work), 0);
	}
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

TEST(eight_cancellers_of_a_pending_work_one_is_told)
{
	struct kthread_worker *worker = kthread_create_worker(0, "pending");

	CHECK(worker);
	for (int round = 0; round < 100; round++) {
		struct crowd crowd = { .go = GATE_INIT };
		struct side sides[8];
		struct counted c;
		int told = 0;

		counted_init(&c);
		crowd.work = &c.work;
		CHECK(kthread_queue_work(worker, &c.work));
		for (int i = 0; i < 8; i++)
			side_start(&sides[i], side_cancel_in_crowd, &crowd);
		gate_open(&crowd.go);
		for (int i = 0; i < 8; i++)
			told += side_join(&sides[i]);
		CHECK_EQ(told, 1);
	}
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

/* Against flush: the run waited for is over when it is dropped. */

static void flusher_returns(int (*cancel)(void *), unsigned int busy)
{
	struct kthread_worker *worker = new_worker("flusher");
	struct side one, all;
	struct blocker b;
	struct counted c;

	blocker_occupy(&b, worker);
	counted_init(&c);
	CHECK(kthread_queue_work(worker, &c.work));
	side_start(&one, side_flush_work, &c.work);
	side_settle(&one);
	CHECK(!atomic_load(&one.returned));
	CHECK_EQ(cancel(&c.work), 1);
	CHECK_EQ(side_join(&one), 0); /* while the worker is busy still */
	CHECK_EQ(kthread_work_busy(&c.work), busy);
	side_start(&all, side_flush_worker, worker);
	gate_open(&b.release[0]);
	CHECK_EQ(side_join(&all), 0);
	CHECK_EQ(atomic_load(&c.runs), 0);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

static int do_cancel(void *work)
{
	return kthread_cancel_work(work);
}

TEST(pending_work_cancelled_amid_a_flush_ends_it)
{
	flusher_returns(do_cancel, 0);
	flusher_returns(side_cancel_sync, 0);
	flusher_returns(side_disable_sync, KTHREAD_WORK_REFUSED);
}

TEST(last_pending_work_cancelled_amid_flushes_of_the_worker_ends_them)
{
	struct kthread_worker *worker = kthread_create_worker(0, "all");
	struct side flush, drain;
	struct counted c;

	CHECK(worker);
	counted_init(&c);
	CHECK(kthread_queue_work(worker, &c.work));
	side_start(&flush, side_flush_worker, worker);
	side_start(&drain, (int (*)(void *))kthread_drain_worker, worker);
	side_settle(&flush);
	side_settle(&drain);
	CHECK(!atomic_load(&flush.returned));
	CHECK(!atomic_load(&drain.returned));
	CHECK(kthread_cancel_work(&c.work));
	CHECK_EQ(side_join(&flush), 0);
	CHECK_EQ(side_join(&drain), 0);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

/* Claimed by a producer, and on no list yet: taken off when it gets there. */
TEST(work_in_an_open_batch_cancel_waits_for_its_end)
{
	int (*const cancels[])(void *) = { do_cancel, side_cancel_sync, side_disable_sync };

	for (int i = 0; i < 3; i++) {
		struct kthread_worker *worker = kthread_create_worker(0, "batch");
		struct kthread_batch batch;
		struct counted c, other;
		struct side side;

		CHECK(worker);
		counted_init(&c);
		counted_init(&other);
		kthread_batch_begin(&batch, worker);
		CHECK_EQ(kthread_batch_add(&batch, &c.work), 1);
		CHECK_EQ(kthread_batch_add(&batch, &other.work), 1);
		side_start(&side, cancels[i], &c.work);
		side_settle(&side);
		CHECK(!atomic_load(&side.returned));
		kthread_batch_end(&batch);
		CHECK_EQ(side_join(&side), 1);
		CHECK(!kthread_work_pending(&c.work));
		CHECK_EQ(kthread_worker_run_pending(worker), 1);
		CHECK_EQ(atomic_load(&other.runs), 1);
		CHECK_EQ(kthread_destroy_worker(worker), 0);
	}
}

/* Two that disable at once: two that have to enable. */
TEST(executing_work_disabled_by_two_at_once_is_enabled_by_two)
{
	struct kthread_worker *worker = new_worker("two");
	struct side sides[2];
	struct blocker b;

	blocker_occupy(&b, worker);
	for (int i = 0; i < 2; i++)
		side_start(&sides[i], side_disable_sync, &b.work);
	for (int i = 0; i < 2; i++)
		side_settle(&sides[i]);
	gate_open(&b.release[0]);
	for (int i = 0; i < 2; i++)
		CHECK_EQ(side_join(&sides[i]), 0);
	CHECK(!kthread_enable_work(&b.work));
	CHECK_EQ(kthread_queue_work_status(worker, &b.work), -ECANCELED);
	CHECK(kthread_enable_work(&b.work));
	gate_open(&b.release[1]);
	CHECK(kthread_queue_work(worker, &b.work));
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

/* Time limits and steps */

TEST(cancel_sync_that_times_out_has_dropped_what_was_pending)
{
	struct kthread_worker *worker = new_worker("timeout");
	struct blocker b;

	blocker_occupy(&b, worker);
	CHECK(kthread_queue_work(worker, &b.work));
	CHECK_EQ(kthread_cancel_work_sync_timeout(&b.work, 0), -ETIMEDOUT);
	CHECK_EQ(kthread_work_busy(&b.work), KTHREAD_WORK_EXECUTING);
	CHECK_EQ(kthread_cancel_work_sync_timeout(&b.work, MS(2)), -ETIMEDOUT);
	CHECK(kthread_queue_work(worker, &b.work)); /* nothing refuses any more */
	CHECK_EQ(kthread_disable_work_sync_timeout(&b.work, MS(1)), -ETIMEDOUT);
	CHECK_EQ(kthread_work_busy(&b.work), KTHREAD_WORK_EXECUTING | KTHREAD_WORK_REFUSED);
	gate_open(&b.release[0]);
	CHECK_EQ(kthread_flush_work(&b.work), 0);
	CHECK_EQ(kthread_queue_work_status(worker, &b.work), -ECANCELED);
	CHECK(kthread_enable_work(&b.work));
	CHECK_EQ(b.data, 1);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

TEST(cancel_in_steps_refuses_until_its_end)
{
	struct kthread_worker *worker = new_worker("steps");
	struct kthread_cancel cancel;
	struct blocker b;

	CHECK_EQ(kthread_cancel_begin(&cancel, NULL), -EINVAL);
	blocker_occupy(&b, worker);
	CHECK(kthread_queue_work(worker, &b.work));
	CHECK_EQ(kthread_cancel_begin(&cancel, &b.work), 0);
	CHECK(cancel.dropped);
	CHECK_EQ(kthread_queue_work_status(worker, &b.work), -ECANCELED);
	CHECK_EQ(kthread_cancel_wait(&cancel, 0), -ETIMEDOUT);
	CHECK_EQ(kthread_cancel_wait(&cancel, MS(1)), -ETIMEDOUT);
	gate_open(&b.release[0]);
	CHECK_EQ(kthread_cancel_wait(&cancel, KTHREAD_FOREVER), 0);
	CHECK_EQ(kthread_cancel_wait(&cancel, 0), 0);
	CHECK_EQ(b.data, 1);
	CHECK_EQ(kthread_queue_work_status(worker, &b.work), -ECANCELED);
	kthread_cancel_end(&cancel);
	gate_open(&b.release[1]);
	CHECK(kthread_queue_work(worker, &b.work));
	CHECK_EQ(kthread_flush_work(&b.work), 0);

	CHECK_EQ(kthread_cancel_begin(&cancel, &b.work), 0);
	CHECK(!cancel.dropped);
	CHECK_EQ(kthread_cancel_wait(&cancel, 0), 0);
	CHECK_EQ(kthread_cancel_end_disabled(&cancel), 0);
	CHECK_EQ(kthread_work_busy(&b.work), KTHREAD_WORK_REFUSED);
	CHECK(kthread_enable_work(&b.work));
	CHECK_EQ(kthread_work_busy(&b.work), 0);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

static int side_cancel_wait(void *cancel)
{
	return kthread_cancel_wait(cancel, KTHREAD_FOREVER);
}

static atomic_int signals_seen;

static void on_signal(int number)
{
	(void)number;
	atomic_fetch_add(&signals_seen, 1);
}

TEST(cancel_wait_is_interrupted_by_a_handler_and_cancel_sync_is_not)
{
	struct kthread_worker *worker = new_worker("eintr");
	struct sigaction action = { .sa_handler = on_signal };
	struct kthread_cancel cancel;
	struct side steps, sync;
	struct blocker b;

	CHECK_EQ(sigaction(SIGUSR1, &action, NULL), 0);
	blocker_occupy(&b, worker);
	CHECK_EQ(kthread_cancel_begin(&cancel, &b.work), 0);
	side_start(&steps, side_cancel_wait, &cancel);
	side_start(&sync, side_cancel_sync, &b.work);
	side_settle(&steps);
	side_settle(&sync);
	while (!atomic_load(&steps.returned)) {
		CHECK_EQ(pthread_kill(steps.thread, SIGUSR1), 0);
		CHECK_EQ(pthread_kill(sync.thread, SIGUSR1), 0);
		nap();
	}
	CHECK_EQ(side_join(&steps), -EINTR);
	side_settle(&sync);
	CHECK(!atomic_load(&sync.returned));
	CHECK_EQ(kthread_work_busy(&b.work), KTHREAD_WORK_EXECUTING | KTHREAD_WORK_REFUSED);
	gate_open(&b.release[0]);
	CHECK_EQ(kthread_cancel_wait(&cancel, KTHREAD_FOREVER), 0);
	kthread_cancel_end(&cancel);
	CHECK_EQ(side_join(&sync), 0);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

/* Disable and enable */

TEST(disabled_work_is_refused_until_enabled_as_often)
{
	struct kthread_worker *worker = new_worker("count");
	struct counted c;

	counted_init(&c);
	for (int i = 0; i < 3; i++)
		CHECK(!kthread_disable_work_sync(&c.work));
	for (int i = 0; i < 2; i++) {
		CHECK_EQ(kthread_queue_work_status(worker, &c.work), -ECANCELED);
		errno = 0;
		CHECK(!kthread_enable_work(&c.work));
		CHECK_EQ(errno, 0);
	}
	/* A cancel in between takes nothing of the count back. */
	CHECK(!kthread_cancel_work_sync(&c.work));
	CHECK_EQ(kthread_queue_work_status(worker, &c.work), -ECANCELED);
	CHECK(kthread_enable_work(&c.work));
	CHECK(kthread_queue_work(worker, &c.work));
	CHECK_EQ(kthread_flush_work(&c.work), 0);
	CHECK_EQ(atomic_load(&c.runs), 1);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

static void ignore_warning(const char *message)
{
	(void)message;
}

TEST(enable_without_disable_warns)
{
	kthread_warn_func_t before = kthread_set_warn_hook(ignore_warning);
	unsigned long warnings = kthread_warnings();
	struct counted c;

	counted_init(&c);
	CHECK_REFUSED(kthread_enable_work(&c.work), EINVAL);
	CHECK_EQ(kthread_warnings(), warnings + 1);
	CHECK_EQ(kthread_work_busy(&c.work), 0);
	kthread_set_warn_hook(before);
}

TEST(work_disabled_too_often_overflows_with_a_warning)
{
	kthread_warn_func_t before = kthread_set_warn_hook(ignore_warning);
	unsigned long warnings = kthread_warnings();
	struct counted c;

	counted_init(&c);
	CHECK(!kthread_disable_work_sync(&c.work));
	c.work.disabled = UINT16_MAX - 1;
	CHECK_EQ(kthread_disable_work_sync_timeout(&c.work, 0), 0);
	CHECK_EQ(kthread_warnings(), warnings);
	CHECK_REFUSED(kthread_disable_work_sync(&c.work), EOVERFLOW);
	CHECK_EQ(kthread_disable_work_sync_timeout(&c.work, 0), -EOVERFLOW);
	CHECK_EQ(kthread_warnings(), warnings + 2);
	CHECK_EQ(c.work.disabled, UINT16_MAX);
	CHECK(!kthread_enable_work(&c.work));
	c.work.disabled = 1;
	CHECK(kthread_enable_work(&c.work));
	CHECK_EQ(kthread_work_busy(&c.work), 0);
	kthread_set_warn_hook(before);
}

/* Numbers */

TEST(cancel_and_flush_across_the_wrap)
{
	static const uint32_t starts[] = {
		INT32_MAX - 3u, INT32_MAX - 1u, (uint32_t)INT32_MAX + 1u,
		UINT32_MAX - 3u, UINT32_MAX - 1u, 0,
	};

	for (size_t s = 0; s < sizeof(starts) / sizeof(starts[0]); s++) {
		struct kthread_worker *worker = kthread_create_worker(0, "wrap");
		struct kthread_flush flush;
		struct counted c;

		CHECK(worker);
		worker->epoch = starts[s];
		counted_init(&c);
		atomic_store(&c.work.started_seq, starts[s]);
		for (int i = 0; i < 8; i++) {
			CHECK(kthread_queue_work(worker, &c.work));
			kthread_flush_begin_work(&flush, &c.work);
			CHECK_EQ(kthread_flush_wait(&flush, 0), -ETIMEDOUT);
			CHECK(kthread_cancel_work_sync(&c.work));
			CHECK_EQ(kthread_flush_wait(&flush, 0), 0);
			CHECK_EQ(kthread_flush_worker_timeout(worker, 0), 0);
			CHECK(!kthread_cancel_work_sync(&c.work));
		}
		CHECK_EQ(kthread_start_worker(worker, NULL), 0);
		CHECK(kthread_queue_work(worker, &c.work));
		CHECK_EQ(kthread_flush_work(&c.work), 0);
		CHECK_EQ(atomic_load(&c.runs), 1);
		CHECK_EQ(kthread_destroy_worker(worker), 0);
	}
}

/* Circles: each of n workers runs a work that waits for the next worker, or its work. */

#define RING_MAX 5

enum how { FLUSH, FLUSH_ALL, CANCEL, DISABLE, DRAIN, DESTROY, FREEZE, HOWS };

struct ring_work {
	struct kthread_work work;
	struct kthread_work *next_work;
	struct kthread_worker *next_worker;
	enum how how;
	struct gate entered, go;
	atomic_int tid;
	int result;
};

static int wait_for_next(struct ring_work *w)
{
	switch (w->how) {
	case FLUSH:
		return kthread_flush_work(w->next_work);
	case FLUSH_ALL:
		return kthread_flush_worker(w->next_worker);
	case CANCEL:
		return side_cancel_sync(w->next_work);
	case DISABLE:
		return side_disable_sync(w->next_work);
	case DRAIN:
		return kthread_drain_worker(w->next_worker);
	case DESTROY:
		return kthread_destroy_worker(w->next_worker);
	default:
		return kthread_freeze_worker(w->next_worker);
	}
}

static void ring_run(struct kthread_work *work)
{
	struct ring_work *w = (struct ring_work *)work;

	atomic_store(&w->tid, own_tid());
	gate_open(&w->entered);
	gate_wait(&w->go);
	w->result = wait_for_next(w);
	if (w->how == FREEZE && !w->result)
		kthread_thaw_worker(w->next_worker);
}

/* Who closes the circle learns of it, and has changed nothing; the others wait it out. */
static void ring_in_order(int n, const enum how *how)
{
	struct kthread_worker *worker[RING_MAX];
	struct ring_work member[RING_MAX];

	memset(member, 0, sizeof(member));
	for (int i = 0; i < n; i++)
		worker[i] = new_worker("ring");
	for (int i = 0; i < n; i++) {
		struct ring_work *w = &member[i];

		kthread_init_work(&w->work, ring_run);
		w->next_work = &member[(i + 1) % n].work;
		w->next_worker = worker[(i + 1) % n];
		w->how = how[i];
		gate_init(&w->entered);
		gate_init(&w->go);
		CHECK(kthread_queue_work(worker[i], &w->work));
	}
	for (int i = 0; i < n; i++)
		gate_wait(&member[i].entered);
	for (int i = 0; i < n; i++) {
		gate_open(&member[i].go);
		for (int look = 0; i < n - 1 && look < 3; look++) {
			nap();
			WAIT_UNTIL(tid_settled(atomic_load(&member[i].tid)));
		}
	}
	for (int i = 0; i < n; i++)
		CHECK_EQ(kthread_flush_work(&member[i].work), 0);
	for (int i = 0; i < n - 1; i++)
		CHECK_EQ(member[i].result, 0);
	CHECK_EQ(member[n - 1].result, -EDEADLK);
	/* The refused one has changed nothing. */
	if (how[n - 1] == DISABLE)
		CHECK(!(kthread_work_busy(&member[0].work) & KTHREAD_WORK_REFUSED));
	for (int i = 0; i < n; i++)
		CHECK_EQ(kthread_destroy_worker(worker[i]), 0);
}

TEST(circle_of_2_workers_by_every_pair_of_waits_is_found)
{
	for (int a = 0; a < HOWS; a++)
		for (int b = 0; b < HOWS; b++)
			ring_in_order(2, (enum how[]){ a, b });
}

TEST(circle_of_3_workers_by_cancel_disable_and_drain_is_found)
{
	static const enum how waits[] = { CANCEL, DISABLE, DRAIN };

	for (int i = 0; i < 27; i++)
		ring_in_order(3, (enum how[]){ waits[i % 3], waits[i / 3 % 3], waits[i / 9] });
}

TEST(circle_of_5_workers_by_mixed_waits_is_found)
{
	ring_in_order(5, (enum how[]){ CANCEL, DRAIN, FLUSH, DISABLE, DESTROY });
	ring_in_order(5, (enum how[]){ DISABLE, DESTROY, FREEZE, FLUSH_ALL, CANCEL });
	ring_in_order(5, (enum how[]){ CANCEL, CANCEL, CANCEL, CANCEL, CANCEL });
	ring_in_order(5, (enum how[]){ DRAIN, DRAIN, DRAIN, DRAIN, DRAIN });
}

TEST(circle_by_cancel_is_refused_with_errno_and_keeps_what_is_pending)
{
	struct kthread_worker *a = new_worker("a"), *b = new_worker("b");
	struct ring_work first, second;

	memset(&first, 0, sizeof(first));
	memset(&second, 0, sizeof(second));
	kthread_init_work(&first.work, ring_run);
	kthread_init_work(&second.work, ring_run);
	gate_init(&first.entered);
	gate_init(&first.go);
	gate_init(&second.entered);
	gate_init(&second.go);
	first.next_work = &second.work;
	second.next_work = &first.work;
	first.how = FLUSH;
	second.how = CANCEL;
	CHECK(kthread_queue_work(a, &first.work));
	CHECK(kthread_queue_work(b, &second.work));
	gate_wait(&first.entered);
	gate_wait(&second.entered);
	CHECK(kthread_queue_work(a, &first.work)); /* once more, to be kept */
	gate_open(&first.go);
	for (int look = 0; look < 3; look++) {
		nap();
		WAIT_UNTIL(tid_settled(atomic_load(&first.tid)));
	}
	gate_open(&second.go);
	CHECK_EQ(kthread_flush_work(&second.work), 0);
	CHECK_EQ(second.result, -EDEADLK);
	CHECK_EQ(kthread_flush_worker(a), 0);
	CHECK_EQ(a->executed, 2);
	CHECK_EQ(kthread_destroy_worker(a), 0);
	CHECK_EQ(kthread_destroy_worker(b), 0);
}

/* A callback cancels what executes elsewhere: no circle, a wait. */
TEST(callback_cancels_a_work_that_executes_on_another_worker)
{
	struct kthread_worker *a = new_worker("a"), *b = new_worker("b");
	struct ring_work w;
	struct blocker other;

	memset(&w, 0, sizeof(w));
	kthread_init_work(&w.work, ring_run);
	gate_init(&w.entered);
	gate_init(&w.go);
	blocker_occupy(&other, b);
	w.next_work = &other.work;
	w.how = CANCEL;
	w.result = -1;
	CHECK(kthread_queue_work(a, &w.work));
	gate_open(&w.go);
	WAIT_UNTIL(kthread_work_busy(&other.work) & KTHREAD_WORK_REFUSED);
	CHECK_EQ(kthread_flush_work_timeout(&w.work, MS(1)), -ETIMEDOUT);
	gate_open(&other.release[0]);
	CHECK_EQ(kthread_flush_work(&w.work), 0);
	CHECK_EQ(w.result, 0);
	CHECK_EQ(other.data, 1);
	CHECK_EQ(kthread_destroy_worker(a), 0);
	CHECK_EQ(kthread_destroy_worker(b), 0);
}

/* Fork */

static void in_child(void (*fn)(void *), void *arg)
{
	int status;
	pid_t child;

	child_makes_threads();
	fflush(NULL);
	child = fork();
	CHECK(child >= 0);
	if (!child) {
		alarm(20);
		fn(arg);
		_exit(0);
	}
	CHECK_EQ(waitpid(child, &status, 0), child);
	CHECK(WIFEXITED(status));
	CHECK_EQ(WEXITSTATUS(status), 0);
}

struct forked {
	struct kthread_worker *worker;
	struct blocker executing;
	struct counted pending, disabled;
	struct kthread_delayed_work timed;
};

static void cancel_old_works(void *arg)
{
	struct forked *f = arg;
	struct kthread_worker *worker;

	CHECK_REFUSED(kthread_cancel_work_sync(&f->executing.work), ESRCH);
	CHECK(!kthread_cancel_work(&f->executing.work));
	CHECK_EQ(kthread_flush_work(&f->executing.work), -ESRCH);
	CHECK_EQ(kthread_drain_worker(f->worker), -ESRCH);
	CHECK_EQ(kthread_mod_delayed_work_status(f->worker, &f->timed, 0), -ESRCH);
	CHECK_EQ(kthread_queue_delayed_work_status(f->worker, &f->timed, 1), -ESRCH);
	CHECK(kthread_cancel_work_sync(&f->pending.work));
	CHECK(!kthread_cancel_work_sync(&f->pending.work));
	CHECK(kthread_cancel_delayed_work_sync(&f->timed));
	CHECK(kthread_enable_work(&f->disabled.work));
	/* A new worker takes them. */
	worker = child_makes_threads() ? new_worker("child") : NULL;
	if (worker) {
		CHECK(kthread_queue_work(worker, &f->pending.work));
		CHECK(kthread_queue_work(worker, &f->disabled.work));
		CHECK_EQ(kthread_flush_worker(worker), 0);
		CHECK_EQ(atomic_load(&f->pending.runs), 1);
		CHECK_EQ(atomic_load(&f->disabled.runs), 1);
		CHECK_EQ(kthread_destroy_worker(worker), 0);
	}
	CHECK_EQ(kthread_destroy_worker(f->worker), 0);
}

TEST(forked_child_cancels_old_works)
{
	static struct forked f;

	if (UNDER_TSAN)
		SKIP("tsan: threads after fork");
	f.worker = new_worker("parent");
	blocker_occupy(&f.executing, f.worker);
	counted_init(&f.pending);
	counted_init(&f.disabled);
	kthread_init_delayed_work(&f.timed, count_run);
	CHECK(kthread_queue_work(f.worker, &f.pending.work));
	CHECK(kthread_queue_delayed_work(f.worker, &f.timed, HOUR));
	CHECK(!kthread_disable_work_sync(&f.disabled.work));
	in_child(cancel_old_works, &f);
	/* The parent goes on as if nothing had happened. */
	CHECK_EQ(kthread_work_busy(&f.timed.work), KTHREAD_WORK_PENDING | KTHREAD_WORK_TIMED);
	gate_open(&f.executing.release[0]);
	CHECK_EQ(kthread_flush_worker(f.worker), 0);
	CHECK_EQ(atomic_load(&f.pending.runs), 1);
	CHECK(kthread_cancel_delayed_work_sync(&f.timed));
	CHECK_EQ(kthread_destroy_worker(f.worker), 0);
}
