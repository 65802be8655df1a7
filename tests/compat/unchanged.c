/* SPDX-License-Identifier: GPL-2.0-only */
/* A source that keeps the lines it includes: the system's own headers, and those in compat/linux. */
#if __has_include(<linux/kernel.h>) /* musl-gcc does not look where they are */
#include <linux/kernel.h>
#include <linux/module.h>
#include <linux/types.h>
#include <linux/errno.h>
#include <linux/sched.h>
#endif
#include <linux/completion.h>
#include <linux/jiffies.h>
#include <linux/kthread.h>
#include <linux/list.h>
#include <linux/sched/types.h>
#include <linux/slab.h>
#include <linux/spinlock.h>

#include "second.h"

struct device {
	struct list_head requests;
	spinlock_t lock;
	struct kthread_work work;
	struct completion idle;
	unsigned int served;
};

struct request {
	struct list_head node;
};

static void serve(struct kthread_work *work)
{
	struct device *dev = container_of(work, struct device, work);
	struct request *req, *next;
	unsigned long flags;
	LIST_HEAD(taken);

	spin_lock_irqsave(&dev->lock, flags);
	list_splice_tail_init(&dev->requests, &taken);
	spin_unlock_irqrestore(&dev->lock, flags);
	list_for_each_entry_safe(req, next, &taken, node) {
		list_del(&req->node);
		kfree(req);
		dev->served++;
	}
	complete(&dev->idle);
}

unsigned int unchanged_serves(unsigned int requests)
{
	struct kthread_worker *worker = kthread_run_worker(0, "unchanged");
	struct device *dev = kzalloc(sizeof(*dev), GFP_KERNEL);
	unsigned int served = 0;

	if (IS_ERR(worker) || !dev)
		goto out;
	INIT_LIST_HEAD(&dev->requests);
	spin_lock_init(&dev->lock);
	init_completion(&dev->idle);
	kthread_init_work(&dev->work, serve);
	while (requests--) {
		struct request *req = kmalloc(sizeof(*req), GFP_KERNEL);

		if (req)
			list_add_tail(&req->node, &dev->requests);
	}
	kthread_queue_work(worker, &dev->work);
	wait_for_completion(&dev->idle);
	served = dev->served;
	kthread_destroy_worker(worker);
out:
	kfree(dev);
	return served;
}
