/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The limits of a round trip: two threads that do nothing but wake each other, through two
 * futex words, two semaphores, or two cache lines. Jobs there are none; the other thread counts.
 */
#define _GNU_SOURCE
#include <linux/futex.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "against.h"

enum { FUTEX, SEMAPHORE, LINE };

struct ball {
	_Alignas(128) atomic_uint there;
	_Alignas(128) atomic_uint back;
	_Alignas(128) sem_t sem_there;
	sem_t sem_back;
	int how;
	unsigned int turn;
	atomic_bool stop;
	pthread_t thread;
};

static void version(char *text, size_t size)
{
	snprintf(text, size, "this machine");
}

/* Nobody but the other waits there, and it waits nowhere else: each throw is one wake. */
static void throw_to(struct ball *b, atomic_uint *word, sem_t *sem, unsigned int turn)
{
	if (b->how == SEMAPHORE) {
		sem_post(sem);
		return;
	}
	atomic_store_explicit(word, turn, memory_order_release);
	if (b->how == FUTEX)
		syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static void await(struct ball *b, atomic_uint *word, sem_t *sem, unsigned int turn)
{
	if (b->how == SEMAPHORE) {
		while (sem_wait(sem))
			;
		return;
	}
	while (atomic_load_explicit(word, memory_order_acquire) != turn)
		if (b->how == FUTEX)
			syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, turn - 1, NULL, NULL, 0);
}

static void *serve(void *handle)
{
	struct ball *b = handle;

	for (unsigned int turn = 1;; turn++) {
		await(b, &b->there, &b->sem_there, turn);
		if (atomic_load_explicit(&b->stop, memory_order_relaxed))
			return NULL;
		tally.ran++;
		throw_to(b, &b->back, &b->sem_back, turn);
	}
}

static void *open_ball(int how)
{
	struct ball *b = aligned_alloc(128, sizeof(*b));

	if (!b)
		die("aligned_alloc");
	*b = (struct ball){ .how = how };
	sem_init(&b->sem_there, 0, 0);
	sem_init(&b->sem_back, 0, 0);
	if (pthread_create(&b->thread, NULL, serve, b))
		die("pthread_create");
	return b;
}

static void *open_futex(unsigned int jobs, unsigned int producers)
{
	(void)jobs;
	(void)producers;
	return open_ball(FUTEX);
}

static void *open_semaphore(unsigned int jobs, unsigned int producers)
{
	(void)jobs;
	(void)producers;
	return open_ball(SEMAPHORE);
}

static void *open_line(unsigned int jobs, unsigned int producers)
{
	(void)jobs;
	(void)producers;
	return open_ball(LINE);
}

static void trip(void *handle)
{
	struct ball *b = handle;

	b->turn++;
	throw_to(b, &b->there, &b->sem_there, b->turn);
	await(b, &b->back, &b->sem_back, b->turn);
}

static void close_ball(void *handle)
{
	struct ball *b = handle;

	atomic_store(&b->stop, true);
	throw_to(b, &b->there, &b->sem_there, ++b->turn);
	pthread_join(b->thread, NULL);
	sem_destroy(&b->sem_there);
	sem_destroy(&b->sem_back);
	free(b);
}

#define LIMIT_OF(c, says, ...)						\
	static const struct contestant c = {				\
		.name = says, .kind = LIMIT, .version = version,		\
		.trip = trip, .close = close_ball, __VA_ARGS__			\
	};								\
	CONTESTANT(c)

LIMIT_OF(futex, "futex ping-pong", .open = open_futex)
LIMIT_OF(semaphore, "semaphore ping-pong", .open = open_semaphore)
LIMIT_OF(line, "cache-line ping-pong", .open = open_line, .polls = true, .one_cpu_never = true)
