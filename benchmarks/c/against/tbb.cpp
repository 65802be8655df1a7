/* SPDX-License-Identifier: GPL-2.0-only */
/* oneTBB's concurrent_bounded_queue, whose pop sleeps. It allocates pages of items. */
#include <cstdio>
#include <cstdlib>
#include <tbb/concurrent_queue.h>
#include <tbb/version.h>
#include <thread>

#include "against.h"

namespace {

struct queue {
	tbb::concurrent_bounded_queue<struct job *> items;
	struct job *jobs;
	std::thread thread;
};

void version(char *text, size_t size)
{
	std::snprintf(text, size, "oneTBB %d.%d", TBB_VERSION_MAJOR, TBB_VERSION_MINOR);
}

void *open_queue(unsigned int jobs, unsigned int)
{
	auto *q = new queue;

	q->jobs = job_array(jobs);
	q->thread = std::thread([q] {
		for (;;) {
			struct job *job;

			q->items.pop(job);
			if (!job)
				return;
			job->run(job);
		}
	});
	return q;
}

void produce(void *handle, unsigned int, unsigned int first, unsigned int count)
{
	auto *q = static_cast<queue *>(handle);

	for (unsigned int i = first; i < first + count; i++)
		q->items.push(&q->jobs[i]);
}

void close_queue(void *handle)
{
	auto *q = static_cast<queue *>(handle);

	q->items.push(nullptr);
	q->thread.join();
	std::free(q->jobs);
	delete q;
}

const struct contestant entry = [] {
	struct contestant c = {};

	c.name = "oneTBB bounded queue";
	c.kind = BESIDE;
	c.item_bytes = sizeof(struct job *);
	c.version = version;
	c.open = open_queue;
	c.produce = produce;
	c.close = close_queue;
	return c;
}();

const bool entered = (enter_contestant(&entry), true);

} // namespace
