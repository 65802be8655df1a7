/* SPDX-License-Identifier: GPL-2.0-only */
/* A flush that is watched instead of slept for; and the ops enter and progress. */
#include "timed.h"

/* A worker with one watch that progress looks at, as an event loop's binding would. */
struct watched {
	struct kthread_worker *worker;
	struct kthread_watch watch;
	atomic_int begun;		/* what the begin returned; -1000: none */
	atomic_int told;		/* calls of progress */
	atomic_int over;		/* the watch was seen to be over, and ended */
	atomic_int entered, left;
	pthread_mutex_t lock;
};

static void look(struct watched *w)
{
	pthread_mutex_lock(&w->lock);
	if (atomic_load(&w->begun) == 1 && !atomic_load(&w->over) &&
	    kthread_watch_over(&w->watch)) {
		kthread_watch_end(&w->watch);
		atomic_store(&w->over, 1);
	}
	pthread_mutex_unlock(&w->lock);
}

static void on_progress(struct kthread_worker *worker)
{
	struct watched *w = kthread_worker_data(worker);

	atomic_fetch_add(&w->told, 1);
	look(w);
}

static void on_enter(struct kthread_worker *worker)
{
	struct watched *w = kthread_worker_data(worker);

	CHECK(kthread_current_worker() == worker);
	atomic_fetch_add(&w->entered, 1);
}

static void on_leave(struct kthread_worker *worker)
{
	atomic_fetch_add(&((struct watched *)kthread_worker_data(worker))->left, 1);
}

static const struct kthread_worker_ops ops = {
	.enter = on_enter,
	.leave = on_leave,
	.progress = on_progress,
};

static void watched_init(struct watched *w)
{
	memset(w, 0, sizeof(*w));
	pthread_mutex_init(&w->lock, NULL);
	atomic_store(&w->begun, -1000);
	w->worker = kthread_create_worker(0, "watched");
	CHECK(w->worker);
	kthread_worker_set_ops(w->worker, &ops, w);
}

static void watched_start(struct watched *w)
{
	watched_init(w);
	CHECK_EQ(kthread_start_worker(w->worker, NULL), 0);
}

/* progress may come before the begin has returned: it looks once that is noted. */
static int watch_work(struct watched *w, struct kthread_work *work)
{
	pthread_mutex_lock(&w->lock);
	atomic_store(&w->over, 0);
	atomic_store(&w->begun, kthread_watch_work(&w->watch, work));
	pthread_mutex_unlock(&w->lock);
	return atomic_load(&w->begun);
}

static int watch_worker(struct watched *w)
{
	pthread_mutex_lock(&w->lock);
	atomic_store(&w->over, 0);
	atomic_store(&w->begun, kthread_watch_worker(&w->watch, w->worker));
	pthread_mutex_unlock(&w->lock);
	return atomic_load(&w->begun);
}

TEST(what_is_idle_is_not_watched)
{
	struct watched w;
	struct counted c;

	watched_start(&w);
	counted_init(&c);
	CHECK_EQ(watch_work(&w, &c.work), 0);
	CHECK_EQ(watch_work(&w, NULL), 0);
	CHECK_EQ(watch_worker(&w), 0);
	CHECK(kthread_queue_work(w.worker, &c.work));
	CHECK_EQ(kthread_flush_work(&c.work), 0);
	CHECK_EQ(watch_work(&w, &c.work), 0);
	CHECK_EQ(atomic_load(&w.told), 0);
	CHECK_EQ(kthread_watch_worker(&w.watch, NULL), -EINVAL);
	CHECK_EQ(kthread_destroy_worker(w.worker), 0);
}

TEST(pending_work_is_told_after_its_run)
{
	struct blocker first, b;
	struct watched w;

	watched_start(&w);
	blocker_occupy(&first, w.worker);
	blocker_init(&b);
	CHECK(kthread_queue_work(w.worker, &b.work));
	CHECK_EQ(watch_work(&w, &b.work), 1);
	CHECK(!kthread_watch_over(&w.watch));
	gate_open(&first.release[0]);
	gate_wait(&b.entered[0]);
	CHECK(!atomic_load(&w.over));
	gate_open(&b.release[0]);
	WAIT_UNTIL(atomic_load(&w.over));
	CHECK_EQ(b.data, 1);
	CHECK_EQ(kthread_destroy_worker(w.worker), 0);
}

TEST(executing_work_is_told_after_its_run_and_not_after_the_next)
{
	struct watched w;
	struct requeuer r;
	struct blocker b;

	watched_start(&w);
	blocker_occupy(&b, w.worker);
	CHECK_EQ(watch_work(&w, &b.work), 1);
	requeuer_init(&r, w.worker, 3);
	CHECK(kthread_queue_work(w.worker, &r.work));
	gate_open(&b.release[0]);
	WAIT_UNTIL(atomic_load(&w.over));
	CHECK_EQ(kthread_destroy_worker(w.worker), 0);
}

TEST(timer_is_cut_short)
{
	struct watched w;
	struct timed t;

	watched_start(&w);
	timed_init(&t);
	CHECK(kthread_queue_delayed_work(w.worker, &t.dwork, HOUR));
	CHECK(watch_work(&w, &t.dwork.work) >= 0);
	WAIT_UNTIL(atomic_load(&w.over) || !atomic_load(&w.begun));
	CHECK_EQ(atomic_load(&t.runs), 1);
	CHECK_EQ(kthread_destroy_worker(w.worker), 0);
}

TEST(cancelled_run_is_told_on_the_cancelling_thread)
{
	struct counted c;
	struct watched w;

	watched_init(&w);
	counted_init(&c);
	CHECK(kthread_queue_work(w.worker, &c.work));
	CHECK_EQ(watch_work(&w, &c.work), 1);
	CHECK(kthread_cancel_work(&c.work));
	CHECK(atomic_load(&w.over));
	CHECK_EQ(kthread_destroy_worker(w.worker), 0);
}

TEST(dropped_run_is_told_on_the_destroying_thread)
{
	struct counted c[3];
	struct watched w;

	watched_init(&w);
	for (int i = 0; i < 3; i++) {
		counted_init(&c[i]);
		CHECK(kthread_queue_work(w.worker, &c[i].work));
	}
	kthread_hold_worker(w.worker);
	CHECK_EQ(watch_worker(&w), 1);
	CHECK_EQ(kthread_destroy_worker(w.worker), 0);
	CHECK(atomic_load(&w.over));
	kthread_release_worker(w.worker);
}

TEST(watched_worker_is_told_when_all_that_was_there_has_run)
{
	struct blocker first, later;
	struct counted c[5];
	struct watched w;

	watched_start(&w);
	blocker_occupy(&first, w.worker);
	for (int i = 0; i < 5; i++) {
		counted_init(&c[i]);
		CHECK(kthread_queue_work(w.worker, &c[i].work));
	}
	CHECK_EQ(watch_worker(&w), 1);
	blocker_init(&later);
	CHECK(kthread_queue_work(w.worker, &later.work));
	gate_open(&first.release[0]);
	gate_wait(&later.entered[0]);
	WAIT_UNTIL(atomic_load(&w.over));
	for (int i = 0; i < 5; i++)
		CHECK_EQ(atomic_load(&c[i].runs), 1);
	gate_open(&later.release[0]);
	CHECK_EQ(kthread_destroy_worker(w.worker), 0);
}

TEST(ended_watch_is_told_nothing_more)
{
	struct counted c;
	struct watched w;
	struct blocker b;

	watched_start(&w);
	blocker_occupy(&b, w.worker);
	counted_init(&c);
	CHECK(kthread_queue_work(w.worker, &c.work));
	CHECK_EQ(kthread_watch_work(&w.watch, &c.work), 1);
	kthread_watch_end(&w.watch);
	gate_open(&b.release[0]);
	CHECK_EQ(kthread_flush_work(&c.work), 0);
	CHECK_EQ(kthread_destroy_worker(w.worker), 0);
	CHECK_EQ(atomic_load(&w.told), 0);
}

/* The watch is begun in the last instant of the run: one of the two sees the other. */
TEST(no_end_is_missed)
{
	struct counted c;
	struct watched w;

	watched_start(&w);
	counted_init(&c);
	for (int i = 0; i < 20000; i++) {
		CHECK(kthread_queue_work(w.worker, &c.work));
		if (watch_work(&w, &c.work))
			WAIT_UNTIL(atomic_load(&w.over));
		CHECK_EQ(atomic_load(&c.runs), i + 1);
	}
	CHECK_EQ(kthread_destroy_worker(w.worker), 0);
}

TEST(watch_in_a_forked_child_is_refused_and_its_end_does_nothing)
{
	struct counted c;
	struct watched w;
	int status;
	pid_t pid;

	watched_init(&w);
	counted_init(&c);
	CHECK(kthread_queue_work(w.worker, &c.work));
	CHECK_EQ(watch_work(&w, &c.work), 1);
	pid = fork();
	if (!pid) {
		struct kthread_watch again;

		kthread_watch_end(&w.watch);
		if (kthread_watch_work(&again, &c.work) != -ESRCH)
			_exit(1);
		if (kthread_watch_worker(&again, w.worker) != -ESRCH)
			_exit(2);
		_exit(0);
	}
	CHECK(waitpid(pid, &status, 0) == pid);
	CHECK_EQ(status, 0);
	CHECK(kthread_cancel_work(&c.work));
	CHECK(atomic_load(&w.over));
	CHECK_EQ(kthread_destroy_worker(w.worker), 0);
}

TEST(enter_is_the_first_word_of_each_thread_and_leave_the_last)
{
	struct counted c;
	struct watched w;

	watched_init(&w);
	counted_init(&c);
	CHECK(kthread_queue_work(w.worker, &c.work));
	CHECK_EQ(kthread_worker_run_pending(w.worker), 1);
	CHECK_EQ(atomic_load(&w.entered), 1);
	CHECK_EQ(atomic_load(&w.left), 1);
	CHECK_EQ(kthread_start_worker(w.worker, NULL), 0);
	WAIT_UNTIL(atomic_load(&w.entered) == 2);
	CHECK_EQ(kthread_destroy_worker(w.worker), 0);
	CHECK_EQ(atomic_load(&w.left), 2);
}

