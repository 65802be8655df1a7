/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The one thread that runs the works is the program's own, which sits in poll(): a descriptor
 * tells it when to call kthread_worker_run_pending, timers included. Another thread queues.
 */
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "kthread_worker.h"

#define TICKS 5

static struct kthread_worker *worker;
static struct kthread_delayed_work tick, quit;
static struct kthread_work greeting;
static pthread_t main_thread;
static int ticks, greetings;
static bool done;

static void on_tick(struct kthread_work *work)
{
	(void)work;
	if (++ticks == TICKS) {
		kthread_cancel_delayed_work(&tick);
		kthread_queue_delayed_work(worker, &quit, 1000 * 1000);
	}
}

static void on_quit(struct kthread_work *work)
{
	(void)work;
	done = true;
}

static void greet(struct kthread_work *work)
{
	(void)work;
	greetings++;
	printf("on the main thread: %s\n",
	       pthread_equal(pthread_self(), main_thread) ? "yes" : "no");
}

static void *other_thread(void *unused)
{
	(void)unused;
	kthread_queue_work(worker, &greeting);
	kthread_flush_work(&greeting); /* the loop runs it meanwhile */
	return NULL;
}

int main(void)
{
	struct pollfd watched = { .events = POLLIN };
	pthread_t other;

	main_thread = pthread_self();
	worker = kthread_create_worker(0, "loop");
	if (!worker) {
		perror("kthread_create_worker");
		return 1;
	}
	watched.fd = kthread_worker_fd(worker);
	if (watched.fd < 0) {
		fprintf(stderr, "kthread_worker_fd: %s\n", strerror(-watched.fd));
		return 1;
	}
	kthread_init_work(&greeting, greet);
	kthread_init_delayed_work(&tick, on_tick);
	kthread_init_delayed_work(&quit, on_quit);
	kthread_queue_periodic_work(worker, &tick, 0, 1000 * 1000);
	pthread_create(&other, NULL, other_thread, NULL);

	while (!done || !greetings) {
		poll(&watched, 1, -1);
		kthread_worker_run_pending(worker);
	}
	pthread_join(other, NULL);
	printf("%d ticks, %d greeting\n", ticks, greetings);
	kthread_destroy_worker(worker);
	return ticks == TICKS && greetings == 1 ? 0 : 1;
}
