/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Queue while executing, then flush; and the promise of coalescing: who is told "already
 * pending" finds, after a flush, that what he wrote before has been dealt with.
 * STRESS_ROUNDS, STRESS_SEED.
 */
#include "harness.h"

#define PRODUCERS_MAX 4

static struct kthread_worker *worker;

/* Relaxed all: it is queue and flush that have to order them. */
struct shared {
	struct kthread_work work;
	int producers;
	atomic_uint in[PRODUCERS_MAX];
	atomic_uint out[PRODUCERS_MAX];
	unsigned int begun, ended;	/* plain, the worker's thread */
};

struct producer {
	struct side side;
	struct shared *shared;
	int index;
	uint64_t random;
	unsigned int rounds, coalesced;
};

static void deal_with_all(struct kthread_work *work)
{
	struct shared *s = (struct shared *)work;

	s->begun++;
	for (int i = 0; i < s->producers; i++)
		atomic_store_explicit(&s->out[i],
				      atomic_load_explicit(&s->in[i], memory_order_relaxed),
				      memory_order_relaxed);
	spin(s->begun % 512);
	s->ended++;
}

static int produce(void *arg)
{
	struct producer *p = arg;
	struct shared *s = p->shared;

	for (unsigned int i = 1; i <= p->rounds; i++) {
		uint32_t dice = stress_random(&p->random);
		struct kthread_flush flush;
		int status;

		atomic_store_explicit(&s->in[p->index], i, memory_order_relaxed);
		status = kthread_queue_work_status(worker, &s->work);
		CHECK(status >= 0);
		p->coalesced += !status;
		spin(dice >> 24);
		switch (dice % 4) {
		case 0:
			CHECK_EQ(kthread_flush_worker(worker), 0);
			break;
		case 1:
			kthread_flush_begin_work(&flush, &s->work);
			while (kthread_flush_wait(&flush, dice >> 16 & 1023))
				;
			break;
		default:
			CHECK_EQ(kthread_flush_work(&s->work), 0);
		}
		if (atomic_load_explicit(&s->out[p->index], memory_order_relaxed) != i) {
			printf("round %u: queue said %d, flush of the %s, and %u was dealt with\n", i,
			       status, dice % 4 ? "work" : "worker",
			       atomic_load(&s->out[p->index]));
			CHECK(!"flush waited for the run");
		}
		spin(dice >> 22 & 1023);
	}
	return 0;
}

static void coalesce(int n, uint32_t poll_ns, unsigned int rounds)
{
	struct producer producers[PRODUCERS_MAX];
	uint64_t seed = stress_seed();
	unsigned int coalesced = 0;
	struct shared s;

	test_needs_seconds(200);
	memset(&s, 0, sizeof(s));
	kthread_init_work(&s.work, deal_with_all);
	s.producers = n;
	worker = new_worker("shared");
	kthread_worker_set_busy_poll(worker, poll_ns);
	for (int i = 0; i < n; i++) {
		producers[i].shared = &s;
		producers[i].index = i;
		producers[i].random = seed + 7919u * (unsigned int)i;
		producers[i].rounds = stress_rounds(rounds);
		producers[i].coalesced = 0;
		side_start(&producers[i].side, produce, &producers[i]);
	}
	for (int i = 0; i < n; i++) {
		CHECK_EQ(side_join(&producers[i].side), 0);
		coalesced += producers[i].coalesced;
	}
	CHECK_EQ(kthread_destroy_worker(worker), 0);
	CHECK_EQ(s.begun, s.ended);
	printf("%d producers: %u coalesced, %u runs\n", n, coalesced, s.begun);
}

TEST(flush_sees_the_run_of_its_own_queue)
{
	coalesce(1, KTHREAD_POLL_MAX_DEFAULT_NS, 60000);
	coalesce(1, 0, 20000);
}

TEST(coalesced_queue_keeps_its_promise)
{
	coalesce(2, KTHREAD_POLL_MAX_DEFAULT_NS, 60000);
	coalesce(PRODUCERS_MAX, KTHREAD_POLL_MAX_DEFAULT_NS, 60000);
	coalesce(PRODUCERS_MAX, 0, 20000);
}

/* One that queues again and again while it runs, and one that flushes each time. */
static atomic_bool enough;

static int requeue_all_along(void *arg)
{
	struct shared *s = arg;

	while (!atomic_load(&enough)) {
		CHECK(kthread_queue_work_status(worker, &s->work) >= 0);
		spin(300);
	}
	return 0;
}

TEST(flush_amid_constant_requeueing)
{
	unsigned int rounds = stress_rounds(50000);
	uint64_t random = stress_seed();
	struct shared s;
	struct side side;

	test_needs_seconds(200);
	memset(&s, 0, sizeof(s));
	kthread_init_work(&s.work, deal_with_all);
	s.producers = 1;
	worker = new_worker("constant");
	atomic_store(&enough, false);
	side_start(&side, requeue_all_along, &s);
	for (unsigned int i = 1; i <= rounds; i++) {
		atomic_store_explicit(&s.in[0], i, memory_order_relaxed);
		CHECK(kthread_queue_work_status(worker, &s.work) >= 0);
		spin(stress_random(&random) >> 22);
		CHECK_EQ(kthread_flush_work(&s.work), 0);
		CHECK(atomic_load_explicit(&s.out[0], memory_order_relaxed) >= i);
	}
	atomic_store(&enough, true);
	CHECK_EQ(side_join(&side), 0);
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}

/*
 * The worker is destroyed amid all that: whoever was told "queued" or "already pending"
 * before has been dealt with when the destruction is over.
 */
struct ender {
	struct side side;
	struct shared *shared;
	struct kthread_worker *worker;
	int index;
	unsigned int accepted;
};

static int queue_until_refused(void *arg)
{
	struct ender *e = arg;
	int status;

	for (unsigned int i = 1;; i++) {
		atomic_store_explicit(&e->shared->in[e->index], i, memory_order_relaxed);
		status = kthread_queue_work_status(e->worker, &e->shared->work);
		if (status < 0)
			break;
		e->accepted = i;
	}
	CHECK_EQ(status, -ESHUTDOWN);
	return 0;
}

TEST(coalesced_queue_keeps_its_promise_against_destroy)
{
	unsigned int rounds = stress_rounds(3000);
	uint64_t random = stress_seed();

	test_needs_seconds(200);
	for (unsigned int i = 0; i < rounds; i++) {
		struct ender enders[3];
		struct kthread_worker mine;
		struct shared s;

		memset(&s, 0, sizeof(s));
		memset(enders, 0, sizeof(enders));
		kthread_init_work(&s.work, deal_with_all);
		s.producers = 3;
		kthread_init_worker(&mine);
		CHECK_EQ(kthread_start_worker(&mine, NULL), 0);
		for (int j = 0; j < 3; j++) {
			enders[j].shared = &s;
			enders[j].worker = &mine;
			enders[j].index = j;
			side_start(&enders[j].side, queue_until_refused, &enders[j]);
		}
		spin(stress_random(&random) >> 14);
		CHECK_EQ(kthread_destroy_worker(&mine), 0);
		for (int j = 0; j < 3; j++)
			CHECK_EQ(side_join(&enders[j].side), 0);
		for (int j = 0; j < 3; j++) {
			CHECK(atomic_load(&s.out[j]) >= enders[j].accepted);
		}
	}
}
