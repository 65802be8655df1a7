/* SPDX-License-Identifier: GPL-2.0-only */
/* A worker on somebody else's thread: run_pending, the wake hook, the descriptor. */
#include "timed.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/wait.h>

static struct kthread_worker *loop_worker(const char *name)
{
	struct kthread_worker *worker = kthread_create_worker(0, "%s", name);

	CHECK(worker);
	return worker;
}

static int side_run_pending(void *worker)
{
	return kthread_worker_run_pending(worker);
}

/* What runs */

TEST(run_pending_runs_what_is_pending_in_order_and_counts_it)
{
	struct kthread_worker *worker = loop_worker("order");
	struct counted c[5];

	CHECK_EQ(kthread_worker_run_pending(worker), 0);
	for (int i = 0; i < 5; i++) {
		counted_init(&c[i]);
		CHECK(kthread_queue_work(worker, &c[i].work));
	}
	CHECK_EQ(kthread_worker_run_pending(worker), 5);
	for (int i = 0; i < 5; i++) {
		CHECK_EQ(atomic_load(&c[i].order), atomic_load(&c[0].order) + (unsigned int)i);
		CHECK_EQ(atomic_load(&c[i].tid), own_tid());
	}
	CHECK_EQ(kthread_worker_run_pending(worker), 0);
	CHECK(!worker->task);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

TEST(run_pending_leaves_what_callbacks_queue_for_the_next)
{
	struct kthread_worker *worker = loop_worker("next");
	struct counted c;
	struct requeuer r;

	requeuer_init(&r, worker, 2);
	counted_init(&c);
	CHECK(kthread_queue_work(worker, &r.work));
	CHECK(kthread_queue_work(worker, &c.work));
	CHECK_EQ(kthread_worker_run_pending(worker), 2);
	CHECK_EQ(atomic_load(&r.runs), 1);
	CHECK(kthread_work_pending(&r.work));
	CHECK_EQ(kthread_worker_run_pending(worker), 1);
	CHECK_EQ(kthread_worker_run_pending(worker), 1);
	CHECK_EQ(kthread_worker_run_pending(worker), 0);
	CHECK_EQ(atomic_load(&r.runs), 3);
	requeuer_init(&r, worker, -1);
	CHECK(kthread_queue_work(worker, &r.work));
	for (int i = 0; i < 10; i++)
		CHECK_EQ(kthread_worker_run_pending(worker), 1);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

TEST(run_pending_runs_works_whose_timer_has_run_out)
{
	struct kthread_worker *worker = loop_worker("timers");
	struct timed due[100], later;
	uint64_t next;

	timed_init(&later);
	for (int i = 0; i < 100; i++) {
		timed_init(&due[i]);
		CHECK(kthread_queue_delayed_work(worker, &due[i].dwork, 1 + (uint64_t)i));
	}
	CHECK(kthread_queue_delayed_work(worker, &later.dwork, HOUR));
	next = kthread_worker_next_timer(worker);
	CHECK(next <= clock_ns());
	WAIT_UNTIL(kthread_delayed_work_remaining(&due[99].dwork) == 0);
	CHECK_EQ(kthread_worker_run_pending(worker), 100);
	for (int i = 1; i < 100; i++)
		CHECK_EQ(atomic_load(&due[i].order), atomic_load(&due[0].order) + (unsigned int)i);
	CHECK_EQ(timed_busy(&later), ARMED);
	CHECK(kthread_worker_next_timer(worker) > clock_ns());
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

/* However short its period, a tick that comes due amid the round is the next one's. */
TEST(run_pending_with_a_short_periodic_work_returns)
{
	struct kthread_worker *worker = loop_worker("periodic");
	struct timed t;

	timed_init(&t);
	CHECK(kthread_queue_periodic_work(worker, &t.dwork, 0, 1));
	for (int i = 1; i <= 50; i++) {
		WAIT_UNTIL(kthread_work_pending(&t.dwork.work));
		CHECK_EQ(kthread_worker_run_pending(worker), 1);
		CHECK_EQ(atomic_load(&t.runs), i);
	}
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

struct looks {
	struct kthread_work work;
	struct kthread_worker *worker, *current;
	struct kthread_work *current_work;
	int nested, nested_other, serve;
	struct kthread_worker *other;
};

static void look_run(struct kthread_work *work)
{
	struct looks *l = (struct looks *)work;

	l->current = kthread_current_worker();
	l->current_work = kthread_current_work();
	l->nested = kthread_worker_run_pending(l->worker);
	l->nested_other = kthread_worker_run_pending(l->other);
}

TEST(callback_of_run_pending_knows_its_worker_and_may_not_run_another)
{
	struct looks l = { .worker = loop_worker("looks"), .other = loop_worker("other") };

	kthread_init_work(&l.work, look_run);
	CHECK(kthread_queue_work(l.worker, &l.work));
	CHECK_EQ(kthread_worker_run_pending(l.worker), 1);
	CHECK(l.current == l.worker);
	CHECK(l.current_work == &l.work);
	CHECK_EQ(l.nested, -EBUSY);
	CHECK_EQ(l.nested_other, -EBUSY);
	CHECK(!kthread_current_worker());
	CHECK_EQ(kthread_destroy_worker(l.worker), 0);
	CHECK_EQ(kthread_destroy_worker(l.other), 0);
}

/* Who is refused */

static void run_in_child(struct kthread_worker *worker)
{
	int status;
	pid_t child;

	fflush(NULL);
	child = fork();
	CHECK(child >= 0);
	if (!child) {
		alarm(20);
		CHECK_EQ(kthread_worker_run_pending(worker), -ESRCH);
		CHECK_EQ(kthread_worker_fd(worker), -ESRCH);
		CHECK_EQ(kthread_destroy_worker(worker), 0);
		_exit(0);
	}
	CHECK_EQ(waitpid(child, &status, 0), child);
	CHECK(WIFEXITED(status) && !WEXITSTATUS(status));
}

TEST(run_pending_is_refused)
{
	struct kthread_worker *worker = new_worker("busy"), own;

	CHECK_EQ(kthread_worker_run_pending(NULL), -EINVAL);
	CHECK_EQ(kthread_worker_set_wake(NULL, NULL), -EINVAL);
	CHECK_EQ(kthread_worker_fd(NULL), -EINVAL);
	CHECK_EQ(kthread_worker_run_pending(worker), -EBUSY);
	CHECK_EQ(kthread_worker_set_wake(worker, NULL), -EBUSY);
	CHECK_EQ(kthread_stop_worker(worker), 0);
	CHECK_EQ(kthread_worker_run_pending(worker), 0);
	if (!UNDER_TSAN)
		run_in_child(worker);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
	kthread_init_worker(&own);
	CHECK_EQ(kthread_destroy_worker(&own), 0);
	CHECK_EQ(kthread_worker_run_pending(&own), -ESHUTDOWN);
	CHECK_EQ(kthread_worker_fd(&own), -ESHUTDOWN);
}

TEST(two_threads_at_once_one_is_refused)
{
	struct kthread_worker *worker = loop_worker("two");
	struct blocker b;
	struct counted c;
	struct side side;

	blocker_init(&b);
	counted_init(&c);
	CHECK(kthread_queue_work(worker, &b.work));
	CHECK(kthread_queue_work(worker, &c.work));
	side_start(&side, side_run_pending, worker);
	gate_wait(&b.entered[0]);
	CHECK_EQ(kthread_worker_run_pending(worker), -EBUSY);
	CHECK_EQ(kthread_start_worker(worker, NULL), -EBUSY);
	gate_open(&b.release[0]);
	CHECK_EQ(side_join(&side), 2);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

/* Freeze, stop, destroy take effect between two works */

TEST(frozen_worker_runs_nothing_until_thawed)
{
	struct kthread_worker *worker = loop_worker("frozen");
	struct counted c;
	struct timed t;

	counted_init(&c);
	timed_init(&t);
	CHECK_EQ(kthread_freeze_worker(worker), 0);
	CHECK(kthread_queue_delayed_work(worker, &t.dwork, 1));
	WAIT_UNTIL(kthread_delayed_work_remaining(&t.dwork) == 0);
	CHECK_EQ(kthread_worker_run_pending(worker), 0);
	CHECK_EQ(timed_busy(&t), ON_LIST); /* in front of what comes later */
	CHECK(kthread_queue_work(worker, &c.work));
	CHECK_EQ(kthread_worker_run_pending(worker), 0);
	kthread_thaw_worker(worker);
	CHECK_EQ(kthread_worker_run_pending(worker), 2);
	CHECK_EQ(atomic_load(&c.order), atomic_load(&t.order) + 1);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

static int side_freeze(void *worker)
{
	return kthread_freeze_worker(worker);
}

static void ended_between_two_works(int (*request)(void *), int left)
{
	struct kthread_worker *worker = loop_worker("between");
	struct side loop, side;
	struct counted c;
	struct blocker b;

	blocker_init(&b);
	counted_init(&c);
	CHECK(kthread_queue_work(worker, &b.work));
	CHECK(kthread_queue_work(worker, &c.work));
	side_start(&loop, side_run_pending, worker);
	gate_wait(&b.entered[0]);
	side_start(&side, request, worker);
	side_settle(&side);
	CHECK(!atomic_load(&side.returned));
	gate_open(&b.release[0]);
	CHECK_EQ(side_join(&loop), 2 - left);
	CHECK_EQ(side_join(&side), 0);
	CHECK_EQ(atomic_load(&c.runs), 1 - left);
	if (request == side_destroy)
		return;
	kthread_thaw_worker(worker);
	CHECK_EQ(kthread_worker_run_pending(worker), left);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

TEST(stop_amid_run_pending_keeps_the_rest_listed)
{
	ended_between_two_works(side_stop_worker, 1);
}

TEST(freeze_amid_run_pending_keeps_the_rest_listed)
{
	ended_between_two_works(side_freeze, 1);
}

/* As with a thread: what is pending is run, nothing more is taken. */
TEST(destroy_amid_run_pending_runs_the_rest)
{
	ended_between_two_works(side_destroy, 0);
}

static int side_run_until_destroyed(void *worker)
{
	return kthread_worker_run_pending(worker);
}

static int side_destroy_and_free(void *worker)
{
	int result = kthread_destroy_worker(worker);

	memset(worker, 0xa5, sizeof(struct kthread_worker));
	free(worker);
	return result;
}

static void wake_nobody(struct kthread_worker *worker)
{
	(void)worker;
}

/* The struct is the caller's: a destruction that has returned gives it back. */
TEST(worker_is_not_touched_by_run_pending_after_its_destruction)
{
	for (int round = 0; round < 300; round++) {
		struct kthread_worker *worker = aligned_alloc(64, (sizeof(*worker) + 63) / 64 * 64);
		struct side loop, destroyer;
		struct blocker b;

		CHECK(worker);
		kthread_init_worker(worker);
		CHECK_EQ(kthread_worker_set_wake(worker, wake_nobody), 0);
		blocker_init(&b);
		CHECK(kthread_queue_work(worker, &b.work));
		side_start(&loop, side_run_until_destroyed, worker);
		gate_wait(&b.entered[0]);
		side_start(&destroyer, side_destroy_and_free, worker);
		if (round % 2)
			side_settle(&destroyer);
		gate_open(&b.release[0]);
		CHECK_EQ(side_join(&destroyer), 0);
		CHECK_EQ(side_join(&loop), 1);
	}
}

/* Waiters */

TEST(flush_from_another_thread_is_ended_by_run_pending)
{
	struct kthread_worker *worker = loop_worker("flush");
	struct counted c;
	struct timed t;
	struct side one, all, timed;

	counted_init(&c);
	timed_init(&t);
	CHECK(kthread_queue_work(worker, &c.work));
	CHECK(kthread_queue_delayed_work(worker, &t.dwork, HOUR));
	side_start(&one, side_flush_work, &c.work);
	side_start(&all, side_flush_worker, worker);
	side_start(&timed, side_flush_work, &t.dwork.work);
	side_settle(&one);
	side_settle(&all);
	side_settle(&timed);
	CHECK(!atomic_load(&one.returned));
	CHECK_EQ(kthread_worker_run_pending(worker), 2);
	CHECK_EQ(side_join(&one), 0);
	CHECK_EQ(side_join(&all), 0);
	CHECK_EQ(side_join(&timed), 0);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

/* The wake hook */

static atomic_int wakes;

static void count_wake(struct kthread_worker *worker)
{
	(void)worker;
	atomic_fetch_add(&wakes, 1);
}

static struct kthread_worker *waking_worker(const char *name)
{
	struct kthread_worker *worker = loop_worker(name);

	atomic_store(&wakes, 0);
	CHECK_EQ(kthread_worker_set_wake(worker, count_wake), 0);
	return worker;
}

TEST(wake_is_called_once_until_run_pending)
{
	struct kthread_worker *worker = waking_worker("once");
	struct counted c[3];

	CHECK_EQ(atomic_load(&wakes), 0);
	for (int round = 1; round <= 3; round++) {
		for (int i = 0; i < 3; i++) {
			counted_init(&c[i]);
			CHECK(kthread_queue_work(worker, &c[i].work));
			CHECK(!kthread_queue_work(worker, &c[i].work));
			CHECK_EQ(atomic_load(&wakes), round);
		}
		CHECK_EQ(kthread_worker_run_pending(worker), 3);
		CHECK_EQ(kthread_worker_run_pending(worker), 0);
		CHECK_EQ(atomic_load(&wakes), round);
	}
	CHECK_EQ(kthread_worker_set_wake(worker, NULL), 0);
	CHECK(kthread_queue_work(worker, &c[0].work));
	CHECK_EQ(atomic_load(&wakes), 3);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

TEST(wake_set_with_something_pending_is_called_at_once)
{
	struct kthread_worker *worker = loop_worker("set");
	struct counted c;

	counted_init(&c);
	CHECK(kthread_queue_work(worker, &c.work));
	atomic_store(&wakes, 0);
	CHECK_EQ(kthread_worker_set_wake(worker, count_wake), 0);
	CHECK_EQ(atomic_load(&wakes), 1);
	CHECK_EQ(kthread_worker_run_pending(worker), 1);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

TEST(wake_is_called_for_what_a_callback_queued)
{
	struct kthread_worker *worker = waking_worker("left");
	struct requeuer r;

	requeuer_init(&r, worker, 2);
	CHECK(kthread_queue_work(worker, &r.work));
	CHECK_EQ(atomic_load(&wakes), 1);
	CHECK_EQ(kthread_worker_run_pending(worker), 1);
	CHECK_EQ(atomic_load(&wakes), 2);
	CHECK_EQ(kthread_worker_run_pending(worker), 1);
	CHECK_EQ(atomic_load(&wakes), 3);
	CHECK_EQ(kthread_worker_run_pending(worker), 1);
	CHECK_EQ(atomic_load(&wakes), 3);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

TEST(wake_is_called_when_the_earliest_timer_changes)
{
	struct kthread_worker *worker = waking_worker("earliest");
	struct timed first, earlier, later;

	timed_init(&first);
	timed_init(&earlier);
	timed_init(&later);
	CHECK(kthread_queue_delayed_work(worker, &first.dwork, 10 * HOUR));
	CHECK_EQ(atomic_load(&wakes), 1);
	CHECK_EQ(kthread_worker_run_pending(worker), 0);
	CHECK(kthread_queue_delayed_work(worker, &later.dwork, 20 * HOUR));
	CHECK_EQ(atomic_load(&wakes), 1);
	CHECK(kthread_queue_delayed_work(worker, &earlier.dwork, HOUR));
	CHECK_EQ(atomic_load(&wakes), 2);
	CHECK_EQ(kthread_worker_run_pending(worker), 0);
	CHECK_EQ(kthread_flush_delayed_work_timeout(&later.dwork, 0), -ETIMEDOUT); /* listed now */
	CHECK_EQ(atomic_load(&wakes), 3);
	CHECK_EQ(kthread_worker_run_pending(worker), 1);
	CHECK(kthread_mod_delayed_work(worker, &first.dwork, 0));
	CHECK_EQ(atomic_load(&wakes), 4);
	CHECK_EQ(kthread_worker_run_pending(worker), 1);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

/* The thread that looked at the timers is gone, and nobody else has asked for the next one. */
TEST(wake_is_called_when_a_thread_leaves_timers)
{
	struct kthread_worker *worker = waking_worker("leaves");
	struct timed t;

	timed_init(&t);
	CHECK_EQ(kthread_start_worker(worker, NULL), 0);
	CHECK_EQ(kthread_stop_worker(worker), 0);
	CHECK_EQ(atomic_load(&wakes), 0);
	CHECK_EQ(kthread_start_worker(worker, NULL), 0);
	CHECK(kthread_queue_delayed_work(worker, &t.dwork, HOUR));
	CHECK_EQ(atomic_load(&wakes), 0);
	CHECK_EQ(kthread_stop_worker(worker), 0);
	CHECK_EQ(atomic_load(&wakes), 1);
	for (int i = 0; i < 3; i++)
		CHECK_EQ(kthread_worker_run_pending(worker), 0);
	CHECK_EQ(atomic_load(&wakes), 1);
	CHECK(kthread_worker_next_timer(worker) != KTHREAD_FOREVER);
	/* So too for a hook that is new. */
	CHECK_EQ(kthread_worker_set_wake(worker, NULL), 0);
	CHECK_EQ(kthread_worker_set_wake(worker, count_wake), 0);
	CHECK_EQ(atomic_load(&wakes), 2);
	CHECK_EQ(kthread_worker_run_pending(worker), 0);
	CHECK_EQ(atomic_load(&wakes), 2);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

TEST(wake_is_called_by_a_thaw)
{
	struct kthread_worker *worker = waking_worker("thaw");
	struct counted c;

	counted_init(&c);
	CHECK_EQ(kthread_freeze_worker(worker), 0);
	CHECK_EQ(kthread_worker_run_pending(worker), 0);
	CHECK(kthread_queue_work(worker, &c.work));
	CHECK_EQ(kthread_worker_run_pending(worker), 0);
	atomic_store(&wakes, 0);
	kthread_thaw_worker(worker);
	CHECK_EQ(atomic_load(&wakes), 1);
	CHECK_EQ(kthread_worker_run_pending(worker), 1);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

static struct kthread_worker *handler_worker;
static struct counted handler_work;

static void queue_in_handler(int number)
{
	(void)number;
	kthread_queue_work(handler_worker, &handler_work.work);
}

static void handle_usr1(struct kthread_worker *worker)
{
	struct sigaction action = { .sa_handler = queue_in_handler };

	handler_worker = worker;
	counted_init(&handler_work);
	CHECK_EQ(sigaction(SIGUSR1, &action, NULL), 0);
}

TEST(wake_is_called_from_a_signal_handler_that_queues)
{
	struct kthread_worker *worker = waking_worker("handler");

	handle_usr1(worker);
	for (int i = 1; i <= 3; i++) {
		CHECK_EQ(raise(SIGUSR1), 0);
		CHECK_EQ(atomic_load(&wakes), i);
		CHECK_EQ(raise(SIGUSR1), 0);
		CHECK_EQ(atomic_load(&wakes), i);
		CHECK_EQ(kthread_worker_run_pending(worker), 1);
		CHECK_EQ(atomic_load(&handler_work.runs), i);
	}
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

/* No wake is lost between a round's end and the next queue, from however many threads. */

static struct gate_token {
	pthread_mutex_t mutex;
	pthread_cond_t cond;
	bool woken;
} token = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false };

static void leave_token(struct kthread_worker *worker)
{
	(void)worker;
	pthread_mutex_lock(&token.mutex);
	CHECK(!token.woken); /* once, until the round that follows has ended */
	token.woken = true;
	pthread_cond_signal(&token.cond);
	pthread_mutex_unlock(&token.mutex);
}

static void wait_for_token(void)
{
	pthread_mutex_lock(&token.mutex);
	while (!token.woken)
		pthread_cond_wait(&token.cond, &token.mutex);
	token.woken = false;
	pthread_mutex_unlock(&token.mutex);
}

static int side_queue_and_flush(void *arg)
{
	struct kthread_worker *worker = arg;
	struct counted c;

	counted_init(&c);
	for (int i = 1; i <= 300; i++) {
		CHECK(kthread_queue_work(worker, &c.work));
		CHECK_EQ(kthread_flush_work(&c.work), 0);
		CHECK_EQ(atomic_load(&c.runs), i);
	}
	return 0;
}

TEST(no_wake_is_lost)
{
	struct kthread_worker *worker = loop_worker("lost");
	struct side sides[3];
	int ran = 0;

	CHECK_EQ(kthread_worker_set_wake(worker, leave_token), 0);
	for (int i = 0; i < 3; i++)
		side_start(&sides[i], side_queue_and_flush, worker);
	while (ran < 900) {
		int n;

		wait_for_token();
		n = kthread_worker_run_pending(worker);
		CHECK(n >= 0);
		ran += n;
	}
	for (int i = 0; i < 3; i++)
		CHECK_EQ(side_join(&sides[i]), 0);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

/* The descriptor */

static int loop_fd(struct kthread_worker *worker)
{
	int fd = kthread_worker_fd(worker);

	if (fd == -ENOTSUP)
		return -1;
	CHECK(fd >= 0);
	return fd;
}

#define NEEDS_FD(fd)								\
	do {									\
		if ((fd) < 0)							\
			SKIP("no descriptors on this system");			\
	} while (0)

static bool readable(int fd, int timeout_ms)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	int n;

	do
		n = poll(&p, 1, timeout_ms);
	while (n < 0 && errno == EINTR);
	CHECK(n >= 0);
	CHECK(!(p.revents & (POLLERR | POLLNVAL)));
	return n;
}

TEST(fd_is_readable_while_something_is_to_be_done)
{
	struct kthread_worker *worker = loop_worker("fd");
	struct requeuer r;
	int fd = loop_fd(worker);

	NEEDS_FD(fd);
	CHECK_EQ(kthread_worker_fd(worker), fd);
	CHECK(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	CHECK(!readable(fd, 0));
	requeuer_init(&r, worker, 1);
	CHECK(kthread_queue_work(worker, &r.work));
	CHECK(readable(fd, -1));
	CHECK(readable(fd, 0)); /* until it is run, not until it is looked at */
	CHECK_EQ(kthread_worker_run_pending(worker), 1);
	CHECK(readable(fd, -1)); /* it has queued itself */
	CHECK_EQ(kthread_worker_run_pending(worker), 1);
	CHECK(!readable(fd, 0));
	CHECK_EQ(kthread_destroy_worker(worker), 0);
	CHECK_EQ(fcntl(fd, F_GETFD), -1);
	CHECK_EQ(errno, EBADF);
}

TEST(fd_made_with_something_pending_is_readable)
{
	struct kthread_worker *worker = loop_worker("pending");
	struct counted c;
	int fd;

	counted_init(&c);
	CHECK(kthread_queue_work(worker, &c.work));
	fd = loop_fd(worker);
	NEEDS_FD(fd);
	CHECK(readable(fd, 0));
	CHECK_EQ(kthread_worker_run_pending(worker), 1);
	CHECK(!readable(fd, 0));
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

TEST(fd_is_readable_when_a_timer_runs_out)
{
	struct kthread_worker *worker = loop_worker("timer");
	struct timed t, hour;
	int fd = loop_fd(worker);

	NEEDS_FD(fd);
	timed_init(&t);
	timed_init(&hour);
	CHECK(kthread_queue_delayed_work(worker, &hour.dwork, HOUR));
	CHECK(!readable(fd, 0)); /* there is nothing to be done yet */
	CHECK_EQ(kthread_worker_run_pending(worker), 0);
	CHECK(!readable(fd, 0));
	for (int i = 1; i <= 3; i++) {
		CHECK(kthread_queue_delayed_work(worker, &t.dwork, MS(2)));
		while (atomic_load(&t.runs) < i) {
			CHECK(readable(fd, -1));
			CHECK(kthread_worker_run_pending(worker) >= 0);
		}
		CHECK(!readable(fd, 0));
	}
	/* One that has run out already as the round ends. */
	CHECK(kthread_queue_delayed_work(worker, &t.dwork, 1));
	CHECK(readable(fd, -1));
	while (atomic_load(&t.runs) < 4) {
		CHECK(readable(fd, -1));
		CHECK(kthread_worker_run_pending(worker) >= 0);
	}
	CHECK_EQ(timed_busy(&hour), ARMED);
	CHECK(!readable(fd, 0));
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

TEST(fd_of_a_cancelled_timer_is_settled_by_run_pending)
{
	struct kthread_worker *worker = loop_worker("cancelled");
	struct timed t;
	int fd = loop_fd(worker);

	NEEDS_FD(fd);
	timed_init(&t);
	CHECK(kthread_queue_delayed_work(worker, &t.dwork, HOUR));
	CHECK_EQ(kthread_worker_run_pending(worker), 0);
	CHECK(kthread_cancel_delayed_work(&t.dwork));
	CHECK_EQ(kthread_worker_run_pending(worker), 0);
	CHECK(!readable(fd, 0));
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

TEST(fd_runs_a_periodic_work_at_its_rate)
{
	struct kthread_worker *worker = loop_worker("periodic");
	int fd = loop_fd(worker), ran = 0;
	struct timed t;

	NEEDS_FD(fd);
	timed_init(&t);
	CHECK(kthread_queue_periodic_work(worker, &t.dwork, MS(1), MS(1)));
	while (ran < 5) {
		CHECK(readable(fd, -1));
		ran += kthread_worker_run_pending(worker);
	}
	CHECK_EQ(atomic_load(&t.runs), 5);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

TEST(fd_of_a_frozen_worker_is_readable_once_thawed)
{
	struct kthread_worker *worker = loop_worker("frozen");
	struct counted c;
	int fd = loop_fd(worker);

	NEEDS_FD(fd);
	counted_init(&c);
	CHECK_EQ(kthread_freeze_worker(worker), 0);
	CHECK(kthread_queue_work(worker, &c.work));
	CHECK_EQ(kthread_worker_run_pending(worker), 0);
	CHECK(!readable(fd, 0)); /* there is nothing that may be done */
	kthread_thaw_worker(worker);
	CHECK(readable(fd, -1));
	CHECK_EQ(kthread_worker_run_pending(worker), 1);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

TEST(fd_wakes_a_poll_when_a_signal_handler_queues)
{
	struct kthread_worker *worker = loop_worker("handler");
	int fd = loop_fd(worker);

	NEEDS_FD(fd);
	handle_usr1(worker);
	for (int i = 1; i <= 3; i++) {
		CHECK(!readable(fd, 0));
		CHECK_EQ(raise(SIGUSR1), 0);
		CHECK(readable(fd, -1));
		CHECK_EQ(kthread_worker_run_pending(worker), 1);
		CHECK_EQ(atomic_load(&handler_work.runs), i);
	}
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

TEST(queue_with_a_descriptor_keeps_errno)
{
	struct kthread_worker *worker = loop_worker("errno");
	struct counted c;
	int fd = loop_fd(worker);

	NEEDS_FD(fd);
	counted_init(&c);
	errno = E2BIG;
	CHECK(kthread_queue_work(worker, &c.work));
	CHECK_EQ(kthread_worker_run_pending(worker), 1);
	CHECK_EQ(kthread_worker_run_pending(worker), 0);
	CHECK_EQ(errno, E2BIG);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

TEST(fd_loop_serves_producers_of_other_threads)
{
	struct kthread_worker *worker = loop_worker("served");
	struct side sides[3];
	int fd = loop_fd(worker), ran = 0;

	NEEDS_FD(fd);
	for (int i = 0; i < 3; i++)
		side_start(&sides[i], side_queue_and_flush, worker);
	while (ran < 900) {
		int n;

		CHECK(readable(fd, -1));
		n = kthread_worker_run_pending(worker);
		CHECK(n >= 0);
		ran += n;
	}
	for (int i = 0; i < 3; i++)
		CHECK_EQ(side_join(&sides[i]), 0);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

TEST(wake_takes_the_place_of_the_descriptor_and_closes_it)
{
	struct kthread_worker *worker = loop_worker("place");
	int before = count_fds(), fd = loop_fd(worker);
	struct counted c;

	NEEDS_FD(fd);
	counted_init(&c);
	CHECK_EQ(count_fds(), before + 3);
	atomic_store(&wakes, 0);
	CHECK_EQ(kthread_worker_set_wake(worker, count_wake), 0);
	CHECK_EQ(count_fds(), before);
	CHECK(kthread_queue_work(worker, &c.work));
	CHECK_EQ(atomic_load(&wakes), 1);
	CHECK(loop_fd(worker) >= 0);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
	CHECK_EQ(count_fds(), before);
}

TEST(fd_that_the_system_has_no_room_for_leaks_none)
{
	struct kthread_worker *worker = loop_worker("limit");
	struct rlimit old, few;
	int before, fd = loop_fd(worker);

	NEEDS_FD(fd);
	CHECK_EQ(kthread_worker_set_wake(worker, NULL), 0);
	before = count_fds();
	CHECK_EQ(getrlimit(RLIMIT_NOFILE, &old), 0);
	fd = dup(0);
	CHECK(fd >= 0);
	close(fd);
	/* The directory that counts them takes one for itself: look at it with the old limit. */
	for (int room = 0; room < 3; room++) {
		few = old;
		few.rlim_cur = (rlim_t)(fd + room);
		CHECK_EQ(setrlimit(RLIMIT_NOFILE, &few), 0);
		CHECK_EQ(kthread_worker_fd(worker), -EMFILE);
		CHECK_EQ(setrlimit(RLIMIT_NOFILE, &old), 0);
		CHECK_EQ(count_fds(), before);
	}
	CHECK(kthread_worker_fd(worker) >= 0);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
	CHECK_EQ(count_fds(), before);
}

TEST(fd_of_a_worker_with_a_thread_is_not_readable)
{
	struct kthread_worker *worker = new_worker("busy");
	int fd = loop_fd(worker);
	struct counted c;

	NEEDS_FD(fd);
	counted_init(&c);
	CHECK(kthread_queue_work(worker, &c.work));
	CHECK_EQ(kthread_flush_work(&c.work), 0);
	CHECK(!readable(fd, 0));
	CHECK_EQ(kthread_stop_worker(worker), 0);
	CHECK(kthread_queue_work(worker, &c.work));
	CHECK(readable(fd, -1));
	CHECK_EQ(kthread_worker_run_pending(worker), 1);
	CHECK(!readable(fd, 0));
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

/* A worker of a loop may get a thread, and be a loop's again. */
TEST(worker_with_a_descriptor_gets_a_thread_and_loses_it)
{
	struct kthread_worker *worker = loop_worker("thread");
	struct counted c;
	int fd = loop_fd(worker);

	NEEDS_FD(fd);
	counted_init(&c);
	CHECK_EQ(kthread_start_worker(worker, NULL), 0);
	CHECK(kthread_queue_work(worker, &c.work));
	CHECK_EQ(kthread_flush_work(&c.work), 0);
	CHECK_EQ(kthread_worker_run_pending(worker), -EBUSY);
	CHECK(!readable(fd, 0));
	CHECK_EQ(kthread_stop_worker(worker), 0);
	CHECK_EQ(kthread_worker_run_pending(worker), 0);
	CHECK(kthread_queue_work(worker, &c.work));
	CHECK(readable(fd, -1));
	CHECK_EQ(kthread_worker_run_pending(worker), 1);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}
