/* SPDX-License-Identifier: GPL-2.0-only */
/* The headers in C++17: static initialisers, and a work run by the core compiled as C. */
#include <cstdio>

#include "kthread_worker.h"

namespace {

int runs;

void run(struct kthread_work *)
{
	runs++;
}

DEFINE_KTHREAD_WORKER(worker);
DEFINE_KTHREAD_WORK(work, run);

struct device {
	struct kthread_work work = KTHREAD_WORK_INIT(work, run);
	struct kthread_worker worker = KTHREAD_WORKER_INIT(worker);
};

int fail(const char *what)
{
	std::printf("cplusplus: %s\n", what);
	return 1;
}

} // namespace

int main()
{
	struct kthread_attr attr = KTHREAD_ATTR_INIT;
	device local;

	attr.name = "cplusplus";
	if (!kthread_queue_work(&worker, &work))
		return fail("queue refused");
	if (kthread_start_worker(&worker, &attr))
		return fail("no thread");
	if (kthread_flush_work(&work) || runs != 1)
		return fail("not run by the static worker");
	if (kthread_destroy_worker(&worker))
		return fail("static worker not destroyed");

	if (kthread_start_worker(&local.worker, nullptr))
		return fail("no second thread");
	if (!kthread_queue_work(&local.worker, &local.work))
		return fail("second queue refused");
	if (kthread_flush_worker(&local.worker) || runs != 2)
		return fail("not run by the embedded worker");
	if (kthread_work_busy(&local.work))
		return fail("not idle");
	return kthread_destroy_worker(&local.worker) ? fail("embedded worker not destroyed") : 0;
}
