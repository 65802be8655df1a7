/* SPDX-License-Identifier: GPL-2.0-only */
/* This project's core, as it comes; without polling; and with many works pushed at once. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>

#include "against.h"
#include "kthread_worker.h"

#define BATCH 64u

struct ours {
	struct kthread_worker *worker;
	struct kthread_work *works;
	struct kthread_delayed_work *timers;
	struct kthread_work timing;
};

static void run(struct kthread_work *work)
{
	(void)work;
	tally_one();
}

static void version(char *text, size_t size)
{
	snprintf(text, size, "this tree");
}

static void *open_with(unsigned int jobs, bool polls)
{
	struct ours *o = zeroed(sizeof(*o));

	o->works = zeroed(jobs * sizeof(*o->works));
	for (unsigned int i = 0; i < jobs; i++)
		kthread_init_work(&o->works[i], run);
	o->worker = kthread_run_worker(0, "ours");
	if (!o->worker)
		die("kthread_run_worker");
	if (!polls)
		kthread_worker_set_busy_poll(o->worker, 0);
	return o;
}

static void *open_default(unsigned int jobs, unsigned int producers)
{
	(void)producers;
	return open_with(jobs, true);
}

static void *open_no_poll(unsigned int jobs, unsigned int producers)
{
	(void)producers;
	return open_with(jobs, false);
}

static void produce(void *handle, unsigned int producer, unsigned int first, unsigned int count)
{
	struct ours *o = handle;

	(void)producer;
	for (unsigned int i = first; i < first + count; i++)
		kthread_queue_work(o->worker, &o->works[i]);
}

static void produce_batch(void *handle, unsigned int producer, unsigned int first,
			  unsigned int count)
{
	struct ours *o = handle;

	(void)producer;
	while (count) {
		unsigned int now = count < BATCH ? count : BATCH;
		struct kthread_batch batch;

		kthread_batch_begin(&batch, o->worker);
		for (unsigned int i = first; i < first + now; i++)
			kthread_batch_add(&batch, &o->works[i]);
		kthread_batch_end(&batch);
		first += now;
		count -= now;
	}
}

static void trip(void *handle)
{
	struct ours *o = handle;

	kthread_queue_work(o->worker, o->works);
	if (kthread_flush_work(o->works))
		die("kthread_flush_work");
}

static void coalesce(void *handle, unsigned int requests)
{
	struct ours *o = handle;

	for (unsigned int i = 0; i < requests; i++)
		kthread_queue_work(o->worker, o->works);
	if (kthread_flush_work(o->works))
		die("kthread_flush_work");
}

static void timer_run(struct kthread_work *work)
{
	(void)work;
	timer_ran();
}

/* A delay of 0 would be no timer. */
static uint64_t delay_ns(uint32_t ahead)
{
	return ahead ? ahead * UINT64_C(1000000) : 1;
}

static void time_timers(struct kthread_work *work)
{
	struct ours *o = (struct ours *)((char *)work - offsetof(struct ours, timing));

	timers_begin();
	for (unsigned int k = 0; k < timers.count; k++) {
		uint32_t i = timers.order[k];

		if (!kthread_queue_delayed_work(o->worker, &o->timers[i],
						delay_ns(timers.ahead[i])))
			die("kthread_queue_delayed_work");
	}
	if (timers.expire) {
		timers_begin();
		return;
	}
	for (unsigned int k = 0; k < timers.count; k++) {
		uint32_t i = timers.order[k];

		if (!kthread_mod_delayed_work(o->worker, &o->timers[i], delay_ns(timers.moved[i])))
			die("kthread_mod_delayed_work");
	}
	for (unsigned int k = 0; k < timers.count; k++)
		if (!kthread_cancel_delayed_work(&o->timers[timers.order[k]]))
			die("kthread_cancel_delayed_work");
	timers_done();
}

static void start_timers(void *handle)
{
	struct ours *o = handle;

	o->timers = zeroed(timers.count * sizeof(*o->timers));
	for (unsigned int i = 0; i < timers.count; i++)
		kthread_init_delayed_work(&o->timers[i], timer_run);
	kthread_init_work(&o->timing, time_timers);
	if (!kthread_queue_work(o->worker, &o->timing))
		die("kthread_queue_work");
}

static void close_ours(void *handle)
{
	struct ours *o = handle;

	kthread_destroy_worker(o->worker);
	free(o->works);
	free(o->timers);
	free(o);
}

static const struct contestant ours = {
	.name = "kthread_worker", .kind = OURS, .polls = true,
	.item_bytes = sizeof(struct kthread_work),
	.version = version, .open = open_default, .produce = produce, .trip = trip,
	.coalesce = coalesce, .timers = start_timers, .close = close_ours,
};
CONTESTANT(ours)

static const struct contestant ours_no_poll = {
	.name = "kthread_worker, no polling", .kind = OURS,
	.item_bytes = sizeof(struct kthread_work),
	.version = version, .open = open_no_poll, .produce = produce, .trip = trip,
	.coalesce = coalesce, .close = close_ours,
};
CONTESTANT(ours_no_poll)

static const struct contestant ours_batch = {
	.name = "kthread_worker, batches", .kind = OURS, .polls = true,
	.item_bytes = sizeof(struct kthread_work),
	.version = version, .open = open_default, .produce = produce_batch,
	.close = close_ours,
};
CONTESTANT(ours_batch)
