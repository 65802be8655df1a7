/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The worker's touch of a work that has freed itself in its callback, while others
 * flush the worker, and while the memory is at once used again. STRESS_ROUNDS, STRESS_SEED.
 */
#include "harness.h"

#define PRODUCERS 3

static struct kthread_worker *worker;
static atomic_uint runs;

struct once {
	struct kthread_work work;
	atomic_uint *counter;
};

struct producer {
	struct side side;
	uint64_t random;
	unsigned int rounds;
};

/* Half of them are kept for a while, to see whether anybody still writes to them. */
#define QUARANTINE 64
#define POISON 0xa5

static struct once *quarantine[QUARANTINE];	/* the worker's thread; at the end the case */

static void check_and_free(struct once *once)
{
	unsigned char *byte = (unsigned char *)once;

	for (size_t i = 0; once && i < sizeof(*once); i++)
		CHECK_EQ(byte[i], POISON);
	free(once);
}

static void run_and_free(struct kthread_work *work)
{
	struct once *once = (struct once *)work;
	atomic_uint *counter = once->counter;
	unsigned int n = atomic_load(counter);

	memset(once, POISON, sizeof(*once));
	if (n % 2) {
		check_and_free(quarantine[n / 2 % QUARANTINE]);
		quarantine[n / 2 % QUARANTINE] = once;
	} else {
		free(once);
	}
	atomic_fetch_add(counter, 1);
}

static int produce(void *arg)
{
	struct producer *p = arg;

	for (unsigned int i = 0; i < p->rounds; i++) {
		struct once *once = malloc(sizeof(*once));
		uint32_t dice = stress_random(&p->random);

		CHECK(once);
		kthread_init_work(&once->work, run_and_free);
		once->counter = &runs;
		CHECK(kthread_queue_work(worker, &once->work));
		if (dice % 16 == 0)
			CHECK_EQ(kthread_flush_worker(worker), 0);
		else
			spin(dice >> 22);
	}
	return 0;
}

TEST(work_frees_itself_in_its_callback)
{
	struct producer producers[PRODUCERS];
	unsigned int rounds = stress_rounds(100000);
	uint64_t seed = stress_seed();

	test_needs_seconds(200);
	worker = new_worker("once");
	atomic_store(&runs, 0);
	for (int i = 0; i < PRODUCERS; i++) {
		producers[i].random = seed + 7919u * (unsigned int)i;
		producers[i].rounds = rounds;
		side_start(&producers[i].side, produce, &producers[i]);
	}
	for (int i = 0; i < PRODUCERS; i++)
		CHECK_EQ(side_join(&producers[i].side), 0);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
	CHECK_EQ(atomic_load(&runs), PRODUCERS * rounds);
	for (int i = 0; i < QUARANTINE; i++)
		check_and_free(quarantine[i]);
}
