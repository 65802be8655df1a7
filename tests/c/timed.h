/* SPDX-License-Identifier: GPL-2.0-only */
/* timed.h - a delayed work that counts its runs, and their moments. */
#ifndef TIMED_H
#define TIMED_H

#include "harness.h"

#define HOUR (3600 * MS(1000))

static UNUSED uint64_t clock_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

struct timed {
	struct kthread_delayed_work dwork;
	atomic_int runs;
	atomic_uint order;		/* as struct counted's */
	atomic_int tid;
	_Atomic(uint64_t) ran_at;	/* the last run began */
};

static UNUSED void timed_run(struct kthread_work *work)
{
	struct timed *t = (struct timed *)work;

	atomic_store(&t->ran_at, clock_ns());
	atomic_store(&t->order, atomic_fetch_add(&counted_order, 1) + 1);
	atomic_store(&t->tid, own_tid());
	atomic_fetch_add(&t->runs, 1);
}

static UNUSED void timed_init(struct timed *t)
{
	memset(t, 0, sizeof(*t));
	kthread_init_delayed_work(&t->dwork, timed_run);
}

static UNUSED unsigned int timed_busy(struct timed *t)
{
	return kthread_work_busy(&t->dwork.work);
}

/* Pending, with a timer and on the list. */
#define ARMED (KTHREAD_WORK_PENDING | KTHREAD_WORK_TIMED)
#define ON_LIST KTHREAD_WORK_PENDING

static UNUSED struct kthread_worker_stats worker_stats(struct kthread_worker *worker)
{
	struct kthread_worker_stats stats;

	kthread_worker_get_stats(worker, &stats);
	return stats;
}

#endif /* TIMED_H */
