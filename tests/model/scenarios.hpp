/* SPDX-License-Identifier: GPL-2.0-only */
using namespace model;

struct base : defaults {
	struct kthread_worker worker;
	struct kthread k;
	plain<int> payload;

	static base *here;

	void set_up()
	{
		here = this;
		kthread_init_worker(&worker);
		kthread_worker_set_busy_poll(&worker, 0);
		kthread_next_window(0, 0, 0);
	}
	/* What kthread_worker_fn does, without coming and going. */
	void serve_worker()
	{
		kthread_served = &worker;
		serve(&worker, &k);
		kthread_served = NULL;
	}
	static void leave()
	{
		fetch_or_relaxed(&here->worker.flags, STOP);
	}
};

base *base::here;

struct queue_park : base {
	struct kthread_work work;

	static void fn(struct kthread_work *)
	{
		CHECK(here->payload == 1);
		leave();
	}
	void before()
	{
		set_up();
		kthread_init_work(&work, fn);
	}
	void thread(unsigned i)
	{
		if (i == 0) {
			serve_worker();
		} else {
			payload = 1;
			CHECK(kthread_queue_work(&worker, &work));
		}
	}
};
DECLARE_SCENARIO("queue-park", queue_park);
