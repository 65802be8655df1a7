/* SPDX-License-Identifier: GPL-2.0-only */
/* One thread: name, attributes, stop, sleep, freeze, signals. */
#include "harness.h"

#include <sys/resource.h>

/* What a thread sees of itself. */
struct seen {
	char comm[64];
	pid_t tid;
	struct kthread *current;
	sigset_t blocked;
	int policy, priority, nice;
	cpu_set_t cpus;
	size_t stack;
	bool stop_at_begin;
};

static int look(void *data)
{
	struct seen *seen = data;
	struct sched_param param;
	pthread_attr_t attr;
	FILE *file = fopen("/proc/thread-self/comm", "r");

	CHECK(file);
	CHECK(fgets(seen->comm, sizeof(seen->comm), file));
	seen->comm[strcspn(seen->comm, "\n")] = 0;
	fclose(file);
	seen->tid = own_tid();
	seen->current = kthread_current();
	seen->stop_at_begin = kthread_should_stop();
	pthread_sigmask(SIG_SETMASK, NULL, &seen->blocked);
	pthread_getschedparam(pthread_self(), &seen->policy, &param);
	seen->priority = param.sched_priority;
	errno = 0;
	seen->nice = getpriority(PRIO_PROCESS, (id_t)seen->tid);
	sched_getaffinity(0, sizeof(seen->cpus), &seen->cpus);
	CHECK_EQ(pthread_getattr_np(pthread_self(), &attr), 0);
	pthread_attr_getstacksize(&attr, &seen->stack);
	pthread_attr_destroy(&attr);
	return 42;
}

static int run_until_stop(void *data)
{
	(void)data;
	while (!kthread_should_stop())
		kthread_sleep(KTHREAD_FOREVER);
	return 7;
}

struct gated {
	struct gate entered, go;
	int result;
};

static int run_gated(void *data)
{
	struct gated *gated = data;

	gate_open(&gated->entered);
	gate_wait(&gated->go);
	return gated->result;
}

static void gated_init(struct gated *gated, int result)
{
	gate_init(&gated->entered);
	gate_init(&gated->go);
	gated->result = result;
}

TEST(run_gives_the_name_and_stop_the_result)
{
	struct seen seen;
	struct kthread *k = kthread_run(look, &seen, "blink/%d", 3);

	CHECK(k);
	CHECK(!strcmp(kthread_name(k), "blink/3"));
	pid_t tid = kthread_tid(k);

	WAIT_UNTIL(tid_settled(tid));
	CHECK_EQ(kthread_tid(k), tid);
	/* It ended by itself; its struct is there until the stop. */
	CHECK_EQ(kthread_stop(k), 42);
	CHECK(!strcmp(seen.comm, "blink/3"));
	CHECK_EQ(seen.tid, tid);
	CHECK(seen.current == k);
	CHECK(!kthread_current());
}

static void check_comm(const char *name, const char *comm)
{
	struct kthread_attr attr = KTHREAD_ATTR_INIT;
	struct seen seen;
	struct kthread *k;

	attr.name = name;
	k = kthread_run_attr(look, &seen, &attr);
	CHECK(k);
	CHECK(!strcmp(kthread_name(k), name ? name : "kthread"));
	CHECK_EQ(kthread_stop(k), 42);
	if (strcmp(seen.comm, comm))
		printf("comm is \"%s\", not \"%s\"\n", seen.comm, comm);
	CHECK(!strcmp(seen.comm, comm));
}

TEST(name_is_cut_between_characters)
{
	check_comm(NULL, "kthread");
	check_comm("a", "a");
	check_comm("exactly15bytes.", "exactly15bytes.");
	check_comm("more than fifteen bytes", "more than fifte");
	check_comm("abcdefghijklm\xc3\xa4z", "abcdefghijklm\xc3\xa4");
	check_comm("abcdefghijklmn\xc3\xa4", "abcdefghijklmn");
	check_comm("abcdefghijklmn\xe2\x82\xac", "abcdefghijklmn");
	check_comm("abcdefghijklm\xe2\x82\xac", "abcdefghijklm");
	check_comm("abcdefghijkl\xe2\x82\xac", "abcdefghijkl\xe2\x82\xac");
	check_comm("abcdefghijkl\xf0\x9f\x98\x80", "abcdefghijkl");
	check_comm("\xf0\x9f\x98\x80\xf0\x9f\x98\x80\xf0\x9f\x98\x80\xf0\x9f\x98\x80",
		   "\xf0\x9f\x98\x80\xf0\x9f\x98\x80\xf0\x9f\x98\x80");
}

TEST(name_of_a_thread_is_copied_in_full)
{
	char name[300];
	struct kthread *k;

	memset(name, 'x', sizeof(name) - 1);
	name[sizeof(name) - 1] = 0;
	k = kthread_run(run_until_stop, NULL, "%s/%d", name, 12);
	CHECK(k);
	CHECK_EQ(strlen(kthread_name(k)), sizeof(name) - 1 + 3);
	memset(name, 'y', sizeof(name) - 1);
	CHECK(kthread_name(k)[0] == 'x');
	CHECK_EQ(kthread_stop(k), 7);
}

TEST(bad_arguments_are_refused)
{
	const char *volatile no_format = NULL;

	CHECK_REFUSED(kthread_run(NULL, NULL, "name"), EINVAL);
	CHECK_REFUSED(kthread_run(run_until_stop, NULL, no_format, 0), EINVAL);
	CHECK_REFUSED(kthread_run_attr(NULL, NULL, NULL), EINVAL);
	CHECK_EQ(kthread_stop(NULL), -EINVAL);
	CHECK_EQ(kthread_freeze(NULL), -EINVAL);
	CHECK_EQ(kthread_freeze_timeout(NULL, 0), -EINVAL);
}

TEST(null_attributes_are_the_defaults)
{
	struct seen seen;
	struct kthread *k = kthread_run_attr(look, &seen, NULL);

	CHECK(k);
	CHECK_EQ(kthread_stop(k), 42);
	CHECK(!strcmp(seen.comm, "kthread"));
}

TEST(thread_that_is_no_kthread)
{
	CHECK(!kthread_current());
	CHECK(!kthread_should_stop());
	CHECK(!try_to_freeze());
	CHECK_EQ(kthread_sleep(0), -EINVAL);
	CHECK_EQ(kthread_sleep(KTHREAD_FOREVER), -EINVAL);
	CHECK_EQ(kthread_wait_for_wake_up(KTHREAD_FOREVER), -EINVAL);
}

/* Stop */

TEST(stop_wakes_a_sleeper)
{
	struct kthread *k = kthread_run(run_until_stop, NULL, "sleeper");

	CHECK(k);
	WAIT_UNTIL(tid_settled(kthread_tid(k)));
	CHECK_EQ(kthread_stop(k), 7);
}

TEST(stop_before_the_first_sleep_is_not_lost)
{
	for (int i = 0; i < 500; i++) {
		struct kthread *k = kthread_run(run_until_stop, NULL, "early");

		CHECK(k);
		CHECK_EQ(kthread_stop(k), 7);
	}
}

static int side_stop(void *k)
{
	return kthread_stop(k);
}

static int report_stop(void *data)
{
	struct gated *gated = data;
	bool before = kthread_should_stop();

	gate_open(&gated->entered);
	while (!kthread_should_stop())
		nap();
	return before ? -1 : -12345;
}

TEST(stop_returns_any_result_and_should_stop_tells)
{
	struct gated gated;
	struct kthread *k;

	gated_init(&gated, 0);
	k = kthread_run(report_stop, &gated, "should");
	CHECK(k);
	gate_wait(&gated.entered);
	CHECK(!kthread_should_stop());
	CHECK_EQ(kthread_stop(k), -12345);
	CHECK(!kthread_should_stop());
}

TEST(stop_waits_for_the_end)
{
	struct gated gated;
	struct kthread *k;
	struct side side;

	gated_init(&gated, 9);
	k = kthread_run(run_gated, &gated, "slow");
	CHECK(k);
	gate_wait(&gated.entered);
	side_start(&side, side_stop, k);
	side_settle(&side);
	CHECK(!atomic_load(&side.returned));
	gate_open(&gated.go);
	CHECK_EQ(side_join(&side), 9);
}

static int stop_self(void *data)
{
	(void)data;
	return kthread_stop(kthread_current()) == -EDEADLK ? 1 : 0;
}

TEST(stop_of_oneself_is_a_deadlock)
{
	struct kthread *k = kthread_run(stop_self, NULL, "self");

	CHECK(k);
	CHECK_EQ(kthread_stop(k), 1);
}

/* Sleep */

static int sleep_results(void *data)
{
	struct gated *gated = data;

	CHECK_EQ(kthread_sleep(0), -ETIMEDOUT);
	CHECK_EQ(kthread_sleep(MS(1)), -ETIMEDOUT);
	gate_open(&gated[0].entered);
	gate_wait(&gated[0].go);
	/* Woken while it did not sleep: the next sleep ends at once, that after does not. */
	CHECK_EQ(kthread_sleep(KTHREAD_FOREVER), 0);
	CHECK_EQ(kthread_sleep(MS(1)), -ETIMEDOUT);
	kthread_wake_up(kthread_current());
	kthread_wake_up(kthread_current());
	CHECK_EQ(kthread_sleep(0), 0);
	CHECK_EQ(kthread_sleep(0), -ETIMEDOUT);
	gate_open(&gated[1].entered);
	while (!kthread_should_stop())
		kthread_sleep(KTHREAD_FOREVER);
	/* A stop asked for: no sleep any more. */
	CHECK_EQ(kthread_sleep(KTHREAD_FOREVER), 0);
	/* But for this one, which the request wakes once. */
	while (kthread_wait_for_wake_up(MS(1)) != -ETIMEDOUT)
		;
	kthread_wake_up(kthread_current());
	CHECK_EQ(kthread_wait_for_wake_up(KTHREAD_FOREVER), 0);
	return 0;
}

TEST(wake_up_before_the_sleep_is_not_lost)
{
	struct gated gated[2];
	struct kthread *k;

	gated_init(&gated[0], 0);
	gated_init(&gated[1], 0);
	k = kthread_run(sleep_results, gated, "results");
	CHECK(k);
	gate_wait(&gated[0].entered);
	kthread_wake_up(k);
	gate_open(&gated[0].go);
	gate_wait(&gated[1].entered);
	CHECK_EQ(kthread_stop(k), 0);
}

static atomic_int woken;

static int count_wakes(void *data)
{
	(void)data;
	while (!kthread_should_stop())
		if (kthread_sleep(KTHREAD_FOREVER) == 0)
			atomic_fetch_add(&woken, 1);
	return 0;
}

static struct kthread *wake_whom;

static void wake_from_handler(int number)
{
	(void)number;
	kthread_wake_up(wake_whom);
}

TEST(wake_up_ends_a_sleep_also_from_a_signal_handler)
{
	struct sigaction action;

	atomic_store(&woken, 0);
	wake_whom = kthread_run(count_wakes, NULL, "wakes");
	CHECK(wake_whom);
	memset(&action, 0, sizeof(action));
	action.sa_handler = wake_from_handler;
	CHECK_EQ(sigaction(SIGUSR1, &action, NULL), 0);
	for (int i = 0; i < 200; i++) {
		int before = atomic_load(&woken);

		if (i % 2)
			WAIT_UNTIL(tid_settled(kthread_tid(wake_whom)));
		if (i % 4 < 2)
			kthread_wake_up(wake_whom);
		else
			raise(SIGUSR1);
		WAIT_UNTIL(atomic_load(&woken) > before);
	}
	CHECK_EQ(kthread_stop(wake_whom), 0);
}

/* Freeze */

struct rester {
	atomic_int rounds;
	atomic_int rested;
};

static int rest_and_count(void *data)
{
	struct rester *rester = data;

	while (!kthread_should_stop()) {
		if (try_to_freeze())
			atomic_fetch_add(&rester->rested, 1);
		atomic_fetch_add(&rester->rounds, 1);
		kthread_sleep(MS(1));
	}
	return 5;
}

TEST(frozen_thread_rests_until_thawed)
{
	struct rester rester = { 0 };
	struct kthread *k = kthread_run(rest_and_count, &rester, "rests");

	CHECK(k);
	CHECK(!freezing(k));
	for (int i = 0; i < 20; i++) {
		int rounds, rested = atomic_load(&rester.rested);

		CHECK_EQ(i % 2 ? kthread_freeze(k) : kthread_freeze_timeout(k, MS(10000)), 0);
		CHECK(freezing(k));
		rounds = atomic_load(&rester.rounds);
		kthread_wake_up(k);
		WAIT_UNTIL(tid_settled(kthread_tid(k)));
		nap();
		CHECK_EQ(atomic_load(&rester.rounds), rounds);
		CHECK_EQ(atomic_load(&rester.rested), rested);
		/* Once more: it rests already. */
		CHECK_EQ(kthread_freeze(k), 0);
		CHECK_EQ(kthread_freeze_timeout(k, 0), 0);
		kthread_thaw(k);
		CHECK(!freezing(k));
		WAIT_UNTIL(atomic_load(&rester.rested) == rested + 1);
		WAIT_UNTIL(atomic_load(&rester.rounds) > rounds);
	}
	CHECK_EQ(kthread_stop(k), 5);
}

static int rest_when_asked(void *data)
{
	struct rester *rester = data;

	while (!kthread_should_stop()) {
		kthread_sleep(KTHREAD_FOREVER);
		if (try_to_freeze())
			atomic_fetch_add(&rester->rested, 1);
	}
	return 6;
}

TEST(freeze_wakes_a_sleeper)
{
	struct rester rester = { 0 };
	struct kthread *k = kthread_run(rest_when_asked, &rester, "sleeps");

	CHECK(k);
	WAIT_UNTIL(tid_settled(kthread_tid(k)));
	CHECK_EQ(kthread_freeze(k), 0);
	kthread_thaw(k);
	WAIT_UNTIL(atomic_load(&rester.rested) == 1);
	CHECK_EQ(kthread_stop(k), 6);
}

TEST(thaw_and_freeze_again_rests_again)
{
	struct rester rester = { 0 };
	struct kthread *k = kthread_run(rest_when_asked, &rester, "again");

	CHECK(k);
	/* Quick: the thread may not mistake the second freeze for the first. */
	for (int i = 0; i < 2000; i++) {
		CHECK_EQ(kthread_freeze(k), 0);
		CHECK(freezing(k));
		kthread_thaw(k);
	}
	CHECK(!freezing(k));
	CHECK_EQ(kthread_stop(k), 6);
}

TEST(freeze_that_times_out_is_withdrawn)
{
	struct gated gated;
	struct kthread *k;

	gated_init(&gated, 8);
	k = kthread_run(run_gated, &gated, "busy");
	CHECK(k);
	gate_wait(&gated.entered);
	CHECK_EQ(kthread_freeze_timeout(k, 0), -ETIMEDOUT);
	CHECK(!freezing(k));
	CHECK_EQ(kthread_freeze_timeout(k, MS(2)), -ETIMEDOUT);
	CHECK(!freezing(k));
	gate_open(&gated.go);
	CHECK_EQ(kthread_stop(k), 8);
}

static int side_freeze(void *k)
{
	return kthread_freeze(k);
}

struct gated_rester {
	struct gated gated;
	atomic_int rested;
};

static int gated_then_rest(void *data)
{
	struct gated_rester *g = data;

	run_gated(&g->gated);
	if (try_to_freeze())
		atomic_fetch_add(&g->rested, 1);
	return 3;
}

TEST(freeze_that_times_out_leaves_an_earlier_one_alone)
{
	struct gated_rester g = { .rested = 0 };
	struct kthread *k;
	struct side side;

	gated_init(&g.gated, 0);
	k = kthread_run(gated_then_rest, &g, "earlier");
	CHECK(k);
	gate_wait(&g.gated.entered);
	side_start(&side, side_freeze, k);
	side_settle(&side);
	CHECK(freezing(k));
	CHECK_EQ(kthread_freeze_timeout(k, MS(1)), -ETIMEDOUT);
	CHECK_EQ(kthread_freeze_timeout(k, 0), -ETIMEDOUT);
	CHECK(freezing(k));
	gate_open(&g.gated.go);
	CHECK_EQ(side_join(&side), 0);
	CHECK(freezing(k));
	CHECK_EQ(atomic_load(&g.rested), 0);
	kthread_thaw(k);
	CHECK_EQ(kthread_stop(k), 3);
	CHECK_EQ(atomic_load(&g.rested), 1);
}

TEST(freeze_of_an_ended_thread_returns)
{
	struct gated gated;
	struct kthread *k;

	gated_init(&gated, 8);
	k = kthread_run(run_gated, &gated, "ends");
	CHECK(k);
	gate_open(&gated.go);
	CHECK_EQ(kthread_freeze(k), 0);
	WAIT_UNTIL(tid_settled(kthread_tid(k)));
	CHECK_EQ(kthread_freeze(k), 0);
	kthread_thaw(k);
	CHECK_EQ(kthread_stop(k), 8);
}

TEST(freeze_waits_and_ends_when_the_thread_ends)
{
	struct gated gated;
	struct kthread *k;
	struct side side;

	gated_init(&gated, 8);
	k = kthread_run(run_gated, &gated, "never");
	CHECK(k);
	gate_wait(&gated.entered);
	side_start(&side, side_freeze, k);
	side_settle(&side);
	CHECK(!atomic_load(&side.returned));
	gate_open(&gated.go);
	CHECK_EQ(side_join(&side), 0);
	CHECK_EQ(kthread_stop(k), 8);
}

TEST(stop_of_a_frozen_thread_thaws_it)
{
	struct rester rester = { 0 };
	struct kthread *k = kthread_run(rest_and_count, &rester, "frozen");

	CHECK(k);
	CHECK_EQ(kthread_freeze(k), 0);
	CHECK_EQ(kthread_stop(k), 5);
}

static int freeze_self(void *data)
{
	(void)data;
	CHECK_EQ(kthread_freeze(kthread_current()), -EDEADLK);
	CHECK_EQ(kthread_freeze_timeout(kthread_current(), 0), -EDEADLK);
	CHECK(!freezing(kthread_current()));
	CHECK(!try_to_freeze());
	return 1;
}

TEST(freeze_of_oneself_is_a_deadlock)
{
	struct kthread *k = kthread_run(freeze_self, NULL, "self");

	CHECK(k);
	CHECK_EQ(kthread_stop(k), 1);
}

TEST(thaw_without_freeze_does_nothing)
{
	struct rester rester = { 0 };
	struct kthread *k = kthread_run(rest_and_count, &rester, "thawed");

	CHECK(k);
	kthread_thaw(k);
	kthread_thaw(k);
	CHECK_EQ(kthread_freeze(k), 0);
	CHECK(freezing(k));
	kthread_thaw(k);
	CHECK_EQ(kthread_stop(k), 5);
	CHECK_EQ(atomic_load(&rester.rested), 1);
}

/* Signals */

TEST(all_signals_are_blocked)
{
	struct seen seen;
	struct kthread *k;
	sigset_t before, after, all, possible;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	pthread_sigmask(SIG_SETMASK, &before, &possible);
	k = kthread_run(look, &seen, "signals");
	CHECK(k);
	CHECK_EQ(kthread_stop(k), 42);
	for (int number = 1; number <= SIGRTMAX; number++) {
		if (number == SIGKILL || number == SIGSTOP || (number >= 32 && number < SIGRTMIN))
			continue;
		/* An emulator keeps some for itself. */
		if (test_emulator() && number > SIGRTMIN && !sigismember(&possible, number))
			continue;
		CHECK_EQ(sigismember(&seen.blocked, number) * number, number);
	}
	pthread_sigmask(SIG_SETMASK, NULL, &after);
	for (int number = 1; number <= SIGRTMAX; number++)
		CHECK_EQ(sigismember(&after, number), sigismember(&before, number));
	CHECK(!sigismember(&after, SIGTERM));
}

/* Attributes */

static struct kthread *run_seen(struct seen *seen, const struct kthread_attr *attr)
{
	return kthread_run_attr(look, seen, attr);
}

static void check_attr_refused(const struct kthread_attr *attr, int error)
{
	struct seen seen;
	int threads = count_threads(), fds = count_fds();

	for (int i = 0; i < 20; i++) {
		memset(&seen, 0, sizeof(seen));
		CHECK_REFUSED(run_seen(&seen, attr), error);
		CHECK_EQ(seen.tid, 0);
		CHECK_REFUSED(kthread_run_worker_attr(attr), error);
	}
	WAIT_UNTIL(count_threads() <= threads);
	CHECK_EQ(count_fds(), fds);
}

TEST(attr_cpus_pins)
{
	struct kthread_attr attr = KTHREAD_ATTR_INIT;
	struct kthread *k;
	struct seen seen;
	cpu_set_t own;

	sched_getaffinity(0, sizeof(own), &own);
	if (!CPU_ISSET(0, &own))
		SKIP("CPU 0 is not ours");
	attr.cpus = "0";
	k = run_seen(&seen, &attr);
	CHECK(k);
	CHECK_EQ(kthread_stop(k), 42);
	CHECK_EQ(CPU_COUNT(&seen.cpus), 1);
	CHECK(CPU_ISSET(0, &seen.cpus));
	if (!CPU_ISSET(1, &own))
		return;
	attr.cpus = "0-1";
	k = run_seen(&seen, &attr);
	CHECK(k);
	CHECK_EQ(kthread_stop(k), 42);
	CHECK_EQ(CPU_COUNT(&seen.cpus), 2);
	attr.cpus = "1,0";
	k = run_seen(&seen, &attr);
	CHECK(k);
	CHECK_EQ(kthread_stop(k), 42);
	CHECK_EQ(CPU_COUNT(&seen.cpus), 2);
	attr.cpus = "1";
	k = run_seen(&seen, &attr);
	CHECK(k);
	CHECK_EQ(kthread_stop(k), 42);
	CHECK_EQ(CPU_COUNT(&seen.cpus), 1);
	CHECK(CPU_ISSET(1, &seen.cpus));
}

TEST(attr_cpus_malformed_or_unknown_is_refused)
{
	static const char *const bad[] = { "x", "0x", "1-", "-1", "1-0", "0,,1", "0,", ",0", "0-1-2",
					   "99999999", "4294967296", "0 1", "1023" };

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct kthread_attr attr = KTHREAD_ATTR_INIT;

		attr.cpus = bad[i];
		if (!strcmp(bad[i], "1023") && sysconf(_SC_NPROCESSORS_CONF) > 1023)
			continue;
		printf("cpus \"%s\"\n", bad[i]);
		check_attr_refused(&attr, EINVAL);
	}
}

TEST(attr_realtime_class_is_set)
{
	struct kthread_attr attr = KTHREAD_ATTR_INIT;
	struct kthread *k;
	struct seen seen;

	attr.policy = SCHED_FIFO;
	attr.priority = 10;
	errno = 0;
	k = run_seen(&seen, &attr);
	if (!k && errno == EPERM)
		SKIP("SCHED_FIFO is not permitted here");
	CHECK(k);
	CHECK_EQ(kthread_stop(k), 42);
	CHECK_EQ(seen.policy & ~0x40000000, SCHED_FIFO);
	CHECK_EQ(seen.priority, 10);

	attr.policy = SCHED_RR;
	attr.priority = 3;
	k = run_seen(&seen, &attr);
	CHECK(k);
	CHECK_EQ(kthread_stop(k), 42);
	CHECK_EQ(seen.policy & ~0x40000000, SCHED_RR);
	CHECK_EQ(seen.priority, 3);
}

TEST(attr_other_and_nice_are_set)
{
	struct kthread_attr attr = KTHREAD_ATTR_INIT;
	struct kthread *k;
	struct seen seen;

	attr.policy = SCHED_OTHER;
	attr.nice = 5;
	k = run_seen(&seen, &attr);
	CHECK(k);
	CHECK_EQ(kthread_stop(k), 42);
	CHECK_EQ(seen.policy, SCHED_OTHER);
	CHECK_EQ(seen.nice, 5);
}

TEST(attr_bad_scheduling_is_refused)
{
	struct kthread_attr attr = KTHREAD_ATTR_INIT;

	attr.policy = SCHED_FIFO;
	attr.priority = 1000;
	check_attr_refused(&attr, EINVAL);
	attr.priority = 0;
	check_attr_refused(&attr, EINVAL);
	attr.priority = -1;
	check_attr_refused(&attr, EINVAL);
	attr.policy = 999;
	attr.priority = 0;
	check_attr_refused(&attr, EINVAL);
	attr.policy = SCHED_OTHER;
	attr.priority = 5;
	check_attr_refused(&attr, EINVAL);
}

TEST(attr_bad_nice_is_refused)
{
	struct kthread_attr attr = KTHREAD_ATTR_INIT;

	attr.nice = 20;
	check_attr_refused(&attr, EINVAL);
	attr.nice = -21;
	check_attr_refused(&attr, EINVAL);
}

TEST(attr_stack_size_is_given)
{
	struct kthread_attr attr = KTHREAD_ATTR_INIT;
	struct kthread *k;
	struct seen seen;

	attr.stack_size = 64 << 20;	/* beyond any default */
	k = run_seen(&seen, &attr);
	CHECK(k);
	CHECK_EQ(kthread_stop(k), 42);
	CHECK(seen.stack >= (size_t)64 << 20);
}

TEST(attr_cgroup_that_is_not_there_is_refused)
{
	struct kthread_attr attr = KTHREAD_ATTR_INIT;

	attr.cgroup = "/nonexistent/cgroup";
	check_attr_refused(&attr, ENOENT);
	attr.cgroup = "/sys/fs/cgroup/there-is-none-of-this-name";
	check_attr_refused(&attr, ENOENT);
}

TEST(run_and_stop_leak_nothing)
{
	int threads = count_threads(), fds = count_fds();

	for (int i = 0; i < 500; i++) {
		struct kthread *k = kthread_run(run_until_stop, NULL, "leak/%d", i);

		CHECK(k);
		CHECK_EQ(kthread_stop(k), 7);
	}
	WAIT_UNTIL(count_threads() <= threads);
	CHECK_EQ(count_fds(), fds);
}

/* Warnings */

static char hook_text[256];

static void hook(const char *message)
{
	snprintf(hook_text, sizeof(hook_text), "%s", message);
}

TEST(warn_hook_is_replaced_and_given_back)
{
	kthread_warn_func_t original = kthread_set_warn_hook(hook);

	CHECK(kthread_set_warn_hook(NULL) == hook);
	CHECK(kthread_set_warn_hook(hook) == original);
	CHECK(kthread_set_warn_hook(original) == hook);
}

/* Function, data, and the CPU to run on */

TEST(kthread_func_and_data_are_what_run_was_given)
{
	int data;
	struct kthread *k = kthread_run(run_until_stop, &data, "given");
	struct kthread_worker *worker = new_worker("ours");

	CHECK(k);
	CHECK(kthread_func(k) == run_until_stop);
	CHECK(kthread_data(k) == &data);
	CHECK(kthread_func(worker->task));
	CHECK_EQ(kthread_stop(k), 7);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

static void note_func(struct kthread_work *work)
{
	struct counted *c = (struct counted *)work;

	if (!kthread_func(kthread_current()))
		count_run(&c->work);
}

TEST(kthread_func_of_a_thread_of_ones_own_is_none)
{
	struct kthread_worker *worker = kthread_create_worker(0, "own");
	struct counted c;

	CHECK(worker);
	counted_init(&c);
	kthread_init_work(&c.work, note_func);
	CHECK(kthread_queue_work(worker, &c.work));
	CHECK_EQ(kthread_worker_run_pending(worker), 1);
	CHECK_EQ(atomic_load(&c.runs), 1);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

static bool cpu_is_ours(int cpu)
{
	cpu_set_t own;

	sched_getaffinity(0, sizeof(own), &own);
	return CPU_ISSET(cpu, &own);
}

static bool is_bound_to(pid_t tid, int cpu)
{
	cpu_set_t set;

	CHECK_EQ(sched_getaffinity(tid, sizeof(set), &set), 0);
	return CPU_COUNT(&set) == 1 && CPU_ISSET(cpu, &set);
}

TEST(bind_moves_a_running_thread_to_one_cpu)
{
	struct kthread *k = kthread_run(run_until_stop, NULL, "bind");

	CHECK(k);
	for (int cpu = 0; cpu < 2; cpu++) {
		if (!cpu_is_ours(cpu))
			continue;
		CHECK_EQ(kthread_bind(k, (unsigned int)cpu), 0);
		CHECK(is_bound_to(kthread_tid(k), cpu));
	}
	CHECK_EQ(kthread_stop(k), 7);
}

TEST(bind_is_refused)
{
	struct gated gated;
	struct kthread *k;

	gated_init(&gated, 3);
	k = kthread_run(run_gated, &gated, "refused");
	CHECK(k);
	CHECK_EQ(kthread_bind(NULL, 0), -EINVAL);
	CHECK_EQ(kthread_bind(k, UINT_MAX), -EINVAL);
	CHECK_EQ(kthread_bind(k, CPU_SETSIZE), -EINVAL);
	if (sysconf(_SC_NPROCESSORS_CONF) < CPU_SETSIZE)
		CHECK_EQ(kthread_bind(k, CPU_SETSIZE - 1), -EINVAL);
	gate_open(&gated.go);
	WAIT_UNTIL(kthread_bind(k, 0) == -ESRCH); /* it has ended */
	CHECK_EQ(kthread_stop(k), 3);
}

TEST(worker_on_cpu_is_bound_and_named)
{
	static const char *const names[][2] = {
		{ "on/%u", "on/0" }, { "on/%d", "on/0" }, { "on", "on" }, { "%u%%%u", "0%0" },
		{ "%u", "0" }, { "", "" },
	};

	if (!cpu_is_ours(0))
		SKIP("CPU 0 is not ours");
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		struct kthread_worker *worker = kthread_run_worker_on_cpu(0, 0, names[i][0]);
		struct counted c;

		CHECK(worker);
		CHECK(!strcmp(kthread_name(worker->task), names[i][1]));
		CHECK(is_bound_to(worker_tid(worker), 0));
		counted_init(&c);
		CHECK(kthread_queue_work(worker, &c.work));
		CHECK_EQ(kthread_flush_work(&c.work), 0);
		CHECK_EQ(kthread_destroy_worker(worker), 0);
	}
}

TEST(worker_created_on_cpu_binds_each_thread_it_gets)
{
	struct kthread_worker *worker;
	struct kthread_attr attr = KTHREAD_ATTR_INIT;

	if (!cpu_is_ours(0))
		SKIP("CPU 0 is not ours");
	worker = kthread_create_worker_on_cpu(0, KTW_FREEZABLE, "later/%u");
	CHECK(worker);
	CHECK(!worker->task);
	for (int i = 0; i < 3; i++) {
		CHECK_EQ(kthread_start_worker(worker, i ? &attr : NULL), 0);
		CHECK(is_bound_to(worker_tid(worker), 0));
		CHECK(!strcmp(kthread_name(worker->task), "later/0"));
		CHECK_EQ(kthread_stop_worker(worker), 0);
	}
	if (cpu_is_ours(1)) {
		attr.cpus = "1"; /* a set of its own goes first */
		CHECK_EQ(kthread_start_worker(worker, &attr), 0);
		CHECK(is_bound_to(worker_tid(worker), 1));
	}
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

/* Of one that was bound, a worker made later knows nothing. */
TEST(worker_made_after_one_on_a_cpu_is_free)
{
	cpu_set_t own, set;

	if (!cpu_is_ours(0))
		SKIP("CPU 0 is not ours");
	sched_getaffinity(0, sizeof(own), &own);
	for (int i = 0; i < 40; i++) {
		struct kthread_worker *worker = kthread_run_worker_on_cpu(0, 0, "bound");

		CHECK(worker);
		CHECK_EQ(kthread_destroy_worker(worker), 0);
		worker = new_worker("free");
		CHECK_EQ(sched_getaffinity(worker_tid(worker), sizeof(set), &set), 0);
		CHECK(CPU_EQUAL(&set, &own));
		CHECK_EQ(kthread_destroy_worker(worker), 0);
	}
}

TEST(worker_on_cpu_is_refused)
{
	int none = (int)sysconf(_SC_NPROCESSORS_CONF), threads = count_threads();
	static const char *const bad[] = { "%s", "%x", "%", "a%", "%5u", "%n", "%lu", "%u%s" };

	CHECK_REFUSED(kthread_create_worker_on_cpu(-1, 0, "x"), EINVAL);
	CHECK_REFUSED(kthread_create_worker_on_cpu(none, 0, "x"), EINVAL);
	CHECK_REFUSED(kthread_create_worker_on_cpu(INT_MAX, 0, "x"), EINVAL);
	CHECK_REFUSED(kthread_create_worker_on_cpu(0, 0, NULL), EINVAL);
	CHECK_REFUSED(kthread_create_worker_on_cpu(0, ~0u, "x"), EINVAL);
	CHECK_REFUSED(kthread_run_worker_on_cpu(-1, 0, "x"), EINVAL);
	CHECK_REFUSED(kthread_run_worker_on_cpu(none, 0, "x"), EINVAL);
	CHECK_REFUSED(kthread_run_worker_on_cpu(0, 0, NULL), EINVAL);
	CHECK_REFUSED(kthread_run_worker_on_cpu(0, ~0u, "x"), EINVAL);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		CHECK_REFUSED(kthread_create_worker_on_cpu(0, 0, bad[i]), EINVAL);
		CHECK_REFUSED(kthread_run_worker_on_cpu(0, 0, bad[i]), EINVAL);
	}
	WAIT_UNTIL(count_threads() <= threads);
}
