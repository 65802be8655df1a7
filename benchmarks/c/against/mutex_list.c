/* SPDX-License-Identifier: GPL-2.0-only */
/* What one writes without a library: a list, a mutex, a condition variable. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "against.h"

struct node {
	struct job job;
	struct node *next;
};

struct queue {
	pthread_mutex_t mutex;
	pthread_cond_t filled;
	struct node *first, **last;
	bool stop;
	struct node *nodes;
	pthread_t thread;
};

static void version(char *text, size_t size)
{
	snprintf(text, size, "POSIX threads");
}

static void *serve(void *handle)
{
	struct queue *q = handle;

	pthread_mutex_lock(&q->mutex);
	while (q->first || !q->stop) {
		struct node *node = q->first;

		if (!node) {
			pthread_cond_wait(&q->filled, &q->mutex);
			continue;
		}
		q->first = node->next;
		if (!q->first)
			q->last = &q->first;
		pthread_mutex_unlock(&q->mutex);
		node->job.run(&node->job);
		pthread_mutex_lock(&q->mutex);
	}
	pthread_mutex_unlock(&q->mutex);
	return NULL;
}

static void *open_queue(unsigned int jobs, unsigned int producers)
{
	struct queue *q = zeroed(sizeof(*q));

	(void)producers;
	q->last = &q->first;
	q->nodes = zeroed(jobs * sizeof(*q->nodes));
	for (unsigned int i = 0; i < jobs; i++)
		q->nodes[i].job.run = run_job;
	pthread_mutex_init(&q->mutex, NULL);
	pthread_cond_init(&q->filled, NULL);
	if (pthread_create(&q->thread, NULL, serve, q))
		die("pthread_create");
	return q;
}

static void produce(void *handle, unsigned int producer, unsigned int first, unsigned int count)
{
	struct queue *q = handle;

	(void)producer;
	for (unsigned int i = first; i < first + count; i++) {
		struct node *node = &q->nodes[i];

		pthread_mutex_lock(&q->mutex);
		node->next = NULL;
		*q->last = node;
		q->last = &node->next;
		/* After the unlock: the one that wakes finds the mutex free. */
		pthread_mutex_unlock(&q->mutex);
		pthread_cond_signal(&q->filled);
	}
}

static void close_queue(void *handle)
{
	struct queue *q = handle;

	pthread_mutex_lock(&q->mutex);
	q->stop = true;
	pthread_cond_signal(&q->filled);
	pthread_mutex_unlock(&q->mutex);
	pthread_join(q->thread, NULL);
	pthread_mutex_destroy(&q->mutex);
	pthread_cond_destroy(&q->filled);
	free(q->nodes);
	free(q);
}

static const struct contestant mutex_list = {
	.name = "mutex + condition", .kind = BESIDE, .item_bytes = sizeof(struct node),
	.version = version, .open = open_queue, .produce = produce, .close = close_queue,
};
CONTESTANT(mutex_list)
