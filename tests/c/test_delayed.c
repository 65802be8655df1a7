/* SPDX-License-Identifier: GPL-2.0-only */
/* Delayed works: queue, mod, flush, order, time; their worker's life. */
#include "timed.h"

static void ignore(struct kthread_work *work)
{
	(void)work;
}

static struct kthread_worker *threadless(const char *name)
{
	struct kthread_worker *worker = kthread_create_worker(0, "%s", name);

	CHECK(worker);
	return worker;
}

/* Arguments */

TEST(bad_arguments_are_refused)
{
	struct kthread_worker *worker = threadless("bad");
	struct kthread_delayed_work plain, zeros;
	struct timed t;

	timed_init(&t);
	memset(&zeros, 0, sizeof(zeros));
	memset(&plain, 0, sizeof(plain));
	kthread_init_work(&plain.work, ignore);
	CHECK_REFUSED(kthread_queue_delayed_work(NULL, &t.dwork, 1), EINVAL);
	CHECK_REFUSED(kthread_queue_delayed_work(worker, NULL, 1), EINVAL);
	CHECK_REFUSED(kthread_queue_delayed_work(worker, &zeros, 1), EINVAL);
	CHECK_REFUSED(kthread_queue_delayed_work(worker, &zeros, 0), EINVAL);
	CHECK_REFUSED(kthread_queue_delayed_work(worker, &plain, 1), EINVAL);
	CHECK_REFUSED(kthread_queue_delayed_work(worker, &plain, 0), EINVAL);
	CHECK_REFUSED(kthread_mod_delayed_work(NULL, &t.dwork, 1), EINVAL);
	CHECK_REFUSED(kthread_mod_delayed_work(worker, NULL, 1), EINVAL);
	CHECK_REFUSED(kthread_mod_delayed_work(worker, &zeros, 1), EINVAL);
	CHECK_REFUSED(kthread_mod_delayed_work(worker, &plain, 0), EINVAL);
	CHECK_REFUSED(kthread_queue_periodic_work(worker, &t.dwork, 1, 0), EINVAL);
	CHECK_REFUSED(kthread_queue_periodic_work(NULL, &t.dwork, 1, 1), EINVAL);
	CHECK_REFUSED(kthread_queue_periodic_work(worker, &zeros, 1, 1), EINVAL);
	CHECK_REFUSED(kthread_queue_periodic_work(worker, &plain, 1, 1), EINVAL);
	CHECK_EQ(kthread_flush_delayed_work(NULL), -EINVAL);
	CHECK_EQ(kthread_flush_delayed_work_timeout(NULL, 0), -EINVAL);
	CHECK(kthread_delayed_work_remaining(NULL) == KTHREAD_FOREVER);
	CHECK_EQ(kthread_delayed_work_missed(NULL), 0);
	CHECK(kthread_worker_next_timer(NULL) == KTHREAD_FOREVER);
	CHECK_EQ(timed_busy(&t), 0);
	CHECK_EQ(worker_stats(worker).pending + worker_stats(worker).delayed, 0);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

TEST(delayed_work_true_keeps_errno)
{
	struct kthread_worker *worker = threadless("errno");
	struct timed t;

	timed_init(&t);
	errno = E2BIG;
	CHECK(kthread_queue_delayed_work(worker, &t.dwork, HOUR));
	CHECK(!kthread_queue_delayed_work(worker, &t.dwork, HOUR));
	CHECK(kthread_mod_delayed_work(worker, &t.dwork, HOUR));
	CHECK(kthread_disable_work_sync(&t.dwork.work));
	CHECK(!kthread_queue_delayed_work(worker, &t.dwork, HOUR));
	CHECK_EQ(errno, E2BIG);
	/* For a modification false with errno kept says "queued": this has a reason of its own. */
	CHECK_REFUSED(kthread_mod_delayed_work(worker, &t.dwork, HOUR), ECANCELED);
	errno = E2BIG;
	CHECK(kthread_enable_work(&t.dwork.work));
	CHECK(!kthread_mod_delayed_work(worker, &t.dwork, HOUR)); /* it was idle: queued */
	CHECK_EQ(timed_busy(&t), ARMED);
	CHECK_EQ(errno, E2BIG);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

/* Queue */

TEST(delay_0_goes_to_the_list_without_a_timer)
{
	struct kthread_worker *worker = threadless("zero");
	struct counted before, after;
	struct timed t;

	counted_init(&before);
	counted_init(&after);
	timed_init(&t);
	CHECK(kthread_queue_work(worker, &before.work));
	CHECK(kthread_queue_delayed_work(worker, &t.dwork, 0));
	CHECK_EQ(timed_busy(&t), ON_LIST);
	CHECK(kthread_delayed_work_remaining(&t.dwork) == KTHREAD_FOREVER);
	CHECK_EQ(worker_stats(worker).delayed, 0);
	CHECK(kthread_queue_work(worker, &after.work));
	CHECK_EQ(kthread_start_worker(worker, NULL), 0);
	CHECK_EQ(kthread_flush_worker(worker), 0);
	CHECK_EQ(atomic_load(&t.order), atomic_load(&before.order) + 1);
	CHECK_EQ(atomic_load(&after.order), atomic_load(&t.order) + 1);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

TEST(delayed_work_queue_is_false_and_the_timer_unchanged)
{
	struct kthread_worker *worker = new_worker("unchanged");
	uint64_t deadline;
	struct timed t;

	timed_init(&t);
	CHECK(kthread_queue_delayed_work(worker, &t.dwork, HOUR));
	deadline = kthread_worker_next_timer(worker);
	CHECK_EQ(kthread_queue_delayed_work_status(worker, &t.dwork, 1), 0);
	CHECK_EQ(kthread_queue_delayed_work_status(worker, &t.dwork, 0), 0);
	CHECK_EQ(kthread_queue_periodic_work_status(worker, &t.dwork, 0, 1), 0);
	CHECK_EQ(kthread_queue_work_status(worker, &t.dwork.work), 0);
	CHECK(kthread_worker_next_timer(worker) == deadline);
	CHECK_EQ(timed_busy(&t), ARMED);
	CHECK(kthread_delayed_work_remaining(&t.dwork) <= HOUR);
	CHECK_EQ(atomic_load(&t.runs), 0);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

TEST(delayed_work_runs_never_early_and_on_the_workers_thread)
{
	struct kthread_worker *worker = new_worker("early");

	for (uint64_t delay = 1; delay < MS(20); delay = delay * 3 + 1) {
		uint64_t begin = clock_ns();
		struct timed t;

		timed_init(&t);
		CHECK(kthread_queue_delayed_work(worker, &t.dwork, delay));
		WAIT_UNTIL(atomic_load(&t.runs));
		CHECK(atomic_load(&t.ran_at) >= begin + delay);
		CHECK_EQ(atomic_load(&t.tid), worker_tid(worker));
		CHECK_EQ(kthread_flush_worker(worker), 0);
		CHECK_EQ(timed_busy(&t), 0);
	}
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

TEST(shorter_delay_wakes_a_worker_that_sleeps_for_a_longer_one)
{
	struct kthread_worker *worker = new_worker("shorter");
	struct timed longest, longer, shorter;

	timed_init(&longest);
	timed_init(&longer);
	timed_init(&shorter);
	CHECK(kthread_queue_delayed_work(worker, &longer.dwork, HOUR));
	WAIT_UNTIL(tid_settled(worker_tid(worker)));
	CHECK(kthread_queue_delayed_work(worker, &longest.dwork, 2 * HOUR));
	CHECK(kthread_queue_delayed_work(worker, &shorter.dwork, MS(1)));
	WAIT_UNTIL(atomic_load(&shorter.runs));
	CHECK_EQ(timed_busy(&longer), ARMED);
	CHECK(kthread_mod_delayed_work(worker, &longer.dwork, MS(1)));
	WAIT_UNTIL(atomic_load(&longer.runs));
	CHECK_EQ(timed_busy(&longest), ARMED);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

/* A timer later than what the worker sleeps for wakes nobody. */
TEST(longer_delay_does_not_wake_the_worker)
{
	struct kthread_worker *worker = new_worker("longer");
	struct timed first, more[50];
	uint64_t sleeps;

	timed_init(&first);
	CHECK(kthread_queue_delayed_work(worker, &first.dwork, HOUR));
	do {
		sleeps = worker_sleeps(worker);
		nap();
		WAIT_UNTIL(tid_settled(worker_tid(worker)));
	} while (!sleeps || worker_sleeps(worker) != sleeps);
	for (int i = 0; i < 50; i++) {
		timed_init(&more[i]);
		CHECK(kthread_queue_delayed_work(worker, &more[i].dwork, 2 * HOUR));
	}
	for (int i = 0; i < 20; i++)
		nap();
	CHECK_EQ(worker_sleeps(worker), sleeps);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

TEST(timers_run_in_the_order_of_their_deadlines)
{
	struct kthread_worker *worker = threadless("order");
	static const uint64_t delays[] = { 5, 3, 9, 1, 7, 0, 2, 8, 6, 4 };
	uint64_t deadlines[10];
	struct timed t[10];

	for (int i = 0; i < 10; i++) {
		timed_init(&t[i]);
		CHECK(kthread_queue_delayed_work(worker, &t[i].dwork, MS(1) + 100000 * delays[i]));
		deadlines[i] = t[i].dwork.timer.deadline;
	}
	for (int i = 0; i < 10; i++)
		WAIT_UNTIL(clock_ns() > deadlines[i]);
	CHECK_EQ(worker_stats(worker).delayed, 10); /* nobody keeps them before a thread comes */
	CHECK_EQ(kthread_start_worker(worker, NULL), 0);
	WAIT_UNTIL(worker_stats(worker).executed == 10);
	CHECK_EQ(kthread_flush_worker(worker), 0);
	for (int i = 0; i < 10; i++)
		for (int j = 0; j < 10; j++)
			if (deadlines[i] < deadlines[j])
				CHECK(atomic_load(&t[i].order) < atomic_load(&t[j].order));
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

TEST(equal_deadlines_run_in_the_order_of_arming)
{
	struct kthread_worker *worker = threadless("equal");
	struct timed t[40];

	/* Beyond the clock's range all deadlines are one; brought back, they keep their order. */
	for (int i = 0; i < 40; i++) {
		timed_init(&t[i]);
		CHECK(kthread_queue_delayed_work(worker, &t[i].dwork, KTHREAD_FOREVER));
	}
	for (int i = 0; i < 40; i++)
		t[i].dwork.timer.deadline = 1;
	CHECK_EQ(kthread_start_worker(worker, NULL), 0);
	WAIT_UNTIL(worker_stats(worker).executed == 40);
	CHECK_EQ(kthread_flush_worker(worker), 0);
	for (int i = 1; i < 40; i++)
		CHECK_EQ(atomic_load(&t[i].order), atomic_load(&t[i - 1].order) + 1);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

/* Random arms, mods and cancels against a list that is searched from end to end. */
TEST(earliest_timer_is_the_least_of_all_deadlines)
{
	enum { N = 200 };
	static struct timed t[N];
	struct kthread_worker *worker = threadless("heap");
	uint64_t random = 88172645463325252u;

	for (int i = 0; i < N; i++)
		timed_init(&t[i]);
	for (int round = 0; round < 20000; round++) {
		struct timed *one = &t[stress_random(&random) % N];
		uint64_t delay = HOUR + stress_random(&random) % 1000 * MS(1000);
		uint64_t least = KTHREAD_FOREVER;
		unsigned int armed = 0;

		switch (stress_random(&random) % 4) {
		case 0: {
			bool armed_before = timed_busy(one) == ARMED;

			CHECK_EQ(kthread_cancel_delayed_work(&one->dwork), armed_before);
			break;
		}
		case 1:
			kthread_queue_delayed_work(worker, &one->dwork, delay);
			break;
		default:
			kthread_mod_delayed_work(worker, &one->dwork, delay);
			break;
		}
		if (round % 16)
			continue;
		for (int i = 0; i < N; i++) {
			if (timed_busy(&t[i]) != ARMED)
				continue;
			armed++;
			if (t[i].dwork.timer.deadline < least)
				least = t[i].dwork.timer.deadline;
		}
		CHECK(kthread_worker_next_timer(worker) == least);
		CHECK_EQ(worker_stats(worker).delayed, armed);
	}
	CHECK_EQ(kthread_destroy_worker(worker), 0);
	for (int i = 0; i < N; i++)
		CHECK_EQ(timed_busy(&t[i]), 0);
}

TEST(hundred_thousand_timers_are_armed_modified_and_cancelled)
{
	enum { N = 100000 };
	struct kthread_worker *worker = new_worker("many");
	struct timed *t = calloc(N, sizeof(*t));

	CHECK(t);
	for (int i = 0; i < N; i++) {
		kthread_init_delayed_work(&t[i].dwork, timed_run);
		CHECK(kthread_queue_delayed_work(worker, &t[i].dwork, HOUR + (uint64_t)(i % 977)));
	}
	CHECK_EQ(worker_stats(worker).delayed, N);
	for (int i = 0; i < N; i++)
		CHECK(kthread_mod_delayed_work(worker, &t[i].dwork, HOUR + (uint64_t)(i % 541)));
	for (int i = 0; i < N; i += 2)
		CHECK(kthread_cancel_delayed_work_sync(&t[i].dwork));
	CHECK_EQ(worker_stats(worker).delayed, N / 2);
	/* The rest all run out at once. */
	for (int i = 1; i < N; i += 2)
		CHECK(kthread_mod_delayed_work(worker, &t[i].dwork, 1));
	WAIT_UNTIL(worker_stats(worker).executed == N / 2);
	CHECK_EQ(kthread_flush_worker(worker), 0);
	for (int i = 0; i < N; i++)
		CHECK_EQ(atomic_load(&t[i].runs), i % 2);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
	free(t);
}

TEST(delay_beyond_the_clock_never_ends)
{
	struct kthread_worker *worker = new_worker("never");
	struct timed t;

	for (uint64_t delay = KTHREAD_FOREVER; delay > KTHREAD_FOREVER - 3; delay--) {
		timed_init(&t);
		CHECK(kthread_queue_delayed_work(worker, &t.dwork, delay));
		CHECK_EQ(timed_busy(&t), ARMED);
		CHECK_EQ(worker_stats(worker).delayed, 1);
		CHECK(kthread_worker_next_timer(worker) == KTHREAD_FOREVER);
		CHECK(!kthread_queue_delayed_work(worker, &t.dwork, 1));
		CHECK(kthread_cancel_delayed_work_sync(&t.dwork));
		CHECK(kthread_queue_delayed_work(worker, &t.dwork, delay));
		CHECK_EQ(kthread_flush_delayed_work(&t.dwork), 0);
		CHECK_EQ(atomic_load(&t.runs), 1);
	}
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

TEST(work_delayed_on_another_worker_is_refused)
{
	struct kthread_worker *a = new_worker("a"), *b = new_worker("b");
	struct timed t;

	timed_init(&t);
	CHECK(kthread_queue_delayed_work(a, &t.dwork, HOUR));
	CHECK_REFUSED(kthread_queue_delayed_work(b, &t.dwork, HOUR), EBUSY);
	CHECK_REFUSED(kthread_queue_delayed_work(b, &t.dwork, 0), EBUSY);
	CHECK_REFUSED(kthread_mod_delayed_work(b, &t.dwork, 0), EBUSY);
	CHECK_REFUSED(kthread_queue_work(b, &t.dwork.work), EBUSY);
	CHECK_EQ(timed_busy(&t), ARMED);
	CHECK(kthread_cancel_delayed_work(&t.dwork));
	CHECK(kthread_queue_delayed_work(b, &t.dwork, 1));
	WAIT_UNTIL(atomic_load(&t.runs));
	CHECK_EQ(atomic_load(&t.tid), worker_tid(b));
	CHECK_EQ(kthread_destroy_worker(a), 0);
	CHECK_EQ(kthread_destroy_worker(b), 0);
}

/* From its own callback: again, later; and freed there. */

struct again {
	struct kthread_delayed_work dwork;
	struct kthread_worker *worker;
	int left;
	atomic_int *ended;
};

static void run_again_later(struct kthread_work *work)
{
	struct again *a = (struct again *)work;

	if (a->left--) {
		CHECK(kthread_queue_delayed_work(a->worker, &a->dwork, 1000));
		return;
	}
	atomic_store(a->ended, 1);
	free(a);
}

TEST(delayed_work_queues_itself_later_and_frees_itself_in_the_end)
{
	struct kthread_worker *worker = new_worker("again");
	atomic_int ended = 0;
	struct again *a = calloc(1, sizeof(*a));

	CHECK(a);
	kthread_init_delayed_work(&a->dwork, run_again_later);
	a->worker = worker;
	a->left = 20;
	a->ended = &ended;
	CHECK(kthread_queue_delayed_work(worker, &a->dwork, 1000));
	WAIT_UNTIL(atomic_load(&ended));
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

/* Mod */

TEST(mod_with_delay_0_goes_to_the_tail_now)
{
	struct kthread_worker *worker = threadless("tail");
	struct counted c;
	struct timed listed, delayed, idle;

	timed_init(&listed);
	timed_init(&delayed);
	timed_init(&idle);
	counted_init(&c);
	CHECK(kthread_queue_delayed_work(worker, &listed.dwork, 0));
	CHECK(kthread_queue_delayed_work(worker, &delayed.dwork, HOUR));
	CHECK(kthread_queue_work(worker, &c.work));
	CHECK(kthread_mod_delayed_work(worker, &listed.dwork, 0));
	CHECK(kthread_mod_delayed_work(worker, &delayed.dwork, 0));
	errno = 0;
	CHECK(!kthread_mod_delayed_work(worker, &idle.dwork, 0));
	CHECK_EQ(errno, 0);
	CHECK_EQ(worker_stats(worker).delayed, 0);
	CHECK_EQ(worker_stats(worker).pending, 4);
	CHECK_EQ(kthread_start_worker(worker, NULL), 0);
	CHECK_EQ(kthread_flush_worker(worker), 0);
	CHECK_EQ(atomic_load(&listed.order), atomic_load(&c.order) + 1);
	CHECK_EQ(atomic_load(&delayed.order), atomic_load(&c.order) + 2);
	CHECK_EQ(atomic_load(&idle.order), atomic_load(&c.order) + 3);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

TEST(mod_puts_a_listed_work_off)
{
	struct kthread_worker *worker = threadless("off");
	struct counted c;
	struct timed t;

	timed_init(&t);
	counted_init(&c);
	CHECK(kthread_queue_work(worker, &t.dwork.work));
	CHECK(kthread_queue_work(worker, &c.work));
	CHECK(kthread_mod_delayed_work(worker, &t.dwork, HOUR));
	CHECK_EQ(timed_busy(&t), ARMED);
	CHECK_EQ(kthread_start_worker(worker, NULL), 0);
	CHECK_EQ(kthread_flush_worker(worker), 0);
	CHECK_EQ(atomic_load(&c.runs), 1);
	CHECK_EQ(atomic_load(&t.runs), 0);
	CHECK(kthread_mod_delayed_work(worker, &t.dwork, 1));
	WAIT_UNTIL(atomic_load(&t.runs) == 1);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

struct modder {
	struct kthread_worker *worker;
	struct timed *t;
	uint64_t delay;
	struct gate *go;
};

static int side_mod(void *arg)
{
	struct modder *m = arg;

	gate_wait(m->go);
	return kthread_mod_delayed_work_status(m->worker, &m->t->dwork, m->delay);
}

TEST(two_mods_at_once_leave_one_timer)
{
	struct kthread_worker *worker = new_worker("two");

	for (int round = 0; round < 100; round++) {
		struct gate go = GATE_INIT;
		struct timed t;
		struct modder modders[2] = {
			{ worker, &t, HOUR, &go }, { worker, &t, 1000 * HOUR, &go },
		};
		struct side sides[2];
		uint64_t left;
		int before = 0;

		timed_init(&t);
		if (round % 3 == 1)
			CHECK(kthread_queue_delayed_work(worker, &t.dwork, 10 * HOUR));
		for (int i = 0; i < 2; i++)
			side_start(&sides[i], side_mod, &modders[i]);
		gate_open(&go);
		for (int i = 0; i < 2; i++)
			before += side_join(&sides[i]);
		/* Of an idle one, the first says false and the later true. */
		CHECK_EQ(before, round % 3 == 1 ? 2 : 1);
		CHECK_EQ(worker_stats(worker).delayed, 1);
		left = kthread_delayed_work_remaining(&t.dwork);
		CHECK(left <= HOUR || (left > 999 * HOUR && left <= 1000 * HOUR));
		CHECK(kthread_cancel_delayed_work_sync(&t.dwork));
		CHECK_EQ(worker_stats(worker).delayed, 0);
	}
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

/* Claimed by a producer, and on no list yet: put off when it gets there. */
TEST(mod_of_a_work_in_an_open_batch_waits_for_its_end)
{
	struct kthread_worker *worker = threadless("batch");
	struct gate go = GATE_INIT;
	struct kthread_batch batch;
	struct timed t;
	struct modder modder = { worker, &t, HOUR, &go };
	struct side side;

	timed_init(&t);
	kthread_batch_begin(&batch, worker);
	CHECK_EQ(kthread_batch_add(&batch, &t.dwork.work), 1);
	side_start(&side, side_mod, &modder);
	gate_open(&go);
	side_settle(&side);
	CHECK(!atomic_load(&side.returned));
	kthread_batch_end(&batch);
	CHECK_EQ(side_join(&side), 1);
	CHECK_EQ(timed_busy(&t), ARMED);
	CHECK_EQ(kthread_worker_run_pending(worker), 0);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

TEST(later_mod_holds)
{
	struct kthread_worker *worker = new_worker("later");
	struct timed t;

	timed_init(&t);
	CHECK(!kthread_mod_delayed_work(worker, &t.dwork, 1000 * HOUR));
	CHECK(kthread_mod_delayed_work(worker, &t.dwork, HOUR));
	CHECK(kthread_delayed_work_remaining(&t.dwork) <= HOUR);
	CHECK(kthread_mod_delayed_work(worker, &t.dwork, 1000 * HOUR));
	CHECK(kthread_delayed_work_remaining(&t.dwork) > 999 * HOUR);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

/* The cancel has blocked it and dropped its run: nothing may be armed behind its back. */
TEST(mod_amid_a_cancel_queues_nothing_and_leaves_no_flusher_asleep)
{
	struct kthread_worker *worker = new_worker("amid");
	struct kthread_cancel cancel;
	struct timed t;

	timed_init(&t);
	CHECK(kthread_queue_delayed_work(worker, &t.dwork, HOUR));
	CHECK_EQ(kthread_cancel_begin(&cancel, &t.dwork.work), 0);
	CHECK(cancel.dropped);
	CHECK_EQ(kthread_mod_delayed_work_status(worker, &t.dwork, HOUR), 1);
	CHECK_EQ(kthread_mod_delayed_work_status(worker, &t.dwork, 0), 1);
	CHECK_EQ(timed_busy(&t), KTHREAD_WORK_REFUSED);
	CHECK_EQ(worker_stats(worker).delayed + worker_stats(worker).pending, 0);
	CHECK_EQ(kthread_flush_delayed_work(&t.dwork), 0);
	CHECK_EQ(kthread_cancel_wait(&cancel, KTHREAD_FOREVER), 0);
	kthread_cancel_end(&cancel);
	CHECK_EQ(atomic_load(&t.runs), 0);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

/* A flush that waits for the run which is put off waits on, and takes the later one. */
TEST(flush_of_a_run_that_mod_puts_off_waits_on)
{
	struct kthread_worker *worker = new_worker("putoff");
	struct blocker b;
	struct timed t;
	struct side side;

	blocker_occupy(&b, worker);
	timed_init(&t);
	CHECK(kthread_queue_work(worker, &t.dwork.work));
	side_start(&side, side_flush_work, &t.dwork.work);
	side_settle(&side);
	CHECK(kthread_mod_delayed_work(worker, &t.dwork, HOUR));
	gate_open(&b.release[0]);
	side_settle(&side);
	CHECK(!atomic_load(&side.returned));
	CHECK(kthread_mod_delayed_work(worker, &t.dwork, 1));
	CHECK_EQ(side_join(&side), 0);
	CHECK_EQ(atomic_load(&t.runs), 1);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

/* Flush */

TEST(flush_cuts_the_timer_short)
{
	struct kthread_worker *worker = new_worker("short");
	struct timed t;

	timed_init(&t);
	CHECK_EQ(kthread_flush_delayed_work(&t.dwork), 0);
	CHECK(kthread_queue_delayed_work(worker, &t.dwork, HOUR));
	WAIT_UNTIL(tid_settled(worker_tid(worker)));
	CHECK_EQ(kthread_flush_delayed_work(&t.dwork), 0);
	CHECK_EQ(atomic_load(&t.runs), 1);
	CHECK(kthread_queue_delayed_work(worker, &t.dwork, HOUR));
	CHECK_EQ(kthread_flush_work(&t.dwork.work), 0);
	CHECK_EQ(atomic_load(&t.runs), 2);
	CHECK_EQ(timed_busy(&t), 0);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

TEST(flush_puts_a_delayed_work_at_the_tail)
{
	struct kthread_worker *worker = threadless("tail");
	struct counted c;
	struct timed t;

	timed_init(&t);
	counted_init(&c);
	CHECK(kthread_queue_delayed_work(worker, &t.dwork, HOUR));
	CHECK(kthread_queue_work(worker, &c.work));
	CHECK_EQ(kthread_flush_delayed_work_timeout(&t.dwork, 0), -ETIMEDOUT);
	CHECK_EQ(timed_busy(&t), ON_LIST);
	CHECK_EQ(kthread_start_worker(worker, NULL), 0);
	CHECK_EQ(kthread_flush_delayed_work(&t.dwork), 0);
	CHECK_EQ(atomic_load(&t.order), atomic_load(&c.order) + 1);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

static struct {
	struct timed timed;
	struct kthread_delayed_work *own;
	int own_result, other_result;
} refused;

static void flush_delayed_run(struct kthread_work *work)
{
	struct kthread_worker *worker = kthread_current_worker();

	CHECK(work == &refused.own->work);
	CHECK(kthread_queue_delayed_work(worker, refused.own, HOUR));
	refused.own_result = kthread_flush_work(work);
	refused.other_result = kthread_flush_delayed_work(&refused.timed.dwork);
}

/* It would wait for itself: refused, and nothing has changed. */
TEST(own_callback_flush_of_a_delayed_work_leaves_its_timer)
{
	struct kthread_worker *worker = new_worker("refused");
	struct kthread_delayed_work own;

	timed_init(&refused.timed);
	kthread_init_delayed_work(&own, flush_delayed_run);
	refused.own = &own;
	CHECK(kthread_queue_delayed_work(worker, &refused.timed.dwork, HOUR));
	CHECK(kthread_queue_work(worker, &own.work));
	CHECK_EQ(kthread_flush_worker(worker), 0);
	CHECK_EQ(refused.own_result, -EDEADLK);
	CHECK_EQ(refused.other_result, -EDEADLK);
	CHECK_EQ(kthread_work_busy(&own.work), ARMED);
	CHECK_EQ(timed_busy(&refused.timed), ARMED);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

static struct {
	struct kthread_worker *here, *there;
	struct kthread_work waits_for_here, flushes;
	struct counted behind;
	struct timed timed;
	struct gate begun, broken;
	int result;
} circle;

static void wait_for_here(struct kthread_work *work)
{
	(void)work;
	CHECK_EQ(kthread_flush_work(&circle.behind.work), 0);
	gate_open(&circle.broken);
}

static void flush_once_the_circle_is_broken(struct kthread_work *work)
{
	struct kthread_flush flush;

	(void)work;
	/* Until the other one waits the timer is cut short. */
	for (;;) {
		CHECK(kthread_mod_delayed_work(circle.there, &circle.timed.dwork, HOUR));
		kthread_flush_begin_work(&flush, &circle.timed.dwork.work);
		if (timed_busy(&circle.timed) == ARMED)
			break;
		nap();
	}
	gate_open(&circle.begun);
	gate_wait(&circle.broken);
	circle.result = kthread_flush_wait(&flush, KTHREAD_FOREVER);
}

/* Begun when it would have been refused, and waited for when it is not. */
TEST(flush_that_outlasts_a_circle_cuts_the_timer_short)
{
	circle.here = new_worker("here");
	circle.there = new_worker("there");
	gate_init(&circle.begun);
	gate_init(&circle.broken);
	counted_init(&circle.behind);
	timed_init(&circle.timed);
	kthread_init_work(&circle.waits_for_here, wait_for_here);
	kthread_init_work(&circle.flushes, flush_once_the_circle_is_broken);
	CHECK_EQ(kthread_freeze_worker(circle.here), 0);
	CHECK(kthread_queue_work(circle.here, &circle.flushes));
	CHECK(kthread_queue_work(circle.here, &circle.behind.work));
	CHECK(kthread_queue_work(circle.there, &circle.waits_for_here));
	CHECK(kthread_queue_delayed_work(circle.there, &circle.timed.dwork, HOUR));
	kthread_thaw_worker(circle.here);
	gate_wait(&circle.begun);
	CHECK(kthread_cancel_work(&circle.behind.work));
	CHECK_EQ(kthread_flush_work(&circle.flushes), 0);
	CHECK_EQ(circle.result, 0);
	CHECK_EQ(atomic_load(&circle.timed.runs), 1);
	CHECK_EQ(kthread_destroy_worker(circle.here), 0);
	CHECK_EQ(kthread_destroy_worker(circle.there), 0);
}

/* Freeze, thread, destruction */

TEST(frozen_worker_keeps_timers_and_works_in_order)
{
	struct kthread_worker *worker = new_worker("frozen");
	struct counted before, between, after;
	struct timed first, second;

	counted_init(&before);
	counted_init(&between);
	counted_init(&after);
	timed_init(&first);
	timed_init(&second);
	CHECK_EQ(kthread_freeze_worker(worker), 0);
	CHECK(kthread_queue_work(worker, &before.work));
	CHECK(kthread_queue_delayed_work(worker, &first.dwork, MS(1)));
	WAIT_UNTIL(timed_busy(&first) == ON_LIST);
	CHECK(kthread_queue_work(worker, &between.work));
	CHECK(kthread_queue_delayed_work(worker, &second.dwork, MS(1)));
	WAIT_UNTIL(timed_busy(&second) == ON_LIST);
	CHECK(kthread_queue_work(worker, &after.work));
	CHECK_EQ(atomic_load(&first.runs), 0);
	kthread_thaw_worker(worker);
	CHECK_EQ(kthread_flush_worker(worker), 0);
	CHECK_EQ(atomic_load(&first.order), atomic_load(&before.order) + 1);
	CHECK_EQ(atomic_load(&between.order), atomic_load(&before.order) + 2);
	CHECK_EQ(atomic_load(&second.order), atomic_load(&before.order) + 3);
	CHECK_EQ(atomic_load(&after.order), atomic_load(&before.order) + 4);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

TEST(many_timers_of_a_frozen_worker_are_all_listed)
{
	enum { N = 500 };
	struct kthread_worker *worker = new_worker("batch");
	static struct timed t[N];

	CHECK_EQ(kthread_freeze_worker(worker), 0);
	for (int i = 0; i < N; i++) {
		timed_init(&t[i]);
		CHECK(kthread_queue_delayed_work(worker, &t[i].dwork, MS(1)));
	}
	WAIT_UNTIL(worker_stats(worker).pending == N);
	CHECK_EQ(worker_stats(worker).delayed, 0);
	kthread_thaw_worker(worker);
	CHECK_EQ(kthread_flush_worker(worker), 0);
	for (int i = 1; i < N; i++)
		CHECK_EQ(atomic_load(&t[i].order), atomic_load(&t[0].order) + (unsigned int)i);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

TEST(timers_of_a_stopped_worker_wait_for_its_next_thread)
{
	struct kthread_worker *worker = new_worker("stopped");
	struct timed t, armed_now;

	timed_init(&t);
	timed_init(&armed_now);
	CHECK(kthread_queue_delayed_work(worker, &t.dwork, HOUR));
	CHECK_EQ(kthread_stop_worker(worker), 0);
	CHECK(kthread_mod_delayed_work(worker, &t.dwork, 1));
	CHECK(kthread_queue_delayed_work(worker, &armed_now.dwork, 1));
	CHECK_EQ(timed_busy(&t), ARMED);
	CHECK_EQ(kthread_start_worker(worker, NULL), 0);
	WAIT_UNTIL(atomic_load(&t.runs) && atomic_load(&armed_now.runs));
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

TEST(timer_that_runs_out_amid_a_callback_is_taken_afterwards)
{
	struct kthread_worker *worker = new_worker("amid");
	struct blocker b;
	struct timed t;

	blocker_occupy(&b, worker);
	timed_init(&t);
	CHECK(kthread_queue_delayed_work(worker, &t.dwork, 1));
	WAIT_UNTIL(kthread_delayed_work_remaining(&t.dwork) == 0);
	CHECK_EQ(atomic_load(&t.runs), 0);
	gate_open(&b.release[0]);
	WAIT_UNTIL(atomic_load(&t.runs));
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

struct drops {
	atomic_int count;
	void *last;
};

static void count_drop(struct kthread_worker *worker, struct kthread_work *work,
		       kthread_work_func_t func)
{
	struct drops *drops = kthread_worker_data(worker);

	CHECK(func == work->func);
	CHECK_EQ(kthread_work_busy(work), 0);
	atomic_fetch_add(&drops->count, 1);
	drops->last = work;
}

static const struct kthread_worker_ops count_drops = { .dropped = count_drop };

/* The struct is the caller's own: what it counted is looked at when it is destroyed. */
TEST(destroy_cancels_armed_timers_and_counts_them)
{
	struct kthread_worker worker;
	struct drops drops = { .count = 0 };
	struct blocker b;
	struct timed t[3];
	struct side flusher, destroyer;

	kthread_init_worker(&worker);
	kthread_worker_set_ops(&worker, &count_drops, &drops);
	CHECK_EQ(kthread_start_worker(&worker, NULL), 0);
	blocker_occupy(&b, &worker);
	for (int i = 0; i < 3; i++)
		timed_init(&t[i]);
	CHECK(kthread_queue_delayed_work(&worker, &t[0].dwork, HOUR));
	CHECK(kthread_queue_periodic_work(&worker, &t[1].dwork, HOUR, HOUR));
	CHECK(kthread_queue_delayed_work(&worker, &t[2].dwork, KTHREAD_FOREVER));
	side_start(&destroyer, side_destroy, &worker);
	/* At once, though the destruction waits for the callback. */
	WAIT_UNTIL(atomic_load(&drops.count) == 3);
	for (int i = 0; i < 3; i++)
		CHECK_EQ(timed_busy(&t[i]), 0);
	CHECK_EQ(kthread_mod_delayed_work_status(&worker, &t[0].dwork, 1), -ESHUTDOWN);
	CHECK_EQ(kthread_queue_delayed_work_status(&worker, &t[0].dwork, 1), -ESHUTDOWN);
	CHECK_EQ(kthread_queue_periodic_work_status(&worker, &t[0].dwork, 1, 1), -ESHUTDOWN);
	side_start(&flusher, side_flush_work, &t[0].dwork.work);
	CHECK_EQ(side_join(&flusher), 0);
	gate_open(&b.release[0]);
	CHECK_EQ(side_join(&destroyer), 0);
	CHECK_EQ(worker_stats(&worker).cancelled, 3);
	CHECK_EQ(worker_stats(&worker).delayed, 0);
	CHECK_EQ(worker_stats(&worker).executed, 1);
	CHECK_EQ(atomic_load(&drops.count), 3);
	CHECK_REFUSED(kthread_mod_delayed_work(&worker, &t[0].dwork, 1), ESHUTDOWN);
}

TEST(abandoned_worker_drops_what_is_pending_and_ends_after_its_callback)
{
	struct kthread_worker *worker = kthread_create_worker(0, "abandoned");
	struct drops drops = { .count = 0 };
	struct blocker b;
	struct counted c;
	struct timed t;
	struct side side;

	kthread_worker_set_ops(worker, &count_drops, &drops);
	CHECK_EQ(kthread_start_worker(worker, NULL), 0);
	blocker_occupy(&b, worker);
	counted_init(&c);
	timed_init(&t);
	CHECK(kthread_queue_work(worker, &c.work));
	CHECK(kthread_queue_delayed_work(worker, &t.dwork, HOUR));
	side_start(&side, side_flush_work, &c.work);
	side_settle(&side);
	kthread_abandon_worker(worker);
	CHECK_EQ(side_join(&side), 0);
	CHECK_EQ(atomic_load(&drops.count), 2);
	CHECK(!kthread_work_pending(&c.work));
	CHECK(!kthread_work_pending(&t.dwork.work));
	CHECK(!kthread_queue_work(worker, &c.work));
	CHECK_EQ(errno, ESHUTDOWN);
	kthread_abandon_worker(worker);
	kthread_abandon_worker(NULL);
	gate_open(&b.release[0]);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
	CHECK_EQ(atomic_load(&c.runs), 0);
}

TEST(destroy_without_thread_cancels_timers_and_drops_works)
{
	struct kthread_worker worker;
	struct drops drops = { .count = 0 };
	struct timed timer, listed;

	kthread_init_worker(&worker);
	kthread_worker_set_ops(&worker, &count_drops, &drops);
	timed_init(&timer);
	timed_init(&listed);
	CHECK(kthread_queue_delayed_work(&worker, &timer.dwork, HOUR));
	CHECK(kthread_queue_work(&worker, &listed.dwork.work));
	CHECK_EQ(kthread_destroy_worker(&worker), 0);
	CHECK_EQ(atomic_load(&drops.count), 2);
	CHECK_EQ(timed_busy(&timer) | timed_busy(&listed), 0);
	CHECK_EQ(worker_stats(&worker).cancelled, 2);
	CHECK_EQ(atomic_load(&timer.runs) + atomic_load(&listed.runs), 0);
}

TEST(close_cancels_armed_timers)
{
	struct kthread_worker *worker = new_worker("closed");
	struct blocker b;
	struct timed t;

	blocker_occupy(&b, worker);
	timed_init(&t);
	CHECK(kthread_queue_delayed_work(worker, &t.dwork, HOUR));
	kthread_close_worker(worker);
	CHECK_EQ(timed_busy(&t), 0);
	kthread_close_worker(worker);
	CHECK_EQ(kthread_flush_delayed_work(&t.dwork), 0);
	gate_open(&b.release[0]);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
	CHECK_EQ(atomic_load(&t.runs), 0);
}

/* Who waits for a timed run, put off, and its worker destroyed: it will not come. */
TEST(destroy_ends_the_flush_of_a_run_that_was_put_off)
{
	struct kthread_worker *worker = new_worker("flushed");
	struct blocker b;
	struct timed t;
	struct side side;

	blocker_occupy(&b, worker);
	timed_init(&t);
	CHECK(kthread_queue_work(worker, &t.dwork.work));
	side_start(&side, side_flush_work, &t.dwork.work);
	side_settle(&side);
	CHECK(kthread_mod_delayed_work(worker, &t.dwork, HOUR));
	kthread_close_worker(worker);
	CHECK_EQ(side_join(&side), 0);
	gate_open(&b.release[0]);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
	CHECK_EQ(atomic_load(&t.runs), 0);
}

TEST(worker_destroyed_with_timers_again_and_again)
{
	for (int i = 0; i < 200; i++) {
		struct kthread_worker *worker = new_worker("pool");
		struct timed t[5];

		for (int j = 0; j < 5; j++) {
			timed_init(&t[j]);
			CHECK(kthread_queue_delayed_work(worker, &t[j].dwork, (uint64_t)j * 20000));
		}
		CHECK_EQ(kthread_destroy_worker(worker), 0);
		for (int j = 0; j < 5; j++)
			CHECK_EQ(timed_busy(&t[j]), 0);
	}
}

TEST(initialised_statically)
{
	static DEFINE_KTHREAD_DELAYED_WORK(given, ignore);
	static DEFINE_KTHREAD_WORKER(worker);

	CHECK_EQ(kthread_start_worker(&worker, NULL), 0);
	CHECK(kthread_queue_delayed_work(&worker, &given, HOUR));
	CHECK_EQ(kthread_work_busy(&given.work), ARMED);
	CHECK_EQ(kthread_flush_delayed_work(&given), 0);
	CHECK_EQ(kthread_work_busy(&given.work), 0);
	CHECK_EQ(kthread_destroy_worker(&worker), 0);
}
