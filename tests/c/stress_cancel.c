/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Cancel, modify, drain and destroy against what goes on at the same time. STRESS_ROUNDS,
 * STRESS_SEED.
 *
 * A queueing that was accepted ends in one run or in one cancel that says so. Each case
 * counts both sides: a queueing before the call, and takes it back when it was refused, so
 * that a run never finds the count at zero.
 */
#include "harness.h"

#include <poll.h>

#define HOUR MS(3600000)
#define CANCELLERS 8

/* A work whose accepted queueings are counted. */
struct owed {
	struct kthread_delayed_work dwork;
	atomic_long owed;	/* accepted, neither run nor cancelled */
	atomic_bool runs;	/* its callback, now */
	atomic_uint begun;
	unsigned int ended;	/* plain: a flush or a cancel orders it */
	unsigned int length;
};

static void settle_one(struct owed *o)
{
	CHECK(atomic_fetch_sub(&o->owed, 1) > 0);
}

static void run_owed(struct kthread_work *work)
{
	struct owed *o = (struct owed *)work;

	CHECK(!atomic_exchange(&o->runs, true));
	atomic_fetch_add(&o->begun, 1);
	settle_one(o);
	spin(o->length);
	o->ended++;
	atomic_store(&o->runs, false);
}

static void owed_init(struct owed *o)
{
	memset(o, 0, sizeof(*o));
	kthread_init_delayed_work(&o->dwork, run_owed);
}

static int queue_owed(struct kthread_worker *worker, struct owed *o, uint64_t delay_ns)
{
	int result;

	atomic_fetch_add(&o->owed, 1);
	result = kthread_queue_delayed_work_status(worker, &o->dwork, delay_ns);
	if (result <= 0)
		settle_one(o);
	return result;
}

/* By the call that has only errno for its reasons. */
static bool mod_owed(struct kthread_worker *worker, struct owed *o, uint64_t delay_ns)
{
	bool was_pending;

	atomic_fetch_add(&o->owed, 1);
	errno = 0;
	was_pending = kthread_mod_delayed_work(worker, &o->dwork, delay_ns);
	if (was_pending || errno)
		settle_one(o);
	return was_pending;
}

static bool cancel_owed(struct owed *o)
{
	bool dropped = kthread_cancel_delayed_work_sync(&o->dwork);

	if (dropped)
		settle_one(o);
	return dropped;
}

/* Threads that do one thing until told enough. */
static atomic_bool enough;

struct rival {
	struct side side;
	struct kthread_worker *worker;
	struct owed *o;
	uint64_t random;
	unsigned int rounds;
};

static void rivals_start(struct rival *rivals, int n, int (*fn)(void *),
			 struct kthread_worker *worker, struct owed *o, uint64_t seed)
{
	for (int i = 0; i < n; i++) {
		rivals[i].worker = worker;
		rivals[i].o = o;
		rivals[i].random = seed + 7919u * (unsigned int)(i + 1);
		rivals[i].rounds = 0;
		side_start(&rivals[i].side, fn, &rivals[i]);
	}
}

static void rivals_end(struct rival *rivals, int n)
{
	for (int i = 0; i < n; i++)
		CHECK_EQ(side_join(&rivals[i].side), 0);
}

static int cancel_all_along(void *arg)
{
	struct rival *r = arg;

	while (!atomic_load(&enough)) {
		cancel_owed(r->o);
		r->rounds++;
		sched_yield();
		spin(stress_random(&r->random) >> 16);
	}
	return 0;
}

static int flush_all_along(void *arg)
{
	struct rival *r = arg;

	while (!atomic_load(&enough)) {
		if (stress_random(&r->random) & 1)
			CHECK_EQ(kthread_flush_delayed_work(&r->o->dwork), 0);
		else
			CHECK_EQ(kthread_flush_worker(r->worker), 0);
		r->rounds++;
	}
	return 0;
}

static uint64_t some_delay(uint64_t *random)
{
	static const uint64_t delays[] = { 0, 0, 1, 1000, 20000, 100000, HOUR, KTHREAD_FOREVER };

	return delays[stress_random(random) % 8];
}

static int mod_all_along(void *arg)
{
	struct rival *r = arg;

	while (!atomic_load(&enough)) {
		mod_owed(r->worker, r->o, some_delay(&r->random));
		r->rounds++;
		spin(stress_random(&r->random) >> 22);
	}
	return 0;
}

TEST(eight_cancellers_one_work)
{
	struct kthread_worker *worker = new_worker("cancelled");
	unsigned int rounds = stress_rounds(10000);
	struct rival cancellers[CANCELLERS];
	uint64_t random = stress_seed();
	struct owed o;

	test_needs_seconds(200);
	owed_init(&o);
	o.length = 300;
	atomic_store(&enough, false);
	rivals_start(cancellers, CANCELLERS, cancel_all_along, worker, &o, random);
	for (unsigned int i = 0; i < rounds; i++) {
		int result;

		/* Refused while any of the eight cancels, pending until one has, or it ran. */
		while ((result = queue_owed(worker, &o, some_delay(&random))) <= 0) {
			CHECK(!result || result == -ECANCELED);
			sched_yield();
		}
		spin(stress_random(&random) >> 22);
	}
	atomic_store(&enough, true);
	rivals_end(cancellers, CANCELLERS);
	cancel_owed(&o);
	CHECK_EQ(atomic_load(&o.owed), 0);
	CHECK_EQ(kthread_work_busy(&o.dwork.work), 0);
	printf("%u of %u ran\n", o.ended, rounds);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

/* Cancelled just as the worker takes it off: one of the two, and the run is over. */
TEST(cancel_against_dequeue)
{
	struct kthread_worker *worker = new_worker("dequeue");
	unsigned int rounds = stress_rounds(100000), told = 0;
	uint64_t random = stress_seed();
	struct owed o;

	test_needs_seconds(200);
	owed_init(&o);
	for (unsigned int i = 0; i < rounds; i++) {
		unsigned int before = o.ended;
		bool dropped;

		o.length = stress_random(&random) >> 24;
		CHECK_EQ(queue_owed(worker, &o, 0), 1);
		spin(stress_random(&random) >> (22 + i % 8));
		dropped = cancel_owed(&o);
		CHECK_EQ(o.ended, before + !dropped);
		CHECK_EQ(atomic_load(&o.owed), 0);
		CHECK_EQ(kthread_work_busy(&o.dwork.work), 0);
		told += dropped;
	}
	printf("%u of %u dropped\n", told, rounds);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

TEST(mod_against_expiry)
{
	struct kthread_worker *worker = new_worker("expiry");
	unsigned int rounds = stress_rounds(60000), late = 0;
	uint64_t random = stress_seed();
	struct owed o;

	test_needs_seconds(200);
	owed_init(&o);
	for (unsigned int i = 0; i < rounds; i++) {
		late += !mod_owed(worker, &o, 1 + (stress_random(&random) & 16383));
		spin(stress_random(&random) >> 19);
	}
	CHECK_EQ(kthread_flush_delayed_work(&o.dwork), 0);
	CHECK_EQ(atomic_load(&o.owed), 0);
	CHECK_EQ(o.ended, late);
	printf("%u of %u ran\n", late, rounds);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

TEST(mod_against_cancel_with_flushers)
{
	struct kthread_worker *worker = new_worker("modified");
	unsigned int rounds = stress_rounds(30000);
	struct rival flushers[2], cancellers[2], modifier;
	uint64_t random = stress_seed();
	struct owed o;

	test_needs_seconds(200);
	owed_init(&o);
	o.length = 300;
	atomic_store(&enough, false);
	rivals_start(flushers, 2, flush_all_along, worker, &o, random);
	rivals_start(cancellers, 2, cancel_all_along, worker, &o, random + 100);
	rivals_start(&modifier, 1, mod_all_along, worker, &o, random + 200);
	for (unsigned int i = 0; i < rounds; i++) {
		mod_owed(worker, &o, some_delay(&random));
		spin(stress_random(&random) >> 22);
	}
	atomic_store(&enough, true);
	rivals_end(&modifier, 1);
	rivals_end(cancellers, 2);
	/* A flusher may wait for a run that was put off: as the contract has it. */
	cancel_owed(&o);
	rivals_end(flushers, 2);
	CHECK_EQ(atomic_load(&o.owed), 0);
	CHECK_EQ(kthread_work_busy(&o.dwork.work), 0);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

/* Nothing of the work is touched after a cancel has returned. */
TEST(cancel_sync_then_free_at_once)
{
	struct kthread_worker *worker = new_worker("freed");
	unsigned int rounds = stress_rounds(60000);
	uint64_t random = stress_seed();

	test_needs_seconds(200);
	for (unsigned int i = 0; i < rounds; i++) {
		struct owed *o = malloc(sizeof(*o));

		CHECK(o);
		owed_init(o);
		o->length = stress_random(&random) >> 24;
		if (i & 1) {
			CHECK_EQ(queue_owed(worker, o, some_delay(&random)), 1);
		} else {
			atomic_store(&o->owed, 1000000);
			CHECK(kthread_queue_periodic_work(worker, &o->dwork, 0, 1000));
		}
		spin(stress_random(&random) >> 20);
		kthread_cancel_delayed_work_sync(&o->dwork);
		CHECK(!atomic_load(&o->runs));
		memset(o, 0x5a, sizeof(*o));
		free(o);
	}
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

/* Queues itself by one of three calls, for ever. */
static void run_and_requeue(struct kthread_work *work)
{
	struct kthread_worker *worker = kthread_current_worker();
	struct owed *o = (struct owed *)work;
	unsigned int run = atomic_fetch_add(&o->begun, 1);

	CHECK(!atomic_exchange(&o->runs, true));
	if (run % 3 == 0)
		kthread_queue_work(worker, work);
	else if (run % 3 == 1)
		kthread_queue_delayed_work(worker, &o->dwork, 1);
	else
		kthread_mod_delayed_work(worker, &o->dwork, 0);
	spin(o->length);
	o->ended++;
	atomic_store(&o->runs, false);
}

TEST(self_requeue_against_cancel)
{
	struct kthread_worker *worker = new_worker("again");
	unsigned int rounds = stress_rounds(60000);
	uint64_t random = stress_seed();
	struct owed o;

	test_needs_seconds(200);
	owed_init(&o);
	kthread_init_delayed_work(&o.dwork, run_and_requeue);
	for (unsigned int i = 0; i < rounds; i++) {
		unsigned int ended;

		o.length = stress_random(&random) >> 24;
		CHECK_EQ(kthread_queue_work_status(worker, &o.dwork.work), 1);
		spin(stress_random(&random) >> 20);
		kthread_cancel_delayed_work_sync(&o.dwork);
		ended = o.ended;
		CHECK_EQ(kthread_work_busy(&o.dwork.work), 0);
		CHECK_EQ(atomic_load(&o.begun), ended);
		spin(stress_random(&random) >> 22);
		CHECK_EQ(atomic_load(&o.begun), ended);
	}
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

/* A work that has a number of children, one queued by the other. */
struct chain {
	struct kthread_work work;
	int left;		/* plain: drain orders it */
	unsigned int runs;	/* plain */
};

static void run_chain(struct kthread_work *work)
{
	struct chain *chain = (struct chain *)work;

	chain->runs++;
	if (chain->left-- > 0)
		CHECK_EQ(kthread_queue_work_status(kthread_current_worker(), work), 1);
}

static int produce_until_enough(void *arg)
{
	struct rival *r = arg;
	struct owed o;

	owed_init(&o);
	while (!atomic_load(&enough)) {
		int result = queue_owed(r->worker, &o, some_delay(&r->random));

		CHECK(result >= 0 || result == -EAGAIN);
		r->rounds += result > 0;
		if (stress_random(&r->random) % 64 == 0)
			cancel_owed(&o);
	}
	cancel_owed(&o);
	CHECK_EQ(atomic_load(&o.owed), 0);
	return 0;
}

TEST(drain_against_producers)
{
	struct kthread_worker *worker = new_worker("drained");
	unsigned int rounds = stress_rounds(20000);
	uint64_t random = stress_seed();
	struct rival producers[3];
	struct chain chain = { .left = 0 };

	test_needs_seconds(200);
	kthread_init_work(&chain.work, run_chain);
	atomic_store(&enough, false);
	rivals_start(producers, 3, produce_until_enough, worker, NULL, random);
	for (unsigned int i = 0; i < rounds; i++) {
		unsigned int runs = chain.runs;
		int length = stress_random(&random) % 5;

		chain.left = length;
		CHECK_EQ(kthread_queue_work_status(worker, &chain.work), 1);
		CHECK_EQ(kthread_drain_worker(worker), 0);
		CHECK_EQ(chain.runs, runs + (unsigned int)length + 1);
		CHECK_EQ(kthread_work_busy(&chain.work), 0);
	}
	atomic_store(&enough, true);
	rivals_end(producers, 3);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

static void dropped_owed(struct kthread_worker *worker, struct kthread_work *work,
			 kthread_work_func_t func)
{
	(void)worker, (void)func;
	settle_one((struct owed *)work);
}

static const struct kthread_worker_ops counting_ops = { .dropped = dropped_owed };

static int mod_until_refused(void *arg)
{
	struct rival *r = arg;

	for (;;) {
		int status;

		atomic_fetch_add(&r->o->owed, 1);
		status = kthread_mod_delayed_work_status(r->worker, &r->o->dwork,
							 some_delay(&r->random));
		if (status)
			settle_one(r->o);
		if (status < 0)
			return status == -ESHUTDOWN ? 0 : status;
		spin(stress_random(&r->random) >> 18);
	}
}

TEST(destroy_with_armed_timers_against_mod)
{
	unsigned int rounds = stress_rounds(3000);
	uint64_t random = stress_seed();

	test_needs_seconds(200);
	for (unsigned int i = 0; i < rounds; i++) {
		struct kthread_worker mine;
		struct rival rivals[2];
		struct owed o[8];

		kthread_init_worker(&mine);
		kthread_worker_set_ops(&mine, &counting_ops, NULL);
		for (int j = 0; j < 8; j++) {
			owed_init(&o[j]);
			CHECK_EQ(queue_owed(&mine, &o[j], some_delay(&random)), 1);
		}
		if (i % 8)
			CHECK_EQ(kthread_start_worker(&mine, NULL), 0);
		rivals_start(&rivals[0], 1, mod_until_refused, &mine, &o[0], random);
		rivals_start(&rivals[1], 1, mod_until_refused, &mine, &o[i % 2], random + 1);
		spin(stress_random(&random) >> 14);
		CHECK_EQ(kthread_destroy_worker(&mine), 0);
		rivals_end(rivals, 2);
		for (int j = 0; j < 8; j++) {
			CHECK_EQ(kthread_work_busy(&o[j].dwork.work), 0);
			CHECK_EQ(atomic_load(&o[j].owed), 0);
		}
	}
}

/* Where a thread polls: each producer waits for its work, so that a lost wake shows at once. */
static int produce_and_wait(void *arg)
{
	struct rival *r = arg;
	struct owed o;

	owed_init(&o);
	for (unsigned int i = 0; i < r->rounds; i++) {
		uint64_t delay = stress_random(&r->random) % 4 ? 0 :
				 stress_random(&r->random) & 65535;

		CHECK_EQ(queue_owed(r->worker, &o, delay), 1);
		if (i & 1)
			spin(stress_random(&r->random) >> 22);
		else if (i & 2)
			CHECK_EQ(kthread_flush_worker(r->worker), 0);
		/* A timer is to wake the poller of itself, so half of them are not cut short. */
		if (i & 4)
			CHECK_EQ(kthread_flush_delayed_work(&o.dwork), 0);
		while (atomic_load(&o.owed))
			sched_yield();
		WAIT_UNTIL(!atomic_load(&o.runs));
	}
	return 0;
}

static _Atomic(int) producers_left;

static int produce_and_leave(void *arg)
{
	int result = produce_and_wait(arg);

	atomic_fetch_sub(&producers_left, 1);
	return result;
}

TEST(run_pending_against_producers_with_fd)
{
	struct kthread_worker *worker = kthread_create_worker(0, "polled");
	unsigned int rounds = stress_rounds(20000), polls = 0;
	uint64_t random = stress_seed();
	struct rival producers[3];
	struct pollfd fd = { .events = POLLIN };

	test_needs_seconds(200);
	CHECK(worker);
	fd.fd = kthread_worker_fd(worker);
	if (fd.fd == -ENOTSUP)
		SKIP("no descriptor on this system");
	CHECK(fd.fd >= 0);
	atomic_store(&producers_left, 3);
	for (int i = 0; i < 3; i++) {
		producers[i].worker = worker;
		producers[i].random = random + 7919u * (unsigned int)i;
		producers[i].rounds = rounds;
		side_start(&producers[i].side, produce_and_leave, &producers[i]);
	}
	while (atomic_load(&producers_left)) {
		/* The end of a producer wakes nobody: hence the time limit, then. */
		int ready = poll(&fd, 1, atomic_load(&producers_left) < 3 ? 10 : -1);

		CHECK(ready >= 0 || errno == EINTR);
		if (ready > 0)
			CHECK(kthread_worker_run_pending(worker) >= 0);
		polls++;
	}
	for (int i = 0; i < 3; i++)
		CHECK_EQ(side_join(&producers[i].side), 0);
	CHECK_EQ(kthread_worker_run_pending(worker), 0);
	CHECK_EQ(poll(&fd, 1, 0), 0);
	printf("%u polls\n", polls);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}


/* What a disabled work was told by the call that has only errno for its reasons. */
TEST(disabled_work_mod_says_why_nothing_is_queued)
{
	struct kthread_worker *worker = new_worker("disabled");
	struct owed o;

	owed_init(&o);
	CHECK(!kthread_disable_work_sync(&o.dwork.work));
	CHECK_REFUSED(kthread_mod_delayed_work(worker, &o.dwork, 0), ECANCELED);
	CHECK_REFUSED(kthread_mod_delayed_work(worker, &o.dwork, HOUR), ECANCELED);
	CHECK_EQ(kthread_work_busy(&o.dwork.work), KTHREAD_WORK_REFUSED);
	CHECK(kthread_enable_work(&o.dwork.work));
	CHECK_REFUSED(kthread_mod_delayed_work(worker, &o.dwork, HOUR), 0);
	CHECK(kthread_cancel_delayed_work(&o.dwork));
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

/* On two workers at once: it moves while it is idle, and is refused while it is not. */
static int mod_where_it_may_be(void *arg)
{
	struct rival *r = arg;

	for (unsigned int i = 0; i < r->rounds; i++) {
		bool was_pending = mod_owed(r->worker, r->o, some_delay(&r->random));

		CHECK(was_pending || !errno || errno == EBUSY);
		if (stress_random(&r->random) % 8 == 0)
			cancel_owed(r->o);
		spin(stress_random(&r->random) >> 20);
	}
	return 0;
}

TEST(mod_on_two_workers)
{
	struct kthread_worker *workers[2] = { new_worker("left"), new_worker("right") };
	uint64_t random = stress_seed();
	struct rival rivals[2];
	struct owed o;

	test_needs_seconds(200);
	owed_init(&o);
	for (int i = 0; i < 2; i++) {
		rivals[i].worker = workers[i];
		rivals[i].o = &o;
		rivals[i].random = random + 7919u * (unsigned int)i;
		rivals[i].rounds = stress_rounds(60000);
		side_start(&rivals[i].side, mod_where_it_may_be, &rivals[i]);
	}
	rivals_end(rivals, 2);
	cancel_owed(&o);
	CHECK_EQ(atomic_load(&o.owed), 0);
	for (int i = 0; i < 2; i++)
		CHECK_EQ(kthread_destroy_worker(workers[i]), 0);
}

/* A flush of the worker waits for what is listed: what is put off is so no more. */
TEST(worker_flushed_mod_puts_off_the_last)
{
	struct kthread_worker *worker = kthread_create_worker(0, "put off");
	struct side flusher, second;
	struct owed o;

	CHECK(worker);
	owed_init(&o);
	for (int i = 0; i < 2; i++) {
		CHECK_EQ(queue_owed(worker, &o, 0), 1);
		side_start(&flusher, side_flush_worker, worker);
		side_start(&second, side_flush_worker, worker);
		side_settle(&flusher);
		side_settle(&second);
		CHECK(!atomic_load(&flusher.returned) && !atomic_load(&second.returned));
		CHECK(mod_owed(worker, &o, i ? HOUR : KTHREAD_FOREVER));
		CHECK_EQ(side_join(&flusher), 0);
		CHECK_EQ(side_join(&second), 0);
		CHECK(cancel_owed(&o));
	}
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

/* Its callback queues it with a delay: a flush cuts one timer short, not all that follow. */
static void run_and_delay(struct kthread_work *work)
{
	struct owed *o = (struct owed *)work;

	o->ended++;
	if (!kthread_current_worker())
		return;
	CHECK(kthread_queue_delayed_work_status(kthread_current_worker(), &o->dwork, HOUR) >= 0 ||
	      kthread_work_busy(work) & KTHREAD_WORK_REFUSED);
}

TEST(flush_waits_for_the_tick_it_cut_short_only)
{
	struct kthread_worker *worker = new_worker("ticks");
	unsigned int rounds = stress_rounds(60000);
	uint64_t random = stress_seed();
	struct owed o;

	test_needs_seconds(200);
	owed_init(&o);
	kthread_init_delayed_work(&o.dwork, run_and_delay);
	for (int periodic = 0; periodic < 2; periodic++) {
		if (periodic)
			CHECK(kthread_queue_periodic_work(worker, &o.dwork, HOUR, HOUR));
		else
			CHECK(kthread_queue_delayed_work(worker, &o.dwork, HOUR));
		for (unsigned int i = 0; i < rounds; i++) {
			CHECK_EQ(kthread_flush_delayed_work(&o.dwork), 0);
			spin(stress_random(&random) >> 24);
		}
		CHECK(kthread_cancel_delayed_work_sync(&o.dwork));
	}
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

/* Another thread destroys the worker just as a run_pending has left something to do. */
static int run_until_destroyed(void *arg)
{
	struct kthread_worker *worker = arg;
	int result;

	while ((result = kthread_worker_run_pending(worker)) >= 0)
		;
	return result == -ESHUTDOWN ? 0 : result;
}

static void run_for_ever(struct kthread_work *work)
{
	kthread_queue_work(kthread_current_worker(), work);
}

static void wake_nobody(struct kthread_worker *worker)
{
	(void)worker;
}

TEST(run_pending_against_destroy_with_a_wake_hook)
{
	unsigned int rounds = stress_rounds(10000);
	uint64_t random = stress_seed();

	test_needs_seconds(200);
	for (unsigned int i = 0; i < rounds; i++) {
		struct kthread_worker *worker = kthread_create_worker(0, "looped");
		struct kthread_work work;
		struct side runner;

		CHECK(worker);
		kthread_hold_worker(worker);
		kthread_init_work(&work, run_for_ever);
		/* Where there are no descriptors the first call fails, and the hook is set. */
		if (!(i & 1) || kthread_worker_fd(worker) < 0)
			CHECK_EQ(kthread_worker_set_wake(worker, wake_nobody), 0);
		CHECK(kthread_queue_work(worker, &work));
		side_start(&runner, run_until_destroyed, worker);
		spin(stress_random(&random) >> 14);
		CHECK_EQ(kthread_destroy_worker(worker), 0);
		CHECK_EQ(side_join(&runner), 0);
		CHECK_EQ(kthread_work_busy(&work), 0);
		kthread_release_worker(worker);
	}
}

TEST(timer_that_never_ends_is_seen_to_run)
{
	struct kthread_worker *worker = new_worker("for ever");
	struct owed o;

	owed_init(&o);
	CHECK(kthread_queue_delayed_work(worker, &o.dwork, KTHREAD_FOREVER));
	CHECK_EQ(kthread_work_busy(&o.dwork.work), KTHREAD_WORK_PENDING | KTHREAD_WORK_TIMED);
	CHECK_EQ(kthread_delayed_work_remaining(&o.dwork), KTHREAD_FOREVER);
	CHECK(kthread_cancel_delayed_work(&o.dwork));
	CHECK_EQ(kthread_work_busy(&o.dwork.work), 0);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

/* A callback begins two cancels, and ends first the one that it began first. */
struct two_cancels {
	struct kthread_work work;
	struct owed *first, *second;
};

static void cancel_both(struct kthread_work *work)
{
	struct two_cancels *two = (struct two_cancels *)work;
	static struct kthread_cancel first, second; /* what is there afterwards is ours */

	CHECK_EQ(kthread_cancel_begin(&first, &two->first->dwork.work), 0);
	CHECK_EQ(kthread_cancel_begin(&second, &two->second->dwork.work), 0);
	CHECK(first.dropped && second.dropped);
	CHECK_EQ(kthread_cancel_wait(&first, KTHREAD_FOREVER), 0);
	kthread_cancel_end(&first);
	memset(&first, 0x5a, sizeof(first));
	CHECK_EQ(kthread_cancel_wait(&second, KTHREAD_FOREVER), 0);
	kthread_cancel_end(&second);
	memset(&second, 0x5a, sizeof(second));
}

struct waiting {
	struct kthread_work work;
	struct kthread_worker *for_whom;
	int result;
};

static void wait_a_moment(struct kthread_work *work)
{
	struct waiting *w = (struct waiting *)work;

	w->result = kthread_flush_worker_timeout(w->for_whom, 1000);
}

TEST(cancels_begun_in_a_callback_end_in_any_order)
{
	struct kthread_worker *one = new_worker("one"), *other = new_worker("other");
	struct two_cancels two;
	struct waiting waiting = { .for_whom = one };
	struct owed first, second;
	struct counted pending;

	owed_init(&first);
	owed_init(&second);
	CHECK_EQ(queue_owed(other, &first, HOUR), 1);
	CHECK_EQ(queue_owed(other, &second, HOUR), 1);
	kthread_init_work(&two.work, cancel_both);
	two.first = &first;
	two.second = &second;
	CHECK(kthread_queue_work(one, &two.work));
	CHECK_EQ(kthread_flush_work(&two.work), 0);
	CHECK_EQ(kthread_freeze_worker(one), 0);
	counted_init(&pending);
	CHECK(kthread_queue_work(one, &pending.work));
	/* Who waits for it looks at what it waits for: at nothing any more. */
	kthread_init_work(&waiting.work, wait_a_moment);
	CHECK(kthread_queue_work(other, &waiting.work));
	CHECK_EQ(kthread_flush_work(&waiting.work), 0);
	CHECK_EQ(waiting.result, -ETIMEDOUT);
	kthread_thaw_worker(one);
	CHECK_EQ(kthread_destroy_worker(one), 0);
	CHECK_EQ(kthread_destroy_worker(other), 0);
}
