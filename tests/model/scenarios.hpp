/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * scenarios.hpp - of the worker. See model.hpp for what a scenario is.
 *
 * The first thread, as a rule, is the worker's. It serves with serve(), the loop of
 * kthread_worker_fn, where a sleep matters, and with kthread_run_one() where only a run does.
 * What stands between threads without being ordered by the scenario itself is plain: an
 * access that the core does not order is a race, and found as one.
 */
using namespace model;

namespace {

struct base : body {
	struct kthread_worker worker;
	struct kthread k;
	struct kthread_work work;
	plain<int> result;
	int runs; /* seen by the checker alone: what has happened, not what a thread can know */

	static base *here;

	void set_up(kthread_work_func_t fn)
	{
		here = this;
		runs = 0;
		kthread_init_worker(&worker);
		kthread_worker_set_busy_poll(&worker, 0);
		kthread_init_work(&work, fn);
		kthread_next_window(0, 0, 0);
		guard_memory(&work, sizeof(work));
	}
	/* What kthread_worker_fn does between coming and going. */
	void serve_worker()
	{
		kthread_served = &worker;
		serve(&worker, &k);
		kthread_served = NULL;
	}
	void run_all(struct kthread_worker *w)
	{
		kthread_served = w;
		while (kthread_run_one(w))
			;
		kthread_served = NULL;
	}
	/* The worker leaves when the present callback has ended. */
	static void leave()
	{
		fetch_or_relaxed(&here->worker.flags, STOP);
	}
	static void write_result(struct kthread_work *)
	{
		here->result = here->result + 1;
		here->runs++;
	}
	static void write_result_and_leave(struct kthread_work *w)
	{
		write_result(w);
		leave();
	}
};

base *base::here;

/* ---- queue against park ---- */

/* A queue wakes the worker that is about to sleep; the callback sees what was written before. */
struct queue_park : base {
	static void fn(struct kthread_work *)
	{
		CHECK(here->result == 1);
		leave();
	}
	void before()
	{
		set_up(fn);
	}
	void thread(unsigned i)
	{
		if (i == 0) {
			serve_worker();
		} else {
			result = 1;
			CHECK(kthread_queue_work(&worker, &work));
		}
	}
};
DECLARE_SCENARIO("queue-park", queue_park);

/* Somebody else takes the inbox, and never gets to wake the worker. */
struct taken_park : base {
	void before()
	{
		set_up(write_result_and_leave);
	}
	void thread(unsigned i)
	{
		if (i == 0) {
			serve_worker();
		} else {
			CHECK(kthread_queue_work(&worker, &work));
			lock_worker(&worker);
			kthread_take_inbox_locked(&worker);
			unlock_worker(&worker);
		}
	}
	void after()
	{
		CHECK(runs == 1);
	}
};
DECLARE_SCENARIO("taken-park", taken_park);

/* The worker is asked to leave as it is about to sleep. */
struct poke_park : base {
	void before()
	{
		set_up(write_result);
	}
	void thread(unsigned i)
	{
		if (i == 0) {
			serve_worker();
		} else {
			fetch_or_relaxed(&worker.flags, STOP);
			kthread_poke_worker(&worker);
		}
	}
};
DECLARE_SCENARIO("poke-park", poke_park);

/* ---- queue against run ---- */

/*
 * Whoever is told "already pending" has its request seen by the run that comes, and who is
 * told "queued" has one of its own.
 */
struct queue_run : base {
	atomic<uint32_t> wish;
	uint32_t seen;

	static void fn(struct kthread_work *)
	{
		auto *me = static_cast<queue_run *>(here);

		me->seen = load_relaxed(&me->wish);
	}
	void before()
	{
		set_up(fn);
		seen = 0;
		kthread_queue_work(&worker, &work);
	}
	void thread(unsigned i)
	{
		if (i == 0) {
			run_all(&worker);
		} else {
			store_relaxed(&wish, 1);
			kthread_queue_work(&worker, &work);
		}
	}
	void after()
	{
		run_all(&worker);
		CHECK(seen == 1);
	}
};
DECLARE_SCENARIO("queue-run", queue_run);

/* The same work, on another worker while it runs: refused, or it runs afterwards. */
struct queue_elsewhere : base {
	struct kthread_worker other;

	void before()
	{
		set_up(write_result);
		kthread_init_worker(&other);
		kthread_queue_work(&worker, &work);
	}
	void thread(unsigned i)
	{
		if (i == 0)
			run_all(&worker);
		else if (kthread_queue_work_status(&other, &work) > 0)
			run_all(&other);
	}
};
DECLARE_SCENARIO("queue-elsewhere", queue_elsewhere);

/* Never says idle of a work that is queued and has not ended. */
struct busy_run : base {
	void before()
	{
		set_up(write_result);
		kthread_queue_work(&worker, &work);
	}
	void thread(unsigned i)
	{
		if (i == 0)
			run_all(&worker);
		else if (kthread_work_busy(&work) == 0)
			CHECK(runs == 1);
	}
};
DECLARE_SCENARIO("busy-run", busy_run);

/* ---- flush against completion ---- */

/* What the callback wrote is seen, and the work may be freed. */
struct flush_run : base {
	void before()
	{
		set_up(write_result);
		kthread_queue_work(&worker, &work);
	}
	void thread(unsigned i)
	{
		if (i == 0) {
			run_all(&worker);
		} else {
			CHECK(kthread_flush_work(&work) == 0);
			CHECK(result == 1);
			release_memory(&work);
		}
	}
};
DECLARE_SCENARIO("flush-run", flush_run);

/* The same, and the flusher has time to poll. */
struct flush_poll : base {
	void before()
	{
		set_up(write_result);
		kthread_queue_work(&worker, &work);
	}
	void thread(unsigned i)
	{
		struct kthread_flush flush;

		if (i == 0) {
			run_all(&worker);
		} else {
			kthread_flush_begin_work(&flush, &work);
			if (poll_work(&flush, park_clock_ns() + 1)) {
				fence_acquire_of_wait(&flush);
				CHECK(result == 1);
				release_memory(&work);
			}
		}
	}
	/* It is over: the wait itself does nothing but its fence. */
	void fence_acquire_of_wait(struct kthread_flush *flush)
	{
		CHECK(kthread_flush_wait(flush, 0) == 0);
	}
};
DECLARE_SCENARIO("flush-poll", flush_poll);

/* Queued again while it runs: a flush waits for the second run. */
struct flush_requeue : base {
	void before()
	{
		set_up(write_result);
		kthread_queue_work(&worker, &work);
	}
	void thread(unsigned i)
	{
		if (i == 0) {
			kthread_served = &worker;
			kthread_run_one(&worker);
			kthread_run_one(&worker);
			kthread_served = NULL;
		} else {
			bool again = kthread_queue_work(&worker, &work);

			if (kthread_flush_work_timeout(&work, 0) == 0)
				CHECK(runs == (again ? 2 : 1));
		}
	}
};
DECLARE_SCENARIO("flush-requeue", flush_requeue);

/* Queue, flush and free, against a worker that sleeps. */
struct queue_flush_free : base {
	static constexpr int bound = 3;

	void before()
	{
		set_up(write_result_and_leave);
	}
	void thread(unsigned i)
	{
		if (i == 0) {
			serve_worker();
		} else {
			CHECK(kthread_queue_work(&worker, &work));
			CHECK(kthread_flush_work(&work) == 0);
			CHECK(result == 1);
			release_memory(&work);
		}
	}
};
DECLARE_SCENARIO("queue-flush-free", queue_flush_free);

/* ---- flush of the whole worker ---- */

struct flush_worker_run : base {
	void before()
	{
		set_up(write_result);
		kthread_queue_work(&worker, &work);
	}
	void thread(unsigned i)
	{
		if (i == 0) {
			run_all(&worker);
		} else {
			CHECK(kthread_flush_worker(&worker) == 0);
			CHECK(result == 1);
			release_memory(&work);
		}
	}
};
DECLARE_SCENARIO("flush-worker-run", flush_worker_run);

/* Who was told "already pending" by a claim not yet pushed, and flushes, has it listed. */
struct flush_claim : base {
	void before()
	{
		set_up(write_result);
	}
	void thread(unsigned i)
	{
		struct kthread_flush flush;

		if (i == 0) {
			kthread_queue_work(&worker, &work);
		} else if (!kthread_queue_work(&worker, &work)) {
			kthread_flush_begin_worker(&flush, &worker);
			if (!flush.sealed) {
				CHECK(kthread_wait_for_claims(&worker, UINT64_MAX) == 0);
				seal(&flush);
			}
			lock_worker(&worker);
			CHECK(worker.work_list.first == &work);
			CHECK(seq_reached(flush.target, work.epoch));
			unlock_worker(&worker);
		}
	}
};
DECLARE_SCENARIO("flush-claim", flush_claim);

/* The same with a worker, and what the callback wrote. */
struct flush_worker_claim : base {
	static constexpr int threads = 3, bound = 2;

	void before()
	{
		set_up(write_result_and_leave);
	}
	void thread(unsigned i)
	{
		if (i == 0) {
			serve_worker();
		} else if (i == 1) {
			kthread_queue_work(&worker, &work);
		} else if (!kthread_queue_work(&worker, &work)) {
			CHECK(kthread_flush_worker(&worker) == 0);
			CHECK(result == 1);
		}
	}
};
DECLARE_SCENARIO("flush-worker-claim", flush_worker_claim);

/* ---- the end of a worker ---- */

/* No thread: a queue is refused, or what it queued is dropped. Then the memory may go. */
struct destroy_queue : base {
	static int dropped;

	static void count(struct kthread_worker *, struct kthread_work *)
	{
		dropped++;
	}
	void before()
	{
		static const struct kthread_worker_ops ops = { NULL, NULL, NULL, count };

		set_up(write_result);
		dropped = 0;
		kthread_worker_set_ops(&worker, &ops, NULL);
	}
	void thread(unsigned i)
	{
		if (i == 0) {
			int queued = kthread_queue_work_status(&worker, &work);

			CHECK(queued == 1 || queued == -ESHUTDOWN);
			runs = queued;
		} else {
			CHECK(kthread_destroy_worker(&worker) == 0);
		}
	}
	void after()
	{
		CHECK(dropped == (runs == 1));
		CHECK(!kthread_work_pending(&work));
	}
};
int destroy_queue::dropped;
DECLARE_SCENARIO("destroy-queue", destroy_queue);

/* Who was told "already pending" has the work run or dropped when destroy returns. */
struct destroy_claim : base {
	void before()
	{
		set_up(write_result);
	}
	void thread(unsigned i)
	{
		if (i == 0) {
			kthread_queue_work(&worker, &work);
		} else if (kthread_queue_work_status(&worker, &work) == 0) {
			CHECK(kthread_destroy_worker(&worker) == 0);
			CHECK(!kthread_work_pending(&work));
		}
	}
};
DECLARE_SCENARIO("destroy-claim", destroy_claim);

/* A flusher of what is dropped returns. */
struct destroy_flush : base {
	void before()
	{
		set_up(write_result);
		kthread_queue_work(&worker, &work);
	}
	void thread(unsigned i)
	{
		if (i == 0)
			CHECK(kthread_destroy_worker(&worker) == 0);
		else
			CHECK(kthread_flush_work(&work) == 0);
	}
};
DECLARE_SCENARIO("destroy-flush", destroy_flush);

/* With a thread: what was queued runs, and the memory may go when destroy returns. */
struct destroy_serve : base {
	static constexpr int bound = 2;

	void before()
	{
		set_up(write_result);
		guard_memory(&worker, sizeof(worker));
	}
	void thread(unsigned i)
	{
		if (i == 0) {
			int served = kthread_worker_fn(&worker);

			CHECK(served == 0 || served == -ESHUTDOWN);
		} else {
			bool queued = kthread_queue_work(&worker, &work);

			CHECK(queued);
			CHECK(kthread_destroy_worker(&worker) == 0);
			CHECK(!kthread_work_pending(&work));
			CHECK(result == runs);
		}
	}
};
DECLARE_SCENARIO("destroy-serve", destroy_serve);

/* The same with a producer of its own, seen or refused. */
struct destroy_serve_queue : base {
	static constexpr int threads = 3, bound = 2;

	void before()
	{
		set_up(write_result);
		store_relaxed(&worker.task, &k);
	}
	void thread(unsigned i)
	{
		if (i == 0) {
			serve_worker();
			CHECK(!load_relaxed(&worker.inbox));
			CHECK(result == runs);
		} else if (i == 1) {
			int queued = kthread_queue_work_status(&worker, &work);

			CHECK(queued == 1 || queued == -ESHUTDOWN);
		} else {
			kthread_close_worker(&worker);
		}
	}
	void after()
	{
		CHECK(!kthread_work_pending(&work));
	}
};
DECLARE_SCENARIO("close-queue", destroy_serve_queue);

/* ---- freeze and stop ---- */

/* Rests when the freeze returns: what it did is seen, and nothing runs until the thaw. */
struct freeze_serve : base {
	static constexpr int bound = 2;

	void before()
	{
		set_up(write_result);
		store_relaxed(&worker.task, &k);
		kthread_queue_work(&worker, &work);
	}
	void thread(unsigned i)
	{
		if (i == 0) {
			serve_worker();
		} else {
			CHECK(kthread_freeze_worker(&worker) == 0);
			result = result + 10;
			lock_worker(&worker);
			change_flags_locked(&worker, STOP, FREEZE | RESTING);
			unlock_worker(&worker);
		}
	}
};
DECLARE_SCENARIO("freeze-serve", freeze_serve);

/* A queue and a freeze at once: neither is lost. */
struct freeze_queue : base {
	static constexpr int threads = 3, bound = 2;

	void before()
	{
		set_up(write_result_and_leave);
		store_relaxed(&worker.task, &k);
	}
	void thread(unsigned i)
	{
		if (i == 0) {
			serve_worker();
		} else if (i == 1) {
			kthread_queue_work(&worker, &work);
		} else {
			kthread_freeze_worker_timeout(&worker, 0);
			kthread_thaw_worker(&worker);
		}
	}
	void after()
	{
		CHECK(runs == 1);
	}
};
DECLARE_SCENARIO("freeze-queue", freeze_queue);

/* The thread itself is frozen, by way of its poke. */
struct freeze_thread : base {
	static constexpr int bound = 2;

	void before()
	{
		set_up(write_result);
		kthread_mutex_init(&k.lock);
		kthread_serve(&k, kthread_poke_worker, &worker);
		kthread_queue_work(&worker, &work);
	}
	void thread(unsigned i)
	{
		if (i == 0) {
			serve_worker();
		} else {
			CHECK(kthread_freeze(&k) == 0);
			result = result + 10;
			fetch_or_relaxed(&worker.flags, STOP);
			kthread_thaw(&k);
		}
	}
};
DECLARE_SCENARIO("freeze-thread", freeze_thread);

/* Stop against queue: the worker leaves; what it did is seen by who stopped it. */
struct stop_queue : base {
	static constexpr int bound = 2;

	void before()
	{
		set_up(write_result);
		guard_memory(&worker, sizeof(worker));
	}
	void thread(unsigned i)
	{
		if (i == 0) {
			kthread_worker_fn(&worker);
		} else {
			CHECK(kthread_queue_work(&worker, &work));
			lock_worker(&worker);
			bool attached = load_relaxed(&worker.task);
			unlock_worker(&worker);
			if (attached) {
				CHECK(kthread_stop_worker(&worker) == 0);
				CHECK(result == runs);
				CHECK(runs == 1 || kthread_work_pending(&work));
				release_memory(&worker);
			} else {
				/* Whenever it comes: it shall end. */
				kthread_close_worker(&worker);
			}
		}
	}
};
DECLARE_SCENARIO("stop-queue", stop_queue);

/* The next work without leaving the callback, against a stop. */
struct next_work : base {
	struct kthread_work second;

	static void fn(struct kthread_work *)
	{
		here->result = here->result + 1;
		while (kthread_next_work(&here->worker, fn))
			here->result = here->result + 1;
	}
	void before()
	{
		set_up(fn);
		kthread_init_work(&second, fn);
		kthread_queue_work(&worker, &work);
		kthread_queue_work(&worker, &second);
	}
	void thread(unsigned i)
	{
		if (i == 0) {
			run_all(&worker);
		} else {
			CHECK(kthread_flush_work(&second) == 0);
			CHECK(result == 2);
			release_memory(&work);
		}
	}
};
DECLARE_SCENARIO("next-work", next_work);

/* ---- lock ---- */

/* Two first users of a worker from a static initialiser. */
struct first_lock : base {
	struct kthread_worker fresh = KTHREAD_WORKER_INIT(fresh);

	void before()
	{
		set_up(write_result);
	}
	void thread(unsigned i)
	{
		lock_worker(&fresh);
		fresh.listed++;
		unlock_worker(&fresh);
	}
};
DECLARE_SCENARIO("first-lock", first_lock);

struct first_lock_for_registry : first_lock {
	void thread(unsigned i)
	{
		if (i == 0) {
			first_lock::thread(i);
		} else {
			kthread_lock_for_registry(&fresh);
			fresh.listed++;
			kthread_unlock_for_registry(&fresh);
		}
	}
};
DECLARE_SCENARIO("first-lock-registry", first_lock_for_registry);

} /* namespace */
