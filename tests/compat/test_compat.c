/* SPDX-License-Identifier: GPL-2.0-only */
/* kthread_compat.h: each group of names does what docs/kernel-code.md says. */
#include <stdarg.h>

#include "harness.h"

/* Counts the messages, and keeps the last. */
static atomic_int messages;
static char last_message[256];

__attribute__((format(printf, 1, 2))) static int note(const char *format, ...)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	va_list args;
	int length;

	va_start(args, format);
	pthread_mutex_lock(&lock);
	length = vsnprintf(last_message, sizeof(last_message), format, args);
	pthread_mutex_unlock(&lock);
	va_end(args);
	atomic_fetch_add(&messages, 1);
	return length;
}

#define KTHREAD_COMPAT_PRINTK note
#define pr_fmt(fmt) "compat: " fmt
#include "kthread_compat.h"
#include "second.h"

TEST(err_ptr_holds_the_errno_and_no_other_pointer_is_one)
{
	int object;

	CHECK(IS_ERR(ERR_PTR(-ENOMEM)));
	CHECK_EQ(PTR_ERR(ERR_PTR(-ENOMEM)), -ENOMEM);
	CHECK(IS_ERR(ERR_PTR(-MAX_ERRNO)));
	CHECK(!IS_ERR(ERR_PTR(-MAX_ERRNO - 1)));
	CHECK(!IS_ERR(&object));
	CHECK(!IS_ERR(NULL));
	CHECK(IS_ERR_OR_NULL(NULL));
	CHECK_EQ(PTR_ERR_OR_ZERO(&object), 0);
	CHECK_EQ(PTR_ERR_OR_ZERO(ERR_PTR(-EPERM)), -EPERM);
}

TEST(create_that_fails_is_an_err_ptr)
{
	struct kthread_worker *worker = kthread_create_worker(1u << 30, "bad");
	struct task_struct *task;

	CHECK_EQ(PTR_ERR(worker), -EINVAL);
	worker = kthread_run_worker(1u << 30, "bad");
	CHECK_EQ(PTR_ERR(worker), -EINVAL);
	worker = kthread_create_worker_on_cpu(1 << 20, 0, "bad/%u");
	CHECK(IS_ERR(worker));
	worker = kthread_run_worker_on_cpu(1 << 20, 0, "bad/%u");
	CHECK(IS_ERR(worker));
	task = kthread_run(NULL, NULL, "bad");
	CHECK_EQ(PTR_ERR(task), -EINVAL);
}

struct item {
	int before;
	struct kthread_work work;
	struct list_head node;
	int number;
	int runs;
	struct completion done;
};

static void item_run(struct kthread_work *work)
{
	struct item *item = container_of(work, struct item, work);

	item->runs++;
	complete(&item->done);
}

static void item_init(struct item *item, int number)
{
	memset(item, 0, sizeof(*item));
	item->number = number;
	kthread_init_work(&item->work, item_run);
	init_completion(&item->done);
}

static void run_first(struct kthread_worker *worker, struct item *item)
{
	item_init(item, 1);
	CHECK(kthread_queue_work(worker, &item->work));
	kthread_flush_work(&item->work);
	CHECK_EQ(item->runs, 1);
}

TEST(worker_created_sleeps_until_woken)
{
	struct kthread_worker *worker = kthread_create_worker(0, "asleep/%d", 7);
	struct item item;

	CHECK(!IS_ERR(worker));
	CHECK(worker->task);
	CHECK(!strcmp(kthread_name(worker->task), "asleep/7"));
	item_init(&item, 1);
	CHECK_EQ(kthread_queue_work_status(worker, &item.work), 1); /* wakes nobody here */
	CHECK(kthread_work_pending(&item.work));
	CHECK_EQ(wait_for_completion_timeout(&item.done, 2), 0);
	wake_up_process(worker->task);
	wait_for_completion(&item.done);
	kthread_destroy_worker(worker);
	CHECK_EQ(item.runs, 1);
}

TEST(worker_created_is_woken_by_its_first_work)
{
	struct kthread_worker *worker = kthread_create_worker(0, "first");
	struct kthread_worker *other = kthread_create_worker(0, "other");
	struct item item;

	run_first(worker, &item);

	/* Once: a park that was asked for later is kept. */
	CHECK_EQ(kthread_park(worker->task), 0);
	CHECK(kthread_queue_work(worker, &item.work));
	wait_for_completion(&item.done);
	CHECK_EQ(wait_for_completion_timeout(&item.done, 2), 0);
	kthread_unpark(worker->task);
	kthread_flush_work(&item.work);

	/* The other one slept on. */
	CHECK_EQ(kthread_queue_work_status(other, &item.work), 1);
	reinit_completion(&item.done);
	CHECK_EQ(wait_for_completion_timeout(&item.done, 2), 0);
	kthread_destroy_worker(other);
	kthread_destroy_worker(worker);
	CHECK_EQ(item.runs, 3);
}

TEST(worker_created_and_never_woken_can_be_destroyed)
{
	struct kthread_worker *worker = kthread_create_worker(0, "never");

	CHECK(!IS_ERR(worker));
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

TEST(worker_created_as_before_6_14_runs)
{
	CHECK(before_creates_and_runs());
}

TEST(worker_run_runs)
{
	struct kthread_worker *worker = kthread_run_worker(0, "runs");
	struct item item;

	run_first(worker, &item);
	kthread_destroy_worker(worker);
}

static int until_stopped(void *data)
{
	atomic_t *turns = data;

	CHECK(current);
	CHECK(kthread_data(current) == data);
	atomic_inc(turns);
	while (!kthread_should_stop()) {
		set_current_state(TASK_INTERRUPTIBLE);
		if (!kthread_should_stop())
			schedule();
		__set_current_state(TASK_RUNNING);
		atomic_inc(turns);
	}
	return 42;
}

TEST(thread_created_begins_when_woken_also_by_another_unit)
{
	atomic_t turns = ATOMIC_INIT(0);
	struct task_struct *task = kthread_create(until_stopped, &turns, "made/%d", 1);

	CHECK(!IS_ERR(task));
	CHECK(kthread_func(task) == until_stopped);
	CHECK(second_data(task) == &turns);
	CHECK_EQ(atomic_read(&turns), 0);
	wake_up_process(task);
	WAIT_UNTIL(atomic_read(&turns));
	CHECK_EQ(kthread_stop(task), 42);

	atomic_set(&turns, 0);
	task = kthread_create_on_node(until_stopped, &turns, NUMA_NO_NODE, "made/%d", 2);
	/* Woken first, and stopped perhaps before it has begun: its function is called, or not. */
	if (second_wake_and_stop(task) == 42)
		CHECK(atomic_read(&turns) > 0);
	else
		CHECK_EQ(atomic_read(&turns), 0);
}

TEST(thread_created_and_never_woken_is_not_called)
{
	atomic_t turns = ATOMIC_INIT(0);
	struct task_struct *task = kthread_create(until_stopped, &turns, "never");

	CHECK_EQ(kthread_stop(task), -EINTR);
	CHECK_EQ(atomic_read(&turns), 0);
}

TEST(thread_that_is_parked_before_its_wake_begins_when_unparked)
{
	atomic_t turns = ATOMIC_INIT(0);
	struct task_struct *task = kthread_create(until_stopped, &turns, "parked");

	CHECK_EQ(kthread_park(task), 0);
	CHECK_EQ(atomic_read(&turns), 0);
	kthread_unpark(task);
	WAIT_UNTIL(atomic_read(&turns));
	CHECK_EQ(kthread_stop(task), 42);
}

/* The request wakes once; what comes then is as long as it is meant to be. */
static void pause_though_asked(void)
{
	while (!kthread_should_stop())
		schedule();
	while (schedule_timeout(2))
		;
}

static int pauses_at_its_end(void *unused)
{
	(void)unused;
	pause_though_asked();
	return 7;
}

static void pauses_in_the_drain(struct kthread_work *work)
{
	struct item *item = container_of(work, struct item, work);

	complete(&item->done);
	pause_though_asked();
}

TEST(pauses_are_pauses_also_when_the_end_is_asked_for)
{
	struct task_struct *task = kthread_run(pauses_at_its_end, NULL, "pauses");
	struct kthread_worker *worker = kthread_run_worker(0, "drained");
	struct item item;

	CHECK_EQ(kthread_stop(task), 7);
	init_completion(&item.done);
	kthread_init_work(&item.work, pauses_in_the_drain);
	CHECK(kthread_queue_work(worker, &item.work));
	wait_for_completion(&item.done);
	kthread_destroy_worker(worker);
}

TEST(jiffies_compare_right_when_they_wrap)
{
	unsigned long early = ULONG_MAX - 5, late = early + 10; /* 4 */

	CHECK(late < early);
	CHECK(time_after(late, early));
	CHECK(!time_after(early, late));
	CHECK(time_before(early, late));
	CHECK(!time_after(early, early));
	CHECK(time_after_eq(early, early));
	CHECK(time_before_eq(early, late));
	CHECK(time_in_range(early + 5, early, late));
	CHECK(!time_in_range(late + 1, early, late));
	CHECK(time_is_before_jiffies(jiffies - 1));
	CHECK(time_is_after_jiffies(jiffies + 100 * HZ));
}

TEST(jiffies_are_never_fewer_than_the_time)
{
	CHECK_EQ(HZ, KTHREAD_COMPAT_HZ);
	CHECK_EQ(msecs_to_jiffies(0), 0);
	CHECK_EQ(msecs_to_jiffies(1000), HZ);
	CHECK_EQ(msecs_to_jiffies(1), (HZ + 999) / 1000);
	CHECK_EQ(usecs_to_jiffies(1), 1);
	CHECK_EQ(secs_to_jiffies(3), 3 * HZ);
	CHECK_EQ(msecs_to_jiffies((unsigned int)-1), MAX_JIFFY_OFFSET);
	CHECK_EQ(jiffies_to_msecs(HZ), 1000);
	CHECK_EQ(jiffies_to_usecs(HZ), 1000000);
	CHECK_EQ(jiffies_to_nsecs(1), 1000000000 / HZ);
	for (unsigned int ms = 0; ms < 5000; ms += 7)
		CHECK(jiffies_to_msecs(msecs_to_jiffies(ms)) >= ms);
	CHECK_EQ(kcompat_jiffies_ns(MAX_SCHEDULE_TIMEOUT), KTHREAD_FOREVER);
	CHECK_EQ((int)jiffies_to_msecs(-5UL), -5 * 1000 / HZ);
	if (sizeof(long) > 4)
		CHECK_EQ(jiffies_to_msecs(msecs_to_jiffies(2000000000)), 2000000000);
}

struct timed {
	struct kthread_delayed_work dwork;
	unsigned long due, ran;
	struct completion done;
};

static void timed_run(struct kthread_work *work)
{
	struct kthread_delayed_work *dwork = container_of(work, struct kthread_delayed_work, work);
	struct timed *timed = container_of(dwork, struct timed, dwork);

	timed->ran = jiffies;
	complete(&timed->done);
}

TEST(moment_that_has_passed_is_now)
{
	struct kthread_worker *worker = kthread_run_worker(0, "passed");
	unsigned long due = jiffies - 1;
	struct timed timed;

	kthread_init_delayed_work(&timed.dwork, timed_run);
	init_completion(&timed.done);
	CHECK_EQ(wait_for_completion_timeout(&timed.done, due - jiffies), 0);
	CHECK(kthread_queue_delayed_work(worker, &timed.dwork, due - jiffies));
	wait_for_completion(&timed.done);
	CHECK(kthread_queue_delayed_work(worker, &timed.dwork, 3600 * HZ));
	CHECK(kthread_mod_delayed_work(worker, &timed.dwork, due - jiffies));
	wait_for_completion(&timed.done);
	kthread_destroy_worker(worker);
}

TEST(delays_are_jiffies_and_never_early)
{
	struct kthread_worker *worker = kthread_run_worker(0, "delays");
	struct timed timed;

	kthread_init_delayed_work(&timed.dwork, timed_run);
	init_completion(&timed.done);
	timed.due = jiffies + 5;
	CHECK(kthread_queue_delayed_work(worker, &timed.dwork, 5));
	wait_for_completion(&timed.done);
	CHECK(time_after_eq(timed.ran, timed.due));

	/* An hour of jiffies: put off, looked at, and taken forward to now. */
	CHECK(!kthread_mod_delayed_work(worker, &timed.dwork, 3600 * HZ));
	CHECK(kthread_delayed_work_remaining(&timed.dwork) > 3599 * (uint64_t)NSEC_PER_SEC);
	CHECK(kthread_delayed_work_remaining(&timed.dwork) <= 3600 * (uint64_t)NSEC_PER_SEC);
	CHECK(kthread_mod_delayed_work(worker, &timed.dwork, 0));
	wait_for_completion(&timed.done);
	CHECK(!kthread_cancel_delayed_work_sync(&timed.dwork));
	kthread_destroy_worker(worker);
}

static int side_wait(void *completion)
{
	wait_for_completion(completion);
	return 0;
}

TEST(completion_serves_one_for_each_and_all_for_all)
{
	DECLARE_COMPLETION_ONSTACK(done);
	struct side sides[6];
	unsigned int back;

	for (int i = 0; i < 6; i++) {
		side_start(&sides[i], side_wait, &done);
		side_settle(&sides[i]);
	}
	complete(&done);
	complete(&done);
	do {
		back = 0;
		for (int i = 0; i < 6; i++)
			back += atomic_load(&sides[i].returned);
	} while (back < 2);
	CHECK_EQ(back, 2);
	CHECK(!completion_done(&done));
	complete_all(&done);
	for (int i = 0; i < 6; i++)
		CHECK_EQ(side_join(&sides[i]), 0);
	wait_for_completion(&done); /* still for all */
	CHECK(completion_done(&done));
	reinit_completion(&done);
	CHECK(!try_wait_for_completion(&done));
	complete(&done);
	complete(&done);
	CHECK(try_wait_for_completion(&done));
	CHECK(try_wait_for_completion(&done));
	CHECK(!try_wait_for_completion(&done));
}

TEST(completion_with_a_timeout_says_what_was_left)
{
	DECLARE_COMPLETION_ONSTACK(done);
	unsigned long left;

	CHECK_EQ(wait_for_completion_timeout(&done, 0), 0);
	CHECK_EQ(wait_for_completion_timeout(&done, 1), 0);
	complete(&done);
	CHECK_EQ(wait_for_completion_timeout(&done, 0), 1);
	complete(&done);
	left = wait_for_completion_timeout(&done, 3600 * HZ);
	CHECK(left >= 1 && left <= 3600 * HZ);
	complete(&done);
	CHECK_EQ(wait_for_completion_timeout(&done, MAX_SCHEDULE_TIMEOUT), MAX_SCHEDULE_TIMEOUT);
	/* One that gave up is in nobody's way. */
	complete(&done);
	CHECK(try_wait_for_completion(&done));
}

static int side_complete(void *completion)
{
	complete(completion);
	return 0;
}

/* The waiter's stack frame is gone while the one that completed gives its lock back. */
TEST(completion_on_the_stack_may_go_when_the_wait_is_over)
{
	for (int i = 0; i < 200; i++) {
		struct side side;
		struct completion *done = kmalloc(sizeof(*done), GFP_KERNEL);

		init_completion(done);
		side_start(&side, side_complete, done);
		wait_for_completion(done);
		kfree(done);
		side_join(&side);
	}
}

static int side_warn(void *unused)
{
	int said = 0;

	(void)unused;
	for (int i = 0; i < 1000; i++)
		said += WARN_ON_ONCE(i >= 0);
	return said;
}

TEST(warn_on_once_is_said_once_by_all_threads_and_is_true_each_time)
{
	struct side sides[4];

	atomic_store(&messages, 0);
	for (int i = 0; i < 4; i++)
		side_start(&sides[i], side_warn, NULL);
	for (int i = 0; i < 4; i++)
		CHECK_EQ(side_join(&sides[i]), 1000);
	CHECK_EQ(atomic_load(&messages), 1);
	CHECK(strstr(last_message, "test_compat.c"));
	CHECK(strstr(last_message, "side_warn"));
}

TEST(messages_have_level_prefix_and_arguments)
{
	atomic_store(&messages, 0);
	pr_err("plain\n");
	CHECK(!strcmp(last_message, KERN_ERR "compat: plain\n"));
	pr_warn("%d of %s\n", 3, "it");
	CHECK(!strcmp(last_message, KERN_WARNING "compat: 3 of it\n"));
	pr_debug("%d\n", 1);
	CHECK_EQ(atomic_load(&messages), 2);
	for (int i = 0; i < 3; i++)
		pr_info_once("%d\n", i);
	CHECK(!strcmp(last_message, KERN_INFO "compat: 0\n"));
	CHECK(!WARN_ON(0));
	CHECK(!WARN(0, "%d\n", 1));
	CHECK_EQ(atomic_load(&messages), 3);
	CHECK(WARN(1, "%d is said\n", 5));
	CHECK(!strcmp(last_message, KERN_WARNING "5 is said\n"));
	CHECK_EQ(atomic_load(&messages), 5);
	for (int i = 0; i < 3; i++)
		CHECK(WARN_ONCE(1, "once %d\n", i));
	CHECK_EQ(atomic_load(&messages), 7);
}

TEST(default_printk_keeps_errno)
{
	errno = ENOENT;
	kcompat_printk(KERN_INFO "to standard error, level taken off");
	CHECK_EQ(errno, ENOENT);
}

TEST(bug_on_ends_the_process)
{
	pid_t pid;
	int status;

	if (UNDER_TSAN)
		SKIP("the thread sanitizer does not bear the end of a forked child");
	fflush(NULL);
	pid = fork();
	if (!pid) {
		signal(SIGABRT, SIG_DFL);
		BUG_ON(pid == 0);
		_exit(0);
	}
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK(WIFSIGNALED(status));
	CHECK_EQ(WTERMSIG(status), SIGABRT);
}

TEST(fifo_of_a_workers_task_is_the_systems)
{
	struct kthread_worker *worker = kthread_create_worker(0, "fifo");
	struct sched_param param = { .sched_priority = 3 };
	struct kthread_attr now = KTHREAD_ATTR_INIT;
	int result = sched_set_fifo(worker->task);

	if (result == -EPERM || result == -EACCES) {
		CHECK(strstr(last_message, "CAP_SYS_NICE"));
		kthread_destroy_worker(worker);
		SKIP("no right to SCHED_FIFO here (CAP_SYS_NICE or RLIMIT_RTPRIO)");
	}
	CHECK_EQ(result, 0);
	CHECK_EQ(kthread_get_scheduler(worker->task, &now), 0);
	CHECK_EQ(now.policy, SCHED_FIFO);
	CHECK_EQ(now.priority, 50);
	/* Not by the C library: musl's does not ask. */
	CHECK_EQ(syscall(SYS_sched_getscheduler, task_pid_nr(worker->task)), SCHED_FIFO);
	sched_set_fifo_low(worker->task);
	CHECK_EQ(kthread_get_scheduler(worker->task, &now), 0);
	CHECK_EQ(now.priority, 1);
	CHECK_EQ(sched_setscheduler(worker->task, SCHED_FIFO, &param), 0);
	CHECK_EQ(kthread_get_scheduler(worker->task, &now), 0);
	CHECK_EQ(now.priority, 3);
	sched_set_normal(worker->task, 5);
	CHECK_EQ(kthread_get_scheduler(worker->task, &now), 0);
	CHECK_EQ(now.policy, SCHED_OTHER);
	CHECK_EQ(now.nice, 5);
	CHECK_EQ(set_user_nice(worker->task, 7), 0);
	CHECK_EQ(kthread_get_scheduler(worker->task, &now), 0);
	CHECK_EQ(now.nice, 7);
	wake_up_process(worker->task);
	kthread_destroy_worker(worker);
}

TEST(list_keeps_order_and_bears_removal_while_walked)
{
	LIST_HEAD(list);
	LIST_HEAD(other);
	struct item items[5], *item, *next;
	int sum = 0, at = 0;

	CHECK(list_empty(&list));
	CHECK(!list_first_entry_or_null(&list, struct item, node));
	for (int i = 0; i < 5; i++) {
		items[i].number = i;
		list_add_tail(&items[i].node, &list);
	}
	list_for_each_entry(item, &list, node)
		CHECK_EQ(item->number, at++);
	CHECK_EQ(at, 5);
	list_for_each_entry_safe(item, next, &list, node)
		if (item->number % 2)
			list_del_init(&item->node);
	CHECK(list_empty(&items[1].node));
	list_move_tail(&items[0].node, &list);
	list_move(&items[4].node, &list);
	CHECK_EQ(list_first_entry(&list, struct item, node)->number, 4);
	CHECK_EQ(list_last_entry(&list, struct item, node)->number, 0);
	list_add(&items[1].node, &other);
	list_splice_tail_init(&list, &other);
	CHECK(list_empty(&list));
	list_for_each_entry(item, &other, node)
		sum = sum * 10 + item->number;
	CHECK_EQ(sum, 1420);
}

static DEFINE_SPINLOCK(shared_lock);
static long shared;

static int side_add(void *unused)
{
	unsigned long flags;

	(void)unused;
	for (int i = 0; i < 2000; i++) {
		spin_lock_irqsave(&shared_lock, flags);
		shared++;
		spin_unlock_irqrestore(&shared_lock, flags);
	}
	return 0;
}

/* Its first use by all at once: it is made by one of them. */
TEST(spinlock_excludes_from_its_first_use_on)
{
	struct mutex *zeros = kzalloc(sizeof(*zeros), GFP_KERNEL);
	struct side sides[4];

	for (int i = 0; i < 4; i++)
		side_start(&sides[i], side_add, NULL);
	for (int i = 0; i < 4; i++)
		side_join(&sides[i]);
	CHECK_EQ(shared, 8000);

	mutex_lock(zeros);
	CHECK(!mutex_trylock(zeros));
	mutex_unlock(zeros);
	CHECK(mutex_trylock(zeros));
	mutex_unlock(zeros);
	mutex_destroy(zeros);
	kfree(zeros);
}

static int released;

static void release(struct kref *kref)
{
	(void)kref;
	released++;
}

TEST(small_things)
{
	int a = 3, b = 9, calls = 0;
	unsigned long word = 0;
	volatile unsigned long flags = 0;
	volatile size_t huge = SIZE_MAX;
	void *volatile none; /* else clang drops the allocation, and takes it for one that went well */
	struct kref kref;
	char *text;
	int *zeros;

	CHECK_EQ(min(a, b), 3);
	CHECK_EQ(max(a++, b), 9);
	CHECK_EQ(a, 4);
	CHECK_EQ(clamp(12, a, b), 9);
	CHECK_EQ(min_t(unsigned int, -1, 5), 5);
	swap(a, b);
	CHECK_EQ(a, 9);
	CHECK_EQ(ARRAY_SIZE(((int[]){ 1, 2, 3 })), 3);
	CHECK_EQ(GENMASK(7, 4), 0xf0);
	CHECK_EQ(DIV_ROUND_UP(7, 2), 4);
	CHECK(!test_and_set_bit(5, &word));
	CHECK(test_and_set_bit(5, &word));
	CHECK_EQ(word, BIT(5));
	clear_bit(5, &word);
	CHECK(!test_bit(5, &word));
	WRITE_ONCE(b, 8);
	CHECK_EQ(READ_ONCE(b), 8);
	CHECK_EQ(xchg(&b, 1), 8);
	CHECK_EQ(cmpxchg(&b, 2, 3), 1);
	CHECK_EQ(cmpxchg(&b, 1, 3), 1);
	CHECK_EQ(b, 3);
	CHECK(likely(++calls));
	CHECK_EQ(calls, 1);
	none = kcalloc(huge, 2, GFP_KERNEL);
	CHECK(!none);
	none = kmalloc_array(huge, 2, GFP_KERNEL);
	CHECK(!none);
	zeros = kmalloc(sizeof(*zeros), GFP_KERNEL | __GFP_ZERO);
	CHECK_EQ(*zeros, 0);
	kfree(zeros);
	kfree(NULL);
	text = kstrdup("text", GFP_KERNEL);
	CHECK(!strcmp(text, "text"));
	kfree(text);
	kref_init(&kref);
	kref_get(&kref);
	CHECK_EQ(kref_put(&kref, release), 0);
	CHECK_EQ(kref_put(&kref, release), 1);
	CHECK_EQ(released, 1);
	CHECK(ktime_after(ktime_add_us(ms_to_ktime(1), 1), ms_to_ktime(1)));
	CHECK_EQ(ktime_us_delta(ms_to_ktime(3), ms_to_ktime(1)), 2000);
	CHECK_EQ(schedule_timeout(-1), 0);
	CHECK_EQ(ktime_set(2, 5), 2 * NSEC_PER_SEC + 5);
	CHECK_EQ(ktime_set(INT64_MAX / 1000, 0), KTIME_MAX);
	CHECK_EQ(min(min(a, 2), max(b, min(7, 4))), 2);
	if (a)
		BUILD_BUG_ON(sizeof(u8) != 1);
	static_assert(sizeof(u16) == 2);
	static_assert(sizeof(u32) == 4, "with a message");
	set_bit(6, &flags);
	CHECK(test_bit(6, &flags));
}

TEST(source_that_keeps_its_includes_compiles_and_serves)
{
	CHECK_EQ(unchanged_serves(10), 10);
}

static void flush_own_worker(struct kthread_work *work)
{
	kthread_flush_worker(kthread_work_worker(work));
}

TEST(flush_that_cannot_be_is_said_aloud)
{
	struct kthread_worker *worker = kthread_run_worker(0, "circle");
	DEFINE_KTHREAD_WORK(work, flush_own_worker);
	int before = atomic_load(&messages);

	CHECK(!IS_ERR(worker));
	CHECK(kthread_queue_work(worker, &work));
	CHECK_EQ(kthread_flush_work(&work), 0);
	CHECK_EQ(atomic_load(&messages), before + 1);
	CHECK(strstr(last_message, "kthread_flush_worker"));
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

TEST(set_of_cpus_is_the_threads)
{
	struct kthread_worker *worker = kthread_create_worker(0, "cpus");
	unsigned int cpu = (unsigned int)sched_getcpu();
	struct cpumask mask;
	char list[64], one[16];

	CHECK(!IS_ERR(worker));
	snprintf(one, sizeof(one), "%u", cpu);
	CHECK_EQ(set_cpus_allowed_ptr(worker->task, cpumask_of(cpu)), 0);
	CHECK((kthread_get_cpus)(worker->task, list, sizeof(list)) > 0);
	CHECK(!strcmp(list, one));
	cpumask_clear(&mask);
	CHECK_EQ(set_cpus_allowed_ptr(worker->task, &mask), -EINVAL);
	cpumask_set_cpu(cpu, &mask);
	CHECK(cpumask_test_cpu(cpu, &mask));
	CHECK(!cpumask_test_cpu(cpu + 1, &mask));
	CHECK_EQ(set_cpus_allowed_ptr(worker->task, &mask), 0);
	CHECK_EQ(kthread_bind(worker->task, cpu), 0);
	kthread_destroy_worker(worker);
}
