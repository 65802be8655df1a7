/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A stage in parallel, its results in order, as padata has it for IPsec: jobs are submitted in a
 * row, a stage runs on K workers, and one more worker delivers the jobs one at a time, in the
 * order of submission, whatever order they were done in. No more than a window of jobs is on its
 * way: then ordered_submit waits, or says EAGAIN.
 *
 *	cc -O2 -Isrc -o ordered_parallel examples/c/ordered_parallel.c src/[a-z]*.c -pthread
 *
 * The pair of ordered accesses:
 *
 *	done	done-A says that a job is done after the stage has written its result, done-B reads
 *		it before the result. Weaker, a result would be delivered before it is there. That
 *		the serialiser looks again after done-A is the queueing's doing: it orders what was
 *		written before even when the work was pending.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "kthread_worker.h"

/* ---- to be copied: jobs in parallel, delivered in order ---- */

struct ordered;

/* Returns 0 or -errno, which is delivered in the job's turn. */
typedef int (*ordered_stage_t)(void *data);
typedef void (*ordered_deliver_t)(void *data, int result);

struct ordered_job {
	struct kthread_work work;	/* first, for the work's function */
	struct ordered *ordered;
	void *data;
	int result;			/* the stage's, until done-A */
	_Atomic uint64_t done;		/* number of the job that is done, plus one */
};

struct ordered {
	ordered_stage_t stage;
	ordered_deliver_t deliver;
	unsigned int workers, window;
	struct kthread_worker **worker;
	struct kthread_worker *serialiser;
	struct kthread_work serial;
	struct ordered_job *jobs;	/* a ring of window jobs */
	pthread_mutex_t lock;
	pthread_cond_t room;
	uint64_t submitted;		/* under lock */
	uint64_t delivered;		/* under lock; the serialiser alone changes it */
};

static void ordered_run(struct kthread_work *work)
{
	struct ordered_job *job = (struct ordered_job *)work;
	struct ordered *o = job->ordered;
	/* Only this run may change it: the job is not given anew before it was delivered. */
	uint64_t number = atomic_load_explicit(&job->done, memory_order_relaxed);
	uint64_t next = number ? number + o->window : (uint64_t)(job - o->jobs) + 1;

	job->result = o->stage(job->data);
	atomic_store_explicit(&job->done, next, memory_order_release); /* done-A */
	/* From here on the job may be submitted anew, even before this function returns. */
	kthread_queue_work(o->serialiser, &o->serial);
}

static void ordered_serialise(struct kthread_work *work)
{
	struct ordered *o = (struct ordered *)((char *)work - offsetof(struct ordered, serial));

	for (;;) {
		/* Nobody else writes it, so that it may be read without the lock. */
		uint64_t number = o->delivered;
		struct ordered_job *job = &o->jobs[number % o->window];

		if (atomic_load_explicit(&job->done, memory_order_acquire) !=
		    number + 1) /* done-B */
			return;
		o->deliver(job->data, job->result);
		pthread_mutex_lock(&o->lock);
		o->delivered = number + 1;
		pthread_cond_broadcast(&o->room);
		pthread_mutex_unlock(&o->lock);
	}
}

/*
 * ordered_submit - one more job
 * @wait: sleep until there is room in the window
 *
 * From any thread, but with @wait from none of the workers: the room is theirs to make.
 *
 * Returns 0; or -EAGAIN: there is no room, and @wait is false
 */
static int ordered_submit(struct ordered *o, void *data, bool wait)
{
	struct ordered_job *job;
	uint64_t number;

	pthread_mutex_lock(&o->lock);
	while (o->submitted - o->delivered == o->window) {
		if (!wait) {
			pthread_mutex_unlock(&o->lock);
			return -EAGAIN;
		}
		pthread_cond_wait(&o->room, &o->lock);
	}
	number = o->submitted++;
	job = &o->jobs[number % o->window];
	job->data = data;
	/*
	 * In turns, as padata: the window is a multiple of the workers, so that a job of the ring
	 * is always one worker's. Another would refuse it while its last run is about to return.
	 */
	kthread_queue_work(o->worker[number % o->workers], &job->work);
	pthread_mutex_unlock(&o->lock);
	return 0;
}

/* Wait until all that was submitted is delivered; not from one of the workers. */
static void ordered_flush(struct ordered *o)
{
	uint64_t goal;

	pthread_mutex_lock(&o->lock);
	goal = o->submitted;
	while (o->delivered < goal)
		pthread_cond_wait(&o->room, &o->lock);
	pthread_mutex_unlock(&o->lock);
}

/* Delivers what was submitted, then ends the workers. */
static void ordered_destroy(struct ordered *o)
{
	ordered_flush(o);
	for (unsigned int i = 0; i < o->workers; i++)
		kthread_destroy_worker(o->worker[i]);
	kthread_destroy_worker(o->serialiser);
	pthread_mutex_destroy(&o->lock);
	pthread_cond_destroy(&o->room);
	free(o->worker);
	free(o->jobs);
}

/*
 * ordered_init - make the workers
 * @window: most jobs on their way; rounded up to a multiple of @workers
 *
 * Returns 0; -EINVAL; or -ENOMEM, -EAGAIN: there is no room for so many
 */
static int ordered_init(struct ordered *o, ordered_stage_t stage, ordered_deliver_t deliver,
			unsigned int workers, unsigned int window)
{
	unsigned int made = 0;

	if (!workers || !window || window > UINT32_MAX - workers)
		return -EINVAL;
	memset(o, 0, sizeof(*o));
	o->stage = stage;
	o->deliver = deliver;
	o->workers = workers;
	o->window = (window + workers - 1) / workers * workers;
	o->worker = calloc(workers, sizeof(struct kthread_worker *));
	o->jobs = calloc(o->window, sizeof(*o->jobs));
	if (!o->worker || !o->jobs)
		goto no_room;
	o->serialiser = kthread_run_worker(0, "serialiser");
	while (o->serialiser && made < workers) {
		o->worker[made] = kthread_run_worker(0, "stage/%u", made);
		if (!o->worker[made])
			break;
		made++;
	}
	if (made < workers)
		goto no_room;
	/* Where stages compute on every CPU, a worker that polls would take from them. */
	kthread_worker_set_busy_poll(o->serialiser, 0);
	for (unsigned int i = 0; i < workers; i++)
		kthread_worker_set_busy_poll(o->worker[i], 0);
	kthread_init_work(&o->serial, ordered_serialise);
	for (unsigned int i = 0; i < o->window; i++) {
		kthread_init_work(&o->jobs[i].work, ordered_run);
		o->jobs[i].ordered = o;
	}
	pthread_mutex_init(&o->lock, NULL);
	pthread_cond_init(&o->room, NULL);
	return 0;
no_room:
	while (made)
		kthread_destroy_worker(o->worker[--made]);
	kthread_destroy_worker(o->serialiser);
	free(o->worker);
	free(o->jobs);
	return -ENOMEM;
}

/* ---- the program: blocks are hashed, some of them are refused ---- */

#define BLOCK 65536u

struct item {
	uint64_t number, hash;
};

static volatile sig_atomic_t interrupted;
static unsigned char block[BLOCK];	/* constant once the program has begun */
static uint64_t expected;		/* the number that is to be delivered next */
static uint64_t misordered, wrong, refused; /* the serialiser's; read after a flush */
static const uint64_t *hashes;		/* of the serial run */
static _Atomic uint64_t inversions, last_done; /* jobs done behind a later one */

static int hash_block(void *data)
{
	struct item *item = data;
	/* Every eighth takes four times as long, so that the order in which jobs end differs. */
	unsigned int passes = item->number % 8 ? 1 : 4;
	uint64_t hash = item->number;

	if (item->number % 97 == 96)
		return -EINVAL;
	while (passes--)
		for (unsigned int i = 0; i < BLOCK; i++)
			hash = (hash ^ block[i]) * 0x100000001b3u;
	item->hash = hash;
	return 0;
}

static int stage(void *data)
{
	const struct item *item = data;
	int result = hash_block(data);

	if (atomic_exchange_explicit(&last_done, item->number, memory_order_relaxed) >
	    item->number)
		atomic_fetch_add_explicit(&inversions, 1, memory_order_relaxed);
	return result;
}

static void deliver(void *data, int result)
{
	const struct item *item = data;

	misordered += item->number != expected++;
	if (item->number % 97 == 96) {
		refused++;
		wrong += result != -EINVAL;
	} else {
		wrong += result || item->hash != hashes[item->number];
	}
}

static double seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void on_sigint(int sig)
{
	(void)sig;
	interrupted = 1;
}

/* Returns false when a result was lost, wrong or out of order. */
static bool play(struct item *items, uint64_t count, unsigned int workers, double *took)
{
	struct ordered ordered;
	uint64_t full = 0, sent = 0;
	int err = ordered_init(&ordered, stage, deliver, workers, 4 * workers);

	if (err) {
		fprintf(stderr, "ordered_init: %s\n", strerror(-err));
		return false;
	}
	expected = misordered = wrong = refused = 0;
	atomic_store(&inversions, 0);
	atomic_store(&last_done, 0);
	*took = -seconds();
	for (; sent < count && !interrupted; sent++) {
		items[sent] = (struct item){ sent, 0 };
		if (ordered_submit(&ordered, &items[sent], false) == -EAGAIN) {
			full++;		/* back-pressure; here we can but wait */
			ordered_submit(&ordered, &items[sent], true);
		}
	}
	ordered_flush(&ordered);
	*took += seconds();
	printf("%u worker%s, window %u: %7.0f blocks/s, %llu times EAGAIN, %llu done behind a "
	       "later one, %llu refused; delivered in order: %s\n", workers, workers > 1 ? "s" : "",
	       ordered.window, (double)sent / *took, (unsigned long long)full,
	       (unsigned long long)atomic_load(&inversions), (unsigned long long)refused,
	       misordered ? "no" : "yes");
	ordered_destroy(&ordered);
	return expected == sent && !misordered && !wrong;
}

int main(int argc, char **argv)
{
	struct sigaction action = { .sa_handler = on_sigint };
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	unsigned int workers = cpus > 1 ? (unsigned int)cpus : 2;
	uint64_t count = 4000, hashed = 0, *known;
	double serially, took = 0, alone = 0;
	struct item *items;
	bool good = true;

	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--quick")) {
			count = 500;
		} else if (!strcmp(argv[i], "--workers") && i + 1 < argc && atoi(argv[i + 1]) > 0) {
			workers = (unsigned int)atoi(argv[++i]);
		} else {
			printf("usage: %s [--quick] [--workers K]\n", argv[0]);
			return strcmp(argv[i], "--help") ? 2 : 0;
		}
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	sigaction(SIGINT, &action, NULL);
	for (unsigned int i = 0; i < BLOCK; i++)
		block[i] = (unsigned char)(i * 31 + i / 256);
	items = calloc(count, sizeof(*items));
	known = calloc(count, sizeof(*known));
	if (!items || !known) {
		perror("calloc");
		return 1;
	}

	serially = -seconds();
	for (; hashed < count && !interrupted; hashed++) {
		items[hashed].number = hashed;
		hash_block(&items[hashed]);
		known[hashed] = items[hashed].hash;
	}
	serially += seconds();
	hashes = known;
	printf("serially, no worker:  %7.0f blocks/s\n", (double)hashed / serially);
	for (unsigned int k = 1; k <= workers && good && !interrupted; k = k < workers ?
	     workers : workers + 1) {
		good = play(items, count, k, &took);
		if (k == 1)
			alone = took;
		if (!interrupted)
			printf("\t%.2f times as fast as serially%s\n", serially / took,
			       k > 1 ? "" : ": what the order costs");
		if (k > 1 && !interrupted)
			printf("\t%.2f times as fast as one worker\n", alone / took);
	}
	free(items);
	free(known);
	if (!good) {
		puts("FAILED: a result was lost, wrong or out of order");
		return 1;
	}
	if (interrupted) {
		puts("interrupted; until then every result in its turn");
		return 130;
	}
	puts("every result in its turn, every error too");
	return 0;
}
