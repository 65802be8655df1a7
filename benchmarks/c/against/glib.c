/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * GLib's GThreadPool: one exclusive thread. It allocates a list node for each push. Timers it
 * has in a GMainLoop, which takes part with those alone: a source each, allocated when it is
 * armed, for one that was destroyed, or that has run out, is of no further use.
 */
#define _GNU_SOURCE
#include <glib.h>
#include <stdio.h>
#include <stdlib.h>

#include "against.h"

/* ---- GThreadPool ---- */

struct pool {
	GThreadPool *pool;
	struct job *jobs;
};

static void version(char *text, size_t size)
{
	snprintf(text, size, "GLib %u.%u.%u", glib_major_version, glib_minor_version,
		 glib_micro_version);
}

/* The pool calls it through its pointer already. */
static void run(gpointer data, gpointer unused)
{
	(void)data;
	(void)unused;
	tally_one();
}

static void *open_pool(unsigned int jobs, unsigned int producers)
{
	struct pool *p = zeroed(sizeof(*p));

	(void)producers;
	p->jobs = job_array(jobs);
	p->pool = g_thread_pool_new(run, NULL, 1, TRUE, NULL);
	if (!p->pool)
		die("g_thread_pool_new");
	return p;
}

static void produce(void *handle, unsigned int producer, unsigned int first, unsigned int count)
{
	struct pool *p = handle;

	(void)producer;
	for (unsigned int i = first; i < first + count; i++)
		g_thread_pool_push(p->pool, &p->jobs[i], NULL);
}

static void close_pool(void *handle)
{
	struct pool *p = handle;

	g_thread_pool_free(p->pool, FALSE, TRUE);
	free(p->jobs);
	free(p);
}

static const struct contestant glib = {
	.name = "GLib GThreadPool", .kind = OPPONENT, .item_bytes = 0,
	.version = version, .open = open_pool, .produce = produce, .close = close_pool,
};
CONTESTANT(glib)

/* ---- GMainLoop ---- */

struct looper {
	GMainContext *context;
	GMainLoop *loop;
	GThread *thread;
	GSource **sources;
	sem_t runs;
};

static gpointer serve(gpointer data)
{
	struct looper *l = data;

	g_main_loop_run(l->loop);
	return NULL;
}

/* In the loop's thread, once. */
static void call_in_loop(struct looper *l, GSourceFunc function)
{
	GSource *source = g_idle_source_new();

	g_source_set_callback(source, function, l, NULL);
	g_source_attach(source, l->context);
	g_source_unref(source);
}

static gboolean loop_runs(gpointer data)
{
	struct looper *l = data;

	sem_post(&l->runs);
	return G_SOURCE_REMOVE;
}

static gboolean loop_quits(gpointer data)
{
	struct looper *l = data;

	g_main_loop_quit(l->loop);
	return G_SOURCE_REMOVE;
}

static void *open_looper(unsigned int jobs, unsigned int producers)
{
	struct looper *l = zeroed(sizeof(*l));

	(void)jobs;
	(void)producers;
	sem_init(&l->runs, 0, 0);
	l->context = g_main_context_new();
	l->loop = g_main_loop_new(l->context, FALSE);
	l->thread = g_thread_new("loop", serve, l);
	call_in_loop(l, loop_runs);
	while (sem_wait(&l->runs))
		;
	return l;
}

static gboolean timer_run(gpointer unused)
{
	(void)unused;
	timer_ran();
	return G_SOURCE_REMOVE;
}

static gboolean time_timers(gpointer data)
{
	struct looper *l = data;

	timers_begin();
	for (unsigned int k = 0; k < timers.count; k++) {
		uint32_t i = timers.order[k];

		l->sources[i] = g_timeout_source_new(timers.ahead[i]);
		g_source_set_callback(l->sources[i], timer_run, NULL, NULL);
		g_source_attach(l->sources[i], l->context);
	}
	if (timers.expire) {
		timers_begin();
		return G_SOURCE_REMOVE;
	}
	for (unsigned int k = 0; k < timers.count; k++) {
		uint32_t i = timers.order[k];

		g_source_set_ready_time(l->sources[i], g_get_monotonic_time() +
						       timers.moved[i] * INT64_C(1000));
	}
	for (unsigned int k = 0; k < timers.count; k++) {
		GSource **source = &l->sources[timers.order[k]];

		g_source_destroy(*source);
		g_source_unref(*source);
		*source = NULL;
	}
	timers_done();
	return G_SOURCE_REMOVE;
}

static void start_timers(void *handle)
{
	struct looper *l = handle;

	l->sources = zeroed(timers.count * sizeof(*l->sources));
	call_in_loop(l, time_timers);
}

static void close_looper(void *handle)
{
	struct looper *l = handle;

	call_in_loop(l, loop_quits);
	g_thread_join(l->thread);
	for (unsigned int i = 0; l->sources && i < timers.count; i++)
		if (l->sources[i])
			g_source_unref(l->sources[i]);
	g_main_loop_unref(l->loop);
	g_main_context_unref(l->context);
	sem_destroy(&l->runs);
	free(l->sources);
	free(l);
}

static const struct contestant glib_loop = {
	.name = "GLib GMainLoop", .kind = BESIDE, .item_bytes = 0,
	.version = version, .open = open_looper, .timers = start_timers, .close = close_looper,
};
CONTESTANT(glib_loop)
