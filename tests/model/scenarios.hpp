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
		begin_to_serve(&worker);
		serve(&worker, &k);
		end_to_serve(&worker);
	}
	void run_all(struct kthread_worker *w)
	{
		begin_to_serve(w);
		while (kthread_run_one(w))
			;
		end_to_serve(w);
	}
	/* As attach and detach, of what hangs on the thread. */
	static void begin_to_serve(struct kthread_worker *w)
	{
		attend_locked(w);
		kthread_served = w;
	}
	static void end_to_serve(struct kthread_worker *w)
	{
		kthread_served = NULL;
		pthread_mutex_unlock(&w->attendance);
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
	static constexpr int bound = 6;
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
	static constexpr int bound = 4;
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
	static constexpr int bound = 5;
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
	static constexpr int bound = 5;
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

/* The second worker has a thread of its own, to which the work is passed on. */
struct queue_elsewhere_served : base {
	static constexpr int threads = 3, bound = 2;
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
		else if (i == 1)
			kthread_queue_work(&other, &work);
		else
			run_all(&other);
	}
};
DECLARE_SCENARIO("queue-elsewhere-served", queue_elsewhere_served);

/* Queued and begun on its old worker between the first look there and the claim. */
struct give_back_run : base {
	static constexpr int bound = 3;
	struct kthread_worker other;

	void before()
	{
		set_up(write_result);
		kthread_init_worker(&other);
		kthread_queue_work(&worker, &work);
		run_all(&worker);
	}
	void old_worker()
	{
		kthread_queue_work(&worker, &work);
		run_all(&worker);
		kthread_queue_work(&worker, &work);
		run_all(&worker);
	}
	void thread(unsigned i)
	{
		if (i == 0)
			old_worker();
		else if (kthread_queue_work_status(&other, &work) > 0)
			run_all(&other);
	}
};
DECLARE_SCENARIO("give-back-run", give_back_run);

/* A flusher that has seen it pending on the second worker returns. */
struct give_back_flush : give_back_run {
	static constexpr int threads = 3, bound = 1;
	atomic<uint32_t> refused;

	static void fn(struct kthread_work *)
	{
		auto *me = static_cast<give_back_flush *>(here);

		/* The second run of the two is still there when the claim is made. */
		if (++me->runs == 3 && kthread_served == &me->worker)
			while (!load_acquire(&me->refused))
				park_wait(&me->refused, 0, UINT64_MAX);
	}
	void before()
	{
		give_back_run::before();
		work.func = fn;
	}
	void thread(unsigned i)
	{
		if (i == 0) {
			old_worker();
		} else if (i == 1) {
			int status = kthread_queue_work_status(&other, &work);

			store_release(&refused, 1);
			park_wake_all(&refused);
			if (status > 0)
				run_all(&other);
		} else if (worker_of(load_acquire(&work.state)) == &other) {
			CHECK(kthread_flush_work(&work) == 0);
		}
	}
};
DECLARE_SCENARIO("give-back-flush", give_back_flush);

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
	static constexpr int bound = 3;
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

/* Who watches instead of sleeping: it is over when the watch begins, or the worker tells. */
struct watch_run : base {
	static constexpr int bound = 3;
	static struct kthread_watch watch;
	static int begun, told;

	static void progress(struct kthread_worker *)
	{
		told++;
	}
	void before()
	{
		static struct kthread_worker_ops ops;

		ops.progress = progress;
		begun = told = 0;
		set_up(write_result);
		kthread_worker_set_ops(&worker, &ops, NULL);
		kthread_queue_work(&worker, &work);
	}
	void thread(unsigned i)
	{
		if (i == 0) {
			run_all(&worker);
		} else {
			begun = kthread_watch_work(&watch, &work);
			if (!begun) {
				CHECK(result == 1);
				release_memory(&work);
			}
		}
	}
	void after()
	{
		CHECK(!begun || told);
	}
};
struct kthread_watch watch_run::watch;
int watch_run::begun, watch_run::told;
DECLARE_SCENARIO("watch-run", watch_run);

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
	static constexpr int bound = 3;
	void before()
	{
		set_up(write_result);
		kthread_queue_work(&worker, &work);
	}
	void thread(unsigned i)
	{
		if (i == 0) {
			begin_to_serve(&worker);
			kthread_run_one(&worker);
			kthread_run_one(&worker);
			end_to_serve(&worker);
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
	static constexpr int bound = 2;

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
	static constexpr int bound = 2;
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
	static constexpr int bound = 3;
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
				seal(&flush, true);
			}
			lock_worker(&worker);
			CHECK(worker.work_list.first == &work);
			CHECK(seq_reached(flush.target, work.epoch));
			unlock_worker(&worker);
		}
	}
};
DECLARE_SCENARIO("flush-claim", flush_claim);

/* The same while newcomers are sent to the second count. */
struct flush_claim_second : flush_claim {
	void before()
	{
		set_up(write_result);
		store_relaxed(&worker.phase, 1);
	}
};
DECLARE_SCENARIO("flush-claim-second", flush_claim_second);

/* A third comes and goes in between: what it counts makes up for no claim that is under way. */
struct flush_claim_third : flush_claim {
	static constexpr int threads = 3, bound = 2;
	void thread(unsigned i)
	{
		struct kthread_batch batch;

		if (i == 2) {
			/* A batch is counted from its beginning, also when it pushes nothing. */
			kthread_batch_begin(&batch, &worker);
			kthread_batch_add(&batch, &work);
			kthread_batch_end(&batch);
		} else {
			flush_claim::thread(i);
		}
	}
};
DECLARE_SCENARIO("flush-claim-third", flush_claim_third);

/* The same with a worker, and what the callback wrote. */
struct flush_worker_claim : base {
	static constexpr int threads = 3, bound = 1;

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
	static constexpr int bound = 4;
	static int dropped;

	static void count(struct kthread_worker *, struct kthread_work *, kthread_work_func_t)
	{
		dropped++;
	}
	void before()
	{
		static struct kthread_worker_ops ops;

		ops.dropped = count;

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
	static constexpr int bound = 3;
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
	static constexpr int bound = 2;
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
	static constexpr int threads = 3, bound = 1;

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

/* Who was counted before the gate was shut pushes, and somebody else lists what it pushed. */
struct destroy_serve_taken : destroy_serve_queue {
	static constexpr int threads = 3, bound = 2;

	void thread(unsigned i)
	{
		struct kthread_worker_stats stats;

		destroy_serve_queue::thread(i);
		if (i == 1)
			kthread_worker_get_stats(&worker, &stats);
	}
};
DECLARE_SCENARIO("close-taken", destroy_serve_taken);

/* A producer that comes too late to a worker, which meanwhile lives anew. */
struct late_queue : base {
	static constexpr int bound = 3;

	void before()
	{
		alignas(64) static char others[POOL_KEEPS][sizeof(struct kthread_worker)];

		set_up(write_result);
		worker.allocated = 1;
		kthread_close_worker(&worker);
		for (auto &room : others) {
			auto *other = (struct kthread_worker *)room;

			other->registry_next = other == (void *)others ? &worker : pool;
			pool = other;
		}
	}
	void thread(unsigned i)
	{
		if (i == 0) {
			kthread_end_loop(&worker);
			CHECK(worker_from_pool() == &worker);
		} else {
			kthread_queue_work(&worker, &work);
		}
	}
};
DECLARE_SCENARIO("late-queue", late_queue);

struct late_queue_second : late_queue {
	void before()
	{
		late_queue::before();
		store_relaxed(&worker.phase, 1);
	}
};
DECLARE_SCENARIO("late-queue-second", late_queue_second);

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

/* A queue amid a freeze and a thaw: nothing is lost. */
struct freeze_queue : base {
	static constexpr int bound = 2;

	void before()
	{
		set_up(write_result_and_leave);
		store_relaxed(&worker.task, &k);
	}
	void thread(unsigned i)
	{
		if (i == 0) {
			serve_worker();
		} else {
			lock_worker(&worker);
			change_flags_locked(&worker, FREEZE, 0);
			unlock_worker(&worker);
			kthread_queue_work(&worker, &work);
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
	static constexpr int bound = 3;

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
	static constexpr int bound = 2;
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

/* ---- cancel ---- */

/* Against the dequeue: it ran, or is dropped. Then it is neither pending nor executing. */
struct cancel_run : base {
	static constexpr int bound = 3;

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
			bool dropped = kthread_cancel_work_sync(&work);

			CHECK(result == !dropped);
			release_memory(&work);
		}
	}
};
DECLARE_SCENARIO("cancel-run", cancel_run);

/* Against a claim not yet pushed. */
struct cancel_claim : base {
	static constexpr int bound = 3;
	int queued, dropped;

	void before()
	{
		set_up(write_result);
		queued = dropped = 0;
	}
	void thread(unsigned i)
	{
		if (i == 0) {
			int status = kthread_queue_work_status(&worker, &work);

			CHECK(status == 1 || status == -ECANCELED);
			queued = status == 1;
		} else {
			dropped = kthread_cancel_work_sync(&work);
		}
	}
	void after()
	{
		run_all(&worker);
		CHECK(runs == queued - dropped);
	}
};
DECLARE_SCENARIO("cancel-claim", cancel_claim);

/* It has been on another worker meanwhile, and is pushed where it was at first. */
struct cancel_moved : base {
	static constexpr int bound = 2;
	struct kthread_worker other;
	struct kthread_delayed_work later;

	void before()
	{
		set_up(write_result);
		kthread_init_worker(&other);
		kthread_init_delayed_work(&later, write_result);
		kthread_queue_delayed_work(&worker, &later, 10);
	}
	virtual void look()
	{
		kthread_cancel_delayed_work(&later);
	}
	void thread(unsigned i)
	{
		if (i == 0) {
			kthread_cancel_delayed_work(&later);
			kthread_queue_delayed_work(&other, &later, 10);
			kthread_cancel_delayed_work(&later);
			kthread_queue_work(&worker, &later.work);
		} else {
			look();
		}
	}
};
DECLARE_SCENARIO("cancel-moved", cancel_moved);

struct deadline_moved : cancel_moved {
	void look()
	{
		kthread_delayed_work_remaining(&later);
	}
};
DECLARE_SCENARIO("deadline-moved", deadline_moved);

/* A flusher of what is cancelled returns. */
struct cancel_flush : base {
	static constexpr int bound = 3;

	void before()
	{
		set_up(write_result);
		kthread_queue_work(&worker, &work);
	}
	void thread(unsigned i)
	{
		if (i == 0)
			CHECK(kthread_cancel_work(&work));
		else
			CHECK(kthread_flush_work(&work) == 0);
	}
};
DECLARE_SCENARIO("cancel-flush", cancel_flush);

/* A callback that queues itself: after the cancel it stays away. */
struct cancel_requeue : base {
	static constexpr int bound = 2;

	static void fn(struct kthread_work *w)
	{
		write_result(w);
		if (here->runs < 2)
			kthread_queue_work(&here->worker, w);
	}
	void before()
	{
		set_up(fn);
		kthread_queue_work(&worker, &work);
	}
	void thread(unsigned i)
	{
		if (i == 0) {
			run_all(&worker);
		} else {
			kthread_cancel_work_sync(&work);
			CHECK(kthread_work_busy(&work) == 0);
			result = result + 1;
		}
	}
};
DECLARE_SCENARIO("cancel-requeue", cancel_requeue);

/* ---- delayed works ---- */

struct delayed_base : base {
	struct kthread_delayed_work later;

	void set_up_delayed(kthread_work_func_t fn)
	{
		set_up(fn);
		kthread_init_delayed_work(&later, fn);
	}
	void end_it()
	{
		fetch_or_relaxed(&worker.flags, STOP);
		kthread_poke_worker(&worker);
	}
};

/* Armed as the worker is about to sleep: it looks at the clock in time. */
struct arm_park : delayed_base {
	static constexpr int bound = 3;

	void before()
	{
		set_up_delayed(write_result_and_leave);
	}
	void thread(unsigned i)
	{
		if (i == 0)
			serve_worker();
		else
			CHECK(kthread_queue_delayed_work(&worker, &later, 10));
	}
	void after()
	{
		CHECK(runs == 1 && park_clock_ns() > 10);
	}
};
DECLARE_SCENARIO("arm-park", arm_park);

/* Modified as it runs out: one run for each time that the answer was "not pending". */
struct modify_expiry : delayed_base {
	static constexpr int bound = 2;

	void before()
	{
		set_up_delayed(write_result);
		kthread_queue_delayed_work(&worker, &later, 10);
	}
	void thread(unsigned i)
	{
		if (i == 0) {
			serve_worker();
		} else {
			bool pending = kthread_mod_delayed_work(&worker, &later, 5);

			CHECK(kthread_flush_delayed_work(&later) == 0);
			CHECK(result == (pending ? 1 : 2));
			end_it();
		}
	}
};
DECLARE_SCENARIO("modify-expiry", modify_expiry);

/* Modified and cancelled at once: the cancel has the last word. */
struct modify_cancel : delayed_base {
	static constexpr int bound = 3;
	int status;

	void before()
	{
		set_up_delayed(write_result);
		kthread_queue_delayed_work(&worker, &later, 10);
		status = 0;
	}
	void thread(unsigned i)
	{
		if (i == 0) {
			status = kthread_mod_delayed_work_status(&worker, &later, 5);
		} else {
			CHECK(kthread_cancel_delayed_work_sync(&later));
		}
	}
	void after()
	{
		CHECK(kthread_work_pending(&later.work) == (status == 0));
	}
};
DECLARE_SCENARIO("modify-cancel", modify_cancel);

/* A flush cuts the timer short, also as it runs out. */
struct flush_delayed : delayed_base {
	static constexpr int bound = 2;

	void before()
	{
		set_up_delayed(write_result);
		kthread_queue_delayed_work(&worker, &later, 10);
	}
	void thread(unsigned i)
	{
		if (i == 0) {
			serve_worker();
		} else {
			CHECK(kthread_flush_delayed_work(&later) == 0);
			CHECK(result == 1);
			end_it();
		}
	}
};
DECLARE_SCENARIO("flush-delayed", flush_delayed);

/* ---- drain ---- */

/* Drained: who is not refused has pushed, and that has run. */
struct drain_queue : base {
	static constexpr int bound = 2;

	void before()
	{
		set_up(write_result);
	}
	void thread(unsigned i)
	{
		struct kthread_drain drain;

		if (i == 0) {
			kthread_queue_work(&worker, &work);
			run_all(&worker);
		} else {
			CHECK(kthread_drain_begin(&drain, &worker) == 0);
			if (kthread_drain_wait(&drain, 0) == 0) {
				CHECK(!kthread_work_pending(&work));
				result = result + 1;
			}
			kthread_drain_end(&drain);
		}
	}
};
DECLARE_SCENARIO("drain-queue", drain_queue);

struct drain_serve : base {
	static constexpr int bound = 2;

	void before()
	{
		set_up(write_result);
		kthread_queue_work(&worker, &work);
	}
	void thread(unsigned i)
	{
		if (i == 0) {
			serve_worker();
		} else {
			CHECK(kthread_drain_worker(&worker) == 0);
			CHECK(result == 1);
			fetch_or_relaxed(&worker.flags, STOP);
			kthread_poke_worker(&worker);
		}
	}
};
DECLARE_SCENARIO("drain-serve", drain_serve);

/* ---- trace ---- */

struct trace_queue_hook : base {
	struct hooks : kthread_trace {
		plain<int> made;
	} hooks;

	static void queued(const struct kthread_trace *trace, struct kthread_worker *,
			   struct kthread_work *)
	{
		CHECK(static_cast<const struct hooks *>(trace)->made == 1);
	}
	static void started(const struct kthread_trace *trace, struct kthread_worker *w,
			    struct kthread_work *work)
	{
		queued(trace, w, work);
	}
	static void ended(const struct kthread_trace *trace, struct kthread_worker *w,
			  const void *, kthread_work_func_t)
	{
		queued(trace, w, NULL);
	}
	void before()
	{
		set_up(write_result);
		memset((void *)static_cast<kthread_trace *>(&hooks), 0, sizeof(kthread_trace));
		if (runs_too())
			kthread_queue_work(&worker, &work);
	}
	virtual bool runs_too()
	{
		return false;
	}
	void thread(unsigned i)
	{
		if (i == 1) {
			hooks.queue = queued;
			hooks.execute_start = started;
			hooks.execute_end = ended;
			hooks.made = 1;
			kthread_worker_set_trace(&worker, &hooks);
		} else if (runs_too()) {
			run_all(&worker);
		} else {
			kthread_queue_work(&worker, &work);
		}
	}
};
DECLARE_SCENARIO("trace-queue", trace_queue_hook);

struct trace_run : trace_queue_hook {
	bool runs_too()
	{
		return true;
	}
};
DECLARE_SCENARIO("trace-run", trace_run);

/* ---- on somebody else's thread ---- */

/* A queue as the loop goes back to sleep: its wake is called, and not when all is closed. */
struct queue_loop : base {
	int woken;

	static void wake(struct kthread_worker *)
	{
		static_cast<queue_loop *>(here)->woken++;
	}
	void before()
	{
		set_up(write_result);
		woken = 0;
		store_relaxed(&worker.wake, wake);
	}
	void thread(unsigned i)
	{
		if (i == 0)
			leave_unattended(&worker);
		else
			CHECK(kthread_queue_work(&worker, &work));
	}
	void after()
	{
		CHECK(woken == 1);
	}
};
DECLARE_SCENARIO("queue-loop", queue_loop);

/* The hook is set amid a queue, which may have looked for it before: it is called all the same. */
struct first_loop : base {
	static constexpr int bound = 3;
	int woken;

	static void wake(struct kthread_worker *)
	{
		CHECK(here->result == 1);
		static_cast<first_loop *>(here)->woken++;
	}
	void before()
	{
		set_up(write_result);
		woken = 0;
	}
	void thread(unsigned i)
	{
		if (i == 0) {
			result = 1;
			CHECK(kthread_worker_set_wake(&worker, wake) == 0);
		} else {
			CHECK(kthread_queue_work(&worker, &work));
		}
	}
	void after()
	{
		CHECK(woken == 1);
	}
};
DECLARE_SCENARIO("first-loop", first_loop);

/* What wake uses is closed by a destruction after the last producer has let go of it. */
struct destroy_loop : base {
	static constexpr int bound = 3;
	plain<int> used;

	static void wake(struct kthread_worker *)
	{
		CHECK(static_cast<destroy_loop *>(here)->used == 0);
	}
	void before()
	{
		set_up(write_result);
		store_relaxed(&worker.wake, wake);
		leave_unattended(&worker);
	}
	void thread(unsigned i)
	{
		if (i == 0) {
			kthread_queue_work(&worker, &work);
		} else {
			CHECK(kthread_destroy_worker(&worker) == 0);
			used = 1;
		}
	}
};
DECLARE_SCENARIO("destroy-loop", destroy_loop);

/* ---- a worker that others know by its work only ---- */

/* Made by one thread, and reached by another through the work that was queued on it. */
struct new_worker : base {
	struct kthread_worker fresh, third;
	struct kthread_delayed_work later;

	void before()
	{
		set_up(write_result);
		kthread_init_worker(&third);
		kthread_init_worker(&fresh);
		kthread_init_delayed_work(&later, write_result);
		guard_memory(&fresh, sizeof(fresh));
	}
	virtual void make()
	{
		write_memory(&fresh); /* as if it were initialised here */
		kthread_queue_work(&fresh, &work);
	}
	virtual void reach() = 0;
	void thread(unsigned i)
	{
		if (i == 0)
			make();
		else
			reach();
	}
};

struct new_worker_flush : new_worker {
	static constexpr int bound = 3;
	void reach()
	{
		kthread_flush_work_timeout(&work, 0);
	}
};
DECLARE_SCENARIO("new-worker-flush", new_worker_flush);

struct new_worker_cancel : new_worker {
	static constexpr int bound = 3;

	void reach()
	{
		struct kthread_cancel cancel;

		CHECK(kthread_cancel_begin(&cancel, &work) == 0);
		kthread_cancel_end(&cancel);
	}
};
DECLARE_SCENARIO("new-worker-cancel", new_worker_cancel);

struct new_worker_callback_cancel : new_worker_cancel {
	void reach()
	{
		kthread_served = &third;
		new_worker_cancel::reach();
		kthread_served = NULL;
	}
};
DECLARE_SCENARIO("new-worker-cb-cancel", new_worker_callback_cancel);

struct new_worker_drop : new_worker {
	static constexpr int bound = 3;
	void reach()
	{
		kthread_cancel_work(&work);
	}
};
DECLARE_SCENARIO("new-worker-drop", new_worker_drop);

struct new_worker_busy : new_worker {
	static constexpr int bound = 3;
	void reach()
	{
		kthread_work_busy(&work);
	}
};
DECLARE_SCENARIO("new-worker-busy", new_worker_busy);

/* It has run there, and is queued elsewhere. */
struct new_worker_elsewhere : new_worker {
	static constexpr int bound = 3;
	void make()
	{
		new_worker::make();
		run_all(&fresh);
	}
	void reach()
	{
		kthread_queue_work(&third, &work);
	}
};
DECLARE_SCENARIO("new-worker-elsewhere", new_worker_elsewhere);

struct new_worker_busy_idle : new_worker_elsewhere {
	void reach()
	{
		kthread_work_busy(&work);
	}
};
DECLARE_SCENARIO("new-worker-busy-idle", new_worker_busy_idle);

struct new_worker_delayed : new_worker {
	static constexpr int bound = 3;
	void make()
	{
		write_memory(&fresh); /* as if it were initialised here */
		kthread_queue_delayed_work(&fresh, &later, 10);
	}
	void reach()
	{
		kthread_flush_work_timeout(&later.work, 0);
	}
};
DECLARE_SCENARIO("new-worker-flush-delayed", new_worker_delayed);

struct new_worker_remaining : new_worker_delayed {
	void reach()
	{
		kthread_delayed_work_remaining(&later);
	}
};
DECLARE_SCENARIO("new-worker-remaining", new_worker_remaining);

struct new_worker_missed : new_worker_delayed {
	void reach()
	{
		kthread_delayed_work_missed(&later);
	}
};
DECLARE_SCENARIO("new-worker-missed", new_worker_missed);

} /* namespace */
