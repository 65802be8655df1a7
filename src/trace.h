/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * trace.h - where the core is traced: hooks of the worker, and static probes.
 *
 * Inside only; see struct kthread_trace. A static probe is an instruction that does
 * nothing, and a note that says where it is; NO_KTHREAD_PROBES leaves them out.
 */
#ifndef KTHREAD_TRACE_H
#define KTHREAD_TRACE_H

#include "kthread_worker.h"

#include "barrier.h"
#include "kthread_internal.h"

#if defined(__has_include) && !defined(NO_KTHREAD_PROBES)
#if __has_include(<sys/sdt.h>)
#include <sys/sdt.h>
#endif
#endif
#ifndef DTRACE_PROBE2
#define DTRACE_PROBE2(provider, name, first, second) ((void)(first), (void)(second))
#define DTRACE_PROBE3(provider, name, first, second, third)                               \
	((void)(first), (void)(second), (void)(third))
#endif

KTHREAD_INLINE void trace_queue(struct kthread_worker *worker, struct kthread_work *work)
{
	const struct kthread_trace *trace = load_acquire(&worker->trace); /* trace */

	DTRACE_PROBE2(kthread, queue, worker, work);
	if (__builtin_expect(trace && trace->queue, 0))
		trace->queue(trace, worker, work);
}

KTHREAD_INLINE void trace_execute_start(struct kthread_worker *worker, struct kthread_work *work)
{
	const struct kthread_trace *trace = load_acquire(&worker->trace); /* trace */

	DTRACE_PROBE2(kthread, execute_start, worker, work);
	if (__builtin_expect(trace && trace->execute_start, 0))
		trace->execute_start(trace, worker, work);
}

/* @work: its address only. */
KTHREAD_INLINE void trace_execute_end(struct kthread_worker *worker, const void *work,
				      kthread_work_func_t func)
{
	const struct kthread_trace *trace = load_acquire(&worker->trace); /* trace */

	DTRACE_PROBE3(kthread, execute_end, worker, work, func);
	if (__builtin_expect(trace && trace->execute_end, 0))
		trace->execute_end(trace, worker, work, func);
}

#endif /* KTHREAD_TRACE_H */
