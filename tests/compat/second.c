/* SPDX-License-Identifier: GPL-2.0-only */
/* The other one that includes the header: what test_compat.c made has to be known here. */
#include "kthread_compat.h"
#include "second.h"

void *second_data(struct task_struct *task)
{
	return kthread_data(task);
}

int second_wake_and_stop(struct task_struct *task)
{
	wake_up_process(task);
	return kthread_stop(task);
}
