/* SPDX-License-Identifier: GPL-2.0-only */
/* says: container_of: the pointer is not one to this member */
#include "kthread_compat.h"

struct device {
	int irq;
	struct kthread_work work;
};

struct device *device_of(struct kthread_work *work);

struct device *device_of(struct kthread_work *work)
{
#ifdef WRONG
	return container_of(work, struct device, irq);
#else
	return container_of(work, struct device, work);
#endif
}
