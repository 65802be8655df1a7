/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * libuv. uv_queue_work: the pool, of one thread (UV_THREADPOOL_SIZE=1), is the process's, and
 * lives on from one measurement to the next. A loop is for one thread, so each producer has
 * one; the burst ends when the last work has run, and the callbacks that the loops still owe
 * are made after the time. uv_async_send: the other way, into a loop's own thread; it carries
 * no item, so that a list under a mutex goes with it; it merges requests. The timers are
 * those of that loop.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <uv.h>

#include "against.h"

static void version(char *text, size_t size)
{
	snprintf(text, size, "libuv %s", uv_version_string());
}

static void __attribute__((constructor)) one_thread(void)
{
	setenv("UV_THREADPOOL_SIZE", "1", 1);
}

/* ---- uv_queue_work ---- */

struct pool {
	uv_loop_t *loops;
	unsigned int producers;
	uv_work_t *reqs;
};

static void run(uv_work_t *req)
{
	(void)req;
	tally_one();
}

static void after(uv_work_t *req, int status)
{
	(void)req;
	if (status)
		die("uv_queue_work");
}

static void *open_pool(unsigned int jobs, unsigned int producers)
{
	struct pool *p = zeroed(sizeof(*p));

	p->producers = producers;
	p->loops = zeroed(producers * sizeof(*p->loops));
	p->reqs = zeroed(jobs * sizeof(*p->reqs));
	for (unsigned int i = 0; i < producers; i++)
		if (uv_loop_init(&p->loops[i]))
			die("uv_loop_init");
	return p;
}

static void produce(void *handle, unsigned int producer, unsigned int first, unsigned int count)
{
	struct pool *p = handle;

	for (unsigned int i = first; i < first + count; i++)
		if (uv_queue_work(&p->loops[producer], &p->reqs[i], run, after))
			die("uv_queue_work");
}

static void drain(void *handle, unsigned int producer)
{
	struct pool *p = handle;

	uv_run(&p->loops[producer], UV_RUN_DEFAULT);
}

/* Its own way to say that a work has run: the callback in the loop. */
static void trip(void *handle)
{
	struct pool *p = handle;

	if (uv_queue_work(p->loops, p->reqs, run, after))
		die("uv_queue_work");
	uv_run(p->loops, UV_RUN_DEFAULT);
}

static void close_pool(void *handle)
{
	struct pool *p = handle;

	for (unsigned int i = 0; i < p->producers; i++)
		if (uv_loop_close(&p->loops[i]))
			die("uv_loop_close");
	free(p->loops);
	free(p->reqs);
	free(p);
}

static const struct contestant uv_work = {
	.name = "libuv uv_queue_work", .kind = OPPONENT, .single = true,
	.item_bytes = sizeof(uv_work_t),
	.version = version, .open = open_pool, .produce = produce, .drain = drain, .trip = trip,
	.close = close_pool,
};
CONTESTANT(uv_work)

/* ---- uv_async_send ---- */

struct node {
	struct job job;
	struct node *next;
};

struct timing {
	struct node node;	/* first: its function gets the address of all */
	uv_loop_t *loop;
	uv_timer_t *timers;
};

struct looper {
	uv_loop_t loop;
	uv_async_t async;
	uv_mutex_t mutex;
	uv_sem_t ready;
	uv_thread_t thread;
	struct node *first, **last;
	struct node *nodes;
	struct timing timing;
	unsigned long asked;	/* coalescing: requests, and how many of them are served */
	unsigned long served;
	unsigned long wanted;
	bool merges;
	bool stop;
};

static void close_handle(uv_handle_t *handle, void *unused)
{
	(void)unused;
	uv_close(handle, NULL);
}

static void woken(uv_async_t *async)
{
	struct looper *l = async->data;
	struct node *node;
	bool stop;

	uv_mutex_lock(&l->mutex);
	node = l->first;
	l->first = NULL;
	l->last = &l->first;
	stop = l->stop;
	uv_mutex_unlock(&l->mutex);
	while (node) {
		struct node *next = node->next;

		node->job.run(&node->job);
		node = next;
	}
	if (__atomic_load_n(&l->merges, __ATOMIC_ACQUIRE)) {
		unsigned long asked = __atomic_load_n(&l->asked, __ATOMIC_ACQUIRE);

		tally.ran++;
		if (asked != l->served) {
			l->served = asked;
			if (asked == l->wanted)
				sem_post(&tally.full);
		}
	}
	if (stop)
		uv_walk(&l->loop, close_handle, NULL);
}

static void serve(void *handle)
{
	struct looper *l = handle;

	if (uv_loop_init(&l->loop) || uv_async_init(&l->loop, &l->async, woken))
		die("uv_async_init");
	l->async.data = l;
	uv_sem_post(&l->ready);
	uv_run(&l->loop, UV_RUN_DEFAULT);
	if (uv_loop_close(&l->loop))
		die("uv_loop_close");
}

static void *open_looper(unsigned int jobs, unsigned int producers)
{
	struct looper *l = zeroed(sizeof(*l));

	(void)producers;
	l->last = &l->first;
	l->nodes = zeroed(jobs * sizeof(*l->nodes));
	for (unsigned int i = 0; i < jobs; i++)
		l->nodes[i].job.run = run_job;
	if (uv_mutex_init(&l->mutex) || uv_sem_init(&l->ready, 0) ||
	    uv_thread_create(&l->thread, serve, l))
		die("uv_thread_create");
	uv_sem_wait(&l->ready);
	return l;
}

static inline void push(struct looper *l, struct node *node)
{
	uv_mutex_lock(&l->mutex);
	node->next = NULL;
	*l->last = node;
	l->last = &node->next;
	uv_mutex_unlock(&l->mutex);
	uv_async_send(&l->async);
}

static void produce_async(void *handle, unsigned int producer, unsigned int first,
			  unsigned int count)
{
	struct looper *l = handle;

	(void)producer;
	for (unsigned int i = first; i < first + count; i++)
		push(l, &l->nodes[i]);
}

static void coalesce(void *handle, unsigned int requests)
{
	struct looper *l = handle;

	l->wanted = l->asked + requests;
	__atomic_store_n(&l->merges, true, __ATOMIC_RELEASE);
	for (unsigned int i = 0; i < requests; i++) {
		__atomic_store_n(&l->asked, l->asked + 1, __ATOMIC_RELEASE);
		uv_async_send(&l->async);
	}
	sem_wait(&tally.full);
}

static void timer_run(uv_timer_t *timer)
{
	(void)timer;
	timer_ran();
}

static void time_timers(struct job *job)
{
	struct timing *t = (struct timing *)job;

	for (unsigned int i = 0; i < timers.count; i++)
		if (uv_timer_init(t->loop, &t->timers[i]))
			die("uv_timer_init");
	/* Delays are counted from the time that the loop has seen last. */
	uv_update_time(t->loop);
	timers_begin();
	for (unsigned int k = 0; k < timers.count; k++) {
		uint32_t i = timers.order[k];

		if (uv_timer_start(&t->timers[i], timer_run, timers.ahead[i], 0))
			die("uv_timer_start");
	}
	if (timers.expire) {
		timers_begin();
		return;
	}
	for (unsigned int k = 0; k < timers.count; k++) {
		uint32_t i = timers.order[k];

		if (uv_timer_start(&t->timers[i], timer_run, timers.moved[i], 0))
			die("uv_timer_start");
	}
	for (unsigned int k = 0; k < timers.count; k++)
		if (uv_timer_stop(&t->timers[timers.order[k]]))
			die("uv_timer_stop");
	timers_done();
}

static void start_timers(void *handle)
{
	struct looper *l = handle;

	l->timing.node.job.run = time_timers;
	l->timing.loop = &l->loop;
	l->timing.timers = zeroed(timers.count * sizeof(*l->timing.timers));
	push(l, &l->timing.node);
}

static void close_looper(void *handle)
{
	struct looper *l = handle;

	uv_mutex_lock(&l->mutex);
	l->stop = true;
	uv_mutex_unlock(&l->mutex);
	uv_async_send(&l->async);
	uv_thread_join(&l->thread);
	uv_mutex_destroy(&l->mutex);
	uv_sem_destroy(&l->ready);
	free(l->timing.timers);
	free(l->nodes);
	free(l);
}

static const struct contestant uv_async = {
	.name = "libuv uv_async_send", .kind = OPPONENT, .item_bytes = sizeof(struct node),
	.version = version, .open = open_looper, .produce = produce_async,
	.coalesce = coalesce, .timers = start_timers, .close = close_looper,
};
CONTESTANT(uv_async)
