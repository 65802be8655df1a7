/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * moodycamel's BlockingConcurrentQueue, with room for all from the start: plain; and at its
 * best, with producer and consumer tokens and many taken at once. Its semaphore spins some
 * ten thousand times before it sleeps, and no option of the queue's says otherwise.
 */
#if __has_include(<concurrentqueue/moodycamel/blockingconcurrentqueue.h>)
#include <concurrentqueue/moodycamel/blockingconcurrentqueue.h>
#elif __has_include(<concurrentqueue/blockingconcurrentqueue.h>)
#include <concurrentqueue/blockingconcurrentqueue.h>
#else
#include <blockingconcurrentqueue.h>
#endif

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <thread>
#include <vector>

#include "against.h"

namespace {

constexpr size_t BULK = 64;

struct queue {
	explicit queue(size_t jobs, unsigned int producers) : items(jobs + 64, producers + 1, 1)
	{
		for (unsigned int i = 0; i < producers; i++)
			tokens.emplace_back(items);
	}

	moodycamel::BlockingConcurrentQueue<struct job *> items;
	std::vector<moodycamel::ProducerToken> tokens;
	struct job *jobs = nullptr;
	std::thread thread;
};

void version(char *text, size_t size)
{
	std::snprintf(text, size, "concurrentqueue %s", MOODYCAMEL_VERSION);
}

void *open_plain(unsigned int jobs, unsigned int producers)
{
	auto *q = new queue(jobs, producers);

	q->jobs = job_array(jobs);
	q->thread = std::thread([q] {
		for (;;) {
			struct job *job;

			q->items.wait_dequeue(job);
			if (!job)
				return;
			job->run(job);
		}
	});
	return q;
}

void produce_plain(void *handle, unsigned int, unsigned int first, unsigned int count)
{
	auto *q = static_cast<queue *>(handle);

	for (unsigned int i = first; i < first + count; i++)
		if (!q->items.enqueue(&q->jobs[i]))
			die("enqueue");
}

void *open_best(unsigned int jobs, unsigned int producers)
{
	auto *q = new queue(jobs, producers);

	q->jobs = job_array(jobs);
	q->thread = std::thread([q] {
		moodycamel::ConsumerToken token(q->items);
		struct job *taken[BULK];

		for (;;) {
			size_t n = q->items.wait_dequeue_bulk(token, taken, BULK);

			for (size_t i = 0; i < n; i++) {
				if (!taken[i])
					return;
				taken[i]->run(taken[i]);
			}
		}
	});
	return q;
}

void produce_token(void *handle, unsigned int producer, unsigned int first, unsigned int count)
{
	auto *q = static_cast<queue *>(handle);
	auto &token = q->tokens[producer];

	for (unsigned int i = first; i < first + count; i++)
		if (!q->items.enqueue(token, &q->jobs[i]))
			die("enqueue");
}

void produce_bulk(void *handle, unsigned int producer, unsigned int first, unsigned int count)
{
	auto *q = static_cast<queue *>(handle);
	auto &token = q->tokens[producer];
	struct job *given[BULK];

	while (count) {
		size_t n = count < BULK ? count : BULK;

		for (size_t i = 0; i < n; i++)
			given[i] = &q->jobs[first + i];
		if (!q->items.enqueue_bulk(token, given, n))
			die("enqueue_bulk");
		first += n;
		count -= n;
	}
}

void close_queue(void *handle)
{
	auto *q = static_cast<queue *>(handle);

	q->items.enqueue(nullptr);
	q->thread.join();
	std::free(q->jobs);
	delete q;
}

struct contestant make(const char *name, enum kind kind,
		       void *(*open)(unsigned int, unsigned int),
		       void (*produce)(void *, unsigned int, unsigned int, unsigned int))
{
	struct contestant c = {};

	c.name = name;
	c.kind = kind;
	c.polls = true;
	c.item_bytes = sizeof(struct job *);
	c.version = version;
	c.open = open;
	c.produce = produce;
	c.close = close_queue;
	return c;
}

const struct contestant plain = make("moodycamel", OPPONENT, open_plain, produce_plain);
const struct contestant best = make("moodycamel, tokens + bulk out", OPPONENT, open_best,
				    produce_token);
/* Many at once: what kthread_worker's batches are to be compared with. */
const struct contestant bulk = make("moodycamel, bulk in + out", BESIDE, open_best, produce_bulk);
const bool entered = (enter_contestant(&plain), enter_contestant(&best), enter_contestant(&bulk),
		      true);

} // namespace
