/* SPDX-License-Identifier: GPL-2.0-only */
/* Initialisers, the names of 2010, sizes. */
#include "harness.h"

static void nothing(struct kthread_work *work)
{
	(void)work;
}

static atomic_int static_runs;

static void static_run(struct kthread_work *work)
{
	(void)work;
	atomic_fetch_add(&static_runs, 1);
}

static DEFINE_KTHREAD_WORKER(static_worker);
static DEFINE_KTHREAD_WORK(static_work, static_run);

TEST(work_is_at_most_48_bytes)
{
	CHECK(sizeof(struct kthread_work) <= 48);
}

TEST(static_worker_and_work_run)
{
	CHECK_EQ(kthread_work_busy(&static_work), 0);
	CHECK_EQ(kthread_flush_work(&static_work), 0);
	CHECK(kthread_queue_work(&static_worker, &static_work));
	CHECK(kthread_work_pending(&static_work));
	CHECK_EQ(kthread_start_worker(&static_worker, NULL), 0);
	CHECK_EQ(kthread_flush_work(&static_work), 0);
	CHECK_EQ(atomic_load(&static_runs), 1);
	CHECK_EQ(kthread_destroy_worker(&static_worker), 0);
}

TEST(embedded_initialisers_run)
{
	struct {
		struct kthread_worker worker;
		struct kthread_work work;
	} device = {
		KTHREAD_WORKER_INIT(device.worker),
		KTHREAD_WORK_INIT(device.work, static_run),
	};
	int before = atomic_load(&static_runs);

	CHECK_EQ(kthread_start_worker(&device.worker, NULL), 0);
	CHECK(kthread_queue_work(&device.worker, &device.work));
	CHECK_EQ(kthread_flush_work(&device.work), 0);
	CHECK_EQ(atomic_load(&static_runs), before + 1);
	CHECK_EQ(kthread_destroy_worker(&device.worker), 0);
}

TEST(static_and_function_initialised_worker_agree)
{
	struct kthread_worker given = KTHREAD_WORKER_INIT(given), made;
	struct kthread_worker_stats a, b;

	memset(&made, 0xa5, sizeof(made));
	kthread_init_worker(&made);
	kthread_worker_get_stats(&given, &a);
	kthread_worker_get_stats(&made, &b);
	CHECK_EQ(a.queued + a.executed + a.pending + a.sleeps + a.poll_hits, 0);
	CHECK_EQ(b.queued + b.executed + b.pending + b.sleeps + b.poll_hits, 0);
	CHECK_EQ(atomic_load(&given.poll_max_ns), atomic_load(&made.poll_max_ns));
	CHECK(!atomic_load(&given.task) && !atomic_load(&made.task));
	CHECK_EQ(kthread_destroy_worker(&given), 0);
	CHECK_EQ(kthread_destroy_worker(&made), 0);
}

TEST(memory_of_any_content_is_initialised)
{
	struct kthread_worker worker;
	struct counted c;

	memset(&worker, 0xa5, sizeof(worker));
	memset(&c, 0x5a, sizeof(c));
	kthread_init_worker(&worker);
	kthread_init_work(&c.work, count_run);
	atomic_store(&c.runs, 0);
	CHECK_EQ(kthread_work_busy(&c.work), 0);
	CHECK(!kthread_work_pending(&c.work));
	CHECK_EQ(kthread_start_worker(&worker, NULL), 0);
	CHECK(kthread_queue_work(&worker, &c.work));
	CHECK_EQ(kthread_flush_work(&c.work), 0);
	CHECK_EQ(atomic_load(&c.runs), 1);
	CHECK_EQ(kthread_destroy_worker(&worker), 0);
}

TEST(idle_work_init_again_changes_its_function)
{
	struct kthread_worker *worker = new_worker("again");
	struct counted c;

	counted_init(&c);
	kthread_init_work(&c.work, nothing);
	CHECK(kthread_queue_work(worker, &c.work));
	CHECK_EQ(kthread_flush_work(&c.work), 0);
	CHECK_EQ(atomic_load(&c.runs), 0);
	kthread_init_work(&c.work, count_run);
	CHECK_EQ(kthread_work_busy(&c.work), 0);
	CHECK(kthread_queue_work(worker, &c.work));
	CHECK_EQ(kthread_flush_work(&c.work), 0);
	CHECK_EQ(atomic_load(&c.runs), 1);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

TEST(names_of_2010_work)
{
	struct kthread_worker worker;
	struct kthread *thread;
	struct counted c;

	memset(&c, 0, sizeof(c));
	init_kthread_worker(&worker);
	init_kthread_work(&c.work, count_run);
	thread = kthread_run(kthread_worker_fn, &worker, "patch");
	CHECK(thread);
	CHECK(queue_kthread_work(&worker, &c.work));
	flush_kthread_work(&c.work);
	CHECK_EQ(atomic_load(&c.runs), 1);
	CHECK(queue_kthread_work(&worker, &c.work));
	flush_kthread_worker(&worker);
	CHECK_EQ(atomic_load(&c.runs), 2);
	CHECK_EQ(kthread_stop(thread), 0);
	CHECK_EQ(kthread_destroy_worker(&worker), 0);
}

TEST(create_worker_refuses_bad_arguments)
{
	const char *volatile no_format = NULL;
	struct kthread_worker *worker;

	CHECK_REFUSED(kthread_create_worker(~0u, "flags"), EINVAL);
	CHECK_REFUSED(kthread_create_worker(KTW_FREEZABLE << 1, "flags"), EINVAL);
	CHECK_REFUSED(kthread_create_worker(0, no_format, 0), EINVAL);
	CHECK_REFUSED(kthread_run_worker(~0u, "flags"), EINVAL);
	CHECK_REFUSED(kthread_run_worker(0, no_format, 0), EINVAL);

	worker = kthread_create_worker(KTW_FREEZABLE, "flags");
	CHECK(worker);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
	worker = kthread_run_worker(KTW_FREEZABLE, "flags");
	CHECK(worker);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}
