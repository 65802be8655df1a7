/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Asio's io_context with one run() and the concurrency hint that says so. It allocates an
 * operation for each post.
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

#include <cstdio>
#include <cstdlib>
#include <thread>

#include "against.h"

namespace {

struct context {
	asio::io_context io{1};
	asio::executor_work_guard<asio::io_context::executor_type> guard{io.get_executor()};
	struct job *jobs;
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
	c.close = close_context;
	return c;
}();

const bool entered = (enter_contestant(&entry), true);

} // namespace
