/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * thread_scenarios.hpp - of a thread by itself. See scenarios.hpp.
 */
using namespace model;

namespace {

struct one_thread : body {
	struct kthread k;
	plain<int> result;

	void before()
	{
		init_kthread(&k);
	}
	void stop()
	{
		request(&k, STOP, 0);
		poke(&k);
	}
};

/* A stop ends the sleep; who acts upon it sees what was written before it. */
struct sleep_stop : one_thread {
	void thread(unsigned i)
	{
		if (i == 0) {
			current_kthread = &k;
			while (!kthread_should_stop())
				kthread_sleep(KTHREAD_FOREVER);
			CHECK(result == 1);
		} else {
			result = 1;
			stop();
		}
	}
};
DECLARE_SCENARIO("sleep-stop", sleep_stop);

/* As wake_up_process: what was written before the wake is seen after the sleep. */
struct sleep_wake : one_thread {
	void thread(unsigned i)
	{
		if (i == 0) {
			current_kthread = &k;
			CHECK(kthread_sleep(KTHREAD_FOREVER) == 0);
			CHECK(result == 1);
		} else {
			result = 1;
			kthread_wake_up(&k);
		}
	}
};
DECLARE_SCENARIO("sleep-wake", sleep_wake);

/* The condition's own loop, as the kernel's users write it. */
struct sleep_condition : one_thread {
	atomic<uint32_t> condition;

	void thread(unsigned i)
	{
		if (i == 0) {
			current_kthread = &k;
			while (!load_relaxed(&condition))
				kthread_sleep(KTHREAD_FOREVER);
		} else {
			kthread_wake_up(&k);
			store_relaxed(&condition, 1);
			kthread_wake_up(&k);
		}
	}
};
DECLARE_SCENARIO("sleep-condition", sleep_condition);

/* A wake after the sleep has ended for a stop is no loss; the token is gone afterwards. */
struct freeze_rest : one_thread {
	static constexpr int bound = 3;

	void thread(unsigned i)
	{
		if (i == 0) {
			current_kthread = &k;
			result = 1;
			while (!kthread_should_stop()) {
				try_to_freeze();
				kthread_sleep(KTHREAD_FOREVER);
			}
			result = result + 1;
		} else {
			CHECK(kthread_freeze(&k) == 0);
			CHECK(result == 1);
			result = 2;
			kthread_thaw(&k);
			stop();
		}
	}
};
DECLARE_SCENARIO("freeze-rest", freeze_rest);

/* Parked, and let go on. */
struct park_rest : one_thread {
	static constexpr int bound = 3;

	void thread(unsigned i)
	{
		if (i == 0) {
			current_kthread = &k;
			result = 1;
			while (!kthread_should_stop()) {
				if (kthread_should_park())
					kthread_parkme();
				kthread_sleep(KTHREAD_FOREVER);
			}
			result = result + 1;
		} else {
			CHECK(kthread_park(&k) == 0);
			CHECK(result == 1);
			result = 2;
			kthread_unpark(&k);
			stop();
		}
	}
};
DECLARE_SCENARIO("park-rest", park_rest);

/* Who freezes a thread that rests already sees what it did, too. */
struct freeze_again : one_thread {
	static constexpr int threads = 3, bound = 1;

	void thread(unsigned i)
	{
		if (i == 0) {
			current_kthread = &k;
			result = 1;
			while (!kthread_should_stop()) {
				try_to_freeze();
				kthread_sleep(KTHREAD_FOREVER);
			}
			request(&k, ENDED, 0);
			tell_freezers(&k);
		} else if (i == 1) {
			kthread_freeze(&k);
			CHECK(result == 1);
		} else {
			kthread_freeze(&k);
			CHECK(result == 1);
			stop();
		}
	}
};
DECLARE_SCENARIO("freeze-again", freeze_again);

/* A thread that ends is waited for by no freeze, and what it did is seen. */
struct freeze_end : one_thread {
	void thread(unsigned i)
	{
		if (i == 0) {
			result = 1;
			request(&k, ENDED, 0);
			tell_freezers(&k);
		} else {
			CHECK(kthread_freeze(&k) == 0);
			CHECK(result == 1);
		}
	}
};
DECLARE_SCENARIO("freeze-end", freeze_end);

/* ---- coming and going ---- */

struct run_stop : body {
	static constexpr int threads = 1, extra = 1;

	static int fn(void *)
	{
		return 5;
	}
	void thread(unsigned)
	{
		struct kthread *k = kthread_run_attr(fn, NULL, NULL);

		CHECK(k);
		CHECK(kthread_tid(k) != 0);
		CHECK(kthread_stop(k) == 5);
	}
};
DECLARE_SCENARIO("run-stop", run_stop);

/* A setup that fails. */
struct run_refused : body {
	static constexpr int threads = 1, extra = 1;

	static int fn(void *)
	{
		return 0;
	}
	static int setup(struct kthread *, void *)
	{
		return -EBUSY;
	}
	void thread(unsigned)
	{
		CHECK(!kthread_run_setup(fn, NULL, NULL, setup));
		CHECK(errno == EBUSY);
	}
};
DECLARE_SCENARIO("run-refused", run_refused);

/* Its setup has made it known: stopped and let go before its creator has seen the start. */
struct run_hold : body {
	static constexpr int threads = 2, extra = 1, bound = 2;
	atomic<struct kthread *> known;
	atomic<uint32_t> is_known;
	static run_hold *here;

	static int fn(void *)
	{
		return 0;
	}
	static int setup(struct kthread *k, void *)
	{
		store_relaxed(&here->known, k);
		store_release(&here->is_known, 1);
		park_wake_all(&here->is_known);
		return 0;
	}
	void before()
	{
		here = this;
	}
	void thread(unsigned i)
	{
		if (i == 0) {
			CHECK(kthread_run_setup(fn, NULL, NULL, setup));
		} else {
			while (!load_acquire(&is_known))
				park_wait(&is_known, 0, UINT64_MAX);
			kthread_stop(load_relaxed(&known));
		}
	}
};
run_hold *run_hold::here;
DECLARE_SCENARIO("run-hold", run_hold);

} /* namespace */
