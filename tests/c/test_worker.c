/* SPDX-License-Identifier: GPL-2.0-only */
/* Who serves a worker; stop, destroy, freeze of workers; the embedder's hooks. */
#include "harness.h"

static int serve(void *worker)
{
	return kthread_worker_fn(worker);
}

static atomic_int warned;

static void count_warning(const char *message)
{
	CHECK(message && *message);
	atomic_fetch_add(&warned, 1);
}

/* A callback that runs one function of the case's. */
struct call {
	struct kthread_work work;
	struct kthread_worker *worker;
	int (*fn)(struct call *call);
	void *arg;
	int result;
	struct gate entered;
	atomic_int runs;
};

static void call_run(struct kthread_work *work)
{
	struct call *call = (struct call *)work;

	gate_open(&call->entered);
	call->result = call->fn(call);
	atomic_fetch_add(&call->runs, 1);
}

static void call_init(struct call *call, struct kthread_worker *worker,
		      int (*fn)(struct call *), void *arg)
{
	memset(call, 0, sizeof(*call));
	kthread_init_work(&call->work, call_run);
	gate_init(&call->entered);
	call->worker = worker;
	call->fn = fn;
	call->arg = arg;
	call->result = 1;
}

/* Who serves */

TEST(threads_of_ones_own_serve_one_after_the_other)
{
	struct kthread_worker worker;
	struct counted c;
	struct side side;

	kthread_init_worker(&worker);
	counted_init(&c);
	for (int i = 1; i <= 10; i++) {
		CHECK(kthread_queue_work(&worker, &c.work));
		side_start(&side, serve, &worker);
		CHECK_EQ(kthread_flush_work(&c.work), 0);
		CHECK_EQ(atomic_load(&c.runs), i);
		CHECK_EQ(atomic_load(&c.tid), atomic_load(&side.tid));
		CHECK_EQ(worker_tid(&worker), atomic_load(&side.tid));
		CHECK_EQ(kthread_stop_worker(&worker), 0);
		CHECK_EQ(side_join(&side), 0);
		CHECK(!atomic_load(&worker.task));
	}
	CHECK_EQ(kthread_destroy_worker(&worker), 0);
	CHECK_EQ(kthread_worker_fn(&worker), -ESHUTDOWN);
	CHECK_EQ(kthread_start_worker(&worker, NULL), -ESHUTDOWN);
}

TEST(thread_of_ones_own_leaves_at_destroy)
{
	struct kthread_worker worker;
	struct counted c;
	struct side side;

	kthread_init_worker(&worker);
	counted_init(&c);
	side_start(&side, serve, &worker);
	CHECK(kthread_queue_work(&worker, &c.work));
	CHECK_EQ(kthread_flush_work(&c.work), 0);
	CHECK_EQ(kthread_destroy_worker(&worker), 0);
	CHECK_EQ(side_join(&side), 0);
	CHECK_EQ(atomic_load(&c.runs), 1);
}

static int look_at_current(struct call *call)
{
	struct kthread *k = kthread_current();

	CHECK(k);
	CHECK_EQ(kthread_tid(k), own_tid());
	CHECK(k == atomic_load(&call->worker->task));
	CHECK(!kthread_should_stop());
	return 0;
}

static int serve_and_look(void *worker)
{
	int result;

	CHECK(!kthread_current());
	result = kthread_worker_fn(worker);
	CHECK(!kthread_current());
	return result;
}

TEST(thread_of_ones_own_is_a_kthread_while_it_serves)
{
	struct kthread_worker worker;
	struct call call;
	struct side side;

	kthread_init_worker(&worker);
	call_init(&call, &worker, look_at_current, NULL);
	side_start(&side, serve_and_look, &worker);
	CHECK(kthread_queue_work(&worker, &call.work));
	CHECK_EQ(kthread_flush_work(&call.work), 0);
	CHECK_EQ(call.result, 0);
	CHECK_EQ(kthread_destroy_worker(&worker), 0);
	CHECK_EQ(side_join(&side), 0);
}

TEST(second_thread_is_refused_with_a_warning)
{
	struct kthread_worker *worker = new_worker("taken");
	unsigned long warnings = kthread_warnings();
	kthread_warn_func_t old = kthread_set_warn_hook(count_warning);
	struct counted c;

	atomic_store(&warned, 0);
	CHECK_EQ(kthread_worker_fn(worker), -EBUSY);
	CHECK_EQ(kthread_warnings(), warnings + 1);
	CHECK_EQ(atomic_load(&warned), 1);
	CHECK_EQ(kthread_start_worker(worker, NULL), -EBUSY);
	kthread_set_warn_hook(old);

	counted_init(&c);
	CHECK(kthread_queue_work(worker, &c.work));
	CHECK_EQ(kthread_flush_work(&c.work), 0);
	CHECK_EQ(atomic_load(&c.tid), worker_tid(worker));
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

static int serve_another(struct call *call)
{
	return kthread_worker_fn(call->arg);
}

TEST(thread_that_serves_is_refused_a_second_worker)
{
	struct kthread_worker *worker = new_worker("one");
	struct kthread_worker *other = kthread_create_worker(0, "other");
	unsigned long warnings = kthread_warnings();
	kthread_warn_func_t old = kthread_set_warn_hook(count_warning);
	struct call call;

	CHECK(other);
	call_init(&call, worker, serve_another, other);
	CHECK(kthread_queue_work(worker, &call.work));
	CHECK_EQ(kthread_flush_work(&call.work), 0);
	CHECK_EQ(call.result, -EBUSY);
	CHECK_EQ(kthread_warnings(), warnings + 1);
	kthread_set_warn_hook(old);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
	CHECK_EQ(kthread_destroy_worker(other), 0);
}

TEST(null_is_refused)
{
	CHECK_EQ(kthread_worker_fn(NULL), -EINVAL);
	CHECK_EQ(kthread_start_worker(NULL, NULL), -EINVAL);
	CHECK_EQ(kthread_stop_worker(NULL), -EINVAL);
	CHECK_EQ(kthread_stop_worker_timeout(NULL, 0), -EINVAL);
	CHECK_EQ(kthread_destroy_worker(NULL), 0);
	CHECK_EQ(kthread_destroy_worker_timeout(NULL, 0), 0);
	CHECK_EQ(kthread_freeze_worker(NULL), -EINVAL);
	CHECK_EQ(kthread_freeze_worker_timeout(NULL, 0), -EINVAL);
}

/* Stop */

static int side_stop_thread(void *k)
{
	return kthread_stop(k);
}

TEST(stop_of_the_patchs_thread_keeps_the_rest_listed)
{
	struct kthread_worker worker;
	struct counted c[3];
	struct blocker b;
	struct kthread *k;
	struct side side;

	kthread_init_worker(&worker);
	k = kthread_run(kthread_worker_fn, &worker, "patch");
	CHECK(k);
	blocker_occupy(&b, &worker);
	CHECK(atomic_load(&worker.task) == k);
	for (int i = 0; i < 3; i++) {
		counted_init(&c[i]);
		CHECK(kthread_queue_work(&worker, &c[i].work));
	}
	side_start(&side, side_stop_thread, k);
	side_settle(&side);
	CHECK(!atomic_load(&side.returned));
	gate_open(&b.release[0]);
	CHECK_EQ(side_join(&side), 0);
	CHECK_EQ(b.data, 1);
	CHECK_EQ(kthread_work_busy(&b.work), 0);
	CHECK(!atomic_load(&worker.task));
	for (int i = 0; i < 3; i++) {
		CHECK_EQ(atomic_load(&c[i].runs), 0);
		CHECK_EQ(kthread_work_busy(&c[i].work), KTHREAD_WORK_PENDING);
	}

	atomic_store(&counted_order, 0);
	k = kthread_run(kthread_worker_fn, &worker, "next");
	CHECK(k);
	CHECK_EQ(kthread_flush_worker(&worker), 0);
	for (int i = 0; i < 3; i++) {
		CHECK_EQ(atomic_load(&c[i].runs), 1);
		CHECK_EQ(atomic_load(&c[i].order), i + 1);
	}
	CHECK(kthread_queue_work(&worker, &c[0].work));
	CHECK_EQ(kthread_flush_work(&c[0].work), 0);
	CHECK_EQ(kthread_stop(k), 0);
	CHECK_EQ(kthread_destroy_worker(&worker), 0);
}

TEST(stop_worker_keeps_the_rest_listed)
{
	struct kthread_worker *worker = new_worker("stop");
	struct kthread_worker_stats stats;
	struct counted c[3];
	struct blocker b;
	struct side side, flusher;

	blocker_occupy(&b, worker);
	for (int i = 0; i < 3; i++) {
		counted_init(&c[i]);
		CHECK(kthread_queue_work(worker, &c[i].work));
	}
	side_start(&flusher, side_flush_work, &c[2].work);
	side_start(&side, side_stop_worker, worker);
	side_settle(&side);
	side_settle(&flusher);
	gate_open(&b.release[0]);
	CHECK_EQ(side_join(&side), 0);
	CHECK_EQ(b.data, 1);
	CHECK(!atomic_load(&worker->task));
	kthread_worker_get_stats(worker, &stats);
	CHECK_EQ(stats.pending, 3);
	CHECK_EQ(stats.executed, 1);
	side_settle(&flusher);
	CHECK(!atomic_load(&flusher.returned));

	atomic_store(&counted_order, 0);
	CHECK_EQ(kthread_start_worker(worker, NULL), 0);
	CHECK_EQ(side_join(&flusher), 0);
	for (int i = 0; i < 3; i++)
		CHECK_EQ(atomic_load(&c[i].order), i + 1);
	CHECK_EQ(kthread_stop_worker(worker), 0);
	CHECK_EQ(kthread_stop_worker(worker), 0);
	CHECK(kthread_queue_work(worker, &c[0].work));
	CHECK_EQ(kthread_start_worker(worker, NULL), 0);
	CHECK_EQ(kthread_flush_work(&c[0].work), 0);
	CHECK_EQ(atomic_load(&c[0].runs), 2);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

TEST(stop_worker_that_times_out_may_be_made_again)
{
	struct kthread_worker *worker = new_worker("late");
	struct counted c;
	struct blocker b;

	blocker_occupy(&b, worker);
	counted_init(&c);
	CHECK(kthread_queue_work(worker, &c.work));
	CHECK_EQ(kthread_stop_worker_timeout(worker, 0), -ETIMEDOUT);
	CHECK_EQ(kthread_stop_worker_timeout(worker, MS(2)), -ETIMEDOUT);
	gate_open(&b.release[0]);
	CHECK_EQ(kthread_stop_worker_timeout(worker, KTHREAD_FOREVER - 1), 0);
	CHECK(!atomic_load(&worker->task));
	CHECK_EQ(atomic_load(&c.runs), 0);
	CHECK_EQ(kthread_start_worker(worker, NULL), 0);
	CHECK_EQ(kthread_flush_work(&c.work), 0);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

static int stop_own_worker(struct call *call)
{
	int result = kthread_stop_worker(call->worker);

	CHECK(kthread_should_stop());
	return result;
}

TEST(stop_worker_from_its_callback_takes_effect_afterwards)
{
	struct kthread_worker *worker = new_worker("own");
	struct counted c;
	struct call call;

	for (int i = 1; i <= 20; i++) {
		call_init(&call, worker, stop_own_worker, NULL);
		counted_init(&c);
		kthread_freeze_worker(worker);
		CHECK(kthread_queue_work(worker, &call.work));
		CHECK(kthread_queue_work(worker, &c.work));
		kthread_thaw_worker(worker);
		CHECK_EQ(kthread_flush_work(&call.work), 0);
		CHECK_EQ(call.result, 0);
		if (i % 2)
			CHECK_EQ(kthread_stop_worker(worker), 0);
		else
			WAIT_UNTIL(!atomic_load(&worker->task));
		CHECK_EQ(atomic_load(&c.runs), 0);
		CHECK(kthread_work_pending(&c.work));
		CHECK_EQ(kthread_start_worker(worker, NULL), 0);
		CHECK_EQ(kthread_flush_work(&c.work), 0);
		CHECK_EQ(atomic_load(&c.runs), 1);
	}
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

static int until_should_stop(struct call *call)
{
	(void)call;
	CHECK(!kthread_should_stop());
	gate_open(call->arg);
	while (!kthread_should_stop())
		nap();
	return 0;
}

TEST(should_stop_in_a_callback_tells_of_stop_and_destroy)
{
	struct kthread_worker *worker = new_worker("should"), own;
	struct call call;
	struct gate asked;
	struct side side;

	gate_init(&asked);
	call_init(&call, worker, until_should_stop, &asked);
	CHECK(kthread_queue_work(worker, &call.work));
	gate_wait(&asked);
	CHECK_EQ(kthread_stop_worker(worker), 0);
	CHECK_EQ(call.result, 0);

	/* It was told of that stop; a later thread begins anew. */
	CHECK_EQ(kthread_start_worker(worker, NULL), 0);
	gate_init(&asked);
	call_init(&call, worker, until_should_stop, &asked);
	CHECK(kthread_queue_work(worker, &call.work));
	gate_wait(&asked);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
	CHECK_EQ(call.result, 0);

	/* The same on a thread of one's own. */
	kthread_init_worker(&own);
	for (int i = 0; i < 2; i++) {
		gate_init(&asked);
		call_init(&call, &own, until_should_stop, &asked);
		CHECK(kthread_queue_work(&own, &call.work));
		side_start(&side, serve, &own);
		gate_wait(&asked);
		CHECK_EQ(i ? kthread_destroy_worker(&own) : kthread_stop_worker(&own), 0);
		CHECK_EQ(side_join(&side), 0);
		CHECK_EQ(call.result, 0);
	}
}

TEST(start_and_stop_join_their_threads)
{
	struct kthread_worker *worker = kthread_create_worker(0, "joins");
	int threads = count_threads(), fds = count_fds();
	struct counted c;

	CHECK(worker);
	counted_init(&c);
	for (int i = 0; i < 300; i++) {
		CHECK_EQ(kthread_start_worker(worker, NULL), 0);
		CHECK_EQ(kthread_start_worker(worker, NULL), -EBUSY);
		if (i % 3 == 0) {
			CHECK(kthread_queue_work(worker, &c.work));
			CHECK_EQ(kthread_flush_work(&c.work), 0);
		}
		CHECK_EQ(kthread_stop_worker(worker), 0);
	}
	WAIT_UNTIL(count_threads() <= threads);
	CHECK_EQ(count_fds(), fds);
	CHECK_EQ(atomic_load(&c.runs), 100);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

/* Names and attributes */

static char seen_comm[64];

static int read_comm(struct call *call)
{
	FILE *file = fopen("/proc/thread-self/comm", "r");

	(void)call;
	CHECK(file);
	CHECK(fgets(seen_comm, sizeof(seen_comm), file));
	seen_comm[strcspn(seen_comm, "\n")] = 0;
	fclose(file);
	return 0;
}

static void check_worker_comm(struct kthread_worker *worker, const char *comm)
{
	struct call call;

	call_init(&call, worker, read_comm, NULL);
	CHECK(kthread_queue_work(worker, &call.work));
	CHECK_EQ(kthread_flush_work(&call.work), 0);
	if (strcmp(seen_comm, comm))
		printf("comm is \"%s\", not \"%s\"\n", seen_comm, comm);
	CHECK(!strcmp(seen_comm, comm));
}

TEST(worker_gives_its_thread_the_name)
{
	struct kthread_attr attr = KTHREAD_ATTR_INIT;
	struct kthread_worker *worker = kthread_create_worker(0, "sensor/%d", 7);

	CHECK(worker);
	CHECK_EQ(kthread_start_worker(worker, NULL), 0);
	check_worker_comm(worker, "sensor/7");
	CHECK_EQ(kthread_stop_worker(worker), 0);
	CHECK_EQ(kthread_start_worker(worker, &attr), 0);
	check_worker_comm(worker, "sensor/7");
	CHECK_EQ(kthread_stop_worker(worker), 0);
	attr.name = "other";
	CHECK_EQ(kthread_start_worker(worker, &attr), 0);
	check_worker_comm(worker, "other");
	CHECK_EQ(kthread_destroy_worker(worker), 0);

	attr.name = "by attribute";
	worker = kthread_run_worker_attr(&attr);
	CHECK(worker);
	check_worker_comm(worker, "by attribute");
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

TEST(start_that_is_refused_leaves_the_worker_as_it_was)
{
	struct kthread_worker *worker = kthread_create_worker(0, "refused");
	struct kthread_attr attr = KTHREAD_ATTR_INIT;
	int threads = count_threads();
	struct counted c;

	CHECK(worker);
	counted_init(&c);
	CHECK(kthread_queue_work(worker, &c.work));
	attr.cpus = "nonsense";
	for (int i = 0; i < 20; i++)
		CHECK_EQ(kthread_start_worker(worker, &attr), -EINVAL);
	attr.cpus = NULL;
	attr.cgroup = "/nonexistent/cgroup";
	CHECK_EQ(kthread_start_worker(worker, &attr), -ENOENT);
	WAIT_UNTIL(count_threads() <= threads);
	CHECK(!atomic_load(&worker->task));
	CHECK(kthread_work_pending(&c.work));
	CHECK_EQ(atomic_load(&c.runs), 0);
	CHECK_EQ(kthread_start_worker(worker, NULL), 0);
	CHECK_EQ(kthread_flush_work(&c.work), 0);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

/* Destroy */

TEST(destroy_runs_what_is_pending)
{
	struct kthread_worker *worker = new_worker("pending");
	struct counted c[10];
	struct blocker b;
	struct side side;

	blocker_occupy(&b, worker);
	atomic_store(&counted_order, 0);
	for (int i = 0; i < 10; i++) {
		counted_init(&c[i]);
		CHECK(kthread_queue_work(worker, &c[i].work));
	}
	side_start(&side, side_destroy, worker);
	side_settle(&side);
	CHECK(!atomic_load(&side.returned));
	gate_open(&b.release[0]);
	CHECK_EQ(side_join(&side), 0);
	for (int i = 0; i < 10; i++) {
		CHECK_EQ(atomic_load(&c[i].runs), 1);
		CHECK_EQ(atomic_load(&c[i].order), i + 1);
		CHECK_EQ(kthread_work_busy(&c[i].work), 0);
	}
}

TEST(destroy_again_does_nothing)
{
	struct kthread_worker worker;
	struct counted c;

	kthread_init_worker(&worker);
	counted_init(&c);
	CHECK_EQ(kthread_start_worker(&worker, NULL), 0);
	CHECK(kthread_queue_work(&worker, &c.work));
	CHECK_EQ(kthread_destroy_worker(&worker), 0);
	CHECK_EQ(kthread_destroy_worker(&worker), 0);
	CHECK_EQ(kthread_destroy_worker_timeout(&worker, 0), 0);
	CHECK_EQ(atomic_load(&c.runs), 1);
	CHECK_EQ(kthread_freeze_worker(&worker), -ESHUTDOWN);

	/* A new init makes it a new worker. */
	kthread_init_worker(&worker);
	kthread_init_work(&c.work, count_run);
	CHECK_EQ(kthread_start_worker(&worker, NULL), 0);
	CHECK(kthread_queue_work(&worker, &c.work));
	CHECK_EQ(kthread_flush_work(&c.work), 0);
	CHECK_EQ(kthread_destroy_worker(&worker), 0);
	CHECK_EQ(atomic_load(&c.runs), 2);
}

TEST(many_destroyers_all_return)
{
	for (int round = 0; round < 20; round++) {
		struct kthread_worker worker;
		struct side sides[4];
		struct blocker b;

		kthread_init_worker(&worker);
		CHECK_EQ(kthread_start_worker(&worker, NULL), 0);
		blocker_occupy(&b, &worker);
		for (int i = 0; i < 4; i++)
			side_start(&sides[i], side_destroy, &worker);
		for (int i = 0; i < 4 && round % 2; i++)
			side_settle(&sides[i]);
		gate_open(&b.release[0]);
		for (int i = 0; i < 4; i++)
			CHECK_EQ(side_join(&sides[i]), 0);
		CHECK_EQ(b.data, 1);
	}
}

static struct kthread_work *dropped_work[8];
static atomic_int dropped_count;
static struct kthread_worker *dropped_by;

static void note_dropped(struct kthread_worker *worker, struct kthread_work *work,
			 kthread_work_func_t func)
{
	int i = atomic_fetch_add(&dropped_count, 1);

	CHECK(i < 8);
	CHECK(func == work->func);
	CHECK_EQ(kthread_work_busy(work), 0);
	dropped_by = worker;
	dropped_work[i] = work;
}

TEST(destroy_without_thread_drops_what_is_pending)
{
	static const struct kthread_worker_ops ops = { .dropped = note_dropped };
	struct kthread_worker *worker = kthread_create_worker(0, "drops");
	struct kthread_worker *other = new_worker("other");
	struct side one, all;
	struct counted c[5];
	int data;

	CHECK(worker);
	kthread_worker_set_ops(worker, &ops, &data);
	CHECK(kthread_worker_data(worker) == &data);
	atomic_store(&dropped_count, 0);
	for (int i = 0; i < 5; i++) {
		counted_init(&c[i]);
		CHECK(kthread_queue_work(worker, &c[i].work));
	}
	side_start(&one, side_flush_work, &c[4].work);
	side_start(&all, side_flush_worker, worker);
	side_settle(&one);
	side_settle(&all);
	CHECK(!atomic_load(&one.returned));
	CHECK_EQ(kthread_destroy_worker(worker), 0);
	CHECK_EQ(side_join(&one), 0);
	CHECK_EQ(side_join(&all), 0);
	CHECK_EQ(atomic_load(&dropped_count), 5);
	CHECK(dropped_by == worker);
	for (int i = 0; i < 5; i++) {
		CHECK(dropped_work[i] == &c[i].work);
		CHECK_EQ(atomic_load(&c[i].runs), 0);
		CHECK_EQ(kthread_work_busy(&c[i].work), 0);
		CHECK_EQ(kthread_flush_work(&c[i].work), 0);
		CHECK(kthread_queue_work(other, &c[i].work));
		CHECK_EQ(kthread_flush_work(&c[i].work), 0);
		CHECK_EQ(atomic_load(&c[i].runs), 1);
	}
	CHECK_EQ(kthread_destroy_worker(other), 0);
}

static void free_dropped(struct kthread_worker *worker, struct kthread_work *work,
			 kthread_work_func_t func)
{
	(void)worker, (void)func;
	memset(work, 0xa5, sizeof(struct counted));
	free(work);
	atomic_fetch_add(&dropped_count, 1);
}

TEST(dropped_work_may_be_freed_by_its_hook)
{
	static const struct kthread_worker_ops ops = { .dropped = free_dropped };
	struct kthread_worker worker;

	kthread_init_worker(&worker);
	kthread_worker_set_ops(&worker, &ops, NULL);
	atomic_store(&dropped_count, 0);
	for (int i = 0; i < 100; i++) {
		struct counted *c = malloc(sizeof(*c));

		CHECK(c);
		counted_init(c);
		CHECK(kthread_queue_work(&worker, &c->work));
	}
	CHECK_EQ(kthread_destroy_worker(&worker), 0);
	CHECK_EQ(atomic_load(&dropped_count), 100);
}

/* What the hooks below saw, in order: i for idle, b for begin, and the works' own notes. */
struct begins {
	struct kthread_worker *worker;
	char seen[16];
	atomic_uint n;
	struct kthread_work *begun;
	pid_t tid;
};

struct noting {
	struct kthread_work work;
	struct begins *begins;
	char note;
};

static void see(struct begins *begins, char note)
{
	unsigned int n = atomic_fetch_add(&begins->n, 1);

	CHECK(n < sizeof(begins->seen) - 1);
	begins->seen[n] = note;
}

static void note_begin(struct kthread_worker *worker, struct kthread_work *work)
{
	struct begins *begins = kthread_worker_data(worker);

	CHECK(worker == begins->worker);
	CHECK(kthread_current_work() == work);
	CHECK_EQ(kthread_work_busy(work), KTHREAD_WORK_EXECUTING);
	begins->begun = work;
	begins->tid = own_tid();
	see(begins, 'b');
}

static void note_idle(struct kthread_worker *worker)
{
	struct begins *begins = kthread_worker_data(worker);

	/* How often an idle worker says so is its own affair. */
	if (begins->seen[0] && begins->seen[atomic_load(&begins->n) - 1] != 'i')
		see(begins, 'i');
}

static void note_self(struct kthread_work *work)
{
	struct noting *noting = (struct noting *)work;

	CHECK(noting->begins->begun == work);
	CHECK_EQ(noting->begins->tid, own_tid());
	see(noting->begins, noting->note);
}

/* Runs what follows in its own loop. */
static void note_self_and_next(struct kthread_work *work)
{
	struct begins *begins = ((struct noting *)work)->begins;

	CHECK(begins->begun == work);
	do
		see(begins, ((struct noting *)work)->note);
	while ((work = kthread_next_work(begins->worker, note_self_and_next)));
}

static void noting_init(struct noting *noting, struct begins *begins, kthread_work_func_t func)
{
	for (int i = 0; i < 3; i++) {
		kthread_init_work(&noting[i].work, func);
		noting[i].begins = begins;
		noting[i].note = (char)('0' + i);
		CHECK(kthread_queue_work(begins->worker, &noting[i].work));
	}
}

static const struct kthread_worker_ops noting_ops = { .idle = note_idle, .begin = note_begin };

TEST(begin_is_told_right_before_each_function_on_the_workers_thread)
{
	struct begins begins = { .worker = kthread_create_worker(0, "begins") };
	struct noting noting[3];

	CHECK(begins.worker);
	kthread_worker_set_ops(begins.worker, &noting_ops, &begins);
	noting_init(noting, &begins, note_self);
	CHECK_EQ(kthread_start_worker(begins.worker, NULL), 0);
	CHECK_EQ(kthread_flush_work(&noting[2].work), 0);
	CHECK_EQ(kthread_destroy_worker(begins.worker), 0);
	CHECK(!strcmp(begins.seen, "b0b1b2i"));
}

TEST(begin_is_told_by_run_pending_too)
{
	struct begins begins = { .worker = kthread_create_worker(0, "begins") };
	struct noting noting[3];

	CHECK(begins.worker);
	kthread_worker_set_ops(begins.worker, &noting_ops, &begins);
	noting_init(noting, &begins, note_self);
	CHECK_EQ(kthread_worker_run_pending(begins.worker), 3);
	CHECK_EQ(begins.tid, own_tid());
	CHECK_EQ(kthread_destroy_worker(begins.worker), 0);
	CHECK(!strcmp(begins.seen, "b0b1b2i"));
}

TEST(begin_is_not_told_by_next_work)
{
	struct begins begins = { .worker = kthread_create_worker(0, "begins") };
	struct noting noting[3];

	CHECK(begins.worker);
	kthread_worker_set_ops(begins.worker, &noting_ops, &begins);
	noting_init(noting, &begins, note_self_and_next);
	CHECK_EQ(kthread_start_worker(begins.worker, NULL), 0);
	/* A destruction amid the loop would end it. */
	CHECK_EQ(kthread_flush_work(&noting[2].work), 0);
	CHECK_EQ(kthread_destroy_worker(begins.worker), 0);
	CHECK(!strcmp(begins.seen, "b012i"));
}

static int destroy_own(struct call *call)
{
	CHECK_EQ(kthread_destroy_worker_timeout(call->worker, 0), -EDEADLK);
	CHECK_EQ(kthread_freeze_worker(call->worker), -EDEADLK);
	CHECK_EQ(kthread_freeze_worker_timeout(call->worker, 0), -EDEADLK);
	return kthread_destroy_worker(call->worker);
}

TEST(destroy_and_freeze_from_own_callback_are_deadlocks)
{
	struct kthread_worker *worker = new_worker("own");
	struct call call;
	struct counted c;

	call_init(&call, worker, destroy_own, NULL);
	counted_init(&c);
	CHECK(kthread_queue_work(worker, &call.work));
	CHECK_EQ(kthread_flush_work(&call.work), 0);
	CHECK_EQ(call.result, -EDEADLK);
	/* Refused, it has changed nothing. */
	CHECK(kthread_queue_work(worker, &c.work));
	CHECK_EQ(kthread_flush_work(&c.work), 0);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

static int flush_other(struct call *call)
{
	return kthread_flush_work(call->arg);
}

static int destroy_other(struct call *call)
{
	CHECK_EQ(kthread_freeze_worker(call->arg), -EDEADLK);
	CHECK_EQ(kthread_stop_worker(call->arg), -EDEADLK);
	return kthread_destroy_worker(call->arg);
}

TEST(destroy_freeze_and_stop_of_a_worker_that_waits_for_the_caller_are_deadlocks)
{
	struct kthread_worker *waits = new_worker("waits"), *acts = new_worker("acts");
	struct call flush, act;
	struct blocker b;
	struct counted c;

	blocker_occupy(&b, acts);
	call_init(&act, acts, destroy_other, waits);
	CHECK(kthread_queue_work(acts, &act.work));
	call_init(&flush, waits, flush_other, &act.work);
	CHECK(kthread_queue_work(waits, &flush.work));
	gate_wait(&flush.entered);
	for (int look = 0; look < 3; look++) {
		nap();
		WAIT_UNTIL(tid_settled(worker_tid(waits)));
	}
	gate_open(&b.release[0]);
	CHECK_EQ(kthread_flush_work(&flush.work), 0);
	CHECK_EQ(flush.result, 0);
	CHECK_EQ(act.result, -EDEADLK);
	counted_init(&c);
	CHECK(kthread_queue_work(waits, &c.work));
	CHECK_EQ(kthread_flush_work(&c.work), 0);
	CHECK_EQ(kthread_destroy_worker(waits), 0);
	CHECK_EQ(kthread_destroy_worker(acts), 0);
}

static int end_other(struct call *call)
{
	CHECK_EQ(kthread_freeze_worker(call->arg), 0);
	CHECK_EQ(kthread_stop_worker(call->arg), 0);
	CHECK_EQ(kthread_start_worker(call->arg, NULL), 0);
	return kthread_destroy_worker(call->arg);
}

TEST(another_worker_is_ended_from_a_callback)
{
	struct kthread_worker *worker = new_worker("ends"), *other = new_worker("other");
	struct counted c;
	struct call call;

	counted_init(&c);
	CHECK(kthread_queue_work(other, &c.work));
	call_init(&call, worker, end_other, other);
	CHECK(kthread_queue_work(worker, &call.work));
	CHECK_EQ(kthread_flush_work(&call.work), 0);
	CHECK_EQ(call.result, 0);
	CHECK_EQ(atomic_load(&c.runs), 1);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

TEST(destroy_ends_a_work_that_requeues_itself_for_ever)
{
	for (int i = 0; i < 50; i++) {
		struct kthread_worker *worker = new_worker("ever");
		struct requeuer r[3];

		for (int j = 0; j < 3; j++) {
			requeuer_init(&r[j], worker, -1);
			CHECK(kthread_queue_work(worker, &r[j].work));
		}
		if (i % 2)
			CHECK_EQ(kthread_flush_work(&r[2].work), 0);
		CHECK_EQ(kthread_destroy_worker(worker), 0);
		for (int j = 0; j < 3; j++) {
			CHECK(atomic_load(&r[j].runs) >= 1);
			CHECK_EQ(atomic_load(&r[j].refused), ESHUTDOWN);
			CHECK_EQ(kthread_work_busy(&r[j].work), 0);
		}
	}
}

TEST(destroy_of_a_frozen_worker_thaws_it)
{
	struct kthread_worker *worker = new_worker("frozen");
	struct counted c[3];

	CHECK_EQ(kthread_freeze_worker(worker), 0);
	for (int i = 0; i < 3; i++) {
		counted_init(&c[i]);
		CHECK(kthread_queue_work(worker, &c[i].work));
	}
	CHECK_EQ(kthread_destroy_worker(worker), 0);
	for (int i = 0; i < 3; i++)
		CHECK_EQ(atomic_load(&c[i].runs), 1);
}

TEST(destroy_of_a_worker_whose_thread_was_frozen)
{
	struct kthread_worker *worker = new_worker("frozen");
	struct counted c;

	CHECK_EQ(kthread_freeze(atomic_load(&worker->task)), 0);
	counted_init(&c);
	CHECK(kthread_queue_work(worker, &c.work));
	CHECK_EQ(kthread_destroy_worker(worker), 0);
	CHECK_EQ(atomic_load(&c.runs), 1);
}

TEST(destroy_that_times_out_is_called_again)
{
	struct kthread_worker *worker = new_worker("slow");
	struct counted probe, c;
	struct blocker b;

	blocker_occupy(&b, worker);
	counted_init(&c);
	counted_init(&probe);
	CHECK(kthread_queue_work(worker, &c.work));
	CHECK_EQ(kthread_destroy_worker_timeout(worker, 0), -ETIMEDOUT);
	CHECK_REFUSED(kthread_queue_work(worker, &probe.work), ESHUTDOWN);
	CHECK_EQ(kthread_destroy_worker_timeout(worker, MS(2)), -ETIMEDOUT);
	CHECK_REFUSED(kthread_queue_work(worker, &probe.work), ESHUTDOWN);
	CHECK_EQ(kthread_freeze_worker(worker), -ESHUTDOWN);
	CHECK(kthread_work_pending(&c.work));
	gate_open(&b.release[0]);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
	CHECK_EQ(atomic_load(&c.runs), 1);
	CHECK_EQ(atomic_load(&probe.runs), 0);
}

/* Close: the first step of a destruction */

static int close_own(struct call *call)
{
	struct counted c;

	counted_init(&c);
	kthread_close_worker(call->worker);
	CHECK(kthread_should_stop());
	return kthread_queue_work_status(call->worker, &c.work);
}

TEST(closed_worker_refuses_and_runs_what_is_pending)
{
	struct kthread_worker *worker = new_worker("closed");
	struct counted c, probe;
	struct call call;
	struct blocker b;

	kthread_close_worker(NULL);
	counted_init(&c);
	counted_init(&probe);
	blocker_occupy(&b, worker);
	CHECK(kthread_queue_work(worker, &c.work));
	kthread_close_worker(worker);
	CHECK_REFUSED(kthread_queue_work(worker, &probe.work), ESHUTDOWN);
	kthread_close_worker(worker);
	gate_open(&b.release[0]);
	CHECK_EQ(kthread_flush_work(&c.work), 0);
	CHECK_EQ(atomic_load(&c.runs), 1);
	CHECK_EQ(kthread_freeze_worker(worker), -ESHUTDOWN);
	WAIT_UNTIL(!kthread_worker_thread(worker, NULL, NULL));
	CHECK_EQ(kthread_start_worker(worker, NULL), -ESHUTDOWN);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
	CHECK_EQ(atomic_load(&probe.runs), 0);

	/* From its own callback. */
	worker = new_worker("closes");
	call_init(&call, worker, close_own, NULL);
	CHECK(kthread_queue_work(worker, &call.work));
	CHECK_EQ(kthread_flush_work(&call.work), 0);
	CHECK_EQ(call.result, -ESHUTDOWN);
	CHECK_EQ(kthread_destroy_worker(worker), 0);

	/* Frozen: it is thawed. */
	worker = new_worker("frozen");
	CHECK_EQ(kthread_freeze_worker(worker), 0);
	CHECK(kthread_worker_freezing(worker));
	CHECK(kthread_queue_work(worker, &c.work));
	kthread_close_worker(worker);
	CHECK_EQ(kthread_flush_work(&c.work), 0);
	CHECK_EQ(atomic_load(&c.runs), 2);
	CHECK_EQ(kthread_destroy_worker(worker), 0);

	/* Without a thread: its works are idle after the destruction. */
	worker = kthread_create_worker(0, "none");
	CHECK(worker);
	CHECK(kthread_queue_work(worker, &c.work));
	kthread_close_worker(worker);
	CHECK_REFUSED(kthread_queue_work(worker, &probe.work), ESHUTDOWN);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
	CHECK_EQ(atomic_load(&c.runs), 2);
	CHECK_EQ(kthread_work_busy(&c.work), 0);
}

static void on_usr1(int number)
{
	(void)number;
}

static int side_stop_interruptible(void *worker)
{
	return kthread_stop_worker_interruptible(worker, KTHREAD_FOREVER);
}

static int side_freeze_interruptible(void *worker)
{
	return kthread_freeze_worker_interruptible(worker, KTHREAD_FOREVER);
}

static int side_destroy_interruptible(void *worker)
{
	return kthread_destroy_worker_interruptible(worker, KTHREAD_FOREVER);
}

TEST(interruptible_forms_return_eintr)
{
	int (*const forms[])(void *) = { side_freeze_interruptible, side_stop_interruptible,
					 side_destroy_interruptible };
	struct sigaction action;

	memset(&action, 0, sizeof(action));
	action.sa_handler = on_usr1;
	CHECK_EQ(sigaction(SIGUSR1, &action, NULL), 0);
	for (int i = 0; i < 3; i++) {
		struct kthread_worker *worker = new_worker("eintr");
		struct blocker b;
		struct side side;

		blocker_occupy(&b, worker);
		side_start(&side, forms[i], worker);
		side_settle(&side);
		CHECK(!atomic_load(&side.returned));
		while (!atomic_load(&side.returned)) {
			pthread_kill(side.thread, SIGUSR1);
			nap();
		}
		CHECK_EQ(side_join(&side), -EINTR);
		CHECK(!kthread_worker_freezing(worker));
		gate_open(&b.release[0]);
		CHECK_EQ(forms[i](worker), 0);
		if (i < 2)
			CHECK_EQ(kthread_destroy_worker(worker), 0);
	}
}

TEST(work_of_a_destroyed_worker_flushes_and_moves)
{
	struct kthread_worker *one = new_worker("one"), *two;
	struct counted c, d;

	counted_init(&c);
	counted_init(&d);
	CHECK(kthread_queue_work(one, &c.work));
	CHECK_EQ(kthread_flush_work(&c.work), 0);
	CHECK(kthread_queue_work(one, &d.work));
	CHECK_EQ(kthread_destroy_worker(one), 0);
	CHECK_EQ(kthread_flush_work(&c.work), 0);
	CHECK_EQ(kthread_flush_work(&d.work), 0);
	CHECK_EQ(kthread_work_busy(&c.work), 0);
	CHECK(!kthread_work_pending(&d.work));

	two = new_worker("two");
	CHECK_EQ(kthread_flush_work(&c.work), 0);
	CHECK(kthread_queue_work(two, &c.work));
	CHECK(kthread_queue_work(two, &d.work));
	CHECK_EQ(kthread_flush_work(&c.work), 0);
	CHECK_EQ(kthread_flush_work(&d.work), 0);
	CHECK_EQ(atomic_load(&c.runs), 2);
	CHECK_EQ(atomic_load(&d.runs), 2);
	CHECK_EQ(kthread_destroy_worker(two), 0);
	CHECK_EQ(kthread_flush_work(&c.work), 0);
}

TEST(two_thousand_workers_leave_nothing_behind)
{
	int rounds = UNDER_TSAN || UNDER_ASAN ? 500 : 2000;
	int threads, fds;
	struct counted c;

	test_needs_seconds(60);
	counted_init(&c);
	kthread_destroy_worker(new_worker("first"));
	threads = count_threads();
	fds = count_fds();
	for (int i = 0; i < rounds; i++) {
		struct kthread_worker *worker = kthread_run_worker(0, "many/%d", i);

		CHECK(worker);
		CHECK(kthread_queue_work(worker, &c.work));
		if (i % 2)
			CHECK_EQ(kthread_flush_work(&c.work), 0);
		CHECK_EQ(kthread_destroy_worker(worker), 0);
	}
	CHECK_EQ(atomic_load(&c.runs), rounds);
	WAIT_UNTIL(count_threads() <= threads);
	CHECK_EQ(count_fds(), fds);
}

/* A worker from the pool is as new: nothing of its former life shows. */
TEST(worker_made_after_a_destroyed_one_is_as_new)
{
	static const struct kthread_worker_ops ops = { .dropped = note_dropped };

	for (int i = 0; i < 10; i++) {
		struct kthread_worker *worker = kthread_create_worker(0, "new/%d", i);
		struct kthread_worker_stats stats;
		struct counted c;

		CHECK(worker);
		CHECK(!kthread_worker_data(worker));
		kthread_worker_get_stats(worker, &stats);
		CHECK_EQ(stats.queued + stats.executed + stats.pending + stats.sleeps, 0);
		CHECK_EQ(atomic_load(&worker->poll_max_ns), KTHREAD_POLL_MAX_DEFAULT_NS);
		counted_init(&c);
		kthread_worker_set_ops(worker, &ops, worker);
		kthread_worker_set_busy_poll(worker, 1);
		CHECK_EQ(kthread_freeze_worker(worker), 0);
		atomic_store(&dropped_count, 0);
		CHECK(kthread_queue_work(worker, &c.work));
		CHECK_EQ(kthread_destroy_worker(worker), 0);
		CHECK_EQ(atomic_load(&dropped_count), 1);

		worker = new_worker("as new");
		CHECK(kthread_queue_work(worker, &c.work));
		CHECK_EQ(kthread_flush_work(&c.work), 0);
		CHECK_EQ(atomic_load(&c.runs), 1);
		CHECK_EQ(kthread_destroy_worker(worker), 0);
	}
}

/* Freeze */

TEST(frozen_worker_keeps_what_is_queued_in_order)
{
	struct kthread_worker *worker = new_worker("freeze");
	struct kthread_worker_stats stats;
	struct counted c[10];

	for (int round = 0; round < 10; round++) {
		CHECK(!kthread_worker_freezing(worker));
		CHECK_EQ(kthread_freeze_worker(worker), 0);
		CHECK(kthread_worker_freezing(worker));
		CHECK_EQ(kthread_freeze_worker_timeout(worker, 0), 0);
		atomic_store(&counted_order, 0);
		for (int i = 0; i < 10; i++) {
			counted_init(&c[i]);
			CHECK(kthread_queue_work(worker, &c[i].work));
		}
		nap();
		WAIT_UNTIL(tid_settled(worker_tid(worker)));
		for (int i = 0; i < 10; i++)
			CHECK_EQ(kthread_work_busy(&c[i].work), KTHREAD_WORK_PENDING);
		kthread_worker_get_stats(worker, &stats);
		CHECK_EQ(stats.pending, 10);
		CHECK_EQ(kthread_flush_work_timeout(&c[0].work, MS(1)), -ETIMEDOUT);
		kthread_thaw_worker(worker);
		CHECK_EQ(kthread_flush_worker(worker), 0);
		for (int i = 0; i < 10; i++)
			CHECK_EQ(atomic_load(&c[i].order), i + 1);
	}
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

static int side_freeze_worker(void *worker)
{
	return kthread_freeze_worker(worker);
}

TEST(freeze_waits_for_the_running_callback_only)
{
	struct kthread_worker *worker = new_worker("between");
	struct counted c;
	struct blocker b;
	struct side side;

	blocker_occupy(&b, worker);
	counted_init(&c);
	CHECK(kthread_queue_work(worker, &c.work));
	side_start(&side, side_freeze_worker, worker);
	side_settle(&side);
	CHECK(!atomic_load(&side.returned));
	gate_open(&b.release[0]);
	CHECK_EQ(side_join(&side), 0);
	CHECK_EQ(b.data, 1);
	/* Frozen with its work done: no flusher waits for the thaw. */
	CHECK_EQ(kthread_flush_work(&b.work), 0);
	CHECK_EQ(atomic_load(&c.runs), 0);
	CHECK(kthread_work_pending(&c.work));
	kthread_thaw_worker(worker);
	CHECK_EQ(kthread_flush_work(&c.work), 0);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

/* Who flushes the run during which the freeze was asked for returns at its end. */
TEST(flusher_of_the_last_run_before_the_rest_returns)
{
	struct kthread_worker *worker = new_worker("last");
	struct blocker b;
	struct side flusher, freezer;

	blocker_occupy(&b, worker);
	side_start(&flusher, side_flush_work, &b.work);
	side_start(&freezer, side_freeze_worker, worker);
	side_settle(&flusher);
	side_settle(&freezer);
	gate_open(&b.release[0]);
	CHECK_EQ(side_join(&flusher), 0);
	CHECK_EQ(side_join(&freezer), 0);
	CHECK_EQ(kthread_flush_worker(worker), 0);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

TEST(freeze_that_times_out_is_withdrawn)
{
	struct kthread_worker *worker = new_worker("withdrawn");
	struct counted c;
	struct blocker b;

	blocker_occupy(&b, worker);
	CHECK_EQ(kthread_freeze_worker_timeout(worker, 0), -ETIMEDOUT);
	CHECK_EQ(kthread_freeze_worker_timeout(worker, MS(2)), -ETIMEDOUT);
	CHECK(!kthread_worker_freezing(worker));
	gate_open(&b.release[0]);
	counted_init(&c);
	CHECK(kthread_queue_work(worker, &c.work));
	CHECK_EQ(kthread_flush_work(&c.work), 0);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

TEST(freeze_that_times_out_leaves_an_earlier_one_alone)
{
	struct kthread_worker *worker = new_worker("earlier");
	struct counted c;
	struct blocker b;
	struct side side;

	blocker_occupy(&b, worker);
	counted_init(&c);
	CHECK(kthread_queue_work(worker, &c.work));
	side_start(&side, side_freeze_worker, worker);
	side_settle(&side);
	CHECK_EQ(kthread_freeze_worker_timeout(worker, MS(1)), -ETIMEDOUT);
	gate_open(&b.release[0]);
	CHECK_EQ(side_join(&side), 0);
	CHECK_EQ(kthread_flush_work_timeout(&c.work, MS(1)), -ETIMEDOUT);
	CHECK_EQ(atomic_load(&c.runs), 0);
	kthread_thaw_worker(worker);
	CHECK_EQ(kthread_flush_work(&c.work), 0);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

TEST(freeze_without_thread_makes_the_next_one_rest)
{
	struct kthread_worker *worker = kthread_create_worker(0, "later");
	struct counted c;

	CHECK(worker);
	counted_init(&c);
	CHECK_EQ(kthread_freeze_worker(worker), 0);
	CHECK(kthread_queue_work(worker, &c.work));
	CHECK_EQ(kthread_start_worker(worker, NULL), 0);
	CHECK_EQ(kthread_flush_work_timeout(&c.work, MS(2)), -ETIMEDOUT);
	nap();
	WAIT_UNTIL(tid_settled(worker_tid(worker)));
	CHECK_EQ(kthread_freeze_worker(worker), 0);
	CHECK_EQ(atomic_load(&c.runs), 0);
	kthread_thaw_worker(worker);
	CHECK_EQ(kthread_flush_work(&c.work), 0);
	CHECK_EQ(atomic_load(&c.runs), 1);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

TEST(freeze_of_the_workers_thread_rests_between_works)
{
	struct kthread_worker *worker = new_worker("thread");
	struct kthread *k = atomic_load(&worker->task);
	struct counted c[3];
	struct blocker b;

	for (int round = 0; round < 10; round++) {
		blocker_occupy(&b, worker);
		CHECK_EQ(kthread_freeze_timeout(k, MS(1)), -ETIMEDOUT);
		CHECK(!freezing(k));
		gate_open(&b.release[0]);
		CHECK_EQ(kthread_freeze(k), 0);
		CHECK(freezing(k));
		atomic_store(&counted_order, 0);
		for (int i = 0; i < 3; i++) {
			counted_init(&c[i]);
			CHECK(kthread_queue_work(worker, &c[i].work));
		}
		CHECK_EQ(kthread_flush_work(&b.work), 0);
		CHECK_EQ(kthread_flush_work_timeout(&c[0].work, MS(1)), -ETIMEDOUT);
		for (int i = 0; i < 3; i++)
			CHECK_EQ(atomic_load(&c[i].runs), 0);
		kthread_thaw(k);
		CHECK_EQ(kthread_flush_worker(worker), 0);
		for (int i = 0; i < 3; i++)
			CHECK_EQ(atomic_load(&c[i].order), i + 1);
	}
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

TEST(worker_frozen_twice_over_needs_both_thaws)
{
	struct kthread_worker *worker = new_worker("both");
	struct kthread *k = atomic_load(&worker->task);
	struct counted c;

	counted_init(&c);
	CHECK_EQ(kthread_freeze_worker(worker), 0);
	CHECK_EQ(kthread_freeze(k), 0);
	CHECK(kthread_queue_work(worker, &c.work));
	kthread_thaw(k);
	kthread_thaw_worker(worker);
	CHECK_EQ(kthread_flush_work(&c.work), 0);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

TEST(stop_of_a_frozen_worker_thaws_it_first)
{
	struct kthread_worker *worker = new_worker("frozen"), own;
	struct kthread *k;
	struct counted c;

	counted_init(&c);
	CHECK_EQ(kthread_freeze_worker(worker), 0);
	CHECK(kthread_queue_work(worker, &c.work));
	CHECK_EQ(kthread_stop_worker(worker), 0);
	CHECK(kthread_work_pending(&c.work) || atomic_load(&c.runs) == 1);
	CHECK_EQ(kthread_start_worker(worker, NULL), 0);
	CHECK_EQ(kthread_flush_work(&c.work), 0);
	CHECK_EQ(atomic_load(&c.runs), 1);
	CHECK_EQ(kthread_destroy_worker(worker), 0);

	kthread_init_worker(&own);
	k = kthread_run(kthread_worker_fn, &own, "own");
	CHECK(k);
	CHECK_EQ(kthread_freeze(k), 0);
	CHECK_EQ(kthread_stop(k), 0);
	CHECK_EQ(kthread_destroy_worker(&own), 0);
}

TEST(kthread_stop_of_the_thread_of_a_frozen_worker_returns)
{
	struct kthread_worker own;
	struct kthread *k;

	kthread_init_worker(&own);
	k = kthread_run(kthread_worker_fn, &own, "own");
	CHECK(k);
	CHECK_EQ(kthread_freeze_worker(&own), 0);
	CHECK_EQ(kthread_stop(k), 0);
	CHECK_EQ(kthread_destroy_worker(&own), 0);
}

TEST(thaw_without_freeze_does_nothing)
{
	struct kthread_worker *worker = new_worker("thaw");
	struct counted c;

	counted_init(&c);
	kthread_thaw_worker(worker);
	kthread_thaw_worker(worker);
	CHECK_EQ(kthread_freeze_worker(worker), 0);
	CHECK(kthread_queue_work(worker, &c.work));
	CHECK_EQ(kthread_flush_work_timeout(&c.work, 0), -ETIMEDOUT);
	kthread_thaw_worker(worker);
	CHECK_EQ(kthread_flush_work(&c.work), 0);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

TEST(freeze_of_a_requeueing_worker_takes_effect)
{
	struct kthread_worker *worker = new_worker("requeues");
	struct requeuer r;

	requeuer_init(&r, worker, -1);
	CHECK(kthread_queue_work(worker, &r.work));
	for (int i = 0; i < 200; i++) {
		int runs;

		CHECK_EQ(kthread_freeze_worker(worker), 0);
		runs = atomic_load(&r.runs);
		sched_yield();
		CHECK_EQ(atomic_load(&r.runs), runs);
		CHECK(kthread_work_pending(&r.work));
		kthread_thaw_worker(worker);
		WAIT_UNTIL(atomic_load(&r.runs) > runs);
	}
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

/* The embedder's hooks */

static atomic_int idles, interruptions;
static atomic_int hook_tid;

static void on_idle(struct kthread_worker *worker)
{
	CHECK(kthread_worker_data(worker) == &idles);
	atomic_store(&hook_tid, own_tid());
	atomic_fetch_add(&idles, 1);
}

static void on_interrupted(struct kthread_worker *worker)
{
	CHECK(kthread_worker_data(worker) == &idles);
	atomic_store(&hook_tid, own_tid());
	atomic_fetch_add(&interruptions, 1);
}

static const struct kthread_worker_ops hooks = {
	.idle = on_idle,
	.interrupted = on_interrupted,
};

TEST(idle_hook_runs_before_the_worker_sleeps)
{
	struct kthread_worker *worker = kthread_create_worker(0, "idle");
	struct counted c;

	CHECK(worker);
	kthread_worker_set_ops(worker, &hooks, &idles);
	kthread_worker_set_busy_poll(worker, 0);
	atomic_store(&idles, 0);
	CHECK_EQ(kthread_start_worker(worker, NULL), 0);
	counted_init(&c);
	for (int i = 0; i < 20; i++) {
		uint64_t sleeps = worker_sleeps(worker);
		int before = atomic_load(&idles);

		CHECK(kthread_queue_work(worker, &c.work));
		CHECK_EQ(kthread_flush_work(&c.work), 0);
		WAIT_UNTIL(worker_sleeps(worker) > sleeps);
		CHECK(atomic_load(&idles) > before);
		CHECK_EQ(atomic_load(&hook_tid), worker_tid(worker));
	}
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

static atomic_int left;

static void on_leave(struct kthread_worker *worker)
{
	CHECK_EQ(own_tid(), worker_tid(worker));
	atomic_fetch_add(&left, 1);
}

TEST(leave_hook_runs_once_as_the_thread_leaves)
{
	static const struct kthread_worker_ops ops = { .leave = on_leave };
	struct kthread_worker worker;
	struct counted c;

	kthread_init_worker(&worker);
	kthread_worker_set_ops(&worker, &ops, NULL);
	counted_init(&c);
	atomic_store(&left, 0);
	for (int i = 1; i <= 10; i++) {
		CHECK_EQ(kthread_start_worker(&worker, NULL), 0);
		CHECK(kthread_queue_work(&worker, &c.work));
		CHECK_EQ(kthread_flush_work(&c.work), 0);
		CHECK_EQ(atomic_load(&left), i - 1);
		CHECK_EQ(i < 10 ? kthread_stop_worker(&worker)
				: kthread_destroy_worker(&worker), 0);
		CHECK_EQ(atomic_load(&left), i);
	}
}

TEST(interrupted_hook_runs_after_a_signal_handler)
{
	struct kthread_worker worker;
	struct sigaction action;
	struct side side;

	memset(&action, 0, sizeof(action));
	action.sa_handler = on_usr1;
	CHECK_EQ(sigaction(SIGUSR1, &action, NULL), 0);
	kthread_init_worker(&worker);
	kthread_worker_set_ops(&worker, &hooks, &idles);
	atomic_store(&interruptions, 0);
	side_start(&side, serve, &worker);
	side_settle(&side);
	while (!atomic_load(&interruptions)) {
		pthread_kill(side.thread, SIGUSR1);
		nap();
	}
	CHECK_EQ(atomic_load(&hook_tid), atomic_load(&side.tid));
	CHECK_EQ(kthread_destroy_worker(&worker), 0);
	CHECK_EQ(side_join(&side), 0);
}

static int serve_impatiently(void *worker)
{
	kthread_set_patience(MS(1));
	return kthread_worker_fn(worker);
}

TEST(interrupted_hook_runs_when_the_patience_is_over)
{
	struct kthread_worker worker;
	struct counted c;
	struct side side;

	kthread_init_worker(&worker);
	kthread_worker_set_ops(&worker, &hooks, &idles);
	atomic_store(&interruptions, 0);
	side_start(&side, serve_impatiently, &worker);
	WAIT_UNTIL(atomic_load(&interruptions) >= 5);
	CHECK_EQ(atomic_load(&hook_tid), atomic_load(&side.tid));
	counted_init(&c);
	CHECK(kthread_queue_work(&worker, &c.work));
	CHECK_EQ(kthread_flush_work(&c.work), 0);

	/* A frozen worker is no more patient. */
	CHECK_EQ(kthread_freeze_worker(&worker), 0);
	atomic_store(&interruptions, 0);
	WAIT_UNTIL(atomic_load(&interruptions) >= 5);
	CHECK_EQ(kthread_destroy_worker(&worker), 0);
	CHECK_EQ(side_join(&side), 0);
}

static void stop_when_interrupted(struct kthread_worker *worker)
{
	if (atomic_fetch_add(&interruptions, 1) == 3)
		CHECK_EQ(kthread_stop_worker(worker), 0);
}

TEST(interrupted_hook_may_stop_its_worker)
{
	static const struct kthread_worker_ops ops = { .interrupted = stop_when_interrupted };
	struct kthread_worker worker;
	struct side side;

	kthread_init_worker(&worker);
	kthread_worker_set_ops(&worker, &ops, NULL);
	atomic_store(&interruptions, 0);
	side_start(&side, serve_impatiently, &worker);
	CHECK_EQ(side_join(&side), 0);
	CHECK(!kthread_worker_thread(&worker, NULL, NULL));
	CHECK_EQ(kthread_destroy_worker(&worker), 0);
}

/* Who serves what */

static int look_at_worker(struct call *call)
{
	pthread_t thread;
	pid_t tid;

	CHECK(kthread_current_worker() == call->worker);
	CHECK(kthread_worker_thread(call->worker, &thread, &tid));
	CHECK(pthread_equal(thread, pthread_self()));
	CHECK_EQ(tid, own_tid());
	return 0;
}

TEST(worker_knows_its_thread_and_the_thread_its_worker)
{
	struct kthread_worker *worker = new_worker("knows"), own;
	struct call call;
	struct side side;

	CHECK(!kthread_current_worker());
	call_init(&call, worker, look_at_worker, NULL);
	CHECK(kthread_queue_work(worker, &call.work));
	CHECK_EQ(kthread_flush_work(&call.work), 0);
	CHECK_EQ(call.result, 0);
	CHECK_EQ(kthread_stop_worker(worker), 0);
	CHECK(!kthread_worker_thread(worker, NULL, NULL));
	CHECK_EQ(kthread_destroy_worker(worker), 0);

	kthread_init_worker(&own);
	CHECK(!kthread_worker_thread(&own, NULL, NULL));
	call_init(&call, &own, look_at_worker, NULL);
	side_start(&side, serve, &own);
	CHECK(kthread_queue_work(&own, &call.work));
	CHECK_EQ(kthread_flush_work(&call.work), 0);
	CHECK_EQ(call.result, 0);
	CHECK_EQ(kthread_destroy_worker(&own), 0);
	CHECK_EQ(side_join(&side), 0);
}

/* A held worker stays dead for those who call too late; released, it may live anew. */
TEST(held_worker_is_not_another_after_its_destruction)
{
	struct kthread_worker *held = kthread_create_worker(0, "held"), *others[40];
	struct counted late;

	kthread_hold_worker(held);
	CHECK_EQ(kthread_destroy_worker(held), 0);
	for (int i = 0; i < 40; i++)
		CHECK_EQ(kthread_destroy_worker(kthread_create_worker(0, "other")), 0);
	for (int i = 0; i < 40; i++) {
		others[i] = kthread_create_worker(0, "other");
		CHECK(others[i] != held);
	}
	counted_init(&late);
	CHECK_EQ(kthread_queue_work_status(held, &late.work), -ESHUTDOWN);
	CHECK_EQ(kthread_freeze_worker(held), -ESHUTDOWN);
	CHECK_EQ(kthread_start_worker(held, NULL), -ESHUTDOWN);
	CHECK_EQ(kthread_stop_worker(held), 0);
	CHECK_EQ(kthread_destroy_worker(held), 0);
	kthread_release_worker(held);
	for (int i = 0; i < 40; i++)
		CHECK_EQ(kthread_destroy_worker(others[i]), 0);
}
