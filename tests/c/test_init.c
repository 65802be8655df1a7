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

/* The cache lines that a worker is laid out in: what producers touch, what all look at, what it writes. */
_Static_assert(offsetof(struct kthread_worker, trace) == 64, "the producers' line is not one");
_Static_assert(offsetof(struct kthread_worker, current_work) == 128, "the shared line is not one");

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

/* Zeros: never initialised */

TEST(zeroed_worker_is_refused_by_every_call)
{
	static struct kthread_worker zeros;
	struct kthread_delayed_work dwork;
	struct kthread_drain drain;
	struct kthread_batch batch;
	struct kthread_flush flush;

	kthread_init_delayed_work(&dwork, count_run);
	CHECK_REFUSED(kthread_queue_work(&zeros, &dwork.work), EINVAL);
	kthread_batch_begin(&batch, &zeros);
	CHECK_EQ(kthread_batch_add(&batch, &dwork.work), -EINVAL);
	kthread_batch_end(&batch);
	CHECK_REFUSED(kthread_queue_delayed_work(&zeros, &dwork, 1), EINVAL);
	CHECK_EQ(kthread_queue_delayed_work_at(&zeros, &dwork, 1), -EINVAL);
	CHECK_REFUSED(kthread_queue_periodic_work(&zeros, &dwork, 1, 1), EINVAL);
	CHECK_REFUSED(kthread_mod_delayed_work(&zeros, &dwork, 1), EINVAL);
	CHECK_EQ(kthread_flush_worker(&zeros), -EINVAL);
	kthread_flush_begin_worker(&flush, &zeros);
	CHECK_EQ(kthread_flush_wait(&flush, KTHREAD_FOREVER), 0);
	CHECK_EQ(kthread_drain_worker(&zeros), -EINVAL);
	CHECK_EQ(kthread_drain_begin(&drain, &zeros), -EINVAL);
	CHECK_EQ(kthread_worker_fn(&zeros), -EINVAL);
	CHECK_EQ(kthread_start_worker(&zeros, NULL), -EINVAL);
	CHECK_EQ(kthread_stop_worker(&zeros), -EINVAL);
	CHECK_EQ(kthread_freeze_worker(&zeros), -EINVAL);
	kthread_thaw_worker(&zeros);
	CHECK_EQ(kthread_worker_run_pending(&zeros), -EINVAL);
	CHECK_EQ(kthread_worker_set_wake(&zeros, NULL), -EINVAL);
	CHECK_EQ(kthread_worker_fd(&zeros), -EINVAL);
	kthread_close_worker(&zeros);
	CHECK_EQ(kthread_destroy_worker(&zeros), -EINVAL);
	CHECK_EQ(kthread_work_busy(&dwork.work), 0);
	CHECK(!kthread_work_worker(&dwork.work));
}

TEST(zeroed_work_is_refused_by_every_call)
{
	struct kthread_worker *worker = new_worker("zeros");
	struct kthread_delayed_work zeros;
	struct kthread_cancel cancel;
	struct kthread_flush flush;
	struct kthread_batch batch;

	memset(&zeros, 0, sizeof(zeros));
	CHECK_REFUSED(kthread_queue_work(worker, &zeros.work), EINVAL);
	CHECK_EQ(kthread_queue_work_status(worker, &zeros.work), -EINVAL);
	kthread_batch_begin(&batch, worker);
	CHECK_EQ(kthread_batch_add(&batch, &zeros.work), -EINVAL);
	kthread_batch_end(&batch);
	CHECK_EQ(kthread_queue_delayed_work_status(worker, &zeros, 0), -EINVAL);
	CHECK_EQ(kthread_queue_delayed_work_status(worker, &zeros, 1), -EINVAL);
	CHECK_EQ(kthread_queue_periodic_work_status(worker, &zeros, 0, 1), -EINVAL);
	CHECK_EQ(kthread_mod_delayed_work_status(worker, &zeros, 0), -EINVAL);
	CHECK_EQ(kthread_flush_work(&zeros.work), -EINVAL);
	CHECK_EQ(kthread_flush_work_timeout(&zeros.work, 0), -EINVAL);
	CHECK_EQ(kthread_flush_delayed_work(&zeros), -EINVAL);
	CHECK_REFUSED(kthread_cancel_work(&zeros.work), EINVAL);
	CHECK_REFUSED(kthread_cancel_work_sync(&zeros.work), EINVAL);
	CHECK_EQ(kthread_cancel_begin(&cancel, &zeros.work), -EINVAL);
	CHECK_REFUSED(kthread_disable_work_sync(&zeros.work), EINVAL);
	CHECK_REFUSED(kthread_enable_work(&zeros.work), EINVAL);
	CHECK_EQ(kthread_work_busy(&zeros.work), 0);
	CHECK(!kthread_work_pending(&zeros.work));
	CHECK(!kthread_work_worker(&zeros.work));
	CHECK(kthread_delayed_work_remaining(&zeros) == KTHREAD_FOREVER);
	CHECK_EQ(kthread_delayed_work_missed(&zeros), 0);
	/* In steps there is nothing to be waited for. */
	kthread_flush_begin_work(&flush, &zeros.work);
	CHECK_EQ(kthread_flush_wait(&flush, KTHREAD_FOREVER), 0);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

TEST(work_without_a_function_is_refused)
{
	struct kthread_worker *worker = new_worker("function");
	struct kthread_delayed_work d;
	struct kthread_work work;

	kthread_init_work(&work, NULL);
	kthread_init_delayed_work(&d, NULL);
	CHECK_REFUSED(kthread_queue_work(worker, &work), EINVAL);
	CHECK_REFUSED(kthread_queue_delayed_work(worker, &d, 1), EINVAL);
	CHECK_REFUSED(kthread_mod_delayed_work(worker, &d, 1), EINVAL);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

/* Init of a work that is pending: once a warning, and left as it is. */

static char last_warning[256];

static void keep_warning(const char *message)
{
	snprintf(last_warning, sizeof(last_warning), "%s", message);
}

static void init_warns(struct kthread_work *work, bool delayed, unsigned int busy)
{
	kthread_warn_func_t before = kthread_set_warn_hook(keep_warning);
	unsigned long warnings = kthread_warnings();

	CHECK_EQ(kthread_work_busy(work), busy);
	last_warning[0] = 0;
	if (delayed)
		kthread_init_delayed_work((struct kthread_delayed_work *)work, nothing);
	else
		kthread_init_work(work, nothing);
	CHECK_EQ(kthread_warnings(), warnings + 1);
	CHECK(strstr(last_warning, "pending"));
	CHECK_EQ(kthread_work_busy(work), busy);
	kthread_set_warn_hook(before);
}

TEST(work_in_the_inbox_init_warns_and_leaves_it)
{
	struct kthread_worker *worker = new_worker("inbox");
	struct blocker b;
	struct counted c[3];

	blocker_occupy(&b, worker);
	for (int i = 0; i < 3; i++) {
		counted_init(&c[i]);
		CHECK(kthread_queue_work(worker, &c[i].work));
	}
	for (int i = 0; i < 3; i++)
		init_warns(&c[i].work, false, KTHREAD_WORK_PENDING);
	gate_open(&b.release[0]);
	CHECK_EQ(kthread_flush_worker(worker), 0);
	for (int i = 0; i < 3; i++)
		CHECK_EQ(atomic_load(&c[i].runs), 1);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

TEST(work_on_the_list_init_warns_and_leaves_it)
{
	struct kthread_worker *worker = kthread_create_worker(0, "list");
	struct kthread_worker_stats stats;
	struct counted c[3];

	CHECK(worker);
	for (int i = 0; i < 3; i++) {
		counted_init(&c[i]);
		CHECK(kthread_queue_work(worker, &c[i].work));
	}
	kthread_worker_get_stats(worker, &stats); /* takes them off the inbox */
	CHECK_EQ(stats.pending, 3);
	for (int i = 0; i < 3; i++)
		init_warns(&c[i].work, false, KTHREAD_WORK_PENDING);
	CHECK_EQ(kthread_start_worker(worker, NULL), 0);
	CHECK_EQ(kthread_flush_worker(worker), 0);
	for (int i = 0; i < 3; i++)
		CHECK_EQ(atomic_load(&c[i].runs), 1);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

static void delayed_static_run(struct kthread_work *work)
{
	static_run(work);
}

TEST(work_with_a_timer_init_warns_and_leaves_it)
{
	struct kthread_worker *worker = new_worker("timer");
	struct kthread_delayed_work d[5];
	int before = atomic_load(&static_runs);

	for (int i = 0; i < 5; i++) {
		kthread_init_delayed_work(&d[i], delayed_static_run);
		CHECK(kthread_queue_delayed_work(worker, &d[i], 3600000000000u + (unsigned int)i));
	}
	for (int i = 0; i < 5; i++)
		init_warns(&d[i].work, true, KTHREAD_WORK_PENDING | KTHREAD_WORK_TIMED);
	for (int i = 0; i < 5; i++)
		CHECK_EQ(kthread_flush_delayed_work(&d[i]), 0);
	CHECK_EQ(atomic_load(&static_runs), before + 5);
	/* Idle again, it may be. */
	kthread_init_delayed_work(&d[0], nothing);
	CHECK(kthread_queue_delayed_work(worker, &d[0], 0));
	CHECK_EQ(kthread_flush_delayed_work(&d[0]), 0);
	CHECK_EQ(atomic_load(&static_runs), before + 5);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

/* What memory holds may look like a work that is pending somewhere. */
TEST(copy_of_a_pending_work_is_initialised)
{
	struct kthread_worker *worker = kthread_create_worker(0, "copy");
	unsigned long warnings = kthread_warnings();
	struct counted c, copy;

	CHECK(worker);
	counted_init(&c);
	CHECK(kthread_queue_work(worker, &c.work));
	memcpy((void *)&copy, (void *)&c, sizeof(copy));
	kthread_init_work(&copy.work, count_run);
	CHECK_EQ(kthread_warnings(), warnings);
	CHECK_EQ(kthread_work_busy(&copy.work), 0);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
	memset((void *)&copy, 0xff, sizeof(copy));
	kthread_init_work(&copy.work, count_run);
	CHECK_EQ(kthread_warnings(), warnings);
	CHECK_EQ(kthread_work_busy(&copy.work), 0);
}

TEST(embedded_delayed_initialiser_runs)
{
	struct {
		int before;
		struct kthread_delayed_work dwork;
	} device = { 1, KTHREAD_DELAYED_WORK_INIT(device.dwork, static_run) };
	struct kthread_worker *worker = new_worker("embedded");
	int before = atomic_load(&static_runs);

	CHECK_EQ(kthread_work_busy(&device.dwork.work), 0);
	CHECK(!kthread_mod_delayed_work(worker, &device.dwork, 1));
	CHECK_EQ(kthread_flush_delayed_work(&device.dwork), 0);
	CHECK_EQ(atomic_load(&static_runs), before + 1);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

TEST(static_and_function_initialised_works_agree)
{
	struct kthread_delayed_work given = KTHREAD_DELAYED_WORK_INIT(given, nothing), made;

	memset(&made, 0xa5, sizeof(made));
	kthread_init_delayed_work(&made, nothing);
	CHECK(!memcmp(&given, &made, sizeof(made)));
	given.work = (struct kthread_work)KTHREAD_WORK_INIT(given.work, nothing);
	memset(&made, 0xa5, sizeof(made));
	kthread_init_work(&made.work, nothing);
	CHECK(!memcmp(&given.work, &made.work, sizeof(made.work)));
}
