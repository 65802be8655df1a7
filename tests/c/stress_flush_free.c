/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The worker's touch of a work after its flusher has returned: works are overwritten
 * and freed right after the flush. STRESS_ROUNDS, STRESS_SEED.
 */
#include "harness.h"

#define THREADS 3
#define QUARANTINE 64
#define POISON 0xa5

struct fleeting {
	struct kthread_work work;
	unsigned int runs;	/* plain */
	unsigned char rest[80];
};

static struct kthread_worker *worker;

struct freer {
	struct side side;
	uint64_t random;
	unsigned int rounds;
};

static void fleeting_run(struct kthread_work *work)
{
	struct fleeting *f = (struct fleeting *)work;

	f->runs++;
}

/* Nobody may have written to it since it was poisoned. */
static void check_and_free(struct fleeting *f)
{
	unsigned char *byte = (unsigned char *)f;

	if (!f)
		return;
	for (size_t i = 0; i < sizeof(*f); i++)
		CHECK_EQ(byte[i], POISON);
	free(f);
}

static int flush_and_free(void *arg)
{
	struct fleeting *quarantine[QUARANTINE] = { NULL };
	struct freer *freer = arg;

	for (unsigned int i = 0; i < freer->rounds; i++) {
		struct fleeting *f = malloc(sizeof(*f));
		uint32_t dice = stress_random(&freer->random);
		unsigned int queued;

		CHECK(f);
		kthread_init_work(&f->work, fleeting_run);
		f->runs = 0;
		CHECK(kthread_queue_work(worker, &f->work));
		queued = 1;
		if (dice % 2) {
			spin(dice / 2 % 1024);
			queued += kthread_queue_work(worker, &f->work);
		}
		if (dice >> 30)
			CHECK_EQ(kthread_flush_work(&f->work), 0);
		else
			CHECK_EQ(kthread_flush_worker(worker), 0);
		CHECK_EQ(f->runs, queued);
		memset(f, POISON, sizeof(*f));
		if (dice & 0x10000) {
			free(f);	/* at once: an address sanitizer sees a later touch */
			continue;
		}
		check_and_free(quarantine[i % QUARANTINE]);
		quarantine[i % QUARANTINE] = f;
	}
	for (int i = 0; i < QUARANTINE; i++)
		check_and_free(quarantine[i]);
	return 0;
}

static void flush_then_free(uint32_t poll_ns)
{
	struct freer freers[THREADS];
	uint64_t seed = stress_seed();

	test_needs_seconds(200);
	worker = new_worker("fleeting");
	kthread_worker_set_busy_poll(worker, poll_ns);
	for (int i = 0; i < THREADS; i++) {
		freers[i].random = seed + 7919u * (unsigned int)i;
		freers[i].rounds = stress_rounds(30000);
		side_start(&freers[i].side, flush_and_free, &freers[i]);
	}
	for (int i = 0; i < THREADS; i++)
		CHECK_EQ(side_join(&freers[i].side), 0);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

TEST(work_is_freed_right_after_its_flush)
{
	flush_then_free(KTHREAD_POLL_MAX_DEFAULT_NS);
}

TEST(work_is_freed_right_after_its_flush_without_polling)
{
	flush_then_free(0);
}
