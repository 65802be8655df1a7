/* SPDX-License-Identifier: GPL-2.0-only */
/* A program that embeds the core: a work defined statically, and one on a worker of its own. */
#include <stdio.h>

#include "kthread_worker.h"

#ifdef OTHER_NAMES
/* Names that the core uses inside, for something else: in a library they are not in the way. */
int park_wait(void);
int timers_arm(void);
int kthread_claim(void);

int park_wait(void)
{
	return 1;
}

int timers_arm(void)
{
	return 2;
}

int kthread_claim(void)
{
	return 3;
}
#endif

static int runs;

static void run(struct kthread_work *work)
{
	(void)work;
	runs++;
}

static DEFINE_KTHREAD_WORKER(own);
static DEFINE_KTHREAD_WORK(work, run);

int main(void)
{
	struct kthread_worker *worker = kthread_run_worker(0, "consumer");
	struct kthread_delayed_work later;

	if (!worker) {
		perror("kthread_run_worker");
		return 1;
	}
	kthread_init_delayed_work(&later, run);
	if (!kthread_queue_work(worker, &work) ||
	    !kthread_queue_delayed_work(worker, &later, 1000 * 1000) ||
	    kthread_flush_work(&work) || kthread_flush_delayed_work(&later) || runs != 2) {
		fprintf(stderr, "consumer: %d of 2 runs\n", runs);
		return 1;
	}
	if (kthread_destroy_worker(worker))
		return 1;
	if (!kthread_queue_work(&own, &work) || kthread_worker_run_pending(&own) != 1 || runs != 3) {
		fprintf(stderr, "consumer: %d of 3 runs\n", runs);
		return 1;
	}
#ifdef OTHER_NAMES
	if (park_wait() != 1 || timers_arm() != 2 || kthread_claim() != 3)
		return 1;
#endif
	return kthread_destroy_worker(&own) || kthread_warnings();
}
