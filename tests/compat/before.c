/* SPDX-License-Identifier: GPL-2.0-only */
/* The switch for code older than Linux 6.14. */
#define KTHREAD_COMPAT_BEFORE_6_14
#include "kthread_compat.h"
#include "second.h"

static void count(struct kthread_work *work);

static DEFINE_KTHREAD_WORK(work, count);
static int runs;

static void count(struct kthread_work *unused)
{
	(void)unused;
	runs++;
}

static bool runs_and_ends(struct kthread_worker *worker)
{
	int before = runs;

	if (IS_ERR(worker))
		return false;
	kthread_queue_work(worker, &work);
	kthread_flush_work(&work);
	kthread_destroy_worker(worker);
	return runs == before + 1;
}

bool before_creates_and_runs(void)
{
	int cpu = sched_getcpu();

	return runs_and_ends(kthread_create_worker(0, "old/%d", 1)) &&
	       runs_and_ends(kthread_create_worker_on_cpu(cpu, 0, "old/%d", cpu)) &&
	       IS_ERR(kthread_create_worker(1u << 30, "bad"));
}
