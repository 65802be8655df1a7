/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Asio's io_context with one run() and the concurrency hint that says so. It allocates an
 * operation for each post, and for each wait for a timer. A wait that is cancelled, or whose
 * timer is moved, has its handler called all the same.
 */
#if __has_include(<boost/asio.hpp>)
#include <boost/asio.hpp>
#include <boost/version.hpp>
namespace asio = boost::asio;
#define VERSION "Boost %d.%d.%d", BOOST_VERSION / 100000, BOOST_VERSION / 100 % 1000, \
		BOOST_VERSION % 100
#else
#include <asio.hpp>
#define VERSION "Asio %d.%d.%d", ASIO_VERSION / 100000, ASIO_VERSION / 100 % 1000, \
		ASIO_VERSION % 100
#endif

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <vector>

#include "against.h"

namespace {

struct context {
	asio::io_context io{1};
	asio::executor_work_guard<asio::io_context::executor_type> guard{io.get_executor()};
	struct job *jobs;
	std::vector<asio::steady_timer> timers;
	unsigned int aborted = 0;
	std::thread thread;
};

void version(char *text, size_t size)
{
	std::snprintf(text, size, VERSION);
}

void *open_context(unsigned int jobs, unsigned int)
{
	auto *c = new context;

	c->jobs = job_array(jobs);
	c->thread = std::thread([c] { c->io.run(); });
	return c;
}

void produce(void *handle, unsigned int, unsigned int first, unsigned int count)
{
	auto *c = static_cast<context *>(handle);

	for (unsigned int i = first; i < first + count; i++) {
		struct job *job = &c->jobs[i];

		asio::post(c->io, [job] { job->run(job); });
	}
}

void wait_for(struct context *c, asio::steady_timer &timer)
{
	timer.async_wait([c](const auto &error) {
		if (!error)
			timer_ran();
		else if (error != asio::error::operation_aborted || timers.expire)
			die("async_wait");
		else if (++c->aborted == 2 * timers.count)
			timers_done();
	});
}

void time_timers(struct context *c)
{
	using std::chrono::milliseconds;

	timers_begin();
	for (unsigned int k = 0; k < timers.count; k++) {
		uint32_t i = timers.order[k];

		if (c->timers[i].expires_after(milliseconds(timers.ahead[i])))
			die("expires_after");
		wait_for(c, c->timers[i]);
	}
	if (timers.expire) {
		timers_begin();
		return;
	}
	for (unsigned int k = 0; k < timers.count; k++) {
		uint32_t i = timers.order[k];

		if (c->timers[i].expires_after(milliseconds(timers.moved[i])) != 1)
			die("expires_after");
		wait_for(c, c->timers[i]);
	}
	for (unsigned int k = 0; k < timers.count; k++)
		if (c->timers[timers.order[k]].cancel() != 1)
			die("cancel");
	/* Its end: the handlers of the moved and of the cancelled have run. */
}

void start_timers(void *handle)
{
	auto *c = static_cast<context *>(handle);

	c->timers.reserve(timers.count);
	for (unsigned int i = 0; i < timers.count; i++)
		c->timers.emplace_back(c->io);
	asio::post(c->io, [c] { time_timers(c); });
}

void close_context(void *handle)
{
	auto *c = static_cast<context *>(handle);

	c->guard.reset();
	c->thread.join();
	std::free(c->jobs);
	delete c;
}

const struct contestant entry = [] {
	struct contestant c = {};

	c.name = "Asio io_context";
	c.kind = OPPONENT;
	c.version = version;
	c.open = open_context;
	c.produce = produce;
	c.timers = start_timers;
	c.close = close_context;
	return c;
}();

const bool entered = (enter_contestant(&entry), true);

} // namespace
