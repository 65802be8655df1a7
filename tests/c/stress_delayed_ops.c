/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Random queue, mod, cancel, flush of delayed works by several threads: what the calls
 * returned is a reference count, which the runs have to agree with in the end.
 *
 * A run becomes pending by a queue that says true, or by a mod that says false and gives
 * no reason; it ends by being run, or by one cancel that says true. A mod that says true
 * neither adds nor takes one.
 */
#include "harness.h"

#define THREADS 4
#define WORKS 6

static struct counted_delayed {
	struct kthread_delayed_work dwork;
	atomic_llong runs, begun, cancelled;
	atomic_int inside;
} works[WORKS];

static struct kthread_worker *workers[2];
static bool two_workers;
static unsigned int rounds;
static atomic_uint finished;	/* callers that have made all their calls */

static void delayed_run(struct kthread_work *work)
{
	struct counted_delayed *c = (struct counted_delayed *)work;

	CHECK_EQ(atomic_fetch_add(&c->inside, 1), 0); /* never twice at once */
	atomic_fetch_add(&c->runs, 1);
	CHECK_EQ(atomic_fetch_sub(&c->inside, 1), 1);
}

static uint64_t random_delay(uint32_t random)
{
	static const uint64_t delays[] = { 0, 0, 1, 1000, 20000, 100000, 3600000000000ull };

	return delays[random % 7];
}

static void cancel_counted(struct counted_delayed *c)
{
	if (kthread_cancel_delayed_work(&c->dwork))
		atomic_fetch_add(&c->cancelled, 1);
}

static void random_call(struct counted_delayed *c, struct kthread_worker *worker, uint64_t *seed)
{
	struct kthread_delayed_work *dwork = &c->dwork;
	uint64_t delay = random_delay(stress_random(seed));
	int result;

	switch (stress_random(seed) % 10) {
	case 0:
	case 1:
		result = kthread_queue_delayed_work_status(worker, dwork, delay);
		if (result > 0)
			atomic_fetch_add(&c->begun, 1);
		else
			CHECK(!result || result == -ECANCELED || (two_workers && result == -EBUSY));
		break;
	case 2:
		result = kthread_queue_work_status(worker, &dwork->work);
		if (result > 0)
			atomic_fetch_add(&c->begun, 1);
		else
			CHECK(!result || result == -ECANCELED || (two_workers && result == -EBUSY));
		break;
	case 3:
	case 4:
	case 5:
		/* Nothing is disabled here: while it is cancelled the answer is true, not a reason. */
		result = kthread_mod_delayed_work_status(worker, dwork, delay);
		if (!result)
			atomic_fetch_add(&c->begun, 1);
		else
			CHECK(result == 1 || (two_workers && result == -EBUSY));
		break;
	case 6:
		cancel_counted(c);
		break;
	case 7:
	case 8:
		if (kthread_cancel_delayed_work_sync(dwork))
			atomic_fetch_add(&c->cancelled, 1);
		break;
	default:
		CHECK_EQ(kthread_flush_delayed_work(dwork), 0);
		break;
	}
}

static void *caller(void *arg)
{
	uint64_t seed = *(uint64_t *)arg;

	for (unsigned int i = 0; i < rounds / THREADS; i++)
		random_call(&works[stress_random(&seed) % WORKS],
			    workers[two_workers ? stress_random(&seed) % 2 : 0], &seed);
	atomic_fetch_add(&finished, 1);
	return NULL;
}

/*
 * Who flushes a work that is put off afterwards waits for that, an hour maybe. While all are at
 * it somebody drops it or has it run; of the last ones nobody would.
 */
static void await_callers(void)
{
	unsigned int n;

	while ((n = atomic_load(&finished)) < THREADS) {
		for (int i = 0; n && i < WORKS; i++)
			cancel_counted(&works[i]);
		nap();
	}
}

static void counts_agree(unsigned int calls, bool two)
{
	uint64_t seed = stress_seed(), seeds[THREADS];
	struct kthread_worker_stats stats;
	pthread_t threads[THREADS];
	uint64_t runs = 0, cancelled = 0;

	test_needs_seconds(120);
	rounds = stress_rounds(calls);
	two_workers = two;
	atomic_store(&finished, 0);
	for (int i = 0; i < 2; i++)
		workers[i] = new_worker("random");
	memset(works, 0, sizeof(works));
	for (int i = 0; i < WORKS; i++)
		kthread_init_delayed_work(&works[i].dwork, delayed_run);
	for (int i = 0; i < THREADS; i++) {
		seeds[i] = seed + (unsigned int)i * 2654435761u;
		CHECK_EQ(pthread_create(&threads[i], NULL, caller, &seeds[i]), 0);
	}
	await_callers();
	for (int i = 0; i < THREADS; i++)
		CHECK_EQ(pthread_join(threads[i], NULL), 0);
	for (int i = 0; i < WORKS; i++) {
		struct counted_delayed *c = &works[i];

		if (kthread_cancel_delayed_work_sync(&c->dwork))
			atomic_fetch_add(&c->cancelled, 1);
		CHECK_EQ(kthread_work_busy(&c->dwork.work), 0);
		CHECK_EQ(atomic_load(&c->begun), atomic_load(&c->runs) + atomic_load(&c->cancelled));
		runs += (uint64_t)atomic_load(&c->runs);
		cancelled += (uint64_t)atomic_load(&c->cancelled);
	}
	for (int i = 0; i < 2; i++) {
		kthread_worker_get_stats(workers[i], &stats);
		CHECK_EQ(stats.pending, 0);
		CHECK_EQ(stats.delayed, 0);
		runs -= stats.executed;
		cancelled -= stats.cancelled;
		CHECK_EQ(kthread_destroy_worker(workers[i]), 0);
	}
	CHECK_EQ(runs, 0);
	CHECK_EQ(cancelled, 0);
}

TEST(results_of_calls_on_one_worker_agree_with_the_runs)
{
	counts_agree(50000, false);
}

TEST(results_of_calls_on_two_workers_agree_with_the_runs)
{
	counts_agree(50000, true);
}

/* A modification amid cancels of an idle work is told "true", or is done. */

static atomic_bool stop;

static void *canceller(void *dwork)
{
	while (!atomic_load(&stop))
		kthread_cancel_delayed_work_sync(dwork);
	return NULL;
}

TEST(mod_at_the_end_of_a_cancel_is_not_lost)
{
	struct kthread_worker *worker = new_worker("end");
	struct counted_delayed *c = &works[0];
	unsigned int n = stress_rounds(100000);
	pthread_t thread;

	test_needs_seconds(120);
	memset(c, 0, sizeof(*c));
	kthread_init_delayed_work(&c->dwork, delayed_run);
	atomic_store(&stop, false);
	CHECK_EQ(pthread_create(&thread, NULL, canceller, &c->dwork), 0);
	for (unsigned int i = 0; i < n; i++) {
		int result = kthread_mod_delayed_work_status(worker, &c->dwork, 3600000000000ull);

		CHECK(result == 0 || result == 1);
	}
	atomic_store(&stop, true);
	CHECK_EQ(pthread_join(thread, NULL), 0);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}
