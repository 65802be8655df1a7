/* SPDX-License-Identifier: GPL-2.0-only */
/* GLib's GThreadPool: one exclusive thread. It allocates a list node for each push. */
#define _GNU_SOURCE
#include <glib.h>
#include <stdio.h>
#include <stdlib.h>

#include "against.h"

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
