/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the calls return, kept as a reference count: the way kernel code uses them.
 *
 *	get(obj);
 *	if (kthread_mod_delayed_work(worker, &obj->work, delay))
 *		put(obj);	// it was pending, and has its reference already
 *
 * The callback puts, and so does who cancels a pending run. Over a million random calls of
 * several threads and of the callbacks themselves the count never goes below zero, and is
 * zero in the end. The calls are those that say true or false, with errno for the reason.
 * STRESS_ROUNDS, STRESS_SEED.
 */
#include "harness.h"

#define THREADS 4
#define OBJECTS 3
#define CALLS 1000000u

struct object {
	struct kthread_delayed_work dwork;
	atomic_long refs;
	atomic_bool runs;
	atomic_ulong begun, dropped, coalesced;
	uint64_t random;	/* the callback's */
};

struct caller {
	struct side side;
	uint64_t random;
	unsigned int rounds;
};

static struct kthread_worker *worker;
static struct object objects[OBJECTS];
static atomic_bool over;	/* callbacks queue nothing more */

static void get(struct object *o)
{
	atomic_fetch_add(&o->refs, 1);
}

static void put(struct object *o)
{
	CHECK(atomic_fetch_sub(&o->refs, 1) > 0);
}

static uint64_t some_delay(uint64_t *random)
{
	static const uint64_t delays[8] = { 0, 0, 0, 1, 2000, 20000, 100000, MS(3600000) };

	return delays[stress_random(random) % 8];
}

static void queue(struct object *o, uint64_t *random)
{
	get(o);
	errno = 0;
	if (!kthread_queue_delayed_work(worker, &o->dwork, some_delay(random)))
		put(o);
	if (errno)
		sched_yield(); /* let the other get on, or most calls are refused */
}

/* False is "queued", unless errno has a reason. */
static void mod(struct object *o, uint64_t *random)
{
	bool was_pending;

	get(o);
	errno = 0;
	was_pending = kthread_mod_delayed_work(worker, &o->dwork, some_delay(random));
	CHECK(!errno || errno == ECANCELED || errno == EAGAIN);
	if (was_pending)
		atomic_fetch_add(&o->coalesced, 1);
	if (was_pending || errno)
		put(o);
	if (errno)
		sched_yield();
}

static void drop(struct object *o, bool dropped)
{
	if (!dropped)
		return;
	atomic_fetch_add(&o->dropped, 1);
	put(o);
}

static void run_object(struct kthread_work *work)
{
	struct object *o = (struct object *)work;

	CHECK(!atomic_exchange(&o->runs, true));
	atomic_fetch_add(&o->begun, 1);
	put(o);
	if (!atomic_load(&over)) {
		switch (stress_random(&o->random) % 8) {
		case 0:
			queue(o, &o->random);
			break;
		case 1:
			mod(o, &o->random);
			break;
		case 2:
			mod(o, &o->random);
			drop(o, kthread_cancel_delayed_work_sync(&o->dwork));
			break;
		default:
			spin(stress_random(&o->random) >> 23);
		}
	}
	atomic_store(&o->runs, false);
}

static void call(struct object *o, uint64_t *random)
{
	switch (stress_random(random) % 16) {
	case 0:
	case 1:
	case 2:
		queue(o, random);
		break;
	case 3:
		drop(o, kthread_cancel_delayed_work(&o->dwork));
		break;
	case 4:
	case 5:
		drop(o, kthread_cancel_delayed_work_sync(&o->dwork));
		break;
	case 6:
		if (stress_random(random) % 16)
			break;
		drop(o, kthread_disable_work_sync(&o->dwork.work));
		mod(o, random);
		kthread_enable_work(&o->dwork.work);
		break;
	case 7:
		if (stress_random(random) % 256 == 0)
			kthread_drain_worker_timeout(worker, 100000);
		else if (stress_random(random) % 4 == 0)
			kthread_flush_work_timeout(&o->dwork.work, 20000);
		break;
	default:
		mod(o, random);
	}
}

static int call_all_along(void *arg)
{
	struct caller *c = arg;

	for (unsigned int i = 0; i < c->rounds; i++) {
		call(&objects[stress_random(&c->random) % OBJECTS], &c->random);
		if (i % 8 == 0)
			spin(stress_random(&c->random) >> 22);
	}
	return 0;
}

TEST(reference_count_over_a_million_calls)
{
	unsigned int rounds = stress_rounds(CALLS / THREADS);
	struct caller callers[THREADS];
	uint64_t random = stress_seed();

	test_needs_seconds(220);
	worker = new_worker("balance");
	atomic_store(&over, false);
	for (int i = 0; i < OBJECTS; i++) {
		memset(&objects[i], 0, sizeof(objects[i]));
		kthread_init_delayed_work(&objects[i].dwork, run_object);
		objects[i].random = random + 104729u * (unsigned int)(i + 1);
	}
	for (int i = 0; i < THREADS; i++) {
		callers[i].random = random + 7919u * (unsigned int)(i + 1);
		callers[i].rounds = rounds;
		side_start(&callers[i].side, call_all_along, &callers[i]);
	}
	for (int i = 0; i < THREADS; i++)
		CHECK_EQ(side_join(&callers[i].side), 0);
	atomic_store(&over, true);
	for (int i = 0; i < OBJECTS; i++) {
		struct object *o = &objects[i];

		if (i & 1)
			CHECK_EQ(kthread_flush_delayed_work(&o->dwork), 0);
		drop(o, kthread_cancel_delayed_work_sync(&o->dwork));
		CHECK_EQ(kthread_work_busy(&o->dwork.work), 0);
		CHECK_EQ(atomic_load(&o->refs), 0);
		printf("%lu ran, %lu dropped, %lu put off or brought forward\n",
		       atomic_load(&o->begun), atomic_load(&o->dropped),
		       atomic_load(&o->coalesced));
	}
	CHECK_EQ(kthread_destroy_worker(worker), 0);
}
