/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef SECOND_H
#define SECOND_H

void *second_data(struct task_struct *task);
int second_wake_and_stop(struct task_struct *task);

/* Of a unit for which kthread_create_worker starts the thread. */
bool before_creates_and_runs(void);

/* unchanged.c: how many requests were served. */
unsigned int unchanged_serves(unsigned int requests);

#endif
