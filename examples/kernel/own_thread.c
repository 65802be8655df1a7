/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A thread function of one's own before kthread_worker_fn: it sets up what has to happen on
 * this thread, tells how that went, serves the worker, and takes down what it set up when
 * kthread_stop has it leave.
 */
#include "kthread_compat.h"

static __thread int *context;	/* of this thread alone, like a GL context or a vhost's mm */

struct device {
	struct kthread_worker worker;
	struct task_struct *task;
	struct completion ready;
	int status, storage;
	bool torn_down;
	struct kthread_work work;
	unsigned int runs, strangers;
};

static void use_context(struct kthread_work *work)
{
	struct device *dev = container_of(work, struct device, work);

	dev->runs++;
	if (context != &dev->storage || current != dev->task)
		dev->strangers++;
}

static int device_thread(void *data)
{
	struct device *dev = data;
	int ret;

	context = &dev->storage;
	dev->status = 0;
	complete(&dev->ready);
	ret = kthread_worker_fn(&dev->worker);
	context = NULL;
	dev->torn_down = true;
	return ret;
}

int main(void)
{
	static struct device dev;
	int ret;

	kthread_init_worker(&dev.worker);
	kthread_init_work(&dev.work, use_context);
	init_completion(&dev.ready);
	kthread_queue_work(&dev.worker, &dev.work); /* kept until there is a thread */

	dev.task = kthread_create(device_thread, &dev, "device/%d", 0);
	if (IS_ERR(dev.task)) {
		pr_err("no thread: %ld\n", PTR_ERR(dev.task));
		return 1;
	}
	wake_up_process(dev.task);
	wait_for_completion(&dev.ready);
	if (dev.status)
		return 1;
	for (int i = 0; i < 10; i++) {
		kthread_flush_work(&dev.work);
		kthread_queue_work(&dev.worker, &dev.work);
	}
	kthread_flush_worker(&dev.worker);
	ret = kthread_stop(dev.task);
	printf("%u runs, %u of them elsewhere; thread returned %d, torn down: %s\n", dev.runs,
	       dev.strangers, ret, dev.torn_down ? "yes" : "no");
	kthread_destroy_worker(&dev.worker);
	return !(dev.runs == 11 && !dev.strangers && !ret && dev.torn_down);
}
