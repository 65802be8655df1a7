/* SPDX-License-Identifier: GPL-2.0-only */
/* Busy polling on and off; when a worker sleeps, and when nobody wakes it. */
#include "harness.h"
#include "worker_internal.h"

static void round_trips(uint32_t poll_ns, int rounds)
{
	struct kthread_worker *worker = kthread_create_worker(0, "poll");
	struct counted c;

	CHECK(worker);
	kthread_worker_set_busy_poll(worker, poll_ns);
	CHECK_EQ(kthread_start_worker(worker, NULL), 0);
	counted_init(&c);
	for (int i = 1; i <= rounds; i++) {
		CHECK(kthread_queue_work(worker, &c.work));
		CHECK_EQ(kthread_flush_work(&c.work), 0);
		CHECK_EQ(atomic_load(&c.runs), i);
	}
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

TEST(round_trips_without_polling)
{
	round_trips(0, 3000);
}

TEST(round_trips_with_polling)
{
	round_trips(KTHREAD_POLL_MAX_DEFAULT_NS, 3000);
	round_trips(1, 300);
	round_trips(UINT32_MAX, 300);
}

TEST(polling_set_amid_the_work)
{
	struct kthread_worker *worker = new_worker("amid");
	struct counted c;

	counted_init(&c);
	for (int i = 1; i <= 1000; i++) {
		kthread_worker_set_busy_poll(worker, i % 3 ? 0 : (uint32_t)i * 100);
		CHECK(kthread_queue_work(worker, &c.work));
		CHECK_EQ(kthread_flush_work(&c.work), 0);
	}
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

static void goes_to_sleep(uint32_t poll_ns)
{
	struct kthread_worker *worker = new_worker("sleeps");
	struct counted c;

	kthread_worker_set_busy_poll(worker, poll_ns);
	counted_init(&c);
	for (int i = 0; i < 20; i++) {
		uint64_t sleeps = worker_sleeps(worker);

		WAIT_UNTIL(tid_settled(worker_tid(worker)));
		CHECK(kthread_queue_work(worker, &c.work));
		CHECK_EQ(kthread_flush_work(&c.work), 0);
		WAIT_UNTIL(worker_sleeps(worker) > sleeps);
	}
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

TEST(idle_worker_goes_to_sleep)
{
	goes_to_sleep(0);
	goes_to_sleep(KTHREAD_POLL_MAX_DEFAULT_NS);
}

/* What it does while nothing happens is seen in its context switches: there are none. */
TEST(idle_worker_stays_asleep)
{
	struct kthread_worker *worker = new_worker("idle");
	uint64_t sleeps;
	struct counted c;
	long switches;

	counted_init(&c);
	CHECK(kthread_queue_work(worker, &c.work));
	CHECK_EQ(kthread_flush_work(&c.work), 0);
	do {
		sleeps = worker_sleeps(worker);
		nap();
		WAIT_UNTIL(tid_settled(worker_tid(worker)));
	} while (!sleeps || worker_sleeps(worker) != sleeps);
	nap();
	switches = voluntary_switches(worker_tid(worker));
	CHECK(switches >= 0);
	for (int i = 0; i < 1000; i++)
		nap();
	CHECK_EQ(voluntary_switches(worker_tid(worker)), switches);
	CHECK_EQ(worker_sleeps(worker), sleeps);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

static void busy_is_not_woken(uint32_t poll_ns)
{
	static struct counted c[1000];
	struct kthread_worker *worker = new_worker("busy");
	struct blocker b;
	uint64_t sleeps;

	kthread_worker_set_busy_poll(worker, poll_ns);
	blocker_occupy(&b, worker);
	sleeps = worker_sleeps(worker);
	for (int i = 0; i < 1000; i++) {
		counted_init(&c[i]);
		CHECK(kthread_queue_work(worker, &c[i].work));
		CHECK(!kthread_queue_work(worker, &c[i].work));
	}
	CHECK_EQ(worker_sleeps(worker), sleeps);
	gate_open(&b.release[0]);
	WAIT_UNTIL(atomic_load(&c[999].runs) == 1);
	/* One sleep after the last of them, at most; not one in between. */
	CHECK(worker_sleeps(worker) <= sleeps + 1);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

TEST(busy_worker_is_not_woken)
{
	busy_is_not_woken(0);
	busy_is_not_woken(KTHREAD_POLL_MAX_DEFAULT_NS);
}

TEST(counters_agree)
{
	struct kthread_worker *worker = new_worker("counts");
	struct kthread_worker_stats stats;
	struct counted c;

	counted_init(&c);
	for (int i = 1; i <= 500; i++) {
		CHECK(kthread_queue_work(worker, &c.work));
		CHECK_EQ(kthread_flush_work(&c.work), 0);
		kthread_worker_get_stats(worker, &stats);
		CHECK_EQ(stats.queued, i);
		CHECK_EQ(stats.executed, i);
		CHECK_EQ(stats.pending, 0);
		CHECK(stats.sleeps + stats.poll_hits <= (uint64_t)i + 1);
	}
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

/* ---- what a window of polling goes by ---- */

/* The one moment was not before the other, of whose clock there are the low bits. */
static bool lies_between(uint32_t moment, uint64_t from, uint64_t to)
{
	return moment - (uint32_t)from <= to - from;
}

TEST(getting_up_is_no_part_of_the_wait)
{
	uint64_t second = 1000000000, begin = park_clock_ns() - second;

	/* Woken after 50 us, and up a second later. */
	CHECK_EQ(kthread_waited_ns(begin, (uint32_t)(begin + 50000)), 50000);
	/* Woken before it began, so not by anybody: it waited until now. */
	CHECK(kthread_waited_ns(begin, (uint32_t)(begin - 1)) >= second);
	CHECK(kthread_waited_ns(begin, (uint32_t)(begin - second)) >= second);
	/* The bits that there are have come round since. */
	begin -= UINT64_C(1) << 32;
	CHECK(kthread_waited_ns(begin, (uint32_t)begin + 50000) > UINT64_C(1) << 32);
}

TEST(who_wakes_notes_when)
{
	struct kthread_worker *worker = new_worker("notes");
	uint64_t before, after, sleeps = 0;
	struct counted c;

	kthread_worker_set_busy_poll(worker, 0);
	counted_init(&c);
	WAIT_UNTIL(worker_sleeps(worker) && tid_settled(worker_tid(worker)));
	before = park_clock_ns();
	CHECK(kthread_queue_work(worker, &c.work));
	after = park_clock_ns();
	WAIT_UNTIL(atomic_load(&c.runs) == 1);
	CHECK(lies_between(atomic_load(&worker->woken_at), before, after));

	/* A flusher that sleeps until it is told. */
	do {
		struct blocker b;
		uint32_t told_at = atomic_load(&worker->told_at);

		blocker_occupy(&b, worker);
		CHECK(kthread_queue_work(worker, &c.work));
		gate_open(&b.release[0]);
		CHECK_EQ(kthread_flush_work(&c.work), 0);
		if (atomic_load(&worker->told_at) != told_at)
			sleeps++;
	} while (!sleeps);
	CHECK(lies_between(atomic_load(&worker->told_at), after, park_clock_ns()));
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}
