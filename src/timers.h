/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * timers.h - armed timers, the earliest first: a binary heap without an array.
 *
 * Inside only. The nodes are members of what is timed, so that nothing is allocated and
 * arming can't fail. The tree is always complete: level by level, from the left; the way
 * to its n-th node is in the bits of n. Every call is O(log n), also the worst one, since
 * the thread that makes it may be a real-time worker's.
 *
 * None of this locks; who calls does.
 */
#ifndef KTHREAD_TIMERS_H
#define KTHREAD_TIMERS_H

#include "kthread_worker.h"

#include "kthread_internal.h"

/* Arm a timer, which is not armed, for its deadline. */
KTHREAD_HIDDEN void timers_arm(struct kthread_timers *timers, struct kthread_timer *timer);

/* Disarm one that is armed. */
KTHREAD_HIDDEN void timers_disarm(struct kthread_timers *timers, struct kthread_timer *timer);

/* The one that runs out first; NULL: none is armed. */
static inline struct kthread_timer *timers_earliest(const struct kthread_timers *timers)
{
	return timers->root;
}

/* The n-th node, from 1 to count, in no order that means anything. O(log n). */
KTHREAD_HIDDEN struct kthread_timer *timers_nth(struct kthread_timers *timers, uint32_t n);

#endif /* KTHREAD_TIMERS_H */
