/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * mends.h - the mends of known faults, each of which a test build can leave out.
 *
 * Inside only. A fault known from the kernel's worker or its relatives is mended where
 * MENDED(NAME) stands. Compiled with -DKTHREAD_WITHOUT=MEND_NAME the core has the fault,
 * and a test must fail: tests/c/mutants.txt says which. In any other build MENDED is 1.
 */
#ifndef KTHREAD_MENDS_H
#define KTHREAD_MENDS_H

enum kthread_mend {
	MEND_NONE,
	MEND_NO_TOUCH_AFTER_CALLBACK,	/* the work touched after its callback */
	MEND_NUMBER_AT_DEQUEUE,		/* flush returns early when requeued while running */
	MEND_DROP_TELLS,		/* a flusher of a cancelled run sleeps for ever */
	MEND_MOD_HEEDS_CANCEL,		/* modify against cancel: it arms what is being cancelled */
	MEND_MOD_RETURNS_PENDING,	/* return value of modify */
	MEND_FREEZE_WHILE_IDLE,		/* idle and freezing at once */
	MEND_DESTROY_DISARMS,		/* destroy with an armed timer */
	MEND_WAKE_SLEEPERS_ONLY,	/* needless wake-ups of a busy worker */
	MEND_LOOK_BEFORE_SLEEP,		/* the wake lost in the last instant of a callback */
	MEND_STOP_BETWEEN_WORKS,	/* endless self-requeue against stop */
	MEND_ONE_WORKER,		/* the same work on two workers */
	MEND_INIT_LEAVES_PENDING,	/* init of a pending work */
	MEND_OWN_FLUSH,			/* flush of oneself */
	MEND_OWN_CANCEL,		/* cancel of oneself */
	MEND_WAKE_ALL,			/* eight cancellers, one woken */
	MEND_WAITER_GONE,		/* the flusher's memory written after it returned */
	MEND_CANCEL_REFUSES,		/* a callback that requeues against cancel */
	MEND_START_TAKEN_BACK,		/* creation that fails half-way */
	MEND_FINISHED_NEEDS_NO_THAW,	/* flush of a finished work waits for thaw */
	MEND_FLUSH_CUTS_TIMER,		/* flush waits for the timer of a delayed work */
	MEND_LOCKS_INHERIT,		/* a thread of a middle priority keeps the worker from its lock */
};

#ifndef KTHREAD_WITHOUT
#define KTHREAD_WITHOUT MEND_NONE
#endif

#define MENDED(name) (KTHREAD_WITHOUT != MEND_##name)

#endif /* KTHREAD_MENDS_H */
