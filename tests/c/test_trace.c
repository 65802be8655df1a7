/* SPDX-License-Identifier: GPL-2.0-only */
/* The hooks of struct kthread_trace: which calls they see, in which order, on which thread. */
#include "timed.h"

enum point { QUEUE, START, END };

struct event {
	enum point point;
	struct kthread_worker *worker;
	const void *work;
	kthread_work_func_t func;
	int tid;
};

#define EVENTS 64

struct log {
	struct kthread_trace trace;
	pthread_mutex_t mutex;
	struct event events[EVENTS];
	int n;
};

static void note(const struct kthread_trace *trace, struct event event)
{
	struct log *log = (struct log *)trace;

	event.tid = own_tid();
	pthread_mutex_lock(&log->mutex);
	CHECK(log->n < EVENTS);
	log->events[log->n++] = event;
	pthread_mutex_unlock(&log->mutex);
}

static void note_queue(const struct kthread_trace *trace, struct kthread_worker *worker,
		       struct kthread_work *work)
{
	CHECK(kthread_work_pending(work));
	note(trace, (struct event){ QUEUE, worker, work, work->func, 0 });
}

static void note_start(const struct kthread_trace *trace, struct kthread_worker *worker,
		       struct kthread_work *work)
{
	note(trace, (struct event){ START, worker, work, work->func, 0 });
}

static void note_end(const struct kthread_trace *trace, struct kthread_worker *worker,
		     const void *work, kthread_work_func_t func)
{
	note(trace, (struct event){ END, worker, work, func, 0 });
}

#define LOG_INIT { { note_queue, note_start, note_end }, PTHREAD_MUTEX_INITIALIZER, { { 0 } }, 0 }

static int noted(struct log *log)
{
	int n;

	pthread_mutex_lock(&log->mutex);
	n = log->n;
	pthread_mutex_unlock(&log->mutex);
	return n;
}

static void check_event(struct log *log, int i, enum point point, struct kthread_worker *worker,
			const void *work, kthread_work_func_t func)
{
	CHECK(i < noted(log));
	CHECK_EQ(log->events[i].point, point);
	CHECK(log->events[i].worker == worker);
	CHECK(log->events[i].work == work);
	CHECK(log->events[i].func == func);
}

TEST(queued_work_is_traced_as_queue_start_end)
{
	struct kthread_worker *worker = kthread_create_worker(0, "trace");
	struct log log = LOG_INIT;
	struct counted c[2];

	CHECK(worker);
	kthread_worker_set_trace(worker, &log.trace);
	for (int i = 0; i < 2; i++) {
		counted_init(&c[i]);
		CHECK(kthread_queue_work(worker, &c[i].work));
		CHECK(!kthread_queue_work(worker, &c[i].work)); /* coalesced: no event */
	}
	CHECK_EQ(noted(&log), 2);
	CHECK_EQ(kthread_start_worker(worker, NULL), 0);
	CHECK_EQ(kthread_flush_worker(worker), 0);
	CHECK_EQ(noted(&log), 6);
	check_event(&log, 0, QUEUE, worker, &c[0], count_run);
	check_event(&log, 1, QUEUE, worker, &c[1], count_run);
	check_event(&log, 2, START, worker, &c[0], count_run);
	check_event(&log, 3, END, worker, &c[0], count_run);
	check_event(&log, 4, START, worker, &c[1], count_run);
	check_event(&log, 5, END, worker, &c[1], count_run);
	CHECK_EQ(log.events[0].tid, own_tid());
	CHECK_EQ(log.events[2].tid, worker_tid(worker));
	CHECK_EQ(log.events[3].tid, worker_tid(worker));
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

TEST(trace_of_null_is_none_and_hooks_of_null_are_none)
{
	struct kthread_worker *worker = new_worker("none");
	struct log log = LOG_INIT, ends = LOG_INIT;
	struct counted c;

	counted_init(&c);
	ends.trace.queue = NULL;
	ends.trace.execute_start = NULL;
	for (int i = 0; i < 3; i++) {
		kthread_worker_set_trace(worker, i == 0 ? &log.trace : i == 1 ? NULL : &ends.trace);
		CHECK(kthread_queue_work(worker, &c.work));
		CHECK_EQ(kthread_flush_work(&c.work), 0);
	}
	CHECK_EQ(noted(&log), 3);
	CHECK_EQ(noted(&ends), 1);
	check_event(&ends, 0, END, worker, &c, count_run);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

TEST(refused_and_cancelled_works_are_not_traced)
{
	struct kthread_worker *worker = kthread_create_worker(0, "refused");
	struct kthread_worker *other = kthread_create_worker(0, "other");
	struct log log = LOG_INIT, none = LOG_INIT;
	struct counted c;

	CHECK(worker && other);
	counted_init(&c);
	kthread_worker_set_trace(worker, &log.trace);
	kthread_worker_set_trace(other, &none.trace);
	CHECK(kthread_queue_work(worker, &c.work));
	CHECK_EQ(kthread_queue_work_status(other, &c.work), -EBUSY);
	CHECK(kthread_cancel_work(&c.work));
	CHECK(!kthread_disable_work_sync(&c.work));
	CHECK_EQ(kthread_queue_work_status(worker, &c.work), -ECANCELED);
	CHECK_EQ(noted(&log), 1);
	CHECK_EQ(noted(&none), 0);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
	CHECK_EQ(kthread_destroy_worker(other), 0);
}

/* Of a timer the queue is traced when it runs out, on the thread that finds it so. */
TEST(timer_that_runs_out_is_traced_on_the_workers_thread)
{
	struct kthread_worker *worker = new_worker("timer");
	struct log log = LOG_INIT;
	struct timed t;

	timed_init(&t);
	kthread_worker_set_trace(worker, &log.trace);
	CHECK(kthread_queue_delayed_work(worker, &t.dwork, HOUR));
	CHECK_EQ(noted(&log), 0);
	CHECK(kthread_mod_delayed_work(worker, &t.dwork, 1));
	WAIT_UNTIL(atomic_load(&t.runs));
	CHECK_EQ(kthread_flush_worker(worker), 0);
	CHECK_EQ(noted(&log), 3);
	check_event(&log, 0, QUEUE, worker, &t, timed_run);
	CHECK_EQ(log.events[0].tid, worker_tid(worker));
	check_event(&log, 1, START, worker, &t, timed_run);
	check_event(&log, 2, END, worker, &t, timed_run);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

static void free_run(struct kthread_work *work)
{
	free(work);
}

TEST(end_of_a_work_freed_by_its_callback_gets_the_address)
{
	struct kthread_worker *worker = new_worker("freed");
	struct kthread_work *work = malloc(sizeof(*work));
	uintptr_t address = (uintptr_t)work;
	struct log log = LOG_INIT;

	CHECK(work);
	kthread_init_work(work, free_run);
	kthread_worker_set_trace(worker, &log.trace);
	CHECK(kthread_queue_work(worker, work));
	CHECK_EQ(kthread_flush_worker(worker), 0);
	CHECK_EQ(noted(&log), 3);
	check_event(&log, 2, END, worker, (const void *)address, free_run);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

/* One callback for several works: each run is traced. */
static struct kthread_worker *looping;
static atomic_int looped;

static void loop_run(struct kthread_work *work)
{
	do
		atomic_fetch_add(&looped, 1);
	while ((work = kthread_next_work(looping, loop_run)));
}

TEST(runs_of_a_loop_are_traced_one_by_one)
{
	struct kthread_worker *worker = kthread_create_worker(0, "loop");
	struct kthread_work works[3];
	struct log log = LOG_INIT;
	struct kthread_batch batch;

	CHECK(worker);
	looping = worker;
	kthread_worker_set_trace(worker, &log.trace);
	kthread_batch_begin(&batch, worker);
	for (int i = 0; i < 3; i++) {
		kthread_init_work(&works[i], loop_run);
		CHECK_EQ(kthread_batch_add(&batch, &works[i]), 1);
	}
	kthread_batch_end(&batch);
	CHECK_EQ(kthread_start_worker(worker, NULL), 0);
	CHECK_EQ(kthread_flush_worker(worker), 0);
	CHECK_EQ(atomic_load(&looped), 3);
	CHECK_EQ(noted(&log), 9);
	for (int i = 0; i < 3; i++) {
		check_event(&log, i, QUEUE, worker, &works[i], loop_run);
		check_event(&log, 3 + 2 * i, START, worker, &works[i], loop_run);
		check_event(&log, 4 + 2 * i, END, worker, &works[i], loop_run);
	}
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

static atomic_int handled;

static void handler_queue(const struct kthread_trace *trace, struct kthread_worker *worker,
			  struct kthread_work *work)
{
	(void)trace, (void)worker, (void)work;
	atomic_fetch_add(&handled, 1);
}

static struct kthread_worker *handler_worker;
static struct counted handler_work;

static void queue_in_handler(int number)
{
	(void)number;
	kthread_queue_work(handler_worker, &handler_work.work);
}

TEST(queue_by_a_signal_handler_is_traced_in_it)
{
	static const struct kthread_trace trace = { .queue = handler_queue };
	struct sigaction action = { .sa_handler = queue_in_handler };

	handler_worker = new_worker("handler");
	counted_init(&handler_work);
	kthread_worker_set_trace(handler_worker, &trace);
	CHECK_EQ(sigaction(SIGUSR1, &action, NULL), 0);
	CHECK_EQ(raise(SIGUSR1), 0);
	CHECK_EQ(atomic_load(&handled), 1);
	CHECK_EQ(kthread_flush_work(&handler_work.work), 0);
	CHECK_EQ(kthread_destroy_worker(handler_worker), 0);
}

/* Set and unset at any time: a work sees all of its hooks, or none, or those between. */
static atomic_bool stop;

static int side_toggle(void *arg)
{
	static const struct kthread_trace trace = { .queue = handler_queue };
	struct kthread_worker *worker = arg;

	while (!atomic_load(&stop)) {
		kthread_worker_set_trace(worker, &trace);
		kthread_worker_set_trace(worker, NULL);
	}
	return 0;
}

TEST(trace_is_set_amid_the_work)
{
	struct kthread_worker *worker = new_worker("amid");
	struct counted c;
	struct side side;

	counted_init(&c);
	atomic_store(&stop, false);
	side_start(&side, side_toggle, worker);
	for (int i = 0; i < 2000; i++) {
		CHECK(kthread_queue_work(worker, &c.work));
		CHECK_EQ(kthread_flush_work(&c.work), 0);
	}
	atomic_store(&stop, true);
	CHECK_EQ(side_join(&side), 0);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

TEST(worker_made_anew_is_not_traced)
{
	struct log log = LOG_INIT;

	for (int i = 0; i < 40; i++) {
		struct kthread_worker *worker = new_worker("anew");
		struct counted c;
		int before = noted(&log);

		counted_init(&c);
		CHECK(kthread_queue_work(worker, &c.work));
		CHECK_EQ(kthread_flush_work(&c.work), 0);
		CHECK_EQ(noted(&log), before);
		kthread_worker_set_trace(worker, &log.trace);
		CHECK_EQ(kthread_destroy_worker(worker), 0);
	}
}
