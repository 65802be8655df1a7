/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Stop, start, freeze and thaw at random, under load: no work is lost, none runs while
 * the worker rests, none runs twice. STRESS_ROUNDS, STRESS_SEED.
 */
#include "harness.h"

#define PRODUCERS 3
#define WORKS 16

static struct kthread_worker *worker;
static atomic_bool enough, rests;
static atomic_int executing;

struct item {
	struct kthread_work work;
	atomic_uint queued, runs;
};

struct producer {
	struct side side;
	struct item item[WORKS];
	uint64_t random;
};

static void item_run(struct kthread_work *work)
{
	struct item *item = (struct item *)work;

	CHECK_EQ(atomic_fetch_add(&executing, 1), 0);
	CHECK(!atomic_load(&rests));
	atomic_fetch_add(&item->runs, 1);
	spin(200);
	CHECK_EQ(atomic_fetch_sub(&executing, 1), 1);
}

static int produce(void *arg)
{
	struct producer *p = arg;

	while (!atomic_load(&enough)) {
		uint32_t dice = stress_random(&p->random);
		struct item *item = &p->item[dice % WORKS];
		int status = kthread_queue_work_status(worker, &item->work);

		CHECK(status >= 0);
		atomic_fetch_add(&item->queued, (unsigned int)status);
		if (dice >> 26 == 0) {
			int result = kthread_flush_work_timeout(&item->work, 200000);

			CHECK(result == 0 || result == -ETIMEDOUT);
		}
		spin(dice >> 20 & 1023);
	}
	return 0;
}

/* What was done last to the worker's thread. */
struct state {
	bool has_thread, worker_frozen;
	struct kthread *frozen;
};

static void act(struct state *state, uint32_t dice)
{
	struct kthread *k = atomic_load(&worker->task);
	int result;

	switch (dice % 7) {
	case 0:
		atomic_store(&rests, false);
		CHECK_EQ(kthread_stop_worker(worker), 0);
		*state = (struct state){ false, false, NULL };
		break;
	case 1:
		result = kthread_start_worker(worker, NULL);
		CHECK_EQ(result, state->has_thread ? -EBUSY : 0);
		state->has_thread = true;
		break;
	case 2:
		CHECK_EQ(kthread_freeze_worker(worker), 0);
		state->worker_frozen = true;
		atomic_store(&rests, true);
		break;
	case 3:
		atomic_store(&rests, state->frozen != NULL);
		kthread_thaw_worker(worker);
		state->worker_frozen = false;
		break;
	case 4:
		if (!k)
			break;
		CHECK_EQ(kthread_freeze(k), 0);
		state->frozen = k;
		atomic_store(&rests, true);
		break;
	case 5:
		if (!k)
			break;
		atomic_store(&rests, state->worker_frozen);
		kthread_thaw(k);
		state->frozen = NULL;
		break;
	default:
		result = kthread_freeze_worker_timeout(worker, dice >> 16 & 4095);
		CHECK(result == 0 || result == -ETIMEDOUT);
		if (!result) {
			state->worker_frozen = true;
			atomic_store(&rests, true);
		}
	}
}

TEST(stop_start_freeze_thaw_under_load)
{
	static struct producer producers[PRODUCERS];
	struct state state = { true, false, NULL };
	unsigned int rounds = stress_rounds(10000);
	uint64_t random = stress_seed();
	int threads;

	test_needs_seconds(200);
	worker = new_worker("driven");
	threads = count_threads();
	atomic_store(&enough, false);
	for (int i = 0; i < PRODUCERS; i++) {
		producers[i].random = random + 7919u * (unsigned int)(i + 1);
		for (int j = 0; j < WORKS; j++)
			kthread_init_work(&producers[i].item[j].work, item_run);
		side_start(&producers[i].side, produce, &producers[i]);
	}
	for (unsigned int i = 0; i < rounds; i++) {
		uint32_t dice = stress_random(&random);

		act(&state, dice);
		spin(dice >> 18);
	}
	atomic_store(&enough, true);
	for (int i = 0; i < PRODUCERS; i++)
		CHECK_EQ(side_join(&producers[i].side), 0);
	atomic_store(&rests, false);
	kthread_thaw_worker(worker);
	if (state.frozen)
		kthread_thaw(state.frozen);
	if (!state.has_thread)
		CHECK_EQ(kthread_start_worker(worker, NULL), 0);
	CHECK_EQ(kthread_flush_worker(worker), 0);
	for (int i = 0; i < PRODUCERS; i++)
		for (int j = 0; j < WORKS; j++) {
			CHECK_EQ(kthread_work_busy(&producers[i].item[j].work), 0);
			CHECK_EQ(atomic_load(&producers[i].item[j].runs),
				 atomic_load(&producers[i].item[j].queued));
		}
	WAIT_UNTIL(count_threads() <= threads);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

/* Workers come and go while threads queue on whichever is there. */

static atomic_uint accepted, executed;

static void count_executed(struct kthread_work *work)
{
	(void)work;
	atomic_fetch_add(&executed, 1);
}

static int queue_until_refused(void *arg)
{
	struct kthread_worker *mine = arg;
	struct kthread_work work[8];
	unsigned int taken = 0;
	bool refused = false;

	for (int i = 0; i < 8; i++)
		kthread_init_work(&work[i], count_executed);
	for (unsigned int i = 0; !refused; i++) {
		int status = kthread_queue_work_status(mine, &work[i % 8]);

		CHECK(status >= 0 || status == -ESHUTDOWN);
		refused = status < 0;
		taken += status > 0;
	}
	for (int i = 0; i < 8; i++)
		CHECK_EQ(kthread_flush_work(&work[i]), 0);
	atomic_fetch_add(&accepted, taken);
	return 0;
}

TEST(destroy_under_load_runs_all_that_was_accepted)
{
	unsigned int rounds = stress_rounds(400);
	uint64_t random = stress_seed();

	test_needs_seconds(200);
	for (unsigned int i = 0; i < rounds; i++) {
		struct kthread_worker mine;
		struct side sides[PRODUCERS];

		kthread_init_worker(&mine);
		CHECK_EQ(kthread_start_worker(&mine, NULL), 0);
		atomic_store(&accepted, 0);
		atomic_store(&executed, 0);
		for (int j = 0; j < PRODUCERS; j++)
			side_start(&sides[j], queue_until_refused, &mine);
		spin(stress_random(&random) >> 12);
		CHECK_EQ(kthread_destroy_worker(&mine), 0);
		for (int j = 0; j < PRODUCERS; j++)
			CHECK_EQ(side_join(&sides[j]), 0);
		CHECK_EQ(atomic_load(&executed), atomic_load(&accepted));
	}
}

/*
 * Who stops a worker joins the thread that another has just made for it, perhaps before
 * the call which made it has returned there.
 */
struct starter {
	struct side side;
	struct kthread_worker *worker;
	unsigned int rounds;
};

static int start_again_and_again(void *arg)
{
	struct starter *s = arg;

	for (unsigned int i = 0; i < s->rounds; i++) {
		int result = kthread_start_worker(s->worker, NULL);

		CHECK(!result || result == -EBUSY);
		if (i % 2)
			CHECK_EQ(kthread_stop_worker(s->worker), 0);
	}
	return 0;
}

TEST(start_against_stop)
{
	struct kthread_worker *worker = kthread_create_worker(0, "started");
	struct starter starters[3];

	test_needs_seconds(200);
	CHECK(worker);
	for (int i = 0; i < 3; i++) {
		starters[i].worker = worker;
		starters[i].rounds = stress_rounds(3000);
		side_start(&starters[i].side, start_again_and_again, &starters[i]);
	}
	for (int i = 0; i < 3; i++)
		CHECK_EQ(side_join(&starters[i].side), 0);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}
