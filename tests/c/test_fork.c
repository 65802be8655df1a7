/* SPDX-License-Identifier: GPL-2.0-only */
/* Fork: the parent goes on; in the child old workers answer and new ones work. */
#include "harness.h"

#define STORMERS 4
#define WORKS 8

static struct kthread_worker *stormed;
static atomic_bool enough;

struct stormer {
	struct side side;
	struct counted c[WORKS];
	atomic_int queued[WORKS];
};

static int storm(void *arg)
{
	struct stormer *s = arg;

	for (unsigned int n = 0; !atomic_load(&enough); n++) {
		int status = kthread_queue_work_status(stormed, &s->c[n % WORKS].work);

		CHECK(status >= 0);
		atomic_fetch_add(&s->queued[n % WORKS], status);
		if (n % 64 == 0)
			CHECK_EQ(kthread_flush_work(&s->c[n % WORKS].work), 0);
	}
	return 0;
}

/* A child that hangs is ended by its alarm, and seen by its status. */
static pid_t fork_child(void)
{
	pid_t pid;

	child_makes_threads();
	fflush(NULL);
	pid = fork();
	CHECK(pid >= 0);
	if (!pid)
		alarm(15);
	return pid;
}

static void check_child(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0)
		CHECK_EQ(errno, EINTR);
	CHECK_EQ(WIFSIGNALED(status) ? WTERMSIG(status) : 0, 0);
	CHECK_EQ(WEXITSTATUS(status), 0);
}

static void new_worker_works(void)
{
	struct kthread_worker *worker;
	struct counted c;

	if (!child_makes_threads())
		return;
	worker = new_worker("child");
	counted_init(&c);
	for (int i = 0; i < 10; i++) {
		CHECK(kthread_queue_work(worker, &c.work));
		CHECK_EQ(kthread_flush_work(&c.work), 0);
	}
	CHECK_EQ(kthread_freeze_worker(worker), 0);
	CHECK(kthread_queue_work(worker, &c.work));
	kthread_thaw_worker(worker);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
	CHECK_EQ(atomic_load(&c.runs), 11);
}

static void child_of_the_storm(struct kthread_worker *quiet, struct counted *pending)
{
	struct counted c;

	counted_init(&c);
	CHECK_REFUSED(kthread_queue_work(stormed, &c.work), ESRCH);
	CHECK_EQ(kthread_queue_work_status(stormed, &c.work), -ESRCH);
	CHECK_REFUSED(kthread_queue_work(quiet, &c.work), ESRCH);
	CHECK_EQ(kthread_work_busy(&c.work), 0);
	CHECK_EQ(kthread_flush_work(&pending->work), -ESRCH);
	CHECK_EQ(kthread_flush_work_timeout(&pending->work, MS(1)), -ESRCH);
	CHECK_EQ(kthread_worker_fn(stormed), -ESRCH);
	CHECK_EQ(kthread_start_worker(quiet, NULL), -ESRCH);
	new_worker_works();
	CHECK_EQ(kthread_destroy_worker(stormed), 0);
	CHECK_EQ(kthread_destroy_worker(quiet), 0);
	new_worker_works();

	if (!child_makes_threads())
		return;
	/* A work that was refused by the old one is free for a new one. */
	struct kthread_worker *worker = new_worker("again");

	CHECK(kthread_queue_work(worker, &c.work));
	CHECK_EQ(kthread_flush_work(&c.work), 0);
	CHECK_EQ(atomic_load(&c.runs), 1);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

TEST(fork_amid_a_storm_of_queueing)
{
	struct kthread_worker *quiet = kthread_create_worker(0, "quiet");
	static struct stormer stormers[STORMERS];
	struct counted pending;

	test_needs_seconds(60);
	CHECK(quiet);
	counted_init(&pending);
	CHECK(kthread_queue_work(quiet, &pending.work));
	stormed = new_worker("stormed");
	atomic_store(&enough, false);
	for (int i = 0; i < STORMERS; i++) {
		for (int j = 0; j < WORKS; j++)
			counted_init(&stormers[i].c[j]);
		side_start(&stormers[i].side, storm, &stormers[i]);
	}
	/* Amid the storm, not before it. */
	for (int i = 0; i < STORMERS; i++)
		WAIT_UNTIL(atomic_load(&stormers[i].c[WORKS - 1].runs));
	for (int i = 0; i < 50; i++) {
		pid_t pid = fork_child();

		if (!pid) {
			child_of_the_storm(quiet, &pending);
			_exit(0);
		}
		check_child(pid);
	}
	atomic_store(&enough, true);
	for (int i = 0; i < STORMERS; i++)
		CHECK_EQ(side_join(&stormers[i].side), 0);
	CHECK_EQ(kthread_flush_worker(stormed), 0);
	for (int i = 0; i < STORMERS; i++)
		for (int j = 0; j < WORKS; j++)
			CHECK_EQ(atomic_load(&stormers[i].c[j].runs),
				 atomic_load(&stormers[i].queued[j]));
	CHECK_EQ(kthread_start_worker(quiet, NULL), 0);
	CHECK_EQ(kthread_flush_work(&pending.work), 0);
	CHECK_EQ(atomic_load(&pending.runs), 1);
	CHECK_EQ(kthread_destroy_worker(quiet), 0);
	CHECK_EQ(kthread_destroy_worker(stormed), 0);
}

/* Busy, frozen, waited for, being destroyed: no state of the parent's may hang the child. */
TEST(child_destroys_workers_of_every_state)
{
	struct kthread_worker *busy = new_worker("busy"), *frozen = new_worker("frozen");
	struct kthread_worker *ending = new_worker("ending"), *asleep = new_worker("asleep");
	struct blocker b, e;
	struct counted c;
	struct side flusher, destroyer;
	pid_t pid;

	blocker_occupy(&b, busy);
	blocker_occupy(&e, ending);
	counted_init(&c);
	CHECK_EQ(kthread_freeze_worker(frozen), 0);
	CHECK(kthread_queue_work(frozen, &c.work));
	side_start(&flusher, side_flush_work, &b.work);
	side_start(&destroyer, side_destroy, ending);
	side_settle(&flusher);
	side_settle(&destroyer);
	pid = fork_child();
	if (!pid) {
		struct counted own;

		counted_init(&own);
		CHECK_EQ(kthread_flush_work(&c.work), -ESRCH);
		CHECK_EQ(kthread_queue_work_status(busy, &own.work), -ESRCH);
		CHECK_EQ(kthread_queue_work_status(frozen, &own.work), -ESRCH);
		CHECK_EQ(kthread_queue_work_status(asleep, &own.work), -ESRCH);
		CHECK(kthread_queue_work_status(ending, &own.work) < 0);
		CHECK_EQ(kthread_destroy_worker(busy), 0);
		CHECK_EQ(kthread_destroy_worker(frozen), 0);
		CHECK_EQ(kthread_destroy_worker(asleep), 0);
		CHECK_EQ(kthread_destroy_worker(ending), 0);
		new_worker_works();
		_exit(0);
	}
	check_child(pid);
	gate_open(&b.release[0]);
	gate_open(&e.release[0]);
	CHECK_EQ(side_join(&flusher), 0);
	CHECK_EQ(side_join(&destroyer), 0);
	kthread_thaw_worker(frozen);
	CHECK_EQ(kthread_flush_work(&c.work), 0);
	CHECK_EQ(atomic_load(&c.runs), 1);
	CHECK_EQ(kthread_destroy_worker(busy), 0);
	CHECK_EQ(kthread_destroy_worker(frozen), 0);
	CHECK_EQ(kthread_destroy_worker(asleep), 0);
}

static int run_until_stop(void *data)
{
	(void)data;
	while (!kthread_should_stop())
		kthread_sleep(KTHREAD_FOREVER);
	return 7;
}

TEST(child_stops_threads_of_the_parent)
{
	struct kthread *k = kthread_run(run_until_stop, NULL, "parent");
	pid_t pid;

	CHECK(k);
	pid = fork_child();
	if (!pid) {
		struct kthread *own;

		CHECK_EQ(kthread_stop(k), -ESRCH);
		if (!child_makes_threads())
			_exit(0);
		own = kthread_run(run_until_stop, NULL, "child");
		CHECK(own);
		CHECK_EQ(kthread_stop(own), 7);
		_exit(0);
	}
	check_child(pid);
	CHECK_EQ(kthread_stop(k), 7);
}

struct forker {
	struct kthread_work work;
	struct kthread_worker *worker;
	pid_t pid;
};

static void fork_in_callback(struct kthread_work *work)
{
	struct forker *f = (struct forker *)work;

	f->pid = fork();
	if (f->pid)
		return;
	alarm(15);
	struct counted c;

	counted_init(&c);
	CHECK_EQ(kthread_queue_work_status(f->worker, &c.work), -ESRCH);
	new_worker_works();
	_exit(0);
}

TEST(fork_in_a_callback)
{
	struct forker f = { .worker = new_worker("forks") };

	child_makes_threads();
	kthread_init_work(&f.work, fork_in_callback);
	for (int i = 0; i < 5; i++) {
		CHECK(kthread_queue_work(f.worker, &f.work));
		CHECK_EQ(kthread_flush_work(&f.work), 0);
		CHECK(f.pid > 0);
		check_child(f.pid);
	}
	CHECK_EQ(kthread_destroy_worker(f.worker), 0);
}

static struct gate producer_claimed, producer_goes_on;

static void hold_producer(const struct kthread_trace *trace, struct kthread_worker *worker,
			  struct kthread_work *work)
{
	(void)trace, (void)worker, (void)work;
	gate_open(&producer_claimed);
	gate_wait(&producer_goes_on);
}

static struct kthread_worker *held_worker;

static int side_queue(void *work)
{
	return kthread_queue_work_status(held_worker, work);
}

/* So many that a struct from the pool would be used again. */
static void destroy_and_make_others(struct kthread_worker *worker)
{
	CHECK_EQ(kthread_destroy_worker(worker), 0);
	for (int i = 0; i < 100; i++) {
		worker = kthread_create_worker(0, "other");
		CHECK(worker);
		CHECK_EQ(kthread_destroy_worker(worker), 0);
	}
}

/* Nobody pushes it in the child: a cancel there does not wait for that. */
TEST(child_cancels_a_work_claimed_and_not_yet_pushed_by_a_thread_of_the_parent)
{
	static const struct kthread_trace trace = { .queue = hold_producer };
	struct counted c;
	struct side producer;
	pid_t pid;

	gate_init(&producer_claimed);
	gate_init(&producer_goes_on);
	held_worker = new_worker("held");
	counted_init(&c);
	kthread_worker_set_trace(held_worker, &trace);
	side_start(&producer, side_queue, &c.work);
	gate_wait(&producer_claimed);
	for (int form = 0; form < 4; form++) {
		pid = fork_child();
		if (!pid) {
			CHECK_EQ(kthread_flush_work(&c.work), -ESRCH);
			if (form == 3)
				destroy_and_make_others(held_worker);
			if (form == 0)
				CHECK(kthread_cancel_work(&c.work));
			else if (form == 1)
				CHECK(kthread_cancel_work_sync(&c.work));
			else if (form == 2)
				CHECK(kthread_disable_work_sync(&c.work));
			else
				CHECK(kthread_cancel_work_sync(&c.work));
			CHECK(!kthread_work_pending(&c.work));
			CHECK(!kthread_cancel_work_sync(&c.work));
			CHECK_EQ(kthread_destroy_worker(held_worker), 0);
			_exit(0);
		}
		check_child(pid);
	}
	gate_open(&producer_goes_on);
	CHECK_EQ(side_join(&producer), 1);
	CHECK_EQ(kthread_flush_work(&c.work), 0);
	CHECK_EQ(atomic_load(&c.runs), 1);
	CHECK_EQ(kthread_destroy_worker(held_worker), 0);
}

static int call_too_late(void *arg)
{
	while (!atomic_load(&enough))
		CHECK_EQ(kthread_freeze_worker(arg), -ESHUTDOWN);
	return 0;
}

/* Each fork happens while other threads are at the lock of a worker that is destroyed, and held. */
TEST(fork_while_a_held_worker_is_called_too_late)
{
	struct kthread_worker *held = kthread_create_worker(0, "held");
	struct side sides[2];

	kthread_hold_worker(held);
	CHECK_EQ(kthread_destroy_worker(held), 0);
	atomic_store(&enough, false);
	for (int i = 0; i < 2; i++)
		side_start(&sides[i], call_too_late, held);
	for (int i = 0; i < 50; i++) {
		pid_t pid = fork_child();

		if (!pid) {
			CHECK_EQ(kthread_freeze_worker(held), -ESHUTDOWN);
			kthread_release_worker(held);
			_exit(0);
		}
		check_child(pid);
	}
	atomic_store(&enough, true);
	for (int i = 0; i < 2; i++)
		CHECK_EQ(side_join(&sides[i]), 0);
	kthread_release_worker(held);
}

TEST(fork_of_a_fork)
{
	struct kthread_worker *worker;
	pid_t pid;

	if (!child_makes_threads())
		SKIP("no threads in a forked child under %s",
		     UNDER_TSAN ? "the thread sanitizer" : test_emulator());
	worker = new_worker("first");
	pid = fork_child();
	if (!pid) {
		struct kthread_worker *second = new_worker("second");
		struct counted c;

		pid = fork_child();
		if (!pid) {
			counted_init(&c);
			CHECK_EQ(kthread_queue_work_status(worker, &c.work), -ESRCH);
			CHECK_EQ(kthread_queue_work_status(second, &c.work), -ESRCH);
			CHECK_EQ(kthread_destroy_worker(second), 0);
			CHECK_EQ(kthread_destroy_worker(worker), 0);
			new_worker_works();
			_exit(0);
		}
		check_child(pid);
		counted_init(&c);
		CHECK(kthread_queue_work(second, &c.work));
		CHECK_EQ(kthread_flush_work(&c.work), 0);
		CHECK_EQ(kthread_destroy_worker(second), 0);
		_exit(0);
	}
	check_child(pid);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}
