/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A signal is the interrupt, a work its bottom half: the handler only queues, which is
 * legal there, and however many signals come before the work runs, it runs once for all.
 */
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "kthread_worker.h"

static struct kthread_worker *worker;
static struct kthread_work bottom_half;
static atomic_int causes;
static int runs, handled;

static void handle_causes(struct kthread_work *work)
{
	(void)work;
	runs++;
	handled += atomic_exchange(&causes, 0);
}

static void on_signal(int sig)
{
	(void)sig;
	atomic_fetch_add(&causes, 1);
	kthread_queue_work(worker, &bottom_half);
}

int main(void)
{
	struct sigaction action;

	worker = kthread_run_worker(0, "bottom-half");
	if (!worker) {
		perror("kthread_run_worker");
		return 1;
	}
	kthread_init_work(&bottom_half, handle_causes);

	memset(&action, 0, sizeof(action));
	action.sa_handler = on_signal;
	sigaction(SIGUSR1, &action, NULL);
	for (int i = 0; i < 1000; i++)
		raise(SIGUSR1);

	kthread_flush_work(&bottom_half);
	printf("%d interrupts handled in %d runs\n", handled, runs);
	kthread_destroy_worker(worker);
	return handled == 1000 ? 0 : 1;
}
