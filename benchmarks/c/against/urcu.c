/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * userspace-rcu's wfcqueue: one exchange for each item, and the consumer takes all at once. It
 * is a queue and no worker: nothing in it sleeps or wakes, so that a semaphore is posted when
 * the queue was empty. A part to build with, and near the least that a hand-over can cost.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <urcu/wfcqueue.h>

#include "against.h"

struct node {
	struct cds_wfcq_node link;
	struct job job;
};

struct queue {
	struct cds_wfcq_tail tail;
	char apart[128];
	struct cds_wfcq_head head;
	sem_t filled;
	bool stop;
	struct node *nodes;
	pthread_t thread;
};

static void version(char *text, size_t size)
{
	snprintf(text, size, "liburcu %s", URCU_VERSION);
}

static void *serve(void *handle)
{
	struct queue *q = handle;
	struct cds_wfcq_head head;
	struct cds_wfcq_tail tail;
	struct cds_wfcq_node *node, *next;

	for (;;) {
		while (sem_wait(&q->filled))
			;
		cds_wfcq_init(&head, &tail);
		if (__cds_wfcq_splice_blocking(&head, &tail, &q->head, &q->tail) ==
		    CDS_WFCQ_RET_SRC_EMPTY) {
			if (q->stop)
				return NULL;
			continue;
		}
		__cds_wfcq_for_each_blocking_safe(&head, &tail, node, next) {
			struct job *job = &caa_container_of(node, struct node, link)->job;

			job->run(job);
		}
	}
}

static void *open_queue(unsigned int jobs, unsigned int producers)
{
	struct queue *q = zeroed(sizeof(*q));

	(void)producers;
	cds_wfcq_init(&q->head, &q->tail);
	sem_init(&q->filled, 0, 0);
	q->nodes = zeroed(jobs * sizeof(*q->nodes));
	for (unsigned int i = 0; i < jobs; i++)
		q->nodes[i].job.run = run_job;
	if (pthread_create(&q->thread, NULL, serve, q))
		die("pthread_create");
	return q;
}

static void produce(void *handle, unsigned int producer, unsigned int first, unsigned int count)
{
	struct queue *q = handle;

	(void)producer;
	for (unsigned int i = first; i < first + count; i++) {
		cds_wfcq_node_init(&q->nodes[i].link);
		if (!cds_wfcq_enqueue(&q->head, &q->tail, &q->nodes[i].link))
			sem_post(&q->filled);
	}
}

static void close_queue(void *handle)
{
	struct queue *q = handle;

	q->stop = true; /* seen by who takes the post */
	sem_post(&q->filled);
	pthread_join(q->thread, NULL);
	sem_destroy(&q->filled);
	free(q->nodes);
	free(q);
}

static const struct contestant urcu = {
	.name = "urcu wfcqueue + semaphore", .kind = BESIDE, .item_bytes = sizeof(struct node),
	.version = version, .open = open_queue, .produce = produce, .close = close_queue,
};
CONTESTANT(urcu)
